//! Command lines of a server session: which may come when (RFC 5321 §4.1.4), and the answers to
//! those that ask nothing of the driver.

use super::auth::auth_line_too_long;
use super::chunk::Refused;
use super::{Closed, Pending, Phase, Reset, Session, Transaction};
use crate::Dialect;
use crate::address::{AddressError, Utf8};
use crate::command::{self, Allowed, Hello, Mail, Rcpt, Verb, Xclient, syntax};
use crate::extension::{ByMode, DeliverBy, FutureRelease};
use crate::limits;
use crate::line::{self, Line};
use crate::reply::Reply;

/// What to do about a command line.
pub(super) enum Verdict {
    /// Say this; nothing is wrong.
    Say(Reply),
    /// Say this, and count it.
    Refuse(Reply),
    /// The same for MAIL: what is pipelined behind it fails too, and is not counted.
    RefuseMail(Reply),
    /// Ask the driver.
    Ask(Pending),
    /// BDAT that is refused: its octets are dropped, then it is answered.
    SkipChunk(Refused),
    /// BDAT whose size cannot be read.
    Lost,
    /// A limit of the session is used up.
    HangUp(Closed, String),
    /// Somebody who does not mean to speak SMTP.
    Stranger,
    /// BDAT after another one.
    NextChunk { size: u64, last: bool },
    /// RSET.
    Reset,
    /// QUIT.
    Quit,
}

impl Session {
    /// Reads a command line; false if it needs more octets.
    pub(super) fn read_command(&mut self) -> bool {
        let octets = self.input.octets();
        let longest = self.longest_command();
        match Line::find(octets, longest) {
            Line::Partial => false,
            Line::Whole(len) => {
                self.commands += 1;
                let verdict = self.judge(octets.get(..len).unwrap_or_default());
                self.input.consume(len + 2);
                self.apply(verdict);
                true
            }
            Line::BareLf(at) => {
                self.input.consume(at + 1);
                self.phase = Phase::SkipLine {
                    after_cr: false,
                    reply: None,
                };
                self.refuse(&bare_lf());
                true
            }
            Line::TooLong => {
                let reply = match longest {
                    limits::AUTH_LINE => auth_line_too_long(),
                    _ => Reply::new(500, (5, 5, 2), "Line too long"),
                };
                self.phase = Phase::SkipLine {
                    after_cr: false,
                    reply: Some(reply),
                };
                true
            }
        }
    }

    /// Drops the rest of a spoiled line; false if it needs more octets.
    pub(super) fn skip_line(&mut self) -> bool {
        let Phase::SkipLine { after_cr, reply } = &mut self.phase else {
            return true;
        };
        let (dropped, ended) = line::skip_line(self.input.octets(), after_cr);
        self.input.consume(dropped);
        if ended {
            let reply = reply.take();
            self.phase = Phase::Command;
            if let Some(reply) = reply {
                self.refuse(&reply);
            }
        }
        ended
    }

