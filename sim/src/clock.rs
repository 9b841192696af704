//! Simulated time: it stands still until the simulation moves it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use posthaste_world::{BoxFuture, Clock, Timer, Timestamp};

/// Where every run begins: 2026-01-01T00:00:00Z.
pub const START: Timestamp = Timestamp::from_secs(1_767_225_600);

/// A clock that the simulation moves. Clones show the same time.
#[derive(Clone, Debug)]
pub struct SimClock(Arc<Mutex<Time>>);

#[derive(Debug)]
struct Time {
    now: Timestamp,
    /// Who waits for what time, in the order in which they began to wait.
    alarms: BTreeMap<(Timestamp, u64), Waker>,
    number: u64,
}

impl Default for SimClock {
    fn default() -> Self {
        SimClock(Arc::new(Mutex::new(Time {
            now: START,
            alarms: BTreeMap::new(),
            number: 0,
        })))
    }
}

impl SimClock {
    /// Moves time forward, and wakes who waited for it.
    pub fn advance(&self, by: Duration) {
        let mut due = Vec::new();
        {
            let mut time = crate::locked(&self.0);
            let now = time.now + by;
            time.now = now;
            let later = time.alarms.split_off(&(now, u64::MAX));
            due.extend(std::mem::replace(&mut time.alarms, later).into_values());
        }
        due.into_iter().for_each(Waker::wake);
    }

    /// When the next of those who wait is to be woken.
    #[must_use]
    pub fn next_alarm(&self) -> Option<Timestamp> {
        let time = crate::locked(&self.0);
        time.alarms.first_key_value().map(|((at, _), _)| *at)
    }

    /// An alarm that is not set.
    #[must_use]
    pub fn alarm(&self) -> Alarm {
        Alarm {
            clock: self.clone(),
            at: None,
            waits: None,
        }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        crate::locked(&self.0).now
    }

    fn elapsed(&self) -> Duration {
        self.now().since(START)
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        let mut alarm = self.alarm();
        alarm.set(d);
        Box::pin(alarm)
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(self.alarm())
    }
}

/// Goes off at a time, once [`SimClock::advance`] has reached it.
#[derive(Debug)]
pub struct Alarm {
    clock: SimClock,
    at: Option<Timestamp>,
    /// Its key among the clock's alarms, while somebody waits for it.
    waits: Option<(Timestamp, u64)>,
}

impl Alarm {
    /// Sets it to go off at `at`.
    pub fn set_at(&mut self, at: Timestamp) {
        self.forget();
        self.at = Some(at);
    }

    fn forget(&mut self) {
        if let Some(key) = self.waits.take() {
            crate::locked(&self.clock.0).alarms.remove(&key);
        }
    }

    fn state(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let mut time = crate::locked(&self.clock.0);
        if at <= time.now {
            return Poll::Ready(());
        }
        let key = self.waits.unwrap_or_else(|| {
            time.number += 1;
            (at, time.number)
        });
        time.alarms.insert(key, cx.waker().clone());
        self.waits = Some(key);
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Future for Alarm {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.state(cx)
    }
}

impl Timer for Alarm {
    fn set(&mut self, d: Duration) {
        let now = self.clock.now();
        self.set_at(now + d);
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.state(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_woken_when_the_time_has_come_and_not_before() {
        let clock = SimClock::default();
        let mut alarm = clock.alarm();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(clock.next_alarm(), None);
        alarm.set(Duration::from_secs(2));
        assert!(alarm.poll_expired(&mut cx).is_pending());
        assert_eq!(clock.next_alarm(), Some(START + Duration::from_secs(2)));
        clock.advance(Duration::from_secs(1));
        assert!(alarm.poll_expired(&mut cx).is_pending());
        clock.advance(Duration::from_secs(1));
        assert!(alarm.poll_expired(&mut cx).is_ready());
        assert_eq!(clock.next_alarm(), None);
    }

    #[test]
    fn an_alarm_that_is_dropped_or_set_anew_is_waited_for_no_more() {
        let clock = SimClock::default();
        let mut alarm = clock.alarm();
        let mut cx = Context::from_waker(Waker::noop());
        alarm.set(Duration::from_secs(2));
        assert!(alarm.poll_expired(&mut cx).is_pending());
        alarm.set(Duration::from_secs(9));
        assert_eq!(clock.next_alarm(), None);
        assert!(alarm.poll_expired(&mut cx).is_pending());
        drop(alarm);
        assert_eq!(clock.next_alarm(), None);
    }
}
