//! What a column makes of a value that is put into it: the form in which it has the value, or nothing.
//!
//! ```text
//! numeric(6,2)   1.005 -> 1.01   12345.6 -> none        char(5)      "ab" -> "ab   "
//! timestamp(0)   05:06:07.5 -> 05:06:08                 varchar(3)   "abc " -> "abc", "abcd" -> none
//! ```
//!
//! PostgreSQL has done this to all that it sends. What others wrote into a topic may be anything.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::array::{self, Item};
use super::canonical::write_quoted;
use super::facts::TypeCatalog;
use super::numeric::{self, Limits};
use super::temporal::{self, FRACTION_DIGITS, Smallest};
use super::types::Type;

/// `varlena`'s header is counted in the modifier of types with a length.
const HEADER: i32 = 4;
/// The longest `name`, in bytes.
const NAME_BYTES: usize = 63;

/// The type of a column, with its modifier.
#[derive(Clone, Debug)]
pub struct ColumnType {
    r#type: Type,
    limit: Limit,
}

/// What its type does not say of a column.
#[derive(Clone, Debug)]
enum Limit {
    None,
    Integers(RangeInclusive<i64>),
    Numeric(Limits),
    /// `char(n)`.
    Padded(usize),
    /// `varchar(n)`.
    Longest(usize),
    /// `name`.
    Name,
    /// `"char"`.
    OneByte,
    /// An enum's.
    Labels(Arc<HashSet<Box<str>>>),
    /// Digits of a fraction of a second.
    Fraction(u32),
    Interval(Smallest, u32),
    Bits {
        length: Option<usize>,
        varying: bool,
    },
    /// Of an array's elements.
    Elements(Box<ColumnType>),
}

impl TypeCatalog {
    /// The type of a column with this modifier.
    pub fn column_type(&self, oid: u32, modifier: i32) -> ColumnType {
        self.column_type_within(oid, modifier, true)
    }

