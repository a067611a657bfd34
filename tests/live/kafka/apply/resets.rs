//! Offsets that are reset, with Kafka's own tool and with ours.

use wal2graph::{
    checkpoint::Epoch,
    replay::{GroupOffset, applied_metadata, in_graph},
};

use super::{super::kafka, APPLIED, applied};

/// What nobody does to a graph: two nodes differ from their rows, one is gone.
const DAMAGE: &str = "MATCH (n:LABEL) WHERE n.id IN [1, 30] SET n.name = 'damaged' WITH count(*) AS c \
     MATCH (m:LABEL {id: 4}) DETACH DELETE m";
const DAMAGED: &str = "1:damaged 30:damaged";

#[tokio::test]
async fn a_reset_to_earliest_is_obeyed_and_mends_what_was_damaged() {
    let feed = applied("kd").await;
    let before = feed.checkpoint().await.unwrap();
    feed.cypher(DAMAGE).await;
    kafka().reset_offsets(&feed.group(), &feed.topic, &["--to-earliest"]).unwrap();
    let log = feed.apply().await;
    assert!(log.contains("applying records again"), "{log}");
    assert_eq!(feed.contents().await, APPLIED);
    let after = feed.checkpoint().await.unwrap();
    assert_eq!((after.position, after.lsn), (before.position, before.lsn));
    assert_eq!(after.replaying, None, "it is through");
    let metadata = applied_metadata(&feed.pipeline.name, after.epoch);
    let committed = feed.group_offset().await.unwrap().metadata;
    assert!(committed.starts_with(&format!("{metadata}/")), "it names the graph: {committed}");
}

/// A second graph with a copied file was filled by a reset, and then each of both got a part of the changes.
#[tokio::test]
async fn a_group_that_fills_another_graph_is_neither_followed_nor_reset() {
    let feed = applied("ky").await;
    let own = feed.group_offset().await.unwrap();
    let (metadata, _) = own.metadata.rsplit_once('/').unwrap();
    let metadata = in_graph(metadata.to_owned(), Some("another"));
    let to = [(feed.partition(), GroupOffset { metadata, ..own })];
    feed.asking().set_group_offsets(&to).await.unwrap();
    let said = "fills another graph of this pipeline";
    feed.apply_refuses(said).await;
    for command in [&["replay", "--from", "earliest"][..], &["check"]] {
        let (code, text) = feed.output(command).await;
        assert!(code == Some(1) && text.contains(said), "{text}");
        assert!(
            text.contains(&format!("`kafka.topic: {}`, and `kafka.group: wal2graph-", feed.topic)),
            "{text}"
        );
    }
    let (_, status) = feed.output(&["status"]).await;
    assert!(status.contains("refused") && status.contains(said), "{status}");
    // The graph was restored from the other one: what is said then.
    let delete = ["--delete-offsets", "--group", &feed.group(), "--topic", &feed.topic];
    kafka().tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &delete).unwrap();
    feed.apply().await;
    assert_eq!(feed.contents().await, APPLIED);
}

#[tokio::test]
async fn a_crash_redelivery_is_not_a_reset() {
    let feed = applied("ke").await;
    feed.cypher(DAMAGE).await;
    let metadata = applied_metadata(&feed.pipeline.name, Epoch(1));
    let to = [(feed.partition(), GroupOffset { offset: 0, metadata })];
    feed.asking().set_group_offsets(&to).await.unwrap();
    feed.apply().await;
    assert_eq!(feed.contents().await, DAMAGED);
}

#[tokio::test]
async fn resets_to_an_offset_and_to_a_time_are_obeyed() {
    let mut feed = applied("kf").await;
    // The rows of the copy are at 0, 1 and 2.
    feed.cypher(DAMAGE).await;
    kafka().reset_offsets(&feed.group(), &feed.topic, &["--to-offset", "3"]).unwrap();
    feed.apply().await;
    assert_eq!(feed.contents().await, "1:damaged 4:new->1 30:moved", "row 1 is of the copy");
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let since = chrono::Utc::now();
    let changes = [feed.update(1, "late", None)];
    feed.commit(&changes).await;
    feed.apply().await;
    feed.cypher(DAMAGE).await;
    let at = since.format("%Y-%m-%dT%H:%M:%S%.3f").to_string();
    kafka().reset_offsets(&feed.group(), &feed.topic, &["--to-datetime", &at]).unwrap();
    feed.apply().await;
    assert_eq!(feed.contents().await, "1:late 30:damaged", "only the last one");
    let (code, said) = feed.output(&["replay", "--from", "datetime", &since.to_rfc3339()]).await;
    assert!(code == Some(0) && said.contains("again"), "{said}");
    let (code, said) = feed.output(&["replay", "--from", "earliest"]).await;
    assert!(code == Some(0) && said.contains("offsets 0 to"), "{said}");
    feed.apply().await;
    assert_eq!(feed.contents().await, "1:late 4:new->1 30:moved");
}

