//! Topics of somebody else's publisher: what they begin with, and how a graph is filled from them again.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Value, json};
use wal2graph::{
    catalog::Table,
    envelope::{DecodeOptions, Decoder, Record},
    mapping::{Edits, compile},
    replay::{Beginning, Unshown},
    start::{Emptied, Others},
    topic::{
        beginning::{First, Reading, judge},
        copied::Tables,
    },
};

use crate::mapping::catalogs::{TableExt, catalog, customers, orders, table};

const ENVELOPES: Reading = Reading { rows: false, parks: false };
const ROWS: Reading = Reading { rows: true, parks: false };

/// The records, the first of them at `offset`.
fn begins(values: &[Option<Value>], offset: u64, reading: Reading) -> Beginning {
    let (catalog, customers) = (catalog([customers()]), customers());
    let mut decoder = Decoder::new(&catalog, DecodeOptions::default());
    decoder = match reading.rows {
        true => decoder.of_rows("topic", &customers).unwrap(),
        false => decoder.with_tombstones_of(&customers),
    };
    let first = values.iter().zip(offset..).map(|(value, offset)| {
        let value = value.as_ref().map(|value| Bytes::from(value.to_string()));
        let key = Some(Bytes::from_static(b"{\"id\": 1}"));
        let record = Record { key, value, headers: Vec::new() };
        let mut decoded = Vec::new();
        let read = decoder.record(&record, &mut decoded).map(|()| decoded.pop().unwrap());
        First { offset, record, read }
    });
    let first: Vec<First> = first.collect();
    judge(&first, offset, &Tables::default(), reading)
}

fn envelope(op: &str, snapshot: &str) -> Option<Value> {
    let row = json!({"id": 1, "name": "Ann"});
    let (before, after) = if op == "d" { (row, Value::Null) } else { (Value::Null, row) };
    let source = json!({
        "connector": "postgresql", "name": "shop", "db": "shop", "schema": "public", "table": "customers",
        "ts_ms": 1, "snapshot": snapshot, "txId": 1, "lsn": 1,
    });
    Some(json!({"before": before, "after": after, "op": op, "ts_ms": 1, "source": source}))
}

#[test]
fn only_a_row_of_a_snapshot_shows_that_a_topic_of_debeziums_has_all_rows() {
    let of =
        |op: &str, snapshot: &str, offset| begins(&[envelope(op, snapshot)], offset, ENVELOPES);
    for snapshot in ["first", "true", "last", "incremental"] {
        assert_eq!(of("r", snapshot, 0), Beginning::Copy, "{snapshot}");
    }
    assert_eq!(of("c", "false", 0), Beginning::Unshown(Unshown::Change));
    assert_eq!(of("u", "false", 0), Beginning::Partial);
    assert_eq!(of("d", "false", 0), Beginning::Partial);
    assert_eq!(of("r", "first", 7), Beginning::Copy, "the rows of an earlier one are gone");
    assert_eq!(of("r", "true", 7), Beginning::Partial);
    assert_eq!(of("c", "false", 7), Beginning::Partial);
    assert_eq!(begins(&[], 0, ENVELOPES), Beginning::NoRows, "all of it was aborted");
    let after_a_tombstone = [None, envelope("u", "false")];
    assert_eq!(begins(&after_a_tombstone, 0, ENVELOPES), Beginning::Partial);
    // It is what compaction leaves of a delete, and says nothing of other rows.
    assert_eq!(begins(&[None], 7, ENVELOPES), Beginning::NoRows);
    assert_eq!(begins(&[None, envelope("r", "first")], 7, ENVELOPES), Beginning::Copy);
    assert_eq!(begins(&[None, envelope("r", "true")], 0, ENVELOPES), Beginning::Copy);
}

#[test]
fn rows_without_envelopes_never_show_a_snapshot() {
    let row = || Some(json!({"id": 1, "name": "Ann"}));
    assert_eq!(begins(&[row()], 0, ROWS), Beginning::Unshown(Unshown::Rows));
    assert_eq!(begins(&[row()], 7, ROWS), Beginning::Partial);
    assert_eq!(begins(&[None], 0, ROWS), Beginning::Partial, "a delete");
}

