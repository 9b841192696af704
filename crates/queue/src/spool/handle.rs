//! The asynchronous handle, and the loop of the one writer.
//!
//! The writer takes what is waiting (it never waits for more), has the store write it as one group,
//! tells the observer of every new message, and then wakes everybody. So whoever stops waiting in
//! between loses nothing: the message is queued and known. It does **not** hold up reading.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use posthaste_world::work::Pool;
use posthaste_world::{Clock, Random, Work, World};
use tokio::sync::{mpsc, oneshot};

use super::budget::{Budget, Cache, Charge};
use super::change::{Body, Change, NewMessage, Settlement};
use super::content::{Source, Stored};
use super::draft::{Draft, Finished};
use super::fault::{Fault, ReadError, WriteError};
use super::large::{self, LargeWriter};
use super::prelude::Prelude;
use super::read::Reader;
use super::store::Store;
use super::{GROUP_MAX, GROUP_OCTETS, Recovery, Settings, Waiting};
use crate::envelope::{Envelope, Recipient};
use crate::id::QueueId;
use crate::receipt::Receipt;

/// Changes that may wait for the writer; who comes later waits to be let in.
const QUEUE_MAX: usize = 1024;

/// How often a full disk is looked at while nobody asks.
const LOOK_AT_FULL_DISK: Duration = Duration::from_secs(1);

/// Told of new messages, in order, after they are durable and before anybody is woken.
pub(crate) type Observer = Box<dyn Fn(&Waiting) + Send + Sync>;

/// Told of a settlement's result before anybody is woken.
pub(crate) type Done = Box<dyn FnOnce(&Result<(), WriteError>) + Send>;

/// What makes a scheduling key of a recipient.
pub type Key = Arc<dyn Fn(&Recipient) -> String + Send + Sync>;

/// The asynchronous end of a spool. Dropping the last one closes it.
#[derive(Debug)]
pub struct Spool {
    jobs: mpsc::Sender<Job>,
    inner: Arc<Inner>,
}

/// What drafts, readers and the writer share.
pub(super) struct Inner {
    pub(super) reader: Reader,
    pub(super) random: Arc<dyn Random>,
    pub(super) work: Arc<dyn Work>,
    pub(super) budget: Arc<Budget>,
    cache: Cache,
    key: Key,
    full: AtomicBool,
    stuck: AtomicBool,
}

/// What the writer is asked to do.
enum Job {
    Commit(Box<Commit>),
    Settle(Box<Settle>),
    Close(oneshot::Sender<()>),
}

struct Commit {
    change: Change,
    waiting: Waiting,
    charge: Charge,
    file: Option<Box<LargeWriter>>,
    wake: oneshot::Sender<Result<Receipt, WriteError>>,
}

struct Settle {
    change: Change,
    /// The reports.
    waiting: Vec<Waiting>,
    done: Done,
    wake: oneshot::Sender<Result<(), WriteError>>,
}

impl Spool {
    /// Opens the spool in `dir` on this thread (it may take seconds), and starts its writer.
    ///
    /// # Errors
    /// See [`Store::open`](super::Store::open).
    pub(crate) fn open(
        world: &World,
        dir: &Path,
        settings: &Settings,
        key: Key,
        observer: Observer,
    ) -> Result<(Spool, Recovery), Fault> {
        let (disk, random) = (world.disk.clone(), world.random.clone());
        let (store, recovery) = Store::open(disk, random, dir, settings, &*key)?;
        let inner = Arc::new(Inner {
            reader: store.reader(),
            random: world.random.clone(),
            work: world.work.clone(),
            budget: Budget::new(settings.memory),
            cache: Cache::new(settings.cache),
            key,
            full: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
        });
        let (jobs, waiting) = mpsc::channel(QUEUE_MAX);
        let clock = world.clock.clone();
        let writer = Writer {
            store,
            jobs: waiting,
            inner: inner.clone(),
            observer,
            clock,
        };
        world.work.dedicated("spool", Box::pin(writer.run()));
        Ok((Spool { jobs, inner }, recovery))
    }

    /// Starts a message.
    #[must_use]
    pub fn draft(&self) -> Draft {
        Draft::new(self.inner.clone())
    }

