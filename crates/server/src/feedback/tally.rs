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
/// Octets of the rows of all of them together, roughly. Whoever publishes a record decides how many
/// there are, and how long: sources, signatures, names.
const OCTETS_MAX: usize = 32 * 1024 * 1024;
/// Octets of a row besides its texts.
const ROW_OCTETS: usize = 300;

/// A day (since 1970, UTC) and the domain that a report is for.
pub(super) type Key = (u64, String);

/// Counts that are not sent yet.
#[derive(Default)]
pub(super) struct Tally {
    reports: BTreeMap<Key, Aggregate>,
    octets: usize,
    changed: BTreeSet<Key>,
}

/// Whether anybody wants a report about this message.
pub(super) fn is_wanted(judgement: &Judgement) -> bool {
    let record = judgement.dmarc.record.as_ref();
    let mail = |uri: &ReportUri| matches!(uri, ReportUri::Mail(_));
    record.is_some_and(|record| record.aggregate.iter().any(mail))
}

impl Tally {
    /// Counts a message; whether there was room for its domain.
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
        let (before, octets) = (report.rows.len(), octets(&row));
        if self.octets + octets <= OCTETS_MAX || report.rows.contains_key(&row) {
            report.add(row, 1);
        } else {
            report.omitted = report.omitted.saturating_add(1);
        }
        if report.rows.len() > before {
            self.octets += octets;
        }
        if let Some(fault) = record.faults.first() {
            report.add_error(fault);
        }
        self.changed.insert(key);
        true
    }

    /// Takes over what an earlier process counted; what was counted since then is added to it.
    pub(super) fn load(&mut self, counted: Vec<(Key, Aggregate)>) {
        for (key, mut old) in counted {
            if let Some(new) = self.reports.remove(&key) {
                self.octets -= new.rows.keys().map(octets).sum::<usize>();
                self.changed.insert(key.clone());
                new.rows.into_iter().for_each(|(row, n)| old.add(row, n));
            }
            self.octets += old.rows.keys().map(octets).sum::<usize>();
            self.reports.insert(key, old);
        }
    }

    /// What has changed since this was asked last.
    pub(super) fn changed(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.changed)
    }

    /// Lets reports be written again.
    pub(super) fn mark(&mut self, keys: Vec<Key>) {
        let there = keys
            .into_iter()
            .filter(|key| self.reports.contains_key(key));
        self.changed.extend(there);
    }

    /// A copy of a report.
    pub(super) fn get(&self, key: &Key) -> Option<Aggregate> {
        self.reports.get(key).cloned()
    }

    /// The reports whose day is over at `now` by as long as `after` says for their domain.
    pub(super) fn due(&self, now_s: u64, after: impl Fn(&str) -> u64) -> Vec<Key> {
        let over = |(day, domain): &&Key| (day + 1) * DAY_S + after(domain) <= now_s;
        self.reports.keys().filter(over).cloned().collect()
    }

    /// Forgets a report, which was sent or is wanted no more.
    pub(super) fn forget(&mut self, key: &Key) {
        if let Some(report) = self.reports.remove(key) {
            self.octets -= report.rows.keys().map(octets).sum::<usize>();
        }
        self.changed.remove(key);
    }
}

/// What a row takes, roughly.
fn octets(row: &Row) -> usize {
    let name = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let signatures = row
        .dkim
        .iter()
        .map(|s| 100 + s.domain.len() + name(&s.selector));
    let spf = row.spf.iter().map(|s| 100 + s.domain.len());
    let overrides = row.overrides.iter().map(|o| 50 + o.comment.len());
    let texts = row.header_from.len() + name(&row.envelope_from);
    ROW_OCTETS + texts + signatures.chain(spf).chain(overrides).sum::<usize>()
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

#[cfg(test)]
mod tests {
    use posthaste_mailauth::report::aggregate::Disposition;

    use super::*;

    fn row(number: u32) -> Row {
        Row {
            source: std::net::IpAddr::V4(number.into()),
            disposition: Disposition::None,
            dkim_aligned: false,
            spf_aligned: false,
            overrides: Vec::new(),
            header_from: "a.test".into(),
            envelope_from: None,
            envelope_to: None,
            dkim: Vec::new(),
            spf: Vec::new(),
        }
    }

    fn report(rows: std::ops::Range<u32>) -> Aggregate {
        let published = Published::default();
        let mut report = Aggregate::new(Reporter::default(), "1".into(), (0, 1), published);
        rows.for_each(|n| report.add(row(n), 1));
        report
    }

    #[test]
    fn what_rows_take_is_given_back_when_a_report_goes() {
        let key = |domain: &str| (7, domain.to_owned());
        let mut tally = Tally::default();
        tally.load(vec![(key("a.test"), report(0..5))]);
        let first = tally.octets;
        tally.load(vec![(key("b.test"), report(0..9))]);
        assert!(tally.octets > first);
        tally.load(vec![(key("a.test"), report(3..6))]);
        let merged = tally
            .get(&key("a.test"))
            .map(|r| (r.rows.len(), r.messages()));
        assert_eq!(merged, Some((6, 8)));
        tally.forget(&key("b.test"));
        tally.forget(&key("a.test"));
        tally.forget(&key("a.test"));
        assert_eq!(tally.octets, 0);
    }

    #[test]
    fn a_report_is_due_when_its_day_is_over_by_the_time_of_its_domain() {
        let mut tally = Tally::default();
        let late = (7, "late.test".to_owned());
        tally.load(vec![
            (late.clone(), report(0..1)),
            ((8, "late.test".into()), report(0..1)),
        ]);
        let due = |now_s| tally.due(now_s, |_| 100);
        assert_eq!(due(8 * DAY_S + 99), []);
        assert_eq!(due(8 * DAY_S + 100), [late]);
        assert_eq!(due(9 * DAY_S + 100).len(), 2);
    }
}
