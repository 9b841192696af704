//! Who is meant: recipients to mailboxes, and addresses to where their mail goes.
//!
//! A [`Directory`] is built from a configuration and never changes; a reload builds a new one. It
//! answers from memory, without waiting.
//!
//! It does **not** ask DNS, and it grants no relaying: *not ours* says nothing about whether the
//! peer may send there.

pub mod aliases;
mod expand;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use posthaste_mailauth::srs::without_batv;
use posthaste_smtp::address::{
    Domain as AddressDomain, DomainName, ForwardPath, Literal, LocalPart, Mailbox, Utf8,
};

use crate::config::{
    Config, Deliver, Domain, Mailboxes, Pattern, Route, Server, Via, mailbox_name, text,
};
use aliases::Alias;

/// Most addresses that one recipient may expand to, and most expansions on the way.
pub const EXPANSIONS_MAX: usize = 1_000;

/// Where every address leads.
#[derive(Debug)]
pub struct Directory {
    config: Config,
    /// Position of each domain by its name.
    domains: BTreeMap<String, usize>,
    /// Addresses at which we listen, for address literals.
    addresses: BTreeSet<IpAddr>,
    /// `postmaster@hostname`.
    own_postmaster: Option<Mailbox>,
    /// The first address that the configured postmaster leads to.
    postmaster: Option<Mailbox>,
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
    /// Ours, but its expansion is too large, goes in circles, or names nobody. `check` refuses
    /// a configuration in which this can happen; the text says why.
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

/// One of our mailboxes, as an address names it.
struct Found<'a> {
    domain: &'a Domain,
    /// The configured, lower-case name, or the local part as given where there is any mailbox.
    mailbox: &'a str,
    /// What follows the name in the address, with its separator.
    detail: &'a str,
}

