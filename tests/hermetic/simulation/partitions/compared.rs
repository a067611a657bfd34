//! Others damage the graph, and people have it compared: each partition its own keys, at a moment of its own.
//!
//! ```text
//! share of a partition:  the log's end is passed -> a look at all its keys -> the log's end is passed -> judged
//!                                ^                                                            |
//!                                +---- a key was named meanwhile, or rows lacked values ------+
//! ```

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use wal2graph::{
    graph::{Key, Remedy, Repair, Row, Statement, TableIndex, compare, plan_repaired, remedy},
    lsn::{Lsn, Stamp},
    pipeline::Named,
    request::Purpose,
    topic::ends::{Pending, Said},
};

use super::{Fault, World, publisher::Heartbeat};
use crate::simulation::reconcile::any_damage;

/// People and other applications.
pub struct People {
    /// A separate generator, so that histories stay the same as without them.
    rng: Rng,
    are_here: bool,
    /// The graph may be damaged, until a repair is over.
    pub is_damaged: bool,
    was_damaged: bool,
    /// What is compared now.
    asked: Option<(Purpose, Vec<Share>)>,
}

/// What a partition does.
#[derive(Default)]
struct Share {
    named: Named,
    stage: Stage,
    /// Rows that differ, as a look saw them, with the log's end behind it.
    suspects: BTreeMap<(TableIndex, Key), Option<Row>>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Stage {
    #[default]
    Begins,
    /// It looks once this is applied.
    Looks(Lsn),
    /// It judges once this is applied.
    Judges(Lsn),
    Over,
}

impl People {
    pub fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut rng = Rng::with_seed(seed.rotate_left(29) ^ 0x5eed);
        let are_of_people =
            matches!(fault, Some(Fault::RepairedWithoutStamp | Fault::KeysOfOthersCompared));
        // Else what a fault does would be repaired.
        let are_here = are_of_people || fault.is_none() && rng.bool();
        People { rng, are_here, is_damaged: false, was_damaged: false, asked: None }
    }

    /// The stream names rows.
    pub fn named(&self, partition: usize, event: &wal2graph::graph::Event) {
        if let Some((_, shares)) = &self.asked {
            shares[partition].named.event(event);
        }
    }

    /// The partition begins again.
    pub fn begin_again(&mut self, partition: usize) {
        if let Some((_, shares)) = &mut self.asked
            && shares[partition].stage != Stage::Over
        {
            shares[partition] = Share::default();
        }
    }

    /// Changes are gone that no record brings any more.
    pub fn has_lost_changes(&mut self) {
        (self.is_damaged, self.was_damaged) = (true, true);
    }

    /// The topic is made again.
    pub fn give_up(&mut self) {
        self.asked = None;
    }
}

impl World {
    /// Damage, requests, and turns of partitions.
    pub fn people_act(&mut self) -> Result<(), String> {
        if !self.people.are_here {
            return Ok(());
        }
        let partition = self.people.rng.usize(..self.lives.len());
        match (&self.people.asked, self.people.rng.u8(0..6)) {
            (None, 0 | 1) => self.damage(),
            (None, 2 | 3) => self.ask(Purpose::Repair),
            (None, 4) => self.ask(Purpose::Verify),
            (None, _) => {}
            (Some(_), _) => self.turn(partition)?,
        }
        Ok(())
    }

    /// At the end, with everything applied: repairs what is damaged.
    pub fn repair_at_last(&mut self) -> Result<(), String> {
        for _ in 0..1_000 {
            if self.people.asked.is_none() {
                match self.people.is_damaged {
                    true => self.ask(Purpose::Repair),
                    false => return Ok(()),
                }
            }
            for partition in 0..self.lives.len() {
                // Its life begins, if it has none.
                self.apply(partition, 1)?;
                self.turn(partition)?;
            }
        }
        Err("a comparison does not end".to_owned())
    }

    /// A partition has met a gap. A repair in which its share is not over also covers that: the share begins again.
    pub fn ask_for_gap(&mut self, partition: usize) {
        let is_covered = self.people.asked.as_ref().is_some_and(|(purpose, shares)| {
            *purpose == Purpose::Repair && shares[partition].stage != Stage::Over
        });
        if !is_covered {
            self.ask(Purpose::Repair);
        }
        self.people.begin_again(partition);
        self.people.has_lost_changes();
    }

    pub fn ask(&mut self, purpose: Purpose) {
        let shares = self.lives.iter().map(|_| Share::default()).collect();
        self.people.asked = Some((purpose, shares));
    }

    fn damage(&mut self) {
        let (schema, latest) = (self.schema.clone(), self.source.latest());
        let Some(damage) = any_damage(&schema, latest, &mut self.people.rng) else { return };
        let before = self.memory.contents(&schema.model);
        damage.iter().for_each(|one| self.memory.damage(&schema.model, one));
        if self.memory.contents(&schema.model) != before {
            (self.people.is_damaged, self.people.was_damaged) = (true, true);
        }
    }

