//! Stage 4, policy: may this peer do this?
//!
//! Each step returns a value: a reply, or what a recipient leads to. It keeps the third promise:
//! relaying needs AUTH, a named network, or a domain that is ours, and a route never grants
//! it.
//!
//! This module does **not** write to the peer, log, or look anything up outside of memory.

pub mod rates;
pub mod senders;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use posthaste_mailauth::dmarc;
use posthaste_mailauth::srs::NotRewritten;
use posthaste_message::header::{Facts, MAX_RECEIVED};
use posthaste_smtp::address::{ForwardPath, ReversePath};
use posthaste_smtp::extension::FutureRelease;
use posthaste_smtp::reply::Reply;
use posthaste_world::Timestamp;

use crate::authenticate::message::Judgement;
use crate::authenticate::name::Name;
use crate::config::{EarlyTalkers, Limits, Networks, Service};
use crate::forward::Forwarding;
use crate::lookup::{Directory, Final, Resolution};

use rates::{Hit, Rates, Seat};

/// What decides for a reception.
pub struct Policy {
    directory: Arc<Directory>,
    relay_networks: Networks,
    forwarding: Arc<Forwarding>,
    /// What one connection and one address may cost.
    pub limits: Limits,
    hostname: Box<str>,
}

/// Who wants something.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The peer's address, where it is known.
    pub address: Option<IpAddr>,
    /// The account that it has shown to have (RFC 4954).
    pub account: Option<&'a Name>,
}

impl Policy {
    /// The policy of a configuration.
    #[must_use]
    pub fn new(
        directory: Arc<Directory>,
        relay_networks: Networks,
        limits: Limits,
        (hostname, forwarding): (&str, Arc<Forwarding>),
    ) -> Self {
        Policy {
            directory,
            relay_networks,
            forwarding,
            limits,
            hostname: hostname.into(),
        }
    }

    /// The greeting.
    #[must_use]
    pub fn connect(&self, service: Service) -> Reply {
        let protocol = match service {
            Service::Mx | Service::Submission => "ESMTP",
            Service::Lmtp => "LMTP",
        };
        Reply::plain(220, format!("{} {protocol} Posthaste", self.hostname))
    }

    /// A seat for a connection from `address`, where that is known.
    ///
    /// # Errors
    /// The address has too many already, or too many lately.
    pub fn seat(
        &self,
        address: Option<IpAddr>,
        now: Duration,
        rates: &Arc<Rates>,
    ) -> Result<Seat, Hit> {
        match address.filter(|ip| !self.relays(*ip) && !self.limits.exempt.contain(*ip)) {
            Some(ip) => rates.enter(ip, now, &self.limits),
            None => Ok(rates.unlimited()),
        }
    }

    /// What a peer is told that spoke before our greeting. RFC 5321 §3.1 wants it to wait; one that
    /// does not hears no answers, and most likely is a program that sends what nobody asked for.
    #[must_use]
    pub fn early_talker(&self, address: Option<IpAddr>) -> Option<Reply> {
        let friend = address.is_some_and(|ip| self.relays(ip));
        (self.limits.early_talkers == EarlyTalkers::Refuse && !friend).then(|| {
            let text = "you spoke before our greeting; wait for it (RFC 5321 section 3.1)";
            Reply::new(554, (5, 5, 1), text)
        })
    }

    /// How long a user may have mail held, from `now` on; none when that is not offered.
    #[must_use]
    pub fn future_release(&self, now: Timestamp) -> Option<FutureRelease> {
        let longest = self.limits.future_release;
        let until = (now + longest).as_secs();
        (!longest.is_zero()).then(|| FutureRelease {
            interval_s: u32::try_from(longest.as_secs()).unwrap_or(u32::MAX),
            until: i64::try_from(until).unwrap_or(i64::MAX),
        })
    }

    /// Who gets which mail.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Whether a user may send in this name (RFC 6409 §6.1): an account sends as the addresses of
    /// which it gets the mail. Everybody may use the null reverse-path, which receipts and other
    /// answers of machines have (RFC 8098 §3, RFC 3834 §3.3). What the header block says of its
    /// author is not looked at: lists, resent mail and secretaries send for others.
    ///
    /// # Errors
    /// The refusal.
    pub fn sender(&self, peer: Who<'_>, path: &ReversePath, id: &str) -> Result<(), Reply> {
        let (Some(account), Some(mailbox)) = (peer.account, path.mailbox()) else {
            return Ok(());
        };
        if self.directory.gets_mail(account.as_str(), mailbox) {
            return Ok(());
        }
        let text = format!(
            "<{mailbox}> is not an address of the account {account}, which sends as the \
             addresses whose mail it gets [{id}]"
        );
        Err(Reply::new(550, (5, 7, 1), text))
    }

    /// Whether the peer may send to everybody: a user, or a host of a relay network.
    #[must_use]
    pub fn may_relay(&self, peer: Who<'_>) -> bool {
        peer.account.is_some() || peer.address.is_some_and(|ip| self.relays(ip))
    }

