//! Certificates: a peer's, and the files of an operator.

use posthaste::tls::names::About;
use posthaste::tls::pair::{Octets, Pair};
use posthaste_world::Timestamp;
use rustls_pki_types::CertificateDer;

/// Any octets as a peer's certificate: it is read or not, and its names cover what they say.
pub fn of_a_peer(octets: &[u8]) {
    let Some(about) = About::read(&CertificateDer::from(octets)) else {
        return;
    };
    for name in about
        .names
        .dns
        .iter()
        .filter(|name| !name.starts_with("*."))
    {
        assert_eq!(*name, name.to_ascii_lowercase());
        assert!(about.names.cover(name));
    }
    assert!(!about.names.cover(""));
    let _ = posthaste::tls::certificates::days_left(&about, Timestamp::MAX);
    let _ = posthaste::tls::certificates::days_left(&about, Timestamp::EPOCH);
}

/// Any octets as a file of certificates and a file of a key, one after the other: a pair, or what
/// is wrong and what to do.
pub fn files(octets: &[u8]) {
    let end = octets.iter().position(|octet| *octet == 0);
    let (certificate, key) = octets.split_at(end.unwrap_or(octets.len()));
    let octets = Octets {
        certificate: certificate.to_vec(),
        key: key.to_vec(),
    };
    if let Err(unusable) = Pair::from_pem(&octets) {
        assert!(!unusable.cause.is_empty() && !unusable.fix.is_empty());
    }
}
