//! The slot of a source whose tables change, and its stream: each connection describes tables anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use wal2graph::{
    catalog::TableName,
    change::{Change, Event, Relation, RelationColumn},
    checkpoint::{Checkpoint, Claim, NewCheckpoint},
    copy::{Progress, passes as passes_of_copy, ranges},
    graph::{Outlines, Pass, TableIndex},
    lsn::Lsn,
    pipeline::{NextShape, Source, Store},
    service::{
        ServiceError,
        begin::{HeldLog, Log},
    },
    start::{
        TableFacts,
        following::{self, Next, kept, looks, of_followed, owed, passes, step},
        generation,
        rules::Rules,
    },
};

use super::{
    super::{
        copy::pause,
        lost::checkpoint_at,
        program::SimError,
        source::{SimSlot, SimSource},
        store::{PIPELINE, identity},
        traffic::BLOCKS,
        world::Shared,
    },
    faults::Unfollowed,
    program::Looked,
};

/// Earlier shapes that a program has met.
pub type Learned = Arc<Mutex<following::Shapes>>;

pub struct Slot {
    pub slot: SimSlot,
    pub looked: Arc<Looked>,
    pub learned: Learned,
    pub rules: Rules,
}

/// The slot while it is held, and its stream.
pub struct Held {
    source: SimSource,
    world: Shared,
    looked: Arc<Looked>,
    learned: Learned,
    rules: Rules,
    /// What this connection has described last of a table, or of a partition in its table's name.
    described: BTreeMap<u32, Arc<Relation>>,
    /// What the decoder knows of a table.
    known: BTreeMap<u32, Arc<Relation>>,
}

/// What a life goes on with.
pub struct Agreed {
    pub facts: TableFacts,
    pub outlines: Option<String>,
    pub labels: Vec<String>,
}

impl Log for Slot {
    type Held = Held;

    async fn make(&mut self, store: &impl Store) -> Result<Checkpoint, ServiceError> {
        let (world, Looked { mapping, .. }) = (&self.slot.world, &*self.looked);
        pause(world, 10).await;
        {
            let mut world = world.lock();
            if !world.shapes().has_slot {
                world.shapes().has_slot = true;
                let end = Lsn(world.server.end);
                (world.server.slot.confirmed, world.server.slot.persisted) = (end, end);
            }
        }
        pause(world, 10).await;
        let (facts, start) = {
            let mut world = world.lock();
            let (fault, visible) = (world.shapes().fault, world.snapshot().0);
            let now = world.shapes().states[visible].now(mapping, fault);
            (generation::first(&now, mapping), world.server.slot.confirmed)
        };
        let new = NewCheckpoint {
            mapping_digest: mapping.digest(),
            labels: mapping.labels(),
            table_facts: Some(facts.text()),
            outlines: Some(Outlines::of(&mapping.model).text()),
            ..checkpoint_at(start)
        };
        let model = &mapping.model;
        let tables: Vec<TableIndex> = model.iter().map(|(table, _)| table).collect();
        let passes = |table| passes_of_copy(model, table).collect();
        let progress = new_progress(world, &self.looked, &tables, passes);
        store.create(PIPELINE, &new, &progress).await?;
        let made = store.checkpoint(&identity()).await?;
        made.ok_or_else(|| ServiceError::NotYet("the checkpoint is gone".to_owned()))
    }

    async fn hold(self, checkpoint: &Checkpoint) -> Result<Held, ServiceError> {
        let Slot { slot, looked, learned, rules } = self;
        let world = slot.world.clone();
        let source = slot.hold(checkpoint).await?;
        let (described, known) = (BTreeMap::new(), BTreeMap::new());
        Ok(Held { source, world, looked, learned, rules, described, known })
    }
}

/// The progress of passes that have not begun.
fn new_progress(
    world: &Shared,
    looked: &Looked,
    tables: &[TableIndex],
    passes: impl Fn(TableIndex) -> Vec<Pass>,
) -> Vec<Progress> {
    let mut world = world.lock();
    let parts = world.shapes().rng.u32(1..=2);
    let visible = world.server.visible;
    let state = world.shapes().states[visible].clone();
    let mut progress = Vec::new();
    for table in tables {
        let of_table = looked.mapping.columns(*table);
        let name = of_table.name.in_file();
        let heaps = state.named(&of_table.name.name).map(|it| it.is.heaps()).unwrap_or_default();
        for pass in passes(*table) {
            if pass == Pass::Graph {
                progress.push(Progress::new(&name, pass));
                continue;
            }
            let of_heap = heaps.iter().flat_map(|heap| {
                ranges(BLOCKS, parts).into_iter().map(move |range| (*heap, range))
            });
            progress.extend((0..).zip(of_heap).map(|(part, ((partition, file), range))| {
                Progress {
                    partition,
                    part,
                    next_block: range.0,
                    end_block: range.1,
                    relfilenode: file,
                    ..Progress::new(&name, pass)
                }
            }));
        }
    }
    super::super::records::sort(&mut progress);
    progress
}

