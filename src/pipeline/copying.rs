//! The copy of tables: turns of several lanes, each with a reader and a writer of its own.
//!
//! ```text
//! turn:  range -> begin (lock the table, take a snapshot) -> seen? -> chunk -> chunk -> ... -> release
//! last turns:  incomplete rows, read by key, until a round finds none
//! ```
//!
//! Why it is correct is said in [`crate::copy`]; this is the order of the steps that it rests on. A
//! table is locked against rewriting before the snapshot is taken, and its file is compared with
//! the progress under that lock, so a chunk's blocks are those that the progress speaks of.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::try_join_all;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    checkpoint::Position,
    copy::{AppliedTransactions, Chunk, ChunkStep, Progress, Snapshot},
    graph::{Key, Model, Pass, Row, Statement, TableIndex, plan_copied},
    lsn::Lsn,
};

use super::{Copier, Failure, Held, Turn};

/// How long the stream is held at a time, but for the chunk that is being written when it ends.
const TURN: Duration = Duration::from_secs(1);
/// The pause before a snapshot is taken again that did not see all that the graph has.
const UNSEEN_PAUSE: Duration = Duration::from_millis(10);
/// Incomplete rows are read again in portions of this many.
const INCOMPLETE_ROWS: usize = 1_000;

/// A snapshot that was taken with a table locked.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What it sees.
    pub snapshot: Snapshot,
    /// The file the table's blocks are in.
    pub relfilenode: u32,
}

/// The source's side of a lane.
pub trait ChunkReader: Send + 'static {
    /// Why it can not read.
    type Error: Failure;

    /// Locks the table against being rewritten and takes a snapshot of now, whose commits are safe
    /// in the log.
    fn begin(
        &mut self,
        table: TableIndex,
    ) -> impl Future<Output = Result<Taken, Self::Error>> + Send;

    /// Starts to read a chunk of the table under the snapshot.
    fn open(&mut self, chunk: Chunk) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The next rows of the chunk, bounded in bytes; `None` after the last.
    #[allow(clippy::type_complexity)]
    fn rows(&mut self)
    -> impl Future<Output = Result<Option<Vec<(Key, Row)>>, Self::Error>> + Send;

    /// Whether the table ends before this block.
    fn ends_before(&mut self, block: u32)
    -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// The rows with these keys under the snapshot; those that are not there are left out.
    fn by_key(
        &mut self,
        keys: &[Key],
    ) -> impl Future<Output = Result<Vec<(Key, Row)>, Self::Error>> + Send;

    /// Lets snapshot and lock go.
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
    shown: watch::Sender<Vec<Progress>>,
}

/// The ranges of all passes, in the order in which they are worked off.
struct Ranges {
    progress: Vec<Progress>,
    taken: Vec<bool>,
}

/// Why a lane stopped before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LaneEnd {
    /// Its turn is over, or there is no range left for it.
    Done,
    /// The snapshot does not see all that the graph has.
    Unseen,
    /// The table's file is another one.
    Rewritten { table: String, pass: Pass, relfilenode: u32 },
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
        TableCopier { model, lanes, chunk_blocks, ended_before, ranges, has_waited: false, shown }
    }

    /// How far it is, for whoever watches.
    pub fn progress(&self) -> watch::Receiver<Vec<Progress>> {
        self.shown.subscribe()
    }

    fn ranges(&self) -> MutexGuard<'_, Ranges> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the pass over a rewritten table again.
    async fn restart(
        &mut self,
        at: Position,
        table: &str,
        pass: Pass,
        relfilenode: u32,
    ) -> Copied<(), R, W> {
        let of_table: Vec<Progress> = {
            let mut ranges = self.ranges();
            let of_table = ranges.progress.iter_mut().filter(|range| range.table == table);
            let mut restarted = Vec::new();
            for range in of_table {
                if range.pass == pass {
                    range.restart(relfilenode);
                }
                restarted.push(range.clone());
            }
            restarted
        };
        self.lanes[0].writer.restart(at, &of_table).await.map_err(CopyError::Write)
    }

    /// Reads incomplete rows again by key. Settled when the stream has passed the last chunk, and a
    /// round after that found none.
    async fn complete(&mut self, held: &mut Held) -> Copied<Turn, R, W> {
        let lane = &mut self.lanes[0];
        let incomplete = lane.writer.incomplete(INCOMPLETE_ROWS).await.map_err(CopyError::Write)?;
        if incomplete.is_empty() && self.has_waited {
            lane.writer.settle(held.position).await.map_err(CopyError::Write)?;
            return Ok(Turn::Settled);
        }
        for (table, keys) in incomplete {
            let taken = lane.reader.begin(table).await.map_err(CopyError::Read)?;
            if !sees(&taken, self.ended_before, &mut held.applied) {
                lane.reader.release().await.map_err(CopyError::Read)?;
                sleep(UNSEEN_PAUSE).await;
                return Ok(Turn::More);
            }
            let rows = lane.reader.by_key(&keys).await.map_err(CopyError::Read)?;
            let mut statements = plan_copied(&self.model, table, Pass::Nodes, rows.clone());
            statements.extend(plan_copied(&self.model, table, Pass::Relationships, rows));
            let written = lane.writer.write_rows(held.position, statements).await;
            written.map_err(CopyError::Write)?;
            lane.reader.release().await.map_err(CopyError::Read)?;
        }
        self.has_waited = true;
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
        let work = Work {
            model: &self.model,
            chunk_blocks: &self.chunk_blocks,
            ended_before: self.ended_before,
            ranges: &self.ranges,
            end: Instant::now() + TURN,
        };
        let lanes = self.lanes.iter_mut();
        let ends = try_join_all(lanes.map(|lane| work.lane(lane, held.applied.clone()))).await?;
        for end in &ends {
            if let LaneEnd::Rewritten { table, pass, relfilenode } = end {
                self.restart(held.position, table, *pass, *relfilenode).await?;
            }
        }
        self.shown.send_replace(self.ranges().progress.clone());
        if ends.contains(&LaneEnd::Unseen) {
            sleep(UNSEEN_PAUSE).await;
        }
        Ok(Turn::More)
    }
}

