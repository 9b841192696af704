//! The queue as a server uses it: drafts, the channel to the writer, sessions that go away.
//!
//! All tasks run on one thread, in an order drawn from the seed. A crash drops them where they
//! stand.

use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use posthaste_queue::envelope::{Envelope, Recipient};
use posthaste_queue::id::QueueId;
use posthaste_queue::invariants::{self, Broken};
use posthaste_queue::schedule::{Counts, Refused, Standing, Work};
use posthaste_queue::spool::{Body, Change, Fault, WriteError};
use posthaste_queue::{Opened, Outcome, Queue, Settings};
use posthaste_world::dns::{Answer, Failure, Kind};
use posthaste_world::net::{Endpoint, Listener};
use posthaste_world::{BoxFuture, BoxStream, Dns, Net, Random, Timestamp, World};

use super::direct::all_of;
use super::engine::{Engine, Pending, Said, inline};
use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::rng::Rng;
use crate::tasks::SimTasks;

/// Of a thousand sessions, so many are gone before their answer.
const GONE: u64 = 100;

/// Polls that a session lives to see at most, when it goes.
const POLLS: u64 = 4;

/// Octets of a piece of a body at most.
const PIECE: u64 = 4000;

/// A queue and its tasks.
pub(super) struct Through {
    queue: Arc<Queue>,
    tasks: Arc<SimTasks>,
    rng: Rng,
}

type Slot = Arc<Mutex<Option<Result<(), WriteError>>>>;

impl Through {
    pub(super) fn open(
        disk: &SimDisk,
        clock: &SimClock,
        random: Arc<dyn Random>,
        settings: (&Path, Settings),
        mut rng: Rng,
    ) -> Result<(Self, Opened), Fault> {
        let tasks = SimTasks::new(rng.fork());
        let world = World {
            clock: Arc::new(clock.clone()),
            disk: Arc::new(disk.clone()),
            net: Arc::new(Nothing),
            dns: Arc::new(Nothing),
            random,
            work: tasks.process(0),
        };
        let key = |r: &Recipient| r.address.domain().to_string();
        let (queue, opened) = Queue::open(&world, settings.0, settings.1, Arc::new(key))?;
        Ok((Through { queue, tasks, rng }, opened))
    }

    /// The open recipients of all messages.
    pub(super) fn listed(&self) -> Vec<(QueueId, Vec<u32>)> {
        let all = self.queue.list(None, usize::MAX).into_iter();
        all.map(|m| (m.id, m.recipients.iter().map(|r| r.index).collect()))
            .collect()
    }

    /// Starts a session, or a worker, for a change.
    fn start(&mut self, pending: &Pending) -> Slot {
        let slot = Slot::default();
        let inside = slot.clone();
        let queue = self.queue.clone();
        match pending {
            Pending::Commit(new) => {
                let new = new.1.clone();
                let body = inline(&new.body);
                let piece = usize::try_from(self.rng.between(1, PIECE)).unwrap_or(1);
                let session = async move {
                    let mut draft = queue.draft();
                    for piece in body.chunks(piece) {
                        draft.write(piece).await?;
                    }
                    let receipt = queue.commit(draft, new.envelope, new.prelude).await?;
                    // The reply is made of it; the model keeps the answer.
                    let _ = receipt.accepted();
                    Ok(())
                };
                let gone = self.rng.chance(GONE).then(|| self.rng.below(POLLS));
                let session = Mortal {
                    inner: Some(Box::pin(session)),
                    polls: gone,
                };
                self.spawn(async move {
                    *crate::locked(&inside) = session.await;
                });
            }
            Pending::Settlement {
                work,
                updates,
                reports,
            } => {
                let outcomes = updates.iter().map(|(recipient, progress)| Outcome {
                    recipient: *recipient,
                    progress: progress.clone(),
                    destination: None,
                });
                let outcomes = outcomes.collect();
                let reports = reports.iter().map(|(_, new)| new.clone()).collect();
                let work = work.clone();
                self.spawn(async move {
                    let result = queue.settle(work, outcomes, reports).await;
                    *crate::locked(&inside) = Some(result);
                });
            }
        }
        slot
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        posthaste_world::Work::spawn(&*self.tasks.process(0), "session", Box::pin(task));
    }
}

impl Drop for Through {
    fn drop(&mut self) {
        self.tasks.kill(0);
    }
}

