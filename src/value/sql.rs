//! A value as text that PostgreSQL reads back: for looking rows up by key.

use super::Value;

impl Value {
    /// The text of a literal that equals the value in its column's type; `None` for lists, which
    /// are no keys.
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
            Value::Date(it) => it.to_string(),
            Value::LocalDateTime(it) => it.to_string(),
            Value::ZonedDateTime(it) => it.to_rfc3339(),
            Value::LocalTime(it) => it.to_string(),
            Value::Time(time, offset) => {
                let sign = if offset.0 < 0 { '-' } else { '+' };
                let seconds = offset.0.unsigned_abs();
                let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
                format!("{time}{sign}{hours:02}:{minutes:02}:{:02}", seconds % 60)
            }
            Value::Duration(it) => format!(
                "{} months {} days {} seconds {} microseconds",
                it.months,
                it.days,
                it.seconds,
                it.nanoseconds / 1000
            ),
            Value::Point(it) => format!("({},{})", it.x.0, it.y.0),
            Value::List(_) => return None,
        })
    }
}
