//! What a watcher is told: once a batch, after it is in the graph.

use std::time::Duration;

use crate::{
    change::Timestamp,
    graph::{Event, TableIndex},
};

/// Is told what got into the graph.
pub trait Observer: Send + 'static {
    /// A batch with changes was written. The next one waits meanwhile: be quick.
    fn written(&mut self, written: &Written<'_>);
}

/// Nobody watches.
impl Observer for () {
    fn written(&mut self, _: &Written<'_>) {}
}

/// A batch that is in the graph.
#[derive(Debug)]
pub struct Written<'a> {
    /// Its changes, those of tables that are not mapped included.
    pub changes: usize,
    /// The mapped ones, by table and operation.
    pub tally: &'a Tally,
    /// When the source transactions were committed that it completes.
    pub commits: &'a [Timestamp],
    /// How long the graph took for it.
    pub took: Duration,
}

/// What happened to rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Rows came to be.
    Insert,
    /// Rows changed, their keys included.
    Update,
    /// Rows went.
    Delete,
    /// All rows of a table went; counted once a table.
    Truncate,
}

impl Operation {
    /// Every operation, in the order of its number.
    pub const ALL: [Operation; 4] =
        [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate];

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

/// Changes of a batch, counted by table and operation: no more than an addition for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(Vec<[u64; Operation::ALL.len()]>);

impl Tally {
    /// Nothing, for a model of so many tables.
    pub fn new(tables: usize) -> Self {
        Tally(vec![Default::default(); tables])
    }

    /// Counts an event.
    pub fn count(&mut self, event: &Event) {
        match event {
            Event::Insert { table, .. } => self.add(*table, Operation::Insert),
            Event::Update { table, .. } | Event::Move { table, .. } => {
                self.add(*table, Operation::Update);
            }
            Event::Delete { table, .. } => self.add(*table, Operation::Delete),
            Event::Truncate { tables } => {
                tables.iter().for_each(|table| self.add(*table, Operation::Truncate));
            }
        }
    }

    /// Counts one of a table's.
    pub fn add(&mut self, table: TableIndex, operation: Operation) {
        self.0[table.0][operation as usize] += 1;
    }

    /// What was counted, without the zeros.
    pub fn iter(&self) -> impl Iterator<Item = (TableIndex, Operation, u64)> {
        let tables = self.0.iter().enumerate();
        tables.flat_map(|(table, counts)| {
            let counts = Operation::ALL.into_iter().zip(counts).filter(|(_, count)| **count > 0);
            counts.map(move |(operation, count)| (TableIndex(table), operation, *count))
        })
    }
}
