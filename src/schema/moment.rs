//! Times in definitions. `DEFAULT 'now'` holds the time at which the statement ran (manual,
//! "Date/Time Types", "Special Values"), so a migration that says so defines something else each
//! time it runs.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// From when to when something ran, by the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
}

const SECOND: i64 = 1_000_000;
/// Every time zone is a multiple of it away from UTC.
const QUARTER: i64 = 900 * SECOND;
const DAY: i64 = 86_400 * SECOND;
/// No time zone is further away, in quarters of an hour.
const ZONES: i64 = 60;

/// A time as ISO 8601 has it, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    /// With its offset from UTC.
    Instant(i64),
    /// As a clock somewhere shows it.
    Local(i64),
    /// A day somewhere, by its beginning.
    Day(i64),
    /// A time of day somewhere.
    Clock(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    /// With how much of it the writer left out: a second when there is no fraction.
    Time(Time, i64, &'a str),
}

/// Whether two definitions differ in nothing but times at which they were written: `one` while
/// `first` lasted, `other` while `second` did.
#[must_use]
pub fn same_but_for_the_moment(one: &str, first: Span, other: &str, second: Span) -> bool {
    let (one, other) = (parts(one), parts(other));
    one.len() == other.len()
        && one
            .iter()
            .zip(&other)
            .all(|(one, other)| match (one, other) {
                (Part::Time(time, left_out, text), Part::Time(real, really, spelt)) => {
                    text == spelt
                        || std::mem::discriminant(time) == std::mem::discriminant(real)
                            && time.lies_in(*left_out, first)
                            && real.lies_in(*really, second)
                }
                (one, other) => one == other,
            })
}

/// Whether a definition holds a time of day in that span that `before` does not. A day alone may as
/// well be meant.
#[must_use]
pub fn holds_the_moment(definition: &str, before: &str, span: Span) -> bool {
    parts(definition).into_iter().any(|part| match part {
        Part::Time(Time::Day(_), ..) | Part::Text(_) => false,
        Part::Time(time, left_out, text) => !before.contains(text) && time.lies_in(left_out, span),
    })
}

impl Time {
    fn lies_in(self, left_out: i64, span: Span) -> bool {
        let (from, to) = (span.from.as_microsecond(), span.to.as_microsecond());
        // How many quarters of an hour lead from there to the first time that is not too early.
        let first = |time: i64| {
            let quarters = (from - left_out - time + QUARTER - 1).div_euclid(QUARTER);
            (quarters, time + quarters * QUARTER <= to)
        };
        match self {
            Self::Instant(time) => from <= time + left_out && time <= to,
            Self::Local(time) => {
                let (quarters, lies) = first(time);
                lies && quarters.abs() <= ZONES
            }
            Self::Day(begin) => {
                let zones = ZONES * QUARTER;
                begin - zones <= to && from < begin + DAY + zones
            }
            Self::Clock(time) => first(time).1,
        }
    }
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut done, mut at) = (0, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        let inside = at > 0 && bytes[at - 1].is_ascii_alphanumeric();
        match read(&bytes[at..]).filter(|_| !inside) {
            Some((time, left_out, length)) => {
                parts.push(Part::Text(&text[done..at]));
                parts.push(Part::Time(time, left_out, &text[at..at + length]));
                at += length;
                done = at;
            }
            None => at += 1,
        }
    }
    parts.push(Part::Text(&text[done..]));
    parts
}

/// The time at the beginning of a text, what it leaves out, and its length.
fn read(text: &[u8]) -> Option<(Time, i64, usize)> {
    let (day, mut length) = match day(text) {
        Some(day) => (Some(day), 10),
        None => (None, 0),
    };
    let between = usize::from(day.is_some());
    let separated = day.is_none() || matches!(text.get(length), Some(b' ' | b'T'));
    let clock = separated
        .then(|| clock(text.get(length + between..)?))
        .flatten();
    let Some((clock, left_out, digits)) = clock else {
        return day.map(|day| (Time::Day(day), 0, length));
    };
    length += between + digits;
    let offset = offset(&text[length..]);
    length += offset.map_or(0, |(_, digits)| digits);
    let time = match (day, offset) {
        (Some(day), Some((offset, _))) => Time::Instant(day + clock - offset),
        (Some(day), None) => Time::Local(day + clock),
        (None, _) => Time::Clock(clock),
    };
    Some((time, left_out, length))
}

