//! Stage 5, dispatch: takes due work from the queue, has it attempted, and writes back what became
//! of it.
//!
//! [`Dispatch::deliver`] is the delivery of the way of a message. A worker is a task for one
//! destination; it delivers one message after the other over the same connection while there is
//! work, then leaves the connection to the next worker for a moment. How many workers there are is
//! the schedule's business.
//!
//! This module does **not** know where mail goes or how it is handed over.

mod hands;
mod record;
mod unused;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use posthaste_queue::backoff::Intervals;
use posthaste_queue::envelope::{LastReply, Progress, State};
use posthaste_queue::invariants;
use posthaste_queue::schedule::{Purpose, Work};
use posthaste_queue::spool::{NewMessage, Stored};
use posthaste_queue::{self as queue, OperatorError, Queue, QueueId};
use posthaste_world::{BoxFuture, Timestamp, World};

use crate::deliver::{self, Attempted, Connection, Delivery, Fate, Outcome, flight};
use crate::fault::Fault;
use crate::feedback::Feedback;
use crate::report::Reports;
use crate::shutdown::Shutdown;
use crate::telemetry::Log;

use hands::{Hands, Slot};
use unused::Unused;

/// Notices and expiries taken at once.
const NOTICES_MAX: usize = 100;
/// Recipients of one message that are given up, or told to be late, at once: what they owe in
/// reports must fit into one frame of the spool.
const SETTLED_AT_ONCE: usize = 500;
/// Longest sleep of the dispatcher: so late it notices that the wall clock was set forward.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// The same while there are unused connections, which are to be closed in time.
const SLEEP_WITH_UNUSED: Duration = Duration::from_secs(1);

/// The stages of delivery, as one configuration wires them.
pub struct Stages {
    /// Routes and transports.
    pub delivery: Delivery,
    /// Who is told of what.
    pub reports: Reports,
    /// What others report to us.
    pub feedback: Arc<Feedback>,
    /// When to try again.
    pub intervals: Intervals,
}

/// The dispatcher.
pub struct Dispatch {
    world: World,
    log: Arc<Log>,
    queue: Arc<Queue>,
    shutdown: Shutdown,
    stages: RwLock<Arc<Stages>>,
    unused: Unused,
}

impl Dispatch {
    /// A dispatcher over `queue`.
    #[must_use]
    pub fn new(
        world: World,
        log: Arc<Log>,
        queue: Arc<Queue>,
        shutdown: Shutdown,
        stages: Stages,
    ) -> Arc<Self> {
        let stages = RwLock::new(Arc::new(stages));
        Arc::new(Dispatch {
            world,
            log,
            queue,
            shutdown,
            stages,
            unused: Unused::default(),
        })
    }

    /// From now on new workers use these stages.
    pub fn replace(&self, stages: Stages) {
        *self.stages.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(stages);
        self.close(self.unused.drain());
    }

