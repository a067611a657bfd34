//! The records themselves, field by field, compared with Debezium's documentation of its own.

use serde_json::{Value, json};
use wal2graph::change::{Before, Cell, Change};
use wal2graph::envelope::{Decoded, EncodeError, Place, Record, Snapshot, UNAVAILABLE_VALUE};
use wal2graph::lsn::Lsn;

use super::support::*;

/// The common part of `source` in every change of [`place`].
fn source(table: &str, event_index: u64) -> Value {
    json!({
        "version": "9.8.7",
        "connector": "postgresql",
        "name": "shop",
        "ts_ms": 1_699_999_999_654_u64,
        "ts_us": 1_699_999_999_654_321_u64,
        "ts_ns": 1_699_999_999_654_321_000_u64,
        "snapshot": "false",
        "db": "shop_db",
        "sequence": "[null,\"97500059720\"]",
        "schema": "public",
        "table": table,
        "relid": shop().tables.iter().find(|it| it.name.name == table).map(|it| it.oid),
        "txId": 4_000_000_001_u64,
        "lsn": 97_500_059_720_u64,
        "xmin": null,
        "system_identifier": "7401234567890123456",
        "timeline": 3,
        "commit_lsn": 97_500_059_720_u64,
        "event_index": event_index,
    })
}

fn with(mut object: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(more);
    object
}

fn envelope(op: &str, before: Value, after: Value, source: Value) -> Value {
    nth(1, 1, op, before, after, source)
}

/// The same for a record that is not the first of its transaction.
fn nth(total: u64, of_table: u64, op: &str, before: Value, after: Value, source: Value) -> Value {
    json!({
        "before": before,
        "after": after,
        "source": source,
        "op": op,
        "ts_ms": 1_700_000_000_123_u64,
        "ts_us": 1_700_000_000_123_456_u64,
        "ts_ns": 1_700_000_000_123_456_000_u64,
        "transaction": {
            "id": "4000000001:97500059720",
            "total_order": total,
            "data_collection_order": of_table,
        },
    })
}

fn assert_record(record: &Record, key: Value, value: Value) {
    assert_eq!(json(&record.key), key);
    assert_eq!(json(&record.value), value);
    assert!(record.headers.is_empty());
}

const ANN: [Option<&str>; 4] = [Some("7"), Some("Ann"), Some("\\x0aff"), Some("12.50")];

fn ann() -> Value {
    json!({"id": 7, "name": "Ann", "photo": "Cv8=", "balance": "12.50"})
}

#[test]
fn an_insert() {
    let mut both = Both::new(&shop());
    let change = Change::Insert { relation: both.relation("customers"), new: tuple(&ANN) };
    let records = both.encode(&place(5, Some(97_500_060_000)), &change);
    let ends = json!({"tx_end": true, "end_lsn": 97_500_060_000_u64});
    let expected = envelope("c", Value::Null, ann(), with(source("customers", 5), ends));
    assert_record(&records[0], json!({"id": 7}), expected);
    assert_eq!(records.len(), 1);
    let bytes = String::from_utf8(records[0].value.clone().unwrap().to_vec()).unwrap();
    let order = ["{\"before\":", ",\"after\":", ",\"source\":", ",\"op\":", ",\"transaction\":"];
    assert!(order.map(|name| bytes.find(name).unwrap()).is_sorted(), "{bytes}");
}

#[test]
fn an_update_with_an_unchanged_value() {
    let mut both = Both::new(&shop());
    let new = [text("7"), Cell::Unchanged, Cell::Unchanged, Cell::Null].into();
    let relation = both.relation("customers");
    let change = Change::Update { relation, before: Before::Absent, new };
    let records = both.encode(&place(0, None), &change);
    let after = json!({
        "id": 7,
        "name": UNAVAILABLE_VALUE,
        "photo": "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==",
        "balance": null,
    });
    let expected = envelope("u", Value::Null, after, source("customers", 0));
    assert_record(&records[0], json!({"id": 7}), expected);
    assert_eq!(records.len(), 1);
}

