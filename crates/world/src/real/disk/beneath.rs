//! One folder and what is below it, reached by handles, never through a symbolic link.
//!
//! Each component of a path is opened from the handle of the one before with `O_NOFOLLOW`, so a
//! user who owns a folder on the way can neither lead us out of the root nor swap a folder for a
//! link between a check and its use. `openat2` would do it in one call, but containers often forbid
//! it; paths here have a handful of components.
//!
//! The root itself is the operator's word and may be reached through links.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{FILE, FOLDER, flags, locked, named, regular, space};
use crate::disk::{self, Entry, Lock, Open, Space};

const WAY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A folder as a disk of its own.
pub(super) struct Beneath {
    root: OwnedFd,
}

impl Beneath {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty())?;
        Ok(Beneath { root })
    }

    /// The handle of the folder at `path`.
    fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        self.walk(path, open_folder)
    }

    /// Goes down `path`, from handle to handle.
    fn walk(
        &self,
        path: &Path,
        step: impl Fn(&OwnedFd, &OsStr) -> io::Result<OwnedFd>,
    ) -> io::Result<OwnedFd> {
        let mut at = self.root.try_clone()?;
        for name in disk::below(path)?.components() {
            at = step(&at, name.as_os_str())?;
        }
        Ok(at)
    }

    /// The handle of the folder that holds `path`, and the last name.
    fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let name = match path.components().next_back() {
            Some(Component::Normal(name)) => name,
            _ => return Err(Errno::INVAL.into()),
        };
        Ok((self.folder(path.parent().unwrap_or(Path::new("")))?, name))
    }
}

impl disk::Disk for Beneath {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn disk::File>> {
        let (folder, name) = self.parent(path)?;
        let flags = flags(how) | OFlags::NOFOLLOW;
        regular(rustix::fs::openat(&folder, name, flags, FILE)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (old, from) = self.parent(from)?;
        let (new, to) = self.parent(to)?;
        Ok(rustix::fs::renameat(&old, from, &new, to)?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(&folder, name, AtFlags::empty())?)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let step = |at: &OwnedFd, name: &OsStr| match open_folder(at, name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                match rustix::fs::mkdirat(at, name, FOLDER) {
                    // Somebody else was faster, or put something there: the next line tells.
                    Ok(()) | Err(Errno::EXIST) => open_folder(at, name),
                    Err(e) => Err(e.into()),
                }
            }
            opened => opened,
        };
        self.walk(path, step).map(drop)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.folder(path)?)?)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let folder = self.folder(path)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
            if name == "." || name == ".." {
                continue;
            }
            let stat = match rustix::fs::statat(&folder, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat?,
            };
            let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let len = u64::try_from(stat.st_size).unwrap_or_default();
            entries.extend(named(name, len, is_dir));
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        Ok(space(&rustix::fs::fstatvfs(self.folder(path)?)?))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let (folder, name) = self.parent(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        locked(rustix::fs::openat(&folder, name, flags, FILE)?)
    }

    fn beneath(&self, root: &Path) -> io::Result<Option<Box<dyn disk::Disk>>> {
        let root = self.folder(root)?;
        Ok(Some(Box::new(Beneath { root })))
    }
}

fn open_folder(at: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(at, name, WAY, Mode::empty())?)
}
