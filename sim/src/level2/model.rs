//! What the queue was asked and what it said: the memory that a crash does not touch.
//!
//! After every recovery, [`Model::compare`] holds what was found against it. Where the power went
//! before the queue answered, both outcomes are right; whichever is found is the truth from then
//! on.

use std::collections::{BTreeMap, BTreeSet};

use posthaste_queue::envelope::{Envelope, Progress, State};
use posthaste_queue::id::{QueueId, ReportKind};
use posthaste_queue::invariants::{self, Answer, Broken, Ending, Found, Given, Settled};

/// What one frame of the log holds. Damage costs the frame it hits, and no other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Frame {
    /// A message.
    Commit(QueueId),
    /// A settlement, with its reports.
    Settlement(u64),
}

/// A message as it was given.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) answer: Answer,
    /// With all progress that was acknowledged.
    pub(super) envelope: Envelope,
    pub(super) octets: Vec<u8>,
    /// Its body has a file of its own.
    pub(super) large: bool,
    /// Its octets were damaged, which was noticed.
    pub(super) unreadable: bool,
    settled: Vec<Settled>,
    /// Progress that was on its way when the power went.
    unknown: Vec<Option<Progress>>,
    /// The frames that hold something of it.
    frames: BTreeSet<Frame>,
}

/// A message to be given.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) envelope: Envelope,
    pub(super) octets: Vec<u8>,
    pub(super) large: bool,
}

/// A message as it was found.
#[derive(Debug)]
pub(super) struct Seen {
    /// Open recipients as the schedule was told of them.
    pub(super) open: Vec<u32>,
    /// `None`: it cannot be read.
    pub(super) stored: Option<(Envelope, Vec<u8>)>,
}

/// A settlement, and what was said about it.
pub(super) struct Settling<'a> {
    pub(super) id: QueueId,
    pub(super) updates: &'a [(u32, Progress)],
    pub(super) reports: Vec<Message>,
    pub(super) answer: Answer,
}

/// All messages of a run.
#[derive(Default, Debug)]
pub(super) struct Model {
    records: BTreeMap<QueueId, Record>,
    settlements: u64,
    /// Lost to damage; they must not come back either.
    lost: BTreeSet<QueueId>,
}

impl Model {
    /// Notes a new message, and what was said about it.
    pub(super) fn given(&mut self, message: Message, answer: Answer) {
        let frame = Frame::Commit(message.envelope.id);
        self.enter(message, answer, frame);
    }

    fn enter(&mut self, message: Message, answer: Answer, frame: Frame) {
        let n = message.envelope.recipients.len();
        let record = Record {
            answer,
            octets: message.octets,
            large: message.large,
            unreadable: false,
            settled: vec![Settled::Open; n],
            unknown: vec![None; n],
            frames: BTreeSet::from([frame, Frame::Commit(message.envelope.id)]),
            envelope: message.envelope,
        };
        self.records.insert(record.envelope.id, record);
    }

    /// Notes a settlement.
    pub(super) fn settled(&mut self, settling: Settling<'_>) -> Result<(), Broken> {
        let Settling {
            id,
            updates,
            reports,
            answer,
        } = settling;
        self.settlements += 1;
        let serial = self.settlements;
        let null = self
            .records
            .get(&id)
            .is_some_and(|r| r.envelope.message.reverse_path.is_null());
        invariants::no_report_about_reports(null, reports.len())?;
        for report in reports {
            let id = report.envelope.id;
            // One that is queued is left out. One that ended is made again, after damage only.
            let made = self.records.get(&id).is_some_and(Record::may_be_queued);
            if !made {
                self.lost.remove(&id);
                self.enter(report, answer, Frame::Settlement(serial));
            }
        }
        let Some(record) = self
            .records
            .get_mut(&id)
            .filter(|_| answer != Answer::Refused)
        else {
            return Ok(());
        };
        for (index, progress) in updates {
            record.settle(*index, progress, answer, serial)?;
        }
        Ok(())
    }

    pub(super) fn get(&self, id: QueueId) -> Option<&Record> {
        self.records.get(&id)
    }

    /// Ids of messages that are queued for certain, in order.
    pub(super) fn queued(&self) -> Vec<QueueId> {
        let queued = self.records.iter().filter(|(_, r)| r.is_queued());
        queued.map(|(id, _)| *id).collect()
    }

    /// How many queued messages have a file of their own.
    pub(super) fn large(&self) -> usize {
        self.records
            .values()
            .filter(|r| r.is_queued() && r.large)
            .count()
    }

