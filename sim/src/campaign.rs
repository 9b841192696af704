//! Running many seeds, and one seed again.

use std::fmt;

use crate::level2::{self, Way};
use crate::level3;
use crate::trace::Trace;

/// Seeds of level 2 that found something once. They run first, for ever.
const KNOWN_2: &str = include_str!("../seeds/level2.txt");
/// The same of level 2 through the queue.
const KNOWN_QUEUE: &str = include_str!("../seeds/level2-queue.txt");
/// The same of level 3.
const KNOWN_3: &str = include_str!("../seeds/level3.txt");

/// Seeds of a campaign that does not say how many: of level 2, of level 2 through the queue, and of
/// level 3. `cargo xtask sim` shares the same among two processes.
const SEEDS: [u64; 3] = [10_000, 3_000, 1_000];

/// One seed in this many is run twice, and must do the same.
const TWICE: u64 = 100;

/// What is driven by a seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Level 2: the spool and the schedule, or the queue.
    Two(Way),
    /// Level 3: whole servers.
    Three,
}

impl Kind {
    /// As the command line has it.
    fn options(self) -> &'static str {
        match self {
            Kind::Two(Way::Store) => "--level 2",
            Kind::Two(Way::Queue) => "--level 2 --queue",
            Kind::Three => "--level 3",
        }
    }
}

/// What to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// What is driven; `None` for everything.
    pub kind: Option<Kind>,
    /// This seed only, with all that happens in it.
    pub only: Option<u64>,
    /// Otherwise so many of each kind; `None` for the usual number,
    pub seeds: Option<u64>,
    /// from this one on; `None` for the known ones, then from 0.
    pub from: Option<u64>,
    /// Steps of one life; `None` for the usual number.
    pub steps: Option<u64>,
    /// Whether to leave the text of a replay away.
    pub quiet: bool,
}

impl Plan {
    /// From the words of a command line.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(words: &[String]) -> Result<Plan, String> {
        let mut plan = Plan {
            kind: None,
            only: None,
            seeds: None,
            from: None,
            steps: None,
            quiet: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quiet" => plan.quiet = true,
                "--queue" => plan.kind = Some(Kind::Two(Way::Queue)),
                "--store" => plan.kind = Some(Kind::Two(Way::Store)),
                _ => plan.set(word, words.next())?,
            }
        }
        Ok(plan)
    }

    /// An option with a number.
    fn set(&mut self, word: &str, value: Option<&String>) -> Result<(), String> {
        let Some(Ok(value)) = value.map(|v| v.parse::<u64>()) else {
            return Err(format!("{word} needs a number"));
        };
        match word {
            "--level" => match (value, self.kind) {
                (2, Some(Kind::Two(_))) => {}
                (2, _) => self.kind = Some(Kind::Two(Way::Store)),
                (3, _) => self.kind = Some(Kind::Three),
                _ => return Err(format!("there is no level {value} here")),
            },
            "--seed" => self.only = Some(value),
            "--seeds" => self.seeds = Some(value),
            "--from" => self.from = Some(value),
            "--steps" => self.steps = Some(value),
            _ => return Err(format!("unknown option {word}")),
        }
        Ok(())
    }

    /// What to run, in order.
    fn runs(&self) -> Vec<(Kind, u64)> {
        let from = self.from.unwrap_or(0);
        let kinds = [Kind::Two(Way::Store), Kind::Two(Way::Queue), Kind::Three];
        let mut runs = Vec::new();
        for (kind, usual) in kinds.into_iter().zip(SEEDS) {
            if self.kind.is_some_and(|wanted| wanted != kind) {
                continue;
            }
            if self.from.is_none() {
                runs.extend(known(kind).into_iter().map(|seed| (kind, seed)));
            }
            let end = from.saturating_add(self.seeds.unwrap_or(usual));
            runs.extend((from..end).map(|seed| (kind, seed)));
        }
        runs
    }
}

