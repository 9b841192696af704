//! SRS beside Mail::SRS, which others wrote: each finds back what the other rewrote.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]
#![allow(clippy::disallowed_methods)] // the other side looks at the machine's clock

use std::io::Write as _;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use posthaste_mailauth::srs::Srs;
use posthaste_smtp::address::{Domain, Mailbox, Utf8};
use posthaste_tests::peer::Tree;

const SCRIPT: &str = include_str!("../src/peer/srs.pl");

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text, Utf8::Refused).unwrap()
}

fn srs(secret: &str, domain: &str) -> Srs {
    let domain = Domain::parse(domain, Utf8::Refused).unwrap();
    Srs::new(&[secret.as_bytes()], domain).unwrap()
}

/// What Mail::SRS answers to lines of verb, secret, domain, address.
fn ask(tree: &Tree, lines: &[String]) -> Vec<String> {
    let mut perl = tree.command("exec perl -e \"$1\"", &[SCRIPT]);
    perl.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = perl.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = lines.join("\n") + "\n";
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{output:?}");
    let answers = String::from_utf8(output.stdout).unwrap();
    answers.lines().map(str::to_owned).collect()
}

#[test]
fn each_finds_back_what_the_other_rewrote() {
    let Some(tree) = Tree::require("mailauth") else {
        return;
    };
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    // Not what only looks like SRS: that it would pass on as it is, and could not send back.
    let locals = ["alice", "Bob.C", "a+b", "x=y", "srs", "o'neil", "a_b-c"];
    let senders: Vec<String> = (0..400)
        .map(|i| format!("{}{i}@host{}.example", locals[i % locals.len()], i % 7))
        .collect();
    let (one, two) = (
        srs("first secret", "one.example"),
        srs("second", "two.example"),
    );

    // Rewritten by them, once and twice.
    let forward = |secret: &str, domain: &str, addresses: &[String]| -> Vec<String> {
        let lines = addresses
            .iter()
            .map(|a| format!("forward\t{secret}\t{domain}\t{a}"));
        ask(&tree, &lines.collect::<Vec<_>>())
    };
    let theirs = forward("first secret", "one.example", &senders);
    let theirs_twice = forward("second", "two.example", &theirs);
    let mut back = Vec::new();
    for ((sender, once), twice) in senders.iter().zip(&theirs).zip(&theirs_twice) {
        let ours = one.forward(&mailbox(sender), now_s).unwrap();
        assert_eq!(&ours.to_string(), once);
        assert_eq!(&two.forward(&ours, now_s).unwrap().to_string(), twice);
        assert_eq!(one.reverse(&mailbox(once), now_s), Ok(mailbox(sender)));
        assert_eq!(two.reverse(&mailbox(twice), now_s), Ok(mailbox(once)));
        back.push(format!("reverse\tfirst secret\tone.example\t{ours}"));
    }
    // Rewritten by us, and what somebody else made up.
    assert_eq!(ask(&tree, &back), senders);
    let forged: Vec<String> = back
        .iter()
        .map(|line| line.replace("=host", "=hosts"))
        .collect();
    assert!(
        ask(&tree, &forged)
            .iter()
            .all(|answer| answer.starts_with("refused"))
    );
    for line in &forged {
        let address = line.rsplit('\t').next().unwrap();
        assert!(one.reverse(&mailbox(address), now_s).is_err());
    }
    println!(
        "{} addresses beside Mail::SRS, once and twice, both ways",
        senders.len()
    );
}
