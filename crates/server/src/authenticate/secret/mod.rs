//! One secret of an account: what a line of the file of accounts says.
//!
//! A line is one of a passwd-file as Dovecot reads it (`user:{SCHEME}hash:::::: key=value …`); an
//! account has as many lines as it has secrets. The keys that are ours are `label`, `scram`,
//! `cram-md5` and `expires`; those of Dovecot that are obeyed are `nologin` and `allow_nets`; the
//! others are ignored. docs/reference/accounts.md is the format's page.
//!
//! This module does **not** read files.

pub mod cram_md5;
pub mod hash;
pub mod scram;

use std::net::IpAddr;

use posthaste_world::{Random, Timestamp};

use super::name::{Name, Password};
use crate::config::{Network, Networks};
use hash::{Hash, Recipe};
use scram::{KEY, Keys, mac};

/// Longest label in octets.
const LABEL_MAX: usize = 64;

/// What tells a secret from any other.
pub type Fingerprint = [u8; KEY];

/// One secret.
#[derive(Clone, Debug)]
pub struct Secret {
    /// What the user calls it; empty for the main password.
    pub label: Box<str>,
    /// What a password is compared with, or why none is right.
    pub hash: Result<Hash, String>,
    /// What SCRAM-SHA-256 needs.
    pub scram: Option<Keys>,
    /// What CRAM-MD5 needs.
    pub cram_md5: Option<cram_md5::Key>,
    /// Of all that is compared with: another one, once the secret was changed.
    pub fingerprint: Fingerprint,
    limits: Limits,
}

/// When and from where a secret can be used.
#[derive(Clone, PartialEq, Debug, Default)]
struct Limits {
    locked: bool,
    /// The first instant at which it is no longer good.
    expires: Option<Timestamp>,
    networks: Option<Networks>,
}

impl Secret {
    /// Reads a line that is neither empty nor a comment.
    ///
    /// # Errors
    /// Why the line cannot be used at all.
    pub fn parse(line: &str) -> Result<(Name, Secret), String> {
        let mut fields = line.splitn(8, ':');
        let name = fields.next().unwrap_or_default();
        let name = Name::parse(name).ok_or("its name cannot be one of an account")?;
        let field = fields.next().ok_or("there is no `:` after its name")?;
        let hash = Hash::parse(field);
        let mut secret = Secret {
            label: Box::default(),
            scram: match (&hash, field.split_once('}')) {
                (Ok(Hash::Cooked(Recipe::Scram(_), _)), Some((_, keys))) => Keys::parse(keys).ok(),
                _ => None,
            },
            cram_md5: match &hash {
                Ok(Hash::CramMd5(key)) => Some(key.clone()),
                Ok(Hash::Plain(password)) => Some(cram_md5::Key::derive(password)),
                _ => None,
            },
            hash,
            fingerprint: [0; KEY],
            limits: Limits::default(),
        };
        let mut compared = vec![field];
        for extra in fields.nth(5).unwrap_or_default().split_ascii_whitespace() {
            let (key, value) = extra.split_once('=').unwrap_or((extra, ""));
            if ["scram", "cram-md5"].contains(&key) {
                compared.push(extra);
            }
            secret
                .extra(key, value)
                .map_err(|why| format!("its `{key}` is wrong: {why}"))?;
        }
        secret.fingerprint = mac(b"fingerprint", compared.join(" ").as_bytes());
        Ok((name, secret))
    }

