//! Topics whose records are gone are no new ones.

use std::io::Write;

use crate::{
    kafka::{Published, kafka, topic::records},
    support::{holds, until},
};

const SCHEMA: &str = "CREATE TABLE kqe_things (id int PRIMARY KEY);
    INSERT INTO kqe_things SELECT generate_series(1, 3)";
/// What nobody hears of, if the records before it are gone, too.
const LOST: &str = "DELETE FROM kqe_things WHERE id = 1";

fn topic(published: &Published) -> String {
    format!("wal2graph.{}", published.pipeline.name)
}

/// As retention does.
fn delete_records(topic: &str) {
    delete_before(topic, -1);
}

/// The same of those before an offset; -1 is the end.
fn delete_before(topic: &str, offset: i64) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let all = format!(
        "{{\"version\":1,\"partitions\":[{{\"topic\":\"{topic}\",\"partition\":0,\"offset\":{offset}}}]}}"
    );
    file.write_all(all.as_bytes()).unwrap();
    let arguments = ["--offset-json-file", file.path().to_str().unwrap()];
    kafka().tool("org.apache.kafka.tools.DeleteRecordsCommand", &arguments).unwrap();
}

fn delete_topic(topic: &str) {
    let arguments = ["--delete", "--topic", topic];
    kafka().tool("org.apache.kafka.tools.TopicCommand", &arguments).unwrap();
}

fn slot(published: &Published) -> String {
    format!("wal2graph_{}", published.pipeline.name)
}

async fn drop_slot(published: &Published) {
    let (sql, slot) = (&published.pipeline.sql, slot(published));
    let active = "SELECT active FROM pg_replication_slots WHERE slot_name = $1";
    let is_free = async || !sql.query_one(active, &[&slot]).await.unwrap().get::<_, bool>(0);
    until("the slot is free", is_free).await;
    sql.query("SELECT pg_drop_replication_slot($1)", &[&slot]).await.unwrap();
}

/// `check` and `publish` refuse it in the same words.
async fn is_refused(published: &Published, said: &[&str]) {
    let output = published.pipeline.output(&["check", "-c", &published.path]).await;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    let failure = printed.split_once("FAILURE  publish would not go on in the topic");
    let failure = failure.unwrap_or_else(|| panic!("{printed}")).1;
    assert!(said.iter().all(|part| failure.contains(part)), "{printed}");
    published.is_refused(said).await;
}

/// What the refusal says ends well: a new topic begins with a copy.
async fn begins_again(published: &Published, topics: &str) {
    delete_topic(topics);
    let (code, log) = published.run(&["publish", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("topic created") && log.contains("copying=true"), "{log}");
    published.catch_up().await;
}

#[tokio::test]
async fn a_topic_whose_records_are_all_gone_is_not_begun_again_in_the_same_topic() {
    let published = Published::new("kqe_gone", SCHEMA, "ack: kafka").await;
    published.catch_up().await;
    drop_slot(&published).await;
    published.pipeline.sql.batch_execute(LOST).await.unwrap();
    delete_records(&topic(&published));
    let said = ["has had records, and has none any more", "delete the topic"];
    is_refused(&published, &said).await;
    assert!(records(&published.config()).await.is_empty(), "nothing is behind the gap");
    // One that somebody makes by hand proves nothing.
    let make = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')";
    published.pipeline.sql.query(make, &[&slot(&published)]).await.unwrap();
    is_refused(&published, &said).await;
    begins_again(&published, &topic(&published)).await;
}

#[tokio::test]
async fn tables_topics_are_not_begun_again_without_their_heartbeats() {
    let published = Published::new("kqe_tables", SCHEMA, "ack: kafka, topics_by: table").await;
    published.catch_up().await;
    drop_slot(&published).await;
    published.pipeline.sql.batch_execute(LOST).await.unwrap();
    let heartbeats = format!("{}.heartbeats", topic(&published));
    delete_topic(&heartbeats);
    let remains = ["heartbeats has never had records", "kqe_things has", "delete all topics"];
    is_refused(&published, &remains).await;
    is_refused(&published, &remains).await;
    let all = format!("{}\\.(heartbeats|message|.+\\..+)", topic(&published).replace('.', "\\."));
    begins_again(&published, &all).await;

    // The tables' topics are whole, and heartbeats are not.
    delete_records(&heartbeats);
    is_refused(&published, &["has had records", "delete all topics"]).await;
    drop_slot(&published).await;
    is_refused(&published, &["has had records", "delete all topics"]).await;
    begins_again(&published, &all).await;
}

#[tokio::test]
async fn a_topic_that_has_lost_the_beginning_of_its_copy_fills_no_empty_graph() {
    let apply = ["apply", "--until", "current"];
    for section in ["partitions: 1", "partitions: 2", "topics_by: table"] {
        let published = Published::new("kqe_head", SCHEMA, section).await;
        published.catch_up().await;
        let of_rows = match section.contains("table") {
            true => format!("{}.public.kqe_things", topic(&published)),
            false => topic(&published),
        };
        delete_before(&of_rows, 2);
        let (code, said) = published.run(&apply).await;
        assert_eq!(code, Some(1), "{section}: {said}");
        for part in
            ["no copy of the tables begins", "what came before is gone by retention or deletion"]
        {
            assert!(said.contains(part), "{section}: {said}");
        }
        let none = format!(
            "MATCH (n:KqeThing|_Wal2GraphCheckpoint) WHERE n:KqeThing OR n.pipeline = '{}' RETURN count(n) = 0 AS yes",
            published.pipeline.name
        );
        assert!(holds(&none).await, "{section}: no other partition is applied");
    }
}

/// `publish` does not go on without them, so they are not waited for.
#[tokio::test]
async fn apply_refuses_tables_topics_whose_heartbeats_are_all_gone_as_publish_does() {
    let published = Published::new("kqe_silent", SCHEMA, "topics_by: table").await;
    published.catch_up().await;
    delete_records(&format!("{}.heartbeats", topic(&published)));
    let said = ["has had records, and has none any more", "delete all topics"];
    is_refused(&published, &said).await;
    let (code, log) = published.run(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(1), "{log}");
    assert!(said.iter().all(|part| log.contains(part)), "{log}");
}
