//! The queue's verbs: list, count, show, hold, release, retry, bounce, delete.
//!
//! Every verb takes the same filter and works through the queue a page at a time, so that a million
//! messages cost neither memory nor a long lock.

use std::io;
use std::time::Duration;

use posthaste_queue::envelope::{Envelope, Progress};
use posthaste_queue::schedule::{Listed, ListedRecipient, Standing};
use posthaste_queue::spool::ReadError;
use posthaste_queue::{OperatorError, QueueId};
use posthaste_world::{BoxStream, Timestamp};

use super::wire::{self, Answer, Item, ItemRecipient, Verb};
use super::{Control, failed};
use crate::filter::{Filter, State, Subject, SubjectRecipient};
use crate::telemetry::Event;

/// Messages that the record of a change names.
const IDS_NAMED: usize = 100;
/// Messages looked at between two looks at the schedule.
const PAGE: usize = 500;

/// Carries out `verb` for the messages that `filter` selects; items go to `stream`, the end of the
/// answer is returned.
///
/// # Errors
/// The client is gone.
pub async fn run(
    control: &Control,
    stream: &mut BoxStream,
    verb: Verb,
    filter: &[String],
    dry_run: bool,
) -> io::Result<Answer> {
    let filter = match Filter::parse(filter) {
        Ok(filter) => filter,
        Err(bad) => return Ok(failed(bad)),
    };
    if verb == Verb::Count && filter.is_empty() {
        let accounts = accounts(control);
        wire::write(stream, &Answer::Accounts(accounts)).await?;
        return Ok(Answer::Done(accounts.messages));
    }
    let mut done = 0;
    let (mut ids, mut problems) = (Vec::new(), Vec::new());
    let mut after = None;
    loop {
        let page = page(control, &filter, after);
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        for listed in &page {
            let Some(item) = look(control, listed, &filter).await else {
                continue;
            };
            match change(control, listed.id, verb, dry_run).await {
                Ok(()) if verb == Verb::Count => {}
                Ok(()) => wire::write(stream, &Answer::Item(item)).await?,
                Err(why) => {
                    problems.push(format!("{}: {why}", listed.id));
                    continue;
                }
            }
            done += 1;
            if ids.len() < IDS_NAMED {
                ids.push(listed.id.to_string());
            }
        }
        if filter.id().is_some() {
            break;
        }
    }
    if changes(verb) && !dry_run {
        control.log.emit(&Event::Operator {
            verb: verb.name(),
            messages: done,
            ids: &ids,
        });
    }
    if !problems.is_empty() {
        return Ok(failed(problems.join("\n")));
    }
    Ok(Answer::Done(u64::try_from(done).unwrap_or(u64::MAX)))
}

fn accounts(control: &Control) -> wire::Accounts {
    let accounts = control.queue.accounts();
    let messages = control.queue.counts().messages;
    wire::Accounts {
        messages: u64::try_from(messages).unwrap_or(u64::MAX),
        recovered: accounts.recovered,
        accepted: accounts.accepted,
        delivered: accounts.delivered,
        bounced: accounts.bounced,
        expired: accounts.expired,
        removed: accounts.removed,
        queued: accounts.queued,
        held: accounts.held,
        difference: accounts.difference(),
    }
}

fn changes(verb: Verb) -> bool {
    !matches!(verb, Verb::List | Verb::Count | Verb::Show)
}

fn page(control: &Control, filter: &Filter, after: Option<QueueId>) -> Vec<Listed> {
    match filter.id() {
        Some(id) => id
            .parse()
            .ok()
            .and_then(|id| control.queue.get(id))
            .into_iter()
            .collect(),
        None => control.queue.list(after, PAGE),
    }
}

async fn change(
    control: &Control,
    id: QueueId,
    verb: Verb,
    dry_run: bool,
) -> Result<(), OperatorError> {
    if dry_run {
        return Ok(());
    }
    match verb {
        Verb::List | Verb::Count | Verb::Show => Ok(()),
        Verb::Hold => control.queue.hold(id).await,
        Verb::Release => control.queue.release(id).await,
        Verb::Retry => {
            control.queue.retry(id);
            Ok(())
        }
        Verb::Bounce => control.dispatch.bounce(id).await,
        Verb::Delete => control.queue.remove(id).await,
    }
}

