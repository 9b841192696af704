//! Report URIs: where the owner of a domain wants reports (RFC 9989 §4.6, §4.8).
//!
//! Only `mailto:` is understood. Its query part and the obsolete `!size` are dropped. This module
//! does **not** ask whether the destination wants the reports; `report::external` does.

use std::fmt;

use posthaste_smtp::address::{Domain, Mailbox, Utf8};

use crate::name;

/// URIs of one tag that are read; the rest is ignored.
pub const URIS_MAX: usize = 10;

/// One destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReportUri {
    /// A mailbox.
    Mail(Mailbox),
    /// A well-formed URI of another scheme, which we have no way to send to.
    Other(String),
}

impl ReportUri {
    /// Reads one URI.
    #[must_use]
    pub fn parse(text: &str) -> Option<ReportUri> {
        let (scheme, rest) = text.split_once(':')?;
        let mut letters = scheme.bytes();
        let first = letters.next()?.is_ascii_alphabetic();
        let scheme_fits = letters.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let graphic = rest
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b));
        if !(first && scheme_fits && graphic) || rest.is_empty() {
            return None;
        }
        if !scheme.eq_ignore_ascii_case("mailto") {
            return Some(ReportUri::Other(text.to_owned()));
        }
        let address = rest.split_once('?').map_or(rest, |(address, _)| address);
        let mailbox = Mailbox::parse(&decode(without_size(address))?, Utf8::Refused).ok()?;
        match mailbox.domain() {
            Domain::Name(domain) => name::ascii(domain.as_str())?,
            Domain::Literal(_) => return None,
        };
        Some(ReportUri::Mail(mailbox))
    }

    /// Reads a list, and says how many of it could not be read.
    #[must_use]
    pub fn parse_list(text: &str) -> (Vec<ReportUri>, usize) {
        let mut bad = 0;
        let mut uris = Vec::new();
        for item in text.split(',').take(URIS_MAX) {
            match ReportUri::parse(item.trim_matches([' ', '\t'])) {
                Some(uri) if uris.contains(&uri) => {}
                Some(uri) => uris.push(uri),
                None => bad += 1,
            }
        }
        (uris, bad)
    }

    /// The mailbox, if it is one.
    #[must_use]
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            ReportUri::Mail(mailbox) => Some(mailbox),
            ReportUri::Other(_) => None,
        }
    }
}

impl fmt::Display for ReportUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReportUri::Mail(mailbox) => write!(f, "mailto:{mailbox}"),
            ReportUri::Other(text) => f.write_str(text),
        }
    }
}

/// The address before `!10m`. An exclamation mark of the address itself must be written `%21`
/// (RFC 9989 §4.8), so anything else after one makes the URI malformed, which decoding finds.
fn without_size(address: &str) -> &str {
    match address.rsplit_once('!') {
        Some((before, size)) => {
            let digits = size.strip_suffix(['k', 'm', 'g', 't', 'K', 'M', 'G', 'T']);
            let digits = digits.unwrap_or(size);
            let is_size = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            if is_size { before } else { address }
        }
        None => address,
    }
}

/// Percent-decodes; `None` for what is no escape, no ASCII, or a bare exclamation mark.
fn decode(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..)?;
        match c {
            '!' => return None,
            '%' => {
                let digits = rest.get(..2)?;
                let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
                let octet = u8::from_str_radix(digits, 16).ok().filter(|_| hex)?;
                out.push(char::from(octet.is_ascii().then_some(octet)?));
                rest = rest.get(2..)?;
            }
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::ReportUri;

    #[test]
    fn a_mailto_is_read_without_size_and_query() {
        for (text, want) in [
            ("mailto:d@example.org", "mailto:d@example.org"),
            ("MAILTO:d@example.org!10m", "mailto:d@example.org"),
            ("mailto:d@example.org!10?x=y", "mailto:d@example.org"),
            ("mailto:d%21e@example.org", "mailto:d!e@example.org"),
            ("mailto:d+a@example.org?subject=x", "mailto:d+a@example.org"),
            ("https://example.org/in", "https://example.org/in"),
        ] {
            assert_eq!(ReportUri::parse(text).unwrap().to_string(), want);
        }
        for text in [
            "d@example.org",
            "mailto:",
            "mailto:d",
            "mailto:d@[192.0.2.1]",
            "mailto:d!e@example.org",
            "mailto:d%zz@example.org",
            "mailto:d%+1@example.org",
            "mailto:d%0d%0a@example.org",
            "mailto:d@exa mple.org",
            "1x:y",
        ] {
            assert_eq!(ReportUri::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_list_keeps_what_can_be_read_once() {
        let (uris, bad) = ReportUri::parse_list("mailto:a@b.example , x, mailto:a@B.example!5,");
        assert_eq!((uris.len(), bad), (1, 2));
        let (uris, _) = ReportUri::parse_list(&"https://a.example/,".repeat(100));
        assert_eq!(uris.len(), 1);
    }
}
