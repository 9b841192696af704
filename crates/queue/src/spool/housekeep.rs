//! Housekeeping: giving space back, and sidecars, in bounded steps between groups.
//!
//! A segment of which nothing is needed is used again or removed. One of which less than a quarter
//! is needed (or whose sync failed) is emptied: what lives is written again at the front of the
//! log. One segment is emptied at a time, to its end, so that a message has at most one old copy.
//! It does **not** change what any message is.

use std::io;

use bytes::Bytes;

use super::batch::{Batch, Book, Draft, Frame, Meaning, Settling};
use super::change::{Body, NewMessage};
use super::encode::new_frame;
use super::fault::Fault;
use super::frame::{Header, kind};
use super::index::{Entry, Place, Spot};
use super::large;
use super::read::lay_over;
use super::record::{Abort, Section, SectionBody, Settle, encode_settle};
use super::scan::{Found, Walk};
use super::segment::{Segment, Stage};
use super::sidecar::{self, Note, Sidecar, What};
use super::store::{NoRoom, Store};
use crate::id::QueueId;

/// Octets of log that one step walks over.
const STEP: u64 = 2 << 20;

/// Sealed segments that may be without a sidecar: most of their messages end soon.
const WITHOUT_SIDECAR: usize = 2;

/// The newest segments, which are not emptied although they hold little while there is room: their
/// messages end soon, and a copy would be octets written for nothing.
const LEFT_ALONE: u32 = 2;

/// A segment that is being walked over.
pub(super) struct Chore {
    generation: u32,
    at: u64,
    task: Task,
}

enum Task {
    /// Copy what lives to the front of the log.
    Empty,
    /// Write what lives into a sidecar; none when something cannot be read.
    Note(Option<Sidecar>),
}

impl Store {
    /// One bounded step of housekeeping: removing files, reclaiming space, writing sidecars. Says
    /// whether there is more to do.
    pub fn housekeep(&mut self) -> bool {
        for name in self.take_garbage() {
            large::remove(&self.folders, &name);
        }
        self.housekeep_log()
    }

    /// As [`Store::housekeep`], leaving the files of large bodies to the caller.
    pub(super) fn housekeep_log(&mut self) -> bool {
        if self.release_one() {
            return true;
        }
        self.restock();
        if self.is_stuck() && self.ready.is_empty() {
            self.create_small();
        }
        self.leave_sparse_active();
        let Some(chore) = self.chore.take().or_else(|| self.next_chore()) else {
            return false;
        };
        match self.step(chore) {
            Ok(rest) => {
                self.chore = rest;
                self.chore.is_some() || self.next_chore().is_some()
            }
            Err(fault) => {
                (self.settings.alarm)(&fault);
                false
            }
        }
    }

    /// Sidecars for all that is sealed.
    pub(super) fn finish_chores(&mut self) {
        self.chore = None;
        let sealed = |s: &Segment| s.stage == Stage::Sealed && !s.sidecar && s.live > 0;
        let left: Vec<u32> = self
            .segments
            .values()
            .filter(|s| sealed(s))
            .map(|s| s.home.generation)
            .collect();
        for generation in left {
            let mut chore = self.note(generation);
            while let Some(next) = chore {
                chore = self.step(next).unwrap_or_else(|fault| {
                    (self.settings.alarm)(&fault);
                    None
                });
            }
        }
    }

    /// Uses or removes one segment of which nothing is needed.
    fn release_one(&mut self) -> bool {
        let spare = self.settings.spare;
        if self.ready.len() < spare && self.recycle_one() {
            return true;
        }
        let Some(generation) = self.needless(|_| true) else {
            return false;
        };
        let Some(home) = self.segments.get(&generation).map(|s| s.home) else {
            return false;
        };
        match self.folders.remove(home) {
            Ok(()) => {
                self.forget(generation);
                true
            }
            Err(fault) => self.keep_stuck(generation, &fault),
        }
    }

