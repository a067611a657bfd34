//! One text for all values that are equal by PostgreSQL's `=`.
//!
//! ```text
//! 1.50, 1.5 -> 1.5    'Foo', 'fOO' -> foo    1 mon, 30 days -> P1M0DT0S    [1.0,2) -> ["1","2")
//! ```
//!
//! The text is always a literal of the type, and equal to the values that it represents: PostgreSQL
//! finds their row by it.

use std::borrow::Cow;

use super::array::{self, Item};
use super::types::{Field, TextKind, Type};
use super::{CaseFolding, Duration, json, numeric, range, temporal};

const DAYS_PER_MONTH: i128 = 30;
const MICROS_PER_SECOND: i128 = 1_000_000;
const MICROS_PER_DAY: i128 = 86_400 * MICROS_PER_SECOND;
const NANOS_PER_MICRO: i128 = 1_000;

/// How texts of equal values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Texts {
    /// Equal values have one text.
    Same,
    /// They may have several texts, but only one canonical form.
    Differ,
}

/// How texts of equal values of the type compare. The error completes the sentence "it is ...".
pub(super) fn texts(r#type: &Type) -> Result<Texts, String> {
    match r#type {
        Type::Text(TextKind::Incomparable(why)) => Err(why.to_string()),
        Type::Text(TextKind::CaseInsensitive(CaseFolding::Unknown(why))) => {
            Err(format!("citext, and {why}"))
        }
        Type::Text(TextKind::Padded | TextKind::CaseInsensitive(_)) => Ok(Texts::Differ),
        Type::Text(_) | Type::Boolean | Type::Integer | Type::Oid | Type::Bytes => Ok(Texts::Same),
        Type::Date | Type::Timestamp | Type::TimestampTz | Type::Time | Type::TimeTz => {
            Ok(Texts::Same)
        }
        Type::Real | Type::Double | Type::Numeric(_) | Type::Interval => Ok(Texts::Differ),
        // An hstore has one text, but its property has another.
        Type::Jsonb | Type::Vector | Type::Hstore => Ok(Texts::Differ),
        Type::Range { element, .. } => texts(element),
        Type::Array { element, .. } => texts(element).map(|_| Texts::Differ),
        Type::Composite(fields) => {
            for Field { r#type, .. } in fields.iter() {
                texts(r#type)?;
            }
            Ok(Texts::Differ)
        }
        Type::Json => Err("json, which has no equality (jsonb has one)".to_owned()),
        Type::Point | Type::Geometry => {
            Err("geometry, whose equality is not its text's".to_owned())
        }
        Type::Unknown { name } => Err(format!("{name}, of which nothing is known")),
    }
}

/// The canonical text; `None` if the text is not of the type.
pub(super) fn canonical<'a>(r#type: &Type, text: &'a str) -> Option<Cow<'a, str>> {
    Some(match r#type {
        Type::Numeric(_) => Cow::Owned(match numeric::normalise(text) {
            Some(number) => number.into_owned(),
            None => text.to_owned(),
        }),
        Type::Real => Cow::Owned(float(text.parse::<f32>().ok()?.into())),
        Type::Double => Cow::Owned(float(text.parse().ok()?)),
        Type::Text(kind) => folded(kind, text),
        Type::Interval => match temporal::interval(text).map(interval) {
            Some(text) => Cow::Owned(text),
            None => Cow::Borrowed(text),
        },
        Type::Jsonb => Cow::Owned(jsonb(text)?),
        Type::Vector => Cow::Owned(vector(text)?),
        Type::Range { element, .. } if texts(element) == Ok(Texts::Same) => Cow::Borrowed(text),
        Type::Range { element, multi } => Cow::Owned(range::rewrite(text, *multi, |bound| {
            canonical(element, bound).map(Cow::into_owned)
        })?),
        Type::Array { element, delimiter } => {
            let (bounds, _) = array::split_bounds(text)?;
            let items = array::read(text, *delimiter)?;
            let mut out = bounds.to_owned();
            write_items(element, *delimiter, &items, &mut out)?;
            Cow::Owned(out)
        }
        Type::Composite(fields) => Cow::Owned(composite(fields, text)?),
        _ => Cow::Borrowed(text),
    })
}

fn folded<'a>(kind: &TextKind, text: &'a str) -> Cow<'a, str> {
    match kind {
        TextKind::Padded => Cow::Borrowed(text.trim_end_matches(' ')),
        TextKind::CaseInsensitive(CaseFolding::Ascii) => Cow::Owned(text.to_ascii_lowercase()),
        TextKind::CaseInsensitive(CaseFolding::Characters(characters)) => {
            Cow::Owned(characters.fold(text))
        }
        _ => Cow::Borrowed(text),
    }
}

