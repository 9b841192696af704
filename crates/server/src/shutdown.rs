//! Stopping in order: no new work, what is under way may end, within a bound of time.
//!
//! The promise does not depend on this: a `kill -9` at any instant loses nothing. A graceful stop
//! spares peers a lost connection and next hops a repeated attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use posthaste_world::Clock;
use tokio::sync::{Notify, watch};

/// How long transactions and attempts may go on after a stop was asked for.
pub const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Tells everybody that the server stops, and knows who is still busy. Clones are the same thing.
#[derive(Clone)]
pub struct Shutdown {
    stopping: Arc<watch::Sender<bool>>,
    busy: Arc<Busy>,
}

#[derive(Default)]
struct Busy {
    count: AtomicUsize,
    changed: Notify,
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown {
            stopping: Arc::new(watch::Sender::new(false)),
            busy: Arc::default(),
        }
    }
}

impl Shutdown {
    /// Asks everybody to stop.
    pub fn begin(&self) {
        self.stopping.send_replace(true);
    }

    /// Whether a stop was asked for.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Ends when a stop is asked for.
    pub async fn stopping(&self) {
        let mut seen = self.stopping.subscribe();
        // The sender lives as long as `self`, so this cannot fail before a stop.
        let _ = seen.wait_for(|s| *s).await;
    }

    /// Counts somebody as busy for as long as the result lives.
    #[must_use]
    pub fn busy(&self) -> Guard {
        self.busy.count.fetch_add(1, Ordering::Relaxed);
        Guard(self.busy.clone())
    }

    /// How many are busy.
    #[must_use]
    pub fn count(&self) -> usize {
        self.busy.count.load(Ordering::Relaxed)
    }

    /// Ends when nobody is busy any more, or after `limit`; says whether all were done.
    pub async fn drained(&self, clock: &dyn Clock, limit: Duration) -> bool {
        let mut out_of_time = clock.sleep(limit);
        loop {
            let changed = self.busy.changed.notified();
            if self.count() == 0 {
                return true;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = &mut out_of_time => return self.count() == 0,
            }
        }
    }
}

/// Somebody who is busy.
pub struct Guard(Arc<Busy>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}
