//! The sending end of a dialogue (RFC 5321 §3 and §4.5.3.2, RFC 2920, RFC 2033).
//!
//! A transaction is a plan (MAIL, RCPT…, DATA) of which a cursor says what is sent; every command
//! sent adds to the queue of replies owed, [`Expect`], and every reply is read as the answer to
//! its front. PIPELINING is only how far the cursor may run ahead of that queue.
//!
//! Invariants:
//! - Each transaction begun ends with exactly one [`Event::Finished`], one outcome a recipient,
//!   also when the connection is lost; a loss before the final dot is told from one after it.
//! - `Accepted` is said only for a 2yz that came after the final dot was wholly written.
//! - No bare CR, bare LF or NUL is ever sent, and only `end_body` writes CRLF.CRLF.
//! - Input is never thrown away because of an error (RFC 2920 §3.1).
//!
//! Not here: which peer to talk to, retrying, STARTTLS, AUTH, waiting.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Dialect;
use crate::address::{ForwardPath, ReversePath};
use crate::buffer::{Input, Output};
use crate::dsn::{EnvelopeId, Notify, OriginalRecipient, Ret};
use crate::extension::{BodyType, Extensions};
use crate::limits;
use crate::reply::{PartialReply, Reply, push_display};

mod exchange;
mod replies;

use exchange::{Exchange, Said};

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

/// What a transaction has besides, for peers that offer it. Passed on as it is to a peer that
/// offers DSN and left out for others: [`Extensions::dsn`] in [`Event::Ready`] tells the driver,
/// which then owes a `relayed` report where success was asked for (RFC 3461 §5.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `RET=` (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// `ENVID=` (RFC 3461 §4.4).
    pub envelope_id: Option<EnvelopeId>,
    /// For the recipients in their order; those beyond its end have none.
    pub recipients: Vec<RecipientOptions>,
    /// Send the content with BDAT where CHUNKING is offered (RFC 3030): its exact octets, as they
    /// will be given to [`Session::body`]. `SendBody` then comes once RCPT is answered.
    pub chunk: Option<u64>,
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
        match self {
            Unsuitable::NeedsEightBitMime => Reply::new(
                554,
                (5, 6, 3),
                "8-bit message, and the next hop lacks 8BITMIME",
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

/// What the session tells its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// EHLO (or HELO) was accepted: begin a transaction.
    Ready(Extensions),
    /// The greeting or hello was refused; the session says QUIT by itself and then closes.
    Refused(Stage, Reply),
    /// 354 came, or BDAT was said: give the content with [`Session::body`] and
    /// [`Session::end_body`].
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
    /// The content held a bare CR, a bare LF or NUL, or was not as long as [`Options::chunk`]
    /// said: it was not sent whole and never ended.
    Unsendable,
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

/// What the session as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Greeting and hello.
    Opening,
    /// Transactions may be begun.
    Ready,
    /// QUIT is said or to be said.
    Quitting,
    /// Over.
    Closed,
}

/// The sending end of a dialogue. Loop: take events with [`next`](Self::next) until `None`, do
/// what they ask; write [`output`](Self::output); while [`wants_input`](Self::wants_input), read
/// into [`input_space`](Self::input_space).
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    input: Input,
    output: Output,
    state: State,
    extensions: Extensions,
    expected: VecDeque<Expect>,
    partial: PartialReply,
    events: VecDeque<Event>,
    /// Transactions begun and not finished; only the last may have commands left to send.
    exchanges: VecDeque<Exchange>,
    /// A transaction of ours ended without end-of-data, and the peer does not know it.
    unreset: bool,
    /// The driver asked for RSET.
    reset_asked: bool,
    peer_closed: bool,
}

