//! Seeded histories through a topic with several partitions, or a topic for each table: the real encoder, decoder, transactions,
//! engine, fold and plan against the in-memory graph.
//!
//! ```text
//! traffic -> log -> publisher, by key --> partition 0 -> Transactions -> Engine -> statements --+
//!                     (dies, goes back)   partition 1 -> ...                                    +-> Memory
//!                                         (each at its own pace, dies, goes back to its checkpoint)
//! ```
//!
//! Whatever the interleaving, the graph ends equal to the tables; and what heartbeats of a topic of their own say
//! of it ends at the log's end. `SEED=n` runs one history.

mod compared;
mod layout;
mod publisher;
mod start;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fastrand::Rng;
use wal2graph::{
    change::Event,
    checkpoint::{Advance, LastRecord, Log, Origin, Position, TopicId, TopicPartition},
    engine::{Batch, Engine, Input, Limits, Output},
    envelope::{DecodeOptions, Decoder},
    graph::{Circumstances, Mutations, Statement, memory::Memory, plan, statement::Reach},
    lsn::{Lsn, Stamp},
    request::Purpose,
    topic::{
        before::LastRecords,
        ends::{Pending, Said},
        gap::{Gap, Gaps},
        holes::Holes,
        transactions::Transactions,
    },
};

use super::{
    each_fault_is_caught, each_history, faults::apply_without_sweep, schema, schema::Schema,
};
use compared::People;
use layout::Layout;
use publisher::{Heartbeat, Publisher, Source};

/// Histories that `make test` runs.
const HISTORIES: u64 = 1_000;
/// The search must find a planted fault within this many histories.
const HISTORIES_PER_FAULT: u64 = 60_000;

/// More turns than any history needs.
const TURNS_MAX: usize = 100_000;

/// A rule left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A truncate removes all rows.
    TruncateTakesAll,
    /// It goes to only one partition.
    TruncateInOnePartition,
    /// A placeholder that loses a relationship is not swept.
    SweepLeftOut,
    /// The earlier relationships of an inserted row are not removed.
    InsertWithoutRemoval,
    /// Unsent values are not read for a new key.
    UnsentValuesLeftOut,
    /// A publisher continues from the furthest partition's position.
    ResumedFromTheFurthest,
    /// Late rows that a dead publisher read are applied.
    LateReadsTaken,
    /// A reader that resumes within a transaction does not know its last change.
    LastChangeForgotten,
    /// Neither a topic's id nor its records are checked.
    OtherTopicGoneOnWith,
    /// Where brokers name no topic, records without an answer count as applied ones.
    SilenceIsAFit,
    /// A recreated topic is applied to the graph unchanged.
    OtherTopicApplied,
    /// A heartbeat of its own topic is produced before everything that it speaks of is there.
    HeartbeatBeforeItsRows,
    /// A repair writes rows without the stamp of its partition's position.
    RepairedWithoutStamp,
    /// A partition compares keys that another one has.
    KeysOfOthersCompared,
    /// The last record before the checkpoint is not compared.
    LostTailGoneOnWith,
    /// A table's topic that lost what a heartbeat speaks of gets a copy.
    LostRowsCopiedAgain,
    /// Reading goes on behind records that do not come, as behind the marks of strangers' transactions.
    HolePassed,
    /// A gap that the publisher tells of is passed without a comparison.
    GapPassed,
    /// A publisher that dies while it tells of a gap has told all partitions of it.
    GapInSomePartitions,
}

/// Every fault, with a seed that catches it.
const ALL: &[(Fault, u64)] = &[
    (Fault::TruncateTakesAll, 5),
    (Fault::TruncateInOnePartition, 17),
    (Fault::SweepLeftOut, 25),
    (Fault::InsertWithoutRemoval, 130),
    (Fault::UnsentValuesLeftOut, 32),
    (Fault::ResumedFromTheFurthest, 25),
    (Fault::LateReadsTaken, 87),
    (Fault::LastChangeForgotten, 18500),
    (Fault::OtherTopicGoneOnWith, 226),
    (Fault::SilenceIsAFit, 17642),
    (Fault::OtherTopicApplied, 2),
    (Fault::HeartbeatBeforeItsRows, 4),
    (Fault::RepairedWithoutStamp, 976),
    (Fault::KeysOfOthersCompared, 5),
    (Fault::LostTailGoneOnWith, 27),
    (Fault::LostRowsCopiedAgain, 11),
    (Fault::HolePassed, 85),
    (Fault::GapPassed, 22),
    (Fault::GapInSomePartitions, 5734),
];

