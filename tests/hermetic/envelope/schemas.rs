//! Records with Kafka Connect's schema blocks: accepted by Connect's JsonConverter, and read back.

use serde_json::{Value, json};
use wal2graph::change::{Before, Cell, Change};
use wal2graph::envelope::{
    DecodeOptions, Decoded, Decoder, Encoder, Format, Place, Record, Snapshot, UNAVAILABLE_VALUE,
    payload,
};
use wal2graph::lsn::Lsn;

use super::round_trips::{TYPES, insert, wide};
use super::support::*;

/// Encodes with schema blocks.
fn with_schemas(both: Both) -> Both {
    Both { encoder: both.encoder.formatted(Format::WithSchemas), ..both }
}

fn shop_with_schemas() -> Both {
    with_schemas(Both::new(&shop()))
}

/// The demands of a reader that follows the schema: a value of the schema's kind, or null if
/// allowed.
fn assert_fits(schema: &Value, value: &Value, path: &str) {
    let is_optional = schema["optional"].as_bool().unwrap();
    if value.is_null() {
        return assert!(is_optional, "{path} is null");
    }
    let fits = match schema["type"].as_str().unwrap() {
        "struct" => {
            let row = value.as_object().unwrap();
            let fields = schema["fields"].as_array().unwrap();
            for field in fields {
                let name = field["field"].as_str().unwrap();
                let value = row.get(name).unwrap_or(&Value::Null);
                assert_fits(field, value, &format!("{path}.{name}"));
            }
            let is_known = |name: &String| fields.iter().any(|it| it["field"] == json!(name));
            row.keys().all(is_known)
        }
        "array" => {
            let items = value.as_array().unwrap_or_else(|| panic!("{path}: {value}"));
            items.iter().for_each(|item| assert_fits(&schema["items"], item, path));
            true
        }
        "boolean" => value.is_boolean(),
        "int16" => value.as_i64().is_some_and(|it| i16::try_from(it).is_ok()),
        "int32" => value.as_i64().is_some_and(|it| i32::try_from(it).is_ok()),
        "int64" => value.is_i64() || value.is_u64(),
        // Debezium's form of values that are not numbers.
        "float" | "double" => {
            value.is_number() || ["NaN", "Infinity", "-Infinity"].contains(&value.as_str().unwrap())
        }
        "string" | "bytes" => value.is_string(),
        other => panic!("{other}"),
    };
    assert!(fits, "{path}: {schema} {value}");
}

fn assert_record_fits(record: &Record) {
    assert_valid(record);
    let headers = record.headers.iter().map(|(_, value)| value);
    for part in record.key.iter().chain(&record.value).chain(headers) {
        let part: Value = serde_json::from_slice(part).unwrap();
        assert_fits(&part["schema"], &part["payload"], "$");
    }
}

fn parts(bytes: &Option<bytes::Bytes>) -> (Value, Value) {
    let part = json(bytes);
    (part["schema"].clone(), part["payload"].clone())
}

fn field(name: &str, of: &str, optional: bool) -> Value {
    json!({"type": of, "optional": optional, "field": name})
}

