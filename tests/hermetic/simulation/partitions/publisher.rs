//! The source's log, and who publishes it to several partitions, or to a topic for each table.

use std::{collections::VecDeque, sync::Arc};

use fastrand::Rng;
use wal2graph::{
    catalog::{Catalog, TableName},
    change::{Before, Cell, Change, Relation, Timestamp, Tuple},
    envelope::{DecodeOptions, Decoder, Encoder, Place, Record, Snapshot},
    graph::{Key, TableIndex},
    lsn::Lsn,
    topic::gap::{GAP_HEADER, Gap},
};

use super::{Fault, layout::Layout};
use crate::{
    mapping::catalogs::{self, TableExt},
    simulation::{
        schema::{RowKey, Schema, SimRow, Tables, text},
        traffic::Transaction,
    },
    transactions::encoder,
};

/// The database: the committed transactions, and the tables after each of them.
pub struct Source {
    pub catalog: Catalog,
    relations: Vec<Arc<Relation>>,
    log: Vec<Logged>,
    /// `states[n]`: the tables after the first `n` transactions.
    states: Vec<Tables>,
    start: Lsn,
    end: u64,
}

struct Logged {
    changes: Vec<Change>,
    commit: Lsn,
    end: Lsn,
}

impl Source {
    /// Starts with some rows that no log contains.
    pub fn new(schema: &Schema, rng: &mut Rng) -> Self {
        let tables = schema.tables().map(|table| described(schema, table));
        let catalog = catalogs::catalog(tables);
        let decoder = Decoder::new(&catalog, DecodeOptions::default());
        let named = |table: TableIndex| TableName::new("public", &schema.model.table(table).name);
        let relation = |table| decoder.relation(&named(table)).expect("it is there").clone();
        let relations = schema.tables().map(relation).collect();
        let mut tables = schema.empty();
        for _ in 0..rng.usize(0..4) {
            let mut transaction = Transaction::new(schema, rng, tables, 0);
            transaction.run();
            tables = transaction.tables;
        }
        let (log, states, start) = (Vec::new(), vec![tables], Lsn(1_000));
        Source { catalog, relations, log, states, start, end: start.0 }
    }

    pub fn latest(&self) -> &Tables {
        self.states.last().expect("there is always a state")
    }

    /// Where the log ends.
    pub fn end(&self) -> Lsn {
        Lsn(self.end)
    }

    pub fn commit(&mut self, schema: &Schema, rng: &mut Rng) {
        let mut transaction = Transaction::new(schema, rng, self.latest().clone(), 0);
        transaction.run();
        let (tables, changes) = (transaction.tables, transaction.changes);
        if changes.is_empty() {
            return;
        }
        // A transaction's first change may have the end position of the one before.
        let commit = Lsn(self.end + rng.u64(0..2) * 8);
        let end = Lsn(commit.0 + 16);
        self.end = end.0;
        self.log.push(Logged { changes, commit, end });
        self.states.push(tables);
    }

    /// The change with its table's description from the catalog.
    fn relate(&self, change: &Change) -> Change {
        let own = |relation: &Arc<Relation>| self.relations[relation.oid as usize].clone();
        let mut change = change.clone();
        match &mut change {
            Change::Insert { relation, .. }
            | Change::Update { relation, .. }
            | Change::Delete { relation, .. } => *relation = own(relation),
            Change::Truncate { relations } => relations.iter_mut().for_each(|it| *it = own(it)),
            Change::Message { .. } => {}
        }
        change
    }
}

fn described(schema: &Schema, table: TableIndex) -> wal2graph::catalog::Table {
    let width = schema.key_width(table);
    let keys: Vec<String> = (0..width).map(|key| format!("k{key}")).collect();
    let of_keys = keys.iter().map(|name| format!("{name} text!"));
    let properties = (0..schema.toast[table.0].len()).map(|it| format!("p{it} text"));
    let references = (0..schema.reference_targets(table).len()).map(|it| format!("r{it} text"));
    let columns: Vec<String> = of_keys.chain(properties).chain(references).collect();
    let name = &schema.model.table(table).name;
    let mut described = catalogs::table(name, &columns.join(", ")).pk(&keys.join(", "));
    described.oid = table.0 as u32;
    described
}

