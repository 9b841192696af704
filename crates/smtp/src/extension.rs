//! What a peer offers after EHLO, and the parameters that go with it.
//!
//! Not here: what *we* offer; that is [`crate::server::Offered`].

use std::collections::BTreeSet;

use crate::address::{ForwardPath, Mailbox};
use crate::limits;
use crate::reply::Reply;

mod date_time;
mod parameters;

pub use parameters::{ByMode, DeliverBy, FutureRelease, Hold, Limits, Priority, Submitter};

/// The `BODY=` parameter of MAIL (RFC 6152 §3, RFC 3030 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyType {
    /// `BODY=7BIT`, or no parameter.
    #[default]
    SevenBit,
    /// `BODY=8BITMIME`.
    EightBitMime,
    /// `BODY=BINARYMIME`: any octets, with or without lines.
    BinaryMime,
}

impl BodyType {
    /// Parses the value, in any case.
    #[must_use]
    pub fn parse(value: &str) -> Option<BodyType> {
        if value.eq_ignore_ascii_case("7BIT") {
            Some(BodyType::SevenBit)
        } else if value.eq_ignore_ascii_case("8BITMIME") {
            Some(BodyType::EightBitMime)
        } else if value.eq_ignore_ascii_case("BINARYMIME") {
            Some(BodyType::BinaryMime)
        } else {
            None
        }
    }
}

/// A SIZE value: 1 to 20 digits (RFC 1870 §6), which may be more than a `u64` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SizeValue(u64);

impl SizeValue {
    pub(crate) fn parse(digits: &str) -> Option<SizeValue> {
        let well_formed = !digits.is_empty()
            && digits.len() <= limits::SIZE_DIGITS
            && digits.bytes().all(|c| c.is_ascii_digit());
        // Only overflow is left to fail, and more than u64::MAX is as good as u64::MAX.
        well_formed.then(|| SizeValue(digits.parse().unwrap_or(u64::MAX)))
    }

    pub(crate) fn octets(self) -> u64 {
        self.0
    }
}

/// What a peer said it can do (client side).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extensions {
    /// Whether it answered EHLO (or LHLO); false after the fallback to HELO.
    pub extended: bool,
    /// The name it gave itself in the reply to EHLO or HELO.
    pub name: Box<str>,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870): offered, and its limit in octets, where it names one above 0.
    pub size: Option<Option<u64>>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtp_utf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030 §3).
    pub binary_mime: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// The mechanisms of AUTH (RFC 4954 §3), as the peer writes them; none when it lacks AUTH.
    pub auth: Vec<Box<str>>,
    /// REQUIRETLS (RFC 8689 §2).
    pub require_tls: bool,
    /// DELIVERBY (RFC 2852): the shortest time in seconds after which a message may be returned, 0
    /// where none is named.
    pub deliver_by: Option<u32>,
    /// MT-PRIORITY (RFC 6710), of whatever profile.
    pub priority: bool,
    /// LIMITS (RFC 9422).
    pub limits: Limits,
}

impl Extensions {
    /// Reads a positive reply to EHLO or LHLO (RFC 5321 §4.1.1.1): keywords in any case, unknown
    /// ones ignored.
    #[must_use]
    pub fn from_ehlo(reply: &Reply) -> Extensions {
        let mut extensions = Extensions {
            extended: true,
            ..Extensions::from_helo(reply)
        };
        for line in reply.lines().skip(1) {
            let line = line.trim_ascii();
            let (keyword, parameters) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            extensions.learn(keyword, parameters);
        }
        extensions
    }

    /// Reads a positive reply to HELO.
    #[must_use]
    pub fn from_helo(reply: &Reply) -> Extensions {
        let first = reply.lines().next().unwrap_or_default();
        let name = first.split_ascii_whitespace().next().unwrap_or_default();
        Extensions {
            name: name.into(),
            ..Extensions::default()
        }
    }

