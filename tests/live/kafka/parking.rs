//! Records that are no envelopes: parked as they came, if the file says so.

use std::fs;

use bytes::Bytes;
use tempfile::NamedTempFile;
use wal2graph::envelope::Record;

use super::{feed::Feed, kafka, topic::raw_records};
use crate::support::graph;

/// A feed whose file says that such records are parked, with a copy of one row.
async fn parking(prefix: &str) -> Feed {
    let mut feed = Feed::new(prefix).await;
    let text = fs::read_to_string(feed.config_path()).unwrap();
    fs::write(feed.config_path(), text.replace("kafka:\n", "kafka:\n  unreadable: park\n"))
        .unwrap();
    feed.copy(1..=1).await;
    feed
}

fn foreign(value: &'static [u8]) -> Record {
    Record {
        key: Some(Bytes::from_static(b"\x00\xffkey")),
        value: Some(Bytes::from_static(value)),
        headers: vec![("theirs".to_owned(), Bytes::from_static(b"\xfe"))],
    }
}

#[tokio::test]
async fn records_that_are_no_envelopes_are_parked_as_they_came_and_counted() {
    let mut feed = parking("kpa").await;
    let changes = [feed.insert(2, "before", None)];
    feed.commit(&changes).await;
    let first = feed.send(foreign(b"{\"who\": \"are you")).await;
    let second = feed.send(foreign(b"\xff\xfe\x00")).await;
    let changes = [feed.insert(3, "behind", Some(2))];
    feed.commit(&changes).await;
    let last = feed.send(foreign(b"[]")).await;
    let log = feed.apply().await;
    assert_eq!(feed.contents().await, "1:copied 2:before 3:behind->2");
    assert_eq!(feed.applied().await, last + 1, "the one at the end is done with, too");
    assert!(log.contains("is parked") && !log.contains("are you"), "{log}");

    let parked = raw_records(&kafka().brokers(), &format!("{}.parked", feed.topic)).await;
    let values: Vec<&[u8]> =
        parked.iter().map(|record| &record.value.as_ref().unwrap()[..]).collect();
    assert_eq!(values, [b"{\"who\": \"are you".as_slice(), b"\xff\xfe\x00", b"[]"]);
    for (record, offset) in parked.iter().zip([first, second, last]) {
        assert_eq!(record.key.as_deref(), Some(b"\x00\xffkey".as_slice()));
        let names: Vec<&str> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "theirs",
            "wal2graph.topic",
            "wal2graph.partition",
            "wal2graph.offset",
            "wal2graph.error",
        ];
        assert_eq!(names, expected);
        let values: Vec<&[u8]> = record.headers.iter().map(|(_, value)| &value[..]).collect();
        let offset = offset.to_string();
        assert_eq!(values[..4], [b"\xfe", feed.topic.as_bytes(), b"0", offset.as_bytes()]);
        assert!(!values[4].is_empty());
    }
    let (code, status) = feed.output(&["status"]).await;
    assert_eq!(code, Some(0));
    assert!(status.contains("parked        3 records"), "{status}");
    // They are behind us: nothing is parked twice.
    feed.apply().await;
    let again = raw_records(&kafka().brokers(), &format!("{}.parked", feed.topic)).await;
    assert_eq!(again.len(), 3);
}

#[tokio::test]
async fn records_of_another_database_or_connector_are_parked_and_what_is_no_heartbeat() {
    let mut feed = parking("kpd").await;
    let debezium = |database: &str, connector: &str| {
        let value = format!(
            "{{\"before\":null,\"after\":{{\"id\":1,\"name\":\"FOREIGN\",\"other\":null}},\"op\":\"u\",\"ts_ms\":1,\
             \"source\":{{\"version\":\"3.3.1.Final\",\"connector\":\"{connector}\",\"name\":\"x\",\"ts_ms\":1,\
             \"snapshot\":\"false\",\"db\":\"{database}\",\"schema\":\"public\",\"table\":\"kpd_things\",\"txId\":1,\
             \"lsn\":9000000,\"xmin\":null}}}}"
        );
        let (key, value) = (Some(Bytes::from_static(b"{\"id\":1}")), Some(Bytes::from(value)));
        Record { key, value, headers: Vec::new() }
    };
    let ours = feed.pipeline.name.clone();
    let foreign = [
        debezium("otherdb", "postgresql"),
        debezium(&ours, "mysql"),
        // It names no history, as every record of `publish` does.
        debezium(&ours, "postgresql"),
        // A row of a table with a column of this name, and a row that looks like a marker.
        self::foreign(b"{\"id\":1,\"ts_ms\":123}"),
        self::foreign(b"{\"id\":7,\"status\":\"paid\",\"total\":5}"),
    ];
    for record in foreign.clone() {
        feed.send(record).await;
    }
    let changes = [feed.insert(2, "behind", None)];
    feed.commit(&changes).await;
    feed.apply().await;
    assert_eq!(feed.contents().await, "1:copied 2:behind");
    let parked = raw_records(&kafka().brokers(), &format!("{}.parked", feed.topic)).await;
    let values: Vec<_> = parked.iter().map(|record| &record.value).collect();
    assert_eq!(values, foreign.iter().map(|record| &record.value).collect::<Vec<_>>());
    let reasons: Vec<&str> = parked
        .iter()
        .map(|record| std::str::from_utf8(&record.headers.last().unwrap().1).unwrap())
        .collect();
    assert!(reasons[0].contains("of another database, otherdb"), "{reasons:?}");
    assert!(reasons[1].contains("mysql"), "{reasons:?}");
}

#[tokio::test]
async fn records_of_another_history_and_gaps_stop_it_all_the_same() {
    let mut feed = parking("kpb").await;
    feed.apply().await;
    feed.of_another_cluster().await;
    let changes = [feed.insert(6, "of another cluster", None)];
    feed.commit(&changes).await;
    feed.apply_refuses("from database cluster 8").await;
    let parked = raw_records(&kafka().brokers(), &format!("{}.parked", feed.topic)).await;
    assert_eq!(parked, []);
}

#[tokio::test]
async fn while_the_parking_topic_takes_nothing_no_offset_moves() {
    let mut feed = parking("kpc").await;
    feed.apply().await;
    let before = feed.applied().await;
    let class = "kafka.admin.ConfigCommand";
    let topic = format!("{}.parked", feed.topic);
    let alter = |config: &'static str| {
        let arguments =
            ["--alter", "--entity-type", "topics", "--entity-name", &topic, "--add-config", config];
        kafka().tool(class, &arguments).unwrap();
    };
    alter("max.message.bytes=100");
    let offset = feed
        .send(foreign(
            b"too much for it: ................................................................",
        ))
        .await;
    let changes = [feed.insert(2, "behind", None)];
    feed.commit(&changes).await;
    feed.apply_refuses("can not be parked").await;
    assert!(feed.applied().await <= offset && feed.applied().await >= before);
    let query = format!("MATCH (n:{} {{id: 2}}) RETURN count(n) AS count", feed.label);
    let rows = graph().rows(neo4rs::Query::new(query)).await.unwrap();
    assert_eq!(rows[0].get::<i64>("count").unwrap(), 0, "nothing behind it is applied");
    alter("max.message.bytes=1000000");
    let log = NamedTempFile::new().unwrap();
    let mut running = feed.start(&["--until", "current"], &log);
    assert_eq!(running.ended(crate::support::PATIENCE).await, Some(0));
    assert_eq!(feed.contents().await, "1:copied 2:behind");
}
