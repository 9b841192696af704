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
//! - No bare CR, bare LF or NUL is ever sent but in a chunk of BINARYMIME, and only `end_body`
//!   writes CRLF.CRLF.
//! - Input is never thrown away because of an error (RFC 2920 §3.1).
//! - Nothing that came in clear is believed in TLS: octets behind the reply to STARTTLS end the
//!   dialogue, and what the peer offered is forgotten (RFC 3207 §4.2).
//!
//! Not here: which peer to talk to, retrying, the TLS handshake and what a certificate is worth,
//! the mechanisms of AUTH, waiting.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Dialect;
use crate::buffer::{Input, Output};
use crate::extension::Extensions;
use crate::limits;
use crate::reply::{PartialReply, Reply, push_display};

mod auth;
mod exchange;
mod replies;
mod transaction;

use auth::Auth;
use exchange::{Exchange, Said};
pub use transaction::{Options, RecipientOptions, Transaction, Unsuitable};

/// How a session behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our name for EHLO, HELO or LHLO (RFC 5321 §4.1.1.1): a domain or an address literal.
    pub hello_name: Box<str>,
    /// SMTP or LMTP.
    pub dialect: Dialect,
    /// Whether to say STARTTLS.
    pub tls: Tls,
}

impl Settings {
    /// A dialogue in clear, or in TLS from its first octet.
    #[must_use]
    pub fn new(hello_name: &str, dialect: Dialect) -> Settings {
        Settings {
            hello_name: hello_name.into(),
            dialect,
            tls: Tls::Never,
        }
    }
}

/// Whether a session says STARTTLS (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    Never,
    /// When the peer offers it; without, the dialogue goes on in clear.
    IfOffered,
    /// Without it there is no dialogue.
    Required,
}

/// What the session tells its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The reply to STARTTLS has come: write `output` away, do the handshake on the same
    /// connection, then call [`Session::tls_started`]. When it fails, close.
    StartTls,
    /// There is no TLS to be had, though [`Settings::tls`] asked for it: the reply to STARTTLS, or
    /// none when it is not offered and was required. Where it was required, the session says QUIT
    /// and then closes; else `Ready` follows.
    NoTls(Option<Reply>),
    /// EHLO (or HELO) was accepted: begin a transaction, or AUTH.
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
    /// A challenge of the AUTH exchange, decoded: answer with [`Session::respond`] or
    /// [`Session::cancel_auth`].
    Challenge(Vec<u8>),
    /// The end of the AUTH exchange. After a 2yz, `Ready` follows.
    AuthDone(Reply),
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
    /// Octets between the reply to STARTTLS and the handshake: somebody in between wrote them.
    Injected,
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
    /// STARTTLS.
    StartTls,
    /// AUTH, or a line of its exchange.
    Auth,
    /// EHLO or LHLO after AUTH.
    EhloAgain,
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
    /// Greeting, hello and STARTTLS.
    Opening,
    /// The driver does the TLS handshake.
    Handshake,
    /// Transactions may be begun.
    Ready,
    /// In the exchange of AUTH.
    Authenticating,
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
    /// In TLS.
    secure: bool,
    auth: Auth,
    authenticated: bool,
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
            secure: false,
            auth: Auth::default(),
            authenticated: false,
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
    /// `begin`, `body` or `quit` from the driver). Not during the TLS handshake.
    pub fn wants_input(&mut self) -> bool {
        self.advance();
        self.events.is_empty() && !matches!(self.state, State::Handshake | State::Closed)
    }

    /// The next event, if there is one now.
    #[expect(clippy::should_implement_trait, reason = "None is not the end")]
    pub fn next(&mut self) -> Option<Event> {
        self.advance();
        self.events.pop_front()
    }

    /// The driver has done the TLS handshake: after [`Event::StartTls`], and before the first octet
    /// where TLS comes first (RFC 8314 §3.3). The session forgets what it learned in clear and says
    /// EHLO again (RFC 3207 §4.2).
    pub fn tls_started(&mut self) {
        // Octets that came before it are looked at, and are the end of the dialogue.
        let untouched = self.input.octets().is_empty() && !self.peer_closed;
        match self.state {
            State::Handshake if untouched => {
                self.secure = true;
                self.state = State::Opening;
                self.say_ehlo(Expect::Ehlo);
            }
            State::Opening if untouched && self.expected.front() == Some(&Expect::Greeting) => {
                self.secure = true;
            }
            _ => {}
        }
    }

    /// Whether [`begin`](Self::begin) is allowed now: after `Ready`, when no transaction is open
    /// but for those that are sent whole and whose final replies are owed.
    #[must_use]
    pub fn can_begin(&self) -> bool {
        let told = !matches!(self.events.back(), Some(Event::Ready(_)));
        self.state == State::Ready
            && told
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
        mut options: Options,
    ) -> Result<(), Unsuitable> {
        options.ahead &= self.settings.dialect == Dialect::Smtp && self.extensions.pipelining;
        if !self.can_begin() || transaction.recipients.is_empty() {
            return Err(Unsuitable::NotReady);
        }
        transaction.suits(&options, &self.extensions, self.secure)?;
        // In a flight nobody knows yet whether the peer took the last chunk; if it did not, its
        // transaction may still be open, and would swallow this one.
        let in_doubt = options.ahead && options.chunk.is_some() && !self.exchanges.is_empty();
        let reset_first = std::mem::take(&mut self.unreset) || in_doubt;
        self.exchanges.push_back(Exchange::new(
            transaction,
            options,
            reset_first,
            self.authenticated,
        ));
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
            Some(Expect::Greeting | Expect::Ehlo | Expect::Helo | Expect::EhloAgain) => {
                limits::GREETING_PATIENCE
            }
            Some(Expect::StartTls | Expect::Auth) => limits::AUTH_PATIENCE,
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

    /// Says EHLO, or LHLO in that dialect.
    fn say_ehlo(&mut self, expect: Expect) {
        let verb = match self.settings.dialect {
            Dialect::Smtp => "EHLO",
            Dialect::Lmtp => "LHLO",
        };
        self.say_hello(verb, expect);
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
