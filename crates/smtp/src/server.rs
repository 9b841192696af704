//! The receiving end of a dialogue (RFC 5321 §3 and §4, RFC 2033).
//!
//! The session owns protocol order: what may come when, and what is said if it comes otherwise.
//! Its driver owns the decisions: each event that is a *question* is answered exactly once, and
//! the class of the answer moves the dialogue on (2yz and 3yz accept, 4yz and 5yz leave it where
//! it was). One question is open at a time; the next command is not parsed before its answer, so
//! replies keep their order and those of a pipelined group leave in one write.
//!
//! Invariants:
//! - Only an [`Accepted`] makes a 2yz to the final dot.
//! - Only CRLF.CRLF ends a message in DATA, and only the size that was said one in BDAT. One
//!   that holds a bare CR, a bare LF or NUL, or is too large, is read to its end, refused, and
//!   the dialogue goes on.
//! - How input is cut into pieces never changes the output.
//! - An idle session holds one buffer of [`limits::INPUT_IDLE`] octets; none grows above
//!   [`limits::INPUT_BODY`] by what a peer sends.
//!
//! Not here: STARTTLS and AUTH (502 and not announced); reading from sockets;
//! waiting; and whether anything should be accepted.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::Dialect;
use crate::buffer::{Input, Output};
use crate::limits;
use crate::reply::Reply;

mod chunk;
mod commands;
mod data;

pub use crate::command::{Hello, Mail, Rcpt};

use chunk::Refused;
use data::{Data, Headers};

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
    /// Errors of protocol (500 to 504, 555) before 421. What the driver refuses is not counted,
    /// nor what fails only because a command before it in a pipelined group was refused.
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
    /// DSN (RFC 3461). Off by default.
    pub dsn: bool,
    /// CHUNKING (RFC 3030). Off by default. BINARYMIME is never offered: what may leave us has
    /// neither bare CR nor bare LF.
    pub chunking: bool,
}

impl Default for Offered {
    fn default() -> Self {
        Offered {
            pipelining: true,
            smtp_utf8: false,
            dsn: false,
            chunking: false,
        }
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
    /// Question: DATA, or the first BDAT. 354 opens the body (and is not said to BDAT).
    Data,
    /// Notification: octets of the message, dot-stuffing removed, line ends CRLF; split anywhere.
    Body(&'a [u8]),
    /// Notification, once a message: the header block ended. The next `Body` (if any) starts after
    /// the empty line, the last one ended with it.
    HeadersEnd,
    /// Question, for [`Session::answer_data`]: the final dot came, or the end of the last chunk.
    EndOfData,
    /// Notification: the transaction is over without a message; drop the draft.
    Reset(Reset),
    /// Notification, the last: send what `output` still holds, then close.
    Closed(Closed),
}

/// Why a transaction ended without a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reset {
    /// RSET.
    Command,
    /// Another EHLO, HELO or LHLO (RFC 5321 §4.1.4).
    Hello,
    /// The session itself refused the message at the dot with this reply: too large, or a bare
    /// CR, bare LF or NUL in it. Or a chunk was refused, by the session or at [`Event::Data`].
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
    /// The driver answered 421 or 521, or called [`Session::close`]; or where a chunk ends cannot
    /// be known.
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
        Accepted {
            reply: Reply::new(250, (2, 0, 0), text),
        }
    }

    /// The reply the peer will get: for the log.
    #[must_use]
    pub fn reply(&self) -> &Reply {
        &self.reply
    }
}

/// What is known and not yet told to the driver.
#[derive(Debug)]
enum Pending {
    Connected,
    Hello(Hello),
    Mail(Mail),
    Rcpt(Rcpt),
    Data,
    /// The first chunk: asked as DATA is.
    Chunk {
        size: u64,
        last: bool,
    },
    /// So many octets at the start of the input, and where that leaves the header block.
    Body(usize, Headers),
    /// The CRLF that the last line of the last chunk lacks.
    LastCrlf,
    HeadersEnd,
    EndOfData,
    Reset(Reset),
    Closed(Closed),
}

/// The question that waits for its answer, and what its answer needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Connected,
    Hello {
        extended: bool,
    },
    Mail {
        smtp_utf8: bool,
    },
    Rcpt,
    Data,
    /// The first chunk.
    Chunk {
        size: u64,
        last: bool,
    },
    EndOfData,
}

/// What the next octets are.
#[derive(Debug)]
enum Phase {
    /// Nothing is read before the greeting is answered.
    Greeting,
    /// A command line.
    Command,
    /// The rest of a spoiled command line, and what to say at its end.
    SkipLine {
        after_cr: bool,
        reply: Option<Reply>,
    },
    /// A message, or a chunk of it.
    Data(Data),
    /// The rest of a refused chunk, and what to say at its end.
    SkipChunk(Refused),
    /// Of no interest.
    Closed,
}

/// MAIL was accepted.
#[derive(Debug, Default)]
struct Transaction {
    accepted: usize,
    refused: usize,
    smtp_utf8: bool,
    /// The driver's name for it.
    name: Box<str>,
    /// What came in chunks; the next is awaited.
    chunks: Option<Data>,
}

