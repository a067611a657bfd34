//! `ack: graph` and `ack: kafka`: what the slot is told.

use std::time::Duration;

use neo4rs::Query;
use tokio::time::sleep;

use crate::{
    kafka::Published,
    support::{graph, until},
};

const SCHEMA: &str = "CREATE TABLE ack_things (id serial PRIMARY KEY)";

async fn confirmed(published: &Published) -> u64 {
    published.pipeline.positions().await.1.unwrap_or(0)
}

/// Everything that is committed is before it.
pub async fn log_end(published: &Published) -> u64 {
    let sql = "SELECT (pg_current_wal_flush_lsn() - '0/0')::int8";
    published.pipeline.sql.query_one(sql, &[]).await.unwrap().get::<_, i64>(0).unsigned_abs()
}

/// The checkpoint as `apply` would have it.
async fn checkpoint(published: &Published, lsn: u64) {
    let system = published.pipeline.cluster().await;
    let text = "MERGE (c:_Wal2GraphCheckpoint {pipeline: $pipeline}) SET c.lsn = $lsn, c.epoch = 1, \
                c.labels = ['AckThing'], c.updated_at = datetime(), c.system_identifier = $system, c.timeline = 1, \
                c.slot = 'any', c.mapping_digest = 'any'";
    let query = Query::new(text.to_owned())
        .param("pipeline", published.pipeline.name.as_str())
        .param("lsn", lsn as i64)
        .param("system", system);
    graph().run(query).await.unwrap();
}

#[tokio::test]
async fn with_ack_graph_the_slot_follows_the_graph_and_never_leads() {
    let published = Published::new("ack_graph", SCHEMA, "ack: graph").await;
    let insert = "INSERT INTO ack_things DEFAULT VALUES";
    published.catch_up().await;
    let begin = confirmed(&published).await;
    let mut running = published.start();
    published.pipeline.sql.batch_execute(insert).await.unwrap();
    let first = log_end(&published).await;
    published.pipeline.sql.batch_execute(insert).await.unwrap();
    published.catch_up_by_looking(log_end(&published).await).await;
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!(confirmed(&published).await, begin, "the graph has nothing yet");
    checkpoint(&published, first).await;
    until("the slot follows the graph", async || confirmed(&published).await == first).await;
    checkpoint(&published, u64::MAX >> 1).await;
    let published_to = published.end_of_topic().await;
    until("as far as the topic is", async || confirmed(&published).await >= published_to).await;
    assert!(confirmed(&published).await <= published.end_of_topic().await);
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
}

#[tokio::test]
async fn with_ack_kafka_the_slot_follows_the_topic_without_a_graph() {
    let published = Published::new("ack_kafka", SCHEMA, "ack: kafka").await;
    let url = &published.pipeline.source_url;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_wal2graph"));
    command.args(["publish", "-c", &published.path, "--source-url", url, "--until", "current"]);
    let output = crate::support::output(command).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let running = published.start();
    published.pipeline.sql.batch_execute("INSERT INTO ack_things DEFAULT VALUES").await.unwrap();
    let end = log_end(&published).await;
    until("the slot follows the topic", async || confirmed(&published).await >= end).await;
    assert!(confirmed(&published).await <= published.end_of_topic().await);
    running.kill();
}
