//! Hands a message to the first next hop that takes it, over SMTP or LMTP.
//!
//! A host that cannot be reached, refuses the connection or drops it before the end of data is
//! passed over for the next one (RFC 5321 §5.1). What a host says of a recipient decides that
//! recipient: 4yz is deferred, 5yz has failed. A connection lost after the end of data is an
//! outcome of its own, since the host may have the message (RFC 1047).
//!
//! The destination as a whole has failed only for what hosts said or did regardless of this
//! message. A connection that was lost in a transaction may have been lost because of it: one
//! message that breaks its host must not hold back all others.
//!
//! This module does **not** look names up, retry later, or write to the queue.

use posthaste_smtp::Dialect;
use posthaste_smtp::client::{Lost, RecipientOutcome, Stage, Unsuitable};
use posthaste_smtp::reply::Reply;
use posthaste_world::net::Endpoint;
use posthaste_world::{Timestamp, World};

use super::connection::{Connection, Unusable};
use super::flight::{self, UnsuitableHosts};
use super::greeting::{Caller, Protection};
use super::outbound::Outbound;
use super::parcel::Parcel;
use super::{Fate, Outcome};
use crate::config::RouteTls;
use crate::route::{NextHop, Route};

/// Hosts that are tried in one attempt; each may cost the patience of a connection.
pub const HOSTS_TRIED_MAX: usize = 5;

/// The transport for servers.
pub struct Smtp {
    caller: Caller,
    unsuitable: UnsuitableHosts,
}

/// What a try at all next hops gave.
#[derive(Debug)]
pub struct Tried {
    /// One per recipient, in order.
    pub outcomes: Vec<Outcome>,
    /// Why no host served us, when none did: the destination as a whole has failed.
    pub destination_failed: Option<String>,
    /// As [`Attempted::not_begun`](super::Attempted::not_begun).
    pub not_begun: bool,
    /// As [`Attempted::passed_over`](super::Attempted::passed_over).
    pub passed_over: Vec<(Box<str>, String)>,
    /// As [`Attempted::protection`](super::Attempted::protection).
    pub protection: Protection,
}

/// Recipients on their way through the next hops.
struct Progress {
    outcomes: Vec<Option<Outcome>>,
    /// What the last host said or did that is not about a recipient.
    obstacle: Option<Outcome>,
    /// Hosts passed over, and how many of them said that they take no mail (RFC 7504).
    passed_over: Vec<(Box<str>, String)>,
    take_no_mail: usize,
    /// Whether a transaction was begun with a host that was ready.
    begun: bool,
    /// Whether one was lost in a way that may be this message's doing.
    lost: bool,
    /// The host takes no more transactions on this connection, and there are recipients left.
    exhausted: bool,
    /// What protected the last transaction.
    protection: Protection,
}

impl Smtp {
    /// A transport that calls itself `hello_name`, and shows what `outbound` has.
    #[must_use]
    pub fn new(world: World, hello_name: &str, outbound: Outbound) -> Self {
        let hello_name = hello_name.into();
        Smtp {
            caller: Caller {
                world,
                hello_name,
                outbound,
            },
            unsuitable: UnsuitableHosts::default(),
        }
    }

    /// Whether several messages may be sent in one flight on a connection.
    #[must_use]
    pub fn may_fly(&self, connection: &Connection) -> bool {
        let now = self.caller.world.clock.elapsed();
        connection.may_fly() && !self.unsuitable.contain(&connection.hop().endpoint, now)
    }

