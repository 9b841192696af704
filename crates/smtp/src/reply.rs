//! Replies (RFC 5321 §4.2) and enhanced status codes (RFC 3463, RFC 2034).
//!
//! Invariants: a written reply is ASCII, its lines have at most 512 octets, and the class of the
//! enhanced status code is the first digit of the code (RFC 2034 §4). What a peer sent is kept
//! as text and made harmless when it is written.
//!
//! Not here: which reply answers what (the sessions know), and framing (`line`).

use std::borrow::Cow;
use std::fmt;

use crate::limits;

/// An enhanced status code, `class.subject.detail` (RFC 3463 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnhancedCode {
    /// 2, 4 or 5.
    pub class: u8,
    /// 0 to 999.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

impl EnhancedCode {
    /// Parses `class.subject.detail` and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<EnhancedCode> {
        let mut parts = text.split('.');
        let class = match parts.next()? {
            "2" => 2,
            "4" => 4,
            "5" => 5,
            _ => return None,
        };
        let (subject, detail) = (number(parts.next()?)?, number(parts.next()?)?);
        parts.next().is_none().then_some(EnhancedCode {
            class,
            subject,
            detail,
        })
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// What one end answers the other. Cheap to make from fixed text: nothing is allocated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reply {
    code: u16,
    enhanced: Option<EnhancedCode>,
    /// Lines, joined by LF.
    text: Cow<'static, str>,
}

impl Reply {
    /// A reply with an enhanced status code. `text` may hold several lines, separated by LF. The
    /// class of `enhanced` is corrected to the first digit of `code`, should they differ.
    #[must_use]
    pub fn new(code: u16, enhanced: (u8, u16, u16), text: impl Into<Cow<'static, str>>) -> Reply {
        let (given, subject, detail) = enhanced;
        let class = match code / 100 {
            2 => 2,
            4 => 4,
            5 => 5,
            _ => given,
        };
        let enhanced = Some(EnhancedCode {
            class,
            subject,
            detail,
        });
        Reply {
            code,
            enhanced,
            text: text.into(),
        }
    }

    /// A reply without an enhanced status code (greeting, hello, 3yz; RFC 2034 §4).
    #[must_use]
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply {
            code,
            enhanced: None,
            text: text.into(),
        }
    }

    /// Parses a whole reply as it came, one or several lines, each ended by CRLF (or LF). The
    /// code must be the same on all lines and start with 2 to 5 (RFC 5321 §4.2). `None` if it is
    /// no reply, or more or less than one.
    #[must_use]
    pub fn parse(wire: &[u8]) -> Option<Reply> {
        let mut partial = PartialReply::default();
        let mut lines = wire.strip_suffix(b"\n")?.split(|octet| *octet == b'\n');
        loop {
            let line = lines.next()?;
            if partial.add(line)? == More::No {
                return lines.next().is_none().then(|| partial.finish());
            }
        }
    }

    /// The same reply with `tag` in brackets at its end.
    #[must_use]
    pub fn tagged(self, tag: &str) -> Reply {
        let text = format!("{} [{tag}]", self.text).into();
        Reply { text, ..self }
    }

    /// The three-digit code.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status code, where there is one.
    #[must_use]
    pub fn enhanced(&self) -> Option<EnhancedCode> {
        self.enhanced
    }

    /// The text, lines separated by LF, without codes.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines of the text.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n')
    }

    /// 2yz.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3yz.
    #[must_use]
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 4yz.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5yz.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Whether the connection ends with it (RFC 5321 §3.8, RFC 7504 §2).
    #[must_use]
    pub fn closes(&self) -> bool {
        matches!(self.code, 421 | 521)
    }

    /// Appends the wire form: every line with the code and the enhanced status code, folded at
    /// 512 octets; what is not printable ASCII becomes `?`.
    pub fn render(&self, out: &mut Vec<u8>) {
        let code = self.code.clamp(200, 599);
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let line = line.strip_suffix('\r').unwrap_or(line);
            self.render_line(code, line, lines.peek().is_none(), out);
        }
    }

    fn render_line(&self, code: u16, line: &str, last: bool, out: &mut Vec<u8>) {
        // Code, separator, enhanced status code at its longest with a blank, CRLF.
        const ROOM: usize = limits::REPLY_LINE - "250-2.999.999 \r\n".len();
        let mut rest = line.as_bytes();
        loop {
            let (piece, after) = rest.split_at_checked(ROOM).unwrap_or((rest, &[]));
            let end = if last && after.is_empty() { ' ' } else { '-' };
            push_display(out, format_args!("{code}{end}"));
            if let Some(enhanced) = self.enhanced {
                push_display(out, format_args!("{enhanced} "));
            }
            let printable = |octet: &u8| {
                if matches!(octet, b' '..=b'~') {
                    *octet
                } else {
                    b'?'
                }
            };
            out.extend(piece.iter().map(printable));
            out.extend_from_slice(b"\r\n");
            rest = after;
            if rest.is_empty() {
                return;
            }
        }
    }
}

