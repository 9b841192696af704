//! Simulation level 1: both sessions against each other in a plain loop, on the shipped code.
//!
//! A seed decides everything: settings, what is sent, what the server's driver answers, how the
//! octets are cut, who moves next, and whether and when the connection breaks. Afterwards both
//! stories are compared; [`Pair::check`] holds the promises. `POSTHASTE_SEED=N` replays one seed,
//! with its dialogue printed; `POSTHASTE_SEEDS=N` sets how many are played.

#![allow(clippy::print_stderr)] // a failing seed says how to replay it
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, VecDeque};
use std::env;

use posthaste_smtp::Dialect;
use posthaste_smtp::address::{ForwardPath, ReversePath, Utf8};
use posthaste_smtp::client::{
    self, Closed, Lost, Options, RecipientOptions, RecipientOutcome, Transaction,
};
use posthaste_smtp::dsn::{EnvelopeId, Notify, OriginalRecipient, Ret};
use posthaste_smtp::extension::{BodyType, ByMode, DeliverBy, Priority};
use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{self, Accepted};

/// Dialogues played when nothing else is asked for.
const SEEDS: u64 = 12_000;

/// Moves after which a dialogue that is not over is called stuck.
const MOVES: usize = 200_000;

/// SplitMix64: small, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Seeded(u64);

impl Seeded {
    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.bits() % n as u64).unwrap()
    }

    /// True in `percent` of all cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// One message as the client's driver knows it.
#[derive(Debug, Clone)]
pub struct Sent {
    transaction: Transaction,
    options: Options,
    body: Vec<u8>,
    /// Holds what may not be sent.
    flawed: bool,
}

/// A message that the server's driver accepted.
#[derive(Debug, Clone, Default)]
pub struct Got {
    reverse_path: String,
    recipients: Vec<String>,
    /// What came with MAIL, and with each accepted RCPT.
    options: Options,
    body: Vec<u8>,
}

/// Both ends, their drivers, and the wire between them.
#[derive(Debug)]
pub struct Pair {
    random: Seeded,
    client: client::Session,
    server: server::Session,
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    /// Percent of commands that the server's driver refuses.
    unkind: usize,
    /// The connection breaks at this move.
    breaks_at: Option<usize>,
    broke: bool,
    /// The client's driver begins before the final reply.
    ahead: bool,
    to_send: VecDeque<Sent>,
    /// Begun and not finished.
    open: VecDeque<Sent>,
    /// Where the final dot of each of them ends among all that the client says, once it is said.
    dots: VecDeque<Option<usize>>,
    /// How much of what the client says was written.
    written: usize,
    /// What the client has to give still, of the message whose turn it is.
    giving: Option<(Vec<u8>, usize)>,
    draft: Got,
    got: Vec<Got>,
    finished: Vec<(Sent, Vec<RecipientOutcome>)>,
    /// What the server's driver refused: (reverse-path, forward-path) to code.
    refusals: BTreeMap<(String, String), u16>,
    client_closed: Option<Closed>,
    server_closed: Option<server::Closed>,
    /// The client was told that the server has DSN: not after HELO.
    dsn: bool,
    /// The client needs TLS.
    needs_tls: bool,
    /// The client waits for the handshake.
    shakes_hands: bool,
    /// The client says AUTH where it can.
    login: bool,
    /// What the server's driver has asked for in an exchange of AUTH.
    challenges: usize,
    trace: bool,
}

