//! Who really sent a message: **verdicts and signatures only**.
//!
//! [`spf`] says whether a host may send for a domain. Each answer is a [`Verdict`] with its reason.
//! DKIM, DMARC and ARC are not here yet.
//!
//! It does **not** act on a verdict, and knows no queue, configuration or reply.

mod name;
pub mod spf;
mod verdict;

pub use verdict::{NotAVerdict, Verdict};
