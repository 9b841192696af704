//! Signatures and what is written about them: DKIM, ARC, Authentication-Results.
//!
//! One Ed25519 key is published at every name, so that what is signed with it can pass.

use std::sync::LazyLock;
use std::time::Duration;

use posthaste_mailauth::authentication_results::{AuthenticationResults, Entry, Results, claims};
use posthaste_mailauth::dkim::canonical::{self, Body, Canonicalization};
use posthaste_mailauth::dkim::{
    Finding, KeyRecord, Keys, MAX_SIGNATURES, PrivateKey, PublicKey, Service, Signer, Signing,
};
use posthaste_mailauth::{Verdict, Verified, Verifier};
use posthaste_message::header::Scan;
use posthaste_world::dns::{Answer, Data, Found, Security};

use crate::choices::{Choices, seeds};

/// The example of RFC 8410 §10.3.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";
const NOW_S: u64 = 1_700_000_000;

static SIGNING_KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::from_pem(KEY).unwrap());

/// A tag list is the value of a signature, and a key record.
pub fn dkim_signature(octets: &[u8]) {
    if let Ok(record) = KeyRecord::parse(octets) {
        let bits = record.key.rsa_bits();
        assert_eq!(bits.is_some(), matches!(record.key, PublicKey::Rsa { .. }));
        assert_eq!(KeyRecord::parse(octets).as_ref(), Ok(&record));
        assert!(!SIGNING_KEY.matches(&record) || record.key.rsa_bits().is_none());
    }
    let message = [
        b"DKIM-Signature:",
        octets,
        b"\r\nFrom: a@example.org\r\n\r\nbody\r\n",
    ];
    let verified = verify(&message.concat(), |piece| piece);
    for finding in &verified.dkim {
        assert_finding(finding);
    }
}

/// How a message is split never changes what is found of it, and what we sign passes.
pub fn dkim_message(octets: &[u8]) {
    let Some(([seed], message)) = seeds(octets) else {
        return;
    };
    let mut choices = Choices::new(seed.into());
    let whole = verify(message, |piece| piece);
    assert_eq!(verify(message, |left| choices.piece(left)), whole);
    assert!(whole.dkim.len() <= MAX_SIGNATURES);
    whole.dkim.iter().for_each(assert_finding);

    let (mut scan, mut signer) = (Scan::new(), Signer::new());
    let mut rest = message;
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(choices.piece(rest.len()));
        scan.push(piece);
        signer.push(piece, scan.facts());
        rest = tail;
    }
    let signing = Signing {
        domain: "example.org",
        keys: &[("s", &SIGNING_KEY)],
        now_s: NOW_S,
        lifetime_s: None,
    };
    let facts = scan.finish();
    // One field more must not be one too many.
    let lines = message.iter().filter(|&&b| b == b'\n').count();
    let fits = lines < 900 && message.len() < 100_000;
    if let Ok(field) = signer.finish(&facts, b"", &signing)
        && fits
        && whole.dkim.len() < MAX_SIGNATURES
    {
        let signed = verify(&[field.as_bytes(), message].concat(), |piece| piece);
        let ours = &signed.dkim[0];
        assert_eq!(ours.verdict, Verdict::Pass, "{}", ours.reason);
    }
}

/// A chain names its sealers when it passes and only then, however the message is split.
pub fn arc(octets: &[u8]) {
    let Some(([seed], message)) = seeds(octets) else {
        return;
    };
    let mut choices = Choices::new(seed.into());
    let found = verify(message, |piece| piece).arc;
    let split = verify(message, |left| choices.piece(left)).arc;
    assert_eq!(split, found);
    let sealers = u32::try_from(found.sealers.len()).unwrap();
    match found.verdict {
        Verdict::None => assert_eq!((found.chain_length, sealers), (0, 0)),
        Verdict::Pass => assert!(sealers == found.chain_length && (1..=50).contains(&sealers)),
        Verdict::Fail => assert!(sealers == 0 && found.chain_length > 0),
        other => panic!("{other}"),
    }
    assert!((1..).zip(&found.sealers).all(|(i, s)| s.instance == i));
}

