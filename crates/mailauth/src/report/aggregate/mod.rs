//! Aggregate reports (RFC 9990): what was seen of a domain in a period, as data.
//!
//! One report is of one policy domain and one period, usually a day. [`Aggregate::add`] counts rows
//! together; [`Aggregate::to_xml`] and [`read()`] are its XML, [`Aggregate::to_mail`] what carries
//! it.
//! Rows are bounded ([`ROWS_MAX`]); what does not fit is counted and told in the report.
//!
//! This module does **not** keep rows over a restart.

mod mail;
mod read;
mod write;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::line;
use crate::Verdict;
use crate::dmarc::record::FailureOptions;
use crate::dmarc::{self, Alignment, Checked, Decision, Override, Policy};

pub use mail::{Mail, file_name, is_report_id, subject};
pub use read::{Unreadable, read};

/// Rows of one report.
pub const ROWS_MAX: usize = 10_000;
/// Signatures of one row (RFC 9990 §3.1.3).
pub const SIGNATURES_MAX: usize = 100;
/// Error texts of one report.
const ERRORS_MAX: usize = 8;

/// A report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Aggregate {
    /// Who reports.
    pub reporter: Reporter,
    /// The Report-ID (RFC 9990 §3.5.1).
    pub id: String,
    /// The start of the period, in seconds since 1970.
    pub begin_s: u64,
    /// Its end, in seconds since 1970.
    pub end_s: u64,
    /// What was wrong with the record (RFC 9990 §3.1.5).
    pub errors: Vec<String>,
    /// The policy that was found.
    pub published: Published,
    /// What was seen, and how often.
    pub rows: BTreeMap<Row, u64>,
    /// Messages that were seen but have no row, since there are [`ROWS_MAX`] already.
    pub omitted: u64,
}

/// Who reports (RFC 9990 §3.1.1.3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reporter {
    /// The name of the organization.
    pub organization: String,
    /// Whom to write to about reports.
    pub email: String,
    /// More about that.
    pub contact: Option<String>,
    /// The program.
    pub generator: Option<String>,
}

/// The policy that was found (RFC 9990 §3.1.1.5).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Published {
    /// The policy domain.
    pub domain: String,
    /// `p`.
    pub policy: Option<Policy>,
    /// `sp`.
    pub subdomains: Option<Policy>,
    /// `np`.
    pub nonexistent: Option<Policy>,
    /// `adkim`.
    pub dkim: Option<Alignment>,
    /// `aspf`.
    pub spf: Option<Alignment>,
    /// `t`.
    pub testing: Option<bool>,
    /// `fo`, as it stands in a record.
    pub failure_options: Option<String>,
    /// How the record was found.
    pub discovery: Option<Discovery>,
}

/// How a record was found (RFC 9990 §3.1.1.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Discovery {
    /// By the list of public suffixes, as in RFC 7489.
    PublicSuffixList,
    /// By the tree walk.
    TreeWalk,
}

/// One combination of source, results and identifiers (RFC 9990 §3.1.1.7).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Row {
    /// Where the messages came from.
    pub source: IpAddr,
    /// What was done with them.
    pub disposition: Disposition,
    /// There was an aligned signature.
    pub dkim_aligned: bool,
    /// There was an aligned SPF pass.
    pub spf_aligned: bool,
    /// Why what was done differs from the policy.
    pub overrides: Vec<Override>,
    /// The author domain.
    pub header_from: String,
    /// The domain of the reverse-path; empty when that is null.
    pub envelope_from: Option<String>,
    /// The domain of the recipient.
    pub envelope_to: Option<String>,
    /// The signatures.
    pub dkim: Vec<Signature>,
    /// The SPF checks; we report at most one.
    pub spf: Vec<Spf>,
}

/// What was done with a message (RFC 9990 §3.1.1.9).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Disposition {
    /// Nothing, and no policy asked for more.
    None,
    /// Nothing, since it passed where a policy would have asked for more.
    Pass,
    /// Treated as suspicious.
    Quarantine,
    /// Refused.
    Reject,
}

impl Disposition {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Disposition::None => "none",
            Disposition::Pass => "pass",
            Disposition::Quarantine => "quarantine",
            Disposition::Reject => "reject",
        }
    }
}

/// What came of one signature (RFC 9990 §3.1.1.12).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Signature {
    /// `d=`.
    pub domain: String,
    /// `s=`; old reports may have none.
    pub selector: Option<String>,
    /// The result; `none` where a report has a word that we do not know.
    pub verdict: Verdict,
    /// More for people.
    pub reason: Option<String>,
}

/// What came of SPF (RFC 9990 §3.1.1.13).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Spf {
    /// The domain that was checked.
    pub domain: String,
    /// It was the name in HELO, which only old reports have.
    pub helo: bool,
    /// The result; `none` where a report has a word that we do not know.
    pub verdict: Verdict,
    /// More for people.
    pub reason: Option<String>,
}

impl Published {
    /// The policy of a record that was found at `domain`.
    #[must_use]
    pub fn new(domain: &str, record: &dmarc::Record) -> Published {
        // As it was applied: an invalid policy counts as none (RFC 9989 §4.10.1).
        let policies = record.policies();
        let as_published = policies.is_some_and(|p| Some(p.domain) == record.policy);
        Published {
            domain: line(domain),
            policy: Some(policies.map_or(Policy::None, |p| p.domain)),
            subdomains: record.subdomains.filter(|_| as_published),
            nonexistent: record.nonexistent.filter(|_| as_published),
            dkim: Some(record.dkim),
            spf: Some(record.spf),
            testing: Some(record.testing),
            failure_options: (!record.failure.is_empty()).then(|| fo(record.options)),
            discovery: Some(Discovery::TreeWalk),
        }
    }
}

