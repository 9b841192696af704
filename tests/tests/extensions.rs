//! The extensions in the program: what a sender asks for at MAIL and RCPT, and what comes of it at
//! the end of the way, through two servers. Python's email package reads the reports.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::path::Path;

use posthaste_tests::client::{Answer, Dialogue};
use posthaste_tests::messages::sample;
use posthaste_tests::peer::{Postfix, client};
use posthaste_tests::server::{Server, told};
use posthaste_tests::{SOON, free_address, mailbox, setup, until};
use serde_json::Value;

/// Reads a report: the types of its parts, the fields of its groups, and what it returns.
const PYTHON: &str = "
import email, email.policy, json, sys
report = email.message_from_binary_file(open(sys.argv[1], 'rb'), policy=email.policy.default)
parts = list(report.iter_parts())
groups = [dict((k.lower(), str(v)) for k, v in g.items()) for g in parts[1].get_payload()]
print(json.dumps({
    'type': report.get_content_type(),
    'report': report.get_param('report-type'),
    'from': str(report['return-path']),
    'to': str(report['to']),
    'auto': str(report['auto-submitted']),
    'types': [p.get_content_type() for p in parts],
    'defects': [str(d) for p in [report] + parts for d in p.defects],
    'message': groups[0],
    'recipients': groups[1:],
    'returned': parts[2].as_bytes().decode('utf-8', 'replace'),
}))
";

/// Two servers that send each other mail: `near` takes it in, `far` has `remote.example`.
struct Pair {
    near: Server,
    far: Server,
}

impl Pair {
    fn start(near: &str, far: &str) -> Pair {
        let address = free_address();
        let remote = format!(
            "[[domain]]\nname = \"remote.example\"\nmailboxes = [\"x\", \"ü\"]\n\
             deliver = \"maildir:mail/{{local}}\"\n\
             [[route]]\nrecipients = [\"*\"]\nvia = \"smtp://{address}\"\n{far}\n"
        );
        let base = setup::BASE
            .replace("mx.local.example", "mx.remote.example")
            .replace("alice@local.example", "x@remote.example")
            .replace("name = \"local.example\"", "name = \"far.example\"");
        let far = Server::start(&format!("{base}\n{remote}"));
        let route = format!(
            "aliases = \"aliases\"\n\
             [[route]]\nrecipients = [\"*\"]\nvia = \"smtp://{}\"\n{near}\n",
            far.address()
        );
        let base = setup::BASE.replace("127.0.0.1:0", &address.to_string());
        let mut server = Server::with(&format!("{base}{route}"));
        let aliases = "team: alice, bob, x@remote.example\nold: x@remote.example\n";
        std::fs::write(server.dir().join("aliases"), aliases).unwrap();
        server.run();
        Pair { near: server, far }
    }

    /// Hands a message to `near`, and gives the reply to its final dot.
    fn send(&self, mail: &str, rcpts: &[&str]) -> Answer {
        let mut dialogue = Dialogue::open(self.near.address());
        let message = sample("asked", b"the body\r\n").octets;
        send(&mut dialogue, mail, rcpts, &message)
    }

    /// What `bob` got, who sends the messages: reports, as Python reads them.
    fn reports(&self, count: usize) -> Vec<Value> {
        let maildir = self.near.dir().join("mail/bob");
        let found = mailbox::wait(&maildir, count, SOON);
        for server in [&self.near, &self.far] {
            until("an empty queue", SOON, || {
                (server.queued() == 0).then_some(())
            });
        }
        assert_eq!(mailbox::messages(&maildir).len(), count);
        found
            .iter()
            .map(|report| read(self.near.dir(), report))
            .collect()
    }
}

fn send(dialogue: &mut Dialogue, mail: &str, rcpts: &[&str], message: &[u8]) -> Answer {
    assert_eq!(dialogue.ask(&format!("MAIL FROM:{mail}")).code, 250);
    for rcpt in rcpts {
        let answer = dialogue.ask(&format!("RCPT TO:{rcpt}"));
        assert_eq!(answer.code, 250, "{rcpt}: {answer:?}");
    }
    assert_eq!(dialogue.ask("DATA").code, 354);
    dialogue.send(message);
    dialogue.ask(".")
}

fn read(dir: &Path, report: &[u8]) -> Value {
    let file = dir.join("report");
    std::fs::write(&file, report).unwrap();
    let script = format!("exec python3 -c \"{PYTHON}\" \"$1\"");
    let words = [file.display().to_string()];
    let told = told(&mut client::command("python3", &script, &[&words[0]]));
    assert!(told.status.success(), "{}", told.err);
    let read: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(read["type"], "multipart/report", "{read}");
    assert_eq!(read["report"], "delivery-status", "{read}");
    assert_eq!(read["auto"], "auto-replied", "{read}");
    assert_eq!(read["from"], "<>", "{read}");
    assert_eq!(read["defects"], serde_json::json!([]), "{read}");
    read
}

