//! From the name of a key to its record, through the DNS door.
//!
//! Names are asked for at once and not one after the other; the door follows CNAMEs, keeps answers,
//! and ends every question in bounded time. This module does **not** know what a key is for.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use posthaste_world::dns::{Answer, Data, Dns, Failure, Kind};

use super::flaw::Flaw;
use super::key::{KeyRecord, Service};
use super::private_key::PrivateKey;
use crate::Verdict;

/// The keys of a message: what the DNS said of each name.
#[derive(Clone, Debug, Default)]
pub struct Keys(BTreeMap<String, Result<KeyRecord, Flaw>>);

impl Keys {
    /// Asks for all of `names` at the same time.
    pub async fn fetch(dns: Arc<dyn Dns>, names: Vec<String>) -> Self {
        let mut questions: Vec<_> = names
            .iter()
            .map(|name| (name, Some(dns.query(name, Kind::Txt))))
            .collect();
        let mut keys = Keys::default();
        poll_fn(|cx| {
            let mut open = false;
            for (name, question) in &mut questions {
                let Some(future) = question else { continue };
                match future.as_mut().poll(cx) {
                    Poll::Ready(answer) => {
                        keys.add(name, answer.as_deref());
                        *question = None;
                    }
                    Poll::Pending => open = true,
                }
            }
            if open { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        drop(questions);
        keys
    }

    /// Adds what was found at `name`.
    pub fn add(&mut self, name: &str, answer: Result<&Answer, &Failure>) {
        self.0.insert(name.to_owned(), read(answer));
    }

    /// The key at `name`.
    pub(crate) fn get(&self, name: &str) -> Result<&KeyRecord, Flaw> {
        match self.0.get(name) {
            Some(Ok(key)) => Ok(key),
            Some(Err(flaw)) => Err(flaw.clone()),
            None => Err(Flaw::temporary("the key was not asked for".to_owned())),
        }
    }
}

/// What the DNS says of a key of our own, judged as others judge it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Publication {
    /// Its record is there: its signatures count.
    Right,
    /// No record is there.
    Missing,
    /// The record there does not let its signatures count; the text says how.
    Wrong(String),
    /// The DNS does not say now; the text says why.
    Unknown(String),
}

impl Publication {
    /// Asks for the record of `key` at `name`.
    pub async fn of(dns: &dyn Dns, name: &str, key: &PrivateKey) -> Publication {
        let answer = dns.query(name, Kind::Txt).await;
        if let Ok(answer) = &answer
            && !answer.records().iter().any(|d| matches!(d, Data::Txt(_)))
        {
            return Publication::Missing;
        }
        let flaw = |flaw: Flaw| match flaw.verdict {
            Verdict::Temperror => Publication::Unknown(flaw.reason.into_owned()),
            _ => Publication::Wrong(flaw.reason.into_owned()),
        };
        let record = match read(answer.as_deref()) {
            Ok(record) => record,
            Err(found) => return flaw(found),
        };
        match record.flaw(key.algorithm(), false, Service::Email) {
            Some(found) => flaw(found),
            None if key.matches(&record) => Publication::Right,
            None => Publication::Wrong("it is the record of another key".to_owned()),
        }
    }

    /// In one word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Publication::Right => "right",
            Publication::Missing => "missing",
            Publication::Wrong(_) => "wrong",
            Publication::Unknown(_) => "unknown",
        }
    }
}

impl fmt::Display for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Publication::Right | Publication::Missing => Ok(()),
            Publication::Wrong(why) | Publication::Unknown(why) => write!(f, ": {why}"),
        }
    }
}

