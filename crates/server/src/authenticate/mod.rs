//! Stage 3, authenticate: who is this client?
//!
//! An [`Authenticator`] says which mechanisms a session can be offered, and answers each step of an
//! AUTH exchange: with a challenge, or with a [`Verdict`] that ends it. The protocol of a mechanism
//! is [`mechanism`]'s, what is stored is [`accounts`]', who must wait is [`failures`]'.
//!
//! A user that is not there costs the same time and gets the same replies as a wrong password: an
//! account that is there stands in for it until the very end ([`Book::stand_in`]).
//!
//! This module does **not** write to the peer or log, and does not say what an authenticated client
//! may do: policy does.

pub mod accounts;
pub mod failures;
pub mod lanes;
pub mod mechanism;
pub mod message;
pub mod name;
pub mod secret;

use std::borrow::Cow;
use std::io::{self, ErrorKind, IoSlice};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_smtp::reply::Reply;
use posthaste_world::disk::Open;
use posthaste_world::work::Pool;
use posthaste_world::{Disk, World};

use crate::fault::Fault;
use crate::tls::{Facts, Peer};
use accounts::store::Store;
use accounts::{Account, Book};
use failures::{Blocked, Failures, Standing, Who};
use lanes::Lanes;
use mechanism::scram::Stored;
use mechanism::{Channel, Exchange, Mechanism, Step};
use name::{Claimed, Name, Password};
use secret::hash::{self, Hash, Recipe};
use secret::scram::{self, Keys, Salt, mac};
use secret::{Fingerprint, Secret};

/// Octets of the key that stand-ins are chosen by.
const KEY: usize = 32;

/// What of authentication outlives a configuration: what is known of failures, and the lanes.
pub struct Guard {
    /// Failed logins.
    pub failures: Arc<Failures>,
    lanes: Lanes,
    key: [u8; KEY],
    folder: PathBuf,
}

impl Guard {
    /// Reads what an earlier run remembered in `data_dir`, and makes the key of stand-ins when
    /// there is none.
    ///
    /// # Errors
    /// What the operator must mend.
    pub fn open(world: &World, data_dir: &Path) -> Result<Guard, Fault> {
        let folder = data_dir.join("auth");
        let fault = |path: &Path, e: io::Error| {
            Fault::new(format!("opening {}", path.display()), e)
                .fix("let the server's user write there")
        };
        let disk = &*world.disk;
        disk.create_dir(&folder).map_err(|e| fault(&folder, e))?;
        let path = folder.join("key");
        let key = key(world, &path).map_err(|e| fault(&path, e))?;
        let path = folder.join("failures");
        let failures = failures::file::read(disk, &path).map_err(|e| fault(&path, e))?;
        Ok(Guard {
            failures: Arc::new(failures),
            lanes: Lanes::new(),
            key,
            folder,
        })
    }

    /// Where failed logins are remembered.
    #[must_use]
    pub fn failures_file(&self) -> PathBuf {
        self.folder.join("failures")
    }
}

/// Says who clients are, as one configuration has it.
pub struct Authenticator {
    world: World,
    guard: Arc<Guard>,
    store: Arc<Store>,
    /// In the order in which they are offered.
    mechanisms: Vec<Mechanism>,
    hostname: String,
}

/// One AUTH exchange of a session.
pub struct Conversation {
    mechanism: Mechanism,
    exchange: Exchange,
    channel: Channel,
    peer: Option<IpAddr>,
    /// The secrets that SCRAM was told of.
    known: Vec<Proof>,
}

/// What is said to a step of an exchange.
pub enum Answer {
    /// 334 with these octets; the exchange goes on.
    Challenge(Vec<u8>),
    /// The exchange is over.
    Verdict(Verdict),
}

/// How an exchange ended.
pub struct Verdict {
    /// Who the client said it is; empty when it did not say so.
    pub claimed: String,
    /// Who it is, or why it is nobody.
    pub result: Result<Login, Refusal>,
}

/// Who a client is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Login {
    /// Its account.
    pub name: Name,
    /// The label of the secret that it has; empty for the main password.
    pub label: Box<str>,
    shown: Shown,
}

