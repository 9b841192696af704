//! Faults that other mail servers had and that the program must not have: one test each, named
//! after what went wrong there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use posthaste_tests::client::Dialogue;
use posthaste_tests::server::{Server, program, told};
use posthaste_tests::{SOON, setup, skip, until};

/// Takes mail for `alice` from anybody, relays for nobody.
const STRICT: &str = r#"
hostname = "mx.local.example"
data_dir = "data"
postmaster = "alice@local.example"
user = "nobody"

[[listener]]
address = "127.0.0.1:0"
service = "mx"
tls = "none"

[limits]
message_size = "64KiB"
recipients = 100
refused_recipients = 1000

[[domain]]
name = "local.example"
mailboxes = ["alice"]
deliver = "maildir:mail/{local}"

[[route]]
recipients = ["*"]
via = "discard:"
"#;

/// A message with a header block of `lines` and some text.
fn message(lines: &str) -> Vec<u8> {
    format!("From: <forged@victim.example>\r\n{lines}\r\nhello\r\n").into_bytes()
}

/// Backscatter (mailcow #560, emailwiz #239): mail was accepted first, and returned to whom its
/// sender had been forged to be. What is refused is refused while the peer waits, and makes no
/// report.
#[test]
fn refused_mail_makes_no_report_to_its_forged_sender() {
    let server = Server::start(STRICT);
    let mut dialogue = Dialogue::open(server.address());
    let mail = "MAIL FROM:<forged@victim.example>";
    let mut sessions = 0;
    // Nobody there, nobody of ours, and an alias of nobody.
    for to in [
        "nobody@local.example",
        "user@stranger.example",
        "alice+x@local.example",
    ] {
        assert_eq!(dialogue.ask(mail).code, 250);
        assert_eq!(dialogue.ask(&format!("RCPT TO:<{to}>")).code, 550);
        assert!(dialogue.ask("DATA").code >= 500);
        assert_eq!(dialogue.ask("RSET").code, 250);
        sessions += 1;
    }
    // Too large, said and unsaid; too many hosts; a line that ends in a bare LF.
    assert_eq!(dialogue.ask(&format!("{mail} SIZE=1000000")).code, 552);
    let large = [message(""), vec![b'x'; 100_000]].concat();
    let looping = message(&"Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n".repeat(200));
    let bare = [message(""), b"a\nb\r\n".to_vec()].concat();
    for refused in [large, looping, bare] {
        assert_eq!(dialogue.ask(mail).code, 250);
        assert_eq!(dialogue.ask("RCPT TO:<alice@local.example>").code, 250);
        assert_eq!(dialogue.ask("DATA").code, 354);
        dialogue.send(&posthaste_tests::client::stuffed(&refused));
        assert!(dialogue.answer().code >= 500);
        sessions += 1;
    }
    // More recipients than may be: those beyond are refused one by one.
    assert_eq!(dialogue.ask(mail).code, 250);
    for _ in 0..100 {
        assert_eq!(dialogue.ask("RCPT TO:<alice@local.example>").code, 250);
    }
    assert_eq!(dialogue.ask("RCPT TO:<alice@local.example>").code, 452);
    assert_eq!(dialogue.ask("RSET").code, 250);
    // A connection that is lost within a message.
    assert_eq!(dialogue.ask(mail).code, 250);
    assert_eq!(dialogue.ask("RCPT TO:<alice@local.example>").code, 250);
    assert_eq!(dialogue.ask("DATA").code, 354);
    dialogue.send(&message(""));
    dialogue.drop_hard();
    server.record("the end of the connection", |record| {
        record["event"] == "connection"
    });
    assert_eq!(server.queued(), 0);
    let made = server
        .records()
        .iter()
        .filter(|r| r["event"] == "report")
        .count();
    assert_eq!(made, 0, "reports for {sessions} refused transactions");
    // One that is accepted and then fails is reported: the count above could have been another.
    let relay = STRICT.replace(
        "[[domain]]",
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\n\n[[domain]]",
    );
    let server =
        Server::start(&relay.replace("via = \"discard:\"", "via = \"smtp://127.0.0.1:1\""));
    let mut dialogue = Dialogue::open(server.address());
    let answer = dialogue.deliver("alice@local.example", &["a@stranger.example"], &message(""));
    assert_eq!(answer.code, 250);
    until("the end of the attempt", SOON, || {
        let bounced = server.command(&["queue", "bounce", "to=a@stranger.example"]);
        bounced.status.success().then_some(())
    });
    server.record("a report", |record| record["event"] == "report");
}

