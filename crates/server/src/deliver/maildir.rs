//! Final delivery into Maildir folders, the blocking part: write, sync, rename, sync the folder.
//!
//! A message appears in `new` whole and durable, or not at all: a failure or a crash before the
//! rename leaves at most a file in `tmp`, which mail programs clean up. Line ends become LF. Names
//! follow the Maildir convention (`time.MusecPpidQn.host`) and hold nothing that a peer chose.
//!
//! It runs on a pool, or in the helper that owns the mail files ([`super::helper`]). It does
//! **not** choose the folder, and never reads a mailbox.

use std::io::{self, IoSlice};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use posthaste_world::disk::{File, Open};
use posthaste_world::{Disk, Timestamp};

/// Folders that are made when a mailbox lacks them, `tmp` last: a mailbox that has it has all of
/// them, durably.
const FOLDERS: [&str; 2] = ["new", "cur"];
/// Octets of a mailbox's path; a file's name and its folder still fit the system's limit of 4096.
const PATH_MAX: usize = 3 * 1024;
/// Octets in which `Delivered-To:` is looked for; longer header blocks are not ours.
const HEADER_MAX: usize = 256 * 1024;
const DELIVERED_TO: &[u8] = b"delivered-to:";

/// One copy to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The Maildir, below the folder that holds all of them.
    pub folder: PathBuf,
    /// Whose it is, as `Delivered-To:` has it.
    pub address: String,
    /// Fields that stand above the message. Their lines end as those of the file shall: where they
    /// end in LF, so does what came with CRLF; where they end in CRLF, the message is kept octet
    /// for octet.
    pub head: String,
}

impl Letter {
    fn is_exact(&self) -> bool {
        self.head.ends_with("\r\n")
    }
}

/// Makes file names that are unique on this host (<https://cr.yp.to/proto/maildir.html>).
#[derive(Debug)]
pub struct Names {
    host: String,
    process: u32,
    deliveries: AtomicU64,
}

impl Names {
    /// Names with `host`, our own name, in them.
    #[must_use]
    pub fn new(host: &str) -> Self {
        let host = host.replace('/', "\\057").replace(':', "\\072");
        Names {
            host,
            process: std::process::id(),
            deliveries: AtomicU64::new(0),
        }
    }

    /// A name that no other delivery of this host has.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> String {
        let n = self.deliveries.fetch_add(1, Ordering::Relaxed);
        let micros = (now.as_millis() % 1000) * 1000;
        format!(
            "{}.M{micros}P{}Q{n}.{}",
            now.as_secs(),
            self.process,
            self.host
        )
    }
}

/// What became of a letter.
#[derive(Debug)]
pub enum Put {
    /// It is in `new`, durably.
    Done,
    /// The mailbox had this message before: it carries the letter's own `Delivered-To:`.
    Loops,
    /// The disk failed; nothing is in `new`.
    Failed(io::Error),
}

/// Delivers `content` to every letter's mailbox below `root`; one result per letter, in order. No
/// symbolic link below `root` is followed.
///
/// # Errors
/// When the content cannot be read; nothing was delivered then.
pub fn deliver(
    root: &dyn Disk,
    letters: &[Letter],
    mut content: impl FnMut() -> io::Result<Option<Bytes>>,
    name: impl Fn() -> String,
) -> io::Result<Vec<Put>> {
    // It is not asked again after its end: in a helper that would be the next message.
    let mut ended = false;
    let mut content = || match ended {
        true => Ok(None),
        false => content().inspect(|piece| ended = piece.is_none()),
    };
    let top = Top::read(&mut content)?;
    let mut copies: Vec<Result<Copy<'_>, Put>> = Vec::with_capacity(letters.len());
    for letter in letters {
        copies.push(match top.was_delivered_to(&letter.address) {
            true => Err(Put::Loops),
            false => Copy::begin(root, letter, name()).map_err(Put::Failed),
        });
    }
    let exact = letters.iter().any(Letter::is_exact);
    let mut lines = UnixLines::default();
    let mut pieces = top.pieces.into_iter();
    loop {
        let piece = match pieces
            .next()
            .map_or_else(&mut content, |piece| Ok(Some(piece)))
        {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(e) => {
                copies.into_iter().flatten().for_each(|copy| copy.remove());
                return Err(e);
            }
        };
        let octets = match exact {
            true => &piece[..],
            false => lines.convert(&piece),
        };
        append(&mut copies, octets);
    }
    append(&mut copies, lines.rest());
    let publish = |copy: Result<Copy<'_>, Put>| match copy.map(|copy| copy.publish()) {
        Ok(Ok(())) => Put::Done,
        Ok(Err(e)) => Put::Failed(e),
        Err(put) => put,
    };
    Ok(copies.into_iter().map(publish).collect())
}

