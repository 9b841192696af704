//! Wrong configurations and what is said about them, as golden files.
//!
//! `UPDATE_GOLDEN=1 cargo test -p posthaste --test check` writes the expected files again.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use posthaste::config::{Config, Limits, finding};

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
[[domain]]
name = \"example.org\"
mailboxes = [\"alice\", \"bob\"]
";
    assert_eq!(lines.lines().count(), 9);
    std::fs::write(&path, lines).unwrap();
    assert_eq!(check(&path), "no errors\n");
    let config = Config::load(&path, &disk::Folders).unwrap().config;
    assert_eq!(config.data_dir, folder.path().join("data"));
    assert_eq!(config.limits, Limits::default());
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
    let said = finding::report(&posthaste::config::check(
        &path,
        &disk::Folders,
        posthaste_world::Timestamp::EPOCH,
    ));
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

/// What is said of certificates: those of a configuration in a folder of its own, with the keys of
/// `[tls]` that `write` puts there, forty days after 1970.
fn check_certificates(write: impl Fn(&Path) -> &'static str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("posthaste.toml");
    let tls = write(folder.path());
    let text = format!(
        "hostname = \"mx.example.org\"\npostmaster = \"alice@example.org\"\ndata_dir = \"data\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nservice = \"mx\"\n\
         [[domain]]\nname = \"example.org\"\nmailboxes = [\"alice\"]\n{tls}"
    );
    std::fs::write(&path, text).unwrap();
    let now = posthaste_world::Timestamp::from_secs(40 * 86_400);
    let said = finding::report(&posthaste::config::check(&path, &disk::Folders, now));
    said.replace(folder.path().to_str().unwrap(), "")
}

/// Writes a certificate for `name` from day 10 to day `until`, and its key, into `folder`.
fn certify(folder: &Path, file: &str, name: &str, until: u64) {
    use std::os::unix::fs::PermissionsExt as _;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_string()]).unwrap();
    let day = |n| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(n * 86_400);
    (params.not_before, params.not_after) = (day(10), day(until));
    let certificate = params.self_signed(&key).unwrap().pem();
    std::fs::write(folder.join(format!("{file}.pem")), certificate).unwrap();
    let path = folder.join(format!("{file}.key"));
    std::fs::write(&path, key.serialize_pem()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

const ONE: &str = "[tls]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n";
const TWO: &str = "[tls]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n\
    [[tls.sni]]\ncertificate = \"b.pem\"\nkey = \"b.key\"\n";

#[test]
fn without_a_certificate_check_says_what_that_means() {
    let said = check_certificates(|_| "");
    assert!(
        said.contains("warning: [tls] names no certificate"),
        "{said}"
    );
}

#[test]
fn a_good_certificate_is_no_finding() {
    let said = check_certificates(|folder| {
        certify(folder, "a", "mx.example.org", 100);
        ONE
    });
    assert!(
        !said.contains("certificate") && !said.contains("key"),
        "{said}"
    );
}

#[test]
fn a_certificate_that_ends_soon_or_has_ended_is_a_warning() {
    for (until, expected) in [
        (
            60,
            "warning: the certificate /a.pem expires in 20 days, on 1970-03-02",
        ),
        (
            40,
            "warning: the certificate /a.pem expires in 0 days, on 1970-02-10",
        ),
        (
            39,
            "warning: the certificate /a.pem has expired on 1970-02-09",
        ),
    ] {
        let said = check_certificates(|folder| {
            certify(folder, "a", "mx.example.org", until);
            ONE
        });
        assert!(said.contains(expected), "{said}");
        assert!(
            said.contains("11 | certificate = \"a.pem\"\n   |               ^^^^^^^"),
            "{said}"
        );
    }
}

#[test]
fn a_certificate_for_another_name_or_with_another_key_is_named_with_its_line() {
    let said = check_certificates(|folder| {
        certify(folder, "a", "mail.example.net", 100);
        certify(folder, "b", "mail.example.com", 100);
        std::fs::copy(folder.join("a.key"), folder.join("b.key")).unwrap();
        TWO
    });
    let name = "warning: the certificate /a.pem is not for `mx.example.org`, our `hostname`";
    assert!(said.contains(name), "{said}");
    let key =
        "error: /b.key: the key does not belong to the certificate\n  --> /posthaste.toml:15:7";
    assert!(said.contains(key), "{said}");
}

#[test]
fn files_that_are_not_there_are_errors() {
    let said = check_certificates(|_| ONE);
    assert!(
        said.contains("error: /a.pem: there is no such file"),
        "{said}"
    );
}

#[test]
fn a_key_that_everybody_may_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let said = check_certificates(|folder| {
        certify(folder, "a", "mx.example.org", 100);
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(folder.join("a.key"), open).unwrap();
        ONE
    });
    assert!(
        said.contains("everybody on this machine may read the key /a.key"),
        "{said}"
    );
    assert!(said.contains("fix: run `chmod o= /a.key`"), "{said}");
}

#[test]
fn a_password_that_is_missing_or_that_everybody_may_read_is_an_error() {
    use std::os::unix::fs::PermissionsExt as _;
    let route = "[[route]]\nrecipients = [\"*\"]\nvia = \"smtps://a.example\"\ntls = \"verify\"\n\
                 user = \"us\"\npassword_file = \"pw\"\n";
    let with = |text: Option<&str>, mode| {
        check_certificates(|folder| {
            if let Some(text) = text {
                std::fs::write(folder.join("pw"), text).unwrap();
                let mode = std::fs::Permissions::from_mode(mode);
                std::fs::set_permissions(folder.join("pw"), mode).unwrap();
            }
            route
        })
    };
    let place = "\n  --> /posthaste.toml:15:17\n";
    for (text, mode, said) in [
        (None, 0, "error: /pw: "),
        (Some(""), 0o600, "error: /pw: its first line is empty"),
        (Some("\nx"), 0o600, "error: /pw: its first line is empty"),
        (Some("a\0b"), 0o600, "error: /pw: it holds a NUL"),
        (
            Some("x\n"),
            0o604,
            "error: everybody on this machine may read the password in /pw",
        ),
    ] {
        let told = with(text, mode);
        assert!(told.contains(said) && told.contains(place), "{told}");
    }
    let told = with(Some("x\r\nsomething else\n"), 0o640);
    assert!(!told.contains("/pw"), "{told}");
}

#[test]
fn a_certificate_to_be_shown_is_looked_at_as_those_that_are_served() {
    let route = "[[route]]\nrecipients = [\"*\"]\nvia = \"smtps://a.example\"\n\
                 client_certificate = \"a.pem\"\nclient_key = \"a.key\"\n";
    let said = check_certificates(|_| route);
    assert!(
        said.contains("error: /a.pem: there is no such file"),
        "{said}"
    );
    let said = check_certificates(|folder| {
        certify(folder, "a", "client", 39);
        route
    });
    assert!(said.contains("/a.pem has expired on 1970-02-09"), "{said}");
}
