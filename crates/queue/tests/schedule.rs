//! The schedule, verb by verb, and against its own books under random use.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may stop"
)]

use std::time::Duration;

use posthaste_queue::backoff::Intervals;
use posthaste_queue::envelope::ByMode;
use posthaste_queue::id::QueueId;
use posthaste_queue::schedule::{
    Expiry, NewMessage, NewRecipient, Next, Purpose, Refused, Schedule, Settings, Standing, Wishes,
    Work,
};
use posthaste_world::{Random, Timestamp};

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Randomness whose every octet is the same.
struct Octet(u8);

impl Random for Octet {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

fn id(n: u64) -> QueueId {
    QueueId::new(at(n), &Octet(7))
}

fn at(s: u64) -> Timestamp {
    Timestamp::from_secs(s)
}

fn settings() -> Settings {
    Settings {
        intervals: Intervals::new(&[60, 300, 900].map(Duration::from_secs)),
        workers: 100,
        workers_per_destination: 3,
        classes: vec![
            Expiry {
                notice_after: Some(Duration::from_secs(4 * HOUR)),
                expire_after: Duration::from_secs(5 * DAY),
            },
            Expiry {
                notice_after: None,
                expire_after: Duration::from_secs(DAY),
            },
        ],
    }
}

fn schedule() -> Schedule {
    Schedule::new(settings())
}

fn to(index: u32, destination: &str, due: u64) -> NewRecipient<'_> {
    NewRecipient {
        index,
        destination,
        due: at(due),
        again: false,
        held: false,
        noticed: false,
    }
}

