//! What happened in a run, as a hash, and as text when somebody reads along.

use std::fmt;

/// A record of a run. Two runs of the same seed have the same hash.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// An empty record; `keep_text` for replays that are read.
    #[must_use]
    pub fn new(keep_text: bool) -> Self {
        Trace {
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            lines: keep_text.then(Vec::new),
        }
    }

    /// Notes numbers that stand for an event: cheap enough for every disk call.
    pub fn note(&mut self, words: &[u64]) {
        for octet in words.iter().flat_map(|w| w.to_le_bytes()) {
            self.hash = (self.hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        }
        self.events += 1;
    }

    /// Notes a line, when the text is kept.
    pub fn line(&mut self, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(text());
        }
    }

    /// FNV-1a over everything noted.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events were noted.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The text, when it was kept.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} over {} events", self.hash, self.events)
    }
}
