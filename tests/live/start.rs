//! What a start refuses: said by every command, before anything is made, with a fix that ends well.

mod again;
mod deleted;
mod graph;
mod history;
pub mod promotion;
mod renewal;
mod source;
mod stopped;
mod tables;

use std::process::Output;

use neo4rs::Query;

use crate::support::{PATIENCE, Pipeline, graph};

/// What a command logged.
fn log(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What it printed.
fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `run --until current` is refused: what it says.
#[track_caller]
fn refused(output: &Output) -> String {
    let log = log(output);
    assert_eq!(output.status.code(), Some(1), "{log}");
    log
}

/// What people were once told to do by hand.
const BY_HAND: [&str; 3] = ["DETACH DELETE", "pg_drop_replication_slot", "copy again"];

/// Does what a refusal says: the command that it names.
async fn follow(pipeline: &Pipeline, said: &str) {
    assert!(said.contains("run `wal2graph repair --new-slot`"), "{said}");
    assert!(!BY_HAND.iter().any(|it| said.contains(it)), "{said}");
    let output = pipeline.output(&["repair", "--new-slot"]).await;
    assert!(output.status.success(), "{said}\n{}", log(&output));
    // With no `run` up, too.
    let output = pipeline.output(&["verify"]).await;
    assert!(output.status.success(), "{said}\n{}{}", printed(&output), log(&output));
}

/// Runs a statement in the suite's graph, as a shell does: in a transaction of its own.
async fn run(cypher: &str) {
    let query = Query::new(cypher.trim_end_matches(';').to_owned());
    let ran = graph().run_alone(query, PATIENCE).await;
    ran.unwrap_or_else(|error| panic!("{cypher}: {error}"));
}

/// The one number that a query of the graph gives as `n`.
async fn number(cypher: &str) -> i64 {
    let rows = graph().rows(Query::new(cypher.to_owned())).await.expect("the query is right");
    rows[0].get("n").expect("a number")
}

/// Nothing of the pipeline is in source or graph.
async fn assert_nothing_was_made(pipeline: &Pipeline, label: &str) {
    let sql = "SELECT (SELECT count(*) FROM pg_publication WHERE pubname = $1) \
        + (SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1)";
    let name = format!("wal2graph_{}", pipeline.name);
    let made: i64 = pipeline.sql.query_one(sql, &[&name]).await.unwrap().get(0);
    assert_eq!(made, 0, "publication or slot");
    let constraints = format!(
        "SHOW CONSTRAINTS YIELD labelsOrTypes WHERE '{label}' IN labelsOrTypes RETURN count(*) AS n"
    );
    assert_eq!(number(&constraints).await, 0, "constraints");
    let checkpoints = format!(
        "MATCH (c:_Wal2GraphCheckpoint {{pipeline: '{}'}}) RETURN count(c) AS n",
        pipeline.name
    );
    assert_eq!(number(&checkpoints).await, 0, "checkpoints");
}
