//! Records that are gone before they were applied: a broker whose machine loses power has topics without their last
//! records, under the same id; compaction takes some from between; a table that moves leaves its topic behind.

use std::{fs, time::Duration};

use rdkafka::producer::{BaseRecord, Producer};
use tempfile::NamedTempFile;
use tokio::time::sleep;
use wal2graph_servers::{Kafka, KafkaOptions};

use super::{
    Published,
    debezium::topics::producer,
    feed::{Feed, config},
    kafka,
    topic::raw_records,
};
use crate::support::{eventually, graph, holds, until};

const LIMIT: Duration = Duration::from_secs(30);

/// The broker goes down, loses a partition's records from this offset on, and comes back.
fn lose(broker: &mut Kafka, topic: &str, offset: u64) {
    lose_all(broker, &[(topic.to_owned(), offset)]);
}

/// The same of several topics at once.
fn lose_all(broker: &mut Kafka, from: &[(String, u64)]) {
    broker.kill().unwrap();
    from.iter().for_each(|(topic, offset)| broker.lose(topic, 0, *offset).unwrap());
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

/// A killed member has the partition until its session ends: nobody applies it, and its checkpoint is at the old end.
#[tokio::test]
async fn a_topic_that_lost_its_tail_seemed_to_be_applied_as_a_dead_member_had_its_partition() {
    let mut broker = Kafka::start(&KafkaOptions::default()).unwrap();
    let mut feed = Feed::on(&broker, "ltd").await;
    feed.copy(1..=9).await;
    let changes: Vec<_> = (1..=5).map(|id| feed.update(id, "applied", None)).collect();
    let end = feed.commit(&changes).await;
    let session = "{session.timeout.ms: 30000, heartbeat.interval.ms: 500}";
    let long = config(&feed.pipeline.name, &broker.brokers(), session);
    let arguments = ["apply", "-c", long.path().to_str().unwrap()];
    let log = NamedTempFile::new().unwrap();
    let dead = feed.pipeline.start_logging(&arguments, log.reopen().unwrap());
    feed.until_applied(end).await;
    dead.kill();
    lose(&mut broker, &feed.topic, end - 3);
    feed.apply_refuses("its records were lost").await;
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

#[tokio::test]
async fn a_running_apply_kept_silent_about_a_topic_that_lost_its_last_records() {
    a_running_apply_ends("lsi", "", &[("", 22)]).await;
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_running_apply_kept_silent_about_topics_of_tables_that_lost_their_last_records() {
    let cut = [(".public.lst_things", 22), (".heartbeats", 2)];
    a_running_apply_ends("lst", "topics_by: table", &cut).await;
}

async fn a_running_apply_ends(name: &str, section: &str, cut: &[(&str, u64)]) {
    let mut broker = Kafka::start(&KafkaOptions::default()).unwrap();
    let schema = "CREATE TABLE lsi_things (id int PRIMARY KEY, name text);
                  INSERT INTO lsi_things SELECT id, 'copied' FROM generate_series(1, 20) id";
    let published = Published::on(&broker, name, &schema.replace("lsi", name), section).await;
    published.catch_up().await;
    let log = NamedTempFile::new().unwrap();
    let arguments = ["apply", "-c", published.path.as_str()];
    let mut apply = published.pipeline.start_logging(&arguments, log.reopen().unwrap());
    let label = format!("L{}Thing", &name[1..]);
    eventually("it is copied", &format!("MATCH (n:{label}) RETURN count(n) = 20 AS yes")).await;
    let change = format!("UPDATE {name}_things SET name = 'changed' WHERE id <= 15");
    published.pipeline.sql.batch_execute(&change).await.unwrap();
    published.catch_up().await;
    let changed = format!("MATCH (n:{label} {{name: 'changed'}}) RETURN count(n) = 15 AS yes");
    eventually("it is applied", &changed).await;
    // Heartbeats are applied, too.
    sleep(Duration::from_secs(3)).await;
    let topic = |own: &str| format!("wal2graph.{}{own}", published.pipeline.name);
    let cut: Vec<_> = cut.iter().map(|(own, offset)| (topic(own), *offset)).collect();
    lose_all(&mut broker, &cut);
    let code = apply.ended(Duration::from_secs(120)).await;
    let log = fs::read_to_string(log.path()).unwrap();
    assert!(code == Some(1) && log.contains("lost"), "{code:?} {log}");
}

/// Sets a topic's settings.
fn alter(topic: &str, settings: &str) {
    let of = ["--alter", "--entity-type", "topics", "--entity-name", topic];
    let arguments = [&of[..], &["--add-config", settings]].concat();
    kafka().tool("kafka.admin.ConfigCommand", &arguments).unwrap();
}

/// Publishes and applies all, until the graph has this.
async fn ends_with(published: &Published, what: &str, cypher: &str) {
    let log = NamedTempFile::new().unwrap();
    let (mut publish, arguments) = (published.start(), ["apply", "-c", &published.path]);
    let mut apply = published.pipeline.start_logging(&arguments, log.reopen().unwrap());
    let is_so = until(what, async || holds(cypher).await);
    let ended = tokio::time::timeout(Duration::from_secs(240), is_so).await;
    let log = fs::read_to_string(log.path()).unwrap();
    assert!(ended.is_ok(), "{what}: {log}");
    println!("{log}");
    assert_eq!(apply.terminate(Duration::from_secs(60)).await, Some(0));
    assert_eq!(publish.terminate(Duration::from_secs(60)).await, Some(0));
}

async fn compaction_is_noticed(name: &str, section: &str, own: &str, has_stranger: bool) {
    let (published, equal) = compacted(name, section, own, has_stranger).await;
    ends_with(&published, "what was deleted is gone", &equal).await;
    let (code, said) = published.run(&["apply", "--until", "current"]).await;
    assert!(code == Some(0) && !said.contains("records are gone"), "once: {said}");
}

/// A pipeline whose topic lacks deletes that nobody has applied, and what its graph has to be.
async fn compacted(
    name: &str,
    section: &str,
    own: &str,
    has_stranger: bool,
) -> (Published, String) {
    let schema = "CREATE TABLE lcn_things (id int PRIMARY KEY, name text);
                  INSERT INTO lcn_things SELECT id, 'copied' FROM generate_series(1, 40) id;
                  CREATE TABLE lcn_gone (id int PRIMARY KEY); INSERT INTO lcn_gone VALUES (1), (2)"
        .replace("lcn", name);
    let published = Published::new(name, &schema, section).await;
    let label = |table: &str| format!("L{}{table}", &name[1..]);
    let (things, gone) = (label("Thing"), label("Gone"));
    published.catch_up().await;
    let topic = format!("wal2graph.{}{own}", published.pipeline.name);
    alter(&topic, "segment.ms=1000");
    let (code, said) = published.run(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
    if has_stranger {
        stranger_aborts(&topic);
    }
    let sql = &published.pipeline.sql;
    let changes = "DELETE FROM lcn_things WHERE id <= 30; TRUNCATE lcn_gone";
    sql.batch_execute(&changes.replace("lcn", name)).await.unwrap();
    published.catch_up().await;
    // A record in a new segment: only closed ones are compacted.
    sleep(Duration::from_secs(2)).await;
    let change = "UPDATE lcn_things SET name = 'changed' WHERE id = 40";
    sql.batch_execute(&change.replace("lcn", name)).await.unwrap();
    published.catch_up().await;
    let before = raw_records(&kafka().brokers(), &topic).await.len();
    alter(
        &topic,
        "cleanup.policy=compact,min.cleanable.dirty.ratio=0.0,delete.retention.ms=1,max.compaction.lag.ms=1",
    );
    until("the topic is compacted", async || {
        sleep(Duration::from_secs(1)).await;
        raw_records(&kafka().brokers(), &topic).await.len() < before
    })
    .await;
    alter(&topic, "cleanup.policy=delete");
    let equal = format!(
        "RETURN COUNT {{ (:{things}) }} = 10 AND COUNT {{ (:{gone}) }} = 0 \
         AND EXISTS {{ (:{things} {{id: 40, name: 'changed'}}) }} AS yes"
    );
    (published, equal)
}

/// It waited for a comparison that needs `publish`.
#[tokio::test]
async fn apply_until_current_did_not_end_behind_what_compaction_took_where_nobody_publishes() {
    let (published, equal) = compacted("lcu", "", "", false).await;
    let log = NamedTempFile::new().unwrap();
    let arguments = ["apply", "--until", "current", "-c", &published.path];
    let mut apply = published.pipeline.start_logging(&arguments, log.reopen().unwrap());
    let code = apply.ended(Duration::from_secs(100)).await;
    let said = fs::read_to_string(log.path()).unwrap();
    assert!(code == Some(0) && said.contains("comparing the topic's tables"), "{said}");
    assert!(said.contains("tables are still to be compared"), "{said}");
    ends_with(&published, "what was deleted is gone", &equal).await;
}

#[tokio::test]
async fn changes_that_compaction_took_while_nobody_looked_stayed_in_the_graph() {
    compaction_is_noticed("lcn", "", "", false).await;
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn changes_that_compaction_took_from_a_tables_topic_stayed_in_the_graph() {
    // TRUNCATE is in another topic, and comes.
    compaction_is_noticed("lct", "topics_by: table", ".public.lct_things", false).await;
}

/// The marks of another producer's transactions were taken as the reason for all that is missing.
#[tokio::test]
async fn changes_that_compaction_took_beside_a_strangers_transaction_stayed_in_the_graph() {
    compaction_is_noticed("lcs", "", "", true).await;
}

/// Another producer's transaction leaves a mark, which is no record.
fn stranger_aborts(topic: &str) {
    let producer = producer(Some(topic));
    producer.init_transactions(LIMIT).unwrap();
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::to(topic).key("theirs").payload("{}")).map_err(|it| it.0).unwrap();
    producer.flush(LIMIT).unwrap();
    producer.abort_transaction(LIMIT).unwrap();
}

#[tokio::test]
async fn deletes_that_waited_in_the_topic_of_a_table_that_moved_were_never_applied() {
    let schema = "CREATE TABLE ldm_tags (id int PRIMARY KEY, name text);
                  INSERT INTO ldm_tags SELECT id, 'copied' FROM generate_series(1, 9) id";
    let published = Published::new("ldm", schema, "topics_by: table").await;
    published.catch_up().await;
    let (code, said) = published.run(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
    let sql = &published.pipeline.sql;
    sql.batch_execute("DELETE FROM ldm_tags WHERE id < 4").await.unwrap();
    published.catch_up().await;
    sql.batch_execute("CREATE SCHEMA arch; ALTER TABLE ldm_tags SET SCHEMA arch").await.unwrap();
    let equal = "RETURN COUNT { (:LdmTag) } = 6 AS yes";
    ends_with(&published, "what was deleted is gone", equal).await;
    // Nothing is waited for in the topic that the table has left.
    let (code, said) = published.run(&["status"]).await;
    assert!(code == Some(0) && !said.contains(".public.ldm_tags"), "{said}");
}

#[tokio::test]
async fn changes_under_another_name_for_a_while_were_skipped_as_apply_was_down() {
    let schema = "CREATE TABLE lan_tags (id int PRIMARY KEY, name text);
                  INSERT INTO lan_tags SELECT id, 'copied' FROM generate_series(1, 9) id;
                  CREATE TABLE lan_notes (id int PRIMARY KEY, name text);
                  INSERT INTO lan_notes VALUES (1, 'copied')";
    let published = Published::new("lan", schema, "").await;
    published.catch_up().await;
    let (code, said) = published.run(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
    for sql in [
        "ALTER TABLE lan_tags RENAME TO lan_old; ALTER TABLE lan_notes RENAME name TO n2",
        "DELETE FROM lan_old WHERE id < 4; UPDATE lan_notes SET n2 = 'changed'; \
         INSERT INTO lan_notes VALUES (2, 'new')",
        "ALTER TABLE lan_old RENAME TO lan_tags; ALTER TABLE lan_notes RENAME n2 TO name",
    ] {
        published.pipeline.sql.batch_execute(sql).await.unwrap();
        published.catch_up().await;
    }
    let equal = "RETURN COUNT { (:LanTag) } = 6 AND COUNT { (:LanNote&!_Incomplete) } = 2 \
                 AND EXISTS { (:LanNote {id: 1, name: 'changed'}) } \
                 AND EXISTS { (:LanNote {id: 2, name: 'new'}) } AS yes";
    ends_with(&published, "it is as the tables are", equal).await;
}
