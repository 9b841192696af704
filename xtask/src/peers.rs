//! `cargo xtask peers`: the mail servers, mail clients and the DNS server that the tests talk to.
//!
//! They come from Debian's archive, as packages that are unpacked under `target/peers/<name>` with
//! whatever they need and the machine does not have; libraries of Python and Node beside them, from
//! those languages' registries. Nothing is installed and nothing is started: the tests lay a tree
//! over `/usr` and `/etc` in a mount namespace of their own (`tests/src/peer`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::command::{Result, new, root};

/// A peer: the name of its folder, the packages it is made of, the users it runs as.
struct Peer {
    name: &'static str,
    /// Debian packages.
    packages: &'static [&'static str],
    /// Python packages with their versions, unpacked under `python` with what they need: a test
    /// names that folder in `PYTHONPATH`.
    python: &'static [&'static str],
    /// npm packages with their versions, unpacked under `node_modules`.
    node: &'static [&'static str],
    users: &'static [&'static str],
}

const PEERS: [Peer; 14] = [
    Peer {
        name: "postfix",
        packages: &["postfix"],
        users: &["postfix", "postdrop"],
        ..Peer::NONE
    },
    Peer {
        name: "opensmtpd",
        packages: &["opensmtpd"],
        users: &["opensmtpd", "opensmtpq"],
        ..Peer::NONE
    },
    Peer {
        name: "exim",
        packages: &["exim4-daemon-heavy"],
        users: &["Debian-exim"],
        ..Peer::NONE
    },
    Peer {
        name: "sendmail",
        packages: &["m4", "sendmail-bin", "sendmail-cf"],
        users: &["smmta", "smmsp"],
        ..Peer::NONE
    },
    Peer {
        name: "haraka",
        node: &["Haraka@3.3.4"],
        ..Peer::NONE
    },
    Peer {
        name: "dovecot",
        packages: &["dovecot-core", "dovecot-lmtpd"],
        users: &["dovecot", "dovenull"],
        ..Peer::NONE
    },
    Peer {
        name: "nsd",
        packages: &["nsd"],
        users: &["nsd"],
        ..Peer::NONE
    },
    Peer {
        name: "pebble",
        packages: &["pebble"],
        ..Peer::NONE
    },
    Peer {
        name: "clients",
        packages: &[
            "curl",
            "gsasl",
            "libnet-ssleay-perl",
            "msmtp",
            "openssl",
            "python3",
            "s-nail",
            "strace",
            "swaks",
        ],
        node: &["nodemailer@10.6.1"],
        ..Peer::NONE
    },
    Peer {
        name: "faketime",
        packages: &["libfaketime"],
        ..Peer::NONE
    },
    Peer {
        name: "scripts",
        python: &["aiosmtpd==1.4.6"],
        node: &["smtp-server@3.21.6"],
        ..Peer::NONE
    },
    Peer {
        name: "testssl",
        packages: &["testssl.sh"],
        ..Peer::NONE
    },
    Peer {
        name: "dkim",
        packages: &["libcryptx-perl", "libmail-dkim-perl", "libopendkim11"],
        python: &["dkimpy==1.1.8", "dnspython==2.7.0", "PyNaCl==1.6.2"],
        ..Peer::NONE
    },
    Peer {
        name: "mailauth",
        packages: &["libmail-srs-perl"],
        python: &[
            "dnspython==2.9.2",
            "lxml==6.1.3",
            "parsedmarc==11.1.0",
            "pyspf==2.0.14",
        ],
        ..Peer::NONE
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
    const NONE: Peer = Peer {
        name: "",
        packages: &[],
        python: &[],
        node: &[],
        users: &[],
    };

    fn tree(&self) -> PathBuf {
        folder().join(self.name)
    }

    fn wanted(&self) -> String {
        [self.packages, self.python, self.node].concat().join(" ")
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
        if !self.packages.is_empty() {
            self.download(&archives)?;
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
        self.fetch_modules(&tree)?;
        let stamp = std::fs::write(tree.join(STAMP), self.wanted());
        stamp.map_err(|fault| format!("{}: {fault}", tree.join(STAMP).display()))
    }

    /// Fetches the packages, and what they need that this machine does not have. A fresh machine
    /// has no package lists, an old one may have lists of packages that are gone: then once again.
    fn download(&self, archives: &Path) -> Result<()> {
        let once = || {
            let needed = self.needed()?;
            if needed.is_empty() {
                return Ok(());
            }
            let fetched = new("apt-get")
                .args(["download", "-qq"])
                .args(&needed)
                .folder(archives)
                .output();
            fetched.map(drop)
        };
        once().or_else(|_| {
            new("apt-get").args(["update", "-qq"]).output()?;
            once()
        })
    }

    fn needed(&self) -> Result<Vec<String>> {
        let words = [
            "install",
            "--reinstall",
            "--simulate",
            "--no-install-recommends",
            "-qq",
        ];
        let text = new("apt-get")
            .args(words)
            .args(self.packages)
            .env("LC_ALL", "C")
            .output()?;
        let names = text
            .lines()
            .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
        Ok(names.map(str::to_owned).collect())
    }

    /// Fetches what comes from the registries of Python and Node.
    fn fetch_modules(&self, tree: &Path) -> Result<()> {
        if !self.python.is_empty() {
            let words = [
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ];
            new("python3")
                .args(words)
                .args(["--root-user-action=ignore", "--target"])
                .args([tree.join("python")])
                .args(self.python)
                .output()?;
        }
        if !self.node.is_empty() {
            let words = ["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
            new("npm")
                .args(words)
                .args([tree])
                .args(self.node)
                .output()?;
        }
        Ok(())
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