impl Session {
    /// A new dialogue; it waits for the greeting.
    #[must_use]
    pub fn new(settings: Settings) -> Session {
        Session {
            settings,
            input: Input::new(),
            output: Output::default(),
            state: State::Opening,
            extensions: Extensions::default(),
            expected: VecDeque::from([Expect::Greeting]),
            partial: PartialReply::default(),
            events: VecDeque::new(),
            exchanges: VecDeque::new(),
            unreset: false,
            reset_asked: false,
            peer_closed: false,
        }
    }

    /// Takes octets from the peer (copies).
    pub fn receive(&mut self, octets: &[u8]) {
        self.input.push(octets);
    }

    /// Room to read into: never empty.
    pub fn input_space(&mut self) -> &mut [u8] {
        self.input.space()
    }

    /// Says how much of [`input_space`](Self::input_space) was filled.
    pub fn input_filled(&mut self, n: usize) {
        self.input.filled(n, limits::INPUT_COMMANDS);
    }

    /// Whether there is no event until more octets come from the peer (it may still want
    /// `begin`, `body` or `quit` from the driver).
    pub fn wants_input(&mut self) -> bool {
        self.advance();
        self.events.is_empty() && self.state != State::Closed
    }

    /// The next event, if there is one now.
    #[expect(clippy::should_implement_trait, reason = "None is not the end")]
    pub fn next(&mut self) -> Option<Event> {
        self.advance();
        self.events.pop_front()
    }

    /// Whether [`begin`](Self::begin) is allowed now: after `Ready`, when no transaction is open
    /// but for one whose final reply is owed.
    #[must_use]
    pub fn can_begin(&self) -> bool {
        self.state == State::Ready
            && self.exchanges.len() < limits::TRANSACTIONS_IN_FLIGHT
            && self.exchanges.iter().all(Exchange::is_sent)
    }

    /// Begins a transaction. Allowed while the last final dot's reply is still owed (RFC 2920
    /// §3.1): then at most [`limits::TRANSACTIONS_IN_FLIGHT`] are open. Without PIPELINING its
    /// commands wait for that reply.
    ///
    /// # Errors
    /// Nothing of it was sent, and no event will follow.
    pub fn begin(&mut self, transaction: Transaction) -> Result<(), Unsuitable> {
        self.begin_with(transaction, Options::default())
    }

    /// [`begin`](Self::begin), with options.
    ///
    /// # Errors
    /// The same.
    pub fn begin_with(
        &mut self,
        transaction: Transaction,
        options: Options,
    ) -> Result<(), Unsuitable> {
        if !self.can_begin() || transaction.recipients.is_empty() {
            return Err(Unsuitable::NotReady);
        }
        if transaction.body == BodyType::EightBitMime && !self.extensions.eight_bit_mime {
            return Err(Unsuitable::NeedsEightBitMime);
        }
        if transaction.needs_utf8() && !self.extensions.smtp_utf8 {
            return Err(Unsuitable::NeedsSmtpUtf8);
        }
        if let (Some(Some(limit)), Some(size)) = (self.extensions.size, transaction.size)
            && size > limit
        {
            return Err(Unsuitable::TooLarge { limit });
        }
        let reset_first = std::mem::take(&mut self.unreset);
        self.exchanges
            .push_back(Exchange::new(transaction, options, reset_first));
        self.pump();
        Ok(())
    }

    /// Appends content (lines ending with CRLF, split anywhere), dot-stuffed, to `output`. Only
    /// after `SendBody`, else it does nothing. Write `output` away between calls: it is not
    /// bounded otherwise. A bare CR, bare LF or NUL ends the session: [`Closed::Unsendable`].
    pub fn body(&mut self, octets: &[u8]) {
        let Some(content) = self.exchanges.back_mut().and_then(Exchange::content) else {
            return;
        };
        if let Err(unfit) = content.push(octets, self.output.append()) {
            self.unsendable(unfit);
        }
    }

