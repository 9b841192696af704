//! The books of a queue: where the recipients are that it has been responsible for since it opened.
//!
//! Three parties write them, so that a mistake of one shows: what came in is counted from what the
//! spool says it has made durable, what ended from outcomes that the spool has made durable, and
//! what is there is counted by the schedule. Whether they agree is for
//! [`balanced`](crate::invariants::balanced) to say. They do **not** outlive the process: at the
//! next start everything that the spool still has is recovered.

use crate::envelope::State;
use crate::schedule::Counts;

/// Recipients by where they are. They come in as `recovered` or `accepted`, and are somewhere else
/// of all that follows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Accounts {
    /// Found in the spool at start-up.
    pub recovered: u64,
    /// Made durable since then: mail that was accepted, and reports of our own.
    pub accepted: u64,
    /// Delivered, relayed, or given to `discard:`.
    pub delivered: u64,
    /// Failed for good.
    pub bounced: u64,
    /// Failed by age.
    pub expired: u64,
    /// Taken out by the operator.
    pub removed: u64,
    /// In the queue, held ones not among them.
    pub queued: u64,
    /// In the queue, held.
    pub held: u64,
}

impl Accounts {
    /// Notes that a recipient ended. One that stays queued is none.
    pub(crate) fn ended(&mut self, state: State) {
        match state {
            State::Queued => {}
            State::Delivered => self.delivered += 1,
            State::Failed => self.bounced += 1,
            State::Expired => self.expired += 1,
            State::Removed => self.removed += 1,
        }
    }

    /// The same with what the schedule has.
    pub(crate) fn with(self, counts: &Counts) -> Accounts {
        Accounts {
            queued: many(counts.recipients.saturating_sub(counts.held)),
            held: many(counts.held),
            ..self
        }
    }

    /// Recipients that came in.
    #[must_use]
    pub fn came_in(&self) -> u64 {
        self.recovered + self.accepted
    }

    /// Recipients that are known to be somewhere.
    #[must_use]
    pub fn known(&self) -> u64 {
        let ended = self.delivered + self.bounced + self.expired + self.removed;
        ended + self.queued + self.held
    }

    /// What came in less what is known: 0, or a recipient was lost or is counted twice.
    #[must_use]
    pub fn difference(&self) -> i64 {
        let signed = |n| i64::try_from(n).unwrap_or(i64::MAX);
        signed(self.came_in()) - signed(self.known())
    }
}

/// A count of things in memory.
pub(crate) fn many(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
