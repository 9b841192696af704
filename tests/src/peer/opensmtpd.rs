//! OpenSMTPD as a next hop: takes mail for any domain into one Maildir.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Running, Tree, open_folder, write};
use crate::wait_for_listener;

/// A running OpenSMTPD.
pub struct OpenSmtpd {
    running: Running,
    /// Where it listens.
    pub address: SocketAddr,
}

impl OpenSmtpd {
    /// Starts it at `address`.
    #[must_use]
    pub fn start(address: SocketAddr) -> Option<Self> {
        OpenSmtpd::acting(address, |dir| {
            format!("maildir \"{dir}/mail/box\" userbase <users> virtual <virt>")
        })
    }

    /// Starts it at `address`; it hands all mail on to `next`.
    #[must_use]
    pub fn relaying(address: SocketAddr, next: SocketAddr) -> Option<Self> {
        OpenSmtpd::acting(address, |_| format!("relay host smtp://{next}"))
    }

    fn acting(address: SocketAddr, action: impl Fn(&str) -> String) -> Option<Self> {
        let tree = Tree::require("opensmtpd")?;
        let folder = crate::folder();
        let dir = folder.path().display().to_string();
        open_folder(&folder.path().join("mail"));
        write(
            &folder.path().join("smtpd.conf"),
            &format!(
                "smtp max-message-size 100M\n\
                 listen on {ip} port {port} hostname opensmtpd.example\n\
                 table virt {{ \"@\" = \"nobody\" }}\n\
                 table users {{ \"nobody\" = \"65534:65534:{dir}/mail\" }}\n\
                 action \"in\" {action}\n\
                 match from any for any action \"in\"\n",
                ip = address.ip(),
                port = address.port(),
                action = action(&dir),
            ),
        );
        // Its spool, its chroot and its control socket are compiled in.
        let script = "mount -t tmpfs tmpfs /var\n\
             mkdir -p -m 711 /var/spool/smtpd; mkdir -p /var/lib/opensmtpd/empty /var/run\n\
             smtpd -d -f $1/smtpd.conf";
        let running = tree.start(folder, script, &[&dir]);
        wait_for_listener("opensmtpd", address);
        Some(OpenSmtpd { running, address })
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
