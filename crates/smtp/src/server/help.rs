//! HELP (RFC 5321 §4.1.1.8): which commands there are now, and how each is written.

use super::Session;
use super::commands::Verdict;
use crate::Dialect;
use crate::reply::Reply;

/// Commands in the order a dialogue has them, and what HELP says of each.
const TOPICS: [(&str, &str); 16] = [
    (
        "EHLO",
        "EHLO domain: says who you are, and asks what is offered",
    ),
    ("HELO", "HELO domain: says who you are; use EHLO"),
    (
        "LHLO",
        "LHLO domain: says who you are, and asks what is offered",
    ),
    ("STARTTLS", "STARTTLS: starts TLS; then say EHLO again"),
    (
        "AUTH",
        "AUTH mechanism [initial-response]: see EHLO for mechanisms",
    ),
    (
        "XCLIENT",
        "XCLIENT attribute=value ...: says for whom you speak",
    ),
    ("MAIL", "MAIL FROM:<address> [parameters]: begins a message"),
    ("RCPT", "RCPT TO:<address> [parameters]: adds a recipient"),
    (
        "DATA",
        "DATA: then the message, ended by a line with only a dot",
    ),
    (
        "BDAT",
        "BDAT size [LAST]: then so many octets of the message",
    ),
    ("RSET", "RSET: forgets the message that was begun"),
    ("NOOP", "NOOP: does nothing"),
    (
        "VRFY",
        "VRFY address: who is here is only told to those who send",
    ),
    ("EXPN", "EXPN list: not implemented"),
    ("HELP", "HELP [command]: this"),
    ("QUIT", "QUIT: ends the dialogue"),
];

impl Session {
    pub(super) fn judge_help(&self, argument: &str) -> Result<Verdict, Reply> {
        if argument.is_empty() {
            return Ok(Verdict::Say(self.help()));
        }
        let topic = TOPICS
            .into_iter()
            .find(|(name, _)| argument.eq_ignore_ascii_case(name) && self.has(name));
        match topic {
            Some((_, text)) => Ok(Verdict::Say(Reply::new(214, (2, 0, 0), text))),
            None => Err(Reply::new(504, (5, 5, 4), "No help for that")),
        }
    }

    fn help(&self) -> Reply {
        let mut text = String::from("Commands:");
        for (name, _) in TOPICS {
            if name != "EXPN" && self.has(name) {
                text.push(' ');
                text.push_str(name);
            }
        }
        text.push_str("\nHELP command says more; RFC 5321 says all");
        text.push_str("\nTo reach a person here write to <postmaster>");
        Reply::new(214, (2, 0, 0), text)
    }

    /// Whether there is such a command in this session.
    fn has(&self, name: &str) -> bool {
        let offered = &self.settings.extensions;
        let lmtp = self.settings.dialect == Dialect::Lmtp;
        match name {
            "EHLO" | "HELO" => !lmtp,
            "LHLO" => lmtp,
            "STARTTLS" => offered.starttls && !self.is_tls,
            "AUTH" => self.auth_offered(),
            "XCLIENT" => offered.xclient,
            "BDAT" => offered.chunking,
            _ => true,
        }
    }
}