    /// How many of these recipients, from the first on, the peer takes in one transaction
    /// (RFC 9422 §4): at least one, if there is any.
    #[must_use]
    pub fn takes<'a>(&self, recipients: impl IntoIterator<Item = &'a ForwardPath>) -> usize {
        let bound = |limit: Option<u32>| limit.and_then(|n| usize::try_from(n).ok());
        let (most, most_domains) = (
            bound(self.limits.rcpt_max).unwrap_or(usize::MAX),
            bound(self.limits.rcpt_domain_max).unwrap_or(usize::MAX),
        );
        let mut domains = BTreeSet::new();
        let fits = |recipient: &&ForwardPath| {
            let domain = recipient.mailbox().map(Mailbox::domain);
            domains.insert(domain.map(|domain| domain.to_string().to_ascii_lowercase()));
            domains.len() <= most_domains
        };
        recipients.into_iter().take(most).take_while(fits).count()
    }

    fn learn(&mut self, keyword: &str, parameters: &str) {
        let mut words = parameters.split_ascii_whitespace();
        match keyword.to_ascii_uppercase().as_str() {
            "PIPELINING" => self.pipelining = true,
            "SIZE" => {
                let limit = words.next().and_then(SizeValue::parse);
                let limit = limit.map(SizeValue::octets);
                self.size = Some(limit.filter(|limit| *limit > 0));
            }
            "8BITMIME" => self.eight_bit_mime = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "SMTPUTF8" => self.smtp_utf8 = true,
            "DSN" => self.dsn = true,
            "CHUNKING" => self.chunking = true,
            "BINARYMIME" => self.binary_mime = true,
            "STARTTLS" => self.starttls = true,
            "AUTH" => {
                self.auth = words
                    .filter(|name| is_mechanism(name))
                    .map(Box::from)
                    .collect()
            }
            "REQUIRETLS" => self.require_tls = true,
            // Options may follow the time, separated by commas (RFC 2852 §3).
            "DELIVERBY" => {
                let min = parameters.split([',', ' ']).next().unwrap_or_default();
                self.deliver_by = Some(min.parse().unwrap_or(0));
            }
            "MT-PRIORITY" => self.priority = true,
            "LIMITS" => self.limits = Limits::parse(parameters),
            _ => {}
        }
    }
}

/// Whether it is the name of a SASL mechanism (RFC 4422 §3.1), in any case.
fn is_mechanism(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    (1..=20).contains(&name.len()) && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Utf8;

    #[test]
    fn keywords_are_read_in_any_case_and_unknown_ones_ignored() {
        let wire =
            b"250-mx.example.org hello\r\n250-pipelining\r\n250-SIZE 1000\r\n250-X-NEW a b\r\n\
            250-8BITMIME\r\n250 \r\n";
        let extensions = Extensions::from_ehlo(&Reply::parse(wire).unwrap());
        assert_eq!(
            extensions,
            Extensions {
                extended: true,
                name: "mx.example.org".into(),
                pipelining: true,
                size: Some(Some(1000)),
                eight_bit_mime: true,
                ..Extensions::default()
            }
        );
    }

    #[test]
    fn only_names_of_mechanisms_are_taken_from_auth() {
        let reply = Reply::plain(
            250,
            "x\nauth PLAIN scram-sha-256-plus A,B x123456789012345678901",
        );
        let names: Vec<Box<str>> = vec!["PLAIN".into(), "scram-sha-256-plus".into()];
        assert_eq!(Extensions::from_ehlo(&reply).auth, names);
    }

    #[test]
    fn what_a_peer_limits_and_what_it_can_return_is_read() {
        let text = "x\nLIMITS RCPTMAX=3 rcptdomainmax=2\nDELIVERBY 240,x\nMT-PRIORITY MIXER";
        let extensions = Extensions::from_ehlo(&Reply::plain(250, text));
        assert_eq!(
            (extensions.deliver_by, extensions.priority),
            (Some(240), true)
        );
        let path = |text: &str| ForwardPath::parse(text, Utf8::Refused).unwrap();
        let taken = |paths: &[&str]| {
            let paths: Vec<ForwardPath> = paths.iter().map(|text| path(text)).collect();
            extensions.takes(&paths)
        };
        assert_eq!(taken(&[]), 0);
        assert_eq!(taken(&["<a@a>", "<b@A>", "<c@b>", "<d@b>"]), 3);
        assert_eq!(taken(&["<a@a>", "<b@b>", "<c@[192.0.2.1]>"]), 2);
        let none = Extensions::from_ehlo(&Reply::plain(250, "x\ndeliverby\nLIMITS"));
        assert_eq!((none.deliver_by, none.limits.is_empty()), (Some(0), true));
        assert_eq!(none.takes(&[path("<a@a>"), path("<b@b>")]), 2);
    }

    #[test]
    fn a_size_without_a_useful_number_is_no_limit() {
        for line in ["SIZE", "SIZE 0", "SIZE x", "SIZE 123456789012345678901"] {
            let reply = Reply::plain(250, format!("x\n{line}"));
            assert_eq!(Extensions::from_ehlo(&reply).size, Some(None), "{line}");
        }
    }
}
