//! What a relayed message costs in system calls, instructions and allocations: figures that are
//! nearly the same on every machine and at any load, unlike times. `cargo xtask bench counts`.
//!
//! Each is the difference between a run with few messages and one with many, divided by the
//! messages between: what starting costs falls out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, clippy::print_stdout, missing_docs)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use posthaste_tests::load::{Load, Sink};
use posthaste_tests::server::{Server, program};
use posthaste_tests::{messages, setup, skip, until};

const FEW: usize = 200;
const MANY: usize = 1_200;
const SIZE: usize = 4 * 1024;
/// One client, so that the groups of one run are those of another.
const CLIENTS: usize = 1;
const EACH_CONNECTION: usize = 10;
/// What a tool writes in the folder of the server.
const FOUND: &str = "found";
/// Under `valgrind` everything takes fifty times as long.
const LONG: Duration = Duration::from_secs(600);

/// Relays `count` messages through the program as it runs under `tool`, the first words of a
/// command line, and ends it; `{}` in a word is the file [`FOUND`].
fn relayed(tool: &[&str], count: usize) -> Server {
    let sink = Sink::start(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
    let mut server = Server::with(&setup::with(&format!(
        "[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://{}\"\n",
        sink.address
    )));
    // The program gives up its rights, and the tool with it, before the tool writes what it found.
    let found = server.dir().join(FOUND);
    std::fs::write(&found, "").expect("a file");
    let open = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(&found, open).expect("a file for everybody");
    let found = found.display().to_string();
    let mut words = tool.iter().map(|word| word.replace("{}", &found));
    let mut command = Command::new(words.next().expect("a tool"));
    command.args(words).arg(program());
    command.args(["serve", "--config"]).arg(server.config());
    server.run_as(command);
    let message = messages::load(SIZE);
    let load = Load {
        to: server.address(),
        clients: CLIENTS,
        messages: count,
        each_connection: EACH_CONNECTION,
        recipient: &|_| "someone@sink.example".to_owned(),
        message: &message,
    };
    load.send();
    until("all messages in the sink", LONG, || {
        (sink.taken() >= count).then_some(())
    });
    until("an empty queue", LONG, || {
        (server.queued() == 0).then_some(())
    });
    server.stop();
    server
}

/// `count` of a run with many messages less that of one with few, for one message.
fn for_one<K: Ord + Clone>(count: impl Fn(usize) -> BTreeMap<K, f64>) -> BTreeMap<K, f64> {
    let (few, many) = (count(FEW), count(MANY));
    let messages = (MANY - FEW) as f64;
    let less = |what: &K| few.get(what).copied().unwrap_or(0.0);
    let each = many.iter();
    each.map(|(what, count)| (what.clone(), (count - less(what)) / messages))
        .collect()
}

fn is_there(tool: &str) -> bool {
    let there = Command::new(tool).arg("--version").output().is_ok();
    if !there {
        skip(&format!("{tool}: not installed"));
    }
    there
}

/// The calls of `strace -c`, by name.
fn calls(summary: &Path) -> BTreeMap<String, f64> {
    let text = std::fs::read_to_string(summary).expect("a summary");
    let mut calls = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let (Some(count), Some(name)) = (words.get(3), words.last())
            && let Ok(count) = count.parse()
        {
            calls.insert((*name).to_owned(), count);
        }
    }
    calls
}

/// The numbers of the line with `label` in what `valgrind` printed.
fn numbers(text: &str, label: &str) -> Vec<f64> {
    let found = text.lines().find_map(|line| line.split_once(label));
    let (_, rest) = found.unwrap_or_else(|| panic!("no {label} in {text}"));
    let words = rest.split_whitespace();
    words
        .filter_map(|word| word.replace(',', "").parse().ok())
        .collect()
}

#[test]
#[ignore = "a benchmark: cargo xtask bench counts"]
fn counts() {
    println!("For one message of {SIZE} octets, {EACH_CONNECTION} a connection, one client:");
    if is_there("strace") {
        let strace = ["strace", "-c", "-f", "-o", "{}"];
        let each = for_one(|messages| calls(&relayed(&strace, messages).dir().join(FOUND)));
        let mut sorted: Vec<_> = each.iter().filter(|(_, count)| **count >= 0.05).collect();
        sorted.sort_by(|a, b| b.1.total_cmp(a.1));
        for (name, count) in sorted {
            println!("{count:8.2} {name}");
        }
    }
    if is_there("valgrind") {
        let callgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file={}"];
        let each = for_one(|messages| {
            let text = relayed(&callgrind, messages).errors();
            BTreeMap::from([("", numbers(&text, "Collected :")[0])])
        });
        println!("{:8.0} instructions", each[""]);
        let dhat = ["valgrind", "--tool=dhat", "--dhat-out-file={}"];
        let each = for_one(|messages| {
            let text = relayed(&dhat, messages).errors();
            let total = numbers(&text, "Total:");
            BTreeMap::from([("octets", total[0]), ("allocations", total[1])])
        });
        println!("{:8.1} allocations", each["allocations"]);
        println!("{:8.0} octets allocated", each["octets"]);
    }
}
