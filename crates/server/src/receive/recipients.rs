//! The recipients of a message being made: everybody whom its forward-paths mean, each once.
//!
//! It is bounded by what an envelope may hold, so that lists that name lists cost a peer's
//! transaction and not our memory. It does **not** decide who may be a recipient.

use std::collections::BTreeSet;

use posthaste_queue::envelope::{RECIPIENTS_MAX, Recipient};
use posthaste_smtp::address::{ForwardPath, Mailbox};

use crate::lookup::Final;

/// Recipients gathered so far.
#[derive(Default)]
pub struct Recipients {
    list: Vec<Recipient>,
    seen: BTreeSet<Mailbox>,
    /// The forward-path, while there was only one.
    only: Option<ForwardPath>,
    given: usize,
}

/// The forward-path means more recipients than a message may have; none of them was added.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

impl Recipients {
    /// Adds whom `given` means. An address that is there already is left out (RFC 5321 §3.9).
    ///
    /// # Errors
    /// [`TooMany`] for one message.
    pub fn add(&mut self, given: &ForwardPath, finals: Vec<Final>) -> Result<(), TooMany> {
        let new = |f: &&Final| !self.seen.contains(&f.address);
        if self.list.len() + finals.iter().filter(new).count() > RECIPIENTS_MAX {
            return Err(TooMany);
        }
        for target in finals {
            if !self.seen.insert(target.address.clone()) {
                continue;
            }
            let original = (given.mailbox() != Some(&target.address)).then(|| given.clone());
            let mut recipient = Recipient::new(target.address);
            recipient.original = original;
            recipient.alias = target.alias;
            recipient.progress.held = target.hold;
            self.list.push(recipient);
        }
        self.given += 1;
        self.only = (self.given == 1).then(|| given.clone());
        Ok(())
    }

    /// The forward-path, when exactly one was given; only then may a trace field name it.
    #[must_use]
    pub fn only(&self) -> Option<&ForwardPath> {
        self.only.as_ref()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them, for an envelope.
    #[must_use]
    pub fn into_list(self) -> Vec<Recipient> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use posthaste_smtp::address::Utf8;

    use super::*;

    fn path(text: &str) -> ForwardPath {
        ForwardPath::Mailbox(Mailbox::parse(text, Utf8::Refused).unwrap())
    }

    fn list(name: usize, of: usize) -> Vec<Final> {
        let member = |i| Mailbox::parse(&format!("m{i}@l{name}.example"), Utf8::Refused).unwrap();
        let target = |i| Final {
            address: member(i),
            alias: None,
            hold: false,
        };
        (0..of).map(target).collect()
    }

    #[test]
    fn the_same_list_given_often_is_there_once() {
        let mut recipients = Recipients::default();
        for _ in 0..1_000 {
            recipients
                .add(&path("list@l1.example"), list(1, 900))
                .unwrap();
        }
        assert_eq!(recipients.only(), None);
        assert_eq!(recipients.into_list().len(), 900);
    }

    #[test]
    fn more_than_an_envelope_holds_is_refused_and_changes_nothing() {
        let mut recipients = Recipients::default();
        for name in 0..10 {
            recipients
                .add(&path("list@x.example"), list(name, 1_000))
                .unwrap();
        }
        assert_eq!(
            recipients.add(&path("list@x.example"), list(10, 1)),
            Err(TooMany)
        );
        assert_eq!(
            recipients.add(&path("list@x.example"), list(9, 1_000)),
            Ok(())
        );
        assert_eq!(recipients.into_list().len(), RECIPIENTS_MAX);
    }
}
