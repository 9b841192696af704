//! Files of their own for bodies above [`super::INLINE_MAX`], or written under memory pressure.
//!
//! A file is written and synced, and so is its folder, before the frame that names it joins a
//! group. It is removed when its message has ended; one that no frame names is removed at the next
//! start.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use posthaste_world::disk::Open;
use posthaste_world::{File, Random};

use super::fault::{Fault, WriteError};
use super::record::Reference;
use super::segment::Folders;

/// A synced file that holds a body.
#[derive(Clone)]
pub struct LargeBody {
    reference: Reference,
    file: Arc<dyn File>,
}

impl LargeBody {
    /// Octets.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.reference.len
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reference.len == 0
    }

    pub(super) fn reference(&self) -> Reference {
        self.reference
    }

    pub(super) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }
}

impl fmt::Debug for LargeBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LargeBody")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// A large body being written. Dropping it removes the file, unless [`LargeWriter::keep`] was said.
pub(super) struct LargeWriter {
    folders: Folders,
    reference: Reference,
    file: Arc<dyn File>,
    kept: bool,
}

impl LargeWriter {
    /// Makes the file.
    pub(super) fn create(folders: &Folders, random: &dyn Random) -> Result<Self, WriteError> {
        let mut name = [0; 16];
        random.fill(&mut name);
        let path = path(folders, &name);
        let file = folders
            .disk
            .open(&path, Open::CreateNew)
            .map_err(|e| error(&e))?
            .into();
        let reference = Reference {
            name,
            len: 0,
            crc: 0,
        };
        Ok(LargeWriter {
            folders: folders.clone(),
            reference,
            file,
            kept: false,
        })
    }

    /// Adds octets.
    pub(super) fn write(&mut self, octets: &[u8]) -> Result<(), WriteError> {
        let written = self
            .file
            .write_at(self.reference.len, &[IoSlice::new(octets)]);
        written.map_err(|e| error(&e))?;
        self.reference.len += u64::try_from(octets.len()).unwrap_or(0);
        self.reference.crc = crc32c::crc32c_append(self.reference.crc, octets);
        Ok(())
    }

    /// Syncs the file and its folder.
    pub(super) fn finish(&self) -> Result<LargeBody, WriteError> {
        self.file.sync().map_err(|e| error(&e))?;
        let folder = self.folders.disk.sync_dir(&self.folders.large);
        folder.map_err(|e| error(&e))?;
        Ok(LargeBody {
            reference: self.reference,
            file: self.file.clone(),
        })
    }

    /// Lets the file stay: a message names it.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for LargeWriter {
    fn drop(&mut self) {
        if !self.kept {
            remove(&self.folders, &self.reference.name);
        }
    }
}

/// Removes a large body's file. A file that is gone already is no error; one that cannot be removed
/// now is removed at the next start.
pub(super) fn remove(folders: &Folders, name: &[u8; 16]) {
    let _ = folders.disk.remove(&path(folders, name));
}

/// Opens a large body's file to read.
pub(super) fn open(folders: &Folders, reference: Reference) -> Result<LargeBody, Fault> {
    let path = path(folders, &reference.name);
    let opened = folders.disk.open(&path, Open::Read).and_then(|file| {
        if file.len()? == reference.len {
            Ok(LargeBody {
                reference,
                file: file.into(),
            })
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the file has another length",
            ))
        }
    });
    opened.map_err(|e| Fault::new("opening the large body", &path, e))
}

/// The name of a large body's file.
pub(super) fn file_name(name: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*name))
}

fn path(folders: &Folders, name: &[u8; 16]) -> PathBuf {
    folders.large.join(file_name(name))
}

fn error(e: &io::Error) -> WriteError {
    match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => WriteError::Full,
        _ => WriteError::Failed,
    }
}
