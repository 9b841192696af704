//! `posthaste verify`, as an operator and a script use it, against a real DNS server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::path::Path;
use std::process::Command;

use posthaste_mailauth::dkim::{PrivateKey, Signer, Signing};
use posthaste_message::header::Scan;
use posthaste_tests::peer::Nsd;
use posthaste_tests::server::program;
use serde_json::Value;

const MESSAGE: &str = "From: Alice <alice@bank.example>\r\nTo: bob@example.org\r\nSubject: hi\r\n\
    Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@bank.example>\r\n\r\nhello\r\n";
/// 2026-11-23T10:00:00Z.
const SIGNED_S: u64 = 1_795_428_000;

fn signed(key: &PrivateKey, message: &str) -> String {
    let (mut scan, mut signer) = (Scan::new(), Signer::new());
    scan.push(message.as_bytes());
    signer.push(message.as_bytes(), scan.facts());
    let signing = Signing {
        domain: "bank.example",
        keys: &[("s1", key)],
        now_s: SIGNED_S,
        lifetime_s: None,
    };
    let field = signer.finish(&scan.finish(), b"", &signing).unwrap();
    field + message
}

fn zone(key: &PrivateKey) -> String {
    format!(
        "bank.example. TXT \"v=spf1 ip4:192.0.2.1 -all\"\n\
         _dmarc.bank.example. TXT \"v=DMARC1; p=reject\"\n\
         s1._domainkey.bank.example. TXT \"{}\"\n\
         mx.bank.example. A 192.0.2.1\n",
        key.public_record()
    )
}

/// Runs the command with a message in a file.
fn verify(dns: &Nsd, options: &[&str], message: &str) -> (String, bool) {
    let folder = posthaste_tests::folder();
    let file = folder.path().join("message");
    std::fs::write(&file, message).unwrap();
    let nowhere = Path::new("/nonexistent/posthaste.toml");
    let done = Command::new(program())
        .arg("verify")
        .arg("--config")
        .arg(nowhere)
        .args(["--dns", &dns.address.to_string()])
        .args(["--now", "2026-11-23T11:00:00Z"])
        .args(options)
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    (text, done.status.success())
}

fn json(dns: &Nsd, options: &[&str], message: &str) -> Value {
    let mut words = vec!["--json"];
    words.extend(options);
    serde_json::from_str(&verify(dns, &words, message).0).unwrap()
}

const HONEST: [&str; 6] = [
    "--ip",
    "192.0.2.1",
    "--helo",
    "mx.bank.example",
    "--mail-from",
    "alice@bank.example",
];
const SPOOFED: [&str; 6] = [
    "--ip",
    "198.51.100.7",
    "--helo",
    "evil.example",
    "--mail-from",
    "<alice@bank.example>",
];

#[test]
fn a_signed_message_from_the_right_host_passes_everything() {
    let key = PrivateKey::generate_ed25519().unwrap();
    let Some(dns) = Nsd::start(&zone(&key)) else {
        return;
    };
    let told = json(&dns, &HONEST, &signed(&key, MESSAGE));
    assert_eq!(told["spf"][0]["identity"], "helo");
    assert_eq!(told["spf"][0]["result"], "none");
    assert_eq!(told["spf"][1]["identity"], "mailfrom");
    assert_eq!(told["spf"][1]["domain"], "bank.example");
    assert_eq!(told["spf"][1]["result"], "pass");
    assert_eq!(told["dkim"][0]["result"], "pass");
    assert_eq!(told["dkim"][0]["selector"], "s1");
    assert_eq!(told["dkim"][0]["algorithm"], "ed25519-sha256");
    assert_eq!(told["arc"]["result"], "none");
    assert_eq!(told["arc"]["chain_length"], 0);
    assert_eq!(told["dmarc"]["result"], "pass");
    assert_eq!(told["dmarc"]["policy"], "reject");
    assert_eq!(told["dmarc"]["disposition"], "none");
    let field = told["authentication_results"].as_str().unwrap();
    for part in ["spf=pass", "dkim=pass", "dmarc=pass"] {
        assert!(field.contains(part), "{field}");
    }
}

#[test]
fn a_spoofed_message_fails_and_the_text_says_why_line_by_line() {
    let key = PrivateKey::generate_ed25519().unwrap();
    let Some(dns) = Nsd::start(&zone(&key)) else {
        return;
    };
    let told = json(&dns, &SPOOFED, MESSAGE);
    assert_eq!(told["spf"][1]["result"], "fail");
    assert_eq!(told["dkim"], serde_json::json!([]));
    assert_eq!(told["dmarc"]["result"], "fail");
    assert_eq!(told["dmarc"]["policy"], "reject");
    assert_eq!(told["dmarc"]["disposition"], "quarantine");
    let (text, _) = verify(&dns, &SPOOFED, MESSAGE);
    for line in [
        "Authentication-Results: ",
        "spf mailfrom bank.example: fail: ",
        "dkim: none: ",
        "arc: none: ",
        "dmarc bank.example: fail: ",
        "  the owner asks for reject, done is quarantine",
    ] {
        assert!(text.lines().any(|l| l.starts_with(line)), "{line}\n{text}");
    }
}

#[test]
fn a_changed_message_fails_and_a_unix_file_is_judged_as_it_would_arrive() {
    let key = PrivateKey::generate_ed25519().unwrap();
    let Some(dns) = Nsd::start(&zone(&key)) else {
        return;
    };
    let changed = signed(&key, MESSAGE).replace("hello", "hell0");
    assert_eq!(json(&dns, &[], &changed)["dkim"][0]["result"], "fail");
    let unix = signed(&key, MESSAGE).replace("\r\n", "\n");
    assert_eq!(json(&dns, &[], &unix)["dkim"][0]["result"], "pass");
}

#[test]
fn an_unusable_option_is_an_error_that_says_what_to_write() {
    let done = Command::new(program())
        .args(["verify", "--dns", "nonsense"])
        .output()
        .unwrap();
    assert!(!done.status.success());
    let text = String::from_utf8(done.stderr).unwrap();
    assert!(text.contains("127.0.0.1:5353"), "{text}");
}

#[test]
fn it_judges_by_the_configuration_of_the_server() {
    let key = PrivateKey::generate_ed25519().unwrap();
    let Some(dns) = Nsd::start(&zone(&key)) else {
        return;
    };
    let disposition = |keys: &str| {
        let folder = posthaste_tests::folder();
        let (file, config) = (folder.path().join("m"), folder.path().join("c.toml"));
        std::fs::write(&file, MESSAGE).unwrap();
        std::fs::write(&config, posthaste_tests::setup::with(keys)).unwrap();
        let done = Command::new(program())
            .args(["verify", "--json", "--dns", &dns.address.to_string()])
            .arg("--config")
            .arg(&config)
            .args(SPOOFED)
            .arg(&file)
            .output()
            .unwrap();
        let told: Value = serde_json::from_slice(&done.stdout).unwrap();
        told["dmarc"]["disposition"].as_str().unwrap().to_owned()
    };
    assert_eq!(disposition(""), "quarantine");
    assert_eq!(disposition("[dmarc]\npolicy = \"reject\""), "reject");
    assert_eq!(disposition("[dmarc]\npolicy = \"none\""), "none");
    let exempt = "[dmarc]\npolicy = \"reject\"\nexempt_networks = \"198.51.100.0/24\"";
    assert_eq!(disposition(exempt), "none");
}