/// The receiving end of a dialogue. Loop: while [`wants_input`](Self::wants_input), write
/// [`output`](Self::output) and read into [`input_space`](Self::input_space); then take
/// [`next`](Self::next), and answer if it is a question. The crate's documentation shows it.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    input: Input,
    output: Output,
    phase: Phase,
    pending: Option<Pending>,
    asked: Option<Asked>,
    /// A hello was accepted.
    greeted: bool,
    /// The greeting was a refusal (RFC 5321 §3.1): only QUIT is left.
    turned_away: bool,
    transaction: Option<Transaction>,
    /// The last MAIL was refused.
    mail_refused: bool,
    /// A chunk was refused: those pipelined behind it fail too.
    chunk_refused: bool,
    errors: u32,
    greeting_written: bool,
    early_talker: bool,
    peer_closed: bool,
}

impl Session {
    /// A new dialogue; its first event is [`Event::Connected`].
    #[must_use]
    pub fn new(settings: impl Into<Arc<Settings>>) -> Session {
        Session {
            settings: settings.into(),
            input: Input::new(),
            output: Output::default(),
            phase: Phase::Greeting,
            pending: Some(Pending::Connected),
            asked: None,
            greeted: false,
            turned_away: false,
            transaction: None,
            mail_refused: false,
            chunk_refused: false,
            errors: 0,
            greeting_written: false,
            early_talker: false,
            peer_closed: false,
        }
    }

    /// Takes octets from the peer (copies; see [`input_space`](Self::input_space)).
    pub fn receive(&mut self, octets: &[u8]) {
        self.early_talker |= !self.greeting_written && !octets.is_empty();
        self.input.push(octets);
    }

    /// Room to read into: never empty.
    pub fn input_space(&mut self) -> &mut [u8] {
        self.input.space()
    }

    /// Says how much of [`input_space`](Self::input_space) was filled.
    pub fn input_filled(&mut self, n: usize) {
        self.early_talker |= !self.greeting_written && n > 0;
        let most = match self.phase {
            Phase::Data(_) | Phase::SkipChunk(_) => limits::INPUT_BODY,
            _ => limits::INPUT_COMMANDS,
        };
        self.input.filled(n, most);
    }

    /// Whether there is no event until more octets come. Never while a question is open.
    pub fn wants_input(&mut self) -> bool {
        self.advance();
        self.asked.is_none() && self.pending.is_none() && !matches!(self.phase, Phase::Closed)
    }