/// As [`deliver`], below the folder `root` of `disk`, which is made when it is missing.
///
/// # Errors
/// As [`deliver`].
pub fn deliver_below(
    disk: &dyn Disk,
    root: &Path,
    letters: &[Letter],
    mut content: impl FnMut() -> io::Result<Option<Bytes>>,
    name: impl Fn() -> String,
) -> io::Result<Vec<Put>> {
    match open_root(disk, root) {
        Ok(root) => deliver(&*root, letters, content, name),
        Err(e) => {
            // Whoever gives the content gives it to its end.
            while content()?.is_some() {}
            Ok(letters.iter().map(|_| Put::Failed(again(&e))).collect())
        }
    }
}

fn append(copies: &mut [Result<Copy<'_>, Put>], lines: &[u8]) {
    for slot in copies.iter_mut().filter(|_| !lines.is_empty()) {
        if let Ok(copy) = slot
            && let Err(e) = copy.append(lines)
            && let Ok(copy) = std::mem::replace(slot, Err(Put::Failed(e)))
        {
            copy.remove();
        }
    }
}

/// The first pieces of a message, which hold its header block.
struct Top {
    pieces: Vec<Bytes>,
    /// `Delivered-To:` fields, lower case.
    delivered_to: Vec<String>,
}

impl Top {
    fn read(content: &mut impl FnMut() -> io::Result<Option<Bytes>>) -> io::Result<Top> {
        let mut pieces = Vec::new();
        let mut block = Vec::new();
        while block.len() < HEADER_MAX && !ends(&block) {
            let Some(piece) = content()? else { break };
            let room = HEADER_MAX - block.len();
            block.extend_from_slice(piece.get(..room).unwrap_or(&piece));
            pieces.push(piece);
        }
        let lines = block.split(|o| *o == b'\n').map(<[u8]>::trim_ascii_end);
        let header = lines.take_while(|line| !line.is_empty());
        let delivered_to = header.filter_map(delivered_to).collect();
        Ok(Top {
            pieces,
            delivered_to,
        })
    }

    fn was_delivered_to(&self, address: &str) -> bool {
        self.delivered_to
            .iter()
            .any(|a| a.eq_ignore_ascii_case(address))
    }
}

fn ends(block: &[u8]) -> bool {
    block.windows(4).any(|w| w == b"\r\n\r\n")
}

fn delivered_to(line: &[u8]) -> Option<String> {
    let (name, value) = line.split_at_checked(DELIVERED_TO.len())?;
    let value = name.eq_ignore_ascii_case(DELIVERED_TO).then_some(value)?;
    Some(String::from_utf8_lossy(value).trim().to_owned())
}

/// CRLF to LF, over pieces split anywhere.
#[derive(Default)]
struct UnixLines {
    lines: Vec<u8>,
    /// A CR at the end of a piece waits for what follows.
    held_back: bool,
}

impl UnixLines {
    fn convert(&mut self, octets: &[u8]) -> &[u8] {
        self.lines.clear();
        if octets.is_empty() {
            return &self.lines;
        }
        if std::mem::take(&mut self.held_back) && octets.first() != Some(&b'\n') {
            self.lines.push(b'\r');
        }
        let mut rest = octets;
        while let Some(at) = rest.iter().position(|o| *o == b'\r') {
            let (line, end) = rest.split_at(at);
            self.lines.extend_from_slice(line);
            rest = end.get(1..).unwrap_or_default();
            match rest.first() {
                None => self.held_back = true,
                Some(b'\n') => {}
                Some(_) => self.lines.push(b'\r'),
            }
        }
        self.lines.extend_from_slice(rest);
        &self.lines
    }

    /// What was held back at the end of the message.
    fn rest(&mut self) -> &[u8] {
        if std::mem::take(&mut self.held_back) {
            b"\r"
        } else {
            b""
        }
    }
}

/// A file that is being written.
struct Copy<'a> {
    mailbox: Box<dyn Disk + 'a>,
    file: Box<dyn File>,
    name: String,
    position: u64,
}

