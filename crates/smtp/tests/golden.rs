//! Runs the dialogues in `tests/data/*.smtp` against the sessions.
//!
//! A line of a dialogue starts with what it is:
//! ```text
//! #  a comment
//! !  a setting or an answer of the driver; see `Script::directive`
//! C: a line of the client's, CRLF added; \r \n \t \0 \\ \xNN stand for octets
//! C~ the same without CRLF
//! S: a line of the server's    S~ the same without CRLF
//! X: the peer closes its end
//! T: the handshake is done, TLS starts
//! M: a line of the message that the server's driver got
//! E: an event that the driver got
//! ```
//! In a file with `! client` the client's session is tested, else the server's. Each dialogue is
//! played with what the other end says cut into pieces of 1, 2, 3 and 7 octets and whole.

#![allow(clippy::disallowed_methods)] // reads the dialogues from real files
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use posthaste_smtp::Dialect;
use posthaste_smtp::address::{ForwardPath, ReversePath, Utf8};
use posthaste_smtp::client::{self, Options, RecipientOptions, RecipientOutcome, Transaction};
use posthaste_smtp::dsn::{EnvelopeId, Notify, OriginalRecipient, Ret};
use posthaste_smtp::extension::{BodyType, DeliverBy, FutureRelease, Priority};
use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{self, Accepted};

/// A transaction and its content.
type Send = (Transaction, Options, Vec<u8>);

#[derive(Debug, Clone, PartialEq)]
enum Turn {
    /// The other end says this.
    Hear(Vec<u8>),
    /// The tested session says this.
    Say(Vec<u8>),
    PeerClosed,
    TlsStarted,
}

/// What a client's driver says in AUTH: mechanism, initial response, responses.
type Login = (String, Option<Vec<u8>>, VecDeque<Vec<u8>>);

/// A dialogue file.
#[derive(Debug)]
struct Script {
    client: bool,
    server: server::Settings,
    dialect: Dialect,
    /// Answers of the server's driver: to what, with which argument, what.
    answers: Vec<(String, Option<String>, Reply)>,
    /// What AUTH has, and what its exchanges ask, one challenge after the other.
    mechanisms: Vec<Box<str>>,
    challenges: Vec<Vec<u8>>,
    future_release: Option<FutureRelease>,
    /// The connection is TLS from its start.
    tls: bool,
    /// What the client's driver sends.
    transactions: VecDeque<Send>,
    /// The client's driver begins a transaction before the last one's final reply.
    ahead: bool,
    /// What the client's settings say of STARTTLS.
    say_starttls: client::Tls,
    /// The client's driver says AUTH first.
    login: Option<Login>,
    turns: Vec<Turn>,
    message: Vec<u8>,
    events: Vec<String>,
}

impl Script {
    fn read(text: &str) -> Script {
        let mut script = Script {
            client: text.lines().any(|line| line == "! client"),
            server: server::Settings::new("mx.example.org"),
            dialect: Dialect::Smtp,
            answers: Vec::new(),
            mechanisms: Vec::new(),
            challenges: Vec::new(),
            future_release: None,
            tls: false,
            transactions: VecDeque::new(),
            ahead: false,
            say_starttls: client::Tls::Never,
            login: None,
            turns: Vec::new(),
            message: Vec::new(),
            events: Vec::new(),
        };
        for line in text.lines() {
            let (kind, rest) = line.split_at(line.len().min(2));
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            match kind {
                "" | "# " | "#" => {}
                "! " => script.directive(rest),
                "C:" | "S:" => script.turn(kind, &[octets(rest), b"\r\n".to_vec()].concat()),
                "C~" | "S~" => script.turn(kind, &octets(rest)),
                "X:" => script.turns.push(Turn::PeerClosed),
                "T:" => script.turns.push(Turn::TlsStarted),
                "M:" => script
                    .message
                    .extend([octets(rest), b"\r\n".to_vec()].concat()),
                "E:" => script.events.push(rest.to_owned()),
                _ => panic!("what is {line:?}?"),
            }
        }
        script
    }

