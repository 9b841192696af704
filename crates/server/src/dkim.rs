//! `posthaste dkim`: the keys that sign our mail, and whether the DNS publishes them.
//!
//! Keys are changed in their folder ([`crate::sign::keys`]), whether or not the server runs; a
//! running one signs with them from the next message on. Started as root the command becomes the
//! server's user before it writes, so that the keys are that user's alone. This module does **not**
//! sign.

use std::io::{self, Write};

use posthaste_mailauth::dkim::{BadKey, PrivateKey, Publication};
use posthaste_world::{Timestamp, World, real};

use crate::cli;
use crate::config::{Config, text};
use crate::fault::Fault;
use crate::privileges::{self, Rights};
use crate::sign::keys::{self, Editor, Keyring, SigningKey};

/// Octets of one string of a TXT record (RFC 1035 §3.3.14).
const STRING_MAX: usize = 255;

/// Runs a verb of `posthaste dkim`.
///
/// # Errors
/// It was not done, and why; or a record is not right.
pub async fn run(world: &World, config: &Config, verb: &cli::DkimVerb) -> Result<(), Fault> {
    match verb {
        cli::DkimVerb::Generate(options) => generate(world, config, &options.domain),
        cli::DkimVerb::Remove(options) => remove(world, config, &options.domain),
        cli::DkimVerb::List(options) => {
            let keys = wanted(world, config, options)?;
            let mut shown = String::new();
            for (domain, key) in keys.iter() {
                shown += &match options.json {
                    true => format!("{}\n", object(domain, key)),
                    false => format!("{}\n", line(domain, key)),
                };
            }
            say(&shown)
        }
        cli::DkimVerb::Check(options) => check(world, config, options).await,
    }
}

/// Makes both keys of a domain, and says what to publish.
fn generate(world: &World, config: &Config, domain: &str) -> Result<(), Fault> {
    let domain = domain_name(domain)?;
    become_server(world, config)?;
    let editor = Editor::begin(&*world.disk, &config.data_dir)?;
    if !keys::read(&*world.disk, &config.data_dir)?
        .of(&domain)
        .is_empty()
    {
        return Err(Fault::new(
            format!("making DKIM keys for {domain}"),
            "it has keys already",
        )
        .fix(format!(
            "see them with `posthaste dkim list {domain}`; to have others, first remove them"
        )));
    }
    let now = world.clock.now();
    let failed = |e: BadKey| Fault::new(format!("making DKIM keys for {domain}"), e);
    let made = [
        ('r', PrivateKey::generate_rsa_2048().map_err(failed)?),
        ('e', PrivateKey::generate_ed25519().map_err(failed)?),
    ]
    .map(|(kind, key)| SigningKey {
        selector: selector(now, kind).into(),
        made: now,
        key,
    });
    editor.add(&domain, &made)?;
    let mut shown = format!(
        "Mail from {domain} is signed with these keys from now on. Publish their records in the\n\
         DNS, one for each, then run `posthaste dkim check {domain}`:\n\n"
    );
    made.iter()
        .for_each(|key| shown.push_str(&record(&domain, key)));
    say(&shown)
}

fn remove(world: &World, config: &Config, domain: &str) -> Result<(), Fault> {
    let domain = domain_name(domain)?;
    become_server(world, config)?;
    let removed = Editor::begin(&*world.disk, &config.data_dir)?.remove(&domain)?;
    match removed {
        0 => Err(none(Some(&domain))),
        _ => say(&format!(
            "The keys of {domain} are removed: its mail is no longer signed. Leave their records \
             in the DNS\nfor a week, until what was signed with them has arrived everywhere.\n"
        )),
    }
}

/// Asks the DNS for every record; all must be right.
async fn check(world: &World, config: &Config, options: &cli::DkimKeys) -> Result<(), Fault> {
    let keys = wanted(world, config, options)?;
    let mut doors = real::Settings::default();
    doors.dns.servers.clone_from(&config.dns_servers);
    let outside = real::world(&doors).map_err(|e| Fault::new("starting", e))?;
    let mut faulty = 0_usize;
    for (domain, key) in keys.iter() {
        let found = Publication::of(&*outside.dns, &key.name(domain), &key.key).await;
        let right = found == Publication::Right;
        faulty += usize::from(!right);
        let mut shown = match options.json {
            true => format!("{}\n", checked(domain, key, &found)),
            false => format!("{}  {found}\n", line(domain, key)),
        };
        if !right && !options.json {
            shown += &format!("publish:\n{}", record(domain, key));
        }
        say(&shown)?;
    }
    match faulty {
        0 => Ok(()),
        _ => Err(Fault::new(
            "checking the DKIM records",
            format!("{faulty} of {} are not right in the DNS", keys.count()),
        )
        .fix("publish them as shown; what was just changed takes its TTL to be seen")),
    }
}

