//! Arrays: `{1,NULL,"a\"b",{..}}`, with or without bounds (`[0:2]={..}`).
//!
//! ```text
//! text --read--> items --+-- one dimension, no NULL, all of one storable type --> List
//!    |                   +-- anything else --> JSON text
//!    +-- bounds --> PostgreSQL's own text
//! ```
//!
//! A list property is homogeneous and holds neither NULL nor a list, so the other arrays are JSON.
//! Neither form has bounds. An array that does not count from 1 keeps its text, with the bounds,
//! and counts as a fallback.

use std::borrow::Cow;
use std::mem::discriminant;

use super::types::{NumericMode, Type};
use super::{Conversion, Float, Value, json, parse};

/// PostgreSQL's limit of dimensions.
const MAX_DIMENSIONS: usize = 6;

/// An element of an array's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// NULL.
    Null,
    /// The element's own text.
    Text(Cow<'a, str>),
    /// The elements of an inner dimension.
    Array(Vec<Item<'a>>),
}

pub(super) fn parse(element: &Type, delimiter: char, text: &str) -> Conversion {
    let Some(items) = read(text, delimiter).filter(|_| !has_bounds(text)) else {
        return parse::text_form(text);
    };
    if let Type::Unknown { .. } = element {
        return Conversion::Fallback(parse_items(&Type::TEXT, &items).into_value());
    }
    parse_items(element, &items)
}

fn parse_items(element: &Type, items: &[Item<'_>]) -> Conversion {
    let texts = scalars(items).filter(|_| element.is_listable());
    if let Some(texts) = &texts
        && let Some(values) = list(element, texts)
    {
        return Conversion::Mapped(Value::List(values));
    }
    let mut out = String::new();
    let expected = json::write_items(element, items, &mut out);
    // An array that should be a list but is none holds a value of another type.
    if expected && texts.is_none() {
        Conversion::Mapped(Value::String(out))
    } else {
        Conversion::Fallback(Value::String(out))
    }
}

/// The texts of a one-dimensional array without NULLs.
pub(super) fn scalars<'i>(items: &'i [Item<'_>]) -> Option<Vec<&'i str>> {
    let text = |item: &'i Item<'_>| match item {
        Item::Text(text) => Some(&**text),
        Item::Null | Item::Array(_) => None,
    };
    items.iter().map(text).collect()
}

fn list(element: &Type, texts: &[&str]) -> Option<Vec<Value>> {
    let value = |text: &&str| match element.parse_str(text) {
        Conversion::Mapped(value) => Some(value),
        Conversion::Fallback(_) => None,
    };
    let values: Vec<Value> = texts.iter().map(value).collect::<Option<_>>()?;
    if is_homogeneous(&values) {
        return Some(values);
    }
    (*element == Type::Numeric(NumericMode::Auto)).then(|| one_number_type(&values, texts))
}

pub(super) fn is_homogeneous(values: &[Value]) -> bool {
    values.windows(2).all(|pair| discriminant(&pair[0]) == discriminant(&pair[1]))
}

/// For `auto`, decides for the whole list: all Floats if that loses nothing, otherwise all Strings.
fn one_number_type(values: &[Value], texts: &[&str]) -> Vec<Value> {
    let float = |value: &Value| match value {
        Value::Float(_) => Some(value.clone()),
        Value::Integer(integer) if integer.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS => {
            Some(Value::Float(Float(*integer as f64)))
        }
        _ => None,
    };
    let strings = || texts.iter().map(|text| Value::String((*text).to_owned())).collect();
    values.iter().map(float).collect::<Option<_>>().unwrap_or_else(strings)
}

/// The elements of an array's text, without its bounds; `None` if malformed.
pub fn read(text: &str, delimiter: char) -> Option<Vec<Item<'_>>> {
    let mut reader = Reader { rest: split_bounds(text)?.1, delimiter };
    let items = reader.array(MAX_DIMENSIONS)?;
    reader.rest.is_empty().then_some(items)
}

/// Whether the array does not count from 1. PostgreSQL writes bounds only then.
pub(super) fn has_bounds(text: &str) -> bool {
    text.starts_with('[')
}

/// Splits `[0:1]=` off an array with bounds.
pub(super) fn split_bounds(text: &str) -> Option<(&str, &str)> {
    if !has_bounds(text) {
        return Some(("", text));
    }
    let end = text.find("]=")? + "]=".len();
    let (bounds, rest) = text.split_at(end);
    let is_bound = |byte: u8| byte.is_ascii_digit() || b"[]:-=".contains(&byte);
    bounds.bytes().all(is_bound).then_some((bounds, rest))
}

struct Reader<'a> {
    rest: &'a str,
    delimiter: char,
}

impl<'a> Reader<'a> {
    fn skip(&mut self, wanted: char) -> bool {
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn array(&mut self, dimensions: usize) -> Option<Vec<Item<'a>>> {
        if dimensions == 0 || !self.skip('{') {
            return None;
        }
        let mut items = Vec::new();
        if self.skip('}') {
            return Some(items);
        }
        loop {
            items.push(self.item(dimensions)?);
            if self.skip('}') {
                return Some(items);
            }
            if !self.skip(self.delimiter) {
                return None;
            }
        }
    }

    fn item(&mut self, dimensions: usize) -> Option<Item<'a>> {
        match self.rest.as_bytes().first()? {
            b'{' => self.array(dimensions - 1).map(Item::Array),
            b'"' => self.quoted().map(Item::Text),
            _ => self.bare(),
        }
    }

    /// PostgreSQL quotes every element with a special character, and the string NULL.
    fn bare(&mut self) -> Option<Item<'a>> {
        let end = self.rest.find([self.delimiter, '{', '}', '"', '\\'])?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        match text {
            "" => None,
            "NULL" => Some(Item::Null),
            _ => Some(Item::Text(Cow::Borrowed(text))),
        }
    }

    fn quoted(&mut self) -> Option<Cow<'a, str>> {
        let (text, rest) = backslash_quoted(self.rest)?;
        self.rest = rest;
        Some(text)
    }
}

/// Reads a text in double quotes, in which a backslash escapes any character. Returns it and the
/// rest.
pub(super) fn backslash_quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let body = text.strip_prefix('"')?;
    let end = body.find(['"', '\\'])?;
    if body.as_bytes()[end] == b'"' {
        return Some((Cow::Borrowed(&body[..end]), &body[end + 1..]));
    }
    let mut out = String::from(&body[..end]);
    let mut characters = body[end..].chars();
    loop {
        match characters.next()? {
            '"' => return Some((Cow::Owned(out), characters.as_str())),
            '\\' => out.push(characters.next()?),
            other => out.push(other),
        }
    }
}