    fn turn(&mut self, kind: &str, octets: &[u8]) {
        let says = kind.starts_with('C') == self.client;
        match (self.turns.last_mut(), says) {
            (Some(Turn::Say(before)), true) => before.extend_from_slice(octets),
            (Some(Turn::Hear(before)), false) => before.extend_from_slice(octets),
            (_, true) => self.turns.push(Turn::Say(octets.to_vec())),
            (_, false) => self.turns.push(Turn::Hear(octets.to_vec())),
        }
    }

    /// `size N`, `recipients N`, `errors N`, `utf8`, `dsn`, `chunking`, `no-pipelining`, `lmtp`,
    /// `starttls`, `tls` (from the start), `auth MECHANISM…`, `auth-in-clear`, `auth-required`,
    /// `auth-failures N`, `challenge TEXT` (once for each that an exchange asks), `transactions N`,
    /// `commands N`, `binary`, `limits`, `require-tls`, `deliver-by N`, `future-release N TIME`
    /// (in seconds since 1970), `priority`, `xclient`, `client`,
    /// `ahead`, `answer EVENT [<PATH>] REPLY`, `send REVERSE FORWARD… [size=N] [8bit] [utf8]
    /// [chunk=N] [ahead] [ret=…] [envid=…] BODY`, with `[notify=…] [orcpt=…]` behind the
    /// forward-path they go with; for a client `tls if-offered|required`, `login MECHANISM
    /// INITIAL|- RESPONSE…` (`""` for one without octets), and in `send` also `binary`,
    /// `requiretls`, `by=…`, `priority=…`.
    fn directive(&mut self, text: &str) {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "client" => {}
            "size" => self.server.message_size = rest.parse().unwrap(),
            "recipients" => self.server.recipients = rest.parse().unwrap(),
            "errors" => self.server.errors = rest.parse().unwrap(),
            "utf8" => self.server.extensions.smtp_utf8 = true,
            "chunking" => self.server.extensions.chunking = true,
            "dsn" => self.server.extensions.dsn = true,
            "starttls" => self.server.extensions.starttls = true,
            "tls" if rest.is_empty() => self.tls = true,
            "auth" => self.mechanisms = rest.split(' ').map(Box::from).collect(),
            "auth-in-clear" => self.server.auth_in_clear = true,
            "auth-required" => self.server.auth_required = true,
            "auth-failures" => self.server.auth_failures = rest.parse().unwrap(),
            "transactions" => self.server.transactions = rest.parse().unwrap(),
            "commands" => self.server.commands = rest.parse().unwrap(),
            "binary" => self.server.extensions.binary_mime = true,
            "limits" => self.server.extensions.limits = true,
            "require-tls" => self.server.extensions.require_tls = true,
            "deliver-by" => self.server.extensions.deliver_by = Some(rest.parse().unwrap()),
            "priority" => self.server.extensions.priority = true,
            "xclient" => self.server.extensions.xclient = true,
            "future-release" => {
                let (interval_s, until) = rest.split_once(' ').unwrap();
                self.future_release = Some(FutureRelease {
                    interval_s: interval_s.parse().unwrap(),
                    until: until.parse().unwrap(),
                });
            }
            "challenge" => self.challenges.push(octets(rest)),
            "no-pipelining" => self.server.extensions.pipelining = false,
            "lmtp" => {
                self.dialect = Dialect::Lmtp;
                self.server.dialect = Dialect::Lmtp;
            }
            "ahead" => self.ahead = true,
            "tls" if rest == "if-offered" => self.say_starttls = client::Tls::IfOffered,
            "tls" if rest == "required" => self.say_starttls = client::Tls::Required,
            "login" => {
                let mut words = rest.split(' ');
                let mechanism = words.next().unwrap().to_owned();
                let mut words = words.map(|word| octets(if word == "\"\"" { "" } else { word }));
                let initial = words.next().filter(|word| word != b"-");
                self.login = Some((mechanism, initial, words.collect()));
            }
            "answer" => {
                let (event, rest) = rest.split_once(' ').unwrap();
                let (argument, reply) = match rest.starts_with('<') {
                    true => rest
                        .split_once(' ')
                        .map(|(a, r)| (Some(a.to_owned()), r))
                        .unwrap(),
                    false => (None, rest),
                };
                let reply = Reply::parse(format!("{reply}\r\n").as_bytes()).unwrap();
                self.answers.push((event.to_owned(), argument, reply));
            }
            "send" => self.transactions.push_back(transaction(rest)),
            _ => panic!("what is {text:?}?"),
        }
    }

    fn answer(&self, event: &str, argument: &str, default: Reply) -> Reply {
        let matches = |want: &Option<String>| want.as_ref().is_none_or(|want| want == argument);
        let answer = self
            .answers
            .iter()
            .find(|(what, want, _)| what == event && matches(want));
        answer.map_or(default, |(_, _, reply)| reply.clone())
    }
}

