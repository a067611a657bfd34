//! Kills, gaps, foreign records, brokers and graphs that are away.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};
use wal2graph::envelope::Record;
use wal2graph_servers::{Kafka, KafkaOptions};

use super::{
    super::{Published, feed::Feed, kafka, topic::raw_records},
    APPLIED, applied,
};
use crate::support::{PATIENCE, graph, holds, rounds, until};

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
    for kill in 0..rounds(4, 8) {
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
    for arguments in [&["replay", "--from", "earliest", "--yes"][..], &["check"]] {
        let (code, said) = feed.output(arguments).await;
        assert!(code == Some(1) && said.contains("would stay in the graph"), "{said}");
    }
    let (code, status) = feed.output(&["status"]).await;
    assert!(code == Some(1) && status.contains("are gone and were never applied"), "{status}");
    assert!(status.contains(": refused") && !status.contains("not complete"), "{status}");
    let gone = feed.asking().records(&feed.partition(), 0..1).await.unwrap_err().to_string();
    assert!(gone.contains("from offset 0 on are gone"), "{gone}");
    assert_eq!(feed.contents().await, APPLIED);
}

/// Rows that were deleted in what is gone do not stay.
#[tokio::test]
async fn what_is_said_of_a_gap_ends_with_the_graph_equal_to_the_tables() {
    let schema = "CREATE TABLE kgap_things (id int PRIMARY KEY, name text); \
        INSERT INTO kgap_things SELECT g, 'copied' FROM generate_series(1, 5) g";
    let published = Published::new("kgap", schema, "").await;
    let mut publish = published.start();
    let apply = ["apply", "--until", "current"];
    let copied = "MATCH (n:KgapThing) RETURN count(n) = 5 AS yes";
    until("the copy is in the graph", async || {
        published.run(&apply).await.0 == Some(0) && holds(copied).await
    })
    .await;
    let sql = &published.pipeline.sql;
    let gone = "DELETE FROM kgap_things WHERE id <= 2; UPDATE kgap_things SET name = 'new' WHERE id = 3; \
        INSERT INTO kgap_things VALUES (6, 'new')";
    sql.batch_execute(gone).await.unwrap();
    let end = "SELECT (pg_current_wal_flush_lsn() - '0/0')::int8";
    let end: i64 = sql.query_one(end, &[]).await.unwrap().get(0);
    published.catch_up_by_looking(end.unsigned_abs()).await;
    let topic = format!("wal2graph.{}", published.pipeline.name);
    let next = raw_records(&kafka().brokers(), &topic).await.len() as u64;
    delete_records(&topic, next);
    let (code, said) = published.run(&apply).await;
    assert!(code == Some(1) && said.contains("are gone and were never applied"), "{said}");
    // Word by word: publish is stopped, the topic deleted, publish started, the graph emptied.
    assert_eq!(publish.terminate(Duration::from_secs(60)).await, Some(0));
    let line = |start: &str| {
        let mut lines = said.lines().map(str::trim);
        lines.find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("{start}: {said}"))
    };
    let arguments: Vec<&str> = line("kafka-topics ").split_whitespace().skip(2).collect();
    kafka().tool("org.apache.kafka.tools.TopicCommand", &arguments).unwrap();
    let mut publish = published.start();
    for statement in said.lines().map(str::trim).filter(|line| line.starts_with("MATCH ")) {
        let query = neo4rs::Query::new(statement.trim_end_matches(';').to_owned());
        graph().run_alone(query, PATIENCE).await.unwrap();
    }
    until("the topic is there again", async || {
        published.run(&["replay", "--from", "earliest"]).await.0 == Some(0)
    })
    .await;
    let equal = "MATCH (n:KgapThing) WITH n ORDER BY n.id RETURN \
        collect(n.id + ':' + n.name) = ['3:new', '4:copied', '5:copied', '6:new'] AS yes";
    until("the graph is equal", async || {
        published.run(&apply).await.0 == Some(0) && holds(equal).await
    })
    .await;
    assert_eq!(publish.terminate(Duration::from_secs(60)).await, Some(0));
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

#[ignore = "long: make nightly"]
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
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
}

#[tokio::test]
async fn a_topic_that_is_compacted_is_refused_by_apply_and_check_too() {
    let mut feed = applied("ktp").await;
    let arguments = ["--alter", "--entity-type", "topics", "--entity-name", &feed.topic];
    let arguments = [&arguments[..], &["--add-config", "cleanup.policy=compact"]].concat();
    kafka().tool("kafka.admin.ConfigCommand", &arguments).unwrap();
    let changes = [feed.insert(5, "in a compacted topic", None)];
    feed.commit(&changes).await;
    let (code, said) = feed.output(&["check"]).await;
    assert!(code == Some(1) && said.contains("is compacted"), "{said}");
    feed.apply_refuses("is compacted").await;
    assert_eq!(feed.contents().await, APPLIED);
    // What the text says to do.
    let fix = said.split_once("--add-config ").unwrap().1.split_whitespace().next().unwrap();
    let arguments = ["--alter", "--topic", &feed.topic, "--add-config", fix];
    kafka().tool("kafka.admin.ConfigCommand", &arguments).unwrap();
    feed.apply().await;
    assert_eq!(feed.contents().await, "1:copied 4:new->1 5:in a compacted topic 30:moved");
}

#[ignore = "long: make nightly"]
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
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
}
