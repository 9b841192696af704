//! Running many seeds, and one seed again.

use std::fmt;

use crate::level2;
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
            only: None,
            seeds: SEEDS,
            from: None,
            steps: None,
            quiet: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--quiet" {
                plan.quiet = true;
                continue;
            }
            let value = words.next().map(|v| v.parse::<u64>());
            let Some(Ok(value)) = value else {
                return Err(format!("{word} needs a number"));
            };
            match word.as_str() {
                "--level" if value == 2 => {}
                "--level" => return Err(format!("there is no level {value} here")),
                "--seed" => plan.only = Some(value),
                "--seeds" => plan.seeds = value,
                "--from" => plan.from = Some(value),
                "--steps" => plan.steps = Some(value),
                _ => return Err(format!("unknown option {word}")),
            }
        }
        Ok(plan)
    }

    fn seeds(&self) -> impl Iterator<Item = u64> {
        let known = if self.from.is_none() {
            known()
        } else {
            Vec::new()
        };
        let from = self.from.unwrap_or(0);
        known
            .into_iter()
            .chain((from..).take(usize::try_from(self.seeds).unwrap_or(usize::MAX)))
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
        write!(f, "replay: cargo xtask sim --level 2 --seed {}", self.seed)
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
    for seed in plan.seeds() {
        done += 1;
        let found = |failure: Box<Failure>| format!("{failure}\ncaught after {done} seeds");
        let run = level2::run(seed, plan.steps, false).map_err(found)?;
        if done % TWICE == 1 {
            let again = level2::run(seed, plan.steps, false).map_err(found)?;
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
    let run = level2::run(seed, plan.steps, !plan.quiet);
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
