//! The helper that writes mail files for another user, when the server started as root.
//!
//! A helper is this same program, started before the server gives up its rights, that becomes the
//! owner of the mail files and then serves one socket: letters and content in, one result per
//! letter out. It runs the same [`maildir`] code. There are a few of them for each owner, so that
//! deliveries do not wait for each other's syncs.
//!
//! Its input is validated as if it came from the network: every length is bounded, a folder can
//! only lead down from one of the roots that were given at start. What breaks the rules ends the
//! helper. Frames are a kind, a length (32 bits, big-endian) and that many octets:
//!
//! ```text
//! server → helper   1 letter: root (u32), folder, address, head (each with its length)
//!                   2 content, any number of pieces      3 end      4 abandon
//! helper → server   5 results: per letter a kind (0 done, 1 loops, 2 failed) and a text
//! ```
//!
//! A helper that takes long keeps its lane: its answer is waited for, however late it comes, on the
//! thread of the job. Who gives that job up is the caller's business.
//!
//! It does **not** decide who owns what, and it cannot be started again once the server has given
//! up its rights: a lost helper is a fault that a restart mends.

use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use posthaste_world::Disk;

use super::maildir::{self, Letter, Put};
use crate::config::{Config, Deliver};

/// Helpers for one owner: deliveries that go on at once.
pub const HELPERS_PER_OWNER: usize = 4;
/// The hidden command that a helper is started with.
pub const COMMAND: &str = "mail-helper";

/// Octets of a frame at most.
const FRAME_MAX: usize = 128 * 1024;
/// Letters of one delivery at most: the recipients of one piece of work.
const LETTERS_MAX: usize = posthaste_queue::schedule::RECIPIENTS_PER_WORK;
/// Octets of an error's text at most.
const TEXT_MAX: usize = 512;
/// How long a delivery waits for a helper that is free.
pub const LANE_PATIENCE: Duration = Duration::from_secs(5);

const LETTER: u8 = 1;
const CONTENT: u8 = 2;
const END: u8 = 3;
const ABANDON: u8 = 4;
const RESULTS: u8 = 5;

/// The helpers of one owner.
pub struct Helpers {
    owner: String,
    roots: Vec<PathBuf>,
    lanes: Mutex<Lanes>,
    given_back: Condvar,
    patience: Duration,
}

struct Lanes {
    idle: Vec<UnixStream>,
    alive: usize,
}

