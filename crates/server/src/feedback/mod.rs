//! Feedback between domains: what we tell others about mail in their name, and what they tell us.
//!
//! Every judged message whose author's domain asks for aggregate reports (RFC 9990) is counted in
//! memory ([`tally`]); a minute after the first one the counts are on the disk ([`state`]), so that
//! a crash loses a minute of them. When a day is over each domain gets one report of it ([`send`]),
//! as a message of our queue. Mail that brings a report to us is delivered like all mail, and what
//! it says is kept beside ([`received`]), for `posthaste reports`.
//!
//! Nothing here holds up mail: a count that does not fit is left out and told in the report, and a
//! state that cannot be written is a fault for the operator and no more. This module does **not**
//! judge, and sends no failure reports (RFC 9991).

pub mod received;
mod send;
pub mod state;
mod tally;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use posthaste_mailauth::report::{self, open};
use posthaste_queue::envelope::Recipient;
use posthaste_queue::spool::Stored;
use posthaste_smtp::address::{ForwardPath, Mailbox};
use posthaste_world::work::Pool;
use posthaste_world::{Timestamp, World};
use tokio::sync::Notify;

use crate::authenticate::message::Judgement;
use crate::deliver::{Fate, Outcome};
use crate::dispatch::Dispatch;
use crate::shutdown::Shutdown;
use crate::telemetry::{Event, Log, clean};
use received::Kept;
use state::State;
use tally::{Key, Tally};

/// How long counts may be in memory only.
pub const FLUSH: Duration = Duration::from_secs(60);
/// Time between two looks at what is to be sent.
pub const LOOK: Duration = Duration::from_secs(3600);
/// Largest mail that is read for a report, in octets.
const MAIL_MAX: u64 = 16 * 1024 * 1024;

/// What the configuration says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether reports are sent.
    pub send: bool,
    /// Our name.
    pub hostname: String,
    /// Who reports, in words.
    pub organization: String,
    /// The author of reports, and whom to write to about them.
    pub from: Mailbox,
    /// The mailboxes whose mail is read for reports.
    pub read_for: Vec<Mailbox>,
}

impl Settings {
    /// Whether mail for this recipient is read for reports: by the address that it was sent to, by
    /// the alias that led to it, or by that of its mailbox.
    fn reads_for(&self, recipient: &Recipient) -> bool {
        let original = recipient.original.as_ref().and_then(ForwardPath::mailbox);
        let names = [Some(&recipient.address), recipient.alias.as_ref(), original];
        let is_named = |name: &Mailbox| {
            let name = name.to_string();
            let mut named = self.read_for.iter().map(Mailbox::to_string);
            named.any(|named| named.eq_ignore_ascii_case(&name))
        };
        names.into_iter().flatten().any(is_named)
    }
}

/// Reports, both ways.
pub struct Feedback {
    world: World,
    log: Arc<Log>,
    state: Arc<State>,
    settings: RwLock<Arc<Settings>>,
    tally: Mutex<Tally>,
    changed: Notify,
}

