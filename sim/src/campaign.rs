//! Running many seeds, and one seed again.

use std::fmt;

use crate::level2::{self, Way};
use crate::trace::Trace;

/// Seeds of level 2 that found something once. They run first, for ever.
const KNOWN: &str = include_str!("../seeds/level2.txt");

/// Seeds of a campaign that does not say how many.
const SEEDS: u64 = 10_000;

/// One seed in this many is run twice, and must do the same.
const TWICE: u64 = 100;

/// What to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// What is driven; `None` for the store, and then a tenth of the seeds through the queue.
    pub way: Option<Way>,
    /// This seed only, with all that happens in it.
    pub only: Option<u64>,
    /// Otherwise so many,
    pub seeds: u64,
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
            way: None,
            only: None,
            seeds: SEEDS,
            from: None,
            steps: None,
            quiet: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quiet" => plan.quiet = true,
                "--queue" => plan.way = Some(Way::Queue),
                "--store" => plan.way = Some(Way::Store),
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
            "--level" if value == 2 => {}
            "--level" => return Err(format!("there is no level {value} here")),
            "--seed" => self.only = Some(value),
            "--seeds" => self.seeds = value,
            "--from" => self.from = Some(value),
            "--steps" => self.steps = Some(value),
            _ => return Err(format!("unknown option {word}")),
        }
        Ok(())
    }

    /// What to run, in order.
    fn runs(&self) -> Vec<(Way, u64)> {
        let from = self.from.unwrap_or(0);
        let fresh = |way, seeds| (from..from.saturating_add(seeds)).map(move |seed| (way, seed));
        match self.way {
            Some(way) => fresh(way, self.seeds).collect(),
            None => {
                let known = if self.from.is_none() {
                    known()
                } else {
                    Vec::new()
                };
                let known = known.into_iter().map(|seed| (Way::Store, seed));
                let store = fresh(Way::Store, self.seeds);
                known
                    .chain(store)
                    .chain(fresh(Way::Queue, self.seeds / 10))
                    .collect()
            }
        }
    }
}

/// The seeds that found something once.
#[must_use]
pub fn known() -> Vec<u64> {
    let lines = KNOWN
        .lines()
        .map(|l| l.split('#').next().unwrap_or_default().trim());
    lines.filter_map(|l| l.parse().ok()).collect()
}

/// A run that broke a promise.
#[derive(Debug)]
pub struct Failure {
    /// What was driven.
    pub way: Way,
    /// Its seed.
    pub seed: u64,
    /// What is broken.
    pub broken: String,
    /// What happened until then.
    pub trace: Trace,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "level 2, seed {}: {}", self.seed, self.broken)?;
        let way = if self.way == Way::Queue {
            " --queue"
        } else {
            ""
        };
        write!(
            f,
            "replay: cargo xtask sim --level 2{way} --seed {}",
            self.seed
        )
    }
}

impl std::error::Error for Failure {}

/// Runs seed after seed until one fails.
///
/// # Errors
/// The failure, with how many seeds it took.
pub fn campaign(plan: &Plan, say: &mut dyn FnMut(&str)) -> Result<String, String> {
    let mut totals = level2::Totals::default();
    let mut done = 0;
    for (way, seed) in plan.runs() {
        done += 1;
        let found = |failure: Box<Failure>| format!("{failure}\ncaught after {done} seeds");
        let run = level2::run(way, seed, plan.steps, false).map_err(found)?;
        if done % TWICE == 1 {
            let again = level2::run(way, seed, plan.steps, false).map_err(found)?;
            if again.trace.hash() != run.trace.hash() {
                return Err(format!("seed {seed} did not do the same twice"));
            }
        }
        totals.add(&run.totals);
        if done % 1000 == 0 {
            say(&format!("{done} seeds, {totals}"));
        }
    }
    Ok(format!(
        "level 2: {done} seeds hold every promise: {totals}"
    ))
}

/// Runs one seed and tells all that happens.
///
/// # Errors
/// The failure.
pub fn replay(plan: &Plan, seed: u64, say: &mut dyn FnMut(&str)) -> Result<String, String> {
    let way = plan.way.unwrap_or(Way::Store);
    let run = level2::run(way, seed, plan.steps, !plan.quiet);
    let (trace, end) = match &run {
        Ok(run) => (
            &run.trace,
            Ok(format!("seed {seed}: {}; trace {}", run.totals, run.trace)),
        ),
        Err(failure) => (&failure.trace, Err(failure.to_string())),
    };
    trace.lines().iter().for_each(|line| say(line));
    end
}
