//! The `message/delivery-status` part (RFC 3464 §2): fields about the message, then a group of
//! fields for each recipient. It is ASCII whatever the addresses are (RFC 6533 §3).

use std::fmt::Write as _;

use super::{Kind, MAX_REASON, Reason, Recipient, Report};
use crate::text::{self, field};
use crate::{date, xtext};

/// Renders the part.
pub(super) fn render(report: &Report<'_>) -> String {
    let mut out = String::with_capacity(256 + 512 * report.recipients.len());
    if let Some(id) = report.envelope_id {
        let decoded = xtext::decode(id);
        let id = decoded
            .as_deref()
            .map_or(id.into(), String::from_utf8_lossy);
        let id = text::ascii(&id, text::MAX_ADDRESS);
        field(&mut out, "Original-Envelope-Id: ", &[&id]);
    }
    let host = text::name(report.reporting_mta, false);
    field(&mut out, "Reporting-MTA: ", &["dns;", &host]);
    let queue_id = text::atom(report.queue_id);
    field(&mut out, "X-Posthaste-Queue-Id: ", &[&queue_id]);
    date_field(&mut out, "Arrival-Date: ", report.arrival_s);
    for recipient in report.recipients {
        out.push_str("\r\n");
        group(&mut out, report.kind, recipient);
    }
    out
}

/// The fields about one recipient, in the order of RFC 3464 §2.3.
fn group(out: &mut String, kind: Kind, recipient: &Recipient<'_>) {
    if let Some((kind, address)) = recipient.original.and_then(original_recipient) {
        field(out, "Original-Recipient: ", &[&kind, &address]);
    }
    let (address_kind, address) = typed(recipient.address);
    field(out, "Final-Recipient: ", &[address_kind, &address]);
    let action = match kind {
        Kind::Failed => "failed",
        Kind::Delayed => "delayed",
        Kind::Delivered => "delivered",
        Kind::Relayed => "relayed",
        Kind::Expanded => "expanded",
    };
    field(out, "Action: ", &[action]);
    field(out, "Status: ", &[&recipient.status.to_string()]);
    match recipient.reason {
        Some(Reason::Remote { host, reply }) => {
            let host = text::ascii(host, text::MAX_ADDRESS);
            field(out, "Remote-MTA: ", &["dns;", &host]);
            diagnostic(out, "smtp;", reply);
        }
        Some(Reason::Local(why)) => diagnostic(out, "x-posthaste;", why),
        None => {}
    }
    if let Some(unix_s) = recipient.last_attempt_s {
        date_field(out, "Last-Attempt-Date: ", unix_s);
    }
    // Only a delayed recipient has it (RFC 3464 §2.3.9).
    if let Some(unix_s) = recipient.retry_until_s.filter(|_| kind == Kind::Delayed) {
        date_field(out, "Will-Retry-Until: ", unix_s);
    }
}

fn date_field(out: &mut String, name: &str, unix_s: u64) {
    field(out, name, &[&date::render(unix_s)]);
}

/// What was said, its lines one after the other, as RFC 3461 §9.2 joins them.
fn diagnostic(out: &mut String, kind: &str, said: &str) {
    let cut: String = said.chars().take(MAX_REASON).collect();
    let lines: Vec<String> = cut
        .lines()
        .map(|line| text::ascii(line, MAX_REASON))
        .collect();
    let words = lines.iter().flat_map(|line| line.split_whitespace());
    let words: Vec<&str> = std::iter::once(kind).chain(words).collect();
    field(out, "Diagnostic-Code: ", &words);
}

/// The type of an address, and the address (RFC 3464 §2.3.2; RFC 6533 §3 for what is not ASCII).
fn typed(address: &str) -> (&'static str, String) {
    let address = text::address(address);
    if address.is_ascii() {
        ("rfc822;", address)
    } else {
        ("utf-8;", utf8_xtext(&address))
    }
}

/// The type of ORCPT, and its address with the xtext undone (RFC 3464 §2.3.1); `None` when it has
/// no type or no address.
fn original_recipient(orcpt: &str) -> Option<(String, String)> {
    let (kind, address) = orcpt.split_once(';')?;
    let address = if kind.eq_ignore_ascii_case("utf-8") && !address.is_ascii() {
        utf8_xtext(&text::address(address))
    } else if kind.eq_ignore_ascii_case("utf-8") {
        // Its escapes are what the sender wrote.
        text::ascii(address, text::MAX_ADDRESS)
    } else {
        let decoded = xtext::decode(address);
        let address = decoded
            .as_deref()
            .map_or(address.into(), String::from_utf8_lossy);
        text::ascii(&address, text::MAX_ADDRESS)
    };
    (!address.is_empty()).then(|| (format!("{};", text::atom(kind)), address))
}

/// An address in the ASCII form of RFC 6533 §3 (`utf-8-addr-xtext`). What already has that form
/// stays.
fn utf8_xtext(address: &str) -> String {
    if address.is_ascii() {
        return address.to_owned();
    }
    let mut out = String::with_capacity(2 * address.len());
    for c in address.chars() {
        if c.is_ascii_graphic() && !matches!(c, '+' | '=' | '\\') {
            out.push(c);
        } else {
            let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
        }
    }
    out
}
