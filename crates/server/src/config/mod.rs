//! The configuration: one TOML file, read once into what it means.
//!
//! [`mod@file`] is the only list of options: it gives each its parser, its default and its text in
//! `docs/reference/config.md`. [`Config`] is what the file means: every address parsed, every path
//! absolute, every default filled in, every unsafe value refused. All findings are collected, each
//! with its file, line, cause and fix ([`Finding`]); a configuration with an error is not used.
//!
//! The program never writes a configuration. This module does **not** look at the machine beyond
//! the files that the configuration names; [`environment`] does that for `check` and `serve`.

mod certificates;
pub mod environment;
pub mod file;
pub mod finding;
mod meaning;
pub mod network;
pub mod reference;
mod security;
pub mod value;

use std::collections::BTreeSet;
use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use posthaste_mailauth::dmarc::Policy;
use posthaste_smtp::address::{DomainName, Mailbox};
use posthaste_world::net::Endpoint;
use posthaste_world::{Disk, Timestamp};

use crate::authenticate::accounts::store;
use crate::authenticate::mechanism::Mechanism;
use crate::lookup::aliases::Aliases;
use crate::tls::pair::Part;

pub use finding::{Finding, Place, Severity, Source};
pub(crate) use meaning::{mailbox_name, text};
pub use network::{Network, Networks};
pub use security::{Login, RouteTls, Security, Terms};

/// Where the configuration is when the command line does not say.
pub const DEFAULT_FILE: &str = "/etc/posthaste/posthaste.toml";

/// Whom to become, when started as root and the configuration does not say.
pub const DEFAULT_USER: &str = "posthaste";

/// A configuration as it is meant.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// Our name in banner, EHLO and `Received:`; A-labels, lower case.
    pub hostname: DomainName,
    /// Folder of spool, state, keys and control socket; absolute.
    pub data_dir: PathBuf,
    /// Who gets the postmaster's mail. Without one it is held.
    pub postmaster: Option<Mailbox>,
    /// Whom to become after binding, when started as root. None: [`DEFAULT_USER`] where there is
    /// such a user.
    pub user: Option<String>,
    /// Where to listen; at least one.
    pub listeners: Vec<Listener>,
    /// Certificates that are served, the default first; none: the server makes itself one.
    pub certificates: Vec<CertificateFiles>,
    /// The authorities whose certificates let clients log in.
    pub client_ca: Option<NamedFile>,
    /// Who may authenticate.
    pub accounts: Accounts,
    /// The authority that certificates are asked of, if any.
    pub acme: Option<Acme>,
    /// DNS servers; none means the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// What one message, one connection and one address may cost.
    pub limits: Limits,
    /// What is found out about the senders of mail, and what follows.
    pub dmarc: Dmarc,
    /// Reports about mail in the name of domains, both ways.
    pub feedback: Feedback,
    /// Age at which DKIM keys get successors by themselves, if they do.
    pub rotate_dkim_every: Option<Duration>,
    /// Domains we are responsible for.
    pub domains: Vec<Domain>,
    /// Who may relay without AUTH.
    pub relay_networks: Networks,
    /// Where mail for others goes; the first match wins, what matches none goes by MX.
    pub routes: Vec<Route>,
    /// When to try again and when to give up.
    pub retry: Retry,
}

/// One service on one or several addresses.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where it listens; at least one.
    pub addresses: Vec<Endpoint>,
    /// What it serves.
    pub service: Service,
    /// Whether it encrypts.
    pub tls: ListenerTls,
    /// Whether passwords are taken in clear; on loopback only.
    pub auth_without_tls: bool,
    /// Who names its client with a PROXY header.
    pub proxies: Networks,
    /// Who may say for whom it speaks, with XCLIENT.
    pub relays: Networks,
}

/// Reports about mail in the name of domains.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Feedback {
    /// Whether they are sent.
    pub send: bool,
    /// Who reports, when that is not our name.
    pub organization: Option<String>,
    /// The author of reports.
    pub from: Mailbox,
    /// The mailboxes whose mail is read for reports.
    pub read_for: Vec<Mailbox>,
}

/// How a listener comes to TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListenerTls {
    /// Not at all.
    None,
    /// When the peer asks for it with STARTTLS (RFC 3207).
    StartTls,
    /// From the first octet (RFC 8314 §3).
    Implicit,
}

