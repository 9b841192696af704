//! Hands a queued message to its next hop, and says what became of each recipient.
//!
//! One [`attempt`] is one message at one destination. Every recipient of the work is in exactly one
//! list of what was [`Attempted`]; nothing here writes to the queue, waits for a later time, or
//! makes a report. A connection is the worker's: it goes from attempt to attempt, and is used again
//! when it fits.
//!
//! This module does **not** know when a recipient is due, and emits no records.

pub mod auth; // logging in to servers
pub mod connection; // one dialogue over one stream
pub mod greeting; // from an address to a host that is ready
pub mod helper; // writes mail files for another user
mod late; // deliveries that outlast the patience for them
pub mod local; // into mailboxes of this machine
pub mod maildir; // the blocking part of that
pub mod outbound; // what we show to servers, and whom we trust
pub mod outcome; // what became of recipients
pub mod parcel; // a stored message as the transports need it
pub mod smtp; // to servers, over SMTP and LMTP

use std::sync::Arc;

use posthaste_queue::schedule::Work;
use posthaste_queue::spool::Stored;

use crate::forward::Forwarding;
use crate::route::{Route, Transport};

pub use connection::Connection;
use local::Local;
pub use outcome::{Attempted, Fate, Outcome, TakenOver};
use parcel::Parcel;
use smtp::Smtp;

/// Marks a message that is delivered as junk.
pub const QUARANTINED: &str = "quarantined";

/// The stages of delivery.
pub struct Delivery {
    /// Where to.
    pub route: Route,
    /// Under which reverse-path aliases send on.
    pub forwarding: Arc<Forwarding>,
    /// The transport for servers.
    pub smtp: Smtp,
    /// The transport for mailboxes of this machine.
    pub local: Local,
}

/// Tries to hand `stored` to its next hop for the recipients of `work`.
pub async fn attempt(
    work: &Work,
    stored: &Stored,
    delivery: &Delivery,
    connection: &mut Option<Connection>,
) -> Attempted {
    let route = &delivery.route;
    let (mut parcel, mut attempted) = Parcel::pack(work, stored, delivery);
    let indexes = parcel.indexes();
    let Some(&(_, first)) = parcel.recipients().first() else {
        return attempted;
    };
    match route.transport(&first.address) {
        transport @ (Transport::Servers(..) | Transport::Mx(..)) => {
            match route.next_hops(&transport).await {
                Ok(hops) => {
                    let tried = delivery
                        .smtp
                        .try_each(route, &hops, &mut parcel, connection)
                        .await;
                    attempted
                        .outcomes
                        .extend(indexes.into_iter().zip(tried.outcomes));
                    attempted.destination_failed = tried.destination_failed;
                    attempted.not_begun = tried.not_begun;
                    attempted.passed_over = tried.passed_over;
                    attempted.protection = tried.protection;
                }
                Err(reply) => {
                    attempted.destination_failed = reply.is_transient().then(|| reply.to_string());
                    attempted.not_begun = reply.is_transient();
                    attempted.settle_all(&indexes, &Outcome::local(reply));
                }
            }
        }
        Transport::Maildir { .. } => delivery.local.deliver(route, &parcel, &mut attempted).await,
        Transport::Discard => attempted.settle_all(&indexes, &Outcome::discarded()),
        Transport::NoMailbox => attempted.settle_all(&indexes, &Outcome::no_mailbox()),
        Transport::Held => attempted.held = indexes,
    }
    attempted.faults.extend(parcel.into_fault());
    attempted
}
