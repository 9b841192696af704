//! Next hops by mail exchanger, case by case: what DNS says, and what is tried.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::doors::{Names, Numbers};
use posthaste::config::Security;
use posthaste::route::mx::{ADDRESSES_MAX, ADDRESSES_PER_HOST_MAX, HOSTS_MAX, Mx, Ourselves};
use posthaste_world::Random;

/// What comes out: the addresses to try in order, or code and enhanced code.
fn result(mx: &Mx, domain: &str) -> String {
    match now(mx.next_hops(domain, &Security::default())) {
        Ok(hops) => {
            let ips: Vec<_> = hops
                .iter()
                .map(|h| h.endpoint.ip().unwrap().to_string())
                .collect();
            ips.join(" ")
        }
        Err(reply) => format!("{} {}", reply.code(), reply.enhanced().unwrap()),
    }
}

/// The names are in memory, so that nothing ever waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

fn finder(table: &str, random: Arc<dyn Random>) -> Mx {
    finder_at(&["198.51.100.1", "2001:db8::1", "127.0.0.2"], table, random)
}

fn finder_at(listening: &[&str], table: &str, random: Arc<dyn Random>) -> Mx {
    let ours = ["mx.ours.test".to_owned(), "Other.Ours.Test".to_owned()];
    let listening = listening.iter().map(|a| a.parse().unwrap());
    Mx::new(
        Names::table(table),
        random,
        Ourselves::new(ours, listening),
        25,
    )
}

const CASES: &[(&str, &str, &str)] = &[
    (
        "by preference, not by order of the answer",
        "mx d.test 20 b.test\nmx d.test 10 a.test\na a.test 192.0.2.1\na b.test 192.0.2.2",
        "192.0.2.1 192.0.2.2",
    ),
    (
        "IPv6 and IPv4 in turn",
        "mx d.test 10 a.test\na a.test 192.0.2.1\na a.test 192.0.2.2\na a.test 2001:db8::a
            a a.test 2001:db8::b",
        "2001:db8::a 192.0.2.1 2001:db8::b 192.0.2.2",
    ),
    (
        "a host with IPv6 only",
        "mx d.test 10 a.test\na a.test 2001:db8::a",
        "2001:db8::a",
    ),
    ("implicit MX", "a d.test 192.0.2.9", "192.0.2.9"),
    (
        "implicit MX with IPv6 only",
        "a d.test 2001:db8::9",
        "2001:db8::9",
    ),
    (
        "no MX and no address is permanent",
        "exists d.test",
        "550 5.1.2",
    ),
    ("the domain does not exist", "", "550 5.1.2"),
    (
        "the implicit MX is not used when there are exchangers without addresses",
        "mx d.test 10 a.test\nexists a.test\na d.test 192.0.2.9",
        "550 5.4.4",
    ),
    (
        "an exchanger that does not exist",
        "mx d.test 10 gone.test",
        "550 5.4.4",
    ),
    ("null MX", "mx d.test 0 .\na d.test 192.0.2.9", "556 5.1.10"),
    (
        "null MX with another preference",
        "mx d.test 10 .",
        "556 5.1.10",
    ),
    (
        "a null MX among others is none",
        "mx d.test 0 .\nmx d.test 10 a.test\na a.test 192.0.2.1",
        "192.0.2.1",
    ),
    (
        "the question for MX fails",
        "fails-mx d.test\na d.test 192.0.2.9",
        "451 4.4.3",
    ),
    (
        "all questions for the only exchanger fail",
        "mx d.test 10 a.test\nfails a.test",
        "451 4.4.3",
    ),
    (
        "a failed question for IPv6 does not hide IPv4",
        "mx d.test 10 a.test\na a.test 192.0.2.1\nfails-aaaa a.test",
        "192.0.2.1",
    ),
    (
        "no IPv4 address, and the question for IPv6 fails: nobody knows",
        "mx d.test 10 a.test\nexists a.test\nfails-aaaa a.test",
        "451 4.4.3",
    ),
    (
        "a host whose questions fail does not hide the others",
        "mx d.test 10 a.test\nmx d.test 20 b.test\nfails a.test\na b.test 192.0.2.2",
        "192.0.2.2",
    ),
    (
        "one host does not exist, the other cannot be asked for",
        "mx d.test 10 gone.test\nmx d.test 20 b.test\nfails b.test",
        "451 4.4.3",
    ),
    (
        "we are the backup: only better exchangers are tried",
        "mx d.test 10 a.test\nmx d.test 20 mx.ours.test\nmx d.test 30 c.test
            a a.test 192.0.2.1\na c.test 192.0.2.3",
        "192.0.2.1",
    ),
    (
        "we are the best exchanger: it loops",
        "mx d.test 10 MX.ours.test\nmx d.test 20 b.test\na b.test 192.0.2.2",
        "554 5.4.6",
    ),
    (
        "an equal of ours is dropped with us",
        "mx d.test 10 a.test\nmx d.test 10 other.ours.test\na a.test 192.0.2.1",
        "554 5.4.6",
    ),
    (
        "our address under another name",
        "mx d.test 10 a.test\nmx d.test 20 alias.test\nmx d.test 20 b.test\na a.test 192.0.2.1
            a alias.test 198.51.100.1\na b.test 192.0.2.2",
        "192.0.2.1",
    ),
    (
        "our IPv6 address under another name",
        "mx d.test 10 alias.test\na alias.test 2001:db8::1",
        "554 5.4.6",
    ),
    (
        "loopback is ours where we listen",
        "mx d.test 10 l.test\na l.test 127.0.0.2",
        "554 5.4.6",
    ),
    (
        "mapped loopback is ours where we listen",
        "mx d.test 10 l.test\na l.test ::ffff:127.0.0.2",
        "554 5.4.6",
    ),
    (
        "the unspecified address is ours",
        "mx d.test 10 l.test\na l.test 0.0.0.0",
        "554 5.4.6",
    ),
    (
        "the implicit MX is ours",
        "a d.test 198.51.100.1",
        "554 5.4.6",
    ),
    (
        "we are the backup, and the better exchanger cannot be looked up",
        "mx d.test 10 a.test\nmx d.test 20 mx.ours.test\nfails a.test",
        "451 4.4.3",
    ),
    (
        "we are the backup, and the better exchanger has no address",
        "mx d.test 10 a.test\nmx d.test 20 alias.test\nexists a.test\na alias.test 198.51.100.1",
        "554 5.4.6",
    ),
    (
        "a CNAME at the domain",
        "cname d.test real.test\nmx real.test 10 a.test\na a.test 192.0.2.1",
        "192.0.2.1",
    ),
    (
        "a CNAME at the domain to one without MX",
        "cname d.test real.test\na real.test 192.0.2.5",
        "192.0.2.5",
    ),
    (
        "a CNAME at the exchanger is tolerated",
        "mx d.test 10 a.test\ncname a.test real.test\na real.test 192.0.2.1",
        "192.0.2.1",
    ),
    (
        "mapped addresses are IPv4",
        "mx d.test 10 a.test\na a.test ::ffff:192.0.2.1",
        "192.0.2.1",
    ),
];

