//! The envelope: what is promised to whom, and how far it has come.
//!
//! A message's part is fixed when it is accepted. A recipient's [`Progress`] changes with every
//! outcome. Destination keys, pools and next hops are **not** here: they are computed at each
//! attempt.

mod codec;
mod tlv;

use posthaste_smtp::address::{ForwardPath, Mailbox, ReversePath};
use posthaste_smtp::extension::BodyType;
use posthaste_smtp::reply::Reply;
use posthaste_world::Timestamp;

use crate::id::QueueId;

pub use codec::DecodeError;
pub use posthaste_smtp::dsn::{Notify, Ret};
pub use posthaste_smtp::extension::ByMode;
pub(crate) use tlv::{Fields, Writer, critical, number};

/// Recipients of one message at most. Transactions allow fewer; aliases may expand to more.
pub const RECIPIENTS_MAX: usize = 10_000;

/// Octets of one value at most; longer ones are refused when they are written.
pub const VALUE_MAX: usize = 64 * 1024;

/// What is promised to whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// The queue id.
    pub id: QueueId,
    /// What all recipients share.
    pub message: Message,
    /// The recipients; outcomes name them by their index here. At most [`RECIPIENTS_MAX`].
    pub recipients: Vec<Recipient>,
}

/// What all recipients of a message share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Where reports go, unless a recipient has its own.
    pub reverse_path: ReversePath,
    /// When it was accepted; its age counts from here.
    pub arrived: Timestamp,
    /// The sender's name for it (`ENVID`, RFC 3461 §4.4), as it came.
    pub envid: Option<Box<str>>,
    /// What a failure report returns (`RET`, RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// `BODY` (RFC 6152).
    pub body: BodyType,
    /// `SMTPUTF8` (RFC 6531).
    pub smtp_utf8: bool,
    /// `REQUIRETLS` (RFC 8689 §3).
    pub require_tls: bool,
    /// The header block has `TLS-Required: No` (RFC 8689 §4), and the sender did not ask for the
    /// contrary: delivery matters more than its protection.
    pub tls_optional: bool,
    /// The account that submitted it.
    pub account: Option<Box<str>>,
    /// The service that received it (`mx`, `submission` …); empty when we made it.
    pub listener: Box<str>,
    /// The peer it came from, as an endpoint's text; empty when we made it.
    pub peer: Box<str>,
    /// What the peer called itself.
    pub hello: Box<str>,
    /// No attempt before this (`HOLDFOR`, `HOLDUNTIL`, RFC 4865); its age counts from here then.
    pub release: Option<Timestamp>,
    /// When it should be delivered, and what becomes of it otherwise (RFC 2852).
    pub deliver_by: Option<DeliverBy>,
    /// Higher goes first; 0 is ordinary (RFC 6710 uses −9 to 9).
    pub priority: i8,
    /// Free words, for reports and searches.
    pub tags: Vec<Box<str>>,
    /// What the receiving pass found.
    pub content: ContentFacts,
    /// Fields of a later version, kept as they are.
    pub unknown: Unknown,
}

/// When a message should be delivered (`BY`, RFC 2852 §4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeliverBy {
    /// When.
    pub at: Timestamp,
    /// What follows when that is missed.
    pub mode: ByMode,
    /// Every host on the way reports that it handed the message on.
    pub trace: bool,
}

/// What the receiving pass found in the octets as they were received.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ContentFacts {
    /// Octets.
    pub size: u64,
    /// Octets above 127 anywhere: a next hop needs 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// UTF-8 in the header block: a next hop needs SMTPUTF8 (RFC 6531).
    pub utf8_headers: bool,
    /// Not made of lines that end in CRLF, or with NUL: a next hop needs BINARYMIME (RFC 3030 §3).
    pub binary: bool,
    /// Octets of the longest line, without its CRLF.
    pub longest_line: u64,
}

