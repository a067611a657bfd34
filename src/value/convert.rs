//! Converts a value of one type to another, for a reference whose type differs from its target's.
//!
//! If PostgreSQL has an operator for both types (dates and timestamps, the float types), that
//! operator decides. Otherwise the value is converted to the target's type, as in a foreign key. If
//! the conversion would lose something, the value equals no value of the target's type.

use std::borrow::Cow;

use super::types::{TextKind, Type};
use super::{numeric, parse, temporal};

/// Whether values of `from` are comparable with values of another type, `to`.
pub(super) fn converts(from: &Type, to: &Type) -> bool {
    match (from, to) {
        (_, Type::Text(kind)) if is_string(kind) => !matches!(
            from,
            Type::Text(TextKind::Incomparable(_)) | Type::Unknown { .. } | Type::Bytes
        ),
        (Type::Text(kind), _) if is_string(kind) => matches!(
            to,
            Type::Text(TextKind::Uuid | TextKind::Inet | TextKind::Cidr | TextKind::Named(_))
                | Type::Boolean
                | Type::Integer
                | Type::Oid
                | Type::Real
                | Type::Double
                | Type::Numeric(_)
                | Type::Bytes
                | Type::Date
                | Type::Timestamp
                | Type::TimestampTz
                | Type::Time
                | Type::TimeTz
                | Type::Interval
        ),
        (Type::Text(TextKind::Inet), Type::Text(TextKind::Cidr))
        | (Type::Text(TextKind::Cidr), Type::Text(TextKind::Inet)) => true,
        (Type::Array { element, delimiter }, Type::Array { element: other, delimiter: theirs }) => {
            element == other && delimiter == theirs
        }
        // PostgreSQL compares rows field by field and ignores the names.
        (Type::Composite(own), Type::Composite(target)) => {
            own.len() == target.len()
                && own.iter().zip(target.iter()).all(|(own, target)| own.r#type == target.r#type)
        }
        _ => is_number(from) && is_number(to) || is_day(from) && is_day(to),
    }
}

/// Whether some values of `from` have no equal value in another type, `to`.
pub(super) fn loses(from: &Type, to: &Type) -> bool {
    match (from, to) {
        (_, Type::Text(kind)) if is_string(kind) => false,
        (Type::Text(kind), _) if is_string(kind) => true,
        (Type::Timestamp | Type::TimestampTz, Type::Date) => true,
        (Type::Real | Type::Double | Type::Numeric(_), Type::Integer | Type::Oid) => true,
        (Type::Numeric(_), Type::Real | Type::Double) => true,
        _ => false,
    }
}

fn is_string(kind: &TextKind) -> bool {
    matches!(kind, TextKind::Plain | TextKind::Padded | TextKind::CaseInsensitive(_))
}

fn is_number(r#type: &Type) -> bool {
    matches!(r#type, Type::Integer | Type::Oid | Type::Real | Type::Double | Type::Numeric(_))
}

fn is_day(r#type: &Type) -> bool {
    matches!(r#type, Type::Date | Type::Timestamp | Type::TimestampTz)
}

/// The text of a `from` value as a `to`; `None` if it has none.
pub(super) fn convert<'a>(from: &Type, to: &Type, text: &'a str) -> Option<Cow<'a, str>> {
    let text = match from {
        Type::Text(TextKind::Padded) => text.trim_end_matches(' '),
        _ => text,
    };
    match (from, to) {
        (Type::Boolean, Type::Text(kind)) if is_string(kind) => Some(Cow::Borrowed(match text {
            "t" => "true",
            _ => "false",
        })),
        (_, Type::Text(kind)) if is_string(kind) => Some(Cow::Borrowed(text)),
        (Type::Text(kind), _) if is_string(kind) => from_string(to, text.trim()),
        (Type::Text(TextKind::Inet), _) => Some(match (text.contains('/'), text.contains(':')) {
            (true, _) => Cow::Borrowed(text),
            (false, true) => Cow::Owned(format!("{text}/128")),
            (false, false) => Cow::Owned(format!("{text}/32")),
        }),
        (Type::Text(TextKind::Cidr), _) => Some(Cow::Borrowed(whole_address(text))),
        (_, Type::Integer) => integer(text),
        (_, Type::Oid) => integer(text).map(without_sign),
        (_, Type::Real | Type::Double) => finite(text).then_some(Cow::Borrowed(text)),
        (Type::Date | Type::Timestamp | Type::TimestampTz, _) => day(from, to, text),
        _ => Some(Cow::Borrowed(text)),
    }
}

/// A string's value in PostgreSQL's form.
fn from_string<'a>(to: &Type, text: &'a str) -> Option<Cow<'a, str>> {
    let is_infinity = matches!(text, "infinity" | "-infinity");
    let written = match to {
        Type::Boolean => {
            return match text {
                "t" | "true" => Some(Cow::Borrowed("t")),
                "f" | "false" => Some(Cow::Borrowed("f")),
                _ => None,
            };
        }
        Type::Integer => return text.parse::<i64>().ok().map(|it| Cow::Owned(it.to_string())),
        Type::Oid => {
            let number = text.parse::<i64>().ok()?;
            return Some(without_sign(Cow::Owned(number.to_string())));
        }
        Type::Text(TextKind::Uuid) => return uuid(text).map(Cow::Owned),
        Type::Text(TextKind::Inet) => return Some(Cow::Borrowed(whole_address(text))),
        Type::Numeric(_) => {
            numeric::normalise(text).is_some() || matches!(text, "NaN" | "Infinity" | "-Infinity")
        }
        Type::Real | Type::Double => finite(text),
        Type::Bytes => parse::hex_bytes(text.strip_prefix("\\x")).is_some(),
        Type::Date => is_infinity || temporal::date(text).is_some(),
        Type::Timestamp => is_infinity || temporal::timestamp(text).is_some(),
        Type::TimestampTz => is_infinity || temporal::timestamp_tz(text).is_some(),
        Type::Time => text == "24:00:00" || temporal::time(text).is_some(),
        Type::TimeTz => temporal::time_tz(text).is_some(),
        Type::Interval => is_infinity || temporal::interval(text).is_some(),
        _ => true,
    };
    written.then_some(Cow::Borrowed(text))
}

