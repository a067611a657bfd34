//! What a column's type means for the graph.

use std::sync::Arc;

/// A PostgreSQL type, as far as it matters to us. Domains are resolved to their base already.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// `boolean`.
    Boolean,
    /// `smallint`, `integer`, `bigint`, `oid`.
    Integer,
    /// `real`: told from [`Type::Double`] only where keys of both are compared.
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
    /// `json`, `jsonb`: their text is the value.
    Json,
    /// `hstore`: an object of strings, as JSON text.
    Hstore,
    /// A composite type: an object, as JSON text.
    Composite(Arc<[Field]>),
    /// `point`.
    Point,
    /// PostGIS `geometry` or `geography`: a Point if it is one in SRID 4326, else its text form.
    Geometry,
    /// pgvector's `vector` and `halfvec`: a list of floats.
    Vector,
    /// An array of any number of dimensions.
    Array {
        /// The type of its elements.
        element: Box<Type>,
        /// What stands between them: `,`, for `box` a `;`.
        delimiter: char,
    },
    /// A type that nothing is known of: every value is a fallback to its text form.
    Unknown {
        /// `schema.name`, or the object id if that is all there is.
        name: String,
    },
}

/// What becomes of `numeric`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NumericMode {
    /// A String with all its digits.
    #[default]
    Exact,
    /// A Float, rounded to the nearest; a String where it is beyond a Float's range.
    Float,
    /// An Integer where the text has no decimal point and it fits, else a Float whose shortest
    /// decimal form is the same number, else a String.
    Auto,
}

/// How text compares as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextKind {
    /// As it is.
    Plain,
    /// `char(n)`: trailing blanks do not count.
    Padded,
    /// `citext`: case does not count.
    CaseInsensitive(CaseFolding),
    /// `uuid`: one form only.
    Uuid,
}

/// Which letters `lower` knows, by the database's `datctype`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CaseFolding {
    /// A to Z only: `C` and `POSIX`. There `Ä` and `ä` are two keys.
    Ascii,
    /// All of Unicode's.
    #[default]
    Unicode,
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

    /// An array of `element` with the usual delimiter.
    pub fn array_of(element: Type) -> Type {
        Type::Array { element: Box::new(element), delimiter: ',' }
    }

    /// The same type with every `numeric` outside of JSON text in another mode.
    pub fn with_numeric_mode(self, mode: NumericMode) -> Type {
        match self {
            Type::Numeric(_) => Type::Numeric(mode),
            Type::Array { element, delimiter } => {
                Type::Array { element: Box::new(element.with_numeric_mode(mode)), delimiter }
            }
            other => other,
        }
    }

    /// Names the property's type in the graph, for people: `Integer`, `List<Float>`,
    /// `ZonedDateTime`. The text is stable: it takes part in the mapping's digest.
    pub fn graph_type(&self) -> String {
        let name = match self {
            Type::Boolean => "Boolean",
            Type::Integer => "Integer",
            Type::Real | Type::Double | Type::Numeric(NumericMode::Float) => "Float",
            Type::Numeric(NumericMode::Auto) => "Integer|Float|String",
            Type::Numeric(NumericMode::Exact) | Type::Text(_) | Type::Unknown { .. } => "String",
            Type::Bytes => "ByteArray",
            Type::Date => "Date",
            Type::Timestamp => "LocalDateTime",
            Type::TimestampTz => "ZonedDateTime",
            Type::Time => "LocalTime",
            Type::TimeTz => "Time",
            Type::Interval => "Duration",
            Type::Json | Type::Hstore | Type::Composite(_) => "String (JSON)",
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

    /// A list of it may be a property. Neo4j stores no list of lists, and a byte array is one.
    pub(super) fn is_listable(&self) -> bool {
        !matches!(
            self,
            Type::Bytes
                | Type::Json
                | Type::Hstore
                | Type::Composite(_)
                | Type::Vector
                | Type::Array { .. }
        )
    }

    pub(super) fn is_temporal(&self) -> bool {
        matches!(
            self,
            Type::Date
                | Type::Timestamp
                | Type::TimestampTz
                | Type::Time
                | Type::TimeTz
                | Type::Interval
        )
    }
}