/// What a local user might write into a socket.
fn garbage() -> Vec<Vec<u8>> {
    let frame = |octets: &[u8]| {
        let mut framed = u32::try_from(octets.len()).unwrap().to_be_bytes().to_vec();
        framed.extend(octets);
        framed
    };
    let mut all: Vec<Vec<u8>> = [
        &b""[..],
        b"\0",
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"\0\x10\0\0",
        b"\0\x10\0\x01x",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"EHLO client.example\r\nQUIT\r\n",
        b"\x80\0\0\0{}",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    let deep = "[".repeat(100_000);
    for text in [
        "",
        "null",
        "{}",
        "[]",
        "\"\u{0}\"",
        "{\"command\":\"queue\"}",
        "{\"command\":\"nosuch\"}",
        "{\"command\":\"queue\",\"verb\":\"list\",\"filter\":[\"\"],\"dry_run\":false}",
        "{\"command\":\"queue\",\"verb\":\"list\",\"filter\":[\"age>9999999999d\"],\"dry_run\":1}",
        "{\"command\":\"queue\",\"verb\":\"delete\",\"filter\":\"all\",\"dry_run\":false}",
        "{\"command\":\"send\",\"from\":\"\\u0000\",\"recipients\":[]}",
        "{\"command\":\"send\",\"from\":null,\"recipients\":[\"\\r\\nRCPT TO:<a@b>\"]}",
        &deep,
        &deep.replace('[', "{\"a\":"),
    ] {
        all.push(frame(text.as_bytes()));
    }
    // The same pseudo-random octets each time (xorshift).
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for length in (0..200).map(|n| n * 7) {
        let octets = (0..length).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        });
        let octets: Vec<u8> = octets.collect();
        all.push(frame(&octets));
        all.push(octets);
    }
    all
}

