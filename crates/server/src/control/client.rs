//! The command line's end of the control socket: asks, and prints the answer for people or
//! programs.

use std::io::{self, Read, Write};
use std::path::Path;

use posthaste_world::net::Endpoint;
use posthaste_world::{BoxStream, World};

use super::wire::{self, Answer, Item, Request, Verb};
use crate::cli;
use crate::fault::Fault;
use crate::feedback::received::{Kept, Line};

/// Octets of a message sent in one frame.
const PIECE: usize = 64 * 1024;

/// Runs a verb of `posthaste queue` against the server whose data is in `data_dir`.
///
/// # Errors
/// The server does not run, or does not do it.
pub async fn queue(
    world: &World,
    data_dir: &Path,
    verb: &cli::Verb,
    out: &mut dyn Write,
) -> Result<(), Fault> {
    let (verb, filter, dry_run, json) = match verb {
        cli::Verb::List(s) => (Verb::List, &s.filter, false, s.json),
        cli::Verb::Count(s) => (Verb::Count, &s.filter, false, s.json),
        cli::Verb::Show(s) => (Verb::Show, &s.filter, false, s.json),
        cli::Verb::Hold(c) => (Verb::Hold, &c.filter, c.dry_run, c.json),
        cli::Verb::Release(c) => (Verb::Release, &c.filter, c.dry_run, c.json),
        cli::Verb::Retry(c) => (Verb::Retry, &c.filter, c.dry_run, c.json),
        cli::Verb::Bounce(c) => (Verb::Bounce, &c.filter, c.dry_run, c.json),
        cli::Verb::Delete(c) => (Verb::Delete, &c.filter, c.dry_run, c.json),
    };
    let doing = format!("posthaste queue {}", verb.name());
    let request = Request::Queue {
        verb,
        filter: filter.clone(),
        dry_run,
    };
    let mut stream = connect(world, data_dir).await?;
    let asked = |e: io::Error| Fault::new(doing.clone(), e);
    let mut whole = None;
    wire::write(&mut stream, &request).await.map_err(asked)?;
    loop {
        match wire::read::<Answer>(&mut stream).await.map_err(asked)? {
            Answer::Item(item) => {
                let text = if json {
                    json_line(&item)
                } else {
                    lines(&item, verb)
                };
                out.write_all(text.as_bytes()).map_err(asked)?;
            }
            Answer::Accounts(accounts) => whole = Some(accounts),
            Answer::Done(count) => {
                let text = match whole {
                    Some(accounts) if json => json_line(&accounts),
                    _ => summary(verb, count, dry_run, json),
                };
                return out.write_all(text.as_bytes()).map_err(asked);
            }
            Answer::Failed(why) => return Err(Fault::new(doing, why)),
            _ => {
                return Err(Fault::new(doing, "an answer to another question"));
            }
        }
    }
}

/// Runs `posthaste user failures` against the server whose data is in `data_dir`.
///
/// # Errors
/// The server does not run, or does not do it.
pub async fn failures(
    world: &World,
    data_dir: &Path,
    options: &cli::UserFailures,
    out: &mut dyn Write,
) -> Result<(), Fault> {
    let doing = "posthaste user failures";
    let asked = |e: io::Error| Fault::new(doing, e);
    let clear = options.clear.clone();
    let mut stream = connect(world, data_dir).await?;
    let request = Request::Failures { clear };
    wire::write(&mut stream, &request).await.map_err(asked)?;
    loop {
        let text = match wire::read::<Answer>(&mut stream).await.map_err(asked)? {
            Answer::Failure(failure) if options.json => {
                // Plain data: writing it as JSON cannot fail.
                serde_json::to_string(&failure).unwrap_or_default() + "\n"
            }
            Answer::Failure(failure) => failed_logins(&failure),
            Answer::Done(count) => {
                let text = match (&options.clear, count) {
                    _ if options.json => String::new(),
                    (Some(_), count) => format!("{count} forgotten\n"),
                    (None, 0) => "no failed login\n".to_string(),
                    (None, _) => String::new(),
                };
                return out.write_all(text.as_bytes()).map_err(asked);
            }
            Answer::Failed(why) => return Err(Fault::new(doing, why)),
            _ => {
                return Err(Fault::new(doing, "an answer to another question"));
            }
        };
        out.write_all(text.as_bytes()).map_err(asked)?;
    }
}

