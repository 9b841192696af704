//! `posthaste dns DOMAIN`: what to publish for a domain of ours, and what is published.
//!
//! [`plan`] says what should be there, [`examine`] what is, asking the servers that are responsible
//! ([`authoritative`]) unless a server is named; [`show`] prints it. It changes nothing, here or in
//! the DNS, and does **not** fetch the policy of MTA-STS.

pub mod authoritative;
pub mod examine;
pub mod plan;
pub mod show;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use posthaste_smtp::address::{Mailbox, Utf8};
use posthaste_world::{Disk, Dns, World, real};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::cli;
use crate::commands::{load, with_world};
use crate::config::{Config, ListenerTls, Service, text};
use crate::fault::Fault;
use crate::sign::keys;
use crate::sign::stage::Stage;
use crate::tls::{generated, names};
use crate::verify::dns_server;
use authoritative::Authoritative;
use examine::{Finding, State};
use plan::Plan;

/// Largest file of a certificate, in octets.
const CERTIFICATE_MAX: u64 = 1024 * 1024;
/// Exit status when something that is needed is missing, or anything is wrong.
const FAULTY: u8 = 1;
/// Exit status when nothing is wrong, and something could not be looked up.
const UNKNOWN: u8 = 2;

/// `posthaste dns`; prints what was found.
///
/// # Errors
/// The domain is not ours, or the configuration or the keys cannot be read.
pub fn run(file: &Path, options: &cli::Dns) -> Result<ExitCode, Fault> {
    with_world(async |world| {
        let config = load(&world, file)?.config;
        let domain = our_domain(&config, &options.domain)?;
        let ring = keys::read(&*world.disk, &config.data_dir)?;
        let mut retired = keys::entries(&*world.disk, &config.data_dir)?;
        retired.retain(|e| e.domain == domain && e.standing.stage == Stage::Retired);
        let hostname = text::canonical(&config.hostname);
        let plan = Plan {
            domain: &domain,
            hostname: &hostname,
            reports_to: reports_to(&config, &domain)?,
            keys: &ring,
            retired,
            key_digest: key_digest(&config, &*world.disk),
            addresses: addresses(&config),
            id: world.clock.now().as_secs(),
        };
        let (findings, notes) = look(&config, options, &plan).await?;
        let shown = match (options.json, options.zone) {
            (true, _) => show::objects(&findings),
            (_, true) => show::zone(&findings),
            _ => show::table(&findings, &notes),
        };
        let mut out = io::stdout().lock();
        let said = out.write_all(shown.as_bytes()).and_then(|()| out.flush());
        said.map_err(|e| Fault::new("writing to standard output", e))?;
        Ok(status(&findings))
    })
}

fn status(findings: &[Finding]) -> ExitCode {
    let unknown = |f: &Finding| f.state == State::Unknown;
    match findings.iter().any(Finding::is_fault) {
        true => ExitCode::from(FAULTY),
        false if findings.iter().any(unknown) => ExitCode::from(UNKNOWN),
        false => ExitCode::SUCCESS,
    }
}

/// Asks the server that was named, or those that are responsible.
async fn look(
    config: &Config,
    options: &cli::Dns,
    plan: &Plan<'_>,
) -> Result<(Vec<Finding>, Vec<String>), Fault> {
    let resolver = resolver(config.dns_servers.clone(), false)?;
    if let Some(server) = &options.dns {
        let named = self::resolver(vec![dns_server(server)?], true)?;
        let findings = examine::examine(&*named.dns, &*named.dns, plan).await;
        return Ok((findings, Vec::new()));
    }
    // Where one cannot be made the server is as good as silent.
    let spare = resolver.dns.clone();
    let reach = move |at: SocketAddr| -> Arc<dyn Dns> {
        self::resolver(vec![at], true).map_or_else(|_| spare.clone(), |world| world.dns)
    };
    let asked = Authoritative::new(resolver.dns.clone(), Box::new(reach));
    let findings = examine::examine(&asked, &*resolver.dns, plan).await;
    Ok((findings, asked.notes()))
}

fn resolver(servers: Vec<SocketAddr>, without_hosts: bool) -> Result<World, Fault> {
    let mut doors = real::Settings::default();
    doors.dns.servers = servers;
    doors.dns.without_hosts = without_hosts;
    real::world(&doors).map_err(|e| Fault::new("starting", e))
}

/// The domain as it is asked for; only one that the configuration has.
fn our_domain(config: &Config, written: &str) -> Result<String, Fault> {
    let doing = || format!("reading the domain `{}`", written.escape_debug());
    let name = text::domain_name(written).map_err(|why| Fault::new(doing(), why))?;
    let name = text::canonical(&name);
    let ours = config.domains.iter().map(|d| text::canonical(&d.name));
    let ours: Vec<String> = ours.collect();
    match ours.contains(&name) {
        true => Ok(name),
        false => Err(
            Fault::new(doing(), "the configuration has no such [[domain]]").fix(format!(
                "name one of {}, or add it",
                match ours.is_empty() {
                    true => "none".to_owned(),
                    false => ours.join(", "),
                }
            )),
        ),
    }
}

fn reports_to(config: &Config, domain: &str) -> Result<Mailbox, Fault> {
    let own = format!("postmaster@{domain}");
    match &config.postmaster {
        Some(mailbox) => Ok(mailbox.clone()),
        None => Mailbox::parse(&own, Utf8::Refused)
            .map_err(|e| Fault::new(format!("writing to {own}"), e)),
    }
}

/// Addresses that listeners for other servers' mail name; not those of this machine alone.
fn addresses(config: &Config) -> Vec<std::net::IpAddr> {
    let mx = config.listeners.iter().filter(|l| l.service == Service::Mx);
    let named = mx.flat_map(|l| &l.addresses).filter_map(|a| a.ip());
    let mut found: Vec<_> = named
        .filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The public key that clients of port 25 see.
fn key_digest(config: &Config, disk: &dyn Disk) -> Result<Vec<u8>, String> {
    let mx = |l: &&crate::config::Listener| l.service == Service::Mx;
    let mut mx = config.listeners.iter().filter(mx);
    if mx.all(|l| l.tls == ListenerTls::None) {
        return Err("no listener for mx speaks TLS".to_owned());
    }
    let given = config.acme.as_ref();
    let given = given.and_then(|_| crate::acme::served(&config.data_dir, disk));
    let files = given
        .or_else(|| config.certificates.first().cloned())
        .unwrap_or_else(|| generated::files(&config.data_dir));
    let path = files.certificate.path;
    let failed = |why: String| format!("{}: {why}", path.display());
    let pem = disk
        .read(&path, CERTIFICATE_MAX)
        .map_err(|e| failed(e.to_string()))?;
    let first = CertificateDer::from_pem_slice(&pem).map_err(|e| failed(e.to_string()))?;
    names::key_digest(&first).ok_or_else(|| failed("it is no certificate".to_owned()))
}
