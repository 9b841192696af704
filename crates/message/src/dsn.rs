//! Delivery status notifications: a `multipart/report` (RFC 6522) of a part for people, a
//! `message/delivery-status` part (RFC 3464), and the message or its header block.
//!
//! Nothing that a peer or a sender chose can leave its field or its line: it is cleaned on the way
//! in. The boundary does not occur in what is returned. The report says `Auto-Submitted:
//! auto-replied` (RFC 3834 §5) and names the message it is about in `In-Reply-To`.
//!
//! This module does **not** decide who gets a report (RFC 3461 §5.2, NOTIFY); its caller does,
//! sends it with the null reverse-path, and never makes one about a message that had the null
//! reverse-path.

mod people;
mod programs;

use posthaste_smtp::reply::EnhancedCode;

use crate::date;
use crate::header::Scan;
use crate::text;

/// The largest message, in octets, that a failure report returns whole. Of larger ones it returns
/// the header block.
pub const MAX_WHOLE: u64 = 64 * 1024;
/// Most characters of a remote reply, or of a reason of ours, that a report repeats.
pub const MAX_REASON: usize = 4 * 1024;

/// What the report tells, the same for all its recipients: the Action of RFC 3464 §2.3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Given up.
    Failed,
    /// Still trying.
    Delayed,
    /// In the mailbox.
    Delivered,
    /// Handed to a host that does not send such reports.
    Relayed,
    /// Handed on to several addresses.
    Expanded,
}

/// What the sender asked to have returned (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Return {
    /// No RET parameter.
    #[default]
    Unset,
    /// `RET=FULL`.
    Full,
    /// `RET=HDRS`.
    Headers,
}

/// Why the recipient has this outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason<'a> {
    /// A host replied so.
    Remote {
        /// Its name, or its address in brackets.
        host: &'a str,
        /// Its reply, code first; lines separated by LF or CRLF.
        reply: &'a str,
    },
    /// We found so ourselves: no route, no connection, expired.
    Local(&'a str),
}

/// One recipient in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient<'a> {
    /// ORCPT as the sender gave it, `address-type;xtext` (RFC 3461 §4.2).
    pub original: Option<&'a str>,
    /// The address as we tried it.
    pub address: &'a str,
    /// What became of it.
    pub status: EnhancedCode,
    /// Why; `None` when there is nothing to say beyond the status.
    pub reason: Option<Reason<'a>>,
    /// The last attempt, in seconds since 1970-01-01T00:00:00Z.
    pub last_attempt_s: Option<u64>,
    /// Until when we shall try, in the same unit; for [`Kind::Delayed`].
    pub retry_until_s: Option<u64>,
}

/// What of the message goes into the report; see [`returns_whole`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Original<'a> {
    /// The header block: CRLF lines, with or without the empty line that ends it.
    Headers(&'a [u8]),
    /// The message: CRLF lines.
    Whole(&'a [u8]),
}

/// A report to be rendered.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// What it tells.
    pub kind: Kind,
    /// Our own name.
    pub reporting_mta: &'a str,
    /// To whom: the reverse-path of the message, without angle brackets.
    pub to: &'a str,
    /// ENVID as the sender gave it, in xtext (RFC 3461 §4.4).
    pub envelope_id: Option<&'a str>,
    /// The queue id of the message it is about.
    pub queue_id: &'a str,
    /// The Message-ID of the report itself, from [`crate::message_id::make`].
    pub message_id: &'a str,
    /// When the message came, in seconds since 1970-01-01T00:00:00Z.
    pub arrival_s: u64,
    /// When the report is made, in the same unit.
    pub unix_s: u64,
    /// At least one; their number is the caller's limit of recipients in a transaction.
    pub recipients: &'a [Recipient<'a>],
    /// What is returned.
    pub original: Original<'a>,
}

/// A report as a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The message; every line ends in CRLF (as far as [`Original`] keeps to it).
    pub message: Vec<u8>,
    /// It has octets above 127: its envelope says `BODY=8BITMIME` (RFC 6152).
    pub eight_bit: bool,
    /// Its own header block has octets above 127: its envelope says SMTPUTF8 (RFC 6531).
    pub utf8_header: bool,
}

/// Whether a report of `kind` returns all of a message of `size` octets, or its header block only
/// (RFC 3461 §4.3: the whole message only when delivery failed).
#[must_use]
pub fn returns_whole(kind: Kind, ret: Return, size: u64) -> bool {
    kind == Kind::Failed && ret != Return::Headers && size <= MAX_WHOLE
}

