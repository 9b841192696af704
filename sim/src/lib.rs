//! The simulated world, workloads and checkers.
//!
//! Everything a run does follows from one seed: see `docs/simulation.md`.

mod campaign;
pub mod clock;
pub mod disk;
pub mod level2;
pub mod level3;
pub mod rng;
pub mod tasks;
pub mod trace;

pub use campaign::{Failure, Kind, Plan, campaign, known, replay};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A lock that a panicking run cannot spoil for the report about it.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
