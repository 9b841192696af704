//! One transaction of a client session: what is still to be said, and what became of each
//! recipient.

use std::collections::VecDeque;

use super::{Expect, Lost, Malformed, Options, RecipientOutcome, Transaction};
use crate::Dialect;
use crate::body::{Chunk, Stuffer, Unfit};
use crate::extension::{BodyType, Extensions};
use crate::reply::{Reply, push_display};

/// A transaction that was begun.
#[derive(Debug)]
pub(super) struct Exchange {
    transaction: Transaction,
    options: Options,
    /// MAIL asks for SMTPUTF8.
    smtp_utf8: bool,
    /// RSET goes before MAIL.
    reset_first: bool,
    /// AUTH has succeeded before.
    authenticated: bool,
    /// The plan's cursor: MAIL, then each RCPT, then DATA.
    said: usize,
    /// Replies owed to this transaction.
    owed: usize,
    recipients: Vec<Recipient>,
    mail_accepted: bool,
    /// The content is being given.
    content: Option<Content>,
    /// Where in the output the final dot, or the chunk, ends.
    dot: Option<u64>,
    /// BDAT was said, and its end was not accepted (yet).
    chunked: bool,
}

/// How far one recipient is.
#[derive(Debug)]
enum Recipient {
    /// No answer to its RCPT.
    Open,
    /// RCPT was accepted.
    Accepted,
    /// Nothing more will change.
    Decided(RecipientOutcome),
}

/// What was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// A command; this is its reply.
    Command(Expect),
    /// BDAT: the content follows at once.
    Chunk,
}

/// How content is written.
#[derive(Debug)]
pub(super) enum Content {
    Stuffed(Stuffer),
    Chunk(Chunk),
}

impl Content {
    pub(super) fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
        match self {
            Content::Stuffed(stuffer) => stuffer.push(octets, out).map_err(Unfit::Flaw),
            Content::Chunk(chunk) => chunk.push(octets, out),
        }
    }

    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        match self {
            Content::Stuffed(stuffer) => stuffer.finish(out).map_err(Unfit::Flaw),
            Content::Chunk(chunk) => chunk.finish(out),
        }
    }
}

/// What follows from a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    /// Ask the driver for the content.
    SendBody,
    /// The peer wants a message for nobody: send it an empty one.
    SendLoneDot,
}

impl Exchange {
    pub(super) fn new(
        transaction: Transaction,
        options: Options,
        reset_first: bool,
        authenticated: bool,
    ) -> Exchange {
        let recipients = transaction
            .recipients
            .iter()
            .map(|_| Recipient::Open)
            .collect();
        Exchange {
            smtp_utf8: transaction.needs_utf8(),
            transaction,
            options,
            reset_first,
            authenticated,
            said: 0,
            owed: 0,
            recipients,
            mail_accepted: false,
            content: None,
            dot: None,
            chunked: false,
        }
    }

    /// Writes the next command of the plan, and says what its reply will mean. `None` if nothing
    /// is left to say, or nothing before a reply.
    pub(super) fn say_next(&mut self, extensions: &Extensions, out: &mut Vec<u8>) -> Option<Said> {
        if std::mem::take(&mut self.reset_first) {
            out.extend_from_slice(b"RSET\r\n");
            return Some(Said::Command(Expect::Rset));
        }
        let expect = self.next_command()?;
        if let (Expect::Data, Some(size), true) = (expect, self.options.chunk, extensions.chunking)
        {
            // Whom it goes to is known first: no content for nobody, and LMTP answers for each.
            if self.owed > 0 && !self.options.ahead {
                return None;
            }
            self.chunked = true;
            push_display(out, format_args!("BDAT {size} LAST\r\n"));
            self.content = Some(Content::Chunk(match self.transaction.body {
                BodyType::BinaryMime => Chunk::binary(size),
                BodyType::SevenBit | BodyType::EightBitMime => Chunk::new(size),
            }));
            self.said += 1;
            return Some(Said::Chunk);
        }
        match expect {
            Expect::Mail => self.say_mail(extensions, out),
            Expect::Rcpt(n) => {
                let path = self.transaction.recipients.get(n)?;
                push_display(out, format_args!("RCPT TO:{path}"));
                if extensions.dsn {
                    self.say_rcpt_options(n, out);
                }
                out.extend_from_slice(b"\r\n");
            }
            _ => out.extend_from_slice(b"DATA\r\n"),
        }
        self.said += 1;
        self.owed += 1;
        Some(Said::Command(expect))
    }