    /// Makes a message durable.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing of the message comes back then.
    pub async fn commit(
        &self,
        draft: Draft,
        envelope: Envelope,
        prelude: Prelude,
    ) -> Result<Receipt, WriteError> {
        let Finished { body, charge, file } = draft.finish().await?;
        let waiting = self.inner.waiting(&envelope);
        let change = Change::Commit(Box::new(NewMessage {
            envelope,
            prelude,
            body,
        }));
        let (wake, woken) = oneshot::channel();
        self.send(Job::Commit(Box::new(Commit {
            change,
            waiting,
            charge,
            file,
            wake,
        })))
        .await?;
        woken.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Makes outcomes and their reports durable, together; `done` is told before this ends, and
    /// also when nobody waits for the end any more. It is dropped untold when the spool is closed.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub(crate) async fn settle(
        &self,
        settlement: Settlement,
        done: Done,
    ) -> Result<(), WriteError> {
        let waiting = settlement
            .reports
            .iter()
            .map(|r| self.inner.waiting(&r.envelope))
            .collect();
        let change = Change::Settle(settlement);
        let (wake, woken) = oneshot::channel();
        self.send(Job::Settle(Box::new(Settle {
            change,
            waiting,
            done,
            wake,
        })))
        .await?;
        woken.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Reads a message; a just accepted one from memory.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(&self, id: QueueId) -> Result<Stored, ReadError> {
        let work = self.inner.work.clone();
        if let Some(stored) = self.inner.cache.get(id) {
            return Ok(stored.on(work));
        }
        let reader = self.inner.reader.clone();
        match work.on(Pool::Disk, move || reader.read(id)).await {
            Ok(stored) => stored.map(|stored| stored.on(work)),
            Err(_) => Err(ReadError::Unknown),
        }
    }

    /// Whether new messages would be refused now because the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.inner.full.load(Ordering::Relaxed)
    }

    /// Whether not even outcomes can be written now, for want of room.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.inner.stuck.load(Ordering::Relaxed)
    }

    /// Writes what is waiting, seals the log and releases the lock. What comes later is refused
    /// with [`WriteError::Closed`].
    pub async fn close(&self) {
        let (wake, woken) = oneshot::channel();
        if self.send(Job::Close(wake)).await.is_ok() {
            // An error means that somebody else closed it.
            let _ = woken.await;
        }
    }

    async fn send(&self, job: Job) -> Result<(), WriteError> {
        self.jobs.send(job).await.map_err(|_| WriteError::Closed)
    }
}

impl Inner {
    fn waiting(&self, envelope: &Envelope) -> Waiting {
        Waiting::of(envelope, &mut |recipient| (self.key)(recipient).into())
    }

    /// Keeps a new message for its first attempt. A large body would keep its file open.
    fn remember(&self, new: NewMessage, octets: usize) {
        let NewMessage {
            envelope,
            prelude,
            body: Body::Inline(body),
        } = new
        else {
            return;
        };
        let octets = octets.max(body.len()) + prelude.trace.len();
        let source = Source::Memory(body);
        let stored = Stored::new(Arc::new(envelope), Arc::new(prelude), source);
        self.cache.insert(stored, octets);
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

/// The one writer.
struct Writer {
    store: Store,
    jobs: mpsc::Receiver<Job>,
    inner: Arc<Inner>,
    observer: Observer,
    clock: Arc<dyn Clock>,
}

/// What is left of a job while its change is written.
enum Rest {
    Commit(
        Waiting,
        Charge,
        Option<Box<LargeWriter>>,
        oneshot::Sender<Result<Receipt, WriteError>>,
    ),
    Settle(Vec<Waiting>, Done, oneshot::Sender<Result<(), WriteError>>),
}

/// Somebody to be woken, and with what.
enum Wake {
    Commit(
        oneshot::Sender<Result<Receipt, WriteError>>,
        Result<Receipt, WriteError>,
    ),
    Settle(
        oneshot::Sender<Result<(), WriteError>>,
        Result<(), WriteError>,
    ),
}

impl Writer {
    async fn run(mut self) {
        let mut closing = Vec::new();
        loop {
            if let Some(first) = self.next().await {
                let (changes, rests) = self.gather(first, &mut closing);
                let results = self.store.write(&changes);
                self.finish(changes, rests, results);
            } else if self.jobs.is_closed() && self.jobs.is_empty() {
                break;
            }
            self.housekeep();
        }
        self.store.close();
        for wake in closing {
            // Who asked may be gone.
            let _ = wake.send(());
        }
    }

    /// The next job. `None` when there is none for now (the disk is full, look again) or ever.
    async fn next(&mut self) -> Option<Job> {
        if !self.store.is_full() && !self.store.is_stuck() {
            return self.jobs.recv().await;
        }
        let mut sleep = self.clock.sleep(LOOK_AT_FULL_DISK);
        std::future::poll_fn(|cx| match self.jobs.poll_recv(cx) {
            Poll::Ready(job) => Poll::Ready(job),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
        })
        .await
    }

    /// What is waiting, up to the limits of a group.
    fn gather(
        &mut self,
        first: Job,
        closing: &mut Vec<oneshot::Sender<()>>,
    ) -> (Vec<Change>, Vec<Rest>) {
        let (mut changes, mut rests) = (Vec::new(), Vec::new());
        let mut octets = 0;
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Commit(commit) => {
                    let Commit {
                        change,
                        waiting,
                        charge,
                        file,
                        wake,
                    } = *commit;
                    octets += change.octets();
                    changes.push(change);
                    rests.push(Rest::Commit(waiting, charge, file, wake));
                }
                Job::Settle(mut settle) => {
                    self.leave_out_known_reports(&mut settle);
                    let Settle {
                        change,
                        waiting,
                        done,
                        wake,
                    } = *settle;
                    octets += change.octets();
                    changes.push(change);
                    rests.push(Rest::Settle(waiting, done, wake));
                }
                Job::Close(wake) => {
                    self.jobs.close();
                    closing.push(wake);
                }
            }
            let more = changes.len() < GROUP_MAX && octets < GROUP_OCTETS;
            next = if more {
                self.jobs.try_recv().ok()
            } else {
                None
            };
        }
        (changes, rests)
    }

