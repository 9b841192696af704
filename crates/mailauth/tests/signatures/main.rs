//! DKIM and ARC over whole messages: public vectors, and messages of our own with every fault.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]
#![allow(clippy::disallowed_methods)] // reads the vectors from the real disk

mod arc_vectors;
mod chains;
mod dkim_vectors;
mod support;
mod whole;
