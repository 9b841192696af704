//! Random commits, settlements, failures, housekeeping and crashes against a map.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may stop"
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use posthaste_queue::QueueId;
use posthaste_queue::spool::{Change, Store};
use support::*;

/// What must be there: the body's length, and per recipient the attempts so far, `None` once ended.
type Model = BTreeMap<QueueId, (usize, Vec<Option<u32>>)>;

/// What a change does to the model once it is made.
type Effect = Box<dyn FnOnce(&mut Model)>;

struct Run {
    disk: MemDisk,
    store: Option<Store>,
    model: Model,
    random: Seeded,
    next: u64,
}

impl Run {
    fn draw(&self, below: u64) -> u64 {
        self.random.draw() % below
    }

    fn pick(&self) -> Option<QueueId> {
        let n = self.draw(self.model.len().max(1) as u64);
        self.model.keys().nth(usize::try_from(n).unwrap()).copied()
    }

    fn commit(&mut self) -> (Change, Effect) {
        self.next += 1;
        let new = id(self.next, &self.random);
        let recipients = [1, 1, 1, 2, 3, 70][usize::try_from(self.draw(6)).unwrap()];
        let len = usize::try_from(self.draw(6000)).unwrap();
        let change = commit(message(new, recipients, &vec![b'x'; len]));
        (
            change,
            Box::new(move |m| drop(m.insert(new, (len, vec![Some(0); recipients])))),
        )
    }

    fn settle(&mut self) -> Option<(Change, Effect)> {
        let id = self.pick()?;
        let mut after = self.model[&id].clone();
        let mut updates = Vec::new();
        for (n, attempts) in after.1.iter_mut().enumerate() {
            let Some(done) = attempts else { continue };
            let index = u32::try_from(n).unwrap();
            match self.draw(4) {
                0 => {}
                1 => {
                    updates.push((index, deferred(*done + 1)));
                    *attempts = Some(*done + 1);
                }
                _ => {
                    updates.push((index, delivered()));
                    *attempts = None;
                }
            }
        }
        let report = self.draw(8) == 0;
        let (mut reports, mut entered) = (Vec::new(), None);
        if report {
            self.next += 1;
            let new = support::id(self.next, &self.random);
            reports.push(message(new, 1, b"report"));
            entered = Some(new);
        }
        let effect = move |m: &mut Model| {
            if after.1.iter().all(Option::is_none) {
                m.remove(&id);
            } else {
                m.insert(id, after);
            }
            m.extend(entered.map(|new| (new, (6, vec![Some(0)]))));
        };
        Some((settle(id, updates, reports), Box::new(effect)))
    }

    fn group(&mut self) {
        let mut changes = Vec::new();
        let mut effects = Vec::new();
        let mut settled = Vec::new();
        for _ in 0..=self.draw(5) {
            let next = if self.draw(2) == 0 {
                Some(self.commit())
            } else {
                self.settle()
            };
            let Some((change, effect)) = next else {
                continue;
            };
            // The model settles a message once a group.
            if settled.contains(&change.id()) {
                continue;
            }
            settled.push(change.id());
            changes.push(change);
            effects.push(effect);
        }
        let results = self.store.as_mut().unwrap().write(&changes);
        if std::env::var("TRACE").is_ok() {
            for (c, r) in changes.iter().zip(&results) {
                let kind = match c {
                    Change::Commit(_) => "commit",
                    Change::Settle(_) => "settle",
                };
                println!("{kind} {} {r:?}", c.id());
            }
        }
        for (result, effect) in results.iter().zip(effects) {
            if result.is_ok() {
                effect(&mut self.model);
            }
        }
    }

    fn open(&mut self) {
        self.store = None;
        self.disk.calm();
        let random = Arc::new(Seeded::new(self.random.draw()));
        let disk = Arc::new(self.disk.clone());
        let opened = Store::open(disk, random, Path::new("/q"), &settings(64 << 10), &key);
        let (store, recovery) = opened.unwrap();
        assert!(recovery.faults.is_empty(), "{:?}", recovery.faults);
        let waiting: Vec<_> = recovery.messages.iter().map(|m| m.id).collect();
        assert_eq!(waiting, self.model.keys().copied().collect::<Vec<_>>());
        for (message, (_, recipients)) in recovery.messages.iter().zip(self.model.values()) {
            let open: Vec<_> = (0..).zip(recipients).filter(|(_, r)| r.is_some()).collect();
            let open: Vec<u32> = open.into_iter().map(|(n, _)| n).collect();
            assert_eq!(
                message
                    .recipients
                    .iter()
                    .map(|r| r.index)
                    .collect::<Vec<_>>(),
                open
            );
        }
        self.store = Some(store);
    }

    fn check(&self) {
        let store = self.store.as_ref().unwrap();
        assert_eq!(
            store.reader().ids(),
            self.model.keys().copied().collect::<Vec<_>>()
        );
        for (id, (len, recipients)) in &self.model {
            let stored = store.read(*id).unwrap_or_else(|e| panic!("{id}: {e}"));
            assert_eq!(stored.size(), *len as u64 + 17);
            for (recipient, expected) in stored.envelope().recipients.iter().zip(recipients) {
                let progress = &recipient.progress;
                let found = (!progress.state.is_final()).then_some(progress.attempts);
                assert_eq!(found, *expected, "{id}");
            }
        }
    }

    fn step(&mut self) {
        let n = self.draw(20);
        if std::env::var("TRACE").is_ok() {
            println!("step {n} {:?}", self.store);
        }
        match n {
            0 => {
                let bias = self.draw(5);
                let random = Seeded::new(self.random.draw());
                self.disk.crash(|| random.draw() % 4 < bias);
                self.open();
                self.check();
            }
            1 => self.disk.fail_sync(self.draw(6)),
            2 => self.disk.fail_write(self.draw(6)),
            3 => {
                if let Some(store) = self.store.take() {
                    store.close();
                }
                self.open();
            }
            4..10 => {
                for _ in 0..self.draw(6) {
                    self.store.as_mut().unwrap().housekeep();
                }
            }
            _ => self.group(),
        }
    }
}

#[test]
fn the_store_is_a_map_that_outlives_crashes() {
    let seeds = std::env::var("SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(150);
    let first = std::env::var("SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    for seed in first..first + seeds {
        println!("seed {seed}; run it alone with SEED={seed} SEEDS=1");
        let (disk, random) = (MemDisk::default(), Seeded::new(seed));
        let mut run = Run {
            disk,
            store: None,
            model: Model::new(),
            random,
            next: 0,
        };
        run.open();
        for _ in 0..200 {
            run.step();
        }
        run.disk.crash(|| true);
        run.open();
        run.check();
    }
}
