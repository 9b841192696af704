//! Rotation: keys take over from each other when the DNS has them, not before.
//!
//! Every [`LOOK`] the keys that wait for the DNS are looked up, and all keys move on by
//! [`stage::advance`]; with `rotate_every` in the configuration the successors of old keys are made
//! here, too. The list is changed under the same lock as by `posthaste dkim`, and only when it is
//! still what was judged; a change that fails is made at the next look. This module does **not**
//! say what a stage means, and publishes nothing: the operator does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use posthaste_mailauth::dkim::Publication;
use posthaste_world::dns::{Data, Kind};
use posthaste_world::work::Pool;
use posthaste_world::{Dns, World};

use super::keys::{self, Editor, Entry, Keyring};
use super::stage::{self, Sight, Stage, Standing};
use crate::fault::Fault;
use crate::shutdown::Shutdown;
use crate::telemetry::{Event, Log};

/// Time between two looks at the DNS.
pub const LOOK: Duration = Duration::from_secs(600);

/// What the configuration says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// Age at which keys get successors by themselves, if they do.
    pub rotate_every: Option<Duration>,
    /// How long mail may wait with us after it was signed.
    pub longest_wait: Duration,
}

/// What rotates the keys of a server.
pub struct Rotation {
    world: World,
    log: Arc<Log>,
    data_dir: PathBuf,
    schedule: Mutex<Schedule>,
}

impl Rotation {
    /// For the keys in `data_dir`.
    #[must_use]
    pub fn new(world: &World, log: &Arc<Log>, data_dir: PathBuf, schedule: Schedule) -> Self {
        Rotation {
            world: world.clone(),
            log: log.clone(),
            data_dir,
            schedule: Mutex::new(schedule),
        }
    }

    /// From the next look on goes by this.
    pub fn replace(&self, schedule: Schedule) {
        *self.schedule.lock().unwrap_or_else(PoisonError::into_inner) = schedule;
    }

    /// Looks again and again, until the server stops.
    pub async fn keep(self: Arc<Self>, stop: Shutdown) {
        while !stop.is_stopping() {
            self.look().await;
            tokio::select! {
                biased;
                () = stop.stopping() => {}
                () = self.world.clock.sleep(LOOK) => {}
            }
        }
    }

    /// One look. What is wrong with the list itself is told by whoever signs with it.
    pub async fn look(&self) {
        let schedule = *self.schedule.lock().unwrap_or_else(PoisonError::into_inner);
        let (disk, dir) = (self.world.disk.clone(), self.data_dir.clone());
        let read = move || {
            let entries = keys::entries(&*disk, &dir)?;
            let moves = |e: &Entry| e.standing.stage != Stage::Active;
            // The keys themselves are only needed to compare them with their records.
            let keys = match entries.iter().any(moves) {
                true => keys::read(&*disk, &dir)?,
                false => Keyring::default(),
            };
            Ok::<_, Fault>((entries, keys))
        };
        let Ok(Ok((entries, keys))) = self.world.work.on(Pool::Disk, read).await else {
            return;
        };
        let next = self.advanced(&entries, &keys, schedule).await;
        if next != entries {
            self.change(entries.clone(), next).await;
        } else if let Some(every) = schedule.rotate_every {
            self.make_successors(&entries, every).await;
        }
    }

    /// The list as it should be now.
    async fn advanced(&self, entries: &[Entry], keys: &Keyring, schedule: Schedule) -> Vec<Entry> {
        let mut domains: BTreeMap<&str, Vec<(&Entry, Sight)>> = BTreeMap::new();
        for entry in entries {
            let sight = self.sight(entry, keys).await;
            domains
                .entry(&entry.domain)
                .or_default()
                .push((entry, sight));
        }
        let now = self.world.clock.now();
        let mut next: BTreeMap<(&str, &str), Option<Standing>> = BTreeMap::new();
        for (domain, of_it) in &domains {
            let standings: Vec<_> = of_it.iter().map(|(e, s)| (e.standing, *s)).collect();
            let moved = stage::advance(&standings, now, schedule.longest_wait);
            for ((entry, _), standing) in of_it.iter().zip(moved) {
                next.insert((domain, &entry.selector), standing);
            }
        }
        let with = |entry: &Entry| {
            let standing = *next.get(&(&*entry.domain, &*entry.selector))?;
            Some(Entry {
                standing: standing?,
                ..entry.clone()
            })
        };
        entries.iter().filter_map(with).collect()
    }

