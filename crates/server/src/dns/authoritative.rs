//! Answers of the servers that are responsible for a name, without anybody between.
//!
//! The zone of a name is found through the ordinary resolver (NS, RFC 1034 §4.2.1); its servers are
//! then asked one by one, and every answer compared, so that what one of them does not have yet is
//! seen. An alias is followed with the servers of its own zone. What a cache still holds, or a
//! hosts file says, plays no part in it.
//!
//! A server that does not answer is not asked again. This module does **not** validate signatures:
//! all its answers are *insecure*.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posthaste_world::dns::{Answer, Data, Failure, Found, Kind, Security};
use posthaste_world::{BoxFuture, Dns};

/// Name servers of a zone that are asked.
const SERVERS_MAX: usize = 8;
/// Addresses of one name server that are asked.
const ADDRESSES_MAX: usize = 2;
/// Aliases that are followed for one question.
const LINKS_MAX: usize = 8;
/// The port of name servers.
const PORT: u16 = 53;

/// Gives the door to one server.
pub type Reach = Box<dyn Fn(SocketAddr) -> Arc<dyn Dns> + Send + Sync>;

/// Asks the servers that are responsible.
pub struct Authoritative {
    recursive: Arc<dyn Dns>,
    reach: Reach,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is known of names: the servers of the zone that begins there, none where none begins.
    zones: BTreeMap<String, Option<Arc<Zone>>>,
    /// Servers that gave no answer.
    silent: Vec<SocketAddr>,
    notes: Vec<String>,
}

struct Zone {
    name: String,
    servers: Vec<(String, SocketAddr, Arc<dyn Dns>)>,
}

impl Authoritative {
    /// Finds servers through `recursive`, and asks each through `reach`.
    #[must_use]
    pub fn new(recursive: Arc<dyn Dns>, reach: Reach) -> Self {
        Authoritative {
            recursive,
            reach,
            state: Mutex::default(),
        }
    }

    /// What was seen on the way: servers that do not answer, and those that disagree.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.state().notes.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, text: String) {
        let mut state = self.state();
        if !state.notes.contains(&text) {
            state.notes.push(text);
        }
    }

    /// The zone that holds `name`.
    async fn zone_of(&self, name: &str) -> Result<Arc<Zone>, Failure> {
        let above = name.match_indices('.').map(|(at, _)| at + 1);
        for at in std::iter::once(0).chain(above) {
            let candidate = name.get(at..).unwrap_or_default();
            let known = self.state().zones.get(candidate).cloned();
            let zone = match known {
                Some(known) => known,
                None => {
                    let zone = self.zone_at(candidate).await?.map(Arc::new);
                    let key = candidate.to_owned();
                    self.state().zones.insert(key, zone.clone());
                    zone
                }
            };
            if let Some(zone) = zone {
                return Ok(zone);
            }
        }
        let why = format!("no zone above {name} has name servers");
        Err(Failure::Unreachable(why))
    }

    /// The zone that begins at `name`, if one does.
    async fn zone_at(&self, name: &str) -> Result<Option<Zone>, Failure> {
        let answer = self.recursive.query(name, Kind::Ns).await?;
        if answer.canonical != name {
            return Ok(None);
        }
        let ns = answer.records().iter().filter_map(|data| match data {
            Data::Ns(host) => Some(host.clone()),
            _ => None,
        });
        let mut hosts: Vec<String> = ns.collect();
        if hosts.is_empty() {
            return Ok(None);
        }
        hosts.sort();
        hosts.truncate(SERVERS_MAX);
        let mut servers = Vec::new();
        for host in hosts {
            for ip in self.addresses(&host).await {
                let at = SocketAddr::new(ip, PORT);
                servers.push((host.clone(), at, (self.reach)(at)));
            }
        }
        let name = name.to_owned();
        match servers.is_empty() {
            true => Err(Failure::Unreachable(format!(
                "no name server of {name} has an address"
            ))),
            false => Ok(Some(Zone { name, servers })),
        }
    }

    async fn addresses(&self, host: &str) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for kind in [Kind::A, Kind::Aaaa] {
            if let Ok(answer) = self.recursive.query(host, kind).await {
                found.extend(answer.records().iter().filter_map(address));
            }
        }
        found.truncate(ADDRESSES_MAX);
        found
    }

    /// What the servers of a zone say; the first that answers is believed, the others are compared.
    async fn ask(&self, zone: &Zone, name: &str, kind: Kind) -> Result<Found, Failure> {
        let mut first: Option<(&str, Found)> = None;
        let mut failure = Failure::Timeout;
        for (host, at, server) in &zone.servers {
            if self.state().silent.contains(at) {
                continue;
            }
            match server.query(name, kind).await {
                Ok(answer) => {
                    let found = sorted(&answer.found);
                    match &first {
                        None => first = Some((host, found)),
                        Some((believed, other)) if *other != found => self.note(format!(
                            "{name}: the servers of {} disagree: {believed} and {host}",
                            zone.name
                        )),
                        Some(_) => {}
                    }
                }
                Err(why @ (Failure::Timeout | Failure::Unreachable(_))) => {
                    self.state().silent.push(*at);
                    self.note(format!(
                        "the server {host} ({}) of {} does not answer",
                        at.ip(),
                        zone.name
                    ));
                    failure = why;
                }
                Err(why) => {
                    self.note(format!("{name}: the server {host} of {}: {why}", zone.name));
                    failure = why;
                }
            }
        }
        first.map(|(_, found)| found).ok_or(failure)
    }

    async fn follow(&self, name: &str, kind: Kind) -> Result<Answer, Failure> {
        let mut name = name.trim_end_matches('.').to_ascii_lowercase();
        for _ in 0..=LINKS_MAX {
            let zone = self.zone_of(&name).await?;
            let alias = self.ask(&zone, &name, Kind::Cname).await?;
            if kind != Kind::Cname
                && let Found::Records(records) = &alias
                && let Some(Data::Cname(target)) = records.first()
            {
                name = target.clone();
                continue;
            }
            let found = match kind {
                Kind::Cname => alias,
                _ => self.ask(&zone, &name, kind).await?,
            };
            return Ok(Answer {
                found,
                canonical: name,
                security: Security::Insecure,
                ttl: Duration::ZERO,
            });
        }
        let why = format!("a chain of CNAMEs loops or is longer than {LINKS_MAX}");
        Err(Failure::Malformed(why))
    }
}

impl Dns for Authoritative {
    fn query<'a>(
        &'a self,
        name: &'a str,
        kind: Kind,
    ) -> BoxFuture<'a, Result<Arc<Answer>, Failure>> {
        Box::pin(async move { self.follow(name, kind).await.map(Arc::new) })
    }
}

pub(super) fn address(data: &Data) -> Option<IpAddr> {
    match data {
        Data::A(ip) => Some((*ip).into()),
        Data::Aaaa(ip) => Some((*ip).into()),
        _ => None,
    }
}

/// Servers give records in any order.
fn sorted(found: &Found) -> Found {
    match found {
        Found::Records(records) => {
            let mut records = records.clone();
            records.sort();
            Found::Records(records)
        }
        nothing => nothing.clone(),
    }
}
