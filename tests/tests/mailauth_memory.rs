//! What a large message costs in memory while it is signed and verified. A test of its own, because
//! it measures its process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::fs;
use std::time::Duration;

use posthaste_mailauth::dkim::{Keys, PrivateKey, Service, Signer, Signing};
use posthaste_mailauth::{Verdict, Verifier};
use posthaste_message::header::Scan;
use posthaste_tests::messages;
use posthaste_world::dns::{Answer, Data, Found, Security};

const MIB: usize = 1024 * 1024;
/// Mebibytes of the message.
const SIZE: usize = 50;
/// Most that signing and verifying together may add to the process.
const LIMIT_KIB: usize = 2 * 1024;
/// Octets that come at once.
const PIECE: usize = 64 * 1024;
const HEADER: &str = "From: a@example.org\r\nTo: b@example.net\r\nSubject: large\r\n\r\n";

/// A number of kibibytes in the process's own account of itself.
fn kib(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Pushes the message, below `fields`, in pieces. One mebibyte is there; it comes again and again.
fn stream(fields: &str, mebibyte: &[u8], mut push: impl FnMut(&[u8], &Scan)) -> Scan {
    let mut scan = Scan::new();
    let header = format!("{fields}{HEADER}");
    let body = std::iter::repeat_n(mebibyte, SIZE).flat_map(|m| m.chunks(PIECE));
    for piece in std::iter::once(header.as_bytes()).chain(body) {
        scan.push(piece);
        push(piece, &scan);
    }
    scan
}

fn sign(key: &PrivateKey, mebibyte: &[u8]) -> String {
    let mut signer = Signer::new();
    let scan = stream("", mebibyte, |piece, scan| signer.push(piece, scan.facts()));
    let signing = Signing {
        domain: "example.org",
        keys: &[("s", key)],
        now_s: 1_700_000_000,
        lifetime_s: None,
    };
    signer.finish(&scan.finish(), b"", &signing).unwrap()
}

fn verify(key: &PrivateKey, fields: &str, mebibyte: &[u8]) -> Verdict {
    let mut verifier = Verifier::new(1_700_000_000);
    let scan = stream(fields, mebibyte, |piece, scan| {
        verifier.push(piece, scan.facts())
    });
    verifier.end(&scan.finish());
    let mut keys = Keys::default();
    let answer = Answer {
        found: Found::Records(vec![Data::Txt(key.public_record().into_bytes())]),
        canonical: String::new(),
        security: Security::Insecure,
        ttl: Duration::ZERO,
    };
    keys.add("s._domainkey.example.org", Ok(&answer));
    verifier.judge(&keys, Service::Email).dkim[0].verdict
}

#[test]
fn fifty_mebibytes_are_signed_and_verified_in_less_than_two() {
    let key = PrivateKey::generate_rsa_2048().unwrap();
    let mut mebibyte = messages::large(MIB);
    mebibyte.truncate(MIB);
    // The peak so far is forgotten, so that the next one is ours.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = kib("VmRSS");
    let fields = sign(&key, &mebibyte);
    assert_eq!(verify(&key, &fields, &mebibyte), Verdict::Pass);
    let more = kib("VmHWM").saturating_sub(before);
    println!("{SIZE} MiB signed and verified: {more} KiB more than before");
    assert!(more <= LIMIT_KIB, "{more} KiB");
}