/// Bytes that are not UTF-8. A database in SQL_ASCII may hold them.
pub(super) fn canonical_bytes(r#type: &Type, bytes: &[u8]) -> Vec<u8> {
    match r#type {
        Type::Text(TextKind::Padded) => {
            let padding = bytes.iter().rev().take_while(|&&byte| byte == b' ').count();
            bytes[..bytes.len() - padding].to_vec()
        }
        Type::Text(TextKind::CaseInsensitive(_)) => bytes.to_ascii_lowercase(),
        _ => bytes.to_vec(),
    }
}

/// A `real` has the form of the equal `double precision`, because PostgreSQL compares both as such.
pub(super) fn float(float: f64) -> String {
    match float {
        // Adding zero turns negative zero into zero.
        _ if float.is_finite() => (float + 0.0).to_string(),
        _ if float.is_nan() => "NaN".to_owned(),
        _ if float > 0.0 => "Infinity".to_owned(),
        _ => "-Infinity".to_owned(),
    }
}

/// PostgreSQL compares intervals with months of 30 days and days of 24 hours.
fn interval(duration: Duration) -> String {
    let Duration { months, days, seconds, nanoseconds } = duration;
    let days = i128::from(months) * DAYS_PER_MONTH + i128::from(days);
    let micros =
        i128::from(seconds) * MICROS_PER_SECOND + i128::from(nanoseconds) / NANOS_PER_MICRO;
    let total = days * MICROS_PER_DAY + micros;
    // All parts of a negative interval are negative, because division rounds to zero.
    let (days, micros) = (total / MICROS_PER_DAY, total % MICROS_PER_DAY);
    let (months, days) = (days / DAYS_PER_MONTH, days % DAYS_PER_MONTH);
    let (seconds, micros) = (micros / MICROS_PER_SECOND, micros % MICROS_PER_SECOND);
    let fraction = match micros.unsigned_abs() {
        0 => String::new(),
        micros => format!(".{micros:06}"),
    };
    let sign = if micros < 0 && seconds == 0 { "-" } else { "" };
    format!("P{months}M{days}DT{sign}{seconds}{fraction}S")
}

/// Everything but its numbers has one text already: PostgreSQL sorts the keys and removes
/// duplicates.
fn jsonb(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let (piece, after) = match next {
            '"' => rest.split_at(string_end(rest)?),
            '-' | '0'..='9' => {
                let is_part = |it: char| it.is_ascii_digit() || "+-.eE".contains(it);
                let end = rest.find(|it| !is_part(it)).unwrap_or(rest.len());
                let (number, after) = rest.split_at(end);
                out.push_str(&numeric::normalise(number)?);
                ("", after)
            }
            _ => rest.split_at(next.len_utf8()),
        };
        out.push_str(piece);
        rest = after;
    }
    Some(out)
}

/// The end of the string at the start of the text.
fn string_end(text: &str) -> Option<usize> {
    let mut escaped = true;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn vector(text: &str) -> Option<String> {
    let body = text.strip_prefix('[')?.strip_suffix(']')?;
    let numbers = body.split(',').filter(|number| !number.is_empty());
    let numbers = numbers.map(|number| Some(float(number.parse::<f32>().ok()?.into())));
    Some(format!("[{}]", numbers.collect::<Option<Vec<_>>>()?.join(",")))
}

fn write_items(
    element: &Type,
    delimiter: char,
    items: &[Item<'_>],
    out: &mut String,
) -> Option<()> {
    out.push('{');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(delimiter);
        }
        match item {
            Item::Null => out.push_str("NULL"),
            Item::Text(text) => write_quoted(&canonical(element, text)?, out),
            Item::Array(items) => write_items(element, delimiter, items, out)?,
        }
    }
    out.push('}');
    Some(())
}

fn composite(fields: &[Field], text: &str) -> Option<String> {
    let values = json::read_composite(text, fields.len())?;
    let mut out = String::from("(");
    for (at, (field, value)) in fields.iter().zip(values).enumerate() {
        if at > 0 {
            out.push(',');
        }
        if let Some(value) = value {
            write_quoted(&canonical(&field.r#type, &value)?, &mut out);
        }
    }
    out.push(')');
    Some(out)
}

/// Writes a text in quotes and escapes special characters. For arrays, rows and ranges alike.
pub fn write_quoted(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}
