//! What MAIL may ask for beyond a plain delivery, and what a LIMITS line says.
//!
//! Every type reads its value from the wire and writes it again in the form it has there.
//!
//! Not here: who may ask (the session), what becomes of it (the queue), and what time it is.

use std::fmt;

use crate::dsn::decode_xtext;
use crate::extension::date_time;
use crate::limits;

/// What happens to a message whose time is up (RFC 2852 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByMode {
    /// `R`: it is returned.
    Return,
    /// `N`: its sender is told that it is late.
    Notify,
}

/// `BY=`: deliver within a time (RFC 2852 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverBy {
    /// Seconds left, within ±999,999,999; with [`ByMode::Return`] at least 1.
    pub by_time_s: i64,
    /// What to do when they are over.
    pub mode: ByMode,
    /// `T`: each relay reports that it passed the message on.
    pub trace: bool,
}

impl DeliverBy {
    /// Parses `by-time ";" by-mode [by-trace]`, its letters in any case.
    #[must_use]
    pub fn parse(value: &str) -> Option<DeliverBy> {
        let (time, mode) = value.split_once(';')?;
        let digits = time.strip_prefix(['+', '-']).unwrap_or(time);
        let size = i64::from(number(digits, 9)?);
        let by_time_s = if time.starts_with('-') { -size } else { size };
        let is = |text: &str| mode.eq_ignore_ascii_case(text);
        let (mode, trace) = match () {
            () if is("R") => (ByMode::Return, false),
            () if is("RT") => (ByMode::Return, true),
            () if is("N") => (ByMode::Notify, false),
            () if is("NT") => (ByMode::Notify, true),
            () => return None,
        };
        let wanted = mode == ByMode::Notify || by_time_s > 0;
        wanted.then_some(DeliverBy {
            by_time_s,
            mode,
            trace,
        })
    }
}

impl fmt::Display for DeliverBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            ByMode::Return => 'R',
            ByMode::Notify => 'N',
        };
        let trace = if self.trace { "T" } else { "" };
        write!(f, "{};{mode}{trace}", self.by_time_s)
    }
}

/// `HOLDFOR=` or `HOLDUNTIL=`: release the message later (RFC 4865).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// For so many seconds, 1 to 999,999,999.
    For(u32),
    /// Until a time, in seconds since 1970 (RFC 3339 §5.6 on the wire).
    Until(i64),
}

impl Hold {
    /// Parses the value of `HOLDFOR=`.
    #[must_use]
    pub fn parse_for(value: &str) -> Option<Hold> {
        let seconds = number(value, 9).filter(|_| !value.starts_with('0'))?;
        Some(Hold::For(seconds))
    }

    /// Parses the value of `HOLDUNTIL=`.
    #[must_use]
    pub fn parse_until(value: &str) -> Option<Hold> {
        date_time::parse(value).map(Hold::Until)
    }
}

/// Writes the parameter, with its keyword.
impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hold::For(seconds) => write!(f, "HOLDFOR={seconds}"),
            Hold::Until(time) => write!(f, "HOLDUNTIL={}", date_time::Written(*time)),
        }
    }
}

/// The longest and the latest that a message may be held, as EHLO announces them (RFC 4865).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FutureRelease {
    /// Seconds that `HOLDFOR` may name.
    pub interval_s: u32,
    /// The time that `HOLDUNTIL` may name, in seconds since 1970.
    pub until: i64,
}

impl FutureRelease {
    /// Whether a message may be held so.
    #[must_use]
    pub fn allows(&self, hold: Hold) -> bool {
        match hold {
            Hold::For(seconds) => seconds <= self.interval_s,
            Hold::Until(time) => time <= self.until,
        }
    }
}

/// Writes the parameters of the keyword FUTURERELEASE.
impl fmt::Display for FutureRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.interval_s, date_time::Written(self.until))
    }
}