/// What a client has shown, as it was then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shown {
    /// That it knows this secret.
    Secret(Fingerprint),
    /// A certificate for the account.
    Certificate,
    /// Something to a peer that says so; and whether the account had a secret that is not locked.
    Elsewhere { open: bool },
}

/// The label of what a client has shown, and that itself.
type Proof = (Box<str>, Shown);

/// Why a client is nobody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What it is told.
    pub reply: Reply,
    /// What the log is told, which is more.
    pub cause: Cow<'static, str>,
}

impl Authenticator {
    /// An authenticator for the accounts in `store`, with these mechanisms in this order.
    #[must_use]
    pub fn new(
        world: World,
        guard: Arc<Guard>,
        store: Arc<Store>,
        mechanisms: Vec<Mechanism>,
        hostname: &str,
    ) -> Authenticator {
        Authenticator {
            world,
            guard,
            store,
            mechanisms,
            hostname: hostname.into(),
        }
    }

    /// The account of this name, for a client that has shown elsewhere to be its owner.
    pub async fn account(&self, name: &str) -> Option<Login> {
        let name = Name::parse(name)?;
        let book = self.store.current().await;
        let open = is_open(book.find(&name)?);
        Some(Login {
            name,
            label: Box::default(),
            shown: Shown::Elsewhere { open },
        })
    }

    /// Whether a login still holds, by the accounts as they were last read: what the operator takes
    /// away ends open sessions, too.
    ///
    /// # Errors
    /// 421: the account is gone or locked, or the secret is another one now.
    pub fn stands(&self, login: &Login, peer: Option<IpAddr>) -> Result<(), Reply> {
        let (book, now) = (self.store.last().book, self.world.clock.now());
        let usable = |s: &&Secret| s.is_usable(now, peer);
        let stands = book.find(&login.name).is_some_and(|account| {
            let mut usable = account.secrets.iter().filter(usable);
            match login.shown {
                Shown::Secret(print) => usable.any(|s| s.fingerprint == print),
                Shown::Certificate => usable.next().is_some(),
                Shown::Elsewhere { open } => !open || is_open(account),
            }
        });
        let text = format!(
            "the account {} is gone or locked, or its password was changed since you logged in; \
             closing connection",
            login.name
        );
        stands
            .then_some(())
            .ok_or_else(|| Reply::new(421, (4, 7, 0), text))
    }

    /// The mechanisms that a session with these facts of TLS can use now: those that some account
    /// can serve. Also the channel that its exchanges are bound to.
    pub async fn offer(&self, tls: Option<&Facts>) -> (Vec<Mechanism>, Channel) {
        let book = self.store.current().await;
        let mut channel = Channel {
            exporter: tls.and_then(|facts| facts.binding),
            certificate: match tls.map(|facts| &facts.peer) {
                Some(Peer::Verified(names)) => names.mail.clone(),
                _ => Vec::new(),
            },
            plus_offered: false,
        };
        let usable = |mechanism: &Mechanism| match mechanism {
            Mechanism::ScramSha256Plus => channel.exporter.is_some() && book.serves(*mechanism),
            Mechanism::External => certified(&book, &channel, None).is_some(),
            _ => book.serves(*mechanism),
        };
        let offered: Vec<_> = self.mechanisms.iter().copied().filter(usable).collect();
        channel.plus_offered = offered.contains(&Mechanism::ScramSha256Plus);
        (offered, channel)
    }

    /// Begins an exchange.
    pub async fn begin(
        &self,
        mechanism: Mechanism,
        initial: Option<&[u8]>,
        channel: &Channel,
        peer: Option<IpAddr>,
    ) -> (Conversation, Answer) {
        let unique = match mechanism {
            Mechanism::CramMd5 => {
                let now = self.world.clock.now().as_secs();
                let random = self.world.random.next_u64();
                mechanism::cram_md5::challenge(random, now, &self.hostname)
            }
            _ => String::new(),
        };
        let (exchange, step) = Exchange::begin(mechanism, initial, channel, &unique);
        let mut conversation = Conversation {
            mechanism,
            exchange,
            channel: channel.clone(),
            peer,
            known: Vec::new(),
        };
        let answer = self.answer(&mut conversation, step).await;
        (conversation, answer)
    }

