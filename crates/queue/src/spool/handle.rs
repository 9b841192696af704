//! The asynchronous handle and the writer's loop.

use std::path::Path;
use std::sync::Arc;

use posthaste_world::World;

use super::change::Settlement;
use super::content::Stored;
use super::draft::Draft;
use super::fault::{Fault, ReadError, WriteError};
use super::prelude::Prelude;
use super::{Recovery, Settings, Waiting};
use crate::envelope::{Envelope, Recipient};
use crate::id::QueueId;
use crate::receipt::Receipt;

/// Told of new messages, in order, after they are durable and before anybody is woken.
pub type Observer = Box<dyn Fn(&Waiting) + Send + Sync>;

/// What makes a scheduling key of a recipient.
pub type Key = Arc<dyn Fn(&Recipient) -> String + Send + Sync>;

/// The asynchronous end of a spool. Dropping the last one closes it.
#[derive(Debug)]
pub struct Spool {}

impl Spool {
    /// Opens the spool in `dir` on this thread (it may take seconds), and starts its writer.
    ///
    /// # Errors
    /// See [`Store::open`](super::Store::open).
    pub fn open(
        world: &World,
        dir: &Path,
        settings: Settings,
        key: Key,
        observer: Observer,
    ) -> Result<(Spool, Recovery), Fault> {
        let _ = (world, dir, settings, key, observer);
        todo!()
    }
    /// Starts a message.
    #[must_use]
    pub fn draft(&self) -> Draft {
        todo!()
    }
    /// Makes a message durable.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing of the message comes back then.
    pub async fn commit(
        &self,
        draft: Draft,
        envelope: Envelope,
        prelude: Prelude,
    ) -> Result<Receipt, WriteError> {
        let _ = (draft, envelope, prelude);
        todo!()
    }
    /// Makes outcomes and their reports durable, together.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn settle(&self, settlement: Settlement) -> Result<(), WriteError> {
        let _ = settlement;
        todo!()
    }
    /// Reads a message; a just accepted one from memory.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(&self, id: QueueId) -> Result<Stored, ReadError> {
        let _ = id;
        todo!()
    }
    /// Whether new messages would be refused now because the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        todo!()
    }
    /// Writes what is waiting, seals the log and releases the lock. What comes later is refused
    /// with [`WriteError::Closed`].
    pub async fn close(&self) {
        todo!()
    }
}
