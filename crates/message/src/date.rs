//! Date and time as written in messages (RFC 5322 §3.3).
//!
//! What we write is always in UTC (`+0000`). What we read may be in any zone, also the obsolete
//! forms of RFC 5322 §4.3, with comments and folding white space.
//!
//! This module does **not** read a clock and does not know leap seconds: `:60` reads as `:59`.

/// The last second that [`render`] can write: 9999-12-31T23:59:59Z.
pub const LAST_S: u64 = 253_402_300_799;

/// Renders seconds since 1970-01-01T00:00:00Z as `Tue, 24 Nov 2026 10:29:04 +0000`. Later than the
/// year 9999 renders as [`LAST_S`].
#[must_use]
pub fn render(unix_s: u64) -> String {
    let _ = unix_s;
    todo!()
}

/// Reads a date-time; seconds since 1970-01-01T00:00:00Z, negative before that. `None` when it is no
/// date-time of RFC 5322 §3.3 or §4.3. The day of the week is not compared with the date.
#[must_use]
pub fn parse(text: &[u8]) -> Option<i64> {
    let _ = text;
    todo!()
}
