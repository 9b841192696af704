//! Addresses as the envelope carries them (RFC 5321 §4.1.2 and §4.1.3, RFC 6531 §3.3).
//!
//! Invariants: a value of these types is valid, so its wire form can be written to a peer as it
//! is: no line ends, no control octets, no unquoted blanks. A local part is kept unquoted, so
//! that `"a"@x` and `a@x` are the same mailbox (RFC 5321 §4.1.2).
//!
//! Not here: conversion between U-labels and A-labels (the server does that at its edge), header
//! addresses (RFC 5322 allows more), and what an address leads to.

use std::fmt;

use crate::limits;

mod domain;
mod local_part;

pub use domain::{Domain, DomainName, Literal};
pub use local_part::LocalPart;

/// Whether octets above 127 may stand in an address (RFC 6531 §3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Utf8 {
    /// Only ASCII: SMTPUTF8 was not negotiated.
    Refused,
    /// UTF-8 in local parts and domain labels.
    Allowed,
}

impl Utf8 {
    /// `Err` for a character that this setting, or any setting, refuses.
    fn check(self, c: char) -> Result<(), AddressError> {
        match self {
            Utf8::Refused if !c.is_ascii() => Err(AddressError::Utf8),
            _ if c.is_control() => Err(AddressError::Syntax),
            _ => Ok(()),
        }
    }
}

/// Why text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// Not the grammar of RFC 5321 §4.1.2.
    Syntax,
    /// A local part above 64 octets (RFC 5321 §4.5.3.1.1).
    LocalPartTooLong,
    /// A domain above 255 octets or a label above 63 (RFC 5321 §4.5.3.1.2, RFC 1035 §2.3.4).
    DomainTooLong,
    /// A path above 256 octets (RFC 5321 §4.5.3.1.3).
    PathTooLong,
    /// Octets above 127 where SMTPUTF8 was not negotiated (RFC 6531 §3.3).
    Utf8,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressError::Syntax => "not an address",
            AddressError::LocalPartTooLong => "local part is longer than 64 octets",
            AddressError::DomainTooLong => "domain is longer than 255 octets, or a label than 63",
            AddressError::PathTooLong => "path is longer than 256 octets",
            AddressError::Utf8 => "non-ASCII address without SMTPUTF8",
        })
    }
}

impl std::error::Error for AddressError {}

/// `local-part@domain`. Equal when the local parts are equal octet for octet and the domains are
/// equal without regard to ASCII case (RFC 5321 §2.4). `Display` gives the wire form, no brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mailbox {
    local_part: LocalPart,
    domain: Domain,
}

impl Mailbox {
    /// Parses `local@domain` (no angle brackets, no source route), at most 254 octets, so that
    /// it fits a path.
    pub fn parse(text: &str, utf8: Utf8) -> Result<Mailbox, AddressError> {
        let (local_part, rest) = LocalPart::parse_prefix(text, utf8)?;
        let domain = rest.strip_prefix('@').ok_or(AddressError::Syntax)?;
        let domain = Domain::parse(domain, utf8)?;
        if text.len() > limits::PATH - "<>".len() {
            return Err(AddressError::PathTooLong);
        }
        Ok(Mailbox { local_part, domain })
    }

    /// Joins two checked halves.
    #[must_use]
    pub fn new(local_part: LocalPart, domain: Domain) -> Mailbox {
        Mailbox { local_part, domain }
    }

    /// The part left of the `@`.
    #[must_use]
    pub fn local_part(&self) -> &LocalPart {
        &self.local_part
    }

    /// The part right of the `@`.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Whether the wire form has octets above 127, so that sending it needs SMTPUTF8.
    #[must_use]
    pub fn needs_utf8(&self) -> bool {
        let domain = self
            .domain
            .name()
            .is_none_or(|name| name.as_str().is_ascii());
        !domain || !self.local_part.as_str().is_ascii()
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local_part, self.domain)
    }
}

/// The argument of `MAIL FROM:`. `Display` gives it with its angle brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReversePath {
    /// `<>`: reports and other mail that must not be answered (RFC 5321 §4.5.5).
    Null,
    /// `<mailbox>`; a source route was dropped.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Parses `<>` or `<[route:]mailbox>`.
    pub fn parse(text: &str, utf8: Utf8) -> Result<ReversePath, AddressError> {
        match inside_brackets(text)? {
            "" => Ok(ReversePath::Null),
            inside => Ok(ReversePath::Mailbox(Mailbox::parse(
                without_route(inside, utf8)?,
                utf8,
            )?)),
        }
    }

    /// The mailbox, unless null.
    #[must_use]
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => Some(mailbox),
        }
    }

    /// Whether it is `<>`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, ReversePath::Null)
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => f.write_str("<>"),
            ReversePath::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// The argument of `RCPT TO:`. `Display` gives it with its angle brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ForwardPath {
    /// `<postmaster>` with no domain, in any case (RFC 5321 §4.1.1.3).
    Postmaster,
    /// `<mailbox>`; a source route was dropped.
    Mailbox(Mailbox),
}

