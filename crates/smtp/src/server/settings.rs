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
    /// Most transactions a session may have, counted at the accepted MAIL, before 421; 0: any
    /// number.
    pub transactions: u32,
    /// Most commands that bring no message before 421: all since the last accepted message but
    /// those that gave a recipient or a chunk of content.
    pub commands: u32,
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
    /// The defaults: 50 MiB, 1,000 recipients, any number of transactions, 1,000 commands without
    /// a message, 20 errors, 5 failures of AUTH, which is not required and never in clear, all of
    /// [`Offered::default`].
    #[must_use]
    pub fn new(hostname: impl Into<Box<str>>) -> Settings {
        Settings {
            hostname: hostname.into(),
            dialect: Dialect::Smtp,
            message_size: 50 << 20,
            recipients: 1000,
            transactions: 0,
            commands: 1000,
            errors: 20,
            auth_failures: 5,
            auth_required: false,
            auth_in_clear: false,
            extensions: Offered::default(),
        }
    }
}

/// Extensions this session offers. ENHANCEDSTATUSCODES, SIZE and 8BITMIME are always offered;
/// AUTH is when the session has mechanisms (`Session::offer_mechanisms`), FUTURERELEASE when it
/// has its maxima (`Session::offer_future_release`).
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
    /// CHUNKING (RFC 3030 §2). Off by default.
    pub chunking: bool,
    /// BINARYMIME (RFC 3030 §3); only together with CHUNKING. Off by default. Such a message is
    /// handed to the driver as it came, bare CR, bare LF and NUL included.
    pub binary_mime: bool,
    /// LIMITS (RFC 9422): `MAILMAX` and `RCPTMAX`, as [`Settings`] has them. Off by default. A
    /// driver that refuses earlier must not offer it.
    pub limits: bool,
    /// REQUIRETLS (RFC 8689); only inside of TLS. Off by default.
    pub require_tls: bool,
    /// DELIVERBY (RFC 2852), with the fewest seconds that `BY=` may name before a return; 0: no
    /// such number is announced. Only where a peer may authenticate. None by default.
    pub deliver_by: Option<u32>,
    /// MT-PRIORITY (RFC 6710). Only where a peer may authenticate. Off by default.
    pub priority: bool,
    /// XCLIENT. Off by default: who may say it may say that it is anybody.
    pub xclient: bool,
}

impl Default for Offered {
    fn default() -> Self {
        Offered {
            pipelining: true,
            starttls: false,
            smtp_utf8: false,
            dsn: false,
            chunking: false,
            binary_mime: false,
            limits: false,
            require_tls: false,
            deliver_by: None,
            priority: false,
            xclient: false,
        }
    }
}