fn whole(key: &RowKey, row: &SimRow) -> Tuple {
    let key = key.iter().map(|part| text(Some(*part)));
    let rest = row.properties.iter().chain(&row.references).map(|value| text(*value));
    key.chain(rest).collect()
}

/// A record on its way.
#[derive(Clone)]
struct Queued {
    record: Record,
    /// The position that it names.
    end: Option<Lsn>,
    /// The transaction that it is of.
    commit: Option<Lsn>,
}

/// The position that a record names, and the transaction that it is of.
type Marks = (Option<Lsn>, Option<Lsn>);

/// Records on their way to each partition.
type Queues = Vec<VecDeque<Queued>>;

/// A heartbeat of topics that each have a table.
#[derive(Clone)]
pub struct Heartbeat {
    pub end: Lsn,
    /// Where the partitions ended.
    pub ends: Vec<u64>,
}

pub struct Publisher {
    schema: Arc<Schema>,
    fault: Option<Fault>,
    encoder: Encoder,
    layout: Layout,
    pub topic: Vec<Vec<Record>>,
    /// What each record names.
    marks: Vec<Vec<Marks>>,
    /// Where each table has a topic.
    pub heartbeats: Vec<Heartbeat>,
    /// The furthest position that each partition names.
    named: Vec<Lsn>,
    /// The furthest transaction that each partition has something of.
    commits: Vec<Lsn>,
    copied: Vec<bool>,
    /// Where the partitions ended when all tables were there.
    copied_before: Option<Vec<usize>>,
    /// Where the partitions ended when a table was copied.
    copied_at: Vec<Vec<usize>>,
    /// The number of transactions in the log that some publisher has begun to publish.
    begun: usize,
    /// Records that dead publishers had on the way, which arrive late.
    late: Queues,
    /// What the slot has released.
    slot: Lsn,
    /// The same for rows that were read. They arrive once the topic is past their position.
    late_reads: Queues,
}

impl Publisher {
    pub fn new(
        schema: &Arc<Schema>,
        source: &Source,
        layout: &Layout,
        fault: Option<Fault>,
    ) -> Self {
        let (encoder, partitions) = (encoder("7", &source.catalog), layout.partitions());
        let mut publisher = Publisher {
            schema: schema.clone(),
            fault,
            encoder,
            layout: layout.clone(),
            topic: vec![Vec::new(); partitions],
            marks: vec![Vec::new(); partitions],
            heartbeats: Vec::new(),
            named: vec![Lsn::ZERO; partitions],
            commits: vec![Lsn::ZERO; partitions],
            copied: vec![false; schema.model.tables.len()],
            copied_before: None,
            copied_at: vec![Vec::new(); schema.model.tables.len()],
            begun: 0,
            late: vec![VecDeque::new(); partitions],
            slot: Lsn::ZERO,
            late_reads: vec![VecDeque::new(); partitions],
        };
        publisher.begin_at(source.start);
        publisher
    }

    fn begin_at(&mut self, position: Lsn) {
        let mut first = self.queues();
        self.heartbeats(position, &mut first);
        self.land(first);
        self.behind(position);
    }

    /// The first publisher to a topic that is made now: the slot is where the log ends, and what came
    /// before is in the topic only as rows that are copied.
    pub fn anew(&self, source: &Source) -> Self {
        let mut publisher = Publisher::new(&self.schema, source, &self.layout, self.fault);
        publisher.topic.iter_mut().for_each(Vec::clear);
        publisher.marks.iter_mut().for_each(Vec::clear);
        publisher.heartbeats.clear();
        publisher.begun = source.log.len();
        publisher.begin_at(Lsn(source.end));
        publisher
    }

    /// Every table's rows are before this offset of a partition.
    pub fn has_copied_before(&self, partition: usize, offset: u64) -> bool {
        let ends = self.copied_before.as_ref();
        ends.is_some_and(|ends| offset >= ends[partition] as u64)
    }

