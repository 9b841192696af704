//! `cargo xtask variants`: deliberately broken variants of the code, each of which the simulation
//! must catch, or the simulation proves nothing.
//!
//! A variant is a patch under `sim/variants`. It is applied to a copy of the tree under `target`,
//! never to the tree itself, and the simulator is run there; it must fail.

use std::path::Path;

use crate::command::{self, Result, new, root, target};
use crate::tidy;

const PATCHES: &str = "sim/variants";

/// Tries the variants that are named, or all. What follows the first option goes to the simulator.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let options = arguments.iter().position(|word| word.starts_with("--"));
    let (names, options) = arguments.split_at(options.unwrap_or(arguments.len()));
    let folder = target().join("variants");
    let mut missed = Vec::new();
    for patch in patches()? {
        let name = patch.trim_end_matches(".patch");
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("== variant {name}");
        let tree = folder.join("tree");
        copy(&tree)?;
        new("git")
            .args(["apply", "--ignore-whitespace"])
            .args([root().join(PATCHES).join(&patch)])
            // The copy is no repository, and stands inside of one.
            .env("GIT_CEILING_DIRECTORIES", &folder)
            .folder(&tree)
            .run()?;
        let build = ["build", "--quiet", "--locked", "--package", "posthaste-sim"];
        let in_copy = |words: &[&str]| {
            let run = command::cargo().args(words).folder(&tree);
            run.env("CARGO_TARGET_DIR", folder.join("build"))
        };
        in_copy(&build)
            .run()
            .map_err(|fault| format!("variant {name}: {fault}"))?;
        let simulate = [
            "run",
            "--quiet",
            "--locked",
            "--package",
            "posthaste-sim",
            "--",
        ];
        let own = own_options(&patch)?;
        let options = if options.is_empty() { &own } else { options };
        match in_copy(&simulate).args(options).run() {
            Ok(()) => missed.push(name.to_owned()),
            Err(_) => println!("== variant {name}: caught"),
        }
    }
    match missed.as_slice() {
        [] => Ok(()),
        missed => Err(format!(
            "the simulation does not catch {}",
            missed.join(", ")
        )),
    }
}

/// What a patch wants of the simulator, where the usual campaign would look elsewhere for long: the
/// words of its line `Simulate:`.
fn own_options(patch: &str) -> Result<Vec<String>> {
    let path = root().join(PATCHES).join(patch);
    let text = std::fs::read_to_string(&path)
        .map_err(|fault| format!("{} cannot be read: {fault}", path.display()))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Simulate: "));
    let words = line.unwrap_or_default().split_whitespace();
    Ok(words.map(str::to_owned).collect())
}

fn patches() -> Result<Vec<String>> {
    let entries = std::fs::read_dir(root().join(PATCHES))
        .map_err(|fault| format!("{PATCHES} cannot be read: {fault}"))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| name.ends_with(".patch"))
        .collect();
    names.sort();
    match names.is_empty() {
        true => Err(format!("{PATCHES} holds no variant")),
        false => Ok(names),
    }
}

/// Makes `to` what the tree is now. Files that have not changed keep their time, so that cargo
/// builds again only what a patch touches.
fn copy(to: &Path) -> Result<()> {
    for file in tidy::files()? {
        let path = to.join(&file.path);
        if std::fs::read_to_string(&path).is_ok_and(|text| text == file.text) {
            continue;
        }
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        written
            .and_then(|()| std::fs::write(&path, &file.text))
            .map_err(|fault| format!("{} cannot be written: {fault}", path.display()))?;
    }
    Ok(())
}
