//! The project's own commands, `cargo xtask …`: the checks CI runs, the tests and what they need.
//!
//! One module a command. Plain cargo builds and tests everything; this adds what cargo does not do.
//! It does **not** ship with the program and holds no logic of it.

// A tool for developers: it talks on its output and reads the tree it stands in.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod command;
mod dependencies;
mod docs;
mod fuzz;
mod metadata;
mod peers;
mod quote;
mod sim;
mod source;
mod test;
mod tidy;
mod variants;

use std::process::ExitCode;

const HELP: &str = "\
Commands of the project: cargo xtask COMMAND

  test [ARG…]         everything that `cargo test` runs, with the peers it needs; ARGs go to cargo
  tidy                the style rules that no other tool checks
  docs [--check]      rustdoc without warnings; write generated documents (or compare)
  dependencies        licences, sources, duplicates, advisories
  sim [ARG…]          simulation: --seeds N, or --seed S to replay one
  variants            apply each deliberately broken variant and see that the simulation catches it
  fuzz [SECONDS]      every fuzz target for SECONDS each (default 10)
  peers               fetch the mail and DNS servers the tests talk to, unpacked under target/peers
  durability          the durability tests alone: order of writes, kill -9 under load
  torture [KILLS]     the long tests alone: memory, then KILLS (default 200) sudden deaths under
                      load, with a full disk, few descriptors, little memory, a clock that
                      jumps, a next hop that freezes
  interop             every exchange with real peers, as the table docs/reference/interop.md
  bench [NAME…]       figures of the program as it ships: idle-clear, idle-tls, mailauth,
                      scale, flights, counts
  release             build what ships, and test that as a process: demo, dialogues, durability
  ci                  what CI runs: .ci/run
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = match arguments.split_first() {
        Some((name, rest)) => (name.as_str(), rest),
        None => ("help", arguments.as_slice()),
    };
    let result = match name {
        "test" => test::run(rest),
        "tidy" => tidy::run(),
        "docs" => docs::run(rest),
        "dependencies" => dependencies::run(),
        "sim" => sim::run(rest),
        "variants" => variants::run(rest),
        "fuzz" => fuzz::run(rest),
        "peers" => peers::run(),
        "durability" => test::only("durability", rest),
        "torture" => test::torture(rest),
        "interop" => test::only("interop", &["--ignored".to_owned()]),
        "release" => test::release(),
        "bench" => test::bench(rest),
        "ci" => command::new(".ci/run").args(rest).run(),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(format!(
            "there is no command {other:?}; `cargo xtask help` lists them"
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("xtask {name}: {fault}");
            ExitCode::FAILURE
        }
    }
}
