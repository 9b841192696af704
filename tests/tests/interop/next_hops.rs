//! Servers that we send to.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use posthaste_tests::client::{Dialogue, stuffed};
use posthaste_tests::messages::{large, sample};
use posthaste_tests::peer::{Dovecot, Exim, Haraka, Keys, OpenSmtpd, Postfix, Script, Sendmail};
use posthaste_tests::server::Server;
use posthaste_tests::wire::Wire;
use posthaste_tests::{free_address, mailbox};

use super::{
    Cell, LARGE, MANY, PATIENCE, Row, addresses, attempt, cell, of_library, package, used,
};

/// A next hop: what starts it, and where its mail is.
struct Started {
    address: SocketAddr,
    maildir: PathBuf,
    _running: Box<dyn std::any::Any>,
}

type StartHop = fn(&Keys, &str) -> Option<Started>;

struct Hop {
    name: &'static str,
    tree: &'static str,
    start: StartHop,
    lmtp: bool,
    lacks: &'static [(&'static str, &'static str)],
}

const HANDSHAKE: &str = "as a server, Debian's build finishes no handshake, whoever the client is";

const NO_FLIGHTS: &str = "used in flights, which go over SMTP alone";

fn hops() -> Vec<Hop> {
    vec![
        postfix(),
        exim(),
        opensmtpd(),
        sendmail(),
        haraka(),
        dovecot(),
        aiosmtpd(),
        smtp_server(),
    ]
}

fn postfix() -> Hop {
    Hop {
        name: "Postfix",
        tree: "postfix",
        lmtp: false,
        lacks: &[],
        start: |keys, mode| {
            let mut settings = keys.of_postfix() + "smtputf8_enable = yes\n";
            if mode == "TLS" {
                settings += "smtpd_tls_wrappermode = yes\n";
            }
            let peer = Postfix::start(free_address(), &settings)?;
            Some(Started {
                address: peer.address,
                maildir: peer.maildir(),
                _running: Box::new(peer),
            })
        },
    }
}

fn exim() -> Hop {
    Hop {
        name: "Exim",
        tree: "exim",
        lmtp: false,
        lacks: &[],
        start: |keys, mode| {
            let address = free_address();
            let mut settings =
                keys.of_exim() + "smtputf8_advertise_hosts = *\ndsn_advertise_hosts = *\n";
            if mode == "TLS" {
                let _ = writeln!(settings, "tls_on_connect_ports = {}", address.port());
            }
            let peer = Exim::start(address, &settings)?;
            Some(Started {
                address,
                maildir: peer.maildir(),
                _running: Box::new(peer),
            })
        },
    }
}

fn opensmtpd() -> Hop {
    Hop {
        name: "OpenSMTPD",
        tree: "opensmtpd",
        lmtp: false,
        lacks: &[
            ("STARTTLS", HANDSHAKE),
            ("TLS", HANDSHAKE),
            ("SMTPUTF8", ""),
        ],
        start: |_, _| {
            let peer = OpenSmtpd::start(free_address())?;
            Some(Started {
                address: peer.address,
                maildir: peer.maildir(),
                _running: Box::new(peer),
            })
        },
    }
}

fn sendmail() -> Hop {
    Hop {
        name: "Sendmail",
        tree: "sendmail",
        lmtp: false,
        lacks: &[("SMTPUTF8", "")],
        start: |keys, mode| {
            let (certificate, key) = (keys.path("peer.pem"), keys.path("peer.key"));
            let peer = Sendmail::start(free_address(), (&certificate, &key), mode == "TLS")?;
            Some(Started {
                address: peer.address,
                maildir: peer.maildir(),
                _running: Box::new(peer),
            })
        },
    }
}

fn haraka() -> Hop {
    Hop {
        name: "Haraka",
        tree: "haraka",
        lmtp: false,
        lacks: &[("DSN", "")],
        start: |keys, mode| {
            let (certificate, key) = (keys.path("peer.pem"), keys.path("peer.key"));
            let tls = Some((certificate.as_str(), key.as_str()));
            let peer = Haraka::start(free_address(), tls, mode == "TLS")?;
            Some(Started {
                address: peer.address,
                maildir: peer.maildir(),
                _running: Box::new(peer),
            })
        },
    }
}

fn dovecot() -> Hop {
    Hop {
        name: "Dovecot (LMTP)",
        tree: "dovecot",
        lmtp: true,
        lacks: &[("TLS", ""), ("SMTPUTF8", ""), ("DSN", "")],
        start: |keys, mode| {
            let names: Vec<String> = addresses(mode, "x")
                .iter()
                .filter_map(|a| Some(a.split_once('@')?.0.to_owned()))
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let peer = Dovecot::start_with(free_address(), &names, &keys.of_dovecot())?;
            Some(Started {
                address: peer.address,
                maildir: peer.maildir("r0"),
                _running: Box::new(peer),
            })
        },
    }
}

fn aiosmtpd() -> Hop {
    Hop {
        name: "aiosmtpd on Python",
        tree: "scripts",
        lmtp: false,
        lacks: &[("TLS", ""), ("DSN", "")],
        start: |keys, _| script(keys, "aiosmtpd"),
    }
}

fn smtp_server() -> Hop {
    Hop {
        name: "smtp-server on Node",
        tree: "scripts",
        lmtp: false,
        lacks: &[("TLS", "")],
        start: |keys, _| script(keys, "smtp-server"),
    }
}

