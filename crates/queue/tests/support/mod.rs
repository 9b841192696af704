//! A disk in memory that takes the door literally: what was not synced may be gone after a crash.
#![allow(dead_code, unreachable_pub, reason = "every test uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may stop"
)]

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use posthaste_queue::QueueId;
use posthaste_queue::envelope::{ContentFacts, Envelope, Message, Progress, Recipient, State};
use posthaste_queue::spool::{Body, Change, NewMessage, Prelude, Settings, Settlement};
use posthaste_smtp::address::{Mailbox, ReversePath, Utf8};
use posthaste_world::disk::{Entry, Lock, Open, Space};
use posthaste_world::{Disk, File, Random, Timestamp};

#[derive(Clone, Default)]
pub struct MemDisk(Arc<Mutex<State_>>);

#[derive(Default)]
struct State_ {
    names: BTreeMap<PathBuf, Inode>,
    durable_names: BTreeMap<PathBuf, Inode>,
    folders: Vec<PathBuf>,
    locked: bool,
    life: u32,
    pub calls: u64,
    fail_sync_at: Option<u64>,
    fail_write_at: Option<u64>,
    syncs: u64,
    writes: u64,
    written: u64,
    /// Octets that may be allocated in all.
    room: Option<u64>,
    /// No file or folder can be opened.
    no_descriptors: bool,
    /// Every file that takes room: with a name, or still open.
    inodes: Vec<Weak<Mutex<Content>>>,
}

type Inode = Arc<Mutex<Content>>;

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<(u64, Vec<u8>)>,
    dead: bool,
}

struct MemFile {
    disk: MemDisk,
    inode: Inode,
}

struct MemLock(MemDisk, u32);
impl Lock for MemLock {}
impl Drop for MemLock {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if state.life == self.1 {
            state.locked = false;
        }
    }
}

impl State_ {
    fn descriptor(&self) -> io::Result<()> {
        if self.no_descriptors {
            Err(io::Error::other("no descriptor left"))
        } else {
            Ok(())
        }
    }
}

impl MemDisk {
    fn state(&self) -> MutexGuard<'_, State_> {
        self.0.lock().unwrap()
    }

    /// Loses what was not synced; `keep` says which of the unsynced writes got through.
    pub fn crash(&self, mut keep: impl FnMut() -> bool) {
        let mut state = self.state();
        state.life += 1;
        state.locked = false;
        state.names = state.durable_names.clone();
        for inode in state.names.values() {
            let mut content = inode.lock().unwrap();
            let pending = std::mem::take(&mut content.pending);
            for (at, octets) in pending {
                for (n, block) in octets.chunks(512).enumerate() {
                    if keep() {
                        put(&mut content.durable, at + n as u64 * 512, block);
                    }
                }
            }
            content.now = content.durable.clone();
            content.dead = false;
        }
    }

    pub fn fail_sync(&self, after: u64) {
        let mut state = self.state();
        state.fail_sync_at = Some(state.syncs + after);
    }

    pub fn fail_write(&self, after: u64) {
        let mut state = self.state();
        state.fail_write_at = Some(state.writes + after);
    }

    /// Forgets failures that have not struck yet.
    pub fn calm(&self) {
        let mut state = self.state();
        (state.fail_sync_at, state.fail_write_at) = (None, None);
    }

    pub fn set_room(&self, room: Option<u64>) {
        self.state().room = room;
    }

    /// Whether nothing can be opened, as when a process has no descriptor left.
    pub fn set_no_descriptors(&self, none: bool) {
        self.state().no_descriptors = none;
    }

    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    pub fn written(&self) -> u64 {
        self.state().written
    }

    pub fn used(&self) -> u64 {
        self.state()
            .names
            .values()
            .map(|i| i.lock().unwrap().now.len() as u64)
            .sum()
    }

    /// Changes a file's octets behind everybody's back.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let inode = self.state().names[path].clone();
        let mut content = inode.lock().unwrap();
        change(&mut content.durable);
        content.now = content.durable.clone();
    }

    pub fn files(&self, folder: &str) -> Vec<PathBuf> {
        let state = self.state();
        state
            .names
            .keys()
            .filter(|p| p.parent() == Some(Path::new(folder)))
            .cloned()
            .collect()
    }

    pub fn octets(&self, path: &Path) -> Vec<u8> {
        self.state().names[path].lock().unwrap().now.clone()
    }

    /// A disk of its own with the same durable contents.
    pub fn copy(&self) -> MemDisk {
        let state = self.state();
        let mut names = BTreeMap::new();
        for (path, inode) in &state.names {
            let now = inode.lock().unwrap().now.clone();
            let content = Content {
                durable: now.clone(),
                now,
                ..Content::default()
            };
            names.insert(path.clone(), Arc::new(Mutex::new(content)));
        }
        let folders = state.folders.clone();
        let durable_names = names.clone();
        MemDisk(Arc::new(Mutex::new(State_ {
            names,
            durable_names,
            folders,
            ..State_::default()
        })))
    }
}

fn put(content: &mut Vec<u8>, at: u64, octets: &[u8]) {
    let at = usize::try_from(at).unwrap();
    if content.len() < at + octets.len() {
        content.resize(at + octets.len(), 0);
    }
    content[at..at + octets.len()].copy_from_slice(octets);
}

