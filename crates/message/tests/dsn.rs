//! Reports as a whole: what they look like, that other software reads them, and that nothing a peer
//! says gets out of its field.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::print_stdout)] // says what it skips

use std::io::Write as _;
use std::process::{Command, Stdio};

use posthaste_message::dsn::{Kind, MAX_WHOLE, Original, Reason, Recipient, Report, Return};
use posthaste_message::dsn::{Rendered, returns_whole};
use posthaste_smtp::reply::EnhancedCode;
use proptest::prelude::*;

const MESSAGE: &[u8] = b"From: alice@example.com\r\nMessage-ID: <1@example.com>\r\n\
    Subject: Hello\r\n\r\nHello Bob,\r\n.\r\n--=_01hf_0\r\nAlice\r\n";

fn status(class: u8, subject: u16, detail: u16) -> EnhancedCode {
    EnhancedCode {
        class,
        subject,
        detail,
    }
}

fn bob() -> Recipient<'static> {
    Recipient {
        original: Some("rfc822;bob+2Bx@example.org"),
        address: "bob@example.org",
        status: status(5, 1, 1),
        reason: Some(Reason::Remote {
            host: "mail.example.org",
            reply: "550-5.1.1 No such user here.\n550 5.1.1 See https://example.org/help",
        }),
        last_attempt_s: Some(1_795_516_150),
        retry_until_s: None,
    }
}

fn report<'a>(recipients: &'a [Recipient<'a>], original: Original<'a>) -> Report<'a> {
    Report {
        kind: Kind::Failed,
        reporting_mta: "mx.example.net",
        to: "alice@example.com",
        envelope_id: Some("a+20b"),
        queue_id: "01hf",
        message_id: "<2@mx.example.net>",
        arrival_s: 1_795_516_144,
        unix_s: 1_795_516_151,
        recipients,
        original,
    }
}

fn text(rendered: &Rendered) -> String {
    String::from_utf8(rendered.message.clone()).unwrap()
}

#[test]
fn a_failure_report_reads_as_written_here() {
    let recipients = [bob()];
    let rendered = report(&recipients, Original::Whole(MESSAGE)).render();
    let expected = include_str!("data/failed.eml").replace('\n', "\r\n");
    assert_eq!(text(&rendered), expected);
    assert!(!rendered.eight_bit && !rendered.utf8_header);
}

#[test]
fn a_delay_notice_says_until_when_and_returns_the_header_only() {
    let late = Recipient {
        status: status(4, 4, 1),
        reason: Some(Reason::Local(
            "no connection to mail.example.org [192.0.2.1]:25: timed out",
        )),
        retry_until_s: Some(1_795_948_144),
        ..bob()
    };
    let recipients = [
        late.clone(),
        Recipient {
            address: "carol@example.org",
            ..late
        },
    ];
    let block = b"Subject: Hello\r\n\r\n";
    let rendered = Report {
        kind: Kind::Delayed,
        ..report(&recipients, Original::Headers(block))
    }
    .render();
    let text = text(&rendered);
    assert!(
        text.contains("Subject: Your message is delayed\r\n"),
        "{text}"
    );
    assert_eq!(
        text.matches("Will-Retry-Until: Sun, 29 Nov 2026 10:29:04 +0000\r\n")
            .count(),
        2
    );
    assert_eq!(
        text.matches("Diagnostic-Code: x-posthaste; no connection to ")
            .count(),
        2
    );
    assert!(
        text.contains("not been delivered yet to the addresses below"),
        "{text}"
    );
    assert!(
        text.contains("Content-Type: text/rfc822-headers\r\n"),
        "{text}"
    );
    assert!(
        text.contains("\r\nSubject: Hello\r\n\r\n--=_01hf_0--\r\n"),
        "{text}"
    );
}

#[test]
fn the_other_kinds_say_so_and_give_no_advice() {
    for (kind, action) in [
        (Kind::Delivered, "delivered"),
        (Kind::Relayed, "relayed"),
        (Kind::Expanded, "expanded"),
    ] {
        let recipients = [Recipient {
            status: status(2, 1, 5),
            reason: None,
            ..bob()
        }];
        let report = Report {
            kind,
            ..report(&recipients, Original::Headers(b"A: 1\r\n"))
        };
        let text = text(&report.render());
        assert!(
            text.contains(&format!("Action: {action}\r\nStatus: 2.1.5\r\n")),
            "{text}"
        );
        assert!(
            !text.contains("What you can do") && !text.contains("Diagnostic-Code"),
            "{text}"
        );
    }
}

