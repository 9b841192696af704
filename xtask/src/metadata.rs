//! What cargo knows about the packages: `cargo metadata`, as far as the checks need it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::command::{self, Result};

/// A package of the dependency graph.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: Option<String>,
    /// Where it comes from; none for our own.
    pub(crate) source: Option<String>,
    pub(crate) manifest: String,
    /// Names of the direct dependencies that are not only for tests.
    pub(crate) dependencies: BTreeSet<String>,
    /// Names of the direct dependencies that are for tests only.
    pub(crate) test_dependencies: BTreeSet<String>,
}

/// All packages of the lock file that some member of the workspace uses on this platform.
pub(crate) struct Graph {
    packages: BTreeMap<String, Package>,
    edges: BTreeMap<String, Vec<String>>,
}

impl Graph {
    /// Asks cargo.
    pub(crate) fn read() -> Result<Self> {
        let host = command::new("rustc").args(["-vV"]).output()?;
        let host = host
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .unwrap_or_default();
        let arguments = [
            "metadata",
            "--format-version=1",
            "--locked",
            "--filter-platform",
            host,
        ];
        let text = command::cargo().args(arguments).output()?;
        let value: Value =
            serde_json::from_str(&text).map_err(|fault| format!("cargo metadata: {fault}"))?;
        let packages = list(&value, "packages")
            .iter()
            .map(|p| (text_of(p, "id"), package(p)));
        let nodes = value
            .get("resolve")
            .map(|r| list(r, "nodes"))
            .unwrap_or_default();
        let edges = nodes
            .iter()
            .map(|node| (text_of(node, "id"), shipped(node)));
        let packages: BTreeMap<_, _> = packages.collect();
        Ok(Graph {
            packages,
            edges: edges.collect(),
        })
    }

    /// The workspace's own packages.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .values()
            .filter(|package| package.source.is_none())
    }

    /// Everybody else's.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .values()
            .filter(|package| package.source.is_some())
    }

    /// What `name` needs to be built, itself included, tests apart.
    pub(crate) fn closure(&self, name: &str) -> Vec<&Package> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&String> = self
            .packages
            .iter()
            .filter(|(_, p)| p.name == name)
            .map(|(id, _)| id)
            .collect();
        while let Some(id) = open.pop() {
            if found.insert(id) {
                open.extend(self.edges.get(id).into_iter().flatten());
            }
        }
        found
            .into_iter()
            .filter_map(|id| self.packages.get(id))
            .collect()
    }
}

fn package(value: &Value) -> Package {
    let named = |test: bool| {
        list(value, "dependencies")
            .iter()
            .filter(|d| (d.get("kind").and_then(Value::as_str) == Some("dev")) == test)
            .map(|d| text_of(d, "name"))
            .collect()
    };
    Package {
        name: text_of(value, "name"),
        version: text_of(value, "version"),
        licence: value
            .get("license")
            .and_then(Value::as_str)
            .map(str::to_owned),
        source: value
            .get("source")
            .and_then(Value::as_str)
            .map(str::to_owned),
        manifest: text_of(value, "manifest_path"),
        dependencies: named(false),
        test_dependencies: named(true),
    }
}

/// Ids of a node's dependencies that are not for tests only.
fn shipped(node: &Value) -> Vec<String> {
    let for_tests_only = |dependency: &Value| {
        let kinds = list(dependency, "dep_kinds");
        kinds
            .iter()
            .all(|kind| kind.get("kind").and_then(Value::as_str) == Some("dev"))
    };
    let edges = list(node, "deps")
        .iter()
        .filter(|dependency| !for_tests_only(dependency));
    edges.map(|dependency| text_of(dependency, "pkg")).collect()
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn text_of(value: &Value, key: &str) -> String {
    value
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
