//! Failed logins: who must wait before the next one.
//!
//! An address (of IPv6 its /64, which one host can have to itself) and an account have some
//! failures free; each further one doubles the time in which nothing more is tried for them. That
//! time holds nothing of ours: an attempt within it is refused at once, without a look at the
//! password, and does not count.
//!
//! An address from which an account has logged in before is *known* to it. What fails there counts
//! for that pair alone and waits for that pair alone. So an account that is attacked from
//! everywhere still lets its owner in from where he was before, and one user's forgotten password
//! does not shut out the office around him.
//!
//! A name that nobody has is counted like one that somebody has: waiting tells nothing. Tables are
//! bounded; a full one forgets those with the fewest failures. [`mod@file`] keeps them over a
//! restart.
//!
//! This module does **not** know mechanisms or sessions.

pub mod file;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posthaste_world::Timestamp;

use super::name::{Claimed, Name};

/// Most addresses with failures that are remembered.
const ADDRESSES_MAX: usize = 32_768;
/// Most accounts with failures that are remembered.
const ACCOUNTS_MAX: usize = 32_768;
/// Most pairs of an address and an account that logged in there.
const KNOWN_MAX: usize = 65_536;

/// How long after the last failure an address or an account begins anew.
const FORGET: Duration = Duration::from_secs(24 * 3600);
/// How long after the last login an address stays known to an account.
const FORGET_KNOWN: Duration = Duration::from_secs(90 * 24 * 3600);

/// How failures turn into waiting.
struct Rule {
    /// Failures that cost nothing.
    free: u32,
    /// Longest wait.
    longest: Duration,
}

/// Someone looking for a password has some 45 tries on the first day, then 24 a day; an office
/// behind one address mistypes ten times in a day without notice.
const ADDRESS: Rule = Rule {
    free: 10,
    longest: Duration::from_secs(3600),
};
/// From however many addresses: some 120 tries a day. The owner at a new address waits at most this
/// long, too.
const ACCOUNT: Rule = Rule {
    free: 20,
    longest: Duration::from_secs(900),
};
/// A program with an old password is not worth a longer wait of its owner.
const KNOWN: Rule = Rule {
    free: 10,
    longest: Duration::from_secs(300),
};

impl Rule {
    /// How long to wait after so many failures.
    fn delay(&self, failures: u32) -> Duration {
        match failures.checked_sub(self.free) {
            None => Duration::ZERO,
            Some(above) => {
                let seconds = 1_u64.checked_shl(above.min(32)).unwrap_or(u64::MAX);
                Duration::from_secs(seconds).min(self.longest)
            }
        }
    }
}

/// Failures of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Count {
    failures: u32,
    last: Timestamp,
}

impl Count {
    fn add(&mut self, now: Timestamp) {
        if self.is_forgotten(now) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.last = now;
    }

    fn is_forgotten(&self, now: Timestamp) -> bool {
        now.since(self.last) >= FORGET
    }

    /// How long nothing is tried from `now` on. A clock that was set back makes it no longer than
    /// it ever is.
    fn wait(&self, rule: &Rule, now: Timestamp) -> Duration {
        if self.is_forgotten(now) {
            return Duration::ZERO;
        }
        rule.delay(self.failures)
            .saturating_sub(now.since(self.last))
    }
}

/// An address from which an account has logged in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Known {
    count: Count,
    login: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Tables {
    addresses: BTreeMap<IpAddr, Count>,
    accounts: BTreeMap<Name, Count>,
    known: BTreeMap<(Name, IpAddr), Known>,
    changed: bool,
}

/// Whether an account has logged in from the peer's address before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It has.
    Known,
    /// It has not.
    Stranger,
}

/// Nothing is tried now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// For whom.
    pub who: Who,
    /// For how long.
    pub wait: Duration,
}

/// For whom failures are counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Who {
    /// A peer's address; of IPv6 the first of its /64.
    Address(IpAddr),
    /// An account, or a name that nobody has.
    Account(Name),
    /// An account at an address that it knows.
    Pair(Name, IpAddr),
}

