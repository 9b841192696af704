//! Who is told what: delivery status notifications that outcomes owe (RFC 3461 §5.2, RFC 3464).
//!
//! * A failure is reported unless the sender asked for `NOTIFY=NEVER` or for other things only.
//! * A delay is reported once, under the same rule (RFC 3461 §4.1).
//! * A success is reported only when the sender asked, and by whoever it happens at: a host that
//!   took the wish over reports it itself, of any other we report that it was `relayed`.
//! * An alias that leads to several is reported as `expanded` when the sender asked for success,
//!   with the first outcome of the first of them (RFC 3461 §5.2.7).
//! * Who asked for delivery by a time also learns of hosts that do not know of it (RFC 2852).
//! * Nothing is reported to a reverse-path that is most likely forged ([`UNREPORTED`]).
//! * Nothing is ever reported to the null reverse-path (RFC 5321 §4.5.5): the postmaster is told of
//!   the failure instead, and nobody of the failure of that.
//!
//! A report is a new message, settled in one frame with the outcomes that owe it; its id derives
//! from what it reports, so that it is made once. This module does **not** send, and decides
//! nothing about recipients.

pub mod held;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use posthaste_message::dsn::Kind;
use posthaste_queue::envelope::{Envelope, Message, Notify, Recipient};
use posthaste_queue::id::ReportKind;
use posthaste_queue::spool::{NewMessage, Stored};
use posthaste_smtp::address::{ForwardPath, Mailbox, ReversePath};
use posthaste_smtp::reply::Reply;
use posthaste_world::World;

use crate::deliver::{Fate, Outcome};
use crate::lookup::{Directory, Resolution};
use crate::sign::Signatures;

/// Recipients in one report; more get further reports, so that a report stays a small message.
pub const RECIPIENTS_PER_REPORT: usize = 50;

/// Marks a message of ours about which nobody is told anything, not even the postmaster: a report
/// to the postmaster about a message that had the null reverse-path, or one worth no other.
pub const LAST_OF_ITS_LINE: &str = "double-bounce";

/// Marks a message whose reverse-path is most likely forged: nothing is reported to it, since that
/// would reach somebody who did not send it (RFC 3834 §4, backscatter).
pub const UNREPORTED: &str = "unreported";

/// Makes reports.
pub struct Reports {
    world: World,
    directory: Arc<Directory>,
    hostname: Box<str>,
    expire_after: Duration,
    signatures: Arc<Signatures>,
}

/// One report that is owed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owed<'a> {
    kind: Kind,
    /// Nobody: the postmaster.
    to: Option<&'a ReversePath>,
    /// By index in the envelope; at least one.
    recipients: Vec<(u32, &'a Recipient, &'a Outcome)>,
}

impl Reports {
    /// Reports in the name of `hostname`, on messages that expire after `expire_after`, signed with
    /// `signatures`.
    #[must_use]
    pub fn new(
        world: World,
        directory: Arc<Directory>,
        hostname: &str,
        expire_after: Duration,
        signatures: Arc<Signatures>,
    ) -> Self {
        Reports {
            world,
            directory,
            hostname: hostname.into(),
            expire_after,
            signatures,
        }
    }

    /// The reports that outcomes owe, to be settled with them.
    pub async fn due(&self, stored: &Stored, outcomes: &[(u32, Outcome)]) -> Vec<NewMessage> {
        let mut messages = Vec::new();
        for report in owed(stored.envelope(), outcomes) {
            let to = match report.to.and_then(ReversePath::mailbox) {
                Some(mailbox) => ForwardPath::Mailbox(mailbox.clone()),
                None => ForwardPath::Postmaster,
            };
            messages.push(self.write(stored, &report, self.resolve(&to)).await);
        }
        messages
    }

    /// What signs reports.
    #[must_use]
    pub fn signatures(&self) -> &Signatures {
        &self.signatures
    }

    /// The recipients of a message of ours to `mailbox`.
    #[must_use]
    pub fn recipients_for(&self, mailbox: &Mailbox) -> Vec<Recipient> {
        self.resolve(&ForwardPath::Mailbox(mailbox.clone()))
    }

    /// What a recipient's age makes of it: its sender is told of the delay, or it has expired (RFC
    /// 5321 §4.5.4.1). `why` is the state of its destination, when that fails as a whole.
    #[must_use]
    pub fn late(&self, recipient: &Recipient, expires: bool, why: Option<&str>) -> Outcome {
        let last = recipient.progress.last.as_ref();
        let reason = match (why, last) {
            (Some(why), _) => why.to_owned(),
            (None, Some(last)) => last.reply.to_string(),
            (None, None) => "there was no attempt yet".to_owned(),
        };
        let host = last
            .filter(|_| why.is_none())
            .and_then(|last| last.host.clone());
        let remote = host.is_some() && !expires;
        let (fate, reply) = match (expires, last) {
            (true, _) => {
                let text = format!("delivery time expired; last: {reason}");
                (Fate::Expired, Reply::new(554, (5, 4, 7), text))
            }
            (false, Some(last)) if remote => (Fate::Delayed, last.reply.clone()),
            (false, _) => {
                // The reason of a destination is a reply put into words, when it comes from one.
                let said = Reply::parse(format!("{reason}\r\n").as_bytes());
                let reply = said.filter(Reply::is_transient);
                let own = || Reply::new(451, (4, 4, 1), reason);
                (Fate::Delayed, reply.unwrap_or_else(own))
            }
        };
        Outcome {
            fate,
            host,
            remote,
            ..Outcome::local(reply)
        }
    }

