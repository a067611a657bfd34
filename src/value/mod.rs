//! Values: PostgreSQL's text in, Neo4j's property out.
//!
//! ```text
//! TypeCatalog --resolve(oid)--> Type --+-- parse(text) --> Mapped(Value) | Fallback(Value)
//!                                      +-- Comparable::value(text) --> Value, equal as SQL's `=`
//! ```
//!
//! Copy and stream share one codec. Both carry PostgreSQL's text form under the pinned session
//! settings (`DateStyle=ISO`, `IntervalStyle=iso_8601`, `TimeZone=UTC`, `extra_float_digits=3`,
//! `bytea_output=hex`, `lc_monetary=C`), so both give the same value by construction.
//!
//! Any text gives a value. If Neo4j can not hold it as the column's type (`infinity`, `24:00:00`,
//! an unknown type, malformed text), it becomes its text form, marked so that it can be counted.

mod array;
pub mod calendar;
mod canonical;
mod convert;
mod facts;
mod folding;
mod geometry;
mod json;
mod key;
mod numeric;
mod parse;
mod range;
mod sql;
mod stored;
mod temporal;
mod types;
mod valid;

pub use array::{Item as ArrayItem, read as read_array};
pub use canonical::write_quoted;
pub use facts::{FieldFacts, TypeCatalog, TypeFacts, TypeKind};
pub use folding::{CaseFolding, Characters, PROBES};
pub use key::{Comparable, Incomparable};
pub use numeric::scale_of_modifier;
pub use sql::postgres_array;
pub use stored::ColumnType;
pub use types::{Field, NumericMode, TextKind, Type};

pub use convert::uuid;

use bytes::Bytes;
use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Utc};

/// A property value as Neo4j stores it.
///
/// It is ordered and hashable, so it can be a key. Floats compare by [`f64::total_cmp`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Boolean.
    Boolean(bool),
    /// Integer.
    Integer(i64),
    /// Float, NaN and the infinities included.
    Float(Float),
    /// String.
    String(String),
    /// ByteArray.
    Bytes(Bytes),
    /// Date.
    Date(NaiveDate),
    /// LocalDateTime.
    LocalDateTime(NaiveDateTime),
    /// ZonedDateTime, always in UTC.
    ZonedDateTime(DateTime<Utc>),
    /// ZonedDateTime at this instant in UTC, with another offset. No column has it: others have set it, and to Neo4j it
    /// is another value than the same instant with UTC's.
    Elsewhere(NaiveDateTime, FixedOffsetSeconds),
    /// LocalTime.
    LocalTime(NaiveTime),
    /// Time with an offset.
    Time(NaiveTime, FixedOffsetSeconds),
    /// Duration.
    Duration(Duration),
    /// Point.
    Point(Point),
    /// List of values of one type.
    List(Vec<Value>),
}

impl Value {
    /// About how many bytes it has on its way to the graph.
    pub fn size_bytes(&self) -> usize {
        match self {
            Value::String(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(items) => items.iter().map(Value::size_bytes).sum(),
            _ => size_of::<Value>(),
        }
    }
}

/// An offset from UTC, in seconds east.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FixedOffsetSeconds(pub i32);

impl FixedOffsetSeconds {
    /// The same as chrono's type; `None` from one day on.
    pub fn to_chrono(self) -> Option<FixedOffset> {
        FixedOffset::east_opt(self.0)
    }
}

/// A float with a total order.
#[derive(Clone, Copy, Debug)]
pub struct Float(pub f64);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Float {}

impl PartialOrd for Float {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Float {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl std::hash::Hash for Float {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// A duration in Neo4j's four independent parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    /// Months.
    pub months: i64,
    /// Days.
    pub days: i64,
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanoseconds: i32,
}

/// A point in a coordinate reference system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// Neo4j's identifier of the system: 7203 cartesian, 4326 WGS-84.
    pub srid: i32,
    /// First coordinate.
    pub x: Float,
    /// Second coordinate.
    pub y: Float,
}

/// The result of reading a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// The value that the column's type promises.
    Mapped(Value),
    /// The text form, to be counted, because Neo4j can not hold the value as that type. It is a
    /// String. It is Bytes if the text is not UTF-8 (a database in SQL_ASCII), and a list of
    /// Strings for an array of an unknown type.
    Fallback(Value),
}

impl Conversion {
    /// The value, either way.
    pub fn value(&self) -> &Value {
        match self {
            Conversion::Mapped(value) | Conversion::Fallback(value) => value,
        }
    }

    /// The value, either way.
    pub fn into_value(self) -> Value {
        match self {
            Conversion::Mapped(value) | Conversion::Fallback(value) => value,
        }
    }

    /// Whether the value is not of the column's type.
    pub fn is_fallback(&self) -> bool {
        matches!(self, Conversion::Fallback(_))
    }
}
