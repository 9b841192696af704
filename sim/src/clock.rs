//! Simulated time: it stands still until the simulation moves it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use posthaste_world::{BoxFuture, Clock, Timer, Timestamp};

/// Where every run begins: 2026-01-01T00:00:00Z.
pub const START: Timestamp = Timestamp::from_secs(1_767_225_600);

/// A clock that the simulation moves. Clones show the same time.
#[derive(Clone, Debug)]
pub struct SimClock(Arc<AtomicU64>);

impl Default for SimClock {
    fn default() -> Self {
        SimClock(Arc::new(AtomicU64::new(START.as_millis())))
    }
}

impl SimClock {
    /// Moves time forward.
    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> Duration {
        self.now().since(START)
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        Box::pin(Alarm {
            clock: self.clone(),
            at: Some(self.now() + d),
        })
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(Alarm {
            clock: self.clone(),
            at: None,
        })
    }
}

/// Goes off at a time. Nobody is woken: the simulation polls everything after it moved the clock.
struct Alarm {
    clock: SimClock,
    at: Option<Timestamp>,
}

impl Alarm {
    fn state(&self) -> Poll<()> {
        match self.at {
            Some(at) if at <= self.clock.now() => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

impl Future for Alarm {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.state()
    }
}

impl Timer for Alarm {
    fn set(&mut self, d: Duration) {
        self.at = Some(self.clock.now() + d);
    }

    fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
        self.state()
    }
}
