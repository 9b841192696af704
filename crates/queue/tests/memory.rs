//! A large message costs little memory. In a process of its own, so that nothing else is measured.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may stop"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use posthaste_queue::backoff::Intervals;
use posthaste_queue::envelope::Recipient;
use posthaste_queue::schedule::{self, Expiry};
use posthaste_queue::spool::Prelude;
use posthaste_queue::{Queue, QueueId, Settings};
use posthaste_world::real;
use support::envelope;

const MESSAGE: usize = 50 << 20;
const ADDS_AT_MOST: usize = 4 << 20;

/// The most memory this process was ever resident with; `None` where the system does not tell.
fn peak() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<usize>().ok()? * 1024)
}

#[test]
fn a_message_of_50_mib_adds_at_most_4_mib() {
    let Some(_) = peak() else {
        println!("SKIP /proc/self/status is not there: resident memory is not measured");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let runtime = real::runtime().unwrap();
    runtime.block_on(async {
        let world = real::world(&real::Settings::default()).unwrap();
        let expiry = Expiry {
            notice_after: None,
            expire_after: Duration::from_secs(86_400),
        };
        let settings = Settings {
            spool: posthaste_queue::spool::Settings::default(),
            schedule: schedule::Settings {
                intervals: Intervals::default(),
                workers: 1,
                workers_per_destination: 1,
                classes: vec![expiry],
            },
        };
        let key = Arc::new(|r: &Recipient| r.address.domain().to_string());
        let (queue, _) = Queue::open(&world, dir.path(), settings, key).unwrap();
        // The first small message pays for threads and the like.
        send(&queue, &world, 16 << 10).await;
        let before = peak().unwrap();
        send(&queue, &world, MESSAGE).await;
        let added = peak().unwrap() - before;
        println!("a message of {MESSAGE} octets added {added} octets of memory");
        assert!(added <= ADDS_AT_MOST, "{added}");
        queue.close().await;
    });
}

/// Takes a message in and reads it again.
async fn send(queue: &Queue, world: &posthaste_world::World, octets: usize) {
    let piece = [b'x'; 16 << 10];
    let mut draft = queue.draft();
    while draft.len() < octets as u64 {
        draft.write(&piece).await.unwrap();
    }
    let id = QueueId::new(world.clock.now(), &*world.random);
    let receipt = queue
        .commit(draft, envelope(id, 1), Prelude::default())
        .await
        .unwrap();
    let mut content = queue.read(receipt.id()).await.unwrap().content();
    let mut read = 0;
    while let Some(piece) = content.next().await.unwrap() {
        read += piece.len();
    }
    assert_eq!(read, octets);
}
