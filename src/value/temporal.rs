//! Dates, times and intervals, parsed by hand from PostgreSQL's ISO forms.
//!
//! ```text
//! 2024-03-04   0044-03-15 BC   21016-11-04 13:51:30.123456   2024-03-04 05:06:07.12+00
//! 12:00:00+05:30   P1Y2M3DT-4H-5M-6.7S
//! ```
//!
//! `None` is every value that chrono or Neo4j can not hold: `infinity`, `24:00:00`, years beyond
//! 262,000.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};

use super::{Duration, FixedOffsetSeconds};

const MONTHS_PER_YEAR: i64 = 12;
const SECONDS_PER_MINUTE: i64 = 60;
const SECONDS_PER_HOUR: i64 = 3_600;
const MICROS_PER_SECOND: i64 = 1_000_000;
const NANOS_PER_MICRO: i64 = 1_000;
/// Digits of a fraction of a second: PostgreSQL has microseconds.
const FRACTION_DIGITS: usize = 6;
/// More digits than any number in these forms has, but few enough for an `i64`.
const MAX_DIGITS: usize = 18;

pub(super) fn date(text: &str) -> Option<NaiveDate> {
    let mut cursor = Cursor::new(text);
    let date = cursor.date()?;
    cursor.era_and_end(date)
}

pub(super) fn timestamp(text: &str) -> Option<NaiveDateTime> {
    let mut cursor = Cursor::new(text);
    let date = cursor.date()?;
    cursor.expect(b' ')?;
    let time = cursor.time()?;
    Some(cursor.era_and_end(date)?.and_time(time))
}

pub(super) fn timestamp_tz(text: &str) -> Option<DateTime<Utc>> {
    let mut cursor = Cursor::new(text);
    let date = cursor.date()?;
    cursor.expect(b' ')?;
    let time = cursor.time()?;
    let offset = cursor.offset()?.to_chrono()?;
    let local = cursor.era_and_end(date)?.and_time(time);
    Some(local.checked_sub_offset(offset)?.and_utc())
}

pub(super) fn time(text: &str) -> Option<NaiveTime> {
    let mut cursor = Cursor::new(text);
    let time = cursor.time()?;
    cursor.end()?;
    Some(time)
}

pub(super) fn time_tz(text: &str) -> Option<(NaiveTime, FixedOffsetSeconds)> {
    let mut cursor = Cursor::new(text);
    let time = cursor.time()?;
    let offset = cursor.offset()?;
    cursor.end()?;
    Some((time, offset))
}

/// The text is a date, whatever its year: years that chrono can not hold are like those 400 years apart.
pub(super) fn is_date(text: &str) -> bool {
    let mut cursor = Cursor::new(text);
    let date = cursor.date();
    date.is_some_and(|date| cursor.era(date).is_some_and(is_in_calendar))
}

/// The same of a timestamp, with a zone or without.
pub(super) fn is_timestamp(text: &str, has_zone: bool) -> bool {
    let mut cursor = Cursor::new(text);
    let mut read = || {
        let date = cursor.date()?;
        cursor.expect(b' ')?;
        cursor.time()?;
        if has_zone {
            cursor.offset()?;
        }
        cursor.era(date)
    };
    read().is_some_and(is_in_calendar)
}

/// The calendar repeats every 400 years.
fn is_in_calendar(date: WrittenDate) -> bool {
    let year = i32::try_from(2_000 + date.year.rem_euclid(400)).unwrap_or_default();
    NaiveDate::from_ymd_opt(year, date.month, date.day).is_some()
}

/// The text is a time of day, with a zone or without; a day's end is one.
pub(super) fn is_time(text: &str, has_zone: bool) -> bool {
    const END: &str = "24:00:00";
    const START: &str = "00:00:00";
    let zone = text.strip_prefix(END).filter(|zone| !zone.starts_with('.'));
    let early = zone.map(|zone| [START, zone].concat());
    let text = early.as_deref().unwrap_or(text);
    if has_zone { time_tz(text).is_some() } else { time(text).is_some() }
}