    /// Makes an empty segment of one of which nothing is needed.
    pub(super) fn recycle_one(&mut self) -> bool {
        let len = self.settings.segment;
        let usable = |s: &Segment| s.stage == Stage::Sealed && s.len == len;
        let Some(generation) = self.needless(usable) else {
            return false;
        };
        let home = self.new_home();
        let Some(old) = self.segments.get(&generation) else {
            return false;
        };
        match self.folders.recycle(old, home) {
            Ok(segment) => {
                self.forget(generation);
                self.ready.push_back(segment);
                true
            }
            Err(fault) => {
                let gone = self.folders.remove(old.home).and(self.folders.remove(home));
                if gone.is_ok() {
                    self.forget(generation);
                } else if let Some(old) = self.segments.get_mut(&generation) {
                    old.other = Some(home);
                }
                self.keep_stuck(generation, &fault)
            }
        }
    }

    /// Removes one segment of which nothing is needed and that could not be removed before: what
    /// was in the way, a lack of descriptors for one, may have passed.
    pub(super) fn release_stuck(&mut self) -> bool {
        let stuck = |s: &&Segment| s.stuck && s.live == 0 && s.stage != Stage::Active;
        let Some(segment) = self.segments.values().find(stuck) else {
            return false;
        };
        let generation = segment.home.generation;
        let mut names = [Some(segment.home), segment.other].into_iter().flatten();
        let gone = names.all(|home| self.folders.remove(home).is_ok());
        if gone {
            self.forget(generation);
        }
        gone
    }

    fn needless(&self, usable: impl Fn(&Segment) -> bool) -> Option<u32> {
        let mut segments = self.segments.values();
        let found =
            segments.find(|s| s.live == 0 && s.stage != Stage::Active && !s.stuck && usable(s))?;
        Some(found.home.generation)
    }

    /// Forgets a segment that is gone, and that frames elsewhere were needed for it.
    fn forget(&mut self, generation: u32) {
        self.shared.lock().logs.remove(&generation);
        self.leaving.remove(&generation);
        if self
            .chore
            .as_ref()
            .is_some_and(|chore| chore.generation == generation)
        {
            self.chore = None;
        }
        let Some(segment) = self.segments.remove(&generation) else {
            return;
        };
        for (holder, octets) in segment.pins {
            let octets = i64::try_from(octets).unwrap_or(i64::MAX);
            self.enter_book(Book::Live(holder, -octets));
        }
    }

    /// Leaves a segment alone until room is needed, or until the next start.
    fn keep_stuck(&mut self, generation: u32, fault: &Fault) -> bool {
        (self.settings.alarm)(fault);
        if let Some(segment) = self.segments.get_mut(&generation) {
            segment.stuck = true;
            self.leaving.insert(generation);
        }
        false
    }

    /// What to do next: empty a failed segment, empty the one that holds least, write a sidecar.
    fn next_chore(&mut self) -> Option<Chore> {
        let free = |s: &&Segment| s.stage != Stage::Active && !s.stuck && s.live > 0;
        let mut leaving = self
            .leaving
            .iter()
            .filter_map(|generation| self.segments.get(generation));
        // What was accepted just now is on its way out: most of it would be copied for nothing.
        let newest = self.segments.keys().next_back().copied().unwrap_or(0);
        let alone = if self.is_full() { 0 } else { LEFT_ALONE };
        let old = self.segments.range(..newest.saturating_sub(alone));
        let sparse = old.map(|(_, s)| s).filter(|s| s.live < s.len / 4);
        let victim = leaving.find(free);
        if let Some(victim) = victim.or_else(|| sparse.filter(free).min_by_key(|s| s.live)) {
            let generation = victim.home.generation;
            self.leaving.insert(generation);
            return Some(Chore {
                generation,
                at: 0,
                task: Task::Empty,
            });
        }
        let mut bare = self
            .segments
            .values()
            .filter(|s| s.stage == Stage::Sealed && !s.sidecar && !s.stuck);
        let oldest = bare.next()?.home.generation;
        if bare.count() < WITHOUT_SIDECAR {
            return None;
        }
        self.note(oldest)
    }

    fn note(&self, generation: u32) -> Option<Chore> {
        let home = self.segments.get(&generation)?.home;
        Some(Chore {
            generation,
            at: 0,
            task: Task::Note(Some(Sidecar::new(home))),
        })
    }

