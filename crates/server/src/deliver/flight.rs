//! Several messages to one host in one flight: the next transaction follows the final dot of the
//! last (RFC 2920 §3.1), and where the host offers CHUNKING each is sent whole before any reply
//! (RFC 3030 §4.2). A round trip then carries one message, or several, instead of half a message.
//!
//! Its bounds: servers that the operator named, since one that MX names is a stranger; a connection
//! on which a message went well before; [`MESSAGES_MAX`] messages and [`OCTETS_MAX`] octets. A
//! message that is refused in a flight may be refused for the flight, not for itself: it is sent
//! again alone, and what the host says then counts. A connection that is lost has an outcome for
//! each message whose end it got (RFC 1047); the others are sent again. A host that did either gets
//! no flights for [`UNSUITABLE_FOR`].
//!
//! This module does **not** choose the messages, and reports nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use posthaste_smtp::Dialect;
use posthaste_smtp::client::{Event, Lost, RecipientOutcome, Unsuitable};
use posthaste_smtp::limits::TRANSACTIONS_IN_FLIGHT;
use posthaste_world::Timestamp;
use posthaste_world::net::Endpoint;

use super::connection::Connection;
use super::parcel::Parcel;

/// Messages of one flight.
pub const MESSAGES_MAX: usize = TRANSACTIONS_IN_FLIGHT;
/// Octets of content of one flight.
pub const OCTETS_MAX: u64 = 1 << 20;
/// How long a host that lost the thread gets one message at a time.
pub const UNSUITABLE_FOR: Duration = Duration::from_secs(600);
/// Such hosts that are remembered.
const UNSUITABLE_MAX: usize = 1000;

/// Who is told of an answer as soon as it is there: which parcel, and what it says.
pub(super) type Heard<'a> = &'a mut (dyn FnMut(usize, &Parcel<'_>, &[RecipientOutcome]) + Send);

/// Hosts that lost the thread, and until when they are remembered (elapsed time).
#[derive(Default)]
pub(super) struct UnsuitableHosts(Mutex<BTreeMap<Endpoint, Duration>>);

impl UnsuitableHosts {
    pub(super) fn contain(&self, host: &Endpoint, now: Duration) -> bool {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get(host).is_some_and(|until| *until > now)
    }

    pub(super) fn add(&self, host: &Endpoint, now: Duration) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, until| *until > now);
        if hosts.len() < UNSUITABLE_MAX {
            hosts.insert(host.clone(), now + UNSUITABLE_FOR);
        }
    }
}

/// Whether an answer in a flight is to be believed: the host took the message for some recipient,
/// or may have. Anything else it may say of the flight: some refuse what comes before their answer
/// to the last message (Haraka, with 503), or take it for something else once they have refused.
pub(super) fn is_understood(outcomes: &[RecipientOutcome]) -> bool {
    let ended = |o: &RecipientOutcome| {
        let lost = RecipientOutcome::Lost(Lost::AfterEndOfData);
        matches!(o, RecipientOutcome::Accepted(_)) || *o == lost
    };
    outcomes.iter().any(ended)
}

/// Whether the host took the message for all recipients.
pub(super) fn is_accepted(outcomes: &[RecipientOutcome]) -> bool {
    let accepted = |o: &RecipientOutcome| matches!(o, RecipientOutcome::Accepted(_));
    outcomes.iter().all(accepted)
}

/// Whether any recipient's outcome is that the connection was lost: then its end says why.
pub(super) fn is_lost(outcomes: &[RecipientOutcome]) -> bool {
    let lost = |o: &RecipientOutcome| matches!(o, RecipientOutcome::Lost(_));
    outcomes.iter().any(lost)
}

impl Connection {
    /// Whether several messages may be sent on it at once.
    #[must_use]
    pub(super) fn may_fly(&self) -> bool {
        let named = !self.hop().by_mx && self.hop().dialect == Dialect::Smtp;
        named && self.peer.pipelining && self.is_proven() && self.takes_another()
    }

