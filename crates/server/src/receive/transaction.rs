//! What a transaction has gathered, from MAIL to the end of its data.
//!
//! A [`Transaction`] is the open one of a connection, or none. At the final dot it becomes
//! [`Received`], which [`accept`](super::accept) commits: there the envelope is made, our
//! `Received:` field is put on top, with what was found about the sender, and the octets are handed
//! to the queue. This module does **not** judge anything: policy does.

use std::time::Duration;

use posthaste_message::header::{Facts, Scan};
use posthaste_message::line_ends::LineEnds;
use posthaste_message::received;
use posthaste_queue::envelope::{DeliverBy, Envelope, Message};
use posthaste_queue::spool::{Draft, Edit, Prelude, WriteError};
use posthaste_queue::{QueueId, Receipt};
use posthaste_smtp::address::ForwardPath;
use posthaste_smtp::extension::{self, BodyType, Hold, Priority};
use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{Mail, Rcpt};
use posthaste_world::Timestamp;

use super::complete::{self, Head, Means};
use super::judged;
use super::recipients::{Recipients, TooMany};
use super::signed;
use super::visit::Visit;
use super::{Reception, content_facts};
use crate::authenticate::message::{Judge, Judgement};
use crate::config::Service;
use crate::policy::senders::Over;
use crate::report::held::{self, Held};
use crate::sign::Pending;
use crate::telemetry::Refused;

/// Refused recipients that a record names; the rest of a flood adds nothing.
const REFUSED_NAMED: usize = 20;

/// The open transaction of a connection, or none.
pub struct Transaction(Option<Received>);

/// What a transaction has received.
pub struct Received {
    /// The queue id, which is the transaction id.
    pub id: QueueId,
    /// Its text, as it stands in replies and records.
    pub id_text: String,
    /// MAIL FROM.
    pub mail: Mail,
    /// Recipients accepted at RCPT, as they were given.
    pub to: Vec<String>,
    /// Recipients refused at RCPT.
    pub refused: Vec<Refused>,
    recipients: Recipients,
    draft: Option<Draft>,
    scan: Scan,
    /// The header block, of a message that is edited when it is kept.
    head: Option<Head>,
    /// What finds out who sent it, while it comes.
    judge: Option<Box<Judge>>,
    judgement: Option<Box<Judgement>>,
    /// What signs it, when it is somebody's whose mail we sign.
    signing: Option<Box<Pending>>,
    /// What comes with `BODY=BINARYMIME` may be a text all the same.
    line_ends: Option<LineEnds>,
    fault: Option<WriteError>,
}

impl Transaction {
    /// No transaction.
    #[must_use]
    pub fn none() -> Self {
        Transaction(None)
    }

