//! What senders wish, and what hosts can: passed on, split, or returned.

use crate::doors::{Hosts, Node, mailbox};
use posthaste::deliver::Fate;
use posthaste_queue::envelope::{ByMode, DeliverBy, Message, Recipient};

const SERVER: &str = "192.0.2.1:25";
const BY_MX: &str = "mx d.test 10 a.test\na a.test 192.0.2.1";
const MESSAGE: &[u8] = b"Subject: s\r\n\r\nx\r\n";
const VERIFY: &str = "[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://a.test\"\ntls = \"verify\"\n";

fn node(config: &str, scripts: &[&'static str]) -> Node {
    let hosts = Hosts::none();
    hosts.add(SERVER, scripts);
    Node::start(config, BY_MX, hosts)
}

/// A host in clear with these lines of EHLO, that hears MAIL so and refuses it.
fn hears(ehlo: &str, mail: &str) -> &'static str {
    format!("S: 220 a.test\nC: EHLO\nS: 250-a.test\n{ehlo}\nC: {mail}\nS: 550 5.7.1 heard").leak()
}

/// What comes of a message with these wishes: the fate, and the reply.
async fn sent(node: &mut Node, to: &[&str], share: impl FnOnce(&mut Message)) -> (Fate, String) {
    let to = to.iter().map(|t| Recipient::new(mailbox(t))).collect();
    let stored = node.keep_as("s@sender.test", to, MESSAGE, share);
    let done = node.attempt(&stored).await;
    let outcome = &done.outcomes[0].1;
    (outcome.fate, outcome.reply.to_string())
}

#[tokio::test(start_paused = true)]
async fn require_tls_goes_to_verified_routes_that_offer_it_and_nowhere_else() {
    let offers = "S: 220 a.test\nC: EHLO\nS: 250-a.test\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go
        TLS a.test\nC: EHLO\nS: 250-a.test";
    let with: &'static str = format!(
        "{offers}\nS: 250 REQUIRETLS\nC: MAIL FROM:<s@sender.test> REQUIRETLS\nS: 550 5.7.1 heard"
    )
    .leak();
    let without: &'static str = format!("{offers}\nS: 250 X").leak();
    let wish = |message: &mut Message| message.require_tls = true;
    let refused = "550 5.7.30 REQUIRETLS support required, and the next hop lacks it";
    for (config, host, reply, connections) in [
        (VERIFY, with, "550 5.7.1 heard", 1),
        (VERIFY, without, refused, 1),
        (&VERIFY.replace("verify", "require"), with, refused, 0),
        (&VERIFY.replace("smtp://a.test", "mx"), with, refused, 0),
        ("", with, refused, 0),
    ] {
        let mut node = node(config, &[host]);
        let told = sent(&mut node, &["x@d.test"], wish).await;
        assert_eq!(told, (Fate::Failed, reply.to_owned()), "{config}");
        assert_eq!(node.hosts.heard().len(), connections, "{config}");
    }
}

