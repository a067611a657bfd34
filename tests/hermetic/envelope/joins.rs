//! The records of one change, complete and separated.

use bytes::Bytes;
use serde_json::{Value, json};
use wal2graph::change::{Before, Change};
use wal2graph::envelope::{
    DecodeOptions, Decoded, Decoder, NEW_KEY_HEADER, OLD_KEY_HEADER, Place, Record,
};
use wal2graph::lsn::Lsn;

use super::support::*;

fn key_change(both: &Both) -> Change {
    let relation = both.relation("stock");
    let before = Before::Key(tuple(&[Some("A1"), Some("3"), None]));
    Change::Update { relation, before, new: tuple(&[Some("A1"), Some("4"), Some("9")]) }
}

fn insert(both: &Both) -> Change {
    Change::Insert { relation: both.relation("log"), new: tuple(&[Some("a")]) }
}

/// Changes with their event number, and other items by name.
fn told(decoded: Vec<Decoded>) -> Vec<String> {
    let told = decoded.into_iter().map(|decoded| match decoded {
        Decoded::Change { source, change } => {
            let kind = match change {
                Change::Insert { .. } => "insert",
                Change::Update { .. } => "update",
                Change::Delete { .. } => "delete",
                Change::Message { .. } => "message",
                Change::Truncate { relations } => {
                    return format!("truncate of {}", relations.len());
                }
            };
            format!("{kind} {:?}", source.place.map(|place| place.event_index))
        }
        Decoded::Cut { place } => format!("cut {}", place.event_index),
        Decoded::Held => "held".to_owned(),
        Decoded::Tombstone => "tombstone".to_owned(),
        Decoded::Heartbeat { .. } => "heartbeat".to_owned(),
        Decoded::Foreign { table, .. } => format!("foreign {table}"),
        other => format!("{other:?}"),
    });
    told.collect()
}

#[test]
fn only_the_last_record_of_a_change_ends_the_transaction() {
    let mut both = Both::new(&shop());
    let at = place(4, Some(97_500_060_000));
    let change = key_change(&both);
    let mut records = both.encode(&at, &change);
    records.extend(both.encoder.change(&at, &insert(&both), NOW).unwrap());
    let decoded = both.decode(&records);
    assert!(matches!(&decoded[..2], [Decoded::Held, Decoded::Tombstone]));
    let Decoded::Change { source, change: joined } = &decoded[2] else { panic!("{decoded:?}") };
    assert_eq!((source.place, joined), (Some(at), &change));
    assert_eq!(source.history.as_deref(), Some(&history()));
}

#[test]
fn a_change_of_ours_that_is_cut_is_never_half_applied() {
    let mut both = Both::new(&shop());
    let change = key_change(&both);
    let halves = both.encode(&place(4, None), &change);
    let other = both.encode(&place(0, None), &insert(&both));
    // The publisher died within it, and publishes the transaction again.
    let again = both.encode(&place(4, None), &change);
    let records = [&halves[..2], &other, &again].concat();
    let expected =
        ["held", "tombstone", "cut 4", "insert Some(0)", "held", "tombstone", "update Some(4)"];
    assert_eq!(told(both.decode(&records)), expected);
    // Without anything in between.
    let records = [&halves[..1], &again].concat();
    let expected = ["held", "cut 4", "held", "tombstone", "update Some(4)"];
    assert_eq!(told(both.decode(&records)), expected);
    // The rest of another change does not complete it.
    let others = both.encode(&place(5, None), &change);
    let records = [&halves[..2], &others[2..]].concat();
    assert_eq!(told(both.decode(&records)), ["held", "tombstone", "cut 4", "update Some(5)"]);
    // A heartbeat is another record too.
    let heartbeat = [both.encoder.heartbeat(Lsn(1), NOW)];
    let records = [&halves[..2], &heartbeat].concat();
    assert_eq!(told(both.decode(&records)), ["held", "tombstone", "cut 4", "heartbeat"]);
    both.decode(&halves[..1]);
    assert!(both.decoder.is_holding());
    let mut rest = Vec::new();
    both.decoder.flush(&mut rest);
    both.decoder.flush(&mut rest);
    assert_eq!((told(rest), both.decoder.is_holding()), (vec!["cut 4".to_owned()], false));
}

#[test]
fn the_second_half_alone_knows_the_old_key() {
    let mut both = Both::new(&shop());
    let change = key_change(&both);
    let halves = both.encode(&place(4, None), &change);
    let decoded = both.decode(&halves[2..]);
    let [Decoded::Change { change: joined, .. }] = decoded.as_slice() else {
        panic!("{decoded:?}")
    };
    assert_eq!(joined, &change);
}

