//! The resolver against scripted servers: what each answer, and each misbehaviour, becomes.

mod fake;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::base::iana::{ExtendedErrorCode, Rcode, Rtype};
use domain::base::{Message, MessageBuilder};
use proptest::collection::vec;
use proptest::prelude::{any, proptest};
use tokio::sync::Notify;

use super::servers::Patience;
use super::system::System;
use super::{Resolver, Settings, reading};
use crate::Dns as _;
use crate::dns::{Answer, Data, Failure, Found, Kind, Security};
use fake::{HandClock, Query, Rr, Server};

proptest! {
    #[test]
    fn no_octets_break_the_reading(octets in vec(any::<u8>(), 12..200), kind in 0..KINDS.len()) {
        read(octets, KINDS[kind]);
    }

    #[test]
    fn no_damage_breaks_the_reading(
        kind in 0..KINDS.len(),
        damage in vec((12..400_usize, any::<u8>()), 1..8),
    ) {
        let mut octets = everything();
        for (at, octet) in damage {
            let at = at % octets.len();
            octets[at] = octet;
        }
        read(octets, KINDS[kind]);
    }
}

const KINDS: [Kind; 6] = [
    Kind::A,
    Kind::Aaaa,
    Kind::Mx,
    Kind::Txt,
    Kind::Ptr,
    Kind::Tlsa,
];

/// Reads octets as the answer to a question; there must be a result.
fn read(octets: Vec<u8>, kind: Kind) {
    let message = Message::from_octets(bytes::Bytes::from(octets)).unwrap();
    let mut reading = reading::Reading::begin(super::parse("a.test").unwrap());
    let _ = reading.go(&message, kind, true);
}

/// An answer with a record of every kind, some of them by way of a CNAME.
fn everything() -> Vec<u8> {
    let mut question = MessageBuilder::new_vec().question();
    question.push((fake::name("a.test"), Rtype::A)).unwrap();
    let query = Query::read(&question.finish(), false);
    query
        .records(&[
            Rr::cname("a.test", 60, "b.test"),
            Rr::a("b.test", 60, "192.0.2.1"),
            Rr::aaaa("b.test", 60, "2001:db8::1"),
            Rr::mx("a.test", 10, "mx.test"),
            Rr::txt("a.test", b"text"),
            Rr::ptr("b.test", "a.test"),
            Rr::tlsa("b.test", &[1; 32]),
        ])
        .remove(0)
}

/// A resolver that asks `servers`, and its clock.
fn resolver(servers: &[&Server]) -> (Resolver, Arc<HandClock>) {
    let settings = Settings {
        servers: servers.iter().map(|server| server.address).collect(),
        ..Settings::default()
    };
    let patience = Patience {
        datagram: Duration::from_millis(200),
        stream: Duration::from_secs(2),
        in_all: Duration::from_secs(5),
    };
    let clock = Arc::new(HandClock::default());
    let nothing = || PathBuf::from("/nonexistent");
    let world = (patience, System::with(nothing(), nothing()));
    let runtime = tokio::runtime::Handle::current();
    let resolver = Resolver::with(settings, clock.clone(), runtime, world);
    (resolver, clock)
}

async fn ask(servers: &[&Server], name: &str, kind: Kind) -> Result<Arc<Answer>, Failure> {
    resolver(servers).0.query(name, kind).await
}

fn a(address: &str) -> Found {
    Found::Records(vec![Data::A(address.parse().unwrap())])
}

fn one(query: &Query) -> Vec<Vec<u8>> {
    query.records(&[Rr::a(&query.name, 60, "192.0.2.1")])
}

fn code(query: &Query, code: Rcode) -> Vec<Vec<u8>> {
    vec![query.reply(code, |_| ()).finish()]
}

fn silence(_: &Query) -> Vec<Vec<u8>> {
    Vec::new()
}

#[tokio::test]
async fn an_answer_that_was_cut_short_is_asked_for_over_tcp() {
    let cut = |query: &Query| match query.tcp {
        false => query.cut_short(),
        true => one(query),
    };
    let (cuts, cuts_too) = (Server::start(cut).await, Server::start(cut).await);
    let plain = Server::start(|q| q.records(&[Rr::a(&q.name, 60, "192.0.2.2")])).await;
    for servers in [vec![&cuts], vec![&cuts, &cuts_too], vec![&cuts, &plain]] {
        let answer = ask(&servers, "a.test", Kind::A).await.unwrap();
        assert_eq!(answer.found, a("192.0.2.1"));
    }
}

