//! The store against a disk in memory: what is promised is there, and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop"
)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_queue::QueueId;
use posthaste_queue::envelope::Progress;
use posthaste_queue::id::ReportKind;
use posthaste_queue::spool::{
    Body, Edit, NewMessage, ReadError, Recovery, Settings, Store, WriteError,
};
use support::*;

const SEGMENT: u64 = 128 << 10;

fn open_with(disk: &MemDisk, seed: u64, settings: &Settings) -> (Store, Recovery) {
    let random = Arc::new(Seeded::new(seed));
    Store::open(
        Arc::new(disk.clone()),
        random,
        Path::new("/q"),
        settings,
        &key,
    )
    .unwrap()
}

fn open(disk: &MemDisk, seed: u64) -> (Store, Recovery) {
    open_with(disk, seed, &settings(SEGMENT))
}

fn octets(store: &Store, id: QueueId) -> Vec<u8> {
    let mut content = store.read(id).unwrap().content();
    let mut all = Vec::new();
    while let Some(piece) = content.next_blocking().unwrap() {
        assert!(!piece.is_empty());
        all.extend_from_slice(&piece);
    }
    all
}

fn settle_down(store: &mut Store) {
    for _ in 0..10_000 {
        if !store.housekeep() {
            return;
        }
    }
    panic!("housekeeping never ends");
}

/// Segments that hold frames, by the time they were begun.
fn segments(disk: &MemDisk) -> Vec<PathBuf> {
    let mut logs = disk.files("/q/log");
    logs.retain(|path| path.extension().is_some_and(|e| e == "log"));
    logs.retain(|path| disk.octets(path)[4096..].iter().any(|octet| *octet != 0));
    logs
}

#[test]
fn a_message_survives_a_crash_right_after_the_group() {
    let (disk, random) = (MemDisk::default(), Seeded::new(1));
    let (mut store, _) = open(&disk, 1);
    let ids: Vec<_> = (1..4).map(|n| id(n, &random)).collect();
    let group: Vec<_> = ids
        .iter()
        .map(|id| commit(message(*id, 2, b"Subject: x\r\n\r\nbody\r\n")))
        .collect();
    let syncs = disk.syncs();
    assert_eq!(store.write(&group), [Ok(()); 3]);
    assert_eq!(disk.syncs(), syncs + 1, "one sync a group");
    disk.crash(|| false);
    drop(store);
    let (store, recovery) = open(&disk, 2);
    assert_eq!(
        recovery.messages.iter().map(|m| m.id).collect::<Vec<_>>(),
        ids
    );
    assert!(recovery.faults.is_empty() && recovery.torn == 0);
    for id in ids {
        assert_eq!(
            octets(&store, id),
            b"Received: by us\r\nSubject: x\r\n\r\nbody\r\n"
        );
        assert_eq!(*store.read(id).unwrap().envelope(), envelope(id, 2));
    }
}

#[test]
fn a_second_store_in_the_same_folder_is_refused() {
    let disk = MemDisk::default();
    let (_first, _) = open(&disk, 1);
    let random = Arc::new(Seeded::new(1));
    let settings = settings(SEGMENT);
    let second = Store::open(Arc::new(disk), random, Path::new("/q"), &settings, &key);
    assert_eq!(
        second.unwrap_err().cause().kind(),
        std::io::ErrorKind::WouldBlock
    );
}

#[test]
fn outcomes_and_reports_are_kept_together() {
    let (disk, random) = (MemDisk::default(), Seeded::new(1));
    let (mut store, _) = open(&disk, 1);
    let parent = id(1, &random);
    store.write(&[commit(message(parent, 2, b"x\r\n"))])[0].unwrap();
    let report = QueueId::report(parent, 0, ReportKind::Failed);
    let first = settle(
        parent,
        vec![(0, delivered()), (1, deferred(3))],
        vec![message(report, 1, b"report\r\n")],
    );
    assert_eq!(store.write(&[first]), [Ok(())]);
    drop(store);
    let (mut store, recovery) = open(&disk, 2);
    let found: Vec<_> = recovery
        .messages
        .iter()
        .map(|m| (m.id, m.recipients.len()))
        .collect();
    assert_eq!(found, {
        let mut both = vec![(parent, 1), (report, 1)];
        both.sort();
        both
    });
    assert_eq!(octets(&store, report), b"Received: by us\r\nreport\r\n");
    assert_eq!(
        store.read(parent).unwrap().envelope().recipients[1].progress,
        deferred(3)
    );
    let again = settle(parent, vec![(0, delivered())], vec![]);
    assert_eq!(
        store.write(&[again]),
        [Err(WriteError::Unknown)],
        "it has its end already"
    );
    let last = settle(
        parent,
        vec![(1, delivered())],
        vec![message(report, 1, b"twice\r\n")],
    );
    assert_eq!(store.write(&[last]), [Ok(())]);
    assert_eq!(
        octets(&store, report),
        b"Received: by us\r\nreport\r\n",
        "made once"
    );
    assert!(matches!(store.read(parent), Err(ReadError::Unknown)));
    drop(store);
    let (_, recovery) = open(&disk, 3);
    assert_eq!(recovery.messages.len(), 1);
}

