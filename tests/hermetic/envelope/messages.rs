//! Logical messages: as Debezium writes them, and passed over where they are read.

use bytes::Bytes;
use serde_json::json;
use wal2graph::change::Change;
use wal2graph::envelope::{Decoded, Format, Record};

use super::support::*;

fn message(content: &'static [u8]) -> Change {
    Change::Message { prefix: "outbox".to_owned(), content: Bytes::from_static(content) }
}

fn insert(both: &Both) -> Change {
    let row = tuple(&[Some("7"), Some("Ann"), None, None]);
    Change::Insert { relation: both.relation("customers"), new: row }
}

#[test]
fn a_message_is_debeziums_and_has_no_place_among_the_events() {
    let mut both = Both::new(&shop());
    let change = insert(&both);
    both.encode(&place(0, None), &change);
    let records = both.encode(&place(1, Some(97_500_060_000)), &message(b"\x00\xFFhi"));
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!(json(&record.key), json!({"prefix": "outbox"}));
    let expected = json!({
        "op": "m", "ts_ms": 1_700_000_000_123_u64,
        "source": {
            "version": "9.8.7", "connector": "postgresql", "name": "shop",
            "ts_ms": 1_699_999_999_654_u64, "ts_us": 1_699_999_999_654_321_u64,
            "ts_ns": 1_699_999_999_654_321_000_u64, "snapshot": "false", "db": "shop_db",
            "sequence": "[null,\"97500059720\"]", "schema": "", "table": "",
            "txId": 4_000_000_001_u64, "lsn": 97_500_059_720_u64, "xmin": null,
            "system_identifier": "7401234567890123456", "timeline": 3,
        },
        "transaction": {
            "id": "4000000001:97500059720", "total_order": 2, "data_collection_order": 1,
        },
        "message": {"prefix": "outbox", "content": "AP9oaQ=="},
    });
    assert_eq!(json(&record.value), expected);
    // The next transaction follows the one that ended with the message.
    let change = insert(&both);
    let next = both.encode(&place(0, None), &change).remove(0);
    assert_eq!(json(&next.value)["source"]["sequence"], "[\"97500059720\",\"97500059720\"]");
}

#[test]
fn with_schema_blocks_its_names_are_debeziums() {
    let both = Both::new(&shop());
    let mut both = Both { encoder: both.encoder.formatted(Format::WithSchemas), ..both };
    let record = both.encode(&place(0, None), &message(b"")).remove(0);
    let (key, value) = (json(&record.key), json(&record.value));
    assert_eq!(key["schema"]["name"], "io.debezium.connector.postgresql.MessageKey");
    assert_eq!(value["schema"]["name"], "io.debezium.connector.postgresql.MessageValue");
    let fields = value["schema"]["fields"].as_array().unwrap();
    let names: Vec<&str> = fields.iter().map(|it| it["field"].as_str().unwrap()).collect();
    assert_eq!(names, ["op", "ts_ms", "source", "transaction", "message"]);
    assert_eq!(value["payload"]["message"], json!({"prefix": "outbox", "content": ""}));
    is_passed_over(&mut both, &record);
}

fn is_passed_over(both: &mut Both, record: &Record) {
    match decode_one(&mut both.decoder, record).unwrap() {
        Decoded::Message { source } => {
            assert_eq!((source.place, source.history.is_some()), (None, true));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn readers_pass_a_message_over() {
    let mut both = Both::new(&shop());
    let record = both.encode(&place(0, Some(97_500_060_000)), &message(b"x")).remove(0);
    is_passed_over(&mut both, &record);
}