#[tokio::test]
async fn when_tcp_fails_the_next_server_is_asked() {
    let cuts = Server::start(|query| match query.tcp {
        false => query.cut_short(),
        true => Vec::new(),
    });
    let (cuts, good) = (cuts.await, Server::start(one).await);
    let answer = ask(&[&cuts, &good], "a.test", Kind::A).await.unwrap();
    assert_eq!(answer.found, a("192.0.2.1"));
    let failure = ask(&[&cuts], "a.test", Kind::A).await.unwrap_err();
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
}

#[tokio::test]
async fn a_large_text_comes_whole() {
    let text: Vec<u8> = (0..60_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let sent = text.clone();
    let server = Server::start(move |query| match query.tcp {
        false => query.cut_short(),
        true => query.records(&[Rr::txt(&query.name, &sent)]),
    });
    let answer = ask(&[&server.await], "big.test", Kind::Txt).await.unwrap();
    assert_eq!(answer.records(), [Data::Txt(text)]);
}

#[tokio::test]
async fn every_kind_of_record_is_read() {
    let server = Server::start(|query| {
        let n = &*query.name;
        query.records(&match query.rtype {
            Rtype::A => vec![Rr::a(n, 60, "192.0.2.1"), Rr::a(n, 60, "192.0.2.2")],
            Rtype::AAAA => vec![Rr::aaaa(n, 60, "2001:db8::1")],
            Rtype::MX => vec![Rr::mx(n, 10, "MX.Test"), Rr::mx(n, 0, ".")],
            Rtype::TXT => vec![Rr::txt(n, b"v=1 \xff")],
            Rtype::PTR => vec![Rr::ptr(n, "Host.Test")],
            _ => vec![Rr::tlsa(n, &[1, 2, 3])],
        })
    });
    let (resolver, _) = resolver(&[&server.await]);
    let mx = |preference, exchange: &str| Data::Mx {
        preference,
        exchange: exchange.to_owned(),
    };
    let tlsa = Data::Tlsa {
        usage: 3,
        selector: 1,
        matching: 2,
        data: vec![1, 2, 3],
    };
    let v4 = |a: &str| Data::A(a.parse().unwrap());
    for (kind, wanted) in [
        (Kind::A, vec![v4("192.0.2.1"), v4("192.0.2.2")]),
        (Kind::Aaaa, vec![Data::Aaaa("2001:db8::1".parse().unwrap())]),
        (Kind::Mx, vec![mx(10, "mx.test"), mx(0, "")]),
        (Kind::Txt, vec![Data::Txt(b"v=1 \xff".to_vec())]),
        (Kind::Ptr, vec![Data::Ptr("host.test".to_owned())]),
        (Kind::Tlsa, vec![tlsa]),
    ] {
        let answer = resolver.query("_25._tcp.A.Test.", kind).await.unwrap();
        assert_eq!(answer.records(), wanted, "{kind:?}");
        assert_eq!(answer.canonical, "_25._tcp.a.test");
        assert_eq!(answer.ttl, Duration::from_secs(60));
    }
}

#[tokio::test]
async fn questions_ask_for_validation_and_small_datagrams() {
    let server = Server::start(|query| {
        let (header, opt) = (query.message.header(), query.message.opt().unwrap());
        let good = header.rd() && header.ad() && !header.cd() && opt.dnssec_ok();
        match good && opt.udp_payload_size() == 1232 {
            true => one(query),
            false => Vec::new(),
        }
    });
    assert!(ask(&[&server.await], "a.test", Kind::A).await.is_ok());
}

#[tokio::test]
async fn a_server_from_before_edns_is_asked_without_it() {
    let server = Server::start(|query| match query.message.opt() {
        Some(_) => code(query, Rcode::FORMERR),
        None => one(query),
    });
    assert!(ask(&[&server.await], "a.test", Kind::A).await.is_ok());
}

#[tokio::test]
async fn the_ad_bit_of_a_server_on_loopback_means_secure() {
    for ad in [true, false] {
        let server = Server::start(move |query| {
            let reply = query.reply(Rcode::NOERROR, |a| a.header_mut().set_ad(ad));
            let mut reply = reply;
            Rr::a(&query.name, 60, "192.0.2.1").push(&mut reply);
            vec![reply.finish()]
        });
        let answer = ask(&[&server.await], "a.test", Kind::A).await.unwrap();
        let wanted = if ad {
            Security::Secure
        } else {
            Security::Insecure
        };
        assert_eq!(answer.security, wanted);
    }
}

#[test]
fn the_ad_bit_of_any_other_server_means_nothing() {
    let settings = |trusted: &[&str]| Settings {
        trusted: trusted.iter().map(|ip| ip.parse().unwrap()).collect(),
        ..Settings::default()
    };
    let trusts = |trusted: &[&str], ip: &str| settings(trusted).trusts(ip.parse().unwrap());
    for ip in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert!(trusts(&[], ip), "{ip}");
    }
    for ip in [
        "192.0.2.1",
        "10.0.0.1",
        "::ffff:192.0.2.1",
        "2001:db8::1",
        "::",
    ] {
        assert!(!trusts(&[], ip), "{ip}");
    }
    assert!(trusts(&["192.0.2.1"], "192.0.2.1"));
    assert!(!trusts(&["192.0.2.1"], "192.0.2.2"));

    let name = super::parse("a.test").unwrap();
    let mut message = MessageBuilder::new_bytes();
    message.header_mut().set_qr(true);
    message.header_mut().set_ad(true);
    let mut question = message.question();
    question.push((&name, Rtype::A)).unwrap();
    let message = question.into_message();
    for (trusted, wanted) in [(false, Security::Insecure), (true, Security::Secure)] {
        let mut reading = reading::Reading::begin(name.clone());
        reading.go(&message, Kind::A, trusted).unwrap();
        assert_eq!(reading.security, wanted);
    }
}

