//! Wrong configurations and what is said about them, as golden files.
//!
//! `UPDATE_GOLDEN=1 cargo test -p posthaste --test check` writes the expected files again.
#![allow(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};

use posthaste::config::{Config, finding};

mod disk;

fn check(path: &Path) -> String {
    match Config::load(path, &disk::Folders) {
        Ok(loaded) => finding::report(&loaded.warnings),
        Err(findings) => finding::report(&findings),
    }
}

#[test]
fn every_wrong_configuration_gets_the_expected_findings() {
    let mut files: Vec<PathBuf> = std::fs::read_dir("tests/check")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 25);
    let mut wrong = Vec::new();
    for file in files {
        let said = check(&file);
        let golden = file.with_extension("expected");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &said).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if said != expected {
            wrong.push(format!(
                "{}: expected\n{expected}\nbut was\n{said}",
                file.display()
            ));
        }
        assert!(
            said != "no errors\n",
            "{} is not wrong at all",
            file.display()
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ten_lines_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("posthaste.toml");
    let lines = "\
hostname = \"mx.example.org\"
data_dir = \"data\"
postmaster = \"alice@example.org\"
[[listener]]
address = [\"0.0.0.0:25\", \"[::]:25\"]
service = \"mx\"
tls = \"none\"
[[domain]]
name = \"example.org\"
mailboxes = [\"alice\", \"bob\"]
";
    assert_eq!(lines.lines().count(), 10);
    std::fs::write(&path, lines).unwrap();
    assert_eq!(check(&path), "no errors\n");
    let config = Config::load(&path, &disk::Folders).unwrap().config;
    assert_eq!(config.data_dir, folder.path().join("data"));
    assert_eq!(config.limits.message_size, 50 * 1024 * 1024);
    assert_eq!(config.retry.intervals.len(), 7);
}

#[test]
fn the_example_of_the_guide_has_no_errors() {
    assert_eq!(
        check(Path::new("../../docs/guide/posthaste.toml")),
        "no errors\n"
    );
}

#[test]
fn a_file_that_is_not_there_is_an_error_that_says_so() {
    let said = check(Path::new("tests/check/none.toml"));
    assert!(
        said.contains("there is no such file") && said.contains("--config"),
        "{said}"
    );
}

#[test]
fn the_star_of_a_maildir_domain_means_the_folders_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["mail/alice/Maildir", "mail/bob", "mail/Carol/Maildir"] {
        std::fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("posthaste.toml");
    let text = "\
hostname = \"mx.example.org\"
postmaster = \"alice@example.org\"
[[listener]]
address = \"127.0.0.1:0\"
service = \"mx\"
tls = \"none\"
[[domain]]
name = \"example.org\"
deliver = \"maildir:mail/{local}/Maildir\"
mailboxes = [\"*\"]
";
    std::fs::write(&path, text).unwrap();
    let config = Config::load(&path, &disk::Folders).unwrap().config;
    let names = std::iter::once("alice".to_string()).collect();
    assert_eq!(
        config.domains[0].mailboxes,
        posthaste::config::Mailboxes::Named(names)
    );
}
