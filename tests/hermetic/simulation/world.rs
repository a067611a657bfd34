//! The state that survives a crash of the program: the server's log and slot, and the graph with
//! its checkpoint.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use fastrand::Rng;
use wal2graph::{
    checkpoint::{Advance, Checkpoint, Claim, Epoch, Mark, NewCheckpoint, Position},
    copy::{Progress, ranges},
    engine::Portion,
    graph::{
        Key, Pass, Statement, TableIndex,
        memory::{Contents, Memory, NodeContent},
        model::Shape,
    },
    lsn::Lsn,
    pipeline::Note,
};

use super::{
    faults::{Fault, apply_without_sweep, take_others_along, take_references},
    locks::Locks,
    lost::Losses,
    moments::{Moments, Sometimes},
    others::{Others, apply_dropping_others, apply_leaving_others},
    poison::Poison,
    program::SimError,
    reconcile::People,
    records::{Records, Refused},
    schema::{Schema, Tables},
    server::{Kept, Server, Slot},
    shapes::Shapes,
    store::{PIPELINE, identity},
    traffic::{BLOCKS, Transaction},
};

/// The number of the first standby.
pub const STANDBY: u32 = 1_000;

/// The world, shared by the instances in it.
#[derive(Clone)]
pub struct Shared(pub Arc<Mutex<World>>);

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, World> {
        // The task of a panicked instance reports the panic.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

pub struct World {
    pub schema: Arc<Schema>,
    pub rng: Rng,
    pub fault: Option<Fault>,
    pub server: Server,
    pub graph: Graph,
    pub locks: Locks,
    pub others: Others,
    pub people: People,
    pub losses: Losses,
    pub poison: Poison,
    /// How many changes the graph takes at once.
    pub capacity: usize,
    /// The transaction whose changes the graph accepts only one at a time.
    pub conflicting: u32,
    /// The portion that the program has found out. It outlives connections.
    pub portion: Portion,
    /// The source as it was once, until it is put back to that.
    pub kept: Option<Kept>,
    /// The source may be put back.
    pub may_be_put_back: bool,
    /// It was, and an instance has refused to go on with it.
    pub refused: bool,
    /// The server sends transactions without changes, as PostgreSQL 14 does.
    sends_empty: bool,
    /// What must never happen and did.
    pub violation: Option<String>,
    pub moments: Moments,
    /// The catalog of a source whose tables change.
    pub shapes: Option<Shapes>,
}

#[derive(Default)]
pub struct Graph {
    pub memory: Memory,
    /// The checkpoint, and the progress of the copy.
    pub records: Records,
    /// The newest transaction that it has really something of.
    pub has: Option<Mark>,
    /// The copy is complete, including incomplete rows.
    pub settled: bool,
    pub writes: u64,
}

impl World {
    pub fn new(seed: u64, schema: Arc<Schema>, fault: Option<Fault>, moments: Moments) -> Self {
        let mut rng = Rng::with_seed(seed);
        let relfilenodes = schema.tables().map(|table| table.0 as u32 * 100).collect();
        // Some histories pass the wrap of 32-bit transaction ids.
        let next_xid = if rng.bool() { u64::from(u32::MAX) - 10 } else { 700 };
        let server = Server {
            log: Vec::new(),
            states: vec![schema.empty()],
            end: 1_000,
            next_xid,
            visible: 0,
            relfilenodes,
            slot: Slot::default(),
            clock: 0,
        };
        let capacity = if rng.bool() { usize::MAX } else { rng.usize(1..8) };
        let conflicting = (server.next_xid + rng.u64(0..40)) as u32;
        let (may_be_put_back, sends_empty) = (rng.u8(0..4) == 0, rng.u8(0..4) == 0);
        World {
            schema,
            rng,
            fault,
            server,
            graph: Graph::default(),
            locks: Locks::default(),
            others: Others::new(seed),
            people: People::new(seed),
            losses: Losses::new(seed),
            poison: Poison::new(seed),
            capacity,
            conflicting,
            portion: Portion::WHOLE,
            kept: None,
            may_be_put_back,
            refused: false,
            sends_empty,
            violation: None,
            moments,
            shapes: None,
        }
    }

    /// The refusal of this many changes of these transactions, if the graph refuses them.
    pub fn refuses(&mut self, changes: usize, xids: &[u32]) -> Option<SimError> {
        if changes > self.capacity {
            self.moments.sometimes(Sometimes::TooLarge);
            return Some(SimError::TooLarge);
        }
        if changes > 1 && xids.contains(&self.conflicting) {
            self.moments.sometimes(Sometimes::WrongTogether);
            return Some(SimError::Wrong);
        }
        None
    }

    /// Nothing went wrong, and no instance has refused to go on.
    pub fn goes_on(&self) -> bool {
        self.violation.is_none() && !self.refused
    }

    pub fn violate(&mut self, what: impl Into<String>) {
        self.violation.get_or_insert(what.into());
    }

    /// One random transaction commits.
    pub fn commit_transaction(&mut self) {
        let schema = self.schema.clone();
        let tables = self.server.latest().clone();
        let mut transaction =
            Transaction::new(&schema, &mut self.rng, tables, self.server.next_xid << 8);
        transaction.run();
        let (tables, changes) = (transaction.tables, transaction.changes);
        if !changes.is_empty() || self.sends_empty {
            // The rows of a transaction may lie before the commit of the one before it.
            let gap = self.rng.u64(0..2) * 8;
            self.server.commit(tables, changes, gap);
            let logged = self.server.log.last().expect("just committed");
            self.moments.trace(|| format!("committed {:?}: {:?}", logged.begin, logged.changes));
            if self.server.visible + 1 < self.server.log.len() {
                self.moments.sometimes(Sometimes::CommittedUnseen);
            }
        }
        match self.rng.u8(0..10) {
            0 => self.server.end += 64,
            1 => self.server.slot.persisted = self.server.slot.confirmed,
            2 => self.rewrite(),
            3 => {
                let visible = self.server.visible;
                self.server.visible = self.rng.usize(visible..=self.server.log.len());
            }
            4 => self.kept = Some(self.server.keep()),
            _ => {}
        }
    }

    /// VACUUM FULL: rows move to other blocks of another file, and the stream logs nothing.
    fn rewrite(&mut self) {
        let table = self.rng.usize(0..self.schema.model.tables.len());
        if self.locks.is_read(TableIndex(table)) {
            return;
        }
        self.moments.trace(|| format!("table {table} has a new file"));
        self.server.visible = self.server.log.len();
        self.server.relfilenodes[table] += 1;
        let rng = &mut self.rng;
        let latest = self.server.states.last_mut().expect("there is always a state");
        for row in latest[table].values_mut() {
            row.block = rng.u32(0..BLOCKS);
        }
    }

    /// A current snapshot: the number of transactions that it sees, and its text.
    pub fn snapshot(&mut self) -> (usize, String) {
        let visible = self.rng.usize(self.server.visible..=self.server.log.len());
        self.server.visible = visible;
        let next = self.server.xid_of(visible);
        (visible, format!("{next}:{next}:"))
    }

    /// The progress of a full copy that has not begun.
    pub fn new_progress(&mut self) -> Vec<Progress> {
        let parts = self.rng.u32(1..=2);
        let mut copy = Vec::new();
        for pass in [Pass::Nodes, Pass::Relationships] {
            for table in self.schema.tables() {
                let shape = &self.schema.model.table(table).shape;
                if pass == Pass::Nodes && matches!(shape, Shape::Relationship(_)) {
                    continue;
                }
                for (part, (next_block, end_block)) in (0..).zip(ranges(BLOCKS, parts)) {
                    copy.push(Progress {
                        table: self.schema.model.table(table).name.clone(),
                        partition: None,
                        pass,
                        part,
                        next_block,
                        end_block,
                        relfilenode: self.server.relfilenodes[table.0],
                        rows: 0,
                        done: false,
                        is_owed: false,
                        spares: false,
                    });
                }
            }
        }
        copy
    }

    /// A first start makes the checkpoint.
    pub fn create(&mut self, pipeline: &str, new: &NewCheckpoint, copy: &[Progress]) -> bool {
        let is_made = self.graph.records.create(pipeline, new, copy);
        if is_made {
            self.graph.has = self.server.newest_at(Position::at(new.start));
        }
        is_made
    }

    pub fn note(&mut self, claim: &Claim, note: Note<'_>) -> bool {
        let mut claim = claim.clone();
        if self.fault == Some(Fault::StopToldByAnyEpoch)
            && let Some(checkpoint) = self.graph.records.one(&claim.identity)
        {
            claim.epoch = checkpoint.epoch;
        }
        self.graph.records.note(&claim, note)
    }

    /// The checkpoint of the simulated slot.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.graph.records.one(&identity())
    }

    fn position(&self) -> Option<Position> {
        self.checkpoint().map(|checkpoint| checkpoint.position)
    }

    /// The copy's progress.
    pub fn progress(&mut self) -> &mut Vec<Progress> {
        self.graph.records.progress_mut(PIPELINE)
    }

    /// An instance has claimed the graph, and streams from `position`.
    pub fn begins(&mut self, id: u32, epoch: Epoch, position: Position) {
        self.moments.trace(|| format!("instance {id} begins as {epoch:?} at {position:?}"));
        let settled = self.graph.settled;
        let is_copied = self.progress().iter().any(|range| range.done || range.next_block > 0);
        for (is_so, state) in [
            (position.part.is_some(), Sometimes::StartWithinATransaction),
            (position.part.is_some() && !settled, Sometimes::CopyGoesOnWithinATransaction),
            (is_copied && !settled && epoch.0 > 1, Sometimes::CopyGoesOn),
            (id > STANDBY, Sometimes::StandbyTakesOver),
        ] {
            if is_so {
                self.moments.sometimes(state);
            }
        }
    }

    /// One graph transaction of the stream.
    pub fn write(
        &mut self,
        claim: &Claim,
        advance: Advance,
        statements: &[Statement],
        settled: bool,
    ) -> Result<(), Refused> {
        if self.is_another_history() {
            self.violate(format!("{:?} of another history is written", advance.to));
        }
        if let Err(refused) = self.graph.records.advance(claim, &advance) {
            self.moments.sometimes(Sometimes::StoppedWriterRefused);
            return Err(refused);
        }
        self.moments.trace(|| {
            let Advance { from, to, .. } = &advance;
            format!("{:?} writes {from:?} to {to:?}: {statements:?}", claim.epoch)
        });
        if advance.to.part.is_some() {
            self.moments.sometimes(Sometimes::Parts);
        }
        let stopped = self.checkpoint().and_then(|checkpoint| checkpoint.stopped.as_ref());
        // A writer notes its epoch as the reason.
        if stopped.is_some_and(|stopped| stopped.because != claim.epoch.0.to_string()) {
            self.violate("the graph says of a pipeline that runs why it stopped");
        }
        self.graph.has = self.server.newest_at(advance.to);
        let is_move = |statement: &Statement| matches!(statement, Statement::MoveNodes { .. });
        let whole = advance.from.part.is_none() && advance.to.part.is_none();
        let ride_along =
            self.schema.enforced && settled && whole && !statements.iter().any(is_move);
        self.apply(statements, ride_along);
        if settled
            && advance.to.part.is_none()
            && !self.people.is_damaged
            && self.graph.memory.letters().next().is_none()
        {
            self.check_prefix(advance.to.lsn);
            let schema = self.schema.clone();
            let tables = self.server.at(advance.to.lsn);
            let is_rough = self.people.was_damaged || self.people.are_rough;
            if !is_rough && !self.losses.happened && !self.poison.is_here {
                self.others.act(&schema, tables, &mut self.graph.memory);
            }
        }
        Ok(())
    }

    /// Applies what a copy or a repair writes.
    pub fn apply_copied(&mut self, statements: &[Statement]) {
        let model = self.schema.model.clone();
        for statement in statements {
            if let Statement::DropNodes { table, keys, .. } = statement
                && self.fault == Some(Fault::RemovedWithReferences)
            {
                take_references(&mut self.graph.memory, &model, *table, keys);
            }
        }
        self.apply(statements, false);
    }

    /// `ride_along`: the source checks foreign keys at the end of each of its statements, and these
    /// are whole transactions without key changes.
    pub fn apply(&mut self, statements: &[Statement], ride_along: bool) {
        let model = self.schema.model.clone();
        let takes_references = match self.fault {
            Some(Fault::DetachDeleteForSoftReference) => true,
            Some(Fault::EnforcedReferencesRideAlong) => ride_along,
            _ => false,
        };
        for statement in statements {
            if let Statement::DropNodes { table, keys, .. } = statement
                && takes_references
            {
                take_references(&mut self.graph.memory, &model, *table, keys);
            }
            match self.fault {
                Some(Fault::SweepLeftOut) => {
                    apply_without_sweep(&mut self.graph.memory, &model, statement);
                }
                Some(Fault::MovedOntoARowWithoutOthers) => {
                    apply_dropping_others(&mut self.graph.memory, &model, statement);
                }
                Some(Fault::OthersStayOnPlaceholders) => {
                    apply_leaving_others(&mut self.graph.memory, &model, statement);
                }
                _ => self.graph.memory.apply(&model, statement),
            }
            if let Statement::MoveNodes { table, moves } = statement
                && self.fault == Some(Fault::KeyChangeTakesOthersRelationships)
            {
                for (from, to) in moves {
                    take_others_along(&mut self.graph.memory, &model, *table, from, to);
                }
            }
        }
        self.graph.writes += 1;
    }

    /// A search for a relationship takes no lock. If another lane has committed the relationship
    /// since, this transaction would create it again.
    pub fn check_made_once(&mut self, seen: &Memory, statements: &[Statement]) {
        let model = self.schema.model.clone();
        let mut alone = seen.clone();
        statements.iter().for_each(|statement| alone.apply(&model, statement));
        let count = |memory: &Memory| memory.contents(&model).relationships;
        let (before, made, there) = (count(seen), count(&alone), count(&self.graph.memory));
        let of = |counts: &BTreeMap<_, usize>, one| counts.get(one).copied().unwrap_or(0);
        let twice = made.iter().find(|(relationship, count)| {
            let before = of(&before, relationship);
            **count > before && of(&there, relationship) > before
        });
        if let Some((relationship, _)) = twice {
            self.violate(format!("two lanes make {relationship:?}"));
        }
    }

    /// Matches the references to a table by its unique columns, from the table's rows.
    pub fn match_from_targets(&self, name: &str) -> Vec<Statement> {
        let model = &self.schema.model;
        let named = model.iter().find(|(_, table)| table.name == name);
        let (target, _) = named.expect("it is mapped");
        let contents = self.graph.memory.contents(model);
        let rows = |properties: &[String]| {
            let label = &model.node(target).label;
            let rows = contents.nodes.iter().filter(|node| node.labels.contains(label));
            let value = |node: &NodeContent, names: &[String]| {
                let values = names.iter().map(|name| node.properties.get(name).cloned());
                values.collect::<Option<_>>().map(Key)
            };
            let key = |node| value(node, &model.node(target).key).expect("it has a key");
            rows.map(|node| (key(node), value(node, properties))).collect()
        };
        let references = model.unique_references_to(target);
        let statement = |(table, reference, properties): (TableIndex, usize, &[String])| {
            Statement::MatchFromTarget { table, reference, rows: rows(properties) }
        };
        references.map(statement).collect()
    }

    /// Outside of copies the graph always equals the tables at the checkpoint.
    fn check_prefix(&mut self, lsn: Lsn) {
        let expected = self.expected(self.server.at(lsn));
        let found = self.graph.memory.contents(&self.schema.model);
        if expected != found {
            self.violate(format!("at {lsn} the graph differs: {}", difference(&expected, &found)));
        }
    }

    /// Whether the graph differs from the tables as they were at this position.
    pub fn differs(&self, lsn: Lsn) -> bool {
        let expected = self.expected(self.server.at(lsn));
        expected != self.graph.memory.contents(&self.schema.model)
    }

    /// The graph equals the tables now.
    pub fn check_end(&mut self) {
        let expected = self.expected(self.server.latest());
        let found = self.graph.memory.contents(&self.schema.model);
        if expected != found {
            self.violate(format!("at the end: {}", difference(&expected, &found)));
        }
    }

    /// What the tables mean, and what others put there.
    fn expected(&self, tables: &Tables) -> Contents {
        let mut contents = self.schema.expected(tables);
        self.others.expect(&self.schema, tables, &mut contents);
        contents
    }

    /// A write beside the stream keeps the checkpoint's position.
    pub fn check_position(&mut self, at: Position) {
        let found = self.position();
        if found != Some(at) {
            self.violate(format!("the copy writes at {at:?}, but the checkpoint is at {found:?}"));
        }
    }

    /// The file in a table's progress.
    pub fn first_file(&self, table: TableIndex) -> u32 {
        let name = &self.schema.model.table(table).name;
        let progress = self.graph.records.progress(PIPELINE);
        let range = progress.iter().find(|range| range.table == *name);
        range.map_or(self.server.relfilenodes[table.0], |range| range.relfilenode)
    }

    /// Whether the graph has what the source does not have, or lacks what it should have.
    pub fn is_another_history(&self) -> bool {
        self.position().is_some_and(|it| self.server.newest_at(it) != self.graph.has)
    }

    /// The source is put back to what was kept, as a disk is: its slot with it. Then it goes on, mostly
    /// beyond where the graph is. Rows that a copy has read may be newer than what is put back, and
    /// nothing tells them, so there is none under way.
    pub fn put_back(&mut self) {
        if !self.may_be_put_back || !self.graph.settled {
            return;
        }
        let Some(kept) = self.kept.take() else { return };
        self.may_be_put_back = false;
        self.server.put_back(kept);
        self.moments.trace(|| "the source is put back".to_owned());
        let reached = self.position().map_or(0, |position| position.lsn.0);
        let beyond = reached + self.rng.u64(0..200);
        if !self.is_another_history() {
            self.moments.sometimes(Sometimes::OlderSourceFollowed);
        }
        while self.server.end < beyond {
            self.commit_transaction();
        }
    }

    /// kill -9 of the server.
    pub fn crash(&mut self) {
        self.moments.trace(|| "the server crashes".to_owned());
        let slot = &self.server.slot;
        if slot.persisted < slot.confirmed {
            self.moments.sometimes(Sometimes::SlotGoesBack);
        }
        self.server.crash();
    }

    pub fn acknowledge(&mut self, lsn: Lsn) {
        let checkpoint = self.position().map_or(Lsn::ZERO, |position| position.lsn);
        if lsn > checkpoint {
            self.violate(format!("acknowledged {lsn}, but the checkpoint is at {checkpoint}"));
        }
        if self.is_another_history() {
            self.violate(format!("{lsn} is acknowledged to a source of another history"));
        }
        let confirmed = &mut self.server.slot.confirmed;
        *confirmed = lsn.max(*confirmed);
    }
}

pub fn difference(expected: &Contents, found: &Contents) -> String {
    let missing: BTreeSet<_> = expected.nodes.difference(&found.nodes).collect();
    let extra: BTreeSet<_> = found.nodes.difference(&expected.nodes).collect();
    let relationships: Vec<_> = expected
        .relationships
        .iter()
        .map(|found| (found, "missing"))
        .chain(found.relationships.iter().map(|found| (found, "extra")))
        .filter(|((content, count), _)| {
            expected.relationships.get(content) != found.relationships.get(content) || **count == 0
        })
        .collect();
    format!("nodes missing {missing:?}, extra {extra:?}, relationships {relationships:?}")
}
