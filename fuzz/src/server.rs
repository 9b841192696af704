//! The receiving session against any client.

use posthaste_smtp::Dialect;
use posthaste_smtp::extension::{BodyType, FutureRelease};
use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{Accepted, Auth, Event, Mail, Offered, Session, Settings};

use crate::choices::{Choices, seeds};
use crate::grammar::assert_lines;

/// A size limit that the fuzzer can reach.
const MESSAGE_SIZE: u64 = 400;

/// What a dialogue came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Transcript {
    /// Events but those of a message's content, in the form of `Debug`.
    events: Vec<String>,
    /// The content of each message that came to its end. How much is passed on of one that does not
    /// depends on the cuts.
    messages: Vec<Vec<u8>>,
    /// What the session sent.
    output: Vec<u8>,
}

/// A message that has not come to its end.
#[derive(Default)]
struct Draft {
    content: Vec<u8>,
    /// Its length when the session said that the header block had ended.
    header_block: Option<usize>,
    /// MAIL said BINARYMIME: anything may stand in it.
    binary: bool,
}

/// What comes first is in clear; at this octet, the first of a TLS handshake, TLS takes over.
const HANDSHAKE: u8 = 0x16;

/// How the input is cut, and how much of the output is written at once, never changes anything;
/// what the session passes on has no bare CR or LF; what it sends is whole replies.
pub fn session(octets: &[u8]) {
    let Some(([flags, answers, cuts], wire)) = seeds(octets) else {
        return;
    };
    let settings = Settings {
        dialect: Dialect::Smtp,
        message_size: if flags & 1 == 0 {
            MESSAGE_SIZE
        } else {
            50 << 20
        },
        recipients: if flags & 2 == 0 { 2 } else { 1_000 },
        errors: 3 + u32::from(flags >> 4),
        auth_in_clear: flags & 8 == 0,
        auth_required: flags & 64 != 0,
        auth_failures: 2,
        transactions: 4,
        commands: 50,
        extensions: Offered {
            pipelining: flags & 4 == 0,
            starttls: flags & 128 != 0,
            smtp_utf8: flags & 8 == 0,
            dsn: flags & 16 != 0,
            chunking: flags & 32 != 0,
            binary_mime: flags & 1 != 0,
            limits: flags & 2 != 0,
            require_tls: flags & 4 == 0,
            deliver_by: (flags & 8 == 0).then_some(30),
            priority: flags & 8 == 0,
            xclient: flags & 16 != 0,
        },
        ..Settings::new("mx.example.org")
    };
    let whole = run(&settings, answers, wire, None);
    let cut = run(&settings, answers, wire, Some(Choices::new(cuts.into())));
    assert_eq!(whole, cut);
    let byte_by_byte = run(&settings, answers, wire, Some(Choices::new(0)));
    assert_eq!(whole, byte_by_byte);
    assert_lines(&whole.output);
    if settings.extensions.chunking {
        return; // a message in chunks does not stand in the input as a whole
    }
    let mut from = 0;
    for content in &whole.messages {
        let end = line_starts(wire, from).find_map(|at| sent_at(wire, at, content));
        from = end.expect("what was passed on stands in the input, up to CRLF.CRLF");
    }
}

/// Where lines of the input start, from an offset on.
fn line_starts(wire: &[u8], from: usize) -> impl Iterator<Item = usize> {
    (from..=wire.len()).filter(|&at| wire[..at].ends_with(b"\n"))
}

/// Reads a message at an offset as RFC 5321 §4.5.2 says, in the plainest way: where it ends, when
/// it is `content`.
fn sent_at(wire: &[u8], at: usize, content: &[u8]) -> Option<usize> {
    let rest = &wire[at..];
    if rest.starts_with(b".\r\n") {
        return content.is_empty().then_some(at + 3);
    }
    let len = rest.windows(5).position(|w| w == b"\r\n.\r\n")? + 2;
    let lines = rest[..len].split_inclusive(|&b| b == b'\n');
    let plain = lines.map(|line| line.strip_prefix(b".").unwrap_or(line));
    (plain.collect::<Vec<_>>().concat() == content).then_some(at + len + 3)
}

