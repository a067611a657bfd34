//! What the server is told, and when: never too late, never too much.

use std::{panic::AssertUnwindSafe, time::Duration};

use tokio::time::{sleep, timeout};
use wal2graph::{
    change::{Change, Event},
    lsn::Lsn,
    pipeline::Source,
};
use wal2graph_servers::{Postgres, PostgresOptions};

use crate::support::{PATIENCE, Pipeline, client, new_database, postgres};

use super::{let_go, published, stream, transaction};

#[tokio::test]
async fn a_consumer_slower_than_wal_sender_timeout_keeps_its_connection() {
    const ROWS: usize = 30_000;
    // A busy machine answers late, too.
    let settings = vec![("wal_sender_timeout".to_owned(), "4s".to_owned())];
    let server = Postgres::start(&PostgresOptions { settings, ..Default::default() }).unwrap();
    let url = published(&server, "postgres").await;
    let sql = client(&server.url("postgres")).await;
    // 57 MB: more than the queue and the sockets hold.
    let rows = format!(
        "CREATE TABLE wide (id int PRIMARY KEY, text text); ALTER PUBLICATION p ADD TABLE wide; \
         INSERT INTO wide SELECT g, repeat(md5(g::text), 60) FROM generate_series(1, {ROWS}) g"
    );
    sql.batch_execute(&rows).await.unwrap();
    let mut stream = stream(&url, "postgres", Lsn::ZERO).await.unwrap();
    let holder = "SELECT active_pid FROM pg_replication_slots";
    let before: Option<i32> = sql.query_one(holder, &[]).await.unwrap().get(0);
    sleep(Duration::from_secs(12)).await;
    let after: Option<i32> = sql.query_one(holder, &[]).await.unwrap().get(0);
    assert!(before.is_some() && before == after, "the same connection: {before:?}, {after:?}");
    let (changes, _) = transaction(&mut stream).await;
    assert_eq!(changes.len(), ROWS);
}

#[tokio::test]
async fn nothing_is_acknowledged_that_was_not_received() {
    let database = new_database("beyond").await;
    let url = published(postgres(), &database).await;
    let mut stream = stream(&url, &database, Lsn::ZERO).await.unwrap();
    client(&postgres().url(&database))
        .await
        .batch_execute("INSERT INTO things VALUES (1)")
        .await
        .unwrap();
    let (_, end) = transaction(&mut stream).await;
    stream.acknowledge(end);
    // The server would take it, and skip what comes.
    let beyond = Lsn(end.0 + (1 << 40));
    let panics = std::panic::catch_unwind(AssertUnwindSafe(|| stream.acknowledge(beyond)));
    assert!(panics.is_err(), "a bug of ours is caught before the server hears of it");
    stream.close().await;
}

#[tokio::test]
async fn a_smaller_acknowledgement_moves_nothing_back() {
    let database = new_database("backwards").await;
    let url = published(postgres(), &database).await;
    let sql = client(&postgres().url(&database)).await;
    sql.batch_execute("INSERT INTO things VALUES (1)").await.unwrap();
    sql.batch_execute("INSERT INTO things VALUES (2)").await.unwrap();
    let mut stream = stream(&url, &database, Lsn::ZERO).await.unwrap();
    let mut ends = Vec::new();
    while ends.len() < 2 {
        for event in timeout(PATIENCE, stream.next()).await.unwrap().unwrap() {
            if let Event::Commit(commit) = event {
                ends.push(commit.end_lsn);
            }
        }
    }
    let (first, second) = (ends[0], ends[1]);
    stream.acknowledge(second);
    stream.acknowledge(first);
    let_go(stream, &sql, &database).await;
    let confirmed =
        "SELECT (confirmed_flush_lsn - '0/0')::int8 FROM pg_replication_slots WHERE slot_name = $1";
    let confirmed: i64 = sql.query_one(confirmed, &[&database]).await.unwrap().get(0);
    assert_eq!(confirmed.unsigned_abs(), second.0);
}

#[tokio::test]
async fn until_current_ends_at_a_position_behind_a_page_header() {
    // Nobody else writes here: the log ends exactly where the new segment begins.
    let server = Postgres::start(&PostgresOptions::default()).unwrap();
    let pipeline =
        Pipeline::on(&server, "segment", "CREATE TABLE sg_things (id int PRIMARY KEY)").await;
    pipeline.catch_up().await;
    for id in 0..3 {
        let insert = format!("INSERT INTO sg_things VALUES ({id})");
        pipeline.sql.batch_execute(&insert).await.unwrap();
        pipeline.sql.batch_execute("SELECT pg_switch_wal()").await.unwrap();
        let mut until =
            pipeline.start_logging(&["run", "--until", "current"], std::process::Stdio::null());
        assert_eq!(until.ended(PATIENCE).await, Some(0), "it ends");
    }
}

#[tokio::test]
async fn after_a_crash_the_slot_goes_back_and_the_checkpoint_does_not() {
    let mut server = Postgres::start(&PostgresOptions::default()).unwrap();
    let url = published(&server, "postgres").await;
    let sql = client(&server.url("postgres")).await;
    let mut first = stream(&url, "postgres", Lsn::ZERO).await.unwrap();
    let mut applied = Lsn::ZERO;
    for id in 1..=3 {
        sql.batch_execute(&format!("INSERT INTO things VALUES ({id})")).await.unwrap();
        applied = transaction(&mut first).await.1;
        first.acknowledge(applied);
    }
    let_go(first, &sql, "postgres").await;
    let confirmed = "SELECT (confirmed_flush_lsn - '0/0')::int8 FROM pg_replication_slots";
    let before: i64 = sql.query_one(confirmed, &[]).await.unwrap().get(0);
    assert_eq!(before.unsigned_abs(), applied.0);
    server.kill().unwrap();
    server.start_again().unwrap();
    let sql = client(&server.url("postgres")).await;
    let after: i64 = sql.query_one(confirmed, &[]).await.unwrap().get(0);
    assert!(after < before, "it was saved at the last checkpoint: {after}, {before}");
    sql.batch_execute("INSERT INTO things VALUES (4)").await.unwrap();
    let mut second = stream(&url, "postgres", applied).await.unwrap();
    let (changes, _) = transaction(&mut second).await;
    let [Change::Insert { new, .. }] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(new[0], wal2graph::change::Cell::Text("4".into()), "the first three are not again");
}

#[tokio::test]
async fn an_acknowledged_commit_position_is_not_the_end_of_its_transaction() {
    let database = new_database("again").await;
    let url = published(postgres(), &database).await;
    let sql = client(&postgres().url(&database)).await;
    sql.batch_execute("INSERT INTO things VALUES (1)").await.unwrap();
    let mut first = stream(&url, &database, Lsn::ZERO).await.unwrap();
    let mut commit_lsn = Lsn::ZERO;
    'transaction: loop {
        for event in timeout(PATIENCE, first.next()).await.unwrap().unwrap() {
            match event {
                Event::Begin(begin) => commit_lsn = begin.commit_lsn,
                Event::Commit(_) => break 'transaction,
                _ => {}
            }
        }
    }
    first.acknowledge(commit_lsn);
    let_go(first, &sql, &database).await;
    let mut second = stream(&url, &database, Lsn::ZERO).await.unwrap();
    let (changes, _) = transaction(&mut second).await;
    assert_eq!(changes.len(), 1, "it comes again");
}
