//! Reports: the public samples, read from the folder beside the checkout that `POSTHASTE_VECTORS`
//! names (by default `../shared/vectors` seen from the workspace), and our own, written and read.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic
)]
#![allow(clippy::disallowed_methods)] // reads the vectors from the real disk

mod zone;

use std::path::{Path, PathBuf};

use posthaste_mailauth::Verdict;
use posthaste_mailauth::dmarc::{self, Authors, Facts, Local, Override, OverrideKind, Policy};
use posthaste_mailauth::report::aggregate::{
    Aggregate, Disposition, Mail, Published, Reporter, Row, Signature, Spf, read,
};
use posthaste_mailauth::report::external::{Reports, Wanted, wanted};
use posthaste_mailauth::report::failure::{self, Failed};
use posthaste_mailauth::report::open::{OCTETS_MAX, Received, Unopened, open, unpack};
use posthaste_mailauth::report::{arf, tls};
use posthaste_smtp::address::{Mailbox, Utf8};
use proptest::prelude::*;
use serde_json::Value;
use zone::{Entry, Zone};

/// A folder of the vectors; `None`, with a visible note, when it is not there.
fn vectors(path: &str) -> Option<PathBuf> {
    let beside = || {
        PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../shared/vectors"
        ))
    };
    let root = std::env::var_os("POSTHASTE_VECTORS").map_or_else(beside, PathBuf::from);
    let found = root.join(path);
    if !found.exists() {
        println!("SKIP: no {} (set POSTHASTE_VECTORS)", found.display());
        return None;
    }
    Some(found)
}

/// The files of a folder that end so, by name.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().ends_with(end));
    files.sort();
    files
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap()
}

#[test]
fn the_aggregate_reports_of_the_real_world_say_what_is_in_them() {
    let Some(folder) = vectors("reports/dmarc-feedback") else {
        return;
    };
    let mut count = 0;
    for path in [files(&folder, ".xml"), files(&folder, ".eml")].concat() {
        let octets = std::fs::read(&path).unwrap();
        let report = match path.extension().unwrap().to_str().unwrap() {
            "xml" => read(&octets).unwrap(),
            _ => match open(&octets).unwrap() {
                Received::Aggregate(report) => *report,
                other => panic!("{}: {other:?}", path.display()),
            },
        };
        let want = json(&path);
        let metadata = &want["report_metadata"];
        assert_eq!(report.id, metadata["report_id"].as_str().unwrap());
        assert_eq!(
            report.reporter.organization,
            metadata["org_name"].as_str().unwrap()
        );
        let period = &metadata["date_range"];
        assert_eq!(Some(report.begin_s), period["begin"].as_u64());
        assert_eq!(Some(report.end_s), period["end"].as_u64());
        let published = &want["policy_published"];
        assert_eq!(
            report.published.domain,
            published["domain"].as_str().unwrap()
        );
        let policy = report
            .published
            .policy
            .map(Policy::word)
            .unwrap_or_default();
        assert!(policy.eq_ignore_ascii_case(published["p"].as_str().unwrap()));
        let records = want["record"].as_array().unwrap();
        let mut wanted: Vec<String> = records.iter().map(summary).collect();
        let mut got: Vec<String> = report.rows.iter().map(|(row, &n)| told(row, n)).collect();
        wanted.sort();
        got.sort();
        assert_eq!(got, wanted, "{}", path.display());
        count += 1;
    }
    println!("aggregate reports: {count} read as they should");
    assert_eq!(count, 10);
}

