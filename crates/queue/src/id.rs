//! Queue ids: our name for a message, unique and ordered by time.
//!
//! 128 bits: 48 of milliseconds since 1970, 80 random. Ids of reports are derived, not drawn, so
//! that a report about the same recipient for the same reason is made once, however often a crash
//! makes us try. It does **not** name anything to the outside: that is Message-ID's task.

use std::fmt;
use std::str::FromStr;

use posthaste_world::{Random, Timestamp};

/// Octets of an id in its text form.
pub const TEXT_LEN: usize = 26;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RANDOM_BITS: u32 = 80;

/// Our name for a message. `Display` gives 26 characters of lower-case Crockford base 32, which
/// sort as the ids do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(u128);

/// What a report tells; part of its id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ReportKind {
    /// Recipients failed (RFC 3461 §6.2).
    Failed,
    /// Delivery takes longer.
    Delayed,
    /// Recipients were delivered.
    Delivered,
    /// Recipients were handed to a server that does not confirm (RFC 3461 §6.2.6).
    Relayed,
    /// Recipients were expanded to several (RFC 3461 §6.2.7).
    Expanded,
    /// A report could not be delivered; the postmaster is told.
    DoubleBounce,
}

impl QueueId {
    /// A new id.
    #[must_use]
    pub fn new(now: Timestamp, random: &dyn Random) -> Self {
        let mut octets = [0; 16];
        random.fill(&mut octets);
        let drawn = u128::from_be_bytes(octets) >> (128 - RANDOM_BITS);
        QueueId(u128::from(now.as_millis()) << RANDOM_BITS | drawn)
    }

    /// The id of the report of `kind` about a recipient of `parent`. It keeps the parent's time, so
    /// that the two stand together in every list. The mixing is part of the spool's format.
    #[must_use]
    pub fn report(parent: QueueId, recipient: u32, kind: ReportKind) -> Self {
        let octets = parent.0.to_be_bytes();
        let (high, low) = octets.split_at(8);
        let mut state = 0x706f_7374_6861_7374_u64;
        for word in [high, low] {
            let word = word
                .iter()
                .fold(0, |sum, octet| sum << 8 | u64::from(*octet));
            state = mix(state ^ word);
        }
        let first = mix(state ^ (u64::from(recipient) << 8 | u64::from(kind.number())));
        let drawn = u128::from(first) << 64 | u128::from(mix(first));
        let time = parent.0 >> RANDOM_BITS << RANDOM_BITS;
        QueueId(time | drawn >> (128 - RANDOM_BITS))
    }

    /// The 16 octets it is stored as, big-endian.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// From the 16 octets it is stored as.
    #[must_use]
    pub const fn from_bytes(octets: [u8; 16]) -> Self {
        QueueId(u128::from_be_bytes(octets))
    }

    /// When it was made; for a report, when its parent was.
    #[must_use]
    pub fn time(self) -> Timestamp {
        Timestamp::from_millis(u64::try_from(self.0 >> RANDOM_BITS).unwrap_or(u64::MAX))
    }
}

impl ReportKind {
    fn number(self) -> u8 {
        match self {
            ReportKind::Failed => 1,
            ReportKind::Delayed => 2,
            ReportKind::Delivered => 3,
            ReportKind::Relayed => 4,
            ReportKind::Expanded => 5,
            ReportKind::DoubleBounce => 6,
        }
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'0'; TEXT_LEN];
        let mut rest = self.0;
        for place in text.iter_mut().rev() {
            let digit = usize::try_from(rest & 31).unwrap_or(0);
            *place = ALPHABET.get(digit).copied().unwrap_or(b'0');
            rest >>= 5;
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not a queue id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a queue id: 26 digits and lower-case letters are expected")
    }
}

impl std::error::Error for NotAnId {}

impl FromStr for QueueId {
    type Err = NotAnId;

    /// Reads the text form; upper-case letters are taken too.
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.len() != TEXT_LEN {
            return Err(NotAnId);
        }
        let mut value = 0_u128;
        for octet in text.bytes() {
            let lower = octet.to_ascii_lowercase();
            let digit = ALPHABET.iter().position(|a| *a == lower).ok_or(NotAnId)?;
            if value >> 123 != 0 {
                return Err(NotAnId);
            }
            value = value << 5 | u128::try_from(digit).map_err(|_| NotAnId)?;
        }
        Ok(QueueId(value))
    }
}

/// A bijection that spreads every input bit over the output (the finalizer of SplitMix64).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);
    impl Random for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn text_round_trips_and_sorts_as_the_id() {
        let early = QueueId::new(Timestamp::from_secs(1), &Fixed(0xff));
        let late = QueueId::new(Timestamp::from_secs(2), &Fixed(0));
        for id in [early, late] {
            assert_eq!(id.to_string().len(), TEXT_LEN);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
            assert_eq!(QueueId::from_bytes(id.to_bytes()), id);
        }
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(late.time(), Timestamp::from_secs(2));
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in [
            "",
            "0",
            "il0000000000000000000000000",
            "80000000000000000000000000",
        ] {
            assert_eq!(text.parse::<QueueId>(), Err(NotAnId), "{text}");
        }
    }

    #[test]
    fn the_id_of_a_report_is_fixed_by_what_it_reports() {
        let parent = QueueId::new(Timestamp::from_secs(1_800_000_000), &Fixed(7));
        let report = QueueId::report(parent, 3, ReportKind::Failed);
        assert_eq!(report, QueueId::report(parent, 3, ReportKind::Failed));
        assert_ne!(report, QueueId::report(parent, 4, ReportKind::Failed));
        assert_ne!(report, QueueId::report(parent, 3, ReportKind::Delayed));
        assert_ne!(report, QueueId::report(report, 3, ReportKind::Failed));
        assert_eq!(report.time(), parent.time());
    }
}
