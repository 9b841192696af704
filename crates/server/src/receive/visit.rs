//! One connection's story: who came, what it did and how much of what it may, how it ended.
//! Makes the records of reception.
//!
//! It does **not** decide about messages and recipients.

use std::net::IpAddr;
use std::time::Duration;

use posthaste_message::received::Protocol;
use posthaste_queue::spool::WriteError;
use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{Accepted, Closed, Hello, Reset};
use posthaste_world::net::Endpoint;

use super::connection::Disconnect;
use super::pace::Pace;
use super::transaction::Received;
use super::{Arrival, Reception};
use crate::authenticate::mechanism::Mechanism;
use crate::authenticate::{Login, Verdict};
use crate::config::Service;
use crate::policy::Who;
use crate::policy::rates::{Hit, Seat};
use crate::policy::senders::Over;
use crate::telemetry::{self, Event, clean};
use crate::tls::{Facts, Failed};

/// One connection's story.
pub struct Visit {
    /// The other end.
    pub peer: Endpoint,
    /// Its text, for records and the envelope.
    pub peer_text: String,
    /// The address by which it may be granted anything, when it is known.
    pub address: Option<IpAddr>,
    /// Its host name, when a peer that may say for whom it speaks has said so.
    pub name: Option<String>,
    /// What the client called itself to such a peer.
    pub client_hello: Option<String>,
    /// How slow it may be.
    pub pace: Pace,
    /// What counts it together with the others of its address.
    pub seat: Seat,
    /// What it reached.
    pub service: Service,
    /// What it called itself; empty before EHLO or HELO.
    pub hello: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// What TLS protects it.
    pub tls: Option<Facts>,
    /// Who it has shown to be (RFC 4954).
    pub login: Option<Login>,
    /// Transactions begun.
    pub transactions: u32,
    connected: (Endpoint, Option<IpAddr>),
    tls_failed: Option<Failed>,
    accepted: u32,
    refused_recipients: u32,
    number: u64,
    begun: Duration,
}

impl Visit {
    /// A connection that has just come.
    #[must_use]
    pub fn new(arrival: &Arrival, seat: Seat, stages: &Reception) -> Self {
        let address = arrival
            .address
            .filter(|_| arrival.listener.service != Service::Lmtp);
        Visit {
            peer: arrival.peer.clone(),
            peer_text: arrival.peer.to_string(),
            address,
            connected: (arrival.peer.clone(), address),
            name: None,
            client_hello: None,
            pace: Pace::new(&stages.policy.limits, stages.now()),
            seat,
            service: arrival.listener.service,
            hello: String::new(),
            protocol: Protocol::Smtp,
            tls: None,
            tls_failed: None,
            login: None,
            transactions: 0,
            accepted: 0,
            refused_recipients: 0,
            number: arrival.number,
            begun: stages.now(),
        }
    }

