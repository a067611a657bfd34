//! A topic is known by its identity: what happens when another one has its name.

use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::time::sleep;

use super::{
    super::{feed::Feed, kafka},
    APPLIED, applied,
};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

fn delete(topic: &str) {
    kafka().tool(TOPICS, &["--delete", "--topic", topic]).unwrap();
}

/// Makes the topic again, with a copy of more rows than it had records.
async fn make_again(feed: &mut Feed) {
    kafka().create_topic(&feed.topic, 1, &[]).unwrap();
    feed.copy(1..=20).await;
}

#[tokio::test]
async fn a_topic_made_again_with_only_copied_rows_before_the_offset_is_not_gone_on_with() {
    let mut feed = applied("kl").await;
    let log = NamedTempFile::new().unwrap();
    let mut running = feed.start(&[], &log);
    sleep(Duration::from_secs(3)).await;
    delete(&feed.topic);
    let ended = running.ended(Duration::from_secs(60)).await;
    let said = std::fs::read_to_string(log.path()).unwrap();
    assert_eq!(ended, Some(1), "{said}");
    assert!(said.contains("is gone; the graph has its records before offset"), "{said}");
    make_again(&mut feed).await;
    feed.apply_refuses("was deleted and made again").await;
    // The restart that a supervisor makes, and the way around that a user tries.
    feed.apply_refuses("rows that were deleted in between").await;
    let (code, said) = feed.output(&["replay", "--from", "earliest", "--yes"]).await;
    assert!(code == Some(1) && said.contains("was deleted and made again"), "{said}");
    assert_eq!(feed.contents().await, APPLIED);
    // What the text says to do.
    feed.cypher("MATCH (n:LABEL) DETACH DELETE n").await;
    feed.cypher("MATCH (c:_Wal2GraphCheckpoint {pipeline: 'PIPELINE'}) DELETE c").await;
    feed.apply().await;
    let rows: Vec<String> = (1..=20).map(|id| format!("{id}:copied")).collect();
    assert_eq!(feed.contents().await, rows.join(" "));
}

#[tokio::test]
async fn a_topic_made_again_under_a_running_apply_stops_it_and_says_so() {
    let mut feed = applied("kv").await;
    let log = NamedTempFile::new().unwrap();
    let mut running = feed.start(&[], &log);
    sleep(Duration::from_secs(3)).await;
    delete(&feed.topic);
    make_again(&mut feed).await;
    let ended = running.ended(Duration::from_secs(60)).await;
    let said = std::fs::read_to_string(log.path()).unwrap();
    assert_eq!(ended, Some(1), "{said}");
    // It may look while there is none.
    let says = |said: &str| said.contains("deleted and made again") || said.contains("is gone");
    assert!(says(&said), "{said}");
    // A later look shows why, and that the next start is refused.
    let (code, status) = feed.output(&["status"]).await;
    assert!(code == Some(1) && status.contains(": refused"), "{status}");
    for line in ["stopped ", "refused "] {
        let line =
            status.lines().find(|it| it.starts_with(line)).unwrap_or_else(|| panic!("{status}"));
        assert!(says(line), "{line}");
    }
    let applied = feed.applied().await;
    assert!(
        status.contains(&format!("applied to offset {applied}\n")),
        "no end of another: {status}"
    );
    let (_, said) = feed.output(&["check"]).await;
    assert!(said.contains("the last run stopped at"), "{said}");
}

#[tokio::test]
async fn partitions_added_under_a_running_apply_stop_it_and_say_what_to_do() {
    let feed = applied("kw").await;
    let log = NamedTempFile::new().unwrap();
    let mut running = feed.start(&[], &log);
    sleep(Duration::from_secs(3)).await;
    kafka().tool(TOPICS, &["--alter", "--topic", &feed.topic, "--partitions", "3"]).unwrap();
    let ended = running.ended(Duration::from_secs(60)).await;
    let said = std::fs::read_to_string(log.path()).unwrap();
    assert_eq!(ended, Some(1), "{said}");
    assert!(said.contains("has 3 partitions, and had 1"), "{said}");
    let (code, status) = feed.output(&["status"]).await;
    assert!(code == Some(1) && status.contains("stopped "), "{status}");
    assert_eq!(
        status.matches("has 3 partitions, and had 1").count(),
        2,
        "stopped, refused: {status}"
    );
}

#[tokio::test]
async fn a_checkpoint_without_an_id_goes_on_only_if_the_records_before_it_show_the_topic() {
    let mut feed = applied("kx").await;
    let forget = "MATCH (c:_Wal2GraphCheckpoint {pipeline: 'PIPELINE'}) REMOVE c.topic_id";
    feed.cypher(forget).await;
    feed.apply().await;
    let id = feed.checkpoint().await.unwrap().topic_id;
    assert!(id.is_some(), "it is taken down");
    feed.cypher(forget).await;
    delete(&feed.topic);
    make_again(&mut feed).await;
    feed.apply_refuses("made again").await;
    assert_eq!(feed.contents().await, APPLIED);
}

#[tokio::test]
async fn a_topic_that_was_made_without_its_copy_does_not_fill_an_empty_graph() {
    let mut feed = Feed::new("kz").await;
    let oid = "SELECT 'kz_things'::regclass::oid";
    let oid: u32 = feed.pipeline.sql.query_one(oid, &[]).await.unwrap().get(0);
    // What `publish --from-graph` begins with.
    feed.heartbeat_naming(&[oid]).await;
    let changes = [feed.update(1, "changed", None)];
    feed.commit(&changes).await;
    feed.apply_refuses("no copy of the tables begins").await;
    let (_, said) = feed.output(&["check"]).await;
    assert!(said.contains("no copy of the tables begins"), "{said}");
    assert_eq!(feed.contents().await, "");
}

#[tokio::test]
async fn a_topic_that_begins_in_the_middle_of_a_stream_does_not_fill_an_empty_graph() {
    let mut feed = Feed::new("kza").await;
    // What a publisher wrote into a topic that somebody made while it ran.
    let changes = [feed.update(1, "changed", None)];
    feed.commit(&changes).await;
    let oid = "SELECT 'kza_things'::regclass::oid";
    let oid: u32 = feed.pipeline.sql.query_one(oid, &[]).await.unwrap().get(0);
    feed.heartbeat_naming(&[oid]).await;
    feed.apply_refuses("no copy of the tables begins").await;
    assert_eq!(feed.contents().await, "");
}
