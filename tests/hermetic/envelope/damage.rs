//! Invalid records: the error names the place, and nothing panics.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use wal2graph::change::Change;
use wal2graph::envelope::{
    DecodeOptions, Decoded, Decoder, NEW_KEY_HEADER, OLD_KEY_HEADER, Record,
};

use super::round_trips::seeded;
use super::support::*;

fn ours() -> Value {
    let mut both = Both::new(&shop());
    let new = tuple(&[Some("7"), Some("Ann"), Some("\\x0aff"), Some("12.50")]);
    let change = Change::Insert { relation: both.relation("customers"), new };
    json(&both.encode(&place(5, Some(97_500_060_000)), &change)[0].value)
}

fn error_of(value: &[u8]) -> (String, String) {
    let mut decoder = Decoder::new(&shop(), DecodeOptions::default());
    let value = Some(Bytes::copy_from_slice(value));
    let mut decoded = Vec::new();
    let record = Record { value, ..Record::default() };
    let error = decoder.record(&record, &mut decoded).unwrap_err();
    assert!(decoded.is_empty());
    assert_eq!(error.part, "value");
    (error.path.clone(), error.to_string())
}

#[test]
fn what_is_no_envelope_is_an_error_with_its_place() {
    for (value, path, said) in [
        (&b"\xFF"[..], "$", "UTF-8"),
        (b"", "$", "not JSON"),
        (b"{\"op\":\"c\"", "$", "not JSON (line 1, column 9)"),
        (b"{} {}", "$", "not JSON"),
        (b"[]", "$", "an object expected, not an array"),
        (b"5", "$", "an object expected, not a number"),
        (b"{}", "$", "neither an envelope"),
        (b"{\"id\":7,\"name\":\"Ann\"}", "$", "ExtractNewRecordState"),
        (b"{\"before\":null,\"ts_ms\":5}", "$.op", "missing"),
        (b"{\"ts_ms\":\"5\"}", "$.ts_ms", "a whole number"),
        (b"{\"ts_ms\":5,\"system_identifier\":\"7\",\"timeline\":1}", "$.end_lsn", "missing"),
        (b"{\"schema\":5,\"payload\":{\"ts_ms\":5}}", "$.schema", "an object"),
        (b"{\"schema\":{\"fields\":[{}]},\"payload\":{}}", "$.schema.fields.field", "missing"),
        (b"{\"schema\":null,\"payload\":[]}", "$.payload", "an object"),
        (b"{\"op\":\"\\ud800\"}", "$.op", "surrogate"),
        (b"{\"\\ud800\":1}", "$", "surrogate"),
    ] {
        let (at, message) = error_of(value);
        let shown = String::from_utf8_lossy(value);
        assert_eq!(at, path, "{shown}: {message}");
        assert!(message.contains(said), "{shown}: {message}");
    }
}

/// It is of no table that the graph does not follow: nobody knows what it is of.
#[test]
fn an_envelope_that_names_no_table_is_unreadable() {
    for part in ["schema", "table"] {
        for op in ["c", "u", "d", "r", "t"] {
            for name in [None, Some(Value::Null), Some(json!(""))] {
                let mut value = json!({
                    "before": {"id": 7}, "after": {"id": 7}, "op": op,
                    "source": {"connector": "postgresql", "schema": "public", "table": "customers"},
                });
                let source = value["source"].as_object_mut().unwrap();
                match name {
                    Some(name) => source.insert(part.to_owned(), name),
                    None => source.remove(part),
                };
                let (path, said) = error_of(value.to_string().as_bytes());
                assert_eq!(path, format!("$.source.{part}"), "{value}");
                assert!(said.contains("the record names no table"), "{said}");
            }
        }
    }
}