/// The keys that a command is about.
struct Wanted {
    keys: Keyring,
    domain: Option<String>,
}

impl Wanted {
    fn iter(&self) -> impl Iterator<Item = (&str, &SigningKey)> {
        let meant = |name: &str| self.domain.as_ref().is_none_or(|d| d == name);
        let domains = self.keys.domains().filter(move |(name, _)| meant(name));
        domains.flat_map(|(name, keys)| keys.iter().map(move |key| (name, key)))
    }

    fn count(&self) -> usize {
        self.iter().count()
    }
}

fn wanted(world: &World, config: &Config, options: &cli::DkimKeys) -> Result<Wanted, Fault> {
    let domain = options.domain.as_deref().map(domain_name).transpose()?;
    let keys = keys::read(&*world.disk, &config.data_dir)?;
    let wanted = Wanted { keys, domain };
    match wanted.count() {
        0 => Err(none(wanted.domain.as_deref())),
        _ => Ok(wanted),
    }
}

fn none(domain: Option<&str>) -> Fault {
    let of = domain.map(|d| format!(" of {d}")).unwrap_or_default();
    Fault::new(
        format!("looking for the DKIM keys{of}"),
        "there are none: mail is not signed",
    )
    .fix(format!(
        "run `posthaste dkim generate {}`",
        domain.unwrap_or("DOMAIN")
    ))
}

fn domain_name(text: &str) -> Result<String, Fault> {
    let fault = |why: String| {
        Fault::new(format!("reading the domain `{}`", text.escape_debug()), why)
            .fix("write a domain, like example.org")
    };
    let name = text::domain_name(text).map_err(fault)?;
    match name.as_str().contains('.') {
        true => Ok(name.to_string()),
        false => Err(fault("it has no dot, so no signature can name it".into())),
    }
}

/// What is written from now on is the server's.
fn become_server(world: &World, config: &Config) -> Result<(), Fault> {
    let rights = Rights::find(config)?;
    privileges::make_data_dir(&rights, &config.data_dir, &*world.disk)?;
    rights.take()
}

/// The minute of its making, and the kind of key: another one later has another name.
fn selector(now: Timestamp, kind: char) -> String {
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    format!("{}{kind}", time.strftime("%Y%m%d%H%M"))
}

fn made(key: &SigningKey) -> String {
    let seconds = i64::try_from(key.made.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds)
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}

fn line(domain: &str, key: &SigningKey) -> String {
    let algorithm = key.key.algorithm().word();
    format!("{domain}  {}  {algorithm}  {}", key.selector, made(key))
}

fn object(domain: &str, key: &SigningKey) -> serde_json::Value {
    serde_json::json!({
        "domain": domain,
        "selector": &*key.selector,
        "algorithm": key.key.algorithm().word(),
        "made": made(key),
        "name": key.name(domain),
        "record": key.key.public_record(),
    })
}

/// The same, with what the DNS says.
fn checked(domain: &str, key: &SigningKey, found: &Publication) -> serde_json::Value {
    let why = match found {
        Publication::Wrong(why) | Publication::Unknown(why) => Some(why),
        Publication::Right | Publication::Missing => None,
    };
    let mut object = object(domain, key);
    if let Some(fields) = object.as_object_mut() {
        fields.insert("dns".into(), found.word().into());
        fields.insert("why".into(), serde_json::json!(why));
    }
    object
}

/// The record as a zone file has it. One string of it is at most 255 octets long.
fn record(domain: &str, key: &SigningKey) -> String {
    let text = key.key.public_record();
    let mut strings = String::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(rest.len().min(STRING_MAX));
        strings += &format!(" \"{piece}\"");
        rest = tail;
    }
    format!("{}. IN TXT ({strings} )\n\n", key.name(domain))
}

fn say(text: &str) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    let said = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    said.map_err(|e| Fault::new("writing to standard output", e))
}
