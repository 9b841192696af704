//! Payloads: what frames hold, as octets.
//!
//! A *section* is one message: lengths, envelope, prelude, and its body or where that is. A commit
//! frame is a section; a settle frame holds new progress and the sections of its reports; an abort
//! frame names what is void. Reading is bounded and never panics.

use bytes::Bytes;

use super::change::{Body, NewMessage};
use super::prelude::{Edit, Prelude};
use super::{INLINE_MAX, PRELUDE_MAX};
use crate::envelope::{DecodeError, Envelope, Fields, Progress, Writer, critical, number};
use crate::id::QueueId;

/// Octets before a section's envelope.
const SECTION_HEAD: usize = 20;
/// Octets of a reference to a large body: name and checksum.
const REFERENCE: usize = 20;

const INLINE: u8 = 0;
const LARGE: u8 = 1;

/// Tags of a prelude.
mod prelude {
    pub(super) const TRACE: u32 = 1 << 1 | 1;
    pub(super) const INSERT: u32 = 2 << 1 | 1;
    pub(super) const REPLACE: u32 = 3 << 1 | 1;
    pub(super) const DELETE: u32 = 4 << 1 | 1;
    pub(super) const BODY: u32 = 5 << 1 | 1;
}

/// Tags of a settlement.
mod settlement {
    pub(super) const UPDATE: u32 = 1 << 1 | 1;
    pub(super) const ENDED: u32 = 2 << 1 | 1;
}

/// A file that holds a large body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reference {
    pub(super) name: [u8; 16],
    pub(super) len: u64,
    pub(super) crc: u32,
}

/// A section as it is read: borrowed from its frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section<'a> {
    pub(super) envelope: &'a [u8],
    prelude: &'a [u8],
    pub(super) body: SectionBody<'a>,
}

/// Where a section's body is.
#[derive(Clone, Copy, Debug)]
pub(super) enum SectionBody<'a> {
    Inline(&'a [u8]),
    Large(Reference),
}

/// A settle frame as it is read.
#[derive(Clone, Debug)]
pub(super) struct Settle<'a> {
    pub(super) updates: Vec<(u32, Progress)>,
    /// Segments that hold what this settlement ended; empty when it did not end the message.
    pub(super) ended: Vec<u32>,
    /// Octets that are not reports.
    pub(super) own_len: u32,
    /// The reports: id, where the section starts in the payload, and the section.
    pub(super) reports: Vec<(QueueId, u32, &'a [u8])>,
}

/// What an abort frame voids: all frames of a segment from an offset on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Abort {
    pub(super) generation: u32,
    pub(super) from: u64,
}

/// A message as the parts of a section; nothing of the body is copied.
pub(super) fn encode_message(new: &NewMessage) -> [Bytes; 2] {
    let envelope = new.envelope.encode();
    let prelude = encode_prelude(&new.prelude);
    let len = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let mut head = Vec::with_capacity(SECTION_HEAD + envelope.len() + prelude.len() + REFERENCE);
    head.extend(len(envelope.len()));
    head.extend(len(prelude.len()));
    head.extend(new.body.len().to_le_bytes());
    head.extend([
        if matches!(new.body, Body::Inline(_)) {
            INLINE
        } else {
            LARGE
        },
        0,
        0,
        0,
    ]);
    head.extend_from_slice(&envelope);
    head.extend_from_slice(&prelude);
    let body = match &new.body {
        Body::Inline(octets) => octets.clone(),
        Body::Large(large) => {
            let reference = large.reference();
            head.extend(reference.name);
            head.extend(reference.crc.to_le_bytes());
            Bytes::new()
        }
    };
    [head.into(), body]
}

