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
        Ok(Graph {
            packages: packages.collect(),
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

    /// What `name` is built of, itself included, tests apart: the packages that cargo compiles for
    /// it with the features it has then. (The resolution in the metadata is wider: it joins the
    /// features that any member asks for.)
    pub(crate) fn closure(&self, name: &str) -> Result<Vec<&Package>> {
        let arguments = [
            "tree",
            "--package",
            name,
            "--edges=normal,build",
            "--prefix=none",
            "--format={p}",
            "--locked",
        ];
        let text = command::cargo().args(arguments).output()?;
        let mut built = BTreeSet::new();
        for line in text.lines() {
            let mut words = line.split(' ');
            if let (Some(name), Some(version)) = (words.next(), words.next()) {
                built.insert((name, version.trim_start_matches('v')));
            }
        }
        let is_built = |p: &&Package| built.contains(&(p.name.as_str(), p.version.as_str()));
        Ok(self.packages.values().filter(is_built).collect())
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
