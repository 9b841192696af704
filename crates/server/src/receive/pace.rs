//! How slow a peer may be beyond the patience for each wait (RFC 5321 §4.5.3.2.7): until it says
//! hello, in sending a message, and for a transaction as a whole.
//!
//! A message must come at a least rate on average over each [`WINDOW`], so that a link that stalls
//! passes and a peer that sends an octet now and then does not hold a connection for ever. Windows
//! follow each other; one that has brought enough is never held against the peer later.
//!
//! It does **not** know the clock: its callers say what time it is.

use std::time::Duration;

use posthaste_smtp::reply::Reply;

use super::connection::Disconnect;
use crate::config::Limits;

/// What the least rate is averaged over. Not shorter than the patience for one piece of a message,
/// so that a single stall which the patience permits is no offence here.
pub const WINDOW: Duration = Duration::from_secs(5 * 60);

/// What a peer was too slow at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// To say EHLO or HELO.
    Hello,
    /// To send a message: less than the least rate.
    Transfer,
    /// To end a transaction.
    Transaction,
}

impl Slow {
    /// The key in `[limits]`.
    #[must_use]
    pub fn limit(self) -> &'static str {
        match self {
            Slow::Hello => "hello_time",
            Slow::Transfer => "transfer_rate",
            Slow::Transaction => "transaction_time",
        }
    }

    /// 421 4.4.2, with what was too slow.
    #[must_use]
    pub fn reply(self, hostname: &str) -> Reply {
        let what = match self {
            Slow::Hello => "no hello came in time",
            Slow::Transfer => "the message comes too slowly",
            Slow::Transaction => "the transaction takes too long",
        };
        let text = format!("{hostname} closing connection: {what}");
        Reply::new(421, (4, 4, 2), text)
    }
}

/// The pace of one connection.
pub struct Pace {
    transfer_rate: u64,
    transaction_time: Duration,
    hello_by: Option<Duration>,
    transaction_by: Option<Duration>,
    window: Option<Window>,
    /// The message is refused, and comes all the same.
    dropping: bool,
    /// The transaction is over when that ends.
    refused: bool,
}

struct Window {
    /// When it ends.
    by: Duration,
    /// Octets that had come when it began.
    begun_at: u64,
}

impl Pace {
    /// Of a connection that begins at `now`.
    #[must_use]
    pub fn new(limits: &Limits, now: Duration) -> Self {
        Pace {
            transfer_rate: limits.transfer_rate,
            transaction_time: limits.transaction_time,
            hello_by: Some(now + limits.hello_time),
            transaction_by: None,
            window: None,
            dropping: false,
            refused: false,
        }
    }

    /// The peer has said hello.
    pub fn greeted(&mut self) {
        self.hello_by = None;
    }

    /// A transaction begins.
    pub fn transaction(&mut self, now: Duration) {
        self.over();
        self.transaction_by = Some(now + self.transaction_time);
    }

    /// Its message begins; so many octets have come before.
    pub fn message(&mut self, now: Duration, received: u64) {
        self.window = Some(Window {
            by: now + WINDOW,
            begun_at: received,
        });
    }

    /// The transaction is over.
    pub fn over(&mut self) {
        self.transaction_by = None;
        self.window = None;
        self.refused = false;
        self.dropping = false;
    }

    /// The message was refused before its end: the transaction is over when that has come.
    pub fn refused(&mut self) {
        self.refused = true;
    }

    /// Whether what comes now is only dropped. It must come at the same rate as what is kept.
    pub fn dropping(&mut self, dropping: bool, now: Duration, received: u64) {
        if dropping && self.window.is_none() {
            self.message(now, received);
        }
        if !dropping && self.refused {
            self.over();
        } else if !dropping && self.dropping {
            self.window = None;
        }
        self.dropping = dropping;
    }

    /// How long the peer may still take for what it is at, when so many octets have come.
    pub fn left(&mut self, now: Duration, received: u64) -> Duration {
        self.earliest(now, received)
            .map_or(Duration::MAX, |(by, _)| by.saturating_sub(now))
    }

    /// What the peer was too slow at, if it was.
    fn exceeded(&mut self, now: Duration, received: u64) -> Option<Slow> {
        self.earliest(now, received)
            .filter(|(by, _)| *by <= now)
            .map(|(_, slow)| slow)
    }

