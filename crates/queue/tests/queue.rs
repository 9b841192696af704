//! The queue with the doors of production, in a folder that goes away.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop"
)]

mod support;

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use posthaste_queue::accounts::Accounts;
use posthaste_queue::backoff::Intervals;
use posthaste_queue::envelope::{Progress, Recipient, State};
use posthaste_queue::id::ReportKind;
use posthaste_queue::schedule::{self, Expiry, Work};
use posthaste_queue::spool::{Prelude, ReadError, Stored, WriteError};
use posthaste_queue::{Outcome, Queue, QueueId, Settings, invariants};
use posthaste_world::{World, real};
use support::{delivered, envelope, message};

fn settings(memory: usize) -> Settings {
    let expiry = Expiry {
        notice_after: None,
        expire_after: Duration::from_secs(86_400),
    };
    Settings {
        spool: posthaste_queue::spool::Settings {
            segment: 4 << 20,
            memory,
            ..posthaste_queue::spool::Settings::default()
        },
        schedule: schedule::Settings {
            intervals: Intervals::default(),
            workers: 100,
            workers_per_destination: 20,
            classes: vec![expiry],
        },
    }
}

fn open(world: &World, dir: &Path, memory: usize) -> (Arc<Queue>, usize) {
    let key = Arc::new(|r: &Recipient| r.address.domain().to_string());
    let (queue, opened) = Queue::open(world, dir, settings(memory), key).unwrap();
    assert!(opened.faults.is_empty(), "{:?}", opened.faults);
    (queue, opened.messages)
}

fn run<T>(test: impl AsyncFnOnce(World, &Path) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let runtime = real::runtime().unwrap();
    runtime.block_on(async {
        let world = real::world(&real::Settings::default()).unwrap();
        test(world, &dir.path().join("spool")).await
    })
}

fn new_id(world: &World) -> QueueId {
    QueueId::new(world.clock.now(), &*world.random)
}

async fn commit(queue: &Queue, id: QueueId, body: &[u8]) -> Result<(), WriteError> {
    let mut draft = queue.draft();
    for piece in body.chunks(16 << 10) {
        draft.write(piece).await?;
    }
    assert_eq!(draft.len(), body.len() as u64);
    let prelude = Prelude::trace(b"Received: by us\r\n".to_vec());
    let receipt = queue.commit(draft, envelope(id, 1), prelude).await?;
    assert_eq!(receipt.id(), id);
    assert_eq!(receipt.accepted().reply().code(), 250);
    Ok(())
}

async fn octets(stored: &Stored) -> Vec<u8> {
    let mut content = stored.content();
    let mut all = Vec::new();
    while let Some(piece) = content.next().await.unwrap() {
        all.extend_from_slice(&piece);
    }
    all
}

fn take(queue: &Queue) -> Work {
    let ready = queue.ready();
    let destination = ready.first().expect("a destination is ready");
    let work = queue.take(destination).expect("there is work");
    ready
        .iter()
        .for_each(|destination| queue.leave(destination));
    work
}

#[test]
fn who_was_tried_waits_no_longer_than_an_interval_after_a_restart() {
    run(async |world, dir| {
        let (queue, _) = open(&world, dir, 1 << 20);
        let id = new_id(&world);
        commit(&queue, id, b"x\r\n").await.unwrap();
        // As the clock said before it was set back by a day.
        let progress = Progress {
            attempts: 2,
            not_before: world.clock.now() + Duration::from_secs(86_400),
            ..Progress::default()
        };
        let again = Outcome {
            progress,
            ..outcome(0)
        };
        let work = take(&queue);
        queue.settle(work, vec![again], vec![]).await.unwrap();
        queue.close().await;
        drop(queue);
        let (queue, _) = open(&world, dir, 1 << 20);
        let due = queue.next_due().unwrap();
        assert!(
            due <= world.clock.now() + Intervals::default().after(2),
            "{due:?}"
        );
        queue.close().await;
    });
}

