//! The kinds of values in a configuration file, and the reader that collects what is wrong.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file;
use super::finding::{Finding, Source};
use super::network::Network;

/// A value and where it stands. A default stands at the header of its section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Octets of the file.
    pub span: Range<usize>,
}

/// What can stand at the right of a key.
pub trait Value: Sized {
    /// What to write, for documents and errors: "a duration like \"5m\"".
    const KIND: &'static str;
    /// The keys inside, when it is a section.
    const SECTION: Option<Section> = None;

    /// Reads it. Nothing means that what is wrong has been reported.
    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self>;
}

/// A section and its keys.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// How its header is written: `[dns]`, `[[domain]]`; empty for the top of the file.
    pub header: &'static str,
    /// What it is for, a line an entry.
    pub about: &'static [&'static str],
    /// Its keys in order.
    pub keys: &'static [Key],
}

impl Section {
    /// This section and all below it, in the order of the reference.
    #[must_use]
    pub fn all(self) -> Vec<Section> {
        let inner = self.keys.iter().filter_map(|k| k.section);
        std::iter::once(self)
            .chain(inner.flat_map(Section::all))
            .collect()
    }
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What to write.
    pub kind: &'static str,
    /// What holds where it is not written.
    pub default: Fallback,
    /// What it does, a line an entry.
    pub about: &'static [&'static str],
    /// The section under this key, when it is one.
    pub section: Option<Section>,
}

/// What holds where a key is not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fallback {
    /// Nothing: the key must be there. An example to write.
    Required(&'static str),
    /// The key may be absent; the text says what that means.
    Absent(&'static str),
    /// This value, written in TOML.
    Is(&'static str),
}

/// Reads a file and collects what is wrong with it.
pub struct Reader<'a> {
    /// The file.
    pub source: &'a Source,
    /// What was found so far.
    pub findings: Vec<Finding>,
    /// Where defaults are said to stand, while one is read.
    at: Option<Range<usize>>,
}

impl<'a> Reader<'a> {
    /// A reader of `source`.
    #[must_use]
    pub fn new(source: &'a Source) -> Self {
        Reader {
            source,
            findings: Vec::new(),
            at: None,
        }
    }

    /// Reports an error at `span`.
    pub fn error(&mut self, span: &Range<usize>, cause: impl Into<String>, fix: impl Into<String>) {
        self.findings
            .push(Finding::error(Some(self.source.place(span)), cause, fix));
    }

    /// Reports a warning at `span`.
    pub fn warn(&mut self, span: &Range<usize>, cause: impl Into<String>, fix: impl Into<String>) {
        self.findings
            .push(Finding::warning(Some(self.source.place(span)), cause, fix));
    }

    /// Reports a value of the wrong type.
    pub fn mistyped<T>(&mut self, value: &Spanned<DeValue<'_>>, kind: &str) -> Option<T> {
        let is = match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "`true` or `false`",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a section",
        };
        let span = self.span(value);
        self.error(
            &span,
            format!("{is} cannot stand here"),
            format!("write {kind}"),
        );
        None
    }

    /// Where `value` stands.
    pub fn span<T>(&self, value: &Spanned<T>) -> Range<usize> {
        self.at.clone().unwrap_or_else(|| value.span())
    }

    /// The value of `key` in `table`, or its default.
    pub fn setting<T: Value>(
        &mut self,
        table: &DeTable<'_>,
        header: &Range<usize>,
        key: &Key,
    ) -> Option<Setting<T>> {
        if let Some(value) = table.get(key.name) {
            let span = self.span(value);
            return T::read(value, self).map(|value| Setting { value, span });
        }
        match key.default {
            Fallback::Absent(_) => None,
            Fallback::Required(example) => {
                let cause = format!("`{}` is missing", key.name);
                self.error(header, cause, format!("add `{} = {example}`", key.name));
                None
            }
            Fallback::Is(text) => self.default(text, header),
        }
    }

    /// Reads a default, which a test shows to be well written.
    fn default<T: Value>(&mut self, text: &str, header: &Range<usize>) -> Option<Setting<T>> {
        let value = DeValue::parse(text).ok()?;
        let outer = self.at.replace(header.clone());
        let value = T::read(&value, self);
        self.at = outer;
        value.map(|value| Setting {
            value,
            span: header.clone(),
        })
    }

    /// Reports the keys of `table` that `section` does not have.
    pub fn unknown_keys(&mut self, table: &DeTable<'_>, section: &Section) {
        for (name, value) in table {
            let known = section.keys.iter().any(|k| k.name == name.get_ref());
            if !known {
                let (cause, fix) = unknown(name.get_ref(), section);
                let span = if name.span().is_empty() {
                    value.span()
                } else {
                    name.span()
                };
                self.error(&span, cause, fix);
            }
        }
    }
}

