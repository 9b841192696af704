//! The aliases(5) table of a domain.

use std::collections::BTreeMap;

use posthaste_smtp::address::Mailbox;

/// Aliases of one domain: lower-case local part to targets.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Aliases(BTreeMap<String, Vec<Mailbox>>);
