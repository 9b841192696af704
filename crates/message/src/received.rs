//! The `Received:` field that we put above every message we take in (RFC 5321 §4.4).
//!
//! ```text
//! Received: from client.example (host.example [192.0.2.7])
//!     (using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384) by mx.example.org
//!     with ESMTPS id 01hf… for <bob@example.org>; Tue, 24 Nov 2026 10:29:04 +0000
//! ```
//!
//! This module does **not** read `Received:` fields of others; [`crate::header::Scan`] counts them.

use std::net::IpAddr;

use crate::date;
use crate::text::{self, Fold};

/// The base of the `with` clause (RFC 3848, RFC 6531 §4.3); `S`, `A` and `UTF8` are added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The peer said HELO.
    Smtp,
    /// The peer said EHLO.
    Esmtp,
    /// The peer said LHLO.
    Lmtp,
}

/// What TLS protected the session in which the message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tls<'a> {
    /// Version, as `TLSv1.3`.
    pub version: &'a str,
    /// Cipher suite, as `TLS_AES_256_GCM_SHA384`.
    pub cipher: &'a str,
}

/// What a `Received:` field says. Every text may come from a peer: it is cleaned when rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// The peer's name by its own word (HELO, EHLO or LHLO); empty when it said none.
    pub hello: &'a str,
    /// The peer's address; `None` for a Unix socket or a message made here.
    pub peer: Option<IpAddr>,
    /// The confirmed name of that address; `None` renders as `unknown`.
    pub reverse_name: Option<&'a str>,
    /// Our own name.
    pub by: &'a str,
    /// What was spoken.
    pub protocol: Protocol,
    /// The TLS layer, if any.
    pub tls: Option<Tls<'a>>,
    /// Whether the peer authenticated (RFC 4954).
    pub authenticated: bool,
    /// Whether the transaction used SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// The queue id, or the transaction id.
    pub id: &'a str,
    /// The forward-path without angle brackets, when there is exactly one recipient: with several,
    /// naming them would tell one recipient of another (RFC 5321 §7.2).
    pub recipient: Option<&'a str>,
    /// When, in seconds since 1970-01-01T00:00:00Z.
    pub unix_s: u64,
}

impl Received<'_> {
    /// The field with its CRLF, folded at 78 columns where its words allow. Two clauses that belong
    /// together stay on one line.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(256);
        let mut fold = Fold::new(&mut out, "Received: ", "\t");
        if let Some(peer) = self.peer {
            let rdns = self
                .reverse_name
                .map_or("unknown".to_owned(), |n| text::name(n, false));
            fold.word(&format!("from {}", text::name(self.hello, self.utf8)));
            fold.word(&format!("({rdns} {})", literal(peer)));
        } else if !self.hello.is_empty() {
            fold.word(&format!("from {}", text::name(self.hello, self.utf8)));
        }
        if let Some(tls) = self.tls {
            let (version, cipher) = (text::atom(tls.version), text::atom(tls.cipher));
            fold.word(&format!("(using {version} with cipher {cipher})"));
        }
        fold.word(&format!("by {}", text::name(self.by, false)));
        let (with, id) = (self.with(), text::atom(self.id));
        if let Some(recipient) = self.recipient {
            fold.word(&format!("with {with} id {id}"));
            fold.word(&format!("for <{}>;", text::address(recipient)));
        } else {
            fold.word(&format!("with {with} id {id};"));
        }
        fold.word(&date::render(self.unix_s));
        fold.end();
        out
    }

    /// The `with` protocol type (RFC 3848 §2; RFC 6531 §4.3). After HELO there are no extensions,
    /// so `SMTP` stands alone.
    fn with(&self) -> &'static str {
        let kind = (
            self.protocol,
            self.utf8,
            self.tls.is_some(),
            self.authenticated,
        );
        match kind {
            (Protocol::Smtp, ..) => "SMTP",
            (Protocol::Esmtp, false, false, false) => "ESMTP",
            (Protocol::Esmtp, false, false, true) => "ESMTPA",
            (Protocol::Esmtp, false, true, false) => "ESMTPS",
            (Protocol::Esmtp, false, true, true) => "ESMTPSA",
            (Protocol::Esmtp, true, false, false) => "UTF8SMTP",
            (Protocol::Esmtp, true, false, true) => "UTF8SMTPA",
            (Protocol::Esmtp, true, true, false) => "UTF8SMTPS",
            (Protocol::Esmtp, true, true, true) => "UTF8SMTPSA",
            (Protocol::Lmtp, false, false, false) => "LMTP",
            (Protocol::Lmtp, false, false, true) => "LMTPA",
            (Protocol::Lmtp, false, true, false) => "LMTPS",
            (Protocol::Lmtp, false, true, true) => "LMTPSA",
            (Protocol::Lmtp, true, false, false) => "UTF8LMTP",
            (Protocol::Lmtp, true, false, true) => "UTF8LMTPA",
            (Protocol::Lmtp, true, true, false) => "UTF8LMTPS",
            (Protocol::Lmtp, true, true, true) => "UTF8LMTPSA",
        }
    }
}

