//! The store: the synchronous core of the spool, and its only writer.
//!
//! A group is encoded into a batch, written with one call, synced with one call, and only then
//! applied to the index. When either call fails, the segment is given up, an abort frame in the
//! next segment makes the failed frames void, and only then the group is refused. It does **not**
//! wait, gather or wake: that is [`Spool`](super::Spool)'s task.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use posthaste_world::disk::Lock;
use posthaste_world::{Disk, Random};

use super::batch::{Batch, Book, Draft, Frame, Meaning, Settling};
use super::change::{Change, NewMessage, Settlement};
use super::content::Stored;
use super::encode::{lay_out, merge, new_frame, within};
use super::fault::{Fault, ReadError, WriteError};
use super::frame::{ALIGN, FIRST, HEADER, Header, Home, kind};
use super::housekeep::Chore;
use super::index::{Entry, Log, Shared};
use super::large::{self, LargeBody, LargeWriter};
use super::read::Reader;
use super::record::{Abort, encode_settle};
use super::segment::{Folders, Segment, Stage};
use super::{Recovery, Settings};
use crate::envelope::{Progress, Recipient};
use crate::id::QueueId;

/// Segments tried for an abort frame before the failure is only reported.
const ABORT_TRIES: usize = 3;

/// Octets that are needed of a segment that was counted wrongly: so many that it is never removed.
/// The next start counts anew.
const KEPT: u64 = u64::MAX / 2;

/// Settle frames of one message before they are merged into one.
const MERGE_AT: usize = 32;

/// The writing end of a spool; there is one.
pub struct Store {
    pub(super) folders: Folders,
    pub(super) random: Arc<dyn Random>,
    pub(super) settings: Settings,
    pub(super) shared: Shared,
    /// Active, sealed and failed segments, by generation.
    pub(super) segments: BTreeMap<u32, Segment>,
    pub(super) active: Option<u32>,
    /// Empty segments, by generation.
    pub(super) ready: VecDeque<Segment>,
    pub(super) next_generation: u32,
    /// Aborts that are not durable yet.
    aborts: Vec<Abort>,
    /// Segments being emptied, and those that hold old copies of messages that moved.
    pub(super) leaving: BTreeSet<u32>,
    pub(super) chore: Option<Chore>,
    garbage: Vec<[u8; 16]>,
    pub(super) full: bool,
    /// There was no room for an outcome, and there is none yet.
    pub(super) stuck: bool,
    /// No empty segment could be made, and the operator was told.
    pub(super) short: bool,
    pub(super) lock: Option<Box<dyn Lock>>,
}

impl Store {
    /// Opens the spool in `dir`, making it when it is missing. `key` is asked once for each open
    /// recipient.
    ///
    /// # Errors
    /// When another process has the spool, the folder cannot be used, or a newer version wrote it.
    pub fn open(
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        dir: &Path,
        settings: &Settings,
        key: &dyn Fn(&Recipient) -> String,
    ) -> Result<(Store, Recovery), Fault> {
        let folders = Folders::open(disk, dir)?;
        let path = folders.lock_path();
        let lock = folders
            .disk
            .lock(&path)
            .map_err(|e| Fault::new("locking the spool", &path, e))?;
        let mut store = Store {
            folders,
            random,
            settings: settings.clone(),
            shared: Shared::default(),
            segments: BTreeMap::new(),
            active: None,
            ready: VecDeque::new(),
            next_generation: 1,
            aborts: Vec::new(),
            leaving: BTreeSet::new(),
            chore: None,
            garbage: Vec::new(),
            full: false,
            stuck: false,
            short: false,
            lock: Some(lock),
        };
        let recovery = super::recover::recover(&mut store, key)?;
        store.restock();
        Ok((store, recovery))
    }

    /// Makes changes durable: one write, one sync. Each change has its own result; those that are
    /// [`Ok`] are on stable storage, the others are not there now or after any crash. Changes are
    /// applied in order.
    pub fn write(&mut self, group: &[Change]) -> Vec<Result<(), WriteError>> {
        let mut results = vec![Ok(()); group.len()];
        let mut batch = None;
        for (slot, change) in group.iter().enumerate() {
            let added = self.add(change, slot, &mut batch, &mut results);
            if let (Err(e), Some(result)) = (added, results.get_mut(slot)) {
                *result = Err(e);
            }
        }
        self.flush(&mut batch, &mut results);
        results
    }