impl Engine for Through {
    fn write(&mut self, group: Vec<Pending>, _: Timestamp) -> Vec<(Pending, Said)> {
        let slots: Vec<Slot> = group.iter().map(|pending| self.start(pending)).collect();
        self.tasks.wake();
        self.tasks.settle();
        let said = slots.iter().map(|slot| match crate::locked(slot).take() {
            Some(result) => Said::Answer(result),
            None => Said::ToNobody,
        });
        group.into_iter().zip(said).collect()
    }

    fn try_impossible(&mut self, _: Change) -> Option<Result<(), WriteError>> {
        None
    }

    fn body(&mut self, octets: Vec<u8>, _: bool) -> Result<Body, WriteError> {
        Ok(Body::Inline(Bytes::from(octets)))
    }

    fn read(&self, id: QueueId) -> Result<(Envelope, Vec<u8>), String> {
        let queue = self.queue.clone();
        let read = self.tasks.wait(async move { queue.read(id).await });
        read.map_or_else(|| Err("reading does not end".to_owned()), all_of)
    }

    fn housekeep(&mut self) -> bool {
        // The writer keeps house whenever it was woken, and while nobody waits.
        self.tasks.wake();
        self.tasks.settle();
        false
    }

    fn close(self: Box<Self>) {
        let queue = self.queue.clone();
        self.tasks.wait(async move { queue.close().await });
    }

    fn stored(&self) -> usize {
        self.queue.counts().messages
    }

    fn ready(&mut self, _: Timestamp) -> Vec<Arc<str>> {
        self.queue.ready()
    }

    fn take(&mut self, destination: &str, _: Timestamp) -> Option<Work> {
        self.queue.take(destination)
    }

    fn leave(&mut self, destination: &str) {
        self.queue.leave(destination);
    }

    fn notice(&mut self, _: Timestamp) -> Option<Work> {
        self.queue.notices(1).pop()
    }

    fn claim(&mut self, id: QueueId) -> Result<Work, Refused> {
        self.queue.claim(id)
    }

    fn destination_failed(&mut self, destination: &str, _: Timestamp) {
        self.queue.destination_failed(destination, "no route");
    }

    fn destination_ok(&mut self, destination: &str) {
        self.queue.destination_ok(destination);
    }

    fn counts(&self) -> Counts {
        self.queue.counts()
    }

    fn knows(&self, id: QueueId) -> bool {
        self.queue.get(id).is_some()
    }

    fn first_held(&self) -> Option<QueueId> {
        let mut all = self.queue.list(None, usize::MAX).into_iter();
        let held = all.find(|m| m.recipients.iter().any(|r| r.standing == Standing::Held))?;
        Some(held.id)
    }

    fn check(&self) -> Result<(), Broken> {
        invariants::balanced(&self.queue.accounts())?;
        invariants::bounds_kept("recipients in nobody's hands", self.counts().in_flight, 0)
    }
}

/// A session that may go away after a few polls, with all that it holds.
struct Mortal {
    inner: Option<BoxFuture<'static, Result<(), WriteError>>>,
    polls: Option<u64>,
}

impl Future for Mortal {
    type Output = Option<Result<(), WriteError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let polled = inner.as_mut().poll(cx).map(Some);
        match (&polled, self.polls) {
            (Poll::Pending, Some(0)) => {
                self.inner = None;
                Poll::Ready(None)
            }
            (Poll::Pending, Some(n)) => {
                self.polls = Some(n - 1);
                polled
            }
            _ => polled,
        }
    }
}

/// A world without peers and names.
struct Nothing;

impl Net for Nothing {
    fn listen(&self, _: &Endpoint) -> std::io::Result<Box<dyn Listener>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn open_to_all(&self, _: &std::path::Path) -> std::io::Result<()> {
        Ok(())
    }

    fn connect<'a>(
        &'a self,
        _: &'a Endpoint,
        _: Option<IpAddr>,
    ) -> BoxFuture<'a, std::io::Result<BoxStream>> {
        Box::pin(async { Err(std::io::ErrorKind::Unsupported.into()) })
    }
}

impl Dns for Nothing {
    fn query<'a>(&'a self, _: &'a str, _: Kind) -> BoxFuture<'a, Result<Arc<Answer>, Failure>> {
        Box::pin(async { Err(Failure::Timeout) })
    }
}
