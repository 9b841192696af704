//! Messages that we sign and check, whole, in pieces, and after every change that somebody on the
//! way might make.

use std::sync::LazyLock;

use posthaste_mailauth::dkim::{KeyRecord, PrivateKey, Service, Signer, Signing, Unsigned};
use posthaste_mailauth::{Verdict, dkim};
use posthaste_message::header::Scan;
use posthaste_world::dns::Failure;
use proptest::prelude::*;

use super::support::{NOW_S, Names, verify, verify_in};

const MESSAGE: &str = "Received: from a by b; date\r\n\
    From: Alice <alice@example.org>\r\nTo: bob@example.net\r\n\
    Subject:  A folded\r\n\tsubject \r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n\
    Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\
    List-Id: <list.example.org>\r\nX-Other: 1\r\n\r\n\
    Line one \t of  the body\r\n\r\n.line three\r\n\r\n\r\n";

/// Keys are made once: an RSA key takes its time.
static RSA: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::generate_rsa_2048().unwrap());
static ED25519: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::generate_ed25519().unwrap());

fn names() -> Names {
    Names::default()
        .with("r._domainkey.example.org", &RSA.public_record())
        .with("e._domainkey.example.org", &ED25519.public_record())
}

fn sign_in(message: &[u8], piece: usize, added: &str) -> Result<String, Unsigned> {
    let (mut scan, mut signer) = (Scan::new(), Signer::new());
    for octets in message.chunks(piece) {
        scan.push(octets);
        signer.push(octets, scan.facts());
    }
    let signing = Signing {
        domain: "example.org",
        keys: &[("r", &RSA), ("e", &ED25519)],
        now_s: NOW_S,
        lifetime_s: Some(3600),
    };
    signer.finish(&scan.finish(), added.as_bytes(), &signing)
}

/// The message with its signatures.
fn signed(message: &str) -> String {
    let fields = sign_in(message.as_bytes(), 4096, "").unwrap();
    format!("{fields}{message}")
}

fn verdicts(names: &Names, message: &str) -> Vec<(Verdict, String)> {
    let found = verify(names, message.as_bytes()).dkim;
    let found = found.into_iter();
    found.map(|f| (f.verdict, f.reason.into_owned())).collect()
}

fn assert_both(names: &Names, message: &str, verdict: Verdict, reason: &str) {
    let found = verdicts(names, message);
    assert_eq!(found.len(), 2, "{message}");
    for (found, why) in found {
        assert_eq!(found, verdict, "{why}\n{message}");
        assert!(why.contains(reason), "{why}");
    }
}

#[test]
fn a_signed_message_passes_with_both_keys() {
    let message = signed(MESSAGE);
    assert_both(&names(), &message, Verdict::Pass, "holds");
    let found = verify(&names(), message.as_bytes()).dkim;
    assert_eq!(found[0].authenticated(), Some("example.org"));
    assert_eq!((found[0].key_bits, found[1].key_bits), (Some(2048), None));
    assert!(!found[0].is_weak());
    assert_eq!(found[0].expires_s, Some(NOW_S + 3600));
    let entry = found[1].entry();
    let mut results = posthaste_mailauth::authentication_results::AuthenticationResults::new("mx");
    results.push(entry);
    let value = results.value(false);
    let start = "mx; dkim=pass header.d=example.org header.s=e header.a=ed25519-sha256 header.b=";
    assert!(value.starts_with(start), "{value}");
}

#[test]
fn a_signature_is_made_of_short_lines_and_never_limits_the_body() {
    let fields = sign_in(MESSAGE.as_bytes(), 4096, "").unwrap();
    assert!(fields.lines().all(|line| line.len() <= 78), "{fields}");
    assert_eq!(fields.matches("DKIM-Signature: v=1; a=").count(), 2);
    let flat = fields.replace("\r\n\t", "");
    assert!(!flat.contains(" l=") && !flat.contains(";l="), "{flat}");
    // Once more than they stand there, and Cc though it does not.
    for name in [
        "From:From",
        "To:To",
        "Cc:",
        "Subject:Subject",
        "Content-Type:Content-Type",
    ] {
        assert!(flat.contains(name), "{name}: {flat}");
    }
    assert!(flat.contains(":List-Id;") && !flat.contains("X-Other") && !flat.contains("Received"));
}

