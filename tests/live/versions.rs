//! The program on every PostgreSQL that is supported, beside the suite's own.

use std::time::Duration;

use fastrand::Rng;
use wal2graph_servers::{Postgres, PostgresOptions};

use crate::{
    differential::{compare, schema, transaction},
    support::{Pipeline, eventually, holds},
};

/// Random transactions of each phase.
const TRANSACTIONS: usize = 30;

// 15 is the suite's default.

#[ignore = "long: make nightly"]
#[tokio::test]
async fn postgresql_14() {
    copy_and_stream(14).await;
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn postgresql_16() {
    copy_and_stream(16).await;
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn postgresql_17() {
    copy_and_stream(17).await;
}

#[tokio::test]
async fn postgresql_18() {
    copy_and_stream(18).await;
}

async fn copy_and_stream(version: u32) {
    let options = PostgresOptions { version, ..PostgresOptions::default() };
    let server = tokio::task::spawn_blocking(move || Postgres::start(&options));
    let server = server.await.unwrap().unwrap_or_else(|error| panic!("{error}"));
    let prefix = format!("v{version}");
    let generated = format!(
        "CREATE TABLE {prefix}_boxes (id int PRIMARY KEY, side int, area int GENERATED ALWAYS AS (side * side) STORED); \
         INSERT INTO {prefix}_boxes VALUES (1, 2)"
    );
    let pipeline = Pipeline::on(&server, &prefix, &format!("{}{generated}", schema(&prefix))).await;
    let sql = &pipeline.sql;
    let mut rng = Rng::with_seed(u64::from(version));
    for _ in 0..TRANSACTIONS {
        transaction(sql, &mut rng, &prefix).await;
    }
    pipeline.catch_up().await;
    compare(sql, &prefix).await;
    let mut running = pipeline.start();
    for _ in 0..TRANSACTIONS {
        transaction(sql, &mut rng, &prefix).await;
    }
    let text = format!(
        "INSERT INTO {prefix}_boxes VALUES (2, 3); UPDATE {prefix}_boxes SET side = 5 WHERE id = 1; \
         INSERT INTO {prefix}_teams VALUES (901, 'moves', 1, now()); \
         INSERT INTO {prefix}_tasks VALUES (901, 901, NULL, true, ARRAY['a', 'b']); \
         UPDATE {prefix}_teams SET id = 902 WHERE id = 901; TRUNCATE {prefix}_members"
    );
    sql.batch_execute(&text).await.unwrap();
    let moved = format!(
        "RETURN EXISTS {{ (:V{version}Task {{id: 901}})-[:TEAM]->(:V{version}Team {{id: 902}}) }} AS yes"
    );
    eventually("the key change", &moved).await;
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
    pipeline.catch_up().await;
    compare(sql, &prefix).await;
    // A generated column is not streamed, so it is not copied either: both kinds of rows look alike.
    let alike = format!(
        "MATCH (b:V{version}Box) RETURN count(b) = 2 AND all(box IN collect(b) WHERE box.area IS NULL) \
         AND sum(b.side) = 8 AS yes"
    );
    assert!(holds(&alike).await, "generated columns");
    follows_changes(&pipeline, version).await;
}

/// What the catalog shows of a changed table, on each version.
async fn follows_changes(pipeline: &Pipeline, version: u32) {
    let boxes = format!("v{version}_boxes");
    let change = format!(
        "ALTER TABLE {boxes} ADD stored int DEFAULT 7, ADD plain int, ADD again int DEFAULT 1; \
         ALTER TABLE {boxes} DROP again; ALTER TABLE {boxes} ADD again int; \
         ALTER TABLE {boxes} ALTER stored TYPE int USING stored * 2; \
         CREATE TABLE v{version}_lids (id int PRIMARY KEY, box_id int REFERENCES {boxes}); \
         INSERT INTO v{version}_lids VALUES (1, 1); ALTER TABLE {boxes} RENAME id TO number"
    );
    pipeline.sql.batch_execute(&change).await.unwrap();
    pipeline.catch_up().await;
    let verified = pipeline.output(&["verify"]).await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let is = format!(
        "MATCH (b:V{version}Box) RETURN count(b) = 2 AND sum(b.side) = 8 AND sum(b.stored) = 28 \
         AND EXISTS {{ (:V{version}Lid)-->(:V{version}Box {{number: 1}}) }} AS yes"
    );
    assert!(holds(&is).await, "PostgreSQL {version}");
}