    /// How the dialogue ended, when the connection gave `end` as the reason: a time that was up may
    /// have been one of these.
    pub fn ended(&mut self, end: Disconnect, now: Duration, received: u64) -> Disconnect {
        match self.exceeded(now, received) {
            Some(slow) if end == Disconnect::Timeout => Disconnect::Slow(slow),
            _ => end,
        }
    }

    fn earliest(&mut self, now: Duration, received: u64) -> Option<(Duration, Slow)> {
        let enough = self.transfer_rate.saturating_mul(WINDOW.as_secs());
        let transfer = self.window.as_mut().map(|window| {
            let satisfied = received.saturating_sub(window.begun_at) >= enough;
            if satisfied && now >= window.by {
                window.by = now + WINDOW;
                window.begun_at = received;
                window.by
            } else if satisfied {
                // The next one is all the peer may still miss.
                window.by + WINDOW
            } else {
                window.by
            }
        });
        [
            self.hello_by.map(|by| (by, Slow::Hello)),
            transfer.map(|by| (by, Slow::Transfer)),
            self.transaction_by.map(|by| (by, Slow::Transaction)),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(by, _)| *by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn pace() -> Pace {
        let limits = Limits {
            transfer_rate: 100,
            transaction_time: at(3_600),
            hello_time: at(60),
            ..Limits::default()
        };
        Pace::new(&limits, at(0))
    }

    #[test]
    fn a_peer_that_says_no_hello_is_slow() {
        let mut pace = pace();
        assert_eq!(pace.left(at(10), 0), at(50));
        assert_eq!(pace.exceeded(at(59), 0), None);
        assert_eq!(pace.exceeded(at(60), 0), Some(Slow::Hello));
        pace.greeted();
        assert_eq!(pace.left(at(61), 0), Duration::MAX);
    }

    #[test]
    fn a_message_that_trickles_is_slow_at_the_end_of_the_window() {
        let mut pace = pace();
        pace.greeted();
        pace.message(at(100), 5_000);
        for (s, received) in [(200, 5_100), (399, 5_300)] {
            assert_eq!(pace.exceeded(at(s), received), None);
        }
        assert_eq!(pace.left(at(390), 5_300), at(10));
        assert_eq!(pace.exceeded(at(400), 34_999), Some(Slow::Transfer));
    }

    #[test]
    fn a_link_that_stalls_for_as_long_as_the_patience_passes() {
        let mut pace = pace();
        pace.greeted();
        pace.message(at(0), 0);
        // All that a window asks for at its beginning, then nothing until the patience ends.
        assert_eq!(pace.left(at(1), 30_000), at(599));
        assert_eq!(pace.exceeded(at(301), 30_000), None);
        // A window that brought enough is followed by one that begins when it was seen to.
        assert_eq!(pace.left(at(302), 30_001), at(299));
        assert_eq!(pace.exceeded(at(601), 60_001), None);
    }

    #[test]
    fn a_refused_message_must_come_at_the_rate_until_its_end() {
        let mut pace = pace();
        pace.greeted();
        pace.transaction(at(0));
        pace.message(at(0), 0);
        pace.refused();
        pace.dropping(true, at(10), 20);
        assert_eq!(pace.exceeded(at(300), 40), Some(Slow::Transfer));
        assert_eq!(pace.exceeded(at(3_600), 9_999_999), Some(Slow::Transaction));
        pace.dropping(false, at(20), 30);
        assert_eq!(pace.exceeded(at(99_999), 40), None);
        // A chunk without a transaction.
        pace.dropping(true, at(100), 50);
        pace.dropping(true, at(200), 60);
        assert_eq!(pace.exceeded(at(400), 70), Some(Slow::Transfer));
        pace.dropping(false, at(401), 80);
        assert_eq!(pace.exceeded(at(99_999), 80), None);
    }

    #[test]
    fn a_transaction_has_an_end_and_the_next_one_its_own() {
        let mut pace = pace();
        pace.greeted();
        pace.transaction(at(0));
        assert_eq!(pace.exceeded(at(3_599), 0), None);
        assert_eq!(pace.exceeded(at(3_600), 0), Some(Slow::Transaction));
        pace.transaction(at(3_000));
        assert_eq!(pace.left(at(3_600), 0), at(3_000));
        pace.over();
        assert_eq!(pace.exceeded(at(99_999), 0), None);
    }
}