    fn column_type_within(&self, oid: u32, modifier: i32, may_be_array: bool) -> ColumnType {
        let r#type = self.resolve(oid);
        let (oid, modifier) = self.base(oid, modifier);
        let length = || usize::try_from(modifier.checked_sub(HEADER)?).ok();
        let limit = match oid {
            21 => Limit::Integers(i16::MIN.into()..=i16::MAX.into()),
            23 => Limit::Integers(i32::MIN.into()..=i32::MAX.into()),
            1700 => Limits::of_modifier(modifier).map_or(Limit::None, Limit::Numeric),
            1042 => length().map_or(Limit::None, Limit::Padded),
            1043 => length().map_or(Limit::None, Limit::Longest),
            19 => Limit::Name,
            18 => Limit::OneByte,
            1083 | 1114 | 1184 | 1266 => Limit::Fraction(fraction_digits(modifier)),
            1186 => interval_limit(modifier),
            1560 | 1562 => {
                Limit::Bits { length: usize::try_from(modifier).ok(), varying: oid == 1562 }
            }
            _ => match (self.labels(oid), self.element(oid)) {
                (Some(labels), _) => {
                    let labels = labels.iter().map(|label| Box::from(&**label));
                    Limit::Labels(Arc::new(labels.collect()))
                }
                (None, Some(element)) if may_be_array => {
                    let element = self.column_type_within(element, modifier, false);
                    Limit::Elements(Box::new(element))
                }
                _ => Limit::None,
            },
        };
        ColumnType { r#type, limit }
    }
}

fn fraction_digits(modifier: i32) -> u32 {
    u32::try_from(modifier).ok().filter(|it| *it < FRACTION_DIGITS).unwrap_or(FRACTION_DIGITS)
}

/// An interval's modifier has the fields as bits, above the precision.
fn interval_limit(modifier: i32) -> Limit {
    /// The bits from the smallest unit on.
    const FIELDS: [(i32, Smallest); 5] = [
        (12, Smallest::Second),
        (11, Smallest::Minute),
        (10, Smallest::Hour),
        (3, Smallest::Day),
        (1, Smallest::Month),
    ];
    if modifier < 0 {
        return Limit::Interval(Smallest::Second, FRACTION_DIGITS);
    }
    let has = |bit: i32| modifier >> (16 + bit) & 1 == 1;
    let smallest = FIELDS.iter().find(|(bit, _)| has(*bit)).map_or(Smallest::Year, |it| it.1);
    Limit::Interval(smallest, fraction_digits(modifier & 0xffff))
}

impl ColumnType {
    /// The text of the value that the column has if this one is put into it; `None` if PostgreSQL refuses it.
    pub fn stored<'a>(&self, text: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let Ok(text) = std::str::from_utf8(text) else {
            return self.r#type.has(text).then_some(Cow::Borrowed(text));
        };
        Some(match self.stored_text(text)? {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })
    }

    fn stored_text<'a>(&self, text: &'a str) -> Option<Cow<'a, str>> {
        if !self.r#type.has_text(text) {
            return None;
        }
        let as_it_is = Cow::Borrowed(text);
        let is_infinite = matches!(text, "infinity" | "-infinity");
        Some(match (&self.r#type, &self.limit) {
            (Type::Integer, limit) => {
                let number: i64 = text.parse().ok()?;
                let is_within = !matches!(limit, Limit::Integers(all) if !all.contains(&number));
                is_within.then(|| or_same(text, number.to_string()))?
            }
            (Type::Numeric(_), limit) => numeric_of(text, limit)?,
            (Type::Date, _) if !is_infinite => or_same(text, temporal::stored_date(text)?),
            (Type::Timestamp | Type::TimestampTz, Limit::Fraction(digits)) if !is_infinite => {
                let has_zone = self.r#type == Type::TimestampTz;
                or_same(text, temporal::stored_timestamp(text, has_zone, *digits)?)
            }
            (Type::Time | Type::TimeTz, Limit::Fraction(digits)) => {
                let has_zone = self.r#type == Type::TimeTz;
                or_same(text, temporal::stored_time(text, has_zone, *digits)?)
            }
            (Type::Interval, Limit::Interval(smallest, digits)) if !is_infinite => {
                or_same(text, temporal::stored_interval(text, *smallest, *digits)?)
            }
            (_, Limit::Padded(length)) => {
                let cut = cut_to(text, *length)?;
                let missing = length.saturating_sub(cut.chars().count());
                match missing {
                    0 => Cow::Borrowed(cut),
                    _ => Cow::Owned(format!("{cut}{}", " ".repeat(missing))),
                }
            }
            (_, Limit::Longest(length)) => Cow::Borrowed(cut_to(text, *length)?),
            (_, Limit::Name) => Cow::Borrowed(&text[..text.floor_char_boundary(NAME_BYTES)]),
            // A byte beyond ASCII has an octal form.
            (_, Limit::OneByte) => (text.len() <= 1 || is_octal(text)).then_some(as_it_is)?,
            (_, Limit::Labels(labels)) => labels.contains(text).then_some(as_it_is)?,
            (_, Limit::Bits { length, varying }) => {
                let is_long_enough = length.is_none_or(|length| match varying {
                    true => text.len() <= length,
                    false => text.len() == length,
                });
                let are_bits = text.bytes().all(|bit| matches!(bit, b'0' | b'1'));
                (is_long_enough && are_bits).then_some(as_it_is)?
            }
            (Type::Array { delimiter, .. }, Limit::Elements(element)) => {
                let (bounds, _) = array::split_bounds(text)?;
                let items = array::read(text, *delimiter)?;
                let mut out = bounds.to_owned();
                match element.write_items(*delimiter, &items, &mut out)? {
                    true => Cow::Owned(out),
                    false => as_it_is,
                }
            }
            _ => as_it_is,
        })
    }

    /// Writes an array of such elements; returns whether one of them has another form than it had.
    fn write_items(&self, delimiter: char, items: &[Item<'_>], out: &mut String) -> Option<bool> {
        let mut differs = false;
        out.push('{');
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push(delimiter);
            }
            match item {
                Item::Null => out.push_str("NULL"),
                Item::Text(text) => {
                    let stored = self.stored_text(text)?;
                    differs |= stored != *text;
                    write_quoted(&stored, out);
                }
                Item::Array(items) => differs |= self.write_items(delimiter, items, out)?,
            }
        }
        out.push('}');
        Some(differs)
    }
}

fn or_same(text: &str, stored: String) -> Cow<'_, str> {
    if stored == text { Cow::Borrowed(text) } else { Cow::Owned(stored) }
}

fn numeric_of<'a>(text: &'a str, limit: &Limit) -> Option<Cow<'a, str>> {
    let limits = match limit {
        Limit::Numeric(limits) => Some(*limits),
        _ => None,
    };
    match text {
        "NaN" => Some(Cow::Borrowed(text)),
        "Infinity" | "-Infinity" => limits.is_none().then_some(Cow::Borrowed(text)),
        _ => numeric::stored(text, limits).map(|stored| or_same(text, stored)),
    }
}

/// The text's first characters: those behind them have to be blanks.
fn cut_to(text: &str, length: usize) -> Option<&str> {
    let end = text.char_indices().nth(length).map_or(text.len(), |(at, _)| at);
    let (kept, rest) = text.split_at(end);
    rest.bytes().all(|byte| byte == b' ').then_some(kept)
}

fn is_octal(text: &str) -> bool {
    let digits = text.strip_prefix('\\').map(str::as_bytes);
    matches!(digits, Some([b'0'..=b'3', b'0'..=b'7', b'0'..=b'7']))
}
