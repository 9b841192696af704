//! How the schedule keeps its indexes in step: every change of a message goes through
//! [`Schedule::edit`], every change of a destination ends with [`Schedule::refresh`].

use std::sync::Arc;

use posthaste_world::Timestamp;

use super::destination::Destination;
use super::message::{Group, Hands, Message, Recipient};
use super::{Expiry, LOOK_AGAIN, Next, PRIORITY_STEP, Purpose, Schedule, Work, index, number};
use crate::backoff::SHORTEST_INTERVAL;
use crate::envelope::ByMode;
use crate::id::QueueId;

/// When nothing is configured: 4 hours and 5 days.
const DEFAULT_EXPIRY: Expiry = Expiry {
    notice_after: Some(std::time::Duration::from_secs(4 * 3600)),
    expire_after: std::time::Duration::from_secs(5 * 24 * 3600),
};

/// Slots kept when the queue is empty; more are given back.
const KEPT_SLOTS: usize = 1024;

impl Schedule {
    pub(super) fn message(&self, slot: u32) -> Option<&Message> {
        self.messages.get(index(slot))?.as_ref()
    }

    pub(super) fn destination(&self, d: u32) -> Option<&Destination> {
        self.destinations.get(index(d))?.as_ref()
    }

    pub(super) fn destination_mut(&mut self, d: u32) -> Option<&mut Destination> {
        self.destinations.get_mut(index(d))?.as_mut()
    }

    pub(super) fn name_of(&self, d: u32) -> Arc<str> {
        self.destination(d)
            .map_or_else(|| Arc::from(""), |d| d.name.clone())
    }

    /// The expiry of a message: that of its class, or sooner where its sender wants it.
    pub(super) fn expiry(&self, slot: u32, m: &Message) -> Expiry {
        let classes = &self.settings.classes;
        let found = classes.get(usize::from(m.class)).or(classes.last());
        let mut expiry = found.copied().unwrap_or(DEFAULT_EXPIRY);
        if let Some((at, mode)) = self.wanted_by.get(&slot) {
            let after = at.since(m.begins);
            match mode {
                ByMode::Return => expiry.expire_after = expiry.expire_after.min(after),
                ByMode::Notify => {
                    expiry.notice_after = expiry.notice_after.map(|usual| usual.min(after));
                }
            }
        }
        expiry
    }

    /// Whether a message must not be delivered any more.
    fn overdue(&self, slot: u32, now: Timestamp) -> bool {
        let by = self.wanted_by.get(&slot);
        by.is_some_and(|(at, mode)| *mode == ByMode::Return && *at <= now)
    }

    /// What waits for a destination with one rank, by time.
    fn due_with(&self, d: u32, rank: u8) -> impl Iterator<Item = (Timestamp, u32)> {
        let range = (d, rank, Timestamp::EPOCH, 0)..=(d, rank, Timestamp::MAX, u32::MAX);
        self.due.range(range).map(|(_, _, at, slot)| (*at, *slot))
    }

    /// The message that goes next: of what is due, the one that has waited longest, its rank
    /// counted as time.
    pub(super) fn most_urgent(&self, d: u32, now: Timestamp) -> Option<u32> {
        let first = |rank: &u8| {
            let (at, slot) = self.due_with(d, *rank).next()?;
            (at <= now).then(|| (at + PRIORITY_STEP * u32::from(*rank), slot))
        };
        let (_, slot) = self.ranks.keys().filter_map(first).min()?;
        Some(slot)
    }

    /// When the `n`-th message that waits for a destination is due, counted from 0.
    fn nth_due(&self, d: u32, n: usize) -> Option<Timestamp> {
        let mut ranks = self.ranks.keys();
        if let (Some(only), None) = (ranks.next(), ranks.next()) {
            return self.due_with(d, *only).nth(n).map(|(at, _)| at);
        }
        let some = |rank: &u8| self.due_with(d, *rank).take(n + 1).map(|(at, _)| at);
        let mut soonest: Vec<_> = self.ranks.keys().flat_map(some).collect();
        soonest.sort_unstable();
        soonest.get(n).copied()
    }