    /// The partition that has the records of a key.
    pub fn partition_of(&mut self, source: &Source, table: TableIndex, key: &Key) -> usize {
        let parts = key.0.iter().map(|part| part.postgres_text());
        let mut parts = parts.map(|part| part.map_or(Cell::Null, |it| Cell::Text(it.into())));
        let relation = &source.relations[table.0];
        let row: Vec<Cell> =
            relation.columns.iter().map(|_| parts.next().unwrap_or(Cell::Null)).collect();
        let key = self.encoder.key(relation, &row).expect("keys are there");
        let partitions = self.layout.of_table(table.0);
        partitions.start + hash(&key.unwrap_or_default()) % partitions.len()
    }

    /// Everything is published.
    pub fn is_done(&self, source: &Source) -> bool {
        let late = self.late.iter().chain(&self.late_reads).all(VecDeque::is_empty);
        late && self.copied.iter().all(|copied| *copied)
            && self.position() >= Lsn(source.end).max(self.slot)
    }

    /// The slot is lost with everything that is not published yet, and a new one is where the log ends.
    pub fn lose_slot(&mut self, source: &Source) {
        self.slot = source.end();
        self.encoder = encoder("7", &source.catalog);
    }

    /// Says in every partition what the slot has lost; or dies meanwhile.
    fn tell_gap(&mut self, rng: &mut Rng, may_die: bool) {
        let (from, to) = (self.position(), self.slot);
        let gap = Gap { from, to, why: "the slot was lost".to_owned() };
        let mut record = self.encoder.heartbeat(to, Timestamp::default());
        record.headers.push((GAP_HEADER.to_owned(), gap.to_string().into()));
        let dies = self.dies(rng, may_die);
        let mut told = self.queues();
        for queue in &mut told {
            let queued = Queued { record: record.clone(), end: Some(to), commit: None };
            // Partitions are written side by side.
            queue.extend((!dies || rng.bool()).then_some(queued));
        }
        self.land(told);
        if dies && self.fault == Some(Fault::GapInSomePartitions) {
            self.named.fill(to);
        }
        if !dies || self.fault == Some(Fault::GapInSomePartitions) {
            self.behind(to);
        }
    }

    /// Publishes a table or a few transactions; or dies meanwhile, and another publisher starts.
    pub fn step(&mut self, source: &Source, rng: &mut Rng, may_die: bool) {
        if self.slot > self.position() {
            return self.tell_gap(rng, may_die);
        }
        let position = self.position();
        let next = source.log.iter().filter(|it| it.end <= position).count();
        let to_copy = self.copied.iter().position(|copied| !copied);
        let mut queues = self.queues();
        // A row is never older than what precedes it: nothing is read before each partition has what
        // the furthest one has.
        let level = self.named.iter().all(|named| *named <= position)
            && self.commits.iter().all(|commit| *commit < position);
        let its_turn = level && (rng.bool() || next == source.log.len());
        if let Some(table) = to_copy.filter(|_| its_turn) {
            // Transactions that ran when this publisher started have ended: a dead one may have
            // published them.
            self.copy(
                TableIndex(table),
                position,
                &source.states[rng.usize(next.max(self.begun)..source.states.len())],
                &mut queues,
                source,
            );
            if self.dies(rng, may_die) {
                self.die(queues, rng, source, true);
            } else {
                self.copied[table] = true;
                self.land(queues);
                self.copied_at[table] = self.topic.iter().map(Vec::len).collect();
                self.behind(position);
                if self.copied.iter().all(|copied| *copied) {
                    self.copied_before = Some(self.topic.iter().map(Vec::len).collect());
                }
            }
            return;
        }
        let end = source.log.len().min(next + rng.usize(1..=3));
        for index in next..end {
            self.transaction(source, index, rng, &mut queues);
        }
        self.begun = self.begun.max(end);
        let reached = source.log[next..end].last().map_or(position, |it| it.end);
        self.heartbeats(reached, &mut queues);
        if self.dies(rng, may_die) {
            if self.fault == Some(Fault::HeartbeatBeforeItsRows) {
                self.behind(reached);
            }
            return self.die(queues, rng, source, false);
        }
        self.land(queues);
        self.behind(reached);
        let none = self.queues();
        let late = std::mem::replace(&mut self.late, none.clone());
        self.land(late);
        if reached > position {
            let mut reads = std::mem::replace(&mut self.late_reads, none);
            if self.fault == Some(Fault::LateReadsTaken) {
                reads.iter_mut().flatten().for_each(|it| pretend_to_be_new(&mut it.record));
            }
            self.land(reads);
        } else if !may_die {
            // The topic never passes their position: nothing comes of them.
            self.late_reads = none;
        }
    }

