//! Rows that the graph refuses for good: set aside, and put back.
#![allow(clippy::unwrap_used)]

use neo4rs::Query;
use serde_json::Value;

use crate::{
    reconcile::differing,
    support::{Pipeline, eventually, graph, holds},
};

const PARK: &str = "on_error: park";

/// A command's exit code, and what it prints: on stdout, then on stderr.
async fn command(pipeline: &Pipeline, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = pipeline.output(arguments).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    println!("{arguments:?}: {:?}\n{stdout}\n{stderr}", output.status.code());
    (output.status.code(), stdout, stderr)
}

/// The letters that wait.
async fn letters(pipeline: &Pipeline) -> Vec<Value> {
    let (exit, stdout, _) = command(pipeline, &["dead-letters", "list", "--json"]).await;
    assert_eq!(exit, Some(0));
    serde_json::from_str(&stdout).unwrap()
}

async fn is_equal(pipeline: &Pipeline) {
    let (exit, stdout, _) = command(pipeline, &["verify", "--json"]).await;
    let findings = serde_json::from_str(&stdout).unwrap();
    assert!(exit == Some(0) && differing(&findings) == 0, "{findings:#}");
}

async fn run(sql: &Pipeline, statements: &str) {
    sql.sql.batch_execute(statements).await.unwrap();
}

#[tokio::test]
async fn a_row_that_is_refused_waits_and_everything_else_goes_on() {
    let schema = "CREATE TABLE ltr_urls (url text PRIMARY KEY, n int); \
        CREATE TABLE ltr_hits (id int PRIMARY KEY, url text REFERENCES ltr_urls ON UPDATE CASCADE, n int); \
        INSERT INTO ltr_urls SELECT 'u' || g, g FROM generate_series(1, 20) g";
    let pipeline = Pipeline::new("letters", schema).await.configured(PARK);
    let running = pipeline.start();
    eventually("it is copied", "RETURN COUNT { (:LtrUrl) } = 20 AS yes").await;
    let rows = "BEGIN; INSERT INTO ltr_urls SELECT 'v' || g, g FROM generate_series(1, 30) g; \
        INSERT INTO ltr_urls VALUES (repeat('x', 9000), 2); INSERT INTO ltr_hits VALUES (1, repeat('x', 9000), 1); \
        INSERT INTO ltr_hits VALUES (2, 'v1', 1); COMMIT; \
        UPDATE ltr_urls SET n = 3 WHERE length(url) = 9000; INSERT INTO ltr_urls VALUES ('last', 3)";
    run(&pipeline, rows).await;
    eventually(
        "the others are there",
        "RETURN EXISTS { (:LtrUrl {url: 'last'}) } AND COUNT { (:LtrUrl) } = 51 \
         AND EXISTS { (:LtrHit {id: 2})-[:URL]->(:LtrUrl {url: 'v1'}) } AS yes",
    )
    .await;
    let all = letters(&pipeline).await;
    assert_eq!(all.len(), 2, "the row, and the one whose relationship leads to it: {all:#?}");
    let of_url = all.iter().find(|it| it["table"] == "public.ltr_urls").unwrap();
    assert!(of_url["changes"].as_u64() >= Some(1), "{of_url:#}");
    assert!(of_url["reason"].as_str().unwrap().contains("too large to index"), "{of_url:#}");
    let name = of_url["name"].as_str().unwrap().to_owned();
    let (_, shown, _) = command(&pipeline, &["dead-letters", "show", &name]).await;
    for said in ["too large to index", "Shorten the value", "value     n: \"3\"", "update at "] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    let (_, status, _) = command(&pipeline, &["status"]).await;
    assert!(status.contains("set aside     2 rows"), "{status}");
    // Nothing has been mended.
    let (exit, stdout, _) = command(&pipeline, &["dead-letters", "retry", &name]).await;
    assert!(exit == Some(1) && stdout.contains("still refused"), "{stdout}");
    let (exit, _, _) = command(&pipeline, &["verify"]).await;
    assert_eq!(exit, Some(1), "what is set aside differs");
    // A kill forgets nothing.
    running.kill();
    let _running = pipeline.start();
    run(&pipeline, "UPDATE ltr_urls SET url = 'short' WHERE length(url) = 9000").await;
    run(&pipeline, "INSERT INTO ltr_urls VALUES ('later', 4)").await;
    eventually("it goes on", "RETURN EXISTS { (:LtrUrl {url: 'later'}) } AS yes").await;
    let (exit, stdout, _) = command(&pipeline, &["dead-letters", "retry", "--all"]).await;
    assert_eq!(exit, Some(0), "{stdout}");
    assert!(letters(&pipeline).await.is_empty());
    let right = "RETURN EXISTS { (:LtrHit {id: 1})-[:URL]->(:LtrUrl {url: 'short', n: 3}) } AS yes";
    assert!(holds(right).await);
    is_equal(&pipeline).await;
}

