//! `publish`: what is in the topic afterwards, whatever happened meanwhile.

mod acknowledging;
mod crashes;
mod emptied;
mod formats;
mod history;
mod locks;
mod messages;
mod partitions;
mod refusals;
mod strays;
mod unsent;

use serde_json::{Value, json};
use wal2graph::{
    change::Change,
    envelope::{DecodeOptions, Decoded, Decoder, Snapshot},
};

use super::{
    Published,
    topic::{end_lsn, place, records, value},
};
use crate::{http::Served, support::client};

fn of_table(values: &[Value]) -> Vec<(String, Value)> {
    let changes = values.iter().filter(|value| value.get("op").is_some());
    changes
        .map(|value| {
            let row = ["after", "before"].iter().map(|of| &value[of]).find(|it| it.is_object());
            let id = row.map_or(Value::Null, |row| row["id"].clone());
            (value["op"].as_str().unwrap().to_owned(), id)
        })
        .collect()
}

#[tokio::test]
async fn every_operation_comes_in_order_and_at_its_place() {
    let published = Published::new(
        "operations",
        "CREATE TABLE op_things (id int PRIMARY KEY, name text, big text);
         ALTER TABLE op_things ALTER big SET STORAGE EXTERNAL;
         INSERT INTO op_things SELECT g, 'n' || g, repeat('x', 10000) FROM generate_series(1, 3) g;
         CREATE TABLE op_other (id int PRIMARY KEY)",
        "ack: kafka",
    )
    .await;
    published.catch_up().await;
    let sql = &published.pipeline.sql;
    sql.batch_execute("INSERT INTO op_things VALUES (4, NULL, 'small')").await.unwrap();
    sql.batch_execute(
        "BEGIN; UPDATE op_things SET name = 'other' WHERE id = 1; \
         UPDATE op_things SET id = 20 WHERE id = 2; DELETE FROM op_things WHERE id = 3; COMMIT",
    )
    .await
    .unwrap();
    sql.batch_execute("TRUNCATE op_things, op_other").await.unwrap();
    published.catch_up().await;

    let records = records(&published.config()).await;
    let values: Vec<Value> = records.iter().map(value).collect();
    let changes = of_table(&values);
    let expected = [
        ("r", json!(1)),
        ("r", json!(2)),
        ("r", json!(3)),
        ("c", json!(4)),
        ("u", json!(1)),
        ("d", json!(2)),
        ("c", json!(20)),
        ("d", json!(3)),
        ("t", Value::Null),
        ("t", Value::Null),
    ];
    let expected = expected.map(|(op, id)| (op.to_owned(), id));
    assert_eq!(changes, expected);

    // Places go forward, and only the last of a transaction says where it ends.
    let places: Vec<_> = values.iter().filter_map(|it| Some((place(it)?, end_lsn(it)))).collect();
    assert!(places.is_sorted_by_key(|(place, _)| *place), "{places:?}");
    let ends: Vec<bool> = places.iter().map(|(_, end)| end.is_some()).collect();
    assert_eq!(ends, [true, false, false, false, true, false, true], "{places:?}");

    let sql = client(&published.pipeline.source_url).await;
    let mut sql = sql;
    let catalog = wal2graph::postgres::catalog::read(&mut sql, None).await.unwrap();
    let mut decoder = Decoder::new(&catalog, DecodeOptions::default());
    let mut decoded = Vec::new();
    records.iter().for_each(|record| decoder.record(record, &mut decoded).unwrap());
    let snapshots: Vec<Snapshot> = decoded
        .iter()
        .filter_map(|it| match it {
            Decoded::Read { snapshot, .. } => Some(*snapshot),
            _ => None,
        })
        .collect();
    assert_eq!(snapshots[0], Snapshot::First);
    assert_eq!(snapshots.len(), 3);
    let kinds: Vec<&str> = decoded
        .iter()
        .filter_map(|it| match it {
            Decoded::Change { change, .. } => Some(match change {
                Change::Insert { .. } => "insert",
                Change::Update { .. } => "update",
                Change::Delete { .. } => "delete",
                Change::Truncate { .. } => "truncate",
                Change::Message { .. } => "message",
            }),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, ["insert", "update", "update", "delete", "truncate"]);
}

#[tokio::test]
async fn an_idle_source_has_heartbeats_and_the_copy_is_not_made_twice() {
    let published = Published::new(
        "idle",
        "CREATE TABLE idle_things (id int PRIMARY KEY); INSERT INTO idle_things VALUES (1);
         CREATE TABLE idle_left_out (x int)",
        "ack: kafka",
    )
    .await;
    published.catch_up().await;
    let sql = &published.pipeline.sql;
    let last = |values: &[Value]| values.iter().filter_map(end_lsn).max().unwrap();
    let all =
        async || -> Vec<Value> { records(&published.config()).await.iter().map(value).collect() };
    let before = last(&all().await);
    sql.batch_execute("INSERT INTO idle_left_out SELECT generate_series(1, 1000)").await.unwrap();
    published.catch_up().await;
    let values = all().await;
    assert!(last(&values) > before, "the log went on, and the topic says so");
    assert_eq!(of_table(&values), [("r".to_owned(), json!(1))]);
    let (_, confirmed) = published.pipeline.positions().await;
    assert!(confirmed.unwrap() > before && confirmed.unwrap() <= last(&values));

    // A table that comes later is copied when it is there.
    sql.batch_execute(
        "CREATE TABLE idle_new (id int PRIMARY KEY); INSERT INTO idle_new VALUES (7)",
    )
    .await
    .unwrap();
    let publication =
        format!("ALTER PUBLICATION wal2graph_{} ADD TABLE idle_new", published.pipeline.name);
    sql.batch_execute(&publication).await.unwrap();
    published.catch_up().await;
    let rows = [("r".to_owned(), json!(1)), ("r".to_owned(), json!(7))];
    assert_eq!(of_table(&all().await), rows);
}

#[tokio::test]
async fn metrics_show_how_far_the_copy_is() {
    let published = Published::new(
        "watched",
        "CREATE TABLE cw_things (id int PRIMARY KEY);
         INSERT INTO cw_things SELECT generate_series(1, 300); ANALYZE cw_things",
        "ack: kafka",
    )
    .await;
    let file = std::fs::read_to_string(&published.path).unwrap();
    let source = &published.pipeline.source_url;
    let served = Served::of(&["publish", "--source-url", source], &file).await;
    let table = "{table=\"public.cw_things\"}";
    let samples = served
        .until("all rows", |samples| {
            samples.get(&format!("wal2graph_copy_rows_total{table}")) == Some(&300.0)
        })
        .await;
    assert_eq!(samples[&format!("wal2graph_copy_rows_expected{table}")], 300.0);
}
