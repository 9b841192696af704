//! Cleaning of text that a peer or a user chose, before it stands in a field of ours.
//!
//! What comes out of here has no control characters, so it cannot end a line; what goes into a
//! structured field also has nothing that opens or closes a comment, a quoted string or an angle
//! bracket. A character that may not stand there becomes `?`; nothing is silently dropped.

use std::fmt::Write as _;

/// Columns after which a field or a line for people is folded (RFC 5322 §2.1.1).
pub(crate) const COLUMNS: usize = 78;
/// Most characters of a name (RFC 5321 §4.5.3.1.2).
pub(crate) const MAX_NAME: usize = 255;
/// Most characters of an address: a path and a little (RFC 5321 §4.5.3.1.3).
pub(crate) const MAX_ADDRESS: usize = 320;
/// Most octets of one word before it is cut in two: below the 998 of RFC 5322 §2.1.1, indent and
/// all.
const MAX_WORD: usize = 900;

/// A host name or an address literal; anything else is made harmless. Never empty. With `utf8`,
/// letters beyond ASCII stay.
pub(crate) fn name(text: &str, utf8: bool) -> String {
    if text.is_empty() {
        return "unknown".to_owned();
    }
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let keep = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(c, '.' | '-' | '_')
            || (inner.is_some() && c == ':')
            || (utf8 && !c.is_ascii() && c.is_alphanumeric())
    };
    let cleaned = inner.unwrap_or(text).chars().take(MAX_NAME);
    let cleaned: String = cleaned.map(|c| if keep(c) { c } else { '?' }).collect();
    if inner.is_some() {
        format!("[{cleaned}]")
    } else {
        cleaned
    }
}

/// An atom: letters, digits and `.-_+=/`, as in ids and cipher names. Never empty.
pub(crate) fn atom(text: &str) -> String {
    if text.is_empty() {
        return "?".to_owned();
    }
    let keep = |c: char| c.is_ascii_alphanumeric() || ".-_+=/".contains(c);
    text.chars()
        .take(MAX_NAME)
        .map(|c| if keep(c) { c } else { '?' })
        .collect()
}

/// An address as it stands between angle brackets. A quoted local-part keeps what it quotes;
/// outside of quotes nothing special stays. Characters beyond ASCII stay.
pub(crate) fn address(text: &str) -> String {
    let cut: String = text.chars().take(MAX_ADDRESS).collect();
    let quotes_close = quoted_end(&cut).is_some() || !cut.contains('"');
    let quoted = quoted_end(&cut).filter(|_| quotes_close).unwrap_or(0);
    let mut out = String::with_capacity(cut.len());
    for (i, c) in cut.char_indices() {
        let special = matches!(c, '(' | ')' | '<' | '>' | ',' | ';' | '"' | '\\' | ' ');
        let harmful = c.is_control() || (i >= quoted && special);
        out.push(if harmful { '?' } else { c });
    }
    out
}

/// Where the quoted string that `text` starts with ends: the offset after its closing quote.
fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    let mut chars = text.char_indices();
    if chars.next()?.1 != '"' {
        return None;
    }
    for (i, c) in chars {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(i + 1),
            _ => {}
        }
    }
    None
}

/// A line for people: no control characters; at most `most` characters.
pub(crate) fn line(text: &str, most: usize) -> String {
    clean(text, most, |c| !c.is_control())
}

/// As [`line()`], with `?` for all that is not ASCII.
pub(crate) fn ascii(text: &str, most: usize) -> String {
    clean(text, most, |c| c.is_ascii_graphic() || c == ' ')
}

/// Tabs become spaces; what `keep` does not keep becomes `?`.
fn clean(text: &str, most: usize, keep: fn(char) -> bool) -> String {
    let spaced = text
        .trim_end()
        .chars()
        .take(most)
        .map(|c| if c == '\t' { ' ' } else { c });
    spaced.map(|c| if keep(c) { c } else { '?' }).collect()
}

