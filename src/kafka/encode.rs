//! Batches as records.
//!
//! ```text
//! shares of a batch:  [tx 1: 0 1 2 end] [tx 2: 0 1 ...   ]      idle position
//! records:             r r r+end_lsn     r r                    heartbeat+end_lsn
//! ```
//!
//! A position is said by the last record of the transaction that leads to it, or by a heartbeat.
//! Every position that a batch leads to is said, so that the topic's end is never behind what was
//! acknowledged. A logical message says none: behind one that a transaction with changes ends with, there
//! is a heartbeat. Where a transaction is spread over partitions, its last record is in one of them:
//! there every batch ends with a heartbeat in each. Where each table has a topic, every batch ends with
//! one in the topic of heartbeats, and no other record says a position.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    catalog::TableName,
    change::{Change, Relation},
    checkpoint::{Mark, Newest},
    engine::{Batch, Share},
    envelope::{EncodeError, Encoder, Place},
    graph::TableIndex,
    lsn::Lsn,
    mapping::Mapping,
    pipeline::{Failure, Operation, Prepare, Ready, Tally, Verdict, now},
    topic::{
        copied::{COPIED_HEADER, READ_THROUGH_HEADER, Told},
        routing::{Layout, Routed, Unroutable},
        whose::Through,
    },
};

use super::tail::{NEWEST_HEADER, PARTITIONS_HEADER};

/// A stream that is never idle has a heartbeat at least this often: whoever looks for one at the
/// topic's end need not look far.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Within a transaction, and within the copy of a table, there is one after so many records: a start
/// behind a publisher that was killed reads back to the last one.
pub const HEARTBEAT_RECORDS: usize = 10_000;

/// What heartbeats say of the copy.
pub type Copied = watch::Receiver<Told>;

/// What a heartbeat says: where its partition, or all topics, are.
#[derive(Clone, Copy, Debug)]
pub struct Reached<'a> {
    /// Everything before this is there.
    pub end_lsn: Lsn,
    /// The newest transaction that something is there of, if that is known.
    pub newest: Option<Newest>,
    /// What the source is read through.
    pub through: &'a Through,
}

/// A heartbeat: its partition, or all topics, have everything up to what is reached, and the rows of
/// these tables.
pub fn heartbeat(
    encoder: &Encoder,
    reached: Reached<'_>,
    copied: &Told,
    layout: &Layout,
) -> Routed {
    let Reached { end_lsn, newest, through } = reached;
    let mut record = encoder.heartbeat(end_lsn, now());
    for (name, value) in through.headers() {
        record.headers.push((name.to_owned(), Bytes::copy_from_slice(value.as_bytes())));
    }
    if let Some(newest) = newest {
        record.headers.push((NEWEST_HEADER.to_owned(), Bytes::from(newest.to_string())));
    }
    let list: Vec<String> = copied.tables.iter().map(u32::to_string).collect();
    record.headers.push((COPIED_HEADER.to_owned(), Bytes::from(list.join(","))));
    if copied.read_through > end_lsn {
        let through = Bytes::from(copied.read_through.to_string());
        record.headers.push((READ_THROUGH_HEADER.to_owned(), through));
    }
    let partitions = layout.partitions(0);
    if !partitions.is_one() {
        let count = Bytes::from(partitions.count().to_string());
        record.headers.push((PARTITIONS_HEADER.to_owned(), count));
    }
    layout.heartbeat(record)
}

/// Makes records of batches.
pub struct Encoding {
    encoder: Encoder,
    mapping: Arc<Mapping>,
    through: Through,
    copied: Copied,
    layout: Layout,
    /// Where each table that was met is in the mapping.
    indexes: HashMap<u32, Option<TableIndex>>,
    last_heartbeat: Instant,
    /// Records since then.
    since: usize,
}

/// Why a batch can not be made records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// A change does not say which row it is about.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Records without a key have no partition.
    #[error(
        "{}: records of this table have no key, and keys say which of several partitions a record goes to. \
         Give the table a primary key, or publish to a topic of one partition",
        .table.pasteable()
    )]
    NoKey {
        /// The table.
        table: TableName,
    },
    /// A table came into the publication while it was published.
    #[error(
        "{}: the table has no topic yet. It is made before publishing goes on",
        .table.pasteable()
    )]
    NoTopic {
        /// The table.
        table: TableName,
    },
}

