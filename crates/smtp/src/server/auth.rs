//! AUTH (RFC 4954): the frame of an exchange. What is in it is the driver's and its mechanisms'.
//!
//! Invariants: no response is asked for outside of TLS, unless the settings say so; a line of an
//! exchange has at most [`limits::AUTH_LINE`] octets; nothing that is no base64 reaches the
//! driver; once authenticated, a session stays so until TLS starts or it ends.
//!
//! Not here: mechanisms, accounts, delays.

use std::sync::Arc;

use super::commands::{Verdict, not_implemented, out_of_order};
use super::{Asked, Auth, Closed, Pending, Phase, Session};
use crate::base64;
use crate::command::{syntax, words};
use crate::extension::FutureRelease;
use crate::limits;
use crate::line::Line;
use crate::reply::Reply;

impl Session {
    /// Sets which mechanisms AUTH has from now on, the preferred ones first; none: there is no
    /// AUTH. Names are those of RFC 4422 §3.1, in upper case. Call it before the hello is
    /// answered; [`tls_started`](Self::tls_started) does not change them.
    pub fn offer_mechanisms(&mut self, mechanisms: impl Into<Arc<[Box<str>]>>) {
        self.mechanisms = mechanisms.into();
    }

    /// Whether the driver answered 2yz to an AUTH exchange, and TLS did not start since.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// Answers an open question of AUTH by asking the peer for a response to this challenge: 334.
    /// Without one open it does nothing. A challenge that does not fit on a line ends the
    /// exchange with 454.
    pub fn challenge(&mut self, octets: &[u8]) {
        if self.asked != Some(Asked::Auth) {
            return;
        }
        let line = "334 \r\n".len() + octets.len().div_ceil(3) * 4;
        if line > limits::AUTH_LINE {
            return self.answer(Reply::auth_unavailable());
        }
        self.asked = None;
        let out = self.output.append();
        out.extend_from_slice(b"334 ");
        base64::encode(octets, out);
        out.extend_from_slice(b"\r\n");
        self.phase = Phase::Response;
    }

    /// Offers FUTURERELEASE from now on, to peers that may authenticate (RFC 4865): how long and
    /// until when a message may be held. The session has no clock, so the driver sets it, and
    /// again when the time it names has become too old.
    pub fn offer_future_release(&mut self, most: impl Into<Option<FutureRelease>>) {
        self.future_release = most.into();
    }

    /// Whether what only authenticated peers may ask for is offered.
    pub(super) fn offers_to_authenticated(&self) -> bool {
        self.authenticated || self.auth_offered()
    }

    /// Whether AUTH may be said now.
    pub(super) fn auth_offered(&self) -> bool {
        !self.mechanisms.is_empty() && (self.is_tls || self.settings.auth_in_clear)
    }

    /// The longest that a command line may be: AUTH may carry an initial response.
    pub(super) fn longest_command(&self) -> usize {
        let is_auth = |octets: &[u8]| {
            octets
                .get(..5)
                .is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "))
        };
        match self.auth_offered() && is_auth(self.input.octets()) {
            true => limits::AUTH_LINE,
            false => limits::COMMAND_LINE,
        }
    }

    pub(super) fn judge_auth(&self, argument: &str) -> Result<Verdict, Reply> {
        if self.mechanisms.is_empty() {
            return Err(not_implemented());
        }
        if self.authenticated {
            return Err(out_of_order("Authenticated already"));
        }
        self.between_transactions()?;
        if !self.auth_offered() {
            let text = "Encryption required for requested authentication mechanism";
            return Err(Reply::new(538, (5, 7, 11), text));
        }
        let mut words = words(argument);
        let (Some(name), initial, None) = (words.next(), words.next(), words.next()) else {
            return Err(syntax("Write AUTH mechanism [initial-response]"));
        };
        let known = self
            .mechanisms
            .iter()
            .find(|known| known.eq_ignore_ascii_case(name));
        let Some(mechanism) = known.cloned() else {
            let text = "Unrecognized authentication mechanism";
            return Err(Reply::new(504, (5, 5, 4), text));
        };
        let initial = match initial {
            None => None,
            Some("=") => Some(Vec::new()),
            Some(text) => Some(base64::decode(text.as_bytes()).ok_or_else(not_base64)?),
        };
        let begin = Auth::Begin { mechanism, initial };
        Ok(Verdict::Ask(Pending::Auth(begin)))
    }

    /// Reads a response; false if it needs more octets.
    pub(super) fn read_response(&mut self) -> bool {
        let octets = self.input.octets();
        let (consumed, phase, spoiled) = match Line::find(octets, limits::AUTH_LINE) {
            Line::Partial => return false,
            Line::Whole(len) => {
                let line = octets.get(..len).unwrap_or_default();
                let response = match line {
                    b"*" => Err(cancelled()),
                    line => base64::decode(line).ok_or_else(not_base64),
                };
                match response {
                    Ok(response) => {
                        self.pending = Some(Pending::Auth(Auth::Response(response)));
                        (len + 2, Phase::Command, None)
                    }
                    Err(refusal) => (len + 2, Phase::Command, Some(refusal)),
                }
            }
            Line::BareLf(at) => {
                let phase = Phase::SkipLine {
                    after_cr: false,
                    reply: None,
                };
                (at + 1, phase, Some(super::commands::bare_lf()))
            }
            Line::TooLong => {
                let reply = Some(auth_line_too_long());
                let phase = Phase::SkipLine {
                    after_cr: false,
                    reply,
                };
                self.pending = Some(Pending::Auth(Auth::Cancelled));
                (0, phase, None)
            }
        };
        self.input.consume(consumed);
        self.phase = phase;
        if let Some(refusal) = spoiled {
            self.pending = Some(Pending::Auth(Auth::Cancelled));
            // It may end the dialogue, and then the driver is told that instead.
            self.refuse(&refusal);
        }
        true
    }

    /// The driver's answer to an exchange.
    pub(super) fn end_exchange(&mut self, reply: Reply) {
        let reply = match reply.code() / 100 {
            2 | 4 | 5 => reply,
            _ => Reply::auth_unavailable(),
        };
        self.phase = Phase::Command;
        self.authenticated = reply.is_positive();
        self.auth_failures += u32::from(reply.is_permanent());
        if reply.closes() || self.auth_failures <= self.settings.auth_failures {
            self.say(&reply);
            if reply.closes() {
                self.finish(Closed::Ours);
            }
            return;
        }
        self.hang_up(
            Closed::TooManyAuthFailures,
            "too many failed authentications",
        );
    }
}

/// 500 5.5.6 (RFC 4954 §6).
pub(super) fn auth_line_too_long() -> Reply {
    Reply::new(500, (5, 5, 6), "Authentication exchange line is too long")
}

/// 501 5.5.2 (RFC 4954 §4).
fn not_base64() -> Reply {
    Reply::new(501, (5, 5, 2), "Response is not base64")
}

/// 501 (RFC 4954 §4).
fn cancelled() -> Reply {
    Reply::new(501, (5, 7, 0), "Authentication cancelled")
}
