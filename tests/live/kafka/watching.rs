//! Metrics by partition, of processes that share a topic.

use std::time::Duration;

use tempfile::NamedTempFile;

use super::{items::Items, served};
use crate::support::document;

/// The value of a metric's series of a partition.
fn of(metrics: &str, name: &str, topic: &str, partition: i32) -> Option<f64> {
    let series = format!("wal2graph_{name}{{partition=\"{partition}\",topic=\"{topic}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&series))?;
    line.parse().ok()
}

/// The partitions that are served, each with nothing behind.
fn caught_up(metrics: &str, topic: &str) -> Vec<i32> {
    let is_caught_up = |partition: &i32| {
        let lag = |name| of(metrics, name, topic, *partition);
        lag("kafka_consumer_lag") == Some(0.0) && lag("kafka_consumer_lag_seconds") == Some(0.0)
    };
    (0..2).filter(is_caught_up).collect()
}

#[tokio::test]
async fn a_partition_that_is_given_away_takes_its_gauges_with_it() {
    let items = Items::new("kwa", 2).await;
    items.send(0, "c", 1, "BOI=");
    items.send(1, "c", 2, "BOI=");
    let topic = items.topic.as_str();
    let logs = [NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap()];
    let mut first = items.start(&logs[0]);
    served::until(&logs[0], "/metrics", |it| caught_up(it, topic) == [0, 1]).await;
    let mut second = items.start(&logs[1]);
    let had = served::until(&logs[1], "/metrics", |it| caught_up(it, topic).len() == 1).await;
    let had = caught_up(&had, topic)[0];
    let kept = served::until(&logs[0], "/metrics", |it| caught_up(it, topic) == [1 - had]).await;
    for name in ["kafka_consumer_lag", "kafka_consumer_lag_seconds"] {
        assert_eq!(of(&kept, name, topic, had), None, "{kept}");
    }
    let rebalances =
        kept.lines().find_map(|it| it.strip_prefix("wal2graph_kafka_rebalances_total "));
    assert!(rebalances.unwrap().parse::<u64>().unwrap() >= 2, "given, and taken away: {kept}");
    let status = served::get(&logs[0], "/status").await;
    let (_, body) = status.split_once("\r\n\r\n").unwrap();
    let applied = document::status(body)["partitions"].as_array().unwrap().len();
    assert_eq!(applied, 1, "{status}");
    assert_eq!(second.terminate(Duration::from_secs(60)).await, Some(0));
    served::until(&logs[0], "/metrics", |it| caught_up(it, topic) == [0, 1]).await;
    assert_eq!(first.terminate(Duration::from_secs(60)).await, Some(0));
    // Nobody applies: how much there is, and for how long it has waited.
    items.send(1, "c", 3, "BOI=");
    let status = items.done(&["status", "--json"]).await;
    let status = document::status(&status);
    let lags: Vec<_> =
        status["partitions"].as_array().unwrap().iter().map(|it| &it["lag"]).collect();
    assert_eq!(lags, [0, 1], "{status}");
    let seconds = status["partitions"][1]["lag_seconds"].as_f64().unwrap();
    assert!(
        (0.0..60.0).contains(&seconds) && status["partitions"][0]["lag_seconds"] == 0.0,
        "{status}"
    );
}

/// It said `starting`, for ever.
#[tokio::test]
async fn a_member_without_a_partition_is_a_standby_and_takes_over() {
    let items = Items::new("kws", 1).await;
    items.send(0, "c", 1, "BOI=");
    let logs = [NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap()];
    let first = items.start(&logs[0]);
    let state = |state: &str| format!("wal2graph_state{{state=\"{state}\"}} 1\n");
    served::until(&logs[0], "/metrics", |it| it.contains(&state("streaming"))).await;
    let second = items.start(&logs[1]);
    // Which one the group takes is its own affair.
    let is_second = served::until(&logs[1], "/metrics", |it| {
        it.contains(&state("standby")) || it.contains(&state("streaming"))
    })
    .await
    .contains(&state("standby"));
    let (standing, working) = if is_second { (&logs[1], &logs[0]) } else { (&logs[0], &logs[1]) };
    served::until(standing, "/metrics", |it| it.contains(&state("standby"))).await;
    served::until(working, "/metrics", |it| it.contains(&state("streaming"))).await;
    let ready = served::get(standing, "/ready").await;
    assert!(ready.contains("503") && ready.contains("have all partitions"), "{ready}");
    let status = served::get(standing, "/status").await;
    assert!(status.contains("\"state\": \"standby\""), "{status}");
    let mut left = match is_second {
        true => {
            first.kill();
            second
        }
        false => {
            second.kill();
            first
        }
    };
    served::until(standing, "/metrics", |it| it.contains(&state("streaming"))).await;
    items.send(0, "c", 2, "BOI=");
    served::until(standing, "/metrics", |it| caught_up(it, &items.topic) == [0]).await;
    assert_eq!(left.terminate(Duration::from_secs(60)).await, Some(0));
}