/// Shows the reports that came to the server whose data is in `data_dir`.
///
/// # Errors
/// The server does not run, or cannot read them.
pub async fn reports(
    world: &World,
    data_dir: &Path,
    options: &cli::Reports,
    out: &mut dyn Write,
) -> Result<(), Fault> {
    let doing = "posthaste reports";
    let asked = |e: io::Error| Fault::new(doing, e);
    let domain = options.domain.as_ref().map(|d| d.to_ascii_lowercase());
    let mut stream = connect(world, data_dir).await?;
    let request = Request::Reports { domain };
    wire::write(&mut stream, &request).await.map_err(asked)?;
    loop {
        let text = match wire::read::<Answer>(&mut stream).await.map_err(asked)? {
            Answer::Report(kept) if options.json => {
                serde_json::to_string(&kept).unwrap_or_default() + "\n"
            }
            Answer::Report(kept) => report(&kept),
            Answer::Done(0) if !options.json => {
                return out.write_all(b"no report\n").map_err(asked);
            }
            Answer::Done(_) => return Ok(()),
            Answer::Failed(why) => return Err(Fault::new(doing, why)),
            _ => {
                return Err(Fault::new(doing, "an answer to another question"));
            }
        };
        out.write_all(text.as_bytes()).map_err(asked)?;
    }
}

/// A report for people: what it says in all, and the sources of what did not pass.
fn report(kept: &Kept) -> String {
    let day = i64::try_from(kept.begin_s).unwrap_or(i64::MAX);
    let day = jiff::Timestamp::from_second(day).unwrap_or(jiff::Timestamp::MAX);
    let mut text = format!(
        "{}  {}  {}  by {}: {} in all, {} failed\n",
        day.strftime("%Y-%m-%d"),
        printable(&kept.kind),
        printable(&kept.domain),
        printable(&kept.organization),
        kept.messages,
        kept.failed
    );
    let failed = |line: &&Line| !line.dkim && !line.spf;
    for line in kept.rows.iter().filter(failed) {
        text += &format!(
            "    {} from {}: {}\n",
            line.messages,
            printable(&line.source),
            printable(&line.result)
        );
    }
    text
}

/// A line for people.
fn failed_logins(failure: &wire::Failure) -> String {
    let who = match (&failure.account, &failure.address) {
        (Some(account), Some(address)) => format!("{} at {address}", printable(account)),
        (Some(account), None) => printable(account),
        (None, address) => address.clone().unwrap_or_default(),
    };
    let wait = match failure.wait_s {
        0 => String::new(),
        seconds => format!("  blocked for {seconds} s"),
    };
    format!(
        "{who}  {} failed, last {}{wait}\n",
        failure.failures, failure.last
    )
}

/// Hands the message on `input` to the server whose data is in `data_dir`; the queue id it got.
///
/// # Errors
/// The server does not run, or does not take it.
pub async fn send(
    world: &World,
    data_dir: &Path,
    options: &cli::Send,
    input: &mut dyn Read,
) -> Result<String, Fault> {
    let doing = "posthaste send";
    let from = options.from.clone();
    let request = Request::Send {
        from,
        recipients: options.recipients.clone(),
    };
    let mut octets = Vec::new();
    input
        .read_to_end(&mut octets)
        .map_err(|e| Fault::new("reading standard input", e))?;
    let mut stream = connect(world, data_dir).await?;
    let asked = |e: io::Error| Fault::new(doing, e);
    wire::write(&mut stream, &request).await.map_err(asked)?;
    for piece in octets.chunks(PIECE) {
        wire::write_octets(&mut stream, piece)
            .await
            .map_err(asked)?;
    }
    wire::write_octets(&mut stream, &[]).await.map_err(asked)?;
    match wire::read::<Answer>(&mut stream).await.map_err(asked)? {
        Answer::Queued(id) => Ok(id),
        Answer::Failed(why) => Err(Fault::new(doing, why)),
        _ => Err(Fault::new(doing, "an answer to another question")),
    }
}

async fn connect(world: &World, data_dir: &Path) -> Result<BoxStream, Fault> {
    let path = super::socket(data_dir);
    let shown = path.display().to_string();
    world
        .net
        .connect(&Endpoint::Unix(path), None)
        .await
        .map_err(|e| {
            let fix = match e.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    "start the server: `posthaste serve`, with the same --config"
                }
                io::ErrorKind::PermissionDenied => "run this as root or as the server's user",
                _ => "see whether the server runs",
            };
            Fault::new(format!("reaching the server at {shown}"), e).fix(fix)
        })
}

