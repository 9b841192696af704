//! Tag lists (RFC 6376 §3.2): `name=value` pairs between semicolons, in signatures and key records.
//!
//! The grammar is kept strictly: a list with a tag twice, with an empty place between semicolons or
//! with an octet that may not stand in a value is no list at all. UTF-8 is allowed in values (RFC
//! 8616 §3 and §4). This module does **not** know what a tag means.

use std::ops::Range;

/// Most tags of a list. Real ones have a dozen.
const MAX_TAGS: usize = 100;

/// A tag list.
#[derive(Clone, Debug)]
pub(crate) struct Tags<'a>(Vec<Tag<'a>>);

#[derive(Clone, Debug)]
struct Tag<'a> {
    name: &'a str,
    /// Without the white space around it.
    value: &'a str,
    /// What stands between the equals sign and the semicolon or the end of the list.
    span: Range<usize>,
}

impl<'a> Tags<'a> {
    /// Reads a list; the text says what is wrong with it.
    pub(crate) fn parse(list: &'a [u8]) -> Result<Self, &'static str> {
        let list = std::str::from_utf8(list).map_err(|_| "the tag list is not UTF-8")?;
        let mut tags: Vec<Tag<'a>> = Vec::new();
        let mut start = 0;
        for part in list.split(';') {
            let end = start + part.len();
            // One semicolon may end the list (RFC 6376 §3.2: `[ ";" ]`).
            if end == list.len() && start > 0 && is_blank(part) {
                break;
            }
            if tags.len() == MAX_TAGS {
                return Err("the tag list is too long");
            }
            let tag = Tag::parse(part, end)?;
            if tags.iter().any(|other| other.name == tag.name) {
                return Err("a tag stands twice in the tag list");
            }
            tags.push(tag);
            start = end + 1;
        }
        Ok(Tags(tags))
    }

    /// The value of a tag. White space may stand within it, as folding left it.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        let tag = self.0.iter().find(|tag| tag.name == name)?;
        Some(tag.value)
    }

    /// The name of the first tag.
    pub(crate) fn first(&self) -> &'a str {
        self.0.first().map_or("", |tag| tag.name)
    }

    /// Where in the list a tag's value stands, with all white space around it.
    pub(crate) fn span(&self, name: &str) -> Option<Range<usize>> {
        let tag = self.0.iter().find(|tag| tag.name == name)?;
        Some(tag.span.clone())
    }
}

impl<'a> Tag<'a> {
    /// Reads one tag, which ends at `end` of the list.
    fn parse(part: &'a str, end: usize) -> Result<Self, &'static str> {
        if is_blank(part) {
            return Err("the tag list has an empty tag");
        }
        let (name, value) = part.split_once('=').ok_or("a tag has no value")?;
        let span = end - value.len()..end;
        let (name, value) = (trim(name)?, trim(value)?);
        let mut letters = name.bytes();
        let first = letters.next().is_some_and(|b| b.is_ascii_alphabetic());
        if !first || !letters.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err("a tag has a malformed name");
        }
        if value.chars().any(|c| c.is_control() && !is_space(c)) {
            return Err("a tag's value has a control character");
        }
        Ok(Tag { name, value, span })
    }
}

/// A number of at most `digits` digits; one that is larger than any we can count is the largest.
pub(crate) fn number(value: &str, digits: usize) -> Option<u64> {
    let legal = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    (legal && value.len() <= digits).then(|| value.parse().unwrap_or(u64::MAX))
}

/// The elements of a list between colons, which white space may surround.
pub(crate) fn elements(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(':')
        .map(|element| element.trim_matches(is_space))
}

/// A value without the white space within it, as base64 and quoted-printable are read.
pub(crate) fn squeeze(value: &str) -> String {
    value.chars().filter(|&c| !is_space(c)).collect()
}

/// Whether this is white space of folding. Where a line end may stand was checked by [`trim`].
pub(crate) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_blank(text: &str) -> bool {
    text.chars().all(is_space)
}

/// The text without folding white space around it. Everywhere in it, CR and LF stand only as a CRLF
/// that white space follows.
fn trim(text: &str) -> Result<&str, &'static str> {
    let mut octets = text.as_bytes();
    while let Some(at) = octets.iter().position(|b| matches!(b, b'\r' | b'\n')) {
        let (_, tail) = octets.split_at(at);
        octets = match tail {
            [b'\r', b'\n', b' ' | b'\t', rest @ ..] => rest,
            _ => return Err("a line end in the tag list folds nothing"),
        };
    }
    Ok(text.trim_matches(is_space))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Tags, elements, number, squeeze};

    #[test]
    fn a_list_gives_its_values_and_where_they_stand() {
        let list = b" a = 1 ;\r\n\tb=x\r\n y;c=; d_2=;\t";
        let tags = Tags::parse(list).unwrap();
        assert_eq!(tags.get("a"), Some("1"));
        assert_eq!(tags.get("b"), Some("x\r\n y"));
        assert_eq!(tags.get("c"), Some(""));
        assert_eq!(tags.get("d_2"), Some(""));
        assert_eq!(tags.get("A"), None);
        assert_eq!(tags.first(), "a");
        assert_eq!(&list[tags.span("a").unwrap()], b" 1 ");
        assert_eq!(&list[tags.span("b").unwrap()], b"x\r\n y");
        assert_eq!(squeeze("x\r\n y"), "xy");
        assert_eq!(
            elements("a : b:\r\n\tc").collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
    }

    #[test]
    fn what_breaks_the_grammar_is_no_list() {
        for bad in [
            &b""[..],
            b" ",
            b";",
            b"a=1;;b=2",
            b"a=1; ;b=2",
            b"a=1;;",
            b"a=1;b",
            b"=1",
            b"1a=1",
            b"_=1",
            b"a-b=1",
            b"a b=1",
            b"a=1;a=2",
            b"a=\x00",
            b"a=1\n b=2",
            b"a=1\r2",
            b"a=1;\r\nb=2",
            b"a=1\r\n",
            b"a=\xff",
            b"a=\x7f",
        ] {
            assert!(Tags::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
        let many: String = (0..101).map(|i| format!("a{i}=;")).collect();
        assert!(Tags::parse(many.as_bytes()).is_err());
        let few: String = (0..100).map(|i| format!("a{i}=;")).collect();
        assert!(Tags::parse(few.as_bytes()).is_ok());
    }

    #[test]
    fn a_value_may_hold_an_equals_sign_and_utf8() {
        let tags = Tags::parse("b==x=; d=b\u{fc}cher.example".as_bytes()).unwrap();
        assert_eq!(tags.get("b"), Some("=x="));
        assert_eq!(tags.get("d"), Some("b\u{fc}cher.example"));
    }

    #[test]
    fn a_number_has_digits_only_and_not_too_many() {
        assert_eq!(number("012", 12), Some(12));
        assert_eq!(number(&"9".repeat(76), 76), Some(u64::MAX));
        for bad in ["", "-1", "+1", "1 2", "0x1", "1234567890123"] {
            assert_eq!(number(bad, 12), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_span_is_the_value_with_white_space_around_it(
            list in "( ?[a-e] ?= ?[a-z=]{0,3} ?(\r\n )?;?){0,5}",
        ) {
            if let Ok(tags) = Tags::parse(list.as_bytes()) {
                for name in ["a", "b", "c", "d", "e"] {
                    let span = tags.span(name).map(|span| &list[span]);
                    prop_assert_eq!(span.map(|s| s.trim()), tags.get(name).map(str::trim));
                }
            }
        }

        #[test]
        fn any_octets_are_a_list_or_none(list in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Tags::parse(&list);
        }
    }
}
