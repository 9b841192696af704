//! Start-up: rebuilds the index from sidecars and what of the log has none.
//!
//! Frames are applied in the order they were written, void ones left out. A damaged frame is set
//! aside and reported, and costs only itself. Everything found becomes sealed; new frames go to a
//! new segment. It does **not** repair anything in place.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::sync::Arc;

use posthaste_world::File;
use posthaste_world::disk::Open as How;

use super::batch::{Book, cost};
use super::fault::Fault;
use super::frame::{FIRST, Home};
use super::index::{Entry, Open, Place, Settled, Spot};
use super::record::{Abort, Reference, Settle};
use super::scan::{Found, Gap, Walk};
use super::segment::{Segment, Stage, parse_name, readable};
use super::sidecar::{self, Note, What};
use super::store::Store;
use super::{Recovery, Waiting, large};
use crate::envelope::{Envelope, Progress, Recipient};
use crate::id::QueueId;

/// Files kept in the folder of damaged frames at most; then damage is only reported.
const DAMAGED_MAX: usize = 1000;

/// What a note means, without what start-up does not need.
struct Item {
    offset: u64,
    id: QueueId,
    act: Act,
}

enum Act {
    Enter {
        start: u32,
        len: u32,
        open: Open,
        waiting: Waiting,
        large: Option<Box<Reference>>,
    },
    Settle {
        len: u32,
        updates: Vec<(u32, Progress)>,
        ended: Vec<u32>,
    },
    Abort(Abort, u32),
}

/// Start-up under way.
struct Recovering<'a> {
    store: &'a mut Store,
    key: &'a dyn Fn(&Recipient) -> String,
    destinations: BTreeSet<Arc<str>>,
    waiting: BTreeMap<QueueId, Waiting>,
    /// The last group of each segment that was scanned: offsets and frames.
    tails: BTreeMap<u32, Vec<(u64, Vec<u8>)>>,
    /// Frames that are needed as long as other segments exist: where, how large, for which.
    keeps: Vec<(u32, u32, Vec<u32>)>,
    recovery: Recovery,
}

/// Reads the log and fills the store.
pub(super) fn recover(
    store: &mut Store,
    key: &dyn Fn(&Recipient) -> String,
) -> Result<Recovery, Fault> {
    let mut r = Recovering {
        store,
        key,
        destinations: BTreeSet::new(),
        waiting: BTreeMap::new(),
        tails: BTreeMap::new(),
        keeps: Vec::new(),
        recovery: Recovery::default(),
    };
    let mut held = Vec::new();
    for home in r.segments()? {
        let (generation, items) = (home.generation, r.load(home)?);
        let segment = r.store.segments.get(&generation);
        // A failed segment never gets a sidecar, and what makes it void stands behind it: up to the
        // first segment without a sidecar, nothing is void.
        if held.is_empty() && segment.is_some_and(|segment| segment.sidecar) {
            items.into_iter().for_each(|item| r.apply(generation, item));
        } else {
            held.push((generation, items));
        }
    }
    let aborts = r.aborts(&held);
    r.make_durable();
    for (generation, items) in held {
        let void_from = aborts.get(&generation).copied().unwrap_or(u64::MAX);
        for item in items {
            if item.offset < void_from {
                r.apply(generation, item);
            }
        }
    }
    r.large_bodies()?;
    r.balance();
    // Full nodes: what was inserted in order left them half empty.
    let mut index = r.store.shared.lock();
    index.entries = std::mem::take(&mut index.entries).into_iter().collect();
    drop(index);
    r.recovery.messages = std::mem::take(&mut r.waiting).into_values().collect();
    Ok(r.recovery)
}

