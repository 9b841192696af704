//! The parts of a mail that carries a report (RFC 2045, RFC 2046): enough to find the report, no
//! more.
//!
//! Bounded by [`PARTS_MAX`] and [`DEPTH_MAX`]; a part is a slice of the message until it is
//! decoded.
//! This module does **not** look into attached messages, nor know character sets.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use posthaste_message::fields;

/// Parts that are looked at.
const PARTS_MAX: usize = 50;
/// Multiparts in multiparts.
const DEPTH_MAX: usize = 6;
/// Octets of a line of base64, without its end (RFC 2045 §6.8).
const BASE64_LINE: usize = 76;

/// A part that is no multipart.
#[derive(Clone, Debug)]
pub(super) struct Part<'a> {
    /// Type and subtype in lower case; `text/plain` when the part does not say.
    pub(super) kind: String,
    /// What the file is called.
    pub(super) file: Option<String>,
    /// The octets, still encoded.
    pub(super) body: &'a [u8],
    encoding: Encoding,
}

#[derive(Clone, Copy, Debug)]
enum Encoding {
    Plain,
    Base64,
    QuotedPrintable,
}

/// The parts of a message, in order.
pub(super) fn parts(message: &[u8]) -> Vec<Part<'_>> {
    let mut found = Vec::new();
    let mut open = vec![(message, 0)];
    while let Some((entity, depth)) = open.pop() {
        if found.len() >= PARTS_MAX {
            break;
        }
        let (header, body) = split_header(entity);
        let header = Header::read(header);
        match header.boundary.filter(|_| depth < DEPTH_MAX) {
            Some(boundary) => {
                let mut inner = split_parts(body, &boundary);
                inner.truncate(PARTS_MAX);
                // The last in is the first out.
                open.extend(inner.into_iter().rev().map(|part| (part, depth + 1)));
            }
            None => found.push(Part {
                kind: header.kind,
                file: header.file,
                body,
                encoding: header.encoding,
            }),
        }
    }
    found
}

impl Part<'_> {
    /// The octets. What is no base64 is passed over, as RFC 2045 §6.8 has it.
    pub(super) fn decode(&self) -> Vec<u8> {
        match self.encoding {
            Encoding::Plain => self.body.to_vec(),
            Encoding::QuotedPrintable => quoted_printable(self.body),
            Encoding::Base64 => {
                let config = GeneralPurposeConfig::new()
                    .with_decode_allow_trailing_bits(true)
                    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
                let engine = GeneralPurpose::new(&alphabet::STANDARD, config);
                let letter = |b: &&u8| b.is_ascii_alphanumeric() || b"+/".contains(b);
                let until = self.body.split(|&b| b == b'=').next().unwrap_or_default();
                let letters: Vec<u8> = until.iter().filter(letter).copied().collect();
                // One letter alone at the end is no octet.
                let whole = letters.len() - usize::from(letters.len() % 4 == 1);
                engine
                    .decode(letters.get(..whole).unwrap_or_default())
                    .unwrap_or_default()
            }
        }
    }
}

struct Header {
    kind: String,
    boundary: Option<String>,
    file: Option<String>,
    encoding: Encoding,
}

impl Header {
    fn read(block: &[u8]) -> Header {
        let mut header = Header {
            kind: "text/plain".to_owned(),
            boundary: None,
            file: None,
            encoding: Encoding::Plain,
        };
        for field in fields::split(block) {
            let Some(name) = fields::name(field) else {
                continue;
            };
            let colon = field.iter().position(|&b| b == b':').unwrap_or_default();
            let value = String::from_utf8_lossy(field.get(colon + 1..).unwrap_or_default());
            if name.eq_ignore_ascii_case(b"Content-Type") {
                let (kind, parameters) = parameters(&value);
                header.kind = kind;
                for (name, value) in parameters {
                    match name.as_str() {
                        "boundary"
                            if header.kind.starts_with("multipart/") && !value.is_empty() =>
                        {
                            header.boundary = Some(value);
                        }
                        "name" => header.file = header.file.or(Some(value)),
                        _ => {}
                    }
                }
            } else if name.eq_ignore_ascii_case(b"Content-Disposition") {
                let (_, parameters) = parameters(&value);
                let file = parameters.into_iter().find(|(name, _)| name == "filename");
                header.file = file.map(|(_, value)| value).or(header.file);
            } else if name.eq_ignore_ascii_case(b"Content-Transfer-Encoding") {
                header.encoding = match value.trim().to_ascii_lowercase().as_str() {
                    "base64" => Encoding::Base64,
                    "quoted-printable" => Encoding::QuotedPrintable,
                    _ => Encoding::Plain,
                };
            }
        }
        header
    }
}

