//! The work door of a simulated world: all tasks on one thread, in an order drawn from the seed.
//!
//! Nothing runs until [`SimTasks::settle`]; a dropped [`SimTasks`] drops its tasks where they
//! stand, which is what a crash does to them.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use posthaste_world::work::{JobPanicked, Pool};
use posthaste_world::{BoxFuture, Work};

use crate::rng::Rng;

/// Rounds without an end after which tasks are taken to wake each other for ever.
const ROUNDS: usize = 100_000;

/// Tasks of one process.
pub struct SimTasks {
    new: Mutex<Vec<Task>>,
    kept: Mutex<Vec<Task>>,
    rng: Mutex<Rng>,
}

struct Task {
    future: BoxFuture<'static, ()>,
    woken: Arc<Flag>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl SimTasks {
    /// No tasks yet.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        SimTasks {
            new: Mutex::default(),
            kept: Mutex::default(),
            rng: Mutex::new(rng),
        }
    }

    /// Runs tasks until none can go on. False when they never stop.
    pub fn settle(&self) -> bool {
        let mut tasks = std::mem::take(&mut *crate::locked(&self.kept));
        for _ in 0..ROUNDS {
            tasks.append(&mut crate::locked(&self.new));
            let ready: Vec<usize> = (0..tasks.len())
                .filter(|i| {
                    tasks
                        .get(*i)
                        .is_some_and(|t| t.woken.0.load(Ordering::Relaxed))
                })
                .collect();
            let which = crate::locked(&self.rng).index(ready.len());
            let Some(&i) = ready.get(which) else {
                *crate::locked(&self.kept) = tasks;
                return true;
            };
            let mut task = tasks.swap_remove(i);
            task.woken.0.store(false, Ordering::Relaxed);
            let waker = Waker::from(task.woken.clone());
            let done = task.future.as_mut().poll(&mut Context::from_waker(&waker));
            if done == Poll::Pending {
                tasks.push(task);
            }
        }
        false
    }

    /// Runs a future beside the tasks, until none can go on. `None` when it does not end.
    pub fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let result = Arc::new(Mutex::new(None));
        let inside = result.clone();
        self.add(Box::pin(async move {
            let value = future.await;
            *crate::locked(&inside) = Some(value);
        }));
        self.settle();
        crate::locked(&result).take()
    }

    /// Polls everything at the next chance: the clock was moved.
    pub fn wake(&self) {
        for task in crate::locked(&self.kept).iter() {
            task.woken.0.store(true, Ordering::Relaxed);
        }
    }

    /// Drops all tasks where they stand, and what they start while they are dropped.
    pub fn kill(&self) {
        loop {
            let mut tasks = std::mem::take(&mut *crate::locked(&self.kept));
            tasks.append(&mut crate::locked(&self.new));
            if tasks.is_empty() {
                return;
            }
        }
    }

    fn add(&self, future: BoxFuture<'static, ()>) {
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        crate::locked(&self.new).push(Task { future, woken });
    }
}

impl Work for SimTasks {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        self.add(task);
    }

    fn dedicated(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        self.add(task);
    }

    fn run(
        &self,
        _: Pool,
        job: Box<dyn FnOnce() + Send>,
    ) -> BoxFuture<'static, Result<(), JobPanicked>> {
        Box::pin(async move {
            job();
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_run_in_an_order_that_the_seed_decides() {
        let order = |seed| {
            let tasks = SimTasks::new(Rng::new(seed));
            let seen = Arc::new(Mutex::new(Vec::new()));
            for n in 0..6 {
                let seen = seen.clone();
                tasks.spawn("t", Box::pin(async move { crate::locked(&seen).push(n) }));
            }
            assert!(tasks.settle());
            crate::locked(&seen).clone()
        };
        assert_eq!(order(1), order(1));
        assert!((0..20).any(|seed| order(seed) != order(1)));
        assert_eq!(order(3).len(), 6);
    }

    #[test]
    fn dropping_the_tasks_drops_what_they_hold() {
        let held = Arc::new(());
        let tasks = SimTasks::new(Rng::new(1));
        let inside = held.clone();
        tasks.spawn(
            "t",
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(inside);
            }),
        );
        assert!(tasks.settle());
        assert_eq!(Arc::strong_count(&held), 2);
        tasks.kill();
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
