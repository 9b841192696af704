//! Faults that mail programs had on the sending side, one test each: see that ours has not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use posthaste_smtp::Dialect;
use posthaste_smtp::address::{ForwardPath, ReversePath, Utf8};
use posthaste_smtp::client::{
    Closed, Event, Malformed, RecipientOutcome, Session, Settings, Tls, Transaction,
};
use posthaste_smtp::extension::BodyType;

fn session(tls: Tls) -> Session {
    Session::new(Settings {
        tls,
        ..Settings::new("me.example", Dialect::Smtp)
    })
}

/// Writes what is to be written, as a driver does before it reads.
fn written(session: &mut Session) -> Vec<u8> {
    let said = session.output().to_vec();
    session.wrote(said.len());
    said
}

/// Hears a whole reply, as the answer to what was written before it.
fn hear(session: &mut Session, octets: &[u8]) -> Vec<Event> {
    written(session);
    session.receive(octets);
    std::iter::from_fn(|| session.next()).collect()
}

/// A session that has said STARTTLS and written it.
fn asked_for_tls() -> Session {
    let mut session = session(Tls::IfOffered);
    hear(&mut session, b"220 mx\r\n");
    hear(
        &mut session,
        b"250-mx\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n",
    );
    assert_eq!(written(&mut session), b"STARTTLS\r\n");
    session
}

fn injected() -> Event {
    Event::Closed(Closed::Malformed(Malformed::Injected))
}

/// CVE-2011-0411 and the many of <https://nostarttls.secvuln.info>: octets in clear behind the reply
/// to STARTTLS were taken for replies in TLS.
#[test]
fn octets_behind_the_reply_to_starttls_end_the_dialogue_wherever_they_are_cut() {
    let wire = b"220 go ahead\r\n250-evil\r\n250 AUTH PLAIN\r\n235 yes\r\n";
    let end = 14;
    for cut in 0..wire.len() {
        let mut session = asked_for_tls();
        session.receive(&wire[..cut]);
        let mut events: Vec<Event> = std::iter::from_fn(|| session.next()).collect();
        // What comes before the handshake is done counts, however late.
        session.receive(&wire[cut..]);
        session.tls_started();
        events.extend(std::iter::from_fn(|| session.next()));
        let asked = if cut == end {
            vec![Event::StartTls]
        } else {
            vec![]
        };
        assert_eq!(events, [asked, vec![injected()]].concat(), "cut at {cut}");
        assert_eq!(session.output(), b"", "cut at {cut}");
    }
}

#[test]
fn no_handshake_is_asked_for_while_octets_are_behind_the_reply() {
    for octets in [
        &b"\r\n"[..],
        b"\n",
        b" ",
        b"\0",
        b"250 x\r\n",
        b"\x16\x03\x01",
    ] {
        let mut session = asked_for_tls();
        session.receive(&[b"220 go\r\n", octets].concat());
        assert_eq!(session.next(), Some(injected()));
        assert_eq!(session.next(), None);
    }
}

#[test]
fn a_reply_to_starttls_before_it_was_written_ends_the_dialogue() {
    let mut session = session(Tls::Required);
    session.receive(b"220 mx\r\n250-mx\r\n250 STARTTLS\r\n220 go\r\n");
    assert_eq!(session.next(), Some(injected()));
    assert_eq!(session.output(), b"");
}

#[test]
fn nothing_is_read_for_the_session_during_the_handshake() {
    let mut session = asked_for_tls();
    assert_eq!(hear(&mut session, b"220 go\r\n"), [Event::StartTls]);
    assert!(!session.wants_input());
    session.tls_started();
    assert!(session.wants_input());
    assert_eq!(written(&mut session), b"EHLO me.example\r\n");
}

#[test]
fn what_was_offered_in_clear_is_not_believed_in_tls() {
    let mut session = asked_for_tls();
    hear(&mut session, b"220 go\r\n");
    session.tls_started();
    let events = hear(&mut session, b"250 mx\r\n");
    let [Event::Ready(extensions)] = &events[..] else {
        panic!("{events:?}");
    };
    assert!(extensions.auth.is_empty() && !extensions.starttls);
    assert!(
        session
            .begin_auth("PLAIN", Some(b"\0user\0secret"))
            .is_err()
    );
    assert_eq!(session.output(), b"");
}

/// TLS that begins with the connection: octets before it are not the greeting.
#[test]
fn octets_before_implicit_tls_do_not_count_as_in_tls() {
    let mut session = session(Tls::Required);
    session.receive(b"220 mx\r\n");
    session.tls_started();
    assert_eq!(hear(&mut session, b"250 mx\r\n"), [Event::NoTls(None)]);
}

