//! DMARC policy records (RFC 9989 §4.7, §4.8).
//!
//! A text that does not begin with the version is no record at all. In a record, unknown tags are
//! ignored and a tag that is wrong counts as absent; what was wrong is kept for people
//! ([`Record::faults`]). This module does **not** look records up.

use super::uri::ReportUri;

/// Faults that are kept; the rest is only ignored.
const FAULTS_MAX: usize = 8;
/// Tags of one record that are read.
const TAGS_MAX: usize = 64;

/// What the owner of a domain wants done with mail that fails (RFC 9989 §4.7, tag `p`), and what
/// is to be done with it: mildest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Policy {
    /// Nothing.
    None,
    /// Treat it as suspicious.
    Quarantine,
    /// Refuse it.
    Reject,
}

impl Policy {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Policy::None => "none",
            Policy::Quarantine => "quarantine",
            Policy::Reject => "reject",
        }
    }

    /// The policy of that name, in whatever case.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Policy> {
        let all = [Policy::None, Policy::Quarantine, Policy::Reject];
        all.into_iter()
            .find(|p| p.word().eq_ignore_ascii_case(word))
    }

    /// The next milder one, as test mode asks for (RFC 9989 §4.7, tag `t`).
    #[must_use]
    pub const fn milder(self) -> Policy {
        match self {
            Policy::Reject => Policy::Quarantine,
            Policy::Quarantine | Policy::None => Policy::None,
        }
    }
}

/// How near an identifier must be to the author domain (RFC 9989 §4.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Alignment {
    /// The same organizational domain.
    Relaxed,
    /// The same domain.
    Strict,
}

impl Alignment {
    /// The letter of the tag.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Alignment::Relaxed => "r",
            Alignment::Strict => "s",
        }
    }
}

/// Whether a domain is a public suffix (RFC 9989 §4.7, tag `psd`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PublicSuffix {
    /// It is.
    Yes,
    /// It is not, and is the organizational domain.
    No,
    /// The tree walk decides.
    Unknown,
}

/// When failure reports are wanted (RFC 9989 §4.7, tag `fo`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FailureOptions {
    /// When any mechanism fails to give an aligned pass; when none does, otherwise.
    pub any: bool,
    /// When a signature fails, aligned or not.
    pub dkim: bool,
    /// When SPF fails, aligned or not.
    pub spf: bool,
}

/// A record, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// `p`; `None` when the record has none that is valid.
    pub policy: Option<Policy>,
    /// `sp`.
    pub subdomains: Option<Policy>,
    /// `np`.
    pub nonexistent: Option<Policy>,
    /// `adkim`.
    pub dkim: Alignment,
    /// `aspf`.
    pub spf: Alignment,
    /// `t=y`.
    pub testing: bool,
    /// `psd`.
    pub psd: PublicSuffix,
    /// `rua`.
    pub aggregate: Vec<ReportUri>,
    /// `ruf`.
    pub failure: Vec<ReportUri>,
    /// `fo`.
    pub options: FailureOptions,
    /// What is wrong with it, one line each, printable ASCII.
    pub faults: Vec<String>,
    /// An `sp` or `np` is not valid.
    bad_subpolicy: bool,
}

/// What a record means for policy (RFC 9989 §4.10.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policies {
    /// For the domain itself.
    pub domain: Policy,
    /// For existing names below it.
    pub subdomains: Policy,
    /// For names below it that do not exist.
    pub nonexistent: Policy,
}

