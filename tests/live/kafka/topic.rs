//! What is in a topic, as whoever consumes it sees it.

use std::time::Duration;

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Headers,
};
use serde_json::Value;
use wal2graph::{config::Config, envelope::Record};

/// All records of a topic's only partition, in their order, each as its schema says.
pub async fn records(config: &Config) -> Vec<Record> {
    let [records] = <[_; 1]>::try_from(partitions(config).await).expect("it has one partition");
    records
}

/// The same of every partition.
pub async fn partitions(config: &Config) -> Vec<Vec<Record>> {
    let kafka = config.kafka().unwrap();
    let (brokers, topic) = (kafka.brokers.clone(), kafka.topic.as_str().to_owned());
    let partitions = tokio::task::spawn_blocking(move || read(&brokers, &topic)).await.unwrap();
    let [event, key] = [
        include_str!("../../../schemas/change-event.schema.json"),
        include_str!("../../../schemas/change-key.schema.json"),
    ]
    .map(|text| jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap());
    for record in partitions.iter().flatten() {
        for (validator, part) in [(&event, &record.value), (&key, &record.key)] {
            let Some(bytes) = part else { continue };
            let json = serde_json::from_slice(bytes).unwrap();
            if let Err(error) = validator.validate(&json) {
                panic!("{error}: {json}");
            }
        }
    }
    partitions
}

/// All records of a topic's only partition, in their order, whatever they are.
pub async fn raw_records(brokers: &str, topic: &str) -> Vec<Record> {
    let partitions = raw_partitions(brokers, topic).await;
    let [records] = <[_; 1]>::try_from(partitions).expect("it has one partition");
    records
}

/// The same of every partition.
pub async fn raw_partitions(brokers: &str, topic: &str) -> Vec<Vec<Record>> {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || read(&brokers, &topic)).await.unwrap()
}

fn read(brokers: &str, topic: &str) -> Vec<Vec<Record>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(30)).unwrap();
    let count = metadata.topics()[0].partitions().len() as i32;
    (0..count).map(|partition| read_partition(&consumer, topic, partition)).collect()
}

fn read_partition(consumer: &BaseConsumer, topic: &str, partition: i32) -> Vec<Record> {
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    consumer.assign(&assignment).unwrap();
    let mut records = Vec::new();
    loop {
        match consumer.poll(Duration::from_secs(30)).expect("the broker answers") {
            Ok(message) if message.partition() != partition => {}
            Ok(message) => {
                let bytes = |bytes: &[u8]| bytes::Bytes::copy_from_slice(bytes);
                let headers = message.headers().into_iter().flat_map(Headers::iter);
                let header = |it: rdkafka::message::Header<'_, &[u8]>| {
                    (it.key.to_owned(), bytes(it.value.unwrap_or_default()))
                };
                records.push(Record {
                    key: message.key().map(bytes),
                    value: message.payload().map(bytes),
                    headers: headers.map(header).collect(),
                });
            }
            Err(KafkaError::PartitionEOF(of)) if of != partition => {}
            Err(KafkaError::PartitionEOF(_)) => return records,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A record's value; `null` for a tombstone.
pub fn value(record: &Record) -> Value {
    record.value.as_ref().map_or(Value::Null, |value| serde_json::from_slice(value).unwrap())
}

/// `(commit_lsn, event_index)` of a change.
pub fn place(value: &Value) -> Option<(u64, u64)> {
    let source = value.get("source")?;
    Some((source.get("commit_lsn")?.as_u64()?, source.get("event_index")?.as_u64()?))
}

/// The position that a record says the topic is complete through.
pub fn end_lsn(value: &Value) -> Option<u64> {
    let of_change = value.get("source").and_then(|source| source.get("end_lsn"));
    of_change.or_else(|| value.get("end_lsn"))?.as_u64()
}

/// The changes without those that came before: what a consumer applies.
pub fn once(records: &[Record]) -> Vec<Value> {
    let mut furthest = None;
    let mut once = Vec::new();
    for value in records.iter().map(value) {
        let Some(place) = place(&value) else { continue };
        // The records of one change share its place.
        if Some(place) >= furthest {
            furthest = Some(place);
            once.push(value);
        }
    }
    once
}
