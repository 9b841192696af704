//! Keys that take over from each other, over days of a clock that the test turns: only when the DNS
//! has them, whatever else happens.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use posthaste::sign::keys::{self, Editor, SigningKey};
use posthaste::sign::rotation::{LOOK, Rotation, Schedule};
use posthaste::sign::stage::{SETTLED, STAYS_FOR, Stage};
use posthaste::telemetry::Log;
use posthaste_world::World;

use crate::doors::{Files, Hosts, Inline, Names, Numbers, TestClock};

const DATA: &str = "/data";
const DOMAIN: &str = "ours.test";
const WAIT: Duration = Duration::from_secs(5 * 86_400);

/// A server's keys, and what becomes of them.
struct Scene {
    world: World,
    files: Arc<Files>,
    log: Arc<Log>,
    schedule: Schedule,
}

impl Scene {
    /// With a pair of keys that sign.
    fn start() -> Scene {
        let files = Files::with(&[DATA]);
        let clock = TestClock::start();
        let world = World {
            clock: clock.clone(),
            disk: files.clone(),
            net: Hosts::none(),
            dns: Names::table(""),
            random: Numbers::of(1),
            work: Arc::new(Inline),
        };
        let scene = Scene {
            log: Log::new(Box::new(std::io::sink()), clock),
            world,
            files,
            schedule: Schedule {
                rotate_every: None,
                longest_wait: WAIT,
            },
        };
        scene.make(Stage::Active);
        scene
    }

    /// What `generate` and `rotate` do.
    fn make(&self, stage: Stage) {
        let made = keys::make_pair(DOMAIN, self.world.clock.now(), stage).unwrap();
        let editor = Editor::begin(&*self.world.disk, Path::new(DATA)).unwrap();
        editor.add(DOMAIN, &made).unwrap();
    }

    /// A server that starts now, with these records in the DNS, looks once every [`LOOK`] for
    /// `time`; less often over days, in which nothing changes.
    async fn runs(&self, dns: &str, time: Duration) {
        let world = World {
            dns: Names::table(dns),
            ..self.world.clone()
        };
        let rotation = Rotation::new(&world, &self.log, DATA.into(), self.schedule);
        let pause = LOOK.max(time / 12);
        let end = self.world.clock.elapsed() + time;
        while self.world.clock.elapsed() < end {
            rotation.look().await;
            tokio::time::advance(pause).await;
        }
        rotation.look().await;
    }

    /// The words of all keys' stages, in the order of the list.
    fn stages(&self) -> Vec<&'static str> {
        let entries = keys::entries(&*self.world.disk, Path::new(DATA)).unwrap();
        entries.iter().map(|e| e.standing.stage.word()).collect()
    }

    fn keyring(&self) -> keys::Keyring {
        keys::read(&*self.world.disk, Path::new(DATA)).unwrap()
    }

    /// The records of keys that `wanted` picks.
    fn records(&self, wanted: impl Fn(&SigningKey) -> bool) -> String {
        let ring = self.keyring();
        let keys = ring.of(DOMAIN).iter().filter(|k| wanted(k));
        keys.map(|k| format!("txt {} {}\n", k.name(DOMAIN), k.key.public_record()))
            .collect()
    }

    /// Selectors that sign.
    fn signing(&self) -> Vec<String> {
        let ring = self.keyring();
        let (_, keys) = ring.for_author(DOMAIN).unwrap();
        keys.iter().map(|k| k.selector.to_string()).collect()
    }

    fn key_files(&self) -> usize {
        let all = self.files.below("/data/dkim");
        all.iter()
            .filter(|(name, _)| name.ends_with(".pem"))
            .count()
    }
}

const OLD_AND_NEW: [&str; 4] = ["active", "active", "published", "published"];
const TAKEN_OVER: [&str; 4] = ["retiring", "retiring", "active", "active"];
const HOUR: Duration = Duration::from_secs(3600);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

