//! The reference pages, from the definitions: `docs/reference/config.md` and `cli.md`.
//!
//! A test compares the pages in the tree with these functions.

use std::fmt::Write;

use clap::CommandFactory;

use super::file;
use super::value::{Fallback, Key, Section};
use crate::cli::Cli;

/// The whole of `docs/reference/config.md`.
#[must_use]
pub fn config_page() -> String {
    let mut page = String::from(CONFIG_INTRO);
    for one in file::top().all() {
        match one.header {
            "" => section(&mut page, "The top of the file", &one),
            header => section(&mut page, &format!("`{header}`"), &one),
        }
    }
    page
}

/// The whole of `docs/reference/cli.md`.
#[must_use]
pub fn cli_page() -> String {
    let mut page = String::from(CLI_INTRO);
    let mut command = Cli::command();
    command.build();
    help(&mut page, &mut command, "posthaste");
    page
}

const CONFIG_INTRO: &str = "\
<!-- Made from crates/server/src/config/file.rs; a test says how to make it again. -->

# Configuration

Posthaste reads one file in [TOML](https://toml.io), `/etc/posthaste/posthaste.toml` or what
`--config FILE` names. It never writes it. `posthaste check` says everything that is wrong with it.

- Unknown keys are errors.
- Relative paths start at the file's folder.
- Durations are written `\"90s\"`, `\"5m\"`, `\"4h\"`, `\"5d\"`; sizes `\"64KiB\"`, `\"50MiB\"`.
- Where a list is expected, a single value may stand without brackets.
- Networks are written `\"192.0.2.0/24\"` or `\"2001:db8::/32\"`. IPv4 addresses in IPv6 form
  (`::ffff:192.0.2.1`) count as IPv4.
- SIGHUP makes the server read the file again. A file with an error changes nothing.
";

const CLI_INTRO: &str = "\
<!-- Made from crates/server/src/cli.rs; a test says how to make it again. -->

# Commands

";

fn section(page: &mut String, title: &str, section: &Section) {
    let _ = write!(page, "\n## {title}\n\n{}\n", paragraph(section.about));
    for key in section.keys.iter().filter(|k| k.section.is_none()) {
        let _ = write!(page, "\n### `{}`\n\n{}\n\n", key.name, paragraph(key.about));
        let _ = writeln!(page, "- Write: {}{}", key.kind, example(key));
        let _ = writeln!(page, "- Default: {}", default(key));
    }
}

fn default(key: &Key) -> String {
    match key.default {
        Fallback::Required(_) => "none; it must be there".into(),
        Fallback::Absent(meaning) => meaning.into(),
        Fallback::Is(value) => format!("`{value}`"),
    }
}

fn example(key: &Key) -> String {
    match key.default {
        Fallback::Required(example) => format!(", like `{} = {example}`", key.name),
        Fallback::Absent(_) | Fallback::Is(_) => String::new(),
    }
}

fn paragraph(lines: &[&str]) -> String {
    lines
        .iter()
        .map(|l| l.trim())
        .collect::<Vec<_>>()
        .join("\n")
}

fn help(page: &mut String, command: &mut clap::Command, path: &str) {
    let text = command.render_long_help().to_string();
    let text: Vec<&str> = text.lines().map(str::trim_end).collect();
    let _ = write!(
        page,
        "## `{path}`\n\n```text\n{}\n```\n\n",
        text.join("\n").trim_end()
    );
    for inner in command
        .get_subcommands_mut()
        .filter(|c| c.get_name() != "help" && !c.is_hide_set())
    {
        let path = format!("{path} {}", inner.get_name());
        help(page, inner, &path);
    }
}
