//! Macro strings (RFC 7208 §7): read strictly, expanded within bounds.
//!
//! Invariants: what is read holds printable ASCII and, in an explanation, spaces; an expansion has
//! at most [`EXPANSION_MAX`] octets whatever the macros stand for. Letters `c`, `r` and `t` are
//! read in an explanation only.
//!
//! This module does **not** look anything up: the value of `p` is given to it.

use std::fmt::{self, Write as _};

/// Most octets of an expansion. A name keeps its right end, of which 253 octets can matter.
pub(super) const EXPANSION_MAX: usize = 4096;

/// The value of every macro letter in one evaluation. A value that is `None` has octets above 127:
/// a term that uses it never matches (RFC 8616 §4).
pub(super) trait Values {
    /// The value of `letter`, a lower-case macro letter.
    fn value(&self, letter: char) -> Option<String>;
}

/// A macro string, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MacroString {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Literal(String),
    Macro(Macro),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Macro {
    /// Lower case.
    letter: char,
    /// Written in upper case: the value is escaped as in a URL.
    escaped: bool,
    /// How many parts from the right are kept.
    parts: Option<usize>,
    reversed: bool,
    delimiters: String,
}

/// Where a macro string stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In a record: in a domain-spec or an unknown modifier.
    Record,
    /// The text that `exp=` leads to.
    Explanation,
}

impl MacroString {
    /// Reads `text`; `Err` says what is wrong.
    pub(super) fn parse(text: &str, place: Place) -> Result<MacroString, &'static str> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            if c != '%' {
                if !(c.is_ascii_graphic() || (c == ' ' && place == Place::Explanation)) {
                    return Err("has a character that is not printable ASCII");
                }
                literal.push(c);
                continue;
            }
            // What stands for a macro ends the literal, so that a domain may end with it.
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            let (piece, tail) = percent(rest, place)?;
            pieces.push(piece);
            rest = tail;
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        let text = text.to_owned();
        Ok(MacroString { text, pieces })
    }

    /// Reads a domain-spec (RFC 7208 §7.1): it ends with a macro, or with a dot and a label that is
    /// not all digits.
    pub(super) fn parse_domain(text: &str) -> Result<MacroString, &'static str> {
        let read = MacroString::parse(text, Place::Record)?;
        // The text decides, since `%%` is a literal that ends a domain as a macro does.
        let tail = tail_literal(text);
        match tail {
            "" if text.is_empty() => Err("names no domain"),
            "" => Ok(read),
            tail => {
                let tail = tail.strip_suffix('.').unwrap_or(tail);
                let top = tail.rsplit_once('.').map(|(_, label)| label);
                match top.is_some_and(is_top_label) {
                    true => Ok(read),
                    false => Err("names no domain: its last label cannot be a top-level domain"),
                }
            }
        }
    }

    /// Whether the letter is used.
    pub(super) fn uses(&self, letter: char) -> bool {
        self.pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Macro(m) if m.letter == letter))
    }

    /// The name this stands for, cut from the left to what can be asked for (RFC 7208 §7.3). `None`
    /// when a value is not ASCII.
    pub(super) fn expand_name(&self, values: &dyn Values) -> Option<String> {
        let mut out = String::new();
        for piece in &self.pieces {
            piece.expand(values, &mut out)?;
            if out.len() > EXPANSION_MAX {
                out.drain(..out.len() - EXPANSION_MAX / 2);
            }
        }
        let mut name = out.strip_suffix('.').unwrap_or(&out);
        while name.len() > 253 {
            name = name.split_once('.').map_or("", |(_, rest)| rest);
        }
        Some(name.to_owned())
    }

    /// The text this stands for, cut at [`EXPANSION_MAX`] octets. `None` when a value is not ASCII.
    pub(super) fn expand_text(&self, values: &dyn Values) -> Option<String> {
        let mut out = String::new();
        for piece in &self.pieces {
            piece.expand(values, &mut out)?;
            if out.len() > EXPANSION_MAX {
                out.truncate(EXPANSION_MAX);
                break;
            }
        }
        Some(out)
    }
}