/// The replies the sessions give by themselves, or that drivers give by default.
impl Reply {
    /// 220: the greeting. `hostname` comes first (RFC 5321 §4.3.1).
    #[must_use]
    pub fn greeting(hostname: &str) -> Reply {
        Reply::plain(220, format!("{hostname} ESMTP Posthaste"))
    }

    /// 250: the hello is fine; the session writes its own text.
    #[must_use]
    pub fn hello() -> Reply {
        Reply::plain(250, "")
    }

    /// 250 2.0.0.
    #[must_use]
    pub fn ok() -> Reply {
        Reply::new(250, (2, 0, 0), "OK")
    }

    /// 250 2.1.0: the reverse-path is accepted.
    #[must_use]
    pub fn sender_ok() -> Reply {
        Reply::new(250, (2, 1, 0), "Sender OK")
    }

    /// 250 2.1.5: the forward-path is accepted.
    #[must_use]
    pub fn recipient_ok() -> Reply {
        Reply::new(250, (2, 1, 5), "Recipient OK")
    }

    /// 354: send the message.
    #[must_use]
    pub fn start_input() -> Reply {
        Reply::plain(354, "Start mail input; end with <CRLF>.<CRLF>")
    }

    /// 220 2.0.0: start TLS (RFC 3207 §4).
    #[must_use]
    pub fn start_tls() -> Reply {
        Reply::new(220, (2, 0, 0), "Ready to start TLS")
    }

    /// 454 4.7.0: TLS cannot be had now (RFC 3207 §4).
    #[must_use]
    pub fn tls_unavailable() -> Reply {
        Reply::new(454, (4, 7, 0), "TLS not available due to temporary reason")
    }

    /// 235 2.7.0: authenticated (RFC 4954 §6).
    #[must_use]
    pub fn authenticated() -> Reply {
        Reply::new(235, (2, 7, 0), "Authentication succeeded")
    }

    /// 535 5.7.8: the same for whatever is wrong with the credentials (RFC 4954 §6).
    #[must_use]
    pub fn bad_credentials() -> Reply {
        Reply::new(535, (5, 7, 8), "Authentication credentials invalid")
    }

    /// 454 4.7.0: nobody can be authenticated now (RFC 4954 §6).
    #[must_use]
    pub fn auth_unavailable() -> Reply {
        Reply::new(454, (4, 7, 0), "Temporary authentication failure")
    }

    /// 421 4.3.2: we stop (RFC 5321 §3.8).
    #[must_use]
    pub fn shutting_down(hostname: &str) -> Reply {
        Reply::new(
            421,
            (4, 3, 2),
            format!("{hostname} shutting down, try again later"),
        )
    }

    /// 421 4.4.2: the peer was silent for too long.
    #[must_use]
    pub fn timed_out(hostname: &str) -> Reply {
        Reply::new(
            421,
            (4, 4, 2),
            format!("{hostname} closing connection: nothing came for too long"),
        )
    }

    /// 451 4.3.0: something of ours broke.
    #[must_use]
    pub fn local_error() -> Reply {
        Reply::new(451, (4, 3, 0), "Local error in processing, try again later")
    }

    /// 452 4.3.1: no room for the message.
    #[must_use]
    pub fn insufficient_storage() -> Reply {
        Reply::new(
            452,
            (4, 3, 1),
            "Insufficient system storage, try again later",
        )
    }
}

/// One line, lines joined by ` / `: for logs and reports.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        for (n, line) in self.lines().enumerate() {
            write!(f, "{}{line}", if n == 0 { " " } else { " / " })?;
        }
        Ok(())
    }
}

/// Whether a reply goes on after a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum More {
    Yes,
    No,
}

/// A reply of which some lines have come.
#[derive(Debug, Default)]
pub(crate) struct PartialReply {
    code: Option<u16>,
    enhanced: Option<EnhancedCode>,
    text: String,
}

impl PartialReply {
    /// Adds a line without its LF; `None` if it is not one of a reply. However many CR stand at its
    /// end, they are part of the line end.
    pub(crate) fn add(&mut self, line: &[u8]) -> Option<More> {
        let end = line.iter().rposition(|octet| *octet != b'\r')? + 1;
        let line = line.get(..end)?;
        let (digits, rest) = line.split_at_checked(3)?;
        let &[a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'] = digits else {
            return None;
        };
        let code = [a, b, c]
            .iter()
            .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        let (more, text) = match rest.split_first() {
            None => (More::No, rest),
            Some((b' ', text)) => (More::No, text),
            Some((b'-', text)) => (More::Yes, text),
            Some(_) => return None,
        };
        let first = *self.code.get_or_insert(code) == code && self.text.is_empty();
        if self.code != Some(code) {
            return None;
        }
        self.add_text(first, a - b'0', &String::from_utf8_lossy(text));
        Some(more)
    }

