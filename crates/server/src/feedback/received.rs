//! What is kept of a report that came.
//!
//! All of it was written by others, and nobody proves that who signs a report has seen what it
//! says: it is shown, and nothing is decided by it.

use posthaste_mailauth::report::aggregate::{Aggregate, Disposition, Row};
use posthaste_mailauth::report::arf;
use posthaste_mailauth::report::open::Received;
use posthaste_mailauth::report::tls::{TlsFailure, TlsPolicy, TlsReport};
use posthaste_world::Timestamp;
use serde::{Deserialize, Serialize};

/// Rows of one report that are kept, and octets of a text in them: all of it fits into a frame of
/// the control socket, whatever its author wrote.
const ROWS_MAX: usize = 500;
const TEXT_MAX: usize = 253;

/// A report; one documented object a line with `--json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// `dmarc`, `tls`, or the kind of feedback about one message: `abuse`, `auth-failure`, ….
    pub kind: String,
    /// The domain that it is about.
    pub domain: String,
    /// Who reports.
    pub organization: String,
    /// Its id, as the reporter gave it.
    pub id: String,
    /// When its period began, in seconds since 1970; when it came, where it has none.
    pub begin_s: u64,
    /// When its period ended.
    pub end_s: u64,
    /// When it came, in seconds since 1970.
    pub received_s: u64,
    /// Messages, or with `tls` sessions, that it tells of.
    pub messages: u64,
    /// Those of them that did not pass.
    pub failed: u64,
    /// What it tells in detail; the first five hundred rows.
    pub rows: Vec<Line>,
}

/// A row of a report.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Where the messages, or sessions, came from; for `tls` the host that they went to.
    pub source: String,
    /// How many.
    pub messages: u64,
    /// What was done with them; for `tls` what went wrong.
    pub result: String,
    /// Whether DKIM stood behind the author.
    pub dkim: bool,
    /// Whether SPF did.
    pub spf: bool,
    /// The author's domain.
    pub from: String,
}

impl Kept {
    /// What is kept of a report that came at `now`.
    #[must_use]
    pub fn new(report: &Received, now: Timestamp) -> Kept {
        match report {
            Received::Aggregate(report) => of_aggregate(report, now),
            Received::Tls(report) => of_tls(report, now),
            Received::Feedback(report) => of_feedback(report, now),
        }
    }

    /// What tells it from other reports of the same time.
    #[must_use]
    pub fn key(&self) -> String {
        format!(
            "{}\n{}\n{}\n{}",
            self.kind, self.organization, self.domain, self.id
        )
    }
}

fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_MAX);
    text.get(..end).unwrap_or_default().to_owned()
}

fn of_aggregate(report: &Aggregate, now: Timestamp) -> Kept {
    let passed = |row: &Row| row.dkim_aligned || row.spf_aligned;
    let failed = report.rows.iter().filter(|(row, _)| !passed(row));
    let line = |(row, messages): (&Row, &u64)| Line {
        source: row.source.to_string(),
        messages: *messages,
        result: match row.disposition {
            Disposition::Pass => Disposition::None.word(),
            other => other.word(),
        }
        .to_owned(),
        dkim: row.dkim_aligned,
        spf: row.spf_aligned,
        from: cut(&row.header_from),
    };
    Kept {
        kind: "dmarc".to_owned(),
        domain: report.published.domain.clone(),
        organization: report.reporter.organization.clone(),
        id: report.id.clone(),
        begin_s: report.begin_s,
        end_s: report.end_s,
        received_s: now.as_secs(),
        messages: report.messages(),
        failed: failed.fold(0, |sum: u64, (_, n)| sum.saturating_add(*n)),
        rows: report.rows.iter().take(ROWS_MAX).map(line).collect(),
    }
}

fn of_tls(report: &TlsReport, now: Timestamp) -> Kept {
    let time = |text: &str| {
        let at: Option<jiff::Timestamp> = text.parse().ok();
        at.and_then(|at| u64::try_from(at.as_second()).ok())
    };
    let sum = |counts: fn(&TlsPolicy) -> u64| {
        let policies = report.policies.iter();
        policies.fold(0_u64, |sum, policy| sum.saturating_add(counts(policy)))
    };
    let failed = sum(|policy| policy.failures);
    let details = report.policies.iter().flat_map(|p| &p.details);
    let line = |failure: &TlsFailure| Line {
        source: cut(&failure.host),
        messages: failure.sessions,
        result: cut(&failure.kind),
        dkim: false,
        spf: false,
        from: String::new(),
    };
    let domain = report.policies.first().map(|p| p.domain.clone());
    Kept {
        kind: "tls".to_owned(),
        domain: domain.unwrap_or_default(),
        organization: report.organization.clone(),
        id: report.id.clone(),
        begin_s: time(&report.begin).unwrap_or(now.as_secs()),
        end_s: time(&report.end).unwrap_or(now.as_secs()),
        received_s: now.as_secs(),
        messages: failed.saturating_add(sum(|policy| policy.successes)),
        failed,
        rows: details.take(ROWS_MAX).map(line).collect(),
    }
}

fn of_feedback(report: &arf::Feedback, now: Timestamp) -> Kept {
    let domain = report.domains.first().cloned().unwrap_or_default();
    let source = report.source.map(|ip| ip.to_string()).unwrap_or_default();
    Kept {
        kind: report.kind.clone(),
        domain: domain.clone(),
        organization: report.user_agent.clone(),
        id: report.arrival.clone().unwrap_or_default(),
        begin_s: now.as_secs(),
        end_s: now.as_secs(),
        received_s: now.as_secs(),
        messages: report.incidents,
        failed: report.incidents,
        rows: vec![Line {
            source,
            messages: report.incidents,
            result: report
                .failure
                .clone()
                .unwrap_or_else(|| report.kind.clone()),
            dkim: false,
            spf: false,
            from: domain,
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::FRAME_MAX;

    #[test]
    fn the_worst_report_fits_into_a_frame() {
        // What JSON makes longest, in texts as long as a reader of reports leaves them.
        let text = "\"".repeat(posthaste_mailauth::report::TEXT_MAX);
        let failure = TlsFailure {
            kind: text.clone(),
            sender: text.clone(),
            host: text.clone(),
            address: text.clone(),
            sessions: u64::MAX,
            reason: text.clone(),
        };
        let policy = TlsPolicy {
            kind: text.clone(),
            domain: text.clone(),
            lines: Vec::new(),
            hosts: Vec::new(),
            successes: u64::MAX,
            failures: u64::MAX,
            details: vec![failure; 10 * ROWS_MAX],
        };
        let report = TlsReport {
            organization: text.clone(),
            contact: text.clone(),
            id: text,
            begin: "x".into(),
            end: "y".into(),
            policies: vec![policy; 3],
        };
        let kept = Kept::new(&Received::Tls(Box::new(report)), Timestamp::from_secs(1));
        assert_eq!(kept.rows.len(), ROWS_MAX);
        let octets = serde_json::to_vec(&kept).unwrap().len();
        assert!(
            octets < usize::try_from(FRAME_MAX).unwrap() - 1000,
            "{octets}"
        );
    }
}
