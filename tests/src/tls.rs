//! Certificates of the tests' own authority, and clients that trust it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::client::ClientConnection;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// An authority that signs for the tests.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// Whom a client of the tests trusts.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Authority {
    /// A new one, with a name of its own.
    ///
    /// # Panics
    /// When there is no randomness.
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let name = format!("authority of the tests {:?}", &key.public_key_raw()[1..9]);
        params.distinguished_name.push(DnType::CommonName, name);
        valid(&mut params, 1, 3650);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);
        Authority { issuer, pem }
    }

    /// Writes `name.pem` with a certificate for `names`, valid for 80 days, and `name.key`, which
    /// the program's user may read; each is exchanged whole.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn certify(&self, folder: &Path, name: &str, names: &[&str]) {
        self.certify_for(folder, name, names, (1, 80));
    }

    /// As [`Authority::certify`], valid from so many days ago and for so many days.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn certify_for(&self, folder: &Path, name: &str, names: &[&str], days: (u64, u64)) {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).expect("names");
        params
            .distinguished_name
            .push(DnType::CommonName, names.first().expect("a name").as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, days.0, days.1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        put(&folder.join(format!("{name}.key")), &key.serialize_pem());
        put(&folder.join(format!("{name}.pem")), &certificate.pem());
    }

    /// Writes `name.pem` and `name.key` with a certificate for a client who has this mail address.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn certify_client(&self, folder: &Path, name: &str, address: &str) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        let address = address.try_into().expect("an address");
        params.subject_alt_names = vec![SanType::Rfc822Name(address)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        valid(&mut params, 1, 80);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        put(&folder.join(format!("{name}.key")), &key.serialize_pem());
        put(&folder.join(format!("{name}.pem")), &certificate.pem());
    }

    /// The authority's own certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Clients that trust it and nobody else.
    ///
    /// # Panics
    /// When its certificate cannot be used.
    #[must_use]
    pub fn trust(&self) -> Trust {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("a certificate");
        roots.add(root).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Each connection is to show the certificate that is served now.
        config.resumption = rustls::client::Resumption::disabled();
        Trust(Arc::new(config))
    }
}

impl Default for Authority {
    fn default() -> Self {
        Authority::new()
    }
}

impl Trust {
    /// The client's end of a handshake with `name`.
    pub(crate) fn connection(&self, name: &str) -> ClientConnection {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        ClientConnection::new(self.0.clone(), name).expect("a connection")
    }
}

/// Valid from `before` days ago until `after` days from now.
fn valid(params: &mut CertificateParams, before: u64, after: u64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.expect("a clock").as_secs();
    let at = |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_before = at(now - before * 86_400);
    params.not_after = at(now + after * 86_400);
}

fn put(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a file");
    // The program gives up root, and must be able to read a renewed key.
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&new, open).expect("a readable file");
    std::fs::rename(&new, path).expect("its name");
}
