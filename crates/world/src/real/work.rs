//! Tasks on the runtime, threads of their own, and the bounded pools.
//!
//! A panic ends the task, thread or job it happened in, and nothing else; it is told to the hook.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use super::pool::Threads;
use crate::BoxFuture;
use crate::work::{JobPanicked, Pool};

/// What is told of a panic: the name of the task and the panic's text.
pub type Panicked = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// Threads for file work: enough to keep a disk busy, too few to crowd the machine.
const DISK_THREADS_MAX: usize = 4;
/// Threads for work in folders of others. Most of them only wait, and jobs that hang hold theirs.
const FOLDER_THREADS_MAX: usize = 16;
/// Threads for computing, on the largest machine.
const CRYPTO_THREADS_MAX: usize = 64;
/// Stack of a thread in a pool, in octets; only what is touched is resident.
pub(super) const STACK_SIZE: usize = 512 * 1024;

/// Where production works.
pub(super) struct Work {
    runtime: Handle,
    panicked: Option<Panicked>,
    disk: Threads,
    folders: Threads,
    crypto: Threads,
}

impl Work {
    pub(super) fn new(runtime: Handle, panicked: Option<Panicked>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Work {
            disk: Threads::new("disk", DISK_THREADS_MAX, panicked.clone()),
            folders: Threads::new("folders", FOLDER_THREADS_MAX, panicked.clone()),
            crypto: Threads::new("crypto", cores.min(CRYPTO_THREADS_MAX), panicked.clone()),
            runtime,
            panicked,
        }
    }
}

impl crate::Work for Work {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        drop(self.runtime.spawn(Guarded {
            name,
            task,
            panicked: self.panicked.clone(),
        }));
    }

    fn dedicated(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let runtime = self.runtime.clone();
        let task = Guarded {
            name,
            task,
            panicked: self.panicked.clone(),
        };
        let thread = std::thread::Builder::new().name(name.to_owned());
        if let Err(e) = thread.spawn(move || runtime.block_on(task)) {
            tell(self.panicked.as_ref(), name, &format!("no thread: {e}"));
        }
    }

    fn run(
        &self,
        pool: Pool,
        job: Box<dyn FnOnce() + Send>,
    ) -> BoxFuture<'static, Result<(), JobPanicked>> {
        let threads = match pool {
            Pool::Disk => &self.disk,
            Pool::Folders => &self.folders,
            Pool::Crypto => &self.crypto,
        };
        Box::pin(threads.clone().run(job))
    }
}

/// A task whose panic ends it quietly.
struct Guarded {
    name: &'static str,
    task: BoxFuture<'static, ()>,
    panicked: Option<Panicked>,
}

impl Future for Guarded {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = &mut self.task;
        match guard(|| task.as_mut().poll(cx)) {
            Ok(poll) => poll,
            Err(text) => {
                tell(self.panicked.as_ref(), self.name, &text);
                Poll::Ready(())
            }
        }
    }
}

/// Runs `f`; the text of its panic when it panicked. What a panic leaves half done must not be used
/// again: tasks are dropped, jobs give no result.
pub(super) fn guard<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => match panic.downcast::<&str>() {
            Ok(text) => (*text).to_owned(),
            Err(_) => "a panic without a text".to_owned(),
        },
    })
}

pub(super) fn tell(panicked: Option<&Panicked>, name: &str, text: &str) {
    if let Some(panicked) = panicked {
        panicked(name, text);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::Work as _;

    /// The door, and what its hook is told.
    fn work() -> (Work, mpsc::UnboundedReceiver<String>) {
        let (tell, told) = mpsc::unbounded_channel();
        let hook: Panicked = Arc::new(move |name, text| {
            tell.send(format!("{name}: {text}")).unwrap();
        });
        (Work::new(Handle::current(), Some(hook)), told)
    }

    fn failing() -> BoxFuture<'static, ()> {
        Box::pin(async {
            tokio::task::yield_now().await;
            panic!("number {}", 7);
        })
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_alone_and_is_told() {
        let (work, mut told) = work();
        work.spawn("first", failing());
        assert_eq!(told.recv().await.unwrap(), "first: number 7");
        let (done, after) = oneshot::channel();
        work.spawn("second", Box::pin(async move { done.send(()).unwrap() }));
        after.await.unwrap();
    }

    #[tokio::test]
    async fn a_dedicated_task_may_block_and_wait_for_time_and_tasks() {
        let (work, mut told) = work();
        let (ask, asked) = oneshot::channel();
        let (done, after) = oneshot::channel();
        let task = async move {
            std::thread::sleep(Duration::from_millis(1));
            tokio::time::sleep(Duration::from_millis(1)).await;
            done.send(asked.await.unwrap() + 1).unwrap();
        };
        work.dedicated("writer", Box::pin(task));
        ask.send(1).unwrap();
        assert_eq!(after.await.unwrap(), 2);
        work.dedicated("writer", failing());
        assert_eq!(told.recv().await.unwrap(), "writer: number 7");
    }

    #[tokio::test]
    async fn a_job_on_a_pool_gives_its_result() {
        let (work, _) = work();
        let work: &dyn crate::Work = &work;
        assert_eq!(work.on(Pool::Crypto, || 6 * 7).await, Ok(42));
        let lost: Result<(), _> = work.on(Pool::Disk, || panic!("lost")).await;
        assert_eq!(lost, Err(JobPanicked));
    }

    #[tokio::test]
    async fn jobs_that_hang_in_folders_of_others_hold_up_no_other_pool() {
        let (work, _) = work();
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(gate));
        let mut hung = Vec::new();
        for _ in 0..FOLDER_THREADS_MAX {
            let gate = gate.clone();
            let job = move || {
                let _ = gate.lock().unwrap().recv();
            };
            hung.push(tokio::spawn(work.run(Pool::Folders, Box::new(job))));
        }
        tokio::task::yield_now().await;
        assert_eq!(work.run(Pool::Disk, Box::new(|| ())).await, Ok(()));
        drop(release);
        for job in hung {
            assert_eq!(job.await.unwrap(), Ok(()));
        }
    }
}
