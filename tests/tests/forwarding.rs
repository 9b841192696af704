//! Mail that an alias sends on leaves under a reverse-path of ours, passes SPF at the next hop, and
//! a bounce finds back to the sender.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::os::unix::fs::PermissionsExt as _;

use posthaste_tests::client::Dialogue;
use posthaste_tests::peer::Nsd;
use posthaste_tests::server::Server;
use posthaste_tests::{SOON, mailbox};
use serde_json::Value;

/// The next server: the new home of carol, and the home of the first sender.
const NEXT: &str = r#"
hostname = "mx.far.example"
data_dir = "data"
postmaster = "carol@far.example"
user = "nobody"

[[listener]]
address = "127.0.0.1:0"
service = "mx"
tls = "none"

[[domain]]
name = "far.example"
mailboxes = ["carol", "list"]
deliver = "maildir:mail/{local}"

[[domain]]
name = "origin.example"
mailboxes = ["sender"]
deliver = "maildir:mail/{local}"
"#;
/// Ours: carol has moved, and what is for nobody goes to a list elsewhere.
const OURS: &str = r#"
hostname = "mx.ours.example"
data_dir = "data"
postmaster = "alice@ours.example"
user = "nobody"

[[listener]]
address = "127.0.0.1:0"
service = "mx"
tls = "none"

[relay]
networks = []

[[domain]]
name = "ours.example"
mailboxes = ["alice"]
aliases = "aliases"
catch_all = "list@far.example"
deliver = "maildir:mail/{local}"

[[route]]
recipients = ["*"]
via = "smtp://NEXT"
"#;
const MESSAGE: &[u8] = b"From: sender@origin.example\r\nSubject: hi\r\n\r\nhello\r\n";

fn servers() -> (Server, Server) {
    servers_where("")
}

/// The same, with more in the configuration of the next.
fn servers_where(more: &str) -> (Server, Server) {
    let next = Server::start(&format!("{NEXT}\n{more}"));
    let mut ours = Server::with(&OURS.replace("NEXT", &next.address().to_string()));
    let aliases = "carol: carol@far.example\nboth: alice, carol@far.example\n";
    std::fs::write(ours.dir().join("aliases"), aliases).unwrap();
    ours.run();
    (ours, next)
}

/// The reverse-path of the message that lies in the mailbox `name`, which is to be the only one.
fn return_path(server: &Server, name: &str) -> String {
    let found = mailbox::wait(&server.dir().join("mail").join(name), 1, SOON);
    let text = String::from_utf8_lossy(&found[0]).into_owned();
    let line = text.lines().find_map(|l| l.strip_prefix("Return-Path: <"));
    line.unwrap().trim_end_matches('>').to_owned()
}

fn deliver(server: &Server, from: &str, to: &str) {
    let answer = Dialogue::open(server.address()).deliver(from, &[to], MESSAGE);
    assert_eq!(answer.code, 250, "{answer:?}");
}

fn refusal(server: &Server, to: &str) -> String {
    let mut dialogue = Dialogue::open(server.address());
    assert_eq!(dialogue.ask("MAIL FROM:<>").code, 250);
    let answer = dialogue.ask(&format!("RCPT TO:<{to}>"));
    assert_eq!(answer.code, 550, "{to}: {answer:?}");
    answer.lines[0].clone()
}

#[test]
fn a_bounce_of_forwarded_mail_comes_back_to_its_sender() {
    let (mut ours, next) = servers();
    deliver(&ours, "sender@origin.example", "carol@ours.example");
    let path = return_path(&next, "carol");
    assert!(
        path.starts_with("SRS0=") && path.ends_with("@ours.example"),
        "{path}"
    );
    assert!(path.contains("=origin.example=sender@"), "{path}");
    // The secret is still known after a restart.
    ours.stop();
    ours.run();
    deliver(&ours, "", &path.to_lowercase());
    assert_eq!(return_path(&next, "sender"), "");
    let told = refusal(&ours, &path.replace("=sender@", "=other@"));
    assert!(
        told.starts_with("5.1.1 ") && told.contains("not ours"),
        "{told}"
    );
    let day = path.split('=').nth(2).unwrap();
    refusal(&ours, &path.replacen(&format!("={day}="), "=AA=", 1));
    // Who knows an address cannot send elsewhere through another domain.
    refusal(&ours, &path.replace("@ours.example", "@far.example"));
    let secret = std::fs::metadata(ours.dir().join("data/srs")).unwrap();
    assert_eq!(secret.permissions().mode() & 0o777, 0o600);
}

