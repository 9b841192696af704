//! What an answer on the wire means for the question.
//!
//! One message may hold a whole chain of CNAMEs with its end, a part of the chain, or nothing; the
//! [`Reading`] goes along it and keeps what holds for all of it: the weakest security, the shortest
//! lifetime.

use std::time::Duration;

use bytes::Bytes;
use domain::base::iana::{Class, OptRcode, Rcode, Rtype};
use domain::base::name::{FlattenInto, ParsedName};
use domain::base::wire::ParseError;
use domain::base::{Message, ParsedRecord};
use domain::rdata::{A, Aaaa, AllRecordData, Cname, Mx, Ns, Ptr, Soa, Txt};

use crate::dns::{Data, Failure, Found, Kind, Security};

/// A name on the wire.
pub(super) type Name = domain::base::Name<Bytes>;

/// Extended errors that say that validation failed (RFC 8914 §4.7 to §4.13).
const BOGUS: std::ops::RangeInclusive<u16> = 6..=12;
/// The extended error that says that validation was not possible (RFC 8914 §4.6).
const INDETERMINATE: u16 = 5;

/// How far the chain was followed, and what holds for all of it.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// The name to ask for next; in the end the canonical name.
    pub(super) name: Name,
    /// CNAMEs followed.
    pub(super) links: usize,
    /// The weakest security of all messages.
    pub(super) security: Security,
    /// The shortest lifetime of all records.
    pub(super) ttl: Duration,
}

/// What one message gave.
#[derive(Debug)]
pub(super) enum Step {
    /// The end of the chain.
    Found(Found),
    /// A part of it: ask for [`Reading::name`].
    GoOn,
}

impl Reading {
    pub(super) fn begin(name: Name) -> Self {
        Reading {
            name,
            links: 0,
            security: Security::Secure,
            ttl: Duration::MAX,
        }
    }

    /// Goes along `message`. On a failure nothing changed: another server may be asked.
    pub(super) fn go(
        &mut self,
        message: &Message<Bytes>,
        kind: Kind,
        trusted: bool,
    ) -> Result<Step, Failure> {
        let mut next = self.clone();
        next.security = next.security.max(security(message, trusted));
        let exists = rcode(message)? != Rcode::NXDOMAIN;
        let step = next.read(message, kind, exists)?;
        *self = next;
        Ok(step)
    }

    fn read(
        &mut self,
        message: &Message<Bytes>,
        kind: Kind,
        exists: bool,
    ) -> Result<Step, Failure> {
        let links = self.links;
        loop {
            let (records, alias) = self.at_name(message, kind).map_err(malformed)?;
            if !records.is_empty() {
                return Ok(Step::Found(Found::Records(records)));
            }
            let Some(alias) = alias else { break };
            self.name = alias;
            self.links += 1;
            if self.links > super::LINKS_MAX {
                return Ok(Step::GoOn);
            }
        }
        let (soa, delegates) = authority(message).map_err(malformed)?;
        if let Some(lifetime) = soa {
            self.ttl = self.ttl.min(lifetime);
        } else if exists && self.links > links {
            return Ok(Step::GoOn);
        } else if exists && delegates {
            let why = "with a referral: it is not a recursive server";
            return Err(Failure::Server(why.to_owned()));
        } else {
            // Without a SOA nobody says how long it holds (RFC 2308 §5).
            self.ttl = Duration::ZERO;
        }
        Ok(Step::Found(match exists {
            true => Found::NoData,
            false => Found::NxDomain,
        }))
    }

    /// The records of `kind` at the name, and where its CNAME leads.
    fn at_name(
        &mut self,
        message: &Message<Bytes>,
        kind: Kind,
    ) -> Result<(Vec<Data>, Option<Name>), ParseError> {
        let (mut records, mut alias) = (Vec::new(), None);
        for record in message.answer()? {
            let record = record?;
            if record.class() != Class::IN || record.owner() != self.name {
                continue;
            }
            if let Some(data) = data(&record, kind)? {
                records.push(data);
            } else if let Some(cname) = record.to_record::<Cname<ParsedName<Bytes>>>()? {
                alias = Some(cname.data().cname().clone().flatten_into());
            } else {
                continue;
            }
            self.ttl = self.ttl.min(lifetime(record.ttl().as_secs()));
        }
        Ok((records, alias))
    }
}

fn malformed(error: ParseError) -> Failure {
    Failure::Malformed(error.to_string())
}

