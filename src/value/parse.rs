//! One value from its text.

use bytes::Bytes;

use super::types::{NumericMode, Type};
use super::{Conversion, Float, Value, array, geometry, json, numeric, temporal};

impl Type {
    /// Reads a value from PostgreSQL's text form under the pinned settings. Any text gives a value.
    pub fn parse(&self, text: &[u8]) -> Conversion {
        match std::str::from_utf8(text) {
            Ok(text) => self.parse_str(text),
            Err(_) => Conversion::Fallback(Value::Bytes(Bytes::copy_from_slice(text))),
        }
    }

    pub(super) fn parse_str(&self, text: &str) -> Conversion {
        let parsed = match self {
            Type::Boolean => boolean(text).map(Value::Boolean),
            Type::Integer | Type::Oid => text.parse().ok().map(Value::Integer),
            Type::Real | Type::Double => float(text).map(Value::Float),
            Type::Numeric(mode) => numeric_value(*mode, text),
            Type::Text(_) | Type::Json | Type::Jsonb | Type::Range { .. } => {
                Some(Value::String(text.to_owned()))
            }
            Type::Bytes => hex_bytes(text.strip_prefix("\\x")).map(Value::Bytes),
            Type::Date => temporal::date(text).map(Value::Date),
            Type::Timestamp => temporal::timestamp(text).map(Value::LocalDateTime),
            Type::TimestampTz => temporal::timestamp_tz(text).map(Value::ZonedDateTime),
            Type::Time => temporal::time(text).map(Value::LocalTime),
            Type::TimeTz => temporal::time_tz(text).map(|(time, zone)| Value::Time(time, zone)),
            Type::Interval => temporal::interval(text).map(Value::Duration),
            Type::Hstore | Type::Composite(_) => return json::object(self, text),
            Type::Point => geometry::point(text).map(Value::Point),
            Type::Geometry => geometry::ewkb(text),
            Type::Vector => geometry::vector(text).map(Value::List),
            Type::Array { element, delimiter } => return array::parse(element, *delimiter, text),
            Type::Unknown { .. } => None,
        };
        parsed.map_or_else(|| text_form(text), Conversion::Mapped)
    }
}

/// The fallback of every type.
pub(super) fn text_form(text: &str) -> Conversion {
    Conversion::Fallback(Value::String(text.to_owned()))
}

pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "t" => Some(true),
        "f" => Some(false),
        _ => None,
    }
}

/// Includes NaN and the infinities, as PostgreSQL writes them.
pub(super) fn float(text: &str) -> Option<Float> {
    let float: f64 = text.parse().ok()?;
    Some(Float(float + 0.0))
}

fn numeric_value(mode: NumericMode, text: &str) -> Option<Value> {
    match mode {
        NumericMode::Exact => Some(Value::String(text.to_owned())),
        NumericMode::Float => numeric::nearest_float(text).map(Value::Float),
        NumericMode::Auto => numeric::auto(text),
    }
}

/// The bytes of hexadecimal digits in either case.
pub(super) fn hex_bytes(digits: Option<&str>) -> Option<Bytes> {
    let (pairs, []) = digits?.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let bytes = pairs.iter().map(|&[high, low]| Some(nibble(high)? << 4 | nibble(low)?));
    bytes.collect::<Option<Vec<u8>>>().map(Bytes::from)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
