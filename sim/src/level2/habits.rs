//! What one run is like: drawn once from its seed.

use std::time::Duration;

use posthaste_queue::backoff::Intervals;
use posthaste_queue::{schedule, spool};

use crate::disk::Faults;
use crate::rng::Rng;

/// Room on a disk that is never full.
pub(super) const ROOM: u64 = 1 << 40;

/// What goes wrong besides crashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    Nothing,
    /// Writes and syncs fail.
    Faults,
    /// The disk is small.
    Full,
    /// Stored bits turn over between lives.
    Damage,
    /// Bits turn over while they are read, outside of recovery.
    Flips,
}

#[derive(Clone, Debug)]
pub(super) struct Habits {
    pub(super) trouble: Trouble,
    pub(super) capacity: u64,
    pub(super) lives: u64,
    pub(super) steps: u64,
    /// The power goes before this many calls of the disk.
    pub(super) calls_of_a_life: u64,
    /// Of a thousand crashes, so many only kill the process.
    pub(super) kills: u64,
    /// Octets of an inline body at most.
    pub(super) body: u64,
    /// Of a thousand messages, so many have a file of their own.
    pub(super) large: u64,
    /// Changes of a group at most.
    pub(super) group: u64,
    /// Of a thousand changes, so many are new messages; the others are work on old ones.
    pub(super) commits: u64,
    segment: u64,
    spare: usize,
}

impl Habits {
    pub(super) fn draw(rng: &mut Rng, steps: Option<u64>) -> Self {
        let trouble = match rng.below(10) {
            0..4 => Trouble::Nothing,
            4..7 => Trouble::Faults,
            7 => Trouble::Full,
            8 => Trouble::Damage,
            _ => Trouble::Flips,
        };
        let segment = spool::Settings::SEGMENT_MIN;
        let usual_steps = rng.between(10, 60);
        let one_of = |rng: &mut Rng, choices: &[u64]| {
            choices
                .get(rng.index(choices.len()))
                .copied()
                .unwrap_or_default()
        };
        Habits {
            trouble,
            capacity: match trouble {
                Trouble::Full => segment * rng.between(3, 8),
                _ => ROOM,
            },
            lives: rng.between(2, 5),
            steps: steps.unwrap_or(usual_steps),
            calls_of_a_life: one_of(rng, &[20, 80, 300]),
            kills: one_of(rng, &[0, 0, 300, 1000]),
            body: one_of(rng, &[100, 2000, 12_000]),
            large: one_of(rng, &[0, 20, 200]),
            group: one_of(rng, &[1, 4, 12]),
            commits: one_of(rng, &[300, 500, 800]),
            segment,
            spare: rng.index(3),
        }
    }

    /// The faults of one life.
    pub(super) fn faults(&self, rng: &mut Rng) -> Faults {
        match self.trouble {
            Trouble::Faults => Faults {
                write: rng.below(40),
                sync: rng.below(80),
                sync_dir: rng.below(80),
                flip: 0,
            },
            Trouble::Flips => Faults {
                flip: rng.below(100),
                ..Faults::default()
            },
            Trouble::Nothing | Trouble::Full | Trouble::Damage => Faults::default(),
        }
    }

    pub(super) fn spool(&self) -> spool::Settings {
        spool::Settings {
            segment: self.segment,
            memory: 1 << 20,
            cache: usize::try_from(self.body).unwrap_or_default(),
            spare: self.spare,
            ..spool::Settings::default()
        }
    }

    pub(super) fn queue(&self) -> posthaste_queue::Settings {
        // Bodies that do not fit into so little go to files of their own.
        let memory = usize::try_from(2 * self.body).unwrap_or_default();
        posthaste_queue::Settings {
            spool: spool::Settings {
                memory,
                ..self.spool()
            },
            schedule: self.schedule(),
        }
    }

    pub(super) fn schedule(&self) -> schedule::Settings {
        let minutes = |m: u64| Duration::from_secs(60 * m);
        let expiry = |hours: u64| schedule::Expiry {
            notice_after: Some(minutes(60)),
            expire_after: minutes(60 * hours),
        };
        schedule::Settings {
            intervals: Intervals::new(&[1, 5, 15].map(minutes)),
            workers: 8,
            workers_per_destination: 3,
            classes: vec![
                expiry(12),
                schedule::Expiry {
                    notice_after: None,
                    ..expiry(6)
                },
            ],
        }
    }

    /// Octets that an empty spool may occupy: the spare segments, one that is open, one that is
    /// sealed but not yet reclaimed, and their sidecars.
    pub(super) fn empty_spool(&self) -> usize {
        let segments = u64::try_from(self.spare).unwrap_or_default() + 4;
        usize::try_from(segments * (self.segment + self.segment / 2)).unwrap_or(usize::MAX)
    }
}
