//! `cargo xtask test`: all tests, with the servers and clients they talk to.
//!
//! Tests that lack something say `SKIP …`; those lines are repeated at the end. In CI a missing
//! peer fails its test.

use std::io::{BufRead, BufReader};

use crate::command::{self, Result};
use crate::peers;

/// What the tests of the whole workspace came to.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    binaries: u64,
    skips: Vec<String>,
}

/// Fetches the peers, builds the program, runs every test.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Err(fault) = peers::run() {
        if command::in_ci() {
            return Err(fault);
        }
        println!("peers: {fault}\npeers: tests that need them are skipped");
    }
    let mut words = vec!["test", "--workspace", "--locked", "--no-fail-fast"];
    words.extend(arguments.iter().map(String::as_str));
    if !arguments.iter().any(|argument| argument == "--") {
        words.push("--");
    }
    words.push("--show-output");
    tests(&words)
}

/// Runs one of the binaries of `tests/`, with what it prints.
pub(crate) fn only(name: &str, arguments: &[String]) -> Result<()> {
    peers::run().or_else(|fault| if command::in_ci() { Err(fault) } else { Ok(()) })?;
    let mut words = PROCESSES.to_vec();
    words.extend(["--test", name, "--", "--nocapture"]);
    words.extend(arguments.iter().map(String::as_str));
    tests(&words)
}

/// Runs what hurts, with so many sudden deaths.
pub(crate) fn torture(arguments: &[String]) -> Result<()> {
    peers::run().or_else(|fault| if command::in_ci() { Err(fault) } else { Ok(()) })?;
    let kills = arguments.first().map_or("200", String::as_str);
    let build = ["build", "--locked", "--package", "posthaste"];
    command::cargo().args(build).run()?;
    let mut words = PROCESSES.to_vec();
    words.extend(["--test", "torture", "--test", "kills", "--", "--nocapture"]);
    report(command::cargo().args(words).env("KILLS", kills))
}

/// Builds the program as it ships, and runs the tests of the program as a process against that: the
/// README's demo, dialogues, durability, memory.
pub(crate) fn release() -> Result<()> {
    let build = ["build", "--release", "--locked", "--package", "posthaste"];
    command::cargo().args(build).run()?;
    let mut words = PROCESSES.to_vec();
    words.extend([
        "--test",
        "first_week",
        "--test",
        "blackbox",
        "--test",
        "durability",
    ]);
    words.extend(["--test", "torture", "--", "--nocapture"]);
    let program = command::target().join("release/posthaste");
    report(command::cargo().args(words).env("POSTHASTE", program))
}

/// Runs one of the benchmarks of `tests/tests`, or all, against the program as it ships. They print
/// figures.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let build = ["build", "--release", "--locked", "--package", "posthaste"];
    command::cargo().args(build).run()?;
    let mut words = PROCESSES.to_vec();
    for file in ["bench", "scale", "flights", "counts"] {
        words.extend(["--test", file]);
    }
    words.extend(["--", "--ignored", "--nocapture"]);
    words.push("--test-threads=1");
    // Functions have no hyphens.
    let names: Vec<_> = arguments.iter().map(|a| a.replace('-', "_")).collect();
    words.extend(names.iter().map(String::as_str));
    let program = command::target().join("release/posthaste");
    report(command::cargo().args(words).env("POSTHASTE", program))
}

/// Cargo's words for the tests that drive the program as a process.
const PROCESSES: [&str; 4] = ["test", "--locked", "--package", "posthaste-tests"];

fn tests(words: &[&str]) -> Result<()> {
    let build = ["build", "--locked", "--package", "posthaste"];
    command::cargo().args(build).run()?;
    report(command::cargo().args(words))
}

/// Runs tests, and adds up what their binaries say.
fn report(run: command::Run) -> Result<()> {
    let mut child = run.piped()?;
    let output = child.stdout.take().ok_or("cargo test has no output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|fault| format!("cargo test: {fault}"))?;
        println!("{line}");
        tally.add(&line);
    }
    let status = child
        .wait()
        .map_err(|fault| format!("cargo test: {fault}"))?;
    tally.skips.sort();
    tally.skips.dedup();
    for skip in &tally.skips {
        println!("{skip}");
    }
    let verdict = if status.success() { "ok" } else { "FAILED" };
    let Tally {
        passed,
        failed,
        ignored,
        binaries,
        skips,
    } = tally;
    println!(
        "test result of {binaries} binaries: {verdict}. {passed} passed; {failed} failed; \
         {ignored} ignored; {} skips",
        skips.len()
    );
    if !status.success() {
        return Err(format!("{failed} tests failed"));
    }
    Ok(())
}

impl Tally {
    /// Learns from a line such as `test result: ok. 7 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        if line.trim_start().starts_with("SKIP") {
            self.skips.push(line.trim().to_owned());
        }
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        self.binaries += 1;
        let counts = result.split_once(". ").map_or("", |(_, counts)| counts);
        for (count, what) in counts.split("; ").filter_map(|part| part.split_once(' ')) {
            let count: u64 = count.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn closing_lines_are_added_up() {
        let mut tally = Tally::default();
        tally.add("test result: ok. 7 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        tally.add("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured");
        tally.add("    SKIP exim: not fetched");
        assert_eq!(
            (tally.passed, tally.failed, tally.ignored, tally.binaries),
            (8, 2, 1, 2)
        );
        assert_eq!(tally.skips, ["SKIP exim: not fetched"]);
    }
}
