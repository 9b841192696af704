//! AUTH of a client session (RFC 4954): the exchange, not its mechanisms.
//!
//! The driver knows the mechanisms and their secrets; here is what any of them needs: a name,
//! octets in both directions, an end. A challenge that cannot be read is answered by cancelling.
//!
//! After success the session says EHLO again, since a peer may offer more, or have other limits, to
//! those that it knows (RFC 9422 §3); what it said before stays where it does not answer.
//!
//! Not here: which mechanism, and whether the connection is fit for it (the driver's duty: in TLS
//! and to a verified peer).

use super::{Closed, Event, Expect, Malformed, Session, State, Unsuitable};
use crate::base64;
use crate::limits;
use crate::reply::Reply;

/// An exchange on its way.
#[derive(Debug, Default)]
pub(super) struct Auth {
    /// An initial response too long for the line of AUTH: the answer to the first challenge.
    held: Option<Vec<u8>>,
    /// We said `*`.
    cancelled: bool,
}

impl Session {
    /// Says AUTH with the name of a mechanism that the peer offers and, where the mechanism lets
    /// the client begin, its initial response. [`Event::Challenge`]s follow, and
    /// [`Event::AuthDone`] in the end; after a positive one, [`Event::Ready`] anew. Once
    /// authenticated, every MAIL has `AUTH=<>` (RFC 4954 §5: we vouch for nobody).
    ///
    /// # Errors
    /// Nothing was sent: a transaction is open, AUTH has succeeded before, or the mechanism is not
    /// offered.
    pub fn begin_auth(
        &mut self,
        mechanism: &str,
        initial: Option<&[u8]>,
    ) -> Result<(), Unsuitable> {
        let idle = self.can_begin() && self.exchanges.is_empty() && self.expected.is_empty();
        let mut offered = self.extensions.auth.iter();
        let name = offered.find(|name| name.eq_ignore_ascii_case(mechanism));
        let (true, false, Some(name)) = (idle, self.authenticated, name) else {
            return Err(Unsuitable::NotReady);
        };
        let mut line = format!("AUTH {name}").into_bytes();
        let mut auth = Auth::default();
        if let Some(initial) = initial {
            let len = line.len() + 1 + encoded_len(initial.len()) + 2;
            if len > limits::AUTH_LINE {
                auth.held = Some(initial.to_vec());
            } else {
                line.push(b' ');
                match initial {
                    [] => line.push(b'='),
                    octets => base64::encode(octets, &mut line),
                }
            }
        }
        self.auth = auth;
        self.state = State::Authenticating;
        self.say_auth(&line);
        Ok(())
    }

    /// Answers a [`Event::Challenge`]. A response that no line can hold cancels the exchange.
    pub fn respond(&mut self, response: &[u8]) {
        if encoded_len(response.len()) + 2 > limits::AUTH_LINE {
            return self.cancel_auth();
        }
        if self.is_challenged() {
            let mut line = Vec::new();
            base64::encode(response, &mut line);
            self.say_auth(&line);
        }
    }

    /// Gives up the exchange instead of answering a challenge. [`Event::AuthDone`] follows.
    pub fn cancel_auth(&mut self) {
        if self.is_challenged() {
            self.auth.cancelled = true;
            self.say_auth(b"*");
        }
    }

    /// Whether AUTH has succeeded.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// Takes the reply to a line of the exchange.
    pub(super) fn heard_auth(&mut self, reply: Reply) {
        let refused = reply.is_transient() || reply.is_permanent();
        if !refused && self.auth.cancelled {
            return self.end(Closed::Malformed(Malformed::Unexpected));
        }
        match reply.code() {
            334 => self.challenged(&reply),
            _ if reply.is_intermediate() => self.end(Closed::Malformed(Malformed::Unexpected)),
            _ if refused => {
                self.state = State::Ready;
                self.events.push_back(Event::AuthDone(reply));
            }
            _ => {
                self.authenticated = true;
                self.events.push_back(Event::AuthDone(reply));
                self.say_ehlo(Expect::EhloAgain);
            }
        }
    }

    fn challenged(&mut self, reply: &Reply) {
        if let Some(held) = self.auth.held.take() {
            // The empty challenge with which the peer asks for it (RFC 4954 §4).
            return self.respond(&held);
        }
        match base64::decode(reply.text().trim_ascii().as_bytes()) {
            Some(challenge) => self.events.push_back(Event::Challenge(challenge)),
            None => self.cancel_auth(),
        }
    }

    /// Whether a line of ours is what the exchange waits for.
    fn is_challenged(&self) -> bool {
        self.state == State::Authenticating && self.expected.is_empty()
    }

    fn say_auth(&mut self, line: &[u8]) {
        let out = self.output.append();
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
        self.expected.push_back(Expect::Auth);
    }
}

/// How long base64 is that stands for so many octets.
fn encoded_len(octets: usize) -> usize {
    octets.div_ceil(3).saturating_mul(4)
}
