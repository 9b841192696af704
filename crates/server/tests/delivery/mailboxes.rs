//! Mail stores that hang, and mail files that belong to somebody else.
#![allow(clippy::disallowed_methods, reason = "these are the doors")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use posthaste::deliver::helper::{Helpers, LANE_PATIENCE};
use posthaste::deliver::local::Local;
use posthaste::deliver::{Attempted, Fate};
use posthaste_world::work::{JobPanicked, Pool};
use posthaste_world::{BoxFuture, Work, World};
use tokio::sync::oneshot;

use crate::doors::{Hosts, Node};

const MESSAGE: &[u8] = b"Subject: s\r\n\r\nbody\r\n";
const OTHER: &str = r#"
[[domain]]
name = "other.test"
deliver = "maildir:/o/{local}"
mailboxes = ["carol"]
"#;

type Job = Box<dyn FnOnce() + Send>;

/// A pool without threads while it is `full`: jobs wait.
#[derive(Default)]
struct Waiting {
    full: AtomicBool,
    jobs: Mutex<Vec<Job>>,
}

impl Work for Waiting {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
    fn dedicated(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
    fn run(&self, pool: Pool, job: Job) -> BoxFuture<'static, Result<(), JobPanicked>> {
        assert_eq!(pool, Pool::Folders, "a store that hangs holds this pool");
        if self.full.load(Ordering::SeqCst) {
            self.jobs.lock().unwrap().push(job);
            return Box::pin(std::future::pending());
        }
        job();
        Box::pin(async { Ok(()) })
    }
}

/// A thread for every job; the first is known to have come to a gate before anybody goes on.
struct OneThread {
    gate: Mutex<Option<Receiver<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Work for OneThread {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
    fn dedicated(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
    fn run(&self, _: Pool, job: Job) -> BoxFuture<'static, Result<(), JobPanicked>> {
        let (done, ended) = oneshot::channel();
        self.threads
            .lock()
            .unwrap()
            .push(std::thread::spawn(move || {
                job();
                let _ = done.send(());
            }));
        if let Some(gate) = self.gate.lock().unwrap().take() {
            gate.recv().unwrap();
        }
        Box::pin(async { ended.await.map_err(|_| JobPanicked) })
    }
}

fn node(more: &str, work: Arc<dyn Work>) -> Node {
    let mut node = Node::start(more, "", Hosts::none());
    let world = World {
        work,
        ..node.world.clone()
    };
    node.delivery.local = Local::new(world, "mx.ours.test");
    node
}

fn only(attempted: &Attempted) -> (Fate, String) {
    assert_eq!(attempted.outcomes.len(), 1, "{attempted:?}");
    let outcome = &attempted.outcomes[0].1;
    (outcome.fate, outcome.reply.enhanced().unwrap().to_string())
}

fn deferred(code: &str) -> (Fate, String) {
    (Fate::Deferred, code.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_hangs_is_given_up_and_never_done_twice() {
    let work = Arc::new(OneThread {
        gate: Mutex::default(),
        threads: Mutex::default(),
    });
    let mut node = node("", work.clone());
    let (reached, release) = node.files.hang("rename");
    *work.gate.lock().unwrap() = Some(reached);
    let stored = node.keep("s@sender.test", &["alice@ours.test"], MESSAGE);
    for _ in 0..2 {
        let done = node.attempt(&stored).await;
        assert_eq!(only(&done), deferred("4.2.0"));
        assert!(done.destination_failed.is_some() && !done.not_begun);
        assert_eq!(done.faults.len(), 1);
        assert_eq!(
            work.threads.lock().unwrap().len(),
            1,
            "it is not begun again"
        );
    }
    release.send(()).unwrap();
    let hung = work.threads.lock().unwrap().pop().unwrap();
    hung.join().unwrap();
    let done = node.attempt(&stored).await;
    assert_eq!(only(&done), (Fate::Delivered, "2.1.5".to_owned()));
    assert_eq!(node.files.below("/m/ours.test/alice/new").len(), 1);
    assert!(work.threads.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_holds_few_jobs_and_no_other_store() {
    let work = Arc::new(Waiting::default());
    let mut node = node(OTHER, work.clone());
    work.full.store(true, Ordering::SeqCst);
    for _ in 0..4 {
        let done = node.send(&["alice@ours.test"], MESSAGE).await;
        assert_eq!(only(&done), deferred("4.2.0"));
    }
    let done = node.send(&["alice@ours.test"], MESSAGE).await;
    assert_eq!(only(&done), deferred("4.3.0"));
    assert!(done.destination_failed.is_some() && done.not_begun);
    assert_eq!(work.jobs.lock().unwrap().len(), 4);
    work.full.store(false, Ordering::SeqCst);
    let done = node.send(&["carol@other.test"], MESSAGE).await;
    assert_eq!(done.outcomes[0].1.fate, Fate::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_was_given_up_before_it_began_is_never_begun() {
    let work = Arc::new(Waiting::default());
    let mut node = node("", work.clone());
    work.full.store(true, Ordering::SeqCst);
    let stored = node.keep("s@sender.test", &["alice@ours.test"], MESSAGE);
    assert_eq!(only(&node.attempt(&stored).await), deferred("4.2.0"));
    work.full.store(false, Ordering::SeqCst);
    let jobs = std::mem::take(&mut *work.jobs.lock().unwrap());
    jobs.into_iter().for_each(|job| job());
    assert_eq!(node.files.below("/m"), []);
    let done = node.attempt(&stored).await;
    assert_eq!(done.outcomes[0].1.fate, Fate::Delivered);
    assert_eq!(node.files.below("/m").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn mail_files_of_another_user_are_not_written_without_a_helper() {
    let mut node = node("owner = \"vmail\"\n", Arc::new(Waiting::default()));
    let done = node.send(&["alice@ours.test"], MESSAGE).await;
    assert_eq!(
        done.outcomes[0].1.fate,
        Fate::Delivered,
        "as an ordinary user"
    );
    let nobody = Arc::new(Helpers::over("", &[], Vec::new(), LANE_PATIENCE));
    node.delivery.local = Local::new(node.world.clone(), "mx.ours.test").with_helpers(vec![nobody]);
    let done = node.send(&["alice@ours.test"], MESSAGE).await;
    assert_eq!(only(&done), deferred("4.3.0"));
    assert!(done.faults[0].cause.contains("restart the server"));
    assert_eq!(node.files.below("/m").len(), 1);
}
