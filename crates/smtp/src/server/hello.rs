//! The answer to an accepted hello (RFC 5321 §4.1.1.1): our name, and what may be asked for now.

use super::Session;
use crate::reply::push_display;

impl Session {
    /// Writes the answer. Each line is 250 of its own kind, so no reply is built for it.
    pub(super) fn say_hello(&mut self, extended: bool) {
        let auth = self.auth_offered();
        let starttls = self.settings.extensions.starttls && !self.is_tls;
        let Session {
            settings,
            output,
            mechanisms,
            ..
        } = self;
        let offered = &settings.extensions;
        let out = output.append();
        if !extended {
            push_display(out, format_args!("250 {}\r\n", settings.hostname));
            return;
        }
        push_display(out, format_args!("250-{}\r\n", settings.hostname));
        if offered.pipelining {
            out.extend_from_slice(b"250-PIPELINING\r\n");
        }
        match settings.message_size {
            0 => out.extend_from_slice(b"250-SIZE\r\n"),
            limit => push_display(out, format_args!("250-SIZE {limit}\r\n")),
        }
        if starttls {
            out.extend_from_slice(b"250-STARTTLS\r\n");
        }
        if auth {
            out.extend_from_slice(b"250-AUTH");
            for mechanism in mechanisms.iter() {
                push_display(out, format_args!(" {mechanism}"));
            }
            out.extend_from_slice(b"\r\n");
        }
        if offered.smtp_utf8 {
            out.extend_from_slice(b"250-SMTPUTF8\r\n");
        }
        if offered.dsn {
            out.extend_from_slice(b"250-DSN\r\n");
        }
        if offered.chunking {
            out.extend_from_slice(b"250-CHUNKING\r\n");
        }
        out.extend_from_slice(b"250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n");
    }
}
