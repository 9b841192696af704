//! The text of a message on its way through DATA: dot-stuffing, its end, and what may not be in
//! it (RFC 5321 §4.5.2, §4.1.1.4 and §2.3.8).
//!
//! Invariants: only CRLF.CRLF ends the text; a run of text handed out contains no NUL, no CR
//! without LF and no LF without CR. Both directions use [`clean_run`], one pass that the
//! compiler turns into vector code, block by block; single octets are looked at only in a block
//! that holds something of interest.
//!
//! Not here: how long lines or the whole are, and what headers say.

use crate::line;

/// What may not stand in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    BareCr,
    BareLf,
    Nul,
}

/// What the last octet was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// CRLF, or nothing yet: a line starts.
    LineStart,
    /// CR: LF must follow.
    AfterCr,
    /// Anything else.
    Inside,
}

impl At {
    /// A stand-in for the last octet, for comparisons.
    fn last(self) -> u8 {
        match self {
            At::LineStart => b'\n',
            At::AfterCr => b'\r',
            At::Inside => b'x',
        }
    }

    /// Where one is after a clean, not empty run.
    fn after(run: &[u8]) -> At {
        match run.last() {
            Some(b'\n') => At::LineStart,
            Some(b'\r') => At::AfterCr,
            _ => At::Inside,
        }
    }
}

/// What the next octets of a stuffed text are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// More octets are needed to say.
    Partial,
    /// So many octets of text.
    Text(usize),
    /// One dot that stuffing added.
    Dot,
    /// The final dot with its CRLF: three octets.
    End,
    /// The text is not acceptable.
    Flawed(Flaw),
}

/// Reads a stuffed text.
#[derive(Debug)]
pub(crate) struct Unstuffer {
    at: At,
}

impl Unstuffer {
    pub(crate) fn new() -> Unstuffer {
        Unstuffer { at: At::LineStart }
    }

    /// Looks at the next octets. `Text` and `Dot` still have to be taken with
    /// [`take`](Self::take) or [`take_dot`](Self::take_dot).
    pub(crate) fn look(&self, octets: &[u8]) -> Piece {
        if octets.is_empty() {
            return Piece::Partial;
        }
        if self.at == At::LineStart && octets.first() == Some(&b'.') {
            return after_first_dot(octets.get(1..).unwrap_or_default());
        }
        match clean_run(self.at, octets) {
            (0, Some(flaw)) => Piece::Flawed(flaw),
            (n, _) => Piece::Text(n),
        }
    }

    /// A run of text, all or the start of what `look` said, is taken.
    pub(crate) fn take(&mut self, run: &[u8]) {
        self.at = At::after(run);
    }

    /// A stuffed dot is taken.
    pub(crate) fn take_dot(&mut self) {
        self.at = At::Inside;
    }

    /// Passes over a text that is already refused, up to and with its end: how many octets to
    /// drop, and whether the end is among them.
    pub(crate) fn skip(&mut self, octets: &[u8]) -> (usize, bool) {
        let mut dropped = 0;
        while let Some(rest) = octets.get(dropped..).filter(|rest| !rest.is_empty()) {
            if self.at == At::LineStart && rest.first() == Some(&b'.') {
                match after_first_dot(rest.get(1..).unwrap_or_default()) {
                    Piece::Partial => return (dropped, false),
                    Piece::End => return (dropped + 3, true),
                    _ => {}
                }
            }
            let Some(at) = line::find(b'\n', rest) else {
                self.at = At::after(rest);
                return (octets.len(), false);
            };
            let crlf = match at.checked_sub(1) {
                None => self.at == At::AfterCr,
                Some(before) => rest.get(before) == Some(&b'\r'),
            };
            self.at = if crlf { At::LineStart } else { At::Inside };
            dropped += at + 1;
        }
        (dropped, false)
    }
}

/// A dot stands at the start of a line; `rest` follows it.
fn after_first_dot(rest: &[u8]) -> Piece {
    match rest {
        [] | [b'\r'] => Piece::Partial,
        [b'\r', b'\n', ..] => Piece::End,
        _ => Piece::Dot,
    }
}

/// Writes a text, stuffing dots.
#[derive(Debug)]
pub(crate) struct Stuffer {
    at: At,
}

impl Stuffer {
    pub(crate) fn new() -> Stuffer {
        Stuffer { at: At::LineStart }
    }

