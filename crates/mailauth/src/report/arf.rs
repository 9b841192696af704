//! Abuse and failure reports that others send us (RFC 5965, RFC 6591, RFC 9991).
//!
//! A report is of one message, or of several alike. Reading is lenient: real reports have old
//! versions, missing fields and words of their own. Bounded by [`FIELDS_MAX`] and [`ORIGINAL_MAX`].

use std::net::IpAddr;

use posthaste_message::fields;

use super::line;
use super::mime::{self, Part};

/// Fields that are read; domains, URIs and recipients that are kept.
const FIELDS_MAX: usize = 200;
/// Octets of the reported message that are kept.
pub const ORIGINAL_MAX: usize = 64 * 1024;

/// A report.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Feedback {
    /// `abuse`, `auth-failure`, `fraud`, `not-spam`, `virus`, `other`, in lower case; others as
    /// they are.
    pub kind: String,
    /// The program that wrote it.
    pub user_agent: String,
    /// The version of the format: `1`, or older.
    pub version: String,
    /// How many messages it stands for.
    pub incidents: u64,
    /// Where the message came from.
    pub source: Option<IpAddr>,
    /// Its reverse-path, without brackets.
    pub mail_from: Option<String>,
    /// Its recipients, without brackets.
    pub recipients: Vec<String>,
    /// When it came, as it is written.
    pub arrival: Option<String>,
    /// The domains that it is about.
    pub domains: Vec<String>,
    /// The URIs that it is about.
    pub uris: Vec<String>,
    /// What the reporter found.
    pub authentication_results: Vec<String>,
    /// Of an `auth-failure`, which one: `adsp`, `bodyhash`, `dmarc`, `revoked`, `signature`, `spf`.
    pub failure: Option<String>,
    /// What was done with the message: `delivered`, `spam`, `policy`, `reject`, `other`.
    pub delivery: Option<String>,
    /// The mechanisms that gave no aligned pass (RFC 9991 §4).
    pub alignment: Option<String>,
    /// The `d=` of the signature.
    pub dkim_domain: Option<String>,
    /// Its `s=`.
    pub dkim_selector: Option<String>,
    /// The reported message or its header, cut at [`ORIGINAL_MAX`].
    pub original: Option<Vec<u8>>,
}

/// Reads the report in a mail; `None` when it has no part of that type.
#[must_use]
pub fn read(message: &[u8]) -> Option<Feedback> {
    of_parts(&mime::parts(message))
}

pub(super) fn of_parts(parts: &[Part<'_>]) -> Option<Feedback> {
    let report = parts
        .iter()
        .find(|part| part.kind == "message/feedback-report")?;
    let mut feedback = Feedback {
        incidents: 1,
        ..Feedback::default()
    };
    let octets = report.decode();
    for field in fields::split(octets.trim_ascii_start())
        .into_iter()
        .take(FIELDS_MAX)
    {
        let Some(name) = fields::name(field) else {
            continue;
        };
        let colon = field.iter().position(|&b| b == b':').unwrap_or_default();
        let value = String::from_utf8_lossy(field.get(colon + 1..).unwrap_or_default());
        let words: Vec<&str> = value.split_whitespace().collect();
        feedback.set(&name.to_ascii_lowercase(), line(&words.join(" ")));
    }
    let original = |part: &&Part<'_>| {
        matches!(
            part.kind.as_str(),
            "message/rfc822" | "text/rfc822-headers" | "message/rfc822-headers" | "message/global"
        )
    };
    feedback.original = parts.iter().find(original).map(|part| {
        let mut octets = part.decode();
        octets.truncate(ORIGINAL_MAX);
        octets
    });
    Some(feedback)
}

impl Feedback {
    fn set(&mut self, name: &[u8], value: String) {
        match name {
            b"feedback-type" => self.kind = value.to_ascii_lowercase(),
            b"user-agent" => self.user_agent = value,
            b"version" => self.version = value,
            b"incidents" => self.incidents = value.parse().unwrap_or(1),
            // Some add the name behind it.
            b"source-ip" => {
                let address = value.split([' ', '(']).next().unwrap_or_default();
                self.source = address.trim_matches(['[', ']']).parse().ok();
            }
            b"original-mail-from" => self.mail_from = Some(without_brackets(&value)),
            b"original-rcpt-to" => self.recipients.push(without_brackets(&value)),
            // Received-Date is its name in drafts.
            b"arrival-date" | b"received-date" => self.arrival = Some(value),
            b"reported-domain" => self.domains.push(value.to_ascii_lowercase()),
            b"reported-uri" => self.uris.push(value),
            b"authentication-results" => self.authentication_results.push(value),
            b"auth-failure" => self.failure = Some(value.to_ascii_lowercase()),
            b"delivery-result" => self.delivery = Some(value.to_ascii_lowercase()),
            b"identity-alignment" => self.alignment = Some(value.to_ascii_lowercase()),
            b"dkim-domain" => self.dkim_domain = Some(value.to_ascii_lowercase()),
            b"dkim-selector" => self.dkim_selector = Some(value),
            _ => {}
        }
    }
}

fn without_brackets(value: &str) -> String {
    let inner = value.strip_prefix('<').and_then(|v| v.strip_suffix('>'));
    inner.unwrap_or(value).to_owned()
}
