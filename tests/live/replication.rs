//! The replication client against real servers: pinned settings, feedback, ends.

mod feedback;
mod slots;

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;
use wal2graph::{
    change::{Cell, Change, Event},
    lsn::Lsn,
    pipeline::{Failure, Source},
    postgres::{
        connect::{SourceUrl, sql},
        replication::{Connection, Stream, StreamError},
        setup,
    },
};
use wal2graph_servers::{Postgres, PostgresOptions, Stop};

use crate::support::{HELD_UP, client, new_database, postgres};

const PATIENCE: Duration = Duration::from_secs(30);

/// A table, a publication and a slot called like the database.
async fn published(server: &Postgres, database: &str) -> SourceUrl {
    let sql = client(&server.url(database)).await;
    let setup = "CREATE TABLE things (id int PRIMARY KEY, at timestamptz); CREATE PUBLICATION p FOR TABLE things";
    sql.batch_execute(setup).await.unwrap();
    setup::create_slot(&sql, database, false).await.unwrap();
    server.url(database).parse().unwrap()
}

async fn stream(url: &SourceUrl, slot: &str, from: Lsn) -> Result<Stream, StreamError> {
    let connection = Connection::connect(url).await.unwrap();
    let sentinel = sql(url).await.unwrap();
    let closed = sentinel.closed.keeping(Arc::new(sentinel.client));
    connection.start(slot, "p", from, from, Duration::from_millis(500), closed).await
}

/// Reads until a transaction has been committed: its changes, and the position after it. What came
/// along with its end is dropped. Empty ones, which PostgreSQL 14 sends too, are passed over.
async fn transaction(stream: &mut Stream) -> (Vec<Change>, Lsn) {
    let mut changes = Vec::new();
    loop {
        for event in timeout(PATIENCE, stream.next()).await.expect("in time").unwrap() {
            match event {
                Event::Change(change) => changes.push(change),
                Event::Commit(commit) if !changes.is_empty() => return (changes, commit.end_lsn),
                Event::Begin(_) | Event::Commit(_) | Event::Keepalive { .. } => {}
            }
        }
    }
}

