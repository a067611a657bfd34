//! Instances of the program in the world: the real pipeline, with a simulated source, sink and
//! copier.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use wal2graph::{
    change::{Change, Event},
    checkpoint::{Advance, Epoch, Newest, Position},
    engine::{Batch, Engine, Limits, Refused},
    graph::{Circumstances, Mutations, Statement, in_few_texts, plan},
    lsn::Lsn,
    pipeline::{
        Ended, Failure, Narrow, Pipeline, PipelineError, Prepare, Sink, Source, Status, Until,
        Verdict,
    },
};

use super::{
    copy,
    faults::Fault,
    moments::Sometimes,
    schema::Schema,
    world::{Fenced, Shared},
};

/// The reason why an instance ended early.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    #[error("the connection broke")]
    Broken,
    #[error("somebody has locked what a read needs")]
    Blocked,
    #[error("another instance has the checkpoint")]
    Fenced,
    #[error("too much at once")]
    TooLarge,
    #[error("not together with others")]
    Wrong,
}

impl Failure for SimError {
    fn verdict(&self) -> Verdict {
        match self {
            SimError::Broken => Verdict::Again,
            SimError::Fenced => Verdict::Fenced,
            SimError::Blocked | SimError::TooLarge | SimError::Wrong => Verdict::Stop,
        }
    }

    fn refused(&self) -> Option<Refused> {
        match self {
            SimError::TooLarge => Some(Refused::TooLarge),
            SimError::Wrong => Some(Refused::Wrong),
            SimError::Broken | SimError::Blocked | SimError::Fenced => None,
        }
    }
}

/// Runs one instance until it is stopped, fails, or reaches `until`.
pub async fn run(world: &Shared, id: u32, until: Until) -> Result<Ended, String> {
    let fault = world.lock().fault;
    if fault == Some(Fault::EpochClaimedBeforeTheSlot) {
        claim(world);
    }
    let Taken { start, confirmed } = take_slot(world, id).await?;
    let (position, epoch) = match fault {
        Some(Fault::EpochClaimedBeforeTheSlot) => world.lock().graph.checkpoint.unwrap(),
        _ => claim(world).expect("taking the slot makes a checkpoint"),
    };
    world.lock().begins(id, epoch, position);
    let position = match fault {
        Some(Fault::SplitTransactionReplayedWhole) => Position::at(position.lsn),
        _ => position,
    };
    let engine = Engine::new(limits(world), position).in_portions(world.lock().portion);
    let newest = world.lock().graph.newest;
    let engine = match fault {
        Some(Fault::HistoryNotCompared) => engine,
        _ => engine.continuing(newest, confirmed),
    };
    if fault == Some(Fault::AcknowledgedBeforeTheProof) {
        world.lock().acknowledge(position.lsn);
    }
    let mut source = SimSource { world: world.clone(), id, start, sent: Sent::Between(0) };
    let settled = world.lock().graph.settled;
    let status = watch::Sender::new(Status::default());
    let last = status.subscribe();
    let pipeline = Pipeline {
        source: &mut source,
        preparer: SimPreparer { world: world.clone() },
        sink: SimSink {
            world: world.clone(),
            id,
            epoch,
            believes: position,
            narrow: Arc::default(),
        },
        copier: (!settled).then(|| copy::copier(world, epoch)),
        engine,
        until,
        status,
    };
    let ended = pipeline.run(std::future::pending()).await;
    let mut portion = last.borrow().portion;
    if let Err(PipelineError::Refused { refused, changes, .. }) = &ended {
        portion = portion.after(*refused, *changes);
    }
    world.lock().portion = portion;
    match ended {
        Ok(ended) => Ok(ended),
        Err(error) => {
            tell_stopped(world, id, epoch);
            let mut world = world.lock();
            let is_right = world.is_another_history();
            match error {
                PipelineError::Engine(_) if is_right => world.refused = true,
                // Alone, every change is taken.
                PipelineError::Engine(_) | PipelineError::Bug(_) | PipelineError::Row { .. } => {
                    world.violate(error.to_string());
                }
                _ => {}
            }
            Err(error.to_string())
        }
    }
}

