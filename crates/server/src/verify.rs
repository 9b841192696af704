//! `posthaste verify`: judges a message as if it had arrived, and says why.
//!
//! The message is judged by the code that judges mail that comes in
//! ([`crate::authenticate::message`]), in one pass, whatever its size. This module does **not**
//! talk to a running server, and changes nothing.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use posthaste_mailauth::dmarc::{self, Policy};
use posthaste_mailauth::{dkim, spf};
use posthaste_message::header::Scan;
use posthaste_smtp::address::{ReversePath, Utf8};
use posthaste_world::disk::{File, Open};
use posthaste_world::{World, real};
use serde::Serialize;

use crate::authenticate::message::{Judge, Judgement, Sender, Settings};
use crate::cli;
use crate::commands::{load, with_world};
use crate::fault::Fault;

/// Octets that are read at once.
const PIECE: usize = 64 * 1024;

/// The port of DNS servers.
const DNS_PORT: u16 = 53;

/// `posthaste verify`; prints the judgement.
///
/// # Errors
/// An option or the message cannot be read.
pub fn run(file: &Path, options: &cli::Verify) -> Result<(), Fault> {
    with_world(async |first| {
        let (world, settings) = outside(&first, file, options)?;
        let sender = Sender {
            ip: options.ip,
            helo: options.helo.clone(),
            reverse_path: reverse_path(&options.mail_from)?,
        };
        let now_s = match options.now {
            Some(now) => u64::try_from(now.as_second()).unwrap_or(0),
            None => world.clock.now().as_secs(),
        };
        let from = |path: &Path, e| Fault::new(format!("reading {}", path.display()), e);
        let judged = match &options.file {
            Some(path) => {
                let opened = world
                    .disk
                    .open(path, Open::Read)
                    .map_err(|e| from(path, e))?;
                let mut input = Reading(opened, 0);
                let judged = judge(&world, &settings, (sender, now_s), &mut input).await;
                judged.map_err(|e| from(path, e))?
            }
            None => {
                let judged = judge(&world, &settings, (sender, now_s), &mut io::stdin()).await;
                judged.map_err(|e| from(Path::new("standard input"), e))?
            }
        };
        let told = match options.json {
            true => tell_programs(&judged, &mut io::stdout().lock()),
            false => tell_people(&judged, &mut io::stdout().lock()),
        };
        told.map_err(|e| Fault::new("writing to standard output", e))
    })
}

/// The world with the DNS servers that are to be asked, and our name and policy.
fn outside(
    first: &World,
    file: &Path,
    options: &cli::Verify,
) -> Result<(World, Arc<Settings>), Fault> {
    let there = first.disk.open(file, Open::Read).is_ok();
    let config = there
        .then(|| load(first, file))
        .transpose()?
        .map(|l| l.config);
    let servers = match &options.dns {
        Some(server) => vec![dns_server(server)?],
        None => config
            .as_ref()
            .map(|c| c.dns_servers.clone())
            .unwrap_or_default(),
    };
    let mut doors = real::Settings::default();
    doors.dns.servers = servers;
    let world = real::world(&doors).map_err(|e| Fault::new("starting", e))?;
    let name = config.as_ref().map(|c| c.hostname.to_string());
    let settings = Settings {
        authserv_id: name.unwrap_or_else(|| "localhost".to_owned()),
        rules: config.map(|c| c.dmarc).unwrap_or_default(),
    };
    Ok((world, Arc::new(settings)))
}

/// A DNS server as `--dns` names it.
///
/// # Errors
/// It is no address.
pub fn dns_server(text: &str) -> Result<SocketAddr, Fault> {
    let with_port = text.parse::<SocketAddr>();
    let alone = || {
        text.parse::<IpAddr>()
            .map(|ip| SocketAddr::new(ip, DNS_PORT))
    };
    with_port.or_else(|_| alone()).map_err(|e| {
        Fault::new(format!("reading --dns {text}"), e)
            .fix("write an address, with a port where it is not 53: 127.0.0.1:5353, [::1]:5353")
    })
}

fn reverse_path(text: &str) -> Result<ReversePath, Fault> {
    let inner = text.strip_prefix('<').and_then(|t| t.strip_suffix('>'));
    let path = format!("<{}>", inner.unwrap_or(text));
    ReversePath::parse(&path, Utf8::Allowed).map_err(|e| {
        Fault::new(format!("reading --mail-from {text}"), e.to_string())
            .fix("write an address like bounces@example.org, or <>")
    })
}

