//! SRS: a reverse-path of our own for mail that we forward, from which a bounce finds back to the
//! sender; and the tags that others put into theirs (BATV).
//!
//! The forms are those of the SRS document and its implementations:
//! `SRS0=hash=day=domain=local`, and for what was rewritten before us
//! `SRS1=hash=first==hash=day=domain=local`. The hash is HMAC-SHA-1 in base64, cut, over what
//! follows it in lower case, so that it survives hosts that change the case of local parts. The
//! first secret signs, all of them verify, so that a secret can be replaced without losing bounces.
//!
//! Invariant: [`Srs::reverse`] gives out an address only if one of the secrets made its hash, at
//! most [`DAYS_MAX`] days ago. This module does **not** decide which mail is rewritten.

use std::fmt;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste_smtp::address::{Domain, LocalPart, Mailbox, Utf8};

/// Characters of a hash that are written, and compared.
pub const HASH_LENGTH: usize = 6;
/// Days after which an address no longer leads back.
pub const DAYS_MAX: u64 = 21;
/// Days in seconds.
const DAY_S: u64 = 86_400;
/// The day is written in two characters of five bits.
const DAYS: u64 = 1024;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Why an address is not rewritten, or leads nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotRewritten {
    /// It is no address of this form.
    NotSrs,
    /// None of our secrets made its hash.
    BadHash,
    /// It is older than [`DAYS_MAX`] days.
    Expired,
    /// The address would be longer than RFC 5321 §4.5.3.1 allows.
    TooLong,
    /// The sender has an address literal, to which nothing can be sent back through a name.
    NoName,
}

impl fmt::Display for NotRewritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotRewritten::NotSrs => "not an SRS address",
            NotRewritten::BadHash => "the hash is not ours",
            NotRewritten::Expired => "the address has expired",
            NotRewritten::TooLong => "the rewritten address would be too long",
            NotRewritten::NoName => "the sender has no domain name",
        })
    }
}

impl std::error::Error for NotRewritten {}

/// The rewriter of one forwarding domain.
pub struct Srs {
    keys: Vec<hmac::Key>,
    domain: Domain,
}

impl Srs {
    /// With the secrets, of which the first signs, and the domain of rewritten addresses. `None`
    /// without a secret.
    #[must_use]
    pub fn new(secrets: &[&[u8]], domain: Domain) -> Option<Srs> {
        let key = |secret: &&[u8]| hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
        let keys: Vec<hmac::Key> = secrets.iter().map(key).collect();
        (!keys.is_empty()).then_some(Srs { keys, domain })
    }

    /// The reverse-path under which mail from `sender` is forwarded at `now_s`, in seconds since
    /// 1970. An address of our own domain stays as it is.
    pub fn forward(&self, sender: &Mailbox, now_s: u64) -> Result<Mailbox, NotRewritten> {
        if *sender.domain() == self.domain {
            return Ok(sender.clone());
        }
        let host = sender.domain().name().ok_or(NotRewritten::NoName)?.as_str();
        let local = sender.local_part().as_str();
        let value = match Tag::of(local) {
            Some((Tag::Srs1, rest)) if split1(rest).is_some() => {
                let (_, first, rest) = split1(rest).ok_or(NotRewritten::NotSrs)?;
                self.srs1(first, rest)
            }
            // Its separator stays in front of what is passed on.
            Some((Tag::Srs0, rest)) if split0(rest).is_some() => {
                let kept = local.get("SRS0".len()..).unwrap_or_default();
                self.srs1(host, kept)
            }
            _ => {
                let day = day(now_s);
                let hash = self.hash(&[&day, host, local]);
                format!("SRS0={hash}={day}={host}={local}")
            }
        };
        self.mailbox(&value)
    }

