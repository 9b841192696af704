//! The schedule: what is due, for whom, and who may work on it now.
//!
//! Pure: state and `now` go in, work comes out. It reads no clock, draws no randomness and touches
//! no disk; it is rebuilt from the spool at start-up. Everything is ordered (B-trees, a ring), so
//! the same calls give the same answers.
//!
//! A *destination* is a scheduling key that the server computes. Work is handed out one message and
//! one destination at a time, to at most [`Settings::workers_per_destination`] workers each, the
//! destinations taking turns. A destination that fails is left alone for an interval, then probed
//! with one message; its other messages wait without being attempted.
//!
//! Invariants (checked by [`Schedule::check`]):
//! * a recipient is waiting, held or in the hands of exactly one [`Work`];
//! * a message is known as long as it has a recipient, and no longer;
//! * what is in the hands of a [`Work`] is handed to nobody else before [`Schedule::finish`] or
//!   [`Schedule::put_back`].
//!
//! Memory: about 180 octets for a message with one recipient, indexes included (measured by
//! `tests/schedule_memory.rs`); envelopes and bodies stay in the spool.
//!
//! It does **not** know what an outcome means, and it keeps nothing durable.

mod destination;
mod index;
mod list;
mod message;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use posthaste_world::Timestamp;

use crate::backoff::Intervals;
use crate::envelope::{self, ByMode};
use crate::id::QueueId;
use crate::invariants;

use destination::Destination;
pub use list::{Counts, Listed, ListedDestination, ListedRecipient, Standing};
use message::{Hands, Message, Recipient};

/// Recipients of one [`Work`] at most: one transaction (RFC 5321 §4.5.3.1.8 asks every server to
/// accept 100).
pub const RECIPIENTS_PER_WORK: usize = 100;

/// Messages whose age one call of [`Schedule::notices`] looks at, at most. What is left is looked
/// at in the next call, so that nobody waits long for the schedule.
pub const AGES_PER_CALL: usize = 1000;

/// What could not be done now for a reason of our own (a full disk, an untried recipient that is
/// too old) is looked at again after this.
pub const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The most urgent priority; the least urgent is as far below 0 (RFC 6710 §3).
const PRIORITY_MAX: i8 = 9;

/// One step of priority is worth as much as having been due for so long: what is urgent goes first,
/// and what is not grows urgent as it waits, so that nothing starves.
pub const PRIORITY_STEP: Duration = Duration::from_secs(10 * 60);

/// When to tell the sender of a delay, and when to give up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expiry {
    /// A delay notice is due this long after arrival; `None` for never.
    pub notice_after: Option<Duration>,
    /// A message expires this long after arrival (RFC 5321 §4.5.4.1: at least 4 to 5 days).
    pub expire_after: Duration,
}

/// What the schedule goes by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Waits of a destination that failed, and of a recipient that was deferred.
    pub intervals: Intervals,
    /// Workers at once, in all.
    pub workers: usize,
    /// Workers (connections) at once for one destination.
    pub workers_per_destination: usize,
    /// Expiry by class: [`NewMessage::class`] is an index into it. A class beyond the list means
    /// the last one.
    pub classes: Vec<Expiry>,
}

/// A message as it enters the schedule.
#[derive(Clone, Debug)]
pub struct NewMessage<'a> {
    /// Its queue id.
    pub id: QueueId,
    /// Its age counts from here.
    pub begins: Timestamp,
    /// What its sender wants of the schedule.
    pub wishes: Wishes,
    /// Its expiry class.
    pub class: u8,
    /// Its open recipients.
    pub recipients: &'a [NewRecipient<'a>],
}

/// What a sender wants of the schedule.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Wishes {
    /// Higher goes first, among what is due for a destination; see [`PRIORITY_STEP`].
    pub priority: i8,
    /// When it expires, or its sender is told of the delay, if that is sooner than for others.
    pub by: Option<(Timestamp, ByMode)>,
}

impl Wishes {
    /// Those of a message.
    #[must_use]
    pub fn of(message: &envelope::Message) -> Wishes {
        Wishes {
            priority: message.priority,
            by: message.deliver_by.map(|by| (by.at, by.mode)),
        }
    }
}

/// A recipient as it enters the schedule.
#[derive(Clone, Copy, Debug)]
pub struct NewRecipient<'a> {
    /// Its index within the envelope.
    pub index: u32,
    /// Its scheduling key.
    pub destination: &'a str,
    /// Not before this time.
    pub due: Timestamp,
    /// Whether that is the time of another attempt, and not one that its sender chose.
    pub again: bool,
    /// Whether the operator (or policy) holds it.
    pub held: bool,
    /// Whether a delay notice was sent already.
    pub noticed: bool,
}

