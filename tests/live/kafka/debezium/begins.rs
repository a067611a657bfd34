//! What topics of somebody else's publisher begin with: what shows that rows are missing, and what then ends well.

use std::time::Duration;

use neo4rs::Query;
use rdkafka::producer::BaseProducer;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{
    super::kafka,
    topics::{Topics, producer},
};
use crate::support::{PATIENCE, Running, graph, holds};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const ROWS: &str = ", debezium: {records: rows}";

/// The topic goes; the next record makes it again, as a connector that does not snapshot does it.
fn delete(topics: &Topics, table: &str) {
    kafka().tool(TOPICS, &["--delete", "--topic", &topics.topic(table)]).unwrap();
}

fn snapshotted(topics: &Topics, table: &str, row: Value, snapshot: &str) -> Value {
    let mut record = topics.record("r", table, 1, "");
    record["after"] = row;
    record["source"]["snapshot"] = json!(snapshot);
    record
}

/// Does in the graph what the text says, and returns its commands.
async fn follow_in_the_graph(said: &str) -> Vec<Vec<String>> {
    for statement in said.lines().map(str::trim).filter(|line| line.starts_with("MATCH ")) {
        let query = Query::new(statement.trim_end_matches(';').to_owned());
        graph().run_alone(query, PATIENCE).await.unwrap();
    }
    let commands = said.lines().filter_map(|line| line.trim().strip_prefix("wal2graph "));
    commands.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

async fn run_all(topics: &Topics, commands: &[Vec<String>]) {
    let (apply, replays) = commands.split_last().unwrap();
    assert_eq!(apply[..], ["apply"]);
    assert!(!replays.is_empty());
    for replay in replays {
        let replay: Vec<&str> = replay.iter().map(String::as_str).collect();
        let (code, said) = topics.run(&replay).await;
        assert_eq!(code, Some(0), "{said}");
    }
    topics.apply().await;
}

/// Owners 1 to 3 and orders of 1 and 2, applied; then the owners' topic is made again with a new row, while
/// owner 3 goes.
async fn made_again_without_a_snapshot(producer: &BaseProducer) -> Topics {
    let topics = Topics::new(&["kqa_owner", "kqa_order"]).await;
    let refers = "ALTER TABLE kqa_order ADD customer_id int REFERENCES kqa_owner";
    topics.pipeline.sql.batch_execute(refers).await.unwrap();
    topics.make("kqa_owner");
    topics.make("kqa_order");
    for id in 1..=3 {
        let owner = json!({"id": id, "name": "copied"});
        let owner = snapshotted(&topics, "kqa_owner", owner, "true");
        topics.send(producer, "kqa_owner", id, &owner);
    }
    for id in 1..=2 {
        let order = json!({"id": id, "name": "copied", "customer_id": id});
        let order = snapshotted(&topics, "kqa_order", order, "true");
        topics.send(producer, "kqa_order", id, &order);
    }
    topics.apply().await;
    delete(&topics, "kqa_owner");
    topics.make("kqa_owner");
    topics.send(producer, "kqa_owner", 4, &topics.record("c", "kqa_owner", 4, "new"));
    topics
}

#[tokio::test]
async fn a_topic_made_again_without_a_snapshot_is_refused_and_what_is_said_of_it_ends_equal() {
    let producer = producer(None);
    let topics = made_again_without_a_snapshot(&producer).await;
    let (code, said) = topics.run(&["apply", "--until", "current"]).await;
    assert!(code == Some(1) && said.contains("was deleted and made again"), "{said}");
    let snapshot = "let the publisher snapshot public.kqa_owner, and the tables that refer to it: public.kqa_order";
    assert!(said.contains(snapshot), "{said}");
    for yes in [&["--yes"][..], &[]] {
        let replay = [&["replay", "--from", "earliest"], yes].concat();
        let (code, refused) = topics.run(&replay).await;
        assert!(code == Some(1) && refused.contains(snapshot), "{refused}");
    }
    for command in ["check", "status"] {
        let (code, refused) = topics.run(&[command]).await;
        assert!(code == Some(1) && refused.contains(snapshot), "{refused}");
    }
    assert_eq!(topics.rows("kqa_owner").await, "1:copied 2:copied 3:copied");
    let commands = follow_in_the_graph(&said).await;
    assert_eq!(topics.rows("kqa_order").await, "1:copied 2:copied", "nothing else goes");
    // The publisher does it: owner 3 is not there any more.
    for id in [1, 2, 4] {
        let owner = json!({"id": id, "name": "again"});
        let owner = snapshotted(&topics, "kqa_owner", owner, "incremental");
        topics.send(&producer, "kqa_owner", id, &owner);
    }
    for id in 1..=2 {
        let order = json!({"id": id, "name": "again", "customer_id": id});
        let order = snapshotted(&topics, "kqa_order", order, "incremental");
        topics.send(&producer, "kqa_order", id, &order);
    }
    run_all(&topics, &commands).await;
    assert_eq!(topics.rows("kqa_owner").await, "1:again 2:again 4:again");
    let related = "MATCH (o:KqaOrder)-->(c:KqaOwner) WHERE o.id = c.id RETURN count(*) = 2 AS yes";
    assert!(holds(related).await);
    assert!(holds("MATCH (n:KqaOwner:_Placeholder) RETURN count(n) = 0 AS yes").await);
}

#[tokio::test]
async fn a_topic_of_rows_that_was_made_again_asks_for_a_snapshot_and_a_new_one_is_warned_of() {
    let topics = Topics::with_more(&["kqb_one"], ROWS).await;
    topics.make("kqb_one");
    let producer = producer(None);
    let send = |id: i32| topics.send(&producer, "kqb_one", id, &json!({"id": id, "name": "row"}));
    (1..=3).for_each(send);
    let doubt = "has rows without envelopes, which do not show a snapshot";
    let (code, said) = topics.run(&["check"]).await;
    assert!(
        code == Some(0)
            && said
                .contains(&format!("warning  partition 0 of {} {doubt}", topics.topic("kqb_one")))
    );
    let (code, said) = topics.run(&["apply", "--until", "current"]).await;
    assert!(code == Some(0) && said.contains(doubt), "{said}");
    delete(&topics, "kqb_one");
    topics.make("kqb_one");
    send(1);
    let (code, said) = topics.run(&["apply", "--until", "current"]).await;
    assert!(
        code == Some(1) && said.contains("let the publisher snapshot public.kqb_one (with"),
        "{said}"
    );
    let commands = follow_in_the_graph(&said).await;
    (1..=3).for_each(send);
    run_all(&topics, &commands).await;
    assert_eq!(topics.rows("kqb_one").await, "1:row 2:row 3:row");
}

#[tokio::test]
async fn a_topic_that_begins_with_a_change_is_accepted_with_a_warning() {
    let topics = Topics::new(&["kqc_one"]).await;
    topics.make("kqc_one");
    let producer = producer(None);
    topics.send(&producer, "kqc_one", 5, &topics.record("c", "kqc_one", 5, "first"));
    let doubt = "begins with a change, not with a row of a snapshot";
    let (code, said) = topics.run(&["check"]).await;
    assert!(code == Some(0) && said.contains(doubt), "{said}");
    let (code, said) = topics.run(&["apply", "--until", "current"]).await;
    assert!(code == Some(0) && said.contains(doubt), "{said}");
    assert_eq!(topics.rows("kqc_one").await, "5:first");
    let (code, status) = topics.run(&["status"]).await;
    assert_eq!(code, Some(0), "{status}");
    assert!(status.contains("\nlag           0 records, 0.0 s\n"), "{status}");
    assert!(!status.contains("\ngraph ") && !status.contains("bytes,"), "no position: {status}");
    topics.send(&producer, "kqc_one", 6, &topics.record("c", "kqc_one", 6, "second"));
    let (_, status) = topics.run(&["status"]).await;
    assert!(status.contains("\nlag           1 records, "), "{status}");
}

#[tokio::test]
async fn a_flattened_topic_read_by_the_default_setting_is_told_which_one_it_needs() {
    let topics = Topics::new(&["kqd_one"]).await;
    topics.make("kqd_one");
    let producer = producer(None);
    for id in 1..=2 {
        topics.send(&producer, "kqd_one", id, &json!({"id": id, "name": "flat"}));
    }
    for command in
        [&["check"][..], &["apply", "--until", "current"], &["replay", "--from", "earliest"]]
    {
        let (code, said) = topics.run(command).await;
        assert!(code == Some(1) && said.contains("kafka.debezium.records: rows"), "{said}");
        assert!(said.contains("the record at offset 0 of") && !said.contains("delete"), "{said}");
    }
    let text = std::fs::read_to_string(topics.config.path()).unwrap();
    let with = |more: &str| {
        let text = text.trim_end().strip_suffix('}').unwrap();
        std::fs::write(topics.config.path(), format!("{text}{more}}}\n")).unwrap();
    };
    with(", unreadable: park");
    topics.apply().await;
    let (_, said) = topics.run(&["dead-letters", "list"]).await;
    assert_eq!(said.matches("/0/").count(), 2, "{said}");
}

#[tokio::test]
async fn a_stranger_at_the_beginning_of_a_topic_is_passed_over_by_the_command_that_is_named() {
    let topics = Topics::new(&["kqe_one"]).await;
    topics.make("kqe_one");
    let producer = producer(None);
    topics.send(&producer, "kqe_one", 9, &json!({"who": "are you"}));
    let (code, said) = topics.run(&["apply", "--until", "current"]).await;
    assert!(code == Some(1) && said.contains("kafka.unreadable: park"), "{said}");
    assert!(!said.contains("delete"), "{said}");
    let row = snapshotted(&topics, "kqe_one", json!({"id": 1, "name": "copied"}), "first");
    topics.send(&producer, "kqe_one", 1, &row);
    let command = said.split_once("wal2graph replay ").unwrap().1.split_once(';').unwrap().0;
    let arguments: Vec<&str> = ["replay"].into_iter().chain(command.split_whitespace()).collect();
    let (code, said) = topics.run(&arguments).await;
    assert_eq!(code, Some(0), "{said}");
    topics.apply().await;
    assert_eq!(topics.rows("kqe_one").await, "1:copied");
}

#[tokio::test]
async fn a_group_of_another_pipeline_is_refused_by_its_name_until_this_one_has_its_own() {
    let topics = Topics::with_more(&["kqf_one"], ", group: kqf_shared").await;
    topics.make("kqf_one");
    let producer = producer(None);
    let row = snapshotted(&topics, "kqf_one", json!({"id": 1, "name": "copied"}), "first");
    topics.send(&producer, "kqf_one", 1, &row);
    topics.apply().await;
    // The same configuration, under another name.
    let text = std::fs::read_to_string(topics.config.path()).unwrap();
    let owner = topics.pipeline.name.as_str();
    let renamed = format!("{owner}_b");
    let other = text.replace(&format!("pipeline: {owner}\n"), &format!("pipeline: {renamed}\n"));
    let other = other.replace("http:", "tables: {public.kqf_one: {label: KqfOther}}\nhttp:");
    std::fs::write(topics.config.path(), &other).unwrap();
    let commands = [
        &["apply", "--until", "current"][..],
        &["check"],
        &["status"],
        &["replay", "--from", "earliest"],
    ];
    for command in commands {
        let (code, said) = topics.run(command).await;
        assert!(
            code == Some(1) && said.contains(&format!("one of the pipeline {owner:?}")),
            "{said}"
        );
        assert!(said.contains("kafka.group") && !said.contains("delete the topic"), "{said}");
    }
    // Its offsets stay.
    std::fs::write(topics.config.path(), &text).unwrap();
    topics.apply().await;
    // A group of its own.
    std::fs::write(topics.config.path(), other.replace("kqf_shared", "kqf_own")).unwrap();
    topics.apply().await;
    assert_eq!(topics.rows("kqf_other").await, "1:copied");
    // The pipeline of before is no more: its offsets go.
    graph().run(Query::new("MATCH (n:KqfOther) DETACH DELETE n".to_owned())).await.unwrap();
    let forget = format!("MATCH (c:_Wal2GraphCheckpoint {{pipeline: '{renamed}'}}) DELETE c");
    graph().run(Query::new(forget)).await.unwrap();
    std::fs::write(topics.config.path(), &other).unwrap();
    let (_, said) = topics.run(&["apply", "--until", "current"]).await;
    let line = said.lines().find(|line| line.contains("kafka-consumer-groups ")).unwrap();
    let command = line.split_once("kafka-consumer-groups ").unwrap().1;
    let arguments: Vec<&str> = command.split_whitespace().skip(2).collect();
    kafka().tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &arguments).unwrap();
    topics.apply().await;
    assert_eq!(topics.rows("kqf_other").await, "1:copied");
}

