//! What a group may contain: new messages, and settlements of queued ones.

use bytes::Bytes;

use super::INLINE_MAX;
use super::large::LargeBody;
use super::prelude::Prelude;
use super::record::Reference;
use crate::envelope::{Envelope, Progress};
use crate::id::QueueId;

/// One change; made whole or not at all.
#[derive(Debug)]
pub enum Change {
    /// A new message.
    Commit(Box<NewMessage>),
    /// Outcomes of a queued message, with the reports that they owe.
    Settle(Settlement),
}

/// A message to be kept.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// To whom, and what for.
    pub envelope: Envelope,
    /// What we put in front of, or change in, the received octets.
    pub prelude: Prelude,
    /// The received octets.
    pub body: Body,
}

/// The octets of a message as they were received.
#[derive(Clone, Debug)]
pub enum Body {
    /// In the frame; at most [`super::INLINE_MAX`].
    Inline(Bytes),
    /// In a file of their own, synced before.
    Large(LargeBody),
}

/// New progress of some recipients of a message, and the reports that go with it: durable together
/// or not at all. When no recipient is left open, the message ends.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The message.
    pub id: QueueId,
    /// Recipients by index, with all of their new progress.
    pub updates: Vec<(u32, Progress)>,
    /// Reports. One whose id is queued already is left out: it was made before.
    pub reports: Vec<NewMessage>,
}

impl Change {
    /// The message that it makes or changes.
    #[must_use]
    pub fn id(&self) -> QueueId {
        match self {
            Change::Commit(new) => new.envelope.id,
            Change::Settle(settlement) => settlement.id,
        }
    }
}

impl Body {
    /// Octets.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Body::Inline(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Body::Large(large) => large.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn fits(&self) -> bool {
        matches!(self, Body::Large(_)) || self.len() <= INLINE_MAX as u64
    }

    pub(super) fn reference(&self) -> Option<Reference> {
        match self {
            Body::Inline(_) => None,
            Body::Large(large) => Some(large.reference()),
        }
    }
}
