//! Keys in the records of others: one row in key and value, and values that their columns can have.

use serde_json::{Value, json};
use wal2graph::catalog::{Catalog, FoundBy, TableName};
use wal2graph::change::{Cell, Change};
use wal2graph::envelope::{
    DecimalHandling, DecodeOptions, Decoded, Decoder, Expected, TimePrecision,
};

use super::support::{CITEXT, MOOD, catalog, decode_one, full, record, shop, table, text};

/// Reads rows of a table, with envelopes or without, for a graph that finds them so.
fn decoders(catalog: &Catalog, name: &str, key: &[&str], references: &[&str]) -> [Decoder; 2] {
    let owned = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
    let found_by = FoundBy { key: owned(key), references: owned(references) };
    let name = TableName::new("public", name);
    let options = DecodeOptions {
        decimal_handling: DecimalHandling::String,
        time_precision: TimePrecision::Isostring,
        ..DecodeOptions::default()
    };
    let decoder = Decoder::new(catalog, options).with_keys(&[(name.clone(), found_by)]);
    let rows = decoder.clone().of_rows("topic", catalog.table(&name).unwrap()).unwrap();
    [decoder, rows]
}

fn envelope(op: &str, table: &str, before: Value, after: Value) -> Value {
    json!({
        "before": before, "after": after, "op": op, "ts_ms": 1,
        "source": {"connector": "postgresql", "db": "shop_db", "schema": "public", "table": table,
                   "txId": 1, "lsn": 9, "snapshot": "false"},
    })
}

