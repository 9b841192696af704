//! Both sessions against each other.

use std::collections::VecDeque;

use posthaste_smtp::address::{ForwardPath, ReversePath, Utf8};
use posthaste_smtp::client::{self, Lost, RecipientOutcome, Transaction, Unsuitable};
use posthaste_smtp::extension::BodyType;
use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{self, Accepted, Offered};

use crate::choices::{Choices, seeds};

const TRANSACTIONS: usize = 4;
const MAX_STEPS: usize = 200_000;

/// A message as one end saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Message {
    recipients: Vec<String>,
    content: Vec<u8>,
}

/// What the client reports as accepted is what the server accepted: same recipients, same content,
/// same order, nothing else, however the octets travel. A connection that breaks leaves doubt about
/// the messages in flight only, and says which.
pub fn dialogue(octets: &[u8]) {
    let Some(([seed, refusals, cut], content)) = seeds(octets) else {
        return;
    };
    let content = whole_lines(content);
    let mut choices = Choices::new(u64::from(seed) << 8 | u64::from(refusals));
    // Zero refuses nothing and cuts nothing: then all must arrive.
    let refuse_one_of = if refusals == 0 {
        0
    } else {
        2 + usize::from(refusals) % 30
    };
    let break_at = if cut == 0 {
        usize::MAX
    } else {
        choices.below(usize::from(cut) * 64)
    };
    let mut pair = Pair {
        client: client::Session::new(client::Settings {
            tls: match seed & 2 {
                0 => client::Tls::Never,
                _ => client::Tls::IfOffered,
            },
            ..client::Settings::new("c.example", posthaste_smtp::Dialect::Smtp)
        }),
        server: server(seed),
        to_server: VecDeque::new(),
        to_client: VecDeque::new(),
        choices,
        refuse_one_of,
        content,
        begun: Vec::new(),
        finished: Vec::new(),
        draft: Message::default(),
        accepted: Vec::new(),
        unsuitable: false,
        story: Vec::new(),
        server_closed: false,
        over: false,
    };
    pair.run(break_at);
    pair.check(refusals == 0 && cut == 0);
}

fn server(seed: u8) -> server::Session {
    let mut server = server::Session::new(server::Settings {
        extensions: Offered {
            pipelining: seed & 1 == 0,
            starttls: seed & 4 > 0,
            ..Offered::default()
        },
        auth_in_clear: seed & 8 > 0,
        ..server::Settings::new("mx.example.org")
    });
    if seed & 16 > 0 {
        server.offer_mechanisms(["PLAIN", "LOGIN"].map(Box::from));
    }
    server
}

struct Pair {
    client: client::Session,
    server: server::Session,
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    choices: Choices,
    refuse_one_of: usize,
    content: Vec<u8>,
    begun: Vec<Vec<String>>,
    finished: Vec<Vec<RecipientOutcome>>,
    draft: Message,
    accepted: Vec<Message>,
    /// The server does not offer what the content needs.
    unsuitable: bool,
    /// What happened, for who reads about a failure.
    story: Vec<String>,
    server_closed: bool,
    over: bool,
}

impl Pair {
    fn run(&mut self, break_at: usize) {
        for step in 0..MAX_STEPS {
            if step == break_at {
                self.client.peer_closed();
                self.to_client.clear();
            }
            match self.choices.below(4) {
                0 => self.client_writes(),
                1 => self.server_writes(),
                2 => self.client_turn(),
                _ => self.server_turn(),
            }
            if self.over {
                return;
            }
        }
        panic!(
            "the dialogue does not end; owed: {:?}",
            self.client.expected()
        );
    }

    fn client_writes(&mut self) {
        let len = self
            .choices
            .piece(self.client.output().len())
            .min(self.client.output().len());
        self.to_server.extend(&self.client.output()[..len]);
        self.client.wrote(len);
    }

    fn server_writes(&mut self) {
        let len = self
            .choices
            .piece(self.server.output().len())
            .min(self.server.output().len());
        self.to_client.extend(&self.server.output()[..len]);
        self.server.wrote(len);
    }

    fn client_turn(&mut self) {
        if let Some(event) = self.client.next() {
            self.story.push(format!("client: {event:?}"));
            match event {
                client::Event::SendBody => {
                    let (head, tail) = self
                        .content
                        .split_at(self.choices.below(self.content.len()));
                    self.client.body(head);
                    self.client.body(tail);
                    self.client.end_body();
                }
                client::Event::Finished(outcomes) => self.finished.push(outcomes),
                client::Event::Closed(_) => self.over = true,
                client::Event::StartTls => self.shake_hands(),
                client::Event::Ready(extensions) if !self.client.is_authenticated() => {
                    if let Some(name) = extensions.auth.first() {
                        let initial = &b"\0user\0secret"[..self.choices.below(12)];
                        let initial = Some(initial).filter(|initial| initial.len() > 3);
                        self.client.begin_auth(name, initial).unwrap();
                    }
                }
                client::Event::Challenge(octets) => self.client.respond(&octets),
                _ => {}
            }
        } else if self.client.can_begin() && !self.unsuitable && self.begun.len() < TRANSACTIONS {
            self.begin();
        } else if self.client.can_begin() && self.finished.len() == self.begun.len() {
            self.client.quit();
        } else if self.client.wants_input() {
            let piece = take(&mut self.to_client, &mut self.choices);
            if piece.is_empty() && self.server_is_done() {
                self.client.peer_closed();
            } else {
                self.client.receive(&piece);
            }
        }
    }

    /// The server waits for the handshake, too, unless the connection broke.
    fn shake_hands(&mut self) {
        assert!(self.server.wants_handshake() && self.server.output().is_empty());
        assert!(self.to_server.is_empty());
        self.server.tls_started();
        self.client.tls_started();
    }

