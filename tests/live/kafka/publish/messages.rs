//! Logical messages: where they stand in the topic, and that the graph does not see them.

use serde_json::{Value, json};

use super::super::{
    Published,
    topic::{partitions, raw_records, records},
};
use crate::support::graph;

const SCHEMA: &str = "CREATE TABLE lm_things (id int PRIMARY KEY, name text)";

/// Transactions with messages first, between and last, with nothing else, and a message beside all
/// transactions.
const CHANGES: &[&str] = &[
    "BEGIN; SELECT pg_logical_emit_message(true, 'first', 'a'); INSERT INTO lm_things VALUES (1, 'x'); \
     SELECT pg_logical_emit_message(true, 'between', '\\x00ff'::bytea); INSERT INTO lm_things VALUES (2, 'x'); COMMIT",
    "SELECT pg_logical_emit_message(false, 'beside', 'not published')",
    "SELECT pg_logical_emit_message(true, 'alone', 'b')",
    "BEGIN; INSERT INTO lm_things VALUES (3, 'x'); SELECT pg_logical_emit_message(true, 'last', 'c'); COMMIT",
    "UPDATE lm_things SET id = 30 WHERE id = 3",
];

async fn nodes(label: &str) -> Vec<i64> {
    let text = format!("MATCH (n:{label}) RETURN n.id AS id ORDER BY id");
    let rows = graph().rows(neo4rs::Query::new(text)).await.unwrap();
    rows.iter().map(|row| row.get("id").unwrap()).collect()
}

/// What a record says in short: its kind, and its place, its message, or the position of a heartbeat.
fn short(value: &Value) -> String {
    let source = &value["source"];
    match value["op"].as_str() {
        None => "heartbeat".to_owned(),
        Some("m") => {
            assert!(source.get("commit_lsn").is_none() && source.get("tx_end").is_none());
            format!("m {}", value["message"]["prefix"].as_str().unwrap())
        }
        Some(op) => {
            let end = if source.get("tx_end").is_some() { " end" } else { "" };
            format!("{op} {}{end}", source["event_index"])
        }
    }
}