/// Any text is read or not; what we write of it is one field that reads back as it was meant.
pub fn authentication_results(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let _ = Results::parse(&text);
    let field = [b"Authentication-Results:", octets].concat();
    let claimed = claims(&field, &["mx.example.org"]);
    if let Some(results) = Results::parse(&text) {
        let id = results.authserv_id.as_str();
        let id = id.strip_suffix('.').unwrap_or(id);
        assert!(
            claimed || !id.eq_ignore_ascii_case("mx.example.org"),
            "{text:?}"
        );
    }
    let (comment, value) = text.split_once('\n').unwrap_or((&text, &text));
    for utf8 in [false, true] {
        let mut results = AuthenticationResults::new("mx.example.org");
        let entry = Entry::new("dkim", Verdict::Fail).comment(comment);
        results.push(entry.property("header.i", value));
        results.push(Entry::new("spf", Verdict::None));
        let field = results.field(utf8);
        assert!(utf8 || field.is_ascii());
        let line = field.strip_suffix("\r\n").unwrap();
        assert!(
            !line
                .replace("\r\n\t", "")
                .contains(|c: char| c.is_control())
        );
        assert!(claims(field.as_bytes(), &["MX.example.org"]));
        let (_, written) = line.split_once(':').unwrap();
        let read = Results::parse(written).unwrap();
        assert_eq!(read.results.len(), 2);
        assert_eq!(read.of("dkim").next().unwrap().verdict, Verdict::Fail);
        assert_eq!(Results::parse(&results.value(utf8)), Some(read));
    }
}

/// How a body is split never changes its form; a relaxed form is its own relaxed form.
pub fn canonicalization(octets: &[u8]) {
    let Some(([seed], body)) = seeds(octets) else {
        return;
    };
    let mut choices = Choices::new(seed.into());
    for form in [Canonicalization::Simple, Canonicalization::Relaxed] {
        let whole = canonical_body(form, body, |left| left);
        assert_eq!(
            canonical_body(form, body, |left| choices.piece(left)),
            whole
        );
        assert_eq!(canonical_body(form, &whole, |left| left), whole);
        assert!(whole.is_empty() || whole.ends_with(b"\r\n"));
        assert!(!whole.ends_with(b"\r\n\r\n"));
    }
    // No field has a CR but in its folds.
    let folded: Vec<u8> = body.iter().copied().filter(|&b| b != b'\r').collect();
    let mut field = Vec::new();
    canonical::field(Canonicalization::Relaxed, &folded, &mut field);
    let mut again = Vec::new();
    canonical::field(Canonicalization::Relaxed, &field, &mut again);
    assert_eq!(again, field);
}

fn canonical_body(
    form: Canonicalization,
    octets: &[u8],
    mut piece: impl FnMut(usize) -> usize,
) -> Vec<u8> {
    let (mut body, mut out) = (Body::new(form), Vec::new());
    let mut rest = octets;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(piece(rest.len()));
        body.push(head, &mut |octets| out.extend_from_slice(octets));
        rest = tail;
    }
    body.finish(&mut |octets| out.extend_from_slice(octets));
    out
}

fn verify(message: &[u8], mut piece: impl FnMut(usize) -> usize) -> Verified {
    let (mut scan, mut verifier) = (Scan::new(), Verifier::new(NOW_S));
    let mut rest = message;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(piece(rest.len()));
        scan.push(head);
        verifier.push(head, scan.facts());
        rest = tail;
    }
    verifier.end(&scan.finish());
    let mut keys = Keys::default();
    for name in verifier.key_names().unwrap() {
        let text = SIGNING_KEY.public_record().into_bytes();
        let answer = Answer {
            found: Found::Records(vec![Data::Txt(text)]),
            canonical: name.clone(),
            security: Security::Insecure,
            ttl: Duration::ZERO,
        };
        keys.add(name, Ok(&answer));
    }
    verifier.judge(&keys, Service::Email)
}

/// What is reported is clean, and a verdict comes with what it says.
fn assert_finding(finding: &Finding) {
    for text in [
        &finding.domain,
        &finding.selector,
        &finding.algorithm,
        &finding.identity,
        &finding.signature,
    ] {
        assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
        assert!(text.chars().count() <= 255, "{text:?}");
    }
    assert!(!finding.reason.is_empty());
    let passes = finding.verdict == Verdict::Pass;
    assert_eq!(finding.authenticated().is_some(), passes);
    assert!(!passes || (finding.unsigned_octets == 0 && !finding.domain.is_empty()));
    assert!(!matches!(finding.verdict, Verdict::None | Verdict::Neutral));
}
