//! The two forms in which header fields and bodies are signed (RFC 6376 §3.4).
//!
//! Octets that no rule names stay as they are: a bare CR or a bare LF is an ordinary octet, and
//! nothing is ever rewritten to CRLF. A body is taken in pieces, and how it is split never changes
//! its form. This module does **not** hash.

/// How a header block or a body is brought into the form that is signed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Canonicalization {
    /// Every octet counts (RFC 6376 §3.4.1 and §3.4.3).
    Simple,
    /// White space and the case of field names may change (RFC 6376 §3.4.2 and §3.4.4).
    Relaxed,
}

/// Adds a whole header field in its signed form, with its CRLF.
pub fn field(form: Canonicalization, field: &[u8], out: &mut Vec<u8>) {
    match form {
        Canonicalization::Simple => out.extend_from_slice(field),
        Canonicalization::Relaxed => relaxed_field(field, out),
    }
}

fn relaxed_field(field: &[u8], out: &mut Vec<u8>) {
    let colon = field.iter().position(|&b| b == b':');
    let (name, value) = field.split_at(colon.unwrap_or(field.len()));
    let name = name.trim_ascii_end();
    out.extend(name.iter().map(u8::to_ascii_lowercase));
    let value = match value {
        [b':', value @ ..] => {
            out.push(b':');
            value
        }
        _ => value,
    };
    let start = out.len();
    let mut space = false;
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'\r', [b'\n', after @ ..]) => rest = after,
            (b' ' | b'\t', _) => space = true,
            _ => {
                if std::mem::take(&mut space) && out.len() > start {
                    out.push(b' ');
                }
                out.push(*first);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// A body on its way into its signed form.
#[derive(Clone, Debug)]
pub struct Body {
    form: Canonicalization,
    /// Octets of the signed form have come out already.
    begun: bool,
    /// Line ends that are dropped if the body ends here.
    line_ends: u64,
    /// White space that is dropped if the line ends here. Relaxed only.
    space: bool,
    /// A CR that may become a line end.
    carriage_return: bool,
}

impl Body {
    /// The start of a body.
    #[must_use]
    pub fn new(form: Canonicalization) -> Self {
        Body {
            form,
            begun: false,
            line_ends: 0,
            space: false,
            carriage_return: false,
        }
    }

    /// Takes the next octets and gives out what of the signed form is certain.
    pub fn push(&mut self, octets: &[u8], out: &mut impl FnMut(&[u8])) {
        let mut rest = octets;
        while let [first, tail @ ..] = rest {
            match first {
                b'\n' if self.carriage_return => {
                    self.carriage_return = false;
                    self.space = false;
                    self.line_ends += 1;
                    rest = tail;
                }
                b'\r' => {
                    if self.carriage_return {
                        self.release(out);
                    }
                    self.carriage_return = true;
                    rest = tail;
                }
                b' ' | b'\t' if self.form == Canonicalization::Relaxed => {
                    if self.carriage_return {
                        self.release(out);
                    }
                    self.space = true;
                    rest = tail;
                }
                _ => {
                    self.release(out);
                    let (kept, tail) = rest.split_at(self.unchanged(rest));
                    out(kept);
                    rest = tail;
                }
            }
        }
    }

    /// Ends the body (RFC 6376 §3.4.3: an empty one is one line end; §3.4.4: it is nothing).
    pub fn finish(mut self, out: &mut impl FnMut(&[u8])) {
        if self.carriage_return {
            self.release(out);
        }
        if self.begun || self.form == Canonicalization::Simple {
            out(b"\r\n");
        }
    }

    /// Gives out what was held back, because an ordinary octet follows.
    fn release(&mut self, out: &mut impl FnMut(&[u8])) {
        self.begun = true;
        for _ in 0..std::mem::take(&mut self.line_ends) {
            out(b"\r\n");
        }
        if std::mem::take(&mut self.space) {
            out(b" ");
        }
        if std::mem::take(&mut self.carriage_return) {
            out(b"\r");
        }
    }

    /// How many octets at the start of these, the first of which is ordinary, are their own signed
    /// form, whatever follows.
    fn unchanged(&self, octets: &[u8]) -> usize {
        match self.form {
            Canonicalization::Simple => octets.len() - held_back(octets),
            Canonicalization::Relaxed => unchanged_relaxed(octets),
        }
    }
}

/// How many octets at the end of these may belong to empty lines at the end of the body.
fn held_back(octets: &[u8]) -> usize {
    let mut kept = octets.strip_suffix(b"\r").unwrap_or(octets);
    while let Some(shorter) = kept.strip_suffix(b"\r\n") {
        kept = shorter;
    }
    octets.len() - kept.len()
}

/// Most text has single spaces and lines that end in none, so whole pieces go out at once.
fn unchanged_relaxed(octets: &[u8]) -> usize {
    let ordinary = |b: &u8| !matches!(b, b'\r' | b' ' | b'\t');
    let mut used = 0;
    loop {
        let rest = octets.get(used..).unwrap_or_default();
        let Some(run) = rest.iter().position(|b| !ordinary(b)) else {
            return octets.len();
        };
        used += run;
        match rest.get(run..) {
            Some([b' ', next, ..]) if ordinary(next) => used += 2,
            Some([b'\r', b'\n', next, ..]) if ordinary(next) => used += 3,
            _ => return used,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Canonicalization::{self, Relaxed, Simple};
    use super::{Body, field};

    fn body(form: Canonicalization, pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut body = Body::new(form);
        for piece in pieces {
            body.push(piece, &mut |octets| out.extend_from_slice(octets));
        }
        body.finish(&mut |octets| out.extend_from_slice(octets));
        out
    }

    #[test]
    fn a_body_takes_the_form_of_the_table() {
        const TABLE: [(&[u8], &[u8], &[u8]); 24] = [
            // RFC 6376 §3.4.5 and the rules before it: raw, simple, relaxed.
            (b"", b"\r\n", b""),
            (b"\r\n", b"\r\n", b""),
            (b"\r\n\r\n", b"\r\n", b""),
            (
                b" C \r\nD \t E\r\n\r\n\r\n",
                b" C \r\nD \t E\r\n",
                b" C\r\nD E\r\n",
            ),
            (b"a", b"a\r\n", b"a\r\n"),
            (b"a\r\n", b"a\r\n", b"a\r\n"),
            (b"a\r\n\r\nb\r\n", b"a\r\n\r\nb\r\n", b"a\r\n\r\nb\r\n"),
            (b"\r\na", b"\r\na\r\n", b"\r\na\r\n"),
            // A line of white space is an empty line, but only when that is taken away.
            (b"a\r\n \r\n", b"a\r\n \r\n", b"a\r\n"),
            (b" \r\n", b" \r\n", b""),
            (b" ", b" \r\n", b""),
            (
                b"\t \r\n\t\r\na\r\n",
                b"\t \r\n\t\r\na\r\n",
                b"\r\n\r\na\r\n",
            ),
            (b"a \t", b"a \t\r\n", b"a\r\n"),
            (b"a\tb  c", b"a\tb  c\r\n", b"a b c\r\n"),
            (b"a \r\n b\r\n", b"a \r\n b\r\n", b"a\r\n b\r\n"),
            // A bare CR and a bare LF are ordinary octets.
            (b"a\rb", b"a\rb\r\n", b"a\rb\r\n"),
            (b"a\nb\n", b"a\nb\n\r\n", b"a\nb\n\r\n"),
            (b"a\r", b"a\r\r\n", b"a\r\r\n"),
            (b"\r", b"\r\r\n", b"\r\r\n"),
            (b"\n", b"\n\r\n", b"\n\r\n"),
            (b"a\r\r\n", b"a\r\r\n", b"a\r\r\n"),
            (b"a \r b\r\n", b"a \r b\r\n", b"a \r b\r\n"),
            (b"a \n\r\n", b"a \n\r\n", b"a \n\r\n"),
            (b"a\r\n\nb", b"a\r\n\nb\r\n", b"a\r\n\nb\r\n"),
        ];
        for (raw, simple, relaxed) in TABLE {
            let text = raw.escape_ascii();
            assert_eq!(body(Simple, &[raw]), simple, "simple {text}");
            assert_eq!(body(Relaxed, &[raw]), relaxed, "relaxed {text}");
        }
    }

    #[test]
    fn a_field_takes_the_form_of_the_table() {
        for (raw, relaxed) in [
            (&b"A: X\r\n"[..], &b"a:X\r\n"[..]),
            (b"B : Y\t\r\n\tZ  \r\n", b"b:Y Z\r\n"),
            (b"SubJect:x", b"subject:x\r\n"),
            (b"A:\r\n", b"a:\r\n"),
            (b"A: \t\r\n \r\n", b"a:\r\n"),
            (b"A:\r\n b\r\n", b"a:b\r\n"),
            (b"A: b: c\r\n", b"a:b: c\r\n"),
            (b"A: b\rc\nd\r\n", b"a:b\rc\nd\r\n"),
            (b"A: \xc3\xa4  \xff\r\n", b"a:\xc3\xa4 \xff\r\n"),
        ] {
            let (mut out, mut same) = (Vec::new(), Vec::new());
            field(Relaxed, raw, &mut out);
            field(Simple, raw, &mut same);
            assert_eq!(out, relaxed, "{}", raw.escape_ascii());
            assert_eq!(same, raw);
        }
    }

    /// What RFC 6376 §3.4 says, in its order and on the whole text at once.
    fn reference(form: Canonicalization, raw: &[u8]) -> Vec<u8> {
        let text = raw.iter().map(|&b| char::from(b)).collect::<String>();
        let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
        if form == Relaxed {
            for line in &mut lines {
                let blank = |c| matches!(c, ' ' | '\t');
                let mut out = String::new();
                for c in line.trim_end_matches(blank).chars() {
                    match blank(c) {
                        true if out.ends_with(' ') => {}
                        true => out.push(' '),
                        false => out.push(c),
                    }
                }
                *line = out;
            }
        }
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        let mut out: Vec<u8> = Vec::new();
        for line in &lines {
            out.extend(line.chars().map(|c| u8::try_from(u32::from(c)).unwrap()));
            out.extend_from_slice(b"\r\n");
        }
        if out.is_empty() && form == Simple {
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    /// Octets in which white space and line ends are frequent.
    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => Just(b"\r\n".to_vec()),
            1 => Just(b"\n".to_vec()),
            2 => Just(b"\r".to_vec()),
            3 => Just(b" ".to_vec()),
            1 => Just(b"\t".to_vec()),
            4 => Just(b"word".to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..4),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn however_it_is_split_a_body_takes_the_form_of_the_rules(
            raw in octets(),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(raw.len() + 1)).collect();
            cuts.extend([0, raw.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &raw[w[0]..w[1]]).collect();
            for form in [Simple, Relaxed] {
                prop_assert_eq!(body(form, &pieces), reference(form, &raw));
            }
        }

        #[test]
        fn a_relaxed_form_is_its_own_relaxed_form(raw in octets()) {
            let once = body(Relaxed, &[&raw]);
            prop_assert_eq!(body(Relaxed, &[&once]), once);
        }
    }
}
