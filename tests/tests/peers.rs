//! The peers themselves: each starts, takes a message and shows it. A fault here is not the
//! program's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::path::Path;

use posthaste_tests::client::Dialogue;
use posthaste_tests::messages::sample;
use posthaste_tests::peer::{Dovecot, Exim, Nsd, OpenSmtpd, Postfix};
use posthaste_tests::{SOON, free_address, mailbox};

fn takes_a_message(address: std::net::SocketAddr, maildir: &Path) {
    hands_over(&mut Dialogue::open(address), maildir);
}

fn hands_over(dialogue: &mut Dialogue, maildir: &Path) {
    let message = sample("dots", b".dot\r\n").octets;
    let answer = dialogue.deliver("a@a.example", &["b@b.example"], &message);
    assert_eq!(answer.code, 250, "{answer:?}");
    let found = mailbox::wait(maildir, 1, SOON);
    assert_eq!(
        mailbox::below(&found[0], "Subject"),
        mailbox::with_lf(&message)
    );
}

#[test]
fn postfix_takes_a_message() {
    let Some(peer) = Postfix::start(free_address(), "") else {
        return;
    };
    takes_a_message(peer.address, &peer.maildir());
}

#[test]
fn opensmtpd_takes_a_message() {
    let Some(peer) = OpenSmtpd::start(free_address()) else {
        return;
    };
    takes_a_message(peer.address, &peer.maildir());
}

#[test]
fn exim_takes_a_message() {
    let Some(peer) = Exim::start(free_address(), "") else {
        return;
    };
    takes_a_message(peer.address, &peer.maildir());
}

#[test]
fn dovecot_takes_a_message() {
    let Some(peer) = Dovecot::start(free_address(), &["b"]) else {
        return;
    };
    let mut dialogue = Dialogue::connect(peer.address);
    assert_eq!(dialogue.answer().code, 220);
    assert_eq!(dialogue.ask("LHLO client.example").code, 250);
    hands_over(&mut dialogue, &peer.maildir("b"));
}

#[test]
fn nsd_answers() {
    let Some(peer) = Nsd::start("b.example. MX 10 mx.b.example.\nmx.b.example. A 127.0.0.1") else {
        return;
    };
    // A question for the A records of mx.b.example, over TCP.
    let question = b"\x00\x1e\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\
        \x02mx\x01b\x07example\x00\x00\x01\x00\x01";
    let mut stream = Dialogue::connect(peer.address);
    stream.send(question);
    let answer = stream.some(2 + 30 + 16);
    assert_eq!(&answer[answer.len() - 4..], [127, 0, 0, 1], "{answer:?}");
}
