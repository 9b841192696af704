//! DMARC: does the author domain stand behind a message, and what if it does not? (RFC 9989)
//!
//! [`Authors`] finds the author domain, [`check`] finds the policy that applies to it and whether
//! an authenticated identifier is aligned with it, [`Checked::decide`] what is to be done. `record`
//! is the grammar of what domains publish, `tree` the walk that finds it, `uri` where reports go.
//!
//! A message whose author is not certain (no From field, several, a malformed one, several domains)
//! cannot be validated: its verdict is a permanent error, never a pass, and the strictest policy of
//! the domains it names applies (RFC 9989 §11.5).
//!
//! This module does **not** check SPF or DKIM: what passed is told to it. It does not act.

mod decision;
mod from;
pub mod record;
mod tree;
mod uri;

use posthaste_world::Dns;

use crate::{Verdict, name};
pub use decision::{Decision, Local, Override, OverrideKind};
pub use from::{Authors, DOMAINS_MAX};
pub use record::{Alignment, Policy, Record};
use tree::{Published, Walk, Walker};
pub use uri::{ReportUri, URIS_MAX};

/// Signatures whose domains are compared; more are not looked at.
const SIGNATURES_MAX: usize = 20;

/// What was authenticated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts<'a> {
    /// The domain of the MAIL FROM identity, if SPF passed for it (RFC 9989 §4.4.2).
    pub spf: Option<&'a str>,
    /// The `d=` of each signature that passed and covers the whole body (RFC 9989 §4.4.1).
    pub dkim: &'a [&'a str],
    /// The domains for which SPF or a signature could not be checked for now. A message that one of
    /// them might have let pass has not failed, but is undecided.
    pub undecided: &'a [&'a str],
}

/// A verdict on a message, with all that explains it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    /// The author domain in A-labels; the first one, when there are several.
    pub domain: Option<String>,
    /// Its organizational domain (RFC 9989 §4.10.2).
    pub organizational_domain: Option<String>,
    /// Where the record that applies was found.
    pub policy_domain: Option<String>,
    /// `none`: no record applies. `pass`, `fail`. `temperror`: something could not be looked up.
    /// `permerror`: the author is not certain.
    pub verdict: Verdict,
    /// What the owner wants done with mail that fails, before test mode.
    pub policy: Policy,
    /// The owner is only testing (`t=y`).
    pub testing: bool,
    /// An aligned SPF pass.
    pub spf_aligned: bool,
    /// The domain of an aligned signature.
    pub dkim_aligned: Option<String>,
    /// The record that applies.
    pub record: Option<Record>,
    /// Why, in one line of printable ASCII.
    pub reason: String,
    /// What was looked up and compared, one line each.
    pub trace: Vec<String>,
}

impl Checked {
    pub(crate) fn new(verdict: Verdict, domain: Option<&str>, reason: String) -> Checked {
        Checked {
            domain: domain.map(str::to_owned),
            organizational_domain: None,
            policy_domain: None,
            verdict,
            policy: Policy::None,
            testing: false,
            spf_aligned: false,
            dkim_aligned: None,
            record: None,
            reason,
            trace: Vec::new(),
        }
    }

    /// What the owner of the domain asks for with this verdict, test mode included
    /// (RFC 9989 §4.7, tag `t`).
    #[must_use]
    pub fn requested(&self) -> Policy {
        match (self.verdict, self.testing) {
            (Verdict::Fail | Verdict::Permerror, false) => self.policy,
            (Verdict::Fail | Verdict::Permerror, true) => self.policy.milder(),
            _ => Policy::None,
        }
    }
}

/// Checks a message by its authors and by what was authenticated.
pub async fn check(dns: &dyn Dns, authors: &Authors, facts: &Facts<'_>) -> Checked {
    let mut walker = Walker::new(dns);
    let mut checked = match authors.domain() {
        Some(domain) => check_domain(&mut walker, domain, facts).await,
        None => uncertain(&mut walker, authors).await,
    };
    checked.trace.splice(..0, walker.trace);
    checked
}