    /// The address to which a bounce to `recipient` is sent on.
    pub fn reverse(&self, recipient: &Mailbox, now_s: u64) -> Result<Mailbox, NotRewritten> {
        match Tag::of(recipient.local_part().as_str()) {
            Some((Tag::Srs0, rest)) => {
                let (hash, day, host, local) = split0(rest).ok_or(NotRewritten::NotSrs)?;
                self.verify(hash, &[day, host, local])?;
                if age_days(day, now_s).is_none_or(|age| age > DAYS_MAX) {
                    return Err(NotRewritten::Expired);
                }
                address(local, host)
            }
            Some((Tag::Srs1, rest)) => {
                let (hash, first, rest) = split1(rest).ok_or(NotRewritten::NotSrs)?;
                self.verify(hash, &[first, rest])?;
                address(&format!("SRS0{rest}"), first)
            }
            None => Err(NotRewritten::NotSrs),
        }
    }

    fn srs1(&self, first: &str, rest: &str) -> String {
        let hash = self.hash(&[first, rest]);
        format!("SRS1={hash}={first}={rest}")
    }

    fn mailbox(&self, value: &str) -> Result<Mailbox, NotRewritten> {
        let local = LocalPart::from_value(value, Utf8::Allowed);
        let local = local.map_err(|_| NotRewritten::TooLong)?;
        let mailbox = Mailbox::new(local, self.domain.clone());
        // The whole must fit a path too.
        let parsed = Mailbox::parse(&mailbox.to_string(), Utf8::Allowed);
        parsed.map_err(|_| NotRewritten::TooLong)
    }

    fn hash(&self, parts: &[&str]) -> String {
        self.keys
            .first()
            .map(|key| hash(key, parts))
            .unwrap_or_default()
    }

    fn verify(&self, given: &str, parts: &[&str]) -> Result<(), NotRewritten> {
        let given = given.to_ascii_lowercase();
        let fits = |key: &hmac::Key| {
            let own = hash(key, parts).to_ascii_lowercase();
            constant_time::verify_slices_are_equal(own.as_bytes(), given.as_bytes()).is_ok()
        };
        match self.keys.iter().any(fits) {
            true => Ok(()),
            false => Err(NotRewritten::BadHash),
        }
    }
}

fn hash(key: &hmac::Key, parts: &[&str]) -> String {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part.to_ascii_lowercase().as_bytes());
    }
    let mut hash = STANDARD.encode(context.sign().as_ref());
    hash.truncate(HASH_LENGTH);
    hash
}

fn address(local: &str, host: &str) -> Result<Mailbox, NotRewritten> {
    let domain = Domain::parse(host, Utf8::Allowed).map_err(|_| NotRewritten::NotSrs)?;
    let local = LocalPart::from_value(local, Utf8::Allowed).map_err(|_| NotRewritten::NotSrs)?;
    Ok(Mailbox::new(local, domain))
}

/// The two forms.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    Srs0,
    Srs1,
}

impl Tag {
    /// The tag of a local part, and what follows its separator.
    fn of(local: &str) -> Option<(Tag, &str)> {
        let (word, rest) = local.split_at_checked("SRS0".len())?;
        let tag = match word {
            w if w.eq_ignore_ascii_case("SRS0") => Tag::Srs0,
            w if w.eq_ignore_ascii_case("SRS1") => Tag::Srs1,
            _ => return None,
        };
        Some((tag, rest.strip_prefix(['=', '-', '+'])?))
    }
}

/// `hash=day=domain=local`; the last may be empty, as a quoted one may.
fn split0(rest: &str) -> Option<(&str, &str, &str, &str)> {
    let mut parts = rest.splitn(4, '=');
    let (hash, day) = (parts.next()?, parts.next()?);
    let (host, local) = (parts.next()?, parts.next()?);
    let filled = [hash, day, host].iter().all(|part| !part.is_empty());
    filled.then_some((hash, day, host, local))
}

