//! Real next hops: relay by route and by MX into servers that nobody here wrote, and LMTP delivery.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use posthaste_tests::client::Dialogue;
use posthaste_tests::messages::{Sample, sample, samples};
use posthaste_tests::peer::{Dovecot, Exim, Nsd, OpenSmtpd, Postfix};
use posthaste_tests::server::Server;
use posthaste_tests::{SOON, free_address, mailbox, setup, until};

/// A server that relays all mail to `address`.
fn relaying_to(address: SocketAddr) -> Server {
    let route = format!("[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://{address}\"\n");
    Server::start(&setup::with(&route))
}

/// Gives every sample to the program and expects each in `maildir`, octet for octet.
fn every_sample_arrives(server: &Server, to: &str, maildir: &Path) {
    let samples = samples();
    let mut dialogue = Dialogue::open(server.address());
    for Sample { name, octets } in &samples {
        let answer = dialogue.deliver("sender@client.example", &[to], octets);
        assert_eq!(answer.code, 250, "{name}: {answer:?}");
    }
    let found = mailbox::wait(maildir, samples.len(), SOON);
    for Sample { name, octets } in &samples {
        let sent = mailbox::with_lf(octets);
        let arrived = |message: &Vec<u8>| mailbox::below(message, "Subject") == sent;
        assert!(found.iter().any(arrived), "{name}: not what was sent");
    }
    until("an empty queue", SOON, || {
        (server.queued() == 0).then_some(())
    });
}

#[test]
fn a_route_into_postfix() {
    let Some(postfix) = Postfix::start(free_address(), "") else {
        return;
    };
    let server = relaying_to(postfix.address);
    every_sample_arrives(&server, "someone@remote.example", &postfix.maildir());
}

#[test]
fn a_route_into_exim() {
    let Some(exim) = Exim::start(free_address(), "") else {
        return;
    };
    let server = relaying_to(exim.address);
    every_sample_arrives(&server, "someone@remote.example", &exim.maildir());
}

#[test]
fn a_route_into_opensmtpd() {
    let Some(opensmtpd) = OpenSmtpd::start(free_address()) else {
        return;
    };
    let server = relaying_to(opensmtpd.address);
    every_sample_arrives(&server, "someone@remote.example", &opensmtpd.maildir());
}

#[test]
fn lmtp_over_tcp_into_dovecot() {
    let Some(dovecot) = Dovecot::start(free_address(), &["carol"]) else {
        return;
    };
    let domain = format!(
        "[[domain]]\nname = \"store.example\"\nmailboxes = [\"*\"]\ndeliver = \"lmtp://{}\"\n",
        dovecot.address
    );
    let server = Server::start(&setup::with(&domain));
    every_sample_arrives(&server, "carol@store.example", &dovecot.maildir("carol"));
}

#[test]
fn lmtp_over_a_unix_socket_into_dovecot_with_one_outcome_per_recipient() {
    let Some(dovecot) = Dovecot::start(free_address(), &["carol", "dave"]) else {
        return;
    };
    let domain = format!(
        "[[domain]]\nname = \"store.example\"\nmailboxes = [\"*\"]\ndeliver = \"lmtp+unix:{}\"\n",
        dovecot.socket().display()
    );
    let server = Server::start(&setup::with(&domain));
    let mut dialogue = Dialogue::open(server.address());
    let to = [
        "carol@store.example",
        "nobody-here@store.example",
        "dave@store.example",
    ];
    let message = sample("three", b"for two of three\r\n").octets;
    assert_eq!(
        dialogue.deliver("bob@local.example", &to, &message).code,
        250
    );
    for name in ["carol", "dave"] {
        let found = mailbox::wait(&dovecot.maildir(name), 1, SOON);
        assert_eq!(
            mailbox::below(&found[0], "Subject"),
            mailbox::with_lf(&message)
        );
    }
    // The third is reported to the sender, and only the third.
    let reports = mailbox::wait(&server.dir().join("mail/bob"), 1, SOON);
    let report = String::from_utf8_lossy(&reports[0]);
    assert!(report.contains("nobody-here@store.example"), "{report}");
    assert!(
        !report.contains("Final-Recipient: rfc822; carol"),
        "{report}"
    );
}

/// An address of loopback with its port 25, which no other run of the tests uses.
fn mail_host() -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 77, high, low.max(2))), 25)
}

#[test]
fn mx_with_preferences_a_dead_host_a_null_mx_and_none_at_all() {
    let host = mail_host();
    let ip = host.ip();
    let records = format!(
        "two.example. MX 10 dead.two.example.\ntwo.example. MX 20 live.two.example.\n\
         dead.two.example. A 127.76.0.1\nlive.two.example. A {ip}\n\
         implicit.example. A {ip}\nnull.example. MX 0 .\n\
         alias.example. CNAME two.example.\n"
    );
    let Some(nsd) = Nsd::start(&records) else {
        return;
    };
    let Some(postfix) = Postfix::start(host, "") else {
        return;
    };
    let dns = format!("[dns]\nservers = [\"{}\"]\n", nsd.address);
    let server = Server::start(&setup::with(&dns));
    let mut dialogue = Dialogue::open(server.address());
    let domains = ["two", "implicit", "null", "nowhere"];
    for domain in domains {
        let message = sample("route", format!("to {domain}\r\n").as_bytes()).octets;
        let to = format!("someone@{domain}.example");
        let answer = dialogue.deliver("bob@local.example", &[&to], &message);
        assert_eq!(answer.code, 250, "{domain}: {answer:?}");
    }
    let found = mailbox::wait(&postfix.maildir(), 2, SOON);
    let arrived = |text: &str| {
        found
            .iter()
            .any(|message| message.ends_with(text.as_bytes()))
    };
    assert!(arrived("to two\n") && arrived("to implicit\n"));

    let reports = mailbox::wait(&server.dir().join("mail/bob"), 2, SOON);
    let reports: Vec<_> = reports.iter().map(|r| String::from_utf8_lossy(r)).collect();
    let about = |domain: &str, status: &str| {
        let to = format!("Final-Recipient: rfc822; someone@{domain}.example");
        reports
            .iter()
            .any(|r| r.contains(&to) && r.contains(&format!("Status: {status}")))
    };
    assert!(about("null", "5.1.10"), "{reports:#?}");
    assert!(about("nowhere", "5.1.2"), "{reports:#?}");
    until("an empty queue", SOON, || {
        (server.queued() == 0).then_some(())
    });
}

#[test]
fn eight_bit_text_is_returned_when_the_next_hop_does_not_take_it() {
    let settings = "smtpd_discard_ehlo_keywords = 8bitmime";
    let Some(postfix) = Postfix::start(free_address(), settings) else {
        return;
    };
    let server = relaying_to(postfix.address);
    let mut dialogue = Dialogue::open(server.address());
    let message = sample("8bit", "Grüße\r\n".as_bytes()).octets;
    let answer = dialogue.deliver("bob@local.example", &["x@remote.example"], &message);
    assert_eq!(answer.code, 250);
    let reports = mailbox::wait(&server.dir().join("mail/bob"), 1, SOON);
    let report = String::from_utf8_lossy(&reports[0]);
    assert!(report.contains("Status: 5.6.3"), "{report}");
    assert!(mailbox::messages(&postfix.maildir()).is_empty());
}