/// The message as an item, if it is still there and the filter selects it.
async fn look(control: &Control, listed: &Listed, filter: &Filter) -> Option<Item> {
    let item = match control.queue.read(listed.id).await {
        Ok(stored) => item(control, stored.envelope(), listed),
        // It ended in between, or it is damaged: then it must be seen, and can be deleted.
        Err(fault) => damaged(control, &control.queue.get(listed.id)?, &fault),
    };
    let recipients: Vec<_> = item.recipients.iter().map(subject).collect();
    let subject = Subject {
        id: &item.id,
        from: &item.from,
        age: Duration::from_secs(item.age_s),
        recipients: &recipients,
    };
    filter.matches(&subject).then(|| item.clone())
}

fn subject(recipient: &ItemRecipient) -> SubjectRecipient<'_> {
    let state = match recipient.state.as_str() {
        "held" => State::Held,
        "deferred" => State::Deferred,
        _ => State::Queued,
    };
    SubjectRecipient {
        original: recipient.original.as_deref().unwrap_or(&recipient.address),
        address: &recipient.address,
        state,
    }
}

/// What is known of a message whose envelope cannot be read.
fn damaged(control: &Control, listed: &Listed, fault: &ReadError) -> Item {
    let mut item = outline(control, listed);
    for recipient in &listed.recipients {
        item.recipients.push(ItemRecipient {
            address: String::new(),
            original: None,
            state: "damaged".to_string(),
            attempts: 0,
            last_reply: fault.to_string(),
            host: String::new(),
            destination: recipient.destination.to_string(),
            next: None,
            destination_failure: None,
        });
    }
    item
}

/// What the schedule knows of a message.
fn outline(control: &Control, listed: &Listed) -> Item {
    Item {
        id: listed.id.to_string(),
        from: String::new(),
        arrived: text(listed.id.time()),
        age_s: control.world.clock.now().since(listed.id.time()).as_secs(),
        release: None,
        deliver_by: None,
        priority: 0,
        expires: text(listed.expires),
        size: 0,
        peer: String::new(),
        account: None,
        recipients: Vec::new(),
    }
}

fn item(control: &Control, envelope: &Envelope, listed: &Listed) -> Item {
    let message = &envelope.message;
    let from = message.reverse_path.mailbox().map(ToString::to_string);
    let mut item = Item {
        from: from.unwrap_or_default(),
        arrived: text(message.arrived),
        age_s: control.world.clock.now().since(message.arrived).as_secs(),
        release: message.release.map(text),
        deliver_by: message.deliver_by.map(|by| text(by.at)),
        priority: message.priority,
        size: message.content.size,
        peer: message.peer.to_string(),
        account: message.account.as_ref().map(ToString::to_string),
        ..outline(control, listed)
    };
    for (index, open) in envelope.open() {
        let Some(listed) = listed.recipients.iter().find(|l| l.index == index) else {
            continue;
        };
        let failure = control
            .queue
            .destination(&listed.destination)
            .and_then(|d| d.failure);
        let last = open.progress.last.as_ref();
        item.recipients.push(ItemRecipient {
            address: open.address.to_string(),
            original: open.original.as_ref().map(ToString::to_string),
            state: state(listed, &open.progress).to_string(),
            attempts: open.progress.attempts,
            last_reply: last.map(|l| l.reply.to_string()).unwrap_or_default(),
            host: last
                .and_then(|l| l.host.as_deref())
                .unwrap_or_default()
                .to_string(),
            destination: listed.destination.to_string(),
            next: next(listed, failure.as_ref().map(|f| f.until)),
            destination_failure: failure.map(|f| f.reason.into()),
        });
    }
    item
}

fn state(listed: &ListedRecipient, progress: &Progress) -> &'static str {
    match listed.standing {
        Standing::Held => "held",
        Standing::InFlight => "active",
        Standing::Waiting if progress.attempts > 0 => "deferred",
        Standing::Waiting => "queued",
    }
}

/// When it is tried next: not before its own time, nor before its destination's.
fn next(listed: &ListedRecipient, until: Option<Timestamp>) -> Option<String> {
    match listed.standing {
        Standing::Waiting => Some(text(listed.due.max(until.unwrap_or(Timestamp::EPOCH)))),
        Standing::Held | Standing::InFlight => None,
    }
}

fn text(at: Timestamp) -> String {
    let ms = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(ms)
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}
