//! What a server does to its own process: signals, becoming an ordinary user, limits.
//!
//! Nothing here can be simulated usefully, so there is no trait; only the program's entry uses it.

use std::io::{self, Write as _};

use nix::unistd::{Gid, Uid, User as Entry};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What the operator asks for by a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM or SIGINT: finish and end.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The signals that reach this process, in the order in which they are seen. While this lives, and
/// after it, they no longer end the process.
pub struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// When called outside a runtime with I/O, or when the system refuses.
    pub fn new() -> io::Result<Self> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(io::Error::other("signals need a runtime"));
        }
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal. Several of a kind that come close together may be one. Dropping the future
    /// loses nothing.
    pub async fn next(&mut self) -> Signal {
        std::future::poll_fn(|cx| {
            let stops = [&mut self.terminate, &mut self.interrupt];
            for stream in stops {
                if stream.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(Signal::Stop);
                }
            }
            self.hangup.poll_recv(cx).map(|_| Signal::Reload)
        })
        .await
    }
}

/// A user of this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The number of its main group.
    pub gid: u32,
}

impl User {
    /// Looks a user up by name; `None` when there is none.
    ///
    /// # Errors
    /// When the system's list of users cannot be read.
    pub fn named(name: &str) -> io::Result<Option<User>> {
        let entry = Entry::from_name(name).map_err(io::Error::from)?;
        Ok(entry.map(|entry| User {
            name: entry.name,
            uid: entry.uid.as_raw(),
            gid: entry.gid.as_raw(),
        }))
    }
}

/// Whether this process runs as root.
#[must_use]
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Becomes `user` for good, with the groups that the user is a member of, on every thread. After
/// success the way back is closed, and that was tried.
///
/// # Errors
/// When the system refuses a step, or when the way back is open after all. The process may then be
/// half way: it must end.
pub fn become_user(user: &User) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let name = std::ffi::CString::new(user.name.as_str())?;
    // Groups first: without root's rights they can no longer be changed.
    nix::unistd::initgroups(&name, gid)?;
    nix::unistd::setgid(gid)?;
    nix::unistd::setuid(uid)?;
    let users = nix::unistd::getresuid()?;
    let groups = nix::unistd::getresgid()?;
    let all_changed = [users.real, users.effective, users.saved] == [uid; 3]
        && [groups.real, groups.effective, groups.saved] == [gid; 3];
    let root = Uid::from_raw(0);
    let way_back = uid != root && nix::unistd::setuid(root).is_ok();
    if all_changed && !way_back {
        return Ok(());
    }
    Err(io::Error::other("the rights of root could not be given up"))
}

/// A line of standard input that nobody should see.
#[derive(Clone)]
pub struct SecretLine {
    /// The line without its end.
    pub octets: Vec<u8>,
    /// Whether somebody typed it at a terminal, which was asked for it and did not show it.
    pub typed: bool,
}

/// Reads the next line of standard input, of at most `longest` octets. At a terminal it asks with
/// `prompt` on standard error and does not show what is typed.
///
/// # Errors
/// Whatever the system says; `UnexpectedEof` when there is no line, `InvalidData` for a longer one.
pub fn read_secret(prompt: &str, longest: usize) -> io::Result<SecretLine> {
    let stdin = rustix::stdio::stdin();
    let Ok(shown) = tcgetattr(stdin) else {
        return Ok(SecretLine {
            octets: read_line(longest)?,
            typed: false,
        });
    };
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ECHONL);
    let mut stderr = io::stderr();
    stderr.write_all(prompt.as_bytes())?;
    stderr.flush()?;
    tcsetattr(stdin, OptionalActions::Flush, &hidden)?;
    let line = read_line(longest);
    tcsetattr(stdin, OptionalActions::Now, &shown)?;
    Ok(SecretLine {
        octets: line?,
        typed: true,
    })
}

/// Octet by octet: what follows the line is not ours.
fn read_line(longest: usize) -> io::Result<Vec<u8>> {
    let (mut line, mut octet) = (Vec::new(), [0]);
    loop {
        match rustix::io::read(rustix::stdio::stdin(), &mut octet) {
            Ok(0) if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => return Ok(line),
            Ok(_) if octet == *b"\n" => {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            Ok(_) if line.len() > longest => {
                let why = "the line is too long";
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            Ok(_) => line.extend_from_slice(&octet),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Files and sockets made from now on are for their owner alone, whatever mode they ask for.
pub fn keep_files_private() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Raises the number of files this process may open as far as the system allows, and says how many
/// that is; `None` means without limit.
///
/// # Errors
/// When the system refuses.
pub fn allow_many_files() -> io::Result<Option<u64>> {
    let Rlimit { maximum, .. } = rustix::process::getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    rustix::process::setrlimit(Resource::Nofile, wanted)?;
    Ok(maximum)
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal as Number, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn signals_come_as_what_they_ask_for() {
        let mut signals = Signals::new().unwrap();
        for (number, wanted) in [
            (Number::HUP, Signal::Reload),
            (Number::TERM, Signal::Stop),
            (Number::INT, Signal::Stop),
        ] {
            kill_process(getpid(), number).unwrap();
            assert_eq!(signals.next().await, wanted);
        }
    }

    #[test]
    fn root_is_known_by_name_and_nobody_else_is_invented() {
        let root = User::named("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(User::named("no such user").unwrap(), None);
    }

    #[test]
    fn the_number_of_files_is_raised_to_its_limit() {
        let allowed = allow_many_files().unwrap();
        assert_eq!(
            rustix::process::getrlimit(Resource::Nofile).current,
            allowed
        );
    }
}
