//! `cargo xtask fuzz`: every fuzz target for a few seconds.
//!
//! The targets stand in `fuzz/`, outside of the workspace; `fuzz/README.md` says how to run one for
//! long. What a run finds new goes to `fuzz/corpus`, which is not kept; what crashes to
//! `fuzz/artifacts`.

use std::path::Path;

use crate::command::{self, Result, root};

const SECONDS: u32 = 10;

/// Builds the targets and runs each for the seconds that the argument gives.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let seconds: u32 = match arguments.first() {
        None => SECONDS,
        Some(word) => word
            .parse()
            .map_err(|_| format!("{word} is not a number of seconds"))?,
    };
    if command::new("c++").args(["--version"]).output().is_err() {
        return Err("c++ is missing, and libFuzzer is C++: apt-get install g++".to_owned());
    }
    let folder = root().join("fuzz");
    let targets = targets(&folder.join("targets"))?;
    // CI says the same of the same tree; whoever looks for faults takes another seed each time.
    let seed = u32::from(command::in_ci());
    // Its lock file follows that of the workspace; in CI it must have followed.
    let locked: &[&str] = if command::in_ci() { &["--locked"] } else { &[] };
    let build = cargo(&folder).args(["build", "--release"]);
    build.args(locked).run()?;
    for target in &targets {
        let corpus = folder.join("corpus").join(target);
        let artifacts = folder.join("artifacts").join(target);
        for made in [&corpus, &artifacts] {
            std::fs::create_dir_all(made)
                .map_err(|fault| format!("{}: {fault}", made.display()))?;
        }
        println!("== fuzz {target}: {seconds} s");
        cargo(&folder)
            .args(["run", "--quiet", "--release", "--bin", target, "--"])
            .args([
                format!("-max_total_time={seconds}"),
                format!("-seed={seed}"),
                format!("-artifact_prefix={}/", artifacts.display()),
                "-print_final_stats=1".to_owned(),
                "-verbosity=0".to_owned(),
            ])
            .args([corpus])
            .args(Some(folder.join("seeds").join(target)).filter(|seeds| seeds.exists()))
            .run()
            .map_err(|fault| {
                format!("{target}: {fault}; the input is in {}", artifacts.display())
            })?;
    }
    println!(
        "fuzz: {} targets, {seconds} s each, no crash",
        targets.len()
    );
    Ok(())
}

/// Cargo in the folder of the targets: it reads the compiler flags that stand there.
fn cargo(folder: &Path) -> command::Run {
    // A target folder that somebody set for the workspace would mix two kinds of builds.
    command::cargo()
        .folder(folder)
        .env("CARGO_TARGET_DIR", command::target().join("fuzz"))
}

fn targets(folder: &Path) -> Result<Vec<String>> {
    let entries =
        std::fs::read_dir(folder).map_err(|fault| format!("{}: {fault}", folder.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}
