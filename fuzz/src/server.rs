//! The receiving session against any client.

use posthaste_smtp::Dialect;
use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{Accepted, Event, Offered, Session, Settings};

use crate::choices::{Choices, seeds};
use crate::grammar::assert_lines;

/// A size limit that the fuzzer can reach.
const MESSAGE_SIZE: u64 = 400;

/// What a dialogue came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Transcript {
    /// Events but [`Event::Body`], in the form of `Debug`.
    events: Vec<String>,
    /// The content of each message, whether it was accepted or not, in order.
    bodies: Vec<Vec<u8>>,
    /// What the session sent.
    output: Vec<u8>,
}

/// How the input is cut, and how much of the output is written at once, never changes anything; what
/// the session passes on has no bare CR or LF; what it sends is whole replies.
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
        extensions: Offered {
            pipelining: flags & 4 == 0,
            smtp_utf8: flags & 8 == 0,
        },
        ..Settings::new("mx.example.org")
    };
    let whole = run(&settings, answers, wire, None);
    let cut = run(&settings, answers, wire, Some(Choices::new(cuts.into())));
    assert_eq!(whole, cut);
    let byte_by_byte = run(&settings, answers, wire, Some(Choices::new(0)));
    assert_eq!(whole, byte_by_byte);
    assert_lines(&whole.output);
}

fn run(settings: &Settings, answers: u8, wire: &[u8], mut cuts: Option<Choices>) -> Transcript {
    let mut session = Session::new(settings.clone());
    let mut answers = Answers(Choices::new(answers.into()), answers == 0);
    let mut transcript = Transcript::default();
    let (mut rest, mut told_closed) = (wire, false);
    // Each octet makes at most a few events; more steps than that is a loop.
    for _ in 0..1_000 + 16 * wire.len() {
        let written = cuts
            .as_mut()
            .map_or(usize::MAX, |c| c.piece(64))
            .min(session.output().len());
        transcript
            .output
            .extend_from_slice(&session.output()[..written]);
        session.wrote(written);
        if session.wants_input() {
            assert!(!told_closed, "wants input from a peer that closed");
            if rest.is_empty() {
                session.peer_closed();
                told_closed = true;
            } else {
                rest = feed(&mut session, rest, cuts.as_mut());
            }
            continue;
        }
        if !step(&mut session, &mut answers, &mut transcript, settings) {
            transcript.output.extend_from_slice(session.output());
            return transcript;
        }
    }
    panic!("the dialogue does not end: {transcript:?}");
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
fn step(
    session: &mut Session,
    answers: &mut Answers,
    transcript: &mut Transcript,
    settings: &Settings,
) -> bool {
    let Some(event) = session.next() else {
        return false;
    };
    if let Event::Body(octets) = event {
        assert!(!octets.is_empty(), "an empty piece of body");
        transcript
            .bodies
            .last_mut()
            .expect("a body follows Data")
            .extend_from_slice(octets);
        return true;
    }
    transcript.events.push(format!("{event:?}"));
    match event {
        Event::Connected => session.answer(answers.or(Reply::greeting("mx.example.org"))),
        Event::Hello(_) => session.answer(answers.or(Reply::hello())),
        Event::Mail(mail) => {
            assert!(mail.size.is_none_or(|size| size <= settings.message_size));
            session.answer(answers.or(Reply::sender_ok()));
        }
        Event::Rcpt(_) => session.answer(answers.or(Reply::recipient_ok())),
        Event::Data => {
            transcript.bodies.push(Vec::new());
            session.answer(answers.or(Reply::start_input()));
        }
        Event::HeadersEnd => {
            let block = transcript
                .bodies
                .last()
                .expect("a header block is in a body");
            assert!(
                block == b"\r\n" || block.ends_with(b"\r\n\r\n"),
                "{block:?}"
            );
        }
        Event::EndOfData => {
            let body = transcript.bodies.last().expect("a body has an end");
            assert_whole_lines(body);
            assert!(
                body.len() as u64 <= settings.message_size,
                "larger than announced"
            );
            let refusal = answers.refusal();
            session.answer_data(refusal.map_or_else(|| Ok(Accepted::promise("queued")), Err));
        }
        Event::Reset(_) | Event::Closed(_) => {
            // What was passed on so far may end within a line, but has nothing bare in it.
            if let Some(body) = transcript.bodies.last() {
                let complete = body.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
                assert_whole_lines(&body[..complete]);
            }
        }
        Event::Body(_) => {}
    }
    true
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

/// The driver's answers: yes, or now and then a refusal; always yes when the flag is set.
struct Answers(Choices, bool);

impl Answers {
    fn refusal(&mut self) -> Option<Reply> {
        if self.1 {
            return None;
        }
        match self.0.below(24) {
            0 => Some(Reply::new(451, (4, 3, 0), "try again")),
            1 => Some(Reply::new(550, (5, 7, 1), "not\nhere")),
            2 => Some(Reply::shutting_down("mx.example.org")),
            _ => None,
        }
    }

    fn or(&mut self, yes: Reply) -> Reply {
        self.refusal().unwrap_or(yes)
    }
}