fn again(why: &str) -> ServiceError {
    ServiceError::Reshaped(why.to_owned())
}

impl HeldLog for Held {
    type Agreed = Agreed;

    fn confirmed(&self) -> Lsn {
        self.source.confirmed()
    }

    /// As `run` does it.
    async fn agree(
        &mut self,
        graph: &impl Store,
        claimed: &Checkpoint,
    ) -> Result<Agreed, ServiceError> {
        let looked = self.looked.clone();
        let Looked { mapping, now, at, .. } = &*looked;
        let facts = claimed.table_facts.as_deref().map(TableFacts::parse);
        let facts = facts.and_then(Result::ok).expect("every checkpoint has some");
        pause(&self.world, 6).await;
        let fault = {
            let mut world = self.world.lock();
            let (fault, visible) = (world.shapes().fault, world.snapshot().0);
            let is_now = world.shapes().states[visible].now(mapping, fault);
            let is_same = (&is_now.facts, &is_now.traces) == (&now.facts, &now.traces);
            if !is_same && fault != Some(Unfollowed::NoLook) {
                return Err(again("the tables change at this moment"));
            }
            fault
        };
        let planted = |it| fault == Some(it);
        let unexplained = self.learned.lock().expect("nobody panics").unexplained();
        let seen = (&**mapping, now, *at);
        let (mut generation, next) = step(claimed, &facts, seen, &unexplained);
        if planted(Unfollowed::LeftOverIgnored) || planted(Unfollowed::BacklogIgnored) {
            let mut believed = claimed.clone();
            match fault {
                Some(Unfollowed::LeftOverIgnored) => believed.outlines = None,
                _ => believed.position.lsn = Lsn(u64::MAX),
            }
            generation = step(&believed, &facts, seen, &unexplained).0;
        }
        if planted(Unfollowed::GoesOnUnmarked) {
            let was_paused = |it: &TableName| facts.paused().contains_key(&it.in_file());
            generation.marks.retain(|mark| !was_paused(&mark.found.table));
        }
        if planted(Unfollowed::RecreatedByName) {
            generation.marks.retain(|it| !it.found.what.contains("another table of this name"));
        }
        let again_from = wal2graph::start::Again::FromTables;
        if let Some(refusal) = generation.refused(&again_from, &self.rules) {
            return Err(again(&refusal.to_string()));
        }
        let (outlines, labels) = (claimed.outlines.clone(), claimed.labels.clone());
        let agreed = Agreed { facts: generation.facts.clone(), outlines, labels };
        let Some(Next { digest, labels, facts, outlines }) = next else {
            self.world.lock().adopt(&mapping.model);
            return Ok(agreed);
        };
        let claim = Claim { identity: identity(), epoch: claimed.epoch };
        let left = graph.copy_progress(PIPELINE).await?;
        let progress = match generation.marks.is_empty() {
            true => kept(&mapping.model, mapping.paused(), &left),
            false => Some(self.owed(left, &generation, fault)),
        };
        {
            let marks = generation.marks.iter().map(|mark| mark.found.to_string());
            let free = generation.free.iter().map(|it| format!("free {it}"));
            let told: Vec<String> = marks.chain(free).collect();
            self.world.lock().moments.trace(|| format!("follows {at:?}: {told:?}"));
        }
        let progress = match planted(Unfollowed::PausedWorkGoesOn) && generation.marks.is_empty() {
            true => None,
            false => progress,
        };
        let facts = match planted(Unfollowed::PauseForgotten) {
            true => {
                let mut facts = generation.facts.clone();
                facts.tables.iter_mut().for_each(|table| table.paused = None);
                facts.text()
            }
            false => facts,
        };
        let stored = match planted(Unfollowed::StepsForgotten) {
            true => Outlines::of(&mapping.model).text(),
            false => outlines.clone(),
        };
        let next = NextShape {
            digest: &digest,
            labels: &labels,
            facts: &facts,
            outlines: &stored,
            progress: progress.as_deref(),
        };
        if !graph.follow(&claim, next).await? {
            return Err(again("another instance has claimed the graph"));
        }
        self.learned.lock().expect("nobody panics").is_kept(*at);
        self.world.lock().adopt(&mapping.model);
        Ok(Agreed { outlines: Some(outlines), labels, ..agreed })
    }