#[test]
fn what_relays_may_change_changes_nothing() {
    let message = signed(MESSAGE);
    for changed in [
        format!("Received: from c by d; date\r\n{message}"),
        format!("X-New: 1\r\n{message}"),
        message.replace("X-Other: 1", "X-Other: 2"),
        message.replace(
            "Subject:  A folded\r\n\tsubject \r\n",
            "SUBJECT:A  folded subject\r\n",
        ),
        message.replace("one \t of  the", "one of the"),
        message.replace(".line three\r\n\r\n\r\n", ".line three\r\n"),
        message.replace("body\r\n", "body  \r\n"),
    ] {
        assert_ne!(changed, message);
        assert_both(&names(), &changed, Verdict::Pass, "holds");
    }
}

#[test]
fn every_other_change_fails_and_says_where() {
    let message = signed(MESSAGE);
    for (from, to, reason) in [
        ("A folded", "Another", "header was changed"),
        ("alice@", "mallory@", "header was changed"),
        (
            "To: bob",
            "Cc: c@example.net\r\nTo: bob",
            "header was changed",
        ),
        (
            "To: bob",
            "Subject: Second\r\nTo: bob",
            "header was changed",
        ),
        (
            "X-Other",
            "Content-Type: text/html\r\nX-Other",
            "header was changed",
        ),
        ("List-Id: <list", "List-Id: <other", "header was changed"),
        ("Message-ID: <1", "Message-ID: <2", "header was changed"),
        (
            "X-Other: 1",
            "From: mallory@example.org\r\nX-Other: 1",
            "header was changed",
        ),
        ("t=1700000000", "t=1700000001", "header was changed"),
        ("three", "four", "body was changed"),
        ("\r\n\r\n.line", "\r\n.line", "body was changed"),
        (".line three", "line three", "body was changed"),
        (
            ".line three\r\n",
            ".line three\r\nmore\r\n",
            "body was changed",
        ),
        ("Line one", "Line\rone", "body was changed"),
        ("Line one", "Line\none", "body was changed"),
    ] {
        let changed = message.replace(from, to);
        assert_ne!(changed, message, "{from}");
        assert_both(&names(), &changed, Verdict::Fail, reason);
    }
}

