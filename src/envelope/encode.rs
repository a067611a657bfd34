//! Changes to records.
//!
//! ```text
//! Insert                c
//! Update                u
//!   of the key          d (header newkey), tombstone, c (header oldkey)
//! Delete                d, tombstone
//! Truncate              t for each table
//! Message               m
//! ```
//!
//! The records of one change share its place; only the last that has a value ends its transaction,
//! so that a transaction whose end is in the topic is there as a whole.

mod message;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::{Catalog, TableName};
use crate::change::{Before, Cell, Change, Relation, ReplicaIdentity, Timestamp};
use crate::lsn::Lsn;
use crate::value::TypeCatalog;

use super::bound::{Bound, Image, Odds};
use super::columns::{key_without_identity, types_of};
use super::connect::{Frame, heartbeat_frames, message_frames};
use super::error::EncodeError;
use super::fields::{Fields, quoted_name};
use super::options::Format;
use super::order::Orders;
use super::{History, NEW_KEY_HEADER, OLD_KEY_HEADER, Place, Record, Snapshot};

/// What the records of a pipeline say of where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The pipeline: `source.name`, Debezium's topic prefix.
    pub pipeline: String,
    /// The source database: `source.db`.
    pub database: String,
    /// The program's version: `source.version`.
    pub version: String,
    /// The database cluster and its timeline.
    pub history: History,
}

/// Makes records of changes.
#[derive(Clone, Debug)]
pub struct Encoder {
    names: Names,
    types: TypeCatalog,
    /// The keys of tables whose replica identity is all columns, or none.
    keys: HashMap<TableName, Vec<String>>,
    bound: HashMap<u32, Arc<Bound>>,
    /// For `source.sequence`: the commit position of the transaction that ended last.
    last_commit: Option<Lsn>,
    orders: Orders,
    format: Format,
    /// What stands around the key and the value of a heartbeat, and of a message.
    heartbeat_frames: [Frame; 2],
    message_frames: [Frame; 2],
}

/// What an envelope says besides its rows.
#[derive(Clone, Copy)]
struct Meta<'a> {
    op: char,
    place: Option<&'a Place>,
    /// It is the last record of its change: it may end the transaction.
    is_last: bool,
    lsn: Lsn,
    at: Timestamp,
    snapshot: &'static str,
    /// Of one TRUNCATE's records, which one this is, and how many there are.
    truncate: Option<(usize, usize)>,
    now: Timestamp,
}

impl Encoder {
    /// An encoder for the changes of one pipeline. Types come from the catalog; a table that it
    /// lacks is encoded all the same, with values of unknown types as text.
    pub fn new(names: Names, catalog: &Catalog) -> Encoder {
        let keys = catalog
            .tables
            .iter()
            .filter_map(|table| key_without_identity(table).map(|key| (table.name.clone(), key)));
        let keys = keys.collect();
        let types = types_of(catalog);
        let (bound, last_commit, orders) = (HashMap::new(), None, Orders::default());
        Encoder {
            names,
            types,
            keys,
            bound,
            last_commit,
            orders,
            format: Format::default(),
            heartbeat_frames: Default::default(),
            message_frames: Default::default(),
        }
    }

    /// The same, whose records are in a format.
    #[must_use]
    pub fn formatted(self, format: Format) -> Encoder {
        let (heartbeat_frames, message_frames) = match format {
            Format::Json => Default::default(),
            Format::WithSchemas => (heartbeat_frames(), message_frames()),
        };
        Encoder { format, heartbeat_frames, message_frames, bound: HashMap::new(), ..self }
    }

    /// The records of a change, to be produced in this order. `now` is when they are made.
    ///
    /// # Errors
    /// The change does not say which row it is about.
    pub fn change(
        &mut self,
        place: &Place,
        change: &Change,
        now: Timestamp,
    ) -> Result<Vec<Record>, EncodeError> {
        let meta = Meta {
            op: 'c',
            place: Some(place),
            is_last: true,
            lsn: place.commit_lsn,
            at: place.committed_at,
            snapshot: "false",
            truncate: None,
            now,
        };
        let records = match change {
            Change::Insert { relation, new } => {
                let bound = self.bind(relation);
                let key = bound.key(new, None)?;
                vec![self.record(&bound, key, Image::None, Image::New(new), meta)]
            }
            Change::Update { relation, before, new } => {
                let bound = self.bind(relation);
                self.update(&bound, before, new, meta)?
            }
            Change::Delete { relation, before } => {
                let bound = self.bind(relation);
                self.delete(&bound, before, meta)?
            }
            Change::Truncate { relations } => self.truncate(relations, meta),
            Change::Message { prefix, content } => vec![self.message(prefix, content, meta)],
        };
        if place.end.is_some() {
            self.last_commit = Some(place.commit_lsn);
        }
        Ok(records)
    }