    fn dies(&self, rng: &mut Rng, may_die: bool) -> bool {
        may_die && rng.u8(0..4) == 0
    }

    /// Each partition keeps what it has received; some records may arrive late.
    fn die(&mut self, mut queues: Queues, rng: &mut Rng, source: &Source, reads: bool) {
        for (partition, queue) in queues.iter_mut().enumerate() {
            let rest = queue.split_off(rng.usize(0..=queue.len()));
            let late = if reads { &mut self.late_reads } else { &mut self.late };
            // Two late generations at once would need two deaths within a moment.
            if late[partition].is_empty() && rng.bool() {
                late[partition] = rest.into_iter().take(rng.usize(0..6)).collect();
            }
        }
        self.land(queues);
        self.encoder = encoder("7", &source.catalog);
    }

    /// Partitions lose their last records, and another publisher goes on. Returns false if it is refused: a heartbeat
    /// of a topic of its own speaks of what is lost.
    pub fn lose(&mut self, rng: &mut Rng) -> bool {
        for (records, marks) in self.topic.iter_mut().zip(&mut self.marks) {
            let lost = rng.usize(0..8).min(records.len().saturating_sub(1));
            records.truncate(records.len() - lost);
            marks.truncate(records.len());
        }
        // What was on the way does not come: the broker refuses it behind a gap in its producer's numbers.
        (self.late, self.late_reads) = (self.queues(), self.queues());
        let furthest = |of: fn(&Marks) -> Option<Lsn>| -> Vec<Lsn> {
            let of_partition =
                |marks: &Vec<_>| marks.iter().filter_map(of).max().unwrap_or_default();
            self.marks.iter().map(of_partition).collect()
        };
        let (named, commits) = (furthest(|mark| mark.0), furthest(|mark| mark.1));
        (self.named, self.commits) = (named, commits);
        if self.layout.is_by_table() {
            let kept = self.heartbeats.len().saturating_sub(rng.usize(0..3)).max(1);
            self.heartbeats.truncate(kept);
        }
        for (copied, at) in self.copied.iter_mut().zip(&self.copied_at) {
            *copied &= self.topic.iter().zip(at).all(|(records, at)| records.len() >= *at);
        }
        let ends = self.heartbeats.last().map(|it| it.ends.clone()).unwrap_or_default();
        let has_all = self.topic.iter().zip(ends).all(|(records, end)| records.len() as u64 >= end);
        has_all || self.fault == Some(Fault::LostRowsCopiedAgain)
    }

    fn position(&self) -> Lsn {
        if self.layout.is_by_table() {
            return self.heartbeats.iter().map(|it| it.end).max().unwrap_or_default();
        }
        let named = self.named.iter().copied();
        let position = match self.fault {
            Some(Fault::ResumedFromTheFurthest) => named.max(),
            _ => named.min(),
        };
        position.expect("there are partitions")
    }

    fn queues(&self) -> Queues {
        vec![VecDeque::new(); self.topic.len()]
    }

    fn land(&mut self, queues: Queues) {
        for (partition, queue) in queues.into_iter().enumerate() {
            for Queued { record, end, commit } in queue {
                self.topic[partition].push(record);
                self.marks[partition].push((end, commit));
                self.named[partition] = self.named[partition].max(end.unwrap_or_default());
                self.commits[partition] = self.commits[partition].max(commit.unwrap_or_default());
            }
        }
    }

    /// A heartbeat in each partition, behind what they have.
    fn heartbeats(&self, end: Lsn, queues: &mut Queues) {
        if self.layout.is_by_table() {
            return;
        }
        for queue in queues {
            let record = self.encoder.heartbeat(end, Timestamp::default());
            queue.push_back(Queued { record, end: Some(end), commit: None });
        }
    }