    /// Takes a response.
    pub async fn respond(&self, conversation: &mut Conversation, response: &[u8]) -> Answer {
        let channel = conversation.channel.clone();
        let step = conversation.exchange.respond(response, &channel);
        self.answer(conversation, step).await
    }

    async fn answer(&self, conversation: &mut Conversation, step: Step) -> Answer {
        let peer = conversation.peer;
        let (claimed, result) = match step {
            Step::Challenge(octets) => return Answer::Challenge(octets),
            Step::Scram(first) => match self.standing(peer, first.claimed()) {
                Ok(_) => return self.scram(conversation, first.claimed()).await,
                Err(refusal) => (first.claimed().clone(), Err(refusal)),
            },
            Step::Malformed(why) => {
                let reply = Reply::new(501, (5, 5, 2), format!("malformed: {why}"));
                let cause = format!("malformed: {why}").into();
                let result = Err(Refusal { reply, cause });
                return Answer::Verdict(Verdict {
                    claimed: String::new(),
                    result,
                });
            }
            Step::Password(claimed, password) => {
                let result = self.password(peer, &claimed, password).await;
                (claimed, result)
            }
            Step::Digest(claimed, challenge, digest) => {
                let result = self.digest(peer, &claimed, &challenge, &digest).await;
                (claimed, result)
            }
            Step::Proven(claimed, secret) => {
                let proof = conversation.known.get(secret).cloned();
                let found = proof.ok_or("the secret is gone");
                // Others may have failed while this exchange was open.
                let standing = self.standing(peer, &claimed);
                let result = standing.and_then(|_| self.settle(peer, &claimed, found));
                (claimed, result)
            }
            Step::Wrong(claimed, why) => {
                let standing = self.standing(peer, &claimed);
                let result = standing.and_then(|_| self.settle(peer, &claimed, Err(why)));
                (claimed, result)
            }
            Step::Certificate(named) => self.certificate(conversation, named).await,
        };
        Answer::Verdict(Verdict {
            claimed: claimed.shown().into_owned(),
            result,
        })
    }

    /// Whether the client may try now.
    fn standing(&self, peer: Option<IpAddr>, claimed: &Claimed) -> Result<Standing, Refusal> {
        let now = self.world.clock.now();
        let standing = self.guard.failures.standing(peer, claimed, now);
        standing.map_err(|blocked| refusal(&blocked))
    }

    /// Counts how a try ended: with a secret, or with what was wrong.
    fn settle(
        &self,
        peer: Option<IpAddr>,
        claimed: &Claimed,
        found: Result<Proof, &'static str>,
    ) -> Result<Login, Refusal> {
        let now = self.world.clock.now();
        match (found, claimed.name()) {
            (Ok((label, shown)), Some(name)) => {
                self.guard.failures.succeeded(peer, name, now);
                let name = name.clone();
                Ok(Login { name, label, shown })
            }
            (found, _) => {
                self.guard.failures.failed(peer, claimed, now);
                let text = "the user name or the password is wrong";
                Err(Refusal {
                    reply: Reply::new(535, (5, 7, 8), text),
                    cause: found.err().unwrap_or("there is no such user").into(),
                })
            }
        }
    }

    async fn password(
        &self,
        peer: Option<IpAddr>,
        claimed: &Claimed,
        password: Password,
    ) -> Result<Login, Refusal> {
        let standing = self.standing(peer, claimed)?;
        let Some(turn) = self.guard.lanes.enter(standing).await else {
            return Err(busy("too many passwords wait to be checked"));
        };
        // Others may have failed while this one waited.
        self.standing(peer, claimed)?;
        let book = self.store.current().await;
        let (asked, key) = (claimed.clone(), self.guard.key);
        let begun = self.world.clock.elapsed();
        let checked = self.world.work.on(Pool::Crypto, move || {
            let account = asked.name().and_then(|name| book.find(name));
            let found = matching(account.or_else(|| book.stand_in(&key, &asked)), &password);
            account.map(|account| (account.clone(), found))
        });
        let checked = checked.await;
        let took = self.world.clock.elapsed().saturating_sub(begun);
        turn.end(took, &self.world);
        let Ok(checked) = checked else {
            return Err(busy("checking the password failed"));
        };
        let found = match checked {
            None => Err("there is no such user"),
            Some((_, found)) if found.is_empty() => Err("the password is wrong"),
            Some((account, found)) => {
                let now = self.world.clock.now();
                let mut secrets = found.iter().filter_map(|at| account.secrets.get(*at));
                let usable = secrets.find(|s| s.is_usable(now, peer));
                let unusable = "the secret is locked, expired, or not for this address";
                usable.map(proof).ok_or(unusable)
            }
        };
        self.settle(peer, claimed, found)
    }