    /// Its id, as it stands in replies; empty when there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or("", |received| &received.id_text)
    }

    /// MAIL: begins one, unless the disk is full.
    pub fn begin(&mut self, mail: Mail, visit: &mut Visit, stages: &Reception) -> Reply {
        visit.transactions += 1;
        visit.pace.transaction(stages.now());
        let id = QueueId::new(stages.world.clock.now(), &*stages.world.random);
        let completed = visit.service == Service::Submission;
        let binary = mail.body == BodyType::BinaryMime;
        let mut received = Received {
            id,
            id_text: id.to_string(),
            mail,
            to: Vec::new(),
            refused: Vec::new(),
            recipients: Recipients::default(),
            draft: None,
            scan: Scan::new(),
            head: completed.then(Head::default),
            judge: None,
            judgement: None,
            signing: None,
            line_ends: binary.then(LineEnds::default),
            fault: None,
        };
        if stages.queue.is_full() {
            let text = format!("the disk is full; try again later [{}]", received.id_text);
            return visit.refuse(&received, Reply::new(452, (4, 3, 1), text), stages);
        }
        let counted = visit.seat.message(stages.now(), &stages.policy.limits);
        if let Err(hit) = counted {
            let refusal = visit.met(hit, stages).tagged(&received.id_text);
            return visit.refuse(&received, refusal, stages);
        }
        if let Some(login) = &visit.login
            && let Err(refusal) = stages.authenticator.stands(login, visit.peer.ip())
        {
            let refusal = refusal.tagged(&received.id_text);
            return visit.refuse(&received, refusal, stages);
        }
        let (path, id) = (&received.mail.reverse_path, &received.id_text);
        if let Err(refusal) = stages.policy.sender(visit.who(), path, id) {
            return visit.refuse(&received, refusal, stages);
        }
        let reply = received.lower_priority(stages.policy.limits.priority);
        self.0 = Some(received);
        reply
    }

    /// RCPT: adds a recipient, if policy lets it in.
    pub fn add(&mut self, rcpt: &Rcpt, visit: &mut Visit, stages: &Reception) -> Reply {
        let Some(received) = &mut self.0 else {
            return Reply::local_error();
        };
        let path = &rcpt.forward_path;
        let id = &received.id_text;
        let counted = visit.seat.recipient(stages.now(), &stages.policy.limits);
        let added = counted
            .map_err(|hit| visit.met(hit, stages).tagged(id))
            .and_then(|()| stages.policy.recipient(visit.who(), path, id))
            .and_then(|finals| {
                received.recipients.add(rcpt, finals).map_err(|TooMany| {
                    let text = format!("{path}: too many recipients for one message [{id}]");
                    Reply::new(452, (4, 5, 3), text)
                })
            });
        let Err(refusal) = added else {
            received.to.push(path.to_string());
            return Reply::new(250, (2, 1, 5), format!("recipient accepted [{id}]"));
        };
        if received.refused.len() < REFUSED_NAMED {
            let (to, reply) = (path.to_string(), refusal.to_string());
            received.refused.push(Refused { to, reply });
        }
        visit.refused_recipient(refusal, stages)
    }

    /// DATA: makes a draft for what follows, and begins to find out who sends it, or to sign it.
    pub async fn open_draft(&mut self, visit: &Visit, stages: &Reception) -> Reply {
        let Some(received) = &mut self.0 else {
            return Reply::local_error();
        };
        let path = &received.mail.reverse_path;
        received.judge = judged::begin(&stages.judging, path, visit, stages);
        if received.judge.is_some() {
            received.head = Some(Head::default());
        }
        received.signing = signed::begin(visit, stages).await;
        received.draft = Some(stages.queue.draft());
        Reply::plain(354, format!("end with CRLF.CRLF [{}]", received.id_text))
    }

    /// Octets of the message. A disk that fails or is full is told at the dot.
    pub async fn write(&mut self, octets: &[u8]) {
        let Some(received) = &mut self.0 else { return };
        if let Some(head) = &mut received.head
            && received.scan.facts().header_end.is_none()
        {
            head.push(octets);
        }
        received.scan.push(octets);
        if let Some(judge) = &mut received.judge {
            judge.push(octets, received.scan.facts());
        }
        if let Some(signing) = &mut received.signing {
            signing.push(octets, received.scan.facts());
        }
        if let Some(line_ends) = &mut received.line_ends {
            line_ends.push(octets);
        }
        if received.fault.is_none()
            && let Some(draft) = &mut received.draft
            && let Err(fault) = draft.write(octets).await
        {
            received.fault = Some(fault);
            received.draft = None;
        }
    }

    /// The transaction, which is over now.
    pub fn take(&mut self) -> Option<Received> {
        self.0.take()
    }
}

