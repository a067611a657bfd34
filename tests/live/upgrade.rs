//! The release before has left a pipeline in the middle of something; this one goes on with it.
//!
//! What it has left is recorded, since nobody builds it here. With `WAL2GRAPH_BEFORE=PROGRAM` that program itself
//! leaves it, and with `UPDATE_GOLDEN=1` besides it is recorded anew. See docs/upgrade.md.

mod scene;
mod state;

use std::{path::PathBuf, time::Duration};

use crate::{chaos::proxy::Network, support::until};
use scene::{Scene, before, later, log, seen, unseen};

/// How slow the graph is while the program before works.
const SLOW: Network = Network::Slow(Duration::from_millis(40));

/// Goes on with `run` from what was left, and then as with any graph.
async fn goes_on(scene: &Scene) {
    scene.forget_log().await;
    // As docs/upgrade.md says.
    scene.succeeds(&["check"]).await;
    scene.succeeds(&["run", "--until", "current"]).await;
    scene.is_equal().await;
    scene.commit(&later(scene.prefix)).await;
    scene.succeeds(&["run", "--until", "current"]).await;
    scene.is_equal().await;
}

/// The pipeline as the program before has left it.
async fn left(
    prefix: &'static str,
    name: &str,
    transactions: [Vec<String>; 2],
    leave: impl AsyncFnOnce(&Scene, PathBuf),
) -> Scene {
    let scene = Scene::new(prefix).await;
    let [seen, unseen] = transactions;
    match before() {
        Some(program) => {
            leave(&scene, program).await;
            scene.commit(&unseen).await;
            scene.record(name, scene.graph().await).await;
        }
        None => {
            let (text, names) = scene.recorded(name, &[seen, unseen].concat()).await;
            scene.restore(&text, &names).await;
        }
    }
    scene
}

/// Kills the program before in this pass over the people, once it has applied what was committed meanwhile.
async fn leave_in_pass(scene: &Scene, program: PathBuf, pass: &str) {
    let is_within = format!(
        "EXISTS {{ MATCH (p:_Wal2GraphCopy {{pipeline: 'PIPELINE', table: 'public.{}_people', pass: '{pass}'}}) \
         WHERE p.next_block > 1 AND NOT p.done }}",
        scene.prefix
    );
    // So that a chunk is a block.
    let many = "UPDATE pg_class SET reltuples = 1e8 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
    scene.pipeline.sql.batch_execute(many).await.unwrap();
    let running = scene.start_before(&program, &["run"], SLOW).await;
    until("the copy is under way", async || scene.has(&is_within).await).await;
    scene.commit(&seen(scene.prefix)).await;
    let end = scene.logged().await.last().expect("there are some").end;
    let is_applied = format!(
        "EXISTS {{ MATCH (c:_Wal2GraphCheckpoint {{pipeline: 'PIPELINE'}}) WHERE c.lsn >= {end} }}"
    );
    until("the stream goes on beside it", async || scene.has(&is_applied).await).await;
    running.kill();
    assert!(scene.has(&is_within).await, "the copy is over: make it slower");
    // What was on its way.
    tokio::time::sleep(Duration::from_secs(2)).await;
}

async fn in_a_copy(prefix: &'static str, name: &str, pass: &str) {
    let transactions = [seen(prefix), unseen(prefix)];
    let leave = async |scene: &Scene, program| leave_in_pass(scene, program, pass).await;
    let scene = left(prefix, name, transactions, leave).await;
    assert!(scene.has("EXISTS { (:P_Person:_Incomplete) }").await || pass != "nodes");
    goes_on(&scene).await;
}

#[tokio::test]
async fn in_the_middle_of_a_copy_of_nodes() {
    in_a_copy("upn", "copy_of_nodes", "nodes").await;
}

#[tokio::test]
async fn in_the_middle_of_a_copy_of_relationships() {
    in_a_copy("upr", "copy_of_relationships", "relationships").await;
}

/// Without the tables in its checkpoint, nobody can tell what is different. What the refusal says to do ends well.
#[tokio::test]
async fn a_mapping_edited_with_the_upgrade_is_refused_and_mended() {
    let scene = Scene::new("upe").await;
    let transactions = [seen("upe"), unseen("upe")].concat();
    let (text, names) = scene.recorded("copy_of_nodes", &transactions).await;
    scene.restore(&text, &names).await;
    scene.forget_log().await;
    // Wide values are in the graph, too.
    let scene = scene.configured("http: {listen: off}\n");
    let output = scene.pipeline.output(&["run", "--until", "current"]).await;
    let said = log(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["the mapping has changed", "run `wal2graph repair --new-slot`"] {
        assert!(said.contains(part), "{said}");
    }
    let output = scene.pipeline.output(&["repair", "--new-slot"]).await;
    assert!(output.status.success(), "{said}{}", log(&output));
    scene.is_equal().await;
    assert!(scene.has("COUNT { (:P_Wide {pad: 'x'}) } = 5").await);
    scene.commit(&later("upe")).await;
    scene.succeeds(&["run", "--until", "current"]).await;
    scene.is_equal().await;
}

/// It comes in three parts.
fn wide(prefix: &str) -> Vec<String> {
    vec![format!(
        "INSERT INTO {prefix}_wide SELECT g, 'w' || g, repeat('x', 100000) FROM generate_series(1, 100) g; \
         UPDATE {prefix}_wide SET name = 'again' WHERE id % 10 = 0; DELETE FROM {prefix}_wide WHERE id = 3"
    )]
}

#[tokio::test]
async fn in_the_middle_of_a_split_transaction() {
    let transactions = [[seen("ups"), wide("ups")].concat(), unseen("ups")];
    let leave = async |scene: &Scene, program| {
        scene.run_before(&program, &["run", "--until", "current"]).await;
        scene.commit(&[seen("ups"), wide("ups")].concat()).await;
        let running = scene.start_before(&program, &["run"], SLOW).await;
        let is_within = "EXISTS { MATCH (c:_Wal2GraphCheckpoint {pipeline: 'PIPELINE'}) WHERE c.part_events > 0 }";
        until("a part is applied", async || scene.has(is_within).await).await;
        running.kill();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(scene.has(is_within).await, "it is over: make it slower");
    };
    let scene = left("ups", "split_transaction", transactions, leave).await;
    assert!(scene.has("COUNT { (:P_Wide) } < 100").await);
    goes_on(&scene).await;
}
