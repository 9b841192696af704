//! The Received-SPF field (RFC 7208 §9.1), for programs that read nothing else.
//!
//! Authentication-Results says the same and more. This module does **not** read such fields.

use crate::authentication_results::{clean, comment};
use crate::lines::Lines;

use super::{Checked, Client, Identity};

impl Checked {
    /// The field, folded, with its CRLF: this verdict on `reverse_path`, which is given without
    /// angle brackets and empty when it is null.
    #[must_use]
    pub fn received_spf(&self, client: &Client<'_>, reverse_path: &str) -> String {
        let mut lines = Lines::new("Received-SPF:");
        lines.word(self.verdict.word());
        let why = comment(&format!("{}: {}", client.receiver, self.reason), false);
        let why = format!("({why})");
        why.split_whitespace().for_each(|word| lines.word(word));
        let identity = match self.identity {
            Identity::Helo => "helo",
            Identity::MailFrom => "mailfrom",
        };
        let ip = client.ip.to_canonical().to_string();
        for (key, value, end) in [
            ("receiver", client.receiver, ";"),
            ("identity", identity, ";"),
            ("client-ip", ip.as_str(), ";"),
            ("helo", client.helo, ";"),
            ("envelope-from", reverse_path, ""),
        ] {
            lines.word(&format!("{key}={}{end}", value_of(value)));
        }
        lines.end()
    }
}

/// A value of the list: a dot-atom as it is, anything else in quotes.
fn value_of(text: &str) -> String {
    let text = clean(text, false);
    let atom = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !part.is_empty() && part.chars().all(plain)
    };
    if text.split('.').all(atom) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use crate::Verdict;
    use crate::spf::{Checked, Client, Identity};

    fn field(ip: &str, helo: &str, path: &str, reason: &str) -> String {
        let checked = Checked {
            identity: Identity::MailFrom,
            domain: "example.net".to_owned(),
            verdict: Verdict::Pass,
            reason: reason.to_owned(),
            explanation: None,
            trace: Vec::new(),
        };
        let client = Client {
            ip: ip.parse().unwrap(),
            helo,
            receiver: "mx.example.org",
            now_s: 0,
        };
        checked.received_spf(&client, path)
    }

    #[test]
    fn the_field_says_what_was_checked_and_is_folded() {
        assert_eq!(
            field(
                "::ffff:192.0.2.1",
                "mx.example.net",
                "a@example.net",
                "ip4 matched"
            ),
            "Received-SPF: pass (mx.example.org: ip4 matched) receiver=mx.example.org;\r\n\
             \tidentity=mailfrom; client-ip=192.0.2.1; helo=mx.example.net;\r\n\
             \tenvelope-from=\"a@example.net\"\r\n"
        );
    }

    #[test]
    fn what_a_peer_says_stays_in_its_place() {
        let said = field("2001:db8::1", "x\"; y=\\", "\"a\r\nb\"@c", "a) b\r\n( c");
        let plain = said.replace("\r\n\t", " ");
        assert_eq!(
            plain,
            "Received-SPF: pass (mx.example.org: a? b??? c) receiver=mx.example.org; \
             identity=mailfrom; client-ip=\"2001:db8::1\"; helo=\"x\\\"; y=\\\\\"; \
             envelope-from=\"\\\"a??b\\\"@c\"\r\n"
        );
        assert!(field("192.0.2.1", "", "", "x").ends_with("helo=\"\"; envelope-from=\"\"\r\n"));
    }
}
