//! What a queued message costs in memory: resident octets, as the kernel counts them.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::print_stdout)] // reads /proc

use posthaste_queue::backoff::Intervals;
use posthaste_queue::id::QueueId;
use posthaste_queue::schedule::{NewMessage, NewRecipient, Schedule, Settings};
use posthaste_world::{Random, Timestamp};

const MESSAGES: u64 = 1_000_000;

/// A message may cost this much, its share of every index included.
const LIMIT: u64 = 250;

/// Anything but constant, so that ids made in one millisecond differ.
struct Steps(std::sync::atomic::AtomicU64);

impl Random for Steps {
    fn fill(&self, bytes: &mut [u8]) {
        let n = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for (to, from) in bytes.iter_mut().zip(n.to_le_bytes().iter().cycle()) {
            *to = *from;
        }
    }
}

fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

fn fill(destinations: u64) -> u64 {
    let before = resident().unwrap();
    let mut schedule = Schedule::new(Settings {
        intervals: Intervals::default(),
        workers: 1000,
        workers_per_destination: 20,
        classes: Vec::new(),
    });
    let random = Steps(Default::default());
    for n in 0..MESSAGES {
        let arrived = Timestamp::from_millis(1_700_000_000_000 + n / 10);
        let name = format!("mx:destination-{}.example.org", n % destinations);
        assert!(schedule.insert(&NewMessage {
            id: QueueId::new(arrived, &random),
            begins: arrived,
            wishes: Default::default(),
            class: 0,
            recipients: &[NewRecipient {
                index: 0,
                destination: &name,
                due: arrived,
                again: false,
                held: false,
                noticed: false,
            }],
        }));
    }
    assert_eq!(schedule.counts().recipients as u64, MESSAGES);
    (resident().unwrap() - before) / MESSAGES
}

#[test]
fn a_million_messages_fit_into_the_promised_memory() {
    if resident().is_none() {
        println!("SKIP: no /proc/self/status");
        return;
    }
    let few = fill(1000);
    println!("{few} octets a message with 1,000 destinations");
    assert!(few <= LIMIT, "{few} octets a message");
}
