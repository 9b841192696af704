//! Password hashes: ours (Argon2id) and those that other programs left in a passwd-file.
//!
//! Every hash is parsed and its cost bounded when the file is read, so that a login computes what
//! is known to be affordable. Computing takes milliseconds and megabytes: callers do it on
//! [`Pool::Crypto`](posthaste_world::work::Pool). Comparisons take the same time wherever two
//! values differ.

use std::borrow::Cow;

use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::cram_md5;
use super::scram::{self, Keys};

/// Octets of a hash of ours.
const OUTPUT: usize = 32;
/// Memory of a hash of ours in KiB, passes over it, and lanes: the second set of OWASP's Password
/// Storage Cheat Sheet. It costs some 20 ms of one core; more memory would help a thief little and
/// whoever floods us with guesses much.
const OURS: (u32, u32, u32) = (19 * 1024, 2, 1);

/// Most memory in KiB that a hash of others may ask for.
const MEMORY_MAX: u64 = 256 * 1024;
/// Most passes of Argon2 that a hash of others may ask for.
const PASSES_MAX: u32 = 32;
/// Most lanes that a hash of others may ask for.
const LANES_MAX: u32 = 16;
/// Highest cost of bcrypt: some seconds.
const BCRYPT_MAX: u32 = 14;
/// Most rounds of SHA-crypt: some seconds.
const ROUNDS_MAX: u32 = 1_000_000;

/// Characters of the parameters of yescrypt without lanes and extra time of their own.
const YESCRYPT_PARAMETERS: usize = 3;

/// What a password is compared with.
#[derive(Clone, Debug)]
pub enum Hash {
    /// The result of a recipe. Secrets with the same recipe cost one computation together.
    Cooked(Recipe, Box<[u8]>),
    /// bcrypt, `$2y$…`.
    Bcrypt(Box<str>),
    /// SHA-256 or SHA-512 crypt, `$5$…` or `$6$…`.
    ShaCrypt(Box<str>),
    /// yescrypt, `$y$…`.
    Yescrypt(Box<str>),
    /// What CRAM-MD5 needs, which a password can be turned into.
    CramMd5(cram_md5::Key),
    /// The password itself.
    Plain(Box<[u8]>),
}

/// How to turn a password into a value that only it gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recipe {
    /// Argon2 with its parameters and salt, to so many octets.
    Argon2 {
        /// Argon2i or Argon2id.
        algorithm: Algorithm,
        /// 0x13 today.
        version: Version,
        /// Memory, passes, lanes, length.
        params: Params,
        /// The salt.
        salt: Box<[u8]>,
    },
    /// The StoredKey of SCRAM.
    Scram(scram::Salt),
}

impl Hash {
    /// Reads the second field of a passwd-file: `{SCHEME}hash`, or a hash alone as crypt(3) makes
    /// it.
    ///
    /// # Errors
    /// Why nobody can log in with it.
    pub fn parse(field: &str) -> Result<Hash, String> {
        let (scheme, hash) = match field.strip_prefix('{').and_then(|f| f.split_once('}')) {
            Some((scheme, hash)) => (scheme.to_ascii_uppercase(), hash),
            None => ("CRYPT".to_string(), field),
        };
        if hash.is_empty() {
            return Err("it has no password".into());
        }
        if hash.starts_with(['!', '*']) {
            return Err("it is locked".into());
        }
        match scheme.as_str() {
            "ARGON2ID" | "ARGON2I" => argon2_hash(hash),
            "BLF-CRYPT" => bcrypt_hash(hash),
            "SHA256-CRYPT" | "SHA512-CRYPT" => sha_crypt_hash(hash),
            "SCRAM-SHA-256" => Keys::parse(hash).map(Hash::from).map_err(Into::into),
            "CRAM-MD5" => cram_md5::Key::parse(hash)
                .map(Hash::CramMd5)
                .map_err(Into::into),
            "PLAIN" | "CLEARTEXT" => Ok(Hash::Plain(hash.as_bytes().into())),
            "CRYPT" => crypt_hash(hash),
            other => Err(format!("the scheme {{{other}}} is not known here")),
        }
    }

