//! The example exchanges of the RFCs, from the shared vectors, with our mechanisms.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout
)]

use posthaste::authenticate::mechanism::scram::Stored;
use posthaste::authenticate::mechanism::{Channel, Exchange, Mechanism, Step};
use posthaste::authenticate::name::Password;
use posthaste::authenticate::secret::cram_md5::Key;
use posthaste::authenticate::secret::scram::{Keys, Salt};
use serde_json::Value;

const VECTORS: &str = "../../../shared/vectors/sasl/rfc-examples.json";

fn vectors() -> Option<Value> {
    let file = std::env::var("POSTHASTE_VECTORS").map_or_else(
        |_| VECTORS.to_string(),
        |dir| format!("{dir}/sasl/rfc-examples.json"),
    );
    match std::fs::read(&file) {
        Ok(octets) => Some(serde_json::from_slice(&octets).unwrap()),
        Err(e) => {
            println!("SKIP sasl: {file}: {e}");
            None
        }
    }
}

fn text(step: &Step) -> &str {
    match step {
        Step::Challenge(octets) => std::str::from_utf8(octets).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn scram_sha_256_as_in_rfc_7677() {
    let Some(vectors) = vectors() else { return };
    let example = &vectors["scram_sha256_rfc7677_s3"];
    let said = |key: &str| example[key].as_str().unwrap();
    let (first, challenge) = (said("client_first"), said("server_first"));
    let part = |n: usize| &challenge.split(',').nth(n).unwrap()[2..];
    let nonce = part(0)
        .strip_prefix(first.rsplit("r=").next().unwrap())
        .unwrap();
    let keys = format!(
        "{},{},{empty},{empty}",
        part(2),
        part(1),
        empty = "A".repeat(43) + "="
    );
    let Salt { iterations, octets } = Keys::parse(&keys).unwrap().salt;
    let keys = Keys::derive(said("password").as_bytes(), Salt { iterations, octets });
    let channel = Channel::default();
    let (mechanism, initial) = (Mechanism::ScramSha256, Some(first.as_bytes()));
    let (mut exchange, _) = Exchange::begin(mechanism, initial, &channel, "");
    let known = true;
    let step = exchange.scram(
        Stored {
            keys: vec![keys],
            known,
        },
        nonce,
    );
    assert_eq!(text(&step), challenge);
    let step = exchange.respond(said("client_final").as_bytes(), &channel);
    assert_eq!(text(&step), said("server_final"));
    assert!(matches!(exchange.respond(b"", &channel), Step::Proven(..)));
}

#[test]
fn cram_md5_as_in_rfc_2195() {
    let Some(vectors) = vectors() else { return };
    let example = &vectors["cram_md5_rfc2195_s2"];
    let said = |key: &str| example[key].as_str().unwrap();
    let channel = Channel::default();
    let unique = said("challenge");
    let (mut exchange, _) = Exchange::begin(Mechanism::CramMd5, None, &channel, unique);
    let step = exchange.respond(said("response").as_bytes(), &channel);
    let Step::Digest(claimed, challenge, digest) = step else {
        panic!()
    };
    assert_eq!(claimed.shown(), said("user"));
    assert!(Key::derive(said("password").as_bytes()).answers(&challenge, &digest));
}

#[test]
fn plain_as_in_rfc_4616() {
    let Some(vectors) = vectors() else { return };
    for example in vectors["plain_rfc4616_s4"].as_array().unwrap() {
        let said = |key: &str| example[key].as_str().unwrap();
        let (acting, user) = (said("authzid"), said("authcid"));
        let message = format!("{acting}\0{user}\0{}", said("password"));
        let initial = Some(message.as_bytes());
        let (_, step) = Exchange::begin(Mechanism::Plain, initial, &Channel::default(), "");
        match step {
            Step::Password(claimed, password) if acting.is_empty() => {
                assert_eq!(claimed.shown(), user.to_lowercase());
                assert_eq!(password, Password::new(said("password").as_bytes()));
            }
            // Nobody may act for another user here.
            Step::Wrong(..) if !acting.is_empty() => {}
            other => panic!("{other:?}"),
        }
    }
}