#[test]
fn spf_passes_for_the_new_reverse_path_and_not_for_the_old() {
    let (ours, next) = servers();
    deliver(&ours, "sender@origin.example", "carol@ours.example");
    let path = return_path(&next, "carol");
    let zone = "ours.example. TXT \"v=spf1 ip4:192.0.2.25 -all\"\n\
                origin.example. TXT \"v=spf1 ip4:198.51.100.1 -all\"\n";
    let Some(dns) = Nsd::start(zone) else {
        return;
    };
    let file = next.dir().join("message");
    std::fs::write(&file, MESSAGE).unwrap();
    let (dns, file) = (dns.address.to_string(), file.display().to_string());
    let judge = |from: &str| {
        let words = ["verify", "--json", "--dns", &dns, "--ip", "192.0.2.25"];
        let told = next.command(&[&words[..], &["--mail-from", from, &file]].concat());
        let judged: Value = serde_json::from_str(&told.out).unwrap();
        let spf = judged["spf"].as_array().unwrap().clone();
        let of = |s: &Value| s["identity"] == "mailfrom";
        spf.into_iter().find(of).unwrap()["result"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(judge(&path), "pass");
    assert_eq!(judge("sender@origin.example"), "fail");
}

/// What the server found of SPF for the reverse-path of the message to `to`, and wrote on top.
fn spf(server: &Server, to: &str) -> String {
    let name = to.split('@').next().unwrap();
    let found = mailbox::wait(&server.dir().join("mail").join(name), 1, SOON);
    let text = String::from_utf8_lossy(&found[0]).into_owned();
    let taken = server.record("the message", |r| {
        r["event"] == "transaction" && r["to"][0] == format!("<{to}>")
    });
    let verdict = taken["sender"]["spf"].as_str().unwrap().to_owned();
    let field = "Authentication-Results: mx.far.example;";
    let (_, results) = text.split_once(field).expect("our field");
    assert!(results.contains(&format!("spf={verdict}")), "{text}");
    verdict
}

#[test]
fn the_next_server_finds_that_we_may_send_what_we_forward() {
    let zone = "ours.example. TXT \"v=spf1 ip4:127.0.0.1 -all\"\n\
                origin.example. TXT \"v=spf1 ip4:198.51.100.1 -all\"\n";
    let Some(dns) = Nsd::start(zone) else {
        return;
    };
    let judging = format!("[dns]\nservers = [\"{}\"]\n", dns.address);
    let (ours, next) = servers_where(&judging);
    deliver(&ours, "sender@origin.example", "carol@ours.example");
    assert_eq!(spf(&next, "carol@far.example"), "pass");
    let path = return_path(&next, "carol");
    // The same message from the same address as its first sender would have sent it.
    deliver(&next, "sender@origin.example", "list@far.example");
    assert_eq!(spf(&next, "list@far.example"), "fail");
    deliver(&ours, "", &path);
    assert_eq!(return_path(&next, "sender"), "");
}

#[test]
fn only_mail_of_others_that_goes_to_others_is_rewritten() {
    let (ours, next) = servers();
    // Ours stays ours, on its way to anybody.
    deliver(&ours, "alice@ours.example", "carol@ours.example");
    assert_eq!(return_path(&next, "carol"), "alice@ours.example");
    // What stays here keeps its reverse-path, also where the same message goes on.
    deliver(&ours, "sender@origin.example", "both@ours.example");
    assert_eq!(return_path(&ours, "alice"), "sender@origin.example");
    let both = mailbox::wait(&next.dir().join("mail/carol"), 2, SOON);
    let both: Vec<_> = both.iter().map(|m| String::from_utf8_lossy(m)).collect();
    assert!(
        both.iter().any(|m| m.starts_with("Return-Path: <SRS0=")),
        "{both:?}"
    );
    // A catch-all forwards, too; a bounce has no reverse-path to rewrite.
    deliver(&ours, "", "whoever@ours.example");
    assert_eq!(return_path(&next, "list"), "");
}

#[test]
fn our_own_report_of_a_failure_further_on_goes_to_the_sender_at_once() {
    let (ours, next) = servers();
    std::fs::write(ours.dir().join("aliases"), "gone: nobody@far.example\n").unwrap();
    let reloaded = |r: &Value| r["event"] == "reloaded";
    ours.signal("HUP");
    ours.record("the record of a reload", reloaded);
    deliver(&ours, "sender@origin.example", "gone@ours.example");
    let report = mailbox::wait(&next.dir().join("mail/sender"), 1, SOON).remove(0);
    let report = String::from_utf8_lossy(&report).into_owned();
    assert!(report.contains("multipart/report"), "{report}");
    assert!(report.contains("gone@ours.example"), "{report}");
}
