//! Where a message goes next: an address to its [`Transport`], a transport to [`NextHop`]s.
//!
//! What an address means is the directory's business ([`Way`]); here it becomes hosts and addresses
//! to try, in order. Servers that the operator named are looked up by address and never by MX (no
//! configuration can loop through DNS by accident); everything else goes by [`mx`].
//!
//! This module keeps nothing between calls: DNS answers are cached behind their door. It does
//! **not** connect, and it never grants relaying.

pub mod mx;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_smtp::Dialect;
use posthaste_smtp::address::{Domain, Literal, Mailbox};
use posthaste_smtp::reply::Reply;
use posthaste_world::net::Endpoint;

use crate::config::{Deliver, Security, Server, Via};
use crate::lookup::{Directory, Way};

use mx::Mx;

/// One server to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHop {
    /// Its name, or its address where it has none; for people, records and reports.
    pub host: Box<str>,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// What it speaks.
    pub dialect: Dialect,
    /// Whether DNS named it, so that it may turn out to be this very server.
    pub by_mx: bool,
    /// What is asked of it, and what it is shown. Connections are kept for the same security alone.
    pub security: Security,
}

/// The way of handing a message over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport<'a> {
    /// Into a mailbox of this machine.
    Maildir {
        /// The folder above all mailboxes of the domain.
        root: &'a Path,
        /// The Maildir, below that.
        folder: PathBuf,
        /// Who owns its files; none for the server's own user.
        owner: Option<&'a str>,
    },
    /// To the first of these servers that answers.
    Servers(Dialect, &'a Security, &'a [Server]),
    /// To the mail exchangers of this domain.
    Mx(&'a Domain, &'a Security),
    /// Nowhere, with success.
    Discard,
    /// The mailbox is gone: nowhere, with failure.
    NoMailbox,
    /// Nowhere before the operator says so.
    Held,
}

/// Finds next hops.
pub struct Route {
    directory: Arc<Directory>,
    mx: Mx,
    /// Of hops that no route asks anything of.
    ordinary: Security,
}

impl Route {
    /// Routes by `directory`, and by `mx` what it leaves to DNS.
    #[must_use]
    pub fn new(directory: Arc<Directory>, mx: Mx) -> Self {
        let ordinary = Security::default();
        Route {
            directory,
            mx,
            ordinary,
        }
    }

    /// Who is who.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The queue's scheduling key for a final address, as configured now.
    #[must_use]
    pub fn destination(&self, address: &Mailbox) -> String {
        self.directory.destination(address)
    }

    /// How mail for a final address is handed over, as configured now.
    #[must_use]
    pub fn transport<'a>(&'a self, address: &'a Mailbox) -> Transport<'a> {
        match self.directory.route_for(address) {
            Way::Domain { domain, mailbox } => match &domain.deliver {
                Deliver::Maildir(path) => {
                    let folder = path.of(domain.name.as_str(), mailbox);
                    let folder = folder
                        .strip_prefix(path.root())
                        .unwrap_or(&folder)
                        .to_owned();
                    let owner = domain.owner.as_deref();
                    Transport::Maildir {
                        root: path.root(),
                        folder,
                        owner,
                    }
                }
                Deliver::Lmtp(server) => {
                    let servers = std::slice::from_ref(server);
                    Transport::Servers(Dialect::Lmtp, &self.ordinary, servers)
                }
                Deliver::Smtp(server) => {
                    let servers = std::slice::from_ref(server);
                    Transport::Servers(Dialect::Smtp, &self.ordinary, servers)
                }
                Deliver::Discard => Transport::Discard,
            },
            Way::NoMailbox(_) => Transport::NoMailbox,
            Way::Held => Transport::Held,
            Way::Route(route) => match &route.via {
                Via::Smtp(servers) | Via::Smtps(servers) => {
                    Transport::Servers(Dialect::Smtp, &route.security, servers)
                }
                Via::Lmtp(servers) => Transport::Servers(Dialect::Lmtp, &route.security, servers),
                Via::Discard => Transport::Discard,
                Via::Mx => Transport::Mx(address.domain(), &route.security),
            },
            Way::Mx => Transport::Mx(address.domain(), &self.ordinary),
        }
    }

