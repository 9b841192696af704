//! A queued message as it is read.

use std::io;

use bytes::Bytes;

use super::prelude::Prelude;
use crate::envelope::Envelope;

/// A queued message: its envelope as it stands now, and where its octets are.
#[derive(Clone, Debug)]
pub struct Stored {
    envelope: Envelope,
    prelude: Prelude,
}

impl Stored {
    /// The envelope, with all progress made so far.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }
    /// Octets of the content, trace fields included; a few more when filters changed fields.
    #[must_use]
    pub fn size(&self) -> u64 {
        todo!()
    }
    /// The message's octets, prelude applied, piece by piece from the start.
    #[must_use]
    pub fn content(&self) -> Content {
        todo!()
    }
}

/// The octets of a message, prelude applied. Small messages come from memory in a piece or two,
/// without a copy; large ones from disk.
pub struct Content {
}

impl Content {
    /// The next piece, never empty; `None` at the end. Disk reads happen on a pool.
    ///
    /// # Errors
    /// When the disk fails, or the message on it is damaged.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        todo!()
    }
    /// As [`Content::next`], reading on this thread: for jobs on a pool, and for tests.
    ///
    /// # Errors
    /// When the disk fails, or the message on it is damaged.
    pub fn next_blocking(&mut self) -> io::Result<Option<Bytes>> {
        todo!()
    }
}
