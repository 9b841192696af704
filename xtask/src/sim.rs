//! `cargo xtask sim`: the simulations, as the program `posthaste-sim` runs them.

use crate::command::{self, Result};

/// Runs the simulator with `arguments`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let words = [
        "run",
        "--quiet",
        "--locked",
        "--package",
        "posthaste-sim",
        "--",
    ];
    command::cargo().args(words).args(arguments).run()
}