    /// Takes the reply to one of its commands.
    pub(super) fn heard(&mut self, expect: Expect, reply: &Reply) -> Result<Then, Malformed> {
        self.owed = self.owed.saturating_sub(1);
        let intermediate = reply.is_intermediate();
        match expect {
            Expect::Data if reply.is_positive() => return Err(Malformed::Unexpected),
            Expect::Data if intermediate && self.undecided().next().is_none() => {
                return Ok(Then::SendLoneDot);
            }
            Expect::Data if intermediate => {
                self.content = Some(Content::Stuffed(Stuffer::new()));
                return Ok(Then::SendBody);
            }
            _ if intermediate => return Err(Malformed::Unexpected),
            Expect::Mail if reply.is_positive() => self.mail_accepted = true,
            Expect::Rcpt(n) => self.decide_rcpt(n, reply),
            Expect::EndOfDataFor(n) => {
                if let Some(recipient) = self.recipients.get_mut(n) {
                    recipient.decide(outcome(reply));
                }
            }
            _ => {
                self.chunked &= !(expect == Expect::EndOfData && reply.is_positive());
                self.decide_all(|| outcome(reply));
            }
        }
        Ok(Then::Nothing)
    }

    /// Where content goes, while it is being given.
    pub(super) fn content(&mut self) -> Option<&mut Content> {
        self.content.as_mut()
    }

    /// The final dot is in the output and ends there at `position`; its replies are owed.
    pub(super) fn dot_said(
        &mut self,
        position: u64,
        dialect: Dialect,
        expected: &mut VecDeque<Expect>,
    ) {
        self.content = None;
        self.dot = Some(position);
        let before = expected.len();
        match dialect {
            Dialect::Smtp => expected.push_back(Expect::EndOfData),
            Dialect::Lmtp => expected.extend(self.undecided().map(Expect::EndOfDataFor)),
        }
        self.owed += expected.len() - before;
    }

    /// Whether the final dot is said, so that another transaction may follow.
    pub(super) fn is_sent(&self) -> bool {
        self.dot.is_some()
    }

    /// Whether the final dot is among the first `written` octets of output.
    pub(super) fn is_written(&self, written: u64) -> bool {
        self.dot.is_some_and(|dot| dot <= written)
    }

    /// Whether nothing is left to say or to hear.
    pub(super) fn is_finished(&self) -> bool {
        self.owed == 0 && self.content.is_none() && self.next_command().is_none()
    }

    /// Whether the peer may still think of it as open after its end. What state a chunk leaves that
    /// was not accepted, nobody can tell (RFC 3030 §2).
    pub(super) fn leaves_open(&self) -> bool {
        self.chunked || (self.mail_accepted && self.dot.is_none())
    }

    /// Gives the recipients that nothing was decided for an outcome.
    pub(super) fn decide_all(&mut self, outcome: impl Fn() -> RecipientOutcome) {
        for recipient in &mut self.recipients {
            recipient.decide(outcome());
        }
    }

    /// The outcomes, in order; `written` octets of output were written before the end.
    pub(super) fn into_outcomes(mut self, written: u64) -> Vec<RecipientOutcome> {
        let lost = match self.is_written(written) {
            true => Lost::AfterEndOfData,
            false => Lost::BeforeEndOfData,
        };
        self.decide_all(|| RecipientOutcome::Lost(lost));
        let decided = |recipient| match recipient {
            Recipient::Decided(outcome) => Some(outcome),
            Recipient::Open | Recipient::Accepted => None,
        };
        self.recipients.into_iter().filter_map(decided).collect()
    }

    fn next_command(&self) -> Option<Expect> {
        // Nothing that the peer said makes it worth going on.
        if self.undecided().next().is_none() || self.dot.is_some() {
            return None;
        }
        match self.said {
            0 => Some(Expect::Mail),
            n if n <= self.recipients.len() => Some(Expect::Rcpt(n - 1)),
            n if n == self.recipients.len() + 1 => Some(Expect::Data),
            _ => None,
        }
    }