/// A reply with this extended error (RFC 8914) and one record.
fn with_error(query: &Query, code: Rcode, error: u16) -> Vec<Vec<u8>> {
    let record = Rr::a(&query.name, 60, "192.0.2.1");
    let reply = query.reply(code, |a| record.push(a));
    let mut reply = reply.additional();
    let error = ExtendedErrorCode::from_int(error);
    reply
        .opt(|opt| {
            let none = None::<&domain::dep::octseq::Str<Vec<u8>>>;
            opt.extended_error(error, none).unwrap();
            Ok(())
        })
        .unwrap();
    vec![reply.finish()]
}

#[tokio::test]
async fn bogus_data_is_a_failure_that_no_other_server_can_mend() {
    let bogus = Server::start(|q| with_error(q, Rcode::SERVFAIL, 6)).await;
    let good = Server::start(one).await;
    let failure = ask(&[&bogus, &good], "a.test", Kind::A).await.unwrap_err();
    assert_eq!(failure, Failure::Bogus);
    assert_eq!(good.asked(), 0);
}

#[tokio::test]
async fn a_server_that_could_not_validate_gives_indeterminate() {
    let server = Server::start(|q| with_error(q, Rcode::NOERROR, 5)).await;
    let answer = ask(&[&server], "a.test", Kind::A).await.unwrap();
    assert_eq!(answer.security, Security::Indeterminate);
}

#[tokio::test]
async fn a_server_that_fails_is_followed_by_the_next() {
    let good = Server::start(one).await;
    for refusal in [
        Rcode::SERVFAIL,
        Rcode::REFUSED,
        Rcode::NOTIMP,
        Rcode::FORMERR,
    ] {
        let bad = Server::start(move |query| code(query, refusal)).await;
        let answer = ask(&[&bad, &good], "a.test", Kind::A).await.unwrap();
        assert_eq!(answer.found, a("192.0.2.1"), "{refusal}");
        let failure = ask(&[&bad, &bad], "a.test", Kind::A).await.unwrap_err();
        assert_eq!(failure, Failure::Server(refusal.to_string()));
    }
}

