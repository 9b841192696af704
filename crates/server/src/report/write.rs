//! A report as a message of ours: rendered, scanned, and put into an envelope.

use std::io;

use bytes::Bytes;
use posthaste_message::dsn::{self, Kind, Original, Reason, Return};
use posthaste_message::header::Scan;
use posthaste_message::message_id;
use posthaste_queue::QueueId;
use posthaste_queue::envelope::{ContentFacts, Envelope, Message, Recipient, Ret};
use posthaste_queue::spool::{Body, NewMessage, Prelude, Stored};
use posthaste_smtp::address::ReversePath;
use posthaste_smtp::extension::BodyType;
use posthaste_smtp::reply::{EnhancedCode, Reply};
use posthaste_world::Timestamp;

use super::{LAST_OF_ITS_LINE, Owed, Reports};
use crate::deliver::{Fate, Outcome};
use crate::receive::content_facts;

/// Octets of a header block that a report returns.
const HEADERS_MAX: u64 = dsn::MAX_WHOLE;

impl Reports {
    /// The report as a new message with the null reverse-path.
    pub(super) async fn write(
        &self,
        stored: &Stored,
        owed: &Owed<'_>,
        recipients: Vec<Recipient>,
    ) -> NewMessage {
        let original = Returned::read(stored, owed.kind).await;
        let first = owed.recipients.first().map_or(0, |(index, ..)| *index);
        let id = QueueId::report(stored.envelope().id, first, owed.id_kind());
        let postmaster = recipients.first().map(|r| &r.address);
        let to = owed.to.and_then(ReversePath::mailbox).or(postmaster);
        let to = to.map(ToString::to_string).unwrap_or_default();
        let now = self.world.clock.now();
        let message_id = message_id::make(
            now.as_millis(),
            self.world.random.next_u64(),
            &self.hostname,
        );
        let until = (stored.envelope().message.begins() + self.expire_after).as_secs();
        let texts: Vec<Texts> = owed
            .recipients
            .iter()
            .map(|(_, r, o)| Texts::of(owed.kind, r, o))
            .collect();
        let told = told(owed, &texts, now, until);
        let message = &stored.envelope().message;
        let rendered = dsn::Report {
            kind: owed.kind,
            reporting_mta: &self.hostname,
            to: &to,
            envelope_id: message.envid.as_deref(),
            queue_id: &stored.envelope().id.to_string(),
            message_id: &message_id,
            arrival_s: message.arrived.as_secs(),
            unix_s: now.as_secs(),
            recipients: &told,
            original: original.as_original(),
        }
        .render();
        let require_tls = message.require_tls;
        let mut message = Message::ours(now, facts(&rendered.message));
        message.require_tls = require_tls;
        message.smtp_utf8 = rendered.utf8_header;
        message.body = match rendered.eight_bit {
            true => BodyType::EightBitMime,
            false => BodyType::SevenBit,
        };
        message
            .tags
            .extend(owed.to.is_none().then(|| LAST_OF_ITS_LINE.into()));
        let signatures = self.signatures.of_our_own(&rendered.message).await;
        NewMessage {
            envelope: Envelope {
                id,
                message,
                recipients,
            },
            prelude: Prelude::trace(signatures.into_bytes()),
            body: Body::Inline(Bytes::from(rendered.message)),
        }
    }
}

/// What the report says of each recipient.
fn told<'a>(
    owed: &'a Owed<'_>,
    texts: &'a [Texts],
    now: Timestamp,
    until: u64,
) -> Vec<dsn::Recipient<'a>> {
    // The alias that was expanded has no attempt and no reply of its own.
    let expanded = owed.kind == Kind::Expanded;
    let one = |(recipient, outcome): (&'a Recipient, &'a Outcome), texts: &'a Texts| {
        let last_attempt_s = last_attempt(recipient, outcome, now);
        dsn::Recipient {
            original: recipient.orcpt.as_deref(),
            address: &texts.address,
            status: status(owed.kind, &outcome.reply),
            reason: (!expanded).then(|| texts.reason()),
            last_attempt_s: last_attempt_s.filter(|_| !expanded),
            retry_until_s: (owed.kind == Kind::Delayed).then_some(until),
        }
    };
    let recipients = owed.recipients.iter().map(|(_, r, o)| (*r, *o));
    recipients
        .zip(texts)
        .map(|(about, texts)| one(about, texts))
        .collect()
}

