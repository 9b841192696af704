//! Cost as work grows, as figures and drawings: `cargo xtask bench scale`.
//!
//! Relay of 4 KiB messages from client to sink through the program as it ships, with more and more
//! clients, destinations, and messages that wait. Rounds are interleaved; a figure is the median of
//! its rounds, with the least and the most. The drawings go to `target/bench`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, clippy::print_stdout, missing_docs)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use posthaste_tests::load::{Load, Sink};
use posthaste_tests::peer::Nsd;
use posthaste_tests::plot::{self, Series};
use posthaste_tests::server::Server;
use posthaste_tests::{messages, root, setup, until};

const ROUNDS: usize = 3;
const SIZE: usize = 4 * 1024;
/// Nothing measured here takes longer.
const LONG: Duration = Duration::from_secs(900);
/// Threads as in the other benchmarks.
const CLIENTS: usize = 20;
const EACH_CONNECTION: usize = 10;

/// A server that relays all mail to `sink`, and that for `dead.example` to a port nobody serves.
fn relay(sink: &Sink) -> Server {
    let mut server = Server::with(&setup::with(&format!(
        "[[route]]\nrecipients = [\"dead.example\"]\nvia = \"smtp://127.0.0.1:9\"\n\
         [[route]]\nrecipients = [\"*\"]\nvia = \"smtp://{}\"\n",
        sink.address
    )));
    server.run_unheard();
    server
}

/// Messages per second from the first connection to the last message in the sink.
fn rate(load: Load<'_>, sink: &Sink) -> f64 {
    let (before, begun) = (sink.taken(), Instant::now());
    load.send();
    until("all messages in the sink", LONG, || {
        (sink.taken() - before >= load.messages).then_some(())
    });
    load.messages as f64 / begun.elapsed().as_secs_f64()
}

/// Least, median, most.
fn spread(rates: &mut [f64]) -> [f64; 3] {
    rates.sort_by(f64::total_cmp);
    [rates[0], rates[rates.len() / 2], rates[rates.len() - 1]]
}

/// Rounds of `measure` over `steps`, interleaved, printed as they come.
fn interleaved(steps: &[usize], mut measure: impl FnMut(usize) -> f64) -> Vec<(f64, [f64; 3])> {
    let mut rates = vec![Vec::new(); steps.len()];
    for round in 1..=ROUNDS {
        for (step, rates) in steps.iter().zip(&mut rates) {
            let rate = measure(*step);
            println!("round {round}, {step}: {rate:.0}/s");
            rates.push(rate);
        }
    }
    let pairs = steps.iter().zip(&mut rates);
    pairs.map(|(x, r)| (*x as f64, spread(r))).collect()
}

/// Prints the figures and draws them.
fn show(name: &str, title: &str, right: &str, series: &[Series<'_>]) {
    for Series { name, points } in series {
        for (x, [low, median, high]) in points {
            println!("{title}: {name}, {x} {right}: {median:.0}/s ({low:.0}-{high:.0})");
        }
    }
    let folder = root().join("target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{name}.svg"));
    std::fs::write(&file, plot::svg(title, right, "messages/s", series)).unwrap();
    println!("{}", file.display());
}

fn loopback() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}

#[test]
#[ignore = "a benchmark: cargo xtask bench scale-clients"]
fn scale_clients() {
    let (sink, message) = (Sink::start(loopback()), messages::load(SIZE));
    let recipient = |_: usize| "someone@sink.example".to_owned();
    let load = |to, clients| Load {
        to,
        clients,
        messages: 20_000,
        each_connection: EACH_CONNECTION,
        recipient: &recipient,
        message: &message,
    };
    let steps = [1, 10, 100, 1_000];
    let server = relay(&sink);
    let relayed = interleaved(&steps, |n| rate(load(server.address(), n), &sink));
    let ceiling = interleaved(&steps, |n| rate(load(sink.address, n), &sink));
    let series = [
        Series {
            name: "straight into the sink",
            points: ceiling,
        },
        Series {
            name: "relayed",
            points: relayed,
        },
    ];
    show("clients", "Relay as clients grow", "clients", &series);
}

/// An address of loopback with its port 25, which no other run of the tests uses.
fn mail_host() -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 78, high, low.max(2))), 25)
}

#[test]
#[ignore = "a benchmark: cargo xtask bench scale-destinations"]
fn scale_destinations() {
    let (sink, message) = (Sink::start(mail_host()), messages::load(SIZE));
    let records = format!(
        "*.many.example. MX 10 sink.example.\nsink.example. A {}\n",
        sink.address.ip()
    );
    let Some(nsd) = Nsd::start(&records) else {
        return;
    };
    let rates = interleaved(&[1, 10, 1_000, 100_000], |destinations| {
        // A new one each time, so that no answer of DNS is remembered.
        let mut server = Server::with(&setup::with(&format!(
            "[dns]\nservers = [\"{}\"]\n",
            nsd.address
        )));
        server.run_unheard();
        let recipient = |n: usize| format!("someone@d{}.many.example", n % destinations);
        let load = Load {
            to: server.address(),
            clients: CLIENTS,
            messages: 100_000,
            each_connection: EACH_CONNECTION,
            recipient: &recipient,
            message: &message,
        };
        rate(load, &sink)
    });
    let series = [Series {
        name: "by MX, 100,000 messages",
        points: rates,
    }];
    let title = "Relay as destinations grow";
    show("destinations", title, "destinations", &series);
}

#[test]
#[ignore = "a benchmark: cargo xtask bench scale-queue"]
fn scale_queue() {
    let (sink, message) = (Sink::start(loopback()), messages::load(SIZE));
    let mut server = relay(&sink);
    let mut waiting = 0;
    let mut points = Vec::new();
    let idle = server.memory().0;
    println!("idle: {idle} KiB resident");
    for wanted in [0, 1_000, 10_000, 100_000, 1_000_000] {
        if wanted > waiting {
            let recipient = |_: usize| "someone@dead.example".to_owned();
            let begun = Instant::now();
            Load {
                to: server.address(),
                clients: CLIENTS,
                messages: wanted - waiting,
                each_connection: 1_000,
                recipient: &recipient,
                message: &message,
            }
            .send();
            let took = begun.elapsed().as_secs_f64();
            println!("{} more accepted in {took:.1} s", wanted - waiting);
            waiting = wanted;
        }
        let recipient = |_: usize| "someone@sink.example".to_owned();
        let load = Load {
            to: server.address(),
            clients: CLIENTS,
            messages: 20_000,
            each_connection: EACH_CONNECTION,
            recipient: &recipient,
            message: &message,
        };
        let mut rates: Vec<f64> = (0..ROUNDS).map(|_| rate(load, &sink)).collect();
        let (now, most) = server.memory();
        let median = spread(&mut rates);
        println!("{waiting} waiting: {median:.0?}/s, {now} KiB resident, {most} at most");
        points.push((waiting as f64, median));
    }
    server.kill();
    let begun = Instant::now();
    server.run_unheard();
    println!("ready {:.2?} after a kill", begun.elapsed());
    until("all messages of the queue", LONG, || {
        (server.queued() >= waiting as u64).then_some(())
    });
    let (now, most) = server.memory();
    println!("after the start: {now} KiB resident, {most} at most");
    let series = [Series {
        name: "relayed beside what waits",
        points,
    }];
    show(
        "queue",
        "Relay as the queue grows",
        "messages that wait",
        &series,
    );
}
