//! The copy of tables: turns of several lanes, each with a reader and a writer of its own.
//!
//! ```text
//! turn:  begin (lock the tables, take a snapshot) -> seen? -> lanes join it -> pieces of chunks -> release
//! lane:  read a piece  ->  read the next  ->  ...
//!                    \-> write it         \-> ...
//! last turns:  incomplete rows, read by key, until a round finds none
//! ```
//!
//! Why it is correct is said in [`crate::copy`]; this is the order of the steps that it rests on.
//! Tables are locked against rewriting before the snapshot is taken, and their files are compared
//! with the progress under that lock, so a chunk's blocks are those that the progress speaks of. All
//! lanes of a turn read under the same snapshot, so no row comes to two of them, and what a row owns
//! is looked for from that row only: two writers that look for the same relationship at the same time
//! would both miss it, and make it twice.

mod lanes;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::try_join_all;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};

use crate::{
    checkpoint::Position,
    copy::{AppliedTransactions, Chunk, ChunkStep, Progress, Snapshot},
    graph::{Key, Model, Pass, Row, Statement, TableIndex, plan_completed},
    lsn::Lsn,
};

use super::{Copier, Failure, Held, Turn};
use lanes::Work;

/// How long the stream is held at a time, but for the chunks that are on their way when a turn ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnLength {
    /// When the stream waits.
    pub waiting: Duration,
    /// When it has nothing to do: a turn's end costs every lane a pause.
    pub idle: Duration,
}

impl TurnLength {
    /// A second is what a change may be late for while tables are copied.
    pub const DEFAULT: TurnLength =
        TurnLength { waiting: Duration::from_secs(1), idle: Duration::from_secs(10) };
}

/// The pause before a snapshot is taken again that did not see all that the graph has.
const UNSEEN_PAUSE: Duration = Duration::from_millis(10);
/// Incomplete rows are read again in portions of this many.
const INCOMPLETE_ROWS: usize = 1_000;

/// A snapshot that was taken with tables locked.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What it sees.
    pub snapshot: Snapshot,
    /// What other readers call it.
    pub name: String,
    /// The file that each table's blocks are in.
    pub relfilenodes: BTreeMap<TableIndex, u32>,
}

