//! Haraka, as a next hop that takes mail for any domain into one Maildir, or as a server that hands
//! mail on. It is a server for plugins: one of a few lines does either.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Running, Tree, open_folder, write};
use crate::wait_for_listener;

/// A running Haraka.
pub struct Haraka {
    running: Running,
    /// Where it listens.
    pub address: SocketAddr,
}

const KEEP: &str = "
const fs = require('node:fs');
exports.hook_rcpt = (next) => next(OK);
exports.hook_queue = (next, connection) => {
  const name = connection.transaction.uuid, file = fs.createWriteStream(`${BOX}/tmp/${name}`);
  file.on('close', () => { fs.renameSync(`${BOX}/tmp/${name}`, `${BOX}/new/${name}`); next(OK); });
  connection.transaction.message_stream.pipe(file, { line_endings: '\\n' });
};
";

const RELAY: &str = "
exports.hook_rcpt = (next, connection) => { connection.relaying = true; next(OK); };
exports.hook_get_mx = (next) => next(OK, { exchange: NEXT.host, port: NEXT.port, priority: 0 });
";

impl Haraka {
    /// Starts it at `address`, with TLS by a certificate and its key. `implicit`: TLS from the
    /// start.
    #[must_use]
    pub fn start(address: SocketAddr, tls: Option<(&str, &str)>, implicit: bool) -> Option<Self> {
        let tree = Tree::require("haraka")?;
        let folder = crate::folder();
        for name in ["new", "tmp"] {
            open_folder(&folder.path().join("box").join(name));
        }
        let plugin = format!("const BOX = '{}/box';{KEEP}", folder.path().display());
        let settings =
            |name: &str, text: &str| write(&folder.path().join("config").join(name), text);
        if let Some((certificate, key)) = tls {
            settings("tls.ini", &format!("key={key}\ncert={certificate}\n"));
        }
        let plugins = if tls.is_some() {
            "tls\nours\n"
        } else {
            "ours\n"
        };
        let smtps = if implicit { address.port() } else { 465 };
        settings("plugins", plugins);
        Haraka::run(&tree, folder, address, &plugin, smtps)
    }

    /// Starts it at `address`; it hands all mail on to `next`.
    #[must_use]
    pub fn relaying(address: SocketAddr, next: SocketAddr) -> Option<Self> {
        let tree = Tree::require("haraka")?;
        let folder = crate::folder();
        let (ip, port) = (next.ip(), next.port());
        let plugin = format!("const NEXT = {{ host: '{ip}', port: {port} }};{RELAY}");
        write(&folder.path().join("config/plugins"), "ours\n");
        Haraka::run(&tree, folder, address, &plugin, 465)
    }

    fn run(
        tree: &Tree,
        folder: tempfile::TempDir,
        address: SocketAddr,
        plugin: &str,
        smtps: u16,
    ) -> Option<Self> {
        let dir = folder.path().display().to_string();
        let file = |name: &str, text: &str| write(&folder.path().join(name), text);
        file("plugins/ours.js", plugin);
        file("config/me", "haraka.example\n");
        file(
            "config/smtp.ini",
            &format!("listen={address}\nsmtps_port={smtps}\n"),
        );
        std::fs::create_dir_all(folder.path().join("queue")).expect("a folder");
        // As it ships, but for a limit of 25 MiB with all that is around them.
        let script = "h=$0/node_modules/Haraka\n\
             c=config/connection.ini\n\
             sed 's/^bytes=.*/bytes=104857600/' $h/$c >$1/$c\n\
             node $h/bin/haraka -c $1";
        let running = tree.start(folder, script, &[&dir]);
        wait_for_listener("haraka", address);
        Some(Haraka { running, address })
    }

    /// The Maildir with all it has received.
    #[must_use]
    pub fn maildir(&self) -> PathBuf {
        self.running.dir().join("box")
    }
}
