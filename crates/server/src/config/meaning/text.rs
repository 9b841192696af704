//! The small grammars inside of texts: names, addresses, servers.
//!
//! Errors here are the cause only, to be put after "`…` is not a …: ".

use std::net::{IpAddr, SocketAddr};

use posthaste_smtp::address::{AddressError, Domain, DomainName, LocalPart, Mailbox, Utf8};

use crate::config::Server;

/// A domain name in A-labels and lower case; international names are converted (RFC 5891).
pub(crate) fn domain_name(text: &str) -> Result<DomainName, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let ascii = if name.is_ascii() {
        name.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii_strict(name)
            .map_err(|_| "IDNA does not allow it".to_string())?
            .to_ascii_lowercase()
    };
    if ascii.parse::<IpAddr>().is_ok() {
        return Err("it is an address".into());
    }
    let top = ascii.rsplit('.').next().unwrap_or_default();
    if !top.is_empty() && top.bytes().all(|b| b.is_ascii_digit()) {
        return Err("its last part is a number".into());
    }
    DomainName::parse(&ascii, Utf8::Refused).map_err(|e| match e {
        AddressError::DomainTooLong => "it is too long".into(),
        _ => "its parts are letters, digits and hyphens, with dots between".into(),
    })
}

/// A domain name as the directory compares it, from an envelope. Names that IDNA does not allow
/// stay as they are and match nothing.
pub(crate) fn canonical(name: &DomainName) -> String {
    if name.as_str().is_ascii() {
        return name.as_str().to_ascii_lowercase();
    }
    domain_name(name.as_str()).map_or_else(|_| name.to_string(), |n| n.to_string())
}

/// A whole address; its domain in A-labels and lower case.
pub(crate) fn mailbox(text: &str) -> Result<Mailbox, String> {
    let (local, domain) = text.rsplit_once('@').ok_or("there is no @ in it")?;
    let local = local_part(local)?;
    Ok(Mailbox::new(local, Domain::Name(domain_name(domain)?)))
}

/// A local part as it is written in an address.
pub(crate) fn local_part(text: &str) -> Result<LocalPart, String> {
    LocalPart::parse(text, Utf8::Allowed).map_err(|e| match e {
        AddressError::LocalPartTooLong => "the local part is longer than 64 octets".into(),
        _ => "the local part needs quotes, or holds what no address can".into(),
    })
}

/// An address and a port; the port may be left out when there is a usual one.
pub(crate) fn socket_address(text: &str, port: Option<u16>) -> Result<SocketAddr, String> {
    let address = match (text.parse::<SocketAddr>(), port) {
        (Ok(address), _) => address,
        (Err(_), Some(port)) => {
            let bare = text
                .strip_prefix('[')
                .and_then(|t| t.strip_suffix(']'))
                .unwrap_or(text);
            match bare.parse::<IpAddr>() {
                Ok(ip) => SocketAddr::new(ip, port),
                Err(_) => return Err(why_no_socket_address(text)),
            }
        }
        (Err(_), None) => return Err(why_no_socket_address(text)),
    };
    match address.ip() {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err("it is an IPv4 address in IPv6 form; write the IPv4 form".into())
        }
        _ => Ok(address),
    }
}

fn why_no_socket_address(text: &str) -> String {
    if text.parse::<IpAddr>().is_ok() {
        return "the port is missing".into();
    }
    if text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .is_some()
    {
        return "the port is missing".into();
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return "it is neither an address nor a port".into();
    };
    if port.parse::<u16>().is_err() {
        return format!("`{port}` is not a port from 0 to 65535");
    }
    if host.is_empty() {
        return "the address is missing".into();
    }
    if host.contains(':') {
        return "an IPv6 address stands in square brackets".into();
    }
    format!("`{host}` is not an IP address, and names are not looked up here")
}

/// `host:port`, `address:port` or `[v6]:port`; `port` when it is left out. Port 0 is refused.
pub(crate) fn server(text: &str, port: u16) -> Result<Server, String> {
    if text.is_empty() {
        return Err("the host is missing".into());
    }
    if text.contains(['/', '?', '#', '@']) {
        return Err("only a host and a port can follow `//`".into());
    }
    let literal = text.starts_with('[') || text.parse::<IpAddr>().is_ok();
    let server = match text.rsplit_once(':') {
        _ if literal || text.parse::<SocketAddr>().is_ok() => {
            Server::Address(socket_address(text, Some(port))?)
        }
        Some((host, digits)) => {
            let port = digits
                .parse()
                .map_err(|_| format!("`{digits}` is not a port"))?;
            Server::Name(domain_name(host)?, port)
        }
        None => Server::Name(domain_name(text)?, port),
    };
    match &server {
        Server::Address(a) if a.port() == 0 => Err("port 0 cannot be connected to".into()),
        Server::Address(a) if a.ip().is_unspecified() => {
            Err("this address cannot be connected to".into())
        }
        Server::Name(_, 0) => Err("port 0 cannot be connected to".into()),
        _ => Ok(server),
    }
}

#[cfg(test)]
mod tests {
    use super::{domain_name, mailbox, server, socket_address};

    #[test]
    fn international_names_become_a_labels_in_lower_case() {
        assert_eq!(
            domain_name("Bücher.Example").unwrap().as_str(),
            "xn--bcher-kva.example"
        );
        assert_eq!(
            domain_name("MX.Example.Org.").unwrap().as_str(),
            "mx.example.org"
        );
        for bad in [
            "",
            ".",
            "192.0.2.1",
            "a..b",
            "a b",
            "::1",
            "exa_mple.org ",
            "host.123",
        ] {
            assert!(domain_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_need_both_halves() {
        assert_eq!(
            mailbox("Bob@EXAMPLE.org").unwrap().to_string(),
            "Bob@example.org"
        );
        for bad in [
            "bob",
            "@example.org",
            "bob@",
            "a b@example.org",
            "bob@[192.0.2.1]",
        ] {
            assert!(mailbox(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn servers_are_hosts_or_addresses_with_a_usual_port() {
        let show = |t| server(t, 24).map(|s| s.to_string());
        assert_eq!(show("Mail.example.org").unwrap(), "mail.example.org:24");
        assert_eq!(
            show("mail.example.org:2525").unwrap(),
            "mail.example.org:2525"
        );
        assert_eq!(show("192.0.2.1").unwrap(), "192.0.2.1:24");
        assert_eq!(show("[2001:db8::1]:25").unwrap(), "[2001:db8::1]:25");
        assert_eq!(show("[2001:db8::1]").unwrap(), "[2001:db8::1]:24");
        for bad in [
            "",
            ":25",
            "host:0",
            "host:65536",
            "host:x",
            "host/",
            "u@host",
            "0.0.0.0:25",
        ] {
            assert!(server(bad, 24).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_listening_address_is_named() {
        let cause = |t| socket_address(t, None).unwrap_err();
        assert!(cause("0.0.0.0").contains("port is missing"));
        assert!(cause("::1:25").contains("square brackets") || cause("::1:25").contains("missing"));
        assert!(cause("localhost:25").contains("not looked up"));
        assert!(cause("127.0.0.1:70000").contains("65535"));
        assert!(cause("[::ffff:127.0.0.1]:25").contains("IPv4 form"));
    }
}
