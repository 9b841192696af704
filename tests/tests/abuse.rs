//! Who connects, and how much they may: proxies and their clients, limits and what is said at them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use posthaste_tests::client::Dialogue;
use posthaste_tests::server::{Server, program};
use posthaste_tests::{SOON, mailbox};

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
xclient_from = ["127.0.0.4", "203.0.113.4"]
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

/// Limits for the clients of the proxy, which are no friends.
fn limited(limits: &str) -> Server {
    Server::start(&format!("{LISTENER}\n[limits]\n{limits}\n"))
}

/// The record of a limit.
fn limit(server: &Server, name: &str) -> serde_json::Value {
    server.record(name, |record| {
        record["event"] == "limit" && record["limit"] == name
    })
}

fn greeted(server: &Server, client: &str) -> Dialogue {
    let mut dialogue = proxied(server, &v1(client));
    assert_eq!(dialogue.answer().code, 220);
    assert_eq!(dialogue.ask("EHLO client.example").code, 250);
    dialogue
}

#[test]
fn connections_at_once_are_limited_for_each_address() {
    let server = limited("connections_per_address = 2");
    let mut open: Vec<_> = (0..2).map(|_| greeted(&server, "198.51.100.9")).collect();
    let refused = proxied(&server, &v1("198.51.100.9")).answer();
    assert_eq!(refused.code, 421);
    assert!(
        refused.lines[0].contains("at once, at most 2"),
        "{refused:?}"
    );
    limit(&server, "connections_per_address");
    greeted(&server, "198.51.100.10");
    let friends: Vec<_> = (0..3).map(|_| greeted(&server, "192.0.2.9")).collect();
    assert_eq!(
        friends.len(),
        3,
        "a relay network meets no limit of addresses"
    );
    assert_eq!(open[0].ask("QUIT").code, 221);
    assert!(open[0].rest().is_empty());
    server.record("the end of the first", |r| {
        r["event"] == "connection" && r["end"] == "quit"
    });
    greeted(&server, "198.51.100.9");
}

#[test]
fn all_connections_together_are_limited() {
    let server = limited("connections = 2");
    let _open = [(); 2].map(|()| greeted(&server, "198.51.100.9"));
    let refused = Dialogue::connect(server.address()).answer();
    assert_eq!((refused.code, &refused.lines[0][..5]), (421, "4.3.2"));
    assert_eq!(limit(&server, "connections")["times"], 1);
}

#[test]
fn connections_per_minute_are_limited_unless_the_address_is_exempt() {
    let server = limited("connections_per_minute = 2\nexempt = [\"203.0.113.0/24\"]");
    for _ in 0..3 {
        greeted(&server, "203.0.113.1");
    }
    for _ in 0..2 {
        greeted(&server, "198.51.100.9");
    }
    let refused = proxied(&server, &v1("198.51.100.9")).answer();
    assert_eq!(refused.code, 421);
    assert!(
        refused.lines[0].contains("at most 2 a minute"),
        "{refused:?}"
    );
    limit(&server, "connections_per_minute");
    // Loopback is exempt only by default.
    let mut direct = Dialogue::connect(server.address());
    let mut others = [(); 2].map(|()| Dialogue::connect(server.address()));
    let mut codes = others.each_mut().map(|other| other.answer().code).to_vec();
    codes.push(direct.answer().code);
    codes.sort_unstable();
    assert_eq!(codes, [220, 220, 421]);
}

#[test]
fn messages_and_recipients_per_hour_are_limited() {
    let server = limited("messages_per_hour = 2\nrecipients_per_hour = 3");
    let mut dialogue = greeted(&server, "198.51.100.9");
    assert_eq!(dialogue.ask("MAIL FROM:<a@sender.example>").code, 250);
    assert_eq!(dialogue.ask("RCPT TO:<alice@local.example>").code, 250);
    assert_eq!(dialogue.ask("RCPT TO:<nobody@local.example>").code, 550);
    assert_eq!(dialogue.ask("RSET").code, 250);
    let mut other = greeted(&server, "198.51.100.9");
    assert_eq!(other.ask("MAIL FROM:<a@sender.example>").code, 250);
    assert_eq!(other.ask("RCPT TO:<nobody@local.example>").code, 550);
    let refused = other.ask("RCPT TO:<alice@local.example>");
    assert_eq!((refused.code, &refused.lines[0][..5]), (452, "4.7.1"));
    assert!(refused.lines[0].contains("recipients from 198.51.100.9, at most 3 an hour"));
    limit(&server, "recipients_per_hour");
    let refused = dialogue.ask("MAIL FROM:<a@sender.example>");
    assert_eq!((refused.code, &refused.lines[0][..5]), (450, "4.7.1"));
    limit(&server, "messages_per_hour");
    let mut friend = greeted(&server, "192.0.2.9");
    for _ in 0..3 {
        assert_eq!(friend.ask("MAIL FROM:<a@sender.example>").code, 250);
        assert_eq!(friend.ask("RSET").code, 250);
    }
}