    /// Sends messages in one flight, and gives what became of each to `ended`, with its place among
    /// the parcels, as soon as that is known. One that `ended` is not told of is to be tried alone:
    /// it was not sent, or what the host answered is not to be believed. A connection that may be
    /// used again is left in `connection`.
    pub async fn fly(
        &self,
        parcels: &mut [Parcel<'_>],
        connection: &mut Option<Connection>,
        ended: &mut (dyn FnMut(usize, Tried) + Send),
    ) {
        let Some(mut open) = connection.take() else {
            return;
        };
        let clock = &self.caller.world.clock;
        let (host, taken_over) = (open.hop().host.clone(), open.takes_over());
        let protection = open.protection().clone();
        let mut end = |at: usize, parcel: &Parcel<'_>, answer: &[RecipientOutcome], why: &str| {
            let mut progress = Progress::new(answer.len());
            progress.protection = protection.clone();
            for (index, answer) in answer.iter().enumerate() {
                progress.take(index, answer.clone(), &host, (true, why));
            }
            for outcome in progress.outcomes.iter_mut().flatten() {
                outcome.taken_over = taken_over;
            }
            if progress.is_complete() {
                ended(at, progress.conclude(parcel));
            }
        };
        let mut in_step = true;
        // What was lost is told when the reason is known.
        let mut lost = Vec::new();
        let mut heard = |at: usize, parcel: &Parcel<'_>, answer: &[RecipientOutcome]| {
            in_step &= flight::is_accepted(answer);
            match flight::is_understood(answer) {
                true if flight::is_lost(answer) => lost.push((at, answer.to_vec())),
                true => end(at, parcel, answer, ""),
                false => {}
            }
        };
        let flown = open.fly(parcels, clock.now(), &mut heard).await;
        let why = flown.as_deref().unwrap_or("the connection was lost");
        for (at, answer) in lost {
            if let Some(parcel) = parcels.get(at) {
                end(at, parcel, &answer, why);
            }
        }
        if flown.is_some() || !in_step {
            self.unsuitable.add(&open.hop().endpoint, clock.elapsed());
            open.close().await;
        } else {
            *connection = Some(open);
        }
    }

    /// Tries `hops` in order, a kept connection to one of them first, until every recipient has an
    /// outcome. A connection that may be used again is left in `connection`.
    pub async fn try_each(
        &self,
        route: &Route,
        hops: &[NextHop],
        parcel: &mut Parcel<'_>,
        connection: &mut Option<Connection>,
    ) -> Tried {
        let mut progress = Progress::new(parcel.recipients().len());
        if parcel.requires_tls() && !hops.iter().all(may_require_tls) {
            progress.settle_left(&Outcome::local(Unsuitable::NeedsRequireTls.reply()));
            return progress.conclude(parcel);
        }
        if let Some(kept) = connection.take() {
            if kept.is_reusable(self.caller.world.clock.elapsed()) && hops.contains(kept.hop()) {
                *connection = self.send(kept, parcel, &mut progress).await;
            } else {
                kept.close().await;
            }
        }
        for hop in hops.iter().take(HOSTS_TRIED_MAX) {
            let mut again = true;
            while again && !progress.is_complete() && !parcel.is_unreadable() {
                again = false;
                match Connection::open(&self.caller, hop).await {
                    Ok(open) if route.is_ourselves(hop, open.peer_name()) => {
                        progress.loops(hop);
                        open.close().await;
                    }
                    Ok(open) => {
                        *connection = self.send(open, parcel, &mut progress).await;
                        // The host takes the rest on another connection (RFC 9422 §4.1).
                        again = std::mem::take(&mut progress.exhausted);
                    }
                    Err(unusable) => progress.pass_over(hop, &unusable),
                }
            }
        }
        progress.conclude(parcel)
    }

    /// Sends to the recipients that are left, in as many transactions as the host wants. Gives the
    /// connection back when it may be used again, for all or for those that are left.
    async fn send(
        &self,
        connection: Connection,
        parcel: &mut Parcel<'_>,
        progress: &mut Progress,
    ) -> Option<Connection> {
        progress.protection = connection.protection().clone();
        let mut connection = Some(connection);
        while let Some(open) = connection.take() {
            if progress.is_complete() || parcel.is_unreadable() {
                return Some(open);
            }
            if !open.takes_another() {
                progress.exhausted = true;
                open.close().await;
                return None;
            }
            let left = progress.left().count();
            connection = progress
                .send(open, parcel, self.caller.world.clock.now())
                .await;
            if progress.left().count() == left {
                break;
            }
        }
        connection
    }
}