/// The source's side of a lane.
pub trait ChunkReader: Send + 'static {
    /// Why it can not read.
    type Error: Failure;

    /// Locks the tables against being rewritten and takes a snapshot of now, whose commits are safe
    /// in the log.
    fn begin(
        &mut self,
        tables: &[TableIndex],
    ) -> impl Future<Output = Result<Taken, Self::Error>> + Send;

    /// Reads under a snapshot that another reader took, and releases last.
    fn join(&mut self, taken: &Taken) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Starts to read a chunk of a table under the snapshot: what the pass needs of its rows.
    fn open(
        &mut self,
        table: TableIndex,
        pass: Pass,
        chunk: Chunk,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The next rows of the chunk, bounded in bytes; `None` after the last.
    #[allow(clippy::type_complexity)]
    fn rows(&mut self)
    -> impl Future<Output = Result<Option<Vec<(Key, Row)>>, Self::Error>> + Send;

    /// Whether the table ends before this block.
    fn ends_before(
        &mut self,
        table: TableIndex,
        block: u32,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// The rows with these keys under the snapshot; those that are not there are left out.
    fn by_key(
        &mut self,
        table: TableIndex,
        keys: &[Key],
    ) -> impl Future<Output = Result<Vec<(Key, Row)>, Self::Error>> + Send;

    /// Lets snapshot and locks go.
    fn release(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

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

    /// Writes rows that belong to no chunk, while the checkpoint stays at its position.
    fn write_rows(
        &mut self,
        at: Position,
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

/// Why a copy stopped.
#[derive(Debug, thiserror::Error)]
pub enum CopyError<R: std::error::Error + 'static, W: std::error::Error + 'static> {
    /// The source can not be read.
    #[error(transparent)]
    Read(R),
    /// The graph can not be written.
    #[error(transparent)]
    Write(W),
}

impl<R: Failure, W: Failure> Failure for CopyError<R, W> {
    fn is_transient(&self) -> bool {
        match self {
            CopyError::Read(error) => error.is_transient(),
            CopyError::Write(error) => error.is_transient(),
        }
    }
}

/// A copy, from its progress to its end.
pub struct TableCopier<R, W> {
    model: Arc<Model>,
    lanes: Vec<Lane<R, W>>,
    /// How many blocks of a table make a chunk.
    chunk_blocks: BTreeMap<TableIndex, u32>,
    /// Transactions that ran when this instance started must have ended: an earlier one may have
    /// applied them, and a snapshot may not see them yet.
    ended_before: u64,
    ranges: Mutex<Ranges>,
    /// The stream has passed the last chunk.
    has_waited: bool,
    turn: TurnLength,
    shown: watch::Sender<Vec<Progress>>,
}

/// The ranges of all passes, in the order in which they are worked off.
struct Ranges {
    progress: Vec<Progress>,
    taken: Vec<bool>,
}

type Copied<T, R, W> = Result<T, CopyError<<R as ChunkReader>::Error, <W as ChunkWriter>::Error>>;

impl<R: ChunkReader, W: ChunkWriter> TableCopier<R, W> {
    /// A copy that goes on from `progress`, which is in working order. `ended_before` is a
    /// transaction id that was given out after this instance had claimed the graph.
    pub fn new(
        model: Arc<Model>,
        lanes: Vec<Lane<R, W>>,
        chunk_blocks: BTreeMap<TableIndex, u32>,
        ended_before: u64,
        progress: Vec<Progress>,
    ) -> Self {
        assert!(!lanes.is_empty(), "a copy has a lane");
        let shown = watch::Sender::new(progress.clone());
        let ranges = Mutex::new(Ranges { taken: vec![false; progress.len()], progress });
        let (has_waited, turn) = (false, TurnLength::DEFAULT);
        TableCopier { model, lanes, chunk_blocks, ended_before, ranges, has_waited, turn, shown }
    }

    /// The same in turns of another length.
    pub fn in_turns(self, turn: TurnLength) -> Self {
        TableCopier { turn, ..self }
    }

    /// How far it is, for whoever watches.
    pub fn progress(&self) -> watch::Receiver<Vec<Progress>> {
        self.shown.subscribe()
    }

    fn ranges(&self) -> MutexGuard<'_, Ranges> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self, name: &str) -> TableIndex {
        let found = self.model.iter().find(|(_, table)| table.name == name);
        found.unwrap_or_else(|| panic!("{name} is mapped, since it is being copied")).0
    }

    /// Tables that have something left to copy.
    fn open_tables(&self) -> Vec<TableIndex> {
        let ranges = self.ranges();
        let open = ranges.progress.iter().filter(|range| !range.done);
        let tables: BTreeSet<_> = open.map(|range| self.table(&range.table)).collect();
        tables.into_iter().collect()
    }

    /// Starts a pass over a table again that was rewritten while the pass was under way. Says
    /// whether there was one.
    async fn restart_rewritten(&mut self, at: Position, taken: &Taken) -> Copied<bool, R, W> {
        let restarted: Vec<Progress> = {
            let mut ranges = self.ranges();
            let rewritten = ranges.progress.iter().find_map(|range| {
                let file = *taken.relfilenodes.get(&self.table(&range.table))?;
                let is = !range.done && range.relfilenode != file;
                is.then(|| (range.table.clone(), range.pass, file))
            });
            let Some((table, pass, file)) = rewritten else { return Ok(false) };
            let of_table = ranges.progress.iter_mut().filter(|range| range.table == table);
            of_table
                .map(|range| {
                    if range.pass == pass {
                        range.restart(file);
                    }
                    range.clone()
                })
                .collect()
        };
        self.lanes[0].writer.restart(at, &restarted).await.map_err(CopyError::Write)?;
        Ok(true)
    }

    /// One snapshot for all lanes, or the reason why there is none this time.
    async fn begin(&mut self, held: &mut Held) -> Copied<bool, R, W> {
        let tables = self.open_tables();
        let taken = self.lanes[0].reader.begin(&tables).await.map_err(CopyError::Read)?;
        let seen = sees(&taken, self.ended_before, &mut held.applied);
        if !seen || self.restart_rewritten(held.position, &taken).await? {
            self.lanes[0].reader.release().await.map_err(CopyError::Read)?;
            if !seen {
                sleep(UNSEEN_PAUSE).await;
            }
            return Ok(false);
        }
        for lane in &mut self.lanes[1..] {
            lane.reader.join(&taken).await.map_err(CopyError::Read)?;
        }
        Ok(true)
    }

    /// Reads incomplete rows again by key. Settled when the stream has passed the last chunk, and a
    /// look after that finds none. The look comes second: it goes through whole tables.
    async fn complete(&mut self, held: &mut Held) -> Copied<Turn, R, W> {
        let lane = &mut self.lanes[0];
        if !self.has_waited {
            self.has_waited = true;
            return Ok(Turn::After(lane.reader.log_end().await.map_err(CopyError::Read)?));
        }
        let incomplete = lane.writer.incomplete(INCOMPLETE_ROWS).await.map_err(CopyError::Write)?;
        if incomplete.is_empty() {
            lane.writer.settle(held.position).await.map_err(CopyError::Write)?;
            return Ok(Turn::Settled);
        }
        for (table, keys) in incomplete {
            let taken = lane.reader.begin(&[table]).await.map_err(CopyError::Read)?;
            if !sees(&taken, self.ended_before, &mut held.applied) {
                lane.reader.release().await.map_err(CopyError::Read)?;
                sleep(UNSEEN_PAUSE).await;
                return Ok(Turn::More);
            }
            let rows = lane.reader.by_key(table, &keys).await.map_err(CopyError::Read)?;
            let statements = plan_completed(&self.model, table, rows);
            let written = lane.writer.write_rows(held.position, statements).await;
            written.map_err(CopyError::Write)?;
            lane.reader.release().await.map_err(CopyError::Read)?;
        }
        let log_end = lane.reader.log_end().await.map_err(CopyError::Read)?;
        Ok(Turn::After(log_end))
    }
}

impl<R: ChunkReader, W: ChunkWriter> Copier for TableCopier<R, W> {
    type Error = CopyError<R::Error, W::Error>;

    async fn turn(&mut self, held: &mut Held) -> Result<Turn, Self::Error> {
        if self.ranges().progress.iter().all(|range| range.done) {
            return self.complete(held).await;
        }
        if !self.begin(held).await? {
            return Ok(Turn::More);
        }
        let began = Instant::now();
        let work = Work {
            model: &self.model,
            chunk_blocks: &self.chunk_blocks,
            ranges: &self.ranges,
            shown: &self.shown,
            held,
            range_ended: Notify::new(),
            end: began + self.turn.waiting,
            end_max: began + self.turn.idle,
        };
        try_join_all(self.lanes.iter_mut().map(|lane| work.lane(lane))).await?;
        // The first last: the others read under its snapshot and its locks.
        for lane in self.lanes.iter_mut().rev() {
            lane.reader.release().await.map_err(CopyError::Read)?;
        }
        Ok(Turn::More)
    }
}

fn sees(taken: &Taken, ended_before: u64, applied: &mut AppliedTransactions) -> bool {
    taken.snapshot.xmin() >= ended_before && applied.are_seen_by(&taken.snapshot)
}