/// What a listener serves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Service {
    /// Mail from other servers; never AUTH.
    Mx,
    /// Mail from a server of this machine, for our mailboxes alone (RFC 2033).
    Lmtp,
    /// Mail from our users; always after AUTH (RFC 6409).
    Submission,
}

impl Service {
    /// Its name in the configuration and in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Service::Mx => "mx",
            Service::Lmtp => "lmtp",
            Service::Submission => "submission",
        }
    }
}

/// A file that the configuration names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedFile {
    /// Where it is; absolute.
    pub path: PathBuf,
    /// Where it is named; none when the server itself chose it.
    pub place: Option<Place>,
}

/// A certificate and its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// The server's certificate, and below it those that lead to its root.
    pub certificate: NamedFile,
    /// Its key.
    pub key: NamedFile,
}

impl CertificateFiles {
    /// One of the two.
    #[must_use]
    pub fn of(&self, part: Part) -> &NamedFile {
        match part {
            Part::Certificate => &self.certificate,
            Part::Key => &self.key,
        }
    }
}

/// Who may authenticate.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// The file of the accounts; absolute.
    pub file: PathBuf,
    /// What it says.
    pub state: store::State,
    /// Mechanisms that may be offered, in this order.
    pub mechanisms: Vec<Mechanism>,
}

/// An authority that speaks ACME, and what is asked of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acme {
    /// The URL of its directory.
    pub directory: String,
    /// Where it may write to when something is wrong.
    pub contact: Option<Mailbox>,
    /// Names for the certificate; A-labels, lower case; at least one.
    pub names: Vec<String>,
    /// How it is shown that the names are ours.
    pub challenge: Challenge,
    /// Where the authority comes by.
    pub addresses: Vec<SocketAddr>,
    /// File of further roots that the authority's own certificate may lead to.
    pub ca: Option<PathBuf>,
}

/// How an authority is shown that a name is ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Challenge {
    /// By a file over HTTP (RFC 8555 §8.3).
    Http01,
    /// By a certificate in a handshake (RFC 8737).
    TlsAlpn01,
}

impl Challenge {
    /// Its name in the configuration and in ACME.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Challenge::Http01 => "http-01",
            Challenge::TlsAlpn01 => "tls-alpn-01",
        }
    }

    /// The port at which an authority comes by.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Challenge::Http01 => 80,
            Challenge::TlsAlpn01 => 443,
        }
    }
}

/// What one message, one connection and one address may cost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Largest message, in octets as received.
    pub message_size: u64,
    /// Most recipients of a transaction; at least 100 (RFC 5321 §4.5.3.1.8).
    pub recipients: usize,
    /// Connections at once, over all listeners.
    pub connections: usize,
    /// Connections at once from one address.
    pub connections_per_address: u32,
    /// New connections per minute from one address.
    pub connections_per_minute: u32,
    /// Messages per hour from one address.
    pub messages_per_hour: u32,
    /// Recipients per hour from one address, refused ones included.
    pub recipients_per_hour: u32,
    /// Whose addresses meet none of the four limits above, besides the relay networks.
    pub exempt: Networks,
    /// Recipients per hour that one account may send to.
    pub account_recipients_per_hour: u32,
    /// The same, per day.
    pub account_recipients_per_day: u32,
    /// How far ahead an account may have its mail sent; zero: not at all.
    pub future_release: Duration,
    /// The most urgent that an account may call its mail: 1 to 9.
    pub priority: i8,
    /// Commands in one session that bring no message.
    pub commands: u32,
    /// Errors of protocol in one session.
    pub errors: u32,
    /// Refused recipients in one session.
    pub refused_recipients: u32,
    /// Connections of ours to one destination at once; 1 to 500.
    pub connections_per_destination: usize,
    /// Octets per second at which a message must come at least, averaged over
    /// [`pace::WINDOW`](crate::receive::pace::WINDOW).
    pub transfer_rate: u64,
    /// From MAIL to the end of data.
    pub transaction_time: Duration,
    /// From the connection to EHLO or HELO.
    pub hello_time: Duration,
    /// What is done about peers that speak before our greeting.
    pub early_talkers: EarlyTalkers,
}