impl Record {
    /// Reads a TXT record; `None` when it is no DMARC record.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Record> {
        let mut tags = text.split(|&b| b == b';');
        let (name, value) = tag(tags.next()?)?;
        // The first tag has no white space before it, and its value is case-sensitive.
        if name != b"v" || value != b"DMARC1" || text.first() != Some(&b'v') {
            return None;
        }
        let mut record = Record {
            policy: None,
            subdomains: None,
            nonexistent: None,
            dkim: Alignment::Relaxed,
            spf: Alignment::Relaxed,
            testing: false,
            psd: PublicSuffix::Unknown,
            aggregate: Vec::new(),
            failure: Vec::new(),
            options: FailureOptions::default(),
            faults: Vec::new(),
            bad_subpolicy: false,
        };
        let mut seen: Vec<&[u8]> = vec![b"v"];
        for text in tags.take(TAGS_MAX) {
            if text.trim_ascii().is_empty() {
                continue;
            }
            match tag(text) {
                Some((name, _)) if seen.contains(&name) => record.fault("stands twice", name),
                Some((name, value)) => {
                    seen.push(name);
                    record.set(name, value);
                }
                None => record.fault("is no tag with a value", text),
            }
        }
        if record.policy.is_none() && !seen.contains(&&b"p"[..]) {
            record.fault("is missing", b"p");
        }
        Some(record)
    }

    /// What the record asks for; `None` when it asks for nothing at all: it has no valid `p`, or an
    /// `sp` or `np` that is not valid, and nobody who wants reports (RFC 9989 §4.10.1).
    #[must_use]
    pub fn policies(&self) -> Option<Policies> {
        match self.policy {
            Some(domain) if !self.bad_subpolicy => {
                let subdomains = self.subdomains.unwrap_or(domain);
                Some(Policies {
                    domain,
                    subdomains,
                    nonexistent: self.nonexistent.unwrap_or(subdomains),
                })
            }
            _ if self.aggregate.is_empty() => None,
            _ => Some(Policies {
                domain: Policy::None,
                subdomains: Policy::None,
                nonexistent: Policy::None,
            }),
        }
    }

    fn set(&mut self, name: &[u8], value: &[u8]) {
        let printable = value
            .iter()
            .all(|&b| b == b'\t' || (b' '..=b'~').contains(&b));
        let text = std::str::from_utf8(value).unwrap_or_default();
        let known = match name {
            b"p" => set(&mut self.policy, Policy::from_word(text)),
            b"sp" | b"np" => {
                let read = Policy::from_word(text);
                self.bad_subpolicy |= read.is_none();
                let slot = match name {
                    b"sp" => &mut self.subdomains,
                    _ => &mut self.nonexistent,
                };
                set(slot, read)
            }
            b"adkim" => put(&mut self.dkim, alignment(text)),
            b"aspf" => put(&mut self.spf, alignment(text)),
            b"t" => put(&mut self.testing, yes_or_no(text)),
            b"psd" => {
                let read = match (yes_or_no(text), text.eq_ignore_ascii_case("u")) {
                    (Some(true), _) => Some(PublicSuffix::Yes),
                    (Some(false), _) => Some(PublicSuffix::No),
                    (None, true) => Some(PublicSuffix::Unknown),
                    (None, false) => None,
                };
                put(&mut self.psd, read)
            }
            b"fo" => put(&mut self.options, options(text)),
            b"rua" | b"ruf" => {
                let (uris, bad) = ReportUri::parse_list(text);
                match name {
                    b"rua" => self.aggregate = uris,
                    _ => self.failure = uris,
                }
                bad == 0
            }
            // Unknown, or no longer used: pct, rf, ri.
            _ => printable,
        };
        if !known {
            self.fault("has a value that cannot be read", name);
        }
    }

    fn fault(&mut self, what: &str, name: &[u8]) {
        if self.faults.len() < FAULTS_MAX {
            let shown: String = name.trim_ascii().iter().take(32).map(shown).collect();
            self.faults.push(format!("the tag \"{shown}\" {what}"));
        }
    }
}

/// Name and value of a tag (RFC 9989 §4.8); white space around each is dropped.
fn tag(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = text.iter().position(|&b| b == b'=')?;
    let (name, value) = text.split_at_checked(equals)?;
    let (name, value) = (trim(name), trim(value.get(1..)?));
    let letters = !name.is_empty() && name.iter().all(u8::is_ascii_alphabetic);
    (letters && !value.is_empty()).then_some((name, value))
}

/// Drops spaces and tabs.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn shown(b: &u8) -> char {
    match *b {
        b if b.is_ascii_graphic() => char::from(b),
        _ => '?',
    }
}

/// Whether a value was there to be set.
fn set<T>(slot: &mut Option<T>, read: Option<T>) -> bool {
    *slot = read;
    slot.is_some()
}

