//! Trace fields of final delivery (RFC 5321 §4.4): `Return-Path:` and `Delivered-To:`.
//!
//! They are rendered once per recipient, at delivery, and stand above all that was received.

/// Renders `Return-Path: <reverse_path>` with its CRLF; `reverse_path` is without angle brackets and
/// empty for the null reverse-path.
#[must_use]
pub fn return_path(reverse_path: &str) -> String {
    let _ = reverse_path;
    todo!()
}

/// Renders `Delivered-To: mailbox` with its CRLF.
#[must_use]
pub fn delivered_to(mailbox: &str) -> String {
    let _ = mailbox;
    todo!()
}
