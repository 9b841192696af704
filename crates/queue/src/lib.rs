//! The durable promise: what was accepted is on disk until every recipient has its end.
//!
//! [`Queue`] is what a server uses. It joins the [`spool`] (bytes on disk, one writer, group
//! commit) and the [`schedule`] (what is due when, in memory, rebuilt from the spool). A message
//! enters with [`Queue::commit`], which ends in a [`Receipt`], and leaves when [`Queue::settle`]
//! has made the outcome of its last recipient durable. `docs/spool.md` holds the format and what
//! each sync guarantees.
//!
//! This crate does **not** know sockets, DNS, routes, or what a message says.

pub mod accounts;
pub mod id;

pub mod envelope;

pub mod receipt;

pub mod spool;

pub mod backoff;
pub mod schedule;

pub mod invariants;

mod queue;

pub use id::QueueId;
pub use queue::{Opened, OperatorError, Outcome, Queue, Settings};
pub use receipt::Receipt;
pub use spool::handle::Key;