fn run(settings: &Settings, answers: u8, wire: &[u8], mut cuts: Option<Choices>) -> Transcript {
    let mut session = Session::new(settings.clone());
    session.offer_mechanisms([Box::from("PLAIN"), Box::from("LOGIN")]);
    session.offer_future_release(FutureRelease {
        interval_s: 60,
        until: 100,
    });
    let mut driver = Driver {
        choices: Choices::new(answers.into()),
        kind: answers == 0,
        draft: Draft::default(),
        transcript: Transcript::default(),
    };
    let handshake = |octet: &u8| *octet == HANDSHAKE && settings.extensions.starttls;
    let mut parts = wire.splitn(2, handshake);
    let (mut rest, mut tls) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let mut told_closed = false;
    // Each octet makes at most a few events; more steps than that is a loop.
    for _ in 0..1_000 + 16 * wire.len() {
        let output = session.output();
        let len = cuts.as_mut().map_or(output.len(), |c| c.piece(64));
        let len = len.min(output.len());
        driver.transcript.output.extend_from_slice(&output[..len]);
        session.wrote(len);
        if session.wants_handshake() {
            assert!(!session.is_tls());
            if rest.is_empty() {
                session.tls_started();
                assert!(session.is_tls() && !session.in_transaction());
                assert!(!session.is_authenticated());
                rest = std::mem::take(&mut tls);
            } else {
                rest = feed(&mut session, rest, cuts.as_mut());
            }
        } else if session.wants_input() {
            assert!(!told_closed, "wants input from a peer that closed");
            if rest.is_empty() {
                session.peer_closed();
                told_closed = true;
            } else {
                rest = feed(&mut session, rest, cuts.as_mut());
            }
        } else if !step(&mut session, &mut driver) {
            driver.transcript.output.extend_from_slice(session.output());
            return driver.transcript;
        }
    }
    panic!("the dialogue does not end: {:?}", driver.transcript);
}

/// Gives the session some of the input, by one of the two ways there are.
fn feed<'a>(session: &mut Session, rest: &'a [u8], cuts: Option<&mut Choices>) -> &'a [u8] {
    let Some(cuts) = cuts else {
        session.receive(rest);
        return &[];
    };
    let len = cuts.piece(rest.len()).min(rest.len());
    if cuts.below(2) == 0 {
        session.receive(&rest[..len]);
        return &rest[len..];
    }
    let space = session.input_space();
    assert!(!space.is_empty(), "wants input and has no room for it");
    let len = len.min(space.len());
    space[..len].copy_from_slice(&rest[..len]);
    session.input_filled(len);
    &rest[len..]
}

/// Handles one event; false when there is none any more.
fn step(session: &mut Session, driver: &mut Driver) -> bool {
    let Some(event) = session.next() else {
        return false;
    };
    match event {
        Event::Body(octets) => {
            assert!(!octets.is_empty(), "an empty piece of body");
            driver.draft.content.extend_from_slice(octets);
            return true;
        }
        Event::HeadersEnd => {
            assert_eq!(
                driver.draft.header_block, None,
                "the header block ends once"
            );
            driver.draft.header_block = Some(driver.draft.content.len());
            return true;
        }
        _ => driver.transcript.events.push(format!("{event:?}")),
    }
    match event {
        Event::Connected => session.answer(driver.or(Reply::greeting("mx.example.org"))),
        Event::Hello(_) => session.answer(driver.or(Reply::hello())),
        Event::StartTls => session.answer(driver.or(Reply::start_tls())),
        Event::Auth(step) => {
            assert!(session.is_tls() || session.settings().auth_in_clear);
            assert!(!session.is_authenticated() && !session.in_transaction());
            driver.exchange(step, session);
        }
        Event::Xclient(_) => {
            assert!(session.settings().extensions.xclient && !session.in_transaction());
            session.answer(driver.or(Reply::greeting("mx.example.org")));
        }
        Event::Mail(mail) => {
            assert_allowed(&mail, session);
            driver.draft.binary = mail.body == BodyType::BinaryMime;
            session.answer(driver.or(Reply::sender_ok()));
        }
        Event::Rcpt(_) => session.answer(driver.or(Reply::recipient_ok())),
        Event::Data => session.answer(driver.or(Reply::start_input())),
        Event::EndOfData => {
            let Draft {
                content,
                header_block,
                binary,
            } = std::mem::take(&mut driver.draft);
            if !binary {
                assert_whole_lines(&content);
            }
            assert_header_block(&content, header_block.expect("the header block has an end"));
            let limit = session.settings().message_size;
            assert!(content.len() as u64 <= limit, "larger than announced");
            driver.transcript.messages.push(content);
            let refusal = driver.refusal();
            session.answer_data(refusal.map_or_else(|| Ok(Accepted::promise("queued")), Err));
        }
        Event::Reset(_) | Event::Closed(_) => {
            // What was passed on may end within a line, but has nothing bare in it.
            let Draft {
                content, binary, ..
            } = std::mem::take(&mut driver.draft);
            let end = content.iter().rposition(|&b| b == b'\n');
            if let (false, Some(end)) = (binary, end) {
                assert_whole_lines(&content[..=end]);
            }
        }
        Event::Body(_) | Event::HeadersEnd => {}
    }
    true
}

