//! Whether a text can be a column's value: whether PostgreSQL may have written it.
//!
//! What comes from the server is its column's value. What others wrote into a topic may be anything:
//! as a property any text is kept, but a key that no row can have is no key.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::array::{self, Item};
use super::canonical::canonical;
use super::convert::uuid;
use super::types::{TextKind, Type};
use super::{json, numeric, parse, range, temporal};

impl Type {
    /// Whether the text is a value's of the type, in PostgreSQL's form. Of types without a form of
    /// their own any text is.
    pub(super) fn has(&self, text: &[u8]) -> bool {
        match (std::str::from_utf8(text), self) {
            (Ok(text), _) => self.has_text(text),
            // A database in SQL_ASCII.
            (Err(_), Type::Text(kind)) => {
                !matches!(kind, TextKind::Uuid | TextKind::Inet | TextKind::Cidr)
            }
            (Err(_), _) => false,
        }
    }

    pub(super) fn has_text(&self, text: &str) -> bool {
        let is_infinity = || matches!(text, "infinity" | "-infinity");
        let is_timestamp =
            |zone| temporal::stored_timestamp(text, zone, temporal::FRACTION_DIGITS).is_some();
        let is_time = |zone| temporal::stored_time(text, zone, temporal::FRACTION_DIGITS).is_some();
        match self {
            Type::Boolean => parse::boolean(text).is_some(),
            Type::Integer => text.parse::<i64>().is_ok(),
            Type::Oid => text.parse::<u32>().is_ok(),
            Type::Real => numeric::is_real(text),
            Type::Double => numeric::nearest_float(text).is_some(),
            Type::Numeric(_) => {
                matches!(text, "NaN" | "Infinity" | "-Infinity")
                    || numeric::normalise(text).is_some()
            }
            Type::Text(TextKind::Uuid) => uuid(text).as_deref() == Some(text),
            Type::Text(TextKind::Inet) => is_network(text, false),
            Type::Text(TextKind::Cidr) => is_network(text, true),
            Type::Bytes => parse::hex_bytes(text.strip_prefix("\\x")).is_some(),
            Type::Date => is_infinity() || temporal::stored_date(text).is_some(),
            Type::Timestamp => is_infinity() || is_timestamp(false),
            Type::TimestampTz => is_infinity() || is_timestamp(true),
            Type::Time => is_time(false),
            Type::TimeTz => is_time(true),
            Type::Interval => is_infinity() || temporal::interval(text).is_some(),
            Type::Jsonb => json::is_json(text),
            Type::Vector => canonical(self, text).is_some(),
            Type::Hstore => !self.parse_str(text).is_fallback(),
            Type::Range { element, multi } => {
                let bound = |bound: &str| element.has_text(bound).then(String::new);
                range::rewrite(text, *multi, bound).is_some()
            }
            Type::Array { element, delimiter } => {
                array::read(text, *delimiter).is_some_and(|items| are_of(element, &items))
            }
            Type::Composite(fields) => {
                json::read_composite(text, fields.len()).is_some_and(|values| {
                    let has = |value: &str, r#type: &Type| r#type.has_text(value);
                    let mut pairs = fields.iter().zip(&values);
                    pairs.all(|(field, value)| {
                        value.as_deref().is_none_or(|value| has(value, &field.r#type))
                    })
                })
            }
            Type::Text(_) => !text.contains('\0'),
            Type::Json | Type::Point | Type::Geometry | Type::Unknown { .. } => true,
        }
    }
}

fn are_of(element: &Type, items: &[Item<'_>]) -> bool {
    items.iter().all(|item| match item {
        Item::Null => true,
        Item::Text(text) => element.has_text(text),
        Item::Array(items) => are_of(element, items),
    })
}

/// An address, or a network, which always has its length.
fn is_network(text: &str, has_length: bool) -> bool {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let bits = match address.contains(':') {
        true => address.parse::<Ipv6Addr>().map(|_| 128),
        false => address.parse::<Ipv4Addr>().map(|_| 32),
    };
    let (Ok(bits), fits) =
        (bits, |length: &str, bits: u8| length.parse::<u8>().is_ok_and(|length| length <= bits))
    else {
        return false;
    };
    length.map_or(!has_length, |length| fits(length, bits))
}

#[cfg(test)]
mod tests {
    use super::super::types::{Field, NumericMode};
    use super::*;

    fn assert_has(r#type: &Type, all: &[&str]) {
        for text in all {
            assert!(r#type.has(text.as_bytes()), "{type:?} has {text:?}");
        }
    }

    fn assert_lacks(r#type: &Type, all: &[&str]) {
        for text in all {
            assert!(!r#type.has(text.as_bytes()), "{type:?} has no {text:?}");
        }
    }

    #[test]
    fn a_type_has_what_postgresql_writes_of_it_and_nothing_else() {
        let numeric = Type::Numeric(NumericMode::Exact);
        let range = Type::Range { element: Box::new(Type::Integer), multi: false };
        let multirange = Type::Range { element: Box::new(Type::Date), multi: true };
        let array = Type::array_of(Type::Integer);
        let field = |name: &str, r#type| Field { name: name.to_owned(), r#type };
        let composite = Type::Composite([field("a", Type::Integer), field("b", Type::TEXT)].into());
        let uuid = Type::Text(TextKind::Uuid);
        let inet = Type::Text(TextKind::Inet);
        let cidr = Type::Text(TextKind::Cidr);
        let cases: [(&Type, &[&str], &[&str]); 21] = [
            (&Type::Boolean, &["t", "f"], &["true", "1", ""]),
            (&Type::Integer, &["0", "-9223372036854775808"], &["3.0", "x", "", "1e3"]),
            (&Type::Oid, &["0", "4294967295"], &["-1", "4294967296", "x"]),
            (&Type::Real, &["1.5", "NaN", "-Infinity", "1e+30"], &["x", "", "1e999"]),
            (&numeric, &["1.50", "-0.1", "NaN", "Infinity"], &["x", "", "1.2.3"]),
            (
                &uuid,
                &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
                &["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99", ""],
            ),
            (&inet, &["10.1.2.3", "10.1.2.3/8", "::1", "::1/64"], &["10.1", "10.1.2.3/33", ""]),
            (&cidr, &["10.0.0.0/8", "::/0"], &["10.0.0.0", "x/8"]),
            (&Type::Bytes, &["\\x", "\\x00ff"], &["00ff", "\\x0", "\\xgg"]),
            (
                &Type::Date,
                &["2024-02-29", "0001-02-29 BC", "infinity", "-infinity", "5874897-12-31"],
                &["2023-02-29", "2024-13-01", "0000-01-01", "x", "", "2024-02-29 00:00:00"],
            ),
            (
                &Type::Timestamp,
                &["2024-02-29 05:06:07.12", "infinity", "294276-12-31 23:59:59.999999"],
                &["2024-02-29", "2024-02-29 24:00:00", "2024-02-29 05:06:07+00", "17"],
            ),
            (
                &Type::TimestampTz,
                &["2024-02-29 05:06:07.12+00", "0044-03-15 05:06:07+00 BC"],
                &["2024-02-29 05:06:07", "x"],
            ),
            (&Type::Time, &["05:06:07.12", "24:00:00"], &["25:00:00", "05:06", "05:06:07+00"]),
            (&Type::TimeTz, &["05:06:07+05:30", "24:00:00-15:59"], &["05:06:07", "x"]),
            (&Type::Interval, &["P1Y2M3DT4H5M6.7S", "PT0S", "infinity"], &["1 mon", "x"]),
            (&Type::Jsonb, &["{\"a\": [1, null]}", "3"], &["{", "x"]),
            (&range, &["[1,5)", "(,5)", "empty"], &["[a,5)", "1,5"]),
            (&multirange, &["{[2024-01-01,2024-01-02)}", "{}"], &["{[x,y)}", "[)"]),
            (&array, &["{1,NULL,{2,3}}", "[0:1]={7,8}", "{}"], &["{x}", "1"]),
            (&composite, &["(1,\"a b\")", "(,)"], &["(x,y)", "(1)"]),
            (&Type::TEXT, &["", "anything"], &[]),
        ];
        for (r#type, has, lacks) in cases {
            assert_has(r#type, has);
            assert_lacks(r#type, lacks);
        }
        assert!(Type::TEXT.has(b"\xff") && !Type::Integer.has(b"\xff"));
    }
}
