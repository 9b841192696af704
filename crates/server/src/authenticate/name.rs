//! Names of accounts, and passwords, made comparable (SASLprep, RFC 4013).
//!
//! A [`Name`] is what the file of accounts can hold: visible characters without `:`; prepared, in
//! lower case, its domain in A-labels, so that every way to write an address means one account.
//! What a peer claims is [`Claimed`]: perhaps no name at all. Neither does a name say whether there
//! is such an account, nor is it safe in a query of another system: whoever asks one escapes it.

use std::borrow::Cow;
use std::fmt;

use crate::config::text;
use crate::telemetry::clean;

/// Longest name of an account in octets: a path without its brackets (RFC 5321 §4.5.3.1.3).
pub const NAME_MAX: usize = 254;

/// Longest password in octets; longer ones are wrong without being looked at.
pub const PASSWORD_MAX: usize = 1024;

/// Octets of a claimed name that are kept for records.
const CLAIM_KEPT: usize = 256;

/// The name of an account.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Name(Box<str>);

impl Name {
    /// Prepares `text`; `None` when no account can have that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Name> {
        if text.len() > NAME_MAX {
            return None;
        }
        let prepared = stringprep::saslprep(text).ok()?.to_lowercase();
        let fit = |c: char| !c.is_control() && !c.is_whitespace() && c != ':';
        let is_name =
            !prepared.is_empty() && !prepared.starts_with(['#', '{']) && prepared.chars().all(fit);
        if !is_name {
            return None;
        }
        let name = match prepared.rsplit_once('@') {
            Some((local, domain)) => match text::domain_name(domain) {
                Ok(domain) => format!("{local}@{domain}"),
                Err(_) => prepared,
            },
            None => prepared,
        };
        // Unicode 3.2, which SASLprep knows, lacks the lower case of some of its letters.
        let is_own = stringprep::saslprep(&name).is_ok_and(|again| again == name);
        (is_own && name.len() <= NAME_MAX).then(|| Name(name.into()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who a peer says it is.
#[derive(Clone, Debug)]
pub struct Claimed {
    name: Option<Name>,
    octets: Box<[u8]>,
}

impl Claimed {
    /// Takes what the peer sent.
    #[must_use]
    pub fn new(octets: &[u8]) -> Claimed {
        Claimed {
            name: std::str::from_utf8(octets).ok().and_then(Name::parse),
            octets: octets.get(..CLAIM_KEPT).unwrap_or(octets).into(),
        }
    }

    /// The name; `None` when no account can have it.
    #[must_use]
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Whether both mean the same user.
    #[must_use]
    pub fn is(&self, other: &Claimed) -> bool {
        self.name == other.name && (self.name.is_some() || self.octets == other.octets)
    }

    /// The same for every way to write one name; of what is none, the start of what came.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        match &self.name {
            Some(name) => name.as_str().as_bytes(),
            None => &self.octets,
        }
    }

    /// For records: the name, or what of the claim can be shown.
    #[must_use]
    pub fn shown(&self) -> Cow<'_, str> {
        match &self.name {
            Some(name) => clean(name.as_str()),
            None => {
                let text = String::from_utf8_lossy(&self.octets);
                Cow::Owned(clean(&text).into_owned())
            }
        }
    }
}

/// A password, as a peer or the operator gave it. Nothing shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<[u8]>);

impl Password {
    /// Takes it as it came.
    #[must_use]
    pub fn new(octets: &[u8]) -> Password {
        Password(octets.into())
    }

