//! How long to wait before the next attempt (RFC 5321 §4.5.4.1).
//!
//! One list of intervals serves both clocks: that of a recipient who was deferred, and that of a
//! destination that could not be reached. The last interval repeats for ever; what ends the retries
//! is the age of the message, not their number.
//!
//! It does **not** know the time, and it draws no randomness: a destination never gets more than
//! its worker limit at once, so retries need no jitter to stay apart.

use std::time::Duration;

/// The shortest interval that is kept as given. A zero would make a retry loop without a pause.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Waits between attempts, in order; the last one repeats.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Intervals {
    first: Duration,
    others: Box<[Duration]>,
}

impl Intervals {
    /// From a list; an empty one means [`Intervals::default`]. Anything below
    /// [`SHORTEST_INTERVAL`] is raised to it.
    #[must_use]
    pub fn new(list: &[Duration]) -> Self {
        let mut list = list.iter().map(|d| (*d).max(SHORTEST_INTERVAL));
        match list.next() {
            Some(first) => Intervals {
                first,
                others: list.collect(),
            },
            None => Intervals::default(),
        }
    }

    /// The wait after the `failures`-th failure in a row, counted from 1.
    #[must_use]
    pub fn after(&self, failures: u32) -> Duration {
        let others = failures.saturating_sub(1);
        let wanted = usize::try_from(others).unwrap_or(usize::MAX);
        match wanted.checked_sub(1) {
            None => self.first,
            Some(i) => {
                let repeated = self.others.last().copied().unwrap_or(self.first);
                self.others.get(i).copied().unwrap_or(repeated)
            }
        }
    }
}

impl Default for Intervals {
    /// 1, 5, 15 and 30 minutes, then 1, 2 and 4 hours: sooner than the half hour that RFC 5321
    /// §4.5.4.1 names, since greylisting asks for an early second attempt, and rarer later.
    fn default() -> Self {
        let minutes = |m: u64| Duration::from_secs(60 * m);
        Intervals {
            first: minutes(1),
            others: [5, 15, 30, 60, 120, 240].map(minutes).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_interval_repeats() {
        let s = Duration::from_secs;
        let list = Intervals::new(&[s(10), s(20), s(30)]);
        let seen: Vec<_> = [0, 1, 2, 3, 4, u32::MAX].map(|n| list.after(n)).into();
        assert_eq!(seen, [s(10), s(10), s(20), s(30), s(30), s(30)]);
        assert_eq!(Intervals::new(&[s(7)]).after(9), s(7));
    }

    #[test]
    fn an_empty_list_is_the_default_and_zero_is_raised() {
        assert_eq!(Intervals::new(&[]), Intervals::default());
        assert_eq!(
            Intervals::new(&[Duration::ZERO]).after(1),
            SHORTEST_INTERVAL
        );
        assert_eq!(
            Intervals::default().after(100),
            Duration::from_secs(4 * 3600)
        );
    }
}
