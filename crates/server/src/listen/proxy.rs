//! The PROXY protocol, versions 1 and 2: how a proxy in front of us names its client (HAProxy,
//! "The PROXY protocol", 2020). A parser without I/O.
//!
//! The header is followed at once by what the client says, so it is read exactly: [`parse`] says
//! how many octets surely are missing, and never asks for one behind the header. A version 1
//! header has at most [`V1_MAX`] octets, one of version 2 at most [`V2_MAX`]; of its extensions
//! (TLV) the checksum is checked, the others are passed over.
//!
//! It does **not** decide who may send a header: the listener's `proxy_protocol_from` does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, with its CRLF (§2.1).
pub const V1_MAX: usize = 107;
/// Shortest header of version 1: `PROXY UNKNOWN` and CRLF.
const V1_MIN: usize = 15;
/// What a header of version 2 begins with (§2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family and length of a header of version 2.
const V2_FIXED: usize = 16;
/// Longest header of version 2 that is read. Addresses take 216 octets at most, the rest is for
/// extensions: a client's certificate fits. The protocol's own bound is 65,551.
pub const V2_MAX: usize = V2_FIXED + 8 * 1024;
/// The extension that holds a CRC32c of the whole header (§2.2.3).
const TLV_CRC32C: u8 = 0x03;

/// What is known after some octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many octets are missing at least; at least 1.
    Need(usize),
    /// A header.
    Done(Header),
    /// What comes is no header that can be used; why.
    Bad(&'static str),
}

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The client; an address mapped from IPv4 is given as IPv4. None where the proxy names nobody:
    /// it connects for itself (LOCAL), or does not know, or the client came over a Unix socket.
    pub client: Option<SocketAddr>,
    /// Its length in octets.
    pub length: usize,
}

/// Reads the header at the start of `octets`.
#[must_use]
pub fn parse(octets: &[u8]) -> Progress {
    let common = |signature: &[u8]| {
        let n = octets.len().min(signature.len());
        octets.get(..n) == signature.get(..n)
    };
    if common(b"PROXY ") {
        return parse_v1(octets);
    }
    if !common(&SIGNATURE) {
        return Progress::Bad("it begins with no PROXY header");
    }
    let Some((fixed, rest)) = octets.split_first_chunk::<V2_FIXED>() else {
        return Progress::Need(V2_FIXED - octets.len());
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if V2_FIXED + length > V2_MAX {
        return Progress::Bad("the PROXY header is too long");
    }
    let Some(block) = rest.get(..length) else {
        return Progress::Need(length - rest.len());
    };
    let header = octets.get(..V2_FIXED + length).unwrap_or_default();
    match client_v2(command, family, block).and_then(|(client, extensions)| {
        check_extensions(header, extensions)?;
        Ok(client)
    }) {
        Ok(client) => Progress::Done(Header {
            client,
            length: header.len(),
        }),
        Err(why) => Progress::Bad(why),
    }
}

/// §2.1: one line of text.
fn parse_v1(octets: &[u8]) -> Progress {
    let line = octets.get(..V1_MAX).unwrap_or(octets);
    let Some(lf) = line.iter().position(|c| *c == b'\n') else {
        return match V1_MAX - line.len() {
            0 => Progress::Bad("the PROXY line is too long"),
            1 => Progress::Need(1),
            _ if line.len() < V1_MIN => Progress::Need(V1_MIN - line.len()),
            // A CR at the end may be followed by the LF; anything else is followed by both.
            _ if line.last() == Some(&b'\r') => Progress::Need(1),
            _ => Progress::Need(2),
        };
    };
    let text = line.get(..lf).and_then(|l| l.strip_suffix(b"\r"));
    let text = text.and_then(|t| std::str::from_utf8(t).ok());
    match text.and_then(client_v1) {
        Some(client) => Progress::Done(Header {
            client,
            length: lf + 1,
        }),
        None => Progress::Bad("the PROXY line cannot be read"),
    }
}

/// The client of a line without its CRLF; what follows `UNKNOWN` is ignored, as §2.1 asks.
fn client_v1(line: &str) -> Option<Option<SocketAddr>> {
    let rest = line.strip_prefix("PROXY ")?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let mut words = rest.split(' ');
    let family = words.next()?;
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse().ok().map(IpAddr::V4),
            "TCP6" => text.parse().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let client = address(words.next()?)?;
    address(words.next()?)?;
    let client_port = port(words.next()?)?;
    port(words.next()?)?;
    if words.next().is_some() {
        return None;
    }
    Some(Some(SocketAddr::new(client.to_canonical(), client_port)))
}

fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// The client, and the extensions behind the addresses (§2.2).
fn client_v2(
    command: u8,
    family: u8,
    block: &[u8],
) -> Result<(Option<SocketAddr>, &[u8]), &'static str> {
    const SHORT: &str = "the PROXY header is shorter than its addresses";
    match command {
        // LOCAL: the rest, family included, is to be ignored.
        0x20 => return Ok((None, &[])),
        0x21 => {}
        _ => return Err("the PROXY header has an unknown version or command"),
    }
    match family {
        // Of no family: whatever follows is ignored, too.
        0x00..=0x02 => Ok((None, &[])),
        0x11 => {
            let (addresses, rest) = block.split_first_chunk::<12>().ok_or(SHORT)?;
            let [a, b, c, d, _, _, _, _, high, low, ..] = *addresses;
            let ip = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
            let port = u16::from_be_bytes([high, low]);
            Ok((Some(SocketAddr::new(ip, port)), rest))
        }
        0x21 => {
            let (addresses, rest) = block.split_first_chunk::<36>().ok_or(SHORT)?;
            let (client, after) = addresses.split_first_chunk::<16>().ok_or(SHORT)?;
            let ports = after.last_chunk::<4>().ok_or(SHORT)?;
            let ip = IpAddr::V6(Ipv6Addr::from(*client)).to_canonical();
            let [high, low, ..] = *ports;
            let port = u16::from_be_bytes([high, low]);
            Ok((Some(SocketAddr::new(ip, port)), rest))
        }
        0x31 | 0x32 => block.get(216..).map(|rest| (None, rest)).ok_or(SHORT),
        _ => Err("the PROXY header is not about a TCP connection"),
    }
}

