//! Who may send for the domain: SPF, DKIM, DMARC.

use std::net::{IpAddr, Ipv4Addr};

use posthaste_mailauth::dkim::Publication;
use posthaste_mailauth::dmarc::{Record as Dmarc, ReportUri};
use posthaste_mailauth::report::external::{self, Reports, Wanted};
use posthaste_mailauth::spf::{self, Client};
use posthaste_mailauth::{Verdict, dmarc};
use posthaste_world::Dns;
use posthaste_world::dns::Kind;

use super::{Finding, Need, State, begins, look, only_text};
use crate::dns::plan::{Plan, Record};
use crate::sign::keys::SigningKey;
use crate::sign::stage::Stage;

/// An address that nobody may send from (RFC 5737).
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Octets that a record of SPF should not exceed, so that it fits an answer of 512 octets with what
/// stands around it (RFC 7208 §3.4).
const SPF_OCTETS: usize = 450;

/// `ours` are the addresses that our name has.
pub(super) async fn examine(dns: &dyn Dns, plan: &Plan<'_>, ours: &[IpAddr]) -> Vec<Finding> {
    let mut findings = vec![spf_of(dns, plan.domain, ("v=spf1 mx -all", ours)).await];
    if plan.hostname != plan.domain {
        let mut host = spf_of(dns, plan.hostname, ("v=spf1 a -all", ours)).await;
        host.need = Need::Recommended;
        host.remark("for reports, which have no other sender than the name of the host");
        findings.push(host);
    }
    findings.extend(keys(dns, plan).await);
    findings.push(policy(dns, plan).await);
    findings
}

/// SPF lets every address of ours send, and nobody else.
async fn spf_of(dns: &dyn Dns, domain: &str, (text, ours): (&str, &[IpAddr])) -> Finding {
    let finding = Finding::new(Record::txt(domain.to_owned(), text), Need::Required);
    let (mut finding, record) = match only_text(dns, finding, spf::record::is_record).await {
        Ok(found) => found,
        Err(finding) => return finding,
    };
    if record.len() > SPF_OCTETS {
        finding.remark(format!(
            "it is {} octets long: above {SPF_OCTETS} some receivers see a part of it",
            record.len()
        ));
    }
    for ip in ours {
        let (verdict, reason) = may_send(dns, domain, *ip).await;
        match verdict {
            Verdict::Pass => {}
            Verdict::Temperror => return finding.is(State::Unknown, reason),
            other => {
                let why = format!("mail from {ip} gets {}: {reason}", other.word());
                return finding.is(State::Wrong, why);
            }
        }
    }
    if ours.is_empty() {
        let why = "whether it lets us send was not checked: our name has no address";
        return finding.is(State::Unknown, why);
    }
    match may_send(dns, domain, NOBODY).await {
        (Verdict::Pass, reason) => {
            let why = format!("it lets everybody send: {NOBODY} gets pass: {reason}");
            finding.is(State::Wrong, why)
        }
        (Verdict::Neutral | Verdict::None, _) => {
            finding.remark("it says nothing of other senders: end it with -all or ~all");
            finding
        }
        _ => finding,
    }
}

async fn may_send(dns: &dyn Dns, domain: &str, ip: IpAddr) -> (Verdict, String) {
    let client = Client {
        ip,
        helo: domain,
        receiver: domain,
        now_s: 0,
    };
    let path = format!("postmaster@{domain}");
    let checked = spf::check_mail_from(dns, &client, &path).await;
    (checked.verdict, checked.reason)
}

async fn keys(dns: &dyn Dns, plan: &Plan<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for key in plan.keys.of(plan.domain) {
        findings.push(key_of(dns, plan.domain, key).await);
    }
    if findings.is_empty() {
        let record = Record::unknown(format!("*._domainkey.{}", plan.domain), "TXT");
        let why = "mail is not signed: run `posthaste dkim generate`";
        let mut finding = Finding::new(record, Need::Recommended).missing();
        finding.remark(why);
        findings.push(finding);
    }
    for entry in &plan.retired {
        let gone = Record::unknown(entry.name(), "TXT");
        let mut finding = Finding::new(gone, Need::Optional);
        finding.remark("the record of a retired key: it may be removed");
        findings.push(finding);
    }
    findings
}

async fn key_of(dns: &dyn Dns, domain: &str, key: &SigningKey) -> Finding {
    let name = key.name(domain);
    let record = Record::txt(name.clone(), key.key.public_record());
    let mut finding = Finding::new(record, Need::Required);
    match key.standing.stage {
        Stage::Published { .. } => finding.remark("a new key, which signs when this is right"),
        Stage::Retiring => finding.remark("an old key: what it signed is still under way"),
        Stage::Active | Stage::Retired => {}
    }
    if let Ok(there) = look(dns, &name, Kind::Txt).await {
        finding.alias(&there.canonical);
    }
    match Publication::of(dns, &name, &key.key).await {
        Publication::Right => finding,
        Publication::Missing => finding.missing(),
        Publication::Wrong(why) => finding.is(State::Wrong, why),
        Publication::Unknown(why) => finding.is(State::Unknown, why),
    }
}

/// The policy for mail in the domain's name that nobody stands behind.
async fn policy(dns: &dyn Dns, plan: &Plan<'_>) -> Finding {
    let name = format!("_dmarc.{}", plan.domain);
    let text = format!("v=DMARC1; p=quarantine; rua=mailto:{}", plan.reports_to);
    let finding = Finding::new(Record::txt(name, text), Need::Required);
    match only_text(dns, finding, begins("v=DMARC1")).await {
        Ok((finding, text)) => match Dmarc::parse(&text) {
            None => finding.is(State::Wrong, "it is no record of DMARC"),
            Some(record) => read(dns, plan.domain, (finding, &record)).await,
        },
        Err(mut finding) => {
            if finding.state == State::Missing
                && let Some(above) = covered(dns, plan.domain).await
            {
                finding.remark(format!("the record of {above} stands in for it"));
            }
            finding
        }
    }
}

async fn read(dns: &dyn Dns, domain: &str, (mut finding, record): (Finding, &Dmarc)) -> Finding {
    if record.policy.is_none() {
        let why = "it has no `p` that is valid: it asks for nothing";
        return finding.is(State::Wrong, why);
    }
    if let Some(fault) = record.faults.first() {
        return finding.is(State::Wrong, fault.clone());
    }
    if record.policy == Some(dmarc::Policy::None) {
        finding.remark("p=none: receivers do nothing about mail that is not yours");
    }
    if record.testing {
        finding.remark("t=y: receivers do less than it says");
    }
    for uri in &record.aggregate {
        let ReportUri::Mail(mailbox) = uri else {
            finding.remark(format!("nobody can send reports to {uri}"));
            continue;
        };
        match external::wanted(dns, domain, mailbox, Reports::Aggregate).await {
            Wanted::Yes(_) => {}
            Wanted::No(why) => {
                let why = format!("reports to {mailbox} are not sent: {why}");
                return finding.is(State::Wrong, why);
            }
            Wanted::Later(why) => {
                finding.remark(format!(
                    "whether {mailbox} takes the reports: unknown: {why}"
                ));
            }
        }
    }
    finding
}

/// The domain above whose policy holds here (RFC 9989 §4.10).
async fn covered(dns: &dyn Dns, domain: &str) -> Option<String> {
    let from = format!("From: a@{domain}\r\n");
    let authors = dmarc::Authors::of_header(from.as_bytes());
    let checked = dmarc::check(dns, &authors, &dmarc::Facts::default()).await;
    checked.policy_domain.filter(|above| above != domain)
}
