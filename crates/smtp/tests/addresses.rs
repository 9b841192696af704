//! Addresses: round trips, and the public `isemail` cases as far as RFC 5321 applies.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // reads vectors from real files
#![allow(clippy::print_stderr)] // a skipped test says so

use std::path::PathBuf;
use std::{env, fs};

use posthaste_smtp::address::{
    Domain, ForwardPath, Literal, LocalPart, Mailbox, ReversePath, Utf8,
};
use proptest::prelude::*;

/// The folder of the public test vectors, which is not part of the project.
fn vectors(file: &str) -> Option<PathBuf> {
    let folder = env::var_os("POSTHASTE_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let path = folder.join(file);
    if !path.exists() {
        eprintln!(
            "SKIP {}: set POSTHASTE_VECTORS to the folder of vectors",
            path.display()
        );
        return None;
    }
    Some(path)
}

/// Where RFC 5321 and the header rules that `isemail` judges by differ, with the reason.
const DIFFERING: [(u64, bool, &str); 4] = [
    (
        71,
        true,
        "'::' for one group: RFC 5321 §4.1.3 says two, RFC 4291 §2.2 allows one",
    ),
    (
        39,
        false,
        "255 octets in all: a path has 256 with brackets (RFC 5321 §4.5.3.1.3)",
    ),
    (
        59,
        false,
        "a quoted local part of 65 octets, quotes counted (RFC 5321 §4.5.3.1.1)",
    ),
    (
        125,
        false,
        "a quoted DEL: quoted-pairSMTP is 32 to 126 (RFC 5321 §4.1.2)",
    ),
];

#[test]
fn isemail_cases_are_judged_as_rfc_5321_says() {
    let Some(path) = vectors("addresses/isemail.json") else {
        return;
    };
    let cases: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let mut judged = 0;
    for case in cases.as_array().unwrap() {
        let id = case["id"].as_u64().unwrap();
        // U+2400… stand for control characters.
        let address: String = case["address"]
            .as_str()
            .unwrap()
            .chars()
            .map(control)
            .collect();
        let expected = match DIFFERING.iter().find(|(differing, ..)| *differing == id) {
            Some((_, expected, _)) => *expected,
            None => matches!(
                case["category"].as_str().unwrap(),
                "ISEMAIL_VALID_CATEGORY" | "ISEMAIL_RFC5321" | "ISEMAIL_DNSWARN"
            ),
        };
        let parsed = Mailbox::parse(&address, Utf8::Refused);
        assert_eq!(
            parsed.is_ok(),
            expected,
            "case {id}: {address:?}: {parsed:?}"
        );
        judged += 1;
    }
    assert!(judged > 70, "only {judged} cases");
}

fn control(c: char) -> char {
    match c {
        '\u{2400}'..='\u{2421}' => char::from_u32(u32::from(c) - 0x2400).unwrap(),
        c => c,
    }
}

#[test]
fn local_parts_differ_by_case_and_domains_do_not() {
    let mailbox = |text| Mailbox::parse(text, Utf8::Refused).unwrap();
    assert_eq!(mailbox("a@Example.org"), mailbox("a@example.ORG"));
    assert_ne!(mailbox("A@example.org"), mailbox("a@example.org"));
    assert_eq!(mailbox("\"a\"@example.org"), mailbox("a@example.org"));
    assert!(!mailbox("a@example.org").needs_utf8());
    assert!(
        Mailbox::parse("a@bücher.example", Utf8::Allowed)
            .unwrap()
            .needs_utf8()
    );
    assert!(
        Mailbox::parse("ü@[192.0.2.1]", Utf8::Allowed)
            .unwrap()
            .needs_utf8()
    );
}

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| Literal::V4(octets.into())),
        any::<[u16; 8]>().prop_map(|groups| Literal::V6(groups.into())),
        ("[a-z][a-z0-9]{0,5}", "[!-Z^-~]{1,9}").prop_map(|(tag, content)| Literal::General {
            tag: tag.into(),
            content: content.into()
        }),
    ]
}

fn domain() -> impl Strategy<Value = Domain> {
    prop_oneof![
        "[a-zA-Z0-9]([a-z0-9-]{0,9}[a-z0-9])?(\\.[a-z]{1,5}){0,3}".prop_map(|name| Domain::parse(
            &name,
            Utf8::Refused
        )
        .unwrap()),
        literal().prop_map(Domain::Literal),
    ]
}

fn mailbox() -> impl Strategy<Value = Mailbox> {
    // Any printable ASCII means something as a local part; quotes and backslashes cost two.
    let value = prop_oneof![
        "[ -~]{0,31}",
        "[a-z]{1,9}(\\.[a-z]{1,9}){0,3}",
        "[а-яü ]{1,20}"
    ];
    (value, domain()).prop_map(|(value, domain)| {
        Mailbox::new(
            LocalPart::from_value(&value, Utf8::Allowed).unwrap(),
            domain,
        )
    })
}

fn hostile() -> &'static str {
    "\\PC{0,20}|[\"\\\\@<>.a\r\n\0 ]{0,12}@[a.\\[\\]:>]{1,5}"
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(mailbox in mailbox()) {
        let wire = mailbox.to_string();
        prop_assert_eq!(Mailbox::parse(&wire, Utf8::Allowed), Ok(mailbox.clone()), "{}", wire);
        let path = ReversePath::Mailbox(mailbox.clone());
        prop_assert_eq!(ReversePath::parse(&path.to_string(), Utf8::Allowed), Ok(path));
        let path = ForwardPath::Mailbox(mailbox);
        prop_assert_eq!(ForwardPath::parse(&path.to_string(), Utf8::Allowed), Ok(path));
    }

    #[test]
    fn a_written_path_cannot_break_its_line(text in hostile()) {
        if let Ok(mailbox) = Mailbox::parse(&text, Utf8::Allowed) {
            let wire = mailbox.to_string();
            prop_assert!(!wire.contains(|c: char| c.is_control()), "{:?}", wire);
            prop_assert!(wire.len() <= text.len().max(46), "{:?}", wire);
            prop_assert_eq!(Mailbox::parse(&wire, Utf8::Allowed), Ok(mailbox));
        }
    }
}
