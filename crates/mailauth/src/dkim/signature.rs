//! What a signature says (RFC 6376 §3.5), and what it may not say.
//!
//! The same tags stand in a DKIM-Signature and in the two signed fields of ARC, so the readers of
//! single tags are shared with [`crate::arc`]. A signature that breaks a rule is not looked at any
//! further: it is a [`Flaw`] with the result that RFC 6376 §6.1.1 and RFC 8601 §2.7.1 give it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::canonical::Canonicalization;
use super::flaw::Flaw;
use super::tag::{self, Tags};
use crate::name;

/// Most field names in an `h=` tag. Real ones have a few dozen.
pub const MAX_SIGNED_FIELDS: usize = 256;

/// How a signature is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    /// RSA over SHA-256 (RFC 6376 §3.3.2).
    RsaSha256,
    /// Ed25519 over SHA-256 (RFC 8463 §3).
    Ed25519Sha256,
}

impl Algorithm {
    /// Its word in `a=`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Algorithm::RsaSha256 => "rsa-sha256",
            Algorithm::Ed25519Sha256 => "ed25519-sha256",
        }
    }
}

/// What every kind of signature has: who signed, how, and where the key is.
#[derive(Clone, Debug)]
pub(crate) struct Seal {
    pub(crate) algorithm: Algorithm,
    pub(crate) signature: Vec<u8>,
    /// `d=` as lower-case A-labels.
    pub(crate) domain: String,
    /// `s=` as lower-case A-labels.
    pub(crate) selector: String,
}

/// A signature over header fields and a body.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub(crate) seal: Seal,
    pub(crate) body_hash: Vec<u8>,
    pub(crate) header_form: Canonicalization,
    pub(crate) body_form: Canonicalization,
    /// The names in `h=`.
    pub(crate) fields: Vec<String>,
    /// `l=`.
    pub(crate) length: Option<u64>,
    /// The domain of `i=` is below `d=`, which a key may forbid.
    pub(crate) below: bool,
    /// `t=`.
    pub(crate) signed_s: Option<u64>,
    /// `x=`.
    pub(crate) expires_s: Option<u64>,
}

impl Seal {
    /// Reads the tags that every kind of signature has.
    pub(crate) fn parse(tags: &Tags<'_>) -> Result<Self, Flaw> {
        let algorithm = algorithm(need(tags, "a")?)?;
        let signature =
            base64(need(tags, "b")?).ok_or(Flaw::syntax("the signature (b=) is not base64"))?;
        let domain = name::ascii(need(tags, "d")?).filter(|d| d.contains('.'));
        let selector = name::ascii(need(tags, "s")?);
        Ok(Seal {
            algorithm,
            signature,
            domain: domain.ok_or(Flaw::syntax("the domain (d=) is no domain name"))?,
            selector: selector.ok_or(Flaw::syntax("the selector (s=) is no domain name"))?,
        })
    }

    /// Where its key is published (RFC 6376 §3.6.2.1).
    pub(crate) fn key_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }
}

impl Signature {
    /// Reads a DKIM-Signature.
    pub(crate) fn parse(tags: &Tags<'_>) -> Result<Self, Flaw> {
        if need(tags, "v")? != "1" {
            return Err(Flaw::syntax("the signature is of another version (v=)"));
        }
        let mut signature = Self::parse_unversioned(tags)?;
        signature.below = identity(tags, &signature.seal.domain)?;
        let methods = tags.get("q").unwrap_or("dns/txt");
        if !tag::elements(methods).any(|method| method == "dns/txt") {
            return Err(Flaw::syntax("no known way to ask for the key (q=)"));
        }
        Ok(signature)
    }

    /// Reads what a DKIM-Signature and an ARC-Message-Signature share (RFC 8617 §4.1.2).
    pub(crate) fn parse_unversioned(tags: &Tags<'_>) -> Result<Self, Flaw> {
        let seal = Seal::parse(tags)?;
        let body_hash =
            base64(need(tags, "bh")?).ok_or(Flaw::syntax("the body hash (bh=) is not base64"))?;
        let (header_form, body_form) = forms(tags.get("c").unwrap_or("simple/simple"))?;
        let length = match tags.get("l") {
            None => None,
            Some(value) => Some(
                tag::number(value, 76).ok_or(Flaw::syntax("the body length (l=) is no number"))?,
            ),
        };
        let (signed_s, expires_s) = times(tags)?;
        Ok(Signature {
            seal,
            body_hash,
            header_form,
            body_form,
            fields: signed_fields(need(tags, "h")?)?,
            length,
            below: false,
            signed_s,
            expires_s,
        })
    }

    /// Whether it was only good until before `now_s` (RFC 6376 §3.5, `x=`).
    pub(crate) fn has_expired(&self, now_s: u64) -> bool {
        self.expires_s.is_some_and(|expires_s| now_s > expires_s)
    }
}

