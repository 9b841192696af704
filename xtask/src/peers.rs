//! `cargo xtask peers`: the mail servers, mail clients and the DNS server that the tests talk to.
//!
//! They come from Debian's archive, as packages that are unpacked under `target/peers/<name>` with
//! whatever they need and the machine does not have. Nothing is installed and nothing is started:
//! the tests lay a tree over `/usr` and `/etc` in a mount namespace of their own
//! (`tests/src/peer`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::command::{Result, new, root};

/// A peer: the name of its folder, the packages it is made of, the users it runs as.
struct Peer {
    name: &'static str,
    packages: &'static [&'static str],
    users: &'static [&'static str],
}

const PEERS: [Peer; 6] = [
    Peer {
        name: "postfix",
        packages: &["postfix"],
        users: &["postfix", "postdrop"],
    },
    Peer {
        name: "opensmtpd",
        packages: &["opensmtpd"],
        users: &["opensmtpd", "opensmtpq"],
    },
    Peer {
        name: "exim",
        packages: &["exim4-daemon-heavy"],
        users: &["Debian-exim"],
    },
    Peer {
        name: "dovecot",
        packages: &["dovecot-core", "dovecot-lmtpd"],
        users: &["dovecot", "dovenull"],
    },
    Peer {
        name: "nsd",
        packages: &["nsd"],
        users: &["nsd"],
    },
    Peer {
        name: "clients",
        packages: &["curl", "msmtp", "python3", "strace", "swaks"],
        users: &[],
    },
];

/// First user and group number of the peers' users; far from those that packages get.
const FIRST_USER: u32 = 61_100;
/// Says which packages a tree was made of; written last.
const STAMP: &str = "packages";

/// Where the peers are unpacked.
fn folder() -> PathBuf {
    root().join("target/peers")
}

/// Fetches and unpacks what is not there yet.
pub(crate) fn run() -> Result<()> {
    let missing: Vec<&Peer> = PEERS.iter().filter(|peer| !peer.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for program in ["apt-get", "dpkg"] {
        if new(program).args(["--version"]).output().is_err() {
            let names: Vec<_> = missing.iter().map(|peer| peer.name).collect();
            let names = names.join(", ");
            return Err(format!(
                "{program} is missing: {names} can only be fetched on Debian"
            ));
        }
    }
    for peer in missing {
        println!("peers: fetching {}", peer.name);
        peer.fetch()
            .map_err(|fault| format!("{}: {fault}", peer.name))?;
    }
    Ok(())
}

impl Peer {
    fn tree(&self) -> PathBuf {
        folder().join(self.name)
    }

    fn wanted(&self) -> String {
        self.packages.join(" ")
    }

    fn is_there(&self) -> bool {
        let stamp = std::fs::read_to_string(self.tree().join(STAMP));
        stamp.is_ok_and(|packages| packages == self.wanted())
    }

    fn fetch(&self) -> Result<()> {
        let tree = self.tree();
        if tree.exists() {
            std::fs::remove_dir_all(&tree).map_err(|fault| fault.to_string())?;
        }
        let archives = tree.join("archives");
        make(&archives)?;
        make(&tree.join("usr"))?;
        let needed = self.needed()?;
        if !needed.is_empty() {
            new("apt-get")
                .args(["download", "-qq"])
                .args(&needed)
                .folder(&archives)
                .output()?;
        }
        // Debian's /lib and /sbin are links into /usr; archives may still name the old places.
        for folder in ["bin", "lib", "sbin"] {
            make(&tree.join("usr").join(folder))?;
            let link = std::os::unix::fs::symlink(format!("usr/{folder}"), tree.join(folder));
            link.map_err(|fault| format!("{}: {fault}", tree.join(folder).display()))?;
        }
        for archive in list(&archives)? {
            unpack(&archive, &tree)?;
        }
        std::fs::remove_dir_all(&archives)
            .map_err(|fault| format!("{}: {fault}", archives.display()))?;
        self.add_users(&tree)?;
        let stamp = std::fs::write(tree.join(STAMP), self.wanted());
        stamp.map_err(|fault| format!("{}: {fault}", tree.join(STAMP).display()))
    }

    /// The packages, and what they need that this machine does not have.
    fn needed(&self) -> Result<Vec<String>> {
        let plan = || {
            let words = [
                "install",
                "--reinstall",
                "--simulate",
                "--no-install-recommends",
                "-qq",
            ];
            new("apt-get")
                .args(words)
                .args(self.packages)
                .env("LC_ALL", "C")
                .output()
        };
        let text = match plan() {
            Ok(text) => text,
            // A fresh machine has no package lists.
            Err(_) => {
                new("apt-get").args(["update", "-qq"]).output()?;
                plan()?
            }
        };
        let names = text
            .lines()
            .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
        Ok(names.map(str::to_owned).collect())
    }

    /// Gives the tree a user database: this machine's, and the peer's users.
    fn add_users(&self, tree: &Path) -> Result<()> {
        let mut users = read("/etc/passwd")?;
        let mut groups = read("/etc/group")?;
        for (number, name) in (FIRST_USER..).zip(self.users) {
            if !users
                .lines()
                .any(|line| line.starts_with(&format!("{name}:")))
            {
                let home = "/nonexistent:/usr/sbin/nologin";
                let _ = writeln!(users, "{name}:x:{number}:{number}::{home}");
            }
            if !groups
                .lines()
                .any(|line| line.starts_with(&format!("{name}:")))
            {
                let _ = writeln!(groups, "{name}:x:{number}:");
            }
        }
        make(&tree.join("etc"))?;
        for (file, text) in [("passwd", users), ("group", groups)] {
            let path = tree.join("etc").join(file);
            std::fs::write(&path, text).map_err(|fault| format!("{}: {fault}", path.display()))?;
        }
        Ok(())
    }
}

fn unpack(archive: &Path, tree: &Path) -> Result<()> {
    // `dpkg --extract` replaces a link to a folder by a folder; tar can be told to follow it.
    let tar = tree.join("archive.tar");
    let script = "dpkg --fsys-tarfile \"$1\" >\"$2\"";
    new("sh")
        .args(["-ec", script, "sh"])
        .args([archive, tar.as_path()])
        .output()?;
    let words = [
        "--extract",
        "--keep-directory-symlink",
        "--no-same-owner",
        "--file",
    ];
    new("tar")
        .args(words)
        .args([tar.as_path()])
        .folder(tree)
        .output()?;
    std::fs::remove_file(&tar).map_err(|fault| format!("{}: {fault}", tar.display()))
}

fn make(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|fault| format!("{}: {fault}", folder.display()))
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).map_err(|fault| format!("{}: {fault}", folder.display()))?;
    Ok(entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect())
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).map_err(|fault| format!("{path}: {fault}"))
}
