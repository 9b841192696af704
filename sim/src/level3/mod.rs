//! Level 3, node: whole servers of ours, with peers, names, network, disk and time from one seed.
//!
//! Two servers that are ours, clients that send, servers outside with moods, and a mailbox of those
//! who send, where reports arrive. A run is a time of trouble (crashes, cut links, resets, moods,
//! resolvers that fail) and then a calm one, in which everything must end: delivered, or reported.
//! What is right is judged from outside, by the [ledger].
//!
//! It does **not** fail syncs or fill disks: level 2 does, with the same spool.
#![allow(clippy::indexing_slicing)] // by numbers that are drawn below the length

mod client;
mod dns;
mod ledger;
mod letter;
mod machine;
mod meddler;
mod net;
mod outside;
mod scene;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use posthaste_queue::invariants::{self, Broken};
use posthaste_world::{Clock, Work};

use crate::campaign::{Failure, Kind};
use crate::clock::SimClock;
use crate::rng::Rng;
use crate::tasks::SimTasks;
use crate::trace::Trace;
use client::Errand;
use dns::{Moods, SimDns, address, ip};
use machine::{Crash, Machine};
use net::{SimNet, Weather};
use outside::{Mood, Outside};
use scene::Scene;

/// Events of one time of trouble, when nobody says how many.
const STEPS: u64 = 40;
/// Longest time between two events, in seconds.
const PAUSE_S: u64 = 240;
/// How long the calm lasts at most: longer than any mail may wait.
const CALM: Duration = Duration::from_secs(4 * 24 * 3600);
/// Alarms of one run: beyond it something wakes itself for ever.
const ALARMS_MAX: u64 = 2_000_000;
/// Connections to one host that a server of ours has at once: two named servers are one
/// destination, MX may make two more of each host, and as many are about to end.
const CONNECTIONS_MAX: usize = 12;
/// How long before a crash a message may have been handed over without the crashed server knowing.
const IN_DOUBT: Duration = Duration::from_secs(60);
/// Process 0 is the world outside.
const OUTSIDE: u32 = 0;
const SENDER: &str = "sender@origin.sim";
/// Domains of servers outside; that many hosts serve them.
const DOMAINS: u8 = 4;

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
    /// Messages that clients sent, or tried to.
    pub messages: u64,
    /// Recipients that were promised.
    pub promised: u64,
    /// Copies beyond the first, all of them excused.
    pub duplicates: u64,
    /// Reports that reached their sender.
    pub reports: u64,
    /// Times a process was killed.
    pub kills: u64,
    /// Times the power went.
    pub power_cuts: u64,
    /// Simulated hours.
    pub hours: u64,
}

impl Totals {
    /// Adds up.
    pub fn add(&mut self, more: &Totals) {
        self.messages += more.messages;
        self.promised += more.promised;
        self.duplicates += more.duplicates;
        self.reports += more.reports;
        self.kills += more.kills;
        self.power_cuts += more.power_cuts;
        self.hours += more.hours;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} messages, {} recipients promised, {} second copies (all excused), {} reports, \
             {} kills, {} power cuts, {} simulated hours",
            self.messages,
            self.promised,
            self.duplicates,
            self.reports,
            self.kills,
            self.power_cuts,
            self.hours
        )
    }
}

/// Runs a seed; `steps` events instead of the usual number.
///
/// # Errors
/// The promise that does not hold.
pub fn run(seed: u64, steps: Option<u64>, keep_text: bool) -> Result<Run, Box<Failure>> {
    let mut world = World::new(seed, keep_text);
    let held = world.live(steps.unwrap_or(STEPS));
    let trace = world.trace();
    match held {
        Ok(()) => Ok(Run {
            trace,
            totals: world.totals(),
        }),
        Err(broken) => Err(Box::new(Failure {
            kind: Kind::Three,
            seed,
            broken: broken.to_string(),
            trace,
        })),
    }
}

struct World {
    rng: Rng,
    scene: Arc<Scene>,
    tasks: Arc<SimTasks>,
    machines: Vec<Machine>,
    outside: Vec<Arc<Outside>>,
    next_message: u64,
    longest: u64,
    alarms: u64,
    kills: u64,
    power_cuts: u64,
}