fn transaction(text: &str) -> Send {
    let mut words = text.splitn(2, ' ');
    let reverse_path = ReversePath::parse(words.next().unwrap(), Utf8::Allowed).unwrap();
    let mut transaction = Transaction {
        reverse_path,
        recipients: Vec::new(),
        size: None,
        body: BodyType::SevenBit,
        smtp_utf8: false,
    };
    let mut options = Options::default();
    let mut rest = words.next().unwrap();
    loop {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        if word.starts_with('<') {
            let path = ForwardPath::parse(word, Utf8::Allowed).unwrap();
            transaction.recipients.push(path);
            options.recipients.push(RecipientOptions::default());
        } else if let Some(size) = word.strip_prefix("size=") {
            transaction.size = Some(size.parse().unwrap());
        } else if word == "8bit" {
            transaction.body = BodyType::EightBitMime;
        } else if word == "binary" {
            transaction.body = BodyType::BinaryMime;
        } else if word == "utf8" {
            transaction.smtp_utf8 = true;
        } else if word == "requiretls" {
            options.require_tls = true;
        } else if let Some(by) = word.strip_prefix("by=") {
            options.deliver_by = Some(DeliverBy::parse(by).unwrap());
        } else if let Some(priority) = word.strip_prefix("priority=") {
            options.priority = Some(Priority::parse(priority).unwrap());
        } else if let Some(size) = word.strip_prefix("chunk=") {
            options.chunk = Some(size.parse().unwrap());
        } else if word == "ahead" {
            options.ahead = true;
        } else if let Some(ret) = word.strip_prefix("ret=") {
            options.ret = Some(Ret::parse(ret).unwrap());
        } else if let Some(id) = word.strip_prefix("envid=") {
            options.envelope_id = Some(EnvelopeId::parse(id).unwrap());
        } else if let Some(notify) = word.strip_prefix("notify=") {
            let last = options.recipients.last_mut().unwrap();
            last.notify = Some(Notify::parse(notify).unwrap());
        } else if let Some(original) = word.strip_prefix("orcpt=") {
            let original = OriginalRecipient::parse(original, Utf8::Allowed).unwrap();
            let last = options.recipients.last_mut().unwrap();
            last.original_recipient = Some(original);
        } else {
            return (transaction, options, octets(rest));
        }
        rest = after;
    }
}

fn octets(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        let octet = match octet {
            b'\\' => match rest.next().unwrap() {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'0' => 0,
                b'x' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            },
            other => other,
        };
        octets.push(octet);
    }
    octets
}

/// A session with its driver, seen from the other end.
trait Tested {
    fn hear(&mut self, octets: &[u8]);
    fn peer_closed(&mut self);
    fn tls_started(&mut self);
    /// Lets the driver work until it waits; gives what is said.
    fn drive(&mut self) -> Vec<u8>;
    fn events(&self) -> &[String];
    fn message(&self) -> &[u8];
}

struct Server<'a> {
    script: &'a Script,
    session: server::Session,
    /// Responses that the exchange of AUTH has had.
    responses: usize,
    events: Vec<String>,
    message: Vec<u8>,
}

