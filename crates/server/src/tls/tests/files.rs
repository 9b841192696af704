//! Certificates as files: what is wrong with them, and what happens when they change.

use std::os::unix::fs::PermissionsExt as _;

use super::super::certificates::{Certificates, days_left};
use super::super::pair::{Octets, Pair, Part};
use super::super::{date, generated};
use super::{Authority, DAY, Wish, files, serving, world};

#[tokio::test]
async fn what_is_wrong_with_a_pair_is_said_of_the_file_that_is_wrong() {
    let world = world();
    let authority = Authority::new();
    let wish = Wish::server(&world, &["mx.example.org"]);
    let (good, key) = authority.issue(&wish);
    let (_, other) = authority.issue(&wish);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
    let damaged = good.replacen("MII", "!!!", 1);
    let many = good.repeat(21);
    let cases: [(&str, &str, Part, &str); 9] = [
        (
            "",
            &key,
            Part::Certificate,
            "it holds no certificate in PEM",
        ),
        (
            "\u{30}\u{82}",
            &key,
            Part::Certificate,
            "it holds no certificate in PEM",
        ),
        (
            &key,
            &key,
            Part::Certificate,
            "it holds a key, but no certificate",
        ),
        (&damaged, &key, Part::Certificate, "it is damaged"),
        (
            &many,
            &key,
            Part::Certificate,
            "it holds more than 20 certificates",
        ),
        (&good, "", Part::Key, "it holds no key in PEM"),
        (
            &good,
            &good,
            Part::Key,
            "it holds a certificate, but no key",
        ),
        (
            &good,
            encrypted,
            Part::Key,
            "the key is encrypted with a password",
        ),
        (
            &good,
            &other,
            Part::Key,
            "the key does not belong to the certificate",
        ),
    ];
    for (certificate, key, part, cause) in cases {
        let octets = Octets {
            certificate: certificate.into(),
            key: key.into(),
        };
        let unusable = Pair::from_pem(&octets).unwrap_err();
        assert_eq!(unusable.part, part, "{unusable:?}");
        assert!(unusable.cause.starts_with(cause), "{unusable:?}");
        assert!(!unusable.fix.is_empty());
    }
}

#[tokio::test]
async fn keys_of_every_usual_form_are_read() {
    let old = "-----BEGIN EC PRIVATE KEY-----";
    assert!(KEY_SEC1.starts_with(old));
    for key in [KEY_SEC1, KEY_PKCS8] {
        let octets = Octets {
            certificate: CERTIFICATE.into(),
            key: key.into(),
        };
        assert!(Pair::from_pem(&octets).is_ok());
    }
}

#[tokio::test]
async fn days_are_counted_to_both_sides_of_the_end() {
    let world = world();
    let folder = tempfile::tempdir().unwrap();
    let wish = Wish::server(&world, &["mx.example.org"]);
    let pair = Authority::new().issue(&wish);
    let about = Pair::read(&files(folder.path(), "a", &pair), &*world.disk)
        .unwrap()
        .about;
    let end = about.not_after;
    assert_eq!(days_left(&about, end - DAY * 21), 21);
    assert_eq!(days_left(&about, end - DAY / 2), 0);
    assert_eq!(days_left(&about, end + DAY / 2), -1);
    assert_eq!(
        date(posthaste_world::Timestamp::from_secs(1_795_615_200)),
        "2026-11-25"
    );
}

#[tokio::test]
async fn new_files_are_served_and_wrong_ones_are_not() {
    let world = world();
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let pair = |names: &[&str]| authority.issue(&Wish::server(&world, names));
    let names = |c: &Certificates| c.served()[0].about.names.dns.clone();
    let one = files(folder.path(), "a", &pair(&["one.example"]));
    let certificates = serving(&world, std::slice::from_ref(&one));
    let quiet = certificates.refresh(&*world.disk);
    assert!(quiet.replaced.is_empty() && quiet.faults.is_empty());

    files(folder.path(), "a", &pair(&["two.example"]));
    assert_eq!(certificates.refresh(&*world.disk).replaced.len(), 1);
    assert_eq!(names(&certificates), ["two.example"]);

    // The certificate has come, its key not yet: nothing is said the first time.
    let (certificate, key) = pair(&["three.example"]);
    std::fs::write(&one.certificate.path, certificate).unwrap();
    let looked = certificates.refresh(&*world.disk);
    assert!(looked.replaced.is_empty() && looked.faults.is_empty());
    let faults = certificates.refresh(&*world.disk).faults;
    assert_eq!(faults.len(), 1);
    let said = faults[0].to_string();
    assert!(
        said.contains("a.key failed: the key does not belong"),
        "{said}"
    );
    assert!(said.contains(" is kept"), "{said}");
    assert!(
        certificates.refresh(&*world.disk).faults.is_empty(),
        "told twice"
    );
    assert_eq!(names(&certificates), ["two.example"]);
    std::fs::write(&one.key.path, key).unwrap();
    assert_eq!(certificates.refresh(&*world.disk).replaced.len(), 1);
    assert_eq!(names(&certificates), ["three.example"]);

    std::fs::remove_file(&one.key.path).unwrap();
    assert!(certificates.refresh(&*world.disk).faults.is_empty());
    let faults = certificates.refresh(&*world.disk).faults;
    assert!(
        faults[0].cause.starts_with("there is no such file"),
        "{faults:?}"
    );
    assert_eq!(names(&certificates), ["three.example"]);
}

