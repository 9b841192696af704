//! Servers that are not ours: next hops with moods, and the mailbox of those who send.
//!
//! They speak SMTP with the shipped session, so that what is tested is our delivery and not their
//! grammar; the moods say where they misbehave.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthaste_smtp::address::ReversePath;
use posthaste_smtp::limits::TRANSACTIONS_IN_FLIGHT;
use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{Accepted, Closed, Event, Session, Settings};
use posthaste_world::net::{Endpoint, Listener};
use posthaste_world::{BoxStream, Clock, Net, Timestamp, Work};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::letter;
use super::scene::Scene;
use crate::tasks::Process;

/// What a server outside does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mood {
    /// Nothing.
    Honest,
    /// Defers every recipient the first time it sees it.
    Greylister,
    /// Takes its time before each answer.
    Tarpit,
    /// 421 after so many transactions.
    Tired(u32),
    /// Takes the message and closes without a word.
    DropsAfterDot,
    /// Closes in the midst of the content.
    DropsInData,
    /// Refuses half of the recipients for good.
    Picky,
    /// Defers half of the recipients.
    Busy,
    /// Says that everything fits, and that the message was too large after all, for now.
    LiesAboutSize,
    /// Sends its replies octet by octet.
    Stammers,
    /// Says what is no reply.
    Babbles,
    /// Accepts connections and says nothing.
    Silent,
    /// Refuses whoever connects.
    Closed,
}

impl Mood {
    /// All of them.
    pub(super) const ALL: [Mood; 13] = [
        Mood::Honest,
        Mood::Greylister,
        Mood::Tarpit,
        Mood::Tired(5),
        Mood::DropsAfterDot,
        Mood::DropsInData,
        Mood::Picky,
        Mood::Busy,
        Mood::LiesAboutSize,
        Mood::Stammers,
        Mood::Babbles,
        Mood::Silent,
        Mood::Closed,
    ];
}

/// A server outside.
pub(super) struct Outside {
    /// Its address.
    pub(super) host: IpAddr,
    name: String,
    scene: Arc<Scene>,
    mood: Mutex<Mood>,
    /// Recipients that a greylister has seen.
    seen: Mutex<BTreeMap<String, Timestamp>>,
    /// What it accepted: for crashes of those who sent it.
    recent: Mutex<Vec<Taken>>,
    /// When servers of ours crashed.
    crashes: Mutex<Vec<(Timestamp, IpAddr)>>,
}

/// A message that was accepted.
struct Taken {
    from: Endpoint,
    to: Vec<String>,
    /// When the reply that says so left: a slow server says it long after.
    answered: Option<Timestamp>,
}

impl Outside {
    pub(super) fn new(scene: &Arc<Scene>, host: IpAddr, name: &str) -> Arc<Self> {
        Arc::new(Outside {
            host,
            name: name.to_owned(),
            scene: scene.clone(),
            mood: Mutex::new(Mood::Honest),
            seen: Mutex::default(),
            recent: Mutex::default(),
            crashes: Mutex::default(),
        })
    }

    /// From the next connection on, or the next command of those that are open.
    pub(super) fn set_mood(&self, mood: Mood) {
        *crate::locked(&self.mood) = mood;
    }

    fn mood(&self) -> Mood {
        *crate::locked(&self.mood)
    }

    /// Begins to listen.
    pub(super) fn open(self: &Arc<Self>, process: &Arc<Process>) {
        let at = Endpoint::Tcp((self.host, 25).into());
        let Ok(listener) = self.scene.net.door(self.host).listen(&at) else {
            return;
        };
        let (outside, work) = (self.clone(), process.clone());
        process.spawn("outside", Box::pin(outside.serve(listener, work)));
    }

    async fn serve(self: Arc<Self>, listener: Box<dyn Listener>, work: Arc<Process>) {
        while let Ok((stream, peer)) = listener.accept().await {
            let outside = self.clone();
            work.spawn(
                "outside",
                Box::pin(async move { outside.meet(stream, peer).await }),
            );
        }
    }

