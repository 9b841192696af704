//! How the input is cut into pieces never changes what a session says or tells.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use posthaste_smtp::Dialect;
use posthaste_smtp::address::{ForwardPath, ReversePath, Utf8};
use posthaste_smtp::client::{self, Options, RecipientOptions, Transaction};
use posthaste_smtp::command::{Allowed, Mail, Rcpt};
use posthaste_smtp::dsn::{EnvelopeId, Notify, OriginalRecipient, Ret};
use posthaste_smtp::extension::{BodyType, DeliverBy, FutureRelease, Priority};
use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{self, Accepted};
use proptest::prelude::*;

/// Limits that are reached, and all extensions or few of them.
fn settings(dialect: Dialect, all: bool) -> server::Settings {
    server::Settings {
        dialect,
        message_size: 400,
        recipients: 3,
        transactions: 3,
        commands: 25,
        errors: 5,
        auth_failures: 2,
        auth_in_clear: all,
        extensions: server::Offered {
            starttls: true,
            dsn: all,
            chunking: all,
            binary_mime: all,
            limits: all,
            require_tls: all,
            deliver_by: Some(30),
            priority: all,
            xclient: all,
            ..server::Offered::default()
        },
        ..server::Settings::new("mx.example.org")
    }
}

/// Everything a server said, and everything its driver was told: events, and whole messages.
/// The input is what comes in clear, then what comes through TLS.
fn serve(
    input: &[Vec<u8>; 2],
    cuts: &[usize],
    (dialect, all): (Dialect, bool),
) -> (String, Vec<String>) {
    let mut session = server::Session::new(settings(dialect, all));
    session.offer_future_release(FutureRelease {
        interval_s: 60,
        until: 100,
    });
    session.offer_mechanisms([Box::from("PLAIN"), Box::from("LOGIN")]);
    let (mut said, mut told, mut body) = (Vec::new(), Vec::new(), Vec::new());
    let [clear, tls] = input;
    let (mut rest, mut tls) = (pieces(clear, cuts).into_iter(), Some(pieces(tls, cuts)));
    loop {
        while session.wants_input() {
            match rest.next() {
                Some(piece) => session.receive(piece),
                None => session.peer_closed(),
            }
        }
        while session.wants_handshake() {
            said.extend_from_slice(session.output());
            session.wrote(session.output().len());
            match rest.next() {
                Some(piece) => session.receive(piece),
                None => session.tls_started(),
            }
            if session.is_tls() {
                rest = tls.take().unwrap().into_iter();
            }
        }
        let Some(event) = session.next() else { break };
        use server::Event;
        if let Event::Body(octets) = event {
            body.extend_from_slice(octets);
            continue;
        }
        told.push(format!("{event:?}"));
        // Refuses what contains an x, so that refusals are part of the game.
        let refuse = told.last().is_some_and(|text| text.contains("value: \"x"));
        match &event {
            Event::EndOfData => told.push(body.escape_ascii().to_string()),
            // How much of a dropped draft was handed out is nobody's business.
            Event::Mail(_) => body.clear(),
            _ => {}
        }
        match event {
            Event::Connected | Event::Hello(_) => session.answer(Reply::hello()),
            Event::StartTls => session.answer(Reply::start_tls()),
            Event::Xclient(_) => session.answer(Reply::greeting("mx.example.org")),
            Event::Auth(step) => told.extend(exchange(step, &mut session)),
            Event::Mail(_) | Event::Rcpt(_) if refuse => {
                session.answer(Reply::new(550, (5, 1, 1), "no"));
            }
            Event::Mail(_) => session.answer(Reply::sender_ok()),
            Event::Rcpt(_) => session.answer(Reply::recipient_ok()),
            Event::Data => session.answer(Reply::start_input()),
            Event::EndOfData => session.answer_data(Ok(Accepted::promise("queued"))),
            Event::Body(_) | Event::HeadersEnd | Event::Reset(_) | Event::Closed(_) => {}
        }
        said.extend_from_slice(session.output());
        session.wrote(session.output().len());
    }
    said.extend_from_slice(session.output());
    (said.escape_ascii().to_string(), told)
}

