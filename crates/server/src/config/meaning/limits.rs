//! `[limits]`: what one message, one connection and one address may cost.

use std::time::Duration;

use super::Meaning;
use crate::config::file::{self, File};
use crate::config::value::{Count, Setting};
use crate::config::{EarlyTalkers, Limits, Networks};

/// Fewest recipients that a server must take in a transaction (RFC 5321 §4.5.3.1.8).
const RECIPIENTS_MIN: u64 = 100;
/// Most recipients of a transaction.
const RECIPIENTS_MAX: u64 = 50_000;
/// Smallest limit of a message's size (RFC 5321 §4.5.3.1.7).
const MESSAGE_SIZE_MIN: u64 = 64 * 1024;
/// Largest limit of a message's size.
const MESSAGE_SIZE_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Most connections of ours to one destination: all that there are.
const PER_DESTINATION_MAX: u64 = 500;
/// Most connections at once: fewer than the addresses that are remembered.
const CONNECTIONS_MAX: u64 = 50_000;
/// Longest time that mail can be held for its sender.
const FUTURE_RELEASE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// The most urgent priority (RFC 6710 §3).
const PRIORITY_MAX: i8 = 9;
/// Most of whatever else is counted.
const COUNT_MAX: u64 = 1_000_000_000;
/// The shortest of the times.
const TIME_MIN: Duration = Duration::from_secs(1);
/// What a server should wait at least for the next command (RFC 5321 §4.5.3.2.7).
const PATIENCE: Duration = Duration::from_secs(5 * 60);

impl Meaning<'_> {
    pub(super) fn limits(&mut self, file: &File) -> Option<Limits> {
        let written = &file.limits.as_ref()?.value;
        let size = written.message_size.as_ref()?;
        if !(MESSAGE_SIZE_MIN..=MESSAGE_SIZE_MAX).contains(&size.value.0) {
            self.reader.error(
                &size.span,
                format!("a message size of {} octets is out of range", size.value.0),
                "write a size from \"64KiB\" (RFC 5321 §4.5.3.1.7) to \"2GiB\"",
            );
        }
        let recipients = written.recipients.as_ref()?;
        if !(RECIPIENTS_MIN..=RECIPIENTS_MAX).contains(&recipients.value.0) {
            self.reader.error(
                &recipients.span,
                format!("{} recipients are out of range", recipients.value.0),
                "write a number from 100 (RFC 5321 §4.5.3.1.8) to 50000",
            );
        }
        let connections = self.count(written.connections.as_ref(), CONNECTIONS_MAX);
        let each = written.connections_per_destination.as_ref();
        let each = self.count(each, PER_DESTINATION_MAX);
        let limits = Limits {
            message_size: size.value.0,
            recipients: usize::try_from(recipients.value.0).ok()?,
            connections: usize::try_from(connections?).ok()?,
            connections_per_destination: usize::try_from(each?).ok()?,
            transfer_rate: self
                .count(written.transfer_rate.as_ref(), COUNT_MAX)?
                .into(),
            transaction_time: self.time(written.transaction_time.as_ref(), "\"3h\"")?,
            hello_time: self.time(written.hello_time.as_ref(), "\"5m\"")?,
            early_talkers: self.early_talkers(written)?,
            future_release: self.future_release(written)?,
            priority: self.priority(written)?,
            exempt: self.exempt(written),
            ..self.counts(written)?
        };
        Some(limits)
    }

    /// Those limits that are plain counts.
    fn counts(&mut self, written: &file::Limits) -> Option<Limits> {
        let mut count = |setting: &Option<Setting<Count>>| self.count(setting.as_ref(), COUNT_MAX);
        Some(Limits {
            connections_per_address: count(&written.connections_per_address)?,
            connections_per_minute: count(&written.connections_per_minute)?,
            messages_per_hour: count(&written.messages_per_hour)?,
            recipients_per_hour: count(&written.recipients_per_hour)?,
            account_recipients_per_hour: count(&written.account_recipients_per_hour)?,
            account_recipients_per_day: count(&written.account_recipients_per_day)?,
            commands: count(&written.commands)?,
            errors: count(&written.errors)?,
            refused_recipients: count(&written.refused_recipients)?,
            ..Limits::default()
        })
    }

    fn count(&mut self, written: Option<&Setting<Count>>, most: u64) -> Option<u32> {
        let Setting { value, span } = written?;
        if value.0 > most {
            self.reader.error(
                span,
                format!("{} is too many to be a limit", value.0),
                format!("write a number from 1 to {most}"),
            );
        }
        u32::try_from(value.0.min(most)).ok()
    }

    fn time(&mut self, written: Option<&Setting<Duration>>, usual: &str) -> Option<Duration> {
        let Setting { value, span } = written?;
        if *value < TIME_MIN {
            let fix = format!("write a duration of at least \"1s\"; {usual} is usual");
            self.reader.error(span, "this time is too short", fix);
        } else if *value < PATIENCE {
            self.reader.warn(
                span,
                "honest peers on slow or busy hosts need longer (RFC 5321 §4.5.3.2.7)",
                format!("write a duration of at least \"5m\"; {usual} is usual"),
            );
        }
        Some(*value)
    }

    fn future_release(&mut self, written: &file::Limits) -> Option<Duration> {
        let Setting { value, span } = written.future_release.as_ref()?;
        if *value > FUTURE_RELEASE_MAX {
            let cause = "nobody needs mail to be held for so long";
            let fix = "write a duration up to \"366d\", or \"0s\" not to offer it";
            self.reader.error(span, cause, fix);
        }
        Some(*value)
    }

    fn priority(&mut self, written: &file::Limits) -> Option<i8> {
        let Setting { value, span } = written.priority.as_ref()?;
        let priority = i8::try_from(value.0).ok().filter(|p| *p <= PRIORITY_MAX);
        if priority.is_none() {
            let cause = format!("{} is no priority", value.0);
            self.reader.error(span, cause, "write a number from 1 to 9");
        }
        priority
    }

    fn early_talkers(&mut self, written: &file::Limits) -> Option<EarlyTalkers> {
        let Setting { value, span } = written.early_talkers.as_ref()?;
        match value.as_str() {
            "refuse" => Some(EarlyTalkers::Refuse),
            "allow" => Some(EarlyTalkers::Allow),
            other => {
                self.reader.error(
                    span,
                    format!("`{other}` is nothing to do about early talkers"),
                    "write `early_talkers = \"refuse\"` or `early_talkers = \"allow\"`",
                );
                None
            }
        }
    }

    fn exempt(&mut self, written: &file::Limits) -> Networks {
        let networks = written.exempt.as_ref().map(|e| e.value.list.as_slice());
        let networks = networks.unwrap_or_default();
        for network in networks.iter().filter(|n| n.value.is_vast()) {
            self.reader.warn(
                &network.span,
                format!("no host in `{}` meets a limit", network.value),
                "name only hosts that you know, or make the limits larger",
            );
        }
        networks.iter().map(|n| n.value).collect()
    }
}
