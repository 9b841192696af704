//! Compares what the DNS has with what it should have, one record after the other.
//!
//! Records are read by the code that judges the mail of others. What could not be looked up is
//! *unknown*, never right. This module does **not** print.

mod host;
mod sender;
mod transport;

use posthaste_world::Dns;
use posthaste_world::dns::{Data, Failure, Kind, Security};

use super::plan::{Plan, Record};

/// How much a record is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Without it mail does not come, or is refused elsewhere.
    Required,
    /// Without it some receivers trust our mail less.
    Recommended,
    /// Good to have.
    Optional,
}

impl Need {
    /// In one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Need::Required => "required",
            Need::Recommended => "recommended",
            Need::Optional => "optional",
        }
    }
}

/// How a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// There, and as it should be.
    Right,
    /// Not there.
    Missing,
    /// There, and not as it should be.
    Wrong,
    /// It could not be looked up.
    Unknown,
}

impl State {
    /// In one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            State::Right => "right",
            State::Missing => "missing",
            State::Wrong => "wrong",
            State::Unknown => "unknown",
        }
    }
}

/// A record, and how it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The record as it should be published.
    pub record: Record,
    /// How much it is needed.
    pub need: Need,
    /// How it is.
    pub state: State,
    /// What there is to say of it, one line each: printable ASCII.
    pub remarks: Vec<String>,
}

impl Finding {
    fn new(record: Record, need: Need) -> Self {
        Finding {
            record,
            need,
            state: State::Right,
            remarks: Vec::new(),
        }
    }

    fn is(mut self, state: State, why: impl Into<String>) -> Self {
        self.state = state;
        self.remark(why);
        self
    }

    fn missing(mut self) -> Self {
        self.state = State::Missing;
        self
    }

    fn unknown(self, failure: &Failure) -> Self {
        self.is(State::Unknown, failure.to_string())
    }

    /// Adds a line; text of others is made printable here.
    fn remark(&mut self, text: impl Into<String>) {
        let text = text.into();
        let safe: String = text
            .bytes()
            .flat_map(std::ascii::escape_default)
            .map(char::from)
            .collect();
        // Quotes need no escape on a line of their own.
        self.remarks
            .push(safe.replace("\\'", "'").replace("\\\"", "\""));
    }

    /// Says that its name is an alias, where that is allowed.
    fn alias(&mut self, canonical: &str) {
        if canonical != self.record.name {
            self.remark(format!("an alias (CNAME) leads to {canonical}"));
        }
    }

    /// Whether it has to be mended: what is missing only where it is needed, what is wrong always.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        match self.state {
            State::Right | State::Unknown => false,
            State::Missing => self.need != Need::Optional,
            State::Wrong => true,
        }
    }
}

/// Examines all records of a domain. `resolver` is the ordinary one: it alone can tell whether
/// answers are validated.
pub async fn examine(dns: &dyn Dns, resolver: &dyn Dns, plan: &Plan<'_>) -> Vec<Finding> {
    let (mut findings, addresses) = host::examine(dns, plan).await;
    findings.extend(sender::examine(dns, plan, &addresses).await);
    findings.extend(transport::examine(dns, resolver, plan).await);
    findings
}

/// What is at a name.
struct There {
    records: Vec<Data>,
    /// The name after all aliases.
    canonical: String,
    security: Security,
}

async fn look(dns: &dyn Dns, name: &str, kind: Kind) -> Result<There, Failure> {
    let answer = dns.query(name, kind).await?;
    Ok(There {
        records: answer.records().to_vec(),
        canonical: answer.canonical.clone(),
        security: answer.security,
    })
}

/// The one text at the finding's name that `is` of its kind, and the finding to go on with; or the
/// finding that is complete, when there is none or several, or the DNS does not say.
async fn only_text(
    dns: &dyn Dns,
    mut finding: Finding,
    is: impl Fn(&[u8]) -> bool,
) -> Result<(Finding, Vec<u8>), Finding> {
    let there = match look(dns, &finding.record.name, Kind::Txt).await {
        Ok(there) => there,
        Err(failure) => return Err(finding.unknown(&failure)),
    };
    finding.alias(&there.canonical);
    let texts = there.records.into_iter().filter_map(|data| match data {
        Data::Txt(text) if is(&text) => Some(text),
        _ => None,
    });
    let mut texts: Vec<_> = texts.collect();
    match (texts.pop(), texts.len() + 1) {
        (None, _) => Err(finding.missing()),
        (Some(text), 1) => Ok((finding, text)),
        (Some(_), n) => {
            let why = format!("there are {n} records: none counts");
            Err(finding.is(State::Wrong, why))
        }
    }
}

/// Whether a text begins with a version, such as `v=DMARC1`.
fn begins(version: &str) -> impl Fn(&[u8]) -> bool {
    move |text| {
        let head = text.get(..version.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(version.as_bytes()))
    }
}

/// The value of a tag in a text of `tag=value` parts.
fn tag<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = text.split(';').map(str::trim);
    parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}
