//! DMARC by the table in `data/dmarc.txt`, which says how it is written.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic
)]

mod zone;

use std::sync::atomic::Ordering;

use posthaste_mailauth::dmarc::{self, Authors, Checked, Facts};
use posthaste_world::dns::Data;
use zone::{Entry, Zone};

#[derive(Default)]
struct Case<'a> {
    title: &'a str,
    zone: Zone,
    from: Vec<&'a [u8]>,
    spf: Option<&'a str>,
    dkim: Vec<&'a str>,
    want: Vec<&'a str>,
}

fn read(text: &str) -> Vec<Case<'_>> {
    let mut cases = Vec::new();
    for block in text.split("\n## ").skip(1) {
        let mut lines = block.lines();
        let mut case = Case {
            title: lines.next().unwrap(),
            ..Case::default()
        };
        for line in lines.filter(|l| !l.is_empty()) {
            let (first, rest) = line.split_once(' ').unwrap();
            match first {
                "from:" => case.from.push(rest.as_bytes()),
                "spf:" => case.spf = Some(rest),
                "dkim:" => case.dkim = rest.split(' ').collect(),
                "want:" => case.want = rest.split(' ').collect(),
                name => match rest.split_once(' ').unwrap_or((rest, "")) {
                    ("TXT", value) => case.zone.txt(name, value),
                    ("A", value) => {
                        let address = value.parse().unwrap();
                        case.zone.add(name, Entry::Record(Data::A(address)));
                    }
                    ("EMPTY", _) => case.zone.empty(name),
                    ("TIMEOUT", _) => case.zone.add(name, Entry::Timeout),
                    other => panic!("{other:?}"),
                },
            }
        }
        assert!(!case.want.is_empty(), "{}", case.title);
        cases.push(case);
    }
    cases
}

#[tokio::test]
async fn every_case_of_the_table_comes_out_as_it_says() {
    let cases = read(include_str!("data/dmarc.txt"));
    let mut wrong = Vec::new();
    for case in &cases {
        let authors = Authors::of_fields(&case.from);
        let facts = Facts {
            spf: case.spf,
            dkim: &case.dkim,
            undecided: &[],
        };
        let checked = dmarc::check(&case.zone, &authors, &facts).await;
        let asked = case.zone.asked.load(Ordering::Relaxed);
        let as_wanted = case.want.iter().all(|want| is(&checked, asked, want));
        let printable = checked.reason.bytes().all(|b| (b' '..=b'~').contains(&b));
        if !as_wanted || !printable || checked.reason.is_empty() {
            wrong.push(format!(
                "{}: {:?}, asked {asked}: {checked:#?}",
                case.title, case.want
            ));
        }
    }
    println!(
        "dmarc table: {} of {} cases",
        cases.len() - wrong.len(),
        cases.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() >= 60, "only {} cases were read", cases.len());
}

fn is(checked: &Checked, asked: usize, want: &str) -> bool {
    let Some((what, value)) = want.split_once('=') else {
        return checked.verdict.word() == want;
    };
    match what {
        "org" => checked.organizational_domain.as_deref() == Some(value),
        "at" => checked.policy_domain.as_deref() == Some(value),
        "policy" => checked.policy.word() == value,
        "asks" => checked.requested().word() == value,
        "asked" => asked.to_string() == value,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_could_not_be_checked_fails_nothing_that_it_might_have_passed() {
    let mut zone = Zone::default();
    zone.txt("_dmarc.example.com", "v=DMARC1; p=reject");
    let authors = Authors::of_fields(&[b"x@news.example.com"]);
    for (undecided, verdict) in [
        (&["mail.example.com"][..], "temperror"),
        (&["example.com."], "temperror"),
        (&["example.net", "badexample.com"], "fail"),
        (&[], "fail"),
    ] {
        let facts = Facts {
            spf: Some("example.net"),
            dkim: &[],
            undecided,
        };
        let checked = dmarc::check(&zone, &authors, &facts).await;
        assert_eq!(checked.verdict.word(), verdict, "{undecided:?}");
        let facts = Facts {
            spf: Some("example.com"),
            ..facts
        };
        let checked = dmarc::check(&zone, &authors, &facts).await;
        assert_eq!(checked.verdict.word(), "pass", "{undecided:?}");
    }
}

#[tokio::test]
async fn a_hostile_message_costs_few_questions() {
    // Twenty signatures below the author's organizational domain, deep names all.
    let mut zone = Zone::default();
    zone.txt("_dmarc.example.com", "v=DMARC1; p=reject");
    let deep = "a.".repeat(50);
    let signers: Vec<String> = (0..100)
        .map(|i| format!("{deep}b{i}.example.com"))
        .collect();
    let signers: Vec<&str> = signers.iter().map(String::as_str).collect();
    let from = format!("x@{deep}example.com");
    let facts = Facts {
        spf: None,
        dkim: &signers,
        undecided: &[],
    };
    let authors = Authors::of_fields(&[from.as_bytes()]);
    let checked = dmarc::check(&zone, &authors, &facts).await;
    assert_eq!(checked.verdict.word(), "pass");
    let asked = zone.asked.load(Ordering::Relaxed);
    assert!(asked <= 8 * 21, "{asked}");
    let domains: Vec<String> = (0..50).map(|i| format!("x@{deep}c{i}.example")).collect();
    let from = domains.join(",");
    let before = zone.asked.load(Ordering::Relaxed);
    dmarc::check(&zone, &Authors::of_fields(&[from.as_bytes()]), &facts).await;
    let asked = zone.asked.load(Ordering::Relaxed) - before;
    assert!(asked <= 8 * 4, "{asked}");
}