#[tokio::test]
async fn a_row_that_somebodys_constraint_refuses_is_put_back_once_that_is_gone() {
    let schema = "CREATE TABLE ltc_users (id int PRIMARY KEY, email text); \
        INSERT INTO ltc_users VALUES (1, 'a'), (2, 'b')";
    let pipeline = Pipeline::new("letters_constraint", schema).await.configured(PARK);
    pipeline.catch_up().await;
    let text = "CREATE CONSTRAINT theirs_of_ltc_users FOR (u:LtcUser) REQUIRE u.email IS UNIQUE";
    graph().run(Query::new(text.to_owned())).await.unwrap();
    // The swap of a deferred constraint, a key that goes to one that is set aside, and what empties nothing.
    let rows = "BEGIN; UPDATE ltc_users SET email = CASE id WHEN 1 THEN 'b' ELSE 'a' END; COMMIT; \
        INSERT INTO ltc_users VALUES (3, 'a'), (4, 'd'); DELETE FROM ltc_users WHERE id = 3; \
        UPDATE ltc_users SET id = 3 WHERE id = 4; INSERT INTO ltc_users VALUES (5, 'e')";
    run(&pipeline, rows).await;
    pipeline.catch_up().await;
    let all = letters(&pipeline).await;
    assert!(all.len() >= 2, "{all:#?}");
    assert!(holds("RETURN EXISTS { (:LtcUser {id: 5}) } AS yes").await);
    // Nothing runs: the command does it.
    let (exit, _, _) = command(&pipeline, &["dead-letters", "retry", "--all"]).await;
    assert_eq!(exit, Some(1), "the constraint is still there");
    graph().run(Query::new("DROP CONSTRAINT theirs_of_ltc_users".to_owned())).await.unwrap();
    let (exit, stdout, _) = command(&pipeline, &["dead-letters", "retry", "--all"]).await;
    assert_eq!(exit, Some(0), "{stdout}");
    assert!(letters(&pipeline).await.is_empty());
    is_equal(&pipeline).await;
}

#[tokio::test]
async fn rows_that_a_copy_can_not_write_are_set_aside_and_a_truncate_ends_that() {
    let schema = "CREATE TABLE lty_pages (url text PRIMARY KEY, n int); \
        INSERT INTO lty_pages SELECT 'u' || g, g FROM generate_series(1, 300) g; \
        INSERT INTO lty_pages VALUES (repeat('y', 9000), 2), (repeat('z', 9000), 3)";
    let pipeline = Pipeline::new("letters_copy", schema).await.configured(PARK);
    pipeline.catch_up().await;
    assert!(holds("RETURN COUNT { (:LtyPage) } = 300 AS yes").await);
    assert_eq!(letters(&pipeline).await.len(), 2);
    let (exit, _, log) = command(&pipeline, &["repair"]).await;
    assert_eq!(exit, Some(1), "a repair goes on, and does not say that all is well: {log}");
    assert!(log.contains("2 rows are set aside"), "{log}");
    assert_eq!(letters(&pipeline).await.len(), 2);
    run(&pipeline, "TRUNCATE lty_pages; INSERT INTO lty_pages VALUES ('one', 1)").await;
    pipeline.catch_up().await;
    assert!(letters(&pipeline).await.is_empty(), "their rows are gone");
    is_equal(&pipeline).await;
}

