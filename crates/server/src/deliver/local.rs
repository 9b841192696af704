//! Delivery into mailboxes of this machine: which folder, what stands on top, and what a failure of
//! the disk means for the recipient.
//!
//! The folder comes from the configuration's pattern and the configured, lower-case mailbox name.
//! As a second line of defence a name that could leave its folder is refused here too. File work
//! runs on a pool, one job for a message that fits one piece, so that workers of the runtime never
//! wait.
//!
//! This module does **not** know Maildir's order of steps ([`super::maildir`] does).

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use posthaste_message::trace;
use posthaste_smtp::reply::Reply;
use posthaste_world::work::Pool;
use posthaste_world::{Disk, World};

use super::maildir::{self, Letter, Names, Put};
use super::parcel::Parcel;
use super::{Attempted, Outcome};
use crate::fault::Fault;
use crate::route::{Route, Transport};

/// The transport for mailboxes of this machine.
pub struct Local {
    world: World,
    names: Arc<Names>,
}

impl Local {
    /// A transport that writes as this process; `hostname` is part of file names.
    #[must_use]
    pub fn new(world: World, hostname: &str) -> Self {
        Local {
            world,
            names: Arc::new(Names::new(hostname)),
        }
    }

    /// Delivers one copy to each recipient's mailbox.
    pub async fn deliver(&self, route: &Route, parcel: &Parcel<'_>, attempted: &mut Attempted) {
        let mut letters = Vec::new();
        let mut expected = Vec::new();
        // One destination is one domain, and a domain has one root.
        let mut above = Path::new("/");
        for (index, recipient) in parcel.recipients() {
            match route.transport(&recipient.address) {
                Transport::Maildir { root, folder, .. } if is_plain(&folder) => {
                    above = root;
                    expected.push((*index, folder.clone()));
                    letters.push(letter(parcel, folder, recipient.address.to_string()));
                }
                _ => attempted.outcomes.push((*index, Outcome::no_mailbox())),
            }
        }
        match self.put(above, letters, parcel).await {
            Ok(results) => {
                for ((index, folder), put) in expected.into_iter().zip(results) {
                    let outcome = outcome(&folder, put, &mut attempted.faults);
                    attempted.outcomes.push((index, outcome));
                }
            }
            Err(e) => {
                let reply = Reply::new(451, (4, 3, 0), format!("the message cannot be read: {e}"));
                let indexes: Vec<u32> = expected.iter().map(|(index, _)| *index).collect();
                attempted.settle_all(&indexes, &Outcome::local(reply));
                let doing = format!("reading message {}", parcel.stored().envelope().id);
                attempted.faults.push(Fault::new(doing, e));
            }
        }
    }

    /// One job for the whole message: workers of the runtime never wait for a disk.
    async fn put(
        &self,
        root: &Path,
        letters: Vec<Letter>,
        parcel: &Parcel<'_>,
    ) -> io::Result<Vec<Put>> {
        let root = root.to_owned();
        let mut content = parcel.stored().content();
        let World { disk, clock, .. } = self.world.clone();
        let names = self.names.clone();
        let job = move || {
            let name = || names.next(clock.now());
            let content = || content.next_blocking();
            match open_root(&*disk, &root) {
                Ok(root) => maildir::deliver(&*root, &letters, content, name),
                Err(e) => Ok(letters.iter().map(|_| Put::Failed(again(&e))).collect()),
            }
        };
        self.world
            .work
            .on(Pool::Disk, job)
            .await
            .map_err(io::Error::other)?
    }
}

/// A copy with its trace fields (RFC 5321 §4.4, RFC 9228), which stand above all others.
fn letter(parcel: &Parcel<'_>, folder: PathBuf, address: String) -> Letter {
    let reverse_path = parcel.reverse_path().mailbox();
    let mut head = trace::return_path(&reverse_path.map(ToString::to_string).unwrap_or_default());
    head.push_str(&trace::delivered_to(&address));
    Letter {
        folder,
        address,
        head: head.replace("\r\n", "\n"),
    }
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
fn again(e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), e.to_string())
}

/// Whether a path can only lead down.
fn is_plain(folder: &Path) -> bool {
    let mut parts = folder.components();
    folder.as_os_str().len() <= PATH_MAX
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && !folder.to_string_lossy().contains('\0')
}

/// Octets of a mailbox's path; a file's name and its folder still fit the system's limit of 4096.
const PATH_MAX: usize = 3 * 1024;

fn outcome(folder: &Path, put: Put, faults: &mut Vec<Fault>) -> Outcome {
    let e = match put {
        Put::Done => return Outcome::delivered(),
        Put::Loops => {
            let text = "the message was delivered to this mailbox before: mail loops";
            return Outcome::local(Reply::new(554, (5, 4, 6), text));
        }
        Put::Failed(e) => e,
    };
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    // The path is the operator's; what the sender may come to read says only what it must.
    if matches!(e.kind(), StorageFull | QuotaExceeded | FileTooLarge) {
        return Outcome::local(Reply::new(452, (4, 3, 1), "the mailbox's disk is full"));
    }
    let fix = match e.kind() {
        io::ErrorKind::PermissionDenied => "give the server's user write access to this folder",
        _ => "check this folder and its disk; delivery is tried again",
    };
    faults.push(Fault::new(format!("writing to mailbox {}", folder.display()), &e).fix(fix));
    Outcome::local(Reply::new(
        451,
        (4, 3, 0),
        "the mailbox cannot be written to",
    ))
}
