//! `cargo xtask sim`: the simulations, as the program `posthaste-sim` runs them.
//!
//! The usual campaign, without words, is shared among two processes: a run is one thread's work.

use std::thread;

use crate::command::{self, Result};

/// The parts of the usual campaign, one list a process. Together they are what `posthaste-sim` runs
/// without words.
const PARTS: [&[&[&str]]; 2] = [
    &[&["--level", "3", "--seeds", "600"]],
    &[
        &["--store"],
        &["--queue"],
        &["--level", "3", "--from", "600", "--seeds", "400"],
    ],
];

/// Runs the simulator with `arguments`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if !arguments.is_empty() {
        return simulate(arguments);
    }
    let build = ["build", "--quiet", "--locked", "--package", "posthaste-sim"];
    command::cargo().args(build).run()?;
    let each = |part: &&[&[&str]]| -> Result<()> {
        part.iter().try_for_each(|words| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            simulate(&words)
        })
    };
    thread::scope(|scope| {
        let running: Vec<_> = PARTS
            .iter()
            .map(|part| scope.spawn(move || each(part)))
            .collect();
        let ended = running.into_iter().map(|part| {
            let panicked = |_| Err("a part of the campaign ended badly".to_owned());
            part.join().unwrap_or_else(panicked)
        });
        // All of them, so that every failing seed is told.
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}

fn simulate(words: &[String]) -> Result<()> {
    let run = [
        "run",
        "--quiet",
        "--locked",
        "--package",
        "posthaste-sim",
        "--",
    ];
    command::cargo().args(run).args(words).run()
}
