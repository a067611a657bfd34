//! The two sides of the copy in the simulated world: rows under delayed snapshots, and writes with
//! progress.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    ops::Range,
    time::Duration,
};

use tokio::time::sleep;
use wal2graph::{
    checkpoint::Position,
    copy::{Chunk, ChunkStep, Heap, Progress},
    graph::{Cell, Key, Pass, Row, Statement, TableIndex, model::Shape},
    lsn::Lsn,
    pipeline::{ChunkReader, ChunkWriter, Lane, Search, TableCopier, Taken, TurnLength, Waiting},
};

use super::{
    faults::Fault,
    locks,
    moments::Sometimes,
    program::{SimError, SimSink},
    reader,
    records::sort,
    schema::{RowKey, to_key},
    traffic::BLOCKS,
    world::{Shared, World},
};

/// The maximum rows in one piece of a chunk.
const PIECE_ROWS: usize = 2;

/// The next piece of a chunk's rows; `None`: there are no more.
pub fn next_piece(left: &mut Vec<(Key, Row)>) -> Option<Vec<(Key, Row)>> {
    let rest = left.split_off(left.len().min(PIECE_ROWS));
    let piece = std::mem::replace(left, rest);
    (!piece.is_empty()).then_some(piece)
}

/// The real copier over the world, with one or two lanes.
pub fn copier(
    shared: &Shared,
    sink: &impl Fn() -> SimSink,
    progress: Vec<Progress>,
    ended_before: u64,
) -> TableCopier<SimReader, SimSink, reader::SimReader> {
    let mut world = shared.lock();
    let lanes = world.rng.usize(1..=2);
    let mut lane = || Lane {
        reader: SimReader {
            world: shared.clone(),
            id: world.locks.reader(),
            open: None,
            earlier: None,
            left: Vec::new(),
        },
        writer: sink(),
        graph: reader::SimReader::new(shared.clone(), false),
    };
    let lanes = (0..lanes).map(|_| lane()).collect();
    let blocks = world.rng.u32(1..=2);
    let chunk_blocks = world.schema.tables().map(|table| (table, blocks)).collect();
    let model = world.schema.model.clone();
    let mut millis = |most| Duration::from_millis(world.rng.u64(1..most));
    let turn = TurnLength { waiting: millis(30), idle: millis(400) };
    let copier = TableCopier::new(model, lanes, chunk_blocks, ended_before, progress);
    copier.in_turns(turn)
}

/// Reads the tables under a snapshot.
pub struct SimReader {
    world: Shared,
    /// Its name among the sessions that lock tables.
    id: u64,
    /// How many transactions the snapshot sees.
    open: Option<usize>,
    /// State that a planted fault keeps from an earlier turn.
    earlier: Option<(usize, String)>,
    left: Vec<(Key, Row)>,
}

impl ChunkReader for SimReader {
    type Error = SimError;

    async fn begin(&mut self, heaps: &[Heap]) -> Result<Taken, SimError> {
        pause(&self.world, 10).await;
        let mut world = self.world.lock();
        // The snapshot sees what the held stream has not applied.
        world.commits_beside_a_look();
        let fault = world.fault;
        let fresh = world.snapshot();
        let (visible, text) = match fault {
            Some(Fault::ChunkAfterNewerBatches) => {
                self.earlier.replace(fresh.clone()).unwrap_or(fresh)
            }
            _ => fresh,
        };
        let file = |table: TableIndex| match fault {
            Some(Fault::RewriteBetweenChunksUnseen) => world.first_file(table),
            _ => world.server.relfilenodes[table.0],
        };
        let free = heaps.iter().filter(|heap| world.locks.is_free(heap.table));
        let files: BTreeMap<Heap, u32> = free.map(|heap| (*heap, file(heap.table))).collect();
        world.locks.lock(self.id, files.keys().map(|heap| heap.table));
        self.open = Some(visible);
        let all_seeing = format!("{0}:{0}:", world.server.next_xid + 1);
        let text = match fault {
            Some(Fault::ChunkMissesAppliedTransaction | Fault::ChunkAfterNewerBatches) => {
                all_seeing
            }
            _ => text,
        };
        let name = visible.to_string();
        let (snapshot, gone) = (text.parse().expect("a snapshot"), BTreeSet::new());
        Ok(Taken { snapshot, name, files, gone })
    }

