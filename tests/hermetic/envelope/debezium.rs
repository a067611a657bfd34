//! Debezium's own records: every op, every mode, with and without a schema block. Its documentation
//! and its converter describe the forms; the values are ours.

use serde_json::{Value, json};
use wal2graph::change::{Before, Cell, Change, Timestamp};
use wal2graph::envelope::{
    BinaryHandling, DecimalHandling, DecodeOptions, Decoded, Decoder, Expected, History, Record,
    Snapshot, TimePrecision,
};
use wal2graph::lsn::Lsn;

use super::support::*;

const DEFAULT: DecodeOptions = DecodeOptions {
    decimal_handling: DecimalHandling::Precise,
    time_precision: TimePrecision::Adaptive,
    binary_handling: BinaryHandling::Bytes,
};

fn decimals(decimal_handling: DecimalHandling) -> DecodeOptions {
    DecodeOptions { decimal_handling, ..DEFAULT }
}

fn times(time_precision: TimePrecision) -> DecodeOptions {
    DecodeOptions { time_precision, ..DEFAULT }
}

fn source(table: &str) -> Value {
    json!({
        "version": "3.1.0.Final",
        "connector": "postgresql",
        "name": "fulfillment",
        "ts_ms": 1_700_000_000_123_u64,
        "snapshot": "false",
        "db": "shop_db",
        "sequence": "[\"24023119\",\"24023128\"]",
        "ts_us": 1_700_000_000_123_456_u64,
        "ts_ns": 1_700_000_000_123_456_000_u64,
        "schema": "public",
        "table": table,
        "txId": 4_294_967_301_u64,
        "lsn": 24_023_128,
        "xmin": null,
    })
}

fn event(op: &str, table: &str, before: Value, after: Value) -> Value {
    json!({
        "before": before, "after": after, "source": source(table), "op": op,
        "ts_ms": 1_700_000_000_200_u64, "ts_us": 1, "ts_ns": 1, "transaction": null,
    })
}

fn decode(decoder: &mut Decoder, value: Value) -> Decoded {
    decode_one(decoder, &record(None, Some(value))).unwrap()
}

fn change(decoded: Decoded) -> Change {
    match decoded {
        Decoded::Change { change, .. } => change,
        other => panic!("{other:?}"),
    }
}

