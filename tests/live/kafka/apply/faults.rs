//! Kills, gaps, foreign records, brokers and graphs that are away.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};
use wal2graph::envelope::Record;
use wal2graph_servers::{Kafka, KafkaOptions};

use super::{
    super::{feed::Feed, kafka},
    APPLIED, applied,
};
use crate::support::graph;

/// How often the program is killed in one run.
const KILLS: usize = 8;

#[tokio::test]
async fn killed_at_any_moment_it_loses_nothing_and_commits_nothing_too_early() {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..10_000), |it| it.parse().unwrap());
    println!("SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let mut feed = Feed::new("kj").await;
    feed.copy(0..200).await;
    let mut names: Vec<String> = vec!["copied".to_owned(); 200];
    let log = NamedTempFile::new().unwrap();
    for kill in 0..KILLS {
        // A static member takes its own place again, without waiting for the group.
        let running = feed.start(&[], &log);
        let end = Instant::now() + Duration::from_millis(rng.u64(200..4_000));
        while Instant::now() < end {
            let ids: Vec<usize> = (0..rng.usize(1..40)).map(|_| rng.usize(..200)).collect();
            let name = format!("{kill}.{}", rng.u32(..));
            let changes: Vec<_> =
                ids.iter().map(|id| feed.update(*id as i32, &name, None)).collect();
            feed.commit(&changes).await;
            ids.iter().for_each(|id| names[*id] = name.clone());
            never_committed_ahead(&feed).await;
        }
        running.kill();
        never_committed_ahead(&feed).await;
    }
    feed.apply().await;
    let expected: Vec<String> =
        names.iter().enumerate().map(|(id, name)| format!("{id}:{name}")).collect();
    assert_eq!(feed.contents().await, expected.join(" "));
}

/// At every moment, the group has committed nothing that the graph does not have.
async fn never_committed_ahead(feed: &Feed) {
    // The group is asked first: it may only move towards the graph in between.
    let committed = feed.group_offset().await.map_or(0, |group| group.offset);
    let applied = feed.applied().await;
    assert!(committed <= applied, "the group is at {committed}, the graph at {applied}");
}

#[tokio::test]
async fn records_that_are_gone_are_a_gap_that_is_never_skipped() {
    let mut feed = applied("kk").await;
    for id in 5..9 {
        let changes = [feed.insert(id, "deleted from the topic", None)];
        feed.commit(&changes).await;
    }
    let changes = [feed.insert(9, "left", None)];
    let end = feed.commit(&changes).await;
    delete_records(&feed.topic, end - 1);
    feed.apply_refuses("are gone and were never applied").await;
    assert_eq!(feed.contents().await, APPLIED);
    feed.output(&["replay", "--from", "earliest", "--yes"]).await;
    feed.apply().await;
    assert_eq!(feed.contents().await, "1:copied 4:new->1 9:left 30:moved");
}

fn delete_records(topic: &str, before: u64) {
    let file = NamedTempFile::new().unwrap();
    let json = format!(
        r#"{{"partitions": [{{"topic": "{topic}", "partition": 0, "offset": {before}}}], "version": 1}}"#
    );
    std::fs::write(file.path(), json).unwrap();
    let path = file.path().display().to_string();
    let arguments = ["--offset-json-file", path.as_str()];
    kafka().tool("org.apache.kafka.tools.DeleteRecordsCommand", &arguments).unwrap();
}

#[tokio::test]
async fn foreign_and_malformed_records_stop_with_their_place() {
    let mut feed = applied("km").await;
    let value = Some(Bytes::from_static(b"{\"who\": \"are you"));
    let offset = feed.send(Record { key: None, value, headers: Vec::new() }).await;
    let changes = [feed.insert(5, "behind it", None)];
    feed.commit(&changes).await;
    feed.apply_refuses(&format!("offset {offset} of partition 0 of {}", feed.topic)).await;
    assert_eq!(feed.contents().await, APPLIED, "nothing behind it is applied");
    let next = (offset + 1).to_string();
    feed.output(&["replay", "--from", "offset", &next, "--yes"]).await;
    feed.apply().await;
    assert_eq!(feed.contents().await, "1:copied 4:new->1 5:behind it 30:moved");
    feed.of_another_cluster().await;
    let changes = [feed.insert(6, "of another cluster", None)];
    feed.commit(&changes).await;
    feed.apply_refuses("from database cluster 8").await;
}

#[tokio::test]
async fn a_broker_that_is_killed_is_waited_for() {
    let mut kafka = Kafka::start(&KafkaOptions::default()).unwrap();
    let mut feed = Feed::on(&kafka, "kn").await;
    feed.copy(1..=3).await;
    let log = NamedTempFile::new().unwrap();
    let mut running = feed.start(&[], &log);
    feed.until_applied(3).await;
    kafka.kill().unwrap();
    sleep(Duration::from_secs(3)).await;
    kafka.start_again().unwrap();
    let changes = [feed.insert(4, "after", None)];
    let offset = feed.commit(&changes).await;
    feed.until_applied(offset).await;
    assert_eq!(running.terminate(Duration::from_secs(15)).await, Some(0));
}

#[tokio::test]
async fn a_graph_that_is_slower_than_the_poll_interval_loses_no_partition() {
    let mut feed = applied("ko").await;
    let log = NamedTempFile::new().unwrap();
    let mut running = feed.start(&[], &log);
    let changes = [feed.insert(5, "before", None)];
    let offset = feed.commit(&changes).await;
    feed.until_applied(offset).await;
    let epoch = feed.checkpoint().await.unwrap().epoch;
    // Somebody holds the checkpoint for longer than max.poll.interval.ms, which is 6 s.
    let connection = graph();
    let mut holder = connection.begin().await.unwrap();
    let lock = "MATCH (c:_Wal2GraphCheckpoint {pipeline: $pipeline}) SET c:_Wal2GraphCheckpoint";
    let lock = neo4rs::Query::new(lock.to_owned()).param("pipeline", feed.pipeline.name.as_str());
    holder.run(lock).await.unwrap();
    // More than all queues hold.
    let wide = "x".repeat(400_000);
    let mut offset = 0;
    for id in 100..200 {
        let changes = [feed.insert(id, &wide, None)];
        offset = feed.commit(&changes).await;
    }
    sleep(Duration::from_secs(9)).await;
    holder.commit().await.unwrap();
    feed.until_applied(offset).await;
    assert_eq!(feed.checkpoint().await.unwrap().epoch, epoch, "it never lost the partition");
    assert_eq!(running.terminate(Duration::from_secs(15)).await, Some(0));
}