impl Pair {
    /// A dialogue that the seed decides.
    #[must_use]
    pub fn new(seed: u64, trace: bool) -> Pair {
        let mut random = Seeded(seed);
        let dialect = if random.chance(25) {
            Dialect::Lmtp
        } else {
            Dialect::Smtp
        };
        let mut settings = server::Settings::new("mx.example.org");
        settings.dialect = dialect;
        settings.message_size = [0, 300, 5000, 50 << 20][random.below(4)];
        settings.recipients = [1, 3, 1000][random.below(3)];
        settings.extensions.pipelining = random.chance(75);
        settings.extensions.smtp_utf8 = random.chance(50);
        // Dice of their own, so that older seeds mean what they meant.
        let mut dice = Seeded(!seed);
        settings.extensions.dsn = dice.chance(50);
        settings.extensions.chunking = dice.chance(50);
        let mut tls_dice = Seeded(seed.rotate_left(17));
        settings.extensions.starttls = tls_dice.chance(60);
        settings.auth_in_clear = tls_dice.chance(50);
        let tls = [
            client::Tls::Never,
            client::Tls::IfOffered,
            client::Tls::Required,
        ];
        let tls = tls[[0, 0, 1, 1, 1, 2][tls_dice.below(6)]];
        let mechanisms: &[&str] = [&[][..], &["PLAIN"], &["LOGIN", "PLAIN"]][tls_dice.below(3)];
        let mechanisms: Vec<Box<str>> = mechanisms.iter().map(|name| Box::from(*name)).collect();
        let mut wishes = Seeded(seed.rotate_left(31));
        offer(&mut settings.extensions, &mut wishes);
        let to_send: VecDeque<Sent> = (0..random.below(5))
            .map(|n| wished(sent(n, &mut random, &mut dice), &mut wishes))
            .collect();
        Pair {
            client: client::Session::new(client::Settings {
                tls,
                ..client::Settings::new("c.example", dialect)
            }),
            server: {
                let mut server = server::Session::new(settings);
                server.offer_mechanisms(mechanisms);
                server
            },
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            unkind: [0, 0, 10, 40][random.below(4)],
            breaks_at: random.chance(25).then(|| random.below(300)),
            broke: false,
            ahead: random.chance(50),
            to_send,
            open: VecDeque::new(),
            dots: VecDeque::new(),
            written: 0,
            giving: None,
            draft: Got::default(),
            got: Vec::new(),
            finished: Vec::new(),
            refusals: BTreeMap::new(),
            client_closed: None,
            server_closed: None,
            dsn: false,
            needs_tls: tls == client::Tls::Required,
            shakes_hands: false,
            login: tls_dice.chance(70),
            challenges: 0,
            trace,
            random,
        }
    }

    /// Plays to the end of both sessions.
    pub fn play(&mut self) {
        for turn in 0..MOVES {
            if self.client_closed.is_some() && self.server_closed.is_some() {
                return;
            }
            if self.breaks_at == Some(turn) {
                self.note("the connection breaks");
                self.broke = true;
                self.to_server.clear();
                self.to_client.clear();
                self.client.peer_closed();
                self.server.peer_closed();
            }
            match self.random.below(4) {
                0 => self.client_moves(),
                1 => self.server_moves(),
                2 => self.carry_to_server(),
                _ => self.carry_to_client(),
            }
        }
        panic!("the dialogue does not end");
    }

    fn note(&self, text: &str) {
        if self.trace {
            eprintln!("{text}");
        }
    }

    /// Both drivers have what they need for the handshake: nothing is on the wire.
    fn shake_hands(&mut self) {
        if self.broke {
            return;
        }
        self.note("the handshake");
        assert!(self.server.wants_handshake() && self.server.output().is_empty());
        assert!(self.to_server.is_empty() && self.to_client.is_empty());
        self.server.tls_started();
        self.client.tls_started();
    }

    fn carry_to_server(&mut self) {
        let output = self.client.output();
        let n = self.random.below(output.len() + 1);
        let octets = output[..n].to_vec();
        self.client.wrote(n);
        self.written += n;
        if !octets.is_empty() {
            self.note(&format!("C: {}", octets.escape_ascii()));
        }
        if self.broke {
            return;
        }
        self.to_server.extend(octets);
        if self.server_closed.is_none() && self.server.wants_input() {
            let n = self.random.below(self.to_server.len() + 1);
            let mut octets: Vec<u8> = self.to_server.drain(..n).collect();
            // Half of the time through the buffer, as a driver does it.
            if self.random.chance(50) {
                let space = self.server.input_space();
                let filled = octets.len().min(space.len());
                space[..filled].copy_from_slice(&octets[..filled]);
                self.server.input_filled(filled);
                octets.drain(..filled);
            }
            self.server.receive(&octets);
            if self.to_server.is_empty()
                && self.client_closed.is_some()
                && self.client.output().is_empty()
            {
                self.server.peer_closed();
            }
        }
    }

