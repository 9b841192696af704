//! The doors of production: the operating system, tokio and a resolver.
//!
//! [`runtime`] makes the runtime, [`world`] opens the doors within it. [`process`] holds what a
//! program does to itself and no simulation needs: signals, users, limits. This is the only folder
//! that may call what `clippy.toml` bans elsewhere.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod dns;
pub mod process;

mod clock;
mod disk;
mod net;
mod pool;
mod random;
mod work;

use std::io;
use std::sync::Arc;

use crate::World;

pub use work::Panicked;

/// How the doors are opened.
#[derive(Clone, Default)]
pub struct Settings {
    /// Told of every panic in a task, a thread or a job, which ended that one alone, and of every
    /// thread that could not be started. `None`
    /// leaves the process's panic hook, which prints to standard error, as the only trace.
    pub panicked: Option<Panicked>,
    /// Which DNS servers are asked.
    pub dns: dns::Settings,
}

/// A runtime for [`world`]: one worker per core, few threads when idle.
///
/// # Errors
/// When the operating system gives no threads or no event queue.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name("worker")
        // The doors have pools of their own; tokio's is only for what tokio itself needs.
        .max_blocking_threads(2)
        .enable_all()
        .build()
}

/// Opens the doors of production on the runtime of the caller.
///
/// # Errors
/// When called outside a tokio runtime, or when the operating system gives no randomness.
pub fn world(settings: &Settings) -> io::Result<World> {
    let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
    let clock = Arc::new(clock::Clock::new());
    Ok(World {
        disk: Arc::new(disk::Disk),
        net: Arc::new(net::Net),
        dns: Arc::new(dns::Resolver::new(
            settings.dns.clone(),
            clock.clone(),
            runtime.clone(),
        )),
        clock,
        random: Arc::new(random::Random::new()?),
        work: Arc::new(work::Work::new(runtime, settings.panicked.clone())),
    })
}