    /// Appends a piece of text, stuffed; stops before a flaw.
    pub(crate) fn push(&mut self, mut octets: &[u8], out: &mut Vec<u8>) -> Result<(), Flaw> {
        while !octets.is_empty() {
            if self.at == At::LineStart && octets.first() == Some(&b'.') {
                out.extend_from_slice(b"..");
                self.at = At::Inside;
                octets = octets.get(1..).unwrap_or_default();
                continue;
            }
            let (n, flaw) = clean_run(self.at, octets);
            let (run, rest) = octets.split_at_checked(n).unwrap_or((octets, &[]));
            if let (true, Some(flaw)) = (run.is_empty(), flaw) {
                return Err(flaw);
            }
            out.extend_from_slice(run);
            self.at = At::after(run);
            octets = rest;
        }
        Ok(())
    }

    /// Appends the final dot, and a CRLF before it if the text lacks its last.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Flaw> {
        match self.at {
            At::AfterCr => return Err(Flaw::BareCr),
            At::Inside => out.extend_from_slice(b"\r\n"),
            At::LineStart => {}
        }
        out.extend_from_slice(b".\r\n");
        Ok(())
    }
}

/// Looks at a text that has no stuffing and no end of its own: a chunk (RFC 3030 §2).
#[derive(Debug)]
pub(crate) struct Plain {
    at: At,
    /// It has no lines, and any octet may stand in it (RFC 3030 §3).
    binary: bool,
}

impl Plain {
    pub(crate) fn new() -> Plain {
        Plain {
            at: At::LineStart,
            binary: false,
        }
    }

    pub(crate) fn binary() -> Plain {
        Plain {
            binary: true,
            ..Plain::new()
        }
    }

    /// How many of the next octets are clean, at least one if there are any.
    pub(crate) fn look(&self, octets: &[u8]) -> Result<usize, Flaw> {
        if self.binary {
            return Ok(octets.len());
        }
        let at = match self.at {
            // A dot has no meaning here.
            At::LineStart if octets.first() == Some(&b'.') => At::Inside,
            at => at,
        };
        match clean_run(at, octets) {
            (0, Some(flaw)) => Err(flaw),
            (n, _) => Ok(n),
        }
    }

    /// A run of text, all or the start of what `look` said, is taken.
    pub(crate) fn take(&mut self, run: &[u8]) {
        if !run.is_empty() {
            self.at = At::after(run);
        }
    }

    /// Whether the text, ending here, lacks the CRLF of its last line.
    pub(crate) fn lacks_crlf(&self) -> Result<bool, Flaw> {
        match self.at {
            _ if self.binary => Ok(false),
            At::AfterCr => Err(Flaw::BareCr),
            At::Inside => Ok(true),
            At::LineStart => Ok(false),
        }
    }
}

/// Why a text cannot be sent in a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    Flaw(Flaw),
    /// It is shorter or longer than was said.
    Length,
}

/// Writes a text as one chunk. Its last octet is held back until all is known to fit: a peer
/// never gets a whole chunk that is not the whole text.
#[derive(Debug)]
pub(crate) struct Chunk {
    text: Plain,
    left: u64,
    held: Option<u8>,
}

impl Chunk {
    pub(crate) fn new(size: u64) -> Chunk {
        Chunk {
            text: Plain::new(),
            left: size,
            held: None,
        }
    }

    /// A chunk of any octets (RFC 3030 §3).
    pub(crate) fn binary(size: u64) -> Chunk {
        Chunk {
            text: Plain::binary(),
            ..Chunk::new(size)
        }
    }

    /// Appends a piece of text; stops before a flaw.
    pub(crate) fn push(&mut self, mut octets: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
        let len = u64::try_from(octets.len()).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(len).ok_or(Unfit::Length)?;
        while !octets.is_empty() {
            let n = self.text.look(octets).map_err(Unfit::Flaw)?;
            let (run, rest) = octets.split_at_checked(n).unwrap_or((octets, &[]));
            self.text.take(run);
            out.extend(self.held.take());
            if let (Some((last, before)), true) = (run.split_last(), rest.is_empty()) {
                out.extend_from_slice(before);
                self.held = Some(*last);
            } else {
                out.extend_from_slice(run);
            }
            octets = rest;
        }
        Ok(())
    }

    /// Appends what was held back, if the text is whole.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self.left > 0 {
            return Err(Unfit::Length);
        }
        self.text.lacks_crlf().map_err(Unfit::Flaw)?;
        out.extend(self.held.take());
        Ok(())
    }
}

/// Octets looked at in one go. Small, because a block with a dot at a line start is looked at
/// octet by octet; large enough for vector code to pay.
const BLOCK: usize = 256;