    /// Ends the content with the final dot (and a CRLF before it if the content lacks it), or the
    /// chunk with its last octet.
    pub fn end_body(&mut self) {
        let Some(exchange) = self.exchanges.back_mut() else {
            return;
        };
        let Some(content) = exchange.content() else {
            return;
        };
        if let Err(unfit) = content.finish(self.output.append()) {
            return self.unsendable(unfit);
        }
        let position = self.output.position();
        exchange.dot_said(position, self.settings.dialect, &mut self.expected);
    }

    /// Sends RSET; [`Event::ResetDone`] follows. Only between transactions, else it does nothing.
    pub fn reset(&mut self) {
        if self.state == State::Ready && self.exchanges.is_empty() && !self.reset_asked {
            self.reset_asked = true;
            self.unreset = false;
            self.say("RSET", Expect::Rset);
        }
    }

    /// Sends QUIT; `Closed` follows. Only between transactions, else it does nothing. After
    /// `Refused` the session says QUIT by itself.
    pub fn quit(&mut self) {
        if self.state == State::Ready && self.exchanges.is_empty() {
            self.state = State::Quitting;
            self.say("QUIT", Expect::Quit);
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
    }

    /// The peer closed its end, or the driver lost patience with it. What the peer said before is
    /// still heard; then open transactions finish as lost.
    pub fn peer_closed(&mut self) {
        self.peer_closed = true;
    }

    /// How long to wait for the peer now (RFC 5321 §4.5.3.2).
    #[must_use]
    pub fn patience(&self) -> Duration {
        match self.expected.front() {
            Some(Expect::Greeting | Expect::Ehlo | Expect::Helo) => limits::GREETING_PATIENCE,
            Some(Expect::Mail) => limits::MAIL_PATIENCE,
            Some(Expect::Rcpt(_)) => limits::RCPT_PATIENCE,
            Some(Expect::Data) => limits::DATA_PATIENCE,
            Some(Expect::EndOfData | Expect::EndOfDataFor(_)) => limits::END_OF_DATA_PATIENCE,
            Some(Expect::Rset | Expect::Quit) => limits::QUIT_PATIENCE,
            None => limits::BODY_PATIENCE,
        }
    }

    /// Replies owed by the peer, in order.
    #[must_use]
    pub fn expected(&self) -> &VecDeque<Expect> {
        &self.expected
    }

    /// Says a command and notes the reply it will get.
    fn say(&mut self, command: &str, expect: Expect) {
        push_display(self.output.append(), format_args!("{command}\r\n"));
        self.expected.push_back(expect);
    }

    /// Says EHLO, HELO or LHLO; a name from a careless configuration cannot break the line.
    fn say_hello(&mut self, verb: &str, expect: Expect) {
        let name = &self.settings.hello_name;
        let name: String = name.chars().filter(|c| c.is_ascii_graphic()).collect();
        self.say(&format!("{verb} {name}"), expect);
    }

    /// Sends what may be sent of the last transaction: all at once with PIPELINING, as far as
    /// [`limits::PIPELINED_COMMANDS`] allows, else one command a reply.
    fn pump(&mut self) {
        let ahead = if self.extensions.pipelining {
            limits::PIPELINED_COMMANDS
        } else {
            1
        };
        let Some(exchange) = self.exchanges.back_mut() else {
            return;
        };
        while self.expected.len() < ahead {
            match exchange.say_next(&self.extensions, self.output.append()) {
                None => return,
                Some(Said::Command(expect)) => self.expected.push_back(expect),
                Some(Said::Chunk) => return self.events.push_back(Event::SendBody),
            }
        }
    }
}

impl Transaction {
    /// Whether an address or the content asks for SMTPUTF8 (RFC 6531 §3.4).
    fn needs_utf8(&self) -> bool {
        let mut mailboxes = self.recipients.iter().map(ForwardPath::mailbox);
        self.smtp_utf8
            || self
                .reverse_path
                .mailbox()
                .is_some_and(|mailbox| mailbox.needs_utf8())
            || mailboxes.any(|mailbox| mailbox.is_some_and(|mailbox| mailbox.needs_utf8()))
    }
}