fn enter(s: &mut Schedule, n: u64, recipients: &[NewRecipient<'_>]) {
    assert!(s.insert(&NewMessage {
        id: id(n),
        begins: at(n),
        wishes: Wishes::default(),
        class: 0,
        recipients,
    }));
    s.check().unwrap();
}

fn names(started: &[std::sync::Arc<str>]) -> Vec<&str> {
    started.iter().map(|d| &**d).collect()
}

fn close(work: &[u32]) -> Vec<(u32, Next)> {
    work.iter().map(|i| (*i, Next::Closed)).collect()
}

#[test]
fn a_message_is_attempted_and_gone_when_its_recipients_are_closed() {
    let mut s = schedule();
    enter(&mut s, 1, &[to(0, "a", 1), to(1, "b", 1), to(2, "a", 1)]);
    assert_eq!(s.next_due(), Some(at(1)));
    assert_eq!(s.ready(at(0)), []);
    assert_eq!(names(&s.ready(at(1))), ["a", "b"]);
    let a = s.take("a", at(1)).unwrap();
    assert_eq!((a.id, &a.recipients[..]), (id(1), &[0, 2][..]));
    assert_eq!(s.take("a", at(1)), None);
    let b = s.take("b", at(1)).unwrap();
    s.finish(&a, &close(&a.recipients));
    s.check().unwrap();
    assert_eq!(s.counts().messages, 1);
    s.finish(&b, &close(&b.recipients));
    s.leave("a");
    s.leave("b");
    s.check().unwrap();
    assert_eq!(s.counts(), Default::default());
    assert_eq!(s.next_due(), None);
}

#[test]
fn a_clock_that_is_set_back_takes_the_waits_for_another_attempt_with_it() {
    let mut s = schedule();
    let noon = 12 * HOUR;
    enter(&mut s, 1, &[to(0, "a", noon)]);
    enter(&mut s, 2, &[to(0, "b", noon)]);
    // Its sender wants it to go out at this time, whatever the clock does until then.
    enter(&mut s, 3, &[to(0, "c", noon + 100)]);
    assert_eq!(names(&s.ready(at(noon))), ["a", "b"]);
    let (a, b) = (s.take("a", at(noon)), s.take("b", at(noon)));
    let later = Next::Retry { at: at(noon + 60) };
    s.finish(&a.unwrap(), &[(0, later)]);
    s.destination_failed("b", "no connection", at(noon));
    s.finish(&b.unwrap(), &[(0, Next::Retry { at: at(noon) })]);
    s.leave("a");
    s.leave("b");
    let morning = noon - 3 * HOUR;
    assert_eq!(s.ready(at(morning)), []);
    s.check().unwrap();
    assert_eq!(s.ready(at(morning + 59)), []);
    assert_eq!(names(&s.ready(at(morning + 60))), ["a", "b"]);
    assert!(s.take("a", at(morning + 60)).is_some() && s.take("b", at(morning + 60)).is_some());
    assert_eq!(s.ready(at(noon + 99)), []);
    assert_eq!(names(&s.ready(at(noon + 100))), ["c"]);
}

#[test]
fn a_transaction_has_at_most_a_hundred_recipients() {
    let mut s = schedule();
    let many: Vec<_> = (0..250).map(|i| to(i, "a", 1)).collect();
    enter(&mut s, 1, &many);
    let sizes: Vec<_> = std::iter::from_fn(|| s.take("a", at(1)))
        .map(|w| w.recipients.len())
        .collect();
    assert_eq!(sizes, [100, 100, 50]);
}

#[test]
fn destinations_take_turns_and_get_no_more_workers_than_allowed() {
    let mut s = schedule();
    for n in 0..10 {
        enter(&mut s, n, &[to(0, "big", n)]);
    }
    enter(&mut s, 20, &[to(0, "small", 20)]);
    let started = s.ready(at(20));
    assert_eq!(names(&started), ["big", "small", "big", "big"]);
    assert_eq!(s.ready(at(20)), []);
    s.check().unwrap();
}

#[test]
fn one_message_never_starts_two_workers() {
    let mut s = schedule();
    enter(&mut s, 1, &[to(0, "a", 1)]);
    assert_eq!(names(&s.ready(at(1))), ["a"]);
    assert_eq!(s.ready(at(1)), []);
    enter(&mut s, 2, &[to(0, "a", 1)]);
    assert_eq!(names(&s.ready(at(1))), ["a"]);
}

#[test]
fn the_limit_on_all_workers_holds_and_the_turn_is_kept() {
    let mut s = Schedule::new(Settings {
        workers: 2,
        ..settings()
    });
    for (n, d) in [(1, "a"), (2, "b"), (3, "c")] {
        enter(&mut s, n, &[to(0, d, 1)]);
    }
    assert_eq!(names(&s.ready(at(5))), ["a", "b"]);
    assert!(
        s.next_due().unwrap() > at(5),
        "no call is needed before a worker leaves"
    );
    s.take("a", at(5)).unwrap();
    s.leave("a");
    assert_eq!(s.next_due(), Some(Timestamp::EPOCH));
    assert_eq!(names(&s.ready(at(5))), ["c"]);
    s.check().unwrap();
}

#[test]
fn a_dead_destination_is_probed_once_an_interval_with_one_message() {
    let mut s = schedule();
    for n in 0..50 {
        enter(&mut s, n, &[to(0, "dead", 0)]);
    }
    let mut attempts = Vec::new();
    let mut now = 100;
    while now < 100 + 3 * HOUR {
        for d in s.ready(at(now)) {
            while let Some(work) = s.take(&d, at(now)) {
                attempts.push(now - 100);
                s.destination_failed(&d, "connection refused", at(now));
                s.finish(&work, &[(0, Next::Retry { at: at(now) })]);
            }
            s.leave(&d);
        }
        s.check().unwrap();
        now = s.next_due().unwrap().as_secs().max(now + 1);
    }
    assert_eq!(&attempts[..4], [0, 60, 360, 1260]);
    assert_eq!(attempts.len(), 3 + 3 * 4 - 1);
    let dead = s.destination_named("dead").unwrap();
    let failure = dead.failure.unwrap();
    assert_eq!(&*failure.reason, "connection refused");
    assert_eq!((failure.since, dead.waiting), (at(100), 50));
}

#[test]
fn a_destination_that_works_again_gets_everything_at_once() {
    let mut s = schedule();
    for n in 0..50 {
        enter(&mut s, n, &[to(0, "d", 0)]);
    }
    s.ready(at(100));
    let work = s.take("d", at(100)).unwrap();
    s.destination_failed("d", "no route", at(100));
    s.finish(&work, &[(0, Next::Retry { at: at(100) })]);
    (0..3).for_each(|_| s.leave("d"));
    assert_eq!(s.ready(at(159)), []);
    assert_eq!(names(&s.ready(at(160))), ["d"]);
    let probe = s.take("d", at(160)).unwrap();
    assert_ne!(
        probe.id, work.id,
        "another message than the first is the probe"
    );
    assert_eq!(s.take("d", at(160)), None, "there is one probe only");
    s.destination_ok("d");
    s.finish(&probe, &[(0, Next::Closed)]);
    assert_eq!(names(&s.ready(at(160))), ["d", "d"]);
    assert_eq!(std::iter::from_fn(|| s.take("d", at(160))).count(), 49);
    s.check().unwrap();
}

#[test]
fn workers_that_fail_together_are_one_failure() {
    let mut s = schedule();
    for n in 0..3 {
        enter(&mut s, n, &[to(0, "d", 0)]);
    }
    s.ready(at(10));
    let works: Vec<_> = std::iter::from_fn(|| s.take("d", at(10))).collect();
    for work in &works {
        s.destination_failed("d", "reset", at(11));
        s.finish(work, &[(0, Next::Retry { at: at(11) })]);
        s.leave("d");
    }
    let failure = s.destination_named("d").unwrap().failure.unwrap();
    assert_eq!((failure.count, failure.until), (1, at(71)));
}

#[test]
fn a_destination_that_never_worked_gets_few_workers_and_all_once_it_did() {
    let mut s = Schedule::new(Settings {
        workers_per_destination: 20,
        ..settings()
    });
    for n in 0..50 {
        enter(&mut s, n, &[to(0, "new", 0)]);
    }
    let before = s.ready(at(1)).len();
    assert_eq!(before, 5);
    s.destination_ok("new");
    assert_eq!(s.ready(at(1)).len(), 15);
    s.check().unwrap();
}

#[test]
fn a_delay_notice_and_the_expiry_come_in_time_though_the_destination_is_dead() {
    let mut s = schedule();
    enter(&mut s, 0, &[to(0, "dead", 0), to(1, "slow", 0)]);
    s.finish_first_attempts();
    assert_eq!(s.notices(at(4 * HOUR - 1), 10), []);
    let notice = s.notices(at(4 * HOUR), 10).remove(0);
    assert_eq!(
        (notice.purpose.clone(), notice.recipients.len()),
        (Purpose::DelayNotice, 2)
    );
    assert_eq!(s.take("dead", at(4 * HOUR)), None, "it is in other hands");
    s.finish(&notice, &[(0, Next::Unchanged)]);
    let rest = s.notices(at(5 * HOUR), 10).remove(0);
    assert_eq!(rest.recipients, [1], "whom the first notice did not name");
    s.finish(&rest, &[(1, Next::Unchanged)]);
    assert_eq!(s.notices(at(5 * HOUR), 10), [], "one notice is enough");
    let expiry = s.notices(at(5 * DAY), 10).remove(0);
    assert_eq!(expiry.purpose, Purpose::Expiry);
    s.finish(&expiry, &close(&expiry.recipients));
    assert_eq!(s.counts().messages, 0);
    s.check().unwrap();
}

/// What the tests need and the program does not.
trait Shortcuts {
    fn finish_first_attempts(&mut self);
    fn operate(&mut self, n: u64, next: Next);
}

impl Shortcuts for Schedule {
    /// Does the same to all recipients of a message, as the operator.
    fn operate(&mut self, n: u64, next: Next) {
        let work = self.claim(id(n)).unwrap();
        let all: Vec<_> = work.recipients.iter().map(|i| (*i, next.clone())).collect();
        self.finish(&work, &all);
        self.check().unwrap();
    }

    /// Attempts whatever is due at second 1, and defers it for a long time.
    fn finish_first_attempts(&mut self) {
        for d in self.ready(at(1)) {
            while let Some(w) = self.take(&d, at(1)) {
                let later = Next::Retry { at: at(100 * DAY) };
                let all: Vec<_> = w.recipients.iter().map(|i| (*i, later.clone())).collect();
                self.finish(&w, &all);
            }
            self.leave(&d);
        }
        self.check().unwrap();
    }
}

#[test]
fn held_recipients_neither_expire_nor_are_attempted_until_released() {
    let mut s = schedule();
    enter(&mut s, 0, &[to(0, "a", 0)]);
    s.operate(0, Next::Hold);
    assert_eq!(s.get(id(0)).unwrap().recipients[0].standing, Standing::Held);
    assert_eq!((s.next_due(), s.counts().held), (None, 1));
    assert_eq!(s.notices(at(9 * DAY), 10), []);
    s.operate(0, Next::Retry { at: at(0) });
    assert_eq!(
        s.notices(at(9 * DAY), 10),
        [],
        "it is tried before it expires"
    );
    assert_eq!(names(&s.ready(at(9 * DAY))), ["a"]);
    let work = s.take("a", at(9 * DAY)).unwrap();
    s.finish(
        &work,
        &[(
            0,
            Next::Retry {
                at: at(9 * DAY + HOUR),
            },
        )],
    );
    assert_eq!(s.notices(at(9 * DAY), 10).len(), 1);
    s.check().unwrap();
}

#[test]
fn what_was_not_tried_since_start_up_does_not_expire_unless_its_destination_fails() {
    let mut s = schedule();
    enter(&mut s, 0, &[to(0, "a", 0)]);
    enter(&mut s, 1, &[to(0, "a", 0)]);
    let late = 9 * DAY;
    assert_eq!(s.notices(at(late), 10), []);
    assert_eq!(s.next_due(), Some(at(0)), "the attempt comes first");
    s.ready(at(late));
    let work = s.take("a", at(late)).unwrap();
    s.destination_failed("a", "no route", at(late));
    s.finish(&work, &[(0, Next::Retry { at: at(late) })]);
    let expired = s.notices(at(late + MINUTE), 10);
    assert_eq!(expired.len(), 2);
    s.put_back(&expired[0], at(late + MINUTE));
    assert_eq!(s.notices(at(late + MINUTE), 10), [], "not at once again");
    assert_eq!(s.notices(at(late + 2 * MINUTE), 10).len(), 1);
    s.check().unwrap();
}

#[test]
fn notices_are_bounded_in_a_call_and_lose_nothing() {
    let mut s = schedule();
    for n in 0..25 {
        enter(&mut s, n, &[to(0, "a", 0)]);
    }
    s.ready(at(30));
    let work = s.take("a", at(30)).unwrap();
    s.destination_failed("a", "no route", at(30));
    s.finish(&work, &[]);
    let calls: Vec<_> = (0..4).map(|_| s.notices(at(6 * DAY), 10).len()).collect();
    assert_eq!(calls, [10, 10, 5, 0]);
}

#[test]
fn a_message_in_flight_is_refused_to_the_operator_with_a_clear_answer() {
    let mut s = schedule();
    enter(&mut s, 0, &[to(0, "a", 0), to(1, "b", 0)]);
    let work = s.take("a", at(1)).unwrap();
    assert_eq!(s.claim(id(0)), Err(Refused::InFlight));
    s.put_back(&work, at(1));
    let claimed = s.claim(id(0)).unwrap();
    assert_eq!(claimed.recipients, [0, 1]);
    assert_eq!(s.take("b", at(1)), None, "the operator has it");
    s.finish(&claimed, &close(&claimed.recipients));
    assert_eq!(s.claim(id(0)), Err(Refused::Unknown));
    s.check().unwrap();
}

#[test]
fn an_attempt_may_end_in_a_hold() {
    let mut s = schedule();
    enter(&mut s, 0, &[to(0, "a", 0)]);
    let work = s.take("a", at(1)).unwrap();
    s.finish(&work, &[(0, Next::Hold)]);
    assert_eq!(s.ready(at(10)), []);
    assert_eq!(s.get(id(0)).unwrap().recipients[0].standing, Standing::Held);
    s.check().unwrap();
}

#[test]
fn retry_now_opens_a_failed_destination_for_a_probe() {
    let mut s = schedule();
    enter(&mut s, 0, &[to(0, "a", 0)]);
    s.ready(at(1));
    let work = s.take("a", at(1)).unwrap();
    s.destination_failed("a", "no route", at(1));
    s.finish(&work, &[(0, Next::Retry { at: at(HOUR) })]);
    s.leave("a");
    assert_eq!(s.ready(at(5)), []);
    assert!(s.retry_now(id(0), at(5)));
    assert_eq!(names(&s.ready(at(5))), ["a"]);
    assert!(s.take("a", at(5)).is_some());
    s.check().unwrap();
}

#[test]
fn a_recipient_whose_route_changed_moves_to_its_new_destination() {
    let mut s = schedule();
    enter(&mut s, 0, &[to(0, "a", 0), to(1, "a", 0)]);
    s.ready(at(1));
    let work = s.take("a", at(1)).unwrap();
    let moved = Next::Move {
        destination: "b".into(),
        at: at(1),
    };
    s.finish(&work, &[(0, Next::Closed), (1, moved)]);
    s.leave("a");
    assert_eq!(names(&s.ready(at(1))), ["b"]);
    assert_eq!(s.take("b", at(1)).unwrap().recipients, [1]);
    assert_eq!(s.counts().destinations, 1);
    s.check().unwrap();
}

#[test]
fn a_listing_goes_on_after_the_last_id() {
    let mut s = schedule();
    for n in 0..5 {
        enter(&mut s, n, &[to(0, "a", 9)]);
    }
    let first: Vec<_> = s.list(None).take(2).map(|m| m.id).collect();
    let rest: Vec<_> = s.list(first.last().copied()).map(|m| m.id).collect();
    assert_eq!([first, rest].concat(), [0, 1, 2, 3, 4].map(id));
}

#[test]
fn new_settings_hold_for_what_is_queued() {
    let mut s = schedule();
    enter(&mut s, 0, &[to(0, "a", 0)]);
    s.finish_first_attempts();
    let mut shorter = settings();
    shorter.classes[0].expire_after = Duration::from_secs(HOUR);
    s.set_settings(shorter);
    assert_eq!(s.notices(at(HOUR), 10).len(), 1);
    s.check().unwrap();
}

mod random_use {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 4] = ["a", "b", "c", "d"];

    /// A schedule, and the work that was handed out.
    struct User {
        schedule: Schedule,
        works: Vec<Work>,
        now: u64,
    }

    impl User {
        fn call(&mut self, verb: u8, n: usize, k: usize) {
            let (s, now) = (&mut self.schedule, at(self.now));
            let (message, name) = (id(n as u64), NAMES[k]);
            match verb {
                0 | 1 => self.enter(n, k),
                2 => drop(s.ready(now)),
                3 | 4 => self.works.extend(s.take(name, now)),
                5 => self.finish(n, name),
                6 => {
                    if let Some(work) = self.works.pop() {
                        s.put_back(&work, now);
                    }
                }
                7 => s.leave(name),
                8 => s.destination_failed(name, "down", now),
                9 => s.destination_ok(name),
                10 => self.works.extend(s.claim(message)),
                11 => self.works.extend(s.notices(now, 2)),
                _ => {
                    s.retry_now(message, now);
                    self.now += (n * n * n * 600) as u64;
                }
            }
        }

        fn enter(&mut self, n: usize, k: usize) {
            let recipients: Vec<_> = (0..=k)
                .map(|i| to(i as u32, NAMES[(n + i) % 3], self.now))
                .collect();
            self.schedule.insert(&NewMessage {
                id: id(n as u64),
                begins: at(self.now),
                wishes: Wishes {
                    priority: (n % 3) as i8,
                    by: (k == 2).then(|| (at(self.now + n as u64), ByMode::Return)),
                },
                class: 0,
                recipients: &recipients,
            });
        }

        fn finish(&mut self, n: usize, name: &str) {
            if self.works.is_empty() {
                return;
            }
            let work = self.works.swap_remove(n % self.works.len());
            let now = at(self.now);
            let later = at(self.now + n as u64);
            let destination = name.into();
            let next = [
                Next::Closed,
                Next::Retry { at: later },
                Next::Hold,
                Next::Move {
                    destination,
                    at: now,
                },
            ];
            let choose = |i: &u32| (*i, next[(*i as usize + n) % 4].clone());
            let outcomes: Vec<_> = work.recipients.iter().map(choose).collect();
            self.schedule.finish(&work, &outcomes);
        }
    }

    proptest! {
        /// Whatever is called in whatever order: the books balance, and nothing is handed out
        /// twice.
        #[test]
        fn the_books_balance_after_any_calls(
            calls in proptest::collection::vec((0u8..13, 0usize..12, 0usize..4), 1..200)
        ) {
            let mut user = User { schedule: schedule(), works: Vec::new(), now: 1000 };
            for (verb, n, k) in calls {
                user.call(verb, n, k);
                prop_assert_eq!(user.schedule.check(), Ok(()));
                let works = user.works.iter();
                let mut handed: Vec<_> =
                    works.flat_map(|w| w.recipients.iter().map(|i| (w.id, *i))).collect();
                let all = handed.len();
                handed.sort();
                handed.dedup();
                prop_assert_eq!(handed.len(), all, "handed out twice");
                prop_assert_eq!(user.schedule.counts().in_flight, all);
            }
        }
    }
}