/// How many octets of `octets` are clean text: up to a flaw, which it names, up to a dot at the
/// start of a line, or all.
fn clean_run(at: At, octets: &[u8]) -> (usize, Option<Flaw>) {
    let Some((&first, _)) = octets.split_first() else {
        return (0, None);
    };
    if is_notable(at.last(), first) {
        return (0, flaw(at.last(), first));
    }
    let mut done = 1;
    while done < octets.len() {
        let end = octets.len().min(done + BLOCK);
        let before = octets.get(done - 1..end - 1).unwrap_or_default();
        let block = octets.get(done..end).unwrap_or_default();
        if has_notable(before, block) {
            let pairs = || before.iter().zip(block);
            if let Some(n) = pairs().position(|(before, octet)| is_notable(*before, *octet)) {
                let flaw = pairs()
                    .nth(n)
                    .and_then(|(before, octet)| flaw(*before, *octet));
                return (done + n, flaw);
            }
        }
        done = end;
    }
    (done, None)
}

/// Whether any octet of `block` is notable; `before` holds the octet before each.
fn has_notable(before: &[u8], block: &[u8]) -> bool {
    // No branches, so that it compiles to vector instructions.
    let mut notable = 0u8;
    for (before, octet) in before.iter().zip(block) {
        notable |= u8::from(is_notable(*before, *octet));
    }
    notable != 0
}

/// A NUL, a CR without LF, an LF without CR, or a dot at the start of a line.
fn is_notable(before: u8, octet: u8) -> bool {
    ((before == b'\r') ^ (octet == b'\n')) | (octet == 0) | ((before == b'\n') & (octet == b'.'))
}

