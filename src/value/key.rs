//! Keys: values that are equal in PostgreSQL are one value here, and different ones are two.
//!
//! ```text
//! key column  --Comparable::of-->  Comparable: the property itself, or a canonical text beside it
//! any column  --value(from, text)-->  the value that an equal key has
//! ```
//!
//! A reference finds its target by value, and the two texts may differ: `1.00` may refer to `1.0`,
//! `ab` to `ab   `, `Foo` to `foo`. The column's type in PostgreSQL decides, not the type of its
//! property.

use std::borrow::Cow;

use bytes::Bytes;

use super::Value;
use super::canonical::{Texts, canonical, canonical_bytes, texts};
use super::convert::{convert, converts, loses};
use super::types::{NumericMode, TextKind, Type};

/// Compares the values of a key column, or of a column that references compare.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Comparable {
    /// The column's type.
    r#type: Type,
    /// The property's type, if it compares as PostgreSQL does. Otherwise values compare by their
    /// canonical text.
    property: Option<Type>,
}

/// The reason why the graph can not compare values as PostgreSQL does. Completes "it is ...".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Incomparable(String);

impl Comparable {
    /// For a column of type `r#type` whose property has the type `property`. `whole`: the column
    /// holds only whole numbers, as numeric(p, 0).
    pub fn of(r#type: &Type, property: &Type, whole: bool) -> Result<Comparable, Incomparable> {
        let serves = match (texts(r#type).map_err(Incomparable)?, r#type) {
            (Texts::Same, _) => true,
            // A Float is rounded.
            (Texts::Differ, Type::Numeric(_)) => {
                whole && *property != Type::Numeric(NumericMode::Float)
            }
            (Texts::Differ, _) => false,
        };
        let property = serves.then(|| property.clone());
        Ok(Comparable { r#type: r#type.clone(), property })
    }

    /// Whether the column's property itself is compared, so that no other property is needed.
    pub fn is_property(&self) -> bool {
        self.property.is_some()
    }

    /// The compared property's type in the graph, for people.
    pub fn graph_type(&self) -> String {
        self.property.as_ref().map_or_else(|| Type::TEXT.graph_type(), Type::graph_type)
    }

    /// The name in the mapping's digest. It is stable.
    pub fn name(&self) -> String {
        match &self.property {
            Some(property) => format!("{} as {}", type_name(&self.r#type), property.graph_type()),
            None => type_name(&self.r#type),
        }
    }

    /// Whether a value of a column of this type may equal no value of the key's type.
    pub fn loses(&self, from: &Type) -> bool {
        *from != self.r#type && loses(from, &self.r#type)
    }

    /// Whether values of a column of this type are comparable.
    pub fn accepts(&self, from: &Type) -> bool {
        *from == self.r#type || converts(from, &self.r#type)
    }

    /// Whether PostgreSQL's result depends on the session's time zone. Here it is UTC.
    pub fn depends_on_time_zone(&self, from: &Type) -> bool {
        let has_zone = |it: &Type| *it == Type::TimestampTz;
        has_zone(from) != has_zone(&self.r#type)
            && matches!(from, Type::Date | Type::Timestamp | Type::TimestampTz)
    }

    /// Whether a value that is compared is a text in the place of a property of another type.
    pub fn is_fallback(&self, value: &Value) -> bool {
        match (&self.property, value) {
            (None, _) => false,
            (Some(Type::Bytes), Value::Bytes(_)) => false,
            (Some(Type::Text(_) | Type::Range { .. } | Type::Numeric(_)), Value::String(_)) => {
                false
            }
            (Some(_), Value::String(_) | Value::Bytes(_)) => true,
            (Some(_), _) => false,
        }
    }

    /// Whether equal values of a column of type `from` have one text, which [`Comparable::text`] tells.
    pub fn has_one_text(&self, from: &Type) -> bool {
        let is_told = |property: &Type| {
            matches!(property, Type::Text(_) | Type::Boolean | Type::Integer | Type::Oid)
                || matches!(property, Type::Bytes | Type::Date | Type::Timestamp | Type::Time)
                || matches!(property, Type::TimestampTz | Type::Numeric(NumericMode::Exact))
        };
        *from == self.r#type
            && self.r#type != Type::TimeTz
            && self.property.as_ref().is_some_and(is_told)
    }

    /// The text that PostgreSQL has for a value of the column, where there is only one:
    /// [`Comparable::has_one_text`]. `None`: no value of the column is like this one.
    pub fn text(&self, value: &Value) -> Option<Vec<u8>> {
        match value {
            Value::Boolean(it) => Some(if *it { b"t".to_vec() } else { b"f".to_vec() }),
            // A text that is not UTF-8.
            Value::Bytes(it) if self.r#type != Type::Bytes => Some(it.to_vec()),
            Value::String(_) | Value::Integer(_) | Value::Bytes(_) => {
                value.postgres_text().map(String::into_bytes)
            }
            Value::Date(_)
            | Value::LocalDateTime(_)
            | Value::ZonedDateTime(_)
            | Value::LocalTime(_) => value.postgres_text().map(|text| shortest(&text).into_bytes()),
            _ => None,
        }
    }

    /// One value for all texts that are equal to this one by PostgreSQL's `=`, in a column of type
    /// `from`. `None`: no value of the key's type equals it.
    ///
    /// Unless the property itself is compared, the value is a String and a literal of the key's
    /// type. It is Bytes if the text is not UTF-8. A malformed text represents itself.
    pub fn value(&self, from: &Type, text: &[u8]) -> Option<Value> {
        let same = *from == self.r#type;
        let Ok(text) = std::str::from_utf8(text) else {
            let both_text = same || is_text(from) && is_text(&self.r#type);
            let bytes = canonical_bytes(&self.r#type, &canonical_bytes(from, text));
            return both_text.then(|| Value::Bytes(Bytes::from(bytes)));
        };
        let text = if same { Cow::Borrowed(text) } else { convert(from, &self.r#type, text)? };
        // PostgreSQL compares both float types as doubles. A text is read at the precision it was
        // written with.
        let read_as = match (from, &self.r#type) {
            (Type::Real, Type::Double) | (Type::Double, Type::Real) => from,
            _ => &self.r#type,
        };
        let text = canonical(read_as, &text).unwrap_or(Cow::Borrowed(&text));
        Some(match &self.property {
            Some(property) => property.parse_str(&text).into_value(),
            None => Value::String(text.into_owned()),
        })
    }
}

/// PostgreSQL writes no zeros at the end of a second's fraction.
fn shortest(text: &str) -> String {
    let Some((before, behind)) = text.split_once('.') else { return text.to_owned() };
    let end = behind.find(|it: char| !it.is_ascii_digit()).unwrap_or(behind.len());
    let (fraction, rest) = behind.split_at(end);
    match fraction.trim_end_matches('0') {
        "" => format!("{before}{rest}"),
        fraction => format!("{before}.{fraction}{rest}"),
    }
}

/// A name for the type's equality, different from that of other types.
fn type_name(r#type: &Type) -> String {
    match r#type {
        Type::Text(TextKind::Padded) => "char".to_owned(),
        Type::Text(TextKind::CaseInsensitive(_)) => "citext".to_owned(),
        Type::Text(TextKind::Uuid) => "uuid".to_owned(),
        Type::Text(TextKind::Inet) => "inet".to_owned(),
        Type::Text(TextKind::Cidr) => "cidr".to_owned(),
        Type::Text(TextKind::Named(name)) => name.to_string(),
        Type::Real => "real".to_owned(),
        Type::Numeric(_) => "numeric".to_owned(),
        Type::Jsonb => "jsonb".to_owned(),
        Type::Hstore => "hstore".to_owned(),
        Type::Range { element, multi: false } => format!("range of {}", type_name(element)),
        Type::Range { element, multi: true } => format!("multirange of {}", type_name(element)),
        Type::Array { element, .. } => format!("array of {}", type_name(element)),
        Type::Composite(fields) => {
            let fields: Vec<String> = fields.iter().map(|it| type_name(&it.r#type)).collect();
            format!("row of {}", fields.join(", "))
        }
        other => other.graph_type(),
    }
}

fn is_text(r#type: &Type) -> bool {
    matches!(r#type, Type::Text(TextKind::Plain | TextKind::Padded | TextKind::CaseInsensitive(_)))
}