#[test]
fn a_key_decides_too() {
    let message = signed(MESSAGE);
    let with = |texts: [&str; 2]| {
        Names::default()
            .with("r._domainkey.example.org", texts[0])
            .with("e._domainkey.example.org", texts[1])
    };
    let other = [
        PrivateKey::generate_rsa_2048().unwrap().public_record(),
        PrivateKey::generate_ed25519().unwrap().public_record(),
    ];
    let own = [RSA.public_record(), ED25519.public_record()];
    let both = |add: &str| own.clone().map(|record| format!("{record}; {add}"));
    let twice = with([&own[0], &own[1]])
        .with("r._domainkey.example.org", "v=DKIM1; p=")
        .with("e._domainkey.example.org", "v=spf1 -all");
    let failing = Names::default()
        .failing("r._domainkey.example.org", Failure::Timeout)
        .failing("e._domainkey.example.org", Failure::Bogus);
    for (names, verdict, reason) in [
        (
            with([&other[0], &other[1]]),
            Verdict::Fail,
            "the key is another",
        ),
        (
            with([&own[1], &own[0]]),
            Verdict::Permerror,
            "another algorithm",
        ),
        (with(["p=", "k=ed25519; p="]), Verdict::Permerror, "revoked"),
        (with(["v=DKIM1", "v=DKIM1"]), Verdict::Permerror, "no key"),
        (
            with(both("h=sha1").each_ref().map(|s| &s[..])),
            Verdict::Permerror,
            "sha256",
        ),
        (
            with(both("s=tlsrpt").each_ref().map(|s| &s[..])),
            Verdict::Permerror,
            "for mail",
        ),
        (
            with(both("t=s").each_ref().map(|s| &s[..])),
            Verdict::Pass,
            "holds",
        ),
        (Names::default(), Verdict::Permerror, "no key is published"),
        (twice, Verdict::Permerror, "several records"),
        (failing, Verdict::Temperror, "key look-up"),
    ] {
        assert_both(&names, &message, verdict, reason);
    }
    let reports = both("s=tlsrpt");
    let names = with([&reports[0], &reports[1]]);
    let found = verify_in(&names, message.as_bytes(), 99, Service::TlsReports);
    assert!(found.dkim.iter().all(|f| f.verdict == Verdict::Pass));
    let testing = both("t=y");
    let found = verify(&with([&testing[0], &testing[1]]), message.as_bytes());
    assert!(
        found
            .dkim
            .iter()
            .all(|f| f.testing && f.verdict == Verdict::Pass)
    );
}

#[test]
fn a_second_from_never_passes_even_when_it_is_signed() {
    // Signed by somebody who does not look: h= names From once, and there are two.
    let names = Names::default().with("e._domainkey.example.org", &ED25519.public_record());
    for (fields, h, verdict) in [
        ("From: a@example.org\r\n", "from", Verdict::Pass),
        (
            "From: b@example.org\r\nFrom: a@example.org\r\n",
            "from",
            Verdict::Policy,
        ),
        (
            "From: b@example.org\r\nFrom: a@example.org\r\n",
            "from:from",
            Verdict::Policy,
        ),
        ("To: b@example.org\r\n", "from:to", Verdict::Permerror),
    ] {
        let message = by_hand(&format!("h={h}; c=relaxed/simple"), fields, "x\r\n", 0..3);
        let found = verify(&names, message.as_bytes()).dkim;
        assert_eq!(found[0].verdict, verdict, "{fields} {}", found[0].reason);
        assert_eq!(found[0].authenticated().is_some(), verdict == Verdict::Pass);
    }
}

#[test]
fn an_end_of_the_body_that_is_not_signed_never_passes() {
    let names = Names::default().with("e._domainkey.example.org", &ED25519.public_record());
    let from = "From: a@example.org\r\n";
    let cases = [
        ("one\r\ntwo\r\n", "l=10; ", 0..10, Verdict::Pass, 0),
        ("one\r\ntwo\r\n", "l=5; ", 0..5, Verdict::Policy, 5),
        ("one\r\ntwo\r\n", "l=0; ", 0..0, Verdict::Policy, 10),
        ("one\r\ntwo\r\n", "l=11; ", 0..10, Verdict::Permerror, 0),
        (
            "one\r\ntwo\r\n",
            &format!("l={}; ", "9".repeat(76)),
            0..10,
            Verdict::Permerror,
            0,
        ),
        ("one\r\n\r\n\r\n", "l=5; ", 0..5, Verdict::Pass, 0),
    ];
    for (body, length, hashed, verdict, unsigned) in cases {
        let tags = format!("{length}h=from; c=relaxed/simple");
        let message = by_hand(&tags, from, body, hashed);
        let found = &verify(&names, message.as_bytes()).dkim[0];
        assert_eq!(found.verdict, verdict, "{length}: {}", found.reason);
        assert_eq!(found.unsigned_octets, unsigned);
        assert_eq!(found.authenticated().is_some(), verdict == Verdict::Pass);
    }
}

