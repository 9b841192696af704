//! The synchronous core.

use std::path::Path;
use std::sync::Arc;

use posthaste_world::{Disk, Random};

use super::change::Change;
use super::content::Stored;
use super::fault::{Fault, ReadError, WriteError};
use super::large::LargeBody;
use super::{Recovery, Settings};
use crate::envelope::Recipient;
use crate::id::QueueId;

/// The writing end of a spool; there is one.
pub struct Store {
    reader: Reader,
}

/// The reading end of a spool; clones share it.
#[derive(Clone)]
pub struct Reader {
}

impl Store {
    /// Opens the spool in `dir`, making it when it is missing. `key` is asked once for each open
    /// recipient.
    ///
    /// # Errors
    /// When another process has the spool, the folder cannot be used, or a newer version wrote it.
    pub fn open(
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        dir: &Path,
        settings: &Settings,
        key: &dyn Fn(&Recipient) -> String,
    ) -> Result<(Store, Recovery), Fault> {
        let _ = (disk, random, dir, settings, key);
        todo!()
    }

    /// Makes changes durable: one write, one sync. Each change has its own result; those that are
    /// [`Ok`] are on stable storage, the others are not there now or after any crash. Changes are
    /// applied in order.
    pub fn write(&mut self, group: &[Change]) -> Vec<Result<(), WriteError>> {
        let _ = group;
        todo!()
    }

    /// One bounded step of housekeeping: sidecars, reclaiming space, removing files. Says whether
    /// there is more to do.
    pub fn housekeep(&mut self) -> bool {
        todo!()
    }

    /// Whether new messages are refused because the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        todo!()
    }

    /// Writes a body to a synced file of its own.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn large_body(&self, octets: &[u8]) -> Result<LargeBody, WriteError> {
        let _ = octets;
        todo!()
    }

    /// The reading end.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, id: QueueId) -> Result<Stored, ReadError> {
        self.reader.read(id)
    }

    /// Seals what is open, so that the next start reads little.
    pub fn close(self) {
        todo!()
    }
}

impl Reader {
    /// Reads a message. Blocks on the disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, id: QueueId) -> Result<Stored, ReadError> {
        let _ = id;
        todo!()
    }

    /// Messages now.
    #[must_use]
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
