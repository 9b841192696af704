//! The queue: spool and schedule behind the verbs that a server uses.
//!
//! The spool's writer enters every message into the schedule after its sync and before it wakes
//! whoever waits for it, so a session that is dropped in between loses nothing. Outcomes go the
//! other way: first durable, then into the schedule.
//!
//! It does **not** choose routes or decide what an outcome means.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posthaste_world::{Clock, Timestamp, World};
use tokio::sync::Notify;

use crate::accounts::{Accounts, many};
use crate::envelope::{Envelope, Progress, State};
use crate::id::QueueId;
use crate::receipt::Receipt;
use crate::schedule::{
    self, Counts, Listed, ListedDestination, NewMessage as Entry, NewRecipient, Next, Purpose,
    Refused, Schedule, Work,
};
use crate::spool::handle::Key;
use crate::spool::{
    Draft, Fault, NewMessage, Prelude, ReadError, Recovery, Settlement, Spool, Stored, Waiting,
    WaitingRecipient, WriteError,
};

/// How long nothing is attempted while outcomes cannot be written, before looking again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a queue goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The spool's.
    pub spool: crate::spool::Settings,
    /// The schedule's. Class 0 is ordinary mail, class 1 mail with a null reverse-path.
    pub schedule: schedule::Settings,
}

/// What was found at start-up.
#[derive(Debug)]
pub struct Opened {
    /// Messages queued.
    pub messages: usize,
    /// What was damaged, and where it was set aside.
    pub faults: Vec<Fault>,
    /// Octets of log that were read frame by frame.
    pub scanned: u64,
    /// Large bodies without a message that were removed.
    pub orphans: u64,
    /// Unfinished frames that were set aside; see [`Recovery::torn`].
    pub torn: u64,
}

/// What an attempt (or a notice, or the operator) made of one recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Its index within the envelope.
    pub recipient: u32,
    /// All of its progress from now on. A recipient that stays queued is next due at `not_before`;
    /// when its destination failed as a whole, let that be now: the destination's interval decides.
    pub progress: Progress,
    /// Its new scheduling key, when the route changed.
    pub destination: Option<Arc<str>>,
}

/// What is queued, and where everything is that ever was since the queue opened; together, so that
/// whoever looks sees both at one moment.
struct Books {
    schedule: Schedule,
    accounts: Accounts,
}

/// The queue.
pub struct Queue {
    spool: Spool,
    books: Arc<Mutex<Books>>,
    changed: Arc<Notify>,
    clock: Arc<dyn Clock>,
}

impl Queue {
    /// Opens the queue in `dir`, making it when it is missing, on this thread; `key` makes a
    /// scheduling key of a recipient.
    ///
    /// # Errors
    /// When another process has it, the folder cannot be used, or a newer version wrote it.
    pub fn open(
        world: &World,
        dir: &Path,
        settings: Settings,
        key: Key,
    ) -> Result<(Arc<Queue>, Opened), Fault> {
        let books = Arc::new(Mutex::new(Books {
            schedule: Schedule::new(settings.schedule),
            accounts: Accounts::default(),
        }));
        let changed = Arc::new(Notify::new());
        let (enter, notify, clock) = (books.clone(), changed.clone(), world.clock.clone());
        let observer = Box::new(move |waiting: &Waiting| {
            let mut books = locked(&enter);
            books.accounts.accepted += many(waiting.recipients.len());
            insert(&mut books.schedule, waiting, clock.now());
            drop(books);
            notify.notify_waiters();
        });
        let (spool, recovery) = Spool::open(world, dir, &settings.spool, key, observer)?;
        let Recovery {
            messages,
            faults,
            scanned,
            orphans,
            torn,
        } = recovery;
        let opened = Opened {
            messages: messages.len(),
            faults,
            scanned,
            orphans,
            torn,
        };
        let queue = Queue {
            spool,
            books,
            changed,
            clock: world.clock.clone(),
        };
        {
            let now = queue.clock.now();
            let mut books = queue.books();
            for waiting in messages {
                books.accounts.recovered += many(waiting.recipients.len());
                insert(&mut books.schedule, &waiting, now);
            }
        }
        Ok((Arc::new(queue), opened))
    }

