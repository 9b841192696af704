//! Reports about authentication: those we owe, and those we are sent.
//!
//! Written: [`aggregate`] reports (RFC 9990) with their XML, gzip and mail, [`failure`] reports
//! (RFC 9991), and whether a destination outside of the domain wants them ([`external`]). Read,
//! each within named limits: aggregate reports old and new, abuse and failure reports ([`arf`],
//! RFC 5965), TLS reports ([`tls`], RFC 8460), out of the mail that carries them ([`open`]).
//!
//! What a report says was written by others: texts are cut and have no control characters, but are
//! not to be believed. This module does **not** collect over time, keep, send, or decide when.

pub mod aggregate;
pub mod arf;
pub mod external;
pub mod failure;
mod mime;
pub mod open;
pub mod tls;
mod zip;

use posthaste_message::fields;

/// Octets of a text of a report that are kept.
pub const TEXT_MAX: usize = 512;

/// Whether a message is itself a report, so that no report is owed about it: two servers would
/// otherwise write to each other for ever. By its header block: the subject that RFC 9990 §3.5.2
/// asks for, or a report type that only machines send.
#[must_use]
pub fn is_report(header: &[u8]) -> bool {
    fields::split(header).into_iter().any(|field| {
        let Some(name) = fields::name(field) else {
            return false;
        };
        let value = field
            .get(name.len()..)
            .unwrap_or_default()
            .to_ascii_lowercase();
        let value = String::from_utf8_lossy(&value);
        let value = value.trim_start().strip_prefix(':').unwrap_or_default();
        let words: Vec<&str> = value.split_whitespace().collect();
        if name.eq_ignore_ascii_case(b"Subject") {
            words.starts_with(&["report", "domain:"])
        } else if name.eq_ignore_ascii_case(b"Content-Type") {
            let value = words.concat();
            let kinds = ["feedback-report", "tlsrpt"];
            value.starts_with("multipart/report") && kinds.iter().any(|k| value.contains(k))
        } else {
            name.eq_ignore_ascii_case(b"TLS-Report-Domain")
        }
    })
}

/// A text that somebody else wrote, as it is kept: one line, cut.
fn line(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim_start().chars() {
        if out.len() + c.len_utf8() > TEXT_MAX {
            break;
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use super::{is_report, line};

    #[test]
    fn a_report_is_known_by_its_header() {
        for header in [
            "Subject: Report Domain: a.example Submitter: b.example Report-ID: <x>\r\n",
            "To: x@y\r\nsubject :\r\n report\tDomain: a.example\r\n",
            "Content-Type: multipart/report;\r\n report-type=\"feedback-report\"; boundary=x\r\n",
            "Content-Type: multipart/report; report-type = tlsrpt\r\n",
        ] {
            assert!(is_report(header.as_bytes()), "{header}");
        }
        for header in [
            "",
            "Subject: Re: Report Domain: a.example\r\n",
            "Subject: report domains\r\n",
            "Content-Type: multipart/report; report-type=delivery-status\r\n",
            "X-Subject: Report Domain: a.example\r\n",
        ] {
            assert!(!is_report(header.as_bytes()), "{header}");
        }
    }

    #[test]
    fn a_text_is_one_short_line() {
        assert_eq!(line(" a\r\nb\0 "), "a  b");
        assert_eq!(line(&"\u{fc}".repeat(1_000)).len(), 512);
    }
}