fn flaw(before: u8, octet: u8) -> Option<Flaw> {
    match (before, octet) {
        (b'\r', b'\n') => None,
        (b'\r', _) => Some(Flaw::BareCr),
        (_, b'\n') => Some(Flaw::BareLf),
        (_, 0) => Some(Flaw::Nul),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What came of a stuffed text.
    #[derive(Debug, PartialEq, Eq)]
    enum Read {
        Unended(Vec<u8>),
        /// The text, and what stood behind its end.
        Whole(Vec<u8>, Vec<u8>),
        Refused(Flaw),
    }

    /// Reads `wire` in pieces of `step` octets.
    fn unstuff(wire: &[u8], step: usize) -> Read {
        let (mut reader, mut held, mut text) = (Unstuffer::new(), Vec::new(), Vec::new());
        let mut pieces = wire.chunks(step);
        loop {
            match reader.look(&held) {
                Piece::Partial => match pieces.next() {
                    Some(piece) => held.extend_from_slice(piece),
                    None => return Read::Unended(text),
                },
                Piece::Text(n) => {
                    let rest = held.split_off(n);
                    reader.take(&held);
                    text.append(&mut held);
                    held = rest;
                }
                Piece::Dot => {
                    reader.take_dot();
                    held.remove(0);
                }
                Piece::End => {
                    held.drain(..3);
                    held.extend(pieces.flatten());
                    return Read::Whole(text, held);
                }
                Piece::Flawed(flaw) => return Read::Refused(flaw),
            }
        }
    }

    /// The same, octet by octet, as RFC 5321 §4.5.2 tells it.
    fn unstuff_slowly(wire: &[u8]) -> Read {
        let mut text = Vec::new();
        let (mut n, mut line_start) = (0, true);
        while n < wire.len() {
            let rest = &wire[n..];
            if line_start && rest.starts_with(b".\r\n") {
                return Read::Whole(text, rest[3..].to_vec());
            }
            if line_start && rest[0] == b'.' {
                if b".\r\n".starts_with(rest) {
                    return Read::Unended(text);
                }
                (n, line_start) = (n + 1, false);
            } else if rest.starts_with(b"\r\n") {
                text.extend_from_slice(b"\r\n");
                (n, line_start) = (n + 2, true);
            } else if rest == b"\r" {
                text.push(b'\r');
                return Read::Unended(text);
            } else {
                match rest[0] {
                    b'\r' => return Read::Refused(Flaw::BareCr),
                    b'\n' => return Read::Refused(Flaw::BareLf),
                    0 => return Read::Refused(Flaw::Nul),
                    octet => text.push(octet),
                }
                (n, line_start) = (n + 1, false);
            }
        }
        Read::Unended(text)
    }

    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let tokens = prop_oneof![
            8 => Just(b"\r\n".to_vec()),
            4 => Just(b".".to_vec()),
            4 => Just(b"a".to_vec()),
            1 => Just(vec![b'b'; 300]),
            1 => Just(b"\r".to_vec()),
            1 => Just(b"\n".to_vec()),
            1 => Just(b"\0".to_vec()),
            1 => Just(b"\r\n.\r\n".to_vec()),
        ];
        prop::collection::vec(tokens, 0..40).prop_map(|tokens| tokens.concat())
    }

    proptest! {
        #[test]
        fn the_fast_reader_agrees_with_the_slow_one_however_input_is_cut(
            wire in hostile(), step in 1usize..600,
        ) {
            prop_assert_eq!(unstuff(&wire, step), unstuff_slowly(&wire));
        }

        #[test]
        fn skipping_ends_where_only_crlf_dot_crlf_stands(wire in hostile(), step in 1usize..9) {
            let (mut reader, mut held, mut dropped) = (Unstuffer::new(), Vec::new(), 0);
            let mut end = None;
            for piece in wire.chunks(step) {
                held.extend_from_slice(piece);
                let (n, ended) = reader.skip(&held);
                held.drain(..n);
                dropped += n;
                if ended {
                    end = Some(dropped);
                    break;
                }
            }
            let framed = [b"\r\n", wire.as_slice()].concat();
            let expected = framed.windows(5).position(|five| five == b"\r\n.\r\n").map(|n| n + 3);
            prop_assert_eq!(end, expected);
        }

        #[test]
        fn stuffing_and_unstuffing_give_the_text_back(
            lines in prop::collection::vec("[.a-z]{0,9}", 0..9), step in 1usize..9,
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let (mut writer, mut wire) = (Stuffer::new(), Vec::new());
            for piece in text.as_bytes().chunks(step) {
                prop_assert_eq!(writer.push(piece, &mut wire), Ok(()));
            }
            prop_assert_eq!(writer.finish(&mut wire), Ok(()));
            prop_assert_eq!(unstuff(&wire, step), Read::Whole(text.into_bytes(), vec![]));
        }
    }

    #[test]
    fn a_writer_stops_before_what_may_not_be_sent() {
        for (text, flaw) in [
            (&b"a\nb"[..], Flaw::BareLf),
            (b"a\rb", Flaw::BareCr),
            (b"a\0b", Flaw::Nul),
            (b"\n.\r\n", Flaw::BareLf),
            (b"a\r\n.\r.\r\n", Flaw::BareCr),
        ] {
            for step in [1, text.len()] {
                let (mut writer, mut wire) = (Stuffer::new(), Vec::new());
                let mut pieces = text.chunks(step).map(|piece| writer.push(piece, &mut wire));
                assert_eq!(pieces.find(Result::is_err), Some(Err(flaw)), "{text:?}");
            }
        }
        let mut wire = Vec::new();
        let mut writer = Stuffer::new();
        assert_eq!(writer.push(b"a\r", &mut wire), Ok(()));
        assert_eq!(writer.finish(&mut wire), Err(Flaw::BareCr));
    }

    #[test]
    fn a_missing_last_line_end_is_added() {
        let (mut writer, mut wire) = (Stuffer::new(), Vec::new());
        assert_eq!(writer.push(b".a", &mut wire), Ok(()));
        assert_eq!(writer.finish(&mut wire), Ok(()));
        assert_eq!(wire, b"..a\r\n.\r\n");
    }

    #[test]
    fn a_chunk_is_never_whole_before_all_is_known_to_fit() {
        let (mut chunk, mut out) = (Chunk::new(5), Vec::new());
        assert_eq!(chunk.push(b".a", &mut out), Ok(()));
        assert_eq!(chunk.push(b"", &mut out), Ok(()));
        assert_eq!(chunk.finish(&mut out), Err(Unfit::Length));
        assert_eq!(chunk.push(b".\r\n", &mut out), Ok(()));
        assert_eq!(out, b".a.\r");
        assert_eq!(chunk.finish(&mut out), Ok(()));
        assert_eq!(out, b".a.\r\n");
        assert_eq!(chunk.push(b"x", &mut out), Err(Unfit::Length));
        for (text, flaw) in [
            (&b"a\n.\r"[..], Flaw::BareLf),
            (b"a\r.\r\n", Flaw::BareCr),
            (b"abc\r", Flaw::BareCr),
            (b"ab\0", Flaw::Nul),
        ] {
            let (mut chunk, mut out) = (Chunk::new(text.len() as u64), Vec::new());
            let pushed = chunk.push(text, &mut out);
            assert_eq!(
                pushed.and_then(|()| chunk.finish(&mut out)),
                Err(Unfit::Flaw(flaw))
            );
            assert!(out.len() < text.len(), "{text:?}");
        }
    }
}
