//! A queued message as it is read: its envelope, and its octets with the prelude applied.
//!
//! The octets come piece by piece: what we put on top, the header block (edited if filters asked
//! for it), the body. Nothing of an unedited body is copied, and a large one is read in chunks
//! whose checksum is compared before the last one is given out. It does **not** render what differs
//! between recipients.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use posthaste_world::Work;
use posthaste_world::work::Pool;

use super::large::LargeBody;
use super::prelude::{Edit, Prelude};
use crate::envelope::Envelope;

/// Octets of a large body read at once.
const CHUNK: usize = 128 << 10;

/// Octets of a header block that edits are applied to, at most; what lies behind counts as body.
const BLOCK_MAX: usize = 512 << 10;

/// A queued message: its envelope as it stands now, and where its octets are.
#[derive(Clone, Debug)]
pub struct Stored {
    envelope: Arc<Envelope>,
    prelude: Arc<Prelude>,
    source: Source,
    work: Option<Pools>,
}

/// Where the received octets are.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Memory(Bytes),
    File(LargeBody),
}

#[derive(Clone)]
struct Pools(Arc<dyn Work>);

impl std::fmt::Debug for Pools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pools")
    }
}

impl Stored {
    pub(super) fn new(envelope: Arc<Envelope>, prelude: Arc<Prelude>, source: Source) -> Self {
        Stored {
            envelope,
            prelude,
            source,
            work: None,
        }
    }

    /// Lets large bodies be read on a pool.
    pub(super) fn on(mut self, work: Arc<dyn Work>) -> Self {
        self.work = Some(Pools(work));
        self
    }

    pub(super) fn envelope_mut(&mut self) -> &mut Envelope {
        Arc::make_mut(&mut self.envelope)
    }

    /// The envelope, with all progress made so far.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// What we put in front of, or changed in, the received octets.
    #[must_use]
    pub fn prelude(&self) -> &Prelude {
        &self.prelude
    }

    /// Octets of the content at most: exact unless filters changed fields.
    #[must_use]
    pub fn size(&self) -> u64 {
        let body = match &self.source {
            Source::Memory(octets) => octets.len() as u64,
            Source::File(large) => large.len(),
        };
        let fields = self.prelude.edits.iter().map(|edit| match edit {
            Edit::Insert { field, .. } | Edit::Replace { field, .. } => field.len() as u64,
            Edit::Delete { .. } => 0,
        });
        let replaced = self
            .prelude
            .body
            .as_ref()
            .map_or(0, |body| body.len() as u64);
        body + self.prelude.trace.len() as u64 + fields.sum::<u64>() + replaced
    }

    /// The message's octets, prelude applied, piece by piece from the start.
    #[must_use]
    pub fn content(&self) -> Content {
        let mut ready = VecDeque::new();
        if !self.prelude.trace.is_empty() {
            ready.push_back(Bytes::copy_from_slice(&self.prelude.trace));
        }
        let raw = match &self.source {
            Source::Memory(octets) => Raw::Memory(octets.clone()),
            Source::File(large) => Raw::File {
                large: large.clone(),
                at: 0,
                crc: 0,
            },
        };
        let edited = !self.prelude.edits.is_empty() || self.prelude.body.is_some();
        let edits = edited.then(|| self.prelude.clone());
        Content {
            ready,
            raw,
            edits,
            work: self.work.clone(),
        }
    }
}

/// The octets of a message, prelude applied. Small messages come from memory in a piece or two,
/// without a copy; large ones from disk.
#[derive(Debug)]
pub struct Content {
    ready: VecDeque<Bytes>,
    raw: Raw,
    /// The prelude, until its edits are applied.
    edits: Option<Arc<Prelude>>,
    work: Option<Pools>,
}