/// What a piece of work is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Hand the message to its next hop.
    Attempt,
    /// Tell the sender that it takes longer. The recipients stay queued.
    DelayNotice,
    /// Give up: tell the sender and close the recipients.
    Expiry,
    /// The operator asked for something that no attempt may run into (hold, release, delete …).
    Operator,
}

/// A message and those of its recipients that are in one pair of hands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Work {
    /// The message.
    pub id: QueueId,
    /// The destination of all its recipients for an attempt; that of the first one otherwise.
    pub destination: Arc<str>,
    /// Indexes of recipients, ascending.
    pub recipients: Vec<u32>,
    /// What it is for.
    pub purpose: Purpose,
}

/// What becomes of a recipient after work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// It has its final outcome, durably.
    Closed,
    /// Not before `at`. With `at` = now it waits for its destination only. After work of the
    /// operator this also ends a hold; what is due is attempted before its age counts again.
    Retry {
        /// Not before this time.
        at: Timestamp,
    },
    /// As `Retry`, but the route changed: it belongs to another destination now.
    Move {
        /// The new scheduling key.
        destination: Arc<str>,
        /// Not before this time.
        at: Timestamp,
    },
    /// Held until the operator claims it and lets it go.
    Hold,
    /// As before.
    Unchanged,
}

/// Why the operator cannot have a message now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// No such message (any more).
    Unknown,
    /// A worker has at least one of its recipients; ask again when the attempt is over.
    InFlight,
}

/// Why and until when a destination is left alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The last reason, for people.
    pub reason: Box<str>,
    /// When it failed first.
    pub since: Timestamp,
    /// The next probe is not before this.
    pub until: Timestamp,
    /// Failures in a row.
    pub count: u32,
}

/// The schedule. See the [module](self).
#[derive(Debug)]
pub struct Schedule {
    settings: Settings,
    /// Messages by slot.
    messages: Vec<Option<Message>>,
    free_slots: Vec<u32>,
    slots: BTreeMap<QueueId, u32>,
    /// Destinations by number.
    destinations: Vec<Option<Destination>>,
    free_numbers: Vec<u32>,
    numbers: BTreeMap<Arc<str>, u32>,
    /// Per destination, what waits, by rank and time: (destination, rank, due, slot).
    due: BTreeSet<(u32, u8, Timestamp, u32)>,
    /// How many of these there are of each rank: nearly all mail has one.
    ranks: BTreeMap<u8, usize>,
    /// When messages should be delivered, by slot; few have it.
    wanted_by: BTreeMap<u32, (Timestamp, ByMode)>,
    /// When to look at a message's age: (time, slot).
    clocks: BTreeSet<(Timestamp, u32)>,
    /// When a destination can use another worker: (time, destination).
    wakes: BTreeSet<(Timestamp, u32)>,
    /// Destinations whose time has come, in turn.
    turn: VecDeque<u32>,
    counts: Counts,
    /// What the time was when it was told last.
    told: Timestamp,
}

