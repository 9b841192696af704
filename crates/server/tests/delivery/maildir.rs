//! Delivery into Maildir folders: what ends in the file, in which order it becomes durable, and
//! what a failing disk leaves behind.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use crate::doors::Files;
use bytes::Bytes;
use posthaste::deliver::maildir::{Letter, Names, Put, deliver, is_plain};
use posthaste_world::{Disk, Timestamp};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_514_400_123);

fn letter(folder: &str, address: &str) -> Letter {
    Letter {
        folder: PathBuf::from(folder.strip_prefix("/m/").unwrap()),
        address: address.to_owned(),
        head: format!("Return-Path: <s@test>\nDelivered-To: {address}\n"),
    }
}

/// Delivers a message that is read in these pieces.
fn put(disk: &dyn Disk, letters: &[Letter], pieces: &[&[u8]]) -> io::Result<Vec<Put>> {
    let names = Names::new("mx.test");
    let mut pieces: Vec<Bytes> = pieces
        .iter()
        .rev()
        .map(|p| Bytes::copy_from_slice(p))
        .collect();
    let root = disk.within("/m".as_ref())?;
    deliver(&*root, letters, || Ok(pieces.pop()), || names.next(NOW))
}

#[test]
fn the_file_has_the_trace_fields_the_message_and_unix_line_ends() {
    let disk = Files::with(&["/m/a/tmp", "/m/a/new", "/m/a/cur"]);
    let message = b"Subject: s\r\n\r\n.dot\r\n\r\n8-bit \xc3\xa4\r\n";
    let done = put(&*disk, &[letter("/m/a", "a@test")], &[message]).unwrap();
    assert!(matches!(done[..], [Put::Done]));
    let files = disk.below("/m");
    assert_eq!(files.len(), 1);
    let (name, text) = &files[0];
    let head = "Return-Path: <s@test>\nDelivered-To: a@test\n";
    assert_eq!(text, &format!("{head}Subject: s\n\n.dot\n\n8-bit ä\n"));
    let unique = name.strip_prefix("/m/a/new/").unwrap();
    assert_eq!(
        unique,
        format!("1795514400.M123000P{}Q0.mx.test", std::process::id())
    );
}

#[test]
fn content_is_durable_before_its_name_and_the_name_before_the_answer() {
    let disk = Files::with(&["/m/a/tmp", "/m/a/new", "/m/a/cur"]);
    put(&*disk, &[letter("/m/a", "a@test")], &[b"a: b\r\n\r\nc\r\n"]).unwrap();
    let verbs: Vec<String> = disk
        .journal("/m/a")
        .iter()
        .map(|l| l.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        verbs,
        ["open", "write", "write", "sync", "rename", "sync_dir"]
    );
    assert!(disk.journal("sync_dir")[0].ends_with("/m/a/new"));
}

#[test]
fn a_missing_mailbox_is_made_and_made_durable() {
    let disk = Files::with(&["/m"]);
    let done = put(&*disk, &[letter("/m/d.test/a", "a@test")], &[b"\r\n"]).unwrap();
    assert!(matches!(done[..], [Put::Done]));
    let synced = disk.journal("sync_dir");
    for folder in ["/m/d.test/a", "/m/d.test", "/m"] {
        assert!(
            synced.iter().any(|l| l == &format!("sync_dir {folder}")),
            "{folder}: {synced:?}"
        );
    }
}

#[test]
fn one_message_reaches_every_mailbox_that_can_be_written() {
    let disk = Files::with(&[
        "/m/a/tmp", "/m/a/new", "/m/b/tmp", "/m/b/new", "/m/c/tmp", "/m/c/new",
    ]);
    disk.fail("open", "/m/b/tmp", ErrorKind::PermissionDenied);
    let letters = ["a", "b", "c"].map(|n| letter(&format!("/m/{n}"), &format!("{n}@test")));
    let done = put(&*disk, &letters, &[b"x: y\r\n\r\nz\r\n"]).unwrap();
    assert!(matches!(&done[..], [Put::Done, Put::Failed(e), Put::Done]
        if e.kind() == ErrorKind::PermissionDenied));
    assert_eq!(
        disk.below("/m/a/new").len() + disk.below("/m/c/new").len(),
        2
    );
}

#[test]
fn a_failure_at_any_step_leaves_nothing_in_new() {
    for (verb, kind) in [
        ("open", ErrorKind::PermissionDenied),
        ("write", ErrorKind::StorageFull),
        ("write", ErrorKind::QuotaExceeded),
        ("sync", ErrorKind::Other),
        ("rename", ErrorKind::PermissionDenied),
    ] {
        let disk = Files::with(&["/m/a/tmp", "/m/a/new", "/m/a/cur"]);
        disk.fail(verb, "/m/a", kind);
        let done = put(&*disk, &[letter("/m/a", "a@test")], &[b"x: y\r\n\r\nz\r\n"]).unwrap();
        assert!(
            matches!(&done[..], [Put::Failed(e)] if e.kind() == kind),
            "{verb}: {done:?}"
        );
        assert_eq!(disk.below("/m"), [], "{verb}");
    }
}

