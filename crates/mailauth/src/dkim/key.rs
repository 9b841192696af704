//! Key records (RFC 6376 §3.6.1): what a domain publishes so that its signatures can be checked.
//!
//! One record, one reader: that which judges inbound mail also says whether what a domain publishes
//! is right. This module does **not** ask the DNS.

use std::fmt;

use aws_lc_rs::digest::Digest;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RsaParameters, UnparsedPublicKey,
};

use super::flaw::Flaw;
use super::signature::{Algorithm, base64};
use super::tag::{self, Tags};

/// Fewest bits of an RSA key whose signatures may count (RFC 8301 §3.2).
pub const RSA_BITS_MIN: u32 = 1024;
/// Most bits of an RSA key whose signatures are checked; larger ones only cost time.
pub const RSA_BITS_MAX: u32 = 8192;
/// Fewest bits of an RSA key that signers should use (RFC 8301 §3.2).
pub const RSA_BITS_STRONG: u32 = 2048;
/// Octets of a public Ed25519 key (RFC 8463 §4.2).
const ED25519_OCTETS: usize = 32;

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA.
    Rsa {
        /// The key as an `RSAPublicKey` of PKCS#1, whichever way it was published.
        der: Vec<u8>,
        /// The length of its modulus.
        bits: u32,
    },
    /// Ed25519 (RFC 8463 §4.2).
    Ed25519([u8; 32]),
    /// The owner has taken it back: `p=` is empty.
    Revoked,
}

/// What a signature has to do with: `s=` of a key record (RFC 6376 §3.6.1, RFC 8460 §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// Mail of people and programs.
    Email,
    /// Reports about TLS, which a domain may sign with keys that are for nothing else.
    TlsReports,
}

/// A key record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRecord {
    /// The key.
    pub key: PublicKey,
    /// `t=y`: the domain is only trying DKIM out.
    pub testing: bool,
    /// `t=s`: the domain of `i=` must be that of `d=`.
    pub strict: bool,
    /// `h=` allows SHA-256, or does not say.
    pub allows_sha256: bool,
    /// `s=` allows mail, or does not say.
    pub allows_email: bool,
    /// `s=` allows reports about TLS, or does not say.
    pub allows_tls_reports: bool,
}