#[test]
fn a_group_whose_sync_failed_never_comes_back_and_earlier_mail_stays() {
    for failure in 0..3 {
        let (disk, random) = (MemDisk::default(), Seeded::new(1));
        let (mut store, _) = open(&disk, 1);
        let (early, refused, late) = (id(1, &random), id(2, &random), id(3, &random));
        store.write(&[commit(message(early, 1, b"early"))])[0].unwrap();
        match failure {
            0 => disk.fail_sync(0),
            1 => disk.fail_write(0),
            _ => {
                // The abort frame fails once, too.
                disk.fail_sync(0);
                disk.fail_write(1);
            }
        }
        let group = [
            commit(message(refused, 1, b"refused")),
            settle(early, vec![(0, delivered())], vec![]),
        ];
        assert_eq!(store.write(&group), [Err(WriteError::Failed); 2]);
        assert!(matches!(store.read(refused), Err(ReadError::Unknown)));
        store.write(&[commit(message(late, 1, b"late"))])[0].unwrap();
        let crashed = disk.copy();
        settle_down(&mut store);
        for (disk, seed) in [(crashed, 2), (disk, 3)] {
            // Every unsynced write got through: the abort frame must do its work.
            disk.crash(|| true);
            let (store, recovery) = open(&disk, seed);
            let found: Vec<_> = recovery.messages.iter().map(|m| m.id).collect();
            assert_eq!(found, [early, late], "failure {failure}");
            assert_eq!(octets(&store, early), b"Received: by us\r\nearly");
            assert_eq!(store.read(early).unwrap().envelope().open().count(), 1);
        }
    }
}

#[test]
fn a_full_disk_refuses_mail_but_takes_outcomes_and_recovers() {
    let (disk, random) = (MemDisk::default(), Seeded::new(1));
    let (mut store, _) = open(&disk, 1);
    disk.set_room(Some(disk.used()));
    let mut kept = Vec::new();
    let error = loop {
        let new = id(kept.len() as u64, &random);
        match store.write(&[commit(message(new, 1, &[b'x'; 20_000]))])[0] {
            Ok(()) => kept.push(new),
            Err(e) => break e,
        }
        store.housekeep();
    };
    assert_eq!(error, WriteError::Full);
    assert_eq!(error.reply().code(), 452);
    assert!(store.is_full() && kept.len() >= 5);
    for id in &kept {
        assert_eq!(
            store.write(&[settle(*id, vec![(0, deferred(1))], vec![])]),
            [Ok(())]
        );
    }
    for id in &kept {
        assert_eq!(
            store.write(&[settle(*id, vec![(0, delivered())], vec![])]),
            [Ok(())]
        );
    }
    settle_down(&mut store);
    assert!(!store.is_full(), "{store:?}");
    let new = id(1000, &random);
    assert_eq!(
        store.write(&[commit(message(new, 1, &[b'x'; 20_000]))]),
        [Ok(())]
    );
}

#[test]
fn outcomes_have_room_on_a_full_disk_however_often_it_crashes() {
    let (disk, random) = (MemDisk::default(), Seeded::new(1));
    let (mut store, _) = open(&disk, 1);
    disk.set_room(Some(4 * SEGMENT));
    let mut kept = Vec::new();
    for life in 0..12 {
        // Whoever brings something takes all the room that new mail may have.
        for n in 0.. {
            let new = id(life * 1000 + n, &random);
            match store.write(&[commit(message(new, 1, &[b'x'; 20_000]))])[0] {
                Ok(()) => kept.push(new),
                Err(WriteError::Full) => break,
                Err(e) => panic!("{e}"),
            }
            store.housekeep();
        }
        for id in &kept {
            let outcome = settle(*id, vec![(0, deferred(1))], vec![]);
            assert_eq!(store.write(&[outcome]), [Ok(())], "life {life}: {store:?}");
            store.housekeep();
        }
        drop(store);
        disk.crash(|| false);
        let (next, recovery) = open(&disk, life + 2);
        assert_eq!(recovery.messages.len(), kept.len());
        store = next;
    }
    for id in &kept {
        let outcome = settle(*id, vec![(0, delivered())], vec![]);
        assert_eq!(store.write(&[outcome]), [Ok(())], "{store:?}");
    }
    settle_down(&mut store);
    let new = id(99_000, &random);
    let again = store.write(&[commit(message(new, 1, &[b'x'; 20_000]))]);
    assert_eq!(again, [Ok(())], "{store:?}");
}

