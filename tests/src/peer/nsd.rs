//! NSD, an authoritative DNS server, with one zone that a test writes: the whole name space.

use std::net::SocketAddr;

use super::{Running, Tree, open_folder, write};
use crate::{free_address, wait_for_listener};

/// A running NSD.
pub struct Nsd {
    running: Running,
    /// Where it answers, over UDP and TCP.
    pub address: SocketAddr,
}

impl Nsd {
    /// Starts it with `records` in the root zone: `example. MX 10 mx.example.`, one a line.
    #[must_use]
    pub fn start(records: &str) -> Option<Self> {
        let tree = Tree::require("nsd")?;
        let folder = crate::folder();
        let dir = folder.path().display().to_string();
        let address = free_address();
        open_folder(folder.path());
        let zone = format!(
            "$TTL 60\n. SOA ns. root. 1 3600 600 86400 60\n. NS ns.\nns. A 127.0.0.1\n{records}\n"
        );
        write(&folder.path().join("zone"), &zone);
        write(
            &folder.path().join("nsd.conf"),
            &format!(
                "server:\n ip-address: {ip}@{port}\n username: nsd\n zonesdir: {dir}\n\
                 \x20database: \"\"\n rrl-ratelimit: 0\n\
                 \x20xfrdir: {dir}\n xfrdfile: {dir}/xfrd\n zonelistfile: {dir}/list\n\
                 \x20pidfile: {dir}/pid\n logfile: {dir}/log\n chroot: \"\"\n server-count: 1\n\
                 remote-control:\n control-enable: no\n\
                 zone:\n name: .\n zonefile: {dir}/zone\n",
                ip = address.ip(),
                port = address.port(),
            ),
        );
        let running = tree.start(folder, "nsd -d -c $1/nsd.conf", &[&dir]);
        wait_for_listener("nsd", address);
        Some(Nsd { running, address })
    }

    /// What it has logged.
    #[must_use]
    pub fn said(&self) -> String {
        self.running.said()
    }
}
