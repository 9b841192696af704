//! The simulated disk: the disk door taken literally, with a will of its own.
//!
//! * Bytes that were not synced may be lost at a crash, wholly or sector by sector, in any order.
//! * Names that were not synced through their folder may be lost likewise.
//! * A sync may fail; what it should have saved may then be gone although later syncs succeed.
//! * Writes may fail half way; the disk may be full; a read may turn a bit over, and so may time.
//! * The power may go at any call; then every call fails until [`SimDisk::restart`]. The call
//!   itself may or may not have had its effect.
//!
//! It does **not** keep modes or times, and knows no links.

mod file;
mod inode;
mod names;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use posthaste_world::disk::{Entry, Lock, Open, Space};
use posthaste_world::{Disk, File};

use crate::rng::Rng;
use crate::trace::Trace;
use file::SimFile;
use inode::Inode;
pub use inode::SECTOR;
use names::{Names, Node};

/// `EIO`: the medium failed.
const EIO: i32 = 5;
/// `ENOSPC`: no room.
const ENOSPC: i32 = 28;

/// How often things fail, in cases per thousand calls of their kind.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Faults {
    /// A write fails after a part of it.
    pub write: u64,
    /// The sync of a file fails.
    pub sync: u64,
    /// The sync of a folder fails.
    pub sync_dir: u64,
    /// A read turns one bit over, this once.
    pub flip: u64,
}

/// A bit that turned over while it was stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Which octet.
    pub at: usize,
}

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    inodes: Vec<Inode>,
    names: Names,
    locks: BTreeSet<PathBuf>,
    rng: Rng,
    faults: Faults,
    capacity: u64,
    calls: u64,
    syncs: u64,
    crash_at: Option<u64>,
    crashed: bool,
    /// Counts restarts: files of an earlier life are closed.
    life: u64,
    trace: Trace,
}

impl SimDisk {
    /// An empty disk with one folder.
    #[must_use]
    pub fn new(root: &Path, capacity: u64, rng: Rng, trace: Trace) -> Self {
        SimDisk(Arc::new(Mutex::new(State {
            inodes: Vec::new(),
            names: Names::new(root),
            locks: BTreeSet::new(),
            rng,
            faults: Faults::default(),
            capacity,
            calls: 0,
            syncs: 0,
            crash_at: None,
            crashed: false,
            life: 0,
            trace,
        })))
    }

    /// From now on things fail this often.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// From now on there is this much room.
    pub fn set_capacity(&self, octets: u64) {
        self.state().capacity = octets;
    }

    /// Octets in files now.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// The power goes at the `calls`-th call from now; `None` for never.
    pub fn crash_in(&self, calls: Option<u64>) {
        let mut state = self.state();
        state.crash_at = calls.map(|n| state.calls + n);
    }

    /// Whether the power went.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.state().crashed
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Syncs of files and folders so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// The power goes, if it did not, and comes back: what is not durable may be lost.
    pub fn restart(&self) {
        let state = &mut *self.state();
        let mut rng = state.rng.fork();
        for inode in &mut state.inodes {
            inode.crash(&mut rng);
        }
        state.names.crash(&mut rng);
        for (i, inode) in state.inodes.iter_mut().enumerate() {
            if !state.names.reach(i) {
                *inode = Inode::default();
            }
        }
        state.begin_life();
        state.trace.line(|| "the power is back".to_owned());
    }

    /// The process was killed, if it did not end, and starts again: its files are closed and its
    /// locks gone, but what it wrote is seen, synced or not.
    pub fn restart_process(&self) {
        let state = &mut *self.state();
        state.begin_life();
        state.trace.line(|| "the process starts again".to_owned());
    }

    /// Turns over one stored bit in a file whose path `wanted` accepts. `None` when there is no
    /// octet to choose from.
    pub fn damage(&self, wanted: impl Fn(&Path) -> bool) -> Option<Damage> {
        let state = &mut *self.state();
        let files: Vec<(PathBuf, usize)> = state
            .names
            .all()
            .filter_map(|(path, node)| match node {
                Node::File(i) if wanted(path) => Some((path.clone(), i)),
                _ => None,
            })
            .filter(|(_, i)| state.inodes.get(*i).is_some_and(|n| !n.now().is_empty()))
            .collect();
        let (path, i) = files.get(state.rng.index(files.len()))?.clone();
        let inode = state.inodes.get_mut(i)?;
        let at = state.rng.index(inode.now().len());
        let bit = u8::try_from(state.rng.below(8)).unwrap_or(0);
        inode.flip(at, bit);
        state.trace.note(&[0xda, at as u64, u64::from(bit)]);
        state
            .trace
            .line(|| format!("bit {bit} of octet {at} of {} turns over", path.display()));
        Some(Damage { path, at })
    }

    /// The paths of all files.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let state = self.state();
        let files = state
            .names
            .all()
            .filter(|(_, n)| matches!(n, Node::File(_)));
        files.map(|(path, _)| path.clone()).collect()
    }

    /// Adds to the record of the run.
    pub fn note(&self, words: &[u64], text: impl FnOnce() -> String) {
        let mut state = self.state();
        state.trace.note(words);
        state.trace.line(text);
    }

    /// The record of the run so far.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.state().trace.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        crate::locked(&self.0)
    }
}

/// Whether the power goes with this call.
enum Fate {
    Goes,
    Stays,
}

impl Fate {
    /// To be asked after the effect.
    fn survived(self, state: &mut State) -> io::Result<()> {
        match self {
            Fate::Stays => Ok(()),
            Fate::Goes => Err(state.power_goes()),
        }
    }
}