    /// Compares with what was found after a recovery, and takes it for the truth where nothing was
    /// promised. At most `damage` frames may be missing; says how many are.
    pub(super) fn compare(
        &mut self,
        found: &BTreeMap<QueueId, Seen>,
        damage: usize,
    ) -> Result<usize, Broken> {
        let stranger = found.keys().find(|id| !self.records.contains_key(id));
        if let Some(id) = stranger {
            let seen = format!("{id} is queued, and nobody gave it, or damage took it before");
            return Err(Broken {
                invariant: "no_false_promise",
                seen,
            });
        }
        let mut damaged = Vec::new();
        let mut last = None;
        for record in self.records.values() {
            let seen = found.get(&record.envelope.id);
            record.octets_kept(seen)?;
            if let Some(broken) = self.broken(record, seen, found) {
                damaged.push(record.frames.clone());
                last = Some(broken);
            }
        }
        let missing = fewest(damaged);
        match last {
            Some(broken) if missing > damage => return Err(broken),
            _ => {}
        }
        self.take_for_truth(found);
        Ok(missing)
    }

    /// What is broken about one message.
    fn broken(
        &self,
        record: &Record,
        seen: Option<&Seen>,
        all: &BTreeMap<QueueId, Seen>,
    ) -> Option<Broken> {
        let given = record.given();
        let found = seen.map(|s| Found {
            id: given.id,
            digest: s.stored.as_ref().map(|(_, octets)| digest(octets)),
            open: &s.open,
        });
        let found = found.as_ref();
        let known = |report: QueueId| {
            let record = self.records.get(&report);
            all.contains_key(&report)
                || self.lost.contains(&report)
                || record.is_some_and(|r| r.answer == Answer::Promised && !r.is_queued())
        };
        let queued = |id: QueueId| all.contains_key(&id);
        let check = || {
            invariants::promise_kept(&given, found)?;
            invariants::no_false_promise(&given, found)?;
            invariants::outcome_kept(&given, found)?;
            invariants::report_before_close(&given, found, known)?;
            invariants::settled_whole(&given, found, queued)?;
            if let Some(found) = found.filter(|_| !record.unreadable) {
                invariants::bytes_kept(&given, found)?;
            }
            match seen.and_then(|s| s.stored.as_ref()) {
                Some((envelope, _)) => record.envelope_kept(envelope, known, queued),
                None => Ok(()),
            }
        };
        check().err()
    }

    fn take_for_truth(&mut self, found: &BTreeMap<QueueId, Seen>) {
        for (id, record) in &mut self.records {
            match found.get(id) {
                Some(seen) => record.take_for_truth(seen),
                None if record.answer == Answer::Promised => {
                    if record.settled.contains(&Settled::Open) {
                        self.lost.insert(*id);
                    }
                    record.end();
                }
                None => record.answer = Answer::Refused,
            }
        }
        // A report that should be there and was never found went with what damage took.
        let promised = |id: &QueueId| {
            self.records
                .get(id)
                .is_some_and(|r| r.answer == Answer::Promised)
        };
        let owed = self.records.values().flat_map(Record::reports_owed);
        let gone: Vec<QueueId> = owed.filter(|id| !promised(id)).collect();
        self.lost.extend(gone);
        let lost = &self.lost;
        self.records.retain(|id, _| !lost.contains(id));
    }
}