    /// A report that is queued already was made before: what is known of it stays as it is.
    fn leave_out_known_reports(&self, settle: &mut Settle) {
        let known = |id: &QueueId| self.inner.reader.contains(*id);
        if let Change::Settle(settlement) = &mut settle.change {
            settlement.reports.retain(|new| !known(&new.envelope.id));
        }
        settle.waiting.retain(|waiting| !known(&waiting.id));
    }

    /// Notes what became durable, then wakes everybody.
    fn finish(
        &mut self,
        changes: Vec<Change>,
        rests: Vec<Rest>,
        results: Vec<Result<(), WriteError>>,
    ) {
        let mut wakes = Vec::with_capacity(rests.len());
        for ((change, rest), result) in changes.into_iter().zip(rests).zip(results) {
            match (change, rest) {
                (Change::Commit(new), Rest::Commit(waiting, charge, file, wake)) => {
                    if result.is_ok() {
                        file.into_iter().for_each(|file| file.keep());
                        self.inner.remember(*new, charge.octets());
                        (self.observer)(&waiting);
                    }
                    wakes.push(Wake::Commit(wake, result.map(|()| Receipt::of(waiting.id))));
                }
                (Change::Settle(settlement), Rest::Settle(waiting, done, wake)) => {
                    if result.is_ok() {
                        self.settled(settlement, &waiting);
                    }
                    done(&result);
                    wakes.push(Wake::Settle(wake, result));
                }
                _ => {}
            }
        }
        self.say_whether_full();
        for wake in wakes {
            // Who waited may be gone; the change stands.
            match wake {
                Wake::Commit(wake, result) => drop(wake.send(result)),
                Wake::Settle(wake, result) => drop(wake.send(result)),
            }
        }
    }

    fn settled(&self, settlement: Settlement, reports: &[Waiting]) {
        let Settlement {
            id,
            updates,
            reports: new,
        } = settlement;
        if self.inner.reader.contains(id) {
            self.inner.cache.update(id, updates);
        } else {
            self.inner.cache.remove(id);
        }
        for (new, waiting) in new.into_iter().zip(reports) {
            self.inner.remember(new, 0);
            (self.observer)(waiting);
        }
    }

    fn say_whether_full(&self) {
        let (full, stuck) = (self.store.is_full(), self.store.is_stuck());
        self.inner.full.store(full, Ordering::Relaxed);
        self.inner.stuck.store(stuck, Ordering::Relaxed);
    }

    /// One step after each group; more while nobody waits.
    fn housekeep(&mut self) {
        loop {
            let more = self.store.housekeep_log();
            self.say_whether_full();
            self.remove_files();
            if !more || !self.jobs.is_empty() {
                return;
            }
        }
    }

    /// Removes the files of large bodies off this thread.
    fn remove_files(&mut self) {
        let garbage = self.store.take_garbage();
        if garbage.is_empty() {
            return;
        }
        let reader = self.inner.reader.clone();
        let work = self.inner.work.clone();
        let job = move || {
            garbage
                .iter()
                .for_each(|name| large::remove(reader.folders(), name))
        };
        self.inner.work.spawn(
            "large bodies",
            Box::pin(async move {
                // A file that stays is removed at the next start.
                let _ = work.on(Pool::Disk, job).await;
            }),
        );
    }
}

impl Change {
    /// Octets that it brings, about.
    fn octets(&self) -> usize {
        let inline = |new: &NewMessage| match &new.body {
            Body::Inline(octets) => Bytes::len(octets) + new.prelude.trace.len(),
            Body::Large(_) => 0,
        };
        match self {
            Change::Commit(new) => inline(new),
            Change::Settle(settlement) => settlement.reports.iter().map(inline).sum(),
        }
    }
}
