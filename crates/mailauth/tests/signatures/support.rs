//! A DNS of fixed texts, messages in pieces, and the folder of the vectors.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use posthaste_mailauth::{Verified, Verifier, dkim};
use posthaste_message::header::Scan;
use posthaste_world::BoxFuture;
use posthaste_world::dns::{Answer, Data, Dns, Failure, Found, Kind, Security};

/// The time at which messages of the tests come: 2023-11-14T22:13:20Z.
pub(crate) const NOW_S: u64 = 1_700_000_000;

/// TXT records by name.
#[derive(Clone, Default)]
pub(crate) struct Names(BTreeMap<String, Result<Vec<String>, Failure>>);

impl Names {
    pub(crate) fn with(mut self, name: &str, text: &str) -> Self {
        let found = self.0.entry(name.to_ascii_lowercase());
        if let Ok(texts) = found.or_insert(Ok(Vec::new())) {
            texts.push(text.to_owned());
        }
        self
    }

    pub(crate) fn failing(mut self, name: &str, failure: Failure) -> Self {
        self.0.insert(name.to_ascii_lowercase(), Err(failure));
        self
    }

    fn look_up(&self, name: &str) -> Result<Answer, Failure> {
        let found = match self.0.get(name) {
            None => Found::NxDomain,
            Some(Err(failure)) => return Err(failure.clone()),
            Some(Ok(texts)) => {
                let data = texts
                    .iter()
                    .map(|text| Data::Txt(text.clone().into_bytes()));
                Found::Records(data.collect())
            }
        };
        Ok(Answer {
            found,
            canonical: name.to_owned(),
            security: Security::Insecure,
            ttl: Duration::from_secs(60),
        })
    }
}

impl Dns for Names {
    fn query<'a>(
        &'a self,
        name: &'a str,
        kind: Kind,
    ) -> BoxFuture<'a, Result<Arc<Answer>, Failure>> {
        assert_eq!(kind, Kind::Txt);
        Box::pin(async move { self.look_up(name).map(Arc::new) })
    }
}

/// Verifies a message that comes in pieces of `piece` octets.
pub(crate) fn verify_in(
    names: &Names,
    message: &[u8],
    piece: usize,
    service: dkim::Service,
) -> Verified {
    let (mut scan, mut verifier) = (Scan::new(), Verifier::new(NOW_S));
    for octets in message.chunks(piece) {
        scan.push(octets);
        verifier.push(octets, scan.facts());
    }
    verifier.end(&scan.finish());
    let mut keys = dkim::Keys::default();
    for name in verifier.key_names().unwrap() {
        let answer = names.look_up(name);
        keys.add(name, answer.as_ref());
    }
    verifier.judge(&keys, service)
}

/// Verifies a message, and that it does not matter how it is split.
pub(crate) fn verify(names: &Names, message: &[u8]) -> Verified {
    let whole = verify_in(names, message, message.len().max(1), dkim::Service::Email);
    for piece in [1, 2, 7, 100] {
        let split = verify_in(names, message, piece, dkim::Service::Email);
        assert_eq!(split, whole);
    }
    whole
}

/// A text with CRLF for its line ends.
pub(crate) fn crlf(text: &[u8]) -> Vec<u8> {
    let lines = text.split_inclusive(|&b| b == b'\n');
    let whole = |line: &[u8]| match line.strip_suffix(b"\n") {
        Some(text) => [text.strip_suffix(b"\r").unwrap_or(text), b"\r\n"].concat(),
        None => line.to_vec(),
    };
    lines.flat_map(whole).collect()
}

/// A folder or file of the vectors; `None`, with a visible note, when it is not there.
pub(crate) fn vectors(path: &str) -> Option<PathBuf> {
    let beside = || {
        PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../shared/vectors"
        ))
    };
    let root = std::env::var_os("POSTHASTE_VECTORS").map_or_else(beside, PathBuf::from);
    let found = root.join(path);
    if !found.exists() {
        println!("SKIP: no {} (set POSTHASTE_VECTORS)", found.display());
        return None;
    }
    Some(found)
}
