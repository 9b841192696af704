//! Why a signature does not count: the result word and the reason behind it.

use std::borrow::Cow;

use crate::Verdict;

/// What is wrong with a signature or its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Flaw {
    pub(crate) verdict: Verdict,
    pub(crate) reason: Cow<'static, str>,
}

impl Flaw {
    /// It can never be checked (RFC 6376 §6.1: PERMFAIL).
    pub(crate) const fn syntax(reason: &'static str) -> Self {
        Flaw {
            verdict: Verdict::Permerror,
            reason: Cow::Borrowed(reason),
        }
    }

    /// It was checked, and does not hold.
    pub(crate) const fn fail(reason: &'static str) -> Self {
        Flaw {
            verdict: Verdict::Fail,
            reason: Cow::Borrowed(reason),
        }
    }

    /// It may hold, but we do not accept it (RFC 8601 §2.7.1).
    pub(crate) const fn policy(reason: &'static str) -> Self {
        Flaw {
            verdict: Verdict::Policy,
            reason: Cow::Borrowed(reason),
        }
    }

    /// It cannot be checked now (RFC 6376 §6.1: TEMPFAIL).
    pub(crate) fn temporary(reason: String) -> Self {
        Flaw {
            verdict: Verdict::Temperror,
            reason: Cow::Owned(reason),
        }
    }
}
