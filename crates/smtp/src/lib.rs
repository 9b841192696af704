//! SMTP without I/O: the grammar of RFC 5321, replies, and the two ends of a dialogue.

pub mod address;
pub mod client;
pub mod extension;
pub mod limits;
pub mod reply;
pub mod server;

/// Which protocol a session speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// SMTP (RFC 5321).
    #[default]
    Smtp,
    /// LMTP (RFC 2033): `LHLO`, and one reply per accepted recipient after the final dot.
    Lmtp,
}
