//! Row events in the graph's terms.

use crate::value::Value;

use super::model::TableIndex;

/// The key of a node or of a keyed relationship: one value for each key property. Never NULL,
/// already normalised, so that equal keys are equal values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Box<[Value]>);

/// One property value of a row event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// NULL: the property is removed.
    Null,
    /// Not sent: the property is left alone.
    Unchanged,
    /// The property is set.
    Value(Value),
}

/// What a row says of one relationship it owns, or a join row of one of its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// NULL (in any column of a composite reference): no relationship.
    Null,
    /// Not sent: left alone.
    Unchanged,
    /// The target's key (for [`super::model::ReferenceBy::Unique`]: the unique value).
    To(Key),
}

/// The columns of a row event, without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// One cell a property of the table's shape, in its order.
    pub properties: Vec<Cell>,
    /// A node table: one a reference of its shape, in its order. A join table: its start, then its
    /// end.
    pub references: Vec<Reference>,
}

/// One change, in the graph's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A row came to be; nothing in `row` is unchanged.
    Insert {
        /// Whose row.
        table: TableIndex,
        /// Its key.
        key: Key,
        /// Its columns.
        row: Row,
    },
    /// A row changed and kept its key.
    Update {
        /// Whose row.
        table: TableIndex,
        /// Its key.
        key: Key,
        /// Its columns, as far as they came.
        row: Row,
    },
    /// A row changed its key; `from` and `to` differ.
    Move {
        /// Whose row.
        table: TableIndex,
        /// The key it had.
        from: Key,
        /// The key it has.
        to: Key,
        /// Its columns, as far as they came.
        row: Row,
    },
    /// A row went.
    Delete {
        /// Whose row.
        table: TableIndex,
        /// The key it had.
        key: Key,
    },
    /// All rows of the tables went.
    Truncate {
        /// The mapped tables among those truncated.
        tables: Vec<TableIndex>,
    },
}
