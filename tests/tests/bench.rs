//! Figures, printed: `cargo xtask bench` runs these against the program as it ships.
//!
//! They assert little: a figure is for people to compare.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, clippy::print_stdout, missing_docs)]

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use posthaste_tests::client::Dialogue;
use posthaste_tests::server::Server;
use posthaste_tests::setup;
use posthaste_tests::tls::{Authority, Trust};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const SESSIONS: usize = 10_000;
/// Threads that open them.
const OPENERS: usize = 4;
/// Clients that come while they are open, one after another.
const NEXT: usize = 200;

/// Lets this process have more files open than the sessions need.
fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, wanted).expect("more open files");
}

fn opened(address: SocketAddr, trust: &Trust, count: usize) -> Vec<TcpStream> {
    let open = || Dialogue::open_tls(address, trust, "mx.local.example").into_socket();
    (0..count).map(|_| open()).collect()
}

/// How long a client waits for its greeting, its handshake and the reply to its EHLO, sorted.
fn answers(address: SocketAddr, trust: &Trust) -> Vec<Duration> {
    let one = |_| {
        let begun = Instant::now();
        let mut dialogue = Dialogue::open_tls(address, trust, "mx.local.example");
        let took = begun.elapsed();
        assert_eq!(dialogue.ask("QUIT").code, 221);
        took
    };
    let mut took: Vec<_> = (0..NEXT).map(one).collect();
    took.sort_unstable();
    took
}

fn report(what: &str, took: &[Duration]) {
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!(
        "{what}: greeting to EHLO inside of TLS p50 {:?}, p99 {:?}",
        at(50),
        at(99)
    );
}

#[test]
#[ignore = "a benchmark: cargo xtask bench idle-tls"]
fn idle_tls() {
    allow_many_files();
    let base = setup::BASE.replace("tls = \"none\"\n", "");
    let mut server = Server::with(&format!(
        "{base}\n[tls]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n"
    ));
    let authority = Authority::new();
    authority.certify(server.dir(), "a", &["mx.local.example"]);
    server.run();
    let (address, trust) = (server.address(), authority.trust());

    report("with no other session", &answers(address, &trust));
    let (before, _) = server.memory();
    let begun = Instant::now();
    let idle: Vec<TcpStream> = std::thread::scope(|scope| {
        let open = || scope.spawn(|| opened(address, &trust, SESSIONS / OPENERS));
        let openers: Vec<_> = (0..OPENERS).map(|_| open()).collect();
        openers
            .into_iter()
            .flat_map(|o| o.join().unwrap())
            .collect()
    });
    let took = begun.elapsed();
    let (after, most) = server.memory();
    let each = (after - before) * 1024 / SESSIONS as u64;
    println!(
        "{} TLS sessions opened in {took:.1?} (client and server on one machine)",
        idle.len()
    );
    println!(
        "memory: {before} KiB before, {after} KiB after ({most} KiB at most), {each} octets each"
    );
    report("with the idle sessions open", &answers(address, &trust));
    assert_eq!(idle.len(), SESSIONS);
}
