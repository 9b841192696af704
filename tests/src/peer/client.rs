//! Real clients: the machine's own where it has them, else those of `cargo xtask peers`.

use std::process::Command;

use super::Tree;
use crate::{root, skip};

/// Whether a client can be run; says `SKIP` when not.
#[must_use]
pub fn is_there(name: &str) -> bool {
    on_the_machine(name) || Tree::require("clients").is_some()
}

/// A command that runs `script` where the client is there, with `words` from `$1` on.
///
/// # Panics
/// When [`is_there`] would have said no.
#[must_use]
pub fn command(name: &str, script: &str, words: &[&str]) -> Command {
    if on_the_machine(name) {
        let mut command = Command::new("sh");
        command.args(["-ec", script, "sh"]).args(words);
        return command;
    }
    Tree::require("clients")
        .expect("the clients")
        .command(script, words)
}

/// Python with the libraries of a peer, which runs `script` with `words` as its arguments; says
/// `SKIP` when there is no Python or the libraries have not been fetched.
#[must_use]
pub fn python(peer: &str, script: &str, words: &[&str]) -> Option<Command> {
    let tree = root().join("target/peers").join(peer);
    if !on_the_machine("python3") || !tree.join("packages").exists() {
        skip(&format!(
            "{peer}: not fetched; `cargo xtask peers` says why"
        ));
        return None;
    }
    let mut command = Command::new("python3");
    command.args(["-c", script]).args(words);
    command.env("PYTHONPATH", tree.join("python"));
    Some(command)
}

fn on_the_machine(name: &str) -> bool {
    let look = format!("command -v {name} >/dev/null");
    Command::new("sh")
        .args(["-c", &look])
        .status()
        .is_ok_and(|status| status.success())
}
