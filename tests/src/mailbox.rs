//! What was delivered: Maildir folders, and messages taken apart at our trace fields.

use std::path::Path;
use std::time::Duration;

use crate::until;

/// The messages in `new/` of a Maildir, in no order.
#[must_use]
pub fn messages(maildir: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(maildir.join("new")) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| std::fs::read(entry.ok()?.path()).ok())
        .collect()
}

/// Waits until a Maildir has `count` messages and gives them.
#[must_use]
pub fn wait(maildir: &Path, count: usize, limit: Duration) -> Vec<Vec<u8>> {
    until(
        &format!("{count} messages in {}", maildir.display()),
        limit,
        || {
            let found = messages(maildir);
            (found.len() >= count).then_some(found)
        },
    )
}

/// The message below the trace fields that were put before its first field, `first`.
///
/// # Panics
/// When the message has no such field.
#[must_use]
pub fn below<'m>(message: &'m [u8], first: &str) -> &'m [u8] {
    let mark = format!("\n{first}:");
    let at = message
        .windows(mark.len())
        .position(|window| window == mark.as_bytes());
    let at = at.unwrap_or_else(|| panic!("no {first} field below a trace field"));
    &message[at + 1..]
}

/// A message with its line ends as a Maildir has them.
#[must_use]
pub fn with_lf(message: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(message.len());
    let mut octets = message.iter().peekable();
    while let Some(octet) = octets.next() {
        if *octet != b'\r' || octets.peek() != Some(&&b'\n') {
            text.push(*octet);
        }
    }
    text
}