#[test]
fn eight_bit_content_is_declared_where_it_is() {
    let recipients = [bob()];
    let rendered = report(&recipients, Original::Whole(b"A: 1\r\n\r\n\xfc\r\n")).render();
    let lossy = String::from_utf8_lossy(&rendered.message).into_owned();
    assert_eq!(
        lossy.matches("Content-Transfer-Encoding: 8bit\r\n").count(),
        2,
        "{lossy}"
    );
    assert!(rendered.eight_bit && !rendered.utf8_header);
    let grief = [Recipient {
        address: "j\u{f6}rg@example.org",
        original: None,
        ..bob()
    }];
    let report = Report {
        to: "\u{fc}@example.com",
        ..report(&grief, Original::Whole(MESSAGE))
    };
    let rendered = report.render();
    assert!(rendered.eight_bit && rendered.utf8_header);
    let text = text(&rendered);
    assert!(
        text.contains("Final-Recipient: utf-8; j\\x{F6}rg@example.org\r\n"),
        "{text}"
    );
    assert!(
        text.contains("Content-Type: text/plain; charset=utf-8\r\n"),
        "{text}"
    );
}

#[test]
fn the_whole_message_returns_only_when_it_failed_and_is_small() {
    assert!(returns_whole(Kind::Failed, Return::Unset, MAX_WHOLE));
    assert!(returns_whole(Kind::Failed, Return::Full, 1));
    assert!(!returns_whole(Kind::Failed, Return::Full, MAX_WHOLE + 1));
    assert!(!returns_whole(Kind::Failed, Return::Headers, 1));
    assert!(!returns_whole(Kind::Delayed, Return::Full, 1));
}

#[test]
fn a_message_that_holds_the_boundary_gets_another_one() {
    let recipients = [bob()];
    let text = text(&report(&recipients, Original::Whole(MESSAGE)).render());
    assert!(text.contains("boundary=\"=_01hf_1\""), "{text}");
    assert_eq!(text.matches("\r\n--=_01hf_1").count(), 4);
}

#[test]
fn a_quoted_local_part_keeps_each_of_its_spaces() {
    let recipients = [Recipient {
        address: "\"a  b\"@example.org",
        ..bob()
    }];
    let to = "\"boundary=  \\\"c\"@example.com";
    let report = Report {
        to,
        ..report(&recipients, Original::Headers(b"A: 1\r\n"))
    };
    let text = text(&report.render());
    assert!(
        text.contains("\r\nTo: <\"boundary=  \\\"c\"@example.com>\r\n"),
        "{text}"
    );
    assert!(
        text.contains("Final-Recipient: rfc822; \"a  b\"@example.org\r\n"),
        "{text}"
    );
}

/// Splits a block into fields; panics on what is none.
fn fields(block: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in block.split_terminator("\r\n") {
        if let Some(more) = line.strip_prefix([' ', '\t']) {
            fields
                .last_mut()
                .expect("a continuation continues something")
                .1 += more;
        } else {
            let (name, value) = line.split_once(": ").expect("a field has a name");
            assert!(
                name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
                "{name}"
            );
            fields.push((name.to_owned(), value.to_owned()));
        }
    }
    fields
}

fn names(block: &str) -> Vec<String> {
    fields(block).into_iter().map(|(name, _)| name).collect()
}

