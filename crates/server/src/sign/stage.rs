//! Where a key stands in its life, and when it moves on.
//!
//! A key is *published* first: its record is to be put into the DNS, and it signs nothing. When all
//! new keys of a domain have been seen there for [`SETTLED`], so that every name server of the
//! domain has had time to take them over, they become *active* and sign; the keys that signed until
//! then are *retiring*: they sign nothing any more, but their records must stay for the mail that
//! they signed. After that time they are *retired*: the private key is deleted, and the record may
//! go; a retired key is forgotten when its record is gone.
//!
//! A key never moves on for time alone where the DNS has to say something first, and what the DNS
//! does not say now (no answer, an error) moves nothing in either direction. This module is
//! arithmetic over what is known: it asks nobody and writes nothing.

use std::time::Duration;

use posthaste_world::Timestamp;

/// How long the records of new keys must have been seen without a break before the keys sign.
pub const SETTLED: Duration = Duration::from_secs(3600);
/// How long the record of a key must stay after the last message that it signed has left us.
/// Receivers ask for it when they judge a message, which may have waited elsewhere for days.
pub const STAYS_FOR: Duration = Duration::from_secs(7 * 86_400);

/// Where a key stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Its record is to be published; it signs nothing yet.
    Published {
        /// Since when its record has been seen at every look, if it was at the last.
        seen: Option<Timestamp>,
    },
    /// It signs.
    Active,
    /// Signs no more; its record must stay.
    Retiring,
    /// Its private key is deleted; its record may go.
    Retired,
}

impl Stage {
    /// In one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Stage::Published { .. } => "published",
            Stage::Active => "active",
            Stage::Retiring => "retiring",
            Stage::Retired => "retired",
        }
    }
}

/// A stage, and since when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The stage.
    pub stage: Stage,
    /// When it began.
    pub since: Timestamp,
}

impl Standing {
    /// A stage that begins at `since`.
    #[must_use]
    pub fn new(stage: Stage, since: Timestamp) -> Self {
        Standing { stage, since }
    }

    /// Whether what the DNS says of the key decides anything.
    #[must_use]
    pub fn waits_for_dns(self) -> bool {
        matches!(self.stage, Stage::Published { .. } | Stage::Retired)
    }
}

/// What the DNS says of a key's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sight {
    /// It is there, and right.
    Right,
    /// There is no record.
    Missing,
    /// It is there, and is not right.
    Wrong,
    /// No answer, or none that can be trusted to be the last word; or nobody asked.
    Unknown,
}

/// The standings at `now` of all keys of one domain, none for a key that is to be forgotten. Mail
/// may wait for `longest_wait` with us after it was signed.
#[must_use]
pub fn advance(
    keys: &[(Standing, Sight)],
    now: Timestamp,
    longest_wait: Duration,
) -> Vec<Option<Standing>> {
    let seen: Vec<_> = keys.iter().map(|key| look(*key, now)).collect();
    let new = || {
        keys.iter()
            .zip(&seen)
            .filter(|(_, s)| matches!(s.stage, Stage::Published { .. }))
    };
    let settled = |standing: &Standing| match standing.stage {
        Stage::Published { seen: Some(first) } => now.since(first) >= SETTLED,
        _ => false,
    };
    let takes_over =
        new().next().is_some() && new().all(|((_, sight), s)| *sight == Sight::Right && settled(s));
    let next = |((_, sight), standing): (&(Standing, Sight), &Standing)| match standing.stage {
        Stage::Published { .. } if takes_over => Some(Standing::new(Stage::Active, now)),
        Stage::Active if takes_over => Some(Standing::new(Stage::Retiring, now)),
        Stage::Retiring if now.since(standing.since) >= longest_wait + STAYS_FOR => {
            Some(Standing::new(Stage::Retired, now))
        }
        Stage::Retired if *sight == Sight::Missing => None,
        _ => Some(*standing),
    };
    keys.iter().zip(&seen).map(next).collect()
}