/// A message with one signature whose tags are these; the body hash is that of `hashed` octets.
fn by_hand(tags: &str, fields: &str, body: &str, hashed: std::ops::Range<usize>) -> String {
    use aws_lc_rs::digest::{SHA256, digest};
    use aws_lc_rs::signature::Ed25519KeyPair;
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let body_hash = base64.encode(digest(&SHA256, &body.as_bytes()[hashed]));
    let own = format!(
        "dkim-signature:v=1; a=ed25519-sha256; d=example.org; s=e; {tags}; bh={body_hash}; b="
    );
    let wanted = tags.split("h=").nth(1).unwrap().split(';').next().unwrap();
    let mut left: Vec<&str> = fields.split_inclusive("\r\n").collect();
    let mut text = String::new();
    for name in wanted.split(':') {
        let starts = |f: &&str| f.to_lowercase().starts_with(&format!("{name}:"));
        if let Some(place) = left.iter().rposition(starts) {
            let (name, value) = left.remove(place).split_once(": ").unwrap();
            text.push_str(&format!("{}:{value}", name.to_lowercase()));
        }
    }
    text.push_str(&own);
    let PrivateKey::Ed25519(_) = &*ED25519 else {
        panic!("not the key that signs")
    };
    let pem = ED25519.to_pem().unwrap();
    let der: String = pem.lines().filter(|l| !l.starts_with('-')).collect();
    let pair = Ed25519KeyPair::from_pkcs8(&base64.decode(der).unwrap()).unwrap();
    let signature = base64.encode(pair.sign(digest(&SHA256, text.as_bytes()).as_ref()));
    let own = own.replacen("dkim-signature:", "DKIM-Signature: ", 1);
    format!("{own}{signature}\r\n{fields}\r\n{body}")
}

#[test]
fn an_expired_signature_is_told_from_a_broken_one() {
    let message = signed(MESSAGE);
    let early = message.replace("x=1700003600", "x=1699999999");
    assert_both(&names(), &early, Verdict::Permerror, "before it was made");
    let mut verifier = posthaste_mailauth::Verifier::new(NOW_S + 3601);
    let mut scan = Scan::new();
    scan.push(message.as_bytes());
    verifier.push(message.as_bytes(), scan.facts());
    let found = verifier.judge(&dkim::Keys::default(), Service::Email).dkim;
    assert!(
        found.iter().all(|f| f.reason.contains("has expired")),
        "{found:?}"
    );
}

#[test]
fn fields_that_we_add_are_signed_with_the_rest() {
    let bare = MESSAGE.replace("Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n", "");
    let date = "Date: Tue, 2 Jan 2024 00:00:00 +0000\r\n";
    let fields = sign_in(bare.as_bytes(), 4096, date).unwrap();
    assert_both(
        &names(),
        &format!("{fields}{date}{bare}"),
        Verdict::Pass,
        "holds",
    );
    assert_both(
        &names(),
        &format!("{fields}{bare}"),
        Verdict::Fail,
        "header was changed",
    );
}

#[test]
fn what_cannot_be_signed_well_is_not_signed() {
    let no_from = MESSAGE.replace("From: Alice", "X-From: Alice");
    let two = format!("From: b@example.org\r\n{MESSAGE}");
    let malformed = format!("no field\r\n{MESSAGE}");
    let large = format!("{}{MESSAGE}", "X: y\r\n".repeat(1_001));
    for (message, reason) in [
        (no_from.as_str(), Unsigned::From(0)),
        (&two, Unsigned::From(2)),
        (&malformed, Unsigned::Header),
        (&large, Unsigned::Header),
        ("", Unsigned::From(0)),
    ] {
        assert_eq!(sign_in(message.as_bytes(), 100, ""), Err(reason));
    }
}

#[test]
fn a_message_without_body_or_line_end_is_signed_and_checked() {
    let header = &MESSAGE[..MESSAGE.find("\r\n\r\n").unwrap() + 2];
    for message in [
        header.to_owned(),
        format!("{header}\r\n"),
        format!("{header}\r\n \r\n"),
        format!("{header}\r\nno line end"),
    ] {
        assert_both(&names(), &signed(&message), Verdict::Pass, "holds");
    }
}

