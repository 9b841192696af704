//! Files in memory, with a journal of what was asked for and faults on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use posthaste_world::Disk;
use posthaste_world::disk::{Entry, File, Lock, Open, Space};

/// Files in memory.
#[derive(Default)]
pub struct Files(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, Arc<Mutex<Vec<u8>>>>,
    folders: BTreeSet<PathBuf>,
    journal: Vec<String>,
    faults: Vec<(&'static str, &'static str, ErrorKind)>,
    hang: Option<(&'static str, Sender<()>, Receiver<()>)>,
}

impl Files {
    /// A disk with these folders.
    pub fn with(folders: &[&str]) -> Arc<Files> {
        let files = Files::default();
        for folder in folders {
            files.create_dir(Path::new(folder)).unwrap();
        }
        files.0.lock().unwrap().journal.clear();
        Arc::new(files)
    }

    /// From now on `verb` fails on paths that contain `part`.
    pub fn fail(&self, verb: &'static str, part: &'static str, kind: ErrorKind) {
        self.0.lock().unwrap().faults.push((verb, part, kind));
    }

    /// The next `verb` says that it was reached, and hangs until it is released.
    pub fn hang(&self, verb: &'static str) -> (Receiver<()>, Sender<()>) {
        let ((reach, reached), (release, released)) = (channel(), channel());
        self.0.lock().unwrap().hang = Some((verb, reach, released));
        (reached, release)
    }

    /// What was asked for of paths that contain `part`, as `verb path`.
    pub fn journal(&self, part: &str) -> Vec<String> {
        let state = self.0.lock().unwrap();
        state
            .journal
            .iter()
            .filter(|line| line.contains(part))
            .cloned()
            .collect()
    }

    /// All files below `folder`, with their content.
    pub fn below(&self, folder: &str) -> Vec<(String, String)> {
        let state = self.0.lock().unwrap();
        let inside = state
            .files
            .iter()
            .filter(|(path, _)| path.starts_with(folder));
        inside
            .map(|(path, octets)| {
                let text = String::from_utf8_lossy(&octets.lock().unwrap()).into_owned();
                (path.display().to_string(), text)
            })
            .collect()
    }

    /// Puts a file there.
    pub fn put(&self, path: &str, text: &str) {
        let octets = Arc::new(Mutex::new(text.as_bytes().to_vec()));
        self.0.lock().unwrap().files.insert(path.into(), octets);
    }

    /// From now on files below `folder` have no octets, whoever has them open.
    pub fn forget(&self, folder: &str) {
        let state = self.0.lock().unwrap();
        let inside = state.files.iter().filter(|(p, _)| p.starts_with(folder));
        inside.for_each(|(_, octets)| octets.lock().unwrap().clear());
    }

    fn note(&self, verb: &'static str, path: &Path) -> io::Result<()> {
        note(&self.0, verb, path)
    }
}

fn note(state: &Mutex<State>, verb: &'static str, path: &Path) -> io::Result<()> {
    let mut state = state.lock().unwrap();
    let path = path.components().collect::<PathBuf>().display().to_string();
    state.journal.push(format!("{verb} {path}"));
    if let Some((_, reached, released)) = state.hang.take_if(|(v, ..)| *v == verb) {
        drop(state);
        reached.send(()).unwrap();
        return released.recv().map_err(io::Error::other);
    }
    match state
        .faults
        .iter()
        .find(|(v, part, _)| *v == verb && path.contains(part))
    {
        Some((_, _, kind)) => Err((*kind).into()),
        None => Ok(()),
    }
}

impl Disk for Files {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        self.note("open", path)?;
        let mut state = self.0.lock().unwrap();
        if how == Open::CreateNew {
            if !state.folders.contains(path.parent().unwrap()) {
                return Err(ErrorKind::NotFound.into());
            }
            if state.files.contains_key(path) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            state.files.insert(path.to_owned(), Arc::default());
        }
        let octets = state.files.get(path).ok_or(ErrorKind::NotFound)?.clone();
        Ok(Box::new(OpenFile {
            octets,
            path: path.to_owned(),
            state: self.0.clone(),
        }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note("rename", to)?;
        let mut state = self.0.lock().unwrap();
        if !to
            .parent()
            .is_some_and(|folder| state.folders.contains(folder))
        {
            return Err(ErrorKind::NotFound.into());
        }
        let octets = state.files.remove(from).ok_or(ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), octets);
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.note("remove", path)?;
        self.0
            .lock()
            .unwrap()
            .files
            .remove(path)
            .map(drop)
            .ok_or(ErrorKind::NotFound.into())
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.note("create_dir", path)?;
        let mut state = self.0.lock().unwrap();
        state.folders.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.note("sync_dir", path)?;
        match self.0.lock().unwrap().folders.contains(path) {
            true => Ok(()),
            false => Err(ErrorKind::NotFound.into()),
        }
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let state = self.0.lock().unwrap();
        let name = |p: &Path| p.file_name().unwrap().to_string_lossy().into_owned();
        let inside = |p: &&PathBuf| p.parent() == Some(path);
        let folders = state.folders.iter().filter(inside);
        let files = state.files.iter().filter(|(p, _)| inside(p));
        let mut entries: Vec<Entry> = folders
            .map(|p| Entry {
                name: name(p),
                len: 0,
                is_dir: true,
            })
            .chain(files.map(|(p, octets)| {
                let len = octets.lock().unwrap().len() as u64;
                Entry {
                    name: name(p),
                    len,
                    is_dir: false,
                }
            }))
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        match state.folders.contains(path) {
            true => Ok(entries),
            false => Err(ErrorKind::NotFound.into()),
        }
    }
    fn space(&self, _path: &Path) -> io::Result<Space> {
        Ok(Space {
            free: 1 << 40,
            total: 1 << 41,
        })
    }
    fn lock(&self, _path: &Path) -> io::Result<Box<dyn Lock>> {
        struct Held;
        impl Lock for Held {}
        Ok(Box::new(Held))
    }
}

struct OpenFile {
    octets: Arc<Mutex<Vec<u8>>>,
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

impl File for OpenFile {
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        note(&self.state, "write", &self.path)?;
        let mut octets = self.octets.lock().unwrap();
        let mut at = usize::try_from(position).unwrap();
        for part in parts {
            let end = (at + part.len()).max(octets.len());
            octets.resize(end, 0);
            octets[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }
    fn read_at(&self, position: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let octets = self.octets.lock().unwrap();
        let at = usize::try_from(position).unwrap().min(octets.len());
        let n = bytes.len().min(octets.len() - at);
        bytes[..n].copy_from_slice(&octets[at..at + n]);
        Ok(n)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.octets
            .lock()
            .unwrap()
            .resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        note(&self.state, "sync", &self.path)
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.octets.lock().unwrap().len() as u64)
    }
}
