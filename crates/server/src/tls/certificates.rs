//! The certificates that are served: which for which name, and exchanged when their files change.
//!
//! The first pair is served to peers that ask for no name or for one that no certificate has: many
//! mail servers send none (RFC 6066 §3), and a peer that cannot verify still encrypts. Several
//! pairs may have the same name with different kinds of keys; the first that the peer can verify is
//! taken.
//!
//! A pair that cannot be used never replaces one that can. New handshakes use what was read last;
//! connections that have begun are not touched.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aws_lc_rs::digest;
use posthaste_world::{Disk, Timestamp};
use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::names::About;
use super::pair::{Octets, Pair, Unusable};
use crate::config::CertificateFiles;
use crate::fault::Fault;

/// A certificate that is valid for fewer days than this is spoken of: by `check`, and daily in the
/// log.
pub const DAYS_WARNED: i64 = 21;

/// What is served now, shared by every acceptor.
#[derive(Debug, Default)]
pub struct Certificates {
    set: RwLock<Arc<Set>>,
    /// What is wrong with the files of a pair, by its file of certificates.
    troubles: Mutex<BTreeMap<PathBuf, Trouble>>,
}

/// One pair that is served.
#[derive(Clone, Debug)]
pub struct Served {
    /// Where it was read from.
    pub files: CertificateFiles,
    /// What the certificate says of itself.
    pub about: About,
    certified: Arc<CertifiedKey>,
    print: Print,
}

/// What looking at the files again brought.
#[derive(Debug, Default)]
pub struct Refreshed {
    /// Pairs that replaced older ones.
    pub replaced: Vec<Served>,
    /// What is wrong; each is told once for as long as it stays.
    pub faults: Vec<Fault>,
}

/// Tells contents apart without keeping a second copy of a key.
type Print = [u8; 32];

#[derive(Debug, Default)]
struct Set {
    served: Vec<Served>,
    by_name: BTreeMap<String, Vec<usize>>,
}

#[derive(Debug)]
struct Trouble {
    cause: String,
    print: Option<Print>,
    told: bool,
}

impl Certificates {
    /// Serves `files` from now on, the first as the default. A pair that was served before and
    /// cannot be read now is kept, and a fault says why.
    ///
    /// # Errors
    /// A pair that cannot be used and was not served before; everything stays as it was.
    pub fn exchange(
        &self,
        files: &[CertificateFiles],
        disk: &dyn Disk,
    ) -> Result<Vec<Fault>, Fault> {
        let old = self.current();
        let mut served = Vec::new();
        let mut faults = Vec::new();
        for files in files {
            let kept = old.served.iter().find(|s| same(&s.files, files));
            match (Served::read(files, disk), kept) {
                (Ok(pair), _) => served.push(pair),
                (Err(unusable), Some(kept)) => {
                    faults.push(fault(files, &unusable, Some(&kept.about)));
                    served.push(kept.clone());
                }
                (Err(unusable), None) => return Err(fault(files, &unusable, None)),
            }
        }
        self.put(served);
        Ok(faults)
    }

    /// Looks at the files again. Both files of a pair are rarely exchanged in one instant, so what
    /// is wrong is believed only when it looks the same twice.
    #[must_use]
    pub fn refresh(&self, disk: &dyn Disk) -> Refreshed {
        let mut served = self.current().served.clone();
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = Refreshed::default();
        for one in &mut served {
            let octets = Octets::read(&one.files, disk);
            let print = octets.as_ref().ok().map(fingerprint);
            if print == Some(one.print) {
                troubles.remove(&one.files.certificate.path);
                continue;
            }
            match octets.and_then(|o| Served::of(&one.files, &o)) {
                Ok(new) => {
                    troubles.remove(&one.files.certificate.path);
                    *one = new.clone();
                    done.replaced.push(new);
                }
                Err(unusable) => {
                    let path = one.files.certificate.path.clone();
                    if Trouble::persists(&mut troubles, path, &unusable, print) {
                        done.faults
                            .push(fault(&one.files, &unusable, Some(&one.about)));
                    }
                }
            }
        }
        if !done.replaced.is_empty() {
            self.put(served);
        }
        done
    }