    /// The recipients of a report: as for any new message. An address that leads nowhere is kept,
    /// and fails as a recipient of the report.
    fn resolve(&self, to: &ForwardPath) -> Vec<Recipient> {
        let whole = match self.directory.resolve(to) {
            Resolution::Local(finals) => {
                let recipient = |found: crate::lookup::Final| {
                    let mut recipient = Recipient::new(found.address);
                    recipient.alias = found.alias;
                    recipient.progress.held = found.hold;
                    recipient
                };
                return finals.into_iter().map(recipient).collect();
            }
            Resolution::NotOurs(mailbox) => Some(mailbox),
            Resolution::Unknown | Resolution::Broken(_) => to.mailbox().cloned(),
        };
        whole.into_iter().map(Recipient::new).collect()
    }
}

impl Owed<'_> {
    fn id_kind(&self) -> ReportKind {
        match self.kind {
            _ if self.to.is_none() => ReportKind::DoubleBounce,
            Kind::Failed => ReportKind::Failed,
            Kind::Delayed => ReportKind::Delayed,
            Kind::Delivered => ReportKind::Delivered,
            Kind::Relayed => ReportKind::Relayed,
            Kind::Expanded => ReportKind::Expanded,
        }
    }
}

/// How many of these outcomes are told to nobody because the reverse-path is most likely forged.
#[must_use]
pub fn withheld(envelope: &Envelope, outcomes: &[(u32, Outcome)]) -> usize {
    let owes = |(index, outcome): &&(u32, Outcome)| {
        let at = usize::try_from(*index).unwrap_or(usize::MAX);
        envelope.recipients.get(at).is_some_and(|recipient| {
            kind_of(outcome, recipient, &envelope.message).is_some()
                && is_forged(envelope, envelope.reverse_path_of(recipient))
        })
    };
    outcomes.iter().filter(owes).count()
}

/// Whether `path` came with a message that its owner most likely did not send. Those that aliases
/// of ours have are their own.
fn is_forged(envelope: &Envelope, path: &ReversePath) -> bool {
    let message = &envelope.message;
    message.is_tagged(UNREPORTED) && !path.is_null() && *path == message.reverse_path
}

/// What an outcome owes.
fn kind_of(outcome: &Outcome, recipient: &Recipient, message: &Message) -> Option<Kind> {
    let notify = recipient.notify;
    let success = notify.is_some_and(|n| n.success);
    match outcome.fate {
        Fate::Failed | Fate::Expired => notify.is_none_or(|n| n.failure).then_some(Kind::Failed),
        Fate::Delivered => success.then_some(Kind::Delivered),
        Fate::Relayed => {
            let never = notify == Some(Notify::default());
            let by = message.deliver_by.filter(|_| !never);
            let traced = by.is_some_and(|by| by.trace || !outcome.taken_over.deliver_by);
            (traced || success && !outcome.taken_over.reports).then_some(Kind::Relayed)
        }
        Fate::Delayed => notify.is_none_or(|n| n.delay).then_some(Kind::Delayed),
        Fate::Deferred => None,
    }
}

/// Whether the expansion of an alias is to be reported now. The first outcome of a recipient, which
/// counts as its first attempt, settles that too.
fn tells_of_expansion(outcome: &Outcome, recipient: &Recipient) -> bool {
    let first = recipient.progress.attempts == 0 && outcome.fate != Fate::Delayed;
    recipient.expansion_owed && recipient.alias.is_some() && first
}

/// The reports that outcomes owe: one for each kind and each reverse-path.
fn owed<'a>(envelope: &'a Envelope, outcomes: &'a [(u32, Outcome)]) -> Vec<Owed<'a>> {
    let is_last = envelope.message.is_tagged(LAST_OF_ITS_LINE);
    let mut groups: BTreeMap<(u8, &ReversePath), Owed<'a>> = BTreeMap::new();
    for (index, outcome) in outcomes {
        let at = usize::try_from(*index).unwrap_or(usize::MAX);
        let Some(recipient) = envelope.recipients.get(at) else {
            continue;
        };
        let expanded = tells_of_expansion(outcome, recipient).then_some(Kind::Expanded);
        let own = kind_of(outcome, recipient, &envelope.message);
        let path = envelope.reverse_path_of(recipient);
        for kind in own.into_iter().chain(expanded) {
            if path.is_null() && (is_last || kind != Kind::Failed) {
                continue;
            }
            if is_forged(envelope, path) {
                continue;
            }
            let to = (!path.is_null()).then_some(path);
            let group = groups.entry((number(kind), path));
            let report = group.or_insert_with(|| Owed {
                kind,
                to,
                recipients: Vec::new(),
            });
            report.recipients.push((*index, recipient, outcome));
        }
    }
    let split = |report: Owed<'a>| -> Vec<Owed<'a>> {
        let Owed {
            kind,
            to,
            mut recipients,
        } = report;
        recipients.sort_by_key(|(index, ..)| *index);
        let part = |some: &[(u32, &'a Recipient, &'a Outcome)]| Owed {
            kind,
            to,
            recipients: some.to_vec(),
        };
        recipients.chunks(RECIPIENTS_PER_REPORT).map(part).collect()
    };
    groups.into_values().flat_map(split).collect()
}

/// Groups kinds; the order has no meaning.
fn number(kind: Kind) -> u8 {
    match kind {
        Kind::Failed => 0,
        Kind::Delayed => 1,
        Kind::Delivered => 2,
        Kind::Relayed => 3,
        Kind::Expanded => 4,
    }
}
