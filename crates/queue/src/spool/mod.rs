//! The spool: one append-only segment log with group commit, and files for large bodies.
//!
//! [`Store`] is the synchronous core: every call is a plain function over the disk door, so the
//! simulator crashes the code that ships. [`Spool`] is the asynchronous handle: drafts, a bounded
//! channel, and one writer that gathers what is waiting, writes once, syncs once, and wakes all.
//!
//! Invariants:
//! * what was answered with success is on stable storage; what was answered with an error does not
//!   come back;
//! * a change is durable whole or not at all;
//! * segments are written from the front, and a file whose sync failed is never synced again.
//!
//! The format stands in `docs/spool.md`. The spool does **not** know when or where to deliver.

mod batch;
mod budget;
mod change;
mod content;
mod draft;
mod encode;
mod fault;
mod frame;
pub(crate) mod handle;
mod housekeep;
mod index;
mod large;
mod prelude;
mod read;
mod record;
mod recover;
mod room;
mod scan;
mod segment;
mod sidecar;
mod store;
mod waiting;

use std::fmt;
use std::sync::Arc;

pub use change::{Body, Change, NewMessage, Settlement};
pub use content::{Content, Stored};
pub use draft::Draft;
pub use fault::{Fault, ReadError, WriteError};
pub use handle::Spool;
pub use large::LargeBody;
pub use prelude::{Edit, PRELUDE_MAX, Prelude};
pub use read::Reader;
pub use store::Store;
pub use waiting::{OpenRecipients, Waiting, WaitingRecipient};

/// Octets of a body that stands in its frame, at most; larger ones get a file of their own.
pub const INLINE_MAX: usize = 1 << 20;

/// Octets of one frame's payload at most.
pub const PAYLOAD_MAX: usize = 16 << 20;

/// Changes of one group at most.
pub const GROUP_MAX: usize = 1024;

/// Octets of one group at most, unless its only change is larger.
pub const GROUP_OCTETS: usize = 8 << 20;

/// What a spool goes by.
#[derive(Clone)]
pub struct Settings {
    /// Octets of a segment. Default 64 MiB; at least [`Settings::SEGMENT_MIN`].
    pub segment: u64,
    /// Octets that drafts may hold in memory together. Default 64 MiB.
    pub memory: usize,
    /// Octets of just accepted messages that are kept in memory. Default 32 MiB.
    pub cache: usize,
    /// Empty segments that are kept to be used again, at most. Default 4.
    pub spare: usize,
    /// Told what the operator must know; called by the writer, must not block.
    pub alarm: Arc<dyn Fn(&Fault) + Send + Sync>,
}

impl Settings {
    /// The smallest segment: it holds the largest frame.
    pub const SEGMENT_MIN: u64 = 64 << 10;
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            segment: 64 << 20,
            memory: 64 << 20,
            cache: 32 << 20,
            spare: 4,
            alarm: Arc::new(|_| {}),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("segment", &self.segment)
            .field("memory", &self.memory)
            .field("cache", &self.cache)
            .field("spare", &self.spare)
            .finish_non_exhaustive()
    }
}

/// What was found when a spool was opened.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Queued messages, by queue id.
    pub messages: Vec<Waiting>,
    /// What was damaged, and where it was set aside.
    pub faults: Vec<Fault>,
    /// Octets of log that were read frame by frame.
    pub scanned: u64,
    /// Large bodies without a message that were removed.
    pub orphans: u64,
    /// Unfinished frames that were set aside: nobody was promised what they hold, unless the disk
    /// lost what it had synced.
    pub torn: u64,
}