impl fmt::Display for MacroString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What follows a percent sign, and the rest.
fn percent(rest: &str, place: Place) -> Result<(Piece, &str), &'static str> {
    let literal = |text: &str| Piece::Literal(text.to_owned());
    let escapes = [("%", "%"), ("_", " "), ("-", "%20")];
    for (sign, text) in escapes {
        if let Some(tail) = rest.strip_prefix(sign) {
            return Ok((literal(text), tail));
        }
    }
    let inside = rest.strip_prefix('{').and_then(|r| r.split_once('}'));
    let (inside, tail) = inside.ok_or("has a percent sign that starts no macro")?;
    Ok((Piece::Macro(Macro::parse(inside, place)?), tail))
}

/// The literal after the last macro or percent escape of a well-formed macro string.
fn tail_literal(text: &str) -> &str {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        rest = match after.strip_prefix('{') {
            Some(inside) => inside.split_once('}').map_or("", |(_, tail)| tail),
            None => after.get(1..).unwrap_or_default(),
        };
    }
    rest
}

/// `toplabel` (RFC 7208 §7.1): letters, digits and hyphens inside, and not all digits.
fn is_top_label(label: &str) -> bool {
    let inner = label
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let ends = !label.starts_with('-') && !label.ends_with('-');
    inner && ends && label.bytes().any(|b| !b.is_ascii_digit())
}

impl Macro {
    fn parse(inside: &str, place: Place) -> Result<Macro, &'static str> {
        let mut chars = inside.chars();
        let written = chars.next().ok_or("has an empty macro")?;
        let letter = written.to_ascii_lowercase();
        match letter {
            's' | 'l' | 'o' | 'd' | 'i' | 'p' | 'v' | 'h' => {}
            'c' | 'r' | 't' if place == Place::Explanation => {}
            'c' | 'r' | 't' => return Err("uses a macro that only explanations have"),
            _ => return Err("uses an unknown macro letter"),
        }
        let rest = chars.as_str();
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let (digits, rest) = rest.split_at(digits.unwrap_or(rest.len()));
        let parts = match digits {
            "" => None,
            // More parts than a number can say are all parts.
            digits => Some(digits.parse().unwrap_or(usize::MAX)),
        };
        if parts == Some(0) {
            return Err("has a macro that keeps no part");
        }
        let reversed = rest.starts_with(['r', 'R']);
        let delimiters = if reversed {
            rest.get(1..).unwrap_or_default()
        } else {
            rest
        };
        if !delimiters.chars().all(|c| ".-+,/_=".contains(c)) {
            return Err("has a macro with an unknown transformer or delimiter");
        }
        Ok(Macro {
            letter,
            escaped: written.is_ascii_uppercase(),
            parts,
            reversed,
            delimiters: delimiters.to_owned(),
        })
    }

    fn expand(&self, values: &dyn Values, out: &mut String) -> Option<()> {
        let value = values.value(self.letter)?;
        if self.parts.is_none() && !self.reversed && self.delimiters.is_empty() {
            self.push(&value, out);
            return Some(());
        }
        let delimiters = match self.delimiters.as_str() {
            "" => ".",
            some => some,
        };
        let mut parts: Vec<&str> = value.split(|c| delimiters.contains(c)).collect();
        if self.reversed {
            parts.reverse();
        }
        let kept = self.parts.unwrap_or(usize::MAX).min(parts.len());
        let parts = parts.split_off(parts.len() - kept);
        self.push(&parts.join("."), out);
        Some(())
    }

    fn push(&self, value: &str, out: &mut String) {
        if !self.escaped {
            out.push_str(value);
            return;
        }
        // The unreserved characters of RFC 3986 §2.3 stay.
        for b in value.bytes() {
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                out.push(b.into());
            } else {
                let _ = write!(out, "%{b:02X}");
            }
        }
    }
}

