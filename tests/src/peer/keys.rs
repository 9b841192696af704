//! Certificates of peers, and the program when it trusts them.

use std::process::Command;

use tempfile::TempDir;

use crate::server::{Server, program};
use crate::tls::Authority;
use crate::{folder, setup};

/// An authority, and a certificate of it for peers at `localhost`.
pub struct Keys {
    folder: TempDir,
}

impl Keys {
    /// New ones.
    ///
    /// # Panics
    /// When they cannot be made or written.
    #[must_use]
    pub fn new() -> Self {
        let folder = folder();
        let authority = Authority::new();
        authority.certify(folder.path(), "peer", &["localhost"]);
        std::fs::write(folder.path().join("roots.pem"), authority.pem()).expect("a file");
        Keys { folder }
    }

    /// The path of `peer.pem`, `peer.key` or `roots.pem`.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The program with a configuration beside the usual one, that trusts the authority.
    #[must_use]
    pub fn start(&self, more: &str) -> Server {
        let mut server = Server::with(&setup::with(more));
        let mut command = Command::new(program());
        command
            .env("SSL_CERT_FILE", self.path("roots.pem"))
            .env_remove("SSL_CERT_DIR")
            .args(["serve", "--config"])
            .arg(server.config());
        server.run_as(command);
        server
    }

    /// Lines of Postfix's `main.cf`.
    #[must_use]
    pub fn of_postfix(&self) -> String {
        format!(
            "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n",
            self.path("peer.pem"),
            self.path("peer.key")
        )
    }

    /// Lines of Exim's main section.
    #[must_use]
    pub fn of_exim(&self) -> String {
        format!(
            "tls_advertise_hosts = *\ntls_certificate = {}\ntls_privatekey = {}\n",
            self.path("peer.pem"),
            self.path("peer.key")
        )
    }

    /// Settings of Dovecot.
    #[must_use]
    pub fn of_dovecot(&self) -> String {
        format!(
            "ssl = yes\nssl_cert = <{}\nssl_key = <{}\n",
            self.path("peer.pem"),
            self.path("peer.key")
        )
    }
}

impl Default for Keys {
    fn default() -> Self {
        Keys::new()
    }
}