/// What an answer means (RFC 6376 §6.1.2).
fn read(answer: Result<&Answer, &Failure>) -> Result<KeyRecord, Flaw> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(Failure::BadName(_)) => {
            return Err(Flaw::syntax("the key's name cannot be asked for"));
        }
        Err(failure) => return Err(Flaw::temporary(format!("key look-up: {failure}"))),
    };
    let mut texts = answer.records().iter().filter_map(|data| match data {
        Data::Txt(text) => Some(text),
        _ => None,
    });
    match (texts.next(), texts.next()) {
        (None, _) => Err(Flaw::syntax("no key is published")),
        // RFC 6376 §3.6.2.2: the results are undefined.
        (Some(_), Some(_)) => Err(Flaw::syntax("several records are published as the key")),
        (Some(text), None) => KeyRecord::parse(text).map_err(Flaw::syntax),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use posthaste_world::BoxFuture;
    use posthaste_world::dns::{Answer, Data, Dns, Failure, Found, Kind, Security};

    use super::{Keys, Publication};
    use crate::Verdict;
    use crate::dkim::PrivateKey;

    /// Always the same key.
    fn rsa() -> &'static PrivateKey {
        static KEY: std::sync::OnceLock<PrivateKey> = std::sync::OnceLock::new();
        KEY.get_or_init(|| PrivateKey::generate_rsa_2048().unwrap())
    }

    /// Answers by the name asked for, each after it was asked once in vain.
    struct Names;

    impl Dns for Names {
        fn query<'a>(
            &'a self,
            name: &'a str,
            kind: Kind,
        ) -> BoxFuture<'a, Result<Arc<Answer>, Failure>> {
            assert_eq!(kind, Kind::Txt);
            Box::pin(async move {
                tokio::task::yield_now().await;
                let text = |text: &str| Data::Txt(text.as_bytes().to_vec());
                let found = match name {
                    "good" => Found::Records(vec![text("p=")]),
                    "rsa" => Found::Records(vec![text(&rsa().public_record())]),
                    "sha1" => {
                        Found::Records(vec![text(&format!("{}; h=sha1", rsa().public_record()))])
                    }
                    "two" => Found::Records(vec![text("p="), text("p=")]),
                    "malformed" => Found::Records(vec![text("p")]),
                    "none" => Found::NxDomain,
                    "empty" => Found::NoData,
                    "late" => return Err(Failure::Timeout),
                    _ => return Err(Failure::BadName("empty label".to_owned())),
                };
                Ok(Arc::new(Answer {
                    found,
                    canonical: name.to_owned(),
                    security: Security::Insecure,
                    ttl: Duration::ZERO,
                }))
            })
        }
    }

    #[tokio::test]
    async fn every_answer_has_its_meaning() {
        let names = ["good", "two", "malformed", "none", "empty", "late", "..bad"];
        let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
        let keys = Keys::fetch(Arc::new(Names), names).await;
        assert!(keys.get("good").is_ok());
        for (name, verdict, reason) in [
            ("two", Verdict::Permerror, "several records"),
            ("malformed", Verdict::Permerror, "no tag list"),
            ("none", Verdict::Permerror, "no key is published"),
            ("empty", Verdict::Permerror, "no key is published"),
            ("late", Verdict::Temperror, "no DNS server answered in time"),
            ("..bad", Verdict::Permerror, "cannot be asked for"),
            ("another", Verdict::Temperror, "not asked for"),
        ] {
            let flaw = keys.get(name).unwrap_err();
            assert_eq!(flaw.verdict, verdict, "{name}");
            assert!(flaw.reason.contains(reason), "{name}: {}", flaw.reason);
        }
    }
    #[tokio::test]
    async fn a_key_of_our_own_is_judged_as_others_judge_it() {
        let ed25519 = PrivateKey::generate_ed25519().unwrap();
        for (name, key, told) in [
            ("rsa", rsa(), "right"),
            ("none", rsa(), "missing"),
            ("empty", rsa(), "missing"),
            ("rsa", &ed25519, "wrong: the key is for another algorithm"),
            ("sha1", rsa(), "wrong: the key is not for sha256"),
            ("good", rsa(), "wrong: the key is revoked"),
            ("two", rsa(), "wrong: several records"),
            ("malformed", rsa(), "wrong: the key record is no tag list"),
            ("late", rsa(), "unknown: key look-up: no DNS server"),
        ] {
            let found = Publication::of(&Names, name, key).await.to_string();
            assert!(found.starts_with(told), "{name}: {found}");
        }
        let another = PrivateKey::generate_rsa_2048().unwrap();
        let found = Publication::of(&Names, "rsa", &another).await;
        assert_eq!(found.to_string(), "wrong: it is the record of another key");
    }
}