/// What to say about a key that `section` does not have.
fn unknown(name: &str, section: &Section) -> (String, String) {
    let cause = match section.header {
        "" => format!("unknown key `{name}`"),
        header => format!("unknown key `{name}` in {header}"),
    };
    let elsewhere = file::top()
        .all()
        .into_iter()
        .find(|s| s.header != section.header && s.keys.iter().any(|k| k.name == name));
    let near = nearest(name, section.keys);
    let names: Vec<_> = section
        .keys
        .iter()
        .map(|k| format!("`{}`", k.name))
        .collect();
    let fix = match (elsewhere, near) {
        (Some(Section { header: "", .. }), _) => {
            format!("move `{name}` to the top of the file, before the first section")
        }
        (Some(other), _) => format!("move `{name}` into {}", other.header),
        (None, Some((edits, key))) if edits <= (name.chars().count() / 2).max(2) => {
            format!("did you mean `{key}`?")
        }
        (None, Some((_, key))) => {
            format!(
                "remove it; the nearest key is `{key}`, all are {}",
                names.join(", ")
            )
        }
        (None, None) => "remove it; no key can stand here".into(),
    };
    (cause, fix)
}

/// The key that is most like `name`, and how many edits away it is.
fn nearest(name: &str, keys: &[Key]) -> Option<(usize, &'static str)> {
    keys.iter().map(|k| (distance(name, k.name), k.name)).min()
}

/// Edits from `a` to `b`: insertions, deletions, replacements, and swaps of neighbours. Long names
/// are compared by their first 64 characters.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&row, j) + usize::from(x != y))
                .min(at(&row, j + 1) + 1)
                .min(at(&next, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

impl Value for String {
    const KIND: &'static str = "a text in quotes";

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(text) = value.get_ref().as_str() else {
            return reader.mistyped(value, Self::KIND);
        };
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            let span = reader.span(value);
            reader.error(
                &span,
                "this text is empty or holds control characters",
                "write a text of visible characters, or remove the key",
            );
            return None;
        }
        Some(text.to_string())
    }
}

/// A whole number that counts something; at least 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count(pub u64);

impl Value for Count {
    const KIND: &'static str = "a whole number like 1000";

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(number) = value.get_ref().as_integer() else {
            return reader.mistyped(value, Self::KIND);
        };
        let count = u64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|n| *n > 0);
        if count.is_none() {
            let span = reader.span(value);
            reader.error(
                &span,
                format!("`{number}` counts nothing"),
                format!("write {}", Self::KIND),
            );
        }
        count.map(Count)
    }
}

impl Value for bool {
    const KIND: &'static str = "`true` or `false`";

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(is) => Some(*is),
            _ => reader.mistyped(value, Self::KIND),
        }
    }
}

impl Value for Duration {
    const KIND: &'static str = "a duration like \"90s\", \"5m\", \"4h\" or \"5d\"";

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(text) = value.get_ref().as_str() else {
            return reader.mistyped(value, Self::KIND);
        };
        let duration = parse_duration(text);
        if duration.is_none() {
            let span = reader.span(value);
            reader.error(
                &span,
                format!("`{text}` is not a duration"),
                format!("write {}", Self::KIND),
            );
        }
        duration
    }
}

