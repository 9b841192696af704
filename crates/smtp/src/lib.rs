//! SMTP without I/O: the grammar of RFC 5321, replies, and the two ends of a dialogue.
//!
//! A session is fed octets and asked what they mean; it has no socket, no clock and no thread, so
//! the shipped code runs unchanged under fuzzers, in simulation and in production. Driving the
//! receiving end takes one loop:
//!
//! ```
//! use posthaste_smtp::reply::Reply;
//! use posthaste_smtp::server::{Accepted, Event, Session, Settings};
//!
//! let mut session = Session::new(Settings::new("mx.example.org"));
//! let mut wire = &b"EHLO c.example\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<b@example.org>\r\n\
//!     DATA\r\nSubject: hi\r\n\r\n..dot\r\n.\r\nQUIT\r\n"[..];
//! let (mut message, mut replies) = (Vec::new(), Vec::new());
//! loop {
//!     while session.wants_input() {
//!         // A driver writes `output` to its socket here and reads into `input_space`.
//!         let n = wire.len().min(7);
//!         session.receive(&wire[..n]);
//!         wire = &wire[n..];
//!     }
//!     match session.next() {
//!         Some(Event::Connected) => session.answer(Reply::greeting("mx.example.org")),
//!         Some(Event::Hello(_)) => session.answer(Reply::hello()),
//!         Some(Event::StartTls) => session.answer(Reply::tls_unavailable()),
//!         Some(Event::Auth(_)) => session.answer(Reply::auth_unavailable()),
//!         Some(Event::Xclient(_)) => session.answer(Reply::local_error()),
//!         Some(Event::Mail(_)) => session.answer(Reply::sender_ok()),
//!         Some(Event::Rcpt(_)) => session.answer(Reply::recipient_ok()),
//!         Some(Event::Data) => session.answer(Reply::start_input()),
//!         Some(Event::Body(octets)) => message.extend_from_slice(octets),
//!         Some(Event::HeadersEnd | Event::Reset(_) | Event::Closed(_)) => {}
//!         Some(Event::EndOfData) => session.answer_data(Ok(Accepted::promise("queued"))),
//!         None => break,
//!     }
//!     replies.extend_from_slice(session.output());
//!     session.wrote(session.output().len());
//! }
//! assert_eq!(message, b"Subject: hi\r\n\r\n.dot\r\n");
//! let end = b"250 2.0.0 queued\r\n221 2.0.0 mx.example.org closing connection\r\n";
//! assert!(replies.ends_with(end));
//! ```
//!
//! Invariant of both ends: how the input is cut into pieces never changes the output.
//!
//! Not here: sockets, time, TLS, logs, configuration, what a message says, and any decision
//! about who may send what to whom.

pub mod address;
mod base64;
mod body;
mod buffer;
pub mod client;
pub mod command;
pub mod dsn;
pub mod extension;
pub mod limits;
mod line;
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