impl Recovering<'_> {
    /// The segments, oldest first. Files that crashes left half made are removed.
    fn segments(&mut self) -> Result<Vec<Home>, Fault> {
        let folders = self.store.folders.clone();
        let listed = folders.disk.list(&folders.log);
        let entries = listed.map_err(|e| Fault::new("listing", &folders.log, e))?;
        let mut homes = Vec::new();
        for entry in &entries {
            homes.extend(parse_name(&entry.name, ".log"));
        }
        for entry in &entries {
            let home = parse_name(&entry.name, ".idx");
            let stray = home.is_some_and(|home| !homes.contains(&home));
            if stray || entry.name.ends_with(".tmp") {
                // The next start tries again.
                let _ = folders.disk.remove(&folders.log.join(&entry.name));
            }
        }
        homes.sort_unstable_by_key(|home| home.generation);
        if let Some(last) = homes.last() {
            self.store.next_generation = last.generation.saturating_add(1);
        }
        Ok(homes)
    }

    /// What is known of a segment, from its sidecar or from itself.
    fn load(&mut self, home: Home) -> Result<Vec<Item>, Fault> {
        let path = self.store.folders.log_path(home);
        let fault = |e| Fault::new("reading the segment", &path, e);
        let opened = self
            .store
            .folders
            .disk
            .open(&path, How::ReadWrite)
            .map_err(fault)?;
        let file: Arc<dyn File> = opened.into();
        if !readable(&*file).map_err(fault)? {
            let e = io::Error::new(io::ErrorKind::Unsupported, "a newer version wrote it");
            return Err(fault(e));
        }
        let mut segment = Segment::new(home, file.clone(), file.len().map_err(fault)?);
        segment.stage = Stage::Sealed;
        let items = match self.load_sidecar(home) {
            Some(items) => {
                segment.sidecar = true;
                segment.end = segment.len;
                items
            }
            None => {
                let (items, end) = self.scan(home, &file).map_err(fault)?;
                segment.end = end;
                items
            }
        };
        self.store.admit(segment);
        Ok(items)
    }

    fn load_sidecar(&mut self, home: Home) -> Option<Vec<Item>> {
        let octets = sidecar::read(&self.store.folders, home)?;
        let notes = sidecar::parse(&octets)?;
        let mut items = Vec::with_capacity(notes.len());
        for note in &notes {
            items.push(self.item(note)?);
        }
        Some(items)
    }

    /// Reads a segment frame by frame.
    fn scan(&mut self, home: Home, file: &Arc<dyn File>) -> io::Result<(Vec<Item>, u64)> {
        let mut walk = Walk::new(home, file.clone(), 0)?;
        let (mut items, mut gaps, mut end) = (Vec::new(), Vec::new(), walk.at());
        let (mut tail, mut group) = (Vec::new(), FIRST);
        while let Some(found) = walk.next()? {
            match found {
                Found::Gap(gap) => gaps.push(gap),
                Found::Frame(offset, header, payload) => {
                    end = offset + header.frame_len();
                    if header.group > group {
                        // What stands before it was synced before it was written.
                        group = header.group;
                        tail.clear();
                    }
                    tail.push((offset, header.frame(home, offset, payload)));
                    self.recovery.scanned += header.frame_len();
                    let notes = sidecar::notes(offset, &header, payload).ok();
                    let known: Option<Vec<Item>> =
                        notes.and_then(|n| n.iter().map(|note| self.item(note)).collect());
                    match known {
                        Some(known) => items.extend(known),
                        None => self.set_aside(
                            home,
                            file,
                            Gap {
                                from: offset,
                                to: end,
                            },
                            false,
                        )?,
                    }
                }
            }
        }
        for gap in gaps {
            self.set_aside(home, file, gap, walk.torn(gap))?;
        }
        self.tails.insert(home.generation, tail);
        Ok((items, end))
    }

    fn item(&mut self, note: &Note<'_>) -> Option<Item> {
        let act = match note.what {
            What::Message {
                start,
                len,
                envelope,
                large,
            } => {
                let envelope = Envelope::decode(note.id, envelope).ok()?;
                let open = Open::of(&envelope);
                let waiting = self.waiting_of(&envelope);
                Act::Enter {
                    start,
                    len,
                    open,
                    waiting,
                    large: large.map(Box::new),
                }
            }
            What::Settle(own) => {
                let settle = Settle::parse(own).ok()?;
                Act::Settle {
                    len: settle.own_len,
                    updates: settle.updates,
                    ended: settle.ended,
                }
            }
            What::Abort(payload) => {
                let len = u32::try_from(payload.len()).ok()?;
                Act::Abort(Abort::parse(payload).ok()?, len)
            }
        };
        Some(Item {
            offset: note.offset,
            id: note.id,
            act,
        })
    }

    fn waiting_of(&mut self, envelope: &Envelope) -> Waiting {
        let key = self.key;
        Waiting::of(envelope, &mut |recipient| {
            let name = key(recipient);
            match self.destinations.get(name.as_str()) {
                Some(known) => known.clone(),
                None => {
                    let name: Arc<str> = name.into();
                    self.destinations.insert(name.clone());
                    name
                }
            }
        })
    }

    /// From where on segments are void. Those segments are emptied first.
    fn aborts(&mut self, items: &[(u32, Vec<Item>)]) -> BTreeMap<u32, u64> {
        let mut void = BTreeMap::new();
        for item in items.iter().flat_map(|(_, items)| items) {
            if let Act::Abort(abort, _) = item.act {
                let from = void.entry(abort.generation).or_insert(abort.from);
                *from = abort.from.min(*from);
                if let Some(segment) = self.store.segments.get_mut(&abort.generation) {
                    segment.stage = Stage::Failed;
                    segment.end = abort.from.min(segment.end);
                    self.store.leaving.insert(abort.generation);
                }
            }
        }
        void
    }

    /// What is taken for durable from here on must be. After a kill the last group may be in memory
    /// only; and if its sync had failed, the next one alone would not write it.
    fn make_durable(&mut self) {
        let path = |s: &Segment| self.store.folders.log_path(s.home);
        for segment in self.store.segments.values_mut() {
            let scanned = !segment.sidecar && segment.end > FIRST;
            if !scanned || segment.stage == Stage::Failed {
                continue;
            }
            let tail = self.tails.remove(&segment.home.generation);
            let again = write_again(&*segment.file, &tail.unwrap_or_default());
            if let Err(e) = again.and_then(|()| segment.file.sync()) {
                segment.stage = Stage::Failed;
                self.store.leaving.insert(segment.home.generation);
                self.recovery
                    .faults
                    .push(Fault::new("syncing", &path(segment), e));
            }
        }
    }

    fn apply(&mut self, generation: u32, item: Item) {
        let frame = Place::new(generation, item.offset);
        match item.act {
            Act::Enter {
                start,
                len,
                open,
                waiting,
                large,
            } => {
                let at = Spot { frame, start, len };
                let entry = Entry {
                    at,
                    open,
                    settled: None,
                    large,
                };
                let moved = self.store.shared.lock().entries.insert(item.id, entry);
                if let Some(old) = moved.filter(|old| old.at.frame.segment != generation) {
                    self.store.leaving.insert(old.at.frame.segment);
                }
                self.waiting.insert(item.id, waiting);
            }
            Act::Settle {
                len,
                updates,
                ended,
            } => {
                let mut index = self.store.shared.lock();
                let entry = index.entries.get_mut(&item.id);
                if let Some((entry, waiting)) = entry.zip(self.waiting.get_mut(&item.id)) {
                    entry.settle(Settled { frame, len });
                    for (index, progress) in updates {
                        if progress.state.is_final() {
                            entry.open.close(index);
                        }
                        waiting.update(index, &progress);
                    }
                    if !ended.is_empty() || entry.open.is_empty() {
                        index.entries.remove(&item.id);
                        self.waiting.remove(&item.id);
                    }
                }
                self.keeps.push((generation, len, ended));
            }
            Act::Abort(abort, len) => self.keeps.push((generation, len, vec![abort.generation])),
        }
    }

    /// Removes files that no message names; reports messages whose file is missing.
    fn large_bodies(&mut self) -> Result<(), Fault> {
        let folders = self.store.folders.clone();
        let listed = folders.disk.list(&folders.large);
        let listed = listed.map_err(|e| Fault::new("listing", &folders.large, e))?;
        let there: BTreeMap<&str, u64> = listed.iter().map(|e| (&*e.name, e.len)).collect();
        let mut named = BTreeSet::new();
        let mut lost = Vec::new();
        let mut index = self.store.shared.lock();
        for (id, entry) in &index.entries {
            let Some(reference) = &entry.large else {
                continue;
            };
            let name = large::file_name(&reference.name);
            if there.get(name.as_str()) != Some(&reference.len) {
                lost.push((*id, name.clone()));
            }
            named.insert(name);
        }
        for (id, name) in lost {
            index.entries.remove(&id);
            self.waiting.remove(&id);
            let what = format!("the large body of message {id} is missing or cut short");
            let e = io::Error::new(io::ErrorKind::InvalidData, what);
            let fault = Fault::new("reading the large body", &folders.large.join(name), e);
            self.recovery.faults.push(fault);
        }
        for name in there.keys().filter(|name| !named.contains(**name)) {
            self.recovery.orphans += 1;
            // One that cannot be removed now is an orphan at the next start, too.
            let _ = folders.disk.remove(&folders.large.join(name));
        }
        Ok(())
    }

    /// Fills the books.
    fn balance(&mut self) {
        let mut books = Vec::new();
        {
            let index = self.store.shared.lock();
            for entry in index.entries.values() {
                books.push(Book::Live(entry.at.frame.segment, cost(entry.at.len)));
                let settled = entry.settled().iter();
                books.extend(settled.map(|s| Book::Live(s.frame.segment, cost(s.len))));
            }
        }
        for (holder, len, closes) in std::mem::take(&mut self.keeps) {
            for on in closes {
                if on != holder && self.store.segments.contains_key(&on) {
                    books.push(Book::Live(holder, cost(len)));
                    books.push(Book::Pin {
                        on,
                        holder,
                        octets: cost(len),
                    });
                }
            }
        }
        for book in books {
            self.store.enter_book(book);
        }
    }

    /// Copies octets that are no frame we can use into the folder of damaged ones, and reports them
    /// unless they are torn. What was set aside at an earlier start is left alone.
    fn set_aside(
        &mut self,
        home: Home,
        file: &Arc<dyn File>,
        gap: Gap,
        torn: bool,
    ) -> io::Result<()> {
        let folders = &self.store.folders;
        let name = format!(
            "{:08x}-{:016x}-{:x}.frame",
            home.generation, home.mark, gap.from
        );
        let path = folders.damaged.join(name);
        if folders.disk.open(&path, How::Read).is_ok() {
            return Ok(());
        }
        if torn {
            self.recovery.torn += 1;
        } else {
            let what = format!(
                "octets {} to {} are damaged, or of a newer version",
                gap.from, gap.to
            );
            let e = io::Error::new(io::ErrorKind::InvalidData, what);
            let segment = folders.log_path(home);
            self.recovery
                .faults
                .push(Fault::new("reading the segment", &segment, e));
        }
        let kept = folders.disk.list(&folders.damaged)?;
        if kept.len() >= DAMAGED_MAX {
            return Ok(());
        }
        let copy = folders.disk.open(&path, How::CreateNew).and_then(|copy| {
            copy_range(&**file, &*copy, gap)?;
            copy.sync()?;
            folders.disk.sync_dir(&folders.damaged)
        });
        if let Err(e) = copy
            && !torn
        {
            // A full disk must not keep the queue from starting.
            self.recovery
                .faults
                .push(Fault::new("setting aside", &path, e));
        }
        Ok(())
    }
}

/// Writes frames to where they stand.
fn write_again(file: &dyn File, frames: &[(u64, Vec<u8>)]) -> io::Result<()> {
    let write = |(at, frame): &(u64, Vec<u8>)| file.write_at(*at, &[IoSlice::new(frame)]);
    frames.iter().try_for_each(write)
}

fn copy_range(from: &dyn File, to: &dyn File, gap: Gap) -> io::Result<()> {
    let mut chunk = vec![0; 64 << 10];
    let mut at = gap.from;
    while at < gap.to {
        let left = usize::try_from(gap.to - at).unwrap_or(usize::MAX);
        let wanted = left.min(chunk.len());
        let n = from.read_at(at, chunk.get_mut(..wanted).unwrap_or_default())?;
        if n == 0 {
            break;
        }
        to.write_at(
            at - gap.from,
            &[IoSlice::new(chunk.get(..n).unwrap_or_default())],
        )?;
        at += n as u64;
    }
    Ok(())
}