    async fn sight(&self, entry: &Entry, keys: &Keyring) -> Sight {
        if !entry.standing.waits_for_dns() {
            return Sight::Unknown;
        }
        let dns = &*self.world.dns;
        let key = keys.of(&entry.domain).iter();
        match key.into_iter().find(|k| *k.selector == *entry.selector) {
            Some(key) => match Publication::of(dns, &entry.name(), &key.key).await {
                Publication::Right => Sight::Right,
                Publication::Missing => Sight::Missing,
                Publication::Wrong(_) => Sight::Wrong,
                Publication::Unknown(_) => Sight::Unknown,
            },
            None => still_there(dns, &entry.name()).await,
        }
    }

    async fn change(&self, before: Vec<Entry>, after: Vec<Entry>) {
        let (disk, dir) = (self.world.disk.clone(), self.data_dir.clone());
        let (old, new) = (before.clone(), after.clone());
        let change = move || Editor::begin(&*disk, &dir)?.replace_all(&old, &new);
        match self.world.work.on(Pool::Disk, change).await {
            Ok(Ok(true)) => self.tell(&before, &after),
            // Another command has changed the list: it is judged anew at the next look.
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(fault)) => self.log.fault_of(&fault),
        }
    }

    fn tell(&self, before: &[Entry], after: &[Entry]) {
        for old in before {
            let now = after
                .iter()
                .find(|e| (&e.domain, &e.selector) == (&old.domain, &old.selector));
            let word = now.map_or("forgotten", |e| e.standing.stage.word());
            if word != old.standing.stage.word() {
                self.log.emit(&Event::DkimKey {
                    domain: &old.domain,
                    selector: &old.selector,
                    stage: word,
                });
            }
        }
    }

    /// Makes successors for the first domain whose keys are too old and that has none.
    async fn make_successors(&self, entries: &[Entry], every: Duration) {
        let now = self.world.clock.now();
        let young = |e: &&Entry| match e.standing.stage {
            Stage::Published { .. } => true,
            Stage::Active => now.since(e.made) < every,
            Stage::Retiring | Stage::Retired => false,
        };
        let signs = |e: &&Entry| e.standing.stage == Stage::Active;
        let old = entries.iter().filter(signs).find(|candidate| {
            let mut same = entries.iter().filter(|e| e.domain == candidate.domain);
            !same.any(|e| young(&e))
        });
        let Some(domain) = old.map(|e| e.domain.clone()) else {
            return;
        };
        let (disk, dir, of) = (
            self.world.disk.clone(),
            self.data_dir.clone(),
            domain.clone(),
        );
        let make = move || {
            let made = keys::make_pair(&of, now, Stage::Published { seen: None })?;
            Editor::begin(&*disk, &dir)?.add(&of, &made)?;
            Ok::<_, Fault>(made)
        };
        match self.world.work.on(Pool::Crypto, make).await {
            Ok(Ok(made)) => {
                for key in &made {
                    self.log.emit(&Event::DkimKey {
                        domain: &domain,
                        selector: &key.selector,
                        stage: key.standing.stage.word(),
                    });
                }
            }
            Ok(Err(fault)) => self.log.fault_of(&fault),
            Err(_) => {}
        }
    }
}

/// What the DNS says of a record whose key is deleted.
async fn still_there(dns: &dyn Dns, name: &str) -> Sight {
    match dns.query(name, Kind::Txt).await {
        Err(_) => Sight::Unknown,
        Ok(answer) => match answer.records().iter().any(|d| matches!(d, Data::Txt(_))) {
            true => Sight::Right,
            false => Sight::Missing,
        },
    }
}