#[tokio::test(start_paused = true)]
async fn keys_walk_through_all_stages_and_each_waits_for_the_dns() {
    let scene = Scene::start();
    let first = scene.signing();
    tokio::time::advance(HOUR).await;
    scene.make(Stage::Published { seen: None });
    let all = scene.records(|_| true);
    let one = scene.records(|k| k.signs() || k.selector.ends_with('r'));
    let lines: Vec<_> = all.lines().collect();
    // The second new key's name with the first one's record.
    let wrong = all.replace(
        lines[3]
            .split(' ')
            .skip(2)
            .collect::<Vec<_>>()
            .join(" ")
            .as_str(),
        &lines[2].split(' ').skip(2).collect::<Vec<_>>().join(" "),
    );
    let fails = format!("fails {}\n", lines[3].split(' ').nth(1).unwrap());

    // However long: a record that is not there, not whole, not right, or not to be had.
    for dns in [scene.records(SigningKey::signs), one, wrong, fails + &all] {
        scene.runs(&dns, MONTH).await;
        assert_eq!(scene.stages(), OLD_AND_NEW);
        assert_eq!(scene.signing(), first);
    }
    // Seen, but not long enough; then gone again, which begins anew.
    scene.runs(&all, SETTLED - LOOK).await;
    scene.runs(&scene.records(SigningKey::signs), LOOK).await;
    scene.runs(&all, SETTLED - LOOK).await;
    assert_eq!(scene.stages(), OLD_AND_NEW);
    scene.runs(&all, LOOK).await;
    assert_eq!(scene.stages(), TAKEN_OVER);
    let second = scene.signing();
    assert!(second.len() == 2 && second.iter().all(|s| !first.contains(s)));

    // The old records must stay for what is under way.
    scene.runs(&all, WAIT + STAYS_FOR - 2 * LOOK).await;
    assert_eq!(scene.stages(), TAKEN_OVER);
    assert_eq!(scene.key_files(), 4);
    scene.runs(&all, 2 * LOOK).await;
    assert_eq!(scene.stages(), ["retired", "retired", "active", "active"]);
    assert_eq!(
        scene.key_files(),
        2,
        "private keys of retired ones are deleted"
    );

    // Retired keys are forgotten when their records are gone, not before.
    scene.runs(&all, MONTH).await;
    assert_eq!(scene.stages(), ["retired", "retired", "active", "active"]);
    scene.runs(&scene.records(|_| true), LOOK).await;
    assert_eq!(scene.stages(), ["active", "active"]);
    assert_eq!(scene.signing(), second);
}

#[tokio::test(start_paused = true)]
async fn the_time_in_which_a_record_was_seen_outlives_a_restart_and_an_outage_of_the_dns() {
    let scene = Scene::start();
    tokio::time::advance(HOUR).await;
    scene.make(Stage::Published { seen: None });
    let all = scene.records(|_| true);
    let names = all.lines().map(|l| l.split(' ').nth(1).unwrap());
    let outage: String = names.map(|n| format!("fails {n}\n")).collect();
    for _ in 0..2 {
        scene.runs(&all, LOOK).await;
        scene.runs(&outage, LOOK).await;
    }
    tokio::time::advance(SETTLED - 4 * LOOK).await;
    scene.runs(&outage, Duration::ZERO).await;
    assert_eq!(scene.stages(), OLD_AND_NEW, "an outage moves nothing");
    scene.runs(&all, Duration::ZERO).await;
    assert_eq!(scene.stages(), TAKEN_OVER);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_fails_is_made_later_and_a_command_s_change_is_never_lost() {
    let scene = Scene::start();
    tokio::time::advance(HOUR).await;
    scene.make(Stage::Published { seen: None });
    let all = scene.records(|_| true);
    scene.runs(&all, SETTLED - LOOK).await;
    let kept = scene.files.below("/data/dkim/keys");
    scene
        .files
        .fail("rename", "/data/dkim/keys", ErrorKind::StorageFull);
    scene.runs(&all, HOUR).await;
    assert_eq!(scene.files.below("/data/dkim/keys"), kept);

    // The same list on a disk that works, where a command holds the lock at first.
    let again = Scene::start();
    for (path, text) in scene.files.below(DATA) {
        again.files.put(&path, &text);
    }
    tokio::time::advance(4 * HOUR).await;
    assert_eq!(again.stages(), OLD_AND_NEW);
    again.runs(&all, Duration::ZERO).await;
    assert_eq!(again.stages(), TAKEN_OVER);

    // What was judged before a command changed the list is not written over it.
    let before = keys::entries(&*again.world.disk, Path::new(DATA)).unwrap();
    again.make(Stage::Published { seen: None });
    let editor = Editor::begin(&*again.world.disk, Path::new(DATA)).unwrap();
    assert!(!editor.replace_all(&before, &[]).unwrap());
    assert_eq!(again.stages().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn successors_come_by_themselves_where_the_configuration_says_so_once() {
    let mut scene = Scene::start();
    let none = String::new();
    scene.runs(&none, 3 * MONTH).await;
    assert_eq!(scene.stages(), ["active", "active"], "unless asked for");
    scene.schedule.rotate_every = Some(6 * MONTH);
    scene.runs(&none, 3 * MONTH - HOUR).await;
    assert_eq!(scene.stages(), ["active", "active"]);
    scene.runs(&none, 2 * HOUR).await;
    assert_eq!(scene.stages(), OLD_AND_NEW);
    scene.runs(&none, 12 * MONTH).await;
    assert_eq!(scene.stages(), OLD_AND_NEW, "they wait to be published");
    let all = scene.records(|_| true);
    scene.runs(&all, SETTLED).await;
    assert_eq!(scene.stages()[..4], TAKEN_OVER);
}