/// A record as the vectors have it, and as we have it, in the same words.
fn summary(record: &Value) -> String {
    let (row, results) = (&record["row"], &record["auth_results"]);
    let evaluated = &row["policy_evaluated"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
    let list = |method: &str| -> Vec<String> {
        let items = results[method].as_array().unwrap().iter();
        items
            .map(|r| format!("{} {}", text(&r["domain"]), text(&r["result"])))
            .collect()
    };
    format!(
        "{} {} {} dkim={} spf={} from={} {:?} {:?}",
        text(&row["source_ip"]),
        row["count"],
        text(&evaluated["disposition"]).replace("unspecified", "none"),
        text(&evaluated["dkim"]) == "pass",
        text(&evaluated["spf"]) == "pass",
        text(&record["identifiers"]["header_from"]),
        list("dkim"),
        list("spf"),
    )
}

fn told(row: &Row, count: u64) -> String {
    let dkim = row
        .dkim
        .iter()
        .map(|s| format!("{} {}", s.domain, s.verdict.word()));
    let spf = row
        .spf
        .iter()
        .map(|s| format!("{} {}", s.domain, s.verdict.word()));
    format!(
        "{} {count} {} dkim={} spf={} from={} {:?} {:?}",
        row.source,
        row.disposition.word(),
        row.dkim_aligned,
        row.spf_aligned,
        row.header_from,
        dkim.collect::<Vec<_>>(),
        spf.collect::<Vec<_>>(),
    )
}

#[test]
fn the_tls_reports_of_the_samples_say_what_is_in_them() {
    let Some(folder) = vectors("reports/tlsrpt") else {
        return;
    };
    let mut count = 0;
    for path in files(&folder, ".json") {
        let report = tls::read(&std::fs::read(&path).unwrap()).unwrap();
        let want = json(&path);
        assert_eq!(report.id, want["report-id"].as_str().unwrap());
        let sum = |name: &str| -> u64 {
            let policies = want["policies"].as_array().unwrap().iter();
            policies
                .map(|p| p["summary"][name].as_u64().unwrap_or(0))
                .sum()
        };
        let successes: u64 = report.policies.iter().map(|p| p.successes).sum();
        let failures: u64 = report.policies.iter().map(|p| p.failures).sum();
        assert_eq!(successes, sum("total-successful-session-count"));
        assert_eq!(failures, sum("total-failure-session-count"));
        let details = report.policies.iter().flat_map(|p| &p.details);
        assert!(details.map(|d| d.sessions).sum::<u64>() <= failures);
        let mail = path.with_extension("eml");
        if mail.exists() {
            let opened = open(&std::fs::read(&mail).unwrap()).unwrap();
            assert_eq!(
                opened,
                Received::Tls(Box::new(report)),
                "{}",
                mail.display()
            );
            count += 1;
        }
        count += 1;
    }
    println!("TLS reports: {count} read as they should");
    assert_eq!(count, 5);
}

#[test]
fn abuse_and_failure_reports_say_what_is_in_them() {
    let Some(folder) = vectors("reports/arf") else {
        return;
    };
    let mut count = 0;
    for path in files(&folder, ".eml") {
        let message = std::fs::read(&path).unwrap();
        let feedback = arf::read(&message).unwrap();
        let want = json(&path);
        let name = path.display();
        let kind = want["feedback_type"].as_str().unwrap().to_lowercase();
        assert_eq!(feedback.kind.replace('-', ""), kind, "{name}");
        assert_eq!(
            feedback.user_agent,
            want["user_agent"].as_str().unwrap(),
            "{name}"
        );
        assert_eq!(
            Some(feedback.incidents),
            want["incidents"].as_u64(),
            "{name}"
        );
        let source = feedback.source.map(|ip| ip.to_string());
        assert_eq!(source.as_deref(), want["source_ip"].as_str(), "{name}");
        let domains: Vec<&str> = feedback.domains.iter().map(String::as_str).collect();
        assert_eq!(Value::from(domains), want["reported_domain"], "{name}");
        assert_eq!(
            feedback.uris.len(),
            want["reported_uri"].as_array().unwrap().len()
        );
        assert_eq!(
            feedback.dkim_domain.as_deref(),
            want["dkim_domain"].as_str(),
            "{name}"
        );
        let told = [&want["message"], &want["headers"]]
            .into_iter()
            .find_map(Value::as_str);
        let original = String::from_utf8_lossy(feedback.original.as_deref().unwrap());
        assert!(original.contains("From: "), "{name}");
        // Where that library keeps the original at all, it is the same.
        if let Some(told) = told {
            let (told, original) = (told.replace("\r\n", "\n"), original.replace("\r\n", "\n"));
            assert_eq!(original.trim(), told.trim(), "{name}");
        }
        assert_eq!(open(&message), Ok(Received::Feedback(Box::new(feedback))));
        count += 1;
    }
    println!("abuse and failure reports: {count} read as they should");
    assert_eq!(count, 5);
}

#[test]
fn the_abuse_reports_of_the_real_world_are_read_and_bounces_are_none() {
    let Some(folder) = vectors("bounces/sisimai") else {
        return;
    };
    let (mut read, mut of_another_form, mut others) = (0, Vec::new(), 0);
    for path in files(&folder, ".eml") {
        let message = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let is_arf = name.starts_with("arf-");
        match arf::read(&message) {
            Some(feedback) => {
                assert!(!feedback.kind.is_empty(), "{name}");
                read += 1;
            }
            None if is_arf => of_another_form.push(name),
            None => {
                // The history of a bounce may quote one; none of these is a report of its own.
                assert!(
                    !matches!(open(&message), Ok(Received::Aggregate(_))),
                    "{name}"
                );
                others += 1;
            }
        }
    }
    println!("{read} abuse reports, {others} others; without the type: {of_another_form:?}");
    assert!(read >= 13 && others > 200, "{read} {others}");
    // These complain in plain words, without a part of the type of RFC 5965.
    for name in &of_another_form {
        let text = std::fs::read(folder.join(name)).unwrap();
        let text = String::from_utf8_lossy(&text).to_lowercase();
        assert!(
            !text.contains("content-type: message/feedback-report"),
            "{name}"
        );
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z.]{1,12}", "[ -~\u{fc}\u{20ac}]{1,20}"]
        .prop_map(|text| text.trim().to_owned())
        .prop_filter("empty texts are as absent ones", |text| !text.is_empty())
}

fn verdict() -> impl Strategy<Value = Verdict> {
    proptest::sample::select(Verdict::ALL.to_vec())
}

fn row() -> impl Strategy<Value = Row> {
    let signature = (text(), text(), verdict(), proptest::option::of(text())).prop_map(
        |(domain, selector, verdict, reason)| Signature {
            domain,
            selector: Some(selector),
            verdict,
            reason,
        },
    );
    let spf = (text(), verdict()).prop_map(|(domain, verdict)| Spf {
        domain,
        helo: false,
        verdict,
        reason: None,
    });
    let results = (
        proptest::collection::vec(signature, 0..4),
        proptest::collection::vec(spf, 0..2),
    );
    let kinds = vec![OverrideKind::MailingList, OverrideKind::PolicyTestMode];
    let reason = (proptest::sample::select(kinds), text())
        .prop_map(|(kind, comment)| Override { kind, comment });
    let dispositions = vec![Disposition::None, Disposition::Pass, Disposition::Reject];
    let evaluated = (
        proptest::sample::select(dispositions),
        any::<(bool, bool)>(),
        proptest::collection::vec(reason, 0..3),
    );
    (
        any::<std::net::IpAddr>(),
        evaluated,
        text(),
        proptest::option::of(text()),
        results,
    )
        .prop_map(
            |(
                source,
                (disposition, aligned, overrides),
                header_from,
                envelope_from,
                (dkim, spf),
            )| Row {
                source,
                disposition,
                dkim_aligned: aligned.0,
                spf_aligned: aligned.1,
                overrides,
                header_from,
                envelope_from,
                envelope_to: None,
                dkim,
                spf,
            },
        )
}

fn report(rows: Vec<(Row, u64)>, name: &str) -> Aggregate {
    let record = dmarc::Record::parse(
        b"v=DMARC1; p=reject; sp=none; np=quarantine; aspf=s; t=y; fo=1:d; \
          ruf=mailto:f@example.org; rua=mailto:a@example.org",
    );
    let reporter = Reporter {
        organization: name.to_owned(),
        email: "dmarc@mx.example.net".to_owned(),
        contact: Some("https://mx.example.net/?a=b&c".to_owned()),
        generator: Some("Posthaste".to_owned()),
    };
    let published = Published::new("example.org", &record.unwrap());
    let period = (
        1_790_000_000 / 86_400 * 86_400,
        1_790_000_000 / 86_400 * 86_400 + 86_399,
    );
    let id = "2026-09-21.example.org@mx.example.net".to_owned();
    let mut report = Aggregate::new(reporter, id, period, published);
    for (row, messages) in rows {
        report.add(row, messages);
    }
    report
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_back(
        rows in proptest::collection::vec((row(), 1..1_000_000u64), 1..6),
        name in text(),
    ) {
        let report = report(rows, &name);
        let back = read(report.to_xml().as_bytes()).unwrap();
        prop_assert_eq!(&back, &report);
        let packed = report.to_gzip(usize::MAX).unwrap();
        prop_assert_eq!(read(&unpack(packed).unwrap()).unwrap(), report);
    }

    #[test]
    fn no_octets_break_the_reader_of_xml(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("<feedback>".to_owned()), Just("</feedback>".to_owned()),
                Just("<record>".to_owned()), Just("</record>".to_owned()),
                Just("<row><source_ip>192.0.2.1</source_ip>".to_owned()), Just("</row>".to_owned()),
                Just("<auth_results><dkim>".to_owned()), Just("&#x0;&lt;&foo;".to_owned()),
                Just("<![CDATA[x]]>".to_owned()), "[ -~]{0,6}",
            ],
            0..30,
        ),
    ) {
        let _ = read(pieces.concat().as_bytes());
        let _ = open(pieces.concat().as_bytes());
    }
}