    fn carry_to_client(&mut self) {
        let output = self.server.output();
        let n = self.random.below(output.len() + 1);
        let octets = output[..n].to_vec();
        self.server.wrote(n);
        if !octets.is_empty() {
            self.note(&format!("S: {}", octets.escape_ascii()));
        }
        if self.broke {
            return;
        }
        self.to_client.extend(octets);
        let n = self.random.below(self.to_client.len() + 1);
        let octets: Vec<u8> = self.to_client.drain(..n).collect();
        if self.client_closed.is_none() {
            self.client.receive(&octets);
            if self.to_client.is_empty()
                && self.server_closed.is_some()
                && self.server.output().is_empty()
            {
                self.client.peer_closed();
            }
        }
    }

    fn client_moves(&mut self) {
        if let Some((body, given)) = &mut self.giving {
            let n = self.random.below(body.len() - *given + 1);
            self.client.body(&body[*given..*given + n]);
            *given += n;
            if *given == body.len() {
                self.client.end_body();
                self.giving = None;
                let position = self.written + self.client.output().len();
                if let Some(dot) = self.dots.back_mut() {
                    *dot = Some(position);
                }
            }
        }
        if std::mem::take(&mut self.shakes_hands) {
            self.shake_hands();
        }
        let event = self.client.next();
        if let Some(event) = event {
            self.note(&format!("client: {event:?}"));
            self.client_hears(event);
        }
        if self.giving.is_none() && self.client.can_begin() && (self.ahead || self.open.is_empty())
        {
            self.begin_or_quit();
        }
    }

    fn begin_or_quit(&mut self) {
        let Some(sent) = self.to_send.pop_front() else {
            if self.open.is_empty() {
                self.client.quit();
            }
            return;
        };
        if self.open.is_empty() && self.random.chance(10) {
            self.client.reset();
        }
        match self
            .client
            .begin_with(sent.transaction.clone(), sent.options.clone())
        {
            Ok(()) => {
                self.open.push_back(sent);
                self.dots.push_back(None);
            }
            Err(unsuitable) => {
                self.note(&format!("client: {unsuitable:?}"));
                assert_ne!(unsuitable, client::Unsuitable::NotReady);
            }
        }
    }

    fn client_hears(&mut self, event: client::Event) {
        match event {
            client::Event::SendBody => {
                self.giving = Some((self.open.back().unwrap().body.clone(), 0));
            }
            client::Event::Finished(outcomes) => {
                let sent = self.open.pop_front().unwrap();
                assert_eq!(outcomes.len(), sent.transaction.recipients.len());
                let dot = self.dots.pop_front().unwrap();
                let after = dot.is_some_and(|dot| dot <= self.written) && !sent.flawed;
                let said = [Lost::BeforeEndOfData, Lost::AfterEndOfData][usize::from(after)];
                for outcome in &outcomes {
                    let lost = matches!(outcome, RecipientOutcome::Lost(_));
                    assert!(
                        !lost || *outcome == RecipientOutcome::Lost(said),
                        "{outcome:?}"
                    );
                }
                self.finished.push((sent, outcomes));
            }
            client::Event::Closed(why) => {
                self.giving = None;
                assert!(self.client_closed.replace(why).is_none(), "closed twice");
            }
            client::Event::Ready(extensions) => {
                self.dsn = extensions.dsn;
                let offered = self.server.settings().extensions.dsn;
                assert_eq!(self.dsn, offered && extensions.extended);
                assert!(self.server.is_tls() || !self.needs_tls);
                self.say_auth(&extensions.auth);
            }
            client::Event::StartTls => self.shakes_hands = true,
            client::Event::Challenge(_) if self.random.chance(10) => self.client.cancel_auth(),
            client::Event::Challenge(octets) => self.client.respond(&octets),
            client::Event::AuthDone(reply) => {
                assert_eq!(reply.is_positive(), self.client.is_authenticated());
                assert!(!reply.is_positive() || self.server.is_authenticated());
            }
            client::Event::NoTls(_) | client::Event::Refused(..) | client::Event::ResetDone(_) => {}
        }
    }