    /// The server closed, and all that it sent was read.
    fn server_is_done(&self) -> bool {
        self.server_closed && self.server.output().is_empty() && self.to_client.is_empty()
    }

    fn begin(&mut self) {
        let n = self.begun.len();
        let names: Vec<String> = (0..=self.choices.below(3))
            .map(|i| format!("r{n}.{i}@example.org"))
            .collect();
        let path = |name: &String| ForwardPath::parse(&format!("<{name}>"), Utf8::Refused).unwrap();
        let body = match self.content.is_ascii() {
            true => BodyType::SevenBit,
            false => BodyType::EightBitMime,
        };
        let transaction = Transaction {
            reverse_path: ReversePath::Null,
            recipients: names.iter().map(path).collect(),
            size: Some(self.content.len() as u64),
            body,
            smtp_utf8: false,
        };
        match self.client.begin(transaction) {
            Ok(()) => self.begun.push(names),
            Err(why) => {
                // The server refused EHLO, so after HELO it offers nothing.
                assert_eq!(why, Unsuitable::NeedsEightBitMime);
                assert!(self.refuse_one_of > 0);
                self.unsuitable = true;
            }
        }
    }

    fn server_turn(&mut self) {
        if self.server.wants_input() {
            let piece = take(&mut self.to_server, &mut self.choices);
            self.server.receive(&piece);
            return;
        }
        let refusal = self.refusal();
        let Some(event) = self.server.next() else {
            return;
        };
        let or = |yes| refusal.clone().unwrap_or(yes);
        self.story.push(format!("server: {event:?}"));
        match event {
            server::Event::Connected => self.server.answer(or(Reply::greeting("mx.example.org"))),
            server::Event::Hello(_) => self.server.answer(or(Reply::hello())),
            server::Event::StartTls => self.server.answer(or(Reply::start_tls())),
            server::Event::Auth(server::Auth::Cancelled) => {}
            // With nothing to begin with, there is a challenge.
            server::Event::Auth(server::Auth::Begin { initial: None, .. }) => {
                self.server.challenge(b"who?");
            }
            server::Event::Auth(_) => {
                let welcome = Reply::new(235, (2, 7, 0), "welcome");
                self.server.answer(or(welcome));
            }
            server::Event::Mail(_) => {
                self.draft = Message::default();
                self.server.answer(or(Reply::sender_ok()));
            }
            server::Event::Rcpt(rcpt) => {
                if refusal.is_none() {
                    let path = rcpt.forward_path.to_string();
                    self.draft
                        .recipients
                        .push(path.trim_matches(['<', '>']).to_owned());
                }
                self.server.answer(or(Reply::recipient_ok()));
            }
            server::Event::Data => self.server.answer(or(Reply::start_input())),
            server::Event::Body(octets) => self.draft.content.extend_from_slice(octets),
            server::Event::EndOfData => match refusal {
                Some(refusal) => self.server.answer_data(Err(refusal)),
                None => {
                    self.accepted.push(std::mem::take(&mut self.draft));
                    self.server.answer_data(Ok(Accepted::promise("queued")));
                }
            },
            server::Event::Reset(server::Reset::Refused(reply)) => {
                panic!("our own client's message was refused: {reply}")
            }
            server::Event::Closed(_) => self.server_closed = true,
            _ => {}
        }
    }

    fn refusal(&mut self) -> Option<Reply> {
        if self.refuse_one_of == 0 || self.choices.below(self.refuse_one_of) > 0 {
            return None;
        }
        Some(match self.choices.below(8) {
            0 => Reply::shutting_down("mx.example.org"),
            n if n < 4 => Reply::new(451, (4, 3, 0), "later"),
            _ => Reply::new(550, (5, 7, 1), "no"),
        })
    }

    /// Both ends tell the same story.
    fn check(&self, calm: bool) {
        assert_eq!(
            self.finished.len(),
            self.begun.len(),
            "each transaction ends once"
        );
        let mut accepted = self.accepted.iter();
        let mut doubts = 0;
        for (names, outcomes) in self.begun.iter().zip(&self.finished) {
            assert_eq!(names.len(), outcomes.len());
            let taken: Vec<String> = names
                .iter()
                .zip(outcomes)
                .filter(|(_, outcome)| matches!(outcome, RecipientOutcome::Accepted(_)))
                .map(|(name, _)| name.clone())
                .collect();
            if !taken.is_empty() {
                let expected = Message {
                    recipients: taken,
                    content: self.content.clone(),
                };
                assert_eq!(accepted.next(), Some(&expected));
            }
            let in_doubt = RecipientOutcome::Lost(Lost::AfterEndOfData);
            doubts += usize::from(outcomes.contains(&in_doubt));
            let all_taken = outcomes
                .iter()
                .all(|o| matches!(o, RecipientOutcome::Accepted(_)));
            assert!(!calm || all_taken, "{:#?}", self.story);
        }
        assert!(
            accepted.count() <= doubts,
            "the server took what the client calls not taken"
        );
        assert!(!calm || self.accepted.len() == TRANSACTIONS);
    }
}

fn take(pipe: &mut VecDeque<u8>, choices: &mut Choices) -> Vec<u8> {
    let len = choices.piece(pipe.len()).min(pipe.len());
    pipe.drain(..len).collect()
}

/// The octets as lines that a client may send: CRLF at every line end, no NUL.
fn whole_lines(octets: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(octets.len() + 2);
    for line in octets.split(|&b| matches!(b, b'\r' | b'\n')) {
        lines.extend(line.iter().filter(|&&b| b != 0));
        lines.extend_from_slice(b"\r\n");
    }
    lines
}
