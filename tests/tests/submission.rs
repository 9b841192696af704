//! What users may send, what is done to it, and what they may ask for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use posthaste_tests::client::{Answer, Dialogue};
use posthaste_tests::server::{Server, program};
use posthaste_tests::{SOON, mailbox, until};
use serde_json::Value;

/// Submission on loopback, and other servers' mail. What leaves goes to a port where nobody is.
const SUBMISSION: &str = r#"
hostname = "mx.local.example"
data_dir = "data"
postmaster = "alice@local.example"
user = "nobody"

[[listener]]
address = "127.0.0.1:0"
service = "submission"
tls = "none"
auth_without_tls = true

[[listener]]
address = "127.0.0.1:0"
service = "mx"
tls = "none"

[[domain]]
name = "local.example"
mailboxes = ["alice"]
aliases = "aliases"
subaddress = "+"
deliver = "maildir:mail/{local}"

[[route]]
recipients = ["*"]
via = "smtp://127.0.0.1:9"
"#;

const CAROL: &str = "carol@local.example";
/// NUL, her name, NUL, her password.
const PLAIN: &str = "AUTH PLAIN AGNhcm9sQGxvY2FsLmV4YW1wbGUAcGVuY2ls";

/// A server with carol's account, and more configuration.
fn server(more: &str) -> Server {
    let mut server = Server::with(&format!("{SUBMISSION}{more}"));
    let aliases = server.dir().join("aliases");
    std::fs::write(&aliases, "").unwrap();
    let mut adding = Command::new(program())
        .args(["user", "add", CAROL, "--config"])
        .arg(server.config())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    adding.stdin.take().unwrap().write_all(b"pencil\n").unwrap();
    assert!(adding.wait().unwrap().success());
    let names = "sales: carol\nteam: alice, carol\nboss: alice\n";
    std::fs::write(&aliases, names).unwrap();
    server.run();
    server
}

/// A dialogue in which carol has authenticated.
fn as_carol(server: &Server) -> Dialogue {
    let mut dialogue = Dialogue::open(server.address());
    assert_eq!(dialogue.ask(PLAIN).code, 235);
    dialogue
}

/// Sends a message; gives the replies to MAIL and to the final dot.
fn send(dialogue: &mut Dialogue, mail: &str, to: &[&str], message: &str) -> [Answer; 2] {
    let begun = dialogue.ask(&format!("MAIL FROM:{mail}"));
    assert_eq!(begun.code, 250, "{begun:?}");
    for to in to {
        assert_eq!(dialogue.ask(&format!("RCPT TO:<{to}>")).code, 250);
    }
    assert_eq!(dialogue.ask("DATA").code, 354);
    dialogue.send(message.as_bytes());
    [begun, dialogue.ask(".")]
}