#[tokio::test]
async fn a_topic_of_debeziums_that_goes_under_a_running_apply_leaves_the_reason() {
    let topics = Topics::new(&["kqg_one"]).await;
    topics.make("kqg_one");
    let producer = producer(None);
    let row = snapshotted(&topics, "kqg_one", json!({"id": 1, "name": "copied"}), "first");
    topics.send(&producer, "kqg_one", 1, &row);
    topics.apply().await;
    let log = NamedTempFile::new().unwrap();
    let mut apply = topics.pipeline.command(&["apply"]);
    apply.arg("-c").arg(topics.config.path()).stderr(log.reopen().unwrap());
    let mut apply = Running(apply.spawn().unwrap());
    crate::support::until("it applies", async || {
        std::fs::read_to_string(log.path()).unwrap().contains("applying")
    })
    .await;
    delete(&topics, "kqg_one");
    assert_eq!(apply.ended(Duration::from_secs(60)).await, Some(1));
    let (code, status) = topics.run(&["status"]).await;
    assert!(code == Some(1) && status.contains(": refused"), "{status}");
    let gone = format!("the topic {} is gone", topics.topic("kqg_one"));
    assert_eq!(status.matches(&gone).count(), 2, "stopped, refused: {status}");
    assert!(status.contains("let the publisher snapshot public.kqg_one"), "{status}");
    let (_, said) = topics.run(&["check"]).await;
    assert!(said.contains("the last run stopped at") && said.contains(&gone), "{said}");
}
