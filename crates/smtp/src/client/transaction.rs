//! What is to be sent, and why it may not suit a peer.

use crate::address::{ForwardPath, ReversePath};
use crate::dsn::{EnvelopeId, Notify, OriginalRecipient, Ret};
use crate::extension::{BodyType, ByMode, DeliverBy, Extensions, Priority};
use crate::reply::Reply;

/// One message for one or more recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// MAIL FROM.
    pub reverse_path: ReversePath,
    /// RCPT TO, at least one, in this order.
    pub recipients: Vec<ForwardPath>,
    /// Octets of the message with CRLF line ends, before dot-stuffing (RFC 1870 §4).
    pub size: Option<u64>,
    /// Whether the content has octets above 127, or is no text at all: that is sent with BDAT alone
    /// and needs [`Options::chunk`] (RFC 3030 §3).
    pub body: BodyType,
    /// Whether the content's headers need SMTPUTF8 (addresses are looked at by the session).
    pub smtp_utf8: bool,
}

/// What a transaction has besides, for peers that offer it. The wishes for reports are passed on as
/// they are to a peer that offers DSN and left out for others: [`Extensions::dsn`] in `Ready` tells
/// the driver, which then owes a `relayed` report where success was asked for (RFC 3461 §5.2.2).
/// So it is with [`deliver_by`](Options::deliver_by) of the mode that wants a notice, and, without
/// any duty, with the priority.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `RET=` (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// `ENVID=` (RFC 3461 §4.4).
    pub envelope_id: Option<EnvelopeId>,
    /// For the recipients in their order; those beyond its end have none.
    pub recipients: Vec<RecipientOptions>,
    /// Send the content with BDAT where CHUNKING is offered (RFC 3030): its exact octets, as they
    /// will be given to `Session::body`. `SendBody` then comes once RCPT is answered.
    pub chunk: Option<u64>,
    /// With a chunk, `SendBody` comes at once, so that the whole transaction is one flight
    /// (RFC 3030 §4.2). For SMTP with PIPELINING alone. A peer that takes none of the recipients
    /// gets the content all the same, and must throw it away (§2).
    pub ahead: bool,
    /// `REQUIRETLS` (RFC 8689 §4.2.1): only in TLS, and to a peer that offers it. That the peer is
    /// verified is the driver's matter.
    pub require_tls: bool,
    /// `BY=` (RFC 2852 §4): the time that is left now.
    pub deliver_by: Option<DeliverBy>,
    /// `MT-PRIORITY=` (RFC 6710 §3).
    pub priority: Option<Priority>,
}

/// What a recipient has besides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecipientOptions {
    /// `NOTIFY=` (RFC 3461 §4.1).
    pub notify: Option<Notify>,
    /// `ORCPT=` (RFC 3461 §4.2).
    pub original_recipient: Option<OriginalRecipient>,
}

/// Why a transaction cannot be begun; nothing of it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsuitable {
    /// 8-bit content, and the peer does not offer 8BITMIME (RFC 6152 §3): 5.6.3.
    NeedsEightBitMime,
    /// Content that is no text, and the peer does not offer BINARYMIME with CHUNKING, or it was not
    /// to be sent in a chunk (RFC 3030 §3): 5.6.3.
    NeedsBinaryMime,
    /// UTF-8 addresses or headers, and the peer does not offer SMTPUTF8 (RFC 6531 §3.6): 5.6.7.
    NeedsSmtpUtf8,
    /// Larger than the peer's SIZE (RFC 1870 §5): 5.3.4.
    TooLarge {
        /// The peer's limit, octets.
        limit: u64,
    },
    /// REQUIRETLS, and the peer does not offer it in TLS (RFC 8689 §4.2.1): 5.7.30.
    NeedsRequireTls,
    /// To be returned when late, and the peer does not offer DELIVERBY, or not for so short a time
    /// (RFC 2852 §4.1): 5.3.3.
    NeedsDeliverBy,
    /// The session cannot begin one now: not ready, a body is being sent, or closed. A driver
    /// that asks `Session::can_begin` first never sees it.
    NotReady,
}

impl Unsuitable {
    /// The failure as a reply, for the recipient's report.
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self {
            Unsuitable::NeedsEightBitMime => Reply::new(
                554,
                (5, 6, 3),
                "8-bit message, and the next hop lacks 8BITMIME",
            ),
            Unsuitable::NeedsBinaryMime => Reply::new(
                554,
                (5, 6, 3),
                "Binary message, and the next hop lacks BINARYMIME",
            ),
            Unsuitable::NeedsRequireTls => Reply::new(
                550,
                (5, 7, 30),
                "REQUIRETLS support required, and the next hop lacks it",
            ),
            Unsuitable::NeedsDeliverBy => Reply::new(
                554,
                (5, 3, 3),
                "The next hop cannot return the message if it is late (DELIVERBY)",
            ),
            Unsuitable::NeedsSmtpUtf8 => Reply::new(
                553,
                (5, 6, 7),
                "Non-ASCII addresses, and the next hop lacks SMTPUTF8",
            ),
            Unsuitable::TooLarge { limit } => {
                let text = format!("Message is larger than the next hop's limit of {limit} octets");
                Reply::new(552, (5, 3, 4), text)
            }
            Unsuitable::NotReady => Reply::local_error(),
        }
    }
}

impl Transaction {
    /// Whether an address or the content asks for SMTPUTF8 (RFC 6531 §3.4).
    pub(super) fn needs_utf8(&self) -> bool {
        let mut mailboxes = self.recipients.iter().map(ForwardPath::mailbox);
        self.smtp_utf8
            || self
                .reverse_path
                .mailbox()
                .is_some_and(|mailbox| mailbox.needs_utf8())
            || mailboxes.any(|mailbox| mailbox.is_some_and(|mailbox| mailbox.needs_utf8()))
    }

    /// Whether a peer that offers `extensions`, in TLS if `secure`, can be sent it.
    pub(super) fn suits(
        &self,
        options: &Options,
        extensions: &Extensions,
        secure: bool,
    ) -> Result<(), Unsuitable> {
        let binary = extensions.binary_mime && extensions.chunking && options.chunk.is_some();
        match self.body {
            BodyType::EightBitMime if !extensions.eight_bit_mime => {
                return Err(Unsuitable::NeedsEightBitMime);
            }
            BodyType::BinaryMime if !binary => return Err(Unsuitable::NeedsBinaryMime),
            _ => {}
        }
        if self.needs_utf8() && !extensions.smtp_utf8 {
            return Err(Unsuitable::NeedsSmtpUtf8);
        }
        if options.require_tls && !(secure && extensions.require_tls) {
            return Err(Unsuitable::NeedsRequireTls);
        }
        if let Some(by) = options.deliver_by
            && by.mode == ByMode::Return
            && extensions
                .deliver_by
                .is_none_or(|min| by.by_time_s < i64::from(min))
        {
            return Err(Unsuitable::NeedsDeliverBy);
        }
        if let (Some(Some(limit)), Some(size)) = (extensions.size, self.size)
            && size > limit
        {
            return Err(Unsuitable::TooLarge { limit });
        }
        Ok(())
    }
}
