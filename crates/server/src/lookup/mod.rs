//! Who is meant: recipients to mailboxes, and addresses to where their mail goes.
//!
//! A [`Directory`] is built from a configuration and never changes; a reload builds a new one. It
//! answers from memory, without waiting.
//!
//! It does **not** ask DNS, and it grants no relaying: *not ours* says nothing about whether the
//! peer may send there.

pub mod aliases;

use posthaste_smtp::address::{ForwardPath, Mailbox};

use crate::config::{Config, Domain, Route};

/// Most addresses that one recipient may expand to, and most expansions on the way.
pub const EXPANSIONS_MAX: usize = 1_000;

/// Where every address leads.
#[derive(Debug)]
pub struct Directory {
    config: Config,
}

/// What a forward-path means to us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// It is ours and leads to these, in order, each once. Never empty.
    Local(Vec<Final>),
    /// Not ours: relaying, if the peer may.
    NotOurs(Mailbox),
    /// Our domain, but nobody of that name (550 5.1.1).
    Unknown,
    /// Our alias, but its expansion is broken (too large or a loop): 550 5.4.6 or 451; the text
    /// says why.
    Broken(String),
}

/// One address that a recipient leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Final {
    /// The address to deliver to; a detail after the subaddress separator is kept in it.
    pub address: Mailbox,
    /// The alias that led here, as it was addressed; none when the recipient was the mailbox.
    pub alias: Option<Mailbox>,
    /// Whether it is kept until the operator says where it goes (the postmaster of a server
    /// without one).
    pub hold: bool,
}

/// Where mail for an address goes.
#[derive(Clone, Copy, Debug)]
pub enum Way<'a> {
    /// One of our domains; `mailbox` is the configured, lower-case name, or the local part as
    /// given where the domain has any mailbox.
    Domain {
        /// The domain.
        domain: &'a Domain,
        /// The mailbox.
        mailbox: &'a str,
    },
    /// One of our domains, but the mailbox is not there (any more).
    NoMailbox(&'a Domain),
    /// The postmaster's mail, and there is no postmaster: kept.
    Held,
    /// A route.
    Route(&'a Route),
    /// The recipient domain's MX records.
    Mx,
}

impl Directory {
    /// A directory of the configuration's domains and routes.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Directory { config: config.clone() }
    }

    /// What a forward-path means.
    #[must_use]
    pub fn resolve(&self, _path: &ForwardPath) -> Resolution {
        todo!()
    }

    /// Where mail for a final address goes.
    #[must_use]
    pub fn route_for<'a>(&'a self, _address: &'a Mailbox) -> Way<'a> {
        todo!()
    }

    /// The queue's scheduling key for a final address.
    #[must_use]
    pub fn destination(&self, _address: &Mailbox) -> String {
        todo!()
    }
}
