//! `posthaste dns` as a process, against a real DNS server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use posthaste_tests::peer::Nsd;
use posthaste_tests::server::{Server, Told};
use posthaste_tests::setup;
use serde_json::Value;

fn ask(server: &Server, dns: &str, words: &[&str]) -> Told {
    server.command(&[&["dns", "local.example", "--dns", dns], words].concat())
}

/// The lines to publish, as `--zone` prints them, with what others have to publish for us.
fn published(server: &Server, dns: &str) -> String {
    let told = ask(server, dns, &["--zone"]);
    let lines = told.out.lines().filter(|line| !line.starts_with(';'));
    let mut zone: String = lines.map(|line| format!("{line}\n")).collect();
    zone += "mx.local.example. IN A 127.0.0.2\nmta-sts.local.example. IN A 127.0.0.3\n";
    zone + "2.0.0.127.in-addr.arpa. IN PTR mx.local.example.\n"
}

#[test]
fn what_is_to_be_published_is_right_when_it_is_published() {
    let server = Server::with(&setup::with(""));
    let made = server.command(&["dkim", "generate", "local.example"]);
    assert!(made.status.success(), "{}", made.err);
    let Some(empty) = Nsd::start("") else {
        return;
    };
    let nothing = ask(&server, &empty.address.to_string(), &[]);
    assert_eq!(
        nothing.status.code(),
        Some(1),
        "{}{}",
        nothing.out,
        nothing.err
    );
    assert!(!nothing.out.lines().any(|line| line.starts_with("right")));

    let zone = published(&server, &empty.address.to_string());
    let whole = Nsd::start(&zone).unwrap();
    let told = ask(&server, &whole.address.to_string(), &["--json"]);
    let objects: Vec<Value> = told
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let wrong: Vec<_> = objects
        .iter()
        .filter(|o| o["state"] != "right" && o["type"] != "TLSA")
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}\n{zone}");
    assert!(objects.len() >= 9, "{objects:?}");
    assert_eq!(told.status.code(), Some(0), "{}{}", told.out, told.err);
}

#[test]
fn what_cannot_be_looked_up_is_not_claimed() {
    let server = Server::with(&setup::with(""));
    let silent = posthaste_tests::free_address();
    let told = ask(&server, &silent.to_string(), &[]);
    assert!(!told.out.contains("right "), "{}", told.out);
    let lines = told.out.lines().filter(|l| l.starts_with("missing"));
    let claimed: Vec<_> = lines.filter(|l| !l.contains("_domainkey")).collect();
    assert!(claimed.is_empty(), "{claimed:?}");
    let other = server.command(&["dns", "other.example"]);
    assert!(other.err.contains("no such [[domain]]"), "{}", other.err);
    assert_eq!(other.status.code(), Some(1));
}
