//! The program over raw SMTP: what it says, and what becomes of what it takes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use posthaste_tests::client::Dialogue;
use posthaste_tests::messages::{large, sample};
use posthaste_tests::server::Server;
use posthaste_tests::{SOON, mailbox, setup, until};

const TO: [&str; 1] = ["alice@local.example"];

#[test]
fn a_dialogue_in_the_order_of_the_rfc() {
    let server = Server::start(setup::BASE);
    let mut dialogue = Dialogue::connect(server.address());
    let greeting = dialogue.answer();
    assert_eq!(greeting.code, 220);
    assert!(
        greeting.lines[0].starts_with("mx.local.example"),
        "{greeting:?}"
    );
    let hello = dialogue.ask("EHLO client.example");
    for keyword in ["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"] {
        assert!(hello.lines.iter().any(|line| line == keyword), "{hello:?}");
    }
    assert!(
        hello.lines.iter().any(|line| line == "SIZE 52428800"),
        "{hello:?}"
    );
    assert_eq!(dialogue.ask("RCPT TO:<alice@local.example>").code, 503);
    assert_eq!(
        dialogue.ask("MAIL FROM:<bob@local.example> FOO=BAR").code,
        555
    );
    assert_eq!(dialogue.ask("NOSUCH").code, 500);
    assert_eq!(dialogue.ask("NOOP").code, 250);
    assert_eq!(dialogue.ask("VRFY alice").code, 252);
    assert_eq!(dialogue.ask("QUIT").code, 221);
    assert!(dialogue.rest().is_empty());
}

#[test]
fn a_message_is_delivered_with_its_trace_and_its_id_is_everywhere() {
    let server = Server::start(setup::BASE);
    let mut dialogue = Dialogue::open(server.address());
    let message = sample("trace", b"hello\r\n").octets;
    let answer = dialogue.deliver("bob@local.example", &TO, &message);
    assert_eq!(answer.code, 250);
    let found = mailbox::wait(&server.dir().join("mail/alice"), 1, SOON);
    let text = String::from_utf8_lossy(&found[0]);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("Return-Path: <bob@local.example>"));
    assert_eq!(lines.next(), Some("Delivered-To: alice@local.example"));
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("Received: from client.example"),
        "{text}"
    );
    let delivered = server.record("the record of the delivery", |record| {
        record["event"] == "recipient" && record["outcome"] == "delivered"
    });
    let id = delivered["id"].as_str().unwrap();
    assert!(text.contains(id), "{text}");
    assert!(answer.lines[0].contains(id), "{answer:?}");
    let transaction = server.record("the record of the transaction", |record| {
        record["event"] == "transaction" && record["result"] == "accepted"
    });
    assert_eq!(transaction["id"], id);
    until("an empty queue", SOON, || {
        (server.queued() == 0).then_some(())
    });
}

#[test]
fn strangers_cannot_relay_and_unknown_recipients_are_refused_at_rcpt() {
    let configuration = setup::BASE.replace("networks = [\"127.0.0.0/8\"]", "networks = []");
    let server = Server::start(&configuration);
    let mut dialogue = Dialogue::open(server.address());
    assert_eq!(
        dialogue.ask("MAIL FROM:<stranger@remote.example>").code,
        250
    );
    let relay = dialogue.ask("RCPT TO:<someone@elsewhere.example>");
    assert!(relay.code == 550 || relay.code == 554, "{relay:?}");
    assert!(relay.lines[0].starts_with("5.7.1 "), "{relay:?}");
    let unknown = dialogue.ask("RCPT TO:<nobody@local.example>");
    assert_eq!(unknown.code, 550);
    assert!(unknown.lines[0].starts_with("5.1.1 "), "{unknown:?}");
    assert_eq!(dialogue.ask("RCPT TO:<postmaster>").code, 250);
    assert_eq!(dialogue.ask("RCPT TO:<Alice@LOCAL.example>").code, 250);
}

