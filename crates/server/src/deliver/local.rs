//! Delivery into mailboxes of this machine: which folder, what stands on top, and what a failure of
//! the disk means for the recipient.
//!
//! The folder comes from the configuration's pattern and the configured, lower-case mailbox name.
//! As a second line of defence a name that could leave its folder is refused here too. File work
//! is one job for a message, on a pool that nothing else uses, so that a mail store that hangs
//! holds up only mail for it: it has few jobs at once, and after [`STORE_PATIENCE`] its recipients
//! are deferred.
//!
//! What is in quarantine goes into the folder `.Junk` of the mailbox.
//!
//! This module does **not** know Maildir's order of steps ([`super::maildir`] does).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use posthaste_message::trace;
use posthaste_smtp::reply::Reply;
use posthaste_world::World;
use posthaste_world::work::Pool;
use tokio::sync::{Semaphore, oneshot};

use super::helper::{HELPERS_PER_OWNER, Helpers};
use super::late::{Known, Late};
use super::maildir::{self, Letter, Names, Put};
use super::parcel::Parcel;
use super::{Attempted, Outcome, QUARANTINED};
use crate::fault::Fault;
use crate::route::{Route, Transport};

/// The folder of a Maildir in which junk is (Maildir++).
const JUNK: &str = ".Junk";
/// How long a delivery may take, waiting for its turn included.
pub const STORE_PATIENCE: Duration = Duration::from_secs(60);
/// Deliveries below one root that go on at once: as many as an owner has helpers, and few enough
/// that one store that hangs leaves threads to the others.
const AT_ONCE_PER_ROOT: usize = HELPERS_PER_OWNER;

/// The transport for mailboxes of this machine.
pub struct Local {
    world: World,
    names: Arc<Names>,
    helpers: Vec<Arc<Helpers>>,
    late: Arc<Late>,
    turns: Mutex<BTreeMap<PathBuf, Arc<Semaphore>>>,
}

/// Letters for mailboxes below one root.
struct Batch<'a> {
    root: &'a Path,
    owner: Option<&'a str>,
    recipients: Vec<u32>,
    letters: Vec<Letter>,
}

/// Why a whole batch has no results.
enum Stopped {
    /// The content cannot be read.
    Unreadable(io::Error),
    /// The store takes too long; the batch may have been begun, or not.
    Slow { begun: bool },
    /// The mail files belong to somebody for whom there is no helper.
    NoHelper(String),
}

impl Local {
    /// A transport that writes as this process; `hostname` is part of file names.
    #[must_use]
    pub fn new(world: World, hostname: &str) -> Self {
        Local {
            world,
            names: Arc::new(Names::new(hostname)),
            helpers: Vec::new(),
            late: Arc::default(),
            turns: Mutex::default(),
        }
    }

    /// The same, with the helpers of a server that was started as root: mail files with an owner
    /// are written by a helper of that owner, or not at all. With none, this process writes them.
    #[must_use]
    pub fn with_helpers(self, helpers: Vec<Arc<Helpers>>) -> Self {
        Local { helpers, ..self }
    }

    /// Delivers one copy to each recipient's mailbox.
    pub async fn deliver(&self, route: &Route, parcel: &Parcel<'_>, attempted: &mut Attempted) {
        let mut batch = Batch {
            root: Path::new("/"),
            owner: None,
            recipients: Vec::new(),
            letters: Vec::new(),
        };
        let id = parcel.stored().envelope().id;
        for (index, recipient) in parcel.recipients() {
            let Transport::Maildir {
                root,
                folder,
                owner,
            } = route.transport(&recipient.address)
            else {
                attempted.outcomes.push((*index, Outcome::no_mailbox()));
                continue;
            };
            let folder = match parcel.stored().envelope().message.is_tagged(QUARANTINED) {
                true => folder.join(JUNK),
                false => folder,
            };
            match self.late.known(id, *index) {
                Known::Nothing if maildir::is_plain(&folder) => {
                    // One destination is one domain, and a domain has one root and one owner.
                    (batch.root, batch.owner) = (root, owner);
                    batch.recipients.push(*index);
                    let letter = letter(parcel, folder, recipient.address.to_string());
                    batch.letters.push(letter);
                }
                Known::Nothing => attempted.outcomes.push((*index, Outcome::no_mailbox())),
                Known::Delivered => attempted.outcomes.push((*index, Outcome::delivered())),
                Known::UnderWay => {
                    slow(&[*index], root, true, attempted);
                }
            }
        }
        if !batch.letters.is_empty() {
            self.settle(&batch, parcel, attempted).await;
        }
    }