/// Whether a hop can be asked for TLS all the way (RFC 8689 §4.2.1): the operator named it, and its
/// certificate is verified; or it is the final one, and nobody can listen on the way to it.
fn may_require_tls(hop: &NextHop) -> bool {
    let verified = !hop.by_mx && hop.security.tls == RouteTls::Verify;
    let here = match &hop.endpoint {
        Endpoint::Unix(_) => true,
        Endpoint::Tcp(at) => at.ip().to_canonical().is_loopback(),
    };
    verified || (hop.dialect == Dialect::Lmtp && here)
}

impl Progress {
    fn new(recipients: usize) -> Self {
        Progress {
            outcomes: vec![None; recipients],
            obstacle: None,
            passed_over: Vec::new(),
            take_no_mail: 0,
            begun: false,
            lost: false,
            exhausted: false,
            protection: Protection::default(),
        }
    }

    fn is_complete(&self) -> bool {
        self.outcomes.iter().all(Option::is_some)
    }

    /// Sends to as many of the recipients that are left as one transaction takes. Gives the
    /// connection back when it was not lost.
    async fn send(
        &mut self,
        mut connection: Connection,
        parcel: &mut Parcel<'_>,
        now: Timestamp,
    ) -> Option<Connection> {
        let mut left: Vec<usize> = self.left().collect();
        left.truncate(connection.takes(&parcel.transaction(&left).recipients));
        let kept = connection.is_used();
        let host = connection.hop().host.clone();
        let taken_over = connection.takes_over();
        let final_hop = connection.hop().dialect == Dialect::Lmtp;
        let mut options = parcel.options(&left, now);
        // RFC 8689 §5: a report asks for TLS where it is to be had, and goes on without.
        let wanted = parcel.requires_tls() || connection.offers_require_tls();
        options.require_tls &= !final_hop && wanted;
        let transaction = (parcel.transaction(&left), options);
        match connection.transact(transaction, parcel).await {
            Err(Unsuitable::NotReady) => None,
            Err(unsuitable) => {
                self.settle_left(&Outcome::local(unsuitable.reply()).at(&host));
                Some(connection)
            }
            Ok(done) => {
                let why = done.lost.as_deref().unwrap_or("the connection was lost");
                let last = done.outcomes.last();
                let is_421 = matches!(last, Some(RecipientOutcome::Deferred(r)) if r.code() == 421);
                for (index, answer) in left.into_iter().zip(done.outcomes) {
                    self.take(index, answer, &host, (kept, why));
                    if let Some(Some(outcome)) = self.outcomes.get_mut(index) {
                        outcome.taken_over = taken_over;
                    }
                }
                // A kept connection that ended before it took anything was no beginning.
                self.begun |= !kept || done.lost.is_none() || done.content_begun;
                if done.lost.is_some() && !kept && !self.is_complete() && !parcel.is_unreadable() {
                    // With 421 before it had content, the host spoke of itself.
                    self.lost |= !is_421 || done.content_begun;
                    self.pass(&host);
                }
                done.lost.is_none().then_some(connection)
            }
        }
    }

    /// Takes what a host answered for one recipient. A kept connection of which the host has had
    /// enough says nothing about the host: it is tried anew.
    fn take(&mut self, index: usize, answer: RecipientOutcome, host: &str, on: (bool, &str)) {
        let (kept, why) = on;
        let outcome = match answer {
            RecipientOutcome::Deferred(reply) if reply.code() == 421 => {
                if !kept {
                    self.obstacle = Some(Outcome::remote(Fate::Deferred, reply, host));
                }
                return;
            }
            // The session knows which 5yz are temporary (RFC 5321 §4.5.3.1.10).
            RecipientOutcome::Deferred(reply) => Outcome::remote(Fate::Deferred, reply, host),
            RecipientOutcome::Accepted(reply) => Outcome::remote(Fate::Relayed, reply, host),
            RecipientOutcome::Refused(reply) => Outcome::remote(Fate::Failed, reply, host),
            RecipientOutcome::Lost(Lost::AfterEndOfData) => Outcome {
                ambiguous: true,
                ..Outcome::local(lost(host, &format!("{why}, after the end of data"))).at(host)
            },
            RecipientOutcome::Lost(Lost::BeforeEndOfData) => {
                if !kept {
                    self.obstacle = Some(Outcome::local(lost(host, why)).at(host));
                }
                return;
            }
        };
        if let Some(slot) = self.outcomes.get_mut(index) {
            *slot = Some(outcome);
        }
    }

