//! How much one account may send: recipients per hour and per day.
//!
//! A stolen password is found out by what is sent with it. Above a limit mail is still accepted,
//! and held: nothing is lost if its owner is who sends, and nothing is sent if not. Counts are kept
//! over restarts in a small text file, written at most once in [`WRITE_AGAIN`] and at the end, so
//! that a server that is killed forgets no more than that.
//!
//! An hour, and a day, begin with the first message after the last one is over. What is held counts
//! for itself: above [`HELD_DAYS`] times the daily limit in a day, more is not taken.
//!
//! This module does **not** hold anything or tell anybody; it says what is over a limit, and
//! whether that is news.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posthaste_world::disk::Open;
use posthaste_world::work::Pool;
use posthaste_world::{Disk, Timestamp, World};

use crate::config::Limits;
use crate::shutdown::Shutdown;
use crate::telemetry::Log;

/// Time between two writes.
pub const WRITE_AGAIN: Duration = Duration::from_secs(10);
/// What may be held of an account in a day, in daily limits: an honest newsletter fits, and whoever
/// has stolen a password cannot fill the disk.
pub const HELD_DAYS: u32 = 4;
/// Accounts that are remembered at once. More than have sent in a day on one machine.
const ACCOUNTS_MAX: usize = 200_000;
/// Largest file that is read, in octets: a full table fits.
const FILE_MAX: u64 = 64 * 1024 * 1024;
const HEADER: &str = "# posthaste senders 1";

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What accounts have sent lately.
#[derive(Default)]
pub struct Senders(Mutex<Table>);

/// A limit that would be exceeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Over {
    /// The key in `[limits]`.
    pub limit: &'static str,
    /// Its value: recipients.
    pub most: u32,
    /// Whether nobody has been told yet, today.
    pub is_news: bool,
    /// Whether so much is held already that this is not taken.
    pub is_full: bool,
}

#[derive(Default)]
struct Table {
    accounts: BTreeMap<Box<str>, Sent>,
    changed: bool,
}

/// What one account has sent.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Sent {
    hour: Window,
    day: Window,
    /// Recipients of what was held today.
    held: u32,
    /// Its owner has been told today that mail is held.
    told: bool,
}

/// Recipients since a time.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Window {
    since: Timestamp,
    count: u32,
}

impl Window {
    /// The same, or a new one when it is over.
    fn at(self, now: Timestamp, length: Duration) -> Window {
        // A clock that was set back begins anew, too.
        match now >= self.since && now.since(self.since) < length {
            true => self,
            false => Window {
                since: now,
                count: 0,
            },
        }
    }

    fn is_over(self, more: u32, most: u32) -> bool {
        self.count.saturating_add(more) > most
    }

    fn add(&mut self, more: u32) {
        self.count = self.count.saturating_add(more);
    }

    fn take(&mut self, less: u32) {
        self.count = self.count.saturating_sub(less);
    }
}

