//! Postfix as a next hop: takes mail for any domain into one Maildir.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Running, Tree, open_folder, write};
use crate::wait_for_listener;

/// A running Postfix.
pub struct Postfix {
    running: Running,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Postfix {
    /// Starts it at `address`. `settings` are further lines of its `main.cf`.
    #[must_use]
    pub fn start(address: SocketAddr, settings: &str) -> Option<Self> {
        let tree = Tree::require("postfix")?;
        let folder = crate::folder();
        let dir = folder.path();
        open_folder(&dir.join("mail"));
        std::fs::create_dir_all(dir.join("spool")).expect("a folder");
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {0}/spool\ndata_directory = {0}/data\n\
             mail_owner = postfix\nsetgid_group = postdrop\n\
             maillog_file_prefixes = /tmp, /var, {0}\nmaillog_file = {0}/log\n\
             myhostname = postfix.example\nmydestination =\nalias_maps =\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = all\nmynetworks = 127.0.0.0/8\n\
             virtual_mailbox_domains = static:all\nvirtual_mailbox_base = {0}/mail\n\
             virtual_mailbox_maps = static:box/\n\
             virtual_uid_maps = static:65534\nvirtual_gid_maps = static:65534\n\
             virtual_minimum_uid = 1\nvirtual_mailbox_limit = 0\nmailbox_size_limit = 0\n\
             message_size_limit = 104857600\nsmtpd_peername_lookup = no\n{settings}\n",
            dir.display(),
        );
        write(&dir.join("etc/main.cf"), &main);
        // The stock services, on our port and out of the chroot (upstream's default).
        let script = "d=$1; address=$2\n\
             mkdir -p $d/data && chown postfix $d/data\n\
             awk -v p=$address '/^[a-z]/ { if ($1==\"smtp\" && $2==\"inet\") $1=p; \
             if ($5==\"y\") $5=\"n\" } {print}' \
             /usr/share/postfix/master.cf.dist >$d/etc/master.cf\n\
             postfix -c $d/etc start-fg";
        let dir = dir.display().to_string();
        let running = tree.start(folder, script, &[&dir, &address.to_string()]);
        wait_for_listener("postfix", address);
        Some(Postfix { running, address })
    }

    /// The Maildir with all it has received.
    #[must_use]
    pub fn maildir(&self) -> PathBuf {
        self.running.dir().join("mail/box")
    }

    /// What it has logged.
    #[must_use]
    pub fn said(&self) -> String {
        self.running.said()
    }
}
