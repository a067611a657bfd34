//! Instances of the program in the world: the real pipeline, with a source, a sink and a copier of the simulation.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use wal2graph::{
    change::{Change, Event},
    checkpoint::{Epoch, Position},
    copy::{AppliedTransactions, Progress, Snapshot},
    engine::{Batch, Engine, Limits},
    graph::{Circumstances, Key, Mutations, Pass, Row, Statement, TableIndex, plan, plan_copied},
    lsn::Lsn,
    pipeline::{
        Copier, Ended, Failure, Pipeline, PipelineError, Sink, Source, Status, Turn, Until,
    },
};

use super::{
    faults::{Fault, believing_in_enforcement},
    schema::{RowKey, Schema},
    world::{Refused, Shared},
};

/// Why an instance ended early.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    #[error("the connection broke")]
    Broken,
    #[error("another instance has the checkpoint")]
    Fenced,
}

impl Failure for SimError {
    fn is_transient(&self) -> bool {
        matches!(self, SimError::Broken)
    }
}

/// Runs one instance until it is stopped, fails, or reaches `until`.
pub async fn run(world: &Shared, id: u32, until: Until) -> Result<Ended, String> {
    let fault = world.lock().fault;
    if fault == Some(Fault::EpochClaimedBeforeTheSlot) {
        claim(world);
    }
    let start = take_slot(world, id).await?;
    let (position, epoch) = match fault {
        Some(Fault::EpochClaimedBeforeTheSlot) => world.lock().graph.checkpoint.unwrap(),
        _ => claim(world).expect("taking the slot makes a checkpoint"),
    };
    let position = match fault {
        Some(Fault::SplitTransactionReplayedWhole) => Position::at(position.lsn),
        _ => position,
    };
    let limits = limits(world);
    let mut source = SimSource { world: world.clone(), id, start, sent: Sent::Between(0) };
    let settled = world.lock().graph.settled;
    let pipeline = Pipeline {
        source: &mut source,
        sink: SimSink { world: world.clone(), id, epoch, believes: position },
        copier: (!settled).then(|| SimCopier {
            world: world.clone(),
            epoch,
            ended_before: world.lock().server.next_xid,
            has_waited: false,
            earlier: None,
        }),
        engine: Engine::new(limits, position),
        until,
        status: watch::Sender::new(Status::default()),
    };
    match pipeline.run(std::future::pending()).await {
        Ok(ended) => Ok(ended),
        Err(error) => {
            if matches!(error, PipelineError::Bug(_) | PipelineError::Engine(_)) {
                world.lock().violate(error.to_string());
            }
            Err(error.to_string())
        }
    }
}