#[test]
fn each_part_of_an_envelope_is_looked_at() {
    type Spoil = fn(&mut Value);
    let spoil: [(&str, Spoil); 20] = [
        ("$.op", |it| it["op"] = json!("x")),
        ("$.op", |it| it["op"] = json!(5)),
        ("$.source", |it| it["source"] = Value::Null),
        ("$.source", |it| it["source"] = json!("text")),
        ("$.source.lsn", |it| it["source"]["lsn"] = json!(-1)),
        ("$.source.txId", |it| it["source"]["txId"] = json!("5")),
        ("$.source.txId", |it| it["source"]["txId"] = Value::Null),
        ("$.source.ts_us", |it| it["source"]["ts_us"] = json!(1.5)),
        ("$.source.timeline", |it| it["source"]["timeline"] = Value::Null),
        ("$.source.system_identifier", |it| it["source"]["system_identifier"] = json!(7)),
        ("$.source.commit_lsn", |it| it["source"]["commit_lsn"] = Value::Null),
        ("$.source.commit_lsn", |it| it["source"]["commit_lsn"] = json!("16/0")),
        ("$.source.event_index", |it| it["source"]["event_index"] = Value::Null),
        ("$.source.end_lsn", |it| it["source"]["end_lsn"] = Value::Null),
        ("$.source.schema", |it| it["source"]["schema"] = json!([])),
        ("$.after", |it| it["after"] = Value::Null),
        ("$.after", |it| it["after"] = json!([])),
        ("$.after.id", |it| it["after"]["id"] = json!({"bytes": 5})),
        ("$.after.photo", |it| it["after"]["photo"] = json!("secret!")),
        ("$.before", |it| *it = with_op(it, "d")),
    ];
    for (index, (path, spoil)) in spoil.iter().enumerate() {
        let mut value = ours();
        spoil(&mut value);
        let (at, message) = error_of(value.to_string().as_bytes());
        assert_eq!(&at, path, "{index}: {message}");
        assert!(!message.contains("secret") && !message.contains("Ann"), "{message}");
    }
    let mut value = ours();
    value["after"]["odd name"] = json!(1);
    value["after"]["id"] = json!({"deep": [[[[[1]]]]]});
    let (at, _) = error_of(value.to_string().as_bytes());
    assert_eq!(at, "$.after.id");
}

fn with_op(value: &Value, op: &str) -> Value {
    let mut value = value.clone();
    value["op"] = json!(op);
    value
}

#[test]
fn the_key_and_the_header_are_named() {
    let mut decoder = Decoder::new(&shop(), DecodeOptions::default());
    let mut delete = with_op(&ours(), "d");
    delete["after"] = Value::Null;
    let value = Some(Bytes::from(delete.to_string()));
    let key = Some(Bytes::from_static(b"{\"id\":[]}"));
    let record = Record { key, value, ..Record::default() };
    let error = decode_one(&mut decoder, &record).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the record's key at $.id: Integer as JSON expected, not an array"
    );
    let headers = vec![(OLD_KEY_HEADER.to_owned(), Bytes::from_static(b"Struct{}"))];
    let record = Record { key: None, value: Some(Bytes::from(ours().to_string())), headers };
    let error = decode_one(&mut decoder, &record).unwrap_err();
    assert_eq!((error.part, error.path.as_str()), ("__debezium.oldkey", "$"));
}

#[test]
fn deep_nesting_costs_no_stack() {
    let deep =
        |open: &str, close: &str| format!("{}1{}", open.repeat(500_000), close.repeat(500_000));
    let (_, message) = error_of(deep("[", "]").as_bytes());
    assert!(message.contains("an object expected"), "{message}");
    let mut decoder = Decoder::new(&shop(), DecodeOptions::default());
    for inner in [deep("[", "]"), deep("{\"a\":", "}")] {
        for column in ["name", "id", "photo", "balance"] {
            let value = format!(
                "{{\"op\":\"c\",\"source\":{{\"schema\":\"public\",\"table\":\"customers\"}},\
                 \"after\":{{\"{column}\":{inner}}}}}"
            );
            let record = Record { value: Some(Bytes::from(value)), ..Record::default() };
            let decoded = decode_one(&mut decoder, &record);
            assert_eq!(decoded.is_ok(), column == "name");
        }
    }
    // An array has at most six dimensions.
    let catalog = catalog(vec![table("t", 1, &[("v", 1007, -1)])]);
    let mut decoder = Decoder::new(&catalog, DecodeOptions::default());
    let value = format!(
        "{{\"op\":\"c\",\"source\":{{\"schema\":\"public\",\"table\":\"t\"}},\"after\":{{\"v\":{}}}}}",
        deep("[", "]")
    );
    let record = Record { value: Some(Bytes::from(value)), ..Record::default() };
    assert!(decode_one(&mut decoder, &record).is_err());
}