    /// Walks a step further; gives the chore back while there is more.
    fn step(&mut self, mut chore: Chore) -> Result<Option<Chore>, Fault> {
        let Some(segment) = self.segments.get(&chore.generation) else {
            return Ok(None);
        };
        // What stands behind the end of a failed segment is void.
        let (home, file, end) = (segment.home, segment.file.clone(), segment.end);
        let path = self.folders.log_path(home);
        let fault = |e: io::Error| Fault::new("reading the segment", &path, e);
        let mut walk = Walk::new(home, file, chore.at).map_err(fault)?;
        let until = end.min(walk.at() + STEP);
        let mut batch = None;
        while walk.at() < until {
            let found = walk.next().map_err(fault)?;
            let place = |offset| Place::new(home.generation, offset);
            match (&mut chore.task, found) {
                // The next start must scan the segment, and tell of the damage.
                (Task::Note(sidecar), None | Some(Found::Gap(_))) => *sidecar = None,
                (Task::Note(None), _) | (Task::Empty, None | Some(Found::Gap(_))) => {}
                (Task::Note(Some(sidecar)), Some(Found::Frame(offset, header, payload))) => {
                    self.note_frame(sidecar, place(offset), &header, payload);
                }
                (Task::Empty, Some(Found::Frame(offset, header, payload))) => {
                    let drafts = self.survivors(place(offset), &header, payload, batch.as_ref());
                    for draft in drafts {
                        self.rewrite(draft, &mut batch).map_err(fault)?;
                    }
                }
            }
        }
        chore.at = walk.at();
        if !self.flush(&mut batch, &mut []) {
            return Ok(None);
        }
        if chore.at < end {
            return Ok(Some(chore));
        }
        self.end_chore(chore)?;
        Ok(None)
    }

    fn end_chore(&mut self, chore: Chore) -> Result<(), Fault> {
        let Some(segment) = self.segments.get_mut(&chore.generation) else {
            return Ok(());
        };
        match chore.task {
            Task::Note(sidecar) => {
                segment.sidecar = true;
                if let Some(sidecar) = sidecar {
                    sidecar.write(&self.folders, segment.home)?;
                }
            }
            Task::Empty if segment.live > 0 => {
                let what = "something that is needed cannot be read; the segment is kept";
                let e = io::Error::new(io::ErrorKind::InvalidData, what);
                let path = self.folders.log_path(segment.home);
                let fault = Fault::new("emptying the segment", &path, e);
                self.keep_stuck(chore.generation, &fault);
            }
            Task::Empty => {}
        }
        Ok(())
    }

    /// Adds a survivor to the batch, going on to the next segment when this one is full.
    fn rewrite(&mut self, mut draft: Draft, batch: &mut Option<Batch>) -> io::Result<()> {
        let failed = || io::Error::other("writing it again failed");
        for _ in 0..3 {
            self.ensure_active(false).map_err(io::Error::other)?;
            match self.append(draft, batch) {
                Ok(()) => return Ok(()),
                Err(NoRoom(back)) => draft = *back,
            }
            if batch.as_ref().is_some_and(|batch| !batch.frames.is_empty()) {
                if !self.flush(batch, &mut []) {
                    return Err(failed());
                }
            } else {
                *batch = None;
                self.advance(false).map_err(io::Error::other)?;
            }
        }
        Err(failed())
    }

    /// Adds what lives of a frame to a sidecar.
    fn note_frame(&self, sidecar: &mut Sidecar, place: Place, header: &Header, payload: &[u8]) {
        for note in sidecar::notes(place.offset(), header, payload).unwrap_or_default() {
            if self.lives(place, &note) {
                sidecar.add(&note);
            }
        }
    }

    fn lives(&self, place: Place, note: &Note<'_>) -> bool {
        let entry = self.shared.entry(note.id);
        match note.what {
            What::Message { start, len, .. } => entry.is_some_and(|entry| {
                entry.at
                    == Spot {
                        frame: place,
                        start,
                        len,
                    }
            }),
            What::Settle(own) => {
                let goes_on = entry.is_some_and(|e| e.settled().iter().any(|s| s.frame == place));
                let settle = Settle::parse(own).ok();
                let ends = settle.is_some_and(|s| !self.still_there(&s.ended, place).is_empty());
                goes_on || ends
            }
            What::Abort(payload) => Abort::parse(payload)
                .is_ok_and(|abort| !self.still_there(&[abort.generation], place).is_empty()),
        }
    }

