//! Chains of our own making, sealed by hand, and every rule of RFC 8617 §5.2 broken once.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste_mailauth::authentication_results::{AuthenticationResults, Results};
use posthaste_mailauth::{Verdict, arc};

use super::support::{Names, verify};

const REST: &str = "From: a@example.org\r\nSubject: x\r\n\r\nbody\r\n";

/// A key that seals, and the zone in which it is published.
struct Sealer(Ed25519KeyPair);

impl Sealer {
    fn new() -> Self {
        Sealer(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap())
    }

    fn names(&self) -> Names {
        use aws_lc_rs::signature::KeyPair as _;
        let record = format!("k=ed25519; p={}", STANDARD.encode(self.0.public_key()));
        let names = Names::default().with("s._domainkey.one.example", &record);
        names.with("s._domainkey.two.example", &record)
    }

    fn sign(&self, text: &str) -> String {
        let hash = digest(&SHA256, text.as_bytes());
        STANDARD.encode(self.0.sign(hash.as_ref()))
    }

    /// A chain of `sets` sets; `change` may rewrite a field before it is signed. Fields are written
    /// in their relaxed form, so that nothing here needs to know it.
    fn chain(&self, sets: u32, change: impl Fn(u32, &str, String) -> String) -> String {
        let (mut covered, mut block) = (String::new(), String::new());
        for i in 1..=sets {
            let domain = if i == 1 { "one.example" } else { "two.example" };
            let results = format!("arc-authentication-results:i={i}; {domain}; spf=pass");
            let results = change(i, "results", results);
            let body = STANDARD.encode(digest(&SHA256, b"body\r\n"));
            let signature = change(
                i,
                "signature",
                format!(
                    "arc-message-signature:i={i}; a=ed25519-sha256; c=relaxed/relaxed; \
                     d={domain}; s=s; h=from:subject; bh={body}; b="
                ),
            );
            let signed = format!("from:a@example.org\r\nsubject:x\r\n{signature}");
            let signature = format!("{signature}{}", self.sign(&signed));
            let cv = if i == 1 { "none" } else { "pass" };
            let seal = format!("arc-seal:i={i}; a=ed25519-sha256; d={domain}; s=s; cv={cv}; b=");
            let seal = change(i, "seal", seal);
            covered.push_str(&format!("{results}\r\n{signature}\r\n"));
            let seal = format!("{seal}{}", self.sign(&format!("{covered}{seal}")));
            covered.push_str(&format!("{seal}\r\n"));
            block = format!("{seal}\r\n{signature}\r\n{results}\r\n{block}");
        }
        format!("{block}{REST}")
    }
}

fn same(_: u32, _: &str, field: String) -> String {
    field
}

fn judge(message: &str) -> arc::Finding {
    verify(&Sealer::new().names(), message.as_bytes()).arc
}

#[test]
fn a_chain_passes_and_names_its_sealers_and_what_they_found() {
    for sets in [1, 2, 50] {
        let found = judge(&Sealer::new().chain(sets, same));
        assert_eq!(found.verdict, Verdict::Pass, "{}", found.reason);
        assert_eq!(found.chain_length, sets);
        assert_eq!(found.sealers.len(), usize::try_from(sets).unwrap());
        let first = &found.sealers[0];
        assert_eq!((first.instance, first.domain.as_str()), (1, "one.example"));
        let read = Results::parse(&first.authentication_results).unwrap();
        assert_eq!(read.authserv_id, "one.example");
        assert_eq!(read.of("spf").next().unwrap().verdict, Verdict::Pass);
    }
    let mut results = AuthenticationResults::new("mx");
    results.push(judge(&Sealer::new().chain(2, same)).entry().unwrap());
    assert_eq!(
        results.value(false),
        "mx; arc=pass (i=2 by two.example) arc.chain=\"one.example:two.example\""
    );
}

#[test]
fn a_message_without_arc_fields_has_no_chain() {
    let found = judge(REST);
    assert_eq!((found.verdict, found.chain_length), (Verdict::None, 0));
    assert_eq!(found.entry(), None);
}

