//! The sending end of a dialogue.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Dialect;
use crate::address::{ForwardPath, ReversePath};
use crate::extension::{BodyType, Extensions};
use crate::reply::Reply;

/// How a session behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our name for EHLO, HELO or LHLO (RFC 5321 §4.1.1.1): a domain or an address literal.
    pub hello_name: Box<str>,
    /// SMTP or LMTP.
    pub dialect: Dialect,
}

/// One message for one or more recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// MAIL FROM.
    pub reverse_path: ReversePath,
    /// RCPT TO, at least one, in this order.
    pub recipients: Vec<ForwardPath>,
    /// Octets of the message with CRLF line ends, before dot-stuffing (RFC 1870 §4).
    pub size: Option<u64>,
    /// Whether the content has octets above 127.
    pub body: BodyType,
    /// Whether the content's headers need SMTPUTF8 (addresses are looked at by the session).
    pub smtp_utf8: bool,
}

/// Why a transaction cannot be begun; nothing of it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsuitable {
    /// 8-bit content, and the peer does not offer 8BITMIME (RFC 6152 §3): 5.6.3.
    NeedsEightBitMime,
    /// UTF-8 addresses or headers, and the peer does not offer SMTPUTF8 (RFC 6531 §3.6): 5.6.7.
    NeedsSmtpUtf8,
    /// Larger than the peer's SIZE (RFC 1870 §5): 5.3.4.
    TooLarge {
        /// The peer's limit, octets.
        limit: u64,
    },
    /// The session cannot begin one now: not ready, a body is being sent, or closed. A driver
    /// that asks [`Session::can_begin`] first never sees it.
    NotReady,
}

impl Unsuitable {
    /// The failure as a reply, for the recipient's report.
    #[must_use]
    pub fn reply(&self) -> Reply {
        todo!()
    }
}

/// What the session tells its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// EHLO (or HELO) was accepted: begin a transaction.
    Ready(Extensions),
    /// The greeting or hello was refused; the session says QUIT by itself and then closes.
    Refused(Stage, Reply),
    /// 354 came: give the content with [`Session::body`] and [`Session::end_body`].
    SendBody,
    /// One transaction is over, the oldest begun: one outcome per recipient, in order. Each begun
    /// transaction gets exactly one of these, also when the connection is lost.
    Finished(Vec<RecipientOutcome>),
    /// Answer to [`Session::reset`].
    ResetDone(Reply),
    /// The last: send what `output` still holds, then close.
    Closed(Closed),
}

/// Where a whole connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The greeting.
    Greeting,
    /// EHLO, HELO or LHLO.
    Hello,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientOutcome {
    /// The peer took responsibility (2yz after the final dot).
    Accepted(Reply),
    /// 4yz: try again later.
    Deferred(Reply),
    /// 5yz.
    Refused(Reply),
    /// The connection ended before the answer.
    Lost(Lost),
}

/// When a connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Before the final dot was wholly written: the peer does not have the message.
    BeforeEndOfData,
    /// After it: the peer may have the message (RFC 1047).
    AfterEndOfData,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// Our QUIT was answered, or the peer closed after it.
    Quit,
    /// The peer closed without a word.
    PeerClosed,
    /// The peer said 421 (RFC 5321 §3.8).
    ShuttingDown(Reply),
    /// The peer said what is no reply, or one nobody asked for; a temporary failure.
    Malformed(Malformed),
}

/// What was wrong with what the peer said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not the grammar of RFC 5321 §4.2.
    Syntax,
    /// A line or a whole reply above our bound.
    TooLong,
    /// A reply when none was owed.
    Unexpected,
}

/// What the next reply will answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The greeting.
    Greeting,
    /// EHLO or LHLO.
    Ehlo,
    /// HELO.
    Helo,
    /// MAIL FROM.
    Mail,
    /// RCPT TO, by index in the transaction.
    Rcpt(usize),
    /// DATA.
    Data,
    /// The final dot.
    EndOfData,
    /// The final dot, for one accepted recipient (LMTP, RFC 2033 §4.2).
    EndOfDataFor(usize),
    /// RSET.
    Rset,
    /// QUIT.
    Quit,
}

/// The sending end of a dialogue. Loop: write `output`; take events with [`next`](Self::next)
/// until `None`; while [`wants_input`](Self::wants_input), read into `input_space`.
#[derive(Debug)]
pub struct Session {
    expected: VecDeque<Expect>,
}

impl Session {
    /// A new dialogue; it waits for the greeting.
    #[must_use]
    pub fn new(_settings: Settings) -> Session {
        todo!()
    }
    /// Takes octets from the peer (copies).
    pub fn receive(&mut self, _octets: &[u8]) {
        todo!()
    }
    /// Room to read into: never empty while the session wants input.
    pub fn input_space(&mut self) -> &mut [u8] {
        todo!()
    }
    /// Says how much of [`input_space`](Self::input_space) was filled.
    pub fn input_filled(&mut self, _n: usize) {
        todo!()
    }
    /// Whether there is no event until more octets come from the peer (it may still want
    /// `begin`, `body` or `quit` from the driver).
    pub fn wants_input(&mut self) -> bool {
        todo!()
    }
    /// The next event, if there is one now.
    #[expect(clippy::should_implement_trait, reason = "None is not the end")]
    pub fn next(&mut self) -> Option<Event> {
        todo!()
    }
    /// Whether [`begin`](Self::begin) is allowed now: after `Ready`, when no transaction is open
    /// but for one whose final reply is owed.
    #[must_use]
    pub fn can_begin(&self) -> bool {
        todo!()
    }
    /// Begins a transaction. Allowed while the last final dot's reply is still owed (RFC 2920
    /// §3.1): then at most [`crate::limits::TRANSACTIONS_IN_FLIGHT`] are open.
    pub fn begin(&mut self, _transaction: Transaction) -> Result<(), Unsuitable> {
        todo!()
    }
    /// Appends content (lines ending with CRLF, split anywhere), dot-stuffed, to `output`. Only
    /// after `SendBody`. Write `output` away between calls: it is not bounded otherwise.
    pub fn body(&mut self, _octets: &[u8]) {
        todo!()
    }
    /// Ends the content with the final dot (and a CRLF before it if the content lacks it).
    pub fn end_body(&mut self) {
        todo!()
    }
    /// Sends RSET; [`Event::ResetDone`] follows. Only between transactions.
    pub fn reset(&mut self) {
        todo!()
    }
    /// Sends QUIT; `Closed` follows. Only between transactions.
    pub fn quit(&mut self) {
        todo!()
    }
    /// What is to be written to the peer.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        todo!()
    }
    /// Says how much of [`output`](Self::output) was written.
    pub fn wrote(&mut self, _n: usize) {
        todo!()
    }
    /// The peer closed its end, or the driver lost patience with it.
    pub fn peer_closed(&mut self) {
        todo!()
    }
    /// How long to wait for the peer now (RFC 5321 §4.5.3.2).
    #[must_use]
    pub fn patience(&self) -> Duration {
        todo!()
    }
    /// Replies owed by the peer, in order.
    #[must_use]
    pub fn expected(&self) -> &VecDeque<Expect> {
        &self.expected
    }
}
