//! Applications that want a table to themselves while it is published. Their own `lock_timeout` is the
//! bound: five times what they may have to wait.

use std::collections::BTreeMap;

use serde_json::Value;
use wal2graph::kafka::offsets::Asking;

use crate::{
    kafka::{
        Published,
        topic::{raw_records, value},
    },
    support::{client, until},
};

/// Rows of each table: enough that the copy is under way when the application comes.
const ROWS: u32 = 100_000;

fn schema() -> String {
    let table = |name: &str| {
        format!(
            "CREATE TABLE plk_{name} (id int PRIMARY KEY, v text); \
             INSERT INTO plk_{name} SELECT g, repeat('x', 100) FROM generate_series(1, {ROWS}) g; "
        )
    };
    format!("{}{}", table("a"), table("b"))
}

/// How many records the topic has.
async fn records(published: &Published) -> u64 {
    let config = published.config();
    let kafka = config.kafka().unwrap();
    let asking = Asking::new(kafka).unwrap();
    let at = wal2graph::checkpoint::TopicPartition {
        topic: kafka.topic.as_str().to_owned(),
        partition: 0,
    };
    asking.log(&at).await.map_or(0, |log| log.end)
}

/// Whether tables are still missing in the topic.
async fn is_copying(published: &Published) -> bool {
    let config = published.config();
    let tail = wal2graph::kafka::tail::read(config.kafka().unwrap()).await.unwrap();
    tail.copied().len() < 2
}

/// The rows that the topic ends with: table and id, with `v`.
fn rows(records: &[wal2graph::envelope::Record]) -> BTreeMap<(String, i64), String> {
    let mut rows = BTreeMap::new();
    for value in records.iter().map(value) {
        let Some(table) = value["source"]["table"].as_str() else { continue };
        match value["op"].as_str() {
            Some("t") => rows.retain(|(of, _), _| of != table),
            Some("d") => drop(rows.remove(&key(table, &value["before"]))),
            Some("r" | "c" | "u") => {
                let v = value["after"]["v"].as_str().unwrap_or_default().to_owned();
                rows.insert(key(table, &value["after"]), v);
            }
            _ => {}
        }
    }
    rows
}

fn key(table: &str, row: &Value) -> (String, i64) {
    (table.to_owned(), row["id"].as_i64().expect("a row has its id"))
}

#[tokio::test]
async fn an_application_alters_truncates_and_migrates_tables_that_are_published() {
    let published = Published::new("publish_locks", &schema(), "ack: kafka").await;
    let running = published.start();
    until("the copy is under way", async || records(&published).await > 2_000).await;
    let application = client(&published.pipeline.source_url).await;
    application.batch_execute("SET lock_timeout = '5s'").await.unwrap();
    let mut beside_the_copy = 0;
    for statement in [
        "ALTER TABLE plk_a ALTER COLUMN v SET STATISTICS 10",
        "BEGIN; LOCK TABLE plk_b IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.5); \
         LOCK TABLE plk_a IN ACCESS EXCLUSIVE MODE; COMMIT",
        "VACUUM FULL plk_a",
        "CREATE INDEX CONCURRENTLY ON plk_a (v)",
        "REINDEX TABLE plk_b",
        "TRUNCATE plk_b",
        "INSERT INTO plk_b SELECT g, 'new' FROM generate_series(1, 5000) g",
    ] {
        beside_the_copy += u32::from(is_copying(&published).await);
        let done = application.batch_execute(statement).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    // Which of the two meets the other's lock depends on the machine.
    let log = published.log();
    let met = ["the copy released its lock", "other sessions lock the table"];
    assert!(beside_the_copy >= 1 && met.iter().any(|words| log.contains(words)), "{log}");
    drop(running);
    published.catch_up().await;
    let config = published.config();
    let kafka = config.kafka().unwrap();
    let rows = rows(&raw_records(&kafka.brokers, kafka.topic.as_str()).await);
    let of_b: Vec<&String> =
        rows.iter().filter(|((of, _), _)| of == "plk_b").map(|(_, v)| v).collect();
    assert_eq!(rows.len() - of_b.len(), ROWS as usize);
    assert!(of_b.len() == 5_000 && of_b.iter().all(|v| *v == "new"), "{}", of_b.len());
}
