//! JSON, one level at a time: what is not looked into stays the text it is.
//!
//! ```text
//! bytes -> Json --object()--> names and Json, each a slice of the same bytes
//! ```
//!
//! So numbers keep all their digits, whatever their size, and nesting costs no stack.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Something is not as it should be, at a place below the value that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// `.after.price`, below the value.
    pub path: String,
    /// What is wrong, without values of rows.
    pub what: String,
}

impl Problem {
    pub fn new(what: impl Into<String>) -> Problem {
        Problem { path: String::new(), what: what.into() }
    }

    /// The same, seen from the object above.
    pub fn within(self, name: &str) -> Problem {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let step =
            if plain && !name.is_empty() { format!(".{name}") } else { format!("[{name:?}]") };
        Problem { path: step + &self.path, what: self.what }
    }

    fn expected(expected: &str, json: Json<'_>) -> Problem {
        Problem::new(format!("{expected} expected, not {}", json.kind()))
    }
}

/// A JSON value that has not been looked into.
#[derive(Clone, Copy)]
pub(super) struct Json<'a>(&'a RawValue);

/// What kind of value it is, with the value where it is a simple one.
pub(super) enum Scalar<'a> {
    Null,
    Boolean(bool),
    /// The number's text.
    Number(&'a str),
    String(Cow<'a, str>),
    Array,
    Object,
}

impl<'a> Json<'a> {
    /// The only value of a text.
    pub fn parse(bytes: &'a [u8]) -> Result<Json<'a>, Problem> {
        let text = std::str::from_utf8(bytes).map_err(|_| Problem::new("it is not UTF-8"))?;
        // Without its position and its category the message has nothing of the text.
        let raw = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Problem::new(format!("it is not JSON (line {line}, column {column})"))
        });
        raw.map(Json)
    }

    /// Its text.
    pub fn text(self) -> &'a str {
        self.0.get()
    }

    pub fn is_null(self) -> bool {
        self.text() == "null"
    }

    /// What it is, for people.
    fn kind(self) -> &'static str {
        match self.text().as_bytes().first() {
            Some(b'n') => "null",
            Some(b't' | b'f') => "a boolean",
            Some(b'"') => "a string",
            Some(b'[') => "an array",
            Some(b'{') => "an object",
            _ => "a number",
        }
    }

    pub fn scalar(self) -> Result<Scalar<'a>, Problem> {
        let text = self.text();
        Ok(match text.as_bytes().first() {
            Some(b'n') => Scalar::Null,
            Some(b't') => Scalar::Boolean(true),
            Some(b'f') => Scalar::Boolean(false),
            Some(b'"') => Scalar::String(self.string()?),
            Some(b'[') => Scalar::Array,
            Some(b'{') => Scalar::Object,
            _ => Scalar::Number(text),
        })
    }

    pub fn string(self) -> Result<Cow<'a, str>, Problem> {
        let text = self.text();
        let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        match inner {
            None => Err(Problem::expected("a string", self)),
            Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
            Some(_) => match serde_json::from_str(text) {
                Ok(owned) => Ok(Cow::Owned(owned)),
                Err(_) => Err(Problem::new("the string has half of a surrogate pair")),
            },
        }
    }

    pub fn i64(self) -> Result<i64, Problem> {
        self.text().parse().map_err(|_| Problem::expected("a whole number of 64 bits", self))
    }

    /// A whole number that is not negative.
    pub fn u64(self) -> Result<u64, Problem> {
        let whole = || Problem::expected("a whole number of 64 bits, not negative,", self);
        self.text().parse().map_err(|_| whole())
    }

    pub fn object(self) -> Result<Object<'a>, Problem> {
        match self.scalar()? {
            Scalar::Object => serde_json::from_str(self.text())
                .map_err(|_| Problem::new("a name in the object has half of a surrogate pair")),
            _ => Err(Problem::expected("an object", self)),
        }
    }

    pub fn array(self) -> Result<Vec<Json<'a>>, Problem> {
        match self.scalar()? {
            Scalar::Array => serde_json::from_str::<Array<'a>>(self.text())
                .map(|array| array.0)
                .map_err(|_| Problem::new("the array can not be read")),
            _ => Err(Problem::expected("an array", self)),
        }
    }

    /// The error that it is something else.
    pub fn is_not(self, expected: &str) -> Problem {
        Problem::expected(expected, self)
    }
}

/// An object's names and values, in their order.
pub(super) struct Object<'a>(pub Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Object<'a> {
    /// The value of that name; the last one, if there are several.
    pub fn get(&self, name: &str) -> Option<Json<'a>> {
        self.0.iter().rev().find(|(it, _)| it == name).map(|(_, value)| *value)
    }

    /// The same, with null as good as nothing.
    pub fn some(&self, name: &str) -> Option<Json<'a>> {
        self.get(name).filter(|value| !value.is_null())
    }

    /// Reads the value of that name, if there is one.
    pub fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(Json<'a>) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        let value = self.some(name).map(read).transpose();
        value.map_err(|problem| problem.within(name))
    }

    /// Reads the value of that name.
    pub fn require<T>(
        &self,
        name: &str,
        read: impl FnOnce(Json<'a>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let value = self.read(name, read)?;
        value.ok_or_else(|| Problem::new("it is missing, or null").within(name))
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut fields = Vec::with_capacity(map.size_hint().unwrap_or_default());
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &RawValue>()? {
                    fields.push((name, Json(value)));
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

struct Array<'a>(Vec<Json<'a>>);

impl<'de> Deserialize<'de> for Array<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Array<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Array<'de>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element::<&RawValue>()? {
                    items.push(Json(item));
                }
                Ok(Array(items))
            }
        }
        deserializer.deserialize_seq(Items)
    }
}

/// Writes a string with its quotes.
pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string is JSON, and a Vec takes it");
}

/// Whether the text is a JSON number.
pub(super) fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let exponent = exponent.map(|it| it.strip_prefix(['+', '-']).unwrap_or(it));
    are_digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(are_digits)
        && exponent.is_none_or(are_digits)
}