    /// Who it is to policy.
    #[must_use]
    pub fn who(&self) -> Who<'_> {
        Who {
            address: self.address,
            account: self.login.as_ref().map(|login| &login.name),
        }
    }

    /// From now on this is the other end.
    pub fn becomes(&mut self, peer: Endpoint, address: Option<IpAddr>) {
        self.peer_text = peer.to_string();
        self.peer = peer;
        // LMTP never relays, whoever speaks it (RFC 2033 §5 keeps it within a machine).
        self.address = address.filter(|_| self.service != Service::Lmtp);
    }

    /// The peer `relay` speaks for somebody else, who is the other end now.
    pub fn spoken_for(&mut self, relay: &str, stages: &Reception) {
        self.refused_recipients = 0;
        let hello = self.client_hello.as_deref().unwrap_or_default();
        let login = self.login.as_ref();
        stages.log.emit(&Event::Xclient {
            session: self.number,
            relay,
            peer: &self.peer_text,
            address_known: self.address.is_some(),
            name: clean(self.name.as_deref().unwrap_or_default()),
            hello: clean(hello),
            account: login.map_or("", |login| login.name.as_str()).into(),
        });
    }

    /// TLS began, or failed to. What the peer said before is forgotten (RFC 3207 §4.2).
    pub fn secured(&mut self, secured: Result<Facts, Failed>) {
        self.hello.clear();
        self.protocol = Protocol::Smtp;
        self.login = None;
        self.name = None;
        self.client_hello = None;
        let (peer, address) = self.connected.clone();
        self.becomes(peer, address);
        match secured {
            Ok(facts) => self.tls = Some(facts),
            Err(failed) => self.tls_failed = Some(failed),
        }
    }

    /// EHLO or HELO: notes the name. A name that is no domain is taken too (RFC 5321 §4.1.4).
    pub fn greet(&mut self, hello: Hello) -> Reply {
        self.protocol = match (self.service, hello.extended) {
            (Service::Lmtp, _) => Protocol::Lmtp,
            (_, true) => Protocol::Esmtp,
            (_, false) => Protocol::Smtp,
        };
        self.pace.greeted();
        self.hello = match &self.client_hello {
            Some(client) => client.clone(),
            None => hello.name.into(),
        };
        Reply::plain(250, "")
    }

    /// An exchange of AUTH ended.
    pub fn authenticated(
        &mut self,
        verdict: Verdict,
        mechanism: Option<Mechanism>,
        reply: &Reply,
        stages: &Reception,
    ) {
        let (result, label, cause) = match &verdict.result {
            Ok(login) => ("accepted", clean(&login.label), "".into()),
            Err(refusal) => ("refused", "".into(), clean(&refusal.cause)),
        };
        stages.log.emit(&Event::Auth {
            session: self.number,
            peer: &self.peer_text,
            mechanism: mechanism.map_or("", Mechanism::name),
            account: clean(&verdict.claimed),
            label,
            result,
            reply: clean(&reply.to_string()),
            cause,
        });
        if let Ok(login) = verdict.result {
            self.login = Some(login);
        }
    }

    /// The peer cancelled an exchange, or sent what is no response.
    pub fn auth_cancelled(&self, mechanism: Option<Mechanism>, stages: &Reception) {
        stages.log.emit(&Event::Auth {
            session: self.number,
            peer: &self.peer_text,
            mechanism: mechanism.map_or("", Mechanism::name),
            account: "".into(),
            label: "".into(),
            result: "cancelled",
            reply: "".into(),
            cause: "".into(),
        });
    }

    /// A recipient was refused. A stranger that tries many addresses is looking for those that
    /// exist: then the connection ends (RFC 5321 §7.3). What may be tried again later says nothing
    /// of that, and neighbours on the same machine (LMTP) do not look.
    pub fn refused_recipient(&mut self, refusal: Reply, stages: &Reception) -> Reply {
        let looks = refusal.is_permanent() && self.service != Service::Lmtp;
        if !looks || !stages.policy.is_stranger(self.who()) {
            return refusal;
        }
        self.refused_recipients += 1;
        if self.refused_recipients <= stages.policy.limits.refused_recipients {
            return refusal;
        }
        let text = format!("too many refused recipients; {refusal}");
        let reply = Reply::new(421, (4, 7, 0), text);
        self.limit("refused_recipients", &reply, 1, stages);
        reply
    }

    /// Whether the peer spoke before our greeting: what it is told when that is not permitted.
    pub fn talks_early(&self, early: bool, stages: &Reception) -> Option<Reply> {
        let refusal = stages.policy.early_talker(self.address).filter(|_| early)?;
        self.limit("early_talkers", &refusal, 1, stages);
        Some(refusal)
    }

    /// The peer's address met a limit: what the peer is told.
    pub fn met(&self, hit: Hit, stages: &Reception) -> Reply {
        self.limit(hit.limit, &hit.reply, hit.times, stages);
        hit.reply
    }

    /// The account has sent more than it may: this message is held.
    pub fn held(&self, over: Over, received: &Received, stages: &Reception) {
        stages.log.emit(&Event::Limit {
            session: self.number,
            service: self.service.name(),
            peer: &self.peer_text,
            limit: over.limit,
            times: 1,
            reply: format!("held: {}", received.id_text).into(),
        });
    }

    /// So much of the account's mail is held that this message is refused.
    pub fn not_held(&self, over: Over, refusal: &Reply, stages: &Reception) {
        self.limit(over.limit, refusal, 1, stages);
    }

    /// A flood makes few records: the first, the second, the fourth and so on.
    fn limit(&self, limit: &str, reply: &Reply, times: u32, stages: &Reception) {
        if times.is_power_of_two() {
            stages.log.emit(&Event::Limit {
                session: self.number,
                service: self.service.name(),
                peer: &self.peer_text,
                limit,
                times,
                reply: clean(&reply.to_string()),
            });
        }
    }

    /// A transaction was refused at MAIL.
    pub fn refuse(&self, received: &Received, refusal: Reply, stages: &Reception) -> Reply {
        let result = match refusal.is_transient() {
            true => "deferred",
            false => "refused",
        };
        self.transaction(received, result, &refusal.to_string(), stages);
        refusal
    }

    /// The end of data was answered.
    pub fn answered(
        &mut self,
        received: &Received,
        answer: &Result<Accepted, Reply>,
        stages: &Reception,
    ) {
        let (result, reply) = match answer {
            Ok(accepted) => ("accepted", accepted.reply()),
            Err(reply) if reply.is_transient() => ("deferred", reply),
            Err(reply) => ("refused", reply),
        };
        self.accepted += u32::from(answer.is_ok());
        self.transaction(received, result, &reply.to_string(), stages);
    }

    /// A message could not be kept: what the operator is told, and the peer. `None` when the disk
    /// failed so badly that the message may come back after a restart: then the peer must not be
    /// told that it was refused, nor that it was taken, and learns nothing (RFC 5321 §6.1 lets it
    /// try again).
    pub fn not_kept(
        &self,
        fault: WriteError,
        received: &Received,
        stages: &Reception,
    ) -> Option<Reply> {
        stages
            .log
            .fault(&format!("keeping message {}", received.id_text), &fault);
        if fault == WriteError::InDoubt {
            self.transaction(received, "lost", "in doubt: closed without a reply", stages);
            return None;
        }
        Some(fault.reply())
    }

    /// The session ended a transaction without a message.
    pub fn reset(&mut self, received: Option<Received>, why: &Reset, stages: &Reception) {
        match why {
            Reset::Command | Reset::Hello => self.pace.over(),
            Reset::Refused(_) => self.pace.refused(),
        }
        let Some(received) = received else { return };
        match why {
            Reset::Command => self.transaction(&received, "aborted", "RSET", stages),
            Reset::Hello => self.transaction(&received, "aborted", "EHLO or HELO", stages),
            Reset::Refused(reply) => {
                self.transaction(&received, "refused", &reply.to_string(), stages);
            }
        }
    }

    /// The connection ended within a transaction.
    pub fn lost(&self, received: Option<Received>, stages: &Reception) {
        if let Some(received) = received {
            self.transaction(&received, "lost", "the connection ended", stages);
        }
    }

    /// The connection ended.
    pub fn ended(&self, end: &Result<Closed, Disconnect>, stages: &Reception) {
        let end = match end {
            _ if self.tls_failed.is_some() => "no-tls",
            Ok(Closed::Quit) => "quit",
            Ok(Closed::PeerClosed) | Err(Disconnect::Lost) => "lost",
            Ok(Closed::TooManyErrors) => "too-many-errors",
            Ok(Closed::TooManyCommands) => "too-many-commands",
            Ok(Closed::TooManyTransactions) => "too-many-transactions",
            Ok(Closed::TooManyAuthFailures) => "too-many-auth-failures",
            Ok(Closed::Injected) => "injected",
            Ok(Closed::Ours) => "closed",
            Err(Disconnect::Timeout) => "timeout",
            Err(Disconnect::Slow(slow)) => {
                let reply = slow.reply(&stages.settings.hostname);
                self.limit(slow.limit(), &reply, 1, stages);
                "timeout"
            }
        };
        let open = stages.now().saturating_sub(self.begun);
        stages.log.emit(&Event::Connection {
            session: self.number,
            service: self.service.name(),
            peer: &self.peer_text,
            hello: clean(&self.hello),
            accepted: self.accepted,
            transactions: self.transactions,
            end,
            tls: self.tls.as_ref().map(telemetry::Tls::from).as_ref(),
            tls_failed: self
                .tls_failed
                .as_ref()
                .map(|f| clean(&f.to_string()).into_owned().into()),
            ms: u64::try_from(open.as_millis()).unwrap_or(u64::MAX),
        });
    }

    fn transaction(&self, received: &Received, result: &str, reply: &str, stages: &Reception) {
        let facts = received.facts();
        stages.log.emit(&Event::Transaction {
            id: &received.id_text,
            session: self.number,
            peer: &self.peer_text,
            from: received.mail.reverse_path.to_string().into(),
            to: &received.to,
            refused: &received.refused,
            size: facts.size,
            message_id: clean(facts.message_id.as_deref().unwrap_or_default()),
            result,
            reply: clean(reply),
            account: self.login.as_ref().map(|login| login.name.as_str()),
            sender: received.judgement().map(telemetry::Sender::from),
            tls: self.tls.as_ref().map(telemetry::Tls::from).as_ref(),
        });
    }
}

/// A connection was turned away at a limit: there was no dialogue.
pub fn turned_away(arrival: &Arrival, hit: &Hit, stages: &Reception) {
    if hit.times.is_power_of_two() {
        stages.log.emit(&Event::Limit {
            session: arrival.number,
            service: arrival.listener.service.name(),
            peer: &arrival.peer.to_string(),
            limit: hit.limit,
            times: hit.times,
            reply: clean(&hit.reply.to_string()),
        });
    }
}

/// A proxy did not say for whom it connects: there was no dialogue.
pub fn not_introduced(arrival: &Arrival, why: &str, stages: &Reception) {
    stages.log.emit(&Event::NotIntroduced {
        session: arrival.number,
        service: arrival.listener.service.name(),
        peer: &arrival.peer.to_string(),
        why: clean(why),
    });
}
