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

/// `text` as one word of a command line, whatever is in it: an address may have most characters
/// that mean something to a shell, and who sends chose it.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@.+-_=".contains(c);
    match text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
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
    let mailbox = from.trim_start_matches('<').trim_end_matches('>');
    let filter = match mailbox.is_empty() {
        true => word("from=<>"),
        false => word(&format!("from={mailbox}")),
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

#[cfg(test)]
mod tests {
    use posthaste_world::Timestamp;
    use posthaste_world::real;

    use super::*;

    /// The command that lets go what `from` sent.
    fn command(from: &str) -> String {
        let random = real::world(&real::Settings::default()).unwrap().random;
        let held = Held {
            account: "alice@ours.test",
            from,
            id: QueueId::new(Timestamp::EPOCH, &*random),
            over: Over {
                limit: "account_recipients_per_day",
                most: 5,
                is_news: true,
                is_full: false,
            },
        };
        let text = body(&held, "mx.ours.test");
        let mut lines = text.lines().map(str::trim);
        let line = lines.find(|l| l.starts_with("posthaste queue release"));
        line.unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_sender_cannot_write_a_command_for_the_postmaster() {
        let begin = "posthaste queue release state=held";
        assert_eq!(
            command("<alice+1@ours.test>"),
            format!("{begin} from=alice+1@ours.test")
        );
        for (from, word) in [
            ("<>", "'from=<>'"),
            ("<alice+`id`@ours.test>", "'from=alice+`id`@ours.test'"),
            ("<alice+$x@ours.test>", "'from=alice+$x@ours.test'"),
            ("<alice+a|b&@ours.test>", "'from=alice+a|b&@ours.test'"),
            (
                "<alice+'`id`'@ours.test>",
                r"'from=alice+'\''`id`'\''@ours.test'",
            ),
            (
                r#"<"alice+;id"@ours.test>"#,
                r#"'from="alice+;id"@ours.test'"#,
            ),
        ] {
            assert_eq!(command(from), format!("{begin} {word}"));
        }
    }
}
