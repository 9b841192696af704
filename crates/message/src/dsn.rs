//! Delivery status notifications: a `multipart/report` (RFC 6522) of a part for people, a
//! `message/delivery-status` part (RFC 3464), and the message or its header block.
//!
//! The caller decides who gets a report (RFC 3461 §5.2, NOTIFY) and sends it with the null
//! reverse-path; no report is ever made about a message that had the null reverse-path.

/// The largest message, in octets, that a failure report returns whole. Of larger ones it returns
/// the header block.
pub const MAX_WHOLE: u64 = 64 * 1024;

/// What the report tells, the same for all its recipients: the Action of RFC 3464 §2.3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Given up.
    Failed,
    /// Still trying.
    Delayed,
    /// In the mailbox.
    Delivered,
    /// Handed to a host that does not send such reports.
    Relayed,
    /// Handed on to several addresses.
    Expanded,
}

/// What the sender asked to have returned (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Return {
    /// No RET parameter.
    #[default]
    Unset,
    /// `RET=FULL`.
    Full,
    /// `RET=HDRS`.
    Headers,
}

/// Why the recipient has this outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason<'a> {
    /// A host replied so.
    Remote {
        /// Its name, or its address in brackets.
        host: &'a str,
        /// Its reply, code first; lines separated by LF or CRLF.
        reply: &'a str,
    },
    /// We found so ourselves: no route, no connection, expired.
    Local(&'a str),
}

/// One recipient in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient<'a> {
    /// ORCPT as the sender gave it, `address-type;xtext` (RFC 3461 §4.2).
    pub original: Option<&'a str>,
    /// The address as we tried it.
    pub address: &'a str,
    /// Enhanced status code (RFC 3463): class, subject, detail.
    pub status: (u8, u16, u16),
    /// Why; `None` when there is nothing to say beyond the status.
    pub reason: Option<Reason<'a>>,
    /// The last attempt, in seconds since 1970-01-01T00:00:00Z.
    pub last_attempt_s: Option<u64>,
    /// Until when we shall try, in the same unit; for [`Kind::Delayed`].
    pub retry_until_s: Option<u64>,
}

/// What of the message goes into the report; see [`returns_whole`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Original<'a> {
    /// The header block: CRLF lines, with or without the empty line that ends it.
    Headers(&'a [u8]),
    /// The message: CRLF lines.
    Whole(&'a [u8]),
}

/// A report to be rendered.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// What it tells.
    pub kind: Kind,
    /// Our own name.
    pub reporting_mta: &'a str,
    /// To whom: the reverse-path of the message, without angle brackets.
    pub to: &'a str,
    /// ENVID as the sender gave it, in xtext (RFC 3461 §4.4).
    pub envelope_id: Option<&'a str>,
    /// The queue id of the message it is about.
    pub queue_id: &'a str,
    /// The Message-ID of the report itself, from [`crate::message_id::make`].
    pub message_id: &'a str,
    /// When the message came, in seconds since 1970-01-01T00:00:00Z.
    pub arrival_s: u64,
    /// When the report is made, in the same unit.
    pub unix_s: u64,
    /// At least one.
    pub recipients: &'a [Recipient<'a>],
    /// What is returned.
    pub original: Original<'a>,
}

/// A report as a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The message; every line ends in CRLF (as far as [`Original`] keeps to it).
    pub message: Vec<u8>,
    /// It has octets above 127: its envelope says `BODY=8BITMIME` (RFC 6152).
    pub eight_bit: bool,
}

/// Whether a report of `kind` returns all of a message of `size` octets, or its header block only
/// (RFC 3461 §4.3: the whole message only when delivery failed).
#[must_use]
pub fn returns_whole(kind: Kind, ret: Return, size: u64) -> bool {
    kind == Kind::Failed && ret != Return::Headers && size <= MAX_WHOLE
}

impl Report<'_> {
    /// The report as a message.
    #[must_use]
    pub fn render(&self) -> Rendered {
        todo!()
    }
}