#[test]
fn nothing_but_crlf_dot_crlf_ends_a_message() {
    let server = Server::start(setup::BASE);
    for smuggled in ["\n.\r\n", "\r\n.\n", "\n.\n", "\r.\r", "\r\n.\r"] {
        let mut dialogue = Dialogue::open(server.address());
        assert_eq!(dialogue.ask("MAIL FROM:<bob@local.example>").code, 250);
        assert_eq!(dialogue.ask("RCPT TO:<alice@local.example>").code, 250);
        assert_eq!(dialogue.ask("DATA").code, 354);
        let inner = "MAIL FROM:<admin@local.example>\r\nRCPT TO:<alice@local.example>\r\nDATA\r\n";
        let sent =
            format!("Subject: one\r\n\r\nbody{smuggled}{inner}Subject: two\r\n\r\n\r\n.\r\n");
        dialogue.send(sent.as_bytes());
        let answer = dialogue.answer();
        assert_eq!(answer.code / 100, 5, "{smuggled:?}: {answer:?}");
        // One reply to all of it, and the dialogue goes on.
        assert_eq!(dialogue.ask("NOOP").code, 250, "{smuggled:?}");
    }
    assert_eq!(server.queued(), 0);
    assert!(mailbox::messages(&server.dir().join("mail/alice")).is_empty());
}

#[test]
fn a_message_over_the_limit_is_refused_at_mail_and_at_the_dot_and_the_session_goes_on() {
    let limits = "[limits]\nmessage_size = \"1MiB\"\n";
    let server = Server::start(&setup::with(limits));
    let mut dialogue = Dialogue::open(server.address());
    assert_eq!(
        dialogue
            .ask("MAIL FROM:<bob@local.example> SIZE=2000000")
            .code,
        552
    );
    let large = sample("large", &large(2 * 1024 * 1024)).octets;
    let answer = dialogue.deliver("bob@local.example", &TO, &large);
    assert_eq!(answer.code, 552, "{answer:?}");
    assert!(answer.lines[0].starts_with("5.3.4 "), "{answer:?}");
    let small = sample("small", b"fits\r\n").octets;
    assert_eq!(dialogue.deliver("bob@local.example", &TO, &small).code, 250);
    let found = mailbox::wait(&server.dir().join("mail/alice"), 1, SOON);
    assert!(found[0].ends_with(b"fits\n"));
}

#[test]
fn a_client_that_goes_away_leaves_nothing() {
    let server = Server::start(setup::BASE);
    let steps = [
        "MAIL FROM:<bob@local.example>\r\n",
        "RCPT TO:<alice@local.example>\r\n",
        "DATA\r\n",
        "Subject: half\r\n\r\nhalf a mess",
    ];
    for count in 0..=steps.len() {
        let mut dialogue = Dialogue::open(server.address());
        dialogue.send(steps[..count].concat().as_bytes());
        dialogue.drop_hard();
    }
    let lost = |record: &serde_json::Value| record["event"] == "connection";
    until("the end of every connection", SOON, || {
        let ended = server
            .records()
            .into_iter()
            .filter(|record| lost(record))
            .count();
        (ended > steps.len()).then_some(())
    });
    assert_eq!(server.queued(), 0);
    assert!(mailbox::messages(&server.dir().join("mail/alice")).is_empty());
}

#[test]
fn too_many_errors_end_the_session() {
    let server = Server::start(setup::BASE);
    let mut dialogue = Dialogue::open(server.address());
    let codes: Vec<u16> = (0..100)
        .map_while(|_| Some(dialogue.try_ask("NOSUCH")?.code))
        .collect();
    assert_eq!(codes.last(), Some(&421), "{codes:?}");
    assert!(codes.len() < 100);
}

