//! Reading a segment frame by frame, over damage.
//!
//! A gap between two frames is damage if what follows it was written after a sync of the gap;
//! otherwise it is *torn*: written by a group whose sync never ended, so nobody was promised it. It
//! does **not** understand payloads.

use std::io;
use std::sync::Arc;

use posthaste_world::File;

use super::PAYLOAD_MAX;
use super::frame::{ALIGN, FIRST, HEADER, Header, Home};

/// Octets read at once.
const CHUNK: usize = 1 << 20;

/// What stands at a place of the log.
pub(super) enum Found<'a> {
    /// A frame.
    Frame(u64, Header, &'a [u8]),
    /// Octets that are no frame, up to the next frame or the end of what was written.
    Gap(Gap),
}

/// Octets that are no frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gap {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// A walk over a segment's frames.
pub(super) struct Walk {
    home: Home,
    file: Arc<dyn File>,
    at: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
    /// The latest start of a group that a frame named.
    group: u64,
}

impl Walk {
    /// Starts at the first frame of `file`, or at `from` when that lies behind it.
    pub(super) fn new(home: Home, file: Arc<dyn File>, from: u64) -> io::Result<Walk> {
        let end = file.len()?;
        let at = from.max(FIRST);
        let (window, window_at, group) = (Vec::new(), 0, FIRST);
        Ok(Walk {
            home,
            file,
            at,
            end,
            window,
            window_at,
            group,
        })
    }

    /// Where it stands: behind the last frame or gap.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Whether a gap was never synced. Ask when the walk is over.
    pub(super) fn torn(&self, gap: Gap) -> bool {
        gap.from >= self.group
    }

    /// The next frame or gap; `None` at the end of what was written.
    pub(super) fn next(&mut self) -> io::Result<Option<Found<'_>>> {
        let at = self.at;
        let Some(header) = self.frame_at(at)? else {
            return Ok(self.gap(at)?.map(Found::Gap));
        };
        self.at = at + header.frame_len();
        self.group = self.group.max(header.group);
        let payload = self.view(at + HEADER as u64, size(header.len))?;
        Ok(Some(Found::Frame(at, header, payload)))
    }

    /// The header of a whole and undamaged frame at `at`.
    fn frame_at(&mut self, at: u64) -> io::Result<Option<Header>> {
        let home = self.home;
        let Some(header) = Header::parse(home, self.view(at, HEADER)?) else {
            return Ok(None);
        };
        // The padding may be cut off.
        let payload_at = at + HEADER as u64;
        if payload_at.saturating_add(header.len.into()) > self.end || size(header.len) > PAYLOAD_MAX
        {
            return Ok(None);
        }
        let payload = self.view(payload_at, size(header.len))?;
        Ok(header.fits(home, at, payload).then_some(header))
    }

    /// Looks for the next frame; without one, the gap is what a damaged last frame may take.
    fn gap(&mut self, from: u64) -> io::Result<Option<Gap>> {
        let mut seen = None;
        let mut at = from;
        while let Some(candidate) = self.mark_at_or_after(at)? {
            if candidate > from && self.frame_at(candidate)?.is_some() {
                self.at = candidate;
                return Ok(Some(Gap {
                    from,
                    to: candidate,
                }));
            }
            seen = Some(candidate);
            at = candidate + ALIGN as u64;
        }
        self.at = self.end;
        let Some(last) = seen else { return Ok(None) };
        let home = self.home;
        let header = Header::parse(home, self.view(last, HEADER)?);
        let len = header.map_or(HEADER as u64, |h| h.frame_len().min(PAYLOAD_MAX as u64));
        Ok(Some(Gap {
            from,
            to: last.saturating_add(len).min(self.end),
        }))
    }

    /// The next place at which the mark stands.
    fn mark_at_or_after(&mut self, mut at: u64) -> io::Result<Option<u64>> {
        let mark = self.home.mark.to_le_bytes();
        while at + (HEADER as u64) <= self.end {
            let view = self.view(at, CHUNK)?;
            let (words, _) = view.as_chunks::<ALIGN>();
            if let Some(n) = words.iter().position(|word| *word == mark) {
                return Ok(Some(at + (n * ALIGN) as u64));
            }
            let n = words.len().max(1);
            at += (n * ALIGN) as u64;
        }
        Ok(None)
    }

    /// Up to `len` octets from `at`; fewer at the end of the file.
    fn view(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let within = |base: u64| usize::try_from(at.checked_sub(base)?).ok();
        let have = within(self.window_at).and_then(|start| {
            let end = start.checked_add(len)?;
            (end <= self.window.len()).then_some(start..end)
        });
        let range = match have {
            Some(range) => range,
            None => {
                self.window.resize(len.max(CHUNK).min(left), 0);
                let n = self.file.read_at(at, &mut self.window)?;
                self.window.truncate(n);
                self.window_at = at;
                0..len.min(n)
            }
        };
        Ok(self.window.get(range).unwrap_or_default())
    }
}

fn size(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
