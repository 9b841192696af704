//! Who really sent a message, as the program finds it out while the message comes in: against a
//! real DNS server, from several addresses of this machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, clippy::print_stdout, missing_docs)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime};

use posthaste_mailauth::dkim::{PrivateKey, Signer, Signing};
use posthaste_message::header::Scan;
use posthaste_tests::client::{Answer, Dialogue};
use posthaste_tests::messages::large;
use posthaste_tests::peer::Nsd;
use posthaste_tests::server::Server;
use posthaste_tests::{SOON, mailbox, setup, until};
use serde_json::Value;

/// The only host that may send for `bank.example`.
const AUTHORISED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// A forwarder that has no name.
const FORWARDER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const MESSAGE: &str = "From: Alice <alice@bank.example>\r\nTo: bob@local.example\r\n\
    Subject: hi\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@bank.example>\r\n\r\n\
    hello\r\n";
/// What one message of 50 MiB may add to the resident memory, in KiB.
const LARGE_ADDS_MAX: u64 = 2 * 1024;

/// A server that judges what comes to it, and the DNS that it asks.
struct Judging {
    server: Server,
    _dns: Nsd,
    key: PrivateKey,
}

impl Judging {
    fn start(more: &str) -> Option<Self> {
        let key = PrivateKey::generate_rsa_2048().unwrap();
        // Strings of a TXT record have 255 octets at most.
        let record: Vec<u8> = key.public_record().into_bytes();
        let strings = record.chunks(200).map(|part| String::from_utf8_lossy(part));
        let strings: Vec<_> = strings.map(|part| format!("\"{part}\"")).collect();
        let dns = Nsd::start(&format!(
            "bank.example. TXT \"v=spf1 ip4:127.0.0.2 -all\"\n\
             _dmarc.bank.example. TXT \"v=DMARC1; p=reject\"\n\
             s1._domainkey.bank.example. TXT {}\n\
             lists.example. TXT \"v=spf1 ip4:127.0.0.1 -all\"\n\
             plain.example. TXT \"v=spf1 ip4:127.0.0.2 -all\"\n",
            strings.join(" ")
        ))?;
        let server = Server::start(&configuration(dns.address, more));
        Some(Judging {
            server,
            _dns: dns,
            key,
        })
    }

    fn send(&self, peer: IpAddr, from: &str, message: &str) -> Answer {
        let mut dialogue = Dialogue::connect_from(peer, self.server.address());
        assert_eq!(dialogue.answer().code, 220);
        assert_eq!(dialogue.ask("EHLO mx.client.example").code, 250);
        dialogue.deliver(from, &["alice@local.example"], message.as_bytes())
    }

    /// The messages in alice's mailbox, or in a folder of it.
    fn letters(&self, folder: &str, count: usize) -> Vec<String> {
        let maildir = self.server.dir().join("mail/alice").join(folder);
        let found = mailbox::wait(&maildir, count, SOON);
        assert_eq!(found.len(), count);
        let text = |m: Vec<u8>| String::from_utf8(m).unwrap();
        found.into_iter().map(text).collect()
    }

    /// What the log says of the sender of the only message so far.
    fn found(&self) -> Value {
        let is = |record: &Value| record["event"] == "transaction";
        self.server.record("a transaction", is)["sender"].clone()
    }

    fn signed(&self, message: &str) -> String {
        let (mut scan, mut signer) = (Scan::new(), Signer::new());
        scan.push(message.as_bytes());
        signer.push(message.as_bytes(), scan.facts());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let signing = Signing {
            domain: "bank.example",
            keys: &[("s1", &self.key)],
            now_s: now.unwrap().as_secs(),
            lifetime_s: None,
        };
        signer.finish(&scan.finish(), b"", &signing).unwrap() + message
    }
}

/// As [`setup::BASE`], but nobody may relay: whoever comes is a stranger.
fn configuration(dns: SocketAddr, more: &str) -> String {
    let base = setup::BASE.replace("[relay]\nnetworks = [\"127.0.0.0/8\"]\n", "");
    format!("{base}\n[dns]\nservers = [\"{dns}\"]\n{more}\n")
}

/// The value of each field of this name, unfolded.
fn fields(letter: &str, name: &str) -> Vec<String> {
    let head = letter.split("\n\n").next().unwrap();
    let head = head.replace("\n\t", " ").replace("\n ", " ");
    let start = format!("{}:", name.to_ascii_lowercase());
    head.lines()
        .filter(|line| line.to_ascii_lowercase().starts_with(&start))
        .map(|line| line[start.len()..].trim().to_owned())
        .collect()
}

