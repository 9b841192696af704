//! Certificates from a real authority: Pebble, by Let's Encrypt, which checks names through a DNS
//! server of the test.

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
use posthaste_tests::peer::Pebble;
use posthaste_tests::server::Server;
use posthaste_tests::tls::Authority;
use posthaste_tests::{SOON, free_address, setup, until};
use serde_json::Value;

/// Where the names of the tests are.
const NAMES: &str = "mx.local.example. A 127.0.0.1\nmail.local.example. A 127.0.0.1";

/// A server that asks `pebble`, and waits for it at `at`; more keys of `[tls.acme]` follow.
fn asking(pebble: &Pebble, at: SocketAddr, more: &str) -> String {
    let clear = "tls = \"none\"\n";
    assert!(setup::BASE.contains(clear));
    format!(
        "{}\n[tls.acme]\naccept_terms = true\ncontact = \"alice@local.example\"\n\
         directory = \"{}\"\nca = \"{}\"\naddress = \"{at}\"\n{more}\n",
        setup::BASE.replace(clear, ""),
        pebble.directory(),
        pebble.root().display(),
    )
}

/// The record of a certificate that came from the authority.
fn given(record: &Value) -> bool {
    let file = record["file"].as_str().unwrap_or_default();
    record["event"] == "certificate" && file.ends_with("acme/certificate.pem")
}

/// The record of what went wrong with the authority.
fn failed(server: &Server) -> Value {
    server.record("the fault", |record| {
        let doing = record["doing"].as_str().unwrap_or_default();
        record["event"] == "fault" && doing.starts_with("getting a certificate from")
    })
}

