//! What `check` says of the certificates that a configuration names.
//!
//! It reads them as the server does at its start, and looks at who else may read the keys. It does
//! **not** verify chains: whom our peers trust is their business.

use std::path::Path;

use nix::sys::stat::{FileStat, Mode, stat};
use nix::unistd::{Gid, Uid, User, getgrouplist};
use posthaste_world::{Disk, Timestamp};
use rustls::RootCertStore;

use super::{CertificateFiles, Config, DEFAULT_USER, Finding, ListenerTls, NamedFile};
use crate::acme::store::Store;
use crate::deliver::outbound;
use crate::tls::certificates::{DAYS_WARNED, days_left};
use crate::tls::date;
use crate::tls::names::About;
use crate::tls::pair::{Pair, Unusable};
use crate::tls::roots;

/// What is to be said of the certificates of `config`, and of the passwords of its routes.
pub(super) fn examine(config: &Config, disk: &dyn Disk, now: Timestamp) -> Vec<Finding> {
    let mut findings = served(config, disk, now);
    for security in config.routes.iter().map(|route| &route.security) {
        if let Some(files) = &security.certificate {
            findings.extend(shown(files, disk, now));
        }
        if let Some(login) = &security.login {
            findings.extend(password(&login.password_file, disk));
        }
    }
    findings
}

/// What is to be said of a certificate that next servers are shown.
fn shown(files: &CertificateFiles, disk: &dyn Disk, now: Timestamp) -> Vec<Finding> {
    let found = match Pair::read(files, disk) {
        Err(unusable) => Some(unusable_file(files, unusable)),
        Ok(pair) => age(files, &pair.about, now),
    };
    found.into_iter().chain(readers(&files.key)).collect()
}

/// What is to be said of the file with a route's password.
fn password(file: &NamedFile, disk: &dyn Disk) -> Option<Finding> {
    if let Err(fault) = outbound::password(&file.path, disk) {
        let cause = format!("{}: {}", file.path.display(), fault.cause);
        let fix = "write the password into it: one line, readable by the server alone";
        return Some(Finding::error(file.place.clone(), cause, fix));
    }
    if !is_open(&file.path) {
        return None;
    }
    let path = file.path.display();
    let cause = format!("everybody on this machine may read the password in {path}, or write it");
    let fix = format!("run `chmod o= {path}`, and change the password");
    Some(Finding::error(file.place.clone(), cause, fix))
}

fn unusable_file(files: &CertificateFiles, unusable: Unusable) -> Finding {
    let named = files.of(unusable.part);
    let cause = format!("{}: {}", named.path.display(), unusable.cause);
    Finding::error(named.place.clone(), cause, unusable.fix)
}

/// What is to be said of the certificates that are served.
fn served(config: &Config, disk: &dyn Disk, now: Timestamp) -> Vec<Finding> {
    if config.listeners.iter().all(|l| l.tls == ListenerTls::None) {
        return Vec::new();
    }
    // The certificate of an authority is the server's own business, and comes with its name.
    let default = config
        .certificates
        .first()
        .filter(|_| config.acme.is_none());
    let mut findings = Vec::from_iter(authorities(config, disk));
    if config.certificates.is_empty() && config.acme.is_none() {
        findings.push(own());
    }
    if config.acme.is_some() {
        let store = Store::of(&config.data_dir);
        // Who may not look into the server's folder is told nothing of it.
        let given = store.pair(disk);
        findings.extend(given.and_then(|about| age(&store.files(), &about, now)));
    }
    for files in &config.certificates {
        match Pair::read(files, disk) {
            Err(unusable) => findings.push(unusable_file(files, unusable)),
            Ok(pair) => {
                findings.extend(age(files, &pair.about, now));
                if Some(files) == default && !pair.about.names.cover(config.hostname.as_str()) {
                    findings.push(another_name(files, config));
                }
                if Some(files) != default && pair.about.names.dns.is_empty() {
                    findings.push(nameless(files));
                }
            }
        }
        findings.extend(readers(&files.key));
        findings.extend(renewal(files, config));
    }
    findings
}

/// What is wrong with the authorities of clients.
fn authorities(config: &Config, disk: &dyn Disk) -> Option<Finding> {
    let named = config.client_ca.as_ref()?;
    let fault = roots::with_file(RootCertStore::empty(), &named.path, disk).err()?;
    let cause = format!("{}: {}", named.path.display(), fault.cause);
    Some(Finding::error(named.place.clone(), cause, fault.fix))
}

