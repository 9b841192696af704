//! What is wrong with a configuration, where, why, and what to write instead.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Characters of a source line that are shown.
const LINE_MAX: usize = 160;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The configuration is used, but the operator should know.
    Warning,
    /// The configuration is not used.
    Error,
}

/// One thing that `check` has to say. The display has several lines and no final line end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where it stands; none when it is about the machine, not about a file.
    pub place: Option<Place>,
    /// What is wrong.
    pub cause: String,
    /// What to write or do instead.
    pub fix: String,
}

impl Finding {
    /// An error.
    #[must_use]
    pub fn error(place: Option<Place>, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Finding {
            severity: Severity::Error,
            place,
            cause: cause.into(),
            fix: fix.into(),
        }
    }

    /// A warning.
    #[must_use]
    pub fn warning(place: Option<Place>, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Finding {
            severity: Severity::Warning,
            place,
            cause: cause.into(),
            fix: fix.into(),
        }
    }

    /// Whether it keeps the configuration from being used.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// What `check` prints: every finding, and how many there are.
#[must_use]
pub fn report(findings: &[Finding]) -> String {
    let errors = findings.iter().filter(|f| f.is_error()).count();
    let count = |n: usize, what| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    let mut text: String = findings.iter().map(|f| format!("{f}\n\n")).collect();
    text.push_str(&match (errors, findings.len() - errors) {
        (0, 0) => "no errors".to_string(),
        (0, warnings) => format!("no errors, {}", count(warnings, "warning")),
        (errors, 0) => count(errors, "error"),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    });
    text.push('\n');
    text
}

/// Findings in the order of the lines of `file`, then those about other files, then the rest.
pub(super) fn in_order(mut findings: Vec<Finding>, file: &Path) -> Vec<Finding> {
    findings.sort_by(|a, b| {
        let key = |f: &Finding| {
            let place = f.place.as_ref();
            let which = place.map_or(2, |p| usize::from(p.file != file));
            (which, place.map(|p| (p.file.clone(), p.line, p.column)))
        };
        key(a).cmp(&key(b))
    });
    findings
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.cause)?;
        if let Some(place) = &self.place {
            write!(f, "\n{place}")?;
        }
        write!(f, "\n  fix: {}", self.fix)
    }
}

/// A stretch of a line in a file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// How many characters, at least 1.
    pub width: usize,
    /// The line, made fit to be printed.
    pub text: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        writeln!(
            f,
            "{margin}--> {}:{}:{}",
            self.file.display(),
            self.line,
            self.column
        )?;
        writeln!(f, "{margin} |")?;
        // A long line is shown from shortly before the caret.
        let from = if self.column + self.width < LINE_MAX {
            0
        } else {
            self.column.saturating_sub(20)
        };
        let shown: String = self.text.chars().skip(from).take(LINE_MAX).collect();
        let indent = self.column.saturating_sub(1 + from);
        let width = self.width.min(LINE_MAX.saturating_sub(indent)).max(1);
        writeln!(f, "{}", format!("{number} | {shown}").trim_end())?;
        write!(f, "{margin} | {}{}", " ".repeat(indent), "^".repeat(width))
    }
}

/// A text file that findings point into.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it was read from.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

impl Source {
    /// The place of the octets `span`; a span over several lines is cut at the first line's end.
    #[must_use]
    pub fn place(&self, span: &Range<usize>) -> Place {
        let start = floor_boundary(&self.text, span.start);
        let end = floor_boundary(&self.text, span.end.max(start));
        let (before, rest) = self.text.split_at(start);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let lead = before.get(line_start..).unwrap_or_default();
        let after = rest.split('\n').next().unwrap_or_default();
        let marked = rest
            .get(..end - start)
            .unwrap_or_default()
            .split('\n')
            .next();
        Place {
            file: self.path.clone(),
            line: before.matches('\n').count() + 1,
            column: lead.chars().count() + 1,
            width: marked.unwrap_or_default().trim_end().chars().count().max(1),
            text: format!("{lead}{after}").chars().map(printable).collect(),
        }
    }

    /// The place of a whole line, numbered from 1.
    #[must_use]
    pub fn line(&self, number: usize) -> Place {
        let start: usize = self
            .text
            .split_inclusive('\n')
            .take(number.saturating_sub(1))
            .map(str::len)
            .sum();
        let line = self
            .text
            .get(start..)
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default();
        let lead = line.len() - line.trim_start().len();
        self.place(&(start + lead..start + line.trim_end().len()))
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|i| text.is_char_boundary(*i))
        .unwrap_or(0)
}

/// One column wide, so that the caret stands under what it means.
fn printable(c: char) -> char {
    match c {
        '\t' | '\r' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::{Finding, Source};

    fn source(text: &str) -> Source {
        Source {
            path: "a.toml".into(),
            text: text.into(),
        }
    }

    #[test]
    fn a_finding_shows_the_line_with_a_caret_under_the_fault() {
        let place = source("x = 1\nnäme = \"v\"\n").place(&(14..17));
        let text = Finding::error(Some(place), "`v` is wrong", "write \"w\"").to_string();
        assert_eq!(
            text,
            "error: `v` is wrong\n --> a.toml:2:8\n  |\n2 | näme = \"v\"\n  |        ^^^\n  \
             fix: write \"w\""
        );
    }

    #[test]
    fn places_at_the_edges_of_a_file_are_shown() {
        assert_eq!(source("").place(&(0..0)).line, 1);
        let end = source("a\n").place(&(2..2));
        assert_eq!((end.line, end.column, end.width), (2, 1, 1));
        let beyond = source("a").place(&(9..12));
        assert_eq!((beyond.line, beyond.column), (1, 2));
    }

    #[test]
    fn a_line_is_found_by_its_number() {
        let place = source("a\n\n  bcd \n").line(3);
        assert_eq!((place.line, place.column, place.width), (3, 3, 3));
    }

    #[test]
    fn a_very_long_line_is_cut_around_the_caret() {
        let text = format!("{}X{}", "a".repeat(5_000), "b".repeat(5_000));
        let shown = source(&text).place(&(5_000..5_001)).to_string();
        assert!(shown.lines().all(|l| l.chars().count() < 200), "{shown}");
        let mut lines = shown.lines().skip(2);
        let (line, caret) = (lines.next().unwrap(), lines.next().unwrap());
        assert_eq!(line.find('X'), caret.find('^'));
    }
}
