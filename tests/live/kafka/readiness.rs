//! What orchestrators and scripts are told of `apply`: whether the topic's copy has come, and what an
//! empty topic means.

use std::time::Duration;

use tempfile::NamedTempFile;
use wal2graph_servers::{Kafka, KafkaOptions};

use super::{feed::Feed, kafka, served};
use crate::support::until;

/// Waits until `/ready` says this.
async fn until_ready_says(log: &NamedTempFile, said: &str) {
    served::until(log, "/ready", |answer| answer.contains(said)).await;
}

#[tokio::test]
async fn it_is_not_ready_before_the_topics_copy_is_in_the_graph() {
    let mut feed = Feed::new("kya").await;
    feed.heartbeat_naming(&[]).await;
    feed.copy(1..=3).await;
    let log = NamedTempFile::new().unwrap();
    let mut running = feed.start(&["--http", "127.0.0.1:0"], &log);
    feed.until_applied(4).await;
    until_ready_says(&log, "503").await;
    let said = served::get(&log, "/ready").await;
    assert!(said.contains("not all rows"), "{said}");
    let oid = "SELECT 'kya_things'::regclass::oid";
    let oid: u32 = feed.pipeline.sql.query_one(oid, &[]).await.unwrap().get(0);
    feed.heartbeat_naming(&[oid]).await;
    until_ready_says(&log, "200 OK").await;
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_broker_that_was_killed_is_named_with_the_cause_in_the_log_and_on_ready() {
    let mut broker = Kafka::start(&KafkaOptions::default()).unwrap();
    let mut feed = Feed::on(&broker, "kyd").await;
    feed.copy(1..=3).await;
    let log = NamedTempFile::new().unwrap();
    let mut running = feed.start(&["--http", "127.0.0.1:0"], &log);
    feed.until_applied(3).await;
    broker.kill().unwrap();
    let address = broker.brokers();
    let said = |words: &[&str]| {
        let log = std::fs::read_to_string(log.path()).unwrap();
        let line = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
        line.map(str::to_owned)
    };
    let trouble = async || said(&["Kafka reports an error"]).is_some();
    until("the log tells of it", trouble).await;
    let line = said(&["Kafka reports an error"]).unwrap();
    assert!(line.contains(&address) && line.contains("refused"), "{line}");
    // The session ends, and the partition with it.
    until("it has no partition", async || {
        println!("{}", std::fs::read_to_string(log.path()).unwrap());
        // By its own word, or because what it read from was gone first.
        said(&["stopped", "reason="]).or_else(|| said(&["the partition was taken away"])).is_some()
    })
    .await;
    until_ready_says(&log, &address).await;
    let answer = served::get(&log, "/ready").await;
    assert!(answer.contains("503") && answer.contains("refused"), "{answer}");
    broker.start_again().unwrap();
    let changes = [feed.insert(4, "after", None)];
    let offset = feed.commit(&changes).await;
    feed.until_applied(offset).await;
    until_ready_says(&log, "200 OK").await;
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
}

#[tokio::test]
async fn the_end_of_an_empty_topic_is_nothing_to_wait_for() {
    let feed = Feed::new("kyb").await;
    feed.apply_refuses("has no records").await;
    // It is waited for, with a word, by who means to.
    let log = NamedTempFile::new().unwrap();
    let mut running = feed.start(&[], &log);
    let said = async || std::fs::read_to_string(log.path()).unwrap().contains("has no records yet");
    until("it says so", said).await;
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
}

#[tokio::test]
async fn check_says_what_the_next_apply_would_do() {
    let mut feed = Feed::new("kyc").await;
    feed.copy(1..=3).await;
    let (_, said) = feed.output(&["check"]).await;
    assert!(said.contains("apply will begin") && said.contains("at offset 0"), "{said}");
    feed.apply().await;
    let (_, said) = feed.output(&["check"]).await;
    assert!(said.contains("where the graph is") && said.contains("0 members"), "{said}");
    kafka().reset_offsets(&feed.group(), &feed.topic, &["--to-earliest"]).unwrap();
    let (_, said) = feed.output(&["check"]).await;
    assert!(said.contains("will replay") && !said.contains("would not read"), "{said}");
    let changes = [feed.insert(9, "never applied", None)];
    feed.commit(&changes).await;
    kafka().reset_offsets(&feed.group(), &feed.topic, &["--to-latest"]).unwrap();
    let (code, said) = feed.output(&["check"]).await;
    assert!(code == Some(1) && said.contains("would be skipped"), "{said}");
}
