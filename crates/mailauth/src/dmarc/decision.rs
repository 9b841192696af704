//! What is to be done with a message: the owner's wish, and ours (RFC 9989 §5.4, §7.4).
//!
//! A published policy is a wish. What softens it here has a kind that an aggregate report can name
//! (RFC 9990 §3.1.6). This module does **not** do it.

use crate::Verdict;

use super::{Checked, Policy};

/// Why what is done differs from what was published (RFC 9990 §3.1.6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum OverrideKind {
    /// Our own configuration.
    LocalPolicy,
    /// It came through a mailing list.
    MailingList,
    /// Something else.
    Other,
    /// The owner is only testing (`t=y`).
    PolicyTestMode,
    /// It came through a forwarder that we trust, for one whose ARC seal says that it passed.
    TrustedForwarder,
}

impl OverrideKind {
    /// The word in a report.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            OverrideKind::LocalPolicy => "local_policy",
            OverrideKind::MailingList => "mailing_list",
            OverrideKind::Other => "other",
            OverrideKind::PolicyTestMode => "policy_test_mode",
            OverrideKind::TrustedForwarder => "trusted_forwarder",
        }
    }

    /// The kind of that word. `forwarded` and `sampled_out` of RFC 7489 are *other*.
    #[must_use]
    pub fn from_word(word: &str) -> Option<OverrideKind> {
        let all = [
            OverrideKind::LocalPolicy,
            OverrideKind::MailingList,
            OverrideKind::Other,
            OverrideKind::PolicyTestMode,
            OverrideKind::TrustedForwarder,
        ];
        match word {
            "forwarded" | "sampled_out" => Some(OverrideKind::Other),
            word => all.into_iter().find(|kind| kind.word() == word),
        }
    }
}

/// One reason, with a comment for people.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Override {
    /// Its kind.
    pub kind: OverrideKind,
    /// More about it; may be empty.
    pub comment: String,
}

/// What we bring to a decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Local {
    /// The strictest thing that is done for a published policy alone: RFC 9989 §5.4 advises
    /// against refusing for `p=reject` alone.
    pub strictest: Policy,
    /// What exempts this message: a list, a trusted forwarder.
    pub exempt: Option<Override>,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// What is to be done with the message.
    pub disposition: Policy,
    /// Why that differs from the published policy; empty when it does not.
    pub overrides: Vec<Override>,
}

impl Checked {
    /// Decides by the owner's wish and ours. Only a message that failed, or cannot be validated,
    /// has anything done to it.
    #[must_use]
    pub fn decide(&self, local: &Local) -> Decision {
        let mut decision = Decision {
            disposition: match self.verdict {
                Verdict::Fail | Verdict::Permerror => self.policy,
                _ => Policy::None,
            },
            overrides: Vec::new(),
        };
        if decision.disposition == Policy::None {
            return decision;
        }
        if self.testing {
            let kind = OverrideKind::PolicyTestMode;
            decision.soften(self.policy.milder(), kind, "t=y");
        }
        if let Some(exempt) = &local.exempt {
            decision.soften(Policy::None, exempt.kind, &exempt.comment);
        }
        let most = decision.disposition.min(local.strictest);
        let comment = format!("at most {} for a policy alone", local.strictest.word());
        decision.soften(most, OverrideKind::LocalPolicy, &comment);
        decision
    }
}

impl Decision {
    fn soften(&mut self, to: Policy, kind: OverrideKind, comment: &str) {
        if to < self.disposition {
            self.disposition = to;
            let comment = comment.to_owned();
            self.overrides.push(Override { kind, comment });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(verdict: Verdict, policy: Policy, testing: bool, local: &Local) -> String {
        let mut checked = Checked::new(verdict, Some("example.org"), String::new());
        (checked.policy, checked.testing) = (policy, testing);
        let decision = checked.decide(local);
        let kinds: Vec<_> = decision.overrides.iter().map(|o| o.kind.word()).collect();
        format!("{} {}", decision.disposition.word(), kinds.join(","))
    }

    #[test]
    fn the_mildest_wish_wins_and_each_that_softened_is_named() {
        let local = |strictest, exempt| Local {
            strictest,
            exempt: Option::map(exempt, |kind| Override {
                kind,
                comment: String::new(),
            }),
        };
        let strict = local(Policy::Reject, None);
        let mild = local(Policy::Quarantine, None);
        let list = local(Policy::Reject, Some(OverrideKind::MailingList));
        for (verdict, policy, testing, local, want) in [
            (Verdict::Fail, Policy::Reject, false, &strict, "reject "),
            (
                Verdict::Fail,
                Policy::Reject,
                false,
                &mild,
                "quarantine local_policy",
            ),
            (
                Verdict::Fail,
                Policy::Reject,
                true,
                &strict,
                "quarantine policy_test_mode",
            ),
            (
                Verdict::Fail,
                Policy::Quarantine,
                true,
                &strict,
                "none policy_test_mode",
            ),
            (
                Verdict::Fail,
                Policy::Reject,
                false,
                &list,
                "none mailing_list",
            ),
            (
                Verdict::Fail,
                Policy::Reject,
                true,
                &list,
                "none policy_test_mode,mailing_list",
            ),
            (Verdict::Fail, Policy::None, false, &list, "none "),
            (
                Verdict::Permerror,
                Policy::Reject,
                false,
                &strict,
                "reject ",
            ),
            (Verdict::Pass, Policy::Reject, false, &strict, "none "),
            (Verdict::Temperror, Policy::Reject, false, &strict, "none "),
        ] {
            assert_eq!(decide(verdict, policy, testing, local), want);
        }
    }
}
