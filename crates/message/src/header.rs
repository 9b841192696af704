//! The streaming scan of a message: what its header block says, and what a next hop must be able to
//! take.
//!
//! It runs over every message once, as the pieces come, and keeps a few hundred octets whatever the
//! message is. **Where the header block ends** (RFC 5322 §2.1): at an empty line, or, as other mail
//! servers do it, before the first line that is neither a field nor a continuation. Such a line
//! then belongs to the body and the scan says `malformed`. A field name is printable ASCII without
//! colon; white space between it and the colon is obsolete but read (RFC 5322 §4.5). White space
//! alone on a line continues a field (RFC 5322 §4.2).
//!
//! Bounds: [`MAX_BLOCK`], [`MAX_FIELDS`], [`MAX_FIELD`]. A message that breaks one should be
//! refused; the facts say which, and the scan stays as cheap as before.
//!
//! This module does **not** parse field values, decode encoded words, or look into MIME parts.

use std::io::BufRead;

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

/// Longer than the longest name in [`NAMES`], so that a longer name can be told from it.
const NAME_KEPT: usize = 16;

const NAMES: [(&[u8], Field); 17] = [
    (b"received", Field::Received),
    (b"return-path", Field::ReturnPath),
    (b"delivered-to", Field::DeliveredTo),
    (b"date", Field::Date),
    (b"message-id", Field::MessageId),
    (b"subject", Field::Subject),
    (b"from", Field::From),
    (b"sender", Field::Sender),
    (b"reply-to", Field::ReplyTo),
    (b"to", Field::To),
    (b"cc", Field::Cc),
    (b"bcc", Field::Bcc),
    (b"auto-submitted", Field::AutoSubmitted),
    (b"mime-version", Field::MimeVersion),
    (b"content-type", Field::ContentType),
    (b"dkim-signature", Field::DkimSignature),
    (b"tls-required", Field::TlsRequired),
];

/// A field that the scan counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
// The names are those of RFC 5321 §4.4, RFC 5322 §3.6, RFC 2045, RFC 3834, RFC 6376 and RFC 8689.
#[allow(missing_docs)]
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
    DkimSignature,
    TlsRequired,
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
    /// The bound that the header block broke.
    pub excess: Option<Excess>,
    /// Octets above 127 in the header block.
    pub eight_bit_header: bool,
    /// The header block has octets above 127, and all of it is UTF-8 (RFC 6532). Known when the
    /// header block has ended.
    pub utf8_header: bool,
    /// Octets above 127 in the body.
    pub eight_bit_body: bool,
    /// Octets of the longest line, without its CRLF.
    pub longest_line: u64,
    /// The first Message-ID: with its angle brackets when it has them, else all of the value.
    pub message_id: Option<String>,
    /// The first `TLS-Required` says `No` (RFC 8689 §4); other values mean nothing.
    pub tls_not_required: bool,
    /// The first Subject, unfolded, as it is written (encoded words are not decoded).
    pub subject: Option<String>,
    counts: [u32; NAMES.len()],
}

impl Facts {
    /// How many fields of this name the header block has.
    #[must_use]
    pub fn count(&self, field: Field) -> u32 {
        self.counts.get(field as usize).copied().unwrap_or(0)
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
    state: State,
    /// Octets consumed by the header machine.
    at: u64,
    /// Where the line that is being read started.
    line_start: u64,
    /// Where the field that is being read started.
    field_start: u64,
    fields: u32,
    name: [u8; NAME_KEPT],
    /// Octets of the name so far, also those that are not kept.
    name_len: usize,
    /// White space came after the name: only more of it or the colon may follow.
    name_over: bool,
    /// The field whose value is being kept, and what was kept.
    keeping: Option<Field>,
    kept: Vec<u8>,
    utf8: Utf8,
    lines: Lines,
}

/// Where the header machine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the first octet of a line of the header block.
    #[default]
    LineStart,
    /// A line of the header block started with CR.
    Return,
    /// In a field name.
    Name,
    /// Between the colon and the line end, or in a continuation line.
    Value,
    /// The header block is over.
    Body,
}