fn state(server: &Server) -> Value {
    let file = server.dir().join("data/acme/state.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// The certificate that STARTTLS shows, whoever it is from.
fn shown(server: &Server) -> Vec<u8> {
    let mut command = std::process::Command::new("openssl");
    command.args([
        "s_client",
        "-starttls",
        "smtp",
        "-servername",
        "mx.local.example",
    ]);
    command.args(["-showcerts", "-connect", &server.address().to_string()]);
    posthaste_tests::server::told(&mut command).out.into_bytes()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_first_certificate_comes_by_http_and_is_served_at_once() {
    let Some(pebble) = Pebble::start(NAMES) else {
        return;
    };
    let more = "names = [\"mx.local.example\", \"mail.local.example\"]";
    let mut server = Server::start(&asking(&pebble, pebble.http, more));
    let record = server.record("the certificate", given);
    assert_eq!(
        record["names"],
        serde_json::json!(["mx.local.example", "mail.local.example"])
    );
    assert_eq!(record["state"], "valid");
    let shows = String::from_utf8(shown(&server)).unwrap();
    assert!(
        shows.contains("issuer=CN = Pebble") || shows.contains("issuer=CN=Pebble"),
        "{shows}"
    );
    let folder = server.dir().join("data/acme");
    assert_eq!(mode(&folder), 0o700);
    for file in ["account.json", "certificate.pem", "key.pem", "state.json"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
    // A restart serves what there is and asks for nothing.
    let certificate = std::fs::read(folder.join("certificate.pem")).unwrap();
    let account = std::fs::read(folder.join("account.json")).unwrap();
    let before = state(&server);
    assert!(server.stop().success());
    server.run();
    server.record("the same certificate", given);
    assert_eq!(
        std::fs::read(folder.join("certificate.pem")).unwrap(),
        certificate
    );
    assert_eq!(std::fs::read(folder.join("account.json")).unwrap(), account);
    assert_eq!(state(&server), before);
}

#[test]
fn a_certificate_that_soon_expires_is_renewed_while_sessions_go_on() {
    let Some(pebble) = Pebble::start(NAMES) else {
        return;
    };
    let more = "challenge = \"tls-alpn-01\"";
    let mut server = Server::with(&asking(&pebble, pebble.tls, more));
    // One that has eighty days of eighty-one is young; one for a name that is not asked for is
    // none; this one has lived two thirds of its life.
    let folder = server.dir().join("data/acme");
    std::fs::create_dir_all(&folder).unwrap();
    Authority::new().certify_for(&folder, "old", &["mx.local.example"], (60, 20));
    std::fs::rename(folder.join("old.pem"), folder.join("certificate.pem")).unwrap();
    std::fs::rename(folder.join("old.key"), folder.join("key.pem")).unwrap();
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&folder, everybody.clone()).unwrap();
    std::fs::set_permissions(server.dir().join("data"), everybody).unwrap();
    let old = std::fs::read(folder.join("certificate.pem")).unwrap();
    server.run();
    let mut dialogue = Dialogue::open(server.address());
    until("another certificate", SOON, || {
        let now = std::fs::read(folder.join("certificate.pem")).unwrap();
        (now != old).then_some(())
    });
    until("its record", SOON, || {
        (server.records().iter().filter(|r| given(r)).count() >= 2).then_some(())
    });
    assert_eq!(dialogue.ask("NOOP").code, 250);
    assert_eq!(state(&server)["failures"], 0);
    let shows = String::from_utf8(shown(&server)).unwrap();
    assert!(shows.contains("Pebble"), "{shows}");
}

#[test]
fn a_challenge_that_the_authority_does_not_find_is_said_and_not_repeated_soon() {
    let Some(pebble) = Pebble::start(NAMES) else {
        return;
    };
    // We wait at another address than the one where it comes by.
    let elsewhere = free_address();
    let mut server = Server::start(&asking(&pebble, elsewhere, ""));
    let fault = failed(&server);
    let cause = fault["cause"].as_str().unwrap();
    assert!(cause.contains("mx.local.example"), "{fault}");
    assert!(
        fault["cause"].as_str().unwrap().contains("port 80"),
        "{fault}"
    );
    let before = state(&server);
    assert_eq!(before["failures"], 1);
    let wait = before["not_before_s"].as_u64().unwrap() - before["attempted_s"].as_u64().unwrap();
    assert!((200..400).contains(&wait), "{before}");
    // Not by a restart either.
    assert!(server.stop().success());
    server.run();
    let mut dialogue = Dialogue::open(server.address());
    assert_eq!(dialogue.ask("NOOP").code, 250);
    assert_eq!(state(&server), before);
    // The operator mends it; a reload is a reason to try again.
    server.configure(&asking(&pebble, pebble.http, ""));
    server.signal("HUP");
    server.record("the certificate", given);
    assert_eq!(state(&server)["failures"], 0);
}

#[test]
fn an_authority_that_is_down_is_waited_for() {
    let Some(pebble) = Pebble::start(NAMES) else {
        return;
    };
    let at = pebble.http;
    let config = asking(&pebble, at, "");
    let down = config.replace(
        &pebble.directory(),
        &format!("https://localhost:{}/dir", free_address().port()),
    );
    let mut server = Server::start(&down);
    let fault = failed(&server);
    assert!(
        fault["cause"]
            .as_str()
            .unwrap()
            .contains("Connection refused"),
        "{fault}"
    );
    assert!(
        fault["cause"].as_str().unwrap().contains("tried again in"),
        "{fault}"
    );
    // Mail comes in meanwhile, with the server's own certificate.
    assert!(
        String::from_utf8(shown(&server))
            .unwrap()
            .contains("mx.local.example")
    );
    // An authority whose own certificate leads to no root that we know is as good as down.
    let stranger = Authority::new();
    std::fs::write(server.dir().join("stranger.pem"), stranger.pem()).unwrap();
    let root = pebble.root().display().to_string();
    server.configure(&config.replace(&root, "{dir}/stranger.pem"));
    server.signal("HUP");
    server.record("the distrust", |record| {
        record["event"] == "fault" && record["cause"].as_str().unwrap_or_default().contains("TLS")
    });
    assert!(!server.records().iter().any(given));
    server.configure(&config);
    server.signal("HUP");
    server.record("the certificate", given);
    assert!(server.stop().success());
}