    async fn join(&mut self, taken: &Taken) -> Result<bool, SimError> {
        pause(&self.world, 10).await;
        let mut world = self.world.lock();
        if world.fault != Some(Fault::LaneReadsUnlocked) {
            if !taken.files.keys().all(|heap| world.locks.is_free(heap.table)) {
                return Ok(false);
            }
            world.locks.lock(self.id, taken.files.keys().map(|heap| heap.table));
        }
        self.open = Some(taken.name.parse().expect("a snapshot of another reader"));
        Ok(true)
    }

    async fn open(&mut self, heap: Heap, pass: Pass, chunk: Chunk) -> Result<(), SimError> {
        let (table, blocks) = (heap.table, chunk.from_block..chunk.end_block.unwrap_or(u32::MAX));
        self.queue(table).await?;
        self.left = self.read(table, |_, block| in_range(&blocks, block));
        if pass == Pass::Relationships && self.is_node(table) {
            let cells = self.left.iter_mut().flat_map(|(_, row)| &mut row.properties);
            cells.for_each(|cell| *cell = Cell::Unchanged);
        }
        Ok(())
    }

    async fn rows(&mut self) -> Result<Option<Vec<(Key, Row)>>, SimError> {
        pause(&self.world, 4).await;
        Ok(next_piece(&mut self.left))
    }

    async fn ends_before(&mut self, _: Heap, block: u32) -> Result<bool, SimError> {
        Ok(block >= BLOCKS)
    }

    async fn open_keys(
        &mut self,
        table: TableIndex,
        keys: &[Key],
        search: Search,
    ) -> Result<(), SimError> {
        self.queue(table).await?;
        // Every other key has no text for a search.
        let has_text = |key: &RowKey| key.iter().sum::<i64>() % 2 == 0;
        {
            let moments = &mut self.world.lock().moments;
            moments.sometimes(Sometimes::IncompleteRowsRead);
            if search == Search::AmongAll {
                moments.sometimes(Sometimes::KeyWithoutText);
            }
        }
        let is_found = |key: &RowKey| search == Search::AmongAll || has_text(key);
        self.left = self.read(table, |key, _| keys.contains(&to_key(key)) && is_found(key));
        Ok(())
    }

    async fn release(&mut self) -> Result<(), SimError> {
        self.open = None;
        self.left.clear();
        self.world.lock().locks.release(self.id);
        Ok(())
    }

    fn wanted(&self) -> impl Future<Output = Result<Waiting, SimError>> + Send + 'static {
        let world = self.world.clone();
        async move {
            locks::wanted(world).await;
            Ok(Waiting { process: 0, table: String::new() })
        }
    }

    fn tell_given_way(&self, _: &Waiting) {
        let mut world = self.world.lock();
        world.moments.sometimes(Sometimes::CopyGivesWay);
        if world.locks.is_wanted() {
            world.violate(
                "the log says that the copy has given way, while it has a lock".to_owned(),
            );
        }
    }

    fn is_for_now(error: &SimError) -> bool {
        matches!(error, SimError::Blocked)
    }

    async fn partitions(&mut self, _: TableIndex) -> Result<BTreeMap<u32, u32>, SimError> {
        Ok(BTreeMap::new())
    }

    async fn tell_unseen(&mut self) -> Result<(), SimError> {
        Ok(())
    }

    async fn log_end(&mut self) -> Result<Lsn, SimError> {
        let mut world = self.world.lock();
        world.commits_beside_a_look();
        let is_settling = self.open.is_none() && world.progress().iter().all(|range| range.done);
        match world.fault {
            Some(Fault::SuspectIsRealAtOnce) => Ok(Lsn::ZERO),
            Some(Fault::SettledAtTheLastPage) if is_settling => Ok(Lsn::ZERO),
            _ => Ok(Lsn(world.server.end)),
        }
    }
}

fn in_range(blocks: &Range<u32>, block: u32) -> bool {
    blocks.contains(&block)
}

impl Drop for SimReader {
    fn drop(&mut self) {
        self.world.lock().locks.release(self.id);
    }
}

