//! Records of a topic, one after another in one partition.

use bytes::Bytes;
use wal2graph::{
    catalog::{
        Catalog, Column, Publication, ReplicaIdentity, Table, TableKind, TableName, UniqueKey,
    },
    envelope::{DecodeOptions, Decoded, Decoder, Record},
};

/// Every type whose records have a form of their own: `bool`, `bytea`, `int8`, `int4`, `text`,
/// `float8`, `varchar(10)`, `date`, `time`, `timestamp`, `timestamptz`, `interval`, `timetz`,
/// `numeric(12,2)`, `uuid`, `jsonb`, `int4[]`, `text[]`.
const TYPES: [(u32, i32); 18] = [
    (16, -1),
    (17, -1),
    (20, -1),
    (23, -1),
    (25, -1),
    (701, -1),
    (1043, 14),
    (1082, -1),
    (1083, -1),
    (1114, -1),
    (1184, -1),
    (1186, -1),
    (1266, -1),
    (1700, 786_438),
    (2950, -1),
    (3802, -1),
    (1007, -1),
    (1009, -1),
];

fn table(name: &str, replica_identity: ReplicaIdentity) -> Table {
    let columns = TYPES.iter().zip(1..).map(|(&(type_oid, type_modifier), number)| Column {
        name: format!("c{number}"),
        number,
        type_oid,
        type_modifier,
        type_name: format!("type {type_oid}"),
        not_null: number == 3,
        generated: false,
        deterministic: true,
    });
    let key = UniqueKey {
        name: format!("{name}_pkey"),
        columns: vec!["c3".to_owned()],
        immediate: true,
        partial: false,
    };
    Table {
        name: TableName::new("public", name),
        oid: 16_384 + name.len() as u32,
        kind: TableKind::Ordinary,
        logged: true,
        columns: columns.collect(),
        primary_key: Some(key),
        unique_keys: Vec::new(),
        foreign_keys: Vec::new(),
        replica_identity,
        foreign_partition: None,
        estimated_rows: None,
        pages: 0,
        comment: None,
        published: Publication::default(),
    }
}

/// Each line is a record: key, tab, value. Without a tab it has no key, without a value it is a
/// tombstone.
fn records(data: &[u8]) -> impl Iterator<Item = Record> {
    data.split(|byte| *byte == b'\n').map(|line| {
        let tab = line.iter().position(|byte| *byte == b'\t');
        let (key, value) = match tab {
            Some(tab) => (Some(&line[..tab]), &line[tab + 1..]),
            None => (None, line),
        };
        let value = Some(value).filter(|value| !value.is_empty());
        let bytes = |part: Option<&[u8]>| part.map(Bytes::copy_from_slice);
        Record { key: bytes(key), value: bytes(value), headers: Vec::new() }
    })
}

/// What the decoder holds and will still give.
fn held(decoder: &Decoder) -> Vec<Decoded> {
    let mut held = Vec::new();
    decoder.clone().flush(&mut held);
    held
}

/// Any records give changes or an error, which takes nothing of what is held.
pub fn envelope(data: &[u8]) {
    let tables = vec![table("t", ReplicaIdentity::Default), table("full", ReplicaIdentity::Full)];
    let catalog = Catalog { tables, ..Catalog::default() };
    let mut decoder = Decoder::new(&catalog, DecodeOptions::default());
    let mut decoded = Vec::new();
    for record in records(data) {
        let (before, given) = (held(&decoder), decoded.len());
        if decoder.record(&record, &mut decoded).is_err() {
            assert_eq!(given, decoded.len(), "an error has no changes: {record:?}");
            assert_eq!(before, held(&decoder), "{record:?}");
        }
    }
    decoder.flush(&mut decoded);
    assert!(!decoder.is_holding());
}
