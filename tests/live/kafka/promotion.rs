//! A standby that is promoted, behind a topic: PostgreSQL 17 and newer.

use std::{fs, io::Write};

use wal2graph_servers::Stop;

use super::{Published, kafka, topic::raw_records};
use crate::{
    start::promotion::Pair,
    support::{PATIENCE, Pipeline, Running, eventually, graph, holds, until},
};

/// The file of a pipeline on both servers.
async fn published(pair: &Pair, name: &str, schema: &str, kafka_section: &str) -> Published {
    let published = Published::of(kafka(), pair.pipeline(name, schema).await, kafka_section);
    let mut file = fs::File::options().append(true).open(&published.path).unwrap();
    writeln!(file, "source: {{failover: true}}").unwrap();
    published
}

fn start(published: &Published, command: &str) -> Running {
    let log = fs::File::options().create(true).append(true).open(log_of(published)).unwrap();
    published.pipeline.start_logging(&[command, "-c", &published.path], log)
}

fn log_of(published: &Published) -> String {
    published.path.replace("wal2graph.yaml", "apply.log")
}

async fn ends_well(published: &Published, commands: &[&[&str]]) {
    for command in commands {
        let (code, said) = published.run(command).await;
        assert_eq!(code, Some(0), "{command:?}: {said}");
    }
}

/// The graph equals the tables, as `verify` finds while both are up.
async fn is_equal(published: &Published) {
    let mut running = [published.start(), start(published, "apply")];
    ends_well(published, &[&["verify"]]).await;
    for process in &mut running {
        assert_eq!(process.terminate(PATIENCE).await, Some(0));
    }
}

/// The timelines of the checkpoints. A topic that nothing is written to says nothing of it.
async fn are_on_timeline(pipeline: &Pipeline, timeline: i64) -> bool {
    let of_pipeline = format!("(c:_Wal2GraphCheckpoint {{pipeline: '{}'}})", pipeline.name);
    holds(&format!(
        "MATCH {of_pipeline} WHERE NOT c.log CONTAINS '_idle/' \
         RETURN count(c) > 0 AND all(it IN collect(c.timeline) WHERE it = {timeline}) AS yes"
    ))
    .await
}

/// Promotes the standby while `publish` and `apply` run. `pq` stands for the tables' prefix.
async fn goes_on(prefix: &str, kafka_section: &str) {
    let of = |text: &str| text.replace("pq_", &format!("{prefix}_"));
    let label = format!("{}{}Thing", prefix[..1].to_uppercase(), &prefix[1..]);
    let comes = async |id: u32| {
        let node = format!("RETURN EXISTS {{ (:{label} {{id: {id}}}) }} AS yes");
        eventually(&format!("row {id} is in the graph"), &node).await;
    };
    let mut pair = Pair::start(17).await;
    let schema = "CREATE TABLE pq_things (id int PRIMARY KEY, v text); INSERT INTO pq_things VALUES (1, 'copied'); \
                  CREATE TABLE pq_idle (id int PRIMARY KEY); INSERT INTO pq_idle VALUES (1)";
    let mut published = published(&pair, prefix, &of(schema), kafka_section).await;
    let mut running = [published.start(), start(&published, "apply")];
    comes(1).await;
    pair.waits_for_the_standby(&published.pipeline).await;
    let insert = async |published: &Published, id: u32| {
        let text = of(&format!("INSERT INTO pq_things VALUES ({id}, 'streamed')"));
        published.pipeline.sql.batch_execute(&text).await.unwrap();
        comes(id).await;
    };
    insert(&published, 2).await;
    pair.is_copied(&published.pipeline).await;
    insert(&published, 3).await;
    assert!(are_on_timeline(&published.pipeline, 1).await);
    pair.promotes(&mut published.pipeline).await;
    insert(&published, 4).await;
    until("the checkpoints name the new timeline", async || {
        are_on_timeline(&published.pipeline, 2).await
    })
    .await;
    for process in &mut running {
        assert_eq!(process.terminate(PATIENCE).await, Some(0));
    }
    let applied = fs::read_to_string(log_of(&published)).unwrap();
    for said in [&published.log(), &applied] {
        assert!(said.contains("the source was promoted") && said.contains("now=2"), "{said}");
    }
    let text =
        of("UPDATE pq_things SET v = 'after' WHERE id < 3; DELETE FROM pq_things WHERE id = 3");
    published.pipeline.sql.batch_execute(&text).await.unwrap();
    let until_current = [["publish", "--until", "current"], ["apply", "--until", "current"]];
    for _ in 0..2 {
        ends_well(&published, &[&until_current[0], &until_current[1]]).await;
    }
    ends_well(&published, &[&["check"], &["status"]]).await;
    is_equal(&published).await;
    // Records of both timelines come again.
    ends_well(&published, &[&["replay", "--from", "earliest"], &until_current[1]]).await;
    is_equal(&published).await;
    assert!(are_on_timeline(&published.pipeline, 2).await);
}

