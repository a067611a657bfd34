//! Our topic is compacted while it is written and read.

use crate::support::{PATIENCE, until};

use super::{kafka, partitions::Spread};

#[tokio::test]
async fn a_topic_that_is_compacted_under_publish_and_apply_was_noticed_at_their_next_start() {
    let schema = "CREATE TABLE pol_things (id int PRIMARY KEY); INSERT INTO pol_things VALUES (1)";
    let spread = Spread::with("policy", schema, "partitions: 1").await;
    spread.catch_up().await;
    let (mut publish, mut apply) = (spread.start("publish"), spread.start("apply"));
    let runs = async || {
        let said = spread.said();
        said.contains(" publishing") && said.contains(" applying")
    };
    until("both run", runs).await;
    let alter = |setting: &str| {
        let topic = spread.topic();
        let arguments = ["--alter", "--topic", &topic, "--add-config", setting];
        kafka().tool("kafka.admin.ConfigCommand", &arguments).unwrap();
    };
    alter("cleanup.policy=compact");
    assert_eq!(publish.ended(PATIENCE).await, Some(1));
    assert_eq!(apply.ended(PATIENCE).await, Some(1));
    let said = spread.said();
    assert_eq!(said.matches("is compacted: records would go missing").count(), 2, "{said}");
    assert!(said.contains("--add-config cleanup.policy=delete"), "{said}");
    alter("cleanup.policy=delete");
    spread.catch_up().await;
}
