//! The author domain: whom the From field names (RFC 9989 §5.3.1; RFC 5322 §3.4, RFC 6854).
//!
//! Strict where readers could disagree about who the author is: one From field; an address in
//! angle brackets or alone, never two; nothing that looks like an address outside of quotes beside
//! one; closed quotes, comments and groups. Lenient where it does not matter: any other characters
//! in a display name, comments anywhere, the obsolete route. What cannot be read strictly is
//! [`Authors::fault`]; all domains that any reader could see in it are given all the same, so that
//! a broken field is no way around a policy.
//!
//! This module does **not** decode display names, and looks at no other field.

use posthaste_message::fields;
use posthaste_smtp::address::{Domain, Mailbox, Utf8};

use crate::name;

/// Domains that are looked at; a field with more of them is never validated.
pub const DOMAINS_MAX: usize = 4;
/// Octets of all From fields that are read; longer ones are a fault.
const OCTETS_MAX: usize = 64 * 1024;
/// Comments in comments.
const DEPTH_MAX: usize = 20;

/// Who the message says it is from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Authors {
    /// The distinct domains in A-labels, in order, at most [`DOMAINS_MAX`].
    pub domains: Vec<String>,
    /// There are more domains than [`DOMAINS_MAX`].
    pub more: bool,
    /// Why the authors are not certain: no field, several, or a malformed one.
    pub fault: Option<&'static str>,
}

impl Authors {
    /// Finds the From fields of a header block.
    #[must_use]
    pub fn of_header(block: &[u8]) -> Authors {
        let is_from = |field: &[u8]| {
            let name = fields::name(field);
            name.is_some_and(|n| n.eq_ignore_ascii_case(b"From"))
        };
        let mut values = Vec::new();
        for field in fields::split(block).into_iter().filter(|f| is_from(f)) {
            let colon = field.iter().position(|&b| b == b':');
            values.push(colon.and_then(|i| field.get(i + 1..)).unwrap_or_default());
        }
        Authors::of_fields(&values)
    }

    /// Reads the values of all From fields, folded or not.
    #[must_use]
    pub fn of_fields(values: &[&[u8]]) -> Authors {
        let mut authors = Authors {
            fault: match values.len() {
                0 => Some("there is no From field"),
                1 => None,
                _ => Some("there is more than one From field"),
            },
            ..Authors::default()
        };
        let mut room = OCTETS_MAX;
        for value in values {
            if value.len() > room {
                authors.fault = Some("the From field is too long");
                break;
            }
            room -= value.len();
            authors.read(&String::from_utf8_lossy(value));
        }
        authors
    }

    /// The one author domain, when it is certain.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        match self.domains.as_slice() {
            [domain] if self.fault.is_none() && !self.more => Some(domain),
            _ => None,
        }
    }

    fn read(&mut self, value: &str) {
        match Reader::read(value) {
            Ok(domains) => domains.into_iter().for_each(|domain| self.add(domain)),
            Err(fault) => {
                self.fault = self.fault.or(Some(fault));
                // Whatever some reader could take for a domain.
                for text in value.split('@').skip(1) {
                    let end = text.find(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)));
                    let domain = text.get(..end.unwrap_or(text.len()));
                    if let Some(domain) = domain.and_then(name::ascii) {
                        self.add(domain);
                    }
                }
            }
        }
    }

    fn add(&mut self, domain: String) {
        if self.domains.contains(&domain) {
        } else if self.domains.len() < DOMAINS_MAX {
            self.domains.push(domain);
        } else {
            self.more = true;
        }
    }
}

/// A strict reader of one field.
struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    domains: Vec<String>,
    in_group: bool,
}

/// What stands between two separators.
#[derive(Default)]
struct Element {
    /// Outside of angle brackets: a display name, or a bare address.
    plain: String,
    /// Words of `plain` were quoted.
    quoted: bool,
    words: usize,
    /// Two words stand beside each other with no dot and no `@` between them: a display name.
    apart: bool,
    /// The address in angle brackets.
    angle: Option<String>,
}

impl Element {
    fn begin_word(&mut self, first: char) {
        let joint = |c: char| matches!(c, '.' | '@');
        let before = self.plain.chars().next_back();
        self.apart |= before.is_some_and(|c| !joint(c)) && !joint(first);
        self.words += 1;
    }
}

const MALFORMED: &str = "the From field is malformed";

