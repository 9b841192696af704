//! Private keys: read, made, and used to sign.
//!
//! Keys are PKCS#8 in PEM (RFC 7468 §10), which every tool writes; the older form for RSA is read
//! too. The randomness of a new key comes from the cryptographic library and not from the world's
//! door: the library takes none from outside. This module does **not** touch files.

use std::fmt;

use aws_lc_rs::digest::Digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::KeyRecord;
use super::signature::Algorithm;

/// Columns of base64 in PEM (RFC 7468 §2).
const PEM_COLUMNS: usize = 64;
const PKCS8: &str = "PRIVATE KEY";
const PKCS1: &str = "RSA PRIVATE KEY";

/// A key that signs.
pub enum PrivateKey {
    /// RSA of at least 2048 bits.
    Rsa(Box<rsa::KeyPair>),
    /// Ed25519.
    Ed25519(Box<Ed25519KeyPair>),
}

/// Why a private key cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadKey(&'static str);

impl PrivateKey {
    /// Makes an RSA key of 2048 bits. Takes up to a second of one processor.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn generate_rsa_2048() -> Result<Self, BadKey> {
        let pair = rsa::KeyPair::generate(KeySize::Rsa2048);
        let pair = pair.map_err(|_| BadKey("no RSA key could be made"))?;
        Ok(PrivateKey::Rsa(Box::new(pair)))
    }

    /// Makes an Ed25519 key.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn generate_ed25519() -> Result<Self, BadKey> {
        let pair = Ed25519KeyPair::generate();
        let pair = pair.map_err(|_| BadKey("no Ed25519 key could be made"))?;
        Ok(PrivateKey::Ed25519(Box::new(pair)))
    }

    /// Reads a key: PKCS#8 (`PRIVATE KEY`), or PKCS#1 (`RSA PRIVATE KEY`).
    ///
    /// # Errors
    /// What is wrong with it, in words for the operator.
    pub fn from_pem(pem: &str) -> Result<Self, BadKey> {
        if pem.contains("ENCRYPTED") {
            return Err(BadKey(
                "the key is locked with a password; give it without one",
            ));
        }
        let rsa = |pair| PrivateKey::Rsa(Box::new(pair));
        let refused = BadKey("it is no Ed25519 key and no RSA key of 2048 to 8192 bits");
        if let Some(der) = section(pem, PKCS1)? {
            return rsa::KeyPair::from_der(&der).map(rsa).map_err(|_| refused);
        }
        let der = section(pem, PKCS8)?.ok_or(BadKey("there is no PEM private key in it"))?;
        match Ed25519KeyPair::from_pkcs8(&der) {
            Ok(pair) => Ok(PrivateKey::Ed25519(Box::new(pair))),
            Err(_) => rsa::KeyPair::from_pkcs8(&der).map(rsa).map_err(|_| refused),
        }
    }

    /// Writes it as PKCS#8 in PEM. Whoever can read this can sign as the domain.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn to_pem(&self) -> Result<String, BadKey> {
        const FAILED: BadKey = BadKey("the key could not be written");
        let der: Vec<u8> = match self {
            PrivateKey::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| FAILED)?;
                der.as_ref().to_vec()
            }
            // Version 1 is what other tools read.
            PrivateKey::Ed25519(pair) => pair.to_pkcs8v1().map_err(|_| FAILED)?.as_ref().to_vec(),
        };
        let text = STANDARD.encode(der);
        let mut pem = format!("-----BEGIN {PKCS8}-----\n");
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, tail) = rest.split_at(rest.len().min(PEM_COLUMNS));
            pem.push_str(line);
            pem.push('\n');
            rest = tail;
        }
        pem.push_str(&format!("-----END {PKCS8}-----\n"));
        Ok(pem)
    }

    /// What it signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            PrivateKey::Rsa(_) => Algorithm::RsaSha256,
            PrivateKey::Ed25519(_) => Algorithm::Ed25519Sha256,
        }
    }

    /// The text of the TXT record that publishes its public half (RFC 6376 §3.6.1, RFC 8463 §4.2).
    /// Empty only if the cryptographic library cannot write the key.
    #[must_use]
    pub fn public_record(&self) -> String {
        let (kind, data) = match self {
            PrivateKey::Rsa(pair) => {
                let Ok(der): Result<PublicKeyX509Der<'_>, _> = pair.public_key().as_der() else {
                    return String::new();
                };
                ("rsa", STANDARD.encode(der.as_ref()))
            }
            PrivateKey::Ed25519(pair) => ("ed25519", STANDARD.encode(pair.public_key())),
        };
        format!("v=DKIM1; k={kind}; p={data}")
    }

    /// Whether a published record is that of this key.
    #[must_use]
    pub fn matches(&self, record: &KeyRecord) -> bool {
        let ours = KeyRecord::parse(self.public_record().as_bytes());
        ours.is_ok_and(|ours| ours.key == record.key)
    }

    /// Signs.
    pub(crate) fn sign(&self, digest: &Digest) -> Result<Vec<u8>, BadKey> {
        match self {
            PrivateKey::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed = pair.sign_digest(&RSA_PKCS1_SHA256, digest, &mut signature);
                signed.map_err(|_| BadKey("the RSA key could not sign"))?;
                Ok(signature)
            }
            PrivateKey::Ed25519(pair) => {
                let signature = pair.try_sign(digest.as_ref());
                let signature = signature.map_err(|_| BadKey("the Ed25519 key could not sign"))?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

/// The data between the lines that name `label`.
fn section(pem: &str, label: &str) -> Result<Option<Vec<u8>>, BadKey> {
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let Some((_, rest)) = pem.split_once(&begin) else {
        return Ok(None);
    };
    let (text, _) = rest
        .split_once(&end)
        .ok_or(BadKey("the key's last line is missing"))?;
    let text: String = text.split_ascii_whitespace().collect();
    let data = STANDARD
        .decode(text)
        .map_err(|_| BadKey("the key is not base64"))?;
    Ok(Some(data))
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.algorithm().word())
    }
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadKey {}

#[cfg(test)]
mod tests {
    use super::{KeyRecord, PrivateKey};

    #[test]
    fn a_new_key_is_read_back_and_matches_what_it_publishes() {
        for key in [
            PrivateKey::generate_rsa_2048(),
            PrivateKey::generate_ed25519(),
        ] {
            let key = key.unwrap();
            let pem = key.to_pem().unwrap();
            assert!(pem.lines().all(|line| line.len() <= 64), "{pem}");
            let again = PrivateKey::from_pem(&pem).unwrap();
            assert_eq!(again.public_record(), key.public_record());
            let record = KeyRecord::parse(key.public_record().as_bytes()).unwrap();
            assert!(key.matches(&record));
            let other = PrivateKey::generate_ed25519().unwrap();
            assert!(!other.matches(&record));
            assert!(!format!("{key:?}").contains(&pem[40..60]));
        }
    }

    #[test]
    fn what_is_no_key_says_why() {
        let pem = PrivateKey::generate_ed25519().unwrap().to_pem().unwrap();
        for (text, reason) in [
            (String::new(), "no PEM private key"),
            (pem.replace("END", "STOP"), "last line is missing"),
            (pem.replace("PRIVATE", "ENCRYPTED PRIVATE"), "password"),
            (pem.replace("MC", "M*"), "not base64"),
            (pem.replace("MC", "AA"), "no Ed25519 key and no RSA key"),
            (
                pem.replace("PRIVATE", "RSA PRIVATE"),
                "no Ed25519 key and no RSA key",
            ),
        ] {
            let fault = PrivateKey::from_pem(&text).unwrap_err().to_string();
            assert!(fault.contains(reason), "{fault}");
        }
    }
}