/// An address literal (RFC 5321 §4.1.3). A v4-mapped address is the IPv4 address that it means.
fn literal(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn plain() -> Received<'static> {
        Received {
            hello: "client.example",
            peer: Some(Ipv4Addr::new(192, 0, 2, 7).into()),
            reverse_name: Some("host.example"),
            by: "mx.example.org",
            protocol: Protocol::Esmtp,
            tls: None,
            authenticated: false,
            utf8: false,
            id: "01hf",
            recipient: Some("bob@example.org"),
            unix_s: 1_795_516_144,
        }
    }

    #[test]
    fn a_field_says_who_by_what_and_when() {
        assert_eq!(
            plain().render(),
            "Received: from client.example (host.example [192.0.2.7]) by mx.example.org\r\n\
             \twith ESMTP id 01hf for <bob@example.org>; Tue, 24 Nov 2026 10:29:04 +0000\r\n"
        );
    }

    #[test]
    fn tls_authentication_and_dialect_choose_the_with_type() {
        let tls = Some(Tls {
            version: "TLSv1.3",
            cipher: "TLS_AES_256_GCM_SHA384",
        });
        let with = |protocol, tls, authenticated, utf8| {
            Received {
                protocol,
                tls,
                authenticated,
                utf8,
                ..plain()
            }
            .with()
        };
        assert_eq!(with(Protocol::Smtp, None, false, false), "SMTP");
        assert_eq!(with(Protocol::Esmtp, tls, false, false), "ESMTPS");
        assert_eq!(with(Protocol::Esmtp, None, true, false), "ESMTPA");
        assert_eq!(with(Protocol::Esmtp, tls, true, true), "UTF8SMTPSA");
        assert_eq!(with(Protocol::Lmtp, tls, true, false), "LMTPSA");
        let field = Received { tls, ..plain() }.render();
        assert!(
            field.contains("\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)"),
            "{field}"
        );
    }

    #[test]
    fn several_recipients_are_not_named_and_a_missing_name_is_unknown() {
        let peer = Some("::ffff:192.0.2.7".parse().unwrap());
        let field = Received {
            recipient: None,
            reverse_name: None,
            peer,
            ..plain()
        }
        .render();
        assert!(field.contains("(unknown [192.0.2.7])"), "{field}");
        assert!(!field.contains(" for "), "{field}");
        let peer = Some("2001:db8::1".parse().unwrap());
        let field = Received { peer, ..plain() }.render();
        assert!(field.contains("[IPv6:2001:db8::1]"), "{field}");
    }

    #[test]
    fn a_message_made_here_has_no_from_clause() {
        let field = Received {
            hello: "",
            peer: None,
            ..plain()
        }
        .render();
        assert!(
            field.starts_with("Received: by mx.example.org with ESMTP id 01hf"),
            "{field}"
        );
    }

    proptest! {
        #[test]
        fn no_peer_can_break_out_of_the_field(
            hello in ".{0,300}", rdns in "\\PC{0,80}", recipient in ".{0,400}", id in ".{0,40}",
        ) {
            let field = Received {
                hello: &hello,
                reverse_name: Some(&rdns),
                recipient: Some(&recipient),
                id: &id,
                ..plain()
            }
            .render();
            let body = field.strip_suffix("\r\n").unwrap().replace("\r\n\t", " ");
            prop_assert!(!body.chars().any(char::is_control), "{field:?}");
            let outside = without_quoted(&body);
            for (c, most) in [('(', 1), (')', 1), ('<', 1), ('>', 1), (';', 1)] {
                prop_assert_eq!(outside.matches(c).count(), most, "{} in {}", c, &field);
            }
            prop_assert!(field.lines().all(|l| l.len() <= 998));
        }
    }

    /// The text without its quoted strings.
    fn without_quoted(text: &str) -> String {
        let (mut quoted, mut escaped) = (false, false);
        let keep = |c: &char| match c {
            _ if escaped => {
                escaped = false;
                false
            }
            '\\' if quoted => {
                escaped = true;
                false
            }
            '"' => {
                quoted = !quoted;
                false
            }
            _ => !quoted,
        };
        text.chars().filter(keep).collect()
    }
}
