//! The interop matrix: what goes between the program and those that nobody here wrote, in both
//! directions, as a table. `cargo xtask interop` runs it and writes `docs/reference/interop.md`.
//!
//! A cell is an exchange whose end is looked at on both sides: the message arrived as it was sent,
//! and the program's own records say that it came or went in the way that the column names. What a
//! peer does not have is said in words. The tests beside this one look closer at single peers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, clippy::print_stdout, missing_docs)]

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use posthaste_tests::root;
use posthaste_tests::server::told;
use posthaste_tests::wire::Wire;

#[path = "interop/clients.rs"]
mod clients;
#[path = "interop/next_hops.rs"]
mod next_hops;
#[path = "interop/senders.rs"]
mod senders;
#[path = "interop/lettre.rs"]
mod with_lettre;

/// What an exchange may take: 25 MiB go through programs in Python, too.
const PATIENCE: Duration = Duration::from_secs(120);
const LARGE: usize = 25 << 20;
const RECIPIENTS: usize = 100;
/// Messages that wait for each other, so that they go in flights.
const MANY: usize = 40;

/// What a cell says: it works, or the peer does not have that, or it failed.
enum Cell {
    Works,
    Absent(&'static str),
    Failed(String),
}

struct Row {
    peer: String,
    cells: Vec<(&'static str, Cell)>,
}

#[test]
#[ignore = "a table: cargo xtask interop"]
fn interop() {
    let clients = clients::rows();
    let senders = senders::rows();
    let next_hops = next_hops::rows();
    let date = told(Command::new("date").arg("+%F")).out;
    let mut text = format!(
        "# Interoperation\n\n<!-- written by `cargo xtask interop` on {} -->\n\n\
         Exchanges with programs that nobody here wrote, of {}, each with a message that arrived \
         as it was sent. A dash: the peer does not have that. PIPELINING and CHUNKING are what \
         somebody between the two saw them use.\n",
        date.trim(),
        date.trim()
    );
    let mut failures = Vec::new();
    for (title, rows) in [
        ("Clients that send to Posthaste", &clients),
        ("Servers that relay to Posthaste", &senders),
        ("Servers that Posthaste sends to", &next_hops),
    ] {
        table(&mut text, title, rows);
        for row in rows {
            for (column, cell) in &row.cells {
                if let Cell::Failed(why) = cell {
                    failures.push(format!("{}, {column}: {why}", row.peer));
                }
            }
        }
    }
    println!("{text}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // A checkout of CI stays as it is.
    if std::env::var_os("CI").is_none() {
        std::fs::write(root().join("docs/reference/interop.md"), text).unwrap();
    }
}

fn table(text: &mut String, title: &str, rows: &[Row]) {
    let Some(first) = rows.first() else { return };
    let columns: Vec<_> = first.cells.iter().map(|(column, _)| *column).collect();
    let _ = write!(text, "\n## {title}\n\n| | {} |\n", columns.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(columns.len()));
    let mut notes = Vec::new();
    for row in rows {
        let cells = row.cells.iter().map(|(column, cell)| match cell {
            Cell::Works => "yes".to_owned(),
            Cell::Failed(_) => "FAILED".to_owned(),
            Cell::Absent("") => "–".to_owned(),
            Cell::Absent(why) => {
                notes.push(format!("{}, {column}: {why}", row.peer));
                format!("– ({})", notes.len())
            }
        });
        let cells: Vec<_> = cells.collect();
        let _ = writeln!(text, "| {} | {} |", row.peer, cells.join(" | "));
    }
    if !notes.is_empty() {
        text.push('\n');
    }
    for (number, note) in notes.iter().enumerate() {
        let _ = writeln!(text, "{}. {note}", number + 1);
    }
}

/// Runs an exchange; a panic in it is a failure of its cell alone.
fn attempt(exchange: impl FnOnce() -> Wire) -> Result<Wire, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(exchange)).map_err(|why| {
        let text = why.downcast_ref::<String>().cloned();
        let text = text.or_else(|| why.downcast_ref::<&str>().map(ToString::to_string));
        text.unwrap_or_default().chars().take(400).collect()
    })
}

fn cell(attempted: &Result<Wire, String>) -> Cell {
    match attempted {
        Ok(_) => Cell::Works,
        Err(why) => Cell::Failed(why.clone()),
    }
}

/// How the client of an exchange in the clear used the wire. What it does not use is its own choice
/// (`unused` says why), or a failure.
fn used(
    attempted: &Result<Wire, String>,
    unused: impl Fn(&Wire, &'static str) -> Result<&'static str, String>,
) -> [(&'static str, Cell); 2] {
    let cell = |column, uses: fn(&Wire) -> bool| {
        let cell = match attempted {
            Err(why) => Cell::Failed(why.clone()),
            Ok(wire) if uses(wire) => Cell::Works,
            Ok(wire) => unused(wire, column).map_or_else(Cell::Failed, Cell::Absent),
        };
        (column, cell)
    };
    [
        cell("PIPELINING", Wire::pipelined),
        cell("CHUNKING", Wire::chunked),
    ]
}

/// What a client that is not ours does not use, it does not have.
fn theirs(_: &Wire, _: &'static str) -> Result<&'static str, String> {
    Ok("")
}

/// The first line that a command says about itself, from its first digit on.
fn version(name: &str, mut command: Command) -> String {
    let told = told(&mut command);
    let text = told.out + &told.err;
    let line = text
        .lines()
        .find(|line| line.contains(|c: char| c.is_ascii_digit()));
    let line = line.unwrap_or_default();
    let from = line.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
    let number = line[from..]
        .split([' ', ',', ')'])
        .next()
        .unwrap_or_default();
    format!("{name} {number}")
}

/// The version of a peer, as its package's own changelog has it.
fn package(tree: &str) -> String {
    let name = match tree {
        "exim" => "exim4-daemon-heavy",
        "dovecot" => "dovecot-core",
        "sendmail" => "sendmail-bin",
        other => other,
    };
    let peers = root().join("target/peers").join(tree);
    let changelog = peers.join(format!("usr/share/doc/{name}/changelog.Debian.gz"));
    let told = told(Command::new("gzip").arg("-cd").arg(changelog));
    let line = told.out.lines().next().unwrap_or_default();
    let version = line.split(['(', ')']).nth(1).unwrap_or_default();
    version.split('-').next().unwrap_or_default().to_owned()
}

/// The version of a library, as it says itself.
fn of_library(name: &str) -> String {
    let peers = root().join("target/peers");
    let file = peers.join(match name {
        "aiosmtpd on Python" => "scripts/python/aiosmtpd/__init__.py",
        "Haraka" => "haraka/node_modules/Haraka/package.json",
        _ => "scripts/node_modules/smtp-server/package.json",
    });
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.contains("version"));
    let quoted = line.unwrap_or_default().rsplit(['"', '\'']);
    quoted
        .map(str::to_owned)
        .find(|part| part.contains('.'))
        .unwrap_or_default()
}

fn addresses(mode: &str, domain: &str) -> Vec<String> {
    let many = if mode == "100 recipients" {
        RECIPIENTS
    } else {
        1
    };
    (0..many).map(|n| format!("r{n}@{domain}")).collect()
}