    async fn digest(
        &self,
        peer: Option<IpAddr>,
        claimed: &Claimed,
        challenge: &[u8],
        digest: &[u8; secret::cram_md5::DIGEST],
    ) -> Result<Login, Refusal> {
        self.standing(peer, claimed)?;
        let book = self.store.current().await;
        let now = self.world.clock.now();
        let account = claimed.name().and_then(|name| book.find(name));
        let asked = account.or_else(|| book.stand_in(&self.guard.key, claimed));
        let secrets = asked.map_or(&[][..], |a| &a.secrets);
        let mut found = Err("the password is wrong, or not stored for CRAM-MD5");
        for secret in secrets {
            let right = secret
                .cram_md5
                .as_ref()
                .is_some_and(|k| k.answers(challenge, digest));
            if right && secret.is_usable(now, peer) {
                found = Ok(proof(secret));
            }
        }
        if account.is_none() {
            found = Err("there is no such user");
        }
        self.settle(peer, claimed, found)
    }

    /// Tells SCRAM what is stored, or something like it.
    async fn scram(&self, conversation: &mut Conversation, claimed: &Claimed) -> Answer {
        let book = self.store.current().await;
        let now = self.world.clock.now();
        let account = claimed.name().and_then(|name| book.find(name));
        let usable = account.map_or(&[][..], |a| &a.secrets).iter();
        let usable = usable.filter(|s| s.is_usable(now, conversation.peer));
        let mut known: Vec<(Proof, Keys)> = usable
            .filter_map(|s| s.scram.clone().map(|keys| (proof(s), keys)))
            .collect();
        if let Some(first) = known.first().map(|(_, keys)| keys.salt.clone()) {
            known.retain(|(_, keys)| keys.salt == first);
        }
        let (proofs, keys): (Vec<_>, Vec<_>) = known.into_iter().unzip();
        let stored = match keys.is_empty() {
            true => self.made_up(&book, claimed),
            false => Stored { keys, known: true },
        };
        conversation.known = proofs;
        let mut random = [0; mechanism::scram::NONCE];
        self.world.random.fill(&mut random);
        let nonce = mechanism::scram::nonce(random);
        match conversation.exchange.scram(stored, &nonce) {
            Step::Challenge(octets) => Answer::Challenge(octets),
            _ => Answer::Verdict(Verdict {
                claimed: claimed.shown().into_owned(),
                result: Err(busy("the exchange is out of order")),
            }),
        }
    }

    /// What is said to be stored for a user that has nothing stored: the same each time, with as
    /// many iterations as the account that stands in for it.
    fn made_up(&self, book: &Book, claimed: &Claimed) -> Stored {
        let of = |what: &[u8]| mac(&self.guard.key, &[what, claimed.octets()].concat());
        let stand_in = book.stand_in(&self.guard.key, claimed);
        let secrets = stand_in.map_or(&[][..], |a| &a.secrets).iter();
        let mut salts = secrets
            .filter_map(|s| s.scram.as_ref())
            .map(|keys| &keys.salt);
        let like = salts.next();
        let length = like.map_or(scram::SALT, |salt| salt.octets.len());
        let octets = of(b"salt").into_iter().cycle().take(length).collect();
        let salt = Salt {
            iterations: like.map_or(scram::ITERATIONS, |salt| salt.iterations),
            octets,
        };
        let keys = Keys {
            salt,
            stored: of(b"stored"),
            server: of(b"server"),
        };
        Stored {
            keys: vec![keys],
            known: false,
        }
    }

