//! Folding turns a batch of row events into each table's final rows and the steps of its keys.
//!
//! ```text
//! stream order:  insert 1   update 1   move 1 -> 2   delete 3   insert 3
//! rows:          2: columns of all three merged       3: the new row
//! steps:         move 1 -> 2, drop 3                  (in stream order, never collapsed)
//! ```
//!
//! `rows` needs no order, because the last write of a key wins. `steps` does: a chain of key
//! changes in another order moves the wrong rows. A delete is a step even if its insert is in the
//! same batch, because a copy or an earlier run may have created the node already.

use std::collections::BTreeMap;

use crate::lsn::Stamp;

use super::{
    Key,
    model::TableIndex,
    mutation::{Cell, Event, Reference, Row},
    statement::Reach,
};

/// A folded batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mutations {
    /// The mutations of each table in the batch.
    pub tables: BTreeMap<TableIndex, TableMutations>,
}

/// A batch's mutations of one table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableMutations {
    /// The rows that are removed first, among those older than the batch.
    pub truncate: Option<Reach>,
    /// Deletes and key changes, in stream order, after the truncate.
    pub steps: Vec<Step>,
    /// The rows at their final keys.
    pub rows: BTreeMap<Key, FoldedRow>,
}

/// A delete or a change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The row at the key went.
    Drop(Key),
    /// The row at `from` has moved to `to`.
    Move {
        /// The key it had.
        from: Key,
        /// The key it has.
        to: Key,
    },
}

/// A row at the end of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldedRow {
    /// Its columns. Columns that no event of the batch carried are unchanged.
    pub row: Row,
    /// The batch inserted it. So the graph has nothing that it owned before, unless a copy or a
    /// replay wrote it.
    pub inserted: bool,
    /// Its key changed in this batch.
    pub moved: bool,
    /// The stamp of the last event that filled it, if stamps are written.
    pub stamp: Option<Stamp>,
}

impl Mutations {
    /// Folds events in stream order.
    pub fn fold(events: impl IntoIterator<Item = Event>) -> Self {
        let mut mutations = Mutations::default();
        for event in events {
            mutations.push(event);
        }
        mutations
    }

    /// Folds one more event.
    pub fn push(&mut self, event: Event) {
        self.push_at(event, None);
    }

    /// Folds one more event, with its stamp.
    pub fn push_at(&mut self, event: Event, stamp: Option<Stamp>) {
        match event {
            Event::Insert { table, key, row } => {
                self.table(table).rows.insert(key, FoldedRow::inserted(row, stamp));
            }
            Event::Update { table, key, row } => {
                let rows = &mut self.table(table).rows;
                match rows.get_mut(&key) {
                    Some(known) => known.merge(row, stamp),
                    None => drop(rows.insert(key, FoldedRow::updated(row, stamp))),
                }
            }
            Event::Move { table, from, to, row } => {
                assert!(from != to, "a move changes the key");
                let table = self.table(table);
                let moved = match table.rows.remove(&from) {
                    Some(mut known) => {
                        known.merge(row, stamp);
                        FoldedRow { moved: true, ..known }
                    }
                    None => FoldedRow { moved: true, ..FoldedRow::updated(row, stamp) },
                };
                table.rows.insert(to.clone(), moved);
                table.steps.push(Step::Move { from, to });
            }
            Event::Delete { table, key } => {
                let table = self.table(table);
                table.rows.remove(&key);
                table.steps.push(Step::Drop(key));
            }
            Event::Truncate { tables } => {
                let reach = stamp.map_or(Reach::All, Reach::Before);
                for table in tables {
                    let table = self.table(table);
                    let truncate = table.truncate.max(Some(reach));
                    *table = TableMutations { truncate, ..TableMutations::default() };
                }
            }
        }
    }

    fn table(&mut self, table: TableIndex) -> &mut TableMutations {
        self.tables.entry(table).or_default()
    }
}

impl FoldedRow {
    fn updated(row: Row, stamp: Option<Stamp>) -> Self {
        FoldedRow { row, inserted: false, moved: false, stamp }
    }

    /// A row that came to be.
    pub(super) fn inserted(row: Row, stamp: Option<Stamp>) -> Self {
        FoldedRow { inserted: true, ..FoldedRow::updated(row, stamp) }
    }

    fn merge(&mut self, later: Row, stamp: Option<Stamp>) {
        self.row.merge(later);
        self.stamp = stamp;
    }
}

impl Row {
    /// Takes the columns of `later`; its unchanged columns keep their values.
    fn merge(&mut self, later: Row) {
        for (known, came) in self.properties.iter_mut().zip(later.properties) {
            if came != Cell::Unchanged {
                *known = came;
            }
        }
        for (known, came) in self.references.iter_mut().zip(later.references) {
            if came != Reference::Unchanged {
                *known = came;
            }
        }
    }

    /// Whether every column is known.
    pub fn is_complete(&self) -> bool {
        !self.properties.contains(&Cell::Unchanged)
            && !self.references.contains(&Reference::Unchanged)
    }
}
