//! The `message/delivery-status` part (RFC 3464 §2): fields about the message, then a group of
//! fields for each recipient. It is ASCII whatever the addresses are (RFC 6533 §3).

use std::fmt::Write as _;

use super::{Kind, MAX_REASON, Reason, Recipient, Report};
use crate::text::{self, Fold};
use crate::{date, xtext};

/// Renders the part.
pub(super) fn render(report: &Report<'_>) -> String {
    let mut out = String::with_capacity(256 + 512 * report.recipients.len());
    if let Some(id) = report.envelope_id {
        let decoded = xtext::decode(id);
        let id = decoded
            .as_deref()
            .map_or(id.into(), String::from_utf8_lossy);
        field(
            &mut out,
            "Original-Envelope-Id: ",
            &text::ascii(&id, text::MAX_ADDRESS),
        );
    }
    let host = text::name(report.reporting_mta, false);
    field(&mut out, "Reporting-MTA: ", &format!("dns; {host}"));
    field(
        &mut out,
        "X-Posthaste-Queue-Id: ",
        &text::atom(report.queue_id),
    );
    field(&mut out, "Arrival-Date: ", &date::render(report.arrival_s));
    for recipient in report.recipients {
        out.push_str("\r\n");
        group(&mut out, report.kind, recipient);
    }
    out
}

/// The fields about one recipient, in the order of RFC 3464 §2.3.
fn group(out: &mut String, kind: Kind, recipient: &Recipient<'_>) {
    if let Some(original) = recipient.original.and_then(original_recipient) {
        field(out, "Original-Recipient: ", &original);
    }
    field(out, "Final-Recipient: ", &typed(recipient.address));
    let action = match kind {
        Kind::Failed => "failed",
        Kind::Delayed => "delayed",
        Kind::Delivered => "delivered",
        Kind::Relayed => "relayed",
        Kind::Expanded => "expanded",
    };
    field(out, "Action: ", action);
    field(out, "Status: ", &recipient.status.to_string());
    match recipient.reason {
        Some(Reason::Remote { host, reply }) => {
            let host = text::ascii(host, text::MAX_ADDRESS);
            field(out, "Remote-MTA: ", &format!("dns; {host}"));
            field(out, "Diagnostic-Code: ", &format!("smtp; {}", lines(reply)));
        }
        Some(Reason::Local(why)) => {
            field(
                out,
                "Diagnostic-Code: ",
                &format!("x-posthaste; {}", lines(why)),
            );
        }
        None => {}
    }
    if let Some(unix_s) = recipient.last_attempt_s {
        field(out, "Last-Attempt-Date: ", &date::render(unix_s));
    }
    // Only a delayed recipient has it (RFC 3464 §2.3.9).
    if let Some(unix_s) = recipient.retry_until_s.filter(|_| kind == Kind::Delayed) {
        field(out, "Will-Retry-Until: ", &date::render(unix_s));
    }
}

fn field(out: &mut String, name: &str, value: &str) {
    let mut fold = Fold::new(out, name, " ");
    fold.words(value);
    fold.end();
}

/// The lines of a reply, one after the other, as RFC 3461 §9.2 joins them.
fn lines(reply: &str) -> String {
    let cut: String = reply.chars().take(MAX_REASON).collect();
    let lines: Vec<String> = cut
        .lines()
        .map(|line| text::ascii(line, MAX_REASON))
        .collect();
    lines.join(" ")
}

/// An address with its type (RFC 3464 §2.3.2; RFC 6533 §3 for what is not ASCII).
fn typed(address: &str) -> String {
    let address = text::address(address);
    if address.is_ascii() {
        format!("rfc822; {address}")
    } else {
        format!("utf-8; {}", utf8_xtext(&address))
    }
}

/// ORCPT with its xtext undone (RFC 3464 §2.3.1); `None` when it has no type.
fn original_recipient(orcpt: &str) -> Option<String> {
    let (kind, address) = orcpt.split_once(';')?;
    if kind.eq_ignore_ascii_case("utf-8") {
        return Some(format!("utf-8; {}", utf8_xtext(&text::address(address))));
    }
    let decoded = xtext::decode(address);
    let address = decoded
        .as_deref()
        .map_or(address.into(), String::from_utf8_lossy);
    let address = text::ascii(&address, text::MAX_ADDRESS);
    (!address.is_empty()).then(|| format!("{}; {address}", text::atom(kind)))
}

/// An address in the ASCII form of RFC 6533 §3 (`utf-8-addr-xtext`). What already has that form stays.
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