impl ForwardPath {
    /// Parses `<postmaster>` or `<[route:]mailbox>`.
    pub fn parse(text: &str, utf8: Utf8) -> Result<ForwardPath, AddressError> {
        let inside = inside_brackets(text)?;
        if LocalPart::parse(inside, utf8).is_ok_and(|local_part| local_part.is_postmaster()) {
            return Ok(ForwardPath::Postmaster);
        }
        Ok(ForwardPath::Mailbox(Mailbox::parse(
            without_route(inside, utf8)?,
            utf8,
        )?))
    }

    /// The mailbox, unless it is the bare postmaster.
    #[must_use]
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            ForwardPath::Postmaster => None,
            ForwardPath::Mailbox(mailbox) => Some(mailbox),
        }
    }
}

impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardPath::Postmaster => f.write_str("<postmaster>"),
            ForwardPath::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// Splits a command's argument behind its path: the first `>` that stands neither in a quoted
/// string nor in an address literal ends it. `None` if it does not start with `<` or never ends.
pub(crate) fn split_path(text: &str) -> Option<(&str, &str)> {
    if !text.starts_with('<') {
        return None;
    }
    let (mut quoted, mut escaped, mut literal) = (false, false, false);
    for (at, c) in text.bytes().enumerate() {
        match c {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if !literal => quoted = !quoted,
            b'[' if !quoted => literal = true,
            b']' if !quoted => literal = false,
            b'>' if !quoted && !literal => return text.split_at_checked(at + 1),
            _ => {}
        }
    }
    None
}

fn inside_brackets(path: &str) -> Result<&str, AddressError> {
    if path.len() > limits::PATH {
        return Err(AddressError::PathTooLong);
    }
    path.strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'))
        .ok_or(AddressError::Syntax)
}

/// Checks and drops `@one,@two:` (RFC 5321 §4.1.1.3: accepted, ignored, and never followed).
fn without_route(inside: &str, utf8: Utf8) -> Result<&str, AddressError> {
    if !inside.starts_with('@') {
        return Ok(inside);
    }
    let (route, mailbox) = inside.split_once(':').ok_or(AddressError::Syntax)?;
    for hop in route.split(',') {
        DomainName::parse(hop.strip_prefix('@').ok_or(AddressError::Syntax)?, utf8)?;
    }
    Ok(mailbox)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_ends_at_the_bracket_that_nothing_hides() {
        let cases = [
            ("<a@b> SIZE=1", Some(("<a@b>", " SIZE=1"))),
            (r#"<"a>b"@c>"#, Some((r#"<"a>b"@c>"#, ""))),
            (r#"<"a\">b"@c>x"#, Some((r#"<"a\">b"@c>"#, "x"))),
            ("<a@[x:a>b]> y", Some(("<a@[x:a>b]>", " y"))),
            ("<>", Some(("<>", ""))),
            ("<a@b", None),
            ("a@b>", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(split_path(text), expected, "{text}");
        }
    }

    #[test]
    fn source_routes_are_checked_and_dropped() {
        let path = ForwardPath::parse("<@a.example,@b.example:c@d.example>", Utf8::Refused);
        assert_eq!(path.unwrap().to_string(), "<c@d.example>");
        for bad in [
            "<@a.example c@d>",
            "<@a..b:c@d>",
            "<@:c@d>",
            "<a,@b:c@d>",
            "<@[1.2.3.4]:c@d>",
        ] {
            assert_eq!(
                ForwardPath::parse(bad, Utf8::Refused),
                Err(AddressError::Syntax),
                "{bad}"
            );
        }
    }

    #[test]
    fn bare_postmaster_is_a_forward_path_in_any_case_and_never_a_reverse_path() {
        for text in [
            "<postmaster>",
            "<Postmaster>",
            "<POSTMASTER>",
            "<\"postMaster\">",
        ] {
            assert_eq!(
                ForwardPath::parse(text, Utf8::Refused),
                Ok(ForwardPath::Postmaster)
            );
            assert_eq!(
                ReversePath::parse(text, Utf8::Refused),
                Err(AddressError::Syntax)
            );
        }
        assert_eq!(
            ForwardPath::parse("<root>", Utf8::Refused),
            Err(AddressError::Syntax)
        );
        assert_eq!(
            ForwardPath::parse("<>", Utf8::Refused),
            Err(AddressError::Syntax)
        );
        assert_eq!(
            ReversePath::parse("<>", Utf8::Refused),
            Ok(ReversePath::Null)
        );
    }

    #[test]
    fn a_path_has_at_most_256_octets() {
        let path = |label: usize| format!("<a@{}.{}>", "b.".repeat(96), "c".repeat(label));
        assert_eq!(
            ForwardPath::parse(&path(59).replace("..", "."), Utf8::Refused).map(|_| ()),
            Ok(())
        );
        assert_eq!(path(59).replace("..", ".").len(), 255);
        assert_eq!(
            ForwardPath::parse(&path(61).replace("..", "."), Utf8::Refused),
            Err(AddressError::PathTooLong)
        );
    }
}