#[test]
fn one_transaction_a_group_gets_its_replies_in_order() {
    let server = Server::start(setup::BASE);
    let mut dialogue = Dialogue::open(server.address());
    dialogue.send(
        b"MAIL FROM:<bob@local.example>\r\nRCPT TO:<nobody@local.example>\r\n\
          RCPT TO:<alice@local.example>\r\nDATA\r\n",
    );
    let codes: Vec<u16> = (0..4).map(|_| dialogue.answer().code).collect();
    assert_eq!(codes, [250, 550, 250, 354]);
    dialogue.send(b"Subject: group\r\n\r\n.\r\nRSET\r\nQUIT\r\n");
    let codes: Vec<u16> = (0..3).map(|_| dialogue.answer().code).collect();
    assert_eq!(codes, [250, 250, 221]);
}

#[test]
fn sigterm_ends_it_and_the_queue_is_there_after_the_next_start() {
    let route = "[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://127.0.0.1:9\"\n";
    let mut server = Server::start(&setup::with(route));
    let mut dialogue = Dialogue::open(server.address());
    let message = sample("stay", b"hello\r\n").octets;
    let to = ["x@remote.example"];
    assert_eq!(
        dialogue.deliver("bob@local.example", &to, &message).code,
        250
    );
    assert_eq!(dialogue.ask("QUIT").code, 221);
    assert!(server.stop().success());
    server.run();
    assert_eq!(server.queued(), 1);
    assert!(
        server
            .command(&["queue", "list"])
            .out
            .contains("remote.example")
    );
}

#[test]
fn sighup_reads_the_configuration_again_and_keeps_the_old_one_when_the_new_one_is_wrong() {
    let server = Server::start(setup::BASE);
    let knows_carol = || {
        let mut dialogue = Dialogue::open(server.address());
        assert_eq!(dialogue.ask("MAIL FROM:<bob@local.example>").code, 250);
        dialogue.ask("RCPT TO:<carol@local.example>").code == 250
    };
    assert!(!knows_carol());
    server.configure(&setup::BASE.replace("\"bob\"]", "\"bob\", \"carol\"]"));
    server.signal("HUP");
    server.record("the record `reloaded`", |record| {
        record["event"] == "reloaded"
    });
    assert!(knows_carol());
    server.configure("hostnam = \"wrong\"\n");
    server.signal("HUP");
    server.record("a fault", |record| record["event"] == "fault");
    assert!(knows_carol());
}

#[test]
fn started_as_root_it_serves_as_its_user_and_mail_files_belong_to_the_owner() {
    use std::os::unix::fs::MetadataExt;
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        posthaste_tests::skip("privileges: this is not root");
        return;
    }
    let owned = setup::BASE.replace("deliver =", "owner = \"mail\"\ndeliver =");
    let server = Server::start(&owned);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    // nobody, in all four of real, effective, saved and file system; and no capability left.
    assert_eq!(field("Uid:"), ["65534"; 4]);
    assert_eq!(field("CapEff:"), ["0000000000000000"]);
    assert_eq!(field("CapPrm:"), ["0000000000000000"]);
    let mut dialogue = Dialogue::open(server.address());
    let message = sample("owner", b"hello\r\n").octets;
    assert_eq!(
        dialogue.deliver("bob@local.example", &TO, &message).code,
        250
    );
    let maildir = server.dir().join("mail/alice");
    let _ = mailbox::wait(&maildir, 1, SOON);
    let mail_user = std::fs::read_to_string("/etc/passwd").unwrap();
    let mail_user = mail_user
        .lines()
        .find_map(|line| line.strip_prefix("mail:x:"))
        .unwrap();
    let (uid, _) = mail_user.split_once(':').unwrap();
    for entry in std::fs::read_dir(maildir.join("new")).unwrap() {
        let file = entry.unwrap().metadata().unwrap();
        assert_eq!(file.uid().to_string(), uid);
        assert_eq!(file.mode() & 0o777, 0o600);
    }
}
