//! How others may secure their way to us: MTA-STS, TLS reports, DANE.

use posthaste_world::Dns;
use posthaste_world::dns::{Data, Kind, Security};

use super::{Finding, Need, State, begins, look, only_text, tag};
use crate::dns::plan::{Plan, Record};

/// Longest id of a policy (RFC 8461 §3.1).
const ID_MAX: usize = 32;

pub(super) async fn examine(dns: &dyn Dns, resolver: &dyn Dns, plan: &Plan<'_>) -> Vec<Finding> {
    let mut findings = vec![reports(dns, plan).await, policy(dns, plan).await];
    findings.push(associations(dns, resolver, plan).await);
    findings
}

/// Where others report TLS that failed (RFC 8460 §3).
async fn reports(dns: &dyn Dns, plan: &Plan<'_>) -> Finding {
    let name = format!("_smtp._tls.{}", plan.domain);
    let text = format!("v=TLSRPTv1; rua=mailto:{}", plan.reports_to);
    let finding = Finding::new(Record::txt(name, text), Need::Optional);
    let (finding, text) = match only_text(dns, finding, begins("v=TLSRPTv1")).await {
        Ok(found) => found,
        Err(finding) => return finding,
    };
    let text = String::from_utf8_lossy(&text);
    match tag(&text, "rua") {
        Some(uris) if uris.split(',').all(is_report_uri) => finding,
        _ => finding.is(State::Wrong, "its `rua` names no mailto: or https: address"),
    }
}

fn is_report_uri(uri: &str) -> bool {
    let uri = uri.trim();
    let mail = uri.strip_prefix("mailto:").is_some_and(|m| m.contains('@'));
    mail || uri.strip_prefix("https://").is_some_and(|h| !h.is_empty())
}

/// Whether others may insist on TLS (RFC 8461 §3.1). The policy itself is a file on a web server.
async fn policy(dns: &dyn Dns, plan: &Plan<'_>) -> Finding {
    let name = format!("_mta-sts.{}", plan.domain);
    let text = format!("v=STSv1; id={}", plan.id);
    let mut finding = Finding::new(Record::txt(name, text), Need::Optional);
    finding.remark(format!(
        "only with a policy at https://mta-sts.{}/.well-known/mta-sts.txt, which was not checked",
        plan.domain
    ));
    let (finding, text) = match only_text(dns, finding, begins("v=STSv1")).await {
        Ok(found) => found,
        Err(finding) => return finding,
    };
    let fits = |id: &str| {
        (1..=ID_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    match tag(&String::from_utf8_lossy(&text), "id") {
        Some(id) if fits(id) => policy_host(dns, plan.domain, finding).await,
        _ => finding.is(State::Wrong, "its `id` is not 1 to 32 letters and digits"),
    }
}

/// The web server of the policy must at least have an address.
async fn policy_host(dns: &dyn Dns, domain: &str, mut finding: Finding) -> Finding {
    let host = format!("mta-sts.{domain}");
    for kind in [Kind::A, Kind::Aaaa] {
        match look(dns, &host, kind).await {
            Ok(there) if !there.records.is_empty() => return finding,
            Ok(_) => {}
            Err(failure) => {
                finding.remark(format!("{host}: {failure}"));
                return finding;
            }
        }
    }
    finding.is(
        State::Wrong,
        format!("{host} has no address, so nobody finds the policy"),
    )
}

/// The key of our certificate, for senders that trust DNSSEC (RFC 7672 §3.1.1).
async fn associations(dns: &dyn Dns, resolver: &dyn Dns, plan: &Plan<'_>) -> Finding {
    let name = format!("_25._tcp.{}", plan.hostname);
    let record = match &plan.key_digest {
        Ok(digest) => Record::new(name.clone(), "TLSA", format!("3 1 1 {}", hex(digest))),
        Err(_) => Record::unknown(name.clone(), "TLSA"),
    };
    let mut finding = Finding::new(record, Need::Optional);
    let there = match look(dns, &name, Kind::Tlsa).await {
        Ok(there) => there,
        Err(failure) => return finding.unknown(&failure),
    };
    finding.alias(&there.canonical);
    if there.records.is_empty() {
        finding.remark("of use only where the zone is signed (DNSSEC)");
        return finding.missing();
    }
    let digest = match &plan.key_digest {
        Ok(digest) => digest,
        Err(why) => {
            let why = format!("whether it fits our certificate was not checked: {why}");
            return finding.is(State::Unknown, why);
        }
    };
    // The kind of record that we publish: the public key itself, without its issuers.
    let keys: Vec<&Vec<u8>> = there.records.iter().filter_map(key).collect();
    if !keys.contains(&digest) {
        return match keys.len() == there.records.len() {
            true => finding.is(
                State::Wrong,
                "it is of another key: servers that check it do not deliver to us",
            ),
            false => finding.is(
                State::Unknown,
                "there are only kinds of records that are not checked here (3 1 1 is)",
            ),
        };
    }
    match look(resolver, &name, Kind::Tlsa).await.map(|t| t.security) {
        Ok(Security::Secure) => finding,
        _ => {
            let why = "it fits, but nobody we trust says that the zone is signed (DNSSEC): without \
                       that it is ignored";
            finding.is(State::Unknown, why)
        }
    }
}

/// The digest of a record of usage 3, selector 1 and matching type 1.
fn key(record: &Data) -> Option<&Vec<u8>> {
    match record {
        Data::Tlsa {
            usage: 3,
            selector: 1,
            matching: 1,
            data,
        } => Some(data),
        _ => None,
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
