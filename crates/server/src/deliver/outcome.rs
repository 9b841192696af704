//! What became of recipients: the value that delivery returns, and that reports and records are
//! made from.
//!
//! It does **not** say what that means for the queue (dispatch does).

use std::sync::Arc;

use posthaste_smtp::reply::Reply;

use super::greeting::Protection;
use super::smtp::Tried;
use crate::fault::Fault;

/// Octets of a host's reply that are kept, in queue, records and reports. A reply may have many
/// lines of 512 octets (RFC 5321 §4.5.3.1.5), and a hostile host fills them all.
pub const REMOTE_TEXT_MAX: usize = 1024;

/// What became of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// In its mailbox, or discarded as configured.
    Delivered,
    /// Another server has taken responsibility.
    Relayed,
    /// Not now; it is tried again later.
    Deferred,
    /// Still under way after so long that its sender is told.
    Delayed,
    /// Never.
    Failed,
    /// Given up by age.
    Expired,
}

impl Fate {
    /// Its name in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fate::Delivered => "delivered",
            Fate::Relayed => "relayed",
            Fate::Deferred => "deferred",
            Fate::Delayed => "delayed",
            Fate::Failed => "failed",
            Fate::Expired => "expired",
        }
    }
}

/// What of a sender's wishes a host that took a message has taken over with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TakenOver {
    /// It reports as asked by NOTIFY (RFC 3461 §5.2.2).
    pub reports: bool,
    /// It knows by when the message is to be delivered (RFC 2852).
    pub deliver_by: bool,
}

/// What an attempt, its age or the operator made of a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What became of it.
    pub fate: Fate,
    /// The reply that decided; our own findings are put as one.
    pub reply: Reply,
    /// The host that was tried last; none when none was.
    pub host: Option<Box<str>>,
    /// Whether `reply` came from that host.
    pub remote: bool,
    /// The host may have the message although it did not say so (RFC 1047).
    pub ambiguous: bool,
    /// What the host has taken over, if it took the message.
    pub taken_over: TakenOver,
}

/// What became of a piece of work.
#[derive(Debug, Default)]
pub struct Attempted {
    /// Recipients that were tried, by index, with their outcomes.
    pub outcomes: Vec<(u32, Outcome)>,
    /// Recipients that need another attempt of their own, with its destination: the route has
    /// changed, or their reverse-path differs from the others'. They were not tried.
    pub moved: Vec<(u32, Arc<str>)>,
    /// Recipients that are to be held. They were not tried.
    pub held: Vec<u32>,
    /// Why the destination as a whole has failed, when it has: nothing else is to be tried there
    /// for an interval.
    pub destination_failed: Option<String>,
    /// The destination has failed before a transaction was begun for any recipient. The message
    /// had no part in it: its recipients are due again as soon as the destination is. Otherwise
    /// recipients wait their own interval, so that a message that breaks its host is not tried
    /// first again each time the destination is due.
    pub not_begun: bool,
    /// Hosts that were passed over, in order, and why; at most
    /// [`HOSTS_TRIED_MAX`](super::smtp::HOSTS_TRIED_MAX).
    pub passed_over: Vec<(Box<str>, String)>,
    /// What protected the last transaction; nothing where none was begun.
    pub protection: Protection,
    /// What only the operator can mend.
    pub faults: Vec<Fault>,
}

impl Outcome {
    /// A finding of our own: 4yz is deferred, everything else has failed.
    #[must_use]
    pub fn local(reply: Reply) -> Self {
        let fate = if reply.is_transient() {
            Fate::Deferred
        } else {
            Fate::Failed
        };
        Outcome {
            fate,
            reply,
            host: None,
            remote: false,
            ambiguous: false,
            taken_over: TakenOver::default(),
        }
    }

    /// What a host replied, cut to [`REMOTE_TEXT_MAX`], and what that means for the recipient.
    #[must_use]
    pub fn remote(fate: Fate, reply: Reply, host: &str) -> Self {
        Outcome {
            fate,
            reply: cut(reply),
            host: Some(host.into()),
            remote: true,
            ambiguous: false,
            taken_over: TakenOver::default(),
        }
    }

