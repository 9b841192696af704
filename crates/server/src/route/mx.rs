//! Next hops by mail exchanger: RFC 5321 §5.1, RFC 7505 (null MX).
//!
//! The answer is either a non-empty, bounded list of addresses in the order in which they are to be
//! tried, or the reply that decides the recipients: permanent (the domain does not take mail, does
//! not exist, or leads back to us) or temporary (the names could not be asked for). An address of
//! our own is never in the list.
//!
//! This module does **not** connect, and does not know what the queue does with a refusal.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;

use posthaste_smtp::Dialect;
use posthaste_smtp::reply::Reply;
use posthaste_world::dns::{Answer, Data, Failure, Found, Kind};
use posthaste_world::net::Endpoint;
use posthaste_world::{BoxFuture, Dns, Random};

use super::NextHop;
use crate::config::Security;

/// Exchangers of one domain whose addresses are looked up. RFC 5321 §5.1 lets a client bound its
/// alternatives, but asks for at least two addresses.
pub const HOSTS_MAX: usize = 10;
/// Addresses of one host that are tried.
pub const ADDRESSES_PER_HOST_MAX: usize = 4;
/// Addresses that are tried for one domain in one attempt.
pub const ADDRESSES_MAX: usize = 16;

/// What is our own, so that mail is never sent back to us (RFC 5321 §5.1).
#[derive(Debug, Clone, Default)]
pub struct Ourselves {
    names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
}

impl Ourselves {
    /// Our names, in whatever case, and the addresses at which we listen. Unspecified addresses are
    /// always ours, those of loopback when we listen there or at an unspecified one.
    #[must_use]
    pub fn new(
        names: impl IntoIterator<Item = String>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        Ourselves {
            names: names.into_iter().map(|n| n.to_ascii_lowercase()).collect(),
            addresses: addresses.into_iter().map(|a| a.to_canonical()).collect(),
        }
    }

    /// Whether `name` is one of our names.
    #[must_use]
    pub fn is_name(&self, name: &str) -> bool {
        self.names.contains(&name.to_ascii_lowercase())
    }

    fn is_address(&self, address: IpAddr) -> bool {
        let a = address.to_canonical();
        let everywhere = || self.addresses.iter().any(IpAddr::is_unspecified);
        a.is_unspecified() || self.addresses.contains(&a) || (a.is_loopback() && everywhere())
    }
}

/// Finds mail exchangers and their addresses.
pub struct Mx {
    dns: Arc<dyn Dns>,
    random: Arc<dyn Random>,
    ourselves: Ourselves,
    port: u16,
}

/// One exchanger as the domain names it.
struct Exchanger {
    preference: u16,
    host: String,
}

impl Mx {
    /// A finder that asks `dns`, and sends to `port` (25, but for tests).
    #[must_use]
    pub fn new(
        dns: Arc<dyn Dns>,
        random: Arc<dyn Random>,
        ourselves: Ourselves,
        port: u16,
    ) -> Self {
        Mx {
            dns,
            random,
            ourselves,
            port,
        }
    }

    /// What is our own.
    #[must_use]
    pub fn ourselves(&self) -> &Ourselves {
        &self.ourselves
    }

    /// The addresses to try for mail to `domain` (A-labels, no final dot), in order.
    ///
    /// # Errors
    /// The reply that decides all recipients of this domain now.
    pub async fn next_hops(
        &self,
        domain: &str,
        security: &Security,
    ) -> Result<Vec<NextHop>, Reply> {
        let answer = self.dns.query(domain, Kind::Mx).await;
        let mut exchangers = match answer {
            Err(failure) => return Err(unanswered(domain, &failure)),
            Ok(answer) => listed(domain, &answer)?,
        };
        let implicit = exchangers.is_empty();
        if implicit {
            exchangers.push(Exchanger {
                preference: 0,
                host: domain.to_owned(),
            });
        }
        self.order(&mut exchangers);
        let named = exchangers.iter().find(|e| self.ourselves.is_name(&e.host));
        if let Some(ours) = named.map(|e| e.preference) {
            exchangers.retain(|e| e.preference < ours);
        }
        exchangers.truncate(HOSTS_MAX);
        if exchangers.is_empty() {
            return Err(loops_back(domain));
        }
        let addresses = self.resolve_all(&exchangers).await;
        self.assemble((domain, implicit), security, &exchangers, addresses)
    }

