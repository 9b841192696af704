//! `cargo xtask tidy`: the style rules that rustfmt, clippy and rustdoc do not check.
//!
//! A rule that must be broken somewhere stands in `xtask/exceptions.txt` with its measure. An
//! exception that is no longer needed, or measured too high, is itself a finding: the list shrinks.
//! It does **not** change files.

mod crates;
mod exceptions;
mod pages;
mod rules;

use crate::command::{self, Result};
use crate::source::Source;
use exceptions::Exceptions;

/// A file under version control.
pub(crate) struct File {
    /// Path from the workspace's folder.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The file taken apart, when it is Rust.
    pub(crate) rust: Option<Source>,
}

/// Something a rule does not allow.
struct Finding {
    rule: &'static str,
    path: String,
    line: usize,
    /// What is measured and named in an exception: a function's name, or `-`.
    name: String,
    /// How much there is of it; 1 for what is not allowed at all.
    measure: usize,
    says: String,
}

impl File {
    /// Whether it holds only tests: a crate's `tests` folder, or a module of tests.
    fn is_test(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.starts_with("tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs")
    }
}

/// Runs every rule over every file and prints what they find.
pub(crate) fn run() -> Result<()> {
    let files = files()?;
    let mut findings = rules::check(&files)?;
    findings.extend(pages::check(&files));
    findings.extend(crates::check(&crate::metadata::Graph::read()?, &files)?);
    let left = Exceptions::read()?.apply(findings);
    for finding in &left {
        println!(
            "{}:{}: {} [{}]",
            finding.path, finding.line, finding.says, finding.rule
        );
    }
    match left.len() {
        0 => {
            println!("tidy: {} files, nothing to mend", files.len());
            Ok(())
        }
        count => Err(format!(
            "{count} to mend; the rules stand in CONTRIBUTING.md"
        )),
    }
}

/// All text files that are, or would be, under version control.
pub(crate) fn files() -> Result<Vec<File>> {
    // Whoever runs the checks need not own the tree.
    let words = "-c safe.directory=* ls-files --cached --others --exclude-standard -z";
    let arguments = words.split(' ');
    let names = command::new("git").args(arguments).output()?;
    let mut files = Vec::new();
    for path in names.split('\0').filter(|path| !path.is_empty()) {
        // What is deleted but not yet committed, and what is no text, has no style.
        let Ok(text) = std::fs::read_to_string(command::root().join(path)) else {
            continue;
        };
        let rust = path.ends_with(".rs").then(|| Source::read(&text));
        files.push(File {
            path: path.to_owned(),
            text,
            rust,
        });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        if let Err(fault) = super::run() {
            panic!("{fault}");
        }
    }
}