fn day(text: &[u8]) -> Option<i64> {
    let separated = text.get(4) == Some(&b'-') && text.get(7) == Some(&b'-');
    if !separated || text.get(10).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let year = i16::try_from(number(text.get(..4)?)?).ok()?;
    let month = i8::try_from(number(text.get(5..7)?)?).ok()?;
    let day = i8::try_from(number(text.get(8..10)?)?).ok()?;
    let zoned = Date::new(year, month, day).ok()?.to_zoned(TimeZone::UTC);
    Some(zoned.ok()?.timestamp().as_microsecond())
}

/// Microseconds since midnight, what is left out, and the length.
fn clock(text: &[u8]) -> Option<(i64, i64, usize)> {
    if text.get(2) != Some(&b':') || text.get(5) != Some(&b':') {
        return None;
    }
    let part = |at: usize| number(text.get(at..at + 2)?);
    let seconds = (part(0)? * 60 + part(3)?) * 60 + part(6)?;
    let fraction: Vec<u8> = match text.get(8) {
        Some(b'.') => {
            let digits = text[9..].iter().take_while(|byte| byte.is_ascii_digit());
            digits.take(6).copied().collect()
        }
        _ => Vec::new(),
    };
    if fraction.is_empty() {
        return Some((seconds * SECOND, SECOND - 1, 8));
    }
    let micros = (0..6).fold(0, |sum, at| {
        sum * 10 + fraction.get(at).map_or(0, |digit| i64::from(digit - b'0'))
    });
    Some((seconds * SECOND + micros, 0, 9 + fraction.len()))
}

fn offset(text: &[u8]) -> Option<(i64, usize)> {
    let sign = match text.first()? {
        b'+' => 1,
        b'-' => -1,
        b'Z' => return Some((0, 1)),
        _ => return None,
    };
    let hours = number(text.get(1..3)?)?;
    let minutes = match text.get(3) {
        Some(b':') => number(text.get(4..6)?),
        _ => None,
    };
    let seconds = (hours * 60 + minutes.unwrap_or(0)) * 60;
    Some((sign * seconds * SECOND, minutes.map_or(3, |_| 6)))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit
            .is_ascii_digit()
            .then(|| sum * 10 + i64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn span(from: &str, to: &str) -> Span {
        Span {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        }
    }

    #[rstest]
    #[case(
        "'2026-11-23 20:58:00.25+00'::timestamptz",
        "'2026-11-24 06:00:01+00'::timestamptz",
        true
    )]
    #[case(
        "'2026-11-23 20:58:00.25+00'::timestamptz",
        "'2026-11-24 06:30:00+00'::timestamptz",
        false
    )]
    #[case(
        "'2026-11-22 20:58:00.25+00'::timestamptz",
        "'2026-11-24 06:00:01+00'::timestamptz",
        false
    )]
    #[case(
        "'2026-11-23 22:58:00.25'::timestamp",
        "'2026-11-24 08:00:01'::timestamp",
        true
    )]
    #[case(
        "'2026-11-23 22:51:00.25'::timestamp",
        "'2026-11-24 08:00:01'::timestamp",
        false
    )]
    #[case("'2026-11-23'::date", "'2026-11-24'::date", true)]
    #[case("'2026-11-23'::date", "'2026-12-24'::date", false)]
    #[case("'22:58:00.25'::time", "'08:00:01'::time", true)]
    #[case("'20:58:00.25+00'::timetz", "'06:00:01+00'::timetz", true)]
    #[case("ran 2026-11-23T20:58:00Z", "ran 2026-11-24T06:00:01Z", true)]
    #[case("'2026-11-23 20:58:00.25+00'::timestamptz", "now()", false)]
    #[case("a", "b", false)]
    #[case("é 12:1", "é 12:1", true)]
    fn definitions_that_differ_in_the_time_of_writing_alone_are_the_same(
        #[case] predicted: &str,
        #[case] real: &str,
        #[case] same: bool,
    ) {
        let rehearsed = span("2026-11-23T20:58:00.25Z", "2026-11-23T20:58:02Z");
        let upgraded = span("2026-11-24T06:00:00Z", "2026-11-24T06:00:03Z");
        assert_eq!(
            same_but_for_the_moment(predicted, rehearsed, real, upgraded),
            same
        );
    }

    #[test]
    fn a_time_that_was_there_before_or_is_another_one_is_not_the_moment() {
        let rehearsed = span("2026-11-23T20:58:00.25Z", "2026-11-23T20:58:02Z");
        let now = "'2026-11-23 20:58:01+00'::timestamptz";
        assert!(holds_the_moment(now, "", rehearsed));
        assert!(!holds_the_moment(now, now, rehearsed));
        assert!(!holds_the_moment("'2026-11-23'::date", "", rehearsed));
        assert!(!holds_the_moment(
            "'2026-11-23 20:57:01+00'::timestamptz",
            "",
            rehearsed
        ));
    }
}
