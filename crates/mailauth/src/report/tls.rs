//! TLS reports that others send us (RFC 8460 §4).
//!
//! Lenient in what may be missing, bounded in all that repeats. Writing them is not here.

use std::fmt;

use serde_json::Value;

use super::line;

/// Octets of a report.
const OCTETS_MAX: usize = 4 * 1024 * 1024;
/// Policies of one report, failures of one policy, lines of one policy, hosts of one policy.
const LIST_MAX: usize = 1_000;

/// A report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsReport {
    /// Who reports.
    pub organization: String,
    /// Whom to write to about it.
    pub contact: String,
    /// Its id.
    pub id: String,
    /// The start of the period, as it is written (RFC 3339).
    pub begin: String,
    /// Its end.
    pub end: String,
    /// What was seen, by policy.
    pub policies: Vec<TlsPolicy>,
}

/// What was seen under one policy (RFC 8460 §4.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsPolicy {
    /// `tlsa`, `sts` or `no-policy-found`; others as they are written.
    pub kind: String,
    /// The policy domain.
    pub domain: String,
    /// The lines of the policy.
    pub lines: Vec<String>,
    /// The mail exchangers it names.
    pub hosts: Vec<String>,
    /// Sessions that were well.
    pub successes: u64,
    /// Sessions that were not.
    pub failures: u64,
    /// What went wrong, and how often.
    pub details: Vec<TlsFailure>,
}

/// Sessions that failed alike (RFC 8460 §4.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFailure {
    /// The result type, for example `certificate-expired`.
    pub kind: String,
    /// The address it was sent from.
    pub sender: String,
    /// The mail exchanger.
    pub host: String,
    /// Its address.
    pub address: String,
    /// How often.
    pub sessions: u64,
    /// More about it, as the reporter's program says it.
    pub reason: String,
}

/// Why a report cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotTls {
    /// It is too large.
    TooLarge,
    /// Not JSON; the text says where.
    Json(String),
    /// A member that a report must have is not there.
    Missing(&'static str),
}

impl fmt::Display for NotTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotTls::TooLarge => write!(f, "it has more than {OCTETS_MAX} octets"),
            NotTls::Json(why) => write!(f, "not JSON: {why}"),
            NotTls::Missing(what) => write!(f, "it has no {what}"),
        }
    }
}

impl std::error::Error for NotTls {}

/// Reads the JSON of a report.
pub fn read(json: &[u8]) -> Result<TlsReport, NotTls> {
    if json.len() > OCTETS_MAX {
        return Err(NotTls::TooLarge);
    }
    // The parser bounds the depth by itself.
    let value: Value =
        serde_json::from_slice(json).map_err(|why| NotTls::Json(line(&why.to_string())))?;
    let policies = value.get("policies").and_then(Value::as_array);
    let policies = policies.ok_or(NotTls::Missing("policies"))?;
    let id = text(&value, "report-id");
    if id.is_empty() {
        return Err(NotTls::Missing("report-id"));
    }
    let period = value.get("date-range").unwrap_or(&Value::Null);
    Ok(TlsReport {
        organization: text(&value, "organization-name"),
        contact: text(&value, "contact-info"),
        id,
        begin: text(period, "start-datetime"),
        end: text(period, "end-datetime"),
        policies: policies.iter().take(LIST_MAX).map(policy).collect(),
    })
}

fn policy(value: &Value) -> TlsPolicy {
    let policy = value.get("policy").unwrap_or(&Value::Null);
    let summary = value.get("summary").unwrap_or(&Value::Null);
    let details = value.get("failure-details").and_then(Value::as_array);
    TlsPolicy {
        kind: text(policy, "policy-type"),
        domain: text(policy, "policy-domain"),
        lines: texts(policy, "policy-string"),
        hosts: texts(policy, "mx-host"),
        successes: number(summary, "total-successful-session-count"),
        failures: number(summary, "total-failure-session-count"),
        details: details
            .into_iter()
            .flatten()
            .take(LIST_MAX)
            .map(failure)
            .collect(),
    }
}

fn failure(value: &Value) -> TlsFailure {
    let reasons = ["failure-reason-code", "additional-information"].map(|name| text(value, name));
    let reasons = reasons.into_iter().filter(|text| !text.is_empty());
    TlsFailure {
        kind: text(value, "result-type"),
        sender: text(value, "sending-mta-ip"),
        host: text(value, "receiving-mx-hostname"),
        address: text(value, "receiving-ip"),
        sessions: number(value, "failed-session-count"),
        reason: reasons.collect::<Vec<_>>().join(" "),
    }
}

fn text(value: &Value, name: &str) -> String {
    line(value.get(name).and_then(Value::as_str).unwrap_or_default())
}

/// A list of texts, or the one text that some write instead.
fn texts(value: &Value, name: &str) -> Vec<String> {
    match value.get(name) {
        Some(Value::Array(items)) => {
            let texts = items.iter().filter_map(Value::as_str);
            texts.take(LIST_MAX).map(line).collect()
        }
        Some(Value::String(text)) => vec![line(text)],
        _ => Vec::new(),
    }
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_missing_is_empty_and_what_must_not_is_told() {
        let report = read(br#"{"report-id": "1\n2", "policies": [{}, 7]}"#).unwrap();
        assert_eq!((report.id.as_str(), report.policies.len()), ("1 2", 2));
        assert_eq!(read(b"{}"), Err(NotTls::Missing("policies")));
        assert_eq!(
            read(br#"{"policies": []}"#),
            Err(NotTls::Missing("report-id"))
        );
        let deep = b"[".repeat(100_000);
        assert!(matches!(read(&deep), Err(NotTls::Json(_))));
        assert_eq!(read(&vec![b' '; OCTETS_MAX + 1]), Err(NotTls::TooLarge));
    }
}