/// A value and its parameters (RFC 2045 §5.1); the value and the parameters' names in lower case.
fn parameters(value: &str) -> (String, Vec<(String, String)>) {
    let mut pieces = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in value.chars().filter(|c| !matches!(c, '\r' | '\n')) {
        match c {
            c if escaped => {
                escaped = false;
                push(&mut pieces, c);
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => pieces.push(String::new()),
            c => push(&mut pieces, c),
        }
    }
    let mut pieces = pieces.into_iter();
    let first = pieces
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let pairs = pieces.filter_map(|piece| {
        let (name, value) = piece.split_once('=')?;
        Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
    });
    (first, pairs.collect())
}

fn push(pieces: &mut [String], c: char) {
    if let Some(last) = pieces.last_mut() {
        last.push(c);
    }
}

/// The header block and the body of an entity.
fn split_header(entity: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    for line in entity.split_inclusive(|&b| b == b'\n') {
        if matches!(line, b"\r\n" | b"\n") {
            let (header, rest) = entity.split_at(at);
            return (header, rest.get(line.len()..).unwrap_or_default());
        }
        at += line.len();
    }
    (entity, &[])
}

/// The parts between the delimiters of a multipart (RFC 2046 §5.1.1). A last one without its end is
/// taken as it is.
fn split_parts<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut start = None;
    let mut at = 0;
    for line in body.split_inclusive(|&b| b == b'\n') {
        let tail = line
            .strip_prefix(b"--")
            .and_then(|l| l.strip_prefix(boundary.as_bytes()));
        let last = tail.is_some_and(|tail| tail.trim_ascii() == b"--");
        if tail.is_some_and(|tail| tail.trim_ascii().is_empty()) || last {
            if let Some(start) = start {
                let part = body.get(start..at).unwrap_or_default();
                let part = part.strip_suffix(b"\n").unwrap_or(part);
                parts.push(part.strip_suffix(b"\r").unwrap_or(part));
            }
            start = Some(at + line.len());
            if last || parts.len() >= PARTS_MAX {
                return parts;
            }
        }
        at += line.len();
    }
    parts.extend(start.and_then(|start| body.get(start..)));
    parts
}

fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'=', [b'\r', b'\n', after @ ..] | [b'\n', after @ ..]) => after,
            (b'=', [a, b, after @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                let digit = |d: &u8| char::from(*d).to_digit(16).unwrap_or_default();
                out.push(u8::try_from(digit(a) * 16 + digit(b)).unwrap_or_default());
                after
            }
            (octet, after) => {
                out.push(*octet);
                after
            }
        };
    }
    out
}

/// Octets as lines of base64, each with its CRLF.
pub(super) fn base64_lines(octets: &[u8]) -> Vec<u8> {
    let text = base64::engine::general_purpose::STANDARD.encode(octets);
    let lines = text.as_bytes().chunks(BASE64_LINE);
    lines.flat_map(|line| [line, b"\r\n"].concat()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NESTED: &[u8] = b"Subject: x\r\n\
        Content-Type: Multipart/Mixed;\r\n boundary=\"a b\"\r\n\
        \r\n\
        preamble\r\n\
        --a b\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n\
        --i\r\n\r\none\r\n\
        --i\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nt=\r\nw=6F\r\n\
        --i--\r\n\
        --a b  \r\n\
        Content-Type: application/gzip; name=n.gz\r\n\
        Content-Transfer-Encoding: BASE64\r\n\
        Content-Disposition: attachment; filename=\"f;\\\"x.gz\"\r\n\
        \r\n\
        AAEC\r\n Aw==\r\n\
        --a b--\r\nend";

    #[test]
    fn the_parts_of_parts_come_in_order_and_decoded() {
        let parts = parts(NESTED);
        let decoded: Vec<_> = parts
            .iter()
            .map(|part| (part.kind.as_str(), part.decode()))
            .collect();
        assert_eq!(
            decoded,
            [
                ("text/plain", b"one".to_vec()),
                ("text/plain", b"two".to_vec()),
                ("application/gzip", vec![0, 1, 2, 3]),
            ]
        );
        assert_eq!(parts[2].file.as_deref(), Some("f;\"x.gz"));
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let mut deep = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n".repeat(50);
        deep.extend(b"\nx");
        assert_eq!(parts(&deep).len(), 1);
        let head = b"Content-Type: multipart/mixed; boundary=b\n\n".to_vec();
        assert_eq!(
            parts(&[head, b"--b\n\nx\n".repeat(1_000)].concat()).len(),
            PARTS_MAX
        );
    }

    #[test]
    fn lines_of_base64_read_back() {
        let octets: Vec<u8> = (0..=255).collect();
        let lines = base64_lines(&octets);
        assert!(
            lines
                .split(|&b| b == b'\n')
                .all(|l| l.len() <= BASE64_LINE + 1)
        );
        let message = [
            b"Content-Transfer-Encoding: base64\r\n\r\n",
            lines.as_slice(),
        ]
        .concat();
        assert_eq!(parts(&message)[0].decode(), octets);
    }

    proptest! {
        #[test]
        fn no_octets_break_the_reader(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just(&b"--b\n"[..]),
                    Just(&b"--b--\n"[..]),
                    Just(&b"Content-Type: multipart/mixed; boundary=b\n\n"[..]),
                    Just(&b"Content-Transfer-Encoding: base64\n"[..]),
                    Just(&b"\n"[..]),
                    Just(&b"=4=\"A;\\"[..]),
                ],
                0..30,
            ),
        ) {
            let message = pieces.concat();
            let parts = parts(&message);
            prop_assert!(parts.len() <= PARTS_MAX);
            prop_assert!(parts.iter().all(|part| part.decode().len() <= message.len()));
        }
    }
}