    async fn certificate(
        &self,
        conversation: &Conversation,
        named: Option<Claimed>,
    ) -> (Claimed, Result<Login, Refusal>) {
        let book = self.store.current().await;
        let peer = conversation.peer;
        match certified(&book, &conversation.channel, named.as_ref()) {
            Some(account) => {
                let claimed = Claimed::new(account.name.as_str().as_bytes());
                let now = self.world.clock.now();
                let usable = account.secrets.iter().any(|s| s.is_usable(now, peer));
                let locked = "the account is locked, expired, or not for this address";
                let proof = ("certificate".into(), Shown::Certificate);
                let found = usable.then_some(proof).ok_or(locked);
                let result = self.settle(peer, &claimed, found);
                (claimed, result)
            }
            None => {
                let claimed = named.unwrap_or_else(|| Claimed::new(b""));
                let result = self.settle(peer, &claimed, Err("the certificate is not for it"));
                (claimed, result)
            }
        }
    }
}

impl Conversation {
    /// Its mechanism.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }
}

/// That a client knows this secret.
fn proof(secret: &Secret) -> Proof {
    (secret.label.clone(), Shown::Secret(secret.fingerprint))
}

/// Whether some secret of the account is not locked.
fn is_open(account: &Account) -> bool {
    account.secrets.iter().any(|s| s.flaw().is_none())
}

/// The positions of the secrets of `account` that have this password. Without an account with a
/// hash the same is computed for nobody.
fn matching(account: Option<&Account>, password: &Password) -> Vec<usize> {
    let forms = password.forms();
    let secrets = account.map_or(&[][..], |a| &a.secrets).iter().enumerate();
    let hashes: Vec<(usize, &Hash)> = secrets
        .filter_map(|(at, s)| s.hash.as_ref().ok().map(|hash| (at, hash)))
        .collect();
    if hashes.is_empty() {
        let nobody = Recipe::ours(&[0; scram::SALT]).map(|r| Hash::Cooked(r, Box::default()));
        let _ = hash::all(nobody.iter(), &forms);
        return Vec::new();
    }
    let found = hash::all(hashes.iter().map(|(_, hash)| *hash), &forms);
    let at = |n: &usize| hashes.get(*n).map(|(at, _)| *at);
    found.iter().filter_map(at).collect()
}

/// The account that the client's certificate stands for: the one that it names, or the first that
/// there is.
fn certified<'a>(
    book: &'a Book,
    channel: &Channel,
    named: Option<&Claimed>,
) -> Option<&'a Account> {
    let names = channel.certificate.iter().filter_map(|n| Name::parse(n));
    let wanted = |name: &Name| named.is_none_or(|claimed| claimed.name() == Some(name));
    names.filter(wanted).find_map(|name| book.find(&name))
}

/// Who must wait is told so. An address is shown the door; an account is not its own fault.
fn refusal(blocked: &Blocked) -> Refusal {
    // Rounded up: a client that waits so long is heard.
    let seconds = blocked.wait.as_secs() + 1;
    let (code, who) = match &blocked.who {
        Who::Address(address) => (421, format!("from {address}")),
        Who::Account(_) => (454, "for this account".to_string()),
        Who::Pair(_, address) => (454, format!("for this account from {address}")),
    };
    let text = format!("too many failed logins {who}; try again in {seconds} s");
    Refusal {
        reply: Reply::new(code, (4, 7, 0), text.clone()),
        cause: text.into(),
    }
}

fn busy(cause: &'static str) -> Refusal {
    Refusal {
        reply: Reply::new(454, (4, 7, 0), format!("{cause}; try again later")),
        cause: cause.into(),
    }
}

/// The key in the file at `path`, which is made when it is not there.
fn key(world: &World, path: &Path) -> io::Result<[u8; KEY]> {
    let disk: &dyn Disk = &*world.disk;
    let mut key = [0; KEY];
    match disk.read(path, 1024) {
        Ok(octets) if octets.len() == KEY => {
            key.iter_mut().zip(octets).for_each(|(to, from)| *to = from);
            return Ok(key);
        }
        // A file of another length was cut when it was made.
        Ok(_) => disk.remove(path)?,
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    world.random.fill(&mut key);
    let file = disk.open(path, Open::CreateNew)?;
    file.write_at(0, &[IoSlice::new(&key)])?;
    file.sync()?;
    Ok(key)
}

#[cfg(test)]
mod tests;
