//! Who connects, and how much they may: proxies and their clients, limits and what is said at them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::net::IpAddr;

use posthaste_tests::client::Dialogue;
use posthaste_tests::server::Server;

/// Takes mail for `alice` alone, and believes a proxy at 127.0.0.2. Relays for 192.0.2.0/24, so for
/// nobody but clients of that proxy. More keys of the listener follow.
const LISTENER: &str = r#"
hostname = "mx.local.example"
data_dir = "data"
postmaster = "alice@local.example"
user = "nobody"

[[domain]]
name = "local.example"
mailboxes = ["alice"]
deliver = "maildir:mail/{local}"

[relay]
networks = ["192.0.2.0/24"]

[[route]]
recipients = ["*"]
via = "discard:"

[[listener]]
address = "127.0.0.1:0"
service = "mx"
tls = "none"
proxy_protocol_from = ["127.0.0.2", "127.0.0.3"]
"#;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A connection of the proxy that sends `header` and the client's EHLO behind it in one write.
fn proxied(server: &Server, header: &[u8]) -> Dialogue {
    let mut dialogue = Dialogue::connect_from(ip("127.0.0.2"), server.address());
    dialogue.send(header);
    dialogue
}

fn v1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 198.51.100.1 12345 25\r\n").into_bytes()
}

/// A header of version 2.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut octets = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    octets.extend([command, family, 0, u8::try_from(block.len()).unwrap()]);
    octets.extend(block);
    octets
}

/// Whether the peer may send to strangers.
fn relays(dialogue: &mut Dialogue) -> bool {
    assert_eq!(dialogue.answer().code, 220);
    assert_eq!(dialogue.ask("EHLO client.example").code, 250);
    assert_eq!(dialogue.ask("MAIL FROM:<a@sender.example>").code, 250);
    assert_eq!(dialogue.ask("RCPT TO:<alice@local.example>").code, 250);
    match dialogue.ask("RCPT TO:<b@stranger.example>").code {
        250 => true,
        550 => false,
        code => panic!("{code}"),
    }
}

#[test]
fn a_proxy_names_its_client_and_the_client_is_who_counts() {
    let server = Server::start(LISTENER);
    let block = [192, 0, 2, 9, 127, 0, 0, 1, 0x30, 0x39, 0, 25];
    assert!(relays(&mut proxied(&server, &v1("192.0.2.9"))));
    assert!(relays(&mut proxied(&server, &v2(0x21, 0x11, &block))));
    assert!(!relays(&mut proxied(&server, &v1("198.51.100.9"))));
    let mapped = b"PROXY TCP6 ::ffff:192.0.2.9 ::1 12345 25\r\n";
    assert!(relays(&mut proxied(&server, mapped)));
    let mut dialogue = proxied(&server, &v1("192.0.2.9"));
    assert_eq!(dialogue.answer().code, 220);
    assert_eq!(dialogue.ask("QUIT").code, 221);
    server.record("the client in the log", |record| {
        record["event"] == "connection" && record["peer"] == "192.0.2.9:12345"
    });
}

#[test]
fn a_proxy_that_names_nobody_is_served_and_granted_nothing() {
    let networks = r#"networks = ["192.0.2.0/24", "127.0.0.0/8"]"#;
    let trusting = LISTENER.replace(r#"networks = ["192.0.2.0/24"]"#, networks);
    let server = Server::start(&trusting);
    // Any other host of the network may relay: the proxy would, too, were it asked as itself.
    assert!(relays(&mut Dialogue::connect(server.address())));
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 192.0.2.9 192.0.2.9 1 2\r\n".to_vec(),
        v2(0x20, 0x00, &[]),
        v2(0x20, 0x11, &[192, 0, 2, 9, 127, 0, 0, 1, 0x30, 0x39, 0, 25]),
        v2(0x21, 0x00, &[]),
        v2(0x21, 0x31, &[b'/'; 216]),
    ] {
        assert!(!relays(&mut proxied(&server, &header)), "{header:?}");
    }
}

#[test]
fn a_proxy_without_a_header_is_not_served() {
    let server = Server::start(LISTENER);
    for first in [
        "EHLO client.example\r\n",
        "PROXY TCP4 192.0.2.9 198.51.100.1 12345\r\n",
        "PROXY TCP4 192.0.2.9 198.51.100.1 12345 25\n",
    ] {
        let mut dialogue = proxied(&server, first.as_bytes());
        assert!(dialogue.rest().is_empty(), "{first}");
    }
    server.record("the reason in the log", |record| {
        record["event"] == "not-introduced"
            && record["peer"].as_str().unwrap().contains("127.0.0.2")
    });
}

#[test]
fn a_header_from_anybody_else_is_a_bad_command_of_that_peer() {
    let server = Server::start(LISTENER);
    let mut dialogue = Dialogue::connect(server.address());
    assert_eq!(dialogue.answer().code, 220);
    dialogue.send(&v1("192.0.2.9"));
    assert_eq!(dialogue.answer().code, 500);
    assert_eq!(dialogue.ask("EHLO client.example").code, 250);
    assert_eq!(dialogue.ask("MAIL FROM:<a@sender.example>").code, 250);
    assert_eq!(dialogue.ask("RCPT TO:<b@stranger.example>").code, 550);
    assert_eq!(dialogue.ask("QUIT").code, 221);
    server.record("the true address in the log", |record| {
        record["event"] == "connection"
            && record["peer"].as_str().unwrap().starts_with("127.0.0.1:")
    });
}

#[test]
fn who_is_a_proxy_follows_a_reload_and_the_socket_stays() {
    let server = Server::start(LISTENER);
    let trusted = r#"proxy_protocol_from = ["127.0.0.2", "127.0.0.3"]"#;
    server.configure(&LISTENER.replace(trusted, ""));
    server.signal("HUP");
    server.record("the reload", |record| record["event"] == "reloaded");
    let mut dialogue = Dialogue::connect_from(ip("127.0.0.2"), server.address());
    assert_eq!(dialogue.answer().code, 220);
}
