//! `[tls.acme]`: which authority is asked for a certificate, and how names are shown to be ours.

use std::net::SocketAddr;

use posthaste_smtp::address::DomainName;
use posthaste_world::net::Endpoint;

use super::{Meaning, text};
use crate::config::file::{self, File};
use crate::config::value::{Many, Setting};
use crate::config::{Acme, Challenge};

/// Most names of one certificate: what the usual authorities permit.
const NAMES_MAX: usize = 100;
/// The addresses where the configuration names none.
const EVERYWHERE: [&str; 2] = ["0.0.0.0", "[::]"];

impl Meaning<'_> {
    /// The authority, if there is one; `hostname` is the name that it is asked for by default.
    pub(super) fn acme(&mut self, file: &File, hostname: Option<&DomainName>) -> Option<Acme> {
        let tls = &file.tls.as_ref()?.value;
        let written = tls.acme.as_ref()?;
        if let Some(other) = &tls.certificate {
            self.reader.error(
                &other.span,
                "the certificate comes from the authority of [tls.acme], and from this file",
                "remove `certificate` and `key`, or the section [tls.acme]",
            );
        }
        self.terms(&written.value);
        let contact = written.value.contact.as_ref();
        let contact = contact.and_then(|c| self.mailbox(c));
        let challenge = self.challenge(written.value.challenge.as_ref()?);
        let addresses = challenge.map(|c| self.visited(&written.value, c));
        let names = match &written.value.names {
            Some(names) => self.names(names),
            None => hostname.into_iter().map(ToString::to_string).collect(),
        };
        Some(Acme {
            directory: self.directory(written.value.directory.as_ref()?),
            contact,
            names,
            challenge: challenge?,
            addresses: addresses?,
            ca: written.value.ca.as_ref().map(|ca| self.path(&ca.value)),
        })
    }

    fn terms(&mut self, acme: &file::Acme) {
        let Some(terms) = acme.accept_terms.as_ref().filter(|t| !t.value) else {
            return;
        };
        self.reader.error(
            &terms.span,
            "an authority gives certificates only to those who agree to its terms",
            "read them, and write `accept_terms = true`; or remove the section [tls.acme]",
        );
    }

    fn directory(&mut self, written: &Setting<String>) -> String {
        let Setting { value, span } = written;
        let host = value.strip_prefix("https://").unwrap_or_default();
        if host.is_empty() || host.starts_with('/') || !value.is_ascii() || value.contains(' ') {
            self.reader.error(
                span,
                format!("`{value}` is not the URL of a directory"),
                "write the one that the authority names, like \
                 \"https://acme-v02.api.letsencrypt.org/directory\"",
            );
        }
        value.clone()
    }

    fn names(&mut self, written: &Setting<Many<String>>) -> Vec<String> {
        if !(1..=NAMES_MAX).contains(&written.value.written) {
            self.reader.error(
                &written.span,
                format!("a certificate cannot have {} names", written.value.written),
                format!("write 1 to {NAMES_MAX} names, like [\"mx.example.org\"]"),
            );
        }
        let mut names = Vec::new();
        for name in &written.value.list {
            match text::domain_name(&name.value) {
                Ok(good) => names.push(good.to_string()),
                Err(cause) => {
                    let fix = "write a whole host name; names with a `*` need a challenge by DNS, \
                               which this version does not have";
                    let cause = format!("`{}` is not a host name: {cause}", name.value);
                    self.reader.error(&name.span, cause, fix);
                }
            }
        }
        names
    }

    fn challenge(&mut self, written: &Setting<String>) -> Option<Challenge> {
        let known = [Challenge::Http01, Challenge::TlsAlpn01];
        let found = known.into_iter().find(|c| c.name() == written.value);
        if found.is_none() {
            self.reader.error(
                &written.span,
                format!(
                    "`{}` is not a challenge that this server can meet",
                    written.value
                ),
                "write `challenge = \"http-01\"` or `challenge = \"tls-alpn-01\"`",
            );
        }
        found
    }

    /// Where the authority comes by.
    fn visited(&mut self, acme: &file::Acme, challenge: Challenge) -> Vec<SocketAddr> {
        let port = challenge.port();
        let Some(written) = &acme.address else {
            let everywhere = EVERYWHERE.iter().map(|ip| format!("{ip}:{port}"));
            return everywhere.filter_map(|a| a.parse().ok()).collect();
        };
        let mut addresses = Vec::new();
        let mut taken = self.ours.clone();
        for address in &written.value.list {
            match text::socket_address(&address.value, Some(port)) {
                Ok(at) => {
                    self.free(&Endpoint::Tcp(at), &address.span, &taken);
                    taken.push(Endpoint::Tcp(at));
                    addresses.push(at);
                }
                Err(cause) => self.reader.error(
                    &address.span,
                    format!("cannot listen on `{}`: {cause}", address.value),
                    format!("write an address and a port, like \"0.0.0.0:{port}\""),
                ),
            }
        }
        addresses
    }
}