    /// Whether nothing is known in the peer's favour: it is no user, and at no address that relays
    /// or is exempt from limits.
    #[must_use]
    pub fn is_stranger(&self, peer: Who<'_>) -> bool {
        let exempt = |ip| self.limits.exempt.contain(ip);
        !self.may_relay(peer) && !peer.address.is_some_and(exempt)
    }

    fn relays(&self, address: IpAddr) -> bool {
        self.relay_networks.contain(address)
    }

    /// Whom a forward-path leads to, or why nobody (RFC 5321 §3.3). Relaying is for `peer`s that
    /// may.
    ///
    /// # Errors
    /// The refusal, with `id` in it so that the peer's operator and ours speak of the same thing.
    pub fn recipient(
        &self,
        peer: Who<'_>,
        path: &ForwardPath,
        id: &str,
    ) -> Result<Vec<Final>, Reply> {
        if let Some(found) = self.leads_back(path, id) {
            return found;
        }
        let trusted = self.may_relay(peer);
        match self.directory.resolve(path) {
            Resolution::Local(_) if !trusted && self.directory.routes_on(path) => Err(Reply::new(
                550,
                (5, 7, 1),
                format!("{path}: an address with a route in it is not taken from you here [{id}]"),
            )),
            Resolution::Local(finals) => Ok(finals),
            Resolution::Unknown => Err(Reply::new(
                550,
                (5, 1, 1),
                format!("{path}: no such mailbox here [{id}]"),
            )),
            Resolution::Broken(why) => Err(Reply::new(
                451,
                (4, 2, 4),
                format!("{path}: its alias cannot be expanded: {why} [{id}]"),
            )),
            Resolution::NotOurs(mailbox) if trusted => Ok(vec![Final {
                address: mailbox,
                alias: None,
                hold: false,
            }]),
            Resolution::NotOurs(mailbox) => Err(Reply::new(
                550,
                (5, 7, 1),
                format!("<{mailbox}>: relaying is not permitted for you here [{id}]"),
            )),
        }
    }

    /// Whom a bounce of mail that we have forwarded leads to; none when `path` is no address of
    /// that kind. A mailbox that is called so is a mailbox.
    fn leads_back(&self, path: &ForwardPath, id: &str) -> Option<Result<Vec<Final>, Reply>> {
        let mailbox = path
            .mailbox()
            .filter(|m| self.directory.is_ours(m.domain()))?;
        let refused = |why: &str| {
            let text = format!("<{mailbox}> leads back to nobody: {why} [{id}]");
            Some(Err(Reply::new(550, (5, 1, 1), text)))
        };
        let sender = match self.forwarding.lead_back(mailbox) {
            Ok(sender) => sender,
            Err(NotRewritten::NotSrs) => return None,
            Err(why) => {
                return match self.directory.resolve(path) {
                    Resolution::Local(finals) if finals.iter().all(|f| f.alias.is_none()) => None,
                    _ => refused(&why.to_string()),
                };
            }
        };
        let finals = match self.directory.resolve(&ForwardPath::Mailbox(sender)) {
            Resolution::Local(finals) => finals,
            Resolution::NotOurs(address) => vec![Final {
                address,
                alias: None,
                hold: false,
            }],
            Resolution::Unknown | Resolution::Broken(_) => {
                return refused("the sender is not there any more");
            }
        };
        let through = |found: Final| Final {
            alias: Some(mailbox.clone()),
            ..found
        };
        Some(Ok(finals.into_iter().map(through).collect()))
    }

    /// Whether a message may be queued, by what its header block says and by who sent it.
    ///
    /// # Errors
    /// The refusal.
    pub fn message(
        &self,
        facts: &Facts,
        judgement: Option<&Judgement>,
        id: &str,
    ) -> Result<(), Reply> {
        if facts.loops() {
            let text = format!(
                "the message passed more than {MAX_RECEIVED} hosts: it loops (RFC 5321) [{id}]"
            );
            return Err(Reply::new(554, (5, 4, 6), text));
        }
        if let Some(excess) = facts.excess {
            let text = format!("the header block is too large ({excess:?}) [{id}]");
            return Err(Reply::new(552, (5, 3, 4), text));
        }
        match judgement {
            Some(judgement) if judgement.disposition() == dmarc::Policy::Reject => {
                Err(not_authenticated(&judgement.dmarc, id))
            }
            _ => Ok(()),
        }
    }
}

/// The refusal of mail that its author's domain wants refused (RFC 9989 §7.4).
fn not_authenticated(found: &dmarc::Checked, id: &str) -> Reply {
    let domain = found.domain.as_deref().unwrap_or_default();
    let text = format!(
        "{domain} wants mail refused that is From it and that it has not sent (DMARC, p=reject): \
         {} [{id}]",
        found.reason
    );
    Reply::new(550, (5, 7, 1), text)
}