impl Senders {
    /// Reads the file at `path`. Without one nothing is remembered.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Senders> {
        let octets = match disk.read(path, FILE_MAX) {
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            octets => octets?,
        };
        let text = String::from_utf8_lossy(&octets);
        let accounts = text.lines().filter_map(line).take(ACCOUNTS_MAX).collect();
        Ok(Senders(Mutex::new(Table {
            accounts,
            changed: false,
        })))
    }

    /// The account sends to so many recipients now.
    ///
    /// # Errors
    /// That would be more than it may: it is to be held, and counted so, or not to be taken.
    pub fn send(
        &self,
        account: &str,
        recipients: u32,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<(), Over> {
        let mut table = self.table();
        if !table.accounts.contains_key(account) && table.accounts.len() >= ACCOUNTS_MAX {
            table.forget(now);
        }
        table.changed = true;
        let sent = table.accounts.entry(account.into()).or_default();
        sent.hour = sent.hour.at(now, HOUR);
        let day = sent.day.at(now, DAY);
        if day != sent.day {
            (sent.told, sent.held) = (false, 0);
        }
        sent.day = day;
        let (hourly, daily) = (
            limits.account_recipients_per_hour,
            limits.account_recipients_per_day,
        );
        let over = if sent.day.is_over(recipients, daily) {
            ("account_recipients_per_day", daily)
        } else if sent.hour.is_over(recipients, hourly) {
            ("account_recipients_per_hour", hourly)
        } else {
            sent.hour.add(recipients);
            sent.day.add(recipients);
            return Ok(());
        };
        let (limit, most) = over;
        let held = sent.held.saturating_add(recipients);
        let is_full = held > daily.saturating_mul(HELD_DAYS);
        if !is_full {
            sent.held = held;
        }
        Err(Over {
            limit,
            most,
            is_news: !is_full && !std::mem::replace(&mut sent.told, true),
            is_full,
        })
    }

    /// What [`send`](Self::send) has counted was not kept after all: it was not sent, nor held.
    pub fn not_sent(&self, account: &str, recipients: u32, over: Option<Over>) {
        let mut table = self.table();
        let Some(sent) = table.accounts.get_mut(account) else {
            return;
        };
        match over {
            None => {
                sent.hour.take(recipients);
                sent.day.take(recipients);
            }
            Some(over) => {
                sent.held = sent.held.saturating_sub(recipients);
                sent.told &= !over.is_news;
            }
        }
        table.changed = true;
    }

    /// Nobody could be told: it is news again.
    pub fn not_told(&self, account: &str) {
        let mut table = self.table();
        if let Some(sent) = table.accounts.get_mut(account) {
            sent.told = false;
            table.changed = true;
        }
    }

    /// Writes what changed, now and then, until the server stops.
    pub async fn keep(self: Arc<Self>, world: World, log: Arc<Log>, path: PathBuf, stop: Shutdown) {
        loop {
            tokio::select! {
                biased;
                () = stop.stopping() => return,
                () = world.clock.sleep(WRITE_AGAIN) => {}
            }
            self.write(&world, &log, &path).await;
        }
    }

    /// Writes what changed since the last time.
    pub async fn write(&self, world: &World, log: &Log, path: &Path) {
        let Some(text) = self.take(world.clock.now()) else {
            return;
        };
        let (disk, place) = (world.disk.clone(), path.to_owned());
        let placing = world
            .work
            .on(Pool::Disk, move || place_file(&*disk, &place, &text));
        if let Ok(Err(e)) = placing.await {
            let doing = format!("remembering what accounts sent in {}", path.display());
            log.fault(&doing, &e);
        }
    }

    /// The text of the file; none when nothing changed.
    fn take(&self, now: Timestamp) -> Option<String> {
        let mut table = self.table();
        if !std::mem::take(&mut table.changed) {
            return None;
        }
        table.forget(now);
        let mut text = format!("{HEADER}\n");
        for (account, sent) in &table.accounts {
            let window = |w: Window| format!("{} {}", w.since.as_millis(), w.count);
            let (hour, day) = (window(sent.hour), window(sent.day));
            let (told, held) = (u8::from(sent.told), sent.held);
            let _ = writeln!(text, "{hour} {day} {told}:{held} {account}");
        }
        Some(text)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Forgets accounts whose day is over.
    fn forget(&mut self, now: Timestamp) {
        self.accounts
            .retain(|_, sent| sent.day.at(now, DAY) == sent.day);
    }
}

/// One account's line. What is none of ours says nothing.
fn line(text: &str) -> Option<(Box<str>, Sent)> {
    let words: Vec<&str> = text.splitn(6, ' ').collect();
    let [hour, in_hour, day, in_day, told, account] = *words.as_slice() else {
        return None;
    };
    let window = |since: &str, count: &str| {
        Some(Window {
            since: Timestamp::from_millis(since.parse().ok()?),
            count: count.parse().ok()?,
        })
    };
    let (told, held) = told.split_once(':').unwrap_or((told, "0"));
    let sent = Sent {
        held: held.parse().ok()?,
        hour: window(hour, in_hour)?,
        day: window(day, in_day)?,
        told: told == "1",
    };
    (!account.is_empty()).then(|| (account.into(), sent))
}

/// Puts the file in its place in one step. It is not synced: only a power cut can lose it, and that
/// costs what was counted.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            account_recipients_per_hour: 10,
            account_recipients_per_day: 15,
            ..Limits::default()
        }
    }

    fn at(s: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + s)
    }

    fn over(limit: &'static str, most: u32, is_news: bool) -> Result<(), Over> {
        Err(Over {
            limit,
            most,
            is_news,
            is_full: false,
        })
    }

    #[test]
    fn an_hour_and_a_day_have_their_limits_and_whoever_meets_one_is_told_once_a_day() {
        let (senders, limits) = (Senders::default(), limits());
        let send = |s, n| senders.send("a@b", n, at(s), &limits);
        let (hourly, daily) = ("account_recipients_per_hour", "account_recipients_per_day");
        assert_eq!(send(0, 10), Ok(()));
        assert_eq!(send(1, 1), over(hourly, 10, true));
        assert_eq!(send(2, 1), over(hourly, 10, false));
        assert_eq!(senders.send("c@d", 10, at(2), &limits), Ok(()));
        assert_eq!(send(3600, 5), Ok(()), "what was held did not count");
        assert_eq!(send(3601, 1), over(daily, 15, false));
        assert_eq!(send(86_399, 1), over(daily, 15, false));
        assert_eq!(send(86_400, 10), Ok(()));
        assert_eq!(send(86_401, 10), over(daily, 15, true));
        senders.not_told("a@b");
        assert_eq!(send(86_402, 10), over(daily, 15, true));
        assert_eq!(send(86_403, 1), over(hourly, 10, false));
    }

    #[test]
    fn a_message_for_more_than_may_ever_be_is_over_at_once() {
        let (senders, limits) = (Senders::default(), limits());
        let over = senders.send("a@b", 60, at(0), &limits).unwrap_err();
        assert_eq!(
            (over.limit, over.is_news),
            ("account_recipients_per_day", true)
        );
    }

    #[test]
    fn what_is_held_in_a_day_has_a_bound_and_what_is_above_it_tells_nobody() {
        let (senders, limits) = (Senders::default(), limits());
        let send = |s, n| {
            let over = senders.send("a@b", n, at(s), &limits).unwrap_err();
            (over.is_full, over.is_news)
        };
        assert_eq!(send(0, u32::MAX), (true, false));
        assert_eq!(send(1, 30), (false, true));
        assert_eq!(send(2, 31), (true, false), "four days' worth");
        assert_eq!(send(3, 30), (false, false));
        assert_eq!(send(4, 16), (true, false));
        let text = senders.take(at(4)).unwrap();
        let read: BTreeMap<_, _> = text.lines().filter_map(line).collect();
        assert_eq!(
            read,
            senders.table().accounts,
            "a restart forgets none of it"
        );
        assert_eq!(send(86_400, 60), (false, true), "the next day begins anew");
    }

    #[test]
    fn what_was_not_kept_counts_nowhere_and_is_news_again() {
        let (senders, limits) = (Senders::default(), limits());
        let send = |n| senders.send("a@b", n, at(0), &limits);
        assert_eq!(send(10), Ok(()));
        senders.not_sent("a@b", 10, None);
        assert_eq!(send(10), Ok(()));
        let held = send(60).unwrap_err();
        assert!(held.is_news && !held.is_full);
        senders.not_sent("a@b", 60, Some(held));
        assert_eq!(send(60), Err(held));
        let later = senders.send("a@b", 1, at(86_400), &limits);
        assert_eq!(later, Ok(()));
        senders.not_sent("nobody@b", 1, None);
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let (senders, limits) = (Senders::default(), limits());
        let _ = senders.send("a b@c", 7, at(0), &limits);
        let _ = senders.send("a b@c", 7, at(1), &limits);
        let _ = senders.send("old@c", 1, at(0), &limits);
        let _ = senders.send("z@c", 3, at(86_398), &limits);
        let _ = senders.send("a b@c", 7, at(86_399), &limits);
        let text = senders.take(at(86_399)).unwrap();
        assert_eq!(senders.take(at(86_399)), None, "nothing has changed since");
        let read: BTreeMap<_, _> = text.lines().filter_map(line).collect();
        assert_eq!(read, senders.table().accounts);
        assert_eq!(read.len(), 3);
        assert!(senders.send("z@c", 1, at(200_000), &limits).is_ok());
        let text = senders.take(at(200_000)).unwrap();
        assert_eq!(text.lines().filter_map(line).count(), 1, "{text}");
        for damaged in [
            "",
            "1 2 3 4 0",
            "x 2 3 4 0 a",
            "1 2 3 99999999999 0 a",
            "1 2 3 4 1 ",
        ] {
            assert_eq!(line(damaged), None, "{damaged}");
        }
    }
}
