//! JSON text for values that no property can hold: composite values, hstore, other arrays.
//!
//! Numbers and booleans become JSON's own, with all their digits. `json` is embedded. NaN, the
//! infinities and everything else become strings in PostgreSQL's text form.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::de::IgnoredAny;

use super::array::{self, Item, backslash_quoted};
use super::types::{Field, Type};
use super::{Conversion, Value, parse};

/// An hstore or composite value as a JSON object.
pub(super) fn object(r#type: &Type, text: &str) -> Conversion {
    let mut out = String::new();
    match write_object(r#type, text, &mut out) {
        Some(true) => Conversion::Mapped(Value::String(out)),
        Some(false) => Conversion::Fallback(Value::String(out)),
        None => parse::text_form(text),
    }
}

/// Writes the elements as a JSON array. Returns false if one was not of its type.
pub(super) fn write_items(element: &Type, items: &[Item<'_>], out: &mut String) -> bool {
    let mut expected = true;
    write_list(items, ['[', ']'], out, |item, out| {
        expected &= match item {
            Item::Null => write_null(out),
            Item::Text(text) => write_value(element, text, out),
            Item::Array(items) => write_items(element, items, out),
        };
    });
    expected
}

/// Writes one value. Returns false if it was not of its type.
fn write_value(r#type: &Type, text: &str, out: &mut String) -> bool {
    let start = out.len();
    let written = match r#type {
        Type::Boolean => parse::boolean(text).map(|value| {
            out.push_str(if value { "true" } else { "false" });
            true
        }),
        Type::Integer | Type::Oid | Type::Real | Type::Double | Type::Numeric(_) => {
            Some(write_number(text, out))
        }
        Type::Json | Type::Jsonb | Type::Vector => is_json(text).then(|| {
            out.push_str(text);
            true
        }),
        Type::Hstore | Type::Composite(_) => write_object(r#type, text, out),
        Type::Array { element, delimiter } => {
            // An array that does not count from 1 stays PostgreSQL's text: JSON has no bounds.
            let items = array::read(text, *delimiter).filter(|_| !array::has_bounds(text));
            items.map(|items| write_items(element, &items, out))
        }
        Type::Unknown { .. } => None,
        _ => {
            write_string(text, out);
            Some(true)
        }
    };
    written.unwrap_or_else(|| {
        out.truncate(start);
        write_string(text, out);
        false
    })
}

fn write_object(r#type: &Type, text: &str, out: &mut String) -> Option<bool> {
    match r#type {
        Type::Composite(fields) => write_composite(fields, text, out),
        _ => write_hstore(text, out).map(|()| true),
    }
}

fn write_composite(fields: &[Field], text: &str, out: &mut String) -> Option<bool> {
    let values = read_composite(text, fields.len())?;
    let mut expected = true;
    let named: Vec<_> = fields.iter().zip(values).collect();
    write_list(&named, ['{', '}'], out, |(field, value), out| {
        write_string(&field.name, out);
        out.push(':');
        expected &= match value {
            None => write_null(out),
            Some(text) => write_value(&field.r#type, text, out),
        };
    });
    Some(expected)
}

fn write_hstore(text: &str, out: &mut String) -> Option<()> {
    let pairs = read_hstore(text)?;
    write_list(&pairs, ['{', '}'], out, |(key, value), out| {
        write_string(key, out);
        out.push(':');
        match value {
            None => {
                write_null(out);
            }
            Some(value) => write_string(value, out),
        }
    });
    Some(())
}

/// The `count` fields of `(a,"b ""c""",)`. An empty field is NULL.
pub(super) fn read_composite(text: &str, count: usize) -> Option<Vec<Option<Cow<'_, str>>>> {
    let mut rest = text.strip_prefix('(')?;
    let mut values = Vec::new();
    loop {
        let (value, after) = read_part(rest, &[',', ')', '(', '"', '\\'])?;
        values.push(value);
        match after {
            ")" => break,
            _ => rest = after.strip_prefix(',')?,
        }
    }
    // `()` is the value of a type without fields, or a NULL in a single field.
    if count == 0 && text == "()" {
        values.clear();
    }
    (values.len() == count).then_some(values)
}

/// Reads a field of a row or a bound of a range. Returns it and the rest. If empty it is NULL, or
/// no bound. In quotes, a backslash escapes and two quotes are one. Without quotes, one of `ends`
/// ends it.
pub(super) fn read_part<'a>(
    text: &'a str,
    ends: &[char],
) -> Option<(Option<Cow<'a, str>>, &'a str)> {
    if !text.starts_with('"') {
        let (value, rest) = text.split_at(text.find(ends)?);
        return Some(((!value.is_empty()).then_some(Cow::Borrowed(value)), rest));
    }
    let mut out = String::new();
    let mut characters = text[1..].chars();
    loop {
        match characters.next()? {
            '\\' => out.push(characters.next()?),
            '"' if characters.as_str().starts_with('"') => {
                characters.next();
                out.push('"');
            }
            '"' => return Some((Some(Cow::Owned(out)), characters.as_str())),
            other => out.push(other),
        }
    }
}

/// A key and, unless it is NULL, its value.
type Pair<'a> = (Cow<'a, str>, Option<Cow<'a, str>>);

/// The pairs of `"a"=>"1", "b"=>NULL`.
fn read_hstore(text: &str) -> Option<Vec<Pair<'_>>> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = backslash_quoted(rest)?;
        let after = after.strip_prefix("=>")?;
        let (value, after) = match after.strip_prefix("NULL") {
            Some(after) => (None, after),
            None => {
                let (value, after) = backslash_quoted(after)?;
                (Some(value), after)
            }
        };
        pairs.push((key, value));
        rest = after;
        if !rest.is_empty() {
            rest = rest.strip_prefix(", ").filter(|rest| !rest.is_empty())?;
        }
    }
    Some(pairs)
}

fn write_list<T>(
    items: &[T],
    [open, close]: [char; 2],
    out: &mut String,
    mut write: impl FnMut(&T, &mut String),
) {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(close);
}

fn write_null(out: &mut String) -> bool {
    out.push_str("null");
    true
}

/// Writes a number. Returns false for any other text.
fn write_number(text: &str, out: &mut String) -> bool {
    if text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) && is_json(text) {
        out.push_str(text);
        return true;
    }
    write_string(text, out);
    matches!(text, "NaN" | "Infinity" | "-Infinity")
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' => {
                // Writing to a String can not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}
