//! Who really sent a message: **verdicts and signatures only**.
//!
//! [`spf`] says whether a host may send for a domain, [`dmarc`] whether the author's domain stands
//! behind the message and what it wants done otherwise. Each answer is a [`Verdict`] with its
//! reason.
//! DKIM and ARC are not here yet.
//!
//! It does **not** act on a verdict, and knows no queue, configuration or reply.

pub mod dmarc;
mod name;
pub mod spf;
mod verdict;

pub use verdict::{NotAVerdict, Verdict};