/// Adds a field: `name` with its colon and space, and words that are not broken.
pub(crate) fn field(out: &mut String, name: &str, words: &[&str]) {
    let mut fold = Fold::new(out, name, " ");
    words.iter().for_each(|word| fold.word(word));
    fold.end();
}

/// Words put one after the other into lines that end in CRLF.
pub(crate) struct Fold<'a> {
    out: &'a mut String,
    indent: &'static str,
    column: usize,
    /// Something stands on this line already, so a word needs a space or a new line before it.
    started: bool,
}

impl<'a> Fold<'a> {
    /// Starts with `first`, which is ours, as the beginning of a line; each further line starts
    /// with `indent`. A word follows `first` without a space: put one there if it is wanted.
    pub(crate) fn new(out: &'a mut String, first: &str, indent: &'static str) -> Self {
        out.push_str(first);
        Fold {
            out,
            indent,
            column: first.chars().count(),
            started: false,
        }
    }

    /// Adds a word, which has no CR and no LF, on this line or the next. One too long for a line is
    /// cut.
    pub(crate) fn word(&mut self, word: &str) {
        let mut rest = word;
        while rest.len() > MAX_WORD {
            let (piece, tail) = rest.split_at(rest.floor_char_boundary(MAX_WORD));
            self.piece(piece);
            rest = tail;
        }
        self.piece(rest);
    }

    /// Adds every word of `text`.
    pub(crate) fn words(&mut self, text: &str) {
        text.split_whitespace().for_each(|word| self.word(word));
    }

    /// Ends the last line.
    pub(crate) fn end(self) {
        self.out.push_str("\r\n");
    }

    fn piece(&mut self, piece: &str) {
        let width = piece.chars().count();
        if width == 0 {
            return;
        }
        let space = usize::from(self.started);
        if self.started && self.column + space + width > COLUMNS {
            let _ = write!(self.out, "\r\n{}", self.indent);
            self.column = self.indent.len();
        } else if self.started {
            self.out.push(' ');
            self.column += 1;
        }
        self.out.push_str(piece);
        self.column += width;
        self.started = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_keeps_literals_and_loses_what_could_break_out() {
        assert_eq!(name("mx-1.example.org", false), "mx-1.example.org");
        assert_eq!(name("[IPv6:2001:db8::1]", false), "[IPv6:2001:db8::1]");
        assert_eq!(name("a)(b\r\nX: y", false), "a??b??X??y");
        assert_eq!(name("[a]b]", false), "[a?b]");
        assert_eq!(name("", false), "unknown");
        assert_eq!(name("b\u{fc}cher.example", false), "b?cher.example");
        assert_eq!(name("b\u{fc}cher.example", true), "b\u{fc}cher.example");
    }

    #[test]
    fn an_address_keeps_its_quoted_local_part_and_nothing_special_outside() {
        assert_eq!(
            address("\"a >(b\\\"\"@example.org"),
            "\"a >(b\\\"\"@example.org"
        );
        assert_eq!(address("a>(b\r\n@example.org"), "a??b??@example.org");
        assert_eq!(address("\"open@example.org"), "?open@example.org");
        assert_eq!(address("\"a\"\"(@example.org"), "\"a\"??@example.org");
        assert_eq!(address("x@[IPv6:::1]"), "x@[IPv6:::1]");
    }

    proptest! {
        #[test]
        fn folded_lines_are_short_and_lose_no_word(
            words in proptest::collection::vec("[a-z]{1,40}", 0..40),
        ) {
            let mut out = String::new();
            let mut fold = Fold::new(&mut out, "Name: ", "\t");
            words.iter().for_each(|w| fold.word(w));
            fold.end();
            prop_assert!(out.lines().all(|l| l.chars().count() <= COLUMNS));
            let back: Vec<&str> = out.split_whitespace().skip(1).collect();
            prop_assert_eq!(back, words);
        }
    }
}