#[test]
fn a_report_that_is_too_large_loses_its_smallest_rows_and_says_so() {
    let rows = (0..2_000u32).map(|i| {
        let mut row = plain_row();
        row.source = std::net::IpAddr::V4(i.wrapping_mul(2_654_435_761).into());
        (row, u64::from(i) + 1)
    });
    let report = report(rows.collect(), "x");
    let whole = report.to_gzip(usize::MAX).unwrap();
    let packed = report.to_gzip(whole.len() / 3).unwrap();
    assert!(packed.len() <= whole.len() / 3);
    let back = read(&unpack(packed).unwrap()).unwrap();
    assert!(back.rows.len() >= 250, "{}", back.rows.len());
    let left_out = report.messages() - back.messages();
    assert!(back.errors[0].starts_with(&format!("{left_out} messages are left out")));
    assert!(back.rows.values().min() > Some(&1_000));
    assert_eq!(report.to_gzip(10), None);
}

fn plain_row() -> Row {
    Row {
        source: "192.0.2.1".parse().unwrap(),
        disposition: Disposition::None,
        dkim_aligned: true,
        spf_aligned: false,
        overrides: Vec::new(),
        header_from: "example.org".to_owned(),
        envelope_from: Some("example.org".to_owned()),
        envelope_to: None,
        dkim: Vec::new(),
        spf: Vec::new(),
    }
}

