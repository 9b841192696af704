//! The message that tells an account's owner, and the postmaster, that mail is held because the
//! account has sent more than it may.
//!
//! It goes to mailboxes of ours alone: an account whose name is no address of ours is told through
//! the postmaster. This module does **not** hold anything.

use bytes::Bytes;
use posthaste_message::header::Scan;
use posthaste_message::{date, message_id};
use posthaste_queue::QueueId;
use posthaste_queue::envelope::{Envelope, Message, Recipient};
use posthaste_smtp::address::{ForwardPath, Mailbox, Utf8};
use posthaste_smtp::extension::BodyType;
use posthaste_world::World;

use crate::lookup::{Directory, Resolution};
use crate::policy::senders::Over;
use crate::receive::content_facts;
use crate::telemetry::clean;

/// What is held, and why.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// The account.
    pub account: &'a str,
    /// The reverse-path of the first message that is held, with its brackets.
    pub from: &'a str,
    /// Its queue id.
    pub id: QueueId,
    /// The limit.
    pub over: Over,
}

/// The message, or none where nobody can be told.
#[must_use]
pub fn notice(
    held: &Held<'_>,
    directory: &Directory,
    world: &World,
    hostname: &str,
) -> Option<(Envelope, Bytes)> {
    let mut recipients: Vec<Recipient> = Vec::new();
    let owner = Mailbox::parse(held.account, Utf8::Allowed).ok();
    let owner = owner.map(ForwardPath::Mailbox);
    for path in owner.into_iter().chain([ForwardPath::Postmaster]) {
        let Resolution::Local(finals) = directory.resolve(&path) else {
            continue;
        };
        for found in finals {
            if recipients.iter().all(|r| r.address != found.address) {
                let mut recipient = Recipient::new(found.address);
                recipient.alias = found.alias;
                recipient.progress.held = found.hold;
                recipients.push(recipient);
            }
        }
    }
    let to = recipients.first()?.address.to_string();
    let now = world.clock.now();
    let random = world.random.next_u64();
    let text = format!(
        "From: Mail Delivery System <MAILER-DAEMON@{hostname}>\r\nTo: <{to}>\r\n\
         Subject: Mail of your account is held\r\nDate: {date}\r\nMessage-ID: {id}\r\n\
         Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         {body}",
        date = date::render(now.as_secs()),
        id = message_id::make(now.as_millis(), random, hostname),
        body = body(held, hostname),
    );
    let mut scan = Scan::new();
    scan.push(text.as_bytes());
    let mut message = Message::ours(now, content_facts(&scan.finish()));
    message.smtp_utf8 = message.content.utf8_headers;
    message.body = match message.content.eight_bit {
        true => BodyType::EightBitMime,
        false => BodyType::SevenBit,
    };
    let envelope = Envelope {
        id: QueueId::new(now, &*world.random),
        message,
        recipients,
    };
    Some((envelope, text.into()))
}

fn body(held: &Held<'_>, hostname: &str) -> String {
    let Held {
        account,
        from,
        id,
        over,
    } = held;
    let (account, from) = (clean(account), clean(from));
    let per = match over.limit.ends_with("day") {
        true => "a day",
        false => "an hour",
    };
    let from = from.trim_start_matches('<').trim_end_matches('>');
    let filter = match from.is_empty() {
        true => "'from=<>'".to_owned(),
        false => format!("from={from}"),
    };
    format!(
        "This is the mail system of {hostname}.\r\n\r\n\
         The account {account} has sent to more than {most} recipients in {per}. What it\r\n\
         sends above that is accepted and held: it is not lost, and it is not sent. The\r\n\
         first message that is held is {id}.\r\n\r\n\
         If you did not send so much mail, somebody else knows your password: change it.\r\n\
         If you did, the postmaster can let it go.\r\n\r\n\
         For the postmaster: one command shows, one sends, one deletes what is held:\r\n\r\n\
         \x20   posthaste queue list state=held {filter}\r\n\
         \x20   posthaste queue release state=held {filter}\r\n\
         \x20   posthaste queue delete state=held {filter}\r\n\r\n\
         The limit is `{limit}` in [limits]. This is said once a day.\r\n",
        most = over.most,
        limit = over.limit,
    )
}