    /// The stages that new workers use.
    #[must_use]
    pub fn stages(&self) -> Arc<Stages> {
        self.stages
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The queue that it works for.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Starts workers for what is due, until the server stops.
    pub async fn run(self: Arc<Self>) {
        let mut balanced = true;
        while !self.shutdown.is_stopping() {
            let changed = self.queue.changed();
            balanced = self.look_at_books(balanced);
            for destination in self.queue.ready() {
                self.start_worker(Slot::new(&self.queue, destination));
            }
            for work in self.queue.notices(NOTICES_MAX) {
                self.start_notice(Hands::new(&self.queue, work));
            }
            self.close(self.unused.stale(self.world.clock.elapsed()));
            let most = match self.unused.is_empty() {
                true => SLEEP_MAX,
                false => SLEEP_WITH_UNUSED,
            };
            let due = self.queue.next_due();
            let wait = due.map_or(most, |due| due.since(self.world.clock.now()).min(most));
            tokio::select! {
                biased;
                () = self.shutdown.stopping() => {}
                () = changed => {}
                () = self.world.clock.sleep(wait) => {}
            }
        }
        self.close(self.unused.drain());
    }

    /// Whether every recipient is somewhere. When that changes for the worse the operator is told.
    fn look_at_books(&self, balanced_before: bool) -> bool {
        let broken = invariants::balanced(&self.queue.accounts()).err();
        if let Some(broken) = broken.as_ref().filter(|_| balanced_before) {
            self.log
                .fault_of(&Fault::new("keeping the books of the queue", broken).fix(
                "report this as a bug of Posthaste; a restart reads everything from the spool anew",
            ));
        }
        broken.is_none()
    }

    fn start_worker(self: &Arc<Self>, slot: Slot) {
        let (dispatch, busy) = (self.clone(), self.shutdown.busy());
        let worker = async move {
            dispatch.serve(slot.destination()).await;
            drop((slot, busy));
        };
        self.world.work.spawn("worker", Box::pin(worker));
    }

    /// One worker: all that is due for a destination, one message after the other.
    async fn serve(&self, destination: &Arc<str>) {
        let mut stages = self.stages();
        let mut connection = self.unused.take(destination, self.world.clock.elapsed());
        while !self.shutdown.is_stopping()
            && let Some(work) = self.queue.take(destination)
        {
            let current = self.stages();
            if !Arc::ptr_eq(&stages, &current) {
                // The configuration changed: the connection may lead where nothing goes any more.
                self.close(connection.take().into_iter().collect());
                stages = current;
            }
            let hands = Hands::new(&self.queue, work);
            let smtp = &stages.delivery.smtp;
            if connection.as_ref().is_some_and(|open| smtp.may_fly(open)) {
                self.deliver_several(hands, &stages, &mut connection).await;
            } else {
                self.deliver(hands, &stages, &mut connection).await;
            }
        }
        if let Some(connection) = connection {
            self.close(
                self.unused
                    .keep(destination, connection)
                    .into_iter()
                    .collect(),
            );
        }
    }

    /// The delivery of one message to one destination.
    async fn deliver(&self, hands: Hands, stages: &Stages, connection: &mut Option<Connection>) {
        let Some((hands, stored)) = self.read(hands).await else {
            return;
        };
        self.deliver_read(hands, stored, stages, connection).await;
    }

    async fn deliver_read(
        &self,
        hands: Hands,
        stored: Stored,
        stages: &Stages,
        connection: &mut Option<Connection>,
    ) {
        let Some(work) = hands.work() else { return };
        let begun = self.world.clock.elapsed();
        let attempted = match overdue(work, &stored, self.world.clock.now()) {
            Some(attempted) => attempted,
            None => deliver::attempt(work, &stored, &stages.delivery, connection).await,
        };
        self.conclude(hands, &stored, attempted, (begun, stages))
            .await;
    }

    /// Reads the message that somebody works on. When it cannot be read, the work is put back.
    async fn read(&self, hands: Hands) -> Option<(Hands, Stored)> {
        let id = hands.work()?.id;
        match self.queue.read(id).await {
            Ok(stored) => Some((hands, stored)),
            Err(fault) => {
                self.log.fault(&format!("reading message {id}"), &fault);
                None
            }
        }
    }

    /// The delivery of a message, and of others that are due at its destination, over a connection
    /// that takes several at once. No worker takes more than its share: others may have connections
    /// of their own.
    async fn deliver_several(
        &self,
        hands: Hands,
        stages: &Stages,
        connection: &mut Option<Connection>,
    ) {
        let begun = self.world.clock.elapsed();
        let Some(destination) = hands.work().map(|work| work.destination.clone()) else {
            return;
        };
        let standing = self.queue.destination(&destination);
        let share = standing.map_or(0, |d| d.waiting / d.workers.max(1));
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        let (mut next, mut octets) = (Some(hands), 0);
        while let Some(hands) = next.take() {
            if let Some((hands, stored)) = self.read(hands).await {
                let size = stored.size();
                if size > flight::OCTETS_MAX - octets {
                    alone.push((hands, stored));
                    break;
                }
                octets += size;
                together.push((hands, stored));
            }
            if together.len() < flight::MESSAGES_MAX.min(share + 1) {
                let more = self.queue.take(&destination);
                next = more.map(|work| Hands::new(&self.queue, work));
            }
        }
        let (mut hands, stored): (Vec<_>, Vec<_>) = together.into_iter().unzip();
        if stored.len() > 1 {
            let flown = (&mut hands[..], &stored[..]);
            self.fly(flown, (begun, stages), connection).await;
        }
        let left = hands.into_iter().zip(stored);
        let left = left.filter(|(hands, _)| hands.work().is_some());
        for (hands, stored) in left.chain(alone) {
            self.deliver_read(hands, stored, stages, connection).await;
        }
    }

    /// Several messages in one flight. Each is concluded when its answer is there, while the others
    /// are under way; answers that come together share a sync. Whose work is still in `hands`
    /// afterwards is to be tried alone.
    async fn fly(
        &self,
        (hands, stored): (&mut [Hands], &[Stored]),
        (begun, stages): (Duration, &Stages),
        connection: &mut Option<Connection>,
    ) {
        let works: Vec<Work> = hands.iter().filter_map(|h| h.work().cloned()).collect();
        let cargo: Vec<_> = works.iter().zip(stored).collect();
        let ended = Mutex::new(Vec::new());
        let tell = |at: usize, attempted: Attempted| {
            let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.push((at, attempted));
        };
        let flight = deliver::attempt_together(&cargo, &stages.delivery, connection, &tell);
        let (mut flight, mut is_over) = (pin!(flight), false);
        let mut ends: Vec<BoxFuture<'_, ()>> = Vec::new();
        poll_fn(|cx| {
            is_over = is_over || flight.as_mut().poll(cx).is_ready();
            let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
            for (at, attempted) in ended.drain(..) {
                if let (Some(hands), Some(stored)) = (hands.get_mut(at), stored.get(at)) {
                    let hands = hands.hand_over();
                    let end = self.conclude(hands, stored, attempted, (begun, stages));
                    ends.push(Box::pin(end));
                }
            }
            drop(ended);
            ends.retain_mut(|end| end.as_mut().poll(cx).is_pending());
            match is_over && ends.is_empty() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// Notes what became of a message, makes it durable, and says so.
    async fn conclude(
        &self,
        hands: Hands,
        stored: &Stored,
        attempted: Attempted,
        (begun, stages): (Duration, &Stages),
    ) {
        let Some(work) = hands.work() else { return };
        let outcomes = self.outcomes(stored, &attempted, stages);
        let reports = stages.reports.due(stored, &attempted.outcomes).await;
        self.note_destination(work, &attempted);
        self.record_attempt(work, &attempted, begun);
        self.record_outcomes(work, stored, &attempted.outcomes, &outcomes);
        self.settle(hands, outcomes, reports).await;
        stages.feedback.read(stored, &attempted.outcomes).await;
    }

    /// Makes the outcomes and the reports they owe durable, together.
    async fn settle(&self, hands: Hands, outcomes: Vec<queue::Outcome>, reports: Vec<NewMessage>) {
        let Some(work) = hands.give() else { return };
        let id = work.id;
        self.record_reports(id, &reports);
        if let Err(fault) = self.queue.settle(work, outcomes, reports).await {
            self.log
                .fault(&format!("recording the outcome of message {id}"), &fault);
        }
    }

    /// What an attempt means for each recipient's future.
    fn outcomes(
        &self,
        stored: &Stored,
        attempted: &Attempted,
        stages: &Stages,
    ) -> Vec<queue::Outcome> {
        let now = self.world.clock.now();
        let tried = changed(stored, &attempted.outcomes, |progress, outcome| {
            progress.attempts = progress.attempts.saturating_add(1);
            // Where no transaction was begun the destination's own interval decides. A message
            // that was sent waits its own, whatever became of it: the fault may be its own.
            let wait = match attempted.not_begun {
                true => Duration::ZERO,
                false => stages.intervals.after(progress.attempts),
            };
            progress.not_before = now + wait;
            self.advance(progress, outcome);
        });
        let moved = attempted.moved.iter().filter_map(|(recipient, key)| {
            let progress = progress_of(stored, *recipient)?;
            let destination = Some(key.clone());
            Some(queue::Outcome {
                recipient: *recipient,
                progress,
                destination,
            })
        });
        let held = attempted.held.iter().filter_map(|recipient| {
            let progress = Progress {
                held: true,
                ..progress_of(stored, *recipient)?
            };
            Some(queue::Outcome {
                recipient: *recipient,
                progress,
                destination: None,
            })
        });
        tried.into_iter().chain(moved).chain(held).collect()
    }

    fn advance(&self, progress: &mut Progress, outcome: &Outcome) {
        progress.state = match outcome.fate {
            Fate::Delivered | Fate::Relayed => State::Delivered,
            Fate::Deferred | Fate::Delayed => State::Queued,
            Fate::Failed => State::Failed,
            Fate::Expired => State::Expired,
        };
        progress.last = Some(LastReply {
            at: self.world.clock.now(),
            host: outcome.host.clone().filter(|_| outcome.remote),
            reply: outcome.reply.clone(),
        });
    }

    fn note_destination(&self, work: &Work, attempted: &Attempted) {
        match &attempted.destination_failed {
            Some(reason) => self.queue.destination_failed(&work.destination, reason),
            // Nobody was asked there.
            None if attempted
                .outcomes
                .iter()
                .all(|(_, o)| o.fate == Fate::Expired) => {}
            None => self.queue.destination_ok(&work.destination),
        }
    }

    fn start_notice(self: &Arc<Self>, hands: Hands) {
        let (dispatch, busy) = (self.clone(), self.shutdown.busy());
        let notice = async move {
            dispatch.notice(hands).await;
            drop(busy);
        };
        self.world.work.spawn("notice", Box::pin(notice));
    }

    /// A message that is late, or too old: its sender is told, and if it is too old it ends.
    async fn notice(&self, hands: Hands) {
        let Some(work) = hands.work() else { return };
        let stored = match self.queue.read(work.id).await {
            Ok(stored) => stored,
            Err(fault) => {
                return self
                    .log
                    .fault(&format!("reading message {}", work.id), &fault);
            }
        };
        let expires = work.purpose == Purpose::Expiry;
        let stages = self.stages();
        let failure = self
            .queue
            .destination(&work.destination)
            .and_then(|d| d.failure);
        let reason = failure.as_ref().map(|f| &*f.reason);
        let open = stored
            .envelope()
            .open()
            .filter(|(index, _)| work.recipients.contains(index));
        let late: Vec<_> = open
            .take(SETTLED_AT_ONCE)
            .map(|(index, recipient)| (index, stages.reports.late(recipient, expires, reason)))
            .collect();
        let reports = stages.reports.due(&stored, &late).await;
        let next = changed(&stored, &late, |progress, outcome| match expires {
            true => self.advance(progress, outcome),
            false => progress.noticed = true,
        });
        self.record_outcomes(work, &stored, &late, &next);
        self.settle(hands, next, reports).await;
    }

    /// Gives a message up for the operator: the reverse-path gets a report.
    ///
    /// # Errors
    /// The message is not there, is being attempted, or the disk fails.
    pub async fn bounce(&self, id: QueueId) -> Result<(), OperatorError> {
        while self.bounce_some(id).await? {}
        Ok(())
    }

    /// Gives some recipients up; whether there are more.
    async fn bounce_some(&self, id: QueueId) -> Result<bool, OperatorError> {
        let hands = Hands::new(&self.queue, self.queue.claim(id)?);
        let Some(work) = hands.work() else {
            return Ok(false);
        };
        let stored = self.queue.read(id).await?;
        let stages = self.stages();
        let open = stored.envelope().open();
        let given_up: Vec<_> = open
            .take(SETTLED_AT_ONCE)
            .map(|(index, _)| (index, Outcome::returned()))
            .collect();
        let reports = stages.reports.due(&stored, &given_up).await;
        let next = changed(&stored, &given_up, |progress, outcome| {
            self.advance(progress, outcome);
        });
        self.record_outcomes(work, &stored, &given_up, &next);
        self.record_reports(id, &reports);
        if let Some(work) = hands.give() {
            self.queue.settle(work, next, reports).await?;
        }
        Ok(given_up.len() < stored.envelope().open().count())
    }

    /// Says goodbye on connections, in the background.
    fn close(&self, connections: Vec<Connection>) {
        for connection in connections {
            self.world
                .work
                .spawn("goodbye", Box::pin(connection.close()));
        }
    }
}

/// The outcomes of work whose message must not be delivered any more (RFC 2852 §4).
fn overdue(work: &Work, stored: &Stored, now: Timestamp) -> Option<Attempted> {
    let envelope = stored.envelope();
    if !envelope.message.is_overdue(now) {
        return None;
    }
    let open = envelope.open().map(|(index, _)| index);
    let ours: Vec<u32> = open.filter(|i| work.recipients.contains(i)).collect();
    let mut attempted = Attempted::default();
    attempted.settle_all(&ours, &Outcome::overdue());
    Some(attempted)
}

/// The new progress of recipients, as `change` makes it of the old one and the outcome.
fn changed(
    stored: &Stored,
    outcomes: &[(u32, Outcome)],
    change: impl Fn(&mut Progress, &Outcome),
) -> Vec<queue::Outcome> {
    let one = |(recipient, outcome): &(u32, Outcome)| {
        let mut progress = progress_of(stored, *recipient)?;
        change(&mut progress, outcome);
        Some(queue::Outcome {
            recipient: *recipient,
            progress,
            destination: None,
        })
    };
    outcomes.iter().filter_map(one).collect()
}

fn progress_of(stored: &Stored, recipient: u32) -> Option<Progress> {
    let index = usize::try_from(recipient).ok()?;
    Some(stored.envelope().recipients.get(index)?.progress.clone())
}