#[tokio::test]
async fn another_configuration_changes_all_certificates_or_none() {
    let world = world();
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let pair = |names: &[&str]| authority.issue(&Wish::server(&world, names));
    let one = files(folder.path(), "one", &pair(&["one.example"]));
    let two = files(folder.path(), "two", &pair(&["two.example"]));
    let certificates = serving(&world, std::slice::from_ref(&one));
    std::fs::write(&two.key.path, "").unwrap();
    let both = [one.clone(), two];
    let fault = certificates.exchange(&both, &*world.disk).unwrap_err();
    assert!(fault.doing.ends_with("two.key"), "{fault}");
    assert_eq!(certificates.served().len(), 1);

    let two = files(folder.path(), "two", &pair(&["two.example"]));
    let swapped = [two, one.clone()];
    assert_eq!(
        certificates.exchange(&swapped, &*world.disk),
        Ok(Vec::new())
    );
    assert_eq!(certificates.served()[0].about.names.dns, ["two.example"]);

    // What was served and cannot be read now is kept, and said.
    std::fs::write(&one.key.path, "").unwrap();
    let faults = certificates.exchange(&swapped, &*world.disk).unwrap();
    assert_eq!(faults.len(), 1);
    assert_eq!(certificates.served().len(), 2);
}

#[tokio::test]
async fn our_own_certificate_is_made_once_and_belongs_to_us_alone() {
    let world = world();
    let folder = tempfile::tempdir().unwrap();
    let now = world.clock.now();
    let ensure = |name, now| {
        let files = generated::ensure(folder.path(), name, &*world.disk, now).unwrap();
        let about = Pair::read(&files, &*world.disk).unwrap().about;
        (files, about)
    };
    let (files, first) = ensure("mx.example.org", now);
    assert_eq!(first.names.dns, ["mx.example.org"]);
    assert!(first.self_issued);
    assert_eq!(days_left(&first, now + DAY * 10), 3639);
    let mode = std::fs::metadata(&files.key.path)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    assert_eq!(ensure("mx.example.org", now + DAY * 3000).1, first);
    let renamed = ensure("other.example.org", now).1;
    assert_eq!(renamed.names.dns, ["other.example.org"]);
    let again = ensure("other.example.org", now + DAY * 3640).1;
    assert!(again.not_after > renamed.not_after);
    std::fs::write(&files.key.path, "half").unwrap();
    let mended = ensure("other.example.org", now).1;
    assert_ne!(mended, again);
}

const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBpDCCAUqgAwIBAgIUT9rt6iz/83Iz4Y0eQKpnjOd63QQwCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwObXguZXhhbXBsZS5vcmcwIBcNMjYxMTI1MjMwODMwWhgPMjEy
NjExMDEyMzA4MzBaMBkxFzAVBgNVBAMMDm14LmV4YW1wbGUub3JnMFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEquYAk3C4lJxhtZEDTqSJuR8ns4nv7AvtUuDW2JVE
2iqKRuV1NAKqCS3CNqjuW62BjBulUebNpZySQR8hCNEgSqNuMGwwHQYDVR0OBBYE
FFWalUD3WSgFlrc7gRByqWi1pocfMB8GA1UdIwQYMBaAFFWalUD3WSgFlrc7gRBy
qWi1pocfMA8GA1UdEwEB/wQFMAMBAf8wGQYDVR0RBBIwEIIObXguZXhhbXBsZS5v
cmcwCgYIKoZIzj0EAwIDSAAwRQIgQErgn2/g4kTMMDEdEFNQpMT9zzIqVgC9KeNu
E2clYOMCIQDAytmrMeNfMFKxumQZhPcA8G6yoVjRKSo0xFo2+sHMZw==
-----END CERTIFICATE-----
";

const KEY_SEC1: &str = "\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIO3NYggugvsif7lWExifmRg/c0H94bxIjzYS1Ar6innqoAoGCCqGSM49
AwEHoUQDQgAEquYAk3C4lJxhtZEDTqSJuR8ns4nv7AvtUuDW2JVE2iqKRuV1NAKq
CS3CNqjuW62BjBulUebNpZySQR8hCNEgSg==
-----END EC PRIVATE KEY-----
";

const KEY_PKCS8: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg7c1iCC6C+yJ/uVYT
GJ+ZGD9zQf3hvEiPNhLUCvqKeeqhRANCAASq5gCTcLiUnGG1kQNOpIm5Hyezie/s
C+1S4NbYlUTaKopG5XU0AqoJLcI2qO5brYGMG6VR5s2lnJJBHyEI0SBK
-----END PRIVATE KEY-----
";
