//! How much one address may: connections at once and per minute, messages and recipients per hour.
//!
//! What counts as one address is a [`Source`]: an IPv4 address, or the /64 of an IPv6 one, since
//! that is what one host has. Rates are buckets that refill evenly (GCRA): so many at once, then
//! one each time the period's share of it has passed.
//!
//! Invariants: the table never holds more than [`SOURCES_MAX`] sources. When it is full, a source
//! without a connection makes room, and of those looked at the one that has used least of its
//! rates: who comes from many addresses pushes out its own, not those that met a limit.
//!
//! It does **not** speak to the peer and does not log: a limit that is met is a [`Hit`].

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posthaste_smtp::reply::Reply;

use crate::config::Limits;

/// Sources that are remembered at once. More than there can be connections, so that one without a
/// connection can always make room.
pub const SOURCES_MAX: usize = 65_536;
/// Sources that are looked at when one has to make room.
const LOOKED_AT: usize = 16;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What counts as one address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Source(IpAddr);

impl Source {
    /// The source that `address` belongs to. Addresses mapped from IPv4 count as IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Source(match address.to_canonical() {
            IpAddr::V4(four) => IpAddr::V4(four),
            IpAddr::V6(six) => {
                let network = six.to_bits() & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(four) => four.fmt(f),
            IpAddr::V6(six) => write!(f, "{six}/64"),
        }
    }
}

/// A limit was met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hit {
    /// The key in `[limits]`.
    pub limit: &'static str,
    /// What the peer is told.
    pub reply: Reply,
    /// How often this source met a limit since it was quiet, this time included.
    pub times: u32,
}

/// Every source that is known, shared by all connections of a node.
#[derive(Default)]
pub struct Rates {
    table: Mutex<Table>,
}