/// A tag that must be there.
pub(crate) fn need<'a>(tags: &Tags<'a>, name: &'static str) -> Result<&'a str, Flaw> {
    let missing = match name {
        "v" => "the signature has no version (v=)",
        "a" => "the signature has no algorithm (a=)",
        "b" => "the signature has no signature data (b=)",
        "bh" => "the signature has no body hash (bh=)",
        "d" => "the signature has no domain (d=)",
        "h" => "the signature names no header fields (h=)",
        "s" => "the signature has no selector (s=)",
        "i" => "the field has no instance (i=)",
        _ => "the seal has no verdict on the chain (cv=)",
    };
    tags.get(name).ok_or(Flaw::syntax(missing))
}

fn algorithm(value: &str) -> Result<Algorithm, Flaw> {
    match value {
        "rsa-sha256" => Ok(Algorithm::RsaSha256),
        "ed25519-sha256" => Ok(Algorithm::Ed25519Sha256),
        // RFC 8301 §3.1: such a signature has permanently failed evaluation.
        "rsa-sha1" => Err(Flaw::syntax("rsa-sha1 proves nothing any more (RFC 8301)")),
        _ => Err(Flaw::syntax("the algorithm (a=) is not known")),
    }
}

/// Data in base64, in which white space may stand anywhere; never empty.
pub(crate) fn base64(value: &str) -> Option<Vec<u8>> {
    let data = STANDARD.decode(tag::squeeze(value)).ok()?;
    (!data.is_empty()).then_some(data)
}

fn forms(value: &str) -> Result<(Canonicalization, Canonicalization), Flaw> {
    let (header, body) = value.split_once('/').unwrap_or((value, "simple"));
    let form = |word| match word {
        "simple" => Ok(Canonicalization::Simple),
        "relaxed" => Ok(Canonicalization::Relaxed),
        _ => Err(Flaw::syntax("the canonicalization (c=) is not known")),
    };
    Ok((form(header)?, form(body)?))
}

fn signed_fields(value: &str) -> Result<Vec<String>, Flaw> {
    let names: Vec<String> = tag::elements(value)
        .take(MAX_SIGNED_FIELDS + 1)
        .map(str::to_ascii_lowercase)
        .collect();
    let legal = |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
    if !names.iter().all(legal) {
        return Err(Flaw::syntax("the signed fields (h=) are no list of names"));
    }
    if names.len() > MAX_SIGNED_FIELDS {
        return Err(Flaw::syntax("the signature names too many fields (h=)"));
    }
    if !names.iter().any(|name| name == "from") {
        return Err(Flaw::syntax("the From field is not signed (h=)"));
    }
    Ok(names)
}

/// `t=` and `x=` (RFC 6376 §3.5).
fn times(tags: &Tags<'_>) -> Result<(Option<u64>, Option<u64>), Flaw> {
    let time = |name: &str| match tags.get(name) {
        None => Ok(None),
        Some(value) => tag::number(value, 12)
            .map(Some)
            .ok_or(Flaw::syntax("a time (t= or x=) is no number")),
    };
    let (signed, expires) = (time("t")?, time("x")?);
    if signed.zip(expires).is_some_and(|(t, x)| x <= t) {
        return Err(Flaw::syntax("it expires (x=) before it was made (t=)"));
    }
    Ok((signed, expires))
}

/// Whether the identity (`i=`) is in a domain below `domain`; it must be in `domain` at least.
fn identity(tags: &Tags<'_>, domain: &str) -> Result<bool, Flaw> {
    let Some(value) = tags.get("i") else {
        return Ok(false);
    };
    let text = unquote(value).ok_or(Flaw::syntax("the identity (i=) is malformed"))?;
    let (_, host) = text
        .rsplit_once('@')
        .ok_or(Flaw::syntax("the identity (i=) has no domain"))?;
    let host = name::ascii(host).ok_or(Flaw::syntax("the identity (i=) has no domain"))?;
    if !name::is_within(&host, domain) {
        return Err(Flaw::syntax("the identity (i=) is not in the domain (d=)"));
    }
    Ok(host != domain)
}