impl Default for Limits {
    /// As where nothing is written.
    fn default() -> Self {
        Limits {
            message_size: 50 * 1024 * 1024,
            recipients: 1_000,
            connections: 20_000,
            connections_per_address: 100,
            connections_per_minute: 600,
            messages_per_hour: 36_000,
            recipients_per_hour: 100_000,
            exempt: Networks::loopback(),
            account_recipients_per_hour: 1_000,
            account_recipients_per_day: 5_000,
            future_release: Duration::from_secs(30 * 24 * 3600),
            priority: 4,
            commands: 1_000,
            errors: 20,
            refused_recipients: 100,
            connections_per_destination: 20,
            transfer_rate: 100,
            transaction_time: Duration::from_secs(3 * 3600),
            hello_time: Duration::from_secs(300),
            early_talkers: EarlyTalkers::Refuse,
        }
    }
}

/// What is done about a peer that speaks before our greeting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EarlyTalkers {
    /// 554, and the end of the connection.
    Refuse,
    /// Nothing.
    Allow,
}

/// What is found out about the senders of mail from other servers, and what follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dmarc {
    /// Whether mail is judged at all.
    pub check: bool,
    /// The strictest thing that is done with mail that fails DMARC.
    pub policy: Policy,
    /// What quarantine is.
    pub quarantine: Quarantine,
    /// Whose ARC seals are believed, in lower-case A-labels.
    pub trusted_sealers: Vec<String>,
    /// Whose mail is only marked, by its peer.
    pub exempt_networks: Networks,
    /// Whose mail is only marked, by the domain that is shown to have sent it.
    pub exempt_domains: Vec<DomainName>,
    /// Whether a Received-SPF field is written (RFC 7208 §9.1).
    pub received_spf: bool,
}

impl Default for Dmarc {
    /// As where nothing is written.
    fn default() -> Self {
        Dmarc {
            check: true,
            policy: Policy::Quarantine,
            quarantine: Quarantine::Junk,
            trusted_sealers: Vec::new(),
            exempt_networks: Networks::default(),
            exempt_domains: Vec::new(),
            received_spf: false,
        }
    }
}

/// What is done with mail in quarantine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quarantine {
    /// It is delivered as junk.
    Junk,
    /// It is held in the queue.
    Hold,
}

/// A domain we are responsible for.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Its name; A-labels, lower case.
    pub name: DomainName,
    /// Where its mail goes.
    pub deliver: Deliver,
    /// Who owns the mail files; without one, the user that runs the server.
    pub owner: Option<String>,
    /// Which mailboxes it has.
    pub mailboxes: Mailboxes,
    /// Its aliases.
    pub aliases: Aliases,
    /// Who gets mail for unknown local parts.
    pub catch_all: Option<Mailbox>,
    /// What separates the mailbox from a detail in a local part.
    pub subaddress: Option<char>,
}

/// Which mailboxes a domain has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mailboxes {
    /// These, in lower case.
    Named(BTreeSet<String>),
    /// Any local part: the next server decides.
    Any,
}

/// Where a domain's mail goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deliver {
    /// Into Maildir folders.
    Maildir(MaildirPath),
    /// To an LMTP server.
    Lmtp(Server),
    /// To one SMTP server: we are its relay (backup or filter).
    Smtp(Server),
    /// Nowhere: accepted and dropped.
    Discard,
}

/// The path of a Maildir with `{domain}` and `{local}` in it; absolute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MaildirPath(String);

/// A server that is named by the configuration; looked up by address, never by MX.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Server {
    /// A host name (A-labels, lower case) and a port.
    Name(DomainName, u16),
    /// An address and a port.
    Address(SocketAddr),
    /// A Unix socket; LMTP only.
    Unix(PathBuf),
}

/// Where mail for some of the domains that are not ours goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// Domains it is for.
    pub recipients: Vec<Pattern>,
    /// Where it goes.
    pub via: Via,
    /// What is asked of its servers, and what they are shown.
    pub security: Security,
}

/// A domain, or a family of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// `*`: every domain, and every address literal.
    All,
    /// `*.example.org`: every domain below it, not itself.
    Below(DomainName),
    /// This domain.
    Exactly(DomainName),
}

