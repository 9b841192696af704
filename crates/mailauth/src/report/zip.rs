//! Unpacking: gzip (RFC 1952), and the first file of a zip archive, within a limit.
//!
//! Nothing is unpacked beyond the limit, whatever an archive claims about itself; its directory is
//! not read. This module does **not** know encrypted archives, nor those over 4 GiB.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder};

/// Why something is not unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packed {
    /// It would be larger than the limit.
    TooLarge,
    /// It is damaged, or uses what we do not know.
    Damaged,
}

/// Unpacks what is packed, at most `octets_max` octets; what is not packed is given as it is.
pub(super) fn unpack(octets: Vec<u8>, octets_max: usize) -> Result<Vec<u8>, Packed> {
    let plain = if octets.starts_with(&[0x1f, 0x8b]) {
        read(MultiGzDecoder::new(octets.as_slice()), octets_max)?
    } else if octets.starts_with(b"PK\x03\x04") {
        first_file(&octets, octets_max)?
    } else {
        octets
    };
    match plain.len() <= octets_max {
        true => Ok(plain),
        false => Err(Packed::TooLarge),
    }
}

fn read(from: impl Read, octets_max: usize) -> Result<Vec<u8>, Packed> {
    let mut out = Vec::new();
    let limit = u64::try_from(octets_max)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let read = from.take(limit).read_to_end(&mut out);
    // What came before the damage, as a limit that was passed, decides first.
    match (out.len() > octets_max, read) {
        (true, _) => Err(Packed::TooLarge),
        (false, Ok(_)) => Ok(out),
        (false, Err(_)) => Err(Packed::Damaged),
    }
}

/// The first file: a local header, its name, its data.
fn first_file(archive: &[u8], octets_max: usize) -> Result<Vec<u8>, Packed> {
    let mut rest = archive;
    // Folders before it have no data.
    for _ in 0..16 {
        let header = rest.strip_prefix(b"PK\x03\x04").ok_or(Packed::Damaged)?;
        let number = |at: usize| -> Result<usize, Packed> {
            let octets = header.get(at..at + 2).ok_or(Packed::Damaged)?;
            Ok(octets
                .iter()
                .rev()
                .fold(0, |n, &b| n * 256 + usize::from(b)))
        };
        let (flags, method) = (number(2)?, number(4)?);
        let size = number(14)? + 65_536 * number(16)?;
        let (name, extra) = (number(22)?, number(24)?);
        let name_octets = header.get(26..26 + name).ok_or(Packed::Damaged)?;
        let data = header.get(26 + name + extra..).ok_or(Packed::Damaged)?;
        let encrypted = flags & 1 == 1;
        match method {
            _ if name_octets.ends_with(b"/") => rest = data.get(size..).ok_or(Packed::Damaged)?,
            _ if encrypted => return Err(Packed::Damaged),
            0 => {
                let stored = data.get(..size).ok_or(Packed::Damaged)?;
                return read(stored, octets_max);
            }
            // The stream knows its own end.
            8 => return read(DeflateDecoder::new(data), octets_max),
            _ => return Err(Packed::Damaged),
        }
    }
    Err(Packed::Damaged)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(octets: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(octets).unwrap();
        gzip.finish().unwrap()
    }

    fn zip(method: u16, name: &str, data: &[u8]) -> Vec<u8> {
        let mut out = b"PK\x03\x04\x14\0\0\0".to_vec();
        out.extend(method.to_le_bytes());
        out.extend([0; 8]);
        out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        out.extend([0; 4]);
        out.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        out.extend([0; 2]);
        out.extend(name.as_bytes());
        out.extend(data);
        out
    }

    #[test]
    fn a_bomb_is_put_down_at_the_limit() {
        let bomb = gzip(&vec![0; 4_000_000]);
        assert!(bomb.len() < 10_000);
        assert_eq!(unpack(bomb.clone(), 3_999_999), Err(Packed::TooLarge));
        assert_eq!(unpack(bomb, 4_000_000).map(|o| o.len()), Ok(4_000_000));
        assert_eq!(unpack(vec![b'x'; 10], 9), Err(Packed::TooLarge));
    }

    #[test]
    fn the_first_file_of_an_archive_is_read() {
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::best());
        deflate.write_all(b"report").unwrap();
        let deflated = deflate.finish().unwrap();
        let archive = [
            zip(0, "f/", b""),
            zip(8, "f/r.xml", &deflated),
            b"PK\x01\x02".to_vec(),
        ];
        assert_eq!(unpack(archive.concat(), 6), Ok(b"report".to_vec()));
        assert_eq!(unpack(archive.concat(), 5), Err(Packed::TooLarge));
        assert_eq!(unpack(zip(0, "r", b"report"), 6), Ok(b"report".to_vec()));
        assert_eq!(unpack(zip(99, "r", b"report"), 6), Err(Packed::Damaged));
        assert_eq!(
            unpack(zip(0, "f/", b"").repeat(20), 6),
            Err(Packed::Damaged)
        );
        let two = [gzip(b"a"), gzip(b"b")].concat();
        assert_eq!(unpack(two, 6), Ok(b"ab".to_vec()));
    }

    proptest! {
        #[test]
        fn no_archive_gives_more_than_the_limit(
            mut octets in proptest::collection::vec(any::<u8>(), 0..80),
            magic in prop_oneof![Just(&b"PK\x03\x04"[..]), Just(&b"\x1f\x8b\x08\0"[..])],
        ) {
            octets.splice(..0, magic.iter().copied());
            if let Ok(plain) = unpack(octets, 50) {
                prop_assert!(plain.len() <= 50);
            }
        }
    }
}