impl SimReader {
    /// Waits in the table's queue, if the reader does not hold its lock.
    async fn queue(&self, table: TableIndex) -> Result<(), SimError> {
        if self.world.lock().rng.u8(0..60) == 0 {
            return Err(SimError::Blocked);
        }
        loop {
            {
                let mut world = self.world.lock();
                let is_mine = world.locks.has(self.id, table);
                if !is_mine && world.fault != Some(Fault::LaneReadsUnlocked) {
                    world.violate(format!("{table:?} is read without a lock"));
                }
                if is_mine || world.locks.is_free(table) {
                    return Ok(());
                }
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn is_node(&self, table: TableIndex) -> bool {
        matches!(self.world.lock().schema.model.table(table).shape, Shape::Node(_))
    }

    fn read(&self, table: TableIndex, wanted: impl Fn(&RowKey, u32) -> bool) -> Vec<(Key, Row)> {
        let visible = self.open.expect("a snapshot is open");
        let world = self.world.lock();
        let rows = world.server.states[visible][table.0].iter();
        rows.filter(|(key, row)| wanted(key, row.block))
            .map(|(key, row)| world.schema.graph_row(table, key, row))
            .collect()
    }
}

impl ChunkWriter for SimSink {
    type Error = SimError;

    async fn write_chunk(
        &mut self,
        step: &ChunkStep,
        statements: Vec<Statement>,
    ) -> Result<(), SimError> {
        let step = step.clone();
        self.refuses(&statements)?;
        // The write has begun: it does not see later commits of other lanes.
        let seen = self.world.lock().graph.memory.clone();
        self.write_copied(move |world| {
            let mut statements = statements;
            if world.fault == Some(Fault::CopyMatchesFromBothSides)
                && step.pass == Pass::Relationships
            {
                statements.extend(world.match_from_targets(&step.table));
            }
            world.moments.trace(|| format!("{step:?} is copied: {statements:?}"));
            world.check_made_once(&seen, &statements);
            let range = world.progress().iter_mut().find(|range| {
                (&range.table, range.pass, range.part) == (&step.table, step.pass, step.part)
            });
            match range {
                Some(range) if range.next_block == step.from_block && !range.done => {
                    if step.moves() {
                        range.advance(&step);
                    }
                    world.apply_copied(&statements);
                }
                _ => world.violate(format!("a chunk that does not fit the progress: {step:?}")),
            }
        })
        .await
    }

    async fn write_rows(
        &mut self,
        at: Position,
        _: TableIndex,
        statements: Vec<Statement>,
    ) -> Result<(), SimError> {
        self.refuses(&statements)?;
        self.write_copied(move |world| {
            world.check_position(at);
            world.apply_copied(&statements);
        })
        .await
    }

    async fn restart(&mut self, at: Position, progress: &[Progress]) -> Result<(), SimError> {
        let progress = progress.to_vec();
        self.write_copied(move |world| {
            world.check_position(at);
            world.moments.sometimes(Sometimes::TableCopiedAgain);
            let table = &progress[0].table;
            let table = table.clone();
            world.progress().retain(|range| range.table != table);
            world.progress().extend(progress);
            sort(world.progress());
        })
        .await
    }

    async fn incomplete(
        &mut self,
        limit: usize,
    ) -> Result<BTreeMap<TableIndex, Vec<Key>>, SimError> {
        pause(&self.world, 10).await;
        let world = self.world.lock();
        let mut by_table: BTreeMap<TableIndex, Vec<Key>> = BTreeMap::new();
        if world.fault != Some(Fault::IncompleteRowsNotReadAgain) {
            for (table, key) in world.graph.memory.incomplete(&world.schema.model) {
                by_table.entry(table).or_default().push(key);
            }
        }
        by_table.values_mut().for_each(|keys| keys.truncate(limit));
        Ok(by_table)
    }

    async fn settle(&mut self, at: Position) -> Result<(), SimError> {
        self.write_copied(move |world| {
            world.check_position(at);
            if at.lsn.0 < world.server.end {
                world.moments.sometimes(Sometimes::CopyCompletesUnderTraffic);
            }
            world.settle();
        })
        .await
    }
}

impl SimSink {
    /// A sent write reaches the graph or not, independent of its sender.
    async fn write_copied(
        &self,
        work: impl FnOnce(&mut World) + Send + 'static,
    ) -> Result<(), SimError> {
        let (shared, claim, is_calm) = (self.world.clone(), self.claim.clone(), self.is_calm);
        let write = tokio::spawn(async move {
            pause(&shared, 20).await;
            locks::stall(&shared).await;
            let mut world = shared.lock();
            world.graph.records.holds(&claim)?;
            work(&mut world);
            if !is_calm && world.rng.u8(0..60) == 0 { Err(SimError::Broken) } else { Ok(()) }
        });
        write.await.map_err(|_| SimError::Broken)?
    }
}

pub async fn pause(world: &Shared, most_millis: u64) {
    let millis = world.lock().rng.u64(0..most_millis);
    sleep(Duration::from_millis(millis)).await;
}
