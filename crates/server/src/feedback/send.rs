//! The reports that we owe: one for each domain and day, to where its owner wants it now.
//!
//! The record is asked for again when the report is sent, and so is whether a destination outside
//! of the domain wants it (RFC 9990 §4). A report goes out with the null reverse-path and brings
//! nothing back, so that no two servers ever write to each other about reports. Its queue id
//! derives from what it is: what a crash leaves half done is done again under the same id.

use posthaste_mailauth::dmarc::{Record, ReportUri};
use posthaste_mailauth::report::aggregate::{Aggregate, Mail};
use posthaste_mailauth::report::external::{self, Reports, Wanted};
use posthaste_message::header::Scan;
use posthaste_message::message_id;
use posthaste_queue::QueueId;
use posthaste_queue::envelope::{Envelope, Message};
use posthaste_queue::spool::Prelude;
use posthaste_smtp::address::Mailbox;
use posthaste_world::dns::{Data, Kind};
use posthaste_world::work::Pool;
use posthaste_world::{Random, Timestamp};

use super::Feedback;
use super::tally::{DAY_S, Key};
use crate::dispatch::Dispatch;
use crate::receive::content_facts;
use crate::report::LAST_OF_ITS_LINE;
use crate::telemetry::{Event, clean};

/// Over how many seconds after midnight reports are spread, so that not all of the world writes to
/// a domain at once.
const SPREAD_S: u64 = 4 * 3600;
/// How long after the end of its day a report is still tried, when the DNS does not answer.
const TRIED_FOR_S: u64 = 2 * DAY_S;
/// Destinations of one report.
const DESTINATIONS_MAX: usize = 4;
/// Octets of a report in gzip; what is larger is not sent.
const OCTETS_MAX: usize = 10 * 1024 * 1024;

/// What is to become of a report now.
enum Ready {
    /// Send it to these; nobody wants it when there are none.
    To(Vec<Mailbox>),
    /// Ask again later.
    Later,
}

/// Numbers that derive from a text.
struct Derived(aws_lc_rs::digest::Digest);

impl Random for Derived {
    fn fill(&self, bytes: &mut [u8]) {
        let source = self.0.as_ref().iter().cycle();
        bytes
            .iter_mut()
            .zip(source)
            .for_each(|(to, from)| *to = *from);
    }
}

fn derived(text: &str) -> Derived {
    Derived(aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        text.as_bytes(),
    ))
}

/// Seconds after midnight at which the reports for a domain are sent.
pub(super) fn offset_s(domain: &str) -> u64 {
    derived(domain).next_u64() % SPREAD_S
}

impl Feedback {
    /// Sends what is due.
    pub async fn send_due(&self, dispatch: &Dispatch) {
        let now_s = self.world.clock.now().as_secs();
        let due = self.tally().due(now_s, offset_s);
        for key in due {
            let Ready::To(mailboxes) = self.destinations(&key, now_s).await else {
                continue;
            };
            let report = self.tally().get(&key);
            let Some(report) = report else { continue };
            if self.send(&key, &report, &mailboxes, dispatch).await {
                self.settle(&key).await;
            }
        }
    }

    /// Where the report is wanted now.
    async fn destinations(&self, (day, domain): &Key, now_s: u64) -> Ready {
        let too_late = now_s >= (day + 1) * DAY_S + TRIED_FOR_S;
        let later = || match too_late {
            true => Ready::To(Vec::new()),
            false => Ready::Later,
        };
        let dns = &*self.world.dns;
        let Ok(answer) = dns.query(&format!("_dmarc.{domain}"), Kind::Txt).await else {
            return later();
        };
        let records = answer.records().iter().filter_map(|data| match data {
            Data::Txt(text) => Record::parse(text),
            _ => None,
        });
        let records: Vec<Record> = records.collect();
        let [record] = records.as_slice() else {
            return Ready::To(Vec::new());
        };
        let mut mailboxes: Vec<Mailbox> = Vec::new();
        for uri in &record.aggregate {
            let ReportUri::Mail(mailbox) = uri else {
                continue;
            };
            match external::wanted(dns, domain, mailbox, Reports::Aggregate).await {
                Wanted::Yes(wanted) => mailboxes.extend(wanted),
                Wanted::Later(_) if !too_late => return Ready::Later,
                Wanted::No(_) | Wanted::Later(_) => {}
            }
        }
        mailboxes.dedup();
        mailboxes.truncate(DESTINATIONS_MAX);
        Ready::To(mailboxes)
    }

    /// Queues the report for each destination; whether it is done with.
    async fn send(
        &self,
        key: &Key,
        report: &Aggregate,
        mailboxes: &[Mailbox],
        dispatch: &Dispatch,
    ) -> bool {
        for mailbox in mailboxes {
            if let Err(cause) = self.send_to(key, report, mailbox, dispatch).await {
                let doing = format!("sending the report about {} to {mailbox}", key.1);
                self.log.fault(&doing, &cause);
                return false;
            }
        }
        let to: Vec<String> = mailboxes.iter().map(ToString::to_string).collect();
        self.log.emit(&Event::ReportSent {
            domain: clean(&key.1),
            report: clean(&report.id),
            to: &to,
            messages: report.messages(),
        });
        true
    }

    async fn send_to(
        &self,
        (day, _): &Key,
        report: &Aggregate,
        mailbox: &Mailbox,
        dispatch: &Dispatch,
    ) -> Result<(), String> {
        let settings = self.settings();
        let now = self.world.clock.now();
        let text = format!("{}\n{mailbox}", report.id);
        let numbers = derived(&text);
        let end = Timestamp::from_secs((day + 1) * DAY_S);
        let id = QueueId::new(end, &numbers);
        if dispatch.queue().read(id).await.is_ok() {
            return Ok(());
        }
        let name = message_id::make(end.as_millis(), numbers.next_u64(), &settings.hostname);
        let (from, to) = (settings.from.to_string(), mailbox.to_string());
        let mail = Mail {
            submitter: &settings.hostname,
            from: &from,
            to: &to,
            message_id: name.trim_matches(['<', '>']),
            now_s: now.as_secs(),
        };
        let Some(octets) = report.to_mail(&mail, OCTETS_MAX) else {
            return Err(format!("it is larger than {OCTETS_MAX} octets"));
        };
        let mut scan = Scan::new();
        scan.push(&octets);
        let mut message = Message::ours(now, content_facts(&scan.finish()));
        message.listener = "reports".into();
        message.tags.push(LAST_OF_ITS_LINE.into());
        let stages = dispatch.stages();
        let signatures = stages.reports.signatures().of_our_own(&octets).await;
        let envelope = Envelope {
            id,
            message,
            recipients: stages.reports.recipients_for(mailbox),
        };
        let mut draft = dispatch.queue().draft();
        draft.write(&octets).await.map_err(|e| e.to_string())?;
        let prelude = Prelude::trace(signatures.into_bytes());
        let kept = dispatch.queue().commit(draft, envelope, prelude).await;
        kept.map(drop).map_err(|e| e.to_string())
    }

    /// The report is owed no more.
    async fn settle(&self, key: &Key) {
        self.tally().forget(key);
        let (state, key) = (self.state.clone(), key.clone());
        let forget = move || state.forget_counted(&key);
        if let Ok(Err(fault)) = self.world.work.on(Pool::Disk, forget).await {
            self.log.fault_of(&fault);
        }
    }
}