/// Enters a message for one recipient at `a`, due at once, as its sender wishes.
fn enter_wished(s: &mut Schedule, n: u64, wishes: Wishes) {
    assert!(s.insert(&NewMessage {
        id: id(n),
        begins: at(n),
        wishes,
        class: 0,
        recipients: &[to(0, "a", n)],
    }));
    s.check().unwrap();
}

fn urgent(priority: i8) -> Wishes {
    Wishes { priority, by: None }
}

#[test]
fn what_is_urgent_goes_first_and_what_waits_grows_urgent() {
    let mut s = schedule();
    enter_wished(&mut s, 1, urgent(0));
    enter_wished(&mut s, 2, urgent(-9));
    enter_wished(&mut s, 3, urgent(4));
    enter_wished(&mut s, 4, urgent(4));
    enter_wished(&mut s, 5, urgent(0));
    // Due, but nobody had the time for it for longer than one step of priority is worth.
    let late = 6 + 10 * MINUTE;
    enter_wished(&mut s, late, urgent(1));
    let order: Vec<_> = std::iter::from_fn(|| s.take("a", at(late)))
        .map(|w| w.id)
        .collect();
    let expected = [3, 4, 1, 5, late, 2].map(id);
    assert_eq!(order, expected);
    assert_eq!(s.take("a", at(late)), None);
    s.check().unwrap();
}