/// What the session lets through of MAIL is what it may.
fn assert_allowed(mail: &Mail, session: &Session) {
    let settings = session.settings();
    let wishes = mail.deliver_by.is_some() || mail.hold.is_some() || mail.priority.is_some();
    assert!(session.is_authenticated() || !(wishes || settings.auth_required));
    assert!(session.is_tls() || !mail.require_tls);
    assert!(mail.size.is_none_or(|size| size <= settings.message_size));
}

/// The header block ends with the first empty line, or is all of the message.
fn assert_header_block(body: &[u8], len: usize) {
    let empty_line = if body.starts_with(b"\r\n") {
        Some(2)
    } else {
        body.windows(4)
            .position(|w| w == b"\r\n\r\n")
            .map(|i| i + 4)
    };
    assert_eq!(
        len,
        empty_line.unwrap_or(body.len()),
        "{}",
        body.escape_ascii()
    );
}

/// Nothing bare: every CR and every LF is part of a CRLF, and the last line is whole.
pub(crate) fn assert_whole_lines(octets: &[u8]) {
    let shown = || octets.escape_ascii().to_string();
    assert!(
        octets.is_empty() || octets.ends_with(b"\r\n"),
        "no whole line: {}",
        shown()
    );
    for line in octets.split_inclusive(|&b| b == b'\n') {
        let text = line
            .strip_suffix(b"\r\n")
            .unwrap_or_else(|| panic!("bare LF: {}", shown()));
        assert!(
            !text.contains(&b'\r') && !text.contains(&0),
            "bare CR or NUL: {}",
            shown()
        );
    }
}

/// What answers the session's questions.
struct Driver {
    choices: Choices,
    /// Never refuses.
    kind: bool,
    draft: Draft,
    transcript: Transcript,
}

impl Driver {
    fn refusal(&mut self) -> Option<Reply> {
        if self.kind {
            return None;
        }
        match self.choices.below(24) {
            0 => Some(Reply::new(451, (4, 3, 0), "try again")),
            1 => Some(Reply::new(550, (5, 7, 1), "not\nhere")),
            2 => Some(Reply::shutting_down("mx.example.org")),
            _ => None,
        }
    }

    /// Goes on with an exchange until a response is short.
    fn exchange(&mut self, step: Auth, session: &mut Session) {
        let octets = match step {
            Auth::Cancelled => return,
            Auth::Begin { initial, .. } => initial,
            Auth::Response(response) => Some(response),
        };
        let octets = octets.unwrap_or_else(|| b"begin".to_vec());
        let shown = octets.escape_ascii().to_string();
        self.transcript.events.push(shown);
        match octets.len() {
            0..4 => session.answer(self.or(Reply::authenticated())),
            _ => session.challenge(&octets),
        }
    }

    fn or(&mut self, yes: Reply) -> Reply {
        self.refusal().unwrap_or(yes)
    }
}