impl Scan {
    /// Nothing scanned yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Scans the next octets of the message, lines ending in CRLF.
    pub fn push(&mut self, octets: &[u8]) {
        self.lines.push(octets);
        self.facts.longest_line = self.lines.longest;
        self.facts.size += length(octets);
        let mut rest = octets;
        while self.state != State::Body && !rest.is_empty() {
            let used = match self.state {
                State::LineStart => self.line_start(rest),
                State::Return => self.after_return(rest),
                State::Name => self.name(rest),
                State::Value => self.value(rest),
                State::Body => 0,
            };
            rest = self.consume(rest, used);
        }
        if !self.facts.eight_bit_body {
            self.facts.eight_bit_body = !rest.is_ascii();
        }
    }

    /// What was found so far.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What was found in all. A header block that never ended ends here.
    #[must_use]
    pub fn finish(mut self) -> Facts {
        match self.state {
            State::LineStart | State::Value => self.end_block(self.at, self.at),
            State::Name | State::Return => self.malformed(),
            State::Body => {}
        }
        self.facts.longest_line = self.lines.finish();
        self.facts
    }

    /// Marks `used` octets as part of the header block, and gives the rest.
    fn consume<'a>(&mut self, octets: &'a [u8], used: usize) -> &'a [u8] {
        let (header, rest) = octets.split_at_checked(used).unwrap_or((octets, &[]));
        self.at += length(header);
        rest
    }

    // Each of the following looks at octets in one state, moves on to the next state, and says how
    // many octets the header block has used.

    fn line_start(&mut self, octets: &[u8]) -> usize {
        self.line_start = self.at;
        match octets {
            [b' ' | b'\t', ..] if self.fields > 0 => {
                self.state = State::Value;
                0
            }
            [b'\r', ..] => {
                self.state = State::Return;
                1
            }
            [b'\n', ..] => {
                self.end_block(self.line_start, self.line_start + 1);
                1
            }
            _ => {
                self.end_field();
                self.field_start = self.line_start;
                self.name_len = 0;
                self.name_over = false;
                self.state = State::Name;
                0
            }
        }
    }

    fn after_return(&mut self, octets: &[u8]) -> usize {
        if octets.starts_with(b"\n") {
            self.end_block(self.line_start, self.line_start + 2);
            1
        } else {
            self.malformed();
            0
        }
    }

    fn name(&mut self, octets: &[u8]) -> usize {
        for (used, &octet) in octets.iter().enumerate() {
            if self.at + length_of(used) >= self.bound() {
                self.too_long();
                return used;
            }
            match octet {
                b':' if self.name_len > 0 => {
                    self.begin_value();
                    return used + 1;
                }
                b' ' | b'\t' if self.name_len > 0 => self.name_over = true,
                b'!'..=b'9' | b';'..=b'~' if !self.name_over => {
                    if let Some(place) = self.name.get_mut(self.name_len) {
                        *place = octet.to_ascii_lowercase();
                    }
                    self.name_len += 1;
                }
                _ => {
                    self.malformed();
                    return used;
                }
            }
        }
        octets.len()
    }

    fn begin_value(&mut self) {
        if self.fields == MAX_FIELDS {
            self.facts.excess = Some(Excess::Fields);
            self.end_block(self.line_start, self.line_start);
            return;
        }
        self.fields += 1;
        self.state = State::Value;
        let name = self.name.get(..self.name_len);
        let Some((_, field)) = NAMES.iter().find(|(known, _)| name == Some(*known)) else {
            return;
        };
        if let Some(count) = self.facts.counts.get_mut(*field as usize) {
            *count += 1;
        }
        let first = self.facts.count(*field) == 1;
        if first
            && matches!(
                field,
                Field::MessageId | Field::Subject | Field::TlsRequired
            )
        {
            self.keeping = Some(*field);
            self.kept.clear();
        }
    }

    fn value(&mut self, octets: &[u8]) -> usize {
        let line = first_line(octets);
        let room = usize::try_from(self.bound() - self.at).unwrap_or(usize::MAX);
        let used = line.len().min(room);
        let line = line.get(..used).unwrap_or(line);
        self.facts.eight_bit_header |= !line.is_ascii();
        if self.facts.eight_bit_header {
            self.utf8.push(line);
        }
        if self.keeping.is_some() {
            let room = MAX_VALUE.saturating_sub(self.kept.len());
            self.kept.extend(
                line.iter()
                    .filter(|b| !matches!(b, b'\r' | b'\n'))
                    .take(room),
            );
        }
        if line.ends_with(b"\n") {
            self.state = State::LineStart;
        } else if used < octets.len() {
            self.too_long();
        }
        used
    }

    /// The offset that the field being read may not pass.
    fn bound(&self) -> u64 {
        (self.field_start + MAX_FIELD).min(MAX_BLOCK)
    }

    fn too_long(&mut self) {
        let block = self.bound() == MAX_BLOCK;
        self.facts.excess = Some(if block { Excess::Block } else { Excess::Field });
        self.end_block(self.field_start, self.field_start);
    }

    fn malformed(&mut self) {
        self.facts.malformed = true;
        self.end_block(self.line_start, self.line_start);
    }

    fn end_block(&mut self, header_end: u64, body_start: u64) {
        self.end_field();
        self.state = State::Body;
        self.facts.header_end = Some(header_end);
        self.facts.body_start = Some(body_start);
        self.facts.utf8_header = self.facts.eight_bit_header && self.utf8.whole();
    }

    /// The field that was being read has no more lines.
    fn end_field(&mut self) {
        let text = || String::from_utf8_lossy(&self.kept).replace(char::is_control, " ");
        match self.keeping.take() {
            Some(Field::MessageId) => self.facts.message_id = Some(identifier(&text()).to_owned()),
            Some(Field::TlsRequired) => {
                self.facts.tls_not_required = text().trim().eq_ignore_ascii_case("no");
            }
            Some(_) => self.facts.subject = Some(text().trim().to_owned()),
            None => {}
        }
    }
}

