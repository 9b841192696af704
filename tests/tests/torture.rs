//! What hurts: large messages, many at once, a full disk.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, clippy::print_stdout, missing_docs)]

use std::sync::Arc;

use posthaste_tests::client::{Dialogue, stuffed};
use posthaste_tests::messages::{large, sample};
use posthaste_tests::server::Server;
use posthaste_tests::{SOON, setup, until};

const MIB: usize = 1024 * 1024;
/// What one message of 50 MiB may add to the resident memory, in KiB.
const LARGE_ADDS_MAX: u64 = 4 * 1024;
/// What 200 messages of 10 MiB at once may add, in KiB: the budget of bodies and the sessions.
const MANY_ADD_MAX: u64 = 128 * 1024;
const MANY: usize = 200;

/// Discards mail for others, so that what is measured is reception.
fn discarding() -> Server {
    Server::start(&setup::with(
        "[[route]]\nrecipients = [\"*\"]\nvia = \"discard:\"\n",
    ))
}

fn empty(server: &Server) {
    until("an empty queue", SOON * 4, || {
        (server.queued() == 0).then_some(())
    });
}

#[test]
fn a_message_of_50_mib_adds_at_most_4_mib_of_memory() {
    let server = Server::start(&setup::with("[limits]\nmessage_size = \"60MiB\"\n"));
    let mut dialogue = Dialogue::open(server.address());
    let to = ["alice@local.example"];
    // The first message of all makes what stays.
    let first = sample("first", &large(2 * MIB)).octets;
    assert_eq!(dialogue.deliver("bob@local.example", &to, &first).code, 250);
    empty(&server);
    let (before, _) = server.memory();
    let message = sample("large", &large(50 * MIB)).octets;
    assert_eq!(
        dialogue.deliver("bob@local.example", &to, &message).code,
        250
    );
    empty(&server);
    let (_, most) = server.memory();
    println!(
        "50 MiB: {before} KiB before, {most} KiB at most, {} KiB more",
        most - before
    );
    assert!(most - before <= LARGE_ADDS_MAX);
}

#[test]
fn two_hundred_messages_of_10_mib_at_once_stay_in_the_budget_and_none_is_refused() {
    let server = discarding();
    let address = server.address();
    let (before, _) = server.memory();
    let message = Arc::new(stuffed(&sample("many", &large(10 * MIB)).octets));
    let open: Vec<_> = (0..MANY)
        .map(|_| {
            let mut dialogue = Dialogue::open(address);
            assert_eq!(dialogue.ask("MAIL FROM:<bob@local.example>").code, 250);
            assert_eq!(dialogue.ask("RCPT TO:<x@remote.example>").code, 250);
            assert_eq!(dialogue.ask("DATA").code, 354);
            dialogue
        })
        .collect();
    let workers: Vec<_> = open
        .into_iter()
        .map(|mut dialogue| {
            let message = message.clone();
            std::thread::spawn(move || {
                dialogue.send(&message);
                dialogue.answer()
            })
        })
        .collect();
    for worker in workers {
        let answer = worker.join().unwrap();
        assert_eq!(answer.code, 250, "{answer:?}");
    }
    let (_, most) = server.memory();
    println!("{MANY} x 10 MiB: {before} KiB before, {most} KiB at most");
    assert!(most - before <= MANY_ADD_MAX);
    empty(&server);
}