impl KeyRecord {
    /// Reads the text of a TXT record.
    ///
    /// # Errors
    /// What is wrong with it, in words for people.
    pub fn parse(record: &[u8]) -> Result<Self, &'static str> {
        let tags = Tags::parse(record).map_err(|_| "the key record is no tag list")?;
        match tags.get("v") {
            None => {}
            Some("DKIM1") if tags.first() == "v" => {}
            Some("DKIM1") => return Err("the key record does not start with its version (v=)"),
            Some(_) => return Err("the key record is of another version (v=)"),
        }
        let data = tags.get("p").ok_or("the key record has no key (p=)")?;
        let has = |name, word: &str| {
            let list = tags.get(name);
            list.is_none_or(|list| tag::elements(list).any(|element| element == word))
        };
        let flag = |word| tags.get("t").is_some() && has("t", word);
        let all = has("s", "*");
        Ok(KeyRecord {
            key: PublicKey::parse(tags.get("k").unwrap_or("rsa"), data)?,
            testing: flag("y"),
            strict: flag("s"),
            allows_sha256: has("h", "sha256"),
            allows_email: all || has("s", "email"),
            allows_tls_reports: all || has("s", "tlsrpt"),
        })
    }

    /// What forbids that this key proves a signature; `below` says that the identity of the
    /// signature is in a domain below that of the key (RFC 6376 §6.1.2).
    pub(crate) fn flaw(&self, algorithm: Algorithm, below: bool, service: Service) -> Option<Flaw> {
        let allowed = match service {
            Service::Email => self.allows_email,
            Service::TlsReports => self.allows_tls_reports,
        };
        match (&self.key, algorithm) {
            (PublicKey::Revoked, _) => Some(Flaw::syntax("the key is revoked (p= is empty)")),
            _ if !allowed => Some(Flaw::syntax("the key is not for mail (s=)")),
            _ if !self.allows_sha256 => Some(Flaw::syntax("the key is not for sha256 (h=)")),
            _ if self.strict && below => {
                let reason = "the key is not for identities (i=) below its domain (t=s)";
                Some(Flaw::syntax(reason))
            }
            (PublicKey::Rsa { bits, .. }, Algorithm::RsaSha256) if *bits < RSA_BITS_MIN => Some(
                Flaw::policy("an RSA key under 1024 bits proves nothing (RFC 8301)"),
            ),
            (PublicKey::Rsa { bits, .. }, Algorithm::RsaSha256) if *bits > RSA_BITS_MAX => {
                Some(Flaw::policy("an RSA key above 8192 bits is not used"))
            }
            (PublicKey::Rsa { .. }, Algorithm::RsaSha256)
            | (PublicKey::Ed25519(_), Algorithm::Ed25519Sha256) => None,
            _ => Some(Flaw::syntax("the key is for another algorithm (k=)")),
        }
    }

    /// Whether the owner of the key made `signature` over `digest`.
    pub(crate) fn verifies(&self, digest: &Digest, signature: &[u8]) -> bool {
        match &self.key {
            PublicKey::Rsa { der, .. } => {
                let rules = &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;
                let key = UnparsedPublicKey::new(rules, der);
                key.verify_digest(digest, signature).is_ok()
            }
            // RFC 8463 §3: what is signed is the SHA-256 value, as a message.
            PublicKey::Ed25519(key) => {
                let key = UnparsedPublicKey::new(&ED25519, key);
                key.verify(digest.as_ref(), signature).is_ok()
            }
            PublicKey::Revoked => false,
        }
    }
}