/// `MT-PRIORITY=`: how urgent a message is, -9 to 9, 0 where nothing is said (RFC 6710 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Priority(i8);

impl Priority {
    /// `None` outside of -9 to 9.
    #[must_use]
    pub fn new(priority: i8) -> Option<Priority> {
        (-9..=9).contains(&priority).then_some(Priority(priority))
    }

    /// Parses one digit, with or without `-`; there is no `-0`.
    #[must_use]
    pub fn parse(value: &str) -> Option<Priority> {
        let digits = value.strip_prefix('-').unwrap_or(value);
        let size = i8::try_from(number(digits, 1)?).ok()?;
        match value.starts_with('-') {
            true => (size > 0).then_some(Priority(-size)),
            false => Some(Priority(size)),
        }
    }

    /// Its value.
    #[must_use]
    pub fn get(self) -> i8 {
        self.0
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `AUTH=`: who submitted the message first, as far as the client knows (RFC 4954 §5). At most
/// [`limits::SUBMITTER`] octets of xtext. Nothing follows from it by itself: anybody may write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitter(Box<str>);

impl Submitter {
    /// Parses `<>`, or xtext that stands for printable ASCII.
    #[must_use]
    pub fn parse(value: &str) -> Option<Submitter> {
        let short = value.is_ascii() && !value.is_empty() && value.len() <= limits::SUBMITTER;
        (short && decode_xtext(value).is_some()).then(|| Submitter(value.into()))
    }

    /// The value as it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The mailbox, decoded; `None` when nobody is named.
    #[must_use]
    pub fn mailbox(&self) -> Option<String> {
        decode_xtext(&self.0).filter(|mailbox| mailbox != "<>")
    }
}

/// What a server takes in one session (RFC 9422 §4). A limit that is not named is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// `MAILMAX`: transactions, 1 to 999,999.
    pub mail_max: Option<u32>,
    /// `RCPTMAX`: recipients of a transaction, 1 to 999,999.
    pub rcpt_max: Option<u32>,
    /// `RCPTDOMAINMAX`: domains of recipients in a transaction, 1 to 999,999.
    pub rcpt_domain_max: Option<u32>,
}

impl Limits {
    /// Reads what stands behind the keyword LIMITS; what is unknown or malformed is passed over
    /// (RFC 9422 §3).
    #[must_use]
    pub fn parse(parameters: &str) -> Limits {
        let mut limits = Limits::default();
        for (name, value) in parameters
            .split_ascii_whitespace()
            .filter_map(|word| word.split_once('='))
        {
            let value = number(value, 6).filter(|_| !value.starts_with('0'));
            let limit = match () {
                () if name.eq_ignore_ascii_case("MAILMAX") => &mut limits.mail_max,
                () if name.eq_ignore_ascii_case("RCPTMAX") => &mut limits.rcpt_max,
                () if name.eq_ignore_ascii_case("RCPTDOMAINMAX") => &mut limits.rcpt_domain_max,
                () => continue,
            };
            *limit = value.or(*limit);
        }
        limits
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Limits::default()
    }
}

/// Writes what stands behind the keyword.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, limit) in [
            ("MAILMAX", self.mail_max),
            ("RCPTMAX", self.rcpt_max),
            ("RCPTDOMAINMAX", self.rcpt_domain_max),
        ] {
            if let Some(limit) = limit {
                write!(f, "{separator}{name}={limit}")?;
                separator = " ";
            }
        }
        Ok(())
    }
}

/// One to `most` digits (at most 9) without a sign.
fn number(digits: &str, most: usize) -> Option<u32> {
    let well_formed = (1..=most).contains(&digits.len()) && digits.bytes().all(is_digit);
    well_formed.then(|| digits.parse().ok()).flatten()
}

