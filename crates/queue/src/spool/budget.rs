//! The memory that drafts may take together, and the cache of just accepted messages.
//!
//! Nobody is refused for lack of memory: a draft that gets none writes to its file instead.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::content::Stored;
use super::read::lay_over;
use crate::envelope::Progress;
use crate::id::QueueId;

/// Octets a cached message takes beside its body, about.
const ENTRY: usize = 1024;

/// Memory for drafts.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

/// A share of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<Budget>,
    octets: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Arc<Budget> {
        Arc::new(Budget {
            limit,
            used: AtomicUsize::new(0),
        })
    }
}

impl Charge {
    pub(super) fn none(budget: &Arc<Budget>) -> Charge {
        Charge {
            budget: budget.clone(),
            octets: 0,
        }
    }

    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    /// Grows or shrinks to so many octets. False, and nothing changed, when there are not so many.
    pub(super) fn set(&mut self, octets: usize) -> bool {
        let more = octets.saturating_sub(self.octets);
        let within = |used: usize| {
            used.checked_add(more)
                .filter(|sum| *sum <= self.budget.limit)
        };
        let used = &self.budget.used;
        if more > 0
            && used
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, within)
                .is_err()
        {
            return false;
        }
        used.fetch_sub(self.octets.saturating_sub(octets), Ordering::Relaxed);
        self.octets = octets;
        true
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Just accepted messages, so that their first attempt reads no disk. The oldest go first.
#[derive(Debug)]
pub(super) struct Cache(Mutex<Inside>);

#[derive(Debug)]
struct Inside {
    limit: usize,
    used: usize,
    messages: BTreeMap<QueueId, (Stored, usize)>,
    order: VecDeque<QueueId>,
}

impl Cache {
    pub(super) fn new(limit: usize) -> Cache {
        let (messages, order) = (BTreeMap::new(), VecDeque::new());
        Cache(Mutex::new(Inside {
            limit,
            used: 0,
            messages,
            order,
        }))
    }

    /// Keeps a message whose body takes so many octets, if it fits at all.
    pub(super) fn insert(&self, stored: Stored, octets: usize) {
        let mut inside = self.lock();
        let octets = octets + ENTRY;
        if octets > inside.limit {
            return;
        }
        let id = stored.envelope().id;
        inside.used += octets;
        inside.order.push_back(id);
        if let Some((_, old)) = inside.messages.insert(id, (stored, octets)) {
            inside.used -= old;
        }
        while inside.used > inside.limit
            && let Some(oldest) = inside.order.pop_front()
        {
            inside.remove(oldest);
        }
    }

    pub(super) fn get(&self, id: QueueId) -> Option<Stored> {
        self.lock()
            .messages
            .get(&id)
            .map(|(stored, _)| stored.clone())
    }

    /// Takes over new progress.
    pub(super) fn update(&self, id: QueueId, updates: Vec<(u32, Progress)>) {
        if let Some((stored, _)) = self.lock().messages.get_mut(&id) {
            lay_over(stored.envelope_mut(), updates);
        }
    }

    pub(super) fn remove(&self, id: QueueId) {
        let mut inside = self.lock();
        inside.remove(id);
        // Ids of messages that ended stay in the order until it is mostly made of them.
        if inside.order.len() > 64 + 2 * inside.messages.len() {
            let Inside {
                order, messages, ..
            } = &mut *inside;
            order.retain(|id| messages.contains_key(id));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn remove(&mut self, id: QueueId) {
        if let Some((_, octets)) = self.messages.remove(&id) {
            self.used -= octets;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_never_exceeds_the_budget_and_comes_back() {
        let budget = Budget::new(100);
        let (mut a, mut b) = (Charge::none(&budget), Charge::none(&budget));
        assert!(a.set(60) && !b.set(41) && b.set(40) && !a.set(61));
        assert!(a.set(10) && b.set(90));
        drop(b);
        assert!(a.set(100));
        drop(a);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
