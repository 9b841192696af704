//! The sets of a message and their validation, step by step as RFC 8617 §5.2 has it.

use std::borrow::Cow;

use aws_lc_rs::digest::Digest;

use super::{Finding, Sealer};
use crate::Verdict;
use crate::authentication_results::instance;
use crate::dkim::Keys;
use crate::dkim::block::{Block, Field, FieldsHash};
use crate::dkim::body::{Bodies, Hashes};
use crate::dkim::canonical::Canonicalization;
use crate::dkim::check::{Signed, without_signature};
use crate::dkim::flaw::Flaw;
use crate::dkim::key::Service;
use crate::dkim::signature::{Seal, Signature, need};
use crate::dkim::tag::{self, Tags};

/// Most sets of a chain (RFC 8617 §5.2 step 1).
pub const MAX_SETS: u32 = 50;
/// Most characters kept of what a sealer found.
const MAX_RESULTS: usize = 4096;

const RESULTS: &str = "ARC-Authentication-Results";
const SIGNATURE: &str = "ARC-Message-Signature";
const SEAL: &str = "ARC-Seal";

/// The chain of a message whose header block has ended.
#[derive(Debug)]
pub(crate) struct Chain {
    /// How many sets there are.
    length: u32,
    /// What the structure is, when it is one.
    state: Result<Option<Sealed>, Cow<'static, str>>,
}

/// A chain that is well formed: at least one set, numbered from 1 without a gap.
#[derive(Debug)]
struct Sealed {
    sets: Vec<Set>,
    /// The message signature of the newest set.
    newest: Signature,
}

/// One set, with the places of its fields.
#[derive(Debug)]
struct Set {
    results: usize,
    signature: usize,
    seal: usize,
    sealed: Seal,
    found: String,
}

/// The fields of a set while they are gathered.
#[derive(Clone, Debug, Default)]
struct Parts {
    results: Vec<(usize, String)>,
    signature: Vec<usize>,
    seal: Vec<usize>,
}

impl Chain {
    /// Reads the sets of a header block, and wants the hash that the newest signature is checked
    /// with.
    pub(crate) fn new(block: &Block, now_s: u64, bodies: &mut Bodies) -> Self {
        let fields = [RESULTS, SIGNATURE, SEAL].map(|name| block.named(name).count());
        let length = fields.into_iter().max().unwrap_or(0);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        if length == 0 {
            let state = Ok(None);
            return Chain { length, state };
        }
        let sealed = Sealed::new(block, length, now_s);
        if let Ok(sealed) = &sealed {
            bodies.want(sealed.newest.body_form, sealed.newest.length);
        }
        Chain {
            length,
            state: sealed.map(Some),
        }
    }

    /// The names of the keys that are needed.
    pub(crate) fn key_names(&self) -> impl Iterator<Item = String> {
        let sealed = self.state.iter().flatten();
        sealed.flat_map(|sealed| {
            let seals = sealed.sets.iter().map(|set| set.sealed.key_name());
            seals.chain([sealed.newest.seal.key_name()])
        })
    }

    /// Judges the chain.
    pub(crate) fn judge(self, block: &Block, hashes: &Hashes, keys: &Keys) -> Finding {
        let judged = match self.state {
            Ok(None) => return Finding::none(),
            Ok(Some(sealed)) => sealed.check(block, hashes, keys).map(|()| sealed),
            Err(reason) => Err(reason),
        };
        let (verdict, reason, sealers) = match judged {
            Ok(sealed) => {
                let reason = Cow::Borrowed("the newest signature and all seals hold");
                (Verdict::Pass, reason, sealed.sealers())
            }
            Err(reason) => (Verdict::Fail, reason, Vec::new()),
        };
        Finding {
            verdict,
            reason,
            sealers,
            chain_length: self.length,
        }
    }
}

impl Sealed {
    fn new(block: &Block, length: u32, now_s: u64) -> Result<Self, Cow<'static, str>> {
        if length > MAX_SETS {
            return Err("the chain has more than 50 sets".into());
        }
        let mut sets = Vec::new();
        for (instance, parts) in (1..).zip(gather(block, length)?) {
            sets.push(Set::new(block, instance, parts, length)?);
        }
        let last = sets.last().and_then(|set| block.field(set.signature));
        let value = last.map(|field| field.value).unwrap_or_default();
        let newest = message_signature(value, now_s)
            .map_err(|flaw| format!("message signature i={length}: {}", flaw.reason))?;
        Ok(Sealed { sets, newest })
    }

    /// Steps 4 and 6: the newest message signature, then every seal.
    fn check(&self, block: &Block, hashes: &Hashes, keys: &Keys) -> Result<(), Cow<'static, str>> {
        let length = self.sets.len();
        self.check_message(block, hashes, keys)
            .map_err(|flaw| format!("message signature i={length}: {}", flaw.reason))?;
        // A seal covers all sets up to its own, so the hash of one goes on into the next.
        let mut hash = FieldsHash::new(Canonicalization::Relaxed);
        for (instance, set) in (1..).zip(&self.sets) {
            let octets = |place| block.field(place).map_or(&b""[..], |field| field.octets);
            hash.push(octets(set.results));
            hash.push(octets(set.signature));
            let own = octets(set.seal);
            let digest = hash.clone().finish(&without_signature(own));
            hash.push(own);
            check_seal(&set.sealed, keys, &digest)
                .map_err(|flaw| format!("seal i={instance}: {}", flaw.reason))?;
        }
        Ok(())
    }

    fn check_message(&self, block: &Block, hashes: &Hashes, keys: &Keys) -> Result<(), Flaw> {
        let field = self.sets.last().map_or(0, |set| set.signature);
        let signed = Signed {
            block,
            field,
            signature: &self.newest,
        };
        if signed.check(hashes, keys, Service::Email)? > 0 {
            return Err(Flaw::policy("the end of the body is not signed (l=)"));
        }
        Ok(())
    }

    fn sealers(self) -> Vec<Sealer> {
        let sealers = (1..).zip(self.sets).map(|(instance, set)| Sealer {
            instance,
            domain: set.sealed.domain,
            selector: set.sealed.selector,
            authentication_results: set.found,
        });
        sealers.collect()
    }
}

