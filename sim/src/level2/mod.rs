//! Level 2, store: the shipped spool and schedule on a simulated disk, in a plain loop.
//!
//! A run is a few lives. A life opens the spool, compares what it finds with what was promised, and
//! works (commits, attempts, notices, operator, housekeeping) until the power goes at some call of
//! the disk, the process is killed, or it closes. After the last life the world is calm: everything
//! must be delivered and the space come back.
//!
//! Every run has its own habits, so that the rare combinations happen in some runs often.

mod habits;
mod model;
mod work;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use posthaste_queue::envelope::{Envelope, Recipient};
use posthaste_queue::id::QueueId;
use posthaste_queue::invariants::{self, Broken};
use posthaste_queue::schedule::{NewMessage, NewRecipient, Schedule};
use posthaste_queue::spool::{ReadError, Recovery, Store, Waiting};

use crate::campaign::Failure;
use crate::clock::SimClock;
use crate::disk::{Faults, SimDisk};
use crate::rng::{Rng, SeededRandom};
use crate::trace::Trace;
use habits::{Habits, Trouble};
use model::{Model, Seen};

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

/// Runs one seed, of `steps` steps a life when given.
///
/// # Errors
/// The promise that was broken, with the record of what led there.
pub fn run(seed: u64, steps: Option<u64>, keep_text: bool) -> Result<Run, Box<Failure>> {
    let mut world = World::new(seed, steps, keep_text);
    let ended = world.run();
    world.totals.calls = world.disk.calls();
    let trace = world.disk.trace();
    match ended {
        Ok(()) => Ok(Run {
            trace,
            totals: world.totals,
        }),
        Err(broken) => Err(Box::new(Failure {
            seed,
            broken: broken.to_string(),
            trace,
        })),
    }
}

/// Everything of a run that outlives a crash.
struct World {
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
    store: Store,
    schedule: Schedule,
    /// Workers that were started, by destination.
    workers: Vec<Arc<str>>,
}

impl World {
    fn new(seed: u64, steps: Option<u64>, keep_text: bool) -> Self {
        let mut rng = Rng::new(seed);
        let habits = Habits::draw(&mut rng, steps);
        let disk_rng = rng.fork();
        let trace = Trace::new(keep_text);
        let disk = SimDisk::new(Path::new("/"), habits.capacity, disk_rng, trace);
        disk.note(&[seed], || format!("seed {seed}: {habits:?}"));
        World {
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
            let disk = Arc::new(self.disk.clone());
            let key = |r: &Recipient| r.address.domain().to_string();
            let dir = Path::new(SPOOL);
            let opened = Store::open(
                disk,
                self.random.clone(),
                dir,
                &self.habits.settings(),
                &key,
            );
            if self.disk.crashed() {
                self.totals.crashes += 1;
                self.totals.crashes_while_opening += 1;
                drop(opened);
                self.disk.restart();
                continue;
            }
            self.disk.crash_in(None);
            let (store, recovery) = opened.map_err(|fault| Broken {
                invariant: "progress",
                seen: format!("the spool does not open: {fault}"),
            })?;
            return self.check(store, &recovery);
        }
    }

    /// Compares what a recovery found with what was promised.
    fn check(&mut self, store: Store, recovery: &Recovery) -> Result<Node, Broken> {
        let mut found = BTreeMap::new();
        for waiting in &recovery.messages {
            let stored = match read(&store, waiting.id) {
                Ok(stored) => Some(stored),
                Err(why) => {
                    self.disk
                        .note(&[0xbad], || format!("{} cannot be read: {why}", waiting.id));
                    None
                }
            };
            if let Some((envelope, _)) = &stored {
                told_as_stored(waiting, envelope)?;
            }
            let open = waiting.recipients.iter().map(|r| r.index).collect();
            if found.insert(waiting.id, Seen { open, stored }).is_some() {
                let seen = format!("{} is recovered twice", waiting.id);
                return Err(Broken {
                    invariant: "at_most_once",
                    seen,
                });
            }
        }
        let n = recovery.messages.len();
        self.disk.note(&[0xc0, n as u64], || {
            let faults: Vec<_> = recovery.faults.iter().map(ToString::to_string).collect();
            format!("recovered {n} messages, faults: {faults:?}")
        });
        let damage = std::mem::take(&mut self.damage);
        let missing = self.model.compare(&found, damage)?;
        self.totals.missing += missing as u64;
        // What damage took may be told of again at every start.
        if self.totals.damaged == 0 && self.habits.trouble != Trouble::Flips {
            invariants::bounds_kept("false alarms", recovery.faults.len(), 0)?;
        }
        let files = self.disk.files();
        let large = files
            .iter()
            .filter(|f| f.starts_with(Path::new(SPOOL).join(LARGE)))
            .count();
        invariants::bounds_kept("files of large bodies", large, self.model.large())?;
        let mut schedule = Schedule::new(self.habits.schedule());
        for waiting in &recovery.messages {
            enter(&mut schedule, waiting);
        }
        schedule.check().map_err(books)?;
        Ok(Node {
            store,
            schedule,
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
        node.schedule.check().map_err(books)
    }

    /// The power goes, or the process is killed, or stops as it should.
    fn end_of_life(&mut self, node: Node) {
        let crashed = self.disk.crashed();
        let kill = self.rng.chance(self.habits.kills);
        if !crashed && self.rng.chance(300) {
            node.store.close();
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
        invariants::progress(node.schedule.counts().messages)?;
        node.store.close();
        let mut node = self.open(false)?;
        invariants::progress(node.store.reader().len())?;
        while node.store.housekeep() {}
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
        && waiting.arrived == envelope.message.arrived
        && waiting.report == envelope.message.reverse_path.is_null();
    if same && !waiting.recipients.is_empty() {
        return Ok(());
    }
    Err(Broken {
        invariant: "envelope_kept",
        seen: format!("the schedule is told {waiting:?}, and stored is {envelope:?}"),
    })
}

/// All of a message.
fn read(store: &Store, id: QueueId) -> Result<(Envelope, Vec<u8>), ReadProblem> {
    let stored = store.read(id).map_err(ReadProblem::Message)?;
    let mut content = stored.content();
    let mut octets = Vec::new();
    while let Some(piece) = content.next_blocking().map_err(ReadProblem::Content)? {
        octets.extend_from_slice(&piece);
    }
    Ok((stored.envelope().clone(), octets))
}

#[derive(Debug)]
enum ReadProblem {
    Message(ReadError),
    Content(std::io::Error),
}

impl fmt::Display for ReadProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadProblem::Message(e) => e.fmt(f),
            ReadProblem::Content(e) => e.fmt(f),
        }
    }
}

fn enter(schedule: &mut Schedule, waiting: &Waiting) -> bool {
    let recipients: Vec<_> = waiting
        .recipients
        .iter()
        .map(|r| NewRecipient {
            index: r.index,
            destination: &r.destination,
            due: r.not_before,
            held: r.held,
            noticed: r.noticed,
        })
        .collect();
    schedule.insert(&NewMessage {
        id: waiting.id,
        arrived: waiting.arrived,
        class: u8::from(waiting.report),
        recipients: &recipients,
    })
}

fn books(seen: String) -> Broken {
    Broken {
        invariant: "bounds_kept",
        seen,
    }
}
