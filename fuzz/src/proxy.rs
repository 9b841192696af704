//! The header of a proxy.

use posthaste::listen::proxy::{Progress, V2_MAX, parse};

/// Any octets as what a proxy sends: read whole or octet by octet the answer is the same, no octet
/// behind a header is taken, and nothing is read beyond the bound.
pub fn header(octets: &[u8]) {
    let (whole, _) = read(octets, usize::MAX);
    let (slow, taken) = read(octets, 1);
    assert_eq!(whole, slow);
    assert!(taken <= V2_MAX);
    match whole {
        Progress::Done(header) => assert_eq!(taken, header.length),
        Progress::Need(missing) => assert!(missing > 0 && taken == octets.len()),
        Progress::Bad(why) => assert!(!why.is_empty()),
    }
}

/// Reads as the listener does, in pieces; and how much was taken.
fn read(octets: &[u8], piece: usize) -> (Progress, usize) {
    let mut taken = 0;
    loop {
        let progress = parse(&octets[..taken]);
        match progress {
            Progress::Need(missing) if taken < octets.len() => {
                assert!(missing > 0);
                taken += missing.min(piece).min(octets.len() - taken);
            }
            _ => return (progress, taken),
        }
    }
}