fn json_line(data: &impl serde::Serialize) -> String {
    // It is plain data: writing it as JSON cannot fail.
    serde_json::to_string(data).unwrap_or_default() + "\n"
}

fn summary(verb: Verb, count: u64, dry_run: bool, json: bool) -> String {
    match verb {
        Verb::Count if json => format!("{{\"messages\":{count}}}\n"),
        Verb::Count => format!("{count}\n"),
        Verb::List | Verb::Show if json => String::new(),
        Verb::List | Verb::Show if count == 0 => "no message\n".to_string(),
        Verb::List | Verb::Show => String::new(),
        _ if json => String::new(),
        _ if dry_run => format!("{count} would be changed; nothing was\n"),
        _ => format!("{count} changed\n"),
    }
}

fn lines(item: &Item, verb: Verb) -> String {
    if verb == Verb::Show {
        shown(item)
    } else {
        listed(item)
    }
}

/// One line a message, and one a recipient that waits for a reason.
fn listed(item: &Item) -> String {
    let mut text = format!(
        "{}  {}  {:>9}  {}\n",
        item.id,
        item.arrived,
        octets(item.size),
        sender(item)
    );
    for recipient in &item.recipients {
        text += &format!(
            "    {:<8} {}",
            recipient.state,
            printable(&recipient.address)
        );
        let why = recipient
            .destination_failure
            .as_deref()
            .unwrap_or(&recipient.last_reply);
        if !why.is_empty() {
            text += &format!(" ({})", printable(why));
        }
        text.push('\n');
    }
    text
}

/// Everything about a message, for people.
fn shown(item: &Item) -> String {
    let mut text = format!("message    {}\n", item.id);
    text += &format!("from       {}\n", sender(item));
    text += &format!("accepted   {} ({} ago)\n", item.arrived, ago(item.age_s));
    if let Some(release) = &item.release {
        text += &format!("not before {release}\n");
    }
    if let Some(by) = &item.deliver_by {
        text += &format!("wanted by  {by}\n");
    }
    if item.priority != 0 {
        text += &format!("priority   {}\n", item.priority);
    }
    text += &format!("expires    {}\n", item.expires);
    text += &format!("size       {}\n", octets(item.size));
    if !item.peer.is_empty() {
        text += &format!("came from  {}\n", printable(&item.peer));
    }
    if let Some(account) = &item.account {
        text += &format!("account    {}\n", printable(account));
    }
    for recipient in &item.recipients {
        text += &format!("\nto         {}\n", printable(&recipient.address));
        if let Some(original) = &recipient.original {
            text += &format!("given as   {}\n", printable(original));
        }
        text += &format!("state      {}\n", recipient.state);
        text += &format!("goes by    {}\n", printable(&recipient.destination));
        text += &format!("attempts   {}\n", recipient.attempts);
        if !recipient.last_reply.is_empty() {
            let host = if recipient.host.is_empty() {
                "here"
            } else {
                &recipient.host
            };
            text += &format!(
                "last reply {} [{}]\n",
                printable(&recipient.last_reply),
                printable(host)
            );
        }
        if let Some(failure) = &recipient.destination_failure {
            text += &format!(
                "waits for  the destination, which failed: {}\n",
                printable(failure)
            );
        }
        if let Some(next) = &recipient.next {
            text += &format!("next try   {next}\n");
        }
    }
    text += &format!("\n{}\n\n", advice(item));
    text
}

/// What the operator can do about a message now.
fn advice(item: &Item) -> String {
    let held = item.recipients.iter().any(|r| r.state == "held");
    let verb = if held { "release" } else { "retry" };
    let id = &item.id;
    format!("to try now: posthaste queue {verb} {id}\nto give up: posthaste queue bounce {id}")
}

fn sender(item: &Item) -> String {
    format!("<{}>", printable(&item.from))
}

/// Text of a peer, fit for a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn octets(size: u64) -> String {
    match size {
        0..10_240 => format!("{size} B"),
        10_240..10_485_760 => format!("{} KiB", size / 1024),
        _ => format!("{} MiB", size / 1_048_576),
    }
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}