#[test]
fn a_message_that_cannot_be_read_leaves_nothing() {
    let disk = Files::with(&["/m/a/tmp", "/m/a/new", "/m/a/cur"]);
    let names = Names::new("mx.test");
    let mut left = vec![Bytes::from_static(b"x: y\r\n\r\nz\r\n")];
    let content = || left.pop().map(Some).ok_or(io::Error::other("damaged"));
    let root = (&*disk as &dyn Disk).within("/m".as_ref()).unwrap();
    let result = deliver(&*root, &[letter("/m/a", "a@test")], content, || {
        names.next(NOW)
    });
    assert!(result.is_err());
    assert_eq!(disk.below("/m"), []);
}

#[test]
fn a_message_that_was_in_this_mailbox_before_loops() {
    let cases: [(&[u8], bool); 6] = [
        (b"Delivered-To: a@test\r\n\r\n", true),
        (
            b"Received: x\r\nDELIVERED-TO:\tA@Test \r\nX: y\r\n\r\nbody",
            true,
        ),
        (b"Delivered-To: b@test\r\n\r\n", false),
        (b"X-Delivered-To: a@test\r\n\r\n", false),
        (b"Subject: s\r\n\r\nDelivered-To: a@test\r\n", false),
        (b"Delivered-To: a@test.example\r\n\r\n", false),
    ];
    for (message, loops) in cases {
        for cut in 0..message.len() {
            let disk = Files::with(&["/m/a/tmp", "/m/a/new", "/m/a/cur"]);
            let pieces = message.split_at(cut);
            let done = put(&*disk, &[letter("/m/a", "a@test")], &[pieces.0, pieces.1]).unwrap();
            assert_eq!(
                matches!(done[..], [Put::Loops]),
                loops,
                "{message:?} cut at {cut}"
            );
            assert_eq!(disk.below("/m").is_empty(), loops);
        }
    }
}

#[test]
fn file_names_never_hold_a_slash_or_a_colon() {
    let name = Names::new("[IPv6:2001:db8::1]/x").next(NOW);
    assert!(!name.contains(['/', ':']), "{name}");
    assert!(name.contains("\\072") && name.contains("\\057"));
}

#[test]
fn names_are_unique_within_a_process() {
    let names = Names::new("mx.test");
    let all: std::collections::BTreeSet<String> = (0..1000).map(|_| names.next(NOW)).collect();
    assert_eq!(all.len(), 1000);
}

proptest! {
    #[test]
    fn splitting_the_content_anywhere_changes_nothing(
        message in "([a-z.\r]{0,12}(\r\n|\r|\n)){0,20}[a-z\r]{0,5}",
        cuts in proptest::collection::vec(0_usize..200, 0..6),
    ) {
        let whole = message.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(whole.len())).collect();
        cuts.extend([0, whole.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &whole[w[0]..w[1]]).collect();
        let disk = Files::with(&["/m/a/tmp", "/m/a/new", "/m/a/cur"]);
        put(&*disk, &[letter("/m/a", "a@test")], &pieces).unwrap();
        let text = &disk.below("/m/a/new")[0].1;
        let head = "Return-Path: <s@test>\nDelivered-To: a@test\n";
        prop_assert_eq!(text, &format!("{head}{}", message.replace("\r\n", "\n")));
    }
}

#[test]
fn no_name_can_lead_out_of_its_folder() {
    let plain = ["a", "d.test/a", "a+b", "..a", "a b", "ä"];
    assert!(plain.iter().all(|name| is_plain(name.as_ref())));
    let long = "x/".repeat(3000);
    for name in [
        "..",
        "../a",
        "a/..",
        "a/../../b",
        "/a",
        "./a",
        "a\0b",
        &long,
    ] {
        assert!(!is_plain(name.as_ref()), "{name}");
        let disk = Files::with(&["/m"]);
        let letters = [Letter {
            folder: name.into(),
            ..letter("/m/x", "x@test")
        }];
        let done = put(&*disk, &letters, &[b"\r\n"]);
        let refused = matches!(done.as_deref(), Ok([Put::Failed(_)]));
        assert!(
            refused
                || disk
                    .below("/")
                    .iter()
                    .all(|(path, _)| path.starts_with("/m/"))
        );
    }
}

#[test]
fn a_mailbox_that_was_half_made_is_made_whole() {
    let disk = Files::with(&["/m/a/tmp"]);
    let done = put(&*disk, &[letter("/m/a", "a@test")], &[b"\r\n"]).unwrap();
    assert!(matches!(done[..], [Put::Done]), "{done:?}");
    assert_eq!(disk.below("/m/a/new").len(), 1);
    assert!(disk.below("/m/a/tmp").is_empty());
}

#[test]
fn tmp_is_made_when_all_else_of_a_mailbox_is_durable() {
    let disk = Files::with(&["/m"]);
    put(&*disk, &[letter("/m/d.test/a", "a@test")], &[b"\r\n"]).unwrap();
    let journal = disk.journal("");
    let at = |what: &str| journal.iter().position(|l| l.starts_with(what)).unwrap();
    let tmp = at("create_dir /m/d.test/a/tmp");
    for before in [
        "create_dir /m/d.test/a/new",
        "sync_dir /m/d.test/a",
        "sync_dir /m",
    ] {
        assert!(at(before) < tmp, "{before}: {journal:?}");
    }
}
