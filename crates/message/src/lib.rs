//! Internet messages as bytes (RFC 5322): the streaming [`header`] scan, the trace fields we add
//! ([`received`], [`trace`]), [`date`] and [`message_id`] for what we create, the [`fields`] of a
//! header block, and delivery status notifications ([`dsn`], RFC 3464, with [`xtext`]).
//!
//! Everything here is a pure function of bytes: no I/O, no clock, no configuration. Text that a
//! peer chose is cleaned on its way into a field, so that no octet of it can end the field, open a
//! comment or start another field.
//!
//! This crate does **not** walk MIME structure, decode bodies, sign, or judge a message.

pub mod address_list;
pub mod date;
pub mod dsn;
pub mod fields;
pub mod header;
pub mod line_ends;
pub mod message_id;
pub mod received;
mod text;
pub mod trace;
pub mod xtext;
