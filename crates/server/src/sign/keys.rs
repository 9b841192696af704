//! The keys that sign, as they lie in `data_dir`.
//!
//! `dkim/DOMAIN/SELECTOR.pem` is a key, readable by the server alone; `dkim/keys` lists those that
//! sign, one a line: domain, selector, and when it was made, in seconds since 1970. A key file is
//! there before its line and goes after it, and the list is replaced as a whole; so a crash leaves
//! at most a key that signs nothing, and a server that sees the list change finds all that it
//! names.
//!
//! This module does **not** ask the DNS, and signs nothing.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};

use posthaste_mailauth::dkim::PrivateKey;
use posthaste_world::disk::{Lock, Open};
use posthaste_world::{Disk, Timestamp};

use crate::config::text;
use crate::fault::Fault;

/// What the first line of the list says, and its version.
const HEADER: &str = "# posthaste dkim 1";
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
    /// The key.
    pub key: PrivateKey,
}

impl SigningKey {
    /// The name at which its record is published (RFC 6376 §3.6.2.1).
    #[must_use]
    pub fn name(&self, domain: &str) -> String {
        format!("{}._domainkey.{domain}", self.selector)
    }
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

    /// The keys for mail whose author is in `domain` (in A-labels and lower case): those of the
    /// domain itself or of the nearest above it, which DMARC takes as the author's own.
    #[must_use]
    pub fn for_author(&self, domain: &str) -> Option<(&str, &[SigningKey])> {
        let above = domain.match_indices('.').map(|(at, _)| at + 1);
        let names = std::iter::once(0).chain(above);
        let mut found = names.filter_map(|at| self.0.get_key_value(domain.get(at..)?));
        found.next().map(|(domain, keys)| (&**domain, &**keys))
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

/// Reads all keys; without a list there is none.
///
/// # Errors
/// The list or a key in it cannot be read.
pub fn read(disk: &dyn Disk, data_dir: &Path) -> Result<Keyring, Fault> {
    let mut keyring = Keyring::default();
    for line in lines(disk, data_dir)? {
        let path = file(data_dir, &line.domain, &line.selector);
        let failed = |why: String| {
            Fault::new(format!("reading the DKIM key {}", path.display()), why).fix(format!(
                "put the file back, or `posthaste dkim remove {}`; mail is signed as before",
                line.domain
            ))
        };
        let pem = disk
            .read(&path, KEY_MAX)
            .map_err(|e| failed(e.to_string()))?;
        let pem = String::from_utf8_lossy(&pem);
        let key = PrivateKey::from_pem(&pem).map_err(|e| failed(e.to_string()))?;
        let signing = SigningKey {
            selector: line.selector.into(),
            made: line.made,
            key,
        };
        keyring.add(&line.domain, signing);
    }
    Ok(keyring)
}

/// A line of the list.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Line {
    domain: String,
    selector: String,
    made: Timestamp,
}

impl Line {
    fn parse(text: &str) -> Option<Line> {
        let mut words = text.split_ascii_whitespace();
        let mut name = || text::domain_name(words.next()?).ok();
        let (domain, selector) = (name()?.to_string(), name()?.to_string());
        let made = Timestamp::from_secs(words.next()?.parse().ok()?);
        words.next().is_none().then_some(Line {
            domain,
            selector,
            made,
        })
    }
}

fn lines(disk: &dyn Disk, data_dir: &Path) -> Result<Vec<Line>, Fault> {
    let path = list(data_dir);
    let fault = |why: String| Fault::new(format!("reading {}", path.display()), why);
    let octets = match disk.read(&path, LIST_MAX) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|e| fault(e.to_string()))?,
    };
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(String::from_utf8_lossy(&octets).lines()) {
        if text.starts_with("# posthaste dkim ") && text.trim_end() != HEADER {
            return Err(fault("a newer version of Posthaste wrote it".into()));
        }
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let line = Line::parse(text);
        lines.push(line.ok_or_else(|| fault(format!("line {number} names no key")))?);
    }
    Ok(lines)
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
        let mut all = lines(self.disk, self.data_dir)?;
        for key in keys {
            let line = Line {
                domain: domain.to_owned(),
                selector: key.selector.to_string(),
                made: key.made,
            };
            let path = file(self.data_dir, domain, &key.selector);
            let doing = || format!("writing the DKIM key {}", path.display());
            let same = |l: &Line| l.domain == line.domain && l.selector == line.selector;
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
            all.push(line);
        }
        self.replace(&all)
    }

    /// Removes all keys of `domain`; gives how many there were.
    ///
    /// # Errors
    /// They cannot be removed.
    pub fn remove(&self, domain: &str) -> Result<usize, Fault> {
        let all = lines(self.disk, self.data_dir)?;
        let (gone, kept): (Vec<Line>, Vec<Line>) =
            all.into_iter().partition(|l| l.domain == domain);
        if gone.is_empty() {
            return Ok(0);
        }
        self.replace(&kept)?;
        for line in &gone {
            let path = file(self.data_dir, domain, &line.selector);
            match self.disk.remove(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(Fault::new(format!("removing {}", path.display()), e));
                }
                _ => {}
            }
        }
        Ok(gone.len())
    }

    fn replace(&self, lines: &[Line]) -> Result<(), Fault> {
        let mut text = format!("{HEADER}\n");
        for line in lines {
            let made = line.made.as_secs();
            text.push_str(&format!("{} {} {made}\n", line.domain, line.selector));
        }
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
        let line = Line::parse("Example.ORG s1.x 1795428000").unwrap();
        assert_eq!(line.domain, "example.org");
        assert_eq!(line.selector, "s1.x");
        assert_eq!(line.made.as_secs(), 1_795_428_000);
        for bad in [
            "",
            "example.org",
            "example.org s1",
            "example.org s1 x",
            "example.org s1 1 2",
            "../x s1 1",
            "example.org ../../x 1",
            "example.org a/b 1",
        ] {
            assert_eq!(Line::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn below_means_at_a_dot() {
        assert!(is_within("a.b.test", "b.test") && is_within("b.test", "b.test"));
        assert!(!is_within("ab.test", "b.test") && !is_within("test", "b.test"));
        assert!(!is_within("", "b.test"));
    }
}
