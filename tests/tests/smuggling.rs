//! Messages out are messages in: whatever stands around a dot, only CRLF.CRLF ends a message, and
//! at the far end there are as many messages as were taken at the near one. Between two servers of
//! ours, and between us and servers that nobody here wrote, in both directions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, clippy::print_stdout, missing_docs)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use posthaste_tests::client::Dialogue;
use posthaste_tests::messages::sample;
use posthaste_tests::peer::{Exim, OpenSmtpd, Postfix};
use posthaste_tests::server::Server;
use posthaste_tests::{SOON, free_address, mailbox, setup, until};

/// What may be taken for the end of a line.
const ENDS: [&str; 7] = ["\r", "\n", "\r\n", "\r\r\n", "\n\r", "\0\n", "\r\0\n"];

/// What is taken for the end of a line by nobody but the careless, around a dot.
fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    ENDS.into_iter()
        .flat_map(|before| ENDS.into_iter().map(move |after| (before, after)))
}

/// Commands that begin a message of their own, if they are heard.
fn inner(to: &str) -> String {
    format!(
        "MAIL FROM:<inner@remote.example>\r\nRCPT TO:<{to}>\r\nDATA\r\n\
         Subject: inner\r\n\r\ninner\r\n.\r\n"
    )
}

/// How many messages the server has taken, by its replies: each that follows a 354 is the answer to
/// the end of one.
fn taken(codes: &[u16]) -> usize {
    let ends = codes.windows(2).filter(|pair| pair[0] == 354);
    ends.filter(|pair| pair[1] == 250).count()
}

/// Sends a message with a dot between `before` and `after`, and commands behind it; gives the codes
/// of all replies, from that to DATA on.
fn smuggle(address: SocketAddr, to: &str, (before, after): (&str, &str)) -> Vec<u16> {
    let mut dialogue = Dialogue::open(address);
    assert_eq!(dialogue.ask("MAIL FROM:<outer@remote.example>").code, 250);
    assert_eq!(dialogue.ask(&format!("RCPT TO:<{to}>")).code, 250);
    assert_eq!(dialogue.ask("DATA").code, 354);
    let text = format!("Subject: outer\r\n\r\nbody{before}.{after}{}", inner(to));
    dialogue.send(text.as_bytes());
    let mut codes = vec![354];
    codes.extend(dialogue.try_answer().map(|answer| answer.code));
    // Only now: some servers take no command that comes with the end of a message.
    codes.extend(dialogue.try_ask("QUIT").map(|answer| answer.code));
    codes.extend(std::iter::from_fn(|| {
        dialogue.try_answer().map(|answer| answer.code)
    }));
    codes
}

/// The same as one chunk, where a dot means nothing; whether the message was taken.
fn smuggle_in_a_chunk(address: SocketAddr, to: &str, (before, after): (&str, &str)) -> bool {
    let mut dialogue = Dialogue::open(address);
    assert_eq!(dialogue.ask("MAIL FROM:<outer@remote.example>").code, 250);
    assert_eq!(dialogue.ask(&format!("RCPT TO:<{to}>")).code, 250);
    let text = format!("Subject: outer\r\n\r\nbody{before}.{after}{}", inner(to));
    dialogue.send(format!("BDAT {} LAST\r\n{text}", text.len()).as_bytes());
    let answer = dialogue.answer();
    assert_eq!(dialogue.ask("NOOP").code, 250);
    assert_eq!(dialogue.ask("QUIT").code, 221);
    answer.code == 250
}

/// Waits for as many messages as were taken, and for one more that is sent after them all.
fn all_arrived(near: SocketAddr, to: &str, maildir: &Path, count: usize) -> Vec<Vec<u8>> {
    let last = b"Subject: last\r\n\r\nlast\r\n";
    let answer = Dialogue::open(near).deliver("outer@remote.example", &[to], last);
    assert_eq!(answer.code, 250);
    let mut found = mailbox::wait(maildir, count + 1, SOON);
    assert_eq!(found.len(), count + 1, "messages out are messages in");
    found.retain(|message| !is_named(message, "last"));
    found
}

fn is_named(message: &[u8], subject: &str) -> bool {
    let text = String::from_utf8_lossy(message);
    let field = format!("Subject: {subject}");
    text.lines().find(|line| line.starts_with("Subject: ")) == Some(field.as_str())
}

