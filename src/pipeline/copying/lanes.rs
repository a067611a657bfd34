//! The work of a turn's lanes: range after range, piece after piece.
//!
//! ```text
//! range (nobody else has it) -> chunk -> piece -> write, while the next piece is read
//! ```
//!
//! A piece is written only after those before it. So the range's progress in the graph follows the
//! reading order, one or two pieces behind.
//!
//! A lane reads under locks and releases them at once when another session waits for one: also in
//! the middle of a chunk, and also while it waits only for the graph. Another turn reads that chunk
//! again. The lane still writes the rows that it has read: the hold protects them, not the locks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::future::try_join;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    copy::{Chunk, ChunkStep, Heap, Progress},
    graph::{Key, Model, Pass, Repair, Row, TableIndex, plan_copied, plan_repaired},
    lsn::Lsn,
    request::Purpose,
};

use super::{
    super::letters::{NotWritten, Rows},
    ChunkReader, ChunkWriter, Copied, CopyError, GraphReader, Held, Lane, Letters, Ranges, Waiting,
    heap_of,
    looks::{by_key, known},
    reconcile::Reconcile,
};

/// The state that the lanes of a turn share.
pub(super) struct Work<'a> {
    pub model: &'a Model,
    pub chunk_blocks: &'a BTreeMap<Heap, u32>,
    pub ranges: &'a Mutex<Ranges>,
    pub shown: &'a watch::Sender<Vec<Progress>>,
    pub held: &'a Held,
    /// The locked relations and their files.
    pub locked: &'a BTreeMap<Heap, u32>,
    /// The number of lanes that hold their locks.
    pub holding: AtomicUsize,
    pub range_ended: Notify,
    /// The turn's end if the stream waits.
    pub end: Instant,
    /// The turn's end in any case.
    pub end_max: Instant,
    /// Whether chunks are broken off.
    pub way: watch::Sender<Way>,
    /// The chunks that lanes have abandoned.
    pub broken: Mutex<Broken>,
    /// What compares rows with the graph.
    pub reconcile: Option<&'a Mutex<Reconcile>>,
    /// The rows that are set aside.
    pub letters: &'a Letters,
    /// The log's end after the snapshot.
    pub through: Lsn,
}

/// Whether lanes may finish their current chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// They may finish.
    Free,
    /// The turn has lasted too long: lanes abandon chunks that can be smaller.
    TooLong,
    /// Another session waits for a table: lanes abandon all chunks.
    Wanted(Waiting),
}

/// Chunks that lanes could not finish.
#[derive(Debug, Default)]
pub(super) struct Broken {
    /// These need smaller chunks.
    pub cut: BTreeSet<Heap>,
    /// The server made a lane wait for one of these.
    pub blocked: BTreeSet<Heap>,
}

/// What a lane has read ahead of its writes.
struct Ahead {
    /// `None`: the range ends, or the lane's part in the turn does.
    piece: Option<Piece>,
    locks: Locks,
}

/// The state of a lane's locks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locks {
    Kept,
    GivenUp,
}

/// A lane's next step.
enum Next {
    /// This range.
    Range(usize),
    /// Wait: other lanes have all ranges of the pass.
    OtherLanes,
    /// No work is left.
    Nothing,
}

/// A range while a lane reads it: ahead of its progress in the graph.
struct Reading {
    heap: Heap,
    blocks: u32,
    progress: Progress,
    open: Option<OpenChunk>,
}

/// A chunk that is being read.
struct OpenChunk {
    chunk: Chunk,
    /// The table ends with it.
    last: bool,
    /// The latest rows. They may or may not be the chunk's last piece.
    rows: Vec<(Key, Row)>,
    /// Rows before these.
    count: u64,
}

/// Rows of one transaction.
struct Piece {
    step: ChunkStep,
    rows: Vec<(Key, Row)>,
}

impl Reading {
    /// The next rows, bounded in bytes. Goes from chunk to chunk until the range ends, or until a
    /// chunk ends after the turn's end.
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
            None => reader.ends_before(self.heap, chunk.end_block.unwrap_or(u32::MAX)).await?,
        };
        let chunk = if last { Chunk { end_block: None, ..chunk } } else { chunk };
        reader.open(self.heap, self.progress.pass, chunk).await?;
        let rows = reader.rows().await?.unwrap_or_default();
        Ok(OpenChunk { chunk, last, rows, count: 0 })
    }
}