/// Where a stream starts, and what its slot has confirmed.
struct Taken {
    start: Lsn,
    confirmed: Lsn,
}

/// Reads the checkpoint, or makes it, and starts the stream there; a slot that is in use is waited
/// for.
async fn take_slot(world: &Shared, id: u32) -> Result<Taken, String> {
    loop {
        {
            let mut world = world.lock();
            if world.server.slot.holder.is_none() {
                if world.graph.checkpoint.is_none() {
                    world.create_checkpoint();
                }
                let checkpoint = world.graph.checkpoint.expect("just made").0.lsn;
                let confirmed = world.server.slot.confirmed;
                let part = world.graph.checkpoint.and_then(|(position, _)| position.part);
                let reached = part.map_or(checkpoint, |part| Lsn(part.commit_lsn.0 + 1));
                if world.server.end < reached.0 {
                    world.refused = true;
                    return Err("its log ends before".to_owned());
                }
                if confirmed > checkpoint {
                    world.violate(format!("the slot is at {confirmed}, ahead of {checkpoint}"));
                    return Err("refused".to_owned());
                }
                world.server.slot.holder = Some(id);
                let start = match (world.fault, world.graph.newest) {
                    (Some(Fault::HistoryNotCompared), _) | (_, None) => checkpoint,
                    (_, Some(Newest::Nothing)) => Lsn::ZERO,
                    (_, Some(Newest::Transaction(mark))) => checkpoint.min(mark.commit_lsn),
                };
                return Ok(Taken { start, confirmed });
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
}

fn claim(world: &Shared) -> Option<(Position, Epoch)> {
    let mut world = world.lock();
    let (position, epoch) = world.graph.checkpoint.as_mut()?;
    epoch.0 += 1;
    let claimed = (*position, *epoch);
    world.graph.stopped = None;
    Some(claimed)
}

/// Takes down on the checkpoint that the writer of this epoch stopped, as late as it may come.
fn tell_stopped(world: &Shared, id: u32, epoch: Epoch) {
    let (world, latency) = (world.clone(), Duration::from_millis(u64::from(id % 40)));
    tokio::spawn(async move {
        sleep(latency).await;
        let mut world = world.lock();
        let is_ours = world.graph.checkpoint.is_some_and(|(_, current)| current == epoch);
        if is_ours || world.fault == Some(Fault::StopToldByAnyEpoch) {
            world.graph.stopped = Some(epoch);
        }
    });
}

fn limits(world: &Shared) -> Limits {
    let rng = &mut world.lock().rng;
    Limits {
        batch_changes: rng.usize(1..20),
        part_changes: rng.usize(1..10),
        narrow_kinds: rng.usize(1..5),
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

/// The stream's position.
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
                    events.push(Event::Keepalive { wal_end, source_lsn: wal_end, reply_requested });
                    if fault == Some(Fault::IdleAcknowledgedBeforeTheCheckpoint) {
                        world.acknowledge(wal_end);
                    }
                }
                break;
            };
            // The server skips transactions that committed before the start, and those already
            // confirmed.
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
                events.push(Event::Keepalive {
                    wal_end,
                    source_lsn: wal_end,
                    reply_requested: true,
                });
                break;
            }
            let logged = &world.server.log[index];
            self.sent = match done {
                None if skipped => Sent::Between(index + 1),
                None => {
                    let applied = world.graph.checkpoint.map_or(Lsn::ZERO, |it| it.0.lsn);
                    if logged.commit.end_lsn <= applied {
                        world.moments.sometimes(Sometimes::SentAgain);
                    }
                    let logged = &world.server.log[index];
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

struct SimPreparer {
    world: Shared,
}

/// A prepared batch, with the circumstances of its preparation.
struct Prepared {
    statements: Vec<Statement>,
    settled: bool,
    changes: usize,
    xids: Vec<u32>,
}

impl Prepare for SimPreparer {
    type Prepared = Prepared;
    type Error = SimError;

    fn prepare(&mut self, batch: Batch, settled: bool) -> Result<Prepared, SimError> {
        let (fault, schema) = {
            let world = self.world.lock();
            (world.fault, world.schema.clone())
        };
        let statements = statements(&schema, fault, &batch.changes, settled);
        let (changes, xids) = (batch.changes.len(), batch.xids());
        Ok(Prepared { statements, settled, changes, xids })
    }
}

struct SimSink {
    world: Shared,
    id: u32,
    epoch: Epoch,
    /// The instance's own idea of its position. With a planted fault it differs from the
    /// checkpoint.
    believes: Position,
    narrow: Arc<Narrow>,
}

impl Sink<Prepared> for SimSink {
    type Error = SimError;

    async fn write(&mut self, mut advance: Advance, batch: Prepared) -> Result<(), SimError> {
        let Prepared { mut statements, settled, changes, xids } = batch;
        let fault = self.world.lock().fault;
        match self.world.lock().rng.u8(0..10) {
            0 => self.narrow.begin(),
            1 => self.narrow.end(),
            _ => {}
        }
        if fault == Some(Fault::SplitTransactionReplayedWhole) && advance.from == self.believes {
            advance.from = self.world.lock().graph.checkpoint.expect("made at the start").0;
        }
        self.believes = advance.to;
        // A sent write reaches the graph or not, independent of its sender.
        let (world, id, epoch) = (self.world.clone(), self.id, self.epoch);
        let latency = Duration::from_millis(world.lock().rng.u64(0..30));
        let write = tokio::spawn(async move {
            sleep(latency).await;
            let mut world = world.lock();
            if world.rng.u8(0..30) == 0 {
                world.moments.sometimes(Sometimes::WriteLost);
                return Err(SimError::Broken);
            }
            if let Some(refused) = world.refuses(changes, &xids) {
                match world.fault {
                    Some(Fault::RefusedPartTakenAsWritten) => statements.clear(),
                    Some(Fault::RefusedPartHalfWritten) => {
                        world.apply(&statements[..statements.len() / 2], false);
                        return Err(refused);
                    }
                    _ => return Err(refused),
                }
            }
            let written = world.write(epoch, advance, &statements, settled);
            if let Err(Fenced) = written {
                if world.server.slot.holder == Some(id) {
                    world.violate("the instance that holds the slot was refused by the graph");
                }
                return Err(SimError::Fenced);
            }
            // Half of the lost answers belong to completed writes.
            if world.rng.u8(0..30) == 0 {
                world.moments.sometimes(Sometimes::AnswerLost);
                return Err(SimError::Broken);
            }
            Ok(())
        });
        write.await.map_err(|_| SimError::Broken)?
    }

    fn narrow(&self) -> Option<Arc<Narrow>> {
        Some(self.narrow.clone())
    }
}

fn statements(
    schema: &Arc<Schema>,
    fault: Option<Fault>,
    changes: &[Change],
    settled: bool,
) -> Vec<Statement> {
    let mut events: Vec<_> = changes
        .iter()
        .map(|change| match schema.translate(change) {
            Ok(event) => event,
            Err(never) => match never {},
        })
        .collect();
    let mut settled = settled;
    if let Some(fault) = fault {
        events = fault.spoil_events(events);
        settled |= fault == Fault::InsertWithoutRemovalWhileCopying;
    }
    let circumstances = match settled {
        true => Circumstances::Settled,
        false => Circumstances::Unsettled,
    };
    let statements = in_few_texts(plan(&schema.model, Mutations::fold(events), circumstances));
    match fault {
        Some(fault) => fault.spoil_statements(&schema.model, statements),
        None => statements,
    }
}
