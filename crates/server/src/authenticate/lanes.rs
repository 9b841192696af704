//! Whose passwords are checked at once, and how many wait: guessing must not starve those who know
//! theirs.
//!
//! A check costs milliseconds of a core and megabytes of memory. Strangers (an account at an
//! address where it never logged in) have one lane, in which one check runs at a time and is
//! followed by a rest as long as itself, so that they never take more than half a core; those who
//! are known have another. However fast strangers guess, a known user waits for at most one of
//! their checks. A lane that is full refuses at once: whoever would wait that long is better served
//! later.

use std::sync::Arc;
use std::time::Duration;

use posthaste_world::World;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failures::Standing;

/// Checks of strangers at once: some 25 a second with the rests between.
const STRANGERS: usize = 1;
/// Checks of known users at once; the pool has as many threads as there are cores.
const KNOWN: usize = 64;
/// Strangers that wait for their check: about a second's work.
const STRANGERS_WAITING: usize = 32;
/// Known users that wait for their check, on a machine with few cores after it came back.
const KNOWN_WAITING: usize = 1024;

/// The lanes of a server.
pub struct Lanes {
    strangers: Lane,
    known: Lane,
}

struct Lane {
    places: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

/// The right to check one password, for as long as it lives.
pub struct Turn {
    standing: Standing,
    _place: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
}

impl Turn {
    /// Ends it after a check that took so long; a stranger's gives the next one a rest first, for
    /// which nobody here waits.
    pub fn end(self, took: Duration, world: &World) {
        if self.standing == Standing::Stranger {
            let rest = world.clock.sleep(took);
            let resting = async move {
                rest.await;
                drop(self);
            };
            world.work.spawn("rest", Box::pin(resting));
        }
    }
}

impl Lanes {
    /// Empty lanes.
    #[must_use]
    pub fn new() -> Lanes {
        let lane = |running, waiting| Lane {
            places: Arc::new(Semaphore::new(running + waiting)),
            turn: Arc::new(Semaphore::new(running)),
        };
        Lanes {
            strangers: lane(STRANGERS, STRANGERS_WAITING),
            known: lane(KNOWN, KNOWN_WAITING),
        }
    }

    /// Waits for a turn; `None` at once when too many wait.
    pub async fn enter(&self, standing: Standing) -> Option<Turn> {
        let lane = match standing {
            Standing::Known => &self.known,
            Standing::Stranger => &self.strangers,
        };
        let place = lane.places.clone().try_acquire_owned().ok()?;
        let turn = lane.turn.clone().acquire_owned().await.ok()?;
        Some(Turn {
            standing,
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

    #[tokio::test(start_paused = true)]
    async fn after_a_strangers_check_the_lane_rests_as_long_as_it_took() {
        let world = posthaste_world::real::world(&Default::default()).unwrap();
        let lanes = Lanes::new();
        let took = Duration::from_millis(200);
        for (standing, rests) in [(Standing::Stranger, true), (Standing::Known, false)] {
            let turn = lanes.enter(standing).await.unwrap();
            turn.end(took, &world);
            let begun = tokio::time::Instant::now();
            let next = lanes.enter(standing).await;
            assert!(next.is_some());
            assert_eq!(begun.elapsed() >= took, rests, "{standing:?}");
        }
    }
}
