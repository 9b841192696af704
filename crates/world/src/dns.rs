//! The DNS door: questions by type, answers with their security and lifetime.
//!
//! An answer says whether records were found, the name has none of that type, or the name does not
//! exist; a failure is a [`Failure`], never an empty answer. The resolver's AD bit is believed only
//! from a loopback server (or one named as trusted); otherwise every answer is *insecure*.
//! Addresses of `localhost`, and of names in the machine's hosts file, come from there.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::BoxFuture;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchangers.
    Mx,
    /// Text.
    Txt,
    /// The name of an address.
    Ptr,
    /// TLS associations (RFC 6698).
    Tlsa,
    /// The name servers of a zone.
    Ns,
    /// The alias itself, which is not followed.
    Cname,
}

/// One record's data. Names are lower-case A-labels without the final dot; the root is "".
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Data {
    /// IPv4 address.
    A(Ipv4Addr),
    /// IPv6 address.
    Aaaa(Ipv6Addr),
    /// Mail exchanger; the smaller preference is tried first.
    Mx {
        /// The preference.
        preference: u16,
        /// The host; "" in a null MX (RFC 7505).
        exchange: String,
    },
    /// The character strings of one TXT record, joined.
    Txt(Vec<u8>),
    /// A name.
    Ptr(String),
    /// TLS association.
    Tlsa {
        /// Certificate usage.
        usage: u8,
        /// Selector.
        selector: u8,
        /// Matching type.
        matching: u8,
        /// Association data.
        data: Vec<u8>,
    },
    /// A name server.
    Ns(String),
    /// Where an alias leads.
    Cname(String),
}

/// What DNSSEC says of an answer (RFC 4035 §4.3). *Bogus* is a [`Failure`], since such data must
/// not be used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Security {
    /// Validated by a resolver that we trust.
    Secure,
    /// Not signed, or nobody we trust validated it.
    Insecure,
    /// The resolver could not say.
    Indeterminate,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// Records of the asked kind, at least one.
    Records(Vec<Data>),
    /// The name exists without records of this kind.
    NoData,
    /// The name does not exist.
    NxDomain,
}

/// A complete answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// What was found.
    pub found: Found,
    /// The name after all CNAMEs; the asked name when there was none.
    pub canonical: String,
    /// What DNSSEC says of the whole chain.
    pub security: Security,
    /// How long it may be kept, counted from the moment it came; the implementation's cache is the
    /// place that keeps it, so an answer out of the cache is nearer to its end.
    pub ttl: Duration,
}

impl Answer {
    /// The records; none for `NoData` and `NxDomain`.
    #[must_use]
    pub fn records(&self) -> &[Data] {
        match &self.found {
            Found::Records(r) => r,
            Found::NoData | Found::NxDomain => &[],
        }
    }
}

/// Why there is no answer. All of these are temporary: ask again later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No server answered in time.
    Timeout,
    /// The servers could not be reached; the text says why.
    Unreachable(String),
    /// The server reported a failure (SERVFAIL, REFUSED, …); the text names the response code.
    Server(String),
    /// The data failed DNSSEC validation.
    Bogus,
    /// The answer broke the protocol, or a chain of CNAMEs looped or was too long.
    Malformed(String),
    /// The name cannot be asked for (too long, empty label, …). Permanent for this name.
    BadName(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Timeout => f.write_str("no DNS server answered in time"),
            Failure::Unreachable(why) => write!(f, "no DNS server could be reached: {why}"),
            Failure::Server(code) => write!(f, "the DNS server answered {code}"),
            Failure::Bogus => f.write_str("DNSSEC validation failed"),
            Failure::Malformed(why) => write!(f, "malformed DNS answer: {why}"),
            Failure::BadName(why) => write!(f, "not a domain name: {why}"),
        }
    }
}

impl std::error::Error for Failure {}

/// Names. Implementations cache by lifetime, share one flight per question, and end every question
/// in bounded time.
pub trait Dns: Send + Sync {
    /// Asks for the records of `kind` at `name` (A-labels; a final dot is optional; never extended
    /// by search domains; no escapes), following CNAMEs. A question goes on when the future is
    /// dropped, for the others who ask it.
    fn query<'a>(
        &'a self,
        name: &'a str,
        kind: Kind,
    ) -> BoxFuture<'a, Result<Arc<Answer>, Failure>>;
}
