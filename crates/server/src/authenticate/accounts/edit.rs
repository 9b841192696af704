//! Changes of the file of accounts, for `posthaste user`.
//!
//! A change is whole or not there: it is written under another name, synced, and renamed, while a
//! lock keeps other commands away. Lines that it is not about stay as they are, comments too. Who
//! owns the file and who may read it stays as it was.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};

use posthaste_world::disk::Open;
use posthaste_world::{Disk, Random};

use super::{Book, HEADER, SECRETS_MAX, store};
use crate::authenticate::name::Name;
use crate::authenticate::secret::{self, Secret, Wanted};

/// A change of one account.
#[derive(Clone, Debug)]
pub enum Change<'a> {
    /// A secret that is not there yet.
    Add(Wanted<'a>),
    /// Another password for a secret that is there. What CRAM-MD5 needs is stored again when it
    /// was there.
    Replace(Wanted<'a>),
    /// One secret less, or, without a label, the whole account.
    Remove(&'a Name, Option<&'a str>),
}

/// Makes `change` in the file at `path`. `prepare` is called on the new file before it takes the
/// old one's place.
///
/// # Errors
/// Why it was not made; the file is as it was.
pub fn change(
    disk: &dyn Disk,
    random: &dyn Random,
    path: &Path,
    change: &Change<'_>,
    prepare: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), String> {
    let failed = |what: &str, e: io::Error| match e.kind() {
        ErrorKind::WouldBlock => "another command is changing the accounts; try again".to_string(),
        _ => format!("{what} {}: {e}", path.display()),
    };
    let beside = |end: &str| beside(path, end);
    let _lock = disk
        .lock(&beside(".lock"))
        .map_err(|e| failed("locking", e))?;
    let text = store::text(disk, path).map_err(|e| failed("reading", e))?;
    let text = changed(&text, change, random)?;
    let new = beside(".new");
    match disk.remove(&new) {
        // Left behind by a command that was killed.
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(failed("writing", e)),
    }
    let written = disk.open(&new, Open::CreateNew).and_then(|file| {
        file.write_at(0, &[IoSlice::new(text.as_bytes())])?;
        file.sync()
    });
    let placed = written
        .and_then(|()| prepare(&new))
        .and_then(|()| disk.rename(&new, path))
        .and_then(|()| disk.sync_dir(folder(path)));
    placed.map_err(|e| failed("writing", e))
}

/// `.users.new` beside `users`.
fn beside(path: &Path, end: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{end}"))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// The text of the file after `change`.
fn changed(text: &str, change: &Change<'_>, random: &dyn Random) -> Result<String, String> {
    let (book, flaws) = Book::parse(text);
    if let Some(flaw) = flaws.iter().find(|f| f.is_error) {
        return Err(format!("line {} of the file: {}", flaw.line, flaw.cause));
    }
    let (name, label) = match change {
        Change::Add(wanted) | Change::Replace(wanted) => (wanted.name, Some(wanted.label)),
        Change::Remove(name, label) => (*name, *label),
    };
    let secrets: &[Secret] = book.find(name).map_or(&[], |a| &a.secrets);
    let matching = |s: &&Secret| label.is_none_or(|label| *s.label == *label);
    let count = secrets.iter().filter(matching).count();
    let old = text.lines().find(|line| is_meant(line, name, label));
    let line = match change {
        Change::Add(_) if count > 0 => return Err(exists(name, label.unwrap_or_default())),
        Change::Add(_) if secrets.len() >= SECRETS_MAX => {
            return Err(format!(
                "{name} has {SECRETS_MAX} secrets, which is the most"
            ));
        }
        Change::Replace(_) | Change::Remove(..) if count == 0 => return Err(absent(name, label)),
        Change::Add(wanted) => Some(secret::make(wanted, secrets, None, random)?),
        Change::Replace(wanted) => {
            let mut wanted = wanted.clone();
            let had = |s: &Secret| s.cram_md5.is_some();
            wanted.cram_md5 |= secrets.iter().filter(matching).any(had);
            Some(secret::make(&wanted, secrets, old, random)?)
        }
        Change::Remove(..) => None,
    };
    Ok(rewritten(text, name, label, line))
}

/// Whether a line is a secret of `name` with that label, or with any.
fn is_meant(line: &str, name: &Name, label: Option<&str>) -> bool {
    let is_account = !line.trim().is_empty() && !line.starts_with('#');
    let of_name = |(n, s): (Name, Secret)| n == *name && label.is_none_or(|l| *s.label == *l);
    is_account && Secret::parse(line).is_ok_and(of_name)
}

/// `text` without the lines that are meant, and with `line`, which takes the place of the first of
/// them.
fn rewritten(text: &str, name: &Name, label: Option<&str>, line: Option<String>) -> String {
    let mut new = String::new();
    let mut line = line;
    let header = text.lines().any(|l| l.trim_end() == HEADER);
    if !header {
        let _ = writeln!(new, "{HEADER}");
    }
    for old in text.lines() {
        match is_meant(old, name, label) {
            true => new.extend(line.take().map(|line| line + "\n")),
            false => {
                let _ = writeln!(new, "{old}");
            }
        }
    }
    new.extend(line.map(|line| line + "\n"));
    new
}

/// Why there cannot be another secret of that label.
#[must_use]
pub fn exists(name: &Name, label: &str) -> String {
    match label {
        "" => format!(
            "{name} is there already; `posthaste user passwd` changes its password, --label adds \
             another"
        ),
        label => format!("{name} has a secret `{label}` already; remove it first"),
    }
}

fn absent(name: &Name, label: Option<&str>) -> String {
    match label {
        None => format!("there is no account {name}"),
        Some("") => format!("{name} has no main password; `posthaste user add` makes one"),
        Some(label) => format!("{name} has no secret `{label}`"),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use posthaste_world::real;

    use super::*;
    use crate::authenticate::name::Password;

    struct Fixed;
    impl Random for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    fn wanted<'a>(name: &'a Name, password: &'a Password, label: &'a str) -> Wanted<'a> {
        Wanted {
            name,
            password,
            label,
            cram_md5: false,
            expires: None,
        }
    }

    #[test]
    fn only_the_lines_that_are_meant_change() {
        let (alice, bob) = ("alice@example.org", "bob@example.org");
        let text =
            format!("# mine\n{bob}:{{PLAIN}}x::::::label=a\n\n{alice}:!\n{bob}:{{PLAIN}}y\n");
        let (name, password) = (Name::parse(bob).unwrap(), Password::new(b"pencil"));
        let change = Change::Replace(wanted(&name, &password, ""));
        let new = changed(&text, &change, &Fixed).unwrap();
        let lines: Vec<&str> = new.lines().collect();
        assert_eq!(
            &lines[..5],
            [
                HEADER,
                "# mine",
                &*format!("{bob}:{{PLAIN}}x::::::label=a"),
                "",
                "alice@example.org:!"
            ]
        );
        assert!(lines[5].starts_with("bob@example.org:{ARGON2ID}") && lines.len() == 6);
        // A password in clear served CRAM-MD5, and so does the new one.
        assert!(lines[5].contains("cram-md5="));
        let change = Change::Remove(&name, Some("a"));
        let fewer = changed(&new, &change, &Fixed).unwrap();
        assert_eq!(fewer.matches(bob).count(), 1);
        let none = changed(&fewer, &Change::Remove(&name, None), &Fixed).unwrap();
        assert_eq!(none, format!("{HEADER}\n# mine\n\nalice@example.org:!\n"));
    }

    #[test]
    fn a_change_that_cannot_be_says_why() {
        let (name, password) = (
            Name::parse("bob@example.org").unwrap(),
            Password::new(b"pencil"),
        );
        let add = |label| Change::Add(wanted(&name, &password, label));
        let text = changed("", &add(""), &Fixed).unwrap();
        let failed = |text: &str, change: &Change<'_>| changed(text, change, &Fixed).unwrap_err();
        assert!(failed(&text, &add("")).contains("is there already"));
        assert!(changed(&text, &add("phone"), &Fixed).is_ok());
        assert!(failed("", &Change::Remove(&name, None)).contains("no account"));
        assert!(failed(&text, &Change::Remove(&name, Some("x"))).contains("no secret `x`"));
        let replace = Change::Replace(wanted(&name, &password, "phone"));
        assert!(failed(&text, &replace).contains("no secret `phone`"));
        assert!(failed("nonsense\n", &add("")).contains("line 1"));
        assert!(failed("", &add("a b")).contains("label"));
    }

    #[tokio::test]
    async fn a_change_is_whole_and_the_file_is_for_its_owner() {
        let world = real::world(&real::Settings::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        let (name, password) = (
            Name::parse("bob@example.org").unwrap(),
            Password::new(b"pencil"),
        );
        std::fs::write(dir.path().join(".users.new"), "left behind").unwrap();
        let add = Change::Add(wanted(&name, &password, ""));
        let make = |change: &Change<'_>| {
            super::change(&*world.disk, &*world.random, &path, change, |_| Ok(()))
        };
        make(&add).unwrap();
        let state = store::read(&*world.disk, &path).unwrap();
        assert!(state.book.find(&name).is_some());
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let _lock = world.disk.lock(&dir.path().join(".users.lock")).unwrap();
        assert!(
            make(&Change::Remove(&name, None))
                .unwrap_err()
                .contains("another command")
        );
    }
}
