//! What fails in a spool, for the peer and for the operator.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use posthaste_smtp::reply::Reply;

/// Something of ours failed: what, where, why, and what to do.
#[derive(Debug)]
pub struct Fault {
    doing: &'static str,
    path: PathBuf,
    cause: io::Error,
    advice: &'static str,
}

impl Fault {
    pub(super) fn new(doing: &'static str, path: &Path, cause: io::Error) -> Self {
        let advice = match cause.kind() {
            io::ErrorKind::PermissionDenied => "give the server's user read and write access",
            io::ErrorKind::StorageFull => "free disk space, or move the spool to a larger disk",
            io::ErrorKind::WouldBlock => "stop the other server that uses this folder",
            io::ErrorKind::InvalidData => "keep the files set aside and restore them from a backup",
            io::ErrorKind::Unsupported => "start the version of the server that wrote it",
            _ => "check the disk and the kernel log",
        };
        Fault {
            doing,
            path: path.to_owned(),
            cause,
            advice,
        }
    }

    /// More of a segment was said to be needed no longer than was needed: a mistake of ours.
    pub(super) fn miscounted(path: &Path) -> Self {
        let cause = "its octets were counted wrongly; it is kept until the next start";
        Fault {
            doing: "counting what is needed of the segment",
            path: path.to_owned(),
            cause: io::Error::other(cause),
            advice: "nothing is lost; report this as a bug",
        }
    }

    /// What was being done, in the form "writing a segment".
    #[must_use]
    pub fn doing(&self) -> &'static str {
        self.doing
    }

    /// The file or folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why it failed.
    #[must_use]
    pub fn cause(&self) -> &io::Error {
        &self.cause
    }

    /// What the operator can do.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        self.advice
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (doing, path) = (self.doing, self.path.display());
        write!(f, "{doing} {path}: {}; {}", self.cause, self.advice)
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Why a change was not made. Nothing of it is durable, and nothing of it comes back, unless it
/// says so itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteError {
    /// The disk is full. Outcomes are still written.
    Full,
    /// The disk failed; the operator was told. Later attempts may work.
    Failed,
    /// The disk failed so badly that not even the refusal is durable: after a crash the change may
    /// turn out to be made. A session closes the connection without a reply, if it can: then the
    /// peer keeps the message, as it must when it is told to try again (RFC 5321 §4.5.3.2.6).
    InDoubt,
    /// The change is larger than a frame may be, or breaks a limit of the envelope.
    TooLarge,
    /// No such message, or it has no such recipient, or the new message's id is taken.
    Unknown,
    /// The spool is closed.
    Closed,
}

impl WriteError {
    /// The reply to a peer whose message was not kept.
    #[must_use]
    pub fn reply(self) -> Reply {
        match self {
            WriteError::Full => Reply::new(452, (4, 3, 1), "the disk is full; try again later"),
            WriteError::TooLarge => {
                Reply::new(552, (5, 3, 4), "the envelope is too large to be kept")
            }
            WriteError::Closed => Reply::new(421, (4, 3, 2), "the server is stopping"),
            WriteError::InDoubt => Reply::new(421, (4, 3, 0), "the disk failed; closing"),
            WriteError::Failed | WriteError::Unknown => Reply::new(
                451,
                (4, 3, 0),
                "the message could not be kept; try again later",
            ),
        }
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WriteError::Full => "the spool's disk is full",
            WriteError::Failed => "the spool's disk failed",
            WriteError::InDoubt => "the spool's disk failed, and takes no refusal either",
            WriteError::TooLarge => "the change is too large for the spool",
            WriteError::Unknown => "the spool knows no such message or recipient",
            WriteError::Closed => "the spool is closed",
        })
    }
}

impl std::error::Error for WriteError {}

/// Why a message was not read.
#[derive(Debug)]
pub enum ReadError {
    /// No such message (any more).
    Unknown,
    /// It is damaged on disk, or the disk failed.
    Fault(Fault),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Unknown => f.write_str("the spool knows no such message"),
            ReadError::Fault(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}
