//! SPF records: which TXT record is one, and its grammar (RFC 7208 §4.5, §4.6, §5, §6, §12).
//!
//! The grammar is strict: an error anywhere makes the whole record a permanent error, even behind
//! a term that would have matched (RFC 7208 §4.6). Nothing that this module gives out, not even
//! an error, has an octet outside of printable ASCII.
//!
//! This module does **not** evaluate.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::macros::{MacroString, Place};
use crate::Verdict;

/// Octets of a term that an error quotes.
const QUOTE_MAX: usize = 80;

/// A record, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The mechanisms in order, each with the result of a match.
    pub directives: Vec<Directive>,
    /// Whose record decides when no mechanism matches (RFC 7208 §6.1).
    pub redirect: Option<MacroString>,
    /// Where the explanation of a `fail` stands (RFC 7208 §6.2).
    pub explanation: Option<MacroString>,
}

/// A mechanism and what a match of it means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directive {
    /// The result of a match: pass, fail, softfail or neutral.
    pub verdict: Verdict,
    /// What matches.
    pub mechanism: Mechanism,
    text: String,
}

/// What a sender's address is compared with (RFC 7208 §5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// Everything.
    All,
    /// Whom the record of another domain lets pass.
    Include(MacroString),
    /// The addresses of a domain; the current one unless named.
    A(Option<MacroString>, Prefixes),
    /// The addresses of a domain's mail exchangers.
    Mx(Option<MacroString>, Prefixes),
    /// The name of the address, by reverse look-up.
    Ptr(Option<MacroString>),
    /// A network.
    Ip4(Ipv4Addr, u8),
    /// A network.
    Ip6(Ipv6Addr, u8),
    /// Whether a name has an IPv4 address.
    Exists(MacroString),
}

/// How many bits of an address are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefixes {
    /// Of an IPv4 address, at most 32.
    pub v4: u8,
    /// Of an IPv6 address, at most 128.
    pub v6: u8,
}

/// Why a record is not one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// The term, cut, with `?` for what is not printable ASCII.
    pub term: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the term \"{}\" {}", self.term, self.why)
    }
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a TXT record is an SPF record of version 1 (RFC 7208 §4.5).
#[must_use]
pub fn is_record(text: &[u8]) -> bool {
    match text.split_at_checked(VERSION.len()) {
        Some((version, rest)) => {
            version.eq_ignore_ascii_case(VERSION) && matches!(rest.first(), None | Some(b' '))
        }
        None => false,
    }
}

const VERSION: &[u8] = b"v=spf1";

impl Record {
    /// Reads a TXT record that [`is_record`].
    pub fn parse(text: &[u8]) -> Result<Record, Malformed> {
        let mut record = Record {
            directives: Vec::new(),
            redirect: None,
            explanation: None,
        };
        let terms = text.get(VERSION.len()..).unwrap_or_default();
        for term in terms.split(|&b| b == b' ').filter(|term| !term.is_empty()) {
            record.add(term).map_err(|why| Malformed {
                term: quote(term),
                why,
            })?;
        }
        Ok(record)
    }

    fn add(&mut self, term: &[u8]) -> Result<(), &'static str> {
        let term = std::str::from_utf8(term)
            .ok()
            .filter(|t| t.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or("has a character that is not printable ASCII")?;
        match modifier(term) {
            Some((name, value)) => self.add_modifier(name, value),
            None => {
                self.directives.push(Directive::parse(term)?);
                Ok(())
            }
        }
    }

    fn add_modifier(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        let slot = if name.eq_ignore_ascii_case("redirect") {
            &mut self.redirect
        } else if name.eq_ignore_ascii_case("exp") {
            &mut self.explanation
        } else {
            // Unknown ones are ignored, once they have the form of one (RFC 7208 §6).
            return MacroString::parse(value, Place::Record).map(drop);
        };
        match slot.replace(MacroString::parse_domain(value)?) {
            None => Ok(()),
            Some(_) => Err("stands twice"),
        }
    }
}

