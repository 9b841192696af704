//! Failure reports (RFC 9991, RFC 6591), written.
//!
//! Of the message nothing but [`FIELDS`] of its header leaves us: no recipient, no body, no trace.
//! They are for owners who ask for them, and nobody has to send any.

use std::fmt::Write as _;
use std::net::IpAddr;

use posthaste_message::{date, fields};

use super::{aggregate::Mail, line};
use crate::Verdict;
use crate::dmarc::record::PublicSuffix;
use crate::dmarc::{Checked, Policy};

/// The fields of the header that are shown.
pub const FIELDS: [&str; 9] = [
    "From",
    "Sender",
    "Date",
    "Message-ID",
    "Subject",
    "List-Id",
    "MIME-Version",
    "Content-Type",
    "DKIM-Signature",
];
/// Octets of the header that are shown.
const HEADER_MAX: usize = 8 * 1024;

/// What failed.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    /// What DMARC found.
    pub checked: &'a Checked,
    /// What was done with the message.
    pub disposition: Policy,
    /// Where it came from.
    pub source: IpAddr,
    /// When, in seconds since 1970.
    pub arrival_s: u64,
    /// The domain of its reverse-path; empty when that is null.
    pub mail_from_domain: &'a str,
    /// The value of our Authentication-Results field.
    pub authentication_results: &'a str,
    /// The first signature of an aligned domain that failed: `d=`, `i=`, `s=`.
    pub signature: Option<(&'a str, &'a str, &'a str)>,
    /// The SPF record of an aligned domain that failed.
    pub spf_record: Option<&'a str>,
    /// The header block of the message.
    pub header: &'a [u8],
}

/// Whether the owner wants a failure report for this message (RFC 9989 §4.7, tag `fo`): a record of
/// a public suffix never gets one (RFC 9991 §2). Each of `dkim_failed` and `spf_failed` says that
/// the mechanism itself failed, aligned or not.
#[must_use]
pub fn is_wanted(checked: &Checked, dkim_failed: bool, spf_failed: bool) -> bool {
    let Some(record) = &checked.record else {
        return false;
    };
    if record.failure.is_empty() || record.psd == PublicSuffix::Yes {
        return false;
    }
    let passed = (checked.dkim_aligned.is_some(), checked.spf_aligned);
    let judged = matches!(checked.verdict, Verdict::Pass | Verdict::Fail);
    let options = record.options;
    let dmarc = match options.any {
        true => judged && passed != (true, true),
        false => checked.verdict == Verdict::Fail,
    };
    dmarc || (options.dkim && dkim_failed) || (options.spf && spf_failed)
}

/// Between the parts; no line of ours begins with it.
const BOUNDARY: &str = "=_failure_report";

/// Renders the mail with the report.
#[must_use]
pub fn render(failed: &Failed<'_>, mail: &Mail<'_>, generator: &str) -> Vec<u8> {
    let mut out = format!(
        "From: <{from}>\r\n\
         To: <{to}>\r\n\
         Date: {date}\r\n\
         Message-ID: <{message_id}>\r\n\
         Subject: DMARC failure report for {domain}\r\n\
         Auto-Submitted: auto-generated\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report;\r\n\
         \tboundary=\"{BOUNDARY}\"\r\n\
         \r\n\
         --{BOUNDARY}\r\n\
         Content-Type: text/plain; charset=us-ascii\r\n\
         \r\n\
         A message from {source} failed the DMARC check of\r\n\
         {domain}.\r\n\
         \r\n\
         --{BOUNDARY}\r\n\
         Content-Type: message/feedback-report\r\n\
         \r\n",
        from = mail.from,
        to = mail.to,
        date = date::render(mail.now_s),
        message_id = mail.message_id,
        domain = failed.checked.domain.as_deref().unwrap_or_default(),
        source = failed.source,
    );
    out.push_str(&feedback(failed, generator));
    let _ = write!(
        out,
        "\r\n--{BOUNDARY}\r\nContent-Type: text/rfc822-headers\r\n\r\n{}\r\n--{BOUNDARY}--\r\n",
        shown(failed.header)
    );
    out.into_bytes()
}

/// The fields for programs (RFC 6591 §3, RFC 9991 §4).
fn feedback(failed: &Failed<'_>, generator: &str) -> String {
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        let _ = write!(out, "{name}: {}\r\n", ascii(&line(value)));
    };
    field("Feedback-Type", "auth-failure");
    field("Version", "1");
    field("User-Agent", generator);
    field("Auth-Failure", "dmarc");
    field("Authentication-Results", failed.authentication_results);
    field("Identity-Alignment", alignment(failed.checked));
    let delivery = match failed.disposition {
        Policy::None => "delivered",
        Policy::Quarantine => "spam",
        Policy::Reject => "reject",
    };
    field("Delivery-Result", delivery);
    field("Source-IP", &failed.source.to_string());
    field("Arrival-Date", &date::render(failed.arrival_s));
    field(
        "Reported-Domain",
        failed.checked.domain.as_deref().unwrap_or_default(),
    );
    if !failed.mail_from_domain.is_empty() {
        // The local part is nobody's business (RFC 6590 has it replaced).
        field(
            "Original-Mail-From",
            &format!("<redacted@{}>", failed.mail_from_domain),
        );
    }
    if let Some((domain, identity, selector)) = failed.signature {
        field("DKIM-Domain", domain);
        field("DKIM-Identity", identity);
        field("DKIM-Selector", selector);
    }
    if let Some(record) = failed.spf_record {
        let quoted = line(record).replace(['"', '\\'], "?");
        field(
            "SPF-DNS",
            &format!("txt : {} : \"{quoted}\"", failed.mail_from_domain),
        );
    }
    out
}

/// The mechanisms that gave no aligned pass (RFC 9991 §4).
fn alignment(checked: &Checked) -> &'static str {
    match (checked.dkim_aligned.is_some(), checked.spf_aligned) {
        (true, true) => "none",
        (true, false) => "spf",
        (false, true) => "dkim",
        (false, false) => "dkim, spf",
    }
}

/// The fields that are shown, whole fields only.
fn shown(header: &[u8]) -> String {
    let mut out = String::new();
    for field in fields::split(header) {
        let Some(name) = fields::name(field) else {
            continue;
        };
        let name = String::from_utf8_lossy(name);
        if !FIELDS.iter().any(|f| f.eq_ignore_ascii_case(&name)) {
            continue;
        }
        let text = String::from_utf8_lossy(field);
        let lines: Vec<String> = text.lines().map(ascii).collect();
        let field = lines.join("\r\n") + "\r\n";
        if out.len() + field.len() <= HEADER_MAX {
            out.push_str(&field);
        }
    }
    out
}

/// Printable ASCII and tabs; `?` for everything else.
fn ascii(text: &str) -> String {
    let keep = |c: char| c == ' ' || c == '\t' || c.is_ascii_graphic();
    text.chars()
        .map(|c| if keep(c) { c } else { '?' })
        .collect()
}