#[tokio::test]
async fn a_referral_is_not_an_answer() {
    let lame = Server::start(|query| {
        let mut authority = query.reply(Rcode::NOERROR, |_| ()).authority();
        let record = (
            fake::name("test"),
            60,
            domain::rdata::Ns::new(fake::name("ns.test")),
        );
        authority.push(record).unwrap();
        vec![authority.finish()]
    });
    let (lame, good) = (lame.await, Server::start(one).await);
    let answer = ask(&[&lame, &good], "a.test", Kind::A).await.unwrap();
    assert_eq!(answer.found, a("192.0.2.1"));
    let failure = ask(&[&lame], "a.test", Kind::A).await.unwrap_err();
    assert!(matches!(failure, Failure::Server(_)), "{failure:?}");
}

#[tokio::test]
async fn a_silent_server_is_followed_by_the_next_and_then_asked_last() {
    let (mute, good) = (Server::start(silence).await, Server::start(one).await);
    let (resolver, clock) = resolver(&[&mute, &good]);
    for name in ["a.test", "b.test", "c.test"] {
        assert!(resolver.query(name, Kind::A).await.is_ok());
    }
    assert_eq!((mute.asked(), good.asked()), (1, 3));
    clock.forward(Duration::from_secs(60));
    assert!(resolver.query("d.test", Kind::A).await.is_ok());
    assert_eq!((mute.asked(), good.asked()), (2, 4));
}