    /// A turn of a partition that lives, with its stream held.
    fn turn(&mut self, partition: usize) -> Result<(), String> {
        let applied = &self.applied[partition];
        let offset = applied.position.lsn.0;
        let has_come =
            offset >= applied.highest && self.publisher.has_copied_before(partition, offset);
        if self.lives[partition].is_none() || !has_come {
            return Ok(());
        }
        let complete = self.complete(partition);
        let Some((purpose, mut shares)) = self.people.asked.take() else { return Ok(()) };
        let share = &mut shares[partition];
        let end = self.source.end();
        share.stage = match share.stage {
            Stage::Begins => Stage::Looks(end),
            Stage::Looks(through) if complete >= through => {
                self.look(partition, purpose, share, complete);
                Stage::Judges(end)
            }
            Stage::Judges(through) if complete >= through => {
                match self.judge(partition, purpose, share, complete)? {
                    true => Stage::Over,
                    false => Stage::Looks(end),
                }
            }
            stage => stage,
        };
        let is_over = shares.iter().all(|share| share.stage == Stage::Over);
        match (is_over, purpose) {
            (false, _) => self.people.asked = Some((purpose, shares)),
            (true, Purpose::Repair) => self.people.is_damaged = false,
            (true, Purpose::Verify) => {}
        }
        Ok(())
    }

    /// The source's position through which the graph has all of the partition.
    fn complete(&self, partition: usize) -> Lsn {
        if self.publisher.heartbeats.is_empty() {
            return self.applied[partition].lsn;
        }
        let mut pending = Pending::default();
        for (index, Heartbeat { end, ends }) in self.publisher.heartbeats.iter().enumerate() {
            pending.push(Said { after: index as u64 + 1, complete: Some((*end, ends.clone())) });
        }
        let applied: Vec<u64> = self.applied.iter().map(|it| it.position.lsn.0).collect();
        pending.take(&applied).map_or(Lsn::ZERO, |(_, through)| through)
    }

    fn is_own(&mut self, partition: usize, table: TableIndex, key: &Key) -> bool {
        self.fault == Some(Fault::KeysOfOthersCompared)
            || self.publisher.partition_of(&self.source, table, key) == partition
    }

    /// The rows of a table as a snapshot sees them now: it sees everything that is applied.
    fn rows(&self, table: TableIndex) -> BTreeMap<Key, Row> {
        let rows = self.source.latest()[table.0].iter();
        rows.map(|(key, row)| self.schema.graph_row(table, key, row)).collect()
    }

    fn look(&mut self, partition: usize, purpose: Purpose, share: &mut Share, complete: Lsn) {
        let model = self.schema.model.clone();
        for table in self.schema.clone().tables() {
            let rows = self.rows(table);
            let entities = self.memory.page(&model, table, None, usize::MAX);
            let entities: BTreeMap<_, _> =
                entities.into_iter().map(|found| (found.key.clone(), found)).collect();
            let keys: BTreeSet<Key> = rows.keys().chain(entities.keys()).cloned().collect();
            let mut write = Vec::new();
            for key in keys {
                if !self.is_own(partition, table, &key) {
                    continue;
                }
                let row = rows.get(&key);
                if compare(&model, table, row.map(|row| (&key, row)), entities.get(&key)).is_empty()
                {
                    continue;
                }
                match row {
                    Some(row) if purpose == Purpose::Repair => write.push((key, row.clone())),
                    row => {
                        share.named.watch((table, key.clone()));
                        share.suspects.insert((table, key), row.cloned());
                    }
                }
            }
            self.repair(partition, table, Repair { write, ..Repair::default() }, complete);
        }
    }

    /// Whether the share is over.
    fn judge(
        &mut self,
        partition: usize,
        purpose: Purpose,
        share: &mut Share,
        complete: Lsn,
    ) -> Result<bool, String> {
        let model = self.schema.model.clone();
        let mut is_over = true;
        for ((table, key), row) in std::mem::take(&mut share.suspects) {
            if share.named.end_watch(&(table, key.clone())) {
                is_over = false;
                continue;
            }
            let found = self.memory.found(&model, table, std::slice::from_ref(&key));
            let seen = row.as_ref().map(|row| (&key, row));
            let differences = compare(&model, table, seen, found.first());
            if differences.is_empty() {
                continue;
            }
            if !self.people.was_damaged {
                return Err(format!("a false alarm: {table:?} {key:?} {differences:?}"));
            }
            if purpose == Purpose::Repair {
                let (mut remove, mut empty) = (Vec::new(), Vec::new());
                match remedy(&differences, row.is_some()) {
                    Some(Remedy::Remove) => remove.push(key),
                    Some(Remedy::Empty) => empty.push(key),
                    other => return Err(format!("{other:?} was put off")),
                }
                let repair = Repair { remove, empty, ..Repair::default() };
                self.repair(partition, table, repair, complete);
            }
        }
        if purpose == Purpose::Repair {
            for (table, key) in self.memory.incomplete(&model) {
                if !self.is_own(partition, table, &key) {
                    continue;
                }
                is_over = false;
                if let Some(row) = self.rows(table).remove(&key) {
                    let write = vec![(key, row)];
                    self.repair(partition, table, Repair { write, ..Repair::default() }, complete);
                }
            }
        }
        Ok(is_over)
    }

    fn repair(&mut self, partition: usize, table: TableIndex, repair: Repair, complete: Lsn) {
        let applied = Some(Stamp::of_read(complete)).max(self.applied[partition].last_change);
        let stamp = applied.filter(|_| self.fault != Some(Fault::RepairedWithoutStamp));
        let model = self.schema.model.clone();
        let statements: Vec<Statement> = plan_repaired(&model, table, Repair { stamp, ..repair });
        statements.iter().for_each(|it| self.memory.apply(&model, it));
    }
}
