//! Message identifiers for messages that we create or complete (RFC 5322 §3.6.4).

/// Makes a `Message-ID` value with its angle brackets, unique by time and randomness:
/// `<time.random@host>`. `host` is our own name.
#[must_use]
pub fn make(unix_ms: u64, random: u64, host: &str) -> String {
    let _ = (unix_ms, random, host);
    todo!()
}
