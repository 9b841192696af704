//! Authentication-Results (RFC 8601): our field written, those of others read, forged ones found.
//!
//! Whatever stands in a value or a comment, a field that is written here is one field, and says
//! what was meant: values that are no plain words are quoted, and control characters become `?`.
//! The reader is strict, because what it reads may override a policy; [`claims`] is liberal,
//! because what it misses would be believed by the next program. This module does **not** change a
//! message.

mod read;
mod write;

pub(crate) use read::instance;
pub use read::{MethodResult, Results, claims};
pub use write::{AuthenticationResults, Entry};
pub(crate) use write::{clean, comment};
