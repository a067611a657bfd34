//! Dates and times: PostgreSQL's text, ISO-8601 as Debezium writes it, and Debezium's numbers.
//!
//! ```text
//! 2024-03-04 05:06:07.12      <->  2024-03-04T05:06:07.12Z        (io.debezium.time.IsoTimestamp)
//! 2024-03-04 05:06:07.12+00   <->  2024-03-04T05:06:07.12Z        (io.debezium.time.ZonedTimestamp)
//! 05:06:07+05:30              <->  05:06:07+05:30                 2024-03-04  <->  2024-03-04Z
//! 0044-03-15 BC               <--  -0043-03-15Z                   19786 days, 1709528767120000 us
//! ```
//!
//! What goes out comes back the same: [`to_iso`] takes only the texts that [`from_iso`] gives.
//! `infinity`, `24:00:00` and years before Christ have no form, and stay PostgreSQL's text.

use crate::value::{
    Type,
    calendar::{civil, clock, era, fraction},
};

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// Digits of a fraction of a second: PostgreSQL counts microseconds.
const FRACTION_DIGITS: usize = 6;
/// Java's year has at most as many digits.
const YEAR_DIGITS: usize = 9;

/// What Debezium writes for `infinity` and `-infinity`, which it has no other form for.
const INFINITE_DAYS: [i64; 2] = [-2_147_472_692, -2_147_472_691];
const INFINITE_MICROS: [i64; 2] = [9_223_372_036_825_200_000, -9_223_372_036_832_400_000];
const INFINITE_DATES: [&str; 2] = ["-5877611-06-21Z", "-5877611-06-22Z"];
const INFINITE_TIMESTAMPS: [&str; 2] = ["+294247-01-10T04:00:25.2Z", "-290308-12-21T19:59:27.6Z"];
const INFINITIES: [&str; 2] = ["infinity", "-infinity"];

/// What a number of Debezium's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    /// In microseconds; what is finer is cut off.
    fn micros(self, number: i64) -> i128 {
        let number = i128::from(number);
        match self {
            Unit::Millis => number * 1_000,
            Unit::Micros => number,
            Unit::Nanos => number.div_euclid(1_000),
        }
    }
}

/// PostgreSQL's text in ISO-8601; `None` for types and texts that have no such form.
pub(super) fn to_iso(r#type: &Type, text: &str) -> Option<String> {
    match r#type {
        Type::Date => Some(format!("{}Z", iso_date(text)?)),
        Type::Time => is_time(text).then(|| format!("{text}Z")),
        Type::TimeTz => {
            let (time, offset) = text.split_at(text.find(['+', '-'])?);
            is_time(time).then_some(())?;
            Some(format!("{time}{}", iso_offset(offset)?))
        }
        Type::Timestamp => iso_timestamp(text),
        Type::TimestampTz => iso_timestamp(text.strip_suffix("+00")?),
        _ => None,
    }
}

fn iso_timestamp(text: &str) -> Option<String> {
    let (date, time) = text.split_once(' ')?;
    let date = iso_date(date)?;
    is_time(time).then(|| format!("{date}T{time}Z"))
}

/// A year of more than four digits has a sign in ISO-8601.
fn iso_date(text: &str) -> Option<String> {
    let (year, rest) = text.split_once('-')?;
    let canonical = year.len() == 4 || (year.len() > 4 && !year.starts_with('0'));
    let is_date = canonical
        && year.len() <= YEAR_DIGITS
        && is_digits(year)
        && year.bytes().any(|digit| digit != b'0')
        && is_month_and_day(rest);
    let sign = if year.len() > 4 { "+" } else { "" };
    is_date.then(|| format!("{sign}{text}"))
}

/// `+00` is `Z`, `+05` is `+05:00`; PostgreSQL writes no zeros that say nothing.
fn iso_offset(offset: &str) -> Option<String> {
    let mut parts = offset[1..].split(':');
    let hours = parts.next()?;
    let rest: Vec<&str> = parts.collect();
    let are_numbers = rest.iter().chain([&hours]).all(|part| part.len() == 2 && is_digits(part));
    if !are_numbers || rest.len() > 2 || rest.last() == Some(&"00") {
        return None;
    }
    match (offset, rest.is_empty()) {
        ("+00", _) => Some("Z".to_owned()),
        ("-00", _) => None,
        (_, true) => Some(format!("{offset}:00")),
        (_, false) => Some(offset.to_owned()),
    }
}

/// PostgreSQL's text of an ISO-8601 form; `None` if it is none.
pub(super) fn from_iso(r#type: &Type, iso: &str) -> Option<String> {
    match r#type {
        Type::Date => {
            if let Some(infinity) = infinity(&INFINITE_DATES, &iso) {
                return Some(infinity);
            }
            let (date, era) = pg_date(iso.strip_suffix('Z')?)?;
            Some(format!("{date}{era}"))
        }
        Type::Time => pg_time(iso.strip_suffix('Z')?),
        Type::TimeTz => {
            let (time, offset) = split_offset(iso)?;
            Some(format!("{}{offset}", pg_time(time)?))
        }
        Type::Timestamp | Type::TimestampTz => {
            if let Some(infinity) = infinity(&INFINITE_TIMESTAMPS, &iso) {
                return Some(infinity);
            }
            let (date, time) = iso.split_once('T')?;
            let (date, era) = pg_date(date)?;
            let (time, offset) = match *r#type {
                Type::Timestamp => (time.strip_suffix('Z').unwrap_or(time), String::new()),
                _ => split_offset(time)?,
            };
            Some(format!("{date} {}{offset}{era}", pg_time(time)?))
        }
        _ => None,
    }
}

