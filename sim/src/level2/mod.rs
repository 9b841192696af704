//! Level 2, store: the shipped spool and schedule on a simulated disk, in a plain loop; or, with
//! [`Way::Queue`], the queue that joins them, with its tasks on one thread.
//!
//! A run is a few lives. A life opens the spool, compares what it finds with what was promised, and
//! works (commits, attempts, notices, operator, housekeeping) until the power goes at some call of
//! the disk, the process is killed, or it closes. After the last life the world is calm: everything
//! must be delivered and the space come back.
//!
//! Every run has its own habits, so that the rare combinations happen in some runs often.

mod direct;
mod engine;
mod habits;
mod model;
mod through;
mod work;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use posthaste_queue::envelope::{Envelope, Recipient};
use posthaste_queue::id::QueueId;
use posthaste_queue::invariants::{self, Broken};
use posthaste_queue::schedule::{Schedule, Wishes};
use posthaste_queue::spool::{Fault, Store, Waiting};

use crate::campaign::{Failure, Kind};
use crate::clock::SimClock;
use crate::disk::{Faults, SimDisk};
use crate::rng::{Rng, SeededRandom};
use crate::trace::Trace;
use direct::{Direct, all_of};
use engine::Engine;
use habits::{Habits, Trouble};
use model::{Model, Seen};
use through::Through;

/// Where the spool stands on the simulated disk.
const SPOOL: &str = "/spool";

/// Its folder for large bodies.
const LARGE: &str = "large";

/// Crashes of one recovery, one after another, at most.
const CRASHES_WHILE_OPENING: u64 = 4;

/// A run that held every promise.
#[derive(Debug)]
pub struct Run {
    /// What happened.
    pub trace: Trace,
    /// How much of it.
    pub totals: Totals,
}

/// How much happened.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Totals {
    /// Times the power went.
    pub crashes: u64,
    /// Of these, during a recovery.
    pub crashes_while_opening: u64,
    /// Times the process was killed.
    pub kills: u64,
    /// Messages committed.
    pub committed: u64,
    /// Messages and settlements refused.
    pub refused: u64,
    /// Settlements made.
    pub settled: u64,
    /// Calls of the disk.
    pub calls: u64,
    /// Bits turned over on the disk, and the frames that they cost.
    pub damaged: u64,
    /// Frames lost to them.
    pub missing: u64,
}

impl Totals {
    /// Adds up.
    pub fn add(&mut self, more: &Totals) {
        self.crashes += more.crashes;
        self.crashes_while_opening += more.crashes_while_opening;
        self.kills += more.kills;
        self.committed += more.committed;
        self.refused += more.refused;
        self.settled += more.settled;
        self.calls += more.calls;
        self.damaged += more.damaged;
        self.missing += more.missing;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} crashes ({} while opening), {} kills, {} messages, {} settlements, {} refused, \
             {} bits turned over that cost {} frames, {} disk calls",
            self.crashes,
            self.crashes_while_opening,
            self.kills,
            self.committed,
            self.settled,
            self.refused,
            self.damaged,
            self.missing,
            self.calls
        )
    }
}

/// What a run drives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// The store and the schedule, call by call.
    Store,
    /// The queue, with drafts, its writer and sessions as tasks.
    Queue,
}

/// Runs one seed, of `steps` steps a life when given.
///
/// # Errors
/// The promise that was broken, with the record of what led there.
pub fn run(way: Way, seed: u64, steps: Option<u64>, keep_text: bool) -> Result<Run, Box<Failure>> {
    let mut world = World::new(way, seed, steps, keep_text);
    let ended = world.run();
    world.totals.calls = world.disk.calls();
    let trace = world.disk.trace();
    match ended {
        Ok(()) => Ok(Run {
            trace,
            totals: world.totals,
        }),
        Err(broken) => Err(Box::new(Failure {
            kind: Kind::Two(way),
            seed,
            broken: broken.to_string(),
            trace,
        })),
    }
}

/// Everything of a run that outlives a crash.
struct World {
    way: Way,
    disk: SimDisk,
    clock: SimClock,
    random: Arc<SeededRandom>,
    rng: Rng,
    habits: Habits,
    model: Model,
    totals: Totals,
    /// Bits turned over since the last recovery.
    damage: usize,
}

