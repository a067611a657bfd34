//! Folding: a batch of row events becomes, for each table, what its rows end as and how their keys
//! got there.
//!
//! ```text
//! stream order:  insert 1   update 1   move 1 -> 2   delete 3   insert 3
//! rows:          2: columns of all three merged       3: the new row
//! steps:         move 1 -> 2, drop 3                  (in stream order, never collapsed)
//! ```
//!
//! `rows` may forget the order because the last write of a key wins; `steps` may not: a chain of
//! key changes run in another order moves the wrong rows. A delete is a step even when its insert
//! is in the same batch, because a copy or an earlier run may have made the node already.

use std::collections::BTreeMap;

use crate::lsn::Stamp;

use super::{
    model::TableIndex,
    mutation::{Cell, Event, Key, Reference, Row},
    statement::Reach,
};

/// A folded batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mutations {
    /// What happens to each table that the batch touches.
    pub tables: BTreeMap<TableIndex, TableMutations>,
}

/// What a batch does to one table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableMutations {
    /// The rows that go first, of those that were there before the batch.
    pub truncate: Option<Reach>,
    /// Keys that went or changed, in stream order, after the truncate.
    pub steps: Vec<Step>,
    /// The rows at their final keys.
    pub rows: BTreeMap<Key, FoldedRow>,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The row at the key went.
    Drop(Key),
    /// The row at `from` is at `to` now.
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
    /// Its columns; what no event of the batch brought is unchanged.
    pub row: Row,
    /// It was inserted in this batch, so nothing it owned before can be in the graph, unless a copy
    /// or a replay put it there.
    pub inserted: bool,
    /// Its key changed in this batch.
    pub moved: bool,
    /// Where the last event that filled it stands in the source's log, if that is written.
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

    /// Folds one more event, which stands here in the source's log.
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
    /// Takes what `later` brought; what it left unchanged stays as it is known here.
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