    /// Those of the segments that exist, the one of `place` left out.
    fn still_there(&self, generations: &[u32], place: Place) -> Vec<u32> {
        let there = |g: &&u32| **g != place.segment && self.segments.contains_key(g);
        generations.iter().filter(there).copied().collect()
    }

    /// Whether the tomb or abort of a frame stands elsewhere already.
    fn moved_on(&self, place: Place) -> bool {
        let segment = self.segments.get(&place.segment);
        segment.is_some_and(|segment| segment.moved.contains(&place.offset()))
    }

    /// What lives of a frame, as frames to be written again.
    fn survivors(
        &self,
        place: Place,
        header: &Header,
        payload: &[u8],
        batch: Option<&Batch>,
    ) -> Vec<Draft> {
        let mut drafts = Vec::new();
        for note in sidecar::notes(place.offset(), header, payload).unwrap_or_default() {
            let entry = self.entry(note.id, batch);
            match note.what {
                What::Message { start, len, .. } => {
                    let at = Spot {
                        frame: place,
                        start,
                        len,
                    };
                    let range = size(start)..size(start).saturating_add(size(len));
                    if let (Some(entry), Some(octets)) =
                        (entry.filter(|entry| entry.at == at), payload.get(range))
                    {
                        drafts.extend(self.moved(note.id, &entry, octets));
                    }
                }
                What::Settle(own) => {
                    let goes_on = |e: &Entry| e.settled().iter().any(|s| s.frame == place);
                    match entry.filter(goes_on) {
                        Some(entry) => drafts.extend(self.merged(note.id, entry)),
                        None => drafts.extend(self.tomb(note.id, place, own)),
                    }
                }
                What::Abort(_) if self.moved_on(place) => {}
                What::Abort(payload) => {
                    let abort = Abort::parse(payload).ok();
                    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
                    let needed = |a: &Abort| !self.still_there(&[a.generation], place).is_empty();
                    let abort = abort.filter(needed);
                    drafts.extend(abort.map(|a| Draft::abort(a, Some((place, len)))));
                }
            }
        }
        drafts
    }

    /// A message with all its progress, as a commit frame. `None` when it cannot be read.
    fn moved(&self, id: QueueId, entry: &Entry, section: &[u8]) -> Option<Draft> {
        let section = Section::parse(section).ok()?;
        let mut envelope = section.envelope(id).ok()?;
        lay_over(&mut envelope, self.reader().progress(id, entry).ok()?);
        let prelude = section.prelude().ok()?;
        let body = match section.body {
            SectionBody::Inline(octets) => Body::Inline(Bytes::copy_from_slice(octets)),
            SectionBody::Large(reference) => {
                Body::Large(large::open(&self.folders, reference).ok()?)
            }
        };
        new_frame(&NewMessage {
            envelope,
            prelude,
            body,
        })
        .ok()
    }

    /// All progress of a message that stands elsewhere, as one settle frame.
    fn merged(&self, id: QueueId, entry: Entry) -> Option<Draft> {
        let updates: Vec<_> = self
            .reader()
            .progress(id, &entry)
            .ok()?
            .into_iter()
            .collect();
        let parts = encode_settle(&updates, &[], &[]);
        let frame = Frame {
            kind: kind::SETTLE,
            id,
            parts,
        };
        let len = u32::try_from(frame.payload_len()).ok()?;
        let (open, ended, reports) = (entry.open, Vec::new(), Vec::new());
        let settling = Settling {
            id,
            len,
            open,
            ended,
            merged: true,
            reports,
        };
        Some(Draft {
            frame,
            meaning: Meaning::Settle(settling),
        })
    }

    /// A message's end, as long as a segment holds what it ended.
    fn tomb(&self, id: QueueId, place: Place, own: &[u8]) -> Option<Draft> {
        let closes = self.still_there(&Settle::parse(own).ok()?.ended, place);
        if closes.is_empty() || self.moved_on(place) {
            return None;
        }
        let frame = Frame {
            kind: kind::SETTLE,
            id,
            parts: encode_settle(&[], &closes, &[]),
        };
        let from = Some((place, u32::try_from(own.len()).unwrap_or(u32::MAX)));
        Some(Draft {
            frame,
            meaning: Meaning::Keep { closes, from },
        })
    }
}

fn size(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
