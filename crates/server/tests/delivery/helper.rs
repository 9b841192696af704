//! The helper behind a socket: the same deliveries as without it, and what it refuses.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthaste::deliver::helper::{Helpers, LANE_PATIENCE, serve};
use posthaste::deliver::maildir::{Letter, Names, Put};
use posthaste_world::Timestamp;

use crate::doors::Files;

fn letter(folder: &str) -> Letter {
    Letter {
        folder: PathBuf::from(folder),
        address: format!("{folder}@test"),
        head: format!("Delivered-To: {folder}@test\n"),
    }
}

/// A helper on a thread, for the folder `/m`; gives the server's end of its socket.
fn helper(disk: &Arc<Files>) -> (UnixStream, std::thread::JoinHandle<std::io::Result<()>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let disk = disk.clone();
    let thread = std::thread::Builder::new().spawn(move || {
        let names = Names::new("mx.test");
        serve(&theirs, &*disk, &["/m".into()], || {
            names.next(Timestamp::from_secs(1))
        })
    });
    (ours, thread.unwrap())
}

fn pieces(all: &[&'static [u8]]) -> impl FnMut() -> std::io::Result<Option<Bytes>> {
    let mut left: Vec<_> = all.iter().rev().map(|p| Bytes::from_static(p)).collect();
    move || Ok(left.pop())
}

#[test]
fn the_helper_delivers_as_the_server_would() {
    let disk = Files::with(&["/m"]);
    disk.fail("open", "/m/full", ErrorKind::StorageFull);
    let (socket, thread) = helper(&disk);
    let helpers = Helpers::over("vmail", &["/m".into()], vec![socket], LANE_PATIENCE);
    for round in 1..=3 {
        let letters = [letter("a"), letter("full"), letter("b/c")];
        let content = pieces(&[b"Subject: s\r\n\r\nbo", b"dy\r\n"]);
        let done = helpers.deliver(Path::new("/m"), &letters, content).unwrap();
        assert!(
            matches!(&done[..], [Put::Done, Put::Failed(e), Put::Done]
            if e.kind() == ErrorKind::StorageFull),
            "{done:?}"
        );
        assert_eq!(disk.below("/m/a/new").len(), round);
    }
    assert_eq!(
        disk.below("/m/b/c/new")[0].1,
        "Delivered-To: b/c@test\nSubject: s\n\nbody\n"
    );
    drop(helpers);
    thread.join().unwrap().unwrap();
}

#[test]
fn a_large_message_passes_in_pieces() {
    let disk = Files::with(&["/m"]);
    let (socket, _thread) = helper(&disk);
    let helpers = Helpers::over("vmail", &["/m".into()], vec![socket], LANE_PATIENCE);
    let large = Bytes::from("Subject: s\r\n\r\n".to_owned() + &"0123456789\r\n".repeat(50_000));
    let mut left = Some(large.clone());
    let done = helpers
        .deliver(Path::new("/m"), &[letter("a")], || Ok(left.take()))
        .unwrap();
    assert!(matches!(done[..], [Put::Done]));
    let expected = String::from_utf8(large.to_vec())
        .unwrap()
        .replace("\r\n", "\n");
    assert_eq!(
        disk.below("/m/a/new")[0].1,
        format!("Delivered-To: a@test\n{expected}")
    );
}

#[test]
fn content_that_cannot_be_read_leaves_nothing_and_the_helper_goes_on() {
    let disk = Files::with(&["/m"]);
    let (socket, _thread) = helper(&disk);
    let helpers = Helpers::over("vmail", &["/m".into()], vec![socket], LANE_PATIENCE);
    let mut left = vec![Bytes::from_static(b"Subject: s\r\n\r\n")];
    let content = || left.pop().map(Some).ok_or(std::io::Error::other("damaged"));
    assert!(
        helpers
            .deliver(Path::new("/m"), &[letter("a")], content)
            .is_err()
    );
    assert_eq!(disk.below("/m"), []);
    let done = helpers
        .deliver(Path::new("/m"), &[letter("a")], pieces(&[b"\r\n"]))
        .unwrap();
    assert!(matches!(done[..], [Put::Done]));
}

#[test]
fn a_folder_that_is_new_since_the_start_is_refused_without_asking() {
    let disk = Files::with(&["/m"]);
    let (socket, _thread) = helper(&disk);
    let helpers = Helpers::over("vmail", &["/m".into()], vec![socket], LANE_PATIENCE);
    let done = helpers
        .deliver(Path::new("/etc"), &[letter("a")], pieces(&[b"\r\n"]))
        .unwrap();
    assert!(matches!(&done[..], [Put::Failed(e)] if e.to_string().contains("restart")));
}

#[test]
fn a_lost_helper_is_a_failure_and_not_a_wait() {
    let (socket, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let helpers = Helpers::over("vmail", &["/m".into()], vec![socket], LANE_PATIENCE);
    for _ in 0..2 {
        let done = helpers
            .deliver(Path::new("/m"), &[letter("a")], pieces(&[b"\r\n"]))
            .unwrap();
        assert!(matches!(&done[..], [Put::Failed(e)] if e.to_string().contains("restart")));
    }
}

#[test]
fn a_helper_that_is_late_keeps_its_lane_and_the_others_do_not_wait_without_end() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let patience = Duration::from_millis(10);
    let helpers = Arc::new(Helpers::over("vmail", &["/m".into()], vec![ours], patience));
    let slow = helpers.clone();
    let first = std::thread::Builder::new()
        .spawn(move || slow.deliver(Path::new("/m"), &[letter("a")], pieces(&[b"\r\n"])));
    // It has the lane once its first octet is here.
    theirs.read_exact(&mut [0]).unwrap();
    let second = helpers.deliver(Path::new("/m"), &[letter("b")], pieces(&[b"\r\n"]));
    assert!(matches!(&second.unwrap()[..], [Put::Failed(e)] if e.kind() == ErrorKind::TimedOut));
    let done = frame(5, &[0, 0, 0, 0, 0]);
    theirs.write_all(&done).unwrap();
    let late = first.unwrap().join().unwrap().unwrap();
    assert!(matches!(late[..], [Put::Done]));
    theirs.write_all(&done).unwrap();
    let third = helpers.deliver(Path::new("/m"), &[letter("c")], pieces(&[b"\r\n"]));
    assert!(matches!(third.unwrap()[..], [Put::Done]));
}

/// A letter's frame as the protocol has it.
fn letter_frame(root: u32, texts: [&str; 3]) -> Vec<u8> {
    let mut payload = root.to_be_bytes().to_vec();
    for text in texts {
        payload.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        payload.extend(text.as_bytes());
    }
    frame(1, &payload)
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend(payload);
    frame
}

#[test]
fn what_breaks_the_rules_ends_the_helper_and_writes_nothing_elsewhere() {
    let end = frame(3, b"");
    let then_end = |frame: Vec<u8>| [frame, end.clone()].concat();
    for (name, octets) in [
        ("up", then_end(letter_frame(0, ["../etc", "a@test", ""]))),
        (
            "absolute",
            then_end(letter_frame(0, ["/etc", "a@test", ""])),
        ),
        ("nothing", then_end(letter_frame(0, ["a\0b", "a@test", ""]))),
        (
            "another root",
            then_end(letter_frame(7, ["a", "a@test", ""])),
        ),
        (
            "a cut letter",
            then_end(frame(1, &[0, 0, 0, 0, 0, 0, 0, 9, b'a'])),
        ),
        ("an unknown kind", frame(9, b"")),
        (
            "a letter in the content",
            [
                letter_frame(0, ["a", "a@test", ""]),
                frame(2, b"x: y\r\n"),
                letter_frame(0, ["b", "b@test", ""]),
            ]
            .concat(),
        ),
        ("a huge frame", [&[2][..], &u32::MAX.to_be_bytes()].concat()),
        (
            "too many letters",
            letter_frame(0, ["a", "a@test", ""]).repeat(101),
        ),
    ] {
        let disk = Files::with(&["/m"]);
        let (mut socket, thread) = helper(&disk);
        // A helper that has ended takes no more: that is as good as a refusal.
        let _ = socket.write_all(&octets);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert!(thread.join().unwrap().is_err(), "{name}");
        assert!(answer.is_empty(), "{name}");
        assert_eq!(disk.below("/"), [], "{name}");
    }
}
