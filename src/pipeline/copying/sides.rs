//! The two sides of a lane: what the copy asks of source and graph.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use crate::{
    checkpoint::Position,
    copy::{Chunk, ChunkStep, Heap, Progress, Snapshot},
    graph::{Key, Pass, Row, Statement, TableIndex},
    lsn::Lsn,
};

use super::super::Failure;

/// A snapshot that was taken with tables locked.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What it sees.
    pub snapshot: Snapshot,
    /// What other readers call it.
    pub name: String,
    /// What is locked, and the file that its blocks are in. What somebody else has locked is left out.
    pub files: BTreeMap<Heap, u32>,
    /// Partitions that are none any more: dropped, or detached.
    pub gone: BTreeSet<Heap>,
}

/// Somebody who waits for a lock of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Their process on the server.
    pub process: i32,
    /// What they want; empty if it is no table.
    pub table: String,
}

/// How rows are found by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// By the keys' text, where they have one.
    ByText,
    /// Among the keys of all rows.
    AmongAll,
}

/// The source's side of a lane.
pub trait ChunkReader: Send + 'static {
    /// Why it can not read.
    type Error: Failure;

    /// Locks what is free of these against being rewritten, without waiting for it, and takes a
    /// snapshot of now, whose commits are safe in the log.
    fn begin(&mut self, heaps: &[Heap]) -> impl Future<Output = Result<Taken, Self::Error>> + Send;

    /// Locks the same, and reads under the snapshot that another reader took. False: somebody was
    /// faster, and nothing is locked.
    fn join(&mut self, taken: &Taken) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Starts to read a chunk under the snapshot: what the pass needs of its rows.
    fn open(
        &mut self,
        heap: Heap,
        pass: Pass,
        chunk: Chunk,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Starts to read the rows with these keys under the snapshot; those that are not there are left
    /// out.
    fn open_keys(
        &mut self,
        table: TableIndex,
        keys: &[Key],
        search: Search,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The next rows of what was opened, bounded in bytes; `None` after the last.
    #[allow(clippy::type_complexity)]
    fn rows(&mut self)
    -> impl Future<Output = Result<Option<Vec<(Key, Row)>>, Self::Error>> + Send;

    /// Whether the blocks end before this one.
    fn ends_before(
        &mut self,
        heap: Heap,
        block: u32,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Lets snapshot and locks go, whatever the reader was doing.
    fn release(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Resolves when somebody waits for a lock of this reader, or of those beside it.
    fn wanted(&self) -> impl Future<Output = Result<Waiting, Self::Error>> + Send + 'static;

    /// Writes to the log that the locks are gone which somebody waited for.
    fn tell_given_way(&self, to: &Waiting);

    /// Whether a read may succeed in a later turn: somebody had locked something that it needs, or the
    /// reader will do it in another way.
    fn is_for_now(error: &Self::Error) -> bool;

    /// The partitions that a table has now, and their files; none if it is a table without.
    fn partitions(
        &mut self,
        table: TableIndex,
    ) -> impl Future<Output = Result<BTreeMap<u32, u32>, Self::Error>> + Send;

    /// Writes to the log who keeps a snapshot from seeing everything.
    fn tell_unseen(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Where the log ends now.
    fn log_end(&mut self) -> impl Future<Output = Result<Lsn, Self::Error>> + Send;
}

/// The graph's side of a lane.
pub trait ChunkWriter: Send + 'static {
    /// Why it can not write.
    type Error: Failure;

    /// Writes rows of a chunk and moves its range's progress, in one transaction.
    fn write_chunk(
        &mut self,
        step: &ChunkStep,
        statements: Vec<Statement>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Writes rows of a table that belong to no chunk, while the checkpoint stays at its position.
    fn write_rows(
        &mut self,
        at: Position,
        table: TableIndex,
        statements: Vec<Statement>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Replaces the progress of the tables in `progress`.
    fn restart(
        &mut self,
        at: Position,
        progress: &[Progress],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Some keys of rows that are marked incomplete, at most `limit` a table.
    fn incomplete(
        &mut self,
        limit: usize,
    ) -> impl Future<Output = Result<BTreeMap<TableIndex, Vec<Key>>, Self::Error>> + Send;

    /// Nothing is being copied any more: the progress goes.
    fn settle(&mut self, at: Position) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// A reader and a writer that work together.
pub struct Lane<R, W> {
    /// The source's side.
    pub reader: R,
    /// The graph's side.
    pub writer: W,
}
