//! Messages made from a number, for tests that need thousands: with what signatures care about in
//! every place, and with whatever somebody on the way might do to them.
//!
//! Lines end in CRLF and nothing else: a bare CR or LF, which we let pass as an octet, other
//! implementations rewrite before they look, and no server of today takes one.

/// Numbers that a seed determines (xorshift64*).
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(mixed).map_or(0, |mixed| mixed % bound.max(1))
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const WORDS: [&str; 12] = [
    "lorem",
    "Ipsum",
    "DOLOR",
    "a",
    "=20",
    "--",
    "x:y",
    "1;2",
    "(c)",
    "\"q\"",
    "<t@x>",
    "gr\u{fc}n",
];
const BLANKS: [&str; 6] = [" ", " ", " ", "  ", "\t", " \t "];
const FIELDS: [&str; 9] = [
    "Cc",
    "Reply-To",
    "References",
    "In-Reply-To",
    "List-Id",
    "X-Thing",
    "Sender",
    "X-thing",
    "Content-Transfer-Encoding",
];

/// The message of a seed: a header block with one From, and a body.
#[must_use]
pub fn message(seed: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let mut fields = vec![
        format!("From: Alice {seed} <alice@example.org>\r\n"),
        format!(
            "Date:{}Tue, 24 Nov 2026 10:00:00 +0000\r\n",
            numbers.pick(&BLANKS)
        ),
        format!("Message-ID: <{seed}@example.org>\r\n"),
        field("Subject", &mut numbers),
        field("To", &mut numbers),
    ];
    if numbers.below(2) == 0 {
        fields.push("MIME-Version: 1.0\r\n".to_owned());
        fields.push("Content-Type: text/plain;\r\n\tcharset=utf-8\r\n".to_owned());
    }
    for _ in 0..numbers.below(5) {
        let name = numbers.pick(&FIELDS);
        fields.push(field(name, &mut numbers));
    }
    for _ in 0..numbers.below(3) {
        fields.insert(0, field("Received", &mut numbers));
    }
    let mut message = String::new();
    while !fields.is_empty() {
        message.push_str(&fields.remove(numbers.below(fields.len().min(3))));
    }
    message.push_str("\r\n");
    message.push_str(&body(&mut numbers));
    message.into_bytes()
}

fn field(name: &str, numbers: &mut Numbers) -> String {
    let mut field = format!("{name}:");
    for _ in 0..=numbers.below(9) {
        if numbers.below(6) == 0 {
            field.push_str("\r\n");
        }
        field.push_str(numbers.pick(&BLANKS));
        field.push_str(numbers.pick(&WORDS));
    }
    if numbers.below(5) == 0 {
        field.push_str(numbers.pick(&BLANKS));
    }
    field.push_str("\r\n");
    field
}

fn body(numbers: &mut Numbers) -> String {
    let mut body = String::new();
    for _ in 0..numbers.below(12) {
        match numbers.below(8) {
            0 => {}
            1 => body.push_str(numbers.pick(&BLANKS)),
            2 => body.push('.'),
            3 => body.push_str(&"long ".repeat(numbers.below(60))),
            _ => {
                for _ in 0..=numbers.below(8) {
                    body.push_str(numbers.pick(&WORDS));
                    body.push_str(numbers.pick(&BLANKS));
                }
                if numbers.below(2) == 0 {
                    body.truncate(body.trim_end().len());
                }
            }
        }
        body.push_str("\r\n");
    }
    body.push_str(&"\r\n".repeat(numbers.below(4)));
    body
}

/// A signed message with a change that no signature over From, Subject and the body survives.
///
/// # Panics
/// When the message is none of this module, signed.
#[must_use]
pub fn broken(seed: u64, message: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(message.to_vec()).expect("a message of this module");
    let mut numbers = Numbers::new(seed);
    let (head, body) = text.split_once("\r\n\r\n").expect("a header block");
    let changed = match numbers.below(6) {
        0 => text.replacen("\r\nFrom: Alice", "\r\nFrom: Mallory", 1),
        1 => text.replacen("<alice@example.org>", "<alice@example.net>", 1),
        2 => text.replacen("\r\nSubject:", "\r\nSubject: Re:", 1),
        3 => format!("{head}\r\n\r\nmore\r\n{body}"),
        4 => {
            let body = body.trim_end_matches("\r\n");
            format!("{head}\r\n\r\n{body}\r\nmore\r\n")
        }
        _ => text.replace("; d=example.org", "; d=example.net"),
    };
    assert_ne!(changed, text, "{text}");
    changed.into_bytes()
}

/// A message with a change at random, which may or may not matter.
#[must_use]
pub fn changed(seed: u64, message: &[u8]) -> Vec<u8> {
    const PIECES: [&str; 14] = [
        " ", "\t", "  ", "\r\n", "\r\n ", "\r\n\r\n", "a", "A", ":", ";", "=", ".", "0", "+",
    ];
    let mut numbers = Numbers::new(seed ^ 0x5555);
    let mut message = message.to_vec();
    for _ in 0..=numbers.below(2) {
        let at = numbers.below(message.len());
        let piece = numbers.pick(&PIECES).as_bytes().to_vec();
        // Between CR and LF a change would make bare ones.
        let inside = |at: usize| message.get(at) == Some(&b'\n');
        if inside(at) || inside(at + 1) {
            continue;
        }
        match numbers.below(3) {
            0 => {
                message.remove(at);
            }
            1 => message[at] = piece[0].max(b' '),
            _ => {
                message.splice(at..at, piece);
            }
        }
    }
    message
}
