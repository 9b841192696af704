//! Signing: one pass over a message, a field for each key.
//!
//! Both canonicalizations are relaxed, the whole body is signed (never `l=`), and the fields by
//! which a reader knows a message are signed once more than they stand there, so that none can be
//! added (RFC 6376 §5.4.2, §8.15). Fields that the way of a message adds or changes, such as
//! `Received` and `Return-Path`, are not signed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste_message::header::Facts;

use super::block::{Block, FieldsHash};
use super::body::Bodies;
use super::canonical::Canonicalization;
use super::private_key::{BadKey, PrivateKey};
use crate::dmarc::Authors;
use crate::intake::Intake;
use crate::lines::Lines;

/// Fields that are signed once more than they stand in the message, also when they do not.
const OVERSIGNED: [&str; 8] = [
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Content-Type",
    "MIME-Version",
];
/// Fields that are signed as often as they stand in the message (RFC 6376 §5.4.1; RFC 8058 §4 for
/// the last).
const SIGNED: [&str; 19] = [
    "Sender",
    "Reply-To",
    "In-Reply-To",
    "References",
    "Resent-Date",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Message-ID",
    "Content-Transfer-Encoding",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "List-Unsubscribe-Post",
];
/// Most fields of one name that are signed, so that our own `h=` stays readable for others.
const MAX_SAME: usize = 8;
/// Columns of base64 on one line.
const BASE64_COLUMNS: usize = 72;

/// In whose name a message is signed, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Signing<'a> {
    /// The domain (`d=`) in A-labels.
    pub domain: &'a str,
    /// Selectors with their keys. Each makes one field, in this order.
    pub keys: &'a [(&'a str, &'a PrivateKey)],
    /// When the signature is made (`t=`), in seconds since 1970.
    pub now_s: u64,
    /// For how many seconds it is good (`x=`); `None` for ever.
    pub lifetime_s: Option<u64>,
}

/// Why a message was not signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsigned {
    /// It has no From field, or several. The number says how many.
    From(usize),
    /// Its header block is malformed or too large.
    Header,
    /// A key failed.
    Key(BadKey),
}

/// A message that is being signed.
pub struct Signer {
    stage: Stage,
    bodies: Bodies,
    flawed: bool,
}

enum Stage {
    Header(Intake),
    Body(Vec<u8>),
}

impl Signer {
    /// Starts a message.
    #[must_use]
    pub fn new() -> Self {
        let mut bodies = Bodies::default();
        bodies.want(Canonicalization::Relaxed, None);
        Signer {
            stage: Stage::Header(Intake::default()),
            bodies,
            flawed: false,
        }
    }

    /// Takes the next octets of the message; `facts` are those of a scan that has seen them.
    pub fn push(&mut self, octets: &[u8], facts: &Facts) {
        match &mut self.stage {
            Stage::Body(_) => self.bodies.push(octets),
            Stage::Header(intake) => {
                let Some(gathered) = intake.push(octets, facts) else {
                    return;
                };
                self.flawed = facts.malformed || facts.excess.is_some();
                self.stage = Stage::Body(gathered.block);
                self.bodies.push(&gathered.body.0);
                self.bodies.push(gathered.body.1);
            }
        }
    }

    /// Whom the From field names; `None` while the header block lasts. A message may end within it:
    /// pushing nothing with all that its scan found ends the block, too.
    #[must_use]
    pub fn authors(&self) -> Option<Authors> {
        match &self.stage {
            Stage::Header(_) => None,
            Stage::Body(block) => Some(Authors::of_header(block)),
        }
    }

