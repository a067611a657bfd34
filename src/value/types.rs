//! The meaning of a column's type for the graph.

use std::sync::Arc;

use super::CaseFolding;

/// A PostgreSQL type, as far as wal2graph needs it. Domains are already resolved to their base.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// `boolean`.
    Boolean,
    /// `smallint`, `integer`, `bigint`.
    Integer,
    /// `oid`: an unsigned integer. It differs from [`Type::Integer`] only in comparisons of keys of
    /// both.
    Oid,
    /// `real`: it differs from [`Type::Double`] only in comparisons of keys of both.
    Real,
    /// `double precision`.
    Double,
    /// `numeric`.
    Numeric(NumericMode),
    /// A type whose value is PostgreSQL's own text form: strings, enums, addresses, ranges, ...
    Text(TextKind),
    /// `bytea`.
    Bytes,
    /// `date`.
    Date,
    /// `timestamp without time zone`.
    Timestamp,
    /// `timestamp with time zone`.
    TimestampTz,
    /// `time without time zone`.
    Time,
    /// `time with time zone`.
    TimeTz,
    /// `interval`.
    Interval,
    /// `json`: its text is the value, and it has no equality.
    Json,
    /// `jsonb`: its text is the value.
    Jsonb,
    /// `hstore`: an object of strings, as JSON text.
    Hstore,
    /// A composite type: an object, as JSON text.
    Composite(Arc<[Field]>),
    /// `point`.
    Point,
    /// PostGIS `geometry` or `geography`: a Point if it is one in SRID 4326, otherwise its text
    /// form.
    Geometry,
    /// pgvector's `vector` and `halfvec`: a list of floats.
    Vector,
    /// An array of any number of dimensions.
    Array {
        /// The type of its elements.
        element: Box<Type>,
        /// The delimiter between them: `,`, and `;` for `box`.
        delimiter: char,
    },
    /// A range, or a multirange: its text is the value.
    Range {
        /// The type of its bounds.
        element: Box<Type>,
        /// It is a set of ranges.
        multi: bool,
    },
    /// An unknown type: every value is a fallback to its text form.
    Unknown {
        /// `schema.name`, or the object id if nothing else is known.
        name: String,
    },
}

/// The graph form of `numeric`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NumericMode {
    /// A String with all its digits.
    #[default]
    Exact,
    /// A Float, rounded to the nearest; a String beyond a Float's range.
    Float,
    /// An Integer if the text has no decimal point and fits. Otherwise a Float whose shortest
    /// decimal form is the same number. Otherwise a String.
    Auto,
}

/// How text compares as a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TextKind {
    /// Unchanged: `text`, `varchar`, `name`, `"char"`.
    Plain,
    /// `char(n)`: trailing blanks do not count.
    Padded,
    /// `citext`: case does not count.
    CaseInsensitive(CaseFolding),
    /// `uuid`: one form only.
    Uuid,
    /// `inet`: with the network's length only if it is not the whole address.
    Inet,
    /// `cidr`: always with the network's length.
    Cidr,
    /// Another type, by name: equal values have one text, and values of other types never equal
    /// them.
    Named(Arc<str>),
    /// Equal values may have several texts, or equality is unknown. The text completes "it is ...".
    Incomparable(Arc<str>),
}

/// An attribute of a composite type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub r#type: Type,
}

impl Type {
    /// Text that compares as it is.
    pub const TEXT: Type = Type::Text(TextKind::Plain);

    /// A type that differs from others only by its name.
    pub fn named(name: &str) -> Type {
        Type::Text(TextKind::Named(name.into()))
    }

    /// A type whose values can not be keys; `why` completes "it is ...".
    pub(super) fn incomparable(why: &str) -> Type {
        Type::Text(TextKind::Incomparable(why.into()))
    }

    /// An array of `element` with the usual delimiter.
    pub fn array_of(element: Type) -> Type {
        Type::Array { element: Box::new(element), delimiter: ',' }
    }

    /// Whether equal values of a column of this type have one text, as PostgreSQL writes it. The column's modifier
    /// fixes the digits behind the point, or the blanks.
    pub fn has_one_text(&self, modifier: i32) -> bool {
        match self {
            Type::Numeric(_) | Type::Text(TextKind::Padded) => modifier >= 0,
            // There are two zeros.
            Type::Real | Type::Double | Type::Vector => false,
            Type::Text(TextKind::CaseInsensitive(_)) | Type::Interval | Type::Jsonb => false,
            Type::Range { element, .. } => element.has_one_text(-1),
            Type::Array { element, .. } => element.has_one_text(modifier),
            Type::Composite(fields) => fields.iter().all(|field| field.r#type.has_one_text(-1)),
            _ => true,
        }
    }

    /// The same type, with every `numeric` outside of JSON text in another mode.
    pub fn with_numeric_mode(self, mode: NumericMode) -> Type {
        match self {
            Type::Numeric(_) => Type::Numeric(mode),
            Type::Array { element, delimiter } => {
                Type::Array { element: Box::new(element.with_numeric_mode(mode)), delimiter }
            }
            other => other,
        }
    }

    /// The name of the property's type in the graph, for people: `Integer`, `List<Float>`,
    /// `ZonedDateTime`. It is stable, because it is part of the mapping's digest.
    pub fn graph_type(&self) -> String {
        let name = match self {
            Type::Boolean => "Boolean",
            Type::Integer | Type::Oid => "Integer",
            Type::Real | Type::Double | Type::Numeric(NumericMode::Float) => "Float",
            Type::Numeric(NumericMode::Auto) => "Integer|Float|String",
            Type::Numeric(NumericMode::Exact)
            | Type::Text(_)
            | Type::Range { .. }
            | Type::Unknown { .. } => "String",
            Type::Bytes => "ByteArray",
            Type::Date => "Date",
            Type::Timestamp => "LocalDateTime",
            Type::TimestampTz => "ZonedDateTime",
            Type::Time => "LocalTime",
            Type::TimeTz => "Time",
            Type::Interval => "Duration",
            Type::Json | Type::Jsonb | Type::Hstore | Type::Composite(_) => "String (JSON)",
            Type::Point => "Point",
            Type::Geometry => "Point|String",
            Type::Vector => "List<Float>",
            Type::Array { element, .. } if element.is_listable() => {
                return format!("List<{}>", element.graph_type());
            }
            Type::Array { .. } => "String (JSON)",
        };
        name.to_owned()
    }

    /// Whether a property may be a list of it. Neo4j stores no list of lists, and a byte array is a
    /// list.
    pub(super) fn is_listable(&self) -> bool {
        !matches!(
            self,
            Type::Bytes
                | Type::Json
                | Type::Jsonb
                | Type::Hstore
                | Type::Composite(_)
                | Type::Vector
                | Type::Array { .. }
        )
    }
}
