//! A destination that is down: deferred with the reason in sight, probed once an interval,
//! delivered without help when it is back, reported when it stays away.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, clippy::print_stdout, missing_docs)]

use posthaste_tests::client::Dialogue;
use posthaste_tests::messages::sample;
use posthaste_tests::peer::{Exim, client};
use posthaste_tests::server::{Server, told};
use posthaste_tests::{SOON, free_address, mailbox, setup, until};

fn routed(address: std::net::SocketAddr, retry: &str) -> Server {
    Server::start(&setup::with(&format!(
        "[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://{address}\"\n\n[retry]\n{retry}\n"
    )))
}

#[test]
fn what_waits_for_a_dead_host_is_probed_once_an_interval_and_then_delivered() {
    const MESSAGES: usize = 30;
    let address = free_address();
    let server = routed(address, "intervals = [\"1s\"]");
    let mut dialogue = Dialogue::open(server.address());
    for _ in 0..MESSAGES {
        let message = sample("wait", b"until it is back\r\n").octets;
        let answer = dialogue.deliver("bob@local.example", &["x@remote.example"], &message);
        assert_eq!(answer.code, 250);
    }
    // Three intervals pass; each is one attempt, however many messages wait.
    let attempts = || {
        let records = server.records();
        records
            .iter()
            .filter(|record| record["event"] == "attempt")
            .count()
    };
    let before = attempts();
    let shown = until("the reason in `queue show`", SOON, || {
        let shown = server.command(&["queue", "show"]).out;
        shown.contains("refused").then_some(shown)
    });
    assert!(shown.contains(&address.to_string()), "{shown}");
    until("three further attempts", SOON, || {
        (attempts() >= before + 3).then_some(())
    });
    let seconds = attempts();
    assert!(
        seconds < MESSAGES,
        "{seconds} attempts for {MESSAGES} messages"
    );
    assert_eq!(server.queued(), u64::try_from(MESSAGES).unwrap());

    let Some(exim) = Exim::start(address, "") else {
        return;
    };
    let found = mailbox::wait(&exim.maildir(), MESSAGES, SOON);
    assert_eq!(found.len(), MESSAGES);
    until("an empty queue", SOON, || {
        (server.queued() == 0).then_some(())
    });
}

const PYTHON: &str = "
import email, email.policy, json, sys
message = email.message_from_binary_file(open(sys.argv[1], 'rb'), policy=email.policy.default)
parts = list(message.iter_parts())
status = [dict(block.items()) for block in parts[1].get_payload()]
print(json.dumps({
    'type': message.get_content_type(),
    'report-type': message.get_param('report-type'),
    'parts': [part.get_content_type() for part in parts],
    'text': parts[0].get_content(),
    'status': status,
    'defects': [str(d) for part in message.walk() for d in part.defects],
    'auto-submitted': str(message['Auto-Submitted']),
    'to': str(message['To']),
}))
";

#[test]
fn what_stays_away_gives_a_delay_notice_and_then_a_report_that_a_mail_reader_reads() {
    if !client::is_there("python3") {
        return;
    }
    let retry = "intervals = [\"1s\"]\ndelay_notice_after = \"2s\"\nexpire_after = \"5s\"";
    let server = routed(free_address(), retry);
    let mut dialogue = Dialogue::open(server.address());
    let message = sample("gone", b"nobody will read this\r\n").octets;
    assert_eq!(
        dialogue
            .deliver("bob@local.example", &["x@remote.example"], &message)
            .code,
        250
    );
    let maildir = server.dir().join("mail/bob");
    let reports = mailbox::wait(&maildir, 2, SOON);
    until("an empty queue", SOON, || {
        (server.queued() == 0).then_some(())
    });
    assert_eq!(reports.len(), 2);
    let mut actions = Vec::new();
    for report in reports {
        let path = server.dir().join("report");
        std::fs::write(&path, report).unwrap();
        let words = [PYTHON, &path.display().to_string()];
        let mut python = client::command("python3", "exec python3 -c \"$1\" \"$2\"", &words);
        let told = told(&mut python);
        assert!(told.status.success(), "{}", told.err);
        let read: serde_json::Value = serde_json::from_str(&told.out).unwrap();
        assert_eq!(read["type"], "multipart/report", "{read:#}");
        assert_eq!(read["report-type"], "delivery-status", "{read:#}");
        assert_eq!(read["parts"][0], "text/plain", "{read:#}");
        assert_eq!(read["parts"][1], "message/delivery-status", "{read:#}");
        assert_eq!(read["defects"], serde_json::json!([]), "{read:#}");
        assert!(
            read["to"].as_str().unwrap().contains("bob@local.example"),
            "{read:#}"
        );
        assert!(
            read["auto-submitted"]
                .as_str()
                .unwrap()
                .starts_with("auto-replied"),
            "{read:#}"
        );
        assert!(
            read["text"].as_str().unwrap().contains("x@remote.example"),
            "{read:#}"
        );
        let recipient = &read["status"][1];
        assert_eq!(
            recipient["Final-Recipient"], "rfc822; x@remote.example",
            "{read:#}"
        );
        actions.push(recipient["Action"].as_str().unwrap().to_owned());
    }
    actions.sort();
    assert_eq!(actions, ["delayed", "failed"]);
}