fn put<T>(slot: &mut T, read: Option<T>) -> bool {
    match read {
        Some(value) => {
            *slot = value;
            true
        }
        None => false,
    }
}

fn alignment(text: &str) -> Option<Alignment> {
    match text {
        "r" | "R" => Some(Alignment::Relaxed),
        "s" | "S" => Some(Alignment::Strict),
        _ => None,
    }
}

fn yes_or_no(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" => Some(true),
        "n" | "N" => Some(false),
        _ => None,
    }
}

fn options(text: &str) -> Option<FailureOptions> {
    let mut options = FailureOptions::default();
    let (mut all, mut any) = (false, false);
    for word in text.split(':') {
        match word.trim_matches([' ', '\t']) {
            "0" => all = true,
            "1" => any = true,
            "d" | "D" => options.dkim = true,
            "s" | "S" => options.spf = true,
            _ => return None,
        }
    }
    options.any = any;
    (!(all && any)).then_some(options)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Record {
        Record::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn only_what_begins_with_the_exact_version_is_a_record() {
        for text in [
            "v=DMARC1",
            "v = DMARC1 ;p=none",
            "v=DMARC1;",
            "v\t=\tDMARC1\t; p=none;",
        ] {
            assert!(Record::parse(text.as_bytes()).is_some(), "{text}");
        }
        for text in [
            "",
            "v=DMARC",
            "v=dmarc1; p=none",
            "V=DMARC1; p=none",
            " v=DMARC1; p=none",
            "p=none; v=DMARC1",
            "v=DMARC1 p=none",
            "v=DMARC12; p=none",
            "v=DMARC2; p=none",
            "\u{feff}v=DMARC1; p=none",
        ] {
            assert!(Record::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn tags_come_in_any_order_and_case_of_their_values() {
        let record = read(
            "v=DMARC1; aspf=S; np=REJECT;rua=mailto:a@b.example!10m , https://c.example/x;\
             pct=0;  sp=Quarantine ; unknown=x;p=None; adkim=s; t=Y; psd=N; fo=1:d:s; ri=60",
        );
        assert_eq!(record.policy, Some(Policy::None));
        assert_eq!(record.subdomains, Some(Policy::Quarantine));
        assert_eq!(record.nonexistent, Some(Policy::Reject));
        assert_eq!(
            (record.dkim, record.spf),
            (Alignment::Strict, Alignment::Strict)
        );
        assert_eq!((record.testing, record.psd), (true, PublicSuffix::No));
        assert_eq!(record.aggregate.len(), 2);
        let FailureOptions { any, dkim, spf } = record.options;
        assert!(any && dkim && spf);
        assert_eq!(record.faults, [""; 0]);
    }

    #[test]
    fn a_tag_that_is_wrong_counts_as_absent_and_is_told() {
        let record =
            read("v=DMARC1; p=reject; p=none; adkim=x; t=; psd=maybe; fo=0:1; rua=x; \x07");
        assert_eq!(
            (record.policy, record.dkim),
            (Some(Policy::Reject), Alignment::Relaxed)
        );
        assert_eq!((record.testing, record.psd), (false, PublicSuffix::Unknown));
        assert_eq!(record.options, FailureOptions::default());
        assert_eq!(record.faults.len(), 7, "{:?}", record.faults);
        assert_eq!(read("v=DMARC1").faults, ["the tag \"p\" is missing"]);
    }

    proptest! {
        #[test]
        fn no_octets_break_the_reader(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = [b"v=DMARC1;".as_slice(), &text].concat();
            let record = Record::parse(&text).unwrap();
            let shown = record.faults.iter().all(|f| f.bytes().all(|b| (b' '..=b'~').contains(&b)));
            prop_assert!(shown, "{:?}", record.faults);
        }

        #[test]
        fn the_order_of_tags_does_not_matter(
            tags in Just(vec!["p=reject", "sp=none", "np=quarantine", "t=y", "aspf=s", "psd=y"])
                .prop_shuffle(),
        ) {
            let record = read(&format!("v=DMARC1;{}", tags.join(";")));
            let first = read("v=DMARC1;p=reject;sp=none;np=quarantine;t=y;aspf=s;psd=y");
            prop_assert_eq!(record, first);
        }
    }
}