impl World {
    fn new(seed: u64, keep_text: bool) -> Self {
        let mut rng = Rng::new(seed);
        let clock = SimClock::default();
        let net = SimNet::new(clock.clone(), rng.fork(), Trace::new(keep_text));
        let dns = SimDns::new(clock.clone(), rng.fork(), address(66));
        let scene = Arc::new(Scene::new((clock, net, dns), ip(30), rng.fork()));
        let tasks = SimTasks::new(rng.fork());
        let mut world = World {
            longest: [200, 4000, 60_000][rng.index(3)],
            rng,
            scene,
            tasks,
            machines: Vec::new(),
            outside: Vec::new(),
            next_message: 0,
            alarms: 0,
            kills: 0,
            power_cuts: 0,
        };
        world.furnish(keep_text);
        world
    }

    fn furnish(&mut self, keep_text: bool) {
        for (process, n, name) in [(1, 1, "a.sim"), (2, 2, "b.sim")] {
            self.scene.dns.add_host(&format!("mx.{name}"), address(n));
            self.scene.dns.add_mx(name, 10, &format!("mx.{name}"));
            let configuration = machine::configuration(n, name);
            self.machines.push(Machine::new(
                &self.scene,
                &self.tasks,
                (process, ip(n), name),
                configuration,
                (&mut self.rng, keep_text),
            ));
        }
        let outside = self.tasks.process(OUTSIDE);
        for n in 0..DOMAINS {
            let host = format!("mx{n}.sim");
            self.scene.dns.add_host(&host, address(10 + n));
            let domain = format!("d{n}.sim");
            self.scene.dns.add_mx(&domain, 10, &host);
            // The next one stands in.
            let second = format!("mx{}.sim", (n + 1) % DOMAINS);
            self.scene.dns.add_mx(&domain, 20, &second);
            let server = Outside::new(&self.scene, ip(10 + n), &host);
            server.open(&outside);
            self.outside.push(server);
        }
        // A domain whose only host is not there.
        self.scene.dns.add_host("mx.dead.sim", address(99));
        self.scene.dns.add_mx("dead.sim", 10, "mx.dead.sim");
        for (name, n) in [("origin.sim", 20), ("decoy.sim", 66)] {
            self.scene.dns.add_host(&format!("mx.{name}"), address(n));
            self.scene.dns.add_mx(name, 10, &format!("mx.{name}"));
            let server = Outside::new(&self.scene, ip(n), name);
            if n == 66 {
                server.set_mood(Mood::Closed);
            }
            server.open(&outside);
            self.outside.push(server);
        }
    }

    /// Trouble, then calm.
    fn live(&mut self, steps: u64) -> Result<(), Broken> {
        for machine in &mut self.machines {
            machine.start().map_err(|why| does_not_start(&why))?;
        }
        for _ in 0..steps {
            self.event()?;
            let pause = Duration::from_secs(self.rng.below(PAUSE_S));
            self.pass(pause)?;
        }
        self.calm_down()?;
        let end = self.scene.clock.now() + CALM;
        while self.scene.clock.now() < end && !self.is_empty() {
            self.pass(Duration::from_secs(600))?;
        }
        // What is under way arrives.
        self.pass(Duration::from_secs(3600))?;
        let left = self.machines.iter().filter_map(Machine::queued).sum();
        invariants::progress(left)?;
        self.open_mailboxes()?;
        crate::locked(&self.scene.ledger).check_end()
    }

    /// One thing happens.
    fn event(&mut self) -> Result<(), Broken> {
        match self.rng.below(20) {
            0..10 => self.client(),
            10 => self.crash(Crash::Kill),
            11 => self.crash(Crash::Power),
            12 => {
                let calls = Some(1 + self.rng.below(60));
                self.one_of_ours().power_goes_in(calls);
            }
            13 => self.storm(),
            14 => self.cut(),
            15 => self.scene.net.mend(),
            16 => self.moods_of_resolvers(),
            _ => self.mood(),
        }
        if self.rng.chance(700) {
            self.start_all()?;
        }
        Ok(())
    }

    fn one_of_ours(&mut self) -> &mut Machine {
        let n = self.rng.index(self.machines.len());
        &mut self.machines[n]
    }

    fn client(&mut self) {
        for _ in 0..=self.rng.below(6) {
            self.next_message += 1;
            let number = self.next_message;
            let text = letter::write(number, self.longest, &mut self.rng);
            let leaves = self.rng.chance(100);
            let errand = Errand {
                number,
                server: self.one_of_ours().smtp(),
                sender: (!self.rng.chance(150)).then(|| SENDER.to_owned()),
                to: self.recipients(number),
                leaves_after: leaves.then(|| self.rng.index(text.len())),
                text,
            };
            let mut ledger = crate::locked(&self.scene.ledger);
            ledger.begin(&errand);
            for address in errand.to.iter().filter(|to| to.ends_with("@dead.sim")) {
                // Without a sender nobody is told that it expires.
                ledger.refused_there(address);
            }
            drop(ledger);
            self.note(&[1, number], || {
                format!("message {number} to {} for {:?}", errand.server, errand.to)
            });
            let sending = client::send(self.scene.clone(), errand);
            self.tasks
                .process(OUTSIDE)
                .spawn("client", Box::pin(sending));
        }
    }

