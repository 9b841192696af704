//! The part for people: what happened, which host said what, and what to do next, in plain words.

use posthaste_smtp::reply::EnhancedCode;

use super::{Kind, MAX_REASON, Original, Reason, Recipient, Report};
use crate::date;
use crate::text::{self, Fold};

/// Renders the part.
pub(super) fn render(report: &Report<'_>) -> String {
    let mut out = String::with_capacity(1024 + 512 * report.recipients.len());
    let host = text::name(report.reporting_mta, false);
    paragraph(&mut out, "", &format!("This is the mail system of {host}."));
    out.push_str("\r\n");
    paragraph(
        &mut out,
        "",
        what_happened(report.kind, report.recipients.len() > 1),
    );
    for recipient in report.recipients {
        out.push_str("\r\n");
        about(&mut out, report.kind, recipient);
    }
    out.push_str("\r\n");
    let arrival = date::render(report.arrival_s);
    let id = text::atom(report.queue_id);
    let returned = match report.original {
        Original::Whole(_) => "your message",
        Original::Headers(_) => "the header of your message",
    };
    paragraph(
        &mut out,
        "",
        &format!(
            "Your message came to this system on {arrival}; ask its postmaster about it by the \
             queue id {id}. Attached are this report in a form for programs, and {returned}."
        ),
    );
    out
}

fn what_happened(kind: Kind, several: bool) -> &'static str {
    match (kind, several) {
        (Kind::Failed, false) => {
            "Your message could not be delivered to the address below. It will not be tried again."
        }
        (Kind::Failed, true) => {
            "Your message could not be delivered to the addresses below. It will not be tried \
             again."
        }
        (Kind::Delayed, false) => {
            "Your message has not been delivered yet to the address below. There is no need to \
             send it again: this system goes on trying, and tells you if it has to give up."
        }
        (Kind::Delayed, true) => {
            "Your message has not been delivered yet to the addresses below. There is no need to \
             send it again: this system goes on trying, and tells you if it has to give up."
        }
        (Kind::Delivered, _) => "Your message was delivered to:",
        (Kind::Relayed, _) => {
            "Your message was handed on to a mail system that does not confirm delivery. You will \
             hear of it again only if delivery fails. It was for:"
        }
        (Kind::Expanded, _) => {
            "Your message was handed on to all addresses that stand behind the one below. There \
             will be no confirmation from each of them."
        }
    }
}

/// Everything about one recipient, below its address.
fn about(out: &mut String, kind: Kind, recipient: &Recipient<'_>) {
    paragraph(out, "  ", &text::address(recipient.address));
    match recipient.reason {
        Some(Reason::Remote { host, reply }) => {
            let said = match reply.bytes().next() {
                Some(b'2') => "accepted it and said:",
                Some(b'4') => "could not take it and said:",
                Some(b'5') => "refused it and said:",
                _ => "said:",
            };
            let host = text::line(host, text::MAX_ADDRESS);
            paragraph(out, "    ", &format!("The mail system {host} {said}"));
            quote(out, reply);
        }
        Some(Reason::Local(why)) => quote(out, why),
        None => {}
    }
    if let (Kind::Delayed, Some(unix_s)) = (kind, recipient.retry_until_s) {
        let until = date::render(unix_s);
        paragraph(
            out,
            "    ",
            &format!("This system goes on trying until {until}."),
        );
    }
    if kind == Kind::Failed {
        let advice = advice(recipient.status);
        paragraph(out, "    ", &format!("What you can do: {advice}"));
    }
}

/// Repeats, line by line, what somebody else said.
fn quote(out: &mut String, said: &str) {
    let cut: String = said.chars().take(MAX_REASON).collect();
    for line in cut.lines() {
        let line = text::line(line, MAX_REASON);
        if !line.is_empty() {
            paragraph(out, "        ", &line);
        }
    }
}

/// Text in lines of at most 78 columns. What others chose is always indented, so that no line of it
/// can look like a boundary.
fn paragraph(out: &mut String, indent: &'static str, words: &str) {
    let mut fold = Fold::new(out, indent, indent);
    fold.words(words);
    fold.end();
}

/// What the sender can do about a failure, by subject and detail of its status (RFC 3463 §3).
fn advice(status: EnhancedCode) -> &'static str {
    match (status.subject, status.detail) {
        (1, 2 | 10) => {
            "check the part of the address after the @ for typing errors. That domain does not \
             exist, or takes no mail."
        }
        (1, 7 | 8) => {
            "ask your own mail provider. It is your own address that was not accepted as a sender."
        }
        (1, _) => {
            "check the address for typing errors. If it is right, ask the recipient in another \
             way for the address to use."
        }
        (2, 2) => {
            "send it again later, and tell the recipient in another way that the mailbox is full."
        }
        (2, 3) | (3, 4) => "send it again in smaller pieces: it is too large for the recipient.",
        (2, _) => "tell the recipient in another way: the mailbox does not take mail now.",
        (3, _) => "send it again later. The recipient's mail system has a fault of its own.",
        (4, 6) => "tell the recipient's postmaster: mail for this address goes round in a circle.",
        (4, _) => {
            "check the address, and send it again later. The recipient's mail system could not be \
             reached, or did not take the message in time."
        }
        (6, 3) => {
            "send it again with text and attachments encoded in base64 or quoted-printable. A \
             system on the way cannot take 8-bit data."
        }
        (6, _) => "send it again in a simpler form. Its format or content was not accepted.",
        (7, _) => {
            "tell the recipient in another way, and pass on what is quoted above to the \
             recipient's postmaster. Rules of that system refused the message."
        }
        _ => "pass this report on to your own postmaster.",
    }
}
