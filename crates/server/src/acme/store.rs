//! What is kept of an authority: the account, the certificate with its key, and the attempts.
//!
//! All in the folder `acme` of `data_dir`, readable by the server's user alone. A file is written
//! under another name, made durable and renamed, so that what is under its own name is whole. A
//! state or an account that cannot be read is as if there were none.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use posthaste_world::disk::Open;
use posthaste_world::{Disk, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::{CertificateFiles, NamedFile};
use crate::fault::Fault;
use crate::tls::names::About;
use crate::tls::pair::Pair;

/// Longest file that is read, in octets.
const FILE_MAX: u64 = 64 * 1024;

/// The folder.
#[derive(Clone, Debug)]
pub struct Store(PathBuf);

/// A certificate and its key, in PEM.
pub struct Issued {
    /// The certificate and those that lead to its root.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// What is known of attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Attempts since the last that succeeded.
    pub failures: u32,
    /// When the last one was made, in seconds of Unix time.
    pub attempted_s: u64,
    /// When the next one may be made, in seconds of Unix time.
    pub not_before_s: u64,
}

impl State {
    /// When the last attempt was made.
    #[must_use]
    pub fn attempted(&self) -> Timestamp {
        Timestamp::from_secs(self.attempted_s)
    }

    /// When the next one may be made.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        Timestamp::from_secs(self.not_before_s)
    }
}

#[derive(Serialize, Deserialize)]
struct AccountFile {
    directory: String,
    credentials: AccountCredentials,
}

impl Store {
    /// The store of a server.
    #[must_use]
    pub fn of(data_dir: &Path) -> Self {
        Store(data_dir.join("acme"))
    }

    /// Where the certificate and its key are.
    #[must_use]
    pub fn files(&self) -> CertificateFiles {
        let named = |name: &str| NamedFile {
            path: self.0.join(name),
            place: None,
        };
        CertificateFiles {
            certificate: named("certificate.pem"),
            key: named("key.pem"),
        }
    }

    /// What the certificate says of itself, when there is one that can be served.
    #[must_use]
    pub fn pair(&self, disk: &dyn Disk) -> Option<About> {
        let pair = Pair::read(&self.files(), disk).ok()?;
        Some(pair.about)
    }

    /// Keeps a new certificate with its key.
    ///
    /// # Errors
    /// The disk.
    pub fn keep(&self, issued: &Issued, disk: &dyn Disk) -> Result<(), Fault> {
        let files = self.files();
        self.write(disk, &files.key.path, issued.key.as_bytes())?;
        let certificate = issued.certificate.as_bytes();
        self.write(disk, &files.certificate.path, certificate)
    }

    /// The account at `directory`, when there is one.
    #[must_use]
    pub fn account(&self, directory: &str, disk: &dyn Disk) -> Option<AccountCredentials> {
        let octets = disk.read(&self.0.join("account.json"), FILE_MAX).ok()?;
        let file: AccountFile = serde_json::from_slice(&octets).ok()?;
        (file.directory == directory).then_some(file.credentials)
    }

    /// Forgets the account: the authority does not know it any more.
    pub fn forget_account(&self, disk: &dyn Disk) {
        // One that cannot be removed is asked with again, and refused again.
        let _ = disk.remove(&self.0.join("account.json"));
    }

    /// Keeps an account.
    ///
    /// # Errors
    /// The disk.
    pub fn keep_account(
        &self,
        directory: &str,
        credentials: AccountCredentials,
        disk: &dyn Disk,
    ) -> Result<(), Fault> {
        let path = self.0.join("account.json");
        let file = AccountFile {
            directory: directory.to_string(),
            credentials,
        };
        let octets = serde_json::to_vec(&file).map_err(|e| fault(&path, &e))?;
        self.write(disk, &path, &octets)
    }

    /// What is known of attempts.
    #[must_use]
    pub fn state(&self, disk: &dyn Disk) -> State {
        let octets = disk.read(&self.0.join("state.json"), FILE_MAX);
        octets
            .ok()
            .and_then(|octets| serde_json::from_slice(&octets).ok())
            .unwrap_or_default()
    }

    /// Keeps what is known of attempts.
    ///
    /// # Errors
    /// The disk.
    pub fn keep_state(&self, state: &State, disk: &dyn Disk) -> Result<(), Fault> {
        let path = self.0.join("state.json");
        let octets = serde_json::to_vec(state).map_err(|e| fault(&path, &e))?;
        self.write(disk, &path, &octets)
    }

    fn write(&self, disk: &dyn Disk, path: &Path, octets: &[u8]) -> Result<(), Fault> {
        let write = || {
            disk.create_dir(&self.0)?;
            let new = path.with_extension("new");
            match disk.remove(&new) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let file = disk.open(&new, Open::CreateNew)?;
            file.write_at(0, &[IoSlice::new(octets)])?;
            file.sync()?;
            disk.rename(&new, path)?;
            disk.sync_dir(&self.0)
        };
        write().map_err(|e| fault(path, &e))
    }
}

fn fault(path: &Path, cause: &dyn std::fmt::Display) -> Fault {
    Fault::new(format!("writing {}", path.display()), cause)
        .fix("let the server's user write to `data_dir`, and see whether the disk is full")
}
