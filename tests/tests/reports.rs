//! Reports about mail in the name of domains, with the program as a process: what comes is read,
//! shown, and delivered all the same; what is to be told is on the disk when the program ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use posthaste_mailauth::report::aggregate::{
    Aggregate, Disposition, Mail, Published, Reporter, Row,
};
use posthaste_tests::client::Dialogue;
use posthaste_tests::peer::Nsd;
use posthaste_tests::server::Server;
use posthaste_tests::{SOON, mailbox, setup};
use serde_json::Value;

/// A report of another server about local.example.
fn report() -> Vec<u8> {
    let published = Published {
        domain: "local.example".into(),
        ..Published::default()
    };
    let reporter = Reporter {
        organization: "Far \u{1b}[31mMail".into(),
        email: "dmarc@far.example".into(),
        ..Reporter::default()
    };
    let period = (1_795_478_400, 1_795_564_800);
    let mut report = Aggregate::new(reporter, "1@far.example".into(), period, published);
    for (source, passes, messages) in [("192.0.2.1", true, 40), ("203.0.113.5", false, 2)] {
        let row = Row {
            source: source.parse().unwrap(),
            disposition: Disposition::None,
            dkim_aligned: passes,
            spf_aligned: false,
            overrides: Vec::new(),
            header_from: "local.example".into(),
            envelope_from: None,
            envelope_to: None,
            dkim: Vec::new(),
            spf: Vec::new(),
        };
        report.add(row, messages);
    }
    let mail = Mail {
        submitter: "mx.far.example",
        from: "dmarc@far.example",
        to: "alice@local.example",
        message_id: "1@far.example",
        now_s: 1_795_564_900,
    };
    report.to_mail(&mail, 100_000).unwrap()
}

#[test]
fn a_report_that_comes_is_delivered_and_shown_and_outlives_a_restart() {
    let mut server = Server::start(&setup::with(""));
    let none = server.command(&["reports"]);
    assert_eq!(none.out, "no report\n", "{}", none.err);
    let mut dialogue = Dialogue::open(server.address());
    let answer = dialogue.deliver("dmarc@far.example", &["alice@local.example"], &report());
    assert_eq!(answer.code, 250, "{answer:?}");
    let _ = mailbox::wait(&server.dir().join("mail/alice"), 1, SOON);
    let received = server.record("the report", |r| r["event"] == "report-received");
    assert_eq!(received["messages"], 42);
    assert_eq!(received["failed"], 2);
    server.stop();
    server.run();
    let shown = server.command(&["reports", "local.example"]);
    assert!(shown.out.contains("42 in all, 2 failed"), "{}", shown.out);
    assert!(shown.out.contains("2 from 203.0.113.5"), "{}", shown.out);
    assert!(!shown.out.contains('\u{1b}'), "{:?}", shown.out);
    let objects = server.command(&["reports", "--json"]);
    let object: Value = serde_json::from_str(objects.out.trim()).unwrap();
    assert_eq!(object["kind"], "dmarc");
    assert_eq!(object["rows"].as_array().unwrap().len(), 2);
    assert_eq!(
        server.command(&["reports", "other.example"]).out,
        "no report\n"
    );
}

#[test]
fn what_was_seen_of_a_domain_that_asks_is_on_the_disk_when_the_program_ends() {
    let Some(nsd) = Nsd::start(
        "author.example. TXT \"v=spf1 -all\"\n\
         _dmarc.author.example. TXT \"v=DMARC1; p=none; rua=mailto:d@author.example\"\n",
    ) else {
        return;
    };
    let base = setup::BASE.replace("[relay]\nnetworks = [\"127.0.0.0/8\"]\n", "");
    let dns = format!("[dns]\nservers = [\"{}\"]\n", nsd.address);
    for (more, counted) in [("", true), ("[dmarc]\nsend_reports = false\n", false)] {
        let mut server = Server::start(&format!("{base}\n{dns}\n{more}"));
        let mut dialogue = Dialogue::open(server.address());
        let message = b"From: a@author.example\r\nSubject: x\r\n\r\nx\r\n";
        let answer = dialogue.deliver("a@author.example", &["bob@local.example"], message);
        assert_eq!(answer.code, 250, "{answer:?}");
        drop(dialogue);
        assert!(server.stop().success());
        let state = server.dir().join("data/feedback");
        assert_eq!(state.exists(), counted, "{more}");
        if counted {
            let octets = std::fs::read(state).unwrap();
            let has = |text: &str| octets.windows(text.len()).any(|w| w == text.as_bytes());
            assert!(has("author.example") && has("<count>1</count>"));
        }
    }
}