    async fn next_transaction(&mut self) -> Result<u64, ServiceError> {
        self.source.next_transaction().await
    }
}

impl Held {
    fn owed(
        &self,
        left: Vec<Progress>,
        generation: &generation::Generation,
        fault: Option<Unfollowed>,
    ) -> Vec<Progress> {
        let model = &self.looked.mapping.model;
        let left = match fault {
            Some(Unfollowed::PausedWorkGoesOn) => left,
            _ => of_followed(model, self.looked.mapping.paused(), left),
        };
        let mut looks = looks(model, &left, generation);
        if fault == Some(Unfollowed::MarkedAgainGoesOn) {
            let is_left = |name: &String| left.iter().any(|it| it.compares() && it.table == *name);
            looks.retain(|(table, _)| !is_left(&model.table(*table).name));
        }
        let marked: Vec<TableIndex> = looks.iter().map(|(table, _)| *table).collect();
        let passes_of = |table: TableIndex| {
            let look = looks.iter().find(|(marked, _)| *marked == table);
            look.map(|(_, look)| passes(look)).unwrap_or_default()
        };
        let new = new_progress(&self.world, &self.looked, &marked, passes_of);
        owed(model, left, &looks, new)
    }

    /// As the decoder has it: a table is described before a row, if it or the row's partition has another
    /// description than the last one.
    fn relation(&mut self, relation: &Arc<Relation>) -> Arc<Relation> {
        let relation = self.spoilt(relation);
        let by = relation.leaf.unwrap_or(relation.oid);
        let is_described = self.described.get(&by).is_some_and(|it| *it == relation);
        let is_same = |known: &Arc<Relation>| known.is_described_as(&relation);
        // What VACUUM, ANALYZE and others invalidate comes again.
        if !is_described || self.world.lock().shapes().rng.u8(0..8) == 0 {
            self.described.insert(by, relation.clone());
            let is_known = |it: &Arc<Relation>| {
                is_same(it) && (relation.leaf.is_none() || it.leaf == relation.leaf)
            };
            if !self.known.get(&relation.oid).is_some_and(is_known) {
                self.known.insert(relation.oid, relation.clone());
            }
        }
        self.known[&relation.oid].clone()
    }

    fn spoilt(&self, relation: &Arc<Relation>) -> Arc<Relation> {
        let mut relation = relation.clone();
        let fault = self.world.lock().shapes().fault;
        let tables = &self.looked.now.facts.tables;
        match fault {
            Some(Unfollowed::BoundByName) => {
                if let Some(table) = tables.iter().find(|it| it.name == relation.name) {
                    Arc::make_mut(&mut relation).oid = table.oid;
                }
            }
            Some(Unfollowed::KeyOfNow) => {
                if let Some(table) = tables.iter().find(|it| it.oid == relation.oid) {
                    let key: BTreeSet<&String> = table.key.iter().collect();
                    let columns = &mut Arc::make_mut(&mut relation).columns;
                    columns.iter_mut().for_each(|it: &mut RelationColumn| {
                        it.identity = key.contains(&it.name);
                    });
                }
            }
            Some(Unfollowed::LeavesIgnored) => Arc::make_mut(&mut relation).leaf = None,
            _ => {}
        }
        relation
    }

    fn described(&mut self, change: Change) -> Change {
        match change {
            Change::Insert { relation, new } => {
                Change::Insert { relation: self.relation(&relation), new }
            }
            Change::Update { relation, before, new } => {
                Change::Update { relation: self.relation(&relation), before, new }
            }
            Change::Delete { relation, before } => {
                Change::Delete { relation: self.relation(&relation), before }
            }
            Change::Truncate { relations } => Change::Truncate {
                relations: relations.iter().map(|it| self.relation(it)).collect(),
            },
            message @ Change::Message { .. } => message,
        }
    }
}

impl Source for Held {
    type Error = SimError;

    async fn next(&mut self) -> Result<Vec<Event>, SimError> {
        let events = self.source.next().await?;
        let described = events.into_iter().map(|event| match event {
            Event::Change(change) => Event::Change(self.described(change)),
            other => other,
        });
        Ok(described.collect())
    }

    fn acknowledge(&mut self, lsn: Lsn) {
        self.source.acknowledge(lsn);
    }
}
