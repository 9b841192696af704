//! Stage 2, receive: one peer's dialogue, from its greeting to its end.
//!
//! [`serve`] is the reception of the way of a message: it asks the session what the peer wants,
//! asks the other stages for the answer, and hands it back. [`accept`] is everything between the
//! final dot and its reply. Octets and patience are [`connection`]'s, slow peers are
//! [`pace`]'s, what a transaction has gathered is [`transaction`]'s, what the log is told is
//! [`visit`]'s.
//!
//! This module does **not** know what makes a recipient acceptable, nor how a message is kept.

pub mod behalf;
pub mod client;
pub mod complete;
pub mod connection;
pub mod judged;
pub mod pace;
pub mod recipients;
pub mod signed;
pub mod transaction;
pub mod visit;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use posthaste_message::header::Facts;
use posthaste_queue::Queue;
use posthaste_queue::envelope::ContentFacts;
use posthaste_smtp::Dialect;
use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{self, Accepted, Closed, Event, Session};
use posthaste_world::net::Endpoint;
use posthaste_world::{BoxStream, World};

use crate::authenticate::{Authenticator, message};
use crate::config::{Listener, ListenerTls, Service};
use crate::feedback::Feedback;
use crate::policy::Policy;
use crate::policy::rates::Seat;
use crate::policy::senders::Senders;
use crate::shutdown::Shutdown;
use crate::sign::Signatures;
use crate::telemetry::Log;
use crate::tls::server::Acceptor;

use client::Client;
use connection::{Connection, Disconnect, Patience};
use transaction::{Received, Transaction};
use visit::Visit;

/// A connection that was just accepted.
pub struct Arrival {
    /// The stream.
    pub stream: BoxStream,
    /// The other end.
    pub peer: Endpoint,
    /// The address by which the peer may be granted anything, when it is known.
    pub address: Option<IpAddr>,
    /// The settings of the listener that it reached.
    pub listener: Arc<Listener>,
    /// The connection's number since start-up.
    pub number: u64,
}

/// The stages of reception, as one configuration wires them.
pub struct Reception {
    /// The outside.
    pub world: World,
    /// Records.
    pub log: Arc<Log>,
    /// How sessions behave where the listener says nothing else.
    pub settings: Arc<server::Settings>,
    /// Our end of a TLS handshake.
    pub acceptor: Acceptor,
    /// The same for submission, when clients may log in with a certificate: it asks for one.
    pub asking: Option<Acceptor>,
    /// Who clients are.
    pub authenticator: Authenticator,
    /// How it is judged who sent a message.
    pub judging: Arc<message::Settings>,
    /// Who may do what.
    pub policy: Policy,
    /// What other domains want to know of mail in their name.
    pub feedback: Arc<Feedback>,
    /// What signs the mail of users and relay networks.
    pub signatures: Arc<Signatures>,
    /// What accounts have sent lately.
    pub senders: Arc<Senders>,
    /// Where messages are kept.
    pub queue: Arc<Queue>,
    /// Whether the server stops.
    pub shutdown: Shutdown,
}

/// What an envelope keeps of a message's scan. That it is no text is for the caller to say.
#[must_use]
pub fn content_facts(facts: &Facts) -> ContentFacts {
    ContentFacts {
        size: facts.size,
        eight_bit: facts.eight_bit(),
        utf8_headers: facts.utf8_header,
        binary: false,
        longest_line: facts.longest_line,
    }
}

impl Reception {
    /// The time that never goes back.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.world.clock.elapsed()
    }

    /// Our end of a handshake with a client of this service.
    fn acceptor(&self, service: Service) -> &Acceptor {
        let asking = self.asking.as_ref();
        asking
            .filter(|_| service == Service::Submission)
            .unwrap_or(&self.acceptor)
    }

    /// A session as the listener wants it for a peer at this address.
    fn session(&self, listener: &Listener, peer: Option<IpAddr>) -> Session {
        let mut settings = server::Settings::clone(&self.settings);
        settings.extensions.xclient = peer.is_some_and(|ip| listener.relays.contain(ip));
        settings.extensions.starttls = listener.tls == ListenerTls::StartTls;
        match listener.service {
            Service::Mx => {}
            Service::Submission => {
                settings.auth_required = true;
                settings.auth_in_clear = listener.auth_without_tls;
            }
            Service::Lmtp => settings.dialect = Dialect::Lmtp,
        }
        Session::new(settings)
    }
}