#[test]
fn an_update_under_full_identity_has_the_whole_old_row() {
    let mut both = Both::new(&shop());
    let relation = both.relation("customers_full");
    let before = Before::Full(tuple(&ANN));
    let new = tuple(&[Some("7"), None, None, None]);
    let change = Change::Update { relation, before, new };
    let records = both.encode(&place(0, None), &change);
    let after = json!({"id": 7, "name": null, "photo": null, "balance": null});
    let expected = envelope("u", ann(), after, source("customers_full", 0));
    assert_record(&records[0], json!({"id": 7}), expected);
}

#[test]
fn a_delete_and_its_tombstone() {
    let mut both = Both::new(&shop());
    let relation = both.relation("customers");
    let before = Before::Key(tuple(&[Some("7"), None, None, None]));
    let change = Change::Delete { relation, before };
    let records = both.encode(&place(2, Some(97_500_060_000)), &change);
    let ends = json!({"tx_end": true, "end_lsn": 97_500_060_000_u64});
    let source = with(source("customers", 2), ends);
    let expected = envelope("d", json!({"id": 7}), Value::Null, source);
    assert_record(&records[0], json!({"id": 7}), expected);
    assert_eq!((json(&records[1].key), &records[1].value), (json!({"id": 7}), &None));
    assert_eq!(records.len(), 2);
}

#[test]
fn a_change_of_the_key() {
    let mut both = Both::new(&shop());
    let relation = both.relation("stock");
    let before = Before::Key(tuple(&[Some("A1"), Some("3"), None]));
    let new = tuple(&[Some("A1"), Some("4"), Some("9")]);
    let change = Change::Update { relation, before, new };
    let records = both.encode(&place(1, Some(97_500_060_000)), &change);
    let [delete, tombstone, insert] = records.as_slice() else { panic!("{records:?}") };
    let (old, new) = (json!({"shelf": "A1", "box": 3}), json!({"shelf": "A1", "box": 4}));
    let header = |record: &Record| {
        let [(name, value)] = record.headers.as_slice() else { panic!("{record:?}") };
        (name.clone(), json(&Some(value.clone())))
    };
    assert_eq!((json(&delete.key), json(&insert.key)), (old.clone(), new.clone()));
    assert_eq!(header(delete), ("__debezium.newkey".to_owned(), new));
    assert_eq!(header(insert), ("__debezium.oldkey".to_owned(), old.clone()));
    assert_eq!((json(&tombstone.key), &tombstone.value), (old.clone(), &None));
    assert!(tombstone.headers.is_empty());
    let expected = envelope("d", old, Value::Null, source("stock", 1));
    assert_eq!(json(&delete.value), expected);
    let after = json!({"shelf": "A1", "box": 4, "count": 9});
    let ends = json!({"tx_end": true, "end_lsn": 97_500_060_000_u64});
    let expected = nth(2, 2, "c", Value::Null, after, with(source("stock", 1), ends));
    assert_eq!(json(&insert.value), expected);
}

#[test]
fn a_truncate_is_a_record_for_each_table() {
    let mut both = Both::new(&shop());
    let relations = vec![both.relation("customers"), both.relation("log")];
    let change = Change::Truncate { relations };
    let records = both.encode(&place(8, Some(97_500_060_000)), &change);
    let expected = |total, table, more| {
        nth(total, 1, "t", Value::Null, Value::Null, with(source(table, 8), more))
    };
    let first = json!({"truncate_index": 0, "truncate_count": 2});
    let last = json!({
        "truncate_index": 1, "truncate_count": 2, "tx_end": true, "end_lsn": 97_500_060_000_u64,
    });
    assert_eq!(json(&records[0].value), expected(1, "customers", first));
    assert_eq!(json(&records[1].value), expected(2, "log", last));
    assert!(records.iter().all(|record| record.key.is_none()) && records.len() == 2);
    let change = Change::Truncate { relations: vec![both.relation("log")] };
    let records = both.encode(&place(8, None), &change);
    let source = json(&records[0].value)["source"].clone();
    assert!(source.get("truncate_count").is_none() && source.get("tx_end").is_none());
}