/// What `queue list` shows, as objects.
fn queued(server: &Server, filter: &[&str]) -> Vec<Value> {
    let told = server.command(&[&["queue", "list", "--json"], filter].concat());
    assert!(told.status.success(), "{}", told.err);
    let lines = told.out.lines();
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn delivered(server: &Server, name: &str, count: usize) -> Vec<String> {
    let found = mailbox::wait(&server.dir().join("mail").join(name), count, SOON);
    assert_eq!(found.len(), count);
    let text = |m: &Vec<u8>| String::from_utf8_lossy(m).into_owned();
    found.iter().map(text).collect()
}

#[test]
fn an_account_sends_as_the_addresses_whose_mail_it_gets() {
    let server = server("");
    let mut dialogue = as_carol(&server);
    for allowed in [
        "carol@local.example",
        "Carol+list@LOCAL.example",
        "sales@local.example",
        "team@local.example",
        "",
    ] {
        let answer = dialogue.ask(&format!("MAIL FROM:<{allowed}>"));
        assert_eq!(answer.code, 250, "{allowed}: {answer:?}");
        assert_eq!(dialogue.ask("RSET").code, 250);
    }
    for refused in [
        "alice@local.example",
        "boss@local.example",
        "nobody@local.example",
        "carol@elsewhere.example",
    ] {
        let answer = dialogue.ask(&format!("MAIL FROM:<{refused}>"));
        assert_eq!(answer.code, 550, "{refused}");
        let said = &answer.lines[0];
        assert!(said.starts_with("5.7.1 ") && said.contains(CAROL), "{said}");
    }
    // Nobody's sender is looked at who has not authenticated.
    let mut stranger = Dialogue::open(server.addresses[1]);
    assert_eq!(stranger.ask("MAIL FROM:<alice@local.example>").code, 250);
}

#[test]
fn what_is_missing_is_added_and_who_is_hidden_stays_so() {
    let server = server("");
    let mut dialogue = as_carol(&server);
    let to = ["alice@local.example"];
    let message = "From: carol@local.example\r\nBcc: boss@local.example,\r\n dave@x.example\r\n\
                   Subject: s\r\n\r\nbody\r\n";
    let [_, done] = send(&mut dialogue, "<carol@local.example>", &to, message);
    assert_eq!(done.code, 250, "{done:?}");
    let text = delivered(&server, "alice", 1).remove(0);
    let (head, body) = text.split_once("\n\n").unwrap();
    assert!(!head.contains("dave@") && !head.contains("Bcc"), "{head}");
    assert!(head.contains("\nFrom: carol@local.example\nSubject: s\nDate: "));
    assert!(head.contains("\nMessage-ID: <") && head.contains("@mx.local.example>"));
    assert!(head.contains("with ESMTPA id"), "{head}");
    assert_eq!(body, "body\n");
}

#[test]
fn what_is_signed_already_is_left_as_it_is() {
    let server = server("");
    let mut dialogue = as_carol(&server);
    let message = "DKIM-Signature: v=1; d=x.example; s=s; h=from:date:message-id:bcc; bh=; b=\r\n\
                   From: carol@local.example\r\nBcc: dave@x.example\r\n\r\nbody\r\n";
    let to = ["alice@local.example"];
    send(&mut dialogue, "<carol@local.example>", &to, message);
    let text = delivered(&server, "alice", 1).remove(0);
    assert!(text.ends_with(&message.replace("\r\n", "\n")), "{text}");
    // The same from another server is nobody's to complete.
    let mut other = Dialogue::open(server.addresses[1]);
    let message = "From: x@x.example\r\nBcc: y@x.example\r\n\r\nbody\r\n";
    send(&mut other, "<x@x.example>", &to, message);
    let all = delivered(&server, "alice", 2);
    let sent = message.replace("\r\n", "\n");
    assert!(all.iter().any(|text| text.ends_with(&sent)), "{all:#?}");
}

#[test]
fn users_are_offered_more_than_strangers() {
    let server = server("");
    let wishes = ["DELIVERBY", "MT-PRIORITY", "FUTURERELEASE"];
    let has = |hello: &Answer, keyword: &str| hello.lines.iter().any(|l| l.starts_with(keyword));
    let mut stranger = Dialogue::connect(server.addresses[1]);
    stranger.answer();
    let hello = stranger.ask("EHLO client.example");
    assert!(has(&hello, "LIMITS RCPTMAX=1000"), "{hello:?}");
    assert!(has(&hello, "BINARYMIME"), "{hello:?}");
    assert!(!has(&hello, "REQUIRETLS"), "only in TLS: {hello:?}");
    assert!(wishes.iter().all(|w| !has(&hello, w)), "{hello:?}");
    let mut user = Dialogue::connect(server.address());
    user.answer();
    let hello = user.ask("EHLO client.example");
    assert!(wishes.iter().all(|w| has(&hello, w)), "{hello:?}");
    let asked = stranger.ask("MAIL FROM:<x@x.example> MT-PRIORITY=3");
    assert_eq!(asked.code, 555);
}

#[test]
fn a_user_can_have_mail_sent_later_and_the_queue_says_when() {
    let server = server("");
    let mut dialogue = as_carol(&server);
    let to = ["alice@local.example"];
    let mail = "<carol@local.example> HOLDFOR=3600 MT-PRIORITY=9 BY=7200;N";
    let [begun, done] = send(&mut dialogue, mail, &to, "Subject: later\r\n\r\nx\r\n");
    assert_eq!(done.code, 250, "{done:?}");
    assert!(begun.lines[0].starts_with("2.3.6 4 "), "{begun:?}");
    let item = queued(&server, &[]).remove(0);
    let at = |field: &str| {
        let text = item[field]
            .as_str()
            .unwrap_or_else(|| panic!("{field}: {item}"));
        text.parse::<jiff::Timestamp>().unwrap().as_second()
    };
    let arrived = at("arrived");
    assert!((3599..=3601).contains(&(at("release") - arrived)), "{item}");
    assert!(
        (7199..=7201).contains(&(at("deliver_by") - arrived)),
        "{item}"
    );
    assert!(at("expires") - at("release") > 4 * 24 * 3600, "{item}");
    assert_eq!(
        (&item["priority"], &item["account"]),
        (&4.into(), &CAROL.into())
    );
    let shown = server
        .command(&["queue", "show", item["id"].as_str().unwrap()])
        .out;
    assert!(
        shown.contains("not before ") && shown.contains("priority   4"),
        "{shown}"
    );
    assert!(mailbox::messages(&server.dir().join("mail/alice")).is_empty());
    // Longer than is offered is refused; the operator can let it go before its time.
    let refused = dialogue.ask("MAIL FROM:<carol@local.example> HOLDFOR=99999999");
    assert_eq!(refused.code, 501, "{refused:?}");
    let told = server.command(&["queue", "retry", item["id"].as_str().unwrap()]);
    assert!(told.status.success(), "{}", told.err);
    delivered(&server, "alice", 1);
}

#[test]
fn what_is_late_comes_back_or_its_sender_is_told() {
    let server = server("[retry]\nintervals = [\"1s\"]\n");
    let mut dialogue = as_carol(&server);
    for (mail, to) in [
        ("BY=2;R", "return@far.example"),
        ("BY=2;N", "notify@far.example"),
    ] {
        let mail = format!("<carol@local.example> {mail}");
        let [_, done] = send(&mut dialogue, &mail, &[to], "Subject: s\r\n\r\nx\r\n");
        assert_eq!(done.code, 250, "{done:?}");
    }
    let reports = delivered(&server, "carol", 2);
    let about = |to: &str| {
        let field = format!("Final-Recipient: rfc822; {to}@far.example");
        reports.iter().find(|r| r.contains(&field)).unwrap()
    };
    let returned = about("return");
    assert!(
        returned.contains("\nAction: failed\nStatus: 5.4.7\n"),
        "{returned}"
    );
    let told = about("notify");
    assert!(told.contains("\nAction: delayed\nStatus: 4."), "{told}");
    until("only what goes on", SOON, || {
        (server.queued() == 1).then_some(())
    });
}

#[test]
fn what_an_account_sends_above_its_limit_is_held_and_two_are_told_once() {
    let mut server = server("[limits]\naccount_recipients_per_hour = 3\n");
    let message = |n: usize| format!("Subject: n{n}\r\n\r\nx\r\n");
    for n in 0..6 {
        let mut dialogue = as_carol(&server);
        let to = ["boss@local.example"];
        let [_, done] = send(&mut dialogue, "<sales@local.example>", &to, &message(n));
        assert_eq!(done.code, 250, "{done:?}");
    }
    // Three messages, and the word to the postmaster, who is alice.
    let at_alice = delivered(&server, "alice", 4);
    let word = delivered(&server, "carol", 1).remove(0);
    assert!(
        word.contains("Subject: Mail of your account is held\n"),
        "{word}"
    );
    assert!(word.contains("The account carol@local.example has sent to more than 3"));
    let command = "posthaste queue release state=held from=sales@local.example";
    assert!(word.contains(command), "{word}");
    assert_eq!(
        at_alice
            .iter()
            .filter(|m| m.contains("account is held"))
            .count(),
        1
    );
    assert_eq!(queued(&server, &["state=held"]).len(), 3);
    // A restart forgets neither what was sent nor that somebody was told.
    assert!(server.stop().success());
    server.run();
    let mut dialogue = as_carol(&server);
    let to = ["boss@local.example", "alice@local.example"];
    send(&mut dialogue, "<carol@local.example>", &to, &message(6));
    assert_eq!(queued(&server, &["state=held"]).len(), 4);
    assert_eq!(mailbox::messages(&server.dir().join("mail/carol")).len(), 1);
    let words: Vec<_> = command.split(' ').skip(1).collect();
    let released = server.command(&words);
    assert!(released.status.success(), "{}", released.err);
    delivered(&server, "alice", 7);
    let deleted = server.command(&["queue", "delete", "state=held", "from=carol@local.example"]);
    assert!(deleted.status.success(), "{}", deleted.err);
    assert_eq!(server.queued(), 0);
}

#[test]
fn of_what_an_account_sends_above_its_limit_only_so_much_is_held() {
    let server = server("[limits]\naccount_recipients_per_day = 1\n");
    let mut dialogue = as_carol(&server);
    let mut codes = Vec::new();
    let mut last = None;
    for _ in 0..6 {
        let (to, text) = (["boss@local.example"], "Subject: x\r\n\r\nx\r\n");
        let [_, done] = send(&mut dialogue, "<carol@local.example>", &to, text);
        codes.push(done.code);
        last = Some(done);
    }
    assert_eq!(codes, [250, 250, 250, 250, 250, 450]);
    let refused = last.unwrap().lines.concat();
    assert!(
        refused.starts_with("4.7.1") && refused.contains("is held"),
        "{refused}"
    );
    assert_eq!(queued(&server, &["state=held"]).len(), 4);
    server.record("the limit", |record| {
        record["event"] == "limit" && record["reply"].as_str().unwrap().starts_with("450")
    });
}

#[test]
fn the_word_that_mail_is_held_is_not_lost_with_a_message_that_cannot_be_kept() {
    let server = server("[limits]\naccount_recipients_per_day = 1\n");
    let mut dialogue = as_carol(&server);
    let to = ["boss@local.example"];
    let small = "Subject: x\r\n\r\nx\r\n";
    let [_, done] = send(&mut dialogue, "<carol@local.example>", &to, small);
    assert_eq!(done.code, 250, "{done:?}");
    // A large message needs a file of its own, and there is no place for it.
    let place = server.dir().join("data/spool/large");
    let away = server.dir().join("data/spool/away");
    std::fs::rename(&place, &away).unwrap();
    let large = format!("{small}{}", "sixteen octets\r\n".repeat(1 << 17));
    let [_, done] = send(&mut dialogue, "<carol@local.example>", &to, &large);
    assert_eq!(done.code / 100, 4, "{done:?}");
    std::fs::rename(&away, &place).unwrap();
    let [_, done] = send(&mut dialogue, "<carol@local.example>", &to, small);
    assert_eq!(done.code, 250, "{done:?}");
    let word = delivered(&server, "carol", 1).remove(0);
    assert!(
        word.contains("Subject: Mail of your account is held\n"),
        "{word}"
    );
}