    async fn meet(&self, stream: BoxStream, peer: Endpoint) {
        if self.mood() == Mood::Silent {
            self.scene.clock.sleep(Duration::from_secs(3600)).await;
            return;
        }
        let mut settings = Settings::new(self.name.as_str());
        // Half of them take several transactions in one flight.
        settings.extensions.chunking = self.host_is_even();
        let mut visit = Visit {
            outside: self,
            stream,
            from: peer,
            begun: self.scene.clock.now(),
            session: Session::new(settings),
            transactions: 0,
            null_sender: false,
            to: Vec::new(),
            content: Vec::new(),
            unheard: VecDeque::new(),
        };
        visit.converse().await;
        // Who did not say goodbye may not have heard our last 250s.
        for addresses in visit.unheard {
            self.excuse(&addresses);
        }
    }

    fn host_is_even(&self) -> bool {
        match self.host {
            IpAddr::V4(host) => host.octets()[3].is_multiple_of(2),
            IpAddr::V6(_) => false,
        }
    }

    fn excuse(&self, addresses: &[String]) {
        let mut ledger = crate::locked(&self.scene.ledger);
        addresses.iter().for_each(|a| ledger.excuse(a));
    }

    /// A server of ours crashed: what it handed over just before may not be known to it any more.
    pub(super) fn crashed(&self, sender: IpAddr, since: Timestamp) {
        let now = self.scene.clock.now();
        crate::locked(&self.crashes).push((now, sender));
        let theirs = |taken: &mut Taken| taken.from.ip() == Some(sender);
        let recent: Vec<_> = crate::locked(&self.recent).extract_if(.., theirs).collect();
        for taken in recent {
            if taken.answered.is_none_or(|at| at >= since) {
                self.excuse(&taken.to);
            }
        }
    }

    fn recipient(&self, address: &str) -> Reply {
        let odd = address.bytes().map(u32::from).sum::<u32>() % 2 == 1;
        let later = |text: &'static str| Reply::new(450, (4, 2, 1), text);
        match self.mood() {
            Mood::Closed => later("not here, not now"),
            Mood::Greylister => {
                let mut seen = crate::locked(&self.seen);
                let now = self.scene.clock.now();
                let first = *seen.entry(address.to_owned()).or_insert(now);
                match first == now {
                    true => later("greylisted"),
                    false => Reply::recipient_ok(),
                }
            }
            Mood::Busy if odd => later("mailbox busy"),
            Mood::Picky if odd => {
                crate::locked(&self.scene.ledger).refused_there(address);
                Reply::new(550, (5, 1, 1), "no such mailbox")
            }
            _ => Reply::recipient_ok(),
        }
    }
}

/// One connection to a server outside.
struct Visit<'a> {
    outside: &'a Outside,
    stream: BoxStream,
    from: Endpoint,
    begun: Timestamp,
    session: Session,
    transactions: u32,
    null_sender: bool,
    to: Vec<String>,
    content: Vec<u8>,
    /// Whom the last accepted messages were for, as many as may be in one flight: that the other
    /// end goes on does not say that it has heard.
    unheard: VecDeque<Vec<String>>,
}

/// What to do next in a dialogue.
enum Next {
    Go,
    Close,
}

