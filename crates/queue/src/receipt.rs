//! The receipt: proof that a message is on stable storage.
//!
//! Only the spool's writer makes one, after the sync that covers the message's frame. It is the
//! only thing a positive reply to the final dot can be made from, and this file is the only caller
//! of [`Accepted::promise`]. It does **not** say anything about delivery.

use posthaste_smtp::server::Accepted;

use crate::id::QueueId;

/// Proof that a message is on stable storage.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a promise was made durable: tell the peer"]
pub struct Receipt {
    id: QueueId,
}

impl Receipt {
    /// For the writer alone, after the sync.
    pub(crate) fn of(id: QueueId) -> Self {
        Receipt { id }
    }

    /// The message's queue id.
    #[must_use]
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// The positive reply to the final dot (RFC 5321 §6.1: from here on we are responsible).
    #[must_use]
    pub fn accepted(self) -> Accepted {
        Accepted::promise(format!("queued as {}", self.id))
    }
}