#[tokio::test]
async fn a_row_that_is_given_up_stays_as_it_is_and_its_later_changes_are_written() {
    let schema = "CREATE TABLE ltd_rows (id text PRIMARY KEY, n int)";
    let pipeline = Pipeline::new("letters_dropped", schema).await.configured(PARK);
    let _running = pipeline.start();
    run(&pipeline, "INSERT INTO ltd_rows VALUES ('a', 1), (repeat('x', 9000), 1), ('b', 2)").await;
    eventually("the others are there", "RETURN COUNT { (:LtdRow) } = 2 AS yes").await;
    let waits =
        format!("RETURN COUNT {{ (:_DeadLetter {{pipeline: '{}'}}) }} = 1 AS yes", pipeline.name);
    eventually("it waits", &waits).await;
    let (exit, stdout, _) = command(&pipeline, &["dead-letters", "drop", "--all"]).await;
    assert!(exit == Some(0) && stdout.contains("dropped"), "{stdout}");
    assert!(letters(&pipeline).await.is_empty());
    run(&pipeline, "UPDATE ltd_rows SET id = 'c' WHERE length(id) = 9000").await;
    eventually("its later change is written", "RETURN EXISTS { (:LtdRow {id: 'c', n: 1}) } AS yes")
        .await;
    is_equal(&pipeline).await;
}

#[tokio::test]
async fn more_rows_than_may_wait_end_the_program() {
    let schema = "CREATE TABLE ltm_rows (id text PRIMARY KEY)";
    let file = "on_error: park\nlimits: {dead_letters: 2}";
    let pipeline = Pipeline::new("letters_many", schema).await.configured(file);
    pipeline.catch_up().await;
    let rows =
        "INSERT INTO ltm_rows SELECT chr(96 + g) || repeat('x', 9000) FROM generate_series(1, 3) g";
    run(&pipeline, rows).await;
    let (exit, _, log) = command(&pipeline, &["run", "--until", "current"]).await;
    assert_eq!(exit, Some(1), "{log}");
    assert!(
        log.contains("2 rows are set aside") && log.contains("raise limits.dead_letters"),
        "{log}"
    );
    let wider = pipeline.configured("on_error: park\nlimits: {dead_letters: 3}");
    wider.catch_up().await;
    assert_eq!(letters(&wider).await.len(), 3);
}

