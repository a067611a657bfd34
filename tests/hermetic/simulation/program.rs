//! Instances of the program in the world: the order in which `run` begins, and the real pipeline, with
//! a simulated source, store and copier.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use wal2graph::{
    checkpoint::{Advance, Claim, Position},
    engine::{Batch, Engine, Limits, Place, Refused},
    graph::{Circumstances, Event, Mutations, Statement, TableIndex, in_few_texts, plan},
    pipeline::{
        Ended, Failure, KnownLetter, Letters, Named, Narrow, Note, Pipeline, PipelineError,
        Prepare, Sink, Status, Store, Until, Verdict,
    },
    request::{Findings, Purpose, Rows, State},
    service::{
        begin::{Begun, HeldLog, begin},
        requests::{Passes, Taken, take_up},
    },
};

use super::{
    copy,
    faults::Fault,
    moments::Sometimes,
    schema::Schema,
    source::SimSlot,
    store::{PIPELINE, PUBLICATION, SimStore, identity},
    world::Shared,
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
    #[error("the graph was put back to an older state")]
    PutBack,
    #[error("too much at once")]
    TooLarge,
    #[error("not together with others")]
    Wrong,
    #[error("such a row is not taken")]
    Poison,
}

impl Failure for SimError {
    fn verdict(&self) -> Verdict {
        match self {
            SimError::Broken => Verdict::Again,
            SimError::Fenced => Verdict::Fenced,
            SimError::PutBack => Verdict::PutBack,
            SimError::Blocked | SimError::TooLarge | SimError::Wrong | SimError::Poison => {
                Verdict::Stop
            }
        }
    }

    fn is_of_a_row(&self) -> bool {
        matches!(self, SimError::Poison)
    }

    fn refused(&self) -> Option<Refused> {
        match self {
            SimError::TooLarge => Some(Refused::TooLarge),
            SimError::Wrong | SimError::Poison => Some(Refused::Wrong),
            SimError::Broken | SimError::Blocked | SimError::Fenced | SimError::PutBack => None,
        }
    }
}

