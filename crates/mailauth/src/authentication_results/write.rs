//! The field that we add (RFC 8601 §2.2).

use crate::Verdict;
use crate::lines::Lines;

/// Most characters of a value or a comment; what is longer is cut.
const MAX_TEXT: usize = 320;

/// The results of one message, as they will stand on top of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthenticationResults {
    authserv_id: String,
    entries: Vec<Entry>,
}

/// The result of one method for one identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    method: &'static str,
    verdict: Verdict,
    comment: String,
    properties: Vec<(&'static str, String)>,
}

impl Entry {
    /// A result of a method (RFC 8601 §2.7), such as `dkim`.
    #[must_use]
    pub fn new(method: &'static str, verdict: Verdict) -> Self {
        Entry {
            method,
            verdict,
            comment: String::new(),
            properties: Vec::new(),
        }
    }

    /// The same with a comment for people; an empty one is none.
    #[must_use]
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        self.comment = text.into();
        self
    }

    /// The same with a property, such as `header.d`, and what was found there.
    #[must_use]
    pub fn property(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.properties.push((name, value.into()));
        self
    }

    /// The words of it.
    fn words(&self, utf8: bool) -> Vec<String> {
        let mut words = vec![format!("{}={}", self.method, self.verdict)];
        if !self.comment.is_empty() {
            let comment = format!("({})", comment(&self.comment, utf8));
            words.extend(comment.split_whitespace().map(str::to_owned));
        }
        for (name, value) in &self.properties {
            words.push(format!("{name}={}", quoted(value, utf8)));
        }
        words
    }
}

impl AuthenticationResults {
    /// Results in the name of `authserv_id`, which is our host name.
    #[must_use]
    pub fn new(authserv_id: &str) -> Self {
        AuthenticationResults {
            authserv_id: authserv_id.to_owned(),
            entries: Vec::new(),
        }
    }

    /// Adds a result.
    pub fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// The field, folded, with its CRLF. Characters beyond ASCII stay only with `utf8`, which is
    /// for messages that have them in their header block anyway (RFC 8601 §5, RFC 6532).
    #[must_use]
    pub fn field(&self, utf8: bool) -> String {
        let mut lines = Lines::new("Authentication-Results:");
        let results = self.results(utf8);
        lines.word(&format!("{};", quoted(&self.authserv_id, utf8)));
        for (index, words) in results.iter().enumerate() {
            let last = words.len().saturating_sub(1);
            let end = if index + 1 == results.len() { "" } else { ";" };
            for (place, word) in words.iter().enumerate() {
                let end = if place == last { end } else { "" };
                match place {
                    0 => lines.line(&format!("{word}{end}")),
                    _ => lines.word(&format!("{word}{end}")),
                }
            }
        }
        lines.end()
    }

    /// What stands behind the field's name, on one line.
    #[must_use]
    pub fn value(&self, utf8: bool) -> String {
        let results = self.results(utf8);
        let results: Vec<String> = results.iter().map(|words| words.join(" ")).collect();
        format!(
            "{}; {}",
            quoted(&self.authserv_id, utf8),
            results.join("; ")
        )
    }

    fn results(&self, utf8: bool) -> Vec<Vec<String>> {
        if self.entries.is_empty() {
            return vec![vec!["none".to_owned()]];
        }
        self.entries.iter().map(|entry| entry.words(utf8)).collect()
    }
}

