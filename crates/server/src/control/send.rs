//! A message from a local user, handed in over the control socket (`posthaste send`).
//!
//! What comes is a text as programs write it: lines end in LF or CRLF, and what a mail program
//! would have added may be missing. It leaves here as a message: CRLF lines, `Date:` and
//! `Message-ID:`, without `Bcc:` (RFC 6409 §8). Everything else stays as it is.
//!
//! Whoever can open the socket may send to everybody: it belongs to the server's user.

use std::io;

use posthaste_message::fields;
use posthaste_message::header::{Field, MAX_BLOCK, Scan};
use posthaste_message::{address_list, date, message_id, received};
use posthaste_queue::QueueId;
use posthaste_queue::envelope::{Envelope, Message};
use posthaste_queue::spool::Prelude;
use posthaste_smtp::address::{ForwardPath, Mailbox, ReversePath, Utf8};
use posthaste_smtp::server::Rcpt;
use posthaste_world::BoxStream;

use super::wire::{self, Answer};
use super::{Control, failed};
use crate::lookup::{Final, Resolution};
use crate::receive::content_facts;
use crate::receive::recipients::{Recipients, TooMany};
use crate::telemetry::{Event, clean};

/// Reads a message from `stream` and queues it.
///
/// # Errors
/// The client is gone.
pub async fn run(
    control: &Control,
    stream: &mut BoxStream,
    from: Option<String>,
    recipients: Vec<String>,
) -> io::Result<Answer> {
    let limit = control.gate.current().settings.message_size;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut octets = Vec::new();
    loop {
        let piece = wire::read_octets(stream).await?;
        if piece.is_empty() {
            break;
        }
        if octets.len() + piece.len() > limit {
            return Ok(failed(format!("the message is larger than {limit} octets")));
        }
        octets.extend_from_slice(&piece);
    }
    Ok(match queue(control, &octets, from, recipients).await {
        Ok(answer) => answer,
        Err(why) => failed(why),
    })
}

async fn queue(
    control: &Control,
    octets: &[u8],
    from: Option<String>,
    recipients: Vec<String>,
) -> Result<Answer, String> {
    let letter = Letter::read(octets)?;
    let from = from.or_else(|| letter.addresses(&["From"]).into_iter().next());
    let reverse_path = reverse_path(from.as_deref().unwrap_or_default())?;
    let to = if recipients.is_empty() {
        letter.addresses(&["To", "Cc", "Bcc"])
    } else {
        recipients
    };
    if to.is_empty() {
        return Err("no recipient: name one, or write a To field into the message".to_string());
    }
    let mut recipients = Recipients::default();
    for text in &to {
        resolve(control, text, &mut recipients)?;
    }
    let id = QueueId::new(control.world.clock.now(), &*control.world.random);
    let content = letter.message(control);
    let mut scan = Scan::new();
    scan.push(&content);
    let facts = scan.finish();
    let mut message = Message::ours(control.world.clock.now(), content_facts(&facts));
    let from = reverse_path.to_string();
    message.reverse_path = reverse_path;
    message.listener = "control".into();
    let mut draft = control.queue.draft();
    draft.write(&content).await.map_err(|e| e.to_string())?;
    let trace = trace(control, id);
    let envelope = Envelope {
        id,
        message,
        recipients: recipients.into_list(),
    };
    let signatures = control.signatures.of_our_own(&content).await;
    let prelude = Prelude::trace((trace + &signatures).into_bytes());
    let receipt = control
        .queue
        .commit(draft, envelope, prelude)
        .await
        .map_err(|e| e.to_string())?;
    let id = receipt.id().to_string();
    control.log.emit(&Event::Transaction {
        id: &id,
        session: 0,
        peer: "control",
        from: from.into(),
        to: &to,
        refused: &[],
        size: facts.size,
        message_id: clean(facts.message_id.as_deref().unwrap_or_default()),
        result: "accepted",
        reply: "queued".into(),
        account: None,
        sender: None,
        tls: None,
    });
    Ok(Answer::Queued(id))
}

fn trace(control: &Control, id: QueueId) -> String {
    let field = received::Received {
        hello: "",
        peer: None,
        reverse_name: None,
        by: &control.hostname,
        protocol: received::Protocol::Smtp,
        tls: None,
        authenticated: false,
        utf8: false,
        id: &id.to_string(),
        recipient: None,
        unix_s: control.world.clock.now().as_secs(),
    };
    field.render()
}