    /// The number of a destination, which is made when it is new. The caller gives it a recipient,
    /// or forgets it.
    pub(super) fn intern(&mut self, name: &str) -> u32 {
        if let Some(d) = self.numbers.get(name) {
            return *d;
        }
        let name: Arc<str> = Arc::from(name);
        let new = Some(Destination::new(name.clone()));
        let d = place(&mut self.destinations, &mut self.free_numbers, new);
        self.numbers.insert(name, d);
        d
    }

    /// Drops a destination that nothing speaks of.
    pub(super) fn forget(&mut self, d: u32) {
        let Some(known) = self.destinations.get_mut(index(d)) else {
            return;
        };
        let Some(gone) = known.take_if(|known| known.forgettable()) else {
            return;
        };
        self.counts.failed_destinations -= usize::from(gone.backoff.is_some());
        if let Some(at) = gone.wake {
            self.wakes.remove(&(at, d));
        }
        self.numbers.remove(&gone.name);
        self.free_numbers.push(d);
    }

    /// When the destination can use one more worker; `None` while it cannot.
    pub(super) fn wants_worker_at(&self, d: u32) -> Option<Timestamp> {
        let known = self.destination(d)?;
        if known.workers >= known.workers_max(self.settings.workers_per_destination) {
            return None;
        }
        match &known.backoff {
            Some(b) if b.probe.is_some() || known.idle() > 0 => None,
            Some(b) => Some(b.failure.until.max(self.nth_due(d, 0)?)),
            // Those who are about to ask will have the first ones.
            None => self.nth_due(d, known.idle()),
        }
    }

    /// Brings the wake-up of a destination up to date.
    pub(super) fn refresh(&mut self, d: u32) {
        let wake = self.wants_worker_at(d);
        let Some(known) = self.destination_mut(d) else {
            return;
        };
        if known.in_turn || known.wake == wake {
            return;
        }
        let before = std::mem::replace(&mut known.wake, wake);
        if let Some(at) = before {
            self.wakes.remove(&(at, d));
        }
        if let Some(at) = wake {
            self.wakes.insert((at, d));
        }
    }

    /// Where the clock was set back, takes the waits for another attempt back with it, so that what
    /// was to wait a minute waits a minute. Takes time in proportion to the queue, then.
    pub(super) fn follow_clock(&mut self, now: Timestamp) {
        let back = std::mem::replace(&mut self.told, now).since(now);
        if back < SHORTEST_INTERVAL {
            return;
        }
        for slot in (0..).take(self.messages.len()) {
            self.edit(slot, |m| {
                let again = m.recipients_mut().iter_mut().filter(|r| r.again);
                again.for_each(|r| r.due = r.due - back);
            });
        }
        for d in (0..).take(self.destinations.len()) {
            if let Some(backoff) = self.destination_mut(d).and_then(|d| d.backoff.as_mut()) {
                backoff.failure.until = backoff.failure.until - back;
                self.refresh(d);
            }
        }
    }

    pub(super) fn add_message(&mut self, message: Message) -> u32 {
        let id = message.id;
        let slot = place(&mut self.messages, &mut self.free_slots, Some(message));
        self.slots.insert(id, slot);
        slot
    }

