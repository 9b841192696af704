//! What is stored for CRAM-MD5 (RFC 2195): the two halves of a keyed MD5 that has taken its key.
//!
//! Whoever reads them can log in with CRAM-MD5; a look at them does not show the password. Written
//! as Dovecot does (`{CRAM-MD5}`): 64 hexadecimal digits, the outer half first. MD5's weakness
//! against collisions does not matter to this use; that the secret is as good as the password
//! does, so it is stored only when asked for.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use md5::block_api::compress;
use md5::{Digest as _, Md5};

/// Octets of a block of MD5.
const BLOCK: usize = 64;
/// MD5 before its first block (RFC 1321 §3.3).
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// Octets of a digest.
pub const DIGEST: usize = 16;

/// Keyed MD5 that has taken its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    outer: [u32; 4],
    inner: [u32; 4],
}

impl Key {
    /// The key of a password (RFC 2104 §2).
    #[must_use]
    pub fn derive(password: &[u8]) -> Key {
        let hashed = Md5::digest(password);
        let key: &[u8] = match password.len() > BLOCK {
            true => hashed.as_slice(),
            false => password,
        };
        let half = |pad: u8| {
            let mut block = [pad; BLOCK];
            for (octet, with) in block.iter_mut().zip(key) {
                *octet ^= with;
            }
            let mut state = START;
            compress(&mut state, &[block]);
            state
        };
        Key {
            outer: half(0x5c),
            inner: half(0x36),
        }
    }

    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// Why this is no key.
    pub fn parse(text: &str) -> Result<Key, &'static str> {
        let why = "it is not 64 hexadecimal digits";
        let mut words = [0_u32; 8];
        if text.len() != 64 || !text.is_ascii() {
            return Err(why);
        }
        for (word, digits) in words.iter_mut().zip(text.as_bytes().chunks(8)) {
            let digits = std::str::from_utf8(digits).map_err(|_| why)?;
            if !digits.bytes().all(|d| d.is_ascii_hexdigit()) {
                return Err(why);
            }
            *word = u32::from_str_radix(digits, 16)
                .map_err(|_| why)?
                .swap_bytes();
        }
        let [a, b, c, d, e, f, g, h] = words;
        Ok(Key {
            outer: [a, b, c, d],
            inner: [e, f, g, h],
        })
    }

    /// Whether `digest` is the answer to `challenge`.
    #[must_use]
    pub fn answers(&self, challenge: &[u8], digest: &[u8; DIGEST]) -> bool {
        verify_slices_are_equal(&self.digest(challenge), digest).is_ok()
    }

    /// The digest of `challenge`.
    #[must_use]
    pub fn digest(&self, challenge: &[u8]) -> [u8; DIGEST] {
        finish(self.outer, &finish(self.inner, challenge))
    }
}

/// Ends an MD5 that has seen one block, with `message` (RFC 1321 §3).
fn finish(mut state: [u32; 4], message: &[u8]) -> [u8; DIGEST] {
    let bits = u64::try_from(BLOCK + message.len()).unwrap_or(u64::MAX) * 8;
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % BLOCK != BLOCK - 8 {
        padded.push(0);
    }
    padded.extend(bits.to_le_bytes());
    for chunk in padded.chunks(BLOCK) {
        let mut block = [0; BLOCK];
        block
            .iter_mut()
            .zip(chunk)
            .for_each(|(to, from)| *to = *from);
        compress(&mut state, &[block]);
    }
    let mut digest = [0; DIGEST];
    let octets = state.iter().flat_map(|word| word.to_le_bytes());
    digest
        .iter_mut()
        .zip(octets)
        .for_each(|(to, from)| *to = from);
    digest
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = self.outer.iter().chain(&self.inner);
        words.try_for_each(|word| write!(f, "{:08x}", word.swap_bytes()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(digest: [u8; DIGEST]) -> String {
        digest.iter().map(|o| format!("{o:02x}")).collect()
    }

    #[test]
    fn the_example_of_rfc_2195() {
        let key = Key::derive(b"tanstaaftanstaaf");
        let digest = key.digest(b"<1896.697170952@postoffice.reston.mci.net>");
        assert_eq!(hex(digest), "b913a602c7eda7a495b4e6e7334d3890");
    }

    #[test]
    fn the_test_cases_of_rfc_2202() {
        // RFC 2202 §2, cases 1, 2 and 6 (a key longer than a block).
        let digest = |key: &[u8], data: &[u8]| hex(Key::derive(key).digest(data));
        assert_eq!(
            digest(&[0x0b; 16], b"Hi There"),
            "9294727a3638bb1c13f48ef8158bfc9d"
        );
        let jefe = digest(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(jefe, "750c783e6ab0b503eaa86e310a5db738");
        let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            digest(&[0xaa; 80], long),
            "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd"
        );
    }

    #[test]
    fn a_key_as_dovecot_writes_it() {
        // `doveadm pw -s CRAM-MD5 -p pencil` of Dovecot 2.3.
        let dovecot = "7f47ace0e2af8f6cdeb72c03243a8c87834e19104164d6a42de72d243adb4080";
        let key = Key::derive(b"pencil");
        assert_eq!(key.to_string(), dovecot);
        assert_eq!(Key::parse(&key.to_string()), Ok(key.clone()));
        assert_eq!(Key::parse(&key.to_string().to_uppercase()), Ok(key));
    }

    proptest! {
        #[test]
        fn a_challenge_of_any_length_has_the_digest_of_a_whole_hmac(
            password in proptest::collection::vec(any::<u8>(), 0..200),
            challenge in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut key = [0; BLOCK];
            let hashed = Md5::digest(&password);
            let used: &[u8] = if password.len() > BLOCK { hashed.as_slice() } else { &password };
            key[..used.len()].copy_from_slice(used);
            let pad = |with: u8| key.map(|octet| octet ^ with);
            let inner = Md5::digest([pad(0x36).as_slice(), &challenge].concat());
            let whole = Md5::digest([pad(0x5c).as_slice(), inner.as_slice()].concat());
            prop_assert_eq!(&Key::derive(&password).digest(&challenge)[..], whole.as_slice());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
            let _ = Key::parse(&text);
        }
    }
}
