//! Fields of others: read (RFC 8601 §2.2), and recognised when they claim to be ours (§5).

use crate::{Verdict, name};

/// Most results that are read of one field, and most properties of one result.
const MAX_RESULTS: usize = 100;
const MAX_PROPERTIES: usize = 20;

/// What a field says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Results {
    /// In whose name.
    pub authserv_id: String,
    /// The results, in their order.
    pub results: Vec<MethodResult>,
}

/// The result of one method.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MethodResult {
    /// The method, in lower case.
    pub method: String,
    /// The result.
    pub verdict: Verdict,
    /// `ptype.property`, in lower case, with its value.
    pub properties: Vec<(String, String)>,
}

impl Results {
    /// Reads what stands behind the field's name, or behind the instance of an
    /// ARC-Authentication-Results field; `None` when it breaks the grammar, has a result word that
    /// is not of RFC 8601 §2.7, or says more than is read.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut text = Text(value);
        text.skip()?;
        let authserv_id = text.value(is_value)?;
        text.skip()?;
        text.digits(); // the version of the field's format
        let mut results = Vec::new();
        loop {
            text.skip()?;
            if text.0.is_empty() {
                return Some(Results {
                    authserv_id,
                    results,
                });
            }
            text.expect(';')?;
            text.skip()?;
            if text.0.is_empty() && !results.is_empty() {
                continue; // a semicolon at the end, which many write
            }
            if results.len() == MAX_RESULTS {
                return None;
            }
            results.extend(text.result(results.is_empty())?);
        }
    }

    /// The verdicts of a method.
    pub fn of<'a>(&'a self, method: &'a str) -> impl Iterator<Item = &'a MethodResult> {
        self.results.iter().filter(move |r| r.method == method)
    }
}

/// Whether a header field, given as a whole, is an Authentication-Results in the name of one of
/// `ids`, which are our names. Recognised in any case, folded, commented, quoted, with a version or
/// a final dot; a field that cannot be read as far as its name is ours if one of `ids` stands in it
/// anywhere.
#[must_use]
pub fn claims(field: &[u8], ids: &[&str]) -> bool {
    let Some(colon) = field.iter().position(|&b| b == b':') else {
        return false;
    };
    let (field_name, value) = field.split_at(colon);
    let field_name = field_name.trim_ascii();
    if !field_name.eq_ignore_ascii_case(b"Authentication-Results") {
        return false;
    }
    let value = String::from_utf8_lossy(value);
    let value = value.strip_prefix(':').unwrap_or(&value);
    let mut text = Text(value);
    let found = text.skip().and_then(|()| text.value(is_liberal));
    let same = |id: &str| match &found {
        Some(found) => same_name(found, id),
        None => value
            .to_ascii_lowercase()
            .contains(&id.to_ascii_lowercase()),
    };
    ids.iter().any(|id| same(id))
}

/// The instance that an ARC-Authentication-Results field starts with (RFC 8617 §4.1.1), and what
/// follows it.
pub(crate) fn instance(value: &str) -> Option<(u32, &str)> {
    let mut text = Text(value);
    text.skip()?;
    text.expect('i')?;
    text.skip()?;
    text.expect('=')?;
    text.skip()?;
    let digits = text.digits();
    if digits.len() > 2 {
        return None;
    }
    let number = digits.parse().ok()?;
    text.skip()?;
    text.expect(';')?;
    Some((number, text.0))
}

/// The same name, whether written with U-labels or A-labels, in whatever case.
fn same_name(one: &str, other: &str) -> bool {
    let form = |text: &str| {
        let text = text.trim();
        name::ascii(text).unwrap_or_else(|| text.to_lowercase())
    };
    form(one) == form(other)
}