#[test]
fn a_truncate_of_several_tables_is_one_change() {
    let mut both = Both::new(&shop());
    let relations = || ["stock", "log", "notes"].map(|name| both.relation(name)).to_vec();
    let change = Change::Truncate { relations: relations() };
    let records = both.encode(&place(4, Some(5)), &change);
    assert_eq!(told(both.decode(&records)), ["held", "held", "truncate of 3"]);
    let other = both.encode(&place(0, None), &insert(&both));
    let torn = [&records[..2], &other, &records].concat();
    let expected = ["held", "held", "cut 4", "insert Some(0)", "held", "held", "truncate of 3"];
    assert_eq!(told(both.decode(&torn)), expected);
    // Tables that are missing in the catalog are skipped.
    let fewer = |names: &[&str]| {
        let mut catalog = shop();
        catalog.tables.retain(|table| names.contains(&table.name.name.as_str()));
        let mut decoder = Decoder::new(&catalog, DecodeOptions::default());
        let mut decoded = Vec::new();
        records.iter().for_each(|record| decoder.record(record, &mut decoded).unwrap());
        told(decoded)
    };
    assert_eq!(fewer(&["stock"]), ["held", "held", "truncate of 1"]);
    assert_eq!(fewer(&["notes"]), ["held", "held", "truncate of 1"]);
    assert_eq!(fewer(&[]), ["held", "held", "foreign notes"]);
}

/// A record of Debezium with a header.
fn debezium(op: &str, lsn: u64, row: Value, header: Option<(&str, &str)>) -> Record {
    let [before, after] = match op {
        "d" => [row.clone(), Value::Null],
        _ => [Value::Null, row.clone()],
    };
    let source = json!({"schema": "public", "table": "stock", "lsn": lsn, "txId": 5});
    let value = json!({"before": before, "after": after, "source": source, "op": op, "ts_ms": 1});
    let key = json!({"shelf": row["shelf"], "box": row["box"]});
    let mut record = record(Some(key), Some(value));
    let header = header.map(|(name, key)| (name.to_owned(), Bytes::from(key.to_owned())));
    record.headers.extend(header);
    record
}

#[test]
fn debeziums_key_change_is_joined_or_stands_as_a_delete() {
    let (old, new) = (json!({"shelf": "A", "box": 3}), json!({"shelf": "A", "box": 4, "count": 9}));
    let first =
        debezium("d", 10, old.clone(), Some((NEW_KEY_HEADER, "{\"shelf\":\"A\",\"box\":4}")));
    let tombstone = record(Some(old.clone()), None);
    let old_key = old.to_string();
    let second =
        |lsn, header: &str| debezium("c", lsn, new.clone(), Some((OLD_KEY_HEADER, header)));
    let mut both = Both::new(&shop());
    // Headers in JSON, or in Connect's default form for a struct.
    for header in [old_key.as_str(), "Struct{shelf=A,box=3}"] {
        let decoded = both.decode(&[first.clone(), tombstone.clone(), second(10, header)]);
        assert_eq!(decoded.len(), 3);
        let Decoded::Change { source, change } = &decoded[2] else { panic!("{decoded:?}") };
        assert_eq!((change, source.place), (&key_change_of(&both), None));
        assert_eq!((source.lsn, source.xid), (Some(Lsn(10)), Some(5)));
    }
    // The insert of another row is not its second half; it comes with its own old key.
    let decoded = both.decode(&[first.clone(), tombstone.clone(), second(11, &old_key)]);
    assert_eq!(told(decoded), ["held", "tombstone", "delete None", "update None"]);
    // Without a readable old key an insert is just an insert: its delete comes separately, before
    // or after.
    assert_eq!(told(both.decode(&[second(10, "Struct{}")])), ["insert None"]);
    let foreign = json!({"before": null, "after": null, "op": "m", "ts_ms": 1,
        "source": {"schema": "", "table": "", "lsn": 12}});
    let decoded = both.decode(&[first.clone(), record(None, Some(foreign))]);
    assert_eq!(decoded.len(), 3);
    assert!(matches!(&decoded[1], Decoded::Change { change: Change::Delete { .. }, .. }));
    assert!(matches!(&decoded[2], Decoded::Message { .. }));
    both.decode(&[first]);
    let mut rest = Vec::new();
    both.decoder.flush(&mut rest);
    assert_eq!(told(rest), ["delete None"]);
}

fn key_change_of(both: &Both) -> Change {
    let relation = both.relation("stock");
    let before = Before::Key(tuple(&[Some("A"), Some("3"), None]));
    Change::Update { relation, before, new: tuple(&[Some("A"), Some("4"), Some("9")]) }
}

#[test]
fn a_damaged_record_leaves_what_is_held() {
    let mut both = Both::new(&shop());
    let change = key_change(&both);
    let halves = both.encode(&place(4, None), &change);
    both.decode(&halves[..2]);
    let damaged = Record { value: Some(Bytes::from_static(b"{\"op\":")), ..Record::default() };
    let mut decoded = Vec::new();
    both.decoder.record(&damaged, &mut decoded).unwrap_err();
    assert!(decoded.is_empty() && both.decoder.is_holding());
    assert_eq!(told(both.decode(&halves[2..])), ["update Some(4)"]);
}

#[test]
fn places_are_ordered_by_commit_and_index() {
    let both = &mut Both::new(&shop());
    let second = Place { event_index: 1, ..place(0, None) };
    for at in [place(0, None), second, place(2, Some(u64::MAX))] {
        both.assert_round_trip(&at, &insert(both));
    }
}
