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
