//! Whose mail is signed when it comes, and in whose name.
//!
//! Users and hosts of relay networks send for us. A stranger does not, and an LMTP client hands on
//! what strangers have sent. This module does **not** sign: [`crate::sign`] does.

use posthaste_queue::spool::Edit;
use posthaste_smtp::address::ReversePath;

use super::Reception;
use super::visit::Visit;
use crate::config::{Service, text};
use crate::sign::{Pending, Scope};

/// Begins to sign the message that follows, where its sender's mail is to be signed.
pub async fn begin(visit: &Visit, stages: &Reception) -> Option<Box<Pending>> {
    let ours = visit.service != Service::Lmtp && stages.policy.may_relay(visit.who());
    match ours {
        true => stages.signatures.begin().await.map(Box::new),
        false => None,
    }
}

/// In whose name the sender's mail is signed: an account's for the domain of the reverse-path, or
/// where that is null for the account's own.
#[must_use]
pub fn scope(reverse_path: &ReversePath, visit: &Visit) -> Scope {
    let Some(account) = visit.who().account else {
        return Scope::Every;
    };
    let own = || Some(account.as_str().rsplit_once('@')?.1.to_owned());
    let domain = match reverse_path.mailbox() {
        Some(mailbox) => mailbox.domain().name().map(text::canonical),
        None => own(),
    };
    Scope::Domain(domain.unwrap_or_default())
}

/// The fields that edits add to a message.
#[must_use]
pub fn added(edits: &[Edit]) -> Vec<u8> {
    let mut fields = Vec::new();
    for edit in edits {
        if let Edit::Insert { field, .. } = edit {
            fields.extend_from_slice(field);
        }
    }
    fields
}
