//! A message on its way through a server session: octets without stuffing for the driver, the
//! end of the header block, and the refusals that the session gives by itself.

use super::commands::too_large;
use super::{Pending, Phase, Reset, Session};
use crate::body::{Flaw, Piece, Plain, Unstuffer};
use crate::line;
use crate::reply::Reply;

/// A message of which some may have come.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) text: Text,
    pub(super) octets: u64,
    pub(super) headers: Headers,
    /// Why the rest is only dropped.
    refused: Option<Reply>,
}

/// How the octets of a message come.
#[derive(Debug)]
pub(super) enum Text {
    /// Stuffed, up to the final dot.
    Stuffed(Unstuffer),
    /// In chunks, of which the present one has so many octets left.
    Chunk {
        text: Plain,
        size: u64,
        left: u64,
        last: bool,
    },
}

/// Where the search for the empty line behind the header block stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Headers {
    LineStart,
    /// Behind a CR at the start of a line.
    Cr,
    Inside,
    /// Behind a CR within a line.
    InsideCr,
    /// The empty line was handed out; the driver is not told yet.
    Found,
    Ended,
}

impl Headers {
    /// How much of a run belongs to the header block while it lasts, or else all; and where that
    /// leaves the search. Only CRLF ends a line, also where others may stand (BINARYMIME).
    pub(super) fn scan(mut self, run: &[u8]) -> (usize, Headers) {
        let mut at = 0;
        while let Some(rest) = run.get(at..).filter(|rest| !rest.is_empty()) {
            match self {
                Headers::LineStart if rest.first() == Some(&b'\r') => {
                    self = Headers::Cr;
                    at += 1;
                }
                Headers::LineStart => self = Headers::Inside,
                Headers::Cr if rest.first() == Some(&b'\n') => return (at + 1, Headers::Found),
                Headers::Cr => self = Headers::Inside,
                Headers::Inside | Headers::InsideCr => match line::find(b'\n', rest) {
                    Some(lf) => {
                        let crlf = match lf.checked_sub(1) {
                            None => self == Headers::InsideCr,
                            Some(before) => rest.get(before) == Some(&b'\r'),
                        };
                        self = if crlf {
                            Headers::LineStart
                        } else {
                            Headers::Inside
                        };
                        at += lf + 1;
                    }
                    None if rest.last() == Some(&b'\r') => return (run.len(), Headers::InsideCr),
                    None => return (run.len(), Headers::Inside),
                },
                Headers::Found | Headers::Ended => break,
            }
        }
        (run.len(), self)
    }
}

impl Data {
    pub(super) fn new() -> Data {
        Data::of(Text::Stuffed(Unstuffer::new()))
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    pub(super) fn of(text: Text) -> Data {
        Data {
            text,
            octets: 0,
            headers: Headers::LineStart,
            refused: None,
        }
    }
}

impl Session {
    /// Reads a message on; false if it needs more octets.
    pub(super) fn read_data(&mut self) -> bool {
        let Phase::Data(data) = &mut self.phase else {
            return true;
        };
        if data.headers == Headers::Found {
            data.headers = Headers::Ended;
            self.pending = Some(Pending::HeadersEnd);
            return true;
        }
        let Text::Stuffed(text) = &mut data.text else {
            return self.read_chunk();
        };
        let octets = self.input.octets();
        if let Some(reply) = &data.refused {
            let (dropped, ended) = text.skip(octets);
            let reply = ended.then(|| reply.clone());
            self.input.consume(dropped);
            if self.drop_counted(dropped) {
                return true;
            }
            if let Some(reply) = reply {
                self.end_transaction(&reply);
            }
            return ended;
        }
        match text.look(octets) {
            Piece::Partial => return false,
            Piece::Text(len) => {
                let (len, headers) = data.headers.scan(octets.get(..len).unwrap_or_default());
                let total = data
                    .octets
                    .saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
                let limit = self.settings.message_size;
                if limit > 0 && total > limit {
                    self.refuse_message(too_large());
                } else {
                    self.pending = Some(Pending::Body(len, headers));
                }
            }
            Piece::Dot => {
                text.take_dot();
                if data.headers == Headers::LineStart {
                    data.headers = Headers::Inside;
                }
                self.input.consume(1);
            }
            Piece::End if data.headers != Headers::Ended => data.headers = Headers::Found,
            Piece::End => {
                self.input.consume(3);
                self.phase = Phase::Command;
                self.pending = Some(Pending::EndOfData);
            }
            Piece::Flawed(flaw) => self.refuse_message(flawed(flaw)),
        }
        true
    }

    /// Hands out a piece of the message that [`read_data`](Self::read_data) found.
    pub(super) fn lend_body(&mut self, len: usize, headers: Headers) -> &[u8] {
        let (start, len) = self.input.lend(len);
        let run = self.input.lent(start, len);
        if let Phase::Data(data) = &mut self.phase {
            let len = u64::try_from(len).unwrap_or(u64::MAX);
            match &mut data.text {
                Text::Stuffed(text) => text.take(run),
                Text::Chunk { text, left, .. } => {
                    text.take(run);
                    *left = left.saturating_sub(len);
                }
            }
            data.octets = data.octets.saturating_add(len);
            data.headers = headers;
        }
        run
    }

    /// The driver drops its draft now; the peer is told at the dot.
    fn refuse_message(&mut self, reply: Reply) {
        let reply = self.named(reply);
        if let Phase::Data(data) = &mut self.phase {
            data.refused = Some(reply.clone());
            let came = data.octets;
            self.begin_to_drop(came);
        }
        self.pending = Some(Pending::Reset(Reset::Refused(reply)));
    }
}

/// RFC 5321 §2.3.8 forbids bare CR and LF, §4.1.1.4 gives them no meaning, and RFC 5322 §2.2 has
/// no NUL. 550 is the refusal for policy reasons of RFC 5321 §4.3.2; 5.6.0 is RFC 3463 §3.7.
pub(super) fn flawed(flaw: Flaw) -> Reply {
    let text = match flaw {
        Flaw::BareCr => "Message contains a bare CR; lines must end with CRLF",
        Flaw::BareLf => "Message contains a bare LF; lines must end with CRLF",
        Flaw::Nul => "Message contains a NUL octet",
    };
    Reply::new(550, (5, 6, 0), text)
}
