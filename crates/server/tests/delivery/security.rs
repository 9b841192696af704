//! TLS with and logins to scripted servers: what they hear, and what they never hear.

use std::sync::Arc;

use crate::doors::{Hosts, Node, tls};
use posthaste::deliver::{Attempted, Fate};

const MESSAGE: &[u8] = b"Subject: s\r\n\r\nx\r\n";
const SERVER: &str = "192.0.2.1:25";
const BY_MX: &str = "mx d.test 10 a.test\na a.test 192.0.2.1";
const SECRET: &str = "open sesame";
/// `\0relay\0open sesame`
const PLAIN: &str = "AHJlbGF5AG9wZW4gc2VzYW1l";

/// Says EHLO's answer and takes a message.
const TAKES: &str = "C: EHLO mx.ours.test\nS: 250-a.test\nS: 250 PIPELINING
    C: MAIL FROM:<s@sender.test>\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nBODY
    S: 250 2.0.0 taken";
const OFFERS: &str = "S: 220 a.test\nC: EHLO mx.ours.test\nS: 250-a.test\nS: 250 STARTTLS
    C: STARTTLS\nS: 220 go";

fn route(keys: &str) -> String {
    format!("[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://a.test\"\n{keys}\n")
}

fn login(keys: &str) -> String {
    route(&format!("user = \"relay\"\npassword_file = \"pw\"\n{keys}"))
}

fn script(parts: &[&str]) -> &'static str {
    parts.join("\n").leak()
}