/// The graph's progress in a partition.
#[derive(Clone, Copy, Default)]
struct Applied {
    position: Position,
    lsn: Lsn,
    last_change: Option<Stamp>,
    last_record: Option<LastRecord>,
    /// Everything before it was applied once.
    highest: u64,
    /// Its topic; `None` while there is no checkpoint.
    topic: Option<TopicId>,
    /// An operator has reset the group's offset to the earliest.
    is_reset: bool,
}

/// A partition's pipeline, while it lives.
struct Life {
    transactions: Transactions,
    last_records: LastRecords,
    engine: Engine,
    next: usize,
}

struct World {
    schema: Arc<Schema>,
    rng: Rng,
    fault: Option<Fault>,
    source: Source,
    publisher: Publisher,
    memory: Memory,
    applied: Vec<Applied>,
    lives: Vec<Option<Life>>,
    /// The topic that there is now.
    topic: TopicId,
    /// The brokers name topics.
    has_ids: bool,
    people: People,
    /// Checkpoints have the last record before them: those of an earlier build have none.
    has_last_records: bool,
    /// The topic may lose its last records.
    loses: bool,
    /// It has lost some since it was made.
    has_lost: bool,
    /// Records between others may go.
    compacts: bool,
    /// Those that are gone, of each partition.
    gone: Vec<BTreeSet<u64>>,
    /// What each partition knows of them.
    holes: Vec<Holes>,
    /// The slot may be lost.
    loses_slot: bool,
    /// What each partition knows of what was never published.
    gaps: Vec<Gaps>,
}

fn history(seed: u64, fault: Option<Fault>) -> Result<(), String> {
    let schemas = schema::schemas_without_unique_references();
    let schema = schemas[seed as usize % schemas.len()].clone();
    let mut rng = Rng::with_seed(seed);
    let layout = match fault {
        // Nobody names topics: each table has none of its own.
        Some(Fault::SilenceIsAFit) => Layout::One(rng.usize(2..=4)),
        _ => Layout::any(schema.model.tables.len(), &mut rng),
    };
    let partitions = layout.partitions();
    let source = Source::new(&schema, &mut rng);
    let publisher = Publisher::new(&schema, &source, &layout, fault);
    let lives = std::iter::repeat_with(|| None).take(partitions).collect();
    let applied = vec![Applied::default(); partitions];
    let memory = Memory::default();
    // Where each table has a topic, brokers have to name them.
    let (topic, has_ids) = (TopicId(1), rng.bool() || layout.is_by_table());
    let people = People::new(seed, fault);
    let mut world = World {
        schema,
        rng,
        fault,
        source,
        publisher,
        memory,
        applied,
        lives,
        topic,
        has_ids,
        people,
        has_last_records: seed % 2 == 1,
        loses: seed % 8 == 3,
        has_lost: false,
        compacts: seed % 8 == 5,
        gone: vec![BTreeSet::new(); partitions],
        holes: std::iter::repeat_with(Holes::watched).take(partitions).collect(),
        loses_slot: seed % 8 == 6,
        gaps: std::iter::repeat_with(Gaps::default).take(partitions).collect(),
    };
    world.run()?;
    world.check()
}

impl World {
    fn run(&mut self) -> Result<(), String> {
        for _ in 0..self.rng.usize(20..120) {
            self.people_act()?;
            match self.rng.u8(0..10) {
                0 | 1 => self.source.commit(&self.schema, &mut self.rng),
                2..5 => self.publisher.step(&self.source, &mut self.rng, true),
                5..9 => {
                    let partition = self.rng.usize(0..self.lives.len());
                    let records = self.rng.usize(1..30);
                    self.apply(partition, records)?;
                }
                _ if self.rng.u8(0..8) == 0 => self.make_again(),
                _ if self.loses && self.rng.u8(0..3) == 0 => self.lose(),
                _ if self.compacts && self.rng.bool() => self.compact(),
                _ if self.loses_slot && self.rng.u8(0..3) == 0 => {
                    self.publisher.lose_slot(&self.source);
                }
                _ => self.end_a_life(),
            }
        }
        while !self.publisher.is_done(&self.source) {
            self.publisher.step(&self.source, &mut self.rng, false);
        }
        let mut turns = 0;
        while (0..self.lives.len()).any(|it| !self.is_drained(it)) {
            turns += 1;
            if turns > TURNS_MAX {
                return Err("nothing moves any more".to_owned());
            }
            let partition = self.rng.usize(0..self.lives.len());
            self.apply(partition, 5)?;
            self.people_act()?;
        }
        self.repair_at_last()
    }

    fn is_drained(&self, partition: usize) -> bool {
        let Applied { position, topic, .. } = self.applied[partition];
        topic == Some(self.topic)
            && position.lsn.0 as usize == self.publisher.topic[partition].len()
    }

