//! How a session behaves: what its listener decides once for all peers.

use crate::Dialect;

/// How a session behaves; shared by the sessions of a listener.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our name in greeting, EHLO and the goodbye (RFC 5321 §4.1.1.1).
    pub hostname: Box<str>,
    /// SMTP or LMTP.
    pub dialect: Dialect,
    /// Largest message in octets, announced by SIZE; 0: no limit is announced or kept.
    pub message_size: u64,
    /// Most recipients a transaction may have (RFC 5321 §4.5.3.1.8 asks for at least 100).
    pub recipients: usize,
    /// Errors of protocol (500 to 504, 530, 538, 555) before 421. What the driver refuses is not
    /// counted, nor what fails only because a command before it in a pipelined group was refused.
    pub errors: u32,
    /// Exchanges of AUTH that the driver refused with 5yz, before 421.
    pub auth_failures: u32,
    /// MAIL needs AUTH before it, and so do VRFY and EXPN: 530 (RFC 4954 §6, RFC 6409 §4.3).
    pub auth_required: bool,
    /// AUTH is taken outside of TLS, too: for peers whose octets nobody else can see.
    pub auth_in_clear: bool,
    /// What EHLO announces.
    pub extensions: Offered,
}

impl Settings {
    /// The defaults: 50 MiB, 1,000 recipients, 20 errors, 5 failures of AUTH, which is not
    /// required and never in clear, all of [`Offered::default`].
    #[must_use]
    pub fn new(hostname: impl Into<Box<str>>) -> Settings {
        Settings {
            hostname: hostname.into(),
            dialect: Dialect::Smtp,
            message_size: 50 << 20,
            recipients: 1000,
            errors: 20,
            auth_failures: 5,
            auth_required: false,
            auth_in_clear: false,
            extensions: Offered::default(),
        }
    }
}

/// Extensions this session offers. ENHANCEDSTATUSCODES, SIZE and 8BITMIME are always offered;
/// AUTH is when the session has mechanisms (`Session::offer_mechanisms`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered {
    /// PIPELINING (RFC 2920). On by default.
    pub pipelining: bool,
    /// STARTTLS (RFC 3207). Off by default. Never announced inside of TLS.
    pub starttls: bool,
    /// SMTPUTF8 (RFC 6531). Off by default.
    pub smtp_utf8: bool,
    /// DSN (RFC 3461). Off by default.
    pub dsn: bool,
    /// CHUNKING (RFC 3030). Off by default. BINARYMIME is never offered: what may leave us has
    /// neither bare CR nor bare LF.
    pub chunking: bool,
}

impl Default for Offered {
    fn default() -> Self {
        Offered {
            pipelining: true,
            starttls: false,
            smtp_utf8: false,
            dsn: false,
            chunking: false,
        }
    }
}
