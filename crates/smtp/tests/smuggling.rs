//! Only CRLF.CRLF ends a message, and nothing that could be taken for it is passed on.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // reads vectors from real files
#![allow(clippy::indexing_slicing)]
#![allow(clippy::print_stderr)] // a skipped test says so

use std::path::PathBuf;
use std::{env, fs};

use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{Accepted, Event, Session, Settings};

/// What a server made of `DATA` followed by `content`.
#[derive(Debug, PartialEq)]
struct Served {
    /// Messages that were accepted.
    messages: Vec<Vec<u8>>,
    /// Codes said from the final dot on.
    codes: Vec<String>,
    /// Commands that were taken for such after DATA.
    commands: usize,
}

fn serve(content: &[u8], step: usize) -> Served {
    let mut session = Session::new(Settings::new("mx.example.org"));
    let prelude = b"HELO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n";
    let input = [prelude, content].concat();
    let mut pieces = input.chunks(step);
    let (mut body, mut messages, mut said, mut mails) = (Vec::new(), Vec::new(), Vec::new(), 0);
    loop {
        while session.wants_input() {
            match pieces.next() {
                Some(piece) => session.receive(piece),
                None => session.peer_closed(),
            }
        }
        match session.next() {
            Some(Event::Connected) => session.answer(Reply::greeting("mx")),
            Some(Event::Hello(_)) => session.answer(Reply::hello()),
            Some(Event::Mail(_)) => {
                mails += 1;
                session.answer(Reply::sender_ok());
            }
            Some(Event::Rcpt(_)) => session.answer(Reply::recipient_ok()),
            Some(Event::Data) => session.answer(Reply::start_input()),
            Some(Event::Body(octets)) => body.extend_from_slice(octets),
            Some(Event::EndOfData) => {
                messages.push(std::mem::take(&mut body));
                session.answer_data(Ok(Accepted::promise("queued")));
            }
            Some(Event::Reset(_)) => body.clear(),
            Some(Event::StartTls | Event::Auth(_) | Event::Xclient(_)) => {
                session.answer(Reply::local_error());
            }
            Some(Event::HeadersEnd | Event::Closed(_)) => {}
            None => break,
        }
        said.extend_from_slice(session.output());
        session.wrote(session.output().len());
    }
    let said = String::from_utf8(said).unwrap();
    let after = said.split_once("354 ").unwrap().1;
    let codes = after
        .lines()
        .skip(1)
        .map(|line| line[..3].to_owned())
        .collect();
    Served {
        messages,
        codes,
        commands: mails - 1,
    }
}

#[test]
fn no_look_alike_ends_a_message() {
    let folder = env::var_os("POSTHASTE_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let path = folder.join("smtp/not-end-of-data.json");
    if !path.exists() {
        eprintln!(
            "SKIP {}: set POSTHASTE_VECTORS to the folder of vectors",
            path.display()
        );
        return;
    }
    let cases: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for case in cases["sequences"].as_array().unwrap() {
        let hex = case["octets_hex"].as_str().unwrap();
        let octet = |n: usize| u8::from_str_radix(&hex[n..n + 2], 16).unwrap();
        let sequence: Vec<u8> = (0..hex.len()).step_by(2).map(octet).collect();
        check_refused(&sequence);
    }
}

/// `sequence` stands in a message, with commands behind it.
fn check_refused(sequence: &[u8]) {
    let smuggled = b"MAIL FROM:<evil@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n";
    let content = [b"one", sequence, smuggled].concat();
    for step in [1, 2, 3, 7, usize::MAX] {
        let served = serve(&content, step);
        let expected = Served {
            messages: vec![],
            codes: vec!["550".into()],
            commands: 0,
        };
        assert_eq!(
            served,
            expected,
            "{:?}",
            sequence.escape_ascii().to_string()
        );
    }
}

const LINE_ENDS: [&[u8]; 9] = [
    b"\r\n", b"\n", b"\r", b"\n\r", b"\r\r\n", b"\n\n", b"\r\n\n", b"\r\n\r", b"\0\r\n",
];

#[test]
fn of_all_line_ends_around_a_dot_only_crlf_ends_a_message() {
    for before in LINE_ENDS {
        for after in LINE_ENDS {
            let sequence = [before, b".", after].concat();
            if sequence.windows(5).any(|five| five == b"\r\n.\r\n") {
                continue;
            }
            check_refused(&sequence);
        }
    }
}

#[test]
fn the_real_end_is_found_wherever_it_is_cut() {
    for step in 1..20 {
        let served = serve(b"one\r\n..\r\n.\r\nNOOP\r\n", step);
        assert_eq!(served.messages, [b"one\r\n.\r\n".to_vec()]);
        assert_eq!(served.codes, ["250", "250"]);
    }
}

#[test]
fn long_runs_of_anything_are_passed_on_whole() {
    for octet in [b'a', b'.', b' ', 0xff] {
        let line = [vec![octet; 200_000], b"\r\n".to_vec()].concat();
        let stuffed = if octet == b'.' {
            [b".", line.as_slice()].concat()
        } else {
            line.clone()
        };
        let served = serve(&[stuffed, b".\r\n".to_vec()].concat(), 4096);
        assert_eq!(served.messages, [line]);
    }
}
