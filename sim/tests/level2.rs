//! Level 2 in every test run: the seeds that found something once, and some fresh ones. CI runs
//! `cargo xtask sim`, which takes 10,000.
#![allow(clippy::disallowed_methods)] // looks at the patches

use std::path::Path;
use std::process::Command;

use posthaste_sim::level2::{self, Way};
use posthaste_sim::{Kind, Plan, campaign, known};

#[test]
fn seeds_that_found_something_once_find_nothing_now() {
    for seed in known(Kind::Two(Way::Store)) {
        if let Err(failure) = level2::run(Way::Store, seed, None, false) {
            panic!("{failure}");
        }
    }
}

#[test]
fn fresh_seeds_hold_every_promise() {
    let plan =
        Plan::parse(&["--level", "2", "--from", "0", "--seeds", "500"].map(str::to_owned)).unwrap();
    if let Err(failure) = campaign(&plan, &mut |_| {}) {
        panic!("{failure}");
    }
}

#[test]
fn the_same_seed_does_the_same_twice_whether_somebody_reads_along_or_not() {
    for (way, seed) in (0..20).flat_map(|seed| [(Way::Store, seed), (Way::Queue, seed)]) {
        let first = level2::run(way, seed, None, false).unwrap();
        let second = level2::run(way, seed, None, true).unwrap();
        assert_eq!(first.trace.hash(), second.trace.hash(), "seed {seed}");
        assert_eq!(first.totals, second.totals);
        assert!(!second.trace.lines().is_empty());
    }
    let traces: std::collections::BTreeSet<u64> = (0..20)
        .map(|seed| {
            level2::run(Way::Store, seed, None, false)
                .unwrap()
                .trace
                .hash()
        })
        .collect();
    assert_eq!(traces.len(), 20);
}

/// A variant that no longer applies proves nothing. Running them takes builds: `cargo xtask
/// variants`.
#[test]
fn the_broken_variants_still_apply() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut variants = 0;
    for entry in std::fs::read_dir(root.join("sim/variants")).unwrap() {
        let patch = entry.unwrap().path();
        if patch.extension().is_none_or(|e| e != "patch") {
            continue;
        }
        variants += 1;
        // Without an index `git apply` looks at the files as they are.
        let checked = Command::new("git")
            .args(["apply", "--check"])
            .arg(&patch)
            .current_dir(&root)
            .output();
        match checked {
            Ok(done) => assert!(
                done.status.success(),
                "{}: {}",
                patch.display(),
                String::from_utf8_lossy(&done.stderr)
            ),
            Err(why) => println!("SKIP {}: no git: {why}", patch.display()),
        }
    }
    assert!(variants >= 4, "only {variants} variants");
}