#[tokio::test]
async fn a_reset_that_would_skip_is_refused_until_it_is_confirmed() {
    let mut feed = applied("kg").await;
    for id in 5..8 {
        let changes = [feed.insert(id, "never applied", None)];
        feed.commit(&changes).await;
    }
    let end = feed.asking().log(&feed.partition()).await.unwrap().end.to_string();
    kafka().reset_offsets(&feed.group(), &feed.topic, &["--to-latest"]).unwrap();
    feed.apply_refuses("would be skipped").await;
    let (code, said) = feed.output(&["replay", "--from", "offset", &end]).await;
    assert!(code == Some(1) && said.contains("would be skipped"), "{said}");
    let (code, _) = feed.output(&["replay", "--from", "offset", &end, "--yes"]).await;
    assert_eq!(code, Some(0));
    let changes = [feed.insert(9, "after", None)];
    feed.commit(&changes).await;
    feed.apply().await;
    assert_eq!(feed.contents().await, "1:copied 4:new->1 9:after 30:moved");
}

#[tokio::test]
async fn an_emptied_graph_is_filled_again_from_the_topic() {
    let feed = applied("kh").await;
    feed.cypher("MATCH (n:LABEL) DETACH DELETE n").await;
    feed.cypher("MATCH (c:_Wal2GraphCheckpoint {pipeline: 'PIPELINE'}) DELETE c").await;
    feed.apply_refuses("it was emptied").await;
    kafka().reset_offsets(&feed.group(), &feed.topic, &["--to-earliest"]).unwrap();
    feed.apply().await;
    assert_eq!(feed.contents().await, APPLIED);
}

#[tokio::test]
async fn a_group_that_is_read_is_not_reset() {
    let feed = applied("ki").await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut running = feed.start(&[], &log);
    let epoch = feed.checkpoint().await.unwrap().epoch;
    feed.until_claimed(epoch).await;
    let (_, status) = feed.output(&["status"]).await;
    assert!(status.contains(": streaming") && status.contains("of 10, 0 behind"), "{status}");
    let (code, said) = feed.output(&["replay", "--from", "earliest"]).await;
    assert!(code == Some(1) && said.contains("stop every `wal2graph apply`"), "{said}");
    assert_eq!(running.terminate(std::time::Duration::from_secs(60)).await, Some(0));
    let (_, status) = feed.output(&["status"]).await;
    assert!(status.contains(": not running"), "{status}");
    // It has left the group: Kafka's own tool may reset it at once.
    kafka().reset_offsets(&feed.group(), &feed.topic, &["--to-earliest"]).unwrap();
}

/// Kafka keeps it as a member until its session ends.
#[tokio::test]
async fn a_member_that_was_killed_kept_its_group_from_a_reset() {
    let feed = applied("kjk").await;
    let epoch = feed.checkpoint().await.unwrap().epoch;
    let running = feed.start(&[], &tempfile::NamedTempFile::new().unwrap());
    feed.until_claimed(epoch).await;
    running.kill();
    let (code, said) = feed.output(&["replay", "--from", "earliest"]).await;
    assert!(code == Some(0) && said.contains("waiting until the group has no members"), "{said}");
    let (code, said) = feed.output(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
}

/// Offsets within transactions, behind deletes, between a key and what it moves to: from each on, the graph is right.
#[tokio::test]
#[ignore = "long: make nightly"]
async fn a_nasty_topic_is_reset_to_every_offset_that_it_has() {
    let mut feed = super::Feed::new("kzz").await;
    feed.copy(1..=6).await;
    for round in 0..4 {
        // Chains of keys, a row that goes and comes back, references to what has gone: in one transaction each.
        let chain = [
            feed.rename(1, 100 + round, "moved"),
            feed.rename(2, 1, "took its place"),
            feed.insert(2, "came", Some(1)),
            feed.delete(100 + round),
        ];
        feed.commit(&chain).await;
        feed.heartbeat().await;
        let again = [
            feed.delete(3),
            feed.insert(3, "again", Some(4)),
            feed.update(4, "points at itself", Some(4)),
            feed.update(5, "points nowhere", Some(900 + round)),
        ];
        feed.commit(&again).await;
        let swapped = [
            feed.rename(5, 50, "away"),
            feed.rename(6, 5, "swapped"),
            feed.rename(50, 6, "swapped"),
        ];
        feed.commit(&swapped).await;
    }
    feed.apply().await;
    let (expected, end) = (feed.contents().await, feed.applied().await);
    assert!(end > 50, "{end}: {expected}");
    for offset in (0..end).rev() {
        let to = offset.to_string();
        kafka().reset_offsets(&feed.group(), &feed.topic, &["--to-offset", &to]).unwrap();
        feed.apply().await;
        assert_eq!(feed.contents().await, expected, "from offset {offset}");
        let checkpoint = feed.checkpoint().await.unwrap();
        assert_eq!((checkpoint.position.lsn.0, checkpoint.replaying), (end, None));
    }
}