fn outcome(recipient: u32) -> Outcome {
    Outcome {
        recipient,
        progress: delivered(),
        destination: None,
    }
}

#[test]
fn a_message_goes_all_the_way() {
    run(async |world, dir| {
        let (queue, _) = open(&world, dir, 64 << 20);
        let id = new_id(&world);
        commit(&queue, id, b"Subject: x\r\n\r\nbody\r\n")
            .await
            .unwrap();
        assert_eq!(queue.counts().messages, 1, "known before the session is");
        let work = take(&queue);
        let stored = queue.read(work.id).await.unwrap();
        assert_eq!(
            octets(&stored).await,
            b"Received: by us\r\nSubject: x\r\n\r\nbody\r\n"
        );
        let report = QueueId::report(id, 0, ReportKind::Delivered);
        queue
            .settle(
                work,
                vec![outcome(0)],
                vec![message(report, 1, b"done\r\n")],
            )
            .await
            .unwrap();
        assert!(matches!(queue.read(id).await, Err(ReadError::Unknown)));
        assert_eq!(queue.get(report).unwrap().recipients.len(), 1);
        queue.close().await;
        assert_eq!(
            commit(&queue, new_id(&world), b"x").await,
            Err(WriteError::Closed)
        );
        let (queue, messages) = open(&world, dir, 64 << 20);
        assert_eq!(messages, 1);
        let stored = queue.read(report).await.unwrap();
        assert_eq!(octets(&stored).await, b"Received: by us\r\ndone\r\n");
    });
}

#[test]
fn a_report_that_is_queued_already_stays_as_it_is() {
    run(async |world, dir| {
        let (queue, _) = open(&world, dir, 64 << 20);
        let report = new_id(&world);
        commit(&queue, report, b"first").await.unwrap();
        let parent = new_id(&world);
        commit(&queue, parent, b"x").await.unwrap();
        queue.hold(report).await.unwrap();
        let again = vec![message(report, 1, b"second")];
        queue
            .settle(take(&queue), vec![outcome(0)], again)
            .await
            .unwrap();
        let stored = queue.read(report).await.unwrap();
        assert_eq!(octets(&stored).await, b"Received: by us\r\nfirst");
        assert!(stored.envelope().recipients[0].progress.held);
    });
}

#[test]
fn bodies_spill_under_pressure_and_none_is_refused() {
    run(async |world, dir| {
        let (queue, _) = open(&world, dir, 512 << 10);
        let mut tasks = Vec::new();
        for n in 0..40_usize {
            let (queue, world) = (queue.clone(), world.clone());
            tasks.push(tokio::spawn(async move {
                let body = vec![u8::try_from(n).unwrap(); 50_000 * (n + 1)];
                let id = new_id(&world);
                commit(&queue, id, &body).await.unwrap();
                (id, body)
            }));
        }
        for task in tasks {
            let (id, body) = task.await.unwrap();
            assert!(octets(&queue.read(id).await.unwrap()).await[17..] == body);
        }
        assert!(std::fs::read_dir(dir.join("large")).unwrap().count() >= 20);
        for _ in 0..40 {
            queue
                .settle(take(&queue), vec![outcome(0)], vec![])
                .await
                .unwrap();
        }
        assert_eq!(queue.counts().messages, 0);
        queue.close().await;
        let (_queue, messages) = open(&world, dir, 512 << 10);
        assert_eq!(messages, 0);
        assert_eq!(std::fs::read_dir(dir.join("large")).unwrap().count(), 0);
    });
}

