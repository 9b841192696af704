//! Every bound of the protocol, named, with its source. Octets unless said otherwise.
//!
//! RFC 5321 §4.5.3 gives minima that must be accepted; what is accepted here is never less.

use std::time::Duration;

/// A local part, quotes included (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART: usize = 64;

/// A domain (RFC 5321 §4.5.3.1.2).
pub const DOMAIN: usize = 255;

/// A label of a domain (RFC 1035 §2.3.4).
pub const LABEL: usize = 63;

/// A reverse-path or forward-path with its brackets (RFC 5321 §4.5.3.1.3).
pub const PATH: usize = 256;

/// A command line with its CRLF: 512 (RFC 5321 §4.5.3.1.4), and what MAIL may grow by for SIZE
/// (26, RFC 1870 §3), BODY (17, RFC 6152 §2), SMTPUTF8 (10, RFC 6531 §3.1), AUTH (500,
/// RFC 4954 §3), BY (17, RFC 2852 §2), HOLDUNTIL (34, RFC 4865), MT-PRIORITY (15, RFC 6710 §3) and
/// REQUIRETLS (11, RFC 8689 §2), and RCPT for DSN: a space, `ORCPT=` and its value, and
/// ` NOTIFY=SUCCESS,FAILURE,DELAY`. One bound for all verbs and whatever is offered: it protects
/// our buffer, and a longer line harms nobody.
pub const COMMAND_LINE: usize =
    512 + 26 + 17 + 10 + 500 + 17 + 34 + 15 + 11 + 7 + ORIGINAL_RECIPIENT + 29;

/// A line of an AUTH exchange with its CRLF, in both directions, the command itself included
/// (RFC 4954 §4).
pub const AUTH_LINE: usize = 12_288;

/// The value of `AUTH=` on MAIL (RFC 4954 §3 lets the line grow by as much).
pub const SUBMITTER: usize = 500;

/// A value of XCLIENT in xtext: the longest that Postfix takes.
pub const XCLIENT_VALUE: usize = 255;

/// An envelope identifier in xtext (RFC 3461 §4.4).
pub const ENVELOPE_ID: usize = 100;

/// An `ORCPT` value: a path of [`PATH`] octets of which about every second needs three in xtext.
/// This bound is ours.
pub const ORIGINAL_RECIPIENT: usize = 500;

/// A reply line that we write, with its CRLF; longer text is folded (RFC 5321 §4.5.3.1.5).
pub const REPLY_LINE: usize = 512;

/// A reply line that we read. RFC 5321 §4.5.3.1.5 says 512; we allow what careless peers write.
pub const REPLY_LINE_READ: usize = 2048;

/// A whole multi-line reply that we read; RFC 5321 has no bound, so this one is ours.
pub const REPLY_READ: usize = 32 * 1024;

/// A text line with its CRLF (RFC 5321 §4.5.3.1.6). Longer lines are passed on, not refused: a
/// relay must not damage signed content, and the header scan of `posthaste-message` measures
/// the longest one in the same pass over the octets. Nothing here buffers a text line whole.
pub const TEXT_LINE: usize = 1000;

/// Recipients of a transaction that any server must take (RFC 5321 §4.5.3.1.8).
pub const RECIPIENTS_MIN: usize = 100;

/// Digits of a SIZE value (RFC 1870 §6).
pub const SIZE_DIGITS: usize = 20;

/// Commands a client sends ahead of their replies. RFC 2920 §3.1 asks the client not to fill
/// both windows of the connection; replies to so many commands fit any of them.
pub const PIPELINED_COMMANDS: usize = 100;

/// Transactions a client may have open at once: those whose final reply is owed, and the next.
pub const TRANSACTIONS_IN_FLIGHT: usize = 8;

/// Input buffer of a server session that waits for a command.
pub const INPUT_IDLE: usize = 2 * 1024;

/// Input buffer of a server session that is sent commands faster than they are read.
pub const INPUT_COMMANDS: usize = 16 * 1024;

/// Input buffer of a server session that is sent a message.
pub const INPUT_BODY: usize = 64 * 1024;

/// What is read of a refused message above the size that is permitted, in octets (where none is:
/// since it was refused), so that its sender can hear the refusal at its end. Ours.
pub const REFUSED_EXCESS: u64 = 64 * 1024 * 1024;

/// Output buffer that a session keeps when all is written.
pub const OUTPUT_KEPT: usize = 4 * 1024;

/// A server waits so long for the next command or piece of a message (RFC 5321 §4.5.3.2.7).
pub const SERVER_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// A client waits so long for the greeting (RFC 5321 §4.5.3.2.1), and for the reply to EHLO.
pub const GREETING_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// A client waits so long for the reply to STARTTLS, and to each line of AUTH; no RFC has a value.
pub const AUTH_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// A client waits so long for the reply to MAIL (RFC 5321 §4.5.3.2.2).
pub const MAIL_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// A client waits so long for the reply to RCPT (RFC 5321 §4.5.3.2.3).
pub const RCPT_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// A client waits so long for the reply to DATA (RFC 5321 §4.5.3.2.4).
pub const DATA_PATIENCE: Duration = Duration::from_secs(2 * 60);

/// A client waits so long for a piece of the message to be taken (RFC 5321 §4.5.3.2.5).
pub const BODY_PATIENCE: Duration = Duration::from_secs(3 * 60);

/// A client waits so long for the reply to the final dot (RFC 5321 §4.5.3.2.6).
pub const END_OF_DATA_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// A client waits so long for the reply to QUIT and RSET; RFC 5321 has no value.
pub const QUIT_PATIENCE: Duration = Duration::from_secs(60);
