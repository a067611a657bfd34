//! Records that are no envelopes: dead letters as they came, if the file says so, until a person
//! decides.

use std::{fs, time::Duration};

use bytes::Bytes;
use tempfile::NamedTempFile;
use wal2graph::envelope::Record;

use super::{feed::Feed, items::Items, kafka, served, topic::raw_records};
use crate::support::graph;

/// A feed whose file says that such records become dead letters, with a copy of one row.
async fn with_dead_letters(prefix: &str) -> Feed {
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
async fn records_that_are_no_envelopes_become_dead_letters_as_they_came() {
    let mut feed = with_dead_letters("kpa").await;
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
    assert!(log.contains("is a dead letter") && !log.contains("are you"), "{log}");

    let letters = raw_records(&kafka().brokers(), &format!("{}.dead-letters", feed.topic)).await;
    let values: Vec<&[u8]> =
        letters.iter().map(|record| &record.value.as_ref().unwrap()[..]).collect();
    assert_eq!(values, [b"{\"who\": \"are you".as_slice(), b"\xff\xfe\x00", b"[]"]);
    for (record, offset) in letters.iter().zip([first, second, last]) {
        assert_eq!(record.key.as_deref(), Some(b"\x00\xffkey".as_slice()));
        let names: Vec<&str> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "theirs",
            "wal2graph.topic_id",
            "wal2graph.topic",
            "wal2graph.partition",
            "wal2graph.offset",
            "wal2graph.error",
        ];
        assert_eq!(names, expected);
        let values: Vec<&[u8]> = record.headers.iter().map(|(_, value)| &value[..]).collect();
        let offset = offset.to_string();
        assert_eq!(values[0], b"\xfe");
        assert_eq!(values[2..5], [feed.topic.as_bytes(), b"0", offset.as_bytes()]);
        assert!(values[1].len() == 22 && !values[5].is_empty());
    }
    let (code, status) = feed.output(&["status"]).await;
    assert_eq!(code, Some(0));
    assert!(status.contains("dead letters  3"), "{status}");
    // They are behind us: nothing is put aside twice.
    feed.apply().await;
    let again = raw_records(&kafka().brokers(), &format!("{}.dead-letters", feed.topic)).await;
    assert_eq!(again.len(), 3);
}

