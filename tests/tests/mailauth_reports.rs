//! Our reports as others read them: an XML schema checked by libxml2, and parsedmarc.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::io::Write as _;
use std::process::Stdio;

use posthaste_mailauth::Verdict;
use posthaste_mailauth::dmarc::{self, Authors, Facts, Override, OverrideKind, Policy};
use posthaste_mailauth::report::aggregate::{
    Aggregate, Disposition, Mail, Published, Reporter, Row, Signature, Spf,
};
use posthaste_mailauth::report::failure::{self, Failed};
use posthaste_tests::peer::client::python;
use posthaste_world::dns::{Answer, Data, Failure, Found, Kind, Security};
use posthaste_world::{BoxFuture, Dns};
use serde_json::{Value, json};

const SCRIPT: &str = include_str!("../src/peer/reports.py");
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/peer/aggregate.xsd");
const MAIL: Mail<'_> = Mail {
    submitter: "mx.example.net",
    from: "dmarc@mx.example.net",
    to: "reports@example.org",
    message_id: "2026-09-21.example.org@mx.example.net",
    now_s: 1_790_000_000,
};

/// What Python makes of a mail; `None` where it is not there.
fn read(mail: &[u8]) -> Option<Value> {
    let mut python = python("mailauth", SCRIPT, &[SCHEMA])?;
    python.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().unwrap();
    child.stdin.take().unwrap().write_all(mail).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Rows of every kind that we make.
fn rows() -> Vec<(Row, u64)> {
    let signature = |verdict, reason: Option<&str>| Signature {
        domain: "example.org".to_owned(),
        selector: Some("s1".to_owned()),
        verdict,
        reason: reason.map(str::to_owned),
    };
    let row = |source: &str, disposition| Row {
        source: source.parse().unwrap(),
        disposition,
        dkim_aligned: false,
        spf_aligned: false,
        overrides: Vec::new(),
        header_from: "example.org".to_owned(),
        envelope_from: None,
        envelope_to: None,
        dkim: Vec::new(),
        spf: Vec::new(),
    };
    let mut passed = row("192.0.2.1", Disposition::Pass);
    passed.dkim_aligned = true;
    passed.dkim = vec![
        signature(Verdict::Pass, None),
        signature(Verdict::Fail, Some("the body <was> changed & more")),
    ];
    let mut softened = row("2001:db8::1", Disposition::Quarantine);
    softened.overrides = vec![
        Override {
            kind: OverrideKind::PolicyTestMode,
            comment: "t=y".to_owned(),
        },
        Override {
            kind: OverrideKind::LocalPolicy,
            comment: String::new(),
        },
    ];
    softened.envelope_from = Some("bounce.example.net".to_owned());
    softened.spf = vec![Spf {
        domain: "bounce.example.net".to_owned(),
        helo: false,
        verdict: Verdict::Softfail,
        reason: None,
    }];
    let nothing = row("198.51.100.7", Disposition::None);
    let refused = row("203.0.113.9", Disposition::Reject);
    vec![(passed, 120), (softened, 3), (nothing, 1), (refused, 70)]
}

#[test]
fn an_aggregate_report_is_valid_and_is_read_as_it_was_meant() {
    let record = b"v=DMARC1; p=reject; sp=none; np=quarantine; t=y; fo=1; \
                   ruf=mailto:f@example.org; rua=mailto:reports@example.org";
    let published = Published::new("example.org", &dmarc::Record::parse(record).unwrap());
    let reporter = Reporter {
        organization: "M\u{fc}ller & S\u{f6}hne".to_owned(),
        email: "dmarc@mx.example.net".to_owned(),
        contact: Some("https://mx.example.net/".to_owned()),
        generator: Some("Posthaste".to_owned()),
    };
    let id = "2026-09-21.example.org@mx.example.net".to_owned();
    let period = (1_789_948_800, 1_790_035_199);
    let mut report = Aggregate::new(reporter, id.clone(), period, published);
    report.add_error("the tag \"x\" <stands> twice");
    for (row, messages) in rows() {
        report.add(row, messages);
    }
    let Some(told) = read(&report.to_mail(&MAIL, 1_000_000).unwrap()) else {
        return;
    };
    assert_eq!(told["valid"], json!(true), "{}", told["faults"]);
    assert_eq!(told["type"], "aggregate");
    assert_eq!(
        told["file"],
        "mx.example.net!example.org!1789948800!1790035199.xml.gz"
    );
    // It keeps an id to its `@`, which RFC 9990 §3.5.1 allows in one.
    assert_eq!(told["id"].as_str(), id.split('@').next());
    assert_eq!(told["organization"], "M\u{fc}ller & S\u{f6}hne");
    assert_eq!(
        (&told["domain"], &told["p"]),
        (&json!("example.org"), &json!("reject"))
    );
    assert_eq!(told["messages"], 194);
    let records = told["records"].as_array().unwrap();
    assert_eq!(records.len(), 4);
    for want in [
        json!(["192.0.2.1", 120, "pass", true, false, "example.org", 2]),
        json!([
            "2001:db8::1",
            3,
            "quarantine",
            false,
            false,
            "example.org",
            0
        ]),
        json!(["198.51.100.7", 1, "none", false, false, "example.org", 0]),
        json!(["203.0.113.9", 70, "reject", false, false, "example.org", 0]),
    ] {
        assert!(records.contains(&want), "{want} {records:?}");
    }
    println!("aggregate report: valid by the schema, read by parsedmarc");
}

/// A DNS with one record.
struct OneRecord;

impl Dns for OneRecord {
    fn query<'a>(
        &'a self,
        name: &'a str,
        _: Kind,
    ) -> BoxFuture<'a, Result<std::sync::Arc<Answer>, Failure>> {
        let record = b"v=DMARC1; p=reject; ruf=mailto:f@example.org".to_vec();
        let answer = Answer {
            found: match name {
                "_dmarc.example.org" => Found::Records(vec![Data::Txt(record)]),
                _ => Found::NoData,
            },
            canonical: name.to_owned(),
            security: Security::Insecure,
            ttl: std::time::Duration::ZERO,
        };
        Box::pin(std::future::ready(Ok(std::sync::Arc::new(answer))))
    }
}

#[test]
fn a_failure_report_is_read_as_one() {
    let authors = Authors::of_fields(&[b"Alice <a@example.org>"]);
    let facts = Facts::default();
    let check = std::pin::pin!(dmarc::check(&OneRecord, &authors, &facts));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(checked) = check.poll(&mut context) else {
        unreachable!("the record is there at once")
    };
    let failed = Failed {
        checked: &checked,
        disposition: Policy::Reject,
        source: "192.0.2.7".parse().unwrap(),
        arrival_s: 1_790_000_000,
        mail_from_domain: "bounce.example.org",
        authentication_results: "mx.example.net; dmarc=fail header.from=example.org",
        signature: Some(("example.org", "@example.org", "s1")),
        spf_record: Some("v=spf1 -all"),
        header: b"From: Alice <a@example.org>\r\nSubject: hello\r\nTo: victim@example.net\r\n\
                  Date: Mon, 21 Sep 2026 14:13:20 +0000\r\nMessage-ID: <1@example.org>\r\n",
    };
    let Some(told) = read(&failure::render(&failed, &MAIL, "Posthaste")) else {
        return;
    };
    assert_eq!(told["type"], "failure");
    assert_eq!(told["domain"], "example.org");
    assert_eq!(told["source"], "192.0.2.7");
    println!("failure report: read by parsedmarc");
}
