//! A Rust file as the checks see it: its code without comments and literals, and its comments.
//!
//! The reader knows just enough of Rust's tokens to tell code from text (comments nest, strings may
//! be raw, a quote may begin a lifetime). It does **not** parse; the compiler does that.

/// A Rust file, taken apart. `code` and `comments` have the length and the lines of the text, with
/// blanks for what is not theirs.
pub(crate) struct Source {
    pub(crate) code: String,
    pub(crate) comments: String,
}

/// A function with a body.
pub(crate) struct Function {
    pub(crate) name: String,
    /// Line of the word `fn`, from 1.
    pub(crate) line: usize,
    /// Lines from there to its closing brace.
    pub(crate) lines: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

impl Source {
    /// Takes a file apart.
    pub(crate) fn read(text: &str) -> Self {
        let mut code = String::with_capacity(text.len());
        let mut comments = String::with_capacity(text.len());
        let mut rest = text;
        let mut before = ' ';
        while let Some(first) = rest.chars().next() {
            let (length, kind) = token(rest, before);
            let (piece, after) = rest.split_at_checked(length.max(1)).unwrap_or((rest, ""));
            keep(&mut code, piece, kind == Kind::Code);
            keep(&mut comments, piece, kind == Kind::Comment);
            before = first;
            rest = after;
        }
        Source { code, comments }
    }

    /// The file's functions, outermost first.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("fn ") {
            let (head, tail) = self.code.split_at(at);
            if head.chars().next_back().is_some_and(is_word) {
                continue;
            }
            let signature = tail.strip_prefix("fn ").unwrap_or_default();
            let name: String = signature.chars().take_while(|c| is_word(*c)).collect();
            let Some(open) = body(tail).filter(|_| !name.is_empty()) else {
                continue;
            };
            let Some(length) = block(tail.get(open..).unwrap_or_default()) else {
                continue;
            };
            let all = tail.get(..open + length).unwrap_or_default();
            let line = head.matches('\n').count() + 1;
            found.push(Function {
                name,
                line,
                lines: all.matches('\n').count() + 1,
            });
        }
        found
    }

    /// The code with what is marked `#[cfg(test)]` blanked out.
    pub(crate) fn shipped(&self) -> String {
        let mut shipped = String::with_capacity(self.code.len());
        let mut rest = self.code.as_str();
        while let Some((head, test, after)) = next_test(rest) {
            shipped.push_str(head);
            keep(&mut shipped, test, false);
            rest = after;
        }
        shipped + rest
    }

    /// Lines outside of what is marked `#[cfg(test)]`.
    pub(crate) fn shipped_lines(&self) -> usize {
        let mut lines = self.code.lines().count();
        let mut rest = self.code.as_str();
        while let Some((_, test, after)) = next_test(rest) {
            lines = lines.saturating_sub(test.lines().count());
            rest = after;
        }
        lines
    }
}

/// What stands before the first item marked `#[cfg(test)]`, the item, and what follows.
fn next_test(code: &str) -> Option<(&str, &str, &str)> {
    let (head, tail) = code.split_at_checked(code.find("#[cfg(test)]")?)?;
    let mark = "#[cfg(test)]".len();
    let item = tail.get(mark..)?;
    let end = match body(item) {
        Some(open) => open + block(item.get(open..)?).unwrap_or(item.len() - open),
        None => item.find(';').map_or(item.len(), |at| at + 1),
    };
    let (test, after) = tail.split_at_checked(mark + end)?;
    Some((head, test, after))
}

/// Whether a character may stand in a name.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length and kind of the token that `rest` begins with.
fn token(rest: &str, before: char) -> (usize, Kind) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Kind::Comment);
    }
    if rest.starts_with("/*") {
        return (nested_comment(rest), Kind::Comment);
    }
    if rest.starts_with('"') {
        return (string(rest), Kind::Literal);
    }
    if rest.starts_with('r')
        && (!is_word(before) || before == 'b' || before == 'c')
        && let Some(length) = raw_string(rest)
    {
        return (length, Kind::Literal);
    }
    if rest.starts_with('\'')
        && let Some(length) = character(rest)
    {
        return (length, Kind::Literal);
    }
    (rest.chars().next().map_or(1, char::len_utf8), Kind::Code)
}

fn nested_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let tail = rest.strip_prefix('r')?;
    let hashes = tail.chars().take_while(|c| *c == '#').count();
    let content = tail.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(
        content
            .find(&end)
            .map_or(rest.len(), |at| 1 + hashes + 1 + at + end.len()),
    )
}

/// Length of a character literal; none when the quote begins a lifetime or a label.
fn character(rest: &str) -> Option<usize> {
    let tail = rest.strip_prefix('\'')?;
    if let Some(escape) = tail.strip_prefix('\\') {
        let skipped = escape.chars().next().map_or(0, char::len_utf8);
        return escape
            .get(skipped..)?
            .find('\'')
            .map(|at| 1 + 1 + skipped + at + 1);
    }
    let length = tail.chars().next()?.len_utf8();
    tail.get(length..)?
        .starts_with('\'')
        .then_some(1 + length + 1)
}

/// Copies a piece, or blanks of the same length and lines.
fn keep(to: &mut String, piece: &str, kept: bool) {
    if kept {
        to.push_str(piece);
    } else {
        for c in piece.chars() {
            match c {
                '\n' => to.push('\n'),
                _ => (0..c.len_utf8()).for_each(|_| to.push(' ')),
            }
        }
    }
}

/// Where the first block of an item opens; none when the item ends without one.
fn body(code: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Length of the block that `code` begins with.
fn block(code: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn comments_and_literals_are_not_code() {
        let source = Source::read("let a = \"x // y\"; // RFC 1\nlet b = r#\"\"{\"#; let c = '{';");
        assert!(!source.code.contains('{') && !source.code.contains("RFC"));
        assert!(source.comments.contains("// RFC 1") && !source.comments.contains("// y"));
        assert_eq!(source.code.lines().count(), 2);
    }

    #[test]
    fn a_lifetime_opens_no_literal() {
        let source = Source::read("fn f<'a>(x: &'a str) -> char { '\\'' }");
        assert!(source.code.contains("<'a>(x: &'a str)") && source.code.ends_with('}'));
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let source = Source::read("fn one(x: [u8; 4]) -> u8\n{\n  x\n}\ntrait T { fn two(); }\n");
        let found = source.functions();
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].name.as_str(), found[0].line, found[0].lines),
            ("one", 1, 4)
        );
    }

    #[test]
    fn test_modules_are_not_shipped() {
        let source = Source::read("fn a() {}\n\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\n");
        assert!(source.shipped().contains("fn a") && !source.shipped().contains("fn b"));
        assert_eq!(source.shipped_lines(), 2);
    }
}
