//! What happens in a life: groups of commits and settlements, reads, housekeeping, passing time.

use std::time::Duration;

use bytes::Bytes;
use posthaste_queue::envelope::{
    ContentFacts, Envelope, LastReply, Message as EnvelopeMessage, Progress, Recipient, State,
};
use posthaste_queue::id::{QueueId, ReportKind};
use posthaste_queue::invariants::{Answer, Broken};
use posthaste_queue::schedule::{Purpose, Work};
use posthaste_queue::spool::{Body, Change, NewMessage, Prelude, Settlement, WriteError};
use posthaste_smtp::address::{Mailbox, ReversePath, Utf8};
use posthaste_smtp::reply::Reply;
use posthaste_world::Clock;

use super::engine::{Pending, Said};
use super::habits::Trouble;
use super::model::{Message, Settling};
use super::{Node, Way, World};

/// Destinations of all mail.
const DOMAINS: u64 = 5;

/// Recipients of a message at most.
const RECIPIENTS: u64 = 5;

/// Octets of a body with a file of its own, at most. Real ones are larger; what matters is
/// the file.
const LARGE_BODY: u64 = 20_000;

/// Rounds until everything must be delivered.
const CALM_ROUNDS: u64 = 400;

/// How peers and the operator are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// Anything may happen.
    Usual,
    /// Everything is delivered.
    Calm,
}

impl World {
    /// One step of a life.
    pub(super) fn step(&mut self, node: &mut Node) -> Result<(), Broken> {
        let minutes = self.rng.below(90);
        match self.rng.below(100) {
            0..65 => self.group(node)?,
            65..75 => self.read_one(node)?,
            75..85 => {
                let more = node.engine.housekeep();
                self.disk.note(&[0x40, u64::from(more)], || {
                    format!("housekeep: more {more}")
                });
            }
            85..95 => self.clock.advance(Duration::from_secs(60 * minutes)),
            _ => self.impossible(node)?,
        }
        Ok(())
    }

    /// Attempts everything until nothing is left. The disk works; the peers do, too.
    pub(super) fn drain(&mut self, node: &mut Node) -> Result<(), Broken> {
        for _ in 0..CALM_ROUNDS {
            self.clock.advance(Duration::from_secs(3600));
            let mut group = Vec::new();
            while let Some(work) = self.take_work(node, Mood::Calm) {
                group.push(self.settlement(node, work, Mood::Calm));
            }
            self.write(node, group)?;
            while node.engine.housekeep() {}
            if node.engine.counts().messages == 0 {
                break;
            }
        }
        node.engine.check()
    }

    /// A group of random changes.
    fn group(&mut self, node: &mut Node) -> Result<(), Broken> {
        let mut group = Vec::new();
        for _ in 0..self.rng.between(1, self.habits.group) {
            if self.rng.chance(self.habits.commits) {
                group.extend(self.new_message(node)?);
            } else if let Some(work) = self.take_work(node, Mood::Usual) {
                group.push(self.settlement(node, work, Mood::Usual));
            }
        }
        self.write(node, group)
    }

    /// A random message; `None` when its body could not be written.
    fn new_message(&mut self, node: &mut Node) -> Result<Option<Pending>, Broken> {
        let large = self.rng.chance(self.habits.large);
        let limit = if large { LARGE_BODY } else { self.habits.body };
        let len = self.rng.between(1, limit);
        let mut envelope = self.envelope(len);
        if self.rng.chance(800) {
            envelope.message.reverse_path = ReversePath::Mailbox(mailbox("sender", 99));
        }
        let body = self.octets(len);
        let trace = self.octets(150);
        let octets = [&trace[..], &body[..]].concat();
        // A draft decides by itself.
        let maybe_large = large || self.way == Way::Queue;
        let body = match node.engine.body(body, large) {
            Ok(body) => body,
            Err(why) => return self.allowed(why).map(|()| None),
        };
        let new = NewMessage {
            envelope: envelope.clone(),
            prelude: Prelude::trace(trace),
            body,
        };
        Ok(Some(Pending::Commit(Box::new((
            Message {
                envelope,
                octets,
                large: maybe_large,
            },
            new,
        )))))
    }

    fn envelope(&mut self, size: u64) -> Envelope {
        let now = self.clock.now();
        let content = ContentFacts {
            size,
            ..ContentFacts::default()
        };
        let recipients = (0..self.rng.between(1, RECIPIENTS)).map(|i| {
            let mut r = Recipient::new(mailbox(&format!("r{i}"), self.rng.below(DOMAINS)));
            r.progress.not_before = now;
            r
        });
        let recipients = recipients.collect();
        let mut message = EnvelopeMessage::ours(now, content);
        message.priority = i8::try_from(self.rng.between(0, 2)).unwrap_or_default();
        message.release = self.rng.chance(100).then_some(now);
        message.content.binary = self.rng.chance(100);
        Envelope {
            recipients,
            id: QueueId::new(now, &*self.random),
            message,
        }
    }

