//! Frames: how records stand in a segment.
//!
//! A frame begins at a multiple of eight octets with its segment's *mark*, a random number that
//! changes whenever the file is used again. So octets of an earlier use are never taken for frames,
//! the next frame is found after a damaged one, and what a peer sends cannot pass for a frame. It
//! does **not** know what a payload means.

use crate::id::QueueId;

/// Octets of a frame's header.
pub(super) const HEADER: usize = 40;
/// Frames begin at multiples of this.
pub(super) const ALIGN: usize = 8;
/// The first frame of a segment begins here; before it stands the segment's header.
pub(super) const FIRST: u64 = 4096;

/// What a frame holds. The lowest bit says critical: who does not know the kind sets it aside.
pub(super) mod kind {
    pub(crate) const COMMIT: u8 = 1 << 1 | 1;
    pub(crate) const SETTLE: u8 = 2 << 1 | 1;
    pub(crate) const ABORT: u8 = 3 << 1 | 1;
}

/// The segment a frame belongs to: what its checksum is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Home {
    pub(super) generation: u32,
    pub(super) mark: u64,
}

/// A frame's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) kind: u8,
    pub(super) id: QueueId,
    /// Octets of payload.
    pub(super) len: u32,
    /// Where the frame's group began: everything before it was synced before this was written.
    pub(super) group: u64,
    crc: u32,
}

impl Header {
    /// A header, not sealed yet.
    pub(super) fn new(kind: u8, id: QueueId, group: u64) -> Header {
        Header {
            kind,
            id,
            len: 0,
            group,
            crc: 0,
        }
    }

    /// The octets of this header before a payload of `parts`, one after another.
    pub(super) fn seal<'a>(
        mut self,
        home: Home,
        offset: u64,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> [u8; HEADER] {
        let len: usize = parts.clone().map(<[u8]>::len).sum();
        self.len = u32::try_from(len).unwrap_or(u32::MAX);
        self.crc = parts.fold(self.checksum(home, offset), crc32c::crc32c_append);
        let mut octets = [0; HEADER];
        fill(
            &mut octets,
            &[
                &home.mark.to_le_bytes(),
                &self.crc.to_le_bytes(),
                &self.len.to_le_bytes(),
                &self.covered(),
            ],
        );
        octets
    }

    /// Reads a header; `None` when there is none of this segment.
    pub(super) fn parse(home: Home, octets: &[u8]) -> Option<Header> {
        let (header, _) = octets.split_first_chunk::<HEADER>()?;
        let (mark, rest) = header.split_first_chunk::<8>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let ([kind, 0, 0, 0], group) = rest.split_first_chunk::<4>()? else {
            return None;
        };
        let (group, _) = group.split_first_chunk::<4>()?;
        (u64::from_le_bytes(*mark) == home.mark).then_some(Header {
            kind: *kind,
            id: QueueId::from_bytes(*id),
            len: u32::from_le_bytes(*len),
            group: u64::from(u32::from_le_bytes(*group)) * 8,
            crc: u32::from_le_bytes(*crc),
        })
    }

    /// Whether `payload` is the one that this header was sealed with, here.
    pub(super) fn fits(&self, home: Home, offset: u64, payload: &[u8]) -> bool {
        u32::try_from(payload.len()) == Ok(self.len)
            && crc32c::crc32c_append(self.checksum(home, offset), payload) == self.crc
    }

    /// The whole frame again, without padding.
    pub(super) fn frame(self, home: Home, offset: u64, payload: &[u8]) -> Vec<u8> {
        let mut octets = self.seal(home, offset, std::iter::once(payload)).to_vec();
        octets.extend_from_slice(payload);
        octets
    }

    /// Octets of the whole frame, padding included.
    pub(super) fn frame_len(&self) -> u64 {
        frame_len(u64::from(self.len))
    }

    /// Id, kind and group: what follows the length.
    fn covered(&self) -> [u8; 24] {
        let mut octets = [0; 24];
        let group = u32::try_from(self.group / 8).unwrap_or(u32::MAX);
        let kind = [self.kind, 0, 0, 0];
        fill(
            &mut octets,
            &[&self.id.to_bytes(), &kind, &group.to_le_bytes()],
        );
        octets
    }

    /// The checksum of everything but the payload, place included.
    fn checksum(&self, home: Home, offset: u64) -> u32 {
        let crc = crc32c::crc32c(&home.mark.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &home.generation.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &offset.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &self.len.to_le_bytes());
        crc32c::crc32c_append(crc, &self.covered())
    }
}

/// Lays `fields` down one after another.
fn fill(octets: &mut [u8], fields: &[&[u8]]) {
    let mut places = octets.iter_mut();
    for (octet, place) in fields
        .iter()
        .flat_map(|field| field.iter())
        .zip(&mut places)
    {
        *place = *octet;
    }
}

/// Octets of a frame with so much payload, padding included.
pub(super) fn frame_len(payload: u64) -> u64 {
    let whole = payload.saturating_add(HEADER as u64);
    whole.next_multiple_of(ALIGN as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthaste_world::{Random, Timestamp};

    struct Fixed;
    impl Random for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(9);
        }
    }

    fn sealed(home: Home, offset: u64) -> ([u8; HEADER], QueueId) {
        let id = QueueId::new(Timestamp::from_secs(5), &Fixed);
        let parts: [&[u8]; 2] = [b"one", b"two"];
        (
            Header::new(kind::COMMIT, id, 4096).seal(home, offset, parts.into_iter()),
            id,
        )
    }

    #[test]
    fn a_frame_is_valid_at_its_place_only() {
        let home = Home {
            generation: 3,
            mark: 77,
        };
        let (octets, id) = sealed(home, 4096);
        let header = Header::parse(home, &octets).unwrap();
        assert_eq!((header.kind, header.id, header.len), (kind::COMMIT, id, 6));
        assert_eq!((header.group, header.frame_len()), (4096, 48));
        assert!(header.fits(home, 4096, b"onetwo"));
        assert!(!header.fits(home, 4104, b"onetwo"));
        assert!(!header.fits(
            Home {
                generation: 4,
                ..home
            },
            4096,
            b"onetwo"
        ));
        assert!(!header.fits(home, 4096, b"onetwX"));
        assert_eq!(Header::parse(Home { mark: 78, ..home }, &octets), None);
    }

    #[test]
    fn any_flipped_bit_is_seen() {
        let home = Home {
            generation: 3,
            mark: 77,
        };
        let (octets, _) = sealed(home, 4096);
        for bit in 0..HEADER * 8 {
            let mut damaged = octets;
            damaged[bit / 8] ^= 1 << (bit % 8);
            let seen = Header::parse(home, &damaged);
            assert!(
                seen.is_none_or(|h| !h.fits(home, 4096, b"onetwo")),
                "bit {bit}"
            );
        }
    }
}
