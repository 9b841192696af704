//! Room: where the next frame goes, and what is done when the disk has none left.
//!
//! New mail gets room only while an empty segment stands behind the active one, so that whatever it
//! is given can end. Outcomes get what there is. It does **not** empty segments: that is
//! housekeeping.

use super::fault::WriteError;
use super::frame::FIRST;
use super::segment::Stage;
use super::store::Store;

/// Empty segments that are made ahead: one to go on with, and one that only outcomes may use.
const READY: usize = 2;

/// A segment for outcomes alone, when the disk has no room for a whole one, is this part of one.
const SMALL: u64 = 8;

impl Store {
    /// Sees to an active segment with no abort outstanding. New mail gets none unless there is an
    /// empty one behind it: whatever it is given must be able to end.
    pub(super) fn ensure_active(&mut self, is_commit: bool) -> Result<(), WriteError> {
        self.write_aborts()?;
        if is_commit && self.ready.is_empty() {
            self.restock();
            if self.ready.is_empty() {
                self.full = true;
                return Err(WriteError::Full);
            }
        }
        match self.active {
            Some(_) => Ok(()),
            None => self.advance(is_commit),
        }
    }

    /// Seals the active segment and goes on to the next. The last empty one is for outcomes only.
    pub(super) fn advance(&mut self, is_commit: bool) -> Result<(), WriteError> {
        let needed = if is_commit { READY } else { 1 };
        if self.ready.len() < needed {
            self.restock();
        }
        if self.ready.is_empty() && !is_commit {
            self.create_small();
        }
        if self.ready.len() < needed {
            (self.full, self.stuck) = (self.full | is_commit, self.stuck | !is_commit);
            return Err(WriteError::Full);
        }
        let Some(next) = self.ready.pop_front() else {
            return Err(WriteError::Full);
        };
        if let Some(old) = self
            .active
            .and_then(|active| self.segments.get_mut(&active))
        {
            old.stage = Stage::Sealed;
        }
        let generation = next.home.generation;
        self.admit(next);
        self.active = Some(generation);
        (self.full, self.stuck) = (false, false);
        Ok(())
    }

    /// On a full disk, leaves an active segment that holds little, so that its space is given back.
    pub(super) fn leave_sparse_active(&mut self) {
        let sparse = self
            .active()
            .is_some_and(|active| active.live < active.len / 4);
        if self.full && sparse && !self.ready.is_empty() {
            // There is an empty segment, so this cannot fail.
            let _ = self.advance(false);
        }
    }

    /// Makes empty segments until there are enough; says whether there are.
    pub(super) fn restock(&mut self) -> bool {
        while self.ready.len() < READY {
            if !self.recycle_one() && !self.create_one() && !self.release_stuck() {
                return false;
            }
        }
        (self.full, self.stuck, self.short) = (false, false, false);
        true
    }

    /// Makes what room there is on a full disk into a small segment, for outcomes: they are what
    /// gives room back.
    pub(super) fn create_small(&mut self) {
        for segment in self.segments.values_mut() {
            // Nothing is written behind the end of a sealed segment. It need not last: a crash that
            // brings the octets back brings back none that mean anything.
            if segment.stage == Stage::Sealed
                && segment.end < segment.len
                && segment.file.set_len(segment.end).is_ok()
            {
                segment.len = segment.end;
            }
        }
        let home = self.new_home();
        let len = (self.settings.segment / SMALL).max(2 * FIRST);
        if let Ok(segment) = self.folders.create(home, len) {
            self.ready.push_back(segment);
            self.stuck = false;
        }
    }

    fn create_one(&mut self) -> bool {
        let home = self.new_home();
        match self.folders.create(home, self.settings.segment) {
            Ok(segment) => self.ready.push_back(segment),
            Err(fault) => {
                // Tried again often while the disk is full: told once.
                if !self.short {
                    (self.settings.alarm)(&fault);
                }
                self.short = true;
                return false;
            }
        }
        true
    }
}