/// One line of what the operator is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// For whom.
    pub who: Who,
    /// Failures that count.
    pub failures: u32,
    /// The last of them.
    pub last: Timestamp,
    /// How long nothing is tried.
    pub wait: Duration,
}

/// What is remembered of failed logins, and of where accounts logged in.
#[derive(Debug, Default)]
pub struct Failures(Mutex<Tables>);

impl Failures {
    /// Whether a login may be tried now, and how the two know each other.
    ///
    /// # Errors
    /// Who must wait, and for how long.
    pub fn standing(
        &self,
        peer: Option<IpAddr>,
        claimed: &Claimed,
        now: Timestamp,
    ) -> Result<Standing, Blocked> {
        let tables = self.tables();
        let address = site(peer);
        let blocked = |who, wait: Duration| match wait {
            Duration::ZERO => Ok(()),
            wait => Err(Blocked { who, wait }),
        };
        let name = claimed.name();
        if let Some(name) = name
            && let Some(known) = tables.known.get(&(name.clone(), address))
            && now.since(known.login) < FORGET_KNOWN
        {
            let who = Who::Pair(name.clone(), address);
            blocked(who, known.count.wait(&KNOWN, now))?;
            return Ok(Standing::Known);
        }
        let wait =
            |count: Option<&Count>, rule| count.map_or(Duration::ZERO, |c| c.wait(rule, now));
        let of_address = wait(tables.addresses.get(&address), &ADDRESS);
        blocked(Who::Address(address), of_address)?;
        if let Some(name) = name {
            let of_account = wait(tables.accounts.get(name), &ACCOUNT);
            blocked(Who::Account(name.clone()), of_account)?;
        }
        Ok(Standing::Stranger)
    }

    /// A login failed.
    pub fn failed(&self, peer: Option<IpAddr>, claimed: &Claimed, now: Timestamp) {
        let mut tables = self.tables();
        tables.changed = true;
        let address = site(peer);
        if let Some(name) = claimed.name()
            && let Some(known) = tables.known.get_mut(&(name.clone(), address))
            && now.since(known.login) < FORGET_KNOWN
        {
            return known.count.add(now);
        }
        make_room(&mut tables.addresses, ADDRESSES_MAX, |c| {
            (c.failures, c.last)
        });
        tables.addresses.entry(address).or_default().add(now);
        if let Some(name) = claimed.name() {
            make_room(&mut tables.accounts, ACCOUNTS_MAX, |c| (c.failures, c.last));
            tables.accounts.entry(name.clone()).or_default().add(now);
        }
    }

    /// A login succeeded: the address is known to the account from now on. What failed for either
    /// elsewhere stays: it was somebody else.
    pub fn succeeded(&self, peer: Option<IpAddr>, name: &Name, now: Timestamp) {
        let mut tables = self.tables();
        tables.changed = true;
        make_room(&mut tables.known, KNOWN_MAX, |k| (0, k.login));
        let known = Known {
            count: Count::default(),
            login: now,
        };
        tables.known.insert((name.clone(), site(peer)), known);
    }