impl Work<'_> {
    fn ranges(&self) -> MutexGuard<'_, Ranges> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn broken(&self) -> MutexGuard<'_, Broken> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No further chunk is begun.
    fn is_over(&self) -> bool {
        let now = Instant::now();
        let is_full = || self.reconcile.is_some_and(|it| known(it).is_full());
        now >= self.end_max
            || is_full()
            || (now >= self.end && self.held.stream_waits())
            || *self.way.borrow() != Way::Free
    }

    /// Resolves when a lane must abandon its chunk.
    async fn must_leave(&self, can_be_cut: bool) {
        let mut way = self.way.subscribe();
        let is_so = |way: &Way| match way {
            Way::Free => false,
            Way::TooLong => can_be_cut,
            Way::Wanted(_) => true,
        };
        // The sender is here.
        let _ = way.wait_for(is_so).await;
    }

    /// One lane's turn: range after range. The lane releases its locks at the end.
    pub async fn lane<R: ChunkReader, W: ChunkWriter, G: GraphReader<Error: Into<W::Error>>>(
        &self,
        lane: &mut Lane<R, W, G>,
    ) -> Copied<(), R, W> {
        while !self.is_over() {
            // Registers first, so that no end between the two is missed.
            let ended = self.range_ended.notified();
            match self.take() {
                Next::Range(index) => {
                    let result = self.range(lane, index).await;
                    self.ranges().taken[index] = false;
                    self.range_ended.notify_waiters();
                    if result? == Locks::GivenUp {
                        return Ok(());
                    }
                }
                Next::OtherLanes => tokio::select! {
                    biased;
                    () = ended => {}
                    () = self.must_leave(false) => {}
                },
                Next::Nothing => break,
            }
        }
        self.give_up(&mut lane.reader).await.map_err(CopyError::Read)
    }

    /// Releases a lane's locks. The last lane logs which session wanted them.
    async fn give_up<R: ChunkReader>(&self, reader: &mut R) -> Result<(), R::Error> {
        reader.release().await?;
        let is_last = self.holding.fetch_sub(1, Ordering::Relaxed) == 1;
        if is_last && let Way::Wanted(waiting) = &*self.way.borrow() {
            reader.tell_given_way(waiting);
        }
        Ok(())
    }

    /// Takes a range that is locked, not done, and not taken. Relationships follow once all nodes
    /// exist.
    fn take(&self) -> Next {
        let mut ranges = self.ranges();
        let all_open = ranges.progress.iter().filter(|range| !range.done);
        let Some(pass) = all_open.map(|range| range.pass).min() else { return Next::Nothing };
        if pass == Pass::Graph {
            return Next::Nothing;
        }
        let blocked = &self.broken().blocked;
        let is_here = |range: &Progress| {
            let heap = heap_of(self.model, range);
            self.locked.contains_key(&heap) && !blocked.contains(&heap)
        };
        let open = ranges.progress.iter().enumerate();
        let open = open.filter(|(_, range)| !range.done && range.pass == pass && is_here(range));
        let open: Vec<usize> = open.map(|(index, _)| index).collect();
        if open.is_empty() {
            return Next::Nothing;
        }
        let Some(index) = open.into_iter().find(|index| !ranges.taken[*index]) else {
            return Next::OtherLanes;
        };
        ranges.taken[index] = true;
        Next::Range(index)
    }

    /// Copies chunks of one range, until the range or the turn ends. Reads the next piece while it
    /// writes one.
    async fn range<R: ChunkReader, W: ChunkWriter, G: GraphReader<Error: Into<W::Error>>>(
        &self,
        lane: &mut Lane<R, W, G>,
        index: usize,
    ) -> Copied<Locks, R, W> {
        let progress = self.ranges().progress[index].clone();
        let heap = heap_of(self.model, &progress);
        let (table, pass) = (heap.table, progress.pass);
        let blocks = self.chunk_blocks.get(&heap).copied().unwrap_or(1);
        let mut reading = Reading { heap, blocks, progress, open: None };
        let Lane { reader, writer, graph } = lane;
        let mut ahead = self.read(&mut reading, reader).await.map_err(CopyError::Read)?;
        loop {
            let Ahead { piece: Some(Piece { step, rows }), locks } = ahead else {
                return Ok(ahead.locks);
            };
            let is_written = Notify::new();
            let write = async {
                let written = match (pass, self.reconcile) {
                    (Pass::Rows, Some(reconcile)) => {
                        self.write_differing((writer, graph), reconcile, (table, &step), rows).await
                    }
                    _ => {
                        let plan = |rows| plan_copied(self.model, table, pass, rows);
                        let of = self.rows(table, plan);
                        self.letters.write(writer, &of, Some(&step), rows).await.map(drop)
                    }
                };
                is_written.notify_one();
                written.map_err(CopyError::from)
            };
            let read = async {
                let after = match locks {
                    Locks::Kept => self.read_beside(&is_written, &mut reading, reader).await,
                    Locks::GivenUp => Ok(Ahead { piece: None, locks }),
                };
                after.map_err(CopyError::Read)
            };
            let (_, after) = try_join(write, read).await?;
            self.written(index, &step);
            ahead = after;
        }
    }

    /// Whether the entities of the table are compared, too.
    fn has_other_pass(&self, table: TableIndex) -> bool {
        let name = &self.model.table(table).name;
        self.ranges().progress.iter().any(|it| it.pass == Pass::Graph && it.table == *name)
    }

    /// Writes the rows that the graph lacks. Where it has all, only the chunk's last step is written. Rows
    /// that it has otherwise are the other pass's: each is on one of its pages.
    async fn write_differing<W: ChunkWriter, G: GraphReader<Error: Into<W::Error>>>(
        &self,
        (writer, graph): (&mut W, &mut G),
        reconcile: &Mutex<Reconcile>,
        (table, step): (TableIndex, &ChunkStep),
        mut rows: Vec<(Key, Row)>,
    ) -> Result<(), NotWritten<W::Error>> {
        let count = rows.len();
        let keys: Vec<Key> = rows.iter().map(|(key, _)| key.clone()).collect();
        // Without the other pass, rows that are there are compared here.
        let missing = match self.has_other_pass(table) {
            true => graph.missing(table, &keys).await.map_err(of_graph)?,
            false => keys,
        };
        let entities = match missing.is_empty() {
            true => Vec::new(),
            false => graph.found(table, &missing).await.map_err(of_graph)?,
        };
        let (entities, missing) = (by_key(entities), BTreeSet::from_iter(missing));
        rows.retain(|(key, _)| missing.contains(key));
        let (write, purpose) = {
            let mut known = known(reconcile);
            known.compared(table, count);
            let write = known.differing(self.model, table, rows, &entities, self.through);
            (write, known.purpose)
        };
        if purpose == Purpose::Verify || (write.is_empty() && !step.moves()) {
            return Ok(());
        }
        let stamp = self.held.stamp;
        let plan =
            |write| plan_repaired(self.model, table, Repair { write, stamp, ..Repair::default() });
        let of = self.rows(table, plan);
        let waiting = self.letters.waiting(table, write.iter().map(|(key, _)| key));
        self.letters.write_equal(writer, &of, Some(step), write, waiting).await
    }

    fn rows<P>(&self, table: TableIndex, plan: P) -> Rows<'_, P> {
        Rows { model: self.model, table, at: self.held.position, plan }
    }

    /// The next piece. If the lane has to leave: at once the end of its part in the turn.
    async fn read<R: ChunkReader>(
        &self,
        reading: &mut Reading,
        reader: &mut R,
    ) -> Result<Ahead, R::Error> {
        let (heap, can_be_cut) = (reading.heap, reading.blocks > 1);
        let next = tokio::select! {
            biased;
            () = self.must_leave(can_be_cut) => None,
            next = reading.next(reader, || self.is_over()) => Some(next),
        };
        match next {
            Some(Ok(piece)) => return Ok(Ahead { piece, locks: Locks::Kept }),
            Some(Err(error)) if R::is_for_now(&error) => {
                self.broken().blocked.insert(heap);
            }
            Some(Err(error)) => return Err(error),
            None => {
                self.broken().cut.insert(heap);
            }
        }
        self.give_up(reader).await?;
        Ok(Ahead { piece: None, locks: Locks::GivenUp })
    }

    /// Reads the next piece beside a write, then waits for the write, however slow the graph is.
    /// Still releases the locks meanwhile if another session wants them.
    async fn read_beside<R: ChunkReader>(
        &self,
        is_written: &Notify,
        reading: &mut Reading,
        reader: &mut R,
    ) -> Result<Ahead, R::Error> {
        let ahead = self.read(reading, reader).await?;
        if ahead.locks == Locks::GivenUp {
            return Ok(ahead);
        }
        tokio::select! {
            biased;
            () = is_written.notified() => return Ok(ahead),
            () = self.must_leave(false) => {}
        }
        if reading.open.is_some() {
            self.broken().cut.insert(reading.heap);
        }
        self.give_up(reader).await?;
        Ok(Ahead { locks: Locks::GivenUp, ..ahead })
    }

    fn written(&self, index: usize, step: &ChunkStep) {
        if !step.moves() {
            return;
        }
        let mut ranges = self.ranges();
        ranges.progress[index].advance(step);
        self.shown.send_replace(ranges.progress.clone());
    }
}

/// The graph can not be read.
fn of_graph<W>(error: impl Into<W>) -> NotWritten<W> {
    NotWritten::Write(error.into())
}