/// The report whose first recipient has this action.
fn with<'a>(reports: &'a [Value], action: &str) -> &'a Value {
    let has = |report: &&Value| report["recipients"][0]["action"] == action;
    reports
        .iter()
        .find(has)
        .unwrap_or_else(|| panic!("no report says {action}: {reports:#?}"))
}

#[test]
fn the_extensions_are_announced() {
    let server = Server::start(setup::BASE);
    let mut dialogue = Dialogue::connect(server.address());
    dialogue.answer();
    let hello = dialogue.ask("EHLO client.example");
    for keyword in [
        "DSN",
        "CHUNKING",
        "BINARYMIME",
        "SMTPUTF8",
        "8BITMIME",
        "PIPELINING",
        "LIMITS RCPTMAX=1000",
    ] {
        assert!(hello.lines.iter().any(|l| l == keyword), "{hello:?}");
    }
}

#[test]
fn success_is_reported_by_the_server_that_delivers_with_what_the_sender_called_it() {
    if !client::is_there("python3") {
        return;
    }
    let pair = Pair::start("", "");
    let rcpt = "<x@remote.example> NOTIFY=SUCCESS ORCPT=rfc822;old+2Bname@remote.example";
    let answer = pair.send("<bob@local.example> RET=FULL ENVID=QQ+3D314159", &[rcpt]);
    assert_eq!(answer.code, 250, "{answer:?}");
    let reports = pair.reports(1);
    let report = with(&reports, "delivered");
    assert_eq!(report["message"]["original-envelope-id"], "QQ=314159");
    assert_eq!(report["message"]["reporting-mta"], "dns; mx.remote.example");
    let recipient = &report["recipients"][0];
    assert_eq!(
        recipient["original-recipient"],
        "rfc822; old+name@remote.example"
    );
    assert_eq!(recipient["final-recipient"], "rfc822; x@remote.example");
    assert_eq!(recipient["status"], "2.1.5");
    // RET is about failures; of a success the header block comes back.
    assert_eq!(report["types"][2], "text/rfc822-headers");
    let returned = report["returned"].as_str().unwrap();
    assert!(returned.contains("Subject: asked") && !returned.contains("the body"));
}

#[test]
fn a_failure_returns_what_the_sender_wants_of_the_message() {
    if !client::is_there("python3") {
        return;
    }
    for (mail, kind, body) in [
        ("RET=HDRS", "text/rfc822-headers", false),
        ("RET=FULL", "message/rfc822", true),
        ("", "message/rfc822", true),
    ] {
        let pair = Pair::start("", "");
        let rcpt = "<nobody@remote.example> NOTIFY=FAILURE,DELAY";
        pair.send(&format!("<bob@local.example> {mail}"), &[rcpt]);
        let reports = pair.reports(1);
        let report = with(&reports, "failed");
        assert_eq!(report["recipients"][0]["status"], "5.1.1");
        assert_eq!(report["types"][2], kind);
        let returned = report["returned"].as_str().unwrap();
        assert_eq!(returned.contains("the body"), body, "{mail}");
    }
}

#[test]
fn who_never_wants_a_report_gets_none() {
    let pair = Pair::start("", "");
    let rcpts = [
        "<nobody@remote.example> NOTIFY=NEVER",
        "<x@remote.example> NOTIFY=FAILURE",
    ];
    pair.send("<bob@local.example>", &rcpts);
    let maildir = pair.far.dir().join("mail/x");
    assert_eq!(mailbox::wait(&maildir, 1, SOON).len(), 1);
    assert!(client::is_there("python3") && pair.reports(0).is_empty());
}

#[test]
fn an_alias_for_several_is_reported_as_expanded_and_its_members_are_not() {
    if !client::is_there("python3") {
        return;
    }
    let pair = Pair::start("", "");
    let rcpt = "<team@local.example> NOTIFY=SUCCESS,FAILURE";
    pair.send("<bob@local.example>", &[rcpt]);
    // Bob is a member: one of the two is the message itself.
    let maildir = pair.near.dir().join("mail/bob");
    let found = mailbox::wait(&maildir, 2, SOON);
    let is_report = |m: &&Vec<u8>| m.starts_with(b"Return-Path: <>");
    let reports: Vec<_> = found.iter().filter(is_report).collect();
    let report = read(pair.near.dir(), reports[0]);
    assert_eq!(report["recipients"][0]["action"], "expanded");
    assert_eq!(
        report["recipients"][0]["final-recipient"],
        "rfc822; team@local.example"
    );
    for server in [&pair.near, &pair.far] {
        until("an empty queue", SOON, || {
            (server.queued() == 0).then_some(())
        });
    }
    assert_eq!(mailbox::messages(&maildir).len(), 2);
    assert_eq!(mailbox::messages(&pair.far.dir().join("mail/x")).len(), 1);
}