/// What stands under an address, before it is expanded.
enum Entry<'a> {
    /// A mailbox.
    Mailbox(Found<'a>),
    /// An alias; its name is unique together with the domain's.
    Alias(&'a Domain, String, &'a Alias),
    /// The configured postmaster or a catch-all; the text tells the two apart.
    Instead(&'a str, &'static str, &'a Mailbox),
    /// The postmaster, and there is none.
    Held,
    /// Nobody of ours.
    Unknown,
    /// Not ours.
    NotOurs,
}

impl Directory {
    /// A directory of the configuration's domains and routes.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let config = &with_accounts(config);
        let names = config.domains.iter().enumerate();
        let listening = config.listeners.iter().flat_map(|l| &l.addresses);
        let mut directory = Directory {
            domains: names.map(|(at, d)| (d.name.to_string(), at)).collect(),
            addresses: listening
                .filter_map(posthaste_world::net::Endpoint::ip)
                .filter(|ip| !ip.is_unspecified())
                .collect(),
            own_postmaster: LocalPart::from_value("postmaster", Utf8::Refused)
                .ok()
                .map(|local| Mailbox::new(local, AddressDomain::Name(config.hostname.clone()))),
            postmaster: None,
            config: config.clone(),
        };
        if let Some(postmaster) = &config.postmaster {
            directory.postmaster = match directory.resolve_mailbox(postmaster) {
                Resolution::Local(finals) => {
                    finals.into_iter().find(|f| !f.hold).map(|f| f.address)
                }
                Resolution::NotOurs(remote) => Some(remote),
                Resolution::Unknown | Resolution::Broken(_) => None,
            };
        }
        directory
    }

    /// What a forward-path means.
    #[must_use]
    pub fn resolve(&self, path: &ForwardPath) -> Resolution {
        match (path, &self.own_postmaster) {
            (ForwardPath::Mailbox(mailbox), _) => self.resolve_mailbox(mailbox),
            (ForwardPath::Postmaster, Some(postmaster)) => self.resolve_mailbox(postmaster),
            (ForwardPath::Postmaster, None) => Resolution::Unknown,
        }
    }

    /// Whether `domain` is one of ours, or this host itself.
    #[must_use]
    pub fn is_ours(&self, domain: &AddressDomain) -> bool {
        self.our_domain(domain).is_some() || self.is_host(domain)
    }

    /// Whether a forward-path could be read as a route by the server that we hand it to:
    /// `user%elsewhere`, `elsewhere!user` or `"user@elsewhere"` of a domain whose next SMTP server
    /// decides who exists. That server trusts us, and might relay.
    #[must_use]
    pub fn routes_on(&self, path: &ForwardPath) -> bool {
        let Some(mailbox) = path.mailbox() else {
            return false;
        };
        let Entry::Mailbox(found) = self.entry(mailbox) else {
            return false;
        };
        let passes_on = matches!(found.domain.deliver, Deliver::Smtp(_))
            && found.domain.mailboxes == Mailboxes::Any;
        passes_on && mailbox.local_part().as_str().contains(['@', '%', '!'])
    }

    /// Whether mail for `address` goes to the mailbox of `account`, also by way of aliases. An
    /// account whose name is no address has the mailboxes of that name in all of our domains; one
    /// whose address is not ours has that address.
    #[must_use]
    pub fn gets_mail(&self, account: &str, address: &Mailbox) -> bool {
        let own = match account.contains('@') {
            true => Mailbox::parse(account, Utf8::Allowed).into_iter().collect(),
            false => self.named(account),
        };
        let finals = match self.resolve_mailbox(address) {
            Resolution::Local(finals) => finals,
            Resolution::NotOurs(address) => return own.contains(&address),
            Resolution::Unknown | Resolution::Broken(_) => return false,
        };
        finals.iter().any(|found| {
            let place = self.place(&found.address);
            place.is_some() && own.iter().any(|own| self.place(own) == place)
        })
    }

    /// The mailboxes of this name in all of our domains.
    fn named(&self, name: &str) -> Vec<Mailbox> {
        let Ok(local) = LocalPart::from_value(name, Utf8::Allowed) else {
            return Vec::new();
        };
        let of = |d: &Domain| Mailbox::new(local.clone(), AddressDomain::Name(d.name.clone()));
        self.config.domains.iter().map(of).collect()
    }

    /// The mailbox that an address of ours means: its domain and its name.
    fn place(&self, address: &Mailbox) -> Option<(&DomainName, String)> {
        let domain = self.our_domain(address.domain())?;
        let found = find(domain, address.local_part().as_str())?;
        Some((&domain.name, found.mailbox.to_lowercase()))
    }

    /// Where mail for a final address goes.
    #[must_use]
    pub fn route_for<'a>(&'a self, address: &'a Mailbox) -> Way<'a> {
        if self.config.postmaster.is_some()
            && self.own_postmaster.as_ref() == Some(address)
            && let Entry::Instead(..) = self.entry(address)
            && let Some(postmaster) = &self.postmaster
        {
            // Mail that was held until there was a postmaster.
            return self.way(postmaster);
        }
        self.way(address)
    }

    /// The queue's scheduling key for a final address: what is reached by the same way has the
    /// same key.
    #[must_use]
    pub fn destination(&self, address: &Mailbox) -> String {
        match self.route_for(address) {
            Way::Domain { domain, .. } => match &domain.deliver {
                Deliver::Maildir(_) => format!("maildir:{}", domain.name),
                Deliver::Lmtp(server) => key("lmtp", std::slice::from_ref(server)),
                Deliver::Smtp(server) => key("smtp", std::slice::from_ref(server)),
                Deliver::Discard => "discard:".into(),
            },
            Way::NoMailbox(domain) => format!("nobody:{}", domain.name),
            Way::Held => "held:".into(),
            Way::Route(route) => match &route.via {
                Via::Smtp(servers) => key("smtp", servers) + &route.security.to_string(),
                Via::Smtps(servers) => key("smtps", servers) + &route.security.to_string(),
                Via::Lmtp(servers) => key("lmtp", servers) + &route.security.to_string(),
                Via::Discard => "discard:".into(),
                Via::Mx => domain_key(address.domain()),
            },
            Way::Mx => domain_key(address.domain()),
        }
    }

    fn way<'a>(&'a self, address: &'a Mailbox) -> Way<'a> {
        if let Some(domain) = self.our_domain(address.domain()) {
            return match find(domain, address.local_part().as_str()) {
                Some(found) => Way::Domain {
                    domain,
                    mailbox: found.mailbox,
                },
                None if matches!(self.entry(address), Entry::Held) => Way::Held,
                None => Way::NoMailbox(domain),
            };
        }
        if matches!(self.entry(address), Entry::Held) {
            return Way::Held;
        }
        let name = address
            .domain()
            .name()
            .and_then(|n| text::domain_name(n.as_str()).ok());
        let mut routes = self.config.routes.iter();
        match routes.find(|r| {
            r.recipients
                .iter()
                .any(|p: &Pattern| p.matches(name.as_ref()))
        }) {
            Some(route) => Way::Route(route),
            None => Way::Mx,
        }
    }

    fn our_domain(&self, domain: &AddressDomain) -> Option<&Domain> {
        let name = domain.name()?;
        let at = self.domains.get(&text::canonical(name))?;
        self.config.domains.get(*at)
    }

    /// Whether `domain` is this host itself: its name or an address at which it listens.
    fn is_host(&self, domain: &AddressDomain) -> bool {
        match domain {
            AddressDomain::Name(name) => *name == self.config.hostname,
            AddressDomain::Literal(Literal::V4(a)) => self.addresses.contains(&IpAddr::V4(*a)),
            AddressDomain::Literal(Literal::V6(a)) => {
                self.addresses.contains(&IpAddr::V6(*a).to_canonical())
            }
            AddressDomain::Literal(Literal::General { .. }) => false,
        }
    }

    /// What stands under an address.
    fn entry<'a>(&'a self, address: &'a Mailbox) -> Entry<'a> {
        self.entry_past(address, |_, _| false)
    }

    /// What stands under an address, past the aliases for which `passed` holds (by domain and
    /// name).
    fn entry_past<'a>(
        &'a self,
        address: &'a Mailbox,
        passed: impl Fn(&DomainName, &str) -> bool,
    ) -> Entry<'a> {
        let local = address.local_part();
        let Some(domain) = self.our_domain(address.domain()) else {
            return match self.is_host(address.domain()) {
                true if local.is_postmaster() => self.postmaster_entry(""),
                true => Entry::Unknown,
                false => Entry::NotOurs,
            };
        };
        for (name, _) in readings(local.as_str(), domain.subaddress) {
            let name = name.to_lowercase();
            if let Some(alias) = domain
                .aliases
                .get(&name)
                .filter(|_| !passed(&domain.name, &name))
            {
                return Entry::Alias(domain, name, alias);
            }
            if let Some(found) = find_named(domain, local.as_str(), &name) {
                return Entry::Mailbox(found);
            }
        }
        let name = domain.name.as_str();
        if local.is_postmaster() && self.config.postmaster.is_some() {
            return self.postmaster_entry(name);
        }
        match (find(domain, local.as_str()), &domain.catch_all) {
            (Some(found), _) => Entry::Mailbox(found),
            (None, Some(catch_all)) => Entry::Instead(name, "catch_all", catch_all),
            (None, None) if local.is_postmaster() => Entry::Held,
            (None, None) => Entry::Unknown,
        }
    }

    fn postmaster_entry<'a>(&'a self, domain: &'a str) -> Entry<'a> {
        match &self.config.postmaster {
            Some(postmaster) => Entry::Instead(domain, "postmaster", postmaster),
            None => Entry::Held,
        }
    }
}

