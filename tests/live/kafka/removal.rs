//! `destroy` and `wait` with Kafka between.

use super::{
    Published, kafka,
    partitions::{Spread, stops},
};
use crate::support::holds;

const SCHEMA: &str = "CREATE TABLE kr_things (id int PRIMARY KEY, v text); \
    CREATE TABLE kr_parts (id int PRIMARY KEY, thing_id int REFERENCES kr_things); \
    INSERT INTO kr_things SELECT g FROM generate_series(1, 20) g; \
    INSERT INTO kr_parts SELECT g, g FROM generate_series(1, 20) g";

#[tokio::test]
async fn a_pipeline_through_a_topic_is_waited_for_and_then_removed() {
    let spread = Spread::with("removal", SCHEMA, "partitions: 2").await;
    spread.catch_up().await;
    let mut publish = spread.start("publish");
    let mut apply = spread.start("apply");
    for id in 100..110 {
        let sql = format!(
            "INSERT INTO kr_things VALUES ({id}); INSERT INTO kr_parts VALUES ({id}, {id})"
        );
        spread.pipeline.sql.batch_execute(&sql).await.unwrap();
        let (code, said) = spread.output(&["wait", "--timeout", "90s"]).await;
        assert_eq!(code, Some(0), "{said}");
        let found = format!(
            "MATCH (n:KrPart {{id: {id}}})-->(:KrThing {{id: {id}}}) RETURN count(n) = 1 AS yes"
        );
        assert!(holds(&found).await, "{id}");
    }
    // Idle: what is written is not for the graph.
    let elsewhere = "CREATE TABLE kr_elsewhere (id int)";
    spread.pipeline.sql.batch_execute(elsewhere).await.unwrap();
    let (code, said) = spread.output(&["wait", "--timeout", "30s"]).await;
    assert_eq!(code, Some(0), "{said}");

    let (code, said) = spread.output(&["destroy", "--graph", "--yes"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("reads the slot"), "{said}");
    stops(&mut publish).await;
    let (code, said) = spread.output(&["destroy", "--graph", "--yes"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the consumer group has 1 members"), "{said}");
    stops(&mut apply).await;
    // Nobody publishes: it is not reached.
    spread.pipeline.sql.batch_execute("INSERT INTO kr_things VALUES (200)").await.unwrap();
    let (code, said) = spread.output(&["wait", "--timeout", "1s"]).await;
    assert_eq!(code, Some(1), "{said}");

    let (code, said) = spread.output(&["destroy", "--graph", "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    let topic = spread.topic();
    let brokers = kafka().brokers();
    let group = format!("wal2graph-{}", spread.pipeline.name);
    for named in [
        format!("kafka-topics --bootstrap-server {brokers} --delete --topic {topic}"),
        format!("kafka-consumer-groups --bootstrap-server {brokers} --delete --group {group}"),
    ] {
        assert!(said.contains(&named), "{named:?} is not in {said}");
    }
    assert_eq!(spread.checkpoints().await, []);
    let none = "OPTIONAL MATCH (n:KrThing|KrPart) RETURN count(n) = 0 AS yes";
    assert!(holds(none).await);
    let sql = "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE '%' || $1";
    let slots: i64 =
        spread.pipeline.sql.query_one(sql, &[&spread.pipeline.name]).await.unwrap().get(0);
    assert_eq!(slots, 0);
}

/// Without a graph there is a slot and a publication.
#[tokio::test]
async fn a_publisher_alone_is_removed() {
    let published =
        Published::new("removalalone", "CREATE TABLE ka_things (id int PRIMARY KEY)", "ack: kafka")
            .await;
    published.catch_up().await;
    let (code, said) = published.run(&["destroy", "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    let left = "SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = current_database()) \
                + (SELECT count(*) FROM pg_publication)";
    let left: i64 = published.pipeline.sql.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(left, 0);
}
