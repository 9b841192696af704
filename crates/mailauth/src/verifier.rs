//! One pass over a message for all that is proved by signatures: DKIM and ARC.
//!
//! The message is pushed in pieces as it comes. When its header block has ended the names of all
//! keys are known, so they can be asked for while the body still comes; the body is hashed as it
//! passes by, at most twice whatever signatures ask. When both have ended the verdicts are made.
//! Memory is the header block and a few hundred octets.
//!
//! ```text
//! scan.push(piece); verifier.push(piece, scan.facts());    // for each piece
//! verifier.key_names()                                     // once it is not None: Keys::fetch
//! let facts = scan.finish(); verifier.end(&facts);         // at the end of the message
//! verifier.judge(&keys, Service::Email)
//! ```
//!
//! This module does **not** ask the DNS and does not know the time: both are given to it.

use std::sync::Arc;

use posthaste_message::header::{Facts, Scan};
use posthaste_world::Dns;

use crate::arc::{self, Chain};
use crate::dkim::block::Block;
use crate::dkim::body::Bodies;
use crate::dkim::check::Checks;
use crate::dkim::{self, Keys, Service};
use crate::dmarc::Authors;
use crate::intake::{Gathered, Intake};

/// Signatures of a message that is coming.
pub struct Verifier {
    now_s: u64,
    stage: Stage,
}

enum Stage {
    Header(Intake),
    Body(Box<Signatures>),
}

/// What a header block that has ended says.
struct Signatures {
    block: Block,
    bodies: Bodies,
    dkim: Checks,
    arc: Chain,
    key_names: Vec<String>,
    authors: Authors,
}

/// What the signatures of a message prove.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// One finding for each DKIM signature, in the order of the fields.
    pub dkim: Vec<dkim::Finding>,
    /// What the ARC chain says.
    pub arc: arc::Finding,
}

impl Verifier {
    /// Starts a message. `now_s` is when it came, in seconds since 1970.
    #[must_use]
    pub fn new(now_s: u64) -> Self {
        Verifier {
            now_s,
            stage: Stage::Header(Intake::default()),
        }
    }

    /// Takes the next octets of the message; `facts` are those of a scan that has seen them.
    pub fn push(&mut self, octets: &[u8], facts: &Facts) {
        match &mut self.stage {
            Stage::Body(signatures) => signatures.bodies.push(octets),
            Stage::Header(intake) => {
                if let Some(gathered) = intake.push(octets, facts) {
                    let signatures = Signatures::new(gathered, facts, self.now_s);
                    self.stage = Stage::Body(Box::new(signatures));
                }
            }
        }
    }

    /// Ends the message; `facts` are all that its scan found. Needed before [`Verifier::key_names`]
    /// only because a message may end within its header block.
    pub fn end(&mut self, facts: &Facts) {
        if matches!(self.stage, Stage::Header(_)) {
            self.push(b"", facts);
        }
    }

    /// The names of the keys to ask for, each once; `None` while the header block lasts.
    #[must_use]
    pub fn key_names(&self) -> Option<&[String]> {
        match &self.stage {
            Stage::Header(_) => None,
            Stage::Body(signatures) => Some(&signatures.key_names),
        }
    }

    /// Whom the From field names; `None` while the header block lasts.
    #[must_use]
    pub fn authors(&self) -> Option<&Authors> {
        match &self.stage {
            Stage::Header(_) => None,
            Stage::Body(signatures) => Some(&signatures.authors),
        }
    }

    /// The verdicts, after the end of the message. Checks up to 61 signatures, at some ten
    /// microseconds each.
    #[must_use]
    pub fn judge(self, keys: &Keys, service: Service) -> Verified {
        let Stage::Body(signatures) = self.stage else {
            return Verified {
                dkim: Vec::new(),
                arc: arc::Finding::none(),
            };
        };
        let hashes = signatures.bodies.finish();
        let block = &signatures.block;
        Verified {
            dkim: signatures.dkim.judge(block, &hashes, keys, service),
            arc: signatures.arc.judge(block, &hashes, keys),
        }
    }
}

impl Signatures {
    fn new(gathered: Gathered<'_>, facts: &Facts, now_s: u64) -> Self {
        // What broke a bound of the header block counts as body, so what is seen of the block is
        // not all of it: such a message has no signatures.
        let authors = Authors::of_header(&gathered.block);
        let block = match facts.excess {
            None => Block::new(gathered.block),
            Some(_) => Block::default(),
        };
        let mut bodies = Bodies::default();
        let dkim = Checks::new(&block, now_s, &mut bodies);
        let arc = Chain::new(&block, now_s, &mut bodies);
        bodies.push(&gathered.body.0);
        bodies.push(gathered.body.1);
        let mut key_names: Vec<String> = dkim.key_names().chain(arc.key_names()).collect();
        key_names.sort_unstable();
        key_names.dedup();
        Signatures {
            block,
            bodies,
            dkim,
            arc,
            key_names,
            authors,
        }
    }
}

/// Verifies a message that is there as a whole.
pub async fn verify(dns: Arc<dyn Dns>, now_s: u64, message: &[u8]) -> Verified {
    let (mut scan, mut verifier) = (Scan::new(), Verifier::new(now_s));
    scan.push(message);
    verifier.push(message, scan.facts());
    verifier.end(&scan.finish());
    let names = verifier.key_names().unwrap_or_default().to_vec();
    let keys = Keys::fetch(dns, names).await;
    verifier.judge(&keys, Service::Email)
}