#[tokio::test]
async fn messages_stand_where_the_transaction_has_them_and_the_graph_is_as_without_them() {
    let published = Published::new("messages", SCHEMA, "ack: kafka, messages: true").await;
    published.catch_up().await;
    for change in CHANGES {
        published.pipeline.sql.batch_execute(change).await.unwrap();
    }
    published.catch_up().await;
    let records = records(&published.config()).await;
    let values: Vec<Value> = records
        .iter()
        .filter_map(|record| serde_json::from_slice(record.value.as_deref()?).ok())
        .collect();
    let said: Vec<String> = values.iter().map(short).collect();
    let changes: Vec<&str> =
        said.iter().map(String::as_str).skip_while(|it| *it != "m first").collect();
    let expected = [
        "m first",
        "c 0",
        "m between",
        "c 1 end",
        "m alone",
        "c 0",
        "m last",
        "heartbeat",
        "d 0",
        "c 0 end",
    ];
    let without_idle: Vec<&str> = changes
        .iter()
        .enumerate()
        // Others say that there was nothing more.
        .filter(|(at, it)| **it != "heartbeat" || changes.get(at - 1) == Some(&"m last"))
        .map(|(_, it)| *it)
        .collect();
    assert_eq!(without_idle, expected, "{changes:?}");
    let between = values.iter().find(|it| it["message"]["prefix"] == "between").unwrap();
    assert_eq!(between["message"]["content"], "AP8=");
    let of_its_transaction =
        values.iter().filter(|it| it["source"]["lsn"] == between["source"]["lsn"]);
    let orders: Vec<&Value> =
        of_its_transaction.map(|it| &it["transaction"]["total_order"]).collect();
    assert_eq!(orders, [&json!(1), &json!(2), &json!(3), &json!(4)]);
    let key = |record: &wal2graph::envelope::Record| -> Value {
        serde_json::from_slice(record.key.as_deref().unwrap()).unwrap()
    };
    assert!(records.iter().any(|record| key(record) == json!({"prefix": "alone"})));
    let (code, log) = published.run(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(nodes("LmThing").await, [1, 2, 30]);
    let checkpoint = wal2graph::neo4j::checkpoint::read(&graph(), &published.pipeline.name).await;
    assert_eq!(checkpoint.unwrap().unwrap().lsn.0, published.end_of_topic().await);
}

#[tokio::test]
async fn with_a_topic_for_each_table_messages_have_one_of_their_own() {
    let schema = SCHEMA.replace("lm_", "lb_");
    let section = "ack: kafka, topics_by: table, messages: true";
    let published = Published::new("table_messages", &schema, section).await;
    published.catch_up().await;
    for change in CHANGES {
        published.pipeline.sql.batch_execute(&change.replace("lm_", "lb_")).await.unwrap();
    }
    published.catch_up().await;
    let config = published.config();
    let kafka = config.kafka().unwrap();
    let topic = kafka.messages_topic().unwrap().unwrap();
    let records = raw_records(&kafka.brokers, topic.as_str()).await;
    let values = records.iter().filter_map(|it| serde_json::from_slice(it.value.as_deref()?).ok());
    let said: Vec<String> = values.map(|value: Value| short(&value)).collect();
    assert_eq!(said, ["m first", "m between", "m alone", "m last"]);
    let (code, log) = published.run(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(nodes("LbThing").await, [1, 2, 30]);
    let checkpoint = wal2graph::neo4j::checkpoint::read(&graph(), &published.pipeline.name).await;
    let checkpoint = checkpoint.unwrap().unwrap();
    assert!(checkpoint.is_whole && checkpoint.lsn.0 == published.end_of_topic().await);
    // A start goes on behind all of them.
    published.pipeline.sql.batch_execute("INSERT INTO lb_things VALUES (4, 'x')").await.unwrap();
    published.catch_up().await;
    assert_eq!(raw_records(&kafka.brokers, topic.as_str()).await.len(), 4);
}

#[tokio::test]
async fn a_publisher_that_nobody_has_told_to_writes_no_messages() {
    let schema = SCHEMA.replace("lm_", "ln_");
    let published = Published::new("no_messages", &schema, "ack: kafka, partitions: 3").await;
    published.catch_up().await;
    let sql = &published.pipeline.sql;
    let change = "BEGIN; SELECT pg_logical_emit_message(true, 'p', 'x'); INSERT INTO ln_things VALUES (1, 'x'); COMMIT";
    sql.batch_execute(change).await.unwrap();
    published.catch_up().await;
    let count = async || {
        let is_message = |record: &&wal2graph::envelope::Record| {
            String::from_utf8_lossy(record.value.as_deref().unwrap_or_default())
                .contains("\"op\":\"m\"")
        };
        partitions(&published.config()).await.iter().flatten().filter(is_message).count()
    };
    assert_eq!(count().await, 0);
    let text = std::fs::read_to_string(&published.path).unwrap();
    std::fs::write(&published.path, text.replace("partitions: 3", "messages: true")).unwrap();
    let change = "BEGIN; SELECT pg_logical_emit_message(true, 'p', 'x'); INSERT INTO ln_things VALUES (2, 'x'); \
                  SELECT pg_logical_emit_message(true, 'q', 'y'); COMMIT";
    sql.batch_execute(change).await.unwrap();
    published.catch_up().await;
    assert_eq!(count().await, 2, "each in the partition of its key");
    let (code, log) = published.run(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{log}");
    let text = "MATCH (n:LnThing) RETURN count(n) AS n";
    let rows = graph().rows(neo4rs::Query::new(text.to_owned())).await.unwrap();
    assert_eq!(rows[0].get::<i64>("n").unwrap(), 2);
}
