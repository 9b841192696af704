//! Where mail comes to, and who we are: MX, addresses, and the names of the addresses.

use std::net::IpAddr;

use posthaste_world::Dns;
use posthaste_world::dns::{Data, Failure, Kind};

use super::{Finding, Need, State, look};
use crate::dns::authoritative::address;
use crate::dns::plan::{Plan, Record};

/// Addresses of our name that are looked at.
const ADDRESSES_MAX: usize = 16;

/// The findings, and the addresses that our name has.
pub(super) async fn examine(dns: &dyn Dns, plan: &Plan<'_>) -> (Vec<Finding>, Vec<IpAddr>) {
    let mut findings = vec![mx(dns, plan).await];
    let (host, addresses) = host(dns, plan).await;
    findings.extend(host);
    for ip in &addresses {
        findings.push(pointer(dns, plan, *ip).await);
    }
    (findings, addresses)
}

async fn mx(dns: &dyn Dns, plan: &Plan<'_>) -> Finding {
    let data = format!("10 {}.", plan.hostname);
    let record = Record::new(plan.domain.to_owned(), "MX", data);
    let mut finding = Finding::new(record, Need::Required);
    let there = match look(dns, plan.domain, Kind::Mx).await {
        Ok(there) => there,
        Err(failure) => return finding.unknown(&failure),
    };
    let mut hosts: Vec<(u16, &str)> = there
        .records
        .iter()
        .filter_map(|data| match data {
            Data::Mx {
                preference,
                exchange,
            } => Some((*preference, &**exchange)),
            _ => None,
        })
        .collect();
    hosts.sort_unstable();
    if hosts.is_empty() {
        return finding.missing();
    }
    if hosts.iter().any(|(_, host)| host.is_empty()) {
        let why = "a null MX (RFC 7505): the domain says that it takes no mail";
        return finding.is(State::Wrong, why);
    }
    let Some((ours, _)) = hosts.iter().find(|(_, host)| *host == plan.hostname) else {
        let names: Vec<_> = hosts.iter().map(|(_, host)| *host).collect();
        let why = format!("mail goes to {}, and not to us", names.join(", "));
        return finding.is(State::Wrong, why);
    };
    if hosts.iter().any(|(preference, _)| preference < ours) {
        finding.remark("we are not the first: mail comes here when the others do not answer");
    }
    for (preference, host) in hosts.iter().filter(|(_, h)| *h != plan.hostname) {
        finding.remark(format!(
            "mail also goes to {host} (preference {preference})"
        ));
    }
    finding
}

/// The addresses of our name.
async fn host(dns: &dyn Dns, plan: &Plan<'_>) -> (Vec<Finding>, Vec<IpAddr>) {
    let name = plan.hostname;
    let kind_of = |ip: &IpAddr| if ip.is_ipv4() { "A" } else { "AAAA" };
    let planned: Vec<Record> = match plan.addresses.is_empty() {
        true => vec![Record::unknown(name.to_owned(), "A")],
        false => plan
            .addresses
            .iter()
            .map(|ip| Record::new(name.to_owned(), kind_of(ip), ip.to_string()))
            .collect(),
    };
    let (mut found, mut failure): (Vec<IpAddr>, Option<Failure>) = (Vec::new(), None);
    let mut alias = None;
    for kind in [Kind::A, Kind::Aaaa] {
        match look(dns, name, kind).await {
            Ok(there) => {
                found.extend(there.records.iter().filter_map(address));
                if there.canonical != name {
                    alias = Some(there.canonical);
                }
            }
            Err(why) => failure = Some(why),
        }
    }
    found.truncate(ADDRESSES_MAX);
    let findings = planned.into_iter().map(|record| {
        let wanted: Option<IpAddr> = record.data.as_ref().and_then(|d| d.parse().ok());
        let mut finding = Finding::new(record, Need::Required);
        if let Some(alias) = &alias {
            let why = format!("it is an alias (CNAME) of {alias}, which MX must not lead to");
            return finding.is(State::Wrong, format!("{why} (RFC 2181, section 10.3)"));
        }
        match (wanted, &failure) {
            (Some(ip), _) if found.contains(&ip) => finding,
            (_, Some(failure)) => finding.unknown(failure),
            _ if found.is_empty() => finding.missing(),
            (Some(_), None) => {
                let why = format!("{name} has {} instead", list(&found));
                finding.is(State::Wrong, why)
            }
            (None, None) => {
                finding.remark(format!(
                    "{}: whether these are this machine's was not checked, since the listeners \
                     name no address",
                    list(&found)
                ));
                finding
            }
        }
    });
    (findings.collect(), found.clone())
}

fn list(addresses: &[IpAddr]) -> String {
    let addresses: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
    addresses.join(", ")
}

/// The name of one of our addresses, which must lead back (RFC 1912 §2.1).
async fn pointer(dns: &dyn Dns, plan: &Plan<'_>, ip: IpAddr) -> Finding {
    let name = reverse(ip);
    let record = Record::new(name.clone(), "PTR", format!("{}.", plan.hostname));
    let mut finding = Finding::new(record, Need::Required);
    finding.remark(format!(
        "the name of {ip}; whoever gave you the address sets it"
    ));
    let there = match look(dns, &name, Kind::Ptr).await {
        Ok(there) => there,
        Err(failure) => return finding.unknown(&failure),
    };
    let names: Vec<&str> = there
        .records
        .iter()
        .filter_map(|data| match data {
            Data::Ptr(name) => Some(&**name),
            _ => None,
        })
        .collect();
    match names.as_slice() {
        [] => finding.missing(),
        names if names.contains(&plan.hostname) => {
            if names.len() > 1 {
                finding.remark("it has other names, too, and receivers may see any of them");
            }
            finding
        }
        names => {
            let why = format!("{ip} is called {}", names.join(", "));
            finding.is(State::Wrong, why)
        }
    }
}

/// The name at which an address's name stands (RFC 1035 §3.5, RFC 3596 §2.5).
fn reverse(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().rev();
            let nibbles = nibbles.flat_map(|octet| [octet & 0xf, octet >> 4]);
            let labels: String = nibbles.map(|nibble| format!("{nibble:x}.")).collect();
            format!("{labels}ip6.arpa")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::reverse;

    #[test]
    fn addresses_are_asked_for_backwards() {
        let name = |ip: &str| reverse(ip.parse().unwrap());
        assert_eq!(name("192.0.2.7"), "7.2.0.192.in-addr.arpa");
        assert_eq!(
            name("2001:db8::567:89ab"),
            "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
    }
}