    /// The addresses of one host (a name or an address), for next hops that the operator named: no
    /// MX, and our own addresses are not left out.
    ///
    /// # Errors
    /// The reply that decides all recipients that would go there now.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Reply> {
        match self.resolve(host).await {
            Ok(addresses) if addresses.is_empty() => Err(refusal(
                451,
                (4, 4, 4),
                format!("the host {host} has no address"),
            )),
            Ok(addresses) => Ok(addresses),
            Err(failure) => Err(not_now(host, &failure)),
        }
    }

    /// The next hop for an address literal (RFC 5321 §4.1.3).
    ///
    /// # Errors
    /// A permanent reply when the address is our own.
    pub fn literal(&self, address: IpAddr, security: &Security) -> Result<Vec<NextHop>, Reply> {
        if self.ourselves.is_address(address) {
            return Err(loops_back(&format!("[{address}]")));
        }
        Ok(vec![self.hop(&format!("[{address}]"), address, security)])
    }

    /// By preference, and at random among equals (RFC 5321 §5.1).
    fn order(&self, exchangers: &mut [Exchanger]) {
        for last in (1..exchangers.len()).rev() {
            let bound = u64::try_from(last).unwrap_or(0) + 1;
            let pick = usize::try_from(self.random.below(bound)).unwrap_or(0);
            exchangers.swap(last, pick);
        }
        // Stable, so that the shuffle decides among equals.
        exchangers.sort_by_key(|e| e.preference);
    }

    /// Drops us and everything not preferred to us, and decides when nothing is left.
    fn assemble(
        &self,
        (domain, implicit): (&str, bool),
        security: &Security,
        exchangers: &[Exchanger],
        addresses: Vec<Result<Vec<IpAddr>, Failure>>,
    ) -> Result<Vec<NextHop>, Reply> {
        let is_us = |a: &Result<Vec<IpAddr>, Failure>| {
            a.as_ref()
                .is_ok_and(|a| a.iter().any(|a| self.ourselves.is_address(*a)))
        };
        let ours = exchangers.iter().zip(&addresses).find(|(_, a)| is_us(a));
        let limit = ours.map(|(e, _)| e.preference);
        let mut hops = Vec::new();
        let mut failed = None;
        for (exchanger, addresses) in exchangers.iter().zip(addresses) {
            if limit.is_some_and(|limit| exchanger.preference >= limit) {
                break;
            }
            match addresses {
                Ok(list) => hops.extend(
                    list.into_iter()
                        .map(|a| self.hop(&exchanger.host, a, security)),
                ),
                Err(failure) => failed = Some(unanswered(&exchanger.host, &failure)),
            }
        }
        hops.truncate(ADDRESSES_MAX);
        if !hops.is_empty() {
            return Ok(hops);
        }
        if let Some(reply) = failed.filter(Reply::is_transient) {
            return Err(reply);
        }
        Err(match (limit, implicit) {
            (Some(_), _) => loops_back(domain),
            (None, true) => no_such_domain(domain, "has neither mail exchanger nor address"),
            (None, false) => {
                let text = format!("no mail exchanger of {domain} has an address");
                refusal(550, (5, 4, 4), text)
            }
        })
    }

    async fn resolve_all(&self, hosts: &[Exchanger]) -> Vec<Result<Vec<IpAddr>, Failure>> {
        join_all(
            hosts
                .iter()
                .map(|e| Box::pin(self.resolve(&e.host)) as BoxFuture<'_, _>),
        )
        .await
    }

    /// The addresses of a host, IPv6 and IPv4 in turn; none when it has none. A CNAME at the host
    /// is not allowed (RFC 2181 §10.3), but common and harmless.
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let (six, four) = tokio::join!(
            self.dns.query(host, Kind::Aaaa),
            self.dns.query(host, Kind::A)
        );
        if let (Err(failure), Err(_)) = (&four, &six) {
            return Err(failure.clone());
        }
        let addresses = in_turn(&addresses_in(&six), &addresses_in(&four));
        match (addresses.is_empty(), four, six) {
            // One family could not be asked for, the other has none: nobody knows yet.
            (true, Err(failure), _) | (true, _, Err(failure)) => Err(failure),
            _ => Ok(addresses),
        }
    }

    fn hop(&self, host: &str, address: IpAddr, security: &Security) -> NextHop {
        NextHop {
            host: host.into(),
            endpoint: Endpoint::Tcp(SocketAddr::new(address.to_canonical(), self.port)),
            dialect: Dialect::Smtp,
            by_mx: true,
            security: security.clone(),
        }
    }
}

