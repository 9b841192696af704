//! Messages that come in chunks (RFC 3030 §2).
//!
//! Invariants: the octets of a chunk are never taken for commands, so those of a refused one are
//! read and dropped; a chunk is answered when it has wholly come; once one is refused the
//! transaction is over.
//!
//! Chunks have CRLF lines as DATA has, unless MAIL said BODY=BINARYMIME (RFC 3030 §3): then any
//! octet is content.

use super::commands::{Verdict, out_of_order, too_large};
use super::data::{Data, Headers, Text, flawed};
use super::{Closed, Pending, Phase, Reset, Session};
use crate::Dialect;
use crate::body::Plain;
use crate::command;
use crate::reply::Reply;

/// A chunk that is refused.
#[derive(Debug)]
pub(super) struct Refused {
    /// Octets of it that did not come yet.
    left: u64,
    reply: Reply,
    /// How often it is said: LMTP answers the last chunk for each recipient (RFC 2033 §4.3).
    times: usize,
    /// It is an error of protocol, and counted.
    counts: bool,
}

impl Session {
    /// What to do about BDAT. If its size cannot be read, nobody knows what is a command behind
    /// it, and the dialogue is over.
    pub(super) fn judge_bdat(&self, argument: &str) -> Verdict {
        let Some((size, last)) = command::parse_bdat(argument) else {
            return Verdict::Lost;
        };
        let skip = |reply, counts| {
            Verdict::SkipChunk(Refused {
                left: size,
                reply,
                times: 1,
                counts,
            })
        };
        let Some(transaction) = &self.transaction else {
            let counts = !self.mail_refused && !self.chunk_refused;
            let text = if counts {
                "Say MAIL first"
            } else {
                "The transaction failed"
            };
            return skip(out_of_order(text), counts);
        };
        if let Some((reply, counts)) = self.nobody(transaction) {
            return skip(reply, counts);
        }
        let before = transaction.chunks.as_ref().map_or(0, |data| data.octets);
        let limit = self.settings.message_size;
        if limit > 0 && before.saturating_add(size) > limit {
            return Verdict::SkipChunk(self.failed(size, last, too_large()));
        }
        match transaction.chunks {
            None => Verdict::Ask(Pending::Chunk { size, last }),
            Some(_) => Verdict::NextChunk { size, last },
        }
    }

    /// 421, because the end of a chunk is not known.
    pub(super) fn lose_chunk(&mut self) {
        let text = "BDAT needs the size of its chunk, and LAST or nothing; closing connection";
        self.say(&Reply::new(421, (4, 5, 4), text));
        self.finish(Closed::Ours);
    }

    /// The driver has answered what the first chunk asks.
    pub(super) fn begin_chunks(&mut self, size: u64, last: bool, refusal: Option<Reply>) {
        if let Some(reply) = refusal {
            let refused = self.failed(size, last, reply);
            return self.refuse_chunk(refused);
        }
        self.uncount(size > 0);
        let text = match &self.transaction {
            Some(transaction) if transaction.binary => Plain::binary(),
            _ => Plain::new(),
        };
        self.phase = Phase::Data(Data::of(Text::Chunk {
            text,
            size,
            left: size,
            last,
        }));
    }

    /// A chunk after another one.
    pub(super) fn next_chunk(&mut self, size: u64, last: bool) {
        let chunks = self.transaction.as_mut().and_then(|t| t.chunks.take());
        let Some(mut data) = chunks else {
            return;
        };
        self.uncount(size > 0);
        if let Text::Chunk {
            size: all,
            left,
            last: final_one,
            ..
        } = &mut data.text
        {
            (*all, *left, *final_one) = (size, size, last);
        }
        self.phase = Phase::Data(data);
    }