#[test]
fn an_alias_for_one_is_reported_under_the_name_that_the_sender_knows() {
    if !client::is_there("python3") {
        return;
    }
    let pair = Pair::start("", "");
    pair.send(
        "<bob@local.example>",
        &["<old@local.example> NOTIFY=SUCCESS"],
    );
    let reports = pair.reports(1);
    let recipient = &with(&reports, "delivered")["recipients"][0];
    assert_eq!(recipient["original-recipient"], "rfc822; old@local.example");
    assert_eq!(recipient["final-recipient"], "rfc822; x@remote.example");
}

#[test]
fn an_international_address_goes_all_the_way_and_its_report_comes_back() {
    if !client::is_there("python3") {
        return;
    }
    let pair = Pair::start("", "");
    let mut dialogue = Dialogue::open(pair.near.address());
    let message = "Subject: grüße\r\nFrom: <bob@local.example>\r\n\r\nbody\r\n";
    let rcpts = [
        "<ü@remote.example> NOTIFY=SUCCESS ORCPT=utf-8;ü@remote.example",
        "<ö@remote.example>",
    ];
    let mail = "<bob@local.example> SMTPUTF8";
    let answer = send(&mut dialogue, mail, &rcpts, message.as_bytes());
    assert_eq!(answer.code, 250, "{answer:?}");
    let found = mailbox::wait(&pair.far.dir().join("mail/ü"), 1, SOON);
    let text = String::from_utf8_lossy(&found[0]);
    assert!(text.contains("Delivered-To: ü@remote.example\n"), "{text}");
    assert!(text.contains("with UTF8SMTP id"), "{text}");
    let reports = pair.reports(2);
    let delivered = &with(&reports, "delivered")["recipients"][0];
    assert_eq!(
        delivered["original-recipient"],
        "utf-8; \\x{FC}@remote.example"
    );
    let failed = with(&reports, "failed");
    let recipient = &failed["recipients"][0];
    assert_eq!(
        recipient["final-recipient"],
        "utf-8; \\x{F6}@remote.example"
    );
    assert_eq!(failed["types"][2], "message/global");
    assert!(failed["returned"].as_str().unwrap().contains("grüße"));
}

/// Speaks LMTP to the socket or the port that is named; prints the code for each recipient.
const LMTP: &str = "
import smtplib, sys
to = ['alice@local.example', 'nobody@local.example', 'x@elsewhere.example']
host, port = (sys.argv[1], 0) if sys.argv[1].startswith('/') else ('127.0.0.1', int(sys.argv[1]))
with smtplib.LMTP(host, port) as client:
    refused = client.sendmail('bob@local.example', to, 'Subject: lmtp\\r\\n\\r\\nhello\\r\\n')
    print(sorted((who, why[0]) for who, why in refused.items()))
";

