//! Who is told what: a table of outcomes and the reports they owe, and what stands in them.

use crate::doors::{Hosts, Node, mailbox};
use posthaste::deliver::{Fate, Outcome, TakenOver};
use posthaste::report::RECIPIENTS_PER_REPORT;
use posthaste_queue::QueueId;
use posthaste_queue::envelope::{ByMode, DeliverBy, LastReply, Notify, Recipient, Ret};
use posthaste_queue::id::ReportKind;
use posthaste_queue::spool::{Body, NewMessage, Stored};
use posthaste_smtp::address::ReversePath;
use posthaste_smtp::reply::Reply;

const MESSAGE: &[u8] = b"From: s@sender.test\r\nSubject: the subject\r\n\r\nthe body\r\n";
const POSTMASTER: &str = "";

fn node() -> Node {
    Node::start("", "", Hosts::none())
}

fn outcome(fate: Fate) -> Outcome {
    match fate {
        Fate::Failed => Outcome::remote(fate, Reply::new(550, (5, 1, 1), "nobody here"), "b.test"),
        Fate::Relayed => Outcome::remote(fate, Reply::new(250, (2, 0, 0), "taken"), "b.test"),
        Fate::Delivered => Outcome::delivered(),
        Fate::Deferred => Outcome::local(Reply::new(451, (4, 4, 1), "no answer")),
        Fate::Delayed => Outcome {
            fate,
            ..Outcome::local(Reply::new(451, (4, 4, 1), "no answer"))
        },
        Fate::Expired => Outcome {
            fate,
            ..Outcome::local(Reply::new(554, (5, 4, 7), "too old"))
        },
    }
}

fn text(report: &NewMessage) -> String {
    match &report.body {
        Body::Inline(octets) => String::from_utf8(octets.to_vec()).unwrap(),
        Body::Large(_) => panic!("a report is small"),
    }
}

fn to(report: &NewMessage) -> String {
    let all: Vec<_> = report
        .envelope
        .recipients
        .iter()
        .map(|r| r.address.to_string())
        .collect();
    all.join(" ")
}

/// The `Action:` and recipient of each report.
async fn due(node: &Node, stored: &Stored, outcomes: &[(u32, Outcome)]) -> Vec<(String, String)> {
    let reports = node.reports.due(stored, outcomes).await;
    reports
        .iter()
        .map(|report| {
            assert_eq!(report.envelope.message.reverse_path, ReversePath::Null);
            let text = text(report);
            let action = text
                .lines()
                .find_map(|l| l.strip_prefix("Action: "))
                .unwrap();
            (action.to_owned(), to(report))
        })
        .collect()
}