/// A file of the disk door, read from its start.
struct Reading(Box<dyn File>, u64);

impl Read for Reading {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read_at(self.1, octets)?;
        self.1 += u64::try_from(n).unwrap_or(u64::MAX);
        Ok(n)
    }
}

/// One object for programs: exactly these fields, and perhaps more later.
#[derive(Serialize)]
struct Told<'a> {
    spf: Vec<Spf<'a>>,
    dkim: Vec<Dkim<'a>>,
    dmarc: Dmarc<'a>,
    arc: Arc_<'a>,
    authentication_results: String,
}

#[derive(Serialize)]
struct Spf<'a> {
    identity: &'static str,
    domain: &'a str,
    result: &'static str,
    reason: &'a str,
    explanation: Option<&'a str>,
}

#[derive(Serialize)]
struct Dkim<'a> {
    domain: &'a str,
    selector: &'a str,
    algorithm: &'a str,
    result: &'static str,
    reason: &'a str,
    unsigned_octets: u64,
}

#[derive(Serialize)]
struct Dmarc<'a> {
    domain: Option<&'a str>,
    organizational_domain: Option<&'a str>,
    policy_domain: Option<&'a str>,
    policy: &'static str,
    testing: bool,
    disposition: &'static str,
    result: &'static str,
    reason: &'a str,
}

#[derive(Serialize)]
struct Arc_<'a> {
    result: &'static str,
    chain_length: u32,
    reason: &'a str,
}

/// Judges the message that `input` holds, as from `sender` at `now_s` (seconds since 1970).
///
/// A message whose first line ends with a bare LF is a Unix file: all its lines get CRLF, as if it
/// had come over the network.
///
/// # Errors
/// The message cannot be read.
pub async fn judge(
    world: &World,
    settings: &Arc<Settings>,
    (sender, now_s): (Sender, u64),
    input: &mut impl Read,
) -> io::Result<Judgement> {
    let mut judge = Judge::begin(world, settings, sender, now_s);
    let (mut scan, mut lines) = (Scan::new(), Lines::default());
    let mut piece = vec![0; PIECE];
    loop {
        let n = match input.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let octets = lines.convert(piece.get(..n).unwrap_or_default());
        scan.push(octets);
        judge.push(octets, scan.facts());
    }
    Ok(judge.judge(&scan.finish()).await)
}

/// Line ends as they are on the network.
#[derive(Default)]
struct Lines {
    /// Whether lines end with LF alone; unknown until the first one has ended.
    unix: Option<bool>,
    after_cr: bool,
    converted: Vec<u8>,
}

impl Lines {
    fn convert<'a>(&'a mut self, octets: &'a [u8]) -> &'a [u8] {
        if self.unix.is_none()
            && let Some(at) = octets.iter().position(|c| *c == b'\n')
        {
            let before = at.checked_sub(1).and_then(|i| octets.get(i));
            self.unix = Some(before.map_or(!self.after_cr, |c| *c != b'\r'));
        }
        self.after_cr = octets.last() == Some(&b'\r');
        if self.unix != Some(true) {
            return octets;
        }
        self.converted.clear();
        for octet in octets {
            if *octet == b'\n' {
                self.converted.push(b'\r');
            }
            self.converted.push(*octet);
        }
        &self.converted
    }
}

/// Tells a judgement to programs, as one line of JSON.
///
/// # Errors
/// Standard output cannot be written to.
pub fn tell_programs(judgement: &Judgement, output: &mut impl Write) -> io::Result<()> {
    let told = Told {
        spf: judgement.spf.iter().map(spf_told).collect(),
        dkim: judgement.dkim.iter().map(dkim_told).collect(),
        dmarc: dmarc_told(judgement),
        arc: Arc_ {
            result: judgement.arc.verdict.word(),
            chain_length: judgement.arc.chain_length,
            reason: &judgement.arc.reason,
        },
        authentication_results: judgement.authentication_results().value(false),
    };
    serde_json::to_writer(&mut *output, &told)?;
    writeln!(output)
}

fn identity(identity: spf::Identity) -> &'static str {
    match identity {
        spf::Identity::Helo => "helo",
        spf::Identity::MailFrom => "mailfrom",
    }
}

fn spf_told(checked: &spf::Checked) -> Spf<'_> {
    Spf {
        identity: identity(checked.identity),
        domain: &checked.domain,
        result: checked.verdict.word(),
        reason: &checked.reason,
        explanation: checked.explanation.as_deref(),
    }
}

