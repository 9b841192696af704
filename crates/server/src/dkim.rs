//! `posthaste dkim`: the keys that sign our mail, and whether the DNS publishes them.
//!
//! Keys are changed in their folder ([`crate::sign::keys`]), whether or not the server runs; a
//! running one signs with them from the next message on. Started as root the command becomes the
//! server's user before it writes, so that the keys are that user's alone. This module does **not**
//! sign.

use std::io::{self, Write};
use std::time::Duration;

use posthaste_mailauth::dkim::Publication;
use posthaste_world::{Timestamp, World, real};

use crate::cli;
use crate::config::{Config, text};
use crate::dns::plan::quoted_strings;
use crate::fault::Fault;
use crate::privileges::{self, Rights};
use crate::sign::keys::{self, Editor, Entry, Keyring, SigningKey};
use crate::sign::stage::{SETTLED, Stage, Standing};

/// Runs a verb of `posthaste dkim`.
///
/// # Errors
/// It was not done, and why; or a record is not right.
pub async fn run(world: &World, config: &Config, verb: &cli::DkimVerb) -> Result<(), Fault> {
    match verb {
        cli::DkimVerb::Generate(options) => generate(world, config, &options.domain),
        cli::DkimVerb::Remove(options) => remove(world, config, &options.domain),
        cli::DkimVerb::Rotate(options) => rotate(world, config, &options.domain),
        cli::DkimVerb::List(options) => list(world, config, options),
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
    let made = keys::make_pair(&domain, world.clock.now(), Stage::Active)?;
    editor.add(&domain, &made)?;
    let mut shown = format!(
        "Mail from {domain} is signed with these keys from now on. Publish their records in the\n\
         DNS, one for each, then run `posthaste dkim check {domain}`:\n\n"
    );
    made.iter()
        .for_each(|key| shown.push_str(&record(&domain, key)));
    say(&shown)
}

/// Makes successors of a domain's keys, which sign when the DNS has them.
fn rotate(world: &World, config: &Config, domain: &str) -> Result<(), Fault> {
    let domain = domain_name(domain)?;
    become_server(world, config)?;
    let editor = Editor::begin(&*world.disk, &config.data_dir)?;
    let known = keys::read(&*world.disk, &config.data_dir)?;
    if known.of(&domain).is_empty() {
        return Err(none(Some(&domain)));
    }
    if known.of(&domain).iter().any(is_new) {
        return Err(Fault::new(
            format!("making new DKIM keys for {domain}"),
            "there are new keys already, which wait for their records",
        )
        .fix(format!(
            "publish them; `posthaste dkim check {domain}` shows what is missing"
        )));
    }
    let stage = Stage::Published { seen: None };
    let made = keys::make_pair(&domain, world.clock.now(), stage)?;
    editor.add(&domain, &made)?;
    let mut shown = format!(
        "Publish the records of these new keys, and leave those of the old ones as they are.\n\
         The running server looks for them: when both have been there for {}, it signs\n\
         mail from {domain} with the new keys; `posthaste dkim list {domain}`\n\
         tells when the old records may go.\n\n",
        hours(SETTLED)
    );
    made.iter()
        .for_each(|key| shown.push_str(&record(&domain, key)));
    say(&shown)
}

fn is_new(key: &SigningKey) -> bool {
    matches!(key.standing.stage, Stage::Published { .. })
}

fn hours(time: Duration) -> String {
    match time.as_secs() / 3600 {
        1 => "an hour".to_owned(),
        hours if hours % 24 == 0 => format!("{} days", hours / 24),
        hours => format!("{hours} hours"),
    }
}

/// Shows keys, also those that are retired.
fn list(world: &World, config: &Config, options: &cli::DkimKeys) -> Result<(), Fault> {
    let wanted = wanted(world, config, options)?;
    let mut shown = String::new();
    for (domain, key) in wanted.iter() {
        shown += &match options.json {
            true => format!("{}\n", object(domain, key)),
            false => format!("{}\n", line(domain, key)),
        };
    }
    for entry in &wanted.retired {
        shown += &match options.json {
            true => format!("{}\n", retired_object(entry)),
            false => format!("{}\n", retired_line(entry)),
        };
    }
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
    /// Those of the same domains that are retired.
    retired: Vec<Entry>,
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
    let mut retired = keys::entries(&*world.disk, &config.data_dir)?;
    retired.retain(|e| {
        let meant = domain.as_ref().is_none_or(|d| *d == e.domain);
        meant && e.standing.stage == Stage::Retired
    });
    let wanted = Wanted {
        keys,
        domain,
        retired,
    };
    match wanted.count() + wanted.retired.len() {
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

fn time(at: Timestamp) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds)
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}

/// Where a key stands, in words that say what is to be done.
fn standing(standing: Standing) -> String {
    let since = time(standing.since);
    match standing.stage {
        Stage::Published { seen: None } => {
            format!("published since {since}, not seen in the DNS yet: publish its record")
        }
        Stage::Published { seen: Some(seen) } => format!(
            "published, seen in the DNS since {}: signs {} later",
            time(seen),
            hours(SETTLED)
        ),
        Stage::Active => format!("active since {since}"),
        Stage::Retiring => format!("retiring since {since}: leave its record"),
        Stage::Retired => format!("retired since {since}: its record may be removed"),
    }
}

fn line(domain: &str, key: &SigningKey) -> String {
    let algorithm = key.key.algorithm().word();
    let (made, standing) = (time(key.made), standing(key.standing));
    format!(
        "{domain}  {}  {algorithm}  {made}  {standing}",
        key.selector
    )
}

fn retired_line(entry: &Entry) -> String {
    let Entry {
        domain, selector, ..
    } = entry;
    let (made, standing) = (time(entry.made), standing(entry.standing));
    format!("{domain}  {selector}  -  {made}  {standing}")
}

fn object(domain: &str, key: &SigningKey) -> serde_json::Value {
    let seen = match key.standing.stage {
        Stage::Published { seen } => seen.map(time),
        _ => None,
    };
    serde_json::json!({
        "domain": domain,
        "selector": &*key.selector,
        "algorithm": key.key.algorithm().word(),
        "made": time(key.made),
        "state": key.standing.stage.word(),
        "since": time(key.standing.since),
        "seen": seen,
        "name": key.name(domain),
        "record": key.key.public_record(),
    })
}

/// The same of a retired key, of which no more is known.
fn retired_object(entry: &Entry) -> serde_json::Value {
    serde_json::json!({
        "domain": entry.domain,
        "selector": entry.selector,
        "algorithm": null,
        "made": time(entry.made),
        "state": entry.standing.stage.word(),
        "since": time(entry.standing.since),
        "seen": null,
        "name": entry.name(),
        "record": null,
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

/// The record as a zone file has it.
fn record(domain: &str, key: &SigningKey) -> String {
    let strings = quoted_strings(&key.key.public_record()).join(" ");
    format!("{}. IN TXT ( {strings} )\n\n", key.name(domain))
}

fn say(text: &str) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    let said = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    said.map_err(|e| Fault::new("writing to standard output", e))
}
