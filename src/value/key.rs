//! Keys: what PostgreSQL calls equal is one value here.
//!
//! A reference finds its target by value, and the two texts may differ: `1.00` may refer to `1.0`,
//! `ab` to `ab   `, `Foo` to `foo`. Both sides go through the same function before they meet.

use std::borrow::Cow;

use bytes::Bytes;

use super::types::{CaseFolding, NumericMode, TextKind, Type};
use super::{Conversion, Duration, Float, Value, array, numeric, parse, temporal};

const DAYS_PER_MONTH: i64 = 30;
const SECONDS_PER_DAY: i64 = 86_400;

/// Why a value is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// NaN.
    #[error(
        "the key holds NaN, which never equals itself in Neo4j, so its node could not be found \
         again: choose another key for this table or leave such rows out"
    )]
    NotANumber,
    /// A reference of another type than its target, whose value the target cannot have.
    #[error(
        "the reference's value ({from}) cannot be a value of its target's key ({to}): no row has \
         it. Correct the row or the mapping of this reference"
    )]
    Unconvertible {
        /// The reference's type in the graph.
        from: String,
        /// The target's type in the graph.
        to: String,
    },
}

/// The value of a key column: equal values for all texts that PostgreSQL's `=` calls equal. It is
/// also what the key property holds.
///
/// `numeric` is without trailing zeros, `char(n)` without padding, `citext` in lower case, an
/// interval in seconds (`1 mon` = `30 days`), a float without a negative zero, a `real` with the
/// digits it has as `double precision`. What has no value of its type (`infinity`) is its text
/// form, as in [`Type::parse`]. Numbers inside of `jsonb`, ranges and composite values stay as they
/// are written.
pub fn normalise_key(r#type: &Type, text: &[u8]) -> Result<Value, KeyError> {
    match std::str::from_utf8(text) {
        Ok(text) => key(r#type, text).map(Conversion::into_value),
        Err(_) => Ok(Value::Bytes(Bytes::copy_from_slice(text))),
    }
}

/// The value of a reference's column of type `from` to a key column of type `to`: what
/// [`normalise_key`] gives for an equal key.
pub fn normalise_key_as(from: &Type, to: &Type, text: &[u8]) -> Result<Value, KeyError> {
    if from == to {
        return normalise_key(to, text);
    }
    let unconvertible = || KeyError::Unconvertible { from: from.graph_type(), to: to.graph_type() };
    let text = std::str::from_utf8(text).map_err(|_| unconvertible())?;
    // Keys of both float types are doubles; a text is read at the precision it was written with.
    let read_as = match (from, to) {
        (Type::Real, Type::Double) => from,
        (Type::Double | Type::Integer | Type::Numeric(_), Type::Real) => &Type::Double,
        _ => to,
    };
    match key(read_as, &convert(from, to, text))? {
        Conversion::Mapped(value) => Ok(value),
        Conversion::Fallback(value) if from.is_temporal() && to.is_temporal() => Ok(value),
        Conversion::Fallback(_) => Err(unconvertible()),
    }
}

/// The text that a value of `from` has as a `to`.
fn convert<'a>(from: &Type, to: &Type, text: &'a str) -> Cow<'a, str> {
    match (from, to) {
        (Type::Numeric(_), _) | (Type::Real | Type::Double, Type::Integer) => {
            numeric::normalise(text).unwrap_or(Cow::Borrowed(text))
        }
        (Type::Boolean, Type::Text(_)) => match text {
            "t" => Cow::Borrowed("true"),
            _ => Cow::Borrowed("false"),
        },
        (Type::Text(TextKind::Padded), Type::Text(_)) => Cow::Borrowed(text.trim_end_matches(' ')),
        (Type::Text(_), Type::Boolean) => match text.trim() {
            "true" => Cow::Borrowed("t"),
            "false" => Cow::Borrowed("f"),
            other => Cow::Borrowed(other),
        },
        (Type::Text(_), Type::Text(_)) => Cow::Borrowed(text),
        (Type::Text(_), _) => Cow::Borrowed(text.trim()),
        (Type::Date, Type::Timestamp) => before_era(text, " 00:00:00"),
        (Type::Date, Type::TimestampTz) => before_era(text, " 00:00:00+00"),
        (Type::Timestamp, Type::TimestampTz) => before_era(text, "+00"),
        _ => Cow::Borrowed(text),
    }
}

