//! Times of RFC 3339 §5.6, as far as HOLDUNTIL needs them: to and from seconds since 1970.
//!
//! Not here: dates of messages (RFC 5322), and what time it is.

use std::fmt;

const DAY_S: i64 = 86_400;

/// Days from 0000-03-01 to 1970-01-01, and in 400 years (a leap day ends a year that starts in
/// March).
const TO_1970: i64 = 719_468;
const ERA: i64 = 146_097;

/// Parses `YYYY-MM-DDTHH:MM:SS[.fraction](Z|±HH:MM)`; fractions are dropped, and second 60 is the
/// one after.
pub(super) fn parse(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date.as_bytes() else {
        return None;
    };
    let (clock, zone_s) = split_zone(time)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let &[h1, h2, b':', n1, n2, b':', s1, s2] = clock.as_bytes() else {
        return None;
    };
    let year = digits([y1, y2])? * 100 + digits([y3, y4])?;
    let (month, day) = (digits([m1, m2])?, digits([d1, d2])?);
    let (hour, minute, second) = (digits([h1, h2])?, digits([n1, n2])?, digits([s1, s2])?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && !fraction.is_empty()
        && fraction.bytes().all(|c| c.is_ascii_digit());
    let seconds = days_since_1970(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second;
    in_range.then_some(seconds - zone_s)
}

/// The time of day without its zone, and what the zone is ahead of UTC, in seconds.
fn split_zone(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let at = time.rfind(['+', '-'])?;
    let (clock, zone) = time.split_at_checked(at)?;
    let &[sign, h1, h2, b':', m1, m2] = zone.as_bytes() else {
        return None;
    };
    let (hours, minutes) = (digits([h1, h2])?, digits([m1, m2])?);
    let ahead = hours * 3600 + minutes * 60;
    let ahead = if sign == b'-' { -ahead } else { ahead };
    (hours < 24 && minutes < 60).then_some((clock, ahead))
}

fn digits(pair: [u8; 2]) -> Option<i64> {
    let digit = |c: u8| c.is_ascii_digit().then(|| i64::from(c - b'0'));
    Some(digit(pair[0])? * 10 + digit(pair[1])?)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Proleptic Gregorian; years begin in March here, so that the leap day is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - TO_1970
}

/// Writes seconds since 1970 in UTC; years outside of 0 to 9999 become the nearest.
pub(super) struct Written(pub(super) i64);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let earliest = days_since_1970(0, 1, 1) * DAY_S;
        let latest = days_since_1970(10_000, 1, 1) * DAY_S - 1;
        let time = self.0.clamp(earliest, latest);
        let (days, second) = (time.div_euclid(DAY_S) + TO_1970, time.rem_euclid(DAY_S));
        let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
        let of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * of_era + of_era / 4 - of_era / 100);
        let month = (5 * day + 2) / 153;
        let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
        let year = era * 400 + of_era + i64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times_are_read() {
        for (text, time) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31t23:59:59z", -1),
            ("2000-02-29T12:00:00.999Z", 951_825_600),
            // The examples of RFC 3339 §5.8.
            ("1985-04-12T23:20:50.52Z", 482_196_050),
            ("1996-12-19T16:39:57-08:00", 851_042_397),
            ("1990-12-31T23:59:60Z", 662_688_000),
            ("1937-01-01T12:00:27.87+00:20", -1_041_337_173),
        ] {
            assert_eq!(parse(text), Some(time), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_not_read() {
        for bad in [
            "",
            "T",
            "2026-01-01",
            "2026-01-01T00:00Z",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-1-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.xZ",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00+00:60",
            "2026-01-01T00:00:00+0000",
            "+026-01-01T00:00:00Z",
            "2026-01-01T00:00:00ZZ",
            "2026-01-01T00:00:0é",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_time_that_is_written_is_read_back(time in -62_167_219_200i64..253_402_300_800) {
            prop_assert_eq!(parse(&Written(time).to_string()), Some(time));
        }

        #[test]
        fn any_text_is_read_or_not(text in ".{0,40}", digits in "[0-9:TZ.+-]{0,30}") {
            let _ = (parse(&text), parse(&digits));
        }
    }

    #[test]
    fn times_beyond_four_digits_of_year_are_the_nearest_that_have_them() {
        assert_eq!(Written(i64::MAX).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(Written(i64::MIN).to_string(), "0000-01-01T00:00:00Z");
    }
}
