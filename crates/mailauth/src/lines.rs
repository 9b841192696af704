//! A header field of ours, put together from pieces and folded between them (RFC 5322 §2.2.3).
//!
//! The pieces are clean already: no CR, no LF, and each short enough for a line (RFC 5322 §2.1.1).

/// Columns after which a field is folded.
const COLUMNS: usize = 78;
/// What starts each further line.
const INDENT: &str = "\r\n\t";

/// A field that grows.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    out: String,
    column: usize,
}

impl Lines {
    /// Starts a field with its name and colon.
    pub(crate) fn new(name: &str) -> Self {
        Lines {
            out: name.to_owned(),
            column: name.len(),
        }
    }

    /// Adds a piece after a blank, or after a fold when it does not fit.
    pub(crate) fn word(&mut self, piece: &str) {
        self.add(" ", piece);
    }

    /// Adds a piece right behind the last, or after a fold when it does not fit.
    pub(crate) fn glue(&mut self, piece: &str) {
        self.add("", piece);
    }

    /// Adds a piece on a line of its own.
    pub(crate) fn line(&mut self, piece: &str) {
        self.out.push_str(INDENT);
        self.out.push_str(piece);
        self.column = 1 + piece.chars().count();
    }

    /// The field with its line end.
    pub(crate) fn end(mut self) -> String {
        self.out.push_str("\r\n");
        self.out
    }

    fn add(&mut self, gap: &str, piece: &str) {
        let width = gap.len() + piece.chars().count();
        if self.column + width > COLUMNS {
            return self.line(piece);
        }
        self.out.push_str(gap);
        self.out.push_str(piece);
        self.column += width;
    }
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, Lines};

    #[test]
    fn a_field_is_folded_between_its_pieces() {
        let mut lines = Lines::new("Name:");
        for _ in 0..9 {
            lines.word("0123456789");
        }
        lines.line("next");
        for _ in 0..9 {
            lines.glue("0123456789");
        }
        let field = lines.end();
        assert!(field.lines().all(|line| line.len() <= COLUMNS), "{field}");
        let unfolded = field.replace("\r\n\t", "|");
        assert_eq!(unfolded.matches('|').count(), 3);
        assert!(unfolded.starts_with("Name: 0123456789 0123456789 "));
        assert!(unfolded.contains("|next01234567890123456789"));
    }
}
