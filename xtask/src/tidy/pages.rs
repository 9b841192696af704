//! Rules about documents: links lead somewhere.

use super::{File, Finding};
use crate::command::root;

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let pages = files.iter().filter(|file| file.path.ends_with(".md"));
    let mut findings = Vec::new();
    for page in pages {
        links(page, &mut findings);
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