/// One recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// Where it goes.
    pub address: Mailbox,
    /// As it was given at RCPT, when that is something else.
    pub original: Option<ForwardPath>,
    /// `ORCPT` (RFC 3461 §4.2), as it came.
    pub orcpt: Option<Box<str>>,
    /// `NOTIFY` (RFC 3461 §4.1); `None` when it was not given.
    pub notify: Option<Notify>,
    /// The alias or list it was expanded from.
    pub alias: Option<Mailbox>,
    /// Success was asked for of an alias that leads to several: with the first outcome of this
    /// recipient, the first of them, an `expanded` report is owed (RFC 3461 §5.2.7).
    pub expansion_owed: bool,
    /// Its own reverse-path: that of a list owner.
    pub reverse_path: Option<ReversePath>,
    /// How far it has come.
    pub progress: Progress,
    /// Fields of a later version, kept as they are.
    pub unknown: Unknown,
}

/// How far a recipient has come.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// Queued, or its end.
    pub state: State,
    /// Attempts so far.
    pub attempts: u32,
    /// No attempt before this.
    pub not_before: Timestamp,
    /// Held until released.
    pub held: bool,
    /// A delay notice was queued.
    pub noticed: bool,
    /// What the last attempt ended with.
    pub last: Option<LastReply>,
}

/// What an attempt ended with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LastReply {
    /// When.
    pub at: Timestamp,
    /// The host that said so; `None` when it is our own finding (no connection, no DNS …).
    pub host: Option<Box<str>>,
    /// The reply, or our finding put as one.
    pub reply: Reply,
}

/// Where a recipient stands for good.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum State {
    /// Waits, or is being attempted.
    #[default]
    Queued,
    /// Delivered or relayed.
    Delivered,
    /// Failed for good; reported if a report was owed.
    Failed,
    /// Failed by age; reported if a report was owed.
    Expired,
    /// Taken out by the operator without a report.
    Removed,
}

impl State {
    /// Whether this is an end.
    #[must_use]
    pub fn is_final(self) -> bool {
        self != State::Queued
    }
}

/// Fields this version does not know, and may leave alone: tag and value, in the order they came.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Unknown(pub(crate) Vec<(u32, Box<[u8]>)>);

impl Message {
    /// A message of our own (a report): null reverse-path, no peer.
    #[must_use]
    pub fn ours(arrived: Timestamp, content: ContentFacts) -> Self {
        Message {
            reverse_path: ReversePath::Null,
            arrived,
            envid: None,
            ret: None,
            body: BodyType::default(),
            smtp_utf8: false,
            require_tls: false,
            tls_optional: false,
            account: None,
            listener: Box::default(),
            peer: Box::default(),
            hello: Box::default(),
            release: None,
            deliver_by: None,
            priority: 0,
            tags: Vec::new(),
            content,
            unknown: Unknown::default(),
        }
    }

    /// Whether it has this tag.
    #[must_use]
    pub fn is_tagged(&self, tag: &str) -> bool {
        self.tags.iter().any(|t| &**t == tag)
    }

    /// When its age begins to count.
    #[must_use]
    pub fn begins(&self) -> Timestamp {
        self.release.map_or(self.arrived, |at| at.max(self.arrived))
    }

    /// Whether it must not be delivered any more at `now` (RFC 2852 §4).
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.deliver_by
            .is_some_and(|by| by.mode == ByMode::Return && by.at <= now)
    }
}

impl Recipient {
    /// A recipient without wishes or history.
    #[must_use]
    pub fn new(address: Mailbox) -> Self {
        Recipient {
            address,
            original: None,
            orcpt: None,
            notify: None,
            alias: None,
            expansion_owed: false,
            reverse_path: None,
            progress: Progress::default(),
            unknown: Unknown::default(),
        }
    }
}

impl Envelope {
    /// The recipients that wait or are being attempted, with their indexes.
    pub fn open(&self) -> impl Iterator<Item = (u32, &Recipient)> {
        (0_u32..)
            .zip(&self.recipients)
            .filter(|(_, r)| !r.progress.state.is_final())
    }

    /// Where a recipient's reports go.
    #[must_use]
    pub fn reverse_path_of<'a>(&'a self, recipient: &'a Recipient) -> &'a ReversePath {
        recipient
            .reverse_path
            .as_ref()
            .unwrap_or(&self.message.reverse_path)
    }
}
