//! Sidecars: what of a sealed segment was needed when it was written, without bodies.
//!
//! Start-up reads the sidecar instead of the segment. One that is missing or damaged only costs
//! time: the segment itself is read then. A *note* is one entry; scanning a segment makes the same
//! notes, so both ways of starting share what follows.

use std::io::IoSlice;

use posthaste_world::disk::Open;

use super::fault::Fault;
use super::frame::{Header, Home, kind};
use super::record::{Abort, Reference, Section, Settle};
use super::segment::{Folders, sidecar_name};
use crate::envelope::DecodeError;
use crate::id::QueueId;

const MAGIC: &[u8; 8] = b"postidx1";
/// Octets before the first note: magic, generation, mark.
const HEAD: usize = 20;
/// Octets of a sidecar at most. A larger segment is scanned.
const MAX: u64 = 256 << 20;

/// What start-up needs to know of a frame, or of one report in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Note<'a> {
    /// Where the frame stands.
    pub(super) offset: u64,
    /// The message.
    pub(super) id: QueueId,
    pub(super) what: What<'a>,
}

/// What a note tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum What<'a> {
    /// A message: where its section stands in the payload, its envelope, its large body.
    Message {
        start: u32,
        len: u32,
        envelope: &'a [u8],
        large: Option<Reference>,
    },
    /// A settle frame without its reports.
    Settle(&'a [u8]),
    /// An abort frame.
    Abort(&'a [u8]),
}

/// The notes of a frame.
pub(super) fn notes<'a>(
    offset: u64,
    header: &Header,
    payload: &'a [u8],
) -> Result<Vec<Note<'a>>, DecodeError> {
    let note = |id, what| Note { offset, id, what };
    match header.kind {
        kind::COMMIT => Ok(vec![note(header.id, message(0, payload)?)]),
        kind::SETTLE => {
            let settle = Settle::parse(payload)?;
            let own = usize::try_from(settle.own_len).unwrap_or(usize::MAX);
            let own = payload.get(..own).ok_or(DecodeError::Malformed)?;
            let mut notes = vec![note(header.id, What::Settle(own))];
            for (id, start, section) in settle.reports {
                notes.push(note(id, message(start, section)?));
            }
            Ok(notes)
        }
        kind::ABORT => Abort::parse(payload).map(|_| vec![note(header.id, What::Abort(payload))]),
        other if other & 1 == 1 => Err(DecodeError::UnknownCritical(other.into())),
        _ => Ok(Vec::new()),
    }
}

fn message(start: u32, section: &[u8]) -> Result<What<'_>, DecodeError> {
    let len = u32::try_from(section.len()).map_err(|_| DecodeError::Malformed)?;
    let section = Section::parse(section)?;
    Ok(What::Message {
        start,
        len,
        envelope: section.envelope,
        large: section.reference(),
    })
}

/// A sidecar being made.
pub(super) struct Sidecar(Vec<u8>);

impl Sidecar {
    pub(super) fn new(home: Home) -> Sidecar {
        let mut octets = MAGIC.to_vec();
        octets.extend(home.generation.to_le_bytes());
        octets.extend(home.mark.to_le_bytes());
        Sidecar(octets)
    }

    pub(super) fn add(&mut self, note: &Note<'_>) {
        let (number, octets) = match note.what {
            What::Message { envelope, .. } => (kind::COMMIT, envelope),
            What::Settle(octets) => (kind::SETTLE, octets),
            What::Abort(octets) => (kind::ABORT, octets),
        };
        self.0.push(number);
        self.0.extend(note.offset.to_le_bytes());
        self.0.extend(note.id.to_bytes());
        if let What::Message {
            start, len, large, ..
        } = note.what
        {
            self.0.extend(start.to_le_bytes());
            self.0.extend(len.to_le_bytes());
            self.0.push(u8::from(large.is_some()));
            if let Some(large) = large {
                self.0.extend(large.name);
                self.0.extend(large.len.to_le_bytes());
                self.0.extend(large.crc.to_le_bytes());
            }
        }
        self.0.extend(
            u32::try_from(octets.len())
                .unwrap_or(u32::MAX)
                .to_le_bytes(),
        );
        self.0.extend_from_slice(octets);
    }

    /// Writes it beside its segment: whole or not at all.
    pub(super) fn write(mut self, folders: &Folders, home: Home) -> Result<(), Fault> {
        self.0.extend(crc32c::crc32c(&self.0).to_le_bytes());
        let path = folders.log.join(sidecar_name(home));
        let temporary = path.with_extension("tmp");
        let write = || {
            // One that a crash left behind.
            let _ = folders.disk.remove(&temporary);
            let file = folders.disk.open(&temporary, Open::CreateNew)?;
            file.write_at(0, &[IoSlice::new(&self.0)])?;
            file.sync()?;
            folders.disk.rename(&temporary, &path)?;
            folders.disk.sync_dir(&folders.log)
        };
        write().map_err(|e| {
            let _ = folders.disk.remove(&temporary);
            Fault::new("writing the sidecar", &path, e)
        })
    }
}

/// The octets of a segment's sidecar, if there is one and it is whole.
pub(super) fn read(folders: &Folders, home: Home) -> Option<Vec<u8>> {
    let path = folders.log.join(sidecar_name(home));
    let mut octets = folders.disk.read(&path, MAX).ok()?;
    let crc = octets.split_off(octets.len().checked_sub(4)?);
    let whole = crc32c::crc32c(&octets).to_le_bytes() == *crc;
    let ours = octets.starts_with(&Sidecar::new(home).0);
    (whole && ours && parse(&octets).is_some()).then_some(octets)
}

/// The notes of a sidecar.
pub(super) fn parse(octets: &[u8]) -> Option<Vec<Note<'_>>> {
    let mut rest = octets.get(HEAD..)?;
    let mut notes = Vec::new();
    while !rest.is_empty() {
        notes.push(parse_note(&mut rest)?);
    }
    Some(notes)
}

fn parse_note<'a>(rest: &mut &'a [u8]) -> Option<Note<'a>> {
    let [number] = take(rest)?;
    let offset = u64::from_le_bytes(take(rest)?);
    let id = QueueId::from_bytes(take(rest)?);
    let mut place = None;
    if number == kind::COMMIT {
        let (start, len) = (
            u32::from_le_bytes(take(rest)?),
            u32::from_le_bytes(take(rest)?),
        );
        let large = match take(rest)? {
            [0] => None,
            _ => Some(Reference {
                name: take(rest)?,
                len: u64::from_le_bytes(take(rest)?),
                crc: u32::from_le_bytes(take(rest)?),
            }),
        };
        place = Some((start, len, large));
    }
    let size = usize::try_from(u32::from_le_bytes(take(rest)?)).ok()?;
    let (octets, after) = rest.split_at_checked(size)?;
    *rest = after;
    let what = match (number, place) {
        (_, Some((start, len, large))) => What::Message {
            start,
            len,
            envelope: octets,
            large,
        },
        (kind::SETTLE, None) => What::Settle(octets),
        (kind::ABORT, None) => What::Abort(octets),
        _ => return None,
    };
    Some(Note { offset, id, what })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*head)
}
