//! The program: its stages in the order of a message's life, and what they share.
//!
//! ```text
//! peer ─▶ listen ─▶ receive ─▶ policy ─▶ queue.commit ═▶ 250
//!                                            ║
//!         report ◀─ queue.settle ◀─ deliver ◀─ route ◀─ dispatch
//! ```

pub mod listen; // 1 accept: sockets, how many connections

pub mod receive; // 2 converse: one peer's dialogue, ended by our promise

pub mod authenticate; // 3 who is it: SASL and accounts

pub mod policy; // 4 decide: may this peer do this

pub mod dispatch; // 5 take due work from the queue, write back outcomes

pub mod route; // 6 next hop: addresses to transports, transports to hosts

pub mod deliver; // 7 hand over: one attempt

pub mod sign; // beside receive and report: signatures on what leaves in our name

pub mod forward; // beside policy and deliver: the reverse-path of what aliases send on

pub mod report; // 8 tell: delivery status notifications

pub mod tls; // certificates, and both ends of a handshake

pub mod config; // the file as written, and as meant

pub mod lookup; // recipients to mailboxes, addresses to where they go

pub mod serve; // the stages wired together: a node

pub mod acme; // certificates from an authority

pub mod shutdown; // stopping in order

pub mod telemetry; // what happened, as records

pub mod dns;
pub mod fault; // what only the operator can mend

pub mod control; // the socket that steers a running server

pub mod feedback;
pub mod filter; // which messages a queue command is about

pub mod cli; // every command and option

pub mod commands; // the commands, each from its options to its end

pub mod verify; // what a message is worth, told without a server

pub mod demo; // a server to try things out

pub mod dkim; // keys that sign, from the command line

pub mod user; // accounts, from the command line

pub mod privileges; // whom the server becomes
