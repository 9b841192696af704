//! The work door of a simulated world: all tasks on one thread, in an order drawn from the seed.
//!
//! Nothing runs until [`SimTasks::settle`]. Tasks belong to processes ([`SimTasks::process`]);
//! [`SimTasks::kill`] drops those of one where they stand, which is what a crash does to them.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use posthaste_world::work::{JobPanicked, Pool};
use posthaste_world::{BoxFuture, Work};

use crate::rng::Rng;

/// Rounds without an end after which tasks are taken to wake each other for ever.
const ROUNDS: usize = 100_000;

/// The tasks of all processes of a world.
pub struct SimTasks {
    new: Mutex<Vec<Task>>,
    kept: Mutex<Vec<Task>>,
    rng: Mutex<Rng>,
}

/// The work door of one process.
pub struct Process {
    tasks: Arc<SimTasks>,
    number: u32,
}

struct Task {
    process: u32,
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
    pub fn new(rng: Rng) -> Arc<Self> {
        Arc::new(SimTasks {
            new: Mutex::default(),
            kept: Mutex::default(),
            rng: Mutex::new(rng),
        })
    }

    /// The door of the process with this number.
    #[must_use]
    pub fn process(self: &Arc<Self>, number: u32) -> Arc<Process> {
        Arc::new(Process {
            tasks: self.clone(),
            number,
        })
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

    /// Runs a future beside the tasks of process 0, until none can go on. `None` when it does not
    /// end.
    pub fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let result = Arc::new(Mutex::new(None));
        let inside = result.clone();
        let waiting = async move {
            let value = future.await;
            *crate::locked(&inside) = Some(value);
        };
        self.add(0, Box::pin(waiting));
        self.settle();
        crate::locked(&result).take()
    }

    /// Polls everything at the next chance.
    pub fn wake(&self) {
        for task in crate::locked(&self.kept).iter() {
            task.woken.0.store(true, Ordering::Relaxed);
        }
    }

    /// Drops all tasks of a process where they stand, and what they start while they are dropped.
    pub fn kill(&self, process: u32) {
        loop {
            let mut dead = Vec::new();
            for tasks in [&self.kept, &self.new] {
                let mut tasks = crate::locked(tasks);
                let (gone, stay) = std::mem::take(&mut *tasks)
                    .into_iter()
                    .partition(|task: &Task| task.process == process);
                *tasks = stay;
                dead.extend::<Vec<Task>>(gone);
            }
            if dead.is_empty() {
                return;
            }
        }
    }

    fn add(&self, process: u32, future: BoxFuture<'static, ()>) {
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        crate::locked(&self.new).push(Task {
            process,
            future,
            woken,
        });
    }
}

impl Work for Process {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        self.tasks.add(self.number, task);
    }

    fn dedicated(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        self.tasks.add(self.number, task);
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
                let task = Box::pin(async move { crate::locked(&seen).push(n) });
                tasks.process(n).spawn("t", task);
            }
            assert!(tasks.settle());
            crate::locked(&seen).clone()
        };
        assert_eq!(order(1), order(1));
        assert!((0..20).any(|seed| order(seed) != order(1)));
        assert_eq!(order(3).len(), 6);
    }

    #[test]
    fn killing_a_process_drops_what_its_tasks_hold_and_nothing_else() {
        let tasks = SimTasks::new(Rng::new(1));
        let held = [1, 2].map(|number| {
            let held = Arc::new(());
            let inside = held.clone();
            let task = async move {
                std::future::pending::<()>().await;
                drop(inside);
            };
            tasks.process(number).spawn("t", Box::pin(task));
            held
        });
        assert!(tasks.settle());
        assert_eq!(held.each_ref().map(Arc::strong_count), [2, 2]);
        tasks.kill(1);
        assert_eq!(held.each_ref().map(Arc::strong_count), [1, 2]);
    }
}
