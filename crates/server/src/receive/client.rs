//! The peer as a client that says who it is: what AUTH it is offered, and its exchanges.
//!
//! Who it has shown to be is kept in the [`Visit`]. Nothing here decides what that is good for.

use std::sync::Arc;

use posthaste_smtp::reply::Reply;
use posthaste_smtp::server::{Auth, Session};

use super::Reception;
use super::visit::Visit;
use crate::authenticate::mechanism::{Channel, Mechanism};
use crate::authenticate::{Answer, Conversation, Verdict};
use crate::config::Service;

/// The AUTH of one connection.
#[derive(Default)]
pub struct Client {
    channel: Channel,
    conversation: Option<Conversation>,
}

impl Client {
    /// EHLO: offers what can be used now. Other services than submission never offer anything.
    pub async fn offer(&mut self, session: &mut Session, visit: &Visit, stages: &Reception) {
        if visit.service != Service::Submission {
            return;
        }
        let (mechanisms, channel) = stages.authenticator.offer(visit.tls.as_ref()).await;
        self.channel = channel;
        let names = mechanisms.into_iter().map(|m| m.name().into());
        session.offer_mechanisms(names.collect::<Arc<[Box<str>]>>());
        session.offer_future_release(stages.policy.future_release(stages.world.clock.now()));
    }

    /// A step of an exchange.
    pub async fn step(
        &mut self,
        step: Auth,
        session: &mut Session,
        visit: &mut Visit,
        stages: &Reception,
    ) {
        let answer = match (step, self.conversation.take()) {
            (Auth::Begin { mechanism, initial }, _) => {
                // The session lets through what was offered, and no other.
                let Some(mechanism) = Mechanism::named(&mechanism) else {
                    return session.answer(Reply::auth_unavailable());
                };
                let (initial, address) = (initial.as_deref(), visit.peer.ip());
                let authenticator = &stages.authenticator;
                let begun = authenticator
                    .begin(mechanism, initial, &self.channel, address)
                    .await;
                self.conversation = Some(begun.0);
                begun.1
            }
            (Auth::Response(octets), Some(mut conversation)) => {
                let answer = stages
                    .authenticator
                    .respond(&mut conversation, &octets)
                    .await;
                self.conversation = Some(conversation);
                answer
            }
            (Auth::Response(_), None) => return session.answer(Reply::auth_unavailable()),
            (Auth::Cancelled, conversation) => {
                return visit.auth_cancelled(conversation.map(|c| c.mechanism()), stages);
            }
        };
        match answer {
            Answer::Challenge(octets) => session.challenge(&octets),
            Answer::Verdict(verdict) => {
                let mechanism = self.conversation.take().map(|c| c.mechanism());
                session.answer(settle(verdict, mechanism, visit, stages));
            }
        }
    }
}

fn settle(
    verdict: Verdict,
    mechanism: Option<Mechanism>,
    visit: &mut Visit,
    stages: &Reception,
) -> Reply {
    let reply = match &verdict.result {
        Ok(_) => Reply::new(235, (2, 7, 0), "Authentication succeeded"),
        Err(refusal) => refusal.reply.clone(),
    };
    visit.authenticated(verdict, mechanism, &reply, stages);
    reply
}
