//! STARTTLS (RFC 3207): the turn from clear text to TLS, and what must not survive it.
//!
//! Invariants: nothing that came in clear is known after the handshake, neither octets nor what
//! was learned from them; between 220 and the handshake nothing is said or heard in clear.
//!
//! Not here: TLS itself; the driver has it.

use super::commands::{Verdict, no_argument, out_of_order};
use super::{Closed, Pending, Phase, Session};
use crate::reply::Reply;

impl Session {
    /// Whether 220 was said to STARTTLS. The driver then writes [`output`](Self::output), makes
    /// the handshake, and calls [`tls_started`](Self::tls_started); it gives the session nothing
    /// that comes in clear. When the handshake fails it calls [`peer_closed`](Self::peer_closed)
    /// or [`close`](Self::close), which say nothing now.
    pub fn wants_handshake(&mut self) -> bool {
        self.advance();
        matches!(self.phase, Phase::Handshake)
    }

    /// The dialogue goes through TLS from here on: after the handshake that
    /// [`wants_handshake`](Self::wants_handshake) asked for, or, on a connection that is TLS from
    /// its start, before anything else. All that was learned in clear is forgotten
    /// (RFC 3207 §4.2). At any other time it does nothing.
    pub fn tls_started(&mut self) {
        let starts = match self.phase {
            Phase::Handshake => true,
            Phase::Greeting => self.asked.is_none(),
            _ => false,
        };
        if !starts || self.is_tls {
            return;
        }
        if !self.input.octets().is_empty() {
            return self.finish(Closed::Injected);
        }
        self.is_tls = true;
        self.forget();
        if matches!(self.phase, Phase::Handshake) {
            self.phase = Phase::Command;
        }
    }

    /// Whether the dialogue goes through TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(super) fn judge_starttls(&self, argument: &str) -> Result<Verdict, Reply> {
        if self.is_tls {
            return Err(out_of_order("TLS is active already"));
        }
        if !self.settings.extensions.starttls {
            return Err(super::commands::not_implemented());
        }
        self.between_transactions()?;
        no_argument(argument)?;
        Ok(Verdict::Ask(Pending::StartTls))
    }

    /// The driver agrees to STARTTLS.
    pub(super) fn begin_handshake(&mut self) {
        self.say(&Reply::start_tls());
        self.phase = Phase::Handshake;
    }

    /// Waits for the handshake; false while nothing is wrong.
    pub(super) fn await_handshake(&mut self) -> bool {
        let injected = !self.input.octets().is_empty();
        if injected {
            self.finish(Closed::Injected);
        }
        injected
    }
}