    fn octets(&mut self, len: u64) -> Vec<u8> {
        let mut octets = vec![0; usize::try_from(len).unwrap_or_default()];
        self.rng.fill(&mut octets);
        octets
    }

    /// The next work that somebody has: a notice, the operator, or a worker.
    fn take_work(&mut self, node: &mut Node, mood: Mood) -> Option<Work> {
        let now = self.clock.now();
        let operator = mood == Mood::Calm || self.rng.chance(50);
        if let Some(id) = operator.then(|| self.any_queued(node, mood)).flatten()
            && let Ok(work) = node.engine.claim(id)
        {
            return Some(work);
        }
        if let Some(work) = node.engine.notice(now) {
            return Some(work);
        }
        loop {
            if node.workers.is_empty() {
                node.workers = node.engine.ready(now);
            }
            let which = self.rng.index(node.workers.len());
            let destination = node.workers.get(which)?.clone();
            if let Some(work) = node.engine.take(&destination, now) {
                return Some(work);
            }
            node.engine.leave(&destination);
            node.workers.swap_remove(which);
        }
    }

    /// A queued message for the operator: any usually, a held one when it is calm.
    fn any_queued(&mut self, node: &Node, mood: Mood) -> Option<QueueId> {
        if mood == Mood::Calm {
            return node.engine.first_held();
        }
        let queued = self.model.queued();
        queued.get(self.rng.index(queued.len())).copied()
    }

    /// What comes of a piece of work.
    fn settlement(&mut self, node: &mut Node, work: Work, mood: Mood) -> Pending {
        let now = self.clock.now();
        let Some(envelope) = self.model.get(work.id).map(|r| r.envelope.clone()) else {
            return Pending::Settlement {
                work,
                updates: Vec::new(),
                reports: Vec::new(),
            };
        };
        if work.purpose == Purpose::Attempt {
            if mood == Mood::Usual && self.rng.chance(100) {
                node.engine.destination_failed(&work.destination, now);
            } else {
                node.engine.destination_ok(&work.destination);
            }
        }
        let (mut updates, mut reports) = (Vec::new(), Vec::new());
        for index in &work.recipients {
            let i = usize::try_from(*index).unwrap_or(usize::MAX);
            let Some(recipient) = envelope.recipients.get(i) else {
                continue;
            };
            let mut progress = recipient.progress.clone();
            let report = self.outcome(&work.purpose, mood, &mut progress);
            if let Some(kind) = report
                && !envelope.message.reverse_path.is_null()
            {
                reports.push(self.report(&envelope, *index, kind));
            }
            updates.push((*index, progress));
        }
        Pending::Settlement {
            work,
            updates,
            reports,
        }
    }

    /// Makes one recipient's progress; says which report it owes.
    fn outcome(
        &mut self,
        purpose: &Purpose,
        mood: Mood,
        progress: &mut Progress,
    ) -> Option<ReportKind> {
        let now = self.clock.now();
        match purpose {
            Purpose::DelayNotice => {
                progress.noticed = true;
                return Some(ReportKind::Delayed);
            }
            Purpose::Expiry => {
                progress.state = State::Expired;
                return Some(ReportKind::Failed);
            }
            Purpose::Operator if mood == Mood::Calm => progress.held = false,
            Purpose::Operator => match self.rng.below(4) {
                0 => progress.state = State::Removed,
                _ => progress.held = !progress.held,
            },
            Purpose::Attempt => {
                progress.attempts += 1;
                let luck = if mood == Mood::Calm {
                    0
                } else {
                    self.rng.below(100)
                };
                let code = match luck {
                    0..50 => 250,
                    50..80 => 450,
                    _ => 550,
                };
                progress.last = Some(LastReply {
                    at: now,
                    host: Some("mx.example".into()),
                    reply: Reply::new(code, (4, 2, 0), "as the peer put it"),
                });
                match code {
                    250 => progress.state = State::Delivered,
                    450 => {
                        progress.not_before = now + Duration::from_secs(self.rng.below(7200));
                        progress.held = self.rng.chance(100);
                    }
                    _ => {
                        progress.state = State::Failed;
                        return Some(ReportKind::Failed);
                    }
                }
            }
        }
        None
    }

    fn report(&mut self, about: &Envelope, index: u32, kind: ReportKind) -> (Message, NewMessage) {
        let len = self.rng.between(1, 400);
        let mut envelope = self.envelope(len);
        envelope.id = QueueId::report(about.id, index, kind);
        envelope.recipients.truncate(1);
        let octets = self.octets(len);
        let body = Body::Inline(Bytes::from(octets.clone()));
        let new = NewMessage {
            envelope: envelope.clone(),
            prelude: Prelude::default(),
            body,
        };
        (
            Message {
                envelope,
                octets,
                large: false,
            },
            new,
        )
    }

