//! SPF: may this host send for that domain? (RFC 7208)
//!
//! [`check_helo`] and [`check_mail_from`] evaluate one identity each, through the DNS door, within
//! the limits of RFC 7208 §4.6.4: ten terms that ask, two look-ups that find nothing, ten names of
//! an `mx` or `ptr`, over the whole check with everything it includes or is redirected to.
//! [`record`] is the grammar, `macros` the macro strings, `evaluate` check_host() itself.
//!
//! Every verdict carries its reason, and what led to it term by term ([`Checked::trace`]); both are
//! one-line printable ASCII whatever the records and the peer say, and so is an explanation.
//!
//! The caller caps the time of a check by dropping it. This module does **not** decide what a
//! verdict means for the message, and does not cache: the door does.

mod evaluate;
mod field;
mod macros;
pub mod record;

use std::net::IpAddr;

use posthaste_smtp::reply::EnhancedCode;
use posthaste_world::Dns;

use crate::{Verdict, name};
use evaluate::Check;
pub use macros::MacroString;

/// Who connected to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client<'a> {
    /// Its address; an IPv4 address mapped into IPv6 counts as IPv4 (RFC 7208 §5).
    pub ip: IpAddr,
    /// What it said in HELO or EHLO.
    pub helo: &'a str,
    /// Our name, for explanations.
    pub receiver: &'a str,
    /// Now, in seconds since 1970, for explanations.
    pub now_s: u64,
}

/// What was checked (RFC 7208 §2.3, §2.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Identity {
    /// The name in HELO or EHLO.
    Helo,
    /// The reverse-path; when that is null, postmaster at the name in HELO.
    MailFrom,
}

/// A verdict on one identity, with all that explains it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    /// What was checked.
    pub identity: Identity,
    /// The domain whose record was asked for, in A-labels; as it was given, when it is not one.
    pub domain: String,
    /// What was found.
    pub verdict: Verdict,
    /// Why, in one line.
    pub reason: String,
    /// What the domain's owner says about a `fail` (RFC 7208 §6.2). **Not** to be trusted.
    pub explanation: Option<String>,
    /// The terms in the order of their evaluation, one line each.
    pub trace: Vec<String>,
}

impl Checked {
    /// The enhanced status code of a refusal for this verdict (RFC 7372 §3.2); `None` when there is
    /// nothing to refuse.
    #[must_use]
    pub fn refusal_code(&self) -> Option<EnhancedCode> {
        let (class, detail) = match self.verdict {
            Verdict::Fail => (5, 23),
            Verdict::Temperror => (4, 24),
            Verdict::Permerror => (5, 24),
            _ => return None,
        };
        Some(EnhancedCode {
            class,
            subject: 7,
            detail,
        })
    }
}

/// Checks the name in HELO or EHLO (RFC 7208 §2.3). An address literal, or a name without a dot, is
/// `none`.
pub async fn check_helo(dns: &dyn Dns, client: &Client<'_>) -> Checked {
    let sender = Sender::new("postmaster", client.helo);
    check(dns, client, Identity::Helo, sender).await
}

/// Checks the reverse-path (RFC 7208 §2.4), given without angle brackets and empty when it is null.
pub async fn check_mail_from(dns: &dyn Dns, client: &Client<'_>, reverse_path: &str) -> Checked {
    let sender = match reverse_path.rsplit_once('@') {
        _ if reverse_path.is_empty() => Sender::new("postmaster", client.helo),
        Some(("", domain)) => Sender::new("postmaster", domain),
        Some((local_part, domain)) => Sender::new(local_part, domain),
        None => Sender::new("postmaster", reverse_path),
    };
    check(dns, client, Identity::MailFrom, sender).await
}

/// `<sender>` of check_host() (RFC 7208 §4.1).
struct Sender {
    local_part: String,
    /// As given, without a final dot.
    domain: String,
    /// What can be asked for.
    name: Option<String>,
}

impl Sender {
    fn new(local_part: &str, domain: &str) -> Sender {
        Sender {
            local_part: local_part.to_owned(),
            domain: domain.strip_suffix('.').unwrap_or(domain).to_owned(),
            name: name::ascii(domain).filter(|name| name.contains('.')),
        }
    }
}

async fn check(dns: &dyn Dns, client: &Client<'_>, identity: Identity, sender: Sender) -> Checked {
    let Some(domain) = sender.name.clone() else {
        return Checked {
            identity,
            domain: printable(&sender.domain, 255),
            verdict: Verdict::None,
            reason: "the domain is not a name with a dot that can be asked for".to_owned(),
            explanation: None,
            trace: Vec::new(),
        };
    };
    let mut check = Check::new(dns, client, &sender, &domain);
    let decision = check.run().await;
    let explanation = match &decision.explanation {
        Some(text) if decision.verdict == Verdict::Fail => check.explain(text).await,
        _ => None,
    };
    Checked {
        identity,
        verdict: decision.verdict,
        reason: decision.reason,
        explanation,
        trace: check.into_trace(),
        domain,
    }
}

/// Text that others chose, as it may be shown: cut at `most` characters, one line of printable
/// ASCII.
fn printable(text: &str, most: usize) -> String {
    let keep = |c: char| {
        if c == ' ' || c.is_ascii_graphic() {
            c
        } else {
            '?'
        }
    };
    text.chars().take(most).map(keep).collect()
}