    /// Whether the last new message was refused because the disk is full, and it still is.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Whether not even outcomes can be written because the disk is full.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Writes a body to a synced file of its own. Who does not commit it gives it to
    /// [`Store::discard`].
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn large_body(&self, octets: &[u8]) -> Result<LargeBody, WriteError> {
        let mut writer = LargeWriter::create(&self.folders, &*self.random)?;
        writer.write(octets)?;
        let body = writer.finish()?;
        writer.keep();
        Ok(body)
    }

    /// Removes a large body that no message holds.
    pub fn discard(&self, body: &LargeBody) {
        large::remove(&self.folders, &body.reference().name);
    }

    /// The reading end.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.shared.clone(), self.folders.clone())
    }

    /// Reads a message.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, id: QueueId) -> Result<Stored, ReadError> {
        self.reader().read(id)
    }

    /// Seals what is open, so that the next start reads little, and releases the lock.
    pub fn close(mut self) {
        // The alarm was given when the disk failed; this is one more chance.
        let _ = self.write_aborts();
        if let Some(active) = self.active.take()
            && let Some(segment) = self.segments.get_mut(&active)
        {
            segment.stage = Stage::Sealed;
        }
        self.finish_chores();
        self.lock = None;
    }

    /// Large bodies that nobody needs any more; the caller removes them.
    pub(super) fn take_garbage(&mut self) -> Vec<[u8; 16]> {
        std::mem::take(&mut self.garbage)
    }

    /// Adds one change to the batch, writing the batch first when its segment has no room left.
    fn add(
        &mut self,
        change: &Change,
        slot: usize,
        batch: &mut Option<Batch>,
        results: &mut [Result<(), WriteError>],
    ) -> Result<(), WriteError> {
        let is_commit = matches!(change, Change::Commit(_));
        // If the group is torn, an end must not survive the reports that an earlier frame owed.
        if batch
            .as_ref()
            .is_some_and(|batch| batch.reported.contains(&change.id()))
        {
            self.flush(batch, results);
        }
        // At most: write the batch, go on to the next segment, add.
        for _ in 0..3 {
            self.ensure_active(is_commit)?;
            let draft = match change {
                Change::Commit(new) => self.enter(new, batch.as_ref())?,
                Change::Settle(settlement) => self.settle(settlement, batch.as_ref())?,
            };
            if draft.frame.len() > self.settings.segment.saturating_sub(FIRST) {
                return Err(WriteError::TooLarge);
            }
            if self.append(draft, batch).is_ok() {
                if let Some(batch) = batch {
                    batch.slots.push(slot);
                }
                return Ok(());
            }
            if batch.as_ref().is_some_and(|batch| !batch.frames.is_empty()) {
                self.flush(batch, results);
            } else {
                *batch = None;
                self.advance(is_commit)?;
            }
        }
        Err(WriteError::Failed)
    }

    /// Adds a frame to the batch.
    ///
    /// # Errors
    /// [`NoRoom`] in the active segment.
    pub(super) fn append(&self, draft: Draft, batch: &mut Option<Batch>) -> Result<(), NoRoom> {
        let Some(active) = self.active() else {
            return Err(NoRoom(Box::new(draft)));
        };
        let batch = batch.get_or_insert_with(|| Batch::new(active.home, active.end));
        if batch.end + draft.frame.len() > active.len {
            return Err(NoRoom(Box::new(draft)));
        }
        let before = self.entry(draft.frame.id, Some(batch));
        batch.push(draft, before);
        Ok(())
    }

    /// A new message as a frame.
    fn enter(&self, new: &NewMessage, batch: Option<&Batch>) -> Result<Draft, WriteError> {
        if self.entry(new.envelope.id, batch).is_some() {
            return Err(WriteError::Unknown);
        }
        new_frame(new)
    }

    /// A settlement as a frame.
    fn settle(&self, s: &Settlement, batch: Option<&Batch>) -> Result<Draft, WriteError> {
        let entry = self.entry(s.id, batch).ok_or(WriteError::Unknown)?;
        let mut open = entry.open.clone();
        for (index, progress) in &s.updates {
            if !open.contains(*index) {
                return Err(WriteError::Unknown);
            }
            if !progress.fits() {
                return Err(WriteError::TooLarge);
            }
            if progress.state.is_final() {
                open.close(*index);
            }
        }
        let ended = if open.is_empty() {
            self.closes(&entry)
        } else {
            Vec::new()
        };
        let is_new = |report: &&NewMessage| self.entry(report.envelope.id, batch).is_none();
        let reports: Vec<_> = s.reports.iter().filter(is_new).collect();
        let before = if open.is_empty() {
            None
        } else {
            self.to_merge(s.id, &entry, batch)
        };
        let merged = before.is_some();
        let updates = merge(before, &s.updates);
        let parts = encode_settle(&updates, &ended, &reports);
        let (len, reports) = lay_out(&parts, &reports)?;
        let frame = Frame {
            kind: kind::SETTLE,
            id: s.id,
            parts,
        };
        within(&frame)?;
        let meaning = Meaning::Settle(Settling {
            id: s.id,
            len,
            open,
            ended,
            merged,
            reports,
        });
        Ok(Draft { frame, meaning })
    }

    /// The segments in which a message must not come back: where it stands, and where old copies
    /// may be.
    pub(super) fn closes(&self, entry: &Entry) -> Vec<u32> {
        let mut closes = self.leaving.clone();
        closes.insert(entry.at.frame.segment);
        closes.into_iter().collect()
    }

    /// All progress of a message's settle frames, when there are so many that they are merged.
    fn to_merge(
        &self,
        id: QueueId,
        entry: &Entry,
        batch: Option<&Batch>,
    ) -> Option<BTreeMap<u32, Progress>> {
        let settled = entry.settled();
        let waits = batch.is_some_and(|b| settled.iter().any(|s| b.holds(s.frame)));
        if settled.len() < MERGE_AT || waits {
            return None;
        }
        self.reader().progress(id, entry).ok()
    }

    /// A message's entry, as the batch leaves it.
    pub(super) fn entry(&self, id: QueueId, batch: Option<&Batch>) -> Option<Entry> {
        match batch.and_then(|batch| batch.entries.get(&id)) {
            Some(entry) => entry.clone(),
            None => self.shared.entry(id),
        }
    }

    /// Writes and syncs a batch; then, and only then, applies it.
    pub(super) fn flush(
        &mut self,
        batch: &mut Option<Batch>,
        results: &mut [Result<(), WriteError>],
    ) -> bool {
        let Some(batch) = batch.take().filter(|batch| !batch.frames.is_empty()) else {
            return true;
        };
        let Err(cause) = self.put(&batch) else {
            self.apply(batch);
            return true;
        };
        let kind = cause.kind();
        self.give_up(batch.home, batch.start, cause);
        // What is refused is void before anybody learns of it. An abort that the disk does not take
        // goes in front of the next group.
        let error = match (self.write_aborts(), kind) {
            (Err(_), _) => WriteError::InDoubt,
            (Ok(()), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => WriteError::Full,
            (Ok(()), _) => WriteError::Failed,
        };
        for slot in &batch.slots {
            if let Some(result) = results.get_mut(*slot) {
                *result = Err(error);
            }
        }
        false
    }

    /// One write, one sync.
    fn put(&self, batch: &Batch) -> io::Result<()> {
        let segment = self.segments.get(&batch.home.generation);
        let file = &segment.ok_or(io::ErrorKind::NotFound)?.file;
        let mut headers = Vec::with_capacity(batch.frames.len());
        for (offset, frame) in &batch.frames {
            let parts = frame.parts.iter().map(|part| &part[..]);
            let header = Header::new(frame.kind, frame.id, batch.start);
            headers.push(header.seal(batch.home, *offset, parts));
        }
        let mut slices = Vec::with_capacity(batch.frames.len() * 4);
        for ((_, frame), header) in batch.frames.iter().zip(&headers) {
            slices.push(IoSlice::new(header));
            let parts = frame.parts.iter().filter(|part| !part.is_empty());
            slices.extend(parts.map(|part| IoSlice::new(part)));
            let padding = frame.len() - frame.payload_len() - HEADER as u64;
            let padding = usize::try_from(padding).unwrap_or(0);
            slices.extend(
                PADDING
                    .get(..padding)
                    .filter(|p| !p.is_empty())
                    .map(IoSlice::new),
            );
        }
        file.write_at(batch.start, &slices)?;
        file.sync()
    }

    fn apply(&mut self, batch: Batch) {
        if let Some(segment) = self.segments.get_mut(&batch.home.generation) {
            segment.end = batch.end;
        }
        {
            let mut index = self.shared.lock();
            for (id, entry) in batch.entries {
                match entry {
                    Some(entry) => index.entries.insert(id, entry),
                    None => index.entries.remove(&id),
                };
            }
        }
        for book in batch.books {
            self.enter_book(book);
        }
    }

    /// Notes a change in the books.
    pub(super) fn enter_book(&mut self, book: Book) {
        match book {
            Book::Live(segment, octets) => {
                if let Some(segment) = self.segments.get_mut(&segment) {
                    let live = segment.live.checked_add_signed(octets);
                    segment.live = live.unwrap_or_else(|| {
                        let path = self.folders.log_path(segment.home);
                        (self.settings.alarm)(&Fault::miscounted(&path));
                        KEPT
                    });
                }
            }
            Book::Pin { on, holder, octets } => match self.segments.get_mut(&on) {
                Some(segment) => {
                    let held = segment.pins.entry(holder).or_default();
                    *held = held.saturating_add_signed(octets);
                }
                // It is gone already, so nothing is needed for it.
                None => self.enter_book(Book::Live(holder, -octets)),
            },
            Book::Moved(place) => {
                if let Some(segment) = self.segments.get_mut(&place.segment) {
                    segment.moved.insert(place.offset());
                }
            }
            Book::Garbage(name) => self.garbage.push(name),
        }
    }

    /// Gives up the active segment: what stands there from `from` on is void.
    fn give_up(&mut self, home: Home, from: u64, cause: io::Error) {
        (self.settings.alarm)(&Fault::new("writing", &self.folders.log_path(home), cause));
        if let Some(segment) = self.segments.get_mut(&home.generation) {
            segment.stage = Stage::Failed;
        }
        self.leaving.insert(home.generation);
        self.aborts.push(Abort {
            generation: home.generation,
            from,
        });
        self.active = None;
    }

    /// Makes pending aborts durable.
    pub(super) fn write_aborts(&mut self) -> Result<(), WriteError> {
        for _ in 0..ABORT_TRIES {
            if self.aborts.is_empty() {
                return Ok(());
            }
            if self.active.is_none() && self.advance(false).is_err() {
                continue;
            }
            let mut batch = None;
            for abort in &self.aborts {
                if self.append(Draft::abort(*abort, None), &mut batch).is_err() {
                    return Err(WriteError::Failed);
                }
            }
            let Some(batch) = batch else { return Ok(()) };
            match self.put(&batch) {
                Ok(()) => {
                    self.aborts.clear();
                    self.apply(batch);
                }
                Err(cause) => self.give_up(batch.home, batch.start, cause),
            }
        }
        if self.aborts.is_empty() {
            Ok(())
        } else {
            Err(WriteError::Failed)
        }
    }

    /// Makes a segment known to readers and to the books.
    pub(super) fn admit(&mut self, segment: Segment) {
        let log = Log {
            home: segment.home,
            file: segment.file.clone(),
        };
        self.shared.lock().logs.insert(segment.home.generation, log);
        self.segments.insert(segment.home.generation, segment);
    }

    /// The next generation, with a mark that nobody can guess.
    pub(super) fn new_home(&mut self) -> Home {
        let generation = self.next_generation;
        self.next_generation = generation.saturating_add(1);
        Home {
            generation,
            mark: self.random.next_u64(),
        }
    }

    pub(super) fn active(&self) -> Option<&Segment> {
        self.segments.get(&self.active?)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let books = self
            .segments
            .values()
            .map(|s| (s.home.generation, s.stage, s.live));
        f.debug_struct("Store")
            .field("segments", &books.collect::<Vec<_>>())
            .field("ready", &self.ready.len())
            .field("full", &self.full)
            .finish_non_exhaustive()
    }
}

/// The active segment has no room for this frame.
pub(super) struct NoRoom(pub(super) Box<Draft>);

const PADDING: [u8; ALIGN] = [0; ALIGN];