fn sees(taken: &Taken, ended_before: u64, applied: &mut AppliedTransactions) -> bool {
    taken.snapshot.xmin() >= ended_before && applied.are_seen_by(&taken.snapshot)
}

/// What the lanes of a turn share.
struct Work<'a> {
    model: &'a Model,
    chunk_blocks: &'a BTreeMap<TableIndex, u32>,
    ended_before: u64,
    ranges: &'a Mutex<Ranges>,
    end: Instant,
}

impl Work<'_> {
    fn ranges(&self) -> MutexGuard<'_, Ranges> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One lane's turn: range after range.
    async fn lane<R: ChunkReader, W: ChunkWriter>(
        &self,
        lane: &mut Lane<R, W>,
        mut applied: AppliedTransactions,
    ) -> Copied<LaneEnd, R, W> {
        while Instant::now() < self.end {
            let Some(index) = self.take() else { break };
            let end = self.range(lane, index, &mut applied).await;
            self.ranges().taken[index] = false;
            match end? {
                LaneEnd::Done => {}
                other => return Ok(other),
            }
        }
        Ok(LaneEnd::Done)
    }

    /// A range that is not done and that no other lane has. Relationships come once all nodes are
    /// there.
    fn take(&self) -> Option<usize> {
        let mut ranges = self.ranges();
        let pass = ranges.progress.iter().filter(|range| !range.done).map(|range| range.pass).min();
        let free = |(index, range): &(usize, &Progress)| {
            !range.done && Some(range.pass) == pass && !ranges.taken[*index]
        };
        let (index, _) = ranges.progress.iter().enumerate().find(free)?;
        ranges.taken[index] = true;
        Some(index)
    }

    /// Chunks of one range under one snapshot, until the range or the turn ends.
    async fn range<R: ChunkReader, W: ChunkWriter>(
        &self,
        lane: &mut Lane<R, W>,
        index: usize,
        applied: &mut AppliedTransactions,
    ) -> Copied<LaneEnd, R, W> {
        let mut progress = self.ranges().progress[index].clone();
        let (table, _) =
            self.model.iter().find(|(_, table)| table.name == progress.table).unwrap_or_else(
                || panic!("{} is mapped, since it is being copied", progress.table),
            );
        let taken = lane.reader.begin(table).await.map_err(CopyError::Read)?;
        let seen = sees(&taken, self.ended_before, applied);
        if !seen || taken.relfilenode != progress.relfilenode {
            lane.reader.release().await.map_err(CopyError::Read)?;
            let (table, pass) = (progress.table, progress.pass);
            let relfilenode = taken.relfilenode;
            return Ok(match seen {
                false => LaneEnd::Unseen,
                true => LaneEnd::Rewritten { table, pass, relfilenode },
            });
        }
        let blocks = self.chunk_blocks.get(&table).copied().unwrap_or(1);
        while !progress.done && Instant::now() < self.end {
            let step = self.chunk(lane, table, &progress, blocks).await?;
            progress.advance(&step);
            self.ranges().progress[index] = progress.clone();
        }
        lane.reader.release().await.map_err(CopyError::Read)?;
        Ok(LaneEnd::Done)
    }

    async fn chunk<R: ChunkReader, W: ChunkWriter>(
        &self,
        lane: &mut Lane<R, W>,
        table: TableIndex,
        progress: &Progress,
        blocks: u32,
    ) -> Copied<ChunkStep, R, W> {
        let chunk = progress.next_chunk(blocks);
        let end_block = chunk.end_block.unwrap_or(u32::MAX);
        let last = match progress.end_block {
            Some(_) => false,
            None => lane.reader.ends_before(end_block).await.map_err(CopyError::Read)?,
        };
        let chunk = if last { Chunk { end_block: None, ..chunk } } else { chunk };
        lane.reader.open(chunk).await.map_err(CopyError::Read)?;
        let mut rows = lane.reader.rows().await.map_err(CopyError::Read)?.unwrap_or_default();
        let mut count = rows.len() as u64;
        while let Some(more) = lane.reader.rows().await.map_err(CopyError::Read)? {
            let piece = progress.step(&chunk, 0, false).piece();
            let statements = plan_copied(self.model, table, progress.pass, rows);
            lane.writer.write_chunk(&piece, statements).await.map_err(CopyError::Write)?;
            count += more.len() as u64;
            rows = more;
        }
        let step = progress.step(&chunk, count, last);
        let statements = plan_copied(self.model, table, progress.pass, rows);
        lane.writer.write_chunk(&step, statements).await.map_err(CopyError::Write)?;
        Ok(step)
    }
}
