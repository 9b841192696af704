//! What a schedule needs to know of a queued message.
//!
//! Start-up makes one for every message at once, so they are small. They do **not** hold addresses.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use posthaste_world::Timestamp;

use crate::envelope::{Envelope, Progress, Recipient};
use crate::id::QueueId;
use crate::schedule::Wishes;

/// A queued message as a schedule needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Its queue id.
    pub id: QueueId,
    /// When its age begins to count.
    pub begins: Timestamp,
    /// Whether its reverse-path is null.
    pub report: bool,
    /// What its sender wants of the schedule.
    pub wishes: Wishes,
    /// Its open recipients.
    pub recipients: OpenRecipients,
}

/// An open recipient as a schedule needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaitingRecipient {
    /// Its index within the envelope.
    pub index: u32,
    /// What the caller's key function made of it.
    pub destination: Arc<str>,
    /// No attempt before this.
    pub not_before: Timestamp,
    /// Attempts so far.
    pub attempts: u16,
    /// Held until released.
    pub held: bool,
    /// A delay notice was queued.
    pub noticed: bool,
}

/// The open recipients of a message. Most messages have one: no allocation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenRecipients(List);

#[derive(Clone, PartialEq, Eq, Debug)]
enum List {
    One(WaitingRecipient),
    Many(Vec<WaitingRecipient>),
}

impl FromIterator<WaitingRecipient> for OpenRecipients {
    fn from_iter<I: IntoIterator<Item = WaitingRecipient>>(recipients: I) -> Self {
        let mut recipients = recipients.into_iter();
        match (recipients.next(), recipients.next()) {
            (Some(one), None) => OpenRecipients(List::One(one)),
            (first, second) => {
                let head = first.into_iter().chain(second);
                OpenRecipients(List::Many(head.chain(recipients).collect()))
            }
        }
    }
}

impl Deref for OpenRecipients {
    type Target = [WaitingRecipient];

    fn deref(&self) -> &[WaitingRecipient] {
        match &self.0 {
            List::One(one) => std::slice::from_ref(one),
            List::Many(many) => many,
        }
    }
}

impl DerefMut for OpenRecipients {
    fn deref_mut(&mut self) -> &mut [WaitingRecipient] {
        match &mut self.0 {
            List::One(one) => std::slice::from_mut(one),
            List::Many(many) => many,
        }
    }
}

impl Waiting {
    /// What a schedule needs of an envelope; `name` makes the scheduling key.
    pub(super) fn of(envelope: &Envelope, name: &mut dyn FnMut(&Recipient) -> Arc<str>) -> Waiting {
        let recipients = envelope.open().map(|(index, recipient)| {
            let progress = &recipient.progress;
            WaitingRecipient {
                index,
                destination: name(recipient),
                not_before: progress.not_before,
                attempts: few(progress.attempts),
                held: progress.held,
                noticed: progress.noticed,
            }
        });
        Waiting {
            id: envelope.id,
            begins: envelope.message.begins(),
            report: envelope.message.reverse_path.is_null(),
            wishes: Wishes::of(&envelope.message),
            recipients: recipients.collect(),
        }
    }

    /// Takes over new progress of a recipient.
    pub(super) fn update(&mut self, index: u32, progress: &Progress) {
        if progress.state.is_final() {
            let open = self.recipients.iter().filter(|r| r.index != index);
            self.recipients = open.cloned().collect();
        } else if let Some(r) = self.recipients.iter_mut().find(|r| r.index == index) {
            r.not_before = progress.not_before;
            r.attempts = few(progress.attempts);
            r.held = progress.held;
            r.noticed = progress.noticed;
        }
    }
}

fn few(attempts: u32) -> u16 {
    u16::try_from(attempts).unwrap_or(u16::MAX)
}
