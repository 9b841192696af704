//! Whether somebody else's mailbox wants the reports of a domain (RFC 9990 §4, RFC 9991 §5).

use posthaste_smtp::address::{Domain, Mailbox};
use posthaste_world::Dns;
use posthaste_world::dns::{Data, Failure, Kind};

use crate::dmarc::{Record, ReportUri, organizational_domain};
use crate::name;

/// Which reports are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reports {
    /// `rua`.
    Aggregate,
    /// `ruf`.
    Failure,
}

/// What came of the question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Send to these: the mailbox itself, or those of the same host that its owner names instead.
    Yes(Vec<Mailbox>),
    /// Never send to it; the text says why.
    No(String),
    /// It could not be looked up now; the text says what.
    Later(String),
}

/// Asks whether `mailbox` wants reports of the record that was found at `policy_domain`, a name in
/// A-labels.
pub async fn wanted(
    dns: &dyn Dns,
    policy_domain: &str,
    mailbox: &Mailbox,
    reports: Reports,
) -> Wanted {
    let Some(host) = host(mailbox) else {
        return Wanted::No(format!("{mailbox} has no domain that can be asked for"));
    };
    let own = organizational_domain(dns, policy_domain).await;
    let theirs = organizational_domain(dns, &host).await;
    match (own, theirs) {
        (Ok(own), Ok(theirs)) if own == theirs => return Wanted::Yes(vec![mailbox.clone()]),
        (Ok(_), Ok(_)) => {}
        (Err(failed), _) | (_, Err(failed)) => return Wanted::Later(failed),
    }
    let asked = format!("{policy_domain}._report._dmarc.{host}");
    if name::ascii(&asked).is_none() {
        return Wanted::No(format!("{asked} is too long a name to be asked for"));
    }
    let answer = match dns.query(&asked, Kind::Txt).await {
        Ok(answer) => answer,
        Err(Failure::BadName(_)) => {
            return Wanted::No(format!("{asked} is no name that can be asked for"));
        }
        Err(failure) => return Wanted::Later(format!("{asked} could not be looked up: {failure}")),
    };
    let records = answer.records().iter().filter_map(|data| match data {
        Data::Txt(text) => Record::parse(text),
        _ => None,
    });
    let records: Vec<Record> = records.collect();
    if records.is_empty() {
        return Wanted::No(format!(
            "{asked} has no record, so {host} does not want the reports"
        ));
    }
    let named = records.into_iter().map(|record| match reports {
        Reports::Aggregate => record.aggregate,
        Reports::Failure => record.failure,
    });
    instead(named.flatten().collect(), mailbox, &host)
}

/// What the owner of the destination names instead; it must be of the same host.
fn instead(named: Vec<ReportUri>, mailbox: &Mailbox, own: &str) -> Wanted {
    let mut mailboxes = Vec::new();
    for uri in named {
        match uri.mailbox() {
            Some(other) if host(other).as_deref() == Some(own) => mailboxes.push(other.clone()),
            _ => {
                let why = format!("{own} sends the reports on to {uri}, which is another host");
                return Wanted::No(why);
            }
        }
    }
    if mailboxes.is_empty() {
        mailboxes.push(mailbox.clone());
    }
    Wanted::Yes(mailboxes)
}

fn host(mailbox: &Mailbox) -> Option<String> {
    match mailbox.domain() {
        Domain::Name(domain) => name::ascii(domain.as_str()),
        Domain::Literal(_) => None,
    }
}
