//! Who really sent a message: **verdicts and signatures only**.
//!
//! [`spf`] says whether a host may send for a domain. [`Verifier`] checks the DKIM signatures and
//! the ARC chain of a message while it comes. [`dmarc`] says whether the author's domain stands
//! behind the message and what it wants done otherwise. [`authentication_results`] writes what was
//! found into the message. Each answer is a [`Verdict`] with its reason. [`dkim::Signer`] signs.
//! [`report`] writes and reads what domains tell each other about all this; [`srs`] makes the
//! reverse-paths under which mail is forwarded.
//!
//! It does **not** act on a verdict, and knows no queue, configuration or reply.

pub mod arc;
pub mod authentication_results;
pub mod dkim;
pub mod dmarc;
mod intake;
mod lines;
mod name;
pub mod report;
pub mod spf;
pub mod srs;
mod verdict;
mod verifier;

pub use verdict::{NotAVerdict, Verdict};
pub use verifier::{Verified, Verifier, verify};
