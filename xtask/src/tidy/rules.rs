//! Rules about one file: lengths, module docs, words, references, and who may promise.

use std::collections::BTreeSet;

use super::{File, Finding};
use crate::command::Result;
use crate::docs;
use crate::source::{Source, is_word};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;
const LINE_COLUMNS_MAX: usize = 100;
/// The one file that may turn a durable message into a 250.
const PROMISE: &str = "crates/queue/src/receipt.rs";

/// Words that no committed text may hold, with what to do instead. They are written in two parts
/// here, so that this file does not find itself.
const BANNED: [(&str, &str); 8] = [
    (concat!("to", "do!"), "write it"),
    (concat!("unimpl", "emented!"), "write it"),
    (concat!("FIX", "ME"), "mend it or file an issue"),
    (concat!("X", "XX"), "mend it or file an issue"),
    (concat!("TO", "DO"), "do it or file an issue"),
    (
        concat!("/wo", "rk/"),
        "a path of one machine has no place here",
    ),
    (
        concat!("/tmp/", "t/"),
        "a path of one machine has no place here",
    ),
    (
        concat!("/tmp/", "brief"),
        "a path of one machine has no place here",
    ),
];

pub(super) fn check(files: &[File]) -> Result<Vec<Finding>> {
    let known = docs::known_rfcs(files)?;
    let mut findings = Vec::new();
    for file in files {
        words(file, &mut findings);
        if let Some(source) = &file.rust {
            lengths(file, source, &mut findings);
            module_doc(file, &mut findings);
            references(file, source, &known, &mut findings);
            promise(file, source, &mut findings);
        }
    }
    Ok(findings)
}

fn found(rule: &'static str, file: &File, line: usize, says: String) -> Finding {
    Finding {
        rule,
        path: file.path.clone(),
        line,
        name: "-".to_owned(),
        measure: 1,
        says,
    }
}

fn lengths(file: &File, source: &Source, findings: &mut Vec<Finding>) {
    for function in source.functions() {
        if function.lines > FUNCTION_LINES_MAX {
            let says = format!(
                "fn {} has {} lines, at most {FUNCTION_LINES_MAX}",
                function.name, function.lines
            );
            let mut finding = found("function-length", file, function.line, says);
            finding.name = function.name;
            finding.measure = function.lines;
            findings.push(finding);
        }
    }
    let lines = source.shipped_lines();
    if lines > FILE_LINES_MAX && !file.is_test() {
        let says = format!("{lines} lines without tests, at most {FILE_LINES_MAX}");
        let mut finding = found("file-length", file, 1, says);
        finding.measure = lines;
        findings.push(finding);
    }
    for (index, line) in file.text.lines().enumerate() {
        let columns = line.chars().count();
        // An address cannot be broken.
        if columns > LINE_COLUMNS_MAX && !line.contains("://") {
            let says = format!("{columns} columns, at most {LINE_COLUMNS_MAX}");
            let mut finding = found("line-length", file, index + 1, says);
            finding.measure = columns;
            findings.push(finding);
        }
        if line.ends_with([' ', '\t']) {
            findings.push(found(
                "blanks",
                file,
                index + 1,
                "blanks at the line's end".to_owned(),
            ));
        }
    }
}

/// Every module opens with its role.
fn module_doc(file: &File, findings: &mut Vec<Finding>) {
    let opens = file
        .text
        .lines()
        .find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
    if !opens.is_some_and(|line| line.starts_with("//!")) {
        let says = "no module doc (//!) at the top: role, invariants, RFC, what it does not do";
        findings.push(found("module-doc", file, 1, says.to_owned()));
    }
}

fn words(file: &File, findings: &mut Vec<Finding>) {
    for (index, line) in file.text.lines().enumerate() {
        for (word, instead) in BANNED {
            if has_word(line, word) {
                let says = format!("{word:?} in committed text: {instead}");
                findings.push(found("words", file, index + 1, says));
            }
        }
    }
}

/// Whether a line holds `word` and not only as the beginning or end of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let bounded = |c: Option<char>| !c.is_some_and(is_word);
    let first_is_word = word.starts_with(is_word);
    let last_is_word = word.ends_with(is_word);
    line.match_indices(word).any(|(at, _)| {
        let (head, tail) = line.split_at(at);
        let after = tail.chars().nth(word.chars().count());
        (!first_is_word || bounded(head.chars().next_back())) && (!last_is_word || bounded(after))
    })
}

/// Every RFC that code refers to is one that docs/rfc.md speaks of.
fn references(file: &File, source: &Source, known: &BTreeSet<u32>, findings: &mut Vec<Finding>) {
    for (index, line) in source.comments.lines().enumerate() {
        for reference in docs::references(line) {
            if !known.contains(&reference.number) {
                let says = format!("RFC {} is not in {}", reference.number, docs::RFC_PAGE);
                findings.push(found("references", file, index + 1, says));
            }
        }
    }
}

/// The 250 after the final dot is made from a durable message, in one place (docs/spool.md).
fn promise(file: &File, source: &Source, findings: &mut Vec<Finding>) {
    let shipped_code = file.path.starts_with("crates/") && !file.is_test();
    if !shipped_code || file.path == PROMISE {
        return;
    }
    let shipped = source.shipped();
    for (index, line) in shipped.lines().enumerate() {
        if line.contains("::promise") {
            let says = format!("only {PROMISE} may make an acceptance of a message");
            findings.push(found("promise", file, index + 1, says));
        }
    }
}