fn is_digit(octet: u8) -> bool {
    octet.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_deliver_by_has_a_sign_a_mode_and_maybe_a_trace() {
        for (value, written) in [
            ("120;R", "120;R"),
            ("+1;rt", "1;RT"),
            ("-999999999;n", "-999999999;N"),
            ("0;NT", "0;NT"),
        ] {
            let by = DeliverBy::parse(value).unwrap();
            assert_eq!(by.to_string(), written);
            assert_eq!(DeliverBy::parse(written), Some(by));
        }
        for bad in [
            "",
            ";",
            "1",
            "1;",
            ";R",
            "0;R",
            "-1;R",
            "-0;R",
            "1;X",
            "1;TR",
            "1;RR",
            "1;R;",
            "1 ;R",
            "--1;N",
            "+-1;N",
            "+;N",
            "1000000000;N",
            "1.5;N",
        ] {
            assert_eq!(DeliverBy::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_message_is_held_for_a_time_or_until_one() {
        assert_eq!(Hold::parse_for("1"), Some(Hold::For(1)));
        assert_eq!(Hold::parse_for("999999999"), Some(Hold::For(999_999_999)));
        for bad in ["", "0", "01", "-1", "+1", "1000000000", "1s"] {
            assert_eq!(Hold::parse_for(bad), None, "{bad}");
        }
        let hold = Hold::parse_until("1970-01-02T00:00:10Z").unwrap();
        assert_eq!(hold, Hold::Until(86_410));
        assert_eq!(hold.to_string(), "HOLDUNTIL=1970-01-02T00:00:10Z");
        assert_eq!(Hold::For(7).to_string(), "HOLDFOR=7");
        let offer = FutureRelease {
            interval_s: 10,
            until: 86_410,
        };
        assert_eq!(offer.to_string(), "10 1970-01-02T00:00:10Z");
        assert!(offer.allows(hold) && offer.allows(Hold::For(10)));
        assert!(!offer.allows(Hold::Until(86_411)) && !offer.allows(Hold::For(11)));
    }

    #[test]
    fn a_priority_is_one_digit_with_one_way_to_write_it() {
        for value in -9..=9i8 {
            let priority = Priority::parse(&value.to_string()).unwrap();
            assert_eq!(
                (priority.get(), Priority::new(value)),
                (value, Some(priority))
            );
            assert_eq!(priority.to_string(), value.to_string());
        }
        for bad in ["", "-", "-0", "+1", "10", "-10", "00", "01", "a"] {
            assert_eq!(Priority::parse(bad), None, "{bad}");
        }
        assert_eq!((Priority::new(-10), Priority::new(10)), (None, None));
    }

    #[test]
    fn a_submitter_is_a_mailbox_in_xtext_or_nobody() {
        let submitter = Submitter::parse("e+3Dmc2@example.com").unwrap();
        assert_eq!(submitter.mailbox().as_deref(), Some("e=mc2@example.com"));
        assert_eq!(submitter.as_str(), "e+3Dmc2@example.com");
        assert_eq!(Submitter::parse("<>").unwrap().mailbox(), None);
        let long = "x".repeat(limits::SUBMITTER + 1);
        assert!(Submitter::parse(&long[1..]).is_some());
        for bad in ["", "+", "a+0D+0A", "a b", "a=b", "é", &long] {
            assert_eq!(Submitter::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn limits_that_are_unknown_or_malformed_are_passed_over() {
        let text = "mailmax=5 RCPTMAX=999999 X-NEW=1 RCPTDOMAINMAX=0 RCPTMAX=1000000 Y";
        let limits = Limits::parse(text);
        assert_eq!(
            limits,
            Limits {
                mail_max: Some(5),
                rcpt_max: Some(999_999),
                rcpt_domain_max: None
            }
        );
        assert_eq!(limits.to_string(), "MAILMAX=5 RCPTMAX=999999");
        assert_eq!(Limits::parse(&limits.to_string()), limits);
        assert!(Limits::parse("MAILMAX MAILMAX= MAILMAX=-1 MAILMAX=1x").is_empty());
    }
}
