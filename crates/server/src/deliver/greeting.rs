//! The start of a connection to a next hop: from its address to a host that is ready for mail.
//!
//! TLS and login come before the first transaction. A hop whose security is opportunistic is tried
//! once more in clear when its handshake fails; no other is. Secrets go only to a host whose
//! certificate proved its name, or that is this machine itself.
//!
//! It does **not** know the mechanisms of AUTH ([`super::auth`]), nor what a certificate is worth
//! (the connector of the hop's security).

use posthaste_smtp::client::{Closed, Event, Session, Settings, Tls};
use posthaste_smtp::extension::Extensions;
use posthaste_smtp::reply::Reply;
use posthaste_world::World;
use posthaste_world::net::Endpoint;
use posthaste_world::work::Pool;

use super::auth::{Exchange, Means, NONCE, UNPROVED};
use super::connection::{
    CONNECT_PATIENCE, Connection, QUIT_PATIENCE, Unusable, no_answer, or_expired,
};
use super::outbound::Outbound;
use crate::config::RouteTls;
use crate::route::NextHop;
use crate::tls::Facts;

/// Who connects.
pub struct Caller {
    /// The doors.
    pub world: World,
    /// Our name.
    pub hello_name: Box<str>,
    /// What we show, and whom we trust.
    pub outbound: Outbound,
}

/// What protects a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protection {
    /// What the handshake settled; none in clear.
    pub tls: Option<Facts>,
    /// Why there is no TLS, where it was tried.
    pub failed: Option<String>,
}

impl Connection {
    /// Connects to `hop` and gets it ready: greetings, TLS and login as its security says.
    ///
    /// # Errors
    /// Why this host cannot be used now.
    pub async fn open(caller: &Caller, hop: &NextHop) -> Result<Connection, Unusable> {
        let tls = wanted(hop);
        match dial(caller, hop, tls).await {
            Err(Unusable::NoTls(reply)) if tls == Tls::IfOffered => {
                let mut connection = dial(caller, hop, Tls::Never).await?;
                connection.protection.failed = Some(reply.text().to_owned());
                Ok(connection)
            }
            done => done,
        }
    }

    /// Waits for the host to be ready, and does what comes before.
    async fn greet(&mut self, caller: &Caller) -> Result<(), Unusable> {
        loop {
            match self.event().await {
                Some(Event::StartTls) => self.start_tls(caller).await?,
                Some(Event::NoTls(reply)) => {
                    let why = match reply {
                        Some(reply) => format!("the host refused STARTTLS: {reply}"),
                        None => "the host does not offer STARTTLS".to_owned(),
                    };
                    if self.hop().security.is_strict() {
                        self.take_leave().await;
                        return Err(Unusable::NoTls(Reply::new(451, (4, 7, 4), why)));
                    }
                    self.protection.failed = Some(why);
                }
                Some(Event::Ready(peer)) => return self.ready(peer, caller).await,
                Some(Event::Refused(stage, reply)) => {
                    self.take_leave().await;
                    return Err(Unusable::Refused(stage, reply));
                }
                Some(Event::Closed(closed)) => {
                    return Err(Unusable::Unreachable(self.why(&closed)));
                }
                Some(_) => {}
                None => return Err(Unusable::Unreachable(self.why(&Closed::PeerClosed))),
            }
        }
    }

    /// Sends the QUIT that the session said; its answer is not waited for.
    async fn take_leave(&mut self) {
        self.timer.set(QUIT_PATIENCE);
        // A courtesy: nothing depends on it.
        let _ = self.write().await;
    }

    /// Does the handshake on the stream, and goes on inside of it.
    async fn start_tls(&mut self, caller: &Caller) -> Result<(), Unusable> {
        let clear = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
        let connector = caller.outbound.connector(&self.hop().security);
        match connector.connect(clear, tls_name(self.hop())).await {
            Ok((stream, facts)) => {
                self.stream = stream;
                self.protection.tls = Some(facts);
                self.session.tls_started();
                Ok(())
            }
            Err(failed) => {
                self.cut(failed.to_string());
                Err(Unusable::NoTls(Reply::new(
                    451,
                    (4, 7, 5),
                    failed.to_string(),
                )))
            }
        }
    }

