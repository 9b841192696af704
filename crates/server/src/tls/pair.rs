//! A certificate and its key, from two files in PEM (RFC 7468).
//!
//! Everything that can be wrong with them is said in words, once for `check`, `serve` and a reload:
//! [`Unusable`]. It does **not** decide when files are read.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use posthaste_world::Disk;
use rustls::InconsistentKeys;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::names::About;
use crate::config::CertificateFiles;

/// Longest file of certificates or of a key, in octets.
pub const FILE_MAX: u64 = 1024 * 1024;
/// Certificates of one file: the server's own, and those that lead to its root.
const CHAIN_MAX: usize = 20;

/// A certificate that can be served.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The chain and its key.
    pub certified: Arc<CertifiedKey>,
    /// What the certificate says of itself.
    pub about: About,
}

/// Which of the two files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The file of certificates.
    Certificate,
    /// The file of the key.
    Key,
}

/// Why two files are no pair, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unusable {
    /// The file to mend.
    pub part: Part,
    /// What is wrong with it.
    pub cause: String,
    /// What to do.
    pub fix: String,
}

/// The octets of both files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Octets {
    /// Of the certificates.
    pub certificate: Vec<u8>,
    /// Of the key.
    pub key: Vec<u8>,
}

impl Octets {
    /// Reads both files.
    ///
    /// # Errors
    /// The first that cannot be read.
    pub fn read(files: &CertificateFiles, disk: &dyn Disk) -> Result<Self, Unusable> {
        let certificate = read(&files.certificate.path, Part::Certificate, disk)?;
        let key = read(&files.key.path, Part::Key, disk)?;
        Ok(Octets { certificate, key })
    }
}

impl Pair {
    /// Reads a pair from its files.
    ///
    /// # Errors
    /// Why it cannot be served.
    pub fn read(files: &CertificateFiles, disk: &dyn Disk) -> Result<Self, Unusable> {
        Pair::from_pem(&Octets::read(files, disk)?)
    }

    /// Makes a pair of the contents of two files.
    ///
    /// # Errors
    /// Why it cannot be served.
    pub fn from_pem(octets: &Octets) -> Result<Self, Unusable> {
        let chain = chain(&octets.certificate)?;
        let key = key(&octets.key)?;
        let about = chain
            .first()
            .and_then(About::read)
            .ok_or_else(|| Unusable {
                part: Part::Certificate,
                cause: "its first certificate cannot be read".into(),
                fix: "make it anew: `openssl x509 -in FILE -noout -text` must show it".into(),
            })?;
        let certified = CertifiedKey::from_der(chain, key, &super::provider());
        let certified = certified.map_err(|e| no_pair(&e))?;
        Ok(Pair {
            certified: Arc::new(certified),
            about,
        })
    }
}

fn read(path: &Path, part: Part, disk: &dyn Disk) -> Result<Vec<u8>, Unusable> {
    disk.read(path, FILE_MAX).map_err(|e| {
        let cause = match e.kind() {
            ErrorKind::NotFound => "there is no such file".to_string(),
            ErrorKind::PermissionDenied => "the server's user may not read it".to_string(),
            _ => e.to_string(),
        };
        let fix = match (e.kind(), part) {
            (ErrorKind::PermissionDenied, _) => {
                "give the server's group the right to read it, and its folders to be passed: \
                 `chgrp posthaste FILE && chmod 0640 FILE`"
            }
            (_, Part::Certificate) => {
                "name a file in PEM with the server's certificate, and below \
                it those that lead to the root (certbot's `fullchain.pem`)"
            }
            (_, Part::Key) => "name a file in PEM with the key (certbot's `privkey.pem`)",
        };
        Unusable {
            part,
            cause,
            fix: fix.into(),
        }
    })
}

/// The certificates of a file, the server's own first.
fn chain(octets: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let unusable = |cause: &str, fix: &str| Unusable {
        part: Part::Certificate,
        cause: cause.into(),
        fix: fix.into(),
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(octets)
        .take(CHAIN_MAX + 1)
        .collect();
    let certificates = certificates.map_err(|_| {
        unusable(
            "it is damaged: what stands between BEGIN and END cannot be read",
            "copy the file again",
        )
    })?;
    match certificates.len() {
        0 if holds(octets, "PRIVATE KEY-----") => Err(unusable(
            "it holds a key, but no certificate",
            "exchange `certificate` and `key`, or name the file with the certificate",
        )),
        0 => Err(unusable(
            "it holds no certificate in PEM",
            "the file must have a line `-----BEGIN CERTIFICATE-----`; one in DER becomes PEM with \
             `openssl x509 -inform der -in FILE -out cert.pem`",
        )),
        n if n > CHAIN_MAX => Err(unusable(
            "it holds more than 20 certificates",
            "leave the server's own and those that lead to its root",
        )),
        _ => Ok(certificates),
    }
}

fn key(octets: &[u8]) -> Result<PrivateKeyDer<'static>, Unusable> {
    let unusable = |cause: &str, fix: &str| Unusable {
        part: Part::Key,
        cause: cause.into(),
        fix: fix.into(),
    };
    let encrypted =
        holds(octets, "ENCRYPTED PRIVATE KEY-----") || holds(octets, "Proc-Type: 4,ENC");
    if encrypted {
        return Err(unusable(
            "the key is encrypted with a password",
            "write it without one, readable by the server alone: `openssl pkey -in FILE -out \
             key.pem`",
        ));
    }
    PrivateKeyDer::from_pem_slice(octets).map_err(|_| {
        if holds(octets, "BEGIN CERTIFICATE-----") {
            return unusable(
                "it holds a certificate, but no key",
                "exchange `certificate` and `key`, or name the file with the key",
            );
        }
        unusable(
            "it holds no key in PEM",
            "the file must have a line `-----BEGIN PRIVATE KEY-----`; one in DER becomes PEM with \
             `openssl pkey -inform der -in FILE -out key.pem`",
        )
    })
}

fn holds(octets: &[u8], text: &str) -> bool {
    octets.windows(text.len()).any(|w| w == text.as_bytes())
}

fn no_pair(error: &rustls::Error) -> Unusable {
    let (part, cause, fix) = match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => (
            Part::Key,
            "the key does not belong to the certificate".to_string(),
            "name the key that the certificate was made for; after a renewal both files must be \
             exchanged",
        ),
        rustls::Error::InvalidCertificate(why) => (
            Part::Certificate,
            format!("{} ({why:?})", super::untrusted(why)),
            "make it anew, as X.509 version 3",
        ),
        other => (
            Part::Key,
            format!("the key cannot be used: {other}"),
            "use an ECDSA key (P-256, P-384, P-521), an Ed25519 key, or an RSA key of 2048 to 8192 \
             bits",
        ),
    };
    Unusable {
        part,
        cause,
        fix: fix.into(),
    }
}
