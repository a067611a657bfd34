//! A catalog of a few tables, and records checked against the schemas.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use serde_json::Value;
use wal2graph::catalog::{
    Catalog, Column, Publication, ReplicaIdentity, Table, TableKind, TableName, UniqueKey,
};
use wal2graph::change::{Cell, Change, Relation, Timestamp, Tuple};
use wal2graph::envelope::{
    DecodeError, DecodeOptions, Decoded, Decoder, Encoder, History, Names, Place, Record,
};
use wal2graph::lsn::Lsn;
use wal2graph::value::{FieldFacts, TypeFacts, TypeKind};

pub const NOW: Timestamp = Timestamp { unix_micros: 1_700_000_000_123_456 };

/// A column's name, type and modifier.
pub type Named<'a> = (&'a str, u32, i32);

/// A table whose first columns are its primary key.
pub fn table(name: &str, key_columns: usize, columns: &[Named<'_>]) -> Table {
    let columns =
        columns.iter().zip(1..).map(|(&(name, type_oid, type_modifier), number)| Column {
            name: name.to_owned(),
            number,
            type_oid,
            type_modifier,
            type_name: format!("type {type_oid}"),
            not_null: usize::try_from(number).unwrap() <= key_columns,
            generated: false,
            deterministic: true,
        });
    let columns: Vec<Column> = columns.collect();
    let names = columns.iter().take(key_columns).map(|column| column.name.clone()).collect();
    let primary_key =
        UniqueKey { name: format!("{name}_pkey"), columns: names, immediate: true, partial: false };
    Table {
        name: TableName::new("public", name),
        oid: name.bytes().fold(16_384, |oid, byte| oid * 31 % 1_000_003 + u32::from(byte)),
        kind: TableKind::Ordinary,
        logged: true,
        foreign_partition: None,
        columns,
        primary_key: (key_columns > 0).then_some(primary_key),
        unique_keys: Vec::new(),
        foreign_keys: Vec::new(),
        replica_identity: ReplicaIdentity::Default,
        estimated_rows: None,
        pages: 0,
        comment: None,
        published: Publication::default(),
    }
}

pub fn full(table: Table) -> Table {
    Table { replica_identity: ReplicaIdentity::Full, ..table }
}

/// Types that are not built into PostgreSQL.
pub fn extra_types() -> Vec<TypeFacts> {
    let facts = |oid, name: &str, kind| TypeFacts {
        oid,
        schema: "public".to_owned(),
        name: name.to_owned(),
        delimiter: ',',
        kind,
    };
    let field =
        |name: &str, type_oid| FieldFacts { name: name.to_owned(), type_oid, deterministic: true };
    let fields = vec![field("street", 25), field("number", 23)];
    let labels = ["sad", "ok", "happy"].map(str::to_owned).to_vec();
    vec![
        facts(HSTORE, "hstore", TypeKind::Base),
        facts(VECTOR, "vector", TypeKind::Base),
        facts(GEOMETRY, "geometry", TypeKind::Base),
        facts(CITEXT, "citext", TypeKind::Base),
        facts(MOOD, "mood", TypeKind::Enum { labels }),
        facts(ADDRESS, "address", TypeKind::Composite { fields }),
        facts(ODD, "odd", TypeKind::Base),
        facts(PRICE, "price", TypeKind::Domain { base: 1700, modifier: -1 }),
        facts(MOODS, "_mood", TypeKind::Array { element: MOOD }),
        facts(HSTORES, "_hstore", TypeKind::Array { element: HSTORE }),
        facts(ADDRESSES, "_address", TypeKind::Array { element: ADDRESS }),
        facts(ODDS, "_odd", TypeKind::Array { element: ODD }),
        facts(VECTORS, "_vector", TypeKind::Array { element: VECTOR }),
    ]
}

pub const HSTORE: u32 = 50_001;
pub const VECTOR: u32 = 50_002;
pub const GEOMETRY: u32 = 50_003;
pub const CITEXT: u32 = 50_004;
pub const MOOD: u32 = 50_005;
pub const ADDRESS: u32 = 50_006;
pub const ODD: u32 = 50_007;
pub const PRICE: u32 = 50_008;
pub const MOODS: u32 = 50_009;
pub const HSTORES: u32 = 50_010;
pub const ADDRESSES: u32 = 50_011;
pub const ODDS: u32 = 50_012;
pub const VECTORS: u32 = 50_013;

pub fn catalog(tables: Vec<Table>) -> Catalog {
    Catalog { tables, types: extra_types(), ..Catalog::default() }
}

/// The tables that most tests use.
pub fn shop() -> Catalog {
    let customers: [Named<'_>; 4] =
        [("id", 20, -1), ("name", 25, -1), ("photo", 17, -1), ("balance", 1700, 786_438)];
    let mut log = table("log", 0, &[("line", 25, -1)]);
    log.published.columns = Some(vec!["line".to_owned()]);
    catalog(vec![
        table("customers", 1, &customers),
        full(table("customers_full", 1, &customers)),
        table("stock", 2, &[("shelf", 1043, 14), ("box", 21, -1), ("count", 23, -1)]),
        log,
        full(table("notes", 0, &[("note", 25, -1), ("at", 1184, -1)])),
    ])
}

pub fn names() -> Names {
    Names {
        pipeline: "shop".to_owned(),
        database: "shop_db".to_owned(),
        version: "9.8.7".to_owned(),
        history: history(),
    }
}

pub fn history() -> History {
    History { system_identifier: "7401234567890123456".to_owned(), timeline: 3 }
}

pub fn place(event_index: u64, end: Option<u64>) -> Place {
    Place {
        commit_lsn: Lsn(0x16_B374_D848),
        event_index,
        xid: 4_000_000_001,
        committed_at: Timestamp { unix_micros: 1_699_999_999_654_321 },
        end: end.map(Lsn),
    }
}

/// Encodes and decodes with one catalog.
pub struct Both {
    pub encoder: Encoder,
    pub decoder: Decoder,
}

impl Both {
    pub fn new(catalog: &Catalog) -> Both {
        let decoder = Decoder::new(catalog, DecodeOptions::default());
        Both { encoder: Encoder::new(names(), catalog), decoder }
    }

    pub fn relation(&self, name: &str) -> Arc<Relation> {
        self.decoder.relation(&TableName::new("public", name)).unwrap().clone()
    }

    /// The change's records, which are valid.
    pub fn encode(&mut self, place: &Place, change: &Change) -> Vec<Record> {
        let records = self.encoder.change(place, change, NOW).unwrap();
        records.iter().for_each(assert_valid);
        records
    }

    pub fn decode(&mut self, records: &[Record]) -> Vec<Decoded> {
        let mut decoded = Vec::new();
        for record in records {
            self.decoder.record(record, &mut decoded).unwrap();
        }
        decoded
    }

    /// Encodes and decodes: the change and its place come back.
    pub fn assert_round_trip(&mut self, place: &Place, change: &Change) {
        let records = self.encode(place, change);
        let mut changes = self.decode(&records).into_iter().filter_map(|decoded| match decoded {
            Decoded::Change { source, change } => Some((source.place.unwrap(), change)),
            Decoded::Held | Decoded::Tombstone => None,
            other => panic!("{other:?}"),
        });
        assert_eq!(changes.next().unwrap(), (*place, change.clone()), "{records:?}");
        assert_eq!(changes.next(), None);
        assert!(!self.decoder.is_holding());
    }
}

static EVENT: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| validator(include_str!("../../../schemas/change-event.schema.json")));
static KEY: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| validator(include_str!("../../../schemas/change-key.schema.json")));