impl State {
    /// Every call passes here first.
    fn call(
        &mut self,
        kind: u64,
        words: [u64; 2],
        text: impl FnOnce() -> String,
    ) -> io::Result<Fate> {
        if self.crashed {
            return Err(dead());
        }
        self.calls += 1;
        self.trace.note(&[kind, words[0], words[1]]);
        let n = self.calls;
        self.trace.line(|| format!("{n:6} {}", text()));
        match self.crash_at {
            Some(at) if at <= self.calls => {
                // Half of the calls that the crash interrupts had their effect.
                if self.rng.coin() {
                    Ok(Fate::Goes)
                } else {
                    Err(self.power_goes())
                }
            }
            _ => Ok(Fate::Stays),
        }
    }

    fn begin_life(&mut self) {
        self.locks.clear();
        self.crash_at = None;
        self.crashed = false;
        self.life += 1;
    }

    fn power_goes(&mut self) -> io::Error {
        self.crashed = true;
        self.trace.note(&[0xdead]);
        self.trace.line(|| "       the power goes".to_owned());
        dead()
    }

    fn fault(&mut self, per_mille: u64, what: &str) -> bool {
        // No draw without faults: a run does not change when a fault is switched off elsewhere.
        let fails = per_mille > 0 && self.rng.chance(per_mille);
        if fails {
            self.trace.note(&[0xfa]);
            self.trace.line(|| format!("       {what}"));
        }
        fails
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Node::File(i)) => Ok(i),
            Some(Node::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn folder_of(&self, path: &Path) -> io::Result<()> {
        match path.parent().and_then(|p| self.names.get(p)) {
            Some(Node::Folder) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&mut self, path: &Path) -> io::Result<usize> {
        self.folder_of(path)?;
        self.inodes.push(Inode::default());
        let i = self.inodes.len() - 1;
        self.names.set(path, Node::File(i));
        Ok(i)
    }

    fn used(&self) -> u64 {
        let files = self.names.all().filter_map(|(_, node)| match node {
            Node::File(i) => self.inodes.get(i),
            Node::Folder => None,
        });
        files.map(|inode| inode.now().len() as u64).sum()
    }

    fn room_for(&mut self, more: usize) -> io::Result<()> {
        if more > 0 && self.used() + more as u64 > self.capacity {
            self.trace.note(&[0xf0]);
            self.trace.line(|| "       the disk is full".to_owned());
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        Ok(())
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let state = &mut *self.state();
        let fate = state.call(1, [how as u64, 0], || {
            format!("open {} {how:?}", path.display())
        })?;
        let inode = match (how, state.file(path)) {
            (Open::CreateNew, Err(e)) if e.kind() == io::ErrorKind::NotFound => {
                state.create(path)?
            }
            (Open::CreateNew, _) => return Err(io::ErrorKind::AlreadyExists.into()),
            (_, found) => found?,
        };
        fate.survived(state)?;
        Ok(Box::new(SimFile {
            disk: self.clone(),
            inode,
            life: state.life,
            writable: how != Open::Read,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        let fate = state.call(2, [0, 0], || {
            format!("rename {} to {}", from.display(), to.display())
        })?;
        state.file(from)?;
        state.folder_of(to)?;
        state.names.rename(from, to);
        fate.survived(state)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        let fate = state.call(3, [0, 0], || format!("remove {}", path.display()))?;
        state.file(path)?;
        state.names.unset(path);
        fate.survived(state)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        let fate = state.call(4, [0, 0], || format!("create folder {}", path.display()))?;
        let mut missing = Vec::new();
        for folder in path.ancestors() {
            match state.names.get(folder) {
                Some(Node::Folder) => break,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None if folder.parent().is_none() => break,
                None => missing.push(folder),
            }
        }
        for folder in missing.into_iter().rev() {
            state.names.set(folder, Node::Folder);
        }
        fate.survived(state)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        let fate = state.call(5, [0, 0], || format!("sync folder {}", path.display()))?;
        state.syncs += 1;
        if state.names.get(path) != Some(Node::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if state.fault(state.faults.sync_dir, "the folder's sync fails") {
            let mut rng = state.rng.fork();
            state.names.sync_fails(path, &mut rng);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        state.names.sync(path);
        fate.survived(state)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let state = &mut *self.state();
        let fate = state.call(6, [0, 0], || format!("list {}", path.display()))?;
        if state.names.get(path) != Some(Node::Folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut entries = Vec::new();
        for (child, node) in state.names.all().filter(|(p, _)| p.parent() == Some(path)) {
            let inode = match node {
                Node::File(i) => state.inodes.get(i),
                Node::Folder => None,
            };
            entries.push(Entry {
                name: child
                    .file_name()
                    .and_then(|n| n.to_str())
                    .unwrap_or_default()
                    .to_owned(),
                len: inode.map_or(0, |i| i.now().len() as u64),
                is_dir: node == Node::Folder,
            });
        }
        fate.survived(state)?;
        Ok(entries)
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let state = &mut *self.state();
        let fate = state.call(7, [0, 0], || "space".to_owned())?;
        fate.survived(state)?;
        Ok(Space {
            free: state.capacity.saturating_sub(state.used()),
            total: state.capacity,
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let state = &mut *self.state();
        let fate = state.call(8, [0, 0], || format!("lock {}", path.display()))?;
        if state.names.get(path).is_none() {
            state.create(path)?;
        }
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        fate.survived(state)?;
        Ok(Box::new(SimLock {
            disk: self.clone(),
            path: path.to_owned(),
            life: state.life,
        }))
    }
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    life: u64,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}

fn dead() -> io::Error {
    io::Error::other("the power is gone")
}