#[tokio::test]
async fn silence_of_all_servers_is_a_timeout() {
    let mute = Server::start(silence).await;
    let failure = ask(&[&mute, &mute], "a.test", Kind::A).await;
    assert_eq!(failure, Err(Failure::Timeout));
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again() {
    let lost = AtomicBool::new(false);
    let server = Server::start(move |query| match lost.swap(true, Ordering::SeqCst) {
        false => Vec::new(),
        true => one(query),
    });
    assert!(ask(&[&server.await], "a.test", Kind::A).await.is_ok());
}

#[tokio::test]
async fn a_closed_port_is_unreachable_and_the_next_server_is_asked() {
    // An address that nothing else here uses, so that the port stays closed.
    let socket = std::net::UdpSocket::bind("127.0.0.77:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let (mut gone, good) = (Server::start(one).await, Server::start(one).await);
    gone.address = address;
    assert!(ask(&[&gone, &good], "a.test", Kind::A).await.is_ok());
    let failure = ask(&[&gone], "a.test", Kind::A).await.unwrap_err();
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
}

#[tokio::test]
async fn a_chain_of_cnames_in_one_answer_is_followed() {
    let server = Server::start(|query| {
        query.records(&[
            Rr::a("c.test", 30, "192.0.2.1"),
            Rr::cname("B.test", 20, "C.Test"),
            Rr::cname(&query.name, 60, "b.TEST"),
        ])
    });
    let server = server.await;
    let answer = ask(&[&server], "a.test", Kind::A).await.unwrap();
    assert_eq!(answer.found, a("192.0.2.1"));
    assert_eq!(answer.canonical, "c.test");
    assert_eq!(answer.ttl, Duration::from_secs(20));
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_chain_of_cnames_in_several_answers_is_followed_and_is_as_secure_as_its_weakest_part() {
    let server = Server::start(|query| {
        let (ad, record) = match &*query.name {
            "a.test" => (true, Rr::cname("a.test", 60, "b.test")),
            "b.test" => (false, Rr::cname("b.test", 60, "c.test")),
            _ => (true, Rr::a("c.test", 60, "192.0.2.1")),
        };
        let reply = query.reply(Rcode::NOERROR, |a| {
            a.header_mut().set_ad(ad);
            record.push(a);
        });
        vec![reply.finish()]
    });
    let server = server.await;
    let answer = ask(&[&server], "a.test", Kind::A).await.unwrap();
    assert_eq!(answer.found, a("192.0.2.1"));
    assert_eq!(
        (&*answer.canonical, answer.security),
        ("c.test", Security::Insecure)
    );
    assert_eq!(server.asked(), 3);
}

#[tokio::test]
async fn cnames_that_loop_or_never_end_are_malformed() {
    let within = Server::start(|query| {
        query.records(&[
            Rr::cname("a.test", 60, "b.test"),
            Rr::cname("b.test", 60, "a.test"),
        ])
    });
    let itself = Server::start(|q| q.records(&[Rr::cname(&q.name, 60, &q.name)]));
    let endless = Server::start(|query| {
        let next = format!("a{}", query.name);
        query.records(&[Rr::cname(&query.name, 60, &next)])
    });
    for server in [within.await, itself.await, endless.await] {
        let failure = ask(&[&server], "a.test", Kind::A).await.unwrap_err();
        assert!(matches!(failure, Failure::Malformed(_)), "{failure:?}");
        assert!(server.asked() <= 9);
    }
}

#[tokio::test]
async fn no_such_name_and_no_such_records_are_told_apart_and_kept_as_the_zone_says() {
    let server = Server::start(|query| match &*query.name {
        "nodata.test" => query.nothing(Rcode::NOERROR, 300, 100),
        "long.test" => query.nothing(Rcode::NXDOMAIN, 1_000_000, 1_000_000),
        "bare.test" => code(query, Rcode::NOERROR),
        _ => query.nothing(Rcode::NXDOMAIN, 50, 100),
    });
    let (resolver, _) = resolver(&[&server.await]);
    for (name, found, ttl) in [
        ("nodata.test", Found::NoData, 100),
        ("nothing.test", Found::NxDomain, 50),
        ("long.test", Found::NxDomain, 900),
        ("bare.test", Found::NoData, 0),
    ] {
        let answer = resolver.query(name, Kind::Mx).await.unwrap();
        assert_eq!(
            (&answer.found, answer.ttl.as_secs()),
            (&found, ttl),
            "{name}"
        );
        assert!(answer.records().is_empty());
    }
}

#[tokio::test]
async fn a_cname_to_nowhere_is_no_such_name() {
    let server = Server::start(|query| {
        let alias = Rr::cname(&query.name, 60, "gone.test");
        let reply = query.reply(Rcode::NXDOMAIN, |a| alias.push(a));
        vec![reply.finish()]
    });
    let answer = ask(&[&server.await], "a.test", Kind::A).await.unwrap();
    assert_eq!(
        (&answer.found, &*answer.canonical),
        (&Found::NxDomain, "gone.test")
    );
}

#[tokio::test]
async fn what_does_not_match_the_question_is_passed_over() {
    let server = Server::start(|query| {
        let forged = |make: &dyn Fn(&mut Message<Vec<u8>>)| {
            let record = Rr::a(&query.name, 60, "203.0.113.66");
            let reply = query.reply(Rcode::NOERROR, |a| record.push(a));
            let mut message = Message::from_octets(reply.finish()).unwrap();
            make(&mut message);
            message.into_octets()
        };
        let other_id = forged(&|m| {
            let id = m.header().id();
            m.header_mut().set_id(id.wrapping_add(1));
        });
        let a_query = forged(&|m| m.header_mut().set_qr(false));
        let mut other_name = forged(&|_| ());
        other_name[13] = b'z';
        let mut good = vec![b"short".to_vec(), other_id, a_query, other_name];
        good.extend(one(query));
        good
    });
    let answer = ask(&[&server.await], "a.test", Kind::A).await.unwrap();
    assert_eq!(answer.found, a("192.0.2.1"));
}

#[tokio::test]
async fn records_of_other_names_are_not_believed() {
    let server = Server::start(|query| {
        query.records(&[
            Rr::a("other.test", 60, "203.0.113.66"),
            Rr::cname("other.test", 60, "a.test"),
            Rr::ns(&query.name, "ns.test"),
        ])
    });
    let answer = ask(&[&server.await], "a.test", Kind::A).await.unwrap();
    assert_eq!(answer.found, Found::NoData);
}

#[tokio::test]
async fn a_malformed_answer_is_followed_by_the_next_server() {
    let broken = Server::start(|query| {
        let mut message = one(query).remove(0);
        // The last record ends early.
        message.truncate(message.len() - 2);
        vec![message]
    });
    let (broken, good) = (broken.await, Server::start(one).await);
    assert!(ask(&[&broken, &good], "a.test", Kind::A).await.is_ok());
    let failure = ask(&[&broken], "a.test", Kind::A).await.unwrap_err();
    assert!(matches!(failure, Failure::Malformed(_)), "{failure:?}");
}

#[tokio::test]
async fn answers_are_kept_for_their_lifetime_and_no_longer_than_a_day() {
    let server = Server::start(|query| match &*query.name {
        "short.test" => one(query),
        "zero.test" => query.records(&[Rr::a("zero.test", 0, "192.0.2.1")]),
        // The highest bit makes it none at all (RFC 2181 §8).
        "wrong.test" => query.records(&[Rr::a("wrong.test", 1 << 31, "192.0.2.1")]),
        name => query.records(&[Rr::a(name, 1_000_000, "192.0.2.1")]),
    });
    let server = server.await;
    for (name, seconds) in [("short.test", 60), ("long.test", 86_400), ("zero.test", 0)] {
        let (resolver, clock) = resolver(&[&server]);
        let before = server.asked();
        resolver.query(name, Kind::A).await.unwrap();
        if seconds > 0 {
            clock.forward(Duration::from_secs(seconds - 1));
            resolver.query(&name.to_uppercase(), Kind::A).await.unwrap();
            assert_eq!(server.asked(), before + 1, "{name}");
            clock.forward(Duration::from_secs(1));
        }
        resolver.query(name, Kind::A).await.unwrap();
        assert_eq!(server.asked(), before + 2, "{name}");
    }
    let answer = ask(&[&server], "wrong.test", Kind::A).await.unwrap();
    assert_eq!(answer.ttl, Duration::ZERO);
}

#[tokio::test]
async fn a_failure_is_kept_for_a_moment() {
    let server = Server::start(|query| code(query, Rcode::SERVFAIL)).await;
    let (resolver, clock) = resolver(&[&server]);
    for _ in 0..3 {
        assert!(resolver.query("a.test", Kind::A).await.is_err());
    }
    assert_eq!(server.asked(), 1);
    clock.forward(Duration::from_secs(5));
    assert!(resolver.query("a.test", Kind::A).await.is_err());
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn many_who_ask_the_same_share_one_question() {
    let server = Server::start(|q| q.records(&[Rr::a(&q.name, 0, "192.0.2.1")])).await;
    let (resolver, _) = resolver(&[&server]);
    let ask = || {
        let resolver = resolver.clone();
        tokio::spawn(async move { resolver.query("a.test", Kind::A).await })
    };
    let asked: Vec<_> = (0..100).map(|_| ask()).collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap().unwrap().found, a("192.0.2.1"));
    }
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_question_goes_on_when_who_asked_has_gone() {
    let seen = Arc::new(Notify::new());
    let tell = seen.clone();
    let server = Server::start(move |query| {
        tell.notify_one();
        one(query)
    });
    let server = server.await;
    let (resolver, _) = resolver(&[&server]);
    tokio::select! {
        biased;
        () = seen.notified() => {}
        _ = resolver.query("a.test", Kind::A) => panic!("it was quicker than its own question"),
    }
    assert!(resolver.query("a.test", Kind::A).await.is_ok());
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn names_that_cannot_be_asked_for_are_refused_without_asking() {
    let server = Server::start(one).await;
    let (resolver, _) = resolver(&[&server]);
    let (label, name) = ("x".repeat(64), format!("{}test", "abc.".repeat(63)));
    for bad in [
        "", ".", "a..test", ".test", "a.test..", "ä.test", &label, &name,
    ] {
        let failure = resolver.query(bad, Kind::A).await.unwrap_err();
        assert!(matches!(failure, Failure::BadName(_)), "{bad}: {failure:?}");
    }
    assert_eq!(server.asked(), 0);
    let longest = format!("{}tes", "abc.".repeat(62));
    for odd in [
        &*longest,
        r"a\.b",
        "with space.test",
        "_dmarc.test",
        "1.2.3.4",
    ] {
        assert!(resolver.query(odd, Kind::A).await.is_ok(), "{odd}");
    }
}

#[test]
fn where_only_the_servers_count_the_hosts_file_says_nothing() {
    let clock: Arc<dyn crate::Clock> = Arc::new(HandClock::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let settings = |without_hosts| Settings {
        // Nobody is there.
        servers: vec!["127.0.0.1:9".parse().unwrap()],
        without_hosts,
        ..Settings::default()
    };
    let ask = |without_hosts| {
        let resolver = Resolver::new(
            settings(without_hosts),
            clock.clone(),
            runtime.handle().clone(),
        );
        runtime.block_on(crate::Dns::query(&resolver, "localhost", Kind::A))
    };
    assert!(ask(false).is_ok());
    assert!(ask(true).is_err());
}