/// What is left to read.
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// Passes over white space and comments; `None` when a comment does not end.
    fn skip(&mut self) -> Option<()> {
        loop {
            self.0 = self.0.trim_start_matches(is_space);
            let Some(inside) = self.0.strip_prefix('(') else {
                return Some(());
            };
            let mut depth = 1_usize;
            let mut chars = inside.chars();
            while depth > 0 {
                match chars.next()? {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    '\\' => {
                        chars.next()?;
                    }
                    _ => {}
                }
            }
            self.0 = chars.as_str();
        }
    }

    fn expect(&mut self, c: char) -> Option<()> {
        self.0 = self.0.strip_prefix(c)?;
        Some(())
    }

    fn digits(&mut self) -> &'a str {
        self.run(|c| c.is_ascii_digit())
    }

    fn run(&mut self, is: fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !is(c)).unwrap_or(self.0.len());
        let (run, rest) = self.0.split_at(end);
        self.0 = rest;
        run
    }

    /// A quoted string, or a run of characters that may stand in a value; `None` when there is
    /// neither, or the quoted string does not end.
    fn value(&mut self, is: fn(char) -> bool) -> Option<String> {
        let Some(inside) = self.0.strip_prefix('"') else {
            let run = self.run(is);
            return (!run.is_empty()).then(|| run.to_owned());
        };
        let mut value = String::new();
        let mut chars = inside.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => value.push(chars.next()?),
                '\r' | '\n' => {} // folding
                c => value.push(c),
            }
        }
        self.0 = chars.as_str();
        Some(value)
    }

    fn keyword(&mut self) -> Option<String> {
        let word = self.run(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        (!word.is_empty()).then(|| word.to_ascii_lowercase())
    }

    /// One result, or `none` in the place of the first.
    fn result(&mut self, first: bool) -> Option<Option<MethodResult>> {
        let method = self.keyword()?;
        self.skip()?;
        if self.0.is_empty() && first && method == "none" {
            return Some(None);
        }
        if self.expect('/').is_some() {
            self.skip()?; // the version of the method
            self.digits();
            self.skip()?;
        }
        self.expect('=')?;
        self.skip()?;
        let verdict = self.keyword()?.parse().ok()?;
        let mut properties = Vec::new();
        loop {
            self.skip()?;
            if self.0.is_empty() || self.0.starts_with(';') {
                return Some(Some(MethodResult {
                    method,
                    verdict,
                    properties,
                }));
            }
            if properties.len() == MAX_PROPERTIES {
                return None;
            }
            properties.push(self.property()?);
        }
    }

    /// `reason=value`, or `ptype.property=value`.
    fn property(&mut self) -> Option<(String, String)> {
        let mut property = self.keyword()?;
        self.skip()?;
        if self.expect('.').is_some() {
            self.skip()?;
            property = format!("{property}.{}", self.keyword()?);
            self.skip()?;
        } else if property != "reason" {
            return None;
        }
        self.expect('=')?;
        self.skip()?;
        let mut value = self.value(is_value)?;
        // A quoted local-part with its domain behind it.
        if self.0.starts_with('@') {
            value.push_str(self.run(is_value));
        }
        Some((property, value))
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// A character of a value that is not quoted: more than a token has, since many do not quote
/// addresses, host names with a port, or base64.
fn is_value(c: char) -> bool {
    !c.is_control() && !matches!(c, ' ' | ';' | '(' | ')' | '"' | '\\')
}

/// A character of a name that is not quoted, in what is no valid field: a version may follow.
fn is_liberal(c: char) -> bool {
    is_value(c) && c != '/'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Results, claims, instance};
    use crate::Verdict;

    #[test]
    fn the_examples_of_the_standard_are_read() {
        // RFC 8601 appendix B.
        for (value, id, results) in [
            ("example.org 1; none", "example.org", vec![]),
            (
                "example.com;\r\n spf=pass smtp.mailfrom=example.net",
                "example.com",
                vec![("spf", Verdict::Pass)],
            ),
            (
                "example.com;\r\n auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n \
                 spf=pass smtp.mailfrom=example.net",
                "example.com",
                vec![("auth", Verdict::Pass), ("spf", Verdict::Pass)],
            ),
            (
                "foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) \
                 = (wait for it) fail\r\n policy (A dot can go here) . (like that) expired\r\n \
                 (this surprised me) = (as I wasn't expecting it) 1362471462",
                "foo.example.net",
                vec![("dkim", Verdict::Fail)],
            ),
        ] {
            let read = Results::parse(value).expect(value);
            assert_eq!(read.authserv_id, id);
            let found: Vec<_> = read
                .results
                .iter()
                .map(|r| (&r.method[..], r.verdict))
                .collect();
            assert_eq!(found, results);
        }
        let read = Results::parse(
            "x; dkim=pass reason=\"good \\\"signature\\\"\" header.i=\"a b\"@example.org;",
        );
        let read = read.unwrap();
        let dkim = read.of("dkim").next().unwrap();
        assert_eq!(
            dkim.properties,
            [
                ("reason".to_owned(), "good \"signature\"".to_owned()),
                ("header.i".to_owned(), "a b@example.org".to_owned()),
            ]
        );
    }

    #[test]
    fn what_breaks_the_grammar_is_not_read() {
        for bad in [
            "",
            ";",
            "x;",
            "x; dkim",
            "x; dkim=",
            "x; dkim=yes",
            "x; dkim=pass header",
            "x; dkim=pass header.d",
            "x; dkim=pass header.d=",
            "x; dkim=pass header.d=a b",
            "x; (dkim=pass",
            "x; dkim=pass; none",
            "x; none dkim=pass",
            "\"x; dkim=pass",
            "x y; dkim=pass",
        ] {
            assert_eq!(Results::parse(bad), None, "{bad}");
        }
        let many = "; spf=pass".repeat(101);
        assert!(Results::parse(&format!("x{many}")).is_none());
    }

    #[test]
    fn a_field_in_our_name_is_found_however_it_is_written() {
        let ids = ["mx.example.org", "xn--bcher-kva.example"];
        for field in [
            "Authentication-Results: mx.example.org; spf=pass",
            "authentication-results:MX.Example.ORG;spf=pass\r\n",
            "Authentication-Results \t:\r\n\t(a (b) \\) c)\r\n mx.example.org (x) 1; none\r\n",
            "Authentication-Results: \"mx.example.org\"; none",
            "Authentication-Results: \"m\\x.example.org\"; none",
            "Authentication-Results: mx.example.org.; none",
            "Authentication-Results: mx.example.org/1; none",
            "Authentication-Results: mx.example.org",
            "Authentication-Results: (mx.example.org; dkim=pass",
            "Authentication-Results: \"mx.example.org; dkim=pass",
            "Authentication-Results: ; mx.example.org; dkim=pass",
            "Authentication-Results: b\u{fc}cher.example; none",
        ] {
            assert!(claims(field.as_bytes(), &ids), "{field}");
        }
        for field in [
            "Authentication-Results: mx.example.net; none",
            "Authentication-Results: amx.example.org; none",
            "Authentication-Results: (mx.example.org) mx.example.net; none",
            "Authentication-Results: mx.example.net; spf=pass smtp.helo=mx.example.org",
            "X-Authentication-Results: mx.example.org; none",
            "Authentication-Results",
            "Authentication-Results:",
        ] {
            assert!(!claims(field.as_bytes(), &ids), "{field}");
        }
    }

    #[test]
    fn an_instance_stands_first_and_ends_with_a_semicolon() {
        assert_eq!(instance(" i=1; x; none"), Some((1, " x; none")));
        assert_eq!(instance("(c) i = 50 ;"), Some((50, "")));
        for bad in ["x; i=1;", "i=1 x", "i=;", "i=123;", "I=1;", "i=a;", ""] {
            assert_eq!(instance(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(value in "[ ;=a-c.()\"\\\\\r\n/1]{0,40}") {
            let _ = Results::parse(&value);
            let _ = instance(&value);
            let _ = claims(format!("Authentication-Results:{value}").as_bytes(), &["a"]);
        }
    }
}
