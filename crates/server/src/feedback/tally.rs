//! What was seen of each domain that wants to know, a day at a time, in memory.

use std::collections::{BTreeMap, BTreeSet};

use posthaste_mailauth::dmarc::ReportUri;
use posthaste_mailauth::report::aggregate::{Aggregate, Published, Reporter, Row, Signature, Spf};
use posthaste_world::Timestamp;

use super::Settings;
use crate::authenticate::message::Judgement;

/// Seconds of a day.
pub(super) const DAY_S: u64 = 86_400;
/// Reports that are counted for at the same time: domains, on the days that are not sent yet.
const REPORTS_MAX: usize = 10_000;
/// Rows of all of them together, of some hundred octets each.
const ROWS_MAX: usize = 100_000;

/// A day (since 1970, UTC) and the domain that a report is for.
pub(super) type Key = (u64, String);

/// Counts that are not sent yet.
#[derive(Default)]
pub(super) struct Tally {
    reports: BTreeMap<Key, Aggregate>,
    rows: usize,
    changed: BTreeSet<Key>,
}

/// Whether anybody wants a report about this message.
pub(super) fn is_wanted(judgement: &Judgement) -> bool {
    let record = judgement.dmarc.record.as_ref();
    let mail = |uri: &ReportUri| matches!(uri, ReportUri::Mail(_));
    record.is_some_and(|record| record.aggregate.iter().any(mail))
}

impl Tally {
    /// Counts a message; whether nothing had changed before.
    pub(super) fn count(
        &mut self,
        judgement: &Judgement,
        settings: &Settings,
        now: Timestamp,
    ) -> bool {
        let checked = &judgement.dmarc;
        let (Some(record), Some(domain), Some(source)) =
            (&checked.record, &checked.policy_domain, judgement.source())
        else {
            return false;
        };
        let day = now.as_secs() / DAY_S;
        let key = (day, domain.clone());
        if !self.reports.contains_key(&key) && self.reports.len() >= REPORTS_MAX {
            return false;
        }
        let report = self.reports.entry(key.clone()).or_insert_with(|| {
            let reporter = Reporter {
                organization: settings.organization.clone(),
                email: settings.from.to_string(),
                contact: None,
                generator: Some(concat!("Posthaste ", env!("CARGO_PKG_VERSION")).to_owned()),
            };
            let begin = day * DAY_S;
            let id = format!("{begin}.{domain}@{}", settings.hostname);
            let period = (begin, begin + DAY_S);
            Aggregate::new(reporter, id, period, Published::new(domain, record))
        });
        let row = row(judgement, source);
        let before = report.rows.len();
        if before == 0 || self.rows < ROWS_MAX || report.rows.contains_key(&row) {
            report.add(row, 1);
        } else {
            report.omitted = report.omitted.saturating_add(1);
        }
        self.rows += report.rows.len() - before;
        if let Some(fault) = record.faults.first() {
            report.add_error(fault);
        }
        let first = self.changed.is_empty();
        self.changed.insert(key);
        first
    }

    /// Takes over what an earlier process counted; what was counted since then is added to it.
    pub(super) fn load(&mut self, counted: Vec<(Key, Aggregate)>) {
        for (key, mut old) in counted {
            if let Some(new) = self.reports.remove(&key) {
                self.rows -= new.rows.len();
                self.changed.insert(key.clone());
                new.rows.into_iter().for_each(|(row, n)| old.add(row, n));
            }
            self.rows += old.rows.len();
            self.reports.insert(key, old);
        }
    }

    /// What has changed since this was asked last.
    pub(super) fn changed(&mut self) -> Vec<(Key, Aggregate)> {
        let changed = std::mem::take(&mut self.changed);
        let with = |key: Key| Some((key.clone(), self.reports.get(&key)?.clone()));
        changed.into_iter().filter_map(with).collect()
    }

    /// The reports whose day is over at `now` by as long as `after` says for their domain.
    pub(super) fn due(&self, now_s: u64, after: impl Fn(&str) -> u64) -> Vec<(Key, Aggregate)> {
        let over =
            |((day, domain), _): &(&Key, &Aggregate)| (day + 1) * DAY_S + after(domain) <= now_s;
        let due = self.reports.iter().filter(over);
        due.map(|(key, report)| (key.clone(), report.clone()))
            .collect()
    }

    /// Forgets a report, which was sent or is wanted no more.
    pub(super) fn forget(&mut self, key: &Key) {
        if let Some(report) = self.reports.remove(key) {
            self.rows -= report.rows.len();
        }
        self.changed.remove(key);
    }
}

fn row(judgement: &Judgement, source: std::net::IpAddr) -> Row {
    let signature = |finding: &posthaste_mailauth::dkim::Finding| Signature {
        domain: finding.domain.clone(),
        selector: Some(finding.selector.clone()),
        verdict: finding.verdict,
        // The reason tells of one message; rows alike are counted together.
        reason: None,
    };
    let named = judgement.dkim.iter().filter(|f| !f.domain.is_empty());
    let spf = judgement.mail_from().map(|checked| Spf {
        domain: checked.domain.clone(),
        helo: false,
        verdict: checked.verdict,
        reason: None,
    });
    let dkim = named.map(signature).collect();
    Row::new(source, &judgement.dmarc, &judgement.decision, dkim, spf)
}