/// Up to and with the first LF. The standard library's fast search is behind `skip_until`.
fn first_line(octets: &[u8]) -> &[u8] {
    let mut rest = octets;
    let used = rest.skip_until(b'\n').unwrap_or(0);
    octets.get(..used).unwrap_or(octets)
}

/// The identifier in a Message-ID value: from `<` to `>` where there is such, else all of it.
fn identifier(value: &str) -> &str {
    let bracketed = value.find('<').and_then(|from| {
        let tail = value.get(from..)?;
        tail.get(..=tail.find('>')?)
    });
    bracketed.unwrap_or_else(|| value.trim())
}

fn length(octets: &[u8]) -> u64 {
    length_of(octets.len())
}

fn length_of(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Measures lines over pieces.
#[derive(Clone, Debug, Default)]
struct Lines {
    longest: u64,
    /// Octets of the line that has not ended yet.
    open: u64,
    /// The last of them is CR.
    carriage_return: bool,
}

impl Lines {
    fn push(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() {
            let line = first_line(rest);
            rest = rest.get(line.len()..).unwrap_or_default();
            if let Some(text) = line.strip_suffix(b"\n") {
                self.extend(text);
                self.longest = self.finish();
                self.open = 0;
                self.carriage_return = false;
            } else {
                self.extend(line);
            }
        }
    }

    fn extend(&mut self, octets: &[u8]) {
        if let Some(last) = octets.last() {
            self.carriage_return = *last == b'\r';
            self.open += length(octets);
        }
    }

    /// The longest line when the open one ends here.
    fn finish(&self) -> u64 {
        self.longest
            .max(self.open - u64::from(self.carriage_return))
    }
}

/// Checks UTF-8 over pieces.
#[derive(Clone, Debug, Default)]
struct Utf8 {
    broken: bool,
    /// The start of a sequence that the next piece must end.
    open: [u8; 4],
    open_len: usize,
}

impl Utf8 {
    fn push(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while self.open_len > 0 && !self.broken {
            let Some((&octet, tail)) = rest.split_first() else {
                return;
            };
            if let Some(place) = self.open.get_mut(self.open_len) {
                *place = octet;
            }
            self.open_len += 1;
            rest = tail;
            match std::str::from_utf8(self.open.get(..self.open_len).unwrap_or_default()) {
                Ok(_) => self.open_len = 0,
                Err(e) => self.broken = e.error_len().is_some(),
            }
        }
        if let Err(e) = std::str::from_utf8(rest) {
            let tail = rest.get(e.valid_up_to()..).unwrap_or_default();
            self.broken |= e.error_len().is_some();
            self.open
                .iter_mut()
                .zip(tail)
                .for_each(|(place, octet)| *place = *octet);
            self.open_len = tail.len().min(self.open.len());
        }
    }

    /// Every sequence was good and the last one has ended.
    fn whole(&self) -> bool {
        !self.broken && self.open_len == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(octets: &[u8]) -> Facts {
        let mut scan = Scan::new();
        scan.push(octets);
        scan.finish()
    }

    #[test]
    fn an_ordinary_message_gives_its_facts() {
        let message = b"Received: from a by b;\r\n\tdate\r\nreceived : x\r\nDate: now\r\n\
            FROM: a@b\r\n\
            Message-ID:\r\n <1@b>\r\nSubject:  Hello\r\n\tworld \r\n\r\n\
            Body: no field\r\nlonger line here\r\n";
        let facts = scan(message);
        assert_eq!(facts.count(Field::Received), 2);
        assert_eq!(facts.count(Field::From), 1);
        assert_eq!(facts.count(Field::Bcc), 0);
        assert_eq!(facts.message_id.as_deref(), Some("<1@b>"));
        assert_eq!(facts.subject.as_deref(), Some("Hello world"));
        let end = facts.header_end.unwrap();
        assert!(message[usize::try_from(end).unwrap()..].starts_with(b"\r\nBody:"));
        assert_eq!(facts.body_start, Some(end + 2));
        assert_eq!(facts.longest_line, 22);
        assert_eq!(facts.size, message.len() as u64);
        assert!(!facts.malformed && !facts.eight_bit() && facts.excess.is_none());
    }

    #[test]
    fn a_sender_can_say_that_tls_is_not_required() {
        for (value, said) in [
            ("No", true),
            (" no \r\n", true),
            ("", false),
            ("Yes", false),
        ] {
            let block = format!("TLS-Required: {value}\r\n\r\nTLS-Required: No\r\n");
            assert_eq!(scan(block.as_bytes()).tls_not_required, said, "{value}");
        }
        assert!(!scan(b"TLS-Required: x\r\nTLS-Required: No\r\n\r\n").tls_not_required);
    }

    #[test]
    fn a_line_that_is_no_field_ends_the_header_block_before_it() {
        for (message, end) in [
            (&b"A: 1\r\nno colon\r\nB: 2\r\n\r\n"[..], 6),
            (b"A: 1\r\n\xc3\xa4: 2\r\n\r\n", 6),
            (b" continues nothing\r\nA: 1\r\n\r\n", 0),
            (b": no name\r\n\r\n", 0),
            (b"From alice Mon Jan  1 00:00:00 2024\r\nA: 1\r\n\r\n", 0),
            (b"A: 1\r\n\rB: 2\r\n\r\n", 6),
            (b"A: 1\r\nunfinished", 6),
        ] {
            let facts = scan(message);
            assert!(facts.malformed, "{message:?}");
            assert_eq!((facts.header_end, facts.body_start), (Some(end), Some(end)));
        }
    }

    #[test]
    fn a_message_may_lack_a_body_or_a_header_block() {
        let facts = scan(b"A: 1\r\nB: 2\r\n");
        assert_eq!(
            (facts.header_end, facts.body_start, facts.malformed),
            (Some(12), Some(12), false)
        );
        let facts = scan(b"\r\nbody\r\n");
        assert_eq!(
            (facts.header_end, facts.body_start, facts.malformed),
            (Some(0), Some(2), false)
        );
        let facts = scan(b"");
        assert_eq!(
            (facts.header_end, facts.body_start, facts.malformed),
            (Some(0), Some(0), false)
        );
    }

    #[test]
    fn eight_bit_octets_are_told_by_place_and_by_charset() {
        let facts = scan(b"Subject: gr\xc3\xbc\xc3\x9fe\r\n\r\nascii\r\n");
        assert!(facts.eight_bit_header && facts.utf8_header && !facts.eight_bit_body);
        let facts = scan(b"Subject: gr\xfc\xdfe\r\n\r\nascii\r\n");
        assert!(facts.eight_bit_header && !facts.utf8_header && facts.eight_bit());
        let facts = scan(b"Subject: cut \xc3\r\nX: \xa4\r\n\r\n");
        assert!(facts.eight_bit_header && !facts.utf8_header);
        let facts = scan(b"A: 1\r\n\r\n\xff\r\n");
        assert!(!facts.eight_bit_header && !facts.utf8_header && facts.eight_bit_body);
    }

    #[test]
    fn each_bound_is_kept_to_the_octet() {
        let field = |size: usize| [&b"A: "[..], &vec![b'x'; size - 5], b"\r\n"].concat();
        let max_field = usize::try_from(MAX_FIELD).unwrap();
        assert_eq!(scan(&field(max_field)).excess, None);
        let facts = scan(&[&b"B: 1\r\n"[..], &field(max_field + 1)].concat());
        assert_eq!(
            (facts.excess, facts.header_end),
            (Some(Excess::Field), Some(6))
        );
        let full = field(max_field).repeat(4);
        assert_eq!(scan(&full).excess, None);
        assert_eq!(scan(&[&full[..], b"\r\nbody"].concat()).excess, None);
        assert_eq!(
            scan(&[&full[..], b"B: 1\r\n"].concat()).excess,
            Some(Excess::Block)
        );
        let many = b"A: 1\r\n".repeat(1_000);
        assert_eq!(scan(&many).excess, None);
        let facts = scan(&b"A: 1\r\n".repeat(1_001));
        assert_eq!(
            (facts.excess, facts.header_end),
            (Some(Excess::Fields), Some(6_000))
        );
        assert_eq!(scan(&vec![b'n'; max_field + 1]).excess, Some(Excess::Field));
    }

    #[test]
    fn more_than_a_hundred_hops_are_a_loop() {
        assert!(!scan(&b"Received: x\r\n".repeat(100)).loops());
        assert!(scan(&b"Received: x\r\n".repeat(101)).loops());
    }

    #[test]
    fn a_kept_value_is_bounded_and_has_no_control_characters() {
        let facts = scan(&[&b"Subject: a\x1b[0m\x00b "[..], &[b'c'; 2_000], b"\r\n"].concat());
        let subject = facts.subject.unwrap();
        assert!(
            subject.starts_with("a [0m b ccc") && subject.len() <= MAX_VALUE,
            "{subject}"
        );
        assert_eq!(
            scan(b"Message-ID:\r\nTo: x\r\n").message_id.as_deref(),
            Some("")
        );
    }

    /// Octets in which line ends, colons and UTF-8 are frequent.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => Just(b"\r\n".to_vec()),
            1 => Just(b"\n".to_vec()),
            1 => Just(b"\r".to_vec()),
            3 => Just(b"Subject: x".to_vec()),
            3 => Just(b"message-id :<a@b>".to_vec()),
            2 => Just(b"Received: by".to_vec()),
            2 => Just(" \u{e4}\u{1f4ee}".as_bytes().to_vec()),
            2 => proptest::collection::vec(any::<u8>(), 0..6),
            1 => Just(vec![b'y'; 600]),
        ];
        proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn splitting_the_octets_never_changes_the_facts(
            message in message(),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(message.len() + 1)).collect();
            cuts.sort_unstable();
            let mut split = Scan::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([message.len()]) {
                split.push(&message[from..cut]);
                let mut whole = Scan::new();
                whole.push(&message[..cut]);
                prop_assert_eq!(split.facts(), whole.facts());
                from = cut;
            }
            prop_assert_eq!(split.finish(), scan(&message));
        }

        #[test]
        fn the_body_starts_at_or_just_after_the_end_of_the_header_block(message in message()) {
            let facts = scan(&message);
            let (end, start) = (facts.header_end.unwrap(), facts.body_start.unwrap());
            prop_assert!(end <= start && start <= facts.size && start - end <= 2);
            prop_assert_eq!(facts.utf8_header, facts.eight_bit_header
                && std::str::from_utf8(&message[..usize::try_from(end).unwrap()]).is_ok());
            prop_assert_eq!(facts.eight_bit(), !message.is_ascii());
        }
    }
}
