//! Wrong configurations and what is said about them, as golden files.
//!
//! `UPDATE_GOLDEN=1 cargo test -p posthaste --test check` writes the expected files again.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

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

/// What is said of a configuration in a folder of its own, whose `data_dir` is `data`.
fn check_with(prepare: impl Fn(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("posthaste.toml");
    let example = std::fs::read_to_string("tests/check/empty_domain.toml").unwrap();
    std::fs::write(&path, example).unwrap();
    prepare(folder.path());
    let before = std::fs::read_dir(folder.path()).unwrap().count();
    let said = finding::report(&posthaste::config::check(&path, &disk::Folders));
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        before,
        "a check leaves nothing"
    );
    said
}

#[test]
fn a_data_folder_that_can_be_used_or_made_is_no_finding() {
    assert!(!check_with(|_| ()).contains("cannot be"));
    let there = |folder: &Path| std::fs::create_dir(folder.join("data")).unwrap();
    assert!(!check_with(there).contains("cannot be"));
}

#[test]
fn a_data_folder_that_is_a_file_is_an_error() {
    let said = check_with(|folder| std::fs::write(folder.join("data"), "").unwrap());
    assert!(
        said.contains("data cannot be read") && said.contains("not a file"),
        "{said}"
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[ -~\n\té€]{0,200}") {
        read_anything(&text);
    }

    #[test]
    fn no_damage_to_a_good_file_makes_the_reader_panic(at in 0_usize..1_400, put in ".{0,4}") {
        let good = std::fs::read_to_string("../../docs/guide/posthaste.toml").unwrap();
        let at = (at.min(good.len())..=good.len()).find(|i| good.is_char_boundary(*i)).unwrap();
        read_anything(&format!("{}{put}{}", &good[..at], good[at..].get(1..).unwrap_or_default()));
        read_anything(&good[..at]);
    }

    #[test]
    fn no_alias_file_makes_the_reader_panic(text in "[a-c:, \\\\\"@.\n#|/é]{0,200}") {
        let domain = posthaste_smtp::address::DomainName::parse(
            "example.org",
            posthaste_smtp::address::Utf8::Refused,
        );
        let _ = posthaste::lookup::aliases::parse(&text, &domain.unwrap());
    }
}

fn read_anything(text: &str) {
    let source = finding::Source {
        path: "a.toml".into(),
        text: text.into(),
    };
    let (_, reader) = posthaste::config::file::File::parse(&source);
    for finding in reader.findings {
        assert!(!finding.to_string().is_empty());
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    read_anything(&format!("a = {}", "[".repeat(100_000)));
    read_anything(&format!("a = {}", "{a=".repeat(100_000)));
    read_anything(&format!("{} = 1", "a.".repeat(100_000)));
}
