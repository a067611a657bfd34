//! Slots that are lost, and publications that are not there: definite, with the reason.

use std::{fs::File, time::Duration};

use tokio::time::sleep;
use wal2graph::{
    lsn::Lsn,
    pipeline::Failure,
    postgres::{replication::StreamError, setup},
};
use wal2graph_servers::{Postgres, PostgresOptions};

use crate::support::{PATIENCE, Pipeline, client, eventually, new_database, postgres};

use super::{end_of, published, stream};

/// A server that keeps no log for slots.
fn forgetful() -> Postgres {
    let settings = [("max_slot_wal_keep_size", "1MB"), ("max_prepared_transactions", "5")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Postgres::start(&PostgresOptions { settings, ..Default::default() }).unwrap()
}

/// Writes so much log that the slot loses its own.
async fn overwrite(sql: &tokio_postgres::Client) {
    sql.batch_execute("CREATE TABLE IF NOT EXISTS noise (text text)").await.unwrap();
    for _ in 0..3 {
        let noise = "INSERT INTO noise SELECT repeat('x', 100) FROM generate_series(1, 1000)";
        sql.batch_execute(noise).await.unwrap();
        sql.batch_execute("SELECT pg_switch_wal()").await.unwrap();
    }
    sql.batch_execute("CHECKPOINT").await.unwrap();
}

#[tokio::test]
async fn a_lost_slot_ends_the_stream_and_does_not_start_again() {
    let server = forgetful();
    let url = published(&server, "postgres").await;
    let mut running = stream(&url, "postgres", Lsn::ZERO).await.unwrap();
    let sql = client(&server.url("postgres")).await;
    overwrite(&sql).await;
    let end = end_of(&mut running, false).await;
    assert!(end.is_transient(), "the server does not say why it ends us: {end}");
    drop(running);
    let Err(lost) = stream(&url, "postgres", Lsn::ZERO).await else { panic!("it is lost") };
    assert!(matches!(lost, StreamError::SlotLost { .. }) && !lost.is_transient(), "{lost}");
    assert!(lost.to_string().contains("has been invalidated"), "the server's words: {lost}");
}

#[tokio::test]
async fn the_program_stops_when_its_slot_is_lost_while_running_and_at_the_start() {
    let server = forgetful();
    let pipeline =
        Pipeline::on(&server, "lost", "CREATE TABLE lo_things (id int PRIMARY KEY)").await;
    pipeline.catch_up().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut running = pipeline.start_logging(&["run"], File::create(&log).unwrap());
    pipeline.sql.batch_execute("INSERT INTO lo_things VALUES (1)").await.unwrap();
    eventually("it streams", "RETURN EXISTS { (:LoThing {id: 1}) } AS yes").await;
    running.signal("STOP");
    overwrite(&pipeline.sql).await;
    running.signal("CONT");
    assert_eq!(running.ended(PATIENCE).await, Some(1));
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("is lost: the log that it needs was removed"), "{log}");
    let again = pipeline.output(&["run"]).await;
    let log = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), Some(1), "{log}");
    assert!(log.contains("`wal2graph repair --new-slot`"), "the fix: {log}");
    let renewed = pipeline.output(&["repair", "--new-slot"]).await;
    assert!(renewed.status.success(), "{}", String::from_utf8_lossy(&renewed.stderr));
    let verified = pipeline.output(&["verify"]).await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    pipeline.catch_up().await;
}

#[tokio::test]
async fn a_publication_that_is_missing_is_named() {
    let database = new_database("unpublished").await;
    let url = published(postgres(), &database).await;
    let sql = client(&postgres().url(&database)).await;
    sql.batch_execute("DROP PUBLICATION p; INSERT INTO things VALUES (1)").await.unwrap();
    let missing = match stream(&url, &database, Lsn::ZERO).await {
        Err(missing) => missing,
        Ok(mut stream) => end_of(&mut stream, true).await,
    };
    assert!(matches!(missing, StreamError::Missing { .. }) && !missing.is_transient(), "{missing}");
    assert!(missing.to_string().contains("\"p\""), "{missing}");
}

/// Up to 17 the server refuses; from 18 on it skips the changes with no more than a warning.
#[tokio::test]
async fn a_publication_younger_than_the_slot_never_skips_changes() {
    for version in [PostgresOptions::default().version, 18] {
        let options = PostgresOptions { version, ..Default::default() };
        let server = Postgres::start(&options).unwrap();
        let sql = client(&server.url("postgres")).await;
        sql.batch_execute("CREATE TABLE things (id int PRIMARY KEY)").await.unwrap();
        setup::create_slot(&sql, "late", false).await.unwrap();
        sql.batch_execute("INSERT INTO things VALUES (1)").await.unwrap();
        sql.batch_execute("CREATE PUBLICATION p FOR TABLE things").await.unwrap();
        let url = server.url("postgres").parse().unwrap();
        let late = match stream(&url, "late", Lsn::ZERO).await {
            Err(late) => late,
            Ok(mut stream) => end_of(&mut stream, true).await,
        };
        assert!(matches!(late, StreamError::Missing { .. }), "PostgreSQL {version}: {late}");
    }
}