impl<'a> Section<'a> {
    /// Reads a section.
    pub(super) fn parse(octets: &'a [u8]) -> Result<Section<'a>, DecodeError> {
        Section::split(octets).ok_or(DecodeError::Malformed)
    }

    fn split(octets: &'a [u8]) -> Option<Section<'a>> {
        let (envelope_len, rest) = octets.split_first_chunk::<4>()?;
        let (prelude_len, rest) = rest.split_first_chunk::<4>()?;
        let (body_len, rest) = rest.split_first_chunk::<8>()?;
        let ([kind, 0, 0, 0], rest) = rest.split_first_chunk::<4>()? else {
            return None;
        };
        let size = |len: &[u8; 4]| usize::try_from(u32::from_le_bytes(*len)).ok();
        let (envelope, rest) = rest.split_at_checked(size(envelope_len)?)?;
        let (prelude, rest) = rest.split_at_checked(size(prelude_len)?)?;
        let len = u64::from_le_bytes(*body_len);
        let body = match *kind {
            INLINE => (u64::try_from(rest.len()) == Ok(len)).then_some(SectionBody::Inline(rest)),
            LARGE => {
                let (name, rest) = rest.split_first_chunk::<16>()?;
                let (crc, _) = rest.split_first_chunk::<4>()?;
                let reference = Reference {
                    name: *name,
                    len,
                    crc: u32::from_le_bytes(*crc),
                };
                Some(SectionBody::Large(reference))
            }
            _ => None,
        }?;
        Some(Section {
            envelope,
            prelude,
            body,
        })
    }

    /// The file that holds the body, if it is not inline.
    pub(super) fn reference(&self) -> Option<Reference> {
        match self.body {
            SectionBody::Large(reference) => Some(reference),
            SectionBody::Inline(_) => None,
        }
    }

    /// The envelope.
    pub(super) fn envelope(&self, id: QueueId) -> Result<Envelope, DecodeError> {
        Envelope::decode(id, self.envelope)
    }

    /// The prelude.
    pub(super) fn prelude(&self) -> Result<Prelude, DecodeError> {
        decode_prelude(self.prelude)
    }
}

/// A settlement as the parts of a payload.
pub(super) fn encode_settle(
    updates: &[(u32, Progress)],
    ended: &[u32],
    reports: &[&NewMessage],
) -> Vec<Bytes> {
    let mut w = Writer::new();
    for (index, progress) in updates {
        let mut update = Writer::new();
        update.varint((*index).into());
        let mut octets = update.into_bytes();
        octets.extend(progress.encode());
        w.bytes(settlement::UPDATE, &octets);
    }
    for generation in ended {
        w.number(settlement::ENDED, (*generation).into());
    }
    let fields = w.into_bytes();
    let mut head = Vec::with_capacity(fields.len() + 4);
    head.extend(
        u32::try_from(fields.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    head.extend(fields);
    let mut parts = vec![Bytes::from(head)];
    for report in reports {
        let [head, body] = encode_message(report);
        let len = u32::try_from(head.len() + body.len()).unwrap_or(u32::MAX);
        let mut before = Vec::with_capacity(20);
        before.extend(report.envelope.id.to_bytes());
        before.extend(len.to_le_bytes());
        parts.extend([before.into(), head, body]);
    }
    parts
}

impl<'a> Settle<'a> {
    /// Reads a settle frame's payload.
    pub(super) fn parse(payload: &'a [u8]) -> Result<Settle<'a>, DecodeError> {
        let whole = payload.len();
        let (len, rest) = payload
            .split_first_chunk::<4>()
            .ok_or(DecodeError::Malformed)?;
        let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
        let (head, mut rest) = rest.split_at_checked(len).ok_or(DecodeError::Malformed)?;
        let mut settle = Settle {
            updates: Vec::new(),
            ended: Vec::new(),
            own_len: narrow(whole - rest.len())?,
            reports: Vec::new(),
        };
        let mut fields = Fields::new(head);
        while let Some(field) = fields.field() {
            match field? {
                (settlement::UPDATE, value) => {
                    let mut value = Fields::new(value);
                    let index = value.varint().and_then(|n| u32::try_from(n).ok());
                    let progress = Progress::decode(value.rest())?;
                    settle
                        .updates
                        .push((index.ok_or(DecodeError::Malformed)?, progress));
                }
                (settlement::ENDED, value) => {
                    let generation = number(value).and_then(|n| u32::try_from(n).ok());
                    settle.ended.push(generation.ok_or(DecodeError::Malformed)?);
                }
                (tag, _) if critical(tag) => return Err(DecodeError::UnknownCritical(tag)),
                _ => {}
            }
        }
        while !rest.is_empty() {
            let (id, section, after) = report(rest).ok_or(DecodeError::Malformed)?;
            let start = whole - after.len() - section.len();
            settle.reports.push((id, narrow(start)?, section));
            rest = after;
        }
        Ok(settle)
    }
}

impl Abort {
    pub(super) fn encode(self) -> Bytes {
        let mut octets = self.generation.to_le_bytes().to_vec();
        octets.extend(self.from.to_le_bytes());
        octets.into()
    }

    pub(super) fn parse(payload: &[u8]) -> Result<Abort, DecodeError> {
        let parse = || {
            let (generation, rest) = payload.split_first_chunk::<4>()?;
            let (from, _) = rest.split_first_chunk::<8>()?;
            let generation = u32::from_le_bytes(*generation);
            Some(Abort {
                generation,
                from: u64::from_le_bytes(*from),
            })
        };
        parse().ok_or(DecodeError::Malformed)
    }
}

impl Prelude {
    /// Whether it keeps its limits.
    pub(super) fn fits(&self) -> bool {
        let edits = self.edits.iter().map(|edit| match edit {
            Edit::Insert { field, .. } => field.len(),
            Edit::Replace { name, field, .. } => name.len() + field.len(),
            Edit::Delete { name, .. } => name.len(),
        });
        let body = self
            .body
            .as_ref()
            .is_none_or(|body| body.len() <= INLINE_MAX);
        body && self.trace.len() + edits.sum::<usize>() <= PRELUDE_MAX
    }
}

fn encode_prelude(p: &Prelude) -> Vec<u8> {
    let mut w = Writer::new();
    if !p.trace.is_empty() {
        w.bytes(prelude::TRACE, &p.trace);
    }
    for edit in &p.edits {
        let (tag, place, name, field): (_, _, &str, &[u8]) = match edit {
            Edit::Insert { at, field } => (prelude::INSERT, at, "", field),
            Edit::Replace { name, nth, field } => (prelude::REPLACE, nth, name, field),
            Edit::Delete { name, nth } => (prelude::DELETE, nth, name, &[]),
        };
        let mut value = Writer::new();
        value.varint((*place).into());
        value.varint(u64::try_from(name.len()).unwrap_or(u64::MAX));
        let mut value = value.into_bytes();
        value.extend_from_slice(name.as_bytes());
        value.extend_from_slice(field);
        w.bytes(tag, &value);
    }
    if let Some(body) = &p.body {
        w.bytes(prelude::BODY, body);
    }
    w.into_bytes()
}

fn decode_prelude(octets: &[u8]) -> Result<Prelude, DecodeError> {
    let mut p = Prelude::default();
    let mut fields = Fields::new(octets);
    while let Some(field) = fields.field() {
        match field? {
            (prelude::TRACE, value) => p.trace.extend_from_slice(value),
            (prelude::BODY, value) => p.body = Some(Bytes::copy_from_slice(value)),
            (tag @ (prelude::INSERT | prelude::REPLACE | prelude::DELETE), value) => {
                p.edits
                    .push(edit(tag, value).ok_or(DecodeError::Malformed)?);
            }
            (tag, _) if critical(tag) => return Err(DecodeError::UnknownCritical(tag)),
            _ => {}
        }
    }
    Ok(p)
}

fn edit(tag: u32, value: &[u8]) -> Option<Edit> {
    let mut value = Fields::new(value);
    let nth = u32::try_from(value.varint()?).ok()?;
    let name: Box<str> = std::str::from_utf8(value.sized()?).ok()?.into();
    let field = value.rest().into();
    Some(match tag {
        prelude::INSERT => Edit::Insert { at: nth, field },
        prelude::REPLACE => Edit::Replace { name, nth, field },
        _ => Edit::Delete { name, nth },
    })
}

/// One report: its id, its section, and what follows.
fn report(octets: &[u8]) -> Option<(QueueId, &[u8], &[u8])> {
    let (id, rest) = octets.split_first_chunk::<16>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let (section, rest) = rest.split_at_checked(len)?;
    Some((QueueId::from_bytes(*id), section, rest))
}

fn narrow(n: usize) -> Result<u32, DecodeError> {
    u32::try_from(n).map_err(|_| DecodeError::Malformed)
}
