//! The program as a user runs it.

use std::time::Duration;

use neo4rs::Query;
use tokio::time::sleep;

use crate::support::{Pipeline, document, eventually, graph, until};

#[tokio::test]
async fn run_follows_changes_and_ends_well_on_sigterm() {
    let schema = "CREATE TABLE cl_parents (id int PRIMARY KEY, name text); \
        CREATE TABLE cl_children (id int PRIMARY KEY, parent_id int REFERENCES cl_parents); \
        INSERT INTO cl_parents VALUES (1, 'one'), (2, 'two'); INSERT INTO cl_children VALUES (10, 1)";
    let pipeline = Pipeline::new("run", schema).await;
    let mut running = pipeline.start();
    eventually(
        "the copy",
        "RETURN EXISTS { (:ClChild {id: 10})-[:PARENT]->(:ClParent {id: 1}) } AS yes",
    )
    .await;
    let changes = "UPDATE cl_children SET parent_id = 2; UPDATE cl_parents SET name = NULL WHERE id = 2; \
        DELETE FROM cl_parents WHERE id = 1";
    pipeline.sql.batch_execute(changes).await.unwrap();
    eventually(
        "the changes",
        "RETURN EXISTS { MATCH (:ClChild {id: 10})-[:PARENT]->(p:ClParent {id: 2}) WHERE p.name IS NULL } \
         AND NOT EXISTS { (:ClParent {id: 1}) } AS yes",
    )
    .await;
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
    let (applied, confirmed) = pipeline.positions().await;
    assert_eq!(applied, confirmed, "the last acknowledgement was sent");
}

#[tokio::test]
async fn plan_check_status_and_init_say_what_is() {
    let schema =
        "CREATE TABLE rp_things (id int PRIMARY KEY, name text); CREATE TABLE rp_keyless (a int)";
    let pipeline = Pipeline::new("reports", schema).await;
    let text = |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let plan = pipeline.output(&["plan"]).await;
    assert!(text(&plan).contains("(:RpThing)") && text(&plan).contains("rp_keyless"), "{plan:?}");
    let json = pipeline.output(&["plan", "--json"]).await;
    serde_json::from_slice::<serde_json::Value>(&json.stdout).expect("JSON");
    let check = pipeline.output(&["check"]).await;
    assert!(check.status.success(), "{check:?}");
    let before = pipeline.output(&["status"]).await;
    assert!(text(&before).contains("not started"), "{before:?}");
    pipeline.catch_up().await;
    let after = pipeline.output(&["status", "--json"]).await;
    let after = document::status(&text(&after));
    assert_eq!(after["state"], "not running");
    // Other tests write to the same log meanwhile.
    let behind = after["lag"]["applied_bytes"].as_u64();
    assert!(behind.is_some_and(|bytes| bytes < 64 << 20), "{after}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wal2graph.yaml");
    let path = path.to_str().unwrap();
    let init = pipeline.output(&["init", "-o", path]).await;
    assert!(init.status.success(), "{init:?}");
    // What it wrote gives the same mapping: otherwise run would refuse it.
    let again = pipeline.output(&["run", "--until", "current", "-c", path]).await;
    assert!(again.status.success(), "{again:?}");
}

#[tokio::test]
async fn failures_name_the_cause_and_the_fix() {
    let schema = "CREATE TABLE fl_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::new("failures", schema).await.stopping();
    pipeline.catch_up().await;
    pipeline.sql.batch_execute("ALTER TABLE fl_things ADD COLUMN added int").await.unwrap();
    let changed = pipeline.output(&["run", "--until", "current"]).await;
    let log = String::from_utf8_lossy(&changed.stderr).into_owned();
    assert_eq!(changed.status.code(), Some(1), "{log}");
    assert!(log.contains("the mapping has changed"), "{log}");
    pipeline.sql.batch_execute("ALTER TABLE fl_things DROP COLUMN added").await.unwrap();
    let slot = format!("SELECT pg_drop_replication_slot('wal2graph_{}')", pipeline.name);
    pipeline.sql.batch_execute(&slot).await.unwrap();
    let lost = pipeline.output(&["run", "--until", "current"]).await;
    let log = String::from_utf8_lossy(&lost.stderr).into_owned();
    assert_eq!(lost.status.code(), Some(1), "{log}");
    assert!(log.contains("is gone, and with it the changes since"), "{log}");
    assert!(!log.contains(&pipeline.source_url), "a URL may hold a password");
}

#[tokio::test]
async fn a_second_instance_waits_for_the_slot() {
    let pipeline = Pipeline::new("second", "CREATE TABLE sc_things (id int PRIMARY KEY)").await;
    pipeline.catch_up().await;
    let first = pipeline.start();
    let held = "SELECT active FROM pg_replication_slots WHERE slot_name = 'wal2graph_' || $1";
    until("the first holds the slot", async || {
        let row = pipeline.sql.query_opt(held, &[&pipeline.name]).await.unwrap();
        row.is_some_and(|row| row.get(0))
    })
    .await;
    let second = pipeline.start();
    sleep(Duration::from_secs(3)).await;
    pipeline.sql.batch_execute("INSERT INTO sc_things VALUES (1)").await.unwrap();
    eventually("the first goes on", "RETURN EXISTS { (:ScThing {id: 1}) } AS yes").await;
    first.kill();
    pipeline.sql.batch_execute("INSERT INTO sc_things VALUES (2)").await.unwrap();
    eventually("the second takes over", "RETURN EXISTS { (:ScThing {id: 2}) } AS yes").await;
    drop(second);
}

#[tokio::test]
async fn check_finds_data_that_keeps_a_constraint_from_being_made() {
    let schema = "CREATE TABLE dup_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::new("duplicates", schema).await;
    let foreign = "UNWIND [1, 1, 2] AS id CREATE (:DupThing {id: id})";
    graph().run(Query::new(foreign.to_owned())).await.unwrap();
    let check = pipeline.output(&["check"]).await;
    let report = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(1), "{report}");
    assert!(report.contains("1 values of (id) are shared by several nodes"), "{report}");
    assert!(report.contains("3 of DupThing"), "{report}");
    graph().run(Query::new("MATCH (n:DupThing) DETACH DELETE n".to_owned())).await.unwrap();
    assert!(pipeline.output(&["check"]).await.status.success());
}

#[tokio::test]
async fn check_finds_what_keeps_a_role_from_running() {
    let schema = "CREATE TABLE rights_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::new("rights", schema).await;
    let role = format!("weak_{}", pipeline.name);
    let sql = format!("CREATE ROLE {role} LOGIN");
    pipeline.sql.batch_execute(&sql).await.unwrap();
    let command = pipeline.command_as(&role, &["check"]);
    let check = crate::support::output(command).await;
    let report = String::from_utf8_lossy(&check.stdout).into_owned();
    for expected in [
        format!("ALTER ROLE \"{role}\" REPLICATION"),
        format!("GRANT SELECT ON \"public\".\"rights_things\" TO \"{role}\""),
        // The owner is a superuser: no role becomes a member of it.
        format!(
            "\n    CREATE PUBLICATION \"wal2graph_{}\" FOR TABLE ONLY \"public\".\"rights_things\"",
            pipeline.name
        ),
    ] {
        assert!(report.contains(&expected), "{expected}\n{report}\n{check:?}");
    }
}
