//! Kafka comes between a graph that `run` keeps and its source.

use fastrand::Rng;

use super::{Published, topic};
use crate::differential::{compare, schema, transaction};

/// What happens to the tables.
async fn traffic(published: &Published, rng: &mut Rng, prefix: &str) {
    for _ in 0..25 {
        transaction(&published.pipeline.sql, rng, prefix).await;
    }
}

async fn succeeds(published: &Published, arguments: &[&str]) -> String {
    let (code, log) = published.run(arguments).await;
    assert_eq!(code, Some(0), "{log}");
    log
}

#[tokio::test]
async fn a_graph_of_run_goes_over_to_a_topic_without_a_copy() {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..10_000), |it| it.parse().unwrap());
    println!("SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let published = Published::new("tko", &schema("tko"), "").await;
    traffic(&published, &mut rng, "tko").await;
    published.pipeline.catch_up().await;
    traffic(&published, &mut rng, "tko").await;
    succeeds(&published, &["publish", "--from-graph", "--until", "current"]).await;
    let records = topic::records(&published.config()).await;
    let is_read = |record: &_| String::from_utf8_lossy(value(record)).contains("\"op\":\"r\"");
    assert!(!records.iter().any(is_read), "nothing was copied");
    let log = succeeds(&published, &["apply", "--until", "current"]).await;
    assert!(log.contains("follows the topic from here"), "{log}");
    compare(&published.pipeline.sql, "tko").await;
    // From then on it is a topic's graph like any other.
    traffic(&published, &mut rng, "tko").await;
    succeeds(&published, &["publish", "--until", "current"]).await;
    succeeds(&published, &["apply", "--until", "current"]).await;
    compare(&published.pipeline.sql, "tko").await;
    let (code, log) = published.run(&["run", "--until", "current"]).await;
    assert!(code != Some(0) && log.contains("the graph follows the topic"), "{code:?}: {log}");
}

/// `--until current` never ended: what the graph has moved no position.
#[tokio::test]
async fn a_graph_of_run_that_is_ahead_of_the_whole_topic_reaches_its_end() {
    let schema =
        "CREATE TABLE tka_things (id int PRIMARY KEY, v int); INSERT INTO tka_things VALUES (1, 1)";
    let published = Published::new("tka", schema, "").await;
    published.pipeline.catch_up().await;
    succeeds(&published, &["publish", "--from-graph", "--until", "current"]).await;
    published.pipeline.sql.batch_execute("UPDATE tka_things SET v = 2").await.unwrap();
    published.pipeline.catch_up().await;
    succeeds(&published, &["apply", "--until", "current"]).await;
}

fn value(record: &wal2graph::envelope::Record) -> &[u8] {
    record.value.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn a_topic_begins_at_a_graph_only_if_that_has_everything() {
    let published = Published::new("tkn", "CREATE TABLE tkn_things (id int PRIMARY KEY)", "").await;
    let (code, log) = published.run(&["publish", "--from-graph", "--until", "current"]).await;
    assert!(code != Some(0) && log.contains("--from-graph"), "{code:?}: {log}");
    // A topic that begins later than the graph ends is no continuation.
    published.pipeline.catch_up().await;
    let slot = published.config().slot;
    let drop = format!("SELECT pg_drop_replication_slot('{slot}')");
    for sql in [drop.as_str(), "INSERT INTO tkn_things VALUES (1)"] {
        published.pipeline.sql.batch_execute(sql).await.unwrap();
    }
    succeeds(&published, &["publish", "--until", "current"]).await;
    let (code, log) = published.run(&["apply", "--until", "current"]).await;
    assert!(code != Some(0) && log.contains("would be lost"), "{code:?}: {log}");
}

/// `publish`, `apply` and `check` agree, with and without `--from-graph`.
#[tokio::test]
async fn check_said_of_a_graph_of_run_that_it_does_not_fit_the_topic_though_publish_and_apply_did()
{
    for (name, ack, publish) in [
        ("tkc", "ack: kafka", &["publish", "--until", "current"][..]),
        ("tkf", "ack: graph", &["publish", "--from-graph", "--until", "current"]),
    ] {
        let schema = format!(
            "CREATE TABLE {name}_things (id int PRIMARY KEY); INSERT INTO {name}_things VALUES (1)"
        );
        let published = Published::new(name, &schema, ack).await;
        let checked = async || {
            let output = published.pipeline.output(&["check", "-c", &published.path]).await;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && !said.contains("FAILURE"), "{said}");
            said
        };
        published.pipeline.catch_up().await;
        let said = checked().await;
        assert!(said.contains("`wal2graph publish --from-graph` makes it"), "{said}");
        let (code, log) = published.run(&["apply", "--until", "current"]).await;
        assert!(code == Some(1) && log.contains("there is no topic"), "{log}");
        succeeds(&published, publish).await;
        let insert = format!("INSERT INTO {name}_things VALUES (2)");
        published.pipeline.sql.batch_execute(&insert).await.unwrap();
        succeeds(&published, &["publish", "--until", "current"]).await;
        let said = checked().await;
        assert!(said.contains("apply will take the graph over from `run`"), "{said}");
        succeeds(&published, &["apply", "--until", "current"]).await;
        checked().await;
    }
}
