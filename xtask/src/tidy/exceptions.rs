//! The exceptions: where a rule is broken with our eyes open, and by how much.
//!
//! One a line: rule, path, name, measure, then the reason. The list may only shrink: an exception
//! without a finding, or with a measure above what is found, is a finding.

use super::Finding;
use crate::command::{self, Result};

const PATH: &str = "xtask/exceptions.txt";

struct Exception {
    line: usize,
    rule: String,
    path: String,
    name: String,
    measure: usize,
}

pub(super) struct Exceptions(Vec<Exception>);

impl Exceptions {
    pub(super) fn read() -> Result<Self> {
        let text = std::fs::read_to_string(command::root().join(PATH))
            .map_err(|fault| format!("{PATH} cannot be read: {fault}"))?;
        let mut exceptions = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let [rule, path, name, measure, _, ..] = words.as_slice() else {
                return Err(format!(
                    "{PATH}:{}: want rule, path, name, measure, reason",
                    index + 1
                ));
            };
            let measure = measure
                .parse()
                .map_err(|_| format!("{PATH}:{}: {measure} is not a number", index + 1))?;
            let line = index + 1;
            let [rule, path, name] = [rule, path, name].map(|word| (*word).to_owned());
            exceptions.push(Exception {
                line,
                rule,
                path,
                name,
                measure,
            });
        }
        Ok(Exceptions(exceptions))
    }

    /// What is left of the findings, and what the list itself has too much of.
    pub(super) fn apply(self, findings: Vec<Finding>) -> Vec<Finding> {
        let mut left = Vec::new();
        let mut needed = vec![false; self.0.len()];
        for finding in findings {
            let listed = self
                .0
                .iter()
                .position(|exception| exception.covers(&finding));
            match listed.and_then(|index| needed.get_mut(index)) {
                Some(needed) => *needed = true,
                None => left.push(finding),
            }
        }
        let unneeded = self.0.iter().zip(needed).filter(|(_, needed)| !needed);
        left.extend(unneeded.map(|(exception, _)| Finding {
            rule: "exceptions",
            path: PATH.to_owned(),
            line: exception.line,
            name: "-".to_owned(),
            measure: 1,
            says: format!(
                "{} {} is not as listed: the list only shrinks",
                exception.path, exception.name
            ),
        }));
        left
    }
}

impl Exception {
    fn covers(&self, finding: &Finding) -> bool {
        self.rule == finding.rule
            && self.path == finding.path
            && self.name == finding.name
            && self.measure == finding.measure
    }
}
