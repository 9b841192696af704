//! The streaming scan of a message: what its header block says, and what a next hop must be able to
//! take.

/// Most octets of a header block.
pub const MAX_BLOCK: u64 = 256 * 1024;
/// Most fields in a header block.
pub const MAX_FIELDS: u32 = 1_000;
/// Most octets of one field, folding included.
pub const MAX_FIELD: u64 = 64 * 1024;
/// Most `Received:` fields before a message counts as looping (RFC 5321 §6.3).
pub const MAX_RECEIVED: u32 = 100;
/// Most octets kept of a Message-ID or a Subject.
pub const MAX_VALUE: usize = 512;

/// A field that the scan counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names are those of RFC 5322 §3.6, RFC 2045 and RFC 3834.
pub enum Field {
    Received,
    ReturnPath,
    DeliveredTo,
    Date,
    MessageId,
    Subject,
    From,
    Sender,
    ReplyTo,
    To,
    Cc,
    Bcc,
    AutoSubmitted,
    MimeVersion,
    ContentType,
}

/// Which bound a header block broke. The scan goes on; the rest counts as body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// More than [`MAX_BLOCK`] octets.
    Block,
    /// More than [`MAX_FIELDS`] fields.
    Fields,
    /// A field of more than [`MAX_FIELD`] octets.
    Field,
}

/// What a scan found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Octets scanned.
    pub size: u64,
    /// Octets of the header block, without the empty line that ends it. `None` while it lasts.
    pub header_end: Option<u64>,
    /// Where the body starts. `None` while the header block lasts.
    pub body_start: Option<u64>,
    /// A line that is neither a field nor a continuation ended the header block.
    pub malformed: bool,
    /// The first bound that the header block broke.
    pub excess: Option<Excess>,
    /// Octets above 127 in the header block.
    pub eight_bit_header: bool,
    /// The header block has octets above 127, and all of it is UTF-8 (RFC 6532).
    pub utf8_header: bool,
    /// Octets above 127 in the body.
    pub eight_bit_body: bool,
    /// Octets of the longest line, without its CRLF.
    pub longest_line: u64,
    /// The first Message-ID: with its angle brackets when it has them, else all of the value.
    pub message_id: Option<String>,
    /// The first Subject, unfolded, as it is written (encoded words are not decoded).
    pub subject: Option<String>,
    counts: [u32; 15],
}

impl Facts {
    /// How many fields of this name the header block has.
    #[must_use]
    pub fn count(&self, field: Field) -> u32 {
        let _ = field;
        todo!()
    }

    /// Whether any octet is above 127, so that a next hop needs 8BITMIME (RFC 6152).
    #[must_use]
    pub fn eight_bit(&self) -> bool {
        self.eight_bit_header || self.eight_bit_body
    }

    /// Whether the message passed more hosts than RFC 5321 §6.3 allows.
    #[must_use]
    pub fn loops(&self) -> bool {
        self.count(Field::Received) > MAX_RECEIVED
    }
}

/// The scanner. How the octets are split over calls of [`Scan::push`] never changes the facts.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    facts: Facts,
}

impl Scan {
    /// Nothing scanned yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Scans the next octets of the message, lines ending in CRLF.
    pub fn push(&mut self, octets: &[u8]) {
        let _ = octets;
        todo!()
    }

    /// What was found so far.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What was found in all. A header block that never ended ends here.
    #[must_use]
    pub fn finish(self) -> Facts {
        todo!()
    }
}
