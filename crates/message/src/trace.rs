//! Trace fields of final delivery (RFC 5321 §4.4): `Return-Path:` and `Delivered-To:`.
//!
//! They are rendered once per recipient, at delivery, and stand above all that was received.
//!
//! This module does **not** find or remove the same fields of an earlier delivery.

use crate::text;

/// Renders `Return-Path: <reverse_path>` with its CRLF; `reverse_path` is without angle brackets
/// and empty for the null reverse-path.
#[must_use]
pub fn return_path(reverse_path: &str) -> String {
    format!("Return-Path: <{}>\r\n", text::address(reverse_path))
}

/// Renders `Delivered-To: mailbox` with its CRLF.
#[must_use]
pub fn delivered_to(mailbox: &str) -> String {
    format!("Delivered-To: {}\r\n", text::address(mailbox))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_null_reverse_path_keeps_its_brackets() {
        assert_eq!(return_path(""), "Return-Path: <>\r\n");
        assert_eq!(
            return_path("a@example.org"),
            "Return-Path: <a@example.org>\r\n"
        );
    }

    #[test]
    fn no_address_can_start_another_field() {
        assert_eq!(delivered_to("a@b\r\nX: y"), "Delivered-To: a@b??X:?y\r\n");
        assert_eq!(return_path("a>\r\nX: y"), "Return-Path: <a???X:?y>\r\n");
    }
}