#[test]
fn a_session_that_is_dropped_while_it_waits_loses_nothing() {
    run(async |world, dir| {
        let (queue, _) = open(&world, dir, 64 << 20);
        let id = new_id(&world);
        let mut draft = queue.draft();
        draft.write(b"x\r\n").await.unwrap();
        {
            let mut commit = pin!(queue.commit(draft, envelope(id, 1), Prelude::default()));
            // It is handed to the writer, and then nobody waits for it.
            let _ = commit
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
        }
        while queue.counts().messages == 0 {
            tokio::task::yield_now().await;
        }
        let work = take(&queue);
        {
            let mut settle = pin!(queue.settle(work, vec![outcome(0)], vec![]));
            let _ = settle
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
        }
        while queue.counts().messages == 1 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(queue.read(id).await, Err(ReadError::Unknown)));
    });
}

#[test]
fn a_dropped_draft_leaves_no_file() {
    run(async |world, dir| {
        let (queue, _) = open(&world, dir, 64 << 20);
        let mut draft = queue.draft();
        draft.write(&vec![b'x'; 2 << 20]).await.unwrap();
        let files = || std::fs::read_dir(dir.join("large")).unwrap().count();
        assert_eq!(files(), 1);
        drop(draft);
        while files() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn the_operator_holds_releases_and_removes_durably() {
    run(async |world, dir| {
        let (queue, _) = open(&world, dir, 64 << 20);
        let (kept, removed) = (new_id(&world), new_id(&world));
        commit(&queue, kept, b"kept").await.unwrap();
        commit(&queue, removed, b"removed").await.unwrap();
        queue.hold(kept).await.unwrap();
        queue.remove(removed).await.unwrap();
        assert!(queue.remove(removed).await.is_err());
        assert!(queue.ready().is_empty());
        queue.close().await;
        let (queue, messages) = open(&world, dir, 64 << 20);
        assert_eq!((messages, queue.counts().held), (1, 1));
        queue.release(kept).await.unwrap();
        let work = take(&queue);
        let refused = queue.hold(kept).await.unwrap_err().to_string();
        assert!(refused.contains("being attempted"), "{refused}");
        queue.put_back(&work);
        let stored = queue.read(kept).await.unwrap();
        assert_eq!(
            stored.envelope().recipients[0].progress.state,
            State::Queued
        );
    });
}

#[test]
fn the_books_say_where_every_recipient_is_and_balance() {
    run(async |world, dir| {
        let (queue, _) = open(&world, dir, 64 << 20);
        for _ in 0..4 {
            commit(&queue, new_id(&world), b"x").await.unwrap();
        }
        for state in [State::Delivered, State::Failed, State::Expired] {
            let ended = Outcome {
                progress: Progress {
                    state,
                    ..Progress::default()
                },
                ..outcome(0)
            };
            queue
                .settle(take(&queue), vec![ended], vec![])
                .await
                .unwrap();
        }
        let held = queue.list(None, 1)[0].id;
        queue.hold(held).await.unwrap();
        let known = Accounts {
            accepted: 4,
            delivered: 1,
            bounced: 1,
            expired: 1,
            held: 1,
            ..Accounts::default()
        };
        assert_eq!(queue.accounts(), known);
        assert_eq!(invariants::balanced(&known), Ok(()));
        queue.remove(held).await.unwrap();
        assert_eq!((queue.accounts().held, queue.accounts().removed), (0, 1));
        commit(&queue, new_id(&world), b"x").await.unwrap();
        queue.close().await;
        let (queue, _) = open(&world, dir, 64 << 20);
        let recovered = Accounts {
            recovered: 1,
            queued: 1,
            ..Accounts::default()
        };
        assert_eq!(queue.accounts(), recovered);
    });
}

#[test]
fn books_that_lack_a_recipient_or_have_one_twice_do_not_balance() {
    let fine = Accounts {
        recovered: 2,
        accepted: 3,
        delivered: 4,
        queued: 1,
        ..Accounts::default()
    };
    assert_eq!(invariants::balanced(&fine), Ok(()));
    for (queued, difference) in [(0, 1), (2, -1)] {
        let off = Accounts { queued, ..fine };
        assert_eq!(off.difference(), difference);
        assert!(invariants::balanced(&off).is_err());
    }
}
