//! Date and time as written in messages (RFC 5322 §3.3).
//!
//! What we write is always in UTC (`+0000`). What we read may be in any zone, also the obsolete
//! forms of RFC 5322 §4.3, with comments and folding white space.
//!
//! This module does **not** read a clock and does not know leap seconds: `:60` reads as `:59`.

/// The last second that [`render`] can write: 9999-12-31T23:59:59Z.
pub const LAST_S: u64 = 253_402_300_799;
/// Most octets that [`parse`] reads; a longer text is no date.
pub const MAX_TEXT: usize = 256;

const DAY_S: u64 = 86_400;
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
/// Obsolete zones with a meaning, in hours (RFC 5322 §4.3). All other names mean "unknown": UTC.
const ZONES: [(&str, i64); 8] = [
    ("EDT", -4),
    ("EST", -5),
    ("CDT", -5),
    ("CST", -6),
    ("MDT", -6),
    ("MST", -7),
    ("PDT", -7),
    ("PST", -8),
];

/// Renders seconds since 1970-01-01T00:00:00Z as `Tue, 24 Nov 2026 10:29:04 +0000`. Later than the
/// year 9999 renders as [`LAST_S`].
#[must_use]
pub fn render(unix_s: u64) -> String {
    let s = unix_s.min(LAST_S);
    let (days, in_day) = (s / DAY_S, s % DAY_S);
    let weekday = name(&DAYS, days % 7);
    let (year, month, day) = civil(days);
    let month = name(&MONTHS, month - 1);
    let (hour, minute, second) = (in_day / 3600, in_day / 60 % 60, in_day % 60);
    format!("{weekday}, {day} {month} {year:04} {hour:02}:{minute:02}:{second:02} +0000")
}

/// Reads a date-time; seconds since 1970-01-01T00:00:00Z, negative before that. `None` when it is
/// no date-time of RFC 5322 §3.3 or §4.3. The day of the week is not compared with the date.
#[must_use]
pub fn parse(text: &[u8]) -> Option<i64> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let plain = without_comments(text)?;
    let (day_of_week, rest) = match plain.split_once(',') {
        Some((day, rest)) => (Some(day.trim()), rest),
        None => (None, plain.as_str()),
    };
    if day_of_week.is_some_and(|d| !DAYS.iter().any(|n| n.eq_ignore_ascii_case(d))) {
        return None;
    }
    let mut words = rest.split_ascii_whitespace();
    let day = number(words.next()?, 1, 2)?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|n| n.eq_ignore_ascii_case(month))?;
    let month = u64::try_from(month).ok()? + 1;
    let year = year(words.next()?)?;
    // White space around the colons is obsolete but legal (RFC 5322 §4.3).
    let time_and_zone = words.collect::<Vec<_>>().join(" ");
    let (time, zone) = time_and_zone.rsplit_once(' ')?;
    let in_day = time_of_day(time)?;
    let offset_s = zone_offset_s(zone)?;
    if day == 0 || day > days_in_month(year, month) {
        return None;
    }
    let days = days_from_civil(i64::try_from(year).ok()?, month, day)?;
    Some(days * 86_400 + in_day - offset_s)
}

