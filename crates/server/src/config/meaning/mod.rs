//! From the file as written to the configuration as meant.
//!
//! Every function here takes what is written, reports what is wrong with it, and returns nothing
//! when it cannot be used; the others go on, so that one run reports everything.

mod accounts;
mod acme;
mod dmarc;
mod domain;
mod limits;
mod listener;
mod route;
pub(crate) mod text;

pub(crate) use domain::mailbox_name;
mod tls;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use posthaste_smtp::address::{ForwardPath, Mailbox};
use posthaste_world::Disk;
use posthaste_world::net::Endpoint;

use super::file::{self, File};
use super::finding::{Finding, Source};
use super::value::{Many, Reader, Setting};
use super::{Config, Retry, Server};
use crate::authenticate::accounts::Book;
use crate::lookup::{Directory, Resolution};

/// Shortest wait between attempts.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Most waits between attempts that can be listed.
const INTERVALS_MAX: usize = 100;

/// What is at hand while a file's meaning is found.
struct Meaning<'a> {
    reader: Reader<'a>,
    disk: &'a dyn Disk,
    /// The folder that relative paths start at; absolute.
    base: PathBuf,
    /// The file of aliases of each domain that has one, by the domain's position.
    alias_files: Vec<(usize, Source)>,
    /// Where this server will listen.
    ours: Vec<Endpoint>,
    /// Who may authenticate.
    book: Arc<Book>,
}

/// What `file` means, and all that was found. There is a configuration when there is no error.
pub(super) fn mean(
    file: &File,
    reader: Reader<'_>,
    disk: &dyn Disk,
) -> (Option<Config>, Vec<Finding>) {
    let path = reader.source.path.clone();
    let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
    let base = absolute.parent().unwrap_or(Path::new("/")).to_path_buf();
    let mut meaning = Meaning {
        reader,
        disk,
        base,
        alias_files: Vec::new(),
        ours: Vec::new(),
        book: Arc::default(),
    };
    let config = meaning.config(file, path);
    if let Some(config) = &config {
        meaning.addresses(file, config);
    }
    let config = config.filter(|_| !meaning.reader.findings.iter().any(Finding::is_error));
    if let Some(config) = &config {
        meaning.absent(config);
        meaning.unserved(file, config);
        meaning.half_external(file, config);
        meaning.beaten(file, config);
    }
    (config, meaning.reader.findings)
}