impl PublicKey {
    fn parse(kind: &str, data: &str) -> Result<Self, &'static str> {
        if tag::squeeze(data).is_empty() {
            return Ok(PublicKey::Revoked);
        }
        let data = base64(data).ok_or("the key (p=) is not base64")?;
        match kind {
            "rsa" => PublicKey::rsa(&data),
            "ed25519" => {
                let octets: [u8; ED25519_OCTETS] = data
                    .try_into()
                    .map_err(|_| "an Ed25519 key (p=) has 32 octets")?;
                Ok(PublicKey::Ed25519(octets))
            }
            _ => Err("the kind of key (k=) is not known"),
        }
    }

    /// Reads a `SubjectPublicKeyInfo`, as all publish it, or an `RSAPublicKey`, as RFC 6376 §3.6.1
    /// has it.
    fn rsa(data: &[u8]) -> Result<Self, &'static str> {
        const NO_KEY: &str = "the key (p=) is no RSA key";
        let key = rsa::PublicKey::from_der(data).map_err(|_| NO_KEY)?;
        let der = key.as_ref().to_vec();
        let bits = RsaParameters::public_modulus_len(&der).map_err(|_| NO_KEY)?;
        Ok(PublicKey::Rsa { der, bits })
    }

    /// The length of an RSA key.
    #[must_use]
    pub fn rsa_bits(&self) -> Option<u32> {
        match self {
            PublicKey::Rsa { bits, .. } => Some(*bits),
            PublicKey::Ed25519(_) | PublicKey::Revoked => None,
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublicKey::Rsa { bits, .. } => write!(f, "Rsa({bits} bits)"),
            PublicKey::Ed25519(_) => f.write_str("Ed25519"),
            PublicKey::Revoked => f.write_str("Revoked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Algorithm, KeyRecord, PublicKey, Service};
    use crate::Verdict;
    use crate::dkim::PrivateKey;

    /// RFC 8463 appendix A.2.
    const ED25519: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    fn parse(record: &str) -> Result<KeyRecord, &'static str> {
        KeyRecord::parse(record.as_bytes())
    }

    fn flaw(record: &str, below: bool, service: Service) -> Option<(Verdict, String)> {
        let flaw = parse(record)
            .unwrap()
            .flaw(Algorithm::Ed25519Sha256, below, service)?;
        Some((flaw.verdict, flaw.reason.into_owned()))
    }

    #[test]
    fn a_record_gives_its_key_and_its_defaults() {
        let record = parse(ED25519).unwrap();
        assert!(matches!(record.key, PublicKey::Ed25519(_)));
        assert!(!record.testing && !record.strict && record.allows_sha256);
        assert!(record.allows_email && record.allows_tls_reports);
        assert_eq!(flaw(ED25519, true, Service::Email), None);
        let short = ED25519.strip_prefix("v=DKIM1; ").unwrap();
        assert_eq!(parse(short), parse(ED25519));
        let blank = ED25519.replace("HOg7", " H\t Og7 ") + " ; n=x; g=*; unknown=1;";
        assert_eq!(parse(&blank), parse(ED25519));
    }

    #[test]
    fn flags_hashes_and_services_are_lists() {
        let with = |tag: &str| parse(&format!("{ED25519}; {tag}")).unwrap();
        let flags = with("t = y : other : s");
        assert!(flags.testing && flags.strict);
        let flags = with("t=");
        assert!(!flags.testing && !flags.strict);
        assert!(with("h=sha1:sha256").allows_sha256);
        assert!(!with("h=sha1").allows_sha256);
        let services = with("s=tlsrpt");
        assert!(!services.allows_email && services.allows_tls_reports);
        let services = with("s=x : email");
        assert!(services.allows_email && !services.allows_tls_reports);
        assert!(with("s=*").allows_email && with("s=*").allows_tls_reports);
    }

    #[test]
    fn a_record_that_breaks_a_rule_is_none() {
        for (record, reason) in [
            ("", "no tag list"),
            ("v=spf1 -all", "version"),
            ("v=DKIM1", "no key"),
            ("v=DKIM2; p=", "another version"),
            ("v=dkim1; p=", "another version"),
            ("p=; v=DKIM1", "start with its version"),
            ("v=DKIM1; k=rsa; t; p=", "no tag list"),
            ("k=dsa; p=AAAA", "kind of key"),
            ("k=ed25519; p=AAAA", "32 octets"),
            ("p=AAAA", "no RSA key"),
            ("p=!", "not base64"),
            ("p=AA==; p=AA==", "no tag list"),
        ] {
            let found = parse(record).expect_err(record);
            assert!(found.contains(reason), "{record}: {found}");
        }
        assert_eq!(parse("p=").unwrap().key, PublicKey::Revoked);
        assert_eq!(parse("k=dsa; p= ").unwrap().key, PublicKey::Revoked);
    }

    #[test]
    fn a_key_may_forbid_its_use() {
        for (tag, below, service, reason) in [
            ("s=tlsrpt", false, Service::Email, "not for mail"),
            ("s=email", false, Service::TlsReports, "not for mail"),
            ("h=sha1", false, Service::Email, "not for sha256"),
            ("t=s", true, Service::Email, "identities"),
        ] {
            let (verdict, found) = flaw(&format!("{ED25519}; {tag}"), below, service).unwrap();
            assert_eq!(verdict, Verdict::Permerror);
            assert!(found.contains(reason), "{found}");
        }
        assert!(flaw(&format!("{ED25519}; t=s"), false, Service::Email).is_none());
        assert!(
            flaw("k=ed25519; p=", false, Service::Email)
                .unwrap()
                .1
                .contains("revoked")
        );
        let rsa = PrivateKey::generate_rsa_2048().unwrap().public_record();
        assert!(
            flaw(&rsa, false, Service::Email)
                .unwrap()
                .1
                .contains("algorithm")
        );
        assert_eq!(parse(&rsa).unwrap().key.rsa_bits(), Some(2048));
    }

    proptest! {
        #[test]
        fn any_octets_are_a_record_or_none(
            record in proptest::collection::vec(any::<u8>(), 0..99),
        ) {
            let _ = KeyRecord::parse(&record);
        }
    }
}
