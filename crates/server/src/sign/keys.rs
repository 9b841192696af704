//! The keys that sign, as they lie in `data_dir`.
//!
//! `dkim/DOMAIN/SELECTOR.pem` is a key, readable by the server alone; `dkim/keys` lists them, one a
//! line: domain, selector, when it was made, its stage, since when, and for one that is to be
//! published since when its record has been seen (`-`: it is not); times in seconds since 1970. A
//! line of the first version ends behind the time of making: such a key is active. A key file is
//! there before its line and goes after it (a retired key has a line alone), and the list is
//! replaced as a whole; so a crash leaves at most a file that signs nothing, and a server that sees
//! the list change finds all that it names.
//!
//! This module does **not** ask the DNS, and signs nothing.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};

use posthaste_mailauth::dkim::{BadKey, PrivateKey};
use posthaste_world::disk::{Lock, Open};
use posthaste_world::{Disk, Timestamp};

use super::stage::{Stage, Standing};
use crate::config::text;
use crate::fault::Fault;

/// What the first line of the list says, and its version.
const HEADER: &str = "# posthaste dkim 2";
/// The same of the version before, which is still read.
const HEADER_1: &str = "# posthaste dkim 1";
/// Largest list, in octets: some 20,000 keys.
const LIST_MAX: u64 = 1024 * 1024;
/// Largest file of a key, in octets.
const KEY_MAX: u64 = 16 * 1024;

/// A key of a domain.
pub struct SigningKey {
    /// Its selector (`s=`).
    pub selector: Box<str>,
    /// When it was made.
    pub made: Timestamp,
    /// Where it stands; never retired.
    pub standing: Standing,
    /// The key.
    pub key: PrivateKey,
}

impl SigningKey {
    /// The name at which its record is published (RFC 6376 §3.6.2.1).
    #[must_use]
    pub fn name(&self, domain: &str) -> String {
        record_name(domain, &self.selector)
    }

    /// Whether it signs.
    #[must_use]
    pub fn signs(&self) -> bool {
        self.standing.stage == Stage::Active
    }
}

fn record_name(domain: &str, selector: &str) -> String {
    format!("{selector}._domainkey.{domain}")
}

/// Makes the two keys that a domain gets at a time: RSA of 2048 bits, which all receivers know, and
/// Ed25519, each with a selector of its own.
///
/// # Errors
/// The system gives no randomness.
pub fn make_pair(domain: &str, now: Timestamp, stage: Stage) -> Result<[SigningKey; 2], Fault> {
    let failed = |e: BadKey| Fault::new(format!("making DKIM keys for {domain}"), e);
    let made = [
        ('r', PrivateKey::generate_rsa_2048().map_err(failed)?),
        ('e', PrivateKey::generate_ed25519().map_err(failed)?),
    ];
    Ok(made.map(|(kind, key)| SigningKey {
        selector: selector(now, kind).into(),
        made: now,
        standing: Standing::new(stage, now),
        key,
    }))
}

/// The second of its making, and the kind of key: another one later has another name.
fn selector(now: Timestamp, kind: char) -> String {
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    format!("{}{kind}", time.strftime("%Y%m%d%H%M%S"))
}

/// The keys of all domains. A domain in it has at least one.
#[derive(Default)]
pub struct Keyring(BTreeMap<Box<str>, Vec<SigningKey>>);

impl Keyring {
    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a key; the first of a domain makes its first signature.
    pub fn add(&mut self, domain: &str, key: SigningKey) {
        self.0.entry(domain.into()).or_default().push(key);
    }

    /// Domains with their keys, in the order of their names.
    pub fn domains(&self) -> impl Iterator<Item = (&str, &[SigningKey])> {
        self.0.iter().map(|(domain, keys)| (&**domain, &**keys))
    }

    /// The keys of a domain.
    #[must_use]
    pub fn of(&self, domain: &str) -> &[SigningKey] {
        self.0.get(domain).map(Vec::as_slice).unwrap_or_default()
    }

    /// The keys that sign mail whose author is in `domain` (in A-labels and lower case): those of
    /// the domain itself or of the nearest above it, which DMARC takes as the author's own.
    #[must_use]
    pub fn for_author(&self, domain: &str) -> Option<(&str, Vec<&SigningKey>)> {
        let above = domain.match_indices('.').map(|(at, _)| at + 1);
        let names = std::iter::once(0).chain(above);
        let found = names.filter_map(|at| self.0.get_key_value(domain.get(at..)?));
        let mut signing = found.filter_map(|(domain, keys)| {
            let keys: Vec<_> = keys.iter().filter(|k| k.signs()).collect();
            (!keys.is_empty()).then_some((&**domain, keys))
        });
        signing.next()
    }
}

/// Whether `domain` is `parent` or below it; both in A-labels and lower case.
#[must_use]
pub fn is_within(domain: &str, parent: &str) -> bool {
    let above = domain.strip_suffix(parent);
    above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

/// Where the keys of a `data_dir` are.
#[must_use]
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("dkim")
}