#[test]
fn a_first_record_that_can_not_be_read_is_no_beginning_in_the_middle() {
    let flat = || Some(json!({"id": 1, "name": "Ann"}));
    let unreadable = |beginning: &Beginning| match beginning {
        Beginning::Unreadable { offset, why } => {
            assert!(why.contains("kafka.debezium.records: rows"), "{why}");
            *offset
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(unreadable(&begins(&[flat()], 0, ENVELOPES)), 0);
    assert_eq!(unreadable(&begins(&[flat(), flat()], 5, ENVELOPES)), 5, "whatever is gone");
    assert_eq!(unreadable(&begins(&[flat(), envelope("r", "first")], 0, ENVELOPES)), 0);
    // What comes behind it is not complete either.
    let before_an_update = [flat(), envelope("u", "false")];
    assert_eq!(begins(&before_an_update, 0, ENVELOPES), Beginning::Partial);
    let parks = Reading { parks: true, ..ENVELOPES };
    assert_eq!(begins(&[flat(), envelope("r", "true")], 0, parks), Beginning::Copy);
    assert_eq!(begins(&[flat()], 0, parks), Beginning::NoRows, "a dead letter");
    assert_eq!(begins(&[flat()], 5, parks), Beginning::Partial);
    assert_eq!(begins(&before_an_update, 0, parks), Beginning::Partial);
}

fn others(tables: impl IntoIterator<Item = Table>, of: &str, begins_with_snapshot: bool) -> Others {
    let mapping = compile(&catalog(tables), &Edits::default()).unwrap();
    let index = mapping.table_index("public", of).unwrap();
    let everything = || Emptied::Everything { labels: mapping.labels().into_iter().collect() };
    let emptied = Emptied::of_table(&mapping.model, index).unwrap_or_else(everything);
    let topic = format!("shop.public.{of}");
    Others { pipeline: "shop".to_owned(), topic, partitions: 2, begins_with_snapshot, emptied }
}

#[test]
fn a_table_whose_topic_was_made_again_is_emptied_alone_and_snapshotted_with_what_refers_to_it() {
    let tables = || [customers(), orders(), table("notes", "id int4, text text").pk("id")];
    let customers = others(tables(), "customers", false);
    let referring = vec!["public.orders".to_owned()];
    let (table, label) = ("public.customers".to_owned(), "Customer".to_owned());
    assert_eq!(customers.emptied, Emptied::Table { table, label, referring });
    assert_eq!(
        customers.to_string(),
        "stop every `wal2graph apply` of this pipeline.\n  \
         In the graph (it also removes nodes of others with these labels; Neo4j's Browser wants :auto before the \
         first):\n    \
         MATCH (n:`Customer`) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 1000 ROWS;\n    \
         MATCH (n:_Placeholder) WHERE NOT EXISTS { (n)--() } DELETE n;\n    \
         MATCH (c:_Wal2GraphCheckpoint {pipeline: 'shop', topic: 'shop.public.customers'}) DELETE c;\n  \
         Then let the publisher snapshot public.customers, and the tables that refer to it: public.orders (with \
         Debezium: send the signal execute-snapshot, or start a connector with new offsets). Without this the graph \
         lacks rows. When the topics have all of them:\n    \
         wal2graph replay --from earliest --partition shop.public.customers/0 --yes\n    \
         wal2graph replay --from earliest --partition shop.public.customers/1 --yes\n    \
         wal2graph apply"
    );
    let again = others(tables(), "customers", true).to_string();
    assert!(again.contains("snapshot the tables that refer to public.customers: public.orders ("));
    assert!(!again.contains("--yes"), "it begins with one: {again}");
    let notes = others(tables(), "notes", true).to_string();
    assert!(
        notes.contains("Then:\n    wal2graph replay") && !notes.contains("snapshot"),
        "{notes}"
    );
    let orders = others(tables(), "orders", false).to_string();
    assert!(orders.contains("let the publisher snapshot public.orders (with"), "{orders}");
}

#[test]
fn a_topic_of_an_unknown_table_empties_all_and_has_all_snapshotted() {
    let labels = BTreeSet::from(["Customer".to_owned(), "Order".to_owned()]);
    let all = Others {
        emptied: Emptied::Everything { labels },
        ..others([customers(), orders()], "orders", true)
    };
    let text = all.to_string();
    assert!(text.contains("MATCH (n:`Customer`|`Order`)"), "{text}");
    assert!(text.contains("{pipeline: 'shop'}) DETACH DELETE c;"), "{text}");
    assert!(text.contains("let the publisher snapshot all tables"), "{text}");
    assert!(text.contains("\n    wal2graph replay --from earliest --yes\n"), "{text}");
}