impl Rates {
    /// A connection from `address` begins at `now`, a time of the clock that never goes back.
    ///
    /// # Errors
    /// It may not.
    pub fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        now: Duration,
        limits: &Limits,
    ) -> Result<Seat, Hit> {
        let source = Source::of(address);
        let mut table = self.table();
        let at = table.find(source, now);
        let Some(entry) = table.entries.get_mut(at) else {
            return Ok(self.unlimited());
        };
        if entry.open == 0 && entry.debt(now).is_zero() {
            entry.hits = 0;
        }
        if entry.open >= limits.connections_per_address {
            let text = format!(
                "too many connections from {source} at once, at most {}; try again later",
                limits.connections_per_address
            );
            return Err(entry.hit("connections_per_address", 421, text));
        }
        let most = limits.connections_per_minute;
        if !entry.connections.take(now, most, MINUTE) {
            let text = format!(
                "too many connections from {source}, at most {most} a minute; try again later"
            );
            return Err(entry.hit("connections_per_minute", 421, text));
        }
        entry.open += 1;
        drop(table);
        Ok(Seat {
            rates: self.clone(),
            at: Some(at),
        })
    }

    /// A seat that meets no limit: for peers without an address, and for exempt ones.
    #[must_use]
    pub fn unlimited(self: &Arc<Self>) -> Seat {
        Seat {
            rates: self.clone(),
            at: None,
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one open connection; given back when it is dropped.
pub struct Seat {
    rates: Arc<Rates>,
    at: Option<usize>,
}

impl Seat {
    /// The table it is a seat in.
    #[must_use]
    pub fn rates(&self) -> &Arc<Rates> {
        &self.rates
    }

    /// A message begins.
    ///
    /// # Errors
    /// It may not.
    pub fn message(&self, now: Duration, limits: &Limits) -> Result<(), Hit> {
        let most = limits.messages_per_hour;
        self.with(|entry| {
            if entry.messages.take(now, most, HOUR) {
                return Ok(());
            }
            let from = entry.source;
            let text = format!("too many messages from {from}, at most {most} an hour");
            Err(entry.hit("messages_per_hour", 450, text))
        })
    }

    /// A recipient is named, whether or not it exists.
    ///
    /// # Errors
    /// It may not.
    pub fn recipient(&self, now: Duration, limits: &Limits) -> Result<(), Hit> {
        let most = limits.recipients_per_hour;
        self.with(|entry| {
            if entry.recipients.take(now, most, HOUR) {
                return Ok(());
            }
            let from = entry.source;
            let text = format!("too many recipients from {from}, at most {most} an hour");
            Err(entry.hit("recipients_per_hour", 452, text))
        })
    }

    fn with(&self, then: impl FnOnce(&mut Entry) -> Result<(), Hit>) -> Result<(), Hit> {
        let Some(at) = self.at else { return Ok(()) };
        match self.rates.table().entries.get_mut(at) {
            Some(entry) => then(entry),
            None => Ok(()),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(at) = self.at else { return };
        if let Some(entry) = self.rates.table().entries.get_mut(at) {
            entry.open = entry.open.saturating_sub(1);
        }
    }
}

#[derive(Default)]
struct Table {
    index: HashMap<Source, usize>,
    entries: Vec<Entry>,
    /// Where the search for room goes on.
    hand: usize,
}

impl Table {
    /// The position of `source`, which is new there when it was not known. While it has an open
    /// connection the position stays.
    fn find(&mut self, source: Source, now: Duration) -> usize {
        if let Some(at) = self.index.get(&source) {
            return *at;
        }
        let mut at = self.entries.len();
        if at < SOURCES_MAX {
            self.entries.push(Entry::new(source));
        } else {
            at = self.room(now);
            if let Some(entry) = self.entries.get_mut(at) {
                self.index.remove(&entry.source);
                *entry = Entry::new(source);
            }
        }
        self.index.insert(source, at);
        at
    }

    /// The source that is forgotten next.
    fn room(&mut self, now: Duration) -> usize {
        let mut best: Option<(Duration, usize)> = None;
        let count = self.entries.len();
        for looked_at in 0..count {
            if looked_at >= LOOKED_AT && best.is_some() {
                break;
            }
            self.hand = (self.hand + 1) % count;
            let entry = self.entries.get(self.hand);
            let Some(entry) = entry.filter(|e| e.open == 0) else {
                continue;
            };
            let debt = entry.debt(now);
            if best.is_none_or(|(least, _)| debt < least) {
                best = Some((debt, self.hand));
            }
        }
        best.map_or(count, |(_, at)| at)
    }
}

struct Entry {
    source: Source,
    open: u32,
    hits: u32,
    connections: Bucket,
    messages: Bucket,
    recipients: Bucket,
}

impl Entry {
    fn new(source: Source) -> Self {
        Entry {
            source,
            open: 0,
            hits: 0,
            connections: Bucket::default(),
            messages: Bucket::default(),
            recipients: Bucket::default(),
        }
    }

    fn hit(&mut self, limit: &'static str, code: u16, text: String) -> Hit {
        self.hits = self.hits.saturating_add(1);
        let detail = if code == 421 { (4, 7, 0) } else { (4, 7, 1) };
        Hit {
            limit,
            reply: Reply::new(code, detail, text),
            times: self.hits,
        }
    }

    /// How long it takes until nothing of its rates is used any more; all of them together.
    fn debt(&self, now: Duration) -> Duration {
        [&self.connections, &self.messages, &self.recipients]
            .iter()
            .map(|bucket| bucket.0.saturating_sub(now))
            .sum()
    }
}

/// The generic cell rate algorithm: when everything that was taken has been refilled.
#[derive(Default)]
struct Bucket(Duration);

impl Bucket {
    /// Takes one, if no more than `most` are taken `per` period.
    fn take(&mut self, now: Duration, most: u32, per: Duration) -> bool {
        let full = self.0.max(now) + per / most.max(1);
        let may = full - now <= per;
        if may {
            self.0 = full;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            connections_per_address: 3,
            connections_per_minute: 6,
            messages_per_hour: 4,
            recipients_per_hour: 8,
            ..Limits::default()
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn connections_at_once_are_counted_and_given_back() {
        let (rates, limits) = (Arc::new(Rates::default()), limits());
        let enter = |address| rates.enter(ip(address), at(0), &limits);
        let mut seats: Vec<_> = (0..3).map(|_| enter("192.0.2.1").unwrap()).collect();
        let hit = enter("192.0.2.1").err().unwrap();
        assert_eq!(hit.limit, "connections_per_address");
        assert_eq!(hit.reply.code(), 421);
        assert!(
            hit.reply
                .to_string()
                .contains("192.0.2.1 at once, at most 3")
        );
        assert!(enter("192.0.2.2").is_ok(), "another address has its own");
        seats.pop();
        assert!(enter("192.0.2.1").is_ok());
    }

    #[test]
    fn a_rate_lets_so_many_at_once_and_then_refills_evenly() {
        let (rates, limits) = (Arc::new(Rates::default()), limits());
        let enter = |s| rates.enter(ip("192.0.2.1"), at(s), &limits).map(drop);
        assert!((0..6).all(|_| enter(1_000).is_ok()));
        let hit = enter(1_000).err().unwrap();
        assert_eq!(
            (hit.limit, hit.reply.code()),
            ("connections_per_minute", 421)
        );
        assert!(enter(1_009).is_err());
        assert!(enter(1_010).is_ok() && enter(1_010).is_err());
        assert!((0..6).all(|_| enter(1_070).is_ok()));
    }

    #[test]
    fn messages_and_recipients_are_counted_over_all_connections_of_an_address() {
        let (rates, limits) = (Arc::new(Rates::default()), limits());
        let seats = [(); 2].map(|()| rates.enter(ip("192.0.2.1"), at(0), &limits).unwrap());
        for seat in &seats {
            assert!((0..2).all(|_| seat.message(at(0), &limits).is_ok()));
            assert!((0..4).all(|_| seat.recipient(at(0), &limits).is_ok()));
        }
        let [first, second] = seats;
        let hit = first.message(at(0), &limits).unwrap_err();
        assert_eq!((hit.limit, hit.reply.code()), ("messages_per_hour", 450));
        let hit = second.recipient(at(0), &limits).unwrap_err();
        assert_eq!(
            (hit.limit, hit.reply.code(), hit.times),
            ("recipients_per_hour", 452, 2)
        );
        assert!(second.message(at(900), &limits).is_ok());
        assert!(rates.unlimited().message(at(0), &limits).is_ok());
    }

    #[test]
    fn one_host_of_ipv6_has_a_64() {
        let source = |text| Source::of(ip(text));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1:2:3"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8::1").to_string(), "2001:db8::/64");
    }

    #[test]
    fn a_flood_of_addresses_pushes_out_its_own_and_neither_offenders_nor_the_connected() {
        let (rates, limits) = (Arc::new(Rates::default()), limits());
        let enter = |address| rates.enter(address, at(1), &limits);
        let connected = enter(ip("192.0.2.1")).unwrap();
        for _ in 0..6 {
            drop(enter(ip("192.0.2.2")).unwrap());
        }
        assert!(enter(ip("192.0.2.2")).is_err());
        for n in 0..u32::try_from(SOURCES_MAX).unwrap() * 3 {
            let flood = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
            drop(enter(IpAddr::V4(flood)).unwrap());
        }
        assert_eq!(rates.table().entries.len(), SOURCES_MAX);
        assert_eq!(rates.table().index.len(), SOURCES_MAX);
        assert!(
            enter(ip("192.0.2.2")).is_err(),
            "the offender is still known"
        );
        assert!(connected.message(at(1), &limits).is_ok());
        let more = [(); 2].map(|()| enter(ip("192.0.2.1")).unwrap());
        assert!(
            enter(ip("192.0.2.1")).is_err(),
            "the connected one is still counted"
        );
        drop((connected, more));
    }

    #[test]
    fn hits_are_counted_until_the_source_was_quiet() {
        let (rates, limits) = (Arc::new(Rates::default()), limits());
        let enter = |s| rates.enter(ip("192.0.2.1"), at(s), &limits).map(drop);
        assert!((0..6).all(|_| enter(0).is_ok()));
        assert_eq!(enter(0).unwrap_err().times, 1);
        assert_eq!(enter(0).unwrap_err().times, 2);
        assert!(enter(10).is_ok());
        assert_eq!(enter(10).unwrap_err().times, 3);
        assert!((0..6).all(|_| enter(100).is_ok()));
        assert_eq!(enter(100).unwrap_err().times, 1);
    }
}
