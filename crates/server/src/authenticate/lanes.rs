//! Whose passwords are checked at once, and how many wait: guessing must not starve those who know
//! theirs.
//!
//! A check costs milliseconds of a core and megabytes of memory. Strangers (an account at an
//! address where it never logged in) have one lane, in which one check runs at a time; those who
//! are known have another. However fast strangers guess, a known user waits for at most one of
//! their checks. A lane that is full refuses at once: whoever would wait that long is better served
//! later.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::failures::Standing;

/// Checks of strangers at once: some 50 a second on one core.
const STRANGERS: usize = 1;
/// Checks of known users at once; the pool has as many threads as there are cores.
const KNOWN: usize = 64;
/// Strangers that wait for their check: less than a second's work.
const STRANGERS_WAITING: usize = 32;
/// Known users that wait for their check, on a machine with few cores after it came back.
const KNOWN_WAITING: usize = 1024;

/// The lanes of a server.
pub struct Lanes {
    strangers: Lane,
    known: Lane,
}

struct Lane {
    places: Semaphore,
    turn: Semaphore,
}

/// The right to check one password, for as long as it lives.
pub struct Turn<'a> {
    _place: SemaphorePermit<'a>,
    _turn: SemaphorePermit<'a>,
}

impl Lanes {
    /// Empty lanes.
    #[must_use]
    pub fn new() -> Lanes {
        let lane = |running, waiting| Lane {
            places: Semaphore::new(running + waiting),
            turn: Semaphore::new(running),
        };
        Lanes {
            strangers: lane(STRANGERS, STRANGERS_WAITING),
            known: lane(KNOWN, KNOWN_WAITING),
        }
    }

    /// Waits for a turn; `None` at once when too many wait.
    pub async fn enter(&self, standing: Standing) -> Option<Turn<'_>> {
        let lane = match standing {
            Standing::Known => &self.known,
            Standing::Stranger => &self.strangers,
        };
        let place = lane.places.try_acquire().ok()?;
        let turn = lane.turn.acquire().await.ok()?;
        Some(Turn {
            _place: place,
            _turn: turn,
        })
    }
}

impl Default for Lanes {
    fn default() -> Self {
        Lanes::new()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn strangers_wait_for_each_other_and_known_users_for_none_of_them() {
        let lanes = Lanes::new();
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = pin!(lanes.enter(Standing::Stranger));
        let std::task::Poll::Ready(Some(turn)) = first.as_mut().poll(&mut cx) else {
            panic!()
        };
        let mut waiting: Vec<_> = (0..STRANGERS_WAITING)
            .map(|_| Box::pin(lanes.enter(Standing::Stranger)))
            .collect();
        for waits in &mut waiting {
            assert!(waits.as_mut().poll(&mut cx).is_pending());
        }
        // The lane is full: no more waiting.
        let refused = pin!(lanes.enter(Standing::Stranger)).poll(&mut cx);
        assert!(matches!(refused, std::task::Poll::Ready(None)));
        let known = pin!(lanes.enter(Standing::Known)).poll(&mut cx);
        assert!(matches!(known, std::task::Poll::Ready(Some(_))));
        drop(turn);
        let next = waiting.first_mut().unwrap().as_mut().poll(&mut cx);
        assert!(next.is_ready());
    }
}