impl Server<'_> {
    /// Asks the next challenge of an exchange, or answers it.
    fn exchange(&mut self) {
        match self.script.challenges.get(self.responses) {
            Some(challenge) => self.session.challenge(challenge),
            None => {
                let reply = self.script.answer("auth", "", Reply::authenticated());
                self.session.answer(reply);
            }
        }
    }

    fn auth(&mut self, step: server::Auth) {
        match step {
            server::Auth::Begin { mechanism, initial } => {
                self.responses = usize::from(initial.is_some());
                let initial = initial.map(|initial| format!(" {:?}", text(&initial)));
                self.events
                    .push(format!("auth {mechanism}{}", initial.unwrap_or_default()));
                self.exchange();
            }
            server::Auth::Response(response) => {
                self.responses += 1;
                self.events
                    .push(format!("auth response {:?}", text(&response)));
                self.exchange();
            }
            server::Auth::Cancelled => self.events.push("auth cancelled".into()),
        }
    }

    fn react(&mut self) {
        use server::Event;
        let answer =
            |event: &str, argument: &str, default| self.script.answer(event, argument, default);
        let Some(event) = self.session.next() else {
            return;
        };
        let reply = match event {
            Event::Connected => answer("connected", "", Reply::greeting("mx.example.org")),
            Event::StartTls => answer("starttls", "", Reply::start_tls()),
            Event::Auth(step) => return self.auth(step),
            Event::Xclient(xclient) => {
                self.events.push(format!("{xclient:?}"));
                answer("xclient", "", Reply::greeting("mx.example.org"))
            }
            Event::Hello(hello) => {
                let well_formed = if hello.well_formed { "" } else { " malformed" };
                self.events
                    .push(format!("hello {}{well_formed}", hello.name));
                answer("hello", "", Reply::hello())
            }
            Event::Mail(mail) => {
                self.events.push(told(&mail));
                answer("mail", &mail.reverse_path.to_string(), Reply::sender_ok())
            }
            Event::Rcpt(rcpt) => {
                let path = rcpt.forward_path.to_string();
                let mut text = format!("rcpt {path}");
                if let Some(notify) = rcpt.notify {
                    text.push_str(&format!(" notify={notify}"));
                }
                if let Some(original) = rcpt.original_recipient {
                    let (kind, address) = (original.address_type(), original.address());
                    text.push_str(&format!(" orcpt={kind} {address:?}"));
                }
                self.events.push(text);
                answer("rcpt", &path, Reply::recipient_ok())
            }
            Event::Data => answer("data", "", Reply::start_input()),
            Event::Body(octets) => return self.message.extend_from_slice(octets),
            Event::HeadersEnd => return self.events.push("headers end".into()),
            Event::EndOfData => {
                let reply = answer("dot", "", Reply::ok());
                return self.session.answer_data(match reply.is_positive() {
                    true => Ok(Accepted::promise("queued")),
                    false => Err(reply),
                });
            }
            Event::Reset(reset) => {
                self.message.clear();
                return self.events.push(match reset {
                    server::Reset::Command => "reset".into(),
                    server::Reset::Hello => "reset by hello".into(),
                    server::Reset::Refused(reply) => format!("reset {reply}"),
                });
            }
            Event::Closed(why) => return self.events.push(format!("closed {why:?}")),
        };
        self.session.answer(reply);
    }
}

/// What a driver learns from MAIL.
fn told(mail: &server::Mail) -> String {
    let mut text = format!("mail {}", mail.reverse_path);
    if let Some(size) = mail.size {
        text.push_str(&format!(" size={size}"));
    }
    match mail.body {
        BodyType::SevenBit => {}
        BodyType::EightBitMime => text.push_str(" 8bit"),
        BodyType::BinaryMime => text.push_str(" binary"),
    }
    if mail.smtp_utf8 {
        text.push_str(" utf8");
    }
    if let Some(ret) = mail.ret {
        text.push_str(&format!(" ret={ret}"));
    }
    if let Some(id) = &mail.envelope_id {
        text.push_str(&format!(" envid={:?}", id.decoded()));
    }
    if let Some(submitter) = &mail.submitter {
        text.push_str(&format!(" auth={:?}", submitter.mailbox()));
    }
    if let Some(by) = mail.deliver_by {
        text.push_str(&format!(" by={by}"));
    }
    if let Some(hold) = mail.hold {
        text.push_str(&format!(" {hold}"));
    }
    if let Some(priority) = mail.priority {
        text.push_str(&format!(" priority={priority}"));
    }
    if mail.require_tls {
        text.push_str(" requiretls");
    }
    text
}

impl Tested for Server<'_> {
    fn hear(&mut self, octets: &[u8]) {
        self.session.receive(octets);
    }
    fn peer_closed(&mut self) {
        self.session.peer_closed();
    }
    fn tls_started(&mut self) {
        assert!(self.session.wants_handshake());
        self.session.tls_started();
    }
    fn drive(&mut self) -> Vec<u8> {
        while !self.session.wants_input()
            && !self.session.wants_handshake()
            && self.events.last().is_none_or(|e| !closed(e))
        {
            self.react();
        }
        let said = self.session.output().to_vec();
        self.session.wrote(said.len());
        said
    }
    fn events(&self) -> &[String] {
        &self.events
    }
    fn message(&self) -> &[u8] {
        &self.message
    }
}

