//! Reading the schedule: counts, listings, and a check of its own invariants.
//!
//! It changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use posthaste_world::Timestamp;

use super::{Failure, Schedule, index};
use crate::id::QueueId;

/// How many there are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Messages.
    pub messages: usize,
    /// Open recipients.
    pub recipients: usize,
    /// Of these, held.
    pub held: usize,
    /// Of these, in the hands of some work.
    pub in_flight: usize,
    /// Destinations known.
    pub destinations: usize,
    /// Of these, failed and waiting for a probe.
    pub failed_destinations: usize,
    /// Workers.
    pub workers: usize,
}

/// Where a recipient stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Waits for its time, or for its destination.
    Waiting,
    /// Held until released.
    Held,
    /// In the hands of some work.
    InFlight,
}

/// A recipient as listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedRecipient {
    /// Its index within the envelope.
    pub index: u32,
    /// Its scheduling key.
    pub destination: Arc<str>,
    /// Not before this time.
    pub due: Timestamp,
    /// Where it stands.
    pub standing: Standing,
}

/// A message as listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its queue id.
    pub id: QueueId,
    /// When its age began to count.
    pub begins: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
    /// Its open recipients by index.
    pub recipients: Vec<ListedRecipient>,
}

/// A destination as listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedDestination {
    /// Its scheduling key.
    pub name: Arc<str>,
    /// Messages with a recipient here that waits.
    pub waiting: usize,
    /// Workers on it.
    pub workers: usize,
    /// Its failure, while it has one.
    pub failure: Option<Failure>,
}

impl Schedule {
    /// How many there are of each.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            messages: self.slots.len(),
            destinations: self.numbers.len(),
            ..self.counts
        }
    }

    /// Messages by queue id, that is by age, after the given one. A listing that lets go of the
    /// schedule in between goes on with the last id it saw.
    pub fn list(&self, after: Option<QueueId>) -> impl Iterator<Item = Listed> + '_ {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let slots = self.slots.range((from, Bound::Unbounded));
        slots.filter_map(|(_, slot)| self.listed(*slot))
    }

    /// One message.
    #[must_use]
    pub fn get(&self, id: QueueId) -> Option<Listed> {
        self.listed(*self.slots.get(&id)?)
    }

    /// The destinations, by name.
    pub fn destinations(&self) -> impl Iterator<Item = ListedDestination> + '_ {
        let numbers = self.numbers.values();
        numbers.filter_map(|d| self.listed_destination(*d))
    }

    /// One destination: its failure is the reason why its messages wait.
    #[must_use]
    pub fn destination_named(&self, name: &str) -> Option<ListedDestination> {
        self.listed_destination(*self.numbers.get(name)?)
    }

    fn listed(&self, slot: u32) -> Option<Listed> {
        let m = self.message(slot)?;
        let recipients = m.recipients().iter().map(|r| ListedRecipient {
            index: r.index,
            destination: self.name_of(r.destination),
            due: r.due,
            standing: r.standing(),
        });
        let mut recipients: Vec<_> = recipients.collect();
        recipients.sort_by_key(|r| r.index);
        Some(Listed {
            id: m.id,
            begins: m.begins,
            expires: m.begins + self.expiry(slot, m).expire_after,
            recipients,
        })
    }

    fn listed_destination(&self, d: u32) -> Option<ListedDestination> {
        let d = self.destination(d)?;
        Some(ListedDestination {
            name: d.name.clone(),
            waiting: d.waiting,
            workers: d.workers,
            failure: d.backoff.as_ref().map(|b| b.failure.clone()),
        })
    }

    /// Compares every index with what it is an index of. For tests and simulation: takes time in
    /// proportion to the queue.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self) -> Result<(), String> {
        let mut due = BTreeSet::new();
        let mut clocks = BTreeSet::new();
        let mut counts = Counts::default();
        let mut open = vec![0; self.destinations.len()];
        for (id, slot) in &self.slots {
            let m = self.message(*slot).ok_or(format!("{id} has no slot"))?;
            if m.id != *id || m.recipients().is_empty() {
                return Err(format!(
                    "slot {slot} of {id} holds another, or an ended, message"
                ));
            }
            let tally = m.tally();
            counts.recipients += tally.recipients;
            counts.held += tally.held;
            counts.in_flight += tally.in_flight;
            for g in m.groups() {
                due.extend(g.due.map(|at| (g.destination, m.rank, at, *slot)));
                if let Some(n) = open.get_mut(index(g.destination)) {
                    *n += m
                        .recipients()
                        .iter()
                        .filter(|r| r.destination == g.destination)
                        .count();
                }
            }
            if m.clock != Timestamp::MAX {
                clocks.insert((m.clock, *slot));
            }
            if m.age_matters_at(self.expiry(*slot, m)).is_some() != (m.clock != Timestamp::MAX) {
                return Err(format!(
                    "the age of {id} is not watched, or watched in vain"
                ));
            }
        }
        for (name, d) in &self.numbers {
            let d = *d;
            let known = self.destination(d).ok_or(format!("{name} has no number"))?;
            counts.workers += known.workers;
            counts.failed_destinations += usize::from(known.backoff.is_some());
            let ends = (Timestamp::EPOCH, Timestamp::MAX);
            let waiting = due.range((d, 0, ends.0, 0)..=(d, u8::MAX, ends.1, u32::MAX));
            let fits = known.waiting == waiting.count()
                && open.get(index(d)) == Some(&known.recipients)
                && known.wake.is_none_or(|at| self.wakes.contains(&(at, d)))
                && (known.in_turn || known.wake == self.wants_worker_at(d));
            if !fits || known.forgettable() {
                return Err(format!("the books of {name} do not balance: {known:?}"));
            }
        }
        let mut ranks = BTreeMap::new();
        for (_, rank, ..) in &due {
            *ranks.entry(*rank).or_default() += 1;
        }
        let wished = self
            .wanted_by
            .keys()
            .all(|slot| self.message(*slot).is_some());
        let fits = due == self.due
            && ranks == self.ranks
            && wished
            && clocks == self.clocks
            && counts == self.counts;
        if fits {
            Ok(())
        } else {
            Err("an index or a count is off".to_owned())
        }
    }
}