impl Reader<'_> {
    fn read(value: &str) -> Result<Vec<String>, &'static str> {
        let mut reader = Reader {
            rest: value.chars().peekable(),
            domains: Vec::new(),
            in_group: false,
        };
        let mut element = Element::default();
        while let Some(c) = reader.rest.next() {
            match c {
                ' ' | '\t' | '\r' | '\n' => {}
                '(' => reader.comment()?,
                '"' if element.angle.is_none() => {
                    element.quoted = true;
                    element.begin_word('"');
                    let quoted = reader.quoted()?;
                    element.plain.push_str(&quoted);
                }
                '<' if element.angle.is_none() => element.angle = Some(reader.angle()?),
                ':' if reader.opens_group(&element) => {
                    reader.in_group = true;
                    element = Element::default();
                }
                ',' => reader.end(std::mem::take(&mut element))?,
                ';' if reader.in_group => {
                    reader.end(std::mem::take(&mut element))?;
                    reader.in_group = false;
                }
                '<' | '>' | ':' | ';' | '"' | '\\' | ')' => return Err(MALFORMED),
                c if c.is_control() || element.angle.is_some() => return Err(MALFORMED),
                c => {
                    element.begin_word(c);
                    element.plain.push(c);
                    reader.atom(&mut element.plain);
                }
            }
        }
        reader.end(element)?;
        match reader.in_group {
            true => Err("a group in the From field is not closed"),
            false => Ok(reader.domains),
        }
    }

    fn opens_group(&self, element: &Element) -> bool {
        !self.in_group && element.angle.is_none() && element.words > 0
    }

    /// Takes what belongs to the same word.
    fn atom(&mut self, out: &mut String) {
        let ends = |c: char| c.is_whitespace() || c.is_control() || "()<>,:;\"\\".contains(c);
        while let Some(c) = self.rest.next_if(|&c| !ends(c)) {
            out.push(c);
        }
    }

    fn comment(&mut self) -> Result<(), &'static str> {
        let mut depth = 1;
        while depth > 0 {
            match self
                .rest
                .next()
                .ok_or("a comment in the From field is not closed")?
            {
                '(' if depth == DEPTH_MAX => return Err(MALFORMED),
                '(' => depth += 1,
                ')' => depth -= 1,
                '\\' => drop(self.rest.next()),
                _ => {}
            }
        }
        Ok(())
    }

    /// A quoted string, with its quotes, as an address needs it.
    fn quoted(&mut self) -> Result<String, &'static str> {
        let mut out = "\"".to_owned();
        loop {
            match self
                .rest
                .next()
                .ok_or("a quote in the From field is not closed")?
            {
                '"' => break,
                '\\' => {
                    out.push('\\');
                    out.extend(self.rest.next());
                }
                '\r' | '\n' => {}
                c => out.push(c),
            }
        }
        out.push('"');
        Ok(out)
    }

    /// The address up to `>`, without comments, white space and route.
    fn angle(&mut self) -> Result<String, &'static str> {
        let mut out = String::new();
        loop {
            match self
                .rest
                .next()
                .ok_or("an angle bracket in the From field is not closed")?
            {
                '>' => break,
                '(' => self.comment()?,
                '"' => {
                    let quoted = self.quoted()?;
                    out.push_str(&quoted);
                }
                '<' => return Err(MALFORMED),
                ' ' | '\t' | '\r' | '\n' => {}
                c => out.push(c),
            }
        }
        match out.strip_prefix('@') {
            Some(route) => {
                let mailbox = route.split_once(':').ok_or(MALFORMED)?.1;
                Ok(mailbox.to_owned())
            }
            None => Ok(out),
        }
    }

    fn end(&mut self, element: Element) -> Result<(), &'static str> {
        let address = match element.angle {
            // A display name that looks like an address is not to be told from one by every reader.
            Some(_) if !element.quoted && element.plain.contains('@') => return Err(MALFORMED),
            Some(angle) => angle,
            // Obsolete lists have empty elements (RFC 5322 §4.4).
            None if element.plain.is_empty() => return Ok(()),
            None if element.apart => return Err(MALFORMED),
            None => element.plain,
        };
        let mailbox = Mailbox::parse(&address, Utf8::Allowed).map_err(|_| MALFORMED)?;
        let domain = match mailbox.domain() {
            Domain::Name(domain) => name::ascii(domain.as_str()),
            Domain::Literal(_) => return Err("the From field has an address without a domain"),
        };
        let domain = domain.ok_or("the From field names a domain that cannot exist")?;
        if !self.domains.contains(&domain) {
            self.domains.push(domain);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(value: &str) -> Authors {
        Authors::of_fields(&[value.as_bytes()])
    }

    #[test]
    fn one_domain_is_found_however_it_is_written() {
        for value in [
            " a@example.org",
            "Alice <a@Example.ORG>",
            "\"Doe, Jane\" <jane@example.org>",
            "\"evil@example.net\" <a@example.org>",
            "Jane Q. Public [x] <a@example.org> (on the road)",
            "=?utf-8?q?J=C3=BC?= <a@example.org>",
            "J\u{fc}rgen <a@example.org>",
            "<@relay.example,@b.example:a@example.org>",
            "\"a b\"@example.org",
            "a@example.org,\r\n B <b@example.org>",
            "Team: a@example.org, b@EXAMPLE.org;",
            "a @ example.org",
            "a@example.org (comment \\) (nested))",
            ",a@example.org,",
        ] {
            let got = of(value);
            assert_eq!(
                (got.domain(), got.fault),
                (Some("example.org"), None),
                "{value}"
            );
        }
        assert_eq!(
            of("x@b\u{fc}cher.example").domain(),
            Some("xn--bcher-kva.example")
        );
        assert_eq!(of("Undisclosed:;"), Authors::default());
    }

    #[test]
    fn several_domains_are_no_author_domain() {
        let got = of("a@one.example, Group: b@two.example, c@three.example;");
        assert_eq!(got.domains, ["one.example", "two.example", "three.example"]);
        assert_eq!((got.domain(), got.fault), (None, None));
        let many: Vec<String> = (0..9).map(|i| format!("a@d{i}.example")).collect();
        let got = of(&many.join(","));
        assert!(got.more && got.domains.len() == DOMAINS_MAX);
    }

    #[test]
    fn what_readers_could_disagree_about_is_a_fault_that_hides_no_domain() {
        for (value, domains) in [
            (
                "ceo@bank.example <a@evil.example>",
                &["bank.example", "evil.example"][..],
            ),
            (
                "<a@bank.example> <b@evil.example>",
                &["bank.example", "evil.example"],
            ),
            (
                "<a@bank.example> b@evil.example",
                &["bank.example", "evil.example"],
            ),
            (
                "a@bank.example\0@evil.example",
                &["bank.example", "evil.example"],
            ),
            ("\"open <a@bank.example>", &["bank.example"]),
            ("a@bank.example (open", &["bank.example"]),
            ("Group: a@bank.example", &["bank.example"]),
            ("<a@bank.example", &["bank.example"]),
            ("a@[192.0.2.1]", &[]),
            ("Alice a@bank.example", &["bank.example"]),
            ("nobody", &[]),
            ("a@b..example", &[]),
        ] {
            let got = of(value);
            assert!(got.fault.is_some() && got.domain().is_none(), "{value}");
            assert_eq!(got.domains, domains, "{value}");
        }
    }

    #[test]
    fn the_fields_of_a_header_are_all_seen() {
        let one = b"To: x@y\r\nfrom : Alice\r\n <a@example.org>\r\nFrom-: b@c\r\n";
        assert_eq!(Authors::of_header(one).domain(), Some("example.org"));
        let two = Authors::of_header(b"From: a@example.org\r\nFROM: a@example.org\r\n");
        assert_eq!((two.domain(), two.domains.len()), (None, 1));
        assert!(Authors::of_header(b"To: x@y\r\n").fault.is_some());
        let long = format!("From: {}a@example.org\r\n", "(c) ".repeat(20_000));
        assert!(Authors::of_header(long.as_bytes()).fault.is_some());
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(value in "[a-c@.<>,:;\"()\\\\ \r\n\u{fc}]{0,60}") {
            let got = of(&value);
            prop_assert!(got.domains.len() <= DOMAINS_MAX);
            let legal = got.domains.iter().all(|d| name::ascii(d).as_deref() == Some(d));
            prop_assert!(legal, "{:?}", got.domains);
        }

        #[test]
        fn a_display_name_never_changes_the_author(
            name in "[a-zA-Z0-9 .!#$%&'*+/=?^_`{|}~-]{0,40}",
        ) {
            let got = of(&format!("{name} <a@example.org>"));
            prop_assert_eq!(got.domain(), Some("example.org"));
        }
    }
}
