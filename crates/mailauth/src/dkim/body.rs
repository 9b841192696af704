//! The hashes of a body, while it comes.
//!
//! However many signatures ask, a body is brought into each of its two forms at most once and each
//! form is hashed once: a length (`l=`) is a place where the running hash is copied. Memory is
//! constant. Only SHA-256 is known (RFC 8301 §3.1).

use aws_lc_rs::digest::{Context, Digest, SHA256};

use super::canonical::{Body, Canonicalization};

/// Pieces shorter than this are gathered before they are hashed.
const GATHERED: usize = 512;

/// The hashes that are wanted of a body.
#[derive(Default)]
pub(crate) struct Bodies {
    forms: Vec<Form>,
}

/// One form of the body and its running hash.
struct Form {
    form: Canonicalization,
    body: Body,
    hash: Hash,
}

struct Hash {
    context: Context,
    /// Octets of the form so far.
    octets: u64,
    /// Lengths after which the hash is wanted, longest first.
    wanted: Vec<u64>,
    found: Vec<(u64, Digest)>,
    gathered: Vec<u8>,
}

/// The hashes of a body that has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hashes(Vec<(Canonicalization, Ended)>);

#[derive(Clone, Debug)]
struct Ended {
    octets: u64,
    whole: Digest,
    found: Vec<(u64, Digest)>,
}

/// A hash of a body, or of its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyHash {
    pub(crate) digest: Digest,
    /// Octets of the signed form that are behind what was hashed.
    pub(crate) unsigned: u64,
}

impl Bodies {
    /// Wants the hash of this form, of all of it or of its first octets. Before the first
    /// [`Bodies::push`].
    pub(crate) fn want(&mut self, form: Canonicalization, length: Option<u64>) {
        let place = self.forms.iter().position(|f| f.form == form);
        let place = place.unwrap_or_else(|| {
            let (body, hash) = (Body::new(form), Hash::new());
            self.forms.push(Form { form, body, hash });
            self.forms.len() - 1
        });
        if let Some(wanted) = length
            && let Some(form) = self.forms.get_mut(place)
        {
            form.hash.want(wanted);
        }
    }

    /// Takes the next octets of the body.
    pub(crate) fn push(&mut self, octets: &[u8]) {
        for Form { body, hash, .. } in &mut self.forms {
            body.push(octets, &mut |octets| hash.push(octets));
        }
    }

    /// Ends the body.
    pub(crate) fn finish(self) -> Hashes {
        let ended = |form: Form| {
            let mut hash = form.hash;
            form.body.finish(&mut |octets| hash.push(octets));
            (form.form, hash.finish())
        };
        Hashes(self.forms.into_iter().map(ended).collect())
    }
}

impl Hashes {
    /// A hash that was wanted; `None` when the body is shorter than `length`.
    pub(crate) fn get(&self, form: Canonicalization, length: Option<u64>) -> Option<BodyHash> {
        let (_, ended) = self.0.iter().find(|(f, _)| *f == form)?;
        let Some(length) = length else {
            let digest = ended.whole;
            return Some(BodyHash {
                digest,
                unsigned: 0,
            });
        };
        let (_, digest) = ended.found.iter().find(|(at, _)| *at == length)?;
        Some(BodyHash {
            digest: *digest,
            unsigned: ended.octets.saturating_sub(length),
        })
    }
}

impl Hash {
    fn new() -> Self {
        Hash {
            context: Context::new(&SHA256),
            octets: 0,
            wanted: Vec::new(),
            found: Vec::new(),
            gathered: Vec::with_capacity(GATHERED),
        }
    }

    fn want(&mut self, length: u64) {
        if let Err(place) = self.wanted.binary_search_by(|other| length.cmp(other)) {
            self.wanted.insert(place, length);
        }
    }

    fn push(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while let Some(&next) = self.wanted.last() {
            let room = usize::try_from(next - self.octets).unwrap_or(usize::MAX);
            let Some((head, tail)) = rest.split_at_checked(room) else {
                break;
            };
            self.update(head);
            self.snapshot(next);
            self.wanted.pop();
            rest = tail;
        }
        self.update(rest);
    }

