//! The work door: tasks, dedicated threads and bounded pools.
//!
//! In production these are a tokio runtime, operating-system threads and small pools; in simulation
//! all three are tasks of one thread.

use crate::BoxFuture;

/// A pool of threads for work that would hold a worker. Every pool is bounded in threads and queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pool {
    /// File work on our own disk, away from the spool's writer: large bodies, logs.
    Disk,
    /// File work in folders that are not ours alone, on disks or file servers that may hang: such
    /// a job must hold up none of [`Pool::Disk`].
    Folders,
    /// Password hashes and signatures.
    Crypto,
}

/// Where work runs.
pub trait Work: Send + Sync {
    /// Runs a task beside the others. A panic ends that task alone and is logged.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);

    /// Runs `task` on a thread of its own, where it may block (the spool's writer). In simulation
    /// it is a task.
    fn dedicated(&self, name: &'static str, task: BoxFuture<'static, ()>);

    /// Runs `job` on a pool; ends when the job did. A job that panicked is an error.
    fn run(
        &self,
        pool: Pool,
        job: Box<dyn FnOnce() + Send>,
    ) -> BoxFuture<'static, Result<(), JobPanicked>>;
}

/// A job on a pool panicked; its result is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobPanicked;

impl std::fmt::Display for JobPanicked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a job panicked")
    }
}

impl std::error::Error for JobPanicked {}

impl dyn Work {
    /// Runs `job` on `pool` and returns what it returned.
    ///
    /// # Errors
    /// [`JobPanicked`] when the job did not return.
    pub async fn on<T, F>(&self, pool: Pool, job: F) -> Result<T, JobPanicked>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let slot = std::sync::Arc::new(std::sync::Mutex::new(None));
        let put = slot.clone();
        self.run(
            pool,
            Box::new(move || {
                let value = job();
                if let Ok(mut slot) = put.lock() {
                    *slot = Some(value);
                }
            }),
        )
        .await?;
        slot.lock()
            .ok()
            .and_then(|mut s| s.take())
            .ok_or(JobPanicked)
    }
}
