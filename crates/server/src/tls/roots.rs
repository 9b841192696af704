//! Whom to trust: root certificates of this system, and of a file.
//!
//! The system's roots are read by rustls-native-certs, beside the disk door: where they are is the
//! system's own business (`SSL_CERT_FILE` and `SSL_CERT_DIR` say otherwise).

use std::path::Path;
use std::sync::Arc;

use posthaste_world::Disk;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::pair::FILE_MAX;
use crate::fault::Fault;

/// Certificates of authorities in one file.
const ROOTS_MAX: usize = 1000;

/// The roots of this system; none when it has none. What cannot be read among them is left out.
#[must_use]
pub fn of_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// `roots` and those of a file in PEM.
///
/// # Errors
/// The file cannot be read, or holds what is no certificate of an authority.
pub fn with_file(
    mut roots: RootCertStore,
    path: &Path,
    disk: &dyn Disk,
) -> Result<Arc<RootCertStore>, Fault> {
    let doing = || format!("reading the authorities of {}", path.display());
    let fix = "name a file with certificates of authorities in PEM";
    let octets = disk
        .read(path, FILE_MAX)
        .map_err(|e| Fault::new(doing(), e).fix(fix))?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&octets).take(ROOTS_MAX) {
        let certificate = certificate
            .map_err(|_| Fault::new(doing(), "what stands in it cannot be read").fix(fix))?;
        roots
            .add(certificate)
            .map_err(|e| Fault::new(doing(), e).fix(fix))?;
        count += 1;
    }
    if count == 0 {
        return Err(Fault::new(doing(), "there is no certificate in it").fix(fix));
    }
    Ok(Arc::new(roots))
}