/// The exchangers that an answer lists; none when the domain itself is to be used.
fn listed(domain: &str, answer: &Answer) -> Result<Vec<Exchanger>, Reply> {
    if answer.found == Found::NxDomain {
        return Err(no_such_domain(domain, "does not exist"));
    }
    let mut exchangers = Vec::new();
    for record in answer.records() {
        match record {
            // Among others it is no null MX (RFC 7505 §3), and no host either.
            Data::Mx { exchange, .. } if exchange.is_empty() => {}
            Data::Mx {
                preference,
                exchange,
            } => {
                exchangers.push(Exchanger {
                    preference: *preference,
                    host: exchange.clone(),
                });
            }
            _ => {}
        }
    }
    if exchangers.is_empty() && !answer.records().is_empty() {
        let text = format!("the domain {domain} does not accept mail (null MX)");
        return Err(refusal(556, (5, 1, 10), text));
    }
    Ok(exchangers)
}

fn addresses_in(answer: &Result<Arc<Answer>, Failure>) -> Vec<IpAddr> {
    let records = answer.as_ref().map_or(&[][..], |a| a.records());
    let address = |record: &Data| match record {
        Data::A(a) => Some(IpAddr::V4(*a)),
        Data::Aaaa(a) => Some(IpAddr::V6(*a).to_canonical()),
        _ => None,
    };
    records.iter().filter_map(address).collect()
}

/// One of the first, one of the second, and so on: neither a broken IPv6 path nor a broken IPv4
/// path uses up all tries.
fn in_turn(first: &[IpAddr], second: &[IpAddr]) -> Vec<IpAddr> {
    let longest = first.len().max(second.len());
    (0..longest)
        .flat_map(|i| [first.get(i), second.get(i)])
        .flatten()
        .copied()
        .take(ADDRESSES_PER_HOST_MAX)
        .collect()
}

/// Waits for all of them at once; the results are in the order of the futures.
async fn join_all<T>(futures: impl Iterator<Item = BoxFuture<'_, T>>) -> Vec<T> {
    let mut slots: Vec<_> = futures.map(|f| (Some(f), None)).collect();
    poll_fn(|cx| {
        let mut waiting = false;
        for (future, value) in &mut slots {
            if let Some(f) = future {
                match f.as_mut().poll(cx) {
                    Poll::Ready(v) => (*future, *value) = (None, Some(v)),
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    slots.into_iter().filter_map(|(_, value)| value).collect()
}

fn unanswered(name: &str, failure: &Failure) -> Reply {
    match failure {
        Failure::BadName(_) => no_such_domain(name, "is not a domain name"),
        _ => not_now(name, failure),
    }
}

fn not_now(name: &str, failure: &Failure) -> Reply {
    refusal(
        451,
        (4, 4, 3),
        format!("{name} could not be looked up: {failure}"),
    )
}

fn no_such_domain(domain: &str, why: &str) -> Reply {
    refusal(550, (5, 1, 2), format!("the domain {domain} {why}"))
}

fn loops_back(domain: &str) -> Reply {
    let text = format!("mail for {domain} loops back to this host; is it missing from [[domain]]?");
    refusal(554, (5, 4, 6), text)
}

fn refusal(code: u16, enhanced: (u8, u16, u16), text: String) -> Reply {
    Reply::new(code, enhanced, text)
}
