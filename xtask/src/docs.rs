//! `cargo xtask docs`: rustdoc without warnings, and the documents that are made from the code.
//!
//! [`RFC_PAGE`] ends with a generated list: which file speaks of which section of which RFC.
//! The functions quoted in [`quote::PAGE`] are written anew. With `--check` nothing is written and
//! a stale document is a failure.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::{self, Result};
use crate::quote;
use crate::tidy::{self, File};

/// Where every RFC the code refers to is explained.
pub(crate) const RFC_PAGE: &str = "docs/rfc.md";
const GENERATED: &str = "<!-- From here on written by `cargo xtask docs`. -->\n";

/// A reference such as `RFC 5321 §4.5.3.1`.
pub(crate) struct Reference {
    pub(crate) number: u32,
    /// The section's number; empty for the whole document.
    pub(crate) section: String,
}

/// Builds the documentation of all crates and writes, or compares, what is generated.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let check = arguments.iter().any(|argument| argument == "--check");
    let files = tidy::files()?;
    let rfc = text_of(&files, RFC_PAGE)?;
    let fresh = format!("{}{GENERATED}\n{}", hand_written(rfc), index(&files));
    renew(RFC_PAGE, rfc, &fresh, check)?;
    let architecture = text_of(&files, quote::PAGE)?;
    renew(
        quote::PAGE,
        architecture,
        &quote::fill(architecture, &files)?,
        check,
    )?;
    references_of_the_program(check)?;
    command::cargo()
        .args([
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--locked",
        ])
        .env("RUSTDOCFLAGS", "--deny warnings")
        .run()
}

fn text_of<'a>(files: &'a [File], path: &str) -> Result<&'a str> {
    let found = files.iter().find(|file| file.path == path);
    Ok(&found.ok_or_else(|| format!("{path} is missing"))?.text)
}

/// Writes a document that is stale, or says that it is.
fn renew(path: &str, old: &str, fresh: &str, check: bool) -> Result<()> {
    if old == fresh {
        return Ok(());
    }
    if check {
        return Err(format!("{path} is stale: run `cargo xtask docs`"));
    }
    std::fs::write(command::root().join(path), fresh)
        .map_err(|fault| format!("{path} cannot be written: {fault}"))
}

/// The pages of `docs/reference` that are made from the program's own definitions; a test of the
/// program makes and compares them.
fn references_of_the_program(check: bool) -> Result<()> {
    let words = [
        "test",
        "--quiet",
        "--locked",
        "--package",
        "posthaste",
        "--test",
        "reference",
    ];
    let test = command::cargo().args(words);
    if check {
        test
    } else {
        test.env("UPDATE_GOLDEN", "1")
    }
    .run()
}

/// Numbers of the RFCs that the hand-written part of the page has a row for.
pub(crate) fn known_rfcs(files: &[File]) -> Result<BTreeSet<u32>> {
    let page = files.iter().find(|file| file.path == RFC_PAGE);
    let page = page.ok_or_else(|| format!("{RFC_PAGE} is missing"))?;
    let rows = hand_written(&page.text)
        .lines()
        .filter(|line| line.starts_with('|'));
    Ok(rows
        .filter_map(|row| references(row).first().map(|found| found.number))
        .collect())
}

/// The references in a line of a comment.
pub(crate) fn references(line: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    for (at, mark) in line.match_indices("RFC") {
        let tail = line.get(at + mark.len()..).unwrap_or_default();
        let tail = tail.strip_prefix(' ').unwrap_or(tail);
        let digits: String = tail.chars().take_while(char::is_ascii_digit).collect();
        let Ok(number) = digits.parse() else { continue };
        let tail = tail.get(digits.len()..).unwrap_or_default();
        let section = tail.strip_prefix(" §").map(section).unwrap_or_default();
        found.push(Reference { number, section });
    }
    found
}

fn section(tail: &str) -> String {
    let section: String = tail
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '.')
        .collect();
    section.trim_end_matches('.').to_owned()
}

fn hand_written(page: &str) -> &str {
    page.split_once(GENERATED).map_or(page, |(head, _)| head)
}

/// One line a section, in the order of numbers: where the code speaks of it.
fn index(files: &[File]) -> String {
    let mut places: BTreeMap<(u32, Vec<u32>, String), BTreeSet<&str>> = BTreeMap::new();
    for file in files.iter().filter(|file| !file.path.starts_with("xtask/")) {
        let Some(source) = &file.rust else { continue };
        for found in source.comments.lines().flat_map(references) {
            let order = found
                .section
                .split('.')
                .map(|part| part.parse().unwrap_or(u32::MAX));
            let key = (found.number, order.collect(), found.section);
            places.entry(key).or_default().insert(&file.path);
        }
    }
    let mut text = String::from("## Where the code speaks of it\n\n");
    for ((number, _, section), files) in places {
        let section = if section.is_empty() {
            section
        } else {
            format!(" §{section}")
        };
        text.push_str(&format!("* RFC {number}{section}:"));
        let mut column = usize::MAX;
        for file in files {
            if column.saturating_add(file.len()) > 96 {
                text.push_str("\n ");
                column = 1;
            }
            text.push_str(&format!(" `{file}`"));
            column += file.len() + 3;
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::references;

    #[test]
    fn references_give_number_and_section() {
        let found = references("// see RFC 5321 §4.5.3.1. Also RFC3464, and RFC nnnn.");
        let found: Vec<_> = found
            .iter()
            .map(|r| (r.number, r.section.as_str()))
            .collect();
        assert_eq!(found, [(5321, "4.5.3.1"), (3464, "")]);
    }
}
