//! A message in the schedule: 64 octets when it has one recipient.
//!
//! It does **not** know its destinations' names, only their numbers.

use posthaste_world::Timestamp;

use super::{Expiry, NewMessage, PRIORITY_MAX, Purpose, Standing};
use crate::id::QueueId;

/// Who has a recipient.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hands {
    /// Nobody.
    Free,
    /// A worker.
    Worker,
    /// A notice, an expiry or the operator.
    Clerk,
}

/// One open recipient.
#[derive(Clone, Debug)]
pub(super) struct Recipient {
    pub(super) destination: u32,
    pub(super) index: u32,
    pub(super) due: Timestamp,
    /// Its time is that of another attempt, and not one that its sender chose.
    pub(super) again: bool,
    pub(super) hands: Hands,
    pub(super) held: bool,
    /// A delay notice was sent.
    pub(super) noticed: bool,
    /// Had an attempt since it entered the schedule: only then may it expire.
    pub(super) tried: bool,
}

impl Recipient {
    /// Whether a worker may have it once its time has come.
    pub(super) fn waits(&self) -> bool {
        self.hands == Hands::Free && !self.held
    }

    pub(super) fn standing(&self) -> Standing {
        match (self.hands, self.held) {
            (Hands::Free, true) => Standing::Held,
            (Hands::Free, false) => Standing::Waiting,
            _ => Standing::InFlight,
        }
    }
}

/// Open recipients, ordered by destination and index. Most messages have one: no allocation.
#[derive(Debug)]
enum Recipients {
    One(Recipient),
    Many(Box<[Recipient]>),
}

/// A message with open recipients.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: QueueId,
    /// Its age counts from here.
    pub(super) begins: Timestamp,
    /// Its entry among the clocks; [`Timestamp::MAX`] when it has none.
    pub(super) clock: Timestamp,
    recipients: Recipients,
    pub(super) class: u8,
    /// 0 is the most urgent.
    pub(super) rank: u8,
}

/// The recipients of a message at one destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Group {
    pub(super) destination: u32,
    /// Recipients.
    pub(super) open: u32,
    /// When the first of those that wait is due.
    pub(super) due: Option<Timestamp>,
}

/// What the counts need of one message.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) recipients: usize,
    pub(super) held: usize,
    pub(super) in_flight: usize,
}

impl Message {
    /// One without recipients.
    pub(super) fn new(new: &NewMessage<'_>) -> Self {
        let priority = new.wishes.priority.clamp(-PRIORITY_MAX, PRIORITY_MAX);
        Message {
            id: new.id,
            begins: new.begins,
            clock: Timestamp::MAX,
            recipients: Recipients::Many(Box::default()),
            class: new.class,
            rank: (PRIORITY_MAX - priority).unsigned_abs(),
        }
    }

    pub(super) fn recipients(&self) -> &[Recipient] {
        match &self.recipients {
            Recipients::One(one) => std::slice::from_ref(one),
            Recipients::Many(many) => many,
        }
    }

    pub(super) fn recipients_mut(&mut self) -> &mut [Recipient] {
        match &mut self.recipients {
            Recipients::One(one) => std::slice::from_mut(one),
            Recipients::Many(many) => many,
        }
    }

    /// Replaces the recipients, in any order.
    pub(super) fn set_recipients(&mut self, mut list: Vec<Recipient>) {
        list.sort_unstable_by_key(|r| (r.destination, r.index));
        self.recipients = match list.pop() {
            Some(one) if list.is_empty() => Recipients::One(one),
            Some(last) => {
                list.push(last);
                Recipients::Many(list.into_boxed_slice())
            }
            None => Recipients::Many(Box::default()),
        };
    }

    /// Its groups, by destination.
    pub(super) fn groups(&self) -> impl Iterator<Item = Group> + '_ {
        self.recipients()
            .chunk_by(|a, b| a.destination == b.destination)
            .filter_map(|group| {
                let first = group.first()?;
                Some(Group {
                    destination: first.destination,
                    open: u32::try_from(group.len()).unwrap_or(u32::MAX),
                    due: group.iter().filter(|r| r.waits()).map(|r| r.due).min(),
                })
            })
    }

    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for r in self.recipients() {
            tally.recipients += 1;
            tally.held += usize::from(r.held);
            tally.in_flight += usize::from(r.hands != Hands::Free);
        }
        tally
    }

    /// Whether somebody works on it.
    pub(super) fn in_flight(&self) -> bool {
        self.recipients().iter().any(|r| r.hands != Hands::Free)
    }

    /// When to look at its age next; `None` when nobody waits.
    pub(super) fn age_matters_at(&self, expiry: Expiry) -> Option<Timestamp> {
        let waiting = self.recipients().iter().filter(|r| r.waits());
        waiting
            .map(|r| match expiry.notice_after {
                Some(d) if !r.noticed => self.begins + d.min(expiry.expire_after),
                _ => self.begins + expiry.expire_after,
            })
            .min()
    }

    /// What its age asks for at `now`, and from which recipients at most.
    pub(super) fn owed(&self, expiry: Expiry, now: Timestamp) -> Purpose {
        if self.begins + expiry.expire_after <= now {
            Purpose::Expiry
        } else {
            Purpose::DelayNotice
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_one_recipient_takes_64_octets() {
        assert!(size_of::<Message>() <= 64, "{}", size_of::<Message>());
        assert_eq!(size_of::<Option<Message>>(), size_of::<Message>());
    }
}