#[test]
fn a_spoofed_message_is_quarantined_by_default_and_says_why() {
    let Some(judging) = Judging::start("") else {
        return;
    };
    assert_eq!(
        judging.send(STRANGER, "alice@bank.example", MESSAGE).code,
        250
    );
    let letter = judging.letters(".Junk", 1).remove(0);
    let results = fields(&letter, "Authentication-Results");
    assert_eq!(results.len(), 1, "{letter}");
    for part in [
        "mx.local.example;",
        "spf=fail",
        "smtp.mailfrom=bank.example",
        "dmarc=fail",
        "p=reject dis=quarantine",
        "header.from=bank.example",
    ] {
        assert!(results[0].contains(part), "{part}: {}", results[0]);
    }
    assert_eq!(fields(&letter, "X-Posthaste-Disposition"), ["quarantine"]);
    assert!(mailbox::messages(&judging.server.dir().join("mail/alice")).is_empty());
    let found = judging.found();
    assert_eq!(found["spf"], "fail");
    assert_eq!(found["dmarc"], "fail");
    assert_eq!(found["from"], "bank.example");
    assert_eq!(found["disposition"], "quarantine");
    assert_eq!(found["because"], serde_json::json!(["local_policy"]));
    assert!(fields(&letter, "Received-SPF").is_empty());
}

#[test]
fn a_spoofed_message_is_refused_where_configured_with_cause_and_domain() {
    let Some(judging) = Judging::start("[dmarc]\npolicy = \"reject\"\n") else {
        return;
    };
    let answer = judging.send(STRANGER, "x@evil.example", MESSAGE);
    assert_eq!(answer.code, 550, "{answer:?}");
    let text = answer.lines.join(" ");
    for part in [
        "5.7.1",
        "bank.example",
        "DMARC",
        "p=reject",
        "neither SPF nor DKIM passed",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(judging.server.queued(), 0);
    assert_eq!(judging.found()["disposition"], "reject");
    // The same mail from the host that may send it, and as signed by its author's domain.
    let honest = judging.send(AUTHORISED, "alice@bank.example", MESSAGE);
    assert_eq!(honest.code, 250, "{honest:?}");
    let signed = judging.signed(MESSAGE);
    assert_eq!(judging.send(STRANGER, "x@evil.example", &signed).code, 250);
    // A signature that holds no more is none.
    let changed = signed.replace("hello", "hullo");
    assert_eq!(judging.send(STRANGER, "x@evil.example", &changed).code, 550);
    let letters = judging.letters("", 2);
    for letter in &letters {
        let results = fields(letter, "Authentication-Results").remove(0);
        assert!(results.contains("dmarc=pass"), "{results}");
        assert!(fields(letter, "X-Posthaste-Disposition").is_empty());
    }
    let all = letters.concat();
    assert!(
        all.contains("spf=pass") && all.contains("dkim=pass"),
        "{all}"
    );
}

#[test]
fn forged_results_in_our_name_are_removed_and_those_of_others_stay() {
    let Some(judging) = Judging::start("[dmarc]\nreceived_spf = true\n") else {
        return;
    };
    let forged = format!(
        "Authentication-Results: mx.local.example; dmarc=pass header.from=bank.example\r\n\
         Authentication-Results: mx.other.example;\r\n\tspf=pass\r\n\
         authentication-results : (a (b))\r\n \"MX.Local.Example\" 1; dkim=pass\r\n\
         X-Posthaste-Disposition: none\r\n{MESSAGE}"
    );
    assert_eq!(
        judging.send(AUTHORISED, "alice@bank.example", &forged).code,
        250
    );
    let letter = judging.letters("", 1).remove(0);
    let results = fields(&letter, "Authentication-Results");
    assert_eq!(results.len(), 2, "{letter}");
    assert!(
        results[0].starts_with("mx.local.example; spf="),
        "{results:?}"
    );
    assert_eq!(results[1], "mx.other.example; spf=pass");
    assert!(!letter.contains("authentication-results :"), "{letter}");
    assert!(fields(&letter, "X-Posthaste-Disposition").is_empty());
    let received_spf = fields(&letter, "Received-SPF");
    assert_eq!(received_spf.len(), 1);
    assert!(received_spf[0].starts_with("pass ("), "{received_spf:?}");
    assert!(
        received_spf[0].contains("client-ip=127.0.0.2;"),
        "{received_spf:?}"
    );
    let body = letter.split("\n\n").nth(1).unwrap();
    assert_eq!(body, "hello\n");
}

#[test]
fn quarantine_may_be_a_hold_that_the_operator_ends() {
    let Some(judging) = Judging::start("[dmarc]\nquarantine = \"hold\"\n") else {
        return;
    };
    assert_eq!(
        judging.send(STRANGER, "alice@bank.example", MESSAGE).code,
        250
    );
    let listed = judging.server.command(&["queue", "list", "state=held"]);
    assert!(listed.out.contains("alice@local.example"), "{}", listed.out);
    let released = judging.server.command(&["queue", "release", "state=held"]);
    assert!(released.status.success(), "{}", released.err);
    let letter = judging.letters(".Junk", 1).remove(0);
    assert_eq!(fields(&letter, "X-Posthaste-Disposition"), ["quarantine"]);
}

#[test]
fn forwarders_and_lists_that_are_known_are_exempt_and_nobody_else_is() {
    let more = "[dmarc]\npolicy = \"reject\"\nexempt_networks = \"127.0.0.3\"\n\
                exempt_domains = \"lists.example\"\n";
    let Some(judging) = Judging::start(more) else {
        return;
    };
    assert_eq!(
        judging.send(FORWARDER, "alice@bank.example", MESSAGE).code,
        250
    );
    assert_eq!(
        judging.send(STRANGER, "list@lists.example", MESSAGE).code,
        250
    );
    // Whoever only says that it is the list.
    assert_eq!(
        judging.send(AUTHORISED, "list@lists.example", MESSAGE).code,
        550
    );
    for letter in judging.letters("", 2) {
        let results = fields(&letter, "Authentication-Results").remove(0);
        assert!(results.contains("dmarc=fail"), "{results}");
        assert!(results.contains("dis=none"), "{results}");
    }
}

#[test]
fn what_is_not_to_be_checked_is_not() {
    let Some(judging) = Judging::start("[dmarc]\ncheck = false\n") else {
        return;
    };
    assert_eq!(
        judging.send(STRANGER, "alice@bank.example", MESSAGE).code,
        250
    );
    let letter = judging.letters("", 1).remove(0);
    assert!(fields(&letter, "Authentication-Results").is_empty());
    assert_eq!(judging.found(), Value::Null);
}

#[test]
fn nothing_is_reported_to_a_reverse_path_that_is_most_likely_forged() {
    let more = "[[domain]]\nname = \"next.example\"\nmailboxes = [\"*\"]\n\
                deliver = \"smtp://127.0.0.1:1\"\n[retry]\nintervals = [\"1s\"]\n\
                expire_after = \"2s\"\n";
    let Some(judging) = Judging::start(more) else {
        return;
    };
    // No DMARC record, so that the message is taken like any other.
    let message = MESSAGE.replace("bank.example", "plain.example");
    let fails = |peer| {
        let mut dialogue = Dialogue::connect_from(peer, judging.server.address());
        assert_eq!(dialogue.answer().code, 220);
        assert_eq!(dialogue.ask("EHLO mx.client.example").code, 250);
        let to = ["bob@next.example"];
        let answer = dialogue.deliver("alice@plain.example", &to, message.as_bytes());
        assert_eq!(answer.code, 250, "{answer:?}");
    };
    fails(STRANGER);
    let is = |record: &Value| record["event"] == "report-withheld";
    let withheld = judging.server.record("a report that was not made", is);
    assert_eq!(withheld["to"], "<alice@plain.example>");
    assert_eq!(withheld["recipients"], 1);
    let is = |record: &Value| record["event"] == "report";
    assert!(!judging.server.records().iter().any(is));
    // From the host that may send for the domain the same mail is reported.
    fails(AUTHORISED);
    let report = judging.server.record("a report", is);
    assert_eq!(report["to"], "alice@plain.example");
}

#[test]
fn a_dns_server_that_never_answers_costs_its_patience_and_fails_nothing() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let more = "[dmarc]\npolicy = \"reject\"\n";
    let server = Server::start(&configuration(silent.local_addr().unwrap(), more));
    let mut dialogue = Dialogue::open(server.address());
    dialogue.wait_at_most(Duration::from_secs(60));
    let to = ["alice@local.example"];
    let answer = dialogue.deliver("alice@bank.example", &to, MESSAGE.as_bytes());
    assert_eq!(answer.code, 250, "{answer:?}");
    let letter = mailbox::wait(&server.dir().join("mail/alice"), 1, SOON).remove(0);
    let letter = String::from_utf8(letter).unwrap();
    let results = fields(&letter, "Authentication-Results").remove(0);
    assert!(results.contains("spf=temperror"), "{results}");
    assert!(results.contains("dmarc=temperror"), "{results}");
}

