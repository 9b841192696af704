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
//!       / ["id="] queue id
//! ```
//!
//! Addresses and domains compare without case. `to=`, `domain=` and `state=` must hold for the same
//! recipient. This module does **not** know the queue: the caller describes a message to it as
//! [`Subject`].

use std::fmt;
use std::time::Duration;

use crate::config::text;
use crate::config::value::parse_duration;

/// Characters of a queue id.
const ID_LEN: usize = 26;

/// The grammar in a few lines, for help texts and errors.
pub const GRAMMAR: &str = "\
FILTER is one or more of these, all of which must hold:
  id=QUEUE-ID          the message with this queue id; `id=` may be left out
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
    From(String),
    To(String),
    Domain(String),
    Below(String),
    State(State),
    Older(Duration),
    Younger(Duration),
}

impl Filter {
    /// Reads the arguments of a command. The word `and` may stand between terms.
    ///
    /// # Errors
    /// [`BadFilter`] about the first argument that is no term.
    pub fn parse<S: AsRef<str>>(arguments: &[S]) -> Result<Self, BadFilter> {
        let words = arguments.iter().flat_map(|a| a.as_ref().split_whitespace());
        let terms = words.filter(|w| !w.eq_ignore_ascii_case("and")).map(term);
        Ok(Filter {
            terms: terms.collect::<Result<_, _>>()?,
        })
    }

    /// Whether it holds for every message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The queue id, when the filter names one; it is all that need be looked at then.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.terms.iter().find_map(|t| match t {
            Term::Id(id) => Some(id.as_str()),
            _ => None,
        })
    }

    /// Whether the message satisfies every term.
    #[must_use]
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        let message = self.terms.iter().all(|t| t.holds_for_message(subject));
        let narrowed = self.terms.iter().any(Term::is_about_recipients);
        message && (!narrowed || subject.recipients.iter().any(|r| self.selects(r)))
    }

    /// Whether a recipient satisfies every term that is about recipients. Of a message that
    /// [matches](Filter::matches), these are the ones that a command is about.
    #[must_use]
    pub fn selects(&self, recipient: &SubjectRecipient<'_>) -> bool {
        self.terms.iter().all(|t| t.holds_for_recipient(recipient))
    }
}

impl State {
    /// All states.
    pub const ALL: [State; 3] = [State::Queued, State::Deferred, State::Held];

    /// Its name in filters and listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Deferred => "deferred",
            State::Held => "held",
        }
    }
}

impl fmt::Display for BadFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}\n\n{GRAMMAR}", self.cause)
    }
}

impl std::error::Error for BadFilter {}

impl Term {
    fn is_about_recipients(&self) -> bool {
        matches!(
            self,
            Term::To(_) | Term::Domain(_) | Term::Below(_) | Term::State(_)
        )
    }

    fn holds_for_message(&self, subject: &Subject<'_>) -> bool {
        match self {
            Term::Id(id) => subject.id.eq_ignore_ascii_case(id),
            Term::From(from) => subject.from.eq_ignore_ascii_case(from),
            Term::Older(age) => subject.age > *age,
            Term::Younger(age) => subject.age < *age,
            Term::To(_) | Term::Domain(_) | Term::Below(_) | Term::State(_) => true,
        }
    }

    fn holds_for_recipient(&self, r: &SubjectRecipient<'_>) -> bool {
        let domain = r.address.rsplit_once('@').map_or("", |(_, domain)| domain);
        match self {
            Term::To(to) => {
                r.original.eq_ignore_ascii_case(to) || r.address.eq_ignore_ascii_case(to)
            }
            Term::Domain(name) => domain.eq_ignore_ascii_case(name),
            Term::Below(name) => is_below(domain, name),
            Term::State(state) => r.state == *state,
            Term::Id(_) | Term::From(_) | Term::Older(_) | Term::Younger(_) => true,
        }
    }
}

fn is_below(domain: &str, above: &str) -> bool {
    let dot = domain.len().checked_sub(above.len() + 1);
    dot.filter(|at| *at > 0)
        .and_then(|at| domain.split_at_checked(at))
        .is_some_and(|(_, rest)| {
            rest.strip_prefix('.')
                .is_some_and(|tail| tail.eq_ignore_ascii_case(above))
        })
}

