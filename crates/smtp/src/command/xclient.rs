//! XCLIENT: a client that is trusted says for whom it speaks (the Postfix XCLIENT protocol).
//!
//! Invariants: a value is printable ASCII of at most [`limits::XCLIENT_VALUE`] octets; each
//! attribute comes once.
//!
//! Not here: who is trusted, and what follows from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{once, syntax, words};
use crate::dsn::decode_xtext;
use crate::limits;
use crate::reply::Reply;

/// An attribute that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute<T> {
    /// Its value.
    Known(T),
    /// `[UNAVAILABLE]`: there is none.
    Unavailable,
    /// `[TEMPUNAVAIL]`: it could not be found out now.
    TemporarilyUnavailable,
}

/// `PROTO`: what the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `SMTP`: it said HELO.
    Smtp,
    /// `ESMTP`: it said EHLO.
    Esmtp,
}

/// The attributes of XCLIENT; `None` for those that were not given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Xclient {
    /// `NAME`: the host name of the client.
    pub name: Option<Attribute<Box<str>>>,
    /// `ADDR`: its address; one that is IPv4 in IPv6 counts as IPv4.
    pub addr: Option<Attribute<IpAddr>>,
    /// `PORT`: its port.
    pub port: Option<Attribute<u16>>,
    /// `PROTO`.
    pub proto: Option<Attribute<Protocol>>,
    /// `HELO`: its hello name.
    pub helo: Option<Attribute<Box<str>>>,
    /// `LOGIN`: as whom it authenticated.
    pub login: Option<Attribute<Box<str>>>,
    /// `DESTADDR`: the address that it connected to.
    pub dest_addr: Option<Attribute<IpAddr>>,
    /// `DESTPORT`: the port that it connected to.
    pub dest_port: Option<Attribute<u16>>,
}

impl Xclient {
    /// The attributes, as EHLO names them.
    pub(crate) const NAMES: &str = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

    /// Parses what follows the verb: `NAME=value …`, at least one.
    pub fn parse(argument: &str) -> Result<Xclient, Reply> {
        let mut xclient = Xclient::default();
        let mut words = words(argument).peekable();
        if words.peek().is_none() {
            return Err(syntax("Write XCLIENT attribute=value"));
        }
        for word in words {
            let (name, value) = word
                .split_once('=')
                .ok_or_else(|| syntax("Write XCLIENT attribute=value"))?;
            xclient.set(name, value)?;
        }
        Ok(xclient)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Reply> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match () {
            () if is("NAME") => set(&mut self.name, value, text),
            () if is("ADDR") => set(&mut self.addr, value, address),
            () if is("PORT") => set(&mut self.port, value, port),
            () if is("PROTO") => set(&mut self.proto, value, protocol),
            () if is("HELO") => set(&mut self.helo, value, text),
            () if is("LOGIN") => set(&mut self.login, value, text),
            () if is("DESTADDR") => set(&mut self.dest_addr, value, address),
            () if is("DESTPORT") => set(&mut self.dest_port, value, port),
            () => Err(syntax("Unknown XCLIENT attribute")),
        }
    }
}

fn set<T>(
    to: &mut Option<Attribute<T>>,
    value: &str,
    parse: fn(&str) -> Option<T>,
) -> Result<(), Reply> {
    once(&mut to.is_some())?;
    let decoded = (value.len() <= limits::XCLIENT_VALUE)
        .then(|| decode_xtext(value))
        .flatten()
        .filter(|text| text.is_ascii());
    let decoded = decoded.ok_or_else(|| syntax("Bad XCLIENT value"))?;
    let attribute = if decoded.eq_ignore_ascii_case("[UNAVAILABLE]") {
        Attribute::Unavailable
    } else if decoded.eq_ignore_ascii_case("[TEMPUNAVAIL]") {
        Attribute::TemporarilyUnavailable
    } else {
        Attribute::Known(parse(&decoded).ok_or_else(|| syntax("Bad XCLIENT value"))?)
    };
    *to = Some(attribute);
    Ok(())
}

fn text(value: &str) -> Option<Box<str>> {
    (!value.is_empty()).then(|| value.into())
}

/// An IPv4 address, or `IPV6:` and an IPv6 address.
fn address(value: &str) -> Option<IpAddr> {
    match value.split_at_checked("IPV6:".len()) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPV6:") => {
            let address: Ipv6Addr = address.parse().ok()?;
            Some(IpAddr::V6(address).to_canonical())
        }
        _ => value.parse().ok().map(|address: Ipv4Addr| address.into()),
    }
}

fn port(value: &str) -> Option<u16> {
    let digits = value.bytes().all(|c| c.is_ascii_digit());
    value.parse().ok().filter(|_| digits)
}

fn protocol(value: &str) -> Option<Protocol> {
    let is = |name: &str| value.eq_ignore_ascii_case(name);
    let smtp = is("SMTP").then_some(Protocol::Smtp);
    smtp.or_else(|| is("ESMTP").then_some(Protocol::Esmtp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_in_any_order_and_case() {
        let given = Xclient::parse(
            "name=spike.example ADDR=192.0.2.7 PORT=3456 PROTO=esmtp HELO=a+20b LOGIN=alice \
             DESTADDR=IPv6:2001:db8::1 DESTPORT=25",
        );
        assert_eq!(
            given,
            Ok(Xclient {
                name: Some(Attribute::Known("spike.example".into())),
                addr: Some(Attribute::Known([192, 0, 2, 7].into())),
                port: Some(Attribute::Known(3456)),
                proto: Some(Attribute::Known(Protocol::Esmtp)),
                helo: Some(Attribute::Known("a b".into())),
                login: Some(Attribute::Known("alice".into())),
                dest_addr: Some(Attribute::Known([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into())),
                dest_port: Some(Attribute::Known(25)),
            })
        );
        let given = Xclient::parse("NAME=[TEMPUNAVAIL] ADDR=[unavailable]").unwrap();
        assert_eq!(given.name, Some(Attribute::TemporarilyUnavailable));
        assert_eq!(given.addr, Some(Attribute::Unavailable));
        let mapped = Xclient::parse("ADDR=IPV6:::ffff:192.0.2.7").unwrap();
        assert_eq!(mapped.addr, Some(Attribute::Known([192, 0, 2, 7].into())));
    }

    #[test]
    fn what_is_malformed_twice_or_unknown_is_refused() {
        let long = format!("NAME={}", "x".repeat(limits::XCLIENT_VALUE + 1));
        for bad in [
            "",
            " ",
            "NAME",
            "NAME=",
            "NAME=a NAME=b",
            "NAME=a=b",
            "NAME=+0A",
            "NAME=é",
            "ADDR=::1",
            "ADDR=IPV6:192.0.2.7",
            "ADDR=192.0.2.256",
            "ADDR=192.0.2.7:25",
            "PORT=65536",
            "PORT=+25",
            "PORT=",
            "PROTO=LMTP",
            "X=1",
            &long,
        ] {
            let refusal = Xclient::parse(bad).unwrap_err();
            assert_eq!(refusal.code(), 501, "{bad}");
        }
        assert!(Xclient::parse(&long[..long.len() - 1]).is_ok());
    }
}
