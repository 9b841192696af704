//! `[tls]`: which certificates are served.
//!
//! The files themselves are looked at by `check` and when the server starts: other commands may be
//! run by users who cannot read them.

use super::Meaning;
use crate::authenticate::mechanism::Mechanism;
use crate::config::file::File;
use crate::config::value::Setting;
use crate::config::{CertificateFiles, Config, NamedFile};

impl Meaning<'_> {
    /// The certificates, the default first.
    pub(super) fn certificates(&mut self, file: &File) -> Vec<CertificateFiles> {
        let Some(Setting { value: tls, .. }) = &file.tls else {
            return Vec::new();
        };
        let default = match (&tls.certificate, &tls.key) {
            (Some(certificate), Some(key)) => Some(self.pair(certificate, key)),
            (Some(alone), None) => {
                let fix = "add `key = \"key.pem\"`, the file with the certificate's key";
                self.reader
                    .error(&alone.span, "this certificate has no `key`", fix);
                None
            }
            (None, Some(alone)) => {
                let fix = "add `certificate = \"cert.pem\"`, the file with the key's certificate";
                self.reader
                    .error(&alone.span, "this key has no `certificate`", fix);
                None
            }
            (None, None) => None,
        };
        let further = tls.sni.as_ref().map(|s| s.value.0.as_slice());
        let further = further.unwrap_or_default();
        let default_of = (&tls.certificate, &tls.key, &tls.acme);
        if let ((None, None, None), Some(first)) = (default_of, further.first()) {
            self.reader.error(
                &first.span,
                "there is a certificate for some names, but none for the others",
                "name the one for peers that ask for no name in `certificate` and `key` of [tls]",
            );
        }
        let further = further.iter().filter_map(|s| {
            let certificate = s.value.certificate.as_ref()?;
            Some(self.pair(certificate, s.value.key.as_ref()?))
        });
        default
            .into_iter()
            .chain(further.collect::<Vec<_>>())
            .collect()
    }

    /// The file of the authorities of clients.
    pub(super) fn client_ca(&self, file: &File) -> Option<NamedFile> {
        let tls = file.tls.as_ref()?;
        let written = tls.value.client_ca.as_ref()?;
        Some(self.named_file(written))
    }

    /// Warns when one half of logging in by certificate is there without the other. Asked only of a
    /// file without errors.
    pub(super) fn half_external(&mut self, file: &File, config: &Config) {
        let listed = config.accounts.mechanisms.contains(&Mechanism::External);
        let written = file.tls.as_ref().and_then(|t| t.value.client_ca.as_ref());
        match (written, &file.accounts) {
            (Some(written), _) if !listed => self.reader.warn(
                &written.span,
                "clients are not asked for a certificate: `EXTERNAL` is not among the mechanisms",
                "add \"EXTERNAL\" to `mechanisms` of [accounts], or remove `client_ca`",
            ),
            (None, Some(accounts)) if listed => self.reader.warn(
                accounts
                    .value
                    .mechanisms
                    .as_ref()
                    .map_or(&accounts.span, |m| &m.span),
                "nobody can use EXTERNAL: no authority for clients' certificates is named",
                "add `client_ca` to [tls], or remove \"EXTERNAL\"",
            ),
            _ => {}
        }
    }

    /// A certificate and its key.
    pub(super) fn pair(
        &self,
        certificate: &Setting<String>,
        key: &Setting<String>,
    ) -> CertificateFiles {
        CertificateFiles {
            certificate: self.named_file(certificate),
            key: self.named_file(key),
        }
    }

    pub(super) fn named_file(&self, written: &Setting<String>) -> NamedFile {
        NamedFile {
            path: self.path(&written.value),
            place: Some(self.reader.source.place(&written.span)),
        }
    }
}