    fn say_auth(&mut self, offered: &[Box<str>]) {
        if !self.login || offered.is_empty() || self.client.is_authenticated() {
            return;
        }
        let name = offered[self.random.below(offered.len())].clone();
        let initial: Option<&[u8]> = match self.random.below(3) {
            0 => None,
            1 => Some(b""),
            _ => Some(b"\0user\0secret"),
        };
        self.client.begin_auth(&name, initial).unwrap();
    }

    /// A refusal now and then: mostly 4yz or 5yz, seldom 421.
    fn refusal(&mut self) -> Option<Reply> {
        if !self.random.chance(self.unkind) {
            return None;
        }
        Some(match self.random.below(20) {
            0 => Reply::new(421, (4, 3, 2), "mx.example.org going down"),
            1..10 => Reply::new(451, (4, 7, 1), "later"),
            _ => Reply::new(550, (5, 7, 1), "never\nand that is that"),
        })
    }

    fn server_moves(&mut self) {
        use server::Event;
        if self.server_closed.is_some() || self.server.wants_input() {
            return;
        }
        let refusal = self.refusal();
        let Some(event) = self.server.next() else {
            return;
        };
        let accepted = match event {
            Event::Body(octets) => return self.draft.body.extend_from_slice(octets),
            Event::HeadersEnd => return,
            Event::Reset(_) => return self.draft.body.clear(),
            Event::Closed(why) => {
                self.server_closed = Some(why);
                return;
            }
            Event::EndOfData => return self.end_of_data(refusal),
            Event::Connected => Reply::greeting("mx.example.org"),
            Event::Hello(_) => Reply::hello(),
            Event::Mail(mail) => {
                let reverse_path = mail.reverse_path.to_string();
                assert!(self.server.is_tls() || !self.needs_tls);
                let nobody = mail.submitter.is_some_and(|s| s.mailbox().is_none());
                assert_eq!(nobody, self.server.is_authenticated());
                self.draft = Got {
                    reverse_path,
                    options: Options {
                        ret: mail.ret,
                        envelope_id: mail.envelope_id,
                        require_tls: mail.require_tls,
                        deliver_by: mail.deliver_by,
                        priority: mail.priority,
                        ..Options::default()
                    },
                    ..Got::default()
                };
                Reply::sender_ok()
            }
            Event::Rcpt(rcpt) => {
                let path = rcpt.forward_path.to_string();
                match &refusal {
                    None => {
                        self.draft.recipients.push(path);
                        self.draft.options.recipients.push(RecipientOptions {
                            notify: rcpt.notify,
                            original_recipient: rcpt.original_recipient,
                        });
                    }
                    Some(reply) => {
                        let key = (self.draft.reverse_path.clone(), path);
                        self.refusals.insert(key, reply.code());
                    }
                }
                Reply::recipient_ok()
            }
            Event::Data => Reply::start_input(),
            Event::StartTls => Reply::start_tls(),
            Event::Auth(server::Auth::Cancelled) => return,
            Event::Auth(step) => {
                if self.challenges(&step) {
                    return;
                }
                Reply::new(235, (2, 7, 0), "welcome")
            }
            Event::Xclient(_) => Reply::local_error(),
        };
        self.server.answer(refusal.unwrap_or(accepted));
    }