/// Reads the checkpoint, or makes it, and starts the stream there; a slot that is in use is waited for.
async fn take_slot(world: &Shared, id: u32) -> Result<Lsn, String> {
    loop {
        {
            let mut world = world.lock();
            if world.server.slot.holder.is_none() {
                if world.graph.checkpoint.is_none() {
                    world.create_checkpoint();
                }
                let checkpoint = world.graph.checkpoint.expect("just made").0.lsn;
                if world.server.slot.confirmed > checkpoint {
                    let confirmed = world.server.slot.confirmed;
                    world.violate(format!("the slot is at {confirmed}, ahead of {checkpoint}"));
                    return Err("refused".to_owned());
                }
                world.server.slot.holder = Some(id);
                return Ok(checkpoint);
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
}

fn claim(world: &Shared) -> Option<(Position, Epoch)> {
    let mut world = world.lock();
    let (position, epoch) = world.graph.checkpoint.as_mut()?;
    epoch.0 += 1;
    Some((*position, *epoch))
}

fn limits(world: &Shared) -> Limits {
    let rng = &mut world.lock().rng;
    Limits {
        batch_changes: rng.usize(1..20),
        part_changes: rng.usize(1..10),
        idle_interval: Duration::from_millis(rng.u64(0..200)),
        ..Limits::DEFAULT
    }
}

struct SimSource {
    world: Shared,
    id: u32,
    start: Lsn,
    sent: Sent,
}

/// Where the stream is.
#[derive(Clone, Copy)]
enum Sent {
    /// Everything before the transaction with this index.
    Between(usize),
    /// The transaction's Begin and this many of its changes.
    Within(usize, usize),
}

impl Drop for SimSource {
    fn drop(&mut self) {
        let mut world = self.world.lock();
        if world.server.slot.holder == Some(self.id) {
            world.server.slot.holder = None;
        }
    }
}

impl Source for SimSource {
    type Error = SimError;

    async fn next(&mut self) -> Result<Vec<Event>, SimError> {
        loop {
            let pause = self.world.lock().rng.u64(0..8);
            sleep(Duration::from_millis(pause)).await;
            if let Some(events) = self.deliver()? {
                return Ok(events);
            }
        }
    }

    fn acknowledge(&mut self, lsn: Lsn) {
        self.world.lock().acknowledge(lsn);
    }
}

impl SimSource {
    fn deliver(&mut self) -> Result<Option<Vec<Event>>, SimError> {
        let shared = self.world.clone();
        let mut world = shared.lock();
        if world.server.slot.holder != Some(self.id) || world.rng.u16(0..400) == 0 {
            return Err(SimError::Broken);
        }
        let fault = world.fault;
        let mut events = Vec::new();
        for _ in 0..world.rng.usize(1..12) {
            let (index, done) = match self.sent {
                Sent::Between(index) => (index, None),
                Sent::Within(index, done) => (index, Some(done)),
            };
            let Some(logged) = world.server.log.get(index) else {
                let wal_end = Lsn(world.server.end);
                let reply_requested = world.rng.bool();
                if world.rng.u8(0..3) == 0 {
                    events.push(Event::Keepalive { wal_end, reply_requested });
                    if fault == Some(Fault::IdleAcknowledgedBeforeTheCheckpoint) {
                        world.acknowledge(wal_end);
                    }
                }
                break;
            };
            // The server skips what committed before the start, and what is confirmed already.
            let start = self.start.max(match done {
                None => world.server.slot.confirmed,
                Some(_) => Lsn::ZERO,
            });
            let skipped = match fault {
                Some(Fault::DuplicatesByLsnOnly) => logged.begin.commit_lsn <= start,
                _ => logged.begin.commit_lsn < start,
            };
            let early = fault == Some(Fault::KeepaliveOutOfOrder) && done.is_none() && !skipped;
            let wal_end = logged.commit.end_lsn;
            if early && world.rng.bool() {
                events.push(Event::Keepalive { wal_end, reply_requested: true });
                break;
            }
            let logged = &world.server.log[index];
            self.sent = match done {
                None if skipped => Sent::Between(index + 1),
                None => {
                    events.push(Event::Begin(logged.begin));
                    Sent::Within(index, 0)
                }
                Some(done) if done < logged.changes.len() => {
                    events.push(Event::Change(logged.changes[done].clone()));
                    Sent::Within(index, done + 1)
                }
                Some(_) => {
                    events.push(Event::Commit(logged.commit));
                    Sent::Between(index + 1)
                }
            };
        }
        Ok((!events.is_empty()).then_some(events))
    }
}

struct SimSink {
    world: Shared,
    id: u32,
    epoch: Epoch,
    /// The position that the instance believes in: with a planted fault not the checkpoint's.
    believes: Position,
}

impl Sink for SimSink {
    type Error = SimError;

    async fn write(&mut self, batch: Batch, settled: bool) -> Result<(), SimError> {
        let (fault, schema) = {
            let world = self.world.lock();
            (world.fault, world.schema.clone())
        };
        let statements =
            statements(&schema, fault, &batch.changes, batch.whole_transactions, settled);
        let mut advance = batch.advance;
        if fault == Some(Fault::SplitTransactionReplayedWhole) && advance.from == self.believes {
            advance.from = self.world.lock().graph.checkpoint.expect("made at the start").0;
        }
        self.believes = advance.to;
        // Once sent, a write reaches the graph or not whatever becomes of the sender.
        let (world, id, epoch) = (self.world.clone(), self.id, self.epoch);
        let latency = Duration::from_millis(world.lock().rng.u64(0..30));
        let write = tokio::spawn(async move {
            sleep(latency).await;
            let mut world = world.lock();
            if world.rng.u8(0..30) == 0 {
                return Err(SimError::Broken);
            }
            let written = world.write(epoch, advance, &statements, settled);
            if let Err(Refused) = written {
                if world.server.slot.holder == Some(id) {
                    world.violate("the instance that holds the slot was refused by the graph");
                }
                return Err(SimError::Fenced);
            }
            // Half of the lost answers are to writes that were done.
            if world.rng.u8(0..30) == 0 { Err(SimError::Broken) } else { Ok(()) }
        });
        write.await.map_err(|_| SimError::Broken)?
    }
}

fn statements(
    schema: &Arc<Schema>,
    fault: Option<Fault>,
    changes: &[Change],
    whole_transactions: bool,
    settled: bool,
) -> Vec<Statement> {
    let mut events: Vec<_> = changes
        .iter()
        .map(|change| match schema.translate(change) {
            Ok(event) => event,
            Err(never) => match never {},
        })
        .collect();
    let mut circumstances = Circumstances { whole_transactions, settled };
    let mut model = (*schema.model).clone();
    if let Some(fault) = fault {
        events = fault.spoil_events(events);
        match fault {
            Fault::InsertWithoutRemovalWhileCopying => circumstances.settled = true,
            Fault::DetachDeleteForSoftReference => model = believing_in_enforcement(&schema.model),
            _ => {}
        }
    }
    let statements = plan(&model, Mutations::fold(events), circumstances);
    match fault {
        Some(fault) => fault.spoil_statements(&model, statements),
        None => statements,
    }
}

struct SimCopier {
    world: Shared,
    epoch: Epoch,
    /// Transactions that ran when the instance started must have ended: the graph may have them from an earlier
    /// instance, and a snapshot may not see them yet.
    ended_before: u64,
    /// The stream has passed the last chunk.
    has_waited: bool,
    /// A snapshot that a planted fault keeps from an earlier turn.
    earlier: Option<(usize, String)>,
}

impl Copier for SimCopier {
    type Error = SimError;

    async fn turn(&mut self, applied: &mut AppliedTransactions) -> Result<Turn, SimError> {
        let chunks = self.world.lock().rng.usize(1..5);
        for _ in 0..chunks {
            let pause = self.world.lock().rng.u64(0..20);
            sleep(Duration::from_millis(pause)).await;
            let Some(visible) = self.snapshot(applied) else { return Ok(Turn::More) };
            self.restart_rewritten();
            let next = self.world.lock().graph.copy.iter().position(|progress| !progress.done);
            let Some(next) = next else { return self.complete(visible).await };
            self.copy_chunk(next, visible).await?;
        }
        Ok(Turn::More)
    }
}

impl SimCopier {
    /// How many transactions a snapshot sees that is no older than the graph.
    fn snapshot(&mut self, applied: &mut AppliedTransactions) -> Option<usize> {
        let mut world = self.world.lock();
        let fresh = world.snapshot();
        let (visible, text) = match world.fault {
            Some(Fault::ChunkAfterNewerBatches) => {
                self.earlier.replace(fresh.clone()).unwrap_or(fresh)
            }
            _ => fresh,
        };
        let snapshot: Snapshot = text.parse().expect("a snapshot");
        let forgets = world.fault == Some(Fault::RestartForgetsAppliedTransactions);
        let sees =
            (forgets || snapshot.xmin() >= self.ended_before) && applied.are_seen_by(&snapshot);
        let unchecked = matches!(
            world.fault,
            Some(Fault::ChunkMissesAppliedTransaction | Fault::ChunkAfterNewerBatches)
        );
        (sees || unchecked).then_some(visible)
    }

    /// A pass over a table whose file changed starts again: its first range takes all of it.
    fn restart_rewritten(&mut self) {
        let mut world = self.world.lock();
        if world.fault == Some(Fault::RewriteBetweenChunksUnseen) {
            return;
        }
        let files = world.server.relfilenodes.clone();
        let passes: Vec<_> = world
            .graph
            .copy
            .iter()
            .filter(|progress| !progress.done)
            .map(|progress| (table_of(progress), progress.pass))
            .filter(|(table, pass)| {
                let mut ranges = world
                    .graph
                    .copy
                    .iter()
                    .filter(|progress| (table_of(progress), progress.pass) == (*table, *pass));
                ranges.any(|progress| progress.relfilenode != files[table.0])
            })
            .collect();
        for progress in &mut world.graph.copy {
            let table = table_of(progress);
            if passes.contains(&(table, progress.pass)) {
                progress.relfilenode = files[table.0];
                (progress.next_block, progress.end_block) = (0, None);
                progress.done = progress.part > 0;
            }
        }
    }

    async fn copy_chunk(&mut self, index: usize, visible: usize) -> Result<(), SimError> {
        let (statements, after) = {
            let world = self.world.lock();
            let progress = &world.graph.copy[index];
            let table = table_of(progress);
            let end = progress.next_block + 1;
            let last = progress.end_block.map_or(end > super::traffic::BLOCKS, |stop| end >= stop);
            let blocks = progress.next_block..if last { u32::MAX } else { end };
            let blocks = match progress.end_block {
                Some(stop) => blocks.start..blocks.end.min(stop),
                None => blocks,
            };
            let rows = rows(&world, table, visible, |_, block| blocks.contains(&block));
            let count = rows.len() as u64;
            let statements = plan_copied(&world.schema.model, table, progress.pass, rows);
            let after = Progress {
                next_block: end,
                done: last,
                rows: progress.rows + count,
                ..progress.clone()
            };
            (statements, after)
        };
        self.write(move |world| {
            world.apply(&statements);
            world.graph.copy[index] = after;
        })
        .await
    }

    /// Rows whose values did not all come are read again by key.
    async fn complete(&mut self, visible: usize) -> Result<Turn, SimError> {
        let (through, incomplete) = {
            let world = self.world.lock();
            let incomplete = match world.fault {
                Some(Fault::IncompleteRowsNotReadAgain) => Vec::new(),
                _ => world.graph.memory.incomplete(&world.schema.model),
            };
            (Lsn(world.server.end), incomplete)
        };
        if incomplete.is_empty() && self.has_waited {
            self.write(|world| world.graph.settled = true).await?;
            return Ok(Turn::Settled);
        }
        self.has_waited = true;
        let mut statements = Vec::new();
        {
            let world = self.world.lock();
            for table in world.schema.tables() {
                let wanted = |key: &RowKey, _| {
                    let key = super::schema::to_key(key);
                    incomplete.iter().any(|(found, row)| *found == table && *row == key)
                };
                let rows = rows(&world, table, visible, wanted);
                for pass in [Pass::Nodes, Pass::Relationships] {
                    let planned = plan_copied(&world.schema.model, table, pass, rows.clone());
                    statements.extend(planned);
                }
            }
        }
        self.write(move |world| world.apply(&statements)).await?;
        Ok(Turn::After(through))
    }

    async fn write(
        &mut self,
        work: impl FnOnce(&mut super::world::World) + Send + 'static,
    ) -> Result<(), SimError> {
        let (shared, epoch) = (self.world.clone(), self.epoch);
        let latency = Duration::from_millis(shared.lock().rng.u64(0..20));
        let write = tokio::spawn(async move {
            sleep(latency).await;
            let mut world = shared.lock();
            match world.graph.checkpoint {
                Some((_, current)) if current == epoch => work(&mut world),
                _ => return Err(SimError::Fenced),
            }
            if world.rng.u8(0..40) == 0 { Err(SimError::Broken) } else { Ok(()) }
        });
        write.await.map_err(|_| SimError::Broken)?
    }
}

fn table_of(progress: &Progress) -> TableIndex {
    TableIndex(progress.table.parse().expect("tables are named by their index"))
}

fn rows(
    world: &super::world::World,
    table: TableIndex,
    visible: usize,
    wanted: impl Fn(&RowKey, u32) -> bool,
) -> Vec<(Key, Row)> {
    let rows = world.server.states[visible][table.0].iter();
    rows.filter(|(key, row)| wanted(key, row.block))
        .map(|(key, row)| world.schema.graph_row(table, key, row))
        .collect()
}
