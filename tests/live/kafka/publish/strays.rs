//! Records of somebody else in our own topics.

use std::{fs, time::Duration};

use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};

use crate::kafka::{Published, kafka};

const SCHEMA: &str = "CREATE TABLE stray_things (id int PRIMARY KEY)";

/// What `kafka-console-producer` sends of a line, to the first partition.
pub fn send(topic: &str, line: &str) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", kafka().brokers()).create().unwrap();
    let record: BaseRecord<'_, str, str> = BaseRecord::to(topic).partition(0).payload(line);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// A change of another pipeline, as `publish` writes it.
fn change_of(published: &Published, pipeline: &str, cluster: &str) -> String {
    let database = &published.pipeline.name;
    format!(
        "{{\"before\":null,\"after\":{{\"id\":9}},\"op\":\"c\",\"source\":{{\"name\":\"{pipeline}\",\"db\":\"{database}\",\
         \"schema\":\"public\",\"table\":\"stray_things\",\"system_identifier\":\"{cluster}\",\"timeline\":1,\
         \"commit_lsn\":9,\"event_index\":0,\"tx_end\":true,\"end_lsn\":90000000000,\"txId\":7,\"ts_us\":1}}}}"
    )
}

async fn insert(published: &Published, id: u32) {
    let sql = format!("INSERT INTO stray_things VALUES ({id})");
    published.pipeline.sql.batch_execute(&sql).await.unwrap();
}

#[tokio::test]
async fn a_stray_record_at_the_end_of_the_topic_stopped_publish_for_good() {
    let published = Published::new("stray", SCHEMA, "ack: kafka").await;
    insert(&published, 1).await;
    published.catch_up().await;
    let topic = format!("wal2graph.{}", published.pipeline.name);
    for (id, line) in [(2, "hello"), (3, "{}"), (4, "{\"id\":1}"), (5, "7")] {
        send(&topic, line);
        insert(&published, id).await;
        let (code, log) = published.run(&["publish", "--until", "current"]).await;
        assert_eq!(code, Some(0), "{log}");
        let said =
            format!("of partition 0 of {topic} is somebody else's: publishing goes on behind it");
        assert!(log.contains(&said) && log.contains("the record at offset"), "{log}");
    }
    // Of another pipeline, with a position that is far ahead.
    let cluster = published.pipeline.cluster().await;
    send(&topic, &change_of(&published, "somebody", &cluster));
    insert(&published, 6).await;
    let (code, log) = published.run(&["publish", "--until", "current"]).await;
    assert!(code == Some(0) && log.contains("publishing goes on behind it"), "{log}");
    published.catch_up().await;
}

#[tokio::test]
async fn a_stray_record_at_the_end_of_a_tables_topic_stopped_publish_for_good() {
    let published = Published::new("strayt", SCHEMA, "ack: kafka, topics_by: table").await;
    insert(&published, 1).await;
    published.catch_up().await;
    let topic = format!("wal2graph.{}", published.pipeline.name);
    let cluster = published.pipeline.cluster().await;
    for (id, of) in [(2, "heartbeats"), (3, "public.stray_things")] {
        let topic = format!("{topic}.{of}");
        send(&topic, "hello");
        send(&topic, &change_of(&published, "somebody", &cluster));
        insert(&published, id).await;
        let (code, log) = published.run(&["publish", "--until", "current"]).await;
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains(&format!("of partition 0 of {topic} is somebody else's")), "{log}");
    }
}

/// Their names are the same, and so is what they read but for the database.
#[tokio::test]
async fn pipelines_of_one_name_on_two_databases_published_to_one_topic() {
    let first = Published::new("stray_a", SCHEMA, "ack: kafka").await;
    first.catch_up().await;
    let second = Published::new("stray_b", SCHEMA, "ack: kafka").await;
    let (name, database) = (&first.pipeline.name, &second.pipeline.name);
    let text = fs::read_to_string(&first.path).unwrap();
    let named = format!("pipeline: {name}\nsource: {{slot: stray_b}}\n{text}");
    fs::write(&second.path, &named).unwrap();
    let (code, log) = second.run(&["publish", "--until", "current"]).await;
    let said = format!("has rows of the database \"{name}\", and the source is \"{database}\"");
    assert!(code == Some(1) && log.contains(&said) && !log.contains("delete"), "{log}");
    // On the first one's database, through another slot.
    let sql = &first.pipeline.sql;
    let slot = "SELECT pg_create_logical_replication_slot('stray_b', 'pgoutput')";
    sql.query(slot, &[]).await.unwrap();
    fs::write(&first.path, &named).unwrap();
    let (code, log) = first.run(&["publish", "--until", "current"]).await;
    let said = format!(
        "is published through the slot \"wal2graph_{name}\", and this pipeline reads \"stray_b\""
    );
    assert!(code == Some(1) && log.contains(&said) && !log.contains("delete"), "{log}");
    sql.query("SELECT pg_drop_replication_slot('stray_b')", &[]).await.unwrap();
    fs::write(&first.path, text).unwrap();
    first.catch_up().await;
}
