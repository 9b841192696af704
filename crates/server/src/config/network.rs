//! IP networks in CIDR notation, and lists of them.
//!
//! Addresses mapped from IPv4 (`::ffff:192.0.2.1`) count as IPv4 in every list, so that a peer on a
//! dual-stack socket matches the same entries.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One network. Host bits are zero, and it is never the whole address space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `192.0.2.0/24`, `2001:db8::/32` or a single address.
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, BadNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| {
            BadNetwork::new(
                format!("`{text}` is not a network"),
                "write an address and a prefix length, like \"192.0.2.0/24\" or \"2001:db8::/32\"",
            )
        })?;
        let width = if written.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(p) => parse_prefix(p, width).ok_or_else(|| {
                BadNetwork::new(
                    format!("`/{p}` is not a prefix length of `{address}`"),
                    format!("write a number from 1 to {width} after the slash"),
                )
            })?,
        };
        Self::checked(written, prefix, width)
    }

    fn checked(written: IpAddr, prefix: u8, width: u8) -> Result<Self, BadNetwork> {
        if prefix == 0 {
            return Err(BadNetwork::new(
                format!("`{written}/0` is every address there is"),
                "name the networks that are yours, like \"192.0.2.0/24\"",
            ));
        }
        let base = mask(written, prefix);
        if base != written {
            return Err(BadNetwork::new(
                format!("`{written}/{prefix}` has host bits set"),
                format!(
                    "write \"{base}/{prefix}\" (the network) or \"{written}/{width}\" (the host)"
                ),
            ));
        }
        let mapped_all = Network { base, prefix }.covers_mapped();
        match (base, base.to_canonical()) {
            (IpAddr::V6(_), v4 @ IpAddr::V4(_)) if prefix > 96 => Ok(Network {
                base: v4,
                prefix: prefix - 96,
            }),
            _ if mapped_all => Err(BadNetwork::new(
                format!("`{base}/{prefix}` covers every IPv4 address in mapped form"),
                "name the IPv4 networks that are yours, like \"192.0.2.0/24\"",
            )),
            _ => Ok(Network { base, prefix }),
        }
    }

    /// Whether it holds all of `::ffff:0:0/96`.
    fn covers_mapped(self) -> bool {
        let mapped = IpAddr::V6(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped());
        self.base.is_ipv6() && self.prefix <= 96 && mask(mapped, self.prefix) == self.base
    }

    /// Whether `address` is in it; an address mapped from IPv4 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.base.is_ipv4() && mask(address, self.prefix) == self.base
    }

    /// Its prefix length.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether it is larger than anything one organisation can answer for: shorter than /8 (IPv4)
    /// or /16 (IPv6), and not private.
    #[must_use]
    pub fn is_vast(&self) -> bool {
        self.prefix < if self.base.is_ipv4() { 8 } else { 16 } && !self.is_private()
    }

    /// Whether it is public and so large that few organisations own all of it: shorter than /16
    /// (IPv4) or /32 (IPv6).
    #[must_use]
    pub fn is_wide(&self) -> bool {
        self.prefix < if self.base.is_ipv4() { 16 } else { 32 } && !self.is_private()
    }

    /// Whether it is a whole range of private addresses: nobody's own network is so large, and
    /// behind a gateway (Docker's, for one) all the world comes from one of its addresses.
    #[must_use]
    pub fn is_whole_private(&self) -> bool {
        let four = |a, b| IpAddr::V4(Ipv4Addr::new(a, b, 0, 0));
        let six = |a| IpAddr::V6(Ipv6Addr::new(a, 0, 0, 0, 0, 0, 0, 0));
        let ranges = [
            (four(10, 0), 8),
            (four(172, 16), 12),
            (four(192, 168), 16),
            (four(100, 64), 10),
            (four(169, 254), 16),
            (six(0xfc00), 7),
            (six(0xfd00), 8),
            (six(0xfe80), 10),
        ];
        let within = |(base, prefix)| self.base == base && self.prefix <= prefix;
        ranges.into_iter().any(within)
    }

    /// Whether all of it is loopback, link-local or private (RFC 1918, RFC 6598, RFC 4193).
    fn is_private(&self) -> bool {
        let within =
            |base: IpAddr, prefix| self.prefix >= prefix && mask(self.base, prefix) == base;
        let four = |a, b, prefix| within(IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), prefix);
        let six = |a, prefix| within(IpAddr::V6(Ipv6Addr::new(a, 0, 0, 0, 0, 0, 0, 0)), prefix);
        match self.base {
            IpAddr::V4(_) => {
                four(10, 0, 8)
                    || four(127, 0, 8)
                    || four(172, 16, 12)
                    || four(192, 168, 16)
                    || four(100, 64, 10)
                    || four(169, 254, 16)
            }
            IpAddr::V6(_) => {
                six(0xfc00, 7) || six(0xfe80, 10) || self.base.is_loopback() && self.prefix == 128
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// Networks; an address is in the list when one of them holds it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// Those of this host alone.
    #[must_use]
    pub fn loopback() -> Self {
        let four = Network {
            base: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)),
            prefix: 8,
        };
        let six = Network {
            base: IpAddr::V6(Ipv6Addr::LOCALHOST),
            prefix: 128,
        };
        Networks(vec![four, six])
    }

    /// Whether one of them holds `address`.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|n| n.contains(address))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Networks(networks.into_iter().collect())
    }
}