#[test]
fn an_insert_with_its_schemas() {
    let mut both = shop_with_schemas();
    let row = tuple(&[Some("7"), Some("Ann"), Some("\\x0aff"), Some("12.50")]);
    let change = Change::Insert { relation: both.relation("customers"), new: row };
    let records = both.encode(&place(5, Some(97_500_060_000)), &change);
    let [record] = &records[..] else { panic!("{records:?}") };
    let (schema, key) = parts(&record.key);
    assert_eq!(key, json!({"id": 7}));
    let id = field("id", "int64", false);
    let name = "shop.public.customers.Key";
    assert_eq!(schema, json!({"type": "struct", "fields": [id], "optional": false, "name": name}));
    let (schema, event) = parts(&record.value);
    let mut plain = Both::new(&shop());
    let expected = plain.encode(&place(5, Some(97_500_060_000)), &change).remove(0);
    assert_eq!(event, json(&expected.value), "the payload is the record without schemas");
    assert_eq!(payload(record.value.as_ref().unwrap()), expected.value.as_ref().unwrap());
    assert_eq!(
        (&schema["name"], &schema["version"]),
        (&json!("shop.public.customers.Envelope"), &json!(2))
    );
    let fields = schema["fields"].as_array().unwrap();
    let names: Vec<&str> = fields.iter().map(|it| it["field"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["before", "after", "source", "op", "ts_ms", "ts_us", "ts_ns", "transaction"]
    );
    let columns = json!([
        field("id", "int64", true),
        field("name", "string", true),
        field("photo", "bytes", true),
        field("balance", "string", true),
    ]);
    for row in &fields[..2] {
        assert_eq!((&row["fields"], &row["optional"]), (&columns, &json!(true)));
        assert_eq!(row["name"], json!("shop.public.customers.Value"));
    }
    assert_eq!(fields[2]["name"], json!("io.debezium.connector.postgresql.Source"));
    assert_eq!(fields[7]["name"], json!("event.block"));
    assert_record_fits(record);
}

#[test]
fn types_have_debeziums_names() {
    for (oid, kind, name) in [
        (16, "boolean", None),
        (21, "int16", None),
        (23, "int32", None),
        (20, "int64", None),
        (26, "int64", None),
        (700, "float", None),
        (701, "double", None),
        (1700, "string", None),
        (1082, "string", Some("io.debezium.time.IsoDate")),
        (1083, "string", Some("io.debezium.time.IsoTime")),
        (1114, "string", Some("io.debezium.time.IsoTimestamp")),
        (1184, "string", Some("io.debezium.time.ZonedTimestamp")),
        (1266, "string", Some("io.debezium.time.ZonedTime")),
        (1186, "string", Some("io.debezium.time.Interval")),
        (3802, "string", Some("io.debezium.data.Json")),
        (2950, "string", Some("io.debezium.data.Uuid")),
        (MOOD, "string", None),
        (1005, "array", None),
        (1007, "array", None),
        (1115, "array", None),
    ] {
        let mut both = with_schemas(Both::new(&catalog(vec![table("t", 0, &[("v", oid, -1)])])));
        let change = Change::Insert { relation: both.relation("t"), new: tuple(&[None]) };
        let (schema, _) = parts(&both.encode(&place(0, None), &change)[0].value);
        let column = schema["fields"][1]["fields"][0].clone();
        assert_eq!(
            (&column["type"], column.get("name").and_then(Value::as_str)),
            (&json!(kind), name),
            "{oid}"
        );
        let item = column["items"].clone();
        match oid {
            1005 => assert_eq!(item, json!({"type": "int16", "optional": true})),
            1007 => assert_eq!(item, json!({"type": "int32", "optional": true})),
            1115 => assert_eq!(item["name"], json!("io.debezium.time.IsoTimestamp")),
            _ => assert!(item.is_null()),
        }
    }
}

/// The columns of a row whose record says that they are not in their form: their names and the form's.
fn odds(record: &Record, row: &str) -> Vec<(String, String)> {
    let (schema, _) = parts(&record.value);
    let is_row = |field: &&Value| field["field"] == json!(row);
    let row = schema["fields"].as_array().unwrap().iter().find(is_row).unwrap();
    let column = |field: &Value| {
        let name = field["name"].as_str().unwrap_or_default();
        let of = (field["field"].as_str().unwrap().to_owned(), name.to_owned());
        name.starts_with("wal2graph.").then_some(of)
    };
    row["fields"].as_array().unwrap().iter().filter_map(column).collect()
}

/// Every value fits the schema of its record, and comes back.
#[test]
fn values_of_every_type_fit_their_records_schema() {
    let mut odd = Vec::new();
    for (index, (oid, texts)) in TYPES.iter().enumerate() {
        for written in *texts {
            let mut both = with_schemas(wide());
            let mut cells = vec![Cell::Null; TYPES.len()];
            cells[index] = text(written);
            let change = insert(&both, cells);
            let records = both.encode(&place(0, None), &change);
            records.iter().for_each(assert_record_fits);
            both.assert_round_trip(&place(0, None), &change);
            odd.extend(
                odds(&records[0], "after").into_iter().map(|(_, form)| (*oid, *written, form)),
            );
        }
    }
    let odd: Vec<(u32, &str, &str)> =
        odd.iter().map(|(oid, text, form)| (*oid, *text, form.as_str())).collect();
    // PostgreSQL itself has no quotes around `[3]`.
    let expected = [
        (1007, "{{1,2},{3,4}}", "wal2graph.Text"),
        (1007, "[0:1]={1,2}", "wal2graph.Text"),
        (VECTORS, "{\"[1,2]\",\"[3]\"}", "wal2graph.Text"),
    ];
    assert_eq!(odd, expected);
}

#[test]
fn a_text_that_no_string_can_stand_for_is_an_object_in_the_record_that_has_it() {
    let mut both = shop_with_schemas();
    for text in [UNAVAILABLE_VALUE.as_bytes(), b"a\xFF"] {
        let cell = || Cell::Text(bytes::Bytes::from(text.to_vec()));
        let change = Change::Insert { relation: both.relation("log"), new: [cell()].into() };
        let record = both.encode(&place(0, None), &change).remove(0);
        assert_record_fits(&record);
        let named = |column: &str| vec![(column.to_owned(), "wal2graph.TextBytes".to_owned())];
        assert_eq!((odds(&record, "after"), odds(&record, "before")), (named("line"), vec![]));
        both.assert_round_trip(&place(0, None), &change);
        // In a key, and in the row before alone.
        let old = Before::Key([cell(), super::support::text("4"), Cell::Null].into());
        let new = tuple(&[Some("A1"), Some("4"), Some("9")]);
        let change = Change::Update { relation: both.relation("stock"), before: old, new };
        let records = both.encode(&place(0, None), &change);
        records.iter().for_each(assert_record_fits);
        assert_eq!(odds(&records[0], "before"), named("shelf"));
        assert_eq!(odds(&records[2], "after"), vec![]);
        both.assert_round_trip(&place(0, None), &change);
    }
    let change = Change::Insert { relation: both.relation("log"), new: tuple(&[Some("plain")]) };
    let record = both.encode(&place(0, None), &change).remove(0);
    assert_eq!(odds(&record, "after"), vec![], "the next record has the column's own form");
}

#[test]
fn every_kind_of_change_comes_back() {
    let mut both = shop_with_schemas();
    let customers = both.relation("customers");
    let key = Before::Key(tuple(&[Some("7"), None, None, None]));
    let unsent = [text("7"), Cell::Unchanged, Cell::Unchanged, Cell::Null].into();
    let moved = tuple(&[Some("A1"), Some("4"), Some("9")]);
    let old = Before::Key(tuple(&[Some("A1"), Some("3"), None]));
    let full = Before::Full(tuple(&[Some("7"), Some("Ann"), None, None]));
    for change in [
        Change::Update { relation: customers.clone(), before: Before::Absent, new: unsent },
        Change::Delete { relation: customers.clone(), before: key },
        Change::Update { relation: both.relation("stock"), before: old, new: moved },
        Change::Delete { relation: both.relation("customers_full"), before: full },
        Change::Truncate { relations: vec![customers.clone(), both.relation("log")] },
    ] {
        let records = both.encode(&place(0, Some(97_500_060_000)), &change);
        records.iter().for_each(assert_record_fits);
        both.assert_round_trip(&place(0, Some(97_500_060_000)), &change);
    }
    let row = tuple(&[Some("7"), Some("Ann"), None, Some("1.5")]);
    let read = both.encoder.read(Lsn(77), Snapshot::First, &customers, &row, NOW).unwrap();
    assert_record_fits(&read);
    let decoded = decode_one(&mut both.decoder, &read).unwrap();
    assert!(matches!(decoded, Decoded::Read { row: found, .. } if found == row));
}

#[test]
fn a_heartbeat_has_schemas_too() {
    let mut both = shop_with_schemas();
    let heartbeat = both.encoder.heartbeat(Lsn(97_500_060_000), NOW);
    assert_record_fits(&heartbeat);
    assert_eq!(parts(&heartbeat.key).1, json!({"serverName": "shop"}));
    let decoded = decode_one(&mut both.decoder, &heartbeat).unwrap();
    assert_eq!(decoded.end_lsn(), Some(Lsn(97_500_060_000)));
    let Decoded::Heartbeat { history: of, .. } = decoded else { panic!("{decoded:?}") };
    assert_eq!(of.as_deref(), Some(&history()));
}

#[test]
fn an_array_that_was_not_sent_fits_its_schema() {
    let columns: [Named<'_>; 4] =
        [("id", 23, -1), ("names", 1009, -1), ("numbers", 1016, -1), ("days", 1182, -1)];
    let mut both = with_schemas(Both::new(&catalog(vec![table("t", 1, &columns)])));
    let new = [text("1"), Cell::Unchanged, Cell::Unchanged, Cell::Unchanged].into();
    let change = Change::Update { relation: both.relation("t"), before: Before::Absent, new };
    let records = both.encode(&place(0, None), &change);
    records.iter().for_each(assert_record_fits);
    both.assert_round_trip(&place(0, None), &change);
    // A value that looks like the placeholder of an unsent one.
    let numbers: Vec<String> = UNAVAILABLE_VALUE.bytes().map(|it| it.to_string()).collect();
    let numbers = format!("{{{}}}", numbers.join(","));
    let new = tuple(&[Some("1"), None, Some(&numbers), None]);
    let change = Change::Insert { relation: both.relation("t"), new };
    let records = both.encode(&place(0, None), &change);
    assert_record_fits(&records[0]);
    assert_eq!(odds(&records[0], "after"), [("numbers".to_owned(), "wal2graph.Text".to_owned())]);
    both.assert_round_trip(&place(0, None), &change);
}

#[test]
fn an_array_whose_elements_can_not_say_that_it_was_not_sent_is_a_string() {
    let columns: [Named<'_>; 3] = [("id", 23, -1), ("flags", 1000, -1), ("photos", 1001, -1)];
    let mut both = with_schemas(Both::new(&catalog(vec![table("t", 1, &columns)])));
    let new = [text("1"), Cell::Unchanged, Cell::Unchanged].into();
    let change = Change::Update { relation: both.relation("t"), before: Before::Absent, new };
    let records = both.encode(&place(0, None), &change);
    assert_record_fits(&records[0]);
    assert_eq!(odds(&records[0], "after").len(), 2);
    both.assert_round_trip(&place(0, None), &change);
}

/// One topic may contain both formats, and columns may have the names of a schema block's parts.
#[test]
fn formats_may_change_from_record_to_record() {
    let columns: [Named<'_>; 2] = [("schema", 25, -1), ("payload", 25, -1)];
    let catalog = catalog(vec![table("t", 2, &columns)]);
    let mut decoder = Decoder::new(&catalog, DecodeOptions::default());
    let mut encoders = [Format::Json, Format::WithSchemas, Format::Json]
        .map(|format| Encoder::new(names(), &catalog).formatted(format));
    for (index, encoder) in encoders.iter_mut().enumerate() {
        let relation =
            decoder.relation(&wal2graph::catalog::TableName::new("public", "t")).unwrap().clone();
        let old = Before::Key(tuple(&[Some("{\"type\":1}"), Some("x")]));
        let new = tuple(&[Some("y"), Some("{}")]);
        let change = Change::Update { relation, before: old, new };
        let place = Place { commit_lsn: Lsn(97_500_060_000 + index as u64), ..place(0, None) };
        let records = encoder.change(&place, &change, NOW).unwrap();
        // Only the insert has the old key in a header.
        let mut decoded = Vec::new();
        decoder.record(&records[2], &mut decoded).unwrap();
        let Some(Decoded::Change { change: found, .. }) = decoded.pop() else { panic!("{index}") };
        assert_eq!(found, change, "{index}");
    }
}