    /// Everybody with failures that count, the longest wait first.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> Vec<Listed> {
        let tables = self.tables();
        let listed = |who, count: &Count, rule| Listed {
            who,
            failures: count.failures,
            last: count.last,
            wait: count.wait(rule, now),
        };
        let mut all: Vec<Listed> = Vec::new();
        let counts = |count: &Count| count.failures > 0 && !count.is_forgotten(now);
        for (address, count) in tables.addresses.iter().filter(|(_, c)| counts(c)) {
            all.push(listed(Who::Address(*address), count, &ADDRESS));
        }
        for (name, count) in tables.accounts.iter().filter(|(_, c)| counts(c)) {
            all.push(listed(Who::Account(name.clone()), count, &ACCOUNT));
        }
        for ((name, address), known) in tables.known.iter().filter(|(_, k)| counts(&k.count)) {
            all.push(listed(
                Who::Pair(name.clone(), *address),
                &known.count,
                &KNOWN,
            ));
        }
        all.sort_by_key(|l| std::cmp::Reverse((l.wait, l.failures)));
        all
    }

    /// Forgets the failures of an address or of a name (also at the addresses that know it); all
    /// with nothing given. How many were forgotten.
    pub fn clear(&self, address: Option<IpAddr>, name: Option<&Name>) -> usize {
        let mut tables = self.tables();
        tables.changed = true;
        let all = address.is_none() && name.is_none();
        let address = address.map(|a| site(Some(a)));
        let is_address = |a: &IpAddr| all || address.as_ref() == Some(a);
        let is_name = |n: &Name| all || name == Some(n);
        let before = tables.addresses.len() + tables.accounts.len();
        tables.addresses.retain(|a, _| !is_address(a));
        tables.accounts.retain(|n, _| !is_name(n));
        let mut cleared = before - tables.addresses.len() - tables.accounts.len();
        for ((n, a), known) in &mut tables.known {
            if known.count.failures > 0 && (is_address(a) || is_name(n)) {
                known.count = Count::default();
                cleared += 1;
            }
        }
        cleared
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Nothing between two changes panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is counted as one address.
fn site(peer: Option<IpAddr>) -> IpAddr {
    match peer.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V6(ip)) => {
            let network = ip.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        Some(v4) => v4,
        // A Unix socket: whoever can open it is this machine.
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}

/// Makes room in a full table for one more: a sixteenth of it goes, the least worth first, so that
/// the work is rare.
fn make_room<K: Ord + Clone, V, W: Ord>(
    table: &mut BTreeMap<K, V>,
    most: usize,
    worth: impl Fn(&V) -> W,
) {
    if table.len() < most {
        return;
    }
    let mut order: Vec<(W, K)> = table.iter().map(|(k, v)| (worth(v), k.clone())).collect();
    order.sort_unstable();
    for (_, key) in order.into_iter().take(most / 16 + 1) {
        table.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOME: &str = "192.0.2.1";
    const ALICE: &str = "alice@example.org";

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + seconds)
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn claim(name: &str) -> Claimed {
        Claimed::new(name.as_bytes())
    }

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn wait(failures: &Failures, peer: &str, user: &str, now: u64) -> (Option<Who>, u64) {
        match failures.standing(ip(peer), &claim(user), at(now)) {
            Ok(_) => (None, 0),
            Err(Blocked { who, wait }) => (Some(who), wait.as_secs()),
        }
    }

    #[test]
    fn an_address_has_some_failures_free_and_then_waits_ever_longer() {
        let failures = Failures::default();
        let mut now = 0;
        let mut waits = Vec::new();
        for n in 0..25 {
            failures.failed(ip(HOME), &claim(&format!("user{n}")), at(now));
            let (_, seconds) = wait(&failures, HOME, "new", now);
            waits.push(seconds);
            now += seconds;
        }
        assert_eq!(&waits[..9], [0; 9]);
        assert_eq!(&waits[9..15], [1, 2, 4, 8, 16, 32]);
        assert_eq!(&waits[21..], [3600; 4]);
        assert_eq!(wait(&failures, "192.0.2.2", "new", now), (None, 0));
        assert_eq!(wait(&failures, HOME, "new", now + 24 * 3600), (None, 0));
    }

    #[test]
    fn a_name_is_counted_from_all_addresses_whether_or_not_somebody_has_it() {
        let failures = Failures::default();
        for n in 0..26 {
            failures.failed(ip(&format!("198.51.100.{n}")), &claim(ALICE), at(0));
        }
        let (who, seconds) = wait(&failures, HOME, ALICE, 0);
        assert_eq!((who, seconds), (Some(Who::Account(name(ALICE))), 64));
        assert_eq!(wait(&failures, HOME, "bob@example.org", 0), (None, 0));
        assert_eq!(wait(&failures, HOME, ALICE, 65), (None, 0));
    }

    #[test]
    fn an_owner_gets_in_from_where_he_was_before() {
        let failures = Failures::default();
        failures.succeeded(ip(HOME), &name(ALICE), at(0));
        for n in 0..250 {
            failures.failed(ip(&format!("198.51.100.{n}")), &claim(ALICE), at(1));
            // Another user of the same office attacks, too.
            failures.failed(ip(HOME), &claim("mallory"), at(1));
        }
        let standing = failures.standing(ip(HOME), &claim(ALICE), at(2));
        assert_eq!(standing, Ok(Standing::Known));
        assert!(wait(&failures, HOME, "bob", 2).1 > 0);
        assert!(wait(&failures, "203.0.113.1", ALICE, 2).1 > 0);
    }

    #[test]
    fn failures_at_a_known_address_are_the_pairs_own() {
        let failures = Failures::default();
        failures.succeeded(ip(HOME), &name(ALICE), at(0));
        for _ in 0..30 {
            failures.failed(ip(HOME), &claim(ALICE), at(1));
        }
        let (who, seconds) = wait(&failures, HOME, ALICE, 1);
        assert!(matches!(who, Some(Who::Pair(..))));
        assert_eq!(seconds, 300);
        assert_eq!(wait(&failures, HOME, "bob", 1), (None, 0));
        assert_eq!(wait(&failures, "203.0.113.1", ALICE, 1), (None, 0));
        failures.succeeded(ip(HOME), &name(ALICE), at(400));
        assert_eq!(wait(&failures, HOME, ALICE, 400), (None, 0));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_mapped_ipv4_is_ipv4() {
        let failures = Failures::default();
        for n in 0..30 {
            failures.failed(ip(&format!("2001:db8::{n}")), &claim("x"), at(0));
            failures.failed(ip("::ffff:192.0.2.1"), &claim("y"), at(0));
        }
        assert!(wait(&failures, "2001:db8::ffff:ffff", "new", 0).1 > 0);
        assert_eq!(wait(&failures, "2001:db8:0:1::1", "new", 0), (None, 0));
        assert!(wait(&failures, HOME, "new", 0).1 > 0);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nobody_wait_longer() {
        let failures = Failures::default();
        for _ in 0..40 {
            failures.failed(ip(HOME), &claim("x"), at(1_000_000));
        }
        assert_eq!(wait(&failures, HOME, "new", 0).1, 3600);
    }

    #[test]
    fn a_flood_of_names_does_not_wash_out_who_is_attacked() {
        let failures = Failures::default();
        for n in 0..100 {
            failures.failed(ip(&format!("198.51.100.{n}")), &claim(ALICE), at(0));
        }
        for n in 0..ACCOUNTS_MAX * 2 {
            failures.failed(ip("203.0.113.1"), &claim(&format!("user{n}")), at(1));
        }
        assert!(failures.tables().accounts.len() <= ACCOUNTS_MAX);
        assert!(wait(&failures, HOME, ALICE, 1).1 > 0);
    }

    #[test]
    fn an_operator_sees_and_lifts_what_is_blocked() {
        let failures = Failures::default();
        failures.succeeded(ip(HOME), &name(ALICE), at(0));
        failures.failed(ip(HOME), &claim(ALICE), at(1));
        for _ in 0..30 {
            failures.failed(ip("203.0.113.1"), &claim("bob"), at(1));
        }
        let listed = failures.list(at(2));
        let who: Vec<_> = listed.iter().map(|l| l.who.clone()).collect();
        assert_eq!(
            who,
            [
                Who::Address("203.0.113.1".parse().unwrap()),
                Who::Account(name("bob")),
                Who::Pair(name(ALICE), HOME.parse().unwrap()),
            ]
        );
        assert_eq!(failures.clear(None, Some(&name("bob"))), 1);
        assert_eq!(failures.clear(ip("203.0.113.1"), None), 1);
        assert_eq!(failures.clear(None, Some(&name("nobody"))), 0);
        assert_eq!(failures.clear(None, None), 1);
        assert_eq!(failures.list(at(2)), []);
        // Clearing forgets failures, not who is known.
        let standing = failures.standing(ip(HOME), &claim(ALICE), at(3));
        assert_eq!(standing, Ok(Standing::Known));
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_longest(failures: u32, last: u64, now: u64) {
            let last = Timestamp::from_millis(last);
            let count = Count { failures, last };
            let now = Timestamp::from_millis(now);
            prop_assert!(count.wait(&ADDRESS, now) <= ADDRESS.longest);
            let _ = { let mut count = count; count.add(now); count };
        }
    }
}
