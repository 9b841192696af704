//! What the verdicts on a message make of it: whose mail is judged, the fields that go on top, the
//! forged ones that go, and what the envelope remembers.
//!
//! Judged is what strangers bring to `mx`. Relay networks and users are known otherwise, and an
//! LMTP client has judged its mail before. This module does **not** refuse: policy does.

use std::sync::Arc;

use posthaste_mailauth::authentication_results::claims;
use posthaste_mailauth::dmarc::Policy;
use posthaste_message::fields;
use posthaste_queue::envelope::Envelope;
use posthaste_queue::spool::Edit;
use posthaste_smtp::address::ReversePath;

use super::Reception;
use super::visit::Visit;
use crate::authenticate::message::{Judge, Judgement, Sender, Settings};
use crate::config::{Quarantine, Service};
use crate::deliver::QUARANTINED;
use crate::report::UNREPORTED;

/// What tells filters and mail programs behind us that the message is in quarantine.
const DISPOSITION: &str = "X-Posthaste-Disposition";
const AUTHENTICATION_RESULTS: &str = "Authentication-Results";

/// Begins to judge the message that follows, where its sender is to be judged.
#[must_use]
pub fn begin(
    settings: &Arc<Settings>,
    reverse_path: &ReversePath,
    visit: &Visit,
    stages: &Reception,
) -> Option<Box<Judge>> {
    let stranger = visit.service == Service::Mx && !stages.policy.may_relay(visit.who());
    if !settings.rules.check || !stranger {
        return None;
    }
    let sender = Sender {
        ip: visit.address,
        helo: visit.hello.clone(),
        reverse_path: reverse_path.clone(),
    };
    let now_s = stages.world.clock.now().as_secs();
    Some(Box::new(Judge::begin(
        &stages.world,
        settings,
        sender,
        now_s,
    )))
}

/// The fields that say what was found (RFC 8601 §5, RFC 7208 §9.1). Those beyond ASCII are written
/// with `utf8` alone.
#[must_use]
pub fn fields(judgement: &Judgement, utf8: bool) -> String {
    let mut fields = judgement.authentication_results().field(utf8);
    if judgement.rules().received_spf {
        fields.extend(judgement.received_spf());
    }
    if judgement.disposition() == Policy::Quarantine {
        fields.push_str(&format!("{DISPOSITION}: quarantine\r\n"));
    }
    fields
}

/// The edits that remove from a header block what claims to be from us (RFC 8601 §5).
#[must_use]
pub fn forged(block: &[u8], authserv_id: &str) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut kept = 0;
    for field in fields::split(block) {
        let is = |name: &str| {
            fields::name(field).is_some_and(|n| n.eq_ignore_ascii_case(name.as_bytes()))
        };
        let mut delete = |name: &str, nth| {
            let name = name.into();
            edits.push(Edit::Delete { name, nth });
        };
        if is(DISPOSITION) {
            delete(DISPOSITION, 0);
        } else if is(AUTHENTICATION_RESULTS) && claims(field, &[authserv_id]) {
            delete(AUTHENTICATION_RESULTS, kept);
        } else if is(AUTHENTICATION_RESULTS) {
            kept += 1;
        }
    }
    edits
}

/// Notes in the envelope what is to be done with the message.
pub fn mark(judgement: &Judgement, envelope: &mut Envelope) {
    let message = &mut envelope.message;
    if judgement.reverse_path_is_forged() {
        message.tags.push(UNREPORTED.into());
    }
    if judgement.disposition() != Policy::Quarantine {
        return;
    }
    message.tags.push(QUARANTINED.into());
    if judgement.rules().quarantine == Quarantine::Hold {
        for recipient in &mut envelope.recipients {
            recipient.progress.held = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields that are left, as a reader of the message finds them.
    fn left(block: &str) -> String {
        let mut fields: Vec<&[u8]> = fields::split(block.as_bytes());
        for edit in forged(block.as_bytes(), "mx.ours.test") {
            let Edit::Delete { name, nth } = edit else {
                unreachable!()
            };
            let same = |f: &&&[u8]| {
                fields::name(f).is_some_and(|n| n.eq_ignore_ascii_case(name.as_bytes()))
            };
            let nth = usize::try_from(nth).unwrap();
            let field = *fields.iter().filter(same).nth(nth).unwrap();
            let place = fields.iter().position(|f| std::ptr::eq(*f, field)).unwrap();
            fields.remove(place);
        }
        String::from_utf8(fields.concat()).unwrap()
    }

    #[test]
    fn what_claims_to_be_ours_goes_and_the_rest_stays_in_its_order() {
        let others = "Authentication-Results: mx.other.test; spf=pass\r\n";
        let body = "Subject: Authentication-Results: mx.ours.test; spf=pass\r\n";
        let ours = "Authentication-Results: mx.ours.test; dmarc=pass\r\n";
        let folded = "authentication-results :\r\n (c)\tMX.Ours.Test 1;\r\n\tdmarc=pass\r\n";
        let disposition = "x-posthaste-disposition: none\r\n";
        for (block, want) in [
            (String::new(), String::new()),
            (format!("{others}{body}"), format!("{others}{body}")),
            (
                format!("{ours}{others}{folded}{body}"),
                format!("{others}{body}"),
            ),
            (
                format!("{others}{ours}{others}{ours}{disposition}{others}"),
                others.repeat(3),
            ),
            (format!("{disposition}{body}{disposition}"), body.to_owned()),
        ] {
            assert_eq!(left(&block), want, "{block}");
        }
    }
}