proptest! {
    #[test]
    fn whatever_a_peer_says_stays_in_its_field(
        said in "(\\PC|[\r\n\t\0<>()\";:\\\\-]){0,300}",
        address in "(\\PC|[\r\n\"<>(@ ]){0,80}",
        original in "(\\PC|[\r\n;+]){0,40}",
        host in "(\\PC|[\r\n]){0,40}",
        body in "([ -~]|\r\n){0,200}",
    ) {
        let recipient = Recipient {
            original: Some(&original),
            address: &address,
            reason: Some(Reason::Remote { host: &host, reply: &said }),
            retry_until_s: Some(1),
            ..bob()
        };
        let reason = Some(Reason::Local(&said));
        let local = Recipient { reason, original: None, ..recipient.clone() };
        let recipients = [recipient, local];
        let report = Report {
            to: &address,
            envelope_id: Some(&original),
            message_id: &host,
            queue_id: &said,
            ..report(&recipients, Original::Whole(body.as_bytes()))
        };
        let rendered = report.render();
        let text = text(&rendered);
        prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\0']));
        prop_assert_eq!(rendered.eight_bit, !text.is_ascii());

        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        let mut head_names = names(head);
        head_names.retain(|name| name != "In-Reply-To" && name != "References");
        prop_assert_eq!(head_names, ["From", "To", "Subject", "Date", "Message-ID",
            "Auto-Submitted", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"]);

        let boundary = head.split("\r\n\tboundary=\"").nth(1).unwrap().split('"').next().unwrap();
        let delimiter = format!("\r\n--{boundary}");
        let parts: Vec<&str> = text.split(&delimiter).collect();
        prop_assert_eq!(parts.len(), 5);
        prop_assert_eq!(parts[4], "--\r\n");
        let (_, groups) = parts[2].split_once("\r\n\r\n").unwrap();
        let groups: Vec<&str> = groups.trim_end_matches("\r\n").split("\r\n\r\n").collect();
        prop_assert_eq!(groups.len(), 3);
        prop_assert_eq!(names(groups[0]),
            ["Original-Envelope-Id", "Reporting-MTA", "X-Posthaste-Queue-Id", "Arrival-Date"]);
        let mut first = names(groups[1]);
        first.retain(|name| name != "Original-Recipient");
        prop_assert_eq!(first, ["Final-Recipient", "Action", "Status", "Remote-MTA",
            "Diagnostic-Code", "Last-Attempt-Date"]);
        prop_assert_eq!(names(groups[2]),
            ["Final-Recipient", "Action", "Status", "Diagnostic-Code", "Last-Attempt-Date"]);
        prop_assert!(parts[2].is_ascii());
        let (_, returned) = parts[3].split_once("\r\n\r\n").unwrap();
        let whole = if body.ends_with("\r\n") { body } else { format!("{body}\r\n") };
        prop_assert_eq!(returned, whole);
        prop_assert!(text.lines().all(|line| line.len() <= 998));
    }
}

/// Reads a report on standard input as an independent implementation does, and prints what it
/// found.
const READER: &str = r#"
import email, email.policy, sys
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
assert not m.defects, m.defects
assert m.get_content_type() == "multipart/report", m.get_content_type()
assert m.get_param("report-type") == "delivery-status"
assert m["Auto-Submitted"] == "auto-replied"
parts = list(m.iter_parts())
print([p.get_content_type() for p in parts])
print(m["To"].addresses[0].addr_spec, m["From"].addresses[0].addr_spec, m["In-Reply-To"])
groups = parts[1].get_payload()
print([sorted(g.keys()) for g in groups])
print(groups[1]["Final-Recipient"], "|", groups[1]["Status"], "|", groups[1]["Diagnostic-Code"])
print(parts[2].get_payload()[0].as_bytes(policy=email.policy.SMTP) == sys.argv[1].encode())
"#;

#[test]
fn python_reads_a_report_as_we_mean_it() {
    let message = std::str::from_utf8(MESSAGE).unwrap();
    let child = Command::new("python3")
        .args(["-c", READER, message])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("SKIP python_reads_a_report_as_we_mean_it: no python3");
        return;
    };
    let recipients = [bob()];
    let rendered = report(&recipients, Original::Whole(MESSAGE)).render();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&rendered.message)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let found = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        found,
        "['text/plain', 'message/delivery-status', 'message/rfc822']\n\
         alice@example.com MAILER-DAEMON@mx.example.net <1@example.com>\n\
         [['Arrival-Date', 'Original-Envelope-Id', 'Reporting-MTA', 'X-Posthaste-Queue-Id'], \
         ['Action', 'Diagnostic-Code', 'Final-Recipient', 'Last-Attempt-Date', \
         'Original-Recipient', 'Remote-MTA', 'Status']]\n\
         rfc822; bob@example.org | 5.1.1 | smtp; 550-5.1.1 No such user here. 550 5.1.1 See \
         https://example.org/help\n\
         True\n"
    );
}