impl EncodingError {
    /// A record that no topic takes.
    pub fn of(why: Unroutable, relation: &Relation) -> Self {
        let table = TableName::new(&relation.schema, &relation.name);
        match why {
            Unroutable::NoKey => EncodingError::NoKey { table },
            Unroutable::NoTopic => EncodingError::NoTopic { table },
        }
    }
}

impl Failure for EncodingError {
    fn verdict(&self) -> Verdict {
        Verdict::again_if(matches!(self, EncodingError::NoTopic { .. }))
    }
}

impl Encoding {
    /// Counts changes of the mapping's tables; all that come, through this publication of it, are encoded.
    pub fn new(
        encoder: Encoder,
        mapping: Arc<Mapping>,
        through: Through,
        copied: Copied,
        layout: Layout,
    ) -> Self {
        let (indexes, last_heartbeat) = (HashMap::new(), Instant::now());
        let since = 0;
        Encoding { encoder, mapping, through, copied, layout, indexes, last_heartbeat, since }
    }

    fn count(&mut self, tally: &mut Tally, change: &Change) {
        let (relations, operation) = match change {
            Change::Insert { relation, .. } => (std::slice::from_ref(relation), Operation::Insert),
            Change::Update { relation, .. } => (std::slice::from_ref(relation), Operation::Update),
            Change::Delete { relation, .. } => (std::slice::from_ref(relation), Operation::Delete),
            Change::Truncate { relations } => (relations.as_slice(), Operation::Truncate),
            Change::Message { .. } => return,
        };
        for relation in relations {
            if let Some(table) = self.index(relation) {
                tally.add(table, operation);
            }
        }
    }

    fn index(&mut self, relation: &Relation) -> Option<TableIndex> {
        let find = || self.mapping.table_index(&relation.schema, &relation.name);
        *self.indexes.entry(relation.oid).or_insert_with(find)
    }
}

impl Prepare for Encoding {
    type Prepared = Ready<Vec<Routed>>;
    type Error = EncodingError;

    fn prepare(&mut self, batch: &Batch, _: bool) -> Result<Self::Prepared, EncodingError> {
        let (changes, commits) = (batch.changes.len(), batch.commits());
        let (records, tally) = self.encode(batch)?;
        Ok(Ready::new(records, changes, tally, commits))
    }
}

impl Encoding {
    fn encode(&mut self, batch: &Batch) -> Result<(Vec<Routed>, Tally), EncodingError> {
        let now = now();
        let Batch { changes, shares, advance, .. } = batch;
        let mut tally = Tally::new(self.mapping.model.tables.len());
        let mut records = Vec::with_capacity(changes.len() + 1);
        let mut said = None;
        let mut rest = changes.iter();
        for share in shares {
            let (mut event_index, mut ends_with_message) = (share.first_event, false);
            for (index, change) in rest.by_ref().take(share.changes).enumerate() {
                let place = Place {
                    commit_lsn: share.commit_lsn,
                    event_index,
                    xid: share.xid,
                    committed_at: share.committed_at,
                    end: share.end.filter(|_| index + 1 == share.changes),
                };
                let encoded = match change.is_own_message() {
                    true => Vec::new(),
                    false => self.encoder.change(&place, change, now)?,
                };
                ends_with_message = !change.is_event();
                event_index += u64::from(change.is_event());
                if !encoded.is_empty() && change.is_event() {
                    said = place.end;
                }
                for (index, record) in encoded.into_iter().enumerate() {
                    let routed = self.layout.change(change, index, record);
                    records.extend(routed.map_err(|(why, of)| EncodingError::of(why, &of))?);
                }
                self.count(&mut tally, change);
            }
            // A message names no end: else the end could be there without what follows the last change.
            // Where each table has a topic, heartbeats alone say positions.
            let is_wanted = ends_with_message && event_index > 0 && !self.layout.is_by_table();
            if let Some(end) = share.end.filter(|_| is_wanted) {
                let Share { commit_lsn, xid, committed_at, .. } = *share;
                let newest = Some(Newest::Transaction(Mark { commit_lsn, xid, committed_at }));
                records.push(self.heartbeat(end, newest));
                said = Some(end);
            }
        }
        assert!(rest.next().is_none(), "every change of a batch belongs to a share");
        let due = self.last_heartbeat.elapsed() >= HEARTBEAT_INTERVAL
            || !self.layout.keeps_order()
            || said != Some(advance.to.lsn);
        self.since += records.len();
        let due = match advance.to.part {
            None => due,
            // It names the position before the transaction.
            Some(_) => self.since >= HEARTBEAT_RECORDS,
        };
        if due {
            records.push(self.heartbeat(advance.to.lsn, advance.newest));
            (self.last_heartbeat, self.since) = (Instant::now(), 0);
        }
        Ok((records, tally))
    }