/// Everything through a server of ours that relays to whoever has `maildir`.
fn through_ours(far: SocketAddr, to: &str, maildir: &Path) {
    let route = format!("[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://{far}\"\n");
    let server = Server::start(&setup::with(&route));
    let near = server.address();
    let mut count = 0;
    for pair in pairs() {
        let codes = smuggle(near, to, pair);
        // A CR before CRLF.CRLF spoils the message, and changes nothing about its end.
        let ends = pair.0.ends_with("\r\n") && pair.1.starts_with("\r\n");
        let first = if pair.0 == "\r\n" { 250 } else { 550 };
        match ends {
            true => assert_eq!(codes, [354, first, 250, 250, 354, 250, 221], "{pair:?}"),
            false => assert_eq!(codes, [354, 550, 221], "{pair:?}"),
        }
        count += taken(&codes);
        let in_a_chunk = smuggle_in_a_chunk(near, to, pair);
        assert_eq!(in_a_chunk, pair == ("\r\n", "\r\n"), "{pair:?}");
        count += usize::from(in_a_chunk);
    }
    assert_eq!(count, 4, "outer and inner, inner alone, and the chunk");
    // Dots that are nothing but text, wherever a line or a piece begins or ends.
    let texts = [
        ".\r\n",
        "..\r\n",
        ".\r\n.\r\n",
        "a.\r\n",
        "\r\n.\r\n\r\n.",
        ".",
        "a\r\n.",
    ];
    for text in texts {
        let message = sample("dots", text.as_bytes()).octets;
        let mut dialogue = Dialogue::open(near);
        assert_eq!(dialogue.ask("MAIL FROM:<outer@remote.example>").code, 250);
        assert_eq!(dialogue.ask(&format!("RCPT TO:<{to}>")).code, 250);
        let (head, body) = message.split_at(message.len() - text.len());
        let body = body.iter().map(std::slice::from_ref);
        for (n, chunk) in std::iter::once(head).chain(body).enumerate() {
            let last = if n == text.len() { " LAST" } else { "" };
            dialogue.send(format!("BDAT {}{last}\r\n", chunk.len()).as_bytes());
            dialogue.send(chunk);
            assert_eq!(dialogue.answer().code, 250, "{text:?}");
        }
        count += 1;
    }
    let found = all_arrived(near, to, maildir, count);
    for text in texts {
        let mut sent = mailbox::with_lf(&sample("dots", text.as_bytes()).octets);
        if !sent.ends_with(b"\n") {
            sent.push(b'\n');
        }
        let same = |m: &Vec<u8>| is_named(m, "dots") && mailbox::below(m, "Subject") == sent;
        assert!(found.iter().any(same), "{text:?} did not arrive as it is");
    }
    let inner = found.iter().filter(|m| is_named(m, "inner")).count();
    assert_eq!(inner, 2, "only those that followed CRLF.CRLF");
}

/// Everything through another server, at `near`, that relays to ours.
fn through_another(near: SocketAddr, ours: &Server) {
    let to = "alice@local.example";
    let mut count = 0;
    for pair in pairs() {
        let codes = smuggle(near, to, pair);
        count += taken(&codes);
    }
    let last = b"Subject: last\r\n\r\nlast\r\n";
    let answer = Dialogue::open(near).deliver("outer@remote.example", &[to], last);
    assert_eq!(answer.code, 250);
    // What we refuse of it, the other server returns; it does not become two.
    let ended = |result: &str| {
        let is = |r: &&serde_json::Value| {
            r["event"] == "transaction" && r["result"] == result && r["from"] != "<>"
        };
        ours.records().iter().filter(is).count()
    };
    until("every message that was taken", SOON, || {
        (ended("accepted") + ended("refused") > count).then_some(())
    });
    assert_eq!(ended("accepted") + ended("refused"), count + 1);
    let delivered = mailbox::wait(&ours.dir().join("mail/alice"), ended("accepted"), SOON);
    assert_eq!(delivered.len(), ended("accepted"));
    println!(
        "{count} messages in, {} delivered, {} refused",
        delivered.len() - 1,
        ended("refused")
    );
}

#[test]
fn between_two_of_ours() {
    let base = setup::BASE.replace("local.example", "far.example");
    let far = Server::start(&base);
    let maildir: PathBuf = far.dir().join("mail/alice");
    through_ours(far.address(), "alice@far.example", &maildir);
}

#[test]
fn through_ours_into_postfix() {
    if let Some(peer) = Postfix::start(free_address(), "") {
        through_ours(peer.address, "x@remote.example", &peer.maildir());
    }
}

#[test]
fn through_ours_into_exim() {
    if let Some(peer) = Exim::start(free_address(), "") {
        through_ours(peer.address, "x@remote.example", &peer.maildir());
    }
}

#[test]
fn through_ours_into_opensmtpd() {
    if let Some(peer) = OpenSmtpd::start(free_address()) {
        through_ours(peer.address, "x@remote.example", &peer.maildir());
    }
}

#[test]
fn through_postfix_into_ours() {
    let ours = Server::start(setup::BASE);
    let next = ours.address();
    let settings = format!(
        "virtual_mailbox_domains =\nrelayhost = [{}]:{}\nsmtpd_forbid_bare_newline = no",
        next.ip(),
        next.port()
    );
    if let Some(peer) = Postfix::start(free_address(), &settings) {
        through_another(peer.address, &ours);
    }
}

#[test]
fn through_exim_into_ours() {
    let ours = Server::start(setup::BASE);
    if let Some(peer) = Exim::relaying(free_address(), ours.address()) {
        through_another(peer.address, &ours);
    }
}

#[test]
fn through_opensmtpd_into_ours() {
    let ours = Server::start(setup::BASE);
    if let Some(peer) = OpenSmtpd::relaying(free_address(), ours.address()) {
        through_another(peer.address, &ours);
    }
}