    /// The host takes mail: it is told who we are first, where it should know and may.
    async fn ready(&mut self, peer: Extensions, caller: &Caller) -> Result<(), Unusable> {
        self.peer = peer;
        let security = &self.hop().security;
        let secret = caller.outbound.secret(security);
        let certificate =
            self.protection.tls.is_some() && caller.outbound.shows_certificate(security);
        if secret.is_none() && !certificate {
            return Ok(());
        }
        if secret.is_some() && !self.may_hear_secrets() {
            let why = "the host's certificate proves nothing, so it is not told the password";
            return Err(Unusable::NoLogin(Reply::new(451, (4, 7, 5), why)));
        }
        let mut random = [0; NONCE];
        caller.world.random.fill(&mut random);
        let means = Means {
            offered: &self.peer.auth,
            secret,
            certificate,
            binding: self.protection.tls.as_ref().and_then(|facts| facts.binding),
            random,
        };
        match Exchange::choose(&means) {
            Some(exchange) => self.log_in(exchange, caller).await,
            // A certificate may be all that the host wants.
            None if secret.is_none() => Ok(()),
            None => {
                let why = match self.peer.auth.is_empty() {
                    true => "the host does not offer AUTH".to_owned(),
                    false => format!(
                        "the host has no AUTH that we have: {}",
                        self.peer.auth.join(" ")
                    ),
                };
                Err(Unusable::NoLogin(Reply::new(451, (4, 7, 4), why)))
            }
        }
    }

    /// Whether a password may go over this connection.
    fn may_hear_secrets(&self) -> bool {
        let tls = self.protection.tls.as_ref();
        is_this_machine(&self.hop().endpoint) || tls.is_some_and(|facts| facts.peer.is_verified())
    }

    async fn log_in(&mut self, mut exchange: Exchange, caller: &Caller) -> Result<(), Unusable> {
        let name = exchange.name();
        let initial = exchange.initial();
        if self.session.begin_auth(name, initial.as_deref()).is_err() {
            let text = "the session cannot say AUTH now";
            return Err(Unusable::NoLogin(Reply::new(451, (4, 3, 0), text)));
        }
        let mut flaw = None;
        loop {
            match self.event().await {
                Some(Event::Challenge(challenge)) => {
                    let answer = move || {
                        let response = exchange.answer(&challenge);
                        (exchange, response)
                    };
                    let Ok((same, response)) = caller.world.work.on(Pool::Crypto, answer).await
                    else {
                        let why = "the response could not be computed";
                        return Err(Unusable::NoLogin(Reply::new(451, (4, 3, 0), why)));
                    };
                    exchange = same;
                    match response {
                        Ok(response) => self.session.respond(&response),
                        Err(why) => {
                            flaw = Some(why);
                            self.session.cancel_auth();
                        }
                    }
                }
                Some(Event::AuthDone(reply)) => {
                    let unproved = reply.is_positive() && !exchange.is_satisfied();
                    let flaw = flaw.or(unproved.then_some(UNPROVED));
                    let why = match flaw {
                        None if reply.is_positive() => continue,
                        None => format!("the host refused the login with {name}: {reply}"),
                        Some(flaw) => format!("the host broke the rules of {name}: {flaw}"),
                    };
                    return Err(Unusable::NoLogin(Reply::new(451, (4, 7, 8), why)));
                }
                Some(Event::Ready(peer)) => {
                    self.peer = peer;
                    return Ok(());
                }
                Some(Event::Closed(closed)) => {
                    let why = format!("in the login: {}", self.why(&closed));
                    return Err(Unusable::Unreachable(why));
                }
                Some(_) => {}
                None => return Err(Unusable::Unreachable(self.why(&Closed::PeerClosed))),
            }
        }
    }
}

/// Connects, and greets.
async fn dial(caller: &Caller, hop: &NextHop, tls: Tls) -> Result<Connection, Unusable> {
    let world = &caller.world;
    let mut timer = world.clock.timer();
    timer.set(CONNECT_PATIENCE);
    let connected = or_expired(&mut *timer, world.net.connect(&hop.endpoint, None)).await;
    let stream = match connected {
        Some(Ok(stream)) => stream,
        Some(Err(e)) => return Err(Unusable::Unreachable(format!("cannot connect: {e}"))),
        None => {
            let why = no_answer("to connect", CONNECT_PATIENCE);
            return Err(Unusable::Unreachable(why));
        }
    };
    let session = Session::new(Settings {
        tls,
        ..Settings::new(&caller.hello_name, hop.dialect)
    });
    let mut connection =
        Connection::new((hop.clone(), world.clock.clone()), stream, timer, session);
    if hop.security.implicit {
        connection.start_tls(caller).await?;
    }
    connection.greet(caller).await?;
    Ok(connection)
}

/// What a session is to do about STARTTLS.
fn wanted(hop: &NextHop) -> Tls {
    match hop.security.tls {
        RouteTls::None => Tls::Never,
        _ if hop.security.implicit => Tls::Required,
        // Nobody listens in between.
        RouteTls::Opportunistic if is_this_machine(&hop.endpoint) => Tls::Never,
        RouteTls::Opportunistic => Tls::IfOffered,
        RouteTls::Require | RouteTls::Verify => Tls::Required,
    }
}

/// Whether a hop is on this machine.
fn is_this_machine(endpoint: &Endpoint) -> bool {
    endpoint.ip().is_none_or(|ip| ip.is_loopback())
}

/// The name or address that the host's certificate must be for.
fn tls_name(hop: &NextHop) -> &str {
    let host = &*hop.host;
    let address = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    address.unwrap_or(host)
}
