//! What was found, for as long as it may be kept, within a bound of memory.
//!
//! Two generations: what is used moves to the young one; when that is full it becomes the old one,
//! and what nobody used meanwhile goes. Every step is short, and no list of ages is kept.

use std::collections::HashMap;
use std::time::Duration;

use super::{Found, Key};
use crate::dns::{self, Data};

/// Octets of one generation, reckoned roughly.
const GENERATION_SIZE: usize = 2 * 1024 * 1024;
/// What an entry costs beside its data.
const ENTRY_SIZE: usize = 256;

#[derive(Default)]
pub(super) struct Cache {
    young: HashMap<Key, Entry>,
    old: HashMap<Key, Entry>,
    young_size: usize,
}

struct Entry {
    found: Found,
    expires: Duration,
    size: usize,
}

impl Cache {
    /// What is known of `key` at `now`.
    pub(super) fn get(&mut self, key: &Key, now: Duration) -> Option<Found> {
        if let Some(entry) = self.young.get(key) {
            return (entry.expires > now).then(|| entry.found.clone());
        }
        let (key, entry) = self.old.remove_entry(key)?;
        let found = (entry.expires > now).then(|| entry.found.clone())?;
        self.keep(key, entry);
        Some(found)
    }

    /// Keeps `found` until `expires`.
    pub(super) fn put(&mut self, key: Key, found: Found, expires: Duration) {
        let size = ENTRY_SIZE + key.0.len() + size(&found);
        self.old.remove(&key);
        let entry = Entry {
            found,
            expires,
            size,
        };
        self.keep(key, entry);
    }

    fn keep(&mut self, key: Key, entry: Entry) {
        if self.young_size + entry.size > GENERATION_SIZE {
            self.old = std::mem::take(&mut self.young);
            self.young_size = 0;
        }
        self.young_size += entry.size;
        if let Some(before) = self.young.insert(key, entry) {
            self.young_size -= before.size;
        }
    }
}

fn size(found: &Found) -> usize {
    let Ok(answer) = found else { return 0 };
    let data = |data: &Data| match data {
        Data::A(_) | Data::Aaaa(_) => 0,
        Data::Mx { exchange: name, .. } | Data::Ptr(name) | Data::Ns(name) | Data::Cname(name) => {
            name.len()
        }
        Data::Txt(octets) | Data::Tlsa { data: octets, .. } => octets.len(),
    };
    let records = answer.records().iter();
    let entry = size_of::<dns::Answer>() + answer.canonical.len();
    entry + records.map(|r| size_of::<Data>() + data(r)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dns::{Answer, Kind, Security};

    fn answer(octets: usize) -> Found {
        Ok(Arc::new(Answer {
            found: dns::Found::Records(vec![Data::Txt(vec![b'x'; octets])]),
            canonical: String::new(),
            security: Security::Insecure,
            ttl: Duration::ZERO,
        }))
    }

    fn key(n: usize) -> Key {
        (n.to_string().into(), Kind::Txt)
    }

    #[test]
    fn an_entry_lives_until_it_expires() {
        let mut cache = Cache::default();
        let at = Duration::from_secs;
        cache.put(key(1), answer(1), at(10));
        assert!(cache.get(&key(1), at(9)).is_some());
        assert!(cache.get(&key(1), at(10)).is_none());
        assert!(cache.get(&(key(1).0, Kind::A), at(9)).is_none());
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let mut cache = Cache::default();
        let (now, later) = (Duration::ZERO, Duration::from_secs(1));
        for n in 0..1000 {
            cache.put(key(n), answer(60_000), later);
            assert!(cache.get(&key(0), now).is_some(), "used again and again");
            let entries = cache.young.values().chain(cache.old.values());
            assert!(entries.map(|e| e.size).sum::<usize>() <= 2 * GENERATION_SIZE);
            let young: usize = cache.young.values().map(|e| e.size).sum();
            assert_eq!(cache.young_size, young);
        }
        assert!(cache.get(&key(1), now).is_none(), "nobody used it");
    }
}