impl Schedule {
    /// An empty schedule.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Schedule {
            settings,
            messages: Vec::new(),
            free_slots: Vec::new(),
            slots: BTreeMap::new(),
            destinations: Vec::new(),
            free_numbers: Vec::new(),
            numbers: BTreeMap::new(),
            due: BTreeSet::new(),
            ranks: BTreeMap::new(),
            wanted_by: BTreeMap::new(),
            clocks: BTreeSet::new(),
            wakes: BTreeSet::new(),
            turn: VecDeque::new(),
            counts: Counts::default(),
            told: Timestamp::EPOCH,
        }
    }

    /// What it goes by.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Goes by other settings from now on. Takes time in proportion to the queue.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
        for slot in 0..self.messages.len() {
            self.wind(number(slot), None);
        }
        for d in 0..self.destinations.len() {
            self.refresh(number(d));
        }
    }

    /// Enters a message. False, and nothing done, when it is known already or has no recipient.
    pub fn insert(&mut self, new: &NewMessage<'_>) -> bool {
        if new.recipients.is_empty() || self.slots.contains_key(&new.id) {
            return false;
        }
        let mut recipients = Vec::with_capacity(new.recipients.len());
        for r in new.recipients {
            recipients.push(Recipient {
                destination: self.intern(r.destination),
                index: r.index,
                due: r.due,
                again: r.again,
                hands: Hands::Free,
                held: r.held,
                noticed: r.noticed,
                tried: false,
            });
        }
        let slot = self.add_message(Message::new(new));
        if let Some(by) = new.wishes.by {
            self.wanted_by.insert(slot, by);
        }
        self.edit(slot, |m| m.set_recipients(recipients));
        true
    }

    /// Starts workers: the destinations, in turn, that have due work and a free slot. A destination
    /// stands in the list once for each worker it gets, and each of these holds a slot until
    /// [`Schedule::leave`]. A worker that looks for work counts for one message, so that a single
    /// message never starts two workers.
    pub fn ready(&mut self, now: Timestamp) -> Vec<Arc<str>> {
        self.follow_clock(now);
        while let Some(&(at, d)) = self.wakes.first() {
            if at > now {
                break;
            }
            self.wakes.pop_first();
            if let Some(destination) = self.destination_mut(d) {
                destination.wake = None;
                destination.in_turn = true;
                self.turn.push_back(d);
            }
        }
        let mut started = Vec::new();
        while self.counts.workers < self.settings.workers {
            let Some(d) = self.turn.pop_front() else {
                break;
            };
            let wanted = self.wants_worker_at(d).is_some_and(|at| at <= now);
            let Some(destination) = self.destination_mut(d) else {
                continue;
            };
            destination.in_turn = false;
            if wanted {
                destination.workers += 1;
                started.push(destination.name.clone());
                self.counts.workers += 1;
            }
            if self.wants_worker_at(d).is_some_and(|at| at <= now) {
                if let Some(destination) = self.destination_mut(d) {
                    destination.in_turn = true;
                }
                self.turn.push_back(d);
            } else {
                self.refresh(d);
                self.forget(d);
            }
        }
        debug_assert_eq!(
            invariants::bounds_kept("workers", self.counts.workers, self.settings.workers),
            Ok(())
        );
        started
    }

    /// Gives a worker of `destination` its next message, with all due recipients there, at most
    /// [`RECIPIENTS_PER_WORK`]. `None`: nothing is due there, or the destination is left alone; the
    /// worker ends (it may linger on an open connection, but must then ask again whenever something
    /// was entered).
    pub fn take(&mut self, destination: &str, now: Timestamp) -> Option<Work> {
        let d = *self.numbers.get(destination)?;
        if !self.destination(d)?.open(now) {
            return None;
        }
        let slot = self.most_urgent(d, now)?;
        let id = self.message(slot)?.id;
        let at = self.destination_mut(d)?;
        at.busy += 1;
        let name = at.name.clone();
        if let Some(backoff) = &mut at.backoff {
            backoff.probe = Some(id);
        }
        let mut recipients = Vec::new();
        self.edit(slot, |m| {
            let wanted = |r: &&mut Recipient| r.destination == d && r.waits() && r.due <= now;
            let taken = m.recipients_mut().iter_mut().filter(wanted);
            for r in taken.take(RECIPIENTS_PER_WORK) {
                r.hands = Hands::Worker;
                recipients.push(r.index);
            }
        });
        self.refresh(d);
        Some(Work {
            id,
            destination: name,
            recipients,
            purpose: Purpose::Attempt,
        })
    }

    /// Ends work whose outcomes are durable. A recipient that `outcomes` does not name stays as it
    /// was. Outcomes for recipients that are not part of the work are ignored.
    ///
    /// When the attempt showed that the destination fails (or works), say so first with
    /// [`Schedule::destination_failed`] (or [`Schedule::destination_ok`]): otherwise the next
    /// worker may take the next message in between.
    pub fn finish(&mut self, work: &Work, outcomes: &[(u32, Next)]) {
        self.end(work, None, |index| {
            outcomes.iter().find(|(i, _)| *i == index).map(|(_, n)| n)
        });
    }

    /// Ends work that came to nothing for a reason of our own: the outcomes could not be made
    /// durable, the message could not be read, the worker is stopping. Nothing is noted; the
    /// recipients are due again [`LOOK_AGAIN`] after `now`.
    pub fn put_back(&mut self, work: &Work, now: Timestamp) {
        self.end(work, Some(now + LOOK_AGAIN), |_| None);
    }

    /// Frees the slot of a worker that [`Schedule::ready`] started.
    pub fn leave(&mut self, destination: &str) {
        let Some(&d) = self.numbers.get(destination) else {
            return;
        };
        if let Some(destination) = self.destination_mut(d)
            && destination.workers > 0
        {
            destination.workers -= 1;
            self.counts.workers -= 1;
        }
        self.refresh(d);
        self.forget(d);
    }

    /// Opens every destination that fails for a probe: what it fails for may have been mended.
    pub fn probe_all(&mut self, now: Timestamp) {
        for d in (0..).take(self.destinations.len()) {
            if let Some(backoff) = self.destination_mut(d).and_then(|d| d.backoff.as_mut()) {
                backoff.failure.until = backoff.failure.until.min(now);
                self.refresh(d);
            }
        }
    }

    /// Notes that a destination as a whole fails (no connection, 421, …), and why. From now on it
    /// is left alone for an interval, which grows with each probe that fails.
    pub fn destination_failed(&mut self, destination: &str, reason: &str, now: Timestamp) {
        let Some(&d) = self.numbers.get(destination) else {
            return;
        };
        let Some(known) = self.destinations.get_mut(index(d)).and_then(Option::as_mut) else {
            return;
        };
        self.counts.failed_destinations += usize::from(known.backoff.is_none());
        known.fail(reason, now, &self.settings.intervals);
        self.refresh(d);
    }

    /// Notes that a destination works: its peer answered, whatever it said about one message.
    pub fn destination_ok(&mut self, destination: &str) {
        let Some(&d) = self.numbers.get(destination) else {
            return;
        };
        let Some(known) = self.destination_mut(d) else {
            return;
        };
        let failed = known.backoff.take().is_some();
        let news = !known.proven || failed;
        known.proven = true;
        self.counts.failed_destinations -= usize::from(failed);
        if news {
            self.refresh(d);
        }
    }

    /// When to call [`Schedule::ready`] or [`Schedule::notices`] again, if nothing is entered,
    /// finished or left before. Not after `now` means at once; `None` means never.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let clock = self.clocks.first().map(|(at, _)| *at);
        if self.counts.workers >= self.settings.workers {
            return clock;
        }
        if !self.turn.is_empty() {
            return Some(Timestamp::EPOCH);
        }
        let wake = self.wakes.first().map(|(at, _)| *at);
        clock.into_iter().chain(wake).min()
    }

    /// Delay notices and expiries that are due, at most `limit` messages. Dead destinations are no
    /// exception; held recipients are, and those in a worker's hands, which come up when they
    /// are back. A recipient that was not tried since start-up is tried first, unless its
    /// destination fails: a server that was off for a week does not return its queue unseen.
    ///
    /// What is handed out must come back through [`Schedule::finish`] (after an expiry with
    /// [`Next::Closed`], after a delay notice with [`Next::Unchanged`]) or [`Schedule::put_back`].
    pub fn notices(&mut self, now: Timestamp, limit: usize) -> Vec<Work> {
        let mut works = Vec::new();
        for _ in 0..AGES_PER_CALL {
            let Some(&(at, slot)) = self.clocks.first() else {
                break;
            };
            if at > now || works.len() >= limit {
                break;
            }
            works.extend(self.notice(slot, now));
        }
        works
    }

    /// Takes a whole message for the operator, held recipients too, so that nobody attempts it
    /// while what it asked for is made durable. Ends with [`Schedule::finish`] or
    /// [`Schedule::put_back`].
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn claim(&mut self, id: QueueId) -> Result<Work, Refused> {
        let slot = *self.slots.get(&id).ok_or(Refused::Unknown)?;
        let message = self.message(slot).ok_or(Refused::Unknown)?;
        if message.in_flight() {
            return Err(Refused::InFlight);
        }
        self.hand_to_clerk(slot, Purpose::Operator, |_| true)
            .ok_or(Refused::Unknown)
    }

    /// Makes the recipients that wait due now, and their destinations open for a probe. False when
    /// the message is not known.
    pub fn retry_now(&mut self, id: QueueId, now: Timestamp) -> bool {
        let known = self.edit_all(id, |r| r.due = r.due.min(now));
        let slot = self.slots.get(&id).copied();
        let message = slot.and_then(|slot| self.message(slot));
        let touched: Vec<u32> =
            message.map_or(Vec::new(), |m| m.groups().map(|g| g.destination).collect());
        for d in touched {
            if let Some(backoff) = self.destination_mut(d).and_then(|d| d.backoff.as_mut()) {
                backoff.failure.until = backoff.failure.until.min(now);
            }
            self.refresh(d);
        }
        known
    }
}

/// A slot or a destination's number as an index.
fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// An index as a slot or a number. 2³² messages do not fit into memory.
fn number(i: usize) -> u32 {
    u32::try_from(i).unwrap_or(u32::MAX)
}