    /// Asks for more in an exchange of AUTH, up to twice.
    fn challenges(&mut self, step: &server::Auth) -> bool {
        if let server::Auth::Begin { .. } = step {
            self.challenges = self.random.below(3);
        }
        let more = self.challenges > 0;
        if more {
            self.challenges -= 1;
            self.server.challenge(&[b'c'; 7][..self.challenges]);
        }
        more
    }

    fn end_of_data(&mut self, refusal: Option<Reply>) {
        match refusal {
            Some(reply) => self.server.answer_data(Err(reply)),
            None => {
                self.got.push(std::mem::take(&mut self.draft));
                self.server.answer_data(Ok(Accepted::promise("queued")));
            }
        }
    }

    /// Compares both stories.
    pub fn check(&self) {
        assert!(
            self.open.is_empty(),
            "begun and never finished: {:?}",
            self.open
        );
        let broke = self.broke;
        for (sent, outcomes) in &self.finished {
            let reverse_path = sent.transaction.reverse_path.to_string();
            let got: Vec<&Got> = self
                .got
                .iter()
                .filter(|got| got.reverse_path == reverse_path)
                .collect();
            assert!(got.len() <= 1, "{reverse_path} was accepted twice");
            for (path, outcome) in sent.transaction.recipients.iter().zip(outcomes) {
                let path = path.to_string();
                let accepted = got.iter().any(|got| got.recipients.contains(&path));
                self.check_outcome(&reverse_path, &path, outcome, accepted);
                if let RecipientOutcome::Lost(_) = outcome {
                    assert!(
                        broke || self.client_closed != Some(Closed::Quit),
                        "lost for nothing"
                    );
                }
            }
            for got in got {
                self.check_options(sent, got);
                assert!(!sent.flawed, "what may not be sent was accepted");
                let whole = sent.body.is_empty()
                    || sent.body.ends_with(b"\r\n")
                    || sent.transaction.body == BodyType::BinaryMime;
                let end: &[u8] = if whole { b"" } else { b"\r\n" };
                let body = [sent.body.as_slice(), end].concat();
                assert!(
                    got.body == body || got.recipients.is_empty(),
                    "content changed"
                );
            }
        }
        let quit = self.client_closed == Some(Closed::Quit);
        assert!(
            quit || broke || self.may_end_early(),
            "{:?}",
            self.client_closed
        );
    }

    /// With DSN all its options arrive as they were given, without it none. What goes only to those
    /// that offer it arrives as it was given, or not at all where it may be left out.
    fn check_options(&self, sent: &Sent, got: &Got) {
        let (asked, told) = (&sent.options, &got.options);
        assert_eq!(told.require_tls, asked.require_tls);
        assert!(!told.require_tls || self.server.is_tls());
        assert!(told.priority.is_none() || told.priority == asked.priority);
        let returned = asked.deliver_by.is_some_and(|by| by.mode == ByMode::Return);
        assert!(told.deliver_by == asked.deliver_by || told.deliver_by.is_none() && !returned);
        if !self.dsn {
            assert!(got.options.ret.is_none() && got.options.envelope_id.is_none());
            let none = RecipientOptions::default();
            return assert!(
                got.options
                    .recipients
                    .iter()
                    .all(|options| *options == none)
            );
        }
        assert_eq!(got.options.ret, sent.options.ret);
        assert_eq!(got.options.envelope_id, sent.options.envelope_id);
        for (path, options) in got.recipients.iter().zip(&got.options.recipients) {
            let mut paths = sent.transaction.recipients.iter();
            let n = paths.position(|sent| sent.to_string() == *path).unwrap();
            let given = sent.options.recipients.get(n).cloned();
            assert_eq!(*options, given.unwrap_or_default(), "{path}");
        }
    }