#[test]
fn a_read() {
    let mut both = Both::new(&shop());
    let relation = both.relation("customers");
    let (lsn, row) = (Lsn(77), tuple(&ANN));
    for (snapshot, word) in
        [(Snapshot::First, "first"), (Snapshot::Inside, "true"), (Snapshot::Last, "last")]
    {
        let record = both.encoder.read(lsn, snapshot, &relation, &row, NOW).unwrap();
        assert_valid(&record);
        assert_eq!(
            (json(&record.key), json(&record.value)["after"].clone()),
            (json!({"id": 7}), ann())
        );
        let source = json(&record.value)["source"].clone();
        assert_eq!(
            (&source["snapshot"], &source["lsn"], &source["txId"]),
            (&json!(word), &json!(77), &Value::Null)
        );
        let Decoded::Read { source, snapshot: read, relation: of, row: values } =
            decode_one(&mut both.decoder, &record).unwrap()
        else {
            panic!("{record:?}")
        };
        assert_eq!((read, of, values), (snapshot, relation.clone(), row.clone()));
        assert_eq!((source.place, source.lsn, source.at), (None, Some(lsn), Some(NOW)));
        assert_eq!(source.history.as_deref(), Some(&history()));
    }
}

#[test]
fn a_heartbeat() {
    let mut both = Both::new(&shop());
    let record = both.encoder.heartbeat(Lsn(97_500_060_000), NOW);
    assert_valid(&record);
    assert_record(
        &record,
        json!({"serverName": "shop"}),
        json!({
            "ts_ms": 1_700_000_000_123_u64,
            "system_identifier": "7401234567890123456",
            "timeline": 3,
            "end_lsn": 97_500_060_000_u64,
        }),
    );
    let Decoded::Heartbeat { end_lsn, history: of, at } =
        decode_one(&mut both.decoder, &record).unwrap()
    else {
        panic!("{record:?}")
    };
    assert_eq!((end_lsn, of.as_deref()), (Some(Lsn(97_500_060_000)), Some(&history())));
    assert_eq!(at.unix_micros, 1_700_000_000_123_000);
}

#[test]
fn the_sequence_names_the_commit_before() {
    let mut both = Both::new(&shop());
    let change = Change::Insert { relation: both.relation("log"), new: tuple(&[Some("a")]) };
    let mut sequence =
        |place| json(&both.encode(&place, &change)[0].value)["source"]["sequence"].clone();
    assert_eq!(sequence(place(0, Some(1))), json!("[null,\"97500059720\"]"));
    let mut next = place(0, None);
    next.commit_lsn = Lsn(97_500_070_000);
    assert_eq!(sequence(next), json!("[\"97500059720\",\"97500070000\"]"));
}

/// `(lsn, total_order)` is a version: each record of a transaction has its own place.
#[test]
fn records_are_counted_in_their_transaction_and_among_those_of_their_table() {
    let mut both = Both::new(&shop());
    let orders = |both: &mut Both, place: Place, change: &Change| -> Vec<Value> {
        let records = both.encode(&place, change);
        let values = records.iter().filter(|it| it.value.is_some()).map(|it| json(&it.value));
        let orders = values.map(|it| it["transaction"].clone());
        orders.map(|it| json!([it["total_order"], it["data_collection_order"]])).collect()
    };
    let log = Change::Insert { relation: both.relation("log"), new: tuple(&[Some("a")]) };
    let before = Before::Key(tuple(&[Some("A1"), Some("3"), None]));
    let new = tuple(&[Some("A1"), Some("4"), Some("9")]);
    let moved = Change::Update { relation: both.relation("stock"), before, new };
    assert_eq!(orders(&mut both, place(0, None), &log), [json!([1, 1])]);
    assert_eq!(orders(&mut both, place(1, None), &moved), [json!([2, 1]), json!([3, 2])]);
    assert_eq!(orders(&mut both, place(2, Some(97_500_060_000)), &log), [json!([4, 2])]);
    let next = Place { commit_lsn: Lsn(97_500_070_000), ..place(0, None) };
    assert_eq!(orders(&mut both, next, &log), [json!([1, 1])], "another transaction");
}

