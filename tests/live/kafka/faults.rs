//! Brokers that move, fill up and forget, under both commands.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};
use wal2graph::{
    kafka::{Options, connect::ANSWER_LIMIT, offsets::Asking, topic},
    topic::TopicName,
};
use wal2graph_servers::{Kafka, KafkaOptions};

use super::{Published, feed::Feed};
use crate::support::{holds, until};

/// Who coordinates the group, by the number of the broker.
fn coordinator(broker: &Kafka, group: &str) -> usize {
    let class = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    let said = broker.tool(class, &["--describe", "--group", group, "--state"]).unwrap();
    // GROUP COORDINATOR (ID) ASSIGNMENT-STRATEGY STATE #MEMBERS
    let words: Vec<&str> = said.split_whitespace().collect();
    let id = words.iter().find_map(|word| word.strip_prefix('(')?.strip_suffix(')')?.parse().ok());
    id.unwrap_or_else(|| panic!("{said}"))
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_group_whose_coordinator_dies_goes_on_with_another_one() {
    let options = KafkaOptions {
        properties: vec![
            ("default.replication.factor".to_owned(), "3".to_owned()),
            ("min.insync.replicas".to_owned(), "2".to_owned()),
        ],
        heap: "256m".to_owned(),
        ..KafkaOptions::default()
    };
    let mut brokers = Kafka::start_cluster(3, &options).unwrap();
    let all: Vec<String> = brokers.iter().map(Kafka::brokers).collect();
    let mut feed = Feed::on_cluster(&brokers[0], &all.join(","), "kfa").await;
    feed.copy(1..=3).await;
    let log = NamedTempFile::new().unwrap();
    let mut running = feed.start(&[], &log);
    feed.until_applied(3).await;
    let group = feed.group();
    let first = coordinator(&brokers[0], &group);
    let dying = brokers.iter_mut().find(|broker| broker.id() == first).unwrap();
    dying.kill().unwrap();
    let changes = [feed.insert(4, "after", None)];
    let offset = feed.commit(&changes).await;
    feed.until_applied(offset).await;
    let alive = brokers.iter().find(|broker| broker.runs()).unwrap();
    assert_ne!(coordinator(alive, &group), first, "it moved");
    // The group's offset follows there, too.
    let is_committed =
        async || feed.group_offset().await.is_some_and(|group| group.offset >= offset);
    until("the offset is committed", is_committed).await;
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
    assert_eq!(feed.contents().await, "1:copied 2:copied 3:copied 4:after");
}

/// Brokers that follow KRaft name any of those that they hold for alive as the controller.
#[tokio::test]
async fn a_broker_that_has_just_died_is_not_asked_for_settings_and_topics() {
    let options = KafkaOptions {
        properties: vec![
            ("default.replication.factor".to_owned(), "3".to_owned()),
            ("min.insync.replicas".to_owned(), "2".to_owned()),
            // For so long the others hold it for alive.
            ("broker.session.timeout.ms".to_owned(), "120000".to_owned()),
        ],
        heap: "256m".to_owned(),
        ..KafkaOptions::default()
    };
    let mut brokers = Kafka::start_cluster(3, &options).unwrap();
    let all: Vec<String> = brokers.iter().map(Kafka::brokers).collect();
    let of = |topic: &str| {
        let topic = TopicName::new(topic).unwrap();
        Options::new(all.join(","), topic, "kfd".to_owned())
    };
    topic::make(&of("kfd")).await.unwrap();
    brokers[2].kill().unwrap();
    for _ in 0..8 {
        let began = Instant::now();
        let found = topic::look(&of("kfd")).await.unwrap().unwrap();
        assert!(
            found.settings.is_some() && began.elapsed() < ANSWER_LIMIT,
            "{:?}",
            began.elapsed()
        );
    }
    for number in 0..4 {
        let began = Instant::now();
        topic::make(&of(&format!("kfd.{number}"))).await.unwrap();
        assert!(began.elapsed() < ANSWER_LIMIT, "{:?}", began.elapsed());
    }
    for _ in 0..4 {
        let asking = Asking::new(&of("kfd")).unwrap();
        let began = Instant::now();
        assert!(asking.describe(&["kfd"]).await.unwrap().contains_key("kfd"));
        assert!(began.elapsed() < ANSWER_LIMIT, "{:?}", began.elapsed());
        // The one that is away may be who knows them.
        assert_eq!(asking.members().await.unwrap(), None);
    }
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_broker_whose_disk_is_full_costs_time_only() {
    let options = KafkaOptions {
        // Its indexes are made with 10 MiB.
        file_kib_max: Some(12 << 10),
        ..KafkaOptions::default()
    };
    let mut broker = Kafka::start(&options).unwrap();
    let schema = "CREATE TABLE kfb_rows (id int PRIMARY KEY, body text)";
    let published = Published::on(&broker, "kfb", schema, "ack: kafka").await;
    published.catch_up().await;
    let mut running = published.start();
    let sql = &published.pipeline.sql;
    // Nothing that compresses: 400 rows of 64 KiB.
    let fill = "INSERT INTO kfb_rows SELECT g, string_agg(md5(g::text || '.' || h), '') \
                FROM generate_series(1, 400) g, generate_series(1, 2048) h GROUP BY g";
    sql.batch_execute(fill).await.unwrap();
    until("the broker gives up", async || !broker.runs()).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(running.0.try_wait().unwrap(), None, "publish waits for it");
    broker.kill().unwrap();
    broker.give_room();
    broker.start_again().unwrap();
    sql.batch_execute("INSERT INTO kfb_rows VALUES (1000, 'after')").await.unwrap();
    let end = "SELECT (pg_current_wal_flush_lsn() - '0/0')::int8";
    let end = sql.query_one(end, &[]).await.unwrap().get::<_, i64>(0).unsigned_abs();
    published.catch_up_by_looking(end).await;
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
    let (code, log) = published.run(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{log}");
    let rows =
        "MATCH (n:KfbRow) RETURN count(n) = 401 AND sum(size(n.body)) = 400 * 65536 + 5 AS yes";
    assert!(holds(rows).await, "every row is there, whole");
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_retention_that_is_shorter_than_the_outage_is_a_gap() {
    let options = KafkaOptions {
        properties: vec![("log.retention.check.interval.ms".to_owned(), "500".to_owned())],
        ..KafkaOptions::default()
    };
    let broker = Kafka::start(&options).unwrap();
    let mut feed = Feed::on(&broker, "kfc").await;
    feed.copy(1..=3).await;
    feed.apply().await;
    // While nobody applies, the topic forgets.
    let changes = [feed.insert(4, "never seen", None)];
    feed.commit(&changes).await;
    let arguments = [
        "--alter",
        "--entity-type",
        "topics",
        "--entity-name",
        &feed.topic,
        "--add-config",
        "retention.ms=1000,segment.ms=500,file.delete.delay.ms=0",
    ];
    broker.tool("kafka.admin.ConfigCommand", &arguments).unwrap();
    sleep(Duration::from_secs(1)).await;
    let changes = [feed.insert(5, "rolls the segment", None)];
    feed.commit(&changes).await;
    let forgets = async || first_offset(&broker.brokers(), &feed.topic).await >= 4;
    until("the topic forgets", forgets).await;
    feed.apply_refuses("are gone and were never applied").await;
    assert_eq!(feed.contents().await, "1:copied 2:copied 3:copied");
}

async fn first_offset(brokers: &str, topic: &str) -> i64 {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    let ask = move || {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        client.fetch_watermarks(&topic, 0, Duration::from_secs(10)).unwrap().0
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}