    /// The record of a row that was read (op `r`) from a snapshot that saw everything before `lsn`.
    ///
    /// # Errors
    /// A key column is missing.
    pub fn read(
        &mut self,
        lsn: Lsn,
        snapshot: Snapshot,
        relation: &Arc<Relation>,
        row: &[Cell],
        now: Timestamp,
    ) -> Result<Record, EncodeError> {
        let bound = self.bind(relation);
        let snapshot = match snapshot {
            Snapshot::First => "first",
            Snapshot::Inside => "true",
            Snapshot::Last => "last",
        };
        let (op, place, at, truncate) = ('r', None, now, None);
        let meta = Meta { op, place, is_last: true, lsn, at, snapshot, truncate, now };
        let key = bound.key(row, None)?;
        Ok(self.record(&bound, key, Image::None, Image::New(row), meta))
    }

    /// The key of a row's records, as JSON; `None` if they have none.
    ///
    /// # Errors
    /// A key column is missing.
    pub fn key(
        &mut self,
        relation: &Arc<Relation>,
        row: &[Cell],
    ) -> Result<Option<Bytes>, EncodeError> {
        self.bind(relation).key(row, None)
    }

    /// A heartbeat: everything before `end_lsn` that is for us has been produced.
    pub fn heartbeat(&self, end_lsn: Lsn, now: Timestamp) -> Record {
        let [around_key, around_value] = &self.heartbeat_frames;
        let key = around_key.around(|out| {
            let mut fields = Fields::open(out);
            fields.text("serverName", &self.names.pipeline);
            fields.close();
        });
        let value = around_value.around(|out| {
            let mut fields = Fields::open(out);
            fields.number("ts_ms", millis(now));
            fields.text("system_identifier", &self.names.history.system_identifier);
            fields.number("timeline", self.names.history.timeline);
            fields.number("end_lsn", end_lsn.0);
            fields.close();
        });
        Record { key: Some(key.into()), value: Some(value.into()), headers: Vec::new() }
    }

    fn update(
        &mut self,
        bound: &Bound,
        before: &Before,
        new: &[Cell],
        meta: Meta<'_>,
    ) -> Result<Vec<Record>, EncodeError> {
        let old = match before {
            Before::Absent => None,
            Before::Key(old) | Before::Full(old) => Some(&**old),
        };
        let key = bound.key(new, old)?;
        let old_key = match old {
            Some(old) => bound.key(old, None)?,
            None => None,
        };
        let (Some(new_key), Some(old_key)) = (&key, old_key.filter(|it| Some(it) != key.as_ref()))
        else {
            let meta = Meta { op: 'u', ..meta };
            return Ok(vec![self.record(bound, key, before.into(), Image::New(new), meta)]);
        };
        let delete = Meta { op: 'd', is_last: false, ..meta };
        let mut delete =
            self.record(bound, Some(old_key.clone()), before.into(), Image::None, delete);
        delete.headers.push((NEW_KEY_HEADER.to_owned(), new_key.clone()));
        let mut insert = self.record(bound, key, Image::None, Image::New(new), meta);
        insert.headers.push((OLD_KEY_HEADER.to_owned(), old_key.clone()));
        Ok(vec![delete, tombstone(old_key), insert])
    }

    fn delete(
        &mut self,
        bound: &Bound,
        before: &Before,
        meta: Meta<'_>,
    ) -> Result<Vec<Record>, EncodeError> {
        let (Before::Key(old) | Before::Full(old)) = before else {
            return Err(EncodeError::NoOldRow { table: bound.table() });
        };
        let key = bound.key(old, None)?;
        let meta = Meta { op: 'd', ..meta };
        let delete = self.record(bound, key.clone(), before.into(), Image::None, meta);
        Ok([Some(delete), key.map(tombstone)].into_iter().flatten().collect())
    }

    fn truncate(&mut self, relations: &[Arc<Relation>], meta: Meta<'_>) -> Vec<Record> {
        let count = relations.len();
        let mut records = Vec::with_capacity(count);
        for (index, relation) in relations.iter().enumerate() {
            let bound = self.bind(relation);
            let (is_last, truncate) = (index + 1 == count, Some((index, count)));
            let meta = Meta { op: 't', is_last, truncate, ..meta };
            records.push(self.record(&bound, None, Image::None, Image::None, meta));
        }
        records
    }

    fn bind(&mut self, relation: &Arc<Relation>) -> Arc<Bound> {
        if let Some(bound) = self.bound.get(&relation.oid)
            && (Arc::ptr_eq(&bound.relation, relation) || bound.relation == *relation)
        {
            return bound.clone();
        }
        let columns = &relation.columns;
        let bound = Bound {
            relation: relation.clone(),
            types: columns.iter().map(|column| self.types.resolve(column.type_oid)).collect(),
            names: columns.iter().map(|column| quoted_name(&column.name)).collect(),
            key: self.key_places(relation),
            key_frame: Frame::default(),
            envelope_frame: Frame::default(),
            schemas: None,
        };
        let bound = Arc::new(match self.format {
            Format::Json => bound,
            Format::WithSchemas => bound.with_schemas(&self.names.pipeline),
        });
        self.bound.insert(relation.oid, bound.clone());
        bound
    }