impl Record {
    /// The reports that its endings owed.
    fn reports_owed(&self) -> impl Iterator<Item = QueueId> + '_ {
        self.settled.iter().filter_map(|settled| match settled {
            Settled::Ended(Ending::Failed { report }) => *report,
            _ => None,
        })
    }

    fn is_queued(&self) -> bool {
        self.answer == Answer::Promised && self.settled.contains(&Settled::Open)
    }

    fn may_be_queued(&self) -> bool {
        let ended = |s: &Settled| matches!(s, Settled::Ended(_));
        self.answer == Answer::Promised && !self.settled.iter().all(ended)
    }

    fn given(&self) -> Given<'_> {
        Given {
            id: self.envelope.id,
            answer: self.answer,
            digest: digest(&self.octets),
            recipients: &self.settled,
        }
    }

    /// The ending that new progress means.
    fn ending(&self, index: u32, progress: &Progress) -> Option<Ending> {
        match progress.state {
            State::Queued => None,
            State::Delivered | State::Removed => Some(Ending::Delivered),
            State::Failed | State::Expired => Some(Ending::Failed {
                report: (!self.envelope.message.reverse_path.is_null())
                    .then(|| QueueId::report(self.envelope.id, index, ReportKind::Failed)),
            }),
        }
    }

    fn settle(
        &mut self,
        index: u32,
        progress: &Progress,
        answer: Answer,
        serial: u64,
    ) -> Result<(), Broken> {
        let i = usize::try_from(index).unwrap_or(usize::MAX);
        let ending = self.ending(index, progress);
        let id = self.envelope.id;
        self.frames.insert(Frame::Settlement(serial));
        if let (Some(ending), Some(settled)) = (ending, self.settled.get_mut(i)) {
            invariants::one_ending(id, *settled, ending)?;
            *settled = match answer {
                Answer::Promised => Settled::Ended(ending),
                _ => Settled::Unknown(ending),
            };
        }
        if let Some(unknown) = self
            .unknown
            .get_mut(i)
            .filter(|_| answer == Answer::Unknown)
        {
            *unknown = Some(progress.clone());
        }
        if let Some(r) = self
            .envelope
            .recipients
            .get_mut(i)
            .filter(|_| answer == Answer::Promised)
        {
            r.progress = progress.clone();
        }
        Ok(())
    }

    /// Wrong octets are never handed out, whatever is damaged.
    fn octets_kept(&self, seen: Option<&Seen>) -> Result<(), Broken> {
        match seen.and_then(|s| s.stored.as_ref()) {
            Some((_, octets)) if *octets != self.octets => Err(Broken {
                invariant: "bytes_kept",
                seen: format!(
                    "{} is read with {} octets that differ from the {} accepted",
                    self.envelope.id,
                    octets.len(),
                    self.octets.len()
                ),
            }),
            _ => Ok(()),
        }
    }

    /// The envelope is the one that was given, with the progress that was acknowledged.
    fn envelope_kept(
        &self,
        found: &Envelope,
        known: impl Fn(QueueId) -> bool,
        queued: impl Fn(QueueId) -> bool,
    ) -> Result<(), Broken> {
        let id = self.envelope.id;
        let broken = |seen: String| {
            Err(Broken {
                invariant: "envelope_kept",
                seen,
            })
        };
        if found.id != id
            || found.message != self.envelope.message
            || found.recipients.len() != self.envelope.recipients.len()
        {
            return broken(format!("the envelope of {id} changed: {found:?}"));
        }
        for (i, given) in self.envelope.recipients.iter().enumerate() {
            let Some(seen) = found.recipients.get(i) else {
                continue;
            };
            let right = seen.progress == given.progress
                || self.unknown.get(i).and_then(Option::as_ref) == Some(&seen.progress);
            if !right || seen.address != given.address {
                return broken(format!(
                    "recipient {i} of {id} is {:?} with {:?}, and was {:?} with {:?}",
                    seen.address, seen.progress, given.address, given.progress
                ));
            }
            let index = u32::try_from(i).unwrap_or(u32::MAX);
            let notice = QueueId::report(id, index, ReportKind::Delayed);
            let owed = !self.envelope.message.reverse_path.is_null();
            let noticed = seen.progress.noticed;
            let right = if noticed {
                known(notice)
            } else {
                !queued(notice)
            };
            if owed && !seen.progress.state.is_final() && !right {
                return broken(format!(
                    "recipient {i} of {id}: that it was told of the delay is {noticed}, and its \
                     notice says otherwise"
                ));
            }
        }
        Ok(())
    }

    fn take_for_truth(&mut self, seen: &Seen) {
        self.answer = Answer::Promised;
        self.unreadable |= seen.stored.is_none();
        for (index, settled) in (0..).zip(&mut self.settled) {
            if seen.open.contains(&index) {
                *settled = Settled::Open;
            } else if let Settled::Unknown(ending) = *settled {
                *settled = Settled::Ended(ending);
            }
        }
        if let Some((envelope, _)) = &seen.stored {
            self.envelope = envelope.clone();
        }
        self.unknown.iter_mut().for_each(|u| *u = None);
    }

    fn end(&mut self) {
        for settled in &mut self.settled {
            if let Settled::Unknown(ending) = *settled {
                *settled = Settled::Ended(ending);
            }
        }
    }
}

/// How many frames must be damaged to explain this: at least one of each set. Takes the one that
/// explains most first, which is exact for the few that a run damages.
fn fewest(mut damaged: Vec<BTreeSet<Frame>>) -> usize {
    let mut missing = 0;
    while !damaged.is_empty() {
        let mut explains: BTreeMap<Frame, usize> = BTreeMap::new();
        for frame in damaged.iter().flatten() {
            *explains.entry(*frame).or_default() += 1;
        }
        let Some((best, _)) = explains.into_iter().max_by_key(|(_, n)| *n) else {
            break;
        };
        damaged.retain(|frames| !frames.contains(&best));
        missing += 1;
    }
    missing
}

fn digest(octets: &[u8]) -> u64 {
    octets.iter().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    })
}