    /// The octets to compare, most likely first: prepared, and as they came where that differs.
    /// Hashes that other programs made are of unprepared passwords. None for an empty password or
    /// one that is too long.
    #[must_use]
    pub fn forms(&self) -> Vec<Cow<'_, [u8]>> {
        if self.0.is_empty() || self.0.len() > PASSWORD_MAX {
            return Vec::new();
        }
        let raw = Cow::Borrowed(&*self.0);
        match self.prepared() {
            Some(prepared) if prepared.as_bytes() != &*self.0 => {
                vec![Cow::Owned(prepared.into_owned().into_bytes()), raw]
            }
            _ => vec![raw],
        }
    }

    /// The prepared password; `None` when it is empty, too long, not UTF-8, or holds characters
    /// that cannot be typed reliably.
    #[must_use]
    pub fn prepared(&self) -> Option<Cow<'_, str>> {
        let text = std::str::from_utf8(&self.0).ok()?;
        if self.0.len() > PASSWORD_MAX {
            return None;
        }
        let prepared = stringprep::saslprep(text).ok()?;
        // SASLprep lets controls of ASCII through where nothing else asks for preparation.
        let typed = !prepared.is_empty() && !prepared.chars().any(char::is_control);
        typed.then_some(prepared)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Option<String> {
        Name::parse(text).map(|n| n.to_string())
    }

    #[test]
    fn every_way_to_write_an_address_is_one_name() {
        for text in [
            "Alice@Bücher.Example",
            "alice@xn--bcher-kva.example",
            "ａlice@bücher.example",
            "al\u{ad}ice@bücher.example",
        ] {
            assert_eq!(
                name(text).as_deref(),
                Some("alice@xn--bcher-kva.example"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_the_file_cannot_hold_is_no_name() {
        for text in [
            "", " ", "a b", "a:b", "a\0b", "a\nb", "#a", "{PLAIN}", "a\u{a0}b", "a\u{7}",
        ] {
            assert_eq!(name(text), None, "{text:?}");
        }
        assert_eq!(name(&"x".repeat(NAME_MAX + 1)), None);
    }

    #[test]
    fn names_that_attack_other_systems_are_names_like_others() {
        for text in [
            "*)(uid=*",
            "'or'1'='1",
            "\"a\"",
            "..@example.org",
            "a@b@c",
            "%00",
        ] {
            assert!(name(text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_claim_of_a_megabyte_is_kept_as_its_start() {
        let claimed = Claimed::new(&vec![b'x'; 1 << 20]);
        assert_eq!(claimed.name(), None);
        assert_eq!(claimed.octets().len(), CLAIM_KEPT);
    }

    #[test]
    fn a_claim_is_shown_without_what_moves_a_cursor() {
        assert_eq!(Claimed::new(b"a\xff\x9b").shown(), "a\u{fffd}\u{fffd}");
        assert_eq!(Claimed::new("a\u{9b}2J".as_bytes()).shown(), "a\u{fffd}2J");
    }

    #[test]
    fn a_password_is_compared_prepared_and_as_it_came() {
        // RFC 4013 §3: the examples.
        let forms = |text: &str| Password::new(text.as_bytes()).forms().len();
        assert_eq!(
            Password::new("I\u{ad}X".as_bytes()).prepared().unwrap(),
            "IX"
        );
        assert_eq!(
            Password::new("\u{2168}".as_bytes()).prepared().unwrap(),
            "IX"
        );
        assert_eq!(Password::new("USER".as_bytes()).prepared().unwrap(), "USER");
        assert_eq!(Password::new(b"\x07").prepared(), None);
        assert_eq!(Password::new("\u{627}1".as_bytes()).prepared(), None);
        assert_eq!((forms("plain"), forms("\u{2168}"), forms("")), (1, 2, 0));
        assert_eq!(forms(&"x".repeat(PASSWORD_MAX + 1)), 0);
    }

    #[test]
    fn a_password_is_never_printed() {
        assert!(!format!("{:?}", Password::new(b"secret")).contains("secret"));
    }

    #[test]
    fn a_letter_whose_lower_case_cannot_be_prepared_is_in_no_name() {
        assert_eq!(Name::parse("\u{10a0}"), None);
    }

    proptest! {
        #[test]
        fn a_name_is_its_own_name(text in "\\PC{0,40}") {
            if let Some(first) = Name::parse(&text) {
                prop_assert_eq!(Name::parse(first.as_str()), Some(first));
            }
        }

        #[test]
        fn any_octets_can_be_claimed(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
            let claimed = Claimed::new(&octets);
            let steers = |c: char| ('\u{7f}'..='\u{9f}').contains(&c);
            prop_assert!(!claimed.shown().chars().any(steers));
            let _ = Password::new(&octets).forms();
        }
    }
}
