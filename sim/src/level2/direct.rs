//! Store and schedule, driven by hand: every call of the disk is one of ours.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_queue::envelope::{Envelope, Progress};
use posthaste_queue::id::QueueId;
use posthaste_queue::invariants::{self, Broken};
use posthaste_queue::schedule::{
    Counts, NewMessage as Entry, NewRecipient, Next, Purpose, Refused, Schedule, Standing, Wishes,
    Work,
};
use posthaste_queue::spool::{
    Body, Change, ReadError, Store, Stored, Waiting, WaitingRecipient, WriteError,
};
use posthaste_world::Timestamp;

use super::books;
use super::engine::{Engine, Pending, Said};

/// Store and schedule.
pub(super) struct Direct {
    store: Store,
    schedule: Schedule,
}

impl Direct {
    pub(super) fn new(store: Store, mut schedule: Schedule, recovered: &[Waiting]) -> Self {
        for waiting in recovered {
            enter(&mut schedule, waiting);
        }
        Direct { store, schedule }
    }
}

impl Engine for Direct {
    fn write(&mut self, group: Vec<Pending>, now: Timestamp) -> Vec<(Pending, Said)> {
        let changes: Vec<Change> = group.iter().map(Pending::change).collect();
        let results = self.store.write(&changes);
        for (pending, result) in group.iter().zip(&results) {
            match (pending, result) {
                (Pending::Commit(new), Ok(())) => {
                    enter(&mut self.schedule, &waiting(&new.0.envelope));
                }
                (Pending::Commit(_), Err(_)) => {}
                (
                    Pending::Settlement {
                        work,
                        updates,
                        reports,
                    },
                    Ok(()),
                ) => {
                    for (report, _) in reports {
                        enter(&mut self.schedule, &waiting(&report.envelope));
                    }
                    let next: Vec<_> = updates
                        .iter()
                        .map(|(i, p)| (*i, next_of(work, p)))
                        .collect();
                    self.schedule.finish(work, &next);
                }
                (Pending::Settlement { work, .. }, Err(_)) => self.schedule.put_back(work, now),
            }
        }
        group
            .into_iter()
            .zip(results.into_iter().map(Said::Answer))
            .collect()
    }

    fn try_impossible(&mut self, change: Change) -> Option<Result<(), WriteError>> {
        self.store.write(&[change]).into_iter().next()
    }

    fn body(&mut self, octets: Vec<u8>, large: bool) -> Result<Body, WriteError> {
        if large {
            return self.store.large_body(&octets).map(Body::Large);
        }
        Ok(Body::Inline(Bytes::from(octets)))
    }

    fn read(&self, id: QueueId) -> Result<(Envelope, Vec<u8>), String> {
        all_of(self.store.read(id))
    }

    fn housekeep(&mut self) -> bool {
        self.store.housekeep()
    }

    fn close(self: Box<Self>) {
        self.store.close();
    }

    fn stored(&self) -> usize {
        self.store.reader().len()
    }

    fn ready(&mut self, now: Timestamp) -> Vec<Arc<str>> {
        self.schedule.ready(now)
    }

    fn take(&mut self, destination: &str, now: Timestamp) -> Option<Work> {
        self.schedule.take(destination, now)
    }

    fn leave(&mut self, destination: &str) {
        self.schedule.leave(destination);
    }

    fn notice(&mut self, now: Timestamp) -> Option<Work> {
        self.schedule.notices(now, 1).pop()
    }

    fn claim(&mut self, id: QueueId) -> Result<Work, Refused> {
        self.schedule.claim(id)
    }

    fn destination_failed(&mut self, destination: &str, now: Timestamp) {
        self.schedule
            .destination_failed(destination, "no route", now);
    }

    fn destination_ok(&mut self, destination: &str) {
        self.schedule.destination_ok(destination);
    }

    fn counts(&self) -> Counts {
        self.schedule.counts()
    }

    fn knows(&self, id: QueueId) -> bool {
        self.schedule.get(id).is_some()
    }

    fn first_held(&self) -> Option<QueueId> {
        let mut all = self.schedule.list(None);
        let held = all.find(|m| m.recipients.iter().any(|r| r.standing == Standing::Held))?;
        Some(held.id)
    }

    fn check(&self) -> Result<(), Broken> {
        self.schedule.check().map_err(books)?;
        invariants::bounds_kept("recipients in nobody's hands", self.counts().in_flight, 0)
    }
}

/// A message that was read, with all its octets.
pub(super) fn all_of(stored: Result<Stored, ReadError>) -> Result<(Envelope, Vec<u8>), String> {
    let stored = stored.map_err(|e| e.to_string())?;
    let mut content = stored.content();
    let mut octets = Vec::new();
    while let Some(piece) = content.next_blocking().map_err(|e| e.to_string())? {
        octets.extend_from_slice(&piece);
    }
    Ok((stored.envelope().clone(), octets))
}

fn enter(schedule: &mut Schedule, waiting: &Waiting) -> bool {
    let recipients: Vec<_> = waiting
        .recipients
        .iter()
        .map(|r| NewRecipient {
            index: r.index,
            destination: &r.destination,
            due: r.not_before,
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
    })
}

/// What the queue makes of new progress.
fn next_of(work: &Work, progress: &Progress) -> Next {
    if progress.state.is_final() {
        Next::Closed
    } else if progress.held {
        Next::Hold
    } else if work.purpose == Purpose::DelayNotice {
        Next::Unchanged
    } else {
        Next::Retry {
            at: progress.not_before,
        }
    }
}

/// What the schedule is told of a new message.
fn waiting(envelope: &Envelope) -> Waiting {
    let recipients = envelope.open().map(|(index, r)| WaitingRecipient {
        index,
        destination: Arc::from(r.address.domain().to_string()),
        not_before: r.progress.not_before,
        attempts: u16::try_from(r.progress.attempts).unwrap_or(u16::MAX),
        held: r.progress.held,
        noticed: r.progress.noticed,
    });
    Waiting {
        id: envelope.id,
        begins: envelope.message.begins(),
        report: envelope.message.reverse_path.is_null(),
        wishes: Wishes::of(&envelope.message),
        recipients: recipients.collect(),
    }
}