fn check_seal(seal: &Seal, keys: &Keys, digest: &Digest) -> Result<(), Flaw> {
    let record = keys.get(&seal.key_name())?;
    if let Some(flaw) = record.flaw(seal.algorithm, false, Service::Email) {
        return Err(flaw);
    }
    if record.verifies(digest, &seal.signature) {
        Ok(())
    } else {
        Err(Flaw::fail("a field was changed, or the key is another"))
    }
}

/// The fields of each set, which are not known to be complete (step 1).
fn gather(block: &Block, length: u32) -> Result<Vec<Parts>, Cow<'static, str>> {
    let mut sets = vec![Parts::default(); usize::try_from(length).unwrap_or(0)];
    for field in block.named(RESULTS) {
        let text = String::from_utf8_lossy(field.value);
        let (number, found) = instance(&text).unzip();
        let found = found.unwrap_or_default().trim().chars().take(MAX_RESULTS);
        let found = found.collect();
        part(&mut sets, RESULTS, number)?
            .results
            .push((field.index, found));
    }
    for field in block.named(SIGNATURE) {
        part(&mut sets, SIGNATURE, tagged(&field))?
            .signature
            .push(field.index);
    }
    for field in block.named(SEAL) {
        part(&mut sets, SEAL, tagged(&field))?
            .seal
            .push(field.index);
    }
    Ok(sets)
}

/// The set that a field belongs to.
fn part<'a>(
    sets: &'a mut [Parts],
    name: &str,
    instance: Option<u32>,
) -> Result<&'a mut Parts, Cow<'static, str>> {
    let instance = instance.ok_or_else(|| format!("a {name} has no instance (i=)"))?;
    let place = instance
        .checked_sub(1)
        .and_then(|i| usize::try_from(i).ok());
    let part = place.and_then(|place| sets.get_mut(place));
    part.ok_or(Cow::Borrowed("the instances (i=) are not 1 to the last"))
}

/// The instance in a tag list.
fn tagged(field: &Field<'_>) -> Option<u32> {
    let tags = Tags::parse(field.value).ok()?;
    let number = tag::number(tags.get("i")?, 2)?;
    u32::try_from(number).ok()
}

impl Set {
    /// Steps 2 and 3: every field once, and the right verdict on the chain before.
    fn new(
        block: &Block,
        instance: u32,
        parts: Parts,
        length: u32,
    ) -> Result<Self, Cow<'static, str>> {
        let once = |places: &[usize], name| match places {
            [place] => Ok(*place),
            [] => Err(format!("set i={instance} has no {name}")),
            _ => Err(format!("set i={instance} has several {name}")),
        };
        let places: Vec<usize> = parts.results.iter().map(|(place, _)| *place).collect();
        let results = once(&places, RESULTS)?;
        let signature = once(&parts.signature, SIGNATURE)?;
        let seal = once(&parts.seal, SEAL)?;
        let field = block.field(seal);
        let value = field.map(|field| field.value).unwrap_or_default();
        let sealed = read_seal(value, instance, instance == length)
            .map_err(|flaw| format!("seal i={instance}: {}", flaw.reason))?;
        let found = parts.results.into_iter().next();
        Ok(Set {
            results,
            signature,
            seal,
            sealed,
            found: found.map(|(_, text)| text).unwrap_or_default(),
        })
    }
}

fn read_seal(value: &[u8], instance: u32, newest: bool) -> Result<Seal, Flaw> {
    let tags = Tags::parse(value).map_err(Flaw::syntax)?;
    match need(&tags, "cv")? {
        "none" if instance == 1 => {}
        "pass" if instance > 1 => {}
        "fail" if newest => return Err(Flaw::fail("the sealer found the chain broken (cv=fail)")),
        _ => {
            return Err(Flaw::syntax(
                "the verdict on the chain (cv=) is not as it must be",
            ));
        }
    }
    // RFC 8617 §4.1.3: the tags that say what is signed have no place here.
    if ["h", "bh"].iter().any(|name| tags.get(name).is_some()) {
        return Err(Flaw::syntax("a seal may not say what it signs (h=, bh=)"));
    }
    Seal::parse(&tags)
}

fn message_signature(value: &[u8], now_s: u64) -> Result<Signature, Flaw> {
    let tags = Tags::parse(value).map_err(Flaw::syntax)?;
    let signature = Signature::parse_unversioned(&tags)?;
    // RFC 8617 §4.1.2: seals are not signed by it.
    if signature.fields.iter().any(|name| name == "arc-seal") {
        return Err(Flaw::syntax("it signs ARC-Seal fields (h=)"));
    }
    if signature.has_expired(now_s) {
        return Err(Flaw::syntax("the signature has expired (x=)"));
    }
    Ok(signature)
}
