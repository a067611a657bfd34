//! Rows that a reconciliation watches: has the stream named them meanwhile?
//!
//! ```text
//! copier, while the stream is held: watches a row
//! preparer, for each event: marks the rows that it names
//! copier, once the stream has passed the log's end of then: an unmarked row is still as it was seen
//! ```
//!
//! Copier and preparer share one value. The preparer marks a row before its change is in the graph,
//! so the copier may see a mark too early, but never too late.
//!
//! A copier that lets the stream run beside its turn has every name recorded from before that on. A row
//! that it watches later in the turn has the mark at once if it was named since.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::graph::{Event, Key, TableIndex};

/// More rows than this are not recorded by name: then all count as named.
const RECORDED_MAX: usize = 100_000;

/// A row's table and key.
pub type Of = (TableIndex, Key);

/// The watched rows. A clone is the same value.
#[derive(Clone, Debug, Default)]
pub struct Named(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Whether anything is watched: the stream asks for every event.
    is_used: AtomicBool,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    /// Whether the stream has named the row.
    watched: HashMap<Of, bool>,
    /// Keys that rows have moved to, if the copier wants them.
    moved: Option<BTreeSet<Of>>,
    /// What the stream has named since a turn let it run, while the turn lasts.
    recorded: Option<Recorded>,
}

#[derive(Debug, Default)]
struct Recorded {
    rows: HashSet<Of>,
    /// All rows of these tables.
    tables: BTreeSet<TableIndex>,
    /// All rows there are.
    is_full: bool,
}

impl Named {
    /// From now on, keys that rows move to are kept for [`Named::take_moved`].
    pub fn keep_moved(&self) {
        self.rows().moved.get_or_insert_default();
        self.0.is_used.store(true, Ordering::Relaxed);
    }

    /// The keys that rows have moved to since the last call.
    pub fn take_moved(&self) -> BTreeSet<Of> {
        self.rows().moved.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Records every row that the stream names from now on. An earlier record is forgotten.
    pub fn record(&self) {
        self.rows().recorded = Some(Recorded::default());
        self.0.is_used.store(true, Ordering::Relaxed);
    }

    /// Records nothing more.
    pub fn end_record(&self) {
        self.rows().recorded = None;
    }

    /// Whether the stream has named the row since the record began.
    pub fn has_recorded(&self, of: &Of) -> bool {
        self.rows().has_recorded(of)
    }

    /// Watches a row from now on: without a mark, unless it is recorded.
    pub fn watch(&self, of: Of) {
        let mut rows = self.rows();
        let is_named = rows.has_recorded(&of);
        rows.watched.insert(of, is_named);
        self.0.is_used.store(true, Ordering::Relaxed);
    }

    /// Watches the row no longer. Returns whether the stream has named it.
    pub fn end_watch(&self, of: &Of) -> bool {
        self.rows().watched.remove(of).unwrap_or(false)
    }

    /// Takes note of an event of the stream.
    pub fn event(&self, event: &Event) {
        if !self.0.is_used.load(Ordering::Relaxed) {
            return;
        }
        let mut rows = self.rows();
        match event {
            Event::Insert { table, key, .. }
            | Event::Update { table, key, .. }
            | Event::Delete { table, key } => rows.mark(*table, key),
            Event::Move { table, from, to, .. } => {
                rows.mark(*table, from);
                rows.mark(*table, to);
                if let Some(moved) = &mut rows.moved {
                    moved.insert((*table, to.clone()));
                }
            }
            Event::Truncate { tables } => {
                let of_tables = rows.watched.iter_mut().filter(|((of, _), _)| tables.contains(of));
                of_tables.for_each(|(_, is_named)| *is_named = true);
                if let Some(recorded) = &mut rows.recorded {
                    recorded.tables.extend(tables);
                }
            }
        }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn has_recorded(&self, of: &Of) -> bool {
        self.recorded.as_ref().is_some_and(|recorded| recorded.has(of))
    }

    fn mark(&mut self, table: TableIndex, key: &Key) {
        let of = (table, key.clone());
        if let Some(is_named) = self.watched.get_mut(&of) {
            *is_named = true;
        }
        if let Some(recorded) = &mut self.recorded {
            recorded.is_full |= recorded.rows.len() >= RECORDED_MAX;
            if !recorded.is_full {
                recorded.rows.insert(of);
            }
        }
    }
}

impl Recorded {
    fn has(&self, of: &Of) -> bool {
        self.is_full || self.tables.contains(&of.0) || self.rows.contains(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn of(table: usize, key: i64) -> Of {
        (TableIndex(table), Key(Box::new([Value::Integer(key)])))
    }

    fn moves(table: usize, from: i64, to: i64) -> Event {
        let (table, from) = of(table, from);
        let row = crate::graph::Row { properties: Vec::new(), references: Vec::new() };
        Event::Move { table, from, to: of(table.0, to).1, row }
    }

    #[test]
    fn only_a_watched_row_is_marked_and_a_truncate_marks_all_of_its_table() {
        let named = Named::default();
        named.event(&moves(0, 1, 2));
        [of(0, 1), of(0, 2), of(0, 3), of(1, 1)].into_iter().for_each(|of| named.watch(of));
        named.event(&moves(0, 1, 2));
        assert!(named.end_watch(&of(0, 1)) && named.end_watch(&of(0, 2)));
        assert!(!named.end_watch(&of(0, 2)), "it is not watched any more");
        named.event(&Event::Truncate { tables: vec![TableIndex(1)] });
        assert!(named.end_watch(&of(1, 1)) && !named.end_watch(&of(0, 3)));
    }

    #[test]
    fn a_row_that_was_named_since_the_record_began_has_the_mark_at_once() {
        let named = Named::default();
        named.event(&moves(0, 1, 2));
        named.record();
        named.event(&moves(0, 3, 4));
        named.event(&Event::Truncate { tables: vec![TableIndex(1)] });
        let all = [of(0, 1), of(0, 3), of(0, 4), of(1, 5), of(2, 5)];
        let marks = |named: &Named| {
            all.clone().map(|of| {
                named.watch(of.clone());
                named.end_watch(&of)
            })
        };
        assert_eq!(marks(&named), [false, true, true, true, false]);
        named.end_record();
        assert_eq!(marks(&named), [false; 5]);
        named.record();
        assert_eq!(marks(&named), [false; 5], "the earlier record is forgotten");
        (0..=RECORDED_MAX as i64).for_each(|key| named.event(&moves(3, key, key)));
        assert_eq!(marks(&named), [true; 5], "more than is recorded");
    }

    #[test]
    fn keys_that_rows_move_to_are_kept_once_they_are_wanted() {
        let named = Named::default();
        named.event(&moves(0, 1, 2));
        named.keep_moved();
        named.event(&moves(0, 2, 3));
        assert_eq!(named.take_moved(), BTreeSet::from([of(0, 3)]));
        assert!(named.take_moved().is_empty());
    }
}
