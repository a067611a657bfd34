//! Rows without their envelopes: what `ExtractNewRecordState` leaves.

use bytes::Bytes;
use serde_json::{Value, json};
use wal2graph::catalog::{Catalog, TableName};
use wal2graph::change::{Before, Cell, Change, Timestamp};
use wal2graph::envelope::{DecodeOptions, Decoded, Decoder, NoRows, Source, table_of_topic};
use wal2graph::lsn::Lsn;

use super::support::{catalog, decode_one, full, record, shop, table, text, tuple};

fn rows_of(catalog: &Catalog, name: &str) -> Decoder {
    let table = catalog.table(&TableName::new("public", name)).unwrap();
    Decoder::new(catalog, DecodeOptions::default()).of_rows("topic", table).unwrap()
}

fn customers() -> Decoder {
    rows_of(&shop(), "customers")
}

fn change(decoder: &mut Decoder, key: Value, value: Option<Value>) -> (Source, Change) {
    match decode_one(decoder, &record(Some(key), value)).unwrap() {
        Decoded::Change { source, change } => (source, change),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_row_is_there_and_what_the_transform_added_is_no_column() {
    let mut decoder = customers();
    let row = json!({"id": 7, "name": "Ann", "photo": "AP8=", "balance": "BNI=", "__deleted": "false",
                     "__op": "c", "__source_lsn": 24_023_128, "__source_ts_ms": 1_700_000_000_123_u64});
    let (source, change) = change(&mut decoder, json!({"id": 7}), Some(row));
    let Change::Insert { new, .. } = change else { panic!("{change:?}") };
    assert_eq!(new, tuple(&[Some("7"), Some("Ann"), Some("\\x00ff"), Some("12.34")]));
    let at = Some(Timestamp { unix_micros: 1_700_000_000_123_000 });
    assert_eq!(source, Source { lsn: Some(Lsn(24_023_128)), at, ..Source::default() });
    assert_eq!(decoder.take_unknown_columns(), []);
}

#[test]
fn nothing_is_known_of_the_source_where_nothing_was_added() {
    let row = json!({"id": 7, "name": null, "photo": null, "balance": null});
    let (source, change) = change(&mut customers(), json!({"id": 7}), Some(row));
    assert!(matches!(change, Change::Insert { .. }), "{change:?}");
    assert_eq!(source, Source::default());
}

#[test]
fn what_was_not_sent_stays_as_it_is() {
    let row =
        json!({"id": 7, "name": "__debezium_unavailable_value", "photo": null, "balance": null});
    let (_, said) = change(&mut customers(), json!({"id": 7}), Some(row));
    let Change::Update { before, new, .. } = said else { panic!("{said:?}") };
    assert_eq!((before, &new[1]), (Before::Absent, &Cell::Unchanged));
    let (_, said) =
        change(&mut customers(), json!({"id": 7}), Some(json!({"name": "Ann", "__op": "u"})));
    let Change::Update { new, .. } = said else { panic!("{said:?}") };
    assert_eq!(
        new[..3],
        [text("7"), text("Ann"), Cell::Unchanged],
        "the key's columns are the key's"
    );
}

#[test]
fn a_tombstone_and_a_row_that_is_marked_so_are_deletes() {
    let rewritten =
        json!({"id": 7, "name": null, "photo": null, "balance": null, "__deleted": "true"});
    let block =
        |payload: Value| json!({"schema": {"type": "struct", "fields": []}, "payload": payload});
    for value in [
        None,
        Some(rewritten.clone()),
        Some(block(rewritten)),
        Some(json!({"schema": null, "payload": null})),
    ] {
        let (_, said) = change(&mut customers(), json!({"id": 7}), value.clone());
        let Change::Delete { before, .. } = said else { panic!("{value:?}: {said:?}") };
        assert_eq!(before, Before::Key(tuple(&[Some("7"), None, None, None])), "{value:?}");
    }
    let (_, said) = change(&mut rows_of(&shop(), "customers_full"), json!({"id": 7}), None);
    let Change::Delete { before: Before::Full(old), .. } = said else { panic!("{said:?}") };
    assert_eq!(old[..2], [text("7"), Cell::Unchanged]);
}

#[test]
fn a_row_is_deleted_where_its_operation_or_its_mark_says_so_and_other_marks_are_unreadable() {
    let read = |added: &[(&str, Value)]| {
        let mut row = json!({"id": 7, "name": "Ann", "photo": null, "balance": null});
        added.iter().for_each(|(name, value)| row[*name] = value.clone());
        let record = record(Some(json!({"id": 7})), Some(row));
        match decode_one(&mut customers(), &record) {
            Ok(Decoded::Change { change, .. }) => Ok(matches!(change, Change::Delete { .. })),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    };
    let (op, mark) = (|it: &str| ("__op", json!(it)), |it: Value| ("__deleted", it));
    for deleted in [
        vec![op("d")],
        vec![op("d"), mark(json!("true"))],
        vec![op("d"), mark(Value::Null)],
        vec![mark(json!("true"))],
        vec![mark(json!(true))],
    ] {
        assert_eq!(read(&deleted), Ok(true), "{deleted:?}");
    }
    for there in [
        vec![op("u")],
        vec![op("r"), mark(json!("false"))],
        vec![mark(json!(false))],
        vec![mark(Value::Null)],
    ] {
        assert_eq!(read(&there), Ok(false), "{there:?}");
    }
    for (unreadable, said) in [
        (vec![mark(json!("TRUE"))], "$.__deleted: it is neither true nor false"),
        (vec![mark(json!("maybe"))], "$.__deleted: it is neither true nor false"),
        (vec![mark(json!(1))], "$.__deleted: it is neither true nor false"),
        (vec![op("d"), mark(json!("false"))], "$.__deleted: it contradicts __op"),
        (vec![op("u"), mark(json!("true"))], "$.__deleted: it contradicts __op"),
        (vec![op("D")], "$.__op: it is none of"),
    ] {
        let error = read(&unreadable).unwrap_err();
        assert!(error.contains(said), "{unreadable:?}: {error}");
    }
}

#[test]
fn schema_blocks_say_how_values_are_written() {
    let shop = catalog(vec![table("visits", 1, &[("id", 20, -1), ("after", 1114, -1)])]);
    let schema = json!({"type": "struct", "optional": false, "fields": [
        {"field": "id", "type": "int64", "optional": false},
        {"field": "after", "type": "int64", "optional": true, "name": "io.debezium.time.NanoTimestamp"},
    ]});
    let row = json!({"id": 7, "after": 1_700_000_000_123_456_000_u64});
    let key = json!({"schema": {"type": "struct", "fields": [{"field": "id", "type": "int64"}]},
                     "payload": {"id": 7}});
    let value = Some(json!({"schema": schema, "payload": row}));
    let (_, said) = change(&mut rows_of(&shop, "visits"), key, value);
    let Change::Insert { new, .. } = said else { panic!("{said:?}") };
    assert_eq!(new, tuple(&[Some("7"), Some("2023-11-14 22:13:20.123456")]));
}

#[test]
fn columns_may_be_called_what_envelopes_and_blocks_and_the_transform_call_theirs() {
    let names = ["id", "op", "source", "schema", "payload", "__deleted", "__op"];
    let columns: Vec<(&str, u32, i32)> = names.iter().map(|name| (*name, 25, -1)).collect();
    let shop = catalog(vec![
        table("odd", 1, &columns),
        table("pair", 1, &[("payload", 25, -1), ("schema", 25, -1)]),
    ]);
    let row = json!({"id": "7", "op": "d", "source": "{}", "schema": "s", "payload": "p",
                     "__deleted": "true", "__op": "u"});
    let (_, said) = change(&mut rows_of(&shop, "odd"), json!({"id": "7"}), Some(row));
    let Change::Insert { new, .. } = said else { panic!("{said:?}") };
    let texts = ["7", "d", "{}", "s", "p", "true", "u"].map(Some);
    assert_eq!(new, tuple(&texts));
    let row = json!({"schema": "s", "payload": "p"});
    let (_, said) = change(&mut rows_of(&shop, "pair"), json!({"payload": "p"}), Some(row));
    let Change::Insert { new, .. } = said else { panic!("{said:?}") };
    assert_eq!(new, tuple(&[Some("p"), Some("s")]));
}

#[test]
fn added_fields_may_be_headers() {
    for (op, lsn) in [
        ("u", "24"),
        ("\"u\"", "24"),
        ("{\"schema\":{\"type\":\"string\"},\"payload\":\"u\"}", "24"),
    ] {
        let row = json!({"id": 7, "name": null, "photo": null, "balance": null});
        let mut record = record(Some(json!({"id": 7})), Some(row));
        let header =
            |name: &str, value: &str| (name.to_owned(), Bytes::copy_from_slice(value.as_bytes()));
        record.headers = vec![header("__op", op), header("__lsn", lsn)];
        match decode_one(&mut customers(), &record).unwrap() {
            Decoded::Change { source, change: Change::Update { .. } } => {
                assert_eq!(source.lsn, Some(Lsn(24)), "{op}");
            }
            other => panic!("{op}: {other:?}"),
        }
    }
}

#[test]
fn what_can_not_be_applied_says_why_and_leaves_the_decoder_as_it_was() {
    let mut decoder = customers();
    let row = || Some(json!({"id": 7, "name": "Ann"}));
    let envelope =
        json!({"before": null, "after": {"id": 7}, "op": "c", "source": {"table": "customers"}});
    for (key, value, said) in [
        (None, row(), "told apart by it"),
        (Some(json!(7)), row(), "an object of the key's columns"),
        (Some(json!({"name": "Ann"})), row(), "message.key.columns to public.customers:id"),
        (Some(json!({"id": null})), None, "no value of column \"id\""),
        (Some(json!({"id": 7})), Some(envelope), "it is an envelope"),
        (Some(json!({"id": 7})), Some(json!([7])), "an object expected"),
        (Some(json!({"id": 7})), Some(json!({"id": {"a": 1}})), "$.id"),
    ] {
        let record = record(key, value);
        let error = decode_one(&mut decoder, &record).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    change(&mut decoder, json!({"id": 7}), row());
}

#[test]
fn a_row_without_an_envelope_is_none_where_nobody_says_so_and_the_error_names_the_key() {
    let mut decoder = Decoder::new(&shop(), DecodeOptions::default());
    let error = decode_one(&mut decoder, &record(Some(json!({"id": 7})), Some(json!({"id": 7}))));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("kafka.debezium.records: rows"), "{error}");
}

#[test]
fn a_topic_is_of_the_table_that_it_is_named_after() {
    let mut shop = shop();
    shop.tables.push(full(table("Größe", 1, &[("id", 23, -1)])));
    let mut dotted = table("b", 1, &[("id", 23, -1)]);
    dotted.name = TableName::new("x.public", "stock");
    shop.tables.push(dotted);
    let of = |topic: &str, named: Option<&TableName>| {
        table_of_topic(&shop, topic, named).map(|table| table.name.to_string())
    };
    assert_eq!(of("shop.public.customers", None).unwrap(), "public.customers");
    assert_eq!(of("eu.shop.public.customers", None).unwrap(), "public.customers");
    assert_eq!(of("shop.public.Gr__e", None).unwrap(), "public.Größe");
    let stock = TableName::new("public", "stock");
    assert_eq!(of("orders-v2", Some(&stock)).unwrap(), "public.stock");
    assert_eq!(of("p.x.public.stock", Some(&stock)).unwrap(), "public.stock");
    assert!(matches!(of("p.x.public.stock", None), Err(NoRows::SeveralTables { .. })));
    for topic in ["orders-v2", "public.customers", "shop.public.gone", "shopxpublic.customers"] {
        assert!(matches!(of(topic, None), Err(NoRows::NoTable { .. })), "{topic}");
    }
    let gone = TableName::new("public", "gone");
    assert!(matches!(of("orders-v2", Some(&gone)), Err(NoRows::Missing { .. })));
}

#[test]
fn a_table_without_a_key_has_no_rows_to_tell_apart() {
    let shop = shop();
    let log = shop.table(&TableName::new("public", "log")).unwrap();
    let refused = Decoder::new(&shop, DecodeOptions::default()).of_rows("t", log).unwrap_err();
    assert!(refused.to_string().contains("public.log: rows without envelopes"), "{refused}");
}