/// Runs one instance until it is stopped, fails, or reaches `until`.
pub async fn run(world: &Shared, id: u32, until: Until) -> Result<Ended, String> {
    let (fault, model) = {
        let world = world.lock();
        (world.fault, Arc::new(world.schema.model.clone()))
    };
    let store = SimStore { world: world.clone(), id, is_calm: false };
    let text = |error: &dyn std::error::Error| error.to_string();
    if fault == Some(Fault::EpochClaimedBeforeTheSlot) {
        // There may be nothing to claim yet.
        let _ = store.claim(&identity(), Some(PUBLICATION)).await;
    }
    // As it was when the start was admitted.
    let before = store.checkpoint(&identity()).await.map_err(|error| text(&error))?;
    let progress_before = match fault {
        Some(Fault::ProgressReadBeforeTheClaim) => store.copy_progress(PIPELINE).await,
        _ => Ok(Vec::new()),
    };
    let progress_before = progress_before.map_err(|error| text(&error))?;
    let slot = SimSlot { world: world.clone(), id };
    let of = (&identity(), Some(PUBLICATION));
    let begun = begin(&store, slot, of, before.clone(), &model).await;
    let mut begun = begun.map_err(|error| text(&error))?;
    match (fault, before) {
        (Some(Fault::PositionReadBeforeTheClaim), Some(before)) => begun.checkpoint = before,
        (Some(Fault::ProgressReadBeforeTheClaim), Some(_)) => begun.progress = progress_before,
        _ => {}
    }
    world.lock().begins(id, begun.checkpoint.epoch, begun.checkpoint.position);
    let copies = begun.copies();
    let position = match fault {
        Some(Fault::SplitTransactionReplayedWhole) => Position::at(begun.checkpoint.position.lsn),
        _ => begun.checkpoint.position,
    };
    let engine = match fault {
        Some(Fault::HistoryNotCompared) => Engine::new(limits(world), position),
        Some(Fault::SplitTransactionReplayedWhole) => Engine::new(limits(world), position)
            .continuing(begun.checkpoint.newest, begun.log.confirmed()),
        _ => begun.engine(limits(world)),
    };
    let engine = engine.in_portions(world.lock().portion);
    if fault == Some(Fault::AcknowledgedBeforeTheProof) {
        world.lock().acknowledge(position.lsn);
    }
    let Begun { log: mut source, claim, progress, is_left, ended_before, .. } = begun;
    let is_resumed = world.lock().is_repaired();
    let new = async |tables: &[TableIndex]| Ok(world.lock().compared_progress(tables));
    let passes =
        take_up(&store, &claim, (&model, &BTreeSet::new()), (progress, is_left), new).await;
    let Passes { progress, taken } = passes.map_err(|error| text(&error))?;
    let is_owed = progress.iter().any(|range| range.is_owed);
    let (named, works) = (Named::default(), copies || !progress.is_empty());
    let rules = world.lock().poison.rules();
    let kept = match rules.sets_aside {
        true => store.letters(PIPELINE).await.map_err(|error| text(&error))?,
        // Histories without such rows stay the same.
        false => Vec::new(),
    };
    let known = kept.into_iter().filter_map(|it| KnownLetter::of(&model, it)).collect();
    let log = &claim.identity.log;
    let letters = Letters::new(rules, PIPELINE, log, known);
    let sink = || SimSink::new(&store, &claim);
    let copier = works.then(|| {
        let copier = copy::copier(world, &sink, progress, ended_before);
        let copier = copier.setting_aside(letters.clone());
        match &taken {
            None => copier,
            Some(Taken { purpose, reported, rows, .. }) => {
                let keys = rows.as_ref().map(|rows| match rows {
                    Rows::Retried { retried } if fault == Some(Fault::PutBackUnwritten) => {
                        letters.forget(retried);
                        world.lock().forget_letters();
                        Vec::new()
                    }
                    Rows::Retried { retried } => letters.named(retried),
                    _ => panic!("nobody asks for other rows"),
                });
                copier.reconciling(*purpose, named.clone(), reported.clone(), keys)
            }
        }
    });
    let status = watch::Sender::new(Status::default());
    let last = status.subscribe();
    let pipeline = Pipeline {
        source: &mut source,
        preparer: SimPreparer { world: world.clone(), named, letters, is_resumed },
        sink: sink(),
        copier,
        engine,
        until,
        status,
    };
    let ended = pipeline.run(std::future::pending()).await;
    if let Some(Taken { purpose, id, reported, .. }) = taken
        && reported.get().is_over
    {
        let report = reported.get().clone();
        if purpose == Purpose::Verify {
            world.lock().verified(&report);
        } else if !is_owed && !world.lock().poison.is_here {
            world.lock().repaired(&report);
        }
        if let Some(id) = id {
            let _ = store.answer(&claim, &id, &State::Done, &Findings::default()).await;
        }
    }
    world.lock().portion = last.borrow().portion;
    match ended {
        Ok(ended) => Ok(ended),
        Err(error) => {
            tell_stopped(store, claim);
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

/// Notes on the checkpoint that the writer of this epoch stopped, as late as it may come.
fn tell_stopped(store: SimStore, claim: Claim) {
    let latency = Duration::from_millis(u64::from(store.id % 40));
    tokio::spawn(async move {
        sleep(latency).await;
        let _ = store.note(&claim, Note::Stopped(&claim.epoch.0.to_string())).await;
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

struct SimPreparer {
    world: Shared,
    named: Named,
    letters: Letters,
    /// The life goes on with a repair of an earlier one.
    is_resumed: bool,
}

/// A prepared batch, with the circumstances of its preparation.
pub struct Prepared {
    statements: Vec<Statement>,
    settled: bool,
    changes: usize,
    xids: Vec<u32>,
}

impl Prepared {
    /// One change's, in any circumstances.
    pub fn alone(statements: Vec<Statement>) -> Self {
        Prepared { statements, settled: false, changes: 1, xids: Vec::new() }
    }
}

impl Prepare for SimPreparer {
    type Prepared = Prepared;
    type Error = SimError;

    fn prepare(&mut self, batch: &Batch, settled: bool) -> Result<Prepared, SimError> {
        let (fault, schema) = {
            let world = self.world.lock();
            (world.fault, world.schema.clone())
        };
        let translated = batch.changes.iter().map(|change| match schema.translate(change) {
            Ok(event) => event,
            Err(never) => match never {},
        });
        let events: Vec<Event> = translated.collect();
        match fault {
            Some(Fault::NamedSuspectIsReal) => {}
            Some(Fault::NamedBesideATurnForgotten) => {
                self.named.end_record();
                events.iter().for_each(|event| self.named.event(event));
            }
            Some(Fault::NewKeysNotLookedAt) => {
                without_moves(&events).iter().for_each(|event| self.named.event(event));
            }
            _ => events.iter().for_each(|event| self.named.event(event)),
        }
        let mut kept = self.letters.of_next_batch();
        let passed = events.into_iter().zip(&batch.changes).zip(batch.places());
        let passed = passed.filter_map(|((event, change), place)| {
            let passed = self.letters.pass(&mut kept, &schema.model, event, change, place);
            passed.expect("there is room for all letters")
        });
        let events = passed.collect();
        let is_spoiled = match fault {
            Some(Fault::RepairTakenForSettled) => true,
            Some(Fault::RepairForgottenAtARestart) => self.is_resumed,
            _ => false,
        };
        let settled = settled || (is_spoiled && self.world.lock().is_repaired());
        let settled = settled && self.letters.is_empty();
        let mut statements = statements(&schema, fault, events, settled);
        if fault != Some(Fault::SetAsideWithoutALetter) {
            statements.extend(kept.statements());
        }
        let (changes, xids) = (batch.changes.len(), batch.xids());
        Ok(Prepared { statements, settled, changes, xids })
    }

    fn take_back(&mut self, batches: usize) {
        self.letters.take_back(batches);
    }

    fn sets_aside(&mut self, at: Place, error: &dyn Failure) -> bool {
        self.letters.refused(at, error)
    }
}

/// The events, with a delete and an insert in the place of a key change.
fn without_moves(events: &[Event]) -> Vec<Event> {
    let apart = |event: &Event| match event.clone() {
        Event::Move { table, from, to, row } => {
            vec![Event::Delete { table, key: from }, Event::Insert { table, key: to, row }]
        }
        event => vec![event],
    };
    events.iter().flat_map(apart).collect()
}

/// Writes under a claim.
pub struct SimSink {
    pub(super) world: Shared,
    id: u32,
    pub(super) claim: Claim,
    /// The instance's own idea of its position, once it has written. With a planted fault it differs
    /// from the checkpoint.
    believes: Option<Position>,
    narrow: Arc<Narrow>,
    /// No answer is lost.
    pub(super) is_calm: bool,
}

impl SimSink {
    pub fn new(store: &SimStore, claim: &Claim) -> Self {
        let SimStore { world, id, is_calm } = store;
        let (world, claim) = (world.clone(), claim.clone());
        SimSink { world, id: *id, claim, believes: None, narrow: Arc::default(), is_calm: *is_calm }
    }

    /// Whether the graph takes these rows.
    pub(super) fn refuses(&self, statements: &[Statement]) -> Result<(), SimError> {
        match self.world.lock().poison.refuses(statements) {
            true => Err(SimError::Poison),
            false => Ok(()),
        }
    }
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
        let is_as_believed = self.believes.is_none_or(|position| position == advance.from);
        if fault == Some(Fault::SplitTransactionReplayedWhole) && is_as_believed {
            let world = self.world.lock();
            advance.from = world.checkpoint().expect("made at the start").position;
        }
        self.believes = Some(advance.to);
        // A sent write reaches the graph or not, independent of its sender.
        let (world, id, claim) = (self.world.clone(), self.id, self.claim.clone());
        let is_calm = self.is_calm;
        let latency = Duration::from_millis(world.lock().rng.u64(0..30));
        let write = tokio::spawn(async move {
            sleep(latency).await;
            let mut world = world.lock();
            if !is_calm && world.rng.u8(0..30) == 0 {
                world.moments.sometimes(Sometimes::WriteLost);
                return Err(SimError::Broken);
            }
            if world.poison.refuses(&statements) {
                return Err(SimError::Poison);
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
            let written = world.write(&claim, advance, &statements, settled);
            if let Err(refused) = written {
                if world.server.slot.holder == Some(id) {
                    world.violate("the instance that holds the slot was refused by the graph");
                }
                return Err(refused.into());
            }
            // Half of the lost answers belong to completed writes.
            if !is_calm && world.rng.u8(0..30) == 0 {
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
    mut events: Vec<Event>,
    mut settled: bool,
) -> Vec<Statement> {
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
