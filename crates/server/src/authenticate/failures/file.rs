//! What is remembered of failed logins, over a restart: one small text file.
//!
//! It is written whole under another name and renamed, at most once in [`WRITE_AGAIN`], so a
//! server that is killed at any instant leaves an old or a new one. It is not synced: only a power
//! cut can lose it, that costs what was counted, and a sync of every count would hold up mail while
//! somebody guesses. A line that cannot be read is left out.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, IoSlice};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use posthaste_world::disk::Open;
use posthaste_world::work::Pool;
use posthaste_world::{Disk, Timestamp, World};

use super::{
    ACCOUNTS_MAX, ADDRESSES_MAX, Count, FORGET_KNOWN, Failures, KNOWN_MAX, Known, Tables, site,
};
use crate::authenticate::name::Name;
use crate::shutdown::Shutdown;
use crate::telemetry::Log;

/// Time between two writes.
pub const WRITE_AGAIN: Duration = Duration::from_secs(1);
/// Largest file that is read, in octets: full tables fit.
const FILE_MAX: u64 = 64 * 1024 * 1024;
const HEADER: &str = "# posthaste failures 1";

/// Reads the file at `path`. Without one nothing is remembered.
///
/// # Errors
/// Whatever the system says.
pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Failures> {
    let octets = match disk.read(path, FILE_MAX) {
        Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
        octets => octets?,
    };
    Ok(parse(&String::from_utf8_lossy(&octets)))
}

/// Writes what changed, now and then, until the server stops; whoever stops it writes the rest.
pub async fn keep(
    failures: Arc<Failures>,
    world: World,
    log: Arc<Log>,
    path: PathBuf,
    stop: Shutdown,
) {
    loop {
        tokio::select! {
            biased;
            () = stop.stopping() => return,
            () = world.clock.sleep(WRITE_AGAIN) => {}
        }
        write(&failures, &world, &log, &path).await;
    }
}

/// Writes what changed since the last time.
pub async fn write(failures: &Failures, world: &World, log: &Log, path: &Path) {
    let Some(text) = take(failures, world.clock.now()) else {
        return;
    };
    let (disk, place) = (world.disk.clone(), path.to_owned());
    let placing = world
        .work
        .on(Pool::Disk, move || place_file(&*disk, &place, &text));
    if let Ok(Err(e)) = placing.await {
        log.fault(
            &format!("remembering failed logins in {}", path.display()),
            &e,
        );
    }
}

fn place_file(disk: &dyn Disk, path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    match disk.remove(&new) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = disk.open(&new, Open::CreateNew)?;
    file.write_at(0, &[IoSlice::new(text.as_bytes())])?;
    disk.rename(&new, path)
}

/// The text of the file; none when nothing changed.
fn take(failures: &Failures, now: Timestamp) -> Option<String> {
    let mut tables = failures.tables();
    if !std::mem::take(&mut tables.changed) {
        return None;
    }
    tables.addresses.retain(|_, count| !count.is_forgotten(now));
    tables.accounts.retain(|_, count| !count.is_forgotten(now));
    tables
        .known
        .retain(|_, known| now.since(known.login) < FORGET_KNOWN);
    let mut text = format!("{HEADER}\n");
    let of = |count: &Count| format!("{} {}", count.failures, count.last.as_millis());
    for (address, count) in &tables.addresses {
        let _ = writeln!(text, "address {address} {}", of(count));
    }
    for (name, count) in &tables.accounts {
        let _ = writeln!(text, "account {name} {}", of(count));
    }
    for ((name, address), known) in &tables.known {
        let login = known.login.as_millis();
        let _ = writeln!(text, "known {name} {address} {login} {}", of(&known.count));
    }
    Some(text)
}

fn parse(text: &str) -> Failures {
    let mut tables = Tables::default();
    for line in text.lines() {
        // What is not one of ours says nothing.
        let _ = line_of(line, &mut tables);
    }
    Failures(std::sync::Mutex::new(tables))
}

fn line_of(line: &str, tables: &mut Tables) -> Option<()> {
    let words: Vec<&str> = line.split(' ').collect();
    let count = |failures: &str, last: &str| {
        Some(Count {
            failures: failures.parse().ok()?,
            last: time(last)?,
        })
    };
    let address = |text: &str| text.parse().ok().map(|ip: IpAddr| site(Some(ip)));
    match *words.as_slice() {
        ["address", ip, failures, last] if tables.addresses.len() < ADDRESSES_MAX => {
            tables
                .addresses
                .insert(address(ip)?, count(failures, last)?);
        }
        ["account", name, failures, last] if tables.accounts.len() < ACCOUNTS_MAX => {
            tables
                .accounts
                .insert(Name::parse(name)?, count(failures, last)?);
        }
        ["known", name, ip, login, failures, last] if tables.known.len() < KNOWN_MAX => {
            let (login, count) = (time(login)?, count(failures, last)?);
            let pair = (Name::parse(name)?, address(ip)?);
            tables.known.insert(pair, Known { count, login });
        }
        _ => {}
    }
    Some(())
}

fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::name::Claimed;
    use super::*;

    fn filled() -> Failures {
        let failures = Failures::default();
        let now = Timestamp::from_secs(1_700_000_000);
        for (ip, name) in [
            ("192.0.2.1", "alice@example.org"),
            ("2001:db8::1", "*)(uid=*"),
        ] {
            let ip = ip.parse().ok();
            failures.failed(ip, &Claimed::new(name.as_bytes()), now);
            failures.succeeded(ip, &Name::parse("bob@example.org").unwrap(), now);
            failures.failed(ip, &Claimed::new(b"bob@example.org"), now);
        }
        failures
    }

    #[test]
    fn what_is_written_is_read_again() {
        let failures = filled();
        let now = Timestamp::from_secs(1_700_000_001);
        let text = take(&failures, now).unwrap();
        assert_eq!(take(&failures, now), None);
        let read = parse(&text);
        assert_eq!(*read.tables(), *failures.tables());
        assert_eq!(text.lines().count(), 1 + 2 + 2 + 2);
    }

    #[test]
    fn a_file_that_was_cut_anywhere_gives_what_is_whole_in_it() {
        let text = take(&filled(), Timestamp::from_secs(1_700_000_001)).unwrap();
        for cut in 0..text.len() {
            let read = parse(&text[..cut]);
            assert!(read.tables().addresses.len() <= 2);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(
            text in "((address|account|known)( \\PC{0,9}){0,5}\n|\\PC{0,20}\n){0,8}",
        ) {
            let _ = parse(&text);
        }
    }
}