/// The configuration with the accounts of each domain among its mailboxes.
fn with_accounts(config: &Config) -> Config {
    let mut config = config.clone();
    let domains = config.domains.iter_mut();
    let mut domains: BTreeMap<&str, &mut Mailboxes> = domains
        .map(|d| (d.name.as_str(), &mut d.mailboxes))
        .collect();
    for account in config.accounts.state.book.accounts() {
        let address = account.name.as_str().rsplit_once('@');
        // A name that could not be a folder's can send, and gets no mail.
        if let Some((local, domain)) = address
            && let Some(Mailboxes::Named(names)) = domains.get_mut(domain)
            && let Ok(local) = mailbox_name(local)
        {
            names.insert(local);
        }
    }
    config
}

/// The mailbox of `domain` that `local` names, past aliases.
fn find<'a>(domain: &'a Domain, local: &'a str) -> Option<Found<'a>> {
    match &domain.mailboxes {
        Mailboxes::Any => Some(Found {
            domain,
            mailbox: local,
            detail: "",
        }),
        Mailboxes::Named(_) => readings(local, domain.subaddress)
            .find_map(|(name, _)| find_named(domain, local, &name.to_lowercase())),
    }
}

/// The named mailbox `name`, which is a reading of `local`.
fn find_named<'a>(domain: &'a Domain, local: &'a str, name: &str) -> Option<Found<'a>> {
    let Mailboxes::Named(names) = &domain.mailboxes else {
        return None;
    };
    let mailbox = names.get(name)?;
    let (_, detail) =
        readings(local, domain.subaddress).find(|(reading, _)| reading.to_lowercase() == *name)?;
    Some(Found {
        domain,
        mailbox,
        detail,
    })
}

/// How a local part can be split into a name and a detail: whole first, then with ever longer
/// details; and then the same without the tag that another server of the user's put into it (BATV),
/// since a bounce comes to the tagged address.
fn readings(local: &str, separator: Option<char>) -> impl Iterator<Item = (&str, &str)> {
    let each = move |local| std::iter::once((local, "")).chain(shorter(local, separator));
    each(local).chain(without_batv(local).into_iter().flat_map(each))
}

fn shorter(local: &str, separator: Option<char>) -> impl Iterator<Item = (&str, &str)> {
    let splits = separator.into_iter().flat_map(|s| local.rmatch_indices(s));
    splits
        .map(|(at, _)| local.split_at(at))
        .filter(|(name, _)| !name.is_empty())
}

fn key(protocol: &str, servers: &[Server]) -> String {
    let servers: Vec<String> = servers.iter().map(Server::to_string).collect();
    format!("{protocol}:{}", servers.join(","))
}

fn domain_key(domain: &AddressDomain) -> String {
    match domain {
        AddressDomain::Name(name) => text::canonical(name),
        AddressDomain::Literal(_) => domain.to_string().to_ascii_lowercase(),
    }
}
