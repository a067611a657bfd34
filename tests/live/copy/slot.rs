//! A slot whose making waits for other transactions.

use std::fs;

use crate::support::{PATIENCE, Pipeline, client, eventually, output, until};

const MADE: &str = "SELECT confirmed_flush_lsn IS NOT NULL FROM pg_replication_slots WHERE slot_name = 'wal2graph_' || $1";

/// Whether the slot is there: made, or in the making.
async fn slot(pipeline: &Pipeline) -> Option<bool> {
    let row = pipeline.sql.query_opt(MADE, &[&pipeline.name]).await.unwrap();
    row.map(|row| row.get(0))
}

#[tokio::test]
async fn a_slot_in_the_making_does_not_stay_behind_when_the_program_is_stopped_or_killed() {
    let schema = "CREATE TABLE smj_things (id int PRIMARY KEY); CREATE TABLE smj_junk (n int); \
        INSERT INTO smj_things VALUES (1)";
    let pipeline = Pipeline::new("making", schema).await;
    let mut other = client(&pipeline.source_url).await;
    let open = other.transaction().await.unwrap();
    open.batch_execute("INSERT INTO smj_junk VALUES (1)").await.unwrap();
    let mut running = pipeline.start();
    until("the slot is being made", async || slot(&pipeline).await == Some(false)).await;
    assert_eq!(running.terminate(PATIENCE).await, Some(0));
    until("nothing stays behind", async || slot(&pipeline).await.is_none()).await;
    let running = pipeline.start();
    until("the slot is being made again", async || slot(&pipeline).await == Some(false)).await;
    running.kill();
    until("nothing stays behind after a kill", async || slot(&pipeline).await.is_none()).await;
    open.rollback().await.unwrap();
    pipeline.catch_up().await;
}

#[tokio::test]
async fn a_slot_that_somebody_is_making_is_waited_for() {
    let schema = "CREATE TABLE sw_things (id int PRIMARY KEY); CREATE TABLE sw_junk (n int); \
        INSERT INTO sw_things VALUES (1)";
    let pipeline = Pipeline::new("waited", schema).await;
    let mut other = client(&pipeline.source_url).await;
    let open = other.transaction().await.unwrap();
    open.batch_execute("INSERT INTO sw_junk VALUES (1)").await.unwrap();
    let maker = client(&pipeline.source_url).await;
    let publication = format!("CREATE PUBLICATION wal2graph_{} FOR TABLE sw_things", pipeline.name);
    maker.batch_execute(&publication).await.unwrap();
    let sql = format!(
        "SELECT pg_create_logical_replication_slot('wal2graph_{}', 'pgoutput')",
        pipeline.name
    );
    let making = tokio::spawn(async move { maker.batch_execute(&sql).await });
    until("the slot is being made", async || slot(&pipeline).await == Some(false)).await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let running = pipeline.start_logging(&["run"], log.reopen().unwrap());
    until("the log says what is waited for", async || {
        fs::read_to_string(log.path()).unwrap().contains("is being made by process")
    })
    .await;
    open.rollback().await.unwrap();
    making.await.unwrap().unwrap();
    eventually("it goes on", "RETURN EXISTS { (:SwThing {id: 1}) } AS yes").await;
    drop(running);
}

#[tokio::test]
async fn a_physical_slot_is_told_by_its_type() {
    let pipeline = Pipeline::new("physical", "CREATE TABLE sp_things (id int PRIMARY KEY)").await;
    let sql = format!("SELECT pg_create_physical_replication_slot('wal2graph_{}')", pipeline.name);
    pipeline.sql.batch_execute(&sql).await.unwrap();
    let output = output(pipeline.command(&["run", "--until", "current"])).await;
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && log.contains("is a physical one"), "{log}");
    let drop = format!("SELECT pg_drop_replication_slot('wal2graph_{}')", pipeline.name);
    pipeline.sql.batch_execute(&drop).await.unwrap();
}
