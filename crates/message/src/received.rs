//! The `Received:` field that we put above every message we take in (RFC 5321 §4.4).
//!
//! This module does **not** read `Received:` fields of others; [`crate::header::Scan`] counts them.

use std::net::IpAddr;

/// The base of the `with` clause (RFC 3848, RFC 6531 §4.3); `S`, `A` and `UTF8` are added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The peer said HELO.
    Smtp,
    /// The peer said EHLO.
    Esmtp,
    /// The peer said LHLO.
    Lmtp,
}

/// What TLS protected the session in which the message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tls<'a> {
    /// Version, as `TLSv1.3`.
    pub version: &'a str,
    /// Cipher suite, as `TLS_AES_256_GCM_SHA384`.
    pub cipher: &'a str,
}

/// What a `Received:` field says. Every text may come from a peer: it is cleaned when rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// The peer's name by its own word (HELO, EHLO or LHLO); empty when it said none.
    pub hello: &'a str,
    /// The peer's address; `None` for a Unix socket or a message made here.
    pub peer: Option<IpAddr>,
    /// The confirmed name of that address; `None` renders as `unknown`.
    pub reverse_name: Option<&'a str>,
    /// Our own name.
    pub by: &'a str,
    /// What was spoken.
    pub protocol: Protocol,
    /// The TLS layer, if any.
    pub tls: Option<Tls<'a>>,
    /// Whether the peer authenticated (RFC 4954).
    pub authenticated: bool,
    /// Whether the transaction used SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// The queue id, or the transaction id.
    pub id: &'a str,
    /// The forward-path without angle brackets, when there is exactly one recipient: with several,
    /// naming them would tell one recipient of another.
    pub recipient: Option<&'a str>,
    /// When, in seconds since 1970-01-01T00:00:00Z.
    pub unix_s: u64,
}

impl Received<'_> {
    /// The field with its CRLF, folded at 78 columns where its words allow.
    #[must_use]
    pub fn render(&self) -> String {
        todo!()
    }
}