    /// Recipients that nothing is decided for, by index.
    fn undecided(&self) -> impl Iterator<Item = usize> {
        let numbered = self.recipients.iter().enumerate();
        numbered
            .filter(|(_, r)| !matches!(r, Recipient::Decided(_)))
            .map(|(n, _)| n)
    }

    fn decide_rcpt(&mut self, n: usize, reply: &Reply) {
        let Some(recipient @ Recipient::Open) = self.recipients.get_mut(n) else {
            return;
        };
        *recipient = match reply.is_positive() {
            true => Recipient::Accepted,
            false => Recipient::Decided(rcpt_outcome(reply)),
        };
    }

    fn say_mail(&self, extensions: &Extensions, out: &mut Vec<u8>) {
        let transaction = &self.transaction;
        push_display(out, format_args!("MAIL FROM:{}", transaction.reverse_path));
        if let (Some(_), Some(size)) = (extensions.size, transaction.size) {
            push_display(out, format_args!(" SIZE={size}"));
        }
        match transaction.body {
            BodyType::SevenBit => {}
            BodyType::EightBitMime => out.extend_from_slice(b" BODY=8BITMIME"),
            BodyType::BinaryMime => out.extend_from_slice(b" BODY=BINARYMIME"),
        }
        if self.smtp_utf8 {
            out.extend_from_slice(b" SMTPUTF8");
        }
        if self.authenticated {
            // RFC 4954 §5: who submitted the message first is not vouched for.
            out.extend_from_slice(b" AUTH=<>");
        }
        self.say_wishes(extensions, out);
        out.extend_from_slice(b"\r\n");
    }

    /// What the sender wishes, as far as the peer takes wishes.
    fn say_wishes(&self, extensions: &Extensions, out: &mut Vec<u8>) {
        let options = &self.options;
        if extensions.dsn {
            if let Some(ret) = options.ret {
                push_display(out, format_args!(" RET={ret}"));
            }
            if let Some(id) = &options.envelope_id {
                push_display(out, format_args!(" ENVID={}", id.as_str()));
            }
        }
        if options.require_tls {
            out.extend_from_slice(b" REQUIRETLS");
        }
        if let (Some(_), Some(by)) = (extensions.deliver_by, options.deliver_by) {
            push_display(out, format_args!(" BY={by}"));
        }
        if let (true, Some(priority)) = (extensions.priority, options.priority) {
            push_display(out, format_args!(" MT-PRIORITY={priority}"));
        }
    }

    fn say_rcpt_options(&self, n: usize, out: &mut Vec<u8>) {
        let Some(options) = self.options.recipients.get(n) else {
            return;
        };
        if let Some(notify) = options.notify {
            push_display(out, format_args!(" NOTIFY={notify}"));
        }
        match &options.original_recipient {
            // RFC 6533 §3: above ASCII only where the transaction has SMTPUTF8.
            Some(original) if self.smtp_utf8 => {
                push_display(out, format_args!(" ORCPT={}", original.as_str()));
            }
            Some(original) => push_display(out, format_args!(" ORCPT={}", original.escaped())),
            None => {}
        }
    }
}

impl Recipient {
    /// The first decision holds.
    fn decide(&mut self, outcome: RecipientOutcome) {
        if !matches!(self, Recipient::Decided(_)) {
            *self = Recipient::Decided(outcome);
        }
    }
}

/// What a reply means for a recipient (RFC 5321 §4.2.1: the first digit decides).
pub(super) fn outcome(reply: &Reply) -> RecipientOutcome {
    let reply = reply.clone();
    match reply.code() / 100 {
        2 => RecipientOutcome::Accepted(reply),
        5 => RecipientOutcome::Refused(reply),
        _ => RecipientOutcome::Deferred(reply),
    }
}

/// A 552 to RCPT means "too many recipients", and is temporary (RFC 5321 §4.5.3.1.10), unless
/// its enhanced status code says otherwise (a full mailbox is 5.2.2).
fn rcpt_outcome(reply: &Reply) -> RecipientOutcome {
    let too_many = reply
        .enhanced()
        .is_none_or(|code| (code.subject, code.detail) == (5, 3));
    match reply.code() {
        552 if too_many => RecipientOutcome::Deferred(reply.clone()),
        _ => outcome(reply),
    }
}
