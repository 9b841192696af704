//! Signing: DKIM signatures on the mail that leaves in the name of our domains (RFC 6376 §5).
//!
//! Signed is what users submit, what relay networks bring, and what we write ourselves, when the
//! domain of its From field, or one above it, has keys. An account's mail is signed only for the
//! domain of its reverse-path, which policy has found to be the account's; so one domain of a
//! server does not sign for another's users. A stranger's mail is never signed: nobody calls this
//! for it.
//!
//! The hash is made while the message comes; the signature on a pool, since one of RSA takes a
//! millisecond. A message that cannot be signed goes as it is. This module does **not** decide
//! whose mail it is, and changes no octet: it gives fields to put on top.

pub mod keys;
pub mod rotation;
pub mod stage;
pub mod store;

use std::path::Path;
use std::sync::Arc;

use posthaste_mailauth::dkim::{Signer, Signing, Unsigned};
use posthaste_message::header::{Facts, Scan};
use posthaste_world::World;
use posthaste_world::work::Pool;

use crate::telemetry::Log;
use keys::Keyring;
use store::Store;

/// What signs, for a server.
pub struct Signatures {
    world: World,
    log: Arc<Log>,
    store: Store,
}

/// A message that may be signed, while it comes.
pub struct Pending {
    signer: Signer,
    keys: Arc<Keyring>,
}

/// In whose name a message may be signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Any domain that has keys: a relay network, or we ourselves, sent it.
    Every,
    /// This domain (in A-labels and lower case) and those above it: an account sent it.
    Domain(String),
}

impl Scope {
    fn covers(&self, signing: &str) -> bool {
        match self {
            Scope::Every => true,
            Scope::Domain(domain) => keys::is_within(domain, signing),
        }
    }
}

impl Pending {
    /// Takes the next octets of the message; `facts` are those of a scan that has seen them.
    pub fn push(&mut self, octets: &[u8], facts: &Facts) {
        self.signer.push(octets, facts);
    }
}

impl Signatures {
    /// With the keys in `data_dir`.
    #[must_use]
    pub fn new(world: &World, log: &Arc<Log>, data_dir: &Path) -> Self {
        Signatures {
            world: world.clone(),
            log: log.clone(),
            store: Store::new(world.clone(), log.clone(), data_dir),
        }
    }

    /// Begins a message; none when there is no key.
    pub async fn begin(&self) -> Option<Pending> {
        let keys = self.store.current().await;
        (!keys.is_empty()).then(|| Pending {
            signer: Signer::new(),
            keys,
        })
    }

    /// The fields that sign a message, to be put on top; empty when it is not to be signed. `facts`
    /// are all that its scan found, `added` are the fields that completing it adds.
    pub async fn finish(
        &self,
        pending: Pending,
        facts: Facts,
        added: Vec<u8>,
        scope: Scope,
    ) -> String {
        let now_s = self.world.clock.now().as_secs();
        let job = move || sign(pending, &facts, &added, (&scope, now_s));
        match self.world.work.on(Pool::Crypto, job).await {
            Ok(Ok(fields)) => fields,
            Ok(Err((domain, why))) => {
                self.log.fault(&format!("signing mail of {domain}"), &why);
                String::new()
            }
            // A panic was told where it happened.
            Err(_) => String::new(),
        }
    }

    /// The same for a whole message of our own.
    pub async fn of_our_own(&self, message: &[u8]) -> String {
        let Some(mut pending) = self.begin().await else {
            return String::new();
        };
        let mut scan = Scan::new();
        scan.push(message);
        pending.push(message, scan.facts());
        self.finish(pending, scan.finish(), Vec::new(), Scope::Every)
            .await
    }
}

/// Signs, where there are keys for the author. A message without one certain author, or with a
/// malformed header block, is nobody's to sign; a key that fails is the operator's business.
fn sign(
    mut pending: Pending,
    facts: &Facts,
    added: &[u8],
    (scope, now_s): (&Scope, u64),
) -> Result<String, (String, Unsigned)> {
    pending.signer.push(b"", facts);
    let authors = pending.signer.authors().unwrap_or_default();
    let found = authors.domain().and_then(|a| pending.keys.for_author(a));
    let Some((domain, keys)) = found.filter(|(domain, _)| scope.covers(domain)) else {
        return Ok(String::new());
    };
    let keys: Vec<_> = keys.iter().map(|k| (&*k.selector, &k.key)).collect();
    let signing = Signing {
        domain,
        keys: &keys,
        now_s,
        lifetime_s: None,
    };
    match pending.signer.finish(facts, added, &signing) {
        Err(why @ Unsigned::Key(_)) => Err((domain.to_owned(), why)),
        Err(Unsigned::From(_) | Unsigned::Header) => Ok(String::new()),
        Ok(fields) => Ok(fields),
    }
}

#[cfg(test)]
mod tests {
    use posthaste_mailauth::dkim::PrivateKey;

    use super::keys::SigningKey;
    use super::*;

    /// The domains in whose name a message is signed.
    fn signed(from: &str, scope: &Scope) -> Vec<String> {
        let key = |selector: &str| SigningKey {
            selector: selector.into(),
            made: posthaste_world::Timestamp::default(),
            standing: stage::Standing::new(stage::Stage::Active, Default::default()),
            key: PrivateKey::generate_ed25519().unwrap(),
        };
        let mut keys = Keyring::default();
        keys.add("ours.test", key("a"));
        keys.add("b.ours.test", key("b"));
        let message = format!("{from}Subject: x\r\n\r\nbody\r\n");
        let (mut scan, signer) = (Scan::new(), Signer::new());
        let keys = Arc::new(keys);
        let mut pending = Pending { signer, keys };
        for piece in message.as_bytes().chunks(5) {
            scan.push(piece);
            pending.push(piece, scan.facts());
        }
        let fields = sign(pending, &scan.finish(), b"Date: now\r\n", (scope, 1)).unwrap();
        let domain = |rest: &str| rest.split(';').next().unwrap_or_default().to_owned();
        fields.split("d=").skip(1).map(domain).collect()
    }

    #[test]
    fn the_author_s_domain_or_the_nearest_above_it_signs() {
        let every = || Scope::Every;
        assert_eq!(signed("From: a@ours.test\r\n", &every()), ["ours.test"]);
        assert_eq!(signed("From: a@X.Ours.Test\r\n", &every()), ["ours.test"]);
        assert_eq!(signed("From: a@b.ours.test\r\n", &every()), ["b.ours.test"]);
        for nobody in [
            "From: a@notours.test\r\n",
            "From: a@test\r\n",
            "From: a@ours.test, b@other.test\r\n",
            "From: a@ours.test\r\nFrom: a@ours.test\r\n",
            "",
        ] {
            assert_eq!(signed(nobody, &every()), [""; 0], "{nobody}");
        }
    }

    #[test]
    fn an_account_s_mail_is_signed_for_its_own_domain_alone() {
        let scope = |domain: &str| Scope::Domain(domain.into());
        let (ours, below) = ("From: a@ours.test\r\n", "From: a@b.ours.test\r\n");
        assert_eq!(signed(ours, &scope("ours.test")), ["ours.test"]);
        assert_eq!(signed(ours, &scope("b.ours.test")), ["ours.test"]);
        assert_eq!(signed(below, &scope("b.ours.test")), ["b.ours.test"]);
        assert_eq!(signed(below, &scope("ours.test")), [""; 0]);
        assert_eq!(signed(ours, &scope("notours.test")), [""; 0]);
        assert_eq!(signed(ours, &scope("")), [""; 0]);
    }
}