fn fo(options: FailureOptions) -> String {
    let mut words = vec![if options.any { "1" } else { "0" }];
    words.extend(options.dkim.then_some("d"));
    words.extend(options.spf.then_some("s"));
    words.join(":")
}

impl Row {
    /// The row of a message that DMARC was checked for. Of `dkim`, the signatures that tell most
    /// are kept (RFC 9990 §3.1.3).
    #[must_use]
    pub fn new(
        source: IpAddr,
        checked: &Checked,
        decision: &Decision,
        mut dkim: Vec<Signature>,
        spf: Option<Spf>,
    ) -> Row {
        let author = checked.domain.as_deref().unwrap_or_default();
        let organization = checked.organizational_domain.as_deref().unwrap_or(author);
        dkim.sort_by_key(|signature| {
            let domain = &signature.domain;
            match signature.verdict {
                Verdict::Pass if domain.eq_ignore_ascii_case(author) => 0,
                Verdict::Pass if crate::name::is_within(domain, organization) => 1,
                Verdict::Pass => 2,
                _ => 3,
            }
        });
        dkim.truncate(SIGNATURES_MAX);
        let disposition = match (decision.disposition, checked.verdict, checked.policy) {
            (Policy::None, Verdict::Pass, Policy::Quarantine | Policy::Reject) => Disposition::Pass,
            (Policy::None, ..) => Disposition::None,
            (Policy::Quarantine, ..) => Disposition::Quarantine,
            (Policy::Reject, ..) => Disposition::Reject,
        };
        Row {
            source: source.to_canonical(),
            disposition,
            dkim_aligned: checked.dkim_aligned.is_some(),
            spf_aligned: checked.spf_aligned,
            overrides: decision.overrides.clone(),
            header_from: author.to_owned(),
            envelope_from: spf.as_ref().map(|spf| spf.domain.clone()),
            envelope_to: None,
            dkim,
            spf: spf.into_iter().collect(),
        }
    }
}

impl Aggregate {
    /// A report without rows.
    #[must_use]
    pub fn new(reporter: Reporter, id: String, period_s: (u64, u64), published: Published) -> Self {
        Aggregate {
            reporter,
            id,
            begin_s: period_s.0,
            end_s: period_s.1,
            errors: Vec::new(),
            published,
            rows: BTreeMap::new(),
            omitted: 0,
        }
    }

    /// Counts `messages` more of a row.
    pub fn add(&mut self, row: Row, messages: u64) {
        if let Some(count) = self.rows.get_mut(&row) {
            *count = count.saturating_add(messages);
        } else if self.rows.len() < ROWS_MAX {
            self.rows.insert(row, messages);
        } else {
            self.omitted = self.omitted.saturating_add(messages);
        }
    }

    /// Notes something wrong with the record.
    pub fn add_error(&mut self, error: &str) {
        let error = line(error);
        if self.errors.len() < ERRORS_MAX && !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// Messages in all rows.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.rows.values().fold(0, |sum, &n| sum.saturating_add(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_alike_are_counted_together_and_rows_too_many_are_counted_as_omitted() {
        let published = Published::default();
        let mut report = Aggregate::new(Reporter::default(), "x".to_owned(), (0, 1), published);
        let row = |i: u32| Row {
            source: IpAddr::V4(i.into()),
            disposition: Disposition::None,
            dkim_aligned: false,
            spf_aligned: false,
            overrides: Vec::new(),
            header_from: "example.org".to_owned(),
            envelope_from: None,
            envelope_to: None,
            dkim: Vec::new(),
            spf: Vec::new(),
        };
        for i in 0..10_002 {
            report.add(row(i), 1);
        }
        report.add(row(7), 2);
        report.add(row(20_000), 5);
        assert_eq!((report.rows.len(), report.rows[&row(7)]), (ROWS_MAX, 3));
        assert_eq!((report.messages(), report.omitted), (10_002, 7));
    }

    #[test]
    fn the_signatures_that_tell_most_come_first() {
        let mut checked = Checked::new(Verdict::Fail, Some("mail.example.org"), String::new());
        checked.organizational_domain = Some("example.org".to_owned());
        let signature = |domain: &str, verdict| Signature {
            domain: domain.to_owned(),
            selector: Some("s".to_owned()),
            verdict,
            reason: None,
        };
        let dkim = vec![
            signature("example.org", Verdict::Fail),
            signature("esp.example", Verdict::Pass),
            signature("example.org", Verdict::Pass),
            signature("mail.example.org", Verdict::Pass),
        ];
        let decision = Decision {
            disposition: Policy::None,
            overrides: Vec::new(),
        };
        let source = "::ffff:192.0.2.1".parse().unwrap();
        let row = Row::new(source, &checked, &decision, dkim, None);
        let order: Vec<_> = row.dkim.iter().map(|s| s.domain.as_str()).collect();
        let want = [
            "mail.example.org",
            "example.org",
            "esp.example",
            "example.org",
        ];
        assert_eq!(order, want);
        assert_eq!(row.source.to_string(), "192.0.2.1");
    }
}
