//! One value from PostgreSQL's text to JSON.
//!
//! Every text comes back from [`super::read`] byte for byte: a form of a type is used only where it
//! says the same, else the text stands as a string; and where that string would be read as
//! something else, `{"bytes": "<base64 of the text>"}` stands for it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::value::{ArrayItem, Type, read_array};

use super::array::write_array;
use super::{UNAVAILABLE_VALUE, json, temporal};

/// The name in the object of a text that no JSON string can stand for.
pub(super) const BYTES: &str = "bytes";

/// Writes a value.
pub(super) fn write_value(r#type: &Type, text: &[u8], out: &mut Vec<u8>) {
    let Ok(text) = std::str::from_utf8(text) else {
        return write_bytes(text, out);
    };
    match r#type {
        Type::Boolean if text == "t" => out.extend_from_slice(b"true"),
        Type::Boolean if text == "f" => out.extend_from_slice(b"false"),
        Type::Integer | Type::Oid | Type::Real | Type::Double if is_number(r#type, text) => {
            out.extend_from_slice(text.as_bytes());
        }
        Type::Bytes => match base64_of_hex(text) {
            Some(base64) => json::write_string(&base64, out),
            // A string there is base64.
            None => write_bytes(text.as_bytes(), out),
        },
        Type::Date | Type::Time | Type::TimeTz | Type::Timestamp | Type::TimestampTz => {
            match temporal::to_iso(r#type, text) {
                Some(iso) => json::write_string(&iso, out),
                None if temporal::from_iso(r#type, text).is_some() => {
                    write_bytes(text.as_bytes(), out);
                }
                None => write_text(text, out),
            }
        }
        Type::Array { element, delimiter } => match flat_items(text, *delimiter) {
            Some(items) => write_items(element, &items, out),
            None => write_text(text, out),
        },
        _ => write_text(text, out),
    }
}

/// Writes what stands for a value that was not sent.
pub(super) fn write_unavailable(r#type: &Type, out: &mut Vec<u8>) {
    match r#type {
        Type::Bytes => json::write_string(&BASE64.encode(UNAVAILABLE_VALUE), out),
        _ => json::write_string(UNAVAILABLE_VALUE, out),
    }
}

/// Numbers that every reader of JSON takes: an `Integer` of 64 bits, a float that is not too large.
fn is_number(r#type: &Type, text: &str) -> bool {
    json::is_number(text)
        && match r#type {
            Type::Integer | Type::Oid => text.parse::<i64>().is_ok(),
            _ => text.parse::<f64>().is_ok_and(f64::is_finite),
        }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    match text {
        UNAVAILABLE_VALUE => write_bytes(text.as_bytes(), out),
        _ => json::write_string(text, out),
    }
}

fn write_bytes(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"bytes\":\"");
    out.extend_from_slice(BASE64.encode(text).as_bytes());
    out.extend_from_slice(b"\"}");
}

/// The base64 of `\x0a..`, unless that is what stands for a value that was not sent.
fn base64_of_hex(text: &str) -> Option<String> {
    let digits = text.strip_prefix("\\x")?;
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let bytes = pairs.iter().map(|&[high, low]| Some(nibble(high)? << 4 | nibble(low)?));
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    (bytes != UNAVAILABLE_VALUE.as_bytes()).then(|| BASE64.encode(bytes))
}

/// The elements of an array of one dimension that is written the way PostgreSQL does, from 1.
fn flat_items(text: &str, delimiter: char) -> Option<Vec<Option<String>>> {
    let items = read_array(text, delimiter)?.into_iter().map(|item| match item {
        ArrayItem::Null => Some(None),
        ArrayItem::Text(text) => Some(Some(text.into_owned())),
        ArrayItem::Array(_) => None,
    });
    let items: Vec<Option<String>> = items.collect::<Option<_>>()?;
    (write_array(&items, delimiter) == text).then_some(items)
}

fn write_items(element: &Type, items: &[Option<String>], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match item {
            None => out.extend_from_slice(b"null"),
            Some(text) => write_value(element, text.as_bytes(), out),
        }
    }
    out.push(b']');
}