    fn apply(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Say(reply) => self.say(&reply),
            Verdict::Refuse(reply) => self.refuse(&reply),
            Verdict::RefuseMail(reply) => {
                self.mail_refused = true;
                // A message that is too large is no error of protocol.
                if reply.code() == 552 {
                    self.say(&reply)
                } else {
                    self.refuse(&reply)
                }
            }
            Verdict::Ask(question) => self.pending = Some(question),
            Verdict::SkipChunk(refused) => self.refuse_chunk(refused),
            Verdict::HangUp(why, text) => self.hang_up(why, &text),
            Verdict::Stranger => {
                self.say(&Reply::new(
                    421,
                    (4, 7, 0),
                    "This is SMTP; closing connection",
                ));
                self.finish(Closed::Ours);
            }
            Verdict::Lost => self.lose_chunk(),
            Verdict::NextChunk { size, last } => self.next_chunk(size, last),
            Verdict::Reset => {
                self.say(&Reply::ok());
                self.mail_refused = false;
                self.chunk_refused = false;
                if self.transaction.take().is_some() {
                    self.pending = Some(Pending::Reset(Reset::Command));
                }
            }
            Verdict::Quit => {
                let hostname = &self.settings.hostname;
                let text = format!("{hostname} closing connection");
                self.say(&Reply::new(221, (2, 0, 0), text));
                self.finish(Closed::Quit);
            }
        }
    }

    /// Says a refusal, or 421 once the error budget is used up.
    pub(super) fn refuse(&mut self, reply: &Reply) {
        self.errors += 1;
        if self.errors <= self.settings.errors {
            return self.say(reply);
        }
        self.hang_up(Closed::TooManyErrors, "too many errors");
    }

    fn judge(&self, line: &[u8]) -> Verdict {
        if is_http(line) {
            return Verdict::Stranger;
        }
        if self.commands > self.settings.commands {
            let limit = self.settings.commands;
            let text = format!("too many commands without a message (limit {limit})");
            return Verdict::HangUp(Closed::TooManyCommands, text);
        }
        let judged = command::split(line).and_then(|(verb, argument)| {
            if verb == Verb::Bdat && self.settings.extensions.chunking {
                return Ok(self.judge_bdat(argument));
            }
            if self.turned_away && verb != Verb::Quit {
                return Err(out_of_order("No service here; only QUIT is left"));
            }
            match verb {
                Verb::Mail | Verb::Rcpt | Verb::Data => self.judge_transaction(verb, argument),
                _ => self.judge_other(verb, argument),
            }
        });
        judged.unwrap_or_else(Verdict::Refuse)
    }

    fn judge_other(&self, verb: Verb, argument: &str) -> Result<Verdict, Reply> {
        let lmtp = self.settings.dialect == Dialect::Lmtp;
        match verb {
            Verb::Ehlo | Verb::Helo if !lmtp => self.judge_hello(argument, verb == Verb::Ehlo),
            Verb::Lhlo if lmtp => self.judge_hello(argument, true),
            Verb::Ehlo | Verb::Helo | Verb::Lhlo => {
                let text = if lmtp {
                    "This is LMTP; say LHLO"
                } else {
                    "This is SMTP; say EHLO"
                };
                Err(Reply::new(500, (5, 5, 1), text))
            }
            Verb::StartTls => self.judge_starttls(argument),
            Verb::Auth => self.judge_auth(argument),
            Verb::Xclient if self.settings.extensions.xclient => match self.transaction {
                Some(_) => Err(out_of_order("A transaction is open")),
                None => {
                    Xclient::parse(argument).map(|xclient| Verdict::Ask(Pending::Xclient(xclient)))
                }
            },
            Verb::Vrfy | Verb::Expn if self.auth_missing() => Err(self.auth_needed()),
            Verb::Rset => no_argument(argument).map(|()| Verdict::Reset),
            Verb::Quit => no_argument(argument).map(|()| Verdict::Quit),
            Verb::Noop => Ok(Verdict::Say(Reply::ok())),
            Verb::Help => self.judge_help(argument),
            Verb::Vrfy => self.judge_vrfy(argument),
            _ => Err(not_implemented()),
        }
    }

    /// RFC 5321 §3.5.3 lets a server answer 252 and say nothing about who is here.
    fn judge_vrfy(&self, argument: &str) -> Result<Verdict, Reply> {
        let (who, utf8) = match argument.rsplit_once(' ') {
            Some((who, word)) if word.eq_ignore_ascii_case("SMTPUTF8") => (who.trim_end(), true),
            _ => (argument, false),
        };
        if who.is_empty() {
            return Err(syntax("VRFY needs an address"));
        }
        if utf8 && !self.settings.extensions.smtp_utf8 {
            return Err(command::unknown_parameter());
        }
        if !utf8 && !who.is_ascii() {
            return Err(command::bad_address(AddressError::Utf8, (5, 6, 7)));
        }
        let text = "Cannot verify; send mail and it will be tried";
        Ok(Verdict::Say(Reply::new(252, (2, 5, 0), text)))
    }

    fn judge_hello(&self, argument: &str, extended: bool) -> Result<Verdict, Reply> {
        Hello::parse(argument, extended).map(|hello| Verdict::Ask(Pending::Hello(hello)))
    }

    /// Order comes before syntax: a command that may not come now is not looked at.
    fn judge_transaction(&self, verb: Verb, argument: &str) -> Result<Verdict, Reply> {
        match (verb, &self.transaction) {
            (Verb::Mail, None) if self.greeted && self.auth_missing() => {
                Ok(Verdict::RefuseMail(self.auth_needed()))
            }
            (Verb::Mail, None) if self.greeted && self.had_all_transactions() => {
                let limit = self.settings.transactions;
                let text = format!("too many messages on one connection (limit {limit})");
                Ok(Verdict::HangUp(Closed::TooManyTransactions, text))
            }
            (Verb::Mail, None) if self.greeted => Ok(self
                .judge_mail(argument)
                .unwrap_or_else(Verdict::RefuseMail)),
            (Verb::Mail, None) => Err(out_of_order("Say EHLO or HELO first")),
            (Verb::Mail, Some(_)) => Err(out_of_order("A transaction is open already")),
            (_, None) if self.mail_refused => Ok(Verdict::Say(out_of_order("MAIL was refused"))),
            (_, None) => Err(out_of_order("Say MAIL first")),
            // RFC 3030 §2: chunks are followed by chunks only.
            (_, Some(transaction)) if transaction.chunks.is_some() => {
                Err(out_of_order("Chunks have begun; only BDAT may follow"))
            }
            (Verb::Rcpt, Some(transaction)) => {
                if transaction.accepted >= self.settings.recipients {
                    let reply = Reply::new(452, (4, 5, 3), "Too many recipients");
                    return Ok(Verdict::Say(self.named(reply)));
                }
                let rcpt = Rcpt::parse(argument, self.allowed(transaction.smtp_utf8))?;
                Ok(Verdict::Ask(Pending::Rcpt(rcpt)))
            }
            (_, Some(transaction)) => {
                no_argument(argument)?;
                if transaction.binary {
                    return Err(out_of_order("BODY=BINARYMIME needs BDAT"));
                }
                match self.nobody(transaction) {
                    None => Ok(Verdict::Ask(Pending::Data)),
                    Some((reply, false)) => Ok(Verdict::Say(reply)),
                    Some((reply, true)) => Err(reply),
                }
            }
        }
    }

    /// What may only come after a hello and outside of transactions.
    pub(super) fn between_transactions(&self) -> Result<(), Reply> {
        match self.transaction {
            Some(_) => Err(out_of_order("A transaction is open")),
            None if !self.greeted => Err(out_of_order("Say EHLO first")),
            None => Ok(()),
        }
    }

    fn auth_missing(&self) -> bool {
        self.settings.auth_required && !self.authenticated
    }

    /// 530 (RFC 4954 §6, RFC 3207 §4).
    fn auth_needed(&self) -> Reply {
        let text = match self.auth_offered() || !self.settings.extensions.starttls {
            true => "Authentication required",
            false => "Authentication required; say STARTTLS first",
        };
        Reply::new(530, (5, 7, 0), text)
    }

    /// The refusal of a message that nobody would get, and whether it is an error to count.
    pub(super) fn nobody(&self, transaction: &Transaction) -> Option<(Reply, bool)> {
        let lmtp = self.settings.dialect == Dialect::Lmtp;
        match (transaction.accepted, transaction.refused) {
            (0, 0) => Some((out_of_order("Say RCPT first"), true)),
            // RFC 2033 §4.2 asks for 503.
            (0, _) if lmtp => Some((out_of_order("No valid recipients"), false)),
            (0, _) => Some((Reply::new(554, (5, 5, 1), "No valid recipients"), false)),
            _ => None,
        }
    }

    fn judge_mail(&self, argument: &str) -> Result<Verdict, Reply> {
        let allowed = self.allowed(self.settings.extensions.smtp_utf8);
        let mail = Mail::parse(argument, allowed)?;
        let limit = self.settings.message_size;
        if limit > 0 && mail.size.is_some_and(|size| size > limit) {
            return Err(too_large());
        }
        self.judge_wishes(&mail)?;
        Ok(Verdict::Ask(Pending::Mail(mail)))
    }

    /// What only authenticated peers may ask for, and no more than was announced.
    fn judge_wishes(&self, mail: &Mail) -> Result<(), Reply> {
        let wishes = mail.deliver_by.is_some() || mail.hold.is_some() || mail.priority.is_some();
        if wishes && !self.authenticated {
            return Err(self.auth_needed());
        }
        let held = |most: FutureRelease| mail.hold.is_none_or(|hold| most.allows(hold));
        if !self.future_release.is_none_or(held) {
            return Err(syntax("Held longer than FUTURERELEASE allows"));
        }
        let least = self.settings.extensions.deliver_by.unwrap_or(0);
        let too_soon = |by: DeliverBy| by.mode == ByMode::Return && by.by_time_s < i64::from(least);
        if mail.deliver_by.is_some_and(too_soon) {
            return Err(syntax("BY is sooner than DELIVERBY allows"));
        }
        Ok(())
    }

    fn had_all_transactions(&self) -> bool {
        let most = self.settings.transactions;
        most > 0 && self.transactions >= most
    }

    fn allowed(&self, utf8: bool) -> Allowed {
        let offered = &self.settings.extensions;
        let trusted = self.offers_to_authenticated();
        Allowed {
            utf8: if utf8 { Utf8::Allowed } else { Utf8::Refused },
            dsn: offered.dsn,
            auth: !self.mechanisms.is_empty(),
            binary_mime: offered.chunking && offered.binary_mime,
            require_tls: offered.require_tls && self.is_tls,
            deliver_by: trusted && offered.deliver_by.is_some(),
            hold: trusted && self.future_release.is_some(),
            priority: trusted && offered.priority,
        }
    }
}

