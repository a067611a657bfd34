//! The rows that a record touches, by the values of their keys.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use crate::{
    catalog::{FoundBy, TableName},
    change::{Before, Cell, Change, Relation, Tuple},
    envelope::Decoded,
};

/// The columns that tell rows apart, by table.
pub struct Keys(HashMap<TableName, Vec<String>>);

/// A row, or all rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TouchedRow {
    /// The table.
    pub table: TableName,
    which: Which,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Which {
    /// With this key.
    Key(Vec<Bytes>),
    /// The record does not say which.
    Unknown,
    /// All of them.
    All,
}

impl TouchedRow {
    /// A row of the table, and which one is not known.
    pub fn unknown(table: TableName) -> Self {
        TouchedRow { table, which: Which::Unknown }
    }

    /// See [`TouchedRow::unknown`].
    pub fn is_unknown(&self) -> bool {
        self.which == Which::Unknown
    }

    /// The record empties the table.
    pub fn is_whole_table(&self) -> bool {
        self.which == Which::All
    }
}

impl Keys {
    /// Of a mapping.
    pub fn new(tables: Vec<(TableName, FoundBy)>) -> Self {
        Keys(tables.into_iter().map(|(table, by)| (table, by.key)).collect())
    }

    /// The rows that a record touches, under their old and their new key.
    pub fn touched(&self, said: &[Decoded]) -> BTreeSet<TouchedRow> {
        let mut rows = BTreeSet::new();
        for decoded in said {
            match decoded {
                Decoded::Read { relation, row, .. } => {
                    rows.insert(self.row(relation, row));
                }
                Decoded::Change { change, .. } => rows.extend(self.of_change(change)),
                _ => {}
            }
        }
        rows
    }

    fn of_change(&self, change: &Change) -> Vec<TouchedRow> {
        match change {
            Change::Insert { relation, new } => vec![self.row(relation, new)],
            Change::Update { relation, before, new } => {
                let old = tuple_of(before).map(|old| self.row(relation, old));
                old.into_iter().chain([self.row(relation, new)]).collect()
            }
            Change::Delete { relation, before } => match tuple_of(before) {
                Some(old) => vec![self.row(relation, old)],
                None => vec![TouchedRow::unknown(name_of(relation))],
            },
            Change::Truncate { relations } => {
                let all = relations.iter().map(|relation| name_of(relation));
                all.map(|table| TouchedRow { table, which: Which::All }).collect()
            }
            Change::Message { .. } => Vec::new(),
        }
    }

    fn row(&self, relation: &Relation, row: &Tuple) -> TouchedRow {
        let table = name_of(relation);
        let value = |name: &String| {
            let place = relation.columns.iter().position(|column| column.name == *name)?;
            match row.get(place)? {
                Cell::Text(text) => Some(text.clone()),
                Cell::Null | Cell::Unchanged => None,
            }
        };
        let key = self.0.get(&table).and_then(|key| key.iter().map(value).collect());
        TouchedRow { table, which: key.map_or(Which::Unknown, Which::Key) }
    }
}

fn name_of(relation: &Relation) -> TableName {
    TableName::new(&relation.schema, &relation.name)
}

fn tuple_of(before: &Before) -> Option<&Tuple> {
    match before {
        Before::Absent => None,
        Before::Key(old) | Before::Full(old) => Some(old),
    }
}
