//! The receiving end of a dialogue.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::Dialect;
use crate::address::{ForwardPath, ReversePath};
use crate::extension::BodyType;
use crate::reply::Reply;

/// How a session behaves; shared by the sessions of a listener.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our name in greeting, EHLO and the goodbye (RFC 5321 §4.1.1.1).
    pub hostname: Box<str>,
    /// SMTP or LMTP.
    pub dialect: Dialect,
    /// Largest message in octets, announced by SIZE; 0: no limit is announced or kept.
    pub message_size: u64,
    /// Most recipients a transaction may have (RFC 5321 §4.5.3.1.8 asks for at least 100).
    pub recipients: usize,
    /// Refused commands before 421.
    pub errors: u32,
    /// What EHLO announces.
    pub extensions: Offered,
}

impl Settings {
    /// The defaults: 50 MiB, 1,000 recipients, 20 errors, all of [`Offered::default`].
    #[must_use]
    pub fn new(hostname: impl Into<Box<str>>) -> Settings {
        Settings {
            hostname: hostname.into(),
            dialect: Dialect::Smtp,
            message_size: 50 << 20,
            recipients: 1000,
            errors: 20,
            extensions: Offered::default(),
        }
    }
}

/// Extensions this session offers. ENHANCEDSTATUSCODES, SIZE and 8BITMIME are always offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered {
    /// PIPELINING (RFC 2920). On by default.
    pub pipelining: bool,
    /// SMTPUTF8 (RFC 6531). Off by default.
    pub smtp_utf8: bool,
}

impl Default for Offered {
    fn default() -> Self {
        Offered { pipelining: true, smtp_utf8: false }
    }
}

/// What the session asks or tells its driver.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Question: a peer is there. 220 greets it; 554, 421 and 521 refuse it (RFC 5321 §3.1).
    Connected,
    /// Question: EHLO, HELO or LHLO. A 250 is replaced by the session's own list of extensions,
    /// a refusal is sent as it is.
    Hello(Hello),
    /// Question: MAIL FROM.
    Mail(Mail),
    /// Question: RCPT TO.
    Rcpt(Rcpt),
    /// Question: DATA. 354 opens the body.
    Data,
    /// Notification: octets of the message, dot-stuffing removed, line ends CRLF; split anywhere.
    Body(&'a [u8]),
    /// Notification, once a message: the header block ended. The next `Body` (if any) starts after
    /// the empty line, the last one ended with it.
    HeadersEnd,
    /// Question, for [`Session::answer_data`]: the final dot came.
    EndOfData,
    /// Notification: the transaction is over without a message; drop the draft.
    Reset(Reset),
    /// Notification, the last: send what `output` still holds, then close.
    Closed(Closed),
}

/// EHLO, HELO or LHLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The argument as it came (printable octets; others refused with 501).
    pub name: Box<str>,
    /// EHLO or LHLO, not HELO.
    pub extended: bool,
    /// Whether the argument is a domain or address literal (RFC 5321 §4.1.1.1). A malformed one
    /// is the driver's to judge (RFC 5321 §4.1.4).
    pub well_formed: bool,
}

/// MAIL FROM and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The reverse-path.
    pub reverse_path: ReversePath,
    /// `SIZE=` (RFC 1870 §6), octets. At most `Settings::message_size` (a larger one is refused
    /// before this event).
    pub size: Option<u64>,
    /// `BODY=` (RFC 6152).
    pub body: BodyType,
    /// `SMTPUTF8` (RFC 6531 §3.4).
    pub smtp_utf8: bool,
}

/// RCPT TO and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rcpt {
    /// The forward-path.
    pub forward_path: ForwardPath,
}

/// Why a transaction ended without a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reset {
    /// RSET.
    Command,
    /// Another EHLO, HELO or LHLO (RFC 5321 §4.1.4).
    Hello,
    /// The session itself refused the message at the dot with this reply: too large, or a bare
    /// CR, bare LF or NUL in it.
    Refused(Reply),
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// QUIT.
    Quit,
    /// The peer closed its end.
    PeerClosed,
    /// The error budget is used up; 421 was sent.
    TooManyErrors,
    /// The driver answered 421 or 521, or called [`Session::close`].
    Ours,
}

/// The right to answer 2yz to the final dot.
#[derive(Debug)]
pub struct Accepted {
    reply: Reply,
}

impl Accepted {
    /// Makes it: the caller promises that the message is on stable storage. There is one caller.
    #[must_use]
    pub fn promise(text: impl Into<Cow<'static, str>>) -> Accepted {
        Accepted { reply: Reply::new(250, (2, 0, 0), text) }
    }

    /// The reply the peer will get: for the log.
    #[must_use]
    pub fn reply(&self) -> &Reply {
        &self.reply
    }
}

/// The receiving end of a dialogue. Loop: while [`wants_input`](Self::wants_input), write
/// `output` and read into `input_space`; then [`next`](Self::next), and answer if it is a question.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
}

impl Session {
    /// A new dialogue; its first event is [`Event::Connected`].
    #[must_use]
    pub fn new(settings: impl Into<Arc<Settings>>) -> Session {
        Session { settings: settings.into() }
    }
    /// Takes octets from the peer (copies; see [`input_space`](Self::input_space)).
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
    /// Whether there is no event until more octets come.
    pub fn wants_input(&mut self) -> bool {
        todo!()
    }
    /// The next event; `None` once closed (or while the session wants input or an answer).
    #[expect(clippy::should_implement_trait, reason = "it lends, which Iterator cannot")]
    pub fn next(&mut self) -> Option<Event<'_>> {
        todo!()
    }
    /// Answers the open question, exactly once. The class decides: 2yz and 3yz accept. For
    /// `EndOfData` use [`answer_data`](Self::answer_data): a 2yz here becomes 451.
    pub fn answer(&mut self, _reply: Reply) {
        todo!()
    }
    /// Answers [`Event::EndOfData`].
    pub fn answer_data(&mut self, _answer: Result<Accepted, Reply>) {
        todo!()
    }
    /// Ends the dialogue from our side with a 421 of the driver's (shutting down, timeout).
    pub fn close(&mut self, _reply: Reply) {
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
    /// The peer closed its end.
    pub fn peer_closed(&mut self) {
        todo!()
    }
    /// How long to wait for the peer now (RFC 5321 §4.5.3.2).
    #[must_use]
    pub fn patience(&self) -> Duration {
        todo!()
    }
    /// Whether a MAIL was accepted and its transaction is not over.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        todo!()
    }
    /// Whether the peer sent octets before our greeting was written (RFC 5321 §3.1, §4.3.1).
    #[must_use]
    pub fn early_talker(&self) -> bool {
        todo!()
    }
    /// The settings it was made with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}
