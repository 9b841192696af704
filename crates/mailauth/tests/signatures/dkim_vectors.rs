//! The public DKIM vectors: messages of libmail-dkim-perl, and the examples of RFC 6376 appendix A
//! and RFC 8463 appendix A as dkimpy has them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use posthaste_mailauth::{Verdict, verify as verify_async};
use posthaste_world::dns::Failure;

use super::support::{NOW_S, Names, crlf, vectors, verify};

/// The zone of the vectors: a name, then its text, or a failure between tildes.
fn zone(path: &Path) -> Names {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    let lines = lines.filter_map(|l| l.split_once(char::is_whitespace));
    lines.fold(Names::default(), |names, (name, text)| match text.trim() {
        "NXDOMAIN" => names,
        "~~Query timed out~~" => names.failing(name, Failure::Timeout),
        "~~SERVFAIL~~" => names.failing(name, Failure::Server("SERVFAIL".to_owned())),
        "\"\"" => names.with(name, ""),
        text => names.with(name, text),
    })
}

/// What each message must give, most severe cause first. Written from the standards: the library
/// that the messages come from is older than RFC 6376 and RFC 8301, and more lenient.
const EXPECTED: [(&str, Verdict, &str); 31] = [
    // No version (RFC 6376 §3.5: `v=` is required), so nothing else is looked at.
    ("bad_1.txt", Verdict::Permerror, "no version"),
    ("bad_ietf01_1.txt", Verdict::Permerror, "no version"),
    ("bad_ietf01_3.txt", Verdict::Permerror, "no version"),
    ("good_ietf01_1.txt", Verdict::Permerror, "no version"),
    ("mine_ietf01_1.txt", Verdict::Permerror, "no version"),
    ("mine_ietf01_3.txt", Verdict::Permerror, "no version"),
    ("multiple_1.txt", Verdict::Permerror, "no version"),
    // Another version.
    ("badkey_2.txt", Verdict::Permerror, "another version"),
    ("badkey_4.txt", Verdict::Permerror, "another version"),
    ("badkey_6.txt", Verdict::Permerror, "another version"),
    ("ignore_1.txt", Verdict::Permerror, "another version"),
    ("ignore_3.txt", Verdict::Permerror, "another version"),
    ("mine_ietf05_1.txt", Verdict::Permerror, "another version"),
    ("no_body_1.txt", Verdict::Permerror, "another version"),
    ("no_body_3.txt", Verdict::Permerror, "another version"),
    // RFC 8301 §3.1.
    ("badkey_8.txt", Verdict::Permerror, "rsa-sha1"),
    ("badkey_10.txt", Verdict::Permerror, "rsa-sha1"),
    ("badkey_12.txt", Verdict::Permerror, "rsa-sha1"),
    ("badkey_14.txt", Verdict::Permerror, "rsa-sha1"),
    ("good_83176.txt", Verdict::Permerror, "rsa-sha1"),
    ("good_qp_1.txt", Verdict::Permerror, "rsa-sha1"),
    ("good_qp_3.txt", Verdict::Permerror, "rsa-sha1"),
    ("good_rfc4871_3.txt", Verdict::Permerror, "rsa-sha1"),
    ("goodkey_1.txt", Verdict::Permerror, "rsa-sha1"),
    ("goodkey_3.txt", Verdict::Permerror, "rsa-sha1"),
    ("ignore_5.txt", Verdict::Permerror, "rsa-sha1"),
    ("ignore_7.txt", Verdict::Permerror, "rsa-sha1"),
    // RFC 8463.
    ("goodkey_ed25519.txt", Verdict::Pass, "holds"),
    ("badkey1_ed25519.txt", Verdict::Permerror, "32 octets"),
    ("badkey3_ed25519.txt", Verdict::Fail, "body was changed"),
    ("badkey5_ed25519.txt", Verdict::Permerror, "no tag list"),
];

#[test]
fn the_messages_of_mail_dkim_are_judged_by_the_standards() {
    let Some(folder) = vectors("dkim/mail-dkim") else {
        return;
    };
    let names = zone(&folder.join("dns.txt"));
    let known = fs::read(folder.join("expected.json")).unwrap();
    let known: serde_json::Value = serde_json::from_slice(&known).unwrap();
    assert_eq!(known.as_object().unwrap().len(), EXPECTED.len());
    for (file, verdict, reason) in EXPECTED {
        let message = crlf(&fs::read(folder.join(file)).unwrap());
        let found = verify(&names, &message).dkim;
        assert_eq!(
            found.len(),
            known[file]["signatures"].as_array().unwrap().len()
        );
        for finding in &found {
            assert_eq!(finding.verdict, verdict, "{file}: {}", finding.reason);
            assert!(
                finding.reason.contains(reason),
                "{file}: {}",
                finding.reason
            );
        }
        // What the vectors say themselves. The one exception lacks `v=` as well.
        let passes = known[file]["expect_rfc8301"] == "pass" && file != "mine_ietf01_3.txt";
        assert_eq!(passes, verdict == Verdict::Pass, "{file}");
    }
    println!("dkim/mail-dkim: {} of 31 cases", EXPECTED.len());
}

#[tokio::test]
async fn the_examples_of_the_standards_hold() {
    let Some(folder) = vectors("dkim/dkimpy") else {
        return;
    };
    let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
    // RFC 8463 appendix A.2; the RSA key is that of dkimpy's tests.
    let names = Names::default()
        .with(
            "brisbane._domainkey.football.example.com",
            "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        )
        .with(
            "test._domainkey.football.example.com",
            read("test.txt").trim(),
        );
    let mut checked = 0;
    for (file, verdicts) in [
        ("rfc6376.signed.msg", &[Verdict::Pass, Verdict::Pass][..]),
        ("rfc6376.signed.rsa.msg", &[Verdict::Pass]),
        // `t=` was taken out and `x=` added without signing again: good for readers of tags only.
        ("rfc6376.signed.no_t.msg", &[Verdict::Fail]),
    ] {
        let message = crlf(&fs::read(folder.join(file)).unwrap());
        let found = verify(&names, &message).dkim;
        let judged: Vec<Verdict> = found.iter().map(|finding| finding.verdict).collect();
        assert_eq!(judged, verdicts, "{file}: {found:#?}");
        let again = verify_async(Arc::new(names.clone()), NOW_S, &message).await;
        assert_eq!(again.dkim, found);
        checked += found.len();
    }
    println!("dkim/dkimpy: {checked} signatures");
}
