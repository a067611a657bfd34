//! What a watcher is told: once a batch, after it is in the graph.
//!
//! ```text
//! Translated --Counted: the batch, and what is in it--> Observed --the batch--> the sink
//!                                                          \--Written, once it is in the graph--> Observer
//! ```

use std::time::{Duration, Instant};

use crate::{
    change::Timestamp,
    checkpoint::Advance,
    graph::{Event, TableIndex},
};

use super::Sink;

/// Is told what got into the graph.
pub trait Observer: Send + 'static {
    /// A batch with changes was written. The next one waits meanwhile: be quick.
    fn written(&mut self, written: &Written<'_>);
}

/// A batch that is ready, with what a watcher wants to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted<B> {
    /// What the sink takes.
    pub batch: B,
    /// Its changes, those of tables that are not mapped included.
    pub changes: usize,
    /// The mapped ones, by table and operation.
    pub tally: Tally,
    /// When the source transactions were committed that it completes.
    pub commits: Vec<Timestamp>,
}

/// A sink that is watched.
pub struct Observed<K, O> {
    /// Where batches go.
    pub sink: K,
    /// Who is told.
    pub observer: O,
}

impl<B: Send + 'static, K: Sink<B>, O: Observer> Sink<Counted<B>> for Observed<K, O> {
    type Error = K::Error;

    async fn write(&mut self, advance: Advance, counted: Counted<B>) -> Result<(), Self::Error> {
        let Counted { batch, changes, tally, commits } = counted;
        let started = Instant::now();
        self.sink.write(advance, batch).await?;
        // An idle position is nothing to watch.
        if changes > 0 {
            let (tally, commits, took) = (&tally, &commits, started.elapsed());
            self.observer.written(&Written { changes, tally, commits, took });
        }
        Ok(())
    }
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

    fn add(&mut self, table: TableIndex, operation: Operation) {
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
