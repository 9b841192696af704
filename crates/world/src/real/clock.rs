//! Time of the operating system, waits of tokio.
//!
//! Waits are as exact as tokio's timer: one millisecond.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use tokio::time::Sleep;

use crate::{BoxFuture, Timestamp};

/// Longer waits end after this; nobody waits for one.
const WAIT_MAX: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The clock of production.
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Clock {
            start: Instant::now(),
        }
    }
}

impl crate::Clock for Clock {
    fn now(&self) -> Timestamp {
        // A clock before 1970 is a machine without a clock.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Timestamp::EPOCH + since.unwrap_or_default()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(d.min(WAIT_MAX)))
    }

    fn timer(&self) -> Box<dyn crate::Timer> {
        Box::new(Timer { sleep: None })
    }
}

/// One tokio timer, made at the first use and moved from then on.
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl crate::Timer for Timer {
    fn set(&mut self, d: Duration) {
        let d = d.min(WAIT_MAX);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(tokio::time::Instant::now() + d),
            None => self.sleep = Some(Box::pin(tokio::time::sleep(d))),
        }
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::Clock as _;

    #[tokio::test]
    async fn a_timer_goes_off_again_when_it_is_set_again() {
        let clock = Clock::new();
        let mut timer = clock.timer();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(timer.poll_expired(&mut cx).is_pending(), "nothing is set");
        for _ in 0..3 {
            let before = clock.elapsed();
            timer.set(Duration::from_millis(5));
            poll_fn(|cx| timer.poll_expired(cx)).await;
            assert!(clock.elapsed() - before >= Duration::from_millis(5));
        }
    }

    #[tokio::test]
    async fn a_timer_set_later_does_not_go_off_at_its_first_time() {
        let clock = Clock::new();
        let mut timer = clock.timer();
        timer.set(Duration::from_millis(1));
        timer.set(Duration::MAX);
        let other = clock.sleep(Duration::from_millis(20));
        tokio::select! {
            biased;
            () = poll_fn(|cx| timer.poll_expired(cx)) => panic!("it went off"),
            () = other => {}
        }
    }

    #[test]
    fn wall_time_is_after_2024() {
        assert!(Clock::new().now() > Timestamp::from_secs(1_704_067_200));
    }
}