impl Feedback {
    /// With the state in `data_dir`, which is opened when it is first needed.
    #[must_use]
    pub fn new(world: &World, log: &Arc<Log>, data_dir: &Path, settings: Settings) -> Self {
        Feedback {
            world: world.clone(),
            log: log.clone(),
            state: Arc::new(State::new(world.disk.clone(), log.clone(), data_dir)),
            settings: RwLock::new(Arc::new(settings)),
            tally: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Goes by these settings from now on.
    pub fn replace(&self, settings: Settings) {
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    fn settings(&self) -> Arc<Settings> {
        self.settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a judged message, where its author's domain wants to know. Never one that is itself a
    /// report: two servers would write to each other for ever.
    pub fn note(&self, judgement: &Judgement, header: &[u8], now: Timestamp) {
        let settings = self.settings();
        if !settings.send || !tally::is_wanted(judgement) || report::is_report(header) {
            return;
        }
        if self.tally().count(judgement, &settings, now) {
            self.changed.notify_one();
        }
    }

    /// Writes and sends, until the server stops; what is counted then is written before the end.
    pub async fn keep(self: Arc<Self>, dispatch: Arc<Dispatch>, stop: Shutdown) {
        let busy = stop.busy();
        self.load().await;
        let mut looked: Option<Duration> = None;
        while !stop.is_stopping() {
            let now = self.world.clock.elapsed();
            if looked.is_none_or(|at| now.saturating_sub(at) >= LOOK) {
                self.send_due(&dispatch).await;
                looked = Some(now);
            }
            let rest = LOOK.saturating_sub(now.saturating_sub(looked.unwrap_or(now)));
            tokio::select! {
                biased;
                () = stop.stopping() => {}
                () = self.changed.notified() => tokio::select! {
                    biased;
                    () = stop.stopping() => {}
                    () = self.world.clock.sleep(FLUSH) => self.flush().await,
                },
                () = self.world.clock.sleep(rest) => {}
            }
        }
        self.flush().await;
        drop(busy);
    }

    /// What was counted before the last start.
    async fn load(&self) {
        let state = self.state.clone();
        let counted = self
            .world
            .work
            .on(Pool::Disk, move || state.counted())
            .await;
        match counted {
            Ok(Ok(counted)) => self.tally().load(counted),
            Ok(Err(fault)) => self.log.fault_of(&fault),
            // A panic was told where it happened.
            Err(_) => {}
        }
    }

    /// Writes what has changed since the last time.
    async fn flush(&self) {
        let changed = self.tally().changed();
        // One after the other, so that nobody who counts waits for the copy of all.
        let copy = |key: Key| Some((key.clone(), self.tally().get(&key)?));
        let changed: Vec<_> = changed.into_iter().filter_map(copy).collect();
        if changed.is_empty() {
            return;
        }
        let keys: Vec<Key> = changed.iter().map(|(key, _)| key.clone()).collect();
        let state = self.state.clone();
        let write = move || state.keep_counted(&changed);
        let written = self.world.work.on(Pool::Disk, write).await;
        if let Ok(Err(fault)) = &written {
            self.log.fault_of(fault);
        }
        if !matches!(written, Ok(Ok(()))) {
            // With the next count, or at the end.
            self.tally().mark(keys);
        }
    }

    /// Keeps what a delivered message reports, when it went to a mailbox that gets reports. It may
    /// be read twice, after a crash: the same report is kept once.
    pub async fn read(&self, stored: &Stored, outcomes: &[(u32, Outcome)]) {
        let settings = self.settings();
        let recipients = &stored.envelope().recipients;
        let reads = |(index, outcome): &(u32, Outcome)| {
            let at = usize::try_from(*index).unwrap_or(usize::MAX);
            let to = recipients.get(at);
            outcome.fate == Fate::Delivered && to.is_some_and(|to| settings.reads_for(to))
        };
        if !outcomes.iter().any(reads) || stored.size() > MAIL_MAX {
            return;
        }
        let now = self.world.clock.now();
        let mail = match whole(stored).await {
            Ok(Some(mail)) => mail,
            Ok(None) => return,
            Err(fault) => return self.log.fault("reading a report that came", &fault),
        };
        let read = move || open::open(&mail).map(|report| Kept::new(&report, now));
        let id = stored.envelope().id.to_string();
        match self.world.work.on(Pool::Crypto, read).await {
            Ok(Ok(kept)) => self.keep_received(&id, kept).await,
            Ok(Err(why)) => self.log.emit(&Event::ReportUnread {
                id: &id,
                cause: clean(&why.to_string()),
            }),
            Err(_) => {}
        }
    }

    async fn keep_received(&self, id: &str, kept: Kept) {
        let state = self.state.clone();
        let told = kept.clone();
        let write = move || state.keep_received(&kept);
        match self.world.work.on(Pool::Disk, write).await {
            Ok(Ok(())) => self.log.emit(&Event::ReportReceived {
                id,
                kind: clean(&told.kind),
                domain: clean(&told.domain),
                by: clean(&told.organization),
                messages: told.messages,
                failed: told.failed,
            }),
            Ok(Err(fault)) => self.log.fault_of(&fault),
            Err(_) => {}
        }
    }

    /// The reports that came about `domain`, or all of them, the oldest period first.
    ///
    /// # Errors
    /// The state cannot be read; the fault is told.
    pub async fn received(&self, domain: Option<String>) -> Result<Vec<Kept>, String> {
        let state = self.state.clone();
        let list = move || state.received(domain.as_deref());
        match self.world.work.on(Pool::Disk, list).await {
            Ok(Ok(kept)) => Ok(kept),
            Ok(Err(fault)) => {
                self.log.fault_of(&fault);
                Err("the state of reports cannot be read; the log says why".to_owned())
            }
            Err(panicked) => Err(panicked.to_string()),
        }
    }
}

/// All octets of a message that says that it brings a report.
async fn whole(stored: &Stored) -> io::Result<Option<Vec<u8>>> {
    let mut content = stored.content();
    let mut mail = Vec::new();
    let mut is_report = false;
    while let Some(piece) = content.next().await? {
        mail.extend_from_slice(&piece);
        if !is_report && let Some(end) = header_end(&mail) {
            if !report::is_report(mail.get(..end).unwrap_or_default()) {
                return Ok(None);
            }
            is_report = true;
        }
    }
    Ok(is_report.then_some(mail))
}

fn header_end(mail: &[u8]) -> Option<usize> {
    mail.windows(4)
        .position(|w| w == b"\r\n\r\n")
        .map(|at| at + 2)
}
