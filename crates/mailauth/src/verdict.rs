//! The result words of Authentication-Results (RFC 8601 §2.7).

use std::fmt;
use std::str::FromStr;

/// What an authentication method found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verdict {
    /// There was nothing to check.
    None,
    /// It was checked, and holds.
    Pass,
    /// It was checked, and does not hold.
    Fail,
    /// SPF: probably not authorised (RFC 7208 §2.6.5).
    Softfail,
    /// Nothing is asserted either way.
    Neutral,
    /// It holds, but our own policy does not accept it (RFC 8601 §2.4).
    Policy,
    /// It could not be checked now; later it might.
    Temperror,
    /// It can never be checked: what was published or signed is malformed.
    Permerror,
}

impl Verdict {
    /// All words.
    pub const ALL: [Verdict; 8] = [
        Verdict::None,
        Verdict::Pass,
        Verdict::Fail,
        Verdict::Softfail,
        Verdict::Neutral,
        Verdict::Policy,
        Verdict::Temperror,
        Verdict::Permerror,
    ];

    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Verdict::None => "none",
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Softfail => "softfail",
            Verdict::Neutral => "neutral",
            Verdict::Policy => "policy",
            Verdict::Temperror => "temperror",
            Verdict::Permerror => "permerror",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A text is no result word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAVerdict;

impl fmt::Display for NotAVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a result word of RFC 8601")
    }
}

impl std::error::Error for NotAVerdict {}

impl FromStr for Verdict {
    type Err = NotAVerdict;

    /// Reads a word in whatever case (RFC 8601 §2.7 words are case-insensitive).
    fn from_str(text: &str) -> Result<Self, NotAVerdict> {
        let found = Verdict::ALL
            .into_iter()
            .find(|v| v.word().eq_ignore_ascii_case(text));
        found.ok_or(NotAVerdict)
    }
}

#[cfg(test)]
mod tests {
    use super::{NotAVerdict, Verdict};

    #[test]
    fn every_word_reads_back_in_any_case() {
        for verdict in Verdict::ALL {
            assert_eq!(verdict.to_string().parse(), Ok(verdict));
            assert_eq!(verdict.to_string().to_uppercase().parse(), Ok(verdict));
        }
        assert_eq!("passed".parse::<Verdict>(), Err(NotAVerdict));
    }
}
