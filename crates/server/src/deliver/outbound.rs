//! What we show to next hops, and whom we take them for: TLS connectors, certificates and passwords
//! of the routes.
//!
//! [`Credentials`] are read from their files before the server becomes another user, and again at a
//! reload: what cannot be read then stays as it was. [`Outbound`] holds them for one configuration,
//! together with a connector for each kind of trust; routes with a certificate of their own have
//! connectors of their own, so that no session is resumed under another name.
//!
//! This module does **not** decide which hop needs what: that is the hop's [`Security`].

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_world::{Clock, Disk};
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;

use super::auth::Secret;
use crate::authenticate::name::{PASSWORD_MAX, Password};
use crate::config::{CertificateFiles, Config, RouteTls, Security};
use crate::fault::Fault;
use crate::tls::client::{Connector, Trust};
use crate::tls::pair::Pair;

/// Longest file with a password, in octets.
const FILE_MAX: u64 = 4 * 1024;

/// Passwords and certificates, by the files they were read from.
#[derive(Clone, Default)]
pub struct Credentials {
    passwords: BTreeMap<PathBuf, Password>,
    certificates: BTreeMap<(PathBuf, PathBuf), Arc<CertifiedKey>>,
}

impl Credentials {
    /// Reads what the routes of `config` name. What cannot be read any more stays as it was
    /// `before`, with a fault.
    ///
    /// # Errors
    /// The first that cannot be read and never was.
    pub fn read(
        config: &Config,
        disk: &dyn Disk,
        before: &Credentials,
    ) -> Result<(Credentials, Vec<Fault>), Fault> {
        let mut now = Credentials::default();
        let mut faults = Vec::new();
        for security in config.routes.iter().map(|route| &route.security) {
            if let Some(login) = &security.login {
                let path = &login.password_file.path;
                let old = before.passwords.get(path).cloned();
                let password = or_old(password(path, disk), old, &mut faults)?;
                now.passwords.insert(path.clone(), password);
            }
            if let Some(files) = &security.certificate {
                let key = paths(files);
                let old = before.certificates.get(&key).cloned();
                let own = or_old(certificate(files, disk), old, &mut faults)?;
                now.certificates.insert(key, own);
            }
        }
        Ok((now, faults))
    }
}

fn or_old<T>(read: Result<T, Fault>, old: Option<T>, faults: &mut Vec<Fault>) -> Result<T, Fault> {
    match (read, old) {
        (Ok(new), _) => Ok(new),
        (Err(fault), Some(old)) => {
            faults.push(fault);
            Ok(old)
        }
        (Err(fault), None) => Err(fault),
    }
}

fn paths(files: &CertificateFiles) -> (PathBuf, PathBuf) {
    (files.certificate.path.clone(), files.key.path.clone())
}

/// The password in a file: its first line.
///
/// # Errors
/// It cannot be read, or holds no password.
pub fn password(path: &Path, disk: &dyn Disk) -> Result<Password, Fault> {
    let doing = || format!("reading the password in {}", path.display());
    let octets = disk.read(path, FILE_MAX).map_err(|e| {
        let fix = match e.kind() {
            ErrorKind::NotFound => "write the password into it: one line, nothing else",
            _ => "start as root, or give the server's user the right to read it",
        };
        Fault::new(doing(), e).fix(fix)
    })?;
    let line = octets
        .split(|octet| *octet == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let unfit = match line {
        [] => Some("its first line is empty"),
        line if line.len() > PASSWORD_MAX => Some("its first line is longer than 1024 octets"),
        line if line.contains(&0) => Some("it holds a NUL, which no password can"),
        _ => None,
    };
    match unfit {
        Some(cause) => Err(Fault::new(doing(), cause).fix("write the password into it: one line")),
        None => Ok(Password::new(line)),
    }
}

fn certificate(files: &CertificateFiles, disk: &dyn Disk) -> Result<Arc<CertifiedKey>, Fault> {
    let pair = Pair::read(files, disk).map_err(|unusable| {
        let path = files.of(unusable.part).path.display();
        let doing = format!("reading the certificate for a route ({path})");
        Fault::new(doing, unusable.cause).fix(unusable.fix)
    })?;
    Ok(pair.certified)
}

/// What one configuration shows to its next hops.
pub struct Outbound {
    ordinary: Connectors,
    routes: Vec<(Security, Shown)>,
}

/// What a route shows.
struct Shown {
    /// With the route's own certificate.
    connectors: Option<Connectors>,
    secret: Option<Secret>,
}

struct Connectors {
    anybody: Connector,
    verified: Connector,
}

impl Connectors {
    fn new(
        roots: &Arc<RootCertStore>,
        own: Option<&Arc<CertifiedKey>>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Fault> {
        let with = |trust| Connector::new(trust, roots.clone(), own.cloned(), clock.clone());
        Ok(Connectors {
            anybody: with(Trust::Anybody)?,
            verified: with(Trust::Verified)?,
        })
    }
}

impl Outbound {
    /// What the routes of `config` show, `roots` being whom we trust.
    ///
    /// # Errors
    /// The cryptographic library does not do its part.
    pub fn new(
        config: &Config,
        credentials: &Credentials,
        roots: &Arc<RootCertStore>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Fault> {
        let mut routes = Vec::new();
        for security in config.routes.iter().map(|route| &route.security) {
            let own = security.certificate.as_ref();
            let own = own.and_then(|files| credentials.certificates.get(&paths(files)));
            let secret = security.login.as_ref().and_then(|login| {
                let password = credentials.passwords.get(&login.password_file.path)?;
                Some(Secret {
                    user: login.user.as_str().into(),
                    password: password.clone(),
                })
            });
            if own.is_none() && secret.is_none() {
                continue;
            }
            let connectors = match own {
                Some(own) => Some(Connectors::new(roots, Some(own), clock)?),
                None => None,
            };
            routes.push((security.clone(), Shown { connectors, secret }));
        }
        Ok(Outbound {
            ordinary: Connectors::new(roots, None, clock)?,
            routes,
        })
    }

    /// Who begins a handshake with a hop of this security.
    #[must_use]
    pub fn connector(&self, security: &Security) -> &Connector {
        let own = self
            .shown(security)
            .and_then(|shown| shown.connectors.as_ref());
        let connectors = own.unwrap_or(&self.ordinary);
        match security.tls {
            RouteTls::Verify => &connectors.verified,
            RouteTls::None | RouteTls::Opportunistic | RouteTls::Require => &connectors.anybody,
        }
    }

    /// Who we are to such a hop.
    #[must_use]
    pub fn secret(&self, security: &Security) -> Option<&Secret> {
        self.shown(security)?.secret.as_ref()
    }

    /// Whether such a hop is shown a certificate.
    #[must_use]
    pub fn shows_certificate(&self, security: &Security) -> bool {
        self.shown(security)
            .is_some_and(|shown| shown.connectors.is_some())
    }

    fn shown(&self, security: &Security) -> Option<&Shown> {
        let mut routes = self.routes.iter();
        routes
            .find(|(of, _)| of == security)
            .map(|(_, shown)| shown)
    }
}