/// Puts `suffix` behind a date or timestamp, but before its ` BC`.
fn before_era<'a>(text: &'a str, suffix: &str) -> Cow<'a, str> {
    match text.strip_suffix(" BC") {
        _ if text.ends_with("infinity") => Cow::Borrowed(text),
        Some(date) => Cow::Owned(format!("{date}{suffix} BC")),
        None => Cow::Owned(format!("{text}{suffix}")),
    }
}

fn key(r#type: &Type, text: &str) -> Result<Conversion, KeyError> {
    match r#type {
        Type::Real => float_key(text.parse().ok().map(|real: f32| real.into()), text),
        Type::Double => float_key(parse::float(text).map(|double| double.0), text),
        Type::Numeric(mode) => Ok(numeric_key(*mode, text)),
        Type::Text(kind) => Ok(text_key(*kind, text)),
        Type::Interval => Ok(interval_key(text)),
        Type::Array { element, delimiter } => array_key(element, *delimiter, text),
        _ => Ok(r#type.parse_str(text)),
    }
}

fn float_key(float: Option<f64>, text: &str) -> Result<Conversion, KeyError> {
    match float {
        Some(float) if float.is_nan() => Err(KeyError::NotANumber),
        // The sum with zero has no negative zero.
        Some(float) => Ok(Conversion::Mapped(Value::Float(Float(float + 0.0)))),
        None => Ok(parse::text_form(text)),
    }
}

/// Never rounded, in no mode: two keys must not become one.
fn numeric_key(mode: NumericMode, text: &str) -> Conversion {
    let Some(number) = numeric::normalise(text) else {
        // PostgreSQL's numeric NaN equals itself, and so does its text.
        return match text {
            "NaN" | "Infinity" | "-Infinity" => Conversion::Mapped(Value::String(text.to_owned())),
            _ => parse::text_form(text),
        };
    };
    let integer = || number.parse().ok().map(Value::Integer);
    let float = || numeric::exact_float(&number).map(Value::Float);
    let value = match mode {
        NumericMode::Exact => None,
        NumericMode::Float => float(),
        NumericMode::Auto => integer().or_else(float),
    };
    Conversion::Mapped(value.unwrap_or_else(|| Value::String(number.into_owned())))
}

fn text_key(kind: TextKind, text: &str) -> Conversion {
    let string = match kind {
        TextKind::Plain => text.to_owned(),
        TextKind::Padded => text.trim_end_matches(' ').to_owned(),
        TextKind::CaseInsensitive(CaseFolding::Ascii) => text.to_ascii_lowercase(),
        TextKind::CaseInsensitive(CaseFolding::Unicode) => text.chars().map(lower_case).collect(),
        TextKind::Uuid => match uuid(text) {
            Some(uuid) => uuid,
            None => return parse::text_form(text),
        },
    };
    Conversion::Mapped(Value::String(string))
}

/// Character by character, as PostgreSQL's `lower` does: no final sigma, and of the two characters
/// that a dotted capital I would become only the `i`.
fn lower_case(character: char) -> char {
    character.to_lowercase().next().unwrap_or(character)
}

/// A UUID with or without hyphens and braces, in either case, in PostgreSQL's form.
fn uuid(text: &str) -> Option<String> {
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let digits: String = inner.chars().filter(|&character| character != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let digits = digits.to_ascii_lowercase();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &digits[range]);
    Some(parts.join("-"))
}

/// PostgreSQL compares intervals with months of 30 days and days of 24 hours.
fn interval_key(text: &str) -> Conversion {
    let total = |duration: Duration| {
        let days = duration.months.checked_mul(DAYS_PER_MONTH)?.checked_add(duration.days)?;
        let seconds = days.checked_mul(SECONDS_PER_DAY)?.checked_add(duration.seconds)?;
        Some(Duration { months: 0, days: 0, seconds, ..duration })
    };
    match temporal::interval(text).and_then(total) {
        Some(duration) => Conversion::Mapped(Value::Duration(duration)),
        None => parse::text_form(text),
    }
}

/// Element by element, where the array is a list.
fn array_key(element: &Type, delimiter: char, text: &str) -> Result<Conversion, KeyError> {
    let items = array::read(text, delimiter).unwrap_or_default();
    if let Some(texts) = array::scalars(&items).filter(|texts| !texts.is_empty())
        && element.is_listable()
    {
        let values: Result<Vec<Value>, KeyError> =
            texts.iter().map(|text| Ok(key(element, text)?.into_value())).collect();
        let values = values?;
        if array::is_homogeneous(&values) {
            return Ok(Conversion::Mapped(Value::List(values)));
        }
    }
    Ok(array::parse(element, delimiter, text))
}
