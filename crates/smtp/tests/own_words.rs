//! What the session says by itself: refusals that name the transaction, and a word to browsers.

use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{Event, Session, Settings};

/// Runs `input` with every question accepted and every transaction named `t1`; the replies.
fn replies(settings: Settings, input: &str) -> String {
    let mut session = Session::new(settings);
    session.receive(input.as_bytes());
    session.peer_closed();
    while !session.wants_input() {
        match session.next() {
            Some(Event::Connected) => session.answer(Reply::greeting("mx.example")),
            Some(Event::Mail(_)) => {
                session.answer(Reply::ok());
                session.name_transaction("t1");
            }
            Some(Event::EndOfData) => session.answer_data(Err(Reply::local_error())),
            Some(Event::StartTls | Event::Auth(_) | Event::Xclient(_)) => {
                session.answer(Reply::local_error());
            }
            Some(Event::Data) => session.answer(Reply::start_input()),
            Some(Event::Hello(_) | Event::Rcpt(_)) => session.answer(Reply::ok()),
            Some(_) => {}
            None => break,
        }
    }
    String::from_utf8_lossy(session.output()).into_owned()
}

#[test]
fn refusals_of_the_session_name_the_transaction() {
    let to = "EHLO a.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n";
    let mut few = Settings::new("mx.example");
    few.recipients = 1;
    let said = replies(few, &format!("{to}RCPT TO:<c@b.example>\r\n"));
    assert!(
        said.contains("452 4.5.3 Too many recipients [t1]\r\n"),
        "{said}"
    );

    let mut small = Settings::new("mx.example");
    small.message_size = 10;
    let said = replies(small, &format!("{to}DATA\r\nmore than ten\r\n.\r\n"));
    assert!(
        said.contains("552 5.3.4 Message size") && said.contains(" [t1]\r\n"),
        "{said}"
    );

    let said = replies(
        Settings::new("mx.example"),
        &format!("{to}DATA\r\nbare\nLF\r\n.\r\n"),
    );
    assert!(said.contains("lines must end with CRLF [t1]\r\n"), "{said}");

    let said = replies(
        Settings::new("mx.example"),
        "EHLO a.example\r\nRCPT TO:<a@b.example>\r\n",
    );
    assert!(!said.contains('['), "{said}");
}

#[test]
fn a_browser_is_not_heard() {
    let body = "POST / HTTP/1.1\r\nHost: mx.example\r\n\r\nEHLO a.example\r\nMAIL FROM:<>\r\n";
    let said = replies(Settings::new("mx.example"), body);
    let after = said.split_once("\r\n").map(|(_, rest)| rest);
    assert_eq!(
        after,
        Some("421 4.7.0 This is SMTP; closing connection\r\n")
    );
}
