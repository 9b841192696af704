//! Every bound of the protocol, named (RFC 5321 §4.5.3).

/// Transactions a client may have open at once: one whose final reply is owed, and the next.
pub const TRANSACTIONS_IN_FLIGHT: usize = 2;
