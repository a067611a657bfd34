//! The checkpoint is deleted while `run` writes.

use std::{fs, time::Duration};

use tempfile::NamedTempFile;

use super::run;
use crate::support::{Pipeline, eventually};

#[tokio::test]
async fn a_checkpoint_that_is_deleted_under_run_was_taken_for_another_writers() {
    let schema = "CREATE TABLE dck_things (id int PRIMARY KEY); INSERT INTO dck_things VALUES (1)";
    let pipeline = Pipeline::new("deleted_under", schema).await;
    let log = NamedTempFile::new().unwrap();
    let mut running = pipeline.start_logging(&["run"], log.reopen().unwrap());
    eventually("it streams", "RETURN EXISTS { (:DckThing {id: 1}) } AS yes").await;
    run(&format!("MATCH (c:_Wal2GraphCheckpoint {{pipeline: '{}'}}) DELETE c", pipeline.name))
        .await;
    pipeline.sql.batch_execute("INSERT INTO dck_things VALUES (2)").await.unwrap();
    assert_eq!(running.ended(Duration::from_secs(60)).await, Some(1));
    let said = fs::read_to_string(log.path()).unwrap();
    println!("{said}");
    assert!(
        said.contains("no checkpoint any more") && said.contains("somebody has deleted it"),
        "{said}"
    );
    assert!(!said.contains("another writer"), "{said}");
}
