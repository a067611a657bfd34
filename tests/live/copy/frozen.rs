//! A program that is stopped in the middle of a copy (SIGSTOP, a frozen virtual machine): for the server
//! it is there, and takes nothing. So it is for a network that is cut.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::support::{Pipeline, client, eventually, holds, until};

/// Rows of each table: wide enough that their sessions are stuck while they send.
const ROWS: u32 = 30_000;
/// The longest that an application waits: five seconds, and what a busy machine adds. It was a
/// minute.
const WAIT_MAX: Duration = Duration::from_secs(40);

#[ignore = "long: make nightly"]
#[tokio::test]
async fn an_application_waited_a_minute_for_a_copy_whose_program_is_stopped() {
    let table = |name: &str| {
        format!(
            "CREATE TABLE frz_{name} (id int PRIMARY KEY, v text); \
             ALTER TABLE frz_{name} ALTER v SET STORAGE EXTERNAL; \
             INSERT INTO frz_{name} SELECT g, repeat('x', 3000) FROM generate_series(1, {ROWS}) g; "
        )
    };
    let pipeline = Pipeline::new("frozen", &["a", "b", "c"].map(table).concat()).await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let running = pipeline.start_logging(&["run"], log.reopen().unwrap());
    eventually("the copy is under way", "RETURN COUNT { (:FrzA) } > 1000 AS yes").await;
    let copying = format!(
        "RETURN EXISTS {{ (:_Wal2GraphCopy {{pipeline: '{}', done: false}}) }} AS yes",
        pipeline.name
    );
    assert!(holds(&copying).await, "the copy was done before");

    running.signal("STOP");
    let application = client(&pipeline.source_url).await;
    application.batch_execute("SET lock_timeout = '50s'").await.unwrap();
    let mut waited = Vec::new();
    for table in ["frz_a", "frz_b", "frz_c"] {
        let since = Instant::now();
        let alter = format!("ALTER TABLE {table} ALTER v SET DEFAULT 'y'");
        application.batch_execute(&alter).await.unwrap();
        waited.push((table, since.elapsed()));
    }
    println!("{waited:?}");
    assert!(waited.iter().all(|(_, waited)| *waited < WAIT_MAX), "{waited:?}");
    assert!(waited.iter().any(|(_, waited)| *waited > Duration::from_secs(1)), "{waited:?}");
    running.signal("CONT");

    let copied = async || fs::read_to_string(log.path()).unwrap().contains("copied rows");
    until("the copy goes on and ends", copied).await;
    let equal = ["A", "B", "C"].map(|it| format!("COUNT {{ (:Frz{it}) }} = {ROWS}")).join(" AND ");
    eventually("the graph has what the tables have", &format!("RETURN {equal} AS yes")).await;
    drop(running);
    until("the server guards nothing any more", async || {
        let guards = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO $guard$%' \
                      AND datname = current_database()";
        application.query_one(guards, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
}
