//! Both ends against each other in memory, and files as operators write them.
#![allow(clippy::disallowed_methods)]

mod files;
mod handshakes;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use posthaste_world::{Timestamp, World, real};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls::RootCertStore;

use super::certificates::Certificates;
use super::roots;
use crate::config::{CertificateFiles, NamedFile};

const DAY: Duration = Duration::from_secs(86_400);

fn world() -> World {
    real::world(&real::Settings::default()).unwrap()
}

/// A certificate authority of the tests.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Each has a name of its own, else one would be taken for another that forged a signature.
        let name = format!("authority {:?}", key.public_key_raw());
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Authority { issuer, pem }
    }

    /// A certificate and its key, in PEM.
    fn issue(&self, wish: &Wish) -> (String, String) {
        let key = KeyPair::generate_for(wish.algorithm).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = wish.names.clone();
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(wish.from.as_secs());
        params.not_after = epoch + Duration::from_secs(wish.until.as_secs());
        params.extended_key_usages = vec![wish.usage.clone()];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn roots(&self, folder: &Path, world: &World) -> Arc<RootCertStore> {
        let path = folder.join("authority.pem");
        std::fs::write(&path, &self.pem).unwrap();
        roots::with_file(RootCertStore::empty(), &path, &*world.disk).unwrap()
    }
}

/// What a certificate is to be like.
struct Wish {
    names: Vec<SanType>,
    from: Timestamp,
    until: Timestamp,
    usage: ExtendedKeyUsagePurpose,
    algorithm: &'static rcgen::SignatureAlgorithm,
}

impl Wish {
    fn server(world: &World, names: &[&str]) -> Self {
        let now = world.clock.now();
        Wish {
            names: names
                .iter()
                .map(|n| SanType::DnsName((*n).try_into().unwrap()))
                .collect(),
            from: now - DAY,
            until: now + DAY * 90,
            usage: ExtendedKeyUsagePurpose::ServerAuth,
            algorithm: &rcgen::PKCS_ECDSA_P256_SHA256,
        }
    }

    fn client(world: &World, mail: &str) -> Self {
        Wish {
            names: vec![
                SanType::Rfc822Name(mail.try_into().unwrap()),
                SanType::DnsName("laptop.example.org".try_into().unwrap()),
            ],
            usage: ExtendedKeyUsagePurpose::ClientAuth,
            ..Wish::server(world, &[])
        }
    }
}

/// Writes a pair into a folder.
fn files(folder: &Path, name: &str, (certificate, key): &(String, String)) -> CertificateFiles {
    let named = |suffix: &str, text: &str| {
        let path = folder.join(format!("{name}.{suffix}"));
        std::fs::write(&path, text).unwrap();
        NamedFile { path, place: None }
    };
    CertificateFiles {
        certificate: named("pem", certificate),
        key: named("key", key),
    }
}

fn serving(world: &World, files: &[CertificateFiles]) -> Arc<Certificates> {
    let certificates = Arc::new(Certificates::default());
    let faults = certificates.exchange(files, &*world.disk).unwrap();
    assert_eq!(faults, []);
    certificates
}
