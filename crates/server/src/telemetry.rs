//! What happened, as records: one typed [`Event`], one JSON object a line.
//!
//! Records are emitted where values meet (reception, delivery, the program's start and end), never
//! inside a stage. Every record of a message carries its queue id, which is also its transaction id
//! and stands in the replies. The fields are documented in `docs/reference/log.md`.
//!
//! The log never holds up mail: records wait in a bounded buffer that one task writes out, and what
//! does not fit is counted and reported. Peer data is escaped by the JSON writer, and characters
//! that could move a terminal's cursor are replaced ([`clean`]).
//!
//! This module does **not** decide anything, and nothing reads its records to decide.

use std::borrow::Cow;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use posthaste_mailauth::Verdict;
use posthaste_mailauth::dkim::Finding;
use posthaste_world::{Clock, Work};
use serde::Serialize;
use tokio::sync::Notify;

use crate::authenticate::message::Judgement;
use crate::fault::Fault;
use crate::tls::{Facts, Peer};

/// Octets of records that wait to be written; beyond it records are dropped and counted.
const BUFFER_MAX: usize = 4 * 1024 * 1024;
/// How long records may gather before they are written.
const GATHER: Duration = Duration::from_millis(10);
/// Characters of a peer's text that are kept in a record.
const TEXT_MAX: usize = 1024;

/// Signatures of a message that a record names.
const NAMED: usize = 10;