fn script(keys: &Keys, name: &'static str) -> Option<Started> {
    let peer = Script::start(name, &keys.path("peer.pem"), &keys.path("peer.key"))?;
    Some(Started {
        address: peer.address,
        maildir: peer.maildir(),
        _running: Box::new(peer),
    })
}

pub(super) fn rows() -> Vec<Row> {
    let keys = Keys::new();
    let mut rows = Vec::new();
    for hop in hops() {
        let number = match hop.tree {
            "scripts" | "haraka" => of_library(hop.name),
            tree => package(tree),
        };
        let peer = format!("{} {number}", hop.name);
        println!("{peer}");
        let (mut cells, mut wire) = (Vec::new(), Err(String::new()));
        for mode in [
            "plain",
            "STARTTLS",
            "TLS",
            "SMTPUTF8",
            "DSN",
            "25 MiB",
            "100 recipients",
            "40 at once",
        ] {
            let lack = hop.lacks.iter().find(|(lacking, _)| *lacking == mode);
            cells.push(match lack {
                Some((_, why)) => (mode, Cell::Absent(why)),
                None => {
                    wire = attempt(|| hop_takes(&hop, mode, &keys));
                    (mode, cell(&wire))
                }
            });
        }
        // The last one: only there are flights.
        cells.extend(used(&wire, |wire, column| match wire.offers(column) {
            false => Ok(""),
            true if hop.lmtp && column == "CHUNKING" => Ok(NO_FLIGHTS),
            true => Err("offered and not used".to_owned()),
        }));
        rows.push(Row { peer, cells });
    }
    rows
}

fn hop_takes(hop: &Hop, mode: &str, keys: &Keys) -> Wire {
    let started = (hop.start)(keys, mode);
    let Some(started) = started else {
        panic!("it does not start");
    };
    let wire = Wire::to(started.address);
    let port = wire.address.port();
    let scheme = match (hop.lmtp, mode) {
        (true, _) => "lmtp",
        (false, "TLS") => "smtps",
        (false, _) => "smtp",
    };
    let tls = match mode {
        "STARTTLS" | "TLS" => "verify",
        _ => "none",
    };
    let server = keys.start(&format!(
        "[limits]\nconnections_per_destination = 1\nmessage_size = \"60MiB\"\n\
         [[route]]\nrecipients = [\"*\"]\nvia = \"{scheme}://localhost:{port}\"\ntls = \"{tls}\"\n"
    ));
    hand_over(mode, &server);
    let times = if mode == "40 at once" { MANY } else { 1 };
    let found = mailbox::wait(&started.maildir, times, PATIENCE);
    let sent = mailbox::with_lf(&letter(mode));
    let arrived = found
        .iter()
        .filter(|m| mailbox::below(m, "Subject") == sent);
    assert!(arrived.count() >= times, "not what was sent");
    posthaste_tests::until("an empty queue", PATIENCE, || {
        (server.queued() == 0).then_some(())
    });
    let records = server.records();
    let recipients = records.iter().filter(|r| r["event"] == "recipient");
    for recipient in recipients.filter(|r| r["to"] != "bob@local.example") {
        assert_eq!(recipient["outcome"], "relayed", "{recipient}");
    }
    if tls == "verify" {
        let attempts = records.iter().filter(|r| r["event"] == "attempt");
        for attempt in attempts {
            assert_eq!(attempt["tls"]["peer"], "verified", "{attempt}");
        }
    }
    if mode == "DSN" {
        // Either the next hop reports, or we do that it was relayed.
        let reported = mailbox::messages(&server.dir().join("mail/bob"));
        let relayed = reported
            .iter()
            .any(|r| String::from_utf8_lossy(r).contains("Action: relayed"));
        println!("  DSN: {}", if relayed { "relayed" } else { "passed on" });
    }
    wire
}

fn letter(mode: &str) -> Vec<u8> {
    let body = if mode == "25 MiB" {
        large(LARGE)
    } else {
        b"hello\r\n.\r\n..\r\n".to_vec()
    };
    sample("interop", &body).octets
}

/// Gives the program what is to go on.
fn hand_over(mode: &str, server: &Server) {
    let mut dialogue = Dialogue::open(server.address());
    dialogue.wait_at_most(PATIENCE);
    let message = letter(mode);
    match mode {
        "SMTPUTF8" | "DSN" => {
            let (mail, rcpt) = match mode {
                "DSN" => (
                    "MAIL FROM:<bob@local.example> RET=HDRS ENVID=x",
                    "RCPT TO:<r0@remote.example> NOTIFY=SUCCESS ORCPT=rfc822;r0@remote.example",
                ),
                _ => (
                    "MAIL FROM:<bob@local.example> SMTPUTF8 BODY=8BITMIME",
                    "RCPT TO:<gr\u{fc}n@remote.example>",
                ),
            };
            assert_eq!(dialogue.ask(mail).code, 250);
            assert_eq!(dialogue.ask(rcpt).code, 250);
            assert_eq!(dialogue.ask("DATA").code, 354);
            dialogue.send(&stuffed(&message));
            assert_eq!(dialogue.answer().code, 250);
        }
        _ => {
            let to = addresses(mode, "remote.example");
            let to: Vec<&str> = to.iter().map(String::as_str).collect();
            for _ in 0..if mode == "40 at once" { MANY } else { 1 } {
                let answer = dialogue.deliver("bob@local.example", &to, &message);
                assert_eq!(answer.code, 250, "{answer:?}");
            }
        }
    }
}
