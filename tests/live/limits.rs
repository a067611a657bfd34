//! What Neo4j does not take as a whole, and rows that it does not take at all.
#![allow(clippy::unwrap_used)]

use neo4rs::Query;
use wal2graph::neo4j::{Connection, Options, connect::ANSWER_LIMIT};
use wal2graph_servers::{Neo4j, Neo4jOptions};

use crate::support::{PATIENCE, Pipeline, Running, eventually, graph, holds, program, until};

/// A server that grants a transaction little memory.
fn small() -> Neo4j {
    let settings = vec!["db.memory.transaction.max=10m".to_owned()];
    let options = Neo4jOptions { settings, ..Neo4jOptions::default() };
    Neo4j::start(&options).unwrap_or_else(|error| panic!("{error}"))
}

async fn count(url: &str, cypher: &str) -> i64 {
    let connection = Connection::new(&Options::open(url), ANSWER_LIMIT).unwrap();
    let rows = connection.rows(Query::new(cypher.to_owned())).await.unwrap();
    rows[0].get("count").unwrap()
}

/// `run --until current` against the server: its log.
async fn run(pipeline: &Pipeline, url: &str, exit: i32) -> String {
    let output = pipeline.output_with_graph(&["run", "--until", "current"], url).await;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(exit), "{log}");
    println!("{log}");
    log
}

#[tokio::test]
async fn a_transaction_too_large_for_neo4j_ended_the_program() {
    let small = small();
    let schema = "CREATE TABLE tl_rows (id int PRIMARY KEY, a text, b text); \
        INSERT INTO tl_rows SELECT g, 'a' || g, 'b' || g FROM generate_series(1, 20000) g";
    let pipeline = Pipeline::new("too_large", schema).await;
    let log = run(&pipeline, &small.url(), 0).await;
    assert!(log.contains("rows at once: going on with fewer"), "the copy was cut: {log}");
    assert_eq!(count(&small.url(), "MATCH (n:TlRow) RETURN count(n) AS count").await, 20_000);
    // One source transaction of as many rows, and one that clears the table.
    pipeline
        .sql
        .batch_execute(
            "INSERT INTO tl_rows SELECT g, 'c' || g, 'd' || g FROM generate_series(20001, 40000) g",
        )
        .await
        .unwrap();
    let log = run(&pipeline, &small.url(), 0).await;
    let cuts = log.matches("changes at once: going on with fewer").count();
    assert!((1..=8).contains(&cuts), "{cuts}: the size is remembered: {log}");
    let inserted = "MATCH (n:TlRow) WHERE n.a STARTS WITH 'c' AND n.b STARTS WITH 'd' RETURN count(n) AS count";
    assert_eq!(count(&small.url(), inserted).await, 20_000);
    pipeline.sql.batch_execute("TRUNCATE tl_rows; INSERT INTO tl_rows VALUES (1)").await.unwrap();
    run(&pipeline, &small.url(), 0).await;
    assert_eq!(count(&small.url(), "MATCH (n:TlRow) RETURN count(n) AS count").await, 1);
}

