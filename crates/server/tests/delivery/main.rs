//! Route, deliver and report over doors in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
#![allow(unreachable_pub, reason = "nothing is reached from outside a test")]

mod dialogues;
mod dns;
mod doors;
mod feedback;
mod helper;
mod mailboxes;
mod maildir;
mod mx;
mod reports;
mod rotation;
mod security;
mod wishes;