/// Everything that a crash ends.
struct Node {
    engine: Box<dyn Engine>,
    /// Workers that were started, by destination.
    workers: Vec<Arc<str>>,
}

/// What was found when a spool was opened.
struct Opening {
    engine: Box<dyn Engine>,
    /// Messages with their open recipients.
    messages: Vec<(QueueId, Vec<u32>)>,
    faults: Vec<String>,
}

impl World {
    fn new(way: Way, seed: u64, steps: Option<u64>, keep_text: bool) -> Self {
        let mut rng = Rng::new(seed);
        let habits = Habits::draw(&mut rng, steps);
        let disk_rng = rng.fork();
        let trace = Trace::new(keep_text);
        let disk = SimDisk::new(Path::new("/"), habits.capacity, disk_rng, trace);
        disk.note(&[seed], || format!("seed {seed}: {habits:?}"));
        World {
            way,
            disk,
            clock: SimClock::default(),
            random: Arc::new(SeededRandom::new(rng.fork())),
            rng,
            habits,
            model: Model::default(),
            totals: Totals::default(),
            damage: 0,
        }
    }

    fn run(&mut self) -> Result<(), Broken> {
        for _ in 0..self.habits.lives {
            let mut node = self.open(true)?;
            self.live(&mut node)?;
            self.end_of_life(node);
        }
        let node = self.open(false)?;
        self.calm_end(node)
    }

    /// Opens the spool, with crashes in between when `crashes`, and checks every promise.
    fn open(&mut self, crashes: bool) -> Result<Node, Broken> {
        let mut round = 0;
        loop {
            round += 1;
            let crash = crashes && round <= CRASHES_WHILE_OPENING && self.rng.chance(300);
            let within = self.rng.between(1, 60);
            self.disk.crash_in(crash.then_some(within));
            let opened = match self.way {
                Way::Store => self.open_store(),
                Way::Queue => self.open_queue(),
            };
            if self.disk.crashed() {
                self.totals.crashes += 1;
                self.totals.crashes_while_opening += 1;
                drop(opened);
                self.disk.restart();
                continue;
            }
            self.disk.crash_in(None);
            return self.check(opened?);
        }
    }

    fn open_store(&self) -> Result<Opening, Broken> {
        let disk = Arc::new(self.disk.clone());
        let key = |r: &Recipient| r.address.domain().to_string();
        let (dir, settings) = (Path::new(SPOOL), self.habits.spool());
        let opened = Store::open(disk, self.random.clone(), dir, &settings, &key);
        let (store, recovery) = opened.map_err(|fault| closed(&fault))?;
        for waiting in &recovery.messages {
            if let Ok((envelope, _)) = all_of(store.read(waiting.id)) {
                told_as_stored(waiting, &envelope)?;
            }
        }
        let messages = recovery.messages.iter();
        let indexes = |w: &Waiting| w.recipients.iter().map(|r| r.index).collect();
        let messages = messages.map(|w| (w.id, indexes(w))).collect();
        let faults = recovery.faults.iter().map(ToString::to_string).collect();
        let schedule = Schedule::new(self.habits.schedule());
        let engine = Box::new(Direct::new(store, schedule, &recovery.messages));
        Ok(Opening {
            engine,
            messages,
            faults,
        })
    }

    fn open_queue(&mut self) -> Result<Opening, Broken> {
        let rng = self.rng.fork();
        let settings = (Path::new(SPOOL), self.habits.queue());
        let opened = Through::open(&self.disk, &self.clock, self.random.clone(), settings, rng);
        let (through, opened) = opened.map_err(|fault| closed(&fault))?;
        let faults = opened.faults.iter().map(ToString::to_string).collect();
        let messages = through.listed();
        Ok(Opening {
            engine: Box::new(through),
            messages,
            faults,
        })
    }