struct Client {
    session: client::Session,
    waiting: VecDeque<Send>,
    bodies: VecDeque<Vec<u8>>,
    ahead: bool,
    login: Option<Login>,
    responses: VecDeque<Vec<u8>>,
    events: Vec<String>,
}

impl Client {
    fn go_on(&mut self) {
        if let Some((mechanism, initial, responses)) = self.login.take() {
            self.responses = responses;
            match self.session.begin_auth(&mechanism, initial.as_deref()) {
                Ok(()) => return,
                Err(_) => self.events.push(format!("no {mechanism}")),
            }
        }
        while self.session.can_begin() && (self.ahead || self.bodies.is_empty()) {
            let Some((transaction, options, body)) = self.waiting.pop_front() else {
                break;
            };
            match self.session.begin_with(transaction, options) {
                Ok(()) => self.bodies.push_back(body),
                Err(unsuitable) => self
                    .events
                    .push(format!("unsuitable {}", unsuitable.reply())),
            }
        }
        if self.bodies.is_empty() && self.waiting.is_empty() {
            self.session.quit();
        }
    }

    fn react(&mut self, event: client::Event) {
        use client::Event;
        match event {
            Event::Ready(extensions) => {
                let dsn = if extensions.dsn { " dsn" } else { "" };
                self.events.push(format!("ready {}{dsn}", extensions.name));
                self.go_on();
            }
            Event::Refused(stage, reply) => self.events.push(format!("refused {stage:?} {reply}")),
            Event::SendBody => {
                let body = self.bodies.back().cloned().unwrap();
                self.session.body(&body);
                self.session.end_body();
                if self.ahead {
                    self.go_on();
                }
            }
            Event::Finished(outcomes) => {
                self.bodies.pop_front();
                let outcomes: Vec<String> = outcomes.iter().map(outcome).collect();
                self.events
                    .push(format!("finished {}", outcomes.join(" | ")));
                self.go_on();
            }
            Event::ResetDone(reply) => self.events.push(format!("reset done {reply}")),
            Event::StartTls => self.events.push("start tls".into()),
            Event::NoTls(reply) => {
                let reply = reply.map_or("not offered".into(), |reply| reply.to_string());
                self.events.push(format!("no tls: {reply}"));
            }
            Event::Challenge(octets) => {
                self.events
                    .push(format!("challenge {}", octets.escape_ascii()));
                match self.responses.pop_front() {
                    Some(response) => self.session.respond(&response),
                    None => self.session.cancel_auth(),
                }
            }
            Event::AuthDone(reply) => {
                self.events.push(format!("auth {reply}"));
                if !reply.is_positive() {
                    self.go_on();
                }
            }
            Event::Closed(why) => {
                if why == client::Closed::Malformed(client::Malformed::Injected) {
                    // Whether it came in time to be asked for a handshake depends on the pieces.
                    self.events.retain(|event| event != "start tls");
                }
                self.closed(why);
            }
        }
    }

    fn closed(&mut self, why: client::Closed) {
        self.events.push(match why {
            client::Closed::ShuttingDown(reply) => format!("closed {reply}"),
            other => format!("closed {other:?}"),
        });
    }
}

impl Tested for Client {
    fn hear(&mut self, octets: &[u8]) {
        self.session.receive(octets);
    }
    fn peer_closed(&mut self) {
        self.session.peer_closed();
    }
    fn tls_started(&mut self) {
        self.session.tls_started();
    }
    fn drive(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        loop {
            let event = self.session.next();
            let done = event.is_none();
            event.into_iter().for_each(|event| self.react(event));
            said.extend_from_slice(self.session.output());
            self.session.wrote(self.session.output().len());
            if done {
                return said;
            }
        }
    }
    fn events(&self) -> &[String] {
        &self.events
    }
    fn message(&self) -> &[u8] {
        &[]
    }
}

