//! What the session asks or tells its driver.

use std::borrow::Cow;
use std::fmt;

use crate::command::{Hello, Mail, Rcpt, Xclient};
use crate::reply::Reply;

/// What the session asks or tells its driver.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Question: a peer is there. 220 greets it; 554, 421 and 521 refuse it (RFC 5321 §3.1).
    Connected,
    /// Question: EHLO, HELO or LHLO. A 250 is replaced by the session's own list of extensions,
    /// a refusal is sent as it is.
    Hello(Hello),
    /// Question: STARTTLS (RFC 3207 §4). A 2yz is replaced by the session's own 220, and then
    /// [`Session::wants_handshake`](super::Session::wants_handshake). A 454 leaves the dialogue
    /// as it was.
    StartTls,
    /// AUTH: a question, but for [`Auth::Cancelled`].
    Auth(Auth),
    /// Question: XCLIENT, from a peer that may say for whom it speaks. A 220 greets that client:
    /// the dialogue starts over, and is authenticated if a `LOGIN` was given. What refuses is
    /// sent as it is and leaves the dialogue as it was.
    Xclient(Xclient),
    /// Question: MAIL FROM.
    Mail(Mail),
    /// Question: RCPT TO.
    Rcpt(Rcpt),
    /// Question: DATA, or the first BDAT. 354 opens the body (and is not said to BDAT).
    Data,
    /// Notification: octets of the message, dot-stuffing removed, line ends CRLF; split anywhere.
    Body(&'a [u8]),
    /// Notification, once a message: the header block ended. The next `Body` (if any) starts after
    /// the empty line, the last one ended with it.
    HeadersEnd,
    /// Question, for [`Session::answer_data`](super::Session::answer_data): the final dot came,
    /// or the end of the last chunk.
    EndOfData,
    /// Notification: the transaction is over without a message; drop the draft.
    Reset(Reset),
    /// Notification, the last: send what `output` still holds, then close.
    Closed(Closed),
}

/// A step of an AUTH exchange (RFC 4954 §4). A question is answered with
/// [`Session::challenge`](super::Session::challenge), which asks the peer for more, or with
/// [`Session::answer`](super::Session::answer), which ends the exchange: 235 authenticates, 535
/// and what else refuses leaves the dialogue as it was.
#[derive(PartialEq, Eq)]
pub enum Auth {
    /// Question: AUTH.
    Begin {
        /// The mechanism, as it was offered.
        mechanism: Box<str>,
        /// The initial response, decoded; `=` on the wire is an empty one.
        initial: Option<Vec<u8>>,
    },
    /// Question: the peer's response to a challenge, decoded.
    Response(Vec<u8>),
    /// Notification: the exchange is over, without an outcome. The peer cancelled it, or sent
    /// what is no response.
    Cancelled,
}

/// Without what the peer sent: it may be a password, and must not get into a log.
impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Auth::Begin { mechanism, initial } => {
                let octets = initial.as_ref().map(Vec::len);
                write!(f, "Begin({mechanism:?}, {octets:?} octets)")
            }
            Auth::Response(octets) => write!(f, "Response({} octets)", octets.len()),
            Auth::Cancelled => f.write_str("Cancelled"),
        }
    }
}

/// Why a transaction ended without a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reset {
    /// RSET.
    Command,
    /// Another EHLO, HELO or LHLO (RFC 5321 §4.1.4).
    Hello,
    /// The session itself refused the message at the dot with this reply: too large, or a bare
    /// CR, bare LF or NUL in it. Or a chunk was refused, by the session or at [`Event::Data`].
    Refused(Reply),
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// QUIT.
    Quit,
    /// The peer closed its end.
    PeerClosed,
    /// The error budget is used up; 421 was sent.
    TooManyErrors,
    /// Too many commands came without a message; 421 was sent.
    TooManyCommands,
    /// All transactions that a session may have were had; 421 was sent to one more MAIL.
    TooManyTransactions,
    /// Too many AUTH exchanges failed; 421 was sent.
    TooManyAuthFailures,
    /// Octets came in clear behind STARTTLS, before the handshake (RFC 3207 §4.2): somebody tries
    /// to have them heard as if they came through TLS.
    Injected,
    /// The driver answered 421 or 521, or called [`Session::close`](super::Session::close); or
    /// where a chunk ends cannot be known.
    Ours,
}

/// The right to answer 2yz to the final dot.
#[derive(Debug)]
pub struct Accepted {
    pub(super) reply: Reply,
}

impl Accepted {
    /// Makes it: the caller promises that the message is on stable storage. There is one caller.
    #[must_use]
    pub fn promise(text: impl Into<Cow<'static, str>>) -> Accepted {
        Accepted {
            reply: Reply::new(250, (2, 0, 0), text),
        }
    }

    /// The reply the peer will get: for the log.
    #[must_use]
    pub fn reply(&self) -> &Reply {
        &self.reply
    }
}
