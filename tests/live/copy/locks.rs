//! Applications that want a table to themselves while it is copied. Their own `lock_timeout` is the
//! bound: five times what they may have to wait.

use std::fs;

use tokio_postgres::Client;

use crate::support::{Pipeline, client, eventually, holds, until};

/// Rows of each table: enough that the copy is under way when the application comes.
const ROWS: u32 = 60_000;

fn schema(prefix: &str) -> String {
    let table = |name: &str| {
        format!(
            "CREATE TABLE {prefix}_{name} (id int PRIMARY KEY, v text); \
             INSERT INTO {prefix}_{name} SELECT g, repeat('x', 100) FROM generate_series(1, {ROWS}) g; "
        )
    };
    format!("{}{}CREATE TABLE {prefix}_other (id int PRIMARY KEY)", table("a"), table("b"))
}

async fn application(pipeline: &Pipeline) -> Client {
    let application = client(&pipeline.source_url).await;
    application.batch_execute("SET lock_timeout = '5s'").await.unwrap();
    application
}

async fn is_copying(pipeline: &Pipeline) -> bool {
    let name = &pipeline.name;
    holds(&format!("RETURN EXISTS {{ (:_Wal2GraphCopy {{pipeline: '{name}'}}) }} AS yes")).await
}

async fn does_what_it_wants(prefix: &str, label: &str, lanes: u32) {
    let pipeline = Pipeline::new(prefix, &schema(prefix)).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("limits: {{copy_lanes: {lanes}}}\n")).unwrap();
    let running = pipeline.start_with(&["-c", file.path().to_str().unwrap()]);
    let begun = format!("MATCH (n:{label}A) WITH count(n) AS n RETURN n > 2000 AS yes");
    eventually("the copy is under way", &begun).await;
    let application = application(&pipeline).await;
    let mut beside_the_copy = 0;
    for statement in [
        "ALTER TABLE {}_b ADD COLUMN x int",
        "ALTER TABLE {}_b DROP COLUMN x",
        "BEGIN; LOCK TABLE {}_b IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.5); \
         LOCK TABLE {}_a IN ACCESS EXCLUSIVE MODE; COMMIT",
        "VACUUM FULL {}_a",
        "CREATE INDEX CONCURRENTLY ON {}_a (v)",
        "REINDEX TABLE {}_b",
        "TRUNCATE {}_b",
        "INSERT INTO {}_b SELECT g, 'new' FROM generate_series(1, 5000) g",
    ] {
        beside_the_copy += u32::from(is_copying(&pipeline).await);
        let done = application.batch_execute(&statement.replace("{}", prefix)).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    assert!(beside_the_copy >= 5, "the copy was done before: {beside_the_copy}");
    drop(running);
    pipeline.catch_up().await;
    let equal = format!(
        "RETURN COUNT {{ (:{label}A) }} = {ROWS} AND COUNT {{ (:{label}B {{v: 'new'}}) }} = 5000 \
         AND COUNT {{ (:{label}B) }} = 5000 AS yes"
    );
    assert!(holds(&equal).await);
}

#[tokio::test]
async fn an_application_alters_truncates_and_migrates_tables_that_two_lanes_copy() {
    does_what_it_wants("lkt", "Lkt", 2).await;
}

#[tokio::test]
async fn an_application_alters_truncates_and_migrates_tables_that_one_lane_copies() {
    does_what_it_wants("lko", "Lko", 1).await;
}

#[tokio::test]
async fn a_table_that_is_locked_for_long_holds_up_neither_the_stream_nor_other_tables_nor_a_restart()
 {
    let pipeline = Pipeline::new("locked", &schema("lkl")).await;
    let mut application = application(&pipeline).await;
    // The publication is made while the table is locked: nobody waits behind it.
    let lock = application.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE lkl_b IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let running = pipeline.start_logging(&["run"], log.reopen().unwrap());
    until("the log says who is waited for", async || {
        fs::read_to_string(log.path())
            .unwrap()
            .contains("waiting for a table that other sessions lock")
    })
    .await;
    lock.rollback().await.unwrap();
    eventually("the copy is under way", "RETURN COUNT { (:LklA) } > 1000 AS yes").await;
    let lock = application.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE lkl_b IN ACCESS EXCLUSIVE MODE").await.unwrap();
    pipeline.sql.batch_execute("INSERT INTO lkl_other VALUES (1)").await.unwrap();
    eventually("the stream goes on", "RETURN EXISTS { (:LklOther {id: 1}) } AS yes").await;
    let copied = format!("RETURN COUNT {{ (:LklA) }} = {ROWS} AS yes");
    eventually("other tables are copied", &copied).await;
    assert!(is_copying(&pipeline).await);
    running.kill();
    let log = tempfile::NamedTempFile::new().unwrap();
    let running = pipeline.start_logging(&["run"], log.reopen().unwrap());
    pipeline.sql.batch_execute("INSERT INTO lkl_other VALUES (2)").await.unwrap();
    eventually("it goes on after a kill", "RETURN EXISTS { (:LklOther {id: 2}) } AS yes").await;
    // Whoever locks has a transaction, and what ran at a start must have ended.
    until("the log says whom the copy waits for", async || {
        fs::read_to_string(log.path()).unwrap().contains("the copy waits for transactions to end")
    })
    .await;
    lock.rollback().await.unwrap();
    let copied = format!("RETURN COUNT {{ (:LklB) }} = {ROWS} AS yes");
    eventually("the table is copied once it is free", &copied).await;
    drop(running);
}
