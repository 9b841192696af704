//! `cargo xtask dependencies`: licences and sources of everything we build with, and what
//! cargo-deny adds to it (duplicates and known advisories) where it is installed and can fetch its
//! database.

use std::collections::BTreeMap;

use crate::command::{self, Result, new};
use crate::metadata::{Graph, Package};

/// Licences that go with `MIT OR Apache-2.0`. deny.toml holds the same list.
const LICENCES: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// Packages that the program has in two versions, and why that is borne.
const TWICE: [(&str, &str); 5] = [
    ("base64", "`instant-acme` 0.8 uses 0.22"),
    ("untrusted", "`aws-lc-rs` 1 uses 0.7, `rustls-webpki` 0.9"),
    ("jiff", "`domain` 0.12 uses 0.2"),
    ("jiff-core", "with jiff"),
    (
        "syn",
        "at build time only: derive macros move to 3 one by one",
    ),
];
/// How Cargo writes a source that is a registry; `deny.toml` says which one.
const REGISTRY: &str = "registry+";

/// Checks all packages of the lock file that some crate of ours uses.
pub(crate) fn run() -> Result<()> {
    let graph = Graph::read()?;
    let mut wrong: Vec<String> = graph.others().filter_map(fault).collect();
    wrong.extend(deny_list()?);
    wrong.extend(twice(&graph)?);
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    let count = graph.others().count();
    let built = graph.closure("posthaste")?.len();
    println!(
        "dependencies: {count} packages with allowed licences; the program is built of {built}"
    );
    advisories()
}

fn fault(package: &Package) -> Option<String> {
    let name = format!("{} {}", package.name, package.version);
    if !package
        .source
        .as_deref()
        .is_some_and(|source| source.starts_with(REGISTRY))
    {
        return Some(format!("{name} comes from elsewhere than a registry"));
    }
    match &package.licence {
        None => Some(format!("{name} names no licence")),
        Some(licence) if !allowed(licence) => Some(format!("{name}: {licence} is not allowed")),
        Some(_) => None,
    }
}

/// Packages of which the program has several versions, [`TWICE`] apart; and what stands there and
/// is no longer so.
fn twice(graph: &Graph) -> Result<Vec<String>> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in graph.closure("posthaste")? {
        versions
            .entry(&package.name)
            .or_default()
            .push(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let borne = |name: &str| TWICE.iter().any(|(listed, _)| *listed == name);
    let several = versions.iter().filter(|(name, _)| !borne(name));
    let mut wrong: Vec<String> = several
        .map(|(name, versions)| format!("{name} is there as {}", versions.join(", ")))
        .collect();
    let gone = TWICE
        .iter()
        .filter(|(name, _)| !versions.contains_key(name));
    wrong.extend(gone.map(|(name, _)| format!("{name} is there once: take it off the list")));
    Ok(wrong)
}

/// Whether a licence expression can be met. The registry's expressions are alternatives (`OR`, or
/// the old `/`) of conjunctions (`AND`), with or without brackets around one of them.
fn allowed(expression: &str) -> bool {
    let known = |licence: &str| LICENCES.contains(&licence.trim().trim_matches(['(', ')']));
    match expression.split_once(" AND (") {
        Some((first, alternatives)) => allowed(first) && allowed(alternatives),
        None => expression
            .replace('/', " OR ")
            .split(" OR ")
            .any(|alternative| alternative.split(" AND ").all(known)),
    }
}

/// What deny.toml allows and this file does not, or the other way round.
fn deny_list() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(command::root().join("deny.toml"))
        .map_err(|fault| format!("deny.toml cannot be read: {fault}"))?;
    let list = text
        .split_once("allow = [")
        .and_then(|(_, tail)| tail.split_once(']'));
    let (list, _) = list.ok_or("deny.toml has no list of licences")?;
    let theirs: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    let same = theirs == LICENCES;
    Ok(if same {
        Vec::new()
    } else {
        vec!["deny.toml lists other licences than xtask".to_owned()]
    })
}

/// Advisories need a program and a database from the network; without them that is said, loudly.
fn advisories() -> Result<()> {
    if command::cargo()
        .args(["deny", "--version"])
        .output()
        .is_err()
    {
        println!("NOT CHECKED advisories: there is no cargo-deny (cargo install cargo-deny)");
        return Ok(());
    }
    command::cargo()
        .args(["deny", "check", "licenses", "bans", "sources"])
        .run()?;
    let database = "https://github.com/rustsec/advisory-db";
    if new("git")
        .args(["ls-remote", "--heads", database])
        .output()
        .is_err()
    {
        println!("NOT CHECKED advisories: {database} cannot be reached");
        return Ok(());
    }
    command::cargo().args(["deny", "check", "advisories"]).run()
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn an_alternative_is_enough_and_a_conjunction_needs_all() {
        assert!(allowed("MIT OR GPL-3.0") && allowed("MIT/Apache-2.0") && allowed("ISC AND MIT"));
        assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(allowed("Apache-2.0 AND (MIT OR GPL-2.0)"));
        assert!(
            !allowed("ISC AND OpenSSL") && !allowed("GPL-3.0") && !allowed("OpenSSL AND (MIT)")
        );
    }
}