#[test]
fn a_message_of_50_mib_is_judged_in_2_mib_of_memory() {
    let more = "[limits]\nmessage_size = \"60MiB\"\n";
    let Some(judging) = Judging::start(more) else {
        return;
    };
    let message = |mib: usize| {
        let body = String::from_utf8(large(mib * 1024 * 1024)).unwrap();
        judging.signed(&MESSAGE.replace("hello\r\n", &body))
    };
    let (first, whole) = (message(2), message(50));
    // The first message of all makes what stays.
    assert_eq!(
        judging.send(AUTHORISED, "alice@bank.example", &first).code,
        250
    );
    until("an empty queue", SOON * 4, || {
        (judging.server.queued() == 0).then_some(())
    });
    let (before, _) = judging.server.memory();
    assert_eq!(
        judging.send(AUTHORISED, "alice@bank.example", &whole).code,
        250
    );
    until("an empty queue", SOON * 4, || {
        (judging.server.queued() == 0).then_some(())
    });
    let (_, most) = judging.server.memory();
    let more = most.saturating_sub(before);
    println!("50 MiB judged: {before} KiB before, {most} KiB at most, {more} KiB more");
    let passed = |letter: &String| letter.contains("dkim=pass") && letter.contains("dmarc=pass");
    assert!(judging.letters("", 2).iter().all(passed));
    assert!(more <= LARGE_ADDS_MAX, "{more} KiB");
}