    /// Whether one of `forms` is the password. What recipes gave is kept in `kitchen`.
    fn matches<'a>(&'a self, forms: &[Cow<'_, [u8]>], kitchen: &mut Kitchen<'a>) -> bool {
        let mut forms_of = forms.iter().map(AsRef::as_ref);
        match self {
            Hash::Cooked(recipe, expected) => {
                let equal = |got: &Vec<u8>| verify_slices_are_equal(got, expected).is_ok();
                kitchen.cook(recipe, forms).iter().any(equal)
            }
            Hash::Bcrypt(hash) => forms_of.any(|f| bcrypt::verify(f, hash).unwrap_or(false)),
            Hash::ShaCrypt(hash) => forms_of.any(|f| {
                let hash: &str = hash;
                sha_crypt::ShaCrypt::SHA512.verify_password(f, hash).is_ok()
            }),
            Hash::Yescrypt(hash) => forms_of.any(|f| {
                let hash: &str = hash;
                yescrypt::Yescrypt::default()
                    .verify_password(f, hash)
                    .is_ok()
            }),
            Hash::CramMd5(key) => forms_of.any(|f| {
                let (given, wanted) = (cram_md5::Key::derive(f), key);
                let probe = |key: &cram_md5::Key| key.digest(b"password");
                verify_slices_are_equal(&probe(&given), &probe(wanted)).is_ok()
            }),
            Hash::Plain(password) => forms_of.any(|f| verify_slices_are_equal(f, password).is_ok()),
        }
    }
}

impl From<Keys> for Hash {
    fn from(keys: Keys) -> Hash {
        Hash::Cooked(Recipe::Scram(keys.salt), Box::new(keys.stored))
    }
}

/// The positions of those of `hashes` that are of the password with these forms. Every one is
/// tried, so that how long it takes tells nothing of which.
#[must_use]
pub fn all<'a>(hashes: impl Iterator<Item = &'a Hash>, forms: &[Cow<'_, [u8]>]) -> Vec<usize> {
    let mut kitchen = Kitchen(Vec::new());
    let matching = hashes
        .enumerate()
        .filter(|(_, hash)| hash.matches(forms, &mut kitchen));
    matching.map(|(at, _)| at).collect()
}

/// What recipes gave for the forms of one password.
struct Kitchen<'a>(Vec<(&'a Recipe, Vec<Vec<u8>>)>);

impl<'a> Kitchen<'a> {
    fn cook(&mut self, recipe: &'a Recipe, forms: &[Cow<'_, [u8]>]) -> &[Vec<u8>] {
        let at = match self.0.iter().position(|(known, _)| *known == recipe) {
            Some(at) => at,
            None => {
                let cooked = forms.iter().filter_map(|form| recipe.cook(form));
                self.0.push((recipe, cooked.collect()));
                self.0.len() - 1
            }
        };
        self.0.get(at).map_or(&[], |(_, cooked)| cooked)
    }
}

impl Recipe {
    /// What a hash of ours with this salt costs to make.
    #[must_use]
    pub fn ours(salt: &[u8]) -> Option<Recipe> {
        let (memory, passes, lanes) = OURS;
        Some(Recipe::Argon2 {
            algorithm: Algorithm::Argon2id,
            version: Version::V0x13,
            params: Params::new(memory, passes, lanes, Some(OUTPUT)).ok()?,
            salt: salt.into(),
        })
    }

