//! A destination: its workers, its failure, and when it may get another worker.
//!
//! A failed destination backs off as a whole: until [`Failure::until`] nobody is sent there; then
//! one worker may take one message, the probe. What that brings decides for all of them.

use std::sync::Arc;

use posthaste_world::Timestamp;

use super::Failure;
use crate::backoff::Intervals;
use crate::id::QueueId;

/// Workers at once for a destination that has not worked since it is known.
const UNPROVEN_WORKERS: usize = 5;

#[derive(Debug)]
pub(super) struct Destination {
    pub(super) name: Arc<str>,
    pub(super) backoff: Option<Box<Backoff>>,
    /// Its entry among the wake-ups.
    pub(super) wake: Option<Timestamp>,
    /// Open recipients.
    pub(super) recipients: usize,
    /// Messages with a recipient that waits.
    pub(super) waiting: usize,
    /// Workers that were started for it.
    pub(super) workers: usize,
    /// Of these, with work in their hands. The others will ask for some.
    pub(super) busy: usize,
    /// It stands in the ring.
    pub(super) in_turn: bool,
    /// It has worked since it is known.
    pub(super) proven: bool,
}

#[derive(Debug)]
pub(super) struct Backoff {
    pub(super) failure: Failure,
    /// The message that is being tried.
    pub(super) probe: Option<QueueId>,
}

impl Destination {
    pub(super) fn new(name: Arc<str>) -> Self {
        Destination {
            name,
            backoff: None,
            wake: None,
            recipients: 0,
            waiting: 0,
            workers: 0,
            busy: 0,
            in_turn: false,
            proven: false,
        }
    }

    /// Workers that it may have, of `limit`: few before it has worked once, so that a handful of
    /// hosts that hang cannot take the workers of all others.
    pub(super) fn workers_max(&self, limit: usize) -> usize {
        if self.proven {
            limit
        } else {
            limit.min(UNPROVEN_WORKERS)
        }
    }

    /// Workers that are about to ask for work.
    pub(super) fn idle(&self) -> usize {
        self.workers.saturating_sub(self.busy)
    }

    /// Whether a worker may take something now.
    pub(super) fn open(&self, now: Timestamp) -> bool {
        match &self.backoff {
            Some(b) => b.probe.is_none() && b.failure.until <= now,
            None => true,
        }
    }

    /// Notes a failure. Several workers that fail before the next probe are one failure.
    pub(super) fn fail(&mut self, reason: &str, now: Timestamp, intervals: &Intervals) {
        let b = self.backoff.get_or_insert_with(|| {
            Box::new(Backoff {
                failure: Failure {
                    reason: Box::default(),
                    since: now,
                    until: now,
                    count: 0,
                },
                probe: None,
            })
        });
        b.failure.reason = reason.into();
        if b.failure.until <= now {
            b.failure.count = b.failure.count.saturating_add(1);
            b.failure.until = now + intervals.after(b.failure.count);
        }
    }

    /// Work on `id` is over.
    pub(super) fn work_ended(&mut self, id: QueueId) {
        self.busy = self.busy.saturating_sub(1);
        if let Some(b) = &mut self.backoff
            && b.probe == Some(id)
        {
            b.probe = None;
        }
    }

    /// Whether nothing speaks of it any more.
    pub(super) fn forgettable(&self) -> bool {
        self.recipients == 0 && self.workers == 0 && !self.in_turn
    }
}
