//! `posthaste-sim`: runs simulations, and replays one from its seed.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for people

use std::process::ExitCode;

use posthaste_sim::{Plan, campaign, replay};

const USAGE: &str = "\
posthaste-sim [KIND] [--seeds N] [--from S]   seeds from S; else the known ones, then from 0
posthaste-sim [KIND] --seed S [--quiet]       one seed, with all that happens in it
              [--steps N]                     steps of a life, instead of the usual number
KIND: --level 2 (--queue: through the queue; --store: the store), --level 3; without: all";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let plan = match Plan::parse(&arguments) {
        Ok(plan) => plan,
        Err(fault) => {
            eprintln!("posthaste-sim: {fault}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = match plan.only {
        Some(seed) => replay(&plan, seed, &mut |line| println!("{line}")),
        None => campaign(&plan, &mut |line| println!("{line}")),
    };
    match done {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}
