//! Segments: files of the log, and the folder they stand in.
//!
//! A segment's name holds its generation and its mark, so that a damaged header costs no frame. The
//! header holds them again, and the version of the format. It does **not** know which frames live.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_world::disk::Open;
use posthaste_world::{Disk, File};

use super::fault::Fault;
use super::frame::{FIRST, Home};

/// The version of the format that this program writes.
const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"posthste";
/// Octets of a header that mean something; zeros follow, up to [`FIRST`].
const HEADER: usize = 28;

/// How far a segment has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Frames are added.
    Active,
    /// Complete.
    Sealed,
    /// A write or a sync failed: to be emptied and removed, never synced or used again.
    Failed,
}

/// A segment and what of it is needed.
pub(super) struct Segment {
    pub(super) home: Home,
    pub(super) file: Arc<dyn File>,
    /// Octets of the file.
    pub(super) len: u64,
    /// Where the next frame goes.
    pub(super) end: u64,
    pub(super) stage: Stage,
    /// Octets of frames that are still needed.
    pub(super) live: u64,
    /// Frames elsewhere that are needed as long as this segment exists: octets by segment.
    pub(super) pins: BTreeMap<u32, u64>,
    /// Frames whose tomb or abort was written again elsewhere, by offset: when emptying is cut
    /// short, it begins anew.
    pub(super) moved: BTreeSet<u64>,
    /// Whether its sidecar is written, or must not be.
    pub(super) sidecar: bool,
    /// It could not be removed, or its survivors could not all be read: kept until room is needed
    /// and nothing of it is, or until the next start.
    pub(super) stuck: bool,
    /// The name it may have since recycling it failed half way.
    pub(super) other: Option<Home>,
}

/// The folders of a spool.
#[derive(Clone)]
pub(super) struct Folders {
    pub(super) disk: Arc<dyn Disk>,
    root: PathBuf,
    pub(super) log: PathBuf,
    pub(super) large: PathBuf,
    pub(super) damaged: PathBuf,
}

impl Segment {
    pub(super) fn new(home: Home, file: Arc<dyn File>, len: u64) -> Segment {
        Segment {
            home,
            file,
            len,
            end: FIRST,
            stage: Stage::Active,
            live: 0,
            pins: BTreeMap::new(),
            moved: BTreeSet::new(),
            sidecar: false,
            stuck: false,
            other: None,
        }
    }
}

/// The name of a segment's file.
pub(super) fn log_name(home: Home) -> String {
    format!("{:08x}-{:016x}.log", home.generation, home.mark)
}

/// The name of a segment's sidecar.
pub(super) fn sidecar_name(home: Home) -> String {
    format!("{:08x}-{:016x}.idx", home.generation, home.mark)
}

/// The segment a file name belongs to.
pub(super) fn parse_name(name: &str, extension: &str) -> Option<Home> {
    let (generation, rest) = name.strip_suffix(extension)?.split_once('-')?;
    let fits = generation.len() == 8 && rest.len() == 16;
    let home = Home {
        generation: u32::from_str_radix(generation, 16).ok()?,
        mark: u64::from_str_radix(rest, 16).ok()?,
    };
    fits.then_some(home)
}