fn name(names: &[&'static str], index: u64) -> &'static str {
    usize::try_from(index)
        .ok()
        .and_then(|i| names.get(i))
        .copied()
        .unwrap_or_default()
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. Counting years
/// from March puts the leap day at the end, so that a year is a formula and not a table.
fn civil(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468; // since 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// The inverse of [`civil`], for years from 1900 on.
fn days_from_civil(year: i64, month: u64, day: u64) -> Option<i64> {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let from_march = i64::try_from((month + 9) % 12).ok()?;
    let day_of_year = (153 * from_march + 2) / 5 + i64::try_from(day).ok()? - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

fn days_in_month(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The text with every comment, nested ones too, turned into a space. `None` when a comment does
/// not end or the text is not ASCII.
fn without_comments(text: &[u8]) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let (mut depth, mut escaped) = (0_usize, false);
    for &b in text {
        match b {
            _ if !b.is_ascii() => return None,
            _ if escaped => escaped = false,
            b'\\' if depth > 0 => escaped = true,
            b'(' => {
                depth += 1;
                plain.push(' ');
            }
            b')' => depth = depth.checked_sub(1)?,
            _ if depth > 0 => {}
            _ => plain.push(char::from(b)),
        }
    }
    (depth == 0).then_some(plain)
}

/// A number of `least` to `most` digits and nothing else.
fn number(text: &str, least: usize, most: usize) -> Option<u64> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    (digits && (least..=most).contains(&text.len())).then(|| text.parse().ok())?
}

/// A year, with the two and three digit forms of RFC 5322 §4.3; from 1900 on.
fn year(text: &str) -> Option<u64> {
    let value = number(text, 2, 4)?;
    match text.len() {
        2 if value < 50 => Some(2000 + value),
        2 | 3 => Some(1900 + value),
        _ => (value >= 1900).then_some(value),
    }
}

/// `hh:mm[:ss]` in seconds.
fn time_of_day(text: &str) -> Option<i64> {
    let mut parts = text.split(':').map(str::trim);
    let hour = number(parts.next()?, 2, 2).filter(|&h| h < 24)?;
    let minute = number(parts.next()?, 2, 2).filter(|&m| m < 60)?;
    let second = match parts.next() {
        Some(s) => number(s, 2, 2).filter(|&s| s <= 60)?.min(59),
        None => 0,
    };
    if parts.next().is_some() {
        return None;
    }
    i64::try_from(hour * 3600 + minute * 60 + second).ok()
}

/// A zone as seconds east of UTC.
fn zone_offset_s(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix(['+', '-']) {
        let value = i64::try_from(number(digits, 4, 4)?).ok()?;
        let (hours, minutes) = (value / 100, value % 100);
        if minutes > 59 {
            return None;
        }
        let east = hours * 3600 + minutes * 60;
        return Some(if text.starts_with('-') { -east } else { east });
    }
    if text.is_empty() || text.len() > 5 || !text.bytes().all(|b| b.is_ascii_alphabetic()) {
        return None;
    }
    let known = ZONES
        .iter()
        .find(|(zone, _)| zone.eq_ignore_ascii_case(text));
    Some(known.map_or(0, |(_, hours)| hours * 3600))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_corners_of_the_calendar_render_right() {
        for (s, text) in [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 +0000"),
            (1_795_516_144, "Tue, 24 Nov 2026 10:29:04 +0000"),
            (4_107_542_400, "Mon, 1 Mar 2100 00:00:00 +0000"),
            (LAST_S, "Fri, 31 Dec 9999 23:59:59 +0000"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 +0000"),
        ] {
            assert_eq!(render(s), text);
        }
    }

    #[test]
    fn every_day_from_1970_to_9999_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..=LAST_S / DAY_S {
            assert_eq!(civil(days), (year, month, day));
            assert_eq!(
                days_from_civil(i64::try_from(year).unwrap(), month, day),
                i64::try_from(days).ok()
            );
            day += 1;
            if day > days_in_month(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, day), (10_000, 1, 1));
    }

    #[test]
    fn dates_of_the_real_world_are_read() {
        for (text, s) in [
            ("Fri, 21 Nov 1997 09:55:06 -0600", 880_127_706),
            ("21 Nov 97 09:55:06 GMT", 880_106_106),
            (
                "Fri, 21 Nov 1997 09(comment):   55  :  06 -0600",
                880_127_706,
            ),
            (
                "Thu,\r\n 13\r\n Feb\r\n 1969\r\n 23:32\r\n -0330 (Newfoundland Time)",
                -27_723_480,
            ),
            ("Tue, 29 Aug 2023 09:20:10 -0700 (PDT)", 1_693_326_010),
            ("29 aug 2023 09:20:10 pdt", 1_693_326_010),
            ("31 Dec 2016 23:59:60 Z", 1_483_228_799),
            ("1 Jan 49 00:00 UT", 2_493_072_000),
            ("(a \\) (b)) 1 Jan 1970 00:00:00 +0000", 0),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(s), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "now",
            "Fri, 31 Feb 1997 09:55:06 -0600",
            "Fri, 0 Jan 1997 09:55:06 -0600",
            "29 Feb 2100 00:00:00 +0000",
            "1 Jan 1997 24:00:00 +0000",
            "1 Jan 1997 00:60:00 +0000",
            "1 Jan 1997 00:00:61 +0000",
            "1 Jan 1997 00:00:00 +0060",
            "1 Jan 1997 00:00:00",
            "1 Jan 1997 00:00:00 +000",
            "1 Jan 1899 00:00:00 +0000",
            "Foo, 1 Jan 1997 00:00:00 +0000",
            "1 Jan 1997 00:00:00 +0000 (",
            "1 Jan 1997 00:00:00 +0000 )",
            "1 Jan 1997 00:00:00:00 +0000",
            "1 J\u{e4}n 1997 00:00:00 +0000",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(&[b' '; MAX_TEXT + 1]), None);
    }

    proptest! {
        #[test]
        fn what_is_rendered_reads_back(s in 0..=LAST_S) {
            prop_assert_eq!(parse(render(s).as_bytes()), i64::try_from(s).ok());
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&text);
        }
    }
}
