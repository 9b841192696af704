//! Real peers: programs that nobody here wrote, run as `cargo xtask peers` has unpacked them.
//!
//! Each runs in a mount namespace of its own, daemons in a process namespace too: its tree is laid
//! over `/usr` and `/etc`, so that compiled-in paths hold, packages that exclude each other run
//! side by side, and the machine stays as it is. When the namespace's first process ends, all of it
//! ends.

pub mod client;
pub mod dkim;
mod dovecot;
mod exim;
mod haraka;
mod keys;
mod nsd;
mod opensmtpd;
mod pebble;
mod postfix;
mod script;
mod sendmail;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

pub use dovecot::Dovecot;
pub use exim::Exim;
pub use haraka::Haraka;
pub use keys::Keys;
pub use nsd::Nsd;
pub use opensmtpd::OpenSmtpd;
pub use pebble::Pebble;
pub use postfix::Postfix;
pub use script::Script;
pub use sendmail::Sendmail;

use crate::{root, skip};

/// An unpacked peer.
#[derive(Clone, Debug)]
pub struct Tree {
    name: &'static str,
    path: PathBuf,
}

/// A running peer and its folder.
pub struct Running {
    name: &'static str,
    folder: TempDir,
    child: Child,
}

impl Tree {
    /// The peer's tree; says `SKIP` and gives none when it has not been fetched or cannot be used.
    #[must_use]
    pub fn require(name: &'static str) -> Option<Self> {
        let path = root().join("target/peers").join(name);
        if !path.join("packages").exists() {
            skip(&format!(
                "{name}: not fetched; `cargo xtask peers` says why"
            ));
            return None;
        }
        let tree = Tree { name, path };
        let mut probe = tree.command("true", &[]);
        probe.stdout(Stdio::null()).stderr(Stdio::null());
        if !probe.status().is_ok_and(|status| status.success()) {
            skip(&format!(
                "{name}: needs a mount namespace of its own, which needs root"
            ));
            return None;
        }
        Some(tree)
    }

    /// A command in which the tree lies over the system. `script` is run by a shell, with `words`
    /// as its arguments from `$1` on.
    #[must_use]
    pub fn command(&self, script: &str, words: &[&str]) -> Command {
        self.unshare(&[], script, words)
    }

    fn unshare(&self, options: &[&str], script: &str, words: &[&str]) -> Command {
        let lay = "mount -t overlay overlay -o \"lowerdir=$0/usr:/usr\" /usr\n\
                   mount -t overlay overlay -o \"lowerdir=$0/etc:/etc\" /etc\n";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private"])
            .args(options);
        command.args(["sh", "-ec", &format!("{lay}{script}")]);
        command.arg(&self.path).args(words);
        command
    }

    /// Starts a daemon in the foreground; it must stay there.
    fn start(&self, folder: TempDir, script: &str, words: &[&str]) -> Running {
        let output = std::fs::File::create(folder.path().join("output")).expect("a file");
        let errors = output.try_clone().expect("the same file");
        // The shell stays the first process of the namespace: a daemon that becomes another user
        // loses the mark by which it would end with us, the shell keeps it and takes all with it.
        let script =
            format!("mount -t tmpfs tmpfs /run\nmount -t proc proc /proc\n{script}\nexit $?");
        let mut command = self.unshare(&["--pid", "--fork", "--kill-child"], &script, words);
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn();
        Running {
            name: self.name,
            folder,
            child: child.expect("a peer that starts"),
        }
    }
}

impl Running {
    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// What it has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        let mut said = String::new();
        for file in ["output", "log"] {
            if let Ok(mut file) = std::fs::File::open(self.dir().join(file)) {
                let mut octets = Vec::new();
                let _ = file.read_to_end(&mut octets);
                said.push_str(&String::from_utf8_lossy(&octets));
            }
        }
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{} said: {}", self.name, self.said());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a peer's file.
fn write(path: &Path, text: &str) {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    std::fs::write(path, text).expect("a file");
}

/// Makes a folder that a peer's own user may write to.
fn open_folder(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path).expect("a folder");
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(path, open).expect("an open folder");
}