/// The same key after a look at the DNS.
fn look((standing, sight): (Standing, Sight), now: Timestamp) -> Standing {
    let Stage::Published { seen } = standing.stage else {
        return standing;
    };
    let seen = match sight {
        Sight::Right => seen.or(Some(now)),
        Sight::Missing | Sight::Wrong => None,
        Sight::Unknown => seen,
    };
    Standing {
        stage: Stage::Published { seen },
        ..standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const WAIT: Duration = Duration::from_secs(5 * DAY);

    fn at(s: u64) -> Timestamp {
        Timestamp::from_secs(s)
    }

    fn published(seen: Option<u64>) -> Standing {
        let seen = seen.map(at);
        Standing::new(Stage::Published { seen }, at(100))
    }

    fn active() -> Standing {
        Standing::new(Stage::Active, at(50))
    }

    fn words(keys: &[(Standing, Sight)], now: u64) -> Vec<&'static str> {
        let next = advance(keys, at(now), WAIT);
        let word = |s: Option<Standing>| s.map_or("forgotten", |s| s.stage.word());
        next.into_iter().map(word).collect()
    }

    #[test]
    fn new_keys_sign_when_all_have_been_seen_for_the_whole_time() {
        use Sight::{Missing, Right, Unknown, Wrong};
        let long_ago = 200;
        let now = long_ago + SETTLED.as_secs();
        let old = (active(), Unknown);
        let stays = ["published", "published", "active"];
        // (seen since, what this look says) of two new keys beside one that signs.
        for (first, second, expected) in [
            (
                (Some(long_ago), Right),
                (Some(long_ago), Right),
                ["active", "active", "retiring"],
            ),
            ((Some(long_ago), Right), (Some(long_ago + 1), Right), stays),
            ((Some(long_ago), Right), (None, Right), stays),
            ((Some(long_ago), Right), (Some(long_ago), Wrong), stays),
            ((Some(long_ago), Missing), (Some(long_ago), Right), stays),
            ((Some(long_ago), Right), (Some(long_ago), Unknown), stays),
        ] {
            let keys = [
                (published(first.0), first.1),
                (published(second.0), second.1),
                old,
            ];
            assert_eq!(words(&keys, now), expected, "{first:?} {second:?}");
        }
    }

    #[test]
    fn a_look_begins_ends_or_keeps_the_time_in_which_a_record_was_seen() {
        let seen = |before: Option<u64>, sight: Sight| {
            let [next] = advance(&[(published(before), sight)], at(1_000), WAIT)[..] else {
                panic!("one key");
            };
            match next.unwrap().stage {
                Stage::Published { seen } => seen.map(Timestamp::as_secs),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(seen(None, Sight::Right), Some(1_000));
        assert_eq!(seen(Some(900), Sight::Right), Some(900));
        assert_eq!(seen(Some(900), Sight::Unknown), Some(900));
        assert_eq!(seen(None, Sight::Unknown), None);
        assert_eq!(seen(Some(900), Sight::Missing), None);
        assert_eq!(seen(Some(900), Sight::Wrong), None);
    }

    #[test]
    fn an_old_key_s_record_stays_for_all_mail_that_it_signed() {
        let retiring = (Standing::new(Stage::Retiring, at(0)), Sight::Unknown);
        let end = WAIT.as_secs() + STAYS_FOR.as_secs();
        assert_eq!(words(&[retiring], end - 1), ["retiring"]);
        assert_eq!(words(&[retiring], end), ["retired"]);
        for (sight, expected) in [
            (Sight::Right, "retired"),
            (Sight::Wrong, "retired"),
            (Sight::Unknown, "retired"),
            (Sight::Missing, "forgotten"),
        ] {
            let retired = (Standing::new(Stage::Retired, at(0)), sight);
            assert_eq!(words(&[retired], 10 * end), [expected], "{sight:?}");
        }
    }

    #[test]
    fn without_new_keys_nothing_ever_moves() {
        assert_eq!(
            words(&[(active(), Sight::Missing)], u64::MAX / 2000),
            ["active"]
        );
    }
}