/// Serves one peer until its connection ends, and records how it went.
pub async fn serve(arrival: Arrival, seat: Seat, stages: &Reception) {
    let mut visit = Visit::new(&arrival, seat, stages);
    let timer = stages.world.clock.timer();
    let mut connection =
        Connection::new(arrival.stream, timer, arrival.peer, stages.shutdown.clone());
    let mut session = stages.session(&arrival.listener, arrival.address);
    if arrival.listener.tls == ListenerTls::Implicit {
        let acceptor = stages.acceptor(visit.service);
        visit.secured(connection.secure(&mut session, acceptor).await);
    }
    let end = converse(&mut connection, &mut session, stages, &mut visit).await;
    visit.ended(&end, stages);
}

/// The dialogue: every question of the session is answered by the stage that knows.
async fn converse(
    connection: &mut Connection,
    session: &mut Session,
    stages: &Reception,
    visit: &mut Visit,
) -> Result<Closed, Disconnect> {
    let mut transaction = Transaction::none();
    let mut client = Client::default();
    let mut patience = Patience::Fresh;
    let end = loop {
        if session.wants_input() {
            let (now, received) = (stages.now(), connection.received());
            visit.pace.dropping(session.drops_message(), now, received);
            let left = visit.pace.left(now, received);
            match connection.exchange(session, patience, left).await {
                Ok(()) => patience = Patience::Running,
                Err(end) => {
                    let (now, received) = (stages.now(), connection.received());
                    break Err(visit.pace.ended(end, now, received));
                }
            }
        } else if session.wants_handshake() {
            let acceptor = stages.acceptor(visit.service);
            visit.secured(connection.secure(session, acceptor).await);
        }
        let event = session.next();
        if event.is_some() {
            patience = Patience::Fresh;
        }
        match event {
            None => {}
            Some(Event::Connected) => {
                if let Err(end) = greet(connection, session, visit, stages).await {
                    break Err(end);
                }
            }
            Some(Event::Hello(hello)) => {
                client.offer(session, visit, stages).await;
                session.answer(visit.greet(hello));
            }
            Some(Event::StartTls) => session.answer(Reply::start_tls()),
            Some(Event::Xclient(said)) => {
                session.answer(behalf::speak_for(&said, visit, stages).await);
            }
            Some(Event::Auth(step)) => client.step(step, session, visit, stages).await,
            Some(Event::Mail(mail)) => {
                session.answer(transaction.begin(mail, visit, stages));
                session.name_transaction(transaction.name());
            }
            Some(Event::Rcpt(rcpt)) => session.answer(transaction.add(&rcpt, visit, stages)),
            Some(Event::Data) => {
                visit.pace.message(stages.now(), connection.received());
                session.answer(transaction.open_draft(visit, stages).await);
            }
            Some(Event::Body(octets)) => transaction.write(octets).await,
            Some(Event::HeadersEnd) => {}
            Some(Event::EndOfData) => {
                // Boxed, so that an idle session does not keep room for it.
                match Box::pin(accept(transaction.take(), stages, visit)).await {
                    Some(answer) => session.answer_data(answer),
                    None => break Err(Disconnect::Lost),
                }
            }
            Some(Event::Reset(why)) => visit.reset(transaction.take(), &why, stages),
            Some(Event::Closed(end)) => break Ok(end),
        }
    };
    visit.lost(transaction.take(), stages);
    connection.farewell(session, end).await
}

/// The greeting. A peer that did not wait for it hears it too, and then why it is not served.
async fn greet(
    connection: &mut Connection,
    session: &mut Session,
    visit: &Visit,
    stages: &Reception,
) -> Result<(), Disconnect> {
    session.answer(stages.policy.connect(visit.service));
    connection.greet(session).await?;
    if let Some(refusal) = visit.talks_early(session.early_talker(), stages) {
        session.close(refusal);
    }
    Ok(())
}

/// Everything between the final dot and the reply to it. `None` when no reply would be true.
async fn accept(
    received: Option<Received>,
    stages: &Reception,
    visit: &mut Visit,
) -> Option<Result<Accepted, Reply>> {
    visit.pace.over();
    let mut received = received?;
    received.judge().await;
    let (facts, judgement) = (received.facts(), received.judgement());
    let answer = match stages.policy.message(facts, judgement, &received.id_text) {
        Err(refusal) => Err(refusal),
        Ok(()) => match received.count(visit, stages) {
            Err(refusal) => Err(refusal),
            Ok(over) => match received.commit(over, visit, stages).await {
                Ok(receipt) => Ok(receipt.accepted()), // the only way to build this 250
                Err(fault) => {
                    received.uncount(over, visit, stages);
                    Err(visit.not_kept(fault, &received, stages)?)
                }
            },
        },
    };
    visit.answered(&received, &answer, stages);
    received.count_for_report(stages);
    Some(answer)
}
