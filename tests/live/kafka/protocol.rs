//! The group protocol of KIP-848 (`group.protocol: consumer`): the broker assigns, members follow.

use std::{fs, sync::OnceLock, time::Duration};

use tempfile::NamedTempFile;
use tokio::time::sleep;
use wal2graph_servers::{Kafka, KafkaOptions};

use super::feed::Feed;

/// A broker that misses members of such groups sooner than by default.
fn broker() -> &'static Kafka {
    static BROKER: OnceLock<Kafka> = OnceLock::new();
    BROKER.get_or_init(|| {
        let properties = [
            ("group.consumer.session.timeout.ms", "5000"),
            ("group.consumer.min.session.timeout.ms", "5000"),
            ("group.consumer.heartbeat.interval.ms", "500"),
            ("group.consumer.min.heartbeat.interval.ms", "500"),
        ];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = KafkaOptions { properties: properties.to_vec(), ..KafkaOptions::default() };
        Kafka::start(&options).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// A feed of a copied row, whose file names the protocol.
async fn feed(prefix: &str) -> Feed {
    let mut feed = Feed::on(broker(), prefix).await;
    let text = fs::read_to_string(feed.config_path()).unwrap();
    let (before, rest) = text.split_once("properties: {").unwrap();
    let (_, after) = rest.split_once('}').unwrap();
    let text = format!("{before}properties: {{group.protocol: consumer}}{after}");
    fs::write(feed.config_path(), text).unwrap();
    feed.copy(1..=1).await;
    feed
}

#[tokio::test]
async fn a_member_joins_leaves_and_another_one_takes_over_after_a_kill() {
    let mut feed = feed("kqa").await;
    let log = NamedTempFile::new().unwrap();
    let mut first = feed.start(&[], &log);
    feed.until_applied(1).await;
    let (_, status) = feed.output(&["status"]).await;
    assert!(status.contains(": unknown"), "nobody can see members of such groups: {status}");
    let second = feed.start(&[], &NamedTempFile::new().unwrap());
    sleep(Duration::from_secs(2)).await;
    let epoch = feed.checkpoint().await.unwrap().epoch;
    assert_eq!(first.terminate(Duration::from_secs(60)).await, Some(0));
    let changes = [feed.insert(2, "by the second", None)];
    let offset = feed.commit(&changes).await;
    feed.until_applied(offset).await;
    assert_eq!(feed.checkpoint().await.unwrap().epoch.0, epoch.0 + 1, "claimed once");
    let third = feed.start(&[], &NamedTempFile::new().unwrap());
    sleep(Duration::from_secs(2)).await;
    second.kill();
    let changes = [feed.insert(3, "by the third", None)];
    let offset = feed.commit(&changes).await;
    feed.until_applied(offset).await;
    assert_eq!(feed.contents().await, "1:copied 2:by the second 3:by the third");
    drop(third);
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn its_offsets_are_reset_as_any_others() {
    let mut feed = feed("kqb").await;
    let changes = [feed.insert(2, "two", None)];
    feed.commit(&changes).await;
    feed.apply().await;
    let committed = feed.group_offset().await.unwrap();
    assert_eq!(committed.offset, feed.applied().await);
    let damage = "MATCH (n:LABEL) SET n.name = 'damaged'";
    for by_kafkas_tool in [true, false] {
        feed.cypher(damage).await;
        let log = NamedTempFile::new().unwrap();
        let epoch = feed.checkpoint().await.unwrap().epoch;
        let mut running = feed.start(&[], &log);
        feed.until_claimed(epoch).await;
        let (code, said) = feed.output(&["replay", "--from", "earliest"]).await;
        assert!(code == Some(1) && said.contains("stop every `wal2graph apply`"), "{said}");
        assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
        if by_kafkas_tool {
            broker().reset_offsets(&feed.group(), &feed.topic, &["--to-earliest"]).unwrap();
        } else {
            let (code, said) = feed.output(&["replay", "--from", "earliest"]).await;
            assert_eq!(code, Some(0), "{said}");
        }
        feed.apply().await;
        assert_eq!(feed.contents().await, "1:copied 2:two");
    }
}
