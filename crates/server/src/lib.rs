//! The program: its stages in the order of a message's life, and what they share.

pub mod cli; // every command and option
pub mod config; // the file as written, and as meant
pub mod fault; // what only the operator can mend
pub mod filter; // which messages a queue command is about
pub mod lookup; // recipients to mailboxes, addresses to where they go
pub mod route; // where a message goes next
pub mod deliver; // hand it over, one outcome per recipient
pub mod report; // who is told of an outcome
