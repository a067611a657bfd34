//! Why a pipeline stopped for good, as `status` says it when it does not run.

use std::time::Duration;

use super::{log, number, printed, run};
use crate::support::{Pipeline, Running, document, eventually};

const LIMIT: Duration = Duration::from_secs(60);

async fn stops(running: &mut Running) {
    assert_eq!(running.ended(LIMIT).await, Some(1), "it stops for good");
}

async fn status(pipeline: &Pipeline) -> (String, serde_json::Value) {
    let text = printed(&pipeline.output(&["status"]).await);
    let json = printed(&pipeline.output(&["status", "--json"]).await);
    (text, document::status(&json))
}

#[tokio::test]
async fn status_said_of_a_pipeline_that_stopped_for_good_only_that_it_does_not_run() {
    let schema = "CREATE TABLE stw_things (id int PRIMARY KEY, v text); INSERT INTO stw_things VALUES (1, 'a')";
    let pipeline = Pipeline::new("stopped_why", schema).await.stopping();
    let mut running = pipeline.start();
    eventually("it streams", "RETURN EXISTS { (:StwThing {id: 1}) } AS yes").await;
    // Somebody else's constraint refuses the row.
    run("CREATE CONSTRAINT stw_others FOR (n:StwThing) REQUIRE n.v IS UNIQUE").await;
    pipeline.sql.batch_execute("INSERT INTO stw_things VALUES (4711, 'a')").await.unwrap();
    stops(&mut running).await;
    let (text, json) = status(&pipeline).await;
    let said =
        text.lines().find(|line| line.starts_with("stopped ")).unwrap_or_else(|| panic!("{text}"));
    assert!(
        text.contains("not running") && said.contains("INSERT into public.stw_things"),
        "{text}"
    );
    let because = json["stopped"][0]["because"].as_str().expect("it says why");
    assert_eq!(json["stopped_because"], because, "{json}");
    assert!(because.contains("ConstraintValidationFailed"), "{because}");
    assert!(!because.contains("4711") && !because.contains("'a'"), "a row's values: {because}");
    assert!(json["stopped"][0]["at"].as_str().unwrap().ends_with('Z'), "{json}");

    run("DROP CONSTRAINT stw_others").await;
    pipeline.catch_up().await;
    let (text, json) = status(&pipeline).await;
    assert!(!text.contains("stopped ") && json["stopped"].as_array().unwrap().is_empty(), "{text}");
    let left = format!(
        "MATCH (c:_Wal2GraphCheckpoint {{pipeline: '{}'}}) WHERE c.stopped_at IS NOT NULL RETURN count(c) AS n",
        pipeline.name
    );
    assert_eq!(number(&left).await, 0);

    // What the log says of a table, on one line.
    let mut running = pipeline.start();
    pipeline.sql.batch_execute("INSERT INTO stw_things VALUES (6, 'c')").await.unwrap();
    eventually("it streams", "RETURN EXISTS { (:StwThing {id: 6}) } AS yes").await;
    let renamed = r#"ALTER TABLE stw_things RENAME TO "sw
things"; INSERT INTO "sw
things" VALUES (5, 'b')"#;
    pipeline.sql.batch_execute(renamed).await.unwrap();
    stops(&mut running).await;
    let (text, _) = status(&pipeline).await;
    assert!(text.contains(r"it is called public.sw\nthings now"), "{text}");
}

#[tokio::test]
async fn status_of_a_pipeline_that_streamed_said_that_something_keeps_it_from_running() {
    let pipeline =
        Pipeline::new("runs_on", "CREATE TABLE strn_things (id int PRIMARY KEY)").await.stopping();
    let running = pipeline.start();
    pipeline.sql.batch_execute("INSERT INTO strn_things VALUES (1)").await.unwrap();
    eventually("it streams", "RETURN EXISTS { (:StrnThing {id: 1}) } AS yes").await;
    pipeline.sql.batch_execute("CREATE TABLE strn_others (id int PRIMARY KEY)").await.unwrap();
    let output = pipeline.output(&["status"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(!printed(&output).contains(": refused"), "{}", printed(&output));
    let said = log(&output);
    assert!(said.contains("it runs, and its next start is refused"), "{said}");
    drop(running);
}