impl Meaning<'_> {
    fn config(&mut self, file: &File, path: PathBuf) -> Option<Config> {
        // Every part is looked at before the first missing one ends this.
        let hostname = self.hostname(file);
        let data_dir = file.data_dir.as_ref().map(|d| self.path(&d.value));
        let postmaster = self.postmaster(file);
        let listeners = self.listeners(file);
        self.ours = listeners.iter().flat_map(|l| l.addresses.clone()).collect();
        let certificates = self.certificates(file);
        let client_ca = self.client_ca(file);
        let accounts = file.accounts.as_ref().and_then(|a| self.accounts(&a.value));
        let acme = self.acme(file, hostname.as_ref());
        let dns_servers = self.dns_servers(file);
        let limits = self.limits(file);
        let dmarc = self.dmarc(file);
        let feedback = self.feedback(file, hostname.as_ref(), postmaster.as_ref());
        let rotate_dkim_every = self.rotate_dkim_every(file);
        let domains = data_dir.as_ref().map(|dir| self.domains(file, dir));
        let relay_networks = self.relay_networks(file);
        let routes = self.routes(file);
        let retry = file.retry.as_ref().and_then(|r| self.retry(r));
        Some(Config {
            file: path,
            hostname: hostname?,
            data_dir: data_dir?,
            postmaster,
            user: file.user.as_ref().map(|u| u.value.clone()),
            listeners,
            certificates,
            client_ca,
            accounts: accounts?,
            acme,
            dns_servers,
            limits: limits?,
            dmarc: dmarc?,
            feedback: feedback?,
            rotate_dkim_every,
            domains: domains?,
            relay_networks,
            routes,
            retry: retry?,
        })
    }

    fn hostname(&mut self, file: &File) -> Option<posthaste_smtp::address::DomainName> {
        let written = file.hostname.as_ref()?;
        match text::domain_name(&written.value) {
            Ok(name) => {
                if !name.as_str().contains('.') {
                    self.reader.warn(
                        &written.span,
                        format!("`{name}` is not a full name: other servers may refuse our mail"),
                        "write the name that DNS has for this machine, like \"mx.example.org\"",
                    );
                }
                Some(name)
            }
            Err(cause) => {
                self.reader.error(
                    &written.span,
                    format!("`{}` is not a host name: {cause}", written.value),
                    "write the name that DNS has for this machine, like \"mx.example.org\"",
                );
                None
            }
        }
    }

    fn postmaster(&mut self, file: &File) -> Option<Mailbox> {
        let written = file.postmaster.as_ref()?;
        self.mailbox(written)
    }

    /// An address, or a report of why it is none.
    fn mailbox(&mut self, written: &Setting<String>) -> Option<Mailbox> {
        match text::mailbox(&written.value) {
            Ok(mailbox) => Some(mailbox),
            Err(cause) => {
                self.reader.error(
                    &written.span,
                    format!("`{}` is not an address: {cause}", written.value),
                    "write a whole address, like \"admin@example.org\"",
                );
                None
            }
        }
    }

    /// A path that is absolute, or starts at the configuration's folder.
    fn path(&self, written: &str) -> PathBuf {
        self.base.join(written)
    }

    /// `server`, unless it is one of our own listeners.
    fn another(&self, server: Server) -> Result<Server, String> {
        let Server::Address(to) = &server else {
            return Ok(server);
        };
        let is_self = self.ours.iter().any(|e| match e {
            Endpoint::Tcp(at) if at.port() == to.port() => {
                let wild = at.ip().is_unspecified() && at.is_ipv4() == to.is_ipv4();
                at.ip() == to.ip() || wild && to.ip().is_loopback()
            }
            Endpoint::Tcp(_) | Endpoint::Unix(_) => false,
        });
        match is_self {
            true => Err("that is this server itself, so mail would go in a circle".into()),
            false => Ok(server),
        }
    }

    fn dns_servers(&mut self, file: &File) -> Vec<std::net::SocketAddr> {
        let servers = file.dns.as_ref().and_then(|d| d.value.servers.as_ref());
        let mut parsed = Vec::new();
        for server in servers.map(|s| s.value.list.as_slice()).unwrap_or_default() {
            match text::socket_address(&server.value, Some(53)) {
                Ok(address) => parsed.push(address),
                Err(cause) => self.reader.error(
                    &server.span,
                    format!("`{}` is not a DNS server: {cause}", server.value),
                    "write an address and a port, like \"127.0.0.1:53\" or \"[2001:db8::53]:53\"",
                ),
            }
        }
        parsed
    }

    fn retry(&mut self, section: &Setting<file::Retry>) -> Option<Retry> {
        let intervals = self.intervals(section)?;
        let expire = section.value.expire_after.as_ref()?;
        let notice = section.value.delay_notice_after.as_ref()?;
        if intervals
            .first()
            .is_some_and(|first| expire.value <= *first)
        {
            self.reader.error(
                &expire.span,
                "mail would expire before its second attempt",
                "write an `expire_after` above the first of `intervals`; \"5d\" is usual",
            );
        } else if expire.value < Duration::from_secs(86_400) {
            self.reader.warn(
                &expire.span,
                "mail expires in less than a day: it is lost to every longer outage",
                "RFC 5321 §4.5.4.1 wants 4 to 5 days; write \"5d\"",
            );
        }
        // A notice at the default age is simply never due when mail expires before it.
        if notice.value >= expire.value && notice.span != section.span {
            self.reader.warn(
                &notice.span,
                "no delay notice is ever sent: mail expires before",
                "write a `delay_notice_after` below `expire_after`",
            );
        }
        Some(Retry {
            intervals,
            expire_after: expire.value,
            delay_notice_after: notice.value,
        })
    }

    fn intervals(&mut self, section: &Setting<file::Retry>) -> Option<Vec<Duration>> {
        let Setting {
            value: Many { list, written },
            span,
        } = section.value.intervals.as_ref()?;
        for interval in list.iter().filter(|i| i.value < INTERVAL_MIN) {
            self.reader.error(
                &interval.span,
                "this wait is too short",
                "write a duration of at least \"1s\"; \"1m\" is a good first wait",
            );
        }
        if !(1..=INTERVALS_MAX).contains(written) {
            self.reader.error(
                span,
                format!("{written} waits between attempts cannot be used"),
                format!("write 1 to {INTERVALS_MAX}, like [\"1m\", \"5m\", \"15m\", \"1h\"]"),
            );
        }
        Some(list.iter().map(|i| i.value).collect())
    }

    /// Warns of what is not there. Asked only of a file without errors, where absent means that it
    /// was not written.
    fn absent(&mut self, config: &Config) {
        if config.postmaster.is_none() {
            self.reader.warn(
                &(0..0),
                "there is no `postmaster`: mail for the postmaster is held in the queue",
                "add `postmaster = \"you@example.org\"`; see held mail with \
                 `posthaste queue list state=held`",
            );
        }
        if config.domains.is_empty() && config.relay_networks.is_empty() {
            self.reader.warn(
                &(0..0),
                "there is neither a [[domain]] nor a relay network: all mail is refused",
                "add `[[domain]]` with `name = \"example.org\"` and `mailboxes = [\"alice\"]`",
            );
        }
    }

    /// Warns of routes for domains that are ours.
    fn beaten(&mut self, file: &File, config: &Config) {
        let routes = file
            .route
            .as_ref()
            .map(|r| r.value.0.as_slice())
            .unwrap_or_default();
        let entries = routes.iter().filter_map(|r| r.value.recipients.as_ref());
        for entry in entries.flat_map(|r| &r.value.list) {
            let name = text::domain_name(&entry.value).ok();
            if config
                .domains
                .iter()
                .any(|d| Some(&d.name) == name.as_ref())
            {
                self.reader.warn(
                    &entry.span,
                    format!(
                        "`{}` is a [[domain]] of ours, which always beats a route",
                        entry.value
                    ),
                    "remove it here, or set `deliver` of that [[domain]]",
                );
            }
        }
    }

    /// Reports addresses of the configuration that lead to nobody.
    fn addresses(&mut self, file: &File, config: &Config) {
        let directory = Directory::new(config);
        if let (Some(address), Some(written)) = (&config.postmaster, &file.postmaster) {
            self.leads_somewhere(&directory, address, written);
        }
        let written = file
            .domain
            .as_ref()
            .map(|d| d.value.0.as_slice())
            .unwrap_or_default();
        for domain in written {
            let Some(catch_all) = &domain.value.catch_all else {
                continue;
            };
            if let Ok(address) = text::mailbox(&catch_all.value) {
                self.leads_somewhere(&directory, &address, catch_all);
            }
        }
        for (at, source) in std::mem::take(&mut self.alias_files) {
            let Some(domain) = config.domains.get(at) else {
                continue;
            };
            for (name, alias) in domain.aliases.iter() {
                if let Some(finding) = directory.check_alias(domain, name) {
                    let place = Some(source.line(alias.line));
                    let fix = "name mailboxes or aliases that exist, and leave out circles";
                    self.reader
                        .findings
                        .push(Finding::error(place, finding, fix));
                }
            }
        }
    }

    fn leads_somewhere(
        &mut self,
        directory: &Directory,
        address: &Mailbox,
        written: &Setting<String>,
    ) {
        let cause = match directory.resolve(&ForwardPath::Mailbox(address.clone())) {
            Resolution::Local(_) | Resolution::NotOurs(_) => return,
            Resolution::Unknown => format!("nobody gets mail for `{address}`"),
            Resolution::Broken(why) => format!("`{address}` leads nowhere: {why}"),
        };
        let fix = "add it to `mailboxes` of its [[domain]], or name an address that exists";
        self.reader.error(&written.span, cause, fix);
    }
}