#[test]
fn what_is_no_report_or_a_trap_says_so() {
    for (xml, want) in [
        ("<feedback/>", "it has no report_id"),
        ("<html></html>", "its root element is not feedback"),
        ("<feedback><a></feedback>", "not XML"),
        ("<feedback>", "not XML: it ends early"),
        ("", "its root element is not feedback"),
        (
            "<!DOCTYPE x [<!ENTITY a \"b\">]><feedback>&a;</feedback>",
            "document type",
        ),
    ] {
        let why = read(xml.as_bytes()).unwrap_err().to_string();
        assert!(why.contains(want), "{xml}: {why}");
    }
    let deep = "<feedback>".repeat(100_000);
    assert!(
        read(deep.as_bytes())
            .unwrap_err()
            .to_string()
            .contains("too deep")
    );
    assert_eq!(
        open(b"Subject: x\r\n\r\nhello\r\n"),
        Err(Unopened::NoReport)
    );
    let text = "<feedback>".to_owned() + &"x".repeat(OCTETS_MAX);
    assert_eq!(unpack(text.into_bytes()), Err(Unopened::TooLarge));
}

#[test]
fn the_mail_of_a_report_is_one_that_we_can_open() {
    let report = report(vec![(plain_row(), 3)], "x");
    let mail = Mail {
        submitter: "mx.example.net",
        from: "dmarc@mx.example.net",
        to: "reports@example.org",
        message_id: "2026-09-21.example.org@mx.example.net",
        now_s: 1_790_000_000,
    };
    let message = report.to_mail(&mail, 1_000_000).unwrap();
    assert_eq!(open(&message), Ok(Received::Aggregate(Box::new(report))));
    let text = String::from_utf8(message).unwrap();
    for want in [
        "Subject: Report Domain: example.org\r\n\tSubmitter: mx.example.net\r\n\tReport-ID: \
         <2026-09-21.example.org@mx.example.net>\r\n",
        "\tfilename=\"mx.example.net!example.org!1789948800!1790035199.xml.gz\"\r\n",
        "Auto-Submitted: auto-generated\r\n",
    ] {
        assert!(text.contains(want), "{text}");
    }
    assert!(
        text.is_ascii()
            && text
                .split("\r\n")
                .all(|l| l.len() <= 78 && !l.contains('\n'))
    );
    let header = text.split_once("\r\n\r\n").unwrap().0;
    assert!(posthaste_mailauth::report::is_report(header.as_bytes()));
}

