//! Deliveries into mailboxes that nobody waits for any more.
//!
//! A job that hangs in a mail store cannot be stopped: it ends when the store answers. Until then
//! its letters are under way and nothing begins them again, and what it delivered in the end is
//! remembered for the next attempt, so that no mailbox gets a message twice.
//!
//! Invariant: a letter is under way from before its job is handed over until that job has ended or
//! was dropped. It does **not** outlive the server or its configuration.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use posthaste_queue::QueueId;

use super::maildir::Put;

/// Late deliveries that are remembered. The oldest are forgotten first.
const DELIVERED_MAX: usize = 10_000;

/// What is known of letters that were begun before.
#[derive(Default)]
pub(super) struct Late(Mutex<State>);

/// A recipient of a message, by index.
type Key = (QueueId, u32);

#[derive(Default)]
struct State {
    under_way: BTreeSet<Key>,
    delivered: BTreeSet<Key>,
}

/// What is known of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It may be begun.
    Nothing,
    /// Its job has not ended.
    UnderWay,
    /// Its job ended well after the attempt had been given up.
    Delivered,
}

impl Late {
    /// What is known of a recipient's letter.
    pub(super) fn known(&self, id: QueueId, recipient: u32) -> Known {
        let state = self.state();
        match (id, recipient) {
            key if state.under_way.contains(&key) => Known::UnderWay,
            key if state.delivered.contains(&key) => Known::Delivered,
            _ => Known::Nothing,
        }
    }

    /// These letters are under way until what is returned is dropped; it belongs to the job.
    pub(super) fn begin(self: &Arc<Self>, id: QueueId, recipients: &[u32]) -> UnderWay {
        let letters: Vec<Key> = recipients.iter().map(|r| (id, *r)).collect();
        self.state().under_way.extend(&letters);
        UnderWay {
            late: self.clone(),
            letters,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The letters of a job.
pub(super) struct UnderWay {
    late: Arc<Late>,
    letters: Vec<Key>,
}

impl UnderWay {
    /// Remembers what was delivered, since nobody is there to be told.
    pub(super) fn remember(&self, results: &[Put]) {
        let mut state = self.late.state();
        for (letter, put) in self.letters.iter().zip(results) {
            if matches!(put, Put::Done) {
                state.delivered.insert(*letter);
            }
        }
        while state.delivered.len() > DELIVERED_MAX {
            state.delivered.pop_first(); // ids are ordered by time
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.late.state();
        for letter in &self.letters {
            state.under_way.remove(letter);
        }
    }
}