    fn recipients(&mut self, number: u64) -> Vec<String> {
        let mut domains = vec!["a.sim".to_owned(), "b.sim".to_owned()];
        domains.extend((0..DOMAINS).map(|n| format!("d{n}.sim")));
        if self.rng.chance(50) {
            domains.push("dead.sim".to_owned());
        }
        let mut to = Vec::new();
        for _ in 0..=self.rng.below(4) {
            let domain = &domains[self.rng.index(domains.len())];
            let mailbox = self.rng.below(3);
            to.push(format!("box{mailbox}+m{number}@{domain}"));
        }
        to.sort();
        to.dedup();
        to
    }

    fn crash(&mut self, how: Crash) {
        let n = self.rng.index(self.machines.len());
        self.crash_this(n, how);
    }

    fn crash_this(&mut self, n: usize, how: Crash) {
        if !self.machines[n].is_up() {
            return;
        }
        let host = self.machines[n].host;
        self.note(&[2, n as u64], || format!("{host}: {how:?}"));
        match how {
            Crash::Kill => self.kills += 1,
            Crash::Power => self.power_cuts += 1,
        }
        self.machines[n].crash(how);
        // What it had just handed over it may not know to be handed over: what it heard last from
        // a server that it is cut off from was said before the cut.
        let now = self.scene.clock.now();
        for server in &self.outside {
            let cut = self.scene.net.cut_since(host, server.host);
            server.crashed(host, cut.unwrap_or(now) - IN_DOUBT);
        }
        // Nor can it know which files it had just put into mailboxes, nor can the other of ours.
        self.excuse_ours();
    }

    /// Between two of ours nobody outside sees which reply was lost.
    fn excuse_ours(&self) {
        let ours = |address: &str| address.ends_with("@a.sim") || address.ends_with("@b.sim");
        crate::locked(&self.scene.ledger).excuse_all(ours);
    }

    fn storm(&mut self) {
        let weather = Weather {
            latency_ms: [0, 5, 100, 2000][self.rng.index(4)],
            resets: [0, 0, 5, 50][self.rng.index(4)],
            crumbs: [0, 0, 200, 900][self.rng.index(4)],
            meddling: [0, 0, 300, 1000][self.rng.index(4)],
        };
        let words = [3, weather.latency_ms, weather.resets, weather.meddling];
        self.note(&words, || format!("{weather:?}"));
        self.scene.net.set_weather(weather);
    }

    fn cut(&mut self) {
        let ours = self.one_of_ours().host;
        let others: Vec<_> = self.outside.iter().map(|o| o.host).collect();
        let other = others[self.rng.index(others.len())];
        self.note(&[4], || {
            format!("{ours} and {other} are cut off from each other")
        });
        self.scene.net.cut(ours, other);
    }

    fn moods_of_resolvers(&mut self) {
        let mut often = || [0, 0, 100, 500][self.rng.index(4)];
        let moods = Moods {
            timeouts: often(),
            failures: often(),
            loops: often(),
            lies: often(),
        };
        self.note(&[5], || format!("resolvers: {moods:?}"));
        self.scene.dns.set_moods(moods);
    }

    fn mood(&mut self) {
        // The last one is the decoy, which never changes.
        let n = self.rng.index(self.outside.len() - 1);
        let mut mood = Mood::ALL[self.rng.index(Mood::ALL.len())];
        if n == usize::from(DOMAINS) && mood == Mood::Picky {
            // The mailbox of those who send exists.
            mood = Mood::Busy;
        }
        let host = self.outside[n].host;
        self.note(&[6, n as u64], || format!("{host} is {mood:?}"));
        self.outside[n].set_mood(mood);
    }

    fn start_all(&mut self) -> Result<(), Broken> {
        for n in 0..self.machines.len() {
            while !self.machines[n].is_up() {
                match self.machines[n].start() {
                    Ok(()) => {}
                    // The power may go while it starts, too.
                    Err(_) if self.machines[n].lost_power() => {
                        self.machines[n].crash(Crash::Power);
                    }
                    Err(why) => return Err(does_not_start(&why)),
                }
            }
        }
        Ok(())
    }

