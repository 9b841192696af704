//! Real clients: the machine's own where it has them, else those of `cargo xtask peers`.

use std::process::Command;

use super::Tree;

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

fn on_the_machine(name: &str) -> bool {
    let look = format!("command -v {name} >/dev/null");
    Command::new("sh")
        .args(["-c", &look])
        .status()
        .is_ok_and(|status| status.success())
}