/// Walks over the extensions of `header`; where there is a checksum, it must be right.
fn check_extensions(header: &[u8], mut extensions: &[u8]) -> Result<(), &'static str> {
    const CUT: &str = "an extension of the PROXY header is cut off";
    while !extensions.is_empty() {
        let ([kind, high, low], rest) = extensions.split_first_chunk::<3>().ok_or(CUT)?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, rest) = rest.split_at_checked(length).ok_or(CUT)?;
        if *kind == TLV_CRC32C {
            let said: [u8; 4] = value.try_into().map_err(|_| CUT)?;
            let at = header.len() - rest.len() - value.len();
            let before = header.get(..at).unwrap_or_default();
            // The checksum is made with its own four octets taken as zero.
            let sum = crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]);
            if crc32c::crc32c_append(sum, rest) != u32::from_be_bytes(said) {
                return Err("the checksum of the PROXY header is wrong");
            }
        }
        extensions = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    /// A header of version 2.
    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut octets = SIGNATURE.to_vec();
        octets.extend([command, family]);
        octets.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
        octets.extend(block);
        octets
    }

    fn tcp4() -> Vec<u8> {
        vec![192, 0, 2, 1, 198, 51, 100, 1, 0x30, 0x39, 0, 25]
    }

    fn tcp6(client: &str) -> Vec<u8> {
        let client: Ipv6Addr = client.parse().unwrap();
        let mut block = client.octets().to_vec();
        block.extend(Ipv6Addr::LOCALHOST.octets());
        block.extend([0x30, 0x39, 0, 25]);
        block
    }

    fn with_checksum(family: u8, mut block: Vec<u8>) -> Vec<u8> {
        block.extend([0x04, 0, 2, 7, 7, TLV_CRC32C, 0, 4, 0, 0, 0, 0, 0xee, 0, 0]);
        let mut octets = v2(0x21, family, &block);
        let at = octets.len() - 7;
        let sum = crc32c::crc32c(&octets).to_be_bytes();
        octets[at..at + 4].copy_from_slice(&sum);
        octets
    }

    #[test]
    fn both_versions_name_the_client() {
        let cases: [(Vec<u8>, Option<SocketAddr>); 15] = [
            (
                b"PROXY TCP4 192.0.2.1 198.51.100.1 12345 25\r\n".to_vec(),
                client("192.0.2.1:12345"),
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 12345 25\r\n".to_vec(),
                client("[2001:db8::1]:12345"),
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.1 ::1 0 65535\r\n".to_vec(),
                client("192.0.2.1:0"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (
                b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(),
                None,
            ),
            (v2(0x21, 0x11, &tcp4()), client("192.0.2.1:12345")),
            (
                v2(0x21, 0x21, &tcp6("2001:db8::1")),
                client("[2001:db8::1]:12345"),
            ),
            (
                v2(0x21, 0x21, &tcp6("::ffff:192.0.2.1")),
                client("192.0.2.1:12345"),
            ),
            (with_checksum(0x11, tcp4()), client("192.0.2.1:12345")),
            (with_checksum(0x31, vec![b'x'; 216]), None),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &tcp4()), None),
            (v2(0x20, 0xff, b"not even extensions"), None),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ];
        for (octets, client) in cases {
            let length = octets.len();
            let done = Progress::Done(Header { client, length });
            assert_eq!(parse(&octets), done, "{octets:?}");
            let followed = [&octets[..], b"EHLO client.example\r\n"].concat();
            assert_eq!(parse(&followed), done, "{octets:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_it_can_be() {
        for text in [
            "EHLO client.example\r\n",
            "QUIT",
            "\r\nQUIT\r\n",
            "proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY  TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1\t198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY TCP4 \u{661}92.0.2.1 198.51.100.1 1 2\r\n",
        ] {
            assert!(matches!(parse(text.as_bytes()), Progress::Bad(_)), "{text}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MAX));
        assert!(matches!(parse(long.as_bytes()), Progress::Bad(_)));
        let mut damaged = with_checksum(0x11, tcp4());
        damaged[17] ^= 1;
        let too_long = v2(0x21, 0x11, &vec![0; V2_MAX]);
        for octets in [
            damaged,
            too_long,
            v2(0x11, 0x11, &tcp4()),
            v2(0x22, 0x11, &tcp4()),
            v2(0x21, 0x12, &tcp4()),
            v2(0x21, 0x41, &tcp4()),
            v2(0x21, 0x11, &tcp4()[..11]),
            v2(0x21, 0x21, &tcp4()),
            v2(0x21, 0x31, &[0; 215]),
            v2(0x21, 0x11, &[&tcp4()[..], &[1, 0, 9, 0]].concat()),
            v2(
                0x21,
                0x11,
                &[&tcp4()[..], &[TLV_CRC32C, 0, 3, 0, 0, 0]].concat(),
            ),
        ] {
            assert!(matches!(parse(&octets), Progress::Bad(_)), "{octets:?}");
        }
    }

    /// Reads as the listener does, and says what it took in.
    fn read(octets: &[u8], piece: usize) -> (Progress, usize) {
        let mut taken = 0;
        loop {
            match parse(&octets[..taken]) {
                Progress::Need(n) if taken < octets.len() => {
                    assert!(n > 0);
                    taken += n.min(piece).min(octets.len() - taken);
                }
                progress => return (progress, taken),
            }
        }
    }

    proptest! {
        #[test]
        fn no_octet_behind_the_header_is_ever_taken(
            which in 0_usize..6,
            piece in 1_usize..40,
            behind in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let header = [
                b"PROXY UNKNOWN\r\n".to_vec(),
                b"PROXY UNKNOWN \r\r\r\r\r\n".to_vec(),
                b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n".to_vec(),
                v2(0x20, 0, &[]),
                with_checksum(0x11, tcp4()),
                v2(0x21, 0x21, &tcp6("::1")),
            ][which].clone();
            let octets = [&header[..], &behind].concat();
            let (progress, taken) = read(&octets, piece);
            prop_assert!(matches!(progress, Progress::Done(h) if h.length == header.len()));
            prop_assert_eq!(taken, header.len());
        }

        #[test]
        fn any_octets_in_any_pieces_give_the_same_answer(
            start in 0_usize..4,
            tail in proptest::collection::vec(any::<u8>(), 0..300),
            piece in 1_usize..40,
        ) {
            let start: &[u8] = [&b""[..], b"PROXY ", &SIGNATURE, b"PROXY TCP4 192.0.2.1 "][start];
            let octets = [start, &tail].concat();
            let (whole, _) = read(&octets, usize::MAX);
            prop_assert_eq!(read(&octets, piece).0, whole);
            let kind = std::mem::discriminant;
            prop_assert_eq!(kind(&parse(&octets)), kind(&whole));
        }
    }
}