fn term(word: &str) -> Result<Term, BadFilter> {
    let bad = |cause: String| Err(BadFilter { cause });
    let Some(sign) = word.find(['=', '>', '<']) else {
        if word.len() == ID_LEN && word.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Ok(Term::Id(word.to_string()));
        }
        return bad(format!("`{word}` is not a filter: there is no `=` in it"));
    };
    let (name, rest) = word.split_at(sign);
    let (sign, value) = rest.split_at(1);
    if value.is_empty() {
        return bad(format!(
            "`{word}` is not a filter: nothing follows the `{sign}`"
        ));
    }
    match (name, sign) {
        ("id", "=") => Ok(Term::Id(value.to_string())),
        ("from", "=") => Ok(Term::From(unbracketed(value).to_string())),
        ("to", "=") => Ok(Term::To(unbracketed(value).to_string())),
        ("domain", "=") => Ok(match value.strip_prefix("*.") {
            Some(above) => Term::Below(domain(above)),
            None => Term::Domain(domain(value)),
        }),
        ("state", "=") => match State::ALL.into_iter().find(|s| s.name() == value) {
            Some(state) => Ok(Term::State(state)),
            None => bad(format!("`{value}` is not a state")),
        },
        ("age", ">" | "<") => match parse_duration(value) {
            Some(age) if sign == ">" => Ok(Term::Older(age)),
            Some(age) => Ok(Term::Younger(age)),
            None => bad(format!("`{value}` is not a duration")),
        },
        ("age", _) => bad(format!(
            "`{word}` is not a filter: an age is compared with > or <"
        )),
        ("id" | "from" | "to" | "domain" | "state", _) => bad(format!(
            "`{word}` is not a filter: only an age is compared with {sign}"
        )),
        _ => bad(format!("`{word}` is not a filter: there is no `{name}`")),
    }
}

fn unbracketed(value: &str) -> &str {
    value
        .strip_prefix('<')
        .and_then(|v| v.strip_suffix('>'))
        .unwrap_or(value)
}

/// A domain as the queue has it: A-labels.
fn domain(value: &str) -> String {
    text::domain_name(value).map_or_else(|_| value.to_string(), |name| name.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Filter, State, Subject, SubjectRecipient};

    const RECIPIENTS: &[SubjectRecipient<'_>] = &[
        SubjectRecipient {
            original: "Team@our.example",
            address: "bob@example.net",
            state: State::Deferred,
        },
        SubjectRecipient {
            original: "x@a.corp.example",
            address: "x@a.corp.example",
            state: State::Held,
        },
    ];

    fn holds(terms: &[&str]) -> bool {
        Filter::parse(terms).unwrap().matches(&Subject {
            id: "01hzy",
            from: "carol@example.org",
            age: Duration::from_secs(7_200),
            recipients: RECIPIENTS,
        })
    }

    #[test]
    fn every_term_must_hold() {
        assert!(holds(&[]));
        assert!(holds(&[
            "id=01HZY",
            "from=<carol@EXAMPLE.org>",
            "age>1h",
            "age<3h"
        ]));
        assert!(holds(&["from=carol@example.org and state=held"]));
        assert!(!holds(&["id=01hzy", "age>2h"]));
        assert!(!holds(&["01hzy0123456789abcdefghjkm"]));
        assert!(!holds(&["from=<>"]));
    }

    #[test]
    fn to_is_the_original_or_the_final_address() {
        assert!(holds(&["to=team@our.example"]) && holds(&["to=<bob@example.net>"]));
        assert!(!holds(&["to=bob@our.example"]));
    }

    #[test]
    fn terms_about_recipients_hold_for_the_same_one() {
        assert!(holds(&["domain=example.net", "state=deferred"]));
        assert!(!holds(&["domain=example.net", "state=held"]));
    }

    #[test]
    fn a_starred_domain_means_those_below_it() {
        assert!(holds(&["domain=*.corp.example"]) && holds(&["domain=a.corp.example"]));
        assert!(!holds(&["domain=*.a.corp.example"]) && !holds(&["domain=corp.example"]));
        assert!(!holds(&["domain=*.orp.example"]));
    }

    #[test]
    fn errors_say_what_is_wrong_and_explain_the_grammar() {
        for (bad, why) in [
            ("alice@example.org", "no `=`"),
            ("sender=a@b", "no `sender`"),
            ("state=frozen", "not a state"),
            ("age>soon", "not a duration"),
            ("age=1h", "compared with > or <"),
            ("from>a", "only an age"),
            ("id=", "nothing follows"),
        ] {
            let error = Filter::parse(&[bad]).unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains("age>DURATION"),
                "{bad}: {error}"
            );
        }
    }
}
