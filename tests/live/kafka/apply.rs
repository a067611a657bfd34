//! A topic becomes a graph; what happens to both in between.

mod faults;
mod identity;
mod passed;
mod resets;

use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::time::sleep;
use wal2graph::lsn::Lsn;

use super::feed::Feed;

/// A feed with a copy of three rows and two transactions, applied.
async fn applied(prefix: &str) -> Feed {
    let mut feed = Feed::new(prefix).await;
    feed.copy(1..=3).await;
    let changes = [feed.insert(4, "new", Some(1)), feed.update(2, "changed", None)];
    feed.commit(&changes).await;
    let changes = [feed.rename(3, 30, "moved"), feed.delete(2)];
    feed.commit(&changes).await;
    feed.apply().await;
    feed
}

const APPLIED: &str = "1:copied 4:new->1 30:moved";

#[tokio::test]
async fn a_topic_becomes_the_graph_and_a_restart_goes_on() {
    let mut feed = applied("ka").await;
    assert_eq!(feed.contents().await, APPLIED);
    let checkpoint = feed.checkpoint().await.unwrap();
    assert_eq!(checkpoint.origin.system_identifier, feed.pipeline.cluster().await);
    assert_eq!((checkpoint.lsn, checkpoint.replaying), (Lsn(0x1260), None));
    let committed = feed.group_offset().await.unwrap();
    assert_eq!(committed.offset, checkpoint.position.lsn.0);
    let metadata = format!("wal2graph/1/{}/{}/", feed.pipeline.name, checkpoint.epoch.0);
    assert!(committed.metadata.starts_with(&metadata), "and the graph: {committed:?}");
    let changes = [feed.update(1, "again", Some(30))];
    feed.commit(&changes).await;
    feed.heartbeat().await;
    feed.apply().await;
    assert_eq!(feed.contents().await, "1:again->30 4:new->1 30:moved");
    let after = feed.checkpoint().await.unwrap();
    assert_eq!(after.lsn, Lsn(0x13B0), "the heartbeat's");
    assert!(after.epoch > checkpoint.epoch);
}

#[tokio::test]
async fn until_current_waited_for_ever_beside_a_member_that_had_applied_everything() {
    let feed = applied("kub").await;
    let epoch = feed.checkpoint().await.unwrap().epoch;
    let log = NamedTempFile::new().unwrap();
    let _member = feed.start(&[], &log);
    feed.until_claimed(epoch).await;
    feed.apply().await;
    assert_eq!(feed.contents().await, APPLIED);
}

#[tokio::test]
async fn what_an_interrupted_publisher_publishes_twice_is_applied_once() {
    let mut feed = Feed::new("kb").await;
    feed.copy(1..=3).await;
    let first = [feed.insert(4, "first", None)];
    feed.publish(Lsn(0x2000), Lsn(0x2040), 0..1, &first).await;
    let second = [feed.insert(5, "second", None), feed.rename(4, 6, "second")];
    feed.publish(Lsn(0x2100), Lsn(0x2140), 0..1, &second).await;
    // It is interrupted, and goes on from the transaction before.
    feed.publish(Lsn(0x2000), Lsn(0x2040), 0..1, &first).await;
    feed.publish(Lsn(0x2100), Lsn(0x2140), 0..2, &second).await;
    let log = feed.apply().await;
    assert!(log.contains("applied once"), "{log}");
    let rows = "1:copied 2:copied 3:copied 5:second 6:second";
    assert_eq!(feed.contents().await, rows);
    assert_eq!(feed.checkpoint().await.unwrap().lsn, Lsn(0x2140));
}

#[tokio::test]
async fn a_second_instance_waits_and_takes_over() {
    let mut feed = applied("kc").await;
    let logs = [NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap()];
    let mut first = feed.start(&[], &logs[0]);
    let changes = [feed.insert(7, "by the first", None)];
    let offset = feed.commit(&changes).await;
    feed.until_applied(offset).await;
    let second = feed.start(&[], &logs[1]);
    sleep(Duration::from_secs(2)).await;
    let epoch = feed.checkpoint().await.unwrap().epoch;
    assert_eq!(first.terminate(Duration::from_secs(60)).await, Some(0));
    let changes = [feed.insert(8, "by the second", None)];
    let offset = feed.commit(&changes).await;
    feed.until_applied(offset).await;
    assert_eq!(feed.checkpoint().await.unwrap().epoch.0, epoch.0 + 1, "claimed once");
    drop(second);
}

#[tokio::test]
async fn a_first_apply_into_rows_that_nobody_removes_is_refused_unless_it_is_told() {
    let mut feed = Feed::new("kie").await;
    feed.copy(1..=2).await;
    feed.cypher("CREATE (:LABEL {id: 7, name: 'theirs'})").await;
    feed.apply_refuses(&format!("1 of {}", feed.label)).await;
    feed.apply_refuses("--into-existing-graph").await;
    assert_eq!(feed.contents().await, "7:theirs");
    assert!(feed.checkpoint().await.is_none(), "nothing was made");
    let (code, log) = feed.output(&["apply", "--until", "current", "--into-existing-graph"]).await;
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(feed.contents().await, "1:copied 2:copied 7:theirs");
    // From then on it goes on by itself.
    let changes = [feed.insert(3, "new", Some(7))];
    feed.commit(&changes).await;
    feed.apply().await;
    assert_eq!(feed.contents().await, "1:copied 2:copied 3:new->7 7:theirs");
}