#[tokio::test]
async fn a_key_larger_than_its_index_stopped_the_stream_without_a_name() {
    let schema = "CREATE TABLE tl_urls (url text PRIMARY KEY, n int)";
    let pipeline = Pipeline::new("long_key", schema).await;
    let url = crate::support::neo4j().url();
    pipeline.catch_up().await;
    let rows = "BEGIN; INSERT INTO tl_urls SELECT 'u' || g, g FROM generate_series(1, 40) g; \
        INSERT INTO tl_urls VALUES (repeat('x', 9000), 2); INSERT INTO tl_urls VALUES ('last', 3); COMMIT";
    pipeline.sql.batch_execute(rows).await.unwrap();
    let log = run(&pipeline, &url, 1).await;
    for said in [
        "To go on, ",
        "INSERT into public.tl_urls (url = xxxxx",
        "change 41 of transaction",
        "too large to index",
        "Neo.DatabaseError.Statement.ExecutionFailed",
        "Shorten the value",
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
    assert!(!log.contains(&"x".repeat(200)), "the key is cut: {log}");
    let before = "MATCH (n:TlUrl) RETURN count(n) = 40 AS yes";
    assert!(holds(before).await, "what came before it is written");
}

#[tokio::test]
async fn a_copied_key_larger_than_its_index_was_not_named() {
    let schema = "CREATE TABLE tl_pages (url text PRIMARY KEY, n int); \
        INSERT INTO tl_pages SELECT 'u' || g, g FROM generate_series(1, 300) g; \
        INSERT INTO tl_pages VALUES (repeat('y', 9000), 2)";
    let pipeline = Pipeline::new("long_copied", schema).await;
    let log = run(&pipeline, &crate::support::neo4j().url(), 1).await;
    for said in
        ["the copy of public.tl_pages, url = yyyyy", "too large to index", "Shorten the value"]
    {
        assert!(log.contains(said), "{said}: {log}");
    }
}

#[tokio::test]
async fn folding_made_a_conflict_that_the_source_never_had() {
    let schema = "CREATE TABLE tl_users (id int PRIMARY KEY, email text UNIQUE); \
        INSERT INTO tl_users VALUES (1, 'a'), (2, 'b')";
    let pipeline = Pipeline::new("foreign_unique", schema).await;
    pipeline.catch_up().await;
    let text = "CREATE CONSTRAINT theirs_of_tl_users FOR (u:TlUser) REQUIRE u.email IS UNIQUE";
    graph().run(Query::new(text.to_owned())).await.unwrap();
    let said = pipeline.output(&["check"]).await;
    let report = String::from_utf8_lossy(&said.stdout);
    assert!(report.contains("theirs_of_tl_users"), "{report}");
    let swap = "BEGIN; UPDATE tl_users SET email = 'tmp' WHERE id = 1; \
        UPDATE tl_users SET email = 'a' WHERE id = 2; UPDATE tl_users SET email = 'b' WHERE id = 1; COMMIT";
    pipeline.sql.batch_execute(swap).await.unwrap();
    pipeline.catch_up().await;
    let swapped = "RETURN EXISTS { (:TlUser {id: 1, email: 'b'}) } AND EXISTS { (:TlUser {id: 2, email: 'a'}) } AS yes";
    assert!(holds(swapped).await);
    // One that the source does have: the message says which row, and what Neo4j says.
    let twice = "ALTER TABLE tl_users DROP CONSTRAINT tl_users_email_key; INSERT INTO tl_users VALUES (3, 'a')";
    pipeline.sql.batch_execute(twice).await.unwrap();
    let log = run(&pipeline, &crate::support::neo4j().url(), 1).await;
    for said in ["public.tl_users (id = 3)", "already exists with label", "SHOW CONSTRAINTS"] {
        assert!(log.contains(said), "{said}: {log}");
    }
    graph().run(Query::new("DROP CONSTRAINT theirs_of_tl_users".to_owned())).await.unwrap();
    pipeline.catch_up().await;
}

#[tokio::test]
async fn a_constraint_dropped_while_run_streams_went_unnoticed() {
    let schema = "CREATE TABLE tl_kept (id int PRIMARY KEY)";
    let pipeline = Pipeline::new("constraint_kept", schema).await;
    let _running = pipeline.start();
    let name = "wal2graph_unique_node_TlKept.id";
    let is_there =
        format!("SHOW CONSTRAINTS YIELD name WHERE name = '{name}' RETURN count(*) = 1 AS yes");
    eventually("it is made", &is_there).await;
    pipeline.sql.batch_execute("INSERT INTO tl_kept VALUES (1)").await.unwrap();
    eventually("it streams", "MATCH (n:TlKept {id: 1}) RETURN count(n) = 1 AS yes").await;
    graph().run(Query::new(format!("DROP CONSTRAINT `{name}`"))).await.unwrap();
    assert!(!holds(&is_there).await);
    eventually("it is made again", &is_there).await;
}

/// Neo4j does not go on by itself when there is room again: somebody starts it again. Nothing else has to be done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graph_whose_disk_is_full_is_waited_for_until_it_has_room_and_is_started_again() {
    let mut own = Neo4j::start(&Neo4jOptions::default()).unwrap();
    let schema = "CREATE TABLE lfull_things (id int PRIMARY KEY, v text); INSERT INTO lfull_things VALUES (1, 'a')";
    let pipeline = Pipeline::new("full", schema).await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut running = program(&["run", "--http", "off"], &pipeline.source_url, &own.url());
    let running = running.stderr(log.reopen().unwrap()).spawn().unwrap();
    let mut running = Running(running);
    let url = own.url();
    let has =
        async |rows| count(&url, "MATCH (n:LfullThing) RETURN count(n) AS count").await == rows;
    until("it is copied", async || has(1).await).await;
    own.limit_files(Some(16 << 10)).unwrap();
    let rows =
        "INSERT INTO lfull_things SELECT g, repeat('v', 1000) FROM generate_series(2, 2000) g";
    pipeline.sql.batch_execute(rows).await.unwrap();
    let said = || std::fs::read_to_string(log.path()).unwrap();
    until("it says that Neo4j takes nothing", async || said().contains("did not take a write"))
        .await;
    own.kill().unwrap();
    own.start_again().unwrap();
    until("it goes on by itself", async || has(2000).await).await;
    println!("{}", said());
    assert_eq!(running.terminate(PATIENCE).await, Some(0));
}
