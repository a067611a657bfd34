//! What is refused, with the way out.

use wal2graph_servers::{Kafka, KafkaOptions, Postgres, PostgresOptions};

use crate::{
    kafka::{Published, kafka},
    support::{PATIENCE, Pipeline, client, until},
};

const SCHEMA: &str = "CREATE TABLE ref_things (id serial PRIMARY KEY)";

#[tokio::test]
async fn a_slot_that_is_ahead_of_the_topic_is_a_gap() {
    let published = Published::new("ahead", SCHEMA, "ack: kafka").await;
    published.catch_up().await;
    let sql = &published.pipeline.sql;
    sql.batch_execute("INSERT INTO ref_things DEFAULT VALUES").await.unwrap();
    let slot = format!("wal2graph_{}", published.pipeline.name);
    // The walsender ends a moment after the program.
    let active = "SELECT active FROM pg_replication_slots WHERE slot_name = $1";
    let is_free = async || !sql.query_one(active, &[&slot]).await.unwrap().get::<_, bool>(0);
    until("the slot is free", is_free).await;
    let advance = "SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())";
    sql.query(advance, &[&slot]).await.unwrap();
    published.is_refused(&["ahead of the topic", "delete the topic"]).await;
    sql.query("SELECT pg_drop_replication_slot($1)", &[&slot]).await.unwrap();
    let gone = ["the slot", "is gone", "delete the topic"];
    published.is_refused(&gone).await;
    let output = published.pipeline.output(&["check", "-c", &published.path]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let failure = said.split_once("FAILURE  publish would not go on in the topic");
    let failure = failure.unwrap_or_else(|| panic!("{said}")).1;
    assert!(gone.iter().all(|part| failure.contains(part)), "{said}");
}

#[tokio::test]
async fn a_topic_that_breaks_transactions_is_not_used() {
    let published = Published::new("unfit", SCHEMA, "ack: kafka").await;
    let topic = format!("wal2graph.{}", published.pipeline.name);
    kafka().create_topic(&topic, 3, &["cleanup.policy=compact"]).unwrap();
    published.is_refused(&["is compacted", "cleanup.policy=delete"]).await;
    let (code, _) = published.run(&["check"]).await;
    assert_eq!(code, Some(1), "check says it too");
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_broker_that_is_not_there_is_waited_for_and_named() {
    let published = Published::new("nobody", SCHEMA, "ack: kafka").await;
    let text = "kafka: {brokers: '127.0.0.1:1', ack: kafka}\nhttp: {listen: off}\n";
    std::fs::write(&published.path, text).unwrap();
    let (code, log) = published.run(&["check"]).await;
    assert_eq!(code, Some(1));
    assert!(log.contains("checks failed"), "{log}");
    let mut running = published.start();
    let ended = running.ended(std::time::Duration::from_secs(20)).await;
    assert_eq!(ended, None, "it waits");
}

#[tokio::test]
async fn a_row_that_is_too_large_for_the_topic_stops_it_and_says_what_to_raise() {
    let schema = "CREATE TABLE ref_large (id int PRIMARY KEY, body text);
        INSERT INTO ref_large VALUES (1, repeat('x', 200000))";
    let published = Published::new("too_large", schema, "ack: kafka").await;
    let topic = format!("wal2graph.{}", published.pipeline.name);
    kafka().create_topic(&topic, 1, &["max.message.bytes=100000"]).unwrap();
    let said = ["a larger row stops the publisher", "public.ref_large", "Raise max.message.bytes"];
    published.is_refused(&said).await;
}

#[tokio::test]
async fn a_topic_that_is_deleted_under_it_stops_it() {
    let properties = "ack: kafka, properties: {topic.metadata.propagation.max.ms: 2000}";
    let published = Published::new("deleted", SCHEMA, properties).await;
    published.catch_up().await;
    let mut running = published.start();
    let end = published.end_of_topic().await;
    let insert = "INSERT INTO ref_things DEFAULT VALUES";
    published.pipeline.sql.batch_execute(insert).await.unwrap();
    published.catch_up_by_looking(end + 1).await;
    let topic = format!("wal2graph.{}", published.pipeline.name);
    let arguments = ["--delete", "--topic", &topic];
    kafka().tool("org.apache.kafka.tools.TopicCommand", &arguments).unwrap();
    let started = std::time::Instant::now();
    let mut code = None;
    while code.is_none() && started.elapsed() < PATIENCE {
        published.pipeline.sql.batch_execute(insert).await.unwrap();
        code = running.ended(std::time::Duration::from_millis(500)).await;
    }
    assert_eq!(code, Some(1));
    let log = published.log();
    let said = format!("the topic {topic} is gone, and with it the records that nobody has read");
    assert!(log.contains(&said) && log.contains("start again: `publish` makes it"), "{log}");
    // By default a broker makes the topic that a producer names.
    let config = published.config();
    let found = wal2graph::kafka::topic::look(config.kafka().unwrap()).await.unwrap();
    assert_eq!(found, None, "it is not made again by what was still on its way");
    let (code, log) = published.run(&["publish", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("topic created") && log.contains("copying=true"), "{log}");
}

#[tokio::test]
async fn partitions_added_while_it_runs_stop_it() {
    let published = Published::new("added", SCHEMA, "ack: kafka").await;
    published.catch_up().await;
    let mut running = published.start();
    let topic = format!("wal2graph.{}", published.pipeline.name);
    let is_publishing = async || published.log().contains("publishing");
    until("it publishes", is_publishing).await;
    let arguments = ["--alter", "--topic", &topic, "--partitions", "3"];
    kafka().tool("org.apache.kafka.tools.TopicCommand", &arguments).unwrap();
    assert_eq!(running.ended(PATIENCE).await, Some(1));
    assert!(published.log().contains("had 1 when it was written last"), "{}", published.log());
}

#[tokio::test]
async fn the_topic_of_another_pipeline_is_not_advised_to_be_deleted() {
    let first = Published::new("owner", SCHEMA, "ack: kafka").await;
    first.catch_up().await;
    let section = format!("ack: kafka, topic: wal2graph.{}", first.pipeline.name);
    let second = Published::new("guest", SCHEMA, &section).await;
    let (code, log) = second.run(&["publish", "--until", "current"]).await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("belongs to the pipeline") && !log.contains("delete"), "{log}");
}

/// The words of the last command for Kafka's tool that settings are changed with, but for its name.
fn command(said: &str) -> Vec<&str> {
    let words = said.rsplit_once("kafka-configs ").expect(said).1.split_whitespace();
    // The brokers are known to the tool.
    words.skip(2).take(5).map(|word| word.trim_matches('"')).collect()
}

/// By Kafka's default, records go after a week.
#[tokio::test]
async fn a_topic_that_does_not_keep_its_copy_is_told_of_before_and_after_it_is_made() {
    let published = Published::new("weekly", SCHEMA, "ack: kafka").await;
    let printed = async |command: &str| {
        let output = published.pipeline.output(&[command, "-c", &published.path]).await;
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let week = "records after 7 days. When the copy that it begins with is gone, an emptied graph can not be filled";
    for command in ["check", "plan"] {
        let said = printed(command).await;
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(&format!("will forget its {week}")), "{command}: {said}");
        assert!(said.contains("kafka.retention: forever"), "{command}: {said}");
    }
    let (code, log) = published.run(&["publish", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches(&format!("forgets its {week}")).count(), 1, "{log}");
    assert!(log.contains("INFO"), "{log}");
    let said = printed("check").await;
    for said in [&said, &printed("plan").await, &log] {
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(&format!("forgets its {week}")), "{said}");
        assert_eq!(command(&said)[3], "--add-config", "{said}");
    }
    kafka().tool("kafka.admin.ConfigCommand", &command(&said)).unwrap();
    for command in ["check", "plan"] {
        let said = printed(command).await;
        assert!(!said.contains("forget"), "{command}: {said}");
    }
}

#[tokio::test]
async fn a_topic_that_is_made_to_be_kept_for_ever_forgets_nothing() {
    let broker = Kafka::start(&KafkaOptions {
        properties: vec![("log.retention.bytes".to_owned(), "1000000000".to_owned())],
        ..KafkaOptions::default()
    });
    let broker = broker.unwrap();
    let published = Published::on(&broker, "keeps", SCHEMA, "retention: forever").await;
    published.catch_up().await;
    let (_, log) = published.run(&["publish", "--until", "current"]).await;
    assert!(!log.contains("forgets"), "{log}");
}

#[tokio::test]
async fn a_publisher_whose_slot_is_above_its_budget_ends_and_drops_it() {
    let server = Postgres::start(&PostgresOptions::default()).unwrap();
    let schema = "CREATE TABLE ref_spent (id int PRIMARY KEY)";
    let pipeline = Pipeline::on(&server, "pubspent", schema).await;
    // Without pages, nothing but the budget looks at the source.
    let published = Published::of(kafka(), pipeline, "ack: kafka");
    let file = std::fs::read_to_string(&published.path).unwrap();
    let file = file + "source: {wal_budget: {stop: 40MB}}\non_wal_budget: drop\n";
    std::fs::write(&published.path, file).unwrap();
    published.catch_up().await;
    let sql = &published.pipeline.sql;
    // A transaction that does not end: the slot keeps everything since.
    let other = client(&published.pipeline.source_url).await;
    other.batch_execute("BEGIN; INSERT INTO ref_spent VALUES (1)").await.unwrap();
    let mut running = published.start();
    for _ in 0..4 {
        sql.batch_execute("SELECT pg_logical_emit_message(false, 'noise', 'x')").await.unwrap();
        sql.batch_execute("SELECT pg_switch_wal()").await.unwrap();
    }
    assert_eq!(running.ended(PATIENCE).await, Some(1), "{}", published.log());
    assert!(published.log().contains("It is dropped (on_wal_budget: drop)"), "{}", published.log());
    let slots = "SELECT count(*) FROM pg_replication_slots";
    assert_eq!(sql.query_one(slots, &[]).await.unwrap().get::<_, i64>(0), 0, "the log is free");
    other.batch_execute("ROLLBACK").await.unwrap();
    published.is_refused(&["the slot", "is gone", "delete the topic"]).await;
}