/// The request line of a browser that was made to connect here: what follows it may be chosen by
/// whoever made it, and must not be heard as commands.
fn is_http(line: &[u8]) -> bool {
    let methods: [&[u8]; 7] = [
        b"CONNECT ",
        b"DELETE ",
        b"GET ",
        b"HEAD ",
        b"OPTIONS ",
        b"POST ",
        b"PUT ",
    ];
    methods.iter().any(|method| line.starts_with(method))
}

/// 552 5.3.4 (RFC 1870 §6.1 and §6.3).
pub(super) fn too_large() -> Reply {
    Reply::new(
        552,
        (5, 3, 4),
        "Message size exceeds fixed maximum message size",
    )
}

pub(super) fn out_of_order(text: &'static str) -> Reply {
    Reply::new(503, (5, 5, 1), text)
}

/// 502 (RFC 5321 §4.2.4).
pub(super) fn not_implemented() -> Reply {
    Reply::new(502, (5, 5, 1), "Command not implemented")
}

pub(super) fn bare_lf() -> Reply {
    Reply::new(500, (5, 5, 2), "Bare LF received; end lines with CRLF")
}

pub(super) fn no_argument(argument: &str) -> Result<(), Reply> {
    if argument.is_empty() {
        Ok(())
    } else {
        Err(syntax("This command takes no argument"))
    }
}