    /// kill -9, sometimes followed by a reset of the group's offset to the earliest.
    fn end_a_life(&mut self) {
        let partition = self.rng.usize(0..self.lives.len());
        self.lives[partition] = None;
        self.people.begin_again(partition);
        if self.rng.u8(0..6) == 0 {
            // From another start, the reader can not recognise late repetitions of a dead
            // publisher.
            self.applied[partition].is_reset = true;
        }
    }

    /// The topic is deleted, and created again with a copy of the current rows.
    fn make_again(&mut self) {
        self.lives.iter_mut().for_each(|life| *life = None);
        self.people.give_up();
        self.topic.0 += 1;
        self.publisher = self.publisher.anew(&self.source);
        self.has_lost = false;
        self.gone.iter_mut().for_each(BTreeSet::clear);
        self.holes.iter_mut().for_each(|holes| *holes = Holes::watched());
        self.gaps.iter_mut().for_each(|gaps| *gaps = Gaps::default());
    }

    /// The cleaner, or somebody, takes records of a partition. It leaves the last one.
    fn compact(&mut self) {
        let partition = self.rng.usize(0..self.lives.len());
        let last = self.publisher.topic[partition].len().saturating_sub(1) as u64;
        for _ in 0..self.rng.u8(1..6) {
            if last > 0 {
                self.gone[partition].insert(self.rng.u64(0..last));
            }
        }
    }

    /// Reading stops before what is gone, until a comparison is asked for.
    fn stop_at_hole(&mut self, partition: usize) {
        self.ask(Purpose::Repair);
        self.people.has_lost_changes();
        let end = self.publisher.topic[partition].len() as u64;
        self.holes[partition].go_on(end);
        self.lives[partition] = None;
    }

    /// Reading stops before what was never published, until a comparison is asked for.
    fn stop_at_gap(&mut self, partition: usize, offset: u64) {
        self.ask_for_gap(partition);
        self.gaps[partition].go_on(offset);
        self.lives[partition] = None;
    }

    /// The machine of a broker loses power, and what was not on disk. The topic keeps its id.
    fn lose(&mut self) {
        self.lives.iter_mut().for_each(|life| *life = None);
        self.has_lost = true;
        if !self.publisher.lose(&mut self.rng) {
            // The publisher is refused, and the operator makes the topics again.
            self.make_again();
        }
    }

    /// A partition's pipeline takes some records, and writes the resulting batches.
    fn apply(&mut self, partition: usize, records: usize) -> Result<(), String> {
        let mut life = match self.lives[partition].take() {
            Some(life) => life,
            None => self.begin(partition)?,
        };
        let (log, gone) = (&self.publisher.topic[partition], &self.gone[partition]);
        let mut events: Vec<Event> = Vec::new();
        let there = (life.next..log.len()).filter(|offset| !gone.contains(&(*offset as u64)));
        let (mut is_at_hole, mut is_at_gap) = (false, None);
        for offset in there.take(records).collect::<Vec<_>>() {
            let missing = life.next as u64..offset as u64;
            let passes = missing.is_empty() || self.fault == Some(Fault::HolePassed);
            if !passes && !self.holes[partition].meet(missing) {
                is_at_hole = true;
                break;
            }
            let (before, record) = (events.len(), &log[offset]);
            let gap = Gap::of(record).filter(|_| self.fault != Some(Fault::GapPassed));
            if gap.is_some_and(|gap| !self.gaps[partition].meet(offset as u64, gap)) {
                is_at_gap = Some(offset as u64);
                break;
            }
            let taken = life.transactions.record(offset as u64, record, &mut events);
            taken.map_err(|error| format!("offset {offset} of {partition}: {error}"))?;
            life.last_records.record(offset as u64, record, &events[before..]);
            life.next = offset + 1;
        }
        for event in events {
            life.engine.handle(Input::Event(event)).map_err(|error| error.to_string())?;
        }
        let hour = Duration::from_secs(3_600) * (life.next as u32 + 1);
        while let Some(output) = life.engine.poll(hour) {
            if let Output::Apply(batch) = output {
                let last_record = life.last_records.before(batch.advance.to.lsn);
                let last_record = last_record.filter(|_| self.has_last_records);
                if !self.write(partition, batch, last_record) {
                    // It died in the middle.
                    self.people.begin_again(partition);
                    return Ok(());
                }
                life.engine.handle(Input::Applied).map_err(|error| error.to_string())?;
            }
        }
        self.lives[partition] = Some(life);
        if is_at_hole {
            self.stop_at_hole(partition);
        }
        if let Some(offset) = is_at_gap {
            self.stop_at_gap(partition, offset);
        }
        Ok(())
    }

