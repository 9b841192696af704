//! The messages that go through every client and every next hop.

/// A message with its name.
pub struct Sample {
    /// What is special about it; stands in its subject.
    pub name: &'static str,
    /// Its octets, with CRLF.
    pub octets: Vec<u8>,
}

/// Plain text, 8-bit text, ten mebibytes, and lines that begin with dots.
#[must_use]
pub fn samples() -> Vec<Sample> {
    vec![
        sample("text", b"Hello,\r\n\r\nthis is plain.\r\n"),
        sample(
            "8bit",
            "Grüße, 日本語, and no end of line in sight: ñandú.\r\n".as_bytes(),
        ),
        sample("large", &large(10 * 1024 * 1024)),
        sample(
            "dots",
            b".\r\n..\r\n...\r\n.x\r\n. \r\n\r\n.\r\n.\r\n. end\r\n",
        ),
    ]
}

/// A message with a subject and a body.
#[must_use]
pub fn sample(name: &'static str, body: &[u8]) -> Sample {
    let head = format!(
        "Subject: {name}\r\nFrom: <sender@client.example>\r\nTo: <alice@local.example>\r\n\
         Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{name}@client.example>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\r\n"
    );
    Sample {
        name,
        octets: [head.as_bytes(), body].concat(),
    }
}

/// What the benchmarks send: a message of lines of text, of `size` octets less a part of a line.
#[must_use]
pub fn load(size: usize) -> Vec<u8> {
    let line = "A line of text such as people write, of some seventy octets in all.\r\n";
    let head = sample("load", b"").octets;
    let lines = size.saturating_sub(head.len()) / line.len();
    [head, line.repeat(lines).into_bytes()].concat()
}

/// A body of about `size` octets in which no two lines are the same.
#[must_use]
pub fn large(size: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(size + 80);
    let mut number: u64 = 0;
    while body.len() < size {
        let word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        body.extend_from_slice(format!("{number:010} {word:016x} the line goes on\r\n").as_bytes());
        number += 1;
    }
    body
}
