//! Dates, times and intervals, parsed by hand from PostgreSQL's ISO forms.
//!
//! ```text
//! 2024-03-04   0044-03-15 BC   21016-11-04 13:51:30.123456   2024-03-04 05:06:07.12+00
//! 12:00:00+05:30   P1Y2M3DT-4H-5M-6.7S
//! ```
//!
//! `None` is every value that chrono or Neo4j can not hold: `infinity`, `24:00:00`, years beyond
//! 262,000.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _, Utc};

use super::calendar::{MICROS_PER_DAY, MICROS_PER_SECOND, civil, clock, day_number, fraction};
use super::{Duration, FixedOffsetSeconds};

const MONTHS_PER_YEAR: i64 = 12;
const SECONDS_PER_MINUTE: i64 = 60;
const SECONDS_PER_HOUR: i64 = 3_600;
const NANOS_PER_MICRO: i64 = 1_000;
/// Digits of a fraction of a second: PostgreSQL has microseconds.
pub(super) const FRACTION_DIGITS: u32 = 6;
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

/// The date as PostgreSQL writes it; `None` if it is none, or beyond PostgreSQL's calendar.
pub(super) fn stored_date(text: &str) -> Option<String> {
    // From 4714-11-24 BC, the day 0 of Julian dates, to 5874897-12-31.
    const DAYS: std::ops::Range<i64> = -2_440_588..2_145_042_906;
    let mut cursor = Cursor::new(text);
    let date = cursor.date()?;
    let day = cursor.day(date)?;
    let (date, era) = civil(day);
    DAYS.contains(&day).then(|| format!("{date}{era}"))
}

/// The same of a timestamp with at most `digits` digits of a fraction. With a zone, it is in UTC.
pub(super) fn stored_timestamp(text: &str, has_zone: bool, digits: u32) -> Option<String> {
    /// 2000-01-01, from where PostgreSQL counts, and rounds.
    const EPOCH_DAY: i64 = 10_957;
    // To 294276-12-31.
    const MICROS: std::ops::Range<i128> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
    let mut cursor = Cursor::new(text);
    let date = cursor.date()?;
    cursor.expect(b' ')?;
    let time = micros_of_day(cursor.time()?);
    let offset = if has_zone { i64::from(cursor.offset()?.0) * MICROS_PER_SECOND } else { 0 };
    let per_day = i128::from(MICROS_PER_DAY);
    let day = i128::from(cursor.day(date)? - EPOCH_DAY);
    let micros = rounded(day * per_day + i128::from(time - offset), digits);
    if !MICROS.contains(&micros) {
        return None;
    }
    let (date, era) = civil(i64::try_from(micros.div_euclid(per_day)).ok()? + EPOCH_DAY);
    let time = clock(i64::try_from(micros.rem_euclid(per_day)).ok()?);
    Some(format!("{date} {time}{}{era}", if has_zone { "+00" } else { "" }))
}

/// The same of a time of day, with a zone or without; a day's end is one.
pub(super) fn stored_time(text: &str, has_zone: bool, digits: u32) -> Option<String> {
    const END: &str = "24:00:00";
    // PostgreSQL has offsets of less than 16 hours.
    const OFFSETS: std::ops::Range<i32> = -57_599..57_600;
    let after_end = text.strip_prefix(END).filter(|zone| !zone.starts_with('.'));
    let mut cursor = Cursor::new(after_end.unwrap_or(text));
    let micros = match after_end {
        Some(_) => MICROS_PER_DAY,
        None => micros_of_day(cursor.time()?),
    };
    let zone = &text[text.len() - cursor.rest.len()..];
    if has_zone && !OFFSETS.contains(&cursor.offset()?.0) {
        return None;
    }
    cursor.end()?;
    let micros = i64::try_from(rounded(micros.into(), digits)).ok()?;
    Some(format!("{}{zone}", clock(micros)))
}

fn micros_of_day(time: NaiveTime) -> i64 {
    let micros = i64::from(time.nanosecond()) / NANOS_PER_MICRO;
    i64::from(time.num_seconds_from_midnight()) * MICROS_PER_SECOND + micros
}

/// Half a unit is rounded away from zero.
fn rounded(micros: i128, digits: u32) -> i128 {
    let unit = 10_i128.pow(FRACTION_DIGITS.saturating_sub(digits));
    micros.signum() * ((micros.abs() + unit / 2) / unit * unit)
}

/// The fields that an interval's column keeps: those from one of these units up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Smallest {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

/// The interval as a column has it that keeps these fields; `None` if it is none, or too long.
pub(super) fn stored_interval(text: &str, smallest: Smallest, digits: u32) -> Option<String> {
    let given = interval(text)?;
    let micros = i128::from(given.seconds) * i128::from(MICROS_PER_SECOND)
        + i128::from(given.nanoseconds) / i128::from(NANOS_PER_MICRO);
    let (months, days) = (i32::try_from(given.months).ok()?, i32::try_from(given.days).ok()?);
    let down_to = |seconds: i64| {
        let unit = i128::from(seconds * MICROS_PER_SECOND);
        micros / unit * unit
    };
    let (months, days, micros) = match smallest {
        Smallest::Year => (months / 12 * 12, 0, 0),
        Smallest::Month => (months, 0, 0),
        Smallest::Day => (months, days, 0),
        Smallest::Hour => (months, days, down_to(SECONDS_PER_HOUR)),
        Smallest::Minute => (months, days, down_to(SECONDS_PER_MINUTE)),
        Smallest::Second => (months, days, rounded(micros, digits)),
    };
    let micros = i64::try_from(micros).ok()?;
    let sign = if micros < 0 { "-" } else { "" };
    let second = MICROS_PER_SECOND.unsigned_abs();
    let (seconds, rest) = (micros.unsigned_abs() / second, micros.unsigned_abs() % second);
    let written = format!("P{months}M{days}DT{sign}{seconds}{}S", fraction(rest.into()));
    // One interval has many forms, and this text may be PostgreSQL's.
    Some(if interval(&written)? == given { text.to_owned() } else { written })
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
        let number = self.number(1, FRACTION_DIGITS as usize)?;
        let missing = FRACTION_DIGITS as usize - (before - self.rest.len());
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

    /// The number of the day, which may be beyond chrono's: the calendar repeats every 400 years.
    fn day(&mut self, date: WrittenDate) -> Option<i64> {
        let date = self.era(date)?;
        let year = i32::try_from(2_000 + date.year.rem_euclid(400)).ok()?;
        NaiveDate::from_ymd_opt(year, date.month, date.day)?;
        Some(day_number(date.year, date.month, date.day))
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