/// Each part has its own sign; only seconds have a fraction.
pub(super) fn interval(text: &str) -> Option<Duration> {
    let mut cursor = Cursor::new(text);
    cursor.expect(b'P')?;
    let (mut months, mut days, mut seconds, mut micros) = (0_i64, 0_i64, 0_i64, 0_i64);
    let mut in_time = false;
    loop {
        if !in_time && cursor.skip(b'T') {
            in_time = true;
        }
        let negative = cursor.skip(b'-');
        let sign = if negative { -1 } else { 1 };
        let number = sign * cursor.number(1, MAX_DIGITS)?;
        let fraction = cursor.fraction()?;
        match (in_time, cursor.next()?, fraction) {
            (false, b'Y', None) => {
                months = months.checked_add(number.checked_mul(MONTHS_PER_YEAR)?)?
            }
            (false, b'M', None) => months = months.checked_add(number)?,
            (false, b'D', None) => days = days.checked_add(number)?,
            (true, b'H', None) => {
                seconds = seconds.checked_add(number.checked_mul(SECONDS_PER_HOUR)?)?;
            }
            (true, b'M', None) => {
                seconds = seconds.checked_add(number.checked_mul(SECONDS_PER_MINUTE)?)?;
            }
            (true, b'S', fraction) => {
                seconds = seconds.checked_add(number)?;
                micros += sign * fraction.unwrap_or(0);
            }
            _ => return None,
        }
        if cursor.end().is_some() {
            break;
        }
    }
    // A negative fraction borrows from the seconds, since nanoseconds are never negative.
    seconds = seconds.checked_add(micros.div_euclid(MICROS_PER_SECOND))?;
    let nanoseconds = micros.rem_euclid(MICROS_PER_SECOND) * NANOS_PER_MICRO;
    Some(Duration { months, days, seconds, nanoseconds: i32::try_from(nanoseconds).ok()? })
}

/// A date before its era is read: the era is at the end of the text.
#[derive(Clone, Copy)]
struct WrittenDate {
    year: i64,
    month: u32,
    day: u32,
}

/// The rest of a text.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Cursor<'a> {
        Cursor { rest: text.as_bytes() }
    }

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.skip(byte).then_some(())
    }

    fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }

    /// All digits that follow, if their number is between `min` and `max`.
    fn number(&mut self, min: usize, max: usize) -> Option<i64> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count < min || count > max.min(MAX_DIGITS) {
            return None;
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        Some(digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    fn two_digits(&mut self) -> Option<u32> {
        self.number(2, 2).and_then(|number| u32::try_from(number).ok())
    }

    /// A fraction in microseconds: `Some(None)` without a point, `None` if malformed.
    fn fraction(&mut self) -> Option<Option<i64>> {
        if !self.skip(b'.') {
            return Some(None);
        }
        let before = self.rest.len();
        let number = self.number(1, FRACTION_DIGITS)?;
        let missing = FRACTION_DIGITS - (before - self.rest.len());
        let scale = (0..missing).fold(1, |scale, _| scale * 10);
        Some(Some(number * scale))
    }

    fn date(&mut self) -> Option<WrittenDate> {
        let year = self.number(4, 7)?;
        self.expect(b'-')?;
        let month = self.two_digits()?;
        self.expect(b'-')?;
        let day = self.two_digits()?;
        Some(WrittenDate { year, month, day })
    }

    /// The date with its era, which is all that is left of the text. There is no year 0000.
    fn era(&self, date: WrittenDate) -> Option<WrittenDate> {
        let year = match self.rest {
            _ if date.year == 0 => return None,
            b"" => date.year,
            b" BC" => 1 - date.year,
            _ => return None,
        };
        Some(WrittenDate { year, ..date })
    }

    /// The year before 0001 is 0001 BC, which chrono calls 0.
    fn era_and_end(&mut self, date: WrittenDate) -> Option<NaiveDate> {
        let date = self.era(date)?;
        NaiveDate::from_ymd_opt(i32::try_from(date.year).ok()?, date.month, date.day)
    }

    fn time(&mut self) -> Option<NaiveTime> {
        let hour = self.two_digits()?;
        self.expect(b':')?;
        let minute = self.two_digits()?;
        self.expect(b':')?;
        let second = self.two_digits()?;
        let micros = self.fraction()?.unwrap_or(0);
        NaiveTime::from_hms_micro_opt(hour, minute, second, u32::try_from(micros).ok()?)
    }

    /// `+05`, `+05:30`, `-15:59:59`.
    fn offset(&mut self) -> Option<FixedOffsetSeconds> {
        let sign = match self.next()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let mut seconds = self.number(2, 2)? * SECONDS_PER_HOUR;
        for unit in [SECONDS_PER_MINUTE, 1] {
            if !self.skip(b':') {
                break;
            }
            seconds += self.number(2, 2)? * unit;
        }
        let offset = FixedOffsetSeconds(i32::try_from(sign * seconds).ok()?);
        offset.to_chrono().map(|_| offset)
    }
}