    fn begin(&mut self, partition: usize) -> Result<Life, String> {
        self.decide(partition)?;
        let Applied { position, lsn, last_change, last_record, .. } = self.applied[partition];
        let decoder = Decoder::new(&self.source.catalog, DecodeOptions::default());
        let log = TopicPartition { topic: "t".to_owned(), partition: partition as i32 };
        self.gaps[partition].read_from(position.lsn.0);
        let origin =
            Origin { system_identifier: "7".to_owned(), timeline: 1, log: Log::Partition(log) };
        let limits = Limits { batch_changes: self.rng.usize(1..20), ..Limits::DEFAULT };
        Ok(Life {
            transactions: Transactions::each_alone(decoder, origin, lsn, last_change),
            last_records: LastRecords::behind(last_record),
            engine: Engine::new(limits, position),
            next: position.lsn.0 as usize,
        })
    }

    /// One graph transaction, after the pieces before it. Returns false if the pipeline died before
    /// it.
    fn write(&mut self, partition: usize, batch: Batch, last_record: Option<LastRecord>) -> bool {
        let stamps = batch.stamps();
        let Advance { to, source_lsn: lsn, last_change, .. } = batch.advance;
        let mut mutations = Mutations::default();
        for (change, stamp) in batch.changes.iter().zip(stamps) {
            let Ok(event) = self.schema.translate(change);
            self.people.named(partition, &event);
            mutations.push_at(event, stamp);
        }
        let circumstances = match self.fault {
            Some(Fault::InsertWithoutRemoval) => Circumstances::Settled,
            _ => Circumstances::Unsettled,
        };
        let mut statements = plan(&self.schema.model, mutations, circumstances);
        if self.fault == Some(Fault::TruncateTakesAll) {
            statements.iter_mut().for_each(reach_all);
        }
        let (clears, others): (Vec<_>, Vec<_>) = statements.into_iter().partition(is_clear);
        clears.iter().for_each(|it| self.memory.apply(&self.schema.model, it));
        if !clears.is_empty() && self.rng.u8(0..4) == 0 {
            return false;
        }
        for statement in &others {
            match self.fault {
                Some(Fault::SweepLeftOut) => {
                    apply_without_sweep(&mut self.memory, &self.schema.model, statement);
                }
                _ => self.memory.apply(&self.schema.model, statement),
            }
        }
        let applied = &mut self.applied[partition];
        let last_change = last_change
            .or(applied.last_change)
            .filter(|_| self.fault != Some(Fault::LastChangeForgotten));
        let highest = applied.highest.max(to.lsn.0);
        let lsn = applied.lsn.max(lsn);
        let position = to;
        *applied = Applied { position, lsn, last_change, last_record, highest, ..*applied };
        true
    }

    fn check(&self) -> Result<(), String> {
        self.check_position()?;
        let expected = self.schema.expected(self.source.latest());
        let found = self.memory.contents(&self.schema.model).without_stamps();
        match expected == found {
            true => Ok(()),
            false => Err(super::world::difference(&expected, &found)),
        }
    }
}

impl World {
    /// The heartbeats of a topic of their own say that the graph has everything, whichever table stood still.
    fn check_position(&self) -> Result<(), String> {
        let mut pending = Pending::default();
        for (index, Heartbeat { end, ends }) in self.publisher.heartbeats.iter().enumerate() {
            pending.push(Said { after: index as u64 + 1, complete: Some((*end, ends.clone())) });
        }
        let applied: Vec<u64> = self.applied.iter().map(|it| it.position.lsn.0).collect();
        match (pending.take(&applied), self.publisher.heartbeats.is_empty()) {
            (None, true) => Ok(()),
            (Some((_, through)), _) if through >= self.source.end() => Ok(()),
            (said, _) => Err(format!("{said:?} is not the end, {}", self.source.end())),
        }
    }
}

fn is_clear(statement: &Statement) -> bool {
    matches!(statement, Statement::ClearNodes { .. } | Statement::ClearRelationships { .. })
}

fn reach_all(statement: &mut Statement) {
    if let Statement::ClearNodes { reach, .. } | Statement::ClearRelationships { reach, .. } =
        statement
    {
        *reach = Reach::All;
    }
}

#[test]
fn every_interleaving_of_partitions_ends_with_the_graph_equal_to_the_tables() {
    each_history(HISTORIES, |seed| history(seed, None));
}

#[test]
fn every_fault_of_partitions_is_caught() {
    each_fault_is_caught(ALL, HISTORIES_PER_FAULT, |seed, fault| history(seed, Some(fault)));
}