/// Records of 0.1.0 have fewer fields; applying them needs none of the new ones.
#[test]
fn records_of_earlier_versions_are_read() {
    let mut both = Both::new(&shop());
    let change = Change::Insert { relation: both.relation("customers"), new: tuple(&ANN) };
    let mut old = both.encode(&place(5, Some(97_500_060_000)), &change).remove(0);
    let mut value = json(&old.value);
    for name in ["ts_us", "ts_ns"] {
        assert!(value.as_object_mut().unwrap().remove(name).is_some());
    }
    assert!(value["source"].as_object_mut().unwrap().remove("ts_ns").is_some());
    value["transaction"] = Value::Null;
    old.value = Some(value.to_string().into());
    let Decoded::Change { source, change: read } = decode_one(&mut both.decoder, &old).unwrap()
    else {
        panic!("{old:?}")
    };
    assert_eq!((source.place, read), (Some(place(5, Some(97_500_060_000))), change));
}

#[test]
fn a_table_without_a_key_has_none() {
    let mut both = Both::new(&shop());
    let insert = Change::Insert { relation: both.relation("log"), new: tuple(&[Some("a")]) };
    let relation = both.relation("notes");
    let old = tuple(&[Some("a"), None]);
    let new = tuple(&[Some("b"), None]);
    let before = Before::Full(old.clone());
    let update = Change::Update { relation: relation.clone(), before: before.clone(), new };
    let delete = Change::Delete { relation, before };
    for change in [insert, update, delete] {
        let records = both.encode(&place(0, None), &change);
        assert!(records.len() == 1 && records[0].key.is_none(), "{records:?}");
        both.assert_round_trip(&place(0, None), &change);
    }
}

#[test]
fn what_says_no_row_is_refused() {
    let mut both = Both::new(&shop());
    let relation = both.relation("customers");
    let delete = Change::Delete { relation: relation.clone(), before: Before::Absent };
    let error = both.encoder.change(&place(0, None), &delete, NOW).unwrap_err();
    assert!(matches!(&error, EncodeError::NoOldRow { table } if table.name == "customers"));
    let new = [Cell::Unchanged, Cell::Null, Cell::Null, Cell::Null].into();
    let update = Change::Update { relation, before: Before::Absent, new };
    let error = both.encoder.change(&place(0, None), &update, NOW).unwrap_err();
    assert!(matches!(&error, EncodeError::KeyNotSent { column, .. } if column == "id"));
    assert!(error.to_string().contains("ALTER TABLE \"public\".\"customers\" REPLICA IDENTITY"));
}

#[test]
fn an_unchanged_key_column_is_that_of_the_old_row() {
    let mut both = Both::new(&shop());
    let relation = both.relation("stock");
    let before = Before::Key(tuple(&[Some("A1"), Some("3"), None]));
    let new = [Cell::Unchanged, text("3"), text("5")].into();
    let change = Change::Update { relation, before, new };
    let records = both.encode(&place(0, None), &change);
    assert_eq!(records.len(), 1, "the key is the same");
    assert_eq!(json(&records[0].key), json!({"shelf": "A1", "box": 3}));
    both.assert_round_trip(&place(0, None), &change);
}