/// The seeds of a kind that found something once.
#[must_use]
pub fn known(kind: Kind) -> Vec<u64> {
    let text = match kind {
        Kind::Two(Way::Store) => KNOWN_2,
        Kind::Two(Way::Queue) => KNOWN_QUEUE,
        Kind::Three => KNOWN_3,
    };
    let lines = text
        .lines()
        .map(|l| l.split('#').next().unwrap_or_default().trim());
    lines.filter_map(|l| l.parse().ok()).collect()
}

/// A run that broke a promise.
#[derive(Debug)]
pub struct Failure {
    /// What was driven.
    pub kind: Kind,
    /// Its seed.
    pub seed: u64,
    /// What is broken.
    pub broken: String,
    /// What happened until then.
    pub trace: Trace,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = self.kind.options();
        writeln!(f, "{options}, seed {}: {}", self.seed, self.broken)?;
        write!(f, "replay: cargo xtask sim {options} --seed {}", self.seed)
    }
}

impl std::error::Error for Failure {}

/// What happened in the runs of a campaign.
#[derive(Default)]
struct Totals {
    two: (u64, level2::Totals),
    three: (u64, level3::Totals),
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.two.0 > 0 {
            parts.push(format!("level 2: {} seeds, {}", self.two.0, self.two.1));
        }
        if self.three.0 > 0 {
            parts.push(format!("level 3: {} seeds, {}", self.three.0, self.three.1));
        }
        f.write_str(&parts.join("\n"))
    }
}

impl Totals {
    /// Runs a seed; gives what happened in it, as a hash.
    fn run(&mut self, (kind, seed): (Kind, u64), steps: Option<u64>) -> Result<u64, Box<Failure>> {
        match kind {
            Kind::Two(way) => {
                let run = level2::run(way, seed, steps, false)?;
                self.two.0 += 1;
                self.two.1.add(&run.totals);
                Ok(run.trace.hash())
            }
            Kind::Three => {
                let run = level3::run(seed, steps, false)?;
                self.three.0 += 1;
                self.three.1.add(&run.totals);
                Ok(run.trace.hash())
            }
        }
    }
}

/// Runs seed after seed until one fails.
///
/// # Errors
/// The failure, with how many seeds it took.
pub fn campaign(plan: &Plan, say: &mut dyn FnMut(&str)) -> Result<String, String> {
    let mut totals = Totals::default();
    let mut done: u64 = 0;
    for (kind, seed) in plan.runs() {
        done += 1;
        let found = |failure: Box<Failure>| format!("{failure}\ncaught after {done} seeds");
        let hash = totals.run((kind, seed), plan.steps).map_err(found)?;
        if done % TWICE == 1 {
            let again = Totals::default().run((kind, seed), plan.steps);
            if again.map_err(found)? != hash {
                let options = kind.options();
                return Err(format!("{options}, seed {seed} did not do the same twice"));
            }
        }
        if done.is_multiple_of(1000) {
            say(&format!("{done} seeds\n{totals}"));
        }
    }
    Ok(format!("{done} seeds hold every promise\n{totals}"))
}

/// Runs one seed and tells all that happens.
///
/// # Errors
/// The failure.
pub fn replay(plan: &Plan, seed: u64, say: &mut dyn FnMut(&str)) -> Result<String, String> {
    let keep = !plan.quiet;
    let run = match plan.kind.unwrap_or(Kind::Two(Way::Store)) {
        Kind::Two(way) => {
            level2::run(way, seed, plan.steps, keep).map(|run| (run.totals.to_string(), run.trace))
        }
        Kind::Three => {
            level3::run(seed, plan.steps, keep).map(|run| (run.totals.to_string(), run.trace))
        }
    };
    let (trace, end) = match run {
        Ok((totals, trace)) => {
            let end = format!("seed {seed}: {totals}; trace {trace}");
            (trace, Ok(end))
        }
        Err(failure) => {
            let end = failure.to_string();
            (failure.trace, Err(end))
        }
    };
    trace.lines().iter().for_each(|line| say(line));
    end
}
