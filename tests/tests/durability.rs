//! The promise, from outside: a 250 comes after the sync that covers its message, and what got a
//! 250 outlives the program's sudden death.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, clippy::print_stdout, missing_docs)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthaste_tests::client::Dialogue;
use posthaste_tests::messages::sample;
use posthaste_tests::peer::client;
use posthaste_tests::server::{Server, program};
use posthaste_tests::strace::{self, Call};
use posthaste_tests::{mailbox, setup, until};

/// Messages of the recorded run, and connections that send them at once.
const MESSAGES: usize = 1000;
const CONNECTIONS: usize = 50;
/// Sudden deaths.
const KILLS: usize = 20;
/// Attempts that may be in flight at a kill: the default limit of one destination.
const IN_FLIGHT_MAX: usize = 20;
const DRAINED: Duration = Duration::from_secs(120);

#[test]
fn each_250_follows_the_sync_that_covers_its_message() {
    if !client::is_there("strace") {
        return;
    }
    let mut server = Server::with(&setup::with(
        "[[route]]\nrecipients = [\"*\"]\nvia = \"smtp://127.0.0.1:9\"\n",
    ));
    let recording = server.dir().join("recording");
    let config = server.config().display().to_string();
    let (program, file) = (
        program().display().to_string(),
        recording.display().to_string(),
    );
    let script = "recording=$1 program=$2 config=$3; shift 3\n\
                  exec strace \"$@\" -o \"$recording\" \"$program\" serve --config \"$config\"";
    let words = [&[&*file, &*program, &*config], &strace::ARGUMENTS[..]].concat();
    let command = client::command("strace", script, &words);
    server.run_as(command);
    let address = server.address();
    let workers: Vec<_> = (0..CONNECTIONS)
        .map(|worker| std::thread::spawn(move || send(address, worker, MESSAGES / CONNECTIONS)))
        .collect();
    let promised: Vec<Promised> = workers
        .into_iter()
        .flat_map(|worker| worker.join().unwrap())
        .collect();
    assert_eq!(promised.len(), MESSAGES);
    server.stop();

    let calls = strace::read(&recording);
    let spool = server.dir().join("data");
    let in_spool = |call: &&Call| call.file.starts_with(&*spool.to_string_lossy());
    let syncs: Vec<&Call> = calls
        .iter()
        .filter(|call| call.name == "fdatasync" || call.name == "fsync")
        .filter(in_spool)
        .collect();
    let writes: Vec<&Call> = calls
        .iter()
        .filter(|call| call.name.contains("write"))
        .filter(in_spool)
        .collect();
    let sends: Vec<&Call> = calls
        .iter()
        .filter(|call| call.file.starts_with("TCP"))
        .collect();
    for promise in &promised {
        covered(promise, &writes, &syncs, &sends);
    }
    println!(
        "{MESSAGES} messages, each 250 after its sync; {} syncs in all",
        syncs.len()
    );
    assert!(
        syncs.len() < MESSAGES,
        "no group commit: {} syncs",
        syncs.len()
    );
}

/// A message that got its 250.
struct Promised {
    /// What is said once in the world, in its body.
    mark: String,
    /// The reply.
    reply: String,
}

fn send(address: SocketAddr, worker: usize, count: usize) -> Vec<Promised> {
    let mut dialogue = Dialogue::open(address);
    let mut promised = Vec::new();
    for number in 0..count {
        let mark = format!("mark-{worker}-{number}.");
        let message = sample("mark", format!("{mark}\r\n").as_bytes()).octets;
        let answer = dialogue.deliver("bob@local.example", &["x@remote.example"], &message);
        assert_eq!(answer.code, 250, "{answer:?}");
        promised.push(Promised {
            mark,
            reply: format!("250 {}", answer.lines.join("")),
        });
    }
    promised
}

/// Finds the write of the message, the first sync of that file which began after the write had
/// ended, and the send of the reply, which must begin after the sync had ended well.
fn covered(promise: &Promised, writes: &[&Call], syncs: &[&Call], sends: &[&Call]) {
    let holds = |call: &&&Call, text: &str| {
        call.octets
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    let mark = &promise.mark;
    let write = writes.iter().find(|call| holds(call, mark));
    let write = write.unwrap_or_else(|| panic!("{mark} was never written"));
    let sync = syncs
        .iter()
        .find(|sync| sync.file == write.file && sync.began > write.ended && sync.result == 0);
    let sync = sync.unwrap_or_else(|| panic!("{mark} was never synced"));
    let sent = sends.iter().find(|call| holds(call, &promise.reply));
    let sent = sent.unwrap_or_else(|| panic!("{:?} was never sent", promise.reply));
    assert!(
        sync.ended < sent.began,
        "{mark}: 250 sent before its sync: {sync:?}"
    );
}

#[test]
fn what_got_a_250_survives_twenty_kills_under_load() {
    let mut server = Server::start(setup::BASE);
    let acknowledged: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut kills = 0;
    for round in 0..KILLS {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let (stop, done) = (stop.clone(), done.clone());
                let (address, acknowledged) = (server.address(), acknowledged.clone());
                std::thread::spawn(move || {
                    load(
                        address,
                        &format!("{round}-{worker}"),
                        &stop,
                        &done,
                        &acknowledged,
                    );
                })
            })
            .collect();
        // Each round dies after another number of messages, in the middle of others.
        let enough = 20 + round * 17 % 61;
        until("messages under load", DRAINED, || {
            (done.load(Ordering::Relaxed) >= enough).then_some(())
        });
        server.kill();
        kills += 1;
        stop.store(true, Ordering::Relaxed);
        workers
            .into_iter()
            .for_each(|worker| worker.join().unwrap());
        server.run();
    }
    until("an empty queue", DRAINED, || {
        (server.queued() == 0).then_some(())
    });
    let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
    for message in mailbox::messages(&server.dir().join("mail/alice")) {
        let text = String::from_utf8_lossy(&message);
        let mark = text.lines().last().unwrap_or_default();
        *arrived.entry(mark.to_owned()).or_default() += 1;
    }
    let acknowledged = acknowledged.lock().unwrap();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|mark| !arrived.contains_key(*mark))
        .collect();
    let twice: usize = arrived.values().map(|count| count - 1).sum();
    println!(
        "{kills} kills: {} acknowledged, {} of them lost, {} arrived, {twice} duplicates",
        acknowledged.len(),
        lost.len(),
        arrived.len()
    );
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(twice <= kills * IN_FLIGHT_MAX, "{twice} duplicates");
}

/// Sends messages until the server dies, and notes those that got a 250.
fn load(
    address: SocketAddr,
    name: &str,
    stop: &AtomicBool,
    done: &AtomicUsize,
    acknowledged: &Mutex<Vec<String>>,
) {
    let Some(mut dialogue) = Dialogue::try_open(address) else {
        return;
    };
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let mark = format!("mark-{name}-{number}");
        let message = sample("mark", format!("{mark}\r\n").as_bytes()).octets;
        let Some(answer) =
            dialogue.try_deliver("bob@local.example", "alice@local.example", &message)
        else {
            return;
        };
        assert_eq!(answer.code, 250, "{answer:?}");
        acknowledged.lock().unwrap().push(mark);
        done.fetch_add(1, Ordering::Relaxed);
        number += 1;
    }
}
