//! Faults that other mail servers had, each as a test of the receiving session. Those of the
//! sending session stand in `regression_client.rs`, those about the end of a message in
//! `smuggling.rs`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use posthaste_smtp::limits;
use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{Accepted, Auth, Closed, Event, Offered, Session, Settings};
use proptest::prelude::*;

/// A session that offers all there is, and a driver that accepts everything.
struct Server {
    session: Session,
    said: Vec<u8>,
    /// Events but for the octets of messages.
    told: Vec<String>,
    /// What AUTH brought, and what messages held.
    octets: Vec<Vec<u8>>,
    body: Vec<u8>,
    closed: Option<Closed>,
}

impl Server {
    fn new() -> Server {
        let mut session = Session::new(Settings {
            auth_in_clear: true,
            errors: 1000,
            extensions: Offered {
                starttls: true,
                smtp_utf8: true,
                dsn: true,
                chunking: true,
                binary_mime: true,
                xclient: true,
                ..Offered::default()
            },
            ..Settings::new("mx.example.org")
        });
        session.offer_mechanisms([Box::from("PLAIN")]);
        let mut server = Server {
            session,
            said: Vec::new(),
            told: Vec::new(),
            octets: Vec::new(),
            body: Vec::new(),
            closed: None,
        };
        server.hear(b"");
        server.said.clear();
        server
    }

    /// Takes octets, and works until more are wanted.
    fn hear(&mut self, octets: &[u8]) {
        self.session.receive(octets);
        while let Some(event) = self.session.next() {
            if let Event::Body(octets) = event {
                self.body.extend_from_slice(octets);
                continue;
            }
            self.told.push(format!("{event:?}"));
            match event {
                Event::Connected | Event::Xclient(_) => {
                    self.session.answer(Reply::greeting("mx.example.org"));
                }
                Event::Hello(_) => self.session.answer(Reply::hello()),
                Event::StartTls => self.session.answer(Reply::start_tls()),
                Event::Auth(Auth::Begin { initial: None, .. }) => self.session.challenge(b""),
                Event::Auth(Auth::Begin { initial, .. }) => {
                    self.octets.extend(initial);
                    self.session.answer(Reply::bad_credentials());
                }
                Event::Auth(Auth::Response(octets)) => {
                    self.octets.push(octets);
                    self.session.answer(Reply::auth_unavailable());
                }
                Event::Mail(_) | Event::Rcpt(_) => self.session.answer(Reply::ok()),
                Event::Data => self.session.answer(Reply::start_input()),
                Event::EndOfData => {
                    self.octets.push(std::mem::take(&mut self.body));
                    self.session.answer_data(Ok(Accepted::promise("queued")));
                }
                Event::Closed(why) => self.closed = Some(why),
                Event::Reset(_) => self.body.clear(),
                Event::HeadersEnd | Event::Body(_) | Event::Auth(Auth::Cancelled) => {}
            }
        }
        self.said.extend_from_slice(self.session.output());
        self.session.wrote(self.session.output().len());
    }

    /// The replies since this was last asked.
    fn replies(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.said)).unwrap()
    }

    fn code(&mut self) -> String {
        self.replies().lines().last().unwrap_or_default()[..3].to_owned()
    }
}

/// CVE-2011-0411 of Postfix, CVE-2021-38542 and CVE-2022-28220 of James, and the cases of
/// "NO STARTTLS": commands in clear behind STARTTLS were heard as if they came through TLS.
#[test]
fn commands_in_clear_behind_starttls_are_never_heard_wherever_they_are_cut() {
    let before = b"EHLO c.example\r\nSTARTTLS\r\n";
    for behind in [
        &b"MAIL FROM:<injected@c.example>\r\nRCPT TO:<b@example.org>\r\n"[..],
        b"NOOP\r\n",
        b"AUTH PLAIN AGEAYg==\r\n",
        b"\r\n",
        b"\n",
        b"Q",
        b"\0",
    ] {
        let input = [before, behind].concat();
        for cut in 0..=input.len() {
            let mut server = Server::new();
            server.hear(&input[..cut]);
            if cut == before.len() {
                assert!(server.session.wants_handshake());
            }
            server.hear(&input[cut..]);
            assert_eq!(server.closed, Some(Closed::Injected), "{cut}");
            assert!(!server.session.is_tls());
            server.session.tls_started();
            assert!(
                !server.session.is_tls(),
                "a dialogue that is over has no TLS"
            );
            let [connected, hello, starttls, closed] = &server.told[..] else {
                panic!("{:?}", server.told);
            };
            assert!(connected == "Connected" && hello.starts_with("Hello"));
            assert!(starttls == "StartTls" && closed == "Closed(Injected)");
            let replies = server.replies();
            assert!(replies.ends_with("220 2.0.0 Ready to start TLS\r\n"));
        }
    }
}

