//! A disk door with all that a configuration needs: to read, and to make and remove an empty file.

use std::fs;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;

use posthaste_world::disk::{Disk, Entry, File, Lock, Open, Space};

/// The files of the machine that runs the test.
pub(crate) struct Folders;

struct Opened(fs::File);

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for Folders {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let file = match how {
            Open::Read | Open::ReadWrite => fs::File::open(path)?,
            Open::CreateNew => fs::File::create_new(path)?,
        };
        Ok(Box::new(Opened(file)))
    }
    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        read_only()
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        read_only()
    }
    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        read_only()
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let entry = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            Ok(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                len: entry.metadata()?.len(),
                is_dir: entry.file_type()?.is_dir(),
            })
        };
        fs::read_dir(path)?.map(entry).collect()
    }
    fn space(&self, _path: &Path) -> io::Result<Space> {
        read_only()
    }
    fn lock(&self, _path: &Path) -> io::Result<Box<dyn Lock>> {
        read_only()
    }
}

impl File for Opened {
    fn write_at(&self, _position: u64, _parts: &[IoSlice<'_>]) -> io::Result<()> {
        read_only()
    }
    fn read_at(&self, position: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read_exact_at(bytes, position).map(|()| bytes.len())
    }
    fn allocate(&self, _len: u64) -> io::Result<()> {
        read_only()
    }
    fn set_len(&self, _len: u64) -> io::Result<()> {
        read_only()
    }
    fn sync(&self) -> io::Result<()> {
        read_only()
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
