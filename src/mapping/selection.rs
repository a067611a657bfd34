//! The columns of a table that a copy reads.
//!
//! ```text
//! nodes          all of them
//! relationships  the key and what refers: wide values are not read twice
//! ```

use crate::graph::{Pass, TableIndex, model::Shape};

use super::{Mapping, TableColumns};

/// Columns of a table, in the order of their texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Indexes into [`TableColumns::columns`].
    columns: Vec<usize>,
    /// For each of those columns, the index of its text; `None`: it is not read.
    places: Vec<Option<usize>>,
}

impl Selection {
    /// All that are mapped.
    pub fn all(table: &TableColumns) -> Self {
        Selection::those(table, |_| true)
    }

    /// The columns that a pass needs. The other columns of its rows are unchanged. A pass over
    /// nodes uses [`Selection::all`].
    pub fn of_pass(mapping: &Mapping, table: TableIndex, pass: Pass) -> Self {
        let columns = mapping.columns(table);
        let is_node = matches!(mapping.model.table(table).shape, Shape::Node(_));
        if pass != Pass::Relationships || !is_node {
            return Selection::all(columns);
        }
        let references = columns.references.iter().flat_map(|it| &it.slots);
        let slots: Vec<usize> =
            columns.key.iter().chain(references).map(|slot| slot.column).collect();
        Selection::those(columns, |column| slots.contains(&column))
    }

    fn those(table: &TableColumns, wanted: impl Fn(usize) -> bool) -> Self {
        let columns: Vec<usize> = (0..table.columns.len()).filter(|it| wanted(*it)).collect();
        let mut places = vec![None; table.columns.len()];
        for (place, column) in columns.iter().enumerate() {
            places[*column] = Some(place);
        }
        Selection { columns, places }
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.columns.len()
    }

    /// Their names, in order.
    pub fn names<'t>(&self, table: &'t TableColumns) -> impl Iterator<Item = &'t str> {
        self.columns.iter().map(|column| table.columns[*column].name.as_str())
    }

    /// The index of a column's text.
    pub(super) fn place(&self, column: usize) -> Option<usize> {
        self.places[column]
    }
}