#[test]
fn lmtp_takes_mail_for_our_mailboxes_alone_and_answers_for_each() {
    if !client::is_there("python3") {
        return;
    }
    let listener = "[[listener]]\naddress = [\"127.0.0.1:0\", \"unix:lmtp.sock\"]\n\
                    service = \"lmtp\"\n";
    let aliases = "aliases = \"aliases\"\n";
    let server = Server::with(&format!("{}{aliases}{listener}", setup::BASE));
    std::fs::write(server.dir().join("aliases"), "old: alice\n").unwrap();
    let mut server = server;
    server.run();
    let script = format!("exec python3 -c \"{LMTP}\" \"$1\"");
    let socket = server.dir().join("lmtp.sock").display().to_string();
    let port = server.addresses[1].port().to_string();
    for (place, count) in [(&socket, 1), (&port, 2)] {
        let told = told(&mut client::command("python3", &script, &[place]));
        assert!(told.status.success(), "{}", told.err);
        // Relaying is not for LMTP, although loopback may relay over SMTP.
        let refused = "[('nobody@local.example', 550), ('x@elsewhere.example', 550)]";
        assert_eq!(told.out.trim(), refused);
        let found = mailbox::wait(&server.dir().join("mail/alice"), count, SOON);
        let text = String::from_utf8_lossy(&found[0]);
        assert!(text.contains("with LMTP id"), "{text}");
    }
    let mut dialogue = Dialogue::connect(server.addresses[1]);
    let greeting = dialogue.answer();
    assert!(greeting.lines[0].contains("LMTP"), "{greeting:?}");
    assert_eq!(dialogue.ask("EHLO client.example").code, 500);
    assert_eq!(dialogue.ask("LHLO client.example").code, 250);
    // Python's client reads one reply only; there is one for each recipient (RFC 2033 §4.2).
    for last in [false, true] {
        assert_eq!(dialogue.ask("MAIL FROM:<bob@local.example>").code, 250);
        assert_eq!(dialogue.ask("RCPT TO:<bob@local.example>").code, 250);
        assert_eq!(dialogue.ask("RCPT TO:<nobody@local.example>").code, 550);
        assert_eq!(dialogue.ask("RCPT TO:<old@local.example>").code, 250);
        match last {
            true => dialogue.send(b"BDAT 17 LAST\r\nSubject: a\r\n\r\nb\r\n"),
            false => {
                assert_eq!(dialogue.ask("DATA").code, 354);
                dialogue.send(b"Subject: a\r\n\r\nb\r\n.\r\n");
            }
        }
        assert_eq!([dialogue.answer().code, dialogue.answer().code], [250, 250]);
    }
    assert_eq!(dialogue.ask("QUIT").code, 221);
    assert!(dialogue.rest().is_empty());
}

/// A message with everything in it that no text has: bare CR, bare LF, NUL, no CRLF at its end, and
/// what ends a message elsewhere.
const BINARY: &[u8] =
    b"Subject: binary\r\nFrom: <bob@local.example>\r\n\r\n\x00\x01\r.\n\n.\r\n.\r\nQUIT\r\n\xff";

fn send_binary(server: &Server, to: &str, message: &[u8]) -> Answer {
    let mut dialogue = Dialogue::open(server.address());
    let begun = dialogue.ask("MAIL FROM:<bob@local.example> BODY=BINARYMIME");
    assert_eq!(begun.code, 250, "{begun:?}");
    assert_eq!(dialogue.ask(&format!("RCPT TO:<{to}>")).code, 250);
    let (first, second) = message.split_at(message.len() / 2);
    for (chunk, last) in [(first, ""), (second, " LAST")] {
        dialogue.send(format!("BDAT {}{last}\r\n", chunk.len()).as_bytes());
        dialogue.send(chunk);
        let answer = dialogue.answer();
        if !last.is_empty() {
            assert_eq!(dialogue.ask("NOOP").code, 250);
            return answer;
        }
        assert_eq!(answer.code, 250, "{answer:?}");
    }
    unreachable!()
}

#[test]
fn binary_content_goes_octet_for_octet_through_two_servers_into_a_mailbox() {
    let pair = Pair::start("", "");
    let answer = send_binary(&pair.near, "x@remote.example", BINARY);
    assert_eq!(answer.code, 250, "{answer:?}");
    let found = mailbox::wait(&pair.far.dir().join("mail/x"), 1, SOON);
    assert!(found[0].ends_with(BINARY), "{:?}", found[0].escape_ascii());
    assert!(found[0].starts_with(b"Return-Path: <bob@local.example>\r\n"));
}

#[test]
fn what_is_called_binary_and_is_a_text_goes_everywhere_as_text() {
    let Some(postfix) = Postfix::start(free_address(), "") else {
        return;
    };
    let route = format!(
        "[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://{}\"\n",
        postfix.address
    );
    let server = Server::start(&setup::with(&route));
    let text = sample("text", b"all lines end\r\n.\r\n").octets;
    assert_eq!(send_binary(&server, "x@remote.example", &text).code, 250);
    let found = mailbox::wait(&postfix.maildir(), 1, SOON);
    assert_eq!(
        mailbox::below(&found[0], "Subject"),
        mailbox::with_lf(&text)
    );
    // Truly binary content is not for Postfix, and comes back untouched.
    assert_eq!(send_binary(&server, "x@remote.example", BINARY).code, 250);
    let reports = mailbox::wait(&server.dir().join("mail/bob"), 1, SOON);
    let report = String::from_utf8_lossy(&reports[0]);
    assert!(report.contains("Status: 5.6.3"), "{report}");
    assert_eq!(mailbox::messages(&postfix.maildir()).len(), 1);
}