impl Visit<'_> {
    async fn converse(&mut self) {
        loop {
            while self.session.wants_input() {
                if self.speak().await.is_err() || self.listen().await.is_err() {
                    return;
                }
            }
            if let Next::Close = self.step().await {
                let _ = self.speak().await;
                return;
            }
        }
    }

    async fn step(&mut self) -> Next {
        let mood = self.outside.mood();
        if mood == Mood::Tarpit {
            let wait = self.outside.scene.draw(20_000);
            self.outside
                .scene
                .clock
                .sleep(Duration::from_millis(wait))
                .await;
        }
        let Some(event) = self.session.next() else {
            return Next::Close;
        };
        if matches!(event, Event::Closed(Closed::Quit)) {
            self.unheard.clear();
        }
        match event {
            Event::Connected if mood == Mood::Closed => {
                self.session.answer(Reply::new(554, (5, 3, 2), "not today"));
            }
            Event::Connected => self.session.answer(Reply::greeting(&self.outside.name)),
            Event::Hello(_) => self.session.answer(Reply::hello()),
            Event::Mail(mail) => {
                self.transactions += 1;
                self.null_sender = mail.reverse_path == ReversePath::Null;
                self.to.clear();
                self.content.clear();
                let tired = matches!(mood, Mood::Tired(after) if self.transactions > after);
                self.session.answer(match tired {
                    true => Reply::new(421, (4, 3, 2), "enough for now"),
                    false => Reply::sender_ok(),
                });
            }
            Event::Rcpt(rcpt) => {
                let mailbox = rcpt.forward_path.mailbox().map(ToString::to_string);
                let address = mailbox.unwrap_or_default();
                let reply = self.outside.recipient(&address);
                if reply.is_positive() {
                    self.to.push(address);
                }
                self.session.answer(reply);
            }
            Event::Data => self.session.answer(Reply::start_input()),
            Event::Body(octets) => {
                self.content.extend_from_slice(octets);
                if mood == Mood::DropsInData {
                    return Next::Close;
                }
            }
            Event::HeadersEnd | Event::Reset(_) => {}
            // Neither is offered.
            Event::StartTls | Event::Auth(_) | Event::Xclient(_) => return Next::Close,
            Event::EndOfData => return self.end_of_data(mood),
            Event::Closed(_) => return Next::Close,
        }
        Next::Go
    }

    fn end_of_data(&mut self, mood: Mood) -> Next {
        if mood == Mood::LiesAboutSize {
            let reply = Reply::new(452, (4, 3, 1), "too much for me after all");
            self.session.answer_data(Err(reply));
            return Next::Go;
        }
        self.take();
        if mood == Mood::DropsAfterDot {
            self.outside.excuse(&self.to);
            return Next::Close;
        }
        self.session.answer_data(Ok(Accepted::promise("taken")));
        Next::Go
    }

    /// The message is ours now.
    fn take(&mut self) {
        let scene = &self.outside.scene;
        let mut ledger = crate::locked(&scene.ledger);
        if self.null_sender && letter::number_of(&self.content).is_none() {
            ledger.reported(&letter::failed_in(&self.content));
            // Two reports about the same failure are excused as two copies are.
            self.to = letter::failed_in(&self.content);
        } else {
            for address in &self.to {
                ledger.arrived(address, &self.content);
            }
        }
        drop(ledger);
        // Whoever crashed since this connection began is not there to hear of it.
        let gone =
            |(at, host): &(Timestamp, IpAddr)| Some(*host) == self.from.ip() && *at >= self.begun;
        if crate::locked(&self.outside.crashes).iter().any(gone) {
            self.outside.excuse(&self.to);
        }
        self.unheard.push_back(self.to.clone());
        if self.unheard.len() > TRANSACTIONS_IN_FLIGHT {
            self.unheard.pop_front();
        }
        crate::locked(&self.outside.recent).push(Taken {
            from: self.from.clone(),
            to: self.to.clone(),
            answered: None,
        });
    }

    /// All that was accepted on this connection has been answered.
    fn answered(&self) {
        let now = self.outside.scene.clock.now();
        let mut recent = crate::locked(&self.outside.recent);
        let ours = recent.iter_mut().filter(|taken| taken.from == self.from);
        for taken in ours {
            taken.answered.get_or_insert(now);
        }
    }

    async fn speak(&mut self) -> std::io::Result<()> {
        let mood = self.outside.mood();
        while !self.session.output().is_empty() {
            let n = match mood {
                Mood::Babbles => {
                    self.stream.write_all(b"what?\r\n").await?;
                    return Err(std::io::ErrorKind::Other.into());
                }
                Mood::Stammers => {
                    let one = self.session.output().first().copied().unwrap_or_default();
                    self.stream.write_all(&[one]).await?;
                    1
                }
                _ => {
                    let output = self.session.output();
                    self.stream.write_all(output).await?;
                    output.len()
                }
            };
            self.session.wrote(n);
        }
        self.answered();
        Ok(())
    }

    async fn listen(&mut self) -> std::io::Result<()> {
        match self.stream.read(self.session.input_space()).await? {
            0 => self.session.peer_closed(),
            n => self.session.input_filled(n),
        }
        Ok(())
    }
}