    /// Reads a chunk on; false if it needs more octets.
    pub(super) fn read_chunk(&mut self) -> bool {
        let Phase::Data(data) = &mut self.phase else {
            return true;
        };
        let Text::Chunk {
            text, left, last, ..
        } = &data.text
        else {
            return true;
        };
        let (left, last) = (*left, *last);
        if left == 0 {
            self.end_chunk();
            return true;
        }
        let octets = self.input.octets();
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let octets = octets.get(..most).unwrap_or(octets);
        if octets.is_empty() {
            return false;
        }
        match text.look(octets) {
            Ok(len) => {
                let run = octets.get(..len).unwrap_or_default();
                let (len, headers) = data.headers.scan(run);
                self.pending = Some(Pending::Body(len, headers));
            }
            Err(flaw) => {
                let refused = self.failed(left, last, flawed(flaw));
                self.refuse_chunk(refused);
            }
        }
        true
    }

    /// All octets of a chunk are handed out.
    fn end_chunk(&mut self) {
        let Phase::Data(data) = &mut self.phase else {
            return;
        };
        let Text::Chunk {
            text, size, last, ..
        } = &mut data.text
        else {
            return;
        };
        if !*last {
            let reply = Reply::new(250, (2, 0, 0), format!("{size} octets received"));
            let phase = std::mem::replace(&mut self.phase, Phase::Command);
            if let (Phase::Data(data), Some(transaction)) = (phase, &mut self.transaction) {
                transaction.chunks = Some(data);
            }
            return self.say(&reply);
        }
        match text.lacks_crlf() {
            Err(flaw) => {
                let refused = self.failed(0, true, flawed(flaw));
                self.refuse_chunk(refused);
            }
            Ok(true) => {
                text.take(b"\r\n");
                if data.headers == Headers::Inside {
                    data.headers = Headers::LineStart;
                }
                self.pending = Some(Pending::LastCrlf);
            }
            Ok(false) if data.headers != Headers::Ended => data.headers = Headers::Found,
            Ok(false) => {
                self.phase = Phase::Command;
                self.pending = Some(Pending::EndOfData);
            }
        }
    }

    /// Ends the transaction, if there is one that a chunk belongs to, and drops the chunk.
    pub(super) fn refuse_chunk(&mut self, refused: Refused) {
        let came = match (&self.phase, &self.transaction) {
            (Phase::Data(data), _) => data.octets,
            (_, Some(transaction)) => transaction.chunks.as_ref().map_or(0, |data| data.octets),
            _ => 0,
        };
        self.begin_to_drop(came);
        // A command out of order leaves the transaction as it is.
        if !refused.counts && self.transaction.as_ref().is_some_and(|t| t.accepted > 0) {
            self.transaction = None;
            self.chunk_refused = true;
            self.pending = Some(Pending::Reset(Reset::Refused(refused.reply.clone())));
        }
        self.phase = Phase::SkipChunk(refused);
    }

    /// Drops the rest of a refused chunk; false if it needs more octets.
    pub(super) fn skip_chunk(&mut self) -> bool {
        let Phase::SkipChunk(refused) = &mut self.phase else {
            return true;
        };
        let most = usize::try_from(refused.left).unwrap_or(usize::MAX);
        let n = self.input.octets().len().min(most);
        self.input.consume(n);
        refused.left = refused
            .left
            .saturating_sub(u64::try_from(n).unwrap_or(u64::MAX));
        let on = refused.left > 0;
        if self.drop_counted(n) {
            return true;
        }
        if on {
            return n > 0;
        }
        let phase = std::mem::replace(&mut self.phase, Phase::Command);
        if let Phase::SkipChunk(refused) = phase {
            match refused.counts {
                true => self.refuse(&refused.reply),
                false => (0..refused.times).for_each(|_| self.say(&refused.reply)),
            }
        }
        true
    }

    /// The refusal of a chunk of the open transaction.
    fn failed(&self, left: u64, last: bool, reply: Reply) -> Refused {
        let accepted = self.transaction.as_ref().map_or(1, |t| t.accepted);
        let each = last && self.settings.dialect == Dialect::Lmtp;
        Refused {
            left,
            reply,
            times: if each { accepted } else { 1 },
            counts: false,
        }
    }
}