/// One record.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event<'a> {
    /// The server accepts connections.
    Ready {
        /// The program's version.
        version: &'static str,
        /// Process id.
        pid: u32,
        /// The bound listeners.
        listeners: &'a [Bound],
    },
    /// The queue was read at start-up.
    Recovered {
        /// Messages in the queue.
        messages: usize,
        /// Faults found; each has a record of its own.
        damaged: usize,
        /// How long it took.
        ms: u64,
    },
    /// A connection ended.
    Connection {
        /// The connection's number since start-up.
        session: u64,
        /// Name of the service it reached.
        service: &'static str,
        /// The peer's address.
        peer: &'a str,
        /// What it called itself.
        hello: Cow<'a, str>,
        /// Messages accepted on it.
        accepted: u32,
        /// Transactions begun on it.
        transactions: u32,
        /// How it ended: `quit`, `lost`, `timeout`, `closed` (by us), `refused`, `stopping`,
        /// `no-tls`.
        end: &'a str,
        /// What protected it.
        #[serde(skip_serializing_if = "Option::is_none")]
        tls: Option<&'a Tls>,
        /// Why a handshake failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        tls_failed: Option<Cow<'a, str>>,
        /// How long it was open.
        ms: u64,
    },
    /// A peer met a limit, and was told so. Of a flood there are few records.
    Limit {
        /// The connection's number since start-up.
        session: u64,
        /// Name of the service it reached.
        service: &'static str,
        /// The peer's address.
        peer: &'a str,
        /// The key in `[limits]`.
        limit: &'a str,
        /// How often its address met limits since it was quiet; recorded at 1, 2, 4, 8 and so on.
        times: u32,
        /// What the peer was told.
        reply: Cow<'a, str>,
    },
    /// A peer that may say so said for whom it speaks.
    Xclient {
        /// The connection's number since start-up.
        session: u64,
        /// Who said it.
        relay: &'a str,
        /// For whom: its address, or that of who said it when it is unknown.
        peer: &'a str,
        /// Whether the address is the client's.
        address_known: bool,
        /// The client's host name; empty when unknown.
        name: Cow<'a, str>,
        /// What the client called itself; empty when unknown.
        hello: Cow<'a, str>,
        /// The account that the client showed to have; empty when none.
        account: Cow<'a, str>,
    },
    /// A proxy did not say for whom it connects; the connection was closed without a word.
    NotIntroduced {
        /// The connection's number since start-up.
        session: u64,
        /// Name of the service it reached.
        service: &'static str,
        /// The proxy's address.
        peer: &'a str,
        /// What was wrong with its PROXY header.
        why: Cow<'a, str>,
    },
    /// A client tried to say who it is.
    Auth {
        /// The connection's number.
        session: u64,
        /// The peer's address.
        peer: &'a str,
        /// The mechanism.
        mechanism: &'a str,
        /// The account, or what was given as one; empty when none was.
        account: Cow<'a, str>,
        /// Label of the password that was right; empty for the main one.
        #[serde(skip_serializing_if = "str::is_empty")]
        label: Cow<'a, str>,
        /// `accepted`, `refused` or `cancelled`.
        result: &'a str,
        /// The reply.
        #[serde(skip_serializing_if = "str::is_empty")]
        reply: Cow<'a, str>,
        /// Why it was refused, which the peer is not told.
        #[serde(skip_serializing_if = "str::is_empty")]
        cause: Cow<'a, str>,
    },
    /// The accounts were read again.
    Accounts {
        /// The file.
        file: Cow<'a, str>,
        /// How many there are.
        accounts: usize,
    },
    /// A transaction ended, in acceptance or not.
    Transaction {
        /// Queue id, which is the transaction id.
        id: &'a str,
        /// The connection's number.
        session: u64,
        /// The peer's address.
        peer: &'a str,
        /// Reverse-path.
        from: Cow<'a, str>,
        /// Recipients accepted at RCPT.
        to: &'a [String],
        /// Recipients refused at RCPT with the replies they got.
        refused: &'a [Refused],
        /// Octets received after the envelope.
        size: u64,
        /// The message's own id, when it has one.
        message_id: Cow<'a, str>,
        /// `accepted`, `refused`, `deferred`, `aborted` or `lost`.
        result: &'a str,
        /// The reply to the end of data, or why there was none.
        reply: Cow<'a, str>,
        /// The account that submitted it.
        #[serde(skip_serializing_if = "Option::is_none")]
        account: Option<&'a str>,
        /// What was found about who sent it.
        #[serde(skip_serializing_if = "Option::is_none")]
        sender: Option<Sender<'a>>,
        /// What protected it.
        #[serde(skip_serializing_if = "Option::is_none")]
        tls: Option<&'a Tls>,
    },
    /// One try at one destination ended.
    Attempt {
        /// Queue id.
        id: &'a str,
        /// The scheduling key.
        destination: &'a str,
        /// Host that took or refused it; empty when none was reached.
        host: Cow<'a, str>,
        /// Recipients tried.
        recipients: usize,
        /// Hosts that were tried before, and why each was passed over.
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        passed_over: &'a [String],
        /// What protected it; none in clear.
        #[serde(skip_serializing_if = "Option::is_none")]
        tls: Option<&'a Tls>,
        /// Why it went in clear, where TLS was tried.
        #[serde(skip_serializing_if = "Option::is_none")]
        tls_failed: Option<Cow<'a, str>>,
        /// How long it took.
        ms: u64,
    },
    /// One recipient's outcome of an attempt.
    Recipient {
        /// Queue id.
        id: &'a str,
        /// Address delivered to.
        to: Cow<'a, str>,
        /// `delivered`, `deferred`, `failed`, `expired`.
        outcome: &'a str,
        /// The reply that decided.
        reply: Cow<'a, str>,
        /// Host that gave it.
        host: Cow<'a, str>,
        /// Attempts so far, this one included.
        attempts: u32,
        /// Seconds until the next attempt; only when deferred.
        #[serde(skip_serializing_if = "Option::is_none")]
        next_s: Option<u64>,
    },
    /// A report was queued.
    Report {
        /// Queue id of the message that is reported on.
        about: &'a str,
        /// Queue id of the report.
        id: &'a str,
        /// Where it goes.
        to: Cow<'a, str>,
    },
    /// A report was not made, since its reverse-path is most likely forged.
    ReportWithheld {
        /// Queue id of the message that would have been reported on.
        about: &'a str,
        /// The reverse-path.
        to: Cow<'a, str>,
        /// Recipients that it would have named.
        recipients: usize,
    },
    /// The operator changed something in the queue.
    Operator {
        /// The verb.
        verb: &'a str,
        /// Messages it concerned.
        messages: usize,
        /// The first of their queue ids.
        ids: &'a [String],
    },
    /// Something of ours failed; the operator must act.
    Fault {
        /// What was being done.
        doing: Cow<'a, str>,
        /// Why it failed.
        cause: Cow<'a, str>,
    },
    /// A domain was told what was seen of mail in its name.
    ReportSent {
        /// The domain.
        domain: Cow<'a, str>,
        /// The report's id.
        report: Cow<'a, str>,
        /// Where it goes; nowhere, when nobody wants it any more.
        to: &'a [String],
        /// Messages that it tells of.
        messages: u64,
    },
    /// A report about mail in our name came, and is kept.
    ReportReceived {
        /// The message that brought it.
        id: &'a str,
        /// `dmarc`, `tls`, or what it says of one message.
        kind: Cow<'a, str>,
        /// The domain that it is about.
        domain: Cow<'a, str>,
        /// Who reports.
        by: Cow<'a, str>,
        /// Messages that it tells of.
        messages: u64,
        /// Those of them that did not pass.
        failed: u64,
    },
    /// A message that should bring a report has none that can be read. It was delivered as it is.
    ReportUnread {
        /// The message.
        id: &'a str,
        /// Why.
        cause: Cow<'a, str>,
    },
    /// A key of DKIM has come to another stage.
    DkimKey {
        /// Its domain.
        domain: &'a str,
        /// Its selector.
        selector: &'a str,
        /// `published` (its record is to be published), `active` (it signs), `retiring` (its record
        /// must stay), `retired` (its record may go), `forgotten` (its record is gone).
        stage: &'static str,
    },
    /// A certificate is served from now on, or is served and expires soon.
    Certificate {
        /// Its file.
        file: Cow<'a, str>,
        /// The first of its host names.
        names: &'a [String],
        /// `valid`, `expires` (within 21 days) or `expired`.
        state: &'a str,
        /// Whole days until it expires; negative afterwards.
        days: i64,
        /// The day on which it expires.
        until: String,
    },
    /// A configuration was read again.
    Reloaded {
        /// The file.
        config: Cow<'a, str>,
    },
    /// The server stops: no new connections, transactions may end.
    Stopping {
        /// Open connections.
        connections: usize,
    },
    /// The server has stopped.
    Stopped {},
    /// Records were lost because nobody read them fast enough.
    RecordsLost {
        /// How many.
        count: u64,
    },
}