fn infinity<T: PartialEq>(sentinels: &[T; 2], value: &T) -> Option<String> {
    let at = sentinels.iter().position(|sentinel| sentinel == value)?;
    Some(INFINITIES[at].to_owned())
}

/// A time, and its offset as PostgreSQL writes it.
fn split_offset(iso: &str) -> Option<(&str, String)> {
    if let Some(time) = iso.strip_suffix('Z') {
        return Some((time, "+00".to_owned()));
    }
    let (time, offset) = iso.split_at(iso.find(['+', '-'])?);
    let parts: Vec<&str> = offset[1..].split(':').collect();
    let are_numbers = parts.iter().all(|part| part.len() == 2 && is_digits(part));
    if !are_numbers || !(2..=3).contains(&parts.len()) {
        return None;
    }
    let offset = offset.strip_suffix(":00").unwrap_or(offset);
    let offset = offset.strip_suffix(":00").unwrap_or(offset);
    Some((time, if offset == "-00" { "+00".to_owned() } else { offset.to_owned() }))
}

/// The date without its sign, and its era.
fn pg_date(iso: &str) -> Option<(String, &'static str)> {
    let negative = iso.starts_with('-');
    let unsigned = iso.strip_prefix(['-', '+']).unwrap_or(iso);
    let (digits, rest) = unsigned.split_once('-')?;
    if !(4..=YEAR_DIGITS).contains(&digits.len()) || !is_digits(digits) || !is_month_and_day(rest) {
        return None;
    }
    let year: i64 = digits.parse().ok()?;
    let (year, era) = era(if negative { -year } else { year });
    Some((format!("{year:04}-{rest}"), era))
}

/// The time with at most six digits of a fraction, and no zeros at its end.
fn pg_time(iso: &str) -> Option<String> {
    let (clock, fraction) = iso.split_once('.').unwrap_or((iso, "0"));
    if !is_clock(clock) || !is_digits(fraction) {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS)];
    Some(match fraction.trim_end_matches('0') {
        "" => clock.to_owned(),
        fraction => format!("{clock}.{fraction}"),
    })
}

/// A time as PostgreSQL writes it.
fn is_time(text: &str) -> bool {
    match text.split_once('.') {
        None => is_clock(text),
        Some((clock, fraction)) => {
            is_clock(clock)
                && is_digits(fraction)
                && fraction.len() <= FRACTION_DIGITS
                && !fraction.ends_with('0')
        }
    }
}

/// `05:06:07`, before 24:00:00.
fn is_clock(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    parts.len() == 3
        && parts.iter().zip(["24", "60", "60"]).all(|(part, limit)| is_below(part, limit))
}

fn is_month_and_day(text: &str) -> bool {
    text.split_once('-').is_some_and(|(month, day)| is_below(month, "13") && is_below(day, "32"))
}

/// Two digits below two others.
fn is_below(digits: &str, limit: &str) -> bool {
    digits.len() == 2 && is_digits(digits) && digits < limit
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A date by its number of days since 1970-01-01.
pub(super) fn date_of_days(days: i64) -> String {
    if let Some(infinity) = infinity(&INFINITE_DAYS, &days) {
        return infinity;
    }
    let (date, era) = civil(days);
    format!("{date}{era}")
}

/// A timestamp by its time since 1970-01-01, with `+00` if its type has a zone.
pub(super) fn timestamp_of(unit: Unit, number: i64, zoned: bool) -> String {
    let infinite = match unit {
        Unit::Millis => INFINITE_MICROS.map(|micros| micros.div_euclid(1_000)),
        Unit::Micros => INFINITE_MICROS,
        Unit::Nanos => [i64::MAX, i64::MIN],
    };
    if let Some(infinity) = infinity(&infinite, &number) {
        return infinity;
    }
    let (micros, day) = (unit.micros(number), i128::from(MICROS_PER_DAY));
    // A day's number is far within an i64: milliseconds in an i64 are 10^11 days.
    let (date, era) = civil(i64::try_from(micros.div_euclid(day)).unwrap_or(i64::MAX));
    let time = clock(i64::try_from(micros.rem_euclid(day)).unwrap_or_default());
    format!("{date} {time}{}{era}", if zoned { "+00" } else { "" })
}

/// A time of day; `None` if it is none.
pub(super) fn time_of(unit: Unit, number: i64) -> Option<String> {
    let micros = i64::try_from(unit.micros(number)).ok()?;
    (0..=MICROS_PER_DAY).contains(&micros).then(|| clock(micros))
}

/// An interval of seconds, as PostgreSQL writes one in ISO-8601.
pub(super) fn interval_of(unit: Unit, number: i64) -> String {
    let micros = unit.micros(number);
    let sign = if micros < 0 { "-" } else { "" };
    let second = u128::from(MICROS_PER_SECOND.unsigned_abs());
    let (seconds, micros) = (micros.unsigned_abs() / second, micros.unsigned_abs() % second);
    format!("PT{sign}{seconds}{}S", fraction(micros))
}
