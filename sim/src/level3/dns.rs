//! Simulated names: one table for all hosts, and resolvers that are slow, fail, lie and loop.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthaste_world::dns::{Answer, Data, Failure, Found, Kind, Security};
use posthaste_world::{BoxFuture, Clock, Dns};

use crate::clock::SimClock;
use crate::rng::Rng;

/// How long a resolver waits for servers that do not answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may be kept.
const TTL: Duration = Duration::from_secs(60);

/// What resolvers do wrong, in cases per thousand questions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moods {
    /// No answer.
    pub(super) timeouts: u64,
    /// SERVFAIL.
    pub(super) failures: u64,
    /// A chain of CNAMEs that never ends.
    pub(super) loops: u64,
    /// Addresses of a host that is somebody else.
    pub(super) lies: u64,
}

/// The names of a world. Clones are the same names.
#[derive(Clone)]
pub(super) struct SimDns {
    state: Arc<Mutex<State>>,
    clock: SimClock,
}

struct State {
    rng: Rng,
    moods: Moods,
    records: BTreeMap<(String, Kind), Vec<Data>>,
    /// Whose addresses a resolver that lies gives.
    decoy: Ipv4Addr,
}

impl SimDns {
    pub(super) fn new(clock: SimClock, rng: Rng, decoy: Ipv4Addr) -> Self {
        let state = State {
            rng,
            moods: Moods::default(),
            records: BTreeMap::new(),
            decoy,
        };
        let state = Arc::new(Mutex::new(state));
        SimDns { state, clock }
    }

    pub(super) fn set_moods(&self, moods: Moods) {
        crate::locked(&self.state).moods = moods;
    }

    pub(super) fn add_host(&self, name: &str, address: Ipv4Addr) {
        self.add(name, Kind::A, Data::A(address));
    }

    pub(super) fn add_mx(&self, domain: &str, preference: u16, host: &str) {
        let exchange = host.to_owned();
        let data = Data::Mx {
            preference,
            exchange,
        };
        self.add(domain, Kind::Mx, data);
    }

    fn add(&self, name: &str, kind: Kind, data: Data) {
        let mut state = crate::locked(&self.state);
        let records = state.records.entry((name.to_owned(), kind)).or_default();
        records.push(data);
    }
}

impl State {
    fn answer(&mut self, name: &str, kind: Kind) -> Result<Arc<Answer>, Failure> {
        let moods = self.moods;
        // Each is drawn, so that switching one off does not change the others.
        let [timeout, failure, loops, lie] =
            [moods.timeouts, moods.failures, moods.loops, moods.lies].map(|n| self.rng.chance(n));
        if timeout {
            return Err(Failure::Timeout);
        }
        if failure {
            return Err(Failure::Server("SERVFAIL".to_owned()));
        }
        if loops {
            return Err(Failure::Malformed("a loop of CNAMEs".to_owned()));
        }
        let found = match self.records.get(&(name.to_owned(), kind)) {
            Some(_) if lie && kind == Kind::A => Found::Records(vec![Data::A(self.decoy)]),
            Some(records) => Found::Records(records.clone()),
            None if self.records.keys().any(|(known, _)| known == name) => Found::NoData,
            None => Found::NxDomain,
        };
        Ok(Arc::new(Answer {
            found,
            canonical: name.to_owned(),
            security: Security::Insecure,
            ttl: TTL,
        }))
    }
}

impl Dns for SimDns {
    fn query<'a>(
        &'a self,
        name: &'a str,
        kind: Kind,
    ) -> BoxFuture<'a, Result<Arc<Answer>, Failure>> {
        Box::pin(async move {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let answer = crate::locked(&self.state).answer(&name, kind);
            let takes = match answer {
                Err(Failure::Timeout) => TIMEOUT,
                _ => Duration::from_millis(crate::locked(&self.state).rng.below(50)),
            };
            self.clock.sleep(takes).await;
            answer
        })
    }
}

/// The address of host number `n`.
pub(super) fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, n)
}

/// The same, as the other parts want it.
pub(super) fn ip(n: u8) -> IpAddr {
    IpAddr::V4(address(n))
}