#[test]
fn refused_recipients_errors_and_commands_end_the_session() {
    let server = limited("refused_recipients = 2\nerrors = 3\ncommands = 5");
    let mut dialogue = greeted(&server, "198.51.100.9");
    assert_eq!(dialogue.ask("MAIL FROM:<a@sender.example>").code, 250);
    for code in [550, 550, 421] {
        assert_eq!(dialogue.ask("RCPT TO:<nobody@local.example>").code, code);
    }
    assert!(dialogue.rest().is_empty());
    limit(&server, "refused_recipients");
    let mut dialogue = greeted(&server, "198.51.100.9");
    for code in [500, 500, 500, 421] {
        assert_eq!(dialogue.ask("NOSUCH").code, code);
    }
    assert!(dialogue.rest().is_empty());
    server.record("too many errors", |record| {
        record["end"] == "too-many-errors"
    });
    let mut dialogue = greeted(&server, "198.51.100.9");
    let answers = std::iter::from_fn(|| dialogue.try_ask("NOOP")).map(|answer| answer.code);
    let codes: Vec<_> = answers.collect();
    assert_eq!(codes.split_last().unwrap(), (&421, &[250; 4][..]));
    server.record("too many commands", |record| {
        record["end"] == "too-many-commands"
    });
}

#[test]
fn recipients_refused_for_now_or_to_hosts_of_ours_do_not_end_the_session() {
    let server = limited("refused_recipients = 1\nrecipients_per_hour = 1");
    let mut dialogue = greeted(&server, "198.51.100.9");
    assert_eq!(dialogue.ask("MAIL FROM:<a@sender.example>").code, 250);
    for code in [250, 452, 452, 452] {
        assert_eq!(dialogue.ask("RCPT TO:<alice@local.example>").code, code);
    }
    let mut friend = greeted(&server, "192.0.2.9");
    assert_eq!(friend.ask("MAIL FROM:<a@sender.example>").code, 250);
    for _ in 0..3 {
        assert_eq!(friend.ask("RCPT TO:<nobody@local.example>").code, 550);
    }
    assert_eq!(friend.ask("RCPT TO:<alice@local.example>").code, 250);
}

#[test]
fn who_speaks_before_the_greeting_is_refused_unless_that_is_allowed() {
    let early = |server: &Server, client: &str| {
        let mut octets = v1(client);
        octets.extend(b"EHLO client.example\r\n");
        proxied(server, &octets)
    };
    let server = limited("");
    let mut dialogue = early(&server, "198.51.100.9");
    assert_eq!(dialogue.answer().code, 220);
    let refused = dialogue.answer();
    assert_eq!(refused.code, 554);
    assert!(
        refused.lines[0].contains("before our greeting"),
        "{refused:?}"
    );
    assert!(dialogue.rest().is_empty());
    limit(&server, "early_talkers");
    let mut friend = early(&server, "192.0.2.9");
    assert_eq!((friend.answer().code, friend.answer().code), (220, 250));
    let server = limited("early_talkers = \"allow\"");
    let mut dialogue = early(&server, "198.51.100.9");
    assert_eq!((dialogue.answer().code, dialogue.answer().code), (220, 250));
}

#[test]
fn slow_peers_are_told_what_took_too_long() {
    let server = limited("hello_time = \"1s\"\ntransaction_time = \"1s\"");
    let mut dialogue = proxied(&server, &v1("198.51.100.9"));
    assert_eq!(dialogue.answer().code, 220);
    // It speaks, and says no hello.
    assert_eq!(dialogue.ask("NOOP").code, 250);
    let told = dialogue.answer();
    assert_eq!((told.code, &told.lines[0][..5]), (421, "4.4.2"));
    assert!(told.lines[0].contains("no hello"), "{told:?}");
    limit(&server, "hello_time");
    let mut dialogue = greeted(&server, "198.51.100.9");
    assert_eq!(dialogue.ask("MAIL FROM:<a@sender.example>").code, 250);
    assert_eq!(dialogue.ask("RCPT TO:<alice@local.example>").code, 250);
    assert_eq!(dialogue.ask("DATA").code, 354);
    dialogue.send(b"Subject: a beginning\r\n");
    let told = dialogue.answer();
    assert_eq!((told.code, &told.lines[0][..5]), (421, "4.4.2"));
    assert!(told.lines[0].contains("transaction"), "{told:?}");
    limit(&server, "transaction_time");
}

/// A dialogue of the host that may say for whom it speaks, and what it says.
fn on_behalf(server: &Server, to: usize, attributes: &str) -> (Dialogue, u16) {
    let mut dialogue = Dialogue::connect_from(ip("127.0.0.4"), server.addresses[to]);
    assert_eq!(dialogue.answer().code, 220);
    let hello = dialogue.ask("EHLO filter.example");
    assert!(hello.lines.iter().any(|line| line.starts_with("XCLIENT ")));
    let code = dialogue.ask(&format!("XCLIENT {attributes}")).code;
    (dialogue, code)
}

fn relays_now(dialogue: &mut Dialogue) -> bool {
    assert_eq!(dialogue.ask("EHLO filter.example").code, 250);
    assert_eq!(dialogue.ask("MAIL FROM:<a@sender.example>").code, 250);
    assert_eq!(dialogue.ask("RCPT TO:<alice@local.example>").code, 250);
    dialogue.ask("RCPT TO:<b@stranger.example>").code == 250
}

