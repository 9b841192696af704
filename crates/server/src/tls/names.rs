//! What a certificate says of itself: its names, and how long it is valid (RFC 5280 §4.1).
//!
//! It does **not** judge: whether a certificate proves its names is the verifiers' business.

use aws_lc_rs::digest;
use posthaste_world::Timestamp;
use rustls::pki_types::{CertificateDer, ServerName};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Names of one certificate that are looked at. Public authorities issue for at most 100.
const NAMES_MAX: usize = 1000;

/// The subject alternative names of a certificate (RFC 5280 §4.2.1.6). The common name is no such
/// name (RFC 9525 §2).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// Host names (`dNSName`), in lower case; they may begin with `*.`.
    pub dns: Vec<String>,
    /// Mail addresses (`rfc822Name`), as they are written.
    pub mail: Vec<String>,
}

/// The SHA-256 of a certificate's public key, as `TLSA 3 1 1` records hold it (RFC 6698 §2.1). None
/// when it is no certificate.
#[must_use]
pub fn key_digest(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate.as_ref()).ok()?;
    let key = parsed.tbs_certificate().subject_public_key_info();
    let digest = digest::digest(&digest::SHA256, &key.to_der().ok()?);
    Some(digest.as_ref().to_vec())
}

/// What a certificate says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct About {
    /// Its names.
    pub names: Names,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// The last instant at which it is valid.
    pub not_after: Timestamp,
    /// Whether it was issued to whom it was issued by.
    pub self_issued: bool,
}

impl About {
    /// Reads a certificate. None when it is not one.
    #[must_use]
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let parsed = Certificate::from_der(certificate.as_ref()).ok()?;
        let body = parsed.tbs_certificate();
        let mut names = Names::default();
        if let Ok(Some((_, alternatives))) = body.get_extension::<SubjectAltName>() {
            for name in alternatives.0.iter().take(NAMES_MAX) {
                match name {
                    GeneralName::DnsName(name) => {
                        names.dns.push(name.as_str().to_ascii_lowercase());
                    }
                    GeneralName::Rfc822Name(name) => names.mail.push(name.as_str().to_string()),
                    _ => {}
                }
            }
        }
        let time = |t: x509_cert::time::Time| Timestamp::from_secs(t.to_unix_duration().as_secs());
        Some(About {
            names,
            not_before: time(body.validity().not_before),
            not_after: time(body.validity().not_after),
            self_issued: body.issuer() == body.subject(),
        })
    }
}

impl Names {
    /// The names of a certificate; none when it cannot be read.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        About::read(certificate)
            .map(|a| a.names)
            .unwrap_or_default()
    }

    /// Whether a host name, in lower case, is one of these. A `*` stands for exactly one label, the
    /// first (RFC 9525 §6.3).
    #[must_use]
    pub fn cover(&self, host: &str) -> bool {
        let wild = |name: &str| {
            let parent = name.strip_prefix("*.");
            let label = host.split_once('.');
            matches!((parent, label), (Some(p), Some((l, rest))) if !l.is_empty() && p == rest)
        };
        self.dns.iter().any(|name| name == host || wild(name))
    }
}

/// The name or address to ask a server for, from how its host is written.
#[must_use]
pub(super) fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.trim_end_matches('.').to_string()).ok()
}
