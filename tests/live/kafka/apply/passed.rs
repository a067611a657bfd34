//! Records before one that stops `apply`, and what goes on under it.

use std::{fs, time::Duration};

use bytes::Bytes;
use neo4rs::Query;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::json;
use tempfile::NamedTempFile;
use wal2graph::{envelope::Record, lsn::Lsn};

use super::{
    super::{feed::Feed, kafka},
    applied,
};
use crate::support::{Pipeline, graph, output, until};

/// Sends a record that is no envelope; its offset.
async fn junk(feed: &Feed) -> u64 {
    let value = Some(Bytes::from_static(b"junk"));
    feed.send(Record { key: None, value, headers: Vec::new() }).await
}

/// Runs `wal2graph replay` once the group has heard that its member has left.
async fn replay(feed: &Feed, arguments: &[&str]) -> (Option<i32>, String) {
    let arguments = [&["replay"], arguments].concat();
    let mut ended = (None, String::new());
    until("the group is free", async || {
        ended = feed.output(&arguments).await;
        !ended.1.contains("the group has members")
    })
    .await;
    ended
}

/// The same with the arguments that a text advises.
async fn replay_as(feed: &Feed, said: &str) -> (Option<i32>, String) {
    let command = said.split_once("wal2graph replay ").expect(said).1;
    let words = command.split([';', '\n']).next().unwrap_or_default().split_whitespace();
    replay(feed, &words.collect::<Vec<_>>()).await
}

#[tokio::test]
async fn the_advice_to_pass_a_record_over_skipped_those_before_it() {
    let mut feed = Feed::new("kqpa").await;
    feed.copy(1..=3).await;
    // Its position is one of its own, without a row.
    feed.heartbeat().await;
    let bad = junk(&feed).await;
    let changes = [feed.insert(4, "behind it", None)];
    feed.commit(&changes).await;
    let (code, said) = feed.output(&["apply", "--until", "current"]).await;
    assert!(code == Some(1) && said.contains(&format!("the record at offset {bad}")), "{said}");
    assert_eq!(feed.contents().await, "1:copied 2:copied 3:copied");
    assert_eq!(feed.applied().await, bad, "all before it");
    let (code, said) = replay_as(&feed, &said).await;
    assert!(code == Some(0) && said.contains(&format!("the record at offset {bad} is")), "{said}");
    feed.apply().await;
    assert_eq!(feed.contents().await, "1:copied 2:copied 3:copied 4:behind it");
}

#[tokio::test]
async fn a_record_within_a_transaction_is_not_advised_to_be_passed_over() {
    let mut feed = applied("kqpb").await;
    let before = feed.contents().await;
    let began = feed.applied().await;
    let changes = [feed.insert(5, "first", None), feed.insert(6, "second", None)];
    feed.publish(Lsn(0x3000), Lsn(0x3040), 0..1, &changes).await;
    let bad = junk(&feed).await;
    feed.publish(Lsn(0x3000), Lsn(0x3040), 1..2, &changes).await;
    let (code, said) = feed.output(&["apply", "--until", "current"]).await;
    assert!(code == Some(1) && said.contains(&format!("begins at offset {began}")), "{said}");
    assert!(!said.contains("--yes") && said.contains("kafka.unreadable: park"), "{said}");
    assert_eq!(feed.contents().await, before, "no half of it");
    // One that is skipped all the same is not skipped without a word, and can be taken back.
    let next = (bad + 1).to_string();
    let (code, said) = replay(&feed, &["--from", "offset", &next, "--yes"]).await;
    let lost = format!("the records at offsets {began}..{next} are never applied");
    assert!(code == Some(0) && said.contains(&lost), "{said}");
    let (_, checked) = feed.output(&["check"]).await;
    assert!(checked.contains(&lost), "{checked}");
    assert_eq!(replay_as(&feed, &said).await.0, Some(0));
    // What the text says to do.
    let config = fs::read_to_string(feed.config_path()).unwrap();
    let parks = config.replace("kafka:\n", "kafka:\n  unreadable: park\n");
    fs::write(feed.config_path(), parks).unwrap();
    feed.apply().await;
    assert_eq!(feed.contents().await, "1:copied 4:new->1 5:first 6:second 30:moved");
}