    /// Notes that a host was passed over for the last obstacle.
    fn pass(&mut self, host: &str) {
        let why = self.obstacle.as_ref().map(|o| o.reply.to_string());
        self.passed_over
            .push((host.into(), why.unwrap_or_default()));
    }

    /// Notes why a host could not be used.
    fn pass_over(&mut self, hop: &NextHop, unusable: &Unusable) {
        let at = format!("{} ({})", hop.host, hop.endpoint);
        let reply = match unusable {
            Unusable::Unreachable(why) => Reply::new(451, (4, 4, 1), format!("{at}: {why}")),
            Unusable::Refused(stage, reply) => {
                if *stage == Stage::Greeting && reply.code() == 521 {
                    self.take_no_mail += 1;
                }
                let text = format!("{at} refused the connection: {reply}");
                Reply::new(450, (4, 3, 2), text)
            }
            Unusable::NoTls(reply) | Unusable::NoLogin(reply) => {
                let (subject, detail) = reply.enhanced().map_or((7, 0), |e| (e.subject, e.detail));
                let text = format!("{at}: {}", reply.text());
                Reply::new(reply.code(), (4, subject, detail), text)
            }
        };
        self.obstacle = Some(Outcome::local(reply).at(&hop.host));
        self.pass(&hop.host);
    }

    /// The host is this server (RFC 5321 §6.3).
    fn loops(&mut self, hop: &NextHop) {
        let text = format!(
            "{} ({}) is this very server: mail loops back",
            hop.host, hop.endpoint
        );
        self.settle_left(&Outcome::local(Reply::new(554, (5, 4, 6), text)).at(&hop.host));
    }

    fn settle_left(&mut self, outcome: &Outcome) {
        for slot in self.outcomes.iter_mut().filter(|o| o.is_none()) {
            *slot = Some(outcome.clone());
        }
    }

    fn left(&self) -> impl Iterator<Item = usize> {
        self.outcomes
            .iter()
            .enumerate()
            .filter(|(_, o)| o.is_none())
            .map(|(i, _)| i)
    }

    fn conclude(mut self, parcel: &Parcel<'_>) -> Tried {
        let none_takes_mail = self.take_no_mail > 0 && self.take_no_mail == self.passed_over.len();
        let obstacle = self.obstacle.take().unwrap_or_else(|| {
            Outcome::local(Reply::new(451, (4, 4, 1), "no next hop could be used"))
        });
        let mut failed = None;
        if parcel.is_unreadable() {
            // Ours alone: no host has anything to do with it.
            let text = "the message cannot be read now";
            self.settle_left(&Outcome::local(Reply::new(451, (4, 3, 0), text)));
        } else if !self.is_complete() && none_takes_mail {
            // RFC 7504 §4: such a host is not asked again.
            let text = obstacle.reply.text().to_owned();
            self.settle_left(&Outcome::local(Reply::new(550, (5, 3, 2), text)));
        } else if !self.is_complete() {
            failed = (!self.lost).then(|| obstacle.reply.to_string());
            self.settle_left(&obstacle);
        }
        Tried {
            not_begun: failed.is_some() && !self.begun,
            outcomes: self.outcomes.into_iter().flatten().collect(),
            destination_failed: failed,
            passed_over: self.passed_over,
            protection: self.protection,
        }
    }
}

fn lost(host: &str, why: &str) -> Reply {
    Reply::new(451, (4, 4, 2), format!("{host}: {why}"))
}
