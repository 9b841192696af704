//! Replies read by a client session, and the ends a dialogue may come to.

use super::exchange::{Then, outcome};
use super::{Closed, Event, Expect, Malformed, RecipientOutcome, Session, Stage, State, Tls};
use crate::Dialect;
use crate::body::Unfit;
use crate::extension::Extensions;
use crate::limits;
use crate::line;
use crate::reply::{More, Reply};

impl Session {
    /// Reads replies until there is an event, or more input is needed.
    pub(super) fn advance(&mut self) {
        while self.events.is_empty() && self.state != State::Closed {
            if self.state == State::Handshake && !self.input.octets().is_empty() {
                self.end(Closed::Malformed(Malformed::Injected));
                continue;
            }
            if self.read_line() {
                continue;
            }
            if self.peer_closed {
                let quitting = self.state == State::Quitting;
                self.end(if quitting {
                    Closed::Quit
                } else {
                    Closed::PeerClosed
                });
            }
            return;
        }
    }

    /// The content cannot be sent: the transaction must not end with a dot, so the connection
    /// ends.
    pub(super) fn unsendable(&mut self, unfit: Unfit) {
        let text = "Message contains a bare CR, a bare LF or NUL and cannot be sent";
        let reply = match unfit {
            Unfit::Flaw(_) => Reply::new(554, (5, 6, 0), text),
            Unfit::Length => Reply::local_error(),
        };
        if let Some(exchange) = self.exchanges.back_mut() {
            exchange.decide_all(|| outcome(&reply));
        }
        self.end(Closed::Unsendable);
    }

    /// Reads one line of a reply; false if it needs more octets.
    fn read_line(&mut self) -> bool {
        let octets = self.input.octets();
        let most = match self.expected.front() {
            Some(Expect::Auth) => limits::AUTH_LINE,
            _ => limits::REPLY_LINE_READ,
        };
        let window = octets.get(..most).unwrap_or(octets);
        let Some(end) = line::find(b'\n', window) else {
            if octets.len() >= most {
                self.end(Closed::Malformed(Malformed::TooLong));
                return true;
            }
            return false;
        };
        let line = octets.get(..end).unwrap_or_default();
        let more = self.partial.add(line);
        self.input.consume(end + 1);
        match more {
            None => self.end(Closed::Malformed(Malformed::Syntax)),
            Some(More::Yes) if self.partial.len() > limits::REPLY_READ => {
                self.end(Closed::Malformed(Malformed::TooLong));
            }
            Some(More::Yes) => {}
            Some(More::No) => {
                let reply = self.partial.finish();
                self.heard(reply);
            }
        }
        true
    }

    fn heard(&mut self, reply: Reply) {
        let expect = self.expected.pop_front();
        if reply.code() == 421 && expect != Some(Expect::Quit) {
            return self.shutting_down(expect, reply);
        }
        match expect {
            None => self.unexpected(&reply),
            Some(Expect::Greeting) if reply.is_positive() => self.say_ehlo(Expect::Ehlo),
            Some(Expect::Ehlo) if reply.is_positive() => {
                self.greeted(Extensions::from_ehlo(&reply));
            }
            // RFC 5321 §3.2 and §4.1.4; LMTP has no older hello (RFC 2033 §4.1).
            Some(Expect::Ehlo)
                if reply.is_permanent() && self.settings.dialect == Dialect::Smtp =>
            {
                self.say_hello("HELO", Expect::Helo);
            }
            Some(Expect::Helo) if reply.is_positive() => {
                self.greeted(Extensions::from_helo(&reply));
            }
            Some(Expect::Greeting) => self.refused(Stage::Greeting, reply),
            Some(Expect::Ehlo | Expect::Helo) => self.refused(Stage::Hello, reply),
            Some(Expect::StartTls) if reply.is_positive() => self.start_tls(),
            Some(Expect::StartTls) if reply.is_intermediate() => {
                self.end(Closed::Malformed(Malformed::Unexpected));
            }
            Some(Expect::StartTls) => self.no_tls(Some(reply)),
            Some(Expect::Auth) => self.heard_auth(reply),
            Some(Expect::EhloAgain) => {
                if reply.is_positive() {
                    self.extensions = Extensions::from_ehlo(&reply);
                }
                self.ready();
            }
            Some(Expect::Quit) => self.end(Closed::Quit),
            Some(Expect::Rset) => {
                if std::mem::take(&mut self.reset_asked) {
                    self.events.push_back(Event::ResetDone(reply));
                }
                self.pump();
            }
            Some(expect) => self.heard_in_transaction(expect, &reply),
        }
    }