    /// The servers to try for a transport, in order; none for a transport without servers.
    ///
    /// # Errors
    /// The reply, 4yz or 5yz, that decides every recipient of this transport now.
    pub async fn next_hops(&self, transport: &Transport<'_>) -> Result<Vec<NextHop>, Reply> {
        match transport {
            Transport::Servers(dialect, security, servers) => {
                self.named(*dialect, security, servers).await
            }
            Transport::Mx(Domain::Name(name), security) => {
                let name = to_ascii(name.as_str())?;
                self.mx.next_hops(&name, security).await
            }
            Transport::Mx(Domain::Literal(literal), security) => {
                self.mx.literal(ip_of(literal)?, security)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Whether a server at `hop` that calls itself `name` is this very server, so that handing mail
    /// to it would loop. A server that the operator named may well share our name.
    #[must_use]
    pub fn is_ourselves(&self, hop: &NextHop, name: &str) -> bool {
        hop.by_mx && self.mx.ourselves().is_name(name)
    }

    /// The addresses of all named servers in their order. One that has none now does not hide the
    /// others.
    async fn named(
        &self,
        dialect: Dialect,
        security: &Security,
        servers: &[Server],
    ) -> Result<Vec<NextHop>, Reply> {
        let mut hops = Vec::new();
        let mut refusal = None;
        for server in servers {
            match self.addresses(server).await {
                Ok(found) => hops.extend(found.into_iter().map(|(host, endpoint)| NextHop {
                    host,
                    endpoint,
                    dialect,
                    by_mx: false,
                    security: security.clone(),
                })),
                Err(reply) => refusal = Some(reply),
            }
        }
        hops.truncate(mx::ADDRESSES_MAX);
        match refusal {
            Some(reply) if hops.is_empty() => Err(reply),
            _ => Ok(hops),
        }
    }

    async fn addresses(&self, server: &Server) -> Result<Vec<(Box<str>, Endpoint)>, Reply> {
        match server {
            Server::Name(name, port) => {
                let host = name.as_str();
                let found = self.mx.addresses(host).await?;
                let at = |a: IpAddr| (host.into(), Endpoint::Tcp(SocketAddr::new(a, *port)));
                Ok(found.into_iter().map(at).collect())
            }
            Server::Address(a) => Ok(vec![(in_brackets(a.ip()), Endpoint::Tcp(*a))]),
            Server::Unix(path) => {
                let endpoint = Endpoint::Unix(path.clone());
                Ok(vec![(endpoint.to_string().into(), endpoint)])
            }
        }
    }
}

/// The port of SMTP between servers (RFC 5321 §4.5.4.2).
pub const SMTP_PORT: u16 = 25;

fn in_brackets(address: IpAddr) -> Box<str> {
    format!("[{address}]").into()
}

/// The name to ask DNS for. An address in UTF-8 keeps its U-labels (RFC 6531 §3.2); DNS has
/// A-labels.
fn to_ascii(name: &str) -> Result<String, Reply> {
    if name.is_ascii() {
        return Ok(name.to_ascii_lowercase());
    }
    idna::domain_to_ascii(name)
        .map_err(|_| Reply::new(550, (5, 1, 2), format!("{name} is not a domain name")))
}

fn ip_of(literal: &Literal) -> Result<IpAddr, Reply> {
    match literal {
        Literal::V4(a) => Ok(IpAddr::V4(*a)),
        Literal::V6(a) => Ok(IpAddr::V6(*a).to_canonical()),
        Literal::General { tag, .. } => {
            let text = format!("the address literal of kind {tag} is not known");
            Err(Reply::new(550, (5, 1, 2), text))
        }
    }
}
