//! The two buffers of a session: what came and is not read, what is said and not written.
//!
//! Neither knows the protocol. Input keeps one region of memory whose size follows the traffic
//! between bounds its session gives; output is one reused buffer.

use crate::limits;

/// Octets from the peer.
#[derive(Debug)]
pub(crate) struct Input {
    memory: Vec<u8>,
    start: usize,
    end: usize,
    /// How large the memory should be now.
    wanted: usize,
}

impl Input {
    pub(crate) fn new() -> Input {
        Input {
            memory: Vec::new(),
            start: 0,
            end: 0,
            wanted: limits::INPUT_IDLE,
        }
    }

    /// What came and is not consumed.
    pub(crate) fn octets(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    /// `len` octets from `start`, both as positions in memory: for events that lend.
    pub(crate) fn lent(&self, start: usize, len: usize) -> &[u8] {
        self.memory.get(start..start + len).unwrap_or_default()
    }

    pub(crate) fn consume(&mut self, n: usize) {
        self.start = self.end.min(self.start + n);
    }

    /// Consumes `n` octets and says where they are; they stay until space is next asked for.
    pub(crate) fn lend(&mut self, n: usize) -> (usize, usize) {
        let start = self.start;
        self.consume(n);
        (start, self.start - start)
    }

    /// Room for more, never empty.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.make_room(1);
        self.memory.get_mut(self.end..).unwrap_or_default()
    }

    /// `n` octets of [`space`](Self::space) were filled. The memory doubles, up to `most`, when
    /// a read fills it, and falls back when reads are small.
    pub(crate) fn filled(&mut self, n: usize, most: usize) {
        let room = self.memory.len() - self.end;
        self.end += n.min(room);
        if n >= room {
            self.wanted = (self.wanted * 2).min(most);
        } else if n < self.wanted / 8 {
            self.wanted = (self.wanted / 2).max(limits::INPUT_IDLE);
        }
    }

    /// Falls back to `most`, when it is more than that.
    pub(crate) fn settle(&mut self, most: usize) {
        self.wanted = self.wanted.min(most);
    }

    /// Copies octets in.
    pub(crate) fn push(&mut self, octets: &[u8]) {
        self.make_room(octets.len());
        if let Some(space) = self.memory.get_mut(self.end..self.end + octets.len()) {
            space.copy_from_slice(octets);
            self.end += octets.len();
        }
    }

    /// Makes room for at least `n` octets, and gives up memory that is too large.
    fn make_room(&mut self, n: usize) {
        let held = self.end - self.start;
        if held == 0 {
            (self.start, self.end) = (0, 0);
        }
        // Rounded up: a line that comes octet by octet must not move the memory each time.
        let size = self.wanted.max((held + n).next_power_of_two());
        if self.memory.len() < size || (held == 0 && self.memory.len() > size) {
            let mut memory = vec![0; size];
            if let Some(room) = memory.get_mut(..held) {
                room.copy_from_slice(self.octets());
            }
            (self.memory, self.start, self.end) = (memory, 0, held);
        } else if self.start > 0 && self.memory.len() - self.end < n.max(size / 2) {
            self.memory.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, held);
        }
    }
}

/// Octets for the peer.
#[derive(Debug, Default)]
pub(crate) struct Output {
    memory: Vec<u8>,
    written: usize,
    /// Octets written since the dialogue began.
    total: u64,
}

impl Output {
    /// What is said and not written.
    pub(crate) fn octets(&self) -> &[u8] {
        self.memory.get(self.written..).unwrap_or_default()
    }

    /// Where to append.
    pub(crate) fn append(&mut self) -> &mut Vec<u8> {
        &mut self.memory
    }

    pub(crate) fn wrote(&mut self, n: usize) {
        let n = n.min(self.octets().len());
        self.written += n;
        self.total += u64::try_from(n).unwrap_or(u64::MAX);
        if self.written == self.memory.len() {
            self.written = 0;
            self.memory.clear();
            self.memory.shrink_to(limits::OUTPUT_KEPT);
        }
    }

    /// Drops what is not written.
    pub(crate) fn discard(&mut self) {
        self.memory.truncate(self.written);
        self.wrote(0);
    }

    /// How many octets will have been written when all that is said now is.
    pub(crate) fn position(&self) -> u64 {
        self.total + u64::try_from(self.octets().len()).unwrap_or(u64::MAX)
    }

    /// How many octets were written.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_grows_with_traffic_and_falls_back_when_it_is_quiet() {
        let mut input = Input::new();
        assert_eq!(input.space().len(), limits::INPUT_IDLE);
        for _ in 0..8 {
            let room = input.space().len();
            input.filled(room, limits::INPUT_BODY);
            input.consume(room);
        }
        assert_eq!(input.space().len(), limits::INPUT_BODY);
        input.settle(limits::INPUT_COMMANDS);
        assert_eq!(input.space().len(), limits::INPUT_COMMANDS);
        for _ in 0..8 {
            input.filled(1, limits::INPUT_COMMANDS);
            input.consume(1);
            input.space();
        }
        assert_eq!(input.space().len(), limits::INPUT_IDLE);
    }

    #[test]
    fn octets_survive_compaction_and_growth() {
        let mut input = Input::new();
        input.push(&vec![b'a'; 2000]);
        input.consume(1990);
        input.push(&[b'b'; 1500]);
        assert_eq!(input.octets(), [vec![b'a'; 10], vec![b'b'; 1500]].concat());
        input.push(&vec![b'c'; 5000]);
        assert_eq!(input.octets().len(), 6510);
        assert!(input.octets().ends_with(b"ccc"));
    }

    #[test]
    fn output_counts_what_was_written() {
        let mut output = Output::default();
        output.append().extend_from_slice(b"hello");
        output.wrote(2);
        assert_eq!(
            (output.octets(), output.total(), output.position()),
            (&b"llo"[..], 2, 5)
        );
        output.discard();
        assert_eq!(
            (output.octets(), output.total(), output.position()),
            (&b""[..], 2, 2)
        );
    }
}
