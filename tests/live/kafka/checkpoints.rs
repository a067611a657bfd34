//! Checkpoint nodes as `schemas/checkpoint.schema.json` has them: of `run`, and of `apply`.

use neo4rs::Query;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::time::{Duration, Instant, sleep};

use super::{feed::Feed, kafka};
use crate::support::{PATIENCE, Pipeline, graph, until};

/// What is wrong with a node, by the schema.
fn faults(node: &Value) -> Vec<String> {
    let schema = include_str!("../../../schemas/checkpoint.schema.json");
    let schema = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(node).map(|error| error.to_string()).collect()
}

/// All properties of the pipeline's nodes.
async fn nodes(pipeline: &str) -> Vec<Value> {
    let text = "MATCH (c:_Wal2GraphCheckpoint {pipeline: $pipeline}) \
                RETURN c {.*, committed_at: toString(c.committed_at), \
                          updated_at: toString(c.updated_at), \
                          stopped_at: toString(c.stopped_at)} AS node";
    let query = Query::new(text.to_owned()).param("pipeline", pipeline);
    let rows = graph().rows(query).await.unwrap();
    let node = |row: &neo4rs::Row| {
        let mut node = row.get::<Value>("node").unwrap();
        // A missing date is one that the query asked for all the same.
        let properties = node.as_object_mut().unwrap();
        properties.retain(|_, value| !value.is_null());
        node
    };
    rows.iter().map(node).collect()
}

async fn are_as_the_schema_says(pipeline: &str) -> Vec<Value> {
    let nodes = nodes(pipeline).await;
    for node in &nodes {
        assert_eq!(faults(node), [""; 0], "{node:#}");
    }
    nodes
}

#[tokio::test]
async fn of_run_also_while_a_transaction_is_applied_in_parts() {
    let schema = "CREATE TABLE ckr_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::new("ckr", schema).await;
    pipeline.catch_up().await;
    let nodes = are_as_the_schema_says(&pipeline.name).await;
    assert_eq!((nodes.len(), nodes[0].get("offset")), (1, None), "{nodes:?}");
    let mut wrong = nodes[0].clone();
    wrong["offset"] = 7.into();
    assert!(!faults(&wrong).is_empty(), "a slot has no offset");
    let running = pipeline.start();
    let large = "INSERT INTO ckr_things SELECT generate_series(1, 40000)";
    pipeline.sql.batch_execute(large).await.unwrap();
    let (started, mut parts) = (Instant::now(), 0);
    let all = "MATCH (n:CkrThing) RETURN count(n) = 40000 AS yes";
    while !crate::support::holds(all).await {
        let nodes = are_as_the_schema_says(&pipeline.name).await;
        parts += usize::from(nodes[0].get("part_events").is_some());
        assert!(started.elapsed() < PATIENCE);
        sleep(Duration::from_millis(10)).await;
    }
    assert!(parts > 0, "it was seen in part");
    drop(running);
}

#[tokio::test]
async fn of_apply_also_while_it_replays() {
    let mut feed = Feed::new("cka").await;
    feed.copy(1..=200).await;
    let nodes = nodes(&feed.pipeline.name).await;
    assert!(nodes.is_empty(), "{nodes:?}");
    feed.apply().await;
    let nodes = are_as_the_schema_says(&feed.pipeline.name).await;
    assert!(nodes.iter().all(|node| node["topic"] == feed.topic), "{nodes:?}");
    let changes = [feed.insert(900, "of a transaction", None)];
    feed.commit(&changes).await;
    feed.apply().await;
    let nodes = are_as_the_schema_says(&feed.pipeline.name).await;
    assert!(nodes[0].get("committed_at").is_some(), "{nodes:?}");
    kafka().reset_offsets(&feed.group(), &feed.topic, &["--to-earliest"]).unwrap();
    let log = NamedTempFile::new().unwrap();
    let running = feed.start(&[], &log);
    let epoch = nodes[0]["epoch"].clone();
    until("it ends", async || {
        let nodes = are_as_the_schema_says(&feed.pipeline.name).await;
        nodes[0]["epoch"] != epoch && nodes[0].get("replay_until").is_none()
    })
    .await;
    drop(running);
}