/// A bound listener.
#[derive(Debug, Clone, Serialize)]
pub struct Bound {
    /// Name of the service.
    pub service: &'static str,
    /// Address and port, or the socket's path.
    pub address: String,
}

/// What TLS protected a connection.
#[derive(Debug, Clone, Serialize)]
pub struct Tls {
    /// The version, as `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite.
    pub cipher: String,
    /// The name that the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the other end's certificate proved: `verified`, or why it did not; absent when it
    /// showed none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

impl From<&Facts> for Tls {
    fn from(facts: &Facts) -> Self {
        Tls {
            version: facts.version,
            cipher: facts.cipher.clone(),
            name: facts.server_name.as_deref().map(|n| clean(n).into_owned()),
            peer: match &facts.peer {
                Peer::Unknown => None,
                Peer::Unverified(why) => Some(clean(why).into_owned()),
                Peer::Verified(_) => Some("verified".into()),
            },
        }
    }
}

/// What was found about who sent a message, in the words of RFC 8601.
#[derive(Debug, Clone, Serialize)]
pub struct Sender<'a> {
    /// SPF of MAIL FROM.
    pub spf: &'static str,
    /// Each signature, as `pass example.org`; the first ten.
    pub dkim: Vec<String>,
    /// The ARC chain.
    pub arc: &'static str,
    /// DMARC.
    pub dmarc: &'static str,
    /// The domain that the From field names.
    pub from: Cow<'a, str>,
    /// What was to be done: `none`, `quarantine`, `reject`.
    pub disposition: &'static str,
    /// Why it is not what the domain asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<&'static str>,
}

impl<'a> From<&'a Judgement> for Sender<'a> {
    fn from(judgement: &'a Judgement) -> Self {
        let dmarc = &judgement.dmarc;
        let signature = |found: &Finding| {
            let result = format!("{} {}", found.verdict.word(), found.domain);
            clean(&result).into_owned()
        };
        let spf = judgement.mail_from().map(|checked| checked.verdict);
        Sender {
            spf: spf.unwrap_or(Verdict::None).word(),
            dkim: judgement.dkim.iter().take(NAMED).map(signature).collect(),
            arc: judgement.arc.verdict.word(),
            dmarc: dmarc.verdict.word(),
            from: clean(dmarc.domain.as_deref().unwrap_or_default()),
            disposition: judgement.disposition().word(),
            because: judgement
                .decision
                .overrides
                .iter()
                .map(|reason| reason.kind.word())
                .collect(),
        }
    }
}