fn wish(success: bool, failure: bool, delay: bool) -> Option<Notify> {
    Some(Notify {
        success,
        failure,
        delay,
    })
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_depends_on_fate_wish_and_reverse_path() {
    let never = wish(false, false, false);
    let s = "s@sender.test";
    for (fate, notify, from, owed) in [
        (Fate::Failed, None, s, Some(("failed", s))),
        (
            Fate::Failed,
            wish(false, true, false),
            s,
            Some(("failed", s)),
        ),
        (Fate::Failed, wish(true, false, true), s, None),
        (Fate::Failed, never, s, None),
        (Fate::Failed, None, "", Some(("failed", POSTMASTER))),
        (Fate::Failed, never, "", None),
        (Fate::Expired, None, s, Some(("failed", s))),
        (Fate::Expired, None, "", Some(("failed", POSTMASTER))),
        (Fate::Delayed, None, s, Some(("delayed", s))),
        (Fate::Delayed, wish(false, true, false), s, None),
        (
            Fate::Delayed,
            wish(false, false, true),
            s,
            Some(("delayed", s)),
        ),
        (Fate::Delayed, None, "", None),
        (Fate::Delivered, None, s, None),
        (
            Fate::Delivered,
            wish(true, false, false),
            s,
            Some(("delivered", s)),
        ),
        (Fate::Delivered, wish(true, true, true), "", None),
        (Fate::Relayed, None, s, None),
        (
            Fate::Relayed,
            wish(true, false, false),
            s,
            Some(("relayed", s)),
        ),
        (Fate::Deferred, None, s, None),
        (Fate::Deferred, wish(true, true, true), s, None),
    ] {
        let mut node = node();
        let recipient = Recipient {
            notify,
            ..Recipient::new(mailbox("x@d.test"))
        };
        let stored = node.keep_for(from, vec![recipient], MESSAGE);
        let expected: Vec<_> = owed
            .into_iter()
            .map(|(kind, to)| {
                let to = if to == POSTMASTER {
                    "postmaster@mx.ours.test"
                } else {
                    to
                };
                (kind.to_owned(), to.to_owned())
            })
            .collect();
        let seen = due(&node, &stored, &[(0, outcome(fate))]).await;
        assert_eq!(seen, expected, "{fate:?} {notify:?} from <{from}>");
    }
}

#[tokio::test(start_paused = true)]
async fn a_double_bounce_is_the_last_of_its_line_and_held_without_a_postmaster() {
    let mut node = node();
    let stored = node.keep("", &["x@d.test"], MESSAGE);
    let mut reports = node
        .reports
        .due(&stored, &[(0, outcome(Fate::Failed))])
        .await;
    let double = reports.pop().unwrap();
    assert!(
        double.envelope.recipients[0].progress.held,
        "there is no postmaster"
    );
    assert_eq!(
        double.envelope.id,
        QueueId::report(stored.envelope().id, 0, ReportKind::DoubleBounce)
    );
    let stored = node.commit(double);
    assert!(
        node.reports
            .due(&stored, &[(0, outcome(Fate::Failed))])
            .await
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn a_postmaster_gets_the_double_bounce() {
    // Top-level settings come before the first table, so that this node has its own text.
    let mut node = Node::start_with("postmaster = \"alice@ours.test\"\n", "", "", Hosts::none());
    let stored = node.keep("", &["x@d.test"], MESSAGE);
    let reports = node
        .reports
        .due(&stored, &[(0, outcome(Fate::Failed))])
        .await;
    assert_eq!(to(&reports[0]), "alice@ours.test");
    assert!(!reports[0].envelope.recipients[0].progress.held);
}

#[tokio::test(start_paused = true)]
async fn one_report_tells_of_all_recipients_of_a_kind_and_a_reverse_path() {
    let mut node = node();
    let owner = Some(ReversePath::Mailbox(mailbox("owner@list.test")));
    let recipients = vec![
        Recipient::new(mailbox("a@d.test")),
        Recipient::new(mailbox("b@d.test")),
        Recipient {
            reverse_path: owner,
            ..Recipient::new(mailbox("c@d.test"))
        },
        Recipient::new(mailbox("e@d.test")),
    ];
    let stored = node.keep_for("s@sender.test", recipients, MESSAGE);
    let fates = [Fate::Failed, Fate::Failed, Fate::Failed, Fate::Relayed];
    let outcomes: Vec<_> = (0..).zip(fates.map(outcome)).collect();
    let reports = node.reports.due(&stored, &outcomes).await;
    let mut seen: Vec<_> = reports.iter().map(|r| (to(r), text(r))).collect();
    seen.sort();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].0, "owner@list.test");
    assert!(seen[0].1.contains("c@d.test") && !seen[0].1.contains("a@d.test"));
    assert_eq!(seen[1].0, "s@sender.test");
    assert!(seen[1].1.contains("a@d.test") && seen[1].1.contains("b@d.test"));
    assert!(!seen[1].1.contains("c@d.test") && !seen[1].1.contains("e@d.test"));
}

#[tokio::test(start_paused = true)]
async fn a_report_says_who_why_and_what() {
    let mut node = node();
    let stored = node.keep("s@sender.test", &["x@d.test"], MESSAGE);
    let reports = node
        .reports
        .due(&stored, &[(0, outcome(Fate::Failed))])
        .await;
    let text = text(&reports[0]);
    for part in [
        "Reporting-MTA: dns; mx.ours.test",
        "Final-Recipient: rfc822; x@d.test",
        "Status: 5.1.1",
        "Remote-MTA: dns; b.test",
        "Diagnostic-Code: smtp; 550 5.1.1 nobody here",
        "Auto-Submitted: auto-replied",
        "Subject: the subject",
        "the body",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let message = &reports[0].envelope.message;
    assert_eq!(message.content.size, text.len() as u64);
    assert_eq!(
        reports[0].envelope.id,
        QueueId::report(stored.envelope().id, 0, ReportKind::Failed)
    );
}

#[tokio::test(start_paused = true)]
async fn a_large_message_comes_back_as_its_header_block_only() {
    let mut node = node();
    let large = [MESSAGE, &b"0123456789abcdef\r\n".repeat(100_000)[..]].concat();
    let stored = node.keep("s@sender.test", &["x@d.test"], &large);
    let reports = node
        .reports
        .due(&stored, &[(0, outcome(Fate::Failed))])
        .await;
    let text = text(&reports[0]);
    assert!(text.contains("Subject: the subject") && !text.contains("the body"));
    assert!(text.len() < 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_report_to_an_address_of_ours_goes_where_its_mail_goes() {
    let mut node = node();
    for (from, expected) in [
        ("alice@ours.test", "alice@ours.test"),
        ("gone@ours.test", "gone@ours.test"),
    ] {
        let stored = node.keep(from, &["x@d.test"], MESSAGE);
        let reports = node
            .reports
            .due(&stored, &[(0, outcome(Fate::Failed))])
            .await;
        assert_eq!(to(&reports[0]), expected);
        // A report that cannot be delivered fails as a recipient does, and ends at the postmaster.
        let report = node.commit(reports.into_iter().next().unwrap());
        let done = node.attempt(&report).await;
        let fate = if from.starts_with("gone") {
            Fate::Failed
        } else {
            Fate::Delivered
        };
        assert_eq!(done.outcomes[0].1.fate, fate);
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_shows_what_the_host_said_last() {
    let mut node = node();
    let mut recipient = Recipient::new(mailbox("x@d.test"));
    recipient.progress.last = Some(LastReply {
        at: node.world.clock.now(),
        host: Some("b.test".into()),
        reply: Reply::new(450, (4, 2, 2), "mailbox is full"),
    });
    let stored = node.keep_for("s@sender.test", vec![recipient], MESSAGE);
    let expired = node
        .reports
        .late(&stored.envelope().recipients[0], true, None);
    assert_eq!((expired.fate, expired.reply.code()), (Fate::Expired, 554));
    assert!(expired.reply.text().contains("mailbox is full"));
    let text = text(&node.reports.due(&stored, &[(0, expired)]).await[0]);
    assert!(text.contains("Status: 5.4.7"), "{text}");
    assert!(
        text.contains("Diagnostic-Code: smtp; 450 4.2.2 mailbox is full"),
        "{text}"
    );

    let late = node
        .reports
        .late(&stored.envelope().recipients[0], false, None);
    assert_eq!(
        (late.fate, late.reply.code(), late.remote),
        (Fate::Delayed, 450, true)
    );
    let down = node.reports.late(
        &stored.envelope().recipients[0],
        false,
        Some("b.test: refused"),
    );
    assert!(down.reply.text().contains("b.test: refused") && !down.remote);
    let said = "451 4.4.1 b.test: refused";
    let same = node
        .reports
        .late(&stored.envelope().recipients[0], false, Some(said));
    assert_eq!(same.reply.to_string(), said, "a code is said once");
    let text = text_of_delay(&node, &stored, down).await;
    assert!(
        text.contains("Action: delayed") && text.contains("Will-Retry-Until: "),
        "{text}"
    );
}

async fn text_of_delay(node: &Node, stored: &Stored, outcome: Outcome) -> String {
    text(&node.reports.due(stored, &[(0, outcome)]).await[0])
}

#[tokio::test(start_paused = true)]
async fn many_recipients_get_several_reports_with_ids_of_their_own() {
    let mut node = node();
    let count = RECIPIENTS_PER_REPORT * 2 + 1;
    let recipients: Vec<_> = (0..count)
        .map(|i| Recipient::new(mailbox(&format!("r{i}@d.test"))))
        .collect();
    let stored = node.keep_for("s@sender.test", recipients, MESSAGE);
    let outcomes: Vec<_> = (0..).zip(vec![outcome(Fate::Failed); count]).collect();
    let reports = node.reports.due(&stored, &outcomes).await;
    let ids: std::collections::BTreeSet<_> = reports.iter().map(|r| r.envelope.id).collect();
    assert_eq!((reports.len(), ids.len()), (3, 3));
    let again = node.reports.due(&stored, &outcomes).await;
    assert!(
        again.iter().all(|r| ids.contains(&r.envelope.id)),
        "made once, however often"
    );
}

#[tokio::test(start_paused = true)]
async fn a_host_that_reports_itself_leaves_nothing_to_report() {
    let mut node = node();
    let recipient = Recipient {
        notify: wish(true, true, true),
        ..Recipient::new(mailbox("x@d.test"))
    };
    let stored = node.keep_for("s@sender.test", vec![recipient], MESSAGE);
    let relayed = Outcome {
        taken_over: TakenOver {
            reports: true,
            deliver_by: false,
        },
        ..outcome(Fate::Relayed)
    };
    assert_eq!(due(&node, &stored, &[(0, relayed)]).await, []);
}

#[tokio::test(start_paused = true)]
async fn an_expansion_is_reported_once_and_under_the_name_of_the_alias() {
    let mut node = node();
    let behind = |n: u32| Recipient {
        notify: wish(false, true, false),
        orcpt: Some("rfc822;team@ours.test".into()),
        alias: Some(mailbox("team@ours.test")),
        expansion_owed: n == 0,
        ..Recipient::new(mailbox(&format!("m{n}@d.test")))
    };
    let members = vec![behind(0), behind(1)];
    let stored = node.keep_for("s@sender.test", members.clone(), MESSAGE);
    let expanded = ("expanded".to_owned(), "s@sender.test".to_owned());
    let failed = ("failed".to_owned(), "s@sender.test".to_owned());
    let of = |index, fate| [(index, outcome(fate))];
    assert_eq!(due(&node, &stored, &of(1, Fate::Relayed)).await, []);
    // Whatever becomes of its first attempt: the alias was expanded.
    for fate in [Fate::Deferred, Fate::Relayed, Fate::Delivered] {
        let seen = due(&node, &stored, &of(0, fate)).await;
        assert_eq!(seen, std::slice::from_ref(&expanded), "{fate:?}");
    }
    for fate in [Fate::Failed, Fate::Expired] {
        let seen = due(&node, &stored, &of(0, fate)).await;
        assert_eq!(seen, [failed.clone(), expanded.clone()], "{fate:?}");
    }
    let reports = node.reports.due(&stored, &of(0, Fate::Deferred)).await;
    let text = text(&reports[0]);
    for part in [
        "Original-Recipient: rfc822; team@ours.test",
        "Final-Recipient: rfc822; team@ours.test",
        "Action: expanded",
        "Status: 2.1.5",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains("m0@d.test") && !text.contains("Diagnostic-Code"));

    let mut later = members;
    later[0].progress.attempts = 1;
    let stored = node.keep_for("s@sender.test", later, MESSAGE);
    assert_eq!(due(&node, &stored, &of(0, Fate::Relayed)).await, []);
    assert_eq!(due(&node, &stored, &of(0, Fate::Failed)).await, [failed]);
}

#[tokio::test(start_paused = true)]
async fn who_wants_delivery_by_a_time_hears_of_hosts_that_do_not_know_of_it() {
    let never = wish(false, false, false);
    for (trace, taken_over, notify, told) in [
        (false, false, None, true),
        (false, true, None, false),
        (true, true, None, true),
        (true, false, never, false),
        (false, false, wish(false, true, false), true),
    ] {
        let mut node = node();
        let recipient = Recipient {
            notify,
            ..Recipient::new(mailbox("x@d.test"))
        };
        let at = node.world.clock.now();
        let stored = node.keep_as("s@sender.test", vec![recipient], MESSAGE, |message| {
            message.deliver_by = Some(DeliverBy {
                at,
                mode: ByMode::Notify,
                trace,
            });
        });
        let relayed = Outcome {
            taken_over: TakenOver {
                reports: true,
                deliver_by: taken_over,
            },
            ..outcome(Fate::Relayed)
        };
        let seen = due(&node, &stored, &[(0, relayed)]).await;
        assert_eq!(seen.len(), usize::from(told), "{trace} {taken_over}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_must_be_protected_does_not_come_back_whole_nor_unprotected() {
    let mut node = node();
    let recipients = vec![Recipient::new(mailbox("x@d.test"))];
    let stored = node.keep_as("s@sender.test", recipients, MESSAGE, |message| {
        message.require_tls = true;
        message.ret = Some(Ret::Full);
    });
    let reports = node
        .reports
        .due(&stored, &[(0, outcome(Fate::Failed))])
        .await;
    assert!(reports[0].envelope.message.require_tls);
    let text = text(&reports[0]);
    assert!(text.contains("Subject: the subject") && !text.contains("the body"));
}

#[tokio::test(start_paused = true)]
async fn a_report_about_utf8_says_so() {
    let mut node = node();
    let message = "Subject: grüße\r\n\r\nbody\r\n".as_bytes();
    let recipient = Recipient {
        orcpt: Some("utf-8;\\x{FC}@d.test".into()),
        ..Recipient::new(mailbox("ü@d.test"))
    };
    let stored = node.keep_for("ß@sender.test", vec![recipient], message);
    let reports = node
        .reports
        .due(&stored, &[(0, outcome(Fate::Failed))])
        .await;
    let envelope = &reports[0].envelope;
    assert!(envelope.message.smtp_utf8 && envelope.message.content.utf8_headers);
    let text = text(&reports[0]);
    for part in [
        "To: <ß@sender.test>",
        "Original-Recipient: utf-8; \\x{FC}@d.test",
        "Final-Recipient: utf-8; \\x{FC}@d.test",
        "Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
        "\r\nSubject: grüße\r\n",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}