    /// A heartbeat in its own topic, once everything before it is there.
    fn behind(&mut self, end: Lsn) {
        if self.layout.is_by_table() {
            let ends = self.topic.iter().map(|records| records.len() as u64).collect();
            self.heartbeats.push(Heartbeat { end, ends });
        }
    }

    fn transaction(&mut self, source: &Source, index: usize, rng: &mut Rng, queues: &mut Queues) {
        let logged = &source.log[index];
        let last = logged.changes.len() - 1;
        for (event, change) in logged.changes.iter().enumerate() {
            let end = (event == last).then_some(logged.end);
            let place = Place {
                commit_lsn: logged.commit,
                event_index: event as u64,
                xid: index as u32,
                committed_at: Timestamp { unix_micros: logged.end.0 as i64 },
                end,
            };
            let mut change = source.relate(change);
            // The read happens some time after the transaction has committed.
            let seen = &source.states[rng.usize(index + 1..source.states.len())];
            self.fill_in(&mut change, seen);
            let records = self.encoder.change(&place, &change, Timestamp::default());
            let records = records.expect("keys are sent");
            let ends = records.iter().rposition(|record| record.value.is_some());
            for (at, record) in records.into_iter().enumerate() {
                let table = match &change {
                    Change::Truncate { relations } => relations[at].oid,
                    Change::Insert { relation, .. }
                    | Change::Update { relation, .. }
                    | Change::Delete { relation, .. } => relation.oid,
                    Change::Message { .. } => continue,
                };
                let (end, commit) = (end.filter(|_| Some(at) == ends), Some(logged.commit));
                self.route(table as usize, Queued { record, end, commit }, queues);
            }
        }
    }

    fn route(&self, table: usize, queued: Queued, queues: &mut Queues) {
        let partitions = self.layout.of_table(table);
        match queued.record.key.clone() {
            Some(key) => {
                let own = hash(&key) % partitions.len();
                queues[partitions.start + own].push_back(queued);
            }
            None if self.fault == Some(Fault::TruncateInOnePartition) => {
                queues[partitions.start].push_back(queued);
            }
            None => partitions.for_each(|partition| queues[partition].push_back(queued.clone())),
        }
    }

    /// Reads the values that a key change does not carry by the new key, if the row exists.
    fn fill_in(&self, change: &mut Change, seen: &Tables) {
        let Change::Update { relation, before: Before::Key(old), new } = change else { return };
        let table = TableIndex(relation.oid as usize);
        let width = self.schema.key_width(table);
        if old[..width] == new[..width] || self.fault == Some(Fault::UnsentValuesLeftOut) {
            return;
        }
        let part = |cell: &Cell| match cell {
            Cell::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            Cell::Null | Cell::Unchanged => None,
        };
        let key: Option<RowKey> = new[..width].iter().map(part).collect();
        let key = key.expect("keys are numbers");
        let Some(row) = seen[table.0].get(&key) else { return };
        for (cell, there) in new.iter_mut().zip(whole(&key, row)) {
            if *cell == Cell::Unchanged {
                *cell = there;
            }
        }
    }

    fn copy(
        &mut self,
        table: TableIndex,
        held: Lsn,
        seen: &Tables,
        queues: &mut Queues,
        source: &Source,
    ) {
        for (key, row) in &seen[table.0] {
            let (relation, row) = (&source.relations[table.0], whole(key, row));
            let now = Timestamp::default();
            let record = self.encoder.read(held, Snapshot::Inside, relation, &row, now);
            let record = record.expect("keys are there");
            self.route(table.0, Queued { record, end: None, commit: None }, queues);
        }
        self.heartbeats(held, queues);
    }
}

fn hash(key: &[u8]) -> usize {
    key.iter().fold(7u64, |hash, it| (hash * 31 + u64::from(*it)) % 1_000_003) as usize
}

/// Pretends that it was read at a later position.
fn pretend_to_be_new(record: &mut Record) {
    let Some(value) = &record.value else { return };
    let text = String::from_utf8(value.to_vec()).expect("it is JSON");
    record.value = Some(text.replace("\"lsn\":1", "\"lsn\":99999991").into());
}
