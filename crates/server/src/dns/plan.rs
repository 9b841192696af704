//! What a domain of ours has to publish, record by record.
//!
//! This module does **not** ask the DNS; `examine` compares.

use std::net::IpAddr;

use posthaste_smtp::address::Mailbox;

use crate::sign::keys::{Entry, Keyring};

/// Octets of one string of a TXT record (RFC 1035 §3.3.14).
const STRING_MAX: usize = 255;

/// What is known here of a domain.
pub struct Plan<'a> {
    /// The domain, in A-labels and lower case.
    pub domain: &'a str,
    /// Our name, which MX leads to, likewise.
    pub hostname: &'a str,
    /// Where its reports are to go.
    pub reports_to: Mailbox,
    /// The keys that sign.
    pub keys: &'a Keyring,
    /// Keys of the domain whose records may go.
    pub retired: Vec<Entry>,
    /// The SHA-256 of the public key of the certificate that is served, or why it is not known.
    pub key_digest: Result<Vec<u8>, String>,
    /// Our addresses that listeners name.
    pub addresses: Vec<IpAddr>,
    /// Names the present policy of MTA-STS, for a new record: the time in seconds.
    pub id: u64,
}

/// A record to publish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its name, without the final dot.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// Its data: of TXT the text, otherwise as a zone file has it. None where nobody but the
    /// operator can know it.
    pub data: Option<String>,
}

impl Record {
    /// A TXT record.
    #[must_use]
    pub fn txt(name: String, text: impl Into<String>) -> Self {
        Record::new(name, "TXT", text)
    }

    /// A record of another type.
    #[must_use]
    pub fn new(name: String, kind: &'static str, data: impl Into<String>) -> Self {
        Record {
            name,
            kind,
            data: Some(data.into()),
        }
    }

    /// One that the operator completes.
    #[must_use]
    pub fn unknown(name: String, kind: &'static str) -> Self {
        Record {
            name,
            kind,
            data: None,
        }
    }

    /// The line of a zone file (RFC 1035 §5.1).
    #[must_use]
    pub fn zone_line(&self) -> Option<String> {
        let data = self.data.as_ref()?;
        let data = match self.kind {
            "TXT" => strings(data),
            _ => data.clone(),
        };
        Some(format!("{}. IN {} {data}", self.name, self.kind))
    }
}

/// A text as the strings of a TXT record, quoted.
fn strings(text: &str) -> String {
    let quoted = quoted_strings(text);
    match quoted.as_slice() {
        [one] => one.clone(),
        several => format!("( {} )", several.join(" ")),
    }
}

/// A text as the strings of a TXT record, each quoted; at least one.
#[must_use]
pub fn quoted_strings(text: &str) -> Vec<String> {
    let mut quoted = Vec::new();
    let mut rest = text;
    while quoted.is_empty() || !rest.is_empty() {
        let (piece, tail) = rest.split_at(rest.floor_char_boundary(STRING_MAX));
        let piece = piece.replace('\\', "\\\\").replace('"', "\\\"");
        quoted.push(format!("\"{piece}\""));
        rest = tail;
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_several_strings_and_quotes_are_escaped() {
        let line = |text: &str| Record::txt("a.test".into(), text).zone_line().unwrap();
        assert_eq!(line("v=x; y"), "a.test. IN TXT \"v=x; y\"");
        assert_eq!(line("a\"b\\c"), r#"a.test. IN TXT "a\"b\\c""#);
        let long = "x".repeat(300);
        let expected = format!(
            "a.test. IN TXT ( \"{}\" \"{}\" )",
            &long[..255],
            &long[255..]
        );
        assert_eq!(line(&long), expected);
    }
}
