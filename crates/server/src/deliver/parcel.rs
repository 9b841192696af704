//! A stored message as the transports need it: the recipients of one transaction, and the content
//! from its start as often as a host is tried.
//!
//! All recipients of a parcel share a destination and a reverse-path, so that one transaction can
//! serve them. It holds no more of the content than the piece that is on its way.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_queue::envelope::{ContentFacts, DeliverBy, Recipient};
use posthaste_queue::schedule::Work;
use posthaste_queue::spool::{Content, Stored};
use posthaste_smtp::address::{ForwardPath, ReversePath, Utf8};
use posthaste_smtp::client::{Options, RecipientOptions, Transaction};
use posthaste_smtp::dsn::{EnvelopeId, OriginalRecipient};
use posthaste_smtp::extension::{self, BodyType, ByMode, Priority};
use posthaste_world::Timestamp;

use super::{Attempted, Delivery};
use crate::fault::Fault;

/// Most seconds that `BY=` can name, in both directions (RFC 2852 §4).
const BY_TIME_MAX: i64 = 999_999_999;

/// Recipients of one message that go the same way.
pub struct Parcel<'a> {
    stored: &'a Stored,
    recipients: Vec<(u32, &'a Recipient)>,
    reverse_path: Cow<'a, ReversePath>,
    content: Content,
    unreadable: Option<io::Error>,
}

impl<'a> Parcel<'a> {
    /// Takes the recipients of `work` (ascending) that still belong to its destination. The others
    /// are moved: they are somebody else's work.
    #[must_use]
    pub fn pack(work: &Work, stored: &'a Stored, delivery: &Delivery) -> (Parcel<'a>, Attempted) {
        let (envelope, route) = (stored.envelope(), &delivery.route);
        let directory = route.directory();
        let mut shared: Option<Cow<'a, ReversePath>> = None;
        let mut attempted = Attempted::default();
        let mut recipients: Vec<(u32, &Recipient)> = Vec::new();
        for (index, recipient) in envelope
            .open()
            .filter(|(i, _)| work.recipients.binary_search(i).is_ok())
        {
            let destination = route.destination(&recipient.address);
            let forwarding = &delivery.forwarding;
            let path = forwarding.reverse_path(directory, envelope, recipient);
            let alike = shared.as_ref().is_none_or(|first| *first == path);
            if destination == *work.destination && alike {
                recipients.push((index, recipient));
                shared = Some(path);
            } else {
                attempted.moved.push((index, Arc::from(destination)));
            }
        }
        let parcel = Parcel {
            stored,
            recipients,
            reverse_path: shared.unwrap_or(Cow::Borrowed(&envelope.message.reverse_path)),
            content: stored.content(),
            unreadable: None,
        };
        (parcel, attempted)
    }

    /// The stored message.
    #[must_use]
    pub fn stored(&self) -> &'a Stored {
        self.stored
    }

    /// The recipients with their indexes in the envelope.
    #[must_use]
    pub fn recipients(&self) -> &[(u32, &'a Recipient)] {
        &self.recipients
    }

    /// The recipients' indexes in the envelope.
    #[must_use]
    pub fn indexes(&self) -> Vec<u32> {
        self.recipients.iter().map(|(index, _)| *index).collect()
    }

    /// Where the next hop sends reports about these recipients.
    #[must_use]
    pub fn reverse_path(&self) -> &ReversePath {
        &self.reverse_path
    }

    /// The transaction for those recipients that stand at the places `left`.
    #[must_use]
    pub fn transaction(&self, left: &[usize]) -> Transaction {
        let message = &self.stored.envelope().message;
        let address = |at: &usize| {
            let (_, recipient) = self.recipients.get(*at)?;
            Some(ForwardPath::Mailbox(recipient.address.clone()))
        };
        Transaction {
            reverse_path: self.reverse_path().clone(),
            recipients: left.iter().filter_map(address).collect(),
            size: Some(self.stored.size()),
            body: match message.content {
                ContentFacts { binary: true, .. } => BodyType::BinaryMime,
                ContentFacts {
                    eight_bit: true, ..
                } => BodyType::EightBitMime,
                ContentFacts { .. } => BodyType::SevenBit,
            },
            // 8-bit header fields without the sender's SMTPUTF8 are passed on as they came.
            smtp_utf8: message.smtp_utf8 && message.content.utf8_headers,
        }
    }

    /// Whether the sender wants TLS with every host on the way, or no delivery (RFC 8689 §2).
    #[must_use]
    pub fn requires_tls(&self) -> bool {
        self.stored.envelope().message.require_tls && !self.reverse_path().is_null()
    }

    /// What goes with that transaction at `now`, where the host offers it: what the sender wishes.
    #[must_use]
    pub fn options(&self, left: &[usize], now: Timestamp) -> Options {
        let message = &self.stored.envelope().message;
        let wishes = |at: &usize| {
            let (_, recipient) = self.recipients.get(*at)?;
            let orcpt = recipient.orcpt.as_deref();
            Some(RecipientOptions {
                notify: recipient.notify,
                original_recipient: orcpt.and_then(|o| OriginalRecipient::parse(o, Utf8::Allowed)),
            })
        };
        Options {
            ret: message.ret,
            envelope_id: message.envid.as_deref().and_then(EnvelopeId::parse),
            recipients: left.iter().filter_map(wishes).collect(),
            chunk: message.content.binary.then(|| self.stored.size()),
            ahead: false,
            require_tls: message.require_tls,
            deliver_by: message.deliver_by.map(|by| time_left(by, now)),
            priority: Priority::new(message.priority).filter(|_| message.priority != 0),
        }
    }

    /// Starts the content again.
    pub fn rewind(&mut self) {
        self.content = self.stored.content();
    }

    /// The next piece of content; `None` at its end.
    ///
    /// # Errors
    /// When it cannot be read; the reason is kept for the operator.
    pub async fn next(&mut self) -> Result<Option<Bytes>, String> {
        self.content.next().await.map_err(|e| {
            let text = e.to_string();
            self.unreadable = Some(e);
            text
        })
    }

    /// Whether reading failed, so that no host needs to be tried any more.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        self.unreadable.is_some()
    }

    /// What the operator must know.
    #[must_use]
    pub fn into_fault(self) -> Option<Fault> {
        let cause = self.unreadable?;
        let doing = format!(
            "reading message {} from the spool",
            self.stored.envelope().id
        );
        Some(Fault::new(doing, cause).fix("check the disk and the kernel log"))
    }
}

/// The time in which a message is still to be delivered, as the next host hears it (RFC 2852 §4).
/// One that is to be returned when late is returned here once its time is up.
fn time_left(by: DeliverBy, now: Timestamp) -> extension::DeliverBy {
    let seconds = |time: Timestamp| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let left = seconds(by.at).saturating_sub(seconds(now));
    let least = match by.mode {
        ByMode::Return => 1,
        ByMode::Notify => -BY_TIME_MAX,
    };
    extension::DeliverBy {
        by_time_s: left.clamp(least, BY_TIME_MAX),
        mode: by.mode,
        trace: by.trace,
    }
}
