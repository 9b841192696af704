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
use std::time::{Duration, Instant, SystemTime};

use posthaste_mailauth::dkim::{PrivateKey, Signer, Signing};
use posthaste_message::header::Scan;
use posthaste_tests::client::Dialogue;
use posthaste_tests::messages::large;
use posthaste_tests::peer::dkim::{Keys, OPENDKIM};
use posthaste_tests::peer::{Nsd, Tree};
use posthaste_tests::server::Server;
use posthaste_tests::setup;
use posthaste_tests::tls::Authority;
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

/// Opens a session and says hello.
type Open<'a> = &'a (dyn Fn() -> Dialogue + Sync);

/// How long a client waits for its greeting and the reply to its EHLO, sorted.
fn answers(open: Open<'_>) -> Vec<Duration> {
    let one = |_| {
        let begun = Instant::now();
        let mut dialogue = open();
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
        "{what}: greeting to EHLO p50 {:?}, p99 {:?}",
        at(50),
        at(99)
    );
}

#[test]
#[ignore = "a benchmark: cargo xtask bench idle-clear"]
fn idle_clear() {
    let mut server = Server::with(&setup::with(""));
    server.run();
    let address = server.address();
    idle(&server, "in the clear", &|| Dialogue::open(address));
}

#[test]
#[ignore = "a benchmark: cargo xtask bench idle-tls"]
fn idle_tls() {
    let base = setup::BASE.replace("tls = \"none\"\n", "");
    let mut server = Server::with(&format!(
        "{base}\n[tls]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n"
    ));
    let authority = Authority::new();
    authority.certify(server.dir(), "a", &["mx.local.example"]);
    server.run();
    let (address, trust) = (server.address(), authority.trust());
    let open = || Dialogue::open_tls(address, &trust, "mx.local.example");
    idle(&server, "inside TLS", &open);
}

/// What many idle sessions cost, and whether somebody else notices them.
fn idle(server: &Server, how: &str, open: Open<'_>) {
    allow_many_files();
    report("with no other session", &answers(open));
    let (before, _) = server.memory();
    let begun = Instant::now();
    let opened = || -> Vec<TcpStream> {
        let sessions = 0..SESSIONS / OPENERS;
        sessions.map(|_| open().into_socket()).collect()
    };
    let idle: Vec<TcpStream> = std::thread::scope(|scope| {
        let openers: Vec<_> = (0..OPENERS).map(|_| scope.spawn(opened)).collect();
        openers
            .into_iter()
            .flat_map(|o| o.join().unwrap())
            .collect()
    });
    let took = begun.elapsed();
    let (after, most) = server.memory();
    let each = (after - before) * 1024 / SESSIONS as u64;
    println!(
        "{} sessions {how} opened in {took:.1?} (client and server on one machine)",
        idle.len()
    );
    println!(
        "memory: {before} KiB before, {after} KiB after ({most} KiB at most), {each} octets each"
    );
    report("with the idle sessions open", &answers(open));
    assert_eq!(idle.len(), SESSIONS);
}

/// Messages of one size that are judged, and how many go over one connection.
const JUDGED: usize = 2_000;
const EACH_CONNECTION: usize = 100;
/// Ticks of `/proc` in a second.
const TICKS: f64 = 100.0;

/// The processor time that a program has used, in seconds.
fn processor_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let behind_name = stat.rsplit_once(')').unwrap().1;
    let fields = behind_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.map(|f| f.parse::<u64>().unwrap()).sum();
    ticks as f64 / TICKS
}

/// Signed messages of about `size` octets, no two the same.
fn signed(keys: &[(&str, &PrivateKey)], size: usize) -> Vec<Vec<u8>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let signing = Signing {
        domain: "example.org",
        keys,
        now_s: now.unwrap().as_secs(),
        lifetime_s: None,
    };
    let body = large(size);
    let one = |number: usize| {
        let head = format!(
            "From: Alice <alice@example.org>\r\nTo: bob@local.example\r\nSubject: {number}\r\n\
             Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{number}@example.org>\r\n\r\n"
        );
        let message = [head.as_bytes(), &body].concat();
        let (mut scan, mut signer) = (Scan::new(), Signer::new());
        scan.push(&message);
        signer.push(&message, scan.facts());
        let field = signer.finish(&scan.finish(), b"", &signing).unwrap();
        [field.as_bytes(), &message].concat()
    };
    (0..JUDGED).map(one).collect()
}

/// Microseconds of processor time for the reception of each message, by a server that drops them.
fn received_us(dns: SocketAddr, check: bool, messages: &[Vec<u8>]) -> f64 {
    let base = setup::BASE.replace("[relay]\nnetworks = [\"127.0.0.0/8\"]\n", "");
    let base = base.replace("maildir:mail/{local}", "discard:");
    let server = Server::start(&format!(
        "{base}\n[dns]\nservers = [\"{dns}\"]\n[dmarc]\ncheck = {check}\n"
    ));
    let send = |messages: &[Vec<u8>]| {
        let mut dialogue = Dialogue::open(server.address());
        for message in messages {
            let answer = dialogue.deliver("alice@example.org", &["bob@local.example"], message);
            assert_eq!(answer.code, 250, "{answer:?}");
        }
    };
    send(&messages[..1]);
    let before = processor_s(server.pid());
    messages.chunks(EACH_CONNECTION).for_each(send);
    let used = processor_s(server.pid()) - before;
    let last = server.records();
    let judged = last.iter().rfind(|r| r["event"] == "transaction").unwrap();
    let passed = judged["sender"]["dmarc"] == "pass";
    assert_eq!(passed, check, "{judged}");
    used * 1e6 / messages.len() as f64
}

#[test]
#[ignore = "a benchmark: cargo xtask bench mailauth"]
fn mailauth() {
    let (rsa, ed25519) = (
        PrivateKey::generate_rsa_2048().unwrap(),
        PrivateKey::generate_ed25519().unwrap(),
    );
    let keys = Keys {
        private: [rsa.to_pem().unwrap(), ed25519.to_pem().unwrap()],
        records: [rsa.public_record(), ed25519.public_record()],
    };
    let parts = |record: &str| {
        let strings = record.as_bytes().chunks(200).map(String::from_utf8_lossy);
        let strings: Vec<_> = strings.map(|part| format!("\"{part}\"")).collect();
        strings.join(" ")
    };
    let [r, e] = [&keys.records[0], &keys.records[1]].map(|record| parts(record));
    let Some(dns) = Nsd::start(&format!(
        "example.org. TXT \"v=spf1 ip4:192.0.2.0/24 a:mx.example.org -all\"\n\
         mx.example.org. A 127.0.0.1\n_dmarc.example.org. TXT \"v=DMARC1; p=reject\"\n\
         r._domainkey.example.org. TXT {r}\ne._domainkey.example.org. TXT {e}\n"
    )) else {
        return;
    };
    let both = [("r", &rsa), ("e", &ed25519)];
    for size in [4 * 1024, 100 * 1024] {
        let messages = signed(&both, size);
        let without = received_us(dns.address, false, &messages);
        let with = received_us(dns.address, true, &messages);
        println!(
            "{} KiB, RSA 2048 and Ed25519: SPF, DKIM, ARC and DMARC {:.0} us a message \
             (reception {without:.0} us without them, {with:.0} us with them)",
            size / 1024,
            with - without
        );
        if let Some(tree) = Tree::require("dkim") {
            let us = OPENDKIM.verifies_in_us(&tree, &keys, &messages);
            println!("  OpenDKIM's library: {us:.0} us a message for DKIM alone");
        }
    }
}