impl Disk for MemDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        state.descriptor()?;
        let there = state.names.get(path).cloned();
        let inode = match (how, there) {
            (Open::CreateNew, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Open::CreateNew, None) => {
                let inode = Inode::default();
                state.inodes.push(Arc::downgrade(&inode));
                state.names.insert(path.to_owned(), inode.clone());
                inode
            }
            (_, Some(inode)) => inode,
            (_, None) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Box::new(MemFile {
            disk: self.clone(),
            inode,
        }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state()
            .names
            .remove(path)
            .map(|_| ())
            .ok_or(io::ErrorKind::NotFound.into())
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.state().folders.push(path.to_owned());
        Ok(())
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.descriptor()?;
        let State_ {
            names,
            durable_names,
            ..
        } = &mut *state;
        durable_names.retain(|p, _| p.parent() != Some(path));
        let within = names.iter().filter(|(p, _)| p.parent() == Some(path));
        durable_names.extend(within.map(|(p, i)| (p.clone(), i.clone())));
        Ok(())
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state();
        let within = state.names.iter().filter(|(p, _)| p.parent() == Some(path));
        Ok(within
            .map(|(p, i)| Entry {
                name: p.file_name().unwrap().to_str().unwrap().to_owned(),
                len: i.lock().unwrap().now.len() as u64,
                is_dir: false,
            })
            .collect())
    }
    fn space(&self, _: &Path) -> io::Result<Space> {
        Ok(Space {
            free: 1 << 40,
            total: 1 << 40,
        })
    }
    fn lock(&self, _: &Path) -> io::Result<Box<dyn Lock>> {
        let mut state = self.state();
        if state.locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.locked = true;
        let life = state.life;
        Ok(Box::new(MemLock(self.clone(), life)))
    }
}

impl File for MemFile {
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let octets: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let mut state = self.disk.state();
        let fails = state.fail_write_at == Some(state.writes);
        state.writes += 1;
        state.written += octets.len() as u64;
        let end = position + octets.len() as u64;
        let more = end.saturating_sub(self.inode.lock().unwrap().now.len() as u64);
        take_room(&mut state, more)?;
        let mut content = self.inode.lock().unwrap();
        let kept = if fails {
            octets.len() / 2
        } else {
            octets.len()
        };
        put(&mut content.now, position, &octets[..kept]);
        content.pending.push((position, octets[..kept].to_vec()));
        if fails {
            Err(io::Error::other("injected write failure"))
        } else {
            Ok(())
        }
    }
    fn read_at(&self, position: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let content = self.inode.lock().unwrap();
        let from = usize::try_from(position).unwrap().min(content.now.len());
        let n = bytes.len().min(content.now.len() - from);
        bytes[..n].copy_from_slice(&content.now[from..from + n]);
        Ok(n)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let more = len.saturating_sub(self.inode.lock().unwrap().now.len() as u64);
        take_room(&mut state, more)?;
        let mut content = self.inode.lock().unwrap();
        content.now.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fails = state.fail_sync_at == Some(state.syncs);
        state.syncs += 1;
        let mut content = self.inode.lock().unwrap();
        assert!(!content.dead, "a file whose sync failed is synced again");
        if fails {
            content.dead = true;
            return Err(io::Error::other("injected sync failure"));
        }
        content.durable = content.now.clone();
        content.pending.clear();
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.lock().unwrap().now.len() as u64)
    }
}

fn take_room(state: &mut State_, more: u64) -> io::Result<()> {
    let Some(room) = state.room else {
        return Ok(());
    };
    state.inodes.retain(|inode| inode.strong_count() > 0);
    let inodes = state.inodes.iter().filter_map(Weak::upgrade);
    let used: u64 = inodes.map(|i| i.lock().unwrap().now.len() as u64).sum();
    if more > 0 && used + more > room {
        Err(io::ErrorKind::StorageFull.into())
    } else {
        Ok(())
    }
}

/// A small generator (SplitMix64): the same seed gives the same run.
pub struct Seeded(Mutex<u64>);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Seeded(Mutex::new(seed))
    }
    pub fn draw(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }
}

impl Random for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.draw().to_le_bytes()[..chunk.len()]);
        }
    }
}

pub fn settings(segment: u64) -> Settings {
    Settings {
        segment,
        ..Settings::default()
    }
}

pub fn id(n: u64, random: &dyn Random) -> QueueId {
    QueueId::new(Timestamp::from_millis(n), random)
}

pub fn envelope(id: QueueId, recipients: usize) -> Envelope {
    let mut message = Message::ours(Timestamp::from_secs(7), ContentFacts::default());
    message.reverse_path = ReversePath::parse("<sender@example.org>", Utf8::Refused).unwrap();
    let to = (0..recipients).map(|n| {
        Recipient::new(Mailbox::parse(&format!("r{n}@example.net"), Utf8::Refused).unwrap())
    });
    Envelope {
        id,
        message,
        recipients: to.collect(),
    }
}

pub fn message(id: QueueId, recipients: usize, body: &[u8]) -> NewMessage {
    NewMessage {
        envelope: envelope(id, recipients),
        prelude: Prelude::trace(b"Received: by us\r\n".to_vec()),
        body: Body::Inline(bytes::Bytes::copy_from_slice(body)),
    }
}

pub fn commit(new: NewMessage) -> Change {
    Change::Commit(Box::new(new))
}

pub fn delivered() -> Progress {
    Progress {
        state: State::Delivered,
        attempts: 1,
        ..Progress::default()
    }
}

pub fn deferred(attempts: u32) -> Progress {
    Progress {
        attempts,
        not_before: Timestamp::from_secs(attempts.into()),
        ..Progress::default()
    }
}

pub fn settle(id: QueueId, updates: Vec<(u32, Progress)>, reports: Vec<NewMessage>) -> Change {
    Change::Settle(Settlement {
        id,
        updates,
        reports,
    })
}

pub fn key(recipient: &Recipient) -> String {
    recipient.address.domain().to_string()
}