/// A whole number within an integer's range.
fn integer(text: &str) -> Option<Cow<'_, str>> {
    let number = numeric::normalise(text)?;
    number.parse::<i64>().is_ok().then_some(number)
}

/// The `oid` that an integer casts to: the same 32 bits. PostgreSQL casts no other number.
fn without_sign(number: Cow<'_, str>) -> Cow<'_, str> {
    match number.parse::<i32>() {
        Ok(negative) if negative < 0 => Cow::Owned(negative.cast_unsigned().to_string()),
        _ => number,
    }
}

/// A number within a double's range, NaN or an infinity. An overflow to infinity does not count.
fn finite(text: &str) -> bool {
    numeric::nearest_float(text).is_some()
}

/// Removes the network length if the network is one address.
fn whole_address(text: &str) -> &str {
    let length = if text.contains(':') { "/128" } else { "/32" };
    text.strip_suffix(length).unwrap_or(text)
}

/// A date equals its midnight. Time zones are UTC, as in the session.
fn day<'a>(from: &Type, to: &Type, text: &'a str) -> Option<Cow<'a, str>> {
    if matches!(text, "infinity" | "-infinity") {
        return Some(Cow::Borrowed(text));
    }
    let (body, era) = match text.strip_suffix(" BC") {
        Some(body) => (body, " BC"),
        None => (text, ""),
    };
    let local = match from {
        Type::TimestampTz => body.strip_suffix("+00")?,
        _ => body,
    };
    let (date, time) = match from {
        Type::Date => (local, "00:00:00"),
        _ => local.split_once(' ')?,
    };
    Some(Cow::Owned(match to {
        Type::Date if time == "00:00:00" => format!("{date}{era}"),
        Type::Date => return None,
        Type::Timestamp => format!("{date} {time}{era}"),
        _ => format!("{date} {time}+00{era}"),
    }))
}

/// A UUID with or without hyphens and braces, in either case, in PostgreSQL's form.
pub fn uuid(text: &str) -> Option<String> {
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let digits: String = inner.chars().filter(|&character| character != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let digits = digits.to_ascii_lowercase();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &digits[range]);
    Some(parts.join("-"))
}