    /// In the relation's order, so that a key's bytes stay the same.
    fn key_places(&self, relation: &Relation) -> Option<Vec<usize>> {
        let columns = || relation.columns.iter().enumerate();
        let places: Vec<usize> = match relation.replica_identity {
            ReplicaIdentity::Default | ReplicaIdentity::Index => {
                columns().filter(|(_, column)| column.identity).map(|(place, _)| place).collect()
            }
            ReplicaIdentity::Full | ReplicaIdentity::Nothing => {
                let key = self.keys.get(&TableName::new(&relation.schema, &relation.name))?;
                let is_key = |name: &String| key.contains(name);
                let places: Vec<usize> = columns()
                    .filter(|(_, column)| is_key(&column.name))
                    .map(|(place, _)| place)
                    .collect();
                if places.len() == key.len() { places } else { Vec::new() }
            }
        };
        (!places.is_empty()).then_some(places)
    }

    fn record(
        &mut self,
        bound: &Bound,
        key: Option<Bytes>,
        before: Image<'_>,
        after: Image<'_>,
        meta: Meta<'_>,
    ) -> Record {
        let order = meta.place.map(|place| self.orders.next(place, bound.relation.oid));
        let mut odds = [Odds::new(), Odds::new()];
        let value = bound.envelope_frame.around(|out| {
            let mut fields = Fields::open(out);
            odds[0] = bound.write_row(before, fields.name("before"));
            odds[1] = bound.write_row(after, fields.name("after"));
            self.write_source(Some(&bound.relation), meta, fields.name("source"));
            fields.text("op", meta.op.encode_utf8(&mut [0; 4]));
            write_times(meta.now, &mut fields);
            match order {
                Some(order) => order.write(fields.name("transaction")),
                None => fields.null("transaction"),
            }
            fields.close();
        });
        let value = bound.framed_anew(value, [&odds[0], &odds[1]]);
        Record { key, value: Some(value.into()), headers: Vec::new() }
    }

    /// Without a table it is a message's, which has no place among the events.
    fn write_source(&self, relation: Option<&Relation>, meta: Meta<'_>, out: &mut Vec<u8>) {
        let mut fields = Fields::open(out);
        fields.text("version", &self.names.version);
        fields.text("connector", "postgresql");
        fields.text("name", &self.names.pipeline);
        write_times(meta.at, &mut fields);
        fields.text("snapshot", meta.snapshot);
        fields.text("db", &self.names.database);
        fields.text("sequence", &self.sequence(meta.lsn));
        fields.text("schema", relation.map_or("", |relation| &relation.schema));
        fields.text("table", relation.map_or("", |relation| &relation.name));
        if let Some(relation) = relation {
            fields.number("relid", relation.oid);
        }
        match meta.place {
            Some(place) => fields.number("txId", place.xid),
            None => fields.null("txId"),
        }
        fields.number("lsn", meta.lsn.0);
        fields.null("xmin");
        fields.text("system_identifier", &self.names.history.system_identifier);
        fields.number("timeline", self.names.history.timeline);
        if let Some(place) = meta.place.filter(|_| relation.is_some()) {
            fields.number("commit_lsn", place.commit_lsn.0);
            fields.number("event_index", place.event_index);
        }
        if let Some((index, count)) = meta.truncate.filter(|(_, count)| *count > 1) {
            fields.number("truncate_index", index);
            fields.number("truncate_count", count);
        }
        if let Some(end) = meta.place.and_then(|place| place.end).filter(|_| meta.is_last) {
            fields.name("tx_end").extend_from_slice(b"true");
            fields.number("end_lsn", end.0);
        }
        fields.close();
    }

    /// Debezium's: an array of strings, as JSON text.
    fn sequence(&self, lsn: Lsn) -> String {
        match self.last_commit {
            Some(last) => format!("[\"{}\",\"{}\"]", last.0, lsn.0),
            None => format!("[null,\"{}\"]", lsn.0),
        }
    }
}

fn tombstone(key: Bytes) -> Record {
    Record { key: Some(key), value: None, headers: Vec::new() }
}

/// In each unit that Debezium has.
fn write_times(at: Timestamp, fields: &mut Fields<'_>) {
    fields.number("ts_ms", millis(at));
    fields.number("ts_us", at.unix_micros);
    // PostgreSQL's last year is beyond nanoseconds in 64 bits.
    fields.number("ts_ns", at.unix_micros.saturating_mul(1_000));
}

fn millis(at: Timestamp) -> i64 {
    at.unix_micros.div_euclid(1_000)
}