    /// Signs, after the end of the message. `facts` are all that its scan found; `added` are whole
    /// fields that will stand above the header block when the message leaves.
    ///
    /// Gives the fields to put on top. One RSA signature takes about a millisecond.
    ///
    /// # Errors
    /// Why the message was not signed.
    pub fn finish(
        mut self,
        facts: &Facts,
        added: &[u8],
        signing: &Signing<'_>,
    ) -> Result<String, Unsigned> {
        self.push(b"", facts);
        let Stage::Body(block) = self.stage else {
            return Err(Unsigned::Header);
        };
        if self.flawed {
            return Err(Unsigned::Header);
        }
        let block = Block::new([added, &block].concat());
        let from_fields = block.named("From").count();
        if from_fields != 1 {
            return Err(Unsigned::From(from_fields));
        }
        let hashes = self.bodies.finish();
        let body = hashes.get(Canonicalization::Relaxed, None);
        let body = body.map(|body| STANDARD.encode(body.digest));
        let mut message = Message {
            names: names(&block),
            block,
            body: body.unwrap_or_default(),
        };
        let mut fields = String::new();
        for (selector, key) in signing.keys {
            fields.push_str(&message.sign(signing, selector, key)?);
        }
        Ok(fields)
    }
}

impl Default for Signer {
    fn default() -> Self {
        Signer::new()
    }
}

/// What every signature of a message shares.
struct Message {
    block: Block,
    /// The names in `h=`.
    names: Vec<String>,
    /// The text of `bh=`.
    body: String,
}

impl Message {
    fn sign(
        &mut self,
        signing: &Signing<'_>,
        selector: &str,
        key: &PrivateKey,
    ) -> Result<String, Unsigned> {
        let lines = self.start(signing, selector, key);
        let mut hash = FieldsHash::new(Canonicalization::Relaxed);
        for field in self.block.choose(&self.names, None) {
            hash.push(field.octets);
        }
        let unsigned = lines.clone().end();
        let digest = hash.finish(unsigned.as_bytes());
        let signature = STANDARD.encode(key.sign(&digest).map_err(Unsigned::Key)?);
        let mut lines = lines;
        let mut rest = signature.as_str();
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(rest.len().min(BASE64_COLUMNS));
            lines.glue(piece);
            rest = tail;
        }
        Ok(lines.end())
    }

    /// The field as far as the value of `b=`, which stands last.
    fn start(&self, signing: &Signing<'_>, selector: &str, key: &PrivateKey) -> Lines {
        let mut lines = Lines::new("DKIM-Signature:");
        lines.word("v=1;");
        lines.word(&format!("a={};", key.algorithm().word()));
        lines.word("c=relaxed/relaxed;");
        lines.word(&format!("d={};", signing.domain));
        lines.word(&format!("s={selector};"));
        lines.word(&format!("t={};", signing.now_s));
        if let Some(lifetime_s) = signing.lifetime_s {
            let expires_s = signing.now_s.saturating_add(lifetime_s);
            lines.word(&format!("x={expires_s};"));
        }
        for (index, name) in self.names.iter().enumerate() {
            let end = if index + 1 == self.names.len() {
                ";"
            } else {
                ":"
            };
            match index {
                0 => lines.line(&format!("h={name}{end}")),
                _ => lines.glue(&format!("{name}{end}")),
            }
        }
        lines.line(&format!("bh={};", self.body));
        lines.line("b=");
        lines
    }
}

/// The names of the fields to sign, as often as each is to be signed.
fn names(block: &Block) -> Vec<String> {
    let count = |name| block.named(name).take(MAX_SAME).count();
    let over = OVERSIGNED.iter().map(|name| (*name, count(name) + 1));
    let once = SIGNED.iter().map(|name| (*name, count(name)));
    let names = over.chain(once);
    names
        .flat_map(|(name, times)| std::iter::repeat_n(name.to_owned(), times))
        .collect()
}

impl fmt::Display for Unsigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsigned::From(0) => f.write_str("the message has no From field"),
            Unsigned::From(_) => f.write_str("the message has several From fields"),
            Unsigned::Header => f.write_str("the header block is malformed or too large"),
            Unsigned::Key(fault) => write!(f, "{fault}"),
        }
    }
}