impl<'a> Copy<'a> {
    fn begin(root: &'a dyn Disk, letter: &Letter, name: String) -> io::Result<Copy<'a>> {
        let tmp = Path::new("tmp").join(&name);
        let begun = match Self::open(root, &letter.folder, &tmp) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                make_mailbox(root, &letter.folder)?;
                Self::open(root, &letter.folder, &tmp)?
            }
            opened => opened?,
        };
        let (mailbox, file) = begun;
        let mut copy = Copy {
            mailbox,
            file,
            name,
            position: 0,
        };
        match copy.append(letter.head.as_bytes()) {
            Ok(()) => Ok(copy),
            Err(e) => {
                copy.remove();
                Err(e)
            }
        }
    }

    fn open(
        root: &'a dyn Disk,
        folder: &Path,
        tmp: &Path,
    ) -> io::Result<(Box<dyn Disk + 'a>, Box<dyn File>)> {
        let mailbox = root.within(folder)?;
        let file = mailbox.open(tmp, Open::CreateNew)?;
        Ok((mailbox, file))
    }

    fn append(&mut self, octets: &[u8]) -> io::Result<()> {
        self.file.write_at(self.position, &[IoSlice::new(octets)])?;
        self.position += u64::try_from(octets.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// The order is the promise: the content is durable before the name in `new` is, and the name
    /// is durable before anybody is told.
    fn publish(self) -> io::Result<()> {
        let (tmp, new) = (
            Path::new("tmp").join(&self.name),
            Path::new("new").join(&self.name),
        );
        let rename = || match self.mailbox.rename(&tmp, &new) {
            // Somebody else made `tmp` alone, or removed `new`.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                make_folders(&*self.mailbox)?;
                self.mailbox.rename(&tmp, &new)
            }
            renamed => renamed,
        };
        let placed = self.file.sync().and_then(|()| rename());
        match placed {
            Ok(()) => self.mailbox.sync_dir(Path::new("new")),
            Err(e) => {
                self.remove();
                Err(e)
            }
        }
    }

    /// Removes the file from `tmp`. What cannot be removed stays for the mail program to clean up.
    fn remove(self) {
        let _ = self.mailbox.remove(&Path::new("tmp").join(&self.name));
    }
}

/// Makes a mailbox's folders below `root`, durably.
fn make_mailbox(root: &dyn Disk, folder: &Path) -> io::Result<()> {
    root.create_dir(folder)?;
    make_folders(&*root.within(folder)?)?;
    // From the mailbox up to the root, whichever of them were there before.
    folder
        .ancestors()
        .try_for_each(|above| root.sync_dir(above))?;
    // Only now is `tmp` made, whose absence leads here: a crash in between is made good by the next
    // delivery.
    root.create_dir(&folder.join("tmp"))
}

fn make_folders(mailbox: &dyn Disk) -> io::Result<()> {
    for name in FOLDERS {
        mailbox.create_dir(Path::new(name))?;
    }
    mailbox.sync_dir(Path::new(""))
}

/// The folder above the mailboxes, which is made durably when it is missing.
fn open_root<'a>(disk: &'a dyn Disk, root: &Path) -> io::Result<Box<dyn Disk + 'a>> {
    match disk.within(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    let is_missing = |path: &&Path| {
        disk.sync_dir(path)
            .is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
    };
    let missing: Vec<&Path> = root.ancestors().take_while(is_missing).collect();
    disk.create_dir(root)?;
    missing
        .iter()
        .filter_map(|made| made.parent())
        .try_for_each(|above| disk.sync_dir(above))?;
    disk.within(root)
}

/// The same failure for another letter.
pub(super) fn again(e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), e.to_string())
}

/// Whether a mailbox's path can only lead down.
#[must_use]
pub fn is_plain(folder: &Path) -> bool {
    let mut parts = folder.components();
    folder.as_os_str().len() <= PATH_MAX
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && !folder.to_string_lossy().contains('\0')
}

/// Whether there is no room, of the disk's or of the owner's.
pub(super) fn is_full(e: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(e.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