    /// Starts a message.
    #[must_use]
    pub fn draft(&self) -> Draft {
        self.spool.draft()
    }

    /// Makes a message durable. From the receipt on it is our responsibility (RFC 5321 §6.1).
    ///
    /// # Errors
    /// See [`WriteError`]; nothing of the message comes back then.
    pub async fn commit(
        &self,
        draft: Draft,
        envelope: Envelope,
        prelude: Prelude,
    ) -> Result<Receipt, WriteError> {
        self.spool.commit(draft, envelope, prelude).await
    }

    /// Whether new messages would be refused now because the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.spool.is_full()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(&self, id: QueueId) -> Result<Stored, ReadError> {
        self.spool.read(id).await
    }

    /// Starts workers; see [`Schedule::ready`]. Each must end with [`Queue::leave`]. None while the
    /// disk has no room even for outcomes: what is delivered and cannot be recorded is delivered
    /// again.
    #[must_use]
    pub fn ready(&self) -> Vec<Arc<str>> {
        if self.spool.is_stuck() {
            return Vec::new();
        }
        let now = self.clock.now();
        self.books().schedule.ready(now)
    }

    /// When to call [`Queue::ready`] or [`Queue::notices`] again, unless [`Queue::changed`] comes
    /// first; see [`Schedule::next_due`].
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let due = self.books().schedule.next_due();
        if self.spool.is_stuck() {
            return due.map(|due| due.max(self.clock.now() + LOOK_AGAIN));
        }
        due
    }

    /// Ends when something was entered, finished or left. Take it before looking at the queue: what
    /// changes from then on is seen.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Gives a worker its next message; see [`Schedule::take`].
    #[must_use]
    pub fn take(&self, destination: &str) -> Option<Work> {
        if self.spool.is_stuck() {
            return None;
        }
        let now = self.clock.now();
        self.books().schedule.take(destination, now)
    }

    /// Frees the slot of a worker.
    pub fn leave(&self, destination: &str) {
        self.books().schedule.leave(destination);
        self.changed.notify_waiters();
    }

    /// Makes outcomes and their reports durable, together, and then ends the work; also when nobody
    /// waits for it any more. When that fails the recipients are due again in a minute, as if there
    /// had been no attempt.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn settle(
        &self,
        work: Work,
        outcomes: Vec<Outcome>,
        reports: Vec<NewMessage>,
    ) -> Result<(), WriteError> {
        let id = work.id;
        let next: Vec<_> = outcomes
            .iter()
            .map(|o| (o.recipient, next_of(&work, o)))
            .collect();
        let states: Vec<_> = outcomes.iter().map(|o| o.progress.state).collect();
        let updates = outcomes
            .into_iter()
            .map(|o| (o.recipient, o.progress))
            .collect();
        let hands = self.in_hands(work);
        let done = Box::new(move |result: &Result<(), WriteError>| match result {
            Ok(()) => hands.finish(&next, &states),
            Err(_) => drop(hands),
        });
        self.spool
            .settle(
                Settlement {
                    id,
                    updates,
                    reports,
                },
                done,
            )
            .await
    }

    /// Ends work that came to nothing for a reason of our own; see [`Schedule::put_back`].
    pub fn put_back(&self, work: &Work) {
        let now = self.clock.now();
        self.books().schedule.put_back(work, now);
        self.changed.notify_waiters();
    }

    /// Notes that a destination as a whole fails. Call it before [`Queue::settle`].
    pub fn destination_failed(&self, destination: &str, reason: &str) {
        let now = self.clock.now();
        self.books()
            .schedule
            .destination_failed(destination, reason, now);
    }

    /// Notes that a destination works. Call it before [`Queue::settle`].
    pub fn destination_ok(&self, destination: &str) {
        self.books().schedule.destination_ok(destination);
    }

    /// Opens every destination that fails for a probe; see [`Schedule::probe_all`].
    pub fn probe_all(&self) {
        let now = self.clock.now();
        self.books().schedule.probe_all(now);
        self.changed.notify_waiters();
    }

    /// Delay notices and expiries that are due, at most `limit`; see [`Schedule::notices`].
    #[must_use]
    pub fn notices(&self, limit: usize) -> Vec<Work> {
        if self.spool.is_stuck() {
            return Vec::new();
        }
        let now = self.clock.now();
        self.books().schedule.notices(now, limit)
    }

    /// Takes a whole message for the operator; ends with [`Queue::settle`] (bounce) or
    /// [`Queue::put_back`].
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn claim(&self, id: QueueId) -> Result<Work, Refused> {
        self.books().schedule.claim(id)
    }

    /// Makes recipients that wait due now, and their destinations open for a probe. False when the
    /// message is not known.
    pub fn retry(&self, id: QueueId) -> bool {
        let now = self.clock.now();
        let known = self.books().schedule.retry_now(id, now);
        self.changed.notify_waiters();
        known
    }

    /// Holds all open recipients of a message, durably.
    ///
    /// # Errors
    /// See [`OperatorError`].
    pub async fn hold(&self, id: QueueId) -> Result<(), OperatorError> {
        self.change(id, |progress| progress.held = true).await
    }

    /// Ends a hold, durably; what was held is due now.
    ///
    /// # Errors
    /// See [`OperatorError`].
    pub async fn release(&self, id: QueueId) -> Result<(), OperatorError> {
        let now = self.clock.now();
        self.change(id, |progress| {
            if progress.held {
                progress.held = false;
                progress.not_before = progress.not_before.min(now);
            }
        })
        .await
    }

    /// Takes a message out for good, without a report.
    ///
    /// # Errors
    /// See [`OperatorError`].
    pub async fn remove(&self, id: QueueId) -> Result<(), OperatorError> {
        let mut hands = self.in_hands(self.claim(id)?);
        let Some(work) = hands.work.take() else {
            return Ok(());
        };
        // A message that can no longer be read can be taken out all the same.
        let removed = |recipient: &u32| Outcome {
            recipient: *recipient,
            progress: Progress {
                state: State::Removed,
                ..Progress::default()
            },
            destination: None,
        };
        let outcomes = work.recipients.iter().map(removed).collect();
        Ok(self.settle(work, outcomes, Vec::new()).await?)
    }

    /// Up to `limit` messages after the given one, by age.
    #[must_use]
    pub fn list(&self, after: Option<QueueId>, limit: usize) -> Vec<Listed> {
        self.books().schedule.list(after).take(limit).collect()
    }

    /// One message as the schedule sees it.
    #[must_use]
    pub fn get(&self, id: QueueId) -> Option<Listed> {
        self.books().schedule.get(id)
    }

    /// How many there are of each.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.books().schedule.counts()
    }

    /// Where the recipients are that came in since the queue opened.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        let books = self.books();
        books.accounts.with(&books.schedule.counts())
    }

    /// The destinations, by name, with the reasons of those that fail.
    #[must_use]
    pub fn destinations(&self) -> Vec<ListedDestination> {
        self.books().schedule.destinations().collect()
    }

    /// One destination.
    #[must_use]
    pub fn destination(&self, name: &str) -> Option<ListedDestination> {
        self.books().schedule.destination_named(name)
    }

    /// Goes by other settings of the schedule from now on.
    pub fn set_schedule(&self, settings: schedule::Settings) {
        self.books().schedule.set_settings(settings);
        self.changed.notify_waiters();
    }

    /// Writes what is waiting, seals the log and releases the lock.
    pub async fn close(&self) {
        self.spool.close().await;
    }

    async fn change(&self, id: QueueId, edit: impl Fn(&mut Progress)) -> Result<(), OperatorError> {
        let mut hands = self.in_hands(self.claim(id)?);
        let stored = self.read(id).await?;
        let mut outcomes = Vec::new();
        for (recipient, open) in stored.envelope().open() {
            let mut progress = open.progress.clone();
            edit(&mut progress);
            outcomes.push(Outcome {
                recipient,
                progress,
                destination: None,
            });
        }
        match hands.work.take() {
            Some(work) => Ok(self.settle(work, outcomes, Vec::new()).await?),
            None => Ok(()),
        }
    }

    fn in_hands(&self, work: Work) -> InHands {
        InHands {
            books: self.books.clone(),
            changed: self.changed.clone(),
            clock: self.clock.clone(),
            work: Some(work),
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        locked(&self.books)
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// Why the operator's change was not made.
#[derive(Debug)]
pub enum OperatorError {
    /// No such message, or it is being attempted right now.
    Refused(Refused),
    /// It could not be read.
    Read(ReadError),
    /// It could not be written.
    Write(WriteError),
}

impl std::fmt::Display for OperatorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OperatorError::Refused(Refused::Unknown) => f.write_str("no such message"),
            OperatorError::Refused(Refused::InFlight) => {
                f.write_str("the message is being attempted; try again in a moment")
            }
            OperatorError::Read(e) => e.fmt(f),
            OperatorError::Write(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for OperatorError {}

impl From<Refused> for OperatorError {
    fn from(e: Refused) -> Self {
        OperatorError::Refused(e)
    }
}

impl From<ReadError> for OperatorError {
    fn from(e: ReadError) -> Self {
        OperatorError::Read(e)
    }
}

impl From<WriteError> for OperatorError {
    fn from(e: WriteError) -> Self {
        OperatorError::Write(e)
    }
}

/// Work that goes back to the schedule if whoever has it is dropped.
struct InHands {
    books: Arc<Mutex<Books>>,
    changed: Arc<Notify>,
    clock: Arc<dyn Clock>,
    work: Option<Work>,
}

impl InHands {
    /// What was decided is durable.
    fn finish(mut self, next: &[(u32, Next)], states: &[State]) {
        if let Some(work) = self.work.take() {
            let mut books = locked(&self.books);
            states.iter().for_each(|state| books.accounts.ended(*state));
            books.schedule.finish(&work, next);
            drop(books);
            self.changed.notify_waiters();
        }
    }
}

impl Drop for InHands {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            locked(&self.books)
                .schedule
                .put_back(&work, self.clock.now());
            self.changed.notify_waiters();
        }
    }
}

fn locked(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

fn next_of(work: &Work, outcome: &Outcome) -> Next {
    let progress = &outcome.progress;
    if progress.state.is_final() {
        Next::Closed
    } else if progress.held {
        Next::Hold
    } else if work.purpose == Purpose::DelayNotice {
        Next::Unchanged
    } else if let Some(destination) = &outcome.destination {
        Next::Move {
            destination: destination.clone(),
            at: progress.not_before,
        }
    } else {
        Next::Retry {
            at: progress.not_before,
        }
    }
}

/// Enters a message. Who was tried waits no longer than after such an attempt: the clock may have
/// been set back since, or the intervals be shorter now.
fn insert(schedule: &mut Schedule, waiting: &Waiting, now: Timestamp) {
    let intervals = &schedule.settings().intervals;
    let due = |r: &WaitingRecipient| match r.attempts {
        0 => r.not_before,
        n => r.not_before.min(now + intervals.after(n.into())),
    };
    let recipients: Vec<_> = waiting
        .recipients
        .iter()
        .map(|r| NewRecipient {
            index: r.index,
            destination: &r.destination,
            due: due(r),
            again: r.attempts > 0,
            held: r.held,
            noticed: r.noticed,
        })
        .collect();
    schedule.insert(&Entry {
        id: waiting.id,
        begins: waiting.begins,
        wishes: waiting.wishes,
        class: u8::from(waiting.report),
        recipients: &recipients,
    });
}