#[test]
fn nothing_that_was_said_before_the_handshake_is_known_after_it() {
    let mut server = Server::new();
    server.hear(b"EHLO c.example\r\nMAIL FROM:<a@c.example>\r\nRSET\r\nSTARTTLS\r\n");
    assert!(server.session.wants_handshake());
    server.session.tls_started();
    assert!(server.session.is_tls() && !server.session.is_authenticated());
    server.replies();
    for command in [
        "MAIL FROM:<a@c.example>",
        "AUTH PLAIN",
        "RCPT TO:<b@c.example>",
    ] {
        server.hear(format!("{command}\r\n").as_bytes());
        assert_eq!(server.code(), "503", "{command}");
    }
    server.hear(b"EHLO c.example\r\n");
    assert!(!server.replies().contains("STARTTLS"));
    server.hear(b"STARTTLS\r\n");
    assert_eq!(server.code(), "503");
}

#[test]
fn nothing_is_said_in_clear_while_a_handshake_is_awaited() {
    let mut server = Server::new();
    server.hear(b"EHLO c.example\r\nSTARTTLS\r\n");
    server.replies();
    server.session.close(Reply::shutting_down("mx.example.org"));
    server.hear(b"");
    assert_eq!(
        (server.replies(), server.closed),
        (String::new(), Some(Closed::Ours))
    );
    let mut server = Server::new();
    server.hear(b"EHLO c.example\r\nSTARTTLS\r\n");
    server.replies();
    server.session.peer_closed();
    server.hear(b"");
    assert_eq!(
        (server.replies(), server.closed),
        (String::new(), Some(Closed::PeerClosed))
    );
}

/// CVE-2026-45185 of Exim: the connection closed in the middle of BDAT, and one more octet.
#[test]
fn a_connection_that_closes_within_a_chunk_brings_no_message_and_hears_no_more() {
    let input = b"EHLO c.example\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@example.org>\r\n\
        BDAT 6\r\na: b\r\nBDAT 9 LAST\r\n\r\nQUIT\r\nx";
    for cut in 0..input.len() {
        let mut server = Server::new();
        server.hear(&input[..cut]);
        server.session.peer_closed();
        server.hear(b"");
        assert_eq!(server.closed, Some(Closed::PeerClosed), "{cut}");
        assert!(server.octets.is_empty(), "{cut}");
        server.replies();
        let told = server.told.len();
        server.hear(&input[cut..]);
        assert_eq!((server.replies(), server.told.len()), (String::new(), told));
    }
    let mut server = Server::new();
    server.hear(input);
    assert_eq!(server.octets, [b"a: b\r\n\r\nQUIT\r\nx\r\n"]);
}

/// CVE-2020-8794 of OpenSMTPD and its family: a line break in a field became another field.
#[test]
fn no_field_of_the_envelope_holds_a_control_octet() {
    for octet in (0..=31).chain([127]) {
        for (before, after) in [
            ("EHLO c", "d"),
            ("MAIL FROM:<a", "b@c>"),
            ("MAIL FROM:<\"a", "b\"@c>"),
            ("MAIL FROM:<a@b> ENVID=a", "b"),
            ("MAIL FROM:<a@b> AUTH=a", "b"),
            ("RCPT TO:<\"a\\", "b\"@c>"),
            ("RCPT TO:<a@b> ORCPT=rfc822;a", "b"),
            ("XCLIENT NAME=a", "b"),
            ("VRFY a", "b"),
            ("AUTH PLAIN AA==", "AA=="),
        ] {
            let mut server = Server::new();
            server.hear(b"EHLO c.example\r\n");
            if before.starts_with("RCPT") {
                server.hear(b"MAIL FROM:<a@b>\r\n");
            }
            let events = server.told.len();
            server.replies();
            let line = [before.as_bytes(), &[octet], after.as_bytes(), b"\r\n"].concat();
            server.hear(&line);
            let code = server.code();
            assert!(code.starts_with('5'), "{code} to {}", line.escape_ascii());
            assert_eq!(server.told.len(), events, "{}", line.escape_ascii());
        }
    }
    for escaped in ["+0D", "+0A", "+00", "+7F", "+85"] {
        for command in [
            format!("MAIL FROM:<a@b> ENVID=a{escaped}b"),
            format!("MAIL FROM:<a@b> AUTH=a{escaped}b"),
            format!("XCLIENT LOGIN=a{escaped}b"),
        ] {
            let mut server = Server::new();
            server.hear(format!("EHLO c.example\r\n{command}\r\n").as_bytes());
            assert_eq!(server.code(), "501", "{command}");
        }
    }
}

/// CVE-2023-42114 to -42116 of Exim: lengths of what AUTH carries were trusted.
#[test]
fn a_response_of_any_length_is_decoded_whole_or_refused() {
    for len in [0, 4, 8, 100, 4096, 12_284, 12_288, 12_292, 20_000, 1 << 20] {
        let text = "QUFB".repeat(len / 4);
        let mut server = Server::new();
        server.hear(b"EHLO c.example\r\nAUTH PLAIN\r\n");
        server.replies();
        for piece in text.as_bytes().chunks(1000) {
            server.hear(piece);
            let room = server.session.input_space().len();
            assert!(room <= limits::INPUT_COMMANDS, "{room} octets are held");
        }
        server.hear(b"\r\nNOOP\r\n");
        let replies = server.replies();
        assert!(replies.ends_with("250 2.0.0 OK\r\n"), "{replies}");
        if len + 2 <= limits::AUTH_LINE {
            assert_eq!(server.octets, [b"AAA".repeat(len / 4)]);
        } else {
            assert!(replies.starts_with("500 5.5.6 "), "{replies}");
            assert!(server.octets.is_empty());
            assert_eq!(server.told.last().unwrap(), "Auth(Cancelled)");
        }
        assert_eq!(server.closed, None);
    }
}