    /// The next event; `None` once closed (or while the session wants input or an answer).
    #[expect(
        clippy::should_implement_trait,
        reason = "it lends, which Iterator cannot"
    )]
    pub fn next(&mut self) -> Option<Event<'_>> {
        self.advance();
        let (asked, event) = match self.pending.take()? {
            Pending::Connected => (Some(Asked::Connected), Event::Connected),
            Pending::Hello(hello) => (
                Some(Asked::Hello {
                    extended: hello.extended,
                }),
                Event::Hello(hello),
            ),
            Pending::Mail(mail) => (
                Some(Asked::Mail {
                    smtp_utf8: mail.smtp_utf8,
                }),
                Event::Mail(mail),
            ),
            Pending::Rcpt(rcpt) => (Some(Asked::Rcpt), Event::Rcpt(rcpt)),
            Pending::Data => (Some(Asked::Data), Event::Data),
            Pending::Chunk { size, last } => (Some(Asked::Chunk { size, last }), Event::Data),
            Pending::LastCrlf => (None, Event::Body(b"\r\n")),
            Pending::Body(len, headers) => return Some(Event::Body(self.lend_body(len, headers))),
            Pending::HeadersEnd => (None, Event::HeadersEnd),
            Pending::EndOfData => (Some(Asked::EndOfData), Event::EndOfData),
            Pending::Reset(reset) => (None, Event::Reset(reset)),
            Pending::Closed(why) => (None, Event::Closed(why)),
        };
        self.asked = asked;
        Some(event)
    }

    /// Answers the open question, exactly once; without one it does nothing. The class decides:
    /// 2yz and 3yz accept. 421 and 521 end the dialogue. For [`Event::EndOfData`] use
    /// [`answer_data`](Self::answer_data): here a 2yz to it becomes 451.
    pub fn answer(&mut self, reply: Reply) {
        let Some(asked) = self.asked.take() else {
            return;
        };
        let accepts = reply.is_positive() || reply.is_intermediate();
        match asked {
            Asked::EndOfData => return self.end_transaction(&refusal(reply)),
            Asked::Hello { extended } if accepts => self.say_hello(extended),
            Asked::Data if accepts => self.say(&Reply::start_input()),
            Asked::Chunk { size, last } if !reply.closes() => {
                return self.begin_chunks(size, last, (!accepts).then_some(reply));
            }
            _ => self.say(&reply),
        }
        if reply.closes() {
            return self.finish(Closed::Ours);
        }
        match asked {
            Asked::Connected => {
                self.turned_away = !accepts;
                self.phase = Phase::Command;
            }
            Asked::Hello { .. } if accepts => {
                self.greeted = true;
                if self.transaction.take().is_some() {
                    self.pending = Some(Pending::Reset(Reset::Hello));
                }
            }
            Asked::Mail { smtp_utf8 } if accepts => {
                self.mail_refused = false;
                self.chunk_refused = false;
                self.transaction = Some(Transaction {
                    smtp_utf8,
                    ..Transaction::default()
                });
            }
            Asked::Rcpt => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.accepted += usize::from(accepts);
                    transaction.refused += usize::from(!accepts);
                }
            }
            Asked::Data if accepts => self.phase = Phase::Data(Data::new()),
            Asked::Mail { .. } => self.mail_refused = true,
            Asked::Hello { .. } | Asked::Data | Asked::Chunk { .. } | Asked::EndOfData => {}
        }
    }

    /// Names the open transaction; the name then stands in brackets at the end of each refusal
    /// that the session makes by itself, so that peer and driver speak of the same thing. Without
    /// an open transaction it does nothing.
    pub fn name_transaction(&mut self, name: &str) {
        if let Some(transaction) = &mut self.transaction {
            transaction.name = name.into();
        }
    }

    /// Answers [`Event::EndOfData`]; without it open it does nothing. In LMTP the answer holds
    /// for every accepted recipient, and is said once for each (RFC 2033 §4.2).
    pub fn answer_data(&mut self, answer: Result<Accepted, Reply>) {
        if self.asked != Some(Asked::EndOfData) {
            return;
        }
        self.asked = None;
        let reply = match answer {
            Ok(accepted) => accepted.reply,
            Err(reply) => refusal(reply),
        };
        self.end_transaction(&reply);
    }

    /// Ends the dialogue from our side with a 421 of the driver's (shutting down, timeout); it
    /// also answers the open question, if there is one.
    #[expect(clippy::needless_pass_by_value, reason = "a reply is given once")]
    pub fn close(&mut self, reply: Reply) {
        if !matches!(self.phase, Phase::Closed) {
            self.say(&reply);
            self.finish(Closed::Ours);
        }
    }

    /// What is to be written to the peer.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.octets()
    }

    /// Says how much of [`output`](Self::output) was written.
    pub fn wrote(&mut self, n: usize) {
        self.output.wrote(n);
        self.greeting_written |=
            !matches!(self.phase, Phase::Greeting) && self.output.octets().is_empty();
    }

    /// The peer closed its end. What it sent before is still heard.
    pub fn peer_closed(&mut self) {
        self.peer_closed = true;
    }

    /// How long to wait for the peer now (RFC 5321 §4.5.3.2.7).
    #[must_use]
    pub fn patience(&self) -> Duration {
        limits::SERVER_PATIENCE
    }

    /// Whether a MAIL was accepted and its transaction is not over.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Whether the peer sent octets before our greeting was wholly written (it must wait for it:
    /// RFC 5321 §3.1). What to do about it is the driver's matter.
    #[must_use]
    pub fn early_talker(&self) -> bool {
        self.early_talker
    }

    /// The settings it was made with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Works on the input until there is an event, or more input is needed.
    fn advance(&mut self) {
        while self.asked.is_none() && self.pending.is_none() {
            let moved = match self.phase {
                Phase::Greeting | Phase::Closed => return,
                Phase::Command => self.read_command(),
                Phase::SkipLine { .. } => self.skip_line(),
                Phase::Data(_) => self.read_data(),
                Phase::SkipChunk(_) => self.skip_chunk(),
            };
            if !moved {
                if self.peer_closed {
                    self.finish(Closed::PeerClosed);
                }
                return;
            }
        }
    }

    /// A refusal of ours, with the name of the transaction that it is about.
    fn named(&self, reply: Reply) -> Reply {
        match &self.transaction {
            Some(transaction) if !transaction.name.is_empty() => reply.tagged(&transaction.name),
            _ => reply,
        }
    }

    fn say(&mut self, reply: &Reply) {
        reply.render(self.output.append());
    }

    /// The reply to a final dot, and the end of the transaction.
    fn end_transaction(&mut self, reply: &Reply) {
        let transaction = self.transaction.take().unwrap_or_default();
        let times = match self.settings.dialect {
            Dialect::Smtp => 1,
            Dialect::Lmtp => transaction.accepted,
        };
        for _ in 0..times {
            self.say(reply);
        }
        self.input.settle(limits::INPUT_COMMANDS);
        self.phase = Phase::Command;
        if reply.closes() {
            self.finish(Closed::Ours);
        }
    }

    fn finish(&mut self, why: Closed) {
        self.phase = Phase::Closed;
        self.asked = None;
        self.pending = Some(Pending::Closed(why));
    }
}

/// A reply that refuses: the driver's, unless it would accept without an [`Accepted`].
fn refusal(reply: Reply) -> Reply {
    if reply.is_transient() || reply.is_permanent() {
        reply
    } else {
        Reply::local_error()
    }
}