/// The organizational domain of a name in A-labels (RFC 9989 §4.10.2). `Err` says what could not be
/// looked up.
pub(crate) async fn organizational_domain(dns: &dyn Dns, domain: &str) -> Result<String, String> {
    let walk = Walker::new(dns).walk(domain).await;
    match walk.failed {
        Some(failed) => Err(failed),
        None => Ok(walk.organizational(domain).to_owned()),
    }
}

/// The verdict where the author is not certain.
async fn uncertain(walker: &mut Walker<'_>, authors: &Authors) -> Checked {
    let reason = match authors.fault {
        Some(fault) => fault.to_owned(),
        None if authors.domains.is_empty() => {
            let reason = "the From field names nobody".to_owned();
            return Checked::new(Verdict::None, None, reason);
        }
        None => format!(
            "the From field names several domains: {}",
            authors.domains.join(", ")
        ),
    };
    let first = authors.domains.first().map(String::as_str);
    let mut strictest = Checked::new(Verdict::Permerror, first, reason.clone());
    for domain in &authors.domains {
        let mut checked = check_domain(walker, domain, &Facts::default()).await;
        if checked.verdict == Verdict::Fail && checked.requested() > strictest.requested() {
            checked.verdict = Verdict::Permerror;
            strictest = checked;
        }
    }
    strictest.reason = reason;
    strictest
}

/// The verdict on one author domain.
async fn check_domain(walker: &mut Walker<'_>, domain: &str, facts: &Facts<'_>) -> Checked {
    // The author domain's own record needs no walk, and decides alone what strict alignment means.
    let own = walker.published(domain).await;
    if let Published::Failed(failure) = &own {
        let reason = format!("_dmarc.{domain} could not be looked up: {failure}");
        return Checked::new(Verdict::Temperror, Some(domain), reason);
    }
    let walk = walker.walk(domain).await;
    let organizational = walk.organizational(domain);
    let Some((at, record)) = applicable(&walk, domain, organizational) else {
        let (verdict, reason) = match &walk.failed {
            Some(failed) => (Verdict::Temperror, failed.clone()),
            None => (
                Verdict::None,
                format!("no DMARC record applies to {domain}"),
            ),
        };
        let mut checked = Checked::new(verdict, Some(domain), reason);
        checked.organizational_domain = Some(organizational.to_owned());
        return checked;
    };
    // Records above decide which record applies, unless it is the author domain's own.
    if let (Some(failed), true) = (&walk.failed, at != domain) {
        return Checked::new(Verdict::Temperror, Some(domain), failed.clone());
    }
    let mut checked = Checked::new(Verdict::Fail, Some(domain), String::new());
    checked.organizational_domain = Some(organizational.to_owned());
    checked.policy_domain = Some(at.to_owned());
    checked.testing = record.testing;
    checked.record = Some(record.clone());
    if record.policies().is_none() {
        checked.verdict = Verdict::None;
        checked.reason = format!(
            "the record of {at} has no valid policy and names nobody who wants reports, so it \
             counts for nothing"
        );
        return checked;
    }
    let mut failed = walk.failed.clone();
    if let Err(failure) = policy(walker, &mut checked, at, record).await {
        failed = failed.or(Some(failure));
    }
    align(walker, &mut checked, record, facts, &mut failed).await;
    failed = failed.or_else(|| undecided(facts, organizational));
    if let (Verdict::Fail, Some(failed)) = (checked.verdict, failed) {
        checked.verdict = Verdict::Temperror;
        checked.reason = failed;
    }
    checked
}

/// The record that applies, and where it is (RFC 9989 §4.10.1): that of the author domain, of its
/// organizational domain, or of the public suffix above that.
fn applicable<'a>(
    walk: &'a Walk,
    domain: &'a str,
    organizational: &'a str,
) -> Option<(&'a str, &'a Record)> {
    for at in [domain, organizational] {
        if let Some(record) = walk.record(at) {
            return Some((at, record));
        }
    }
    let (at, record) = walk.found.last()?;
    (record.psd == record::PublicSuffix::Yes).then_some((at, record))
}