    /// Octets of text held.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// The reply, once a line said that it is the last.
    pub(crate) fn finish(&mut self) -> Reply {
        let taken = std::mem::take(self);
        let mut text = taken.text;
        text.pop();
        Reply {
            code: taken.code.unwrap_or(0),
            enhanced: taken.enhanced,
            text: text.into(),
        }
    }

    /// Every line is kept with an LF behind it, so that an empty first line counts as a line.
    fn add_text(&mut self, first: bool, class: u8, text: &str) {
        let (word, after) = text.split_once(' ').unwrap_or((text, ""));
        let enhanced = EnhancedCode::parse(word).filter(|code| code.class == class);
        if first {
            self.enhanced = enhanced;
        }
        let text = if enhanced.is_some() && enhanced == self.enhanced {
            after
        } else {
            text
        };
        self.text.push_str(text);
        self.text.push('\n');
    }
}

/// Writes what `Display` gives; writing into a `Vec` cannot fail.
pub(crate) fn push_display(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _infallible = out.write_fmt(text);
}

/// One to three digits without a sign.
fn number(digits: &str) -> Option<u16> {
    let short = digits.len() <= 3 && digits.bytes().all(|c| c.is_ascii_digit());
    short.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.render(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_carries_both_codes() {
        let reply = Reply::new(550, (5, 1, 1), "No such user\nSee https://example.org/");
        assert_eq!(
            rendered(&reply),
            "550-5.1.1 No such user\r\n550 5.1.1 See https://example.org/\r\n"
        );
        assert_eq!(
            reply.to_string(),
            "550 5.1.1 No such user / See https://example.org/"
        );
    }

    #[test]
    fn the_class_of_the_enhanced_code_follows_the_code() {
        assert_eq!(
            rendered(&Reply::new(451, (5, 7, 1), "x")),
            "451 4.7.1 x\r\n"
        );
    }

    #[test]
    fn hostile_text_cannot_break_a_line() {
        let reply = Reply::plain(250, "a\r\n250 b\rc\0d\u{e9}");
        assert_eq!(rendered(&reply), "250-a\r\n250 250 b?c?d??\r\n");
    }

    #[test]
    fn long_text_is_folded_at_512_octets() {
        let wire = rendered(&Reply::new(250, (2, 0, 0), "x".repeat(2000)));
        assert_eq!(wire.lines().count(), 5);
        assert!(
            wire.split_inclusive("\r\n")
                .all(|line| line.len() <= limits::REPLY_LINE)
        );
        assert_eq!(wire.matches('x').count(), 2000);
        assert!(wire.lines().last().unwrap().starts_with("250 "));
    }

    #[test]
    fn replies_are_parsed_line_by_line() {
        for (wire, expected) in [
            ("250 OK\r\n", Reply::plain(250, "OK")),
            ("250\r\n", Reply::plain(250, "")),
            ("250 \n", Reply::plain(250, "")),
            ("250-\r\n250 a\r\n", Reply::plain(250, "\na")),
            ("550 5.1.1 gone\r\n", Reply::new(550, (5, 1, 1), "gone")),
            ("550 5.1.1\r\n", Reply::new(550, (5, 1, 1), "")),
            ("550 5.1.1\r\r\n", Reply::new(550, (5, 1, 1), "")),
            ("550 4.1.1 gone\r\n", Reply::plain(550, "4.1.1 gone")),
            ("550 5.1.1.1 x\r\n", Reply::plain(550, "5.1.1.1 x")),
            ("550 5.+1.1 x\r\n", Reply::plain(550, "5.+1.1 x")),
            (
                "550-5.1.1 a\r\n550 5.1.2 b\r\n",
                Reply::new(550, (5, 1, 1), "a\n5.1.2 b"),
            ),
        ] {
            assert_eq!(Reply::parse(wire.as_bytes()), Some(expected), "{wire:?}");
        }
        for bad in [
            "",
            "\r\n",
            "25\r\n",
            "250OK\r\n",
            "150 x\r\n",
            "600 x\r\n",
            "250 x",
            "250-x\r\n",
            "250-x\r\n251 y\r\n",
            "250 x\r\n250 y\r\n",
            "abc d\r\n",
            "250-x\r\n\r\n",
        ] {
            assert_eq!(Reply::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