impl Helpers {
    /// Starts helpers that become `owner`, and may write below `roots`; `hostname` is part of file
    /// names. Call it as root.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start(owner: &str, hostname: &str, roots: &[PathBuf]) -> io::Result<Helpers> {
        let program = std::env::current_exe()?;
        let lane = |_| {
            let (ours, theirs) = UnixStream::pair()?;
            let mut command = Command::new(&program);
            command
                .args([COMMAND, owner, hostname])
                .args(roots)
                .stdin(OwnedFd::from(theirs));
            // Its end is the end of our socket: a signal meant for the server is not for it.
            command.stdout(Stdio::null()).process_group(0).spawn()?;
            Ok(ours)
        };
        let idle = (0..HELPERS_PER_OWNER)
            .map(lane)
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Helpers::over(owner, roots, idle, LANE_PATIENCE))
    }

    /// Starts all helpers that a configuration asks for. Call it as root.
    ///
    /// There is an entry, of nobody and without lanes, even when it asks for none: an empty list is
    /// the mark of a server that may write for itself whoever the owner is.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start_all(config: &Config) -> io::Result<Vec<Arc<Helpers>>> {
        let mut owners: BTreeMap<&str, Vec<PathBuf>> = BTreeMap::new();
        for domain in &config.domains {
            if let (Some(owner), Deliver::Maildir(path)) = (&domain.owner, &domain.deliver) {
                let roots = owners.entry(owner).or_default();
                if !roots.iter().any(|r| r == path.root()) {
                    roots.push(path.root().to_owned());
                }
            }
        }
        let hostname = config.hostname.as_str();
        let start = |(owner, roots): (&str, Vec<PathBuf>)| {
            Helpers::start(owner, hostname, &roots).map(Arc::new)
        };
        let nobody = Arc::new(Helpers::over("", &[], Vec::new(), LANE_PATIENCE));
        let others = owners.into_iter().map(start);
        std::iter::once(Ok(nobody)).chain(others).collect()
    }

    /// Helpers that are reached over `lanes`; a delivery waits for one of them for `patience`.
    #[must_use]
    pub fn over(
        owner: &str,
        roots: &[PathBuf],
        lanes: Vec<UnixStream>,
        patience: Duration,
    ) -> Helpers {
        Helpers {
            owner: owner.to_owned(),
            roots: roots.to_vec(),
            lanes: Mutex::new(Lanes {
                alive: lanes.len(),
                idle: lanes,
            }),
            given_back: Condvar::new(),
            patience,
        }
    }

    /// Whose files they write.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Has a message delivered; blocks. As [`maildir::deliver`].
    ///
    /// # Errors
    /// When the content cannot be read; nothing was delivered then.
    pub fn deliver(
        &self,
        root: &Path,
        letters: &[Letter],
        content: impl FnMut() -> io::Result<Option<Bytes>>,
    ) -> io::Result<Vec<Put>> {
        let all_failed = |e: &io::Error| {
            letters
                .iter()
                .map(|_| Put::Failed(maildir::again(e)))
                .collect::<Vec<_>>()
        };
        let Some(root) = self.roots.iter().position(|r| r == root) else {
            let why = "this folder is new since the start; restart the server";
            return Ok(all_failed(&io::Error::new(io::ErrorKind::Unsupported, why)));
        };
        let lane = match self.lane() {
            Ok(lane) => lane,
            Err(e) => return Ok(all_failed(&e)),
        };
        match exchange(&lane, root, letters, content) {
            Ok(results) => {
                self.give_back(Some(lane));
                results
            }
            Err(e) => {
                self.give_back(None);
                let why = format!(
                    "a helper of {} was lost ({e}); restart the server to have it again; what it \
                     was writing may be delivered twice",
                    self.owner
                );
                Ok(all_failed(&io::Error::other(why)))
            }
        }
    }

    fn lane(&self) -> io::Result<UnixStream> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let all_busy = |lanes: &mut Lanes| lanes.idle.is_empty() && lanes.alive > 0;
        let waited = self
            .given_back
            .wait_timeout_while(lanes, self.patience, all_busy);
        let (mut lanes, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let owner = &self.owner;
        match (lanes.idle.pop(), lanes.alive) {
            (Some(lane), _) => Ok(lane),
            (None, 0) => {
                let why = format!("the helpers of {owner} have ended; restart the server");
                Err(io::Error::new(io::ErrorKind::BrokenPipe, why))
            }
            (None, _) => {
                let why = format!("all helpers of {owner} are busy: their disk may hang");
                Err(io::Error::new(io::ErrorKind::TimedOut, why))
            }
        }
    }

    fn give_back(&self, lane: Option<UnixStream>) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        match lane {
            Some(lane) => lanes.idle.push(lane),
            None => lanes.alive -= 1,
        }
        drop(lanes);
        self.given_back.notify_all();
    }
}

/// One delivery over one lane. The outer error means that the lane is lost, the inner one that the
/// content could not be read.
fn exchange(
    lane: &UnixStream,
    root: usize,
    letters: &[Letter],
    mut content: impl FnMut() -> io::Result<Option<Bytes>>,
) -> io::Result<io::Result<Vec<Put>>> {
    let mut to = BufWriter::with_capacity(FRAME_MAX, lane);
    for letter in letters {
        write_frame(&mut to, LETTER, &encode(root, letter)?)?;
    }
    let unreadable = loop {
        match content() {
            Ok(Some(piece)) => {
                for part in piece.chunks(FRAME_MAX) {
                    write_frame(&mut to, CONTENT, part)?;
                }
            }
            Ok(None) => break None,
            Err(e) => break Some(e),
        }
    };
    write_frame(
        &mut to,
        if unreadable.is_some() { ABANDON } else { END },
        &[],
    )?;
    to.flush()?;
    let mut from = lane;
    let (kind, payload) = read_frame(&mut from)?;
    let results = Some(kind)
        .filter(|k| *k == RESULTS)
        .and_then(|_| results_of(&payload));
    match (results, unreadable) {
        (Some(_), Some(e)) => Ok(Err(e)),
        (Some(results), None) if results.len() == letters.len() => Ok(Ok(results)),
        _ => Err(broken("the helper answered what was not asked")),
    }
}