/// An exchange of AUTH that goes on until a response ends with a dot, and refuses an x.
fn exchange(step: server::Auth, session: &mut server::Session) -> Option<String> {
    let octets = match step {
        server::Auth::Cancelled => return None,
        server::Auth::Begin { initial, .. } => initial?,
        server::Auth::Response(response) => response,
    };
    match octets.last() {
        Some(b'.') => session.answer(Reply::authenticated()),
        Some(b'x') => session.answer(Reply::bad_credentials()),
        _ => session.challenge(&octets),
    }
    Some(octets.escape_ascii().to_string())
}

/// The same for a client that has two messages to send. The peer answers what it was asked and
/// does not run ahead: nobody can answer a dot that is not written.
fn send(input: &[u8], cuts: &[usize], tls: client::Tls) -> (String, Vec<String>) {
    let settings = client::Settings {
        tls,
        ..client::Settings::new("me.example", Dialect::Smtp)
    };
    let mut session = client::Session::new(settings);
    let (mut said, mut told, mut begun) = (Vec::new(), Vec::new(), 0);
    let mut fed = 0;
    loop {
        while session.wants_input() {
            said.extend_from_slice(session.output());
            session.wrote(session.output().len());
            let owed = session.expected().len().max(1);
            let asked = reply_ends(input).filter(|end| *end > fed).nth(owed - 1);
            let asked = asked.unwrap_or(input.len());
            let cut = cuts
                .iter()
                .map(|cut| cut % (input.len() + 1))
                .filter(|cut| *cut > fed)
                .min();
            let end = cut.map_or(asked, |cut| cut.min(asked));
            if end == fed {
                session.peer_closed();
            }
            session.receive(&input[fed..end]);
            fed = end;
        }
        let Some(event) = session.next() else { break };
        match &event {
            client::Event::SendBody => {
                session.body(b"Subject: x\r\n\r\n.dot\r\n");
                session.end_body();
            }
            client::Event::StartTls => session.tls_started(),
            client::Event::Ready(_) => {
                let _not_offered = session.begin_auth("LOGIN", None);
            }
            client::Event::Challenge(octets) if octets.is_empty() => session.cancel_auth(),
            client::Event::Challenge(octets) => session.respond(octets),
            _ => {}
        }
        while begun < 2 && session.can_begin() {
            begun += 1;
            told.push(format!(
                "{:?}",
                session.begin_with(transaction(), options())
            ));
        }
        if begun == 2 {
            session.quit();
        }
        told.push(format!("{event:?}"));
        said.extend_from_slice(session.output());
        session.wrote(session.output().len());
    }
    (said.escape_ascii().to_string(), told)
}

/// Where replies end, as far as these octets are replies.
fn reply_ends(input: &[u8]) -> impl Iterator<Item = usize> {
    let lines = input.split_inclusive(|octet| *octet == b'\n');
    let ends = lines.scan(0, |end, line| {
        *end += line.len();
        Some((*end, line.get(3) != Some(&b'-')))
    });
    ends.filter(|(_, last)| *last).map(|(end, _)| end)
}

fn transaction() -> Transaction {
    let path = |text| ForwardPath::parse(text, Utf8::Refused).unwrap();
    Transaction {
        reverse_path: ReversePath::Null,
        recipients: vec![path("<a@example.org>"), path("<b@example.org>")],
        size: Some(20),
        body: BodyType::SevenBit,
        smtp_utf8: false,
    }
}

/// All that DSN has; sent where it is offered.
fn options() -> Options {
    let first = RecipientOptions {
        notify: Notify::parse("SUCCESS,FAILURE"),
        original_recipient: OriginalRecipient::parse("rfc822;o+2B@c.example", Utf8::Refused),
    };
    Options {
        ret: Some(Ret::Headers),
        envelope_id: EnvelopeId::parse("e+3D"),
        recipients: vec![first],
        chunk: Some(20),
        deliver_by: DeliverBy::parse("120;NT"),
        priority: Priority::new(-3),
        ..Options::default()
    }
}

/// Cuts at the given places (reduced modulo the length).
fn pieces<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    places.sort_unstable();
    places.push(input.len());
    let mut start = 0;
    places
        .into_iter()
        .map(|place| &input[std::mem::replace(&mut start, place)..place])
        .collect()
}