/// Where the list of them is.
#[must_use]
pub fn list(data_dir: &Path) -> PathBuf {
    folder(data_dir).join("keys")
}

/// Reads all keys but the retired ones; without a list there is none.
///
/// # Errors
/// The list or a key in it cannot be read.
pub fn read(disk: &dyn Disk, data_dir: &Path) -> Result<Keyring, Fault> {
    let mut keyring = Keyring::default();
    for entry in entries(disk, data_dir)? {
        if entry.standing.stage == Stage::Retired {
            continue;
        }
        let path = file(data_dir, &entry.domain, &entry.selector);
        let failed = |why: String| {
            Fault::new(format!("reading the DKIM key {}", path.display()), why).fix(format!(
                "put the file back, or `posthaste dkim remove {}`; mail is signed as before",
                entry.domain
            ))
        };
        let pem = disk
            .read(&path, KEY_MAX)
            .map_err(|e| failed(e.to_string()))?;
        let pem = String::from_utf8_lossy(&pem);
        let key = PrivateKey::from_pem(&pem).map_err(|e| failed(e.to_string()))?;
        let signing = SigningKey {
            selector: entry.selector.into(),
            made: entry.made,
            standing: entry.standing,
            key,
        };
        keyring.add(&entry.domain, signing);
    }
    Ok(keyring)
}

/// A key as the list has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The domain.
    pub domain: String,
    /// The selector.
    pub selector: String,
    /// When the key was made.
    pub made: Timestamp,
    /// Where it stands.
    pub standing: Standing,
}

impl Entry {
    /// The name at which its record is published.
    #[must_use]
    pub fn name(&self) -> String {
        record_name(&self.domain, &self.selector)
    }

    fn parse(text: &str) -> Option<Entry> {
        let mut words = text.split_ascii_whitespace();
        let mut name = || text::domain_name(words.next()?).ok();
        let (domain, selector) = (name()?.to_string(), name()?.to_string());
        let time = |word: &str| Some(Timestamp::from_secs(word.parse().ok()?));
        let made = time(words.next()?)?;
        let standing = match words.next() {
            None => Standing::new(Stage::Active, made),
            Some(stage) => {
                let since = time(words.next()?)?;
                let stage = match stage {
                    "published" => Stage::Published {
                        seen: match words.next()? {
                            "-" => None,
                            seen => Some(time(seen)?),
                        },
                    },
                    "active" => Stage::Active,
                    "retiring" => Stage::Retiring,
                    "retired" => Stage::Retired,
                    _ => return None,
                };
                Standing::new(stage, since)
            }
        };
        words.next().is_none().then_some(Entry {
            domain,
            selector,
            made,
            standing,
        })
    }

    fn line(&self) -> String {
        let Entry {
            domain,
            selector,
            made,
            standing,
        } = self;
        let (word, since) = (standing.stage.word(), standing.since.as_secs());
        let seen = match standing.stage {
            Stage::Published { seen: Some(seen) } => format!(" {}", seen.as_secs()),
            Stage::Published { seen: None } => " -".to_owned(),
            _ => String::new(),
        };
        let made = made.as_secs();
        format!("{domain} {selector} {made} {word} {since}{seen}\n")
    }
}

/// The list of keys, with the retired ones.
///
/// # Errors
/// It cannot be read, or is none.
pub fn entries(disk: &dyn Disk, data_dir: &Path) -> Result<Vec<Entry>, Fault> {
    let path = list(data_dir);
    let fault = |why: String| Fault::new(format!("reading {}", path.display()), why);
    let octets = match disk.read(&path, LIST_MAX) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|e| fault(e.to_string()))?,
    };
    let mut entries = Vec::new();
    for (number, text) in (1..).zip(String::from_utf8_lossy(&octets).lines()) {
        let known = [HEADER, HEADER_1].contains(&text.trim_end());
        if text.starts_with("# posthaste dkim ") && !known {
            return Err(fault("a newer version of Posthaste wrote it".into()));
        }
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let entry = Entry::parse(text);
        entries.push(entry.ok_or_else(|| fault(format!("line {number} names no key")))?);
    }
    Ok(entries)
}

fn file(data_dir: &Path, domain: &str, selector: &str) -> PathBuf {
    folder(data_dir)
        .join(domain)
        .join(format!("{selector}.pem"))
}

/// Changes of the keys, while nobody else makes any.
pub struct Editor<'a> {
    disk: &'a dyn Disk,
    data_dir: &'a Path,
    _lock: Box<dyn Lock>,
}

impl<'a> Editor<'a> {
    /// Begins; another command that changes keys is an error.
    ///
    /// # Errors
    /// The folder cannot be made or locked.
    pub fn begin(disk: &'a dyn Disk, data_dir: &'a Path) -> Result<Self, Fault> {
        let folder = folder(data_dir);
        let lock = disk
            .create_dir(&folder)
            .and_then(|()| disk.lock(&folder.join(".lock")));
        let lock = lock.map_err(|e| {
            let fault = Fault::new(format!("changing the keys in {}", folder.display()), &e);
            match e.kind() {
                ErrorKind::WouldBlock => fault.fix("another command changes them: try again"),
                _ => fault.fix("run this as root, or as the server's user"),
            }
        })?;
        Ok(Editor {
            disk,
            data_dir,
            _lock: lock,
        })
    }

