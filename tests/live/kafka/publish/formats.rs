//! Records with schema blocks and without: how far a topic is, where keys go, and what becomes of the
//! graph are the same.

use std::fs;

use serde_json::{Value, json};
use wal2graph::envelope::payload;

use super::super::{Published, topic::partitions};
use crate::support::graph;

const SCHEMA: &str = "CREATE TABLE fm_things (id int PRIMARY KEY, name text, tags text[], at timestamptz);
     INSERT INTO fm_things SELECT g, 'n' || g, ARRAY['a', 'b'], '2024-03-04 05:06:07+00' FROM generate_series(1, 9) g";

/// From the next start on, `publish` writes in this format.
fn set(published: &Published, format: &str) {
    let text = fs::read_to_string(&published.path).unwrap();
    let other = if format == "json" { "json-schema" } else { "json" };
    let text = text.replace(&format!("format: {other}}}"), &format!("format: {format}}}"));
    assert!(text.contains(&format!("format: {format}}}")), "{text}");
    fs::write(&published.path, text).unwrap();
}

async fn rows_and_nodes(published: &Published) -> [Vec<String>; 2] {
    let text =
        "SELECT id || ':' || name || ':' || array_to_string(tags, ',') FROM fm_things ORDER BY id";
    let rows = published.pipeline.sql.query(text, &[]).await.unwrap();
    let rows = rows.iter().map(|row| row.get(0)).collect();
    let text = "MATCH (n:FmThing) RETURN n.id + ':' + n.name + ':' + \
                reduce(all = '', it IN n.tags | all + CASE all WHEN '' THEN '' ELSE ',' END + it) AS it \
                ORDER BY n.id";
    let nodes = graph().rows(neo4rs::Query::new(text.to_owned())).await.unwrap();
    [rows, nodes.iter().map(|row| row.get("it").unwrap()).collect()]
}

#[tokio::test]
async fn the_format_may_change_and_every_key_keeps_its_partition() {
    let published =
        Published::new("formats", SCHEMA, "partitions: 3, ack: kafka, format: json").await;
    published.catch_up().await;
    let sql = &published.pipeline.sql;
    for format in ["json-schema", "json", "json-schema"] {
        set(&published, format);
        let change = format!(
            "UPDATE fm_things SET name = name || '-{format}'; DELETE FROM fm_things WHERE id = \
             (SELECT min(id) FROM fm_things); UPDATE fm_things SET id = id + 100 WHERE id = \
             (SELECT min(id) FROM fm_things)"
        );
        sql.batch_execute(&change).await.unwrap();
        published.catch_up().await;
    }
    let partitions = partitions(&published.config()).await;
    let mut with_schema = 0;
    let mut places: Vec<(Value, usize)> = Vec::new();
    for (partition, records) in partitions.iter().enumerate() {
        for record in records {
            let key = record.key.as_deref().unwrap();
            with_schema += usize::from(payload(key) != key);
            let key: Value = serde_json::from_slice(payload(key)).unwrap();
            if key.get("serverName").is_none() {
                places.push((key, partition));
            }
        }
    }
    assert!(with_schema > 0 && with_schema < partitions.iter().map(Vec::len).sum());
    for (key, partition) in &places {
        let strangers: Vec<_> =
            places.iter().filter(|it| it.0 == *key && it.1 != *partition).collect();
        assert!(strangers.is_empty(), "{key} in {partition} and {strangers:?}");
    }
    assert!(places.iter().any(|(key, _)| *key == json!({"id": 9})));
    let copies = partitions.iter().flatten().filter(|record| {
        let value = record.value.as_deref().unwrap_or_default();
        String::from_utf8_lossy(value).contains("\"op\":\"r\"")
    });
    assert_eq!(copies.count(), 9, "a start finds the copy in either format");
    let (code, log) = published.run(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{log}");
    let [rows, nodes] = rows_and_nodes(&published).await;
    assert_eq!((nodes.len(), &nodes), (6, &rows));
}

#[tokio::test]
async fn a_value_that_its_columns_schema_can_not_say_never_stops_publish() {
    let published = Published::new(
        "unsayable",
        "CREATE TABLE uy_things (id int PRIMARY KEY, grid int[]);
         INSERT INTO uy_things VALUES (1, '{{1,2},{3,4}}')",
        "ack: kafka, format: json-schema",
    )
    .await;
    published.catch_up().await;
    let sql = &published.pipeline.sql;
    sql.batch_execute(
        "INSERT INTO uy_things VALUES (2, '{1,2}'), (3, '[0:1]={5,6}'); \
         UPDATE uy_things SET grid = '{{{7}}}' WHERE id = 2; INSERT INTO uy_things VALUES (4, '{8}')",
    )
    .await
    .unwrap();
    published.catch_up().await;
    let partitions = partitions(&published.config()).await;
    let grids = partitions.iter().flatten().filter_map(|record| {
        let value: Value = serde_json::from_slice(record.value.as_deref()?).unwrap();
        let grid = value["payload"]["after"].get("grid")?.clone();
        let field = value["schema"]["fields"][1]["fields"][1].clone();
        assert_eq!(field["field"], "grid");
        Some((field["type"].as_str().unwrap().to_owned(), field["name"].clone(), grid))
    });
    let array = |grid: Value| ("array".to_owned(), Value::Null, grid);
    let text = |grid: &str| ("string".to_owned(), json!("wal2graph.Text"), json!(grid));
    let expected = [
        text("{{1,2},{3,4}}"),
        array(json!([1, 2])),
        text("[0:1]={5,6}"),
        text("{{{7}}}"),
        array(json!([8])),
    ];
    assert_eq!(grids.collect::<Vec<_>>(), expected);
    let (code, log) = published.run(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{log}");
    let text = "MATCH (n:UyThing) RETURN n.id AS id ORDER BY id";
    let rows = graph().rows(neo4rs::Query::new(text.to_owned())).await.unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.get("id").unwrap()).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
}