    /// The same, found while a host was tried; what it quotes of the host is cut likewise.
    #[must_use]
    pub fn at(self, host: &str) -> Self {
        Outcome {
            reply: cut(self.reply),
            host: Some(host.into()),
            ..self
        }
    }

    /// In its mailbox.
    #[must_use]
    pub fn delivered() -> Self {
        Outcome {
            fate: Fate::Delivered,
            ..Outcome::local(Reply::new(250, (2, 1, 5), "delivered"))
        }
    }

    /// Discarded, as configured.
    #[must_use]
    pub fn discarded() -> Self {
        Outcome {
            fate: Fate::Delivered,
            ..Outcome::local(Reply::new(250, (2, 1, 5), "discarded as configured"))
        }
    }

    /// The mailbox is gone since the message was accepted.
    #[must_use]
    pub fn no_mailbox() -> Self {
        Outcome::local(Reply::new(550, (5, 1, 1), "there is no such mailbox"))
    }

    /// The time that the sender allowed for delivery is over (RFC 2852 §4).
    #[must_use]
    pub fn overdue() -> Self {
        let text = "the time that the sender allowed for delivery is over";
        Outcome {
            fate: Fate::Expired,
            ..Outcome::local(Reply::new(554, (5, 4, 7), text))
        }
    }

    /// The operator returns the message to its sender.
    #[must_use]
    pub fn returned() -> Self {
        Outcome::local(Reply::new(
            554,
            (5, 7, 1),
            "returned by the operator of this server",
        ))
    }
}

impl Attempted {
    /// Takes over what servers made of the recipients with these indexes.
    pub(super) fn take(&mut self, indexes: &[u32], tried: Tried) {
        let outcomes = indexes.iter().copied().zip(tried.outcomes);
        self.outcomes.extend(outcomes);
        self.destination_failed = tried.destination_failed;
        self.not_begun = tried.not_begun;
        self.passed_over = tried.passed_over;
        self.protection = tried.protection;
    }

    /// The same outcome for all of `indexes`.
    pub fn settle_all(&mut self, indexes: &[u32], outcome: &Outcome) {
        self.outcomes
            .extend(indexes.iter().map(|i| (*i, outcome.clone())));
    }
}

/// The reply with no more than [`REMOTE_TEXT_MAX`] octets of text, whole characters and lines as
/// they came.
fn cut(reply: Reply) -> Reply {
    let text = reply.text();
    if text.len() <= REMOTE_TEXT_MAX {
        return reply;
    }
    let end = text.floor_char_boundary(REMOTE_TEXT_MAX);
    let kept = text.get(..end).unwrap_or_default().to_owned();
    match reply.enhanced() {
        Some(e) => Reply::new(reply.code(), (e.class, e.subject, e.detail), kept),
        None => Reply::plain(reply.code(), kept),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_reply_is_cut_between_characters_and_keeps_its_code_and_lines() {
        let long = "one\n".to_owned() + &"ä".repeat(20_000);
        for reply in [
            Reply::new(550, (5, 7, 1), long.clone()),
            Reply::plain(550, long),
        ] {
            let outcome = Outcome::remote(Fate::Failed, reply.clone(), "a.test");
            assert_eq!(outcome.reply.code(), 550);
            assert_eq!(outcome.reply.enhanced(), reply.enhanced());
            assert_eq!(outcome.reply.text().len(), REMOTE_TEXT_MAX);
            assert_eq!(outcome.reply.lines().count(), 2);
            assert!(outcome.reply.text().ends_with('ä'));
            let quoted = Outcome::local(reply).at("a.test");
            assert_eq!(quoted.reply, outcome.reply);
        }
        let short = Reply::plain(250, "ok\nfine");
        assert_eq!(
            Outcome::remote(Fate::Relayed, short.clone(), "a.test").reply,
            short
        );
    }
}