impl Report<'_> {
    /// The report as a message.
    #[must_use]
    pub fn render(&self) -> Rendered {
        let people = people::render(self);
        let programs = programs::render(self);
        let (returned_type, returned) = self.returned();
        let boundary = boundary(self.queue_id, returned);
        let eight_bit = !people.is_ascii() || !returned.is_ascii();

        let mut head = self.head();
        head.push_str("Content-Type: multipart/report; report-type=delivery-status;\r\n");
        head.push_str(&format!("\tboundary=\"{boundary}\"\r\n"));
        head.push_str(encoding(eight_bit));
        let utf8_header = !head.is_ascii();
        head.push_str("\r\nThis is a report on mail delivery in MIME form (RFC 6522).\r\n");

        let charset = if people.is_ascii() {
            "us-ascii"
        } else {
            "utf-8"
        };
        let parts = [
            (
                format!("text/plain; charset={charset}"),
                "Notification",
                people.as_bytes(),
            ),
            (
                "message/delivery-status".to_owned(),
                "Delivery report",
                programs.as_bytes(),
            ),
            (returned_type.to_owned(), "Original message", returned),
        ];
        let mut message = head.into_bytes();
        for (content_type, description, content) in parts {
            let encoding = encoding(!content.is_ascii());
            let part = format!(
                "\r\n--{boundary}\r\nContent-Description: {description}\r\n\
                 Content-Type: {content_type}\r\n{encoding}\r\n"
            );
            message.extend_from_slice(part.as_bytes());
            message.extend_from_slice(content);
            if !content.ends_with(b"\r\n") {
                message.extend_from_slice(b"\r\n");
            }
        }
        message.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        Rendered {
            eight_bit: eight_bit || utf8_header,
            utf8_header,
            message,
        }
    }

    /// The fields of the report itself, but those of MIME structure.
    fn head(&self) -> String {
        let host = text::name(self.reporting_mta, false);
        let mut head = String::with_capacity(1024);
        let mut field = |name: &str, words: &[&str]| text::field(&mut head, name, words);
        field(
            "From: ",
            &["Mail Delivery System", &format!("<MAILER-DAEMON@{host}>")],
        );
        field("To: ", &[&format!("<{}>", text::address(self.to))]);
        field(
            "Subject: ",
            &self.subject().split_whitespace().collect::<Vec<_>>(),
        );
        field("Date: ", &[&date::render(self.unix_s)]);
        field(
            "Message-ID: ",
            &[&text::ascii(self.message_id, text::MAX_ADDRESS)],
        );
        if let Some(id) = self.message_id_of_original() {
            field("In-Reply-To: ", &[&id]);
            field("References: ", &[&id]);
        }
        field("Auto-Submitted: ", &["auto-replied"]);
        field("MIME-Version: ", &["1.0"]);
        head
    }

    /// What became of the message; with the address when there is one only.
    fn subject(&self) -> String {
        let what = match self.kind {
            Kind::Failed => "Your message could not be delivered",
            Kind::Delayed => "Your message is delayed",
            Kind::Delivered => "Your message was delivered",
            Kind::Relayed => "Your message was handed on",
            Kind::Expanded => "Your message was handed on to several addresses",
        };
        match self.recipients {
            [one] if one.address.is_ascii() => format!("{what}: {}", text::address(one.address)),
            _ => what.to_owned(),
        }
    }

    /// The Message-ID of the message the report is about, where it is fit for a field of ours.
    fn message_id_of_original(&self) -> Option<String> {
        let (Original::Headers(octets) | Original::Whole(octets)) = self.original;
        let mut scan = Scan::new();
        scan.push(octets);
        let id = scan.finish().message_id?;
        let inner = id.strip_prefix('<')?.strip_suffix('>')?;
        let fit = !inner.is_empty()
            && inner
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"<>()\"\\,;".contains(&b));
        fit.then_some(id)
    }

    /// The media type of what is returned, and its octets. A header block in UTF-8 has types of its
    /// own (RFC 6533 §4).
    fn returned(&self) -> (&'static str, &[u8]) {
        let (Original::Headers(octets) | Original::Whole(octets)) = self.original;
        let mut scan = Scan::new();
        scan.push(octets);
        let utf8 = scan.finish().utf8_header;
        match self.original {
            Original::Whole(message) if utf8 => ("message/global", message),
            Original::Whole(message) => ("message/rfc822", message),
            Original::Headers(block) => {
                let block = match block.strip_suffix(b"\r\n\r\n") {
                    Some(_) => block.get(..block.len() - 2).unwrap_or(block),
                    None => block,
                };
                match utf8 {
                    true => ("message/global-headers", block),
                    false => ("text/rfc822-headers", block),
                }
            }
        }
    }
}

/// The field that says how a part is encoded (RFC 2045 §6).
fn encoding(eight_bit: bool) -> &'static str {
    if eight_bit {
        "Content-Transfer-Encoding: 8bit\r\n"
    } else {
        "Content-Transfer-Encoding: 7bit\r\n"
    }
}

/// A boundary that no line of `content` starts with (RFC 2046 §5.1.1). `=_` is in none of the
/// usual encodings, so the first try nearly always serves; a message has finitely many lines, so
/// some try does.
fn boundary(queue_id: &str, content: &[u8]) -> String {
    let id: String = queue_id
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(40)
        .collect();
    let lines = content.split(|&b| matches!(b, b'\r' | b'\n'));
    let mut n = 0_u64;
    loop {
        let boundary = format!("=_{id}_{n}");
        let mut delimiters = lines.clone().filter_map(|line| line.strip_prefix(b"--"));
        if !delimiters.any(|line| line.starts_with(boundary.as_bytes())) {
            return boundary;
        }
        n += 1;
    }
}