    async fn settle(&self, batch: &Batch<'_>, parcel: &Parcel<'_>, attempted: &mut Attempted) {
        let all = &batch.recipients;
        match self.put(batch, parcel).await {
            Ok(results) => {
                for ((index, letter), put) in all.iter().zip(&batch.letters).zip(results) {
                    let outcome = outcome(&letter.folder, put, &mut attempted.faults);
                    attempted.outcomes.push((*index, outcome));
                }
            }
            Err(Stopped::Slow { begun }) => slow(all, batch.root, begun, attempted),
            Err(Stopped::Unreadable(e)) => {
                let reply = Reply::new(451, (4, 3, 0), format!("the message cannot be read: {e}"));
                attempted.settle_all(all, &Outcome::local(reply));
                let doing = format!("reading message {}", parcel.stored().envelope().id);
                attempted.faults.push(Fault::new(doing, e));
            }
            Err(Stopped::NoHelper(owner)) => {
                let reply = Reply::new(451, (4, 3, 0), "the mailbox cannot be written to");
                attempted.settle_all(all, &Outcome::local(reply));
                let doing = format!("writing to mailboxes below {}", batch.root.display());
                let cause = format!("no helper for {owner} was started; restart the server");
                let fix = "restart the server: only then it has the rights to start one";
                attempted.faults.push(Fault::new(doing, cause).fix(fix));
            }
        }
    }

    /// One job for the whole message: workers of the runtime never wait for a disk.
    async fn put(&self, batch: &Batch<'_>, parcel: &Parcel<'_>) -> Result<Vec<Put>, Stopped> {
        let helpers = self.writer(batch.owner)?;
        let World { disk, clock, .. } = self.world.clone();
        let mut out_of_patience = clock.sleep(STORE_PATIENCE);
        let turn = tokio::select! {
            biased;
            turn = self.turns_below(batch.root).acquire_owned() => turn,
            () = &mut out_of_patience => return Err(Stopped::Slow { begun: false }),
        };
        let id = parcel.stored().envelope().id;
        let under_way = self.late.begin(id, &batch.recipients);
        let (tell, mut told) = oneshot::channel();
        let (root, letters) = (batch.root.to_owned(), batch.letters.clone());
        let mut content = parcel.stored().content();
        let names = self.names.clone();
        let job = move || {
            if tell.is_closed() {
                return; // given up while it waited for a thread
            }
            let content = || content.next_blocking();
            let name = || names.next(clock.now());
            let results = match helpers {
                Some(helpers) => helpers.deliver(&root, &letters, content),
                None => maildir::deliver_below(&*disk, &root, &letters, content, name),
            };
            if let Err(Ok(results)) = tell.send(results) {
                under_way.remember(&results);
            }
            drop(turn);
        };
        let ended = tokio::select! {
            biased;
            ended = self.world.work.run(Pool::Folders, Box::new(job)) => Some(ended),
            () = &mut out_of_patience => None,
        };
        // What is told from here on is remembered instead.
        told.close();
        match (told.try_recv(), ended) {
            (Ok(results), _) => results.map_err(Stopped::Unreadable),
            (Err(_), Some(Err(panicked))) => Err(Stopped::Unreadable(io::Error::other(panicked))),
            (Err(_), _) => Err(Stopped::Slow { begun: true }),
        }
    }

    /// Who writes mail files of `owner`: helpers, or nobody but this process.
    fn writer(&self, owner: Option<&str>) -> Result<Option<Arc<Helpers>>, Stopped> {
        let Some(owner) = owner.filter(|_| !self.helpers.is_empty()) else {
            return Ok(None);
        };
        let helpers = self.helpers.iter().find(|h| h.owner() == owner);
        match helpers {
            Some(helpers) => Ok(Some(helpers.clone())),
            None => Err(Stopped::NoHelper(owner.to_owned())),
        }
    }

    /// There are as many roots as the configuration names.
    fn turns_below(&self, root: &Path) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        match turns.get(root) {
            Some(turns) => turns.clone(),
            None => {
                let all = Arc::new(Semaphore::new(AT_ONCE_PER_ROOT));
                turns.insert(root.to_owned(), all.clone());
                all
            }
        }
    }
}

/// The store below `root` takes too long. Nothing more is begun there for an interval.
fn slow(recipients: &[u32], root: &Path, begun: bool, attempted: &mut Attempted) {
    let (code, text) = match begun {
        true => ((4, 2, 0), "the mailbox has not taken the message yet"),
        false => ((4, 3, 0), "the mail store is busy"),
    };
    attempted.settle_all(recipients, &Outcome::local(Reply::new(451, code, text)));
    attempted.not_begun = !begun && attempted.destination_failed.is_none();
    attempted.destination_failed = Some(text.to_owned());
    let what = match begun {
        true => {
            "a delivery goes on; its result is noted when it ends, unless the server ends first"
        }
        false => "all deliveries at once that it may have are taken",
    };
    let cause = format!("no answer within {} s: {what}", STORE_PATIENCE.as_secs());
    let doing = format!("writing to mailboxes below {}", root.display());
    let fault = Fault::new(doing, cause).fix("check this folder's disk or file server");
    if !attempted.faults.contains(&fault) {
        attempted.faults.push(fault);
    }
}

/// A copy with its trace fields (RFC 5321 §4.4, RFC 9228), which stand above all others.
fn letter(parcel: &Parcel<'_>, folder: PathBuf, address: String) -> Letter {
    let reverse_path = parcel.reverse_path().mailbox();
    let mut head = trace::return_path(&reverse_path.map(ToString::to_string).unwrap_or_default());
    head.push_str(&trace::delivered_to(&address));
    // What is no text would be another message with other line ends (RFC 3030 §3).
    if !parcel.stored().envelope().message.content.binary {
        head = head.replace("\r\n", "\n");
    }
    Letter {
        folder,
        address,
        head,
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