    /// Adds keys of `domain`, all or none.
    ///
    /// # Errors
    /// They cannot be written, or a selector is in use.
    pub fn add(&self, domain: &str, keys: &[SigningKey]) -> Result<(), Fault> {
        let mut all = entries(self.disk, self.data_dir)?;
        for key in keys {
            let entry = Entry {
                domain: domain.to_owned(),
                selector: key.selector.to_string(),
                made: key.made,
                standing: key.standing,
            };
            let path = file(self.data_dir, domain, &key.selector);
            let doing = || format!("writing the DKIM key {}", path.display());
            let same = |e: &Entry| e.domain == entry.domain && e.selector == entry.selector;
            if all.iter().any(same) {
                return Err(Fault::new(doing(), "the selector is in use"));
            }
            let pem = key.key.to_pem().map_err(|e| Fault::new(doing(), e))?;
            let written = self
                .disk
                .create_dir(&folder(self.data_dir).join(domain))
                .and_then(|()| self.disk.sync_dir(&folder(self.data_dir)))
                .and_then(|()| place(self.disk, &path, &pem));
            written.map_err(|e| Fault::new(doing(), e))?;
            all.push(entry);
        }
        self.replace(&all)
    }

    /// Removes all keys of `domain`; gives how many there were.
    ///
    /// # Errors
    /// They cannot be removed.
    pub fn remove(&self, domain: &str) -> Result<usize, Fault> {
        let all = entries(self.disk, self.data_dir)?;
        let (gone, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|e| e.domain == domain);
        if gone.is_empty() {
            return Ok(0);
        }
        self.replace(&kept)?;
        gone.iter().try_for_each(|entry| self.delete(entry))?;
        Ok(gone.len())
    }

    /// Makes the list `after` when it is still `before`, and deletes the files of keys that are
    /// retired in it. False when it has changed.
    ///
    /// # Errors
    /// The list cannot be written, or a file cannot be removed.
    pub fn replace_all(&self, before: &[Entry], after: &[Entry]) -> Result<bool, Fault> {
        if entries(self.disk, self.data_dir)? != before {
            return Ok(false);
        }
        self.replace(after)?;
        let mut retired = after.iter().filter(|e| e.standing.stage == Stage::Retired);
        retired.try_for_each(|entry| self.delete(entry))?;
        Ok(true)
    }

    fn delete(&self, entry: &Entry) -> Result<(), Fault> {
        let path = file(self.data_dir, &entry.domain, &entry.selector);
        match self.disk.remove(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(Fault::new(format!("removing {}", path.display()), e))
            }
            _ => Ok(()),
        }
    }

    fn replace(&self, entries: &[Entry]) -> Result<(), Fault> {
        let lines = entries.iter().map(Entry::line);
        let text: String = std::iter::once(format!("{HEADER}\n"))
            .chain(lines)
            .collect();
        let path = list(self.data_dir);
        place(self.disk, &path, &text)
            .map_err(|e| Fault::new(format!("writing {}", path.display()), e))
    }
}

/// Writes a file under another name first: what is under its own name is whole, and durable.
///
/// # Errors
/// Whatever the system says.
pub fn place(disk: &dyn Disk, path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    match disk.remove(&new) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = disk.open(&new, Open::CreateNew)?;
    file.write_at(0, &[IoSlice::new(text.as_bytes())])?;
    file.sync()?;
    disk.rename(&new, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_key_or_is_an_error() {
        let entry = Entry::parse("Example.ORG s1.x 1795428000").unwrap();
        assert_eq!(entry.domain, "example.org");
        assert_eq!(entry.selector, "s1.x");
        assert_eq!(entry.made.as_secs(), 1_795_428_000);
        let active = Standing::new(Stage::Active, entry.made);
        assert_eq!(entry.standing, active, "the first version knew no stages");
        for whole in [
            "example.org s1 1 published 2 -",
            "example.org s1 1 published 2 3",
            "example.org s1 1 active 2",
            "example.org s1 1 retiring 2",
            "example.org s1 1 retired 2",
        ] {
            let entry = Entry::parse(whole).unwrap();
            assert_eq!(entry.line(), format!("{whole}\n"));
        }
        for bad in [
            "",
            "example.org",
            "example.org s1",
            "example.org s1 x",
            "example.org s1 1 2",
            "example.org s1 1 active",
            "example.org s1 1 active 2 3",
            "example.org s1 1 published 2",
            "example.org s1 1 published 2 x",
            "example.org s1 1 idle 2",
            "../x s1 1",
            "example.org ../../x 1",
            "example.org a/b 1",
        ] {
            assert_eq!(Entry::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn below_means_at_a_dot() {
        assert!(is_within("a.b.test", "b.test") && is_within("b.test", "b.test"));
        assert!(!is_within("ab.test", "b.test") && !is_within("test", "b.test"));
        assert!(!is_within("", "b.test"));
    }
}
