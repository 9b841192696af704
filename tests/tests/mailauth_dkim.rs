//! DKIM against implementations that nobody here wrote: what we sign holds for them, what they sign
//! holds for us, and what was changed on the way holds for none.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::time::{Duration, SystemTime};

use posthaste_mailauth::dkim::{self, PrivateKey, Service, Signer, Signing};
use posthaste_mailauth::{Verdict, Verifier};
use posthaste_message::header::Scan;
use posthaste_tests::generated::{broken, changed, message};
use posthaste_tests::peer::Tree;
use posthaste_tests::peer::dkim::{IMPLEMENTATIONS, Implementation, Keys};
use posthaste_world::dns::{Answer, Data, Found, Security};

/// Messages in each direction and for each implementation.
const MESSAGES: u64 = 1_000;

/// Our keys, in our form and in that of others.
struct Pair {
    rsa: PrivateKey,
    ed25519: PrivateKey,
    keys: Keys,
}

impl Pair {
    fn new() -> Self {
        let rsa = PrivateKey::generate_rsa_2048().unwrap();
        let ed25519 = PrivateKey::generate_ed25519().unwrap();
        let keys = Keys {
            private: [rsa.to_pem().unwrap(), ed25519.to_pem().unwrap()],
            records: [rsa.public_record(), ed25519.public_record()],
        };
        Pair { rsa, ed25519, keys }
    }

    /// The message with an RSA and an Ed25519 signature of ours on top.
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let (mut scan, mut signer) = (Scan::new(), Signer::new());
        scan.push(message);
        signer.push(message, scan.facts());
        let signing = Signing {
            domain: "example.org",
            keys: &[("r", &self.rsa), ("e", &self.ed25519)],
            now_s: now_s(),
            lifetime_s: Some(86_400),
        };
        let fields = signer.finish(&scan.finish(), b"", &signing).unwrap();
        [fields.as_bytes(), message].concat()
    }

    /// Whether each signature of a message holds.
    fn verify(&self, message: &[u8]) -> Vec<dkim::Finding> {
        let (mut scan, mut verifier) = (Scan::new(), Verifier::new(now_s()));
        for piece in message.chunks(1_000) {
            scan.push(piece);
            verifier.push(piece, scan.facts());
        }
        verifier.end(&scan.finish());
        let mut keys = dkim::Keys::default();
        for name in verifier.key_names().unwrap() {
            keys.add(name, Ok(&self.answer(name)));
        }
        verifier.judge(&keys, Service::Email).dkim
    }

    fn answer(&self, name: &str) -> Answer {
        let text = match name {
            "r._domainkey.example.org" => Some(&self.keys.records[0]),
            "e._domainkey.example.org" => Some(&self.keys.records[1]),
            _ => None,
        };
        let data = text.map(|text| Data::Txt(text.clone().into_bytes()));
        Answer {
            found: data.map_or(Found::NxDomain, |data| Found::Records(vec![data])),
            canonical: name.to_owned(),
            security: Security::Insecure,
            ttl: Duration::ZERO,
        }
    }
}

fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs()
}

fn holds(findings: &[dkim::Finding]) -> Vec<bool> {
    findings
        .iter()
        .map(|f| f.verdict == Verdict::Pass)
        .collect()
}

/// What an implementation says, of the signatures that it knows.
fn known(peer: &Implementation, findings: &[dkim::Finding], verdicts: &[bool]) -> Vec<bool> {
    assert_eq!(findings.len(), verdicts.len());
    let pairs = findings.iter().zip(verdicts);
    pairs
        .filter(|(finding, _)| peer.ed25519 || finding.algorithm != "ed25519-sha256")
        .map(|(_, verdict)| *verdict)
        .collect()
}

/// Runs `check` with each implementation; all are one tree.
fn with_each(check: impl Fn(&Implementation, &Tree, &Pair)) {
    let Some(tree) = Tree::require("dkim") else {
        return;
    };
    let pair = Pair::new();
    for peer in &IMPLEMENTATIONS {
        check(peer, &tree, &pair);
    }
}

#[test]
fn what_we_sign_holds_for_each_and_what_was_broken_for_none() {
    with_each(|peer, tree, pair| {
        let signed: Vec<Vec<u8>> = (0..MESSAGES).map(|i| pair.sign(&message(i))).collect();
        let verdicts = peer.verify(tree, &pair.keys, &signed);
        let (mut held, mut broke) = (0, 0);
        for (message, verdicts) in signed.iter().zip(&verdicts) {
            let findings = pair.verify(message);
            assert_eq!(holds(&findings), [true, true]);
            let known = known(peer, &findings, verdicts);
            let text = String::from_utf8_lossy(message);
            assert!(
                known.iter().all(|&held| held),
                "{} {known:?}\n{text}",
                peer.name
            );
            held += known.len();
        }
        let signed = (0..).zip(&signed);
        let tampered: Vec<Vec<u8>> = signed.map(|(i, m)| broken(i, m)).collect();
        let verdicts = peer.verify(tree, &pair.keys, &tampered);
        for (message, verdicts) in tampered.iter().zip(&verdicts) {
            let findings = pair.verify(message);
            assert_eq!(holds(&findings), [false, false]);
            let text = String::from_utf8_lossy(message);
            assert!(
                !verdicts.contains(&true),
                "{} {verdicts:?}\n{text}",
                peer.name
            );
            broke += verdicts.len();
        }
        println!(
            "{}: {held} signatures of ours hold, {broke} broken ones do not",
            peer.name
        );
    });
}

