//! What the lanes of a turn do: ranges after ranges, pieces after pieces.
//!
//! ```text
//! range (nobody else has it) -> chunk -> piece -> write, while the next piece is read
//! ```
//!
//! A piece is written only after those before it, so the range's progress in the graph follows the
//! order in which it is read, a piece or two behind.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::future::try_join;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    copy::{Chunk, ChunkStep, Progress},
    graph::{Key, Model, Row, TableIndex, plan_copied},
};

use super::{ChunkReader, ChunkWriter, Copied, CopyError, Held, Lane, Ranges};

/// What the lanes of a turn share.
pub(super) struct Work<'a> {
    pub model: &'a Model,
    pub chunk_blocks: &'a BTreeMap<TableIndex, u32>,
    pub ranges: &'a Mutex<Ranges>,
    pub shown: &'a watch::Sender<Vec<Progress>>,
    pub held: &'a Held,
    pub range_ended: Notify,
    /// When it ends if the stream waits.
    pub end: Instant,
    /// When it ends in any case.
    pub end_max: Instant,
}

/// What a lane finds to do.
enum Next {
    /// This range.
    Range(usize),
    /// To wait: other lanes have all ranges of the pass.
    OtherLanes,
    /// Nothing any more.
    Nothing,
}

/// A range as it is being read: ahead of its progress in the graph.
struct Reading {
    table: TableIndex,
    blocks: u32,
    progress: Progress,
    open: Option<OpenChunk>,
}

/// A chunk that is being read.
struct OpenChunk {
    chunk: Chunk,
    /// The table ends with it.
    last: bool,
    /// What came last: whether it is the chunk's last piece is not known yet.
    rows: Vec<(Key, Row)>,
    /// Rows before these.
    count: u64,
}

/// Rows that are written in one transaction.
struct Piece {
    step: ChunkStep,
    rows: Vec<(Key, Row)>,
}

impl Reading {
    /// The next rows, bounded in bytes; chunk after chunk, until the range ends or a chunk ends when
    /// the turn is over.
    async fn next<R: ChunkReader>(
        &mut self,
        reader: &mut R,
        is_over: impl Fn() -> bool,
    ) -> Result<Option<Piece>, R::Error> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None if self.progress.done || is_over() => return Ok(None),
            None => self.next_chunk(reader).await?,
        };
        Ok(Some(match reader.rows().await? {
            Some(more) => {
                let step = self.progress.step(&open.chunk, 0, false).piece();
                let rows = std::mem::replace(&mut open.rows, more);
                open.count += rows.len() as u64;
                self.open = Some(open);
                Piece { step, rows }
            }
            None => {
                let count = open.count + open.rows.len() as u64;
                let step = self.progress.step(&open.chunk, count, open.last);
                self.progress.advance(&step);
                Piece { step, rows: open.rows }
            }
        }))
    }

    async fn next_chunk<R: ChunkReader>(&self, reader: &mut R) -> Result<OpenChunk, R::Error> {
        let chunk = self.progress.next_chunk(self.blocks);
        let last = match self.progress.end_block {
            Some(_) => false,
            None => reader.ends_before(self.table, chunk.end_block.unwrap_or(u32::MAX)).await?,
        };
        let chunk = if last { Chunk { end_block: None, ..chunk } } else { chunk };
        reader.open(self.table, self.progress.pass, chunk).await?;
        let rows = reader.rows().await?.unwrap_or_default();
        Ok(OpenChunk { chunk, last, rows, count: 0 })
    }
}

impl Work<'_> {
    fn ranges(&self) -> MutexGuard<'_, Ranges> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No further chunk is begun.
    fn is_over(&self) -> bool {
        let now = Instant::now();
        now >= self.end_max || (now >= self.end && self.held.stream_waits())
    }

    /// One lane's turn: range after range.
    pub async fn lane<R: ChunkReader, W: ChunkWriter>(
        &self,
        lane: &mut Lane<R, W>,
    ) -> Copied<(), R, W> {
        while !self.is_over() {
            // Before the look, so that an end between the two is not missed.
            let ended = self.range_ended.notified();
            match self.take() {
                Next::Range(index) => {
                    let result = self.range(lane, index).await;
                    self.ranges().taken[index] = false;
                    self.range_ended.notify_waiters();
                    result?;
                }
                Next::OtherLanes => ended.await,
                Next::Nothing => break,
            }
        }
        Ok(())
    }

    /// A range that is not done and that no other lane has. Relationships come once all nodes are
    /// there.
    fn take(&self) -> Next {
        let mut ranges = self.ranges();
        let open = || ranges.progress.iter().enumerate().filter(|(_, range)| !range.done);
        let Some(pass) = open().map(|(_, range)| range.pass).min() else { return Next::Nothing };
        let free =
            |(index, range): &(usize, &Progress)| range.pass == pass && !ranges.taken[*index];
        let Some((index, _)) = open().find(free) else { return Next::OtherLanes };
        ranges.taken[index] = true;
        Next::Range(index)
    }

    /// Chunks of one range, until the range or the turn ends. While a piece is written, the next is
    /// read.
    async fn range<R: ChunkReader, W: ChunkWriter>(
        &self,
        lane: &mut Lane<R, W>,
        index: usize,
    ) -> Copied<(), R, W> {
        let progress = self.ranges().progress[index].clone();
        let (table, _) =
            self.model.iter().find(|(_, table)| table.name == progress.table).unwrap_or_else(
                || panic!("{} is mapped, since it is being copied", progress.table),
            );
        let blocks = self.chunk_blocks.get(&table).copied().unwrap_or(1);
        let pass = progress.pass;
        let mut reading = Reading { table, blocks, progress, open: None };
        let Lane { reader, writer } = lane;
        let mut piece = reading.next(reader, || self.is_over()).await.map_err(CopyError::Read)?;
        while let Some(Piece { step, rows }) = piece {
            let write = async {
                let statements = plan_copied(self.model, table, pass, rows);
                writer.write_chunk(&step, statements).await.map_err(CopyError::Write)
            };
            let read =
                async { reading.next(reader, || self.is_over()).await.map_err(CopyError::Read) };
            let (_, next) = try_join(write, read).await?;
            self.written(index, &step);
            piece = next;
        }
        Ok(())
    }

    fn written(&self, index: usize, step: &ChunkStep) {
        if step.to_block == step.from_block && !step.done {
            return;
        }
        let mut ranges = self.ranges();
        ranges.progress[index].advance(step);
        self.shown.send_replace(ranges.progress.clone());
    }
}