/// In a chain of two, what stands in a field of the second set, what instead, and the reason that
/// is given then.
const BROKEN: [(&str, &str, &str, &str); 20] = [
    ("seal", "cv=pass", "cv=fail", "found the chain broken"),
    ("seal", "cv=pass", "cv=none", "is not as it must be"),
    ("seal", "cv=pass; ", "", "no verdict on the chain"),
    (
        "seal",
        "cv=pass",
        "h=from; cv=pass",
        "may not say what it signs",
    ),
    (
        "seal",
        "cv=pass",
        "cv=pass; cv=pass",
        "not 1 to the last|no instance",
    ),
    ("seal", "i=2", "i=3", "not 1 to the last"),
    ("seal", "i=2", "i=0", "not 1 to the last"),
    ("seal", "i=2; ", "", "no instance"),
    ("seal", "i=2", "i=1", "several ARC-Seal"),
    (
        "seal",
        "d=two.example",
        "d=none.example",
        "no key is published",
    ),
    ("seal", "ed25519-sha256", "rsa-sha1", "rsa-sha1"),
    ("signature", "i=2", "i=1", "several ARC-Message-Signature"),
    ("signature", "h=from:", "h=arc-seal:from:", "signs ARC-Seal"),
    (
        "signature",
        "h=from:subject",
        "h=subject",
        "From field is not signed",
    ),
    (
        "signature",
        "h=from:subject",
        "l=3; h=from:subject",
        "body was changed",
    ),
    (
        "signature",
        "h=from:subject",
        "x=5; h=from:subject",
        "has expired",
    ),
    ("signature", "s=s", "s=t", "no key is published"),
    ("results", "i=2; ", "", "no instance"),
    ("results", "i=2;", "i=2", "no instance"),
    (
        "results",
        "i=2",
        "i=1",
        "several ARC-Authentication-Results",
    ),
];

#[test]
fn every_rule_that_is_broken_fails_the_chain() {
    for (place, from, to, reason) in BROKEN {
        let message = Sealer::new().chain(2, |i, field, text| {
            let here = i == 2 && field == place;
            if here {
                text.replacen(from, to, 1)
            } else {
                text
            }
        });
        let found = judge(&message);
        assert_eq!(found.verdict, Verdict::Fail, "{place} {to}");
        let expected = reason
            .split('|')
            .any(|reason| found.reason.contains(reason));
        assert!(expected, "{place} {to}: {}", found.reason);
        assert!(found.sealers.is_empty());
    }
}

#[test]
fn what_is_changed_or_lost_later_fails_the_chain() {
    let message = Sealer::new().chain(2, same);
    for (from, to, reason) in [
        (
            "Subject: x",
            "Subject: y",
            "message signature i=2: the header was changed",
        ),
        (
            "body\r\n",
            "other\r\n",
            "message signature i=2: the body was changed",
        ),
        (
            "i=1; one.example; spf=pass",
            "i=1; one.example; spf=fail",
            "seal i=1",
        ),
        (
            "i=2; two.example; spf=pass",
            "i=2; two.example; spf=fail",
            "seal i=2",
        ),
        ("arc-seal:i=2", "x:i=2", "no ARC-Seal"),
        (
            "arc-message-signature:i=1",
            "x:i=1",
            "no ARC-Message-Signature",
        ),
        (
            "arc-authentication-results:i=2",
            "x:i=2",
            "no ARC-Authentication-Results",
        ),
    ] {
        let changed = message.replace(from, to);
        let found = judge(&changed);
        if changed == message {
            continue;
        }
        assert_eq!(found.verdict, Verdict::Fail, "{to}");
        let expected = reason
            .split('|')
            .any(|reason| found.reason.contains(reason));
        assert!(expected, "{to}: {}", found.reason);
    }
    // Without the first set, what is left does not start at 1.
    let (second, _) = message.split_once("arc-seal:i=1").unwrap();
    assert_eq!(judge(&format!("{second}{REST}")).verdict, Verdict::Fail);
}

#[test]
fn a_chain_of_more_than_fifty_sets_is_not_looked_at() {
    let found = judge(&Sealer::new().chain(51, same));
    assert_eq!((found.verdict, found.chain_length), (Verdict::Fail, 51));
    assert!(found.reason.contains("more than 50"), "{}", found.reason);
}
