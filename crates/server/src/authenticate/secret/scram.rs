//! What is stored for SCRAM-SHA-256 (RFC 5802 §3, RFC 7677): salt, count and two keys.
//!
//! Whoever reads them can pretend to be the server, and can try passwords at the cost of
//! [`ITERATIONS`] hashes each; the password itself is not in them. Written as Dovecot does:
//! `iterations,salt,StoredKey,ServerKey`, the last three in base64.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Hashes that a client computes at each login with a secret of ours. RFC 7677 §4 asks for at
/// least 4096; this many cost a phone a tenth of a second, and whoever stole the file as much for
/// each guess.
pub const ITERATIONS: u32 = 100_000;
/// Fewest iterations that are taken from others (RFC 7677 §4).
const ITERATIONS_MIN: u32 = 4_096;
/// Most iterations that are taken from others: PLAIN computes them here.
const ITERATIONS_MAX: u32 = 2_000_000;
/// Octets of a salt of ours.
pub const SALT: usize = 16;
/// Octets of a salt of others.
const SALT_MAX: usize = 128;

/// Octets of a SHA-256 hash.
pub const KEY: usize = 32;

/// What is stored for one password.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// How the password is hashed.
    pub salt: Salt,
    /// H(HMAC(salted password, "Client Key")).
    pub stored: [u8; KEY],
    /// HMAC(salted password, "Server Key").
    pub server: [u8; KEY],
}

/// How a password is hashed. All secrets of an account that were made here share one, because a
/// server has to name it before it learns which of the passwords is meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Salt {
    /// Iterations of PBKDF2.
    pub iterations: u32,
    /// The salt.
    pub octets: Box<[u8]>,
}

impl Keys {
    /// The keys of a prepared password.
    #[must_use]
    pub fn derive(password: &[u8], salt: Salt) -> Keys {
        let mut salted = [0; KEY];
        let iterations = NonZeroU32::new(salt.iterations).unwrap_or(NonZeroU32::MIN);
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, iterations, &salt.octets, password, &mut salted);
        Keys {
            salt,
            stored: hash(&mac(&salted, b"Client Key")),
            server: mac(&salted, b"Server Key"),
        }
    }

    /// Reads what [`Keys`] displays.
    ///
    /// # Errors
    /// Why these keys cannot be used.
    pub fn parse(text: &str) -> Result<Keys, &'static str> {
        let parts: Vec<&str> = text.split(',').collect();
        let &[iterations, salt, stored, server] = parts.as_slice() else {
            return Err("it is not `iterations,salt,StoredKey,ServerKey`");
        };
        let iterations = iterations
            .parse()
            .ok()
            .filter(|i| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(i))
            .ok_or("its iterations are not from 4096 to 2000000")?;
        let octets = BASE64
            .decode(salt)
            .ok()
            .filter(|salt| (1..=SALT_MAX).contains(&salt.len()))
            .ok_or("its salt is not base64 of 1 to 128 octets")?;
        let key = |text| BASE64.decode(text).ok().and_then(|k| k.try_into().ok());
        Ok(Keys {
            salt: Salt {
                iterations,
                octets: octets.into(),
            },
            stored: key(stored).ok_or("its StoredKey is not base64 of 32 octets")?,
            server: key(server).ok_or("its ServerKey is not base64 of 32 octets")?,
        })
    }

    /// Whether `proof` proves to know the password, for `message` (RFC 5802 §3: AuthMessage).
    #[must_use]
    pub fn proven(&self, message: &[u8], proof: &[u8; KEY]) -> bool {
        let mut client_key = mac(&self.stored, message);
        for (octet, with) in client_key.iter_mut().zip(proof) {
            *octet ^= with;
        }
        verify_slices_are_equal(&hash(&client_key), &self.stored).is_ok()
    }

    /// Whether these are the keys of the same password as `other`, which has the same salt.
    #[must_use]
    pub fn same(&self, other: &Keys) -> bool {
        verify_slices_are_equal(&self.stored, &other.stored).is_ok()
    }

    /// What proves to the client that we know the keys, for `message`.
    #[must_use]
    pub fn signature(&self, message: &[u8]) -> [u8; KEY] {
        mac(&self.server, message)
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Salt { iterations, octets } = &self.salt;
        let (salt, stored) = (BASE64.encode(octets), BASE64.encode(self.stored));
        write!(
            f,
            "{iterations},{salt},{stored},{}",
            BASE64.encode(self.server)
        )
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// HMAC-SHA-256.
#[must_use]
pub fn mac(key: &[u8], message: &[u8]) -> [u8; KEY] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    octets(tag.as_ref())
}

fn hash(message: &[u8]) -> [u8; KEY] {
    octets(digest::digest(&digest::SHA256, message).as_ref())
}

/// A SHA-256 result as an array: it has exactly that many octets.
fn octets(from: &[u8]) -> [u8; KEY] {
    let mut array = [0; KEY];
    array
        .iter_mut()
        .zip(from)
        .for_each(|(to, from)| *to = *from);
    array
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn salt(iterations: u32, octets: &[u8]) -> Salt {
        Salt {
            iterations,
            octets: octets.into(),
        }
    }

    #[test]
    fn keys_are_written_and_read() {
        let keys = Keys::derive(b"pencil", salt(4096, b"0123456789abcdef"));
        assert_eq!(Keys::parse(&keys.to_string()), Ok(keys.clone()));
        assert!(!format!("{keys:?}").contains(&keys.to_string()));
    }

    #[test]
    fn keys_that_cost_too_little_or_too_much_are_refused() {
        let keys = Keys::derive(b"pencil", salt(4096, b"salt")).to_string();
        assert!(Keys::parse(&keys).is_ok());
        for iterations in ["4095", "2000001", "-1", "", "99999999999"] {
            let text = keys.replacen("4096", iterations, 1);
            assert!(Keys::parse(&text).is_err(), "{text}");
        }
        assert!(Keys::parse(&format!("{keys},")).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9,A-Za-z+/=]{0,120}") {
            let _ = Keys::parse(&text);
        }
    }
}