impl Folders {
    /// Makes the folders that are missing, durably.
    pub(super) fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Folders, Fault> {
        let folders = Folders {
            disk,
            root: root.to_owned(),
            log: root.join("log"),
            large: root.join("large"),
            damaged: root.join("damaged"),
        };
        let make = |path: &Path| {
            let made = folders.disk.create_dir(path);
            made.map_err(|e| Fault::new("making the spool folder", path, e))
        };
        make(&folders.log)?;
        make(&folders.large)?;
        make(&folders.damaged)?;
        folders.sync_dir(root)?;
        match root.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => {
                folders.disk.sync_dir(parent).or_else(forgive_permission)
            }
            _ => Ok(()),
        }
        .map_err(|e| Fault::new("syncing the folder above", root, e))?;
        Ok(folders)
    }

    pub(super) fn lock_path(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn log_path(&self, home: Home) -> PathBuf {
        self.log.join(log_name(home))
    }

    pub(super) fn sync_dir(&self, path: &Path) -> Result<(), Fault> {
        self.disk
            .sync_dir(path)
            .map_err(|e| Fault::new("syncing the folder", path, e))
    }

    /// Makes a new, empty segment of `len` octets, durably.
    pub(super) fn create(&self, home: Home, len: u64) -> Result<Segment, Fault> {
        let path = self.log_path(home);
        let make = || {
            let file: Arc<dyn File> = self.disk.open(&path, Open::CreateNew)?.into();
            let made = file.allocate(len).and_then(|()| begin(&*file, home));
            match made.and_then(|()| self.disk.sync_dir(&self.log)) {
                Ok(()) => Ok(file),
                Err(e) => {
                    // Half a segment is of no use; the next start would only remove it.
                    let _ = self.disk.remove(&path);
                    Err(e)
                }
            }
        };
        let file = make().map_err(|e| Fault::new("making the segment", &path, e))?;
        Ok(Segment::new(home, file, len))
    }

    /// Uses a segment of which nothing is needed again, durably, under another name.
    pub(super) fn recycle(&self, old: &Segment, home: Home) -> Result<Segment, Fault> {
        let (from, to) = (self.log_path(old.home), self.log_path(home));
        let moved = || {
            self.remove_if_there(&self.log.join(sidecar_name(old.home)))?;
            self.disk.rename(&from, &to)?;
            self.disk.sync_dir(&self.log)?;
            begin(&*old.file, home)
        };
        moved().map_err(|e| Fault::new("recycling the segment", &from, e))?;
        Ok(Segment::new(home, old.file.clone(), old.len))
    }

    /// Removes a segment of which nothing is needed, durably.
    pub(super) fn remove(&self, home: Home) -> Result<(), Fault> {
        let path = self.log_path(home);
        let gone = || {
            self.remove_if_there(&self.log.join(sidecar_name(home)))?;
            self.remove_if_there(&path)?;
            self.disk.sync_dir(&self.log)
        };
        gone().map_err(|e| Fault::new("removing the segment", &path, e))
    }

    fn remove_if_there(&self, path: &Path) -> io::Result<()> {
        match self.disk.remove(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// Writes a segment's header and syncs it.
fn begin(file: &dyn File, home: Home) -> io::Result<()> {
    let mut block = MAGIC.to_vec();
    block.extend(VERSION.to_le_bytes());
    block.extend(home.generation.to_le_bytes());
    block.extend(home.mark.to_le_bytes());
    block.extend(crc32c::crc32c(&block).to_le_bytes());
    block.resize(usize::try_from(FIRST).unwrap_or(HEADER), 0);
    file.write_at(0, &[IoSlice::new(&block)])?;
    file.sync()
}

/// Whether this program can read a segment: false when a newer one wrote it. A header that is
/// damaged or not there yet says nothing; the frames speak for themselves.
pub(super) fn readable(file: &dyn File) -> io::Result<bool> {
    let mut header = [0; HEADER];
    if file.read_at(0, &mut header)? < HEADER {
        return Ok(true);
    }
    let (covered, crc) = header.split_at(HEADER - 4);
    let whole = covered.starts_with(MAGIC) && crc32c::crc32c(covered).to_le_bytes() == crc;
    let version = covered
        .get(8..12)
        .and_then(|v| v.try_into().ok())
        .map(u32::from_le_bytes);
    Ok(!whole || version <= Some(VERSION))
}

/// The folder above the spool may belong to somebody else. Its entry for the spool was then made by
/// the operator, long ago.
fn forgive_permission(e: io::Error) -> io::Result<()> {
    match e.kind() {
        io::ErrorKind::PermissionDenied => Ok(()),
        _ => Err(e),
    }
}
