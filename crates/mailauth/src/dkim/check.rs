//! The signatures of a message, from the fields to the verdicts (RFC 6376 §6.1).
//!
//! Every signature is judged for itself, in the order of the fields. At most [`MAX_SIGNATURES`] are
//! looked at, from the top: what stands there was added last. A signature that holds still does not
//! *pass* when the message shows what it does not cover, a second From or the end of the body: a
//! reader cannot tell the signed from the unsigned, so the verdict is `policy` (RFC 6376 §8.2,
//! §8.15).

use std::borrow::Cow;

use super::block::{Block, FieldsHash};
use super::body::{Bodies, Hashes};
use super::flaw::Flaw;
use super::key::{RSA_BITS_STRONG, Service};
use super::lookup::Keys;
use super::signature::{Signature, unquote};
use super::tag::{self, Tags};
use crate::authentication_results::Entry;
use crate::{Verdict, name};

/// Most signatures of a message that are looked at.
pub const MAX_SIGNATURES: usize = 10;
/// Most characters kept of a tag that is only reported.
const MAX_REPORTED: usize = 255;
/// Characters of `b=` that tell signatures apart (RFC 8601 §2.7.1: at least eight).
const B_REPORTED: usize = 8;

/// What was found of one signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The domain that signed (`d=`), in lower-case A-labels; empty when there is none to be read.
    pub domain: String,
    /// `s=`, likewise.
    pub selector: String,
    /// `a=` as it is written, without control characters.
    pub algorithm: String,
    /// `i=` as it is written, decoded; empty when it is absent.
    pub identity: String,
    /// The start of `b=`, by which reports tell signatures apart.
    pub signature: String,
    /// The result: `pass`, `fail`, `policy`, `temperror` or `permerror`.
    pub verdict: Verdict,
    /// Why.
    pub reason: Cow<'static, str>,
    /// The length of the RSA key, once it is known.
    pub key_bits: Option<u32>,
    /// The domain is only trying DKIM out (`t=y`).
    pub testing: bool,
    /// Octets at the end of the body, in its signed form, that the signature leaves out (`l=`).
    pub unsigned_octets: u64,
    /// `t=`: when it was made, in seconds since 1970.
    pub signed_s: Option<u64>,
    /// `x=`: until when it is good, in seconds since 1970.
    pub expires_s: Option<u64>,
}

impl Finding {
    /// The domain that answers for this message: that of a signature that passes.
    #[must_use]
    pub fn authenticated(&self) -> Option<&str> {
        (self.verdict == Verdict::Pass).then_some(self.domain.as_str())
    }

    /// The key is shorter than a signer should use today (RFC 8301 §3.2).
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.key_bits.is_some_and(|bits| bits < RSA_BITS_STRONG)
    }

    /// As it stands in Authentication-Results (RFC 8601 §2.7.1, RFC 8616 §5).
    #[must_use]
    pub fn entry(&self) -> Entry {
        let mut notes = Vec::new();
        if self.verdict != Verdict::Pass {
            notes.push(self.reason.to_string());
        }
        notes.extend(self.key_bits.map(|bits| format!("{bits}-bit key")));
        if self.testing {
            notes.push("testing".to_owned());
        }
        let mut entry = Entry::new("dkim", self.verdict).comment(notes.join(", "));
        for (property, value) in [
            ("header.d", &self.domain),
            ("header.i", &self.identity),
            ("header.s", &self.selector),
            ("header.a", &self.algorithm),
            ("header.b", &self.signature),
        ] {
            if !value.is_empty() {
                entry = entry.property(property, value.as_str());
            }
        }
        entry
    }
}

/// The signatures of a message whose header block has ended.
#[derive(Debug)]
pub(crate) struct Checks {
    checks: Vec<Check>,
    /// How many From fields the message has.
    from_fields: usize,
}

#[derive(Debug)]
struct Check {
    /// The place of its field.
    field: usize,
    finding: Finding,
    signature: Result<Signature, Flaw>,
}

impl Checks {
    /// Reads the signatures of a header block, and wants the hashes that they are checked with.
    pub(crate) fn new(block: &Block, now_s: u64, bodies: &mut Bodies) -> Self {
        let fields = block.named("DKIM-Signature").take(MAX_SIGNATURES);
        let mut checks: Vec<Check> = fields
            .map(|field| Check::new(field.index, field.value, now_s))
            .collect();
        for check in &checks {
            if let Ok(signature) = &check.signature {
                bodies.want(signature.body_form, signature.length);
            }
        }
        tell_apart(&mut checks);
        Checks {
            checks,
            from_fields: block.named("From").count(),
        }
    }

    /// The names of the keys that are needed.
    pub(crate) fn key_names(&self) -> impl Iterator<Item = String> {
        let signatures = self.checks.iter().flat_map(|check| &check.signature);
        signatures.map(|signature| signature.seal.key_name())
    }

    /// Judges every signature.
    pub(crate) fn judge(
        self,
        block: &Block,
        hashes: &Hashes,
        keys: &Keys,
        service: Service,
    ) -> Vec<Finding> {
        let from_fields = self.from_fields;
        let judged = self.checks.into_iter().map(|check| {
            let mut finding = check.finding;
            let checked = check.signature.and_then(|signature| {
                if let Ok(record) = keys.get(&signature.seal.key_name()) {
                    finding.key_bits = record.key.rsa_bits();
                    finding.testing = record.testing;
                }
                let signed = Signed {
                    block,
                    field: check.field,
                    signature: &signature,
                };
                finding.unsigned_octets = signed.check(hashes, keys, service)?;
                Ok(())
            });
            let flaw = checked.err().or_else(|| uncovered(&finding, from_fields));
            (finding.verdict, finding.reason) = match flaw {
                None => (Verdict::Pass, Cow::Borrowed("the signature holds")),
                Some(flaw) => (flaw.verdict, flaw.reason),
            };
            finding
        });
        judged.collect()
    }
}

