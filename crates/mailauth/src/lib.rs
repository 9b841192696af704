//! Who really sent a message: **verdicts and signatures only**.
//!
//! This crate will hold SPF, DKIM, DMARC and ARC. So far it holds the words in which their verdicts
//! are spoken, so that nothing else has to invent its own.
//!
//! It does **not** act on a verdict, and knows no queue, configuration or reply.

mod verdict;

pub use verdict::{NotAVerdict, Verdict};
