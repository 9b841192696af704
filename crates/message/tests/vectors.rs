//! The public vectors of message parsing, read from the folder beside the checkout that
//! `POSTHASTE_VECTORS` names (by default `../shared/vectors` seen from the workspace).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]
#![allow(clippy::disallowed_methods)] // reads the vectors from the real disk

use std::path::PathBuf;

use posthaste_message::date;
use posthaste_message::header::{Facts, Field, Scan};
use serde_json::Value;

/// A folder or file of the vectors; `None`, with a visible note, when it is not there.
fn vectors(path: &str) -> Option<PathBuf> {
    let beside = || {
        PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../shared/vectors"
        ))
    };
    let root = std::env::var_os("POSTHASTE_VECTORS").map_or_else(beside, PathBuf::from);
    let found = root.join(path);
    if !found.exists() {
        println!("SKIP: no {} (set POSTHASTE_VECTORS)", found.display());
        return None;
    }
    Some(found)
}

fn cases(path: &str) -> Option<Vec<Value>> {
    let text = std::fs::read(vectors(path)?).unwrap();
    Some(serde_json::from_slice(&text).unwrap())
}

fn scan(message: &[u8]) -> Facts {
    let mut scan = Scan::new();
    scan.push(message);
    scan.finish()
}

/// Seconds since 1970 of the date that a vector expects, by an independent calendar: day by day.
fn unix_s(expected: &Value) -> i64 {
    let part = |name: &str| expected[name].as_i64().unwrap();
    let leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let february = |y: i64| if leap(y) { 29 } else { 28 };
    let year = part("year");
    let months = [31, february(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days: i64 = (1970..year).map(|y| 337 + february(y)).sum::<i64>()
        + months
            .iter()
            .take(usize::try_from(part("month") - 1).unwrap())
            .sum::<i64>()
        + part("day")
        - 1;
    let east = (part("tz_hour") * 60 + part("tz_minute")) * 60;
    let east = if expected["tz_before_gmt"].as_bool().unwrap() {
        -east
    } else {
        east
    };
    days * 86_400 + part("hour") * 3600 + part("minute") * 60 + part("second") - east
}

#[test]
fn the_dates_of_received_fields_of_the_real_world_are_read() {
    let Some(cases) = cases("mime/received.json") else {
        return;
    };
    // What RFC 5322 does not know: the order of ctime(3), no zone, fractions, trailing words.
    const NO_DATE: usize = 11;
    let (mut read, mut refused) = (0, Vec::new());
    for case in &cases {
        let (header, expected) = (case["header"].as_str().unwrap(), &case["expected"]["date"]);
        let Some((_, text)) = header.rsplit_once(';') else {
            continue;
        };
        // The vectors take every zone by name for UTC (RFC 5322 §4.3 does not), and the calendar
        // above starts in 1970.
        let zone = text.trim();
        let named = zone.ends_with("ST") || zone.ends_with("DT");
        if named || expected["year"].as_i64().is_none_or(|year| year < 1970) {
            continue;
        }
        match date::parse(text.trim().as_bytes()) {
            Some(found) => {
                assert_eq!(found, unix_s(expected), "{header}");
                read += 1;
            }
            None => refused.push(text),
        }
    }
    assert_eq!(refused.len(), NO_DATE, "{refused:#?}");
    assert!(
        read > 50,
        "only {read} of {} cases have a date",
        cases.len()
    );
}

#[test]
fn message_identifiers_of_the_real_world_are_kept() {
    let Some(cases) = cases("mime/id.json") else {
        return;
    };
    let mut kept = 0;
    for case in &cases {
        let header = case["header"]
            .as_str()
            .unwrap()
            .replace("\r\n", "\n")
            .replace('\n', "\r\n");
        let Some(expected) = case["expected"][0].as_str() else {
            continue;
        };
        let ordinary = expected.contains('@') && !expected.contains([' ', '<', '\r', '\n']);
        // We keep the first pair of brackets, also when it is empty.
        if !ordinary || header.starts_with("<>") {
            continue;
        }
        let found = scan(format!("Message-ID: {header}").as_bytes())
            .message_id
            .unwrap();
        assert!(
            found == format!("<{expected}>") || found == expected,
            "{header:?}: {found}"
        );
        kept += 1;
    }
    assert!(
        kept > 10,
        "only {kept} of {} cases are ordinary",
        cases.len()
    );
}

#[test]
fn whole_messages_scan_to_their_end() {
    for folder in ["mime/rfc", "mime/issues"] {
        let Some(folder) = vectors(folder) else {
            return;
        };
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "eml") {
                continue;
            }
            let message = std::fs::read(&path).unwrap();
            let facts = scan(&message);
            let end = usize::try_from(facts.header_end.unwrap()).unwrap();
            let text = &message[..end];
            assert!(
                !facts.malformed && facts.excess.is_none(),
                "{}",
                path.display()
            );
            assert!(facts.count(Field::ContentType) <= 1, "{}", path.display());
            assert!(!text.windows(2).any(|w| w == b"\n\n"), "{}", path.display());
            assert_eq!(facts.size, message.len() as u64);
        }
    }
}
