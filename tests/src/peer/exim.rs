//! Exim as a next hop: takes mail for any domain into one Maildir.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Running, Tree, open_folder, write};
use crate::wait_for_listener;

/// A running Exim.
pub struct Exim {
    running: Running,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Exim {
    /// Starts it at `address`. `settings` are further lines of its main section.
    #[must_use]
    pub fn start(address: SocketAddr, settings: &str) -> Option<Self> {
        Exim::routed(address, settings, "driver = accept\n  transport = in")
    }

    /// Starts it at `address`; it hands all mail on to `next`.
    #[must_use]
    pub fn relaying(address: SocketAddr, next: SocketAddr) -> Option<Self> {
        let (ip, port) = (next.ip(), next.port());
        let router = format!(
            "driver = manualroute\n  transport = out\n  route_list = * {ip}::{port} byname\n  \
             self = send\n  host_find_failed = defer"
        );
        Exim::routed(address, "", &router)
    }

    fn routed(address: SocketAddr, settings: &str, router: &str) -> Option<Self> {
        let tree = Tree::require("exim")?;
        let folder = crate::folder();
        let dir = folder.path().display().to_string();
        for name in ["mail", "spool", "logs"] {
            open_folder(&folder.path().join(name));
        }
        write(
            &folder.path().join("etc/exim4.conf"),
            &format!(
                "primary_hostname = exim.example\nspool_directory = {dir}/spool\n\
                 log_file_path = {dir}/logs/%s\npid_file_path = {dir}/spool/pid\n\
                 local_interfaces = {ip}\ndaemon_smtp_ports = {port}\n\
                 acl_smtp_rcpt = accept\nacl_smtp_data = accept\nhost_lookup =\n\
                 rfc1413_query_timeout = 0s\nmessage_size_limit = 100M\n\
                 smtp_accept_queue_per_connection = 0\n{settings}\n\
                 begin routers\nall:\n  {router}\n\
                 begin transports\nout:\n  driver = smtp\n  allow_localhost\n\
                 \x20 hosts_try_fastopen =\nin:\n  driver = appendfile\n  maildir_format\n\
                 \x20 directory = {dir}/mail/box\n  create_directory\n  user = nobody\n\
                 \x20 group = nogroup\n\
                 begin retry\n* * F,1h,1m\n",
                ip = address.ip(),
                port = address.port(),
            ),
        );
        // The path of its configuration is compiled in.
        let script = "mount --bind $1/etc /etc/exim4\n\
             chown -R Debian-exim:Debian-exim $1/spool $1/logs\n\
             /usr/sbin/exim4 -bdf -q1h";
        let running = tree.start(folder, script, &[&dir]);
        wait_for_listener("exim", address);
        Some(Exim { running, address })
    }

    /// The Maildir with all it has received.
    #[must_use]
    pub fn maildir(&self) -> PathBuf {
        self.running.dir().join("mail/box")
    }

    /// What it has logged.
    #[must_use]
    pub fn said(&self) -> String {
        let main = std::fs::read_to_string(self.running.dir().join("logs/main"));
        self.running.said() + &main.unwrap_or_default()
    }
}