/// What a helper does: serves its standard input until the server closes it.
///
/// # Errors
/// When the socket fails, or what comes over it breaks the rules.
pub fn serve(
    socket: &UnixStream,
    disk: &dyn Disk,
    roots: &[PathBuf],
    name: impl Fn() -> String,
) -> io::Result<()> {
    let mut from = BufReader::with_capacity(FRAME_MAX, socket);
    let mut letters = Vec::new();
    let mut root = 0;
    loop {
        let (kind, payload) = match read_frame(&mut from) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && letters.is_empty() => {
                return Ok(());
            }
            frame => frame?,
        };
        if kind == LETTER && letters.len() < LETTERS_MAX {
            let (at, letter) = decode(&payload).ok_or_else(|| broken("a malformed letter"))?;
            root = at;
            letters.push(letter);
            continue;
        }
        let mut next = Some((kind, payload));
        let mut unlawful = false;
        let content = || match next.take().map_or_else(|| read_frame(&mut from), Ok)? {
            (CONTENT, piece) => Ok(Some(Bytes::from(piece))),
            (END, _) => Ok(None),
            (kind, _) => {
                unlawful = kind != ABANDON;
                Err(broken("the content has no end"))
            }
        };
        let above = roots
            .get(root)
            .ok_or_else(|| broken("a root that was not given"))?;
        let results = maildir::deliver_below(disk, above, &letters, content, &name);
        if unlawful {
            return Err(broken("a frame out of order"));
        }
        let mut to = socket;
        write_frame(
            &mut to,
            RESULTS,
            &encode_results(&results.unwrap_or_default()),
        )?;
        letters.clear();
    }
}

/// The socket that a helper finds as its standard input.
///
/// # Errors
/// When it cannot be had.
pub fn standard_input() -> io::Result<UnixStream> {
    Ok(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?))
}

fn write_frame(to: &mut impl Write, kind: u8, payload: &[u8]) -> io::Result<()> {
    to.write_all(&[kind])?;
    to.write_all(&length(payload.len())?)?;
    to.write_all(payload)
}

fn read_frame(from: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    from.read_exact(&mut head)?;
    let [kind, a, b, c, d] = head;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > FRAME_MAX {
        return Err(broken("a frame above its limit"));
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload)?;
    Ok((kind, payload))
}

fn length(n: usize) -> io::Result<[u8; 4]> {
    let fits = u32::try_from(n).ok().filter(|_| n <= FRAME_MAX);
    Ok(fits
        .ok_or_else(|| broken("a value above its limit"))?
        .to_be_bytes())
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn encode(root: usize, letter: &Letter) -> io::Result<Vec<u8>> {
    let folder = letter
        .folder
        .to_str()
        .ok_or_else(|| broken("a path that is not UTF-8"))?;
    let mut payload = length(root)?.to_vec();
    for text in [folder, &letter.address, &letter.head] {
        payload.extend_from_slice(&length(text.len())?);
        payload.extend_from_slice(text.as_bytes());
    }
    Ok(payload)
}

fn decode(mut payload: &[u8]) -> Option<(usize, Letter)> {
    let root = take_number(&mut payload)?;
    let folder = PathBuf::from(take_text(&mut payload)?);
    let address = take_text(&mut payload)?;
    let head = take_text(&mut payload)?;
    let fit = payload.is_empty() && maildir::is_plain(&folder);
    fit.then_some((
        root,
        Letter {
            folder,
            address,
            head,
        },
    ))
}

fn encode_results(results: &[Put]) -> Vec<u8> {
    let mut payload = Vec::new();
    for put in results {
        let (kind, text) = match put {
            Put::Done => (0, String::new()),
            Put::Loops => (1, String::new()),
            Put::Failed(e) if maildir::is_full(e) => (2, e.to_string()),
            Put::Failed(e) => (3, e.to_string()),
        };
        let text: String = text.chars().take(TEXT_MAX / 4).collect();
        payload.push(kind);
        payload.extend_from_slice(&length(text.len()).unwrap_or_default());
        payload.extend_from_slice(text.as_bytes());
    }
    payload
}

fn results_of(mut payload: &[u8]) -> Option<Vec<Put>> {
    let mut results = Vec::new();
    while let Some((kind, rest)) = payload.split_first() {
        payload = rest;
        let text = take_text(&mut payload)?;
        results.push(match kind {
            0 => Put::Done,
            1 => Put::Loops,
            2 => Put::Failed(io::Error::new(io::ErrorKind::StorageFull, text)),
            3 => Put::Failed(io::Error::other(text)),
            _ => return None,
        });
    }
    (results.len() <= LETTERS_MAX).then_some(results)
}

fn take_number(payload: &mut &[u8]) -> Option<usize> {
    let (number, rest) = payload.split_first_chunk()?;
    *payload = rest;
    usize::try_from(u32::from_be_bytes(*number)).ok()
}

fn take_text(payload: &mut &[u8]) -> Option<String> {
    let length = take_number(payload)?;
    let (text, rest) = payload.split_at_checked(length)?;
    *payload = rest;
    String::from_utf8(text.to_vec()).ok()
}