/// What it means that the configuration names no certificate.
fn own() -> Finding {
    Finding::warning(
        None,
        "[tls] names no certificate: the server makes itself one. Other servers encrypt to it all \
         the same; mail programs, and servers that verify, do not",
        "name `certificate` and `key` in [tls], or leave it so where only other servers come",
    )
}

/// What is to be said of how long a certificate is valid.
fn age(files: &CertificateFiles, about: &About, now: Timestamp) -> Option<Finding> {
    let path = files.certificate.path.display();
    let (from, until) = (date(about.not_before), date(about.not_after));
    let days = days_left(about, now);
    let cause = if days < 0 {
        format!("the certificate {path} has expired on {until}: peers that verify refuse it")
    } else if about.not_before > now {
        format!("the certificate {path} is not valid before {from}")
    } else if days < DAYS_WARNED {
        format!("the certificate {path} expires in {days} days, on {until}")
    } else {
        return None;
    };
    let fix = "renew it; the server serves the new files as soon as they are there";
    let place = files.certificate.place.clone();
    Some(Finding::warning(place, cause, fix))
}

fn another_name(files: &CertificateFiles, config: &Config) -> Finding {
    let cause = format!(
        "the certificate {} is not for `{}`, our `hostname`: peers that verify refuse it",
        files.certificate.path.display(),
        config.hostname
    );
    let fix = "have one issued whose subject alternative names have it, and move this one to a \
               [[tls.sni]] if it is for other names";
    Finding::warning(files.certificate.place.clone(), cause, fix)
}

fn nameless(files: &CertificateFiles) -> Finding {
    Finding::warning(
        files.certificate.place.clone(),
        "this certificate has no host name among its subject alternative names: it is never served",
        "have it issued anew with its names, or remove this [[tls.sni]]",
    )
}

/// Whether everybody on this machine may do something with a file.
pub(super) fn is_open(path: &Path) -> bool {
    let mode = stat(path).map(|s| Mode::from_bits_truncate(s.st_mode));
    mode.is_ok_and(|mode| mode.intersects(Mode::S_IRWXO))
}

/// A key that others on this machine may read.
fn readers(key: &NamedFile) -> Option<Finding> {
    if !is_open(&key.path) {
        return None;
    }
    let path = key.path.display();
    let cause = format!("everybody on this machine may read the key {path}, or write it");
    let fix = format!("run `chmod o= {path}`");
    Some(Finding::warning(key.place.clone(), cause, fix))
}

/// Files that the server can read at its start as root, but not as the user that it becomes.
fn renewal(files: &CertificateFiles, config: &Config) -> Option<Finding> {
    let name = config.user.as_deref().unwrap_or(DEFAULT_USER);
    let file = [&files.certificate, &files.key]
        .into_iter()
        .find(|file| is_lost(&file.path, config))?;
    let path = file.path.display();
    let cause = format!(
        "`{name}`, whom the server becomes, may not read {path}: a renewed certificate is served \
         only after a restart"
    );
    let fix = format!(
        "give its group the right to read it and to pass its folders: `chgrp {name} {path} && \
         chmod 0640 {path}`"
    );
    Some(Finding::warning(file.place.clone(), cause, fix))
}

/// Whether the server can read a file as root only, so not once it has become its user.
pub(super) fn is_lost(path: &Path, config: &Config) -> bool {
    let name = config.user.as_deref().unwrap_or(DEFAULT_USER);
    let user = User::from_name(name).ok().flatten();
    let root = Uid::effective().is_root();
    user.is_some_and(|user| root && !may_read(path, &user, &groups(&user)))
}

fn groups(user: &User) -> Vec<Gid> {
    let name = std::ffi::CString::new(user.name.as_bytes()).unwrap_or_default();
    getgrouplist(&name, user.gid).unwrap_or_else(|_| vec![user.gid])
}

/// Whether a user may read a file and pass all folders above it. What is not there is no matter of
/// rights.
fn may_read(path: &Path, user: &User, groups: &[Gid]) -> bool {
    // A link is read at its end, whose folders matter too.
    let end = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let has = |path: &Path, bit: u32| stat(path).map_or(true, |s| has(&s, bit, user, groups));
    let folders = |path: &Path| path.ancestors().skip(1).all(|folder| has(folder, 1));
    has(&end, 4) && folders(&end) && folders(path)
}

/// Whether a right (4 to read, 1 to pass) is a user's.
fn has(stat: &FileStat, bit: u32, user: &User, groups: &[Gid]) -> bool {
    let shift = if user.uid.is_root() {
        return true;
    } else if stat.st_uid == user.uid.as_raw() {
        6
    } else if groups.iter().any(|g| g.as_raw() == stat.st_gid) {
        3
    } else {
        0
    };
    stat.st_mode >> shift & bit != 0
}
