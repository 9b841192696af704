//! Functions quoted in a document as they are in the code.
//!
//! A line `<!-- quote: FILE NAME -->` is followed by the function `NAME` of `FILE` in a code fence,
//! with the comment above it. [`fill`] writes it anew; a document whose quotes differ is stale.

use crate::command::Result;
use crate::tidy::File;

/// The document with quotes.
pub(crate) const PAGE: &str = "ARCHITECTURE.md";
const MARK: &str = "<!-- quote: ";

/// The document `text` with every quote as the code in `files` now is.
pub(crate) fn fill(text: &str, files: &[File]) -> Result<String> {
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        let Some(what) = line.strip_prefix(MARK).and_then(|l| l.strip_suffix(" -->")) else {
            continue;
        };
        let (path, name) = what
            .split_once(' ')
            .ok_or_else(|| format!("{PAGE}: {line}"))?;
        let file = files.iter().find(|f| f.path == path);
        let file = file.ok_or_else(|| format!("{PAGE} quotes {path}, which is not there"))?;
        let quoted = function(&file.text, name)
            .ok_or_else(|| format!("{PAGE} quotes {name} of {path}, which is not there"))?;
        out.push_str(&format!("\n```rust\n{quoted}```\n"));
        skip_fence(&mut lines);
    }
    Ok(out)
}

/// Skips the quote that stands below a mark, if there is one.
fn skip_fence<'a>(lines: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) {
    // The blank line is put back with the quote.
    lines.next_if_eq(&"");
    if lines.next_if_eq(&"```rust").is_some() {
        lines.by_ref().find(|line| *line == "```");
    }
}

/// The function `name` with its doc comment, without its indentation.
fn function(source: &str, name: &str) -> Option<String> {
    let lines: Vec<&str> = source.lines().collect();
    let head = lines.iter().position(|line| {
        let at = line.find(&format!("fn {name}("));
        at.is_some() && !line.trim_start().starts_with("//")
    })?;
    let (above, below) = lines.split_at(head);
    let first = below.first()?;
    let indent = first.len() - first.trim_start().len();
    let docs = above
        .iter()
        .rev()
        .take_while(|line| line.trim_start().starts_with("///"))
        .count();
    let end_mark = format!("{}}}", " ".repeat(indent));
    let length = below.iter().position(|line| **line == end_mark)? + 1;
    let quoted = above
        .iter()
        .skip(head - docs)
        .chain(below.iter().take(length));
    Some(
        quoted
            .map(|line| format!("{}\n", line.get(indent..).unwrap_or_default()))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::function;

    #[test]
    fn a_function_is_quoted_with_its_comment_and_without_indentation() {
        let source = "impl A {\n    /// Doc.\n    fn b(&self) {\n        c();\n    }\n}\n";
        let quoted = function(source, "b").unwrap();
        assert_eq!(quoted, "/// Doc.\nfn b(&self) {\n    c();\n}\n");
        assert_eq!(function(source, "c"), None);
    }
}
