//! Servers that hand mail on to us.

use std::net::SocketAddr;

use posthaste_tests::client::Dialogue;
use posthaste_tests::messages::{large, sample};
use posthaste_tests::peer::{Exim, Haraka, OpenSmtpd, Postfix, Sendmail};
use posthaste_tests::server::Server;
use posthaste_tests::wire::Wire;
use posthaste_tests::{free_address, mailbox};

use super::clients::{MX_CLEAR, MX_TLS, inbound};
use super::{
    LARGE, MANY, PATIENCE, Row, addresses, attempt, cell, of_library, package, theirs, used,
};

const MODES: [&str; 5] = [
    "plain",
    "STARTTLS",
    "25 MiB",
    "40 at once",
    "100 recipients",
];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    type Start = fn(SocketAddr, SocketAddr) -> Option<Box<dyn std::any::Any>>;
    let peers: [(&str, &str, Start); 5] = [
        ("Postfix", "postfix", |at, to| {
            let next = format!(
                "virtual_mailbox_domains =\nsmtp_tls_security_level = may\n\
                 relayhost = [127.0.0.1]:{}",
                to.port()
            );
            Postfix::start(at, &next).map(|p| Box::new(p) as _)
        }),
        ("Exim", "exim", |at, to| {
            Exim::relaying(at, to).map(|p| Box::new(p) as _)
        }),
        ("OpenSMTPD", "opensmtpd", |at, to| {
            OpenSmtpd::relaying(at, to).map(|p| Box::new(p) as _)
        }),
        ("Sendmail", "sendmail", |at, to| {
            Sendmail::relaying(at, to).map(|p| Box::new(p) as _)
        }),
        ("Haraka", "haraka", |at, to| {
            Haraka::relaying(at, to).map(|p| Box::new(p) as _)
        }),
    ];
    for (name, tree, start) in peers {
        let number = match tree {
            "haraka" => of_library(name),
            tree => package(tree),
        };
        let peer = format!("{name} {number}");
        println!("{peer}");
        let exchange = |mode| {
            let server = inbound();
            let ours = if mode == "STARTTLS" { MX_TLS } else { MX_CLEAR };
            let wire = Wire::to(server.addresses[ours]);
            let address = free_address();
            let running = start(address, wire.address);
            assert!(running.is_some(), "it does not start");
            sender_sends(mode, address, &server);
            wire
        };
        let (mut cells, mut wire) = (Vec::new(), Err(String::new()));
        for mode in MODES {
            wire = attempt(|| exchange(mode));
            cells.push((mode, cell(&wire)));
        }
        // The last one: to many recipients.
        cells.extend(used(&wire, theirs));
        rows.push(Row { peer, cells });
    }
    rows
}

fn sender_sends(mode: &str, through: SocketAddr, server: &Server) {
    let mut dialogue = Dialogue::open(through);
    let body = if mode == "25 MiB" {
        large(LARGE)
    } else {
        b"hello\r\n".to_vec()
    };
    let message = sample("interop", &body).octets;
    let to = addresses(mode, "local.example");
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let times = if mode == "40 at once" { MANY } else { 1 };
    dialogue.wait_at_most(PATIENCE);
    for _ in 0..times {
        let answer = dialogue.deliver("bob@sender.example", &to, &message);
        assert_eq!(answer.code, 250, "{answer:?}");
    }
    let arrived = mailbox::wait(&server.dir().join("mail/alice"), times, PATIENCE);
    let below = mailbox::below(&arrived[0], "Subject");
    assert!(below == mailbox::with_lf(&message), "not what was sent");
    posthaste_tests::until("all recipients", PATIENCE, || {
        let records = server.records();
        let taken = records.iter().filter(|r| r["result"] == "accepted");
        let got: usize = taken.map(|r| r["to"].as_array().map_or(0, Vec::len)).sum();
        (got == to.len() * times).then_some(())
    });
    if mode == "STARTTLS" {
        server.record("a connection with TLS", |record| {
            record["event"] == "connection" && record["tls"]["version"].is_string()
        });
    }
}
