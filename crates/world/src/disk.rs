//! The disk door: blocking, few verbs, and explicit about what is durable.
//!
//! Nothing is durable before a sync says so: file bytes and length after [`File::sync`] (or
//! `sync_data`'s equal), a name created, renamed or removed after [`Disk::sync_dir`] on its folder.
//! The simulated disk takes both literally.

use std::io::{self, IoSlice};
use std::path::{Component, Path, PathBuf};

/// How to open a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Open {
    /// Existing, to read. Its name may be a symbolic link, as those of settings often are.
    Read,
    /// Existing, to read and write; an error when the name is a symbolic link.
    ReadWrite,
    /// New, to read and write; an error when the name exists. Mode 0600.
    CreateNew,
}

/// One entry of a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its name within the folder. Names that are not UTF-8 are left out.
    pub name: String,
    /// Its length in octets.
    pub len: u64,
    /// Whether it is a folder.
    pub is_dir: bool,
}

/// Room on the file system that holds a path, in octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// Free for us.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// What tells one state of a file from another without reading it: a file that was written to or
/// replaced has another stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamp {
    /// Its number on its file system.
    pub file: (u64, u64),
    /// When its bytes and its metadata changed last, in nanoseconds of the system's clock.
    pub changed: (i128, i128),
    /// Its length in octets.
    pub len: u64,
}

/// Files and folders. All calls block; callers that must not block go through
/// [`Work`](crate::Work).
pub trait Disk: Send + Sync {
    /// Opens a regular file; anything else is an error.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>>;
    /// Renames a file, replacing what `to` named. Durable after `sync_dir` on both folders.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after `sync_dir`.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder and its missing parents, mode 0700. Existing is no error.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names within a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// The entries of a folder, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// Room on the file system of `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// The stamp of the file that `path` leads to. A disk without such marks tells files apart by
    /// their length alone.
    ///
    /// # Errors
    /// As for opening it to read.
    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        let len = self.open(path, Open::Read)?.len()?;
        Ok(Stamp {
            len,
            ..Stamp::default()
        })
    }
    /// Takes an exclusive lock on `path` (created when missing) for as long as the result lives.
    ///
    /// # Errors
    /// `WouldBlock` when another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
    /// The folder `root` as a disk of its own, when this disk knows symbolic links. Callers use
    /// `within`, which serves every disk.
    ///
    /// # Errors
    /// When `root` is not a folder that can be opened.
    fn beneath(&self, root: &Path) -> io::Result<Option<Box<dyn Disk>>> {
        let _ = root;
        Ok(None)
    }
    /// The whole of a small file.
    ///
    /// # Errors
    /// `FileTooLarge` when it is longer than `limit`.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path, Open::Read)?;
        let len = file.len()?;
        if len > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the file is longer than its limit",
            ));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        let n = file.read_at(0, &mut bytes)?;
        bytes.truncate(n);
        Ok(bytes)
    }
}

impl dyn Disk + '_ {
    /// The folder `root` as a disk of its own, for folders that others may write to: paths are
    /// relative to it, `..` is refused, and no symbolic link is followed in any component, however
    /// the folders change meanwhile. `root` itself may be reached through links.
    ///
    /// A file placed there durably: [`Disk::create_dir`] and [`Disk::sync_dir`] on each folder made
    /// and on the folder above it; write the file under a temporary name; [`File::sync`];
    /// [`Disk::rename`]; `sync_dir` on the new folder. A crash before the last step leaves at most
    /// the temporary file or a file that nobody was told of; never a final name without its bytes.
    ///
    /// # Errors
    /// When `root` is not a folder that can be opened.
    pub fn within<'a>(&'a self, root: &Path) -> io::Result<Box<dyn Disk + 'a>> {
        match self.beneath(root)? {
            Some(disk) => Ok(disk),
            None => Ok(Box::new(Joined {
                disk: self,
                root: root.to_owned(),
            })),
        }
    }
}

/// A folder of a disk without symbolic links: joining the paths is enough.
struct Joined<'a> {
    disk: &'a (dyn Disk + 'a),
    root: PathBuf,
}

impl Joined<'_> {
    fn path(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(self.root.join(below(path)?))
    }
}

impl Disk for Joined<'_> {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        self.disk.open(&self.path(path)?, how)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(&self.path(from)?, &self.path(to)?)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(&self.path(path)?)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(&self.path(path)?)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(&self.path(path)?)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(&self.path(path)?)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk.space(&self.path(path)?)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(&self.path(path)?)
    }
}

/// `path` when it names something below the folder it starts from.
pub(crate) fn below(path: &Path) -> io::Result<&Path> {
    let normal = |component| matches!(component, Component::Normal(_));
    if path.components().all(normal) {
        return Ok(path);
    }
    let why = "the path leads out of its folder";
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

/// A lock that ends when it is dropped.
pub trait Lock: Send + Sync {}

/// An open file, used by position so that readers and the writer share nothing.
pub trait File: Send + Sync {
    /// Writes all of `parts`, one after another, from `position`.
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()>;
    /// Reads from `position` until `bytes` is full or the file ends; says how much it read.
    fn read_at(&self, position: u64, bytes: &mut [u8]) -> io::Result<usize>;
    /// Sets room aside up to `len` octets and makes the file that long, so that later writes change
    /// no metadata.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts or extends the file to `len` octets.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes the file's bytes, and the metadata needed to read them, durable (`fdatasync`). After
    /// an error the state of the written bytes is unknown: never sync the same file again and
    /// believe it.
    fn sync(&self) -> io::Result<()>;
    /// Its length in octets.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no octets.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}