#[test]
fn a_named_host_says_for_whom_it_speaks_and_nobody_else_does() {
    let server = Server::start(LISTENER);
    let (mut dialogue, code) = on_behalf(&server, 0, "ADDR=192.0.2.9 NAME=a.example HELO=client");
    assert_eq!(code, 220);
    assert!(relays_now(&mut dialogue));
    assert_eq!(dialogue.ask("DATA").code, 354);
    dialogue.send(b"Subject: x\r\n\r\nx\r\n.\r\n");
    assert_eq!(dialogue.answer().code, 250);
    let found = mailbox::wait(&server.dir().join("mail/alice"), 1, SOON);
    let text = String::from_utf8_lossy(&found[0]).into_owned();
    assert!(
        text.contains("Received: from client (a.example [192.0.2.9])"),
        "{text}"
    );
    server.record("for whom", |record| {
        record["event"] == "xclient"
            && record["peer"] == "192.0.2.9:0"
            && record["hello"] == "client"
    });
    let mut stranger = Dialogue::connect(server.address());
    assert_eq!(stranger.answer().code, 220);
    let hello = stranger.ask("EHLO client.example");
    assert!(!hello.lines.iter().any(|line| line.starts_with("XCLIENT")));
    assert_eq!(stranger.ask("XCLIENT ADDR=192.0.2.9").code, 502);
    // The client of a proxy, when it is such a host itself.
    let mut proxied = proxied(&server, &v1("203.0.113.4"));
    assert_eq!(proxied.answer().code, 220);
    assert_eq!(proxied.ask("XCLIENT ADDR=192.0.2.9").code, 220);
    assert!(relays_now(&mut proxied));
}

#[test]
fn a_client_that_is_unknown_or_only_says_who_it_is_gains_nothing() {
    let networks = r#"networks = ["192.0.2.0/24", "127.0.0.0/8"]"#;
    let trusting = LISTENER.replace(r#"networks = ["192.0.2.0/24"]"#, networks);
    let server = Server::start(&trusting);
    for attributes in [
        "ADDR=198.51.100.9",
        "ADDR=[UNAVAILABLE]",
        "ADDR=[TEMPUNAVAIL] PORT=25",
    ] {
        let (mut dialogue, code) = on_behalf(&server, 0, attributes);
        assert_eq!(code, 220);
        assert!(!relays_now(&mut dialogue), "{attributes}");
    }
    // A login counts where users submit mail, and nowhere else.
    let (_, code) = on_behalf(&server, 0, "ADDR=198.51.100.9 LOGIN=alice@local.example");
    assert_eq!(code, 550);
    let (mut dialogue, code) = on_behalf(&server, 0, "ADDR=198.51.100.9 LOGIN=[UNAVAILABLE]");
    assert_eq!(code, 220);
    assert!(!relays_now(&mut dialogue));
}

#[test]
fn the_clients_of_a_named_host_meet_their_own_limits() {
    let server = limited("connections_per_address = 1");
    let (_first, code) = on_behalf(&server, 0, "ADDR=198.51.100.9");
    assert_eq!(code, 220);
    assert_eq!(on_behalf(&server, 0, "ADDR=198.51.100.10").1, 220);
    assert_eq!(on_behalf(&server, 0, "ADDR=198.51.100.9").1, 421);
    limit(&server, "connections_per_address");
}

#[test]
fn a_login_that_is_told_counts_on_submission_when_there_is_such_an_account() {
    let submission = "\n[[listener]]\naddress = \"127.0.0.1:0\"\nservice = \"submission\"\n\
                      tls = \"none\"\nauth_without_tls = true\nxclient_from = [\"127.0.0.4\"]\n";
    let mut server = Server::with(&format!("{LISTENER}{submission}"));
    let mut adding = Command::new(program())
        .args(["user", "add", "alice@local.example", "--config"])
        .arg(server.config())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    adding.stdin.take().unwrap().write_all(b"pencil\n").unwrap();
    assert!(adding.wait().unwrap().success());
    server.run();
    let said = |login: &str| format!("ADDR=198.51.100.9 LOGIN={login}");
    assert_eq!(on_behalf(&server, 1, &said("nobody@local.example")).1, 550);
    let (mut dialogue, code) = on_behalf(&server, 1, &said("alice@local.example"));
    assert_eq!(code, 220);
    assert_eq!(dialogue.ask("EHLO filter.example").code, 250);
    assert_eq!(dialogue.ask("MAIL FROM:<bob@local.example>").code, 550);
    assert_eq!(dialogue.ask("MAIL FROM:<alice@local.example>").code, 250);
    assert_eq!(dialogue.ask("RCPT TO:<b@stranger.example>").code, 250);
    let (mut dialogue, code) = on_behalf(&server, 1, "ADDR=192.0.2.9");
    assert_eq!(code, 220);
    assert_eq!(dialogue.ask("EHLO filter.example").code, 250);
    assert_eq!(dialogue.ask("MAIL FROM:<alice@local.example>").code, 530);
}
