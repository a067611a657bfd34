//! The observer's interface: one call for each batch, after the graph has it.

use std::time::Duration;

use crate::{
    change::Timestamp,
    engine::Refused,
    graph::{Event, TableIndex},
};

/// Observes what reaches the graph.
pub trait Observer: Send + 'static {
    /// The graph has a batch with changes. The next one waits meanwhile, so be quick.
    fn written(&mut self, written: &Written<'_>);

    /// The graph has refused a batch, whose changes come again in smaller ones.
    fn refused(&mut self, _refused: Refused) {}
}

/// Observes nothing.
impl Observer for () {
    fn written(&mut self, _: &Written<'_>) {}
}

/// A batch that is in the graph.
#[derive(Debug)]
pub struct Written<'a> {
    /// The number of its changes, including those of unmapped tables.
    pub changes: usize,
    /// The mapped ones, by table and operation.
    pub tally: &'a Tally,
    /// The commit times of the source transactions that it completes.
    pub commits: &'a [Timestamp],
    /// The graph's time for it.
    pub took: Duration,
}

/// An operation on rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Rows were inserted.
    Insert,
    /// Rows changed, their keys included.
    Update,
    /// Rows were deleted.
    Delete,
    /// All rows of a table were removed; counted once for each table.
    Truncate,
}

impl Operation {
    /// Every operation, in the order of its number.
    pub const ALL: [Operation; 4] =
        [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate];

    /// That of an event.
    pub fn of(event: &Event) -> Self {
        match event {
            Event::Insert { .. } => Operation::Insert,
            Event::Update { .. } | Event::Move { .. } => Operation::Update,
            Event::Delete { .. } => Operation::Delete,
            Event::Truncate { .. } => Operation::Truncate,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Truncate => "truncate",
        }
    }
}

/// A batch's changes, counted by table and operation. A count costs one addition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(Vec<[u64; Operation::ALL.len()]>);

impl Tally {
    /// Zeros for a model of this many tables.
    pub fn new(tables: usize) -> Self {
        Tally(vec![Default::default(); tables])
    }

    /// Counts an event.
    pub fn count(&mut self, event: &Event) {
        let tables = match event {
            Event::Insert { table, .. }
            | Event::Update { table, .. }
            | Event::Move { table, .. }
            | Event::Delete { table, .. } => std::slice::from_ref(table),
            Event::Truncate { tables } => tables,
        };
        tables.iter().for_each(|table| self.add(*table, Operation::of(event)));
    }

    /// Counts one operation on a table.
    pub fn add(&mut self, table: TableIndex, operation: Operation) {
        self.0[table.0][operation as usize] += 1;
    }

    /// The counts, without zeros.
    pub fn iter(&self) -> impl Iterator<Item = (TableIndex, Operation, u64)> {
        let tables = self.0.iter().enumerate();
        tables.flat_map(|(table, counts)| {
            let counts = Operation::ALL.into_iter().zip(counts).filter(|(_, count)| **count > 0);
            counts.map(move |(operation, count)| (TableIndex(table), operation, *count))
        })
    }
}