#[test]
fn what_dns_says_decides_what_is_tried() {
    for (name, table, expected) in CASES {
        for seed in 0..8 {
            assert_eq!(
                &result(&finder(table, Numbers::of(seed)), "d.test"),
                expected,
                "{name}"
            );
        }
    }
}

#[test]
fn equals_come_in_random_order_but_after_what_is_preferred() {
    let table = "mx d.test 5 first.test\na first.test 192.0.2.100
                 mx d.test 10 a.test\nmx d.test 10 b.test\nmx d.test 10 c.test
                 a a.test 192.0.2.1\na b.test 192.0.2.2\na c.test 192.0.2.3";
    let seen: BTreeSet<String> = (0..200)
        .map(|seed| result(&finder(table, Numbers::of(seed)), "d.test"))
        .collect();
    assert_eq!(seen.len(), 6, "all orders of three: {seen:?}");
    assert!(seen.iter().all(|s| s.starts_with("192.0.2.100 ")));
}

#[test]
fn hosts_and_addresses_are_bounded() {
    let mut many_hosts = String::new();
    for i in 0..HOSTS_MAX + 20 {
        many_hosts += &format!("mx d.test {i} h{i}.test\na h{i}.test 192.0.2.{}\n", i + 1);
    }
    let hops =
        now(finder(&many_hosts, Numbers::of(1)).next_hops("d.test", &Security::default())).unwrap();
    assert_eq!(hops.len(), HOSTS_MAX.min(ADDRESSES_MAX));

    let mut many_addresses = String::new();
    for i in 1..100 {
        many_addresses += &format!("a h.test 192.0.2.{i}\na h.test 2001:db8::{i}:1\n");
    }
    let table = format!("mx d.test 10 h.test\n{many_addresses}");
    let hops =
        now(finder(&table, Numbers::of(1)).next_hops("d.test", &Security::default())).unwrap();
    assert_eq!(hops.len(), ADDRESSES_PER_HOST_MAX);
    assert!(hops.iter().any(|h| h.endpoint.ip().unwrap().is_ipv4()));
}

#[test]
fn an_address_literal_is_a_next_hop_unless_it_is_ours() {
    let mx = finder("", Numbers::of(1));
    let hops = mx
        .literal("192.0.2.7".parse().unwrap(), &Security::default())
        .unwrap();
    assert_eq!(hops[0].endpoint.to_string(), "192.0.2.7:25");
    assert_eq!(&*hops[0].host, "[192.0.2.7]");
    assert_eq!(
        mx.literal("127.0.0.2".parse().unwrap(), &Security::default())
            .unwrap_err()
            .code(),
        554
    );
}

#[test]
fn loopback_is_ours_where_we_listen_and_everywhere_when_we_listen_everywhere() {
    let elsewhere = "127.0.0.3".parse().unwrap();
    let one = finder_at(&["127.0.0.2"], "", Numbers::of(1));
    assert!(one.literal(elsewhere, &Security::default()).is_ok());
    let all = finder_at(&["0.0.0.0"], "", Numbers::of(1));
    assert_eq!(
        all.literal(elsewhere, &Security::default())
            .unwrap_err()
            .code(),
        554
    );
}

#[test]
fn a_named_host_is_looked_up_by_address_and_never_by_mx() {
    let mx = finder(
        "mx h.test 10 elsewhere.test\na h.test 127.0.0.1",
        Numbers::of(1),
    );
    assert_eq!(
        now(mx.addresses("h.test")).unwrap(),
        ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]
    );
    assert!(
        now(mx.addresses("gone.test")).unwrap_err().is_transient(),
        "the operator may mend it"
    );
}