    /// The value that `password` gives. `None` when there is no memory for it.
    fn cook(&self, password: &[u8]) -> Option<Vec<u8>> {
        match self {
            Recipe::Argon2 {
                algorithm,
                version,
                params,
                salt,
            } => {
                let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
                let mut output = vec![0; length];
                let argon2 = Argon2::new(*algorithm, *version, params.clone());
                argon2
                    .hash_password_into(password, salt, &mut output)
                    .ok()?;
                Some(output)
            }
            Recipe::Scram(salt) => Some(Keys::derive(password, salt.clone()).stored.to_vec()),
        }
    }

    /// The salt, when it is one of our own making.
    #[must_use]
    pub fn our_salt(&self) -> Option<&[u8]> {
        let Recipe::Argon2 { salt, .. } = self else {
            return None;
        };
        (Recipe::ours(salt).as_ref() == Some(self)).then_some(salt)
    }
}

/// The PHC string of a new hash of a prepared password, with the parameters of [`Recipe::ours`].
#[must_use]
pub fn make(password: &[u8], salt: &[u8]) -> Option<String> {
    let (memory, passes, lanes) = OURS;
    let params = Params::new(memory, passes, lanes, Some(OUTPUT)).ok()?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password_with_salt(password, salt).ok()?;
    Some(hash.to_string())
}

/// By the mark that crypt(3) puts in front.
fn crypt_hash(hash: &str) -> Result<Hash, String> {
    let mark = hash.strip_prefix('$').and_then(|h| h.split_once('$'));
    match mark.map(|(mark, _)| mark) {
        Some("2a" | "2b" | "2x" | "2y") => bcrypt_hash(hash),
        Some("5" | "6") => sha_crypt_hash(hash),
        Some("y") => yescrypt_hash(hash),
        Some("argon2i" | "argon2id") => argon2_hash(hash),
        Some(other) => Err(format!(
            "crypt(3) hashes of the kind ${other}$ are not known here"
        )),
        None => Err("hashes without a mark like $y$ (DES) are not safe".into()),
    }
}

fn argon2_hash(hash: &str) -> Result<Hash, String> {
    let parsed = phc::PasswordHash::new(hash).map_err(|e| format!("its hash is damaged: {e}"))?;
    let damaged = || "its hash is damaged".to_string();
    let algorithm = Algorithm::try_from(parsed.algorithm.as_str()).map_err(|_| damaged())?;
    if algorithm == Algorithm::Argon2d {
        return Err("Argon2d is not made for passwords".into());
    }
    let version = match parsed.version {
        Some(version) => Version::try_from(version).map_err(|_| damaged())?,
        None => Version::V0x10,
    };
    let params = Params::try_from(&parsed).map_err(|_| damaged())?;
    let (Some(salt), Some(output)) = (parsed.salt, parsed.hash) else {
        return Err("its hash is cut short".into());
    };
    affordable(
        u64::from(params.m_cost()) <= MEMORY_MAX
            && params.t_cost() <= PASSES_MAX
            && params.p_cost() <= LANES_MAX,
    )?;
    let recipe = Recipe::Argon2 {
        algorithm,
        version,
        params,
        salt: salt.as_ref().into(),
    };
    Ok(Hash::Cooked(recipe, output.as_bytes().into()))
}

fn bcrypt_hash(hash: &str) -> Result<Hash, String> {
    let parts: bcrypt::HashParts = hash
        .parse()
        .map_err(|e| format!("its hash is damaged: {e}"))?;
    affordable(parts.get_cost() <= BCRYPT_MAX)?;
    Ok(Hash::Bcrypt(hash.into()))
}

