//! The mail that carries an aggregate report (RFC 9990 §3.5).

use posthaste_message::date;

use super::Aggregate;
use crate::report::mime::base64_lines;

/// What the mail needs beside the report. Addresses and ids are ours or checked: they are written
/// as they are.
#[derive(Clone, Copy, Debug)]
pub struct Mail<'a> {
    /// Our domain, as the reporter's name in the subject and in the file's name.
    pub submitter: &'a str,
    /// The author of the mail, at a domain that passes DMARC (RFC 9990 §3.5.2).
    pub from: &'a str,
    /// The recipient.
    pub to: &'a str,
    /// The Message-ID, without brackets.
    pub message_id: &'a str,
    /// When it is written, in seconds since 1970.
    pub now_s: u64,
}

/// The name of the attachment (RFC 9990 §3.5.2).
#[must_use]
pub fn file_name(submitter: &str, domain: &str, (begin_s, end_s): (u64, u64)) -> String {
    format!("{submitter}!{domain}!{begin_s}!{end_s}.xml.gz")
}

/// The subject (RFC 9990 §3.5.2), folded.
#[must_use]
pub fn subject(domain: &str, submitter: &str, id: &str) -> String {
    format!("Report Domain: {domain}\r\n\tSubmitter: {submitter}\r\n\tReport-ID: <{id}>")
}

/// Whether a text can be a Report-ID (RFC 9990 §3.5.1): dot-atoms, and at most one `@` between two.
#[must_use]
pub fn is_report_id(text: &str) -> bool {
    let atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    let dot_atom = |t: &str| t.split('.').all(|a| !a.is_empty() && a.bytes().all(atext));
    match text.split_once('@') {
        Some((left, right)) => dot_atom(left) && dot_atom(right),
        None => dot_atom(text),
    }
}

impl Aggregate {
    /// The mail with the report of at most `octets_max` octets in gzip; `None` as for
    /// [`Aggregate::to_gzip`].
    #[must_use]
    pub fn to_mail(&self, mail: &Mail<'_>, octets_max: usize) -> Option<Vec<u8>> {
        let gzip = self.to_gzip(octets_max)?;
        let domain = &self.published.domain;
        let name = file_name(mail.submitter, domain, (self.begin_s, self.end_s));
        // No line of base64, and none of the text, begins with two hyphens.
        let boundary = "=_aggregate_report";
        let head = format!(
            "From: <{from}>\r\n\
             To: <{to}>\r\n\
             Date: {date}\r\n\
             Message-ID: <{message_id}>\r\n\
             Subject: {subject}\r\n\
             Auto-Submitted: auto-generated\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed;\r\n\
             \tboundary=\"{boundary}\"\r\n\
             \r\n\
             --{boundary}\r\n\
             Content-Type: text/plain; charset=us-ascii\r\n\
             \r\n\
             This is a DMARC aggregate report (RFC 9990) about mail from\r\n\
             {domain},\r\n\
             as {submitter} has seen it.\r\n\
             \r\n\
             --{boundary}\r\n\
             Content-Type: application/gzip\r\n\
             Content-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment;\r\n\
             \tfilename=\"{name}\"\r\n\
             \r\n",
            from = mail.from,
            to = mail.to,
            date = date::render(mail.now_s),
            message_id = mail.message_id,
            subject = subject(domain, mail.submitter, &self.id),
            submitter = mail.submitter,
        );
        let mut out = head.into_bytes();
        out.extend(base64_lines(&gzip));
        out.extend(format!("--{boundary}--\r\n").into_bytes());
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::{file_name, is_report_id};

    #[test]
    fn the_name_of_the_file_is_that_of_the_rfc() {
        assert_eq!(
            file_name(
                "mail.receiver.example",
                "example.com",
                (1_013_662_812, 1_013_749_130)
            ),
            "mail.receiver.example!example.com!1013662812!1013749130.xml.gz"
        );
    }

    #[test]
    fn a_report_id_is_a_dot_atom_or_two() {
        for id in ["1721054318-example.com@example.org", "x", "a.b"] {
            assert!(is_report_id(id), "{id}");
        }
        for id in ["", "a@", "a@b@c", "a b", "<a>", "a..b", "a\r\nb"] {
            assert!(!is_report_id(id), "{id}");
        }
    }
}