/// `hash=first=` and the rest, which begins with the separator of the first rewriter. Without a
/// name to send back to it is no such address.
fn split1(rest: &str) -> Option<(&str, &str, &str)> {
    let mut parts = rest.splitn(3, '=');
    let (hash, first, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let named = Domain::parse(first, Utf8::Allowed).is_ok();
    let filled = !hash.is_empty() && named && rest.starts_with(['=', '-', '+']);
    filled.then_some((hash, first, rest))
}

/// The day of a time, in two characters.
fn day(now_s: u64) -> String {
    let day = now_s / DAY_S % DAYS;
    let letter = |five: u64| {
        let at = usize::try_from(five & 31).unwrap_or_default();
        char::from(BASE32.get(at).copied().unwrap_or(b'A'))
    };
    [letter(day >> 5), letter(day)].into_iter().collect()
}

/// How many days ago a day was; `None` when it is none.
fn age_days(text: &str, now_s: u64) -> Option<u64> {
    let five = |b: u8| BASE32.iter().position(|&l| l == b.to_ascii_uppercase());
    let [high, low] = text.as_bytes() else {
        return None;
    };
    let day = u64::try_from(five(*high)? * 32 + five(*low)?).ok()?;
    // One day ahead is a clock that differs, not a day almost three years ago.
    let age = (now_s / DAY_S % DAYS + DAYS - day) % DAYS;
    Some(if age == DAYS - 1 { 0 } else { age })
}

/// The local part within a tagged one (BATV, `prvs=`): what the mailbox is really called. Both
/// orders that are in use are known: `prvs=tag=local` and `prvs=local/tag`.
#[must_use]
pub fn without_batv(local: &str) -> Option<&str> {
    let (word, rest) = local.split_at_checked("prvs=".len())?;
    if !word.eq_ignore_ascii_case("prvs=") {
        return None;
    }
    // A digit for the key, three for the day, six hexadecimal digits of a hash.
    let is_tag = |tag: &str| {
        let (digits, hash) = tag.split_at_checked(4).unwrap_or_default();
        tag.len() == 10
            && digits.bytes().all(|b| b.is_ascii_digit())
            && hash.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let (tag, inner) = match rest.split_once('=') {
        Some((tag, inner)) if is_tag(tag) => (tag, inner),
        _ => rest.rsplit_once('/').map(|(inner, tag)| (tag, inner))?,
    };
    (is_tag(tag) && !inner.is_empty()).then_some(inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_S: u64 = 1_790_000_000;

    fn srs(secrets: &[&[u8]], domain: &str) -> Srs {
        Srs::new(secrets, Domain::parse(domain, Utf8::Refused).unwrap()).unwrap()
    }

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text, Utf8::Allowed).unwrap()
    }

    #[test]
    fn a_bounce_finds_back_through_any_number_of_forwarders() {
        let sender = mailbox("Alice.B@Origin.example");
        let hops = ["one.example", "two.example", "three.example"].map(|d| srs(&[d.as_bytes()], d));
        let mut path = vec![sender.clone()];
        for hop in &hops {
            path.push(hop.forward(path.last().unwrap(), NOW_S).unwrap());
        }
        assert!(path[1].to_string().starts_with("SRS0="), "{}", path[1]);
        assert!(path[2].to_string().starts_with("SRS1="), "{}", path[2]);
        assert!(path[3].to_string().starts_with("SRS1="), "{}", path[3]);
        // The third sends back to the first at once.
        let back = hops[2].reverse(&path[3], NOW_S).unwrap();
        assert_eq!(back, path[1]);
        assert_eq!(hops[1].reverse(&path[2], NOW_S).unwrap(), path[1]);
        assert_eq!(hops[0].reverse(&back, NOW_S + 20 * DAY_S).unwrap(), sender);
        assert_eq!(hops[0].forward(&path[1], NOW_S).unwrap(), path[1]);
    }

    #[test]
    fn a_hash_of_nobody_here_leads_nowhere() {
        let old = srs(&[b"old"], "f.example");
        let rotated = srs(&[b"new", b"old"], "f.example");
        let forgotten = srs(&[b"new"], "f.example");
        let address = old.forward(&mailbox("a@b.example"), NOW_S).unwrap();
        assert_eq!(rotated.reverse(&address, NOW_S), Ok(mailbox("a@b.example")));
        assert_eq!(
            forgotten.reverse(&address, NOW_S),
            Err(NotRewritten::BadHash)
        );
        assert_ne!(
            rotated.forward(&mailbox("a@b.example"), NOW_S).unwrap(),
            address
        );
        let other = address.to_string().replace("=a@", "=x@");
        assert_eq!(
            rotated.reverse(&mailbox(&other), NOW_S),
            Err(NotRewritten::BadHash)
        );
        let domain = Domain::parse("x.example", Utf8::Refused).unwrap();
        assert!(Srs::new(&[], domain).is_none());
    }

    #[test]
    fn the_case_of_a_local_part_may_change_on_the_way() {
        let srs = srs(&[b"s"], "f.example");
        let address = srs
            .forward(&mailbox("a@b.example"), NOW_S)
            .unwrap()
            .to_string();
        let lower = mailbox(&address.to_lowercase());
        assert_eq!(srs.reverse(&lower, NOW_S), Ok(mailbox("a@b.example")));
    }

    #[test]
    fn an_address_ends_after_its_days() {
        let srs = srs(&[b"s"], "f.example");
        let address = srs.forward(&mailbox("a@b.example"), NOW_S).unwrap();
        let at = |days: i64| {
            let now = i64::try_from(NOW_S).unwrap() + days * 86_400;
            srs.reverse(&address, u64::try_from(now).unwrap()).err()
        };
        assert_eq!((at(0), at(21), at(-1)), (None, None, None));
        assert_eq!(
            (at(22), at(-2)),
            (Some(NotRewritten::Expired), Some(NotRewritten::Expired))
        );
        assert_eq!(at(1024), None); // the day comes round after 1024 days
    }

    #[test]
    fn what_cannot_be_rewritten_says_why() {
        let srs = srs(&[b"s"], "f.example");
        let long = mailbox(&format!("{}@b.example", "a".repeat(60)));
        assert_eq!(srs.forward(&long, NOW_S), Err(NotRewritten::TooLong));
        assert_eq!(
            srs.forward(&mailbox("a@[192.0.2.1]"), NOW_S),
            Err(NotRewritten::NoName)
        );
        for text in [
            "a@f.example",
            "SRS0@f.example",
            "SRS0=a=b@f.example",
            "SRS1=a=b=c@f.example",
        ] {
            assert_eq!(
                srs.reverse(&mailbox(text), NOW_S),
                Err(NotRewritten::NotSrs),
                "{text}"
            );
        }
        // What only looks like one is rewritten as any other.
        for text in [
            "SRS0=x@b.example",
            "SRS1=x=.odd==h=d=o=l@b.example",
            "\"\"@b.example",
            "\"a b\"@b.example",
        ] {
            let odd = srs.forward(&mailbox(text), NOW_S).unwrap();
            assert_eq!(srs.reverse(&odd, NOW_S), Ok(mailbox(text)));
        }
    }

    #[test]
    fn a_batv_tag_is_seen_through() {
        assert_eq!(without_batv("prvs=439BD3A3FF=alice"), None); // no day
        assert_eq!(without_batv("prvs=43932D3A3F=alice"), Some("alice"));
        assert_eq!(without_batv("PRVS=43932d3a3f=a=b"), Some("a=b"));
        assert_eq!(without_batv("prvs=alice/43932d3a3f"), Some("alice"));
        for local in [
            "alice",
            "prvs=alice",
            "prvs=43932d3a3f=",
            "prvs=43932d3a3=a",
            "prvs=\u{fc}",
        ] {
            assert_eq!(without_batv(local), None, "{local}");
        }
    }

    proptest! {
        #[test]
        fn every_sender_that_fits_comes_back(
            local in "[a-zA-Z0-9=+_-]{1,20}|SRS[01][=+-][a-z=]{0,20}",
            host in "[a-z]{2,9}[.]example",
        ) {
            let srs = srs(&[b"secret"], "f.example");
            let sender = mailbox(&format!("{local}@{host}"));
            if let Ok(address) = srs.forward(&sender, NOW_S) {
                let back = srs.reverse(&address, NOW_S).unwrap();
                let passed_on = back.local_part().as_str().starts_with("SRS0");
                prop_assert!(back == sender || passed_on, "{} {}", address, back);
            }
        }

        #[test]
        fn no_text_breaks_the_reader(local in "(SRS0|SRS1|prvs)?[=+-]?[a-zA-Z=/+\u{fc}-]{0,30}") {
            let srs = srs(&[b"secret"], "f.example");
            let _ = without_batv(&local);
            if let Ok(recipient) = Mailbox::parse(&format!("{local}@f.example"), Utf8::Allowed) {
                prop_assert!(srs.reverse(&recipient, NOW_S).is_err());
            }
        }
    }
}