/// What comes in clear, and mostly nothing behind STARTTLS; then what comes through TLS.
fn client_talk() -> impl Strategy<Value = [Vec<u8>; 2]> {
    let behind = prop_oneof![
        3 => Just(&b"STARTTLS\r\n"[..]),
        1 => Just(&b"STARTTLS\r\nEHLO injected.example\r\n"[..]),
        1 => Just(&b"STARTTLS\r\n\r"[..]),
        1 => Just(&b""[..]),
    ];
    (client_commands(), behind, client_commands()).prop_map(|(mut clear, behind, tls)| {
        clear.extend_from_slice(behind);
        [clear, tls]
    })
}

fn client_commands() -> impl Strategy<Value = Vec<u8>> {
    let token = |text: &'static str| Just(text.as_bytes().to_vec());
    let command = prop_oneof![
        4 => token("EHLO c.example\r\n"),
        1 => token("LHLO c.example\r\n"),
        1 => token("HELO -\r\n"),
        6 => token("MAIL FROM:<a@b> SIZE=100 BODY=8BITMIME\r\n"),
        1 => token("MAIL FROM:<x@b>\r\n"),
        1 => token("MAIL FROM:<a@b> RET=HDRS ENVID=a+2Bb\r\n"),
        1 => token("RCPT TO:<b@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+40c\r\n"),
        1 => token("RCPT TO:<b@example.org> NOTIFY=NEVER,DELAY\r\n"),
        1 => token("MAIL FROM:<> SIZE=99999999999999999999\r\n"),
        6 => token("RCPT TO:<b@example.org>\r\n"),
        2 => token("RCPT TO:<x@example.org>\r\n"),
        6 => token("DATA\r\n"),
        4 => token("\r\n.\r\n"),
        2 => token("."),
        2 => token("a.b\r\n"),
        1 => token("\r"),
        1 => token("\n"),
        1 => token("\n.\n"),
        1 => token("\0"),
        1 => token("RSET\r\n"),
        1 => token("NOOP\r\n"),
        1 => token("VRFY\r\n"),
        1 => token("MAIL FROM:<a@b> BODY=BINARYMIME\r\n"),
        1 => token("MAIL FROM:<a@b> REQUIRETLS BY=40;R HOLDFOR=60 MT-PRIORITY=4 AUTH=<>\r\n"),
        1 => token("MAIL FROM:<a@b> HOLDUNTIL=1970-01-01T00:01:41Z\r\n"),
        1 => token("XCLIENT NAME=c.example ADDR=192.0.2.1 LOGIN=[UNAVAILABLE]\r\n"),
        1 => token("XCLIENT LOGIN=a\r\n"),
        1 => token("XCLIENT\r\n"),
        1 => token("HELP\r\n"),
        1 => token("STARTTLS\r\n"),
        2 => token("AUTH PLAIN\r\n"),
        2 => token("AUTH login YS4=\r\n"),
        1 => token("AUTH PLAIN =\r\n"),
        1 => token("AUTH PLAIN YXg=\r\n"),
        1 => token("AUTH X\r\n"),
        2 => token("YWE=\r\n"),
        2 => token("YS4=\r\n"),
        1 => token("*\r\n"),
        1 => token("YQ==\n"),
        1 => long_auth(),
        1 => token("QUIT\r\n"),
        3 => token("BDAT 7\r\na: b\r\n."),
        2 => token("BDAT 5 LAST\r\n\r\n\r\nx"),
        1 => token("BDAT 0 LAST\r\n"),
        1 => token("BDAT 3\r\n\n\0\r"),
        1 => token("BDAT 390\r\n"),
        1 => token("BDAT x\r\n"),
        1 => Just([vec![b'y'; 1700], b"\r\n".to_vec()].concat()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    let prelude = "EHLO c.example\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n";
    let start = prop_oneof![Just(""), Just("EHLO c.example\r\n"), Just(prelude)];
    (start, prop::collection::vec(command, 0..25))
        .prop_map(|(start, rest)| [start.as_bytes(), &rest.concat()].concat())
}

/// Lines of AUTH about as long as they may be. One in eight, because they take time.
fn long_auth() -> impl Strategy<Value = Vec<u8>> {
    let line = |start: &str, len| [start.as_bytes(), &vec![b'A'; len], b"\r\n"].concat();
    prop_oneof![
        5 => Just(b"AUTH PLAIN YWE=\r\n".to_vec()),
        1 => Just(line("AUTH PLAIN ", 12_300)),
        1 => Just(line("", 12_284)),
        1 => Just(line("", 12_288)),
    ]
}

fn server_talk() -> impl Strategy<Value = Vec<u8>> {
    let token = |text: &'static str| Just(text.as_bytes().to_vec());
    let reply = prop_oneof![
        8 => token("250 2.0.0 ok\r\n"),
        4 => token("354 go\r\n"),
        1 => token("550-5.1.1 no\r\n550 5.1.1 really\r\n"),
        1 => token("451 later\n"),
        1 => token("421 bye\r\n"),
        1 => token("250-\r\n"),
        1 => token("220 go\r\n"),
        1 => token("334 UGFzc3dvcmQ6\r\n"),
        1 => token("334 \r\n"),
        1 => token("235 2.7.0 welcome\r\n"),
        1 => token("250-mx\r\n250-AUTH LOGIN\r\n250 STARTTLS\r\n"),
        1 => prop::collection::vec(any::<u8>(), 0..9),
    ];
    let ready = "220 mx\r\n250-mx\r\n250-SIZE\r\n250 PIPELINING\r\n";
    let sent = "220 mx\r\n250-mx\r\n250 PIPELINING\r\n250 a\r\n250 b\r\n550 c\r\n354 d\r\n";
    let dsn = "220 mx\r\n250-mx\r\n250-DSN\r\n250 PIPELINING\r\n";
    let chunks =
        "220 mx\r\n250-mx\r\n250-CHUNKING\r\n250 PIPELINING\r\n250 a\r\n250 b\r\n550 c\r\n";
    let tls = "220 mx\r\n250-mx\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n220 go\r\n\
        250-mx\r\n250 AUTH LOGIN\r\n334 VXNlcm5hbWU6\r\n";
    let login = "220 mx\r\n250-mx\r\n250 AUTH LOGIN\r\n";
    let start = prop_oneof![
        Just(""),
        Just(ready),
        Just(sent),
        Just(dsn),
        Just(chunks),
        Just(tls),
        Just(login),
    ];
    (start, prop::collection::vec(reply, 0..15))
        .prop_map(|(start, rest)| [start.as_bytes(), &rest.concat()].concat())
}

fn tls() -> impl Strategy<Value = client::Tls> {
    prop_oneof![
        Just(client::Tls::Never),
        Just(client::Tls::IfOffered),
        Just(client::Tls::Required),
    ]
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        3 => prop::collection::vec(any::<usize>(), 0..9),
        1 => Just((0..3000).collect::<Vec<usize>>()),
    ]
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn cutting_what_a_server_hears_changes_nothing(
        input in client_talk(), cuts in cuts(), lmtp in any::<bool>(), all in any::<bool>(),
    ) {
        let variant = (if lmtp { Dialect::Lmtp } else { Dialect::Smtp }, all);
        prop_assert_eq!(serve(&input, &cuts, variant), serve(&input, &[], variant));
    }

    #[test]
    fn cutting_what_a_client_hears_changes_nothing(
        input in server_talk(), cuts in cuts(), tls in tls(),
    ) {
        prop_assert_eq!(send(&input, &cuts, tls), send(&input, &[], tls));
    }

    #[test]
    fn a_reply_that_is_written_is_read_back(
        code in prop_oneof![200u16..=299, 300u16..=399, 400u16..=599],
        enhanced in prop::option::of((0u16..=999, 0u16..=999)),
        text in "[ -~]{0,30}(\n[a-z][ -~]{0,30}){0,3}",
    ) {
        let class = u8::try_from(code / 100).unwrap();
        let reply = match enhanced {
            Some((subject, detail)) if class != 3 => {
                Reply::new(code, (class, subject, detail), text)
            }
            _ => Reply::plain(code, format!("x{text}")),
        };
        let mut wire = Vec::new();
        reply.render(&mut wire);
        prop_assert_eq!(Reply::parse(&wire), Some(reply));
    }

    #[test]
    fn no_reply_line_is_too_long_or_holds_what_it_must_not(text in any::<String>()) {
        let mut wire = Vec::new();
        Reply::new(550, (5, 999, 999), text).render(&mut wire);
        for line in wire.split_inclusive(|octet| *octet == b'\n') {
            prop_assert!(line.len() <= 512 && line.ends_with(b"\r\n"));
            prop_assert!(line[..line.len() - 2].iter().all(|c| matches!(c, b' '..=b'~')));
        }
        prop_assert!(Reply::parse(&wire).is_some());
    }

    #[test]
    fn a_command_that_the_client_writes_is_read_back(
        size in prop::option::of(any::<u64>()), eight_bit in any::<bool>(), null in any::<bool>(),
    ) {
        let path = ReversePath::parse(if null { "<>" } else { "<\"a >\"@b>" }, Utf8::Refused);
        let reverse_path = path.unwrap();
        let body = if eight_bit { BodyType::EightBitMime } else { BodyType::SevenBit };
        let mut session = client::Session::new(client::Settings::new("me.example", Dialect::Smtp));
        session.receive(b"220 mx\r\n250-mx\r\n250-SIZE\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
        prop_assert!(matches!(session.next(), Some(client::Event::Ready(_))));
        let asked = Transaction { reverse_path, size, body, ..transaction() };
        prop_assert_eq!(session.begin(asked.clone()), Ok(()));
        let said = String::from_utf8(session.output().to_vec()).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        let mail = Mail::parse(lines[1].strip_prefix("MAIL ").unwrap(), Utf8::Refused).unwrap();
        prop_assert_eq!(mail.reverse_path, asked.reverse_path);
        prop_assert_eq!((mail.size, mail.body), (size, body));
        let rcpt = Rcpt::parse(lines[2].strip_prefix("RCPT ").unwrap(), Utf8::Refused).unwrap();
        prop_assert_eq!(&rcpt.forward_path, &asked.recipients[0]);
    }

    #[test]
    fn what_dsn_has_is_written_and_read_back_or_not_written_at_all(
        id in "[ -~]{1,30}", address in "[ -~]{1,60}", utf8 in "[ -~]{0,9}[\u{a1}-\u{10ffff}]",
        notify in (any::<bool>(), any::<bool>(), any::<bool>()), offered in any::<bool>(),
    ) {
        let original = |text: String| OriginalRecipient::parse(&text, Utf8::Allowed);
        let (success, failure, delay) = notify;
        let of = |original_recipient| RecipientOptions {
            notify: Some(Notify { success, failure, delay }),
            original_recipient,
        };
        let escaped = utf8.replace('\\', "\\x{5C}");
        let asked = Options {
            ret: Some(Ret::Full),
            envelope_id: EnvelopeId::parse(&xtext(&id)),
            recipients: vec![
                of(original(format!("rfc822;{}", xtext(&address)))),
                of(original(format!("utf-8;{}", xtext(&escaped)))),
            ],
            ..Options::default()
        };
        let mut session = client::Session::new(client::Settings::new("me.example", Dialect::Smtp));
        let dsn = if offered { "DSN" } else { "X" };
        let hello = format!("220 x\r\n250-x\r\n250-PIPELINING\r\n250 {dsn}\r\n");
        session.receive(hello.as_bytes());
        prop_assert!(matches!(session.next(), Some(client::Event::Ready(e)) if e.dsn == offered));
        prop_assert_eq!(session.begin_with(transaction(), asked), Ok(()));
        let said = String::from_utf8(session.output().to_vec()).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        let allowed = Allowed { dsn: true, ..Utf8::Refused.into() };
        let mail = Mail::parse(lines[1].strip_prefix("MAIL ").unwrap(), allowed).unwrap();
        let rcpt = |n: usize| {
            let argument = lines[n].strip_prefix("RCPT ").unwrap();
            Rcpt::parse(argument, allowed).unwrap()
        };
        let address_of = |n| rcpt(n).original_recipient.map(|original| original.address());
        prop_assert_eq!(mail.ret, offered.then_some(Ret::Full));
        prop_assert_eq!(mail.envelope_id.map(|id| id.decoded()), offered.then_some(id));
        prop_assert_eq!(rcpt(2).notify, offered.then_some(Notify { success, failure, delay }));
        prop_assert_eq!(address_of(2), offered.then_some(address));
        prop_assert_eq!(address_of(3), offered.then_some(utf8));
    }
}

/// ASCII as xtext (RFC 3461 §4); what is above it stands as it is.
fn xtext(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '+' | '=' | ' ' => format!("+{:02X}", u32::from(c)),
            c => c.to_string(),
        })
        .collect()
}