/// When the recipient was tried last, in seconds since 1970: just now, unless its age is the
/// matter.
fn last_attempt(recipient: &Recipient, outcome: &Outcome, now: Timestamp) -> Option<u64> {
    match outcome.fate {
        Fate::Expired | Fate::Delayed => recipient.progress.last.as_ref().map(|l| l.at.as_secs()),
        _ => Some(now.as_secs()),
    }
}

/// What of the message goes back with the report.
enum Returned {
    Whole(Vec<u8>),
    Headers(Vec<u8>),
}

impl Returned {
    /// A message that cannot be read is reported on without it: the report matters more.
    async fn read(stored: &Stored, kind: Kind) -> Returned {
        let message = &stored.envelope().message;
        let ret = match message.ret {
            // RFC 8689 §5: what must be protected on its way does not come back whole.
            _ if message.require_tls => Return::Headers,
            None => Return::Unset,
            Some(Ret::Full) => Return::Full,
            Some(Ret::Headers) => Return::Headers,
        };
        if dsn::returns_whole(kind, ret, stored.size()) {
            if let Ok((octets, _)) = read_until(stored, |_| false).await {
                return Returned::Whole(octets);
            }
        } else if let Ok((octets, facts)) = read_until(stored, |s| s.header_end.is_some()).await {
            let end = facts.header_end.unwrap_or(u64::MAX).min(HEADERS_MAX);
            let end = usize::try_from(end).unwrap_or(usize::MAX);
            return Returned::Headers(octets.into_iter().take(end).collect());
        }
        Returned::Headers(Vec::new())
    }

    fn as_original(&self) -> Original<'_> {
        match self {
            Returned::Whole(octets) => Original::Whole(octets),
            Returned::Headers(octets) => Original::Headers(octets),
        }
    }
}

/// Reads the message until `enough`, its end, or a little more than a report may return.
async fn read_until(
    stored: &Stored,
    enough: impl Fn(&posthaste_message::header::Facts) -> bool,
) -> io::Result<(Vec<u8>, posthaste_message::header::Facts)> {
    let most = usize::try_from(HEADERS_MAX).unwrap_or(usize::MAX);
    let mut content = stored.content();
    let mut scan = Scan::new();
    let mut octets = Vec::new();
    while octets.len() < most && !enough(scan.facts()) {
        let Some(piece) = content.next().await? else {
            break;
        };
        let some = piece.get(..most - octets.len()).unwrap_or(&piece);
        scan.push(some);
        octets.extend_from_slice(some);
    }
    Ok((octets, scan.finish()))
}

/// What a report says of one recipient, owned for as long as it is rendered.
struct Texts {
    address: String,
    host: Option<Box<str>>,
    reply: String,
}

impl Texts {
    fn of(kind: Kind, recipient: &Recipient, outcome: &Outcome) -> Texts {
        let address = match (kind, &recipient.alias) {
            (Kind::Expanded, Some(alias)) => alias.to_string(),
            _ => recipient.address.to_string(),
        };
        // What a host said last explains an expiry better than our own finding that time is up.
        let said = recipient
            .progress
            .last
            .as_ref()
            .filter(|_| outcome.fate == Fate::Expired);
        let reply = match said.filter(|_| outcome.host.is_some()) {
            Some(last) => last.reply.to_string(),
            None => outcome.reply.to_string(),
        };
        let remote = outcome.remote || outcome.fate == Fate::Expired;
        Texts {
            address,
            host: outcome.host.clone().filter(|_| remote),
            reply,
        }
    }

    fn reason(&self) -> Reason<'_> {
        match &self.host {
            Some(host) => Reason::Remote {
                host,
                reply: &self.reply,
            },
            None => Reason::Local(&self.reply),
        }
    }
}

/// The status of a reply, in the class that the report's kind has (RFC 3463 §2): what failed by age
/// is permanent, whatever the last reply said.
fn status(kind: Kind, reply: &Reply) -> EnhancedCode {
    let class = match kind {
        Kind::Failed => 5,
        Kind::Delayed => 4,
        Kind::Delivered | Kind::Relayed | Kind::Expanded => 2,
    };
    let (subject, detail) = match (kind, reply.enhanced()) {
        // The reply is about one of those behind the address, which is valid.
        (Kind::Expanded, _) => (1, 5),
        (_, Some(e)) => (e.subject, e.detail),
        (_, None) => (0, 0),
    };
    EnhancedCode {
        class,
        subject,
        detail,
    }
}

fn facts(message: &[u8]) -> ContentFacts {
    let mut scan = Scan::new();
    scan.push(message);
    content_facts(&scan.finish())
}