impl Content {
    /// The next piece, never empty; `None` at the end. Disk reads happen on a pool.
    ///
    /// # Errors
    /// When the disk fails, or the message on it is damaged; and for ever after a call that was
    /// dropped before its end.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.in_memory() {
            return self.next_blocking();
        }
        let Some(Pools(work)) = self.work.clone() else {
            return self.next_blocking();
        };
        let mut content = std::mem::replace(self, Content::lost());
        let read = work
            .on(Pool::Disk, move || (content.next_blocking(), content))
            .await;
        let (piece, content) = read.map_err(io::Error::other)?;
        *self = content;
        piece
    }

    /// As [`Content::next`], reading on this thread: for jobs on a pool, and for tests.
    ///
    /// # Errors
    /// When the disk fails, or the message on it is damaged.
    pub fn next_blocking(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(piece) = self.ready.pop_front() {
            return Ok(Some(piece));
        }
        if let Some(prelude) = self.edits.take() {
            self.edit(&prelude)?;
            return self.next_blocking();
        }
        self.raw.next()
    }

    /// Whether the next piece needs no disk.
    fn in_memory(&self) -> bool {
        !self.ready.is_empty() || matches!(self.raw, Raw::Memory(_))
    }

    /// What is left when a read is dropped: it must not look like the end of the message.
    fn lost() -> Content {
        Content {
            ready: VecDeque::new(),
            raw: Raw::Lost,
            edits: None,
            work: None,
        }
    }

    /// Reads the header block, applies the edits, and leaves the body.
    fn edit(&mut self, prelude: &Prelude) -> io::Result<()> {
        let mut head = BytesMut::new();
        while head.len() < BLOCK_MAX
            && block_end(&head).is_none()
            && let Some(piece) = self.raw.next()?
        {
            head.extend_from_slice(&piece);
        }
        let mut block = head.freeze();
        let body = block.split_off(block_end(&block).unwrap_or(block.len()));
        let fields = apply(&block, &prelude.edits);
        self.ready
            .extend(Some(fields).filter(|fields| !fields.is_empty()));
        match &prelude.body {
            None => self
                .ready
                .extend(Some(body).filter(|body| !body.is_empty())),
            Some(replaced) => {
                self.raw = Raw::Memory(Bytes::new());
                self.ready.push_back(Bytes::from_static(b"\r\n"));
                self.ready
                    .extend(Some(replaced.clone()).filter(|body| !body.is_empty()));
            }
        }
        Ok(())
    }
}

/// The received octets, from where they stand on.
#[derive(Debug)]
enum Raw {
    Memory(Bytes),
    /// A read was dropped before its end.
    Lost,
    File {
        large: LargeBody,
        at: u64,
        crc: u32,
    },
}

impl Raw {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Raw::Lost => Err(io::Error::other("an earlier read was given up")),
            Raw::Memory(octets) => {
                Ok(Some(std::mem::take(octets)).filter(|octets| !octets.is_empty()))
            }
            Raw::File { large, at, crc } => {
                let left = usize::try_from(large.len() - *at).unwrap_or(usize::MAX);
                if left == 0 {
                    return Ok(None);
                }
                let mut chunk = vec![0; left.min(CHUNK)];
                let n = large.file().read_at(*at, &mut chunk)?;
                if n < chunk.len() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *crc = crc32c::crc32c_append(*crc, &chunk);
                *at += chunk.len() as u64;
                if *at == large.len() && *crc != large.reference().crc {
                    let what = "the file of the large body is damaged";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                Ok(Some(chunk.into()))
            }
        }
    }
}

/// Where the fields end, if they do so in `head`: at an empty line, or before a line that is
/// neither a field nor a continuation (RFC 5322 §2.1, §2.2).
fn block_end(head: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(rest) = head.get(at..).filter(|rest| !rest.is_empty()) {
        let len = rest.iter().position(|octet| *octet == b'\n')? + 1;
        let line = rest.get(..len).unwrap_or(rest);
        if !line.starts_with(b" ") && !line.starts_with(b"\t") && name(line).is_none() {
            return Some(at);
        }
        at += len;
    }
    None
}

/// A field's name: printable ASCII before the colon, white space between the two left out.
fn name(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|octet| *octet == b':')?;
    let name = line.get(..colon)?.trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}

/// Applies edits to the fields of a header block.
fn apply(block: &[u8], edits: &[Edit]) -> Bytes {
    let mut fields: Vec<&[u8]> = Vec::new();
    let mut start = 0;
    let mut at = 0;
    for line in block.split_inclusive(|octet| *octet == b'\n') {
        let continues = line.starts_with(b" ") || line.starts_with(b"\t");
        if !continues && at > start {
            fields.extend(block.get(start..at));
            start = at;
        }
        at += line.len();
    }
    fields.extend(block.get(start..at).filter(|field| !field.is_empty()));
    for edit in edits {
        change(&mut fields, edit);
    }
    fields.concat().into()
}

fn change<'a>(fields: &mut Vec<&'a [u8]>, edit: &'a Edit) {
    let nth = |fields: &[&[u8]], wanted: &str, nth: u32| {
        let same = |field: &[u8]| {
            name(field).is_some_and(|name| name.eq_ignore_ascii_case(wanted.as_bytes()))
        };
        let mut places = fields.iter().enumerate().filter(|(_, field)| same(field));
        places
            .nth(usize::try_from(nth).ok()?)
            .map(|(place, _)| place)
    };
    match edit {
        Edit::Insert { at, field } => {
            let at = usize::try_from(*at).unwrap_or(usize::MAX).min(fields.len());
            fields.insert(at, field);
        }
        Edit::Replace {
            name,
            nth: n,
            field,
        } => match nth(fields, name, *n) {
            Some(place) => fields.splice(place..=place, [&field[..]]).for_each(drop),
            None => fields.push(field),
        },
        Edit::Delete { name, nth: n } => {
            if let Some(place) = nth(fields, name, *n) {
                fields.remove(place);
            }
        }
    }
}