fn sha_crypt_hash(hash: &str) -> Result<Hash, String> {
    let mut fields = hash.split('$').skip(1).peekable();
    let length = match fields.next() {
        Some("5") => 43,
        Some("6") => 86,
        _ => return Err("its hash is damaged".into()),
    };
    if let Some(rounds) = fields.peek().and_then(|f| f.strip_prefix("rounds=")) {
        let rounds: u32 = rounds.parse().map_err(|_| "its rounds are no number")?;
        affordable(rounds <= ROUNDS_MAX)?;
        fields.next();
    }
    let (salt, output, rest) = (fields.next(), fields.next(), fields.next());
    let fit = |text: &str| {
        text.bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"./".contains(&c))
    };
    let whole = salt.is_some_and(|s| s.len() <= 16 && fit(s))
        && output.is_some_and(|o| o.len() == length && fit(o))
        && rest.is_none();
    match whole {
        true => Ok(Hash::ShaCrypt(hash.into())),
        false => Err("its hash is damaged".into()),
    }
}

fn yescrypt_hash(hash: &str) -> Result<Hash, String> {
    let fields: Vec<&str> = hash.split('$').collect();
    let &["", "y", params, _, _] = fields.as_slice() else {
        return Err("its hash is damaged".into());
    };
    if params.len() != YESCRYPT_PARAMETERS {
        return Err("its parameters are not those that crypt(3) uses".into());
    }
    let params: yescrypt::Params = params
        .parse()
        .map_err(|e| format!("its hash is damaged: {e}"))?;
    affordable(params.n().saturating_mul(u64::from(params.r())) / 8 <= MEMORY_MAX)?;
    Ok(Hash::Yescrypt(hash.into()))
}