fn dkim_told(finding: &dkim::Finding) -> Dkim<'_> {
    Dkim {
        domain: &finding.domain,
        selector: &finding.selector,
        algorithm: &finding.algorithm,
        result: finding.verdict.word(),
        reason: &finding.reason,
        unsigned_octets: finding.unsigned_octets,
    }
}

fn dmarc_told(judgement: &Judgement) -> Dmarc<'_> {
    let dmarc: &dmarc::Checked = &judgement.dmarc;
    Dmarc {
        domain: dmarc.domain.as_deref(),
        organizational_domain: dmarc.organizational_domain.as_deref(),
        policy_domain: dmarc.policy_domain.as_deref(),
        policy: dmarc.policy.word(),
        testing: dmarc.testing,
        disposition: judgement.decision.disposition.word(),
        result: dmarc.verdict.word(),
        reason: &dmarc.reason,
    }
}

/// Tells a judgement to people: the field, and why each verdict came out so, line by line.
///
/// # Errors
/// Standard output cannot be written to.
pub fn tell_people(judgement: &Judgement, output: &mut impl Write) -> io::Result<()> {
    let field = judgement.authentication_results().field(false);
    writeln!(output, "{}", field.trim_end().replace("\r\n", "\n"))?;
    writeln!(output)?;
    for checked in &judgement.spf {
        let (what, domain) = (identity(checked.identity), &checked.domain);
        say(
            output,
            &format!("spf {what} {domain}"),
            checked.verdict.word(),
            &checked.reason,
        )?;
        lines(output, &checked.trace)?;
        if let Some(explanation) = &checked.explanation {
            lines(output, &[format!("the domain's owner says: {explanation}")])?;
        }
    }
    for (n, finding) in (1..).zip(&judgement.dkim) {
        let (selector, domain) = (&finding.selector, &finding.domain);
        let what = format!("dkim {n} {selector} {domain}");
        say(output, &what, finding.verdict.word(), &finding.reason)?;
        if finding.unsigned_octets > 0 {
            let octets = finding.unsigned_octets;
            let text = format!("{octets} octets of the body are not signed: no use for DMARC");
            lines(output, &[text])?;
        }
    }
    if judgement.dkim.is_empty() {
        say(output, "dkim", "none", "the message has no signature")?;
    }
    let arc = &judgement.arc;
    say(output, "arc", arc.verdict.word(), &arc.reason)?;
    let dmarc = &judgement.dmarc;
    let domain = dmarc.domain.as_deref().unwrap_or("(no author)");
    say(
        output,
        &format!("dmarc {domain}"),
        dmarc.verdict.word(),
        &dmarc.reason,
    )?;
    lines(output, &dmarc.trace)?;
    let (asked, done) = (dmarc.policy.word(), judgement.decision.disposition.word());
    if dmarc.policy != Policy::None || judgement.decision.disposition != Policy::None {
        writeln!(output, "  the owner asks for {asked}, done is {done}")?;
    }
    for reason in &judgement.decision.overrides {
        let (kind, comment) = (reason.kind.word(), &reason.comment);
        writeln!(output, "  because of {kind}: {comment}")?;
    }
    Ok(())
}

fn say(output: &mut impl Write, what: &str, result: &str, reason: &str) -> io::Result<()> {
    writeln!(output, "{what}: {result}: {}", clean(reason))
}

fn lines(output: &mut impl Write, texts: &[String]) -> io::Result<()> {
    texts
        .iter()
        .try_for_each(|text| writeln!(output, "  {}", clean(text)))
}

/// What came from outside does not steer a terminal.
fn clean(text: &str) -> std::borrow::Cow<'_, str> {
    crate::telemetry::clean(text)
}

#[cfg(test)]
mod tests {
    use super::Lines;

    fn converted(pieces: &[&[u8]]) -> Vec<u8> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for piece in pieces {
            all.extend_from_slice(lines.convert(piece));
        }
        all
    }

    #[test]
    fn a_unix_file_gets_the_line_ends_of_the_network_and_others_stay() {
        assert_eq!(converted(&[b"a: b\n\nc\n"]), b"a: b\r\n\r\nc\r\n");
        assert_eq!(converted(&[b"a: b\r\n\r\nc\n"]), b"a: b\r\n\r\nc\n");
        assert_eq!(converted(&[b"a: b\r", b"\n\r\nc\n"]), b"a: b\r\n\r\nc\n");
        assert_eq!(converted(&[b"a", b"\nb\n"]), b"a\r\nb\r\n");
    }
}
