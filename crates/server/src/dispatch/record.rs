//! The records of delivery: attempts, recipients' outcomes, reports.

use std::time::Duration;

use posthaste_queue::schedule::Work;
use posthaste_queue::spool::{NewMessage, Stored};
use posthaste_queue::{self as queue, QueueId};

use super::Dispatch;
use crate::deliver::{Attempted, Fate, Outcome};
use crate::report;
use crate::telemetry::{Event, Tls, clean};

impl Dispatch {
    pub(super) fn record_attempt(&self, work: &Work, attempted: &Attempted, begun: Duration) {
        let id = work.id.to_string();
        let host = attempted
            .outcomes
            .iter()
            .find_map(|(_, o)| o.host.as_deref());
        let passed_over: Vec<_> = attempted
            .passed_over
            .iter()
            .map(|(host, why)| format!("{host}: {}", clean(why)))
            .collect();
        let took = self.world.clock.elapsed().saturating_sub(begun);
        let tls = attempted.protection.tls.as_ref().map(Tls::from);
        self.log.emit(&Event::Attempt {
            id: &id,
            destination: &work.destination,
            host: clean(host.unwrap_or_default()),
            recipients: attempted.outcomes.len(),
            passed_over: &passed_over,
            tls: tls.as_ref(),
            tls_failed: attempted.protection.failed.as_deref().map(clean),
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
        for fault in &attempted.faults {
            self.log.fault(&fault.doing, &fault.cause);
        }
    }

    /// One record a recipient of `work`; `next` holds their new progress.
    pub(super) fn record_outcomes(
        &self,
        work: &Work,
        stored: &Stored,
        outcomes: &[(u32, Outcome)],
        next: &[queue::Outcome],
    ) {
        let envelope = stored.envelope();
        let id = envelope.id.to_string();
        let now = self.world.clock.now();
        let failure = self
            .queue
            .destination(&work.destination)
            .and_then(|d| d.failure);
        let until = failure.map_or(now, |f| f.until);
        let withheld = report::withheld(envelope, outcomes);
        if withheld > 0 {
            self.log.emit(&Event::ReportWithheld {
                about: &id,
                to: envelope.message.reverse_path.to_string().into(),
                recipients: withheld,
            });
        }
        for (index, outcome) in outcomes {
            let at = usize::try_from(*index).unwrap_or(usize::MAX);
            let Some(recipient) = envelope.recipients.get(at) else {
                continue;
            };
            let progress = next
                .iter()
                .find(|n| n.recipient == *index)
                .map(|n| &n.progress);
            self.log.emit(&Event::Recipient {
                id: &id,
                to: recipient.address.to_string().into(),
                outcome: outcome.fate.name(),
                reply: clean(&outcome.reply.to_string()),
                host: clean(outcome.host.as_deref().unwrap_or_default()),
                attempts: progress.map_or(recipient.progress.attempts, |p| p.attempts),
                next_s: progress
                    .filter(|_| outcome.fate == Fate::Deferred)
                    .map(|p| p.not_before.max(until).since(now).as_secs()),
            });
        }
    }

    pub(super) fn record_reports(&self, about: QueueId, reports: &[NewMessage]) {
        let about = about.to_string();
        for report in reports {
            let to = report
                .envelope
                .recipients
                .first()
                .map(|r| r.address.to_string());
            let id = report.envelope.id.to_string();
            let to = to.unwrap_or_default().into();
            self.log.emit(&Event::Report {
                about: &about,
                id: &id,
                to,
            });
        }
    }
}