/// The value of a column under the options; `schema` is its field in a schema block.
fn read(
    column: (u32, i32),
    options: DecodeOptions,
    value: Value,
    schema: Option<Value>,
) -> Result<Cell, String> {
    let catalog = catalog(vec![table("t", 1, &[("v", column.0, column.1)])]);
    let mut decoder = Decoder::new(&catalog, options);
    let payload = event("c", "t", Value::Null, json!({"v": value}));
    let value = match schema {
        None => payload,
        Some(Value::Object(mut field)) => {
            field.insert("field".to_owned(), json!("v"));
            let row =
                json!({"type": "struct", "fields": [field], "optional": true, "field": "after"});
            json!({"schema": {"type": "struct", "fields": [row]}, "payload": payload})
        }
        Some(other) => panic!("{other}"),
    };
    let decoded = decode_one(&mut decoder, &record(None, Some(value)));
    match decoded.map(change) {
        Ok(Change::Insert { new, .. }) => Ok(new[0].clone()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

const NUMERIC: u32 = 1700;
/// numeric(12,2), and numeric(3,-2) of PostgreSQL 15.
const SCALE_2: i32 = ((12 << 16) | 2) + 4;
const SCALE_MINUS_2: i32 = ((3 << 16) | 0x7fe) + 4;

#[test]
fn every_op() {
    let mut decoder = Decoder::new(&shop(), decimals(DecimalHandling::String));
    let relation = |name| decoder.relation(&wal2graph::catalog::TableName::new("public", name));
    let (stock, full) =
        (relation("stock").unwrap().clone(), relation("customers_full").unwrap().clone());
    let row = json!({"shelf": "A", "box": 3, "count": 9});
    let new = tuple(&[Some("A"), Some("3"), Some("9")]);
    let Decoded::Change { source, change: insert } =
        decode(&mut decoder, event("c", "stock", Value::Null, row.clone()))
    else {
        panic!()
    };
    assert_eq!(insert, Change::Insert { relation: stock.clone(), new: new.clone() });
    assert_eq!((source.place, source.history), (None, None));
    // A transaction's id is modulo 2^32, as in the stream.
    assert_eq!((source.lsn, source.xid), (Some(Lsn(24_023_128)), Some(5)));
    assert_eq!(source.at, Some(Timestamp { unix_micros: 1_700_000_000_123_456 }));
    let update = change(decode(&mut decoder, event("u", "stock", Value::Null, row.clone())));
    let relation = stock.clone();
    assert_eq!(update, Change::Update { relation, before: Before::Absent, new: new.clone() });
    // Without FULL, only the identity of an old row counts: Debezium fills in the rest.
    let filled = json!({"shelf": "A", "box": 3, "count": 0});
    let delete = change(decode(&mut decoder, event("d", "stock", filled, Value::Null)));
    let before = Before::Key(tuple(&[Some("A"), Some("3"), None]));
    assert_eq!(delete, Change::Delete { relation: stock.clone(), before: before.clone() });
    let ann = json!({"id": 7, "name": "Ann", "photo": "Cv8=", "balance": "12.50"});
    let old = tuple(&[Some("7"), Some("Ann"), Some("\\x0aff"), Some("12.50")]);
    let delete = change(decode(&mut decoder, event("d", "customers_full", ann, Value::Null)));
    assert_eq!(delete, Change::Delete { relation: full, before: Before::Full(old) });
    let truncate = change(decode(&mut decoder, event("t", "stock", Value::Null, Value::Null)));
    assert_eq!(truncate, Change::Truncate { relations: vec![stock.clone()] });
    let message = decode(
        &mut decoder,
        json!({
            "op": "m", "ts_ms": 1, "source": source_of_message(),
            "message": {"prefix": "p", "content": "Zm9v"},
        }),
    );
    assert!(matches!(message, Decoded::Message { source } if source.lsn == Some(Lsn(9))));
    for (word, expected) in [
        (json!("first"), Snapshot::First),
        (json!("first_in_data_collection"), Snapshot::Inside),
        (json!("true"), Snapshot::Inside),
        (json!(true), Snapshot::Inside),
        (json!("incremental"), Snapshot::Inside),
        (json!("last"), Snapshot::Last),
    ] {
        let mut value = event("r", "stock", Value::Null, row.clone());
        value["source"]["snapshot"] = word;
        let Decoded::Read { snapshot, relation, row, source } = decode(&mut decoder, value) else {
            panic!()
        };
        assert_eq!((snapshot, relation, row), (expected, stock.clone(), new.clone()));
        assert_eq!(source.place, None);
    }
    let key = json!({"serverName": "fulfillment"});
    let heartbeat = record(Some(key), Some(json!({"ts_ms": 1_700_000_000_200_u64})));
    let heartbeat = decode_one(&mut decoder, &heartbeat).unwrap();
    let at = Timestamp { unix_micros: 1_700_000_000_200_000 };
    assert_eq!(heartbeat, Decoded::Heartbeat { end_lsn: None, history: None, at });
    let marker = json!({"status": "BEGIN", "id": "5:1", "event_count": null, "ts_ms": 1});
    assert_eq!(decode(&mut decoder, marker), Decoded::Transaction);
    let tombstone = decode_one(&mut decoder, &record(Some(json!({"id": 7})), None)).unwrap();
    assert_eq!(tombstone, Decoded::Tombstone);
    let empty = decode(&mut decoder, json!({"schema": null, "payload": null}));
    assert_eq!(empty, Decoded::Tombstone);
}

fn source_of_message() -> Value {
    json!({"schema": "", "table": "", "lsn": 9, "txId": 3, "snapshot": "false"})
}

#[test]
fn a_delete_without_an_old_row_is_that_of_its_key() {
    let mut decoder = Decoder::new(&shop(), DEFAULT);
    let value = event("d", "stock", Value::Null, Value::Null);
    let expected = Before::Key(tuple(&[Some("A"), Some("3"), None]));
    let key = json!({"shelf": "A", "box": 3});
    let schema = json!({"type": "struct", "fields": [
        {"type": "string", "field": "shelf"}, {"type": "int16", "field": "box"},
    ]});
    for key in [key.clone(), json!({"schema": schema, "payload": key})] {
        let decoded = decode_one(&mut decoder, &record(Some(key), Some(value.clone()))).unwrap();
        let Change::Delete { before, .. } = change(decoded) else { panic!() };
        assert_eq!(before, expected);
    }
    let error = decode_one(&mut decoder, &record(None, Some(value))).unwrap_err();
    assert_eq!((error.part, error.path.as_str()), ("value", "$.before"));
}

#[test]
fn columns_may_be_missing_or_unknown() {
    let mut decoder = Decoder::new(&shop(), DEFAULT);
    let row = json!({"count": 9, "colour": "red", "shelf": "A"});
    for _ in 0..2 {
        let Change::Update { new, before, .. } =
            change(decode(&mut decoder, event("u", "stock", json!({"shelf": "A"}), row.clone())))
        else {
            panic!()
        };
        assert_eq!(*new, [text("A"), Cell::Unchanged, text("9")]);
        assert_eq!(before, Before::Key([text("A"), Cell::Unchanged, Cell::Null].into()));
    }
    let unknown = decoder.take_unknown_columns();
    let [column] = unknown.as_slice() else { panic!("{unknown:?}") };
    assert_eq!(
        (column.table.to_string(), column.column.as_str()),
        ("public.stock".to_owned(), "colour")
    );
    assert_eq!((column.records, decoder.take_unknown_columns()), (2, Vec::new()));
}

#[test]
fn a_table_that_the_catalog_lacks_is_foreign() {
    let mut decoder = Decoder::new(&shop(), DEFAULT);
    for (op, before, after) in [
        ("c", Value::Null, json!({"a": 1})),
        ("d", json!({"a": 1}), Value::Null),
        ("t", Value::Null, Value::Null),
    ] {
        let Decoded::Foreign { schema, table, source } =
            decode(&mut decoder, event(op, "elsewhere", before, after))
        else {
            panic!()
        };
        assert_eq!((schema.as_str(), table.as_str()), ("public", "elsewhere"));
        assert_eq!(source.lsn, Some(Lsn(24_023_128)));
    }
}

#[test]
fn decimal_numbers_in_every_mode() {
    use DecimalHandling::{Double, Precise, String};
    for (modifier, mode, value, expected) in [
        (SCALE_2, Precise, json!("BOI="), "12.50"),
        (SCALE_2, Precise, json!("+x4="), "-12.50"),
        (SCALE_2, Precise, json!("AA=="), "0.00"),
        (SCALE_2, Precise, json!("/w=="), "-0.01"),
        (SCALE_2, Precise, json!("gA=="), "-1.28"),
        (
            SCALE_2,
            Precise,
            json!("AP////////////////////8="),
            "3402823669209384634633746074317682114.55",
        ),
        (SCALE_MINUS_2, Precise, json!("DA=="), "1200"),
        (-1, Precise, json!({"scale": 3, "value": "BNI="}), "1.234"),
        (-1, Precise, json!({"scale": 0, "value": "Kg=="}), "42"),
        (SCALE_2, Double, json!(12.5), "12.5"),
        (SCALE_2, String, json!("12.50"), "12.50"),
        (SCALE_2, String, json!("NaN"), "NaN"),
    ] {
        let cell = read((NUMERIC, modifier), decimals(mode), value, None);
        assert_eq!(cell, Ok(text(expected)));
    }
    // A schema overrides the options.
    let decimal = |scale: &str| {
        json!({"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal",
            "parameters": {"scale": scale, "connect.decimal.precision": "12"}})
    };
    let cell = read((NUMERIC, -1), decimals(String), json!("BOI="), Some(decimal("3")));
    assert_eq!(cell, Ok(text("1.250")));
    let plain = json!({"type": "string"});
    assert_eq!(read((NUMERIC, SCALE_2), DEFAULT, json!("12.50"), Some(plain)), Ok(text("12.50")));
    let variable = json!({"type": "struct", "name": "io.debezium.data.VariableScaleDecimal"});
    let value = json!({"scale": 1, "value": "BOI="});
    assert_eq!(read((NUMERIC, -1), decimals(String), value, Some(variable)), Ok(text("125.0")));
    // If a mismatched mode can be seen, the error names it.
    for modifier in [-1, SCALE_2] {
        let error = read((NUMERIC, modifier), DEFAULT, json!("12.50"), None).unwrap_err();
        assert!(error.contains("$.after.v") && error.contains("decimal.handling.mode"), "{error}");
        assert!(!error.contains("12.50"), "{error}");
    }
}

#[test]
fn numbers_keep_all_their_digits() {
    for (oid, number, expected) in [
        (20, "9223372036854775807", "9223372036854775807"),
        (NUMERIC, "1.0E10", "10000000000"),
        (NUMERIC, "-1.25e-3", "-0.00125"),
        (NUMERIC, "0E5", "0"),
        (NUMERIC, "123456789012345678901234567890.10", "123456789012345678901234567890.10"),
        (701, "1.0E10", "1.0E10"),
        (25, "1.10", "1.10"),
    ] {
        let catalog = catalog(vec![table("t", 1, &[("v", oid, -1)])]);
        let mut decoder = Decoder::new(&catalog, DEFAULT);
        let mut record = record(None, Some(event("c", "t", Value::Null, json!({"v": "HERE"}))));
        let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        record.value = Some(value.replace("\"HERE\"", number).into());
        let Change::Insert { new, .. } = change(decode_one(&mut decoder, &record).unwrap()) else {
            panic!()
        };
        assert_eq!(new, tuple(&[Some(expected)]), "{number}");
    }
}

/// Hexadecimal digits are base64 of other bytes, and were read so.
#[test]
fn bytes_in_every_mode_and_digits_are_not_taken_for_base64() {
    use BinaryHandling::{Base64, Base64UrlSafe, Bytes, Hex};
    const LONG: &str = "00112233445566aabbccddee";
    let read = |mode, value: &str, block: Option<&str>| {
        let options = DecodeOptions { binary_handling: mode, ..DEFAULT };
        let schema = block.map(|it| json!({"type": it, "optional": true}));
        read((17, -1), options, json!(value), schema)
    };
    for block in [None, Some("string")] {
        for (mode, value, expected) in [
            (Bytes, "AP8=", "\\x00ff"),
            (Bytes, "00ff", "\\xd347df"),
            (Base64, "AP8=", "\\x00ff"),
            (Base64UrlSafe, "-_8=", "\\xfbff"),
            (Hex, "00ff", "\\x00ff"),
            (Hex, LONG, "\\x00112233445566aabbccddee"),
            (Hex, "", "\\x"),
        ] {
            assert_eq!(read(mode, value, block), Ok(text(expected)), "{mode:?} {value} {block:?}");
        }
        let unavailable = "5f5f646562657a69756d5f756e617661696c61626c655f76616c7565";
        assert_eq!(read(Hex, unavailable, block), Ok(Cell::Unchanged));
        assert!(read(Base64, LONG, block).is_ok());
        for (mode, value) in [(Bytes, LONG), (Hex, "AP8="), (Base64UrlSafe, "+/8=")] {
            assert!(read(mode, value, block).is_err(), "{mode:?} {value} {block:?}");
        }
    }
    // The block says that they are in base64.
    for mode in [Bytes, Base64UrlSafe, Hex] {
        assert_eq!(read(mode, "00ff", Some("bytes")), Ok(text("\\xd347df")), "{mode:?}");
    }
    assert!(read(Bytes, LONG, Some("bytes")).is_ok());
}

#[test]
fn times_in_every_mode() {
    use TimePrecision::{
        Adaptive, AdaptiveTimeMicroseconds, Connect, Isostring, Microseconds, Nanoseconds,
    };
    const DATE: u32 = 1082;
    const TIME: u32 = 1083;
    const STAMP: u32 = 1114;
    const ZONED: u32 = 1184;
    let (millis, micros, nanos) =
        (1_709_528_767_120_i64, 1_709_528_767_120_345_i64, 1_709_528_767_120_345_000_i64);
    let (day_millis, day_micros) = (18_367_120_i64, 18_367_120_345_i64);
    for (oid, precision, mode, value, expected) in [
        (DATE, -1, Adaptive, json!(19_786), "2024-03-04"),
        (DATE, -1, Connect, json!(-719_163), "0001-12-31 BC"),
        (DATE, -1, Nanoseconds, json!(-2_147_472_692_i64), "infinity"),
        (DATE, -1, Isostring, json!("2024-03-04Z"), "2024-03-04"),
        (DATE, -1, Isostring, json!("-0043-03-15Z"), "0044-03-15 BC"),
        (DATE, -1, Isostring, json!("+21016-11-04Z"), "21016-11-04"),
        (DATE, -1, Isostring, json!("-5877611-06-22Z"), "-infinity"),
        (TIME, 3, Adaptive, json!(day_millis), "05:06:07.12"),
        (TIME, 0, Adaptive, json!(0), "00:00:00"),
        (TIME, 4, Adaptive, json!(day_micros), "05:06:07.120345"),
        (TIME, -1, Adaptive, json!(86_400_000_000_i64), "24:00:00"),
        (TIME, 3, AdaptiveTimeMicroseconds, json!(day_micros), "05:06:07.120345"),
        (TIME, 6, Connect, json!(day_millis), "05:06:07.12"),
        (TIME, 3, Microseconds, json!(day_micros), "05:06:07.120345"),
        (TIME, 3, Nanoseconds, json!(day_micros * 1_000), "05:06:07.120345"),
        (TIME, -1, Isostring, json!("05:06:07.120Z"), "05:06:07.12"),
        (STAMP, 3, Adaptive, json!(millis), "2024-03-04 05:06:07.12"),
        (STAMP, -1, Adaptive, json!(micros), "2024-03-04 05:06:07.120345"),
        (STAMP, 2, AdaptiveTimeMicroseconds, json!(millis), "2024-03-04 05:06:07.12"),
        (STAMP, 6, Connect, json!(millis), "2024-03-04 05:06:07.12"),
        (STAMP, 0, Microseconds, json!(micros), "2024-03-04 05:06:07.120345"),
        (STAMP, 0, Nanoseconds, json!(nanos), "2024-03-04 05:06:07.120345"),
        (STAMP, -1, Isostring, json!("2024-03-04T05:06:07.120345Z"), "2024-03-04 05:06:07.120345"),
        (STAMP, -1, Isostring, json!("-0043-03-15T00:00:00Z"), "0044-03-15 00:00:00 BC"),
        (STAMP, -1, Isostring, json!("+294247-01-10T04:00:25.2Z"), "infinity"),
        (STAMP, -1, Adaptive, json!(-1), "1969-12-31 23:59:59.999999"),
        (STAMP, -1, Adaptive, json!(-62_167_219_200_000_001_i64), "0002-12-31 23:59:59.999999 BC"),
        (STAMP, -1, Adaptive, json!(9_223_372_036_825_200_000_i64), "infinity"),
        (STAMP, -1, Adaptive, json!(-9_223_372_036_832_400_000_i64), "-infinity"),
        (STAMP, 3, Adaptive, json!(9_223_372_036_825_200_i64), "infinity"),
        (STAMP, -1, Nanoseconds, json!(i64::MAX), "infinity"),
        (ZONED, -1, Adaptive, json!("2024-03-04T05:06:07.120000Z"), "2024-03-04 05:06:07.12+00"),
        (ZONED, -1, Connect, json!("2024-03-04T05:06:07+05:30"), "2024-03-04 05:06:07+05:30"),
        (ZONED, -1, Adaptive, json!("infinity"), "infinity"),
        (1266, -1, Adaptive, json!("05:06:07.5Z"), "05:06:07.5+00"),
        (1186, -1, Adaptive, json!(-1_500_000), "PT-1.5S"),
        (1186, -1, Adaptive, json!(0), "PT0S"),
        (1186, -1, Adaptive, json!("P1Y2M3DT4H5M6.78S"), "P1Y2M3DT4H5M6.78S"),
    ] {
        let cell = read((oid, precision), times(mode), value.clone(), None);
        assert_eq!(cell, Ok(text(expected)), "{oid} {precision} {mode:?} {value}");
    }
    for (oid, name, value, expected) in [
        (DATE, "io.debezium.time.Date", json!(19_786), "2024-03-04"),
        (DATE, "org.apache.kafka.connect.data.Date", json!(19_786), "2024-03-04"),
        (TIME, "io.debezium.time.Time", json!(day_millis), "05:06:07.12"),
        (TIME, "org.apache.kafka.connect.data.Time", json!(day_millis), "05:06:07.12"),
        (TIME, "io.debezium.time.MicroTime", json!(day_micros), "05:06:07.120345"),
        (TIME, "io.debezium.time.NanoTime", json!(day_micros * 1_000), "05:06:07.120345"),
        (STAMP, "io.debezium.time.Timestamp", json!(millis), "2024-03-04 05:06:07.12"),
        (STAMP, "org.apache.kafka.connect.data.Timestamp", json!(millis), "2024-03-04 05:06:07.12"),
        (STAMP, "io.debezium.time.MicroTimestamp", json!(micros), "2024-03-04 05:06:07.120345"),
        (STAMP, "io.debezium.time.NanoTimestamp", json!(nanos), "2024-03-04 05:06:07.120345"),
        (
            ZONED,
            "io.debezium.time.ZonedTimestamp",
            json!("2024-03-04T05:06:07Z"),
            "2024-03-04 05:06:07+00",
        ),
        (ZONED, "io.debezium.time.MicroTimestamp", json!(micros), "2024-03-04 05:06:07.120345+00"),
        (1266, "io.debezium.time.ZonedTime", json!("05:06:07Z"), "05:06:07+00"),
        (1186, "io.debezium.time.MicroDuration", json!(1_000_000), "PT1S"),
        (1186, "io.debezium.time.NanoDuration", json!(1_000), "PT0.000001S"),
        (1186, "io.debezium.time.Interval", json!("P1M"), "P1M"),
    ] {
        // For any options and any precision of the column.
        for (precision, options) in [(0, times(Nanoseconds)), (6, times(Connect))] {
            let schema = json!({"type": "int64", "optional": true, "name": name, "version": 1});
            let cell = read((oid, precision), options, value.clone(), Some(schema));
            assert_eq!(cell, Ok(text(expected)), "{name}");
        }
    }
    for (oid, value) in [(TIME, json!(-1)), (TIME, json!(86_400_000_001_i64)), (DATE, json!(1.5))] {
        assert!(read((oid, -1), DEFAULT, value, None).is_err());
    }
}

#[test]
fn other_types() {
    let geometry = "AQEAAAAAAAAAAADwPwAAAAAAAABA";
    let ewkb = "0101000020E6100000000000000000F03F0000000000000040";
    for (oid, modifier, value, expected) in [
        (16, -1, json!(true), "t"),
        (16, -1, json!(false), "f"),
        (20, -1, json!(9_223_372_036_854_775_807_i64), "9223372036854775807"),
        (701, -1, json!(1e300), "1e+300"),
        (700, -1, json!("NaN"), "NaN"),
        (17, -1, json!("AP8="), "\\x00ff"),
        (1560, 1, json!(true), "1"),
        (1560, 1, json!(false), "0"),
        (1560, 10, json!("BQE="), "0100000101"),
        (1562, -1, json!("BQE="), "100000101"),
        (600, -1, json!({"x": 1.5, "y": -2.0, "wkb": geometry, "srid": null}), "(1.5,-2.0)"),
        (GEOMETRY, -1, json!({"wkb": geometry, "srid": 4326}), ewkb),
        (
            GEOMETRY,
            -1,
            json!({"wkb": "AAAAAAEAAAAAAAAAAAAAAAAAAAAA", "srid": 1}),
            "002000000100000001000000000000000000000000000000 00".trim(),
        ),
        (HSTORE, -1, json!("{\"a\":\"1\",\"b \\\"\":null}"), "\"a\"=>\"1\", \"b \\\"\"=>NULL"),
        (HSTORE, -1, json!({"a": "\\"}), "\"a\"=>\"\\\\\""),
        (HSTORE, -1, json!("{}"), ""),
        (VECTOR, -1, json!([1.5, 2]), "[1.5,2]"),
        (3802, -1, json!("{\"a\": 1.0}"), "{\"a\": 1.0}"),
        (MOOD, -1, json!("happy"), "happy"),
        (790, -1, json!("AcU="), "4.53"),
        (1007, -1, json!([1, null, -3]), "{1,NULL,-3}"),
        (1007, -1, json!([[1, 2], [3, 4]]), "{{1,2},{3,4}}"),
        (1009, -1, json!(["a b", "NULL", "null", ""]), "{\"a b\",\"NULL\",\"null\",\"\"}"),
        (1182, -1, json!([19_786, null]), "{2024-03-04,NULL}"),
        (1231, SCALE_2, json!(["BOI="]), "{12.50}"),
        (1185, -1, json!(["2024-03-04T05:06:07Z"]), "{\"2024-03-04 05:06:07+00\"}"),
        (25, -1, json!(5), "5"),
        (25, -1, json!(true), "true"),
        (718, -1, json!({"x": 1, "y": 2, "r": 3}), "{\"x\":1,\"y\":2,\"r\":3}"),
    ] {
        let expected = expected.replace(' ', if oid == GEOMETRY { "" } else { " " });
        let cell = read((oid, modifier), DEFAULT, value.clone(), None);
        assert_eq!(cell, Ok(text(&expected)), "{oid} {value}");
    }
    let bits =
        json!({"type": "bytes", "name": "io.debezium.data.Bits", "parameters": {"length": "10"}});
    assert_eq!(
        read((1560, 10), DEFAULT, json!("AQ=="), Some(bits.clone())),
        Ok(text("0000000001"))
    );
    assert_eq!(read((1562, -1), DEFAULT, json!("AQ=="), Some(bits)), Ok(text("1")));
    let dates =
        json!({"type": "array", "items": {"type": "int32", "name": "io.debezium.time.Date"}});
    assert_eq!(read((1182, -1), DEFAULT, json!([0]), Some(dates)), Ok(text("{1970-01-01}")));
    for (oid, value) in [
        (16, json!(1)),
        (23, json!(true)),
        (23, json!([1])),
        (17, json!("?")),
        (17, json!(5)),
        (1114, json!({"x": 1})),
        (600, json!({"x": 1})),
        (NUMERIC, json!({"scale": 1})),
        (VECTOR, json!(["a"])),
        (1007, json!([true])),
        (HSTORE, json!({"a": 1})),
        (NUMERIC, json!({"scale": 99_999, "value": "AA=="})),
    ] {
        let error = read((oid, -1), DEFAULT, value.clone(), None).unwrap_err();
        assert!(error.contains("$.after.v"), "{oid} {value}: {error}");
    }
}

#[test]
fn every_form_of_an_unavailable_value() {
    let placeholder = "__debezium_unavailable_value";
    let numbers: Vec<u8> = placeholder.bytes().collect();
    let map = json!({placeholder: placeholder});
    for (oid, value) in [
        (25, json!(placeholder)),
        (3802, json!(placeholder)),
        (NUMERIC, json!(placeholder)),
        (17, json!("X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==")),
        (17, json!(placeholder)),
        (1009, json!([placeholder])),
        (3807, json!([placeholder])),
        (1007, json!(numbers)),
        (1182, json!(numbers)),
        (HSTORE, map.clone()),
        (HSTORE, json!(map.to_string())),
    ] {
        assert_eq!(read((oid, -1), DEFAULT, value.clone(), None), Ok(Cell::Unchanged), "{value}");
    }
    let two = json!([placeholder, placeholder]);
    let array = "{__debezium_unavailable_value,__debezium_unavailable_value}";
    assert_eq!(read((1009, -1), DEFAULT, two, None), Ok(text(array)));
}

#[test]
fn a_whole_record_with_its_schema() {
    let mut decoder = Decoder::new(&shop(), times(TimePrecision::Nanoseconds));
    let row = |field: &str| {
        json!({"type": "struct", "optional": true, "field": field,
        "name": "fulfillment.public.customers.Value", "fields": [
            {"type": "int64", "optional": false, "default": 0, "field": "id"},
            {"type": "string", "optional": true, "field": "name"},
            {"type": "bytes", "optional": true, "field": "photo"},
            {"type": "bytes", "optional": true, "version": 1, "field": "balance",
                "name": "org.apache.kafka.connect.data.Decimal",
                "parameters": {"scale": "2", "connect.decimal.precision": "12"}},
        ]})
    };
    let schema = json!({"type": "struct", "optional": false, "name": "Envelope", "fields": [
        row("before"), row("after"),
        {"type": "struct", "field": "source", "fields": []},
        {"type": "string", "field": "op"},
    ]});
    let after = json!({"id": 7, "name": "Ann", "photo": "Cv8=", "balance": "BOI="});
    let payload = event("c", "customers", Value::Null, after);
    let record = record(None, Some(json!({"schema": schema, "payload": payload})));
    for _ in 0..2 {
        let Change::Insert { new, .. } = change(decode_one(&mut decoder, &record).unwrap()) else {
            panic!()
        };
        assert_eq!(new, tuple(&[Some("7"), Some("Ann"), Some("\\x0aff"), Some("12.50")]));
    }
    let key = json!({"schema": {"type": "struct", "fields": [{"type": "string", "field": "serverName"}]},
        "payload": {"serverName": "fulfillment"}});
    let value = json!({"schema": schema_of_heartbeat(), "payload": {"ts_ms": 5}});
    let empty: Record = self::record(Some(key), Some(value));
    assert!(matches!(decode_one(&mut decoder, &empty).unwrap(), Decoded::Heartbeat { .. }));
}

#[test]
fn a_row_without_an_envelope_is_no_heartbeat_and_no_marker_whatever_its_columns_are_called() {
    let mut decoder = Decoder::new(&shop(), DEFAULT);
    let server = json!({"serverName": "fulfillment"});
    for (key, value) in [
        (None, json!({"event": "login", "user": 1, "ts_ms": 1_795_892_020_599_u64})),
        (Some(json!({"id": 1})), json!({"id": 1, "name": "x", "ts_ms": 123})),
        (Some(json!({"id": 7})), json!({"id": 7, "status": "paid", "total": 5})),
        (Some(json!({"id": "7"})), json!({"id": "7", "status": "END"})),
        (Some(json!({"ts_ms": 5})), json!({"ts_ms": 5})),
        (None, json!({"ts_ms": 5})),
        (Some(json!({"serverName": "a", "id": 1})), json!({"ts_ms": 5})),
        (Some(server.clone()), json!({"ts_ms": 5, "name": "x"})),
        (
            Some(server),
            json!({"ts_ms": 5, "system_identifier": "7", "timeline": 1, "end_lsn": 2, "id": 1}),
        ),
    ] {
        let record = record(key, Some(value));
        let mut decoded = Vec::new();
        let error = decoder.record(&record, &mut decoded).unwrap_err().to_string();
        assert!(error.contains("neither an envelope"), "{record:?}: {error}");
    }
}

#[test]
fn a_record_of_another_database_or_connector_is_foreign_where_its_table_has_the_same_name() {
    let is_ours = false;
    let database = Some("shop_db".to_owned());
    let expected = Expected { database, is_ours, ..Expected::default() };
    let mut decoder = Decoder::new(&shop(), DEFAULT).expecting(expected.clone());
    let row = json!({"id": 7, "name": "Ann"});
    let event = event("c", "customers", Value::Null, row);
    decode(&mut decoder, event.clone());
    for (field, other) in [("db", "other_db"), ("connector", "mysql")] {
        let mut event = event.clone();
        event["source"][field] = json!(other);
        let mut decoded = Vec::new();
        let error = decoder.record(&record(None, Some(event)), &mut decoded).unwrap_err();
        assert_eq!(error.path, format!("$.source.{field}"));
        assert!(error.problem.contains(other) && decoded.is_empty(), "{error}");
    }
    let mut decoder =
        Decoder::new(&shop(), DEFAULT).expecting(Expected { is_ours: true, ..expected });
    let heartbeat = record(Some(json!({"serverName": "s"})), Some(json!({"ts_ms": 5})));
    for record in [record(None, Some(event)), heartbeat] {
        let error = decoder.record(&record, &mut Vec::new()).unwrap_err();
        assert!(error.problem.contains("has not written this record"), "{error}");
    }
}

#[test]
fn changes_of_a_table_that_had_another_name_for_a_moment_were_of_no_table() {
    let mut both = Both::new(&shop());
    let relation = both.relation("customers");
    let insert = Change::Insert {
        relation: relation.clone(),
        new: tuple(&[Some("7"), Some("Ann"), None, None]),
    };
    let records = both.encode(&place(0, None), &insert);
    let renamed = |table: &str, relid: Option<u32>| {
        let mut said = serde_json::from_slice::<Value>(records[0].value.as_ref().unwrap()).unwrap();
        said["source"]["table"] = json!(table);
        if let Some(relid) = relid {
            said["source"]["relid"] = json!(relid);
        }
        Record { value: Some(said.to_string().into()), ..records[0].clone() }
    };
    let decoded_of = |cluster: Option<&str>, table: &str, relid: Option<u32>| {
        let cluster = cluster.map(str::to_owned);
        let expected = Expected { cluster, ..Expected::default() };
        let mut decoder = Decoder::new(&shop(), DEFAULT).expecting(expected);
        let mut decoded = Vec::new();
        decoder.record(&renamed(table, relid), &mut decoded).map(|()| decoded)
    };
    let decoded = |cluster: Option<&str>, table: &str| decoded_of(cluster, table, None);
    // Another table has the name now, or none.
    for table in ["tmp", "stock"] {
        let of_cluster = decoded(Some("7401234567890123456"), table).unwrap();
        let [Decoded::Change { change: Change::Insert { relation: found, .. }, .. }] =
            &of_cluster[..]
        else {
            panic!("{of_cluster:?}")
        };
        assert_eq!(found.oid, relation.oid, "{table}");
    }
    // Object ids of another cluster say nothing.
    for cluster in [None, Some("8")] {
        let by_name = decoded(cluster, "tmp").unwrap();
        assert!(matches!(&by_name[..], [Decoded::Foreign { table, .. }] if table == "tmp"));
    }
    // A table that was dropped, and another one has its name.
    let of_dropped = decoded_of(Some("7401234567890123456"), "customers", Some(9_999)).unwrap();
    assert!(matches!(&of_dropped[..], [Decoded::Foreign { table, .. }] if table == "customers"));
}

#[test]
fn the_heartbeat_of_another_pipeline_of_the_same_cluster_moved_the_graph_past_changes() {
    let mut both = Both::new(&shop());
    let insert = Change::Insert {
        relation: both.relation("customers"),
        new: tuple(&[Some("7"), Some("Ann"), None, None]),
    };
    let records = both.encode(&place(0, None), &insert);
    let ours = json!({"ts_ms": 5, "system_identifier": "7401234567890123456", "timeline": 3, "end_lsn": 9_000});
    let heartbeat = |name: &str| record(Some(json!({ "serverName": name })), Some(ours.clone()));
    let said = serde_json::from_slice::<Value>(records[0].value.as_ref().unwrap()).unwrap();
    let publisher = said["source"]["name"].as_str().unwrap().to_owned();
    let is_refused = |decoder: &mut Decoder, record: &Record| {
        let said = decoder.record(record, &mut Vec::new());
        said.is_err_and(|error| error.problem.contains("is one of the pipeline"))
    };
    // It is named by the checkpoint, or by the first record.
    let expected = Expected { publisher: Some(publisher.clone()), ..Expected::default() };
    let mut told = Decoder::new(&shop(), DEFAULT).expecting(expected);
    let mut learned = Decoder::new(&shop(), DEFAULT);
    assert!(!is_refused(&mut learned, &heartbeat(&publisher)));
    for decoder in [&mut told, &mut learned] {
        assert!(is_refused(decoder, &heartbeat("other")));
        assert!(!is_refused(decoder, &records[0]));
        assert!(!is_refused(decoder, &heartbeat(&publisher)));
        assert_eq!(decoder.publisher(), Some(&*publisher));
    }
    let expected = Expected { publisher: Some("other".to_owned()), ..Expected::default() };
    let mut of_another = Decoder::new(&shop(), DEFAULT).expecting(expected);
    assert!(is_refused(&mut of_another, &records[0]), "a change of another pipeline");
}

fn schema_of_heartbeat() -> Value {
    json!({"type": "struct", "name": "io.debezium.connector.common.Heartbeat",
        "fields": [{"type": "int64", "field": "ts_ms"}]})
}

#[test]
fn ours_are_read_alike_whatever_the_options_say() {
    let mut both = Both::new(&shop());
    let new = tuple(&[Some("7"), Some("Ann"), Some("\\x0aff"), Some("12.50")]);
    let expected = Change::Insert { relation: both.relation("customers"), new };
    let records = both.encode(&place(0, None), &expected);
    for options in [DEFAULT, decimals(DecimalHandling::String), times(TimePrecision::Connect)] {
        let mut decoder = Decoder::new(&shop(), options);
        let Decoded::Change { source, change } = decode_one(&mut decoder, &records[0]).unwrap()
        else {
            panic!()
        };
        assert_eq!(change, expected);
        let History { system_identifier, timeline } = source.history.as_deref().unwrap();
        assert_eq!((system_identifier.as_str(), *timeline), ("7401234567890123456", 3));
    }
}

#[test]
fn a_heartbeat_without_a_key_moved_the_graph_past_changes() {
    let ours = json!({"ts_ms": 5, "system_identifier": "7", "timeline": 1, "end_lsn": 9_000});
    let mut decoder = Decoder::new(&shop(), DEFAULT);
    let (record, mut decoded) = (record(None, Some(ours)), Vec::new());
    let error = decoder.record(&record, &mut decoded).unwrap_err();
    assert!(error.problem.contains("names its publisher in its key"), "{error}");
    assert!(decoded.is_empty());
}