#[test]
fn what_could_not_be_removed_without_a_descriptor_is_removed_when_there_is_one() {
    let (disk, random) = (MemDisk::default(), Seeded::new(1));
    let (mut store, _) = open(&disk, 1);
    disk.set_room(Some(4 * SEGMENT));
    let kept: Vec<_> = (0..)
        .map(|n| id(n, &random))
        .take_while(|new| {
            let new = commit(message(*new, 1, &[b'x'; 20_000]));
            store.write(&[new]) == [Ok(())]
        })
        .collect();
    assert!(store.is_full(), "{store:?}");
    disk.set_no_descriptors(true);
    for id in &kept {
        let outcome = settle(*id, vec![(0, delivered())], vec![]);
        assert_eq!(store.write(&[outcome]), [Ok(())], "{store:?}");
        store.housekeep();
    }
    disk.set_no_descriptors(false);
    settle_down(&mut store);
    let new = id(99_000, &random);
    let again = store.write(&[commit(message(new, 1, &[b'x'; 20_000]))]);
    assert_eq!(again, [Ok(())], "{store:?}");
}

#[test]
fn space_is_given_back_and_the_tail_is_copied_forward() {
    let (disk, random) = (MemDisk::default(), Seeded::new(1));
    let (mut store, _) = open(&disk, 1);
    let mut tail = Vec::new();
    for n in 0..400 {
        let new = id(n, &random);
        store.write(&[commit(message(new, 3, &[b'x'; 4000]))])[0].unwrap();
        if n % 40 == 0 {
            let updates = vec![(0, delivered()), (1, deferred(1))];
            store.write(&[settle(new, updates, vec![])])[0].unwrap();
            tail.push(new);
        } else {
            let ends = vec![(0, delivered()), (1, delivered()), (2, delivered())];
            store.write(&[settle(new, ends, vec![])])[0].unwrap();
        }
        store.housekeep();
    }
    settle_down(&mut store);
    assert!(
        disk.used() <= 8 * SEGMENT,
        "{} segments",
        disk.used() / SEGMENT
    );
    let check = |store: &Store| {
        for id in &tail {
            let stored = store.read(*id).unwrap();
            let open: Vec<_> = stored
                .envelope()
                .open()
                .map(|(n, r)| (n, r.progress.attempts))
                .collect();
            assert_eq!(open, [(1, 1), (2, 0)]);
            assert_eq!(octets(store, *id).len(), 4000 + 17);
        }
    };
    check(&store);
    let crashed = disk.copy();
    store.close();
    let (store, recovery) = open(&disk, 2);
    assert_eq!(
        (recovery.messages.len(), recovery.scanned),
        (tail.len(), 0),
        "sidecars are enough"
    );
    check(&store);
    let (store, recovery) = open(&crashed, 3);
    assert_eq!(recovery.messages.len(), tail.len());
    assert!(recovery.faults.is_empty());
    check(&store);
}

#[test]
fn each_octet_accepted_is_written_about_once() {
    let (disk, random) = (MemDisk::default(), Seeded::new(1));
    let (mut store, _) = open_with(&disk, 1, &settings(8 << 20));
    let before = disk.written();
    let mut accepted = 0;
    for round in 0..100 {
        let ids: Vec<_> = (0..32).map(|n| id(round * 32 + n, &random)).collect();
        let group: Vec<_> = ids
            .iter()
            .map(|id| commit(message(*id, 1, &[b'x'; 20_000])))
            .collect();
        assert!(store.write(&group).iter().all(Result::is_ok));
        let ends: Vec<_> = ids
            .iter()
            .map(|id| settle(*id, vec![(0, delivered())], vec![]))
            .collect();
        assert!(store.write(&ends).iter().all(Result::is_ok));
        accepted += 32 * 20_000;
        store.housekeep();
    }
    let ratio = (disk.written() - before) as f64 / f64::from(accepted);
    println!("octets written per octet accepted: {ratio:.3}");
    assert!(ratio < 1.03, "{ratio}");
}

