//! What only the machine can tell about a configuration: folders, users, certificates.
//!
//! `check` reports it all; `serve` meets the same things as faults when it needs them. Looking
//! leaves nothing behind.

use std::io::{self, ErrorKind};
use std::path::Path;

use nix::unistd::{Uid, User};
use posthaste_world::disk::Open;
use posthaste_world::{Disk, Timestamp};

use super::{Config, DEFAULT_USER, Deliver, Finding, certificates};

/// Name of the file that is made and removed again to see whether a folder can be written.
const PROBE: &str = ".posthaste-check";

/// What the machine says about `config`.
#[must_use]
pub fn examine(config: &Config, disk: &dyn Disk, now: Timestamp) -> Vec<Finding> {
    let root = Uid::effective().is_root();
    let mut findings = Vec::new();
    findings.extend(data_dir(config, disk));
    findings.extend(user(config, root));
    findings.extend(owners(config, root));
    findings.extend(certificates::examine(config, disk, now));
    findings.extend(accounts(config));
    findings
}

/// What is to be said of who can read the accounts.
fn accounts(config: &Config) -> Vec<Finding> {
    let (file, path) = (&config.accounts.file, config.accounts.file.display());
    let mut findings = Vec::new();
    if certificates::is_open(file) {
        let cause = format!("everybody on this machine may read the accounts in {path}");
        findings.push(Finding::warning(
            None,
            cause,
            format!("run `chmod o= {path}`"),
        ));
    }
    if certificates::is_lost(file, config) {
        let name = config.user.as_deref().unwrap_or(DEFAULT_USER);
        findings.push(Finding::warning(
            None,
            format!(
                "`{name}`, whom the server becomes, may not read {path}: changes of accounts are \
                 seen only after a restart"
            ),
            format!(
                "give its group the right to read it and to pass its folders: `chgrp {name} {path} \
                 && chmod 0640 {path}`"
            ),
        ));
    }
    findings
}

fn data_dir(config: &Config, disk: &dyn Disk) -> Option<Finding> {
    let dir = &config.data_dir;
    let shown = dir.display();
    let (cause, at) = match disk.list(dir) {
        Ok(_) => (probe(dir, disk).err()?, "written"),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let parent = dir.ancestors().skip(1).find(|p| disk.list(p).is_ok());
            match parent.map(|p| probe(p, disk)) {
                Some(Ok(())) => return None,
                Some(Err(e)) => (e, "made"),
                None => (e, "made"),
            }
        }
        Err(e) => (e, "read"),
    };
    let user = match &config.user {
        Some(user) if Uid::effective().is_root() => user.clone(),
        _ => own_name(),
    };
    let fix = match cause.kind() {
        ErrorKind::PermissionDenied | ErrorKind::NotFound => {
            format!("run `sudo install -d -m 0700 -o {user} {shown}`, or change `data_dir`")
        }
        ErrorKind::NotADirectory => "name a folder in `data_dir`, not a file".to_string(),
        ErrorKind::StorageFull => "make room on that file system".to_string(),
        _ => "mend that file system, or change `data_dir`".to_string(),
    };
    Some(Finding::error(
        None,
        format!("the folder {shown} cannot be {at}: {cause}"),
        fix,
    ))
}

/// Makes a file in `dir` and removes it again.
fn probe(dir: &Path, disk: &dyn Disk) -> io::Result<()> {
    let path = dir.join(PROBE);
    match disk.open(&path, Open::CreateNew) {
        Ok(_) => disk.remove(&path),
        // Left behind by a check that was killed.
        Err(e) if e.kind() == ErrorKind::AlreadyExists => disk.remove(&path),
        Err(e) => Err(e),
    }
}

fn user(config: &Config, root: bool) -> Option<Finding> {
    if !root {
        return None;
    }
    let user = config.user.as_deref().unwrap_or(DEFAULT_USER);
    let add = format!("run `sudo useradd --system --shell /usr/sbin/nologin {user}`");
    match User::from_name(user) {
        Ok(Some(found)) if found.uid.is_root() => Some(Finding::warning(
            None,
            "`user` is root: a flaw in the server would have every right on this machine",
            "name an ordinary user, like \"posthaste\"",
        )),
        Ok(Some(_)) => None,
        Ok(None) if config.user.is_none() => Some(Finding::warning(
            None,
            format!("there is no user `{user}`: started as root, the server stays root"),
            format!("{add}, or set `user`"),
        )),
        Ok(None) => Some(Finding::error(
            None,
            format!("there is no user `{user}` to become after binding the ports"),
            format!("{add}, or name another `user`"),
        )),
        Err(e) => Some(Finding::error(
            None,
            format!("the user `{user}` cannot be looked up: {e}"),
            "mend the system's user database, or name another `user`",
        )),
    }
}

fn owners(config: &Config, root: bool) -> Vec<Finding> {
    let maildirs = config
        .domains
        .iter()
        .filter(|d| matches!(d.deliver, Deliver::Maildir(_)));
    let owned = maildirs.filter_map(|d| d.owner.as_ref().map(|o| (d, o)));
    let unfit = |(domain, owner): (&super::Domain, &String)| {
        let name = &domain.name;
        match User::from_name(owner) {
            Ok(Some(_)) if root || *owner == own_name() => None,
            Ok(Some(_)) => Some(Finding::warning(
                None,
                format!("mail files of {name} can belong to `{owner}` only after a start as root"),
                format!("start as root, or as `{owner}`, or remove `owner`"),
            )),
            Ok(None) => Some(Finding::error(
                None,
                format!("there is no user `{owner}` to own the mail files of {name}"),
                format!("run `sudo useradd --system --shell /usr/sbin/nologin {owner}`"),
            )),
            Err(e) => Some(Finding::error(
                None,
                format!("the user `{owner}` cannot be looked up: {e}"),
                "mend the system's user database, or name another `owner`",
            )),
        }
    };
    owned.filter_map(unfit).collect()
}

/// The name of the user who runs this.
fn own_name() -> String {
    match User::from_uid(Uid::effective()) {
        Ok(Some(user)) => user.name,
        _ => Uid::effective().to_string(),
    }
}