#[test]
fn values_by_type() {
    for (oid, written, expected) in [
        (16, "t", json!(true)),
        (20, "9223372036854775807", json!(9_223_372_036_854_775_807_i64)),
        (26, "4294967295", json!(4_294_967_295_u32)),
        (701, "1e+300", json!(1e300)),
        (701, "NaN", json!("NaN")),
        (700, "-Infinity", json!("-Infinity")),
        (1700, "12.50", json!("12.50")),
        (17, "\\x00ff", json!("AP8=")),
        (1082, "2024-03-04", json!("2024-03-04Z")),
        (1082, "21016-11-04", json!("+21016-11-04Z")),
        (1082, "0044-03-15 BC", json!("0044-03-15 BC")),
        (1082, "infinity", json!("infinity")),
        (1083, "05:06:07.12", json!("05:06:07.12Z")),
        (1083, "24:00:00", json!("24:00:00")),
        (1266, "05:06:07+05:30", json!("05:06:07+05:30")),
        (1266, "05:06:07+00", json!("05:06:07Z")),
        (1266, "05:06:07-08", json!("05:06:07-08:00")),
        (1114, "2024-03-04 05:06:07.12", json!("2024-03-04T05:06:07.12Z")),
        (1184, "2024-03-04 05:06:07+00", json!("2024-03-04T05:06:07Z")),
        (1184, "-infinity", json!("-infinity")),
        (1186, "P1Y2M3DT4H5M6.7S", json!("P1Y2M3DT4H5M6.7S")),
        (3802, "{\"a\": 1}", json!("{\"a\": 1}")),
        (
            2950,
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ),
        (MOOD, "happy", json!("happy")),
        (HSTORE, "\"a\"=>\"1\"", json!("\"a\"=>\"1\"")),
        (1560, "101", json!("101")),
        (1007, "{1,NULL,-3}", json!([1, null, -3])),
        (1009, "{a,\"b c\",\"NULL\"}", json!(["a", "b c", "NULL"])),
        (1182, "{2024-03-04,infinity}", json!(["2024-03-04Z", "infinity"])),
        (1001, "{\"\\\\x00ff\"}", json!(["AP8="])),
        (1007, "{{1,2},{3,4}}", json!("{{1,2},{3,4}}")),
        (1007, "[0:1]={1,2}", json!("[0:1]={1,2}")),
        (25, UNAVAILABLE_VALUE, json!({"bytes": "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="})),
        (23, "no number", json!("no number")),
    ] {
        let catalog = catalog(vec![table("t", 1, &[("v", oid, -1)])]);
        let mut both = Both::new(&catalog);
        let change = Change::Insert { relation: both.relation("t"), new: tuple(&[Some(written)]) };
        let records = both.encode(&place(0, None), &change);
        assert_eq!(json(&records[0].value)["after"]["v"], expected, "{oid} {written}");
        assert_eq!(json(&records[0].key), json!({"v": expected}));
    }
    let not_utf8 = Cell::Text(bytes::Bytes::from_static(b"a\xFF"));
    let mut both = Both::new(&shop());
    let change = Change::Insert { relation: both.relation("log"), new: [not_utf8].into() };
    let records = both.encode(&place(0, None), &change);
    assert_eq!(json(&records[0].value)["after"], json!({"line": {"bytes": "Yf8="}}));
    both.assert_round_trip(&place(0, None), &change);
}

#[test]
fn the_schema_refuses_what_is_no_record() {
    let mut both = Both::new(&shop());
    let change = Change::Insert { relation: both.relation("customers"), new: tuple(&ANN) };
    let good = json(&both.encode(&place(5, Some(9)), &change)[0].value);
    assert!(is_valid_event(&good));
    let spoil: [fn(&mut Value); 9] = [
        |event| event["op"] = json!("x"),
        |event| event["after"] = Value::Null,
        |event| event["before"] = json!({"id": 7}),
        |event| event["after"]["id"] = json!({"deep": [1]}),
        |event| event["source"]["commit_lsn"] = json!("16/0"),
        |event| drop(event["source"].as_object_mut().unwrap().remove("end_lsn")),
        |event| drop(event["source"].as_object_mut().unwrap().remove("event_index")),
        |event| event["source"]["snapshot"] = json!("true"),
        |event| event["more"] = json!(1),
    ];
    for (index, spoil) in spoil.iter().enumerate() {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert!(!is_valid_event(&bad), "{index}: {bad}");
    }
}
