//! The spool on disk: envelopes as octets, and recovery from damage.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_queue::QueueId;
use posthaste_queue::envelope::{ContentFacts, Envelope, Message, Progress, Recipient, State};
use posthaste_queue::spool::{Body, Change, NewMessage, Prelude, Recovery, Settings};
use posthaste_queue::spool::{Settlement, Store};
use posthaste_sim::disk::SimDisk;
use posthaste_sim::rng::{Rng, SeededRandom};
use posthaste_sim::trace::Trace;
use posthaste_smtp::address::{Mailbox, Utf8};
use posthaste_world::disk::Open;
use posthaste_world::{Disk, Timestamp};

use crate::choices::seeds;

const ROOT: &str = "/data";
const SPOOL: &str = "/data/spool";
const DISK_OCTETS: u64 = 16 << 20;
const MESSAGES: u32 = 4;

/// Octets that decode as an envelope, or as a recipient's progress, encode to octets that decode to
/// the same.
pub fn envelope(octets: &[u8]) {
    let id = id(1);
    if let Ok(envelope) = Envelope::decode(id, octets) {
        assert_eq!(
            Envelope::decode(id, &envelope.encode()).as_ref(),
            Ok(&envelope)
        );
    }
    if let Ok(progress) = Progress::decode(octets) {
        assert_eq!(Progress::decode(&progress.encode()).as_ref(), Ok(&progress));
    }
}

/// A spool with a few messages is damaged and opened again: that works, what is read back is what
/// was written, nothing comes that was not, and without damage everything does.
pub fn damage(octets: &[u8]) {
    let Some(([closed], damage)) = seeds(octets) else {
        return;
    };
    let disk = SimDisk::new(Path::new(ROOT), DISK_OCTETS, Rng::new(1), Trace::new(false));
    let (mut store, _) = open(&disk);
    let mut written = BTreeMap::new();
    for n in 0..MESSAGES {
        let new = message(n);
        written.insert(new.envelope.id, new.clone());
        let results = store.write(&[Change::Commit(Box::new(new))]);
        assert_eq!(results, [Ok(())]);
    }
    let delivered = Progress {
        state: State::Delivered,
        ..Progress::default()
    };
    let settlement = Settlement {
        id: id(0),
        updates: vec![(0, delivered)],
        reports: Vec::new(),
    };
    assert_eq!(store.write(&[Change::Settle(settlement)]), [Ok(())]);
    if closed % 2 == 0 {
        store.close();
    }
    disk.restart_process();
    let spoiled: Vec<Spoiled> = damage
        .chunks_exact(5)
        .filter_map(|step| spoil(&disk, step))
        .collect();

    let (store, recovery) = open(&disk);
    let mut whole = 0;
    for waiting in &recovery.messages {
        let new = written
            .get(&waiting.id)
            .expect("nothing is queued that was not written");
        // A damaged message may be noticed only when it is read.
        let Ok(stored) = store.read(waiting.id) else {
            continue;
        };
        assert_eq!(stored.prelude(), &new.prelude);
        let mut content = stored.content();
        let mut read = Vec::new();
        while let Ok(Some(piece)) = content.next_blocking() {
            read.extend_from_slice(&piece);
        }
        assert!(read.starts_with(&new.prelude.trace));
        let Body::Inline(body) = &new.body else {
            unreachable!("all are inline")
        };
        assert_eq!(read[new.prelude.trace.len()..], body[..]);
        whole += 1;
    }
    if spoiled.is_empty() {
        assert!(recovery.faults.is_empty(), "{:?}", recovery.faults);
        assert_eq!(whole, written.len() - 1, "all but the delivered one");
    }
    if spoiled.iter().all(|&how| how == Spoiled::Octet) {
        assert!(
            whole + 1 + spoiled.len() >= written.len(),
            "an octet costs at most its frame"
        );
    }
}

fn open(disk: &SimDisk) -> (Store, Recovery) {
    let settings = Settings {
        segment: Settings::SEGMENT_MIN,
        ..Settings::default()
    };
    let random = Arc::new(SeededRandom::new(Rng::new(2)));
    let key = |recipient: &Recipient| recipient.address.domain().to_string();
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Store::open(disk, random, Path::new(SPOOL), &settings, &key).expect("start-up goes on")
}

/// What happened to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spoiled {
    Cut,
    Run,
    Octet,
}

/// Does one thing to one file; `None` when there was nothing to do it to.
fn spoil(disk: &SimDisk, step: &[u8]) -> Option<Spoiled> {
    let &[which, high, low, kind, value] = step else {
        return None;
    };
    let files = disk.files();
    let path = files.get(usize::from(which) % files.len().max(1))?;
    let file = disk.open(path, Open::ReadWrite).ok()?;
    let at = u64::from(u16::from_be_bytes([high, low]));
    if at >= file.len().ok()? {
        return None;
    }
    match kind % 4 {
        0 => {
            file.set_len(at).ok()?;
            Some(Spoiled::Cut)
        }
        1 => {
            file.write_at(at, &[IoSlice::new(&[value; 64])]).ok()?;
            Some(Spoiled::Run)
        }
        _ => {
            let mut octet = [0];
            file.read_at(at, &mut octet).ok()?;
            octet[0] ^= value;
            file.write_at(at, &[IoSlice::new(&octet)]).ok()?;
            Some(Spoiled::Octet)
        }
    }
}

fn id(n: u32) -> QueueId {
    QueueId::new(
        Timestamp::from_secs(u64::from(n)),
        &SeededRandom::new(Rng::new(3)),
    )
}

fn message(n: u32) -> NewMessage {
    let body = Bytes::from(format!("Subject: {n}\r\n\r\n").repeat(1 + 40 * n as usize));
    let facts = ContentFacts {
        size: body.len() as u64,
        ..ContentFacts::default()
    };
    let address = Mailbox::parse(&format!("r{n}@example.org"), Utf8::Refused).unwrap();
    NewMessage {
        envelope: Envelope {
            id: id(n),
            message: Message::ours(Timestamp::from_secs(u64::from(n)), facts),
            recipients: vec![Recipient::new(address)],
        },
        prelude: Prelude::trace(format!("Received: {n}\r\n").into_bytes()),
        body: Body::Inline(body),
    }
}
