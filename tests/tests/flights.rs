//! Several messages in one flight: nothing is lost where connections are, and what a round trip of
//! 50 ms costs beside Postfix (`cargo xtask bench flights`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, clippy::print_stdout, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use posthaste_tests::client::Dialogue;
use posthaste_tests::distance::Distant;
use posthaste_tests::hop::NextHop;
use posthaste_tests::load::Load;
use posthaste_tests::messages::sample;
use posthaste_tests::peer::{Haraka, Postfix};
use posthaste_tests::server::Server;
use posthaste_tests::{free_address, mailbox, setup, until};

const LONG: Duration = Duration::from_secs(120);
/// Messages that go over connections which are lost.
const MESSAGES: usize = 600;
/// Messages for a host that refuses flights: more than one flight.
const MESSAGES_REFUSED: usize = 20;
/// Of a thousand pieces, so many reset their connection: more than one connection in a hundred.
const RESETS: u64 = 20;
/// What is said when a host may have a message that it did not acknowledge (RFC 1047).
const AMBIGUOUS: &str = "after the end of data";

/// Relays to `hop` over few connections, so that messages wait for each other.
fn relay(hop: SocketAddr, connections: usize) -> Server {
    Server::with(&setup::with(&format!(
        "[limits]\nconnections_per_destination = {connections}\n\
         [retry]\nintervals = [\"1s\"]\n\
         [[route]]\nrecipients = [\"*\"]\nvia = \"smtp://{hop}\"\n"
    )))
}

/// Haraka refuses with 503 what comes before its reply to the last message.
#[test]
fn a_host_that_refuses_flights_gets_each_message_alone_and_no_message_fails() {
    let Some(hop) = Haraka::start(free_address(), None, false) else {
        return;
    };
    let mut server = relay(hop.address, 1);
    server.run();
    let mut dialogue = Dialogue::open(server.address());
    let mut sent = Vec::new();
    for number in 0..MESSAGES_REFUSED {
        let message = sample("refused", format!("mark {number}\r\n").as_bytes()).octets;
        let answer = dialogue.deliver("bob@local.example", &["r@remote.example"], &message);
        assert_eq!(answer.code, 250, "{answer:?}");
        sent.push(mailbox::with_lf(&message));
    }
    let found = mailbox::wait(&hop.maildir(), sent.len(), LONG);
    let mut arrived: Vec<_> = found
        .iter()
        .map(|octets| mailbox::below(octets, "Subject").to_vec())
        .collect();
    arrived.sort_unstable();
    sent.sort_unstable();
    assert!(arrived == sent, "not each message once");
    until("an empty queue", LONG, || {
        (server.queued() == 0).then_some(())
    });
    for record in server.records() {
        if record["event"] == "recipient" {
            assert_eq!(record["outcome"], "relayed", "{record}");
        }
    }
}

#[test]
fn what_is_sent_in_flights_over_connections_that_are_lost_arrives() {
    for keywords in [&["PIPELINING"][..], &["PIPELINING", "CHUNKING"]] {
        let hop = NextHop::start(keywords);
        let way = Distant::new(
            hop.address,
            Duration::from_millis(2),
            RESETS,
            "250 2.0.0 taken",
        );
        let mut server = relay(way.address, 4);
        server.run();
        let mut dialogue = Dialogue::open(server.address());
        let mut sent = BTreeSet::new();
        for number in 0..MESSAGES {
            let mark = format!("mark-{number}.");
            let message = sample("mark", format!("{mark}\r\n").as_bytes()).octets;
            let to = format!("r{number}@remote.example");
            let answer = dialogue.try_deliver("bob@local.example", &to, &message);
            assert_eq!(answer.map(|answer| answer.code), Some(250));
            sent.insert(mark);
        }
        until("an empty queue", LONG, || {
            let _ = server.command(&["queue", "retry", "from=bob@local.example"]);
            (server.queued() == 0).then_some(())
        });
        let mut copies: BTreeMap<String, usize> = BTreeMap::new();
        hop.arrived()
            .into_iter()
            .for_each(|mark| *copies.entry(mark).or_default() += 1);
        let lost: Vec<_> = sent
            .iter()
            .filter(|mark| !copies.contains_key(*mark))
            .collect();
        let twice: usize = copies.values().map(|count| count - 1).sum();
        let in_doubt = server.records().into_iter().filter(|record| {
            record["event"] == "recipient"
                && record["reply"]
                    .as_str()
                    .is_some_and(|reply| reply.contains(AMBIGUOUS))
        });
        let in_doubt = in_doubt.count();
        let (connections, resets) = way.connections();
        println!(
            "{MESSAGES} messages, {connections} connections, {resets} reset: {} lost, {twice} \
             second copies of {in_doubt} whose end was sent and not acknowledged",
            lost.len()
        );
        assert!(resets > 0);
        assert!(lost.is_empty(), "{lost:?}");
        assert!(twice <= in_doubt);
    }
}