#[test]
fn a_log_cut_at_any_octet_keeps_every_frame_before_the_cut() {
    let (disk, random) = (MemDisk::default(), Seeded::new(1));
    let (mut store, _) = open(&disk, 1);
    let mut ends = vec![(4096, 0)];
    for n in 1..4 {
        store.write(&[commit(message(id(n, &random), 1, b"body\r\n"))])[0].unwrap();
        let log = disk.octets(&segments(&disk)[0]);
        let used = log.iter().rposition(|octet| *octet != 0).unwrap() + 1;
        ends.push((used, usize::try_from(n).unwrap()));
    }
    let last = ends.last().unwrap().0;
    for cut in (0..=last)
        .step_by(1)
        .filter(|cut| *cut > 4000 || *cut % 64 == 0)
    {
        for zeros in [false, true] {
            let disk = disk.copy();
            let path = &segments(&disk)[0];
            disk.damage(path, |octets| {
                octets.truncate(cut);
                if zeros {
                    octets.resize(usize::try_from(SEGMENT).unwrap(), 0);
                }
            });
            let (_, recovery) = open(&disk, 9);
            let whole = ends
                .iter()
                .filter(|(end, _)| *end <= cut)
                .map(|(_, n)| *n)
                .max();
            assert_eq!(recovery.messages.len(), whole.unwrap_or(0), "cut at {cut}");
        }
    }
}

#[test]
fn damage_costs_the_damaged_frames_only() {
    let (disk, random) = (MemDisk::default(), Seeded::new(1));
    let (mut store, _) = open(&disk, 1);
    let mut starts = Vec::new();
    let ids: Vec<_> = (0..20).map(|n| id(n, &random)).collect();
    for new in &ids {
        let body = vec![b'x'; usize::try_from(random.draw() % 2000).unwrap()];
        let before = disk.octets(&segments_or_any(&disk)[0]);
        store.write(&[commit(message(*new, 1, &body))])[0].unwrap();
        let after = disk.octets(&segments(&disk)[0]);
        starts.push(
            after
                .iter()
                .zip(&before)
                .position(|(a, b)| a != b)
                .unwrap()
                .max(4096),
        );
    }
    drop(store);
    for round in 0..300 {
        let disk = disk.copy();
        let path = &segments(&disk)[0];
        let from = 4096 + usize::try_from(random.draw()).unwrap_or(0) % (starts[19] - 4096);
        let to = from + usize::try_from(random.draw() % 64).unwrap() + 1;
        disk.damage(path, |octets| {
            octets[from..to].iter_mut().for_each(|o| *o ^= 0x55)
        });
        let (store, recovery) = open(&disk, 9);
        for (n, id) in ids.iter().enumerate() {
            let end = starts.get(n + 1).copied().unwrap_or(usize::MAX);
            let hit = from < end && to > starts[n];
            assert!(
                hit || store.read(*id).is_ok(),
                "round {round}: frame {n} at {}",
                starts[n]
            );
        }
        assert!(recovery.messages.len() >= 18 - usize::from(to - from > 40));
        assert_eq!(recovery.messages.len(), store.reader().len());
        let missing = recovery.messages.len() < 20;
        assert_eq!(missing, !recovery.faults.is_empty() || recovery.torn > 0);
        assert_eq!(missing, !disk.files("/q/damaged").is_empty(), "set aside");
        drop(store);
        let (_, recovery) = open(&disk, 10);
        assert!(recovery.faults.is_empty(), "reported once");
    }
}

fn segments_or_any(disk: &MemDisk) -> Vec<PathBuf> {
    let used = segments(disk);
    if used.is_empty() {
        disk.files("/q/log")
    } else {
        used
    }
}

#[test]
fn large_bodies_have_files_that_end_with_their_messages() {
    let (disk, random) = (MemDisk::default(), Seeded::new(1));
    let (mut store, _) = open(&disk, 1);
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let (kept, orphan) = (
        store.large_body(&body).unwrap(),
        store.large_body(b"orphan").unwrap(),
    );
    let new = id(1, &random);
    let large = NewMessage {
        body: Body::Large(kept),
        ..message(new, 1, b"")
    };
    store.write(&[commit(large)])[0].unwrap();
    drop((store, orphan));
    disk.crash(|| false);
    let (mut store, recovery) = open(&disk, 2);
    assert_eq!((recovery.messages.len(), recovery.orphans), (1, 1));
    assert_eq!(octets(&store, new)[17..], body);
    store.write(&[settle(new, vec![(0, delivered())], vec![])])[0].unwrap();
    store.housekeep();
    assert_eq!(disk.files("/q/large"), [] as [PathBuf; 0]);
}

