//! Real clients put their messages into a Maildir through the program, and every octet arrives.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, missing_docs)]

use std::path::Path;

use posthaste_tests::messages::samples;
use posthaste_tests::peer::client;
use posthaste_tests::server::{Server, told};
use posthaste_tests::{SOON, mailbox, setup};

const PYTHON: &str = "
import smtplib, sys
port, path = int(sys.argv[1]), sys.argv[2]
with smtplib.SMTP('127.0.0.1', port) as client:
    client.sendmail('sender@client.example', ['alice@local.example'], open(path, 'rb').read())
";

/// What a client wants to read. It sends CRLF either way.
enum Lines {
    Crlf,
    Lf,
    /// It adds a line end, whether or not there is one.
    LfWithoutLast,
}

/// Lets a client send every sample, and compares what is delivered.
fn every_sample_arrives(name: &str, lines: &Lines, script: &str) {
    if !client::is_there(name) {
        return;
    }
    for sample in samples() {
        let server = Server::start(setup::BASE);
        let mut given = mailbox::with_lf(&sample.octets);
        match lines {
            Lines::Crlf => given = sample.octets.clone(),
            Lines::Lf => {}
            Lines::LfWithoutLast => given.truncate(given.len() - 1),
        }
        let file = server.dir().join("message");
        std::fs::write(&file, given).unwrap();
        let port = server.address().port().to_string();
        let mut command = client::command(name, script, &[&port, &file.display().to_string()]);
        let told = told(&mut command);
        assert!(
            told.status.success(),
            "{name} {}: {} {}",
            sample.name,
            told.out,
            told.err
        );
        compare(
            &server.dir().join("mail/alice"),
            &sample.octets,
            sample.name,
        );
    }
}

fn compare(maildir: &Path, sent: &[u8], name: &str) {
    let found = mailbox::wait(maildir, 1, SOON);
    assert_eq!(found.len(), 1);
    let trace = String::from_utf8_lossy(&found[0][..found[0].len().min(200)]);
    assert!(
        trace.starts_with("Return-Path: <sender@client.example>\n"),
        "{trace}"
    );
    assert!(
        trace.contains("Delivered-To: alice@local.example\n"),
        "{trace}"
    );
    let delivered = mailbox::below(&found[0], "Subject");
    // Not assert_eq: it would print ten mebibytes twice.
    assert!(
        delivered == mailbox::with_lf(sent),
        "{name}: not what was sent"
    );
}

#[test]
fn python_smtplib_delivers_every_sample() {
    let script = format!("exec python3 -c \"{PYTHON}\" \"$1\" \"$2\"");
    every_sample_arrives("python3", &Lines::Crlf, &script);
}

#[test]
fn curl_delivers_every_sample() {
    let script = "exec curl --silent --show-error smtp://127.0.0.1:$1/client.example \
         --mail-from sender@client.example --mail-rcpt alice@local.example --upload-file \"$2\"";
    every_sample_arrives("curl", &Lines::Crlf, script);
}

#[test]
fn swaks_delivers_every_sample() {
    let script = "exec swaks --silent 2 --server 127.0.0.1 --port $1 --helo client.example \
         --from sender@client.example --to alice@local.example --data \"@$2\"";
    every_sample_arrives("swaks", &Lines::LfWithoutLast, script);
}

#[test]
fn msmtp_delivers_every_sample() {
    let script = "exec msmtp --file=/dev/null --host=127.0.0.1 --port=$1 --domain=client.example \
         --from=sender@client.example alice@local.example <\"$2\"";
    every_sample_arrives("msmtp", &Lines::Lf, script);
}

/// The client is found and says its version: a broken one would be a skip in disguise.
#[test]
fn the_clients_run() {
    for name in ["python3", "curl", "swaks", "msmtp"] {
        if client::is_there(name) {
            let mut command = client::command(name, &format!("exec {name} --version"), &[]);
            assert!(told(&mut command).status.success(), "{name}");
        }
    }
}
