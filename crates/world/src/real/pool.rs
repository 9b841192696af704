//! A bounded pool of threads, started when there is work and ended when there is none.
//!
//! The number of threads and the number of jobs waiting are bounded; callers beyond that wait their
//! turn without holding a thread.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::work::{Panicked, STACK_SIZE, guard, tell};
use crate::work::JobPanicked;

/// Jobs that wait for one thread; the next callers wait before they hand their job over.
const WAITING_PER_THREAD: usize = 16;
/// A thread without work ends after this.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// A pool. Clones are the same pool.
#[derive(Clone)]
pub(super) struct Threads(Arc<Shared>);

struct Shared {
    name: &'static str,
    threads_max: usize,
    panicked: Option<Panicked>,
    room: Arc<Semaphore>,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

struct Job {
    job: Box<dyn FnOnce() + Send>,
    done: oneshot::Sender<Result<(), JobPanicked>>,
    /// Its place among the jobs; given back when the job ended.
    _room: OwnedSemaphorePermit,
}

impl Threads {
    pub(super) fn new(name: &'static str, threads_max: usize, panicked: Option<Panicked>) -> Self {
        Threads(Arc::new(Shared {
            name,
            threads_max,
            panicked,
            room: Arc::new(Semaphore::new(threads_max * (1 + WAITING_PER_THREAD))),
            state: Mutex::default(),
            arrived: Condvar::new(),
        }))
    }

    /// Runs `job` to its end. Dropping the future before the job was handed over means that it
    /// never runs; afterwards it runs all the same.
    pub(super) async fn run(self, job: Box<dyn FnOnce() + Send>) -> Result<(), JobPanicked> {
        let room = self.0.room.clone().acquire_owned().await;
        let _room = room.map_err(|_| JobPanicked)?;
        let (done, ended) = oneshot::channel();
        self.push(Job { job, done, _room });
        // A job that was dropped without an answer gave no result either.
        ended.await.unwrap_or(Err(JobPanicked))
    }

    fn push(&self, job: Job) {
        let shared = &self.0;
        let mut state = shared.state();
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() || state.threads == shared.threads_max {
            shared.arrived.notify_one();
            return;
        }
        state.threads += 1;
        if let Err(e) = self.start() {
            state.threads -= 1;
            if state.threads == 0 {
                // Nobody will ever come for them.
                state.jobs.clear();
            }
            drop(state);
            tell(
                shared.panicked.as_ref(),
                shared.name,
                &format!("no thread: {e}"),
            );
        }
    }

    fn start(&self) -> io::Result<()> {
        let shared = self.0.clone();
        std::thread::Builder::new()
            .name(shared.name.to_owned())
            .stack_size(STACK_SIZE)
            .spawn(move || shared.work())
            .map(drop)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No job runs under the lock, so a panic cannot have left it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life.
    fn work(&self) {
        while let Some(Job { job, done, _room }) = self.next() {
            let result = guard(job).map_err(|text| {
                tell(self.panicked.as_ref(), self.name, &text);
                JobPanicked
            });
            drop(_room);
            // The caller may have gone.
            let _ = done.send(result);
        }
    }

    /// The next job; `None` after a long wait in vain, and then this thread no longer counts.
    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state.idle += 1;
            let waited = self.arrived.wait_timeout(state, IDLE_MAX);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn every_job_runs_and_threads_stay_within_their_bound() {
        let pool = Threads::new("test", 3, None);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut jobs = Vec::new();
        for _ in 0..200 {
            let (running, most, pool) = (running.clone(), most.clone(), pool.clone());
            jobs.push(tokio::spawn(pool.run(Box::new(move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
            }))));
        }
        for job in jobs {
            assert_eq!(job.await.unwrap(), Ok(()));
        }
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
        assert!(pool.0.state().threads <= 3);
    }

    #[tokio::test]
    async fn a_second_job_does_not_wait_for_the_first() {
        let pool = Threads::new("test", 2, None);
        let (release, gate) = mpsc::channel::<()>();
        let first = tokio::spawn(pool.clone().run(Box::new(move || {
            let _ = gate.recv();
        })));
        assert_eq!(pool.run(Box::new(|| ())).await, Ok(()));
        assert!(!first.is_finished());
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_job_that_panics_is_an_error_and_the_pool_goes_on() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = told.clone();
        let hook: Panicked = Arc::new(move |name, text| {
            tell.lock().unwrap().push(format!("{name}: {text}"));
        });
        let pool = Threads::new("test", 1, Some(hook));
        let lost = pool.clone().run(Box::new(|| panic!("lost"))).await;
        assert_eq!(lost, Err(JobPanicked));
        assert_eq!(pool.run(Box::new(|| ())).await, Ok(()));
        assert_eq!(*told.lock().unwrap(), ["test: lost"]);
    }
}