#[tokio::test]
async fn a_value_above_the_limit_is_named_and_set_aside() {
    let schema = "CREATE TABLE ltv_docs (id int PRIMARY KEY, body text, note text); \
        INSERT INTO ltv_docs VALUES (1, repeat('x', 3000000), 'copied')";
    let limits = "limits: {value_bytes: 1MB}";
    let stopping = Pipeline::new("letters_value", schema).await.configured(limits);
    let (exit, _, log) = command(&stopping, &["run", "--until", "current"]).await;
    assert_eq!(exit, Some(1), "{log}");
    for said in [
        "public.ltv_docs (id: 1)",
        "body has 3000000 bytes",
        "limits.value_bytes",
        "on_error: park",
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
    let parking = stopping.configured("on_error: park\nlimits: {value_bytes: 1MB}");
    parking.catch_up().await;
    run(
        &parking,
        "INSERT INTO ltv_docs VALUES (2, repeat('y', 2000000), 'streamed'), (3, 'short', 'n')",
    )
    .await;
    parking.catch_up().await;
    assert!(holds("RETURN COUNT { (:LtvDoc) } = 1 AS yes").await);
    assert_eq!(letters(&parking).await.len(), 2);
    let wider = parking.configured("on_error: park\nlimits: {value_bytes: 4MB}");
    let (exit, stdout, _) = command(&wider, &["dead-letters", "retry", "--all"]).await;
    assert_eq!(exit, Some(0), "{stdout}");
    is_equal(&wider).await;
}

/// It said that all was well, and the row waited under its new key.
#[tokio::test]
async fn a_row_that_is_mended_by_another_key_while_nobody_runs_is_put_back_at_once() {
    let schema = "CREATE TABLE ltn_rows (k text PRIMARY KEY, v int)";
    let pipeline = Pipeline::new("letters_new_key", schema).await.configured(PARK);
    pipeline.catch_up().await;
    run(&pipeline, "INSERT INTO ltn_rows VALUES (repeat('D', 9000), 1)").await;
    pipeline.catch_up().await;
    run(&pipeline, "UPDATE ltn_rows SET k = 'Dfixed' WHERE length(k) > 100").await;
    let (exit, stdout, _) = command(&pipeline, &["dead-letters", "retry", "--all"]).await;
    assert_eq!(exit, Some(0), "{stdout}");
    assert!(letters(&pipeline).await.is_empty());
    is_equal(&pipeline).await;
}

/// One retry stopped the pipeline for good.
#[tokio::test]
async fn a_row_that_waits_goes_on_to_wait_with_on_error_stop() {
    let schema = "CREATE TABLE lto_rows (k text PRIMARY KEY, v int)";
    let parking = Pipeline::new("letters_stop", schema).await.configured(PARK);
    parking.catch_up().await;
    run(&parking, "INSERT INTO lto_rows VALUES (repeat('G', 9000), 1), ('a', 1)").await;
    parking.catch_up().await;
    let pipeline = parking.configured("on_error: stop");
    let mut running = pipeline.start();
    let (exit, stdout, _) = command(&pipeline, &["dead-letters", "retry", "--all"]).await;
    assert!(exit == Some(1) && stdout.contains("still refused"), "{stdout}");
    run(
        &pipeline,
        "INSERT INTO lto_rows VALUES ('b', 2); UPDATE lto_rows SET v = 3 WHERE length(k) > 100",
    )
    .await;
    eventually("it goes on", "RETURN EXISTS { (:LtoRow {k: 'b'}) } AS yes").await;
    assert!(running.terminate(std::time::Duration::from_secs(30)).await == Some(0));
    let (exit, _, log) = command(&pipeline, &["repair"]).await;
    assert!(exit == Some(1) && log.contains("1 row is set aside"), "{log}");
    run(&pipeline, "DELETE FROM lto_rows WHERE length(k) > 100").await;
    let (exit, stdout, _) = command(&pipeline, &["dead-letters", "retry", "--all"]).await;
    assert_eq!(exit, Some(0), "{stdout}");
    is_equal(&pipeline).await;
}

/// Each cost a life of the pipeline: 287 of them took four minutes.
#[tokio::test]
async fn many_refused_rows_of_one_transaction_are_set_aside_in_one_life() {
    let schema = "CREATE TABLE ltt_rows (id text PRIMARY KEY, n int)";
    let pipeline = Pipeline::new("letters_transaction", schema).await.configured(PARK);
    pipeline.catch_up().await;
    let rows = "INSERT INTO ltt_rows SELECT CASE WHEN g % 10 = 0 THEN g || repeat('x', 9000) ELSE 'r' || g END, g \
        FROM generate_series(1, 3000) g";
    run(&pipeline, rows).await;
    let (exit, _, log) = command(&pipeline, &["run", "--until", "current"]).await;
    assert_eq!(exit, Some(0), "{log}");
    assert_eq!(log.matches("streaming").count(), 1, "one life: {log}");
    assert_eq!(letters(&pipeline).await.len(), 300);
    assert!(holds("RETURN COUNT { (:LttRow) } = 2700 AS yes").await);
    run(&pipeline, "UPDATE ltt_rows SET id = 'r' || n WHERE length(id) > 9000").await;
    let (exit, stdout, _) = command(&pipeline, &["dead-letters", "retry", "--all"]).await;
    assert_eq!(exit, Some(0), "{stdout}");
    is_equal(&pipeline).await;
}
