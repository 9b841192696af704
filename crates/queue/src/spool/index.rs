//! The index: where each queued message stands, in memory.
//!
//! One entry takes about a hundred octets; envelopes stay on disk. The writer changes it after the
//! sync that makes the change durable; readers look things up. It does **not** know due times.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use posthaste_world::File;

use super::frame::Home;
use super::record::Reference;
use crate::envelope::Envelope;
use crate::id::QueueId;

/// Where a frame stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) segment: u32,
    /// The frame's offset in eighths.
    pub(super) eighth: u32,
}

/// Where a message stands: a frame, and the section within its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spot {
    pub(super) frame: Place,
    pub(super) start: u32,
    pub(super) len: u32,
}

/// A settle frame of a message that goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Settled {
    pub(super) frame: Place,
    /// Octets of the frame that are not reports.
    pub(super) len: u32,
}

/// A queued message.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) at: Spot,
    pub(super) open: Open,
    /// Settle frames since, oldest first. Most messages have none, so it takes eight octets.
    #[expect(clippy::box_collection, reason = "a million entries must stay small")]
    pub(super) settled: Option<Box<Vec<Settled>>>,
    pub(super) large: Option<Box<Reference>>,
}

/// Which recipients are open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Open {
    Few(u64),
    Many(Box<[u64]>),
}

/// A segment's file, as readers need it.
#[derive(Clone)]
pub(super) struct Log {
    pub(super) home: Home,
    pub(super) file: Arc<dyn File>,
}

/// Entries and files.
#[derive(Default)]
pub(super) struct Index {
    pub(super) entries: BTreeMap<QueueId, Entry>,
    pub(super) logs: BTreeMap<u32, Log>,
}

/// The index as the writer and the readers share it.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Index>>);

impl Shared {
    /// Held for moments only, never across a call of the disk.
    pub(super) fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn entry(&self, id: QueueId) -> Option<Entry> {
        self.lock().entries.get(&id).cloned()
    }

    pub(super) fn log(&self, segment: u32) -> Option<Log> {
        self.lock().logs.get(&segment).cloned()
    }
}

impl Place {
    pub(super) fn new(segment: u32, offset: u64) -> Self {
        Place {
            segment,
            eighth: u32::try_from(offset / 8).unwrap_or(u32::MAX),
        }
    }

    pub(super) fn offset(self) -> u64 {
        u64::from(self.eighth) * 8
    }
}

impl Entry {
    pub(super) fn settled(&self) -> &[Settled] {
        self.settled.as_deref().map_or(&[], Vec::as_slice)
    }

    pub(super) fn settle(&mut self, settled: Settled) {
        self.settled.get_or_insert_default().push(settled);
    }
}

impl Open {
    /// All recipients of an envelope that have no end yet.
    pub(super) fn of(envelope: &Envelope) -> Open {
        let mut open = Open::none(envelope.recipients.len());
        for (index, _) in envelope.open() {
            if let Some((word, bit)) = open.word(index) {
                *word |= bit;
            }
        }
        open
    }

    fn none(recipients: usize) -> Open {
        match recipients {
            0..=64 => Open::Few(0),
            n => Open::Many(vec![0; n.div_ceil(64)].into()),
        }
    }

    /// Whether this recipient is open.
    pub(super) fn contains(&mut self, index: u32) -> bool {
        self.word(index).is_some_and(|(word, bit)| *word & bit != 0)
    }

    /// Closes a recipient.
    pub(super) fn close(&mut self, index: u32) {
        if let Some((word, bit)) = self.word(index) {
            *word &= !bit;
        }
    }

    /// Whether none is open.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Open::Few(word) => *word == 0,
            Open::Many(words) => words.iter().all(|word| *word == 0),
        }
    }

    fn word(&mut self, index: u32) -> Option<(&mut u64, u64)> {
        let bit = 1 << (index % 64);
        match self {
            Open::Few(word) => (index < 64).then_some((word, bit)),
            Open::Many(words) => {
                let word = words.get_mut(usize::try_from(index / 64).ok()?)?;
                Some((word, bit))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 48, "{}", size_of::<Entry>());
    }

    #[test]
    fn recipients_beyond_the_first_64_are_kept_too() {
        let mut open = Open::none(130);
        for index in [0, 63, 64, 129] {
            let (word, bit) = open.word(index).unwrap();
            *word |= bit;
        }
        assert!(open.contains(129) && !open.contains(128) && !open.contains(500));
        for index in [0, 63, 64] {
            open.close(index);
            assert!(!open.is_empty());
        }
        open.close(129);
        assert!(open.is_empty());
    }
}
