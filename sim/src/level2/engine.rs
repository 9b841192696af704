//! What a run drives: the store and the schedule, or the queue that joins them.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_queue::envelope::{Envelope, Progress};
use posthaste_queue::id::QueueId;
use posthaste_queue::invariants::Broken;
use posthaste_queue::schedule::{Counts, Refused, Work};
use posthaste_queue::spool::{Body, Change, NewMessage, Settlement, WriteError};
use posthaste_world::Timestamp;

use super::model::Message;

/// A change under way, with what the model must learn when it is answered.
pub(super) enum Pending {
    Commit(Box<(Message, NewMessage)>),
    Settlement {
        work: Work,
        updates: Vec<(u32, Progress)>,
        reports: Vec<(Message, NewMessage)>,
    },
}

/// What came of a change.
pub(super) enum Said {
    /// The answer.
    Answer(Result<(), WriteError>),
    /// The session was gone before the answer came.
    ToNobody,
}

/// A process that lives until the next crash.
pub(super) trait Engine {
    /// Makes changes, and tells the schedule of what was made.
    fn write(&mut self, group: Vec<Pending>, now: Timestamp) -> Vec<(Pending, Said)>;
    /// Tries a change that must be refused; `None` when this engine has no way to try it.
    fn try_impossible(&mut self, change: Change) -> Option<Result<(), WriteError>>;
    /// A body, in a file of its own when `large`.
    fn body(&mut self, octets: Vec<u8>, large: bool) -> Result<Body, WriteError>;
    /// All of a message.
    fn read(&self, id: QueueId) -> Result<(Envelope, Vec<u8>), String>;
    /// One step of housekeeping; says whether there is more.
    fn housekeep(&mut self) -> bool;
    /// Stops as it should.
    fn close(self: Box<Self>);
    /// Messages in the spool.
    fn stored(&self) -> usize;

    fn ready(&mut self, now: Timestamp) -> Vec<Arc<str>>;
    fn take(&mut self, destination: &str, now: Timestamp) -> Option<Work>;
    fn leave(&mut self, destination: &str);
    fn notice(&mut self, now: Timestamp) -> Option<Work>;
    fn claim(&mut self, id: QueueId) -> Result<Work, Refused>;
    fn destination_failed(&mut self, destination: &str, now: Timestamp);
    fn destination_ok(&mut self, destination: &str);
    fn counts(&self) -> Counts;
    /// Whether the schedule knows a message.
    fn knows(&self, id: QueueId) -> bool;
    /// The first message with a held recipient.
    fn first_held(&self) -> Option<QueueId>;
    /// Whether the schedule's books balance.
    fn check(&self) -> Result<(), Broken>;
}

impl Pending {
    /// The message that it makes or changes.
    pub(super) fn id(&self) -> QueueId {
        match self {
            Pending::Commit(new) => new.0.envelope.id,
            Pending::Settlement { work, .. } => work.id,
        }
    }

    pub(super) fn change(&self) -> Change {
        match self {
            Pending::Commit(new) => Change::Commit(Box::new(new.1.clone())),
            Pending::Settlement {
                work,
                updates,
                reports,
            } => Change::Settle(Settlement {
                id: work.id,
                updates: updates.clone(),
                reports: reports.iter().map(|(_, new)| new.clone()).collect(),
            }),
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Pending::Commit(new) => format!(
                "{} with {} recipients, {} octets{}",
                new.0.envelope.id,
                new.0.envelope.recipients.len(),
                new.0.octets.len(),
                if new.0.large {
                    ", maybe in a file of its own"
                } else {
                    ""
                }
            ),
            Pending::Settlement {
                work,
                updates,
                reports,
            } => {
                let states: Vec<_> = updates.iter().map(|(i, p)| (i, p.state, p.held)).collect();
                let reports: Vec<_> = reports.iter().map(|(m, _)| m.envelope.id).collect();
                format!(
                    "{} {:?} {states:?}, reports {reports:?}",
                    work.id, work.purpose
                )
            }
        }
    }
}

/// The octets of an inline body.
pub(super) fn inline(body: &Body) -> Bytes {
    match body {
        Body::Inline(octets) => octets.clone(),
        Body::Large(_) => Bytes::new(),
    }
}
