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
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_message::trace;
use posthaste_smtp::reply::Reply;
use posthaste_world::World;
use posthaste_world::work::Pool;

use super::helper::Helpers;
use super::maildir::{self, Letter, Names, Put};
use super::parcel::Parcel;
use super::{Attempted, Outcome};
use crate::fault::Fault;
use crate::route::{Route, Transport};

/// The transport for mailboxes of this machine.
pub struct Local {
    world: World,
    names: Arc<Names>,
    helpers: Vec<Arc<Helpers>>,
}

impl Local {
    /// A transport that writes as this process; `hostname` is part of file names.
    #[must_use]
    pub fn new(world: World, hostname: &str) -> Self {
        Local {
            world,
            names: Arc::new(Names::new(hostname)),
            helpers: Vec::new(),
        }
    }

    /// The same, with helpers for mail files that belong to other users.
    #[must_use]
    pub fn with_helpers(self, helpers: Vec<Arc<Helpers>>) -> Self {
        Local { helpers, ..self }
    }

    /// Delivers one copy to each recipient's mailbox.
    pub async fn deliver(&self, route: &Route, parcel: &Parcel<'_>, attempted: &mut Attempted) {
        let mut letters = Vec::new();
        let mut expected = Vec::new();
        // One destination is one domain, and a domain has one root and one owner.
        let mut above = (Path::new("/"), None);
        for (index, recipient) in parcel.recipients() {
            match route.transport(&recipient.address) {
                Transport::Maildir {
                    root,
                    folder,
                    owner,
                } if maildir::is_plain(&folder) => {
                    above = (root, owner);
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
        (root, owner): (&Path, Option<&str>),
        letters: Vec<Letter>,
        parcel: &Parcel<'_>,
    ) -> io::Result<Vec<Put>> {
        let helpers = owner.and_then(|o| self.helpers.iter().find(|h| h.owner() == o).cloned());
        let root = root.to_owned();
        let mut content = parcel.stored().content();
        let World { disk, clock, .. } = self.world.clone();
        let names = self.names.clone();
        let job = move || {
            let content = || content.next_blocking();
            if let Some(helpers) = helpers {
                return helpers.deliver(&root, &letters, content);
            }
            let name = || names.next(clock.now());
            maildir::deliver_below(&*disk, &root, &letters, content, name)
        };
        let done = self.world.work.on(Pool::Disk, job).await;
        done.map_err(io::Error::other)?
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

fn outcome(folder: &Path, put: Put, faults: &mut Vec<Fault>) -> Outcome {
    let e = match put {
        Put::Done => return Outcome::delivered(),
        Put::Loops => {
            let text = "the message was delivered to this mailbox before: mail loops";
            return Outcome::local(Reply::new(554, (5, 4, 6), text));
        }
        Put::Failed(e) => e,
    };
    // The path is the operator's; what the sender may come to read says only what it must.
    if maildir::is_full(&e) {
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