    /// Writes a group and tells the model what came of it.
    fn write(&mut self, node: &mut Node, group: Vec<Pending>) -> Result<(), Broken> {
        if group.is_empty() {
            return Ok(());
        }
        let given = group.len();
        let said = node.engine.write(group, self.clock.now());
        if said.len() != given {
            let seen = format!("{} answers to {given} changes", said.len());
            return Err(Broken {
                invariant: "progress",
                seen,
            });
        }
        for (pending, said) in said {
            let answer = self.answer(node, &pending, &said)?;
            self.disk.note(&[0x60, answer as u64], || {
                format!("{answer:?}: {}", pending.text())
            });
            match pending {
                Pending::Commit(new) => {
                    self.totals.committed += u64::from(answer == Answer::Promised);
                    self.model.given(new.0, answer);
                }
                Pending::Settlement {
                    work,
                    updates,
                    reports,
                } => {
                    self.totals.settled += u64::from(answer == Answer::Promised);
                    let reports = reports.into_iter().map(|(message, _)| message).collect();
                    let id = work.id;
                    self.model.settled(Settling {
                        id,
                        updates: &updates,
                        reports,
                        answer,
                    })?;
                }
            }
        }
        Ok(())
    }

    /// What an answer is worth.
    fn answer(&mut self, node: &Node, pending: &Pending, said: &Said) -> Result<Answer, Broken> {
        let why = match said {
            Said::Answer(Ok(())) => return Ok(Answer::Promised),
            _ if self.disk.crashed() => return Ok(Answer::Unknown),
            // Nobody heard it: the message is known to the schedule, and then durable; or it is
            // not, and will never be, unless the disk left it in doubt.
            Said::ToNobody if node.engine.knows(pending.id()) => return Ok(Answer::Promised),
            Said::ToNobody if self.habits.trouble == Trouble::Faults => {
                return Ok(Answer::Unknown);
            }
            Said::ToNobody => return Ok(Answer::Refused),
            Said::Answer(Err(WriteError::InDoubt)) => return Ok(Answer::Unknown),
            Said::Answer(Err(why)) => *why,
        };
        self.totals.refused += 1;
        self.allowed(why)?;
        Ok(Answer::Refused)
    }

    /// Whether this run has a reason to refuse.
    fn allowed(&self, why: WriteError) -> Result<(), Broken> {
        let reason = match self.habits.trouble {
            _ if self.disk.crashed() => true,
            Trouble::Faults => matches!(why, WriteError::Failed | WriteError::Full),
            Trouble::Full => why == WriteError::Full,
            Trouble::Nothing | Trouble::Damage | Trouble::Flips => false,
        };
        if reason {
            return Ok(());
        }
        let seen = format!("a change was refused without need: {why}");
        Err(Broken {
            invariant: "progress",
            seen,
        })
    }

    /// Reads a queued message: its octets, or an error when there is a reason.
    fn read_one(&mut self, node: &Node) -> Result<(), Broken> {
        let queued = self.model.queued();
        let Some(id) = queued.get(self.rng.index(queued.len())).copied() else {
            return Ok(());
        };
        let Some(record) = self.model.get(id) else {
            return Ok(());
        };
        let seen = match node.engine.read(id) {
            Ok((envelope, octets)) if envelope == record.envelope && octets == record.octets => {
                return Ok(());
            }
            Ok(_) => format!("{id} is read differently than it was given"),
            Err(_) if self.disk.crashed() || record.unreadable => return Ok(()),
            Err(_) if self.habits.trouble == Trouble::Flips => return Ok(()),
            Err(why) => format!("{id} cannot be read: {why}"),
        };
        Err(Broken {
            invariant: "bytes_kept",
            seen,
        })
    }

    /// Changes that must be refused, whatever the disk does.
    fn impossible(&mut self, node: &mut Node) -> Result<(), Broken> {
        let queued = self.model.queued();
        let taken = queued.get(self.rng.index(queued.len())).copied();
        let change = match (taken, self.rng.below(3)) {
            (Some(id), 0) => {
                let mut envelope = self.envelope(3);
                envelope.id = id;
                let body = Body::Inline(Bytes::from_static(b"abc"));
                Change::Commit(Box::new(NewMessage {
                    envelope,
                    prelude: Prelude::default(),
                    body,
                }))
            }
            (Some(id), 1) => Change::Settle(Settlement {
                id,
                updates: vec![(99, Progress::default())],
                reports: Vec::new(),
            }),
            _ => Change::Settle(Settlement {
                id: QueueId::new(self.clock.now(), &*self.random),
                updates: vec![(0, Progress::default())],
                reports: Vec::new(),
            }),
        };
        match node.engine.try_impossible(change) {
            None | Some(Err(_)) => Ok(()),
            answer => Err(Broken {
                invariant: "no_false_promise",
                seen: format!("an impossible change is answered with {answer:?}"),
            }),
        }
    }
}

fn mailbox(local: &str, domain: u64) -> Mailbox {
    let parsed = Mailbox::parse(&format!("{local}@d{domain}.example"), Utf8::Refused);
    parsed.unwrap_or_else(|e| unreachable!("a mailbox of our own: {e}"))
}
