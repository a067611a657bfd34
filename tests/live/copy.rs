//! The copy beside applications, and its bounds: memory under large transactions and wide rows, log
//! retained by an idle pipeline.

mod completion;
mod frozen;
mod locks;
mod partitions;
mod slot;
mod stopped;

use std::{fs, time::Duration};

use neo4rs::Query;
use tokio::time::sleep;

use crate::support::{Pipeline, client, graph, new_database, postgres, until};

/// How long a large transaction may take to arrive, on a busy machine and in a debug build.
const PATIENCE: Duration = Duration::from_secs(600);
/// Resident memory of the process at its highest, in KiB.
const RESIDENT_KIB_MAX: u64 = 256 * 1024;

async fn until_there(cypher: &str) {
    let started = std::time::Instant::now();
    loop {
        let rows = graph().rows(Query::new(cypher.to_owned())).await.unwrap();
        if rows.first().is_some_and(|row| row.get::<bool>("yes").unwrap_or(false)) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "never true: {cypher}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// The most memory the process ever had, in KiB.
fn resident_high_water(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[tokio::test]
async fn a_large_transaction_and_a_wide_row_pass_in_bounded_memory() {
    let schema = "CREATE TABLE bm_rows (id int PRIMARY KEY, n int, text text); \
        ALTER TABLE bm_rows ALTER COLUMN text SET STORAGE EXTERNAL; \
        INSERT INTO bm_rows VALUES (-1, 1, repeat('x', 16 * 1024 * 1024))";
    let pipeline = Pipeline::new("memory", schema).await;
    let running = pipeline.start();
    until_there("RETURN EXISTS { MATCH (n:BmRow {id: -1}) WHERE size(n.text) = 16777216 } AS yes")
        .await;
    let large = "INSERT INTO bm_rows SELECT g, g, 'a text of some length ' || g FROM generate_series(1, 80000) g";
    pipeline.sql.batch_execute(large).await.unwrap();
    let wide = "INSERT INTO bm_rows VALUES (-2, 1, repeat('y', 16 * 1024 * 1024))";
    pipeline.sql.batch_execute(wide).await.unwrap();
    until_there("RETURN EXISTS { (:BmRow {id: -2}) } AND EXISTS { (:BmRow {id: 80000}) } AS yes")
        .await;
    let resident = resident_high_water(running.0.id());
    assert!(resident < RESIDENT_KIB_MAX, "{resident} KiB");
}

#[tokio::test]
async fn an_idle_pipeline_lets_the_log_of_other_databases_go() {
    let pipeline = Pipeline::new("idle", "CREATE TABLE il_rows (id int PRIMARY KEY)").await;
    pipeline.catch_up().await;
    let running = pipeline.start();
    let other = client(&postgres().url(&new_database("busy").await)).await;
    let fifty_megabytes = "CREATE TABLE t (text text); ALTER TABLE t ALTER COLUMN text SET STORAGE EXTERNAL; \
        INSERT INTO t SELECT repeat(md5(g::text), 320) FROM generate_series(1, 5000) g";
    other.batch_execute(fifty_megabytes).await.unwrap();
    // The slot's restart position follows the server's own records of running transactions, every 15 s.
    let retained = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::int8 \
        FROM pg_replication_slots WHERE slot_name = 'wal2graph_' || $1";
    until("the log is let go", async || {
        let row = pipeline.sql.query_one(retained, &[&pipeline.name]).await.unwrap();
        row.get::<_, i64>(0) < 1 << 20
    })
    .await;
    drop(running);
}