    fn extra(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "label" => self.label = label(value)?.into(),
            "scram" => self.scram = Some(Keys::parse(value)?),
            "cram-md5" => self.cram_md5 = Some(cram_md5::Key::parse(value)?),
            "expires" => self.limits.expires = Some(end_of(value)?),
            "nologin" => self.limits.locked = value != "n" && value != "no",
            "allow_nets" => {
                let parsed: Result<Vec<_>, _> = value.split(',').map(Network::parse).collect();
                let networks = parsed.map_err(|bad| bad.cause)?;
                self.limits.networks = Some(networks.into_iter().collect());
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether it can be used now from `peer`; no address is a Unix socket's.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp, peer: Option<IpAddr>) -> bool {
        let Limits {
            locked,
            expires,
            networks,
        } = &self.limits;
        let near = |networks: &Networks| peer.is_some_and(|ip| networks.contain(ip));
        // Who locks the hash means the line: its keys for other mechanisms are locked, too.
        let opens = self.hash.is_ok() && !locked;
        opens && expires.is_none_or(|end| now < end) && networks.as_ref().is_none_or(near)
    }

    /// Why nobody can use it whenever and from wherever; none when somebody can.
    #[must_use]
    pub fn flaw(&self) -> Option<&str> {
        match &self.hash {
            Err(why) => Some(why),
            Ok(_) if self.limits.locked => Some("it is locked (`nologin`)"),
            Ok(_) => None,
        }
    }

    /// The day after which it is not good, as `YYYY-MM-DD`.
    #[must_use]
    pub fn last_day(&self) -> Option<String> {
        let end = self.limits.expires?;
        let ms = i64::try_from(end.as_millis()).ok()?.checked_sub(1)?;
        let last = jiff::Timestamp::from_millisecond(ms).ok()?;
        // RFC 3339 begins with the day.
        Some(last.to_string().split('T').next()?.to_string())
    }
}

/// What a new secret is made of.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Whose it is.
    pub name: &'a Name,
    /// The password.
    pub password: &'a Password,
    /// Its label; empty for the main password.
    pub label: &'a str,
    /// Whether what CRAM-MD5 needs is stored, too.
    pub cram_md5: bool,
    /// The last day on which it is good, as `YYYY-MM-DD`.
    pub expires: Option<&'a str>,
}

/// The line of a new secret. `others` are those that the account has already: one salt serves all.
/// What else the line says of the secret that it replaces (`old`) is kept: a new password widens
/// nobody's rights.
///
/// # Errors
/// Why there can be no such secret.
pub fn make(
    wanted: &Wanted<'_>,
    others: &[Secret],
    old: Option<&str>,
    random: &dyn Random,
) -> Result<String, String> {
    let Some(password) = wanted.password.prepared() else {
        return Err(
            "the password is empty, too long, or holds characters that cannot be \
                    typed reliably"
                .into(),
        );
    };
    let password = password.as_bytes();
    let fresh = || {
        let mut salt = vec![0; scram::SALT];
        random.fill(&mut salt);
        salt
    };
    let hash_salt = others.iter().find_map(|s| match &s.hash {
        Ok(Hash::Cooked(recipe, _)) => recipe.our_salt().map(<[u8]>::to_vec),
        _ => None,
    });
    let hash = hash::make(password, &hash_salt.unwrap_or_else(fresh));
    let hash = hash.ok_or("there is no memory to hash it")?;
    let salts = others
        .iter()
        .filter_map(|s| s.scram.as_ref())
        .map(|keys| &keys.salt);
    let salt = salts
        .into_iter()
        .find(|s| s.iterations >= scram::ITERATIONS);
    let salt = salt.cloned().unwrap_or_else(|| scram::Salt {
        iterations: scram::ITERATIONS,
        octets: fresh().into(),
    });
    let (middle, mut extras) = kept(old.unwrap_or_default());
    if !wanted.label.is_empty() {
        extras.push(format!("label={}", label(wanted.label)?));
    }
    extras.push(format!("scram={}", Keys::derive(password, salt)));
    if wanted.cram_md5 {
        extras.push(format!("cram-md5={}", cram_md5::Key::derive(password)));
    }
    if let Some(day) = wanted.expires {
        end_of(day)?;
        extras.retain(|e| !e.starts_with("expires="));
        extras.push(format!("expires={day}"));
    }
    let extras = extras.join(" ");
    Ok(format!(
        "{}:{{ARGON2ID}}{hash}:{middle}:{extras}",
        wanted.name
    ))
}

