//! The public ARC suite: chains to validate, and its sealing cases, which are validated as they
//! must come out of a sealer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use posthaste_mailauth::Verdict;

use super::support::{Names, crlf, vectors, verify};

/// The part of YAML that the suite uses: keys, texts on one line, and blocks after `|` or `>-`.
#[derive(Default)]
struct Node {
    text: String,
    children: BTreeMap<String, Node>,
}

impl Node {
    fn get(&self, key: &str) -> &Node {
        self.children.get(key).unwrap_or_else(|| panic!("no {key}"))
    }

    fn text(&self, key: &str) -> &str {
        self.children.get(key).map_or("", |node| &node.text)
    }

    /// Reads the lines that are indented by `depth` at least, into keys at `depth`.
    fn read(lines: &mut std::iter::Peekable<std::slice::Iter<'_, &str>>, depth: usize) -> Node {
        let indent = |line: &str| line.len() - line.trim_start().len();
        let mut node = Node::default();
        while let Some(&&line) = lines.peek() {
            if line.trim().is_empty() {
                lines.next();
                continue;
            }
            if indent(line) < depth {
                break;
            }
            lines.next();
            let (key, value) = line.split_once(':').unwrap();
            let value = value.trim();
            let child = match value {
                "" => Node::read(lines, depth + 2),
                "|" | ">-" => Node {
                    text: block(lines, depth, value == "|"),
                    ..Node::default()
                },
                text => Node {
                    text: text.to_owned(),
                    ..Node::default()
                },
            };
            node.children.insert(key.trim().to_owned(), child);
        }
        node
    }
}

/// A block of text below a key at `depth`, with its line ends or folded into one line.
fn block(
    lines: &mut std::iter::Peekable<std::slice::Iter<'_, &str>>,
    depth: usize,
    keep: bool,
) -> String {
    let mut text = String::new();
    while let Some(&&line) = lines.peek() {
        let inside = line.trim().is_empty() || line.starts_with(&" ".repeat(depth + 2));
        if !inside {
            break;
        }
        lines.next();
        text.push_str(line.get(depth + 2..).unwrap_or(""));
        text.push_str(if keep { "\n" } else { " " });
    }
    if keep {
        format!("{}\n", text.trim_end_matches('\n'))
    } else {
        text.trim_end().to_owned()
    }
}

fn documents(path: &Path) -> Vec<Node> {
    let text = fs::read_to_string(path).unwrap();
    let text = format!("\n{text}"); // the first document has its line of dashes, too
    let parts = text.split("\n---\n");
    parts
        .filter(|part| !part.trim().is_empty())
        .map(|part| {
            let lines: Vec<&str> = part.lines().collect();
            Node::read(&mut lines.iter().peekable(), 0)
        })
        .collect()
}

fn names(document: &Node) -> Names {
    let records = &document.get("txt-records").children;
    let records = records.iter();
    records.fold(Names::default(), |names, (name, node)| {
        names.with(
            name,
            &node
                .text
                .replace(['\n', ' '], "")
                .replace("DKIM1;", "DKIM1; "),
        )
    })
}

#[test]
fn every_chain_of_the_suite_is_judged_as_the_suite_says() {
    let Some(path) = vectors("arc/arc-validation-part.yml") else {
        return;
    };
    let mut judged = 0;
    for document in documents(&path) {
        let names = names(&document);
        for (name, case) in &document.get("tests").children {
            let found = verify(&names, &crlf(case.text("message").as_bytes())).arc;
            let expected = match case.text("cv") {
                "Pass" => Verdict::Pass,
                "Fail" => Verdict::Fail,
                other => panic!("{name}: {other}"),
            };
            assert_eq!(found.verdict, expected, "{name}: {}", found.reason);
            assert_eq!(
                found.sealers.is_empty(),
                expected == Verdict::Fail,
                "{name}"
            );
            judged += 1;
        }
    }
    assert_eq!(judged, 32);
    println!("arc/arc-validation-part.yml: {judged} of 32 cases");
}

/// The cases in which the suite gives the sealer a chain whose seals do not hold, however their
/// lines are joined; it is not validated there, the sealer is told by an Authentication-Results
/// field that it passes.
const NOT_VALIDATED: [&str; 2] = ["i1_base", "i2_base"];

/// What a sealer must add to a message, on top of it, is a chain that holds. Where it must say that
/// the chain was broken before, or may add nothing, the chain is one that does not hold.
#[test]
fn what_a_sealer_of_the_suite_must_write_validates() {
    let Some(path) = vectors("arc/arc-sign-tests.yml") else {
        return;
    };
    let (mut passed, mut failed) = (0, 0);
    for document in documents(&path) {
        let names = names(&document);
        let cases = &document.get("tests").children;
        for (name, case) in cases {
            if NOT_VALIDATED.contains(&name.as_str()) {
                continue;
            }
            let message = sealed(case);
            let found = verify(&names, &crlf(message.as_bytes())).arc;
            let broken = message.contains("cv=fail");
            let expected = if broken { Verdict::Fail } else { Verdict::Pass };
            assert_eq!(found.verdict, expected, "{name}: {}", found.reason);
            passed += usize::from(!broken);
            failed += usize::from(broken);
        }
    }
    assert_eq!((passed, failed), (12, 3));
    let left_out = NOT_VALIDATED.len();
    println!(
        "arc/arc-sign-tests.yml: {passed} chains hold, {failed} do not, {left_out} cases left out"
    );
}

/// A message of the suite under the fields that the suite wants on top of it. Their base64 was
/// signed without the folds that the suite shows it with.
fn sealed(case: &Node) -> String {
    let mut message = String::new();
    for (field, tag) in [
        ("ARC-Seal", "AS"),
        ("ARC-Message-Signature", "AMS"),
        ("ARC-Authentication-Results", "AAR"),
    ] {
        let value = case.text(tag).trim().replace(";\n", "; ").replace('\n', "");
        if !value.is_empty() {
            message.push_str(&format!("{field}: {value}\n"));
        }
    }
    message.push_str(case.text("message"));
    message
}