    fn heartbeat(&self, end_lsn: Lsn, newest: Option<Newest>) -> Routed {
        let reached = Reached { end_lsn, newest, through: &self.through };
        heartbeat(&self.encoder, reached, &self.copied.borrow(), &self.layout)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::Value;

    use super::*;
    use crate::{
        catalog::Catalog,
        change::{Cell, RelationColumn, ReplicaIdentity, Timestamp},
        checkpoint::{Advance, Part, Position},
        envelope::{History, Names, Record},
        mapping::{compile, edit::Edits},
        topic::{
            routing::{Partitions, To},
            whose::{DATABASE_HEADER, PUBLICATION_HEADER, SLOT_HEADER},
        },
    };

    fn encoding(partitions: usize) -> (Encoding, watch::Sender<Told>) {
        laid_out(Layout::one(Partitions::new(partitions).unwrap()))
    }

    fn laid_out(layout: Layout) -> (Encoding, watch::Sender<Told>) {
        let history = History { system_identifier: "7".to_owned(), timeline: 1 };
        let name = || "p".to_owned();
        let names = Names { pipeline: name(), database: name(), version: name(), history };
        let catalog = Catalog::default();
        let mapping = Arc::new(compile(&catalog, &Edits::default()).unwrap());
        let (sender, copied) = watch::channel(Told { tables: vec![5, 6], ..Told::default() });
        let encoder = Encoder::new(names, &catalog);
        let through = Through { database: name(), slot: name(), publication: name() };
        (Encoding::new(encoder, mapping, through, copied, layout), sender)
    }

    fn insert() -> Change {
        let id = RelationColumn {
            name: "id".to_owned(),
            type_oid: 23,
            type_modifier: -1,
            identity: true,
        };
        let relation = Arc::new(Relation {
            oid: 5,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            replica_identity: ReplicaIdentity::Default,
            columns: vec![id],
            leaf: None,
        });
        Change::Insert { relation, new: [Cell::Text(Bytes::from_static(b"1"))].into() }
    }

    fn share(commit_lsn: u64, first_event: u64, changes: usize, ends: bool) -> Share {
        Share {
            xid: 1,
            commit_lsn: Lsn(commit_lsn),
            committed_at: Timestamp::default(),
            first_event,
            changes,
            end: ends.then_some(Lsn(commit_lsn + 5)),
            stamp: None,
        }
    }

    fn advance(to: Position) -> Advance {
        let (from, source_lsn) = (Position::default(), to.lsn);
        let (committed_at, last_change, last_record, newest) = (None, None, None, None);
        Advance { from, to, source_lsn, committed_at, last_change, last_record, newest }
    }

    /// Of each record: `(event_index, end_lsn)`.
    fn said(
        encoding: &mut Encoding,
        shares: Vec<Share>,
        to: Position,
    ) -> Vec<(Option<u64>, Option<u64>)> {
        let changes = vec![insert(); shares.iter().map(|share| share.changes).sum()];
        said_of(encoding, changes, shares, to)
    }

    /// The same of these changes. A message says neither.
    fn said_of(
        encoding: &mut Encoding,
        changes: Vec<Change>,
        shares: Vec<Share>,
        to: Position,
    ) -> Vec<(Option<u64>, Option<u64>)> {
        let batch = Batch { changes, advance: advance(to), shares };
        let records = encoding.encode(&batch).unwrap().0;
        let value = |record: &Record| -> Value {
            serde_json::from_slice(record.value.as_ref().unwrap()).unwrap()
        };
        records
            .iter()
            .map(|Routed { record, .. }| {
                let value = value(record);
                match value.get("source") {
                    Some(source) => (source["event_index"].as_u64(), source["end_lsn"].as_u64()),
                    None => {
                        let header = |name: &str, text: &'static str| {
                            (name.to_owned(), Bytes::from_static(text.as_bytes()))
                        };
                        let through = [DATABASE_HEADER, SLOT_HEADER, PUBLICATION_HEADER];
                        let [database, slot, publication] = through.map(|it| header(it, "p"));
                        let mut headers = record.headers.clone();
                        headers.retain(|(name, _)| name != NEWEST_HEADER);
                        let copied = header(COPIED_HEADER, "5,6");
                        assert_eq!(headers, [database, slot, publication, copied]);
                        (None, value["end_lsn"].as_u64())
                    }
                }
            })
            .collect()
    }

