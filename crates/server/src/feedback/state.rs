//! What must outlive a restart: counts that are not sent yet, and reports that came. A small
//! database in the file `feedback` of `data_dir`.
//!
//! It is rare and small state, so a library keeps it (redb: every change is a transaction that is
//! on the disk when it ends). The file is reached through the disk door, and only when there is
//! something to keep. One that cannot be opened is set aside, told, and begun anew: mail must not
//! wait for it.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use posthaste_mailauth::report::aggregate::{self, Aggregate};
use posthaste_world::Disk;
use posthaste_world::disk::{File, Open};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    StorageBackend, TableDefinition,
};

use super::received::Kept;
use super::tally::Key;
use crate::fault::Fault;
use crate::telemetry::Log;

/// Counts: day and domain, and the XML that a report of them would have now.
const COUNTED: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("counted");
/// Reports that came: when their period began, and by whom and which; JSON.
const RECEIVED: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("received");
/// Octets of what is in a table, by its name.
const SIZES: TableDefinition<'_, &str, u64> = TableDefinition::new("sizes");
/// Reports that are kept, and their octets: others decide how many come, and how long. The oldest
/// go first.
const RECEIVED_MAX: u64 = 10_000;
const RECEIVED_OCTETS_MAX: u64 = 4 * 1024 * 1024;
/// Octets that the library keeps in memory.
const CACHE: usize = 1024 * 1024;

/// The state, opened when it is needed.
pub struct State {
    disk: Arc<dyn Disk>,
    log: Arc<Log>,
    path: PathBuf,
    open: Mutex<Option<Database>>,
}

impl State {
    /// The state in `data_dir`.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, log: Arc<Log>, data_dir: &Path) -> Self {
        State {
            disk,
            log,
            path: data_dir.join("feedback"),
            open: Mutex::default(),
        }
    }

    /// Keeps counts.
    ///
    /// # Errors
    /// They are not kept.
    pub(super) fn keep_counted(&self, counted: &[(Key, Aggregate)]) -> Result<(), Fault> {
        self.with(|database| {
            let change = database.begin_write()?;
            {
                let mut table = change.open_table(COUNTED)?;
                for ((day, domain), report) in counted {
                    let xml = report.to_xml();
                    table.insert((*day, &**domain), xml.as_bytes())?;
                }
            }
            Ok(change.commit()?)
        })
    }

    /// All counts; none when there is no state yet.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) fn counted(&self) -> Result<Vec<(Key, Aggregate)>, Fault> {
        if !self.exists() {
            return Ok(Vec::new());
        }
        self.with(|database| {
            let mut counted = Vec::new();
            if let Some(table) = there(database.begin_read()?.open_table(COUNTED))? {
                for entry in table.iter()? {
                    let (key, xml) = entry?;
                    let (day, domain) = key.value();
                    // What an older version wrote otherwise is not sent.
                    if let Ok(report) = aggregate::read(xml.value()) {
                        counted.push(((day, domain.to_owned()), report));
                    }
                }
            }
            Ok(counted)
        })
    }

    /// Forgets counts that were sent.
    ///
    /// # Errors
    /// They are still there.
    pub(super) fn forget_counted(&self, (day, domain): &Key) -> Result<(), Fault> {
        self.with(|database| {
            let change = database.begin_write()?;
            change.open_table(COUNTED)?.remove((*day, &**domain))?;
            Ok(change.commit()?)
        })
    }

    /// Keeps a report that came, instead of the same one that came before.
    ///
    /// # Errors
    /// It is not kept.
    pub(super) fn keep_received(&self, kept: &Kept) -> Result<(), Fault> {
        // Plain data: writing it as JSON cannot fail.
        let json = serde_json::to_vec(kept).unwrap_or_default();
        self.with(|database| {
            let change = database.begin_write()?;
            {
                let mut table = change.open_table(RECEIVED)?;
                let mut sizes = change.open_table(SIZES)?;
                let mut octets = sizes.get("received")?.map_or(0, |size| size.value());
                let old = table.insert((kept.begin_s, &*kept.key()), &*json)?;
                octets = octets.saturating_sub(old.map_or(0, |old| size(old.value())));
                octets = octets.saturating_add(size(&json));
                while octets > RECEIVED_OCTETS_MAX || table.len()? > RECEIVED_MAX {
                    let Some((_, oldest)) = table.pop_first()? else {
                        break;
                    };
                    octets = octets.saturating_sub(size(oldest.value()));
                }
                sizes.insert("received", octets)?;
            }
            Ok(change.commit()?)
        })
    }

    /// The reports that came about a domain, or all, the oldest period first.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) fn received(&self, domain: Option<&str>) -> Result<Vec<Kept>, Fault> {
        if !self.exists() {
            return Ok(Vec::new());
        }
        self.with(|database| {
            let mut reports = Vec::new();
            if let Some(table) = there(database.begin_read()?.open_table(RECEIVED))? {
                for entry in table.iter()? {
                    let (_, json) = entry?;
                    let kept = serde_json::from_slice::<Kept>(json.value()).ok();
                    reports.extend(kept.filter(|k| domain.is_none_or(|d| k.domain == d)));
                }
            }
            Ok(reports)
        })
    }

    fn exists(&self) -> bool {
        self.disk.open(&self.path, Open::Read).is_ok()
    }

    /// Works on the open database.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, Fault> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = |doing: &str, e: redb::Error| {
            Fault::new(format!("{doing} {}", self.path.display()), e)
                .fix("reports about mail are not kept meanwhile; mail is not concerned")
        };
        let database = match open.take() {
            Some(database) => database,
            None => self.database().map_err(|e| fault("opening", e))?,
        };
        let done = work(&database).map_err(|e| fault("working on", e));
        // After a failure it is opened anew, and repaired if need be.
        if done.is_ok() {
            *open = Some(database);
        }
        done
    }

    fn database(&self) -> Result<Database, redb::Error> {
        match self.opened() {
            Err(redb::Error::Io(e)) if !is_damage(&e) => Err(redb::Error::Io(e)),
            Err(damage) if self.exists() => {
                let aside = self.path.with_extension("damaged");
                self.disk.rename(&self.path, &aside)?;
                let doing = format!("opening {}", self.path.display());
                let told = Fault::new(doing, damage).fix(format!(
                    "it was set aside as {}; counts that were not sent are lost",
                    aside.display()
                ));
                self.log.fault_of(&told);
                self.opened()
            }
            opened => opened,
        }
    }

    fn opened(&self) -> Result<Database, redb::Error> {
        let file = match self.disk.open(&self.path, Open::ReadWrite) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let file = self.disk.open(&self.path, Open::CreateNew)?;
                let folder = self.path.parent().unwrap_or(Path::new("."));
                self.disk.sync_dir(folder)?;
                file
            }
            opened => opened?,
        };
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE);
        Ok(builder.create_with_backend(Backend(file))?)
    }
}

/// Whether the disk works and what it has is no database.
fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof
    )
}

fn size(octets: &[u8]) -> u64 {
    u64::try_from(octets.len()).unwrap_or(u64::MAX)
}

/// A table that nothing was put into yet is not there.
fn there<T>(opened: Result<T, redb::TableError>) -> Result<Option<T>, redb::Error> {
    match opened {
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

/// A file of the disk door, as the library wants it.
struct Backend(Box<dyn File>);

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.0.read_at(offset, out)? {
            read if read == out.len() => Ok(()),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, &[IoSlice::new(data)])
    }
}