/// The server of a stripped connection says 250 where 220 was asked for, and so on: only a positive
/// reply begins a handshake, and TLS that was required is not done without.
#[test]
fn a_stripped_starttls_never_ends_in_clear_where_tls_is_required() {
    for hello in [
        "250 mx",
        "250-mx\r\n250 XSTARTTLS",
        "250-mx\r\n250 STARTTLSX",
        "502 no",
    ] {
        let mut session = session(Tls::Required);
        hear(&mut session, b"220 mx\r\n");
        let mut events = hear(&mut session, format!("{hello}\r\n").as_bytes());
        if events.is_empty() {
            events = hear(&mut session, b"250 mx\r\n"); // to HELO
        }
        assert_eq!(events, [Event::NoTls(None)], "{hello}");
        assert!(!session.can_begin());
        assert_eq!(written(&mut session), b"QUIT\r\n");
    }
}

/// Replies sent ahead of the commands they seem to answer must not make a message look delivered.
#[test]
fn replies_before_the_final_dot_is_written_never_count_as_acceptance() {
    let mut session = session(Tls::Never);
    hear(&mut session, b"220 mx\r\n");
    hear(&mut session, b"250-mx\r\n250 PIPELINING\r\n");
    let transaction = Transaction {
        reverse_path: ReversePath::Null,
        recipients: vec![ForwardPath::parse("<b@example.org>", Utf8::Refused).unwrap()],
        size: None,
        body: BodyType::SevenBit,
        smtp_utf8: false,
    };
    session.begin(transaction).unwrap();
    written(&mut session);
    session.receive(b"250 ok\r\n250 ok\r\n354 go\r\n250 queued\r\n");
    assert_eq!(session.next(), Some(Event::SendBody));
    session.body(b"x\r\n");
    session.end_body();
    let Some(Event::Finished(outcomes)) = session.next() else {
        panic!("not finished");
    };
    assert!(
        matches!(outcomes[..], [RecipientOutcome::Lost(_)]),
        "{outcomes:?}"
    );
}

/// Exim's authenticators broke on what they were sent: any challenge, of any length, is decoded or
/// answered by cancelling, and no line is ever too long.
#[test]
fn any_challenge_is_decoded_or_cancelled() {
    let long = "A".repeat(12_000);
    for (challenge, octets) in [
        ("", Some(0)),
        ("=", None),
        ("*", None),
        ("QQ==", Some(1)),
        ("QQ=", None),
        ("QR==", None),
        ("QQ== QQ==", None),
        ("Q\u{e9}==", None),
        (long.as_str(), Some(9_000)),
    ] {
        let mut session = authenticating();
        let events = hear(&mut session, format!("334 {challenge}\r\n").as_bytes());
        match octets {
            Some(len) => {
                assert!(matches!(&events[..], [Event::Challenge(c)] if c.len() == len));
                session.respond(&vec![0; 10_000]);
            }
            None => assert_eq!(events, []),
        }
        assert_eq!(written(&mut session), b"*\r\n", "{challenge:?}");
        let events = hear(&mut session, b"501 5.7.0 cancelled\r\n");
        assert!(matches!(&events[..], [Event::AuthDone(_)]));
        assert!(!session.is_authenticated() && session.can_begin());
    }
    let mut session = authenticating();
    let events = hear(&mut session, "3".repeat(1 << 20).as_bytes());
    assert_eq!(
        events,
        [Event::Closed(Closed::Malformed(Malformed::TooLong))]
    );
}

#[test]
fn an_initial_response_too_long_for_its_line_waits_for_the_challenge() {
    for (len, held) in [(9_190, false), (9_210, true)] {
        let mut session = offered_login();
        session.begin_auth("LOGIN", Some(&vec![b'x'; len])).unwrap();
        let line = written(&mut session);
        assert!(line.len() <= 12_288);
        assert_eq!(line == b"AUTH LOGIN\r\n", held);
        if held {
            assert_eq!(hear(&mut session, b"334 \r\n"), []);
            assert!(written(&mut session).len() > 12_000);
        }
    }
}

fn offered_login() -> Session {
    let mut session = session(Tls::Never);
    hear(&mut session, b"220 mx\r\n");
    hear(&mut session, b"250-mx\r\n250 AUTH LOGIN\r\n");
    session
}

fn authenticating() -> Session {
    let mut session = offered_login();
    session.begin_auth("LOGIN", None).unwrap();
    session
}

/// A mechanism is said once at a time, and nothing is sent in the midst of it.
#[test]
fn nothing_else_is_said_in_the_midst_of_auth() {
    let mut session = authenticating();
    written(&mut session);
    assert!(!session.can_begin());
    assert!(session.begin_auth("LOGIN", None).is_err());
    session.respond(b"too early");
    session.cancel_auth();
    session.reset();
    session.quit();
    assert_eq!(session.output(), b"");
    hear(&mut session, b"235 ok\r\n");
    hear(&mut session, b"250-mx\r\n250 AUTH LOGIN\r\n");
    assert!(session.begin_auth("LOGIN", None).is_err(), "once is enough");
}
