//! Level 3 in every test run: the seeds that found something once, and some fresh ones. CI runs
//! `cargo xtask sim`, which takes 300.

use posthaste_sim::{Kind, Plan, campaign, known, level3};

#[test]
fn seeds_that_found_something_once_find_nothing_now() {
    for seed in known(Kind::Three) {
        if let Err(failure) = level3::run(seed, None, false) {
            panic!("{failure}");
        }
    }
}

#[test]
fn whole_servers_hold_every_promise() {
    let words = ["--level", "3", "--from", "0", "--seeds", "25"];
    let plan = Plan::parse(&words.map(str::to_owned)).unwrap();
    match campaign(&plan, &mut |_| {}) {
        Ok(totals) => println!("{totals}"),
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn the_same_seed_does_the_same_twice_whether_somebody_reads_along_or_not() {
    let hashes: std::collections::BTreeSet<u64> = (0..6)
        .map(|seed| {
            let first = level3::run(seed, None, false).unwrap();
            let second = level3::run(seed, None, true).unwrap();
            assert_eq!(first.trace.hash(), second.trace.hash(), "seed {seed}");
            assert_eq!(first.totals, second.totals);
            assert!(!second.trace.lines().is_empty());
            second.trace.hash()
        })
        .collect();
    assert_eq!(hashes.len(), 6);
}
