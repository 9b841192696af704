//! Forwarding: the reverse-path under which an alias of ours sends mail on, and the way back.
//!
//! Mail from elsewhere that an alias (or catch-all) sends elsewhere leaves us with a reverse-path
//! of our own (SRS), in the domain of the alias: the next hop asks the DNS whether we may send for
//! that domain, and not for the first sender's. It is made at delivery, so that our own reports
//! still go to the first sender at once; a bounce from further on comes to the rewritten address,
//! and is sent on to the first sender.
//!
//! The secrets behind these addresses lie in the file `srs` of `data_dir`, one a line with the time
//! of its making, the newest first: it signs, and the older ones still lead back for as long as an
//! address that they made is good. A secret is on the disk before it is used.
//!
//! This module does **not** say who may send where: policy asks it, and so does delivery.

use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use posthaste_mailauth::srs::{DAYS_MAX, NotRewritten, Srs};
use posthaste_queue::envelope::{Envelope, Recipient};
use posthaste_smtp::address::{Domain, Mailbox, ReversePath};
use posthaste_world::work::Pool;
use posthaste_world::{Disk, Timestamp, World};

use crate::fault::Fault;
use crate::lookup::Directory;
use crate::shutdown::Shutdown;
use crate::sign::keys;
use crate::telemetry::Log;

/// What the first line of the file says, and its version.
const HEADER: &str = "# posthaste srs 1";
/// Largest file of secrets, in octets.
const FILE_MAX: u64 = 64 * 1024;
/// Octets of a secret.
const SECRET_OCTETS: usize = 32;
const DAY: Duration = Duration::from_secs(86_400);
/// Age at which a secret is replaced.
const REPLACE_AFTER: Duration = Duration::from_secs(30 * 86_400);
/// How long a secret leads back after it was replaced: as long as the last address that it made,
/// and a day for clocks that differ.
const KEEP_FOR: Duration = Duration::from_secs((DAYS_MAX + 1) * 86_400);

/// Rewrites reverse-paths, and leads back.
pub struct Forwarding {
    world: World,
    path: PathBuf,
    /// The newest first; at least one.
    secrets: RwLock<Vec<Secret>>,
}

#[derive(Clone, PartialEq, Eq)]
struct Secret {
    made: Timestamp,
    octets: Vec<u8>,
}

impl Forwarding {
    /// With the secrets in `data_dir`; the first is made there.
    ///
    /// # Errors
    /// They cannot be read or written.
    pub fn open(world: &World, data_dir: &Path) -> Result<Self, Fault> {
        let path = data_dir.join("srs");
        let doing = || format!("reading the secrets for forwarding in {}", path.display());
        let secrets = read(&*world.disk, &path).map_err(|e| {
            Fault::new(doing(), e).fix(
                "let the server's user read it; or remove it, and bounces of mail that was \
                 forwarded so far lead nowhere",
            )
        })?;
        let renewed = renew(world, &path, &secrets).map_err(|e| Fault::new(doing(), e))?;
        Ok(Forwarding {
            world: world.clone(),
            secrets: RwLock::new(renewed.unwrap_or(secrets)),
            path,
        })
    }

    /// Replaces secrets in time, until the server stops.
    pub async fn keep(self: Arc<Self>, log: Arc<Log>, stop: Shutdown) {
        loop {
            tokio::select! {
                biased;
                () = stop.stopping() => return,
                () = self.world.clock.sleep(DAY) => {}
            }
            let this = self.clone();
            let renewing = move || this.renew();
            if let Ok(Err(e)) = self.world.work.on(Pool::Disk, renewing).await {
                let doing = format!("replacing the secret in {}", self.path.display());
                log.fault(&doing, &e);
            }
        }
    }

    fn renew(&self) -> io::Result<()> {
        let known = self.secrets();
        if let Some(renewed) = renew(&self.world, &self.path, &known)? {
            *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        }
        Ok(())
    }

    fn secrets(&self) -> Vec<Secret> {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        secrets.clone()
    }

    fn srs(&self, domain: &Domain) -> Option<Srs> {
        let secrets = self.secrets();
        let octets: Vec<&[u8]> = secrets.iter().map(|s| &*s.octets).collect();
        Srs::new(&octets, domain.clone())
    }