/// A term as a modifier: a name, an equals sign, a value.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let mut bytes = name.bytes();
    let first = bytes.next()?.is_ascii_alphabetic();
    let rest = bytes.all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    (first && rest).then_some((name, value))
}

impl Directive {
    fn parse(term: &str) -> Result<Directive, &'static str> {
        let (verdict, rest) = match term.split_at_checked(1) {
            Some(("+", rest)) => (Verdict::Pass, rest),
            Some(("-", rest)) => (Verdict::Fail, rest),
            Some(("~", rest)) => (Verdict::Softfail, rest),
            Some(("?", rest)) => (Verdict::Neutral, rest),
            _ => (Verdict::Pass, term),
        };
        let end = rest.find([':', '/']).unwrap_or(rest.len());
        let (name, argument) = rest.split_at(end);
        let mechanism = Mechanism::parse(&name.to_ascii_lowercase(), argument)?;
        Ok(Directive {
            verdict,
            mechanism,
            text: quote(term.as_bytes()),
        })
    }
}

impl Mechanism {
    fn parse(name: &str, argument: &str) -> Result<Mechanism, &'static str> {
        match name {
            "all" if argument.is_empty() => Ok(Mechanism::All),
            "all" => Err("takes no argument"),
            "include" => Ok(Mechanism::Include(domain(argument)?)),
            "exists" => Ok(Mechanism::Exists(domain(argument)?)),
            "ptr" => Ok(Mechanism::Ptr(optional_domain(argument)?)),
            "a" | "mx" => {
                let (argument, prefixes) = prefixes(argument)?;
                let domain = optional_domain(argument)?;
                Ok(match name {
                    "a" => Mechanism::A(domain, prefixes),
                    _ => Mechanism::Mx(domain, prefixes),
                })
            }
            "ip4" => {
                let (network, length) = network(argument, 32)?;
                let network = network.parse().map_err(|_| "names no IPv4 network")?;
                Ok(Mechanism::Ip4(network, length))
            }
            "ip6" => {
                let (network, length) = network(argument, 128)?;
                let network = network.parse().map_err(|_| "names no IPv6 network")?;
                Ok(Mechanism::Ip6(network, length))
            }
            _ => Err("is no known mechanism"),
        }
    }
}

fn domain(argument: &str) -> Result<MacroString, &'static str> {
    let text = argument.strip_prefix(':').ok_or("needs a domain")?;
    MacroString::parse_domain(text)
}

fn optional_domain(argument: &str) -> Result<Option<MacroString>, &'static str> {
    match argument {
        "" => Ok(None),
        argument => domain(argument).map(Some),
    }
}

/// Cuts `dual-cidr-length` from the end (RFC 7208 §5.6). A domain cannot end in a slash and digits,
/// since its last label has none of the first, so the end decides.
fn prefixes(argument: &str) -> Result<(&str, Prefixes), &'static str> {
    let (argument, v6) = match slash_digits(argument) {
        Some((before, digits)) if before.ends_with('/') => {
            let before = before.strip_suffix('/').unwrap_or(before);
            (before, length(digits, 128)?)
        }
        _ => (argument, 128),
    };
    match slash_digits(argument) {
        Some((before, digits)) => {
            let v4 = length(digits, 32)?;
            Ok((before, Prefixes { v4, v6 }))
        }
        None => Ok((argument, Prefixes { v4: 32, v6 })),
    }
}

/// What stands before a last slash that digits follow, and the digits.
fn slash_digits(text: &str) -> Option<(&str, &str)> {
    let (before, digits) = text.rsplit_once('/')?;
    let numeric = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    numeric.then_some((before, digits))
}

fn network(argument: &str, most: u8) -> Result<(&str, u8), &'static str> {
    let text = argument.strip_prefix(':').ok_or("needs a network")?;
    match text.split_once('/') {
        None => Ok((text, most)),
        Some((network, digits)) => Ok((network, length(digits, most)?)),
    }
}