    /// Changes a message and all that follows from it: what is due, counts, its age, and its end
    /// when it has no recipient left.
    pub(super) fn edit(&mut self, slot: u32, change: impl FnOnce(&mut Message)) {
        let Some(m) = self.messages.get_mut(index(slot)).and_then(Option::as_mut) else {
            return;
        };
        let before = Groups::of(m);
        let tally = m.tally();
        self.counts.recipients -= tally.recipients;
        self.counts.held -= tally.held;
        self.counts.in_flight -= tally.in_flight;
        change(m);
        let tally = m.tally();
        self.counts.recipients += tally.recipients;
        self.counts.held += tally.held;
        self.counts.in_flight += tally.in_flight;
        let after = Groups::of(m);
        let (id, ended) = (m.id, m.recipients().is_empty());

        for old in before.iter().filter(|g| !after.has(g)) {
            self.count_group(slot, old, false);
        }
        for new in after.iter().filter(|g| !before.has(g)) {
            self.count_group(slot, new, true);
        }
        for g in before.iter().chain(after.iter()) {
            self.refresh(g.destination);
            self.forget(g.destination);
        }
        self.wind(slot, None);
        if ended {
            self.slots.remove(&id);
            self.wanted_by.remove(&slot);
            if let Some(m) = self.messages.get_mut(index(slot)) {
                *m = None;
            }
            self.free_slots.push(slot);
            if self.slots.is_empty() && self.messages.len() > KEPT_SLOTS {
                self.messages = Vec::new();
                self.free_slots = Vec::new();
            }
        }
    }

    /// Changes all recipients of a message. False when it is not known.
    pub(super) fn edit_all(&mut self, id: QueueId, change: impl FnMut(&mut Recipient)) -> bool {
        let Some(&slot) = self.slots.get(&id) else {
            return false;
        };
        self.edit(slot, |m| m.recipients_mut().iter_mut().for_each(change));
        true
    }

    /// Enters or takes out a group.
    fn count_group(&mut self, slot: u32, group: &Group, enter: bool) {
        let open = index(group.open);
        let Some(rank) = self.message(slot).map(|m| m.rank) else {
            return;
        };
        let Some(known) = self.destination_mut(group.destination) else {
            return;
        };
        if enter {
            known.recipients += open;
            known.waiting += usize::from(group.due.is_some());
        } else {
            known.recipients -= open;
            known.waiting -= usize::from(group.due.is_some());
        }
        if let Some(at) = group.due {
            let key = (group.destination, rank, at, slot);
            let count = self.ranks.entry(rank).or_default();
            if enter {
                *count += 1;
                self.due.insert(key);
            } else {
                *count -= 1;
                self.due.remove(&key);
            }
            if *count == 0 {
                self.ranks.remove(&rank);
            }
        }
    }

    /// Sets the clock of a message: its age, but not before `floor`.
    pub(super) fn wind(&mut self, slot: u32, floor: Option<Timestamp>) {
        let Some(m) = self.message(slot) else {
            return;
        };
        let at = m.age_matters_at(self.expiry(slot, m));
        let at = at.map_or(Timestamp::MAX, |at| floor.map_or(at, |floor| at.max(floor)));
        let Some(m) = self.messages.get_mut(index(slot)).and_then(Option::as_mut) else {
            return;
        };
        let before = std::mem::replace(&mut m.clock, at);
        if before == at {
            return;
        }
        if before != Timestamp::MAX {
            self.clocks.remove(&(before, slot));
        }
        if at != Timestamp::MAX {
            self.clocks.insert((at, slot));
        }
    }

    /// What the age of a message asks for now.
    pub(super) fn notice(&mut self, slot: u32, now: Timestamp) -> Option<Work> {
        let m = self.message(slot)?;
        let purpose = m.owed(self.expiry(slot, m), now);
        let overdue = self.overdue(slot, now);
        let failing: Vec<u32> = m
            .groups()
            .map(|g| g.destination)
            .filter(|d| self.destination(*d).is_some_and(|d| d.backoff.is_some()))
            .collect();
        let delay = purpose == Purpose::DelayNotice;
        let work = self.hand_to_clerk(slot, purpose, |r| {
            let seen = overdue || r.tried || failing.contains(&r.destination);
            r.waits() && seen && !(delay && r.noticed)
        });
        if work.is_none() {
            self.wind(slot, Some(now + LOOK_AGAIN));
        }
        work
    }

