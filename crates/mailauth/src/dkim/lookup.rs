//! From the name of a key to its record, through the DNS door.
//!
//! Names are asked for at once and not one after the other; the door follows CNAMEs, keeps answers,
//! and ends every question in bounded time. This module does **not** know what a key is for.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use posthaste_world::dns::{Answer, Data, Dns, Failure, Kind};

use super::flaw::Flaw;
use super::key::KeyRecord;

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

    use super::Keys;
    use crate::Verdict;

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
}