#[tokio::test]
async fn records_of_another_database_or_connector_become_dead_letters_and_what_is_no_heartbeat() {
    let mut feed = with_dead_letters("kpf").await;
    let debezium = |database: &str, connector: &str| {
        let value = format!(
            "{{\"before\":null,\"after\":{{\"id\":1,\"name\":\"FOREIGN\",\"other\":null}},\"op\":\"u\",\"ts_ms\":1,\
             \"source\":{{\"version\":\"3.3.1.Final\",\"connector\":\"{connector}\",\"name\":\"x\",\"ts_ms\":1,\
             \"snapshot\":\"false\",\"db\":\"{database}\",\"schema\":\"public\",\"table\":\"kpf_things\",\"txId\":1,\
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
    let letters = raw_records(&kafka().brokers(), &format!("{}.dead-letters", feed.topic)).await;
    let values: Vec<_> = letters.iter().map(|record| &record.value).collect();
    assert_eq!(values, foreign.iter().map(|record| &record.value).collect::<Vec<_>>());
    let reasons: Vec<&str> = letters
        .iter()
        .map(|record| std::str::from_utf8(&record.headers.last().unwrap().1).unwrap())
        .collect();
    assert!(reasons[0].contains("of another database, otherdb"), "{reasons:?}");
    assert!(reasons[1].contains("mysql"), "{reasons:?}");
}

#[tokio::test]
async fn records_of_another_history_and_gaps_stop_it_all_the_same() {
    let mut feed = with_dead_letters("kpb").await;
    feed.apply().await;
    feed.of_another_cluster().await;
    let changes = [feed.insert(6, "of another cluster", None)];
    feed.commit(&changes).await;
    feed.apply_refuses("from database cluster 8").await;
    let letters = raw_records(&kafka().brokers(), &format!("{}.dead-letters", feed.topic)).await;
    assert_eq!(letters, []);
}

#[tokio::test]
async fn while_the_dead_letter_topic_takes_nothing_no_offset_moves() {
    let mut feed = with_dead_letters("kpc").await;
    feed.apply().await;
    let before = feed.applied().await;
    let class = "kafka.admin.ConfigCommand";
    let topic = format!("{}.dead-letters", feed.topic);
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
    feed.apply_refuses("a dead letter can not be written").await;
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

/// `list`, with the topic's own name left out.
async fn listed(items: &Items) -> Vec<String> {
    let json = items.done(&["dead-letters", "list", "--json"]).await;
    let listed: serde_json::Value = serde_json::from_str(&json).unwrap();
    let names = listed.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap());
    names.map(|name| name.replace(&items.topic, "T")).collect()
}

#[tokio::test]
async fn dead_letters_are_put_back_once_they_can_be_read_but_not_over_what_is_newer() {
    let items = Items::new("kdl", 1).await;
    items.send(0, "r", 1, "BOI=");
    // Somebody has set the connector otherwise meanwhile.
    items.send(0, "c", 2, "12.50");
    items.send(0, "c", 3, "13.50");
    items.send(0, "u", 3, "BOI=");
    items.send(0, "c", 4, "14.50");
    items.send(0, "u", 4, "15.50");
    items.apply().await;
    assert_eq!(items.rows().await, "1:12.5 3:12.5");
    assert_eq!(listed(&items).await, ["T/0/1", "T/0/2", "T/0/4", "T/0/5"]);
    let name = |offset: u64| format!("{}/0/{offset}", items.topic);
    let list = items.done(&["dead-letters", "list"]).await;
    assert!(list.contains(&name(1)) && list.contains("price") && !list.contains("12.50"), "{list}");
    let shown = items.done(&["dead-letters", "show", &name(1)]).await;
    assert!(
        shown.contains("\"price\":\"12.50\"") && shown.contains("key     {\"id\":2}"),
        "{shown}"
    );
    items.fails(&["dead-letters", "show", &name(3)], "no dead letter").await;
    let status = items.done(&["status"]).await;
    assert!(status.contains("dead letters  4"), "{status}");
    items.fails(&["dead-letters", "retry", "--all"], "it would be a dead letter again").await;
    assert_eq!(listed(&items).await.len(), 4);

    items.prices_are("string");
    let said = items.fails(&["dead-letters", "retry", "--all"], "1 dead letter is not put").await;
    assert!(said.contains("its row has changed since, at offset 3"), "{said}");
    assert_eq!(listed(&items).await, ["T/0/2"]);
    items.apply().await;
    assert_eq!(items.rows().await, "1:12.5 2:12.5 3:12.5 4:15.5", "in their order");

    let log = NamedTempFile::new().unwrap();
    let mut running = items.start(&log);
    let waiting =
        |count: u64| move |it: &str| it.contains(&format!("\nwal2graph_dead_letters {count}\n"));
    served::until(&log, "/metrics", waiting(1)).await;
    items.done(&["dead-letters", "drop", &name(2)]).await;
    served::until(&log, "/metrics", waiting(0)).await;
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
    assert_eq!(items.done(&["dead-letters", "list"]).await, "no dead letters\n");
}

/// A connector may write the key of a row in another form later.
#[tokio::test]
async fn a_letter_was_put_back_over_a_newer_record_of_its_row_that_had_other_bytes_for_its_key() {
    let items = Items::new("kdk", 1).await;
    items.send(0, "r", 1, "BOI=");
    (2..=5).for_each(|id| items.send(0, "c", id, "12.50"));
    // "BOI=" is 12.50, and "BOM=" is 12.51.
    let in_block = r#"{"schema": null, "payload": {"id": 3}}"#;
    items.send_with_key(0, Some(r#"{"id": 2 }"#), ("u", 2, "BOM="));
    items.send_with_key(0, Some(in_block), ("u", 3, "BOM="));
    items.send_with_key(0, None, ("u", 4, "BOM="));
    items.apply().await;
    assert_eq!(items.rows().await, "1:12.5 2:12.51 3:12.51 4:12.51");
    items.prices_are("string");
    let said = items.fails(&["dead-letters", "retry", "--all"], "are not put").await;
    for offset in 5..=7 {
        assert!(said.contains(&format!("its row has changed since, at offset {offset}")), "{said}");
    }
    assert_eq!(listed(&items).await, ["T/0/1", "T/0/2", "T/0/3"]);
    items.apply().await;
    assert_eq!(items.rows().await, "1:12.5 2:12.51 3:12.51 4:12.51 5:12.5");
}

#[tokio::test]
async fn a_row_of_a_table_that_was_emptied_since_comes_back_only_by_a_persons_word() {
    let items = Items::new("kdm", 1).await;
    items.send(0, "r", 1, "BOI=");
    items.send(0, "c", 6, "16.50");
    items.truncate();
    items.apply().await;
    assert_eq!(items.rows().await, "");
    items.prices_are("string");
    items
        .fails(&["dead-letters", "retry", "--all"], "its table was emptied since, at offset 2")
        .await;
    let said = items.done(&["dead-letters", "retry", "--all", "--yes"]).await;
    assert!(said.contains("put back, at offset 3") && said.contains("although"), "{said}");
    items.apply().await;
    assert_eq!(items.rows().await, "6:16.5");
    assert_eq!(listed(&items).await, [""; 0]);
}

#[tokio::test]
async fn a_record_of_publish_is_not_put_back_but_applied_again_from_where_it_stood() {
    let mut feed = with_dead_letters("kpd").await;
    let change = feed.insert(2, "5", None);
    let mut record = feed.record(&change);
    let text = String::from_utf8(record.value.take().unwrap().to_vec()).unwrap();
    record.value = Some(Bytes::from(text.replace("\"other\":null", "\"other\":true")));
    let offset = feed.send(record).await;
    let changes = [feed.insert(3, "behind", None)];
    feed.commit(&changes).await;
    feed.apply().await;
    assert_eq!(feed.contents().await, "1:copied 3:behind");
    // Now it can be read.
    let alter =
        "ALTER TABLE kpd_things DROP CONSTRAINT kpd_things_other_fkey, ALTER other TYPE text";
    feed.pipeline.sql.batch_execute(alter).await.unwrap();
    let (code, said) = feed.output(&["dead-letters", "retry", "--all"]).await;
    let replay = format!("wal2graph replay --from offset {offset} --partition {}/0", feed.topic);
    assert!(code == Some(1) && said.contains(&replay), "{replay:?} is not in {said}");
}