#[test]
fn an_initial_response_that_is_too_long_is_refused_as_such() {
    let mut server = Server::new();
    server.hear(b"EHLO c.example\r\n");
    let fits = limits::AUTH_LINE - "AUTH PLAIN \r\n".len();
    for (len, code) in [
        (fits / 4 * 4, "535"),
        (fits / 4 * 4 + 4, "500"),
        (1 << 20, "500"),
    ] {
        let text = "AAAA".repeat(len / 4);
        server.hear(format!("AUTH PLAIN {text}\r\n").as_bytes());
        assert_eq!(server.code(), code, "{len}");
    }
    // Without AUTH such a line is long as any other.
    server.session.offer_mechanisms([]);
    server.hear(format!("AUTH PLAIN {}\r\n", "AAAA".repeat(1000)).as_bytes());
    assert_eq!(server.replies(), "500 5.5.2 Line too long\r\n");
}

#[test]
fn what_a_peer_sends_in_auth_is_in_no_record() {
    let mut server = Server::new();
    server.hear(b"EHLO c.example\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n");
    server.hear(b"AUTH PLAIN\r\nAGFsaWNlAHNlY3JldA==\r\n");
    assert_eq!(server.octets, [b"\0alice\0secret", b"\0alice\0secret"]);
    assert_eq!(
        server.told[2..],
        [
            "Auth(Begin(\"PLAIN\", Some(13) octets))",
            "Auth(Begin(\"PLAIN\", None octets))",
            "Auth(Response(13 octets))"
        ]
    );
}

#[test]
fn binary_content_is_handed_on_as_it_came() {
    let content: Vec<u8> = (0..=255).chain(*b"\r\n.\r\n\n.\n\r.\r\0").collect();
    for step in [1, 2, 7, content.len()] {
        let mut server = Server::new();
        let head =
            b"EHLO c.example\r\nMAIL FROM:<a@b> BODY=BINARYMIME\r\nRCPT TO:<c@d.example>\r\n";
        server.hear(head);
        for (n, chunk) in content.chunks(step).enumerate() {
            let last = if (n + 1) * step >= content.len() {
                " LAST"
            } else {
                ""
            };
            server.hear(format!("BDAT {}{last}\r\n", chunk.len()).as_bytes());
            server.hear(chunk);
        }
        assert_eq!(
            server.octets,
            std::slice::from_ref(&content),
            "chunks of {step}"
        );
        assert!(server.replies().ends_with("250 2.0.0 queued\r\n"));
    }
}

proptest! {
    #[test]
    fn an_exchange_with_anybody_goes_on_or_ends(
        lines in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "[A-Za-z0-9+/]{0,40}={0,3}".prop_map(String::into_bytes),
                Just(b"*".to_vec()),
                Just(b"AUTH PLAIN".to_vec()),
            ],
            0..20,
        ),
    ) {
        let mut server = Server::new();
        server.hear(b"EHLO c.example\r\n");
        for line in &lines {
            server.hear(line);
            server.hear(b"\r\n");
        }
        prop_assert!(!server.session.is_authenticated());
        prop_assert!(server.said.ends_with(b"\r\n"));
    }
}

/// A session that takes 1,000 octets, in a transaction; then `begin`, and so many times 64 KiB.
fn flooded(begin: &str, pieces: u64) -> Server {
    let mut server = Server::new();
    server.session = Session::new(Settings {
        message_size: 1000,
        extensions: Offered {
            chunking: true,
            ..Offered::default()
        },
        ..Settings::new("mx.example.org")
    });
    server.hear(b"");
    server.hear(b"EHLO a\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n");
    server.hear(begin.as_bytes());
    server.said.clear();
    let piece = [b'x'; 64 * 1024];
    for _ in 0..pieces {
        server.hear(&piece);
    }
    server
}

#[test]
fn a_refused_message_that_does_not_end_ends_the_session() {
    let excess = limits::REFUSED_EXCESS / (64 * 1024);
    for begin in ["DATA\r\n", "DATA\r\n\n", "BDAT 99999999999\r\n"] {
        let within = flooded(begin, excess);
        assert_eq!(within.closed, None, "{begin:?}");
        let flooded = flooded(begin, excess + 1);
        assert_eq!(flooded.closed, Some(Closed::Ours), "{begin:?}");
        let said = String::from_utf8_lossy(&flooded.said);
        assert!(
            said.starts_with("421 4.3.4 mx.example.org a refused message"),
            "{said}"
        );
    }
    let mut small = flooded("DATA\r\n", excess / 2);
    small.hear(b"\r\n.\r\n");
    assert!(small.said.starts_with(b"552 5.3.4"));
    small.hear(b"NOOP\r\n");
    assert_eq!(small.closed, None);
}