/// Longest duration that can be written: ten years.
const DURATION_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// Reads a duration: digits and one unit of `ms s m h d w`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let ms: u64 = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return None,
    };
    number
        .checked_mul(ms)
        .map(Duration::from_millis)
        .filter(|d| *d <= DURATION_MAX)
}

/// A size in octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size(pub u64);

impl Value for Size {
    const KIND: &'static str = "a size like \"50MiB\", or a number of octets";

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
        let (written, size) = match value.get_ref() {
            DeValue::String(text) => (text.to_string(), parse_size(text)),
            DeValue::Integer(n) => (
                n.to_string(),
                u64::from_str_radix(n.as_str(), n.radix()).ok(),
            ),
            _ => return reader.mistyped(value, Self::KIND),
        };
        if size.is_none() {
            let span = reader.span(value);
            reader.error(
                &span,
                format!("`{written}` is not a size"),
                format!("write {}", Self::KIND),
            );
        }
        size.map(Size)
    }
}

/// Reads a size: digits and one unit of `B kB KiB MB MiB GB GiB`.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let octets: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "kB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(octets)
}

impl Value for Network {
    const KIND: &'static str = "a network like \"192.0.2.0/24\" or \"2001:db8::/32\"";

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(text) = value.get_ref().as_str() else {
            return reader.mistyped(value, Self::KIND);
        };
        match Network::parse(text) {
            Ok(network) => Some(network),
            Err(bad) => {
                let span = reader.span(value);
                reader.error(&span, bad.cause, bad.fix);
                None
            }
        }
    }
}

/// One value or a list of them. Bad entries are reported and left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Many<T> {
    /// The good entries.
    pub list: Vec<Setting<T>>,
    /// How many were written.
    pub written: usize,
}

impl<T: Value> Value for Many<T> {
    const KIND: &'static str = T::KIND;

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
        let one = std::slice::from_ref(value);
        let entries = match value.get_ref() {
            DeValue::Array(list) => list.as_ref(),
            _ => one,
        };
        let read = |entry: &Spanned<DeValue<'_>>| {
            let span = reader.span(entry);
            T::read(entry, reader).map(|value| Setting { value, span })
        };
        let list = entries.iter().filter_map(read).collect();
        Some(Many {
            list,
            written: entries.len(),
        })
    }
}

/// A section that may stand several times, `[[like.this]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tables<T>(pub Vec<Setting<T>>);

impl<T: Value> Value for Tables<T> {
    const KIND: &'static str = T::KIND;
    const SECTION: Option<Section> = T::SECTION;

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
        let DeValue::Array(list) = value.get_ref() else {
            return reader.mistyped(value, Self::KIND);
        };
        let read = |entry: &Spanned<DeValue<'_>>| {
            let span = reader.span(entry);
            T::read(entry, reader).map(|value| Setting { value, span })
        };
        Some(Tables(list.iter().filter_map(read).collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{distance, parse_duration, parse_size};

    #[test]
    fn durations_have_one_number_and_one_unit() {
        assert_eq!(parse_duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("5d"), Some(Duration::from_secs(432_000)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        for bad in [
            "",
            "5",
            "m",
            "-5m",
            "5 minutes",
            "1h30m",
            "99999999999999999999d",
            "9999999d",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_tell_thousands_from_1024s() {
        assert_eq!(parse_size("50MiB"), Some(52_428_800));
        assert_eq!(parse_size("50 MB"), Some(50_000_000));
        assert_eq!(parse_size("17"), Some(17));
        for bad in ["", "MiB", "1.5MiB", "5mib", "99999999999GiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn edit_distance_counts_swaps_once() {
        assert_eq!(distance("hostname", "hostname"), 0);
        assert_eq!(distance("hotsname", "hostname"), 1);
        assert_eq!(distance("hostnme", "hostname"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
