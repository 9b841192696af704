//! Rules about documents: links lead somewhere, and quoted code is the code.

use super::{File, Finding};
use crate::command::root;

/// The page whose Rust blocks are quotations.
const QUOTING: &str = "ARCHITECTURE.md";

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let pages = files.iter().filter(|file| file.path.ends_with(".md"));
    let mut findings = Vec::new();
    for page in pages {
        links(page, &mut findings);
        if page.path == QUOTING {
            quotations(page, files, &mut findings);
        }
    }
    findings
}

fn links(page: &File, findings: &mut Vec<Finding>) {
    let page_path = root().join(&page.path);
    let Some(folder) = page_path.parent() else {
        return;
    };
    for (index, line) in page.text.lines().enumerate() {
        for (_, tail) in line
            .match_indices("](")
            .map(|(at, mark)| line.split_at(at + mark.len()))
        {
            let target = tail.split([')', '#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !folder.join(target).exists() {
                findings.push(finding(page, index + 1, format!("{target} is not there")));
            }
        }
    }
}

/// Every block of Rust stands, line by line, in some file of the crates.
fn quotations(page: &File, files: &[File], findings: &mut Vec<Finding>) {
    let mut lines = page.text.lines().enumerate();
    while let Some((start, line)) = lines.next() {
        if line.trim() != "```rust" {
            continue;
        }
        let block: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| line.trim() != "```")
            .collect();
        let block = squeezed(&block.join("\n"));
        let sources = files.iter().filter(|file| file.rust.is_some());
        if !sources
            .into_iter()
            .any(|source| squeezed(&source.text).contains(&block))
        {
            let says = "the quoted code is not in the tree".to_owned();
            findings.push(finding(page, start + 1, says));
        }
    }
}

/// A text with every run of blanks and line ends as one blank.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn finding(page: &File, line: usize, says: String) -> Finding {
    let path = page.path.clone();
    Finding {
        rule: "pages",
        path,
        line,
        name: "-".to_owned(),
        measure: 1,
        says,
    }
}
