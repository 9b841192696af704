//! The public RFC 7208 suite, read from the folder beside the checkout that `POSTHASTE_VECTORS`
//! names (by default `../shared/vectors` seen from the workspace).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic
)]
#![allow(clippy::disallowed_methods)] // reads the vectors from the real disk

mod zone;

use std::path::PathBuf;

use posthaste_mailauth::spf::{self, Client};
use posthaste_world::dns::Data;
use zone::{Entry, Zone};

/// One case; fields that are not written are empty.
#[derive(Default, Debug)]
struct Case {
    name: String,
    helo: String,
    host: String,
    mail_from: String,
    results: Vec<String>,
    explanation: Option<String>,
}

/// One document of the suite: its cases and the DNS they see.
#[derive(Default, Debug)]
struct Scenario {
    cases: Vec<Case>,
    /// Name, type (or `TIMEOUT`), value.
    records: Vec<(String, String, Vec<String>)>,
}

/// Reads the form of YAML that the suite is written in: two levels of maps by their indentation,
/// with scalars, quoted scalars and flow lists. Descriptions over several lines are passed over.
fn read(text: &str) -> Vec<Scenario> {
    let mut scenarios = vec![Scenario::default()];
    let (mut in_zone, mut name) = (false, String::new());
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let trimmed = line.trim();
        let scenario = scenarios.last_mut().unwrap();
        match indent {
            _ if trimmed.is_empty() || trimmed.starts_with('#') => {}
            0 if trimmed == "---" => scenarios.push(Scenario::default()),
            0 => in_zone = trimmed == "zonedata:",
            2 if trimmed.ends_with(':') => {
                name = scalars(trimmed.trim_end_matches(':')).concat();
                if !in_zone {
                    let name = name.clone();
                    scenario.cases.push(Case {
                        name,
                        ..Case::default()
                    });
                }
            }
            4 if in_zone => {
                let (kind, value) = trimmed[2..].split_once(':').unwrap_or((&trimmed[2..], ""));
                let record = (name.clone(), kind.trim().to_owned(), scalars(value.trim()));
                scenario.records.push(record);
            }
            4 => {
                let (key, value) = trimmed.split_once(':').unwrap();
                let values = scalars(value.trim());
                let case = scenario.cases.last_mut().unwrap();
                match key {
                    "helo" => case.helo = values.concat(),
                    "host" => case.host = values.concat(),
                    "mailfrom" => case.mail_from = values.concat(),
                    "result" => case.results = values,
                    "explanation" => case.explanation = Some(values.concat()),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    scenarios.retain(|scenario| !scenario.cases.is_empty());
    scenarios
}

/// A scalar, or the scalars of a flow list.
fn scalars(text: &str) -> Vec<String> {
    match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        Some(list) => list.split(',').map(|item| scalar(item.trim())).collect(),
        None => vec![scalar(text)],
    }
}

fn scalar(text: &str) -> String {
    if let Some(inner) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        return inner.replace("\\0", "\0").replace("\\\"", "\"");
    }
    let inner = text.strip_prefix('\'').and_then(|t| t.strip_suffix('\''));
    inner.unwrap_or(text).to_owned()
}

/// The DNS of a scenario. `SPF` stands for TXT where a name has no TXT (RFC 7208 §3.1).
fn zone(scenario: &Scenario) -> Zone {
    let mut zone = Zone::default();
    for (name, kind, values) in &scenario.records {
        let text = values.concat();
        let has_txt = |(n, k, _): &(String, String, Vec<String>)| n == name && k == "TXT";
        let entry = match kind.as_str() {
            "TIMEOUT" => Entry::Timeout,
            "TXT" if text == "NONE" => continue,
            "SPF" if scenario.records.iter().any(has_txt) => continue,
            "TXT" | "SPF" => Entry::Record(Data::Txt(text.into_bytes())),
            "A" => Entry::Record(Data::A(text.parse().unwrap())),
            "AAAA" => Entry::Record(Data::Aaaa(text.parse().unwrap())),
            "MX" => Entry::Record(Data::Mx {
                preference: values[0].trim().parse().unwrap(),
                exchange: values[1].trim().to_owned(),
            }),
            "PTR" => Entry::Record(Data::Ptr(text)),
            "CNAME" => Entry::Cname(text),
            other => panic!("{name}: what is {other}?"),
        };
        zone.add(name, entry);
    }
    zone
}

#[tokio::test]
async fn every_case_of_the_public_suite_comes_out_as_it_says() {
    let beside = || {
        PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../shared/vectors"
        ))
    };
    let root = std::env::var_os("POSTHASTE_VECTORS").map_or_else(beside, PathBuf::from);
    let folder = root.join("spf");
    if !folder.exists() {
        println!("SKIP: no {} (set POSTHASTE_VECTORS)", folder.display());
        return;
    }
    let (mut cases, mut wrong) = (0, Vec::new());
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|e| e != "yml") {
            continue;
        }
        for scenario in read(&std::fs::read_to_string(&path).unwrap()) {
            let zone = zone(&scenario);
            for case in &scenario.cases {
                cases += 1;
                wrong.extend(judge(&zone, case).await);
            }
        }
    }
    println!(
        "spf suite: {} of {cases} cases, none left out",
        cases - wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(cases >= 128, "only {cases} cases were read");
}

/// What is wrong with the answer to a case.
async fn judge(zone: &Zone, case: &Case) -> Option<String> {
    assert!(!case.results.is_empty(), "{case:?}");
    let client = Client {
        ip: case.host.parse().unwrap(),
        helo: &case.helo,
        receiver: "receiver.example",
        now_s: 0,
    };
    let got = spf::check_mail_from(zone, &client, &case.mail_from).await;
    let verdict_fits = case.results.iter().any(|r| r == got.verdict.word());
    // DEFAULT stands for whatever an implementation says by itself; ours says nothing.
    let explanation_fits = match case.explanation.as_deref() {
        None => true,
        Some("DEFAULT") => got.explanation.is_none(),
        Some(text) => got.explanation.as_deref() == Some(text),
    };
    let fits = verdict_fits && explanation_fits && !got.reason.is_empty();
    (!fits).then(|| format!("{}: wanted {:?}, got {got:#?}", case.name, case.results))
}
