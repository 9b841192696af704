//! Files of the operating system, by position, with explicit syncs.
//!
//! Whatever it makes is readable by its owner alone: files 0600, folders 0700. Every handle is
//! closed in child processes. What it opens to write is never reached through a symbolic link in
//! the last component, and nothing below [`Beneath`] through a link in any component.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt as _};
use std::path::Path;

use rustix::fs::{FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::disk::{self, Entry, Lock, Open, Space, Stamp};

mod beneath;

use beneath::Beneath;

/// Mode of a new file.
const FILE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Mode of a new folder.
const FOLDER: Mode = Mode::RWXU;
/// Parts given to the system in one call; its own limit is 1024 (`IOV_MAX`).
const PARTS_MAX: usize = 1024;

/// The disk of production.
pub(super) struct Disk;

impl disk::Disk for Disk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn disk::File>> {
        regular(rustix::fs::open(path, flags(how), FILE)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::fsync(rustix::fs::open(
            path,
            flags,
            Mode::empty(),
        )?)?)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            // What was removed while we looked is not there.
            let metadata = match entry.metadata() {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            entries.extend(named(entry.file_name(), metadata.len(), metadata.is_dir()));
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        Ok(space(&rustix::fs::statvfs(path)?))
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        let metadata = std::fs::metadata(path)?;
        let nanoseconds = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Ok(Stamp {
            file: (metadata.dev(), metadata.ino()),
            changed: (
                nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
                nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            ),
            len: metadata.len(),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        locked(rustix::fs::open(path, flags, FILE)?)
    }

    fn beneath(&self, root: &Path) -> io::Result<Option<Box<dyn disk::Disk>>> {
        Ok(Some(Box::new(Beneath::open(root)?)))
    }
}

/// A file to read may be a link: settings, tables and certificates often are. It is opened without
/// waiting, so that a pipe in its place holds nobody.
fn flags(how: Open) -> OFlags {
    let flags = OFlags::CLOEXEC | OFlags::NONBLOCK;
    match how {
        Open::Read => flags | OFlags::RDONLY,
        Open::ReadWrite => flags | OFlags::RDWR | OFlags::NOFOLLOW,
        Open::CreateNew => flags | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CREATE | OFlags::EXCL,
    }
}

fn named(name: OsString, len: u64, is_dir: bool) -> Option<Entry> {
    let name = name.into_string().ok()?;
    Some(Entry { name, len, is_dir })
}

fn space(fs: &rustix::fs::StatVfs) -> Space {
    Space {
        free: fs.f_bavail.saturating_mul(fs.f_frsize),
        total: fs.f_blocks.saturating_mul(fs.f_frsize),
    }
}

/// `flock`: it ends with the process, however that ends.
fn locked(file: OwnedFd) -> io::Result<Box<dyn Lock>> {
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(Box::new(Locked { _file: file }))
}

struct Locked {
    _file: OwnedFd,
}

impl Lock for Locked {}

struct File(std::fs::File);

/// Only regular files: a length and a position mean nothing elsewhere.
fn regular(fd: OwnedFd) -> io::Result<Box<dyn disk::File>> {
    let file = std::fs::File::from(fd);
    if !file.metadata()?.is_file() {
        let why = "it is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(Box::new(File(file)))
}

impl disk::File for File {
    fn write_at(&self, mut position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        // The usual case is one call; after a short write what is left of a part goes alone.
        for parts in parts.chunks(PARTS_MAX) {
            let wanted: usize = parts.iter().map(|part| part.len()).sum();
            let mut written = match rustix::io::pwritev(self.0.as_fd(), parts, position) {
                Err(Errno::INTR) => 0,
                written => written?,
            };
            position = position.saturating_add(octets(wanted));
            if written == wanted {
                continue;
            }
            let mut at = position - octets(wanted);
            for part in parts {
                let rest = part.get(written..).unwrap_or_default();
                let done = part.len() - rest.len();
                self.0.write_all_at(rest, at.saturating_add(octets(done)))?;
                at = at.saturating_add(octets(part.len()));
                written -= done;
            }
        }
        Ok(())
    }

    fn read_at(&self, position: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, position.saturating_add(octets(read))) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(read)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            // Some file systems cannot set room aside; the length alone must do there.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if self.0.metadata()?.len() < len => {
                self.0.set_len(len)
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            done => Ok(done?),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

fn octets(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::disk::Disk as _;

    fn write(disk: &dyn disk::Disk, path: &Path, text: &str) {
        let file = disk.open(path, Open::CreateNew).unwrap();
        file.write_at(0, &[IoSlice::new(text.as_bytes())]).unwrap();
        file.sync().unwrap();
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_stamp_tells_that_a_file_was_written_to_or_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("f"), dir.path().join("g"));
        assert!(Disk.stamp(&path).is_err());
        write(&Disk, &path, "one");
        let first = Disk.stamp(&path).unwrap();
        assert_eq!(Disk.stamp(&path).unwrap(), first);
        write(&Disk, &other, "two");
        Disk.rename(&other, &path).unwrap();
        let second = Disk.stamp(&path).unwrap();
        assert_ne!(second, first);
        let file = Disk.open(&path, Open::ReadWrite).unwrap();
        file.write_at(0, &[IoSlice::new(b"three")]).unwrap();
        assert_ne!(Disk.stamp(&path).unwrap(), second);
    }

    #[test]
    fn parts_are_written_one_after_another_however_many() {
        let dir = tempfile::tempdir().unwrap();
        let file = Disk.open(&dir.path().join("f"), Open::CreateNew).unwrap();
        let parts: Vec<Vec<u8>> = (0..3000_u32).map(|n| n.to_le_bytes().to_vec()).collect();
        let slices: Vec<_> = parts.iter().map(|p| IoSlice::new(p)).collect();
        file.write_at(7, &slices).unwrap();
        let mut read = vec![0; 20_000];
        assert_eq!(file.read_at(7, &mut read).unwrap(), 12_000);
        assert_eq!(read[..12_000], parts.concat());
        assert_eq!(file.len().unwrap(), 12_007);
        file.write_at(0, &[]).unwrap();
    }

    #[test]
    fn files_and_folders_are_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        Disk.create_dir(&folder).unwrap();
        Disk.create_dir(&folder).unwrap();
        write(&Disk, &folder.join("f"), "x");
        Disk.sync_dir(&folder).unwrap();
        let modes = ["a", "a/b", "a/b/f"].map(|p| mode(&dir.path().join(p)));
        assert_eq!(modes, [0o700, 0o700, 0o600]);
        let again = Disk.open(&folder.join("f"), Open::CreateNew).err().unwrap();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn allocating_makes_a_file_longer_and_never_shorter() {
        let dir = tempfile::tempdir().unwrap();
        let file = Disk.open(&dir.path().join("f"), Open::CreateNew).unwrap();
        for (len, is) in [(8192, 8192), (4096, 8192)] {
            file.allocate(len).unwrap();
            assert_eq!(file.len().unwrap(), is);
        }
        file.set_len(3).unwrap();
        assert_eq!(file.len().unwrap(), 3);
    }

    #[test]
    fn a_second_lock_waits_for_the_first_to_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Disk.lock(&path).unwrap();
        let second = Disk.lock(&path).err().unwrap();
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        assert!(Disk.lock(&path).is_ok());
    }

    #[test]
    fn a_folder_is_listed_in_order_with_lengths() {
        let dir = tempfile::tempdir().unwrap();
        write(&Disk, &dir.path().join("b"), "xy");
        write(&Disk, &dir.path().join("a"), "");
        Disk.create_dir(&dir.path().join("c")).unwrap();
        let within = (&Disk as &dyn disk::Disk).within(dir.path()).unwrap();
        for entries in [
            Disk.list(dir.path()).unwrap(),
            within.list(Path::new("")).unwrap(),
        ] {
            let seen: Vec<_> = entries.iter().map(|e| (&*e.name, e.is_dir)).collect();
            assert_eq!(seen, [("a", false), ("b", false), ("c", true)]);
            assert_eq!(entries[1].len, 2);
        }
        assert!(Disk.space(dir.path()).unwrap().total > 0);
    }

    #[test]
    fn links_are_read_but_never_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        write(&Disk, &file, "text");
        symlink(&file, &link).unwrap();
        assert_eq!(Disk.read(&link, 100).unwrap(), b"text");
        assert!(Disk.open(&link, Open::ReadWrite).is_err());
        assert!(Disk.open(&link, Open::CreateNew).is_err());
        assert!(Disk.lock(&link).is_err());
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, FILE, 0).unwrap();
        for path in [&*pipe, dir.path()] {
            assert!(Disk.open(path, Open::Read).is_err());
        }
    }

    #[test]
    fn a_file_longer_than_its_limit_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        write(&Disk, &dir.path().join("f"), "12345");
        let read = Disk.read(&dir.path().join("f"), 4).err().unwrap();
        assert_eq!(read.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn within_a_folder_no_component_may_be_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        let root = dir.path().join("root");
        Disk.create_dir(&outside.join("c")).unwrap();
        write(&Disk, &outside.join("c/f"), "theirs");
        for links in ["a", "a/b", "a/b/c", "a/b/c/f"] {
            let _ = std::fs::remove_dir_all(&root);
            let link = root.join(links);
            Disk.create_dir(link.parent().unwrap()).unwrap();
            // The link leads to where the rest of the path would go on.
            let target = match links {
                "a/b/c" => outside.join("c"),
                "a/b/c/f" => outside.join("c/f"),
                _ => outside.clone(),
            };
            symlink(target, &link).unwrap();
            let within = (&Disk as &dyn disk::Disk).within(&root).unwrap();
            let at = Path::new("a/b/c/f");
            for how in [Open::Read, Open::ReadWrite, Open::CreateNew] {
                assert!(within.open(at, how).is_err(), "{links} {how:?}");
            }
            assert!(within.create_dir(&at.join("deep")).is_err(), "{links}");
            assert!(within.lock(at).is_err(), "{links}");
            if links != "a/b/c/f" {
                assert!(within.sync_dir(Path::new("a/b/c")).is_err(), "{links}");
                assert!(within.list(Path::new("a/b/c")).is_err(), "{links}");
                assert!(within.remove(at).is_err(), "{links}");
                assert!(within.rename(at, Path::new("f")).is_err(), "{links}");
            }
            assert_eq!(std::fs::read(outside.join("c/f")).unwrap(), b"theirs");
            assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
        }
    }

    #[test]
    fn within_a_folder_no_path_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let within = (&Disk as &dyn disk::Disk).within(dir.path()).unwrap();
        for path in ["..", "a/../../b", "/etc/passwd", "./x"] {
            assert!(within.open(Path::new(path), Open::Read).is_err(), "{path}");
            assert!(within.create_dir(Path::new(path)).is_err(), "{path}");
        }
        let mut left = std::fs::read_dir(dir.path()).unwrap();
        assert!(left.next().is_none());
    }

    #[test]
    fn a_file_is_placed_within_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        Disk.create_dir(&dir.path().join("real")).unwrap();
        symlink(dir.path().join("real"), &link).unwrap();
        let within = (&Disk as &dyn disk::Disk).within(&link).unwrap();
        for folder in ["x/tmp", "x/new"] {
            within.create_dir(Path::new(folder)).unwrap();
        }
        write(&*within, Path::new("x/tmp/1"), "text");
        within
            .rename(Path::new("x/tmp/1"), Path::new("x/new/1"))
            .unwrap();
        within.sync_dir(Path::new("x/new")).unwrap();
        within.sync_dir(Path::new("")).unwrap();
        let placed = dir.path().join("real/x/new/1");
        assert_eq!(std::fs::read(&placed).unwrap(), b"text");
        assert_eq!(
            (mode(&placed), mode(placed.parent().unwrap())),
            (0o600, 0o700)
        );
        let inner = within.within(Path::new("x")).unwrap();
        assert_eq!(inner.read(Path::new("new/1"), 9).unwrap(), b"text");
    }
}
