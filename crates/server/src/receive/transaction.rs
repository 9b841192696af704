//! What a transaction has gathered, from MAIL to the end of its data.
//!
//! A [`Transaction`] is the open one of a connection, or none. At the final dot it becomes
//! [`Received`], which [`accept`](super::accept) commits: there the envelope is made, our
//! `Received:` field is put on top, and the octets are handed to the queue. This module does
//! **not** judge anything: policy does.

use posthaste_message::header::{Facts, Scan};
use posthaste_message::received;
use posthaste_queue::envelope::{Envelope, Message};
use posthaste_queue::spool::{Draft, Prelude, WriteError};
use posthaste_queue::{QueueId, Receipt};
use posthaste_smtp::address::ForwardPath;
use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{Mail, Rcpt};

use super::recipients::{Recipients, TooMany};
use super::visit::Visit;
use super::{Reception, content_facts};
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
        let received = Received {
            id,
            id_text: id.to_string(),
            mail,
            to: Vec::new(),
            refused: Vec::new(),
            recipients: Recipients::default(),
            draft: None,
            scan: Scan::new(),
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
        let reply = Reply::new(
            250,
            (2, 1, 0),
            format!("sender accepted [{}]", received.id_text),
        );
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

    /// DATA: makes a draft for what follows.
    pub fn open_draft(&mut self, stages: &Reception) -> Reply {
        let Some(received) = &mut self.0 else {
            return Reply::local_error();
        };
        received.draft = Some(stages.queue.draft());
        Reply::plain(354, format!("end with CRLF.CRLF [{}]", received.id_text))
    }

    /// Octets of the message. A disk that fails or is full is told at the dot.
    pub async fn write(&mut self, octets: &[u8]) {
        let Some(received) = &mut self.0 else { return };
        received.scan.push(octets);
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

    /// Makes it durable: envelope, trace field and octets in one change of the queue.
    ///
    /// # Errors
    /// Nothing of it is kept, and the peer must be told so.
    pub async fn commit(
        &mut self,
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
        let trace = self.received_field(arrived, visit, stages).into_bytes();
        let envelope = self.envelope(arrived, visit);
        stages
            .queue
            .commit(draft, envelope, Prelude::trace(trace))
            .await
    }

    fn envelope(&mut self, arrived: posthaste_world::Timestamp, visit: &Visit) -> Envelope {
        let facts = self.scan.facts();
        let mut message = Message::ours(arrived, content_facts(facts));
        message.reverse_path = self.mail.reverse_path.clone();
        message.envid = self.mail.envelope_id.as_ref().map(|id| id.as_str().into());
        message.ret = self.mail.ret;
        message.body = self.mail.body;
        message.smtp_utf8 = self.mail.smtp_utf8;
        message.tls_optional = facts.tls_not_required;
        message.listener = visit.service.name().into();
        message.peer = visit.peer_text.as_str().into();
        message.hello = visit.hello.as_str().into();
        message.account = visit.login.as_ref().map(|login| login.name.as_str().into());
        Envelope {
            id: self.id,
            message,
            recipients: std::mem::take(&mut self.recipients).into_list(),
        }
    }

    fn received_field(
        &self,
        arrived: posthaste_world::Timestamp,
        visit: &Visit,
        stages: &Reception,
    ) -> String {
        let only = self.recipients.only().and_then(ForwardPath::mailbox);
        let only = only.map(ToString::to_string);
        let field = received::Received {
            hello: &visit.hello,
            peer: visit.peer.ip(),
            reverse_name: None,
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
