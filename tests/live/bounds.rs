//! The largest transaction we promise to take.

use std::{fs, time::Duration};

use neo4rs::Query;
use tokio::time::{Instant, sleep};

use crate::support::{Pipeline, graph, rounds};

/// Rows of one source transaction: what we promise is looked at by `make nightly`.
const ROWS: (usize, usize) = (120_000, 2_000_000);
/// Their texts together, in bytes: a process that keeps them has more than it may.
const BYTES: usize = 320 << 20;
/// Resident memory of the process at its highest, in KiB.
const RESIDENT_KIB_MAX: u64 = 256 * 1024;
/// How long it may take, on a busy machine and in a debug build.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// How often the graph is looked at.
const PAUSE: Duration = Duration::from_millis(500);

/// The most memory the process ever had, in KiB.
fn resident_high_water(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

async fn number(cypher: &str) -> i64 {
    let rows = graph().rows(Query::new(cypher.to_owned())).await.unwrap();
    rows[0].get("number").unwrap()
}

#[ignore = "the same as copy::a_large_transaction, larger: make nightly"]
#[tokio::test]
async fn millions_of_rows_in_one_transaction_pass_in_parts_and_bounded_memory() {
    let rows = rounds(ROWS.0, ROWS.1);
    let schema = "CREATE TABLE bn_rows (id int PRIMARY KEY, text text)";
    let pipeline = Pipeline::new("bounds", schema).await;
    pipeline.catch_up().await;
    let mut running = pipeline.start();
    let insert = format!(
        "INSERT INTO bn_rows SELECT g, repeat('x', {}) FROM generate_series(1, {rows}) g",
        BYTES / rows
    );
    pipeline.sql.batch_execute(&insert).await.unwrap();
    let rows = i64::try_from(rows).unwrap();
    let began = Instant::now();
    let parts = format!(
        "MATCH (c:_Wal2GraphCheckpoint {{pipeline: '{}'}}) RETURN coalesce(c.part_events, 0) AS number",
        pipeline.name
    );
    let (mut seen, mut last) = (0, 0);
    while number("MATCH (n:BnRow) RETURN count(n) AS number").await < rows {
        let done = number(&parts).await;
        assert!(done >= last, "parts are done one after another");
        seen += usize::from(done > last);
        last = done;
        assert!(began.elapsed() < PATIENCE, "{last} rows are done");
        sleep(PAUSE).await;
    }
    let resident = resident_high_water(running.0.id());
    println!("{rows} rows in {:.0?}, {seen} parts seen, {resident} KiB resident", began.elapsed());
    assert!(seen > 1, "it came in parts");
    assert!(resident < RESIDENT_KIB_MAX, "{resident} KiB");
    assert_eq!(number("MATCH (n:BnRow) RETURN sum(n.id) AS number").await, rows * (rows + 1) / 2);
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
    let (applied, confirmed) = pipeline.positions().await;
    assert_eq!(applied, confirmed, "the whole transaction is acknowledged");
}