async fn failed_check(zone: &Zone) -> dmarc::Checked {
    let authors = Authors::of_fields(&[b"Alice <a@example.org>"]);
    dmarc::check(zone, &authors, &Facts::default()).await
}

#[tokio::test]
async fn a_failure_report_shows_the_header_and_nobody() {
    let mut zone = Zone::default();
    zone.txt(
        "_dmarc.example.org",
        "v=DMARC1; p=reject; ruf=mailto:f@example.org",
    );
    let checked = failed_check(&zone).await;
    assert!(failure::is_wanted(&checked, false, false));
    let header = "Received: from x by y for <victim@example.net>; now\r\nTo: victim@example.net\r\n\
                  From: Alice <a@example.org>\r\nSubject: caf\u{e9}\r\n folded\r\n\
                  DKIM-Signature: v=1; d=example.org\r\n";
    let failed = Failed {
        checked: &checked,
        disposition: Policy::Quarantine,
        source: "2001:db8::1".parse().unwrap(),
        arrival_s: 1_790_000_000,
        mail_from_domain: "bounce.example.org",
        authentication_results: "mx.example.net;\r\n dmarc=fail header.from=example.org",
        signature: Some(("example.org", "@example.org", "s1")),
        spf_record: Some("v=spf1 -all"),
        header: header.as_bytes(),
    };
    let mail = Mail {
        submitter: "mx.example.net",
        from: "dmarc@mx.example.net",
        to: "f@example.org",
        message_id: "1@mx.example.net",
        now_s: 1_790_000_000,
    };
    let message = failure::render(&failed, &mail, "Posthaste/1");
    let text = String::from_utf8(message.clone()).unwrap();
    assert!(text.is_ascii() && !text.contains("victim"), "{text}");
    let feedback = arf::read(&message).unwrap();
    assert_eq!(
        (feedback.kind.as_str(), feedback.failure.as_deref()),
        ("auth-failure", Some("dmarc"))
    );
    assert_eq!(feedback.alignment.as_deref(), Some("dkim, spf"));
    assert_eq!(feedback.delivery.as_deref(), Some("spam"));
    assert_eq!(feedback.source, Some(failed.source));
    assert_eq!(feedback.dkim_selector.as_deref(), Some("s1"));
    let original = String::from_utf8(feedback.original.unwrap()).unwrap();
    assert_eq!(
        original,
        "From: Alice <a@example.org>\r\nSubject: caf?\r\n folded\r\n\
         DKIM-Signature: v=1; d=example.org\r\n"
    );
}

#[tokio::test]
async fn failure_reports_are_written_only_to_those_who_want_them() {
    for (record, dkim_failed, spf_failed, want) in [
        ("p=none; ruf=mailto:f@example.org", false, false, true),
        ("p=none", true, true, false),
        ("p=none; psd=y; ruf=mailto:f@example.org", true, true, false),
        ("p=none; fo=1; ruf=mailto:f@example.org", false, false, true),
    ] {
        let mut zone = Zone::default();
        zone.txt("_dmarc.example.org", &format!("v=DMARC1; {record}"));
        let checked = failed_check(&zone).await;
        assert_eq!(
            failure::is_wanted(&checked, dkim_failed, spf_failed),
            want,
            "{record}"
        );
    }
    let passed = |spf: bool| {
        let mut zone = Zone::default();
        async move {
            let record = "v=DMARC1; p=none; fo=1:d:s; ruf=mailto:f@example.org";
            zone.txt("_dmarc.example.org", record);
            let facts = Facts {
                spf: spf.then_some("example.org"),
                dkim: &["example.org"],
                undecided: &[],
            };
            dmarc::check(&zone, &Authors::of_fields(&[b"a@example.org"]), &facts).await
        }
    };
    assert!(failure::is_wanted(&passed(false).await, false, false)); // fo=1: SPF gave no pass
    assert!(!failure::is_wanted(&passed(true).await, false, false));
    assert!(failure::is_wanted(&passed(true).await, true, false)); // fo=d: another signature
    assert!(failure::is_wanted(&passed(true).await, false, true));
}

