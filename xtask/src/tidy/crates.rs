//! Rules about crates: which may use which, what they are called, the lint table they share.

use super::{File, Finding};
use crate::command::{Result, root};
use crate::metadata::{Graph, Package};

/// Our crates, each with those of ours it may use. Arrows never turn back (ARCHITECTURE.md).
const ARROWS: [(&str, &[&str]); 9] = [
    ("posthaste-smtp", &[]),
    ("posthaste-message", &["posthaste-smtp"]),
    ("posthaste-world", &[]),
    ("posthaste-queue", &["posthaste-smtp", "posthaste-world"]),
    (
        "posthaste-mailauth",
        &["posthaste-smtp", "posthaste-message", "posthaste-world"],
    ),
    (
        "posthaste",
        &[
            "posthaste-smtp",
            "posthaste-message",
            "posthaste-world",
            "posthaste-queue",
            "posthaste-mailauth",
        ],
    ),
    ("posthaste-sim", ALL),
    ("posthaste-tests", ALL),
    ("xtask", &[]),
];
const ALL: &[&str] = &[
    "posthaste-smtp",
    "posthaste-message",
    "posthaste-world",
    "posthaste-queue",
    "posthaste-mailauth",
    "posthaste",
    "posthaste-sim",
];
/// Crates that stand on the standard library and our own alone.
const BARE: [&str; 2] = ["posthaste-smtp", "posthaste-message"];
/// Names that say nothing.
const EMPTY_NAMES: [&str; 4] = ["common", "utils", "types", "core"];
/// Packages of the default build, ours included.
const PACKAGES_MAX: usize = 200;

pub(super) fn check(graph: &Graph, files: &[File]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in graph.ours() {
        let manifest = relative(package)?;
        let mut says = Vec::new();
        arrows(package, graph, &mut says);
        let last = package.name.rsplit('-').next().unwrap_or_default();
        if EMPTY_NAMES.contains(&last) {
            says.push(format!(
                "a crate called {last} says nothing about what it is"
            ));
        }
        let text = files
            .iter()
            .find(|file| file.path == manifest)
            .map(|file| file.text.as_str());
        if !text.is_some_and(|text| text.contains("[lints]\nworkspace = true")) {
            says.push(
                "the lint table is not the workspace's ([lints] workspace = true)".to_owned(),
            );
        }
        findings.extend(says.into_iter().map(|says| finding(&manifest, says)));
    }
    let unsafe_allowed = !files.iter().any(|file| {
        file.path == "Cargo.toml" && file.text.contains("\nunsafe_code = \"forbid\"\n")
    });
    if unsafe_allowed {
        findings.push(finding(
            "Cargo.toml",
            "unsafe_code is not forbidden".to_owned(),
        ));
    }
    let count = graph.closure("posthaste")?.len();
    if count > PACKAGES_MAX {
        let says = format!("the default build has {count} packages, at most {PACKAGES_MAX}");
        findings.push(finding("Cargo.toml", says));
    }
    Ok(findings)
}

fn arrows(package: &Package, graph: &Graph, says: &mut Vec<String>) {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
        says.push(format!(
            "{} has no place in the table of arrows",
            package.name
        ));
        return;
    };
    let used = package
        .dependencies
        .iter()
        .chain(&package.test_dependencies);
    for name in used.filter(|used| graph.ours().any(|ours| ours.name == **used)) {
        if !allowed.contains(&name.as_str()) {
            says.push(format!("{} may not use {name}", package.name));
        }
    }
    if BARE.contains(&package.name.as_str()) {
        let outside = |name: &&String| !graph.ours().any(|ours| ours.name == **name);
        for name in package.dependencies.iter().filter(outside) {
            says.push(format!(
                "{} stands on std alone, without {name}",
                package.name
            ));
        }
    }
}

fn relative(package: &Package) -> Result<String> {
    let path = std::path::Path::new(&package.manifest).strip_prefix(root());
    let path = path.map_err(|_| format!("{} is outside of the workspace", package.manifest))?;
    Ok(path.to_string_lossy().into_owned())
}

fn finding(path: &str, says: String) -> Finding {
    let path = path.to_owned();
    Finding {
        rule: "crates",
        path,
        line: 1,
        name: "-".to_owned(),
        measure: 1,
        says,
    }
}
