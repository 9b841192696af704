//! The part right of the `@`: names and address literals (RFC 5321 §4.1.2 and §4.1.3).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{AddressError, Utf8};
use crate::limits;

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
    pub fn parse(text: &str, utf8: Utf8) -> Result<Domain, AddressError> {
        if text.starts_with('[') {
            return Ok(Domain::Literal(Literal::parse(text)?));
        }
        Ok(Domain::Name(DomainName::parse(text, utf8)?))
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Name(name) => name.fmt(f),
            Domain::Literal(literal) => literal.fmt(f),
        }
    }
}

/// A domain name as it came, compared without regard to ASCII case. No final dot.
#[derive(Debug, Clone)]
pub struct DomainName {
    name: Box<str>,
}

impl DomainName {
    /// Parses `sub-domain *("." sub-domain)`: letters, digits and inner hyphens, labels of at most
    /// 63 octets, at most 255 in all. Of a U-label only the whole is bounded here: its A-label
    /// is what DNS counts, and that is made at the server's edge.
    pub fn parse(text: &str, utf8: Utf8) -> Result<DomainName, AddressError> {
        for label in text.split('.') {
            check_label(label, utf8)?;
        }
        if text.len() > limits::DOMAIN {
            return Err(AddressError::DomainTooLong);
        }
        Ok(DomainName { name: text.into() })
    }

    /// The name as it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Whether it is `other` or a name below it.
    #[must_use]
    pub fn is_within(&self, other: &DomainName) -> bool {
        let Some(start) = self.name.len().checked_sub(other.name.len()) else {
            return false;
        };
        let Some((above, tail)) = self.name.as_bytes().split_at_checked(start) else {
            return false;
        };
        tail.eq_ignore_ascii_case(other.name.as_bytes())
            && matches!(above.last(), None | Some(b'.'))
    }

    fn folded(&self) -> impl Iterator<Item = u8> {
        self.name.bytes().map(|octet| octet.to_ascii_lowercase())
    }
}

impl PartialEq for DomainName {
    fn eq(&self, other: &Self) -> bool {
        self.name.eq_ignore_ascii_case(&other.name)
    }
}

impl Eq for DomainName {}

impl Hash for DomainName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for octet in self.folded() {
            state.write_u8(octet);
        }
        state.write_u8(0xff);
    }
}

impl PartialOrd for DomainName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DomainName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(other.folded())
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

impl Literal {
    fn parse(text: &str) -> Result<Literal, AddressError> {
        let inside = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let inside = inside.ok_or(AddressError::Syntax)?;
        let Some((tag, content)) = inside.split_once(':') else {
            return Ok(Literal::V4(
                dotted_quad(inside).ok_or(AddressError::Syntax)?,
            ));
        };
        if tag.eq_ignore_ascii_case("IPv6") {
            return Ok(Literal::V6(
                content.parse().map_err(|_| AddressError::Syntax)?,
            ));
        }
        check_label(tag, Utf8::Refused)?;
        if content.is_empty() || !content.bytes().all(|c| matches!(c, 33..=90 | 94..=126)) {
            return Err(AddressError::Syntax);
        }
        if text.len() > limits::DOMAIN {
            return Err(AddressError::DomainTooLong);
        }
        Ok(Literal::General {
            tag: tag.into(),
            content: content.into(),
        })
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::V4(address) => write!(f, "[{address}]"),
            Literal::V6(address) => write!(f, "[IPv6:{address}]"),
            Literal::General { tag, content } => write!(f, "[{tag}:{content}]"),
        }
    }
}

/// `Let-dig [Ldh-str]`, or a U-label.
fn check_label(label: &str, utf8: Utf8) -> Result<(), AddressError> {
    for c in label.chars() {
        utf8.check(c)?;
        if c.is_whitespace() || (c.is_ascii() && !c.is_ascii_alphanumeric() && c != '-') {
            return Err(AddressError::Syntax);
        }
    }
    if label.is_empty() || label.starts_with('-') || label.ends_with('-') {
        return Err(AddressError::Syntax);
    }
    if label.is_ascii() && label.len() > limits::LABEL {
        return Err(AddressError::DomainTooLong);
    }
    Ok(())
}

/// `Snum 3("." Snum)`, where a Snum is decimal also when it starts with 0; the standard library
/// refuses those.
fn dotted_quad(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.len() > 3 || !part.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text, Utf8::Allowed).unwrap()
    }

    fn hash(name: &DomainName) -> u64 {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn case_does_not_matter_for_equality_hash_and_order() {
        assert_eq!(name("Example.ORG"), name("example.org"));
        assert_eq!(hash(&name("Example.ORG")), hash(&name("example.org")));
        assert_eq!(
            name("Example.ORG").cmp(&name("example.org")),
            Ordering::Equal
        );
        assert_eq!(name("Example.ORG").to_string(), "Example.ORG");
        assert_ne!(name("a.example"), name("b.example"));
    }

    #[test]
    fn a_name_is_within_itself_and_what_it_stands_below() {
        assert!(name("a.Example.org").is_within(&name("example.org")));
        assert!(name("example.org").is_within(&name("example.org")));
        assert!(!name("badexample.org").is_within(&name("example.org")));
        assert!(!name("org").is_within(&name("example.org")));
        assert!(!name("ü.org").is_within(&name("x.org")));
    }

    #[test]
    fn literals_are_read_and_written() {
        for (text, wire) in [
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[010.000.002.001]", "[10.0.2.1]"),
            ("[IPv6:2001:DB8::1]", "[IPv6:2001:db8::1]"),
            ("[ipv6:::1]", "[IPv6:::1]"),
            ("[x-tag:a.b!c]", "[x-tag:a.b!c]"),
        ] {
            assert_eq!(
                Domain::parse(text, Utf8::Refused).unwrap().to_string(),
                wire
            );
        }
        for bad in [
            "[]",
            "[1.2.3]",
            "[1.2.3.4.5]",
            "[1.2.3.256]",
            "[1.2.3.]",
            "[1.2.3.+4]",
            "[1.2.3.0004]",
            "[IPv6:1.2.3.4]",
            "[IPv6:]",
            "[IPv6:fe80::1%1]",
            "[x:]",
            "[-x:a]",
            "[x:a b]",
            "[x:a]b]",
            "[1.2.3.4",
            "1.2.3.4]",
            "[::1]",
        ] {
            assert_eq!(
                Domain::parse(bad, Utf8::Refused),
                Err(AddressError::Syntax),
                "{bad}"
            );
        }
    }

    #[test]
    fn labels_and_names_have_limits() {
        let label = "a".repeat(63);
        let long = format!("{label}.{label}.{label}.{label}");
        assert_eq!(long.len(), 255);
        assert!(DomainName::parse(&long, Utf8::Refused).is_ok());
        for bad in [format!("{long}.a"), format!("{label}a.org")] {
            assert_eq!(
                DomainName::parse(&bad, Utf8::Refused),
                Err(AddressError::DomainTooLong)
            );
        }
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "a_b",
            "a b",
            "ü\u{3000}.x",
        ] {
            assert_eq!(
                DomainName::parse(bad, Utf8::Allowed),
                Err(AddressError::Syntax),
                "{bad}"
            );
        }
        assert_eq!(
            DomainName::parse("bücher.example", Utf8::Refused),
            Err(AddressError::Utf8)
        );
    }
}
