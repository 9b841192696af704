//! A DNS in memory: names, their records, and what goes wrong with them.

#![allow(dead_code)] // each test file uses a part of it

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use posthaste_world::dns::{Answer, Data, Failure, Found, Kind, Security};
use posthaste_world::{BoxFuture, Dns};

/// What stands at a name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Entry {
    /// A record.
    Record(Data),
    /// An alias.
    Cname(String),
    /// Questions for what does not stand here time out.
    Timeout,
}

/// All names. A name that is not here does not exist, unless one below it is here.
#[derive(Default, Debug)]
pub(crate) struct Zone {
    names: BTreeMap<String, Vec<Entry>>,
    /// Questions asked.
    pub(crate) asked: AtomicUsize,
}

const LINKS_MAX: usize = 10;

impl Zone {
    pub(crate) fn add(&mut self, name: &str, entry: Entry) {
        let at = self.names.entry(canonical(name)).or_default();
        at.push(entry);
    }

    pub(crate) fn txt(&mut self, name: &str, text: &str) {
        self.add(name, Entry::Record(Data::Txt(text.into())));
    }

    /// Makes a name exist, without records.
    pub(crate) fn empty(&mut self, name: &str) {
        self.names.entry(canonical(name)).or_default();
    }

    fn answer(&self, name: &str, kind: Kind) -> Result<Answer, Failure> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut name = canonical(name);
        if name.split('.').any(|l| l.is_empty() || l.len() > 63) || name.len() > 253 {
            return Err(Failure::BadName(name));
        }
        for _ in 0..LINKS_MAX {
            let Some(entries) = self.names.get(&name) else {
                let below = format!(".{name}");
                let exists = self.names.keys().any(|n| n.ends_with(&below));
                let found = if exists {
                    Found::NoData
                } else {
                    Found::NxDomain
                };
                return Ok(answer(name, found));
            };
            let alias = entries.iter().find_map(|entry| match entry {
                Entry::Cname(target) => Some(canonical(target)),
                _ => None,
            });
            if let Some(target) = alias {
                name = target;
                continue;
            }
            let of_kind = entries.iter().filter_map(|entry| match entry {
                Entry::Record(data) if self::kind(data) == kind => Some(data.clone()),
                _ => None,
            });
            let records: Vec<Data> = of_kind.collect();
            return match records.is_empty() {
                true if entries.contains(&Entry::Timeout) => Err(Failure::Timeout),
                true => Ok(answer(name, Found::NoData)),
                false => Ok(answer(name, Found::Records(records))),
            };
        }
        Err(Failure::Malformed("a chain of CNAMEs loops".to_owned()))
    }
}

impl Dns for Zone {
    fn query<'a>(
        &'a self,
        name: &'a str,
        kind: Kind,
    ) -> BoxFuture<'a, Result<Arc<Answer>, Failure>> {
        let answer = self.answer(name, kind).map(Arc::new);
        Box::pin(async move { answer })
    }
}

fn answer(canonical: String, found: Found) -> Answer {
    Answer {
        found,
        canonical,
        security: Security::Insecure,
        ttl: Duration::from_secs(60),
    }
}

fn kind(data: &Data) -> Kind {
    match data {
        Data::A(_) => Kind::A,
        Data::Aaaa(_) => Kind::Aaaa,
        Data::Mx { .. } => Kind::Mx,
        Data::Txt(_) => Kind::Txt,
        Data::Ptr(_) => Kind::Ptr,
        Data::Tlsa { .. } => Kind::Tlsa,
        Data::Ns(_) => Kind::Ns,
        Data::Cname(_) => Kind::Cname,
    }
}

fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}