/// A value as the grammar wants it: as it is when it is a token or a plain address, else quoted.
fn quoted(text: &str, utf8: bool) -> String {
    let text = clean(text, utf8);
    let plain = |part: &str| part.chars().all(|c| is_token(c) || !c.is_ascii());
    let bare = match text.rsplit_once('@') {
        Some((local, domain)) => plain(local) && plain(domain) && !domain.is_empty(),
        None => plain(&text) && !text.is_empty(),
    };
    if bare {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Text that may stand in a comment: its parentheses match, or there are none.
pub(crate) fn comment(text: &str, utf8: bool) -> String {
    let text = clean(text, utf8).replace('\\', "?");
    let mut depth = 0_i32;
    let matched = text.chars().all(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth >= 0
    });
    if matched && depth == 0 {
        text
    } else {
        text.replace(['(', ')'], "?")
    }
}

/// Text without control characters, and without others than ASCII where those may not stand.
pub(crate) fn clean(text: &str, utf8: bool) -> String {
    let keep = |c: char| !c.is_control() && (utf8 || c.is_ascii());
    let cut = text.chars().take(MAX_TEXT);
    cut.map(|c| if keep(c) { c } else { '?' }).collect()
}

/// A character of a token (RFC 2045 §5.1).
fn is_token(c: char) -> bool {
    c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Results;
    use super::{AuthenticationResults, Entry};
    use crate::Verdict;

    fn results() -> AuthenticationResults {
        let mut results = AuthenticationResults::new("mx.example.org");
        results.push(Entry::new("spf", Verdict::Pass).property("smtp.mailfrom", "a.b@example.net"));
        let dkim = Entry::new("dkim", Verdict::Fail)
            .comment("the body was changed (bh=), 2048-bit key")
            .property("header.d", "example.net")
            .property("header.b", "ab+/cd==");
        results.push(dkim);
        results
    }

    #[test]
    fn a_field_is_folded_and_a_value_is_one_line() {
        assert_eq!(
            results().field(false),
            "Authentication-Results: mx.example.org;\r\n\
             \tspf=pass smtp.mailfrom=a.b@example.net;\r\n\
             \tdkim=fail (the body was changed (bh=), 2048-bit key) header.d=example.net\r\n\
             \theader.b=\"ab+/cd==\"\r\n"
        );
        assert_eq!(
            results().value(false),
            "mx.example.org; spf=pass smtp.mailfrom=a.b@example.net; \
             dkim=fail (the body was changed (bh=), 2048-bit key) header.d=example.net \
             header.b=\"ab+/cd==\""
        );
        let none = AuthenticationResults::new("mx.example.org");
        assert_eq!(none.value(false), "mx.example.org; none");
        assert_eq!(
            none.field(false),
            "Authentication-Results: mx.example.org;\r\n\tnone\r\n"
        );
    }

    #[test]
    fn nothing_that_a_peer_chose_breaks_out() {
        let entry = |value: &str| {
            let mut results = AuthenticationResults::new("mx");
            let entry = Entry::new("spf", Verdict::None).comment(value);
            results.push(entry.property("smtp.helo", value));
            results
        };
        for (value, shown) in [
            ("a b", "(a b) smtp.helo=\"a b\""),
            ("x; dkim=pass", "(x; dkim=pass) smtp.helo=\"x; dkim=pass\""),
            ("a)(b", "(a??b) smtp.helo=\"a)(b\""),
            ("\"\\", "(\"?) smtp.helo=\"\\\"\\\\\""),
            ("a\r\nX: y", "(a??X: y) smtp.helo=\"a??X: y\""),
            ("@example.org", "(@example.org) smtp.helo=@example.org"),
            ("b\u{fc}cher", "(b?cher) smtp.helo=\"b?cher\""),
        ] {
            assert_eq!(entry(value).value(false), format!("mx; spf=none {shown}"));
        }
        assert_eq!(
            entry("b\u{fc}cher").value(true),
            "mx; spf=none (b\u{fc}cher) smtp.helo=b\u{fc}cher"
        );
        assert_eq!(entry("").value(false), "mx; spf=none smtp.helo=\"\"");
    }

    proptest! {
        #[test]
        fn what_is_written_is_one_field_and_reads_back(
            id in any::<String>(), comment in any::<String>(), value in any::<String>(), utf8: bool,
        ) {
            let mut results = AuthenticationResults::new(&id);
            let entry = Entry::new("dkim", Verdict::Pass).comment(comment);
            results.push(entry.property("header.i", value.as_str()));
            results.push(Entry::new("spf", Verdict::None));
            let field = results.field(utf8);
            let body = field.strip_suffix("\r\n").unwrap();
            prop_assert!(body.split("\r\n").skip(1).all(|line| line.starts_with('\t')));
            prop_assert!(!body.replace("\r\n\t", "").contains(|c: char| c.is_control()));
            prop_assert!(body.split("\r\n").all(|line| line.chars().count() < 998));
            prop_assert!(utf8 || field.is_ascii());
            let (_, written) = body.split_once(':').unwrap();
            let read = Results::parse(written).unwrap();
            let words = read.results.iter().map(|r| (r.method.as_str(), r.verdict));
            let words: Vec<_> = words.collect();
            prop_assert_eq!(words, [("dkim", Verdict::Pass), ("spf", Verdict::None)]);
            let clean = |c: char| if c.is_control() || (!utf8 && !c.is_ascii()) { '?' } else { c };
            let kept: String = value.chars().take(320).map(clean).collect();
            prop_assert_eq!(&read.results[0].properties[0].1, &kept);
        }
    }
}
