//! The part left of the `@` (RFC 5321 §4.1.2).

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use super::{AddressError, Utf8};
use crate::limits;

/// The part left of the `@`: its meaning (unquoted), from which the wire form is made.
/// `Display` gives the wire form: quoted only when it must be (RFC 5321 §4.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalPart {
    value: Box<str>,
}

impl LocalPart {
    /// Parses the wire form: a dot-string or a quoted string, at most 64 octets.
    pub fn parse(wire: &str, utf8: Utf8) -> Result<LocalPart, AddressError> {
        match LocalPart::parse_prefix(wire, utf8)? {
            (local_part, "") => Ok(local_part),
            _ => Err(AddressError::Syntax),
        }
    }

    /// Makes one from its meaning (no quotes, no backslashes); the wire form, which quotes as
    /// needed, must have at most 64 octets.
    pub fn from_value(value: &str, utf8: Utf8) -> Result<LocalPart, AddressError> {
        for c in value.chars() {
            utf8.check(c)?;
        }
        let local_part = LocalPart {
            value: value.into(),
        };
        if local_part.to_string().len() > limits::LOCAL_PART {
            return Err(AddressError::LocalPartTooLong);
        }
        Ok(local_part)
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

    /// Parses a local part at the start of `text`; gives what follows it.
    pub(super) fn parse_prefix(text: &str, utf8: Utf8) -> Result<(LocalPart, &str), AddressError> {
        let (value, rest) = match text.strip_prefix('"') {
            Some(quoted) => unquote(quoted, utf8)?,
            None => {
                let end = text.find('@').unwrap_or(text.len());
                let (value, rest) = text.split_at_checked(end).ok_or(AddressError::Syntax)?;
                check_dot_string(value, utf8)?;
                (Cow::Borrowed(value), rest)
            }
        };
        if text.len() - rest.len() > limits::LOCAL_PART {
            return Err(AddressError::LocalPartTooLong);
        }
        Ok((
            LocalPart {
                value: value.into(),
            },
            rest,
        ))
    }
}

impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if check_dot_string(&self.value, Utf8::Allowed).is_ok() {
            return f.write_str(&self.value);
        }
        f.write_char('"')?;
        for c in self.value.chars() {
            if matches!(c, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        f.write_char('"')
    }
}

/// `Atom *("." Atom)`.
fn check_dot_string(value: &str, utf8: Utf8) -> Result<(), AddressError> {
    let mut after_dot = true;
    for c in value.chars() {
        match c {
            '.' if after_dot => return Err(AddressError::Syntax),
            '.' => after_dot = true,
            _ => {
                utf8.check(c)?;
                if c.is_ascii() && !is_atext(c) {
                    return Err(AddressError::Syntax);
                }
                after_dot = false;
            }
        }
    }
    if after_dot {
        Err(AddressError::Syntax)
    } else {
        Ok(())
    }
}

/// RFC 5322 §3.2.3.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c)
}

/// What a quoted string means, and what follows its closing quote; `text` starts behind the
/// opening one.
fn unquote(text: &str, utf8: Utf8) -> Result<(Cow<'_, str>, &str), AddressError> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let (_, rest) = text.split_at_checked(at + 1).ok_or(AddressError::Syntax)?;
                return Ok((value.into(), rest));
            }
            '\\' => match chars.next() {
                Some((_, c @ ' '..='~')) => value.push(c),
                _ => return Err(AddressError::Syntax),
            },
            _ => {
                utf8.check(c)?;
                value.push(c);
            }
        }
    }
    Err(AddressError::Syntax)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_is_not_part_of_the_meaning() {
        for (wire, value, shortest) in [
            ("a.b", "a.b", "a.b"),
            ("\"a.b\"", "a.b", "a.b"),
            ("\"a b\"", "a b", "\"a b\""),
            (r#""a\b""#, "ab", "ab"),
            (r#""a\"b""#, "a\"b", r#""a\"b""#),
            (r#""a\\b""#, r"a\b", r#""a\\b""#),
            ("\"\"", "", "\"\""),
            ("\"a..b\"", "a..b", "\"a..b\""),
            ("\"@\"", "@", "\"@\""),
        ] {
            let local_part = LocalPart::parse(wire, Utf8::Refused).unwrap();
            assert_eq!(local_part.as_str(), value, "{wire}");
            assert_eq!(local_part.to_string(), shortest, "{wire}");
            assert_eq!(
                LocalPart::from_value(value, Utf8::Refused),
                Ok(local_part),
                "{wire}"
            );
        }
    }

    #[test]
    fn what_is_no_local_part_is_refused() {
        for bad in [
            "", ".a", "a.", "a..b", "a b", "\"a", "\"a\"b", "\"\\\"", "a\"b\"", "(a)", "\"\0\"",
        ] {
            assert_eq!(
                LocalPart::parse(bad, Utf8::Allowed),
                Err(AddressError::Syntax),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn sixty_four_octets_are_the_limit_with_quotes() {
        let check = |text: String| LocalPart::parse(&text, Utf8::Refused).map(|_| ());
        assert_eq!(check("a".repeat(64)), Ok(()));
        assert_eq!(check("a".repeat(65)), Err(AddressError::LocalPartTooLong));
        assert_eq!(check(format!("\"{}\"", " ".repeat(62))), Ok(()));
        assert_eq!(
            check(format!("\"{}\"", " ".repeat(63))),
            Err(AddressError::LocalPartTooLong)
        );
        let value = LocalPart::from_value(&" ".repeat(63), Utf8::Refused);
        assert_eq!(value, Err(AddressError::LocalPartTooLong));
    }

    #[test]
    fn utf8_is_refused_unless_allowed() {
        for wire in ["дело", "\"дело\"", "jürgen.x"] {
            assert_eq!(
                LocalPart::parse(wire, Utf8::Refused),
                Err(AddressError::Utf8)
            );
            assert!(LocalPart::parse(wire, Utf8::Allowed).is_ok(), "{wire}");
        }
        assert_eq!(
            LocalPart::parse("a\u{85}", Utf8::Allowed),
            Err(AddressError::Syntax)
        );
    }
}