/// The row that both readings make of a key and a row, or why there is none.
fn both(
    decoders: &mut [Decoder; 2],
    table: &str,
    key: Value,
    row: Value,
) -> Result<Vec<Cell>, String> {
    let [enveloped, alone] = decoders;
    let read = |decoder: &mut Decoder, value: Value| match decode_one(
        decoder,
        &record(Some(key.clone()), Some(value)),
    ) {
        Ok(Decoded::Change {
            change: Change::Insert { new, .. } | Change::Update { new, .. },
            ..
        }) => Ok(new.to_vec()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    };
    let created = read(enveloped, envelope("c", table, Value::Null, row.clone()));
    let updated = read(enveloped, envelope("u", table, Value::Null, row.clone()));
    assert_eq!(created, updated);
    let alone = read(alone, row);
    assert_eq!(created.is_ok(), alone.is_ok(), "{created:?} {alone:?}");
    alone
}

#[test]
fn a_record_whose_key_names_another_row_than_its_value_is_unreadable() {
    let mut customers = decoders(&shop(), "customers", &["id"], &[]);
    let row = |id: Value| json!({"id": id, "name": "Ann", "photo": null, "balance": null});
    for (key, value) in [(json!(3), json!(4)), (json!(3), json!("4")), (json!(3), Value::Null)] {
        let said = both(&mut customers, "customers", json!({"id": key}), row(value)).unwrap_err();
        assert!(said.contains("key at $.id: the row has another value"), "{said}");
    }
    for same in [json!(3), json!("3"), json!(3.0)] {
        let read = both(&mut customers, "customers", json!({"id": 3}), row(same)).unwrap();
        assert_eq!(read[0], text("3"));
    }
}

#[test]
fn key_and_value_of_a_delete_are_of_one_row_too() {
    let [mut enveloped, mut alone] = decoders(&shop(), "customers", &["id"], &[]);
    let before = |id: u32| json!({"id": id, "name": null, "photo": null, "balance": null});
    let mut said = |key: u32, id: u32| {
        let enveloped_value = envelope("d", "customers", before(id), Value::Null);
        let key = Some(json!({"id": key}));
        let mut row = before(id);
        row["__deleted"] = json!("true");
        let one = decode_one(&mut enveloped, &record(key.clone(), Some(enveloped_value))).is_ok();
        let other = decode_one(&mut alone, &record(key, Some(row))).is_ok();
        (one, other)
    };
    assert_eq!((said(7, 7), said(7, 8)), ((true, true), (false, false)));
}

/// What keys the topic, `message.key.columns` says: what it leaves out can not disagree.
#[test]
fn a_key_of_other_columns_names_those_and_no_row_where_it_has_none_of_the_table() {
    let [mut decoder, _] = decoders(&shop(), "stock", &["shelf", "box"], &[]);
    let row = json!({"shelf": "A", "box": 3, "count": 9});
    let mut is_read = |key: Option<Value>| {
        let value = envelope("c", "stock", Value::Null, row.clone());
        decode_one(&mut decoder, &record(key, Some(value))).is_ok()
    };
    for key in [
        None,
        Some(json!({"count": 9})),
        Some(json!({"shelf": "A"})),
        Some(json!({"__dbz__physicalTableIdentifier": "t", "box": 3})),
        Some(json!("Struct{shelf=A,box=3}")),
        Some(json!({"shelf": "__debezium_unavailable_value", "box": 3})),
        Some(json!({"schema": null, "payload": {"shelf": "A"}})),
    ] {
        assert!(is_read(key.clone()), "{key:?}");
    }
    for key in [json!({"count": 8}), json!({"shelf": "B"}), json!({"shelf": {"a": 1}})] {
        assert!(!is_read(Some(key.clone())), "{key}");
    }
    assert_eq!(decoder.take_unknown_columns(), [], "a key has no columns to be told of");
}

/// Records of one row were in two partitions, and the older one could win.
#[test]
fn in_several_partitions_a_record_has_a_key_that_is_the_rows() {
    let catalog = shop();
    let [decoder, _] = decoders(&catalog, "customers", &["id"], &[]);
    let expected = Expected { is_spread: true, ..Expected::default() };
    let mut spread = decoder.clone().expecting(expected);
    let mut one = decoder;
    let value = envelope("c", "customers", Value::Null, json!({"id": 7, "name": "Ann"}));
    let well =
        [json!({"id": 7}), json!({"id": 7, "__dbz__physicalTableIdentifier": "shop.customers"})];
    let ill =
        [json!({"name": "Ann"}), json!({"id": 7, "name": "Ann"}), json!({"other": 1}), json!(7)];
    for key in well.iter().chain(&ill) {
        let record = record(Some(key.clone()), Some(value.clone()));
        assert!(decode_one(&mut one, &record).is_ok(), "{key}");
        let spread = decode_one(&mut spread, &record);
        match well.contains(key) {
            true => assert!(spread.is_ok(), "{key}: {spread:?}"),
            false => assert!(spread.unwrap_err().problem.contains("several partitions"), "{key}"),
        }
    }
    assert!(decode_one(&mut spread, &record(None, Some(value))).is_err());
}

#[test]
fn a_key_and_a_row_compare_as_their_columns_do() {
    let columns = [("n", 1700, -1), ("c", CITEXT, -1), ("u", 2950, -1), ("at", 1184, -1)];
    let catalog = catalog(vec![table("t", 4, &columns)]);
    let mut decoders = decoders(&catalog, "t", &["n", "c", "u", "at"], &[]);
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let row = json!({"n": "1.50", "c": "Foo", "u": uuid, "at": "2024-03-04T05:06:07Z"});
    let key =
        json!({"n": "1.5", "c": "fOO", "u": uuid.to_uppercase(), "at": "2024-03-04T05:06:07.000Z"});
    let read = both(&mut decoders, "t", key, row.clone()).unwrap();
    assert_eq!(read[2], text(uuid));
    let other = json!({"n": "1.51", "c": "Foo", "u": uuid, "at": "2024-03-04T05:06:07Z"});
    assert!(both(&mut decoders, "t", other, row).unwrap_err().contains("$.n"));
}

#[test]
fn a_key_that_its_column_can_not_have_is_unreadable_and_a_property_is_not() {
    const CASES: &[(u32, &str, &[&str], &[&str])] = &[
        (
            23,
            "integer",
            &["1", "2147483647", "3.0", "\"7\"", "1e3"],
            &["2147483648", "3.5", "\"x\"", "1e99"],
        ),
        (21, "smallint", &["-32768"], &["32768"]),
        (20, "bigint", &["9223372036854775807"], &["9223372036854775808"]),
        (26, "oid", &["4294967295"], &["-1"]),
        (1700, "numeric", &["1.50", "\"NaN\""], &["\"x\""]),
        (16, "boolean", &["true"], &["\"yes\""]),
        (2950, "uuid", &["\"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11\""], &["\"a0ee\"", "7"]),
        (
            1082,
            "date",
            &["\"2024-03-04Z\"", "\"infinity\"", "19786"],
            &["\"soon\"", "\"2024-02-30Z\""],
        ),
        (1114, "timestamp", &["\"2024-03-04T05:06:07.12Z\""], &["\"2024-03-04\""]),
        (1184, "timestamptz", &["\"2024-03-04T05:06:07.12Z\""], &["\"now\""]),
        (1083, "time", &["\"05:06:07Z\"", "\"24:00:00\""], &["\"noon\""]),
        (1186, "interval", &["\"P1Y2M3DT4H5M6.7S\""], &["\"long\""]),
        (869, "inet", &["\"10.1.2.3\""], &["\"10.1\""]),
        (25, "text", &["\"anything\"", "7"], &[]),
    ];
    for (oid, name, has, lacks) in CASES {
        let catalog = catalog(vec![table("t", 1, &[("k", *oid, -1), ("v", *oid, -1)])]);
        let json = |text: &&str| serde_json::from_str::<Value>(text).unwrap();
        for as_reference in [false, true] {
            let references: &[&str] = if as_reference { &["v"] } else { &[] };
            let mut decoders = decoders(&catalog, "t", &["k"], references);
            for value in has.iter().map(json) {
                let row = json!({"k": value, "v": value});
                let read = both(&mut decoders, "t", json!({"k": value}), row);
                assert!(read.is_ok(), "{name} has {value}: {read:?}");
            }
            for value in lacks.iter().map(json) {
                let row = json!({"k": value, "v": null});
                let said = both(&mut decoders, "t", json!({"k": value}), row).unwrap_err();
                let is_of_kind =
                    said.contains("it is no value of type") || said.contains("as JSON");
                assert!(is_of_kind && said.contains("$.k"), "{name} has no {value}: {said}");
                let good = json(&has[0]);
                let row = json!({"k": good, "v": value});
                let read = both(&mut decoders, "t", json!({"k": good}), row);
                assert_eq!(read.is_ok(), !as_reference, "{name}, {value}: {read:?}");
            }
        }
    }
}

/// What somebody else wrote is what PostgreSQL's column would have made of it, or no row's key.
#[test]
fn a_key_has_the_form_that_its_column_gives_it_or_is_unreadable_where_postgresql_refuses_it() {
    let numeric_6_2 = ((6 << 16) | 2) + 4;
    const REFUSED: Option<&str> = None;
    let cases: [(u32, i32, Value, Option<&str>); 15] = [
        (1700, numeric_6_2, json!("1.005"), Some("1.01")),
        (1700, numeric_6_2, json!("1.5"), Some("1.50")),
        (1700, numeric_6_2, json!(7), Some("7.00")),
        (1700, numeric_6_2, json!("1234567"), REFUSED),
        (1042, 9, json!("ab"), Some("ab   ")),
        (1042, 9, json!("ab        "), Some("ab   ")),
        (1042, 9, json!("abcdef"), REFUSED),
        (1043, 7, json!("abc  "), Some("abc")),
        (1043, 7, json!("abcd"), REFUSED),
        (25, -1, json!("a\u{0}b"), REFUSED),
        (MOOD, -1, json!("happy"), Some("happy")),
        (MOOD, -1, json!("glum"), REFUSED),
        (1114, 0, json!("2024-03-04T05:06:07.5Z"), Some("2024-03-04 05:06:08")),
        (1114, -1, json!("0000-01-01Z"), REFUSED),
        (1184, -1, json!("2024-03-04T05:06:07+05:30"), Some("2024-03-03 23:36:07+00")),
    ];
    for (oid, modifier, value, expected) in cases {
        let columns = [("k", oid, modifier), ("ref", oid, modifier), ("v", oid, modifier)];
        let catalog = catalog(vec![table("t", 1, &columns)]);
        let mut decoders = decoders(&catalog, "t", &["k"], &["ref"]);
        let row = json!({"k": value, "ref": value, "v": value});
        let read = both(&mut decoders, "t", json!({"k": value}), row);
        match expected {
            Some(expected) => {
                let read = read.unwrap();
                assert_eq!(read[..2], [text(expected), text(expected)], "{value} in {oid}");
            }
            None => assert!(read.unwrap_err().contains("it is no value of type"), "{value}"),
        }
    }
}

#[test]
fn deletes_and_tombstones_of_keys_that_no_row_has_are_unreadable() {
    let catalog = catalog(vec![full(table("f", 1, &[("id", 23, -1), ("n", 25, -1)]))]);
    let [mut enveloped, mut alone] = decoders(&catalog, "f", &["id"], &[]);
    for (key, is_read) in [(json!({"id": 3.0}), true), (json!({"id": "x"}), false)] {
        let value = envelope("d", "f", key.clone(), Value::Null);
        let value = decode_one(&mut enveloped, &record(Some(key.clone()), Some(value)));
        let tombstone = decode_one(&mut alone, &record(Some(key.clone()), None));
        assert_eq!((value.is_ok(), tombstone.is_ok()), (is_read, is_read), "{key}");
    }
    for row in [json!({"id": null, "n": "a"}), json!({"n": "a"})] {
        let value = envelope("c", "f", Value::Null, row);
        let said = decode_one(&mut enveloped, &record(None, Some(value))).unwrap_err().to_string();
        assert!(said.contains("$.after.id") && said.contains("the row is found by it"), "{said}");
    }
}

/// A column that is NOT NULL has something in the row before, though PostgreSQL sends the key alone.
#[test]
fn what_a_writer_fills_in_for_the_row_before_is_no_key() {
    let catalog = catalog(vec![table("t", 1, &[("id", 23, -1), ("owner", 2950, -1)])]);
    let [mut decoder, _] = decoders(&catalog, "t", &["id"], &["owner"]);
    let before = json!({"id": 3, "owner": ""});
    let value = envelope("d", "t", before, Value::Null);
    decode_one(&mut decoder, &record(Some(json!({"id": 3})), Some(value))).unwrap();
}

#[test]
fn an_integer_that_json_writes_with_a_point_is_that_integer() {
    let [mut decoder, _] = decoders(&shop(), "stock", &["shelf", "box"], &[]);
    for (written, expected) in
        [("9.0", "9"), ("9.00e0", "9"), ("1e3", "1000"), ("9.5", "9.5"), ("-0.0", "-0")]
    {
        let count: Value = serde_json::from_str(written).unwrap();
        let value =
            envelope("c", "stock", Value::Null, json!({"shelf": "A", "box": 3, "count": 1}));
        // serde_json would write the number in its own way.
        let value = value.to_string().replace("\"count\":1", &format!("\"count\":{written}"));
        let mut record = record(None, None);
        record.value = Some(value.into());
        let Ok(Decoded::Change { change: Change::Insert { new, .. }, .. }) =
            decode_one(&mut decoder, &record)
        else {
            panic!("{written}")
        };
        assert_eq!(new[2], text(expected), "{count}");
    }
}