/// Closes the stream, and waits until the server has heard its last word and let go of the slot.
async fn let_go(stream: Stream, sql: &Client, slot: &str) {
    stream.close().await;
    let active = "SELECT active FROM pg_replication_slots WHERE slot_name = $1";
    let started = Instant::now();
    while sql.query_one(active, &[&slot]).await.unwrap().get::<_, bool>(0) {
        assert!(started.elapsed() < PATIENCE, "the slot is still in use");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Reads until the stream ends, and acknowledges what keepalives name if it should.
async fn end_of(stream: &mut Stream, acknowledge: bool) -> StreamError {
    loop {
        match timeout(PATIENCE, stream.next()).await.expect("in time") {
            Err(end) => return end,
            Ok(events) => {
                for event in events.into_iter().filter(|_| acknowledge) {
                    if let Event::Keepalive { wal_end, .. } = event {
                        stream.acknowledge(wal_end);
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_acknowledged_is_not_sent_again_and_the_rest_is() {
    let database = new_database("replication").await;
    let url = published(postgres(), &database).await;
    let sql = client(&postgres().url(&database)).await;
    sql.batch_execute("INSERT INTO things VALUES (1)").await.unwrap();
    sql.batch_execute("INSERT INTO things VALUES (2)").await.unwrap();
    let mut first = stream(&url, &database, Lsn::ZERO).await.unwrap();
    let (changes, end) = transaction(&mut first).await;
    assert_eq!(changes.len(), 1);
    first.acknowledge(end);
    let_go(first, &sql, &database).await;
    let mut second = stream(&url, &database, Lsn::ZERO).await.unwrap();
    let (changes, _) = transaction(&mut second).await;
    let [Change::Insert { new, .. }] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(new[0], Cell::Text("2".into()));
}

#[tokio::test]
async fn a_databases_own_settings_do_not_change_the_text_of_values() {
    let database = new_database("settings").await;
    let url = published(postgres(), &database).await;
    let sql = client(&postgres().url(&database)).await;
    let changed = format!(
        "ALTER DATABASE {database} SET datestyle = 'German'; ALTER DATABASE {database} SET timezone = 'Asia/Tokyo'"
    );
    sql.batch_execute(&changed).await.unwrap();
    sql.batch_execute("INSERT INTO things VALUES (1, '2024-03-04 05:06:07+00')").await.unwrap();
    let mut stream = stream(&url, &database, Lsn::ZERO).await.unwrap();
    let (changes, _) = transaction(&mut stream).await;
    let [Change::Insert { new, .. }] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(new[1], Cell::Text("2024-03-04 05:06:07+00".into()));
}

#[tokio::test]
async fn a_slot_in_use_and_a_slot_that_is_not_there_are_told_apart() {
    let database = new_database("taken").await;
    let url = published(postgres(), &database).await;
    let held = stream(&url, &database, Lsn::ZERO).await.unwrap();
    let Err(taken) = stream(&url, &database, Lsn::ZERO).await else {
        panic!("two streams of a slot")
    };
    assert!(matches!(taken, StreamError::SlotActive { .. }) && taken.is_transient(), "{taken}");
    let sql = client(&postgres().url(&database)).await;
    let holder = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1";
    let holder: i32 = sql.query_one(holder, &[&database]).await.unwrap().get(0);
    assert!(taken.to_string().contains(&holder.to_string()), "who has it: {taken}");
    held.close().await;
    let Err(missing) = stream(&url, "not_there", Lsn::ZERO).await else { panic!("no such slot") };
    assert!(matches!(missing, StreamError::Missing { .. }) && !missing.is_transient(), "{missing}");
}

#[tokio::test]
async fn a_fast_shutdown_is_not_held_up() {
    for acknowledges in [true, false] {
        let mut server = Postgres::start(&PostgresOptions::default()).unwrap();
        let url = published(&server, "postgres").await;
        let sql = client(&server.url("postgres")).await;
        let mut stream = stream(&url, "postgres", Lsn::ZERO).await.unwrap();
        if !acknowledges {
            sql.batch_execute("INSERT INTO things SELECT generate_series(1, 1000)").await.unwrap();
            transaction(&mut stream).await;
        }
        let stopping = tokio::task::spawn_blocking(move || server.stop(Stop::Fast));
        let end = end_of(&mut stream, acknowledges).await;
        assert!(end.is_transient(), "{end}");
        stream.close().await;
        let took = stopping.await.unwrap().unwrap();
        assert!(took < HELD_UP, "it took {took:?} (acknowledging: {acknowledges})");
    }
}

/// The graph was away, so nobody took what was read: PostgreSQL waited for `wal_sender_timeout`.
#[tokio::test]
async fn a_fast_shutdown_was_held_up_by_a_consumer_that_stands_still() {
    let mut server = Postgres::start(&PostgresOptions::default()).unwrap();
    let url = published(&server, "postgres").await;
    let sql = client(&server.url("postgres")).await;
    let stream = stream(&url, "postgres", Lsn::ZERO).await.unwrap();
    let rows = "INSERT INTO things SELECT g, now() FROM generate_series(1, 600000) g";
    sql.batch_execute(rows).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    let stopping = tokio::task::spawn_blocking(move || server.stop(Stop::Fast));
    let took = stopping.await.unwrap().unwrap();
    assert!(took < HELD_UP, "it took {took:?}");
    drop(stream);
}

#[tokio::test]
async fn a_killed_server_and_a_terminated_walsender_are_transient() {
    let mut server = Postgres::start(&PostgresOptions::default()).unwrap();
    let url = published(&server, "postgres").await;
    let mut first = stream(&url, "postgres", Lsn::ZERO).await.unwrap();
    let sql = client(&server.url("postgres")).await;
    sql.batch_execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots")
        .await
        .unwrap();
    let end = end_of(&mut first, true).await;
    assert!(end.is_transient(), "{end}");
    drop(first);
    sleep(Duration::from_millis(500)).await;
    let mut second = stream(&url, "postgres", Lsn::ZERO).await.unwrap();
    server.kill().unwrap();
    let end = end_of(&mut second, true).await;
    assert!(end.is_transient(), "{end}");
}