/// What the message shows and a signature that holds does not answer for.
fn uncovered(finding: &Finding, from_fields: usize) -> Option<Flaw> {
    if from_fields == 0 {
        return Some(Flaw::syntax("the message has no From field"));
    }
    if from_fields > 1 {
        return Some(Flaw::policy("the message has several From fields"));
    }
    (finding.unsigned_octets > 0).then(|| Flaw::policy("the end of the body is not signed (l=)"))
}

/// A signature and where it stands.
pub(crate) struct Signed<'a> {
    pub(crate) block: &'a Block,
    pub(crate) field: usize,
    pub(crate) signature: &'a Signature,
}

impl Signed<'_> {
    /// Checks key, body and header (RFC 6376 §6.1.2 and §6.1.3). When all hold, gives how many
    /// octets at the end of the body are not signed.
    pub(crate) fn check(
        &self,
        hashes: &Hashes,
        keys: &Keys,
        service: Service,
    ) -> Result<u64, Flaw> {
        let signature = self.signature;
        let seal = &signature.seal;
        let record = keys.get(&seal.key_name())?;
        if let Some(flaw) = record.flaw(seal.algorithm, signature.below, service) {
            return Err(flaw);
        }
        let body = hashes
            .get(signature.body_form, signature.length)
            .ok_or(Flaw::syntax(
                "the body is shorter than what was signed (l=)",
            ))?;
        if body.digest.as_ref() != signature.body_hash {
            return Err(Flaw::fail("the body was changed (bh=)"));
        }
        let mut hash = FieldsHash::new(signature.header_form);
        for field in self.block.choose(&signature.fields, Some(self.field)) {
            hash.push(field.octets);
        }
        let own = self.block.field(self.field).map(|own| own.octets);
        let digest = hash.finish(&without_signature(own.unwrap_or_default()));
        if record.verifies(&digest, &seal.signature) {
            Ok(body.unsigned)
        } else {
            Err(Flaw::fail("the header was changed, or the key is another"))
        }
    }
}

/// A signature's field with nothing between `b=` and the semicolon or the end (RFC 6376 §3.7).
pub(crate) fn without_signature(field: &[u8]) -> Vec<u8> {
    let colon = field.iter().position(|&b| b == b':').map_or(0, |at| at + 1);
    let (name, value) = field.split_at_checked(colon).unwrap_or((field, &[]));
    let value = value.strip_suffix(b"\r\n").unwrap_or(value);
    let span = Tags::parse(value).ok().and_then(|tags| tags.span("b"));
    let span = span.unwrap_or(value.len()..value.len());
    let (before, after) = (value.get(..span.start), value.get(span.end..));
    [name, before.unwrap_or_default(), after.unwrap_or_default()].concat()
}

impl Check {
    fn new(field: usize, value: &[u8], now_s: u64) -> Self {
        let tags = Tags::parse(value).map_err(Flaw::syntax);
        let signature = tags.as_ref().map_err(Clone::clone);
        let signature = signature
            .and_then(Signature::parse)
            .and_then(|signature| match signature.has_expired(now_s) {
                true => Err(Flaw::syntax("the signature has expired (x=)")),
                false => Ok(signature),
            });
        let mut finding = match &tags {
            Ok(tags) => Finding::of(tags),
            Err(_) => Finding::empty(),
        };
        if let Ok(signature) = &signature {
            (finding.signed_s, finding.expires_s) = (signature.signed_s, signature.expires_s);
        }
        Check {
            field,
            finding,
            signature,
        }
    }
}

impl Finding {
    /// Nothing is known yet.
    pub(crate) fn empty() -> Self {
        Finding {
            domain: String::new(),
            selector: String::new(),
            algorithm: String::new(),
            identity: String::new(),
            signature: String::new(),
            verdict: Verdict::Neutral,
            reason: Cow::Borrowed(""),
            key_bits: None,
            testing: false,
            unsigned_octets: 0,
            signed_s: None,
            expires_s: None,
        }
    }

    /// What can be said of any tag list, right or wrong.
    fn of(tags: &Tags<'_>) -> Self {
        let name = |tag| tags.get(tag).and_then(name::ascii).unwrap_or_default();
        let text = |text: String| -> String {
            let kept = text.chars().filter(|c| !c.is_control());
            kept.take(MAX_REPORTED).collect()
        };
        let raw = |tag| tags.get(tag).map(tag::squeeze).unwrap_or_default();
        Finding {
            domain: name("d"),
            selector: name("s"),
            algorithm: text(raw("a")),
            identity: text(tags.get("i").and_then(unquote).unwrap_or_default()),
            signature: text(raw("b")),
            ..Finding::empty()
        }
    }
}

/// Cuts what is reported of `b=` to as much as tells the signatures of the message apart.
fn tell_apart(checks: &mut [Check]) {
    let whole: Vec<String> = checks
        .iter_mut()
        .map(|check| std::mem::take(&mut check.finding.signature))
        .collect();
    for (index, check) in checks.iter_mut().enumerate() {
        let Some(own) = whole.get(index) else {
            continue;
        };
        let others = || {
            whole
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
        };
        let start = |n: usize| own.chars().take(n).collect::<String>();
        let shared = |n: usize| others().any(|(_, other)| other.starts_with(&start(n)));
        let most = own.chars().count();
        let enough = (B_REPORTED..most).find(|&n| !shared(n)).unwrap_or(most);
        check.finding.signature = start(enough);
    }
}
