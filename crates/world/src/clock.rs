//! The clock door: wall time, elapsed time, and waiting.

use std::fmt;
use std::ops::{Add, Sub};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::BoxFuture;

/// A point of wall time in milliseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The start of Unix time.
    pub const EPOCH: Timestamp = Timestamp(0);
    /// Later than everything.
    pub const MAX: Timestamp = Timestamp(u64::MAX);

    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Timestamp(ms)
    }

    /// From seconds since the epoch.
    #[must_use]
    pub const fn from_secs(s: u64) -> Self {
        Timestamp(s.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, d: Duration) -> Timestamp {
        Timestamp(
            self.0
                .saturating_add(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, d: Duration) -> Timestamp {
        Timestamp(
            self.0
                .saturating_sub(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1000, self.0 % 1000)
    }
}

/// Time. Wall time may jump; [`Clock::elapsed`] never goes back.
pub trait Clock: Send + Sync {
    /// Wall time now.
    fn now(&self) -> Timestamp;
    /// Time since some fixed point in this process; never goes back.
    fn elapsed(&self) -> Duration;
    /// Ends after `d`.
    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()>;
    /// A timer that a connection keeps and sets again for every wait.
    fn timer(&self) -> Box<dyn Timer>;
}

/// A timer that can be set any number of times without an allocation.
pub trait Timer: Send {
    /// Sets it to go off after `d` from now; replaces what was set before.
    fn set(&mut self, d: Duration);
    /// Ready once it went off. Pending for ever while nothing is set.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}