/// What a line says besides name and password: the fields of the system's users, and the keys that
/// a new password leaves as they are.
fn kept(line: &str) -> (String, Vec<String>) {
    let mut fields = line.splitn(8, ':').skip(2);
    let middle: Vec<&str> = (0..5).map(|_| fields.next().unwrap_or_default()).collect();
    let extras = fields.next().unwrap_or_default().split_ascii_whitespace();
    let ours = ["label=", "scram=", "cram-md5="];
    let extras = extras.filter(|e| !ours.iter().any(|key| e.starts_with(key)));
    (middle.join(":"), extras.map(Into::into).collect())
}

/// A label as it can stand in a line.
fn label(text: &str) -> Result<&str, String> {
    let fit = |c: char| !c.is_whitespace() && !c.is_control() && c != ':';
    match !text.is_empty() && text.len() <= LABEL_MAX && text.chars().all(fit) {
        true => Ok(text),
        false => Err("a label has 1 to 64 visible characters, without spaces and `:`".into()),
    }
}

/// The end of a day of UTC.
fn end_of(day: &str) -> Result<Timestamp, String> {
    let wrong = || format!("`{day}` is not a day like 2027-12-31");
    let date: jiff::civil::Date = day.parse().map_err(|_| wrong())?;
    let next = date.tomorrow().map_err(|_| wrong())?;
    let start: jiff::Timestamp = format!("{next}T00:00:00Z").parse().map_err(|_| wrong())?;
    let ms = u64::try_from(start.as_millisecond()).map_err(|_| wrong())?;
    Ok(Timestamp::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Counting;
    impl Random for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.iter_mut().zip(1..).for_each(|(b, n)| *b = n);
        }
    }

    fn day(text: &str) -> Timestamp {
        let at: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_millis(u64::try_from(at.as_millisecond()).unwrap())
    }

    fn parse(line: &str) -> Secret {
        Secret::parse(line).unwrap().1
    }

    fn wanted<'a>(name: &'a Name, password: &'a Password) -> Wanted<'a> {
        Wanted {
            name,
            password,
            label: "",
            cram_md5: false,
            expires: None,
        }
    }

    #[test]
    fn a_line_that_is_made_can_be_read() {
        let (name, password) = (Name::parse("alice@example.org").unwrap(), "pencil");
        let password = Password::new(password.as_bytes());
        let wanted = Wanted {
            label: "phone",
            cram_md5: true,
            expires: Some("2027-12-31"),
            ..wanted(&name, &password)
        };
        let line = make(&wanted, &[], None, &Counting).unwrap();
        let (read, secret) = Secret::parse(&line).unwrap();
        assert_eq!((read, &*secret.label), (name, "phone"));
        let hash = secret.hash.as_ref().unwrap();
        assert_eq!(hash::all([hash].into_iter(), &password.forms()), [0]);
        assert!(secret.scram.is_some() && secret.cram_md5.is_some());
        assert_eq!(secret.last_day().as_deref(), Some("2027-12-31"));
        assert!(!line.contains("pencil"));
    }

    #[test]
    fn a_line_whose_hash_is_locked_lets_nobody_in_by_its_other_keys() {
        let name = Name::parse("alice@example.org").unwrap();
        let password = Password::new(b"pencil");
        let wanted = Wanted {
            cram_md5: true,
            ..wanted(&name, &password)
        };
        let line = make(&wanted, &[], None, &Counting).unwrap();
        assert!(parse(&line).is_usable(Timestamp::EPOCH, None));
        for scheme in ["{ARGON2ID}!", "{ARGON2ID}*", "!{ARGON2ID}", "{SSHA}"] {
            let locked = parse(&line.replace("{ARGON2ID}", scheme));
            assert!(locked.scram.is_some() && locked.cram_md5.is_some());
            assert!(!locked.is_usable(Timestamp::EPOCH, None), "{scheme}");
        }
    }

    #[test]
    fn secrets_of_an_account_share_their_salts() {
        let name = Name::parse("alice@example.org").unwrap();
        let (one, two) = (Password::new(b"one"), Password::new(b"two"));
        let first = parse(&make(&wanted(&name, &one), &[], None, &Counting).unwrap());
        struct Other;
        impl Random for Other {
            fn fill(&self, bytes: &mut [u8]) {
                bytes.fill(9);
            }
        }
        let others = std::slice::from_ref(&first);
        let second = parse(&make(&wanted(&name, &two), others, None, &Other).unwrap());
        let recipe = |s: &Secret| match s.hash.clone().unwrap() {
            Hash::Cooked(recipe, _) => recipe,
            other => panic!("{other:?}"),
        };
        assert_eq!(recipe(&first), recipe(&second));
        let (first, second) = (first.scram.unwrap(), second.scram.unwrap());
        assert_eq!(first.salt, second.salt);
        assert!(!first.same(&second));
    }

    #[test]
    fn another_password_leaves_the_limits_of_a_line() {
        let (name, password) = (Name::parse("a@b.example").unwrap(), Password::new(b"new"));
        let old = "a@b.example:{PLAIN}old:1000:1000:Al:/home/a:/bin/sh:\
                   allow_nets=2001:db8::/32 label=phone nologin expires=2027-01-01 x=y";
        let wanted = Wanted {
            label: "phone",
            expires: Some("2028-01-01"),
            ..wanted(&name, &password)
        };
        let line = make(&wanted, &[], Some(old), &Counting).unwrap();
        assert!(line.contains(":1000:1000:Al:/home/a:/bin/sh:allow_nets=2001:db8::/32 nologin"));
        assert!(line.contains(" x=y label=phone scram=") && line.ends_with(" expires=2028-01-01"));
        assert_eq!(line.matches("label=").count(), 1);
        let read = parse(&line);
        assert_eq!(read.flaw(), Some("it is locked (`nologin`)"));
        assert!(!line.contains("{PLAIN}"));
    }

    #[test]
    fn expired_locked_and_distant_secrets_are_not_usable() {
        let usable = |extra: &str, now: &str, ip: &str| {
            parse(&format!("a@b.example:{{PLAIN}}x::::::{extra}"))
                .is_usable(day(now), ip.parse().ok())
        };
        let now = "2027-06-01T00:00:00Z";
        assert!(usable("", now, "192.0.2.1"));
        assert!(usable(
            "expires=2027-06-01",
            "2027-06-01T23:59:59Z",
            "192.0.2.1"
        ));
        assert!(!usable(
            "expires=2027-06-01",
            "2027-06-02T00:00:00Z",
            "192.0.2.1"
        ));
        assert!(!usable("nologin", now, "192.0.2.1"));
        assert!(!usable("nologin=y", now, "192.0.2.1"));
        assert!(usable("nologin=n", now, "192.0.2.1"));
        let nets = "allow_nets=192.0.2.0/24,2001:db8::/32";
        assert!(usable(nets, now, "192.0.2.1"));
        assert!(usable(nets, now, "2001:db8::1"));
        assert!(!usable(nets, now, "198.51.100.1"));
        assert!(!usable(nets, now, "none"));
    }

    #[test]
    fn a_line_that_would_mean_less_than_it_says_is_refused() {
        for (line, why) in [
            ("alice@example.org", "no `:`"),
            (":{PLAIN}x", "name"),
            ("a b:{PLAIN}x", "name"),
            ("a@b.example:{PLAIN}x::::::allow_nets=all", "allow_nets"),
            ("a@b.example:{PLAIN}x::::::expires=tomorrow", "2027-12-31"),
            ("a@b.example:{PLAIN}x::::::scram=1,2", "scram"),
            ("a@b.example:{PLAIN}x::::::label=", "label"),
        ] {
            let error = Secret::parse(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn a_password_that_cannot_be_typed_is_not_stored() {
        let name = Name::parse("a@b.example").unwrap();
        for password in ["", "a\0b", "\u{e000}", "\u{627}1"] {
            let password = Password::new(password.as_bytes());
            assert!(make(&wanted(&name, &password), &[], None, &Counting).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(line in "\\PC{0,60}|[a-z@.]{1,9}:[{}A-Z0-9$,:=]{0,60}") {
            let _ = Secret::parse(&line);
        }
    }
}
