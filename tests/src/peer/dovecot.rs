//! Dovecot as a mail store behind LMTP, over TCP and over a Unix socket at once.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Running, Tree, open_folder, write};
use crate::wait_for_listener;

/// A running Dovecot.
pub struct Dovecot {
    running: Running,
    /// Where it listens on TCP.
    pub address: SocketAddr,
}

impl Dovecot {
    /// Starts it at `address`. It knows the users `names` of any domain; one with a password is
    /// `name:{PLAIN}password`.
    #[must_use]
    pub fn start(address: SocketAddr, names: &[&str]) -> Option<Self> {
        Dovecot::start_with(address, names, "")
    }

    /// The same, with further `settings`.
    #[must_use]
    pub fn start_with(address: SocketAddr, names: &[&str], settings: &str) -> Option<Self> {
        let tree = Tree::require("dovecot")?;
        let folder = crate::folder();
        let dir = folder.path().display().to_string();
        open_folder(&folder.path().join("mail"));
        let users: String = names
            .iter()
            .map(|name| name.split_once(':').unwrap_or((name, "")))
            .map(|(name, password)| format!("{name}:{password}::::::\n"))
            .collect();
        write(&folder.path().join("users"), &users);
        write(
            &folder.path().join("dovecot.conf"),
            &format!(
                "base_dir = {dir}/run\nstate_dir = {dir}/run\nprotocols = lmtp\n\
                 log_path = {dir}/log\nssl = no\ndisable_plaintext_auth = no\n\
                 mail_location = maildir:{dir}/mail/%n\nauth_username_format = %n\n\
                 mail_uid = 65534\nmail_gid = 65534\nfirst_valid_uid = 1\nfirst_valid_gid = 1\n\
                 passdb {{\n driver = passwd-file\n args = {dir}/users\n}}\n\
                 userdb {{\n driver = passwd-file\n args = {dir}/users\n\
                 \x20override_fields = uid=65534 gid=65534 home={dir}/mail/%n\n}}\n\
                 service lmtp {{\n inet_listener lmtp {{\n  address = {ip}\n  port = {port}\n }}\n\
                 \x20unix_listener {dir}/lmtp {{\n  mode = 0666\n }}\n}}\n\
                 protocol lmtp {{\n postmaster_address = postmaster@dovecot.example\n}}\n\
                 {settings}\n",
                ip = address.ip(),
                port = address.port(),
            ),
        );
        let running = tree.start(folder, "exec dovecot -F -c $1/dovecot.conf", &[&dir]);
        wait_for_listener("dovecot", address);
        Some(Dovecot { running, address })
    }

    /// Its Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.running.dir().join("lmtp")
    }

    /// The Maildir of a user.
    #[must_use]
    pub fn maildir(&self, name: &str) -> PathBuf {
        self.running.dir().join("mail").join(name)
    }

    /// What it has logged.
    #[must_use]
    pub fn said(&self) -> String {
        self.running.said()
    }
}
