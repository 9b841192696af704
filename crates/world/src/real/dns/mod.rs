//! The DNS door of production: a caching stub that asks recursive servers.
//!
//! It owns the cache ([`cache`]), one flight per question, and the chain of questions that CNAMEs
//! may need. [`servers`] asks one question of the servers in turn, [`reading`] says what an answer
//! means, [`system`] knows the machine's own files. The wire itself is the `domain` crate's.
//!
//! A flight is a task of its own: it ends although everybody who asked has gone, and its time is
//! bounded. It does **not** recurse from the root, validate signatures, or extend names by search
//! domains.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::base::name::NameBuilder;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::dns::{Answer, Failure, Kind};
use crate::{BoxFuture, Clock};

mod cache;
mod datagram;
mod reading;
mod servers;
mod system;
#[cfg(test)]
mod tests;

use cache::Cache;
use reading::{Name, Reading, Step};
use servers::{Patience, Servers};
use system::System;

/// CNAMEs that are followed for one question; a longer chain is taken for a loop.
const LINKS_MAX: usize = 8;
/// Questions that are asked at the same time; each holds a socket.
const FLIGHTS_MAX: usize = 256;
/// Questions that are asked or wait for their turn; more are refused.
const WAITING_MAX: usize = 8192;
/// Longest time an answer is kept.
const TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest time the absence of records is kept (RFC 2308 §5 allows hours).
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(15 * 60);
/// How long a failure is kept, so that a burst of questions asks once (RFC 2308 §7).
const FAILURE_TTL: Duration = Duration::from_secs(5);

type Found = Result<Arc<Answer>, Failure>;
type Key = (Box<str>, Kind);

/// Which servers are asked, and whom to believe.
#[derive(Clone, Default, Debug)]
pub struct Settings {
    /// Recursive servers, asked in this order; empty for those in `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// Servers whose AD bit is believed although they are not on loopback: the way to them must be
    /// as safe as this machine itself.
    pub trusted: Vec<IpAddr>,
    /// Whether the machine's hosts file and `localhost` mean nothing: only what the servers say.
    pub without_hosts: bool,
}

impl Settings {
    /// Whether the AD bit of `server` is believed: nobody can change it on its way to us.
    fn trusts(&self, server: IpAddr) -> bool {
        server.to_canonical().is_loopback() || self.trusted.contains(&server)
    }
}

/// A caching resolver. Clones are the same resolver.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    runtime: Handle,
    system: System,
    without_hosts: bool,
    servers: Servers,
    room: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cache: Cache,
    flights: HashMap<Key, watch::Receiver<Option<Found>>>,
}

impl Resolver {
    /// Starts with an empty cache; the questions run on `runtime`.
    #[must_use]
    pub fn new(settings: Settings, clock: Arc<dyn Clock>, runtime: Handle) -> Self {
        Self::with(
            settings,
            clock,
            runtime,
            (Patience::default(), System::new()),
        )
    }

    fn with(
        settings: Settings,
        clock: Arc<dyn Clock>,
        runtime: Handle,
        (patience, system): (Patience, System),
    ) -> Self {
        Resolver(Arc::new(Shared {
            without_hosts: settings.without_hosts,
            servers: Servers::new(settings, clock.clone(), patience),
            clock,
            runtime,
            system,
            room: Semaphore::new(FLIGHTS_MAX),
            state: Mutex::default(),
        }))
    }

    /// What is known without asking, or the flight that will tell.
    fn known(&self, key: &Key, name: &Name) -> Result<Found, watch::Receiver<Option<Found>>> {
        let mut state = self.0.state();
        if let Some(found) = state.cache.get(key, self.0.clock.elapsed()) {
            return Ok(found);
        }
        if let Some(flight) = state.flights.get(key) {
            return Err(flight.clone());
        }
        if state.flights.len() >= WAITING_MAX {
            let why = "too many questions wait for an answer";
            return Ok(Err(Failure::Unreachable(why.to_owned())));
        }
        let (tell, flight) = watch::channel(None);
        state.flights.insert(key.clone(), flight.clone());
        drop(state);
        let (shared, name, key) = (self.0.clone(), name.clone(), key.clone());
        self.0.runtime.spawn(async move {
            let found = shared.fly(name, key.1).await;
            shared.land(key, &found);
            tell.send_replace(Some(found));
        });
        Err(flight)
    }
}

impl crate::Dns for Resolver {
    fn query<'a>(
        &'a self,
        name: &'a str,
        kind: Kind,
    ) -> BoxFuture<'a, Result<Arc<Answer>, Failure>> {
        Box::pin(async move {
            let text = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            let name = parse(&text)?;
            if !self.0.without_hosts
                && let Some(answer) = self.0.system.answer(&text, kind)
            {
                return Ok(Arc::new(answer));
            }
            let key = (text.into_boxed_str(), kind);
            let mut flight = match self.known(&key, &name) {
                Ok(found) => return found,
                Err(flight) => flight,
            };
            if let Ok(found) = flight.wait_for(Option::is_some).await {
                return found.clone().unwrap_or(Err(Failure::Timeout));
            }
            // The flight broke off; the next question starts another.
            self.0.state().flights.remove(&key);
            Err(Failure::Malformed(
                "the question could not be asked".to_owned(),
            ))
        })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock stops half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and asks on where a chain of CNAMEs leaves an answer; all of it, and the wait for its
    /// turn, within the patience.
    async fn fly(&self, name: Name, kind: Kind) -> Found {
        let in_turn = async {
            // It is never closed.
            let _room = self.room.acquire().await.map_err(|_| Failure::Timeout)?;
            self.follow(name, kind).await
        };
        let in_turn = tokio::time::timeout(self.servers.patience().in_all, in_turn);
        in_turn.await.unwrap_or(Err(Failure::Timeout)).map(Arc::new)
    }

    async fn follow(&self, name: Name, kind: Kind) -> Result<Answer, Failure> {
        let system = self.system.servers();
        let mut answer = Reading::begin(name);
        while answer.links <= LINKS_MAX {
            let found = match self.servers.ask(&system, &mut answer, kind).await? {
                Step::Found(found) => found,
                Step::GoOn => continue,
            };
            let ttl_max = match found {
                crate::dns::Found::Records(_) => TTL_MAX,
                _ => NEGATIVE_TTL_MAX,
            };
            return Ok(Answer {
                found,
                canonical: reading::text(&answer.name),
                security: answer.security,
                ttl: answer.ttl.min(ttl_max),
            });
        }
        let why = format!("a chain of CNAMEs loops or is longer than {LINKS_MAX}");
        Err(Failure::Malformed(why))
    }

    fn land(&self, key: Key, found: &Found) {
        let ttl = match found {
            Ok(answer) => answer.ttl,
            Err(_) => FAILURE_TTL,
        };
        let now = self.clock.elapsed();
        let mut state = self.state();
        state.flights.remove(&key);
        if !ttl.is_zero() {
            state.cache.put(key, found.clone(), now + ttl);
        }
    }
}

/// A name as it is asked for: labels between dots, without escapes.
fn parse(text: &str) -> Result<Name, Failure> {
    let bad = |why: &str| Failure::BadName(why.to_owned());
    if !text.is_ascii() {
        return Err(bad("it is not in A-labels"));
    }
    let mut name = NameBuilder::new_bytes();
    for label in text.split('.') {
        if label.is_empty() {
            return Err(bad("a label is empty"));
        }
        name.append_label(label.as_bytes())
            .map_err(|_| bad("a label or the name is too long"))?;
    }
    name.into_name().map_err(|_| bad("the name is too long"))
}