#[test]
fn nothing_urgent_is_handed_out_before_it_is_due() {
    let mut s = schedule();
    enter_wished(&mut s, 100, urgent(9));
    enter_wished(&mut s, 50, urgent(-9));
    assert_eq!(s.next_due(), Some(at(50)));
    assert_eq!(s.take("a", at(60)).unwrap().id, id(50));
    assert_eq!(s.take("a", at(60)), None);
}

#[test]
fn a_message_that_must_be_there_in_time_expires_then_tried_or_not() {
    let mut s = schedule();
    let by = |mode| Wishes {
        priority: 0,
        by: Some((at(100), mode)),
    };
    enter_wished(&mut s, 1, by(ByMode::Return));
    enter_wished(&mut s, 2, by(ByMode::Notify));
    assert_eq!(s.get(id(1)).unwrap().expires, at(100));
    assert_eq!(s.notices(at(99), 10), []);
    let works = s.notices(at(100), 10);
    let purposes: Vec<_> = works.iter().map(|w| (w.id, w.purpose.clone())).collect();
    assert_eq!(purposes, [(id(1), Purpose::Expiry)]);
    s.finish(&works[0], &close(&[0]));
    // The other one is tried first; then its sender is told, and it goes on.
    let work = s.take("a", at(100)).unwrap();
    s.finish(&work, &[(0, Next::Retry { at: at(400) })]);
    let works = s.notices(at(200), 10);
    let purposes: Vec<_> = works.iter().map(|w| (w.id, w.purpose.clone())).collect();
    assert_eq!(purposes, [(id(2), Purpose::DelayNotice)]);
    s.finish(&works[0], &[(0, Next::Unchanged)]);
    assert_eq!(s.notices(at(DAY), 10), []);
    s.check().unwrap();
}
