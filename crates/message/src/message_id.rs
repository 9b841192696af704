//! Message identifiers for messages that we create or complete (RFC 5322 §3.6.4).
//!
//! This module does **not** read the identifiers of others; [`crate::header::Scan`] keeps them.

use crate::text;

/// Makes a `Message-ID` value with its angle brackets, unique by time and randomness:
/// `<time.random@host>`. `host` is our own name.
#[must_use]
pub fn make(unix_ms: u64, random: u64, host: &str) -> String {
    format!("<{unix_ms:x}.{random:016x}@{}>", text::name(host, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_one_word_in_angle_brackets() {
        assert_eq!(
            make(255, 1, "mx.example.org"),
            "<ff.0000000000000001@mx.example.org>"
        );
        assert_eq!(make(0, 0, "a>\r\nX: y"), "<0.0000000000000000@a???X??y>");
    }
}