#[test]
fn a_damaged_large_body_is_not_passed_on_as_if_it_were_whole() {
    let (disk, random) = (MemDisk::default(), Seeded::new(1));
    let (mut store, _) = open(&disk, 1);
    let body = store.large_body(&vec![b'x'; 500_000]).unwrap();
    let new = id(1, &random);
    let large = NewMessage {
        body: Body::Large(body),
        ..message(new, 1, b"")
    };
    store.write(&[commit(large)])[0].unwrap();
    disk.damage(&disk.files("/q/large")[0], |octets| octets[300_000] = b'y');
    let mut content = store.read(new).unwrap().content();
    let error = loop {
        match content.next_blocking() {
            Ok(piece) => assert!(piece.is_some(), "the damage was not seen"),
            Err(e) => break e,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[test]
fn edits_change_what_they_name_and_nothing_else() {
    let (disk, random) = (MemDisk::default(), Seeded::new(1));
    let (mut store, _) = open(&disk, 1);
    let new = id(1, &random);
    let mut m = message(
        new,
        1,
        b"A: 1\r\nB: 2\r\n folded\r\nb : 3\r\nC: 4\r\n\r\nbody\r\n",
    );
    m.prelude.edits = vec![
        Edit::Delete {
            name: "C".into(),
            nth: 0,
        },
        Edit::Replace {
            name: "B".into(),
            nth: 1,
            field: b"B: new\r\n"[..].into(),
        },
        Edit::Insert {
            at: 0,
            field: b"Top: 0\r\n"[..].into(),
        },
        Edit::Replace {
            name: "D".into(),
            nth: 0,
            field: b"D: 5\r\n"[..].into(),
        },
    ];
    store.write(&[commit(m.clone())])[0].unwrap();
    let expected = "Received: by us\r\nTop: 0\r\nA: 1\r\nB: 2\r\n folded\r\nB: new\r\nD: 5\r\n";
    assert_eq!(
        octets(&store, new),
        format!("{expected}\r\nbody\r\n").as_bytes()
    );
    m.envelope.id = id(2, &random);
    m.prelude.body = Some(bytes::Bytes::from_static(b"other\r\n"));
    store.write(&[commit(m.clone())])[0].unwrap();
    assert_eq!(
        octets(&store, m.envelope.id),
        format!("{expected}\r\nother\r\n").as_bytes()
    );
}

#[test]
fn what_breaks_a_limit_is_refused_and_the_rest_of_the_group_is_kept() {
    let (disk, random) = (MemDisk::default(), Seeded::new(1));
    let (mut store, _) = open(&disk, 1);
    let ids: Vec<_> = (0..5).map(|n| id(n, &random)).collect();
    let group = [
        commit(message(ids[0], 0, b"no recipient")),
        commit(message(ids[1], 1, &vec![b'x'; 200 << 10])),
        commit(message(ids[2], 1, b"good")),
        commit(message(ids[2], 1, b"same id")),
        settle(ids[3], vec![(0, delivered())], vec![]),
        settle(ids[2], vec![(7, delivered())], vec![]),
    ];
    let expected = [
        Err(WriteError::TooLarge),
        Err(WriteError::TooLarge),
        Ok(()),
        Err(WriteError::Unknown),
        Err(WriteError::Unknown),
        Err(WriteError::Unknown),
    ];
    assert_eq!(store.write(&group), expected);
    assert_eq!(octets(&store, ids[2]), b"Received: by us\r\ngood");
}

#[test]
fn many_attempts_are_merged_so_that_reading_stays_short() {
    let (disk, random) = (MemDisk::default(), Seeded::new(1));
    let (mut store, _) = open(&disk, 1);
    let new = id(1, &random);
    store.write(&[commit(message(new, 3, b"x"))])[0].unwrap();
    for n in 1..200 {
        let who = n % 2;
        store.write(&[settle(new, vec![(who, deferred(n))], vec![])])[0].unwrap();
        store.housekeep();
    }
    let expected = [deferred(198), deferred(199), Progress::default()];
    for seed in 2..4 {
        let stored = store.read(new).unwrap();
        let progress: Vec<_> = stored
            .envelope()
            .recipients
            .iter()
            .map(|r| r.progress.clone())
            .collect();
        assert_eq!(progress, expected);
        drop(store);
        store = open(&disk, seed).0;
    }
}