fn node(config: &str, scripts: &[&'static str]) -> Node {
    let hosts = Hosts::none();
    hosts.add(SERVER, scripts);
    node_of(config, hosts)
}

fn node_of(config: &str, hosts: Arc<Hosts>) -> Node {
    let (certificate, key) = tls::issued("client.ours.test");
    let secret = format!("{SECRET}\n");
    let files = [
        ("/etc/pw", secret.as_str()),
        ("/etc/client.pem", &certificate),
        ("/etc/client.key", &key),
    ];
    Node::start_files(&files, config, BY_MX, hosts)
}

/// Fate, enhanced code, and what protected it: `verified`, why not, `clear`, or `clear: ` and why.
fn told(done: &Attempted) -> (Fate, String, String) {
    let outcome = &done.outcomes[0].1;
    let enhanced = outcome.reply.enhanced().map(|e| e.to_string());
    let protection = match (&done.protection.tls, &done.protection.failed) {
        (Some(facts), _) if facts.peer.is_verified() => "verified".to_owned(),
        (Some(facts), _) => format!("{:?}", facts.peer),
        (None, None) => "clear".to_owned(),
        (None, Some(why)) => format!("clear: {why}"),
    };
    (outcome.fate, enhanced.unwrap_or_default(), protection)
}

#[tokio::test(start_paused = true)]
async fn by_mx_tls_is_used_where_it_is_offered_whoever_the_host_is() {
    for (words, protection) in [
        (
            "TLS self a.test",
            "Unverified(\"the certificate's issuer is not trusted\")",
        ),
        (
            "TLS other.test",
            "Unverified(\"the certificate is for another name\")",
        ),
        ("TLS a.test", "verified"),
    ] {
        let mut node = node("", &[script(&[OFFERS, words, TAKES])]);
        let done = node.send(&["x@d.test"], MESSAGE).await;
        let (fate, _, told) = told(&done);
        assert_eq!(
            (fate, told.as_str()),
            (Fate::Relayed, protection),
            "{words}"
        );
        let facts = done.protection.tls.unwrap();
        assert_eq!(
            (facts.version, facts.server_name.as_deref()),
            ("TLSv1.3", Some("a.test"))
        );
        let heard = node.hosts.heard();
        assert_eq!(heard.len(), 1);
        assert!(heard[0].starts_with("EHLO mx.ours.test\r\nSTARTTLS\r\nEHLO mx.ours.test\r\nMAIL"));
    }
}

#[tokio::test(start_paused = true)]
async fn by_mx_a_handshake_that_fails_is_followed_by_a_new_connection_in_clear() {
    let garbage = script(&[OFFERS, "C:\nS: what is this?\nCLOSE"]);
    let clear = script(&["S: 220 a.test", TAKES]);
    let mut node = node("", &[garbage, clear]);
    let done = node.send(&["x@d.test"], MESSAGE).await;
    let (fate, _, protection) = told(&done);
    assert_eq!(fate, Fate::Relayed);
    assert!(
        protection.starts_with("clear: the TLS handshake failed"),
        "{protection}"
    );
    let heard = node.hosts.heard();
    assert_eq!(heard.len(), 2);
    assert!(!heard[0].contains("MAIL") && !heard[1].contains("STARTTLS"));
}

#[tokio::test(start_paused = true)]
async fn by_mx_a_refusal_of_starttls_is_followed_by_mail_in_clear() {
    let script = script(&[
        "S: 220 a.test\nC: EHLO\nS: 250-a.test\nS: 250-PIPELINING\nS: 250 STARTTLS
        C: STARTTLS\nS: 454 4.7.0 not now",
        TAKES.split_once("PIPELINING\n").unwrap().1,
    ]);
    let mut node = node("", &[script]);
    let done = node.send(&["x@d.test"], MESSAGE).await;
    let (fate, _, protection) = told(&done);
    assert_eq!(fate, Fate::Relayed);
    assert_eq!(
        protection,
        "clear: the host refused STARTTLS: 454 4.7.0 not now"
    );
    assert_eq!(node.hosts.heard().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn octets_between_starttls_and_the_handshake_end_the_attempt() {
    let injects = script(&[
        "S: 220 a.test\nC: EHLO\nS: 250-a.test\nS: 250 STARTTLS\nC: STARTTLS",
        "S~ 220 go\\r\\n250-evil\\r\\n250 PIPELINING\\r\\n\nHANG",
    ]);
    let hosts = Hosts::none();
    hosts.add(SERVER, &[injects]);
    let mut node = node_of("", hosts);
    let done = node.send(&["x@d.test"], MESSAGE).await;
    let outcome = &done.outcomes[0].1;
    assert_eq!(outcome.fate, Fate::Deferred);
    assert!(
        outcome.reply.text().contains("broke the protocol"),
        "{outcome:?}"
    );
    assert_eq!(node.hosts.heard(), ["EHLO mx.ours.test\r\nSTARTTLS\r\n"]);
}

#[tokio::test(start_paused = true)]
async fn required_tls_takes_any_certificate_and_never_goes_in_clear() {
    let require = route("tls = \"require\"");
    let mut good = node(&require, &[script(&[OFFERS, "TLS self a.test", TAKES])]);
    let done = good.send(&["x@d.test"], MESSAGE).await;
    assert_eq!(told(&done).0, Fate::Relayed);
    let plain = script(&["S: 220 a.test", TAKES]);
    let refusing = script(&[
        "S: 220 a.test\nC: EHLO\nS: 250-a.test\nS: 250 STARTTLS\nC: STARTTLS\nS: 502 5.5.1 no",
    ]);
    let broken = script(&[OFFERS, "C:\nS: what is this?\nCLOSE"]);
    for (host, code, why) in [
        (plain, "4.7.4", "does not offer STARTTLS"),
        (refusing, "4.7.4", "refused STARTTLS: 502 5.5.1 no"),
        (broken, "4.7.5", "the TLS handshake failed"),
    ] {
        let mut node = node(&require, &[host]);
        let done = node.send(&["x@d.test"], MESSAGE).await;
        let (fate, enhanced, protection) = told(&done);
        assert_eq!(
            (fate, enhanced.as_str(), protection.as_str()),
            (Fate::Deferred, code, "clear")
        );
        assert!(done.outcomes[0].1.reply.text().contains(why), "{done:?}");
        let heard = node.hosts.heard();
        assert_eq!(heard.len(), 1, "tried once");
        assert!(!heard[0].contains("MAIL"), "{heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn verified_tls_is_only_with_a_trusted_certificate_for_the_host() {
    let verify = route("tls = \"verify\"");
    let mut good = node(&verify, &[script(&[OFFERS, "TLS a.test", TAKES])]);
    let done = good.send(&["x@d.test"], MESSAGE).await;
    assert_eq!(
        told(&done),
        (Fate::Relayed, "2.0.0".into(), "verified".into())
    );
    for (words, why) in [
        ("TLS self a.test", "the certificate's issuer is not trusted"),
        ("TLS other.test", "the certificate is for another name"),
    ] {
        let mut node = node(&verify, &[script(&[OFFERS, words, TAKES])]);
        let done = node.send(&["x@d.test"], MESSAGE).await;
        assert_eq!(
            told(&done),
            (Fate::Deferred, "4.7.5".into(), "clear".into())
        );
        assert!(done.outcomes[0].1.reply.text().contains(why), "{done:?}");
        let heard = node.hosts.heard().concat();
        assert!(
            heard.starts_with("EHLO mx.ours.test\r\nSTARTTLS\r\n") && !heard.contains("MAIL"),
            "{heard}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_without_the_tls_that_is_asked_for_is_passed_over_for_the_next() {
    let config = "[[route]]\nrecipients = [\"*\"]\ntls = \"require\"
        via = [\"smtp://192.0.2.1\", \"smtp://192.0.2.2\"]\n";
    let hosts = Hosts::none();
    hosts.add(SERVER, &[script(&["S: 220 a.test", TAKES])]);
    hosts.add(
        "192.0.2.2:25",
        &[script(&[OFFERS, "TLS self b.test", TAKES])],
    );
    let mut node = node_of(config, hosts);
    let done = node.send(&["x@d.test"], MESSAGE).await;
    assert_eq!(told(&done).0, Fate::Relayed);
    assert_eq!(done.passed_over.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn smtps_has_tls_from_the_first_octet() {
    let config = "[[route]]\nrecipients = [\"*\"]\nvia = \"smtps://a.test\"\ntls = \"verify\"\n";
    let hosts = Hosts::none();
    hosts.add(
        "192.0.2.1:465",
        &[script(&["TLS a.test\nS: 220 a.test", TAKES])],
    );
    let mut node = node_of(config, hosts);
    let done = node.send(&["x@d.test"], MESSAGE).await;
    assert_eq!(
        told(&done),
        (Fate::Relayed, "2.0.0".into(), "verified".into())
    );
    assert!(!node.hosts.heard()[0].contains("STARTTLS"));
}

#[tokio::test(start_paused = true)]
async fn smtps_never_goes_in_clear() {
    let config = "[[route]]\nrecipients = [\"*\"]\nvia = \"smtps://a.test\"\n";
    let hosts = Hosts::none();
    hosts.add("192.0.2.1:465", &[script(&["S: 220 a.test", TAKES])]);
    let mut node = node_of(config, hosts);
    let done = node.send(&["x@d.test"], MESSAGE).await;
    assert_eq!(
        told(&done),
        (Fate::Deferred, "4.7.5".into(), "clear".into())
    );
    assert_eq!(node.hosts.heard().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_password_goes_to_a_verified_host() {
    let authenticates = script(&[
        OFFERS,
        "TLS a.test\nC: EHLO\nS: 250-a.test\nS: 250 AUTH LOGIN PLAIN",
        &format!("C: AUTH PLAIN {PLAIN}\nS: 235 2.7.0 welcome"),
        &TAKES.replace(
            "MAIL FROM:<s@sender.test>",
            "MAIL FROM:<s@sender.test> AUTH=<>",
        ),
    ]);
    let mut node = node(&login("tls = \"verify\""), &[authenticates]);
    let done = node.send(&["x@d.test"], MESSAGE).await;
    assert_eq!(
        told(&done),
        (Fate::Relayed, "2.0.0".into(), "verified".into()),
        "{:?}",
        node.hosts.heard()
    );
}

#[tokio::test(start_paused = true)]
async fn a_password_never_goes_to_who_only_says_to_be_the_host() {
    let ask = "C: EHLO\nS: 250-a.test\nS: 250 AUTH PLAIN LOGIN\nC: AUTH\nS: 235 2.7.0 got it";
    for host in [
        script(&[OFFERS, "TLS self a.test", ask]),
        script(&[OFFERS, "TLS other.test", ask]),
        script(&["S: 220 a.test", ask]),
        script(&[
            "S: 220 a.test\nC: EHLO\nS: 250-a.test\nS: 250-AUTH PLAIN\nS: 250 STARTTLS",
            "C: STARTTLS\nS: 454 4.7.0 not now\nC: AUTH\nS: 235 got it",
        ]),
    ] {
        let mut node = node(&login("tls = \"verify\""), &[host]);
        let done = node.send(&["x@d.test"], MESSAGE).await;
        assert_eq!(done.outcomes[0].1.fate, Fate::Deferred);
        let heard = node.hosts.heard().concat();
        assert!(
            !heard.contains("AUTH") && !heard.contains("MAIL"),
            "{heard}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn on_this_machine_a_password_goes_in_clear() {
    let config = "[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://127.0.0.1:2526\"
        user = \"relay\"\npassword_file = \"pw\"\n";
    let authenticates = script(&[
        "S: 220 a.test\nC: EHLO\nS: 250-a.test\nS: 250 AUTH PLAIN",
        &format!("C: AUTH PLAIN {PLAIN}\nS: 235 2.7.0 welcome"),
        TAKES,
    ]);
    let hosts = Hosts::none();
    hosts.add("127.0.0.1:2526", &[authenticates]);
    let mut node = node_of(config, hosts);
    let done = node.send(&["x@d.test"], MESSAGE).await;
    assert_eq!(told(&done), (Fate::Relayed, "2.0.0".into(), "clear".into()));
}

#[tokio::test(start_paused = true)]
async fn a_login_that_fails_keeps_the_mail_and_says_why() {
    let begin = "TLS a.test\nC: EHLO\nS: 250-a.test\nS: 250 AUTH";
    for (rest, code, why) in [
        (
            " PLAIN\nC: AUTH\nS: 535 5.7.8 no",
            "4.7.8",
            "refused the login with PLAIN: 535 5.7.8 no",
        ),
        (" GSSAPI", "4.7.4", "has no AUTH that we have: GSSAPI"),
        (
            // A server that does not know the password says yes.
            " SCRAM-SHA-256 PLAIN\nC: AUTH SCRAM-SHA-256\nS: 235 2.7.0 yes\nC: EHLO",
            "4.7.8",
            "does not prove that it knows the password",
        ),
        (
            " SCRAM-SHA-256\nC: AUTH\nS: 334 cj14LHM9YWJjZCxpPTQwOTY=\nC: *\nS: 501 cancelled",
            "4.7.8",
            "its nonce does not continue ours",
        ),
    ] {
        let host = script(&[OFFERS, &format!("{begin}{rest}")]);
        let mut node = node(&login("tls = \"verify\""), &[host]);
        let done = node.send(&["x@d.test"], MESSAGE).await;
        let outcome = &done.outcomes[0].1;
        let enhanced = outcome.reply.enhanced().unwrap().to_string();
        assert_eq!(
            (outcome.fate, enhanced.as_str()),
            (Fate::Deferred, code),
            "{outcome:?}"
        );
        assert!(outcome.reply.text().contains(why), "{outcome:?}");
        assert!(!node.hosts.heard()[0].contains("MAIL"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_ours_is_shown_and_says_who_we_are() {
    let keys = "tls = \"verify\"\nclient_certificate = \"client.pem\"\nclient_key = \"client.key\"";
    let asks = script(&[
        OFFERS,
        "TLS asks a.test\nC: EHLO\nS: 250-a.test\nS: 250 AUTH EXTERNAL PLAIN",
        "C: AUTH EXTERNAL =\nS: 235 2.7.0 welcome",
        TAKES,
    ]);
    let mut shown = node(&route(keys), &[asks]);
    let done = shown.send(&["x@d.test"], MESSAGE).await;
    assert_eq!(told(&done).0, Fate::Relayed, "{:?}", shown.hosts.heard());
    let mut none = node(&route("tls = \"verify\""), &[asks]);
    let done = none.send(&["x@d.test"], MESSAGE).await;
    assert_eq!(
        told(&done).0,
        Fate::Deferred,
        "who shows none is not let in"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_not_kept_for_a_route_that_asks_for_more() {
    let config = "[[route]]\nrecipients = [\"one.test\"]\nvia = \"smtp://a.test\"\n\
        [[route]]\nrecipients = [\"two.test\"]\nvia = \"smtp://a.test\"\ntls = \"verify\"\n";
    let clear = script(&["S: 220 a.test", TAKES]);
    let verified = script(&[OFFERS, "TLS a.test", TAKES]);
    let mut node = node(config, &[clear, verified]);
    let first = node.send(&["x@one.test"], MESSAGE).await;
    let second = node.send(&["x@two.test"], MESSAGE).await;
    assert_eq!(
        (told(&first).2, told(&second).2),
        ("clear".into(), "verified".into())
    );
    assert_eq!(node.hosts.heard().len(), 2);
}
