//! Messages of a run: making them, knowing them again, and reading reports about them.

use crate::rng::Rng;

/// The field that numbers a message; what stands above it was added on the way.
const FIELD: &str = "X-Simulated: ";

/// A message: its field first, then text of any kind that SMTP carries.
pub(super) fn write(number: u64, longest: u64, rng: &mut Rng) -> Vec<u8> {
    let mut text = format!("{FIELD}{number}\r\nSubject: {number}\r\n\r\n").into_bytes();
    let lines = rng.below(1 + longest / 40);
    for _ in 0..lines {
        match rng.below(6) {
            0 => text.extend_from_slice(b"."),
            1 => text.extend_from_slice(b"..two dots"),
            2 => text.extend_from_slice("\u{e9}\u{fc}".as_bytes()),
            3 => {}
            _ => {
                let len = rng.index(80);
                text.extend((0..len).map(|_| b' ' + u8::try_from(rng.below(94)).unwrap_or(0)));
            }
        }
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// Whether content of a message stands somewhere among `octets`.
pub(super) fn is_within(octets: &[u8]) -> bool {
    octets.windows(FIELD.len()).any(|w| w == FIELD.as_bytes())
}

/// The number of a message; none when it is a report or a stranger.
pub(super) fn number_of(content: &[u8]) -> Option<u64> {
    let own = without_trace(content);
    let line = own.split(|c| *c == b'\r' || *c == b'\n').next()?;
    str::from_utf8(line.strip_prefix(FIELD.as_bytes())?)
        .ok()?
        .parse()
        .ok()
}

/// A message without the fields that were put on top.
pub(super) fn without_trace(content: &[u8]) -> &[u8] {
    let mut rest = content;
    while !rest.starts_with(FIELD.as_bytes()) {
        let Some(at) = rest.iter().position(|c| *c == b'\n') else {
            return content;
        };
        let (line, below) = rest.split_at_checked(at + 1).unwrap_or((rest, &[]));
        if line == b"\r\n" || line == b"\n" {
            return content;
        }
        rest = below;
    }
    rest
}

/// The number in an address: `box+m17@…`.
pub(super) fn number_in(address: &str) -> Option<u64> {
    let (local, _) = address.split_once('@')?;
    local.split_once("+m")?.1.parse().ok()
}

/// The addresses that a report says have failed; empty when it says something else.
pub(super) fn failed_in(report: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(report);
    let mut failed = Vec::new();
    let mut address = None;
    for line in text.lines().map(str::trim_end) {
        if let Some(value) = field(line, "Final-Recipient:") {
            address = value.split_once(';').map(|(_, a)| a.trim().to_owned());
        } else if let Some(value) = field(line, "Action:")
            && value.eq_ignore_ascii_case("failed")
        {
            failed.extend(address.take());
        }
    }
    failed
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let start = line.get(..name.len())?;
    let value = line.get(name.len()..)?;
    start.eq_ignore_ascii_case(name).then(|| value.trim())
}

/// CRLF for every LF: a message as it was before it was stored in a Maildir.
pub(super) fn with_crlf(stored: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(stored.len());
    for octet in stored {
        if *octet == b'\n' {
            text.push(b'\r');
        }
        text.push(*octet);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_again_under_what_was_put_on_top() {
        let text = write(17, 400, &mut Rng::new(1));
        let mut delivered = b"Return-Path: <>\r\nReceived: from a\r\n\tby b\r\n".to_vec();
        delivered.extend_from_slice(&text);
        assert_eq!(number_of(&delivered), Some(17));
        assert_eq!(without_trace(&delivered), text);
        assert_eq!(number_of(b"Subject: x\r\n\r\nX-Simulated: 3\r\n"), None);
        assert_eq!(number_in("box+m17@a.sim"), Some(17));
    }

    #[test]
    fn a_report_names_who_failed() {
        let report = b"Reporting-MTA: dns; a\r\n\r\nFinal-Recipient: rfc822; x+m1@b.sim\r\n\
            Action: failed\r\n\r\nFinal-Recipient: rfc822;y+m1@b.sim\r\nAction: delayed\r\n";
        assert_eq!(failed_in(report), ["x+m1@b.sim"]);
    }
}
