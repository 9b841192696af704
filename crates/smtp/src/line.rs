//! Lines: where one ends, and what must not stand in it (RFC 5321 §2.3.8).
//!
//! Only CRLF ends a command line. A bare LF spoils its line: the session answers at once (the
//! peer may wait for an answer) and drops the rest up to CRLF, so that what follows a bare LF is
//! never taken for a command of its own. A peer's *reply* may end with a bare LF: no
//! octets of ours are in it, so nothing can be smuggled, and careless servers exist.
//!
//! Octets are searched with the standard library's `memchr` (inside `BufRead::skip_until`).

use std::io::BufRead as _;

/// The start of a buffer, seen as a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// Not ended yet; wait.
    Partial,
    /// So many octets, its CRLF not counted.
    Whole(usize),
    /// A bare LF at this offset.
    BareLf(usize),
    /// More than `limit` octets with CRLF, ended or not.
    TooLong,
}

impl Line {
    /// Looks for the end of a line that has at most `limit` octets with its CRLF.
    pub(crate) fn find(octets: &[u8], limit: usize) -> Line {
        let window = octets.get(..limit).unwrap_or(octets);
        match find(b'\n', window) {
            None if octets.len() >= limit => Line::TooLong,
            None => Line::Partial,
            Some(at) => match at.checked_sub(1).map(|before| window.get(before)) {
                Some(Some(b'\r')) => Line::Whole(at - 1),
                _ => Line::BareLf(at),
            },
        }
    }
}

/// How many octets of a spoiled line to drop, and whether its CRLF is among them. `after_cr`
/// says (and keeps) whether the octet before was CR.
pub(crate) fn skip_line(octets: &[u8], after_cr: &mut bool) -> (usize, bool) {
    let mut dropped = 0;
    while let Some(rest) = octets.get(dropped..).filter(|rest| !rest.is_empty()) {
        let Some(at) = find(b'\n', rest) else {
            *after_cr = rest.last() == Some(&b'\r');
            return (octets.len(), false);
        };
        let crlf = match at.checked_sub(1) {
            None => *after_cr,
            Some(before) => rest.get(before) == Some(&b'\r'),
        };
        dropped += at + 1;
        *after_cr = false;
        if crlf {
            return (dropped, true);
        }
    }
    (dropped, false)
}

/// Where `octet` first stands.
pub(crate) fn find(octet: u8, octets: &[u8]) -> Option<usize> {
    let mut rest = octets;
    // Reading from a slice cannot fail.
    let read = rest.skip_until(octet).unwrap_or(0);
    let at = read.checked_sub(1)?;
    (octets.get(at) == Some(&octet)).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crlf_ends_a_command_line() {
        for (octets, expected) in [
            ("", Line::Partial),
            ("NOOP", Line::Partial),
            ("NOOP\r", Line::Partial),
            ("NOOP\r\n", Line::Whole(4)),
            ("\r\n", Line::Whole(0)),
            ("\n", Line::BareLf(0)),
            ("NOOP\nQUIT\r\n", Line::BareLf(4)),
            ("NO\rOP\r\n", Line::Whole(5)),
            ("123456\r\n", Line::Whole(6)),
            ("1234567\r\n", Line::TooLong),
            ("12345678", Line::TooLong),
            ("1234567", Line::Partial),
            ("12345678\n", Line::TooLong),
        ] {
            assert_eq!(Line::find(octets.as_bytes(), 8), expected, "{octets:?}");
        }
    }

    #[test]
    fn a_spoiled_line_is_dropped_up_to_its_crlf() {
        let mut after_cr = false;
        assert_eq!(skip_line(b"a\nb\r\nc", &mut after_cr), (5, true));
        assert_eq!(skip_line(b"ab\r", &mut after_cr), (3, false));
        assert!(after_cr);
        assert_eq!(skip_line(b"\nNOOP", &mut after_cr), (1, true));
        assert_eq!(skip_line(b"\nNOOP", &mut after_cr), (5, false));
        assert_eq!(skip_line(b"", &mut after_cr), (0, false));
    }

    #[test]
    fn an_octet_is_found_where_it_first_stands() {
        assert_eq!(find(b'x', b"axbx"), Some(1));
        assert_eq!(find(b'x', b"ab"), None);
        assert_eq!(find(b'x', b""), None);
        assert_eq!(find(b'x', b"abx"), Some(2));
    }
}
