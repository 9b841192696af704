//! testssl.sh looks at every kind of listener, and its findings are kept in `target/interop`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, clippy::print_stdout, missing_docs)]

use posthaste_tests::peer::Tree;
use posthaste_tests::server::{Server, told};
use posthaste_tests::tls::Authority;
use posthaste_tests::{root, setup};
use serde_json::Value;

const CERTIFICATE: &str = "[tls]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n";

/// Severities that a finding may have.
const HARMLESS: [&str; 4] = ["OK", "INFO", "LOW", "DEBUG"];

/// What comes of the tests' own authority: nobody outside trusts it, and it publishes no
/// revocations.
const OWN_AUTHORITY: [&str; 2] = ["cert_chain_of_trust", "cert_revocation"];

/// What testssl.sh says of itself and not of the server: that its OpenSSL has no engines, and that
/// it cannot tell whether a session was resumed. For that it compares the octets of both
/// directions, and with STARTTLS it counts our list of extensions among them.
const ITSELF: [&str; 2] = ["engine_problem", "sessionresumption_ticket"];

/// Lets testssl.sh look at a listener whose keys are `listener`, with `words` to reach it.
fn nothing_above_low(name: &str, listener: &str, words: &str) {
    let Some(tree) = Tree::require("testssl") else {
        return;
    };
    let base = setup::BASE.replace("service = \"mx\"\ntls = \"none\"\n", listener);
    let mut server = Server::with(&format!("{base}\n{CERTIFICATE}"));
    let authority = Authority::new();
    authority.certify(server.dir(), "a", &["mx.local.example"]);
    server.run();

    let kept = root().join("target/interop");
    std::fs::create_dir_all(&kept).unwrap();
    let file = |suffix: &str| {
        let path = kept.join(format!("testssl-{name}.{suffix}"));
        // It never writes over what is there.
        let _ = std::fs::remove_file(&path);
        path
    };
    let (json, log) = (file("json"), file("log"));
    let script = format!(
        "exec testssl --quiet --color 0 --warnings off --nodns none --ip 127.0.0.1 \
         --jsonfile \"$2\" --logfile \"$3\" {words} mx.local.example:$1"
    );
    let port = server.address().port().to_string();
    let told = told(&mut tree.command(
        &script,
        &[&port, json.to_str().unwrap(), log.to_str().unwrap()],
    ));
    let findings = std::fs::read_to_string(&json)
        .unwrap_or_else(|fault| panic!("{fault}: {}\n{}", told.out, told.err));
    let findings: Vec<Value> = serde_json::from_str(&findings).unwrap();
    assert_looked(&findings);
    let bad: Vec<_> = findings.iter().filter(|f| !is_fine(f)).collect();
    println!(
        "testssl {name}: {} findings, {} above LOW",
        findings.len(),
        bad.len()
    );
    assert!(bad.is_empty(), "{bad:#?}");
}

/// A run that did not get through would find nothing wrong.
fn assert_looked(findings: &[Value]) {
    let said = |id: &str| {
        let found = findings.iter().find(|f| f["id"] == id);
        found.map(|f| f["finding"].as_str().unwrap_or_default().to_owned())
    };
    for (id, expected) in [
        ("TLS1", "not offered"),
        ("TLS1_1", "not offered"),
        ("TLS1_2", "offered"),
        ("TLS1_3", "offered"),
        ("heartbleed", "not vulnerable"),
        ("secure_client_renego", "not vulnerable"),
        ("LUCKY13", "not vulnerable"),
    ] {
        let finding = said(id).unwrap_or_else(|| panic!("nothing about {id}"));
        // It says "likely" when its time was up before the server's answer.
        let sure = finding.trim_start_matches("likely ");
        assert!(sure.starts_with(expected), "{id}: {finding}");
    }
}

fn is_fine(finding: &Value) -> bool {
    let text = |key: &str| finding[key].as_str().unwrap_or_default();
    let id = text("id");
    HARMLESS.contains(&text("severity")) || OWN_AUTHORITY.contains(&id) || ITSELF.contains(&id)
}

#[test]
fn testssl_finds_nothing_above_low_on_starttls_for_servers() {
    nothing_above_low("mx", "service = \"mx\"\n", "--starttls smtp");
}

#[test]
fn testssl_finds_nothing_above_low_on_starttls_for_submission() {
    nothing_above_low(
        "submission",
        "service = \"submission\"\n",
        "--starttls smtp",
    );
}

#[test]
fn testssl_finds_nothing_above_low_on_implicit_tls() {
    let listener = "service = \"submission\"\ntls = \"implicit\"\n";
    nothing_above_low("implicit", listener, "");
}