    /// Whether it takes all recipients of a parcel in one transaction.
    #[must_use]
    pub(super) fn takes_all(&self, parcel: &Parcel<'_>) -> bool {
        let all: Vec<usize> = (0..parcel.recipients().len()).collect();
        self.takes(&parcel.transaction(&all).recipients) == all.len()
    }

    /// Sends the parcels, each in one transaction for all of its recipients, without waiting for
    /// more replies than it must; `heard` is told of each answer when it comes, in their order.
    /// Says why the connection ended, when it did.
    pub(super) async fn fly(
        &mut self,
        parcels: &mut [Parcel<'_>],
        now: Timestamp,
        heard: Heard<'_>,
    ) -> Option<String> {
        let mut begun: VecDeque<usize> = VecDeque::new();
        let mut next = 0;
        let mut waiting = false;
        loop {
            if let Some(event) = self.session.next() {
                waiting = false;
                match event {
                    // Only the last one that was begun has content left to give.
                    Event::SendBody => {
                        let last = begun.back().and_then(|at| parcels.get_mut(*at));
                        if let Some(parcel) = last {
                            self.send_body(parcel).await;
                        }
                    }
                    Event::Finished(outcomes) => {
                        let first = begun.pop_front();
                        if let Some((at, parcel)) =
                            first.and_then(|at| Some((at, parcels.get(at)?)))
                        {
                            heard(at, parcel, &outcomes);
                        }
                    }
                    Event::Closed(closed) => {
                        let why = self.why(&closed);
                        self.cut(why.clone());
                        return Some(why);
                    }
                    _ => {}
                }
                continue;
            }
            if self.takes_another()
                && let Some(parcel) = parcels.get(next)
            {
                if self.begin_in_flight(parcel, now).is_ok() {
                    begun.push_back(next);
                }
                next += 1;
                continue;
            }
            if begun.is_empty() {
                self.used();
                return None;
            }
            if !waiting {
                self.timer.set(self.session.patience());
                waiting = true;
            }
            if let Err(why) = self.exchange().await {
                self.cut(why);
            }
        }
    }

    fn begin_in_flight(&mut self, parcel: &Parcel<'_>, now: Timestamp) -> Result<(), Unsuitable> {
        let all: Vec<usize> = (0..parcel.recipients().len()).collect();
        let mut options = parcel.options(&all, now);
        options.require_tls &= self.offers_require_tls();
        if self.peer.chunking {
            options.chunk = Some(parcel.stored().size());
            options.ahead = true;
        }
        self.begin(parcel.transaction(&all), options)
    }
}

#[cfg(test)]
mod tests {
    use posthaste_smtp::reply::Reply;

    use super::*;

    fn accepted() -> RecipientOutcome {
        RecipientOutcome::Accepted(Reply::new(250, (2, 0, 0), "ok"))
    }

    fn refused() -> RecipientOutcome {
        RecipientOutcome::Refused(Reply::new(503, (5, 5, 1), "nested MAIL"))
    }

    #[test]
    fn what_is_refused_in_a_flight_may_be_refused_for_the_flight() {
        let lost = RecipientOutcome::Lost;
        let cases: [(&[RecipientOutcome], bool); 6] = [
            (&[accepted()], true),
            (&[refused(), accepted()], true),
            (&[refused()], false),
            (&[lost(Lost::AfterEndOfData)], true),
            (&[refused(), lost(Lost::AfterEndOfData)], true),
            (&[lost(Lost::BeforeEndOfData)], false),
        ];
        for (outcomes, believed) in cases {
            assert_eq!(is_understood(outcomes), believed, "{outcomes:?}");
        }
    }

    #[test]
    fn hosts_that_lost_the_thread_are_remembered_for_a_while() {
        let hosts = UnsuitableHosts::default();
        let host = Endpoint::Tcp(([192, 0, 2, 1], 25).into());
        assert!(!hosts.contain(&host, Duration::ZERO));
        hosts.add(&host, Duration::ZERO);
        assert!(hosts.contain(&host, UNSUITABLE_FOR - Duration::from_secs(1)));
        assert!(!hosts.contain(&host, UNSUITABLE_FOR));
    }
}
