//! The reading end: finds a message through the index and reads it from its segment.
//!
//! A message may move or end, and its segment may be used again, while it is read. The frame's
//! checksum tells; then the index is asked again. It does **not** wait for the writer.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::content::{Source, Stored};
use super::fault::{Fault, ReadError};
use super::frame::{HEADER, Header};
use super::index::{Entry, Place, Shared, Spot};
use super::record::{Section, SectionBody, Settle};
use super::segment::Folders;
use super::{PAYLOAD_MAX, large};
use crate::envelope::{DecodeError, Envelope, Progress};
use crate::id::QueueId;

/// How often the index is asked again before a failed read counts.
const TRIES: usize = 3;

/// The reading end of a spool; clones share it.
#[derive(Clone)]
pub struct Reader {
    shared: Shared,
    folders: Folders,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("messages", &self.len())
            .finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn new(shared: Shared, folders: Folders) -> Self {
        Reader { shared, folders }
    }

    pub(super) fn folders(&self) -> &Folders {
        &self.folders
    }

    /// Reads a message. Blocks on the disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, id: QueueId) -> Result<Stored, ReadError> {
        let mut last = None;
        for _ in 0..TRIES {
            let entry = self.shared.entry(id).ok_or(ReadError::Unknown)?;
            match self.stored(id, &entry) {
                Ok(stored) => return Ok(stored),
                Err(fault) => last = Some(fault),
            }
        }
        Err(last.map_or(ReadError::Unknown, ReadError::Fault))
    }

    /// Whether a message is queued.
    #[must_use]
    pub fn contains(&self, id: QueueId) -> bool {
        self.shared.lock().entries.contains_key(&id)
    }

    /// Messages now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.lock().entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of all messages, in order. For tools and tests: takes time in proportion.
    #[must_use]
    pub fn ids(&self) -> Vec<QueueId> {
        self.shared.lock().entries.keys().copied().collect()
    }

    /// All progress that the settle frames of a message hold.
    pub(super) fn progress(
        &self,
        id: QueueId,
        entry: &Entry,
    ) -> Result<BTreeMap<u32, Progress>, Fault> {
        let mut all = BTreeMap::new();
        for settled in entry.settled() {
            let (_, payload) = self.frame(settled.frame, id)?;
            let settle = Settle::parse(&payload).map_err(|e| self.bad(settled.frame, e))?;
            all.extend(settle.updates);
        }
        Ok(all)
    }

    fn stored(&self, id: QueueId, entry: &Entry) -> Result<Stored, Fault> {
        let bad = |e| self.bad(entry.at.frame, e);
        let octets = self.section(entry.at, id)?;
        let section = Section::parse(&octets).map_err(bad)?;
        let mut envelope = section.envelope(id).map_err(bad)?;
        lay_over(&mut envelope, self.progress(id, entry)?);
        let prelude = section.prelude().map_err(bad)?;
        let source = match section.body {
            SectionBody::Inline(body) => Source::Memory(octets.slice_ref(body)),
            SectionBody::Large(reference) => Source::File(large::open(&self.folders, reference)?),
        };
        Ok(Stored::new(Arc::new(envelope), Arc::new(prelude), source))
    }

    /// The octets of a message's section.
    fn section(&self, spot: Spot, id: QueueId) -> Result<Bytes, Fault> {
        // The section of a commit frame is its payload, and bears its id.
        let owner = if spot.start == 0 { Some(id) } else { None };
        let (header, payload) = self.any_frame(spot.frame)?;
        let start = usize::try_from(spot.start).unwrap_or(usize::MAX);
        let len = usize::try_from(spot.len).unwrap_or(usize::MAX);
        let end = start.saturating_add(len);
        if owner.is_some_and(|id| id != header.id) || end > payload.len() {
            return Err(self.bad(spot.frame, DecodeError::Malformed));
        }
        Ok(payload.slice(start..end))
    }

    /// The frame of a message at a place.
    fn frame(&self, place: Place, id: QueueId) -> Result<(Header, Bytes), Fault> {
        let (header, payload) = self.any_frame(place)?;
        if header.id == id {
            Ok((header, payload))
        } else {
            Err(self.bad(place, DecodeError::Malformed))
        }
    }

    /// The frame at a place, checked.
    fn any_frame(&self, place: Place) -> Result<(Header, Bytes), Fault> {
        let missing = || self.fault(place, io::ErrorKind::NotFound.into());
        let log = self.shared.log(place.segment).ok_or_else(missing)?;
        let read = |at: u64, len: usize| {
            let mut octets = vec![0; len];
            match log.file.read_at(at, &mut octets) {
                Ok(n) if n == len => Ok(octets),
                Ok(_) => Err(self.fault(place, io::ErrorKind::UnexpectedEof.into())),
                Err(e) => Err(self.fault(place, e)),
            }
        };
        let at = place.offset();
        let header = Header::parse(log.home, &read(at, HEADER)?)
            .filter(|header| header.len as usize <= PAYLOAD_MAX)
            .ok_or_else(|| self.bad(place, DecodeError::Malformed))?;
        let payload = read(at + HEADER as u64, header.len as usize)?;
        if !header.fits(log.home, at, &payload) {
            return Err(self.bad(place, DecodeError::Malformed));
        }
        Ok((header, payload.into()))
    }

    fn bad(&self, place: Place, e: DecodeError) -> Fault {
        let what = format!(
            "the frame at {} of segment {} is damaged: {e}",
            place.offset(),
            place.segment
        );
        self.fault(place, io::Error::new(io::ErrorKind::InvalidData, what))
    }

    fn fault(&self, place: Place, e: io::Error) -> Fault {
        let path = self
            .shared
            .log(place.segment)
            .map(|log| self.folders.log_path(log.home));
        Fault::new(
            "reading the segment",
            path.as_ref().unwrap_or(&self.folders.log),
            e,
        )
    }
}

/// Replaces the progress of recipients.
pub(super) fn lay_over(
    envelope: &mut Envelope,
    updates: impl IntoIterator<Item = (u32, Progress)>,
) {
    for (index, progress) in updates {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        if let Some(recipient) = envelope.recipients.get_mut(index) {
            recipient.progress = progress;
        }
    }
}
