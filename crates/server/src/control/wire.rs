//! The control socket's protocol: frames of a length and JSON, or of a length and octets.
//!
//! A request is one JSON frame, for `send` followed by octet frames up to an empty one. The answer
//! is any number of [`Answer::Item`] frames and then [`Answer::Done`] or [`Answer::Failed`]. The
//! socket belongs to the server's user alone (mode 0600), so whoever can open it may do everything;
//! its input is bounded and parsed as if a stranger had sent it all the same.

use std::io;

use posthaste_world::BoxStream;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::feedback::received::Kept;

/// Most octets of one frame.
pub const FRAME_MAX: u32 = 1024 * 1024;

/// What is asked of the running server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// Look at or change queued messages.
    Queue {
        /// What to do.
        verb: Verb,
        /// Filter terms, all of which must hold.
        filter: Vec<String>,
        /// Change nothing.
        dry_run: bool,
    },
    /// Look at failed logins, or forget some.
    Failures {
        /// An account, an address or `all`; nothing to look only.
        clear: Option<String>,
    },
    /// Look at the reports that came.
    Reports {
        /// About this domain only.
        domain: Option<String>,
    },
    /// Queue the message that follows in octet frames.
    Send {
        /// Reverse-path; "" for the null one; `None` to take it from the From field.
        from: Option<String>,
        /// Recipients; none to take them from To, Cc and Bcc.
        recipients: Vec<String>,
    },
}

/// What to do with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are the commands")]
pub enum Verb {
    List,
    Count,
    Show,
    Hold,
    Release,
    Retry,
    Bounce,
    Delete,
}

impl Verb {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verb::List => "list",
            Verb::Count => "count",
            Verb::Show => "show",
            Verb::Hold => "hold",
            Verb::Release => "release",
            Verb::Retry => "retry",
            Verb::Bounce => "bounce",
            Verb::Delete => "delete",
        }
    }
}

/// One frame of an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// One object of the result.
    Item(Item),
    /// Failed logins of one address, one account, or one at the other.
    Failure(Failure),
    /// A report that came.
    Report(Kept),
    /// Where the recipients are: before the end of a count of the whole queue.
    Accounts(Accounts),
    /// The end; how many messages, or failures, it concerned.
    Done(u64),
    /// The message was queued under this id.
    Queued(String),
    /// The request was not carried out; the text says why and what to do.
    Failed(String),
}

/// The books of the whole queue: where the recipients are that came in since the server started.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Accounts {
    /// Messages in the queue.
    pub messages: u64,
    /// Recipients that were in the queue when the server started.
    pub recovered: u64,
    /// Recipients accepted since, those of our own reports among them.
    pub accepted: u64,
    /// Delivered, relayed, or given to `discard:`.
    pub delivered: u64,
    /// Failed for good.
    pub bounced: u64,
    /// Failed by age.
    pub expired: u64,
    /// Deleted by the operator.
    pub removed: u64,
    /// In the queue, and not held.
    pub queued: u64,
    /// Held.
    pub held: u64,
    /// What came in less what is known: 0, or the server has made a mistake.
    pub difference: i64,
}

/// A message of the queue; one documented object a line with `--json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Item {
    /// Queue id.
    pub id: String,
    /// Reverse-path; empty for the null one.
    pub from: String,
    /// When it was accepted, RFC 3339.
    pub arrived: String,
    /// Seconds since then.
    pub age_s: u64,
    /// No attempt is made before this, as its sender asked; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub release: Option<String>,
    /// When its sender wants it delivered, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deliver_by: Option<String>,
    /// −9 to 9; 0 is ordinary.
    #[serde(default)]
    pub priority: i8,
    /// When it is given up, RFC 3339.
    pub expires: String,
    /// Octets as received.
    pub size: u64,
    /// Address of the peer it came from.
    pub peer: String,
    /// The account that sent it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account: Option<String>,
    /// Recipients that are not settled.
    pub recipients: Vec<ItemRecipient>,
}

/// A recipient of a queued message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ItemRecipient {
    /// Final address.
    pub address: String,
    /// Address as given at RCPT, when it is another.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub original: Option<String>,
    /// `queued`, `deferred`, `held`, `active`, or `damaged` when the message cannot be read.
    pub state: String,
    /// Attempts so far.
    pub attempts: u32,
    /// Last reply or cause; empty before the first attempt.
    pub last_reply: String,
    /// Host that gave it; empty when it is our own finding.
    pub host: String,
    /// Scheduling key.
    pub destination: String,
    /// When the next attempt is due, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
    /// Why the destination as a whole waits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub destination_failure: Option<String>,
}

/// Failed logins; one documented object a line with `--json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// The address; of IPv6 the first of its /64.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// The account, or a name that nobody has.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account: Option<String>,
    /// Failures that count.
    pub failures: u32,
    /// The last of them, RFC 3339.
    pub last: String,
    /// Seconds in which nothing is tried.
    pub wait_s: u64,
}

/// Sends one frame of octets.
pub async fn write_octets(stream: &mut BoxStream, octets: &[u8]) -> io::Result<()> {
    let len = u32::try_from(octets.len()).map_err(|_| too_large())?;
    if len > FRAME_MAX {
        return Err(too_large());
    }
    stream.write_all(&len.to_be_bytes()).await?;
    stream.write_all(octets).await
}

/// Sends one frame of JSON.
pub async fn write<T: Serialize>(stream: &mut BoxStream, value: &T) -> io::Result<()> {
    write_octets(stream, &serde_json::to_vec(value)?).await?;
    stream.flush().await
}

/// Reads one frame of octets.
pub async fn read_octets(stream: &mut BoxStream) -> io::Result<Vec<u8>> {
    let len = stream.read_u32().await?;
    if len > FRAME_MAX {
        return Err(too_large());
    }
    let mut octets = vec![0; usize::try_from(len).map_err(|_| too_large())?];
    stream.read_exact(&mut octets).await?;
    Ok(octets)
}

/// Reads one frame of JSON.
pub async fn read<T: DeserializeOwned>(stream: &mut BoxStream) -> io::Result<T> {
    Ok(serde_json::from_slice(&read_octets(stream).await?)?)
}

fn too_large() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a frame of the control socket is too large",
    )
}
