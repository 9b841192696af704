//! Servers that are libraries: aiosmtpd on Python, smtp-server on Node. A few lines put what they
//! take into a Maildir.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::open_folder;
use crate::{folder, free_address, root, skip, wait_for_listener};

const AIOSMTPD: &str = "
import os, signal, ssl, sys
from aiosmtpd.controller import Controller
port, maildir, certificate, key = int(sys.argv[1]), *sys.argv[2:5]
class Keep:
    number = 0
    async def handle_DATA(self, server, session, envelope):
        Keep.number += 1
        new = '%s/tmp%d' % (maildir, Keep.number)
        with open(new, 'wb') as file:
            file.write(envelope.content.replace(b'\\r\\n', b'\\n'))
        os.rename(new, '%s/new/%d' % (maildir, Keep.number))
        return '250 2.0.0 taken'
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(certificate, key)
Controller(Keep(), hostname='127.0.0.1', port=port, tls_context=context, enable_SMTPUTF8=True,
           data_size_limit=100 << 20).start()
signal.pause()
";

const SMTP_SERVER: &str = "
const fs = require('fs');
const [port, maildir, certificate, key] = process.argv.slice(1);
let number = 0;
new (require('smtp-server').SMTPServer)({
  key: fs.readFileSync(key), cert: fs.readFileSync(certificate), size: 100 << 20,
  authOptional: true, disabledCommands: ['AUTH'],
  onData(stream, session, done) {
    const pieces = [];
    stream.on('data', (piece) => pieces.push(piece));
    stream.on('end', () => {
      const name = ++number, text = Buffer.concat(pieces).toString('latin1');
      fs.writeFileSync(`${maildir}/tmp${name}`, text.replace(/\\r\\n/g, '\\n'), 'latin1');
      fs.renameSync(`${maildir}/tmp${name}`, `${maildir}/new/${name}`);
      done(null, 'taken');
    });
  },
}).listen(Number(port), '127.0.0.1');
";

/// A running server of that kind.
pub struct Script {
    /// Where it listens.
    pub address: SocketAddr,
    folder: TempDir,
    child: Child,
}

impl Script {
    /// Starts `aiosmtpd` or `smtp-server` with a certificate and its key; says `SKIP` when it has
    /// not been fetched.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(name: &str, certificate: &str, key: &str) -> Option<Self> {
        let tree = root().join("target/peers/scripts");
        if !tree.join("packages").exists() {
            skip(&format!(
                "{name}: not fetched; `cargo xtask peers` says why"
            ));
            return None;
        }
        let (folder, address) = (folder(), free_address());
        let maildir = folder.path().join("box");
        open_folder(&maildir.join("new"));
        let mut command = match name {
            "aiosmtpd" => {
                let mut python = Command::new("python3");
                python.args(["-c", AIOSMTPD]);
                python.env("PYTHONPATH", tree.join("python"));
                python
            }
            _ => {
                let mut node = Command::new("node");
                node.args(["-e", SMTP_SERVER, "--"]);
                node.env("NODE_PATH", tree.join("node_modules"));
                node
            }
        };
        let errors = std::fs::File::create(folder.path().join("errors")).expect("a file");
        let child = command
            .arg(address.port().to_string())
            .arg(&maildir)
            .args([certificate, key])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn();
        let script = Script {
            address,
            folder,
            child: child.expect("a script that starts"),
        };
        wait_for_listener(name, address);
        Some(script)
    }

    /// The Maildir with all it has received.
    #[must_use]
    pub fn maildir(&self) -> PathBuf {
        self.folder.path().join("box")
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