/// One way of a round trip of 50 ms.
const DELAY: Duration = Duration::from_millis(25);
const CONNECTIONS: usize = 4;
const ROUNDS: usize = 3;

/// Messages per second until the distant server has acknowledged all.
fn rate(to: SocketAddr, messages: usize, way: &Distant) -> f64 {
    let (before, begun) = (way.count(), Instant::now());
    let message = sample("load", "A line of text.\r\n".repeat(200).as_bytes()).octets;
    let load = Load {
        to,
        clients: 4,
        messages,
        each_connection: 50,
        recipient: &|_| "someone@sink.example".to_owned(),
        message: &message,
    };
    load.send();
    until("all messages over there", LONG, || {
        (way.count() - before >= messages).then_some(())
    });
    messages as f64 / begun.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a benchmark: cargo xtask bench flights"]
fn flights() {
    for (what, settings, ours) in [
        ("with CHUNKING", "", 6000),
        (
            "without CHUNKING",
            "smtpd_discard_ehlo_keywords = chunking",
            1000,
        ),
    ] {
        let receiver =
            format!("myhostname = receiver.example\nvirtual_transport = discard:\n{settings}");
        let Some(far) = Postfix::start(free_address(), &receiver) else {
            return;
        };
        let way = || Distant::new(far.address, DELAY, 0, "queued as ");
        let (one, other) = (way(), way());
        let mut posthaste = relay(one.address, CONNECTIONS);
        posthaste.run_unheard();
        let hop = format!("[127.0.0.1]:{}", other.address.port());
        let sender = format!(
            "virtual_mailbox_domains =\nrelayhost = {hop}\n\
             smtp_connection_cache_destinations = {hop}\n\
             default_destination_concurrency_limit = {CONNECTIONS}\n\
             initial_destination_concurrency = {CONNECTIONS}"
        );
        let Some(postfix) = Postfix::start(free_address(), &sender) else {
            return;
        };
        let (mut rates, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let mine = rate(posthaste.address(), ours, &one);
            let its = rate(postfix.address, 300, &other);
            println!("{what}, round {round}: Posthaste {mine:.0}/s, Postfix {its:.0}/s");
            // The first one warms up.
            if round > 0 {
                rates.push(mine);
                theirs.push(its);
            }
        }
        rates.sort_by(f64::total_cmp);
        theirs.sort_by(f64::total_cmp);
        let (mine, its) = (rates[ROUNDS / 2], theirs[ROUNDS / 2]);
        println!(
            "50 ms, {CONNECTIONS} connections, {what}: Posthaste {mine:.0}/s ({:.0}-{:.0}), \
             Postfix {its:.0}/s ({:.0}-{:.0}): {:.1} x; connections {:?} and {:?}",
            rates[0],
            rates[ROUNDS - 1],
            theirs[0],
            theirs[ROUNDS - 1],
            mine / its,
            one.connections().0,
            other.connections().0
        );
    }
}
