//! The DNS tree walk (RFC 9989 §4.10).
//!
//! At most [`STEPS_MAX`] look-ups a name, whatever its length. One [`Walker`] serves one message
//! and asks for each name once. It does **not** judge.

use std::collections::BTreeMap;

use posthaste_world::Dns;
use posthaste_world::dns::{Data, Failure, Found, Kind};

use super::record::{PublicSuffix, Record};

/// Look-ups of one walk (RFC 9989 §4.10).
pub(super) const STEPS_MAX: usize = 8;

/// What stands at `_dmarc` of a name.
#[derive(Clone, Debug)]
pub(super) enum Published {
    /// Exactly one record.
    Record(Box<Record>),
    /// None; or several, which count as none.
    Nothing {
        /// How many there were.
        records: usize,
    },
    /// It could not be looked up.
    Failed(Failure),
}

/// Looks up the records that one message needs.
pub(super) struct Walker<'a> {
    dns: &'a dyn Dns,
    known: BTreeMap<String, Published>,
    /// What was found, one line a name.
    pub(super) trace: Vec<String>,
}

/// What a walk found: names and their records, the longest name first.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) found: Vec<(String, Record)>,
    /// The first look-up that failed.
    pub(super) failed: Option<String>,
}

impl<'a> Walker<'a> {
    pub(super) fn new(dns: &'a dyn Dns) -> Walker<'a> {
        Walker {
            dns,
            known: BTreeMap::new(),
            trace: Vec::new(),
        }
    }

    /// Walks from `start` to its top-level domain, or to a record that says where to stop.
    pub(super) async fn walk(&mut self, start: &str) -> Walk {
        let mut walk = Walk::default();
        for name in steps(start) {
            match self.published(name).await {
                Published::Nothing { .. } => {}
                Published::Record(record) => {
                    let last = record.psd != PublicSuffix::Unknown;
                    walk.found.push((name.to_owned(), *record));
                    if last {
                        break;
                    }
                }
                Published::Failed(failure) => {
                    let what = format!("_dmarc.{name} could not be looked up: {failure}");
                    walk.failed = walk.failed.or(Some(what));
                }
            }
        }
        walk
    }

    /// What stands at `_dmarc` of `name`.
    pub(super) async fn published(&mut self, name: &str) -> Published {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        let published = match self.dns.query(&format!("_dmarc.{name}"), Kind::Txt).await {
            Ok(answer) => {
                let texts = answer.records().iter();
                let mut records: Vec<Record> = texts.filter_map(record).collect();
                match (records.pop(), records.len()) {
                    (Some(record), 0) => Published::Record(Box::new(record)),
                    (last, more) => Published::Nothing {
                        records: usize::from(last.is_some()) + more,
                    },
                }
            }
            // Too long a name has no records.
            Err(Failure::BadName(_)) => Published::Nothing { records: 0 },
            Err(failure) => Published::Failed(failure),
        };
        self.trace.push(match &published {
            Published::Record(_) => format!("_dmarc.{name} has a record"),
            Published::Nothing { records: 0 } => format!("_dmarc.{name} has no record"),
            Published::Nothing { records } => {
                format!("_dmarc.{name} has {records} records, which count as none")
            }
            Published::Failed(failure) => format!("_dmarc.{name}: {failure}"),
        });
        self.known.insert(name.to_owned(), published.clone());
        published
    }

    /// Whether a name exists: anything but NXDOMAIN (RFC 9989 §3.2.13).
    pub(super) async fn exists(&mut self, name: &str) -> Result<bool, Failure> {
        let exists = match self.dns.query(name, Kind::A).await {
            Ok(answer) => answer.found != Found::NxDomain,
            Err(Failure::BadName(_)) => false,
            Err(failure) => return Err(failure),
        };
        let what = if exists { "exists" } else { "does not exist" };
        self.trace.push(format!("{name} {what}"));
        Ok(exists)
    }
}

impl Walk {
    /// The organizational domain of the name where the walk started (RFC 9989 §4.10.2).
    pub(super) fn organizational<'a>(&'a self, start: &'a str) -> &'a str {
        for (name, record) in &self.found {
            match record.psd {
                PublicSuffix::No => return name,
                PublicSuffix::Yes if name != start => return one_below(start, name),
                PublicSuffix::Yes | PublicSuffix::Unknown => {}
            }
        }
        self.found.last().map_or(start, |(name, _)| name)
    }

    /// The record of a name that the walk passed.
    pub(super) fn record(&self, name: &str) -> Option<&Record> {
        let mut found = self.found.iter();
        found.find(|(n, _)| n == name).map(|(_, record)| record)
    }
}

fn record(data: &Data) -> Option<Record> {
    match data {
        Data::Txt(text) => Record::parse(text),
        _ => None,
    }
}

/// The names of a walk: the start; from there, or from its last seven labels, each parent.
fn steps(start: &str) -> impl Iterator<Item = &str> {
    let labels = start.split('.').count();
    let skip = match labels {
        STEPS_MAX.. => labels - (STEPS_MAX - 1),
        _ => 1,
    };
    let mut next = start.splitn(skip + 1, '.').nth(skip);
    let parents = std::iter::from_fn(move || {
        let name = next?;
        next = name.split_once('.').map(|(_, parent)| parent);
        Some(name)
    });
    std::iter::once(start).chain(parents)
}

/// The name one label below `parent` on the way to `start`, which is below it.
fn one_below<'a>(start: &'a str, parent: &str) -> &'a str {
    let above = start.strip_suffix(parent).unwrap_or_default();
    let above = above.strip_suffix('.').unwrap_or(above);
    let cut = above.rfind('.').map_or(0, |dot| dot + 1);
    start.get(cut..).unwrap_or(start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_names_are_cut_to_seven_labels_after_the_first_step() {
        let start = "a.b.c.d.e.f.g.h.i.j.mail.example.com";
        let want = [
            start,
            "g.h.i.j.mail.example.com",
            "h.i.j.mail.example.com",
            "i.j.mail.example.com",
            "j.mail.example.com",
            "mail.example.com",
            "example.com",
            "com",
        ];
        assert_eq!(steps(start).collect::<Vec<_>>(), want);
        assert_eq!(steps("h.g.f.e.d.c.b.a").nth(1), Some("g.f.e.d.c.b.a"));
        assert_eq!(steps("com").collect::<Vec<_>>(), ["com"]);
        assert_eq!(steps("b.com").collect::<Vec<_>>(), ["b.com", "com"]);
    }

    #[test]
    fn one_below_is_on_the_way() {
        assert_eq!(one_below("a.b.c.d", "d"), "c.d");
        assert_eq!(one_below("a.b.c.d", "b.c.d"), "a.b.c.d");
    }

    proptest! {
        #[test]
        fn a_walk_is_at_most_eight_steps_and_ends_at_the_top(
            labels in proptest::collection::vec("[a-z]{1,3}", 1..40),
        ) {
            let start = labels.join(".");
            let steps: Vec<&str> = steps(&start).collect();
            prop_assert!(steps.len() <= STEPS_MAX);
            prop_assert_eq!(steps[0], start.as_str());
            prop_assert_eq!(*steps.last().unwrap(), labels.last().unwrap());
            for parent in &steps[1..] {
                let below = one_below(&start, parent);
                prop_assert_eq!(below.split_once('.').unwrap().1, *parent);
            }
        }
    }
}