/// A prefix length without leading zeros, as the grammar has it.
fn length(digits: &str, most: u8) -> Result<u8, &'static str> {
    let plain = digits == "0" || !digits.starts_with(['0', '+']);
    let value = digits.parse().ok().filter(|&n: &u8| plain && n <= most);
    value.ok_or("has an impossible prefix length")
}

/// A term as it may be shown: cut, and nothing but printable ASCII.
fn quote(term: &[u8]) -> String {
    let shown = term.iter().take(QUOTE_MAX).map(|&b| match b {
        b if b.is_ascii_graphic() => char::from(b),
        _ => '?',
    });
    let mut shown: String = shown.collect();
    if term.len() > QUOTE_MAX {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_version_is_exact_but_for_its_case() {
        for text in ["v=spf1", "V=SPF1 -all", "v=spf1  "] {
            assert!(is_record(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "v=spf",
            "v=spf10",
            "v=spf1-all",
            " v=spf1",
            "v=spf1\t-all",
        ] {
            assert!(!is_record(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_record_is_read_term_by_term() {
        let record =
            Record::parse(b"v=spf1 a:x.example/24//64  -mx ~ip4:192.0.2.0/25 ?all x=y").unwrap();
        let verdicts: Vec<_> = record.directives.iter().map(|d| d.verdict.word()).collect();
        assert_eq!(verdicts, ["pass", "fail", "softfail", "neutral"]);
        let Mechanism::A(Some(domain), prefixes) = &record.directives[0].mechanism else {
            panic!("{record:?}");
        };
        assert_eq!(
            (domain.to_string().as_str(), prefixes.v4, prefixes.v6),
            ("x.example", 24, 64)
        );
        assert_eq!(record.directives[2].to_string(), "~ip4:192.0.2.0/25");
    }

    #[test]
    fn errors_name_the_term_and_nothing_unprintable() {
        for (text, term) in [
            (&b"v=spf1 ip4:1.2.3 -all"[..], "ip4:1.2.3"),
            (b"v=spf1 -all ip4:1.2.3.4/+8", "ip4:1.2.3.4/+8"),
            (b"v=spf1 a:e.example/", "a:e.example/"),
            (b"v=spf1 a//", "a//"),
            (b"v=spf1 mx/24/64", "mx/24/64"),
            (b"v=spf1 redirect:a.example", "redirect:a.example"),
            (b"v=spf1 exp=a.b exp=a.b", "exp=a.b"),
            (b"v=spf1 a\x1b[0m", "a?[0m"),
            (b"v=spf1 \xe9", "?"),
            (b"v=spf1 =x", "=x"),
            (b"v=spf1 x=%", "x=%"),
            (b"v=spf1 -", "-"),
            (b"v=spf1 +-all", "+-all"),
        ] {
            assert_eq!(Record::parse(text).unwrap_err().term, term);
        }
    }

    proptest! {
        #[test]
        fn no_octets_break_the_reader(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Err(malformed) = Record::parse(&text) {
                let shown = malformed.to_string();
                prop_assert!(shown.bytes().all(|b| b.is_ascii_graphic() || b == b' '));
            }
        }

        #[test]
        fn terms_read_alone_as_they_read_together(
            terms in proptest::collection::vec(
                "[-~?+]?(a|mx|ptr|all|ip4|ip6|exists|include|exp)[:=/]{0,2}[a-z0-9.%{}/:]{0,8}",
                0..6,
            ),
        ) {
            let whole = Record::parse(format!("v=spf1 {}", terms.join(" ")).as_bytes());
            let alone = |t: &String| Record::parse(format!("v=spf1 {t}").as_bytes()).is_ok();
            let twice = terms.iter().filter(|t| t.starts_with("exp=")).count() > 1;
            prop_assert_eq!(whole.is_ok(), terms.iter().all(alone) && !twice);
        }
    }
}