fn reverse_path(text: &str) -> Result<ReversePath, String> {
    if text.is_empty() || text == "<>" {
        return Ok(ReversePath::Null);
    }
    Mailbox::parse(text, Utf8::Refused)
        .map(ReversePath::Mailbox)
        .map_err(|e| format!("the sender {text:?} is no address: {e}"))
}

fn resolve(control: &Control, text: &str, recipients: &mut Recipients) -> Result<(), String> {
    let mailbox = Mailbox::parse(text, Utf8::Refused)
        .map_err(|e| format!("the recipient {text:?} is no address: {e}"))?;
    let stages = control.dispatch.stages();
    let path = ForwardPath::Mailbox(mailbox);
    let finals = match stages.delivery.route.directory().resolve(&path) {
        Resolution::Local(finals) => finals,
        Resolution::NotOurs(address) => vec![Final {
            address,
            alias: None,
            hold: false,
        }],
        Resolution::Unknown => return Err(format!("{text}: no such mailbox here")),
        Resolution::Broken(why) => return Err(format!("{text}: its alias is broken: {why}")),
    };
    let rcpt = Rcpt {
        forward_path: path,
        notify: None,
        original_recipient: None,
    };
    let added = recipients.add(&rcpt, finals);
    added.map_err(|TooMany| format!("{text}: too many recipients for one message"))
}

/// A text that is to become a message.
struct Letter {
    /// CRLF lines.
    fields: Vec<u8>,
    /// The empty line and everything below it; CRLF lines.
    rest: Vec<u8>,
}

impl Letter {
    fn read(octets: &[u8]) -> Result<Self, String> {
        if octets.contains(&0) {
            return Err("the message has a NUL octet, which no mail may have".to_string());
        }
        let mut lines = Vec::with_capacity(octets.len() + octets.len() / 32);
        for line in octets.split_inclusive(|o| *o == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.contains(&b'\r') {
                return Err(
                    "the message has a CR within a line, which no mail may have".to_string()
                );
            }
            lines.extend_from_slice(line);
            lines.extend_from_slice(b"\r\n");
        }
        let mut scan = Scan::new();
        scan.push(&lines);
        let end = scan.finish().header_end.unwrap_or(u64::MAX);
        if end > MAX_BLOCK && end != u64::MAX {
            return Err(format!(
                "the header block is larger than {MAX_BLOCK} octets"
            ));
        }
        let end = usize::try_from(end).unwrap_or(usize::MAX).min(lines.len());
        let rest = lines.split_off(end);
        let rest = if rest.starts_with(b"\r\n") {
            rest
        } else {
            [b"\r\n", &rest[..]].concat()
        };
        Ok(Letter {
            fields: lines,
            rest,
        })
    }

    /// The addresses in the fields of these names.
    fn addresses(&self, names: &[&str]) -> Vec<String> {
        let mut addresses = Vec::new();
        for field in fields::split(&self.fields) {
            if names.iter().any(|n| is_named(field, n))
                && let Some(colon) = field.iter().position(|o| *o == b':')
            {
                let body = String::from_utf8_lossy(field.split_at(colon + 1).1);
                addresses.extend(address_list::parse(&body));
            }
        }
        addresses
    }

    /// The message: `Bcc:` gone, `Date:` and `Message-ID:` there.
    fn message(&self, control: &Control) -> Vec<u8> {
        let mut scan = Scan::new();
        scan.push(&self.fields);
        let facts = scan.finish();
        let mut message = Vec::with_capacity(self.fields.len() + self.rest.len() + 200);
        let now = control.world.clock.now();
        if facts.count(Field::Date) == 0 {
            message.extend(format!("Date: {}\r\n", date::render(now.as_secs())).into_bytes());
        }
        if facts.count(Field::MessageId) == 0 {
            let random = control.world.random.next_u64();
            let id = message_id::make(now.as_millis(), random, &control.hostname);
            message.extend(format!("Message-ID: {id}\r\n").into_bytes());
        }
        for field in fields::split(&self.fields)
            .into_iter()
            .filter(|f| !is_named(f, "Bcc"))
        {
            message.extend_from_slice(field);
        }
        message.extend_from_slice(&self.rest);
        message
    }
}

fn is_named(field: &[u8], name: &str) -> bool {
    fields::name(field).is_some_and(|n| n.eq_ignore_ascii_case(name.as_bytes()))
}