#[test]
fn only_so_many_signatures_are_looked_at_and_each_is_told_apart() {
    let message = signed(MESSAGE);
    let (own, _) = message
        .split_once("DKIM-Signature: v=1; a=ed25519")
        .unwrap();
    let many = format!("{}{message}", own.repeat(12));
    let found = verify(&names(), many.as_bytes()).dkim;
    assert_eq!(found.len(), dkim::MAX_SIGNATURES);
    assert!(found.iter().all(|f| f.verdict == Verdict::Pass));
    // Two that start alike are told apart by more of b=.
    let (head, tail) = own.split_once("\tb=").unwrap();
    let other = format!("{head}\tb={}AAAA{}", &tail[..20], &tail[24..]);
    let found = verify(&names(), format!("{other}{message}").as_bytes()).dkim;
    assert_eq!(found[0].verdict, Verdict::Fail);
    assert_eq!(found[0].signature[..20], found[1].signature[..20]);
    assert_ne!(found[0].signature, found[1].signature);
    assert_eq!(found[2].signature.len(), 8);
}

#[test]
fn a_header_block_over_its_bounds_has_no_signatures() {
    let message = signed(MESSAGE);
    let large = message.replace("X-Other: 1\r\n", &"X: y\r\n".repeat(1_001));
    assert!(
        verify_in(&names(), large.as_bytes(), 99, Service::Email)
            .dkim
            .is_empty()
    );
}

#[test]
fn keys_of_other_tools_are_read() {
    // openssl genpkey -algorithm ed25519: what the standard's example has (RFC 8410 §10.3).
    let pem = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    let key = PrivateKey::from_pem(pem).unwrap();
    let record = KeyRecord::parse(key.public_record().as_bytes()).unwrap();
    assert!(key.matches(&record));
    assert_eq!(
        key.public_record(),
        "v=DKIM1; k=ed25519; p=Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
    );
}

/// Message texts in which what canonicalization changes is frequent.
fn texts(most: usize) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => Just("\r\n".to_owned()),
        2 => Just(" ".to_owned()),
        1 => Just("\t".to_owned()),
        1 => Just("\r".to_owned()),
        1 => Just("\n".to_owned()),
        1 => Just(".".to_owned()),
        4 => "[a-zA-Z0-9:;=\u{e4}]{1,9}",
    ];
    proptest::collection::vec(piece, 0..most).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_signed_passes_however_it_is_split(
        subject in "[ -~\u{e4}]{0,120}",
        body in texts(40),
        piece in 1_usize..200,
    ) {
        let message = MESSAGE.replace("A folded", &subject);
        let (head, _) = message.split_once("\r\n\r\n").unwrap();
        let message = format!("{head}\r\n\r\n{body}");
        let fields = sign_in(message.as_bytes(), piece, "").unwrap();
        prop_assert_eq!(fields.len(), sign_in(message.as_bytes(), 9_999, "").unwrap().len());
        let signed = format!("{fields}{message}");
        let found = verify_in(&names(), signed.as_bytes(), piece, Service::Email);
        for finding in &found.dkim {
            prop_assert_eq!(finding.verdict, Verdict::Pass, "{}", finding.reason);
        }
        prop_assert_eq!(found.dkim.len(), 2);
    }

    #[test]
    fn any_message_is_judged_the_same_however_it_is_split(
        message in texts(60),
        piece in 1_usize..50,
    ) {
        let message = format!("DKIM-Signature: {message}");
        let whole = verify_in(&names(), message.as_bytes(), 99_999, Service::Email);
        let split = verify_in(&names(), message.as_bytes(), piece, Service::Email);
        prop_assert_eq!(whole, split);
    }
}