    #[test]
    fn every_position_that_a_batch_leads_to_is_said_once() {
        let (mut encoding, _copied) = encoding(1);
        let mut said = |shares, to| said(&mut encoding, shares, to);
        let at = |lsn| Position::at(Lsn(lsn));
        let whole = vec![share(10, 0, 2, true), share(20, 0, 1, true)];
        let ended = [(Some(0), None), (Some(1), Some(15)), (Some(0), Some(25))];
        assert_eq!(said(whole.clone(), at(25)), ended);
        assert_eq!(said(whole, at(30))[3..], [(None, Some(30))], "the idle position behind them");
        let part = Position { part: Some(Part { commit_lsn: Lsn(40), events: 3 }), ..at(30) };
        assert_eq!(said(vec![share(40, 1, 2, false)], part), [(Some(1), None), (Some(2), None)]);
        assert_eq!(
            said(vec![share(40, 3, 0, true)], at(45)),
            [(None, Some(45))],
            "no changes left"
        );
        assert_eq!(said(Vec::new(), at(60)), [(None, Some(60))], "idle");
    }

    #[test]
    fn messages_stand_beside_the_events_and_never_say_the_end() {
        let (mut encoding, _copied) = encoding(1);
        let message = || Change::Message { prefix: "p".to_owned(), content: Bytes::new() };
        let mut said = |changes: Vec<Change>, first_event, ends| {
            let share = share(40, first_event, changes.len(), ends);
            let to = match ends {
                true => Position::at(Lsn(45)),
                false => Position {
                    part: Some(Part { commit_lsn: Lsn(40), events: 3 }),
                    ..Position::at(Lsn(30))
                },
            };
            said_of(&mut encoding, changes, vec![share], to)
        };
        let (event, none, end) = (|it| (Some(it), None), (None, None), (None, Some(45)));
        assert_eq!(
            said(vec![message(), insert(), message(), insert()], 0, true),
            [none, event(0), none, (Some(1), Some(45))]
        );
        assert_eq!(said(vec![insert(), message()], 0, true), [event(0), none, end]);
        assert_eq!(said(vec![insert(), message()], 0, false), [event(0), none]);
        assert_eq!(said(vec![message()], 3, true), [none, end], "behind parts with changes");
        assert_eq!(said(vec![message()], 0, true), [none, end], "the batch's end");
        let own = Change::Message { prefix: "wal2graph".to_owned(), content: Bytes::new() };
        assert_eq!(said(vec![own], 0, true), [end], "a message of our own");
        let (whole, alone) = (share(40, 0, 2, true), share(50, 0, 1, true));
        let changes = vec![insert(), message(), message()];
        let found = said_of(&mut encoding, changes, vec![whole, alone], Position::at(Lsn(55)));
        assert_eq!(found, [event(0), none, end, none, (None, Some(55))]);
        let changes = vec![message(), insert()];
        let shares = vec![share(60, 0, 1, true), share(70, 0, 1, true)];
        let found = said_of(&mut encoding, changes, shares, Position::at(Lsn(75)));
        assert_eq!(found, [none, (Some(0), Some(75))], "nothing of the first is waited for");
    }

    #[test]
    fn a_transaction_of_many_records_says_where_it_began_on_the_way() {
        let (mut encoding, _copied) = encoding(1);
        let part = |events| Part { commit_lsn: Lsn(40), events };
        let mut heartbeats: Vec<Vec<(Option<u64>, Option<u64>)>> = Vec::new();
        for done in 1..=3 {
            let first = (done - 1) * HEARTBEAT_RECORDS as u64 / 2;
            let to = Position { part: Some(part(first)), ..Position::at(Lsn(30)) };
            let records = HEARTBEAT_RECORDS / 2;
            let said = said(&mut encoding, vec![share(40, first, records, false)], to);
            heartbeats.push(said.into_iter().filter(|(index, _)| index.is_none()).collect());
        }
        let before = vec![(None, Some(30))];
        assert_eq!(heartbeats, [vec![], before, vec![]], "the position before the transaction");
    }

