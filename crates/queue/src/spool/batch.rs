//! A batch: the frames of one write, and what they will change in the index and the books.
//!
//! Nothing of it is applied before its sync; when that fails the batch is dropped, and the index is
//! as it was. It does **not** touch the disk.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::frame::{HEADER, Home, frame_len};
use super::index::{Entry, Open, Place, Settled, Spot};
use super::record::Abort;
use crate::id::QueueId;

/// A frame to be written.
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) id: QueueId,
    pub(super) parts: Vec<Bytes>,
}

/// A frame and what it means, before it has a place.
pub(super) struct Draft {
    pub(super) frame: Frame,
    pub(super) meaning: Meaning,
}

/// What a frame does.
pub(super) enum Meaning {
    /// A message enters, or moves here.
    Enter(Arrival),
    /// A message goes on, or ends.
    Settle(Settling),
    /// A tomb or an abort moves here from a segment that is being emptied (or is new).
    Keep {
        /// What it is needed for.
        closes: Vec<u32>,
        /// The frame it stood in, and the octets it took there.
        from: Option<(Place, u32)>,
    },
}

/// A message that a frame brings.
pub(super) struct Arrival {
    pub(super) id: QueueId,
    pub(super) open: Open,
    pub(super) large: Option<super::record::Reference>,
    pub(super) start: u32,
    pub(super) len: u32,
}

/// What a settle frame does.
pub(super) struct Settling {
    pub(super) id: QueueId,
    /// Octets of the frame that are not reports.
    pub(super) len: u32,
    /// The recipients that are open from now on.
    pub(super) open: Open,
    /// Where the message's end must be remembered for; empty while it goes on.
    pub(super) ended: Vec<u32>,
    /// Whether it replaces all settle frames before.
    pub(super) merged: bool,
    pub(super) reports: Vec<Arrival>,
}

/// A change to the books.
#[derive(Clone, Copy)]
pub(super) enum Book {
    /// Octets that a segment must keep, more or less.
    Live(u32, i64),
    /// Octets in `holder` that are needed as long as `on` exists, more or less.
    Pin { on: u32, holder: u32, octets: i64 },
    /// What this frame is needed for stands elsewhere now, should it be walked over again.
    Moved(Place),
    /// A large body that nobody needs.
    Garbage([u8; 16]),
}

/// The frames of one write.
pub(super) struct Batch {
    pub(super) home: Home,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) frames: Vec<(u64, Frame)>,
    /// Entries as they will be; `None` for one that ends.
    pub(super) entries: BTreeMap<QueueId, Option<Entry>>,
    pub(super) books: Vec<Book>,
    /// Messages with a settlement that brings reports.
    pub(super) reported: BTreeSet<QueueId>,
    /// Which changes of the group it holds.
    pub(super) slots: Vec<usize>,
}

impl Frame {
    /// Octets of the payload.
    pub(super) fn payload_len(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum()
    }

    /// Octets in the segment.
    pub(super) fn len(&self) -> u64 {
        frame_len(self.payload_len())
    }
}

/// What so many octets of a payload count for in the books.
pub(super) fn cost(len: u32) -> i64 {
    i64::from(len) + i64::try_from(HEADER).unwrap_or(0)
}

impl Batch {
    pub(super) fn new(home: Home, start: u64) -> Batch {
        Batch {
            home,
            start,
            end: start,
            frames: Vec::new(),
            entries: BTreeMap::new(),
            books: Vec::new(),
            reported: BTreeSet::new(),
            slots: Vec::new(),
        }
    }

    /// Whether a place is in this batch, so that nothing can be read there yet.
    pub(super) fn holds(&self, place: Place) -> bool {
        place.segment == self.home.generation && place.offset() >= self.start
    }

    /// Adds a frame. `before` is the message's entry as this batch leaves it so far.
    pub(super) fn push(&mut self, draft: Draft, before: Option<Entry>) {
        let place = Place::new(self.home.generation, self.end);
        let payload = u32::try_from(draft.frame.payload_len()).unwrap_or(u32::MAX);
        self.end += draft.frame.len();
        self.frames.push((place.offset(), draft.frame));
        match draft.meaning {
            Meaning::Enter(arrival) => {
                if let Some(before) = before {
                    self.forget(&before);
                }
                self.enter(place, arrival);
            }
            Meaning::Settle(settling) => self.settle(place, settling, before),
            Meaning::Keep { closes, from } => self.keep(payload, &closes, from),
        }
    }

    fn enter(&mut self, frame: Place, arrival: Arrival) {
        self.books
            .push(Book::Live(frame.segment, cost(arrival.len)));
        let at = Spot {
            frame,
            start: arrival.start,
            len: arrival.len,
        };
        let large = arrival.large.map(Box::new);
        let entry = Entry {
            at,
            open: arrival.open,
            settled: None,
            large,
        };
        self.entries.insert(arrival.id, Some(entry));
    }

    fn settle(&mut self, frame: Place, settling: Settling, before: Option<Entry>) {
        if !settling.reports.is_empty() {
            self.reported.insert(settling.id);
        }
        for report in settling.reports {
            self.enter(frame, report);
        }
        let Some(mut entry) = before else { return };
        if settling.open.is_empty() {
            self.forget(&entry);
            if let Some(large) = &entry.large {
                self.books.push(Book::Garbage(large.name));
            }
            self.entries.insert(settling.id, None);
            return self.keep(settling.len, &settling.ended, None);
        }
        if settling.merged {
            self.forget_settled(&entry);
            entry.settled = None;
        }
        self.books
            .push(Book::Live(frame.segment, cost(settling.len)));
        entry.settle(Settled {
            frame,
            len: settling.len,
        });
        entry.open = settling.open;
        self.entries.insert(settling.id, Some(entry));
    }

    /// Notes that a frame of this batch is needed as long as the segments in `closes` exist.
    fn keep(&mut self, len: u32, closes: &[u32], from: Option<(Place, u32)>) {
        let holder = self.home.generation;
        if let Some((from, _)) = from {
            self.books.push(Book::Moved(from));
        }
        for &on in closes.iter().filter(|on| **on != holder) {
            self.books.push(Book::Live(holder, cost(len)));
            self.books.push(Book::Pin {
                on,
                holder,
                octets: cost(len),
            });
            if let Some((from, len)) = from {
                self.books.push(Book::Live(from.segment, -cost(len)));
                self.books.push(Book::Pin {
                    on,
                    holder: from.segment,
                    octets: -cost(len),
                });
            }
        }
    }

    fn forget(&mut self, entry: &Entry) {
        self.books
            .push(Book::Live(entry.at.frame.segment, -cost(entry.at.len)));
        self.forget_settled(entry);
    }

    fn forget_settled(&mut self, entry: &Entry) {
        for settled in entry.settled() {
            self.books
                .push(Book::Live(settled.frame.segment, -cost(settled.len)));
        }
    }
}

impl Draft {
    /// An abort frame.
    pub(super) fn abort(abort: Abort, from: Option<(Place, u32)>) -> Draft {
        let frame = Frame {
            kind: super::frame::kind::ABORT,
            id: QueueId::from_bytes([0; 16]),
            parts: vec![abort.encode()],
        };
        Draft {
            frame,
            meaning: Meaning::Keep {
                closes: vec![abort.generation],
                from,
            },
        }
    }
}
