//! Row events in the graph's terms.

use crate::value::Value;

use super::{key::Key, model::TableIndex};

/// One property value of a row event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// NULL: the property is removed.
    Null,
    /// Not sent: the property keeps its value.
    Unchanged,
    /// The property is set.
    Value(Value),
}

/// A row's value for one relationship that it owns, or a join row's value for one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// NULL (in any column of a composite reference): no relationship.
    Null,
    /// Not sent: the relationship stays.
    Unchanged,
    /// The target's key (for [`super::model::ReferenceBy::Unique`]: the unique value).
    To(Key),
}

/// The columns of a row event, without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// One cell for each property of the table's shape, in its order.
    pub properties: Vec<Cell>,
    /// In a node table: one for each reference of its shape, in its order. In a join table: its
    /// start, then its end.
    pub references: Vec<Reference>,
}

impl Row {
    /// Its largest property value: the property's index, and about how many bytes it has.
    pub fn largest(&self) -> Option<(usize, usize)> {
        let sizes = self.properties.iter().map(|cell| match cell {
            Cell::Value(value) => value.size_bytes(),
            Cell::Null | Cell::Unchanged => 0,
        });
        sizes.enumerate().max_by_key(|(_, bytes)| *bytes)
    }

    /// About how many bytes its property values have.
    pub fn size_bytes(&self) -> usize {
        let values = self.properties.iter().filter_map(|cell| match cell {
            Cell::Value(value) => Some(value.size_bytes()),
            Cell::Null | Cell::Unchanged => None,
        });
        values.sum()
    }
}

/// One change, in the graph's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A row was inserted; no cell of `row` is unchanged.
    Insert {
        /// The table.
        table: TableIndex,
        /// Its key.
        key: Key,
        /// Its columns.
        row: Row,
    },
    /// A row changed and kept its key.
    Update {
        /// The table.
        table: TableIndex,
        /// Its key.
        key: Key,
        /// The columns that the stream carried.
        row: Row,
    },
    /// A row changed its key; `from` and `to` differ.
    Move {
        /// The table.
        table: TableIndex,
        /// The key it had.
        from: Key,
        /// The key it has.
        to: Key,
        /// The columns that the stream carried.
        row: Row,
    },
    /// A row went.
    Delete {
        /// The table.
        table: TableIndex,
        /// The key it had.
        key: Key,
    },
    /// All rows of the tables went.
    Truncate {
        /// The mapped ones of the truncated tables.
        tables: Vec<TableIndex>,
    },
}
