//! Writes a value as text that PostgreSQL can read, to look up rows by key.

use chrono::{Datelike, NaiveDate};

use super::{FixedOffsetSeconds, Value};

impl Value {
    /// The text of a literal that is equal to the value in its column's type. `None` for points:
    /// PostgreSQL has no point keys. Of [`Value::Elsewhere`] it is that of the same instant in UTC.
    pub fn postgres_text(&self) -> Option<String> {
        Some(match self {
            Value::Boolean(it) => it.to_string(),
            Value::Integer(it) => it.to_string(),
            Value::Float(it) => it.0.to_string(),
            Value::String(it) => it.clone(),
            Value::Bytes(it) => {
                let digits: String = it.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("\\x{digits}")
            }
            Value::Date(it) => with_era(*it, ""),
            Value::LocalDateTime(it) => with_era(it.date(), &format!(" {}", it.time())),
            Value::ZonedDateTime(it) => {
                let local = it.naive_utc();
                with_era(local.date(), &format!(" {}+00", local.time()))
            }
            Value::Elsewhere(utc, offset) => {
                let local = offset.to_chrono().and_then(|it| utc.checked_add_offset(it))?;
                with_era(local.date(), &format!(" {}{}", local.time(), offset_text(*offset)))
            }
            Value::LocalTime(it) => it.to_string(),
            Value::Time(time, offset) => format!("{time}{}", offset_text(*offset)),
            Value::Duration(it) => format!(
                "{} months {} days {} seconds {} microseconds",
                it.months,
                it.days,
                it.seconds,
                it.nanoseconds / 1000
            ),
            Value::List(items) => {
                let items: Option<Vec<String>> = items.iter().map(Value::postgres_text).collect();
                postgres_array(items?.iter().map(String::as_str))
            }
            Value::Point(_) => return None,
        })
    }
}

fn offset_text(offset: FixedOffsetSeconds) -> String {
    let sign = if offset.0 < 0 { '-' } else { '+' };
    let seconds = offset.0.unsigned_abs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{sign}{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

/// PostgreSQL counts years before 1 from 1 BC, and writes the era at the end.
fn with_era(date: NaiveDate, time: &str) -> String {
    let (year, month, day) = (date.year(), date.month(), date.day());
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    format!("{year:04}-{month:02}-{day:02}{time}{era}")
}

/// The text of an array with elements of these texts.
pub fn postgres_array<'t>(elements: impl Iterator<Item = &'t str>) -> String {
    format!("{{{}}}", elements.map(quoted).collect::<Vec<_>>().join(","))
}

/// An element of an array. Any content is safe.
fn quoted(element: &str) -> String {
    format!("\"{}\"", element.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn dates_before_christ_and_after_9999_are_written_as_postgresql_reads_them() {
        let date = |year| Value::Date(NaiveDate::from_ymd_opt(year, 3, 15).unwrap());
        let texts = [
            (-43, "0044-03-15 BC"),
            (0, "0001-03-15 BC"),
            (1, "0001-03-15"),
            (10_001, "10001-03-15"),
        ];
        for (year, text) in texts {
            assert_eq!(date(year).postgres_text().unwrap(), text);
        }
        let time = NaiveDate::from_ymd_opt(-43, 3, 15)
            .unwrap()
            .and_hms_micro_opt(5, 6, 7, 120_000)
            .unwrap();
        let (local, zoned) = (Value::LocalDateTime(time), Value::ZonedDateTime(time.and_utc()));
        assert_eq!(local.postgres_text().unwrap(), "0044-03-15 05:06:07.120 BC");
        assert_eq!(zoned.postgres_text().unwrap(), "0044-03-15 05:06:07.120+00 BC");
        let elsewhere = Value::Elsewhere(time, FixedOffsetSeconds(-19_800));
        assert_eq!(elsewhere.postgres_text().unwrap(), "0044-03-14 23:36:07.120-05:30:00 BC");
    }

    #[test]
    fn an_array_is_written_as_it_is_read() {
        let items = ["", "a b", "NULL", "q\"q", "b\\b", "{}", "c,d"];
        let list = Value::List(items.iter().map(|it| Value::String((*it).to_owned())).collect());
        let text = list.postgres_text().unwrap();
        let read = crate::value::read_array(&text, ',').unwrap();
        let expected = items.map(|it| crate::value::ArrayItem::Text(it.into()));
        assert_eq!(read, expected, "{text}");
        assert_eq!(Value::List(Vec::new()).postgres_text().unwrap(), "{}");
    }
}
