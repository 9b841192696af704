//! What a worker holds and must give back, also when it panics: work, and its slot.

use std::sync::Arc;

use posthaste_queue::Queue;
use posthaste_queue::schedule::Work;

/// Work in a worker's hands. What is not settled goes back to the schedule, due again later.
pub(super) struct Hands {
    queue: Arc<Queue>,
    work: Option<Work>,
}

impl Hands {
    /// Takes hold of `work`.
    #[must_use]
    pub(super) fn new(queue: &Arc<Queue>, work: Work) -> Self {
        Hands {
            queue: queue.clone(),
            work: Some(work),
        }
    }

    /// The work.
    #[must_use]
    pub(super) fn work(&self) -> Option<&Work> {
        self.work.as_ref()
    }

    /// Gives the work into other hands; these are empty then.
    #[must_use]
    pub(super) fn hand_over(&mut self) -> Hands {
        Hands {
            queue: self.queue.clone(),
            work: self.work.take(),
        }
    }

    /// Hands it on, for [`Queue::settle`].
    #[must_use]
    pub(super) fn give(mut self) -> Option<Work> {
        self.work.take()
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.queue.put_back(&work);
        }
    }
}

/// A worker's slot at a destination.
pub(super) struct Slot {
    queue: Arc<Queue>,
    destination: Arc<str>,
}

impl Slot {
    /// The slot that [`Queue::ready`] gave out.
    #[must_use]
    pub(super) fn new(queue: &Arc<Queue>, destination: Arc<str>) -> Self {
        Slot {
            queue: queue.clone(),
            destination,
        }
    }

    /// The destination.
    #[must_use]
    pub(super) fn destination(&self) -> &Arc<str> {
        &self.destination
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.queue.leave(&self.destination);
    }
}
