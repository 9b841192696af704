//! Addresses as the envelope carries them (RFC 5321 §4.1.2 and §4.1.3).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether octets above 127 may stand in an address (RFC 6531 §3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Utf8 {
    /// Only ASCII: SMTPUTF8 was not negotiated.
    Refused,
    /// UTF-8 in local parts and domain labels.
    Allowed,
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
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
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
    /// Parses `local@domain` (no angle brackets, no source route).
    pub fn parse(_text: &str, _utf8: Utf8) -> Result<Mailbox, AddressError> {
        todo!()
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
        todo!()
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

/// The part left of the `@`: its meaning (unquoted), from which the wire form is made.
/// `Display` gives the wire form: quoted only when it must be (RFC 5321 §4.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalPart {
    value: Box<str>,
}

impl LocalPart {
    /// Parses the wire form: a dot-string or a quoted string.
    pub fn parse(_wire: &str, _utf8: Utf8) -> Result<LocalPart, AddressError> {
        todo!()
    }
    /// Makes one from its meaning (no quotes, no backslashes); the wire form quotes as needed.
    pub fn from_value(_value: &str, _utf8: Utf8) -> Result<LocalPart, AddressError> {
        todo!()
    }
    /// The unquoted value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.value
    }
    /// Whether this is `postmaster` in any case (RFC 5321 §4.5.1).
    #[must_use]
    pub fn is_postmaster(&self) -> bool {
        self.value.eq_ignore_ascii_case("postmaster")
    }
}

impl fmt::Display for LocalPart {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

/// The part right of the `@`. `Display` gives the wire form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    /// A host or domain name.
    Name(DomainName),
    /// An address in square brackets.
    Literal(Literal),
}

impl Domain {
    /// Parses a name or a bracketed literal.
    pub fn parse(_text: &str, _utf8: Utf8) -> Result<Domain, AddressError> {
        todo!()
    }
    /// The name, unless this is a literal.
    #[must_use]
    pub fn name(&self) -> Option<&DomainName> {
        match self {
            Domain::Name(name) => Some(name),
            Domain::Literal(_) => None,
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

/// A domain name as it came, compared without regard to ASCII case. No final dot.
#[derive(Debug, Clone)]
pub struct DomainName {
    name: Box<str>,
}

impl DomainName {
    /// Parses `sub-domain *("." sub-domain)`.
    pub fn parse(_text: &str, _utf8: Utf8) -> Result<DomainName, AddressError> {
        todo!()
    }
    /// The name as it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }
    /// Whether it is `other` or a name below it.
    #[must_use]
    pub fn is_within(&self, _other: &DomainName) -> bool {
        todo!()
    }
}

impl PartialEq for DomainName {
    fn eq(&self, other: &Self) -> bool {
        self.name.eq_ignore_ascii_case(&other.name)
    }
}
impl Eq for DomainName {}
impl std::hash::Hash for DomainName {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {
        todo!()
    }
}
impl PartialOrd for DomainName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for DomainName {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        todo!()
    }
}
impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// An address literal (RFC 5321 §4.1.3). `Display` gives it with its brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Literal {
    /// `[192.0.2.1]`
    V4(Ipv4Addr),
    /// `[IPv6:2001:db8::1]`
    V6(Ipv6Addr),
    /// `[tag:content]`
    General {
        /// The standardized tag.
        tag: Box<str>,
        /// What follows the colon.
        content: Box<str>,
    },
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
    pub fn parse(_text: &str, _utf8: Utf8) -> Result<ReversePath, AddressError> {
        todo!()
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
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
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
    pub fn parse(_text: &str, _utf8: Utf8) -> Result<ForwardPath, AddressError> {
        todo!()
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
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
