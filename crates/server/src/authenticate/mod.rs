//! Stage 3, authenticate: who is this client?

pub mod accounts;
pub mod mechanism;
pub mod name;
pub mod secret;
