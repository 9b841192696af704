//! The sending session against any server.

use posthaste_smtp::Dialect;
use posthaste_smtp::address::{ForwardPath, ReversePath, Utf8};
use posthaste_smtp::client::{Event, RecipientOutcome, Session, Settings, Tls, Transaction};
use posthaste_smtp::extension::BodyType;

use crate::choices::{Choices, seeds};
use crate::server::assert_whole_lines;

const CONTENT: &[u8] = b"Subject: x\r\n\r\n.dot\r\n..\r\n.\r\nend\r\n";
const TRANSACTIONS: usize = 3;
/// Challenges that are answered; the next is cancelled.
const CHALLENGES: usize = 3;

/// What a dialogue came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Transcript {
    events: Vec<String>,
    output: Vec<u8>,
    begun: Vec<usize>,
    finished: usize,
    challenges: usize,
}

/// How a line is cut never changes anything; each transaction that was begun ends exactly once,
/// with one outcome per recipient, of the class of the reply. (Whole lines that come before they
/// are owed are another matter: whether they are seen as such is a question of time.)
pub fn session(octets: &[u8]) {
    let Some(([flags, cuts], wire)) = seeds(octets) else {
        return;
    };
    let by_line = run(flags, wire, Cuts::Lines);
    assert_eq!(
        by_line,
        run(flags, wire, Cuts::Within(Choices::new(cuts.into())))
    );
    let at_once = run(flags, wire, Cuts::None);
    for transcript in [by_line, at_once] {
        assert_whole_lines(&transcript.output);
        assert_eq!(
            transcript.finished,
            transcript.begun.len(),
            "{transcript:?}"
        );
    }
}

/// How the input comes.
enum Cuts {
    None,
    Lines,
    Within(Choices),
}

impl Cuts {
    /// The length of the next piece of `rest`, which has some.
    fn next(&mut self, rest: &[u8]) -> usize {
        let line = rest
            .iter()
            .position(|&b| b == b'\n')
            .map_or(rest.len(), |i| i + 1);
        match self {
            Cuts::None => rest.len(),
            Cuts::Lines => line,
            Cuts::Within(choices) => choices.piece(line).min(line),
        }
    }
}

fn run(flags: u8, wire: &[u8], mut cuts: Cuts) -> Transcript {
    let dialect = if flags & 1 == 0 {
        Dialect::Smtp
    } else {
        Dialect::Lmtp
    };
    let mut session = Session::new(Settings {
        tls: [Tls::Never, Tls::IfOffered, Tls::Required, Tls::Required][usize::from(flags >> 6)],
        ..Settings::new("mx.example.org", dialect)
    });
    if flags & 32 > 0 {
        session.tls_started();
    }
    let mut transcript = Transcript::default();
    let (mut rest, mut told_closed) = (wire, false);
    for _ in 0..1_000 + 16 * wire.len() {
        // A driver writes all it has before it asks for more.
        transcript.output.extend_from_slice(session.output());
        session.wrote(session.output().len());
        if let Some(event) = session.next() {
            transcript.events.push(format!("{event:?}"));
            if let Event::Closed(_) = event {
                transcript.output.extend_from_slice(session.output());
                return transcript;
            }
            react(&mut session, &event, flags, &mut transcript);
            drive(&mut session, flags, &mut transcript);
            continue;
        }
        assert!(
            session.wants_input(),
            "no event, and no wish for input: {transcript:?}"
        );
        assert!(
            !told_closed,
            "wants input from a peer that closed: {transcript:?}"
        );
        if rest.is_empty() {
            session.peer_closed();
            told_closed = true;
        } else {
            let len = cuts.next(rest);
            session.receive(&rest[..len]);
            rest = &rest[len..];
        }
    }
    panic!("the dialogue does not end: {transcript:?}");
}

fn react(session: &mut Session, event: &Event, flags: u8, transcript: &mut Transcript) {
    match event {
        Event::StartTls => session.tls_started(),
        Event::Ready(extensions) if flags & 16 > 0 => {
            if let Some(mechanism) = extensions.auth.first() {
                let again = session.is_authenticated();
                let initial = (flags & 8 > 0).then_some(&CONTENT[..usize::from(flags & 7)]);
                assert_eq!(session.begin_auth(mechanism, initial).is_err(), again);
            }
        }
        Event::Challenge(octets) => {
            transcript.challenges += 1;
            match transcript.challenges <= CHALLENGES {
                true => session.respond(octets),
                false => session.cancel_auth(),
            }
        }
        Event::AuthDone(reply) => assert_eq!(reply.is_positive(), session.is_authenticated()),
        Event::SendBody => {
            session.body(CONTENT);
            session.end_body();
        }
        Event::Finished(outcomes) => {
            assert_eq!(
                Some(&outcomes.len()),
                transcript.begun.get(transcript.finished)
            );
            transcript.finished += 1;
            for outcome in outcomes {
                match outcome {
                    RecipientOutcome::Accepted(reply) => assert!(reply.is_positive(), "{reply}"),
                    // 552 to RCPT means too many recipients (RFC 5321 §4.5.3.1.10).
                    RecipientOutcome::Deferred(reply) => {
                        assert!(!reply.is_permanent() || reply.code() == 552, "{reply}");
                    }
                    RecipientOutcome::Refused(reply) => assert!(reply.is_permanent(), "{reply}"),
                    RecipientOutcome::Lost(_) => {}
                }
            }
        }
        _ => {}
    }
}

/// Begins what is still to be begun; says QUIT when all is done. Only after an event, so that the
/// moment does not depend on how the input was cut.
fn drive(session: &mut Session, flags: u8, transcript: &mut Transcript) {
    let begun = transcript.begun.len();
    if !session.can_begin() {
        return;
    }
    if begun < TRANSACTIONS {
        let recipients = 1 + (usize::from(flags >> 1) + begun) % 3;
        let path = |i| ForwardPath::parse(&format!("<r{i}@example.org>"), Utf8::Refused).unwrap();
        let transaction = Transaction {
            reverse_path: ReversePath::Null,
            recipients: (0..recipients).map(path).collect(),
            size: Some(CONTENT.len() as u64),
            body: BodyType::SevenBit,
            smtp_utf8: false,
        };
        if session.begin(transaction).is_ok() {
            transcript.begun.push(recipients);
        }
    } else if transcript.finished == begun {
        session.quit();
    }
}