    /// One recipient: what the client believes against what the server did.
    fn check_outcome(
        &self,
        reverse_path: &str,
        path: &str,
        outcome: &RecipientOutcome,
        accepted: bool,
    ) {
        let known = match outcome {
            RecipientOutcome::Accepted(_) => {
                assert!(accepted, "{path} of {reverse_path}: 250 and not accepted");
                return;
            }
            RecipientOutcome::Lost(Lost::AfterEndOfData) => return,
            RecipientOutcome::Lost(Lost::BeforeEndOfData) => None,
            RecipientOutcome::Deferred(reply) | RecipientOutcome::Refused(reply) => Some(reply),
        };
        assert!(
            !accepted,
            "{path} of {reverse_path}: accepted and believed {outcome:?}"
        );
        let key = (reverse_path.to_owned(), path.to_owned());
        if let (Some(reply), Some(code)) = (known, self.refusals.get(&key)) {
            // 421 ends the dialogue for all that are open, and flawed content is refused by us.
            let ends = [421, 554].contains(&reply.code());
            assert!(
                reply.code() == *code || ends,
                "{path}: {reply} and not {code}"
            );
        }
    }

    /// What ends a dialogue without QUIT, the connection being whole.
    fn may_end_early(&self) -> bool {
        match self.client_closed {
            Some(Closed::ShuttingDown(_)) => self.server_closed == Some(server::Closed::Ours),
            Some(Closed::Unsendable) => self.finished.iter().any(|(sent, _)| sent.flawed),
            _ => false,
        }
    }
}

/// The `n`th message of a dialogue.
fn sent(n: usize, random: &mut Seeded, dice: &mut Seeded) -> Sent {
    let reverse_path = ReversePath::parse(&format!("<t{n}@c.example>"), Utf8::Refused).unwrap();
    let many = if random.chance(5) { 150 } else { 4 };
    let recipients = (0..=random.below(many))
        .map(|k| recipient(k, random))
        .collect();
    let tokens: [&[u8]; 10] = [
        b"\r\n",
        b"\r\n",
        b".",
        b".\r\n",
        b"..",
        b"word ",
        b"Subject: x",
        b"\xc3\xa9",
        b"\r\n\r\n",
        b"x",
    ];
    let mut body = Vec::new();
    let length = [6, 60, 600][random.below(3)];
    for _ in 0..random.below(length) {
        body.extend_from_slice(tokens[random.below(tokens.len())]);
    }
    let flawed = random.chance(3);
    if flawed {
        let flaws: [&[u8]; 4] = [b"\n.\r\n", b"\r.\r\n", b"\0", b"\r"];
        let at = random.below(body.len() + 1);
        let rest = body.split_off(at);
        body.extend_from_slice(flaws[random.below(4)]);
        body.extend_from_slice(b"z");
        body.extend(rest);
    }
    let eight_bit = body.iter().any(|octet| *octet > 127);
    let size = match random.below(4) {
        0 => None,
        // A lie, now and then.
        1 => Some(100),
        _ => Some(body.len() as u64),
    };
    let body_type = if eight_bit {
        BodyType::EightBitMime
    } else {
        BodyType::SevenBit
    };
    let transaction = Transaction {
        reverse_path,
        recipients,
        size,
        body: body_type,
        smtp_utf8: false,
    };
    let length = body.len() as u64;
    Sent {
        options: Options {
            chunk: Some(length).filter(|_| dice.chance(50)),
            ..options(n, transaction.recipients.len(), dice)
        },
        transaction,
        body,
        flawed,
    }
}

/// What only some servers take, and what takes only some of them.
fn offer(offered: &mut server::Offered, dice: &mut Seeded) {
    offered.binary_mime = dice.chance(50);
    offered.require_tls = dice.chance(50);
    offered.deliver_by = [None, Some(0), Some(200)][dice.below(3)];
    offered.priority = dice.chance(50);
    offered.limits = dice.chance(50);
}

