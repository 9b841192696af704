//! The answer to an accepted hello (RFC 5321 §4.1.1.1): our name, and what may be asked for now.

use super::{Session, Settings};
use crate::command::Xclient;
use crate::extension::Limits;
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
            if offered.binary_mime {
                out.extend_from_slice(b"250-BINARYMIME\r\n");
            }
        }
        if offered.xclient {
            push_display(out, format_args!("250-XCLIENT {}\r\n", Xclient::NAMES));
        }
        self.say_limits();
        self.say_wishes();
        let out = self.output.append();
        out.extend_from_slice(b"250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n");
    }

    fn say_limits(&mut self) {
        let Settings {
            transactions,
            recipients,
            extensions,
            ..
        } = &*self.settings;
        let named = |limit: u32| (1..=999_999).contains(&limit).then_some(limit);
        let limits = Limits {
            mail_max: named(*transactions),
            rcpt_max: u32::try_from(*recipients).ok().and_then(named),
            rcpt_domain_max: None,
        };
        if extensions.limits && !limits.is_empty() {
            push_display(
                self.output.append(),
                format_args!("250-LIMITS {limits}\r\n"),
            );
        }
    }

    /// What MAIL may ask for.
    fn say_wishes(&mut self) {
        let trusted = self.offers_to_authenticated();
        let offered = self.settings.extensions;
        let out = self.output.append();
        if offered.require_tls && self.is_tls {
            out.extend_from_slice(b"250-REQUIRETLS\r\n");
        }
        if !trusted {
            return;
        }
        if let Some(most) = self.future_release {
            push_display(out, format_args!("250-FUTURERELEASE {most}\r\n"));
        }
        match offered.deliver_by {
            None => {}
            Some(0) => out.extend_from_slice(b"250-DELIVERBY\r\n"),
            Some(least) => push_display(out, format_args!("250-DELIVERBY {least}\r\n")),
        }
        if offered.priority {
            out.extend_from_slice(b"250-MT-PRIORITY\r\n");
        }
    }
}