#[tokio::test]
async fn publish_and_apply_go_on_by_themselves_after_a_promotion_that_lost_nothing_of_the_topic() {
    goes_on("pq", "").await;
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn the_same_with_several_partitions() {
    goes_on("pqs", "partitions: 3").await;
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn the_same_with_a_topic_for_each_table() {
    goes_on("pqt", "topics_by: table").await;
}

/// A snapshot sees what is committed, though the stream waits for the standby: the position of the topic says nothing of it.
#[ignore = "long: make nightly"]
#[tokio::test]
async fn rows_of_a_copy_that_a_promoted_standby_lacks_are_noticed() {
    let mut pair = Pair::start(17).await;
    let schema = "CREATE TABLE pqc_things (id int PRIMARY KEY); INSERT INTO pqc_things VALUES (1)";
    let mut published = published(&pair, "pqc", schema, "ack: kafka").await;
    let publishing = published.start();
    until("the topic has the copy", async || published.log().contains("copied a table")).await;
    pair.waits_for_the_standby(&published.pipeline).await;
    pair.is_copied(&published.pipeline).await;
    pair.standby.stop(Stop::Fast).unwrap();
    let name = published.pipeline.name.clone();
    let late = format!(
        "CREATE TABLE pqc_late (id int PRIMARY KEY); INSERT INTO pqc_late VALUES (7); \
         ALTER PUBLICATION wal2graph_{name} ADD TABLE pqc_late"
    );
    published.pipeline.sql.batch_execute(&late).await.unwrap();
    let topic = format!("wal2graph.{name}");
    until("the new table is in the topic", async || {
        let records = raw_records(&kafka().brokers(), &topic).await;
        let values = records.iter().filter_map(|record| record.value.as_deref());
        values.map(String::from_utf8_lossy).any(|it| it.contains("pqc_late"))
    })
    .await;
    publishing.kill();
    pair.primary.stop(Stop::Immediate).unwrap();
    pair.standby.start_again().unwrap();
    pair.promotes(&mut published.pipeline).await;
    published.is_refused(&["the new timeline begins at", "and the topic is at"]).await;
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_promoted_standby_that_lacks_changes_of_the_topic_is_refused_and_a_new_topic_mends_it() {
    let mut pair = Pair::start(18).await;
    let schema = "CREATE TABLE pql_things (id int PRIMARY KEY); INSERT INTO pql_things VALUES (1)";
    let mut published = published(&pair, "pql", schema, "ack: kafka").await;
    let until_current = [["publish", "--until", "current"], ["apply", "--until", "current"]];
    let publishing = published.start();
    until("the topic has the copy", async || published.log().contains("copied a table")).await;
    pair.is_copied(&published.pipeline).await;
    publishing.kill();
    ends_well(&published, &[&until_current[0], &until_current[1]]).await;
    pair.standby.stop(Stop::Fast).unwrap();
    let lost = "INSERT INTO pql_things VALUES (2), (3)";
    published.pipeline.sql.batch_execute(lost).await.unwrap();
    ends_well(&published, &[&until_current[0], &until_current[1]]).await;
    pair.primary.stop(Stop::Immediate).unwrap();
    pair.standby.start_again().unwrap();
    pair.promotes(&mut published.pipeline).await;
    published.pipeline.sql.batch_execute("INSERT INTO pql_things VALUES (9)").await.unwrap();
    let topic = format!("wal2graph.{}", published.pipeline.name);
    let delete = format!(
        "delete the topic {topic} (or name another one with kafka.topic) and publish again"
    );
    published.is_refused(&["the new timeline begins at", "and the topic is at", &delete]).await;
    // It stays refused for each who asks.
    published.is_refused(&["the new timeline begins at"]).await;
    let (code, said) = published.run(&["check"]).await;
    assert_eq!(code, Some(1), "{said}");
    // What the text says to do.
    kafka().tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", &topic]).unwrap();
    ends_well(&published, &[&until_current[0]]).await;
    let (code, said) = published.run(&until_current[1]).await;
    assert!(code == Some(1) && said.contains("deleted and made again"), "{said}");
    for statement in said.lines().map(str::trim).filter(|line| line.starts_with("MATCH ")) {
        let query = neo4rs::Query::new(statement.trim_end_matches(';').to_owned());
        graph().run_alone(query, PATIENCE).await.unwrap();
    }
    if said.contains("`wal2graph replay --from earliest`") {
        ends_well(&published, &[&["replay", "--from", "earliest"]]).await;
    }
    ends_well(&published, &[&until_current[1], &["check"]]).await;
    let rows = "RETURN COUNT { (:PqlThing) } = 2 AND EXISTS { (:PqlThing {id: 9}) } AS yes";
    assert!(holds(rows).await, "1 and 9");
    published.pipeline.sql.batch_execute("INSERT INTO pql_things VALUES (10)").await.unwrap();
    is_equal(&published).await;
}
