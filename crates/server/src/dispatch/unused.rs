//! Connections that a worker left behind, for the next worker of the same destination.
//!
//! They are kept for a few seconds ([`IDLE_MAX`](crate::deliver::connection::IDLE_MAX)): long
//! enough that a steady trickle of mail does not connect anew for each message, short enough that
//! nobody's slot is held for nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::deliver::Connection;

/// Unused connections kept in all.
const UNUSED_MAX: usize = 500;

/// Unused connections by destination.
#[derive(Default)]
pub(super) struct Unused(Mutex<BTreeMap<Arc<str>, Vec<Connection>>>);

impl Unused {
    /// A connection to `destination` that may be used at `now` (elapsed time).
    #[must_use]
    pub(super) fn take(&self, destination: &str, now: Duration) -> Option<Connection> {
        let mut unused = self.lock();
        let connections = unused.get_mut(destination)?;
        let connection = connections.pop();
        if connections.is_empty() {
            unused.remove(destination);
        }
        drop(unused);
        connection.filter(|c| c.is_reusable(now))
    }

    /// Keeps a connection; gives it back when there are too many.
    #[must_use]
    pub(super) fn keep(
        &self,
        destination: &Arc<str>,
        connection: Connection,
    ) -> Option<Connection> {
        let mut unused = self.lock();
        if unused.values().map(Vec::len).sum::<usize>() >= UNUSED_MAX {
            return Some(connection);
        }
        unused
            .entry(destination.clone())
            .or_default()
            .push(connection);
        None
    }

    /// Whether there is none.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Takes out those that nobody may use any more at `now` (elapsed time), to be closed.
    #[must_use]
    pub(super) fn stale(&self, now: Duration) -> Vec<Connection> {
        let mut stale = Vec::new();
        self.lock().retain(|_, connections| {
            stale.extend(connections.extract_if(.., |c| !c.is_reusable(now)));
            !connections.is_empty()
        });
        stale
    }

    /// Takes out all, to be closed.
    #[must_use]
    pub(super) fn drain(&self) -> Vec<Connection> {
        std::mem::take(&mut *self.lock())
            .into_values()
            .flatten()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Vec<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
