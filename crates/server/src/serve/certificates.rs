//! Which certificates a configuration means, and whose it asks for.
//!
//! Reading and exchanging them is [`crate::tls`]'s.

use std::sync::Arc;

use posthaste_world::World;
use rustls::RootCertStore;

use crate::acme;
use crate::authenticate::mechanism::Mechanism;
use crate::config::{CertificateFiles, Config, ListenerTls};
use crate::fault::Fault;
use crate::tls::certificates::Certificates;
use crate::tls::server::Acceptor;
use crate::tls::{generated, roots};

/// The authorities whose certificates let clients log in.
pub(super) fn client_roots(
    world: &World,
    config: &Config,
) -> Result<Option<Arc<RootCertStore>>, Fault> {
    let external = config.accounts.mechanisms.contains(&Mechanism::External);
    let Some(named) = config.client_ca.as_ref().filter(|_| external) else {
        return Ok(None);
    };
    roots::with_file(RootCertStore::empty(), &named.path, &*world.disk).map(Some)
}

/// The acceptor that asks clients for a certificate, where they may log in with one.
pub(super) fn asking(
    world: &World,
    certificates: &Arc<Certificates>,
    roots: Option<Arc<RootCertStore>>,
) -> Result<Option<Acceptor>, Fault> {
    let (certificates, clock) = (certificates.clone(), world.clock.clone());
    let ask = |roots| Acceptor::new(certificates, Some(roots), clock);
    roots.map(ask).transpose()
}

/// Whether any listener speaks TLS.
pub(super) fn uses_tls(config: &Config) -> bool {
    config.listeners.iter().any(|l| l.tls != ListenerTls::None)
}

/// The certificates to be served. Where neither the configuration names the first of them nor an
/// authority has given it, the server's own is made.
pub(super) fn certificate_files(
    world: &World,
    config: &Config,
) -> Result<Vec<CertificateFiles>, Fault> {
    let named = config.certificates.clone();
    if !uses_tls(config) || (!named.is_empty() && config.acme.is_none()) {
        return Ok(named);
    }
    let given = config.acme.as_ref();
    let given = given.and_then(|_| acme::served(&config.data_dir, &*world.disk));
    let default = match given {
        Some(files) => files,
        None => {
            let (name, now) = (config.hostname.as_str(), world.clock.now());
            generated::ensure(&config.data_dir, name, &*world.disk, now)?
        }
    };
    Ok(std::iter::once(default).chain(named).collect())
}