/// Sets the policy of the record at `at` for the author domain (RFC 9989 §4.10.1). `Err` says what
/// could not be looked up.
async fn policy(
    walker: &mut Walker<'_>,
    checked: &mut Checked,
    at: &str,
    record: &Record,
) -> Result<(), String> {
    let (Some(domain), Some(policies)) = (checked.domain.clone(), record.policies()) else {
        return Ok(());
    };
    checked.policy = if domain == at {
        policies.domain
    } else if policies.nonexistent == policies.subdomains {
        policies.subdomains
    } else {
        match walker.exists(&domain).await {
            Ok(true) => policies.subdomains,
            Ok(false) => policies.nonexistent,
            Err(failure) => {
                return Err(format!("{domain} could not be looked up: {failure}"));
            }
        }
    };
    Ok(())
}

/// Looks for an aligned identifier (RFC 9989 §4.4, §4.10.2), and says what came of it.
async fn align(
    walker: &mut Walker<'_>,
    checked: &mut Checked,
    record: &Record,
    facts: &Facts<'_>,
    failed: &mut Option<String>,
) {
    let mut near = Vec::new();
    let signatures = facts.dkim.iter().take(SIGNATURES_MAX);
    let dkim = signatures.map(|&domain| ("DKIM", domain, record.dkim));
    let spf = facts.spf.iter().map(|&domain| ("SPF", domain, record.spf));
    for (method, identifier, mode) in dkim.chain(spf) {
        let Some(identifier) = name::ascii(identifier) else {
            continue;
        };
        let aligned = match is_aligned(walker, checked, &identifier, mode).await {
            Ok(aligned) => aligned,
            Err(failure) => {
                *failed = failed.take().or(Some(failure));
                continue;
            }
        };
        let what = if aligned { "is" } else { "is not" };
        let line = format!("{method} passed for {identifier}, which {what} aligned");
        match (aligned, method) {
            (true, "DKIM") => {
                checked.dkim_aligned = checked.dkim_aligned.take().or(Some(identifier))
            }
            (true, _) => checked.spf_aligned = true,
            (false, _) => near.push(format!("{method} passed for {identifier}")),
        }
        if aligned && checked.verdict != Verdict::Pass {
            checked.verdict = Verdict::Pass;
            checked.reason = line.clone();
        }
        checked.trace.push(line);
    }
    if checked.verdict != Verdict::Pass {
        near.truncate(3);
        checked.reason = match near.as_slice() {
            [] => "neither SPF nor DKIM passed".to_owned(),
            near => format!(
                "{}, which is not aligned with the From domain",
                near.join(" and ")
            ),
        };
    }
}

/// What might have been aligned, had it been checked.
fn undecided(facts: &Facts<'_>, organizational: &str) -> Option<String> {
    let is_near = |domain: &String| name::is_within(domain, organizational);
    let mut domains = facts.undecided.iter().filter_map(|d| name::ascii(d));
    let domain = domains.find(is_near)?;
    Some(format!("what {domain} publishes could not be looked up"))
}

/// Whether an identifier is aligned with the author domain. `Err` says what could not be looked up.
async fn is_aligned(
    walker: &mut Walker<'_>,
    checked: &Checked,
    identifier: &str,
    mode: Alignment,
) -> Result<bool, String> {
    let (Some(domain), Some(organizational)) = (&checked.domain, &checked.organizational_domain)
    else {
        return Ok(false);
    };
    if identifier == domain {
        return Ok(true);
    }
    // An organizational domain is the name itself or above it, so most others need no walk.
    if mode == Alignment::Strict || !name::is_within(identifier, organizational) {
        return Ok(false);
    }
    let walk = walker.walk(identifier).await;
    match &walk.failed {
        Some(failed) => Err(failed.clone()),
        None => Ok(walk.organizational(identifier) == organizational),
    }
}