#[tokio::test(start_paused = true)]
async fn require_tls_does_not_keep_mail_from_its_final_server_on_this_machine() {
    let host = "S: 220 a.test\nC: LHLO\nS: 250 a.test\nC: MAIL FROM:<s@sender.test>\nS: 550 heard";
    let refused = "550 5.7.30 REQUIRETLS support required, and the next hop lacks it";
    for (at, reply) in [("127.0.0.1:24", "550 heard"), ("192.0.2.1:24", refused)] {
        let config = format!("[[route]]\nrecipients = [\"*\"]\nvia = \"lmtp://{at}\"\n");
        let mut node = node(&config, &[]);
        node.hosts.add(at, &[host]);
        let told = sent(&mut node, &["x@d.test"], |m| m.require_tls = true).await;
        assert_eq!(told.1, reply, "{at}");
        assert!(
            node.hosts
                .heard()
                .iter()
                .all(|heard| !heard.contains("REQUIRETLS"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_goes_on_without_tls_where_there_is_none() {
    let host = hears("S: 250 X", "MAIL FROM:<>");
    let mut node = node("", &[host]);
    let to = vec![Recipient::new(mailbox("x@d.test"))];
    let stored = node.keep_as("", to, MESSAGE, |m| m.require_tls = true);
    let done = node.attempt(&stored).await;
    assert_eq!(done.outcomes[0].1.reply.to_string(), "550 5.7.1 heard");
    assert!(!node.hosts.heard()[0].contains("REQUIRETLS"));
}

#[tokio::test(start_paused = true)]
async fn the_time_that_is_left_and_the_priority_are_passed_on() {
    let offers = "S: 250-DELIVERBY 60\nS: 250 MT-PRIORITY";
    for (mode, by) in [(ByMode::Return, "BY=120;RT"), (ByMode::Notify, "BY=120;NT")] {
        let host = hears(
            offers,
            &format!("MAIL FROM:<s@sender.test> {by} MT-PRIORITY=-4"),
        );
        let mut node = node("", &[host]);
        let now = node.world.clock.now();
        let told = sent(&mut node, &["x@d.test"], |message| {
            let at = now + std::time::Duration::from_secs(120);
            message.deliver_by = Some(DeliverBy {
                at,
                mode,
                trace: true,
            });
            message.priority = -4;
        })
        .await;
        assert_eq!(told.1, "550 5.7.1 heard", "{:?}", node.hosts.heard());
    }
}

#[tokio::test(start_paused = true)]
async fn mail_to_be_returned_when_late_does_not_go_where_nobody_returns_it() {
    for (mode, reply) in [
        (
            ByMode::Return,
            "554 5.3.3 The next hop cannot return the message if it is late (DELIVERBY)",
        ),
        (ByMode::Notify, "550 5.7.1 heard"),
    ] {
        let mut node = node("", &[hears("S: 250 X", "MAIL FROM:<s@sender.test>")]);
        let at = node.world.clock.now() + std::time::Duration::from_secs(120);
        let by = DeliverBy {
            at,
            mode,
            trace: false,
        };
        let told = sent(&mut node, &["x@d.test"], |message| {
            message.deliver_by = Some(by)
        })
        .await;
        assert_eq!(told, (Fate::Failed, reply.to_owned()));
        assert!(!node.hosts.heard()[0].contains("BY="));
    }
}

#[tokio::test(start_paused = true)]
async fn recipients_go_in_as_many_transactions_as_the_host_wants() {
    let one = "C: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 354 go\nBODY
        S: 250 taken";
    let last = "C: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 354 go\nBODY\nS: 250 taken";
    let host: &'static str = format!(
        "S: 220 a.test\nC: EHLO\nS: 250-a.test\nS: 250 LIMITS RCPTMAX=2\n{one}\n{one}\n{last}"
    )
    .leak();
    let mut node = node("", &[host]);
    let to = ["a@d.test", "b@d.test", "c@d.test", "d@d.test", "e@d.test"];
    let done = node.send(&to, MESSAGE).await;
    let fates: Vec<_> = done.outcomes.iter().map(|(_, o)| o.fate).collect();
    assert_eq!(fates, [Fate::Relayed; 5], "{:?}", node.hosts.heard());
    assert_eq!(node.hosts.heard().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_wants_one_transaction_a_connection_gets_connections() {
    let host = "S: 220 a.test\nC: EHLO\nS: 250-a.test\nS: 250 LIMITS RCPTMAX=1 MAILMAX=1
        C: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 354 go\nBODY\nS: 250 taken";
    let mut node = node("", &[host]);
    let done = node
        .send(&["a@d.test", "b@d.test", "c@d.test"], MESSAGE)
        .await;
    let fates: Vec<_> = done.outcomes.iter().map(|(_, o)| o.fate).collect();
    assert_eq!(fates, [Fate::Relayed; 3], "{:?}", node.hosts.heard());
    let heard = node.hosts.heard();
    assert_eq!(heard.len(), 3);
    assert!(heard[0].ends_with(".\r\nQUIT\r\n"), "{heard:?}");
    let done = node.send(&["d@d.test"], MESSAGE).await;
    assert_eq!(
        done.outcomes[0].1.fate,
        Fate::Relayed,
        "the last was not kept"
    );
}

#[tokio::test(start_paused = true)]
async fn content_that_is_no_text_goes_in_a_chunk_or_back() {
    let binary = b"Subject: s\r\n\r\n\0\n\r.\r\nx";
    let chunk = "S: 220 a.test\nC: EHLO\nS: 250-a.test\nS: 250-CHUNKING\nS: 250 BINARYMIME
        C: MAIL FROM:<s@sender.test> BODY=BINARYMIME\nS: 250 ok\nC: RCPT\nS: 250 ok
        C: BDAT 48 LAST\nC: Received\nC: Subject\nC:\nC:\nC:\nS: 250 taken";
    let mut takes = node("", &[chunk]);
    let told = sent_as(&mut takes, binary).await;
    assert_eq!(told, "250 taken", "{:?}", takes.hosts.heard());
    let mut lacks = node("", &[hears("S: 250 CHUNKING", "MAIL")]);
    let told = sent_as(&mut lacks, binary).await;
    assert_eq!(
        told,
        "554 5.6.3 Binary message, and the next hop lacks BINARYMIME"
    );
}

/// The reply to content that is no text.
async fn sent_as(node: &mut Node, content: &[u8]) -> String {
    let to = vec![Recipient::new(mailbox("x@d.test"))];
    let stored = node.keep_as("s@sender.test", to, content, |message| {
        message.content.binary = true;
    });
    let done = node.attempt(&stored).await;
    done.outcomes[0].1.reply.to_string()
}