impl Received {
    /// What the header block and the lines say.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        self.scan.facts()
    }

    /// Waits for the verdicts on who sent it, where they are wanted.
    pub async fn judge(&mut self) {
        let Some(judge) = self.judge.take().filter(|_| self.fault.is_none()) else {
            return;
        };
        let facts = self.scan.clone().finish();
        self.judgement = Some(Box::new(judge.judge(&facts).await));
    }

    /// Who sent it, once that is known.
    #[must_use]
    pub fn judgement(&self) -> Option<&Judgement> {
        self.judgement.as_deref()
    }

    /// Counts it for the report that its author's domain may want, if it was judged.
    pub fn count_for_report(&self, stages: &Reception) {
        let header = self
            .head
            .as_ref()
            .and_then(|head| head.fields(self.facts()));
        if let (Some(judgement), Some(header)) = (self.judgement(), header) {
            let now = stages.world.clock.now();
            stages.feedback.note(judgement, header, now);
        }
    }

    /// Whether it is no text, so that it is taken, handed on and delivered octet for octet.
    fn is_binary(&self) -> bool {
        self.line_ends.is_some_and(|ends| !ends.is_text())
    }

    /// The reply to MAIL. A priority above `most` becomes that, and the peer is told (RFC 6710
    /// §4.1).
    fn lower_priority(&mut self, most: i8) -> Reply {
        let id = &self.id_text;
        match (self.mail.priority, Priority::new(most)) {
            (Some(wanted), Some(most)) if wanted > most => {
                self.mail.priority = Some(most);
                Reply::new(250, (2, 3, 6), format!("{most} is the priority now [{id}]"))
            }
            _ => Reply::new(250, (2, 1, 0), format!("sender accepted [{id}]")),
        }
    }

    /// Makes it durable: envelope, trace field, edits and octets in one change of the queue. What
    /// an account sends above its limits is held.
    ///
    /// # Errors
    /// Nothing of it is kept, and the peer must be told so.
    pub async fn commit(
        &mut self,
        over: Option<Over>,
        visit: &Visit,
        stages: &Reception,
    ) -> Result<Receipt, WriteError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let Some(draft) = self.draft.take() else {
            return Err(WriteError::Failed);
        };
        let arrived = stages.world.clock.now();
        let trace = self.trace(arrived, visit, stages);
        let edits = self.edits(arrived, stages);
        let signatures = self.signatures(&edits, visit, stages).await;
        let prelude = Prelude {
            edits,
            ..Prelude::trace((trace + &signatures).into_bytes())
        };
        let envelope = self.envelope(arrived, visit, over);
        let receipt = stages.queue.commit(draft, envelope, prelude).await?;
        if let Some(over) = over.filter(|over| over.is_news) {
            self.tell(over, visit, stages).await;
        }
        Ok(receipt)
    }

    /// What completes a user's message (RFC 6409 §8), and removes from any other what claims to be
    /// from us.
    fn edits(&self, now: Timestamp, stages: &Reception) -> Vec<Edit> {
        let facts = self.scan.clone().finish();
        let Some(head) = &self.head else {
            return Vec::new();
        };
        if let Some(judgement) = &self.judgement {
            let block = head.fields(&facts).unwrap_or_default();
            return judged::forged(block, judgement.authserv_id());
        }
        let Some(block) = head.block(&facts).filter(|_| !self.is_binary()) else {
            return Vec::new();
        };
        let means = Means {
            now,
            random: stages.world.random.next_u64(),
            hostname: &stages.settings.hostname,
        };
        complete::edits(block, &means)
    }

    /// The fields that sign the completed message. What is no text is not signed: what hashes a
    /// message counts lines.
    async fn signatures(&mut self, edits: &[Edit], visit: &Visit, stages: &Reception) -> String {
        let Some(signing) = self.signing.take().filter(|_| !self.is_binary()) else {
            return String::new();
        };
        let facts = self.scan.clone().finish();
        let scope = signed::scope(&self.mail.reverse_path, visit);
        let added = signed::added(edits);
        stages
            .signatures
            .finish(*signing, facts, added, scope)
            .await
    }

    /// Counts it for its account: the limit that it exceeds, for which it is to be held.
    ///
    /// # Errors
    /// The refusal: enough of the account's mail is held.
    pub fn count(&self, visit: &Visit, stages: &Reception) -> Result<Option<Over>, Reply> {
        let Some(account) = visit.who().account else {
            return Ok(None);
        };
        let (now, limits) = (stages.world.clock.now(), &stages.policy.limits);
        let sent = stages
            .senders
            .send(account.as_str(), self.recipients(), now, limits);
        let Err(over) = sent else {
            return Ok(None);
        };
        if !over.is_full {
            visit.held(over, self, stages);
            return Ok(Some(over));
        }
        let text = format!(
            "the account {account} has sent to more than {} recipients, and so much of its mail \
             is held that no more is taken; ask the postmaster, or try again tomorrow [{}]",
            over.most, self.id_text
        );
        let refusal = Reply::new(450, (4, 7, 1), text);
        visit.not_held(over, &refusal, stages);
        Err(refusal)
    }

    /// What was counted was not kept.
    pub fn uncount(&self, over: Option<Over>, visit: &Visit, stages: &Reception) {
        if let Some(account) = visit.who().account {
            let account = account.as_str();
            stages.senders.not_sent(account, self.recipients(), over);
        }
    }

    fn recipients(&self) -> u32 {
        u32::try_from(self.to.len()).unwrap_or(u32::MAX)
    }

    /// Tells the account's owner and the postmaster, once a day, that mail is held.
    async fn tell(&self, over: Over, visit: &Visit, stages: &Reception) {
        let Some(account) = visit.who().account else {
            return;
        };
        let held = Held {
            account: account.as_str(),
            from: &self.mail.reverse_path.to_string(),
            id: self.id,
            over,
        };
        let (directory, hostname) = (stages.policy.directory(), &stages.settings.hostname);
        let notice = held::notice(&held, directory, &stages.world, hostname);
        let Some((envelope, text)) = notice else {
            return;
        };
        let signatures = stages.signatures.of_our_own(&text).await.into_bytes();
        let mut draft = stages.queue.draft();
        let kept = match draft.write(&text).await {
            Ok(()) => stages
                .queue
                .commit(draft, envelope, Prelude::trace(signatures))
                .await
                .map(drop),
            Err(fault) => Err(fault),
        };
        if let Err(fault) = kept {
            stages.senders.not_told(account.as_str());
            let doing = format!("telling {account} that mail is held");
            stages.log.fault(&doing, &fault);
        }
    }

    fn envelope(&mut self, arrived: Timestamp, visit: &Visit, over: Option<Over>) -> Envelope {
        let facts = self.scan.facts();
        let mut message = Message::ours(arrived, content_facts(facts));
        message.reverse_path = self.mail.reverse_path.clone();
        message.envid = self.mail.envelope_id.as_ref().map(|id| id.as_str().into());
        message.ret = self.mail.ret;
        message.content.binary = self.is_binary();
        message.body = match self.mail.body {
            BodyType::BinaryMime => BodyType::EightBitMime,
            body => body,
        };
        message.smtp_utf8 = self.mail.smtp_utf8;
        message.require_tls = self.mail.require_tls;
        // RFC 8689 §4: who asks for TLS does not mean the header field.
        message.tls_optional = facts.tls_not_required && !self.mail.require_tls;
        message.release = self.mail.hold.and_then(|hold| release(hold, arrived));
        message.deliver_by = self
            .mail
            .deliver_by
            .map(|by| deliver_by(by, self.id.time()));
        message.priority = self.mail.priority.map_or(0, Priority::get);
        message.listener = visit.service.name().into();
        message.peer = visit.peer_text.as_str().into();
        message.hello = visit.hello.as_str().into();
        message.account = visit.login.as_ref().map(|login| login.name.as_str().into());
        let mut recipients = std::mem::take(&mut self.recipients).into_list();
        for recipient in &mut recipients {
            recipient.progress.not_before = message.release.unwrap_or_default();
            recipient.progress.held |= over.is_some();
        }
        let mut envelope = Envelope {
            id: self.id,
            message,
            recipients,
        };
        if let Some(judgement) = &self.judgement {
            judged::mark(judgement, &mut envelope);
        }
        envelope
    }

    /// What goes on top.
    fn trace(&self, arrived: Timestamp, visit: &Visit, stages: &Reception) -> String {
        let utf8 = self.scan.facts().utf8_header;
        let found = self.judgement.as_ref().map(|j| judged::fields(j, utf8));
        found.unwrap_or_default() + &self.received_field(arrived, visit, stages)
    }

    fn received_field(&self, arrived: Timestamp, visit: &Visit, stages: &Reception) -> String {
        let only = self.recipients.only().and_then(ForwardPath::mailbox);
        let only = only.map(ToString::to_string);
        let field = received::Received {
            hello: &visit.hello,
            peer: visit.peer.ip(),
            reverse_name: visit.name.as_deref(),
            by: &stages.settings.hostname,
            protocol: visit.protocol,
            tls: visit.tls.as_ref().map(|tls| received::Tls {
                version: tls.version,
                cipher: &tls.cipher,
            }),
            authenticated: visit.login.is_some(),
            utf8: self.mail.smtp_utf8,
            id: &self.id_text,
            recipient: only.as_deref(),
            unix_s: arrived.as_secs(),
        };
        field.render()
    }
}

/// When a message that is held for its sender is due; none when that is now (RFC 4865).
fn release(hold: Hold, now: Timestamp) -> Option<Timestamp> {
    let at = match hold {
        Hold::For(seconds) => now + Duration::from_secs(seconds.into()),
        Hold::Until(time) => seconds_since_1970(time),
    };
    (at > now).then_some(at)
}

/// The time that a sender allows, counted from MAIL (RFC 2852 §4).
fn deliver_by(by: extension::DeliverBy, now: Timestamp) -> DeliverBy {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    DeliverBy {
        at: seconds_since_1970(now.saturating_add(by.by_time_s)),
        mode: by.mode,
        trace: by.trace,
    }
}

fn seconds_since_1970(time: i64) -> Timestamp {
    Timestamp::from_secs(u64::try_from(time).unwrap_or(0))
}