    /// The pairs that are served, the default first.
    #[must_use]
    pub fn served(&self) -> Vec<Served> {
        self.current().served.clone()
    }

    fn put(&self, served: Vec<Served>) {
        let set = Arc::new(Set::new(served));
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = set;
    }

    fn current(&self) -> Arc<Set> {
        self.set
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        self.current()
            .choose(name.as_deref(), hello.signature_schemes())
    }
}

impl Served {
    fn read(files: &CertificateFiles, disk: &dyn Disk) -> Result<Self, Unusable> {
        Served::of(files, &Octets::read(files, disk)?)
    }

    fn of(files: &CertificateFiles, octets: &Octets) -> Result<Self, Unusable> {
        let pair = Pair::from_pem(octets)?;
        Ok(Served {
            files: files.clone(),
            about: pair.about,
            certified: pair.certified,
            print: fingerprint(octets),
        })
    }

    /// Whole days until it is no longer valid; negative afterwards.
    #[must_use]
    pub fn days_left(&self, now: Timestamp) -> i64 {
        days_left(&self.about, now)
    }

    fn signs(&self, schemes: &[SignatureScheme]) -> bool {
        self.certified.key.choose_scheme(schemes).is_some()
    }
}

/// Whole days until a certificate is no longer valid; negative afterwards.
#[must_use]
pub fn days_left(about: &About, now: Timestamp) -> i64 {
    let days = |d: std::time::Duration| i64::try_from(d.as_secs() / 86_400).unwrap_or(i64::MAX);
    match about.not_after >= now {
        true => days(about.not_after.since(now)),
        false => -1 - days(now.since(about.not_after)),
    }
}

impl Set {
    fn new(served: Vec<Served>) -> Self {
        let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, one) in served.iter().enumerate() {
            for name in &one.about.names.dns {
                by_name.entry(name.clone()).or_default().push(at);
            }
        }
        Set { served, by_name }
    }

    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let wild = name.and_then(|n| n.split_once('.'));
        let wild = wild.map(|(_, parent)| format!("*.{parent}"));
        let named = [name, wild.as_deref()]
            .into_iter()
            .flatten()
            .filter_map(|n| self.by_name.get(n))
            .flatten()
            .filter_map(|at| self.served.get(*at));
        let mut usable = named.chain(&self.served).filter(|s| s.signs(schemes));
        let chosen = usable.next().or_else(|| self.served.first());
        chosen.map(|s| s.certified.clone())
    }
}

impl Trouble {
    /// Whether the trouble was there before and nobody was told of it yet.
    fn persists(
        troubles: &mut BTreeMap<PathBuf, Trouble>,
        path: PathBuf,
        unusable: &Unusable,
        print: Option<Print>,
    ) -> bool {
        match troubles.get_mut(&path) {
            Some(old) if old.cause == unusable.cause && old.print == print => {
                !std::mem::replace(&mut old.told, true)
            }
            _ => {
                let cause = unusable.cause.clone();
                let told = false;
                troubles.insert(path, Trouble { cause, print, told });
                false
            }
        }
    }
}

fn same(one: &CertificateFiles, other: &CertificateFiles) -> bool {
    one.certificate.path == other.certificate.path && one.key.path == other.key.path
}

fn fingerprint(octets: &Octets) -> Print {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(digest::digest(&digest::SHA256, &octets.certificate).as_ref());
    hash.update(&octets.key);
    let mut print = Print::default();
    print.copy_from_slice(hash.finish().as_ref());
    print
}

/// What the operator is told of files that cannot be used.
fn fault(files: &CertificateFiles, unusable: &Unusable, kept: Option<&About>) -> Fault {
    let path = files.of(unusable.part).path.display().to_string();
    let cause = match kept {
        Some(about) => {
            let until = super::date(about.not_after);
            format!(
                "{}; the one that is valid until {until} is kept",
                unusable.cause
            )
        }
        None => unusable.cause.clone(),
    };
    Fault::new(format!("reading {path}"), cause).fix(unusable.fix.clone())
}
