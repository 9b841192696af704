//! Messages to scripted servers: what the server hears, and what becomes of each recipient.

use std::sync::Arc;
use std::time::Duration;

use crate::doors::{Hosts, Node};
use posthaste::deliver::{Attempted, Fate};

const MESSAGE: &[u8] = b"Subject: s\r\n\r\n.dot\r\nend\r\n";
const SENT: &str = "Received: by mx.ours.test\r\nSubject: s\r\n\r\n..dot\r\nend\r\n.\r\n";

const ONE: &str = "mx d.test 10 a.test\na a.test 192.0.2.1";
const TWO: &str =
    "mx d.test 10 a.test\nmx d.test 20 b.test\na a.test 192.0.2.1\na b.test 192.0.2.2";

/// Greets, takes everything, pipelining.
const TAKES: &str = "S: 220 a.test\nC: EHLO mx.ours.test\nS: 250-a.test\nS: 250-PIPELINING
            S: 250 8BITMIME
    C: MAIL FROM:<s@sender.test>\nC: RCPT TO:<x@d.test>\nC: DATA\nS: 250 ok\nS: 250 ok
            S: 354 go\nBODY\nS: 250 2.0.0 taken";

fn node(dns: &str, hosts: &[(&str, &[&'static str])]) -> Node {
    let table = Hosts::none();
    for (at, scripts) in hosts {
        table.add(at, scripts);
    }
    Node::start("", dns, table)
}

/// Fates with the reply that decided, in order of recipients.
fn fates(attempted: &Attempted) -> Vec<(Fate, String)> {
    let mut all: Vec<_> = attempted.outcomes.iter().collect();
    all.sort_by_key(|(index, _)| *index);
    all.iter()
        .map(|(_, o)| (o.fate, o.reply.to_string()))
        .collect()
}

/// The only recipient's fate and enhanced code.
fn only(attempted: &Attempted) -> (Fate, String) {
    assert_eq!(attempted.outcomes.len(), 1, "{attempted:?}");
    let outcome = &attempted.outcomes[0].1;
    (
        outcome.fate,
        outcome
            .reply
            .enhanced()
            .map(|e| e.to_string())
            .unwrap_or_default(),
    )
}

fn is(fate: Fate, enhanced: &str) -> (Fate, String) {
    (fate, enhanced.to_owned())
}

#[tokio::test(start_paused = true)]
async fn one_transaction_serves_all_recipients_and_carries_the_message_unchanged() {
    let script =
        "S: 220 a.test\nC: EHLO mx.ours.test\nS: 250-a.test\nS: 250-SIZE 0\nS: 250 PIPELINING
        C:\nC:\nC:\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nBODY\nS: 250 2.0.0 taken";
    let mut node = node(ONE, &[("192.0.2.1:25", &[script])]);
    let done = node.send(&["x@d.test", "\"y z\"@d.test"], MESSAGE).await;
    assert_eq!(
        fates(&done),
        vec![(Fate::Relayed, "250 2.0.0 taken".to_owned()); 2]
    );
    assert_eq!(done.outcomes[0].1.host.as_deref(), Some("a.test"));
    let heard = format!(
        "EHLO mx.ours.test\r\nMAIL FROM:<s@sender.test> SIZE=52\r\nRCPT TO:<x@d.test>\r\n\
         RCPT TO:<\"y z\"@d.test>\r\nDATA\r\n{SENT}"
    );
    assert_eq!(node.hosts.heard(), [heard]);
    assert_eq!(done.destination_failed, None);
}

#[tokio::test(start_paused = true)]
async fn the_next_message_goes_over_the_same_connection() {
    let more = "C: MAIL\nC: RCPT TO:<y@d.test>\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nBODY
            S: 250 second";
    let script: &'static str = format!("{TAKES}\n{more}").leak();
    let mut node = node(ONE, &[("192.0.2.1:25", &[script])]);
    node.send(&["x@d.test"], MESSAGE).await;
    let done = node.send(&["y@d.test"], MESSAGE).await;
    assert_eq!(fates(&done), [(Fate::Relayed, "250 second".to_owned())]);
    assert_eq!(node.hosts.heard().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_in_steady_use_is_kept() {
    let again = "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nBODY\nS: 250 taken\n";
    let script: &'static str = format!("{TAKES}\n{}", again.repeat(5)).leak();
    let mut node = node(ONE, &[("192.0.2.1:25", &[script])]);
    for _ in 0..5 {
        assert_eq!(
            node.send(&["x@d.test"], MESSAGE).await.outcomes[0].1.fate,
            Fate::Relayed
        );
        node.world.clock.sleep(Duration::from_secs(4)).await;
    }
    assert_eq!(node.hosts.heard().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_a_new_one_made() {
    let mut node = node(ONE, &[("192.0.2.1:25", &[TAKES])]);
    node.send(&["x@d.test"], MESSAGE).await;
    node.world.clock.sleep(Duration::from_secs(60)).await;
    let done = node.send(&["x@d.test"], MESSAGE).await;
    assert_eq!(done.outcomes[0].1.fate, Fate::Relayed);
    let heard = node.hosts.heard();
    assert_eq!(heard.len(), 2);
    assert!(heard[0].ends_with(".\r\nQUIT\r\n"), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_recipient_does_not_hold_back_the_others() {
    let script = "S: 220 a.test\nC: EHLO\nS: 250-a.test\nS: 250 PIPELINING\nC:\nC:\nC:\nC:\nC: DATA
        S: 250 ok\nS: 550 5.1.1 nobody\nS: 250 ok\nS: 450 4.2.1 later\nS: 354 go\nBODY\nS: 250 taken
        C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nBODY\nS: 250 second";
    let mut node = node(ONE, &[("192.0.2.1:25", &[script])]);
    let done = node
        .send(&["x@d.test", "y@d.test", "z@d.test"], MESSAGE)
        .await;
    let expected = [
        (Fate::Failed, "550 5.1.1 nobody"),
        (Fate::Relayed, "250 taken"),
        (Fate::Deferred, "450 4.2.1 later"),
    ];
    assert_eq!(fates(&done), expected.map(|(f, r)| (f, r.to_owned())));
    assert_eq!(done.destination_failed, None, "the host works");
    let done = node.send(&["x@d.test"], MESSAGE).await;
    assert_eq!(fates(&done), [(Fate::Relayed, "250 second".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_without_recipients_is_reset_before_the_next() {
    let script = "S: 220 a.test\nC: EHLO\nS: 250-a.test\nS: 250 x\nC: MAIL\nS: 250 ok\nC: RCPT
            S: 550 no
        C: RSET\nS: 250 ok\nC: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 354 go\nBODY
            S: 250 taken";
    let mut node = node(ONE, &[("192.0.2.1:25", &[script])]);
    assert_eq!(
        node.send(&["x@d.test"], MESSAGE).await.outcomes[0].1.fate,
        Fate::Failed
    );
    assert_eq!(
        node.send(&["x@d.test"], MESSAGE).await.outcomes[0].1.fate,
        Fate::Relayed
    );
    assert_eq!(node.hosts.heard().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_cannot_be_used_is_passed_over() {
    let unusable: [&[&'static str]; 8] = [
        &[],            // refuses connections
        &["BLACKHOLE"], // never answers the connect
        &["HANG"],      // never greets
        &["S: 554 no service here"],
        &["S: 421 busy\nCLOSE"],
        &["S: 220 a.test\nC: EHLO\nS: 554 no\nC: HELO\nS: 550 no"],
        &["S: 220 a.test\nC: EHLO\nS: 250 a.test\nC: MAIL\nCLOSE"],
        &["S: what\nHANG"],
    ];
    for scripts in unusable {
        let mut node = match scripts {
            [] => node(TWO, &[("192.0.2.2:25", &[TAKES])]),
            _ => node(
                TWO,
                &[("192.0.2.1:25", scripts), ("192.0.2.2:25", &[TAKES])],
            ),
        };
        let done = node.send(&["x@d.test"], MESSAGE).await;
        assert_eq!(
            done.outcomes[0].1.fate,
            Fate::Relayed,
            "{scripts:?}: {done:?}"
        );
        assert_eq!(done.outcomes[0].1.host.as_deref(), Some("b.test"));
        assert_eq!(done.destination_failed, None);
        assert_eq!(node.hosts.tried.lock().unwrap().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn when_no_host_can_be_used_the_destination_has_failed() {
    let cases: [(&[&'static str], &str, bool); 6] = [
        (&[], "4.4.1", true),
        (&["BLACKHOLE"], "4.4.1", true),
        (&["HANG"], "4.4.1", true),
        (&["S: 554 5.3.2 no service here"], "4.3.2", true),
        (&["S: 421 4.3.2 busy\nCLOSE"], "4.3.2", true),
        (
            &["S: 220 a.test\nC: EHLO\nS: 250 a.test\nC: MAIL\nS: 421 4.3.2 bye\nCLOSE"],
            "4.3.2",
            false,
        ),
    ];
    for (scripts, code, not_begun) in cases {
        let mut node = match scripts {
            [] => node(ONE, &[]),
            _ => node(ONE, &[("192.0.2.1:25", scripts)]),
        };
        let done = node.send(&["x@d.test"], MESSAGE).await;
        assert_eq!(only(&done), is(Fate::Deferred, code), "{scripts:?}");
        let reason = done.destination_failed.expect("it is known as failed");
        assert!(!reason.is_empty());
        assert_eq!(done.not_begun, not_begun, "{scripts:?}");
        assert_eq!(done.passed_over.len(), 1);
        assert!(node.connection.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_its_host_breaks_on_does_not_hold_back_the_others() {
    let hello = "S: 220 a.test\nC: EHLO\nS: 250 a.test\nC: MAIL\n";
    let data = "S: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 354 go\nBODY\n";
    for end in [
        "CLOSE".to_owned(),
        "S: 250 ok\nC: RCPT\nCLOSE".to_owned(),
        format!("{data}CLOSE"),
        format!("{data}S: 421 4.3.0 broken\nCLOSE"),
    ] {
        let script: &'static str = format!("{hello}{end}").leak();
        let mut node = node(ONE, &[("192.0.2.1:25", &[script])]);
        let done = node.send(&["x@d.test"], MESSAGE).await;
        assert_eq!(done.outcomes[0].1.fate, Fate::Deferred, "{end}");
        assert_eq!(done.destination_failed, None, "{end}");
        assert!(!done.not_begun, "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tired_connection_is_no_beginning() {
    let tired: &'static str = format!("{TAKES}\nC: MAIL\nCLOSE").leak();
    let mut node = node(
        ONE,
        &[("192.0.2.1:25", &[tired, "S: 554 5.3.2 no service here"])],
    );
    node.send(&["x@d.test"], MESSAGE).await;
    let done = node.send(&["x@d.test"], MESSAGE).await;
    assert_eq!(only(&done), is(Fate::Deferred, "4.3.2"));
    assert!(done.destination_failed.is_some() && done.not_begun);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_read_says_nothing_about_its_host() {
    let script = "S: 220 a.test\nC: EHLO\nS: 250 a.test\nC: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok
        C: DATA\nS: 354 go\nHANG";
    let mut node = node(
        TWO,
        &[("192.0.2.1:25", &[script]), ("192.0.2.2:25", &[TAKES])],
    );
    let large = [
        MESSAGE,
        &b"0123456789012345678901234567890123456789\r\n".repeat(40_000),
    ]
    .concat();
    let stored = node.keep("s@sender.test", &["x@d.test"], &large);
    node.files.forget("/data/spool/");
    let done = node.attempt(&stored).await;
    assert_eq!(only(&done), is(Fate::Deferred, "4.3.0"));
    assert_eq!(done.outcomes[0].1.host, None);
    assert_eq!(done.destination_failed, None);
    assert_eq!(done.passed_over, []);
    assert_eq!(done.faults.len(), 1);
    assert_eq!(node.hosts.tried.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_host_that_was_passed_over_is_told_with_its_reason() {
    let mut node = node(TWO, &[("192.0.2.1:25", &["S: 554 5.3.2 closed"])]);
    let done = node.send(&["x@d.test"], MESSAGE).await;
    let hosts: Vec<&str> = done.passed_over.iter().map(|(host, _)| &**host).collect();
    assert_eq!(hosts, ["a.test", "b.test"]);
    assert!(done.passed_over[0].1.contains("closed"));
    assert!(done.passed_over[1].1.contains("cannot connect"));
}

#[tokio::test(start_paused = true)]
async fn a_hostile_reply_is_kept_short_wherever_it_goes() {
    let flood = format!(
        "{}S: 550 end",
        format!("S: 550-{}\n", "x".repeat(500)).repeat(40)
    );
    let hello = "S: 220 a.test\nC: EHLO\nS: 250 a.test\nC: MAIL\n";
    for script in [format!("{hello}{flood}"), flood.clone()] {
        let mut node = node(ONE, &[("192.0.2.1:25", &[script.leak()])]);
        let done = node.send(&["x@d.test"], MESSAGE).await;
        let kept = &done.outcomes[0].1.reply;
        assert!(
            (512..=1024).contains(&kept.text().len()),
            "{}",
            kept.text().len()
        );
        assert!(done.destination_failed.is_none_or(|why| why.len() <= 1100));
        assert!(done.passed_over.iter().all(|(_, why)| why.len() <= 1100));
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_takes_no_mail_at_all_is_not_asked_again() {
    let mut node = node(ONE, &[("192.0.2.1:25", &["S: 521 no mail here"])]);
    assert_eq!(
        only(&node.send(&["x@d.test"], MESSAGE).await),
        is(Fate::Failed, "5.3.2")
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_host_says_of_the_message_decides_and_no_other_is_asked() {
    let hello = "S: 220 a.test\nC: EHLO\nS: 250 a.test\nC: MAIL\n";
    let data = "S: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 354 go\nBODY\n";
    for (says, fate) in [
        ("S: 451 4.7.1 greylisted".to_owned(), Fate::Deferred),
        ("S: 550 5.7.1 no".to_owned(), Fate::Failed),
        (
            "S: 250 ok\nC: RCPT\nS: 450 4.2.0 later".to_owned(),
            Fate::Deferred,
        ),
        (
            "S: 250 ok\nC: RCPT\nS: 552 5.2.2 full".to_owned(),
            Fate::Failed,
        ),
        (
            "S: 250 ok\nC: RCPT\nS: 552 too many".to_owned(),
            Fate::Deferred,
        ),
        (
            "S: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 451 4.3.0 no".to_owned(),
            Fate::Deferred,
        ),
        (format!("{data}S: 452 4.3.1 full"), Fate::Deferred),
        (format!("{data}S: 554 5.6.0 spam"), Fate::Failed),
    ] {
        let script: &'static str = format!("{hello}{says}").leak();
        let mut node = node(
            TWO,
            &[("192.0.2.1:25", &[script]), ("192.0.2.2:25", &[TAKES])],
        );
        let done = node.send(&["x@d.test"], MESSAGE).await;
        assert_eq!(done.outcomes[0].1.fate, fate, "{says}");
        assert!(done.outcomes[0].1.remote);
        assert_eq!(done.destination_failed, None, "{says}");
        assert_eq!(node.hosts.heard().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_lost_after_the_end_of_data_is_not_tried_elsewhere() {
    for end in ["CLOSE", "HANG"] {
        let script = format!(
            "S: 220 a.test\nC: EHLO\nS: 250 a.test\nC: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok
            C: DATA\nS: 354 go\nBODY\n{end}"
        );
        let mut node = node(
            TWO,
            &[
                ("192.0.2.1:25", &[script.leak()]),
                ("192.0.2.2:25", &[TAKES]),
            ],
        );
        let done = node.send(&["x@d.test"], MESSAGE).await;
        assert_eq!(only(&done), is(Fate::Deferred, "4.4.2"));
        assert!(done.outcomes[0].1.ambiguous);
        assert_eq!(
            node.hosts.heard().len(),
            1,
            "the other host would get it twice"
        );
        assert_eq!(done.destination_failed, None, "the message may be why");
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_that_the_host_closed_is_made_anew() {
    for end in [
        "CLOSE",
        "C: MAIL\nCLOSE",
        "C: MAIL\nS: 421 4.7.0 enough\nCLOSE",
    ] {
        let tired: &'static str = format!("{TAKES}\n{end}").leak();
        let mut node = node(ONE, &[("192.0.2.1:25", &[tired, TAKES])]);
        node.send(&["x@d.test"], MESSAGE).await;
        let done = node.send(&["x@d.test"], MESSAGE).await;
        assert_eq!(
            fates(&done),
            [(Fate::Relayed, "250 2.0.0 taken".to_owned())],
            "{end}"
        );
        assert_eq!(done.destination_failed, None);
        assert_eq!(node.hosts.heard().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_the_midst_of_the_content_is_heard() {
    let script =
        "S: 220 a.test\nC: EHLO\nS: 250 a.test\nC: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA
        S: 354 go\nC:\nS: 552 5.3.4 too big\nCLOSE";
    let mut node = node(ONE, &[("192.0.2.1:25", &[script])]);
    let large = [
        &b"Subject: s\r\n\r\n"[..],
        &b"0123456789012345678901234567890123456789\r\n".repeat(20_000),
    ]
    .concat();
    let done = node.send(&["x@d.test"], &large).await;
    assert_eq!(only(&done), is(Fate::Failed, "5.3.4"));
}

#[tokio::test(start_paused = true)]
async fn what_the_host_cannot_take_fails_before_anything_is_sent() {
    let plain = "S: 220 a.test\nC: EHLO\nS: 250 a.test";
    let old = "S: 220 a.test\nC: EHLO\nS: 500 what\nC: HELO mx.ours.test\nS: 250 a.test";
    let small = "S: 220 a.test\nC: EHLO\nS: 250-a.test\nS: 250 SIZE 20";
    let eight_bit = "Subject: s\r\n\r\nä\r\n".as_bytes();
    for (script, message, code) in [
        (plain, eight_bit, "5.6.3"),
        (old, eight_bit, "5.6.3"),
        (small, MESSAGE, "5.3.4"),
    ] {
        let mut node = node(ONE, &[("192.0.2.1:25", &[script])]);
        let done = node.send(&["x@d.test"], message).await;
        assert_eq!(only(&done), is(Fate::Failed, code));
        assert_eq!(done.destination_failed, None);
        assert!(!node.hosts.heard()[0].contains("MAIL"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_without_ehlo_is_greeted_with_helo() {
    let script = "S: 220 a.test\nC: EHLO\nS: 502 what\nC: HELO mx.ours.test\nS: 250 a.test
            C: MAIL FROM:<s@sender.test>
        S: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 354 go\nBODY\nS: 250 taken";
    let mut node = node(ONE, &[("192.0.2.1:25", &[script])]);
    assert_eq!(
        node.send(&["x@d.test"], MESSAGE).await.outcomes[0].1.fate,
        Fate::Relayed
    );
}

#[tokio::test(start_paused = true)]
async fn a_host_that_greets_with_our_name_is_ourselves() {
    let script = "S: 220 hello\nC: EHLO\nS: 250 MX.ours.test\nC: QUIT\nS: 221 bye";
    let mut node = node(ONE, &[("192.0.2.1:25", &[script])]);
    assert_eq!(
        only(&node.send(&["x@d.test"], MESSAGE).await),
        is(Fate::Failed, "5.4.6")
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_the_operator_named_may_share_our_name() {
    let script =
        "S: 220 hello\nC: EHLO\nS: 250 mx.ours.test\nC: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok
        C: DATA\nS: 354 go\nBODY\nS: 250 taken";
    let hosts = Hosts::none();
    hosts.add("10.0.0.1:25", &[script]);
    let route = "[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://10.0.0.1:25\"\n";
    let mut node = Node::start(route, "", hosts);
    let done = node.send(&["x@d.test"], MESSAGE).await;
    assert_eq!(done.outcomes[0].1.fate, Fate::Relayed);
}

#[tokio::test(start_paused = true)]
async fn without_a_next_hop_dns_decides() {
    for (dns, fate, code, failed) in [
        ("mx d.test 0 .", Fate::Failed, "5.1.10", false),
        ("", Fate::Failed, "5.1.2", false),
        ("fails d.test", Fate::Deferred, "4.4.3", true),
    ] {
        let mut node = node(dns, &[]);
        let done = node.send(&["x@d.test"], MESSAGE).await;
        assert_eq!(only(&done), is(fate, code), "{dns}");
        assert_eq!(done.destination_failed.is_some(), failed, "{dns}");
        assert_eq!(node.hosts.tried.lock().unwrap().len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn over_lmtp_each_recipient_has_its_own_answer() {
    let hosts = Hosts::none();
    hosts.add(
        "127.0.0.1:24",
        &[
            "S: 220 store\nC: LHLO mx.ours.test\nS: 250-store\nS: 250 PIPELINING
        C: MAIL\nC: RCPT\nC: RCPT\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 550 5.1.1 nobody
            S: 250 ok\nS: 354 go
        BODY\nS: 250 2.1.5 kept\nS: 452 4.2.2 full",
        ],
    );
    let route = "[[route]]\nrecipients = [\"store.test\"]\nvia = \"lmtp://127.0.0.1:24\"\n";
    let mut node = Node::start(route, "", hosts);
    let done = node
        .send(&["x@store.test", "y@store.test", "z@store.test"], MESSAGE)
        .await;
    let expected = [
        (Fate::Relayed, "250 2.1.5 kept"),
        (Fate::Failed, "550 5.1.1 nobody"),
        (Fate::Deferred, "452 4.2.2 full"),
    ];
    assert_eq!(fates(&done), expected.map(|(f, r)| (f, r.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_route_tries_its_servers_in_order_and_never_asks_for_mx() {
    let hosts = Hosts::none();
    hosts.add("10.0.0.2:2525", &[TAKES]);
    let route = "[[route]]\nrecipients = [\"*\"]
            via = [\"smtp://gone.test:25\", \"smtp://10.0.0.1:25\", \"smtp://relay.test:2525\"]\n";
    let mut node = Node::start(
        route,
        "a relay.test 10.0.0.2\nmx d.test 0 .",
        Arc::clone(&hosts),
    );
    let done = node.send(&["x@d.test"], MESSAGE).await;
    assert_eq!(done.outcomes[0].1.fate, Fate::Relayed);
    let tried: Vec<String> = hosts
        .tried
        .lock()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(tried, ["10.0.0.1:25", "10.0.0.2:2525"]);
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_of_ours_gets_the_message_and_a_missing_one_fails() {
    let mut node = node("", &[]);
    let done = node.send(&["alice@ours.test"], MESSAGE).await;
    assert_eq!(only(&done), is(Fate::Delivered, "2.1.5"));
    let files = node.files.below("/m/ours.test/alice/new");
    assert_eq!(files.len(), 1);
    assert_eq!(
        files[0].1,
        "Return-Path: <s@sender.test>\nDelivered-To: alice@ours.test\n\
         Received: by mx.ours.test\nSubject: s\n\n.dot\nend\n"
    );
    assert_eq!(
        only(&node.send(&["carol@ours.test"], MESSAGE).await),
        is(Fate::Failed, "5.1.1")
    );
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_cannot_be_written_is_deferred() {
    use std::io::ErrorKind;
    for (kind, code, faults) in [
        (ErrorKind::StorageFull, "4.3.1", 0),
        (ErrorKind::QuotaExceeded, "4.3.1", 0),
        (ErrorKind::PermissionDenied, "4.3.0", 1),
    ] {
        let mut node = node("", &[]);
        node.files.fail("write", "/m/", kind);
        let done = node.send(&["alice@ours.test"], MESSAGE).await;
        assert_eq!(only(&done), is(Fate::Deferred, code));
        assert_eq!(done.faults.len(), faults);
        assert!(
            !done.outcomes[0].1.reply.to_string().contains("/m/"),
            "no path leaks to senders"
        );
    }
}