/// OpenSMTPD CVE-2025-62875: garbage on the local socket ended the daemon.
#[test]
fn garbage_on_the_control_socket_costs_its_own_connection_only() {
    let server = Server::start(setup::BASE);
    let socket = server.dir().join("data/control.sock");
    for octets in garbage() {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        // It may be closed before all is written; an answer is not owed.
        let _ = stream.write_all(&octets);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(server.queued(), 0);
    let mut dialogue = Dialogue::open(server.address());
    assert_eq!(dialogue.ask("NOOP").code, 250);
    assert!(
        !server
            .records()
            .iter()
            .any(|record| record["event"] == "operator")
    );
}

/// The same by silence: connections that say nothing must not keep the operator out for long.
#[test]
fn silent_clients_of_the_control_socket_make_room_for_the_operator() {
    let server = Server::start(setup::BASE);
    let socket = server.dir().join("data/control.sock");
    // As many as are served at once.
    let silent: Vec<_> = (0..16).map(|_| UnixStream::connect(&socket)).collect();
    assert!(silent.iter().all(Result::is_ok));
    assert_eq!(server.queued(), 0);
}

/// Another local user can neither read the queue nor end the program through the socket.
#[test]
fn the_control_socket_is_closed_to_other_users() {
    let server = Server::start(setup::BASE);
    let ask = |user: u32| {
        let mut command = Command::new(program());
        command
            .args(["queue", "count", "--config"])
            .arg(server.config());
        told(command.uid(user).gid(user))
    };
    if !rustix::process::geteuid().is_root() {
        return skip("another user: needs root");
    }
    assert!(ask(0).status.success());
    let refused = ask(61_999);
    assert!(!refused.status.success());
    assert!(
        refused.err.to_lowercase().contains("permi"),
        "{}",
        refused.err
    );
    let mut dialogue = Dialogue::open(server.address());
    assert_eq!(dialogue.ask("NOOP").code, 250);
}

/// Exim CVE-2019-10149 (a recipient's local part was expanded, and ran commands as root) and
/// OpenSMTPD CVE-2020-7247 (an address reached a shell). What a peer says is text, wherever it
/// goes: hello names, addresses, fields, mailboxes, reports.
#[test]
fn words_that_others_expanded_or_ran_stay_words() {
    let route = "[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://127.0.0.1:1\"\n";
    let server = Server::start(&setup::with(route));
    let hit = server.dir().join("hit");
    let touch = format!("touch {}", hit.display());
    let words = [
        format!("${{run{{/bin/{touch}}}}}"),
        format!("$({touch})"),
        format!("`{touch}`"),
        format!(";{touch};"),
        format!("|{touch}"),
        "%s%n%99999999d".to_owned(),
        "{{7*7}}${7*7}".to_owned(),
    ];
    let maildir = server.dir().join("mail/alice");
    for (n, word) in words.iter().enumerate() {
        let mut dialogue = Dialogue::open(server.address());
        dialogue.ask(&format!("EHLO {}", word.replace(' ', "\t")));
        dialogue.ask(&format!("EHLO {}", word.replace(' ', "+")));
        let sender = format!("\"{word}\"@remote.example");
        let text = message(&format!("Subject: {word}\r\nX-{word}: x\r\n"));
        let answer = dialogue.deliver(&sender, &["alice@local.example"], &text);
        assert_eq!(answer.code, 250, "{word}: {answer:?}");
        let found = posthaste_tests::mailbox::wait(&maildir, 2 * n + 1, SOON);
        let says = |m: &Vec<u8>, field: &str| {
            let text = String::from_utf8_lossy(m)
                .replace("\n ", " ")
                .replace("\n\t", " ");
            let mut lines = text.lines().filter(|line| line.starts_with(field));
            lines.any(|line| line.contains(word))
        };
        let whole = |m: &Vec<u8>| says(m, "Subject: ") && says(m, "Return-Path: ");
        assert!(found.iter().any(whole), "{word}");
        // A report about it repeats it, and does nothing else with it.
        let to = format!("\"{word}\"@elsewhere.example");
        let answer = dialogue.deliver("alice@local.example", &[&to], &text);
        assert_eq!(answer.code, 250, "{word}: {answer:?}");
        until("the end of the attempt", SOON, || {
            let bounced = server.command(&["queue", "bounce", "from=alice@local.example"]);
            bounced.status.success().then_some(())
        });
        let found = posthaste_tests::mailbox::wait(&maildir, 2 * n + 2, SOON);
        let tells = |m: &Vec<u8>| says(m, "Final-Recipient: ");
        let last = found
            .last()
            .map(|m| String::from_utf8_lossy(m).into_owned());
        assert!(found.iter().any(tells), "no report about {to}: {last:?}");
    }
    assert!(!hit.exists(), "something ran a command of a peer's");
}

/// Haraka CVE-2026-34752 (a field called `__proto__` ended the worker) and Stalwart CVE-2026-26312
/// (nested parts looped for ever): one hostile message costs its own transaction only.
#[test]
fn a_hostile_message_costs_its_own_transaction_only() {
    let server = Server::start(&setup::with(""));
    let mut dialogue = Dialogue::open(server.address());
    let nested: String = (0..20_000)
        .map(|n| {
            format!(
                "--b{n}\r\nContent-Type: multipart/mixed; boundary=b{}\r\n\r\n",
                n + 1
            )
        })
        .collect();
    let cyclic = "--b\r\nContent-Type: message/rfc822\r\n\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        .repeat(20_000);
    let hostile = [
        message("__proto__: x\r\nconstructor: y\r\nhasOwnProperty: z\r\n"),
        message(": no name\r\n\u{e9}\u{e9}: x\r\n\tfolded: nothing\r\n"),
        message(&"a:b\r\n".repeat(5_000)),
        message(&format!("Subject: {}\r\n", "x ".repeat(400))),
        message(&format!(
            "Content-Type: multipart/mixed; boundary=b0\r\n\r\n{nested}"
        )),
        message(&format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n{cyclic}"
        )),
        message(&format!("From: {}<a@b.example>\r\n", "(".repeat(900))),
        message(&format!("DKIM-Signature: {}\r\n", "v=1; ".repeat(150))),
        message(&format!(
            "Authentication-Results: mx.local.example; {}\r\n",
            "(".repeat(900)
        )),
    ];
    let mut accepted = 0;
    for text in &hostile {
        let answer = dialogue.deliver("a@remote.example", &["alice@local.example"], text);
        assert!(matches!(answer.code, 250 | 500..=599), "{answer:?}");
        accepted += usize::from(answer.code == 250);
        let honest = message("Subject: honest\r\n");
        let answer = dialogue.deliver("a@remote.example", &["bob@local.example"], &honest);
        assert_eq!(answer.code, 250, "{answer:?}");
    }
    let maildir = |name: &str| server.dir().join("mail").join(name);
    for (name, count) in [("bob", hostile.len()), ("alice", accepted)] {
        let found = posthaste_tests::mailbox::wait(&maildir(name), count, SOON);
        assert_eq!(found.len(), count);
    }
    assert!(accepted > 0);
    let faults = server
        .records()
        .into_iter()
        .filter(|r| r["event"] == "fault");
    assert_eq!(faults.count(), 0);
}