/// Names that occur.
const NAMES: &[&str] = &[
    "op",
    "before",
    "after",
    "source",
    "schema",
    "payload",
    "table",
    "lsn",
    "txId",
    "ts_ms",
    "commit_lsn",
    "event_index",
    "system_identifier",
    "timeline",
    "tx_end",
    "end_lsn",
    "id",
    "shelf",
    "box",
    "count",
    "note",
    "at",
    "photo",
    "balance",
    "fields",
    "field",
    "name",
    "items",
    "parameters",
    "scale",
    "value",
    "bytes",
    "status",
    "truncate_count",
];

/// Texts that occur.
const WORDS: &[&str] = &[
    "c",
    "u",
    "d",
    "r",
    "t",
    "m",
    "public",
    "stock",
    "notes",
    "customers_full",
    "AAE=",
    "x",
    "7",
    "__debezium_unavailable_value",
    "io.debezium.time.MicroTimestamp",
    "",
];

/// Random JSON of the names and texts in use.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(WORDS).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        let name = prop::sample::select(NAMES).prop_map(str::to_owned);
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            4 => prop::collection::btree_map(name, inner, 0..8)
                .prop_map(|map| Value::from(serde_json::Map::from_iter(map))),
        ]
    })
}

/// Every operation of a decoder, with a check of the result.
fn decode_anything(decoder: &mut Decoder, record: &Record) {
    let mut decoded = Vec::new();
    let result = decoder.record(record, &mut decoded);
    match result {
        Ok(()) => assert!((1..=2).contains(&decoded.len())),
        Err(error) => {
            assert!(decoded.is_empty());
            assert!(error.path.starts_with('$') && !error.problem.is_empty());
        }
    }
    for decoded in &decoded {
        if let Decoded::Change { change: Change::Insert { relation, new }, .. } = decoded {
            assert_eq!(relation.columns.len(), new.len());
        }
    }
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn any_bytes_give_an_answer(value: Vec<u8>, key: Option<Vec<u8>>) {
        let mut decoder = Decoder::new(&shop(), DecodeOptions::default());
        let record =
            Record { key: key.map(Bytes::from), value: Some(value.into()), headers: Vec::new() };
        decode_anything(&mut decoder, &record);
    }

    #[test]
    fn any_json_gives_an_answer(
        records in prop::collection::vec((any_json(), any_json(), 0..4_u8), 1..6),
    ) {
        let mut decoder = Decoder::new(&shop(), DecodeOptions::default());
        for (value, key, headers) in records {
            let mut record = record(Some(key.clone()), Some(value));
            for (bit, name) in [(1, NEW_KEY_HEADER), (2, OLD_KEY_HEADER)] {
                if headers & bit != 0 {
                    record.headers.push((name.to_owned(), Bytes::from(key.to_string())));
                }
            }
            decode_anything(&mut decoder, &record);
        }
        let mut rest = Vec::new();
        decoder.flush(&mut rest);
        prop_assert!(!decoder.is_holding() && rest.len() <= 1);
    }

    #[test]
    fn a_row_of_any_json_gives_an_answer(
        row in any_json(), old in any_json(), op in prop::sample::select(&["c", "u", "d", "r"][..]),
        table in prop::sample::select(&["stock", "notes", "customers", "customers_full"][..]),
    ) {
        let mut decoder = Decoder::new(&shop(), DecodeOptions::default());
        let value = json!({
            "op": op, "before": old, "after": row, "source": {"schema": "public", "table": table},
        });
        decode_anything(&mut decoder, &record(None, Some(value)));
    }

    #[test]
    fn one_wrong_byte_gives_an_answer(at: prop::sample::Index, byte: u8, cut: bool) {
        let mut decoder = Decoder::new(&shop(), DecodeOptions::default());
        let mut value = ours().to_string().into_bytes();
        let at = at.index(value.len());
        if cut { value.truncate(at) } else { value[at] = byte }
        decode_anything(&mut decoder, &Record { value: Some(value.into()), ..Record::default() });
    }
}
