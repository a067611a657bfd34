//! The simulated slot and its stream.

use std::time::Duration;

use tokio::time::sleep;
use wal2graph::{
    change::Event,
    checkpoint::Checkpoint,
    lsn::Lsn,
    pipeline::{Source, Store},
    service::{
        ServiceError,
        begin::{self, HeldLog, Sent},
    },
};

use super::{
    faults::Fault,
    lost::checkpoint_at,
    moments::Sometimes,
    program::SimError,
    store::{PIPELINE, PUBLICATION, identity},
    world::Shared,
};

/// The slot before it is held.
pub struct SimSlot {
    pub world: Shared,
    pub id: u32,
}

impl begin::Log for SimSlot {
    type Held = SimSource;

    async fn make(&mut self, store: &impl Store) -> Result<Checkpoint, ServiceError> {
        let (new, progress) = {
            let mut world = self.world.lock();
            let new = checkpoint_at(world.server.slot.confirmed);
            (new, world.new_progress())
        };
        store.create(PIPELINE, &new, &progress).await?;
        let made = store.checkpoint(&identity()).await?;
        made.ok_or_else(|| ServiceError::Definite("the checkpoint is gone".to_owned()))
    }

    /// A slot that is in use is waited for.
    async fn hold(self, checkpoint: &Checkpoint) -> Result<SimSource, ServiceError> {
        let newest = match self.world.lock().fault {
            Some(Fault::HistoryNotCompared) => None,
            _ => checkpoint.newest_through(PUBLICATION),
        };
        let Sent { from, reached } = Sent::of(checkpoint.position.lsn, newest);
        loop {
            {
                let mut world = self.world.lock();
                if world.server.slot.holder.is_none() {
                    if world.server.end < reached.0 {
                        world.refused = true;
                        return Err(ServiceError::Definite("its log ends before".to_owned()));
                    }
                    let confirmed = world.server.slot.confirmed;
                    let applied = world.checkpoint().expect("it was read").position.lsn;
                    if world.is_refused_for_its_slot() {
                        return Err(ServiceError::Definite("its slot is lost".to_owned()));
                    }
                    if confirmed > applied {
                        world.violate(format!("the slot is at {confirmed}, ahead of {applied}"));
                        return Err(ServiceError::Definite("refused".to_owned()));
                    }
                    world.server.slot.holder = Some(self.id);
                    drop(world);
                    let SimSlot { world, id } = self;
                    return Ok(SimSource {
                        world,
                        id,
                        start: from,
                        confirmed,
                        sent: Place::Between(0),
                    });
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl HeldLog for SimSource {
    type Agreed = ();

    fn confirmed(&self) -> Lsn {
        self.confirmed
    }

    async fn agree(&mut self, _: &impl Store, _: &Checkpoint) -> Result<(), ServiceError> {
        Ok(())
    }

    async fn next_transaction(&mut self) -> Result<u64, ServiceError> {
        let world = self.world.lock();
        Ok(match world.fault {
            Some(Fault::RestartForgetsAppliedTransactions) => 0,
            _ => world.server.next_xid,
        })
    }
}

/// The stream of a slot that is held.
pub struct SimSource {
    world: Shared,
    id: u32,
    start: Lsn,
    confirmed: Lsn,
    sent: Place,
}

/// The stream's position.
#[derive(Clone, Copy)]
enum Place {
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
                Place::Between(index) => (index, None),
                Place::Within(index, done) => (index, Some(done)),
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
                None if skipped => Place::Between(index + 1),
                None => {
                    let applied = world.checkpoint().map_or(Lsn::ZERO, |it| it.position.lsn);
                    let is_there = logged.commit.end_lsn <= applied;
                    events.push(Event::Begin(logged.begin));
                    if is_there {
                        world.moments.sometimes(Sometimes::SentAgain);
                    }
                    Place::Within(index, 0)
                }
                Some(done) if done < logged.changes.len() => {
                    events.push(Event::Change(logged.changes[done].clone()));
                    Place::Within(index, done + 1)
                }
                Some(_) => {
                    events.push(Event::Commit(logged.commit));
                    Place::Between(index + 1)
                }
            };
        }
        Ok((!events.is_empty()).then_some(events))
    }
}