#[test]
fn binary_content_needs_its_name_and_chunks() {
    let server = Server::start(setup::BASE);
    let mut dialogue = Dialogue::open(server.address());
    let begin = |dialogue: &mut Dialogue, mail: &str| {
        assert_eq!(dialogue.ask(mail).code, 250);
        assert_eq!(dialogue.ask("RCPT TO:<alice@local.example>").code, 250);
    };
    begin(
        &mut dialogue,
        "MAIL FROM:<bob@local.example> BODY=BINARYMIME",
    );
    assert_eq!(dialogue.ask("DATA").code, 503);
    assert_eq!(dialogue.ask("RSET").code, 250);
    begin(&mut dialogue, "MAIL FROM:<bob@local.example> BODY=8BITMIME");
    dialogue.send(format!("BDAT {} LAST\r\n", BINARY.len()).as_bytes());
    dialogue.send(BINARY);
    assert_eq!(dialogue.answer().code, 550);
    assert_eq!(dialogue.ask("NOOP").code, 250);
}

/// Sends a message that is to go in TLS all the way.
const REQUIRE_TLS: &str = "
import smtplib, ssl, sys
letter = 'Subject: secret\\r\\nTLS-Required: No\\r\\n\\r\\nthe body\\r\\n'
with smtplib.SMTP('127.0.0.1', int(sys.argv[1])) as client:
    client.ehlo()
    assert not client.has_extn('requiretls')
    client.starttls(context=ssl._create_unverified_context())
    client.ehlo()
    assert client.has_extn('requiretls')
    to = ['x@remote.example', 'alice@local.example']
    client.sendmail('bob@local.example', to, letter, mail_options=['REQUIRETLS'])
";

#[test]
fn what_is_to_go_in_tls_all_the_way_comes_back_without_its_body_where_it_cannot() {
    if !client::is_there("python3") {
        return;
    }
    let far = Server::start(setup::BASE);
    let route = format!(
        "[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://{}\"\n",
        far.address()
    );
    let base = setup::BASE.replace("tls = \"none\"", "tls = \"starttls\"");
    let server = Server::start(&format!("{base}{route}"));
    let script = format!("exec python3 -c \"{REQUIRE_TLS}\" \"$1\"");
    let port = server.address().port().to_string();
    let told = told(&mut client::command("python3", &script, &[&port]));
    assert!(told.status.success(), "{}", told.err);
    // A mailbox is the end of the way; the route is not verified.
    let found = mailbox::wait(&server.dir().join("mail/alice"), 1, SOON);
    assert!(String::from_utf8_lossy(&found[0]).contains("with ESMTPS id"));
    let found = mailbox::wait(&server.dir().join("mail/bob"), 1, SOON);
    let report = read(server.dir(), &found[0]);
    assert_eq!(report["recipients"][0]["status"], "5.7.30", "{report}");
    assert_eq!(report["types"][2], "text/rfc822-headers");
    let returned = report["returned"].as_str().unwrap();
    assert!(returned.contains("Subject: secret") && !returned.contains("the body"));
    assert!(far.records().iter().all(|r| r["event"] != "transaction"));
}

#[test]
fn where_the_next_server_lacks_them_success_is_relayed_and_utf8_comes_back() {
    let settings = "smtpd_discard_ehlo_keywords = dsn, smtputf8";
    let Some(postfix) = Postfix::start(free_address(), settings) else {
        return;
    };
    if !client::is_there("python3") {
        return;
    }
    let route = format!(
        "[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://{}\"\n",
        postfix.address
    );
    let server = Server::start(&setup::with(&route));
    let mut dialogue = Dialogue::open(server.address());
    let message = sample("plain", b"body\r\n").octets;
    let rcpt = "<x@remote.example> NOTIFY=SUCCESS";
    let answer = send(&mut dialogue, "<bob@local.example>", &[rcpt], &message);
    assert_eq!(answer.code, 250, "{answer:?}");
    let message = "Subject: grüße\r\n\r\nbody\r\n".as_bytes();
    let mail = "<bob@local.example> SMTPUTF8";
    let answer = send(&mut dialogue, mail, &["<y@remote.example>"], message);
    assert_eq!(answer.code, 250, "{answer:?}");
    let found = mailbox::wait(&server.dir().join("mail/bob"), 2, SOON);
    let reports: Vec<_> = found.iter().map(|r| read(server.dir(), r)).collect();
    let relayed = with(&reports, "relayed");
    let recipient = &relayed["recipients"][0];
    assert_eq!(recipient["final-recipient"], "rfc822; x@remote.example");
    assert_eq!(recipient["remote-mta"], "dns; [127.0.0.1]", "{recipient}");
    let failed = with(&reports, "failed");
    assert_eq!(failed["recipients"][0]["status"], "5.6.7", "{failed}");
    assert_eq!(mailbox::messages(&postfix.maildir()).len(), 1);
}
