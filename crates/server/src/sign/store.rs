//! The keys as a running server sees them.
//!
//! [`Store::current`] looks whether the list of keys has changed (one `stat`, on a pool) and reads
//! the keys again when it has, so that what `posthaste dkim` does holds from the next message on. A
//! list or a key that cannot be read changes nothing and is a fault, told once for each state of
//! the list.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use posthaste_world::World;
use posthaste_world::disk::Stamp;
use posthaste_world::work::Pool;
use tokio::sync::Mutex;

use super::keys::{self, Keyring};
use crate::telemetry::Log;

/// What was looked at so short a time ago is not looked at again: a busy relay asks for every
/// message.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Keys that are read again when their list changes.
pub struct Store {
    data_dir: PathBuf,
    world: World,
    log: Arc<Log>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the list was looked at last.
    looked: Option<Duration>,
    /// The stamp of the last list that was read, also of one that was a fault. The outer is none
    /// before the first look, the inner where there is no list.
    stamp: Option<Option<Stamp>>,
    keys: Arc<Keyring>,
}

impl Store {
    /// The keys in `data_dir`, which are first read when they are first asked for.
    #[must_use]
    pub fn new(world: World, log: Arc<Log>, data_dir: &Path) -> Self {
        Store {
            data_dir: data_dir.to_owned(),
            world,
            log,
            state: Mutex::default(),
        }
    }

    /// The keys that sign now.
    pub async fn current(&self) -> Arc<Keyring> {
        let mut state = self.state.lock().await;
        let now = self.world.clock.elapsed();
        let recent = |looked: Duration| now.saturating_sub(looked) < LOOK_AGAIN;
        if state.looked.is_some_and(recent) {
            return state.keys.clone();
        }
        let (disk, dir, known) = (self.world.disk.clone(), self.data_dir.clone(), state.stamp);
        let look = move || {
            // A change while it is read leaves an old stamp, so that it is read again.
            let stamp = disk.stamp(&keys::list(&dir)).ok();
            (known != Some(stamp)).then(|| (stamp, keys::read(&*disk, &dir)))
        };
        let looked = self.world.work.on(Pool::Disk, look).await;
        state.looked = Some(now);
        // A panic was told where it happened; the keys stay what they were.
        if let Ok(Some((stamp, read))) = looked {
            state.stamp = Some(stamp);
            match read {
                Ok(keys) => state.keys = Arc::new(keys),
                Err(fault) => self.log.fault_of(&fault),
            }
        }
        state.keys.clone()
    }
}
