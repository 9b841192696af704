//! FILTER: which messages a queue command is about.
//!
//! One term an argument, all of which must hold ("and"):
//!
//! ```text
//! term  = "from=" mailbox-or-"<>"      whole reverse-path
//!       / "to=" mailbox                a recipient's original or final address
//!       / "domain=" domain             a recipient's domain; "*.example.org" for those below
//!       / "state=" state               a recipient's state
//!       / "age" (">" / "<") duration   time since the message was accepted: 90s 15m 1h 5d 1w
//!       / "id=" queue id
//! ```
//!
//! Addresses and domains compare without case. `from=`, `to=`, `domain=` and `state=` may be
//! narrowed by none of the others: `to=` and `state=` must hold for the same recipient. This module
//! does **not** know the queue: the caller describes a message to it as [`Subject`].

use std::fmt;
use std::time::Duration;

/// The grammar in a few lines, for help texts and errors.
pub const GRAMMAR: &str = "\
FILTER is one or more of these, all of which must hold:
  id=QUEUE-ID          the message with this queue id
  from=ADDRESS         its reverse-path; from=<> for reports
  to=ADDRESS           one of its recipients
  domain=DOMAIN        a recipient's domain; domain=*.example.org for those below
  state=STATE          a recipient's state: queued, deferred or held
  age>DURATION         accepted longer ago than 90s, 15m, 1h, 5d or 1w
  age<DURATION         accepted more recently than that
Quote age>1h for the shell: 'age>1h'.";

/// What a message must satisfy; the empty filter holds for every message.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Filter {
    terms: Vec<Term>,
}

/// A recipient's state, as filters and `queue list` name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum State {
    /// Not tried yet, or being tried.
    Queued,
    /// Tried; it will be tried again.
    Deferred,
    /// Kept until the operator releases it.
    Held,
}

/// What a filter looks at in a message.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// Its queue id.
    pub id: &'a str,
    /// Its reverse-path without brackets; "" for the null reverse-path.
    pub from: &'a str,
    /// Time since it was accepted.
    pub age: Duration,
    /// Its recipients that are not settled yet.
    pub recipients: &'a [SubjectRecipient<'a>],
}

/// What a filter looks at in a recipient.
#[derive(Clone, Debug)]
pub struct SubjectRecipient<'a> {
    /// The address as it was given at RCPT.
    pub original: &'a str,
    /// The address after expansion.
    pub address: &'a str,
    /// Its state.
    pub state: State,
}

/// An argument is no filter term. The display explains the grammar.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadFilter {
    /// What is wrong.
    pub cause: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Term {
    Id(String),
}

impl Filter {
    /// Reads the arguments of a command.
    ///
    /// # Errors
    /// [`BadFilter`] about the first argument that is no term.
    pub fn parse<S: AsRef<str>>(_arguments: &[S]) -> Result<Self, BadFilter> {
        todo!()
    }

    /// Whether the message satisfies every term.
    #[must_use]
    pub fn matches(&self, _subject: &Subject<'_>) -> bool {
        todo!()
    }
}