    fn heard_in_transaction(&mut self, expect: Expect, reply: &Reply) {
        let written = self.output.total();
        let Some(exchange) = self.exchanges.front_mut() else {
            return;
        };
        let at_end = matches!(expect, Expect::EndOfData | Expect::EndOfDataFor(_));
        if at_end && !exchange.is_written(written) {
            return self.unexpected(reply);
        }
        match exchange.heard(expect, reply) {
            Err(malformed) => return self.end(Closed::Malformed(malformed)),
            Ok(Then::Nothing) => {}
            Ok(Then::SendBody) => self.events.push_back(Event::SendBody),
            Ok(Then::SendLoneDot) => {
                self.output.append().extend_from_slice(b".\r\n");
                let position = self.output.position();
                exchange.dot_said(position, self.settings.dialect, &mut self.expected);
            }
        }
        if exchange.is_finished()
            && let Some(exchange) = self.exchanges.pop_front()
        {
            self.unreset = exchange.leaves_open();
            self.events
                .push_back(Event::Finished(exchange.into_outcomes(written)));
        }
        self.pump();
    }

    /// The hello was accepted: TLS is next, where it is wanted and not there yet.
    fn greeted(&mut self, extensions: Extensions) {
        self.extensions = extensions;
        let wanted = if self.secure {
            Tls::Never
        } else {
            self.settings.tls
        };
        match (wanted, self.extensions.starttls) {
            (Tls::Never, _) | (Tls::IfOffered, false) => self.ready(),
            (Tls::IfOffered | Tls::Required, true) => self.say("STARTTLS", Expect::StartTls),
            (Tls::Required, false) => self.no_tls(None),
        }
    }

    /// The peer waits for the handshake. What came with its reply, or before our command was
    /// written, came from somebody who is not behind the TLS (CVE-2011-0411).
    fn start_tls(&mut self) {
        if !self.input.octets().is_empty() || !self.output.octets().is_empty() {
            return self.end(Closed::Malformed(Malformed::Injected));
        }
        self.extensions = Extensions::default();
        self.state = State::Handshake;
        self.events.push_back(Event::StartTls);
    }

    fn no_tls(&mut self, reply: Option<Reply>) {
        self.events.push_back(Event::NoTls(reply));
        match self.settings.tls {
            Tls::Required => {
                self.state = State::Quitting;
                self.say("QUIT", Expect::Quit);
            }
            Tls::Never | Tls::IfOffered => self.ready(),
        }
    }

    pub(super) fn ready(&mut self) {
        self.state = State::Ready;
        self.events.push_back(Event::Ready(self.extensions.clone()));
    }

    fn refused(&mut self, stage: Stage, reply: Reply) {
        if reply.is_intermediate() {
            return self.end(Closed::Malformed(Malformed::Unexpected));
        }
        self.events.push_back(Event::Refused(stage, reply));
        self.state = State::Quitting;
        self.say("QUIT", Expect::Quit);
    }

    /// 421 may answer anything (RFC 5321 §3.8); nothing open will be answered any more.
    fn shutting_down(&mut self, expect: Option<Expect>, reply: Reply) {
        match expect {
            Some(Expect::Greeting) => {
                self.events
                    .push_back(Event::Refused(Stage::Greeting, reply.clone()));
            }
            Some(Expect::Ehlo | Expect::Helo) => {
                self.events
                    .push_back(Event::Refused(Stage::Hello, reply.clone()));
            }
            _ => {}
        }
        for exchange in &mut self.exchanges {
            exchange.decide_all(|| RecipientOutcome::Deferred(reply.clone()));
        }
        self.end(Closed::ShuttingDown(reply));
    }

    /// A reply that no command asked for, or one to a final dot that is not written. A refusal in
    /// the midst of the content is an answer all the same: some servers do not wait for the dot.
    fn unexpected(&mut self, reply: &Reply) {
        if let Some(exchange) = self.exchanges.front_mut()
            && (reply.is_transient() || reply.is_permanent())
        {
            exchange.decide_all(|| outcome(reply));
        }
        self.end(Closed::Malformed(Malformed::Unexpected));
    }

    /// Ends the dialogue: open transactions finish, and nothing more is written.
    pub(super) fn end(&mut self, why: Closed) {
        let written = self.output.total();
        for exchange in std::mem::take(&mut self.exchanges) {
            self.events
                .push_back(Event::Finished(exchange.into_outcomes(written)));
        }
        self.events.push_back(Event::Closed(why));
        self.state = State::Closed;
        self.expected.clear();
        self.output.discard();
    }
}
