//! What each fuzz target does with its octets, and what must hold whatever they are.
//!
//! A target in `targets/` is one line that calls one function here. Each function panics when an
//! invariant breaks; nothing here knows about the fuzzer.

pub mod auth;
pub mod certificate;
pub mod choices;
pub mod client;
pub mod config;
pub mod grammar;
pub mod message;
pub mod pair;
pub mod proxy;
pub mod senders;
pub mod server;
pub mod signatures;
pub mod spool;