fn validator(schema: &str) -> jsonschema::Validator {
    jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap()
}

/// The record conforms to the schemas.
pub fn assert_valid(record: &Record) {
    let check = |validator: &jsonschema::Validator, bytes: &Bytes| {
        let value: Value = serde_json::from_slice(bytes).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|error| format!("{error}")).collect();
        assert!(errors.is_empty(), "{value}: {errors:?}");
    };
    record.key.iter().for_each(|key| check(&KEY, key));
    record.value.iter().for_each(|value| check(&EVENT, value));
    record.headers.iter().for_each(|(_, key)| check(&KEY, key));
}

pub fn is_valid_event(value: &Value) -> bool {
    EVENT.is_valid(value)
}

pub fn json(bytes: &Option<Bytes>) -> Value {
    serde_json::from_slice(bytes.as_ref().unwrap()).unwrap()
}

pub fn text(text: &str) -> Cell {
    Cell::Text(Bytes::copy_from_slice(text.as_bytes()))
}

/// Texts, `None` for NULL.
pub fn tuple(texts: &[Option<&str>]) -> Tuple {
    texts.iter().map(|it| it.map_or(Cell::Null, text)).collect()
}

/// A record of another writer.
pub fn record(key: Option<Value>, value: Option<Value>) -> Record {
    let bytes = |value: Value| Bytes::from(value.to_string());
    Record { key: key.map(bytes), value: value.map(bytes), headers: Vec::new() }
}

/// The content of a single record.
pub fn decode_one(decoder: &mut Decoder, record: &Record) -> Result<Decoded, DecodeError> {
    let mut decoded = Vec::new();
    decoder.record(record, &mut decoded)?;
    assert_eq!(decoded.len(), 1);
    Ok(decoded.remove(0))
}
