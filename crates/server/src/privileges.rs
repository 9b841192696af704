//! Privileges: a server that starts as root binds its ports, then becomes an ordinary user.
//!
//! Started as an ordinary user it stays that user. Without the configured default user on the
//! machine it stays root, and `check` says so. It does **not** write mail for other users: helpers
//! do, which are started while there are rights to start them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, stat};
use nix::unistd::{Gid, Uid};
use posthaste_world::Disk;
use posthaste_world::real::process::{self, User};

use crate::config::{Config, DEFAULT_USER};
use crate::deliver::helper::Helpers;
use crate::fault::Fault;

/// Whom the server is going to be.
pub struct Rights(Option<User>);

impl Rights {
    /// Finds out whom `config` wants the server to be.
    ///
    /// # Errors
    /// A user that is named, but not there.
    pub fn find(config: &Config) -> Result<Self, Fault> {
        if !process::is_root() {
            return Ok(Rights(None));
        }
        let name = config.user.as_deref().unwrap_or(DEFAULT_USER);
        let found =
            User::named(name).map_err(|e| Fault::new(format!("looking up the user {name}"), e))?;
        match (found, &config.user) {
            (Some(user), _) => Ok(Rights(Some(user))),
            (None, None) => Ok(Rights(None)),
            (None, Some(_)) => Err(Fault::new(
                "becoming an ordinary user",
                format!("there is no user {name}"),
            )
            .fix(format!(
                "run `useradd --system --shell /usr/sbin/nologin {name}`, or set `user`"
            ))),
        }
    }

    /// Whoever we are: everything is ours already.
    #[must_use]
    pub fn ours() -> Self {
        Rights(None)
    }

    /// Becomes that user for good.
    ///
    /// # Errors
    /// The system does not let us; the server must not run then.
    pub fn take(&self) -> Result<(), Fault> {
        let Some(user) = &self.0 else { return Ok(()) };
        process::become_user(user)
            .map_err(|e| Fault::new(format!("becoming the user {}", user.name), e))
    }
}

/// Makes the folder of spool and state, for the user that the server is going to be.
///
/// # Errors
/// It cannot be made.
pub fn make_data_dir(rights: &Rights, path: &Path, disk: &dyn Disk) -> Result<(), Fault> {
    let doing = || format!("making the folder {}", path.display());
    if disk.list(path).is_ok() {
        return Ok(());
    }
    disk.create_dir(path).map_err(|e| {
        Fault::new(doing(), e).fix("change `data_dir`, or let the server's user write there")
    })?;
    match &rights.0 {
        Some(user) => {
            let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
            nix::unistd::chown(path, Some(uid), Some(gid)).map_err(|e| Fault::new(doing(), e))
        }
        None => Ok(()),
    }
}

/// Gives `new`, which is going to replace `old`, to whoever has `old`. A first file that root makes
/// is for root to write and for the server to read.
///
/// # Errors
/// Whatever the system says.
pub fn let_server_read(config: &Config, old: &Path, new: &Path) -> io::Result<()> {
    let (owner, group, mode) = match stat(old) {
        Ok(found) => {
            let mode = Mode::from_bits_truncate(found.st_mode) & !(Mode::S_IRWXO | Mode::S_IXGRP);
            (
                Uid::from_raw(found.st_uid),
                Gid::from_raw(found.st_gid),
                mode,
            )
        }
        Err(Errno::ENOENT) if process::is_root() => {
            let name = config.user.as_deref().unwrap_or(DEFAULT_USER);
            let Some(server) = User::named(name)? else {
                return Ok(());
            };
            let mode = Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IRGRP;
            (Uid::from_raw(0), Gid::from_raw(server.gid), mode)
        }
        Err(Errno::ENOENT) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let ours = stat(new)?;
    if (ours.st_uid, ours.st_gid) != (owner.as_raw(), group.as_raw()) {
        nix::unistd::chown(new, Some(owner), Some(group))?;
    }
    fchmodat(AT_FDCWD, new, mode, FchmodatFlags::NoFollowSymlink)?;
    Ok(())
}

/// Starts the helpers that write mail files for other users. Started as an ordinary user the server
/// has none, and writes as itself.
///
/// # Errors
/// A helper cannot be started.
pub fn start_helpers(config: &Config) -> Result<Vec<Arc<Helpers>>, Fault> {
    if !process::is_root() {
        return Ok(Vec::new());
    }
    Helpers::start_all(config).map_err(|e| Fault::new("starting a helper for mail files", e))
}
