//! Real next hops over TLS, and logins to them: servers that nobody here wrote, with certificates
//! of an authority that the program trusts. OpenSMTPD is not among them: Debian's 6.8 finishes no
//! handshake with the OpenSSL it is built with, whoever the client is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use posthaste_tests::client::Dialogue;
use posthaste_tests::messages::{Sample, samples};
use posthaste_tests::peer::{Dovecot, Exim, Keys, Postfix};
use posthaste_tests::server::Server;
use posthaste_tests::{SOON, free_address, mailbox, until};
use serde_json::Value;

/// A verified route to a peer at this port of `localhost`.
fn route(scheme: &str, address: SocketAddr, more: &str) -> String {
    format!(
        "[[route]]\nrecipients = [\"*\"]\nvia = \"{scheme}://localhost:{}\"\ntls = \"verify\"\n{more}",
        address.port()
    )
}

/// Gives every sample to the program and expects each in `maildir`, octet for octet, over verified
/// TLS.
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
    let records = server.records();
    let attempts = records.iter().filter(|record| record["event"] == "attempt");
    for attempt in attempts {
        assert_eq!(attempt["tls"]["peer"], "verified", "{attempt}");
        assert_eq!(attempt["tls"]["version"], "TLSv1.3", "{attempt}");
    }
}

#[test]
fn postfix_over_starttls_and_smtps() {
    let keys = Keys::new();
    for (scheme, more) in [("smtp", ""), ("smtps", "smtpd_tls_wrappermode = yes\n")] {
        let settings = keys.of_postfix() + more;
        let Some(postfix) = Postfix::start(free_address(), &settings) else {
            return;
        };
        let server = keys.start(&route(scheme, postfix.address, ""));
        every_sample_arrives(&server, "someone@remote.example", &postfix.maildir());
    }
}

#[test]
fn exim_over_starttls_and_smtps() {
    let keys = Keys::new();
    for scheme in ["smtp", "smtps"] {
        let address = free_address();
        let more = match scheme {
            "smtps" => format!("tls_on_connect_ports = {}\n", address.port()),
            _ => String::new(),
        };
        let Some(exim) = Exim::start(address, &(keys.of_exim() + &more)) else {
            return;
        };
        let server = keys.start(&route(scheme, exim.address, ""));
        every_sample_arrives(&server, "someone@remote.example", &exim.maildir());
    }
}

#[test]
fn dovecot_over_lmtp_with_starttls() {
    let keys = Keys::new();
    let settings = keys.of_dovecot();
    let Some(dovecot) = Dovecot::start_with(free_address(), &["carol"], &settings) else {
        return;
    };
    let server = keys.start(&route("lmtp", dovecot.address, ""));
    every_sample_arrives(&server, "carol@store.example", &dovecot.maildir("carol"));
}

/// Postfix asks Dovecot who may send.
struct Provider {
    postfix: Postfix,
    _dovecot: Dovecot,
}

impl Provider {
    /// One with these mechanisms.
    fn start(keys: &Keys, mechanisms: &str) -> Option<Provider> {
        let sasl = free_address();
        let settings = format!(
            "auth_mechanisms = {mechanisms}\nservice auth {{\n inet_listener {{\n  address = {}\n\
             \x20 port = {}\n }}\n}}\n",
            sasl.ip(),
            sasl.port()
        );
        let users = ["carol:{PLAIN}open sesame"];
        let dovecot = Dovecot::start_with(free_address(), &users, &settings)?;
        posthaste_tests::wait_for_listener("dovecot's auth", sasl);
        let settings = keys.of_postfix()
            + &format!(
                "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\n\
                 smtpd_sasl_path = inet:{sasl}\nsmtpd_tls_auth_only = yes\n\
                 smtpd_sasl_authenticated_header = yes\n\
                 smtpd_relay_restrictions = permit_sasl_authenticated, reject\n\
                 smtpd_recipient_restrictions = permit_sasl_authenticated, reject\n"
            );
        let postfix = Postfix::start(free_address(), &settings)?;
        Some(Provider {
            postfix,
            _dovecot: dovecot,
        })
    }
}

/// The program, that logs in to a provider with this password.
fn logging_in(keys: &Keys, provider: &Provider, password: &str) -> Server {
    let path = keys.path("password");
    std::fs::write(&path, format!("{password}\n")).unwrap();
    // `nobody`, whom the program becomes, need not read it.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let login = format!("user = \"carol\"\npassword_file = \"{path}\"\n");
    keys.start(&route("smtp", provider.postfix.address, &login))
}

fn send(server: &Server) {
    let mut dialogue = Dialogue::open(server.address());
    let message = b"Subject: with a password\r\n\r\nx\r\n";
    let answer = dialogue.deliver("bob@local.example", &["x@remote.example"], message);
    assert_eq!(answer.code, 250);
}

#[test]
fn postfix_takes_each_mechanism_that_we_have() {
    let keys = Keys::new();
    for mechanisms in [
        "plain login cram-md5 scram-sha-256",
        "plain",
        "login",
        "cram-md5",
    ] {
        let Some(provider) = Provider::start(&keys, mechanisms) else {
            return;
        };
        let server = logging_in(&keys, &provider, "open sesame");
        send(&server);
        let found = mailbox::wait(&provider.postfix.maildir(), 1, SOON);
        let message = String::from_utf8_lossy(&found[0]);
        assert!(
            message.contains("(Authenticated sender: carol)"),
            "{mechanisms}: {message}"
        );
        let best = mechanisms.split(' ').next_back().unwrap().to_uppercase();
        let said = provider.postfix.said().to_uppercase();
        assert!(said.contains(&format!("SASL_METHOD={best},")), "{said}");
    }
}

#[test]
fn mail_waits_while_postfix_refuses_the_password() {
    let keys = Keys::new();
    let Some(provider) = Provider::start(&keys, "plain scram-sha-256") else {
        return;
    };
    let server = logging_in(&keys, &provider, "wrong");
    send(&server);
    let told = server.record("a deferral", |record: &Value| {
        record["event"] == "recipient"
    });
    assert_eq!(told["outcome"], "deferred", "{told}");
    let reply = told["reply"].as_str().unwrap();
    assert!(
        reply.starts_with("451 4.7.8 ") && reply.contains(": 535 5.7.8 "),
        "{reply}"
    );
    assert!(!reply.contains("wrong"), "{reply}");
}

#[test]
fn no_password_goes_to_a_postfix_that_is_not_who_it_should_be() {
    let (keys, others) = (Keys::new(), Keys::new());
    let Some(provider) = Provider::start(&others, "plain login") else {
        return;
    };
    let server = logging_in(&keys, &provider, "open sesame");
    send(&server);
    let told = server.record("a deferral", |record: &Value| {
        record["event"] == "recipient"
    });
    let reply = told["reply"].as_str().unwrap();
    assert!(
        reply.starts_with("451 4.7.5 ") && reply.contains("issuer is not trusted"),
        "{reply}"
    );
    let said = provider.postfix.said();
    assert!(!said.contains("SASL") && !said.contains("sasl_"), "{said}");
}