    fn calm_down(&mut self) -> Result<(), Broken> {
        self.note(&[7], || "calm".to_owned());
        self.scene.net.mend();
        self.scene.net.set_weather(Weather::default());
        self.scene.dns.set_moods(Moods::default());
        for server in self.outside.iter().take(self.outside.len() - 1) {
            server.set_mood(Mood::Honest);
        }
        self.machines.iter().for_each(|m| m.power_goes_in(None));
        self.start_all()
    }

    fn is_empty(&self) -> bool {
        self.machines.iter().all(|m| m.queued() == Some(0))
    }

    /// Lets time pass, from alarm to alarm.
    fn pass(&mut self, time: Duration) -> Result<(), Broken> {
        let end = self.scene.clock.now() + time;
        loop {
            if !self.tasks.settle() {
                return Err(for_ever("tasks wake each other"));
            }
            self.look()?;
            let now = self.scene.clock.now();
            let next = self.scene.clock.next_alarm().unwrap_or(end).min(end);
            if next > now {
                self.scene.clock.advance(next.since(now));
            }
            if next >= end {
                break;
            }
            self.alarms += 1;
            if self.alarms > ALARMS_MAX {
                return Err(for_ever("alarms follow each other"));
            }
        }
        self.tasks.settle();
        self.look()
    }

    /// What must hold at all times.
    fn look(&mut self) -> Result<(), Broken> {
        for n in 0..self.machines.len() {
            if self.machines[n].is_up() && self.machines[n].lost_power() {
                self.crash_this(n, Crash::Power);
            }
        }
        let ours: Vec<_> = self.machines.iter().map(|m| m.host).collect();
        for (a, b) in self.scene.net.take_resets() {
            if ours.contains(&a) && ours.contains(&b) {
                self.excuse_ours();
            }
        }
        let seen = self.scene.net.seen_in_clear((ip(1), ip(2)));
        no_clear_text(seen, "from a.sim to b.sim")?;
        for machine in &self.machines {
            machine.check_books()?;
            for server in &self.outside {
                let open = self.scene.net.open_streams(machine.host, server.host);
                invariants::bounds_kept("connections to one host", open, CONNECTIONS_MAX)?;
            }
        }
        crate::locked(&self.scene.ledger).check_now()
    }

    /// Everything in the mailboxes of our servers arrived, too.
    fn open_mailboxes(&self) -> Result<(), Broken> {
        let mut ledger = crate::locked(&self.scene.ledger);
        for machine in &self.machines {
            let mail = machine.mail().map_err(|e| Broken {
                invariant: "bytes_kept",
                seen: format!("the mailboxes of {} cannot be read: {e}", machine.name),
            })?;
            for (mailbox, content) in mail {
                let Some(number) = letter::number_of(&content) else {
                    continue;
                };
                // The folder is the mailbox, the recipient was `mailbox+mNUMBER`.
                let address = mailbox.replacen('@', &format!("+m{number}@"), 1);
                ledger.arrived(&address, &content);
            }
        }
        Ok(())
    }

    fn note(&self, words: &[u64], text: impl FnOnce() -> String) {
        self.scene.net.note(words, text);
    }

    fn trace(&self) -> Trace {
        let mut trace = self.scene.net.trace();
        for line in self.machines.iter().flat_map(Machine::records) {
            trace.line(|| line);
        }
        trace
    }

    fn totals(&self) -> Totals {
        let ledger = crate::locked(&self.scene.ledger);
        let many = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Totals {
            messages: many(ledger.len()),
            promised: many(ledger.promised()),
            duplicates: ledger.duplicates(),
            reports: ledger.reports,
            kills: self.kills,
            power_cuts: self.power_cuts,
            hours: self.scene.clock.elapsed().as_secs() / 3600,
        }
    }
}

/// Content that may only pass through TLS was not seen in clear.
fn no_clear_text(seen: bool, way: &str) -> Result<(), Broken> {
    if !seen {
        return Ok(());
    }
    Err(Broken {
        invariant: "no_clear_text",
        seen: format!("content passed {way} in clear"),
    })
}

fn does_not_start(why: &str) -> Broken {
    Broken {
        invariant: "progress",
        seen: format!("a server does not start: {why}"),
    }
}

fn for_ever(what: &str) -> Broken {
    Broken {
        invariant: "progress",
        seen: format!("{what} for ever"),
    }
}
