//! ARC (RFC 8617): what those who passed a message on say they found before they changed it.
//!
//! The chain is verified only; nothing here seals. Its verdict is *pass* when the newest message
//! signature and every seal hold. That says who vouches for the message, not that they tell the
//! truth: use it only for sealers that the operator has named.
//!
//! Not here: the optional search for the oldest message signature that still holds (RFC 8617 §5.2
//! step 5), and sealing.

mod chain;

use std::borrow::Cow;

pub(crate) use chain::Chain;
pub use chain::MAX_SETS;

use crate::Verdict;
use crate::authentication_results::Entry;

/// What was found of a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// `none`, `pass` or `fail`.
    pub verdict: Verdict,
    /// Why.
    pub reason: Cow<'static, str>,
    /// The sealers from the first to the last; empty unless the chain passes.
    pub sealers: Vec<Sealer>,
    /// How many sets the message has; 0 also when they are no chain.
    pub chain_length: u32,
}

/// Who sealed the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealer {
    /// The instance: 1 is the first.
    pub instance: u32,
    /// The domain (`d=` of the seal) in lower-case A-labels.
    pub domain: String,
    /// Its selector (`s=`), likewise.
    pub selector: String,
    /// What it found when the message came to it: the value of an Authentication-Results field.
    pub authentication_results: String,
}

impl Finding {
    /// A message without a chain.
    #[must_use]
    pub(crate) fn none() -> Self {
        Finding {
            verdict: Verdict::None,
            reason: Cow::Borrowed("the message has no ARC fields"),
            sealers: Vec::new(),
            chain_length: 0,
        }
    }

    /// As it stands in Authentication-Results (RFC 8617 §10). `None` when there is no chain.
    #[must_use]
    pub fn entry(&self) -> Option<Entry> {
        let entry = Entry::new("arc", self.verdict);
        match (self.verdict, self.sealers.last()) {
            (Verdict::None, _) => None,
            (Verdict::Pass, Some(last)) => {
                let chain: Vec<&str> = self.sealers.iter().map(|s| s.domain.as_str()).collect();
                let comment = format!("i={} by {}", last.instance, last.domain);
                Some(
                    entry
                        .comment(comment)
                        .property("arc.chain", chain.join(":")),
                )
            }
            _ => Some(entry.comment(self.reason.as_ref())),
        }
    }
}
