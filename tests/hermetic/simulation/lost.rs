//! The slot is lost: changes go with it, and the pipeline begins anew with the graph that it has.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;
use wal2graph::{
    checkpoint::{Checkpoint, Identity, NewCheckpoint, Origin, Position},
    copy::Progress,
    graph::{Pass, TableIndex},
    lsn::Lsn,
    pipeline::Store,
    service::{
        ServiceError,
        renew::{NewLog, renew},
    },
};

use super::{
    faults::Fault,
    moments::Sometimes,
    server::Slot,
    store::{PUBLICATION, SimStore, identity},
    world::{Shared, World},
};

/// What becomes of the slot in a history.
#[derive(Debug)]
pub struct Losses {
    /// A separate generator, so that histories stay the same as without them.
    rng: Rng,
    /// It may be lost.
    may_be: bool,
    /// It was, once or more often.
    pub happened: bool,
    /// There is none.
    pub is_gone: bool,
}

impl Losses {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed.rotate_left(29) ^ 0x105e);
        let may_be = rng.u8(0..3) == 0;
        Losses { rng, may_be, happened: false, is_gone: false }
    }
}

impl World {
    /// Between two lives: the slot is lost, whoever reads from it. What others put on the nodes of rows
    /// that go meanwhile stays on those that come under their keys, so there is nothing of others.
    pub fn lose_slot(&mut self) {
        let has_begun = self.checkpoint().is_some() && !self.is_another_history();
        if !self.losses.may_be || !has_begun || !self.others.are_absent() {
            return;
        }
        if self.losses.rng.u8(0..4) > 0 {
            return;
        }
        self.moments.trace(|| "the slot is lost".to_owned());
        self.moments.sometimes(Sometimes::SlotLost);
        (self.losses.happened, self.losses.is_gone) = (true, true);
        self.server.slot.holder = None;
        // A source that was kept has the slot of then.
        (self.kept, self.may_be_put_back) = (None, false);
        for _ in 0..self.losses.rng.u8(0..4) {
            self.commit_transaction();
        }
    }

    /// A start is refused: there is no slot, or it is ahead of the graph.
    pub fn is_refused_for_its_slot(&self) -> bool {
        let applied = self.checkpoint().map(|it| it.position.lsn);
        let is_ahead = applied.is_some_and(|lsn| self.server.slot.confirmed > lsn);
        self.losses.happened && (self.losses.is_gone || is_ahead)
    }

    pub fn renew(
        &mut self,
        from: &Identity,
        as_read: &Checkpoint,
        new: &NewCheckpoint,
        progress: &[Progress],
    ) -> bool {
        let is_renewed = self.graph.records.renew(from, as_read, new, progress);
        if is_renewed {
            self.moments.trace(|| format!("the graph begins anew at {}", new.start));
            self.graph.settled = false;
            self.graph.has = self.server.newest_at(Position::at(new.start));
        }
        is_renewed
    }
}

/// `repair --new-slot`, which may be killed at any moment.
pub async fn renew_killed(world: &Shared) {
    let life = world.lock().losses.rng.u64(0..60);
    tokio::select! {
        biased;
        () = sleep(Duration::from_millis(life)) => {}
        _ = renew_slot(world) => {}
    }
}

/// The same to its end.
pub async fn renew_slot(world: &Shared) -> Result<(), ServiceError> {
    let store = SimStore { world: world.clone(), id: 0, is_calm: false };
    let Some(as_read) = store.checkpoint(&identity()).await? else { return Ok(()) };
    let mut log = SimNewSlot { world: world.clone() };
    renew(&store, &mut log, (&identity(), &as_read)).await
}

struct SimNewSlot {
    world: Shared,
}

impl SimNewSlot {
    async fn pause(&self) {
        let pause = self.world.lock().losses.rng.u64(0..20);
        sleep(Duration::from_millis(pause)).await;
    }
}

impl NewLog for SimNewSlot {
    async fn make(&mut self) -> Result<(NewCheckpoint, Vec<Progress>), ServiceError> {
        {
            let mut world = self.world.lock();
            if world.server.slot.holder.is_some() {
                return Err(ServiceError::Definite("somebody reads from it".to_owned()));
            }
            world.losses.is_gone = true;
        }
        self.pause().await;
        let start = {
            let mut world = self.world.lock();
            let end = Lsn(world.server.end);
            world.server.slot = Slot { confirmed: end, persisted: end, holder: None };
            world.losses.is_gone = false;
            end
        };
        self.pause().await;
        let mut world = self.world.lock();
        let tables: Vec<TableIndex> = world.schema.tables().collect();
        let is_owed = world.fault != Some(Fault::OwedWorkIsCancelled);
        let has_ghosts = world.fault == Some(Fault::NoPassOverTheGraphWithANewSlot);
        let mut progress = world.compared_progress(&tables);
        progress.retain(|range| !has_ghosts || range.pass != Pass::Graph);
        let progress = progress.into_iter();
        let progress = progress.map(|range| Progress { is_owed, ..range }).collect();
        Ok((checkpoint_at(start), progress))
    }
}

/// The checkpoint of a slot that was just made.
pub fn checkpoint_at(start: Lsn) -> NewCheckpoint {
    NewCheckpoint {
        start,
        origin: Origin { system_identifier: "7".to_owned(), timeline: 1, log: identity().log },
        publication: Some(PUBLICATION.to_owned()),
        partitions: 1,
        topic_id: None,
        is_whole: false,
        publisher: None,
        mapping_digest: String::new(),
        labels: Vec::new(),
        table_facts: None,
        outlines: None,
    }
}
