//! The addresses of a header field: `To:`, `Cc:`, `Bcc:`, `From:` (RFC 5322 §3.4).
//!
//! A reader for address lists as people and programs write them: display names, comments, quoted
//! strings, groups (RFC 6854) and the obsolete route are understood. What comes out are texts that
//! look like addresses; whether they are is for [`posthaste_smtp::address::Mailbox::parse`].
//!
//! This module does **not** decode display names, and never writes a field.

/// Addresses taken from one field at most; the rest is not read.
pub const MAX_ADDRESSES: usize = 10_000;

/// The addresses in an unfolded field body, in order.
#[must_use]
pub fn parse(body: &str) -> Vec<String> {
    let mut reader = Reader::default();
    for c in body.chars() {
        if reader.found.len() >= MAX_ADDRESSES {
            break;
        }
        reader.push(c);
    }
    reader.end_element();
    reader.found
}

#[derive(Default)]
struct Reader {
    found: Vec<String>,
    /// What stands outside of angle brackets: an address, or a display name.
    plain: String,
    /// What stands within angle brackets.
    angle: Option<String>,
    in_angle: bool,
    quoted: bool,
    escaped: bool,
    comments: usize,
}

impl Reader {
    fn push(&mut self, c: char) {
        if self.escaped {
            self.escaped = false;
            self.keep(c);
        } else if self.comments > 0 {
            match c {
                '\\' => self.escaped = true,
                '(' => self.comments += 1,
                ')' => self.comments -= 1,
                _ => {}
            }
        } else if self.quoted {
            self.escaped = c == '\\';
            self.quoted = c != '"';
            self.keep(c);
        } else {
            self.push_bare(c);
        }
    }

    fn push_bare(&mut self, c: char) {
        match c {
            '(' => self.comments = 1,
            '"' => {
                self.quoted = true;
                self.keep(c);
            }
            '<' if !self.in_angle => {
                self.in_angle = true;
                self.angle = Some(String::new());
            }
            '>' => self.in_angle = false,
            // The obsolete route ends, or the name of a group.
            ':' => match &mut self.angle {
                Some(angle) if self.in_angle => angle.clear(),
                _ => self.plain.clear(),
            },
            ',' | ';' if !self.in_angle => self.end_element(),
            c if c.is_ascii_whitespace() => {}
            c => self.keep(c),
        }
    }

    fn keep(&mut self, c: char) {
        if self.comments > 0 {
            return;
        }
        match &mut self.angle {
            Some(angle) if self.in_angle => angle.push(c),
            _ => self.plain.push(c),
        }
    }

    fn end_element(&mut self) {
        let plain = std::mem::take(&mut self.plain);
        let address = self.angle.take().unwrap_or(plain);
        self.in_angle = false;
        if !address.is_empty() {
            self.found.push(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn addresses_are_found_however_they_are_written() {
        for (body, want) in [
            ("a@b.example", &["a@b.example"][..]),
            (
                " Alice <a@b.example>, bob@c.example (Bob, the (other) one)",
                &["a@b.example", "bob@c.example"],
            ),
            ("\"Doe, Jane <x@y>\" <jane@b.example>", &["jane@b.example"]),
            ("\"odd, local\"@b.example", &["\"odd, local\"@b.example"]),
            ("\"a\\\"b\"@c.example", &["\"a\\\"b\"@c.example"]),
            (
                "Team: a@b.example, B <b@b.example>;, c@b.example",
                &["a@b.example", "b@b.example", "c@b.example"],
            ),
            ("undisclosed-recipients:;", &[]),
            ("<@one.example,@two.example:a@b.example>", &["a@b.example"]),
            ("a @ b . example", &["a@b.example"]),
            (",,", &[]),
            ("<>", &[]),
            ("(unclosed", &[]),
        ] {
            assert_eq!(parse(body), want, "{body}");
        }
    }
}