#[tokio::test]
async fn reports_go_to_strangers_only_if_they_want_them() {
    let mut zone = Zone::default();
    zone.txt("_dmarc.example.com", "v=DMARC1; p=none");
    zone.txt("_dmarc.example.org", "v=DMARC1; p=none");
    zone.txt("example.com._report._dmarc.yes.example.net", "v=DMARC1");
    zone.txt("example.com._report._dmarc.no.example.net", "v=spf1 -all");
    zone.txt(
        "example.com._report._dmarc.other.example.net",
        "v=DMARC1; rua=mailto:new@other.example.net; ruf=mailto:x@elsewhere.example",
    );
    zone.txt(
        "example.com._report._dmarc.away.example.net",
        "v=DMARC1; rua=mailto:victim@elsewhere.example",
    );
    zone.add(
        "example.com._report._dmarc.slow.example.net",
        Entry::Timeout,
    );
    let long = format!("r@{}example.net", "long-label.".repeat(20));
    for (mailbox, reports, want) in [
        ("r@example.com", Reports::Aggregate, "r@example.com"),
        (
            "r@mail.example.com",
            Reports::Aggregate,
            "r@mail.example.com",
        ),
        ("r@yes.example.net", Reports::Aggregate, "r@yes.example.net"),
        (
            "r@other.example.net",
            Reports::Aggregate,
            "new@other.example.net",
        ),
        ("r@other.example.net", Reports::Failure, "no"),
        ("r@no.example.net", Reports::Aggregate, "no"),
        ("r@nothing.example.net", Reports::Aggregate, "no"),
        ("r@away.example.net", Reports::Aggregate, "no"),
        ("r@slow.example.net", Reports::Aggregate, "later"),
        (long.as_str(), Reports::Aggregate, "no"),
    ] {
        let mailbox = Mailbox::parse(mailbox, Utf8::Refused).unwrap();
        let got = match wanted(&zone, "example.com", &mailbox, reports).await {
            Wanted::Yes(mailboxes) => mailboxes[0].to_string(),
            Wanted::No(why) => {
                assert!(!why.is_empty());
                "no".to_owned()
            }
            Wanted::Later(_) => "later".to_owned(),
        };
        assert_eq!(got, want, "{mailbox}");
    }
}

#[tokio::test]
async fn a_row_is_made_of_what_was_checked_and_decided() {
    let mut zone = Zone::default();
    zone.txt("_dmarc.example.org", "v=DMARC1; p=reject; t=y");
    let checked = failed_check(&zone).await;
    let decision = checked.decide(&Local {
        strictest: Policy::Reject,
        exempt: None,
    });
    let spf = Spf {
        domain: "bounce.example.net".to_owned(),
        helo: false,
        verdict: Verdict::Pass,
        reason: None,
    };
    let row = Row::new(
        "192.0.2.1".parse().unwrap(),
        &checked,
        &decision,
        Vec::new(),
        Some(spf),
    );
    assert_eq!(row.disposition, Disposition::Quarantine);
    assert_eq!(row.overrides[0].kind, OverrideKind::PolicyTestMode);
    assert_eq!(row.envelope_from.as_deref(), Some("bounce.example.net"));
    assert_eq!((row.spf_aligned, row.dkim_aligned), (false, false));
    let facts = Facts {
        spf: None,
        dkim: &["example.org"],
        undecided: &[],
    };
    let passed = dmarc::check(&zone, &Authors::of_fields(&[b"a@example.org"]), &facts).await;
    let decision = passed.decide(&Local {
        strictest: Policy::Reject,
        exempt: None,
    });
    let row = Row::new(
        "192.0.2.1".parse().unwrap(),
        &passed,
        &decision,
        Vec::new(),
        None,
    );
    assert_eq!(
        (row.disposition, row.dkim_aligned),
        (Disposition::Pass, true)
    );
}
