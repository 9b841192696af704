//! What a sender asks to be told about its message (RFC 3461 §4; RFC 6533 §3 for UTF-8).
//!
//! Invariants: a value holds the form it had on the wire, because a relay passes on what it was
//! given (RFC 3461 §5.2.1); decoded it has no control character, so none gets into a report.
//!
//! Not here: who gets which report, and what it says.

use std::fmt;

use crate::address::Utf8;
use crate::limits;

/// `RET=`: what a failure report returns (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// `FULL`: the whole message.
    Full,
    /// `HDRS`: its header block.
    Headers,
}

impl Ret {
    /// Parses the value, in any case.
    #[must_use]
    pub fn parse(value: &str) -> Option<Ret> {
        let is = |word: &str| value.eq_ignore_ascii_case(word);
        let headers = is("HDRS").then_some(Ret::Headers);
        headers.or_else(|| is("FULL").then_some(Ret::Full))
    }
}

impl fmt::Display for Ret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ret::Full => "FULL",
            Ret::Headers => "HDRS",
        })
    }
}

/// `NOTIFY=`: when the sender wants a report (RFC 3461 §4.1). All false is `NEVER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notify {
    /// `SUCCESS`.
    pub success: bool,
    /// `FAILURE`.
    pub failure: bool,
    /// `DELAY`.
    pub delay: bool,
}

impl Notify {
    /// Parses the value, in any case; `NEVER` stands alone.
    #[must_use]
    pub fn parse(value: &str) -> Option<Notify> {
        let mut notify = Notify::default();
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(notify);
        }
        for word in value.split(',') {
            let is = |name: &str| word.eq_ignore_ascii_case(name);
            if is("SUCCESS") {
                notify.success = true;
            } else if is("FAILURE") {
                notify.failure = true;
            } else if is("DELAY") {
                notify.delay = true;
            } else {
                return None;
            }
        }
        Some(notify)
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.success, "SUCCESS"),
            (self.failure, "FAILURE"),
            (self.delay, "DELAY"),
        ];
        let mut words = words.into_iter().filter(|(wanted, _)| *wanted);
        let Some((_, first)) = words.next() else {
            return f.write_str("NEVER");
        };
        f.write_str(first)?;
        words.try_for_each(|(_, word)| write!(f, ",{word}"))
    }
}

/// `ENVID=`: the sender's name for the envelope (RFC 3461 §4.4), at most
/// [`limits::ENVELOPE_ID`] octets of xtext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeId(Box<str>);

impl EnvelopeId {
    /// Parses xtext that stands for printable ASCII.
    #[must_use]
    pub fn parse(value: &str) -> Option<EnvelopeId> {
        let short = value.is_ascii() && !value.is_empty() && value.len() <= limits::ENVELOPE_ID;
        (short && decode_xtext(value).is_some()).then(|| EnvelopeId(value.into()))
    }

    /// The xtext as it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the xtext stands for.
    #[must_use]
    pub fn decoded(&self) -> String {
        decode_xtext(&self.0).unwrap_or_default()
    }
}

/// `ORCPT=`: the recipient as the sender wrote it (RFC 3461 §4.2), at most
/// [`limits::ORIGINAL_RECIPIENT`] octets, its non-ASCII characters counted as they are escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalRecipient {
    text: Box<str>,
    /// Where the semicolon stands.
    semicolon: usize,
}

impl OriginalRecipient {
    /// Parses `address-type;xtext`. The type `utf-8` may have `\x{HEX}`, and where `utf8` allows
    /// it characters above ASCII as they are (RFC 6533 §3).
    #[must_use]
    pub fn parse(value: &str, utf8: Utf8) -> Option<OriginalRecipient> {
        let (kind, address) = value.split_once(';')?;
        let of_atom = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&c);
        let raw = !address.is_ascii();
        let raw_ok = !raw || (utf8 == Utf8::Allowed && is_utf8_type(kind));
        let original = OriginalRecipient {
            text: value.into(),
            semicolon: kind.len(),
        };
        let ok = !kind.is_empty()
            && kind.bytes().all(of_atom)
            && !address.is_empty()
            && raw_ok
            && original.escaped_len() <= limits::ORIGINAL_RECIPIENT
            && original.decode().is_some();
        ok.then_some(original)
    }

    /// The value as it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address type, as it came: `rfc822` mostly.
    #[must_use]
    pub fn address_type(&self) -> &str {
        self.text.get(..self.semicolon).unwrap_or_default()
    }

    /// The address, decoded.
    #[must_use]
    pub fn address(&self) -> String {
        self.decode().unwrap_or_default()
    }

    /// Writes it with characters above ASCII escaped: for a peer or a transaction without
    /// SMTPUTF8 (RFC 6533 §3).
    pub(crate) fn escaped(&self) -> impl fmt::Display + '_ {
        Escaped(&self.text)
    }

    fn escaped_len(&self) -> usize {
        let len = |c: char| match c {
            '\0'..='\x7f' => 1,
            '\u{80}'..='\u{ff}' => 6,
            '\u{100}'..='\u{fff}' => 7,
            '\u{1000}'..='\u{ffff}' => 8,
            '\u{10000}'..='\u{fffff}' => 9,
            _ => 10,
        };
        self.text.chars().map(len).sum()
    }

    fn decode(&self) -> Option<String> {
        let address = self.text.get(self.semicolon + 1..)?;
        let decoded = decode_xtext(address)?;
        if is_utf8_type(self.address_type()) {
            unescape(&decoded)
        } else {
            Some(decoded)
        }
    }
}

struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        self.0.chars().try_for_each(|c| match c.is_ascii() {
            true => f.write_char(c),
            false => write!(f, "\\x{{{:X}}}", u32::from(c)),
        })
    }
}

fn is_utf8_type(kind: &str) -> bool {
    kind.eq_ignore_ascii_case("utf-8")
}

/// Decodes xtext (RFC 3461 §4: `+` and two upper-case hexadecimal digits), if all that it stands
/// for is printable: ASCII, or characters above it that stand as they are.
pub(crate) fn decode_xtext(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let c = match c {
            '+' => char::from(hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?),
            ' ' | '=' => return None,
            c if c.is_control() => return None,
            c => {
                decoded.push(c);
                continue;
            }
        };
        if !matches!(c, ' '..='~') {
            return None;
        }
        decoded.push(c);
    }
    Some(decoded)
}

fn hex_digit(c: char) -> Option<u8> {
    let digit = c.to_digit(16).filter(|_| !c.is_ascii_lowercase())?;
    u8::try_from(digit).ok()
}

/// Decodes `\x{HEX}`; a backslash stands for nothing else (RFC 6533 §3).
fn unescape(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        let (digits, behind) = after.strip_prefix("x{")?.split_once('}')?;
        let well_formed =
            (2..=6).contains(&digits.len()) && digits.chars().all(|c| hex_digit(c).is_some());
        let code = u32::from_str_radix(digits, 16)
            .ok()
            .filter(|_| well_formed)?;
        let c = char::from_u32(code).filter(|c| !c.is_control())?;
        decoded.push_str(before);
        decoded.push(c);
        rest = behind;
    }
    decoded.push_str(rest);
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_stands_alone_and_the_rest_in_any_order_and_case() {
        assert_eq!(Notify::parse("never"), Some(Notify::default()));
        let all = Notify::parse("delay,Success,FAILURE").unwrap();
        assert_eq!(all.to_string(), "SUCCESS,FAILURE,DELAY");
        assert_eq!(Notify::default().to_string(), "NEVER");
        for bad in [
            "",
            "NEVER,DELAY",
            "DELAY,NEVER",
            "DELAY,",
            ",DELAY",
            "DELAY,,SUCCESS",
            "X",
        ] {
            assert_eq!(Notify::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_envelope_id_is_xtext_for_printable_ascii() {
        let id = EnvelopeId::parse("a+2Bb+20+3D~").unwrap();
        assert_eq!((id.as_str(), &*id.decoded()), ("a+2Bb+20+3D~", "a+b =~"));
        let long = "x".repeat(limits::ENVELOPE_ID + 1);
        assert!(EnvelopeId::parse(&long[1..]).is_some());
        for bad in [
            "", "+", "+2", "a+2b", "+G0", "+0A", "+0D", "+00", "+7F", "+80", "+FF", "+é0", "a b",
            "a=b", "aé", "a\u{85}", &long,
        ] {
            let parsed = EnvelopeId::parse(bad);
            assert_eq!(parsed, None, "{bad}");
        }
    }

    #[test]
    fn an_original_recipient_has_a_type_and_an_address() {
        let parse = |text| OriginalRecipient::parse(text, Utf8::Refused);
        let original = parse("rfc822;a+2Bb@c.example").unwrap();
        assert_eq!(original.address_type(), "rfc822");
        assert_eq!(original.address(), "a+b@c.example");
        // Only the type utf-8 knows escapes.
        assert_eq!(parse("x;\\x{E9}").unwrap().address(), "\\x{E9}");
        assert_eq!(parse("UTF-8;\\x{E9}@b").unwrap().address(), "é@b");
        for bad in [
            "",
            "rfc822",
            ";a@b",
            "rfc822;",
            "rf c;a@b",
            "r(c;a@b",
            "rfc822;a@b+0D+0A",
            "rfc822;+",
            "utf-8;\\",
            "utf-8;\\x{}",
            "utf-8;\\x{e9}",
            "utf-8;\\x{E9",
            "utf-8;\\x{D800}",
            "utf-8;\\x{0A}",
            "utf-8;\\x{0000041}",
            "utf-8;\\x{85}",
            "utf-8;\\x{+41}",
            "utf-8;é@b",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn characters_above_ascii_stand_as_they_are_or_escaped() {
        let original = OriginalRecipient::parse("utf-8;дé@b", Utf8::Allowed).unwrap();
        assert_eq!(original.escaped().to_string(), "utf-8;\\x{434}\\x{E9}@b");
        assert_eq!(original.escaped_len(), original.escaped().to_string().len());
        let escaped = original.escaped().to_string();
        let again = OriginalRecipient::parse(&escaped, Utf8::Refused).unwrap();
        assert_eq!(again.address(), original.address());
        assert_eq!(OriginalRecipient::parse("rfc822;é@b", Utf8::Allowed), None);
        let long = format!("utf-8;{}", "é".repeat(83));
        assert_eq!(OriginalRecipient::parse(&long, Utf8::Allowed), None);
    }
}
