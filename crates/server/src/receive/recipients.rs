//! The recipients of a message being made: everybody whom its forward-paths mean, each once.
//!
//! It is bounded by what an envelope may hold, so that lists that name lists cost a peer's
//! transaction and not our memory. What a sender wants to hear of an alias (RFC 3461 §5.2.7): one
//! that leads to one address hands the wish on as it is; one that leads to several is itself what
//! is reported as `expanded` when success was asked for, and those behind it are not asked to
//! report success. In both cases `ORCPT` is what the sender wrote, or else the alias.
//!
//! It does **not** decide who may be a recipient.

use std::collections::BTreeSet;

use posthaste_message::xtext;
use posthaste_queue::envelope::{Notify, RECIPIENTS_MAX, Recipient};
use posthaste_smtp::address::{ForwardPath, Mailbox};
use posthaste_smtp::server::Rcpt;

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
    /// Adds whom `rcpt` means. An address that is there already is left out (RFC 5321 §3.9), and
    /// what was wished for it first holds.
    ///
    /// # Errors
    /// [`TooMany`] for one message.
    pub fn add(&mut self, rcpt: &Rcpt, finals: Vec<Final>) -> Result<(), TooMany> {
        let given = &rcpt.forward_path;
        let new = |f: &&Final| !self.seen.contains(&f.address);
        if self.list.len() + finals.iter().filter(new).count() > RECIPIENTS_MAX {
            return Err(TooMany);
        }
        let (notify, mut expansion_owed) = wish(rcpt.notify, finals.len());
        for target in finals {
            if !self.seen.insert(target.address.clone()) {
                continue;
            }
            let original = (given.mailbox() != Some(&target.address)).then(|| given.clone());
            let mut recipient = Recipient::new(target.address);
            recipient.original = original;
            recipient.notify = notify;
            recipient.expansion_owed = std::mem::take(&mut expansion_owed);
            recipient.orcpt = rcpt.original_recipient.as_ref().map(|o| o.as_str().into());
            if recipient.orcpt.is_none() {
                recipient.orcpt = target.alias.as_ref().map(original_recipient);
            }
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

/// What those behind a forward-path are asked to report, and whether its expansion is reported.
fn wish(notify: Option<Notify>, finals: usize) -> (Option<Notify>, bool) {
    match notify {
        Some(notify) if finals > 1 && notify.success => {
            let rest = Notify {
                success: false,
                ..notify
            };
            (Some(rest), true)
        }
        notify => (notify, false),
    }
}

/// `ORCPT` for an address (RFC 3461 §4.2, RFC 6533 §3).
fn original_recipient(address: &Mailbox) -> Box<str> {
    let text = address.to_string();
    match text.is_ascii() {
        true => format!("rfc822;{}", xtext::encode(text.as_bytes())).into(),
        false => format!("utf-8;{}", escaped(&text)).into(),
    }
}

/// An address in the ASCII form of RFC 6533 §3 (`utf-8-addr-xtext`).
fn escaped(address: &str) -> String {
    let escape = |c: char| match c {
        '!'..='~' if !matches!(c, '+' | '=' | '\\') => c.to_string(),
        c => format!("\\x{{{:02X}}}", u32::from(c)),
    };
    address.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use posthaste_smtp::address::Utf8;
    use posthaste_smtp::dsn::OriginalRecipient;

    use super::*;

    fn path(text: &str) -> Rcpt {
        Rcpt {
            forward_path: ForwardPath::Mailbox(Mailbox::parse(text, Utf8::Refused).unwrap()),
            notify: None,
            original_recipient: None,
        }
    }

    fn asked(notify: &str, orcpt: Option<&str>) -> Rcpt {
        let parse = |orcpt| OriginalRecipient::parse(orcpt, Utf8::Refused);
        Rcpt {
            notify: Notify::parse(notify),
            original_recipient: orcpt.and_then(parse),
            ..path("list@x.example")
        }
    }

    fn behind(alias: &str, of: usize) -> Vec<Final> {
        let alias = Mailbox::parse(alias, Utf8::Allowed).unwrap();
        let aliased = |f| Final {
            alias: Some(alias.clone()),
            ..f
        };
        list(1, of).into_iter().map(aliased).collect()
    }

    #[test]
    fn an_alias_for_one_hands_on_what_the_sender_wants() {
        let mut recipients = Recipients::default();
        let rcpt = asked("SUCCESS,DELAY", Some("rfc822;old@y.example"));
        recipients.add(&rcpt, behind("list@x.example", 1)).unwrap();
        let one = recipients.into_list().remove(0);
        assert_eq!(one.notify, rcpt.notify);
        assert_eq!(one.orcpt.as_deref(), Some("rfc822;old@y.example"));
        assert!(!one.expansion_owed);
    }

    #[test]
    fn an_alias_for_several_reports_that_it_was_expanded_and_no_success() {
        for (notify, rest) in [("SUCCESS,FAILURE", "FAILURE"), ("SUCCESS", "NEVER")] {
            let mut recipients = Recipients::default();
            let rcpt = asked(notify, None);
            recipients.add(&rcpt, behind("list@x.example", 3)).unwrap();
            let all = recipients.into_list();
            let owed: Vec<_> = all.iter().map(|r| r.expansion_owed).collect();
            assert_eq!(owed, [true, false, false]);
            for one in all {
                assert_eq!(one.notify.unwrap().to_string(), rest);
                assert_eq!(one.orcpt.as_deref(), Some("rfc822;list@x.example"));
            }
        }
        let mut recipients = Recipients::default();
        let rcpt = asked("FAILURE", None);
        recipients.add(&rcpt, behind("l+é@x.example", 2)).unwrap();
        let one = recipients.into_list().remove(0);
        assert_eq!((one.notify, one.expansion_owed), (rcpt.notify, false));
        let orcpt = one.orcpt.unwrap();
        assert_eq!(&*orcpt, "utf-8;l\\x{2B}\\x{E9}@x.example");
        let parsed = OriginalRecipient::parse(&orcpt, Utf8::Refused).unwrap();
        assert_eq!(parsed.address(), "l+é@x.example");
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