    fn update(&mut self, octets: &[u8]) {
        self.octets += u64::try_from(octets.len()).unwrap_or(u64::MAX);
        if self.gathered.len() + octets.len() > GATHERED {
            self.context.update(&self.gathered);
            self.gathered.clear();
        }
        if octets.len() < GATHERED {
            self.gathered.extend_from_slice(octets);
        } else {
            self.context.update(octets);
        }
    }

    fn snapshot(&mut self, at: u64) {
        let mut context = self.context.clone();
        context.update(&self.gathered);
        self.found.push((at, context.finish()));
    }

    fn finish(mut self) -> Ended {
        if self.wanted.last() == Some(&self.octets) {
            self.snapshot(self.octets);
        }
        self.context.update(&self.gathered);
        Ended {
            octets: self.octets,
            whole: self.context.finish(),
            found: self.found,
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};
    use proptest::prelude::*;

    use super::Bodies;
    use super::Canonicalization::{Relaxed, Simple};

    #[test]
    fn the_hash_of_an_empty_body_is_that_of_the_standard() {
        use base64::Engine as _;
        let mut bodies = Bodies::default();
        bodies.want(Simple, None);
        bodies.want(Relaxed, None);
        let hashes = bodies.finish();
        for (form, known) in [
            // RFC 6376 §3.4.3 and §3.4.4.
            (Simple, "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="),
            (Relaxed, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
        ] {
            let hash = hashes.get(form, None).unwrap();
            let text = base64::engine::general_purpose::STANDARD.encode(hash.digest);
            assert_eq!(text, known);
        }
    }

    #[test]
    fn a_length_counts_octets_of_the_signed_form() {
        let mut bodies = Bodies::default();
        for length in [0, 3, 7, 3, 8] {
            bodies.want(Relaxed, Some(length));
        }
        bodies.push(b"a   \t b\r\n");
        bodies.push(b"c  \r\n\r\n \r\n");
        let hashes = bodies.finish(); // "a b\r\nc\r\n"
        for (length, text, unsigned) in [(0, "", 8), (3, "a b", 5), (7, "a b\r\nc\r", 1)] {
            let hash = hashes.get(Relaxed, Some(length)).unwrap();
            let known = digest(&SHA256, text.as_bytes());
            assert_eq!(hash.digest.as_ref(), known.as_ref());
            assert_eq!(hash.unsigned, unsigned);
        }
        let all = hashes.get(Relaxed, Some(8)).unwrap();
        assert_eq!(all.unsigned, 0);
        assert!(hashes.get(Relaxed, Some(9)).is_none());
        assert!(hashes.get(Simple, None).is_none());
    }

    proptest! {
        #[test]
        fn lengths_and_pieces_never_change_a_hash(
            body in "[ab \r\n]{0,1200}",
            cut in any::<prop::sample::Index>(),
            length in any::<prop::sample::Index>(),
        ) {
            let form = digest_of(&body, None);
            let (head, tail) = body.split_at(cut.index(body.len() + 1));
            let mut bodies = Bodies::default();
            let length = length.index(body.len() + 2);
            bodies.want(Simple, Some(length as u64));
            bodies.want(Simple, None);
            bodies.push(head.as_bytes());
            bodies.push(tail.as_bytes());
            let hashes = bodies.finish();
            let whole = hashes.get(Simple, None).unwrap().digest;
            prop_assert_eq!(whole.as_ref(), &form[..]);
            let start = hashes.get(Simple, Some(length as u64));
            prop_assert_eq!(
                start.map(|hash| hash.digest.as_ref().to_vec()),
                simple(&body).get(..length).map(|text| digest(&SHA256, text).as_ref().to_vec())
            );
        }
    }

    fn simple(body: &str) -> Vec<u8> {
        format!("{}\r\n", body.trim_end_matches("\r\n")).into_bytes()
    }

    fn digest_of(body: &str, length: Option<usize>) -> Vec<u8> {
        let form = simple(body);
        digest(&SHA256, &form[..length.unwrap_or(form.len())])
            .as_ref()
            .to_vec()
    }
}