/// Why a text is no network, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadNetwork {
    /// What is wrong.
    pub cause: String,
    /// What to write instead.
    pub fix: String,
}

impl BadNetwork {
    fn new(cause: impl Into<String>, fix: impl Into<String>) -> Self {
        BadNetwork {
            cause: cause.into(),
            fix: fix.into(),
        }
    }
}

fn parse_prefix(text: &str, width: u8) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|p| digits && *p <= width)
}

fn mask(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(a) => {
            let ones = u32::MAX
                .checked_shl(32_u32.saturating_sub(prefix))
                .unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & ones))
        }
        IpAddr::V6(a) => {
            let ones = u128::MAX
                .checked_shl(128_u32.saturating_sub(prefix))
                .unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & ones))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::Network;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let net = Network::parse("192.0.2.128/25").unwrap();
        assert!(net.contains(ip("192.0.2.128")) && net.contains(ip("192.0.2.255")));
        assert!(!net.contains(ip("192.0.2.127")) && !net.contains(ip("2001:db8::1")));
        let six = Network::parse("2001:db8::/33").unwrap();
        assert!(six.contains(ip("2001:db8:7fff::1")) && !six.contains(ip("2001:db8:8000::1")));
        assert!(Network::parse("::1").unwrap().contains(ip("::1")));
    }

    #[test]
    fn addresses_mapped_from_ipv4_count_as_ipv4_on_both_sides() {
        let net = Network::parse("10.0.0.0/8").unwrap();
        assert!(net.contains(ip("::ffff:10.1.2.3")));
        let mapped = Network::parse("::ffff:10.0.0.0/104").unwrap();
        assert_eq!(mapped, net);
        assert!(mapped.contains(ip("10.9.9.9")));
    }

    #[test]
    fn every_form_of_the_whole_address_space_is_refused() {
        for all in ["0.0.0.0/0", "::/0", "::ffff:0:0/96", "::/64", "::/1"] {
            assert!(Network::parse(all).is_err(), "{all}");
        }
    }

    #[test]
    fn whole_private_ranges_are_told_from_networks_in_them() {
        for whole in [
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "fd00::/8",
            "fc00::/7",
        ] {
            assert!(Network::parse(whole).unwrap().is_whole_private(), "{whole}");
        }
        for part in [
            "10.0.0.0/16",
            "172.17.0.1",
            "192.168.1.0/24",
            "fd00:1::/64",
            "192.0.2.1",
        ] {
            assert!(!Network::parse(part).unwrap().is_whole_private(), "{part}");
        }
    }

    #[test]
    fn host_bits_are_refused_with_both_readings_offered() {
        let bad = Network::parse("192.0.2.7/24").unwrap_err();
        assert!(bad.fix.contains("192.0.2.0/24") && bad.fix.contains("192.0.2.7/32"));
    }

    #[test]
    fn odd_spellings_are_refused() {
        for odd in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10/8",
            "::1/129",
            "localhost",
        ] {
            assert!(Network::parse(odd).is_err(), "{odd}");
        }
    }
}
