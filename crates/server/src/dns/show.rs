//! What was found, as text for people, lines of a zone file, or objects for programs.

use std::fmt::Write as _;

use super::examine::{Finding, State};

/// For people: one record a paragraph, with what to publish where it is not right.
#[must_use]
pub fn table(findings: &[Finding], notes: &[String]) -> String {
    let mut out = String::new();
    for finding in findings {
        let record = &finding.record;
        let _ = writeln!(
            out,
            "{:8} {:12} {:5} {}",
            finding.state.word(),
            finding.need.word(),
            record.kind,
            record.name
        );
        for remark in &finding.remarks {
            let _ = writeln!(out, "         {remark}");
        }
        if finding.state != State::Right
            && let Some(line) = record.zone_line()
        {
            let _ = writeln!(out, "         publish: {line}");
        }
    }
    for note in notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

/// The records to publish, as a zone file has them, each with how it is.
#[must_use]
pub fn zone(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let word = finding.state.word();
        match finding.record.zone_line() {
            Some(line) => {
                let _ = writeln!(out, "; {word}, {}\n{line}", finding.need.word());
            }
            None => {
                let record = &finding.record;
                let _ = writeln!(out, "; {word}: {} {}", record.name, record.kind);
            }
        }
    }
    out
}

/// One object a line.
#[must_use]
pub fn objects(findings: &[Finding]) -> String {
    let object = |finding: &Finding| {
        let record = &finding.record;
        let object = serde_json::json!({
            "name": record.name,
            "type": record.kind,
            "data": record.data,
            "zone_line": record.zone_line(),
            "need": finding.need.word(),
            "state": finding.state.word(),
            "remarks": finding.remarks,
        });
        format!("{object}\n")
    };
    findings.iter().map(object).collect()
}