    /// Compares what a recovery found with what was promised.
    fn check(&mut self, opening: Opening) -> Result<Node, Broken> {
        let Opening {
            engine,
            messages,
            faults,
        } = opening;
        let n = messages.len();
        self.disk.note(&[0xc0, n as u64], || {
            format!("recovered {n} messages, faults: {faults:?}")
        });
        let mut found = BTreeMap::new();
        for (id, open) in messages {
            let stored = engine.read(id);
            if let Err(why) = &stored {
                self.disk
                    .note(&[0xbad], || format!("{id} cannot be read: {why}"));
            }
            if found
                .insert(
                    id,
                    Seen {
                        open,
                        stored: stored.ok(),
                    },
                )
                .is_some()
            {
                let seen = format!("{id} is recovered twice");
                return Err(Broken {
                    invariant: "at_most_once",
                    seen,
                });
            }
        }
        let damage = std::mem::take(&mut self.damage);
        let missing = self.model.compare(&found, damage)?;
        self.totals.missing += missing as u64;
        // What damage took may be told of again at every start.
        if self.totals.damaged == 0 && self.habits.trouble != Trouble::Flips {
            invariants::bounds_kept("false alarms", faults.len(), 0)?;
        }
        let files = self.disk.files();
        let large = files
            .iter()
            .filter(|f| f.starts_with(Path::new(SPOOL).join(LARGE)))
            .count();
        invariants::bounds_kept("files of large bodies", large, self.model.large())?;
        engine.check()?;
        Ok(Node {
            engine,
            workers: Vec::new(),
        })
    }

    /// Works until the power goes, or long enough.
    fn live(&mut self, node: &mut Node) -> Result<(), Broken> {
        let faults = self.habits.faults(&mut self.rng);
        self.disk.set_faults(faults);
        let crash = self.rng.between(1, self.habits.calls_of_a_life);
        self.disk.crash_in(self.rng.chance(900).then_some(crash));
        for _ in 0..self.habits.steps {
            self.step(node)?;
            if self.disk.crashed() {
                break;
            }
        }
        self.disk.set_faults(Faults::default());
        node.engine.check()
    }

    /// The power goes, or the process is killed, or stops as it should.
    fn end_of_life(&mut self, node: Node) {
        let crashed = self.disk.crashed();
        let kill = self.rng.chance(self.habits.kills);
        if !crashed && self.rng.chance(300) {
            node.engine.close();
        } else {
            drop(node);
        }
        if kill {
            self.totals.kills += 1;
            self.disk.restart_process();
        } else {
            self.totals.crashes += 1;
            self.disk.restart();
        }
        if self.habits.trouble == Trouble::Damage && self.rng.chance(500) {
            let damage = self.disk.damage(|_| true);
            self.damage += usize::from(damage.is_some());
            self.totals.damaged += u64::from(damage.is_some());
        }
    }

    /// Delivers everything on a disk that works, and sees that the space comes back.
    fn calm_end(&mut self, mut node: Node) -> Result<(), Broken> {
        self.disk
            .set_capacity(self.habits.capacity.max(habits::ROOM));
        self.drain(&mut node)?;
        invariants::progress(node.engine.counts().messages)?;
        node.engine.close();
        let mut node = self.open(false)?;
        invariants::progress(node.engine.stored())?;
        while node.engine.housekeep() {}
        let used = usize::try_from(self.disk.used()).unwrap_or(usize::MAX);
        invariants::bounds_kept("octets in an empty spool", used, self.habits.empty_spool())
    }
}

/// What the schedule is told of a message is what stands in its envelope.
fn told_as_stored(waiting: &Waiting, envelope: &Envelope) -> Result<(), Broken> {
    let told = waiting
        .recipients
        .iter()
        .map(|r| (r.index, r.not_before, r.held, r.noticed));
    let stored = envelope.open().map(|(i, r)| {
        let p = &r.progress;
        (i, p.not_before, p.held, p.noticed)
    });
    let same = told.eq(stored)
        && waiting.begins == envelope.message.begins()
        && waiting.wishes == Wishes::of(&envelope.message)
        && waiting.report == envelope.message.reverse_path.is_null();
    if same && !waiting.recipients.is_empty() {
        return Ok(());
    }
    Err(Broken {
        invariant: "envelope_kept",
        seen: format!("the schedule is told {waiting:?}, and stored is {envelope:?}"),
    })
}

fn closed(fault: &Fault) -> Broken {
    Broken {
        invariant: "progress",
        seen: format!("the spool does not open: {fault}"),
    }
}

fn books(seen: String) -> Broken {
    Broken {
        invariant: "bounds_kept",
        seen,
    }
}