impl Piece {
    fn expand(&self, values: &dyn Values, out: &mut String) -> Option<()> {
        match self {
            Piece::Literal(text) => out.push_str(text),
            Piece::Macro(m) => m.expand(values, out)?,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The values of the examples in RFC 7208 §7.4.
    pub(crate) struct Examples(&'static str);

    impl Values for Examples {
        fn value(&self, letter: char) -> Option<String> {
            let value = match letter {
                's' => "strong-bad@email.example.com",
                'l' => "strong-bad",
                'o' | 'd' => "email.example.com",
                'i' => self.0,
                'v' if self.0.len() > 15 => "ip6",
                'v' => "in-addr",
                'h' => "mx.example.org",
                'p' => "unknown",
                'c' => "192.0.2.3",
                'r' => "receiver.example",
                't' => "1",
                _ => return None,
            };
            Some(value.to_owned())
        }
    }

    const V6: &str = "2.0.0.1.0.d.b.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.c.b.0.1";

    #[test]
    fn the_examples_of_the_rfc_expand_as_it_says() {
        let v4 = Examples("192.0.2.3");
        for (text, want) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}", "strong-bad"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            (
                "%{ir}.%{v}._spf.%{d2}",
                "3.2.0.192.in-addr._spf.example.com",
            ),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            (
                "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}",
                "bad.strong.lp.3.2.0.192.in-addr._spf.example.com",
            ),
            (
                "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}",
                "3.2.0.192.in-addr.strong.lp._spf.example.com",
            ),
            (
                "%{d2}.trusted-domains.example.net",
                "example.com.trusted-domains.example.net",
            ),
            ("%%%_%-%{S}", "% %20strong-bad%40email.example.com"),
        ] {
            let read = MacroString::parse_domain(text).unwrap();
            assert_eq!(read.expand_name(&v4).as_deref(), Some(want), "{text}");
        }
        let read = MacroString::parse_domain("%{ir}.%{v}._spf.%{d2}").unwrap();
        let want = "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.\
                    ip6._spf.example.com";
        assert_eq!(read.expand_name(&Examples(V6)).as_deref(), Some(want));
    }

    #[test]
    fn what_the_grammar_does_not_have_is_refused() {
        for text in [
            "%", "%x", "%{", "%{}", "%{z}", "%{d0}", "%{dx}", "%{d,r}", "%{c}.a.b",
        ] {
            assert!(MacroString::parse(text, Place::Record).is_err(), "{text}");
        }
        for text in [
            "", "a", "a.", "museum", "a.b-", "a.-b", "a.12", "%{d}com", "a.b..", "a b.c",
        ] {
            assert!(MacroString::parse_domain(text).is_err(), "{text}");
        }
        for text in [
            "a.b", "a.b.", "%{d}", "%{d}.com", "a.x-y", "a%%", "a.1b", "a..b",
        ] {
            assert!(MacroString::parse_domain(text).is_ok(), "{text}");
        }
        assert!(MacroString::parse("%{c} is %{R} at %{t}", Place::Explanation).is_ok());
    }

    #[test]
    fn a_name_too_long_loses_its_left_labels() {
        let text = format!("{}example.com", "0123456789.".repeat(40));
        let name = MacroString::parse_domain(&text).unwrap();
        let name = name.expand_name(&Examples("")).unwrap();
        assert!(name.len() <= 253 && name.len() > 242 && name.ends_with("9.example.com"));
        assert!(name.starts_with("0123456789."));
    }

    proptest! {
        #[test]
        fn expansions_are_bounded_whatever_is_written(
            text in "(%[{][slodipvhSLO][0-9]{0,2}r?[-.]?[}]|[ -~]|%.){0,900}",
        ) {
            if let Ok(read) = MacroString::parse(&text, Place::Record) {
                prop_assert!(read.expand_name(&Examples(V6)).unwrap().len() <= 253);
                prop_assert!(read.expand_text(&Examples(V6)).unwrap().len() <= EXPANSION_MAX);
                prop_assert_eq!(read.to_string(), text);
            }
        }
    }
}
