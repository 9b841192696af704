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
//!   the dialogue goes on; unless its end is further than [`limits::REFUSED_EXCESS`].
//! - How input is cut into pieces never changes the output.
//! - An idle session holds one buffer of [`limits::INPUT_IDLE`] octets; none grows above
//!   [`limits::INPUT_BODY`] by what a peer sends.
//!
//! - Nothing that came in clear is known after STARTTLS.
//!
//! Not here: TLS; authentication mechanisms; reading from sockets; waiting; and whether anything
//! should be accepted.

use std::sync::Arc;
use std::time::Duration;

use crate::Dialect;
use crate::buffer::{Input, Output};
use crate::extension::{BodyType, FutureRelease};
use crate::limits;
use crate::reply::Reply;

mod auth;
mod chunk;
mod commands;
mod data;
mod event;
mod hello;
mod help;
mod settings;
mod tls;

pub use crate::command::{Attribute, Hello, Mail, Protocol, Rcpt, Xclient};
pub use event::{Accepted, Auth, Closed, Event, Reset};
pub use settings::{Offered, Settings};

use chunk::Refused;
use data::{Data, Headers};

/// What is known and not yet told to the driver.
#[derive(Debug)]
enum Pending {
    Connected,
    Hello(Hello),
    StartTls,
    Auth(Auth),
    Xclient(Xclient),
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
    StartTls,
    Auth,
    Xclient {
        login: bool,
    },
    Mail {
        smtp_utf8: bool,
        binary: bool,
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
    /// A response of an AUTH exchange.
    Response,
    /// Nothing, until TLS has started.
    Handshake,
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
    /// Its content need not be text.
    binary: bool,
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
    /// Octets of a refused message, since the last MAIL.
    dropped: u64,
    /// A chunk was refused: those pipelined behind it fail too.
    chunk_refused: bool,
    errors: u32,
    /// Commands since the last message that brought nothing.
    commands: u32,
    /// Transactions that were begun.
    transactions: u32,
    future_release: Option<FutureRelease>,
    /// What AUTH has.
    mechanisms: Arc<[Box<str>]>,
    auth_failures: u32,
    authenticated: bool,
    is_tls: bool,
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
            dropped: 0,
            chunk_refused: false,
            errors: 0,
            commands: 0,
            transactions: 0,
            future_release: None,
            mechanisms: Arc::default(),
            auth_failures: 0,
            authenticated: false,
            is_tls: false,
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

    /// Whether there is no event until more octets come. Never while a question is open, nor
    /// while a handshake is awaited.
    pub fn wants_input(&mut self) -> bool {
        self.advance();
        let reads = !matches!(self.phase, Phase::Closed | Phase::Handshake);
        self.asked.is_none() && self.pending.is_none() && reads
    }

    /// The next event; `None` once closed (or while the session wants input, an answer or a
    /// handshake).
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
            Pending::StartTls => (Some(Asked::StartTls), Event::StartTls),
            Pending::Auth(Auth::Cancelled) => (None, Event::Auth(Auth::Cancelled)),
            Pending::Auth(step) => (Some(Asked::Auth), Event::Auth(step)),
            Pending::Xclient(xclient) => {
                let login = matches!(xclient.login, Some(Attribute::Known(_)));
                (Some(Asked::Xclient { login }), Event::Xclient(xclient))
            }
            Pending::Mail(mail) => (
                Some(Asked::Mail {
                    smtp_utf8: mail.smtp_utf8,
                    binary: mail.body == BodyType::BinaryMime,
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
            Asked::StartTls if accepts => return self.begin_handshake(),
            Asked::Auth => return self.end_exchange(reply),
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
            Asked::Xclient { login } if accepts => {
                self.forget();
                self.authenticated = login;
            }
            Asked::Hello { .. } if accepts => {
                self.greeted = true;
                if self.transaction.take().is_some() {
                    self.pending = Some(Pending::Reset(Reset::Hello));
                }
            }
            Asked::Mail { smtp_utf8, binary } if accepts => {
                self.mail_refused = false;
                self.chunk_refused = false;
                self.dropped = 0;
                self.transactions += 1;
                self.transaction = Some(Transaction {
                    smtp_utf8,
                    binary,
                    ..Transaction::default()
                });
            }
            Asked::Rcpt => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.accepted += usize::from(accepts);
                    transaction.refused += usize::from(!accepts);
                }
                self.uncount(accepts);
            }
            Asked::Data if accepts => self.phase = Phase::Data(Data::new()),
            Asked::Mail { .. } => self.mail_refused = true,
            Asked::Hello { .. } | Asked::StartTls | Asked::Auth | Asked::Xclient { .. } => {}
            Asked::Data | Asked::Chunk { .. } | Asked::EndOfData => {}
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
        match self.phase {
            Phase::Closed => return,
            // The peer waits for TLS, not for words.
            Phase::Handshake => {}
            _ => self.say(&reply),
        }
        self.finish(Closed::Ours);
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

    /// Whether what comes now belongs to a message, or a chunk, that is refused already.
    #[must_use]
    pub fn drops_message(&self) -> bool {
        match &self.phase {
            Phase::Data(data) => data.is_refused(),
            Phase::SkipChunk(_) => true,
            _ => false,
        }
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
                Phase::Response => self.read_response(),
                Phase::Handshake => self.await_handshake(),
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
        if reply.is_positive() {
            self.commands = 0;
        }
        self.input.settle(limits::INPUT_COMMANDS);
        self.phase = Phase::Command;
        if reply.closes() {
            self.finish(Closed::Ours);
        }
    }

    /// Forgets all that the peer said.
    fn forget(&mut self) {
        self.greeted = false;
        self.transaction = None;
        self.mail_refused = false;
        self.chunk_refused = false;
        self.authenticated = false;
        self.errors = 0;
        self.commands = 0;
        self.transactions = 0;
        self.auth_failures = 0;
    }

    /// The last command brought something: it is not counted.
    fn uncount(&mut self, useful: bool) {
        self.commands = self.commands.saturating_sub(u32::from(useful));
    }

    /// Counts octets that were dropped; true if that were too many, and the dialogue is over.
    fn drop_counted(&mut self, octets: usize) -> bool {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        self.dropped = self.dropped.saturating_add(octets);
        let most = self.settings.message_size;
        let too_many = self.dropped > most.saturating_add(limits::REFUSED_EXCESS);
        if too_many {
            let text = format!(
                "{} a refused message does not end, closing connection",
                self.settings.hostname
            );
            let reply = self.named(Reply::new(421, (4, 3, 4), text));
            self.say(&reply);
            self.finish(Closed::Ours);
        }
        too_many
    }

    /// What of a message came before it was refused counts towards the size that is permitted.
    fn begin_to_drop(&mut self, came: u64) {
        if self.settings.message_size > 0 {
            self.dropped = self.dropped.saturating_add(came);
        }
    }

    /// 421 to a peer that has used up a limit of ours.
    fn hang_up(&mut self, why: Closed, text: &str) {
        let text = format!("{} {text}, closing connection", self.settings.hostname);
        self.say(&Reply::new(421, (4, 7, 0), text));
        self.finish(why);
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