    /// Hands out the wanted recipients of a message away from the workers.
    pub(super) fn hand_to_clerk(
        &mut self,
        slot: u32,
        purpose: Purpose,
        wanted: impl Fn(&Recipient) -> bool,
    ) -> Option<Work> {
        let m = self.message(slot)?;
        let id = m.id;
        let first = m.recipients().iter().find(|r| wanted(r))?;
        let destination = self.name_of(first.destination);
        let mut recipients = Vec::new();
        self.edit(slot, |m| {
            for r in m.recipients_mut().iter_mut().filter(|r| wanted(r)) {
                r.hands = Hands::Clerk;
                recipients.push(r.index);
            }
        });
        recipients.sort_unstable();
        Some(Work {
            id,
            destination,
            recipients,
            purpose,
        })
    }

    /// Ends work: asks `next` for each of its recipients. `not_before` is given when nothing came
    /// of it.
    pub(super) fn end<'a>(
        &mut self,
        work: &Work,
        not_before: Option<Timestamp>,
        next: impl Fn(u32) -> Option<&'a Next>,
    ) {
        if work.purpose == Purpose::Attempt
            && let Some(&d) = self.numbers.get(&work.destination)
        {
            if let Some(known) = self.destination_mut(d) {
                known.work_ended(work.id);
            }
            self.refresh(d);
        }
        let Some(&slot) = self.slots.get(&work.id) else {
            return;
        };
        let Some(m) = self.message(slot) else {
            return;
        };
        let mut all = m.recipients().to_vec();
        let ours = |r: &Recipient| {
            r.hands != Hands::Free && work.recipients.binary_search(&r.index).is_ok()
        };
        all.retain_mut(|r| !ours(r) || self.ended(r, work, not_before, next(r.index)));
        self.edit(slot, |m| m.set_recipients(all));
        if not_before.is_some() && work.purpose != Purpose::Attempt {
            self.wind(slot, not_before);
        }
    }

    /// Puts one recipient back; false when it is closed.
    fn ended(
        &mut self,
        r: &mut Recipient,
        work: &Work,
        not_before: Option<Timestamp>,
        next: Option<&Next>,
    ) -> bool {
        r.hands = Hands::Free;
        if let Some(not_before) = not_before {
            if work.purpose == Purpose::Attempt {
                r.due = r.due.max(not_before);
                r.again = true;
            }
            return true;
        }
        match work.purpose {
            Purpose::Attempt => r.tried = true,
            Purpose::DelayNotice => r.noticed |= next.is_some(),
            Purpose::Operator => r.tried &= !r.held,
            Purpose::Expiry => {}
        }
        match next {
            Some(Next::Closed) => return false,
            Some(Next::Retry { at }) => {
                r.held &= work.purpose != Purpose::Operator;
                (r.due, r.again) = (*at, true);
            }
            Some(Next::Move { destination, at }) => {
                r.destination = self.intern(destination);
                (r.due, r.again) = (*at, true);
                r.tried = false;
            }
            Some(Next::Hold) => r.held = true,
            Some(Next::Unchanged) | None => {}
        }
        true
    }
}

/// The groups of a message, without an allocation when there is one.
enum Groups {
    One(Option<Group>),
    Many(Vec<Group>),
}

impl Groups {
    fn of(m: &Message) -> Self {
        if m.recipients().len() <= 1 {
            Groups::One(m.groups().next())
        } else {
            Groups::Many(m.groups().collect())
        }
    }

    fn as_slice(&self) -> &[Group] {
        match self {
            Groups::One(group) => group.as_slice(),
            Groups::Many(groups) => groups,
        }
    }

    fn iter(&self) -> std::slice::Iter<'_, Group> {
        self.as_slice().iter()
    }

    fn has(&self, group: &Group) -> bool {
        let groups = self.as_slice();
        groups
            .binary_search_by_key(&group.destination, |g| g.destination)
            .is_ok_and(|i| groups.get(i) == Some(group))
    }
}

/// Puts a value into a free place, or a new one.
fn place<T>(places: &mut Vec<Option<T>>, free: &mut Vec<u32>, value: Option<T>) -> u32 {
    if let Some(n) = free.pop()
        && let Some(place) = places.get_mut(index(n))
    {
        *place = value;
        return n;
    }
    places.push(value);
    number(places.len() - 1)
}
