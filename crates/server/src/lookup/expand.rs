//! Expansion: from one recipient to the addresses that it leads to.
//!
//! Aliases, catch-alls and the postmaster are followed until mailboxes and addresses of others are
//! left. Each of these comes out once. An alias on the way to itself means the mailbox of its name;
//! where there is none, that is a circle.

use std::collections::BTreeSet;

use posthaste_smtp::address::{
    Domain as AddressDomain, DomainName, ForwardPath, LocalPart, Mailbox, Utf8,
};

use super::{Directory, EXPANSIONS_MAX, Entry, Final, Found, Resolution};
use crate::config::Domain;

/// Aliases within aliases.
const DEPTH_MAX: usize = 50;

/// What one recipient has led to so far.
#[derive(Default)]
struct Expansion {
    finals: Vec<(Mailbox, bool)>,
    seen: BTreeSet<Mailbox>,
    /// Steps taken, fruitful or not.
    steps: usize,
    /// What is being expanded: domain and alias, or domain and what stands instead.
    path: Vec<(String, String)>,
}

impl Directory {
    /// What `mailbox` means as a recipient.
    pub(super) fn resolve_mailbox(&self, mailbox: &Mailbox) -> Resolution {
        let alias = match self.entry(mailbox) {
            Entry::NotOurs => return Resolution::NotOurs(mailbox.clone()),
            Entry::Unknown => return Resolution::Unknown,
            Entry::Mailbox(_) | Entry::Held => None,
            Entry::Alias(..) | Entry::Instead(..) => Some(mailbox.clone()),
        };
        let mut expansion = Expansion::default();
        if let Err(why) = self.expand(mailbox, &mut expansion) {
            return Resolution::Broken(why);
        }
        let finals = expansion.finals.into_iter();
        let finals = finals.map(|(address, hold)| Final {
            address,
            alias: alias.clone(),
            hold,
        });
        Resolution::Local(finals.collect())
    }

    /// Why an alias of a domain leads nowhere, when it does.
    pub(crate) fn check_alias(&self, domain: &Domain, name: &str) -> Option<String> {
        let local = LocalPart::from_value(name, Utf8::Allowed).ok()?;
        let address = Mailbox::new(local, AddressDomain::Name(domain.name.clone()));
        match self.resolve(&ForwardPath::Mailbox(address)) {
            Resolution::Broken(why) => Some(format!("the alias `{name}` leads nowhere: {why}")),
            _ => None,
        }
    }

    fn expand(&self, address: &Mailbox, expansion: &mut Expansion) -> Result<(), String> {
        expansion.steps += 1;
        if expansion.steps > EXPANSIONS_MAX {
            return Err(format!(
                "it expands to more than {EXPANSIONS_MAX} addresses"
            ));
        }
        let passed = |domain: &DomainName, name: &str| expansion.is_on_path(domain.as_str(), name);
        match self.entry_past(address, passed) {
            Entry::Mailbox(found) => expansion.reach(canonical(&found, address), false),
            Entry::NotOurs => expansion.reach(address.clone(), false),
            Entry::Held => {
                let postmaster = self.own_postmaster.as_ref().unwrap_or(address);
                expansion.reach(postmaster.clone(), true);
            }
            Entry::Unknown if self.is_alias(address) => {
                return Err(format!("`{address}` leads back to itself"));
            }
            Entry::Unknown => return Err(format!("nobody gets mail for `{address}`")),
            Entry::Alias(domain, name, alias) => {
                expansion.enter(domain.name.as_str(), name, address)?;
                for target in &alias.targets {
                    self.expand(target, expansion)?;
                }
                expansion.path.pop();
            }
            Entry::Instead(domain, what, target) => {
                expansion.enter(domain, format!("@{what}"), address)?;
                self.expand(target, expansion)?;
                expansion.path.pop();
            }
        }
        Ok(())
    }

    fn is_alias(&self, address: &Mailbox) -> bool {
        matches!(self.entry(address), Entry::Alias(..))
    }
}

impl Expansion {
    fn is_on_path(&self, domain: &str, name: &str) -> bool {
        self.path.iter().any(|(d, n)| d == domain && n == name)
    }

    fn enter(&mut self, domain: &str, name: String, address: &Mailbox) -> Result<(), String> {
        if self.is_on_path(domain, &name) {
            return Err(format!("`{address}` leads back to itself"));
        }
        if self.path.len() >= DEPTH_MAX {
            return Err(format!("aliases within aliases go deeper than {DEPTH_MAX}"));
        }
        self.path.push((domain.to_string(), name));
        Ok(())
    }

    fn reach(&mut self, address: Mailbox, hold: bool) {
        if self.seen.insert(address.clone()) {
            self.finals.push((address, hold));
        }
    }
}

/// The address of a mailbox as it is configured, with the detail that was given.
fn canonical(found: &Found<'_>, address: &Mailbox) -> Mailbox {
    let local = format!("{}{}", found.mailbox, found.detail);
    match LocalPart::from_value(&local, Utf8::Allowed) {
        Ok(local) => Mailbox::new(local, AddressDomain::Name(found.domain.name.clone())),
        // Lower case can be longer in octets than what was given.
        Err(_) => address.clone(),
    }
}
