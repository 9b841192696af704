//! The configuration file.

use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;

use posthaste::config::{Config, finding};
use posthaste_world::disk::{Disk, Entry, File, Lock, Open, Space};

/// Any octets as the configuration, and as each file that it names: usable, or findings that name a
/// place in the file, and a report of them.
pub fn load(octets: &[u8]) {
    let disk = Files(octets.to_vec());
    match Config::load(Path::new("/etc/posthaste.toml"), &disk) {
        Ok(loaded) => {
            assert!(!loaded.config.listeners.is_empty());
            assert!(!loaded.config.retry.intervals.is_empty());
            assert!(loaded.warnings.iter().all(|finding| !finding.is_error()));
            let _ = finding::report(&loaded.warnings);
        }
        Err(findings) => {
            assert!(findings.iter().any(finding::Finding::is_error));
            assert!(!finding::report(&findings).is_empty());
        }
    }
}

/// A disk on which every file is the same and nothing can be written.
struct Files(Vec<u8>);

fn read_only<T>() -> io::Result<T> {
    Err(ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for Files {
    fn open(&self, _: &Path, how: Open) -> io::Result<Box<dyn File>> {
        if how == Open::Read {
            Ok(Box::new(Files(self.0.clone())))
        } else {
            read_only()
        }
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        read_only()
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        read_only()
    }
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        read_only()
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        read_only()
    }
    fn list(&self, _: &Path) -> io::Result<Vec<Entry>> {
        Ok(Vec::new())
    }
    fn space(&self, _: &Path) -> io::Result<Space> {
        Ok(Space { free: 0, total: 0 })
    }
    fn lock(&self, _: &Path) -> io::Result<Box<dyn Lock>> {
        read_only()
    }
}

impl File for Files {
    fn write_at(&self, _: u64, _: &[IoSlice<'_>]) -> io::Result<()> {
        read_only()
    }
    fn read_at(&self, position: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(position)
            .unwrap_or(usize::MAX)
            .min(self.0.len());
        let len = bytes.len().min(self.0.len() - from);
        bytes[..len].copy_from_slice(&self.0[from..from + len]);
        Ok(len)
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        read_only()
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        read_only()
    }
    fn sync(&self) -> io::Result<()> {
        read_only()
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}