#[tokio::test]
async fn the_program_names_the_publication_that_was_dropped_under_it() {
    let pipeline = Pipeline::new("dropped", "CREATE TABLE dp_things (id int PRIMARY KEY)").await;
    pipeline.catch_up().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut running = pipeline.start_logging(&["run"], File::create(&log).unwrap());
    pipeline.sql.batch_execute("INSERT INTO dp_things VALUES (1)").await.unwrap();
    eventually("it streams", "RETURN EXISTS { (:DpThing {id: 1}) } AS yes").await;
    let drop = format!("DROP PUBLICATION wal2graph_{}", pipeline.name);
    pipeline.sql.batch_execute(&drop).await.unwrap();
    pipeline.sql.batch_execute("INSERT INTO dp_things VALUES (2)").await.unwrap();
    assert_eq!(running.ended(PATIENCE).await, Some(1));
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains(&format!("wal2graph_{}", pipeline.name)), "{log}");
}

#[tokio::test]
async fn a_prepared_transaction_is_waited_for_by_name_and_comes_when_it_commits() {
    let server = forgetful();
    let schema = "CREATE TABLE ptr_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::on(&server, "prepared", schema).await;
    let sql = &pipeline.sql;
    let prepare = |id: i32, name: &str| {
        format!("BEGIN; INSERT INTO ptr_things VALUES ({id}); PREPARE TRANSACTION '{name}'")
    };
    sql.batch_execute(&prepare(1, "in doubt")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let _running = pipeline.start_logging(&["run"], File::create(&path).unwrap());
    let started = std::time::Instant::now();
    while !std::fs::read_to_string(&path).unwrap().contains("in doubt") {
        assert!(started.elapsed() < PATIENCE, "{}", std::fs::read_to_string(&path).unwrap());
        sleep(Duration::from_millis(100)).await;
    }
    sql.batch_execute("COMMIT PREPARED 'in doubt'").await.unwrap();
    eventually("the copy has it", "RETURN EXISTS { (:PtrThing {id: 1}) } AS yes").await;
    sql.batch_execute(&prepare(2, "later")).await.unwrap();
    sql.batch_execute("INSERT INTO ptr_things VALUES (3)").await.unwrap();
    let before =
        "RETURN EXISTS { (:PtrThing {id: 3}) } AND NOT EXISTS { (:PtrThing {id: 2}) } AS yes";
    eventually("what is not committed is not there", before).await;
    sql.batch_execute("COMMIT PREPARED 'later'").await.unwrap();
    eventually("it comes", "RETURN EXISTS { (:PtrThing {id: 2}) } AS yes").await;
}

/// A lock without a process was waited for without a word.
#[tokio::test]
async fn a_prepared_transaction_that_has_a_table_to_itself_is_named() {
    let server = forgetful();
    let schema = "CREATE TABLE ptl_things (id int PRIMARY KEY); INSERT INTO ptl_things VALUES (1)";
    let pipeline = Pipeline::on(&server, "preparedlock", schema).await;
    let sql = &pipeline.sql;
    let lock = "BEGIN; ALTER TABLE ptl_things ADD COLUMN v text; PREPARE TRANSACTION 'has it'";
    sql.batch_execute(lock).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let _running = pipeline.start_logging(&["run"], File::create(&path).unwrap());
    let log = async || {
        std::fs::read_to_string(&path).unwrap().contains("the prepared transaction 'has it'")
    };
    crate::support::until("the log names it", log).await;
    sql.batch_execute("COMMIT PREPARED 'has it'").await.unwrap();
    eventually("the copy has it", "RETURN EXISTS { (:PtlThing {id: 1}) } AS yes").await;
}

/// `--until current` ended without what was committed and not flushed.
#[tokio::test]
async fn until_current_has_what_was_committed_and_not_flushed() {
    let settings = vec![("wal_writer_delay".to_owned(), "10s".to_owned())];
    let server = Postgres::start(&PostgresOptions { settings, ..Default::default() }).unwrap();
    let schema =
        "CREATE TABLE puf_things (id int PRIMARY KEY, v int); INSERT INTO puf_things VALUES (1, 0)";
    let pipeline = Pipeline::on(&server, "unflushed", schema).await;
    pipeline.catch_up().await;
    for round in 1..=3 {
        let update = format!("SET synchronous_commit = off; UPDATE puf_things SET v = {round}");
        pipeline.sql.batch_execute(&update).await.unwrap();
        pipeline.catch_up().await;
        let found = format!("RETURN EXISTS {{ (:PufThing {{v: {round}}}) }} AS yes");
        assert!(crate::support::holds(&found).await, "round {round}");
    }
}