#[tokio::test]
async fn an_empty_topic_that_was_made_again_was_passed_over_by_until_current_and_replay() {
    let schema =
        "CREATE TABLE kqpc_a (id int PRIMARY KEY); CREATE TABLE kqpc_b (id int PRIMARY KEY)";
    let pipeline = Pipeline::new("kqpc", schema).await;
    let topics = ["a", "b"].map(|table| format!("{}.public.kqpc_{table}", pipeline.name));
    let config = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let (name, brokers) = (&pipeline.name, kafka().brokers());
    let text = format!(
        "pipeline: {name}\nhttp: {{listen: \"off\"}}\nkafka: {{brokers: '{brokers}', topics: [{}, {}]}}\n",
        topics[0], topics[1]
    );
    fs::write(config.path(), text).unwrap();
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    for (topic, table) in topics.iter().zip(["kqpc_a", "kqpc_b"]) {
        kafka().create_topic(topic, 1, &[]).unwrap();
        let value = json!({
            "before": null, "after": {"id": 1}, "op": "r", "ts_ms": 1,
            "source": {
                "version": "3.3.1.Final", "connector": "postgresql", "name": name, "ts_ms": 1,
                "snapshot": "true", "db": name, "schema": "public", "table": table, "txId": 7, "lsn": 9,
            },
        });
        let value = value.to_string();
        let record = BaseRecord::to(topic).key(r#"{"id":1}"#).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = pipeline.command(arguments);
        command.arg("-c").arg(config.path());
        let output = output(command).await;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        println!("{arguments:?}: {:?}\n{text}", output.status.code());
        (output.status.code(), text)
    };
    assert_eq!(run(&["apply", "--until", "current"]).await.0, Some(0));

    const CLASS: &str = "org.apache.kafka.tools.TopicCommand";
    kafka().tool(CLASS, &["--delete", "--topic", &topics[0]]).unwrap();
    let is_made = async || kafka().create_topic(&topics[0], 1, &[]).is_ok();
    until("the topic is made again", is_made).await;
    let again = format!("the topic {} was deleted and made again", topics[0]);
    for command in
        [&["apply", "--until", "current"][..], &["replay", "--from", "earliest"], &["apply"]]
    {
        let (code, said) = run(command).await;
        assert!(code == Some(1) && said.contains(&again), "{command:?}: {said}");
    }
    // One that nobody has written to yet is as it was.
    let forget = format!(
        "MATCH (c:_Wal2GraphCheckpoint {{pipeline: '{name}', topic: '{}'}}) DELETE c",
        topics[0]
    );
    graph().run(Query::new(forget)).await.unwrap();
    assert_eq!(run(&["apply", "--until", "current"]).await.0, Some(0));
}

/// As if Neo4j had been put back to a copy of before.
#[tokio::test]
async fn a_graph_that_is_put_back_under_apply_was_taken_for_another_writers() {
    let mut feed = applied("kqpd").await;
    let log = NamedTempFile::new().unwrap();
    let epoch = feed.checkpoint().await.unwrap().epoch;
    let mut running = feed.start(&[], &log);
    feed.until_claimed(epoch).await;
    feed.cypher(
        "MATCH (c:_Wal2GraphCheckpoint {pipeline: 'PIPELINE'}) CREATE (k:LABELKept) SET k = properties(c)",
    )
    .await;
    let changes = [feed.insert(7, "lost by the restore", None)];
    let offset = feed.commit(&changes).await;
    feed.until_applied(offset).await;
    feed.cypher(
        "MATCH (c:_Wal2GraphCheckpoint {pipeline: 'PIPELINE'}), (k:LABELKept), (n:LABEL {id: 7}) \
         SET c = properties(k) DELETE k, n",
    )
    .await;
    assert!(!feed.contents().await.contains("7:"));
    let changes = [feed.insert(8, "after it", None)];
    let offset = feed.commit(&changes).await;
    feed.until_applied(offset).await;
    let rows = "1:copied 4:new->1 7:lost by the restore 8:after it 30:moved";
    assert_eq!(feed.contents().await, rows);
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
    let said = fs::read_to_string(log.path()).unwrap();
    assert!(said.contains("the graph was put back to an older state"), "{said}");
    assert!(!said.contains("another writer"), "{said}");
}

/// A heartbeat would be a write, too.
#[tokio::test]
async fn a_graph_that_was_put_back_under_apply_was_noticed_at_its_next_write_alone() {
    let mut feed = applied("kqpe").await;
    let log = NamedTempFile::new().unwrap();
    let epoch = feed.checkpoint().await.unwrap().epoch;
    let mut running = feed.start(&[], &log);
    feed.until_claimed(epoch).await;
    feed.cypher(
        "MATCH (c:_Wal2GraphCheckpoint {pipeline: 'PIPELINE'}) CREATE (k:LABELKept) SET k = properties(c)",
    )
    .await;
    let changes = [feed.insert(7, "lost by the restore", None)];
    let offset = feed.commit(&changes).await;
    feed.until_applied(offset).await;
    feed.cypher(
        "MATCH (c:_Wal2GraphCheckpoint {pipeline: 'PIPELINE'}), (k:LABELKept), (n:LABEL {id: 7}) \
         SET c = properties(k) DELETE k, n",
    )
    .await;
    feed.until_applied(offset).await;
    assert_eq!(feed.contents().await, "1:copied 4:new->1 7:lost by the restore 30:moved");
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
    let said = fs::read_to_string(log.path()).unwrap();
    assert!(said.contains("the graph was put back to an older state"), "{said}");
}

#[tokio::test]
async fn a_checkpoint_that_is_deleted_under_apply_was_taken_for_another_writers() {
    let feed = applied("kqpf").await;
    let log = NamedTempFile::new().unwrap();
    let epoch = feed.checkpoint().await.unwrap().epoch;
    let mut running = feed.start(&[], &log);
    feed.until_claimed(epoch).await;
    feed.cypher("MATCH (c:_Wal2GraphCheckpoint {pipeline: 'PIPELINE'}) DELETE c").await;
    assert_eq!(running.ended(Duration::from_secs(60)).await, Some(1));
    let said = fs::read_to_string(log.path()).unwrap();
    assert!(
        said.contains("no checkpoint any more") && said.contains("somebody has deleted it"),
        "{said}"
    );
    assert!(!said.contains("another writer"), "{said}");
    assert!(
        said.contains("the graph has no checkpoint of this pipeline, and holds nodes"),
        "{said}"
    );
    // What the texts say to do.
    feed.cypher("MATCH (n:LABEL) DETACH DELETE n").await;
    let (code, said) = feed.output(&["apply", "--until", "current"]).await;
    assert!(code == Some(1) && said.contains("it was emptied, or is another graph"), "{said}");
    assert_eq!(replay_as(&feed, &said).await.0, Some(0));
    feed.apply().await;
    assert_eq!(feed.contents().await, "1:copied 4:new->1 30:moved");
}
