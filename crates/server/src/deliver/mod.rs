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
pub mod flight; // several messages over one stream at once
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
use crate::route::{NextHop, Route, Transport};

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
                    attempted.take(&indexes, tried);
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

/// Tries to hand several messages to their next hop in one flight. `ended` is told what became of
/// each, by its place in `cargo`, as soon as that is known; those that it is not told of are to be
/// attempted alone.
pub async fn attempt_together(
    cargo: &[(&Work, &Stored)],
    delivery: &Delivery,
    connection: &mut Option<Connection>,
    ended: &(dyn Fn(usize, Attempted) + Sync),
) {
    let Some(hop) = connection.as_ref().map(|open| open.hop().clone()) else {
        return;
    };
    let (mut parcels, mut packed) = (Vec::new(), Vec::new());
    for (at, (work, stored)) in cargo.iter().enumerate() {
        let (parcel, attempted) = Parcel::pack(work, stored, delivery);
        let leads_there = leads_to(&hop, &parcel, delivery).await;
        if leads_there && connection.as_ref().is_some_and(|c| c.takes_all(&parcel)) {
            packed.push(Some((at, parcel.indexes(), attempted)));
            parcels.push(parcel);
        }
    }
    let mut end = |number: usize, tried| {
        let known = packed.get_mut(number).and_then(Option::take);
        if let Some((at, indexes, mut attempted)) = known {
            attempted.take(&indexes, tried);
            ended(at, attempted);
        }
    };
    delivery.smtp.fly(&mut parcels, connection, &mut end).await;
}

/// Whether a message may go to this host with others.
async fn leads_to(hop: &NextHop, parcel: &Parcel<'_>, delivery: &Delivery) -> bool {
    let Some((_, first)) = parcel.recipients().first() else {
        return false;
    };
    let transport = delivery.route.transport(&first.address);
    let named = matches!(transport, Transport::Servers(..));
    let hops = delivery.route.next_hops(&transport).await;
    named && !parcel.requires_tls() && hops.is_ok_and(|hops| hops.contains(hop))
}
