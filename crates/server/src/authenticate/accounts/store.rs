//! The file of accounts as a running server sees it.
//!
//! [`Store::current`] looks whether the file changed (one `stat`, on a pool) and reads it again
//! when it did, so that what `posthaste user` does holds from the next login on. A file that cannot
//! be read or has an error in it changes nothing and is a fault, told once for each state of the
//! file. A file that is not there has no accounts.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use posthaste_world::disk::Stamp;
use posthaste_world::work::Pool;
use posthaste_world::{Disk, World};
use tokio::sync::{Mutex, Notify};

use super::{Book, FILE_MAX, Flaw};
use crate::fault::Fault;
use crate::telemetry::Log;

/// How often the file is looked at while nobody logs in: its accounts are mailboxes, too.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// One state of the file.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Its stamp; none when there is no file, or when it could not be told.
    pub stamp: Option<Stamp>,
    /// What it says.
    pub book: Arc<Book>,
}

/// A file of accounts that is read again when it changes.
pub struct Store {
    path: PathBuf,
    world: World,
    log: Arc<Log>,
    state: RwLock<State>,
    /// One reader at a time; holds the stamp of the last state that was a fault.
    reading: Mutex<Option<Option<Stamp>>>,
    changed: Notify,
}

impl Store {
    /// The file at `path`, which was last read as `state`.
    #[must_use]
    pub fn new(world: World, log: Arc<Log>, path: PathBuf, state: State) -> Arc<Store> {
        Arc::new(Store {
            path,
            world,
            log,
            state: RwLock::new(state),
            reading: Mutex::new(None),
            changed: Notify::new(),
        })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The accounts as they were last read.
    #[must_use]
    pub fn last(&self) -> State {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }

    /// The accounts as the file says now.
    pub async fn current(&self) -> Arc<Book> {
        let mut faulty = self.reading.lock().await;
        let (path, disk) = (self.path.clone(), self.world.disk.clone());
        let known = self.last().stamp;
        let skip = *faulty;
        let looked = self.world.work.on(Pool::Disk, move || {
            let stamp = stamp(&*disk, &path);
            let news = stamp != known && skip != Some(stamp);
            news.then(|| (stamp, read(&*disk, &path)))
        });
        match looked.await {
            Ok(Some((_, Ok(state)))) => {
                *faulty = None;
                *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
                self.changed.notify_one();
            }
            Ok(Some((stamp, Err(fault)))) => {
                *faulty = Some(stamp);
                self.log.fault(&fault.doing, &fault.cause);
            }
            // A panic was told where it happened; the accounts stay what they were.
            Ok(None) | Err(_) => {}
        }
        self.last().book
    }

    /// Ends when the accounts have changed since this was asked last.
    pub async fn changed(&self) {
        loop {
            tokio::select! {
                () = self.changed.notified() => return,
                () = self.world.clock.sleep(LOOK_AGAIN) => drop(self.current().await),
            }
        }
    }
}

/// Reads the file at `path`.
///
/// # Errors
/// It cannot be read, or a line of it cannot be used; the first such line is named.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<State, Fault> {
    // A change while it is read leaves an old stamp, so that it is read again.
    let stamp = stamp(disk, path);
    let doing = || format!("reading the accounts in {}", path.display());
    let text = text(disk, path).map_err(|e| {
        Fault::new(doing(), e).fix("let the server's user read the file, or change `file`")
    })?;
    let (book, flaws) = Book::parse(&text);
    match flaws.into_iter().find(|f| f.is_error) {
        Some(Flaw { line, cause, .. }) => Err(Fault::new(
            doing(),
            format!("line {line}: {cause}; the accounts stay what they were"),
        )
        .fix("mend that line; `posthaste check` shows all")),
        None => Ok(State {
            stamp,
            book: Arc::new(book),
        }),
    }
}

/// The text of the file at `path`; empty when there is none.
///
/// # Errors
/// Whatever the system says; a file that is not UTF-8.
pub fn text(disk: &dyn Disk, path: &Path) -> io::Result<String> {
    match disk.read(path, FILE_MAX) {
        Ok(octets) => String::from_utf8(octets)
            .map_err(|_| io::Error::new(ErrorKind::InvalidData, "the file is not UTF-8")),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(e),
    }
}

fn stamp(disk: &dyn Disk, path: &Path) -> Option<Stamp> {
    disk.stamp(path).ok()
}