fn affordable(is: bool) -> Result<(), String> {
    match is {
        true => Ok(()),
        false => Err("its hash costs too much to check".into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::name::Password;
    use super::*;

    fn opens(field: &str, password: &str) -> bool {
        let (hash, password) = (
            Hash::parse(field).unwrap(),
            Password::new(password.as_bytes()),
        );
        all([&hash].into_iter(), &password.forms()) == [0]
    }

    /// `secret` in each scheme: by `doveadm pw` of Dovecot 2.3, then by crypt(3) of libxcrypt.
    const SECRET: [&str; 13] = [
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$Ys2ijTay1JWvkNKUknYr4g$GJ9LHfW9bVvKG+P8\
         jj8JWRU9u1ywrgnbfcc3NGKoeUk",
        "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$kTcaK6YUqnTZAAB3fFhlsQ$j9mWQsXzSLlKPkqqps\
         V55BJVGAIX/FAV8s8e8jHxmc0",
        "{BLF-CRYPT}$2y$05$WSW9rg4vCe7uesi6GaB5Se47SKl7EEcPDw/TByw9IXJdRz0L4EGUC",
        "{SHA512-CRYPT}$6$LOQrPJ.IeiRkODJ3$cRWgABE1vuwAdgw/V0NBOFv1pk9T7PYMothhWvEoej95/3\
         ndzzv.Bv8dvuZ3hPckOCAosBMKdGUbs5Zf.m64N1",
        "{SHA256-CRYPT}$5$5gLhz2y18FcJ4ASC$9NBRrGlDuWYpMD/zOLVU0yJoHbhYJe8jKMRGyCnXEb.",
        "{SCRAM-SHA-256}4096,+QfUAtYoz4WBH5PLU12M2A==,LI/5oWxfh9mDiYJThU3UuykRWI83d1sMRNs\
         NMqADMvk=,qeqN5ZEplyT6MZeNsrucoRXu2WE3c8iBQzgKlHTZqB8=",
        "{CRAM-MD5}cd3ba7deaad6e5ca23448ba42e379747a9e0f7f1fbc00c8a81bbaac395731b56",
        "{CRYPT}$y$j9T$YXZlcnlyYW5kb21zYWx0$bZUq5loga5xDy3W3dJXHVZKqc91mvRO/DzNO89EG943",
        "$y$j75$YXZlcnlyYW5kb21zYWx0$HehARe1T8a0s9VLvFRj0I1XlzCvbvX5ITH1x06IAq48",
        "{CRYPT}$6$rounds=5000$saltsaltsalt$PMWE8DTlam1JU37Piyk43bHcMxTJq6sgu5DKB0/tGPjan\
         N35jcY68QkpDfPFUGPWX5uCxIQkSPzMmqEiVNgts.",
        "$2b$06$abcdefghijklmnopqrstuuxLa0AkDDSrQ9VwNnETzOsObiucpMYgC",
        "{PLAIN}secret",
        "{cleartext}secret",
    ];

    #[test]
    fn hashes_of_other_programs_are_verified() {
        for field in SECRET {
            assert!(opens(field, "secret"), "{field}");
            for wrong in ["Secret", "secret ", "s", "", "secre"] {
                assert!(!opens(field, wrong), "{field} {wrong:?}");
            }
        }
    }

    #[test]
    fn a_hash_of_ours_is_verified_by_its_text() {
        let text = make("sécret".as_bytes(), b"0123456789abcdef").unwrap();
        let hash = Hash::parse(&format!("{{ARGON2ID}}{text}")).unwrap();
        let Hash::Cooked(recipe, _) = &hash else {
            panic!()
        };
        assert_eq!(recipe.our_salt(), Some(&b"0123456789abcdef"[..]));
        for (password, is) in [("sécret", true), ("se\u{301}cret", true), ("secret", false)] {
            assert_eq!(opens(&text, password), is, "{password}");
        }
    }

    #[test]
    fn secrets_with_one_recipe_are_all_tried() {
        let hash = |password: &str| {
            let text = make(password.as_bytes(), b"0123456789abcdef").unwrap();
            Hash::parse(&text).unwrap()
        };
        let hashes = [hash("one"), hash("two"), hash("three")];
        for (at, password) in ["one", "two", "three"].into_iter().enumerate() {
            let password = Password::new(password.as_bytes());
            assert_eq!(all(hashes.iter(), &password.forms()), [at]);
        }
        assert_eq!(all(hashes.iter(), &Password::new(b"four").forms()), [0; 0]);
    }

    #[test]
    fn what_nobody_can_log_in_with_says_why() {
        for (field, why) in [
            ("", "no password"),
            ("{PLAIN}", "no password"),
            ("!", "locked"),
            ("*", "locked"),
            ("{CRYPT}!$6$salt$x", "locked"),
            ("{SSHA}abcd", "not known"),
            ("abcdefghijklm", "not safe"),
            ("$1$salt$hash", "not known"),
            (
                "{ARGON2ID}$argon2id$v=19$m=9999999,t=3,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNo",
                "too much",
            ),
            (
                "{ARGON2ID}$argon2d$v=19$m=64,t=3,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNo",
                "not made",
            ),
            (
                "{ARGON2ID}$argon2id$v=19$m=64,t=3,p=1$c29tZXNhbHQ",
                "cut short",
            ),
            (
                "{BLF-CRYPT}$2y$31$abcdefghijklmnopqrstuuxLa0AkDDSrQ9VwNnETzOsObiucpMYgC",
                "too much",
            ),
            ("{SHA512-CRYPT}$6$rounds=999999999$salt$x", "too much"),
            ("{SHA512-CRYPT}$6$salt$x", "damaged"),
            ("$y$jFT$salt$hash", "too much"),
            ("$y$j9T/./$salt$hash", "parameters"),
            ("{SCRAM-SHA-256}1,c2FsdA==,x,y", "iterations"),
        ] {
            let error = Hash::parse(field).unwrap_err();
            assert!(error.contains(why), "{field}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_field_is_read_or_refused(
            scheme in "(\\{(ARGON2ID|BLF-CRYPT|SHA512-CRYPT|CRYPT|SCRAM-SHA-256)\\})?",
            mark in "(\\$(y|6|5|2y|argon2id)\\$)?",
            rest in "[$,=+/.A-Za-z0-9]{0,80}|\\PC{0,40}",
        ) {
            let _ = Hash::parse(&format!("{scheme}{mark}{rest}"));
        }
    }
}