fn outcome(outcome: &RecipientOutcome) -> String {
    match outcome {
        RecipientOutcome::Accepted(reply) => format!("accepted {reply}"),
        RecipientOutcome::Deferred(reply) => format!("deferred {reply}"),
        RecipientOutcome::Refused(reply) => format!("refused {reply}"),
        RecipientOutcome::Lost(lost) => format!("lost {lost:?}"),
    }
}

fn closed(event: &str) -> bool {
    event.starts_with("closed")
}

fn tested(script: &Script) -> Box<dyn Tested + '_> {
    if script.client {
        let settings = client::Settings {
            tls: script.say_starttls,
            ..client::Settings::new("me.example", script.dialect)
        };
        return Box::new(Client {
            session: client::Session::new(settings),
            waiting: script.transactions.clone(),
            bodies: VecDeque::new(),
            ahead: script.ahead,
            login: script.login.clone(),
            responses: VecDeque::new(),
            events: Vec::new(),
        });
    }
    let mut session = server::Session::new(script.server.clone());
    session.offer_mechanisms(script.mechanisms.clone());
    session.offer_future_release(script.future_release);
    if script.tls {
        session.tls_started();
    }
    Box::new(Server {
        script,
        session,
        responses: 0,
        events: Vec::new(),
        message: Vec::new(),
    })
}

/// Plays a dialogue turn by turn, what is heard cut into pieces of `step` octets.
fn play(name: &str, script: &Script, step: usize) {
    let mut tested = tested(script);
    let mut said = tested.drive();
    for turn in &script.turns {
        match turn {
            Turn::Say(expected) => {
                let (said_now, expected) = (text(&said), text(expected));
                assert_eq!(said_now, expected, "{name}, pieces of {step}");
                said.clear();
            }
            Turn::Hear(octets) => {
                assert_eq!(text(&said), "", "{name}, pieces of {step}: said too early");
                for piece in octets.chunks(step) {
                    tested.hear(piece);
                    said.extend(tested.drive());
                }
            }
            Turn::PeerClosed => {
                tested.peer_closed();
                said.extend(tested.drive());
            }
            Turn::TlsStarted => {
                assert_eq!(text(&said), "", "{name}, pieces of {step}: said too early");
                tested.tls_started();
                said.extend(tested.drive());
            }
        }
    }
    assert_eq!(text(&said), "", "{name}, pieces of {step}: said at the end");
    check_driver(name, script, tested.as_ref());
}

/// Plays what a server hears in one go, however it would answer in between; but what comes
/// through TLS after what comes before it.
fn play_blindly(name: &str, script: &Script, step: usize) {
    let (mut heard, mut expected) = (vec![Vec::new()], Vec::new());
    for turn in &script.turns {
        match turn {
            Turn::Hear(octets) => heard.last_mut().unwrap().extend_from_slice(octets),
            Turn::Say(octets) => expected.extend_from_slice(octets),
            Turn::TlsStarted => heard.push(Vec::new()),
            Turn::PeerClosed => {}
        }
    }
    let mut tested = tested(script);
    let mut said = tested.drive();
    for (n, heard) in heard.iter().enumerate() {
        if n > 0 {
            tested.tls_started();
        }
        for piece in heard.chunks(step) {
            tested.hear(piece);
            said.extend(tested.drive());
        }
    }
    if script.turns.contains(&Turn::PeerClosed) {
        tested.peer_closed();
        said.extend(tested.drive());
    }
    assert_eq!(
        text(&said),
        text(&expected),
        "{name}, blindly in pieces of {step}"
    );
    check_driver(name, script, tested.as_ref());
}

fn check_driver(name: &str, script: &Script, tested: &dyn Tested) {
    if !script.events.is_empty() {
        assert_eq!(tested.events(), script.events, "{name}");
    }
    if !script.message.is_empty() {
        assert_eq!(text(tested.message()), text(&script.message), "{name}");
    }
}

fn text(octets: &[u8]) -> String {
    octets.escape_ascii().to_string().replace("\\r\\n", "\n")
}

#[test]
fn every_dialogue_goes_as_written_however_the_input_is_cut() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut played = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let script = Script::read(&fs::read_to_string(&path).unwrap());
        for step in [1, 2, 3, 7, usize::MAX] {
            play(&name, &script, step);
            if !script.client {
                play_blindly(&name, &script, step);
            }
        }
        played += 1;
    }
    assert!(played >= 40, "only {played} dialogues found");
}