    #[test]
    fn with_several_partitions_every_batch_ends_with_a_heartbeat_in_each() {
        let (mut encoding, _copied) = encoding(4);
        let advance = advance(Position::at(Lsn(15)));
        let Change::Insert { relation, .. } = insert() else { panic!() };
        let truncate = Change::Truncate { relations: vec![relation.clone()] };
        let (changes, shares) = (vec![insert(), truncate], vec![share(10, 0, 2, true)]);
        let batch = Batch { changes, advance, shares };
        let records = encoding.encode(&batch).unwrap().0;
        let to: Vec<To> = records.iter().map(|routed| routed.to).collect();
        let key = records[0].record.key.as_ref().unwrap();
        let by_key = To::One(Partitions::new(4).unwrap().of_key(key));
        assert_eq!(to, [by_key, To::All, To::All], "an insert, a truncate, a heartbeat");
        let count = (PARTITIONS_HEADER.to_owned(), Bytes::from("4"));
        assert_eq!(records[2].record.headers.last(), Some(&count));

        let relation =
            Relation { replica_identity: ReplicaIdentity::Nothing, ..(*relation).clone() };
        let keyless = Change::Insert { relation: Arc::new(relation), new: [Cell::Null].into() };
        let (changes, shares) = (vec![keyless], vec![share(20, 0, 1, true)]);
        let batch = Batch { changes, advance, shares };
        assert!(matches!(encoding.encode(&batch), Err(EncodingError::NoKey { .. })));
    }

    #[test]
    fn with_a_topic_for_each_table_a_batch_ends_with_one_heartbeat_behind_all_of_them() {
        let other = |relation: &Relation| Arc::new(Relation { oid: 6, ..relation.clone() });
        let Change::Insert { relation, new } = insert() else { panic!() };
        let tables = [(5, Partitions::new(4).unwrap()), (6, Partitions::ONE)];
        let (mut encoding, _copied) = laid_out(Layout::by_table(tables, Some(Partitions::ONE)));
        let newest = "0/A 1 0".parse().ok();
        let advance = Advance { newest, ..advance(Position::at(Lsn(15))) };
        let truncate = Change::Truncate { relations: vec![relation.clone(), other(&relation)] };
        let of_other = Change::Insert { relation: other(&relation), new: new.clone() };
        let own = ["p", "wal2graph"]
            .map(|it| Change::Message { prefix: it.to_owned(), content: Bytes::new() });
        let changes = [vec![insert(), of_other, truncate], own.to_vec()].concat();
        let shares = vec![share(10, 0, 5, true)];
        let records = encoding.encode(&Batch { changes, advance, shares }).unwrap().0;
        let to: Vec<(usize, To)> = records.iter().map(|it| (it.topic, it.to)).collect();
        let key = records[0].record.key.as_ref().unwrap();
        let by_key = To::One(Partitions::new(4).unwrap().of_key(key));
        let rows = [(1, by_key), (2, To::One(0)), (1, To::All), (2, To::All)];
        let (message, behind) = ((3, To::One(0)), (0, To::Behind));
        assert_eq!(to, [&rows[..], &[message, behind]].concat());
        let header = |name: &str| {
            let headers = &records.last().unwrap().record.headers;
            let header = headers.iter().find(|(it, _)| it == name).unwrap();
            String::from_utf8(header.1.to_vec()).unwrap()
        };
        assert_eq!(header(NEWEST_HEADER), "0/A 1 0");
        assert_eq!(header(PUBLICATION_HEADER), "p");

        let unknown = Arc::new(Relation { oid: 7, ..(*relation).clone() });
        let (changes, shares) =
            (vec![Change::Insert { relation: unknown, new }], vec![share(20, 0, 1, true)]);
        let error = encoding.encode(&Batch { changes, advance, shares }).unwrap_err();
        assert!(matches!(error, EncodingError::NoTopic { .. }) && error.is_transient());
    }

    /// A snapshot sees commits that are not published yet.
    #[test]
    fn a_heartbeat_says_up_to_where_copied_rows_may_be_until_its_position_is_there() {
        let (encoding, copied) = encoding(1);
        copied.send_modify(|told| told.read_through = Lsn(60));
        let said = |end_lsn| {
            let headers = encoding.heartbeat(Lsn(end_lsn), None).record.headers;
            let header = headers.into_iter().find(|(name, _)| name == READ_THROUGH_HEADER);
            header.map(|(_, value)| String::from_utf8_lossy(&value).into_owned())
        };
        assert_eq!(said(59).as_deref(), Some("0/3C"));
        assert_eq!(said(60), None);
    }
}