/// A name as text: lower case, without the final dot.
pub(super) fn text(name: &impl std::fmt::Display) -> String {
    let mut text = name.to_string();
    text.make_ascii_lowercase();
    text.truncate(text.trim_end_matches('.').len());
    text
}

pub(super) fn rtype(kind: Kind) -> Rtype {
    match kind {
        Kind::A => Rtype::A,
        Kind::Aaaa => Rtype::AAAA,
        Kind::Mx => Rtype::MX,
        Kind::Txt => Rtype::TXT,
        Kind::Ptr => Rtype::PTR,
        Kind::Tlsa => Rtype::TLSA,
        Kind::Ns => Rtype::NS,
        Kind::Cname => Rtype::CNAME,
    }
}

/// The codes that are answers; the others are failures.
fn rcode(message: &Message<Bytes>) -> Result<Rcode, Failure> {
    let code = message.opt_rcode();
    if code == OptRcode::NOERROR || code == OptRcode::NXDOMAIN {
        return Ok(message.header().rcode());
    }
    match extended_error(message) {
        Some(error) if BOGUS.contains(&error) => Err(Failure::Bogus),
        _ => Err(Failure::Server(code.to_string())),
    }
}

fn security(message: &Message<Bytes>, trusted: bool) -> Security {
    if !trusted {
        Security::Insecure
    } else if message.header().ad() {
        Security::Secure
    } else if extended_error(message) == Some(INDETERMINATE) {
        Security::Indeterminate
    } else {
        Security::Insecure
    }
}

fn extended_error(message: &Message<Bytes>) -> Option<u16> {
    let opt = message.opt()?;
    Some(opt.opt().extended_error()?.code().to_int())
}

/// How long the absence of records holds, when the message says so (RFC 2308 §5), and whether it
/// points at other servers.
fn authority(message: &Message<Bytes>) -> Result<(Option<Duration>, bool), ParseError> {
    let (mut soa, mut delegates) = (None, false);
    for record in message.authority()? {
        let record = record?;
        delegates |= record.rtype() == Rtype::NS;
        if let Some(record) = record.to_record::<Soa<ParsedName<Bytes>>>()? {
            let minimum = record.data().minimum().as_secs();
            soa = Some(lifetime(record.ttl().as_secs()).min(lifetime(minimum)));
        }
    }
    Ok((soa, delegates))
}

/// Lifetimes with the highest bit set are none (RFC 2181 §8).
fn lifetime(seconds: u32) -> Duration {
    let seconds = if seconds > i32::MAX.unsigned_abs() {
        0
    } else {
        seconds
    };
    Duration::from_secs(u64::from(seconds))
}

fn data(record: &ParsedRecord<'_, Bytes>, kind: Kind) -> Result<Option<Data>, ParseError> {
    Ok(match kind {
        Kind::A => record.to_record::<A>()?.map(|r| Data::A(r.data().addr())),
        Kind::Aaaa => record
            .to_record::<Aaaa>()?
            .map(|r| Data::Aaaa(r.data().addr())),
        Kind::Mx => record
            .to_record::<Mx<ParsedName<Bytes>>>()?
            .map(|r| Data::Mx {
                preference: r.data().preference(),
                exchange: text(r.data().exchange()),
            }),
        Kind::Txt => record
            .to_record::<Txt<Bytes>>()?
            .map(|r| Data::Txt(r.data().text())),
        Kind::Ptr => record
            .to_record::<Ptr<ParsedName<Bytes>>>()?
            .map(|r| Data::Ptr(text(r.data().ptrdname()))),
        Kind::Tlsa if record.rtype() == Rtype::TLSA => record
            .to_record::<AllRecordData<_, ParsedName<_>>>()?
            .and_then(|r| tlsa(r.data())),
        Kind::Tlsa => None,
        Kind::Ns => record
            .to_record::<Ns<ParsedName<Bytes>>>()?
            .map(|r| Data::Ns(text(r.data().nsdname()))),
        Kind::Cname => record
            .to_record::<Cname<ParsedName<Bytes>>>()?
            .map(|r| Data::Cname(text(r.data().cname()))),
    })
}

fn tlsa(data: &AllRecordData<Bytes, ParsedName<Bytes>>) -> Option<Data> {
    let AllRecordData::Tlsa(tlsa) = data else {
        return None;
    };
    Some(Data::Tlsa {
        usage: tlsa.usage().to_int(),
        selector: tlsa.selector().to_int(),
        matching: tlsa.matching_type().to_int(),
        data: tlsa.data().to_vec(),
    })
}