/// A recipient that was refused at RCPT.
#[derive(Debug, Clone, Serialize)]
pub struct Refused {
    /// The forward-path as it was given.
    pub to: String,
    /// The reply.
    pub reply: String,
}

#[derive(Serialize)]
struct Line<'a> {
    time: jiff::Timestamp,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

struct Buffer {
    bytes: Vec<u8>,
    lost: u64,
}

/// Where records go.
pub struct Log {
    buffer: Mutex<Buffer>,
    gathered: Notify,
    sink: Mutex<Box<dyn Write + Send>>,
    clock: Arc<dyn Clock>,
}

impl Log {
    /// A log that writes to `sink`. Nothing is written before [`Log::run`] runs or
    /// [`Log::flush`] is called.
    #[must_use]
    pub fn new(sink: Box<dyn Write + Send>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Log {
            buffer: Mutex::new(Buffer {
                bytes: Vec::new(),
                lost: 0,
            }),
            gathered: Notify::new(),
            sink: Mutex::new(sink),
            clock,
        })
    }

    /// Records an event. Never waits for whoever reads the log.
    pub fn emit(&self, event: &Event<'_>) {
        let ms = i64::try_from(self.clock.now().as_millis()).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.bytes.len() >= BUFFER_MAX {
            buffer.lost += 1;
            return;
        }
        let first = buffer.bytes.is_empty();
        // Writing JSON to memory cannot fail for these types.
        let _ = serde_json::to_writer(&mut buffer.bytes, &Line { time, event });
        buffer.bytes.push(b'\n');
        drop(buffer);
        if first {
            self.gathered.notify_one();
        }
    }

    /// Records that the operator must act.
    pub fn fault(&self, doing: &str, cause: &dyn std::fmt::Display) {
        self.emit(&Event::Fault {
            doing: clean(doing),
            cause: clean(&cause.to_string()),
        });
    }

    /// Records a fault with its advice.
    pub fn fault_of(&self, fault: &Fault) {
        let cause = match fault.fix.as_str() {
            "" => fault.cause.clone(),
            fix => format!("{}; to mend it, {fix}", fault.cause),
        };
        self.fault(&fault.doing, &cause);
    }

    /// Writes out what is gathered, for as long as the program runs.
    pub async fn run(self: Arc<Self>, work: Arc<dyn Work>) {
        loop {
            self.gathered.notified().await;
            self.clock.sleep(GATHER).await;
            let log = self.clone();
            // The reader of our output may be slow, so a worker of the runtime never writes it.
            let _ = work
                .on(posthaste_world::work::Pool::Disk, move || log.flush())
                .await;
        }
    }

    /// Writes out what is gathered now; waits for the reader of the log.
    pub fn flush(&self) {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let (bytes, lost) = {
            let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
            (
                std::mem::take(&mut buffer.bytes),
                std::mem::take(&mut buffer.lost),
            )
        };
        // Whoever closed our output does not want the records; there is nobody to tell.
        let _ = sink.write_all(&bytes);
        if lost > 0 {
            self.emit(&Event::RecordsLost { count: lost });
        }
        let _ = sink.flush();
    }
}

/// A peer's text made fit for a record: bounded, and without characters that control a terminal or
/// reverse the direction of what follows. JSON's own escapes cover C0 controls.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    let fit = |c: char| !steers(c) && !turns(c);
    if text.len() <= TEXT_MAX && text.chars().all(fit) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars()
            .take(TEXT_MAX)
            .map(|c| if fit(c) { c } else { '\u{fffd}' })
            .collect(),
    )
}

/// Delete and the C1 controls: a terminal may obey them.
fn steers(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}')
}

/// The marks that turn the direction of writing.
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn text_that_could_move_a_cursor_is_replaced() {
        assert_eq!(clean("plain ünïcode"), "plain ünïcode");
        assert_eq!(clean("a\u{9b}2Jb\u{202e}c"), "a\u{fffd}2Jb\u{fffd}c");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(clean(&"x".repeat(5000)).len(), 1024);
    }
}