/// A message with wishes that only some servers take, now and then: their dice came later.
fn wished(mut sent: Sent, dice: &mut Seeded) -> Sent {
    if dice.chance(15) && sent.options.chunk.is_some() {
        let at = dice.below(sent.body.len() + 1);
        sent.body.splice(at..at, *b"\0\n.\r\n.\r");
        sent.options.chunk = Some(sent.body.len() as u64);
        sent.transaction.size = None;
        sent.transaction.body = BodyType::BinaryMime;
        sent.flawed = false;
    }
    sent.options.require_tls = dice.chance(10);
    sent.options.deliver_by = [
        None,
        None,
        DeliverBy::parse("120;R"),
        DeliverBy::parse("-5;NT"),
    ][dice.below(4)];
    sent.options.priority = Priority::new(3).filter(|_| dice.chance(30));
    sent.options.ahead = dice.chance(50);
    sent
}

/// What a sender may ask for with DSN: some of it, for some of `most` recipients.
fn options(n: usize, most: usize, dice: &mut Seeded) -> Options {
    let original = |k: usize| OriginalRecipient::parse(&format!("rfc822;o+2B{k}@x"), Utf8::Refused);
    let recipients = (0..dice.below(most + 1)).map(|k| RecipientOptions {
        notify: Notify::parse(["NEVER", "DELAY", "SUCCESS,FAILURE", ""][dice.below(4)]),
        original_recipient: original(k).filter(|_| dice.chance(50)),
    });
    let recipients = recipients.collect();
    Options {
        ret: [None, Some(Ret::Full), Some(Ret::Headers)][dice.below(3)],
        envelope_id: EnvelopeId::parse(&format!("e+3D{n}")).filter(|_| dice.chance(50)),
        recipients,
        ..Options::default()
    }
}

fn recipient(k: usize, random: &mut Seeded) -> ForwardPath {
    let text = match random.below(20) {
        0 => format!("<\"r {k}>\"@[IPv6:::1]>"),
        1 => format!("<р{k}@example.org>"),
        _ => format!("<r{k}@example.org>"),
    };
    ForwardPath::parse(&text, Utf8::Allowed).unwrap()
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number"))
    })
}

#[test]
fn random_dialogues_end_with_both_sides_agreeing() {
    if let Some(seed) = number("POSTHASTE_SEED") {
        let mut pair = Pair::new(seed, true);
        pair.play();
        return pair.check();
    }
    let (mut accepted, mut lost, mut refused) = (0, 0, 0);
    let (mut in_tls, mut authenticated) = (0, 0);
    let (mut binary, mut timed, mut protected) = (0, 0, 0);
    let seeds = number("POSTHASTE_SEEDS").unwrap_or(SEEDS);
    for seed in 0..seeds {
        let replay = Replay(seed);
        let mut pair = Pair::new(seed, false);
        pair.play();
        pair.check();
        in_tls += u64::from(pair.server.is_tls());
        authenticated += u64::from(pair.client.is_authenticated());
        for got in &pair.got {
            binary += u64::from(got.body.contains(&0));
            timed += u64::from(got.options.deliver_by.is_some());
            protected += u64::from(got.options.require_tls);
        }
        for outcome in pair.finished.iter().flat_map(|(_, outcomes)| outcomes) {
            match outcome {
                RecipientOutcome::Accepted(_) => accepted += 1,
                RecipientOutcome::Lost(_) => lost += 1,
                _ => refused += 1,
            }
        }
        std::mem::forget(replay);
    }
    eprintln!("{seeds} dialogues: {accepted} recipients accepted, {refused} refused, {lost} lost");
    eprintln!("{in_tls} of them in TLS, {authenticated} authenticated");
    eprintln!(
        "{binary} messages without lines, {timed} to be there in time, {protected} in TLS only"
    );
    // The dice fall on all sides, or the test would prove little.
    assert!(accepted > seeds && lost > seeds / 20 && refused > seeds / 2);
    assert!(in_tls > seeds / 5 && authenticated > seeds / 20);
    assert!(binary > seeds / 200 && timed > seeds / 100 && protected > seeds / 200);
}

/// Says how to replay a seed when its dialogue fails.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        let seed = self.0;
        eprintln!(
            "seed {seed} failed; replay: \
             POSTHASTE_SEED={seed} cargo test -p posthaste-smtp --test pair"
        );
    }
}