#[test]
fn what_each_signs_holds_for_us_and_what_was_broken_does_not() {
    with_each(|peer, tree, pair| {
        let messages: Vec<Vec<u8>> = (0..MESSAGES).map(message).collect();
        let signed = peer.sign(tree, &pair.keys, &messages);
        for message in &signed {
            let findings = pair.verify(message);
            let text = String::from_utf8_lossy(message);
            assert_eq!(
                holds(&findings),
                [true],
                "{}: {findings:?}\n{text}",
                peer.name
            );
        }
        let numbered = (0..).zip(&signed);
        let tampered: Vec<Vec<u8>> = numbered.map(|(i, m)| broken(i, m)).collect();
        let verdicts = peer.verify(tree, &pair.keys, &tampered);
        for (message, verdicts) in tampered.iter().zip(&verdicts) {
            let text = String::from_utf8_lossy(message);
            assert_eq!(holds(&pair.verify(message)), [false], "{text}");
            assert_eq!(verdicts, &[false], "{}\n{text}", peer.name);
        }
        let count = signed.len();
        println!(
            "{}: {count} of its signatures hold for us, {count} broken ones do not",
            peer.name
        );
    });
}

/// Where we refuse what one of the others takes, with the rule that says so. None of them takes
/// what another of these rules forbids.
const STRICTER: [(&str, &str); 1] = [
    // The data of `b=` is base64 and white space, and nothing else.
    ("the signature (b=) is not base64", "RFC 6376 §3.5"),
];

#[test]
fn after_a_change_at_random_we_say_what_each_says() {
    with_each(|peer, tree, pair| {
        let messages: Vec<Vec<u8>> = (0..MESSAGES / 2).map(message).collect();
        let signed = peer.sign(tree, &pair.keys, &messages);
        let ours = (0..).zip(messages.iter().map(|m| pair.sign(m)));
        let mut all: Vec<Vec<u8>> = ours.map(|(i, m)| changed(i, &m)).collect();
        all.extend((MESSAGES..).zip(&signed).map(|(i, m)| changed(i, m)));
        // Where the header block ends at a line that is no field is not a question of DKIM.
        all.retain(|message| {
            let mut scan = Scan::new();
            scan.push(message);
            !scan.facts().malformed
        });
        let verdicts = peer.verify(tree, &pair.keys, &all);
        let mut counts = Counts::default();
        for (message, verdicts) in all.iter().zip(&verdicts) {
            compare(peer, &pair.verify(message), verdicts, &mut counts);
        }
        println!("{}: {counts:?}", peer.name);
        assert!(counts.both_hold > 100 && counts.both_reject > 100);
        assert!(counts.whole_message_refused < all.len() / 5);
    });
}

/// How often what was said of a signature.
#[derive(Debug, Default)]
struct Counts {
    both_hold: usize,
    both_reject: usize,
    we_are_stricter: usize,
    whole_message_refused: usize,
    listed_differently: usize,
}

fn stricter(finding: &dkim::Finding) -> bool {
    STRICTER.iter().any(|(reason, _)| *reason == finding.reason)
}

fn compare(
    peer: &Implementation,
    findings: &[dkim::Finding],
    verdicts: &[bool],
    counts: &mut Counts,
) {
    // Some refuse a whole message for one malformed signature (RFC 6376 §6.1 has each judged for
    // itself), or for white space before a colon (obsolete, but to be read: RFC 5322 §4.5).
    if verdicts.is_empty() {
        counts.whole_message_refused += 1;
        return;
    }
    // Some do not list a signature that they cannot read.
    if verdicts.len() != findings.len() {
        let ours = |f: &&dkim::Finding| f.verdict == Verdict::Pass || stricter(f);
        let ours = findings.iter().filter(ours).count();
        let theirs = verdicts.iter().filter(|&&held| held).count();
        assert!(theirs <= ours, "{}: {verdicts:?} {findings:?}", peer.name);
        counts.listed_differently += 1;
        return;
    }
    let others = known(peer, findings, verdicts);
    let ours = findings.iter();
    let ours = ours.filter(|f| peer.ed25519 || f.algorithm != "ed25519-sha256");
    for (finding, theirs) in ours.zip(others) {
        match (finding.verdict == Verdict::Pass, theirs) {
            (true, true) => counts.both_hold += 1,
            (false, false) => counts.both_reject += 1,
            (false, true) if stricter(finding) => counts.we_are_stricter += 1,
            _ => panic!("{}: {theirs} {finding:?}", peer.name),
        }
    }
}
