//! The two sides of a lane: the copy's interfaces to source and graph.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use crate::{
    checkpoint::Position,
    copy::{Chunk, ChunkStep, Heap, Progress, Snapshot},
    graph::{Found, Key, Pass, Row, Statement, TableIndex},
    lsn::Lsn,
};

use super::super::Failure;

/// A snapshot, taken with tables locked.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The snapshot itself.
    pub snapshot: Snapshot,
    /// Its exported name, for other readers.
    pub name: String,
    /// The locked heaps and their files. A heap that another session has locked is missing.
    pub files: BTreeMap<Heap, u32>,
    /// Partitions that no longer exist: dropped or detached.
    pub gone: BTreeSet<Heap>,
}

/// A session that waits for a reader's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its process on the server.
    pub process: i32,
    /// The table that it wants; empty if it wants no table.
    pub table: String,
}

/// The way to find rows by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// By the keys' text, if they have one.
    ByText,
    /// By the keys of all rows.
    AmongAll,
}

/// A lane's connection to the source.
pub trait ChunkReader: Send + 'static {
    /// The type of its errors.
    type Error: Failure;

    /// Locks the free ones of these heaps against rewriting, without waiting, and takes a snapshot.
    /// All commits that it sees are safe in the log.
    fn begin(&mut self, heaps: &[Heap]) -> impl Future<Output = Result<Taken, Self::Error>> + Send;

    /// Takes the same locks, and reads under another reader's snapshot. Returns false if another
    /// session was faster; then nothing is locked.
    fn join(&mut self, taken: &Taken) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Opens a chunk under the snapshot, with the columns that the pass needs.
    fn open(
        &mut self,
        heap: Heap,
        pass: Pass,
        chunk: Chunk,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Opens the rows with these keys under the snapshot. Missing rows are omitted.
    fn open_keys(
        &mut self,
        table: TableIndex,
        keys: &[Key],
        search: Search,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The next rows of the open chunk or keys, bounded in bytes; `None` after the last.
    #[allow(clippy::type_complexity)]
    fn rows(&mut self)
    -> impl Future<Output = Result<Option<Vec<(Key, Row)>>, Self::Error>> + Send;

    /// Whether the blocks end before this one.
    fn ends_before(
        &mut self,
        heap: Heap,
        block: u32,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Releases snapshot and locks, in any state of the reader.
    fn release(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Resolves when a session waits for a lock of this reader, or of the readers beside it.
    fn wanted(&self) -> impl Future<Output = Result<Waiting, Self::Error>> + Send + 'static;

    /// Logs that the locks are released, and for which session.
    fn tell_given_way(&self, to: &Waiting);

    /// Whether a read may succeed in a later turn: another session has locked something that it
    /// needs, or the reader will use another way.
    fn is_for_now(error: &Self::Error) -> bool;

    /// The current partitions of a table and their files; none if the table has no partitions.
    fn partitions(
        &mut self,
        table: TableIndex,
    ) -> impl Future<Output = Result<BTreeMap<u32, u32>, Self::Error>> + Send;

    /// Logs which session keeps a snapshot from seeing everything.
    fn tell_unseen(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The log's current end.
    fn log_end(&mut self) -> impl Future<Output = Result<Lsn, Self::Error>> + Send;
}

/// A lane's connection to the graph.
///
/// What holds for all of its methods: the writer's epoch is compared first, under a lock, in the same
/// transaction, and after a claim by another every call fails with
/// [`Verdict::Fenced`](super::super::Verdict::Fenced). Lost answers are settled, or the same is
/// written again: rows of a copy may be, since the stream is held meanwhile. After
/// [`Verdict::Again`](super::super::Verdict::Again) the graph's state is unknown; the next life
/// claims, reads the progress and goes on there. A dropped call is like that, and ends the writer. A
/// lane writes one thing at a time, beside the other lanes.
pub trait ChunkWriter: Send + 'static {
    /// The type of its errors.
    type Error: Failure;

    /// Writes rows of a chunk and moves its range's progress, in one transaction with the last of
    /// them. Where that is too much at once, the writer may commit rows before, without the progress:
    /// they come again if it stops there. Each range has one lane, and its steps come in order; a
    /// step that is not where the progress is, or is of another file, is refused.
    fn write_chunk(
        &mut self,
        step: &ChunkStep,
        statements: Vec<Statement>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Writes rows of a table that belong to no chunk, in one or several transactions. The checkpoint
    /// must be `at` its position, and stays there.
    fn write_rows(
        &mut self,
        at: Position,
        table: TableIndex,
        statements: Vec<Statement>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Replaces the progress of the tables in `progress`, in one transaction, for no lane to be seen
    /// without one. The checkpoint must be `at` its position, and stays there.
    fn restart(
        &mut self,
        at: Position,
        progress: &[Progress],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Some keys of rows that are marked incomplete, at most `limit` for each table. A table with such
    /// rows is never left out. Keys are those that were written, equal as [`Key`]s.
    fn incomplete(
        &mut self,
        limit: usize,
    ) -> impl Future<Output = Result<BTreeMap<TableIndex, Vec<Key>>, Self::Error>> + Send;

    /// Copy and repair are complete: deletes the progress, and the request of a repair that runs is
    /// done, in one transaction. The checkpoint must be `at` its position, and stays
    /// there. A repetition is right.
    fn settle(&mut self, at: Position) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Reads what the graph has of the tables' rows, to compare it with them.
///
/// It has a connection of its own: it waits for no writer, no writer waits for it, and it takes no lock.
/// It is under no claim; whoever needs the graph to stand still holds the stream meanwhile. What it
/// returns was committed when it was read, but two entities of an answer may be of two moments, and so may
/// the parts of one: its own properties, its relationships, and what is at their other ends. So a
/// difference that was found beside writers is a suspicion.
///
/// It may repeat a call by itself, as [`Store`](super::super::Store) does. A future may be dropped at any
/// time. What it costs is in proportion to what it returns and, in a join table that has its ends for a
/// key, to the relationships of the start nodes on the page.
///
/// **Entities of a table** are
/// - of a node table, all nodes with its label and a whole key, whoever made them: rows, placeholders, and
///   what others have made or changed;
/// - of a join table, all relationships of its type that lead from a node with its start's label to one
///   with its end's, and that have a whole key: their own, or that of both ends.
///
/// Not among them are nodes and relationships that no key can name, since others took a property of their
/// key, or gave it a type that no key has (Duration, Point, NaN, a time with a named zone). They are
/// [`strays`](Self::strays).
pub trait GraphReader: Send + 'static {
    /// The type of its errors.
    type Error: Failure;

    /// Entities of the table whose keys come after `after`, about `limit` keys, in the order of keys;
    /// from the first one without it. **An empty answer is the end, and nothing else is**: others may be
    /// shorter than `limit`, as they are where values are wide. No answer has more than `limit` keys.
    ///
    /// - **Order.** The product has one order of the keys of a table, total over all values that it may
    ///   hold, and the same at every call, also after a restart. It need not be the order of [`Key`]. It
    ///   is one of values, not of when something was written: an entity that is there from the first
    ///   page to the last, under one key, is on exactly one page, whatever happens to others.
    /// - **`after`** is a key that this method has returned last, or any other one: it need not be there
    ///   any more, or ever have been.
    /// - A key is returned once, with all that is under it: doubles are never on two pages.
    ///
    /// `limit` is at least 1.
    fn page(
        &mut self,
        table: TableIndex,
        after: Option<&Key>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Found>, Self::Error>> + Send;

    /// The entities of the table with these keys, each once, in any order. Keys without one are left
    /// out. Keys may come twice, and there may be none.
    fn found(
        &mut self,
        table: TableIndex,
        keys: &[Key],
    ) -> impl Future<Output = Result<Vec<Found>, Self::Error>> + Send;

    /// The keys among these that no row has in the graph: nothing is there, or a placeholder. In any order.
    /// It costs less than [`found`](Self::found).
    fn missing(
        &mut self,
        table: TableIndex,
        keys: &[Key],
    ) -> impl Future<Output = Result<Vec<Key>, Self::Error>> + Send;

    /// The nodes with the table's label, or relationships of its type between its labels, that have no
    /// key that could name them. No statement finds them, so a repair leaves them alone: they may be
    /// somebody's own. To remove them is for their owner, and a row whose node became one is written
    /// again as another node. It reads all nodes with the label, so call it once for a table.
    fn strays(
        &mut self,
        table: TableIndex,
    ) -> impl Future<Output = Result<Strays, Self::Error>> + Send;
}

/// Entities that no key names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// How many there are.
    pub count: u64,
    /// Queries in the product's language that return them, for people; there may be none.
    pub queries: Vec<String>,
}

/// Connections that work together.
pub struct Lane<R, W, G> {
    /// Reads the source.
    pub reader: R,
    /// Writes the graph.
    pub writer: W,
    /// Reads the graph, for what compares it with the source.
    pub graph: G,
}