/// Reads DKIM-Quoted-Printable (RFC 6376 §2.11); what is no UTF-8 then is no text.
pub(crate) fn unquote(value: &str) -> Option<String> {
    let value = tag::squeeze(value);
    let mut octets = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'=' {
            octets.push(*first);
            continue;
        }
        let (code, tail) = tail.split_first_chunk::<2>()?;
        let digits = code
            .iter()
            .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(b));
        let code = std::str::from_utf8(code).ok().filter(|_| digits)?;
        octets.push(u8::from_str_radix(code, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, Canonicalization, Signature, Tags, unquote};

    const GOOD: &str = "v=1; a=rsa-sha256; d=Example.ORG; s=Sel.x; h=To : from:\r\n\tSubject; \
        bh=AA==; b=A\r\n A==";

    fn parse(list: &str) -> Result<Signature, String> {
        let tags = Tags::parse(list.as_bytes()).map_err(str::to_owned)?;
        Signature::parse(&tags).map_err(|flaw| flaw.reason.into_owned())
    }

    #[test]
    fn a_signature_gives_its_parts_and_its_defaults() {
        let signature = parse(GOOD).unwrap();
        assert_eq!(signature.seal.algorithm, Algorithm::RsaSha256);
        assert_eq!(signature.seal.key_name(), "sel.x._domainkey.example.org");
        assert_eq!(signature.fields, ["to", "from", "subject"]);
        assert_eq!(
            (signature.header_form, signature.body_form),
            (Canonicalization::Simple, Canonicalization::Simple)
        );
        assert_eq!((signature.length, signature.expires_s), (None, None));
        assert!(!signature.below && !signature.has_expired(u64::MAX));
        assert_eq!(signature.body_hash, [0]);

        let more =
            format!("{GOOD}; c=relaxed; l=0; t=1; x=2; q=x/y : dns/txt; i=a=40b@x.example.org");
        let signature = parse(&more).unwrap();
        assert_eq!(
            (signature.header_form, signature.body_form),
            (Canonicalization::Relaxed, Canonicalization::Simple)
        );
        assert_eq!((signature.length, signature.signed_s), (Some(0), Some(1)));
        assert!(signature.below && signature.has_expired(3) && !signature.has_expired(2));
    }

    #[test]
    fn domains_and_selectors_may_be_written_with_u_labels() {
        let list = GOOD.replace("Example.ORG", "b\u{fc}cher.example");
        let signature = parse(&list).unwrap();
        assert_eq!(signature.seal.domain, "xn--bcher-kva.example");
        let list = format!("{list}; i=\u{e4}@b\u{fc}cher.example");
        assert!(!parse(&list).unwrap().below);
    }

    #[test]
    fn each_rule_that_is_broken_has_its_reason() {
        for (from, to, reason) in [
            ("v=1; ", "", "version (v=)"),
            ("v=1", "v=2", "another version"),
            ("v=1", "v=01", "another version"),
            ("a=rsa-sha256; ", "", "no algorithm"),
            ("rsa-sha256", "rsa-sha1", "rsa-sha1 proves nothing"),
            ("rsa-sha256", "RSA-sha256", "not known"),
            ("rsa-sha256", "rsa - sha256", "not known"),
            ("d=Example.ORG; ", "", "no domain"),
            ("Example.ORG", "org", "no domain name"),
            ("Example.ORG", "a..org", "no domain name"),
            ("Example.ORG", "exa mple.org", "no domain name"),
            ("s=Sel.x; ", "", "no selector"),
            ("s=Sel.x", "s=", "no domain name"),
            (
                "To : from:\r\n\tSubject",
                "to:subject",
                "From field is not signed",
            ),
            ("To : from:\r\n\tSubject", "from::to", "no list of names"),
            ("To : from:\r\n\tSubject", "", "no list of names"),
            ("To : from:\r\n\tSubject", "from:a b", "no list of names"),
            ("h=To : from:\r\n\tSubject; ", "", "names no header fields"),
            ("bh=AA==; ", "", "no body hash"),
            ("bh=AA==", "bh=AA", "not base64"),
            ("bh=AA==", "bh=", "not base64"),
            ("; b=A\r\n A==", "", "no signature data"),
            ("b=A\r\n A==", "b=A*==", "not base64"),
            ("v=1", "c=relaxed/other; v=1", "canonicalization"),
            ("v=1", "c=relaxed/simple/simple; v=1", "canonicalization"),
            ("v=1", "l=-1; v=1", "body length"),
            ("v=1", "l=; v=1", "body length"),
            ("v=1", "t=x; v=1", "is no number"),
            ("v=1", "x=1234567890123; v=1", "is no number"),
            ("v=1", "t=5; x=5; v=1", "expires (x=) before"),
            ("v=1", "q=dns; v=1", "ask for the key"),
            ("v=1", "i=example.org; v=1", "has no domain"),
            ("v=1", "i=@badexample.org; v=1", "not in the domain"),
            ("v=1", "i=@org; v=1", "not in the domain"),
            ("v=1", "i==4@example.org; v=1", "malformed"),
            ("v=1", "i=@; v=1", "has no domain"),
        ] {
            let list = GOOD.replacen(from, to, 1);
            assert_ne!(list, GOOD);
            let found = parse(&list).expect_err(&list);
            assert!(found.contains(reason), "{list}: {found}");
        }
        let many = GOOD.replace("Subject", &vec!["x"; 254].join(":"));
        assert!(parse(&many).is_ok());
        assert!(parse(&many.replace("x:x", "x:x:x")).is_err());
    }

    #[test]
    fn quoted_printable_is_read_strictly() {
        assert_eq!(unquote("=6Along@x").as_deref(), Some("jlong@x"));
        assert_eq!(unquote("a=3D\r\n b").as_deref(), Some("a=b"));
        for bad in ["=", "=4", "=6a", "=FF", "a=\u{fc}b"] {
            assert_eq!(unquote(bad), None, "{bad}");
        }
    }
}