/// Where a route leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Via {
    /// To the first of these SMTP servers that answers.
    Smtp(Vec<Server>),
    /// The same, with TLS from the first octet (RFC 8314 §3.3).
    Smtps(Vec<Server>),
    /// To the first of these LMTP servers that answers.
    Lmtp(Vec<Server>),
    /// Nowhere: accepted and dropped.
    Discard,
    /// By the recipient domain's MX records, as without a route.
    Mx,
}

/// When to try again and when to give up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retry {
    /// Waits between attempts; at least one, the last repeats.
    pub intervals: Vec<Duration>,
    /// Age at which what is still queued is reported as failed.
    pub expire_after: Duration,
    /// Age at which the reverse-path is told of the delay.
    pub delay_notice_after: Duration,
}

/// A usable configuration and what `check` says about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the file means.
    pub config: Config,
    /// Warnings; no errors.
    pub warnings: Vec<Finding>,
}

impl Config {
    /// Reads a configuration and the files that it names.
    ///
    /// # Errors
    /// All findings, at least one of them an error.
    pub fn load(path: &Path, disk: &dyn Disk) -> Result<Loaded, Vec<Finding>> {
        let source = Source {
            path: path.to_path_buf(),
            text: read(path, disk)?,
        };
        let (file, reader) = file::File::parse(&source);
        let (config, findings) = match &file {
            Some(file) => meaning::mean(file, reader, disk),
            None => (None, reader.findings),
        };
        let findings = finding::in_order(findings, path);
        match config {
            Some(config) => Ok(Loaded {
                config,
                warnings: findings,
            }),
            None => Err(findings),
        }
    }
}

/// Everything that `check` has to say: about the file, and about this machine when the file can be
/// used.
#[must_use]
pub fn check(path: &Path, disk: &dyn Disk, now: Timestamp) -> Vec<Finding> {
    match Config::load(path, disk) {
        Ok(Loaded {
            config,
            mut warnings,
        }) => {
            warnings.extend(environment::examine(&config, disk, now));
            warnings
        }
        Err(findings) => findings,
    }
}

impl MaildirPath {
    /// The folder of one mailbox. Both are checked names of the configuration: no `/`, not `.` or
    /// `..`, no control characters.
    #[must_use]
    pub fn of(&self, domain: &str, local: &str) -> PathBuf {
        PathBuf::from(self.0.replace("{domain}", domain).replace("{local}", local))
    }

    /// The folder above everything that a name decides: delivery never leaves it.
    #[must_use]
    pub fn root(&self) -> &Path {
        let fixed = self.0.split('{').next().unwrap_or_default();
        let end = match fixed.len() == self.0.len() {
            true => fixed.trim_end_matches('/').rfind('/'),
            false => fixed.rfind('/'),
        };
        Path::new(fixed.get(..end.unwrap_or(0).max(1)).unwrap_or("/"))
    }
}

impl Pattern {
    /// Whether a recipient domain (A-labels; none for an address literal) is meant.
    #[must_use]
    pub fn matches(&self, domain: Option<&DomainName>) -> bool {
        match (self, domain) {
            (Pattern::All, _) => true,
            (_, None) => false,
            (Pattern::Below(above), Some(name)) => name != above && name.is_within(above),
            (Pattern::Exactly(one), Some(name)) => name == one,
        }
    }
}

/// The text of the configuration file.
fn read(path: &Path, disk: &dyn Disk) -> Result<String, Vec<Finding>> {
    let unreadable = |cause: String, fix: &str| {
        vec![Finding::error(
            None,
            format!("cannot read {}: {cause}", path.display()),
            fix,
        )]
    };
    let bytes = disk.read(path, file::FILE_MAX).map_err(|e| match e.kind() {
        ErrorKind::NotFound => unreadable(
            "there is no such file".into(),
            "name the configuration with --config FILE; docs/guide/posthaste.toml is an example",
        ),
        ErrorKind::PermissionDenied => unreadable(
            "this user may not read it".into(),
            "run this as root, or chmod the file",
        ),
        _ => unreadable(e.to_string(), "name a text file with --config FILE"),
    })?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(e.as_bytes()).into_owned();
        let place = Source {
            path: path.to_path_buf(),
            text,
        }
        .place(&(at..at + 3));
        let cause = "the configuration is not UTF-8 text";
        vec![Finding::error(Some(place), cause, "save the file as UTF-8")]
    })
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::Name(name, port) => write!(f, "{name}:{port}"),
            Server::Address(address) => address.fmt(f),
            Server::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