    /// The reverse-path with which mail leaves for `recipient`. One that cannot be rewritten, since
    /// the address would be too long, stays as it is.
    #[must_use]
    pub fn reverse_path<'a>(
        &self,
        directory: &Directory,
        envelope: &'a Envelope,
        recipient: &'a Recipient,
    ) -> Cow<'a, ReversePath> {
        let given = envelope.reverse_path_of(recipient);
        match self.rewritten(directory, given, recipient) {
            Some(mailbox) => Cow::Owned(ReversePath::Mailbox(mailbox)),
            None => Cow::Borrowed(given),
        }
    }

    fn rewritten(
        &self,
        directory: &Directory,
        given: &ReversePath,
        recipient: &Recipient,
    ) -> Option<Mailbox> {
        let (sender, alias) = (given.mailbox()?, recipient.alias.as_ref()?);
        let ours = |mailbox: &Mailbox| directory.is_ours(mailbox.domain());
        if recipient.reverse_path.is_some() || ours(sender) || ours(&recipient.address) {
            return None;
        }
        let now_s = self.world.clock.now().as_secs();
        self.srs(alias.domain())?.forward(sender, now_s).ok()
    }

    /// The sender to whom mail for `mailbox`, which is in a domain of ours, is sent on.
    ///
    /// # Errors
    /// It is no address of this kind, or leads nowhere (any more).
    pub fn lead_back(&self, mailbox: &Mailbox) -> Result<Mailbox, NotRewritten> {
        let now_s = self.world.clock.now().as_secs();
        let srs = self.srs(mailbox.domain()).ok_or(NotRewritten::NotSrs)?;
        srs.reverse(mailbox, now_s)
    }
}

/// Replaces the newest secret where it is old, and forgets those that lead nowhere; gives the new
/// secrets, once they are on the disk.
fn renew(world: &World, path: &Path, secrets: &[Secret]) -> io::Result<Option<Vec<Secret>>> {
    let mut octets = vec![0; SECRET_OCTETS];
    world.random.fill(&mut octets);
    let renewed = renewed(secrets, world.clock.now(), octets);
    if renewed == secrets {
        return Ok(None);
    }
    let mut text = format!("{HEADER}\n");
    for secret in &renewed {
        let made = secret.made.as_secs();
        text.push_str(&format!("{made} {}\n", BASE64.encode(&secret.octets)));
    }
    keys::place(&*world.disk, path, &text)?;
    Ok(Some(renewed))
}

fn renewed(secrets: &[Secret], now: Timestamp, octets: Vec<u8>) -> Vec<Secret> {
    let mut renewed = secrets.to_vec();
    let old = |newest: &Secret| now.since(newest.made) >= REPLACE_AFTER;
    if renewed.first().is_none_or(old) {
        renewed.insert(0, Secret { made: now, octets });
    }
    // Whether the one before a secret took its place too long ago.
    let mut replaced: Option<Timestamp> = None;
    renewed.retain(|secret| {
        let kept = replaced.is_none_or(|at| now.since(at) <= KEEP_FOR);
        replaced = Some(secret.made);
        kept
    });
    renewed
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<Secret>> {
    let octets = match disk.read(path, FILE_MAX) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        octets => octets?,
    };
    let text = String::from_utf8_lossy(&octets);
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Err(io::Error::other("it is no file of this version"));
    }
    let secret = |line: &str| {
        let (made, octets) = line.split_once(' ')?;
        let octets = BASE64.decode(octets).ok()?;
        (octets.len() == SECRET_OCTETS).then_some(Secret {
            made: Timestamp::from_secs(made.parse().ok()?),
            octets,
        })
    };
    let secrets: Option<Vec<Secret>> = lines.map(secret).collect();
    secrets.ok_or_else(|| io::Error::other("a line of it is no secret"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(n: u64) -> Timestamp {
        Timestamp::from_secs(1_795_000_000 + n * 86_400)
    }

    fn made(secrets: &[Secret]) -> Vec<u8> {
        secrets.iter().map(|s| s.octets[0]).collect()
    }

    #[test]
    fn a_secret_is_replaced_in_time_and_leads_back_as_long_as_its_addresses() {
        let mut secrets = renewed(&[], days(0), vec![1]);
        assert_eq!(made(&secrets), [1]);
        assert!(renewed(&secrets, days(29), vec![2]) == secrets);
        secrets = renewed(&secrets, days(30), vec![2]);
        assert_eq!(made(&secrets), [2, 1]);
        secrets = renewed(&secrets, days(52), vec![3]);
        assert_eq!(made(&secrets), [2, 1]);
        secrets = renewed(&secrets, days(53), vec![3]);
        assert_eq!(made(&secrets), [2]);
        // A server that did not run for a year makes a new one, and keeps what it then replaces.
        secrets = renewed(&secrets, days(400), vec![3]);
        assert_eq!(made(&secrets), [3, 2]);
        // A clock that was set back changes nothing.
        assert!(renewed(&secrets, days(0), vec![4]) == secrets);
    }
}
