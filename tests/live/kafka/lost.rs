//! A broker whose machine loses power: topics without their last records, under the same id.

use wal2graph_servers::{Kafka, KafkaOptions};

use super::{Published, feed::Feed};
use crate::support::{graph, holds};

/// The broker goes down, loses a partition's records from this offset on, and comes back.
fn lose(broker: &mut Kafka, topic: &str, offset: u64) {
    broker.kill().unwrap();
    broker.lose(topic, 0, offset).unwrap();
    broker.start_again().unwrap();
}

#[tokio::test]
async fn a_topic_that_lost_its_tail_and_grew_again_past_the_checkpoint_is_not_gone_on_with() {
    let mut broker = Kafka::start(&KafkaOptions::default()).unwrap();
    let mut feed = Feed::on(&broker, "lta").await;
    feed.copy(1..=9).await;
    let changes: Vec<_> = (1..=5).map(|id| feed.update(id, "applied", None)).collect();
    let cut = feed.commit(&changes[..1]).await;
    assert_eq!(feed.commit(&changes[1..]).await, cut + 4);
    feed.apply().await;
    // It stays as it is: the last record is there.
    feed.apply().await;
    lose(&mut broker, &feed.topic, cut);
    feed.apply_refuses("its records were lost").await;
    // What publishes goes on at the topic's end, here with a transaction that goes past the checkpoint.
    let mut again = changes[1..].to_vec();
    again.splice(0..0, [feed.delete(7), feed.delete(8), feed.delete(9)]);
    assert!(feed.commit(&again).await > cut + 8);
    feed.apply_refuses("the topic lost its last records").await;
    let (code, said) = feed.output(&["check"]).await;
    assert!(code == Some(1) && said.contains("the topic lost its last records"), "{said}");
    let (code, said) = feed.output(&["replay", "--from", "earliest", "--yes"]).await;
    assert!(code == Some(1) && said.contains("the topic lost its last records"), "{said}");
    // What the text says to do.
    feed.cypher("MATCH (n:LABEL) DETACH DELETE n").await;
    feed.cypher("MATCH (c:_Wal2GraphCheckpoint {pipeline: 'PIPELINE'}) DELETE c").await;
    feed.apply_refuses("it was emptied").await;
    let (code, said) = feed.output(&["replay", "--from", "earliest"]).await;
    assert_eq!(code, Some(0), "{said}");
    feed.apply().await;
    let left = "1:applied 2:applied 3:applied 4:applied 5:applied 6:copied";
    assert_eq!(feed.contents().await, left);
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_tables_topic_that_lost_records_is_not_copied_again_as_if_nothing_was_lost() {
    let mut broker = Kafka::start(&KafkaOptions::default()).unwrap();
    let schema = "CREATE TABLE ltb_things (id int PRIMARY KEY, name text);
                  INSERT INTO ltb_things SELECT id, 'copied' FROM generate_series(1, 20) id";
    let published = Published::on(&broker, "ltb", schema, "topics_by: table").await;
    published.catch_up().await;
    let (code, said) = published.run(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
    let sql = &published.pipeline.sql;
    sql.batch_execute("UPDATE ltb_things SET name = 'changed' WHERE id <= 5").await.unwrap();
    sql.batch_execute("DELETE FROM ltb_things WHERE id BETWEEN 6 AND 10").await.unwrap();
    // The last heartbeat comes after both.
    published.catch_up().await;
    let name = published.pipeline.name.clone();
    let (heartbeats, topic) =
        (format!("wal2graph.{name}.heartbeats"), format!("wal2graph.{name}.public.ltb_things"));
    lose(&mut broker, &topic, 25);
    let said = format!("partition 0 of {topic} ends at offset");
    let lost = [said.as_str(), "were lost"];
    published.is_refused(&lost).await;
    // The restart that a supervisor makes.
    published.is_refused(&lost).await;
    // What the text says to do.
    for topic in [&heartbeats, &topic] {
        broker
            .tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", topic])
            .unwrap();
    }
    published.catch_up().await;
    let (code, said) = published.run(&["apply", "--until", "current"]).await;
    assert!(code == Some(1) && said.contains("deleted and made again"), "{said}");
    let empty = format!(
        "MATCH (n) WHERE n:LtbThing OR n:_Wal2GraphCheckpoint AND n.pipeline = '{name}' DETACH DELETE n"
    );
    graph().run(neo4rs::Query::new(empty)).await.unwrap();
    let (code, said) = published.run(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
    let query = "MATCH (n:LtbThing) RETURN count(n) = 15 AND count(CASE n.name WHEN 'changed' \
                 THEN 1 END) = 5 AS yes";
    assert!(holds(query).await);
}
